//! `latent data`: what a data set holds, and data sets that are made.

mod drawings;

use std::path::{Path, PathBuf};

use latent_data::{
    DataConfig, Error,
    build::{self, Fetcher, Notice, Things},
    check::{self, Report},
    compose::{Art, Composer, SceneOptions, Split},
    counted, open, printable,
};
use latent_pipeline::picture::{Picture, metadata::Metadata};
use serde_json::json;

use crate::{
    args::data::{Build, CheckArgs, DataArgs, DataCommand, FashionArgs, Part, ScenesArgs},
    failure::{Failure, INPUT, OK},
    machine, model, screen,
};

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Write { .. } | Error::Program { .. } | Error::Hash { .. } => Self::run(error),
            Error::Exists { .. } => Self {
                name: "output_exists",
                ..Self::input(error)
            },
            _ => Self::input(error),
        }
    }
}

/// Runs `latent data`.
///
/// # Errors
/// A data set that cannot be opened, a target that exists or cannot be written, a download that fails.
pub fn data(args: &DataArgs, json: bool) -> Result<u8, Failure> {
    match &args.command {
        DataCommand::Check(args) => check(args, json),
        DataCommand::Build(args) => match &args.what {
            Build::Scenes(args) => scenes(args, json),
            Build::Default(args) => drawings::default_set(args, json),
            Build::Icons(args) => drawings::icons(args, json),
            Build::FashionMnist(args) => fashion(args, json),
        },
    }
}

/// The data set that a path, URL or configuration names.
///
/// # Errors
/// A configuration that is not understood.
pub fn config(data: &str) -> Result<DataConfig, Failure> {
    match data.ends_with(".toml") {
        true => Ok(DataConfig::read(Path::new(data))?),
        false => Ok(DataConfig::of(data)),
    }
}

/// The list of things that `--things` names, or the program's own.
///
/// # Errors
/// A file that is no list.
pub fn things(file: &Option<PathBuf>) -> Result<Things, Failure> {
    Ok(match file {
        None => Things::own()?,
        Some(file) => Things::read(file)?,
    })
}

/// What the environment says of object stores, in their keys.
pub fn store_options() -> Vec<(String, String)> {
    let ours = |name: &str| {
        let known = ["AWS_", "AZURE_", "GOOGLE_"];
        known.iter().any(|prefix| name.starts_with(prefix))
    };
    let given = std::env::vars_os().filter_map(|(name, value)| {
        let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
        ours(&name).then(|| (name.to_ascii_lowercase(), value))
    });
    given.collect()
}

fn check(args: &CheckArgs, json: bool) -> Result<u8, Failure> {
    machine::set_threads(args.threads)?;
    let config = config(&args.data)?;
    let fit = config.fit()?;
    if let Some(sheet) = &args.sheet {
        latent_pipeline::picture::files::Format::of_path(sheet)?;
    }
    let source = open(&config, &store_options())?;
    let bar = screen::bar();
    bar.set_prefix("checking");
    bar.set_length(source.len() as u64);
    let report = check::check(&*source, &fit, &mut |done| bar.set_position(done as u64));
    bar.finish_and_clear();
    // Reading takes the time: what was found is told before anything else can fail.
    match json {
        true => println!("{}", serde_json::to_value(&report).map_err(Failure::run)?),
        false => print!("{}", describe(&args.data, &report)),
    }
    if let Some(file) = &args.sheet {
        let sheet = check::sheet(&*source, &fit, args.pictures.into(), 8, 128);
        let (w, h) = (sheet.width() as usize, sheet.height() as usize);
        let picture =
            Picture::new(w, h, sheet.into_raw()).ok_or_else(|| Failure::run("an empty sheet"))?;
        picture.write(file, 95, &Metadata::default(), args.overwrite)?;
    }
    Ok(if report.broken.is_empty() { OK } else { INPUT })
}

/// Lines of a list that a person reads; `--json` has them all.
const LINES: usize = 20;

