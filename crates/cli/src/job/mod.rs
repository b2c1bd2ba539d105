//! From what was typed to requests: defaults, then a request file or a picture's metadata, then flags.

mod apply;
pub use apply::defaults_of;
#[cfg(test)]
mod tests;

use std::{hash::BuildHasher, io::Read, path::Path};

use latent_checkpoint::SchedulerConfig;
use latent_pipeline::{
    Profile, Resolved,
    infotext::Infotext,
    picture::{files::read_bytes, metadata::Metadata},
    request::{Compat, Request},
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
    let mut notes = Vec::new();
    let mut said = Said::by_flags(args);
    let mut request = base(args, &mut said, &mut notes)?;
    apply::apply(args, said, &mut request)?;
    request.seed = Some(request.seed.unwrap_or_else(random));
    if request.subseed_strength > 0.0 {
        request.subseed = Some(request.subseed.unwrap_or_else(random));
    }
    request.validate()?;
    let profile = Profile::of(request.compat);
    // The model is not open yet: its own scheduler cannot be wrong by what was typed.
    let published = SchedulerConfig::stable_diffusion();
    Resolved::of(&request.sampler, &request.scheduler, &profile, &published)?;
    if let Some(hires) = &request.hires {
        let sampler = hires.sampler.as_ref().unwrap_or(&request.sampler);
        let scheduler = hires.scheduler.as_ref().unwrap_or(&request.scheduler);
        Resolved::of(sampler, scheduler, &profile, &published)?;
    }
    for (flag, file) in [
        ("--model", &request.model),
        ("--vae", &request.vae),
        ("--text-encoder", &request.text_encoder),
        ("--init-img", &request.init_image),
        ("--mask", &request.mask),
        ("--semantic-map", &request.semantic_map),
        ("--layout", &request.layout),
        ("--upscale", &request.upscale),
    ] {
        if let Some(file) = file.as_ref().filter(|file| !file.exists()) {
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
    })
}

/// A seed nobody chose, in the range that A1111 draws from.
fn random() -> u64 {
    // The standard library seeds its hash maps from the system.
    let number = std::hash::RandomState::new().hash_one(std::process::id());
    number % u64::from(u32::MAX)
}

fn prompts(file: &Path) -> Result<Vec<String>, Failure> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|e| Failure::input(format!("standard input cannot be read as text: {e}")))?;
        text
    } else {
        read_text(file)?
    };
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

fn read_text(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file)
        .map_err(|e| Failure::input(format!("cannot read {} as text: {e}", file.display())))
}

/// What the flags are laid over.
fn base(args: &GenerateArgs, said: &mut Said, notes: &mut Vec<String>) -> Result<Request, Failure> {
    if let Some(file) = &args.source.request {
        let text = read_text(file)?;
        let in_file = |e| Failure::input(format!("{}: {e}", file.display()));
        let toml = file
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("toml"));
        let fields = match toml {
            true => Request::values_of_toml(&text),
            false => Request::values_of_json(&text),
        };
        let fields = fields.map_err(in_file)?;
        *said = said.or_by(&fields);
        return Request::from_value(fields).map_err(in_file);
    }
    let Some(file) = &args.source.from else {
        return Ok(Request::default());
    };
    *said = Said {
        size: true,
        guidance: true,
        steps: true,
    };
    let name = file.display().to_string();
    let metadata = Metadata::read(&name, &read_bytes(file)?)?;
    let in_file = |e| Failure::input(format!("the metadata of {name}: {e}"));
    if let Some(json) = metadata.request {
        return Request::from_json(&json).map_err(in_file);
    }
    let Some(text) = metadata.parameters else {
        return Err(Failure::input(format!(
            "{name} holds no settings: neither this program's request nor A1111's `parameters` text"
        )));
    };
    let info = Infotext::parse(&text);
    if info.entries.is_empty() {
        return Err(Failure::input(format!(
            "{name} holds text without settings: {text}"
        )));
    }
    let (request, unknown) = info.to_request().map_err(in_file)?;
    if !unknown.is_empty() {
        notes.push(format!(
            "settings of the picture that have no meaning here: {}",
            unknown.join(", ")
        ));
    }
    if args.model.model.is_none() {
        let named = |key| info.get(key).map(|v| format!(" {v}")).unwrap_or_default();
        notes.push(format!(
            "the picture names its model{} (hash{}) but not where it is: give it with --model",
            named("Model"),
            named("Model hash"),
        ));
    }
    Ok(request)
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
