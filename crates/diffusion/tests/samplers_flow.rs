//! Rectified flows: the formulas that ComfyUI's k-diffusion and diffusers publish for x = (1 − σ)·x₀ + σ·n, written out in
//! f64 on one number, with D(x, σ) = sin(0.4 x)/(1 + σ), an unconditional D of half of it, and every noise 0.5.

mod common;

use burn::tensor::Tensor;
use common::{Function, run, tensor, values};
use latent_diffusion::{
    Denoise, Error, FlowVariable, LcmBoundary, Mixing, Noise, Sampler, SamplerOptions, Sigmas,
};

const LADDER: [f64; 6] = [1.0, 0.8, 0.55, 0.3, 0.1, 0.0];
/// What ComfyUI begins at instead of 1, without a shift.
const TOP: f64 = 0.9999;
const ETA: f64 = 0.7;
const NOISE: f64 = 0.5;
const START: f64 = 1.7;

struct Half;

impl Noise for Half {
    fn between(&mut self, like: &Tensor<4>, sigma: f64, next: f64) -> Tensor<4> {
        assert!(
            next < sigma && sigma <= 1.0,
            "{sigma} {next} are no levels of a flow"
        );
        like.zeros_like() + NOISE
    }
}

/// A denoiser that remembers half of its prediction as the unconditional one.
struct Guided(Option<Tensor<4>>);

impl Denoise for Guided {
    fn denoise(&mut self, x: Tensor<4>, sigma: f64) -> Result<Tensor<4>, Error> {
        let denoised = (x * 0.4).sin() / (1.0 + sigma);
        self.0 = Some(denoised.clone() * 0.5);
        Ok(denoised)
    }
    fn unconditional(&self) -> Option<Tensor<4>> {
        self.0.clone()
    }
    fn mixing(&self) -> Mixing {
        Mixing::Flow
    }
}

fn d(x: f64, sigma: f64) -> f64 {
    (0.4 * x).sin() / (1.0 + sigma)
}

fn lambda(sigma: f64) -> f64 {
    ((1.0 - sigma) / sigma).ln()
}

fn level(lambda: f64) -> f64 {
    1.0 / (lambda.exp() + 1.0)
}

/// k-diffusion's `get_ancestral_step`.
fn ancestral(from: f64, to: f64) -> (f64, f64) {
    let up = to.min(ETA * (to * to * (from * from - to * to) / (from * from)).sqrt());
    ((to * to - up * up).sqrt(), up)
}

/// (σ_down, the factor on x, the noise) of the `*_RF` samplers.
fn rectified(sigma: f64, next: f64) -> (f64, f64, f64) {
    let down = next * (1.0 + (next / sigma - 1.0) * ETA);
    let (alpha, alpha_down) = (1.0 - next, 1.0 - down);
    let renoise = (next * next - down * down * alpha * alpha / (alpha_down * alpha_down)).sqrt();
    (down, alpha / alpha_down, renoise)
}

/// Steps from level to level: `step` is given x, D(x, σ), σ and the next σ.
fn walk(ladder: [f64; 6], x: f64, mut step: impl FnMut(f64, f64, f64, f64) -> f64) -> f64 {
    let steps = ladder.windows(2);
    steps.fold(x, |x, w| step(x, d(x, w[0]), w[0], w[1]))
}

fn euler_ancestral(x: f64) -> f64 {
    walk(LADDER, x, |mut x, denoised, sigma, next| {
        let (down, scale, up) = rectified(sigma, next);
        x = down / sigma * x + (1.0 - down / sigma) * denoised;
        x = scale * x + NOISE * up;
        x
    })
}

fn dpm2_ancestral(x: f64) -> f64 {
    walk(LADDER, x, |mut x, denoised, sigma, next| {
        let slope = (x - denoised) / sigma;
        let (down, scale, up) = rectified(sigma, next);
        if down == 0.0 {
            x += slope * (down - sigma);
        } else {
            let mid = (0.5 * (sigma.ln() + down.ln())).exp();
            let x_2 = x + slope * (mid - sigma);
            x += (x_2 - d(x_2, mid)) / mid * (down - sigma);
            x = scale * x + NOISE * up;
        }
        x
    })
}

