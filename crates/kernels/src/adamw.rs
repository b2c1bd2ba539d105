//! AdamW in one pass over memory.

use crate::cpu::Cpu;
use crate::pool::{self, Shared};
use crate::simd::{Kernel, Simd, run};

/// The settings of one step of AdamW (Loshchilov and Hutter, "Decoupled Weight Decay
/// Regularization", 2019), as torch computes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// Learning rate.
    pub rate: f64,
    /// How slowly the first and the second moment move.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// The share of a parameter that is taken off, times the rate.
    pub decay: f64,
    /// Counted from 1.
    pub step: u64,
}

/// Numbers of a job.
const CHUNK: usize = 1 << 16;

/// Moves `parameter` and its moments by one step along `gradient`.
///
/// # Shapes
///
/// All of one length.
///
/// # Panics
///
/// Where the lengths differ.
pub fn adamw(
    cpu: Cpu,
    step: &AdamWStep,
    parameter: &mut [f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
) {
    let len = parameter.len();
    assert!(
        [gradient.len(), first.len(), second.len()] == [len; 3],
        "a gradient and two moments for each number"
    );
    let (parameter, first, second) = (
        Shared::new(parameter),
        Shared::new(first),
        Shared::new(second),
    );
    pool::each(len.div_ceil(CHUNK), |job| {
        let start = job * CHUNK;
        let part = Part {
            step,
            gradient: &gradient[start..len.min(start + CHUNK)],
            // SAFETY: within the lengths checked above; jobs have different parts.
            at: unsafe { [parameter, first, second].map(|p| p.get().add(start)) },
        };
        run(cpu, part);
    });
}

struct Part<'a> {
    step: &'a AdamWStep,
    gradient: &'a [f32],
    /// Parameter, first and second moment.
    at: [*mut f32; 3],
}

impl Kernel for Part<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) {
        let AdamWStep {
            rate,
            betas,
            eps,
            decay,
            step,
        } = *self.step;
        let corrected = betas.map(|beta| 1.0 - beta.powf(step as f64));
        let number = |x: f64| I::splat(x as f32);
        let kept = number(1.0 - rate * decay);
        let [keep1, keep2] = betas.map(number);
        let [take1, take2] = betas.map(|beta| number(1.0 - beta));
        let stride = number(-rate / corrected[0]);
        let root = number(corrected[1].sqrt().recip());
        let eps = number(eps);
        let [parameter, first, second] = self.at;
        let len = self.gradient.len();
        for i in (0..len).step_by(I::LANES) {
            let n = (len - i).min(I::LANES);
            let g = I::load_part(self.gradient.as_ptr().add(i), n);
            let m = I::fma(g, take1, I::mul(I::load_part(first.add(i), n), keep1));
            let v = I::load_part(second.add(i), n);
            let v = I::fma(I::mul(g, take2), g, I::mul(v, keep2));
            let p = I::mul(I::load_part(parameter.add(i), n), kept);
            let size = I::fma(I::sqrt(v), root, eps);
            I::store_part(first.add(i), m, n);
            I::store_part(second.add(i), v, n);
            I::store_part(parameter.add(i), I::fma(I::div(m, size), stride, p), n);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twin::{distance, numbers, wide};

    #[test]
    fn steps_are_those_of_the_formula() {
        for len in [0, 1, 37, CHUNK + 5] {
            for cpu in Cpu::every() {
                let mut p = numbers::<f32>("p", len);
                let (mut m, mut v) = (vec![0f32; len], vec![0f32; len]);
                let mut want = wide(&p);
                let mut moments = vec![[0f64; 2]; len];
                for step in 1..4 {
                    let g = numbers::<f32>(&format!("g{step}"), len);
                    let settings = AdamWStep {
                        rate: 1e-2,
                        betas: [0.9, 0.999],
                        eps: 1e-8,
                        decay: 0.1,
                        step,
                    };
                    adamw(cpu, &settings, &mut p, &g, &mut m, &mut v);
                    let corrected = [0.9f64, 0.999].map(|b| 1.0 - b.powi(step as i32));
                    for (i, w) in want.iter_mut().enumerate() {
                        let g = f64::from(g[i]);
                        let [m, v] = &mut moments[i];
                        *m = 0.9 * *m + 0.1 * g;
                        *v = 0.999 * *v + 0.001 * g * g;
                        *w *= 1.0 - 1e-3;
                        *w -= 1e-2 * *m / corrected[0] / ((*v / corrected[1]).sqrt() + 1e-8);
                    }
                }
                assert!(distance(&p, &want) < 1e-6, "{cpu:?} {len}");
            }
        }
    }
}
