//! Normalisations.

use burn::backend::flex::FlexTensor;
use latent_kernels::{
    GroupNormParameters, GroupNormShape, LayerNormShape, group_norm, layer_norm, output,
};

use super::layout::{as_f32, dims, from_f32, numbers, picture, pixels, rows, tensor, to_f32};
use super::norm_gradient::{group_norm_gradient, layer_norm_gradient};
use super::operation::{Args, Operation, Saved, given};
use super::{by_type, instructions};

/// Group norm of x + shift, then SiLU where that is asked for. Inputs: x `[b, c, h, w]`, weight and
/// bias `[c]`, and perhaps shift `[b, c]`.
#[derive(Debug, Clone)]
pub(crate) struct GroupNorm {
    pub groups: usize,
    pub eps: f64,
    pub silu: bool,
}

impl GroupNorm {
    fn shape(&self, [batch, channels, height, width]: [usize; 4]) -> GroupNormShape {
        GroupNormShape {
            batch,
            pixels: height * width,
            channels,
            groups: self.groups,
            eps: self.eps as f32,
        }
    }
}

impl Operation<4> for GroupNorm {
    /// Mean and 1 / deviation of every group.
    type Kept = Vec<f32>;

    fn forward(
        &self,
        [x, weight, bias, shift]: Args<4>,
        kept: Option<&mut Vec<f32>>,
    ) -> FlexTensor {
        let x = given(x);
        by_type!(x.dtype(), T => {
            let x = pixels::<T>(x);
            let size = dims(&x);
            let shape = self.shape(size);
            let [weight, bias] = [weight, bias].map(|t| as_f32::<T>(&given(t)));
            let shift = shift.map(|shift| as_f32::<T>(&shift));
            let parameters = GroupNormParameters {
                weight: &weight,
                bias: &bias,
                shift: shift.as_deref(),
                modulation: None,
                silu: self.silu,
            };
            let stats = kept.map(|kept| {
                *kept = output(2 * shape.batch * shape.groups);
                kept.as_mut_slice()
            });
            let mut out = output::<T>(size.iter().product());
            group_norm(instructions(), shape, numbers(&x), &parameters, &mut out, stats);
            picture(out, size)
        })
    }

    fn reads(&self, _: [bool; 4]) -> [bool; 4] {
        [true; 4]
    }

    fn backward(&self, saved: Saved<4, Vec<f32>>, gradient: FlexTensor) -> Args<4> {
        let [x, weight, bias, shift] = saved.inputs;
        by_type!(gradient.dtype(), T => {
            let (x, gradient) = (pixels::<T>(given(x)), pixels::<T>(gradient));
            let size @ [batch, channels, ..] = dims::<4>(&x);
            let [weight, bias] = [weight, bias].map(|t| as_f32::<T>(&given(t)));
            let shift = shift.map(|shift| as_f32::<T>(&shift));
            let parameters = GroupNormParameters {
                weight: &weight,
                bias: &bias,
                shift: shift.as_deref(),
                modulation: None,
                silu: self.silu,
            };
            let found = group_norm_gradient(
                self.shape(size),
                &to_f32(numbers::<T>(&x)),
                &to_f32(numbers::<T>(&gradient)),
                &parameters,
                &saved.kept,
            );
            let [x, weight, bias, shift] = found.map(from_f32::<T>);
            [
                Some(picture(x, size)),
                Some(tensor(weight, [channels])),
                Some(tensor(bias, [channels])),
                Some(tensor(shift, [batch, channels])),
            ]
        })
    }
}

/// Layer norm of the last dimension. Inputs: x `[…, width]`, weight and bias `[width]`.
#[derive(Debug, Clone)]
pub(crate) struct LayerNorm {
    pub eps: f64,
}

impl LayerNorm {
    fn shape(&self, x: &FlexTensor, weight: &FlexTensor) -> LayerNormShape {
        let [width] = dims(weight);
        LayerNormShape {
            rows: x.layout().num_elements() / width.max(1),
            width,
            eps: self.eps as f32,
        }
    }
}

impl Operation<3> for LayerNorm {
    /// Mean and 1 / deviation of every row.
    type Kept = Vec<f32>;

    fn forward(&self, [x, weight, bias]: Args<3>, kept: Option<&mut Vec<f32>>) -> FlexTensor {
        let (x, weight, bias) = (rows(given(x)), given(weight), given(bias));
        by_type!(x.dtype(), T => {
            let shape = self.shape(&x, &weight);
            let (weight, bias) = (as_f32::<T>(&weight), as_f32::<T>(&bias));
            let stats = kept.map(|kept| {
                *kept = output(2 * shape.rows);
                kept.as_mut_slice()
            });
            let mut out = output::<T>(shape.rows * shape.width);
            layer_norm(instructions(), shape, numbers(&x), &weight, &bias, &mut out, stats);
            tensor(out, x.layout().shape().clone())
        })
    }

    fn reads(&self, _: [bool; 3]) -> [bool; 3] {
        [true, true, false]
    }

    fn backward(&self, saved: Saved<3, Vec<f32>>, gradient: FlexTensor) -> Args<3> {
        let [x, weight, _] = saved.inputs;
        let (x, weight, gradient) = (rows(given(x)), given(weight), rows(gradient));
        by_type!(x.dtype(), T => {
            let shape = self.shape(&x, &weight);
            let found = layer_norm_gradient(
                shape,
                &to_f32(numbers::<T>(&x)),
                &to_f32(numbers::<T>(&gradient)),
                &as_f32::<T>(&weight),
                &saved.kept,
            );
            let [of_x, of_weight, of_bias] = found.map(from_f32::<T>);
            [
                Some(tensor(of_x, x.layout().shape().clone())),
                Some(tensor(of_weight, [shape.width])),
                Some(tensor(of_bias, [shape.width])),
            ]
        })
    }
}
