//! Pipelines of Stable Diffusion 2.x and SDXL against diffusers, on tiny models of their shape (goldens
//! `family_pipelines_*`).

mod common;

use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor, TensorData};
use common::{family, family_with};
use latent_checkpoint::SchedulerConfig;
use latent_checkpoint::tiny::TinyFamily;
use latent_diffusion::PictureSeed;
use latent_pipeline::conditioning::Prompts;
use latent_pipeline::draw::{Canvas, Drawing, Mask, Start};
use latent_pipeline::request::{Compat, Size, SizeConditions, Sizes};
use latent_pipeline::{Decoding, Model, Profile, Request, Resolved};
use latent_testkit::{Golden, closeness, max_abs_difference, recipe};
use latent_text::Pass;

/// Of pictures in 0..1, and of latents relative to their norm.
const PICTURE: f64 = 2e-3;
const LATENT: f64 = 1e-3;

fn request(sampler: &str) -> Request {
    Request {
        prompt: "a red apple on a table".into(),
        negative_prompt: "blurry".into(),
        steps: 6,
        cfg_scale: 7.5,
        sampler: sampler.into(),
        seed: Some(42),
        width: 96,
        height: 64,
        compat: Compat::Diffusers,
        ..Request::default()
    }
}

struct Drawn {
    latent: Vec<f32>,
    picture: Vec<f32>,
}

fn values(t: Tensor<4>) -> Vec<f32> {
    t.into_data().convert::<f32>().iter::<f32>().collect()
}

