//! The rules that every ladder keeps, and the known values of the named ones.

use latent_diffusion::*;
use latent_testkit::golden::SCHEDULES;
use proptest::prelude::*;
use serde_json::Value;

fn schedule(zero_terminal_snr: bool) -> NoiseSchedule {
    NoiseSchedule::new(
        BetaSchedule::ScaledLinear,
        0.00085,
        0.012,
        1000,
        zero_terminal_snr,
    )
    .unwrap()
}

fn sd() -> NoiseSchedule {
    schedule(false)
}

fn numbers(value: &Value) -> Vec<f64> {
    let list = value.as_array().unwrap();
    list.iter().map(|v| v.as_f64().unwrap()).collect()
}

/// How many steps a ladder has for the asked number.
fn expected(scheduler: Scheduler, steps: usize) -> std::ops::RangeInclusive<usize> {
    match scheduler {
        Scheduler::DdimUniform => {
            let stride = 1000 / steps;
            let count = 999usize.div_ceil(stride);
            count..=count
        }
        // equal neighbours fall together, at most a few at each end
        Scheduler::Beta => steps - steps / 10..=steps,
        _ => steps..=steps,
    }
}

#[test]
fn ladders_descend_to_their_end_in_the_right_number() {
    let levels = sd();
    for scheduler in Scheduler::ALL {
        for steps in 1..=150 {
            let sigmas = ladder(scheduler, &levels, steps, &LadderOptions::default())
                .unwrap_or_else(|e| panic!("{scheduler:?} {steps}: {e}"));
            let range = expected(scheduler, steps);
            assert!(
                range.contains(&sigmas.steps()),
                "{scheduler:?} {steps}: {}",
                sigmas.steps()
            );
            assert_eq!(sigmas.values().last(), Some(&0.0));
            let top = sigmas.values()[0];
            let near = match scheduler {
                Scheduler::DdimUniform => {
                    top == levels.sigmas()[1 + (sigmas.steps() - 1) * (1000 / steps)]
                }
                _ => (top - 14.6146).abs() < 1e-3,
            };
            assert!(near, "{scheduler:?} {steps}: {top}");
            if scheduler != Scheduler::Beta && scheduler != Scheduler::DdimUniform {
                let options = LadderOptions {
                    discard_penultimate: true,
                    ..LadderOptions::default()
                };
                let discarded = ladder(scheduler, &levels, steps, &options).unwrap();
                assert_eq!(discarded.steps(), steps);
                let more =
                    ladder(scheduler, &levels, steps + 1, &LadderOptions::default()).unwrap();
                assert_eq!(discarded.values()[..steps], more.values()[..steps]);
            }
        }
    }
}

#[test]
fn ends_are_data() {
    let with = |scheduler, end, steps| {
        let options = LadderOptions {
            end: Some(end),
            ..LadderOptions::default()
        };
        ladder(scheduler, &sd(), steps, &options)
            .unwrap()
            .values()
            .to_vec()
    };
    for scheduler in [
        Scheduler::Karras,
        Scheduler::KlOptimal,
        Scheduler::Normal,
        Scheduler::AlignYourSteps,
    ] {
        let append = with(scheduler, End::Append, 7);
        let replace = with(scheduler, End::Replace, 7);
        let keep = with(scheduler, End::Keep, 7);
        assert_eq!([append.len(), replace.len(), keep.len()], [8, 8, 8]);
        assert_eq!((append[7], replace[7]), (0.0, 0.0));
        assert!(
            (append[6] - keep[7]).abs() < 1e-9 && keep[7] > 0.02,
            "{scheduler:?}"
        );
        assert_eq!(replace[..7], keep[..7]);
    }
    assert_eq!(
        with(Scheduler::Normal, End::Replace, 9),
        with(Scheduler::SgmUniform, End::Replace, 9)
    );
}

