//! Vectors of f32 and products of small types, one implementation per instruction set.
//!
//! A kernel is written once, generic over [`Isa`], with `#[inline(always)]` all the way down, and
//! is entered through [`run`], whose `#[target_feature]` functions are where the compiler learns
//! which instructions it may use. A piece that should stay a function of its own is entered by
//! [`Isa::call`].
//!
//! # Safety
//!
//! Every function of these traits needs a CPU with the instructions of its type, which [`run`]
//! guarantees, and pointers that are valid for what the function says it touches. That is what
//! "as the trait says" means where a SAFETY comment says it.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod math;
#[cfg(test)]
mod math_tests;
mod portable;

use half::bf16;

pub(crate) use math::{
    exp2, exp2_short, gelu, gelu_short, gelu_slope, is_positive, leaky_relu, quick_gelu, relu,
    relu6, sigmoid, silu, silu_slope, tanh_gelu, tanh_gelu_slope,
};

use crate::cpu::Cpu;

/// A vector instruction set.
pub trait Isa: Copy + Send + Sync + 'static {
    /// `LANES` numbers.
    type F: Copy;
    /// How many f32 a vector holds.
    const LANES: usize;

    /// Runs `kernel` as a function of its own with this instruction set.
    unsafe fn call<K: Kernel>(kernel: K) -> K::Out;

    /// The same number in every lane.
    unsafe fn splat(x: f32) -> Self::F;
    /// `LANES` numbers at `p`, of any alignment.
    unsafe fn load(p: *const f32) -> Self::F;
    /// `n` ≤ `LANES` numbers at `p`; zeros in the other lanes. Touches nothing beyond them.
    unsafe fn load_part(p: *const f32, n: usize) -> Self::F;
    /// Stores `LANES` numbers.
    unsafe fn store(p: *mut f32, v: Self::F);
    /// Stores the first `n` ≤ `LANES` numbers. Touches nothing beyond them.
    unsafe fn store_part(p: *mut f32, v: Self::F, n: usize);
    /// As `load`, from bf16.
    unsafe fn load_bf16(p: *const bf16) -> Self::F;
    /// As `load_part`, from bf16.
    unsafe fn load_bf16_part(p: *const bf16, n: usize) -> Self::F;
    /// As `store`, rounded to the nearest bf16, ties to even.
    unsafe fn store_bf16(p: *mut bf16, v: Self::F);
    /// As `store_part`, rounded to bf16.
    unsafe fn store_bf16_part(p: *mut bf16, v: Self::F, n: usize);
    /// `LANES` pairs at `p`: the first of each, and the second.
    unsafe fn load_bf16_pairs(p: *const bf16) -> [Self::F; 2];
    /// Stores `LANES` pairs, rounded as `store_bf16` rounds.
    unsafe fn store_bf16_pairs(p: *mut bf16, v: [Self::F; 2]);

    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F;
    /// a·b + c, rounded once where the CPU can.
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn sqrt(a: Self::F) -> Self::F;
    /// To the nearest whole number, ties to even.
    unsafe fn round(a: Self::F) -> Self::F;
    /// a·2ⁿ for whole n within −126..127.
    unsafe fn scale2(a: Self::F, n: Self::F) -> Self::F;
    /// a·2ⁿ for whole n up to 127, however low: zero, or as good as zero, below −126.
    unsafe fn scale2_low(a: Self::F, n: Self::F) -> Self::F;
    /// The sum of all lanes, in one fixed order.
    unsafe fn sum(a: Self::F) -> f32;
    /// The largest lane.
    unsafe fn largest(a: Self::F) -> f32;
}

/// A number type that matrix products take, in groups of neighbours along the summed dimension.
pub trait Element: Copy + Send + Sync + 'static {
    /// Neighbours that one lane multiplies and adds at once.
    const GROUP: usize;
    /// What the sums are in.
    const ZERO: Self;
}

impl Element for f32 {
    const GROUP: usize = 1;
    const ZERO: Self = 0.0;
}

impl Element for bf16 {
    const GROUP: usize = 2;
    const ZERO: Self = bf16::ZERO;
}

impl Element for i8 {
    const GROUP: usize = 4;
    const ZERO: Self = 0;
}

/// Products of u8 with i8, four to a group, summed in i32.
pub trait Int8: Isa {
    /// `LANES` sums.
    type N: Copy;
    /// Zeros.
    unsafe fn none() -> Self::N;
    /// acc + Σ a·b over the group at `a`, the same in every lane, and the groups at `b`, one per
    /// lane.
    unsafe fn mac_int(acc: Self::N, a: *const u8, b: *const i8) -> Self::N;
    /// As f32.
    unsafe fn float(n: Self::N) -> Self::F;
    /// Stores the first `n` ≤ `LANES` numbers, whole ones within 0..=255, as u8.
    unsafe fn store_u8_part(p: *mut u8, v: Self::F, n: usize);
}

/// Products of `T` summed in f32 by instruction set `Self`.
///
/// Where an instruction multiplies whole groups, a group is one part; else each of its numbers is a part of its own, read when
/// its turn comes, so that the sums of a tile have the registers.
pub trait Dot<T: Element>: Isa {
    /// One part of a group in every lane.
    type A: Copy;
    /// A part per lane.
    type B: Copy;
    /// Parts of a group.
    const PARTS: usize = 1;
    /// Part `part` of the group at `p` in every lane.
    unsafe fn spread(p: *const T, part: usize) -> Self::A;
    /// Part `part` of each of `LANES` groups at `p`.
    unsafe fn groups(p: *const T, part: usize) -> Self::B;
    /// acc + Σ a·b over the part, per lane.
    unsafe fn mac(acc: Self::F, a: Self::A, b: Self::B) -> Self::F;
}

