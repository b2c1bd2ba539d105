//! `latent info` and `latent convert`.

use std::{io::Read, path::Path};

use latent_checkpoint::{
    Dtype, Info, InfoOptions, Target, convert::ConvertOptions, convert::convert,
    file::write::Existing,
};
use latent_pipeline::{
    family,
    picture::{
        Picture,
        files::{Format, read_bytes},
        metadata::Metadata,
    },
    request,
};
use serde_json::json;

use crate::{
    args::{ConvertArgs, InfoArgs},
    failure::{Failure, OK},
    model, screen,
};

/// Runs `latent info`.
///
/// # Errors
/// A file that is neither a checkpoint nor a picture, or a checkpoint that would not load (it is described first).
pub fn info(args: &InfoArgs, json: bool) -> Result<u8, Failure> {
    if is_picture(&args.file) {
        return picture_info(&args.file, json);
    }
    let options = InfoOptions {
        hash: args.hash,
        tensors: args.tensors,
    };
    let bar = screen::bar();
    bar.set_prefix("hashing the file");
    let built_in = model::built_in(&args.file);
    let info = family::inspect(&args.file, built_in, &options, &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    match json {
        true => println!("{}", serde_json::to_value(&info).map_err(Failure::run)?),
        false => print!("{}", describe(&info)),
    }
    match info.parts.iter().find_map(|part| part.problem.clone()) {
        Some(problem) => Err(Failure::input(problem)),
        None => Ok(OK),
    }
}

fn is_picture(path: &Path) -> bool {
    let mut start = [0; 12];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && Format::of_bytes(&start).is_some()
}

fn picture_info(path: &Path, json: bool) -> Result<u8, Failure> {
    let name = path.display().to_string();
    let bytes = read_bytes(path)?;
    let picture = Picture::decode(&name, &bytes)?;
    let metadata = Metadata::read(&name, &bytes)?;
    let request = metadata
        .request
        .as_deref()
        .map(serde_json::from_str::<serde_json::Value>);
    let request = request
        .transpose()
        .map_err(|e| Failure::input(format!("{name}: its request is damaged: {e}")))?;
    let size = picture.size();
    if json {
        println!(
            "{}",
            json!({"path": name, "width": size.width, "height": size.height, "parameters": metadata.parameters,
                   "request": request})
        );
        return Ok(OK);
    }
    println!("{name}: picture, {size}");
    if let Some(text) = metadata.parameters {
        println!("\n{text}");
    }
    if request.is_some() {
        println!("\nIt holds its whole request: `latent generate --from {name}` repeats it.");
    }
    Ok(OK)
}

fn describe(info: &Info) -> String {
    let mut text = format!("{}\n", info.path);
    let mut line = |name: &str, value: String| text += &format!("  {name:<16} {value}\n");
    line(
        "family",
        info.family.clone().unwrap_or_else(|| "unknown".to_owned()),
    );
    line("container", info.containers.join(", "));
    line("size", bytes(info.size));
    line("predicts", info.prediction.clone());
    for note in &info.notes {
        line("note", note.clone());
    }
    if info.moving_average {
        line(
            "moving average",
            "yes (EMA weights beside the weights)".to_owned(),
        );
    }
    for part in &info.parts {
        let types = part
            .dtypes
            .iter()
            .map(|(dtype, count)| format!("{count} × {dtype}"));
        let types = types.collect::<Vec<_>>().join(", ");
        line(
            &part.role.to_string(),
            format!(
                "{} parameters; {types}; names of {}",
                thousands(part.parameters),
                scheme(part.scheme)
            ),
        );
        if let Some(problem) = &part.problem {
            line("", format!("would not load: {problem}"));
        }
    }
    if info.other_tensors > 0 {
        line("other tensors", info.other_tensors.to_string());
    }
    if !info.other_components.is_empty() {
        line("not read here", info.other_components.join(", "));
    }
    if let Some(hash) = &info.hash {
        line("SHA-256", hash.sha256.clone());
        line(
            "A1111's hash",
            format!("{} (before 2023: {})", hash.short, hash.old),
        );
    }
    for (key, value) in &info.metadata {
        let value: String = value.chars().take(200).collect();
        line("metadata", format!("{key} = {}", value.escape_debug()));
    }
    for tensor in info.tensors.iter().flatten() {
        text += &format!("  {:<5} {:?} {}\n", tensor.dtype, tensor.shape, tensor.name);
    }
    text
}

/// The scheme's own name in JSON.
fn scheme(scheme: latent_checkpoint::Scheme) -> String {
    let name = serde_json::to_value(scheme).ok();
    name.as_ref()
        .and_then(|name| name.as_str())
        .unwrap_or("an unknown program")
        .to_owned()
}

fn bytes(count: u64) -> String {
    let mut value = count as f64;
    let mut units = ["bytes", "KiB", "MiB", "GiB", "TiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for next in units {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    match unit {
        "bytes" => format!("{count} bytes"),
        unit => format!("{value:.2} {unit}"),
    }
}

fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).unwrap_or_default())
        .collect();
    groups.join(",")
}

/// Runs `latent convert`.
///
/// # Errors
/// An input that would not load, an output that exists or cannot be written.
pub fn convert_file(args: &ConvertArgs, json: bool) -> Result<u8, Failure> {
    let Some(target) = Target::of(&args.target) else {
        return Err(Failure::input(format!(
            "{} names no form: end it in .safetensors or .ckpt for one file, or give a name without an ending for a \
             diffusers folder",
            args.target.display()
        )));
    };
    let dtype = match args.dtype {
        None => None,
        Some(request::Dtype::F32) => Some(Dtype::F32),
        Some(request::Dtype::F16) => Some(Dtype::F16),
        Some(request::Dtype::Bf16) => Some(Dtype::BF16),
        Some(request::Dtype::Int8) => {
            return Err(Failure::input(
                "--dtype int8 is a way to compute, not to store: convert to f16 or bf16 and give generate --dtype int8",
            ));
        }
    };
    let (checkpoint, _) = family::open(&args.source, model::built_in(&args.source))?;
    let options = ConvertOptions {
        target,
        dtype,
        moving_average: args.ema,
        existing: if args.overwrite {
            Existing::Replace
        } else {
            Existing::Refuse
        },
    };
    let bar = screen::bar();
    bar.set_prefix("converting");
    let converted = convert(&checkpoint, &args.target, &options, &mut |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    if json {
        println!(
            "{}",
            json!({"event": "done", "path": args.target, "converted": converted})
        );
        return Ok(OK);
    }
    println!(
        "{}: {} parameters",
        args.target.display(),
        converted.parameters
    );
    for (name, reason) in &converted.dropped {
        println!("  left out: {name} ({reason})");
    }
    Ok(OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(
            [7, 1234, 859_520_964].map(thousands),
            ["7", "1,234", "859,520,964"]
        );
        assert_eq!(bytes(12), "12 bytes");
        assert_eq!(bytes(3 << 29), "1.50 GiB");
    }
}
