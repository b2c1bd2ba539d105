//! Networks from files: every form draws the same, changes of the denoiser draw what the oracle drew, and what does not fit is
//! refused in words.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use latent_checkpoint::convert::{Target, write_file};
use latent_checkpoint::file::write::{Existing, safetensors};
use latent_checkpoint::{Dtype, Error, Network, Role, Scheme, TensorInfo};
use latent_models::ControlNetConfig;
use latent_pipeline::resources::Disk;
use latent_pipeline::{Quiet, run};
use latent_testkit::{Golden, closeness, recipe};

use super::{asks, base, changed, control, drawn, latent, named, open, unet, written};

/// A file of tensors in f16.
fn write(path: &Path, tensors: &[(String, Vec<usize>, Vec<f32>)]) {
    let infos: Vec<TensorInfo> = tensors
        .iter()
        .map(|(name, shape, _)| TensorInfo {
            name: name.clone(),
            dtype: Dtype::F16,
            shape: shape.clone(),
        })
        .collect();
    let values: HashMap<&str, &Vec<f32>> = tensors
        .iter()
        .map(|(name, _, values)| (name.as_str(), values))
        .collect();
    safetensors::<Error>(path, &infos, &BTreeMap::new(), Existing::Replace, |info| {
        let bytes = values[info.name.as_str()].iter();
        let bytes = bytes.flat_map(|v| half::f16::from_f32(*v).to_le_bytes());
        Ok(bytes.collect::<Vec<u8>>().into())
    })
    .unwrap();
}

/// The oracle's Control-LoRA under its original names: products for the weights of the denoiser's way down, with `prefix` before
/// every name. `inherited`: biases and norms are in it too, as they are in the denoiser.
fn control_lora(prefix: &str, inherited: bool) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let network = Network::ControlNet(ControlNetConfig::of(unet()));
    let table = network.table(Scheme::Ldm);
    let mut all = vec![("lora_controlnet".to_owned(), vec![], vec![0.0])];
    for (name, shape) in network.parameters() {
        let theirs = format!("{prefix}{}", table.place(&name).unwrap().name);
        let count = |shape: &[usize]| shape.iter().product::<usize>();
        if name.starts_with("controlnet_") {
            let values = recipe::tensor(&format!("controlnet/{name}"), &shape, 0);
            all.push((theirs, shape, values));
        } else if name.ends_with("weight") && shape.len() > 1 {
            let [ours, theirs] = [&name, &theirs].map(|name| name.strip_suffix(".weight").unwrap());
            let ones = vec![1; shape.len() - 2];
            let up = recipe::tensor(&format!("control_lora/{ours}.up"), &[shape[0], 2], 0);
            let up = up.into_iter().map(|v| v / 2.0).collect();
            all.push((
                format!("{theirs}.up"),
                [vec![shape[0], 2], ones].concat(),
                up,
            ));
            let inputs = count(&shape[1..]);
            let down = recipe::tensor(&format!("control_lora/{ours}.down"), &[2, inputs], 0);
            all.push((format!("{theirs}.down"), [&[2], &shape[1..]].concat(), down));
        } else if inherited {
            let values = recipe::tensor(&format!("unet/{name}"), &shape, 0);
            all.push((theirs, shape, values));
        }
    }
    all
}

#[test]
fn files_of_every_form_draw_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let base = base(dir.path());
    let golden = Golden::adapters_control();
    for path in written(dir.path()) {
        let model = open(&base, vec![path.clone()]).unwrap();
        let output = drawn(&model, &asks(vec![control()]));
        let far = closeness(&latent(&output), golden.values("plain/latent"));
        assert!(far < 1e-3, "{}: {far}", path.display());
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let pair = format!(
            "ControlNet 0: \"Module: none, Model: {name}, Weight: 1, Resize Mode: Just Resize, Guidance Start: 0, \
             Guidance End: 1, Pixel Perfect: True, Control Mode: Balanced\""
        );
        assert!(output.infotext.contains(&pair), "{}", output.infotext);
    }
    // One network for two pictures is read once.
    let [file, ..] = written(&dir.path().join("again"));
    let model = open(&base, vec![file.clone(), file]).unwrap();
    assert_eq!(model.controls.len(), 1);
    assert_eq!(
        model.control(0).unwrap().name,
        model.control(1).unwrap().name
    );
}

