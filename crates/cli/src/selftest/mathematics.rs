//! Tokens, noise, schedules, samplers: what needs no network.

use std::{collections::BTreeMap, ops::ControlFlow};

use burn::tensor::{Device, Tensor, TensorData};
use latent_diffusion::{
    BetaSchedule, Denoise, Error, LadderOptions, Noise, NoiseSchedule, NoiseSource, Sampler,
    SamplerOptions, Scheduler, Sigmas, ladder,
    noise::{Generator, TorchCpu},
    sample,
};
use latent_testkit::{
    Golden,
    golden::{SCHEDULES, TOKENS},
    max_abs_difference, recipe,
};
use latent_text::{BOS, ClipTokenizer, EOS};
use serde_json::Value;

use super::{Check, Worst};
use crate::failure::Failure;

/// Their checks.
pub(super) fn checks<'a>() -> Vec<Check<'a>> {
    vec![
        Check::new("tokens", "transformers", 0.0, tokens),
        Check::new(
            "noise of torch's CPU generator",
            "PyTorch",
            1e-6,
            torch_noise,
        ),
        Check::new("noise of torch's CUDA generator", "PyTorch", 1e-6, philox),
        Check::new(
            "noise schedules and σ ladders (relative)",
            "diffusers, k-diffusion",
            1e-6,
            schedules,
        ),
        Check::new(
            "samplers on an analytic model (relative)",
            "k-diffusion",
            1e-4,
            samplers,
        ),
    ]
}

fn tokens() -> Result<Worst, Failure> {
    #[derive(Debug)]
    struct Row {
        prompt: String,
        ids: Vec<u64>,
    }
    let rows: Vec<Value> = serde_json::from_str(TOKENS).map_err(Failure::run)?;
    let rows = rows.iter().map(|row| Row {
        prompt: row["prompt"].as_str().unwrap_or_default().to_owned(),
        ids: row["ids"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_u64)
            .collect(),
    });
    let tokenizer = ClipTokenizer::new();
    let mut worst = Worst::default();
    for row in rows {
        let got = [&[BOS], tokenizer.encode(&row.prompt).as_slice(), &[EOS]].concat();
        let same = got
            .iter()
            .map(|id| u64::from(*id))
            .eq(row.ids.iter().copied());
        worst.add(if same { 0.0 } else { 1.0 });
    }
    Ok(worst)
}

fn torch_noise() -> Result<Worst, Failure> {
    let golden = Golden::noise();
    let mut worst = Worst::default();
    for name in golden.names() {
        let mut parts = name.split('/').skip(1);
        let seed = parts.next().and_then(|seed| seed.parse().ok());
        let count: Option<usize> = parts.next().and_then(|count| count.parse().ok());
        let (Some(seed), Some(count)) = (seed, count) else {
            continue;
        };
        worst.add(max_abs_difference(
            &TorchCpu::new(seed).normal(count),
            golden.values(name),
        ));
    }
    Ok(worst)
}

fn philox() -> Result<Worst, Failure> {
    // torch.randn(3, 4) of a CUDA generator with seed 0.
    let want = [
        -0.924_662_6,
        -0.425_344_15,
        -2.643_845_7,
        0.145_183_88,
        -0.120_866_47,
        -0.579_725_6,
        -0.622_851_2,
        -0.328_387_1,
        -1.074_542_3,
        -0.363_144_07,
        -1.671_050_7,
        2.265_505,
    ];
    let got = Generator::new(NoiseSource::TorchCuda, 0).normal(want.len());
    Ok(Worst::of(max_abs_difference(&got, &want)))
}

fn schedules() -> Result<Worst, Failure> {
    let table: BTreeMap<String, Vec<f64>> =
        serde_json::from_str(SCHEDULES).map_err(Failure::run)?;
    let schedule =
        |beta| NoiseSchedule::new(beta, 0.00085, 0.012, 1000, false).map_err(Failure::run);
    let stable_diffusion = schedule(BetaSchedule::ScaledLinear)?;
    let mut worst = Worst::default();
    for (key, want) in &table {
        let curve = |scheduler, steps: &str| {
            let options = LadderOptions {
                sigma_min: Some(0.029_167_532_920_837_402),
                sigma_max: Some(14.614_642_143_249_512),
                ..LadderOptions::default()
            };
            let steps = steps.parse().map_err(Failure::run)?;
            let sigmas =
                ladder(scheduler, &stable_diffusion, steps, &options).map_err(Failure::run)?;
            Ok::<_, Failure>(sigmas.values().to_vec())
        };
        let got = match key.split('/').collect::<Vec<_>>()[..] {
            ["alphas_cumprod", name] => {
                schedule(serde_json::from_value(name.into()).map_err(Failure::run)?)?
                    .alphas_cumprod()
                    .to_vec()
            }
            ["sigmas", "karras", steps] => curve(Scheduler::Karras, steps)?,
            ["sigmas", "exponential", steps] => curve(Scheduler::Exponential, steps)?,
            ["sigmas", "polyexponential", steps] => curve(Scheduler::Polyexponential, steps)?,
            // The project's tests hold the profile-bound rows.
            _ => continue,
        };
        if got.len() != want.len() {
            worst.add(f64::INFINITY);
        }
        for (got, want) in got.iter().zip(want) {
            worst.difference = worst
                .difference
                .max((got - want).abs() / want.abs().max(f64::MIN_POSITIVE));
        }
        worst.cases += 1;
    }
    Ok(worst)
}

