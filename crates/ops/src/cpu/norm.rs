//! Normalisations.

use burn::backend::flex::FlexTensor;
use latent_kernels::{
    GroupNormParameters, GroupNormShape, LayerNormShape, group_norm, layer_norm, output,
};

use super::layout::{as_f32, dims, numbers, picture, pixels, rows, tensor};
use super::{by_type, instructions};

/// Group norm of a picture, of x + shift where a shift `[batch, channels]` is given, then SiLU where
/// that is asked for.
pub(crate) struct GroupNorm {
    pub groups: usize,
    pub eps: f64,
    pub silu: bool,
}

impl GroupNorm {
    /// x `[b, c, h, w]`, weight and bias `[c]` → as x.
    pub fn forward(
        &self,
        x: FlexTensor,
        shift: Option<FlexTensor>,
        weight: FlexTensor,
        bias: FlexTensor,
    ) -> FlexTensor {
        by_type!(x.dtype(), T => {
            let x = pixels::<T>(x);
            let shape @ [batch, channels, height, width] = dims(&x);
            let shift = shift.map(|shift| as_f32::<T>(&shift));
            let (weight, bias) = (as_f32::<T>(&weight), as_f32::<T>(&bias));
            let parameters = GroupNormParameters {
                weight: &weight,
                bias: &bias,
                shift: shift.as_deref(),
                modulation: None,
                silu: self.silu,
            };
            let size = GroupNormShape {
                batch,
                pixels: height * width,
                channels,
                groups: self.groups,
                eps: self.eps as f32,
            };
            let mut out = output::<T>(shape.iter().product());
            group_norm(instructions(), size, numbers(&x), &parameters, &mut out, None);
            picture(out, shape)
        })
    }
}

/// Layer norm of the last dimension of x.
pub(crate) fn normalise_rows(
    x: FlexTensor,
    weight: FlexTensor,
    bias: FlexTensor,
    eps: f64,
) -> FlexTensor {
    by_type!(x.dtype(), T => {
        let x = rows(x);
        let shape = x.layout().shape().clone();
        let [width] = dims(&weight);
        let size = LayerNormShape {
            rows: x.layout().num_elements() / width.max(1),
            width,
            eps: eps as f32,
        };
        let (weight, bias) = (as_f32::<T>(&weight), as_f32::<T>(&bias));
        let mut out = output::<T>(size.rows * width);
        layer_norm(instructions(), size, numbers(&x), &weight, &bias, &mut out, None);
        tensor(out, shape)
    })
}
