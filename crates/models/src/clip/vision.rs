//! The encoder of pictures: a transformer over patches.

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor};
use latent_ops::{self as ops, ConvShape, Padding};
use serde::{Deserialize, Serialize};

use super::transformer::{Activation, LayerShape, Transformer};
use crate::error::{ConfigError, at_least_one, multiple_of};
use crate::layers::{Conv2d, Embedding, LayerNorm, Linear, parameter};
use crate::walk::layers;

/// A CLIP encoder of pictures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipVisionConfig {
    /// Side of a picture in pixels: 224 in every published model that diffusion uses.
    pub image: usize,
    /// Side of a patch in pixels; it divides `image`.
    pub patch: usize,
    /// Width of a token.
    pub width: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width inside the feed-forward layers.
    pub intermediate: usize,
    /// Activation of the feed-forward layers.
    pub activation: Activation,
    /// Width of a picture's embedding.
    pub projection: usize,
}

impl ClipVisionConfig {
    /// The network, with parameters that are zeros when read before they are loaded. Allocates
    /// nothing.
    ///
    /// The configuration should be [valid](Self::validate): the network of another panics when it
    /// is run.
    pub fn init(&self, device: &Device) -> ClipVision {
        let shape = LayerShape {
            width: self.width,
            heads: self.heads,
            intermediate: self.intermediate,
            activation: self.activation,
            causal: false,
        };
        let patches = ConvShape {
            stride: self.patch,
            padding: [0; 4],
        };
        let patch_embedding = Conv2d::with_shape(device, 3, self.width, self.patch, patches);
        ClipVision {
            vision_model: VisionModel {
                embeddings: VisionEmbeddings {
                    class_embedding: parameter(device, [self.width]),
                    patch_embedding: patch_embedding.without_bias(),
                    position_embedding: Embedding::new(device, self.tokens(), self.width),
                },
                pre_layrnorm: LayerNorm::new(device, self.width),
                encoder: Transformer::new(device, shape, self.layers),
                post_layernorm: LayerNorm::new(device, self.width),
            },
            visual_projection: Linear::new(device, self.width, self.projection, false),
            config: self.clone(),
        }
    }

    /// Whether it gives that.
    pub fn gives(&self, sees: Sees) -> bool {
        match sees {
            Sees::Embedding(width) => width == self.projection,
            Sees::States(width) | Sees::LastStates(width) => width == self.width,
        }
    }

    /// The patches and one token for the whole picture.
    fn tokens(&self) -> usize {
        1 + (self.image / self.patch.max(1)).pow(2)
    }

    /// Checks that the network can be built and run.
    ///
    /// # Errors
    ///
    /// The first field that cannot be, with what it may be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        at_least_one("patch", self.patch)?;
        multiple_of("image", self.image, self.patch)?;
        at_least_one("layers", self.layers)?;
        at_least_one("intermediate", self.intermediate)?;
        at_least_one("projection", self.projection)?;
        at_least_one("heads", self.heads)?;
        multiple_of("width", self.width, self.heads)
    }
}

/// What is taken of an encoder of pictures, and its width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sees {
    /// Its embedding.
    Embedding(usize),
    /// Its states before the last layer.
    States(usize),
    /// Its states behind the last layer, without the norm that the embedding has.
    LastStates(usize),
}

/// A CLIP encoder of pictures, built by [`ClipVisionConfig::init`].
#[derive(Module, Debug)]
pub struct ClipVision {
    /// Everything but the projection.
    pub vision_model: VisionModel,
    /// Of the pooled state, without bias.
    pub visual_projection: Linear,
    #[module(skip)]
    config: ClipVisionConfig,
}

/// Embeddings, layers, norms before and after.
#[derive(Module, Debug)]
pub struct VisionModel {
    /// Of patches and positions.
    pub embeddings: VisionEmbeddings,
    /// Before the first layer; the name is that of the published files.
    pub pre_layrnorm: LayerNorm,
    /// The transformer.
    pub encoder: Transformer,
    /// Of the first token after the last layer.
    pub post_layernorm: LayerNorm,
}

