//! `latent info` of embeddings (textual inversion).

use std::path::Path;

use latent_checkpoint::{
    Inversion, ModelError, TensorFile,
    file::hash::sha256,
    inversion::{About, Learnt},
};
use latent_pipeline::{embeddings::made_for, request::Name};
use serde_json::{Value, json};

use crate::{args::InfoArgs, failure::Failure, files::bytes};

/// Tells what the embedding at `path` is; `None` where it is none.
///
/// # Errors
/// Vectors that cannot be read.
pub fn info(args: &InfoArgs, path: &Path, json: bool) -> Option<Result<(), Failure>> {
    let file = TensorFile::open(path).ok().filter(Inversion::recognise)?;
    Some(tell(args, path, file, json))
}

fn tell(args: &InfoArgs, path: &Path, file: TensorFile, json: bool) -> Result<(), Failure> {
    let (container, size) = (file.format().to_string(), file.file_len());
    let metadata = file.metadata().clone();
    let tensors: Vec<_> = args
        .tensors
        .then(|| file.tensors().to_vec())
        .into_iter()
        .flatten()
        .collect();
    let hash = args.hash.then(|| sha256(path, &mut |_, _| {}));
    let hash = hash.transpose().map_err(ModelError::from)?;
    let read = Inversion::of(file)?;
    if json {
        let mut told = self::json(&read);
        told["path"] = json!(Name::from(path));
        told["container"] = json!(container);
        told["size"] = json!(size);
        told["metadata"] = json!(metadata);
        told["sha256"] = json!(hash);
        if args.tensors {
            let row = tensors
                .iter()
                .map(|t| json!({"name": t.name, "dtype": t.dtype.name(), "shape": t.shape}));
            told["tensors"] = row.collect();
        }
        println!("{told}");
        return Ok(());
    }
    let line = |name: &str, value: &str| format!("  {name:<16} {value}\n");
    let mut text = format!("{}\n{}", path.display(), describe(&read));
    text += &line("container", &container);
    text += &line("size", &bytes(size));
    if let Some(hash) = hash {
        text += &line("SHA-256", &hash);
        text += &line("A1111's hash", hash.get(..12).unwrap_or(&hash));
    }
    for (key, value) in metadata {
        let value: String = value.chars().take(200).collect();
        text += &line(
            "metadata",
            &format!("{} = {}", key.escape_debug(), value.escape_debug()),
        );
    }
    for tensor in &tensors {
        let (dtype, shape, name) = (
            tensor.dtype.name(),
            &tensor.shape,
            tensor.name.escape_debug(),
        );
        text += &format!("  {dtype:<5} {shape:?} {name}\n");
    }
    print!("{text}");
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
