//! Stable Diffusion 2.1 unCLIP, which looks at pictures: against diffusers and ComfyUI's rule (goldens
//! `family_pipelines_sd2`, `family_pipelines_unclip`). Requests with pictures: `tasks/images.rs`.

mod common;
#[path = "common/drawing.rs"]
mod drawing;
#[path = "common/golden.rs"]
mod golden;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use burn::tensor::{DType, Device, Tensor, TensorData};
use common::weights;
use drawing::{draw_with, given};
use golden::check;
use latent_checkpoint::convert::{Target, write_file};
use latent_checkpoint::file::write::{Existing, safetensors};
use latent_checkpoint::tiny::{TinyFamily, write_family};
use latent_checkpoint::{
    Dtype, Error, Files, InfoOptions, Network, Role, SchedulerConfig, TensorFile, TensorInfo,
};
use latent_diffusion::{NoiseSource, NoiseStreams, PictureSeed};
use latent_models::Form;
use latent_pipeline::beside::Hints;
use latent_pipeline::draw::{Drawing, Start};
use latent_pipeline::family::{self, Recognised};
use latent_pipeline::picture::Picture;
use latent_pipeline::request::{Compat, Conditions, GivenPicture, ResizeMode};
use latent_pipeline::seen::Seen;
use latent_pipeline::{Model, ModelFiles, Profile, Request, Resolved};
use latent_testkit::{Golden, closeness, max_abs_difference, recipe};

fn model() -> Model {
    common::family(TinyFamily::Sd2UnClip, TinyFamily::Sd2UnClip.scheduler())
}

/// diffusers' PLMS goes on from elsewhere when it starts from a picture; its DDIM does not.
fn with_ddim() -> Model {
    let ddim = SchedulerConfig {
        class_name: "DDIMScheduler".into(),
        ..TinyFamily::Sd2UnClip.scheduler()
    };
    common::family(TinyFamily::Sd2UnClip, ddim)
}

fn golden_request(sampler: &str, level: u32) -> Request {
    Request {
        condition: Conditions {
            noise_level: Some(level),
            ..Conditions::default()
        },
        ..golden::request(sampler)
    }
}

/// What the encoder makes of pixels by the recipe.
fn seen(model: &Model, name: &str, strength: f64) -> Seen {
    let shape = [1, 3, 32, 32];
    let pixels = TensorData::new(recipe::normal(name, &shape), shape);
    let encoder = model.image_encoder.as_ref().expect("an image encoder");
    let network = encoder.network().get().expect("weights");
    Seen {
        embedding: network.forward(Tensor::from_data(pixels, &Device::flex())),
        strength,
    }
}

fn hints(model: &Model) -> Hints {
    Hints {
        seen: vec![seen(model, "unclip/pixels", 1.0)],
        ..Hints::default()
    }
}

fn check_drawings(model: &Model) {
    let golden = Golden::family_pipelines_sd2();
    let hints = hints(model);
    for level in [0, 200] {
        let drawn = draw_with(model, &golden_request("PNDM", level), None, Some(&hints));
        check(&golden, &format!("unclip/noise_level_{level}"), &drawn);
    }
}

#[test]
fn like_a_picture() {
    check_drawings(&model());
    check_drawings(&model().packed(Form::Plain));
}

fn open(path: PathBuf) -> Result<Model, latent_pipeline::Error> {
    let quiet = &mut |_: &'static str, _, _| {};
    Model::open(&ModelFiles::from(path), &Device::flex(), DType::F32, quiet).map(|(model, _)| model)
}

#[test]
fn like_a_picture_from_every_form() {
    let dir = tempfile::tempdir().unwrap();
    let paths = write_family(dir.path(), TinyFamily::Sd2UnClip, &mut weights).unwrap();
    for path in [&paths.folder, &paths.safetensors, &paths.ckpt] {
        check_drawings(&open(path.clone()).unwrap());
    }
}

#[test]
fn from_a_picture_and_under_a_mask() {
    let golden = Golden::family_pipelines_unclip();
    let model = with_ddim();
    let request = Request {
        width: 64,
        steps: 5,
        start: GivenPicture {
            strength: 0.6,
            ..golden_request("DDIM", 200).start
        },
        ..golden_request("DDIM", 200)
    };
    for (name, mask) in [("img2img", false), ("inpaint4", true)] {
        let drawn = draw_with(&model, &request, Some(&given(mask)), Some(&hints(&model)));
        check(&golden, name, &drawn);
    }
}

#[test]
fn several_pictures_are_added_up_and_noised_again() {
    let (golden, model) = (Golden::family_pipelines_unclip(), model());
    let request = Request {
        compat: Compat::ComfyUi,
        ..golden_request("Euler", 200)
    };
    let profile = Profile::of(request.compat);
    let names = Resolved::of("Euler", "Normal", &profile, &model.scheduler).unwrap();
    let drawing = Drawing {
        model: &model,
        profile: &profile,
        request: &request,
        sampler: names.sampler,
        scheduler: names.scheduler,
        steps: 6,
        strength: 1.0,
        rule: profile.strength,
    };
    let told = |seen: Vec<Seen>| {
        let hints = Hints {
            seen,
            ..Hints::default()
        };
        let start = Start {
            size: [8, 8],
            canvas: None,
            latent: None,
            hints: Some(&hints),
        };
        let seeds = [PictureSeed::from(42)];
        let mut streams = NoiseStreams::new(NoiseSource::TorchCpu, &seeds).unwrap();
        let vector = drawing.image_vector(&start, &mut streams, &seeds).unwrap();
        vector.map(|v| v.into_data().iter::<f32>().collect::<Vec<_>>())
    };
    assert_eq!(told(Vec::new()), None);
    let embeds = seen(&model, "unclip/pixels", 1.0).embedding.into_data();
    let embeds: Vec<f32> = embeds.iter::<f32>().collect();
    assert!(closeness(&embeds, golden.values("embeds")) < 1e-4);
    let half = seen(&model, "unclip/pixels", 0.5);
    let pair = [("unclip/pixels", 1.0), ("unclip/pixels_2", -0.4)];
    let pair = pair.map(|(name, strength)| seen(&model, name, strength));
    for (name, seen) in [("comfyui/one", vec![half]), ("comfyui/two", pair.to_vec())] {
        let got = told(seen).unwrap();
        let difference = closeness(&got, golden.values(name));
        assert!(difference < 1e-4, "{name}: {difference:e}");
    }
}

