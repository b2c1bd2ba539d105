//! Names of the CLIP text encoder.
//!
//! Two schemes: transformers' (also in single files of the first generation, where only a prefix differs) and
//! OpenCLIP's, which stacks query, key and value into one `in_proj_weight`.

use crate::names::Table;
use crate::networks::Scheme;

/// What decides the names of a text encoder's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClipLayout {
    /// Transformer layers.
    pub layers: usize,
}

/// Modules outside the layers: transformers' name, OpenCLIP's.
const TOP: [(&str, &str); 3] = [
    ("embeddings.token_embedding", "token_embedding"),
    (
        "embeddings.position_embedding.weight",
        "positional_embedding",
    ),
    ("final_layer_norm", "ln_final"),
];

/// Modules of a layer: transformers' name, OpenCLIP's.
const LAYER: [(&str, &str); 5] = [
    ("layer_norm1", "ln_1"),
    ("layer_norm2", "ln_2"),
    ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
    ("self_attn.out_proj", "attn.out_proj"),
];

/// The module that holds a text encoder's parameters in transformers' files.
pub const TEXT_MODEL: &str = "text_model";

/// The layers in OpenCLIP's files.
pub(in crate::networks) const RESBLOCKS: &str = "transformer.resblocks";

/// The projection of the pooled state.
const PROJECTION: &str = "text_projection";

impl ClipLayout {
    /// The table of this layout in `scheme`.
    pub fn table(&self, scheme: Scheme) -> Table {
        let mut table = Table::default();
        if scheme != Scheme::OpenClip {
            table.pair("", "");
            // Some files leave the module out.
            table.also(TEXT_MODEL, "");
            return table;
        }
        // The same matrix, but multiplied from the other side.
        table.transposed(format!("{PROJECTION}.weight"), PROJECTION);
        for (ours, theirs) in TOP {
            table.pair(format!("{TEXT_MODEL}.{ours}"), theirs);
        }
        let ours = format!("{TEXT_MODEL}.encoder.layers");
        stacked_layers(&mut table, &ours, RESBLOCKS, self.layers);
        table
    }
}

/// Transformer layers `ours`, which stand as `theirs` where query, key and value are stacked as OpenCLIP has them.
pub(in crate::networks) fn stacked_layers(
    table: &mut Table,
    ours: &str,
    theirs: &str,
    layers: usize,
) {
    for layer in 0..layers {
        let ours = format!("{ours}.{layer}");
        let theirs = format!("{theirs}.{layer}");
        for (a, b) in LAYER {
            table.pair(format!("{ours}.{a}"), format!("{theirs}.{b}"));
        }
        for (index, part) in ["q_proj", "k_proj", "v_proj"].into_iter().enumerate() {
            for kind in ["weight", "bias"] {
                table.third(
                    format!("{ours}.self_attn.{part}.{kind}"),
                    format!("{theirs}.attn.in_proj_{kind}"),
                    (index, 1),
                    None,
                );
            }
        }
    }
}
