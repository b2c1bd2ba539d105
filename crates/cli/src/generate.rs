//! `latent generate`.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::Instant,
};

use burn::tensor::Device;
use latent_pipeline::{
    MemoryPlan, Model, Resources,
    picture::{
        Picture,
        files::{Format, check_free, check_writable, numbered, with_number, write_atomic},
        grid::{columns_for, grid},
        metadata::Metadata,
        preview::{self, Previewer},
    },
    request::{Name, Request},
};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

use crate::{
    args::{GenerateArgs, Grid, OutputArgs, PreviewTo},
    failure::{Failure, INTERRUPTED, OK},
    job, machine, model,
    screen::{self, TerminalPreview},
    watch::{Preview, Watch},
};

/// Runs the command; the exit code.
///
/// # Errors
/// The first failure. Pictures finished before it stay.
pub fn generate(args: &GenerateArgs, json: bool) -> Result<u8, Failure> {
    let mut resources = model::resources(
        &args.model.library.models,
        &args.model.loras.loras,
        &args.model.embeddings,
    )?;
    resources.models.hypernetworks = model::hypernetworks(&args.model.hypernetworks)?;
    let mut jobs = job::jobs(args, &resources)?;
    tell_all(&jobs.notes);
    let total = jobs.requests.iter().map(Request::pictures).sum();
    let output = &args.output;
    let (paths, sheet_path) = match &output.grid {
        Some(Grid::Shape(_)) => (Vec::new(), paths(args, 1)?.pop()),
        grid => {
            let single = match output.skip_save {
                true => Vec::new(),
                false => paths(args, total)?,
            };
            let sheet = grid.as_ref().and_then(Grid::file);
            (single, sheet.cloned())
        }
    };
    let preview = preview(output)?;
    prepare(output, &paths, sheet_path.as_ref(), &preview)?;
    tell_all(&idle_outputs(
        output,
        paths.iter().chain(&sheet_path),
        &preview,
    )?);
    machine::set_threads(args.model.threads)?;
    let device = machine::device(&args.model.device)?;
    let presses = screen::on_ctrl_c(screen::AFTER_STEP)?;

    let started = Instant::now();
    let tiny = tiny(output, &preview, &resources, &device)?;
    let model = model::open(
        &jobs.requests[0],
        &resources,
        &device,
        !output.no_metadata,
        json,
        jobs.requests.len() == 1,
    )?;
    jobs.take_defaults(&model, &resources)?;
    tell_all(&job::remarks_on(&jobs, &model)?);
    let previewer = previewer(tiny, &preview, &model)?;
    let model = model.packed_for(&jobs.requests[0]);
    // The plan is about the machine's memory; a GPU has its own.
    let available = args
        .model
        .device
        .eq_ignore_ascii_case("cpu")
        .then(machine::free_memory)
        .flatten();
    let mut watch = Watch::new(output, json, paths, (preview, previewer), presses.clone());
    let mut requests = jobs.requests.iter().peekable();
    let mut model = Some(model);
    while let (Some(request), Some(mut open)) = (requests.next(), model.take()) {
        tell_all(&open.adapt(&resources.adapters(request)?)?);
        if !output.no_metadata {
            open.hash_adapters(&mut |_, _| {})?;
        }
        explain(request, &open);
        watch.begin(request);
        if requests.peek().is_some() {
            latent_pipeline::run(request, &open, &resources, available, &mut watch)?;
            model = Some(open);
        } else {
            latent_pipeline::run_once(request, open, &resources, available, &mut watch)?;
        }
        watch.check()?;
        if presses.load(Ordering::SeqCst) > 0 {
            break;
        }
    }
    let drawn = watch.finish();
    if let Some(path) = &sheet_path {
        sheet(output, path, &drawn.pictures, json)?;
    }
    if let Some(path) = &output.save_latents {
        write_latents(path, &drawn.latents, output.overwrite)?;
    }
    let interrupted = presses.load(Ordering::SeqCst) > 0;
    if json {
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "{}",
            json!({"event": "done", "pictures": drawn.count, "seconds": seconds, "interrupted": interrupted})
        );
    }
    Ok(if interrupted { INTERRUPTED } else { OK })
}

/// The names of all pictures.
fn paths(args: &GenerateArgs, total: usize) -> Result<Vec<PathBuf>, Failure> {
    let overwrite = args.output.overwrite;
    let target = match (&args.output.output, &args.legacy.outdir) {
        (Some(path), _) => path.clone(),
        (None, Some(folder)) => {
            create_folder(folder)?;
            folder.clone()
        }
        (None, None) => PathBuf::from("."),
    };
    if !ends_in_slash(&target) && !target.is_dir() {
        Format::of_path(&target)?;
    }
    let Some(first) = args.output.output_begin_idx else {
        return Ok(numbered(&target, total, overwrite));
    };
    // Numbers from the first one asked for, whatever is there already.
    let base = match target.is_dir() || ends_in_slash(&target) {
        true => target.join("latent.png"),
        false => target,
    };
    let numbers = first..first.saturating_add(total);
    Ok(numbers.map(|i| with_number(&base, i)).collect())
}

