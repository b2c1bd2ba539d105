//! The statistics of picture embeddings in files: two tensors.

use burn::tensor::Device;
use latent_models::{EmbeddingNormalizer, EmbeddingNormalizerConfig};
use serde_json::{Value, json};

use super::keys::Keys;
use super::{DIFFUSERS, DetectError, Kind, Network, Role, Scheme, Shapes, Spot, WIDEST, at_most};
use crate::names::Table;

const CLASS: &str = "StableUnCLIPImageNormalizer";

const AT: Role = Role::IMAGE_NORMALIZER;

impl Kind for EmbeddingNormalizerConfig {
    type Net = EmbeddingNormalizer;
    const OWN: &str = "ImageNormalizer";
    const CLASSES: &[&str] = &[CLASS];
    const ROLES: &[Role] = &[AT];
    const SPOTS: &[Spot] = &[
        AT.spot(Scheme::Ldm, "noise_augmentor.", "data_mean"),
        AT.spot(Scheme::Diffusers, "", "mean"),
    ];

    fn of(network: &Network) -> Option<&Self> {
        match network {
            Network::ImageNormalizer(config) => Some(config),
            _ => None,
        }
    }

    fn init(&self, device: &Device) -> EmbeddingNormalizer {
        self.init(device)
    }

    fn table(&self, scheme: Scheme) -> Table {
        if scheme != Scheme::Ldm {
            return Table::identity();
        }
        let mut table = Table::default();
        table.pair("mean", "data_mean");
        table.pair("std", "data_std");
        table
    }

    fn from_shapes(shapes: &Shapes<'_>, scheme: Scheme) -> Result<Self, DetectError> {
        let mean = match scheme {
            Scheme::Ldm => "data_mean",
            _ => "mean",
        };
        Ok(Self {
            width: shapes.need(mean, 2)?[1],
        })
    }

    fn from_json(value: &Value) -> Result<Self, DetectError> {
        let what = "config.json";
        let keys = Keys::check(what, value, &["embedding_dim"], &[], &[])?;
        Ok(Self {
            width: keys.size("embedding_dim", 768)?,
        })
    }

    fn to_json(&self, _side: usize) -> Result<Value, String> {
        Ok(json!({
            "_class_name": CLASS, "_diffusers_version": DIFFUSERS, "embedding_dim": self.width,
        }))
    }

    fn check(&self) -> Result<(), DetectError> {
        at_most("width", self.width, WIDEST)?;
        Ok(self.validate()?)
    }

    fn file_scheme(&self) -> Scheme {
        Scheme::Ldm
    }
}
