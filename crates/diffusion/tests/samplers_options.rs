//! What the options mean, step by step, and what a sampler refuses.

mod common;

use std::ops::ControlFlow;

use burn::tensor::Tensor;
use common::{Function, RecipeNoise, SHAPE, run, start, tensor, values};
use latent_diffusion::{
    DeisVariable, IpndmCoefficients, LcmBoundary, LowerOrderFinal, RestartSegment, Sampler,
    SamplerOptions, Sigmas, SolverType, Step, sample,
};
use latent_testkit::{max_abs_difference, recipe};

fn denoiser() -> Function<impl FnMut(Tensor<4>, f64) -> Tensor<4>> {
    Function::new(|x: Tensor<4>, s: f64| (x * 0.4).sin() / (1.0 + s))
}

fn ladder(values: &[f64]) -> Sigmas {
    Sigmas::new(values.to_vec()).expect("a ladder")
}

fn to_zero() -> Sigmas {
    ladder(&[9.0, 5.0, 2.5, 1.2, 0.4, 0.1, 0.0])
}

fn to_a_tenth() -> Sigmas {
    ladder(&[9.0, 5.0, 2.5, 1.2, 0.4, 0.1])
}

fn walk(sampler: Sampler, options: &SamplerOptions, sigmas: &Sigmas) -> Vec<f32> {
    let x = start() * sigmas.values()[0];
    values(run(
        sampler,
        options,
        &mut denoiser(),
        x,
        sigmas,
        &mut RecipeNoise::default(),
    ))
}

fn differ(a: &[f32], b: &[f32]) -> f64 {
    max_abs_difference(a, b)
}

fn with(change: impl FnOnce(&mut SamplerOptions)) -> SamplerOptions {
    let mut options = SamplerOptions {
        variance_preserving_end: Some(false),
        ..SamplerOptions::default()
    };
    change(&mut options);
    options
}

#[test]
fn options_come_back_from_json_and_default_from_nothing() {
    let some = with(|o| {
        o.eta = Some(0.3);
        o.s_tmax = Some(4.0);
        o.disable_corrector = vec![0, 1];
        o.lower_order_final = Some(LowerOrderFinal::Below(15));
        o.restart = Some(Vec::new());
    });
    let json = serde_json::to_string(&some).expect("serialisable");
    assert_eq!(
        serde_json::from_str::<SamplerOptions>(&json).ok(),
        Some(some)
    );
    let nothing = serde_json::from_str::<SamplerOptions>("{}").ok();
    assert_eq!(nothing, Some(SamplerOptions::default()));
}

#[test]
fn names_that_are_one_rule_agree() {
    use Sampler::*;
    let zero = with(|o| o.eta = Some(0.0));
    let one = with(|o| o.eta = Some(1.0));
    let pairs = [
        (Euler, &zero, Ddim, &zero),
        (EulerAncestral, &one, Ddim, &one),
        (Ddpm, &one, EulerAncestral, &one),
        (Dpmpp2m, &zero, Dpmpp2mSde, &zero),
        (
            Dpmpp3mSde,
            &with(|o| o.order = Some(2)),
            Dpmpp2mSdeHeun,
            &one,
        ),
    ];
    for (a, a_options, b, b_options) in pairs {
        let (got, want) = (
            walk(a, a_options, &to_zero()),
            walk(b, b_options, &to_zero()),
        );
        assert!(differ(&got, &want) < 1e-6, "{a:?} {b:?}");
    }
    // Variable coefficients make iPNDM what LMS is, but for the step to 0.
    let variable = with(|o| o.ipndm_coefficients = IpndmCoefficients::Variable);
    let (got, want) = (
        walk(Ipndm, &variable, &to_a_tenth()),
        walk(Lms, &zero, &to_a_tenth()),
    );
    assert!(differ(&got, &want) < 1e-6);
}

