//! Checkpoints of every published kind, in every form: what they are recognised as, what is loaded, what conversion keeps.

#[path = "../common/mod.rs"]
mod common;

mod published;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Tensor};
use latent_checkpoint::convert::{ConvertOptions, Converted, Target, convert};
use latent_checkpoint::file::write::{Existing, safetensors};
use latent_checkpoint::tiny::{TINY_FAMILIES, TinyFamily, TinyPaths, write_family};
use latent_checkpoint::{
    Checkpoint, Error, Files, Network, Role, SchedulerConfig, TensorFile, TensorInfo,
};
use latent_pipeline::family::{self, Recognised};
use latent_pipeline::model::Compressor;
use latent_pipeline::{Model, ModelFiles};
use latent_testkit::recipe;

fn write(dir: &Path, kind: TinyFamily) -> TinyPaths {
    write_family(dir, kind, &mut |folder, name, shape| {
        recipe::tensor_f16(&format!("{folder}/{name}"), shape, 0)
    })
    .unwrap()
}

/// What a file of each kind is recognised as, and the pipeline of diffusers that draws with its folder.
fn names(kind: TinyFamily) -> (&'static str, &'static str) {
    use TinyFamily::*;
    match kind {
        Sd1 => ("Stable Diffusion 1.x", "StableDiffusionPipeline"),
        Sd1Inpainting => (
            "Stable Diffusion 1.x, inpainting",
            "StableDiffusionInpaintPipeline",
        ),
        Lcm => ("Stable Diffusion 1.x", "LatentConsistencyModelPipeline"),
        Sd2 => ("Stable Diffusion 2.x", "StableDiffusionPipeline"),
        Sd2Inpainting => (
            "Stable Diffusion 2.x, inpainting",
            "StableDiffusionInpaintPipeline",
        ),
        Sd2Depth => (
            "Stable Diffusion 2.x, depth",
            "StableDiffusionDepth2ImgPipeline",
        ),
        Sd2UnClip => (
            "Stable Diffusion 2.x, unCLIP",
            "StableUnCLIPImg2ImgPipeline",
        ),
        Upscaler => (
            "Stable Diffusion 2.x, ×4 upscaler",
            "StableDiffusionUpscalePipeline",
        ),
        Sdxl | SdxlTurbo | SdxlV | Ssd1b | Vega | Koala | Playground | CosXl => {
            ("SDXL", "StableDiffusionXLPipeline")
        }
        SdxlInpainting => ("SDXL, inpainting", "StableDiffusionXLInpaintPipeline"),
        Refiner => ("SDXL refiner", "StableDiffusionXLImg2ImgPipeline"),
    }
}

fn forms(paths: &TinyPaths) -> [&PathBuf; 3] {
    [&paths.folder, &paths.safetensors, &paths.ckpt]
}

fn opened(path: &Path) -> (Checkpoint, Recognised) {
    family::open(path, Files::Disk).unwrap()
}

fn family_of(recognised: &Recognised) -> &'static str {
    match recognised {
        Recognised::Family(family) => family.name,
        other => panic!("{other:?}"),
    }
}

/// The settings without bookkeeping.
fn settings(scheduler: &SchedulerConfig) -> SchedulerConfig {
    let mut settings = scheduler.clone();
    settings.rest.retain(|key, _| !key.starts_with('_'));
    settings
}

/// Scale, and means and deviations, of the latents.
fn latents(checkpoint: &Checkpoint) -> (f64, Vec<(f64, f64)>) {
    match &checkpoint.find(Role::AUTOENCODER).unwrap().config {
        Network::Autoencoder(stored) => (stored.scale.unwrap(), stored.moments.clone()),
        other => panic!("{other:?}"),
    }
}

fn expected_latents(kind: TinyFamily) -> (f64, Vec<(f64, f64)>) {
    let model = kind.model(false);
    let mut parts = model.parts.into_iter();
    let found = parts.find_map(|part| match part.config {
        Network::Autoencoder(stored) => Some((stored.scale.unwrap(), stored.moments)),
        _ => None,
    });
    found.unwrap()
}

