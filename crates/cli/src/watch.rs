//! What `latent generate` does while the library draws: shows, saves, stops.

use std::{
    collections::VecDeque,
    ops::ControlFlow,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use indicatif::ProgressBar;
use latent_diffusion::Step;
use latent_pipeline::{
    Hooks, Output,
    picture::{Picture, files::Format, metadata::Metadata, preview::Previewer},
    request::{Name, Request},
};
use serde_json::json;

use crate::{
    args::OutputArgs,
    failure::Failure,
    generate::Latent,
    screen::{self, TerminalPreview},
};

/// Where previews go.
#[derive(Debug)]
pub enum Preview {
    /// Nowhere.
    None,
    /// Above the bar.
    Terminal(TerminalPreview),
    /// Into a file, rewritten each time.
    File(PathBuf),
}

/// Everything drawn, kept for what is written at the end.
#[derive(Debug, Default)]
pub struct Kept {
    /// How many pictures there were.
    pub count: usize,
    /// The pictures, where a sheet was asked for.
    pub pictures: Vec<Picture>,
    /// The latents, where they were asked for.
    pub latents: Vec<Latent>,
}

/// The hooks of a run.
pub struct Watch<'a> {
    args: &'a OutputArgs,
    json: bool,
    paths: VecDeque<PathBuf>,
    preview: Preview,
    previewer: Option<Previewer>,
    presses: Arc<AtomicUsize>,
    bar: ProgressBar,
    /// Pictures of the request, and how many are done.
    pictures: (usize, usize),
    begun: Instant,
    kept: Kept,
    failure: Option<Failure>,
}

