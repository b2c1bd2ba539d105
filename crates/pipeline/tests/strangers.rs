//! Checkpoints of no known family: described by `info`, refused for drawing with what was found and what is nearest.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use latent_checkpoint::convert::{Model as Stored, Target, write_file};
use latent_checkpoint::file::write::Existing;
use latent_checkpoint::tiny::TinyFamily;
use latent_checkpoint::{Dtype, Files, InfoOptions, Network, Role};
use latent_models::unet::Labels;
use latent_pipeline::{Code, Model, ModelFiles, family};
use latent_testkit::recipe;

/// A file of a model like `kind`'s, changed.
fn misfit(dir: &Path, kind: TinyFamily, change: impl Fn(&mut Stored)) -> PathBuf {
    let mut model = kind.model(true);
    change(&mut model);
    let mut shapes: HashMap<(Role, String), Vec<usize>> = HashMap::new();
    for part in &mut model.parts {
        let parameters = part.config.parameters();
        let dtypes = parameters
            .iter()
            .map(|(name, _)| (name.clone(), Dtype::F16));
        part.dtypes = dtypes.collect();
        let named = parameters.into_iter();
        shapes.extend(named.map(|(name, shape)| ((part.role, name), shape)));
    }
    let path = dir.join("misfit.safetensors");
    let values = &mut |role: Role, name: &str| {
        let shape = &shapes[&(role, name.to_owned())];
        let values = recipe::tensor_f16(name, shape, 0);
        Ok(values.iter().flat_map(|v| v.to_le_bytes()).collect())
    };
    write_file(
        &path,
        Target::Safetensors,
        &model,
        Existing::Replace,
        values,
    )
    .unwrap();
    path
}

fn network(model: &mut Stored, role: Role) -> &mut Network {
    let mut parts = model.parts.iter_mut();
    &mut parts.find(|part| part.role == role).unwrap().config
}

fn check(dir: &Path, kind: TinyFamily, change: impl Fn(&mut Stored), words: &[&str]) {
    let path = misfit(dir, kind, change);
    let files = ModelFiles::from(path.clone());
    let opened = Model::open(&files, &Device::flex(), DType::F32, &mut |_, _, _| {});
    let error = opened.map(|_| ()).unwrap_err();
    assert_eq!(error.code(), "model_unusable");
    let text = error.to_string();
    assert!(
        text.contains("of no family that is known here: a U-Net of"),
        "{text}"
    );
    for word in words {
        assert!(text.contains(word), "{word}: {text}");
    }
    let info = family::inspect(&path, Files::Disk, &InfoOptions::default(), &mut |_, _| {});
    let info = info.unwrap();
    assert_eq!(info.family, None);
    assert!(info.parts.len() >= 2 && info.parts.iter().all(|part| part.problem.is_none()));
    for word in words {
        assert!(info.notes.iter().any(|note| note.contains(word)), "{word}");
    }
}

#[test]
fn checkpoints_of_no_family_are_described_and_not_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let inputs = |channels: usize| {
        move |model: &mut Stored| {
            if let Network::Unet(unet) = network(model, Role::DENOISER) {
                unet.in_channels = channels;
            }
        }
    };
    check(
        dir,
        TinyFamily::Sd1,
        inputs(6),
        &[
            "nearest is Stable Diffusion 1.x",
            "its denoiser takes 6 channels in the place of 4 channels",
        ],
    );
    check(
        dir,
        TinyFamily::Sdxl,
        inputs(5),
        &["nearest is SDXL", "5 channels in the place of 4 channels"],
    );
    // One size less than SDXL is told, with both of its text encoders.
    let told = |model: &mut Stored| {
        if let Network::Unet(unet) = network(model, Role::DENOISER) {
            unet.labels = Labels::Vector(48 + 5 * 256);
        }
    };
    check(
        dir,
        TinyFamily::Sdxl,
        told,
        &[
            "nearest is SDXL",
            "a vector of 1328 in the place of a vector of 1584",
        ],
    );
    // A compressor of another scale.
    let coarse = |model: &mut Stored| {
        if let Network::Autoencoder(stored) = network(model, Role::AUTOENCODER) {
            stored.network.levels.remove(0);
        }
    };
    check(
        dir,
        TinyFamily::Sd2,
        coarse,
        &[
            "nearest is Stable Diffusion 2.x",
            "at 1/4 size (KL) in the place of",
        ],
    );
    // Text states of another width than its encoder gives.
    let narrow = |model: &mut Stored| {
        if let Network::Unet(unet) = network(model, Role::DENOISER) {
            unet.context = Some(64);
        }
    };
    check(
        dir,
        TinyFamily::Sd1,
        narrow,
        &[
            "nearest is Stable Diffusion 1.x",
            "text states of width 64 in the place of text states of width 48",
        ],
    );
}
