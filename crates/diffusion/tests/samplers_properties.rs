//! What must hold for every sampler on every ladder. The denoiser is the best one for data that are Gaussian with
//! standard deviation `S`: D(x, σ) = x S²/(S² + σ²), whose ODE x' = x σ/(S² + σ²) is solved by x ∝ √(S² + σ²).

mod common;

use burn::tensor::Tensor;
use common::{Function, RecipeNoise, everywhere, run, tensor, values};
use latent_diffusion::{
    DdpmVariance, FlowVariable, LowerOrderFinal, Mixing, Noise, Sampler, SamplerOptions, Sigmas,
};
use latent_testkit::{max_abs_difference, recipe};
use proptest::prelude::*;

const S: f64 = 0.7;

fn gaussian() -> Function<impl FnMut(Tensor<4>, f64) -> Tensor<4>> {
    Function::new(|x: Tensor<4>, s: f64| x * (S * S / (S * S + s * s)))
}

/// The same for x = (1 − σ) x₀ + σ n.
fn gaussian_flow() -> Function<impl FnMut(Tensor<4>, f64) -> Tensor<4>> {
    Function::on_flow(|x: Tensor<4>, s: f64| {
        let signal = 1.0 - s;
        x * (S * S * signal / (S * S * signal * signal + s * s))
    })
}

fn plain_output(eta: Option<f64>) -> SamplerOptions {
    SamplerOptions {
        eta,
        variance_preserving_end: Some(false),
        ..SamplerOptions::default()
    }
}

fn linear(from: f64, to: f64, n: usize) -> Sigmas {
    let value = |i: usize| from + (to - from) * i as f64 / n as f64;
    Sigmas::new((0..=n).map(value).collect()).expect("a descending ladder")
}

fn geometric(from: f64, to: f64, n: usize) -> Sigmas {
    let value = |i: usize| from * (to / from).powf(i as f64 / n as f64);
    Sigmas::new((0..=n).map(value).collect()).expect("a descending ladder")
}

