//! The published schedulers of the U-Net family (`tools/reference/family.py`) on an analytic model: paths, predictions,
//! ladders and samplers together.

mod common;

use burn::tensor::Tensor;
use common::{Function, RecipeNoise, close, run, start, values};
use latent_diffusion::*;
use latent_testkit::{Golden, golden::FAMILY_SCHEDULES};
use serde_json::Value;

fn schedule(beta: BetaSchedule, start: f64, end: f64, zero: bool) -> NoiseSchedule {
    NoiseSchedule::new(beta, start, end, 1000, zero).expect("a schedule")
}

fn usual(zero: bool) -> NoiseSchedule {
    schedule(BetaSchedule::ScaledLinear, 0.00085, 0.012, zero)
}

fn x4() -> NoiseSchedule {
    schedule(BetaSchedule::ScaledLinear, 0.0001, 0.02, false)
}

fn numbers(value: &Value) -> Vec<f64> {
    let list = value.as_array().expect("a list").iter();
    list.filter_map(Value::as_f64).collect()
}

/// One published setting.
struct Case {
    sampler: Sampler,
    options: SamplerOptions,
    prediction: Prediction,
    path: NoisePath,
    ladder: Sigmas,
    /// The factor on unit noise at the start.
    scale: f64,
}

fn euler(prediction: Prediction, schedule: NoiseSchedule, rule: SpacedLadder, n: usize) -> Case {
    let path = NoisePath::of(prediction, schedule.clone(), None).expect("a path");
    let ladder = rule.ladder(&schedule, n).expect("a ladder");
    let first = ladder.values()[0];
    let scale = match rule.rule.spacing {
        Spacing::Leading => path.preserving_scale(first),
        Spacing::Linspace | Spacing::Trailing => first,
    };
    Case {
        sampler: Sampler::Euler,
        options: SamplerOptions::default(),
        prediction,
        path,
        ladder,
        scale,
    }
}

fn ddim(schedule: NoiseSchedule, spacing: Spacing, offset: usize, n: usize) -> Case {
    let rule = SpacedLadder::whole(spacing, offset, LastSigma::FirstStep);
    let mut case = euler(Prediction::V, schedule, rule, n);
    case.sampler = Sampler::Ddim;
    case.scale = case.path.preserving_scale(case.ladder.values()[0]);
    case
}

fn edm(prediction: Prediction, curve: Scheduler, n: usize) -> Case {
    let path = NoisePath::of(prediction, usual(false), None).expect("a path");
    let ladder = ladder(curve, path.levels(), n, &LadderOptions::default()).expect("a ladder");
    Case {
        sampler: Sampler::Euler,
        options: SamplerOptions::default(),
        prediction,
        scale: path.preserving_scale(path.sigma_max()),
        path,
        ladder,
    }
}