#[test]
fn named_ladders_have_their_known_values() {
    let of = |scheduler, steps, options: &LadderOptions| {
        ladder(scheduler, &sd(), steps, options)
            .unwrap()
            .values()
            .to_vec()
    };
    let plain = LadderOptions::default();
    let levels = sd();
    let near = |got: &[f64], want: &[f64]| {
        assert_eq!(got.len(), want.len());
        for (g, w) in got.iter().zip(want) {
            assert!((g - w).abs() <= 1e-6 * w.abs(), "{got:?} {want:?}");
        }
    };
    // the published table is met exactly at its own length
    let table = AlignTable::Trained512.sigmas();
    near(
        &of(Scheduler::AlignYourSteps, 11, &plain),
        &[table.as_slice(), &[0.0]].concat(),
    );
    // trained levels
    let trained = |list: &[usize]| {
        list.iter()
            .map(|&t| levels.sigmas()[t])
            .chain([0.0])
            .collect::<Vec<_>>()
    };
    near(
        &of(Scheduler::Simple, 4, &plain),
        &trained(&[999, 749, 499, 249]),
    );
    near(
        &of(Scheduler::DdimUniform, 4, &plain),
        &trained(&[751, 501, 251, 1]),
    );
    assert_eq!(of(Scheduler::DdimUniform, 30, &plain).len(), 32);
    // scipy.stats.beta.ppf(1 - linspace(0, 1, 6, endpoint=False), .6, .6) * 999, rounded
    near(&of(Scheduler::Beta, 6, &plain), &trained(BETA_SIX));
    let on_sigma = LadderOptions {
        beta_axis: BetaAxis::Sigma,
        ..LadderOptions::default()
    };
    let golden: Value = serde_json::from_str(SCHEDULES).unwrap();
    near(
        &of(Scheduler::Beta, 10, &on_sigma),
        &numbers(&golden["sigmas/diffusers_beta/10"]),
    );
    // half the way down arctan
    let kl = of(Scheduler::KlOptimal, 3, &plain);
    let middle = ((levels.sigma_min().atan() + levels.sigma_max().atan()) / 2.0).tan();
    assert!((kl[1] - middle).abs() < 1e-9);
    // linear: two steps of 1.25 %, then quadratic to the end
    let lq = of(Scheduler::LinearQuadratic, 4, &plain);
    let top = levels.sigma_max();
    near(&lq[..3], &[top, top * 0.9875, top * 0.975]);
    near(&of(Scheduler::LinearQuadratic, 1, &plain), &[top, 0.0]);
    // polyexponential with another rho bends, without moving the ends
    let bent = LadderOptions {
        rho: Some(2.0),
        ..LadderOptions::default()
    };
    let poly = of(Scheduler::Polyexponential, 3, &bent);
    let quarter = (levels.sigma_min().ln() * 0.75 + levels.sigma_max().ln() * 0.25).exp();
    near(
        &poly,
        &[levels.sigma_max(), quarter, levels.sigma_min(), 0.0],
    );
}

const BETA_SIX: &[usize] = &[999, 908, 724, 500, 275, 91];

#[test]
fn wrong_options_are_errors() {
    let levels = sd();
    let bad = [
        LadderOptions {
            rho: Some(0.0),
            ..LadderOptions::default()
        },
        LadderOptions {
            sigma_min: Some(20.0),
            ..LadderOptions::default()
        },
        LadderOptions {
            sigma_min: Some(0.0),
            ..LadderOptions::default()
        },
        LadderOptions {
            sigma_max: Some(f64::INFINITY),
            ..LadderOptions::default()
        },
        LadderOptions {
            beta_alpha: -1.0,
            ..LadderOptions::default()
        },
        LadderOptions {
            beta_beta: f64::NAN,
            ..LadderOptions::default()
        },
    ];
    for options in bad {
        assert!(
            ladder(Scheduler::Karras, &levels, 10, &options).is_err(),
            "{options:?}"
        );
    }
    let plain = LadderOptions::default();
    assert!(ladder(Scheduler::Karras, &levels, 0, &plain).is_err());
    assert!(ladder(Scheduler::Simple, &levels, 1001, &plain).is_err());
    assert!(custom_ladder(&[1.0, 2.0]).is_err());
    assert!(custom_ladder(&[]).is_err());
    assert_eq!(
        custom_ladder(&[3.0, 1.0]).unwrap().values(),
        [3.0, 1.0, 0.0]
    );
}

