//! Normalisations.

use burn::backend::flex::FlexTensor;
use latent_kernels::{
    GateShape, GroupNormGradients, GroupNormParameters, GroupNormShape, LayerNormGradients,
    LayerNormShape, gated_add, gated_add_backward, group_norm, group_norm_backward, layer_norm,
    layer_norm_backward, output,
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

/// Layer norm of the last dimension. Inputs: x `[…, width]`, weight and bias `[width]`; or, where it modulates, x
/// `[batch, …, width]`, and scale beside 1 and shift `[batch, width]`.
#[derive(Debug, Clone)]
pub(crate) struct LayerNorm {
    pub eps: f64,
    pub modulates: bool,
}

impl LayerNorm {
    fn shape(&self, x: &FlexTensor, weight: &FlexTensor) -> LayerNormShape {
        let shape = weight.layout().shape();
        let width = shape[shape.num_dims() - 1];
        LayerNormShape {
            rows: x.layout().num_elements() / width.max(1),
            width,
            eps: self.eps as f32,
        }
    }

    /// What rows are multiplied by.
    fn weight<T: Float>(&self, weight: &FlexTensor) -> Vec<f32> {
        let mut weight = as_f32::<T>(weight);
        if self.modulates {
            weight.iter_mut().for_each(|scale| *scale += 1.0);
        }
        weight
    }
}

impl Operation<3> for LayerNorm {
    /// Mean and 1 / deviation of every row.
    type Kept = Vec<f32>;

    fn forward(&self, [x, weight, bias]: Args<3>, kept: Option<&mut Vec<f32>>) -> FlexTensor {
        let (x, weight, bias) = (rows(given(x)), given(weight), given(bias));
        by_type!(x.dtype(), T => {
            let shape = self.shape(&x, &weight);
            let (weight, bias) = (self.weight::<T>(&weight), as_f32::<T>(&bias));
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
            let small = weight.layout().shape().clone();
            let mut of_x = output::<T>(shape.rows * width);
            let [mut of_weight, mut of_bias] = [(); 2].map(|()| output(small.num_elements()));
            let gradients = LayerNormGradients {
                x: &mut of_x,
                weight: &mut of_weight,
                bias: &mut of_bias,
            };
            layer_norm_backward(
                instructions(),
                shape,
                numbers(&x),
                &self.weight::<T>(&weight),
                &saved.kept,
                numbers(&gradient),
                gradients,
            );
            [
                Some(tensor(of_x, x.layout().shape().clone())),
                Some(tensor(from_f32::<T>(of_weight), small.clone())),
                Some(tensor(from_f32::<T>(of_bias), small)),
            ]
        })
    }
}

/// x + gate·y. Inputs: x `[batch, tokens, width]`, gate `[batch, width]`, y as x.
#[derive(Debug, Clone)]
pub(crate) struct GatedAdd;

fn gate_shape(x: &FlexTensor) -> GateShape {
    let [items, rows, width] = dims(x);
    GateShape { items, rows, width }
}

impl Operation<3> for GatedAdd {
    type Kept = ();

    fn forward(&self, [x, gate, y]: Args<3>, _: Option<&mut ()>) -> FlexTensor {
        let (x, gate, y) = (rows(given(x)), given(gate), rows(given(y)));
        let shape = gate_shape(&x);
        by_type!(x.dtype(), T => {
            let mut out = output::<T>(x.layout().num_elements());
            let gate = as_f32::<T>(&gate);
            gated_add(instructions(), shape, numbers(&x), &gate, numbers(&y), &mut out);
            tensor(out, x.layout().shape().clone())
        })
    }

    fn reads(&self, _: [bool; 3]) -> [bool; 3] {
        [false, true, true]
    }

    fn backward(&self, saved: Saved<3, ()>, gradient: FlexTensor) -> Args<3> {
        let [_, gate, y] = saved.inputs;
        let (gate, y, gradient) = (given(gate), rows(given(y)), rows(gradient));
        let shape = gate_shape(&y);
        by_type!(y.dtype(), T => {
            let small = gate.layout().shape().clone();
            let mut of_gate = output::<f32>(small.num_elements());
            let mut of_y = output::<T>(y.layout().num_elements());
            gated_add_backward(
                instructions(),
                shape,
                &as_f32::<T>(&gate),
                numbers(&y),
                numbers(&gradient),
                &mut of_gate,
                &mut of_y,
            );
            let of_y = tensor(of_y, y.layout().shape().clone());
            [Some(gradient), Some(tensor(from_f32::<T>(of_gate), small)), Some(of_y)]
        })
    }
}
