//! `latent info` and `latent convert`.

use std::{io::Read, path::Path};

use latent_checkpoint::{
    AdapterFile, Files, Info, InfoOptions, Network, Target, convert::ConvertOptions,
    convert::convert, file::write::Existing,
};
use latent_pipeline::{
    RequestError, Resources,
    embeddings::{KEY, in_picture},
    family::{self, Recognised},
    infotext::{Infotext, STOPPED},
    model::predicted,
    picture::{
        Picture,
        files::{Format, read_bytes},
        metadata::Metadata,
    },
    request::{Name, Request, Size},
    resources::{Place, ResourceError},
};
use serde_json::{Map, Value, json};

use crate::{
    adapter,
    args::{ConvertArgs, InfoArgs},
    control,
    failure::{Failure, OK},
    hypernetwork, inversion, merge, model, screen,
};

/// Runs `latent info`.
///
/// # Errors
/// A file that is neither a checkpoint nor a picture, or a checkpoint that would not load (it is described first).
pub fn info(args: &InfoArgs, json: bool) -> Result<u8, Failure> {
    if is_picture(&args.file) {
        if args.hash || args.tensors {
            return Err(Failure::input(format!(
                "--hash and --tensors are of checkpoints, and {} is a picture: leave them out",
                args.file.display()
            )));
        }
        return picture_info(&args.file, json);
    }
    let place = place(args)?;
    if place.files == Files::Disk
        && let Some(told) = inversion::info(args, &place.path, json)
    {
        return told.map(|()| OK);
    }
    if place.files == Files::Disk
        && let Some(told) = control::info(args, &place.path, json)
    {
        return told.map(|()| OK);
    }
    if place.files == Files::Disk
        && let Some(told) = hypernetwork::info(args, &place.path, json)
    {
        return told.map(|()| OK);
    }
    let options = InfoOptions {
        hash: args.hash,
        tensors: args.tensors,
    };
    let bar = screen::bar();
    bar.set_prefix("hashing the file");
    let info = family::inspect(&place.path, place.files, &options, &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let info = match info {
        Err(_) if place.files == Files::Disk && AdapterFile::is_adapter(&place.path) => {
            return adapter::info(&place.path, args, json);
        }
        info => info?,
    };
    match json {
        true => println!("{}", serde_json::to_value(&info).map_err(Failure::run)?),
        false => print!("{}", describe(&info)),
    }
    match info.parts.iter().find_map(|part| part.problem.clone()) {
        Some(problem) => Err(Failure::input(problem)),
        None => Ok(OK),
    }
}

/// Where what is to be described is: a path, a model, or else a LoRA.
fn place(args: &InfoArgs) -> Result<Place, Failure> {
    let name = args.file.as_path();
    if name.exists() {
        return Ok(name.to_owned().into());
    }
    let resources = model::resources(&args.library.models, &args.loras.loras, &[])?;
    let name = name.into();
    match resources.model(Some(&name)) {
        Err(missing @ ResourceError::Model { .. }) => {
            Ok(resources.lora(&name).map_err(|_| missing)?)
        }
        found => Ok(found?),
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
    let mut metadata = Metadata::read(&name, &bytes)?;
    let request = metadata.request.as_deref().map(Request::values_of_json);
    let size = picture.size();
    let unusable = |e| Failure::input(format!("{name}: {e}"));
    let embedding = match Format::of_bytes(&bytes) {
        Some(Format::Png) => in_picture(&name, &bytes).map_err(unusable)?,
        _ => None,
    };
    if json {
        let request = request
            .transpose()
            .map_err(|e| Failure::input(format!("{name}: its request is damaged: {e}")))?;
        println!(
            "{}",
            json!({"path": Name::from(path), "width": size.width, "height": size.height,
                   "parameters": metadata.parameters, "request": request, "program": metadata.program(), "embedding": embedding.as_ref().map(inversion::json),
                   "others": Map::from_iter(metadata.others.into_iter().map(|(key, text)| (key, text.into())))})
        );
        return Ok(OK);
    }
    if embedding.is_some() {
        metadata.others.retain(|(key, _)| key != KEY);
    }
    print!("{}", describe_picture(&name, size, &metadata, request));
    if let Some(found) = &embedding {
        print!("\nIt holds an embedding:\n{}", inversion::describe(found));
    }
    Ok(OK)
}

/// The most characters of another program's text that are shown; `--json` has all.
const SHOWN: usize = 2000;

fn describe_picture(
    name: &str,
    size: Size,
    metadata: &Metadata,
    request: Option<Result<Value, RequestError>>,
) -> String {
    let mut text = format!("{name}: picture, {size}\n");
    let info = metadata.parameters.as_deref().map(Infotext::parse);
    if let Some(parameters) = &metadata.parameters {
        text += &format!("\n{}\n", plain(parameters));
    }
    if let Some(program) = metadata.program() {
        text += &format!("\nIts text is of {program}.\n");
    }
    for (key, other) in &metadata.others {
        let shown: String = other.chars().take(SHOWN).collect();
        let more = match other.chars().count().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!("… and {more} characters more (--json prints all)"),
        };
        text += &format!("\n{}: {}{more}\n", plain(key), plain(&shown));
    }
    let stopped = info.as_ref().and_then(|info| info.get(STOPPED));
    text += &match (request, stopped) {
        (None, _) => String::new(),
        (Some(Err(e)), _) => format!("\nThe request it holds is damaged: {e}\n"),
        (Some(Ok(_)), Some(at)) => format!(
            "\nIt was stopped at {at}: `latent generate --from {name}` goes on to the end and draws another picture.\n"
        ),
        (Some(Ok(values)), None) => match Request::from_value_each(values) {
            Ok((_, remarks)) if remarks.is_empty() => {
                format!(
                    "\nIt holds its whole request: `latent generate --from {name}` repeats it.\n"
                )
            }
            Ok((_, remarks)) => remarks.iter().fold(
                "\nIt holds a request, of which this is not read:\n".to_owned(),
                |text, remark| format!("{text}  {remark}\n"),
            ),
            Err(e) => format!("\nThe request it holds is damaged: {e}\n"),
        },
    };
    text
}

/// A text out of a file, made fit for a terminal: control characters escaped, but for ends of lines.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
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
    if let Some(prediction) = &info.prediction {
        line("predicts", prediction.clone());
    }
    for note in &info.notes {
        line("note", note.clone());
    }
    if info.moving_average {
        line("moving average", "yes (EMA weights)".to_owned());
    }
    for part in &info.parts {
        let types = part
            .dtypes
            .iter()
            .map(|(dtype, count)| format!("{count} × {dtype}"));
        let types = types.collect::<Vec<_>>().join(", ");
        // Of a role that networks of several kinds take, the kind.
        let kind = match part.config {
            Network::Unet(_) => "U-Net, ",
            Network::Transformer(_) => "transformer, ",
            Network::AutoencoderTiny(_) => "tiny, ",
            _ => "",
        };
        line(
            &part.role.to_string(),
            format!(
                "{kind}{} parameters; {types}; names of {}",
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
    if let Some(first) = info.strangers.first() {
        let count = info.strangers.len();
        line(
            "left out",
            format!(
                "{count} tensors of no network, such as {}",
                first.escape_debug()
            ),
        );
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

/// A number of bytes for people.
pub fn bytes(count: u64) -> String {
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

pub fn thousands(number: usize) -> String {
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
    let place = model::place(&args.source, &args.library.models)?;
    let opened = family::open(&place.path, place.files);
    let (mut checkpoint, recognised) = match opened {
        Err(_) if place.files == Files::Disk && AdapterFile::is_adapter(&place.path) => {
            return merge::convert(&place.path, args, json);
        }
        opened => opened?,
    };
    if let Some(names) = &args.names {
        return Err(Failure::input(format!(
            "--names {names}: {} is a checkpoint, whose names its form decides; the flag is for LoRAs",
            args.source.display()
        )));
    }
    let target = model::form(&args.target)?;
    for note in family::missing(&checkpoint) {
        screen::tell(format_args!("note: {note}"));
    }
    let untold = matches!(recognised, Recognised::Family(family) if family.untold);
    // A folder has to say it.
    if untold && target == Target::Folder && !checkpoint.states_prediction() {
        let predicted = predicted(&checkpoint)?.name();
        checkpoint.set_prediction(predicted);
        screen::tell(format_args!(
            "nothing in {} says whether it predicts noise or velocity: the network itself was asked, and the folder's \
             scheduler_config.json says {predicted}",
            args.source.display()
        ));
    }
    let options = ConvertOptions {
        target,
        dtype: args.dtype.map(|stored| stored.dtype()),
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
            json!({"event": "done", "path": Name::from(args.target.as_path()), "converted": converted})
        );
        return Ok(OK);
    }
    println!(
        "{}: {} parameters",
        args.target.display(),
        thousands(converted.parameters)
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
    fn pictures_of_other_programs_are_described() {
        let size = Size {
            width: 8,
            height: 8,
        };
        let metadata = Metadata {
            others: vec![(
                "prompt".to_owned(),
                format!("{{\x1b[2J{}", "x".repeat(3000)),
            )],
            ..Metadata::default()
        };
        let text = describe_picture("a.png", size, &metadata, None);
        assert!(
            text.contains("ComfyUI") && text.contains("prompt: {\\u{1b}[2Jxxx"),
            "{text}"
        );
        assert!(text.contains("1005 characters more"), "{text}");
        let stopped = Metadata {
            parameters: Some("a\nSteps: 9, Seed: 1, Stopped: step 2 of 9".to_owned()),
            ..Metadata::default()
        };
        let text = describe_picture("a.png", size, &stopped, Some(Ok(Value::Null)));
        assert!(
            text.contains("stopped at step 2 of 9") && !text.contains("repeats it"),
            "{text}"
        );
        let damaged = Request::values_of_json("{");
        let text = describe_picture("a.png", size, &Metadata::default(), Some(damaged));
        assert!(text.contains("damaged"), "{text}");
    }

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
