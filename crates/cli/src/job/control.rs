//! What was typed of pictures that the drawing is held to.

use std::path::{Path, PathBuf};

use latent_data::counted;
use latent_pipeline::request::{Control, Name, Request};

use crate::{args::ControlArgs, failure::Failure};

/// The networks and their pictures, where something is typed of them; settings may be typed for those of `below`, too.
///
/// # Errors
/// More or fewer values than networks.
pub fn controls(args: &ControlArgs, below: &Request) -> Result<Option<Vec<Control>>, Failure> {
    let mut controls: Vec<Control> = match args.control.is_empty() {
        true => below.control.clone(),
        false => {
            let named = args.control.iter().map(|path| Name::from(path.as_path()));
            named.map(|model| Control::new(model, None)).collect()
        }
    };
    let file = |path: &PathBuf| Some(Name::from(Path::new(path)));
    let what = ("--control", "network");
    let stated = [
        each(
            "--control-encoder",
            &args.control_encoder,
            (what, &mut controls[..]),
            |c, v| c.encoder = file(v),
        )?,
        each(
            "--control-image",
            &args.control_image,
            (what, &mut controls[..]),
            |c, v| c.image = file(v),
        )?,
        each(
            "--control-mask",
            &args.control_mask,
            (what, &mut controls[..]),
            |c, v| c.mask = file(v),
        )?,
        each(
            "--control-weight",
            &args.control_weight,
            (what, &mut controls[..]),
            |c, v| c.weight = *v,
        )?,
        each(
            "--control-start",
            &args.control_start,
            (what, &mut controls[..]),
            |c, v| c.start = *v,
        )?,
        each(
            "--control-end",
            &args.control_end,
            (what, &mut controls[..]),
            |c, v| c.end = *v,
        )?,
        each(
            "--control-mode",
            &args.control_mode,
            (what, &mut controls[..]),
            |c, v| c.mode = *v,
        )?,
        each(
            "--control-kind",
            &args.control_kind,
            (what, &mut controls[..]),
            |c, v| c.kind = Some(*v),
        )?,
        each(
            "--control-resize-mode",
            &args.control_resize_mode,
            (what, &mut controls[..]),
            |c, v| {
                c.resize_mode = Some(*v);
            },
        )?,
        each(
            "--control-preprocess",
            &args.control_preprocess,
            (what, &mut controls[..]),
            |c, v| {
                c.preprocess = Some(v.clone());
            },
        )?,
        each(
            "--control-hires-image",
            &args.control_hires_image,
            (what, &mut controls[..]),
            |c, v| {
                c.hires_image = file(v);
            },
        )?,
    ];
    let stated = !args.control.is_empty() || stated.contains(&true);
    Ok(stated.then_some(controls))
}

/// Sets one value for each entry, which stand for what one flag names; whether there are any values.
pub(super) fn each<T, E>(
    flag: &str,
    values: &[T],
    ((of, what), entries): ((&str, &str), &mut [E]),
    set: impl Fn(&mut E, &T),
) -> Result<bool, Failure> {
    if !values.is_empty() && values.len() != entries.len() {
        return Err(Failure::input(match entries.is_empty() {
            true => format!("{flag} has no effect without {of}"),
            false => format!(
                "{flag} takes one value for each {what} ({of}): {} and {} were given",
                counted(entries.len(), what),
                counted(values.len(), "value")
            ),
        }));
    }
    for (entry, value) in entries.iter_mut().zip(values) {
        set(entry, value);
    }
    Ok(!values.is_empty())
}
