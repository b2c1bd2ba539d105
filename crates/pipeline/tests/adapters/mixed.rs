//! Checkpoints merged with each other.

use std::path::{Path, PathBuf};

use latent_checkpoint::adapter::BlockWeights;
use latent_checkpoint::convert::{ConvertOptions, Target};
use latent_checkpoint::file::write::Existing;
use latent_checkpoint::mix::{MixOptions, Mixed};
use latent_checkpoint::tiny::{TinyFamily, write_family, write_tiny};
use latent_checkpoint::{Checkpoint, Dtype, Files, Role};
use latent_pipeline::family;
use latent_pipeline::model::{Other, merge};
use latent_testkit::recipe;
use tempfile::TempDir;

/// A tiny checkpoint whose weights are those of the recipe under another name.
fn tiny(folder: &Path, name: &str, in_channels: usize) -> PathBuf {
    let folder = folder.join(name);
    std::fs::create_dir(&folder).unwrap();
    let weights = &mut |component: &str, parameter: &str, shape: &[usize]| {
        recipe::tensor_f16(&format!("{name}/{component}/{parameter}"), shape, 0)
    };
    write_tiny(&folder, in_channels, weights)
        .unwrap()
        .safetensors
}

fn plain(weight: f64) -> MixOptions {
    MixOptions {
        weight,
        blocks: None,
    }
}

fn mixed(
    folder: &TempDir,
    [a, b]: [&Path; 2],
    c: Option<&Path>,
    options: MixOptions,
) -> Result<(PathBuf, Mixed), String> {
    let open = |path: &Path| std::sync::Arc::new(Checkpoint::open(path).unwrap());
    let opened = family::open(a, Files::Disk).unwrap();
    let to = folder.path().join("mixed.safetensors");
    let other = Other {
        added: open(b),
        minus: c.map(open),
        options,
    };
    let convert = ConvertOptions {
        target: Target::Safetensors,
        dtype: Some(Dtype::F32),
        moving_average: false,
        existing: Existing::Replace,
    };
    let merged = merge(
        (&opened.0, &opened.1),
        Some(&other),
        &[],
        &to,
        &convert,
        &mut |_, _| {},
    );
    let merged = merged.map_err(|e| e.to_string())?;
    Ok((to, merged.mixed.unwrap()))
}

fn values(path: &Path, role: Role, name: &str) -> Vec<f32> {
    let checkpoint = Checkpoint::open(path).unwrap();
    let parameters = checkpoint.parameters(role).unwrap();
    parameters.read(name).unwrap().expect(name)
}

/// Some of every network, in input blocks 1 and 4, the middle, output block 11, and in no block.
const NAMES: [(Role, &str); 7] = [
    (Role::DENOISER, "down_blocks.0.resnets.0.conv1.weight"),
    (Role::DENOISER, "down_blocks.1.resnets.0.conv1.weight"),
    (Role::DENOISER, "mid_block.resnets.0.conv1.bias"),
    (Role::DENOISER, "up_blocks.3.resnets.2.norm1.weight"),
    (Role::DENOISER, "time_embedding.linear_1.weight"),
    (
        Role::TEXT_ENCODER,
        "text_model.encoder.layers.0.self_attn.q_proj.weight",
    ),
    (Role::AUTOENCODER, "decoder.conv_in.weight"),
];

#[test]
fn sums_and_differences() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|name| tiny(folder.path(), name, 4));
    let of = |path: &Path| NAMES.map(|(role, name)| values(path, role, name));
    let (va, vb, vc) = (of(&a), of(&b), of(&c));
    let (to, told) = mixed(&folder, [&a, &b], None, plain(0.25)).unwrap();
    for (i, got) in of(&to).iter().enumerate() {
        let want: Vec<f32> = va[i]
            .iter()
            .zip(&vb[i])
            .map(|(a, b)| 0.75 * a + 0.25 * b)
            .collect();
        assert_eq!(*got, want, "{}", NAMES[i].1);
    }
    assert_eq!(told.networks.len(), 3);
    assert!(told.kept.is_empty() && told.left_out.is_empty());
    let (role, changed, share) = told.networks[0];
    let count = Checkpoint::open(&a)
        .unwrap()
        .parameters(role)
        .unwrap()
        .list()
        .count();
    assert_eq!(changed, count);
    assert!(share > 0.1 && share < 1.0, "{share}");

    let (to, _) = mixed(&folder, [&a, &b], Some(&c), plain(0.5)).unwrap();
    for (i, got) in of(&to).iter().enumerate() {
        let both = vb[i].iter().zip(&vc[i]);
        let want: Vec<f32> = va[i]
            .iter()
            .zip(both)
            .map(|(a, (b, c))| a + 0.5 * (b - c))
            .collect();
        assert_eq!(*got, want, "{}", NAMES[i].1);
    }
    // Nothing of the other is to the bit the first.
    let (to, told) = mixed(&folder, [&a, &b], None, plain(0.0)).unwrap();
    assert_eq!(of(&to), va);
    assert!(told.networks.iter().all(|(_, changed, _)| *changed == 0));
    let (to, _) = mixed(&folder, [&a, &b], None, plain(1.0)).unwrap();
    assert_eq!(of(&to), vb);
}

