//! Whether a network can be guided as a request asks.

use latent_diffusion::Sampler;
use latent_models::unet::MIDDLE;
use latent_models::{Denoiser, DenoiserConfig};

use crate::error::{Error, Result};
use crate::request::{Request, Tiling};

/// Whether a network can be guided as a request asks, by this sampler and with a prompt of so many parts.
///
/// # Errors
/// A field that would have no effect.
pub(crate) fn check(
    request: &Request,
    network: &Denoiser,
    sampler: Sampler,
    parts: usize,
) -> Result<()> {
    check_layers(request, network)?;
    if network.interface().guidance.is_none() {
        return Ok(());
    }
    let unused = |field, set: bool, value: &str, expected: &str| match set {
        true => Err(Error::field(
            field,
            value,
            format!("{expected}, since this model is told its guidance and runs once a step"),
        )),
        false => Ok(()),
    };
    unused("prompt", parts > 1, "parts joined by AND", "one part")?;
    let interval = request.guidance.interval.is_some();
    unused("guidance.interval", interval, "set", "nothing")?;
    unused(
        "guidance.rescale",
        request.guidance.rescale > 0.0,
        "set",
        "0",
    )?;
    let perp_neg = request.guidance.perp_neg.is_some();
    unused("guidance.perp_neg", perp_neg, "set", "nothing")?;
    let threshold = request.guidance.threshold.is_some();
    unused("guidance.threshold", threshold, "set", "nothing")?;
    let reads = sampler.needs_unconditional();
    unused("sampler", reads, &request.sampler, "one without CFG++")
}

/// Whether the network attends where the request changes that, and whether its pictures can be tiles.
fn check_layers(request: &Request, network: &Denoiser) -> Result<()> {
    let asked = &request.guidance;
    let config = match network.config() {
        DenoiserConfig::Unet(config) => config,
        DenoiserConfig::Transformer(_) => return check_transformer(request),
    };
    let pag = asked.pag.as_ref().map(|pag| &pag.layers);
    let skip = asked.skip_layers.as_ref().map(|skip| &skip.layers);
    for (field, layers) in [
        ("guidance.pag.layers", pag),
        ("guidance.skip_layers.layers", skip),
    ] {
        let spots = layers.into_iter().flat_map(|layers| &layers.0);
        if let Some(spot) = spots.into_iter().find(|spot| !network.attends_at(**spot)) {
            let attends = |level: &latent_models::unet::Level| level.attention.is_some();
            let levels: Vec<String> = (0..config.levels.len())
                .filter(|level| attends(&config.levels[*level]))
                .map(|level| format!("down.{level}, up.{}", config.levels.len() - 1 - level))
                .collect();
            let middle = network.attends_at(MIDDLE).then_some("mid, ");
            let expected = format!(
                "a place where this network attends: {}{}",
                middle.unwrap_or_default(),
                levels.join(", ")
            );
            return Err(Error::field(field, spot, expected));
        }
    }
    match asked.sag.is_some() && !network.attends_at(MIDDLE) {
        true => Err(Error::field(
            "guidance.sag",
            "set",
            "nothing, since this network has no attention in its middle",
        )),
        false => Ok(()),
    }
}

/// Whether a request asks of a transformer what only a U-Net does.
fn check_transformer(request: &Request) -> Result<()> {
    let asked = &request.guidance;
    let levels = "it changes attention by a U-Net's levels";
    for (field, set, why) in [
        ("guidance.pag", asked.pag.is_some(), levels),
        ("guidance.skip_layers", asked.skip_layers.is_some(), levels),
        (
            "guidance.sag",
            asked.sag.is_some(),
            "it reads the attention in a U-Net's middle",
        ),
        (
            "guidance.freeu",
            asked.freeu.is_some(),
            "it changes what a U-Net makes on its way up",
        ),
        (
            "hypernetworks",
            !request.hypernetworks.is_empty(),
            "they bend what a U-Net's attention reads",
        ),
        (
            "reference",
            !request.reference.is_empty(),
            "a U-Net's attention looks at pictures",
        ),
        (
            "tiling",
            request.tiling != Tiling::None,
            "edges wrap around in a U-Net's convolutions",
        ),
    ] {
        if set {
            let expected = format!("nothing: this model's denoiser is a transformer, and {why}");
            return Err(Error::field(field, "set", expected));
        }
    }
    Ok(())
}
