//! The first stage: an autoencoder whose latents the second stage learns.
//!
//! [`Loss`] is the published loss as functions of networks; [`Stage1`] is the task around it.

mod altered;
mod codebook;
mod config;
mod latents;
mod loss;
mod same;
mod task;

pub use codebook::Revival;
pub use config::{Freeze, Stage1Config};
pub use latents::LatentStatistics;
pub use loss::{BetaOn, Encoded, Judgement, Loss, LossConfig, Pass, Penalty};
pub use task::Stage1;
