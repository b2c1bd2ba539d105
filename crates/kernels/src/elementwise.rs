//! Functions of single numbers, and of numbers at the same place.

use crate::cpu::Cpu;
use crate::epilogue::Activation;
use crate::number::Number;
use crate::pool::{Shared, each_range, rows_in};
use crate::simd::{self, Isa, Kernel, Simd, run};

/// Numbers that one job works through: enough that handing it to a thread costs nothing, few enough
/// that a small picture keeps several threads busy.
pub(crate) const CHUNK: usize = 1 << 15;

/// A function of the numbers at one place of `N` inputs.
pub(crate) trait Lanewise<const N: usize>: Copy + Send + Sync {
    /// Must be `#[inline(always)]`.
    unsafe fn at<I: Isa>(self, x: [I::F; N]) -> I::F;
}

/// `out[i] = f(inputs[0][i], …)` for `len` numbers. The output may be one of the inputs.
///
/// # Safety
///
/// As the vector traits say; `len` numbers at each pointer.
#[inline(always)]
pub(crate) unsafe fn strip<I: Isa, T: Number, U: Number, F: Lanewise<N>, const N: usize>(
    f: F,
    inputs: [*const T; N],
    out: *mut U,
    len: usize,
) {
    let mut at = 0;
    while at + I::LANES <= len {
        let mut x = [I::splat(0.0); N];
        for (x, input) in x.iter_mut().zip(inputs) {
            *x = T::get::<I>(input.add(at));
        }
        U::put::<I>(out.add(at), f.at::<I>(x));
        at += I::LANES;
    }
    if at < len {
        let mut x = [I::splat(0.0); N];
        for (x, input) in x.iter_mut().zip(inputs) {
            *x = T::get_part::<I>(input.add(at), len - at);
        }
        U::put_part::<I>(out.add(at), f.at::<I>(x), len - at);
    }
}

struct Strip<T, U, F, const N: usize> {
    f: F,
    inputs: [*const T; N],
    out: *mut U,
    len: usize,
}

impl<T: Number, U: Number, F: Lanewise<N>, const N: usize> Kernel for Strip<T, U, F, N> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) {
        strip::<I, T, U, F, N>(self.f, self.inputs, self.out, self.len);
    }
}

/// [`strip`] over whole slices, in parallel.
fn map<T: Number, U: Number, F: Lanewise<N>, const N: usize>(
    cpu: Cpu,
    f: F,
    inputs: [&[T]; N],
    out: &mut [U],
) {
    let len = out.len();
    for input in inputs {
        assert_eq!(input.len(), len, "inputs are as long as the output");
    }
    let out = Shared::new(out);
    each_range(len, CHUNK, |part| {
        let inputs = inputs.map(|x| x[part.clone()].as_ptr());
        // SAFETY: the ranges are within the lengths checked above and do not overlap.
        let out = unsafe { out.get().add(part.start) };
        run(
            cpu,
            Strip {
                f,
                inputs,
                out,
                len: part.len(),
            },
        );
    });
}

/// A unit type and its function of vectors.
macro_rules! lanewise {
    ($($name:ident [$($x:ident),+] $f:expr;)+) => {$(
        #[derive(Clone, Copy)]
        pub(crate) struct $name;
        impl Lanewise<{ [$(stringify!($x)),+].len() }> for $name {
            #[inline(always)]
            unsafe fn at<I: Isa>(self, x: [I::F; { [$(stringify!($x)),+].len() }]) -> I::F {
                let [$($x),+] = x;
                $f
            }
        }
    )+};
}

lanewise! {
    Same [x] x;
    Silu [x] simd::silu::<I>(x);
    Gelu [x] simd::gelu::<I>(x);
    QuickGelu [x] simd::quick_gelu::<I>(x);
    TanhGelu [x] simd::tanh_gelu::<I>(x);
    Relu [x] simd::relu::<I>(x);
    Relu6 [x] simd::relu6::<I>(x);
    LeakyRelu [x] simd::leaky_relu::<I>(x);
    Second [_x, g] g;
    SiluBack [x, g] I::mul(g, simd::silu_slope::<I>(x));
    GeluBack [x, g] I::mul(g, simd::gelu_slope::<I>(x));
    QuickGeluBack [x, g] I::mul(g, quick_gelu_slope::<I>(x));
    TanhGeluBack [x, g] I::mul(g, simd::tanh_gelu_slope::<I>(x));
    ReluBack [x, g] I::mul(g, simd::is_positive::<I>(x));
    Relu6Back [x, g] I::mul(I::mul(g, simd::is_positive::<I>(x)), simd::is_positive::<I>(I::sub(I::splat(6.0), x)));
    LeakyReluBack [x, g] I::mul(g, I::fma(simd::is_positive::<I>(x), I::splat(0.8), I::splat(0.2)));
    Geglu [a, b] I::mul(a, simd::gelu::<I>(b));
    Add [a, b] I::add(a, b);
}

