//! Drawing with a model of the tests, and reading what was drawn.

#![allow(dead_code)] // each test file uses its own part

use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor, TensorData};
use latent_diffusion::PictureSeed;
use latent_pipeline::beside::Hints;
use latent_pipeline::conditioning::Prompts;
use latent_pipeline::draw::{Canvas, Drawing, Mask, Start};
use latent_pipeline::embeddings::Embeddings;
use latent_pipeline::refiner::Refining;
use latent_pipeline::request::Size;
use latent_pipeline::{Decoding, Model, Profile, Request, Resolved};
use latent_testkit::recipe;
use latent_text::Pass;

/// The latents, and the pictures in 0..1.
pub struct Drawn {
    /// σ before each step, and the latent after it.
    pub path: Vec<(f64, Vec<f32>)>,
    pub latent: Vec<f32>,
    pub picture: Vec<f32>,
}

fn values(t: Tensor<4>) -> Vec<f32> {
    t.into_data().convert::<f32>().iter::<f32>().collect()
}

/// Draws with seeds from 42 on as `latent generate` would.
pub fn draw(model: &Model, request: &Request, canvas: Option<&Canvas>) -> Drawn {
    draw_with(model, request, canvas, None)
}

/// The prompts of a request, for one pass.
pub fn encode(model: &Model, request: &Request) -> Prompts {
    encode_with(model, request, &Embeddings::default())
}

/// The same of prompts that may name embeddings.
pub fn encode_with(model: &Model, request: &Request, embeddings: &Embeddings) -> Prompts {
    let size = Size {
        width: request.width,
        height: request.height,
    };
    Prompts::encode(
        model,
        &Profile::of(request.compat),
        request,
        [&request.prompt, &request.negative_prompt],
        size,
        Pass::Only(request.steps),
        embeddings,
    )
    .expect("prompts")
}

/// Draws with these prompts in the place of the request's.
pub fn draw_told(model: &Model, request: &Request, prompts: &Prompts) -> Drawn {
    draw_by(model, request, prompts, None, None)
}

pub fn draw_with(
    model: &Model,
    request: &Request,
    canvas: Option<&Canvas>,
    hints: Option<&Hints>,
) -> Drawn {
    draw_by(model, request, &encode(model, request), canvas, hints)
}

fn draw_by(
    model: &Model,
    request: &Request,
    prompts: &Prompts,
    canvas: Option<&Canvas>,
    hints: Option<&Hints>,
) -> Drawn {
    let profile = Profile::of(request.compat);
    let (names, _) = Resolved::of_passes(request, &model.scheduler, &profile).expect("known names");
    let drawing = Drawing::of(request, model, &profile, names);
    let down = model.latent.downsample;
    let start = Start {
        size: [request.height / down, request.width / down],
        canvas,
        latent: None,
        hints,
    };
    let refined = model
        .refiner
        .as_deref()
        .map(|refiner| encode(refiner, request));
    let refining = refined.as_ref().zip(model.refiner.as_deref());
    let refining = refining.map(|(prompts, model)| Refining {
        model,
        prompts,
        takes_over: false,
    });
    let seeds: Vec<_> = (0..request.batch_size as u64)
        .map(|i| PictureSeed::from(42 + i))
        .collect();
    let mut path = Vec::new();
    let prepared = drawing.prepare(&start, &seeds).expect("a start");
    let drawn = drawing
        .draw(prepared, (prompts, refining), &mut |step| {
            path.push((step.sigma, values(step.x.clone())));
            ControlFlow::Continue(())
        })
        .expect("a drawing");
    let pixels = Decoding::Whole
        .pixels(
            model,
            request,
            drawn.latent.clone(),
            &mut latent_pipeline::Quiet,
        )
        .expect("pixels");
    Drawn {
        path,
        latent: values(drawn.latent),
        picture: values((pixels / 2.0 + 0.5).clamp(0.0, 1.0)),
    }
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
