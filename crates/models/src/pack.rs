//! Networks whose weights lie as the CPU's kernels read them.
//!
//! Packing trades the parameters of linear layers and convolutions for the packed form, one layer at
//! a time, so that weights are held once. A packed network runs and can no longer be trained, saved
//! or cast. Where there are no kernels (on a GPU) it stays as it is.

use latent_ops::Form;

use crate::autoencoder::{Autoencoder, DecoderBlock, EncoderBlock, Middle};
use crate::clip::{ClipText, Layer as ClipLayer, Mlp, SelfAttention};
use crate::layers::{Conv2d, Linear};
use crate::unet::{
    AttentionBlock, CrossAttention, FeedForward, PixelProjection, PlainAttention, ResampleConv,
    Resampler, Resnet, SpatialTransformer, TimestepEmbedding, TransformerBlock, UNet,
};

/// How to pack the layers of one part of a network.
#[derive(Clone, Copy)]
struct Plan {
    form: Form,
    /// Pixels of a picture there.
    pixels: usize,
}

trait Pack {
    fn pack(&mut self, plan: Plan);
}

impl Pack for Linear {
    fn pack(&mut self, plan: Plan) {
        Linear::pack(self, plan.form, false);
    }
}

impl Pack for Conv2d {
    fn pack(&mut self, plan: Plan) {
        Conv2d::pack(self, plan.form, plan.pixels);
    }
}

impl Pack for FeedForward {
    fn pack(&mut self, plan: Plan) {
        self.net.0.proj.pack(plan.form, true);
        Pack::pack(&mut self.net.2, plan);
    }
}

impl<T: Pack> Pack for Vec<T> {
    fn pack(&mut self, plan: Plan) {
        self.iter_mut().for_each(|t| t.pack(plan));
    }
}

impl<T: Pack> Pack for Option<T> {
    fn pack(&mut self, plan: Plan) {
        self.iter_mut().for_each(|t| t.pack(plan));
    }
}

impl Pack for PixelProjection {
    fn pack(&mut self, plan: Plan) {
        match self {
            Self::Conv(conv) => Pack::pack(conv, plan),
            Self::Linear(linear) => Pack::pack(linear, plan),
        }
    }
}

impl Pack for AttentionBlock {
    fn pack(&mut self, plan: Plan) {
        match self {
            Self::Plain(plain) => plain.pack(plan),
            Self::Transformer(transformer) => transformer.pack(plan),
        }
    }
}

impl Pack for Resampler {
    fn pack(&mut self, plan: Plan) {
        match self {
            Self::Conv(conv) => conv.pack(plan),
            Self::Resnet(resnet) => resnet.pack(plan),
        }
    }
}

/// A struct is packed field by field.
macro_rules! fields {
    ($($name:ident: $($field:ident),+;)+) => {
        $(impl Pack for $name {
            fn pack(&mut self, plan: Plan) {
                $(Pack::pack(&mut self.$field, plan);)+
            }
        })+
    };
}

fields! {
    Resnet: conv1, time_emb_proj, conv2, conv_shortcut;
    ResampleConv: conv;
    CrossAttention: to_q, to_k, to_v, to_out;
    TransformerBlock: attn1, attn2, ff;
    SpatialTransformer: proj_in, transformer_blocks, proj_out;
    PlainAttention: to_q, to_k, to_v, to_out;
    TimestepEmbedding: linear_1, linear_2;
    EncoderBlock: resnets, attentions, downsamplers;
    DecoderBlock: resnets, attentions;
    Middle: resnets, attentions;
    SelfAttention: q_proj, k_proj, v_proj, out_proj;
    Mlp: fc1, fc2;
    ClipLayer: self_attn, mlp;
}

impl UNet {
    /// The network with packed weights, for latents of about `size` (height, width).
    ///
    /// The first and the last convolution and the embeddings stay at the network's own type
    /// whatever the form: they are a thousandth of the work, and most of the error.
    pub fn packed(mut self, form: Form, [height, width]: [usize; 2]) -> Self {
        let at = |level: usize| Plan {
            form,
            pixels: (height >> level) * (width >> level),
        };
        let whole = Plan {
            form: Form::Plain,
            ..at(0)
        };
        Pack::pack(&mut self.conv_in, whole);
        Pack::pack(&mut self.conv_out, whole);
        Pack::pack(&mut self.time_embedding, whole);
        Pack::pack(&mut self.add_embedding, whole);
        for (level, block) in self.down_blocks.iter_mut().enumerate() {
            block.resnets.pack(at(level));
            block.attentions.pack(at(level));
            block.downsamplers.pack(at(level + 1));
        }
        let coarsest = self.down_blocks.len().saturating_sub(1);
        self.mid_block.resnets.pack(at(coarsest));
        self.mid_block.attentions.pack(at(coarsest));
        for (i, block) in self.up_blocks.iter_mut().enumerate() {
            let level = coarsest.saturating_sub(i);
            block.resnets.pack(at(level));
            block.attentions.pack(at(level));
            block.upsamplers.pack(at(level.saturating_sub(1)));
        }
        self
    }
}

impl Autoencoder {
    /// The network with packed weights, for latents of about `size` (height, width).
    pub fn packed(mut self, form: Form, [height, width]: [usize; 2]) -> Self {
        let levels = self.decoder.up_blocks.len();
        // Counted from the coarsest level.
        let at = |level: usize| Plan {
            form,
            pixels: (height << level) * (width << level),
        };
        let whole = |level: usize| Plan {
            form: Form::Plain,
            ..at(level)
        };
        let finest = levels.saturating_sub(1);
        Pack::pack(&mut self.decoder.conv_in, whole(0));
        self.decoder.mid_block.pack(at(0));
        for (level, block) in self.decoder.up_blocks.iter_mut().enumerate() {
            block.pack(at(level));
            block.upsamplers.pack(at(level + 1));
        }
        Pack::pack(&mut self.decoder.conv_out, whole(finest));
        Pack::pack(&mut self.encoder.conv_in, whole(finest));
        for (i, block) in self.encoder.down_blocks.iter_mut().enumerate() {
            block.pack(at(finest - i));
        }
        self.encoder.mid_block.pack(at(0));
        Pack::pack(&mut self.encoder.conv_out, whole(0));
        Pack::pack(&mut self.quant_conv, whole(0));
        Pack::pack(&mut self.post_quant_conv, whole(0));
        self
    }
}

impl ClipText {
    /// The network with packed weights. A text is encoded once, so it is never worth eight bits.
    pub fn packed(mut self) -> Self {
        let plan = Plan {
            form: Form::Plain,
            pixels: 1,
        };
        self.text_model.encoder.layers.pack(plan);
        Pack::pack(&mut self.text_projection, plan);
        self
    }
}
