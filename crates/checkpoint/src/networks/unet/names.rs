//! Names of the U-Net.
//!
//! The original network is three flat lists, `input_blocks`, `middle_block` and `output_blocks`; each entry is a short
//! list again: residual block, attention if the level has it, resampling if the level ends. diffusers nests the same
//! modules by level. Source of the original order: `UNetModel.__init__` in CompVis/latent-diffusion
//! `ldm/modules/diffusionmodules/openaimodel.py`.

use crate::names::Table;
use crate::networks::Scheme;

/// The attention of one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attention {
    /// None.
    None,
    /// A spatial transformer; its inner names are the same in both schemes.
    Transformer,
    /// Self-attention alone, whose query, key and value are one stored tensor, stacked once per head.
    Fused {
        /// The number of heads.
        heads: usize,
    },
}

/// What decides the names of a U-Net's parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnetLayout {
    /// Residual blocks per level on the way down, highest resolution first; the way up has one more each.
    pub layers: Vec<usize>,
    /// Attention per level, highest resolution first.
    pub attention: Vec<Attention>,
    /// Attention in the middle.
    pub middle: Attention,
    /// Residual blocks in the middle.
    pub middle_layers: usize,
    /// A vector enters as the embedding of a class, not beside it: the original names are the same.
    pub projected_class: bool,
    /// Resampling by residual blocks instead of plain convolutions.
    pub resample_by_resnet: bool,
}

/// Modules of a residual block: ours, the original's.
const RESNET: [(&str, &str); 6] = [
    ("norm1", "in_layers.0"),
    ("conv1", "in_layers.2"),
    ("norm2", "out_layers.0"),
    ("conv2", "out_layers.3"),
    ("time_emb_proj", "emb_layers.1"),
    ("conv_shortcut", "skip_connection"),
];

/// Modules outside the levels. `class_embedding` as a table of vectors is `label_emb` itself.
const TOP: [(&str, &str); 7] = [
    ("time_embedding.cond_proj", "time_embed.cond_proj"),
    ("time_embedding.linear_1", "time_embed.0"),
    ("time_embedding.linear_2", "time_embed.2"),
    ("class_embedding", "label_emb"),
    ("conv_in", "input_blocks.0.0"),
    ("conv_norm_out", "out.0"),
    ("conv_out", "out.2"),
];

impl UnetLayout {
    /// The table of this layout in `scheme`.
    pub fn table(&self, scheme: Scheme) -> Table {
        match scheme {
            Scheme::Ldm => self.original(),
            Scheme::Diffusers | Scheme::OpenClip => {
                let mut table = Table::default();
                table.pair("", "");
                table
            }
        }
    }

    fn original(&self) -> Table {
        let mut table = Table::default();
        for (ours, theirs) in TOP {
            table.pair(ours, theirs);
        }
        let vector = match self.projected_class {
            true => "class_embedding",
            false => "add_embedding",
        };
        table.pair(format!("{vector}.linear_1"), "label_emb.0.0");
        table.pair(format!("{vector}.linear_2"), "label_emb.0.2");
        let levels = self.layers.len();
        // The first of the way down is the first convolution.
        let mut slot = 1..;
        for (level, &layers) in self.layers.iter().enumerate() {
            let ours = format!("down_blocks.{level}");
            for (layer, slot) in (0..layers).zip(&mut slot) {
                self.block(
                    &mut table,
                    level,
                    layer,
                    [&ours, &format!("input_blocks.{slot}")],
                );
            }
            if level + 1 < levels
                && let Some(slot) = slot.next()
            {
                let places = [
                    format!("{ours}.downsamplers.0"),
                    format!("input_blocks.{slot}.0"),
                ];
                self.resampling(&mut table, places, "op");
            }
        }
        self.original_middle(&mut table);
        let mut slot = 0..;
        for (block, level) in (0..levels).rev().enumerate() {
            let ours = format!("up_blocks.{block}");
            let layers = self.layers[level] + 1;
            for (layer, slot) in (0..layers).zip(&mut slot) {
                let theirs = format!("output_blocks.{slot}");
                self.block(&mut table, level, layer, [&ours, &theirs]);
                if level > 0 && layer + 1 == layers {
                    // The resampling comes after the attention where there is one.
                    let spot = 1 + usize::from(self.attention[level] != Attention::None);
                    let places = [format!("{ours}.upsamplers.0"), format!("{theirs}.{spot}")];
                    self.resampling(&mut table, places, "conv");
                }
            }
        }
        table
    }

    /// A residual block, with attention if the level has it.
    fn block(&self, table: &mut Table, level: usize, layer: usize, [ours, theirs]: [&str; 2]) {
        resnet(
            table,
            &format!("{ours}.resnets.{layer}"),
            &format!("{theirs}.0"),
        );
        let place = (format!("{ours}.attentions.{layer}"), format!("{theirs}.1"));
        attention(table, self.attention[level], place);
    }

    /// `conv` is the original's name of a plain convolution.
    fn resampling(&self, table: &mut Table, [ours, theirs]: [String; 2], conv: &str) {
        match self.resample_by_resnet {
            true => resnet(table, &ours, &theirs),
            false => table.pair(format!("{ours}.conv"), format!("{theirs}.{conv}")),
        }
    }

    fn original_middle(&self, table: &mut Table) {
        let place = ("mid_block.attentions.0".into(), "middle_block.1".into());
        attention(table, self.middle, place);
        for layer in 0..self.middle_layers {
            let slot = match (layer, self.middle) {
                (1.., Attention::Transformer | Attention::Fused { .. }) => layer + 1,
                _ => layer,
            };
            resnet(
                table,
                &format!("mid_block.resnets.{layer}"),
                &format!("middle_block.{slot}"),
            );
        }
    }
}

fn resnet(table: &mut Table, ours: &str, theirs: &str) {
    for (a, b) in RESNET {
        table.pair(format!("{ours}.{a}"), format!("{theirs}.{b}"));
    }
}

fn attention(table: &mut Table, kind: Attention, (ours, theirs): (String, String)) {
    match kind {
        Attention::None => {}
        Attention::Transformer => table.pair(ours, theirs),
        Attention::Fused { heads } => {
            table.pair(format!("{ours}.group_norm"), format!("{theirs}.norm"));
            for (index, part) in ["to_q", "to_k", "to_v"].into_iter().enumerate() {
                let third = (index, heads);
                table.third(
                    format!("{ours}.{part}"),
                    format!("{theirs}.qkv"),
                    third,
                    Some(3),
                );
            }
            table.pair_with_dims(format!("{ours}.to_out.0"), format!("{theirs}.proj_out"), 3);
        }
    }
}