/// Embeddings of patches and of their positions, which are added.
#[derive(Module, Debug)]
pub struct VisionEmbeddings {
    /// The first token, `[width]`.
    pub class_embedding: Param<Tensor<1>>,
    /// Patch by patch, without bias.
    pub patch_embedding: Conv2d,
    /// By position, the first token's first.
    pub position_embedding: Embedding,
}

impl ClipVision {
    /// What the network is made of.
    pub fn config(&self) -> &ClipVisionConfig {
        &self.config
    }

    /// The type that the network computes in: that of its parameters.
    pub fn dtype(&self) -> DType {
        self.vision_model.post_layernorm.weight.val().dtype()
    }

    /// The pictures' embeddings, f32: the state of the first token, normalised and projected.
    ///
    /// # Shapes
    ///
    /// pixels `[batch, 3, image, image]`, red, green, blue, each less its mean and divided by its
    /// deviation as the model was trained → `[batch, projection]`
    ///
    /// # Panics
    ///
    /// Where the shape differs from this; callers resize pictures.
    pub fn forward(&self, pixels: Tensor<4>) -> Tensor<2> {
        let states = self.through(pixels, self.config.layers);
        let norm = &self.vision_model.post_layernorm;
        let first = norm.forward(states.narrow(1, 0, 1));
        self.visual_projection
            .forward(first.squeeze_dim::<2>(1))
            .cast(DType::F32)
    }

    /// The states before the last layer, f32: of the whole picture, then of each patch.
    ///
    /// # Shapes
    ///
    /// pixels as [`forward`](Self::forward) takes them → `[batch, 1 + patches, width]`
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward).
    pub fn states(&self, pixels: Tensor<4>) -> Tensor<3> {
        let layers = self.config.layers.saturating_sub(1);
        self.through(pixels, layers).cast(DType::F32)
    }

    /// The states behind the last layer, f32, without the norm that the embedding has: of the whole picture, then of each patch.
    ///
    /// # Shapes
    ///
    /// As [`states`](Self::states).
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward).
    pub fn last_states(&self, pixels: Tensor<4>) -> Tensor<3> {
        self.through(pixels, self.config.layers).cast(DType::F32)
    }

    /// What of it is asked for, f32: `[batch, 1, projection]`, or states as [`states`](Self::states) gives them.
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward).
    pub fn seen(&self, pixels: Tensor<4>, sees: Sees) -> Tensor<3> {
        match sees {
            Sees::Embedding(_) => self.forward(pixels).unsqueeze_dim(1),
            Sees::States(_) => self.states(pixels),
            Sees::LastStates(_) => self.last_states(pixels),
        }
    }

    /// The states after so many layers.
    fn through(&self, pixels: Tensor<4>, layers: usize) -> Tensor<3> {
        let model = &self.vision_model;
        let embeddings = &model.embeddings;
        let [batch, ..] = pixels.dims();
        let width = self.config.width;
        let pixels = pixels.cast(self.dtype());
        let patches = embeddings.patch_embedding.forward(pixels, Padding::Zero);
        let first = embeddings.class_embedding.val();
        let first = first.reshape([1, 1, width]).expand([batch, 1, width]);
        let tokens = Tensor::cat(vec![first, ops::to_tokens(patches)], 1);
        let positions = embeddings.position_embedding.weight.val();
        let tokens = model.pre_layrnorm.forward(tokens + positions.unsqueeze());
        model.encoder.through(0..layers, tokens)
    }
}

layers!(VisionEmbeddings { patch_embedding, position_embedding; class_embedding });
layers!(VisionModel {
    embeddings,
    pre_layrnorm,
    encoder,
    post_layernorm
});
layers!(ClipVision { vision_model, visual_projection; config });
