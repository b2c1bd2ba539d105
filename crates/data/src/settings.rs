//! Settings from TOML, with errors that name the key and its own line.
//!
//! The reader knows a line only where nothing stands between it and the key. Settings of a kind (`kind = "stage2"`) are
//! gathered before it is known what they are, and their lines are lost. So the key at fault is looked for: it is the one
//! without which the settings are refused for another reason, or not at all.

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
    let changes = |key: &&Key| refusal::<T>(&without(&table, &key.path)) != Some(reason.clone());
    let at_fault: Vec<&Key> = keys.iter().filter(changes).collect();
    let named = |key: &&&Key| reason.contains(&format!("`{}`", key.last));
    let holds = |key: &&&Key| !key.value.is_empty() && reason.contains(&key.value);
    // The innermost: without its table a key is gone too.
    let inner = |key: &&&Key| {
        let within =
            |other: &&Key| other.path.len() > key.path.len() && other.path.starts_with(&key.path);
        key.last != "kind" && !at_fault.iter().any(within)
    };
    let accepted = |key: &&&Key| refusal::<T>(&without(&table, &key.path)).is_none();
    let all = at_fault.iter();
    let found = all.clone().rfind(named).or_else(|| all.clone().find(holds));
    let found = found.or_else(|| all.clone().filter(inner).find(accepted));
    match found.or_else(|| all.clone().find(inner)) {
        Some(key) => {
            let line = 1 + text[..key.start].matches('\n').count();
            let nearest = nearest(&reason, &key.last);
            Err(format!(
                "line {line}, {}: {reason}{nearest}",
                name(&key.path)
            ))
        }
        None => Err(error.to_string()),
    }
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

/// A key of the text.
struct Key {
    path: Vec<Step>,
    last: String,
    /// What errors say of its value; empty for tables and lists.
    value: String,
    /// The byte where it begins.
    start: usize,
}

/// All keys in the order of tables.
fn list(table: &DeTable<'_>, path: &mut Vec<Step>, keys: &mut Vec<Key>) {
    for (key, value) in table.iter() {
        path.push(Step::Key(key.get_ref().to_string()));
        keys.push(Key {
            path: path.clone(),
            last: key.get_ref().to_string(),
            value: shown(value.get_ref()),
            start: key.span().start,
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
                list_within(value.get_ref(), path, keys);
                path.pop();
            }
        }
        _ => {}
    }
}

/// A value as errors write it.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => format!("`{}`", number.as_str()),
        DeValue::Float(number) => format!("`{}`", number.as_str()),
        DeValue::Boolean(value) => format!("`{value}`"),
        _ => String::new(),
    }
}

/// The table without a key.
fn without(table: &Table, path: &[Step]) -> Table {
    let mut table = table.clone();
    let Some((Step::Key(last), before)) = path.split_last() else {
        return table;
    };
    let mut steps = before.iter();
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
        holder.remove(last);
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
        // What is missing has no line of its own.
        assert!(with("width = 2", "").contains("`width`"));
    }
}
