//! LoRAs that act in some calls of the denoiser alone.

use burn::tensor::{DType, Device};
use latent_models::Form;
use latent_pipeline::model::Calls;
use latent_pipeline::request::{Compat, GuidanceOptions};
use latent_pipeline::{Model, ModelFiles, Request};

use super::{PROMPT, Place, drawing, strengths, uses};

const CALLS: usize = 6;

fn request() -> Request {
    Request {
        prompt: PROMPT.into(),
        negative_prompt: "blurry".into(),
        steps: CALLS,
        sampler: "DDIM".into(),
        seed: Some(42),
        width: 64,
        height: 64,
        compat: Compat::Diffusers,
        guidance: GuidanceOptions {
            scale: 7.5,
            ..GuidanceOptions::default()
        },
        ..Request::default()
    }
}

#[test]
fn a_lora_begins_and_ends() {
    let place = Place::new();
    let (attention, locon) = (place.kohya("attention"), place.kohya("locon"));
    let model = |denoiser: f64, calls: Calls, more: bool, packed: bool| {
        let mut adapters = uses(&[(attention.as_path(), strengths(denoiser, 0.5))]);
        adapters[0].calls = calls;
        if more {
            // One that acts all along, on some of the same layers.
            adapters.extend(uses(&[(locon.as_path(), 0.5.into())]));
        }
        let files = ModelFiles {
            adapters,
            ..ModelFiles::from(place.model.clone())
        };
        let opened = Model::open(&files, &Device::flex(), DType::F32, &mut |_, _, _| {});
        let (model, _) = opened.unwrap();
        match packed {
            true => model.packed(Form::Plain),
            false => model,
        }
    };
    for (more, packed) in [(false, false), (true, true)] {
        let path = |denoiser, start, stop| {
            let model = model(denoiser, Calls { start, stop }, more, packed);
            drawing::draw(&model, &request(), None).path
        };
        let (with, without) = (path(0.8, 0, None), path(0.0, 0, None));
        assert_eq!(with.len(), CALLS);
        assert_ne!(with[0].1, without[0].1);
        assert_eq!(path(0.8, 0, Some(CALLS)), with);
        // Text encoders are changed all along.
        assert_eq!(path(0.8, CALLS, None), without);
        let early = path(0.8, 0, Some(3));
        assert_eq!(early[..3], with[..3]);
        assert_ne!(early[3], with[3]);
        let late = path(0.8, 3, None);
        assert_eq!(late[..3], without[..3]);
        assert_ne!(late[3], without[3]);
        let between = path(0.8, 2, Some(4));
        assert_eq!(between[..2], without[..2]);
        assert_eq!(between[2..4].len(), 2);
        assert_ne!(between[2], without[2]);
        // What acted is gone again: drawing once more begins as before.
        let model = model(
            0.8,
            Calls {
                start: 3,
                stop: None,
            },
            more,
            packed,
        );
        let [first, second] = [0, 1].map(|_| drawing::draw(&model, &request(), None).path);
        assert_eq!(first, second);
        assert_eq!(first, late);
    }
}
