//! Weights of eight bits in files, with scales and without.

mod support;

use std::path::Path;

use burn::tensor::DType;
use latent_checkpoint::file::write::Existing;
use latent_checkpoint::{
    Checkpoint, ConvertOptions, Dtype, InfoOptions, LoadOptions, ModelError, Role, Target,
    TensorFile, convert, inspect,
};
use latent_models::UNetConfig;
use support::{Tensors, options, tiny, values};

const PREFIX: &str = "model.diffusion_model.";
const LAYER: &str = "model.diffusion_model.time_embed.0";

fn quiet(_: usize, _: usize) {}

fn to(output: &Path, dtype: Option<Dtype>) -> ConvertOptions {
    ConvertOptions {
        target: Target::of(output).unwrap(),
        dtype,
        moving_average: false,
        existing: Existing::Replace,
    }
}

/// The tiny checkpoint with one layer of bytes 0x01, 0x02, … of that type, and what stands beside it.
fn file(dir: &Path, dtype: Dtype, more: impl Fn(&mut Tensors)) -> std::path::PathBuf {
    let mut tensors = Tensors::read(&tiny().safetensors);
    let weight = format!("{LAYER}.weight");
    for (info, bytes) in &mut tensors.0 {
        if info.name == weight {
            info.dtype = dtype;
            *bytes = (0..info.elements())
                .map(|i| (i % 0x70) as u8 | ((i % 2) as u8) << 7)
                .collect();
        }
    }
    more(&mut tensors);
    tensors.write(&dir.join("eight.safetensors"), &[])
}

fn f32s(value: f32) -> Vec<u8> {
    value.to_le_bytes().to_vec()
}

fn loaded(path: &Path) -> Result<Vec<f32>, ModelError> {
    let checkpoint = Checkpoint::open(path)?;
    let (unet, _) = checkpoint.load::<UNetConfig>(Role::DENOISER, &options(), &mut quiet)?;
    Ok(values(&unet)
        .remove("time_embedding.linear_1.weight")
        .unwrap())
}

#[test]
fn they_are_read_with_and_without_a_scale() {
    let dir = tempfile::tempdir().unwrap();
    for (dtype, one, other) in [
        // The values of 0x81 and 0xB9, by hand.
        (Dtype::F8E4M3, -(2f32.powi(-9)), -1.125),
        (Dtype::F8E5M2, -(2f32.powi(-16)), -0.625),
    ] {
        let plain = loaded(&file(dir.path(), dtype, |_| {})).unwrap();
        assert_eq!((plain[0], plain[1], plain[0x39]), (0.0, one, other));
        for name in ["scale_weight", "weight_scale"] {
            let scaled = loaded(&file(dir.path(), dtype, |tensors| {
                tensors.add(&format!("{LAYER}.{name}"), Dtype::F32, &[], f32s(0.3));
                tensors.add(&format!("{LAYER}.input_scale"), Dtype::F32, &[], f32s(2.0));
                tensors.add(&format!("{PREFIX}scaled_fp8"), dtype, &[0], Vec::new());
            }))
            .unwrap();
            let expected: Vec<f32> = plain.iter().map(|v| v * 0.3).collect();
            assert_eq!(scaled, expected);
        }
    }
}

#[test]
fn what_is_no_number_and_no_scale_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (dtype, bits) in [
        (Dtype::F8E4M3, 0xFF),
        (Dtype::F8E5M2, 0x7C),
        (Dtype::F8E5M2, 0x7D),
    ] {
        let path = file(dir.path(), dtype, |tensors| {
            let mut all = tensors.0.iter_mut();
            let (_, bytes) = all.find(|(info, _)| info.dtype == dtype).unwrap();
            bytes[7] = bits;
        });
        let error = loaded(&path).unwrap_err();
        let found = matches!(&error, ModelError::NotFinite { element: 7, .. });
        assert!(found, "{error}");
    }
    let rows = |count: usize| {
        move |tensors: &mut Tensors| {
            let bytes = f32s(1.0).repeat(count);
            tensors.add(
                &format!("{LAYER}.weight_scale"),
                Dtype::F32,
                &[count],
                bytes,
            );
        }
    };
    let error = loaded(&file(dir.path(), Dtype::F8E4M3, rows(2))).unwrap_err();
    let ModelError::Mismatch(mismatch) = &error else {
        panic!("{error}");
    };
    assert_eq!(mismatch.misshapen[0].found, [2]);
    assert!(error.to_string().contains("weight_scale"), "{error}");
    let infinite = |tensors: &mut Tensors| {
        tensors.add(
            &format!("{LAYER}.scale_weight"),
            Dtype::F32,
            &[],
            f32s(f32::INFINITY),
        );
    };
    let error = loaded(&file(dir.path(), Dtype::F8E4M3, infinite)).unwrap_err();
    assert!(matches!(error, ModelError::NotFinite { .. }), "{error}");
    // Beside a weight that needs none, nothing uses it.
    let idle = |tensors: &mut Tensors| {
        tensors.add(
            &format!("{PREFIX}out.2.scale_weight"),
            Dtype::F32,
            &[],
            f32s(1.0),
        );
    };
    let error = loaded(&file(dir.path(), Dtype::F8E4M3, idle)).unwrap_err();
    assert!(matches!(error, ModelError::Mismatch(_)), "{error}");
}

