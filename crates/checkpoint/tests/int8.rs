//! Weights as whole numbers of eight bits, with a factor for each row.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use latent_checkpoint::file::write::Existing;
use latent_checkpoint::tiny::{TinyFamily, write_family};
use latent_checkpoint::{
    Checkpoint, ConvertOptions, Dtype, InfoOptions, ModelError, Role, Target, TensorFile, convert,
    inspect,
};
use latent_testkit::recipe;
use support::{Tensors, all_values, tiny};

const LAYER: &str = "model.diffusion_model.time_embed.0";

fn converted(from: &Path, to: &Path, dtype: Option<Dtype>) -> Result<(), ModelError> {
    let options = ConvertOptions {
        target: Target::of(to).unwrap(),
        dtype,
        moving_average: false,
        existing: Existing::Replace,
    };
    let checkpoint = Checkpoint::open(from)?;
    let mut last = [0, 0];
    let converted = convert(&checkpoint, to, &options, &mut |done, total| {
        last = [done, total]
    })?;
    assert_eq!(last[0], last[1]);
    // A mark says how the model was trained: a folder has other words for it.
    let lost = converted.dropped.iter().find(|(name, _)| name != "v_pred");
    assert_eq!(lost, None);
    Ok(())
}

/// The rows of every parameter, by name.
fn rows(path: &Path) -> BTreeMap<String, usize> {
    let checkpoint = Checkpoint::open(path).unwrap();
    let parts = checkpoint.parts().iter();
    let named = parts.flat_map(|part| {
        let parameters = part.config.parameters().into_iter();
        parameters.map(|(name, shape)| (format!("{}/{name}", part.role.folder()), shape))
    });
    let matrices = named.filter(|(_, shape)| shape.len() > 1);
    matrices.map(|(name, shape)| (name, shape[0])).collect()
}

/// How far values are from those of the original: within half a step of their row, or the same. Says how many are not the same.
fn compare(original: &BTreeMap<String, Vec<f32>>, path: &Path) -> usize {
    let rows = rows(path);
    let mut differ = 0;
    for (name, now) in all_values(path) {
        let was = &original[&name];
        if &now == was {
            continue;
        }
        differ += 1;
        let width = was.len() / rows[&name];
        for (now, was) in now.chunks(width).zip(was.chunks(width)) {
            let step = was.iter().fold(0f32, |most, v| most.max(v.abs())) / 127.0;
            for (now, was) in now.iter().zip(was) {
                assert!(
                    (now - was).abs() <= 0.5001 * step,
                    "{name}: {now} for {was}"
                );
            }
        }
    }
    differ
}

fn sizes(path: &Path, of: impl Fn(&str) -> bool) -> usize {
    let file = TensorFile::open(path).unwrap();
    let infos = file.tensors().iter().filter(|info| of(&info.name));
    infos.map(|info| info.byte_len()).sum()
}

#[test]
fn every_form_holds_them_and_every_reader_takes_them() {
    let dir = tempfile::tempdir().unwrap();
    let original = all_values(&tiny().safetensors);
    let at = |name: &str| dir.path().join(name);
    for form in ["int8.safetensors", "int8.ckpt", "int8"] {
        converted(&tiny().safetensors, &at(form), Some(Dtype::I8)).unwrap();
        let differ = compare(&original, &at(form));
        println!(
            "{form}: {differ} of {} parameters are rounded",
            original.len()
        );
        assert!(differ > 40, "{differ}");
    }
    // The same numbers, whatever holds them.
    let first = all_values(&at("int8.safetensors"));
    for form in ["int8.ckpt", "int8"] {
        assert!(all_values(&at(form)) == first, "{form}");
    }
    let file = TensorFile::open(at("int8.safetensors")).unwrap();
    for info in file.tensors() {
        let name = &info.name;
        let autoencoder = name.starts_with("first_stage_model.");
        let eight = info.shape.len() > 1 && name.ends_with("weight") && !autoencoder;
        assert_eq!(info.dtype == Dtype::I8, eight, "{name}");
        let scale = file.get(&format!("{name}_scale"));
        assert_eq!(scale.is_some(), eight, "{name}");
        if let Some(scale) = scale {
            assert_eq!(
                (scale.dtype, &scale.shape[..]),
                (Dtype::F32, &info.shape[..1])
            );
        }
    }
    // A quarter of f32, but for what is not stored so.
    converted(
        &tiny().safetensors,
        &at("f32.safetensors"),
        Some(Dtype::F32),
    )
    .unwrap();
    let whole = sizes(&at("f32.safetensors"), |name| {
        file.get(name).is_some_and(|info| info.dtype == Dtype::I8)
    });
    let small = sizes(&at("int8.safetensors"), |name| {
        let weight = name.strip_suffix("_scale").unwrap_or(name);
        file.get(weight).is_some_and(|info| info.dtype == Dtype::I8)
    });
    println!("{small} bytes for {whole}");
    assert!((small as f64) < 0.35 * whole as f64, "{small} {whole}");

    let checkpoint = Checkpoint::open(at("int8.safetensors")).unwrap();
    let info = inspect(&checkpoint, &InfoOptions::default(), &mut |_, _| {}).unwrap();
    let types = |role: Role| {
        let part = info.parts.iter().find(|part| part.role == role).unwrap();
        assert_eq!(part.problem, None);
        part.dtypes.get("I8").copied().unwrap_or(0)
    };
    assert!(types(Role::DENOISER) > 20 && types(Role::TEXT_ENCODER) > 5);
    assert_eq!(types(Role::AUTOENCODER), 0);
}