/// D(x, σ) = x/(1 + σ²) + 0.3 sin(0.7 x + σ)/(1 + 0.1 σ), as the golden was drawn.
struct Analytic;

impl Denoise for Analytic {
    fn denoise(&mut self, x: Tensor<4>, s: f64) -> Result<Tensor<4>, Error> {
        Ok(x.clone() / (1.0 + s * s) + (x * 0.7 + s).sin() * (0.3 / (1.0 + 0.1 * s)))
    }
}

/// The n-th draw is the recipe's `noise/n`.
struct RecipeNoise(usize);

impl Noise for RecipeNoise {
    fn between(&mut self, like: &Tensor<4>, _: f64, _: f64) -> Tensor<4> {
        let draw = recipe::normal(&format!("noise/{}", self.0), &like.dims());
        self.0 += 1;
        Tensor::from_data(TensorData::new(draw, like.dims()), &like.device())
    }
}

fn sampler_ladder(kind: &str, n: usize) -> Result<Sigmas, Failure> {
    let (low, high) = (0.029_167_5_f64, 14.614_642_f64);
    let at = |i: usize| i as f64 / (n - 1) as f64;
    let value = |i: usize| match kind {
        "karras" => {
            let (a, b) = (high.powf(1.0 / 7.0), low.powf(1.0 / 7.0));
            (a + at(i) * (b - a)).powi(7)
        }
        _ => (high.ln() + at(i) * (low.ln() - high.ln())).exp(),
    };
    // The reference holds its ladder in f32.
    let values = (0..n)
        .map(|i| f64::from(value(i) as f32))
        .chain([0.0])
        .collect();
    Sigmas::new(values).map_err(Failure::run)
}

fn samplers() -> Result<Worst, Failure> {
    const SHAPE: [usize; 4] = [2, 4, 4, 4];
    let table = [
        ("euler", Sampler::Euler),
        ("euler_ancestral", Sampler::EulerAncestral),
        ("heun", Sampler::Heun),
        ("dpm_2", Sampler::Dpm2),
        ("dpm_2_ancestral", Sampler::Dpm2Ancestral),
        ("lms", Sampler::Lms),
        ("dpmpp_2s_ancestral", Sampler::Dpmpp2sAncestral),
        ("dpmpp_sde", Sampler::DpmppSde),
        ("dpmpp_2m", Sampler::Dpmpp2m),
        ("dpmpp_2m_sde", Sampler::Dpmpp2mSde),
        ("dpmpp_3m_sde", Sampler::Dpmpp3mSde),
    ];
    let golden = Golden::samplers_k();
    let start = TensorData::new(recipe::normal("sampler/x", &SHAPE), SHAPE);
    let start = Tensor::<4>::from_data(start, &Device::flex());
    let mut worst = Worst::default();
    for (name, sampler) in table {
        for (kind, n) in [
            ("karras", 5),
            ("karras", 12),
            ("exponential", 5),
            ("exponential", 12),
        ] {
            let ladder = sampler_ladder(kind, n)?;
            let x = start.clone() * ladder.values()[0];
            let options = SamplerOptions::default();
            let mut noise = RecipeNoise(0);
            let got = sample(
                sampler,
                &options,
                &mut Analytic,
                x,
                &ladder,
                &mut noise,
                &mut |_| ControlFlow::Continue(()),
            )
            .map_err(Failure::run)?;
            let got: Vec<f32> = got.into_data().iter::<f32>().collect();
            let want = golden.values(&format!("{name}/{kind}/{n}"));
            let scale = want.iter().fold(0f32, |a, v| a.max(v.abs()));
            worst.add(max_abs_difference(&got, want) / f64::from(scale));
        }
    }
    Ok(worst)
}
