//! AVX2 with FMA.

use std::arch::x86_64::*;

use half::bf16;

use super::{Dot, Int8, Isa, Kernel};

/// AVX2 and FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

#[target_feature(enable = "avx2,fma")]
unsafe fn call<K: Kernel>(kernel: K) -> K::Out {
    kernel.run::<Avx2, 6, 2>()
}

/// The sum of eight lanes.
#[inline(always)]
pub(super) unsafe fn sum(a: __m256) -> f32 {
    let v = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
    let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    _mm_cvtss_f32(_mm_add_ss(v, _mm_shuffle_ps::<1>(v, v)))
}

/// All ones in the first `n` ≤ 8 lanes.
#[inline(always)]
unsafe fn first(n: usize) -> __m256i {
    const ONES: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    _mm256_loadu_si256(ONES.as_ptr().add(8 - n).cast())
}

#[inline(always)]
unsafe fn widen(v: __m128i) -> __m256 {
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(v)))
}

/// To bf16, ties to even; NaN stays NaN.
#[inline(always)]
unsafe fn narrow(v: __m256) -> __m128i {
    let bits = _mm256_castps_si256(v);
    let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
    let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(v, v));
    let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x40_0000));
    let rounded = _mm256_srli_epi32::<16>(_mm256_blendv_epi8(rounded, quiet, nan));
    let packed = _mm256_packus_epi32(rounded, rounded);
    _mm256_castsi256_si128(_mm256_permute4x64_epi64::<0b1000>(packed))
}

impl Isa for Avx2 {
    type F = __m256;
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn call<K: Kernel>(kernel: K) -> K::Out {
        call(kernel)
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> __m256 {
        _mm256_set1_ps(x)
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m256 {
        _mm256_loadu_ps(p)
    }
    #[inline(always)]
    unsafe fn load_part(p: *const f32, n: usize) -> __m256 {
        _mm256_maskload_ps(p, first(n))
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: __m256) {
        _mm256_storeu_ps(p, v)
    }
    #[inline(always)]
    unsafe fn store_part(p: *mut f32, v: __m256, n: usize) {
        _mm256_maskstore_ps(p, first(n), v)
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const bf16) -> __m256 {
        widen(_mm_loadu_si128(p.cast()))
    }
    #[inline(always)]
    unsafe fn load_bf16_part(p: *const bf16, n: usize) -> __m256 {
        let mut all = [bf16::ZERO; 8];
        std::ptr::copy_nonoverlapping(p, all.as_mut_ptr(), n);
        Self::load_bf16(all.as_ptr())
    }
    #[inline(always)]
    unsafe fn store_bf16(p: *mut bf16, v: __m256) {
        _mm_storeu_si128(p.cast(), narrow(v))
    }
    #[inline(always)]
    unsafe fn store_bf16_part(p: *mut bf16, v: __m256, n: usize) {
        let mut all = [bf16::ZERO; 8];
        Self::store_bf16(all.as_mut_ptr(), v);
        std::ptr::copy_nonoverlapping(all.as_ptr(), p, n);
    }
    #[inline(always)]
    unsafe fn load_bf16_pairs(p: *const bf16) -> [__m256; 2] {
        let (first, second) = halves(_mm256_loadu_si256(p.cast()));
        [first, second]
    }
    #[inline(always)]
    unsafe fn store_bf16_pairs(p: *mut bf16, v: [__m256; 2]) {
        // One by one: a closure would be a function of its own, without these instructions.
        let first = _mm256_cvtepu16_epi32(narrow(v[0]));
        let second = _mm256_cvtepu16_epi32(narrow(v[1]));
        let both = _mm256_or_si256(first, _mm256_slli_epi32::<16>(second));
        _mm256_storeu_si256(p.cast(), both)
    }
    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        _mm256_add_ps(a, b)
    }
    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        _mm256_sub_ps(a, b)
    }
    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        _mm256_mul_ps(a, b)
    }
    #[inline(always)]
    unsafe fn div(a: __m256, b: __m256) -> __m256 {
        _mm256_div_ps(a, b)
    }
    #[inline(always)]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        _mm256_fmadd_ps(a, b, c)
    }
    #[inline(always)]
    unsafe fn max(a: __m256, b: __m256) -> __m256 {
        _mm256_max_ps(a, b)
    }
    #[inline(always)]
    unsafe fn min(a: __m256, b: __m256) -> __m256 {
        _mm256_min_ps(a, b)
    }
    #[inline(always)]
    unsafe fn sqrt(a: __m256) -> __m256 {
        _mm256_sqrt_ps(a)
    }
    #[inline(always)]
    unsafe fn round(a: __m256) -> __m256 {
        _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a)
    }
    #[inline(always)]
    unsafe fn scale2(a: __m256, n: __m256) -> __m256 {
        let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
        _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent)))
    }
    #[inline(always)]
    unsafe fn scale2_low(a: __m256, n: __m256) -> __m256 {
        Self::scale2(a, _mm256_max_ps(n, _mm256_set1_ps(-127.0)))
    }
    #[inline(always)]
    unsafe fn sum(a: __m256) -> f32 {
        sum(a)
    }
    #[inline(always)]
    unsafe fn largest(a: __m256) -> f32 {
        let v = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
        let v = _mm_max_ps(v, _mm_movehl_ps(v, v));
        _mm_cvtss_f32(_mm_max_ss(v, _mm_shuffle_ps::<1>(v, v)))
    }
}

