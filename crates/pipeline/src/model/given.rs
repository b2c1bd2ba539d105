//! Networks that are given in the place of a model's own: an autoencoder, a text encoder.

use std::path::Path;
use std::sync::Arc;

use latent_checkpoint::{Checkpoint, Kind, Network, Role, StoredAutoencoder};
use latent_models::ClipTextConfig;

use super::part::Net;
use super::{Compressor, CompressorConfig};
use crate::error::{Error, Result};
use crate::family::{self, Family, Networks};
use crate::picture::preview::other_tiny;

/// Scales of latents nearer than this share of each other are one scale.
const SAME_SCALE: f64 = 0.01;

fn wrong(field: &'static str, path: &Path, reason: String) -> Error {
    let path = path.to_owned();
    Error::Part {
        field,
        path,
        reason,
    }
}

/// The file or folder at `path`, to take text encoders from in the place of those of `main`, a model of `family`.
///
/// # Errors
/// One that cannot be read, that has no text encoder, or whose text encoder does not go with the model.
pub(super) fn text_encoder(
    path: &Path,
    main: &Checkpoint,
    family: Option<&Family>,
) -> Result<Arc<Checkpoint>> {
    let wrong = |reason| wrong("text_encoder", path, reason);
    let mut given = Checkpoint::open(path)?;
    match family {
        Some(family) => {
            family::settle(&mut given, family);
            let mut roles = family.texts.iter().map(|input| input.role);
            if !roles.clone().any(|role| given.find(role).is_some()) {
                given.part(roles.next().unwrap_or(Role::TEXT_ENCODER))?;
            }
            if let Some(differences) = Networks::with_texts(main, &given, family).misfit(family) {
                let name = family.name;
                let reason = format!("it does not go with the model, which is {name}");
                return Err(wrong(format!("{reason}: with it, {differences}")));
            }
        }
        None => {
            let Some(own) = main.find(Role::TEXT_ENCODER) else {
                let reason = "the model takes no text encoder: it was trained here, and reads its condition by itself";
                return Err(wrong(reason.to_owned()));
            };
            let found = given.config::<ClipTextConfig>(Role::TEXT_ENCODER)?.width;
            match &own.config {
                Network::TextEncoder(own) if own.width != found => {
                    return Err(wrong(format!(
                        "its states have width {found}, and the model takes states of width {}",
                        own.width
                    )));
                }
                _ => {}
            }
        }
    }
    Ok(Arc::new(given))
}

/// The file or folder at `path`, to take the autoencoder from in the place of that of `main`, a model of `family`; and what is
/// to be said of it. What it leaves open of its latents is as in `main`.
///
/// # Errors
/// One that cannot be read, that has no autoencoder, or whose latents are known to be others than the model's.
pub(super) fn autoencoder(
    path: &Path,
    main: &Checkpoint,
    family: Option<&Family>,
) -> Result<(Arc<Checkpoint>, Option<String>)> {
    let wrong = |reason| wrong("vae", path, reason);
    let mut given = Checkpoint::open(path)?;
    let found = Compressor::stored(&given, Role::AUTOENCODER)?;
    let own = main.find(Role::AUTOENCODER);
    if family.is_none() && own.is_none() {
        let reason = "the model takes no autoencoder: it was trained here, and draws pixels";
        return Err(wrong(reason.to_owned()));
    }
    let name = family.map_or("the model", |family| family.name);
    let channels = main.denoiser(Role::DENOISER)?.interface().out_channels;
    let downsample = match family {
        Some(family) => family.latent.downsample,
        None => Compressor::stored(main, Role::AUTOENCODER)?.downsampling(),
    };
    let words = |channels, down| format!("latents of {channels} channels at 1/{down} size");
    let theirs = words(found.channels(), found.downsampling());
    let ours = words(channels, downsample);
    if theirs != ours {
        return Err(wrong(format!("it makes {theirs}, and {name} takes {ours}")));
    }
    let coded = |config: &CompressorConfig| config.whole().is_some_and(|c| c.codebook.is_some());
    if family.is_some() && coded(&found) {
        let reason =
            format!("its latents are entries of a codebook (VQ), and those of {name} none");
        return Err(wrong(reason));
    }
    let own = own.and_then(|part| StoredAutoencoder::of(&part.config));
    let scale = own.and_then(|own| own.scale);
    let scale = scale.or(family.map(|family| family.latent.scale));
    // A model's own file says of which family its latents are.
    let of_family = Networks::of(&given).family().ok();
    let part = given.parts_mut().iter_mut();
    let stored = part.map(|part| &mut part.config).find_map(|c| match c {
        Network::Autoencoder(stored) => Some(stored),
        _ => None,
    });
    let Some(stored) = stored else {
        let note = family.and_then(|family| other_tiny(path, family));
        return Ok((Arc::new(given), note.map(|note| format!("--vae {note}"))));
    };
    let stated = stored.scale.is_some() || !stored.moments.is_empty();
    let of_family = of_family.filter(|_| !stated);
    let theirs = stored.scale.or(of_family.map(|other| other.latent.scale));
    if let (Some(theirs), Some(ours)) = (theirs, scale)
        && (theirs - ours).abs() > SAME_SCALE * ours.abs()
    {
        let whose = of_family.map(|other| format!("it is of {}, and ", other.name));
        return Err(wrong(format!(
            "{}it works in other latents (scale {theirs}) than {name} (scale {ours}): give an autoencoder of the same latents",
            whose.unwrap_or_default()
        )));
    }
    let moments = own.map(|own| own.moments.as_slice()).unwrap_or_default();
    if stated && stored.moments != moments {
        return Err(wrong(format!(
            "it works in other latents than {name}: the means and deviations of their channels differ; give an autoencoder of \
             the same latents"
        )));
    }
    stored.scale = stored.scale.or(scale);
    stored.shift = stored.shift.or(own.and_then(|own| own.shift));
    stored.moments = moments.to_vec();
    Ok((Arc::new(given), None))
}
