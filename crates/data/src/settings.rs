//! Settings from TOML, with errors that name the key and its own line.
//!
//! The reader knows a key only where nothing stands between it and the key. Settings of a kind (`kind = "stage2"`) are
//! gathered before it is known what they are, and their places are lost. So the key at fault is looked for below the last
//! one that the reader knows. Keys are read in their order and the first fault ends the reading. Without a key before the
//! fault there may be another fault, that it is missing; without one after it nothing changes. So it is the last one without
//! which something else is said.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::{
    Table, Value,
    de::{DeTable, DeValue},
};

/// Reads a TOML text.
///
/// # Errors
/// What is wrong, with the line and the full name of the key.
pub fn from_toml<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let text = text.trim_start_matches('\u{feff}');
    let error = match toml::from_str(text) {
        Ok(settings) => return Ok(settings),
        Err(error) => error,
    };
    // Where the text is no TOML at all, the reader knows the line.
    let (Ok(table), Ok(spans)) = (text.parse::<Table>(), DeTable::parse(text)) else {
        return Err(error.to_string());
    };
    let Some(reason) = refusal::<T>(&table) else {
        return Err(error.to_string());
    };
    let mut keys = Vec::new();
    list(spans.get_ref(), &mut Vec::new(), &mut keys);
    let known = error.span();
    let known = known.and_then(|span| keys.iter().find(|key| key.spans.contains(&span)));
    let below = known.map(|key| key.path.clone()).unwrap_or_default();
    keys.retain(|key| key.path.starts_with(&below));
    let said = in_words(&reason);
    let known = keys.first().filter(|_| !below.is_empty());
    match at_fault::<T>(&table, &reason, &keys).or(known) {
        Some(key) => {
            let line = 1 + text[..key.start()].matches('\n').count();
            let nearest = nearest(&reason, &key.last);
            Err(format!("line {line}, {}: {said}{nearest}", name(&key.path)))
        }
        None => Err(said),
    }
}

/// The key that is refused for that reason, or the table that lacks one.
fn at_fault<'a, T: DeserializeOwned>(
    table: &Table,
    reason: &str,
    keys: &'a [Key],
) -> Option<&'a Key> {
    if let Some(rest) = reason.strip_prefix("missing field `") {
        let missing = rest.trim_end_matches('`');
        let lacks = |key: &&Key| {
            let with = changed(table, &key.path, |table| {
                table
                    .entry(missing.to_owned())
                    .or_insert(Value::Boolean(true));
            });
            let now = refusal::<T>(&with);
            now.as_deref() != Some(reason) && !now.is_some_and(|now| now.starts_with("unknown"))
        };
        return keys.iter().filter(|key| key.is_table).rfind(lacks);
    }
    let changes = |key: &&Key| refusal::<T>(&without(table, &key.path)).as_deref() != Some(reason);
    let found = reason.split(", expected ").next().unwrap_or_default();
    let named = |key: &&&Key| found == format!("unknown field `{}`", key.last);
    let holds = |key: &&&Key| key.values.iter().any(|value| found.ends_with(value));
    let all: Vec<&Key> = keys.iter().filter(changes).collect();
    let all = || all.iter().rev();
    let first = all().find(named).or_else(|| all().find(holds));
    // A table without its kind is refused before all else.
    first
        .or_else(|| all().find(|key| key.last != "kind"))
        .copied()
}

/// What serde says of types, in words.
const WORDS: [(&str, &str); 12] = [
    ("u8", "a whole number from 0 to 255"),
    ("u32", "a whole number from 0"),
    ("u64", "a whole number from 0"),
    ("usize", "a whole number from 0"),
    ("i32", "a whole number"),
    ("i64", "a whole number"),
    ("f32", "a number"),
    ("f64", "a number"),
    ("a boolean", "true or false"),
    ("a sequence", "a list"),
    ("path string", "a path"),
    ("variant identifier", "a word"),
];

/// The reason of a value that has the wrong type, in words.
fn in_words(reason: &str) -> String {
    let Some((found, expected)) = reason.split_once(", expected ") else {
        return reason.to_owned();
    };
    let word = WORDS.iter().find(|(name, _)| *name == expected);
    let tables = ["struct ", "internally tagged enum ", "a map"];
    let expected = match tables.iter().any(|table| expected.starts_with(table)) {
        true => "a table",
        false => word.map_or(expected, |(_, words)| words),
    };
    format!("{found}, expected {expected}")
}