impl Dot<f32> for Avx2 {
    type A = __m256;
    type B = __m256;
    #[inline(always)]
    unsafe fn spread(p: *const f32, _: usize) -> __m256 {
        _mm256_set1_ps(*p)
    }
    #[inline(always)]
    unsafe fn groups(p: *const f32, _: usize) -> __m256 {
        _mm256_loadu_ps(p)
    }
    #[inline(always)]
    unsafe fn mac(acc: __m256, a: __m256, b: __m256) -> __m256 {
        _mm256_fmadd_ps(a, b, acc)
    }
}

/// The first and the second of each pair of bf16, as f32.
#[inline(always)]
unsafe fn halves(v: __m256i) -> (__m256, __m256) {
    let second = _mm256_and_si256(v, _mm256_set1_epi32(0xffff_0000u32 as i32));
    (
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(v)),
        _mm256_castsi256_ps(second),
    )
}

impl Dot<bf16> for Avx2 {
    type A = __m256;
    type B = __m256;
    const PARTS: usize = 2;
    #[inline(always)]
    unsafe fn spread(p: *const bf16, part: usize) -> __m256 {
        let (first, second) = halves(_mm256_set1_epi32(p.cast::<i32>().read_unaligned()));
        if part == 0 { first } else { second }
    }
    #[inline(always)]
    unsafe fn groups(p: *const bf16, part: usize) -> __m256 {
        let (first, second) = halves(_mm256_loadu_si256(p.cast()));
        if part == 0 { first } else { second }
    }
    #[inline(always)]
    unsafe fn mac(acc: __m256, a: __m256, b: __m256) -> __m256 {
        _mm256_fmadd_ps(a, b, acc)
    }
}

/// Σ a·b of eight groups. The instruction for u8·i8 saturates, so both are widened first.
#[inline(always)]
pub(super) unsafe fn group_products(a: *const u8, b: __m256i) -> __m256i {
    let a = _mm_cvtepu8_epi16(_mm_set1_epi32(a.cast::<i32>().read_unaligned()));
    let a = _mm256_broadcastsi128_si256(a);
    let low = _mm256_madd_epi16(a, _mm256_cvtepi8_epi16(_mm256_castsi256_si128(b)));
    let high = _mm256_madd_epi16(a, _mm256_cvtepi8_epi16(_mm256_extracti128_si256::<1>(b)));
    // The horizontal sum leaves the columns as 0 1 4 5 2 3 6 7.
    _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi32(low, high))
}

impl Int8 for Avx2 {
    type N = __m256i;
    #[inline(always)]
    unsafe fn none() -> __m256i {
        _mm256_setzero_si256()
    }
    #[inline(always)]
    unsafe fn mac_int(acc: __m256i, a: *const u8, b: *const i8) -> __m256i {
        _mm256_add_epi32(acc, group_products(a, _mm256_loadu_si256(b.cast())))
    }
    #[inline(always)]
    unsafe fn float(n: __m256i) -> __m256 {
        _mm256_cvtepi32_ps(n)
    }
    #[inline(always)]
    unsafe fn store_u8_part(p: *mut u8, v: __m256, n: usize) {
        let mut numbers = [0f32; 8];
        Self::store(numbers.as_mut_ptr(), v);
        for (i, x) in numbers.iter().enumerate().take(n) {
            *p.add(i) = *x as u8;
        }
    }
}
