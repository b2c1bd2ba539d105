//! Pictures that one model begins and another finishes.

mod common;
#[path = "common/drawing.rs"]
mod drawing;
#[path = "common/golden.rs"]
mod golden;

use common::family;
use drawing::{Drawn, draw};
use golden::{check, request, xl};
use latent_checkpoint::tiny::TinyFamily;
use latent_models::Form;
use latent_pipeline::effect::without_effect;
use latent_pipeline::request::{Compat, Hires};
use latent_pipeline::resources::Memory;
use latent_pipeline::{Hooks, Model, Output, Quiet, Request, run, run_once};
use latent_testkit::Golden;

const PROFILES: [Compat; 3] = [Compat::A1111, Compat::ComfyUi, Compat::Diffusers];

fn plain(kind: TinyFamily) -> Model {
    family(kind, kind.scheduler())
}

fn with_refiner(kind: TinyFamily, refiner: TinyFamily) -> Model {
    let mut model = plain(kind);
    let mut refiner = plain(refiner);
    refiner.autoencoder = None;
    model.refiner = Some(Box::new(refiner));
    model
}

fn refined(sampler: &str, switch: f64) -> Request {
    Request {
        refiner: Some("refiner.safetensors".into()),
        refiner_switch: switch,
        ..xl(sampler)
    }
}

/// `denoising_end` and `denoising_start` at 0.6 of ten steps: six by the model, four by the refiner.
#[test]
fn an_ensemble_of_experts() {
    let golden = Golden::family_pipelines_sdxl();
    let request = Request {
        steps: 10,
        ..refined("Euler", 0.6)
    };
    let model = with_refiner(TinyFamily::Sdxl, TinyFamily::Refiner);
    for model in [
        model,
        with_refiner(TinyFamily::Sdxl, TinyFamily::Refiner).packed(Form::Plain),
    ] {
        let drawn = draw(&model, &request, None);
        check(&golden, "ensemble/refiner", &drawn);
        let handed_over = Drawn {
            latent: drawn.path[5].1.clone(),
            path: Vec::new(),
            picture: Vec::new(),
        };
        check(&golden, "ensemble/base", &handed_over);
    }
}

fn one(model: &Model, request: &Request) -> Output {
    let mut outputs =
        run(request, model, &Memory::default(), None, &mut Quiet).unwrap_or_else(|e| panic!("{e}"));
    outputs.remove(0)
}

fn values(output: &Output) -> Vec<f32> {
    output.latent.to_data().iter::<f32>().collect()
}

/// Of the model itself, a refiner changes nothing in any profile; with one of other weights the switch decides.
#[test]
fn the_switch_decides_who_draws() {
    let base = plain(TinyFamily::Sdxl);
    let same = with_refiner(TinyFamily::Sdxl, TinyFamily::Sdxl);
    let other = with_refiner(TinyFamily::Sdxl, TinyFamily::Refiner);
    let refiner = plain(TinyFamily::Refiner);
    for compat in PROFILES {
        let ask = |switch| Request {
            compat,
            ..refined("Euler", switch)
        };
        let alone = Request {
            refiner: None,
            ..ask(0.8)
        };
        let by_base = values(&one(&base, &alone));
        assert_eq!(values(&one(&same, &ask(0.5))), by_base, "{compat}");
        assert_eq!(values(&one(&other, &alone)), by_base, "{compat}");
        assert_eq!(values(&one(&other, &ask(1.0))), by_base, "{compat}");
        let by_refiner = values(&one(&refiner, &alone));
        assert_eq!(values(&one(&other, &ask(0.0))), by_refiner, "{compat}");
        let between = values(&one(&other, &ask(0.5)));
        assert!(between != by_base && between != by_refiner, "{compat}");
    }
}

/// A1111 exchanges the network under a sampler that goes on: what a multistep one remembers is kept, and so is the noise.
#[test]
fn in_one_walk_the_sampler_keeps_its_memory() {
    let base = plain(TinyFamily::Sdxl);
    let same = with_refiner(TinyFamily::Sdxl, TinyFamily::Sdxl);
    for sampler in [
        "DPM++ 2M",
        "DPM++ 2M SDE",
        "Euler a",
        "PLMS",
        "UniPC",
        "DPM++ SDE",
    ] {
        let ask = |refiner: Option<&str>| Request {
            compat: Compat::A1111,
            refiner: refiner.map(Into::into),
            ..refined(sampler, 0.5)
        };
        let kept = values(&one(&same, &ask(Some("r"))));
        assert_eq!(kept, values(&one(&base, &ask(None))), "{sampler}");
        let parted = Request {
            compat: Compat::ComfyUi,
            ..ask(Some("r"))
        };
        one(&same, &parted);
    }
}

/// What a hook sees of a run.
#[derive(Default)]
struct Seen {
    steps: Vec<(usize, usize)>,
    latents: Vec<Vec<f32>>,
}

impl Hooks for Seen {
    fn step(&mut self, step: &latent_diffusion::Step<'_>) -> std::ops::ControlFlow<()> {
        self.steps.push((step.index, step.total));
        self.latents.push(step.x.to_data().iter::<f32>().collect());
        std::ops::ControlFlow::Continue(())
    }
}

