//! The prompt language and guidance act on the picture.

use std::ops::ControlFlow;

use burn::tensor::Tensor;
use latent_diffusion::PictureSeed;
use latent_pipeline::conditioning::Prompts;
use latent_pipeline::draw::{Drawing, Start};
use latent_pipeline::embeddings::Embeddings;
use latent_pipeline::memory::MemoryPlan;
use latent_pipeline::request::{Compat, DynamicThresholding, GuidanceOptions, WeightRule};
use latent_pipeline::resources::Disk;
use latent_pipeline::{Hooks, Profile, Quiet, Request, Resolved, run};
use latent_text::Pass;

use super::{differ, model, one, request, values};

fn prompt(text: &str) -> Request {
    Request {
        prompt: text.into(),
        steps: 6,
        ..request()
    }
}

/// Pairs of prompts that are two pictures.
#[test]
fn features_change_the_picture() {
    let model = model();
    for (a, b) in [
        ("an apple", "a pear"),
        ("an apple", "an (apple:1.3)"),
        ("an (apple)", "an [apple]"),
        ("an apple a pear", "an apple AND a pear"),
        ("an apple AND a pear", "an apple AND a pear :0.5"),
        ("an apple a pear", "an apple BREAK a pear"),
        ("an apple", "an [apple:pear:0.5]"),
        ("an [apple:pear:0.5]", "an [apple:pear:4]"),
        ("an apple", "an [apple|pear]"),
        ("an apple", "an [apple::0.3]"),
    ] {
        let (first, second) = (one(&model, &prompt(a)), one(&model, &prompt(b)));
        assert!(differ(&first, &second), "`{a}` and `{b}`");
    }
}

/// Pairs that are one picture.
#[test]
fn and_some_do_not() {
    let model = model();
    for (a, b) in [
        ("an [apple:pear:0.0] here", "an pear here"),
        ("an apple", "an (apple:1.0)"),
        ("an apple # not this", "an apple"),
        ("an <lora:foo:0.8>apple <lyco:b:1>", "an apple "),
    ] {
        let (first, second) = (one(&model, &prompt(a)), one(&model, &prompt(b)));
        assert!(!differ(&first, &second), "`{a}` and `{b}`");
    }
}

#[test]
fn other_fields_change_the_picture() {
    let model = model();
    type Change = fn(&mut Request);
    let changes: [(&str, Change); 12] = [
        ("seed", |r| r.seed = Some(8)),
        ("negative prompt", |r| r.negative_prompt = "sharp".into()),
        ("negative schedule", |r| {
            r.negative_prompt = "[blurry:sharp:0.5]".into()
        }),
        ("clip skip", |r| r.clip_skip = Some(2)),
        ("scale", |r| r.guidance.scale = 3.0),
        ("no guidance", |r| r.guidance.scale = 1.0),
        ("scale 0", |r| r.guidance.scale = 0.0),
        ("rescale", |r| r.guidance.rescale = 0.7),
        ("interval", |r| r.guidance.interval = Some([0.2, 0.6])),
        ("thresholding", |r| {
            r.guidance.threshold = Some(DynamicThresholding {
                percentile: 0.9,
                mimic: 2.0,
            })
        }),
        ("weight rule", |r| r.weight_rule = Some(WeightRule::ComfyUi)),
        ("no weights", |r| r.weight_rule = Some(WeightRule::Ignore)),
    ];
    let base = prompt("a (red:1.4) apple");
    let plain = one(&model, &base);
    for (name, change) in changes {
        let mut request = base.clone();
        change(&mut request);
        assert!(differ(&plain, &one(&model, &request)), "{name}");
    }
}

/// Guidance in the whole run is guidance, and in none of it is the condition alone.
#[test]
fn guidance_interval_has_its_ends() {
    let model = model();
    let draw = |cfg_scale, interval| {
        let request = Request {
            guidance: GuidanceOptions {
                scale: cfg_scale,
                interval,
                ..prompt("an apple").guidance
            },
            ..prompt("an apple")
        };
        one(&model, &request)
    };
    assert!(!differ(&draw(7.0, Some([0.0, 1.0])), &draw(7.0, None)));
    assert!(!differ(&draw(7.0, Some([0.99, 1.0])), &draw(1.0, None)));
}

/// At scale 1 the negative prompt is not read, and half the work is planned.
#[test]
fn scale_one_is_one_pass() {
    let model = model();
    let with = |cfg_scale, negative: &str| Request {
        negative_prompt: negative.into(),
        guidance: GuidanceOptions {
            scale: cfg_scale,
            ..prompt("an apple").guidance
        },
        ..prompt("an apple")
    };
    let draw = |scale, negative| one(&model, &with(scale, negative));
    assert!(!differ(&draw(1.0, "blurry"), &draw(1.0, "sharp")));
    assert!(differ(&draw(2.0, "blurry"), &draw(2.0, "sharp")));
    let plan = |scale, size| {
        let request = Request {
            width: size * model.latent.downsample,
            height: size * model.latent.downsample,
            ..with(scale, "")
        };
        MemoryPlan::of(&request, &model).sampling
    };
    assert_eq!(2 * plan(1.0, 64), plan(7.0, 64));
    // Of large latents the prompts are seen one after the other.
    assert_eq!(plan(1.0, 128), plan(7.0, 128));
}

