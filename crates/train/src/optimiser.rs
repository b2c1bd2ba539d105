//! How a parameter moves along its gradient, and how its average follows.

mod memory;

use burn::tensor::Tensor;
use latent_ops::{self as ops, AdamWStep};
use serde::{Deserialize, Serialize};

use crate::Error;

use memory::Code;
pub(crate) use memory::Memory;

/// An optimiser and its settings, the learning rate aside.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Optimiser {
    /// Adam with decoupled weight decay (Loshchilov and Hutter, 1711.05101), as torch computes it.
    #[serde(rename = "adamw")]
    AdamW {
        /// How slowly the means of the gradient and of its square move.
        #[serde(default = "adam_betas")]
        betas: [f64; 2],
        /// Added to the root of the mean square.
        #[serde(default = "adam_eps")]
        eps: f64,
        /// The share of a parameter that is taken off at each step, times the rate.
        #[serde(default = "adam_decay")]
        weight_decay: f64,
        /// 32, or 8 to remember the means in a quarter of the memory.
        #[serde(default = "thirty_two")]
        state_bits: u32,
    },
    /// The sign of a mean of gradients (Chen et al., 2302.06675): one number remembered for each parameter.
    Lion {
        /// The share of the mean in the direction, and how slowly it moves.
        #[serde(default = "lion_betas")]
        betas: [f64; 2],
        /// As AdamW's.
        #[serde(default)]
        weight_decay: f64,
    },
}

fn adam_betas() -> [f64; 2] {
    [0.9, 0.999]
}

fn adam_eps() -> f64 {
    1e-8
}

fn adam_decay() -> f64 {
    1e-2
}

fn thirty_two() -> u32 {
    32
}

fn lion_betas() -> [f64; 2] {
    [0.9, 0.99]
}

/// AdamW with torch's defaults.
impl Default for Optimiser {
    fn default() -> Self {
        Self::AdamW {
            betas: adam_betas(),
            eps: adam_eps(),
            weight_decay: adam_decay(),
            state_bits: thirty_two(),
        }
    }
}

/// One step of an optimiser.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stride {
    /// The learning rate.
    pub rate: f64,
    /// A factor on the gradient.
    pub scale: f64,
    /// Which step it is, counted from 1.
    pub count: u64,
}

impl Optimiser {
    /// What is remembered of each parameter, and how, where that is not in 32 bits.
    pub(crate) fn memory(&self) -> &'static [(&'static str, Option<Code>)] {
        match self {
            Self::AdamW { state_bits: 8, .. } => &[
                ("first_moment", Some(Code::Signed)),
                ("second_moment", Some(Code::Positive)),
            ],
            Self::AdamW { .. } => &[("first_moment", None), ("second_moment", None)],
            Self::Lion { .. } => &[("first_moment", None)],
        }
    }

    /// Bytes remembered of each number of a parameter.
    pub fn bytes(&self) -> usize {
        let each = |(_, code): &(_, Option<Code>)| if code.is_some() { 1 } else { 4 };
        self.memory().iter().map(each).sum()
    }

    /// The parameter after a step; `memory` is empty before the first.
    pub(crate) fn step(
        &self,
        stride: &Stride,
        parameter: Tensor<1>,
        gradient: Tensor<1>,
        memory: &mut Vec<Memory>,
    ) -> Tensor<1> {
        let mut known = memory.drain(..).map(Memory::into_numbers);
        let mut next = || known.next().unwrap_or_else(|| parameter.zeros_like());
        let (parameter, after) = match *self {
            Self::AdamW {
                betas,
                eps,
                weight_decay,
                ..
            } => {
                let step = AdamWStep {
                    rate: stride.rate,
                    betas,
                    eps,
                    decay: weight_decay,
                    step: stride.count,
                    scale: stride.scale,
                };
                let moments = [next(), next()];
                let (parameter, moments) = ops::adamw(&step, parameter, gradient, moments);
                (parameter, Vec::from(moments))
            }
            Self::Lion {
                betas: [keep1, keep2],
                weight_decay,
            } => {
                let gradient = gradient * stride.scale;
                let mean = next();
                let direction = ops::blend(mean.clone(), keep1, gradient.clone(), 1.0 - keep1);
                let mean = ops::blend(mean, keep2, gradient, 1.0 - keep2);
                let keep = 1.0 - stride.rate * weight_decay;
                let moved = ops::blend(parameter, keep, direction.sign(), -stride.rate);
                (moved, vec![mean])
            }
        };
        drop(known);
        let codes = self.memory().iter().map(|(_, code)| *code);
        memory.extend(
            after
                .into_iter()
                .zip(codes)
                .map(|(x, code)| Memory::new(x, code)),
        );
        parameter
    }

    /// # Errors
    /// A setting that is out of its range.
    pub fn validate(&self) -> Result<(), Error> {
        let (Self::AdamW {
            betas,
            weight_decay,
            ..
        }
        | Self::Lion {
            betas,
            weight_decay,
        }) = *self;
        if !betas.iter().all(|beta| (0.0..1.0).contains(beta)) {
            return Err(Error::setting(
                "optimiser.betas",
                format!("{betas:?}"),
                "0 to below 1",
            ));
        }
        if !(0.0..f64::INFINITY).contains(&weight_decay) {
            return Err(Error::setting(
                "optimiser.weight_decay",
                weight_decay,
                "0 or more",
            ));
        }
        match *self {
            Self::AdamW { state_bits, .. } if ![8, 32].contains(&state_bits) => Err(
                Error::setting("optimiser.state_bits", state_bits, "32 or 8"),
            ),
            Self::AdamW { eps, .. } if !(eps > 0.0 && eps.is_finite()) => {
                Err(Error::setting("optimiser.eps", eps, "a number above 0"))
            }
            _ => Ok(()),
        }
    }
}