fn draw(model: &Model, request: &Request, canvas: Option<&Canvas>) -> Drawn {
    let profile = Profile::of(request.compat);
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
    };
    let drawn = drawing
        .draw(&start, &prompts, &[PictureSeed::from(42)], &mut |_| {
            ControlFlow::Continue(())
        })
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
fn check(golden: &Golden, name: &str, drawn: &Drawn) {
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

fn trailing(config: SchedulerConfig) -> SchedulerConfig {
    SchedulerConfig {
        rescale_betas_zero_snr: true,
        timestep_spacing: Some("trailing".into()),
        ..config
    }
}

fn given(mask: bool) -> Canvas {
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

#[test]
fn stable_diffusion_2() {
    let golden = Golden::family_pipelines_sd2();
    let model = family(TinyFamily::Sd2, TinyFamily::Sd2.scheduler());
    check(&golden, "v/ddim", &draw(&model, &request("DDIM"), None));
    let plain = Request {
        negative_prompt: String::new(),
        ..request("DDIM")
    };
    check(&golden, "v/ddim_no_negative", &draw(&model, &plain, None));
    let karras = request("DPM++ 2M Karras");
    check(&golden, "v/dpmpp_2m_karras", &draw(&model, &karras, None));
    let euler = SchedulerConfig {
        timestep_spacing: Some("leading".into()),
        ..TinyFamily::Sd2.scheduler()
    };
    let model = family(TinyFamily::Sd2, euler);
    check(&golden, "v/euler", &draw(&model, &request("Euler"), None));
    let model = family(TinyFamily::Sd2, trailing(TinyFamily::Sd2.scheduler()));
    check(&golden, "v/zsnr", &draw(&model, &request("DDIM"), None));
    let rescaled = Request {
        cfg_rescale: 0.7,
        ..request("DDIM")
    };
    check(&golden, "v/zsnr_rescale", &draw(&model, &rescaled, None));
    let epsilon = SchedulerConfig {
        prediction_type: "epsilon".into(),
        ..TinyFamily::Sd2.scheduler()
    };
    let model = family(TinyFamily::Sd2, epsilon);
    check(&golden, "eps/pndm", &draw(&model, &request("PNDM"), None));
}

#[test]
fn stable_diffusion_2_from_pictures() {
    let golden = Golden::family_pipelines_sd2();
    let model = family(TinyFamily::Sd2, TinyFamily::Sd2.scheduler());
    let square = |strength, sampler| Request {
        width: 64,
        strength,
        ..request(sampler)
    };
    let drawn = draw(&model, &square(0.6, "DDIM"), Some(&given(false)));
    check(&golden, "v/img2img", &drawn);
    let model = family(
        TinyFamily::Sd2Inpainting,
        TinyFamily::Sd2Inpainting.scheduler(),
    );
    let drawn = draw(&model, &square(1.0, "PNDM"), Some(&given(true)));
    check(&golden, "inpaint9/pndm", &drawn);
}

fn xl(sampler: &str) -> Request {
    Request {
        cfg_scale: 5.0,
        ..request(sampler)
    }
}

#[test]
fn sdxl() {
    let golden = Golden::family_pipelines_sdxl();
    let model = family(TinyFamily::Sdxl, TinyFamily::Sdxl.scheduler());
    for (name, sampler) in [
        ("euler", "Euler"),
        ("euler_a", "Euler a"),
        ("dpmpp_2m_karras", "DPM++ 2M Karras"),
        ("ddim", "DDIM"),
        ("unipc", "UniPC"),
    ] {
        let drawn = draw(&model, &xl(sampler), None);
        check(&golden, &format!("txt2img/{name}"), &drawn);
    }
}

#[test]
fn what_sdxl_is_told() {
    let golden = Golden::family_pipelines_sdxl();
    let model = family(TinyFamily::Sdxl, TinyFamily::Sdxl.scheduler());
    let empty = Request {
        negative_prompt: String::new(),
        ..xl("Euler")
    };
    let drawn = draw(&model, &empty, None);
    check(&golden, "txt2img/no_negative_is_zeros", &drawn);
    let encoded = Request {
        zero_empty_negative: Some(false),
        ..empty
    };
    let drawn = draw(&model, &encoded, None);
    check(&golden, "txt2img/empty_negative_is_encoded", &drawn);
    let skipped = Request {
        clip_skip: Some(1),
        ..xl("Euler")
    };
    let drawn = draw(&model, &skipped, None);
    check(&golden, "txt2img/clip_skip_1", &drawn);
    let size = |height, width| Some(Size { width, height });
    let sizes = SizeConditions {
        original: size(512, 640),
        crop: Some([16, 40]),
        target: size(1024, 1024),
        ..SizeConditions::default()
    };
    let drawn = draw(&model, &Request { sizes, ..xl("Euler") }, None);
    check(&golden, "txt2img/sizes", &drawn);
    let sizes = SizeConditions {
        negative: Some(Sizes {
            original: size(256, 256),
            crop: Some([0, 0]),
            target: size(512, 512),
        }),
        ..SizeConditions::default()
    };
    let drawn = draw(&model, &Request { sizes, ..xl("Euler") }, None);
    check(&golden, "txt2img/negative_sizes", &drawn);
    let rescaled = Request {
        cfg_rescale: 0.7,
        ..xl("Euler")
    };
    let drawn = draw(&model, &rescaled, None);
    check(&golden, "txt2img/guidance_rescale", &drawn);
}

#[test]
fn sdxls_relatives() {
    let golden = Golden::family_pipelines_sdxl();
    let model = family(TinyFamily::SdxlV, TinyFamily::SdxlV.scheduler());
    check(&golden, "txt2img/v_zsnr", &draw(&model, &xl("Euler"), None));
    let rescaled = Request {
        cfg_rescale: 0.7,
        ..xl("Euler")
    };
    let drawn = draw(&model, &rescaled, None);
    check(&golden, "txt2img/v_zsnr_rescale", &drawn);
    let model = family(TinyFamily::Ssd1b, TinyFamily::Ssd1b.scheduler());
    check(&golden, "txt2img/ssd1b", &draw(&model, &xl("Euler"), None));
}

#[test]
fn sdxl_from_pictures() {
    let golden = Golden::family_pipelines_sdxl();
    let square = |strength, sampler| Request {
        width: 64,
        strength,
        ..xl(sampler)
    };
    let model = family(TinyFamily::Sdxl, TinyFamily::Sdxl.scheduler());
    for (name, sampler) in [("euler", "Euler"), ("euler_a", "Euler a")] {
        let drawn = draw(&model, &square(0.6, sampler), Some(&given(false)));
        check(&golden, &format!("img2img/{name}"), &drawn);
    }
    let inpainting = family(
        TinyFamily::SdxlInpainting,
        TinyFamily::SdxlInpainting.scheduler(),
    );
    for (model, name) in [(&model, "inpaint4"), (&inpainting, "inpaint9")] {
        for (case, strength) in [("euler", 0.8), ("full_strength", 1.0)] {
            let drawn = draw(model, &square(strength, "Euler"), Some(&given(true)));
            check(&golden, &format!("{name}/{case}"), &drawn);
        }
    }
    let refiner = family(TinyFamily::Refiner, TinyFamily::Refiner.scheduler());
    let sizes = SizeConditions {
        score: Some(7.0),
        negative_score: Some(1.5),
        ..SizeConditions::default()
    };
    let scored = Request {
        sizes,
        ..square(0.5, "Euler")
    };
    let drawn = draw(&refiner, &scored, Some(&given(false)));
    check(&golden, "refiner/img2img", &drawn);
    let plain = Request {
        negative_prompt: String::new(),
        ..square(0.5, "Euler")
    };
    let drawn = draw(&refiner, &plain, Some(&given(false)));
    check(&golden, "refiner/no_negative", &drawn);
}

/// Networks that are told their guidance, and consistency models that are not.
#[test]
fn consistency_models() {
    let golden = Golden::family_pipelines_more();
    let asked = |steps, cfg_scale| Request {
        negative_prompt: String::new(),
        steps,
        cfg_scale,
        ..request("LCM")
    };
    let model = family(TinyFamily::Lcm, TinyFamily::Lcm.scheduler());
    for steps in [1, 2, 4] {
        let drawn = draw(&model, &asked(steps, 8.5), None);
        check(&golden, &format!("lcm/{steps}"), &drawn);
    }
    let told = family_with(TinyFamily::Sdxl, TinyFamily::Lcm.scheduler(), |unet| {
        unet.guidance = Some(256);
    });
    check(&golden, "lcm/sdxl", &draw(&told, &asked(4, 8.0), None));
    let model = family(TinyFamily::Sdxl, TinyFamily::Lcm.scheduler());
    check(&golden, "lcm/lora_like", &draw(&model, &asked(4, 1.0), None));
}