/// Both legs count as one run; a model that draws once gives its denoisers away and draws the same.
#[test]
fn legs_count_as_one_run() {
    for compat in PROFILES {
        let ask = Request {
            compat,
            batch_count: 2,
            ..refined("Euler a", 0.5)
        };
        let model = || with_refiner(TinyFamily::Sdxl, TinyFamily::Refiner);
        let mut seen = Seen::default();
        let kept = run(&ask, &model(), &Memory::default(), None, &mut seen).unwrap();
        let counted: Vec<_> = (0..2).flat_map(|_| (0..6).map(|i| (i, 6))).collect();
        assert_eq!(seen.steps, counted, "{compat}");
        let once = run_once(&ask, model(), &Memory::default(), None, &mut Quiet).unwrap();
        for (kept, once) in kept.iter().zip(&once) {
            assert_eq!(values(kept), values(once), "{compat}");
        }
    }
}

/// The second pass alone is refined, as in A1111 by default.
#[test]
fn the_second_pass_is_refined() {
    let model = with_refiner(TinyFamily::Sdxl, TinyFamily::Refiner);
    let base = plain(TinyFamily::Sdxl);
    let hires = |denoising_strength| {
        Some(Hires {
            scale: 1.5,
            denoising_strength,
            ..Hires::default()
        })
    };
    let ask = |refiner: Option<&str>, strength| Request {
        compat: Compat::A1111,
        width: 64,
        steps: 4,
        refiner: refiner.map(Into::into),
        hires: hires(strength),
        ..refined("Euler", 0.9)
    };
    let drawn = |model: &Model, request: &Request| {
        let mut seen = Seen::default();
        let output = run(request, model, &Memory::default(), None, &mut seen)
            .unwrap()
            .remove(0);
        (output, seen.latents)
    };
    let (with, refined) = drawn(&model, &ask(Some("r"), 0.6));
    let (without, unrefined) = drawn(&base, &ask(None, 0.6));
    assert_eq!(refined[..4], unrefined[..4], "the first pass");
    assert_ne!(values(&with), values(&without));
    assert!(
        with.infotext.contains("Refiner switch at: 0.9"),
        "{}",
        with.infotext
    );
}

#[test]
fn pairs_that_share_no_latents_are_refused() {
    let refused = |base: TinyFamily, refiner: TinyFamily| {
        let model = with_refiner(base, refiner);
        let asked = Request {
            refiner: Some("r.safetensors".into()),
            ..request("Euler")
        };
        run(&asked, &model, &Memory::default(), None, &mut Quiet)
            .unwrap_err()
            .to_string()
    };
    let error = refused(TinyFamily::Sdxl, TinyFamily::Sd1);
    assert!(
        error.contains("`refiner` is r.safetensors") && error.contains("other latents"),
        "{error}"
    );
    let error = refused(TinyFamily::Sd2, TinyFamily::Refiner);
    assert!(
        error.contains("SDXL refiner") && error.contains("Stable Diffusion 2.x"),
        "{error}"
    );
    let error = refused(TinyFamily::Sdxl, TinyFamily::SdxlInpainting);
    assert!(error.contains("takes more than a latent"), "{error}");
    let absent = Request {
        refiner: Some("r.safetensors".into()),
        ..request("Euler")
    };
    let error = run(
        &absent,
        &plain(TinyFamily::Sdxl),
        &Memory::default(),
        None,
        &mut Quiet,
    )
    .unwrap_err();
    assert!(error.to_string().contains("ModelFiles::refiner"), "{error}");
    // Models of one latent, whatever they are called.
    for (base, refiner) in [
        (TinyFamily::Sd1, TinyFamily::Sd1),
        (TinyFamily::Sd1, TinyFamily::Sd2),
        (TinyFamily::Refiner, TinyFamily::Sdxl),
    ] {
        one(&with_refiner(base, refiner), &refined("Euler", 0.5));
    }
}

#[test]
fn what_does_nothing_is_said() {
    let model = with_refiner(TinyFamily::Sdxl, TinyFamily::Refiner);
    let idle = |request: &Request| {
        let idle = without_effect(request, &model).unwrap();
        let set = idle.into_iter().filter(|idle| idle.is_set(request));
        set.map(|idle| idle.field).collect::<Vec<_>>()
    };
    let mut asked = refined("Euler", 0.5);
    (
        asked.condition.sizes.score,
        asked.condition.sizes.negative_score,
    ) = (Some(7.0), Some(2.0));
    let found = idle(&asked);
    assert!(
        !found
            .iter()
            .any(|f| f.starts_with("refiner") || f.starts_with("condition.sizes")),
        "{found:?}"
    );
    asked.refiner_switch = 1.0;
    assert!(idle(&asked).contains(&"refiner"));
    asked.refiner = None;
    let found = idle(&asked);
    assert!(
        [
            "refiner_switch",
            "condition.sizes.score",
            "condition.sizes.negative_score"
        ]
        .iter()
        .all(|field| found.contains(field)),
        "{found:?}"
    );
}