/// How the average of the weights follows them: `average ← d·average + (1 − d)·weights`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ema {
    /// d = min(decay, (1 + n)/(10 + n)) after n steps, as in the latent diffusion code.
    Decay {
        /// The largest d.
        decay: f64,
    },
    /// Half of the average is older than so many pictures (Karras et al., 2206.00364): d is the same on the
    /// way through the data whatever the batch.
    HalfLife {
        /// The half-life in pictures.
        pictures: f64,
        /// At the beginning the half-life is this share of the pictures seen; 0 for no ramp.
        #[serde(default = "half_life_ramp")]
        ramp: f64,
    },
    /// d = (1 − 1/n)^(γ + 1): the average's weights rise as a power of time (Karras et al., 2312.02696).
    Power {
        /// γ; 6.94 and 16.97 are averages of relative width 0.1 and 0.05.
        gamma: f64,
    },
}

fn half_life_ramp() -> f64 {
    0.05
}

impl Ema {
    /// d of step `count` (from 1), which brings the pictures seen from `seen - batch` to `seen`.
    pub fn decay(&self, count: u64, batch: f64, seen: f64) -> f64 {
        let n = count as f64;
        match *self {
            Self::Decay { decay } => decay.min((1.0 + n) / (10.0 + n)),
            Self::HalfLife { pictures, ramp } => {
                let now = if ramp > 0.0 {
                    pictures.min(ramp * seen)
                } else {
                    pictures
                };
                0.5f64.powf(batch / now.max(1e-8))
            }
            Self::Power { gamma } => (1.0 - 1.0 / n).powf(gamma + 1.0),
        }
    }

    /// # Errors
    /// A setting that is out of its range.
    pub fn validate(&self) -> Result<(), Error> {
        let within = |name: &str, value: f64, ok: bool, expected: &str| match ok {
            true => Ok(()),
            false => Err(Error::setting(name, value, expected)),
        };
        match *self {
            Self::Decay { decay } => within(
                "ema.decay",
                decay,
                (0.0..1.0).contains(&decay),
                "0 to below 1",
            ),
            Self::HalfLife { pictures, ramp } => {
                let positive = pictures > 0.0 && pictures.is_finite();
                within("ema.pictures", pictures, positive, "a number above 0")?;
                within("ema.ramp", ramp, (0.0..=1.0).contains(&ramp), "0 to 1")
            }
            Self::Power { gamma } => {
                let positive = gamma > 0.0 && gamma.is_finite();
                within("ema.gamma", gamma, positive, "a number above 0")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn numbers(x: Tensor<1>) -> Vec<f32> {
        x.into_data().try_into_vec().unwrap()
    }

    #[test]
    fn lion_moves_by_signs() {
        let device = Device::flex();
        let lion = Optimiser::Lion {
            betas: [0.9, 0.99],
            weight_decay: 0.1,
        };
        let mut memory = Vec::new();
        let mut p = Tensor::from_floats([1.0f32, -2.0, 3.0], &device);
        for count in 1..3 {
            let g = Tensor::from_floats([4.0f32, -1.0, 0.0], &device);
            let stride = Stride {
                rate: 0.01,
                scale: 0.5,
                count,
            };
            p = lion.step(&stride, p, g, &mut memory);
        }
        // p ← p·(1 − 0.001) − 0.01·sign, twice
        let want = [(1.0, 1.0), (-2.0, -1.0), (3.0, 0.0)]
            .map(|(p, s): (f64, f64)| ((p * 0.999 - 0.01 * s) * 0.999 - 0.01 * s) as f32);
        for (got, want) in numbers(p).into_iter().zip(want) {
            assert!((got - want).abs() < 1e-6, "{got} {want}");
        }
        let mean = numbers(memory.remove(0).into_numbers());
        assert!(
            (mean[0] - 2.0 * (1.0 - 0.99f32 * 0.99)).abs() < 1e-6,
            "{mean:?}"
        );
    }

    #[test]
    fn averages_decay_as_published() {
        let ldm = Ema::Decay { decay: 0.9999 };
        assert_eq!(ldm.decay(1, 8.0, 8.0), 2.0 / 11.0);
        assert_eq!(ldm.decay(10_000_000, 8.0, 8.0), 0.9999);
        let half = Ema::HalfLife {
            pictures: 1000.0,
            ramp: 0.05,
        };
        // ten batches of 100 are one half-life, as is one of 1000
        assert!((half.decay(1, 100.0, 1e9).powi(10) - 0.5).abs() < 1e-12);
        assert!((half.decay(1, 1000.0, 1e9) - 0.5).abs() < 1e-12);
        assert!(half.decay(1, 100.0, 100.0) < 1e-5);
        let power = Ema::Power { gamma: 6.94 };
        assert_eq!(power.decay(1, 8.0, 8.0), 0.0);
    }
}