impl<'a> Watch<'a> {
    /// Hooks that save under `paths`, one after the other; none of them where nothing is to be saved.
    pub fn new(
        args: &'a OutputArgs,
        json: bool,
        paths: Vec<PathBuf>,
        (preview, previewer): (Preview, Option<Previewer>),
        presses: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            args,
            json,
            paths: paths.into(),
            preview,
            previewer,
            presses,
            bar: ProgressBar::hidden(),
            pictures: (0, 0),
            begun: Instant::now(),
            kept: Kept::default(),
            failure: None,
        }
    }

    /// A request starts.
    pub fn begin(&mut self, request: &Request) {
        self.pictures = (request.pictures(), 0);
        self.begun = Instant::now();
    }

    /// The failure that happened inside a hook.
    ///
    /// # Errors
    /// That one.
    pub fn check(&mut self) -> Result<(), Failure> {
        self.bar.finish_and_clear();
        self.failure.take().map_or(Ok(()), Err)
    }

    /// What was kept.
    pub fn finish(self) -> Kept {
        self.bar.finish_and_clear();
        self.kept
    }

    fn replace_bar(&mut self, bar: ProgressBar) {
        self.bar.finish_and_clear();
        self.bar = bar;
    }

    fn show(&mut self, step: &Step<'_>) -> Result<(), Failure> {
        let last = step.index + 1 == step.total;
        let every = self.args.preview.interval.unwrap_or(1) as usize;
        let Some(previewer) = &self.previewer else {
            return Ok(());
        };
        if !(last || step.index.is_multiple_of(every)) {
            return Ok(());
        }
        let first = step.denoised.clone().narrow(0, 0, 1);
        let picture = previewer.picture(first).ok_or_else(|| {
            let channels = step.denoised.dims()[1];
            Failure::run(format!(
                "there is no preview for a latent of {channels} channels"
            ))
        })?;
        match &mut self.preview {
            Preview::None => {}
            Preview::Terminal(terminal) => terminal.show(&self.bar, &picture),
            Preview::File(path) => {
                picture.write(path, self.args.jpeg_quality(), &Metadata::default(), true)?
            }
        }
        Ok(())
    }

    fn save(&mut self, output: &Output) -> Result<(), Failure> {
        let path = self.paths.pop_front();
        let mut picture = output.picture.clone();
        if self.args.transparent {
            match picture.cut_out() {
                Some(cut) => picture = cut,
                None => self.note(format!(
                    "picture {}: its edge has no one colour, so nothing is transparent",
                    output.index + 1
                )),
            }
        }
        if let Some(path) = &path {
            let metadata = self.metadata(&output.request, &output.infotext);
            picture.write(
                path,
                self.args.jpeg_quality(),
                &metadata,
                self.args.overwrite,
            )?;
        }
        self.announce(output, path.as_ref());
        self.kept.count += 1;
        if self.args.grid.is_some() {
            self.kept.pictures.push(picture);
        }
        if self.args.save_latents.is_some() {
            let data = output.latent.clone().into_data().convert::<f32>();
            self.kept.latents.push(Latent {
                seed: output.request.seed.unwrap_or_default(),
                shape: output.latent.dims().to_vec(),
                values: data.iter::<f32>().collect(),
            });
        }
        Ok(())
    }

    fn metadata(&self, request: &Request, infotext: &str) -> Metadata {
        match self.args.no_metadata {
            true => Metadata::default(),
            false => Metadata {
                parameters: Some(infotext.to_owned()),
                request: Some(request.to_json()),
                ..Metadata::default()
            },
        }
    }

    fn announce(&mut self, output: &Output, path: Option<&PathBuf>) {
        let seconds = self.begun.elapsed().as_secs_f64();
        let seed = output.request.seed.unwrap_or_default();
        let line = if self.json {
            json!({
                "event": "picture",
                "index": output.index,
                "path": path.map(|path| Name::from(path.as_path()).to_value()),
                "seed": seed,
                "width": output.picture.width(),
                "height": output.picture.height(),
                "seconds": seconds,
                "stopped": output.stopped.is_some(),
                "parameters": output.infotext,
                "request": output.request,
            })
            .to_string()
        } else {
            let what = path.map_or_else(
                || format!("picture {}", output.index + 1),
                |p| p.display().to_string(),
            );
            let stopped = match &output.stopped {
                Some(at) => format!(", stopped at {at}"),
                None => String::new(),
            };
            format!("{what}  (seed {seed}, {seconds:.1} s{stopped})")
        };
        if let Preview::Terminal(terminal) = &mut self.preview {
            terminal.forget();
        }
        self.bar.suspend(|| println!("{line}"));
    }

    fn keep(&mut self, result: Result<(), Failure>) {
        if let Err(failure) = result {
            self.failure.get_or_insert(failure);
        }
    }
}

impl Hooks for Watch<'_> {
    fn stage(&mut self, name: &'static str, steps: usize, picture: usize) {
        tracing::info!(
            "{name} begins after {:.3} s",
            crate::STARTED.elapsed().as_secs_f64()
        );
        // The blocks of one stage fit no other.
        crate::ALLOCATOR.release();
        if steps == 0 {
            return self.replace_bar(screen::spinner(name));
        }
        let bar = screen::bar();
        bar.set_length(steps as u64);
        bar.set_prefix(match self.pictures.0 {
            0 | 1 => name.to_owned(),
            all => format!("{name} {}/{all}", picture + 1),
        });
        self.replace_bar(bar);
    }

    fn begin(&mut self, request: &Request, infotext: &str) -> latent_pipeline::Result<()> {
        if let Some(path) = self.paths.front() {
            let metadata = self.metadata(request, infotext);
            metadata.check(Format::of_path(path)?)?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step<'_>) -> ControlFlow<()> {
        self.bar.inc(1);
        let shown = self.show(step);
        self.keep(shown);
        match self.failure.is_some() || self.presses.load(Ordering::SeqCst) > 0 {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    fn picture(&mut self, output: &Output) {
        if self.failure.is_none() {
            let saved = self.save(output);
            self.keep(saved);
        }
    }

    fn note(&mut self, text: String) {
        self.bar
            .suspend(|| screen::tell(format_args!("note: {text}")));
    }
}
