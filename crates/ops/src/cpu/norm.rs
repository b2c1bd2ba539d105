//! Normalisations.

use burn::backend::flex::FlexTensor;
use latent_kernels::{
    GroupNormGradients, GroupNormParameters, GroupNormShape, LayerNormGradients, LayerNormShape,
    group_norm, group_norm_backward, layer_norm, layer_norm_backward, output,
};

use super::layout::{as_f32, dims, from_f32, numbers, picture, pixels, rows, tensor};
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
            let mut of_x = output::<T>(size.iter().product());
            let (mut of_weight, mut of_bias) = (output(channels), output(channels));
            let mut of_shift = shift.as_ref().map(|_| output::<f32>(batch * channels));
            let gradients = GroupNormGradients {
                x: &mut of_x,
                weight: &mut of_weight,
                bias: &mut of_bias,
                shift: of_shift.as_deref_mut(),
                modulation: None,
            };
            group_norm_backward(
                instructions(),
                self.shape(size),
                numbers(&x),
                &parameters,
                &saved.kept,
                numbers(&gradient),
                gradients,
            );
            [
                Some(picture(of_x, size)),
                Some(tensor(from_f32::<T>(of_weight), [channels])),
                Some(tensor(from_f32::<T>(of_bias), [channels])),
                of_shift.map(|shift| tensor(from_f32::<T>(shift), [batch, channels])),
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
            let width = shape.width;
            let mut of_x = output::<T>(shape.rows * width);
            let (mut of_weight, mut of_bias) = (output(width), output(width));
            let gradients = LayerNormGradients {
                x: &mut of_x,
                weight: &mut of_weight,
                bias: &mut of_bias,
            };
            layer_norm_backward(
                instructions(),
                shape,
                numbers(&x),
                &as_f32::<T>(&weight),
                &saved.kept,
                numbers(&gradient),
                gradients,
            );
            [
                Some(tensor(of_x, x.layout().shape().clone())),
                Some(tensor(from_f32::<T>(of_weight), [width])),
                Some(tensor(from_f32::<T>(of_bias), [width])),
            ]
        })
    }
}
