//! The weights before the first step.

use latent_models::condition::Encoder;
use latent_models::{Conditioner, Denoiser};

use super::LatentModel;
use crate::{Error, Fill, initialise, torch_default};

impl LatentModel {
    /// With the values that training begins with, as the published code has them: a block of the denoiser is the identity.
    /// But embeddings of tokens have a deviation of 1 in the place of 0.02, which drowns in what the layers of the text
    /// encoder add: two captions that differ in one word then differ by 4 % of the context's norm, not by 35 %.
    ///
    /// # Errors
    /// Never in practice: see [`initialise`].
    pub fn initialised(self, seed: u64) -> Result<Self, Error> {
        let class = matches!(
            &self.conditioner,
            Some(Conditioner {
                encoder: Encoder::Class(_),
                ..
            })
        );
        let rest = torch_default(&self, &[]);
        let transformer = matches!(self.unet, Denoiser::Transformer(_));
        let rule = |name: &str, shape: &[usize]| {
            if let Some(name) = name.strip_prefix("unet.").filter(|_| transformer) {
                return of_transformer(name, shape);
            }
            let unet = name.starts_with("unet.");
            let ends = |layer: &str| {
                name.rsplit_once('.')
                    .is_some_and(|(path, _)| path.ends_with(layer))
            };
            let plain = name.contains("attentions.") && !name.contains("transformer_blocks");
            if unet
                && (ends("conv2")
                    || ends("proj_out")
                    || ends("conv_out")
                    || plain && ends("to_out.0"))
            {
                Fill::Constant(0.0)
            } else if name.ends_with("token_emb.weight") {
                Fill::Normal(1.0)
            } else if name.contains("_emb.") {
                Fill::Normal(0.02)
            } else if class && name == "conditioner.encoder.weight" {
                Fill::Normal(1.0)
            } else {
                rest(name, shape)
            }
        };
        // The rule borrows the names of this module, and the module moves.
        Ok(initialise(self, seed, &rule)?)
    }
}

/// How the published code begins (Peebles and Xie, arXiv 2212.09748, section 3.2; where blocks share a modulation or look at a
/// context, Chen et al., arXiv 2310.00426): linear layers by Xavier's rule with biases of zero, embedders and what all blocks
/// share with a deviation of 0.02, tables of modulations with one of 1/√width. Zero is what makes a block the identity or the
/// network's answer nothing: layers that modulate one block, what attention on the context gives, the last layer.
fn of_transformer(name: &str, shape: &[usize]) -> Fill {
    let (layer, kind) = name.rsplit_once('.').unwrap_or(("", name));
    let ends = |end: &str| layer.ends_with(end);
    match shape {
        _ if kind == "scale_shift_table" => {
            let width = shape.last().copied().unwrap_or(1);
            Fill::Normal(1.0 / (width as f64).sqrt())
        }
        [_] if ends(".ln_q") || ends(".ln_k") => Fill::Constant(1.0),
        [_] => Fill::Constant(0.0),
        _ if layer.contains("adaLN_modulation")
            || ends("cross_attn.proj")
            || layer == "final_layer.linear" =>
        {
            Fill::Constant(0.0)
        }
        _ if ["t_embedder.", "y_embedder.", "t_block."]
            .iter()
            .any(|start| name.starts_with(start)) =>
        {
            Fill::Normal(0.02)
        }
        // Of a convolution over patches as of the linear layer that it is.
        [output, inputs @ ..] => {
            let input: usize = inputs.iter().product();
            Fill::Uniform((6.0 / (input + output) as f64).sqrt())
        }
        [] => Fill::Constant(0.0),
    }
}
