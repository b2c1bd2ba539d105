//! AdamW in one pass over memory.

use crate::cpu::Cpu;
use crate::pool::{self, Shared};
use crate::simd::{Kernel, Simd, load, run, store};

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
    /// A factor on the gradient: the share of one picture, and clipping.
    pub scale: f64,
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
            scale,
        } = *self.step;
        let corrected = betas.map(|beta| 1.0 - beta.powf(step as f64));
        let number = |x: f64| I::splat(x as f32);
        let kept = number(1.0 - rate * decay);
        let [keep1, keep2] = betas.map(number);
        let [take1, take2] = betas.map(|beta| number(1.0 - beta));
        let stride = number(-rate / corrected[0]);
        let root = number(corrected[1].sqrt().recip());
        let eps = number(eps);
        let scale = number(scale);
        let [parameter, first, second] = self.at;
        let len = self.gradient.len();
        // Parts of vectors only where they are needed: some CPUs are slow to store them.
        let mut i = 0;
        while i < len {
            let n = (len - i).min(I::LANES);
            let g = I::mul(load::<I, f32>(self.gradient.as_ptr().add(i), n), scale);
            let m = I::mul(load::<I, f32>(first.add(i), n), keep1);
            let m = I::fma(g, take1, m);
            let v = I::mul(load::<I, f32>(second.add(i), n), keep2);
            let v = I::fma(I::mul(g, take2), g, v);
            let p = I::mul(load::<I, f32>(parameter.add(i), n), kept);
            let size = I::fma(I::sqrt(v), root, eps);
            store::<I, f32>(first.add(i), m, n);
            store::<I, f32>(second.add(i), v, n);
            store::<I, f32>(parameter.add(i), I::fma(I::div(m, size), stride, p), n);
            i += n;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twin::{distance, numbers, on_any_threads, wide};

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
                        scale: 0.5,
                    };
                    adamw(cpu, &settings, &mut p, &g, &mut m, &mut v);
                    let corrected = [0.9f64, 0.999].map(|b| 1.0 - b.powi(step as i32));
                    for (i, w) in want.iter_mut().enumerate() {
                        let g = 0.5 * f64::from(g[i]);
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

    #[test]
    fn threads_do_not_show() {
        let len = 3 * CHUNK + 5;
        let g = numbers::<f32>("g", len);
        let settings = AdamWStep {
            rate: 1e-2,
            betas: [0.9, 0.999],
            eps: 1e-8,
            decay: 0.1,
            step: 1,
            scale: 1.0,
        };
        on_any_threads(|| {
            let mut p = numbers::<f32>("p", len);
            let (mut m, mut v) = (vec![0f32; len], vec![0f32; len]);
            adamw(Cpu::detect(), &settings, &mut p, &g, &mut m, &mut v);
            [p, m, v]
        });
    }
}
