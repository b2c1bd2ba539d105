//! Normalisations.

use burn::backend::flex::FlexTensor;
use latent_kernels::{
    GroupNormGradients, GroupNormParameters, GroupNormShape, LayerNormGradients, LayerNormShape,
    group_norm, group_norm_backward, layer_norm, layer_norm_backward, output,
};

use super::layout::{as_f32, dims, from_f32, numbers, picture, pixels, rows, tensor};
use super::operation::{Args, Operation, Saved, given};
use super::{Float, by_type, instructions};

/// Group norm of x + shift, times 1 + scale, plus offset, then SiLU where that is asked for. Inputs: x
/// `[b, c, h, w]`, weight and bias `[c]`, and perhaps shift, and perhaps scale and offset, `[b, c]` each.
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

/// Weight, bias, shift, scale and offset.
struct Small([Option<Vec<f32>>; 5]);

impl Small {
    fn of<T: Float>(inputs: [Option<FlexTensor>; 5]) -> Self {
        Self(inputs.map(|input| input.map(|input| as_f32::<T>(&input))))
    }

    fn parameters(&self, silu: bool) -> GroupNormParameters<'_> {
        let [weight, bias, shift, scale, offset] = self.0.each_ref().map(Option::as_deref);
        GroupNormParameters {
            weight: weight.unwrap_or_default(),
            bias: bias.unwrap_or_default(),
            shift,
            modulation: scale.zip(offset),
            silu,
        }
    }
}

impl Operation<6> for GroupNorm {
    /// Mean and 1 / deviation of every group.
    type Kept = Vec<f32>;

    fn forward(&self, [x, small @ ..]: Args<6>, kept: Option<&mut Vec<f32>>) -> FlexTensor {
        let x = given(x);
        by_type!(x.dtype(), T => {
            let x = pixels::<T>(x);
            let size = dims(&x);
            let shape = self.shape(size);
            let small = Small::of::<T>(small);
            let stats = kept.map(|kept| {
                *kept = output(2 * shape.batch * shape.groups);
                kept.as_mut_slice()
            });
            let mut out = output::<T>(size.iter().product());
            let parameters = small.parameters(self.silu);
            group_norm(instructions(), shape, numbers(&x), &parameters, &mut out, stats);
            picture(out, size)
        })
    }

    fn reads(&self, _: [bool; 6]) -> [bool; 6] {
        [true; 6]
    }

    fn backward(&self, saved: Saved<6, Vec<f32>>, gradient: FlexTensor) -> Args<6> {
        let [x, small @ ..] = saved.inputs;
        by_type!(gradient.dtype(), T => {
            let (x, gradient) = (pixels::<T>(given(x)), pixels::<T>(gradient));
            let size @ [batch, channels, ..] = dims::<4>(&x);
            let small = Small::of::<T>(small);
            let parameters = small.parameters(self.silu);
            let mut of_x = output::<T>(size.iter().product());
            let (mut of_weight, mut of_bias) = (output(channels), output(channels));
            let each = |there: bool| there.then(|| output::<f32>(batch * channels));
            let mut of_shift = each(parameters.shift.is_some());
            let mut of_scale = each(parameters.modulation.is_some());
            let mut of_offset = each(parameters.modulation.is_some());
            let gradients = GroupNormGradients {
                x: &mut of_x,
                weight: &mut of_weight,
                bias: &mut of_bias,
                shift: of_shift.as_deref_mut(),
                modulation: of_scale.as_deref_mut().zip(of_offset.as_deref_mut()),
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
            let of_item = |of: Vec<f32>| tensor(from_f32::<T>(of), [batch, channels]);
            [
                Some(picture(of_x, size)),
                Some(tensor(from_f32::<T>(of_weight), [channels])),
                Some(tensor(from_f32::<T>(of_bias), [channels])),
                of_shift.map(of_item),
                of_scale.map(of_item),
                of_offset.map(of_item),
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
