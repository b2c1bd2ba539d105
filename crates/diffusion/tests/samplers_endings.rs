//! Walks that end early and walks that are refused.

mod common;

use std::ops::ControlFlow;

use burn::tensor::Tensor;
use common::{Function, RecipeNoise, everywhere, run, start, values};
use latent_diffusion::{
    DdpmVariance, Denoise, Error, Mixing, RestartSegment, Sampler, SamplerOptions, Sigmas, Step,
    sample,
};

fn denoiser() -> Function<impl FnMut(Tensor<4>, f64) -> Tensor<4>> {
    Function::new(|x: Tensor<4>, s: f64| (x * 0.4).sin() / (1.0 + s))
}

fn ladder(values: &[f64]) -> Sigmas {
    Sigmas::new(values.to_vec()).expect("a ladder")
}

fn to_zero() -> Sigmas {
    ladder(&[9.0, 5.0, 2.5, 1.2, 0.4, 0.1, 0.0])
}

fn with(change: impl FnOnce(&mut SamplerOptions)) -> SamplerOptions {
    let mut options = SamplerOptions::default();
    change(&mut options);
    options
}

#[test]
fn a_break_returns_the_latest_prediction() {
    for (sampler, mixing) in everywhere() {
        let top = if mixing == Mixing::Flow { 9.0 } else { 1.0 };
        let sigmas = to_zero().values().iter().map(|s| s / top).collect();
        let sigmas = Sigmas::new(sigmas).expect("a ladder");
        let mut latest = Vec::new();
        let mut last = None;
        let mut d = denoiser();
        d.unconditional = Some(start());
        d.mixing = mixing;
        let mut stop = |step: Step<'_>| {
            assert!(step.index < step.total && step.sigma > step.sigma_next);
            assert!(last.is_none_or(|i| i <= step.index), "{sampler:?}");
            last = Some(step.index);
            latest = values(step.denoised.clone());
            match step.index {
                0 => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        };
        let got = sample(
            sampler,
            &SamplerOptions::default(),
            &mut d,
            start(),
            &sigmas,
            &mut RecipeNoise::default(),
            &mut stop,
        );
        assert_eq!(values(got.expect("x̂₀")), latest, "{sampler:?} {mixing:?}");
    }
}

fn refused(sampler: Sampler, options: &SamplerOptions, sigmas: &Sigmas) -> Error {
    refused_by(&mut denoiser(), sampler, options, sigmas)
}

fn refused_by(
    d: &mut dyn Denoise,
    sampler: Sampler,
    options: &SamplerOptions,
    sigmas: &Sigmas,
) -> Error {
    let mut go_on = |_: Step<'_>| ControlFlow::Continue(());
    let noise = &mut RecipeNoise::default();
    sample(sampler, options, d, start(), sigmas, noise, &mut go_on)
        .expect_err("it should be refused")
}

#[test]
fn what_cannot_be_walked_is_an_error_that_says_why() {
    use Sampler::*;
    for sampler in [EulerCfgPp, EulerAncestralCfgPp, DdimCfgPp] {
        let error = refused(sampler, &with(|_| {}), &to_zero());
        assert!(matches!(error, Error::NoUnconditional { sampler: s } if s == sampler.name()));
    }
    let on_flow = |sampler, options: &SamplerOptions, sigmas: &Sigmas| {
        let mut d = denoiser();
        d.mixing = Mixing::Flow;
        refused_by(&mut d, sampler, options, sigmas)
    };
    for sampler in [Euler, Dpmpp2mSde] {
        let error = on_flow(sampler, &with(|_| {}), &to_zero());
        assert!(error.to_string().contains("at most 1"), "{error}");
    }
    for (sampler, options) in [
        (Restart, with(|_| {})),
        (Tcd, with(|_| {})),
        (Heun, with(|o| o.s_churn = 1.0)),
        (Ddpm, with(|o| o.ddpm_variance = DdpmVariance::Large)),
    ] {
        let error = on_flow(sampler, &options, &ladder(&[1.0, 0.5, 0.0]));
        assert!(error.to_string().contains("rectified flow"), "{error}");
    }
    for sigma in [1e-9, 1e-300, 1e13] {
        let error = refused(Euler, &with(|_| {}), &ladder(&[sigma, 0.0]));
        assert!(error.to_string().contains("1e-8"), "{error}");
    }
    let settings: Vec<(&str, Sampler, SamplerOptions)> = vec![
        ("eta", Ddim, with(|o| o.eta = Some(-0.1))),
        ("eta", Ddim, with(|o| o.eta = Some(f64::NAN))),
        ("s_noise", Heun, with(|o| o.s_noise = -1.0)),
        ("s_churn", Heun, with(|o| o.s_churn = f64::INFINITY)),
        ("flow_top", Dpmpp2m, with(|o| o.flow_top = 1.0)),
        ("order", Lms, with(|o| o.order = Some(5))),
        ("order", DpmAdaptive, with(|o| o.order = Some(1))),
        ("order", UniPcBh1, with(|o| o.order = Some(0))),
        ("sde_r", DpmppSde, with(|o| o.sde_r = 0.0)),
        ("tcd_gamma", Tcd, with(|o| o.tcd_gamma = 1.5)),
        ("rtol", DpmAdaptive, with(|o| o.adaptive.rtol = 0.0)),
        (
            "accept_safety",
            DpmAdaptive,
            with(|o| o.adaptive.accept_safety = 1.0),
        ),
        (
            "restart.values",
            Restart,
            with(|o| {
                o.restart = Some(vec![RestartSegment {
                    sigma_min: 0.1,
                    sigma_max: 2.0,
                    values: 1,
                    times: 1,
                }]);
            }),
        ),
    ];
    for (setting, sampler, options) in settings {
        match refused(sampler, &options, &to_zero()) {
            Error::Setting { name, .. } => assert_eq!(name, setting),
            other => panic!("{setting}: {other}"),
        }
    }
}

#[test]
fn the_adaptive_sampler_ends_whatever_it_is_given() {
    let impossible = with(|o| (o.adaptive.rtol, o.adaptive.atol) = (1e-12, 1e-12));
    let mut broken = Function::new(|x: Tensor<4>, _| x * f32::NAN);
    let mut noisy = denoiser();
    let denoisers: [(&mut dyn Denoise, _); 2] = [
        (&mut broken, SamplerOptions::default()),
        (&mut noisy, impossible),
    ];
    for (d, options) in denoisers {
        let x = start().narrow(0, 0, 1);
        run(
            Sampler::DpmAdaptive,
            &options,
            d,
            x,
            &to_zero(),
            &mut RecipeNoise::default(),
        );
    }
    assert!(noisy.calls < 20_000, "{}", noisy.calls);
    assert!(broken.calls < 1000, "{}", broken.calls);
}