/// Ladders of 1 to 12 steps whose neighbours are from nearly equal to far apart.
fn ladders() -> impl Strategy<Value = (Vec<f64>, bool)> {
    let gaps = prop::collection::vec(-14.0..2.0f64, 1..12);
    (-6.0..16.0f64, gaps, any::<bool>()).prop_map(|(top, gaps, to_zero)| {
        let mut log = top;
        let mut values = vec![top.exp()];
        for gap in gaps {
            log -= gap.exp();
            values.push(log.exp().max(1e-7));
        }
        values.dedup_by(|a, b| a >= b);
        (values, to_zero)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn results_are_finite((mut sigmas, to_zero) in ladders(), eta in 0.0..1.5f64, given in any::<bool>()) {
        if to_zero || sigmas.len() < 2 {
            sigmas.push(0.0);
        }
        for (sampler, mixing) in everywhere() {
            let flow = mixing == Mixing::Flow;
            let top = if flow { sigmas[0].max(1.0) } else { 1.0 };
            let ladder = Sigmas::new(sigmas.iter().map(|s| s / top).filter(|s| *s == 0.0 || *s > 1e-8).collect());
            let Ok(ladder) = ladder else { continue };
            let options = SamplerOptions { s_churn: if flow { 0.0 } else { 2.0 }, ..plain_output(given.then_some(eta)) };
            let x = tensor(recipe::normal("x", &[1, 1, 4, 4]), [1, 1, 4, 4]);
            let scale = ladder.values()[0];
            let mut d = gaussian();
            d.unconditional = Some(x.clone() * 0.1);
            d.mixing = mixing;
            let got = values(run(sampler, &options, &mut d, x * scale, &ladder, &mut RecipeNoise::default()));
            prop_assert!(got.iter().all(|v| v.is_finite()), "{sampler:?} {mixing:?} on {ladder:?}: {got:?}");
        }
    }
}

#[test]
fn ode_samplers_converge_at_their_order() {
    use Sampler::*;
    // Methods that start with one step of first order keep its O(h²) at the end, whatever their own order.
    let table = [
        (1, vec![Euler, EulerAncestral, Ddim]),
        (
            2,
            vec![
                Heun,
                Restart,
                Dpm2,
                Dpm2Ancestral,
                Dpmpp2sAncestral,
                DpmppSde,
                DpmFast,
            ],
        ),
        (2, vec![Dpmpp2m, Dpmpp2mSde, Dpmpp2mSdeHeun, Dpmpp3mSde]),
        (2, vec![Lms, Deis, Ipndm, UniPcBh1, UniPcBh2]),
        (3, vec![Plms]),
    ];
    let x = || tensor(vec![1.0; 16], [1, 1, 4, 4]);
    let (from, to) = (3.0, 1.0);
    for (order, samplers) in table {
        for sampler in samplers {
            let error = |n: usize| {
                let ladder = linear(from, to, n);
                let options = SamplerOptions {
                    lower_order_final: Some(LowerOrderFinal::Never),
                    ..plain_output(Some(0.0))
                };
                let got = run(
                    sampler,
                    &options,
                    &mut gaussian(),
                    x(),
                    &ladder,
                    &mut RecipeNoise::default(),
                );
                let want = ((S * S + to * to) / (S * S + from * from)).sqrt();
                (f64::from(values(got)[0]) - want).abs()
            };
            let (coarse, fine) = (error(9), error(18));
            assert!(fine > 1e-6, "{sampler:?}: {fine:e} is lost in rounding");
            // DPM fast cuts its 9 and 18 evaluations into 4 and 7 steps.
            let refined: f64 = if sampler == DpmFast { 7.0 / 4.0 } else { 2.0 };
            let measured = (coarse / fine).ln() / refined.ln();
            println!("{:24} {order} {measured:.2} {fine:.1e}", sampler.name());
            assert!(
                measured > f64::from(order) - 0.35,
                "{sampler:?}: {measured}"
            );
            if order == 1 {
                assert!(measured < 1.3, "{sampler:?}: {measured}");
            }
        }
    }
}

#[test]
fn flow_samplers_converge_at_their_order() {
    use Sampler::*;
    let table = [
        (1.0, vec![Euler, EulerAncestral, Ddim, Ddpm]),
        (
            2.0,
            vec![Heun, Dpm2, Dpm2Ancestral, Dpmpp2sAncestral, DpmppSde],
        ),
        (2.0, vec![Dpmpp2m, Dpmpp2mSde, Dpmpp2mSdeHeun, Dpmpp3mSde]),
        (2.0, vec![Lms, Deis, Ipndm, UniPcBh1, UniPcBh2]),
    ];
    for (order, samplers) in table {
        for sampler in samplers {
            for flow_variable in [FlowVariable::HalfLogSnr, FlowVariable::LogSigma] {
                let error = |n: usize| {
                    let x = tensor(vec![1.0; 16], [1, 1, 4, 4]);
                    let ladder = linear(0.8, 0.3, n);
                    let options = SamplerOptions {
                        lower_order_final: Some(LowerOrderFinal::Never),
                        flow_variable,
                        ..plain_output(Some(0.0))
                    };
                    let mut noise = RecipeNoise::default();
                    let got = run(
                        sampler,
                        &options,
                        &mut gaussian_flow(),
                        x,
                        &ladder,
                        &mut noise,
                    );
                    assert_eq!(noise.drawn, 0);
                    let deviation = |s: f64| (S * S * (1.0 - s) * (1.0 - s) + s * s).sqrt();
                    (f64::from(values(got)[0]) - deviation(0.3) / deviation(0.8)).abs()
                };
                let (coarse, fine) = (error(20), error(40));
                let measured = (coarse / fine).log2();
                println!("{:24} {order} {measured:.2} {fine:.1e}", sampler.name());
                assert!(
                    fine > 1e-7 && measured > order - 0.35,
                    "{sampler:?}: {measured}"
                );
                if order == 1.0 {
                    assert!(measured < 1.4, "{sampler:?}: {measured}");
                }
            }
        }
    }
}

#[test]
fn the_adaptive_sampler_keeps_its_tolerance() {
    let mut errors = Vec::new();
    for rtol in [0.05, 0.005] {
        let x = tensor(vec![14.6; 16], [1, 1, 4, 4]);
        let mut options = SamplerOptions::default();
        (options.adaptive.rtol, options.adaptive.atol) = (rtol, rtol / 10.0);
        let ladder = geometric(14.6, 0.03, 10);
        let got = run(
            Sampler::DpmAdaptive,
            &options,
            &mut gaussian(),
            x,
            &ladder,
            &mut RecipeNoise::default(),
        );
        let want = 14.6 * ((S * S + 0.03f64.powi(2)) / (S * S + 14.6f64.powi(2))).sqrt();
        errors.push((f64::from(values(got)[0]) - want).abs() / want);
    }
    assert!(errors[0] < 0.05 && errors[1] < errors[0], "{errors:?}");
}

#[test]
fn added_noise_keeps_the_variance_of_the_data() {
    use Sampler::*;
    // x begins with the variance S² + σ₀², so a sampler that adds as much noise as it removes ends near S² + σ_end².
    let shape = [1, 1, 96, 96];
    let spread = |x: Tensor<4>| {
        let x = values(x);
        (x.iter().map(|v| f64::from(v * v)).sum::<f64>() / x.len() as f64).sqrt()
    };
    let samplers = [
        EulerAncestral,
        Dpm2Ancestral,
        Dpmpp2sAncestral,
        DpmppSde,
        Dpmpp2mSde,
        Dpmpp2mSdeHeun,
        Dpmpp3mSde,
        Ddpm,
        Restart,
        DpmFast,
        DpmAdaptive,
    ];
    let walks = everywhere().filter(|(sampler, _)| samplers.contains(sampler));
    let mut seen = 0;
    for (sampler, mixing) in walks {
        seen += 1;
        let flow = mixing == Mixing::Flow;
        let (from, to) = if flow { (0.95, 0.1) } else { (10.0, 0.1) };
        let deviation = |s: f64| {
            let signal = if flow { 1.0 - s } else { 1.0 };
            (S * S * signal * signal + s * s).sqrt()
        };
        let x = tensor(recipe::normal("x", &shape), shape) * deviation(from);
        let ladder = if flow {
            linear(from, to, 150)
        } else {
            geometric(from, to, 150)
        };
        let eta = (sampler != Restart).then_some(1.0);
        let mut noise = RecipeNoise::default();
        let options = plain_output(eta);
        let got = if flow {
            run(
                sampler,
                &options,
                &mut gaussian_flow(),
                x,
                &ladder,
                &mut noise,
            )
        } else {
            run(sampler, &options, &mut gaussian(), x, &ladder, &mut noise)
        };
        let ratio = spread(got) / deviation(to);
        println!(
            "{:24} {mixing:?} {ratio:.4} {}",
            sampler.name(),
            noise.drawn
        );
        assert!(noise.drawn > 0, "{sampler:?} drew nothing");
        assert!(
            (ratio - 1.0).abs() < 0.03,
            "{sampler:?} {mixing:?}: {ratio}"
        );
    }
    assert_eq!(seen, 2 * samplers.len() - 1); // Restart has no flow
}

#[test]
fn ddpm_with_the_large_variance_adds_more() {
    let ladder = geometric(10.0, 0.1, 8);
    let x = || tensor(vec![10.0; 16], [1, 1, 4, 4]);
    let spread = |ddpm_variance| {
        let options = SamplerOptions {
            ddpm_variance,
            ..plain_output(None)
        };
        let run = |noise: &mut dyn Noise| {
            run(
                Sampler::Ddpm,
                &options,
                &mut gaussian(),
                x(),
                &ladder,
                noise,
            )
        };
        let mut silence = |like: &Tensor<4>| like.zeros_like();
        let mean = run(&mut Given(&mut silence));
        values(
            (run(&mut RecipeNoise::default()) - mean)
                .abs()
                .sum()
                .reshape([1, 1, 1, 1]),
        )[0]
    };
    assert!(spread(DdpmVariance::Large) > 1.05 * spread(DdpmVariance::Small));
}

struct Given<'a>(&'a mut dyn FnMut(&Tensor<4>) -> Tensor<4>);

impl Noise for Given<'_> {
    fn between(&mut self, like: &Tensor<4>, _: f64, _: f64) -> Tensor<4> {
        (self.0)(like)
    }
}

