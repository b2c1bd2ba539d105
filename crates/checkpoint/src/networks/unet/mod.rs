//! The U-Net in files.

pub(super) mod json;
pub(super) mod names;
pub(super) mod shapes;

use burn::tensor::Device;
use latent_models::unet::{Attention, Heads, Labels};
use latent_models::{UNet, UNetConfig};
use serde_json::Value;

use super::controlnet::{HINT, ORIGINAL_HINT};
use super::{DetectError, Kind, LONGEST, Network, Role, Scheme, Shapes, Spot, WIDEST, at_most};
use crate::names::Table;

/// The first convolution on the way down, under diffusers' names.
const RESNET: &str = "down_blocks.0.resnets.0.conv1.weight";
/// The first convolution, under the original names.
const ENTRANCE: &str = "input_blocks.0.0.weight";

const AT: Role = Role::DENOISER;

impl Kind for UNetConfig {
    type Net = UNet;
    const OWN: &str = "UNet";
    const CLASSES: &[&str] = &["UNet2DConditionModel", "UNet2DModel"];
    const ROLES: &[Role] = &[AT];
    const SPOTS: &[Spot] = &[
        AT.spot(Scheme::Ldm, "model.diffusion_model.", ENTRANCE),
        // A ControlNet has these too.
        AT.spot(Scheme::Ldm, "", ENTRANCE).without(ORIGINAL_HINT),
        AT.spot(Scheme::Diffusers, "", RESNET).without(HINT),
        AT.spot(Scheme::Diffusers, "unet.", RESNET),
    ];

    fn of(network: &Network) -> Option<&Self> {
        match network {
            Network::Unet(config) => Some(config),
            _ => None,
        }
    }

    fn init(&self, device: &Device) -> UNet {
        self.init(device)
    }

    fn table(&self, scheme: Scheme) -> Table {
        shapes::unet_layout(self).table(scheme)
    }

    fn from_shapes(shapes: &Shapes<'_>, scheme: Scheme) -> Result<Self, DetectError> {
        shapes::unet_config(shapes, scheme)
    }

    fn from_json(value: &Value) -> Result<Self, DetectError> {
        json::unet_from_json(value)
    }

    fn to_json(&self, side: usize) -> Result<Value, String> {
        json::unet_json(self, side)
    }

    fn check(&self) -> Result<(), DetectError> {
        at_most("in_channels", self.in_channels, WIDEST)?;
        at_most("out_channels", self.out_channels, WIDEST)?;
        at_most("model_channels", self.model_channels, WIDEST)?;
        at_most("context", self.context.unwrap_or(0), WIDEST)?;
        let labels = match self.labels {
            Labels::None => 0,
            Labels::Table(n) | Labels::Vector(n) | Labels::Projection(n) => n,
        };
        at_most("labels", labels, WIDEST)?;
        let attentions = self.levels.iter().filter_map(|level| level.attention);
        for attention in attentions.chain(self.middle) {
            at_most("attention depth", attention.depth, LONGEST)?;
        }
        for level in &self.levels {
            at_most("channels", level.channels, WIDEST)?;
            at_most("resblocks", level.resblocks, LONGEST)?;
        }
        Ok(self.validate()?)
    }

    /// Equal, where a number of heads and a width of heads may say the same.
    fn is_found_as(&self, found: &Self) -> bool {
        counted(self) == counted(found)
    }

    fn file_scheme(&self) -> Scheme {
        Scheme::Ldm
    }
}

/// With every attention's heads as a number.
fn counted(config: &UNetConfig) -> UNetConfig {
    let mut config = config.clone();
    let count = |attention: &mut Attention, channels: usize| {
        attention.heads = Heads::Count(attention.heads.count(channels));
    };
    for level in &mut config.levels {
        if let Some(attention) = &mut level.attention {
            count(attention, level.channels);
        }
    }
    let last = config.levels.last().map_or(0, |level| level.channels);
    if let Some(attention) = &mut config.middle {
        count(attention, last);
    }
    config
}
