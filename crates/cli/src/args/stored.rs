//! Number types in which weights are stored.

use latent_checkpoint::Dtype;
use latent_pipeline::request::Choice;

/// What `latent convert --dtype` reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// 32 bits.
    F32,
    /// 16 bits, IEEE.
    F16,
    /// 16 bits, the upper half of f32.
    Bf16,
    /// 8 bits, four of them exponent.
    Fp8E4m3,
    /// 8 bits, five of them exponent.
    Fp8E5m2,
    /// 8 bits, whole numbers with a factor for each row.
    Int8,
}

impl Choice for Stored {
    const FIELD: &'static str = "dtype";
    const NAMES: &'static [(&'static str, Self)] = &[
        ("f32", Self::F32),
        ("float32", Self::F32),
        ("fp32", Self::F32),
        ("full", Self::F32),
        ("f16", Self::F16),
        ("float16", Self::F16),
        ("fp16", Self::F16),
        ("half", Self::F16),
        ("bf16", Self::Bf16),
        ("bfloat16", Self::Bf16),
        ("fp8_e4m3", Self::Fp8E4m3),
        ("fp8_e4m3fn", Self::Fp8E4m3),
        ("float8_e4m3fn", Self::Fp8E4m3),
        ("fp8_e5m2", Self::Fp8E5m2),
        ("float8_e5m2", Self::Fp8E5m2),
        ("int8", Self::Int8),
        ("i8", Self::Int8),
        ("q8", Self::Int8),
    ];
}

impl Stored {
    /// The type in a file.
    pub fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::BF16,
            Self::Fp8E4m3 => Dtype::F8E4M3,
            Self::Fp8E5m2 => Dtype::F8E5M2,
            Self::Int8 => Dtype::I8,
        }
    }
}
