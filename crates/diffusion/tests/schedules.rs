//! Schedules and ladders against `schedules.json`.

use latent_diffusion::*;
use latent_testkit::golden::SCHEDULES;
use proptest::prelude::*;
use serde_json::Value;

/// The levels of scaled-linear at t = 0 and 999, as the golden was drawn with.
const LOW: f64 = 0.029167532920837402;
const HIGH: f64 = 14.614642143249512;

fn schedule(beta: BetaSchedule, zero_terminal_snr: bool) -> NoiseSchedule {
    NoiseSchedule::new(beta, 0.00085, 0.012, 1000, zero_terminal_snr).unwrap()
}

fn sd() -> NoiseSchedule {
    schedule(BetaSchedule::ScaledLinear, false)
}

fn numbers(value: &Value) -> Vec<f64> {
    let list = value.as_array().unwrap();
    list.iter().map(|v| v.as_f64().unwrap()).collect()
}

/// Within 1e-6, relative; `allowed` adds to it, by index.
fn assert_close(key: &str, got: &[f64], want: &[f64], allowed: impl Fn(usize) -> f64) {
    assert_eq!(got.len(), want.len(), "{key}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let error = (g - w).abs();
        let tolerance = 1e-6 * w.abs() + allowed(i);
        assert!(
            error <= tolerance,
            "{key}[{i}]: {g}, golden {w}, relative {}",
            error / w.abs()
        );
    }
}

#[test]
fn every_golden() {
    let table: Value = serde_json::from_str(SCHEDULES).unwrap();
    let table = table.as_object().unwrap();
    assert!(table.len() > 20);
    for (key, value) in table {
        let want = numbers(value);
        let parts: Vec<&str> = key.split('/').collect();
        let steps = || parts.last().unwrap().parse::<usize>().unwrap();
        let curve = |scheduler| {
            let options = LadderOptions {
                sigma_min: Some(LOW),
                sigma_max: Some(HIGH),
                ..LadderOptions::default()
            };
            ladder(scheduler, &sd(), steps(), &options)
                .unwrap()
                .values()
                .to_vec()
        };
        let spaced = |shape| {
            let rule = SpacedLadder::fractional(Spacing::Linspace, 0, shape);
            rule.ladder(&sd(), steps()).unwrap().values().to_vec()
        };
        let got = match parts[..] {
            ["alphas_cumprod", "scaled_linear", "zero_terminal_snr"] => {
                zero_terminal_snr(key, &want);
                continue;
            }
            ["alphas_cumprod", name] => {
                let beta = serde_json::from_value(name.into()).unwrap();
                schedule(beta, false).alphas_cumprod().to_vec()
            }
            ["timesteps", spacing, _] => {
                let spacing: Spacing = serde_json::from_value(spacing.into()).unwrap();
                let got = spacing.timesteps(1000, steps(), 1).unwrap();
                assert_eq!(got, want, "{key}");
                continue;
            }
            ["sigmas", "karras", _] => curve(Scheduler::Karras),
            ["sigmas", "exponential", _] => curve(Scheduler::Exponential),
            ["sigmas", "polyexponential", _] => curve(Scheduler::Polyexponential),
            ["sigmas", "diffusers_normal", _] => spaced(Shape::Plain),
            ["sigmas", "diffusers_beta", _] => spaced(Shape::Beta),
            _ => panic!("a golden without a test: {key}"),
        };
        assert_close(key, &got, &want, |_| 0.0);
    }
}

/// The reference subtracts √ᾱ_T from √ᾱ_t in f32, and its vectorised square root errs by up to 0.52 units in the last
/// place where ours is correctly rounded, so the two may differ by one unit of √ᾱ_t. That error, doubled by the square,
/// is allowed beside 1e-6; it matters for the last hundred time steps, at most 4e-6 relative.
fn zero_terminal_snr(key: &str, want: &[f64]) {
    let zero = schedule(BetaSchedule::ScaledLinear, true);
    let plain = sd();
    let got = zero.alphas_cumprod();
    assert_eq!(got[999], 0.0);
    assert_close(key, got, want, |t| {
        let root = plain.alphas_cumprod()[t].sqrt() as f32;
        let unit = f64::from(root.next_up()) - f64::from(root);
        2.0 * want[t].sqrt() * unit
    });
    let worst = got[..999]
        .iter()
        .zip(want)
        .map(|(g, w)| (g - w).abs() / w)
        .fold(0.0, f64::max);
    assert!(worst < 4e-6, "{worst}");
}