#[test]
fn they_become_other_types_again() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    converted(&tiny().safetensors, &at("int8"), Some(Dtype::I8)).unwrap();
    let error = converted(&at("int8"), &at("same.safetensors"), None).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("--dtype f16, bf16, f32 or int8"), "{error}");
    for dtype in [Dtype::F32, Dtype::I8] {
        converted(&at("int8"), &at("again.safetensors"), Some(dtype)).unwrap();
        let [a, b] = [at("int8"), at("again.safetensors")].map(|path| all_values(&path));
        for (name, a) in a {
            let off = a.iter().zip(&b[&name]).map(|(a, b)| (a - b).abs());
            let most = a.iter().fold(0f32, |most, v| most.max(v.abs()));
            assert!(off.fold(0f32, f32::max) <= 1e-6 * most, "{name} as {dtype}");
        }
    }
    converted(&at("int8"), &at("half.safetensors"), Some(Dtype::F16)).unwrap();
    let file = TensorFile::open(at("half.safetensors")).unwrap();
    for info in file.tensors() {
        assert!(info.dtype == Dtype::F16, "{} {}", info.name, info.dtype);
        assert!(!info.name.ends_with("_scale"), "{}", info.name);
    }
}

#[test]
fn stacked_matrices_have_stacked_scales() {
    let dir = tempfile::tempdir().unwrap();
    let family = write_family(
        dir.path(),
        TinyFamily::Sd2,
        &mut |component, name, shape| recipe::tensor_f16(&format!("{component}/{name}"), shape, 0),
    );
    let original = family.unwrap().safetensors;
    let int8 = dir.path().join("int8.safetensors");
    converted(&original, &int8, Some(Dtype::I8)).unwrap();
    let file = TensorFile::open(&int8).unwrap();
    let stacked = file.tensors().iter();
    let stacked: Vec<_> = stacked
        .filter(|info| info.name.ends_with("in_proj_weight_scale"))
        .collect();
    assert!(!stacked.is_empty());
    for info in stacked {
        let weight = file.get(info.name.strip_suffix("_scale").unwrap()).unwrap();
        assert_eq!((weight.dtype, info.shape[0]), (Dtype::I8, weight.shape[0]));
    }
    // A projection has a name that no scale can be found by.
    let unnamed = file.tensors().iter();
    for info in unnamed.filter(|info| info.name.ends_with("text_projection")) {
        assert_ne!(info.dtype, Dtype::I8, "{}", info.name);
    }
    assert!(compare(&all_values(&original), &int8) > 40);
}

/// The tiny checkpoint in eight bits, with something changed.
fn changed(dir: &Path, change: impl Fn(&mut Tensors)) -> PathBuf {
    let int8 = dir.join("good.safetensors");
    converted(&tiny().safetensors, &int8, Some(Dtype::I8)).unwrap();
    let mut tensors = Tensors::read(&int8);
    change(&mut tensors);
    tensors.write(&dir.join("bad.safetensors"), &[])
}

#[test]
fn scales_that_are_missing_or_fit_nothing_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let scale = format!("{LAYER}.weight_scale");
    let error = |change: &dyn Fn(&mut Tensors)| {
        let path = changed(dir.path(), change);
        converted(&path, &dir.path().join("out.safetensors"), Some(Dtype::F16)).unwrap_err()
    };
    let missing = error(&|tensors| tensors.keep(|name| name != scale)).to_string();
    for words in [
        "time_embed.0.weight",
        "I8 without a scale",
        "NAME.weight_scale",
    ] {
        assert!(missing.contains(words), "{missing}");
    }
    let with = |values: &[f32]| {
        error(&|tensors| {
            let all = tensors.0.iter_mut();
            for (info, bytes) in all.filter(|(info, _)| info.name == scale) {
                let mut numbers = bytes.clone();
                let given = values.iter().flat_map(|v| v.to_le_bytes());
                match values {
                    [_] => numbers.splice(8..12, given).for_each(drop),
                    _ => numbers = given.collect(),
                }
                info.shape = vec![numbers.len() / 4];
                *bytes = numbers;
            }
        })
    };
    let short = with(&[1.0, 2.0, 3.0]);
    let ModelError::Mismatch(mismatch) = &short else {
        panic!("{short}");
    };
    let [misshapen] = &mismatch.misshapen[..] else {
        panic!("{short}");
    };
    assert_eq!(
        (&misshapen.tensor, &misshapen.found[..]),
        (&scale, &[3][..])
    );
    for value in [f32::NAN, f32::INFINITY] {
        let error = with(&[value]);
        let found = matches!(&error, ModelError::NotFinite { tensor, element: 2, .. } if tensor.contains("weight_scale"));
        assert!(found, "{error}");
    }
    // A scale of whole numbers is none.
    let whole = error(&|tensors| {
        let all = tensors.0.iter_mut();
        for (info, bytes) in all.filter(|(info, _)| info.name == scale) {
            info.dtype = Dtype::I32;
            assert_eq!(bytes.len() % 4, 0);
        }
    });
    assert!(
        matches!(whole, ModelError::StoredType { dtype: "I32", .. }),
        "{whole}"
    );
}
