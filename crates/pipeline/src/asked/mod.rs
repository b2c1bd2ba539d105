//! From layers of settings to requests that can be run.
//!
//! Defaults lie lowest, then a request file or a picture's metadata ([`Base`]), then what is typed now ([`Layer`]). Some
//! settings are a model's own where no layer states them ([`Said`]): its size, its guidance, its steps. All of it is
//! functions of values, so that a command line and a service ask alike.

mod layer;
mod own;
mod source;

use latent_checkpoint::SchedulerConfig;

use crate::effect::{Idle, reads_text, without_effect};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::profile::Profile;
use crate::ready::Resolved;
use crate::request::Request;
use crate::resources::Resources;

pub use layer::Layer;
pub use source::{Base, DrawnWith, Named};

/// What some layer states, so that a model's own wishes do not override it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Said {
    /// A width, a height or both.
    pub size: bool,
    /// `guidance.scale`.
    pub guidance: bool,
    /// `steps`.
    pub steps: bool,
    /// `prompt`.
    pub prompt: bool,
}

impl Said {
    /// A picture states everything.
    const ALL: Self = Self {
        size: true,
        guidance: true,
        steps: true,
        prompt: true,
    };

    fn by(layer: &Layer) -> Self {
        Self {
            size: layer.states("size"),
            guidance: layer.states("guidance.scale"),
            steps: layer.states("steps"),
            prompt: layer.states("prompt"),
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            size: self.size || other.size,
            guidance: self.guidance || other.guidance,
            steps: self.steps || other.steps,
            prompt: self.prompt || other.prompt,
        }
    }
}

/// Requests to run one after the other, and remarks for the person.
#[derive(Debug)]
pub struct Asked {
    /// Validated, seeds drawn.
    pub requests: Vec<Request>,
    /// What was read and could not be taken over.
    pub notes: Vec<String>,
    /// What a model's own wishes do not override.
    pub said: Said,
    /// What was typed.
    pub typed: Layer,
    /// The model of the picture that is repeated.
    pub drawn_with: Option<DrawnWith>,
}

impl Asked {
    /// Lays `typed` over `base` and settles what can be settled before a model is opened: the size of a given picture, the
    /// autoencoder beside the model, seeds (of `seed`). One request for each of `prompts`, where there are any. Everything
    /// that is named must be there.
    ///
    /// # Errors
    /// The first fault found.
    pub fn of(
        base: Base,
        typed: Layer,
        prompts: Option<Vec<String>>,
        resources: &dyn Resources,
        seed: &mut dyn FnMut() -> u64,
    ) -> Result<Self> {
        let mut said = Said::by(&typed).or(base.said);
        said.prompt |= prompts.is_some();
        let mut notes = base.notes;
        let left = base.remarks.iter().filter(|r| !typed.states(&r.field));
        notes.extend(
            left.map(|remark| format!("not taken over from the picture as it stands: {remark}")),
        );
        let mut request = typed.over(&base.request)?;
        if !said.size {
            own::size(resources, &mut request)?;
        }
        if let Some(drawn_with) = &base.drawn_with {
            notes.extend(own::networks(drawn_with, &typed, resources, &mut request));
            notes.extend(own::embeddings(drawn_with, resources, &request)?);
        }
        // A picture of this program says which autoencoder it was drawn with.
        let whole = base.drawn_with.as_ref().is_some_and(|from| !from.nameless);
        notes.extend(own::autoencoder(resources, &mut request, whole));
        request.seed = Some(request.seed.unwrap_or_else(&mut *seed));
        if request.subseed_strength > 0.0 {
            request.subseed = Some(request.subseed.unwrap_or_else(seed));
        }
        request.validate()?;
        if let Some(drawn_with) = base.drawn_with.as_ref().filter(|_| request.model.is_none()) {
            own::check_named(drawn_with, resources)?;
        }
        check_names(&request)?;
        resources.check(&request)?;
        let requests = match prompts {
            None => vec![request],
            Some(prompts) => {
                let each = prompts.into_iter().map(|prompt| {
                    let request = Request {
                        prompt,
                        ..request.clone()
                    };
                    request.validate()?;
                    resources.named_in_prompts(&request)?;
                    Ok(request)
                });
                each.collect::<Result<_>>()?
            }
        };
        Ok(Self {
            requests,
            notes,
            said,
            typed,
            drawn_with: base.drawn_with,
        })
    }