/// The same number, which the compiler takes for another: what was read from there is read again, not held in a register.
#[inline(always)]
pub(crate) fn anew(n: usize) -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        let mut n = n;
        // SAFETY: no instruction at all.
        unsafe {
            std::arch::asm!("/* {0} */", inout(reg) n, options(pure, nomem, nostack, preserves_flags))
        };
        n
    }
    #[cfg(not(target_arch = "x86_64"))]
    n
}

/// A number type in memory that vectors are read from and written to.
pub trait Store: Element {
    unsafe fn get<I: Isa>(p: *const Self) -> I::F;
    unsafe fn get_part<I: Isa>(p: *const Self, n: usize) -> I::F;
    unsafe fn put<I: Isa>(p: *mut Self, v: I::F);
    unsafe fn put_part<I: Isa>(p: *mut Self, v: I::F, n: usize);
    /// `LANES` groups at `p`: the first `GROUP` vectors hold each one's first number, second, ….
    unsafe fn get_groups<I: Isa>(p: *const Self) -> [I::F; 2];
    /// Stores what `get_groups` gets.
    unsafe fn put_groups<I: Isa>(p: *mut Self, v: [I::F; 2]);
}

impl Store for f32 {
    #[inline(always)]
    unsafe fn get<I: Isa>(p: *const Self) -> I::F {
        I::load(p)
    }
    #[inline(always)]
    unsafe fn get_part<I: Isa>(p: *const Self, n: usize) -> I::F {
        I::load_part(p, n)
    }
    #[inline(always)]
    unsafe fn put<I: Isa>(p: *mut Self, v: I::F) {
        I::store(p, v)
    }
    #[inline(always)]
    unsafe fn put_part<I: Isa>(p: *mut Self, v: I::F, n: usize) {
        I::store_part(p, v, n)
    }
    #[inline(always)]
    unsafe fn get_groups<I: Isa>(p: *const Self) -> [I::F; 2] {
        [I::load(p), I::splat(0.0)]
    }
    #[inline(always)]
    unsafe fn put_groups<I: Isa>(p: *mut Self, v: [I::F; 2]) {
        I::store(p, v[0])
    }
}

impl Store for bf16 {
    #[inline(always)]
    unsafe fn get<I: Isa>(p: *const Self) -> I::F {
        I::load_bf16(p)
    }
    #[inline(always)]
    unsafe fn get_part<I: Isa>(p: *const Self, n: usize) -> I::F {
        I::load_bf16_part(p, n)
    }
    #[inline(always)]
    unsafe fn put<I: Isa>(p: *mut Self, v: I::F) {
        I::store_bf16(p, v)
    }
    #[inline(always)]
    unsafe fn put_part<I: Isa>(p: *mut Self, v: I::F, n: usize) {
        I::store_bf16_part(p, v, n)
    }
    #[inline(always)]
    unsafe fn get_groups<I: Isa>(p: *const Self) -> [I::F; 2] {
        I::load_bf16_pairs(p)
    }
    #[inline(always)]
    unsafe fn put_groups<I: Isa>(p: *mut Self, v: [I::F; 2]) {
        I::store_bf16_pairs(p, v)
    }
}

/// The numbers at `p`, `n` of them, or a whole vector where `n` is as many.
#[inline(always)]
pub(crate) unsafe fn load<I: Isa, T: Store>(p: *const T, n: usize) -> I::F {
    match n == I::LANES {
        true => T::get::<I>(p),
        false => T::get_part::<I>(p, n),
    }
}

/// Stores as [`load`] loads.
#[inline(always)]
pub(crate) unsafe fn store<I: Isa, T: Store>(p: *mut T, v: I::F, n: usize) {
    match n == I::LANES {
        true => T::put::<I>(p, v),
        false => T::put_part::<I>(p, v, n),
    }
}

/// Asks for the cache line at `p`, to be written soon.
#[inline(always)]
pub(crate) unsafe fn expect_write<T>(p: *const T) {
    #[cfg(target_arch = "x86_64")]
    std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_ET0 }>(p.cast());
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}

/// All instruction-set traits for one type.
pub trait Simd: Isa + Dot<f32> + Dot<bf16> + Int8 {}
impl<I: Isa + Dot<f32> + Dot<bf16> + Int8> Simd for I {}

/// A computation written for any instruction set.
///
/// `REGISTERS` of [`run`](Self::run): `NV` is how many vectors wide a tile of a matrix product is
/// when `MR` rows of it are held in registers.
pub trait Kernel {
    type Out;
    /// Must be `#[inline(always)]`, as must be everything it calls with `I`.
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) -> Self::Out;
}

/// Runs a kernel with the instructions of `cpu`.
#[inline]
pub(crate) fn run<K: Kernel>(cpu: Cpu, kernel: K) -> K::Out {
    // SAFETY: a `Cpu` exists only where its instructions do (see `Cpu`).
    unsafe {
        match cpu.level() {
            #[cfg(target_arch = "x86_64")]
            crate::cpu::Level::Avx512Bf16 => avx512::Avx512Bf16::call(kernel),
            #[cfg(target_arch = "x86_64")]
            crate::cpu::Level::Avx512 => avx512::Avx512::call(kernel),
            #[cfg(target_arch = "x86_64")]
            crate::cpu::Level::Avx2 => avx2::Avx2::call(kernel),
            _ => portable::Portable::call(kernel),
        }
    }
}
