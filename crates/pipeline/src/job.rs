//! A request's batches, one after the other: seeds, both passes, finished pictures.

mod second_pass;

use std::ops::Range;

use burn::tensor::Tensor;
use latent_diffusion::{PictureSeed, names};

use crate::canvas::Prepared;
use crate::conditioning::Prompts;
use crate::draw::{Canvas, Drawing, Drawn, Start};
use crate::error::{Error, Result};
use crate::hooks::{self, Hooks, Output};
use crate::infotext::{self, HeldBy, Infotext};
use crate::model::{ControlNetwork, Model, Stage};
use crate::picture::{Picture, Region};
use crate::ready::{Ready, Resolved, Second};
use crate::refiner::Refining;
use crate::request::{self, Request, Rng, Size};

/// What the denoisers of a pass are told: the model's own, and the refiner's where there is one.
type Told<'a> = (&'a Prompts, Option<Refining<'a>>);

/// A request with everything that its batches share.
pub(crate) struct Job<'a> {
    request: &'a Request,
    model: &'a Model,
    /// The model draws nothing else.
    once: bool,
    ready: &'a Ready,
    prepared: Option<&'a Prepared>,
    canvas: Option<Canvas>,
}

impl<'a> Job<'a> {
    /// The pictures that the request is drawn from are put on the model's device.
    pub(crate) fn new(
        request: &'a Request,
        model: &'a Model,
        ready: &'a Ready,
        once: bool,
    ) -> Self {
        let prepared = ready.prepared.as_ref();
        let canvas =
            prepared.map(|p| p.canvas(&model.device, model.latent.downsample, &ready.profile));
        Self {
            request,
            model,
            once,
            ready,
            prepared,
            canvas,
        }
    }