/// Why the settings are refused.
fn refusal<T: DeserializeOwned>(table: &Table) -> Option<String> {
    let read = T::deserialize(Value::Table(table.clone()));
    read.err().map(|e| e.message().to_owned())
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Key(String),
    Index(usize),
}

/// A key of the text, or a table of a list.
struct Key {
    path: Vec<Step>,
    last: String,
    is_table: bool,
    /// How errors end that say its value; none of tables and lists.
    values: Vec<String>,
    /// Where the key and its value stand, in bytes.
    spans: [Range<usize>; 2],
}

impl Key {
    /// The byte where it begins.
    fn start(&self) -> usize {
        self.spans[0].start
    }
}

/// All keys in the order of tables.
fn list(table: &DeTable<'_>, path: &mut Vec<Step>, keys: &mut Vec<Key>) {
    for (key, value) in table.iter() {
        path.push(Step::Key(key.get_ref().to_string()));
        keys.push(Key {
            path: path.clone(),
            last: key.get_ref().to_string(),
            is_table: matches!(value.get_ref(), DeValue::Table(_)),
            values: shown(value.get_ref()),
            spans: [key.span(), value.span()],
        });
        list_within(value.get_ref(), path, keys);
        path.pop();
    }
}

fn list_within(value: &DeValue<'_>, path: &mut Vec<Step>, keys: &mut Vec<Key>) {
    match value {
        DeValue::Table(table) => list(table, path, keys),
        DeValue::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                path.push(Step::Index(index));
                if let DeValue::Table(_) = value.get_ref() {
                    keys.push(Key {
                        path: path.clone(),
                        last: String::new(),
                        is_table: true,
                        values: Vec::new(),
                        spans: [value.span(), value.span()],
                    });
                }
                list_within(value.get_ref(), path, keys);
                path.pop();
            }
        }
        _ => {}
    }
}

/// A value as errors write it: as one of the wrong type, or as a word that is not known.
fn shown(value: &DeValue<'_>) -> Vec<String> {
    match value {
        DeValue::String(text) => vec![format!(" string {text:?}"), format!(" `{text}`")],
        DeValue::Integer(number) => vec![format!(" integer `{}`", number.as_str())],
        DeValue::Float(number) => vec![format!(" floating point `{}`", number.as_str())],
        DeValue::Boolean(value) => vec![format!(" boolean `{value}`")],
        _ => Vec::new(),
    }
}

/// The table without a key.
fn without(table: &Table, path: &[Step]) -> Table {
    match path.split_last() {
        Some((Step::Key(last), before)) => changed(table, before, |table| {
            table.remove(last);
        }),
        _ => table.clone(),
    }
}

/// The table with a change to the one at `path`.
fn changed(table: &Table, path: &[Step], change: impl FnOnce(&mut Table)) -> Table {
    let mut table = table.clone();
    let mut steps = path.iter();
    let holder = match steps.next() {
        None => Some(&mut table),
        Some(Step::Key(first)) => {
            let value = table.get_mut(first);
            let within = steps.fold(value, |value, step| match step {
                Step::Key(key) => value?.get_mut(key),
                Step::Index(index) => value?.get_mut(*index),
            });
            within.and_then(Value::as_table_mut)
        }
        Some(Step::Index(_)) => None,
    };
    if let Some(holder) = holder {
        change(holder);
    }
    table
}

/// `model.unet.levels[0].channels`
fn name(path: &[Step]) -> String {
    let mut name = String::new();
    for step in path {
        match step {
            Step::Key(key) if name.is_empty() => name += key,
            Step::Key(key) => name += &format!(".{key}"),
            Step::Index(index) => name += &format!("[{index}]"),
        }
    }
    name
}

