//! AVX-512, with and without its bf16 products.

use std::arch::x86_64::*;

use half::bf16;

use super::avx2::group_products;
use super::{Dot, Int8, Isa, Kernel};

/// AVX-512 F, BW, DQ and VL.
#[derive(Clone, Copy)]
pub(crate) struct Avx512;

/// The same with products of bf16.
#[derive(Clone, Copy)]
pub(crate) struct Avx512Bf16;

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn call_plain<K: Kernel>(kernel: K) -> K::Out {
    kernel.run::<Avx512, 6, 4>()
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vnni,avx2,fma")]
unsafe fn call_bf16<K: Kernel>(kernel: K) -> K::Out {
    kernel.run::<Avx512Bf16, 6, 4>()
}

/// A mask of the first `n` ≤ 16 lanes.
#[inline(always)]
fn first(n: usize) -> __mmask16 {
    ((1u32 << n) - 1) as __mmask16
}

#[inline(always)]
unsafe fn widen(v: __m256i) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(v)))
}

/// To bf16, ties to even; NaN stays NaN.
#[inline(always)]
unsafe fn narrow(v: __m512) -> __m256i {
    let bits = _mm512_castps_si512(v);
    let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
    let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
    let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x40_0000));
    let rounded = _mm512_mask_mov_epi32(rounded, nan, quiet);
    _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(rounded))
}

macro_rules! isa {
    ($name:ident, $call:ident, $narrow:expr, $pairs:expr) => {
        impl Isa for $name {
            type F = __m512;
            const LANES: usize = 16;

            #[inline(always)]
            unsafe fn call<K: Kernel>(kernel: K) -> K::Out {
                $call(kernel)
            }
            #[inline(always)]
            unsafe fn splat(x: f32) -> __m512 {
                _mm512_set1_ps(x)
            }
            #[inline(always)]
            unsafe fn load(p: *const f32) -> __m512 {
                _mm512_loadu_ps(p)
            }
            #[inline(always)]
            unsafe fn load_part(p: *const f32, n: usize) -> __m512 {
                _mm512_maskz_loadu_ps(first(n), p)
            }
            #[inline(always)]
            unsafe fn store(p: *mut f32, v: __m512) {
                _mm512_storeu_ps(p, v)
            }
            #[inline(always)]
            unsafe fn store_part(p: *mut f32, v: __m512, n: usize) {
                _mm512_mask_storeu_ps(p, first(n), v)
            }
            #[inline(always)]
            unsafe fn load_bf16(p: *const bf16) -> __m512 {
                widen(_mm256_loadu_si256(p.cast()))
            }
            #[inline(always)]
            unsafe fn load_bf16_part(p: *const bf16, n: usize) -> __m512 {
                widen(_mm256_maskz_loadu_epi16(first(n), p.cast()))
            }
            #[inline(always)]
            unsafe fn store_bf16(p: *mut bf16, v: __m512) {
                _mm256_storeu_si256(p.cast(), $narrow(v))
            }
            #[inline(always)]
            unsafe fn store_bf16_part(p: *mut bf16, v: __m512, n: usize) {
                _mm256_mask_storeu_epi16(p.cast(), first(n), $narrow(v))
            }
            #[inline(always)]
            unsafe fn load_bf16_pairs(p: *const bf16) -> [__m512; 2] {
                let (first, second) = halves(_mm512_loadu_si512(p.cast()));
                [first, second]
            }
            #[inline(always)]
            unsafe fn store_bf16_pairs(p: *mut bf16, v: [__m512; 2]) {
                _mm512_storeu_si512(p.cast(), $pairs(v))
            }
            #[inline(always)]
            unsafe fn add(a: __m512, b: __m512) -> __m512 {
                _mm512_add_ps(a, b)
            }
            #[inline(always)]
            unsafe fn sub(a: __m512, b: __m512) -> __m512 {
                _mm512_sub_ps(a, b)
            }
            #[inline(always)]
            unsafe fn mul(a: __m512, b: __m512) -> __m512 {
                _mm512_mul_ps(a, b)
            }
            #[inline(always)]
            unsafe fn div(a: __m512, b: __m512) -> __m512 {
                _mm512_div_ps(a, b)
            }
            #[inline(always)]
            unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
                _mm512_fmadd_ps(a, b, c)
            }
            #[inline(always)]
            unsafe fn max(a: __m512, b: __m512) -> __m512 {
                _mm512_max_ps(a, b)
            }
            #[inline(always)]
            unsafe fn min(a: __m512, b: __m512) -> __m512 {
                _mm512_min_ps(a, b)
            }
            #[inline(always)]
            unsafe fn sqrt(a: __m512) -> __m512 {
                _mm512_sqrt_ps(a)
            }
            #[inline(always)]
            unsafe fn round(a: __m512) -> __m512 {
                _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a)
            }
            #[inline(always)]
            unsafe fn scale2(a: __m512, n: __m512) -> __m512 {
                _mm512_scalef_ps(a, n)
            }
            #[inline(always)]
            unsafe fn scale2_low(a: __m512, n: __m512) -> __m512 {
                _mm512_scalef_ps(a, n)
            }
            #[inline(always)]
            unsafe fn sum(a: __m512) -> f32 {
                let half = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a));
                super::avx2::sum(half)
            }
            #[inline(always)]
            unsafe fn largest(a: __m512) -> f32 {
                _mm512_reduce_max_ps(a)
            }
        }

        impl Dot<f32> for $name {
            type A = __m512;
            type B = __m512;
            #[inline(always)]
            unsafe fn spread(p: *const f32, _: usize) -> __m512 {
                _mm512_set1_ps(*p)
            }
            #[inline(always)]
            unsafe fn groups(p: *const f32, _: usize) -> __m512 {
                _mm512_loadu_ps(p)
            }
            #[inline(always)]
            unsafe fn mac(acc: __m512, a: __m512, b: __m512) -> __m512 {
                _mm512_fmadd_ps(a, b, acc)
            }
        }
    };
}

