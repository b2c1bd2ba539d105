//! The number types that kernels work on.

use half::bf16;

use crate::simd::{Simd, Store};
use crate::tile::tile;

/// f32 or bf16. Sums are in f32 for either.
pub trait Number: Store + std::fmt::Debug + Default + PartialEq {
    /// [`tile`] for this type.
    #[doc(hidden)]
    unsafe fn tile<I: Simd, const MR: usize, const NV: usize>(
        steps: usize,
        a: &[*const Self; MR],
        b: *const Self,
        acc: &mut [[I::F; NV]; MR],
    );

    /// From f32, rounded to the nearest, ties to even.
    fn from_f32(x: f32) -> Self;

    /// To f32, exactly.
    fn to_f32(self) -> f32;
}

impl Number for f32 {
    #[inline(always)]
    unsafe fn tile<I: Simd, const MR: usize, const NV: usize>(
        steps: usize,
        a: &[*const Self; MR],
        b: *const Self,
        acc: &mut [[I::F; NV]; MR],
    ) {
        tile::<I, Self, MR, NV>(steps, a, b, acc)
    }

    fn from_f32(x: f32) -> Self {
        x
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
}

impl Number for bf16 {
    #[inline(always)]
    unsafe fn tile<I: Simd, const MR: usize, const NV: usize>(
        steps: usize,
        a: &[*const Self; MR],
        b: *const Self,
        acc: &mut [[I::F; NV]; MR],
    ) {
        tile::<I, Self, MR, NV>(steps, a, b, acc)
    }

    fn from_f32(x: f32) -> Self {
        bf16::from_f32(x)
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}
