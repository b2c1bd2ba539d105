//! The `parameters` text: round trips, and the way to a request and back.

use latent_pipeline::infotext::{Drawn, Infotext, Reading};
use latent_pipeline::request::{
    Compat, Conditions, GuidanceOptions, Hires, InpaintFill, PerturbedAttention, Request,
    ResizeMode, Rng, SelfAttention, Size, SkipLayers, Tiling, Upscaler,
};
use proptest::prelude::*;

fn drawn(request: &Request) -> Drawn<'_> {
    Drawn {
        request,
        sampler: &request.sampler,
        schedule: &request.scheduler,
        size: Size {
            width: request.width,
            height: request.height,
        },
        model_hash: Some("6ce0161689"),
        model: Some("v1-5, pruned: emaonly"),
        vae_hash: None,
        vae: None,
        refiner: None,
        embeddings: &[],
        loras: &[],
        controls: &[],
        ip_adapters: &[],
        control_fit: ResizeMode::Crop,
        inpainting_model: false,
        stochastic: true,
        stopped: None,
        version: "latent 0.1.0",
    }
}

#[test]
fn plain_text_is_a1111s() {
    let request = Request {
        prompt: "a cat\non a mat".into(),
        negative_prompt: "dog".into(),
        sampler: "Euler a".into(),
        scheduler: "Karras".into(),
        seed: Some(965400086),
        rng: None,
        clip_skip: Some(2),
        ..Request::default()
    };
    assert_eq!(
        Infotext::of(&drawn(&request)).to_string(),
        "a cat\non a mat\nNegative prompt: dog\n\
         Steps: 20, Sampler: Euler a, Schedule type: Karras, CFG scale: 7, Seed: 965400086, Size: 512x512, \
         Model hash: 6ce0161689, Model: v1-5 pruned emaonly, Clip skip: 2, Version: latent 0.1.0"
    );
}

#[test]
fn extras_come_in_order() {
    let request = Request {
        seed: Some(1),
        subseed: Some(2),
        subseed_strength: 0.25,
        ensd: 31337,
        rng: Some(Rng::Cuda),
        tiling: Tiling::Both,
        hires: Some(Hires {
            upscaler: Upscaler::LatentNearestExact,
            steps: Some(12),
            ..Hires::default()
        }),
        guidance: GuidanceOptions {
            scale: 7.5,
            ..GuidanceOptions::default()
        },
        ..Request::default()
    };
    let text = Infotext::of(&drawn(&request)).to_string();
    let keys = "CFG scale: 7.5, Seed: 1, Size: 512x512, Model hash: 6ce0161689, Model: v1-5 pruned emaonly, \
                Variation seed: 2, Variation seed strength: 0.25, Denoising strength: 0.7, ENSD: 31337, RNG: NV, \
                Tiling: True, Hires upscale: 2, Hires steps: 12, Hires upscaler: Latent (nearest-exact), Version";
    assert!(text.contains(keys), "{text}");
}

#[test]
fn guidance_goes_into_the_text_and_back() {
    let request = Request {
        seed: Some(1),
        rng: Some(Rng::Cpu),
        sampler: "Euler a".into(),
        guidance: GuidanceOptions {
            pag: Some(PerturbedAttention {
                scale: 2.5,
                layers: "mid,up.1.0".parse().expect("layers"),
            }),
            sag: Some(SelfAttention {
                scale: 0.5,
                blur: 2.0,
            }),
            perp_neg: Some(0.8),
            skip_layers: Some(SkipLayers {
                end: 0.4,
                ..SkipLayers::default()
            }),
            ..GuidanceOptions::default()
        },
        ..Request::default()
    };
    let text = Infotext::of(&drawn(&request)).to_string();
    let reading = Infotext::parse(&text).to_request();
    assert_eq!(reading.request.guidance, request.guidance, "{text}");
    assert!(
        reading.remarks.is_empty() && reading.unknown.is_empty(),
        "{reading:?}"
    );
    let wrong = text.replace("mid,up.1.0", "mid,nowhere");
    let reading = Infotext::parse(&wrong).to_request();
    assert_eq!(
        reading.remarks[0].field, "guidance.pag.layers",
        "{reading:?}"
    );
    assert_eq!(Request::from_json(&request.to_json()), Ok(request));
}