#[test]
fn pictures_are_made_ready_as_by_clips_image_processor() {
    let (golden, model) = (Golden::family_pipelines_unclip(), model());
    let encoder = model.image_encoder.expect("an image encoder");
    for (width, height, fit, name) in [
        (40, 24, ResizeMode::Crop, "cropped/40"),
        (20, 45, ResizeMode::Crop, "cropped/20"),
        (20, 45, ResizeMode::Stretch, "stretched/20"),
    ] {
        let values = recipe::normal(&format!("unclip/picture_{width}"), &[height, width, 3]);
        let byte = |v: f32| ((v / 8.0 + 1.0) * 127.5).round_ties_even() as u8;
        let bytes = values.into_iter().map(byte).collect();
        let picture = Picture::new(width, height, bytes).unwrap();
        let got = encoder.pixels(&picture, fit).into_data();
        let got: Vec<f32> = got.iter::<f32>().collect();
        let difference = max_abs_difference(&got, golden.values(name));
        println!("{name}: {difference:.2e}");
        // Pillow 13 may take the columns first, which rounds otherwise: one of 255 levels, divided by a deviation of 0.26.
        assert!(difference < 0.016, "{name}: {difference:e}");
    }
}

/// By the names of the original program, and with the width of context that tells its published U-Net.
#[test]
fn an_unmarked_file_of_unclip_predicts_velocity() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = TinyFamily::Sd2UnClip.model(true);
    model.parts.retain(|part| part.role != Role::TEXT_ENCODER);
    for part in &mut model.parts {
        if let Network::Unet(unet) = &mut part.config {
            unet.context = Some(1024);
        }
        let parameters = part.config.parameters().into_iter();
        part.dtypes = parameters.map(|(name, _)| (name, Dtype::F16)).collect();
    }
    let shapes: HashMap<(Role, String), Vec<usize>> = model
        .parts
        .iter()
        .flat_map(|part| {
            let parameters = part.config.parameters().into_iter();
            parameters.map(|(name, shape)| ((part.role, name), shape))
        })
        .collect();
    let values = &mut |role: Role, name: &str| {
        let shape = &shapes[&(role, name.to_owned())];
        let values = recipe::tensor_f16(&format!("{}/{name}", role.folder()), shape, 0);
        Ok(values.iter().flat_map(|v| v.to_le_bytes()).collect())
    };
    let whole = dir.path().join("whole.safetensors");
    let (target, existing) = (Target::Safetensors, Existing::Refuse);
    write_file(&whole, target, &model, existing, values).unwrap();
    // Without what else stands in the file.
    let file = TensorFile::open(&whole).unwrap();
    let tensors = file.tensors().iter().filter(|info| info.name != "v_pred");
    let infos: Vec<TensorInfo> = tensors.cloned().collect();
    let bare = dir.path().join("bare.safetensors");
    safetensors::<Error>(&bare, &infos, &BTreeMap::new(), existing, |info| {
        file.bytes(&info.name)
    })
    .unwrap();
    let (checkpoint, recognised) = family::open(&bare, Files::Disk).unwrap();
    let Recognised::Family(family) = recognised else {
        panic!("{recognised:?}");
    };
    assert_eq!(family.name, "Stable Diffusion 2.x, unCLIP");
    assert_eq!(checkpoint.scheduler().prediction_type, "v_prediction");
    for role in [Role::IMAGE_ENCODER, Role::IMAGE_NORMALIZER] {
        let written = model.parts.iter().find(|part| part.role == role);
        assert_eq!(
            checkpoint.part(role).unwrap().config,
            written.unwrap().config
        );
    }
    let info = family::inspect(&bare, Files::Disk, &InfoOptions::default(), &mut |_, _| {});
    let notes = info.unwrap().notes;
    assert!(
        notes.iter().any(|note| note.contains("--image")),
        "{notes:?}"
    );
}

/// What is read is not listed as passed over, and what is missing is named with what is taken in its place.
#[test]
fn settings_that_are_missing_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let folder = write_family(dir.path(), TinyFamily::Sd2UnClip, &mut weights)
        .unwrap()
        .folder;
    let inspect = || {
        let options = InfoOptions::default();
        family::inspect(&folder, Files::Disk, &options, &mut |_, _| {}).unwrap()
    };
    let others = inspect().other_components;
    assert!(
        others.iter().all(|other| other.starts_with("tokenizer")),
        "{others:?}"
    );
    let settings = ["scheduler", "image_noising_scheduler", "feature_extractor"];
    for name in settings {
        std::fs::remove_dir_all(folder.join(name)).unwrap();
    }
    let (info, model) = (inspect(), open(folder.clone()).unwrap());
    assert_eq!(info.other_components, others);
    for notes in [&info.notes, &model.notes] {
        for name in settings {
            let named = |note: &String| note.starts_with(&format!("{name}/"));
            let note = notes.iter().find(|note| named(note)).unwrap();
            assert!(
                note.contains("is missing, though model_index.json names it"),
                "{note}"
            );
        }
    }
}
