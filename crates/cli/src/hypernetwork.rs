//! `latent info` of hypernetworks.

use std::path::Path;

use latent_checkpoint::{HypernetworkFile, TensorFile};
use latent_pipeline::hypernetworks::made_for;
use serde_json::{Value, json};

use crate::{args::InfoArgs, failure::Failure, told::Told};

/// Tells what the hypernetwork at `path` is; `None` where it is none.
///
/// # Errors
/// Layers that do not go together.
pub fn info(args: &InfoArgs, path: &Path, json: bool) -> Option<Result<(), Failure>> {
    let file = TensorFile::open(path).ok();
    let file = file.filter(HypernetworkFile::recognise)?;
    Some(tell(args, path, file, json))
}

fn tell(args: &InfoArgs, path: &Path, file: TensorFile, json: bool) -> Result<(), Failure> {
    let told = Told::of(args, path, &file)?;
    let read = HypernetworkFile::of(file)?;
    match json {
        true => println!("{}", told.json(self::json(&read))),
        false => print!("{}", told.text(&describe(&read))),
    }
    Ok(())
}

fn json(read: &HypernetworkFile) -> Value {
    let config = read.config();
    let layers = config
        .widths
        .iter()
        .map(|bent| json!({"width": bent.width, "layers": bent.layers}));
    json!({"kind": "hypernetwork", "family": made_for(config), "widths": layers.collect::<Vec<_>>(),
           "activation": config.curve.map(|curve| curve.name()), "activation_at_end": config.curve_at_end,
           "layer_norms": config.norms, "about": read.about()})
}

fn describe(read: &HypernetworkFile) -> String {
    let (config, about) = (read.config(), read.about());
    let widths = config.widths.iter().map(|bent| {
        let layers = bent.layers.iter().map(|size| format!(" → {size}"));
        format!("{}{}", bent.width, layers.collect::<String>())
    });
    let activation = match (config.curve, config.curve_at_end) {
        (None, _) => "none".to_owned(),
        (Some(curve), false) => format!("{}, not after the last layer", curve.name()),
        (Some(curve), true) => curve.name().to_owned(),
    };
    let checkpoint = match (&about.checkpoint, &about.checkpoint_hash) {
        (Some(name), Some(hash)) => Some(format!("{name} (hash {hash})")),
        (Some(name), None) => Some(name.clone()),
        (None, Some(hash)) => Some(format!("a checkpoint of hash {hash}")),
        (None, None) => None,
    };
    let facts = [
        ("what", Some("hypernetwork".to_owned())),
        (
            "family",
            Some(made_for(config).unwrap_or("unknown").to_owned()),
        ),
        ("layers", Some(widths.collect::<Vec<_>>().join(", "))),
        ("activation", Some(activation)),
        ("layer norms", config.norms.then(|| "yes".to_owned())),
        ("name", about.name.clone()),
        ("steps", about.steps.map(|steps| steps.to_string())),
        ("trained on", checkpoint),
    ];
    let told = facts
        .into_iter()
        .filter_map(|(fact, value)| Some(format!("  {fact:<16} {}\n", value?.escape_debug())));
    told.collect()
}