/// The key that may have been meant, among those that the reason lists.
fn nearest(reason: &str, key: &str) -> String {
    const ALIKE: f64 = 0.85;
    let Some((_, expected)) = reason.split_once("expected") else {
        return String::new();
    };
    let known = expected.split('`').skip(1).step_by(2);
    let alike = known.map(|known| (strsim::jaro_winkler(known, key), known));
    let best = alike.max_by(|a, b| a.0.total_cmp(&b.0));
    match best.filter(|(alike, known)| *alike >= ALIKE && *known != key) {
        Some((_, known)) => format!("; is `{known}` meant?"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        #[allow(dead_code)]
        batch: usize,
        #[allow(dead_code)]
        model: Model,
        #[allow(dead_code)]
        seed: Option<u64>,
        #[allow(dead_code)]
        pace: Option<Model>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(tag = "kind", rename_all = "snake_case")]
    enum Model {
        Net(#[allow(dead_code)] Net),
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Net {
        width: usize,
        #[serde(default)]
        levels: Vec<Level>,
        size: Option<Size>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Level {
        channels: usize,
    }

    #[derive(Debug, Deserialize)]
    #[serde(untagged)]
    #[allow(dead_code)]
    enum Size {
        One(u32),
        Two([u32; 2]),
    }

    fn refused(text: &str) -> String {
        from_toml::<Settings>(text).unwrap_err()
    }

    #[test]
    fn every_refused_key_is_named_with_its_line() {
        let good = "\u{feff}batch = 1\n[model]\nkind = \"net\"\nwidth = 2\nlevels = [\n  { channels = 1 },\n]\n";
        from_toml::<Settings>(good).unwrap();
        let with = |from: &str, to: &str| {
            assert!(good.contains(from));
            refused(&good.replacen(from, to, 1))
        };
        for (said, line, name) in [
            (with("batch = 1", "batch = 1\nbatches = 2"), 2, "batches"),
            (with("width", "wdith = 1\nwidth"), 4, "model.wdith"),
            // A name that is right elsewhere.
            (with("width", "batch = 1\nwidth"), 4, "model.batch"),
            (with("{ ", "{ chanels = 1, "), 6, "model.levels[0].chanels"),
            (with("width = 2", "width = \"two\""), 4, "model.width"),
            (
                with("channels = 1", "channels = -1"),
                6,
                "model.levels[0].channels",
            ),
            (
                with("width = 2", "width = 2\nsize = \"big\""),
                5,
                "model.size",
            ),
            (with("net", "nett"), 3, "model.kind"),
        ] {
            assert!(
                said.starts_with(&format!("line {line}, {name}: ")),
                "{line} {name}: {said}"
            );
        }
        assert!(with("width = 2", "wdth = 2").contains("`width` meant"));
        assert!(with("batch = 1", "batch = ").contains("line 1"));
        // What is missing has no line of its own: its table has.
        for (said, expected) in [
            (
                with("width = 2", ""),
                "line 2, model: missing field `width`",
            ),
            (
                with("channels = 1", ""),
                "line 6, model.levels[0]: missing field `channels`",
            ),
            (with("batch = 1", ""), "missing field `batch`"),
        ] {
            assert_eq!(said, expected);
        }
    }

    /// Keys before the one at fault that must be there, with values that stand in the error's text.
    #[test]
    fn keys_beside_the_one_at_fault_are_not_blamed() {
        let good = "batch = 4\nmodel = { kind = \"net\", width = 2, levels = [] }\npace.kind = \"net\"\npace.width = 1\nseed = 3\n";
        from_toml::<Settings>(good).unwrap();
        for (from, to, expected) in [
            (
                "seed = 3",
                "seed = \"e\"",
                "line 5, seed: invalid type: string \"e\", expected a whole number from 0",
            ),
            (
                "seed = 3",
                "seed = -1",
                "line 5, seed: invalid value: integer `-1`, expected a whole number from 0",
            ),
            (
                "pace.kind = \"net\"",
                "pace.kind = \"e\"",
                "line 3, pace.kind: unknown variant `e`, expected `net`",
            ),
            (
                "pace.width = 1",
                "pace.width = true",
                "line 4, pace.width: invalid type: boolean `true`, expected a whole number from 0",
            ),
            (
                "pace.width = 1",
                "pace.levels = [{ channels = 1.5 }]",
                "line 4, pace.levels[0].channels: invalid type: floating point `1.5`, expected a whole number from 0",
            ),
        ] {
            assert!(good.contains(from));
            let text = good.replacen(from, to, 1);
            // As those whom the search by parts of the text blamed.
            let text = text.replace("levels = []", "levels = [{ channels = 4 }]");
            assert_eq!(refused(&text), expected);
        }
    }
}
