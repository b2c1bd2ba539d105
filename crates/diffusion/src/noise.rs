//! Noise that other programs draw for the same seed.
//!
//! A seed is a promise: the same number gives the same picture. It is kept only by reproducing torch's generators number
//! for number: [`TorchCpu`] (MT19937) and [`TorchCuda`] (Philox), what A1111 builds on them ([`NoiseStreams`]: sub-seeds,
//! seed resizing, re-seeding for ancestral noise), and the Brownian tree of the SDE samplers ([`BrownianNoise`]). Every
//! picture has its own stream, so a picture does not depend on the batch it is drawn in.
//!
//! Rejected: a generic generator crate (none has torch's conventions), one stream for the whole batch (a picture would
//! depend on its neighbours), and drawing on the device (the numbers would depend on the device).

mod brownian;
mod mt19937;
mod philox;
mod seed_sequence;
mod streams;

use serde::{Deserialize, Serialize};

pub use brownian::{BrownianNoise, BrownianTree};
pub use mt19937::TorchCpu;
pub use philox::{TorchCuda, philox4x32};
pub use streams::{NoiseStreams, PictureSeed};

/// Which of torch's generators noise comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoiseSource {
    /// `torch.Generator("cpu")`.
    TorchCpu,
    /// `torch.Generator("cuda")`, as A1111 computes it on the CPU ("NV").
    TorchCuda,
}

/// One seeded generator of unit normal numbers.
#[derive(Debug, Clone)]
pub enum Generator {
    /// See [`TorchCpu`].
    Cpu(Box<TorchCpu>),
    /// See [`TorchCuda`].
    Cuda(TorchCuda),
}

impl Generator {
    /// A generator in the state that `manual_seed(seed)` leaves.
    pub fn new(source: NoiseSource, seed: u64) -> Self {
        match source {
            NoiseSource::TorchCpu => Self::Cpu(Box::new(TorchCpu::new(seed))),
            NoiseSource::TorchCuda => Self::Cuda(TorchCuda::new(seed)),
        }
    }

    /// What `torch.randn` of `count` elements gives next. The split into calls matters: two calls of 8 are not one of 16.
    pub fn normal(&mut self, count: usize) -> Vec<f32> {
        match self {
            Self::Cpu(generator) => generator.normal(count),
            Self::Cuda(generator) => generator.normal(count),
        }
    }
}
