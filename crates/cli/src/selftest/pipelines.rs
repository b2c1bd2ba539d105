//! Whole pictures of the tiny model: against diffusers, and the same from every form of its checkpoint.

use latent_pipeline::request::{GivenPicture, GuidanceOptions};
use std::{ops::ControlFlow, path::Path};

use burn::tensor::{DType, Device, Tensor, TensorData};
use latent_checkpoint::tiny::TinyPaths;
use latent_diffusion::PictureSeed;
use latent_pipeline::{
    Decoding, Model, ModelFiles, Profile, Quiet, Request, Resolved,
    conditioning::Prompts,
    draw::{Canvas, Drawing, Mask, Start},
    embeddings::Embeddings,
    request::{Compat, Size},
    resources::Memory,
    run,
};
use latent_testkit::{Golden, max_abs_difference, recipe};
use latent_text::Pass;

use super::{Check, Worst};
use crate::failure::Failure;

/// Their checks.
pub(super) fn checks<'a>(device: &'a Device, tiny: &'a TinyPaths) -> Vec<Check<'a>> {
    vec![
        Check::new(
            "txt2img, six samplers (0–1 a pixel)",
            "diffusers",
            2e-3,
            || {
                let model = open(&tiny.folder, device)?;
                let mut worst = Worst::default();
                for (name, sampler) in [
                    ("plms", "PNDM"),
                    ("ddim", "DDIM"),
                    ("euler", "Euler"),
                    ("euler_a", "Euler a"),
                    ("dpmpp_2m_karras", "DPM++ 2M Karras"),
                    ("unipc", "UniPC"),
                ] {
                    let picture = draw(&model, &request(sampler, 1.0), [8, 12], None)?;
                    let golden = Golden::pipelines();
                    worst.add(max_abs_difference(
                        &picture,
                        golden.values(&format!("txt2img/{name}/pt")),
                    ));
                }
                Ok(worst)
            },
        ),
        Check::new(
            "img2img and inpainting (0–1 a pixel)",
            "diffusers",
            2e-3,
            || {
                let model = open(&tiny.folder, device)?;
                let golden = Golden::pipelines();
                let mut worst = Worst::default();
                let picture = draw(
                    &model,
                    &request("DDIM", 0.6),
                    [8, 8],
                    Some(&given(device, false)),
                )?;
                worst.add(max_abs_difference(
                    &picture,
                    golden.values("img2img/ddim/pt"),
                ));
                let picture = draw(
                    &model,
                    &request("DDIM", 1.0),
                    [8, 8],
                    Some(&given(device, true)),
                )?;
                worst.add(max_abs_difference(
                    &picture,
                    golden.values("inpaint4/ddim/pt"),
                ));
                Ok(worst)
            },
        ),
        Check::new(
            "the same picture from three forms of a file",
            "this program",
            0.0,
            || {
                let mut pictures = Vec::new();
                for path in [&tiny.folder, &tiny.safetensors, &tiny.ckpt] {
                    let model = open(path, device)?;
                    let request = Request {
                        width: 64,
                        height: 64,
                        ..request("Euler a", 1.0)
                    };
                    let drawn = run(&request, &model, &Memory::default(), None, &mut Quiet)?;
                    pictures.extend(drawn.into_iter().map(|output| output.picture));
                }
                let mut worst = Worst::default();
                for other in pictures.iter().skip(1) {
                    worst.add(if *other == pictures[0] { 0.0 } else { 1.0 });
                }
                Ok(worst)
            },
        ),
    ]
}

fn open(path: &Path, device: &Device) -> Result<Model, Failure> {
    let files = ModelFiles {
        model: path.to_owned(),
        ..ModelFiles::default()
    };
    let (mut model, _) = Model::open(&files, device, DType::F32, &mut |_, _, _| {})?;
    // The settings the golden was drawn with, whatever the file's own configuration leaves open.
    model.scheduler.steps_offset = 1;
    model.scheduler.set_alpha_to_one = Some(false);
    Ok(model)
}

fn request(sampler: &str, strength: f64) -> Request {
    Request {
        prompt: "a red apple on a table".into(),
        negative_prompt: "blurry".into(),
        steps: 6,
        sampler: sampler.into(),
        seed: Some(42),
        compat: Compat::Diffusers,
        guidance: GuidanceOptions {
            scale: 7.5,
            ..GuidanceOptions::default()
        },
        start: GivenPicture {
            strength,
            ..GivenPicture::default()
        },
        ..Request::default()
    }
}

/// The pixels in 0..1.
fn draw(
    model: &Model,
    request: &Request,
    size: [usize; 2],
    canvas: Option<&Canvas>,
) -> Result<Vec<f32>, Failure> {
    let profile = Profile::of(Compat::Diffusers);
    let (names, _) = Resolved::of_passes(request, &model.scheduler, &profile)?;
    let drawing = Drawing::of(request, model, &profile, names);
    let pass = Pass::Only(request.steps);
    let prompts = Prompts::encode(
        model,
        &profile,
        request,
        [&request.prompt, &request.negative_prompt],
        Size {
            width: 8 * size[1],
            height: 8 * size[0],
        },
        pass,
        &Embeddings::default(),
    )?;
    let start = Start {
        size,
        canvas,
        latent: None,
        hints: None,
    };
    let seeds = [PictureSeed::from(42)];
    let prepared = drawing.prepare(&start, &seeds)?;
    let drawn = drawing.draw(prepared, (&prompts, None), &mut |_| {
        ControlFlow::Continue(())
    })?;
    let pixels = Decoding::Whole.pixels(model, request, drawn.latent, &mut Quiet)?;
    let pixels = (pixels / 2.0 + 0.5).clamp(0.0, 1.0);
    Ok(pixels.into_data().convert::<f32>().iter::<f32>().collect())
}

/// The golden's picture; its mask is 1 at rows 16..48 and columns 24..64.
fn given(device: &Device, mask: bool) -> Canvas {
    let image = recipe::normal("img2img/image", &[1, 3, 64, 64]);
    let image: Vec<f32> = image.into_iter().map(|v| v.clamp(-1.0, 1.0)).collect();
    let stencil = |side: usize| {
        let scale = 64 / side;
        let inside = |i: usize| {
            let (y, x) = (i / side * scale, i % side * scale);
            f32::from(u8::from((16..48).contains(&y) && x >= 24))
        };
        let values: Vec<f32> = (0..side * side).map(inside).collect();
        Tensor::from_data(TensorData::new(values, [1, 1, side, side]), device)
    };
    Canvas {
        image: Tensor::from_data(TensorData::new(image, [1, 3, 64, 64]), device),
        mask: mask.then(|| Mask {
            pixels: stencil(64),
            latent: stencil(8),
            channel: stencil(8),
        }),
    }
}
