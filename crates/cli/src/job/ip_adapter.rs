//! What was typed of pictures as prompts.

use std::path::Path;

use latent_data::counted;
use latent_pipeline::request::{Name, Request, ShownPictures};

use super::control::each;
use crate::{args::IpAdapterArgs, failure::Failure};

/// The adapters and their pictures, where something is typed of them; settings may be typed for those of `below`, too.
///
/// # Errors
/// More or fewer values than adapters.
pub fn adapters(
    args: &IpAdapterArgs,
    below: &Request,
) -> Result<Option<Vec<ShownPictures>>, Failure> {
    let name = |path: &std::path::PathBuf| Name::from(Path::new(path));
    let mut adapters = match args.ip_adapter.is_empty() {
        true => below.ip_adapter.clone(),
        false => {
            let named = args.ip_adapter.iter();
            named
                .map(|path| ShownPictures::new(name(path), Vec::new()))
                .collect()
        }
    };
    let images: Vec<Name> = args.ip_adapter_image.iter().map(name).collect();
    match &mut adapters[..] {
        [] if !images.is_empty() => {
            return Err(Failure::input(
                "--ip-adapter-image needs an adapter that shows the picture: give it with --ip-adapter",
            ));
        }
        [one] if !images.is_empty() => one.images = images,
        several if !images.is_empty() && several.len() != images.len() => {
            return Err(Failure::input(format!(
                "several adapters (--ip-adapter) show one picture each: {} and {} were given; a request file can say more \
                 (--request)",
                counted(several.len(), "adapter"),
                counted(images.len(), "picture")
            )));
        }
        several => {
            for (adapter, image) in several.iter_mut().zip(images) {
                adapter.images = vec![image];
            }
        }
    }
    let what = ("--ip-adapter", "adapter");
    let stated = [
        each(
            "--ip-adapter-encoder",
            &args.ip_adapter_encoder,
            (what, &mut adapters[..]),
            |a, v| {
                a.encoder = Some(name(v));
            },
        )?,
        each(
            "--ip-adapter-weight",
            &args.ip_adapter_weight,
            (what, &mut adapters[..]),
            |a, v| a.weight = *v,
        )?,
        each(
            "--ip-adapter-weight-type",
            &args.ip_adapter_weight_type,
            (what, &mut adapters[..]),
            |a, v| a.weight_type = *v,
        )?,
        each(
            "--ip-adapter-mask",
            &args.ip_adapter_mask,
            (what, &mut adapters[..]),
            |a, v| a.mask = Some(name(v)),
        )?,
        each(
            "--ip-adapter-start",
            &args.ip_adapter_start,
            (what, &mut adapters[..]),
            |a, v| a.start = *v,
        )?,
        each(
            "--ip-adapter-end",
            &args.ip_adapter_end,
            (what, &mut adapters[..]),
            |a, v| a.end = *v,
        )?,
    ];
    let stated =
        stated.contains(&true) || !(args.ip_adapter.is_empty() && args.ip_adapter_image.is_empty());
    Ok(stated.then_some(adapters))
}