fn dpmpp_2s_ancestral(x: f64) -> f64 {
    walk(LADDER, x, |mut x, denoised, sigma, next| {
        let (down, scale, up) = rectified(sigma, next);
        if next == 0.0 {
            return denoised;
        }
        let s = match sigma {
            1.0 => 0.9999,
            _ => level(0.5 * (lambda(sigma) + lambda(down))),
        };
        let u = s / sigma * x + (1.0 - s / sigma) * denoised;
        x = down / sigma * x + (1.0 - down / sigma) * d(u, s);
        x = scale * x + NOISE * up;
        x
    })
}

/// LADDER with its first level moved off 1.
fn offset() -> [f64; 6] {
    let mut ladder = LADDER;
    ladder[0] = TOP;
    ladder
}

fn dpmpp_sde(x: f64) -> f64 {
    walk(offset(), x, |mut x, denoised, sigma, next| {
        if next == 0.0 {
            return denoised;
        }
        let (from, to) = (lambda(sigma), lambda(next));
        let inner = from + 0.5 * (to - from);
        let s = level(inner);
        let (alpha, alpha_s, alpha_next) = (1.0 - sigma, 1.0 - s, 1.0 - next);
        let (sd, su) = ancestral((-from).exp(), (-inner).exp());
        let h = -sd.ln() - from;
        let x_2 = alpha_s / alpha * (-h).exp() * x - alpha_s * (-h).exp_m1() * denoised
            + alpha_s * NOISE * su;
        let denoised_2 = d(x_2, s);
        let (sd, su) = ancestral((-from).exp(), (-to).exp());
        let h = -sd.ln() - from;
        x = alpha_next / alpha * (-h).exp() * x - alpha_next * (-h).exp_m1() * denoised_2
            + alpha_next * NOISE * su;
        x
    })
}

/// 2M SDE in both forms, and 3M SDE.
fn multistep_sde(x: f64, order: usize, heun: bool) -> f64 {
    let mut past: Vec<(f64, f64)> = Vec::new(); // (prediction, h), newest first
    walk(offset(), x, |mut x, denoised, sigma, next| {
        if next == 0.0 {
            return denoised;
        }
        let h = lambda(next) - lambda(sigma);
        let (h_eta, alpha) = (h * (1.0 + ETA), 1.0 - next);
        x = next / sigma * (-h * ETA).exp() * x - alpha * (-h_eta).exp_m1() * denoised;
        let phi_2 = (-h_eta).exp_m1() / h_eta + 1.0;
        let weight = if heun {
            phi_2
        } else {
            -0.5 * (-h_eta).exp_m1()
        };
        match past.as_slice() {
            [(one, h_1), (two, h_2), ..] if order == 3 => {
                let (r_0, r_1) = (h_1 / h, h_2 / h);
                let (d_0, d_1) = ((denoised - one) / r_0, (one - two) / r_1);
                let first = d_0 + (d_0 - d_1) * r_0 / (r_0 + r_1);
                let second = (d_0 - d_1) / (r_0 + r_1);
                x += alpha * phi_2 * first - alpha * (phi_2 / h_eta - 0.5) * second;
            }
            [(one, h_1), ..] => x += alpha * weight * (denoised - one) / (h_1 / h),
            [] => {}
        }
        x += NOISE * next * (-(-2.0 * h * ETA).exp_m1()).sqrt();
        past.insert(0, (denoised, h));
        x
    })
}

/// diffusers' DPM-Solver++(2M) with `use_flow_sigmas`, beginning at the same level.
fn dpmpp_2m(x: f64) -> f64 {
    let mut past: Option<(f64, f64)> = None;
    walk(offset(), x, |mut x, m_0, sigma, next| {
        if next == 0.0 {
            return m_0;
        }
        let h = lambda(next) - lambda(sigma);
        let alpha = 1.0 - next;
        let factor = alpha * (-h).exp_m1();
        x = next / sigma * x - factor * m_0;
        if let Some((m_1, h_0)) = past {
            x -= 0.5 * factor * (m_0 - m_1) / (h_0 / h);
        }
        past = Some((m_0, h));
        x
    })
}

fn euler_ancestral_cfg_pp(x: f64) -> f64 {
    walk(LADDER, x, |mut x, denoised, sigma, next| {
        let (alpha, alpha_next) = (1.0 - sigma, 1.0 - next);
        let eps = (x - alpha * 0.5 * denoised) / sigma;
        let (down, up) = match alpha {
            // the limit of a first level above all others
            0.0 => {
                let to = next / alpha_next;
                let up = to.min(ETA * to);
                ((to * to - up * up).sqrt(), up)
            }
            _ if next == 0.0 => (0.0, 0.0),
            _ => ancestral(sigma / alpha, next / alpha_next),
        };
        x = alpha_next * denoised + alpha_next * down * eps + alpha_next * NOISE * up;
        x
    })
}

