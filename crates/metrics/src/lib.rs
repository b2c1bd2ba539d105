//! How good pictures are.
//!
//! Four kinds of measure. Of a picture against the one it should be: [`psnr`], [`ssim`], [`ms_ssim`]. Of a
//! set of pictures against a set of real ones, by feature vectors that some network gave:
//! [`frechet_distance`], [`kernel_distance`], [`precision_recall`], and against copying [`nearest`]. Of
//! pictures against their captions or classes, by how alike some network finds them: [`r_precision`], [`top_k`]. Of what a picture
//! with a plain background shows, by its pixels: [`foreground`], [`components`]. Which network it was is the
//! caller's to say, and the number is called by it: only one of Inception features is an FID.
//!
//! Plain slices in, f64 out; nothing is random, and the number of threads does not show in a result.
//! Pictures are planes of one channel after another. Rejected: tensors, which would make this crate wait
//! for a backend that it does not need.

mod alignment;
mod error;
mod features;
mod frechet;
mod kernel;
mod neighbours;
mod pixels;
mod quantiles;
mod regions;
mod structure;

pub use alignment::{r_precision, top_k};
pub use error::Error;
pub use features::{Features, Moments};
pub use frechet::{frechet_distance, frechet_distance_of};
pub use kernel::{KernelDistance, kernel_distance};
pub use neighbours::{Nearest, PrecisionRecall, nearest, nearest_others, precision_recall};
pub use pixels::{mean_squared_error, psnr};
pub use quantiles::quantiles;
pub use regions::{Component, Foreground, components, foreground};
pub use structure::{ms_ssim, ssim};
