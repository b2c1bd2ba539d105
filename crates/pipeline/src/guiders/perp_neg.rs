//! Perpendicular-negative guidance, Perp-Neg (Armandpour et al., 2304.04968).

use burn::tensor::Tensor;
use latent_diffusion as diffusion;
use latent_models::unet::Alter;

use super::{Answers, Ask, Guider, Prompt, parts_with};

/// `e + s·(p − w·n⊥)`: e of the empty prompt, p = Σ wᵢ·(cᵢ − e), and n⊥ what of n − e, n of the negative prompt, stands
/// perpendicular to p. So the negative prompt takes nothing away that the prompt asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PerpNeg {
    /// s.
    pub scale: f64,
    /// w.
    pub weight: f64,
    /// How many parts the prompt has.
    pub parts: usize,
}

impl Guider for PerpNeg {
    fn asks(&self) -> Vec<Ask> {
        let mut asks = parts_with(&Alter::Nothing, self.parts);
        asks.extend([Prompt::Negative, Prompt::Empty].map(Ask::of));
        asks
    }

    fn combine(
        &self,
        _: Tensor<4>,
        answers: &mut Answers<'_, '_>,
    ) -> Result<Tensor<4>, diffusion::Error> {
        let empty = answers.output(&Ask::of(Prompt::Empty))?;
        let negative = answers.output(&Ask::of(Prompt::Negative))? - empty.clone();
        let parts = answers.parts(&Alter::Nothing)?.into_iter();
        let positive = parts.map(|(part, weight)| (part - empty.clone()) * weight);
        let positive = positive.reduce(|a, b| a + b);
        let positive = positive.unwrap_or_else(|| empty.zeros_like());
        let against = perpendicular(negative, positive.clone());
        Ok(empty + (positive - against * self.weight) * self.scale)
    }
}

/// What of each picture of `x` stands perpendicular to the same picture of `to`, all `[batch, channels, h, w]`.
fn perpendicular(x: Tensor<4>, to: Tensor<4>) -> Tensor<4> {
    let [batch, c, h, w] = x.dims();
    let sum = |product: Tensor<4>| {
        let flat = product.reshape([batch, c * h * w]);
        flat.sum_dim(1).reshape([batch, 1, 1, 1])
    };
    let length = sum(to.clone() * to.clone()).clamp_min(f32::MIN_POSITIVE);
    let share = sum(x.clone() * to.clone()) / length;
    x - to * share
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    #[test]
    fn each_picture_is_made_perpendicular_by_itself() {
        let tensor = |values: [f32; 4]| {
            Tensor::<4>::from_data(
                TensorData::new(values.to_vec(), [2, 1, 1, 2]),
                &Device::flex(),
            )
        };
        let left = perpendicular(tensor([3.0, 4.0, 1.0, 1.0]), tensor([2.0, 0.0, 0.0, 0.0]));
        let values: Vec<f32> = left.into_data().iter::<f32>().collect();
        assert_eq!(values, [0.0, 4.0, 1.0, 1.0]);
    }
}