#[test]
fn old_texts_are_understood() {
    let reading = Infotext::parse(
        "x\nSteps: 28, Sampler: DPM++ 2M Karras, CFG scale: 7.000000, Seed: 5, Size: 1024x1536, \
         Denoising strength: 0.6, First pass size: 0x0, Wildcard: y, Clip skip: 2",
    )
    .to_request();
    let Reading {
        request,
        remarks,
        unknown,
    } = reading;
    assert_eq!(remarks, []);
    assert_eq!((request.width, request.height), (448, 640));
    let hires = request.hires.unwrap();
    assert_eq!((hires.width, hires.height), (Some(1024), Some(1536)));
    assert_eq!(hires.denoising_strength, 0.6);
    assert_eq!(request.sampler, "DPM++ 2M Karras");
    assert_eq!(request.rng, Some(Rng::Cuda));
    assert_eq!(unknown, ["Wildcard"]);
}

/// What cannot be read is left out and named, and the rest is read.
#[test]
fn each_pair_is_read_for_itself() {
    let read = |settings: &str| Infotext::parse(&format!("x\n{settings}")).to_request();
    let good = "Sampler: Euler, CFG scale: 4.5, Size: 64x48";
    for (pair, field, words) in [
        ("Steps: many", "steps", "not a value"),
        ("Seed: -1", "seed", "random"),
        ("Seed: ", "seed", "empty"),
        ("Variation seed: -1", "subseed", "random"),
        ("Clip skip: two", "clip_skip", "not a value"),
        ("RNG: dice", "rng", "not"),
        ("Compat: invoke", "compat", "not"),
        ("Tiling: maybe", "tiling", "not"),
        ("Mask mode: other", "start.mask_invert", "not"),
        ("Masked content: hole", "start.fill", "not"),
        ("Emphasis: No norm", "weight_rule", "not"),
        ("Hires upscale: big", "hires.scale", "not a value"),
        ("Hires upscaler: 4x-UltraSharp", "hires.upscaler", "Lanczos"),
        ("First pass size: x", "hires", "not a value"),
    ] {
        let Reading {
            request,
            remarks,
            unknown,
        } = read(&format!("{good}, {pair}"));
        assert_eq!(
            (request.sampler.as_str(), request.guidance.scale),
            ("Euler", 4.5)
        );
        assert_eq!((request.width, request.height), (64, 48));
        assert_eq!(
            (remarks.len(), remarks[0].field.as_str()),
            (1, field),
            "{remarks:?}"
        );
        let text = remarks[0].to_string();
        assert!(text.starts_with(pair) && text.contains(words), "{text}");
        assert_eq!(unknown, Vec::<String>::new());
    }
    let enlarged = read(&format!(
        "{good}, Denoising strength: 0.4, Hires upscaler: R-ESRGAN 4x+"
    ));
    let hires = enlarged.request.hires.unwrap();
    assert_eq!(
        (hires.upscaler, hires.denoising_strength),
        (Upscaler::Lanczos, 0.4)
    );
    // Whole numbers with a point, as some programs write them.
    let request = read("Steps: 20.0, Seed: 5.00, Clip skip: 2.0, Size: 64x64").request;
    assert_eq!(
        (request.steps, request.seed, request.clip_skip),
        (20, Some(5), Some(2))
    );
    assert_eq!(read("Steps: 2.5, Seed: 5, Size: 64x64").remarks.len(), 1);
}

/// What A1111's reader does to a prompt: lines are stripped, empty ones at the beginning vanish.
fn as_read(prompt: &str) -> String {
    let lines: Vec<&str> = prompt.split('\n').map(str::trim).collect();
    lines.join("\n").trim_start().to_owned()
}

