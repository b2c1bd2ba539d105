//! Mean and deviation of pictures' embeddings.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{ConfigError, at_least_one};
use crate::layers::parameter;

/// Statistics of the embeddings that a model of picture embeddings was trained with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingNormalizerConfig {
    /// Width of an embedding.
    pub width: usize,
}

impl EmbeddingNormalizerConfig {
    /// The statistics, zeros when read before they are loaded. Allocates nothing.
    pub fn init(&self, device: &Device) -> EmbeddingNormalizer {
        EmbeddingNormalizer {
            mean: parameter(device, [1, self.width]),
            std: parameter(device, [1, self.width]),
        }
    }

    /// Checks that it can be built.
    ///
    /// # Errors
    ///
    /// A width of 0.
    pub fn validate(&self) -> Result<(), ConfigError> {
        at_least_one("width", self.width)
    }
}

/// Statistics of embeddings, built by [`EmbeddingNormalizerConfig::init`]: diffusers'
/// `StableUnCLIPImageNormalizer`.
#[derive(Module, Debug)]
pub struct EmbeddingNormalizer {
    /// `[1, width]`.
    pub mean: Param<Tensor<2>>,
    /// `[1, width]`, above 0.
    pub std: Param<Tensor<2>>,
}

impl EmbeddingNormalizer {
    /// Embeddings of mean 0 and deviation 1: `[batch, width]` → the same shape.
    pub fn normalized(&self, embeddings: Tensor<2>) -> Tensor<2> {
        (embeddings - self.mean.val()) / self.std.val()
    }

    /// What [`normalized`](Self::normalized) was made of.
    pub fn restored(&self, embeddings: Tensor<2>) -> Tensor<2> {
        embeddings * self.std.val() + self.mean.val()
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, TensorData};

    use super::*;
    use crate::error::ParameterError;

    #[test]
    fn the_statistics_are_taken_out_and_put_back() {
        let device = Device::flex();
        let config = EmbeddingNormalizerConfig { width: 2 };
        let fetch = &mut |name: &str, shape: &[usize]| {
            let values: [f32; 2] = if name == "mean" {
                [1.0, -2.0]
            } else {
                [2.0, 4.0]
            };
            Ok::<_, ParameterError>(TensorData::new(values.to_vec(), shape.to_vec()))
        };
        let net = crate::load(config.init(&device), fetch, DType::F32).unwrap();
        let given = Tensor::<2>::from_data([[3.0f32, 2.0], [1.0, -2.0]], &device);
        let normalized = net.normalized(given.clone());
        let expected = TensorData::from([[1.0f32, 1.0], [0.0, 0.0]]);
        normalized.to_data().assert_eq(&expected, false);
        let restored = net.restored(normalized).into_data();
        restored.assert_eq(&given.into_data(), false);
    }
}
