//! The diffusion transformer in files. Its tensors do not say into how many heads a token is divided, nor where patches stand:
//! a folder's settings do, or a file's metadata.

use burn::tensor::Device;
use latent_models::unet::Labels;
use latent_models::{Transformer, TransformerConfig};
use serde_json::Value;

use super::{
    DetectError, Kind, LONGEST, Network, Role, Scheme, Shapes, Spot, WIDEST, at_most, own_settings,
};
use crate::names::Table;

impl Kind for TransformerConfig {
    type Net = Transformer;
    const OWN: &str = "Transformer";
    const CLASSES: &[&str] = &[];
    const ROLES: &[Role] = &[Role::DENOISER];
    const SPOTS: &[Spot] = &[Role::DENOISER.spot(Scheme::Diffusers, "model.diffusion_model.", "")];

    fn of(network: &Network) -> Option<&Self> {
        match network {
            Network::Transformer(config) => Some(config),
            _ => None,
        }
    }

    fn init(&self, device: &Device) -> Transformer {
        self.init(device)
    }

    fn table(&self, _: Scheme) -> Table {
        Table::identity()
    }

    fn from_shapes(_: &Shapes<'_>, _: Scheme) -> Result<Self, DetectError> {
        Err(DetectError::Settings {
            what: "a diffusion transformer",
            problem: "its tensors do not say how it is built".into(),
        })
    }

    fn from_json(value: &Value) -> Result<Self, DetectError> {
        own_settings(value)
    }

    fn to_json(&self, side: usize) -> Result<Value, String> {
        let mut json = self.own_json();
        super::extend(&mut json, serde_json::json!({ "sample_size": side }));
        Ok(json)
    }

    fn check(&self) -> Result<(), DetectError> {
        let labels = match self.labels {
            Labels::None => 0,
            Labels::Table(n) | Labels::Vector(n) | Labels::Projection(n) => n,
        };
        for (field, value, limit) in [
            ("in_channels", self.in_channels, WIDEST),
            ("out_channels", self.out_channels, WIDEST),
            ("patch", self.patch, 64),
            ("width", self.width, WIDEST),
            ("depth", self.depth, LONGEST),
            ("heads", self.heads, WIDEST),
            ("context", self.context.unwrap_or(0), WIDEST),
            ("labels", labels, WIDEST),
        ] {
            at_most(field, value, limit)?;
        }
        Ok(self.validate()?)
    }

    fn folder(&self) -> Option<&'static str> {
        Some("transformer")
    }
}