fn case(name: &str, n: usize) -> Case {
    use Prediction::{Edm, EdmV, Epsilon, Sample, V};
    let leading = SpacedLadder::fractional(Spacing::Leading, 1, Shape::Plain);
    let trailing = SpacedLadder::fractional(Spacing::Trailing, 1, Shape::Plain);
    let floored = || usual(true).with_terminal_floor(TERMINAL_FLOOR_4096);
    let with = |mut case: Case, sampler, change: fn(&mut SamplerOptions)| {
        case.sampler = sampler;
        change(&mut case.options);
        case
    };
    match name {
        "sd2" => ddim(usual(false), Spacing::Leading, 1, n),
        "x4" => ddim(x4(), Spacing::Leading, 1, n),
        "sd2_zsnr_trailing" => ddim(usual(true), Spacing::Trailing, 1, n),
        "sdxl" => euler(Epsilon, usual(false), leading, n),
        "sd2_euler_v" => euler(V, usual(false), leading, n),
        "euler_karras" => {
            let rule = SpacedLadder::fractional(Spacing::Leading, 1, Shape::Karras);
            euler(Epsilon, usual(false), rule, n)
        }
        "sdxl_heun" => with(
            euler(Epsilon, usual(false), leading, n),
            Sampler::Heun,
            |_| {},
        ),
        "sdxl_euler_a" => {
            let case = euler(Epsilon, usual(false), leading, n);
            with(case, Sampler::EulerAncestral, |_| {})
        }
        "turbo" => {
            let case = euler(Epsilon, usual(false), trailing, n);
            with(case, Sampler::EulerAncestral, |_| {})
        }
        "lightning" => euler(Epsilon, usual(false), trailing, n),
        "lightning_1" => euler(Sample, usual(false), trailing, n),
        "v_zsnr" => euler(V, floored().expect("a floor"), trailing, n),
        "edm" | "edm_dpmpp_3" => {
            let mut case = edm(Edm, Scheduler::Karras, n);
            case.options.order = Some(if name == "edm" { 2 } else { 3 });
            with(case, Sampler::Dpmpp2m, |o| {
                o.lower_order_final = Some(LowerOrderFinal::Below(15));
            })
        }
        "edm_euler" => edm(Edm, Scheduler::Karras, n),
        "edm_euler_exponential" => edm(Edm, Scheduler::Exponential, n),
        "cosxl" => edm(EdmV, Scheduler::Exponential, n),
        "lcm" => {
            let schedule = usual(false);
            let times = distilled_timesteps(1000, 50, n, 1.0).expect("time steps");
            let mut case = euler(Epsilon, schedule.clone(), trailing, n);
            case.ladder = ladder_of_timesteps(&schedule, times, LastSigma::Zero).expect("a ladder");
            case.scale = case.path.preserving_scale(case.ladder.values()[0]);
            with(case, Sampler::Lcm, |_| {})
        }
        _ => unreachable!("no golden of that name"),
    }
}

/// Walks a case with the golden's model.
fn walk(case: &Case, ladder: &Sigmas, x: Tensor<4>, noise: &mut RecipeNoise) -> Tensor<4> {
    let mut d = Function::new(|x: Tensor<4>, sigma: f64| {
        let told = ladder.timestep(sigma);
        let t = told.unwrap_or_else(|| case.path.timestep(sigma));
        let seen = x.clone() * case.path.c_in(sigma);
        let output = seen.clone() * 0.8 + (seen + t / 200.0).sin() * 0.3;
        case.path.denoised(case.prediction, x, output, sigma)
    });
    run(case.sampler, &case.options, &mut d, x, ladder, noise)
}

#[test]
fn eighteen_published_settings() {
    let golden = Golden::family_samplers();
    let mut seen = 0;
    for key in golden.names() {
        let (name, n) = key.split_once('/').expect("name/steps");
        let n: usize = n.parse().expect("a number of steps");
        let mut case = case(name, n);
        if n == 1 && matches!(case.prediction, Prediction::EdmV | Prediction::Edm) {
            // The reference's exponential ladder of one step is its low end, though the noise is of the high one.
            if name.contains("exponential") || name == "cosxl" {
                let low = case.path.sigma_min();
                case.ladder = Sigmas::new(vec![low, 0.0]).expect("a ladder");
            }
        }
        let mut noise = RecipeNoise::default();
        let got = match name {
            // DDIM's steps lead to t − ⌊N/n⌋, which for 9 trailing steps is not always the next one: what it hands on
            // is the variance-preserving latent, taken for that of the next.
            "sd2_zsnr_trailing" if n == 9 => {
                let levels = case.ladder.values();
                let times: Vec<f64> = levels[..n]
                    .iter()
                    .filter_map(|s| case.ladder.timestep(*s))
                    .collect();
                let mut x = start();
                for (t, sigma) in times.iter().zip(levels) {
                    let last = case.path.sigma((t - 111.0).max(0.0));
                    let step =
                        Sigmas::new(vec![*sigma, last]).and_then(|l| l.with_timesteps(vec![*t]));
                    let step = step.expect("a step");
                    x = walk(
                        &case,
                        &step,
                        x * case.path.preserving_scale(*sigma),
                        &mut noise,
                    );
                }
                x
            }
            _ => walk(&case, &case.ladder, start() * case.scale, &mut noise),
        };
        let (got, want) = (values(got), golden.values(key));
        match name {
            // The reference takes the difference of latents 4096 times as large as what is left: f32 has 2e-4 of that.
            "v_zsnr" => {
                let error = latent_testkit::closeness(&got, want);
                assert!(error < 1e-3, "{key}: {error:e}");
            }
            _ => close(key, &got, want),
        }
        seen += 1;
    }
    assert_eq!(seen, 4 * 18);
}

