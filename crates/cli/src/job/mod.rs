//! From what was typed to requests: defaults, then a request file or a picture's metadata, then flags.

mod apply;
mod beside;
mod source;
pub mod typed;
pub use apply::defaults_of;
use source::Base;
pub use source::DrawnWith;
#[cfg(test)]
mod tests;

use std::{hash::BuildHasher, io::Read, path::Path};

use latent_checkpoint::SchedulerConfig;
use latent_pipeline::{
    Model, Profile, Resolved,
    effect::without_effect,
    request::{Compat, Request, text_of},
};

use crate::{args::GenerateArgs, failure::Failure};

/// Requests to run one after the other, and remarks for the person.
#[derive(Debug)]
pub struct Jobs {
    /// Validated, seeds drawn.
    pub requests: Vec<Request>,
    /// What was read and could not be taken over.
    pub notes: Vec<String>,
    /// What a model's own wishes do not override.
    pub said: Said,
    /// The fields that were typed.
    pub typed: Vec<&'static str>,
    /// The model of the picture that is repeated.
    pub drawn_with: Option<DrawnWith>,
}

/// What flags, a request file or a picture's metadata state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// A width, a height or both.
    pub size: bool,
    /// `cfg_scale`.
    pub guidance: bool,
    /// `steps`.
    pub steps: bool,
}

impl Said {
    /// A picture states everything.
    const ALL: Self = Self {
        size: true,
        guidance: true,
        steps: true,
    };

    fn by_flags(args: &GenerateArgs) -> Self {
        let typed = &args.sampling;
        Self {
            size: typed.width.is_some() || typed.height.is_some() || typed.size.is_some(),
            guidance: typed.cfg_scale.is_some(),
            steps: typed.steps.is_some(),
        }
    }

    fn or_by(self, fields: &serde_json::Value) -> Self {
        let has = |name| fields.get(name).is_some();
        Self {
            size: self.size || has("width") || has("height"),
            guidance: self.guidance || has("cfg_scale"),
            steps: self.steps || has("steps"),
        }
    }
}

/// Everything `latent generate` was asked for.
///
/// # Errors
/// The first fault found, before any model is opened.
pub fn jobs(args: &GenerateArgs) -> Result<Jobs, Failure> {
    let mut said = Said::by_flags(args);
    let typed = typed::typed(args);
    let Base {
        mut request,
        remarks,
        mut notes,
        drawn_with,
    } = Base::read(&args.source, &mut said)?;
    let replaced = |field: &str| typed.contains(&field);
    let left = remarks.iter().filter(|remark| !replaced(&remark.field));
    notes.extend(
        left.map(|remark| format!("not taken over from the picture as it stands: {remark}")),
    );
    apply::apply(args, said, &mut request)?;
    // A picture of this program says which autoencoder it was drawn with.
    let whole = drawn_with
        .as_ref()
        .is_some_and(|drawn_with| !drawn_with.nameless);
    notes.extend(beside::autoencoder(&mut request, whole));
    request.seed = Some(request.seed.unwrap_or_else(random));
    if request.subseed_strength > 0.0 {
        request.subseed = Some(request.subseed.unwrap_or_else(random));
    }
    request.validate()?;
    if let Some(drawn_with) = drawn_with.as_ref().filter(|_| request.model.is_none()) {
        check_named(drawn_with)?;
    }
    let profile = Profile::of(request.compat);
    // The model is not open yet: its own scheduler cannot be wrong by what was typed.
    let published = SchedulerConfig::stable_diffusion();
    Resolved::of(&request.sampler, &request.scheduler, &profile, &published)?;
    if let Some(hires) = &request.hires {
        let sampler = hires.sampler.as_ref().unwrap_or(&request.sampler);
        let scheduler = hires.scheduler.as_ref().unwrap_or(&request.scheduler);
        Resolved::of(sampler, scheduler, &profile, &published)?;
    }
    let images = request.images.iter();
    let images = images.map(|given| ("--image", Some(&given.image)));
    let files = [
        ("--model", &request.model),
        ("--vae", &request.vae),
        ("--text-encoder", &request.text_encoder),
        ("--init-img", &request.init_image),
        ("--mask", &request.mask),
        ("--semantic-map", &request.semantic_map),
        ("--layout", &request.layout),
        ("--upscale", &request.upscale),
        ("--depth", &request.depth),
    ];
    let files = files.into_iter().map(|(flag, file)| (flag, file.as_ref()));
    for (flag, file) in files.chain(images) {
        if let Some(file) = file.filter(|file| !file.exists()) {
            return Err(Failure::input(format!(
                "{flag}: {} does not exist",
                file.display()
            )));
        }
    }
    let requests = match &args.prompt.prompts_from {
        None => vec![request],
        Some(file) => prompts(file)?
            .into_iter()
            .map(|prompt| {
                let request = Request {
                    prompt,
                    ..request.clone()
                };
                request.validate().map(|()| request)
            })
            .collect::<Result<_, _>>()?,
    };
    Ok(Jobs {
        requests,
        notes,
        said,
        typed,
        drawn_with,
    })
}

