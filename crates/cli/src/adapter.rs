//! `latent info` of LoRAs and their kin.

use std::path::Path;

use latent_checkpoint::{
    AdapterFile,
    adapter::About,
    file::hash::{sha256, short_hash},
    info::TensorRow,
};
use latent_pipeline::{model::about, request::Name};
use serde_json::json;

use crate::{
    args::InfoArgs,
    failure::{Failure, OK},
    files::{bytes, thousands},
    screen,
};

/// Describes the adapter at `path`.
///
/// # Errors
/// One whose parts do not go together, or that cannot be read.
pub fn info(path: &Path, args: &InfoArgs, json: bool) -> Result<u8, Failure> {
    let (about, family, file) = about(path)?;
    let bar = screen::bar();
    bar.set_prefix("hashing the file");
    let mut progress = |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    };
    let hash = args.hash && path.is_file();
    let whole = hash.then(|| sha256(path, &mut progress)).transpose();
    let whole = whole.map_err(latent_checkpoint::ModelError::from)?;
    let network = args
        .hash
        .then(|| file.network_hash(&mut progress))
        .transpose();
    let network = network
        .map_err(latent_checkpoint::ModelError::from)?
        .flatten();
    bar.finish_and_clear();
    let rows = || file.infos().map(TensorRow::from);
    if json {
        let tensors = args.tensors.then(|| rows().collect::<Vec<_>>());
        println!(
            "{}",
            json!({"path": Name::from(path), "kind": "adapter", "family": family, "size": file.size(), "about": about,
                   "metadata": file.metadata(), "sha256": whole, "network_hash": network, "tensors": tensors})
        );
        return Ok(OK);
    }
    print!("{}", describe(path, &about, family, &file));
    if let Some(whole) = whole {
        line("SHA-256", &whole);
        line("model hash", short_hash(&whole));
    }
    if let Some(network) = network {
        line("A1111's hash", &network);
    }
    if args.tensors {
        for row in rows() {
            println!("  {:<5} {:?} {}", row.dtype, row.shape, row.name);
        }
    }
    Ok(OK)
}

fn line(name: &str, value: &str) {
    println!("  {name:<16} {value}");
}

fn describe(path: &Path, about: &About, family: Option<&str>, file: &AdapterFile) -> String {
    let mut text = format!("{}\n", path.display());
    let mut line = |name: &str, value: String| text += &format!("  {name:<16} {value}\n");
    let kinds = about
        .kinds
        .iter()
        .map(|(kind, count)| format!("{} ({count} modules)", kind.words()));
    line("adapter", kinds.collect::<Vec<_>>().join(", "));
    if about.with_magnitudes > 0 {
        line(
            "magnitudes",
            format!("of {} modules (DoRA)", about.with_magnitudes),
        );
    }
    let made = &about.made_for;
    let widths = [
        ("tokens of width", made.context),
        ("a text encoder of width", made.text),
    ];
    let widths = widths
        .iter()
        .filter_map(|(what, width)| Some(format!("{what} {}", (*width)?)));
    let widths: Vec<String> = widths.collect();
    line(
        "made for",
        match (family, widths.is_empty()) {
            (Some(family), true) => family.to_owned(),
            (Some(family), false) => format!("{family} ({})", widths.join(", ")),
            (None, true) => "nothing in it says".to_owned(),
            (None, false) => format!("a model of {}", widths.join(" and ")),
        },
    );
    if let Some(stated) = &made.stated {
        line("its trainer says", stated.escape_debug().to_string());
    }
    let dialects = about.dialects.iter().map(|(dialect, _)| dialect.words());
    line("names of", dialects.collect::<Vec<_>>().join(", "));
    if let Some(ranks) = about.ranks {
        line("rank", ranks.to_string());
    }
    line(
        "alpha",
        about
            .alphas
            .map_or("none: as the rank".to_owned(), |alphas| alphas.to_string()),
    );
    for touched in &about.touched {
        let network = touched
            .network
            .map_or("of an unknown network".to_owned(), |role| role.to_string());
        line(&network, format!("{} modules", touched.modules));
    }
    let types = about
        .dtypes
        .iter()
        .map(|(dtype, count)| format!("{count} × {dtype}"));
    line(
        "holds",
        format!(
            "{} numbers, {}; {}",
            thousands(about.parameters),
            types.collect::<Vec<_>>().join(", "),
            bytes(file.size())
        ),
    );
    for (what, value) in &about.trained {
        line(what, value.escape_debug().to_string());
    }
    if !about.words.is_empty() {
        let words = about
            .words
            .iter()
            .map(|(word, count)| format!("{} ({count})", word.escape_debug()));
        line("words", words.collect::<Vec<_>>().join(", "));
    }
    if let Some(first) = about.unknown.first() {
        line(
            "unknown",
            format!(
                "{} tensors, such as {}",
                about.unknown.len(),
                first.escape_debug()
            ),
        );
    }
    if let Some((first, why)) = about.left_out.first() {
        line(
            "left out",
            format!(
                "{} tensors, such as {} ({why})",
                about.left_out.len(),
                first.escape_debug()
            ),
        );
    }
    text
}
