//! What the engine tells while it draws.

use std::{borrow::Cow, ops::ControlFlow};

use latent_diffusion::Step;
use latent_pipeline::{
    Output, Result,
    picture::{Picture, files::Format, metadata::Metadata},
    request::Request,
};
use latent_serve::{self as service, Drawn, Fault, Stop, Watch};

use super::engine::{Loaded, format};

/// JPEG's quality of previews.
const PREVIEW: u8 = 80;

/// The hooks of a run over neighbouring pictures of a job.
pub struct Hooks<'a> {
    watch: &'a dyn Watch,
    output: service::Output,
    loaded: &'a Loaded,
    part: &'a Request,
    /// The number of the run's first picture in its job.
    first: u32,
    /// How many are finished.
    done: u32,
    /// Steps of the picture that is being drawn, and of each in all.
    steps: [u32; 2],
    fault: Option<Fault>,
}

impl<'a> Hooks<'a> {
    /// Of the pictures of `part`, of which `first` is the first, drawn in so many `steps` each.
    pub fn new(
        watch: &'a dyn Watch,
        output: service::Output,
        loaded: &'a Loaded,
        (part, first): (&'a Request, u32),
        steps: u32,
    ) -> Self {
        Self {
            watch,
            output,
            loaded,
            part,
            first,
            done: 0,
            steps: [0, steps],
            fault: None,
        }
    }

    /// How many pictures are finished, and what kept one from being kept.
    pub fn end(self) -> (usize, Option<Fault>) {
        (self.done as usize, self.fault)
    }

    fn number(&self) -> u32 {
        self.first + self.done
    }

    fn show(&self, step: &Step<'_>) {
        if !self.watch.wants_preview() {
            return;
        }
        let first = step.denoised.clone().narrow(0, 0, 1);
        let previewer = self.loaded.previewer();
        let picture = previewer.and_then(|previewer| previewer.picture(first));
        let file = picture.map(|shown| shown.encode(Format::Jpeg, PREVIEW, &Metadata::default()));
        if let Some(Ok(file)) = file {
            self.watch.preview(file);
        }
    }

    /// The picture without its background, where that is plain.
    fn cut_out<'o>(&self, output: &'o Output) -> Cow<'o, Picture> {
        let picture = &output.picture;
        picture.cut_out().map_or_else(
            || {
                let note = "its edge has no one colour, so nothing is transparent";
                self.watch
                    .note(format!("picture {}: {note}", self.number() + 1));
                Cow::Borrowed(picture)
            },
            Cow::Owned,
        )
    }

    fn keep(&self, output: &Output) -> std::result::Result<(), Fault> {
        let request = serde_json::to_value(&output.request).unwrap_or_default();
        let metadata = match self.output.text {
            true => Metadata {
                parameters: Some(output.infotext.clone()),
                request: Some(output.request.to_json()),
                ..Metadata::default()
            },
            false => Metadata::default(),
        };
        let picture = match self.output.transparent {
            true => self.cut_out(output),
            false => Cow::Borrowed(&output.picture),
        };
        let file = picture.encode(format(self.output.format), self.output.quality, &metadata);
        let file = file.map_err(|error| Fault::failed("picture_not_encoded", error.to_string()))?;
        self.watch.picture(Drawn {
            n: self.number(),
            file,
            width: picture.width() as u32,
            height: picture.height() as u32,
            seed: output.request.seed.unwrap_or_default(),
            sampler: self.loaded.sampler(&output.request),
            steps: self.part.steps as u32,
            model: self.loaded.name.clone(),
            prompt: output.request.prompt.clone(),
            negative: output.request.negative_prompt.clone(),
            infotext: output.infotext.clone(),
            request,
        })
    }
}

impl latent_pipeline::Hooks for Hooks<'_> {
    fn stage(&mut self, name: &'static str, _: usize, _: usize) {
        // The blocks of one stage fit no other.
        crate::ALLOCATOR.release();
        self.watch.stage(name, self.number());
    }

    fn begin(&mut self, request: &Request, infotext: &str) -> Result<()> {
        let metadata = Metadata {
            parameters: Some(infotext.to_owned()),
            request: Some(request.to_json()),
            ..Metadata::default()
        };
        match self.output.text {
            true => Ok(metadata.check(format(self.output.format))?),
            false => Ok(()),
        }
    }

    fn step(&mut self, step: &Step<'_>) -> ControlFlow<()> {
        let [done, all] = &mut self.steps;
        *done = (*done + 1).min(*all);
        self.watch.step(self.first + self.done, *done, *all);
        self.show(step);
        match self.fault.is_some() || self.watch.stop().is_some() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    fn dropped(&mut self) -> bool {
        self.fault.is_some() || self.watch.stop() == Some(Stop::Drop)
    }

    fn picture(&mut self, output: &Output) {
        if let Err(fault) = self.keep(output) {
            self.fault.get_or_insert(fault);
        }
        self.done += 1;
        self.steps[0] = 0;
    }

    fn note(&mut self, text: String) {
        self.watch.note(text);
    }
}
