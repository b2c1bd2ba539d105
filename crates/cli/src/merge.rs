//! `latent merge`, `latent extract`, and `latent convert` of LoRAs.

use std::{path::Path, sync::Arc};

use latent_checkpoint::{
    AdapterFile, Checkpoint, Dtype, Target,
    adapter::{BlockWeights, ExtractOptions, WRITTEN, extract, rename},
    convert::ConvertOptions,
    file::write::Existing,
    mix::{MixOptions, Mixed},
};
use latent_pipeline::{
    family,
    model::{AdapterUse, Merged, Other, family_of, published},
    request::Name,
    resources::Resources,
};
use serde_json::json;

use crate::{
    args::{ConvertArgs, ExtractArgs, MergeArgs},
    failure::{Failure, OK},
    files::thousands,
    job::typed,
    model, screen,
};

fn existing(overwrite: bool) -> Existing {
    match overwrite {
        true => Existing::Replace,
        false => Existing::Refuse,
    }
}

fn checkpoint(name: &Path, folders: &[std::path::PathBuf]) -> Result<Checkpoint, Failure> {
    let place = model::place(name, folders)?;
    Ok(family::open(&place.path, place.files)?.0)
}

/// The checkpoint to merge with, where one is named.
///
/// # Errors
/// One that is not there, a weight that is no number, a list of weights of another length.
fn other(args: &MergeArgs) -> Result<Option<Other>, Failure> {
    let Some(with) = &args.with else {
        return Ok(None);
    };
    let open = |name: &Path| Ok::<_, Failure>(Arc::new(checkpoint(name, &args.library.models)?));
    let weight = args.weight.unwrap_or(match args.minus {
        Some(_) => 1.0,
        None => 0.5,
    });
    if !(-100.0..=100.0).contains(&weight) {
        return Err(Failure::input(format!(
            "--weight {weight}: expected a number from -100 to 100"
        )));
    }
    let blocks = args.blocks.clone().map(BlockWeights::new).transpose();
    Ok(Some(Other {
        added: open(with)?,
        minus: args.minus.as_deref().map(open).transpose()?,
        options: MixOptions {
            weight,
            blocks: blocks.map_err(|e| Failure::input(format!("--blocks: {e}")))?,
        },
    }))
}

/// What merging with another did, a line for each network.
fn tell_mixed(mixed: &Mixed) {
    for (role, changed, share) in &mixed.networks {
        println!(
            "  {role}: {changed} parameters changed, by {:.3} % of its norm",
            100.0 * share
        );
    }
    for role in &mixed.kept {
        println!("  {role}: as it was, since the other has none");
    }
    for role in &mixed.left_out {
        println!("  left out: the other's {role}, which this one has not");
    }
}

/// Runs `latent merge`.
///
/// # Errors
/// Checkpoints or LoRAs that do not fit, an output that exists or cannot be written.
pub fn merge(args: &MergeArgs, json: bool) -> Result<u8, Failure> {
    let target = model::form(&args.target)?;
    let resources = model::resources(&args.library.models, &args.loras.loras, &[])?;
    let uses = typed::loras(&args.lora)?.into_iter().map(|lora| {
        lora.validate()?;
        let place = resources
            .lora(&lora.name)
            .map_err(|e| Failure::from(e).said_of("--lora"))?;
        Ok(AdapterUse::of(&lora, place.path)?)
    });
    let uses: Vec<_> = uses.collect::<Result<_, Failure>>()?;
    let place = model::place(&args.source, &args.library.models)?;
    let (checkpoint, recognised) = family::open(&place.path, place.files)?;
    let other = other(args)?;
    let options = ConvertOptions {
        target,
        dtype: args.dtype.map(|stored| stored.dtype()),
        moving_average: false,
        existing: existing(args.overwrite),
    };
    let bar = screen::bar();
    bar.set_prefix("merging");
    let merged = latent_pipeline::model::merge(
        (&checkpoint, &recognised),
        other.as_ref(),
        &uses,
        &args.target,
        &options,
        &mut |done, all| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        },
    )?;
    bar.finish_and_clear();
    let Merged {
        converted,
        mixed,
        notes,
    } = merged;
    for note in &notes {
        screen::tell(format_args!("note: {note}"));
    }
    if json {
        println!(
            "{}",
            json!({"event": "done", "path": Name::from(args.target.as_path()), "merged": uses.len(), "converted": converted,
                   "mixed": mixed})
        );
        return Ok(OK);
    }
    println!(
        "{}: {} parameters, {} merged",
        args.target.display(),
        thousands(converted.parameters),
        uses.len() + usize::from(mixed.is_some())
    );
    if let Some(mixed) = &mixed {
        tell_mixed(mixed);
    }
    for (name, reason) in &converted.dropped {
        println!("  left out: {name} ({reason})");
    }
    Ok(OK)
}

