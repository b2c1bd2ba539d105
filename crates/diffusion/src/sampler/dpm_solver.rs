//! DPM-Solver (Lu et al. 2022) on its own steps in λ: DPM fast and DPM adaptive.
//!
//! Of the ladder they use the two ends, σ₀ and the last σ above 0, and (DPM fast) the number of steps.

use burn::tensor::Tensor;

use super::walk::{Stop, Walk, Walked, ancestral, phi, slope, toward};
use crate::Noise;

/// One run of stages from (x, σ): ε there, and the stages that several orders share.
struct Stages<const D: usize> {
    x: Tensor<D>,
    t: f64,
    eps: Tensor<D>,
    eps_r1: Option<Tensor<D>>,
}

/// λ = −ln σ, here called t as in the paper's algorithms.
fn t(sigma: f64) -> f64 {
    -sigma.ln()
}

fn sigma(t: f64) -> f64 {
    (-t).exp()
}

impl<const D: usize> Stages<D> {
    fn at(walk: &mut Walk<'_, D>, x: &Tensor<D>, t: f64) -> Result<(Self, Tensor<D>), Stop<D>> {
        let denoised = walk.denoise(x, sigma(t))?;
        let stages = Self {
            x: x.clone(),
            t,
            eps: slope(x, &denoised, sigma(t)),
            eps_r1: None,
        };
        Ok((stages, denoised))
    }

    /// DPM-Solver-1: x − σ' (eʰ − 1) ε.
    fn first(&self, next: f64) -> Tensor<D> {
        self.x.clone() - self.eps.clone() * (sigma(next) * (next - self.t).exp_m1())
    }

    /// ε at λ + r₁ h, evaluated once.
    fn inner(&mut self, walk: &mut Walk<'_, D>, next: f64, r1: f64) -> Walked<D> {
        if let Some(eps) = &self.eps_r1 {
            return Ok(eps.clone());
        }
        let s1 = self.t + r1 * (next - self.t);
        let u1 = self.first(s1);
        let denoised = walk.denoise(&u1, sigma(s1))?;
        let eps = slope(&u1, &denoised, sigma(s1));
        self.eps_r1 = Some(eps.clone());
        Ok(eps)
    }

    /// DPM-Solver-2.
    fn second(&mut self, walk: &mut Walk<'_, D>, next: f64, r1: f64) -> Walked<D> {
        let change = self.inner(walk, next, r1)? - self.eps.clone();
        let weight = sigma(next) / (2.0 * r1) * (next - self.t).exp_m1();
        Ok(self.first(next) - change * weight)
    }

    /// DPM-Solver-3 with r₁ = ⅓, r₂ = ⅔.
    fn third(&mut self, walk: &mut Walk<'_, D>, next: f64) -> Walked<D> {
        let (r1, r2) = (1.0 / 3.0, 2.0 / 3.0);
        let h = next - self.t;
        let s2 = self.t + r2 * h;
        let change = self.inner(walk, next, r1)? - self.eps.clone();
        let rest = |h: f64| h * phi(2, h); // (eʰ − 1)/h − 1
        let u2 = self.first(s2) - change * (sigma(s2) * (r2 / r1) * rest(r2 * h));
        let denoised = walk.denoise(&u2, sigma(s2))?;
        let change = slope(&u2, &denoised, sigma(s2)) - self.eps.clone();
        Ok(self.first(next) - change * (sigma(next) / r2 * rest(h)))
    }
}

/// (σ₀, the last σ above 0); `None` where they are the same.
fn ends<const D: usize>(walk: &Walk<'_, D>) -> Option<(f64, f64)> {
    let values = walk.ladder.values();
    let last = values.iter().rev().find(|v| **v > 0.0)?;
    (values[0] > *last).then_some((values[0], *last))
}

/// The only thing to do on the ladder [σ, 0].
fn one_step<const D: usize>(walk: &mut Walk<'_, D>, x: Tensor<D>) -> Walked<D> {
    let denoised = walk.denoise(&x, walk.ladder.values()[0])?;
    walk.show(0, &denoised, &denoised)?;
    Ok(denoised)
}

/// Where an ancestral step of the solver leads: (t_down, σ_up), not beyond `t_end`.
fn ancestral_time(from: f64, to: f64, t_end: f64, eta: f64) -> (f64, f64) {
    if eta == 0.0 {
        return (to, 0.0);
    }
    let (down, _) = ancestral(sigma(from), sigma(to), eta);
    let t_down = t(down).min(t_end);
    let up = (sigma(to).powi(2) - sigma(t_down).powi(2)).max(0.0).sqrt();
    (t_down, up)
}

