//! The number types that kernels work on.

use half::bf16;

use crate::simd::{Simd, Store};
use crate::tile::{tile, tile_transposed};

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

    /// [`tile_transposed`] for this type.
    #[doc(hidden)]
    unsafe fn tile_transposed<I: Simd, const MR: usize, const NV: usize>(
        steps: usize,
        a: *const Self,
        stride: usize,
        b: *const Self,
        acc: &mut [[I::F; NV]; MR],
    );

    /// From f32, rounded to the nearest, ties to even.
    fn from_f32(x: f32) -> Self;

    /// To f32, exactly.
    fn to_f32(self) -> f32;
}

/// What a trait cannot say by itself: that `I` has products of `Self`.
macro_rules! products {
    () => {
        #[inline(always)]
        unsafe fn tile<I: Simd, const MR: usize, const NV: usize>(
            steps: usize,
            a: &[*const Self; MR],
            b: *const Self,
            acc: &mut [[I::F; NV]; MR],
        ) {
            tile::<I, Self, MR, NV>(steps, a, b, acc)
        }

        #[inline(always)]
        unsafe fn tile_transposed<I: Simd, const MR: usize, const NV: usize>(
            steps: usize,
            a: *const Self,
            stride: usize,
            b: *const Self,
            acc: &mut [[I::F; NV]; MR],
        ) {
            tile_transposed::<I, Self, MR, NV>(steps, a, stride, b, acc)
        }
    };
}

impl Number for f32 {
    products!();

    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        x
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
}

impl Number for bf16 {
    products!();

    // As `bf16::from_f32`, without its branches: they keep a loop from being computed in vectors.
    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        let bits = x.to_bits();
        let rounded = bits.wrapping_add(0x7FFF + (bits >> 16 & 1)) >> 16;
        let quiet = bits >> 16 | 0x40;
        let not_a_number = bits & 0x7FFF_FFFF > 0x7F80_0000;
        Self::from_bits(if not_a_number { quiet } else { rounded } as u16)
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_that_of_the_crate_half() {
        // Every upper half, with lower halves on both sides of a tie.
        for upper in 0..=u16::MAX {
            for lower in [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF] {
                let x = f32::from_bits(u32::from(upper) << 16 | lower);
                let (own, half) = (<bf16 as Number>::from_f32(x), bf16::from_f32(x));
                assert_eq!(own.to_bits(), half.to_bits(), "{x:e}");
            }
        }
    }
}
