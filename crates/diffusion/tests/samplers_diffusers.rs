//! The same walks in diffusers' schedulers (`tools/reference/make.py samplers`), which hold a variance-preserving latent
//! and ask for ε, v or a flow's velocity. Here every one of them is a σ ladder and a `Denoise`.

mod common;

use burn::tensor::Tensor;
use common::{Function, RecipeNoise, close, run, start, values};
use latent_diffusion::{LowerOrderFinal, Mixing, Sampler, SamplerOptions, Sigmas};
use latent_testkit::{Golden, golden};

#[derive(Clone, Copy, PartialEq)]
enum Model {
    Epsilon,
    V,
    Velocity,
}

/// ᾱ of the schedule called `name`.
fn alphas_cumprod(name: &str) -> Vec<f64> {
    let table: serde_json::Value = serde_json::from_str(golden::SCHEDULES).expect("JSON");
    let list = table[format!("alphas_cumprod/{name}")].as_array();
    let numbers = list.expect("a list").iter().filter_map(|v| v.as_f64());
    numbers.collect()
}

fn sigma(alpha_cumprod: f64) -> f64 {
    // Zero terminal SNR has ᾱ = 0: σ = 10⁶ is as good as infinite in f32.
    ((1.0 - alpha_cumprod) / alpha_cumprod).sqrt().min(1e6)
}

/// A ladder with its time steps, and what the sampler is told.
struct Case {
    sampler: Sampler,
    options: SamplerOptions,
    model: Model,
    ladder: Sigmas,
}

fn case(sampler: Sampler, sigmas: Vec<f64>, times: Vec<f64>) -> Case {
    let ladder = Sigmas::new(sigmas).and_then(|l| l.with_timesteps(times));
    Case {
        sampler,
        options: SamplerOptions::default(),
        model: Model::Epsilon,
        ladder: ladder.expect("a ladder"),
    }
}

/// "leading" time steps with offset 1: 1, 1 + r, 1 + 2r, … downwards.
fn leading(n: usize) -> Vec<usize> {
    (0..n).rev().map(|i| i * (1000 / n) + 1).collect()
}

/// The upper n of n + 1 equally spaced steps from 0 to 999, as the multistep schedulers count.
fn linspace(n: usize) -> Vec<usize> {
    let at = |i: usize| (999.0 * i as f64 / n as f64).round_ties_even() as usize;
    (1..=n).rev().map(at).collect()
}

fn trailing(n: usize) -> Vec<usize> {
    (1..=n).rev().map(|i| i * 1000 / n - 1).collect()
}

/// LCM's and TCD's: n of the 50 steps 19, 39, … 999 of the distillation.
fn distilled(n: usize) -> Vec<usize> {
    (0..n).map(|i| 999 - 20 * (50 * i / n)).collect()
}