#[test]
fn block_by_block() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| tiny(folder.path(), name, 4));
    // What lies in no block 0.125, input block 1 alone 1, the middle 0.5, all others 0.
    let mut weights = vec![0.0; 26];
    (weights[0], weights[2], weights[13]) = (0.125, 1.0, 0.5);
    let options = MixOptions {
        weight: 0.9,
        blocks: Some(BlockWeights::new(weights).unwrap()),
    };
    let (to, told) = mixed(&folder, [&a, &b], None, options).unwrap();
    for ((role, name), share) in NAMES
        .into_iter()
        .zip([1.0, 0.0, 0.5, 0.0, 0.125, 0.125, 0.125])
    {
        let [a, b, got] = [&a, &b, &to].map(|path| values(path, role, name));
        let want: Vec<f32> = a
            .iter()
            .zip(&b)
            .map(|(a, b)| (1.0 - share) * a + share * b)
            .collect();
        assert_eq!(got, want, "{name}");
    }
    let all = Checkpoint::open(&a).unwrap();
    let all = all.parameters(Role::DENOISER).unwrap().list().count();
    let mut networks = told.networks.iter();
    let denoiser = networks.find(|(role, ..)| *role == Role::DENOISER).unwrap();
    assert!(denoiser.1 < all / 2, "{told:?}");
    // A list of SDXL's, whose denoiser has nine input blocks.
    let options = MixOptions {
        weight: 1.0,
        blocks: Some(BlockWeights::new(vec![1.0; 20]).unwrap()),
    };
    let words = mixed(&folder, [&a, &b], None, options).unwrap_err();
    assert!(words.contains("expected 17 or 26"), "{words}");
}

/// The classic way to an inpainting model of a fine-tune: the inpainting model and what the fine-tune has learnt.
#[test]
fn into_a_model_for_inpainting() {
    let folder = tempfile::tempdir().unwrap();
    let a = tiny(folder.path(), "a", 9);
    let [b, c] = ["b", "c"].map(|name| tiny(folder.path(), name, 4));
    let (to, _) = mixed(&folder, [&a, &b], Some(&c), plain(1.0)).unwrap();
    let [va, vb, vc, got] =
        [&a, &b, &c, &to].map(|path| values(path, Role::DENOISER, "conv_in.weight"));
    for (output, rows) in got.chunks(9 * 9).enumerate() {
        for (i, value) in rows.iter().enumerate() {
            let own = va[output * 81 + i];
            let want = match i < 36 {
                true => own + (vb[output * 36 + i] - vc[output * 36 + i]),
                false => own,
            };
            assert_eq!(*value, want, "{output} {i}");
        }
    }
    let words = mixed(&folder, [&b, &a], None, plain(0.5)).unwrap_err();
    assert!(words.contains("conv_in.weight"), "{words}");
}

#[test]
fn other_layouts_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let a = tiny(folder.path(), "a", 4);
    let xl = folder.path().join("xl");
    std::fs::create_dir(&xl).unwrap();
    let weights = &mut |component: &str, parameter: &str, shape: &[usize]| {
        recipe::tensor_f16(&format!("xl/{component}/{parameter}"), shape, 0)
    };
    let xl = write_family(&xl, TinyFamily::Sdxl, weights)
        .unwrap()
        .safetensors;
    let words = mixed(&folder, [&a, &xl], None, plain(0.5)).unwrap_err();
    for word in [
        "xl/model.safetensors",
        "another layout",
        "Stable Diffusion 1.x",
    ] {
        assert!(words.contains(word), "{word}: {words}");
    }
}
