//! Pipelines of Stable Diffusion 2.x and SDXL against diffusers, on tiny models of their shape (goldens
//! `family_pipelines_*`).

mod common;
#[path = "common/drawing.rs"]
mod drawing;
#[path = "common/golden.rs"]
mod golden;

use burn::tensor::{DType, Device, Tensor, TensorData};
use common::{family, family_with, taesd};
use drawing::{draw, draw_told, draw_with, encode, given};
use golden::{check, request, square, told, xl};
use latent_checkpoint::SchedulerConfig;
use latent_checkpoint::tiny::{TinyFamily, write_family};
use latent_models::Form;
use latent_pipeline::beside::Hints;
use latent_pipeline::conditioning::Encoding;
use latent_pipeline::embeddings::Named;
use latent_pipeline::request::{Compat, Conditions, GuidanceOptions, Size, SizeConditions, Sizes};
use latent_pipeline::{Model, ModelFiles, Request};
use latent_testkit::{Golden, max_abs_difference, recipe};
use latent_text::{Dialect, WeightRule};

fn trailing(config: SchedulerConfig) -> SchedulerConfig {
    SchedulerConfig {
        rescale_betas_zero_snr: true,
        timestep_spacing: Some("trailing".into()),
        ..config
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
    let epsilon = SchedulerConfig {
        prediction_type: "epsilon".into(),
        ..TinyFamily::Sd2.scheduler()
    };
    let model = family(TinyFamily::Sd2, epsilon);
    check(&golden, "eps/pndm", &draw(&model, &request("PNDM"), None));
}

/// In numbers of steps that divide 1000 and that do not: diffusers' DDIM then lands beside the step that it goes on from.
#[test]
fn zero_terminal_snr() {
    let model = family(TinyFamily::Sd2, trailing(TinyFamily::Sd2.scheduler()));
    for (golden, steps) in [
        (Golden::family_pipelines_own(), 5),
        (Golden::family_pipelines_sd2(), 6),
    ] {
        let plain = Request {
            steps,
            ..request("DDIM")
        };
        check(&golden, "v/zsnr", &draw(&model, &plain, None));
        let rescaled = Request {
            guidance: GuidanceOptions {
                rescale: 0.7,
                ..plain.guidance
            },
            ..plain
        };
        check(&golden, "v/zsnr_rescale", &draw(&model, &rescaled, None));
    }
}

#[test]
fn stable_diffusion_2_from_pictures() {
    let golden = Golden::family_pipelines_sd2();
    let model = family(TinyFamily::Sd2, TinyFamily::Sd2.scheduler());
    let square = |strength, sampler| square(strength, request(sampler));
    let drawn = draw(&model, &square(0.6, "DDIM"), Some(&given(false)));
    check(&golden, "v/img2img", &drawn);
    let model = family(
        TinyFamily::Sd2Inpainting,
        TinyFamily::Sd2Inpainting.scheduler(),
    );
    let drawn = draw(&model, &square(1.0, "PNDM"), Some(&given(true)));
    check(&golden, "inpaint9/pndm", &drawn);
}

#[test]
fn sdxl() {
    let golden = Golden::family_pipelines_sdxl();
    let model = family(TinyFamily::Sdxl, TinyFamily::Sdxl.scheduler());
    for (name, sampler) in [
        ("euler", "Euler"),
        ("euler_a", "Euler a"),
        ("dpmpp_2m_karras", "DPM++ 2M Karras"),
        ("dpmpp_2m_sde_karras", "DPM++ 2M SDE Karras"),
        ("ddim", "DDIM"),
        ("unipc", "UniPC"),
    ] {
        let drawn = draw(&model, &xl(sampler), None);
        check(&golden, &format!("txt2img/{name}"), &drawn);
    }
}

#[test]
fn two_pictures_together() {
    let golden = Golden::family_pipelines_sdxl();
    let model = family(TinyFamily::Sdxl, TinyFamily::Sdxl.scheduler());
    let two = Request {
        width: 64,
        batch_size: 2,
        ..xl("Euler")
    };
    check(&golden, "txt2img/two_pictures", &draw(&model, &two, None));
}

/// States and pooled text; another prompt for the second encoder; a layer skipped in both prompts; more than one chunk.
#[test]
fn prompts_of_two_encoders() {
    let golden = Golden::family_pipelines_sdxl();
    let model = family(TinyFamily::Sdxl, TinyFamily::Sdxl.scheduler());
    let encoding = Encoding {
        dialect: Dialect::Diffusers,
        rule: WeightRule::None,
        skip: None,
        which: ["prompt"; 2],
        named: &Named::default(),
    };
    let texts = ["a red apple on a table", "blurry"];
    for (text, which) in texts.into_iter().zip(["prompt/", "prompt/negative_"]) {
        let encoded = model
            .encode_texts(&[[text; 2]], encoding)
            .unwrap()
            .remove(0);
        let states: Vec<f32> = encoded.states.into_data().iter::<f32>().collect();
        let step = states.len() / 2048;
        let strided: Vec<f32> = states.into_iter().step_by(step).collect();
        let key = format!("{which}context/strided");
        let difference = max_abs_difference(&strided, golden.values(&key));
        assert!(difference < 1e-4, "{key}: {difference}");
        let pooled: Vec<f32> = encoded.pooled.unwrap().into_data().iter::<f32>().collect();
        let key = format!("{which}pooled");
        let difference = max_abs_difference(&pooled, golden.values(&key));
        assert!(difference < 1e-4, "{key}: {difference}");
    }
    let other = Request {
        prompt_2: Some("a green pear".into()),
        negative_prompt_2: Some("dark".into()),
        ..xl("Euler")
    };
    check(&golden, "txt2img/prompt_2", &draw(&model, &other, None));
    let skipped = |model: &Model, request: Request| {
        let skipped = Request {
            clip_skip: Some(1),
            ..request
        };
        let against = Request {
            prompt: skipped.negative_prompt.clone(),
            ..skipped.clone()
        };
        let mut prompts = encode(model, &skipped);
        prompts.negative = encode(model, &against).positive.remove(0);
        draw_told(model, &skipped, &prompts)
    };
    let drawn = skipped(&model, xl("Euler"));
    check(&golden, "txt2img/clip_skip_1_both", &drawn);
    let second = family(TinyFamily::Sd2, TinyFamily::Sd2.scheduler());
    let drawn = skipped(&second, request("DDIM"));
    check(&Golden::family_pipelines_sd2(), "v/clip_skip_1", &drawn);
    // Chunks as the other programs make them; no guidance.
    let long = Request {
        prompt: ["a very long prompt about latent diffusion models"; 14].join(" "),
        guidance: GuidanceOptions {
            scale: 1.0,
            ..xl("Euler").guidance
        },
        ..xl("Euler")
    };
    let chunked = Request {
        compat: Compat::A1111,
        ..long.clone()
    };
    let prompts = encode(&model, &chunked);
    let drawn = draw_told(&model, &long, &prompts);
    check(&golden, "txt2img/two_chunks", &drawn);
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
    let drawn = draw(&model, &told(sizes, xl("Euler")), None);
    check(&golden, "txt2img/sizes", &drawn);
    let sizes = SizeConditions {
        negative: Some(Sizes {
            original: size(256, 256),
            crop: Some([0, 0]),
            target: size(512, 512),
        }),
        ..SizeConditions::default()
    };
    let drawn = draw(&model, &told(sizes, xl("Euler")), None);
    check(&golden, "txt2img/negative_sizes", &drawn);
    let rescaled = Request {
        guidance: GuidanceOptions {
            rescale: 0.7,
            ..xl("Euler").guidance
        },
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
        guidance: GuidanceOptions {
            rescale: 0.7,
            ..xl("Euler").guidance
        },
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
    let square = |strength, sampler| square(strength, xl(sampler));
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
    let scored = told(sizes, square(0.5, "Euler"));
    let drawn = draw(&refiner, &scored, Some(&given(false)));
    check(&golden, "refiner/img2img", &drawn);
    let plain = Request {
        negative_prompt: String::new(),
        ..square(0.5, "Euler")
    };
    let drawn = draw(&refiner, &plain, Some(&given(false)));
    check(&golden, "refiner/no_negative", &drawn);
}

#[test]
fn few_steps_without_guidance() {
    let golden = Golden::family_pipelines_more();
    let ask = |sampler: &str, steps| Request {
        steps,
        negative_prompt: String::new(),
        guidance: GuidanceOptions {
            scale: 0.0,
            ..request(sampler).guidance
        },
        ..request(sampler)
    };
    let turbo = family(TinyFamily::SdxlTurbo, TinyFamily::SdxlTurbo.scheduler());
    let small = family(TinyFamily::Sd2, TinyFamily::SdxlTurbo.scheduler());
    let lightning = |prediction: &str| {
        let scheduler = SchedulerConfig {
            class_name: "EulerDiscreteScheduler".into(),
            prediction_type: prediction.into(),
            ..TinyFamily::SdxlTurbo.scheduler()
        };
        family(TinyFamily::Sdxl, scheduler)
    };
    for steps in [1, 2, 4] {
        let drawn = draw(&turbo, &ask("Euler a", steps), None);
        check(&golden, &format!("turbo/{steps}"), &drawn);
        let drawn = draw(&small, &ask("Euler a", steps), None);
        check(&golden, &format!("sd_turbo/{steps}"), &drawn);
        let prediction = if steps == 1 { "sample" } else { "epsilon" };
        let drawn = draw(&lightning(prediction), &ask("Euler", steps), None);
        check(&golden, &format!("lightning/{steps}"), &drawn);
    }
}

#[test]
fn levels_of_noise() {
    let golden = Golden::family_pipelines_more();
    let ask = |sampler: &str| Request {
        guidance: GuidanceOptions {
            scale: 3.0,
            ..request(sampler).guidance
        },
        ..request(sampler)
    };
    let model = family(TinyFamily::Playground, TinyFamily::Playground.scheduler());
    let drawn = draw(&model, &ask("Automatic"), None);
    check(&golden, "edm/dpmpp_2m", &drawn);
    let square = square(0.6, ask("Automatic"));
    let drawn = draw(&model, &square, Some(&given(false)));
    check(&golden, "edm/img2img", &drawn);
    let euler = SchedulerConfig {
        class_name: "EDMEulerScheduler".into(),
        ..TinyFamily::Playground.scheduler()
    };
    let model = family(TinyFamily::Playground, euler);
    check(&golden, "edm/euler", &draw(&model, &ask("Automatic"), None));
    let model = family(TinyFamily::CosXl, TinyFamily::CosXl.scheduler());
    check(&golden, "edm/cosxl", &draw(&model, &ask("Automatic"), None));
}

#[test]
fn a_tiny_autoencoder_in_the_place_of_the_models_own() {
    let golden = Golden::family_pipelines_more();
    let dir = tempfile::tempdir().unwrap();
    let weights = &mut |folder: &str, name: &str, shape: &[usize]| {
        recipe::tensor_f16(&format!("{folder}/{name}"), shape, 0)
    };
    let paths = write_family(dir.path(), TinyFamily::Sdxl, weights).unwrap();
    for vae in taesd(dir.path()) {
        let files = ModelFiles {
            vae: Some(vae),
            ..paths.folder.clone().into()
        };
        let quiet = &mut |_: &'static str, _, _| {};
        let (model, _) = Model::open(&files, &Device::flex(), DType::F32, quiet).unwrap();
        let drawn = draw(&model, &xl("Euler"), None);
        check(&golden, "taesd/euler", &drawn);
    }
    let encoder = dir.path().join("taesd_encoder.safetensors");
    std::fs::remove_file(encoder).unwrap();
    let alone = dir.path().join("taesd_decoder.safetensors");
    let error = latent_checkpoint::Checkpoint::open(alone)
        .unwrap_err()
        .to_string();
    assert!(error.contains("put its encoder beside it"), "{error}");
}

fn normal(name: &str, shape: [usize; 4]) -> Tensor<4> {
    let values = recipe::normal(name, &shape);
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

#[test]
fn depth_maps() {
    let golden = Golden::family_pipelines_own();
    let model = family(TinyFamily::Sd2Depth, TinyFamily::Sd2Depth.scheduler());
    let depth = recipe::normal("depth2img/depth", &[1, 24, 24]);
    let data = TensorData::new(depth, [1, 1, 24, 24]);
    let hints = Hints {
        depth: Some(Tensor::from_data(data, &Device::flex())),
        ..Hints::default()
    };
    let ask = |steps, sampler| Request {
        steps,
        ..square(0.6, request(sampler))
    };
    let drawn = draw_with(&model, &ask(5, "DDIM"), Some(&given(false)), Some(&hints));
    check(&golden, "depth2img/ddim", &drawn);
    // Of the list of time steps that PNDM holds, one of them twice.
    let drawn = draw_with(&model, &ask(6, "PNDM"), Some(&given(false)), Some(&hints));
    check(&Golden::family_pipelines_sd2(), "depth2img/pndm", &drawn);
}

#[test]
fn four_times_as_large() {
    let golden = Golden::family_pipelines_sd2();
    let model = family(TinyFamily::Upscaler, TinyFamily::Upscaler.scheduler());
    let hints = Hints {
        small: Some(normal("upscale/image", [1, 3, 16, 24]).clamp(-1.0, 1.0)),
        ..Hints::default()
    };
    for level in [0, 20, 300] {
        let ask = Request {
            condition: Conditions {
                noise_level: Some(level),
                ..request("DDIM").condition
            },
            ..request("DDIM")
        };
        let drawn = draw_with(&model, &ask, None, Some(&hints));
        check(&golden, &format!("upscale/noise_level_{level}"), &drawn);
    }
}

/// As users run them.
#[test]
fn packed_networks() {
    let packed = |kind: TinyFamily| family(kind, kind.scheduler()).packed(Form::Plain);
    let two = Golden::family_pipelines_sd2();
    let drawn = draw(&packed(TinyFamily::Sd2), &request("DDIM"), None);
    check(&two, "v/ddim", &drawn);
    let xl_goldens = Golden::family_pipelines_sdxl();
    let drawn = draw(&packed(TinyFamily::Sdxl), &xl("Euler"), None);
    check(&xl_goldens, "txt2img/euler", &drawn);
    let drawn = draw(&packed(TinyFamily::Ssd1b), &xl("Euler"), None);
    check(&xl_goldens, "txt2img/ssd1b", &drawn);
}

/// Networks that are told their guidance, and consistency models that are not.
#[test]
fn consistency_models() {
    let golden = Golden::family_pipelines_more();
    let asked = |steps, cfg_scale| Request {
        negative_prompt: String::new(),
        steps,
        guidance: GuidanceOptions {
            scale: cfg_scale,
            ..request("LCM").guidance
        },
        ..request("LCM")
    };
    let model = family(TinyFamily::Lcm, TinyFamily::Lcm.scheduler());
    for steps in [1, 2, 4] {
        let drawn = draw(&model, &asked(steps, 8.5), None);
        check(&golden, &format!("lcm/{steps}"), &drawn);
    }
    let guided = family_with(TinyFamily::Sdxl, TinyFamily::Lcm.scheduler(), |unet| {
        unet.guidance = Some(256);
    });
    check(&golden, "lcm/sdxl", &draw(&guided, &asked(4, 8.0), None));
    let model = family(TinyFamily::Sdxl, TinyFamily::Lcm.scheduler());
    check(
        &golden,
        "lcm/lora_like",
        &draw(&model, &asked(4, 1.0), None),
    );
}