fn cases(name: &str, n: usize) -> Case {
    let alphas = alphas_cumprod("scaled_linear");
    let at = |times: Vec<usize>, last: f64, sampler| {
        let sigmas = times.iter().map(|t| sigma(alphas[*t])).chain([last]);
        let times = times.iter().map(|t| *t as f64).collect();
        case(sampler, sigmas.collect(), times)
    };
    let zero = sigma(alphas[0]); // σ at t = 0, where `set_alpha_to_one = false` ends
    match name {
        "ddim" => at(leading(n), zero, Sampler::Ddim),
        "ddim_eta1" => {
            let mut case = at(leading(n), zero, Sampler::Ddim);
            case.options.eta = Some(1.0);
            case
        }
        "ddim_v" => {
            let mut case = at(leading(n), zero, Sampler::Ddim);
            case.model = Model::V;
            case
        }
        "ddim_trailing_zero_snr_v" => {
            let alphas = alphas_cumprod("scaled_linear/zero_terminal_snr");
            let times = trailing(n);
            let sigmas = times.iter().map(|t| sigma(alphas[*t])).chain([0.0]);
            let sigmas = sigmas.collect();
            let times = times.iter().map(|t| *t as f64).collect();
            let mut case = case(Sampler::Ddim, sigmas, times);
            case.model = Model::V;
            case
        }
        "ddpm" => at(leading(n), 0.0, Sampler::Ddpm),
        "plms" => at(leading(n), zero, Sampler::Plms),
        "unipc" => at(linspace(n), 0.0, Sampler::UniPcBh2),
        "unipc_karras" => {
            let (low, high) = (zero.powf(1.0 / 7.0), sigma(alphas[999]).powf(1.0 / 7.0));
            let ramp = |i: usize| i as f64 / (n - 1) as f64;
            let sigmas: Vec<f64> = (0..n)
                .map(|i| (high + ramp(i) * (low - high)).powi(7))
                .collect();
            // the time step nearest to each σ, by interpolation in log σ
            let logs: Vec<f64> = alphas.iter().map(|a| sigma(*a).ln()).collect();
            let time = |s: &f64| {
                let low = logs.partition_point(|l| *l <= s.ln() + 1e-12).clamp(1, 999) - 1;
                let part = (s.ln() - logs[low]) / (logs[low + 1] - logs[low]);
                (low as f64 + part.clamp(0.0, 1.0)).round_ties_even()
            };
            let times = sigmas.iter().map(time).collect();
            let sigmas = sigmas.iter().copied().chain([0.0]).collect();
            case(Sampler::UniPcBh2, sigmas, times)
        }
        "dpmpp_2m" => {
            let mut case = at(linspace(n), 0.0, Sampler::Dpmpp2m);
            case.options.lower_order_final = Some(LowerOrderFinal::Below(15));
            case
        }
        "deis" => at(linspace(n), zero, Sampler::Deis),
        "lcm" => at(distilled(n), 0.0, Sampler::Lcm),
        "tcd" => {
            let mut case = at(distilled(n), zero, Sampler::Tcd);
            case.options.schedule = Some(alphas.iter().map(|a| sigma(*a)).collect());
            case
        }
        "flow_euler" | "flow_heun" => {
            let shift = |s: f64| 3.0 * s / (1.0 + 2.0 * s);
            let low = shift(1e-3);
            let ramp = |i: usize| 1.0 + (low - 1.0) * i as f64 / (n - 1) as f64;
            let sigmas = (0..n).map(|i| f64::from(shift(ramp(i)) as f32));
            let sigmas: Vec<f64> = sigmas.chain([0.0]).collect();
            let times = sigmas[..n].iter().map(|s| s * 1000.0).collect();
            let sampler = match name {
                "flow_euler" => Sampler::Euler,
                _ => Sampler::Heun,
            };
            let mut case = case(sampler, sigmas, times);
            case.model = Model::Velocity;
            case
        }
        _ => unreachable!("no golden of that name"),
    }
}

#[test]
fn every_scheduler_of_diffusers_is_a_walk_in_sigma_space() {
    let golden = Golden::samplers_diffusers();
    let names = golden.names();
    let keys = names.iter().filter(|k| !k.ends_with("/timesteps"));
    let mut seen = 0;
    for key in keys {
        let (name, n) = key.split_once('/').expect("name/steps");
        let n: usize = n.parse().expect("a number of steps");
        let Case {
            sampler,
            options,
            model,
            ladder,
        } = cases(name, n);
        let first = ladder.values()[0];
        let mut times = Vec::new();
        let mut d = Function::new(|x: Tensor<4>, s: f64| {
            let t = ladder.timestep(s).expect("a σ of the ladder");
            times.push(t as f32);
            let alpha = match model {
                Model::Velocity => 1.0,
                _ => 1.0 / (1.0 + s * s).sqrt(),
            };
            let x = x * alpha; // what the network of that scheduler sees
            let out = x.clone() * 0.8 + (x.clone() + t / 200.0).sin() * 0.3;
            match model {
                Model::Epsilon => (x - out * (s * alpha)) / alpha,
                Model::V => x * alpha - out * (s * alpha),
                Model::Velocity => x - out * s,
            }
        });
        if model == Model::Velocity {
            d.mixing = Mixing::Flow;
        }
        let scale = match model {
            Model::Velocity => 1.0,
            _ => (1.0 + first * first).sqrt(),
        };
        let x = run(
            sampler,
            &options,
            &mut d,
            start() * scale,
            &ladder,
            &mut RecipeNoise::default(),
        );
        assert_eq!(Some(d.calls), sampler.evaluations(n), "{key}");
        close(key, &values(x), golden.values(key));
        let listed = golden.values(&format!("{key}/timesteps"));
        let differ = |(a, b): (&f32, &f32)| (a - b).abs() > 1e-4 * b.abs();
        assert_eq!(times.len(), listed.len(), "{key}");
        assert!(
            !times.iter().zip(listed).any(differ),
            "{key}: {times:?} {listed:?}"
        );
        seen += 1;
    }
    assert_eq!(seen, 28);
}
