//! The whole adapter.

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor};

use super::config::IpAdapterConfig;
use super::projection::ImageProjection;
use crate::layers::Linear;
use crate::unet::{KeysValues, UNetConfig};

/// An IP-Adapter, built by [`IpAdapterConfig::init`].
#[derive(Module, Debug)]
pub struct IpAdapter {
    /// From what is seen of a picture to tokens.
    pub image_proj: ImageProjection,
    /// Of each attention on the context: of the way down, of the way up, of the middle.
    pub ip_adapter: Vec<IpAttention>,
    #[module(skip)]
    config: IpAdapterConfig,
}

/// Keys and values of pictures' tokens for one attention.
#[derive(Module, Debug)]
pub struct IpAttention {
    /// Keys, without bias.
    pub to_k_ip: Linear,
    /// Values, without bias.
    pub to_v_ip: Linear,
}

impl IpAdapter {
    pub(super) fn new(config: &IpAdapterConfig, device: &Device) -> Self {
        let linear = |channels: &usize| Linear::new(device, config.context, *channels, false);
        let attentions = config.attentions.iter();
        Self {
            image_proj: ImageProjection::new(&config.projection, config.context, device),
            ip_adapter: attentions
                .map(|channels| IpAttention {
                    to_k_ip: linear(channels),
                    to_v_ip: linear(channels),
                })
                .collect(),
            config: config.clone(),
        }
    }

    /// What the adapter is made of.
    pub fn config(&self) -> &IpAdapterConfig {
        &self.config
    }

    /// The type that the adapter computes in: that of its parameters.
    pub fn dtype(&self) -> DType {
        self.ip_adapter[0].to_k_ip.weight.val().dtype()
    }

    /// Tokens of what is seen of pictures, in the type of the adapter.
    ///
    /// # Shapes
    ///
    /// embeddings `[batch, 1, input]`, or states `[batch, n, input]`, by [`ProjectionConfig::sees`](super::ProjectionConfig::sees)
    /// → `[batch, tokens, context]`
    pub fn tokens(&self, seen: Tensor<3>) -> Tensor<3> {
        self.image_proj.forward(seen.cast(self.dtype()))
    }

    /// Keys and values of tokens for each attention of `unet` on the context, in the order in which it computes them; the
    /// values times `weight`.
    ///
    /// The adapter must [fit](IpAdapterConfig::misfit) the U-Net.
    ///
    /// # Shapes
    ///
    /// `[batch, tokens, context]`
    pub fn keys_values(
        &self,
        tokens: &Tensor<3>,
        unet: &UNetConfig,
        weight: f64,
    ) -> Vec<KeysValues> {
        let [down, _, up] = unet.attentions_on_context().map(|part| part.len());
        let own = |attention: &IpAttention| KeysValues {
            keys: attention.to_k_ip.forward(tokens.clone()),
            values: attention.to_v_ip.forward(tokens.clone()) * weight,
        };
        let (first, rest) = self.ip_adapter.split_at(down.min(self.ip_adapter.len()));
        let (last, middle) = rest.split_at(up.min(rest.len()));
        first.iter().chain(middle).chain(last).map(own).collect()
    }
}
