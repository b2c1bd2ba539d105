//! Networks whose weights lie as the CPU's kernels read them.
//!
//! Packing trades the parameters of linear layers and convolutions for the packed form, one layer at
//! a time, so that weights are held once. A packed network runs and can no longer be trained, saved
//! or cast. Where there are no kernels (on a GPU) it stays as it is.

use latent_ops::Form;

use crate::autoencoder::{Autoencoder, AutoencoderTiny};
use crate::clip::{ClipText, ClipVision};
use crate::controlnet::ControlNet;
use crate::hypernetwork::Hypernetwork;
use crate::transformer::Transformer;
use crate::unet::UNet;
use crate::walk::{Layer, Layers};

/// How to pack a layer.
#[derive(Clone, Copy)]
struct Plan {
    form: Form,
    /// Pixels of a picture there.
    pixels: usize,
}

/// Which layers are packed, by their path.
type Chosen<'a> = &'a dyn Fn(&str) -> bool;

/// All of them.
const ALL: Chosen<'static> = &|_| true;

/// Packs the chosen layers, each by the plan for its path.
fn pack<N: Layers>(mut network: N, chosen: Chosen<'_>, plan: impl Fn(&str) -> Plan) -> N {
    network.each_layer(&mut |path, layer| {
        if !chosen(path) {
            return;
        }
        let Plan { form, pixels } = plan(path);
        match layer {
            Layer::Linear(linear) => linear.pack(form),
            Layer::Conv(conv) => conv.pack(form, pixels),
        }
    });
    network
}

/// The first two names of a path, the second as a number, and the third: `up_blocks`, 2, `resnets`.
fn place(path: &str) -> (&str, usize, &str) {
    let mut names = path.split('.');
    let block = names.next().unwrap_or_default();
    let number = names.next().and_then(|name| name.parse().ok());
    (block, number.unwrap_or(0), names.next().unwrap_or_default())
}

impl ControlNet {
    /// The network with packed weights, for latents of about `size` (height, width).
    ///
    /// What reads the picture, once, and the first convolution and the embeddings stay at the network's own type whatever
    /// the form.
    pub fn packed(self, form: Form, [height, width]: [usize; 2]) -> Self {
        let at = |level: usize| Plan {
            form,
            pixels: (height >> level) * (width >> level),
        };
        let levels = &self.config().unet.levels;
        let coarsest = levels.len().saturating_sub(1);
        // The level of each tensor that the U-Net keeps.
        let levels = levels.iter().enumerate();
        let kept = levels.flat_map(|(i, level)| vec![i; level.resblocks + 1]);
        let kept: Vec<usize> = kept.collect();
        pack(self, ALL, |path| match place(path) {
            ("down_blocks", level, "downsamplers") => at(level + 1),
            ("down_blocks", level, _) => at(level),
            ("mid_block", ..) | ("controlnet_mid_block", ..) => at(coarsest),
            ("controlnet_down_blocks", i, _) => at(kept.get(i).copied().unwrap_or(coarsest)),
            _ => Plan {
                form: Form::Plain,
                ..at(0)
            },
        })
    }
}

impl UNet {
    /// The network with packed weights, for latents of about `size` (height, width).
    ///
    /// The first and the last convolution and the embeddings stay at the network's own type
    /// whatever the form: they are a thousandth of the work, and most of the error.
    pub fn packed(self, form: Form, size: [usize; 2]) -> Self {
        self.packed_some(form, size, ALL)
    }

    /// [`packed`](Self::packed) of the layers for which `chosen` holds, by their dotted path: the others may be without storage.
    pub fn packed_some(self, form: Form, [height, width]: [usize; 2], chosen: Chosen<'_>) -> Self {
        let at = |level: usize| Plan {
            form,
            pixels: (height >> level) * (width >> level),
        };
        let coarsest = self.config().levels.len().saturating_sub(1);
        pack(self, chosen, |path| match place(path) {
            ("down_blocks", level, "downsamplers") => at(level + 1),
            ("down_blocks", level, _) => at(level),
            ("mid_block", ..) => at(coarsest),
            ("up_blocks", i, "upsamplers") => at(coarsest.saturating_sub(i + 1)),
            ("up_blocks", i, _) => at(coarsest.saturating_sub(i)),
            _ => Plan {
                form: Form::Plain,
                ..at(0)
            },
        })
    }
}

impl Transformer {
    /// The network with packed weights.
    ///
    /// What embeds and what modulates stays at the network's own type whatever the form, and so does the last layer: they are
    /// a small part of the work, and most of the error.
    pub fn packed(self, form: Form) -> Self {
        self.packed_some(form, ALL)
    }

    /// [`packed`](Self::packed) of the layers for which `chosen` holds, by their dotted path: the others may be without storage.
    pub fn packed_some(self, form: Form, chosen: Chosen<'_>) -> Self {
        pack(self, chosen, |path| Plan {
            form: match place(path) {
                ("blocks", _, "attn" | "cross_attn" | "mlp") => form,
                _ => Form::Plain,
            },
            pixels: 1,
        })
    }
}

impl Autoencoder {
    /// The network with packed weights, for latents of about `size` (height, width).
    ///
    /// The convolutions at its ends stay at the network's own type whatever the form.
    pub fn packed(self, form: Form, [height, width]: [usize; 2]) -> Self {
        // Counted from the coarsest level.
        let at = |level: usize| Plan {
            form,
            pixels: (height << level) * (width << level),
        };
        let whole = |level: usize| Plan {
            form: Form::Plain,
            ..at(level)
        };
        let finest = self.config().levels.len().saturating_sub(1);
        pack(self, ALL, |path| {
            let (half, rest) = path.split_once('.').unwrap_or((path, ""));
            match (half, place(rest)) {
                ("decoder", ("up_blocks", level, "upsamplers")) => at(level + 1),
                ("decoder", ("up_blocks", level, _)) => at(level),
                ("encoder", ("down_blocks", i, _)) => at(finest.saturating_sub(i)),
                (_, ("mid_block", ..)) => at(0),
                ("decoder", ("conv_out", ..)) | ("encoder", ("conv_in", ..)) => whole(finest),
                _ => whole(0),
            }
        })
    }
}

impl AutoencoderTiny {
    /// The network with packed weights, for latents of about `size` (height, width). Its layers are
    /// too narrow to be worth eight bits.
    pub fn packed(self, [height, width]: [usize; 2]) -> Self {
        pack(self, ALL, |_| Plan {
            form: Form::Plain,
            // No layer has fewer.
            pixels: height * width,
        })
    }
}

/// For a network that runs once for a text or a picture, or is small, which is never worth eight bits.
const ONCE: Plan = Plan {
    form: Form::Plain,
    pixels: 1,
};

impl ClipText {
    /// The network with packed weights.
    pub fn packed(self) -> Self {
        self.packed_some(ALL)
    }

    /// [`packed`](Self::packed) of the layers for which `chosen` holds, by their dotted path: the others may be without storage.
    pub fn packed_some(self, chosen: Chosen<'_>) -> Self {
        pack(self, chosen, |_| ONCE)
    }
}

impl ClipVision {
    /// The network with packed weights.
    pub fn packed(self) -> Self {
        pack(self, ALL, |_| ONCE)
    }
}

impl Hypernetwork {
    /// The network with packed weights. It changes what large layers read, and stays at its own type.
    pub fn packed(self) -> Self {
        pack(self, ALL, |_| ONCE)
    }
}
