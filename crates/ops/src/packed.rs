//! Layers whose weights lie as the CPU's kernels read them.
//!
//! A packed layer is for running only: nothing can be differentiated through it.

use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor};
use half::bf16;
use latent_kernels::{Activation, Tile};

use crate::conv::{ConvShape, Padding};
use crate::cpu::{self, Convolution, Packing, compute_type, flex, wrap_flex};

/// How weights are stored in a packed layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Form {
    /// In the network's type.
    #[default]
    Plain,
    /// In eight bits, products too.
    Int8,
}

/// A weight and its bias. Cloning shares them.
#[derive(Debug, Clone)]
enum Packed {
    F32(Arc<Layer<f32>>),
    Bf16(Arc<Layer<bf16>>),
}

#[derive(Debug)]
struct Layer<T> {
    weight: Packing<T>,
    bias: Option<Vec<f32>>,
}

impl Packed {
    /// `None` where there are no kernels: on a GPU, or while gradients are recorded.
    fn new<const D: usize>(
        weight: Tensor<D>,
        bias: Option<Tensor<1>>,
        choose: impl Fn(bool) -> Choice,
    ) -> Option<Self> {
        if weight.device() != Device::flex() {
            return None;
        }
        let dtype = compute_type(weight.dtype());
        let bias = bias.map(|bias| flex(bias.cast(dtype)));
        let weight = flex(weight.cast(dtype));
        Some(if dtype == DType::BF16 {
            Self::Bf16(Arc::new(Layer::new(weight, bias, choose(true))))
        } else {
            Self::F32(Arc::new(Layer::new(weight, bias, choose(false))))
        })
    }
}

/// Which packing.
#[derive(Clone, Copy)]
enum Choice {
    Direct,
    Gated,
    Int8,
    Winograd(Tile),
    /// Transformed at each use.
    WinogradLean(Tile),
}

impl<T: cpu::Float> Layer<T> {
    fn new(
        weight: burn::backend::flex::FlexTensor,
        bias: Option<burn::backend::flex::FlexTensor>,
        choice: Choice,
    ) -> Self {
        Self {
            weight: match choice {
                Choice::Direct => Packing::direct(weight),
                Choice::Gated => Packing::gated(weight),
                Choice::Int8 => Packing::int8(weight),
                Choice::Winograd(tile) => Packing::winograd(weight, tile, false),
                Choice::WinogradLean(tile) => Packing::winograd(weight, tile, true),
            },
            bias: cpu::bias::<T>(bias),
        }
    }
}

/// Runs an expression on the layer, whatever its type.
macro_rules! with_layer {
    ($packed:expr, $layer:ident => $body:expr) => {
        match $packed {
            Packed::F32($layer) => $body,
            Packed::Bf16($layer) => $body,
        }
    };
}

/// A linear layer, or one whose first half of outputs is multiplied by the GELU of the second.
#[derive(Debug, Clone)]
pub struct PackedLinear(Packed);

impl PackedLinear {
    /// From a weight `[out, in]` and a bias `[out]`. `None` where there are no kernels for it.
    ///
    /// A gated layer has half as many outputs and is never in eight bits: its gate is what rounding
    /// hurts most.
    pub fn new(
        weight: Tensor<2>,
        bias: Option<Tensor<1>>,
        form: Form,
        gated: bool,
    ) -> Option<Self> {
        let choose = |_| match form {
            _ if gated => Choice::Gated,
            Form::Int8 => Choice::Int8,
            Form::Plain => Choice::Direct,
        };
        Packed::new(weight, bias, choose).map(Self)
    }

    /// The layer's output plus `residual`.
    ///
    /// # Shapes
    ///
    /// x `[…, in]`, residual and output `[…, out]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>, residual: Option<Tensor<D>>) -> Tensor<D> {
        self.finished(x, Activation::None, residual)
    }

    /// [`tanh_gelu`](crate::tanh_gelu) of the layer's output.
    ///
    /// # Shapes
    ///
    /// As [`forward`](Self::forward).
    pub fn forward_tanh_gelu<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.finished(x, Activation::TanhGelu, None)
    }

    fn finished<const D: usize>(
        &self,
        x: Tensor<D>,
        activation: Activation,
        residual: Option<Tensor<D>>,
    ) -> Tensor<D> {
        let dtype = x.dtype();
        let [x, residual] = [Some(x), residual].map(|t| t.map(|t| flex(input_type(t))));
        let y = with_layer!(&self.0, layer => {
            layer.weight.product(cpu::given(x), layer.bias.as_deref(), activation, residual)
        });
        wrap_flex::<D>(y).cast(dtype)
    }
}

fn input_type<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let dtype = compute_type(x.dtype());
    x.cast(dtype)
}

/// A convolution.
#[derive(Debug, Clone)]
pub struct PackedConv {
    packed: Packed,
    kernel: [usize; 2],
}

impl PackedConv {
    /// From a weight `[out, in, rows, columns]` and a bias `[out]`, for pictures of about `pixels`
    /// pixels. `None` where there are no kernels for it.
    pub fn new(
        weight: Tensor<4>,
        bias: Option<Tensor<1>>,
        shape: ConvShape,
        form: Form,
        pixels: usize,
    ) -> Option<Self> {
        let [outputs, inputs, rows, columns] = weight.dims();
        let small = shape.stride == 1 && [rows, columns] == [3, 3];
        // Transformed weights take 16/9 (2×2 tiles) and 4 times (4×4) the memory, which the coarsest
        // levels of large networks, with most weights and fewest tiles, do without.
        let stored = pixels >= 1024 || rows * columns * inputs * outputs <= 1 << 20;
        // Eight bits are for the bulk: 1×1 convolutions lie on the way of every later number.
        let bulk = rows * columns > 1 && inputs.min(outputs) >= 64;
        let choose = |bf16: bool| match form {
            Form::Int8 if bulk => Choice::Int8,
            Form::Int8 => Choice::Direct,
            Form::Plain if small && pixels >= 256 && stored && !bf16 => {
                Choice::Winograd(Tile::Four)
            }
            Form::Plain if small && pixels >= 64 && stored => Choice::Winograd(Tile::Two),
            Form::Plain if small && pixels >= 256 && !bf16 => Choice::WinogradLean(Tile::Four),
            Form::Plain if small && pixels >= 64 => Choice::WinogradLean(Tile::Two),
            Form::Plain => Choice::Direct,
        };
        Some(Self {
            packed: Packed::new(weight, bias, choose)?,
            kernel: [rows, columns],
        })
    }

    /// The convolution of x, which is first made twice as large and cut to `doubled` (height, width)
    /// where that is given, plus `residual`.
    ///
    /// # Shapes
    ///
    /// As [`conv2d`](crate::conv2d); residual as the output.
    pub fn forward(
        &self,
        x: Tensor<4>,
        shape: ConvShape,
        padding: Padding,
        doubled: Option<[usize; 2]>,
        residual: Option<Tensor<4>>,
    ) -> Tensor<4> {
        let dtype = x.dtype();
        let [_, _, height, width] = x.dims();
        let convolution = Convolution {
            shape,
            padding,
            doubled,
        };
        let window = convolution.window(self.kernel, [height, width]);
        let [x, residual] = [Some(x), residual].map(|t| t.map(|t| flex(input_type(t))));
        let y = with_layer!(&self.packed, layer => {
            layer.weight.convolve(cpu::given(x), &window, layer.bias.as_deref(), residual)
        });
        wrap_flex::<4>(y).cast(dtype)
    }
}
