//! Layers whose parameters have torch's names and layouts, and are built on first use.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{DType, Device, Int, Tensor};
use latent_ops::{self as ops, ConvShape, Form, PackedConv, PackedLinear, Padding};

/// A parameter of zeros that allocates nothing until it is read; loading replaces it unread.
pub(crate) fn parameter<const D: usize>(device: &Device, shape: [usize; D]) -> Param<Tensor<D>> {
    Param::uninitialized(
        ParamId::new(),
        move |device, require_grad| Tensor::zeros(shape, device).set_require_grad(require_grad),
        device.clone(),
        true,
        shape.into(),
    )
}

/// Numbers that are saved with the parameters and not learnt.
fn buffer<const D: usize>(device: &Device, shape: [usize; D]) -> Param<Tensor<D>> {
    Param::uninitialized(
        ParamId::new(),
        move |device, _| Tensor::zeros(shape, device),
        device.clone(),
        false,
        shape.into(),
    )
}

/// In the place of a parameter whose values now lie in another form.
fn packed_away<const D: usize>(param: &Param<Tensor<D>>) -> Param<Tensor<D>> {
    Param::uninitialized(
        param.id,
        |_, _| panic!("a packed network's weights can no longer be read"),
        param.lazy_device(),
        false,
        param.lazy_shape(),
    )
}

/// y = x·Wᵀ + b.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Param<Tensor<2>>,
    /// `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    gated: bool,
    #[module(skip)]
    packed: Option<PackedLinear>,
}

impl Linear {
    /// From `input` to `output` features.
    pub fn new(device: &Device, input: usize, output: usize, bias: bool) -> Self {
        Self {
            weight: parameter(device, [output, input]),
            bias: bias.then(|| parameter(device, [output])),
            gated: false,
            packed: None,
        }
    }

    /// The same, to be run by [`forward_geglu`](Self::forward_geglu) alone.
    pub fn gated(self) -> Self {
        Self {
            gated: true,
            ..self
        }
    }

    /// # Shapes
    ///
    /// `[…, in]` → `[…, out]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match &self.packed {
            Some(packed) => packed.forward(x, None),
            None => ops::linear(x, self.weight.val(), self.bias.as_ref().map(Param::val)),
        }
    }

    /// [`forward`](Self::forward) plus `residual`.
    ///
    /// # Shapes
    ///
    /// x `[…, in]`, residual `[…, out]` → `[…, out]`
    pub fn forward_add<const D: usize>(&self, x: Tensor<D>, residual: Tensor<D>) -> Tensor<D> {
        match &self.packed {
            Some(packed) => packed.forward(x, Some(residual)),
            None => {
                let bias = self.bias.as_ref().map(Param::val);
                ops::linear_add(x, self.weight.val(), bias, residual)
            }
        }
    }

    /// Tanh-GELU of [`forward`](Self::forward).
    ///
    /// # Shapes
    ///
    /// As [`forward`](Self::forward).
    pub fn forward_tanh_gelu<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match &self.packed {
            Some(packed) => packed.forward_tanh_gelu(x),
            None => {
                let bias = self.bias.as_ref().map(Param::val);
                ops::linear_tanh_gelu(x, self.weight.val(), bias)
            }
        }
    }

    /// a·gelu(b) of the halves [a, b] of [`forward`](Self::forward), of a layer made
    /// [`gated`](Self::gated).
    ///
    /// # Shapes
    ///
    /// `[…, in]` → `[…, out / 2]`
    pub fn forward_geglu<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match &self.packed {
            Some(packed) => packed.forward(x, None),
            None => ops::geglu(self.forward(x)),
        }
    }

    pub(crate) fn pack(&mut self, form: Form) {
        let bias = self.bias.as_ref().map(Param::val);
        self.packed = PackedLinear::new(self.weight.val(), bias, form, self.gated);
        if self.packed.is_some() {
            self.weight = packed_away(&self.weight);
        }
    }
}

/// A convolution that keeps the size (odd kernels), or halves it.
#[derive(Module, Debug)]
pub struct Conv2d {
    /// `[out, in, kernel, kernel]`.
    pub weight: Param<Tensor<4>>,
    /// `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    shape: ConvShape,
    #[module(skip)]
    packed: Option<PackedConv>,
}

impl Conv2d {
    /// A 1×1 or 3×3 convolution of stride one and "same" padding.
    pub fn new(device: &Device, input: usize, output: usize, kernel: usize) -> Self {
        Self::with_shape(device, input, output, kernel, ConvShape::same(kernel))
    }

    /// With any stride and padding.
    pub fn with_shape(
        device: &Device,
        input: usize,
        output: usize,
        kernel: usize,
        shape: ConvShape,
    ) -> Self {
        Self {
            weight: parameter(device, [output, input, kernel, kernel]),
            bias: Some(parameter(device, [output])),
            shape,
            packed: None,
        }
    }

