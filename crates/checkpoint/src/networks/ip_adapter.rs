//! An IP-Adapter in files: `image_proj` and `ip_adapter`, the latter by numbers that count the attention of pixels on
//! themselves too, so that those on the context are odd.

use burn::tensor::Device;
use latent_models::ip_adapter::ProjectionConfig;
use latent_models::{IpAdapter, IpAdapterConfig};
use serde_json::Value;

use super::{
    DetectError, Kind, LONGEST, Network, Role, Scheme, Shapes, Spot, WIDEST, at_most, own_settings,
};
use crate::names::Table;

const AT: Role = Role::IP_ADAPTER;
/// Numbers of a head in every resampler.
const HEAD: usize = 64;

impl Kind for IpAdapterConfig {
    type Net = IpAdapter;
    const OWN: &str = "IpAdapter";
    const CLASSES: &[&str] = &[];
    const ROLES: &[Role] = &[AT];
    const SPOTS: &[Spot] = &[AT.spot(Scheme::Diffusers, "", "ip_adapter.1.to_k_ip.weight")];

    fn of(network: &Network) -> Option<&Self> {
        match network {
            Network::IpAdapter(config) => Some(config),
            _ => None,
        }
    }

    fn init(&self, device: &Device) -> IpAdapter {
        self.init(device)
    }

    fn table(&self, _: Scheme) -> Table {
        let mut table = Table::default();
        table.pair("image_proj", "image_proj");
        for attention in 0..self.attentions.len() {
            table.pair(
                format!("ip_adapter.{attention}"),
                format!("ip_adapter.{}", 2 * attention + 1),
            );
        }
        table
    }

    fn from_shapes(shapes: &Shapes<'_>, _: Scheme) -> Result<Self, DetectError> {
        let keys = |i: usize| format!("ip_adapter.{}.to_k_ip.weight", 2 * i + 1);
        let count = shapes.count(keys);
        let context = shapes.need(&keys(0), 2)?[1];
        let channels = (0..count).map(|i| Ok(shapes.need(&keys(i), 2)?[0]));
        let config = Self {
            attentions: channels.collect::<Result<_, DetectError>>()?,
            projection: projection(shapes, context)?,
            context,
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
        at_most("context", self.context, WIDEST)?;
        at_most("attentions (how many)", self.attentions.len(), WIDEST)?;
        for channels in &self.attentions {
            at_most("attentions", *channels, WIDEST)?;
        }
        match self.projection {
            ProjectionConfig::Linear { input, tokens } => {
                at_most("input", input, WIDEST)?;
                at_most("tokens", tokens, LONGEST)?;
            }
            ProjectionConfig::Mlp { input } => at_most("input", input, WIDEST)?,
            ProjectionConfig::Resampler {
                input,
                width,
                tokens,
                layers,
                heads,
            } => {
                at_most("input", input, WIDEST)?;
                at_most("width", width, WIDEST)?;
                at_most("tokens", tokens, WIDEST)?;
                at_most("layers", layers, LONGEST)?;
                at_most("heads", heads, LONGEST)?;
            }
        }
        Ok(self.validate()?)
    }
}

/// What reads the picture, by the names that only its kind has.
fn projection(shapes: &Shapes<'_>, context: usize) -> Result<ProjectionConfig, DetectError> {
    let name = |rest: &str| format!("image_proj.{rest}");
    if shapes.has(&name("latents")) {
        let latents = shapes.need(&name("latents"), 3)?;
        let layer = |i: usize| name(&format!("layers.{i}.0.to_q.weight"));
        return Ok(ProjectionConfig::Resampler {
            input: shapes.need(&name("proj_in.weight"), 2)?[1],
            width: latents[2],
            tokens: latents[1],
            layers: shapes.count(layer),
            heads: shapes.need(&layer(0), 2)?[0] / HEAD,
        });
    }
    let first = name("proj.0.weight");
    if shapes.has(&name("proj.3.weight")) {
        let input = shapes.need(&first, 2)?[1];
        return Ok(ProjectionConfig::Mlp { input });
    }
    if shapes.has(&first) {
        return Err(DetectError::Shape {
            tensor: shapes.full(&first),
            found: shapes.any(&first)?.to_vec(),
            expected: "none of that name: this is a FaceID adapter, which reads a face as insightface sees it; give one \
                       that reads pictures as CLIP sees them"
                .into(),
        });
    }
    let proj = shapes.need(&name("proj.weight"), 2)?;
    if context == 0 || !proj[0].is_multiple_of(context) {
        return Err(DetectError::Shape {
            tensor: shapes.full(&name("proj.weight")),
            found: proj.to_vec(),
            expected: format!(
                "a multiple of {context}, the width of a token, as its first dimension"
            ),
        });
    }
    Ok(ProjectionConfig::Linear {
        input: proj[1],
        tokens: proj[0] / context,
    })
}
