//! The samplers against k-diffusion's (`tools/reference/make.py samplers`), whose state is f64 where ours is f32.

mod common;

use burn::tensor::Tensor;
use common::{Function, RecipeNoise, close, run, start, tensor, values};
use latent_diffusion::{Sampler, SamplerOptions, Sigmas};
use latent_testkit::Golden;

/// `torch.tensor` and `torch.linspace` hold f32; the reference widens what comes out of them.
fn f32s(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    values.into_iter().map(|v| f64::from(v as f32)).collect()
}

/// D(x, σ) = x/(1 + σ²) + 0.3 sin(0.7 x + σ)/(1 + 0.1 σ).
fn denoiser() -> Function<impl FnMut(Tensor<4>, f64) -> Tensor<4>> {
    Function::new(|x: Tensor<4>, s: f64| {
        x.clone() / (1.0 + s * s) + (x * 0.7 + s).sin() * (0.3 / (1.0 + 0.1 * s))
    })
}

fn ladder(kind: &str, n: usize) -> Sigmas {
    let (low, high) = (0.0291675f64, 14.614642f64);
    let at = |i: usize| i as f64 / (n - 1) as f64;
    let values = (0..n).map(|i| match kind {
        "karras" => {
            let (a, b) = (high.powf(1.0 / 7.0), low.powf(1.0 / 7.0));
            (a + at(i) * (b - a)).powi(7)
        }
        _ => (high.ln() + at(i) * (low.ln() - high.ln())).exp(),
    });
    Sigmas::new(f32s(values.chain([0.0]))).expect("a descending ladder")
}

fn check(key: &str, sampler: Sampler, ladder: &Sigmas, start: Tensor<4>) {
    let golden = Golden::samplers_k();
    let got = run(
        sampler,
        &SamplerOptions::default(),
        &mut denoiser(),
        start,
        ladder,
        &mut RecipeNoise::default(),
    );
    close(key, &values(got), golden.values(key));
}

#[test]
fn every_sampler_follows_k_diffusion() {
    let names = [
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
    let mut seen = 0;
    for (name, sampler) in names {
        for kind in ["karras", "exponential"] {
            for n in [5, 12] {
                let ladder = ladder(kind, n);
                let x = start() * ladder.values()[0];
                check(&format!("{name}/{kind}/{n}"), sampler, &ladder, x);
                seen += 1;
            }
        }
    }
    // and the two below
    assert_eq!(seen + 2, Golden::samplers_k().names().len());
}

#[test]
fn dpm_fast_follows_k_diffusion() {
    let x = start() * 14.614642;
    check("dpm_fast/-/12", Sampler::DpmFast, &ladder("karras", 12), x);
}

#[test]
fn dpm_adaptive_follows_k_diffusion() {
    // k-diffusion takes its error norm over the batch; ours is that of one picture. As one picture of eight channels
    // the reference's two pictures of four are the same computation.
    let x = tensor(values(start()), [1, 8, 4, 4]) * 14.614642;
    check(
        "dpm_adaptive/-/-",
        Sampler::DpmAdaptive,
        &ladder("karras", 12),
        x,
    );
}
