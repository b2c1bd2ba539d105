//! What reads a condition of a model that was trained here, in files. Its tensors do not say how it is built: a folder's
//! settings do, or a file's metadata.

use burn::tensor::Device;
use latent_models::condition::{Entry, TokenTransformerConfig};
use latent_models::{Conditioner, ConditionerConfig};
use serde_json::Value;

use super::{
    DetectError, Kind, LONGEST, Network, Role, Scheme, Shapes, Spot, WIDEST, at_most, own_settings,
};
use crate::names::Table;

impl Kind for ConditionerConfig {
    type Net = Conditioner;
    const OWN: &str = "Conditioner";
    const CLASSES: &[&str] = &[];
    const ROLES: &[Role] = &[Role::CONDITIONER];
    const SPOTS: &[Spot] = &[Spot {
        role: Role::CONDITIONER,
        scheme: Scheme::Diffusers,
        prefix: "latent_conditioner.",
        anchor: "",
        without: None,
        texts: None,
    }];

    fn of(network: &Network) -> Option<&Self> {
        match network {
            Network::Conditioner(config) => Some(config),
            _ => None,
        }
    }

    fn init(&self, device: &Device) -> Conditioner {
        self.init(device)
    }

    fn table(&self, _: Scheme) -> Table {
        Table::identity()
    }

    fn from_shapes(_: &Shapes<'_>, _: Scheme) -> Result<Self, DetectError> {
        Err(DetectError::Settings {
            what: "a conditioner",
            problem: "its tensors do not say how it is built".into(),
        })
    }

    fn from_json(value: &Value) -> Result<Self, DetectError> {
        own_settings(value)
    }

    fn to_json(&self, _: usize) -> Result<Value, String> {
        Ok(self.own_json())
    }

    fn check(&self) -> Result<(), DetectError> {
        let transformer = |t: &TokenTransformerConfig| {
            at_most("vocabulary", t.vocabulary, WIDEST)?;
            at_most("positions", t.positions, WIDEST)?;
            at_most("width", t.width, WIDEST)?;
            at_most("heads", t.heads, LONGEST)?;
            at_most("head_width", t.head_width, LONGEST)?;
            at_most("layers", t.layers, LONGEST)
        };
        if let Some((entry, width)) = self.entry() {
            at_most("width", width, WIDEST)?;
            if let Entry::Concatenation(channels) = entry {
                at_most("concatenation", channels, WIDEST)?;
            }
        }
        match self {
            Self::Class { rows, .. } => at_most("rows", *rows, WIDEST),
            Self::Text { transformer: t, .. } => transformer(t),
            Self::Layout {
                tokens,
                transformer: t,
                ..
            } => {
                at_most("objects", tokens.objects, LONGEST)?;
                transformer(t)
            }
            Self::FrozenText { tokens, .. } => at_most("tokens", *tokens, WIDEST),
            Self::SemanticMap {
                classes,
                channels,
                stages,
            } => {
                at_most("classes", *classes, WIDEST)?;
                at_most("channels", *channels, WIDEST)?;
                at_most("stages", *stages, 16)
            }
            Self::LowResolution { factor } => at_most("factor", *factor, LONGEST),
            Self::Inpainting { latent_channels } => {
                at_most("latent_channels", *latent_channels, WIDEST)
            }
            Self::Neighbours { count, .. } => at_most("count", *count, WIDEST),
        }
    }
}
