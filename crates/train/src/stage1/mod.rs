//! The first stage: an autoencoder whose latents the second stage learns.
//!
//! [`Loss`] is the published loss as functions of networks; [`Stage1`] is the task around it.

mod codebook;
mod latents;
mod loss;
mod task;

pub use codebook::Revival;
pub use latents::LatentStatistics;
pub use loss::{BetaOn, Judgement, Loss, LossConfig, Pass};
pub use task::{Stage1, Stage1Config};
