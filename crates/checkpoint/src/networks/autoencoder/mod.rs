//! The picture compressor in files.

mod json;
mod names;
mod shapes;

use burn::tensor::Device;
use latent_models::{Autoencoder, AutoencoderConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    DetectError, Kind, LONGEST, Network, OWN_CLASS, Role, Scheme, Shapes, Spot, WIDEST, at_most,
    extend, own_settings,
};
use crate::names::Table;

/// An autoencoder as files describe it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredAutoencoder {
    /// The network.
    pub network: AutoencoderConfig,
    /// The factor by which its latents are multiplied before they are denoised; `None` where nothing says it.
    pub scale: Option<f64>,
    /// What is subtracted from its latents before that.
    pub shift: Option<f64>,
    /// Mean and deviation of each latent channel, which are taken out before; empty where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moments: Vec<(f64, f64)>,
}

impl From<AutoencoderConfig> for StoredAutoencoder {
    /// Of which nothing is said of its latents.
    fn from(network: AutoencoderConfig) -> Self {
        Self {
            network,
            scale: None,
            shift: None,
            moments: Vec::new(),
        }
    }
}

const OLD_MIDDLE: &str = "decoder.mid.block_1.conv1.weight";
const NEW_MIDDLE: &str = "decoder.mid_block.resnets.0.conv1.weight";

const AT: Role = Role::AUTOENCODER;

impl StoredAutoencoder {
    /// The latent scale to write where the input does not say one: Stable Diffusion's for its kind of autoencoder.
    fn usual_scale(&self) -> f64 {
        match (self.network.codebook, self.network.z_channels) {
            (None, 4) => 0.18215,
            _ => 1.0,
        }
    }
}

impl Kind for StoredAutoencoder {
    type Net = Autoencoder;
    const OWN: &str = "Autoencoder";
    const CLASSES: &[&str] = &["AutoencoderKL", "VQModel"];
    const ROLES: &[Role] = &[AT];
    const SPOTS: &[Spot] = &[
        AT.spot(Scheme::Ldm, "first_stage_model.", OLD_MIDDLE),
        AT.spot(Scheme::Ldm, "", OLD_MIDDLE),
        AT.spot(Scheme::Ldm, "vae.", OLD_MIDDLE),
        AT.spot(Scheme::Diffusers, "", NEW_MIDDLE),
        AT.spot(Scheme::Diffusers, "vae.", NEW_MIDDLE),
    ];

    fn of(network: &Network) -> Option<&Self> {
        match network {
            Network::Autoencoder(config) => Some(config),
            _ => None,
        }
    }

    fn init(&self, device: &Device) -> Autoencoder {
        self.network.init(device)
    }

    fn table(&self, scheme: Scheme) -> Table {
        shapes::autoencoder_layout(&self.network).table(scheme)
    }

    fn from_shapes(shapes: &Shapes<'_>, scheme: Scheme) -> Result<Self, DetectError> {
        Ok(shapes::autoencoder_config(shapes, scheme)?.into())
    }

    fn from_json(value: &Value) -> Result<Self, DetectError> {
        json::with_latents(json::autoencoder_from_json(value)?, value)
    }

    fn to_json(&self, side: usize) -> Result<Value, String> {
        json::autoencoder_json(self, self.scale.unwrap_or(self.usual_scale()), side)
    }

    fn check(&self) -> Result<(), DetectError> {
        if let Some(scale) = self.scale.filter(|scale| !json::sound(*scale)) {
            return Err(DetectError::Key {
                what: "the settings of the autoencoder",
                key: "scale".to_owned(),
                value: scale.to_string(),
                expected: json::SOUND.to_owned(),
            });
        }
        let network = &self.network;
        at_most("in_channels", network.in_channels, WIDEST)?;
        at_most("out_channels", network.out_channels, WIDEST)?;
        at_most("z_channels", network.z_channels, WIDEST)?;
        at_most("latent_channels", network.latent_channels, WIDEST)?;
        at_most("codebook", network.codebook.unwrap_or(0), WIDEST)?;
        at_most("resblocks", network.resblocks, LONGEST)?;
        for level in &network.levels {
            at_most("channels", level.channels, WIDEST)?;
        }
        Ok(network.validate()?)
    }

    fn own_json(&self) -> Value {
        let mut value = json!({
            "_class_name": format!("{OWN_CLASS}{}", Self::OWN), "network": self.network,
        });
        let latents = json!({"scaling_factor": self.scale, "shift_factor": self.shift});
        extend(&mut value, latents);
        extend(&mut value, json::moments_json(&self.moments));
        value
    }

    fn from_own_json(value: &Value) -> Result<Self, DetectError> {
        json::with_latents(own_settings(value)?, value)
    }

    fn is_found_as(&self, found: &Self) -> bool {
        let usual = |scale: f64| (scale - self.usual_scale()).abs() < 1e-9;
        self.network == found.network
            && self.scale.is_none_or(usual)
            && self.shift.is_none_or(|shift| shift == 0.0)
            && self.moments.is_empty()
    }

    fn file_scheme(&self) -> Scheme {
        Scheme::Ldm
    }

    /// A codebook model is called `vqvae` by diffusers' unconditional pipeline.
    fn folder(&self) -> Option<&'static str> {
        self.network.codebook.map(|_| "vqvae")
    }
}
