//! The training configuration that may lie beside a single file: `name.yaml` beside `name.ckpt`.

use std::path::Path;

use crate::file::Files;
use crate::report::ModelError;

/// It is read up to this many bytes.
const MAX_YAML: u64 = 1 << 20;
/// What a line of a mapping may begin with where it holds no colon: lists, braces, documents, directives, quoted keys.
const OTHERS: [char; 10] = ['-', '.', '%', '{', '}', '[', ']', '"', '\'', '?'];

/// What the configuration beside the file at `path` says that the network predicts, in diffusers' words; `None` where there is
/// none, or where it does not say.
///
/// # Errors
/// A file that cannot be read or is no YAML, a prediction that is not known.
pub(super) fn prediction(path: &Path) -> Result<Option<&'static str>, ModelError> {
    let yaml = path.with_extension("yaml");
    if !yaml.is_file() {
        return Ok(None);
    }
    let bytes = Files::Disk.read(&yaml, MAX_YAML, "the training configuration")?;
    let text = std::str::from_utf8(&bytes).map_err(|_| "it is not text".to_owned());
    text.and_then(stated).map_err(|problem| {
        let model = path.file_name().unwrap_or_default().display();
        ModelError::Request {
            path: yaml,
            problem: format!(
                "{problem}; as the training configuration of {model} it is read: mend it, or move it away"
            ),
        }
    })
}

/// What a configuration's line `parameterization: …` says.
fn stated(text: &str) -> Result<Option<&'static str>, String> {
    let mut found = None;
    let lines = text.strip_prefix('\u{feff}').unwrap_or(text).lines();
    for (number, line) in lines.enumerate().map(|(index, line)| (index + 1, line)) {
        let bare = line.split('#').next().unwrap_or_default();
        let outer = bare.starts_with(|c: char| !c.is_whitespace() && !OTHERS.contains(&c));
        let control = |c: char| c.is_control() && c != '\t';
        if outer && !bare.contains(':') || line.contains(control) {
            return Err(format!(
                "it is no YAML: line {number} states no `key: value`"
            ));
        }
        let Some((key, value)) = bare.split_once(':') else {
            continue;
        };
        if key.trim() != "parameterization" {
            continue;
        }
        let value = value.trim().trim_matches(['"', '\'']);
        found = Some(match value {
            "v" => "v_prediction",
            "eps" => "epsilon",
            "x0" => "sample",
            _ => {
                let value = value.escape_debug();
                return Err(format!(
                    "line {number}: `parameterization` is {value}; expected v, eps or x0"
                ));
            }
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_training_file_may_say_what_is_predicted() {
        let v = "model:\n  params:\n    parameterization: \"v\" # 768\n";
        for (text, expected) in [
            (v, Some("v_prediction")),
            ("parameterization: v", Some("v_prediction")),
            (
                "parameterization: \"eps\"\n# parameterization: v",
                Some("epsilon"),
            ),
            ("---\nmodel:\n- x0\n\n...\n", None),
            ("{model: [1,\n  2]}\n", None),
            ("", None),
        ] {
            assert_eq!(stated(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (text, words) in [
            (
                "a: 1\nparameterization: \"vv\"",
                "line 2: `parameterization` is vv",
            ),
            ("parameterization:", "expected v, eps or x0"),
            ("these are words\n", "no YAML: line 1"),
            ("a: 1\n\u{1}\u{2}", "no YAML: line 2"),
        ] {
            let error = stated(text).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
