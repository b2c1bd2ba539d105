//! `latent info` of ControlNets that are changes of a denoiser (Control-LoRA).

use std::path::Path;

use latent_checkpoint::{TensorFile, load::AboutChanges};
use latent_pipeline::family::of_context;
use serde_json::{Value, json};

use crate::{args::InfoArgs, failure::Failure, told::Told};

/// Tells what the changes at `path` are; `None` where they are none.
///
/// # Errors
/// A file that cannot be read.
pub fn info(args: &InfoArgs, path: &Path, json: bool) -> Option<Result<(), Failure>> {
    let file = TensorFile::open(path).ok()?;
    let about = AboutChanges::of(&file)?;
    Some(tell(args, path, &file, (&about, json)))
}

fn tell(
    args: &InfoArgs,
    path: &Path,
    file: &TensorFile,
    (about, json): (&AboutChanges, bool),
) -> Result<(), Failure> {
    let told = Told::of(args, path, file)?;
    match json {
        true => println!("{}", told.json(self::json(about))),
        false => print!("{}", told.text(&describe(about))),
    }
    Ok(())
}

fn family(about: &AboutChanges) -> Option<&'static str> {
    about.context.and_then(of_context).map(|family| family.name)
}

fn json(about: &AboutChanges) -> Value {
    json!({"kind": "control_changes", "family": family(about), "about": about})
}

fn describe(about: &AboutChanges) -> String {
    let what = match about.low_rank {
        true => "Control-LoRA: a ControlNet as changes of low rank of a denoiser",
        false => "ControlNet as differences from a denoiser",
    };
    let ranks = about.ranks.map(|[least, most]| match least == most {
        true => least.to_string(),
        false => format!("{least} to {most}"),
    });
    let facts = [
        ("what", Some(what.to_owned())),
        (
            "family",
            Some(family(about).unwrap_or("unknown").to_owned()),
        ),
        ("rank", ranks),
        (
            "tensors",
            Some(format!(
                "{} change the denoiser, {} are its own",
                about.changed, about.own
            )),
        ),
    ];
    let told = facts
        .into_iter()
        .filter_map(|(fact, value)| Some(format!("  {fact:<16} {}\n", value?)));
    told.collect()
}