    /// The same without a bias.
    pub fn without_bias(self) -> Self {
        Self { bias: None, ..self }
    }

    /// # Shapes
    ///
    /// `[batch, in, height, width]` → `[batch, out, height / stride, width / stride]`
    pub fn forward(&self, x: Tensor<4>, padding: Padding) -> Tensor<4> {
        match &self.packed {
            Some(packed) => packed.forward(x, self.shape, padding, None, None),
            None => {
                let bias = self.bias.as_ref().map(Param::val);
                ops::conv2d(x, self.weight.val(), bias, self.shape, padding)
            }
        }
    }

    /// [`forward`](Self::forward) plus `residual`, which has its shape.
    pub fn forward_add(&self, x: Tensor<4>, padding: Padding, residual: Tensor<4>) -> Tensor<4> {
        match &self.packed {
            Some(packed) => packed.forward(x, self.shape, padding, None, Some(residual)),
            None => {
                let bias = self.bias.as_ref().map(Param::val);
                ops::conv2d_add(x, self.weight.val(), bias, self.shape, padding, residual)
            }
        }
    }

    /// [`forward`](Self::forward) of `x` twice as large by repetition, cut to `size` (height, width).
    pub fn forward_doubled(&self, x: Tensor<4>, padding: Padding, size: [usize; 2]) -> Tensor<4> {
        match &self.packed {
            Some(packed) => packed.forward(x, self.shape, padding, Some(size), None),
            None => {
                let bias = self.bias.as_ref().map(Param::val);
                ops::conv2d_doubled(x, self.weight.val(), bias, padding, size)
            }
        }
    }

    /// For pictures of about `pixels` pixels.
    pub(crate) fn pack(&mut self, form: Form, pixels: usize) {
        let bias = self.bias.as_ref().map(Param::val);
        let (weight, shape) = (self.weight.val(), self.shape);
        self.packed = PackedConv::new(weight, bias, shape, form, pixels);
        if self.packed.is_some() {
            self.weight = packed_away(&self.weight);
        }
    }
}

/// Normalisation over groups of channels.
#[derive(Module, Debug)]
pub struct GroupNorm {
    /// `[channels]`.
    pub weight: Param<Tensor<1>>,
    /// `[channels]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    groups: usize,
    #[module(skip)]
    eps: f64,
}

impl GroupNorm {
    /// Over `groups` groups of `channels` channels.
    pub fn new(device: &Device, groups: usize, channels: usize, eps: f64) -> Self {
        Self {
            weight: parameter(device, [channels]),
            bias: parameter(device, [channels]),
            groups,
            eps,
        }
    }

    /// # Shapes
    ///
    /// `[batch, channels, height, width]` → the same
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        ops::group_norm(x, self.groups, self.weight.val(), self.bias.val(), self.eps)
    }

    /// How many groups.
    pub(crate) fn groups(&self) -> usize {
        self.groups
    }

    /// What is added to the variance.
    pub(crate) fn eps(&self) -> f64 {
        self.eps
    }

    /// [`forward_silu`](Self::forward_silu) of x + shift.
    ///
    /// # Shapes
    ///
    /// x `[batch, channels, height, width]`, shift `[batch, channels]` → as x
    pub fn forward_silu_shifted(&self, x: Tensor<4>, shift: Tensor<2>) -> Tensor<4> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        ops::group_norm_silu_shifted(x, shift, self.groups, weight, bias, self.eps)
    }

    /// [`forward`](Self::forward) times 1 + scale, plus offset, then SiLU.
    ///
    /// # Shapes
    ///
    /// x `[batch, channels, height, width]`, scale and offset `[batch, channels]` → as x
    pub fn forward_silu_modulated(&self, x: Tensor<4>, by: [Tensor<2>; 2]) -> Tensor<4> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        ops::group_norm_silu_modulated(x, by, self.groups, weight, bias, self.eps)
    }

    /// [`forward`](Self::forward), then SiLU.
    pub fn forward_silu(&self, x: Tensor<4>) -> Tensor<4> {
        ops::group_norm_silu(x, self.groups, self.weight.val(), self.bias.val(), self.eps)
    }
}

/// Normalisation of each channel (Ioffe and Szegedy, "Batch Normalization", 2015).
///
/// In training the statistics are those of the batch, else running means of them.
#[derive(Module, Debug)]
pub struct BatchNorm {
    /// `[channels]`.
    pub weight: Param<Tensor<1>>,
    /// `[channels]`.
    pub bias: Param<Tensor<1>>,
    /// `[channels]`.
    pub running_mean: Param<Tensor<1>>,
    /// `[channels]`.
    pub running_var: Param<Tensor<1>>,
    #[module(skip)]
    eps: f64,
}

