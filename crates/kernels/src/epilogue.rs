//! What is done to a product before it is stored.

use crate::number::Number;
use crate::simd::{self, Isa};

/// A function of each number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Activation {
    /// The number itself.
    #[default]
    None,
    /// x·sigmoid(x).
    Silu,
    /// x·Φ(x).
    Gelu,
    /// x·sigmoid(1.702 x).
    QuickGelu,
    /// x/2·(1 + tanh(√(2/π)·(x + 0.044715 x³))), the approximation of `Gelu` that diffusion transformers were trained with.
    TanhGelu,
    /// The positive part of x.
    Relu,
    /// x within 0..6.
    Relu6,
    /// x where it is positive, x / 5 elsewhere.
    LeakyRelu,
}

impl Activation {
    #[inline(always)]
    pub(crate) unsafe fn apply<I: Isa>(self, x: I::F) -> I::F {
        match self {
            Self::None => x,
            Self::Silu => simd::silu::<I>(x),
            Self::Gelu => simd::gelu::<I>(x),
            Self::QuickGelu => simd::quick_gelu::<I>(x),
            Self::TanhGelu => simd::tanh_gelu::<I>(x),
            Self::Relu => simd::relu::<I>(x),
            Self::Relu6 => simd::relu6::<I>(x),
            Self::LeakyRelu => simd::leaky_relu::<I>(x),
        }
    }
}

/// What is added to a product on its way to memory: activation(product + bias) + residual.
#[derive(Debug, Clone, Copy)]
pub struct Epilogue<'a, T> {
    /// `[columns]`, added to every row.
    pub bias: Option<&'a [f32]>,
    /// Applied next.
    pub activation: Activation,
    /// As large as the output; added last.
    pub residual: Option<&'a [T]>,
}

impl<T> Default for Epilogue<'_, T> {
    fn default() -> Self {
        Self {
            bias: None,
            activation: Activation::None,
            residual: None,
        }
    }
}

impl<T: Number> Epilogue<'_, T> {
    /// Panics where a part does not fit an output of `rows × columns`.
    pub(crate) fn check(&self, rows: usize, columns: usize, gated: bool) {
        let biases = if gated { 2 * columns } else { columns };
        assert!(
            self.bias.is_none_or(|b| b.len() == biases),
            "a bias per column"
        );
        assert!(
            self.residual.is_none_or(|r| r.len() == rows * columns),
            "a residual as large as the output"
        );
    }

    /// The first `n` ≤ `LANES` columns from `column` on of the bias; zeros without one.
    #[inline(always)]
    pub(crate) unsafe fn bias<I: Isa>(&self, column: usize, n: usize) -> I::F {
        match self.bias {
            Some(bias) => I::load_part(bias.as_ptr().add(column), n),
            None => I::splat(0.0),
        }
    }

    /// Finishes `n` ≤ `LANES` numbers and stores them at element `at` of the output.
    ///
    /// # Safety
    ///
    /// `out` and the residual hold `at + n` numbers.
    #[inline(always)]
    pub(crate) unsafe fn store<I: Isa>(
        &self,
        out: *mut T,
        at: usize,
        n: usize,
        product: I::F,
        bias: I::F,
    ) {
        let mut v = I::add(product, bias);
        if self.activation != Activation::None {
            v = self.activation.apply::<I>(v);
        }
        if n == I::LANES {
            if let Some(residual) = self.residual {
                v = I::add(v, T::get::<I>(residual.as_ptr().add(at)));
            }
            T::put::<I>(out.add(at), v);
        } else {
            if let Some(residual) = self.residual {
                v = I::add(v, T::get_part::<I>(residual.as_ptr().add(at), n));
            }
            T::put_part::<I>(out.add(at), v, n);
        }
    }
}
