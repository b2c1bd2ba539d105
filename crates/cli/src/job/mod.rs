//! From what was typed to requests: reads what the flags name and hands it to [`latent_pipeline::asked`].

mod control;
mod ip_adapter;
mod reference;
#[cfg(test)]
mod tests;
pub mod typed;

use std::{collections::BTreeMap, hash::BuildHasher, io::Read, path::Path};

use latent_pipeline::{
    Model, Resources,
    asked::{Asked, Base},
    picture::files::read_bytes,
    request::{Compat, Request, RequestError, text_of},
};
use serde_json::Value;

use crate::{
    args::{GenerateArgs, SourceArgs},
    failure::Failure,
};

/// Everything `latent generate` was asked for.
///
/// # Errors
/// The first fault found, before any model is opened.
pub fn jobs(args: &GenerateArgs, resources: &dyn Resources) -> Result<Asked, Failure> {
    let base = base(&args.source)?;
    let typed = typed::layer(args, &base.request)?;
    let prompts = args.prompt.prompts_from.as_deref().map(prompts);
    let (flags, below) = (typed.clone(), pairs(&base.request));
    let asked = Asked::of(base, typed, prompts.transpose()?, resources, &mut random);
    asked.map_err(|e| {
        let fields = e.fields();
        let field = fields.first().and_then(|field| field.split(" (").next());
        let by_file = field.is_some_and(|field| {
            !flags.states(field) && below.get(field) != pairs(&Request::default()).get(field)
        });
        let file = args.source.request.as_ref().or(args.source.from.as_ref());
        match file.filter(|_| by_file) {
            Some(file) => Failure::from(e).said_of(file.display()),
            None => e.into(),
        }
    })
}

/// What is to be said once the model is open: that it is another than the picture's, and which settings do nothing with it.
///
/// # Errors
/// Names of samplers that the model's own settings do not resolve.
pub fn remarks_on(asked: &Asked, model: &Model) -> Result<Vec<String>, Failure> {
    let mut notes = asked.remarks_on(model);
    for (idle, typed) in asked.without_effect(model)? {
        let name = match typed {
            true => typed::flag_of(idle.field),
            false => format!("`{}`", idle.field),
        };
        notes.push(format!("{name} has no effect: {}", idle.reason));
    }
    Ok(notes)
}

/// What the flags are laid over: a request file, a picture's settings, or the defaults.
fn base(args: &SourceArgs) -> Result<Base, Failure> {
    if let Some(file) = &args.request {
        let text = read_text(file)?;
        let in_file = |e: RequestError| Failure::from(e).said_of(file.display());
        let toml = file
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("toml"));
        let fields = match toml {
            true => Request::values_of_toml(&text),
            false => Request::values_of_json(&text),
        };
        return fields.and_then(Base::of_values).map_err(in_file);
    }
    match &args.from {
        Some(file) => Ok(Base::of_picture(
            &file.display().to_string(),
            &read_bytes(file)?,
        )?),
        None => Ok(Base::default()),
    }
}

/// A seed nobody chose, in the range that A1111 draws from.
fn random() -> u64 {
    // The standard library seeds its hash maps from the system.
    let number = std::hash::RandomState::new().hash_one(std::process::id());
    number % u64::from(u32::MAX)
}

/// The prompts of a file, one a line.
///
/// # Errors
/// A file that cannot be read or holds none.
pub fn prompts(file: &Path) -> Result<Vec<String>, Failure> {
    lines(file, "prompt")
}

/// The lines of a file that are not empty: at least one, of `what`.
///
/// # Errors
/// A file that cannot be read or holds none.
pub fn lines(file: &Path, what: &str) -> Result<Vec<String>, Failure> {
    let text = read_text(file)?;
    let lines: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    match lines.is_empty() {
        true => Err(Failure::input(format!(
            "{} holds no {what}: one a line is expected",
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
    let default = pairs(&Request {
        compat: Compat::A1111,
        ..Request::default()
    });
    let always = [
        "steps",
        "guidance.scale",
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

/// The fields of a request by name, those of tables behind a dot.
fn pairs(request: &Request) -> BTreeMap<String, Value> {
    let mut pairs = BTreeMap::new();
    let tree = serde_json::to_value(request).unwrap_or_default();
    settings("", &tree, &mut pairs);
    pairs
}

/// The same of the table that is called `name`.
fn settings(name: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(field, value)| {
            let dot = if name.is_empty() { "" } else { "." };
            settings(&format!("{name}{dot}{field}"), value, into);
        }),
        value => {
            into.insert(name.to_owned(), value.clone());
        }
    }
}
