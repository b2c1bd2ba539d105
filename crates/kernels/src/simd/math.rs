//! Functions of vectors, built from their arithmetic.

use super::Isa;

/// eˣ to about one unit in the last place; inputs below −87 give at least 1.6e-38, above 88 at most
/// 1.7e38.
#[inline(always)]
pub(crate) unsafe fn exp<I: Isa>(x: I::F) -> I::F {
    let c = |v: f32| I::splat(v);
    // The order of the operands lets NaN through.
    let x = I::max(c(-87.0), I::min(c(88.0), x));
    let n = I::round(I::mul(x, c(std::f32::consts::LOG2_E)));
    // x − n·ln 2, with ln 2 in two parts.
    let r = I::fma(n, c(-0.693_359_4), x);
    let r = I::fma(n, c(2.121_944_4e-4), r);
    // The Taylor series reaches a unit in the last place on |r| ≤ ln 2 / 2.
    let mut p = c(1.0 / 5040.0);
    for factor in [
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        p = I::fma(p, r, c(factor));
    }
    I::scale2(p, n)
}

/// 2ˣ for x up to 127, however low, to about one unit in the last place.
#[inline(always)]
pub(crate) unsafe fn exp2<I: Isa>(x: I::F) -> I::F {
    // The polynomial of least relative error (7.5e-8) on −½..½.
    let powers = [
        0.001_327_647_2,
        0.009_675_541,
        0.055_507_133,
        0.240_221_2,
        0.693_146_97,
        1.000_000_1,
    ];
    exp2_by::<I, 6>(x, powers)
}

/// 2ˣ for x up to 127, however low, to 7.5e-5: enough for a result that is rounded to bf16.
#[inline(always)]
pub(crate) unsafe fn exp2_short<I: Isa>(x: I::F) -> I::F {
    exp2_by::<I, 4>(x, [0.055_171_67, 0.242_611_12, 0.693_260_97, 0.999_928_06])
}

/// By a polynomial for −½..½, highest power first.
#[inline(always)]
unsafe fn exp2_by<I: Isa, const N: usize>(x: I::F, powers: [f32; N]) -> I::F {
    let n = I::round(x);
    let r = I::sub(x, n);
    let mut p = I::splat(powers[0]);
    for power in &powers[1..] {
        p = I::fma(p, r, I::splat(*power));
    }
    I::scale2_low(p, n)
}

/// 1 / (1 + e⁻ˣ).
#[inline(always)]
pub(crate) unsafe fn sigmoid<I: Isa>(x: I::F) -> I::F {
    let one = I::splat(1.0);
    I::div(one, I::add(one, exp::<I>(I::sub(I::splat(0.0), x))))
}

/// x·sigmoid(x).
#[inline(always)]
pub(crate) unsafe fn silu<I: Isa>(x: I::F) -> I::F {
    I::div(x, I::add(I::splat(1.0), exp::<I>(I::sub(I::splat(0.0), x))))
}

/// The derivative of [`silu`]: s + x·s·(1 − s), s = sigmoid(x).
#[inline(always)]
pub(crate) unsafe fn silu_slope<I: Isa>(x: I::F) -> I::F {
    let s = sigmoid::<I>(x);
    I::fma(I::mul(x, s), I::sub(I::splat(1.0), s), s)
}

/// x·sigmoid(1.702 x).
#[inline(always)]
pub(crate) unsafe fn quick_gelu<I: Isa>(x: I::F) -> I::F {
    I::mul(x, sigmoid::<I>(I::mul(x, I::splat(1.702))))
}

/// 2·√(2/π), and that times 0.044715.
const TANH_GELU: [f32; 2] = [1.595_769_2, 0.071_354_814];

/// x/2·(1 + tanh(√(2/π)·(x + 0.044715 x³))), which is x·sigmoid of twice what tanh is taken of.
#[inline(always)]
pub(crate) unsafe fn tanh_gelu<I: Isa>(x: I::F) -> I::F {
    let [one, three] = TANH_GELU.map(|v| I::splat(v));
    I::mul(x, sigmoid::<I>(I::mul(x, I::fma(I::mul(x, x), three, one))))
}

