//! Plain Rust that any CPU runs; the compiler vectorises what it can.

use half::bf16;

use super::{Dot, Int8, Isa, Kernel};

/// No instructions beyond the target's own.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

const N: usize = 4;
type V = [f32; N];

#[inline(always)]
fn map(f: impl FnMut(usize) -> f32) -> V {
    std::array::from_fn(f)
}

impl Isa for Portable {
    type F = V;
    const LANES: usize = N;

    #[inline(never)]
    unsafe fn call<K: Kernel>(kernel: K) -> K::Out {
        kernel.run::<Self, 4, 2>()
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> V {
        [x; N]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> V {
        p.cast::<V>().read_unaligned()
    }
    #[inline(always)]
    unsafe fn load_part(p: *const f32, n: usize) -> V {
        map(|i| if i < n { *p.add(i) } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: V) {
        p.cast::<V>().write_unaligned(v)
    }
    #[inline(always)]
    unsafe fn store_part(p: *mut f32, v: V, n: usize) {
        std::ptr::copy_nonoverlapping(v.as_ptr(), p, n)
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const bf16) -> V {
        map(|i| (*p.add(i)).to_f32())
    }
    #[inline(always)]
    unsafe fn load_bf16_part(p: *const bf16, n: usize) -> V {
        map(|i| if i < n { (*p.add(i)).to_f32() } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn store_bf16(p: *mut bf16, v: V) {
        Self::store_bf16_part(p, v, N)
    }
    #[inline(always)]
    unsafe fn store_bf16_part(p: *mut bf16, v: V, n: usize) {
        for (i, x) in v.iter().enumerate().take(n) {
            *p.add(i) = bf16::from_f32(*x);
        }
    }
    #[inline(always)]
    unsafe fn load_bf16_pairs(p: *const bf16) -> [V; 2] {
        [0, 1].map(|part| map(|i| (*p.add(2 * i + part)).to_f32()))
    }
    #[inline(always)]
    unsafe fn store_bf16_pairs(p: *mut bf16, v: [V; 2]) {
        for i in 0..2 * N {
            *p.add(i) = bf16::from_f32(v[i % 2][i / 2]);
        }
    }
    #[inline(always)]
    unsafe fn add(a: V, b: V) -> V {
        map(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: V, b: V) -> V {
        map(|i| a[i] - b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: V, b: V) -> V {
        map(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn div(a: V, b: V) -> V {
        map(|i| a[i] / b[i])
    }
    #[inline(always)]
    unsafe fn fma(a: V, b: V, c: V) -> V {
        map(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn max(a: V, b: V) -> V {
        map(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn min(a: V, b: V) -> V {
        map(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn sqrt(a: V) -> V {
        map(|i| a[i].sqrt())
    }
    #[inline(always)]
    unsafe fn round(a: V) -> V {
        map(|i| a[i].round_ties_even())
    }
    #[inline(always)]
    unsafe fn scale2(a: V, n: V) -> V {
        map(|i| a[i] * f32::from_bits(((n[i] as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn scale2_low(a: V, n: V) -> V {
        Self::scale2(a, Self::max(n, [-127.0; N]))
    }
    #[inline(always)]
    unsafe fn sum(a: V) -> f32 {
        (a[0] + a[2]) + (a[1] + a[3])
    }
    #[inline(always)]
    unsafe fn largest(a: V) -> f32 {
        a.iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }
}

impl Dot<f32> for Portable {
    type A = f32;
    type B = V;
    #[inline(always)]
    unsafe fn spread(p: *const f32, _: usize) -> f32 {
        *p
    }
    #[inline(always)]
    unsafe fn groups(p: *const f32, _: usize) -> V {
        Self::load(p)
    }
    #[inline(always)]
    unsafe fn mac(acc: V, a: f32, b: V) -> V {
        map(|i| acc[i] + a * b[i])
    }
}

impl Dot<bf16> for Portable {
    type A = f32;
    type B = V;
    const PARTS: usize = 2;
    #[inline(always)]
    unsafe fn spread(p: *const bf16, part: usize) -> f32 {
        (*p.add(part)).to_f32()
    }
    #[inline(always)]
    unsafe fn groups(p: *const bf16, part: usize) -> V {
        map(|i| (*p.add(2 * i + part)).to_f32())
    }
    #[inline(always)]
    unsafe fn mac(acc: V, a: f32, b: V) -> V {
        map(|i| acc[i] + a * b[i])
    }
}

impl Int8 for Portable {
    type N = [i32; N];
    #[inline(always)]
    unsafe fn none() -> [i32; N] {
        [0; N]
    }
    #[inline(always)]
    unsafe fn mac_int(acc: [i32; N], a: *const u8, b: *const i8) -> [i32; N] {
        std::array::from_fn(|i| {
            let of = |k: usize| i32::from(*a.add(k)) * i32::from(*b.add(4 * i + k));
            acc[i] + (of(0) + of(1)) + (of(2) + of(3))
        })
    }
    #[inline(always)]
    unsafe fn float(n: [i32; N]) -> V {
        map(|i| n[i] as f32)
    }
    #[inline(always)]
    unsafe fn store_u8_part(p: *mut u8, v: V, n: usize) {
        for (i, x) in v.iter().enumerate().take(n) {
            *p.add(i) = *x as u8;
        }
    }
}
