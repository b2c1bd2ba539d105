//! The mathematics of diffusion, free of networks.
//!
//! Everything here works in **σ-space**: a noisy latent is `x = x₀ + σ·n`, a network is seen only as [`Denoise`], the
//! function `D(x, σ) = x̂₀`, and a schedule is data: a descending list of σ ([`Sigmas`]). A variance-preserving
//! latent is the same thing scaled, `x_vp = x / √(1 + σ²)`, so DDIM, PLMS or UniPC need no second kind of sampler; a
//! rectified flow, `x = (1 − σ)·x₀ + σ·n`, shares the derivative `(x − D) / σ` and walks the same list ([`NoisePath`] tells
//! the two apart, for everybody). What was
//! rejected: one scheduler class per sampler with its own β arithmetic, time-step table and model-input scaling, where
//! the same formula is written dozens of times.
//!
//! Schedule arithmetic is f64; latents are f32 tensors.

mod denoise;
pub mod guidance;
mod ladder;
pub mod names;
pub mod noise;
mod path;
mod prediction;
mod sampler;
mod schedule;

pub use denoise::{Denoise, Error, Noise, Sigmas, Step};
pub use ladder::{
    AlignTable, BetaAxis, End, FlowSchedule, Grid, LadderOptions, LastSigma, Levels, Range,
    Scheduler, Shape, SpacedLadder, Spacing, SpacingRule, StrengthRule, TailPlan, TimestepRounding,
    beta_quantile, custom_ladder, distilled_timesteps, flow_mu, flow_shift, flow_shift_exponential,
    ladder, ladder_of_timesteps, strided_ladder, strided_timesteps,
};
pub use noise::{BrownianNoise, NoiseSource, NoiseStreams, PictureSeed};
pub use path::{EdmSchedule, Mixing, NoisePath};
pub use prediction::{Prediction, Weighting};
pub use sampler::{
    Adaptive, DdpmVariance, DeisVariable, FlowVariable, IpndmCoefficients, LcmBoundary,
    LowerOrderFinal, PlmsAverage, RestartSegment, Sampler, SamplerOptions, SolverType, sample,
};
pub use schedule::{
    BetaSchedule, NoiseSchedule, TERMINAL_FLOOR, TERMINAL_FLOOR_4096, TERMINAL_FLOOR_4518,
};