fn describe(name: &str, report: &Report) -> String {
    let good = report.pictures - report.broken.len();
    let mut text = format!(
        "{name}: {}, {} broken\n",
        counted(report.pictures, "picture"),
        report.broken.len()
    );
    let mut line = |name: &str, value: String| text += &format!("  {name:<14} {value}\n");
    line("read as", report.read.to_string());
    let notes = report.read.notes.iter();
    list(&mut line, "note", notes.cloned());
    let sides = report.sides.iter().map(|group| match group.below {
        Some(below) => format!("{}–{}: {}", group.from, below - 1, group.count),
        None => format!("{} and more: {}", group.from, group.count),
    });
    line("shorter side", sides.collect::<Vec<_>>().join(", "));
    let sized = |sizes: &[check::SizeCount]| {
        let sizes = sizes
            .iter()
            .take(8)
            .map(|s| format!("{}x{}: {}", s.width, s.height, s.count));
        sizes.collect::<Vec<_>>().join(", ")
    };
    line("width x height", sized(&report.sizes));
    if report.shapes != report.sizes {
        line("as examples", sized(&report.shapes));
    }
    let captions = &report.captions;
    line(
        "captions",
        match (captions.count, captions.empty) {
            (0, 0) => "none".to_owned(),
            (count, _) => format!(
                "{count} of {} ({:.0} %), {} different; {:.1} words on average, {} at most",
                counted(good, "picture"),
                100.0 * count as f64 / good as f64,
                captions.distinct,
                captions.mean_words,
                captions.most_words
            ),
        },
    );
    if captions.empty > 0 {
        line("empty captions", counted(captions.empty, "more picture"));
    }
    if !captions.common.is_empty() {
        let words = captions
            .common
            .iter()
            .map(|(word, count)| format!("{} ({count})", word.escape_debug()));
        line("common words", words.collect::<Vec<_>>().join(", "));
    }
    for (what, count) in [
        ("masks", report.masks),
        ("with boxes", report.boxed),
        ("low resolution", report.low),
    ] {
        if count > 0 {
            line(what, format!("{count} of {}", counted(good, "picture")));
        }
    }
    let names = |class: &check::Class| match &class.name {
        Some(name) => format!("{} {}", class.id, name.escape_debug()),
        None => class.id.to_string(),
    };
    let classes = report.classes.iter().map(|class| match class.boxes {
        0 => format!("{}: {}", names(class), class.pictures),
        boxes => format!("{}: {}, {boxes} boxes", names(class), class.pictures),
    });
    list(&mut line, "class", classes);
    let groups = report.duplicates.iter();
    list(
        &mut line,
        "same pixels",
        groups.map(|group| printable(&group.join(" = "))),
    );
    let broken = report.broken.iter();
    list(
        &mut line,
        "broken",
        broken.map(|b| printable(&format!("{}: {}", b.id, b.reason))),
    );
    text
}

fn list(
    line: &mut impl FnMut(&str, String),
    name: &str,
    items: impl ExactSizeIterator<Item = String>,
) {
    let more = items.len().saturating_sub(LINES);
    for item in items.take(LINES) {
        line(name, item);
    }
    if more > 0 {
        line(name, format!("and {more} more (--json lists them all)"));
    }
}

fn fetcher(cache: Option<&Path>) -> Result<Fetcher, Failure> {
    let usual = || Some(model::cache_folder()?.join("latent"));
    let folder = cache.map(Path::to_owned).or_else(usual);
    let folder = folder.ok_or_else(|| {
        Failure::input("there is no home folder to keep downloads in: give --cache")
    })?;
    Ok(Fetcher::new(folder))
}

