//! Drawing with a model of the tests, and reading what was drawn.

#![allow(dead_code)] // each test file uses its own part

use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor, TensorData};
use latent_diffusion::PictureSeed;
use latent_pipeline::beside::Hints;
use latent_pipeline::conditioning::Prompts;
use latent_pipeline::draw::{Canvas, Drawing, Mask, Start};
use latent_pipeline::request::Size;
use latent_pipeline::{Decoding, Model, Profile, Request, Resolved};
use latent_testkit::{Golden, closeness, max_abs_difference, recipe};
use latent_text::Pass;

/// Of pictures in 0..1, and of latents relative to their norm.
const PICTURE: f64 = 2e-3;
const LATENT: f64 = 1e-3;

/// The latent, and the picture in 0..1.
pub struct Drawn {
    pub latent: Vec<f32>,
    pub picture: Vec<f32>,
}

fn values(t: Tensor<4>) -> Vec<f32> {
    t.into_data().convert::<f32>().iter::<f32>().collect()
}

/// Draws with seed 42 as `latent generate` would.
pub fn draw(model: &Model, request: &Request, canvas: Option<&Canvas>) -> Drawn {
    draw_with(model, request, canvas, None)
}

pub fn draw_with(
    model: &Model,
    request: &Request,
    canvas: Option<&Canvas>,
    hints: Option<&Hints>,
) -> Drawn {
    let profile = Profile::of(request.compat);
    let (names, _) = Resolved::of_passes(request, model, &profile).expect("known names");
    let drawing = Drawing::of(request, model, &profile, names);
    let size = Size {
        width: request.width,
        height: request.height,
    };
    let prompts = Prompts::encode(
        model,
        &profile,
        request,
        &request.prompt,
        &request.negative_prompt,
        size,
        Pass::Only(request.steps),
    )
    .expect("prompts");
    let down = model.latent.downsample;
    let start = Start {
        size: [request.height / down, request.width / down],
        canvas,
        latent: None,
        hints,
    };
    let seeds = [PictureSeed::from(42)];
    let prepared = drawing.prepare(&start, &seeds).expect("a start");
    let drawn = drawing
        .draw(prepared, &prompts, &mut |_| ControlFlow::Continue(()))
        .expect("a drawing");
    let pixels = Decoding::Whole
        .pixels(model, request, drawn.latent.clone())
        .expect("pixels");
    Drawn {
        latent: values(drawn.latent),
        picture: values((pixels / 2.0 + 0.5).clamp(0.0, 1.0)),
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

/// A picture of 64×64, and a mask of its rows 16..48 and columns 24.., an eighth of that of the latent.
pub fn given(mask: bool) -> Canvas {
    let device = Device::flex();
    let image = recipe::normal("img2img/image", &[1, 3, 64, 64]);
    let image: Vec<f32> = image.into_iter().map(|v| v.clamp(-1.0, 1.0)).collect();
    let stencil = |side: usize, scale: usize| {
        let inside = move |i: usize| {
            let (y, x) = (i / side * scale, i % side * scale);
            f32::from(u8::from((16..48).contains(&y) && x >= 24))
        };
        let values: Vec<f32> = (0..side * side).map(inside).collect();
        Tensor::from_data(TensorData::new(values, [1, 1, side, side]), &device)
    };
    Canvas {
        image: Tensor::from_data(TensorData::new(image, [1, 3, 64, 64]), &device),
        mask: mask.then(|| Mask {
            pixels: stencil(64, 1),
            latent: stencil(8, 8),
            channel: stencil(8, 8),
        }),
    }
}
