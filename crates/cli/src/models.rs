//! `latent models`.

use latent_pipeline::{
    Resources,
    library::{About, Library, short},
    request::Name,
};
use serde_json::json;

use crate::{
    args::ModelsArgs,
    failure::{Failure, OK},
    files::bytes,
    model, screen,
};

/// Runs the command: a line for each model, or one JSON object.
///
/// # Errors
/// No folder of models, one that cannot be looked through, a file that cannot be hashed.
pub fn models(args: &ModelsArgs, json: bool) -> Result<u8, Failure> {
    let resources = model::resources(&args.library.models, &[], &[])?;
    let library = &resources.models().library;
    if library.entries().is_empty() {
        return Err(Failure::input(
            "no model is in a folder of models: give the folder with --models DIR, or in the environment variable LATENT_MODELS",
        ));
    }
    if args.hash {
        hash(library)?;
    }
    let mut rows = vec![["name", "what it is", "size", "hash"].map(str::to_owned)];
    for entry in library.entries() {
        let about = library.about(entry);
        let known = library.known(entry);
        if json {
            let (kind, what) = match &about {
                About::Model(family) => ("model", family),
                About::Part(networks) => ("part", networks),
                About::Unusable(reason) => ("unusable", reason),
            };
            println!(
                "{}",
                json!({"name": entry.name, "path": Name::from(entry.path.as_path()),
                       "size": entry.size, "kind": kind, "about": what, "sha256": known,
                       "hash": known.as_deref().map(short)})
            );
            continue;
        }
        let what = match about {
            About::Model(what) | About::Part(what) => what,
            About::Unusable(reason) => format!("not to be drawn with: {reason}"),
        };
        rows.push([
            entry.name.to_string().escape_debug().to_string(),
            what,
            bytes(entry.size),
            known.as_deref().map(short).unwrap_or_default().to_owned(),
        ]);
    }
    if !json {
        print!("{}", table(&rows));
    }
    Ok(OK)
}

fn hash(library: &Library) -> Result<(), Failure> {
    let bar = screen::bar();
    for entry in library.entries() {
        bar.set_prefix(format!("hashing {}", entry.name));
        library.hash(entry, &mut |done, all| {
            bar.set_length(all);
            bar.set_position(done);
        })?;
    }
    bar.finish_and_clear();
    Ok(())
}

/// Rows in columns; the longest one, which may be a sentence, stands last.
fn table(rows: &[[String; 4]]) -> String {
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or_default()
    };
    let (name, size) = (width(0), width(2));
    let lines = rows.iter().map(|[title, what, bytes, hash]| {
        let line = format!("{title:name$}  {bytes:>size$}  {hash:10}  {what}");
        format!("{}\n", line.trim_end())
    });
    lines.collect()
}
