//! A denoiser, whatever it is made of: what goes in and out is one thing for all of them.
//!
//! What only one kind has (a U-Net's levels, its edges that wrap around) is asked of that kind, and whoever wants it of
//! another is refused before. Rejected: a trait, whose implementations would each repeat what the derives give an `enum`
//! (parameters by their names, packing).

mod given;
mod input;

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor};
use latent_ops::{Form, Padding};

pub(crate) use given::Shifts;
pub use given::{Given, GivenError, GivenStates};
pub use input::{Input, Output};

use crate::error::ConfigError;
use crate::hypernetwork::Bend;
use crate::transformer::{Transformer, TransformerConfig};
use crate::unet::{Labels, Resample, Spot, UNet, UNetConfig};
use crate::walk::layers;

/// What goes into a denoiser and comes out, beside the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface {
    /// Channels that enter: the latent's and any that are concatenated to it.
    pub in_channels: usize,
    /// Channels that leave.
    pub out_channels: usize,
    /// Width of the context tokens.
    pub context: Option<usize>,
    /// What is added to the time embedding.
    pub labels: Labels,
    /// Width of the embedding of a guidance scale.
    pub guidance: Option<usize>,
}

/// What a [`Denoiser`] is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "a model has one")]
pub enum DenoiserConfig {
    /// A U-Net.
    Unet(UNetConfig),
    /// A transformer over patches.
    Transformer(TransformerConfig),
}

impl From<UNetConfig> for DenoiserConfig {
    fn from(config: UNetConfig) -> Self {
        Self::Unet(config)
    }
}

impl From<TransformerConfig> for DenoiserConfig {
    fn from(config: TransformerConfig) -> Self {
        Self::Transformer(config)
    }
}

impl DenoiserConfig {
    /// The network, with parameters that are zeros when read before they are loaded. Allocates nothing.
    pub fn init(&self, device: &Device) -> Denoiser {
        match self {
            Self::Unet(config) => Denoiser::UNet(config.init(device)),
            Self::Transformer(config) => Denoiser::Transformer(config.init(device)),
        }
    }

    /// What goes in and out.
    pub fn interface(&self) -> Interface {
        match self {
            Self::Unet(config) => config.interface(),
            Self::Transformer(config) => config.interface(),
        }
    }

    /// What it is made of, where that is a U-Net.
    pub fn unet(&self) -> Option<&UNetConfig> {
        match self {
            Self::Unet(config) => Some(config),
            Self::Transformer(_) => None,
        }
    }

    /// What it is made of, where that is a transformer.
    pub fn transformer(&self) -> Option<&TransformerConfig> {
        match self {
            Self::Transformer(config) => Some(config),
            Self::Unet(_) => None,
        }
    }

    /// Its name in settings.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unet(_) => "unet",
            Self::Transformer(_) => "transformer",
        }
    }

    /// What the latent's height and width must be multiples of.
    pub fn multiple(&self) -> usize {
        match self {
            Self::Unet(config) if config.resample == Resample::Resnet => config.downsampling(),
            Self::Unet(_) => 1,
            Self::Transformer(config) => config.patch,
        }
    }

    /// Channels of the first layer's output, and how many latent numbers along each side go into one of its places.
    pub fn first_layer(&self) -> (usize, usize) {
        match self {
            Self::Unet(config) => (config.model_channels, 1),
            Self::Transformer(config) => (config.width, config.patch),
        }
    }

    /// Channels of the states after each block, in the order in which blocks are computed.
    pub fn blocks(&self) -> Vec<usize> {
        match self {
            Self::Unet(config) => config.blocks(),
            Self::Transformer(config) => vec![config.width; config.depth],
        }
    }

    /// The block, counted from 1, whose states say most of what is in a picture: the [middle](UNetConfig::middle_block) of a
    /// U-Net, and a third of the way through a transformer (Yu et al., 2410.06940, section 4).
    pub fn semantic_block(&self) -> usize {
        match self {
            Self::Unet(config) => config.middle_block(),
            Self::Transformer(config) => config.depth.div_ceil(3),
        }
    }

    /// Checks that the network can be built and run.
    ///
    /// # Errors
    ///
    /// The first field that cannot be, with what it may be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        match self {
            Self::Unet(config) => config.validate(),
            Self::Transformer(config) => config.validate(),
        }
    }
}

/// A network that predicts noise (or velocity, or the picture), built by [`DenoiserConfig::init`].
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant, reason = "a model holds one")]
pub enum Denoiser {
    /// A U-Net.
    UNet(UNet),
    /// A transformer over patches.
    Transformer(Transformer),
}

impl From<UNet> for Denoiser {
    fn from(network: UNet) -> Self {
        Self::UNet(network)
    }
}