/// Whether the built-in model, which is drawn with where no other is given, is the one that a picture names.
fn check_named(drawn_with: &DrawnWith) -> Result<(), Failure> {
    let own = latent_default_model::FOLDER;
    let named = drawn_with.name.is_some() || drawn_with.hash.is_some();
    match drawn_with.nameless && named && drawn_with.name.as_deref() != Some(own) {
        true => Err(Failure::input(format!(
            "the picture was drawn with {}: give that checkpoint with --model FILE",
            drawn_with.describe()
        ))),
        false => Ok(()),
    }
}

/// What is to be said once the model is open: that it is another than the picture's, and which settings do nothing with it.
///
/// # Errors
/// Names of samplers that the model's own settings do not resolve.
pub fn remarks_on(jobs: &Jobs, model: &Model) -> Result<Vec<String>, Failure> {
    let mut notes = model.notes.clone();
    if let Some(drawn_with) = &jobs.drawn_with
        && drawn_with.differs(&model.name, model.hash.as_deref())
    {
        let hash = model.hash.as_ref();
        notes.push(format!(
            "the picture was drawn with {}, this is {}{}: it will be another picture",
            drawn_with.describe(),
            model.name,
            hash.map(|h| format!(" (hash {h})")).unwrap_or_default()
        ));
    }
    let request = &jobs.requests[0];
    for idle in without_effect(request, model)? {
        let typed = jobs.typed.contains(&idle.field);
        // These may be the model's own.
        let own = idle.field == "steps" && !jobs.said.steps;
        if typed || (idle.is_set(request) && !own) {
            let name = match typed {
                true => typed::flag_of(idle.field),
                false => format!("`{}`", idle.field),
            };
            notes.push(format!("{name} has no effect: {}", idle.reason));
        }
    }
    Ok(notes)
}

/// A seed nobody chose, in the range that A1111 draws from.
fn random() -> u64 {
    // The standard library seeds its hash maps from the system.
    let number = std::hash::RandomState::new().hash_one(std::process::id());
    number % u64::from(u32::MAX)
}

fn prompts(file: &Path) -> Result<Vec<String>, Failure> {
    let text = read_text(file)?;
    let lines: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    match lines.is_empty() {
        true => Err(Failure::input(format!(
            "{} holds no prompt: one a line is expected",
            file.display()
        ))),
        false => Ok(lines),
    }
}

/// The text of a file, or of standard input where it is called `-`.
fn read_text(file: &Path) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let read = match file == Path::new("-") {
        true => std::io::stdin().read_to_end(&mut bytes).map(|_| bytes),
        false => std::fs::read(file),
    };
    let failed = |e: &dyn std::fmt::Display| {
        Failure::input(format!("cannot read {} as text: {e}", file.display()))
    };
    text_of(&read.map_err(|e| failed(&e))?).map_err(|e| failed(&e))
}

/// A line for each setting that differs from its default, for `-v`.
pub fn describe(request: &Request) -> Vec<String> {
    let pairs = |request: &Request| match serde_json::to_value(request) {
        Ok(serde_json::Value::Object(map)) => map,
        _ => serde_json::Map::new(),
    };
    let default = pairs(&Request {
        compat: Compat::A1111,
        ..Request::default()
    });
    let always = [
        "steps",
        "cfg_scale",
        "sampler",
        "scheduler",
        "seed",
        "width",
        "height",
        "compat",
    ];
    pairs(request)
        .into_iter()
        .filter(|(key, value)| always.contains(&key.as_str()) || default.get(key) != Some(value))
        .map(|(key, value)| format!("{key} = {value}"))
        .collect()
}