    /// Draws every picture.
    ///
    /// # Errors
    /// As [`crate::run()`]'s.
    pub(crate) fn run(self, hooks: &mut dyn Hooks) -> Result<Vec<Output>> {
        let request = self.request;
        let last = self.request_of(request.pictures().saturating_sub(1));
        hooks.begin(&last, &self.infotext(&last, None))?;
        let mut outputs = Vec::new();
        let second = self.ready.second.as_ref().map(|second| second.resolved);
        let together = Resolved::together(request, (self.ready.resolved, second));
        'job: for batch in 0..request.batch_count {
            let end = (batch + 1) * request.batch_size;
            let mut first = batch * request.batch_size;
            while first < end {
                let numbers = first..end.min(first + together);
                first = numbers.end;
                if self.batch(numbers, &mut outputs, hooks)? {
                    break 'job;
                }
            }
        }
        Ok(outputs)
    }

    /// Draws the pictures of these numbers; whether they were stopped.
    fn batch(
        &self,
        numbers: Range<usize>,
        outputs: &mut Vec<Output>,
        hooks: &mut dyn Hooks,
    ) -> Result<bool> {
        let first = numbers.start;
        let (drawn, pass) = self.draw(numbers.clone(), hooks)?;
        let stopped = drawn
            .stopped
            .map(|(done, all)| format!("step {done} of {all}{pass}"));
        if self.is_last(&numbers) {
            self.model.release(Stage::Denoising);
            self.model.release(Stage::Refining);
        }
        self.model.make_room(Stage::Compressing);
        self.decoder().load(Stage::Compressing, hooks)?;
        hooks::stage(hooks, "decoding", 0, first)?;
        for (number, latent) in numbers.clone().zip(drawn.latent.chunk(numbers.len(), 0)) {
            let output = self.finish(number, latent, stopped.clone(), hooks)?;
            hooks.picture(&output);
            outputs.push(output);
        }
        Ok(stopped.is_some())
    }

    /// Whether nothing is drawn after the pictures of these numbers.
    fn is_last(&self, numbers: &Range<usize>) -> bool {
        self.once && numbers.end == self.request.pictures()
    }

    /// What decodes: the refiner of a job that has one where it brings its autoencoder.
    fn decoder(&self) -> &Model {
        match &self.ready.refined {
            Some(_) => self.model.decoder(),
            None => self.model,
        }
    }

    /// The refiner, which takes part in the last pass over the pictures of these numbers, as in A1111 unless it is told
    /// otherwise.
    fn refining(&self, numbers: &Range<usize>) -> Option<Refining<'_>> {
        Some(Refining {
            model: self.model.refiner.as_deref()?,
            prompts: self.ready.refined.as_ref()?,
            takes_over: self.is_last(numbers),
        })
    }

    /// The latents of the pictures of these numbers, and which of two passes they are of.
    fn draw(&self, numbers: Range<usize>, hooks: &mut dyn Hooks) -> Result<(Drawn, &'static str)> {
        let (request, model) = (self.request, self.model);
        let first = numbers.start;
        let refining = self.refining(&numbers);
        let seeds: Vec<_> = numbers.map(|i| self.seed(i)).collect();
        let size = request.canvas();
        let start = Start {
            size: self.latent_size(size),
            canvas: self.canvas.as_ref(),
            latent: None,
            hints: Some(&self.ready.hints),
        };
        let ready = self.ready;
        let drawing = Drawing::of(request, model, &ready.profile, ready.resolved);
        let told = (&ready.prompts, refining.filter(|_| ready.second.is_none()));
        let drawn = self.pass(&drawing, &start, told, &seeds, "sampling", first, hooks)?;
        match &ready.second {
            Some(second) if drawn.stopped.is_none() => {
                let told = (&second.prompts, refining);
                let drawn =
                    self.second_pass(&drawing, (second, told), drawn, &seeds, first, hooks)?;
                Ok((drawn, " of the second pass"))
            }
            Some(_) => Ok((drawn, " of the first pass")),
            None => Ok((drawn, "")),
        }
    }

    #[allow(clippy::too_many_arguments)] // all of them vary between the two passes
    fn pass(
        &self,
        drawing: &Drawing<'_>,
        start: &Start<'_>,
        told: Told<'_>,
        seeds: &[PictureSeed],
        name: &'static str,
        first: usize,
        hooks: &mut dyn Hooks,
    ) -> Result<Drawn> {
        let refers = !self.request.reference.is_empty();
        if start.canvas.is_some() || self.model.inpaints() || refers {
            self.model.load(Stage::Compressing, hooks)?;
            hooks::stage(hooks, "encoding the picture", 0, first)?;
        }
        let prepared = drawing.prepare(start, seeds)?;
        self.model.load(Stage::Denoising, hooks)?;
        let stays = |refining: &Refining<'_>| !(refining.takes_over || self.model.in_turn);
        if told.1.as_ref().is_some_and(stays) {
            // It is needed again and again, beside the model's own.
            self.model.load(Stage::Refining, hooks)?;
        }
        hooks::stage(hooks, name, prepared.steps(), first)?;
        let drawn = drawing.draw(prepared, told, &mut |step| hooks.step(&step))?;
        hooks::go_on(hooks)?;
        let values = drawn.latent.to_data().convert::<f32>();
        if values.iter::<f32>().any(|v| !v.is_finite()) {
            return Err(Error::NotFinite {
                stage: "latent",
                hint: ": the network overflowed; try --dtype f32, or check that the prediction type is right",
            });
        }
        Ok(drawn)
    }

    fn finish(
        &self,
        index: usize,
        latent: Tensor<4>,
        stopped: Option<String>,
        hooks: &mut dyn Hooks,
    ) -> Result<Output> {
        let drawn = self.ready.decoding.picture(
            self.decoder(),
            self.request,
            &self.ready.profile,
            latent.clone(),
            hooks,
        )?;
        let asked = match &self.ready.second {
            Some(Second { hires, .. }) => {
                hires
                    .target(Size {
                        width: self.request.width,
                        height: self.request.height,
                    })
                    .1
            }
            None => Size {
                width: self.request.width,
                height: self.request.height,
            },
        };
        let picture = match &self.prepared {
            Some(prepared) => {
                let whole = prepared.finish(drawn);
                if prepared.keeps_original_size() {
                    whole
                } else {
                    centre(whole, asked)
                }
            }
            None => centre(drawn, asked),
        };
        let request = self.request_of(index);
        let infotext = self.infotext(&request, stopped.as_deref());
        Ok(Output {
            index,
            picture,
            latent,
            request,
            infotext,
            stopped,
        })
    }

    fn seed(&self, index: usize) -> PictureSeed {
        let request = self.request.part(index..index + 1);
        let down = self.model.latent.downsample;
        PictureSeed {
            seed: request.seed.unwrap_or_default(),
            subseed: request.subseed.unwrap_or_default(),
            subseed_strength: request.subseed_strength,
            resize_from: request
                .seed_resize_from
                .map(|s| (s.height / down, s.width / down)),
            eta_noise_seed_delta: request.ensd,
        }
    }

    fn latent_size(&self, size: Size) -> [usize; 2] {
        let down = self.model.latent.downsample;
        [size.height / down, size.width / down]
    }

    /// The request that draws picture `index` alone.
    fn request_of(&self, index: usize) -> Request {
        let mut request = self.request.part(index..index + 1);
        if request
            .sampler
            .trim()
            .eq_ignore_ascii_case(request::AUTOMATIC)
        {
            request.sampler = names::sampler_info(self.ready.resolved.sampler)
                .label
                .to_owned();
        }
        request.rng = Some(match self.ready.profile.noise_for(&request) {
            latent_diffusion::NoiseSource::TorchCpu => Rng::Cpu,
            latent_diffusion::NoiseSource::TorchCuda => Rng::Cuda,
        });
        request
    }

    fn infotext(&self, request: &Request, stopped: Option<&str>) -> String {
        let vae = self.model.vae.as_ref();
        let refiner = self.model.refiner.as_deref();
        let refiner = refiner.map(|refiner| match &refiner.hash {
            Some(hash) => format!("{} [{hash}]", refiner.name),
            None => refiner.name.clone(),
        });
        let refiner = refiner.filter(|_| self.ready.refined.is_some());
        let controls = (0..request.control.len()).filter_map(|i| self.model.control(i));
        let titled = |name: &str, hash: &Option<String>| match hash {
            Some(hash) => format!("{name} [{hash}]"),
            None => name.to_owned(),
        };
        let controls = controls.map(|control| HeldBy {
            name: titled(&control.name, &control.hash),
            style: matches!(control.network, ControlNetwork::Style(_)),
        });
        let shown = (0..request.ip_adapter.len()).filter_map(|i| self.model.ip_adapter(i));
        let shown = shown.map(|ip| titled(&ip.name, &ip.hash));
        let adapters = self.model.adapters.iter();
        let loras: Vec<_> = adapters
            .map(|adapted| (adapted.name.as_str(), adapted.hash.as_deref()))
            .collect();
        let text = Infotext::of(&infotext::Drawn {
            request,
            sampler: names::sampler_info(self.ready.resolved.sampler).label,
            schedule: if self.ready.resolved.automatic {
                "Automatic"
            } else {
                names::scheduler_info(self.ready.resolved.scheduler).label
            },
            size: request.canvas(),
            model_hash: self.model.hash.as_deref(),
            model: Some(self.model.name.as_str()).filter(|n| !n.is_empty()),
            vae_hash: vae.and_then(|(_, hash)| hash.as_deref()),
            vae: vae.map(|(name, _)| name.as_str()),
            loras: &loras,
            refiner: refiner.as_deref(),
            embeddings: &self.ready.embeddings,
            controls: &controls.collect::<Vec<_>>(),
            ip_adapters: &shown.collect::<Vec<_>>(),
            control_fit: self.ready.profile.control_fit,
            inpainting_model: self.model.inpaints(),
            stochastic: self
                .ready
                .profile
                .ancestral(request, self.ready.resolved.sampler),
            stopped,
            version: concat!("latent ", env!("CARGO_PKG_VERSION")),
        });
        text.to_string()
    }
}

/// The middle of a picture that was drawn a little larger than asked.
fn centre(picture: Picture, asked: Size) -> Picture {
    let size = picture.size();
    let (width, height) = (asked.width.min(size.width), asked.height.min(size.height));
    let (left, top) = ((size.width - width) / 2, (size.height - height) / 2);
    let region = Region {
        left,
        top,
        right: left + width,
        bottom: top + height,
    };
    picture.crop(region).unwrap_or(picture)
}
