//! Whole pipelines of the tiny model against diffusers: latents and pictures of six samplers, img2img and both kinds of
//! inpainting (`tools/reference/`, golden `pipelines`).

mod common;

use burn::tensor::{Device, Tensor, TensorData};
use latent_diffusion::PictureSeed;
use latent_pipeline::conditioning::Prompts;
use latent_pipeline::draw::{Canvas, Drawing, Mask, Start};
use latent_pipeline::request::{Compat, Size};
use latent_pipeline::{Decoding, Model, Profile, Request, Resolved};
use latent_testkit::{Golden, max_abs_difference, recipe};
use latent_text::Pass;
use std::ops::ControlFlow;

use common::{scheduler, tiny};

/// Per value of a picture in 0..1.
const TOLERANCE: f64 = 2e-3;

fn request(sampler: &str, scheduler: &str) -> Request {
    Request {
        prompt: "a red apple on a table".into(),
        negative_prompt: "blurry".into(),
        steps: 6,
        cfg_scale: 7.5,
        sampler: sampler.into(),
        scheduler: scheduler.into(),
        seed: Some(42),
        compat: Compat::Diffusers,
        ..Request::default()
    }
}

/// The latent and the picture in 0..1.
fn draw(
    model: &Model,
    request: &Request,
    size: [usize; 2],
    canvas: Option<&Canvas>,
) -> (Vec<f32>, Vec<f32>) {
    let profile = Profile::of(Compat::Diffusers);
    let names = Resolved::of(
        &request.sampler,
        &request.scheduler,
        &profile,
        &model.scheduler,
    )
    .expect("known names");
    let drawing = Drawing {
        model,
        profile: &profile,
        request,
        sampler: names.sampler,
        scheduler: names.scheduler,
        steps: request.steps,
        strength: request.strength,
        rule: profile.strength,
    };
    let pass = Pass::Only(request.steps);
    let prompts = Prompts::encode(
        model,
        &profile,
        request,
        &request.prompt,
        &request.negative_prompt,
        Size {
            width: 8 * size[1],
            height: 8 * size[0],
        },
        pass,
    )
    .expect("prompts");
    let start = Start {
        size,
        canvas,
        latent: None,
        hints: None,
    };
    let drawn = drawing
        .draw(&start, &prompts, &[PictureSeed::from(42)], &mut |_| {
            ControlFlow::Continue(())
        })
        .expect("a drawing");
    let pixels = Decoding::Whole
        .pixels(model, request, drawn.latent.clone())
        .expect("pixels");
    let values = |t: Tensor<4>| {
        t.into_data()
            .convert::<f32>()
            .iter::<f32>()
            .collect::<Vec<_>>()
    };
    (
        values(drawn.latent),
        values((pixels / 2.0 + 0.5).clamp(0.0, 1.0)),
    )
}

fn assert_near(name: &str, got: &[f32]) {
    let golden = Golden::pipelines();
    let difference = max_abs_difference(got, golden.values(name));
    println!("{name}: {difference:.2e}");
    assert!(
        difference <= TOLERANCE,
        "{name}: {difference:e} > {TOLERANCE:e}"
    );
}

fn txt2img(name: &str, sampler: &str, ladder: &str) {
    let model = tiny(4, scheduler());
    let (latent, picture) = draw(&model, &request(sampler, ladder), [8, 12], None);
    assert_near(&format!("txt2img/{name}/pt"), &picture);
    // The final latent is about ten times as large as the picture's range.
    let golden = Golden::pipelines();
    let difference = max_abs_difference(&latent, golden.values(&format!("txt2img/{name}/latent")));
    assert!(
        difference <= 10.0 * TOLERANCE,
        "latent of {name}: {difference:e}"
    );
}

#[test]
fn plms() {
    txt2img("plms", "PNDM", "Automatic");
}

#[test]
fn ddim() {
    txt2img("ddim", "DDIM", "Automatic");
}

#[test]
fn euler() {
    txt2img("euler", "Euler", "Automatic");
}

#[test]
fn euler_a() {
    txt2img("euler_a", "Euler a", "Automatic");
}

#[test]
fn dpmpp_2m_karras() {
    txt2img("dpmpp_2m_karras", "DPM++ 2M Karras", "Automatic");
}

#[test]
fn unipc() {
    txt2img("unipc", "UniPC", "Automatic");
}

fn given(mask: bool) -> Canvas {
    let device = Device::flex();
    let image = recipe::normal("img2img/image", &[1, 3, 64, 64]);
    let image: Vec<f32> = image.into_iter().map(|v| v.clamp(-1.0, 1.0)).collect();
    // Rows 16..48 and columns 24.. of the picture; an eighth of that of the latent.
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

#[test]
fn img2img() {
    let model = tiny(4, scheduler());
    let request = Request {
        strength: 0.6,
        ..request("DDIM", "Automatic")
    };
    let (_, picture) = draw(&model, &request, [8, 8], Some(&given(false)));
    assert_near("img2img/ddim/pt", &picture);
}

#[test]
fn inpainting_with_an_ordinary_model() {
    let model = tiny(4, scheduler());
    let request = Request {
        strength: 1.0,
        ..request("DDIM", "Automatic")
    };
    let (_, picture) = draw(&model, &request, [8, 8], Some(&given(true)));
    assert_near("inpaint4/ddim/pt", &picture);
}

#[test]
fn inpainting_with_an_inpainting_model() {
    let model = tiny(9, scheduler());
    let request = Request {
        strength: 1.0,
        ..request("DDIM", "Automatic")
    };
    let (_, picture) = draw(&model, &request, [8, 8], Some(&given(true)));
    assert_near("inpaint9/ddim/pt", &picture);
}