#[test]
fn spaced_ladders_carry_their_time_steps() {
    let levels = sd();
    for spacing in [Spacing::Leading, Spacing::Linspace, Spacing::Trailing] {
        for steps in 1..=150 {
            for rule in [
                SpacedLadder::whole(spacing, 1, LastSigma::FirstStep),
                SpacedLadder::fractional(spacing, 1, Shape::Karras),
                SpacedLadder::intervals(spacing, 1, Shape::Karras, LastSigma::Zero),
                SpacedLadder::intervals(spacing, 1, Shape::Plain, LastSigma::Zero),
            ] {
                let visits_zero = spacing == Spacing::Linspace && rule.rule.grid == Grid::Whole;
                let one_point = steps == 1 && rule.range == Range::Visited;
                let result = rule.ladder(&levels, steps);
                if visits_zero {
                    // linspace ends at t = 0, and the level of t = 0 cannot follow itself
                    assert!(result.is_err());
                    continue;
                }
                let sigmas = result.unwrap_or_else(|e| panic!("{rule:?} {steps}: {e}"));
                assert_eq!(sigmas.steps(), steps);
                let first = sigmas.timestep(sigmas.values()[0]).unwrap();
                assert!((0.0..=999.0).contains(&first));
                if rule.shape == Shape::Karras && rule.rounding == TimestepRounding::Nearest {
                    assert_eq!(first.fract(), 0.0);
                }
                if !one_point && rule.shape == Shape::Plain {
                    let middle = sigmas.values()[steps / 2];
                    let t = sigmas.timestep(middle).unwrap();
                    assert_eq!(levels.sigma_linear(t), middle);
                }
            }
        }
    }
    // DPM-Solver's grid leaves the lowest of n + 1 points out
    let rule = SpacingRule {
        spacing: Spacing::Linspace,
        offset: 0,
        grid: Grid::Intervals,
    };
    assert_eq!(
        rule.timesteps(1000, 4).unwrap(),
        [999.0, 749.0, 500.0, 250.0]
    );
    let rule = SpacingRule {
        spacing: Spacing::Leading,
        offset: 1,
        grid: Grid::Intervals,
    };
    assert_eq!(
        rule.timesteps(1000, 4).unwrap(),
        [801.0, 601.0, 401.0, 201.0]
    );
    let past = Spacing::Leading
        .timesteps(1000, 1000, 1)
        .unwrap_err()
        .to_string();
    assert!(past.contains("steps_offset"), "{past}");
}

#[test]
fn strided_and_distilled_time_steps() {
    assert_eq!(strided_timesteps(1000, 4).unwrap(), [1, 251, 501, 751]);
    assert_eq!(strided_timesteps(1000, 30).unwrap().len(), 31);
    let ladder = strided_ladder(&sd(), 20).unwrap();
    assert_eq!(ladder.steps(), 19);
    assert_eq!(ladder.values()[19], sd().sigmas()[1]);
    assert_eq!(ladder.timestep(ladder.values()[0]), Some(951.0));
    assert!(strided_ladder(&sd(), 1000).is_ok());
    assert_eq!(
        distilled_timesteps(1000, 50, 4, 1.0).unwrap(),
        [999.0, 759.0, 499.0, 259.0]
    );
    assert_eq!(
        distilled_timesteps(1000, 50, 4, 0.5).unwrap(),
        [499.0, 379.0, 259.0, 139.0]
    );
    assert!(distilled_timesteps(1000, 50, 30, 0.5).is_err());
    let golden = latent_testkit::Golden::samplers_diffusers();
    for (name, steps) in [("lcm", 4), ("lcm", 10), ("tcd", 4), ("tcd", 10)] {
        let want = golden.values(&format!("{name}/{steps}/timesteps"));
        let got = distilled_timesteps(1000, 50, steps, 1.0).unwrap();
        assert!(
            got.iter().zip(want).all(|(g, w)| *g == f64::from(*w)),
            "{got:?} {want:?}"
        );
    }
}

/// The time steps that diffusers' own schedulers visited.
#[test]
fn time_steps_of_the_schedulers() {
    let golden = latent_testkit::Golden::samplers_diffusers();
    let zero = schedule(true);
    for steps in [4, 10] {
        let plain = |s| SpacedLadder::intervals(s, 0, Shape::Plain, LastSigma::Zero);
        let table = [
            (
                "ddim",
                SpacedLadder::whole(Spacing::Leading, 1, LastSigma::FirstStep),
                sd(),
            ),
            (
                "ddim_trailing_zero_snr_v",
                SpacedLadder::whole(Spacing::Trailing, 0, LastSigma::Zero),
                zero.clone(),
            ),
            (
                "ddpm",
                SpacedLadder::whole(Spacing::Leading, 1, LastSigma::Zero),
                sd(),
            ),
            ("unipc", plain(Spacing::Linspace), sd()),
            ("dpmpp_2m", plain(Spacing::Linspace), sd()),
            (
                "unipc_karras",
                SpacedLadder::intervals(Spacing::Linspace, 0, Shape::Karras, LastSigma::Zero),
                sd(),
            ),
        ];
        for (name, rule, levels) in table {
            let want = golden.values(&format!("{name}/{steps}/timesteps"));
            let ladder = rule.ladder(&levels, steps).unwrap();
            let got: Vec<f32> = ladder.values()[..steps]
                .iter()
                .map(|&s| ladder.timestep(s).unwrap() as f32)
                .collect();
            assert_eq!(got, want, "{name}/{steps}");
        }
        let want = golden.values(&format!("flow_euler/{steps}/timesteps"));
        let ladder = FlowSchedule::new(3.0, 1000).unwrap().ladder(steps).unwrap();
        for (s, w) in ladder.values().iter().zip(want) {
            let t = ladder.timestep(*s).unwrap();
            assert!((t - f64::from(*w)).abs() < 1e-3, "{t} {w}");
        }
    }
}