fn prompt() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        4 => "[ -~äöß日本☃]{0,24}",
        1 => Just("Steps: 1, Sampler: Euler a, CFG scale: 7, Seed: 3".to_owned()),
        1 => Just("say Negative prompt: no".to_owned()),
        1 => Just("\"quoted\", (word:1.3), [a|b], <lora:x:0.5>".to_owned()),
        1 => Just("\\(escaped\\) C:\\path".to_owned()),
    ];
    prop::collection::vec(line, 0..5)
        .prop_map(|lines| lines.join("\n"))
        .prop_filter("the format cannot hold this line", |text| {
            !text
                .lines()
                .any(|line| line.trim_start().starts_with("Negative prompt:"))
        })
}

proptest! {
    #[test]
    fn text_round_trip(
        prompt in prompt(),
        negative in prompt(),
        values in prop::collection::vec("[ -~\\n\\t日\"]{1,20}", 0..5),
    ) {
        let mut info = Infotext { prompt, negative_prompt: negative, ..Infotext::default() };
        for key in ["Steps", "CFG scale", "Last-key/x"] {
            info.push(key, 1);
        }
        for (index, value) in values.iter().enumerate() {
            info.push(&format!("Extra {index}"), value);
        }
        let read = Infotext::parse(&info.to_string());
        prop_assert_eq!(&read.entries, &info.entries);
        prop_assert_eq!(&read.prompt, &as_read(&info.prompt));
        prop_assert_eq!(&read.negative_prompt, &as_read(&info.negative_prompt));
    }

    #[test]
    fn reading_never_panics(text in "\\PC{0,80}", line in "[\\w:\", /\\\\\n-]{0,120}") {
        let _ = Infotext::parse(&text).to_request();
        let _ = Infotext::parse(&format!("{text}\n{line}")).to_request();
    }

    #[test]
    fn request_round_trip(
        steps in 1usize..200,
        cfg in 0u32..300,
        seed in any::<u64>(),
        width in 1usize..200,
        strength in 0u32..=100,
        variation in prop::option::of((any::<u64>(), 1u32..=100)),
        clip_skip in prop::option::of(2i32..=12),
        compat in prop::sample::select(vec![Compat::A1111, Compat::ComfyUi, Compat::Diffusers]),
        fill in prop::sample::select(vec![InpaintFill::Fill, InpaintFill::Original, InpaintFill::LatentNoise]),
        shape in 0u8..4,
        noise_level in prop::option::of(0u32..1000),
    ) {
        let mut request = Request {
            prompt: "a, b: \"c\"".into(),
            steps,
            seed: Some(seed),
            width: width * 8,
            compat,
            rng: Some(Rng::Cpu),
            clip_skip: clip_skip.map(|skip| match compat {
                Compat::A1111 => skip,
                Compat::ComfyUi => -skip,
                Compat::Diffusers => skip - 1,
            }),
            guidance: GuidanceOptions { scale: f64::from(cfg) / 10.0, ..GuidanceOptions::default() },
            condition: Conditions { noise_level, ..Conditions::default() },
            ..Request::default()
        };
        if let Some((subseed, share)) = variation {
            request.subseed = Some(subseed);
            request.subseed_strength = f64::from(share) / 100.0;
        }
        match shape {
            1 => {
                request.start.image = Some("a.png".into());
                request.start.strength = f64::from(strength) / 100.0;
            }
            2 => {
                request.start.image = Some("a.png".into());
                request.start.mask = Some("m.png".into());
                request.start.fill = fill;
                request.start.only_masked = true;
                request.start.padding = steps;
                request.start.mask_invert = true;
            }
            3 => request.hires = Some(Hires {
                width: Some(width * 16),
                height: None,
                denoising_strength: f64::from(strength) / 100.0,
                upscaler: Upscaler::Lanczos,
                prompt: Some("other, one".into()),
                ..Hires::default()
            }),
            _ => {}
        }
        let text = Infotext::of(&drawn(&request)).to_string();
        let Reading { request: mut read, remarks, unknown } = Infotext::parse(&text).to_request();
        prop_assert_eq!((remarks, unknown), (Vec::new(), Vec::<String>::new()));
        // The text names no files.
        read.start.image = request.start.image.clone();
        read.start.mask = request.start.mask.clone();
        prop_assert_eq!(read, request);
    }
}