/// One stream per picture.
struct Streams {
    pictures: Vec<usize>,
    drawn: usize,
}

impl Noise for Streams {
    fn between(&mut self, like: &Tensor<4>, _: f64, _: f64) -> Tensor<4> {
        let [_, c, h, w] = like.dims();
        let draw = |p: &usize| recipe::normal(&format!("stream {p}/{}", self.drawn), &[1, c, h, w]);
        let all = self.pictures.iter().flat_map(draw).collect();
        self.drawn += 1;
        tensor(all, [self.pictures.len(), c, h, w])
    }
}

#[test]
fn a_batch_is_its_pictures_to_the_bit() {
    for (sampler, mixing) in everywhere() {
        for eta in [None, Some(0.8)] {
            let top = if mixing == Mixing::Flow { 1.0 } else { 12.0 };
            let ladder = Sigmas::new(
                (0..22)
                    .map(|i| top * 0.75f64.powi(i))
                    .chain([0.0])
                    .collect(),
            )
            .expect("a ladder");
            let walk = |pictures: Vec<usize>| {
                // The second picture is rougher, so that an adaptive step size would differ.
                let x: Vec<f32> = pictures
                    .iter()
                    .flat_map(|p| {
                        recipe::normal(&format!("picture {p}"), &[1, 4, 4, 4])
                            .into_iter()
                            .map(|v| v * (1 + 8 * *p) as f32)
                    })
                    .collect();
                let x = tensor(x, [pictures.len(), 4, 4, 4]);
                let mut d = Function::new(|x: Tensor<4>, s: f64| (x * (2.0 + s)).sin() / (1.0 + s));
                d.unconditional = Some(x.clone() * 0.3);
                d.mixing = mixing;
                let mut noise = Streams { pictures, drawn: 0 };
                let options = SamplerOptions {
                    eta,
                    ..SamplerOptions::default()
                };
                values(run(sampler, &options, &mut d, x, &ladder, &mut noise))
            };
            let apart = [walk(vec![0]), walk(vec![1])].concat();
            assert_eq!(
                max_abs_difference(&walk(vec![0, 1]), &apart),
                0.0,
                "{sampler:?} {mixing:?}"
            );
        }
    }
}

#[test]
fn the_denoiser_is_called_as_often_as_announced() {
    for (sampler, mixing) in everywhere() {
        for n in [1, 2, 3, 4, 7, 20, 40] {
            let ladder = Sigmas::new((0..n).map(|i| 0.9f64.powi(i as i32)).chain([0.0]).collect())
                .expect("a ladder");
            let x = tensor(vec![1.0; 16], [1, 1, 4, 4]);
            let mut d = gaussian();
            d.unconditional = Some(x.clone());
            d.mixing = mixing;
            run(
                sampler,
                &SamplerOptions::default(),
                &mut d,
                x,
                &ladder,
                &mut RecipeNoise::default(),
            );
            match sampler.evaluations(n) {
                Some(announced) => {
                    assert_eq!(d.calls, announced, "{sampler:?} {mixing:?} with {n} steps")
                }
                None => assert_eq!(sampler, Sampler::DpmAdaptive),
            }
        }
    }
}
