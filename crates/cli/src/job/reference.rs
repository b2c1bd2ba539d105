//! What was typed of pictures as references.

use latent_pipeline::request::{Name, Reference, Request};

use super::control::each;
use crate::{args::ReferenceArgs, failure::Failure};

/// The pictures, where something is typed of them; settings may be typed for those of `below`, too.
///
/// # Errors
/// More or fewer values than pictures.
pub fn references(
    args: &ReferenceArgs,
    below: &Request,
) -> Result<Option<Vec<Reference>>, Failure> {
    let mut all: Vec<Reference> = match args.reference.is_empty() {
        true => below.reference.clone(),
        false => {
            let named = args.reference.iter().map(|path| Name::from(path.as_path()));
            named.map(Reference::new).collect()
        }
    };
    let what = ("--reference", "picture");
    let stated = [
        each(
            "--reference-weight",
            &args.reference_weight,
            (what, &mut all[..]),
            |r, v| r.weight = *v,
        )?,
        each(
            "--reference-fidelity",
            &args.reference_fidelity,
            (what, &mut all[..]),
            |r, v| r.fidelity = *v,
        )?,
        each(
            "--reference-mode",
            &args.reference_mode,
            (what, &mut all[..]),
            |r, v| r.mode = *v,
        )?,
        each(
            "--reference-start",
            &args.reference_start,
            (what, &mut all[..]),
            |r, v| r.start = *v,
        )?,
        each(
            "--reference-end",
            &args.reference_end,
            (what, &mut all[..]),
            |r, v| r.end = *v,
        )?,
        each(
            "--reference-resize-mode",
            &args.reference_resize_mode,
            (what, &mut all[..]),
            |r, v| r.resize_mode = Some(*v),
        )?,
    ];
    let stated = !args.reference.is_empty() || stated.contains(&true);
    Ok(stated.then_some(all))
}