/// CFG++ reads the unconditional prediction even at scale 1.
#[test]
fn cfg_plus_plus() {
    let model = model();
    for (plain, plus) in [
        ("Euler", "euler_cfg_pp"),
        ("Euler a", "euler_ancestral_cfg_pp"),
        ("DDIM", "DDIM CFG++"),
    ] {
        let draw = |sampler: &str, cfg_scale| {
            let request = Request {
                sampler: sampler.into(),
                guidance: GuidanceOptions {
                    scale: cfg_scale,
                    ..prompt("an apple").guidance
                },
                ..prompt("an apple")
            };
            one(&model, &request)
        };
        assert!(differ(&draw(plain, 1.0), &draw(plus, 1.0)), "{plus}");
        assert!(differ(&draw(plus, 1.0), &draw(plus, 1.5)), "{plus}");
    }
}

#[derive(Default)]
struct Notes(Vec<String>);

impl Hooks for Notes {
    fn note(&mut self, text: String) {
        self.0.push(text);
    }
}

/// More than 75 tokens: chunks in A1111 and ComfyUI, cut with a note in diffusers.
#[test]
fn long_prompts() {
    let model = model();
    let long = "apple ".repeat(100);
    for (compat, reads_the_end) in [
        (Compat::A1111, true),
        (Compat::ComfyUi, true),
        (Compat::Diffusers, false),
    ] {
        let draw = |text: String, negative: &str| {
            let request = Request {
                prompt: text,
                negative_prompt: negative.into(),
                compat,
                ..request()
            };
            let mut notes = Notes::default();
            let mut outputs =
                run(&request, &model, &Disk::default(), None, &mut notes).expect("a picture");
            (outputs.remove(0), notes.0)
        };
        let (plain, notes) = draw(long.clone(), "blurry");
        assert_eq!(notes.is_empty(), reads_the_end, "{compat}: {notes:?}");
        let (ended, _) = draw(format!("{long} pear"), "blurry");
        assert_eq!(differ(&plain, &ended), reads_the_end, "{compat}");
        // the negative prompt the longer one
        draw("apple".into(), &long);
        let empty = Request {
            prompt: String::new(),
            negative_prompt: String::new(),
            compat,
            ..request()
        };
        run(&empty, &model, &Disk::default(), None, &mut Quiet).expect("a picture of nothing");
    }
}

/// A1111 lengthens the shorter of two parts by repeating its last vector; the picture is not that of parts of their own length.
#[test]
fn parts_of_and_have_one_length() {
    let model = model();
    let long = ["cat", "dog", "tree", "river", "house"]
        .repeat(18)
        .join(" ");
    let request = prompt(&format!("{long} AND a dog"));
    let profile = Profile::of(request.compat);
    let (sampler, scheduler) = (&request.sampler, &request.scheduler);
    let names = Resolved::of(sampler, scheduler, &profile, &model.scheduler).expect("names");
    let drawing = Drawing {
        model: &model,
        profile: &profile,
        request: &request,
        sampler: names.sampler,
        scheduler: names.scheduler,
        steps: request.steps,
        strength: 1.0,
        rule: profile.strength,
    };
    let encode = || {
        let pass = Pass::Only(request.steps);
        let texts = [request.prompt.as_str(), &request.negative_prompt];
        let canvas = request.canvas();
        let none = Embeddings::default();
        Prompts::encode(&model, &profile, &request, texts, canvas, pass, &none).expect("prompts")
    };
    let draw = |prompts: &Prompts| -> Vec<f32> {
        let start = Start {
            size: [8, 8],
            canvas: None,
            latent: None,
            hints: None,
        };
        let seeds = [PictureSeed::from(7)];
        let go_on = &mut |_: latent_diffusion::Step<'_>| ControlFlow::Continue(());
        let prepared = drawing.prepare(&start, &seeds).expect("a start");
        let drawn = drawing
            .draw(prepared, (prompts, None), go_on)
            .expect("a drawing");
        drawn.latent.to_data().iter::<f32>().collect()
    };
    let separate = encode();
    let mut repeated = encode();
    let states = &mut repeated.positive[1].contexts[0].given.context;
    let short = states.take().expect("text states");
    let [_, tokens, width] = short.dims();
    assert_eq!(tokens, 77);
    let last = short.clone().narrow(1, 76, 1).expand([1, 77, width]);
    *states = Some(Tensor::cat(vec![short, last], 1));
    let drawn = values(&one(&model, &request));
    assert_eq!(drawn, draw(&repeated));
    assert_ne!(drawn, draw(&separate));
}