fn ends_in_slash(path: &Path) -> bool {
    path.as_os_str().to_string_lossy().ends_with('/')
}

fn tell_all(notes: &[String]) {
    for note in notes {
        screen::tell(format_args!("note: {note}"));
    }
}

fn create_folder(folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)
        .map_err(|e| Failure::run(format!("cannot make the folder {}: {e}", folder.display())))
}

/// Finds out before any work whether everything can be written where it shall be.
fn prepare(
    output: &OutputArgs,
    pictures: &[PathBuf],
    sheet: Option<&PathBuf>,
    preview: &Preview,
) -> Result<(), Failure> {
    if let Some(path) = sheet {
        Format::of_path(path)?;
    }
    for path in pictures.iter().filter(|_| output.transparent) {
        if Format::of_path(path)? == Format::Jpeg {
            return Err(Failure::input(format!(
                "--transparent: {} is a JPEG, which has no transparency: write .png or .webp",
                path.display()
            )));
        }
    }
    let shown = match preview {
        Preview::File(file) => Some(file),
        _ => None,
    };
    let written = pictures.iter().chain(sheet).chain(&output.save_latents);
    let files = written.chain(shown);
    let mut seen = HashSet::new();
    let mut folders = HashSet::new();
    for file in files {
        // One file may have several names.
        if !seen.insert(std::path::absolute(file).unwrap_or_else(|_| file.clone())) {
            return Err(Failure::input(format!(
                "{} is to be written twice",
                file.display()
            )));
        }
        let folder = file.parent().unwrap_or(Path::new(""));
        if !folder.as_os_str().is_empty() {
            create_folder(folder)?;
        }
        match folders.insert(folder) {
            true => check_writable(file, output.overwrite)?,
            false => check_free(file, output.overwrite)?,
        }
    }
    Ok(())
}

/// Flags for files that are not written.
///
/// # Errors
/// A file whose name says no format.
fn idle_outputs<'a>(
    output: &OutputArgs,
    mut files: impl Iterator<Item = &'a PathBuf>,
    preview: &Preview,
) -> Result<Vec<String>, Failure> {
    let is_jpeg = |file: &PathBuf| Format::of_path(file).is_ok_and(|f| f == Format::Jpeg);
    let shaped = matches!(output.grid, Some(Grid::Shape(_)));
    let jpeg = files.any(is_jpeg) || matches!(preview, Preview::File(file) if is_jpeg(file));
    let rules = [
        (
            output.quality.is_some() && !jpeg,
            "--quality has no effect: no file of this run is a JPEG",
        ),
        (
            output.preview.interval.is_some() && matches!(preview, Preview::None),
            "--preview-interval has no effect: there is no preview (--preview)",
        ),
        (
            output.preview.vae.is_some() && matches!(preview, Preview::None),
            "--preview-vae has no effect: there is no preview (--preview)",
        ),
        (
            output.output_begin_idx.is_some() && shaped,
            "--output-begin-idx has no effect: one sheet is written",
        ),
    ];
    if let Some(columns) = output.grid_columns.filter(|_| shaped) {
        return Err(Failure::input(format!(
            "--grid-columns {columns}: --grid says how many columns there are, leave it out"
        )));
    }
    let rules = rules.into_iter().filter(|(idle, _)| *idle);
    Ok(rules.map(|(_, text)| text.to_owned()).collect())
}

/// The tiny autoencoder that previews are asked from, and what it is called.
fn tiny<'a>(
    output: &'a OutputArgs,
    preview: &Preview,
    resources: &dyn Resources,
    device: &Device,
) -> Result<Option<(&'a Path, Previewer)>, Failure> {
    let asked = output.preview.vae.as_deref();
    let asked = asked.filter(|_| !matches!(preview, Preview::None));
    let opened = asked.map(|name| {
        let place = resources.part(&name.into());
        let place = place.map_err(|e| Failure::from(e).said_of("--preview-vae"))?;
        Ok((name, Previewer::tiny(&place.path, device)?))
    });
    opened.transpose()
}

/// What shows latents of this model: the tiny autoencoder that was opened for it, or a linear map.
fn previewer(
    tiny: Option<(&Path, Previewer)>,
    preview: &Preview,
    model: &Model,
) -> Result<Option<Previewer>, Failure> {
    let Some((path, tiny)) = tiny else {
        let shown = !matches!(preview, Preview::None);
        return Ok(shown.then(|| Previewer::of(model)).transpose()?);
    };
    let fitting = tiny.fitting(model);
    let tiny =
        fitting.map_err(|e| Failure::input(format!("--preview-vae: {}: {e}", path.display())))?;
    if let Some(other) = preview::other_tiny(path, &model.family) {
        tell_all(&[format!("--preview-vae {other}")]);
    }
    Ok(Some(tiny))
}