    /// Where nothing says a size, a guidance or steps, those that the model draws best with.
    ///
    /// # Errors
    /// A small picture that cannot be read; requests that do not hold with these.
    pub fn take_defaults(&mut self, model: &Model, resources: &dyn Resources) -> Result<()> {
        for request in &mut self.requests {
            own::defaults(self.said, model, resources, request)?;
        }
        Ok(())
    }

    /// What is to be said of a model that was opened: that it is another than the picture's, that nothing says what it
    /// shall draw, that its second pass makes pictures smaller.
    pub fn remarks_on(&self, model: &Model) -> Vec<String> {
        let mut notes = model.notes.clone();
        let first = self.requests.first();
        if !self.said.prompt
            && reads_text(model)
            && first.is_some_and(|r| r.condition.images.is_empty())
        {
            notes.push("no prompt is stated: the picture is of nothing in particular".to_owned());
        }
        let sizes = first.and_then(|request| {
            let size = request.size();
            Some((size, request.hires.as_ref()?.target(size).1))
        });
        if let Some((first, second)) = sizes
            && (second.width < first.width || second.height < first.height)
        {
            notes.push(format!(
                "the second pass makes the picture smaller, {second} after {first}"
            ));
        }
        let drawn_with = self.drawn_with.iter().flat_map(|from| &from.loras);
        for (name, hash) in drawn_with.filter(|_| !self.typed.states("loras")) {
            let spelled = |name: &str| name.replace([',', ':'], "");
            let mut named = model
                .adapters
                .iter()
                .filter(|own| spelled(&own.name) == *name);
            let other = named
                .clone()
                .all(|own| own.hash.as_ref().is_some_and(|own| own != hash));
            match named.next() {
                None => notes.push(format!(
                    "the picture was drawn with the LoRA {name} (hash {hash}), which is not asked for now: give it with --lora"
                )),
                Some(_) if other => notes.push(format!(
                    "the picture was drawn with a LoRA {name} of the hash {hash}, and this is another: it will be another picture"
                )),
                Some(_) => {}
            }
        }
        let other = |from: &&DrawnWith| from.model.differs(&model.name, model.hash.as_deref());
        if let Some(drawn_with) = self.drawn_with.as_ref().filter(other) {
            let hash = model.hash.as_ref();
            notes.push(format!(
                "the picture was drawn with {}, this is {}{}: it will be another picture",
                drawn_with.model.describe(),
                model.name,
                hash.map(|h| format!(" (hash {h})")).unwrap_or_default()
            ));
        }
        notes
    }

    /// Settings that do nothing with this model, of those that somebody set; with whether they were typed.
    ///
    /// # Errors
    /// Names of samplers that the model's own settings do not resolve.
    pub fn without_effect(&self, model: &Model) -> Result<Vec<(Idle, bool)>> {
        let Some(request) = self.requests.first() else {
            return Ok(Vec::new());
        };
        let idle = without_effect(request, model)?.into_iter();
        let told = idle.filter_map(|idle| {
            let typed = self.typed.states(idle.field);
            // These may be the model's own.
            let own = idle.field == "steps" && !self.said.steps;
            (typed || (idle.is_set(request) && !own)).then_some((idle, typed))
        });
        Ok(told.collect())
    }
}

/// Whether samplers and schedulers of those names are known.
fn check_names(request: &Request) -> Result<(), Error> {
    let profile = Profile::of(request.compat);
    // The model is not open yet: its own scheduler cannot be wrong by what was typed.
    let published = SchedulerConfig::stable_diffusion();
    Resolved::of_passes(request, &published, &profile).map(drop)
}