#[inline(always)]
unsafe fn narrow_bf16(v: __m512) -> __m256i {
    std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(v))
}

/// Pairs of bf16, the first of each in its lane's lower half.
#[inline(always)]
unsafe fn pairs(v: [__m512; 2]) -> __m512i {
    // One by one: a closure would be a function of its own, without these instructions.
    let first = _mm512_cvtepu16_epi32(narrow(v[0]));
    let second = _mm512_cvtepu16_epi32(narrow(v[1]));
    _mm512_or_si512(first, _mm512_slli_epi32::<16>(second))
}

#[inline(always)]
unsafe fn pairs_bf16([first, second]: [__m512; 2]) -> __m512i {
    const ORDER: [u16; 32] = {
        let mut order = [0; 32];
        let mut i = 0;
        while i < 32 {
            order[i] = (i / 2 + i % 2 * 16) as u16;
            i += 1;
        }
        order
    };
    let both = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second, first));
    _mm512_permutexvar_epi16(_mm512_loadu_si512(ORDER.as_ptr().cast()), both)
}

isa!(Avx512, call_plain, narrow, pairs);
isa!(Avx512Bf16, call_bf16, narrow_bf16, pairs_bf16);

/// The first and the second of each pair of bf16, as f32.
#[inline(always)]
unsafe fn halves(v: __m512i) -> (__m512, __m512) {
    let second = _mm512_and_si512(v, _mm512_set1_epi32(0xffff_0000u32 as i32));
    (
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(v)),
        _mm512_castsi512_ps(second),
    )
}

impl Dot<bf16> for Avx512 {
    type A = __m512;
    type B = __m512;
    const PARTS: usize = 2;
    #[inline(always)]
    unsafe fn spread(p: *const bf16, part: usize) -> __m512 {
        let (first, second) = halves(_mm512_set1_epi32(p.cast::<i32>().read_unaligned()));
        if part == 0 { first } else { second }
    }
    #[inline(always)]
    unsafe fn groups(p: *const bf16, part: usize) -> __m512 {
        let (first, second) = halves(_mm512_loadu_si512(p.cast()));
        if part == 0 { first } else { second }
    }
    #[inline(always)]
    unsafe fn mac(acc: __m512, a: __m512, b: __m512) -> __m512 {
        _mm512_fmadd_ps(a, b, acc)
    }
}

impl Dot<bf16> for Avx512Bf16 {
    type A = __m512bh;
    type B = __m512bh;
    #[inline(always)]
    unsafe fn spread(p: *const bf16, _: usize) -> __m512bh {
        std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(
            p.cast::<i32>().read_unaligned(),
        ))
    }
    #[inline(always)]
    unsafe fn groups(p: *const bf16, _: usize) -> __m512bh {
        std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(p.cast()))
    }
    #[inline(always)]
    unsafe fn mac(acc: __m512, a: __m512bh, b: __m512bh) -> __m512 {
        _mm512_dpbf16_ps(acc, a, b)
    }
}

impl Int8 for Avx512 {
    type N = __m512i;
    #[inline(always)]
    unsafe fn none() -> __m512i {
        _mm512_setzero_si512()
    }
    #[inline(always)]
    unsafe fn mac_int(acc: __m512i, a: *const u8, b: *const i8) -> __m512i {
        let low = group_products(a, _mm256_loadu_si256(b.cast()));
        let high = group_products(a, _mm256_loadu_si256(b.add(32).cast()));
        let both = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
        _mm512_add_epi32(acc, both)
    }
    #[inline(always)]
    unsafe fn float(n: __m512i) -> __m512 {
        _mm512_cvtepi32_ps(n)
    }
    #[inline(always)]
    unsafe fn store_u8_part(p: *mut u8, v: __m512, n: usize) {
        let bytes = _mm512_cvtusepi32_epi8(_mm512_cvtps_epi32(v));
        _mm_mask_storeu_epi8(p.cast(), first(n), bytes)
    }
}

impl Int8 for Avx512Bf16 {
    type N = __m512i;
    #[inline(always)]
    unsafe fn none() -> __m512i {
        _mm512_setzero_si512()
    }
    #[inline(always)]
    unsafe fn mac_int(acc: __m512i, a: *const u8, b: *const i8) -> __m512i {
        let a = _mm512_set1_epi32(a.cast::<i32>().read_unaligned());
        _mm512_dpbusd_epi32(acc, a, _mm512_loadu_si512(b.cast()))
    }
    #[inline(always)]
    unsafe fn float(n: __m512i) -> __m512 {
        _mm512_cvtepi32_ps(n)
    }
    #[inline(always)]
    unsafe fn store_u8_part(p: *mut u8, v: __m512, n: usize) {
        let bytes = _mm512_cvtusepi32_epi8(_mm512_cvtps_epi32(v));
        _mm_mask_storeu_epi8(p.cast(), first(n), bytes)
    }
}