/// The derivative of x·s, s = sigmoid(k x): s + k·x·s·(1 − s).
#[inline(always)]
unsafe fn quick_gelu_slope<I: Isa>(x: I::F) -> I::F {
    let kx = I::mul(x, I::splat(1.702));
    let s = simd::sigmoid::<I>(kx);
    I::fma(I::mul(kx, s), I::sub(I::splat(1.0), s), s)
}

#[derive(Clone, Copy)]
struct Scale(f32);

#[derive(Clone, Copy)]
struct Blend(f32, f32);

impl Lanewise<2> for Blend {
    #[inline(always)]
    unsafe fn at<I: Isa>(self, [a, b]: [I::F; 2]) -> I::F {
        I::fma(b, I::splat(self.1), I::mul(a, I::splat(self.0)))
    }
}

impl Lanewise<1> for Scale {
    #[inline(always)]
    unsafe fn at<I: Isa>(self, [a]: [I::F; 1]) -> I::F {
        I::mul(a, I::splat(self.0))
    }
}

/// `out = op(x)`.
///
/// # Panics
///
/// If the lengths differ, here and below.
pub fn unary<T: Number>(cpu: Cpu, op: Activation, x: &[T], out: &mut [T]) {
    match op {
        Activation::None => map(cpu, Same, [x], out),
        Activation::Silu => map(cpu, Silu, [x], out),
        Activation::Gelu => map(cpu, Gelu, [x], out),
        Activation::QuickGelu => map(cpu, QuickGelu, [x], out),
        Activation::TanhGelu => map(cpu, TanhGelu, [x], out),
        Activation::Relu => map(cpu, Relu, [x], out),
        Activation::Relu6 => map(cpu, Relu6, [x], out),
        Activation::LeakyRelu => map(cpu, LeakyRelu, [x], out),
    }
}

/// `grad_x = grad_out · op′(x)`.
pub fn unary_backward<T: Number>(
    cpu: Cpu,
    op: Activation,
    x: &[T],
    grad_out: &[T],
    grad_x: &mut [T],
) {
    let inputs = [x, grad_out];
    match op {
        Activation::None => map(cpu, Second, inputs, grad_x),
        Activation::Silu => map(cpu, SiluBack, inputs, grad_x),
        Activation::Gelu => map(cpu, GeluBack, inputs, grad_x),
        Activation::QuickGelu => map(cpu, QuickGeluBack, inputs, grad_x),
        Activation::TanhGelu => map(cpu, TanhGeluBack, inputs, grad_x),
        Activation::Relu => map(cpu, ReluBack, inputs, grad_x),
        Activation::Relu6 => map(cpu, Relu6Back, inputs, grad_x),
        Activation::LeakyRelu => map(cpu, LeakyReluBack, inputs, grad_x),
    }
}

/// `out = a + b`.
pub fn add<T: Number>(cpu: Cpu, a: &[T], b: &[T], out: &mut [T]) {
    map(cpu, Add, [a, b], out);
}

/// `a = a·keep + b·take`: a moving average, or a weighted sum.
pub fn blend(cpu: Cpu, a: &mut [f32], keep: f32, b: &[f32], take: f32) {
    let len = a.len();
    assert_eq!(b.len(), len, "what is blended in is as long");
    let a = Shared::new(a);
    each_range(len, CHUNK, |part| {
        let b = b[part.clone()].as_ptr();
        // SAFETY: the ranges are within the length and do not overlap.
        let out = unsafe { a.get().add(part.start) };
        run(
            cpu,
            Strip {
                f: Blend(keep, take),
                inputs: [out.cast_const(), b],
                out,
                len: part.len(),
            },
        );
    });
}

/// `out = a·scale`.
pub fn scale<T: Number>(cpu: Cpu, a: &[T], scale: f32, out: &mut [T]) {
    map(cpu, Scale(scale), [a], out);
}