#[test]
fn img2img_tails() {
    let plan = |rule: StrengthRule, steps, strength| {
        let plan = rule.plan(steps, strength).unwrap();
        (plan.ladder_steps, plan.keep)
    };
    assert_eq!(plan(StrengthRule::Share, 20, 0.75), (20, 15));
    assert_eq!(plan(StrengthRule::Share, 6, 0.6), (6, 3));
    assert_eq!(plan(StrengthRule::Encode, 20, 0.75), (20, 16));
    assert_eq!(plan(StrengthRule::Encode, 20, 1.0), (20, 20));
    assert_eq!(plan(StrengthRule::Encode, 20, 0.0), (20, 1));
    assert_eq!(plan(StrengthRule::EncodeExactly, 20, 0.5), (40, 20));
    assert_eq!(plan(StrengthRule::EncodeExactly, 20, 1.0), (20, 20));
    assert_eq!(plan(StrengthRule::Extend, 20, 0.75), (26, 20));
    assert_eq!(plan(StrengthRule::Extend, 20, 1.0), (20, 20));
    for rule in [
        StrengthRule::Share,
        StrengthRule::EncodeExactly,
        StrengthRule::Extend,
    ] {
        assert!(rule.plan(20, 0.0).is_err());
        assert!(rule.plan(20, 1.1).is_err());
        assert!(rule.plan(20, f64::NAN).is_err());
        assert!(rule.plan(0, 0.5).is_err());
    }
    let tail = |rule: StrengthRule, scheduler| {
        let plan = rule.plan(30, 0.5).unwrap();
        let whole = ladder(
            scheduler,
            &sd(),
            plan.ladder_steps,
            &LadderOptions::default(),
        )
        .unwrap();
        plan.tail(&whole).unwrap().steps()
    };
    assert_eq!(tail(StrengthRule::Extend, Scheduler::Karras), 30);
    assert_eq!(tail(StrengthRule::Encode, Scheduler::Karras), 16);
    // a ladder of 31 for 30: skipped from the start here, counted from the end there
    assert_eq!(tail(StrengthRule::Encode, Scheduler::DdimUniform), 17);
    assert_eq!(tail(StrengthRule::Extend, Scheduler::DdimUniform), 30);
}

#[test]
fn flow_shifts() {
    assert_eq!(flow_shift(0.3, 1.0), 0.3);
    assert!((flow_shift(0.5, 3.0) - 0.75).abs() < 1e-15);
    let e = flow_shift_exponential(0.4, 3f64.ln(), 1.0);
    assert!((e - flow_shift(0.4, 3.0)).abs() < 1e-12);
    assert_eq!(flow_shift_exponential(0.0, 1.0, 1.0), 0.0);
    assert!((flow_mu(4096) - 1.15).abs() < 1e-12 && (flow_mu(256) - 0.5).abs() < 1e-12);
    let levels = FlowSchedule::new(3.0, 1000).unwrap();
    let simple = ladder(Scheduler::Simple, &levels, 4, &LadderOptions::default()).unwrap();
    assert_eq!(simple.values()[0], 1.0);
    assert!(FlowSchedule::new(0.0, 1000).is_err());
}

proptest! {
    #[test]
    fn beta_quantiles_rise(a in 0.2f64..8.0, b in 0.2f64..8.0, p in 0.001f64..0.99) {
        let x = beta_quantile(p, a, b);
        prop_assert!((0.0..=1.0).contains(&x));
        prop_assert!(beta_quantile(p + 0.005, a, b) >= x);
        prop_assert!((beta_quantile(1.0 - p, b, a) - (1.0 - x)).abs() < 1e-10);
    }
}