/// Runs `latent extract`.
///
/// # Errors
/// Checkpoints that do not go together, an output that exists or cannot be written.
pub fn run_extract(args: &ExtractArgs, json: bool) -> Result<u8, Failure> {
    single(&args.target)?;
    let dtype = args.dtype.dtype();
    if !matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
        return Err(Failure::input(
            "--dtype: a LoRA is written as f32, f16 or bf16",
        ));
    }
    if !(0.0..=1.0).contains(&args.kept) {
        return Err(Failure::input(format!(
            "--kept {}: expected a share from 0 to 1",
            args.kept
        )));
    }
    let base = checkpoint(&args.base, &args.library.models)?;
    let tuned = checkpoint(&args.tuned, &args.library.models)?;
    let options = ExtractOptions {
        rank: args.rank.into(),
        kept: args.kept,
        dtype,
        existing: existing(args.overwrite),
    };
    let bar = screen::bar();
    bar.set_prefix("comparing");
    let found = extract(&base, &tuned, &args.target, &options, &mut |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    if json {
        println!(
            "{}",
            json!({"event": "done", "path": Name::from(args.target.as_path()), "extracted": found})
        );
        return Ok(OK);
    }
    let modules = found
        .modules
        .iter()
        .map(|(role, count)| format!("{count} modules of the {role}"));
    let [least, most] = found.ranks.unwrap_or_default();
    println!(
        "{}: {}, ranks {least} to {most}; it holds {:.2} % of the change of matrices and kernels",
        args.target.display(),
        modules.collect::<Vec<_>>().join(", "),
        100.0 * found.kept
    );
    if let Some(first) = found.left_out.first() {
        println!(
            "  left out: {} changed parameters for which a LoRA has no place, such as {first}",
            found.left_out.len()
        );
    }
    Ok(OK)
}

/// A LoRA is one safetensors file.
fn single(path: &Path) -> Result<(), Failure> {
    match Target::of(path) {
        Some(Target::Safetensors) => Ok(()),
        _ => Err(Failure::input(format!(
            "{} is no name for a LoRA: end it in .safetensors",
            path.display()
        ))),
    }
}

/// Runs `latent convert` of a LoRA.
///
/// # Errors
/// Names that are not known, a file that fits no published model or not the given one, an output that cannot be written.
pub fn convert(path: &Path, args: &ConvertArgs, json: bool) -> Result<u8, Failure> {
    let known = || {
        let names = WRITTEN.iter().map(|(name, _)| *name);
        names.collect::<Vec<_>>().join(", ")
    };
    let Some(names) = &args.names else {
        return Err(Failure::input(format!(
            "{} is a LoRA: say in whose names it shall be written with --names, one of {}",
            path.display(),
            known()
        )));
    };
    let dialect = WRITTEN.iter().find(|(name, _)| name == names);
    let (_, dialect) = dialect
        .ok_or_else(|| Failure::input(format!("--names {names}: expected one of {}", known())))?;
    if args.dtype.is_some() || args.ema {
        return Err(Failure::input(
            "--dtype and --ema are of checkpoints: a LoRA is converted to the bit",
        ));
    }
    single(&args.target)?;
    let file = AdapterFile::open(path)?;
    let targets = match &args.like {
        Some(like) => checkpoint(like, &args.library.models)?.targets(),
        None => {
            let family = family_of(&file.made_for());
            family.and_then(published).ok_or_else(|| {
                Failure::input(format!(
                    "{} says not which published model it was made for: give that model with --like FILE",
                    path.display()
                ))
            })?
        }
    };
    let left = rename(
        &file,
        &targets,
        *dialect,
        &args.target,
        existing(args.overwrite),
    )?;
    if json {
        println!(
            "{}",
            json!({"event": "done", "path": Name::from(args.target.as_path()), "names": names, "left_out": left})
        );
        return Ok(OK);
    }
    println!("{}: names of {}", args.target.display(), dialect.words());
    for (name, reason) in &left {
        println!("  left out: {name} ({reason})");
    }
    Ok(OK)
}
