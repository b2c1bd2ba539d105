//! The ladders and start scales of the profiles: diffusers' of every published scheduler of the U-Net family
//! (`tools/reference/family.py`, golden `family_schedules`), and those of a rectified flow. No network.

use latent_checkpoint::SchedulerConfig;
use latent_diffusion::{
    AlignTable, BetaSchedule, FlowSchedule, NoisePath, NoiseSchedule, Prediction, Sampler,
    Scheduler, StrengthRule,
};
use latent_pipeline::profile::{Asked, Walk};
use latent_pipeline::request::Compat;
use latent_pipeline::{Error, FAMILIES, Profile, Resolved};
use latent_testkit::golden::FAMILY_SCHEDULES;
use serde_json::{Value, json};

const PROFILES: [Compat; 3] = [Compat::A1111, Compat::ComfyUi, Compat::Diffusers];

/// The settings of a published scheduler, and what they say the output means.
fn published(name: &str) -> (SchedulerConfig, Prediction) {
    use Prediction::{Edm, EdmV, Epsilon, Sample, V};
    let usual = json!({"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
        "set_alpha_to_one": false, "skip_prk_steps": true, "steps_offset": 1});
    let x4 = json!({"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "scaled_linear"});
    let edm = json!({"sigma_min": 0.002, "sigma_max": 80.0, "sigma_data": 0.5, "rho": 7.0});
    let euler = "EulerDiscreteScheduler";
    let trailing = json!({"timestep_spacing": "trailing"});
    let leading = json!({"timestep_spacing": "leading"});
    let (base, class, more, prediction) = match name {
        "sd2" => (usual, "DDIMScheduler", json!({}), V),
        "sd2_eps" => (usual, "PNDMScheduler", json!({}), Epsilon),
        "sd2_unclip" => (usual, "PNDMScheduler", json!({}), V),
        "unclip_noise" => {
            let cosine = json!({"beta_schedule": "squaredcos_cap_v2"});
            (cosine, "DDPMScheduler", json!({}), Epsilon)
        }
        "x4" => {
            let more = json!({"steps_offset": 1, "set_alpha_to_one": false});
            (x4, "DDIMScheduler", more, V)
        }
        "x4_low" => (x4, "DDPMScheduler", json!({"clip_sample": true}), Epsilon),
        "sdxl" => (usual, euler, leading, Epsilon),
        "lightning" => (usual, euler, trailing, Epsilon),
        "lightning_1" => (usual, euler, trailing, Sample),
        "turbo" => (usual, "EulerAncestralDiscreteScheduler", trailing, Epsilon),
        "v_zsnr" => {
            let more = json!({"timestep_spacing": "trailing", "rescale_betas_zero_snr": true});
            (usual, euler, more, V)
        }
        "edm" => (
            edm,
            "EDMDPMSolverMultistepScheduler",
            json!({"solver_order": 2}),
            Edm,
        ),
        "edm_euler" => (edm, "EDMEulerScheduler", json!({}), Edm),
        "cosxl" => {
            let more =
                json!({"sigma_max": 120.0, "sigma_data": 1.0, "sigma_schedule": "exponential"});
            (edm, "EDMEulerScheduler", more, EdmV)
        }
        "lcm" => (
            usual,
            "LCMScheduler",
            json!({"set_alpha_to_one": true}),
            Epsilon,
        ),
        _ => unreachable!("no golden of that name"),
    };
    let mut all = base.as_object().cloned().expect("an object");
    all.extend(more.as_object().cloned().expect("an object"));
    all.insert("_class_name".into(), class.into());
    let config = SchedulerConfig::from_json(&Value::Object(all)).expect("settings");
    (config, prediction)
}

fn schedule(config: &SchedulerConfig) -> NoiseSchedule {
    let beta = match config.beta_schedule.as_str() {
        "linear" => BetaSchedule::Linear,
        "scaled_linear" => BetaSchedule::ScaledLinear,
        _ => BetaSchedule::Cosine,
    };
    let zero = config.rescale_betas_zero_snr;
    NoiseSchedule::new(beta, config.beta_start, config.beta_end, 1000, zero).expect("a schedule")
}

fn numbers(value: &Value) -> Vec<f64> {
    let list = value.as_array().expect("a list").iter();
    list.filter_map(Value::as_f64).collect()
}

#[test]
fn published_schedulers_of_the_family() {
    let table: Value = serde_json::from_str(FAMILY_SCHEDULES).expect("JSON");
    let near = |key: &str, got: f64, want: f64| {
        let error = (got - want).abs();
        assert!(error <= 2e-5 * want.abs() + 1e-6, "{key}: {got} {want}");
    };
    let profile = Profile::of(Compat::Diffusers);
    let mut seen = 0;
    for (key, want) in table.as_object().expect("an object") {
        let parts: Vec<&str> = key.split('/').collect();
        let [name, steps, "timesteps"] = parts[..] else {
            continue;
        };
        let steps: usize = steps.parse().expect("a number of steps");
        let (config, prediction) = published(name);
        let names = Resolved::of("automatic", "Automatic", &profile, &config).expect("names");
        let sampler = names.sampler;
        let path = profile
            .path(prediction, &schedule(&config), sampler, &config)
            .expect("a path");
        let asked = Asked {
            sampler,
            scheduler: names.scheduler,
            steps,
            custom: None,
            align: AlignTable::Trained512,
            strength: None,
        };
        let ladder = profile
            .ladder(&asked, &path, &config)
            .expect("a ladder")
            .sigmas;
        seen += 1;
        let levels = ladder.values();
        assert_eq!(ladder.steps(), steps, "{key}");
        if (name, steps) == ("cosxl", 1) {
            // The reference's single step starts at the low end, though its noise is of the high one.
            near(key, levels[0], 120.0);
            continue;
        }
        // Of PLMS the reference lists the second step twice, because it is evaluated twice.
        let mut want = numbers(want);
        want.dedup();
        assert_eq!(want.len(), steps, "{key}");
        for (sigma, want) in levels.iter().zip(&want) {
            let told = ladder.timestep(*sigma);
            near(key, told.unwrap_or_else(|| path.timestep(*sigma)), *want);
        }
        if let Some(want) = table.get(format!("{name}/{steps}/sigmas")) {
            for (got, want) in levels.iter().zip(numbers(want)) {
                near(key, *got, want);
            }
        }
        let scale = profile.start_scale(sampler, &config, &path, levels[0]);
        let preserving = matches!(
            sampler,
            Sampler::Ddim | Sampler::Plms | Sampler::Ddpm | Sampler::Lcm
        );
        // A variance-preserving latent starts from unit noise.
        let unit = if preserving {
            path.preserving_scale(levels[0])
        } else {
            1.0
        };
        let want = table[format!("{name}/{steps}/init_noise_sigma")].as_f64();
        near(key, scale / unit, want.expect("a number"));
    }
    assert_eq!(seen, 5 * 15);
}

/// A flow's settings, with a shift of 3.
fn flow() -> (SchedulerConfig, NoisePath, FlowSchedule) {
    let config = SchedulerConfig {
        prediction_type: "flow_prediction".into(),
        shift: Some(3.0),
        ..SchedulerConfig::default()
    };
    let levels = FlowSchedule::new(3.0, 1000).expect("levels");
    (config, NoisePath::Flow(levels.clone()), levels)
}

fn walk(compat: Compat, asked: &Asked<'_>) -> Result<Walk, Error> {
    let (config, path, _) = flow();
    Profile::of(compat).ladder(asked, &path, &config)
}

fn asked(scheduler: Scheduler) -> Asked<'static> {
    Asked {
        sampler: Sampler::Euler,
        scheduler,
        steps: 10,
        custom: None,
        align: AlignTable::Trained512,
        strength: None,
    }
}

/// A curve that a sampler brings is named by A1111 as if it had been chosen; ladders without a curve are not.
#[test]
fn what_is_named_automatic() {
    let config = SchedulerConfig::default();
    let profile = Profile::of(Compat::A1111);
    for (sampler, scheduler, automatic) in [
        ("DPM++ 2M", "Automatic", false),
        ("DPM++ 2M", "Karras", false),
        ("DPM++ 2M Karras", "Automatic", false),
        ("Euler", "Automatic", true),
        ("Euler", "Uniform", false),
        ("DDIM", "Automatic", true),
        ("UniPC", "Automatic", true),
    ] {
        let names = Resolved::of(sampler, scheduler, &profile, &config).expect("names");
        assert_eq!(names.automatic, automatic, "{sampler} {scheduler}");
    }
}

#[test]
fn the_ladder_of_a_flow_is_the_published_one_and_any_other_that_is_asked_for() {
    let (config, _, levels) = flow();
    let published = levels.ladder(10).expect("a ladder");
    for compat in PROFILES {
        let profile = Profile::of(compat);
        let names = Resolved::of("automatic", "Automatic", &profile, &config).expect("names");
        assert_eq!(
            (names.sampler, names.scheduler),
            (Sampler::Euler, Scheduler::Automatic)
        );
        let own = Resolved::of("Euler", "Normal", &profile, &config).expect("names");
        assert_eq!((own.scheduler, own.automatic), (Scheduler::Normal, false));
        let of = |scheduler| walk(compat, &asked(scheduler)).map(|w| w.sigmas);
        assert_eq!(
            of(Scheduler::Automatic).expect("a ladder"),
            published,
            "{compat}"
        );
        let mut ladders = Vec::new();
        for scheduler in Scheduler::ALL {
            match scheduler {
                // The same numbers under another name.
                Scheduler::Uniform | Scheduler::Polyexponential => continue,
                Scheduler::Normal if compat == Compat::Diffusers => continue,
                Scheduler::AlignYourSteps => {
                    let error = of(scheduler).expect_err("levels above 1").to_string();
                    assert!(error.contains("rectified flow"), "{error}");
                    continue;
                }
                _ => {}
            }
            let ladder = of(scheduler).expect("a ladder");
            let values = ladder.values();
            assert!(
                values[0] <= 1.0 && values[ladder.steps()] < 0.01,
                "{compat} {scheduler:?}"
            );
            for (other, seen) in &ladders {
                assert_ne!(
                    values, seen as &[f64],
                    "{compat}: {scheduler:?} is {other:?}"
                );
            }
            ladders.push((scheduler, values.to_vec()));
        }
        assert!(ladders.len() >= 8, "{compat}");
    }
    let restart = Asked {
        sampler: Sampler::Restart,
        ..asked(Scheduler::Automatic)
    };
    let error = walk(Compat::A1111, &restart)
        .expect_err("a refusal")
        .to_string();
    assert!(
        error.contains("Restart") && error.contains("σ = 2"),
        "{error}"
    );
}

#[test]
fn a_flow_keeps_its_strength_rule() {
    let (_, _, levels) = flow();
    for (rule, ladder, keep) in [
        (StrengthRule::Share, 10, 5),
        (StrengthRule::Encode, 10, 6),
        (StrengthRule::EncodeExactly, 20, 10),
        (StrengthRule::Extend, 20, 10),
    ] {
        for compat in PROFILES {
            let asked = Asked {
                strength: Some((rule, 0.5)),
                ..asked(Scheduler::Automatic)
            };
            let got = walk(compat, &asked).expect("a ladder").sigmas;
            let whole = levels.ladder(ladder).expect("a ladder");
            let want = whole.tail(ladder - keep).expect("a tail");
            assert_eq!(got, want, "{compat} {rule:?}");
        }
    }
    let none = Asked {
        strength: Some((StrengthRule::Share, 0.05)),
        ..asked(Scheduler::Automatic)
    };
    assert!(walk(Compat::Diffusers, &none).is_err());
}

/// diffusers' `FlowMatchEulerDiscreteScheduler` lays its flags' shapes between the ends of its own ladder.
#[test]
fn shapes_of_a_flow_meet_the_published_ends() {
    let (config, path, levels) = flow();
    let published = levels.ladder(10).expect("a ladder");
    let flagged = SchedulerConfig {
        use_karras_sigmas: true,
        ..config
    };
    let profile = Profile::of(Compat::Diffusers);
    let of = |scheduler| {
        profile
            .ladder(&asked(scheduler), &path, &flagged)
            .expect("a ladder")
            .sigmas
    };
    let (by_flag, by_name) = (of(Scheduler::Automatic), of(Scheduler::Karras));
    assert_eq!(by_flag, by_name);
    let (got, ends) = (by_name.values(), published.values());
    assert!((got[0] - ends[0]).abs() < 1e-12 && (got[9] - ends[9]).abs() < 1e-12);
    assert_eq!(by_name.timestep(got[4]), Some(got[4] * 1000.0));
    let (high, low) = (ends[0].powf(1.0 / 7.0), ends[9].powf(1.0 / 7.0));
    assert!((got[3] - (high + (low - high) / 3.0).powi(7)).abs() < 1e-12);
}

/// "Align Your Steps" was published for two families: A1111 takes the ladder of the model's.
#[test]
fn aligned_steps_are_the_familys() {
    let config = SchedulerConfig::stable_diffusion();
    let path = NoisePath::Discrete(schedule(&config));
    for family in FAMILIES {
        let large = family.name.starts_with("SDXL");
        let second = if large { 6.315 } else { 6.475 };
        let asked = Asked {
            align: family.align,
            steps: 11,
            ..asked(Scheduler::AlignYourSteps)
        };
        let ladder = Profile::of(Compat::A1111).ladder(&asked, &path, &config);
        let levels = ladder.expect("a ladder").sigmas;
        let found = levels.values()[1];
        assert!((found - second).abs() < 1e-9, "{}: {found}", family.name);
    }
}
