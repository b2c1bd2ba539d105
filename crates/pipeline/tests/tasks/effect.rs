//! A setting is said to have no effect exactly where it has none.

use latent_diffusion::{Sampler, names};
use latent_pipeline::effect::without_effect;
use latent_pipeline::request::{
    Compat, GivenPicture, GuidanceOptions, InpaintFill, ResizeMode, WeightRule,
};
use latent_pipeline::{Model, Request};

use super::{Files, PROFILES, differ, model, one, request};

fn idle(model: &Model, request: &Request, field: &str) -> bool {
    let idle = without_effect(request, model).expect("known names");
    idle.iter().any(|idle| idle.field == field)
}

/// Every sampler with every setting of noise, in every profile.
#[test]
fn settings_of_noise() {
    let model = model();
    type Change = fn(&mut Request);
    let changes: [(&str, Change); 5] = [
        ("eta", |r| r.eta = Some(0.6)),
        ("s_churn", |r| r.s_churn = 2.0),
        ("s_noise", |r| r.s_noise = 0.5),
        ("ensd", |r| r.ensd = 31_337),
        ("s_tmax", |r| r.s_tmax = Some(1e-9)),
    ];
    for compat in PROFILES {
        for sampler in Sampler::ALL {
            let plain = Request {
                sampler: names::sampler_info(sampler).label.into(),
                steps: 4,
                width: 32,
                height: 32,
                compat,
                ..request()
            };
            let drawn = one(&model, &plain);
            for (field, change) in changes {
                let mut changed = plain.clone();
                change(&mut changed);
                let differs = differ(&drawn, &one(&model, &changed));
                let idle = idle(&model, &changed, field);
                assert_ne!(differs, idle, "{compat} {} {field}", plain.sampler);
            }
        }
    }
}

#[test]
fn settings_of_pictures_and_guidance() {
    let (model, files) = (model(), Files::new());
    let picture = files.picture(64, 48);
    let mask = files.mask(64, 48, 10, 40);
    type Change = Box<dyn Fn(&mut Request)>;
    let with_picture = Request {
        start: GivenPicture {
            image: Some(picture),
            ..request().start
        },
        ..request()
    };
    let with_mask = Request {
        start: GivenPicture {
            mask: Some(mask),
            ..with_picture.clone().start
        },
        ..with_picture.clone()
    };
    let only_masked = Request {
        start: GivenPicture {
            only_masked: true,
            ..with_mask.clone().start
        },
        ..with_mask.clone()
    };
    let unguided = Request {
        guidance: GuidanceOptions {
            scale: 1.0,
            ..request().guidance
        },
        ..request()
    };
    let cfg_pp = Request {
        sampler: "Euler CFG++".into(),
        ..unguided.clone()
    };
    let by_hand = Request {
        sigmas: Some(vec![9.0, 2.0, 0.0]),
        ..request()
    };
    let weighted = Request {
        prompt: "a (red:1.4) apple".into(),
        ..request()
    };
    let plain = Request {
        compat: Compat::Diffusers,
        ..weighted.clone()
    };
    let varied = Request {
        subseed: Some(1),
        subseed_strength: 0.3,
        ..request()
    };
    let change = |f: fn(&mut Request)| -> Change { Box::new(f) };
    let strength = || change(|r| r.start.strength = 0.4);
    let fit = || change(|r| r.start.resize_mode = ResizeMode::Crop);
    let blur = || change(|r| r.start.mask_blur = 9);
    let fill = || change(|r| r.start.fill = InpaintFill::LatentNoise);
    let padding = || change(|r| r.start.padding = 2);
    let negative = || change(|r| r.negative_prompt = "sharp, bright".into());
    let rescale = || change(|r| r.guidance.rescale = 0.7);
    let steps = || change(|r| r.steps = 9);
    let scheduler = || change(|r| r.scheduler = "Karras".into());
    let weights = || change(|r| r.weight_rule = Some(WeightRule::Ignore));
    let subseed = || change(|r| r.subseed = Some(99));
    let default = request();
    let cases: Vec<(&Request, &str, Change, bool)> = vec![
        (&default, "start.strength", strength(), true),
        (&with_picture, "start.strength", strength(), false),
        (&default, "start.resize_mode", fit(), true),
        (&with_picture, "start.resize_mode", fit(), false),
        (&only_masked, "start.resize_mode", fit(), true),
        (&with_picture, "start.mask_blur", blur(), true),
        (&with_mask, "start.mask_blur", blur(), false),
        (&with_picture, "start.fill", fill(), true),
        (&with_mask, "start.fill", fill(), false),
        (&with_mask, "start.padding", padding(), true),
        (&only_masked, "start.padding", padding(), false),
        (&unguided, "negative_prompt", negative(), true),
        (&default, "negative_prompt", negative(), false),
        (&cfg_pp, "negative_prompt", negative(), false),
        (&unguided, "guidance.rescale", rescale(), true),
        (&default, "guidance.rescale", rescale(), false),
        (&by_hand, "steps", steps(), true),
        (&default, "steps", steps(), false),
        (&by_hand, "scheduler", scheduler(), true),
        (&default, "scheduler", scheduler(), false),
        (&plain, "weight_rule", weights(), true),
        (&weighted, "weight_rule", weights(), false),
        (&default, "subseed", subseed(), true),
        (&varied, "subseed", subseed(), false),
    ];
    for (base, field, change, none) in cases {
        let mut changed = base.clone();
        change(&mut changed);
        let differs = differ(&one(&model, base), &one(&model, &changed));
        assert_eq!(differs, !none, "{field}: {changed:?}");
        assert_eq!(idle(&model, &changed, field), none, "{field}: {changed:?}");
        let set = without_effect(&changed, &model).expect("known names");
        let mut set = set.into_iter().filter(|idle| idle.field == field);
        assert!(set.all(|idle| idle.is_set(&changed)), "{field}");
    }
}