/// The derivative of [`tanh_gelu`]: s + x·s·(1 − s)·u′, s = sigmoid(u).
#[inline(always)]
pub(crate) unsafe fn tanh_gelu_slope<I: Isa>(x: I::F) -> I::F {
    let [one, three] = TANH_GELU.map(|v| I::splat(v));
    let squares = I::mul(x, x);
    let s = sigmoid::<I>(I::mul(x, I::fma(squares, three, one)));
    let inner = I::fma(squares, I::mul(three, I::splat(3.0)), one);
    let rest = I::mul(I::sub(I::splat(1.0), s), I::mul(x, inner));
    I::fma(s, rest, s)
}

/// erf by a ratio of polynomials in x² (the minimax coefficients that Eigen and XLA publish),
/// to some 3e-7.
#[inline(always)]
unsafe fn erf<I: Isa>(x: I::F) -> I::F {
    let c = |v: f32| I::splat(v);
    let x = I::max(c(-4.0), I::min(c(4.0), x));
    let s = I::mul(x, x);
    let mut p = c(-2.726_142_3e-10);
    for a in [
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906_3e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ] {
        p = I::fma(p, s, c(a));
    }
    let mut q = c(-1.456_607_2e-5);
    for b in [
        -2.133_740_6e-4,
        -1.682_827e-3,
        -7.373_329e-3,
        -1.426_473_9e-2,
    ] {
        q = I::fma(q, s, c(b));
    }
    I::div(I::mul(x, p), q)
}

/// x·Φ(x), Φ the normal distribution.
#[inline(always)]
pub(crate) unsafe fn gelu<I: Isa>(x: I::F) -> I::F {
    let half = I::mul(x, I::splat(0.5));
    let e = erf::<I>(I::mul(x, I::splat(std::f32::consts::FRAC_1_SQRT_2)));
    I::fma(half, e, half)
}

/// [`gelu`] to 2e-4, and to 5e-4 of it where x is positive: enough for a result that is rounded to
/// bf16. A polynomial fitted on −4..4 that ends in 0 and x.
#[inline(always)]
pub(crate) unsafe fn gelu_short<I: Isa>(x: I::F) -> I::F {
    let c = |v: f32| I::splat(v);
    let near = I::max(c(-4.0), I::min(c(4.0), x));
    let s = I::mul(near, near);
    let mut p = c(4.517_642_4e-8);
    for a in [
        -3.177_655_2e-6,
        9.552_781e-5,
        -1.624_375_5e-3,
        1.752_738_7e-2,
        -1.291_088_4e-1,
        7.957_406e-1,
    ] {
        p = I::fma(p, s, c(a));
    }
    let half = I::mul(x, c(0.5));
    I::fma(I::mul(half, near), p, half)
}

/// The derivative of [`gelu`]: Φ(x) + x·φ(x).
#[inline(always)]
pub(crate) unsafe fn gelu_slope<I: Isa>(x: I::F) -> I::F {
    let half = I::splat(0.5);
    let e = erf::<I>(I::mul(x, I::splat(std::f32::consts::FRAC_1_SQRT_2)));
    let density = exp::<I>(I::mul(I::mul(x, x), I::splat(-0.5)));
    // 1 / √(2π)
    let density = I::mul(density, I::splat(0.398_942_3));
    I::fma(x, density, I::fma(half, e, half))
}

/// The positive part of x.
#[inline(always)]
pub(crate) unsafe fn relu<I: Isa>(x: I::F) -> I::F {
    // The order of the operands lets NaN through, here and below.
    I::max(I::splat(0.0), x)
}

/// x within 0..6.
#[inline(always)]
pub(crate) unsafe fn relu6<I: Isa>(x: I::F) -> I::F {
    I::min(I::splat(6.0), relu::<I>(x))
}

/// x where it is positive, x / 5 elsewhere.
#[inline(always)]
pub(crate) unsafe fn leaky_relu<I: Isa>(x: I::F) -> I::F {
    I::max(I::mul(x, I::splat(0.2)), x)
}

/// One where x > 0, else zero.
#[inline(always)]
pub(crate) unsafe fn is_positive<I: Isa>(x: I::F) -> I::F {
    // Twice, so that even the smallest number exceeds one.
    let huge = I::splat(1e38);
    let x = I::mul(I::mul(x, huge), huge);
    I::max(I::splat(0.0), I::min(I::splat(1.0), x))
}