impl From<Transformer> for Denoiser {
    fn from(network: Transformer) -> Self {
        Self::Transformer(network)
    }
}

/// Runs an expression on the network, whatever it is.
macro_rules! each {
    ($denoiser:expr, $network:ident => $value:expr) => {
        match $denoiser {
            Denoiser::UNet($network) => $value,
            Denoiser::Transformer($network) => $value,
        }
    };
}

impl Denoiser {
    /// What the network is made of.
    pub fn config(&self) -> DenoiserConfig {
        each!(self, network => network.config().clone().into())
    }

    /// What goes in and out.
    pub fn interface(&self) -> Interface {
        each!(self, network => network.config().interface())
    }

    /// The type that the network computes in: that of its parameters.
    pub fn dtype(&self) -> DType {
        each!(self, network => network.dtype())
    }

    /// Where it computes.
    pub fn device(&self) -> Device {
        each!(self, network => network.device())
    }

    /// The network with packed weights, for latents of about `size` (height, width).
    pub fn packed(self, form: Form, size: [usize; 2]) -> Self {
        match self {
            Self::UNet(network) => Self::UNet(network.packed(form, size)),
            Self::Transformer(network) => Self::Transformer(network.packed(form)),
        }
    }

    /// [`packed`](Self::packed) of the layers for which `chosen` holds, by their dotted path: the others may be without storage.
    pub fn packed_some(self, form: Form, size: [usize; 2], chosen: &dyn Fn(&str) -> bool) -> Self {
        match self {
            Self::UNet(network) => Self::UNet(network.packed_some(form, size, chosen)),
            Self::Transformer(network) => Self::Transformer(network.packed_some(form, chosen)),
        }
    }

    /// A U-Net with another treatment of the picture's edges. A transformer sees none beyond them, so there is nothing to
    /// treat: who asks it for tileable pictures is to be refused.
    pub fn with_padding(self, padding: Padding) -> Self {
        match self {
            Self::UNet(network) => Self::UNet(network.with_padding(padding)),
            other => other,
        }
    }

    /// A U-Net with hypernetworks that [bend](UNet::with_bends) what its attentions read. They are made for U-Nets: who asks for
    /// one with a transformer is to be refused.
    pub fn with_bends(self, bends: Vec<Bend>) -> Self {
        match self {
            Self::UNet(network) => Self::UNet(network.with_bends(bends)),
            other => other,
        }
    }

    /// Whether there is an attention that [`Alter`](crate::unet::Alter) changes at such a place; never in a transformer.
    pub fn attends_at(&self, spot: Spot) -> bool {
        match self {
            Self::UNet(network) => network.attends_at(spot),
            Self::Transformer(_) => false,
        }
    }

    /// The network's prediction, in f32. `t` is the training step, which may be fractional.
    ///
    /// # Shapes
    ///
    /// - x `[batch, in_channels, height, width]`, t `[batch]`; [`Given`] has its own
    /// - output `[batch, out_channels, height, width]`; height and width multiples of [`DenoiserConfig::multiple`]
    ///
    /// # Errors
    ///
    /// As [`prepare`](Self::prepare).
    pub fn forward(
        &self,
        x: Tensor<4>,
        t: Tensor<1>,
        given: Given,
    ) -> Result<Tensor<4>, GivenError> {
        Ok(self.forward_seen(x, t, given, None)?.0)
    }

    /// [`forward`](Self::forward), and what the block number `states` gave, counted from 1 as [`DenoiserConfig::blocks`] does.
    ///
    /// # Shapes
    ///
    /// As [`forward`](Self::forward); states `[batch, channels, h, w]`, in the type of the network: of a level of a U-Net, of the
    /// patches of a transformer
    ///
    /// # Errors
    ///
    /// As [`prepare`](Self::prepare).
    pub fn forward_seen(
        &self,
        x: Tensor<4>,
        t: Tensor<1>,
        given: Given,
        states: Option<usize>,
    ) -> Result<(Tensor<4>, Option<Tensor<4>>), GivenError> {
        each!(self, network => network.forward_seen(x, t, given, states))
    }

    /// What [`run`](Self::run) needs of what is given. It holds for every step.
    ///
    /// # Errors
    ///
    /// Where something is not given that the network has a layer for, or given that it has none for, or of another shape.
    pub fn prepare(&self, given: Given) -> Result<GivenStates, GivenError> {
        each!(self, network => network.prepare(given))
    }

    /// [`forward`](Self::forward) with what was given made ready.
    ///
    /// # Shapes
    ///
    /// As [`forward`](Self::forward).
    pub fn run(&self, input: Input<'_>) -> Output {
        each!(self, network => network.run(input))
    }
}

layers!(
    enum Denoiser {
        UNet,
        Transformer,
    }
);
