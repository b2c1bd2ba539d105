//! Names of the autoencoder, continuous (KL) or with a codebook (VQ).
//!
//! The original decoder numbers its levels from the highest resolution (`decoder.up.0` runs last); diffusers numbers
//! them in the order in which they run. Source: `Encoder` and `Decoder` in CompVis/latent-diffusion
//! `ldm/modules/diffusionmodules/model.py`.

use crate::names::Table;
use crate::networks::Scheme;

/// What decides the names of an autoencoder's parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutoencoderLayout {
    /// Residual blocks per level in the encoder; the decoder has one more.
    pub layers: usize,
    /// Whether a level has attention, highest resolution first.
    pub attention: Vec<bool>,
}

/// Modules of the attention block: ours, the original's, those of diffusers before 0.15 (February 2023).
const ATTENTION: [(&str, &str, &str); 5] = [
    ("group_norm", "norm", "group_norm"),
    ("to_q", "q", "query"),
    ("to_k", "k", "key"),
    ("to_v", "v", "value"),
    ("to_out.0", "proj_out", "proj_attn"),
];

impl AutoencoderLayout {
    /// The table of this layout in `scheme`.
    pub fn table(&self, scheme: Scheme) -> Table {
        let mut table = Table::default();
        let original = scheme == Scheme::Ldm;
        let sides = [
            ("encoder", "down_blocks", "downsamplers", self.layers),
            ("decoder", "up_blocks", "upsamplers", self.layers + 1),
        ];
        if original {
            for name in ["quant_conv", "post_quant_conv", "quantize.embedding"] {
                table.pair(name, name);
            }
        } else {
            table.pair("", "");
        }
        for (side, blocks, resample, layers) in sides {
            if original {
                for name in ["conv_in", "conv_out"] {
                    table.pair(format!("{side}.{name}"), format!("{side}.{name}"));
                }
                table.pair(format!("{side}.conv_norm_out"), format!("{side}.norm_out"));
                for index in 0..2 {
                    resnet(
                        &mut table,
                        &format!("{side}.mid_block.resnets.{index}"),
                        &format!("{side}.mid.block_{}", index + 1),
                    );
                }
            }
            attention(
                &mut table,
                original,
                &format!("{side}.mid_block.attentions.0"),
                &format!("{side}.mid.attn_1"),
            );
            for block in 0..self.attention.len() {
                let down = side == "encoder";
                let level = if down {
                    block
                } else {
                    self.attention.len() - 1 - block
                };
                let ours = format!("{side}.{blocks}.{block}");
                let (word, sampler) = if down {
                    ("down", "downsample")
                } else {
                    ("up", "upsample")
                };
                let theirs = format!("{side}.{word}.{level}");
                for layer in 0..layers {
                    if original {
                        resnet(
                            &mut table,
                            &format!("{ours}.resnets.{layer}"),
                            &format!("{theirs}.block.{layer}"),
                        );
                    }
                    if self.attention[level] {
                        attention(
                            &mut table,
                            original,
                            &format!("{ours}.attentions.{layer}"),
                            &format!("{theirs}.attn.{layer}"),
                        );
                    }
                }
                if original {
                    table.pair(
                        format!("{ours}.{resample}.0"),
                        format!("{theirs}.{sampler}"),
                    );
                }
            }
        }
        table
    }
}

fn resnet(table: &mut Table, ours: &str, theirs: &str) {
    for name in ["norm1", "conv1", "norm2", "conv2"] {
        table.pair(format!("{ours}.{name}"), format!("{theirs}.{name}"));
    }
    table.pair(
        format!("{ours}.conv_shortcut"),
        format!("{theirs}.nin_shortcut"),
    );
}

fn attention(table: &mut Table, original: bool, ours: &str, theirs: &str) {
    for (new, first, old) in ATTENTION {
        let parameter = format!("{ours}.{new}");
        match (original, first) {
            (true, "norm") => {
                table.pair(parameter.clone(), format!("{theirs}.norm"));
                // A repackaged file of 2022 mixes diffusers' word into the original names.
                table.also(parameter, format!("{theirs}.{new}"));
            }
            // Single-file checkpoints keep these matrices as 1×1 convolutions.
            (true, _) => table.pair_with_dims(parameter, format!("{theirs}.{first}"), 4),
            (false, "norm") => table.also(parameter, format!("{ours}.{first}")),
            (false, _) => table.also(parameter, format!("{ours}.{old}")),
        }
    }
}
