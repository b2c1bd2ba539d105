//! The requests of the goldens `pipelines` and `family_pipelines_*`, and what was drawn beside them.

#![allow(dead_code)] // each test file uses its own part

use latent_pipeline::Request;
use latent_pipeline::request::{Compat, Conditions, GivenPicture, GuidanceOptions, SizeConditions};
use latent_testkit::{Golden, closeness, max_abs_difference};

use crate::drawing::Drawn;

/// Of pictures in 0..1, and of latents relative to their norm.
const PICTURE: f64 = 2e-3;
const LATENT: f64 = 1e-3;

/// 96×64 in six steps, as diffusers draws it.
pub fn request(sampler: &str) -> Request {
    Request {
        prompt: "a red apple on a table".into(),
        negative_prompt: "blurry".into(),
        steps: 6,
        sampler: sampler.into(),
        seed: Some(42),
        width: 96,
        height: 64,
        compat: Compat::Diffusers,
        guidance: GuidanceOptions {
            scale: 7.5,
            ..GuidanceOptions::default()
        },
        ..Request::default()
    }
}

/// Compares with the goldens of that name: the latent, and the picture where there is one.
pub fn check(golden: &Golden, name: &str, drawn: &Drawn) {
    let mut found = false;
    for (kind, got) in [("latent", &drawn.latent), ("pt", &drawn.picture)] {
        let whole = format!("{name}/{kind}");
        let strided = format!("{whole}/strided");
        let names = golden.names();
        let got: Vec<f32> = match names.contains(&strided.as_str()) {
            true => {
                let step = (got.len() / 2048).max(1);
                got.iter().copied().step_by(step).collect()
            }
            false => got.clone(),
        };
        let key = [strided, whole]
            .into_iter()
            .find(|key| names.contains(&key.as_str()));
        let Some(key) = key else { continue };
        found = true;
        let expected = golden.values(&key);
        let (difference, tolerance) = match kind {
            "latent" => (closeness(&got, expected), LATENT),
            _ => (max_abs_difference(&got, expected), PICTURE),
        };
        println!("{key}: {difference:.2e}");
        assert!(
            difference <= tolerance,
            "{key}: {difference:e} > {tolerance:e}"
        );
    }
    assert!(found, "no golden {name}");
}

/// The same of SDXL.
pub fn xl(sampler: &str) -> Request {
    Request {
        guidance: GuidanceOptions {
            scale: 5.0,
            ..request(sampler).guidance
        },
        ..request(sampler)
    }
}

/// A picture of 64×64 redrawn.
pub fn square(strength: f64, request: Request) -> Request {
    Request {
        width: 64,
        start: GivenPicture {
            strength,
            ..request.start
        },
        ..request
    }
}

/// A request that tells a model these sizes.
pub fn told(sizes: SizeConditions, request: Request) -> Request {
    Request {
        condition: Conditions {
            sizes,
            ..request.condition
        },
        ..request
    }
}