fn lcm(x: f64) -> f64 {
    walk(LADDER, x, |_, denoised, _, next| {
        (1.0 - next) * denoised + next * NOISE
    })
}

#[test]
fn flows_follow_the_published_formulas() {
    use Sampler::*;
    let table = [
        (EulerAncestral, euler_ancestral(START)),
        (Dpm2Ancestral, dpm2_ancestral(START)),
        (Dpmpp2sAncestral, dpmpp_2s_ancestral(START)),
        (DpmppSde, dpmpp_sde(START)),
        (Dpmpp2mSde, multistep_sde(START, 2, false)),
        (Dpmpp2mSdeHeun, multistep_sde(START, 2, true)),
        (Dpmpp3mSde, multistep_sde(START, 3, true)),
        (Dpmpp2m, dpmpp_2m(START)),
        (EulerAncestralCfgPp, euler_ancestral_cfg_pp(START)),
        (Lcm, lcm(START)),
    ];
    for (sampler, want) in table {
        let options = SamplerOptions {
            eta: (sampler != Dpmpp2m).then_some(ETA),
            flow_top: TOP,
            ..SamplerOptions::default()
        };
        let ladder = Sigmas::new(LADDER.to_vec()).expect("a ladder");
        let x = tensor(vec![START as f32], [1, 1, 1, 1]);
        let got = values(run(
            sampler,
            &options,
            &mut Guided(None),
            x,
            &ladder,
            &mut Half,
        ))[0];
        println!("{:24} {got:.6} {want:.6}", sampler.name());
        assert!(
            (f64::from(got) - want).abs() < 5e-6,
            "{sampler:?}: {got} instead of {want}"
        );
    }
}

#[test]
fn what_is_seen_and_shown_of_a_flow_is_the_flow() {
    let mut asked = Vec::new();
    let mut d = Function::on_flow(|x: Tensor<4>, s: f64| {
        asked.push(s);
        x * 0.5
    });
    let ladder = Sigmas::new(LADDER.to_vec()).expect("a ladder");
    let mut shown = Vec::new();
    let got = latent_diffusion::sample(
        Sampler::Dpmpp2mSde,
        &SamplerOptions::default(),
        &mut d,
        tensor(vec![1.0], [1, 1, 1, 1]),
        &ladder,
        &mut Half,
        &mut |step| {
            shown.push((step.sigma_next, values(step.x.clone())[0]));
            std::ops::ControlFlow::Continue(())
        },
    );
    let got = values(got.expect("a latent"))[0];
    assert_eq!(asked[1..], LADDER[1..5]);
    assert!(asked[0] < 1.0 && asked[0] > 0.99999);
    assert_eq!(shown.iter().map(|s| s.0).collect::<Vec<_>>(), LADDER[1..]);
    assert_eq!(shown[4].1, got);
    assert!(shown.iter().all(|(_, x)| x.abs() < 2.0), "{shown:?}");
}

#[test]
fn options_of_flows_count() {
    let walk = |sampler, change: fn(&mut SamplerOptions)| {
        let mut options = SamplerOptions::default();
        change(&mut options);
        let ladder = Sigmas::new(LADDER.to_vec())
            .and_then(|l| l.with_timesteps(LADDER[..5].iter().map(|s| s * 1000.0).collect()));
        let x = tensor(vec![START as f32], [1, 1, 1, 1]);
        let ladder = ladder.expect("a ladder");
        values(run(
            sampler,
            &options,
            &mut Guided(None),
            x,
            &ladder,
            &mut Half,
        ))[0]
    };
    for sampler in [Sampler::Dpmpp2m, Sampler::UniPcBh1, Sampler::Deis] {
        let plain = walk(sampler, |_| {});
        let log_sigma = walk(sampler, |o| o.flow_variable = FlowVariable::LogSigma);
        assert_ne!(plain, log_sigma, "{sampler:?}");
        assert_ne!(plain, walk(sampler, |o| o.flow_top = 0.9), "{sampler:?}");
    }
    // No consistency boundary is defined on a flow.
    let off = walk(Sampler::Lcm, |o| o.lcm_boundary = LcmBoundary::Off);
    assert_eq!(walk(Sampler::Lcm, |_| {}), off);
}