#[test]
fn preconditioning_of_edm() {
    let table: Value = serde_json::from_str(FAMILY_SCHEDULES).expect("JSON");
    for (name, kind) in [("edm", Prediction::Edm), ("cosxl", Prediction::EdmV)] {
        let path = NoisePath::of(kind, usual(false), None).expect("a path");
        let rows = table[format!("{name}/precondition")].as_array();
        let rows = rows.expect("a list");
        assert_eq!(rows.len(), 3);
        for row in rows {
            let [sigma, scaled, told, denoised] = numbers(row)[..] else {
                panic!("four numbers a row");
            };
            let one = |v: f32| Tensor::<1>::from_floats([v], &burn::tensor::Device::flex());
            let got = path.denoised(kind, one(1.0), one(0.5), sigma);
            let got = f64::from(got.into_scalar::<f32>());
            for (got, want) in [
                (path.c_in(sigma), scaled),
                (path.timestep(sigma), told),
                (got, denoised),
            ] {
                assert!((got - want).abs() < 2e-6, "{name} at {sigma}: {got} {want}");
            }
        }
    }
}

#[test]
fn alphas_of_unusual_schedules() {
    let table: Value = serde_json::from_str(FAMILY_SCHEDULES).expect("JSON");
    let cosine = schedule(BetaSchedule::Cosine, 0.0001, 0.02, false);
    for (name, schedule, floor) in [
        ("x4", x4(), 0.0),
        ("x4_low", x4(), 0.0),
        ("unclip_noise", cosine, 0.0),
        ("v_zsnr", usual(true), TERMINAL_FLOOR_4096),
    ] {
        let want = numbers(&table[format!("{name}/alphas_cumprod")]);
        let got: Vec<f64> = schedule
            .alphas_cumprod()
            .iter()
            .step_by(37)
            .copied()
            .collect();
        assert_eq!((got.len(), want.len()), (28, 28));
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            // Zero terminal SNR subtracts nearly equal f32 numbers at the end.
            let tolerance = if floor > 0.0 { 2e-5 } else { 1e-6 };
            let error = (got.max(floor) - want).abs();
            assert!(error <= tolerance * want, "{name}[{i}]: {got} {want}");
        }
    }
}

/// β = σ(−6 … 6) between its ends, in the words of the reference.
#[test]
fn a_sigmoid_schedule() {
    let betas = BetaSchedule::Sigmoid.betas(0.0001, 0.02, 1000);
    let logistic = |v: f64| 1.0 / (1.0 + (-v).exp());
    for (i, beta) in betas.iter().enumerate() {
        let v = -6.0 + 12.0 * i as f64 / 999.0;
        assert!((beta - (logistic(v) * 0.0199 + 0.0001)).abs() < 1e-12);
    }
    let rounded = schedule(BetaSchedule::Sigmoid, 0.0001, 0.02, false);
    let exact = NoiseSchedule::from_betas(&betas).expect("a schedule");
    for (a, b) in rounded.alphas_cumprod().iter().zip(exact.alphas_cumprod()) {
        assert!((a - b).abs() < 1e-5 * b);
    }
}