fn preview(output: &OutputArgs) -> Result<Preview, Failure> {
    let file = |path: &PathBuf| -> Result<Preview, Failure> {
        Format::of_path(path)?;
        Ok(Preview::File(path.clone()))
    };
    let args = &output.preview;
    match (&args.to, &args.path) {
        (PreviewTo::None, None) => Ok(Preview::None),
        (PreviewTo::Terminal, None) if !TerminalPreview::possible() => Err(Failure::input(
            "--preview terminal needs a terminal on standard error: give a file instead",
        )),
        (PreviewTo::Terminal, None) => Ok(Preview::Terminal(TerminalPreview::default())),
        (PreviewTo::Projection, _) if args.vae.is_some() => Err(Failure::input(
            "--preview proj is the linear map: leave --preview-vae out, or use --preview tae",
        )),
        (PreviewTo::Tiny, _) if args.vae.is_none() => Err(Failure::input(
            "--preview tae needs --preview-vae FILE, a tiny autoencoder",
        )),
        (PreviewTo::Projection | PreviewTo::Tiny, None) => Err(Failure::input(
            "--preview proj and --preview tae need --preview-path FILE",
        )),
        (PreviewTo::None | PreviewTo::Projection | PreviewTo::Tiny, Some(path)) => file(path),
        (PreviewTo::File(path), None) => match path.to_str() {
            Some("vae") => Err(Failure::input(
                "--preview vae cannot be honoured: previews are made by a linear map or by a tiny autoencoder (--preview-vae)",
            )),
            // Whatever else is typed here names a way to make previews, or a file.
            _ => file(path)
                .map_err(|e| e.said_of("--preview takes none, terminal, proj, tae or a file")),
        },
        (_, Some(_)) => Err(Failure::input(
            "--preview-path goes with --preview proj and --preview tae",
        )),
    }
}

/// The memory plan and the settings, for `-v`.
fn explain(request: &Request, model: &Model) {
    tracing::info!("memory: {}", MemoryPlan::of(request, model));
    tracing::info!("model: {} ({})", model.name, model.family.name);
    for line in job::describe(request) {
        tracing::info!("{line}");
    }
}

fn sheet(
    output: &OutputArgs,
    path: &Path,
    pictures: &[Picture],
    json: bool,
) -> Result<(), Failure> {
    let shape = match &output.grid {
        Some(Grid::Shape([columns, _])) => Some(*columns),
        _ => output.grid_columns,
    };
    let columns = shape.unwrap_or_else(|| columns_for(pictures.len()));
    let Some(sheet) = grid(pictures, columns) else {
        return Ok(());
    };
    let quality = output.jpeg_quality();
    sheet.write(path, quality, &Metadata::default(), output.overwrite)?;
    let (size, count) = (sheet.size(), pictures.len());
    match json {
        true => println!(
            "{}",
            json!({"event": "sheet", "path": Name::from(path), "pictures": count,
                   "width": size.width, "height": size.height})
        ),
        false => println!("{}  (sheet of {count})", path.display()),
    }
    Ok(())
}

/// Latents of one size as one tensor, in the denoiser's scale.
fn write_latents(path: &Path, latents: &[Latent], overwrite: bool) -> Result<(), Failure> {
    let Some(first) = latents.first() else {
        return Ok(());
    };
    let shape = [&[latents.len()][..], &first.shape[1..]].concat();
    let values: Vec<u8> = latents
        .iter()
        .flat_map(|l| &l.values)
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let seeds: Vec<String> = latents.iter().map(|l| l.seed.to_string()).collect();
    let about = HashMap::from([
        ("seeds".to_owned(), seeds.join(",")),
        (
            "scale".to_owned(),
            "of the denoiser: divide by the autoencoder's scaling factor to decode".to_owned(),
        ),
    ]);
    let failed = |e| {
        Failure::run(format!(
            "cannot write the latents to {}: {e}",
            path.display()
        ))
    };
    let view = TensorView::new(Dtype::F32, shape, &values).map_err(failed)?;
    let bytes = safetensors::serialize([("latents", view)], Some(about)).map_err(failed)?;
    Ok(write_atomic(path, &bytes, overwrite)?)
}

/// A latent kept for `--save-latents`.
#[derive(Debug)]
pub struct Latent {
    /// The picture's seed.
    pub seed: u64,
    /// `[1, channels, height, width]`.
    pub shape: Vec<usize>,
    /// Row-major.
    pub values: Vec<f32>,
}
