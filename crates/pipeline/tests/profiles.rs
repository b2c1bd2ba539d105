//! The A1111 and ComfyUI profiles against an independent statement of what those programs do, on the tiny model
//! (`tools/reference/webui.py`, golden `profiles`). Final latents, relative to their norm.

mod common;

use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor, TensorData};
use latent_checkpoint::SchedulerConfig;
use latent_diffusion::{PictureSeed, Sampler, Scheduler};
use latent_pipeline::conditioning::Prompts;
use latent_pipeline::draw::{Canvas, Drawing, Mask, Start};
use latent_pipeline::embeddings::Embeddings;
use latent_pipeline::request::Compat;
use latent_pipeline::resources::Disk;
use latent_pipeline::{Profile, Quiet, Request, Resolved};
use latent_testkit::{Golden, closeness, recipe};
use latent_text::Pass;
use serde_json::Value;

use common::{scheduler, tiny};

const TOLERANCE: f64 = 1e-3;

fn tensor(values: Vec<f32>, shape: [usize; 4]) -> Tensor<4> {
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

/// The given picture, and its mask: rows 2..6 and columns 3.. of the latent, of which a soft one has less in column 3.
fn canvas(mask: Option<&str>) -> Canvas {
    let image = recipe::normal("img2img/image", &[1, 3, 64, 64]);
    let image = image.into_iter().map(|v| v.clamp(-1.0, 1.0)).collect();
    let stencil = |side: usize, edge: f32| {
        let cell = side / 8;
        let inside = |i: usize| match (i / side / cell, i % side / cell) {
            (2..6, 3) => edge,
            (2..6, 4..) => 1.0,
            _ => 0.0,
        };
        tensor((0..side * side).map(inside).collect(), [1, 1, side, side])
    };
    Canvas {
        image: tensor(image, [1, 3, 64, 64]),
        mask: mask.map(|kind| Mask {
            pixels: stencil(64, 1.0),
            latent: stencil(8, if kind == "soft" { 0.375 } else { 1.0 }),
            channel: stencil(8, 1.0),
        }),
    }
}

/// The final latent of one case. What is no field of a request (the picture, the mask, the network's channels) is taken
/// out of it first.
fn draw(case: &Value) -> Vec<f32> {
    let mut fields = case.as_object().expect("a case").clone();
    let image = fields.remove("image").is_some();
    let mask = fields.remove("mask");
    let channels = fields.remove("channels").and_then(|c| c.as_u64());
    let request = Request::from_json(&Value::Object(fields).to_string()).expect("a request");
    let model = tiny(channels.unwrap_or(4) as usize, scheduler());
    if request.hires.is_some() {
        let request = Request {
            width: 64,
            height: 64,
            ..request
        };
        let mut outputs =
            latent_pipeline::run(&request, &model, &Disk::default(), None, &mut Quiet)
                .expect("a picture");
        let latent = outputs.remove(0).latent;
        return latent.into_data().iter::<f32>().collect();
    }
    let profile = Profile::of(request.compat);
    let names = Resolved::of(
        &request.sampler,
        &request.scheduler,
        &profile,
        &model.scheduler,
    )
    .expect("names");
    let drawing = Drawing {
        model: &model,
        profile: &profile,
        request: &request,
        sampler: names.sampler,
        scheduler: names.scheduler,
        steps: request.steps,
        strength: request.start.strength,
        rule: profile.strength,
    };
    let texts = [request.prompt.as_str(), &request.negative_prompt];
    let pass = Pass::Only(request.steps);
    let square = request.canvas();
    let none = Embeddings::default();
    let prompts = Prompts::encode(&model, &profile, &request, texts, square, pass, &none);
    let prompts = prompts.expect("prompts");
    let canvas = image.then(|| canvas(mask.as_ref().and_then(Value::as_str)));
    let start = Start {
        size: [8, 8],
        canvas: canvas.as_ref(),
        latent: None,
        hints: None,
    };
    let seeds = [PictureSeed::from(request.seed.expect("a seed"))];
    let prepared = drawing.prepare(&start, &seeds).expect("a start");
    let drawn = drawing
        .draw(prepared, (&prompts, None), &mut |_| {
            ControlFlow::Continue(())
        })
        .expect("a drawing");
    drawn.latent.into_data().iter::<f32>().collect()
}

/// Every case of one program; all that differ are named.
fn compare(program: &str, expected: usize) {
    let golden = Golden::profiles();
    let cases: Value = serde_json::from_str(golden.metadata("cases")).expect("JSON");
    let cases = cases.as_object().expect("cases");
    let mut wrong = Vec::new();
    let mut count = 0;
    for (name, case) in cases.iter().filter(|(n, _)| n.starts_with(program)) {
        let difference = closeness(&draw(case), golden.values(name));
        println!("{name}: {difference:.1e}");
        count += 1;
        if difference > TOLERANCE {
            wrong.push(format!("{name}: {difference:.1e}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(count, expected);
}

#[test]
fn a1111() {
    compare("a1111/", 19);
}

#[test]
fn comfyui() {
    compare("comfyui/", 11);
}

/// With nothing chosen each program draws with a sampler of its own; diffusers with the class of the model's folder.
#[test]
fn the_sampler_that_nobody_chose() {
    let of = |compat, class: &str, karras: bool| {
        let config = SchedulerConfig {
            class_name: class.into(),
            use_karras_sigmas: karras,
            ..SchedulerConfig::stable_diffusion()
        };
        Resolved::of("automatic", "Automatic", &Profile::of(compat), &config)
            .map(|r| (r.sampler, r.scheduler))
    };
    let karras = (Sampler::Dpmpp2m, Scheduler::Karras);
    assert_eq!(of(Compat::A1111, "PNDMScheduler", false).ok(), Some(karras));
    assert_eq!(
        of(Compat::ComfyUi, "PNDMScheduler", false).ok(),
        Some((Sampler::Euler, Scheduler::Normal))
    );
    assert_eq!(
        of(Compat::Diffusers, "PNDMScheduler", false).ok(),
        Some((Sampler::Plms, Scheduler::Automatic))
    );
    assert_eq!(
        of(Compat::Diffusers, "DPMSolverMultistepScheduler", true).ok(),
        Some(karras)
    );
    assert!(of(Compat::Diffusers, "SomeScheduler", false).is_err());
}