fn scenes(args: &ScenesArgs, json: bool) -> Result<u8, Failure> {
    machine::set_threads(args.threads)?;
    let (art, notices) = art(args)?;
    let options = SceneOptions {
        seed: args.seed,
        size: args.size,
        objects: args.least..=args.most,
        paint: !args.no_paint,
        split: match args.split {
            Part::All => Split::All,
            Part::Train => Split::Train,
            Part::Test => Split::Test,
        },
    };
    let composer = Composer::new(art, options).map_err(|error| match error {
        Error::Setting {
            name: "size",
            reason,
            ..
        } => Failure::input(format!("--size {}: {reason}", args.size)),
        Error::Setting {
            name: "objects",
            reason,
            ..
        } => Failure::input(format!(
            "--least {} --most {}: {reason}",
            args.least, args.most
        )),
        other => other.into(),
    })?;
    let last = args
        .first
        .checked_add(args.count)
        .filter(|_| args.count > 0);
    let last =
        last.ok_or_else(|| Failure::input(format!("--count {}: expected 1 or more", args.count)))?;
    let bar = screen::bar();
    bar.set_prefix("composing");
    bar.set_length(args.count);
    build::scenes(
        &composer,
        args.first..last,
        &notices,
        &args.target,
        &mut |done| bar.set_position(done),
    )?;
    bar.finish_and_clear();
    let things = composer.classes().len() - 1;
    match json {
        true => println!(
            "{}",
            json!({"event": "done", "path": args.target, "scenes": args.count, "classes": composer.classes()})
        ),
        false => println!(
            "{}: {} of {}",
            args.target.display(),
            counted(args.count as usize, "scene"),
            counted(things, "thing")
        ),
    }
    Ok(OK)
}

/// The drawings that were asked for, and whose they are.
fn art(args: &ScenesArgs) -> Result<(Art, Vec<Notice>), Failure> {
    let wanted: Vec<&str> = args.concepts.iter().map(String::as_str).collect();
    let all = wanted == ["all"];
    let mut art = Art::default();
    let mut notices = Vec::new();
    for name in &args.art {
        if name == "shapes" {
            art.extend(Art::shapes());
            notices.push(Notice::Own);
            continue;
        }
        let package = build::packages().iter().find(|package| package.key == name);
        let package = package.ok_or_else(|| {
            let known = build::packages().iter().map(|package| package.key);
            Failure::input(format!(
                "--art {name} is not known: expected shapes, {}",
                known.collect::<Vec<_>>().join(", ")
            ))
        })?;
        let wanted = match (all, wanted.is_empty()) {
            (true, _) => &[],
            (_, true) => build::EVERYDAY,
            _ => &wanted[..],
        };
        let note = screen::spinner("reading drawings");
        art.extend(build::art(
            &fetcher(args.cache.as_deref())?,
            package,
            wanted,
        )?);
        note.finish_and_clear();
        notices.push(Notice::Package(*package));
    }
    if let Some(folder) = &args.art_folder {
        art.extend(Art::folder(folder, "cut-out")?);
        notices.push(Notice::Folder(folder.display().to_string()));
    }
    if !all && !wanted.is_empty() {
        for name in &wanted {
            if !art
                .drawings
                .iter()
                .any(|drawing| drawing.is_one_of(&[name]))
            {
                return Err(Failure::input(format!(
                    "--concepts {name}: no set that was given has it"
                )));
            }
        }
        art.keep(&wanted);
    }
    Ok((art, notices))
}

fn fashion(args: &FashionArgs, json: bool) -> Result<u8, Failure> {
    if let Some(from) = args.from.as_deref().filter(|from| !from.exists()) {
        return Err(Failure {
            name: "resource_missing",
            ..Failure::input(format!(
                "--from {}: there is no such file or folder",
                from.display()
            ))
        });
    }
    let note = screen::spinner("fetching and unpacking");
    build::fashion_mnist(
        &fetcher(args.cache.as_deref())?,
        args.from.as_deref(),
        &args.target,
    )?;
    note.finish_and_clear();
    match json {
        true => println!("{}", json!({"event": "done", "path": args.target})),
        false => println!(
            "{}: 60000 training and 10000 test pictures of {} classes",
            args.target.display(),
            build::FASHION_CLASSES.len()
        ),
    }
    Ok(OK)
}
