//! Bounds on what a file may describe: listing a network takes memory in its number of modules, and a settings file of
//! a hundred bytes can ask for billions. Every published network is far inside.

use latent_models::ConditionerConfig;
use latent_models::condition::{Entry, TokenTransformerConfig};

use super::{DetectError, PartConfig};

/// Channels, widths, rows of tables, tokens.
const WIDEST: usize = 1 << 24;
/// Blocks in a row.
const LONGEST: usize = 1024;

/// Refuses a configuration that is too large to list.
pub(super) fn check_size(config: &PartConfig) -> Result<(), DetectError> {
    let check = |field: &'static str, value: usize, limit: usize| match value <= limit {
        true => Ok(()),
        false => Err(DetectError::TooLarge {
            field,
            value,
            limit,
        }),
    };
    match config {
        PartConfig::Unet(unet) => {
            check("in_channels", unet.in_channels, WIDEST)?;
            check("out_channels", unet.out_channels, WIDEST)?;
            check("model_channels", unet.model_channels, WIDEST)?;
            check("context", unet.context.unwrap_or(0), WIDEST)?;
            let labels = match unet.labels {
                latent_models::unet::Labels::None => 0,
                latent_models::unet::Labels::Table(n)
                | latent_models::unet::Labels::Vector(n)
                | latent_models::unet::Labels::Projection(n) => n,
            };
            check("labels", labels, WIDEST)?;
            let attentions = unet.levels.iter().filter_map(|level| level.attention);
            for attention in attentions.chain(unet.middle) {
                check("attention depth", attention.depth, LONGEST)?;
            }
            unet.levels.iter().try_for_each(|level| {
                check("channels", level.channels, WIDEST)?;
                check("resblocks", level.resblocks, LONGEST)
            })
        }
        PartConfig::Autoencoder { network, .. } => {
            check("in_channels", network.in_channels, WIDEST)?;
            check("out_channels", network.out_channels, WIDEST)?;
            check("z_channels", network.z_channels, WIDEST)?;
            check("latent_channels", network.latent_channels, WIDEST)?;
            check("codebook", network.codebook.unwrap_or(0), WIDEST)?;
            check("resblocks", network.resblocks, LONGEST)?;
            let mut levels = network.levels.iter();
            levels.try_for_each(|level| check("channels", level.channels, WIDEST))
        }
        PartConfig::TextEncoder(text) => {
            check("vocabulary", text.vocabulary, WIDEST)?;
            check("width", text.width, WIDEST)?;
            check("intermediate", text.intermediate, WIDEST)?;
            check("positions", text.positions, WIDEST)?;
            check("layers", text.layers, LONGEST)
        }
        PartConfig::Conditioner(config) => {
            let transformer = |t: &TokenTransformerConfig| {
                check("vocabulary", t.vocabulary, WIDEST)?;
                check("positions", t.positions, WIDEST)?;
                check("width", t.width, WIDEST)?;
                check("heads", t.heads, LONGEST)?;
                check("head_width", t.head_width, LONGEST)?;
                check("layers", t.layers, LONGEST)
            };
            if let Some((entry, width)) = config.entry() {
                check("width", width, WIDEST)?;
                if let Entry::Concatenation(channels) = entry {
                    check("concatenation", channels, WIDEST)?;
                }
            }
            match config {
                ConditionerConfig::Class { rows, .. } => check("rows", *rows, WIDEST),
                ConditionerConfig::Text { transformer: t, .. } => transformer(t),
                ConditionerConfig::Layout {
                    tokens,
                    transformer: t,
                    ..
                } => {
                    check("objects", tokens.objects, LONGEST)?;
                    transformer(t)
                }
                ConditionerConfig::FrozenText { tokens, .. } => check("tokens", *tokens, WIDEST),
                ConditionerConfig::SemanticMap {
                    classes,
                    channels,
                    stages,
                } => {
                    check("classes", *classes, WIDEST)?;
                    check("channels", *channels, WIDEST)?;
                    check("stages", *stages, 16)
                }
                ConditionerConfig::LowResolution { factor } => check("factor", *factor, LONGEST),
                ConditionerConfig::Inpainting { latent_channels } => {
                    check("latent_channels", *latent_channels, WIDEST)
                }
                ConditionerConfig::Neighbours { count, .. } => check("count", *count, WIDEST),
            }
        }
    }
}
