//! The first stage: an autoencoder whose latents the second stage learns.

mod loss;

pub use loss::{BetaOn, Judgement, Loss, LossConfig, Pass};
