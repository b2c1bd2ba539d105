//! `latent info` of embeddings (textual inversion).

use std::path::Path;

use latent_checkpoint::{
    Inversion, TensorFile,
    inversion::{About, Learnt},
};
use latent_pipeline::embeddings::made_for;
use serde_json::{Value, json};

use crate::{args::InfoArgs, failure::Failure, told::Told};

/// Tells what the embedding at `path` is; `None` where it is none.
///
/// # Errors
/// Vectors that cannot be read.
pub fn info(args: &InfoArgs, path: &Path, json: bool) -> Option<Result<(), Failure>> {
    let file = TensorFile::open(path).ok().filter(Inversion::recognise)?;
    Some(tell(args, path, file, json))
}

fn tell(args: &InfoArgs, path: &Path, file: TensorFile, json: bool) -> Result<(), Failure> {
    let told = Told::of(args, path, &file)?;
    let read = Inversion::of(file)?;
    match json {
        true => println!("{}", told.json(self::json(&read))),
        false => print!("{}", told.text(&describe(&read))),
    }
    Ok(())
}

fn family(learnt: &Learnt) -> Option<&'static str> {
    made_for(&learnt.widths())
}

/// The facts, for programs.
pub fn json(read: &Inversion) -> Value {
    json!({"kind": "textual_inversion", "family": family(&read.learnt), "vectors": read.learnt.count(),
           "widths": read.learnt.widths(), "about": read.about})
}

/// The facts, a line each.
pub fn describe(read: &Inversion) -> String {
    let Inversion { learnt, about } = read;
    let About {
        name,
        token,
        steps,
        checkpoint,
        checkpoint_hash,
    } = about;
    let widths = learnt.widths();
    let widths: Vec<_> = widths.iter().map(usize::to_string).collect();
    let count = learnt.count();
    let many = if count == 1 { "vector" } else { "vectors" };
    let checkpoint = match (checkpoint, checkpoint_hash) {
        (Some(name), Some(hash)) => Some(format!("{name} (hash {hash})")),
        (Some(name), None) => Some(name.clone()),
        (None, Some(hash)) => Some(format!("a checkpoint of hash {hash}")),
        (None, None) => None,
    };
    let family = family(learnt).unwrap_or("unknown").to_owned();
    let facts = [
        ("what", Some("embedding (textual inversion)".to_owned())),
        ("family", Some(family)),
        (
            "vectors",
            Some(format!("{count} {many} of width {}", widths.join(" and "))),
        ),
        ("name", name.clone()),
        ("token", token.clone()),
        ("steps", steps.map(|steps| steps.to_string())),
        ("learnt on", checkpoint),
    ];
    let told = facts
        .into_iter()
        .filter_map(|(fact, value)| Some(format!("  {fact:<16} {}\n", value?.escape_debug())));
    told.collect()
}