/// DPM-Solver-fast (Lu et al. 2022, section 3.4): as many evaluations as the ladder has steps, in stages of third
/// order and a rest.
pub(super) fn fast<const D: usize>(walk: &mut Walk<'_, D>, mut x: Tensor<D>) -> Walked<D> {
    let Some((top, bottom)) = ends(walk) else {
        return one_step(walk, x);
    };
    let (eta, n) = (walk.eta(), walk.ladder.steps());
    let m = n / 3 + 1;
    let orders: Vec<usize> = match n % 3 {
        0 => [vec![3; m - 2], vec![2, 1]].concat(),
        rest => [vec![3; m - 1], vec![rest]].concat(),
    };
    let (start, end) = (t(top), t(bottom));
    let time = |i: usize| start + (end - start) * i as f64 / m as f64;
    for (i, order) in orders.into_iter().enumerate() {
        let (from, to) = (time(i), time(i + 1));
        let (down, up) = ancestral_time(from, to, end, eta);
        let (mut stages, denoised) = Stages::at(walk, &x, from)?;
        x = match order {
            1 => toward(&x, &denoised, sigma(down) / sigma(from)),
            2 => stages.second(walk, down, 0.5)?,
            _ => stages.third(walk, down)?,
        };
        x = walk.add_noise(x, sigma(from), sigma(to), up);
        walk.show_as(i, m, sigma(from), sigma(to), &x, &denoised)?;
    }
    Ok(x)
}

/// The step-size controller of k-diffusion's DPM adaptive: a PID on 1/error.
struct Controller {
    h: f64,
    exponents: [f64; 3],
    safety: f64,
    inverse_errors: Option<[f64; 3]>,
}

impl Controller {
    fn new<const D: usize>(walk: &Walk<'_, D>, order: f64) -> Self {
        let a = walk.options.adaptive;
        Self {
            h: a.h_init,
            exponents: [
                (a.pcoeff + a.icoeff + a.dcoeff) / order,
                -(a.pcoeff + 2.0 * a.dcoeff) / order,
                a.dcoeff / order,
            ],
            safety: a.accept_safety,
            inverse_errors: None,
        }
    }

    /// Sets the next h and says whether the step that had `error` stands.
    fn accepts(&mut self, error: f64) -> bool {
        if !error.is_finite() {
            return true; // no step is short enough for a network that returns NaN: let it show
        }
        let inverse = 1.0 / (error + 1e-8);
        let past = self.inverse_errors.get_or_insert([inverse; 3]);
        past[0] = inverse;
        let powers = past.iter().zip(self.exponents).map(|(e, b)| e.powf(b));
        let factor = 1.0 + (powers.product::<f64>() - 1.0).atan();
        let accepted = factor >= self.safety;
        if accepted {
            past[2] = past[1];
            past[1] = past[0];
        }
        self.h *= factor;
        accepted
    }
}

/// DPM-Solver-12 or -23 with adaptive steps (Lu et al. 2022, Appendix C).
///
/// The error norm decides the steps, and a norm over a batch would let one picture change its neighbour. So a batch is
/// walked picture by picture: the denoiser sees the whole batch filled with the picture in hand and its slot is kept,
/// which is right for a denoiser with a prompt or a mask per slot too. Its cost is the batch squared: whoever can
/// should bring the pictures one at a time.
pub(super) fn adaptive<const D: usize>(walk: &mut Walk<'_, D>, x: Tensor<D>) -> Walked<D> {
    let Some((top, bottom)) = ends(walk) else {
        return one_step(walk, x);
    };
    let batch = x.dims()[0];
    let mut draws = Vec::new();
    let mut run = Run {
        shown: x.clone(),
        denoised: x.clone(),
        start: t(top),
        end: t(bottom),
        picture: 0,
        batch,
    };
    for picture in 0..batch {
        run.picture = picture;
        let slots = vec![x.clone().narrow(0, picture, 1); batch];
        let mut shared = SharedDraws {
            inner: &mut *walk.noise,
            draws: &mut draws,
            next: 0,
        };
        let mut own = Walk {
            sampler: walk.sampler,
            options: walk.options,
            mixing: walk.mixing,
            d: &mut *walk.d,
            ladder: walk.ladder,
            noise: &mut shared,
            on_step: &mut *walk.on_step,
        };
        run.picture(&mut own, Tensor::cat(slots, 0))?;
    }
    Ok(run.shown)
}