/// Mean and unbiased variance of each channel of a batch: `[channels]` each.
#[derive(Debug, Clone)]
pub struct BatchStatistics {
    mean: Tensor<1>,
    variance: Tensor<1>,
}

impl BatchNorm {
    /// How much of the running statistics a batch replaces.
    const MOMENTUM: f64 = 0.1;

    /// Of `channels` channels; ε = 1e-5.
    pub fn new(device: &Device, channels: usize) -> Self {
        Self::with_eps(device, channels, 1e-5)
    }

    /// With another ε.
    pub fn with_eps(device: &Device, channels: usize, eps: f64) -> Self {
        Self {
            eps,
            weight: parameter(device, [channels]),
            bias: parameter(device, [channels]),
            running_mean: buffer(device, [channels]),
            running_var: buffer(device, [channels]),
        }
    }

    /// By the running statistics.
    ///
    /// # Shapes
    ///
    /// `[batch, channels, height, width]` → the same
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = x.dims();
        let [factor, shift] = self.factor_and_shift();
        let tokens = ops::to_tokens(x) * factor.unsqueeze() + shift.unsqueeze();
        ops::to_picture(tokens, height, width)
    }

    /// What the running statistics make of x: x · factor + shift, `[channels]` each.
    pub(crate) fn factor_and_shift(&self) -> [Tensor<1>; 2] {
        let factor = (self.running_var.val() + self.eps).sqrt().recip() * self.weight.val();
        let shift = self.bias.val() - self.running_mean.val() * factor.clone();
        [factor, shift]
    }

    /// By the batch's own statistics, which come with it.
    ///
    /// # Shapes
    ///
    /// As [`forward`](Self::forward).
    pub fn forward_training(&self, x: Tensor<4>) -> (Tensor<4>, BatchStatistics) {
        let [batch, channels, height, width] = x.dims();
        // One picture as high as all together, whose every channel is a group.
        let tall = ops::to_tokens(x).reshape([1, batch * height * width, channels]);
        let rows: Tensor<2> = tall.clone().detach().cast(DType::F32).squeeze_dim(0);
        let (variance, mean) = rows.var_mean(0);
        let statistics = BatchStatistics {
            mean: mean.squeeze_dim(0),
            variance: variance.squeeze_dim(0),
        };
        let (weight, bias) = (self.weight.val(), self.bias.val());
        let tall = ops::to_picture(tall, batch * height, width);
        let tall = ops::group_norm(tall, channels, weight, bias, self.eps);
        let tokens = ops::to_tokens(tall).reshape([batch, height * width, channels]);
        (ops::to_picture(tokens, height, width), statistics)
    }

    /// Brings the running statistics nearer to a batch's.
    pub fn track(&mut self, statistics: BatchStatistics) {
        let towards = |param: &Param<Tensor<1>>, new: Tensor<1>| {
            param
                .clone()
                .map(|old| old * (1.0 - Self::MOMENTUM) + new * Self::MOMENTUM)
        };
        self.running_mean = towards(&self.running_mean, statistics.mean);
        self.running_var = towards(&self.running_var, statistics.variance);
    }
}

/// Normalisation over the last dimension; ε = 1e-5.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// `[width]`.
    pub weight: Param<Tensor<1>>,
    /// `[width]`.
    pub bias: Param<Tensor<1>>,
}

impl LayerNorm {
    /// Over `width` features.
    pub fn new(device: &Device, width: usize) -> Self {
        Self {
            weight: parameter(device, [width]),
            bias: parameter(device, [width]),
        }
    }

    /// # Shapes
    ///
    /// `[…, width]` → the same
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        ops::layer_norm(x, self.weight.val(), self.bias.val(), 1e-5)
    }
}

/// The last dimension over the root of its mean square.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// `[width]`.
    pub weight: Param<Tensor<1>>,
    #[module(skip)]
    eps: f64,
}

impl RmsNorm {
    /// Over `width` features.
    pub fn new(device: &Device, width: usize, eps: f64) -> Self {
        Self {
            weight: parameter(device, [width]),
            eps,
        }
    }

    /// # Shapes
    ///
    /// `[…, width]` → the same
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        ops::rms_norm(x, self.weight.val(), self.eps)
    }
}

/// A place in a published layer list that holds no parameters: an activation, or drop-out, which is left out here.
#[derive(Module, Debug)]
pub struct Gap {}

/// A table of vectors.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[rows, width]`.
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    /// `rows` vectors of `width` numbers.
    pub fn new(device: &Device, rows: usize, width: usize) -> Self {
        Self {
            weight: parameter(device, [rows, width]),
        }
    }

    /// # Shapes
    ///
    /// `[batch, length]` of row numbers → `[batch, length, width]`
    pub fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        ops::embedding(self.weight.val(), ids)
    }
}