#[test]
fn zero_terminal_snr_has_a_finite_and_settable_top() {
    let zero = schedule(BetaSchedule::ScaledLinear, true);
    assert!((zero.sigma_max() - 1e6).abs() < 1.0, "{}", zero.sigma_max());
    let floored = zero.clone().with_terminal_floor(2f64.powi(-24)).unwrap();
    assert!((floored.sigma_max() - 4096.0).abs() < 1e-3);
    let other = zero
        .clone()
        .with_terminal_floor(4.8973451890853435e-08)
        .unwrap();
    assert!(
        (other.sigma_max() - 4518.756).abs() < 0.01,
        "{}",
        other.sigma_max()
    );
    assert_eq!(floored.alphas_cumprod()[999], 0.0);
    assert!(zero.clone().with_terminal_floor(0.0).is_err());
    assert!(zero.with_terminal_floor(1e-3).is_err());
    // a floor does not touch a schedule that never reaches it
    assert_eq!(sd().with_terminal_floor(1e-9).unwrap(), sd());
}

#[test]
fn exact_betas_are_near_the_rounded_ones() {
    for beta in [
        BetaSchedule::Linear,
        BetaSchedule::ScaledLinear,
        BetaSchedule::Sqrt,
    ] {
        let exact = NoiseSchedule::from_betas(&beta.betas(0.00085, 0.012, 1000)).unwrap();
        let rounded = schedule(beta, false);
        for (a, b) in exact.alphas_cumprod().iter().zip(rounded.alphas_cumprod()) {
            assert!((a - b).abs() < 1e-5 * b, "{beta:?} {a} {b}");
        }
    }
}

#[test]
fn sqrt_betas_are_roots_of_a_ramp() {
    let betas = BetaSchedule::Sqrt.betas(0.0001, 0.0009, 3);
    for (got, want) in betas.iter().zip([0.01, 0.0005f64.sqrt(), 0.03]) {
        assert!((got - want).abs() < 1e-15);
    }
}

#[test]
fn bad_schedules_are_errors() {
    assert!(NoiseSchedule::new(BetaSchedule::Linear, 0.0, 0.02, 1000, false).is_err());
    assert!(NoiseSchedule::new(BetaSchedule::Linear, 0.1, 1.5, 1000, false).is_err());
    assert!(NoiseSchedule::new(BetaSchedule::Linear, 0.1, f64::NAN, 1000, false).is_err());
    assert!(NoiseSchedule::new(BetaSchedule::ScaledLinear, 0.1, 0.2, 1, false).is_err());
    assert!(NoiseSchedule::from_alphas_cumprod(vec![0.9, 0.9]).is_err());
    assert!(NoiseSchedule::from_alphas_cumprod(vec![0.9, 0.0, 0.0]).is_err());
}

proptest! {
    #[test]
    fn sigma_and_timestep_are_inverse(t in 0.0f64..=999.0) {
        let levels = sd();
        let sigma = levels.sigma(t);
        prop_assert!((levels.timestep(sigma) - t).abs() < 1e-8);
        prop_assert!((levels.sigma(levels.timestep(sigma)) - sigma).abs() < 1e-10 * sigma);
        let rounded = levels.timestep_rounded(sigma) as f64;
        prop_assert!((rounded - t).abs() <= 0.51);
    }

    #[test]
    fn levels_outside_are_clamped(sigma in 15.0f64..1e9) {
        let levels = sd();
        prop_assert_eq!(levels.timestep(sigma), 999.0);
        prop_assert_eq!(levels.timestep(1.0 / sigma / 1000.0), 0.0);
        prop_assert_eq!(levels.timestep_rounded(sigma), 999);
        prop_assert_eq!(levels.sigma(sigma * 1000.0), levels.sigma_max());
    }
}