#[test]
fn an_option_changes_the_samplers_it_names() {
    use Sampler::*;
    let cases: Vec<(Sampler, SamplerOptions)> = vec![
        (Dpmpp2m, with(|o| o.order = Some(3))),
        (Dpmpp2m, with(|o| o.euler_at_final = true)),
        (
            Dpmpp2m,
            with(|o| o.lower_order_final = Some(LowerOrderFinal::Below(6))),
        ),
        (Dpmpp2m, with(|o| o.solver_type = Some(SolverType::Heun))),
        (Dpmpp2mSde, with(|o| o.s_noise = 1.01)),
        (DpmppSde, with(|o| o.sde_r = 0.4)),
        (Deis, with(|o| o.deis_variable = DeisVariable::VpTime)),
        (Deis, with(|o| o.order = Some(3))),
        (
            Deis,
            with(|o| o.lower_order_final = Some(LowerOrderFinal::Never)),
        ),
        (UniPcBh2, with(|o| o.disable_corrector = vec![2])),
        (UniPcBh2, with(|o| o.order = Some(3))),
        (
            UniPcBh2,
            with(|o| o.lower_order_final = Some(LowerOrderFinal::Below(5))),
        ),
        (
            Ipndm,
            with(|o| o.ipndm_coefficients = IpndmCoefficients::Variable),
        ),
        (Tcd, with(|o| o.tcd_gamma = 0.6)),
        (Heun, with(|o| o.s_churn = 1.0)),
        (DpmAdaptive, with(|o| o.order = Some(2))),
        (Ddim, SamplerOptions::default()),
    ];
    let plain = with(|_| {});
    for (sampler, options) in cases {
        let change = differ(
            &walk(sampler, &options, &to_a_tenth()),
            &walk(sampler, &plain, &to_a_tenth()),
        );
        assert!(
            change > 1e-5 && change < 1.0,
            "{sampler:?} {options:?}: {change:e}"
        );
    }
    // bh1 and bh2 are one at order 1 and 2 apart from the factor B(h).
    let bh = [UniPcBh1, UniPcBh2].map(|s| walk(s, &plain, &to_a_tenth()));
    assert!(differ(&bh[0], &bh[1]) > 1e-5);
}

#[test]
fn a_falling_order_makes_the_last_step_an_euler_step() {
    let options = with(|o| o.lower_order_final = Some(LowerOrderFinal::Always));
    for sampler in [Sampler::Dpmpp2m, Sampler::Deis] {
        let sigmas = to_a_tenth();
        let mut seen = Vec::new();
        let x = start() * 9.0;
        let mut keep = |step: Step<'_>| {
            seen.push((step.x.clone(), step.denoised.clone()));
            ControlFlow::Continue(())
        };
        sample(
            sampler,
            &options,
            &mut denoiser(),
            x,
            &sigmas,
            &mut RecipeNoise::default(),
            &mut keep,
        )
        .expect("a finished walk");
        let (before, (x, denoised)) = (seen[3].0.clone(), seen[4].clone());
        let euler = before * 0.25 + denoised * 0.75; // σ 0.4 → 0.1
        assert!(differ(&values(x), &values(euler)) < 1e-6);
    }
}

#[test]
fn unipc_may_end_just_above_zero() {
    let floor = with(|o| o.unipc_final_sigma = 1e-3);
    let other = ladder(&[9.0, 5.0, 2.5, 1.2, 0.4, 0.1, 1e-3]);
    let got = walk(Sampler::UniPcBh1, &floor, &to_zero());
    assert_eq!(got, walk(Sampler::UniPcBh1, &with(|_| {}), &other));
}

#[test]
fn churn_is_drawn_where_it_is_used_or_on_every_step() {
    for (always, drawn) in [(false, 3), (true, 6)] {
        let options = with(|o| {
            (o.s_churn, o.s_tmin, o.s_tmax) = (2.0, 0.4, Some(3.0)); // at 2.5, 1.2 and 0.4
            o.churn_always_draws = always;
        });
        for sampler in [Sampler::Euler, Sampler::Heun, Sampler::Dpm2] {
            let mut noise = RecipeNoise::default();
            run(
                sampler,
                &options,
                &mut denoiser(),
                start(),
                &to_zero(),
                &mut noise,
            );
            assert_eq!(noise.drawn, drawn, "{sampler:?}");
        }
    }
}

