//! What is wrong with a field that was read, in words: its name with its table, and the field that may be meant.

use super::read::FLAT;
use super::{
    DynamicThresholding, GuidanceOptions, Hires, PerturbedAttention, Request, RequestError,
    SelfAttention, SkipLayers, likeness::nearest,
};

/// What serde says of numbers and tables, in words.
const WORDS: [(&str, &str); 5] = [
    ("usize", "a whole number from 0"),
    ("u32", "a whole number from 0"),
    ("i32", "a whole number"),
    ("i64", "a whole number"),
    ("f64", "a number"),
];

/// The message of a value that has the wrong type.
fn in_words(message: &str) -> String {
    let Some((found, expected)) = message.split_once(", expected ") else {
        return message.to_owned();
    };
    let word = WORDS.iter().find(|(name, _)| *name == expected);
    let expected = match expected.starts_with("struct ") {
        true => "a table of fields",
        false => word.map_or(expected, |(_, words)| words),
    };
    format!("{found}, expected {expected}")
}

/// serde names an unknown field and every known one in backticks: turn that into one suggestion.
pub(crate) fn field_error(path: &str, message: &str) -> RequestError {
    let mut names = message.split('`').skip(1).step_by(2);
    if let (true, Some(field)) = (message.starts_with("unknown field"), names.next()) {
        let hint = meant(field, names).map(|name| format!("; did you mean `{name}`?"));
        let table = path.rsplit_once('.').map_or("", |(table, _)| table);
        return RequestError::UnknownField {
            field: match table {
                "" => field.to_owned(),
                table => format!("{table}.{field}"),
            },
            hint: hint.unwrap_or_default(),
        };
    }
    // A choice names itself without the table that it stands in.
    let own = message.strip_prefix('`').and_then(|m| m.split_once('`'));
    RequestError::Field {
        reason: match own {
            Some((_, reason)) => format!("`{path}`{reason}"),
            None => format!("`{path}`: {}", in_words(message)),
        },
    }
}

/// What a field that does not exist may stand for, where those beside it are `known`: what it was called before, what is
/// called so in some table, or what is called like it.
fn meant<'a>(field: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    if let Some((_, at)) = FLAT.iter().find(|(old, _)| *old == field) {
        return Some(at.join("."));
    }
    if field == "size" {
        return Some("width` and `height".to_owned());
    }
    let known: Vec<&str> = known.collect();
    // Only a request itself has it: in a table, the fields of the table come first.
    let all = match known.contains(&"compat") {
        true => fields(),
        false => Vec::new(),
    };
    let called = |path: &&String| {
        let name = path.rsplit('.').next();
        let table = path.matches('.').count() == 1;
        (table && name == Some(field)) || path.replace('.', "_") == field
    };
    if let Some(path) = all.iter().find(called) {
        return Some(path.clone());
    }
    let old = FLAT.iter().filter(|_| !all.is_empty()).map(|(old, _)| *old);
    let near = nearest(field, known.into_iter().chain(old))?;
    let moved = FLAT.iter().find(|(old, _)| !all.is_empty() && *old == near);
    Some(moved.map_or_else(|| near.to_owned(), |(_, at)| at.join(".")))
}

/// Every field that a request can have, those of tables behind a dot, outer ones first.
fn fields() -> Vec<String> {
    let guidance = GuidanceOptions {
        threshold: Some(DynamicThresholding::default()),
        pag: Some(PerturbedAttention::default()),
        sag: Some(SelfAttention::default()),
        skip_layers: Some(SkipLayers::default()),
        ..GuidanceOptions::default()
    };
    let whole = Request {
        guidance,
        hires: Some(Hires::default()),
        ..Request::default()
    };
    let mut paths = Vec::new();
    let mut tables = vec![(
        String::new(),
        serde_json::to_value(whole).unwrap_or_default(),
    )];
    while let Some((table, fields)) = tables.pop() {
        for (name, value) in fields.as_object().into_iter().flatten() {
            let path = format!("{table}{name}");
            if value.is_object() {
                tables.push((format!("{path}."), value.clone()));
            }
            paths.push(path);
        }
    }
    paths.sort_by_cached_key(|path| (path.matches('.').count(), path.clone()));
    paths
}