#[test]
fn conversion_keeps_bits_without_a_scale_and_asks_for_a_type_with_one() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("out.safetensors");
    let name = format!("{LAYER}.weight");
    let converted = |input: &Path, dtype| {
        let checkpoint = Checkpoint::open(input)?;
        convert(&checkpoint, &output, &to(&output, dtype), &mut quiet)
    };
    let plain = file(dir.path(), Dtype::F8E5M2, |_| {});
    converted(&plain, None).unwrap();
    let read = |path: &Path| {
        TensorFile::open(path)
            .unwrap()
            .bytes(&name)
            .unwrap()
            .into_owned()
    };
    assert_eq!(read(&output), read(&plain));
    let scaled = file(dir.path(), Dtype::F8E4M3, |tensors| {
        tensors.add(
            &format!("{LAYER}.scale_weight"),
            Dtype::F32,
            &[],
            f32s(0.25),
        );
    });
    let error = converted(&scaled, None).unwrap_err().to_string();
    assert!(error.contains("choose the type of its weights"), "{error}");
    let done = converted(&scaled, Some(Dtype::F16)).unwrap();
    assert!(done.dropped.is_empty(), "{:?}", done.dropped);
    assert_eq!(loaded(&output).unwrap(), loaded(&scaled).unwrap());
    converted(&scaled, Some(Dtype::F8E4M3)).unwrap();
    let info = inspect(
        &Checkpoint::open(&output).unwrap(),
        &InfoOptions::default(),
        &mut |_, _| {},
    );
    let parts = info.unwrap().parts;
    let types = |role: Role| &parts.iter().find(|part| part.role == role).unwrap().dtypes;
    assert!(types(Role::DENOISER)["F8_E4M3"] > 0 && types(Role::DENOISER)["F16"] > 0);
    assert!(types(Role::TEXT_ENCODER).contains_key("F8_E4M3"));
    assert!(!types(Role::AUTOENCODER).contains_key("F8_E4M3"));
    let file = TensorFile::open(&output).unwrap();
    for info in file.tensors() {
        let eight = info.dtype == Dtype::F8E4M3;
        let first = info.name.starts_with("first_stage_model.");
        assert_eq!(eight, info.shape.len() > 1 && !first, "{}", info.name);
    }
}

#[test]
fn what_eight_bits_cannot_hold_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut tensors = Tensors::read(&tiny().safetensors);
    let weight = format!("{LAYER}.weight");
    let at = tensors
        .0
        .iter()
        .position(|(info, _)| info.name == weight)
        .unwrap();
    let (info, bytes) = &mut tensors.0[at];
    info.dtype = Dtype::F32;
    *bytes = vec![0; info.elements() * 4];
    bytes[8..12].copy_from_slice(&f32s(460.0));
    let path = tensors.write(&dir.path().join("large.safetensors"), &[]);
    let output = dir.path().join("out.safetensors");
    let run = |path: &Path, dtype| {
        let checkpoint = Checkpoint::open(path).unwrap();
        convert(&checkpoint, &output, &to(&output, Some(dtype)), &mut quiet)
    };
    // 460 rounds to the largest number, 465 would not.
    run(&path, Dtype::F8E4M3).unwrap();
    assert_eq!(loaded(&output).unwrap()[2], 448.0);
    tensors.0[at].1[8..12].copy_from_slice(&f32s(465.0));
    let path = tensors.write(&dir.path().join("larger.safetensors"), &[]);
    let error = run(&path, Dtype::F8E4M3).unwrap_err();
    assert!(
        matches!(&error, ModelError::Overflow { element: 2, .. }),
        "{error}"
    );
    run(&path, Dtype::F8E5M2).unwrap();
    assert_eq!(loaded(&output).unwrap()[2], 448.0);
    let options = LoadOptions::new(options().device, DType::F16);
    let checkpoint = Checkpoint::open(&output).unwrap();
    checkpoint
        .load::<UNetConfig>(Role::DENOISER, &options, &mut quiet)
        .unwrap();
}
