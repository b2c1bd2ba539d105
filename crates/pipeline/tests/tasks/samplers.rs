//! Every sampler with every profile.

use latent_checkpoint::SchedulerConfig;
use latent_diffusion::{Sampler, names};
use latent_pipeline::request::Compat;
use latent_pipeline::resources::Disk;
use latent_pipeline::{Error, Quiet, Request, run};

use super::{PROFILES, common, differ, model, one, request, values};

#[test]
fn each_gives_a_picture_in_each_profile() {
    let model = model();
    for compat in PROFILES {
        for sampler in Sampler::ALL {
            for scheduler in ["Automatic", "Karras"] {
                let request = Request {
                    sampler: names::sampler_info(sampler).label.into(),
                    scheduler: scheduler.into(),
                    steps: 3,
                    width: 32,
                    height: 32,
                    compat,
                    ..request()
                };
                // takes its own steps between the ladder's ends
                if sampler == Sampler::DpmAdaptive && scheduler == "Karras" {
                    continue;
                }
                let case = format!("{compat} {} {scheduler}", request.sampler);
                let output = one(&model, &request);
                assert!(values(&output).iter().all(|v| v.is_finite()), "{case}");
                let rgb = output.picture.rgb();
                assert!(rgb.iter().any(|v| *v != rgb[0]), "{case}: one colour");
                assert!(output.stopped.is_none(), "{case}");
            }
        }
    }
}

/// One step is the least that can be asked for.
#[test]
fn one_step_is_enough() {
    let model = model();
    for sampler in Sampler::ALL {
        for compat in PROFILES {
            let request = Request {
                sampler: names::sampler_info(sampler).label.into(),
                steps: 1,
                width: 32,
                height: 32,
                compat,
                ..request()
            };
            match run(&request, &model, &Disk::default(), None, &mut Quiet) {
                Ok(outputs) => assert!(values(&outputs[0]).iter().all(|v| v.is_finite())),
                // a ladder of one visited time step has nowhere to go
                Err(error) => assert!(
                    matches!(error, Error::Diffusion(_) | Error::Field { .. }),
                    "{compat} {sampler:?}: {error}"
                ),
            }
        }
    }
}

/// Names of other programs and old combined names mean the same picture.
#[test]
fn names_of_other_programs() {
    let model = model();
    let draw = |sampler: &str, scheduler: &str| {
        let request = Request {
            sampler: sampler.into(),
            scheduler: scheduler.into(),
            ..request()
        };
        one(&model, &request)
    };
    let label = draw("DPM++ 2M", "Karras");
    for (sampler, scheduler) in [
        ("DPM++ 2M Karras", "Automatic"),
        ("dpmpp_2m", "karras"),
        ("k_dpmpp_2m_ka", "Automatic"),
        ("DPM++ 2M", "Automatic"),
    ] {
        assert!(
            !differ(&label, &draw(sampler, scheduler)),
            "{sampler} {scheduler}"
        );
    }
    assert!(differ(&label, &draw("DPM++ 2M Karras", "Exponential")));
}

/// η, churn and noise factors reach the sampler.
#[test]
fn options_act() {
    let model = model();
    let base = |sampler: &str| Request {
        sampler: sampler.into(),
        steps: 4,
        ..request()
    };
    type Change = fn(&mut Request);
    let cases: [(&str, Change); 6] = [
        ("DDIM", |r| r.eta = Some(1.0)),
        ("Euler a", |r| r.eta = Some(0.3)),
        ("Euler a", |r| r.s_noise = 0.9),
        ("Heun", |r| r.s_churn = 4.0),
        ("Euler", |r| r.sigmas = Some(vec![14.0, 3.0, 0.5, 0.0])),
        ("DPM fast", |r| r.eta = Some(0.0)),
    ];
    for (sampler, change) in cases {
        let plain = base(sampler);
        let mut changed = plain.clone();
        change(&mut changed);
        let (plain, drawn) = (one(&model, &plain), one(&model, &changed));
        assert!(differ(&plain, &drawn), "{changed:?}");
    }
}

/// The three profiles are three pictures, whatever the sampler; with one noise source, still.
#[test]
fn profiles_differ() {
    let model = model();
    for sampler in ["Euler", "DDIM", "DPM++ 2M"] {
        let draw = |compat, rng: Option<&str>| {
            let rng = rng.map(|r| r.parse().expect("a generator"));
            let request = Request {
                sampler: sampler.into(),
                compat,
                rng,
                ..request()
            };
            one(&model, &request)
        };
        let [a, b, c] = PROFILES.map(|p| draw(p, Some("cpu")));
        assert!(
            differ(&a, &b) && differ(&b, &c) && differ(&a, &c),
            "{sampler}"
        );
        assert!(
            differ(&a, &draw(Compat::A1111, None)),
            "{sampler}: the generator"
        );
    }
}

/// A rectified flow: every sampler that has a form for it, and every scheduler, acts; the others say why not.
#[test]
fn a_flow_is_drawn_with_what_is_asked_for() {
    let flow = SchedulerConfig {
        prediction_type: "flow_prediction".into(),
        shift: Some(3.0),
        ..SchedulerConfig::default()
    };
    let model = common::tiny(4, flow);
    let with = |sampler: &str, scheduler: &str, compat| Request {
        sampler: sampler.into(),
        scheduler: scheduler.into(),
        steps: 4,
        width: 32,
        height: 32,
        compat,
        ..request()
    };
    for compat in PROFILES {
        for sampler in Sampler::ALL {
            let request = with(names::sampler_info(sampler).label, "Automatic", compat);
            let case = format!("{compat} {sampler:?}");
            if sampler.refused_on_flows().is_some() {
                let error =
                    run(&request, &model, &Disk::default(), None, &mut Quiet).expect_err(&case);
                assert!(
                    error.to_string().contains("rectified flow"),
                    "{case}: {error}"
                );
                continue;
            }
            let output = one(&model, &request);
            assert!(values(&output).iter().all(|v| v.is_finite()), "{case}");
        }
        let schedulers = ["Automatic", "Karras", "SGM Uniform", "Beta", "Exponential"];
        let pictures = schedulers.map(|s| one(&model, &with("Euler", s, compat)));
        for (i, a) in pictures.iter().enumerate() {
            for (b, other) in pictures[..i].iter().zip(schedulers) {
                assert!(differ(a, b), "{compat}: {} is {other}", schedulers[i]);
            }
        }
        // What nobody chose is Euler on the published ladder.
        let chosen = one(&model, &with("automatic", "Automatic", compat));
        assert!(!differ(&chosen, &pictures[0]), "{compat}");
        assert!(differ(
            &chosen,
            &one(&model, &with("Euler a", "Automatic", compat))
        ));
    }
    let refused = with("Euler", "Align Your Steps", Compat::A1111);
    let error =
        run(&refused, &model, &Disk::default(), None, &mut Quiet).expect_err("no such levels");
    assert!(error.to_string().contains("rectified flow"), "{error}");
    let above = Request {
        sigmas: Some(vec![14.0, 0.5, 0.0]),
        ..with("Euler", "Automatic", Compat::A1111)
    };
    let error =
        run(&above, &model, &Disk::default(), None, &mut Quiet).expect_err("no such levels");
    assert!(error.to_string().contains("at most 1"), "{error}");
}
