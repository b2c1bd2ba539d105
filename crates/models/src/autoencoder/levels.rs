//! What the decoder makes of a latent on its way.

use burn::tensor::{DType, Tensor};
use latent_ops::{self as ops, Padding};

use super::network::{Autoencoder, Decoder, level};

impl Decoder {
    /// What each of the first levels gives, before its size is doubled.
    fn levels(&self, z: Tensor<4>, padding: Padding, count: usize) -> Vec<Tensor<4>> {
        let h = self.conv_in.forward(z, padding);
        let mut h = self.mid_block.forward(h, padding);
        let mut found: Vec<Tensor<4>> = Vec::with_capacity(count);
        for (i, block) in self.up_blocks.iter().take(count).enumerate() {
            h = level(&block.resnets, &block.attentions, h, padding);
            let [kept, on] = ops::fork(h);
            found.push(kept);
            h = on;
            for up in block.upsamplers.iter().filter(|_| i + 1 < count) {
                let [_, _, height, width] = h.dims();
                h = up.conv.forward_doubled(h, padding, [2 * height, 2 * width]);
            }
        }
        found
    }
}

impl Autoencoder {
    /// What the decoder's first `count` levels make of a latent, coarsest first, in f32; of a vector-quantised model's as if it
    /// were rounded already.
    ///
    /// # Shapes
    ///
    /// `[batch, latent_channels, h, w]` → `[batch, channels, h, w]` of the coarsest level, then of each twice as large
    pub fn levels(&self, z: Tensor<4>, count: usize) -> Vec<Tensor<4>> {
        let z = self.after_quantizing(z.cast(self.dtype()));
        let levels = self.decoder.levels(z, self.padding(), count).into_iter();
        levels.map(|level| level.cast(DType::F32)).collect()
    }
}
