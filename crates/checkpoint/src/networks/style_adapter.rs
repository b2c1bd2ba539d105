//! A T2I-Adapter of style in files. There is one naming, the original code's, which stacks query, key and value as torch does.

use burn::tensor::Device;
use latent_models::{StyleAdapter, StyleAdapterConfig};
use serde_json::Value;

use super::clip_text::names::stacked_layers;
use super::{
    DetectError, Kind, LONGEST, Network, Role, Scheme, Shapes, Spot, WIDEST, at_most, own_settings,
};
use crate::names::Table;

const AT: Role = Role::STYLE_ADAPTER;
const LEARNT: &str = "style_embedding";
const PROJECTION: &str = "proj";
/// The original code's spelling.
const LAYERS: &str = "transformer_layes";
/// Heads of every published one, which no shape tells.
const HEADS: usize = 8;

impl Kind for StyleAdapterConfig {
    type Net = StyleAdapter;
    const OWN: &str = "StyleAdapter";
    const CLASSES: &[&str] = &[];
    const ROLES: &[Role] = &[AT];
    const SPOTS: &[Spot] = &[AT.spot(Scheme::Ldm, "", LEARNT)];

    fn of(network: &Network) -> Option<&Self> {
        match network {
            Network::StyleAdapter(config) => Some(config),
            _ => None,
        }
    }

    fn init(&self, device: &Device) -> StyleAdapter {
        self.init(device)
    }

    fn table(&self, _: Scheme) -> Table {
        let mut table = Table::default();
        for name in [LEARNT, "ln_pre", "ln_post"] {
            table.pair(name, name);
        }
        // The same matrix, but multiplied from the other side.
        table.transposed("projection.weight", PROJECTION);
        stacked_layers(&mut table, "encoder.layers", LAYERS, self.layers);
        table
    }

    fn from_shapes(shapes: &Shapes<'_>, _: Scheme) -> Result<Self, DetectError> {
        let learnt = shapes.need(LEARNT, 3)?;
        let config = Self {
            width: learnt[2],
            tokens: learnt[1],
            context: shapes.need(PROJECTION, 2)?[1],
            layers: shapes.count(|i| format!("{LAYERS}.{i}.ln_1.weight")),
            heads: HEADS,
            intermediate: shapes.need(&format!("{LAYERS}.0.mlp.c_fc.weight"), 2)?[0],
        };
        config.validate()?;
        Ok(config)
    }

    fn from_json(value: &Value) -> Result<Self, DetectError> {
        own_settings(value)
    }

    fn to_json(&self, _: usize) -> Result<Value, String> {
        Ok(self.own_json())
    }

    fn check(&self) -> Result<(), DetectError> {
        at_most("width", self.width, WIDEST)?;
        at_most("tokens", self.tokens, WIDEST)?;
        at_most("context", self.context, WIDEST)?;
        at_most("intermediate", self.intermediate, WIDEST)?;
        at_most("layers", self.layers, LONGEST)?;
        Ok(self.validate()?)
    }

    fn file_scheme(&self) -> Scheme {
        Scheme::Ldm
    }
}