#[test]
fn cfg_pp_guides_the_picture_and_not_the_noise() {
    for (sampler, eta) in [
        (Sampler::EulerCfgPp, 0.0),
        (Sampler::EulerAncestralCfgPp, 1.0),
    ] {
        let mut d = Function::new(|x: Tensor<4>, _| x * 0.5);
        d.unconditional = Some(tensor(recipe::normal("u", &SHAPE), SHAPE));
        let sigmas = ladder(&[2.0, 1.0]);
        let got = run(
            sampler,
            &with(|_| {}),
            &mut d,
            start(),
            &sigmas,
            &mut RecipeNoise::default(),
        );
        let (x, u) = (values(start()), recipe::normal("u", &SHAPE));
        let z = recipe::normal("noise/0", &SHAPE);
        // σ 2 → 1: σ_up² = 3/4, σ_down = 1/2 with η = 1
        let (down, up) = if eta > 0.0 {
            (0.5, 0.75f32.sqrt())
        } else {
            (1.0, 0.0)
        };
        let want: Vec<f32> = (0..x.len())
            .map(|i| 0.5 * x[i] + down * (x[i] - u[i]) / 2.0 + up * z[i])
            .collect();
        assert!(differ(&values(got), &want) < 1e-6, "{sampler:?}");
    }
}

#[test]
fn lcm_blends_its_input_as_told() {
    let sigmas = ladder(&[2.0, 0.0])
        .with_timesteps(vec![0.1])
        .expect("one time step");
    let got = |lcm_boundary| {
        let options = with(|o| o.lcm_boundary = lcm_boundary);
        let mut d = Function::new(|x: Tensor<4>, _| x * 0.5);
        let x = run(
            Sampler::Lcm,
            &options,
            &mut d,
            start(),
            &sigmas,
            &mut RecipeNoise::default(),
        );
        f64::from(values(x)[0] / values(start())[0])
    };
    // 10 t = 1, σ_data = ½: c_skip = 1/5, c_out = √(4/5)
    let out = 0.5 * 0.8f64.sqrt();
    assert!((got(LcmBoundary::Off) - 0.5).abs() < 1e-6);
    assert!((got(LcmBoundary::Sigma) - (out + 0.2)).abs() < 1e-6);
    assert!((got(LcmBoundary::VariancePreserving) - (out + 0.2 / 5f64.sqrt())).abs() < 1e-6);
}

#[test]
fn restart_jumps_up_with_noise_that_fills_the_gap() {
    let jump = RestartSegment {
        sigma_min: 0.4,
        sigma_max: 2.0,
        values: 4,
        times: 2,
    };
    let options = with(|o| o.restart = Some(vec![jump]));
    let mut noise = RecipeNoise::default();
    let mut steps = Vec::new();
    let mut keep = |step: Step<'_>| {
        assert_eq!(step.total, 12);
        steps.push((step.sigma, step.sigma_next));
        ControlFlow::Continue(())
    };
    let x = start() * 9.0;
    sample(
        Sampler::Restart,
        &options,
        &mut denoiser(),
        x,
        &to_zero(),
        &mut noise,
        &mut keep,
    )
    .expect("a finished walk");
    assert_eq!(noise.drawn, 2);
    // down to 0.4, twice from 2.5 (the nearest to 2) to 0.4 again, and on
    assert_eq!(steps[3], (1.2, 0.4));
    assert_eq!(
        (steps[4].0, steps[6].1, steps[7].0, steps[9].1),
        (2.5, 0.4, 2.5, 0.4)
    );
    assert_eq!(steps[10..], [(0.4, 0.1), (0.1, 0.0)]);
}

#[test]
fn zero_terminal_snr_keeps_its_precision() {
    // From σ = 10⁸ the first step lands where it would from any σ that is as good as infinite.
    for sampler in [Sampler::Euler, Sampler::Ddim, Sampler::Ddpm] {
        let from = |top: f64| {
            let sigmas = ladder(&[top, 12.0, 3.0, 0.5, 0.0]);
            let mut d = Function::new(|x: Tensor<4>, s: f64| (x / (1.0 + s * s).sqrt()).sin());
            let x = start() * top;
            values(run(
                sampler,
                &with(|_| {}),
                &mut d,
                x,
                &sigmas,
                &mut RecipeNoise::default(),
            ))
        };
        let change = differ(&from(1e6), &from(1e8));
        assert!(change < 5e-5, "{sampler:?}: {change:e}");
    }
}