/// The same numbers in another type, rounded to the nearest, ties to even.
pub fn convert<T: Number, U: Number>(cpu: Cpu, x: &[T], out: &mut [U]) {
    map(cpu, Same, [x], out);
}

struct GegluRows<T> {
    x: *const T,
    out: *mut T,
    rows: usize,
    width: usize,
}

impl<T: Number> Kernel for GegluRows<T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) {
        for row in 0..self.rows {
            let a = self.x.add(2 * row * self.width);
            let out = self.out.add(row * self.width);
            strip::<I, T, T, _, 2>(Geglu, [a, a.add(self.width)], out, self.width);
        }
    }
}

/// a·gelu(b) for each row `[a, b]` of x: `[rows, 2 width]` → out: `[rows, width]`.
pub fn geglu<T: Number>(cpu: Cpu, rows: usize, width: usize, x: &[T], out: &mut [T]) {
    assert_eq!(x.len(), rows * 2 * width, "x is [rows, 2 width]");
    assert_eq!(out.len(), rows * width, "out is [rows, width]");
    let out = Shared::new(out);
    each_range(rows, rows_in(CHUNK, width), |part| {
        // SAFETY: rows of the lengths checked above; the ranges do not overlap.
        let (x, out) = unsafe {
            (
                x.as_ptr().add(2 * part.start * width),
                out.get().add(part.start * width),
            )
        };
        run(
            cpu,
            GegluRows {
                x,
                out,
                rows: part.len(),
                width,
            },
        );
    });
}

struct GegluBack<T> {
    x: *const T,
    grad_out: *const T,
    grad_x: *mut T,
    rows: usize,
    width: usize,
}

impl<T: Number> GegluBack<T> {
    #[inline(always)]
    unsafe fn at<I: Isa>(a: I::F, b: I::F, g: I::F) -> (I::F, I::F) {
        let by_a = I::mul(g, simd::gelu::<I>(b));
        let by_b = I::mul(I::mul(g, a), simd::gelu_slope::<I>(b));
        (by_a, by_b)
    }
}

impl<T: Number> Kernel for GegluBack<T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) {
        let width = self.width;
        for row in 0..self.rows {
            let a = self.x.add(2 * row * width);
            let b = a.add(width);
            let g = self.grad_out.add(row * width);
            let by_a = self.grad_x.add(2 * row * width);
            let by_b = by_a.add(width);
            let mut at = 0;
            while at + I::LANES <= width {
                let (a, b) = (T::get::<I>(a.add(at)), T::get::<I>(b.add(at)));
                let (da, db) = Self::at::<I>(a, b, T::get::<I>(g.add(at)));
                T::put::<I>(by_a.add(at), da);
                T::put::<I>(by_b.add(at), db);
                at += I::LANES;
            }
            let n = width - at;
            if n > 0 {
                let (a, b) = (
                    T::get_part::<I>(a.add(at), n),
                    T::get_part::<I>(b.add(at), n),
                );
                let (da, db) = Self::at::<I>(a, b, T::get_part::<I>(g.add(at), n));
                T::put_part::<I>(by_a.add(at), da, n);
                T::put_part::<I>(by_b.add(at), db, n);
            }
        }
    }
}

/// The gradient of [`geglu`]: x: `[rows, 2 width]`, grad_out: `[rows, width]` → grad_x:
/// `[rows, 2 width]`.
pub fn geglu_backward<T: Number>(
    cpu: Cpu,
    rows: usize,
    width: usize,
    x: &[T],
    grad_out: &[T],
    grad_x: &mut [T],
) {
    assert_eq!(x.len(), rows * 2 * width, "x is [rows, 2 width]");
    assert_eq!(grad_out.len(), rows * width, "grad_out is [rows, width]");
    assert_eq!(grad_x.len(), x.len(), "grad_x is [rows, 2 width]");
    let grad_x = Shared::new(grad_x);
    each_range(rows, rows_in(CHUNK, width), |part| {
        let at = part.start * width;
        // SAFETY: rows of the lengths checked above; the ranges do not overlap.
        let kernel = unsafe {
            GegluBack {
                x: x.as_ptr().add(2 * at),
                grad_out: grad_out.as_ptr().add(at),
                grad_x: grad_x.get().add(2 * at),
                rows: part.len(),
                width,
            }
        };
        run(cpu, kernel);
    });
}

#[cfg(test)]
mod tests;