struct Collect(Vec<Vec<f32>>);

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let data = param.val().into_data().convert::<f32>();
        self.0.push(data.try_to_vec().unwrap());
    }
}

fn assert_recipe<M: Module>(role: Role, module: &M) {
    let mut collect = Collect(Vec::new());
    module.visit(&mut collect);
    let parameters = latent_models::parameters(module);
    assert_eq!(parameters.len(), collect.0.len());
    for ((name, shape), values) in parameters.into_iter().zip(collect.0) {
        let name = format!("{}/{name}", role.folder());
        let expected = recipe::tensor(&name, &shape, 0);
        let same = values
            .iter()
            .zip(&expected)
            .all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same && values.len() == expected.len(), "{name}");
    }
}

fn assert_loads(path: &Path, kind: TinyFamily) {
    let files = ModelFiles::from(path.to_owned());
    let (model, _) = Model::open(&files, &Device::flex(), DType::F32, &mut |_, _, _| {}).unwrap();
    assert_eq!(model.family.name, names(kind).0);
    let latents = (model.latent.scale, model.moments.clone());
    assert_eq!(latents, expected_latents(kind));
    assert_recipe(Role::DENOISER, &*model.denoiser().unwrap());
    match model.compressor().unwrap().as_deref() {
        Some(Compressor::Whole(network)) => assert_recipe(Role::AUTOENCODER, network),
        other => panic!("{other:?}"),
    }
    for text in &model.texts {
        assert_recipe(text.input.role, &*text.network.get().unwrap());
    }
    let looks = kind == TinyFamily::Sd2UnClip;
    assert_eq!(model.image_encoder.is_some(), looks);
    if let Some(encoder) = &model.image_encoder {
        assert_recipe(Role::IMAGE_ENCODER, &*encoder.network().get().unwrap());
    }
    let texts = model.texts.iter().map(|text| text.input.role);
    let parts = kind.model(false).parts.into_iter();
    let expected = parts.filter(|part| matches!(part.config, Network::TextEncoder(_)));
    assert!(texts.eq(expected.map(|part| part.role)));
}

fn to(input: &Path, output: &Path) -> Converted {
    let options = ConvertOptions {
        target: Target::of(output).unwrap(),
        dtype: None,
        moving_average: false,
        existing: Existing::Refuse,
    };
    convert(&opened(input).0, output, &options, &mut |_, _| {}).unwrap()
}

/// Every file below a folder.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let bytes = std::fs::read(&path).unwrap();
                    found.insert(path.strip_prefix(folder).unwrap().to_owned(), bytes);
                }
            }
        }
    }
    found
}

type Contents = BTreeMap<String, (TensorInfo, Vec<u8>)>;

fn contents(path: &Path) -> Contents {
    let file = TensorFile::open(path).unwrap();
    let read = |info: &TensorInfo| {
        let bytes = file.bytes(&info.name).unwrap().into_owned();
        (info.name.clone(), (info.clone(), bytes))
    };
    file.tensors().iter().map(read).collect()
}

/// The last of OpenCLIP-H's layers and its projection: single files have them, nothing reads them, folders do not.
fn beyond_h(name: &str) -> bool {
    name.starts_with("cond_stage_model.model.transformer.resblocks.23.")
        || name == "cond_stage_model.model.text_projection"
}

/// Conversion from every form to a folder and to a file gives the same bytes.
fn assert_converts(dir: &Path, paths: &TinyPaths, kind: TinyFamily) {
    let folder = tree(&paths.folder);
    let mut file = contents(&paths.safetensors);
    file.retain(|name, _| !beyond_h(name));
    for (i, form) in forms(paths).into_iter().enumerate() {
        let whole = dir.join(format!("folder-{i}"));
        let done = to(form, &whole);
        let known = |name: &String| beyond_h(name) || MARKS.contains(&name.as_str());
        assert!(
            done.dropped.iter().all(|(name, _)| known(name)),
            "{kind:?} {i}: {:?}",
            done.dropped
        );
        let whole_tree = tree(&whole);
        assert!(whole_tree.keys().eq(folder.keys()), "{kind:?} {i}");
        for (name, bytes) in &whole_tree {
            let json = name.extension().is_some_and(|ending| ending == "json");
            let (got, want) = (bytes, &folder[name]);
            assert!(
                got == want,
                "{kind:?} {i}: {}{}",
                name.display(),
                match json && got.len() < 10_000 {
                    true => format!(
                        "\n{}\n{}",
                        String::from_utf8_lossy(got),
                        String::from_utf8_lossy(want)
                    ),
                    false => String::new(),
                }
            );
        }
        let single = dir.join(format!("file-{i}.safetensors"));
        to(&whole, &single);
        assert!(contents(&single) == file, "{kind:?} {i}: file");
        std::fs::remove_dir_all(whole).unwrap();
        std::fs::remove_file(single).unwrap();
    }
}

