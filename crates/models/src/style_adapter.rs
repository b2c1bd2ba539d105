//! T2I-Adapters of style: a small transformer that makes of what CLIP sees of a picture a few tokens, which stand behind the
//! prompt's (`StyleAdapter` of TencentARC/T2I-Adapter, `ldm/modules/encoders/adapter.py`). Learnt tokens are appended to the
//! states, and what has become of them behind the last layer is what is taken.

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::clip::{Activation, LayerShape, Sees, Transformer};
use crate::error::{ConfigError, at_least_one, multiple_of};
use crate::layers::{LayerNorm, Linear, parameter};
use crate::unet::UNetConfig;

/// A T2I-Adapter of style.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StyleAdapterConfig {
    /// Width of the states that it reads, and of its layers.
    pub width: usize,
    /// How many tokens a picture becomes.
    pub tokens: usize,
    /// Width of these tokens: the U-Net's context.
    pub context: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width inside the feed-forward layers.
    pub intermediate: usize,
}

impl StyleAdapterConfig {
    /// The network, with parameters that are zeros when read before they are loaded. Allocates nothing.
    ///
    /// The configuration should be [valid](Self::validate).
    pub fn init(&self, device: &Device) -> StyleAdapter {
        let shape = LayerShape {
            width: self.width,
            heads: self.heads,
            intermediate: self.intermediate,
            activation: Activation::QuickGelu,
            causal: false,
        };
        StyleAdapter {
            style_embedding: parameter(device, [1, self.tokens, self.width]),
            ln_pre: LayerNorm::new(device, self.width),
            encoder: Transformer::new(device, shape, self.layers),
            ln_post: LayerNorm::new(device, self.width),
            projection: Linear::new(device, self.width, self.context, false),
            config: self.clone(),
        }
    }

    /// What it reads of a picture.
    pub fn sees(&self) -> Sees {
        Sees::LastStates(self.width)
    }

    /// Why it does not go with a U-Net, as the thing in which they differ; both in words.
    pub fn misfit(&self, unet: &UNetConfig) -> Option<[String; 2]> {
        let words = |width: Option<usize>| match width {
            Some(width) => format!("tokens of width {width}"),
            None => "no tokens".to_owned(),
        };
        let own = Some(self.context);
        (own != unet.context).then(|| [words(own), words(unet.context)])
    }

    /// Checks that the network can be built and run.
    ///
    /// # Errors
    ///
    /// The first field that cannot be, with what it may be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        at_least_one("tokens", self.tokens)?;
        at_least_one("context", self.context)?;
        at_least_one("layers", self.layers)?;
        at_least_one("intermediate", self.intermediate)?;
        at_least_one("heads", self.heads)?;
        multiple_of("width", self.width, self.heads)
    }
}

/// A T2I-Adapter of style, built by [`StyleAdapterConfig::init`].
#[derive(Module, Debug)]
pub struct StyleAdapter {
    /// The learnt tokens, `[1, tokens, width]`.
    pub style_embedding: Param<Tensor<3>>,
    /// Before the first layer.
    pub ln_pre: LayerNorm,
    /// The transformer, with the quick GELU.
    pub encoder: Transformer,
    /// Behind the last layer.
    pub ln_post: LayerNorm,
    /// To the width of the context, without bias.
    pub projection: Linear,
    #[module(skip)]
    config: StyleAdapterConfig,
}

impl StyleAdapter {
    /// What the network is made of.
    pub fn config(&self) -> &StyleAdapterConfig {
        &self.config
    }

    /// The type that the network computes in: that of its parameters.
    pub fn dtype(&self) -> DType {
        self.ln_post.weight.val().dtype()
    }

    /// Tokens of what is seen of pictures, f32.
    ///
    /// # Shapes
    ///
    /// states `[batch, n, width]`, those of CLIP's encoder behind its last layer ([`Sees::LastStates`]) → `[batch, tokens, context]`
    pub fn tokens(&self, states: Tensor<3>) -> Tensor<3> {
        let StyleAdapterConfig {
            width,
            tokens,
            layers,
            ..
        } = self.config;
        let [batch, seen, _] = states.dims();
        let learnt = self.style_embedding.val().expand([batch, tokens, width]);
        let x = Tensor::cat(vec![states.cast(self.dtype()), learnt], 1);
        let x = self.encoder.through(0..layers, self.ln_pre.forward(x));
        let x = self.ln_post.forward(x.narrow(1, seen, tokens));
        self.projection.forward(x).cast(DType::F32)
    }
}