#[test]
fn changes_of_the_denoiser() {
    let dir = tempfile::tempdir().unwrap();
    let base = base(dir.path());
    let golden = Golden::adapters_control();
    let at = |name: &str| dir.path().join(name);
    for (name, inherited) in [("whole.safetensors", true), ("less.safetensors", false)] {
        write(&at(name), &control_lora("", inherited));
        let model = open(&base, vec![at(name)]).unwrap();
        let output = drawn(&model, &asks(vec![control()]));
        let far = closeness(&latent(&output), golden.values("control_lora/latent"));
        assert!(far < 1e-3, "{name}: {far}");
    }
    // Differences of 0 draw what products of 0 draw.
    let mut silent = control_lora("", false);
    for (name, _, values) in &mut silent {
        if name.ends_with(".up") {
            values.fill(0.0);
        }
    }
    write(&at("silent.safetensors"), &silent);
    let network = Network::ControlNet(ControlNetConfig::of(unet()));
    let table = network.table(Scheme::Ldm);
    let mut differences = vec![("difference".to_owned(), vec![], vec![0.0])];
    for (name, shape) in network.parameters() {
        let values = match name.starts_with("controlnet_") {
            true => recipe::tensor(&format!("controlnet/{name}"), &shape, 0),
            false => vec![0.0; shape.iter().product()],
        };
        let theirs = format!("control_model.{}", table.place(&name).unwrap().name);
        differences.push((theirs, shape, values));
    }
    write(&at("difference.safetensors"), &differences);
    let [silent, differences] = ["silent.safetensors", "difference.safetensors"].map(|name| {
        let model = open(&base, vec![at(name)]).unwrap();
        latent(&drawn(&model, &asks(vec![control()])))
    });
    assert_eq!(silent, differences);

    // Of another rank, and of another denoiser.
    let mut bent = control_lora("", true);
    let (_, shape, values) = bent
        .iter_mut()
        .find(|(name, ..)| name.ends_with("attn1.to_q.up"))
        .unwrap();
    (shape[1], *values) = (3, vec![0.0; shape[0] * 3]);
    write(&at("bent.safetensors"), &bent);
    let words = open(&base, vec![at("bent.safetensors")]).err().unwrap();
    assert!(
        words.contains("attn1.to_q.up") && words.contains("ControlNet"),
        "{words}"
    );
    let mut more = control_lora("", true);
    more.push((
        "input_blocks.40.0.in_layers.2.up".into(),
        vec![2, 2],
        vec![0.0; 4],
    ));
    write(&at("more.safetensors"), &more);
    let words = open(&base, vec![at("more.safetensors")]).err().unwrap();
    assert!(
        words.contains("input_blocks.40.0.in_layers.2.up"),
        "{words}"
    );
}

#[test]
fn what_does_not_fit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let base = base(dir.path());
    let [file, ..] = written(dir.path());
    let refused = |path: &Path| open(&base, vec![path.to_owned()]).expect_err("refused");
    let at = |name: &str| dir.path().join(name);

    let other = at("other.safetensors");
    let mut unet = unet();
    unet.context = Some(768);
    let config = Network::ControlNet(ControlNetConfig::of(unet));
    let shapes: HashMap<String, Vec<usize>> = config.parameters().into_iter().collect();
    let zeros = &mut |_: Role, name: &str| Ok(vec![0; 2 * shapes[name].iter().product::<usize>()]);
    write_file(
        &other,
        Target::Safetensors,
        &named(config),
        Existing::Refuse,
        zeros,
    )
    .unwrap();
    let words = refused(&other);
    for word in [
        "control",
        "ControlNet for Stable Diffusion 1.x",
        "width 768",
        "width 48",
    ] {
        assert!(words.contains(word), "{word}: {words}");
    }

    let unknown = at("unknown.safetensors");
    changed(&file, &unknown, |name| {
        Some(name.replace("middle_block_out.0.bias", "middle_block_out.7.bias"))
    });
    let words = refused(&unknown);
    for word in [
        "ControlNet",
        "control_model.middle_block_out.0.bias",
        "middle_block_out.7.bias",
    ] {
        assert!(words.contains(word), "{word}: {words}");
    }

    let missing = at("missing.safetensors");
    changed(&file, &missing, |name| {
        (!name.contains("zero_convs.3")).then(|| name.to_owned())
    });
    assert!(refused(&missing).contains("zero_convs.3.0.weight"));

    let words = refused(&base);
    assert!(words.contains("there is no ControlNet in it"), "{words}");

    let bytes = std::fs::read(&file).unwrap();
    let truncated = at("truncated.safetensors");
    std::fs::write(&truncated, &bytes[..bytes.len() - 100]).unwrap();
    assert!(refused(&truncated).contains("truncated.safetensors"));

    let poisoned = at("nan.safetensors");
    let mut bytes = bytes;
    let end = bytes.len();
    bytes[end - 2..].copy_from_slice(&half::f16::NAN.to_le_bytes());
    std::fs::write(&poisoned, bytes).unwrap();
    let words = refused(&poisoned);
    assert!(
        words.contains("NaN") && words.contains("control_model."),
        "{words}"
    );

    // A request for a network that the model was not opened with.
    let model = open(&base, Vec::<PathBuf>::new()).unwrap();
    let error = run(
        &asks(vec![control()]),
        &model,
        &Disk::default(),
        None,
        &mut Quiet,
    );
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("ModelFiles::controls")
    );
}