/// What the pictures of a batch have come to.
struct Run<const D: usize> {
    shown: Tensor<D>,
    denoised: Tensor<D>,
    start: f64,
    end: f64,
    picture: usize,
    batch: usize,
}

impl<const D: usize> Run<D> {
    fn picture(&mut self, walk: &mut Walk<'_, D>, mut x: Tensor<D>) -> Result<(), Stop<D>> {
        let (eta, order) = (walk.eta(), walk.order());
        let mut controller = Controller::new(walk, if eta > 0.0 { 1.5 } else { order as f64 });
        let mut x_prev = x.clone();
        let mut s = self.start;
        // Tolerances below what f32 can meet would refuse every step: one this short always stands.
        let least = (self.end - self.start) / 2000.0;
        while s < self.end - 1e-5 {
            controller.h = controller.h.max(least);
            let shortest = controller.h == least;
            let to = self.end.min(s + controller.h);
            let (down, up) = ancestral_time(s, to, self.end, eta);
            let (mut stages, denoised) = Stages::at(walk, &x, s)?;
            let (low, high) = if order == 2 {
                (stages.first(down), stages.second(walk, down, 0.5)?)
            } else {
                let low = stages.second(walk, down, 1.0 / 3.0)?;
                (low, stages.third(walk, down)?)
            };
            let error = self.error(walk, &low, &high, &x_prev);
            if controller.accepts(error) || shortest {
                x_prev = low;
                x = walk.add_noise(high, sigma(s), sigma(to), up);
                self.show(walk, &x, &denoised, s, to)?;
                s = to;
            }
        }
        Ok(())
    }

    /// ‖(low − high)/δ‖ over one picture, with δ = max(atol, rtol·max(|low|, |x_prev|)), as a mean of squares.
    fn error(
        &self,
        walk: &Walk<'_, D>,
        low: &Tensor<D>,
        high: &Tensor<D>,
        prev: &Tensor<D>,
    ) -> f64 {
        let own = |x: &Tensor<D>| x.clone().narrow(0, self.picture, 1);
        let (low, high, prev) = (own(low), own(high), own(prev));
        let a = walk.options.adaptive;
        let delta = (low.clone().abs().max_pair(prev.abs()) * a.rtol).clamp_min(a.atol);
        let square = ((low - high) / delta).powi_scalar(2).mean();
        f64::from(square.into_scalar::<f32>()).sqrt()
    }

    fn show(
        &mut self,
        walk: &mut Walk<'_, D>,
        x: &Tensor<D>,
        denoised: &Tensor<D>,
        from: f64,
        to: f64,
    ) -> Result<(), Stop<D>> {
        let put = |into: &Tensor<D>, x: &Tensor<D>| {
            let dims = into.dims();
            let place: [std::ops::Range<usize>; D] = std::array::from_fn(|axis| match axis {
                0 => self.picture..self.picture + 1,
                _ => 0..dims[axis],
            });
            let own = x.clone().narrow(0, self.picture, 1);
            into.clone().slice_assign(place, own)
        };
        let (shown, known) = (put(&self.shown, x), put(&self.denoised, denoised));
        (self.shown, self.denoised) = (shown, known);
        // The number of steps is not known before the end: progress is measured in λ.
        let total = walk.ladder.steps() * self.batch;
        let done = self.picture as f64 + (to - self.start) / (self.end - self.start);
        let index = (done / self.batch as f64 * total as f64).ceil() as usize;
        let index = index.clamp(1, total) - 1;
        walk.show_as(
            index,
            total,
            sigma(from),
            sigma(to),
            &self.shown,
            &self.denoised,
        )
    }
}

/// Gives every picture the k-th draw of its own stream as its k-th noise, however many its neighbours used.
struct SharedDraws<'a, const D: usize> {
    inner: &'a mut dyn Noise<D>,
    draws: &'a mut Vec<Tensor<D>>,
    next: usize,
}

impl<const D: usize> Noise<D> for SharedDraws<'_, D> {
    fn between(&mut self, like: &Tensor<D>, sigma: f64, sigma_next: f64) -> Tensor<D> {
        if self.next == self.draws.len() {
            self.draws.push(self.inner.between(like, sigma, sigma_next));
        }
        self.next += 1;
        self.draws[self.next - 1].clone()
    }
}
