//! Compute on slices for CPUs.
mod buffer;
mod cpu;
mod dense;
mod epilogue;
mod geometry;
mod number;
mod packed;
mod pool;
mod simd;
mod tile;
mod winograd;

pub use cpu::{Cpu, Level};
pub use epilogue::{Activation, Epilogue};
pub use geometry::{Edge, Picture, Window};
pub use number::Number;