const MARKS: [&str; 6] = [
    "v_pred",
    "ztsnr",
    "edm_mean",
    "edm_std",
    "edm_vpred.sigma_max",
    "edm_vpred.sigma_min",
];

/// The file without the text in it, as it is published, and without the tensors of those names.
fn published(from: &Path, to: &Path, without: &[&str]) {
    let mut contents = contents(from);
    contents.retain(|name, _| !without.contains(&name.as_str()));
    rewritten(&contents, to);
}

fn rewritten(contents: &Contents, to: &Path) {
    let infos: Vec<TensorInfo> = contents.values().map(|(info, _)| info.clone()).collect();
    let metadata = BTreeMap::new();
    safetensors::<Error>(to, &infos, &metadata, Existing::Refuse, |info| {
        Ok(contents[&info.name].1.clone().into())
    })
    .unwrap();
}

/// A file that says nothing but by its tensors leads to the same family and the same training.
fn assert_tensors_tell(dir: &Path, paths: &TinyPaths, kind: TinyFamily) {
    if kind == TinyFamily::Sd2UnClip {
        // Its published U-Net is told by the width of its context, which a tiny one does not have: see `unclip.rs`.
        return;
    }
    let bare = dir.join("bare.safetensors");
    published(&paths.safetensors, &bare, &[]);
    let (checkpoint, recognised) = opened(&bare);
    assert_eq!(family_of(&recognised), names(kind).0, "{kind:?}");
    assert_eq!(latents(&checkpoint), expected_latents(kind), "{kind:?}");
    let (found, expected) = (checkpoint.scheduler(), kind.scheduler());
    assert_eq!(found.prediction_type, expected.prediction_type, "{kind:?}");
    assert_eq!(
        found.rescale_betas_zero_snr, expected.rescale_betas_zero_snr,
        "{kind:?}"
    );
    let edm = expected.class_name.starts_with("EDM");
    assert_eq!(found.class_name.starts_with("EDM"), edm, "{kind:?}");
    for key in ["sigma_data", "sigma_min", "sigma_max"] {
        assert_eq!(
            found.rest.get(key),
            expected.rest.get(key),
            "{kind:?}: {key}"
        );
    }
    if !edm {
        let betas = |s: &SchedulerConfig| (s.beta_start, s.beta_end, s.beta_schedule.clone());
        assert_eq!(betas(found), betas(&expected), "{kind:?}");
    }
    std::fs::remove_file(bare).unwrap();
}

fn check(kind: TinyFamily) {
    let dir = tempfile::tempdir().unwrap();
    let paths = write(dir.path(), kind);
    for form in forms(&paths) {
        let (checkpoint, recognised) = opened(form);
        let what = format!("{kind:?}, {}", form.display());
        assert_eq!(family_of(&recognised), names(kind).0, "{what}");
        assert_eq!(
            settings(checkpoint.scheduler()),
            settings(&kind.scheduler()),
            "{what}"
        );
        assert_eq!(latents(&checkpoint), expected_latents(kind), "{what}");
        assert_loads(form, kind);
    }
    assert_tensors_tell(dir.path(), &paths, kind);
    assert_converts(dir.path(), &paths, kind);
}

#[test]
fn stable_diffusion_1_and_2_in_every_form() {
    for kind in &TINY_FAMILIES[..8] {
        check(*kind);
    }
}

#[test]
fn sdxl_in_every_form() {
    for kind in &TINY_FAMILIES[8..] {
        check(*kind);
    }
}
