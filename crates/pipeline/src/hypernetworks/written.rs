//! Hypernetworks as they are written: in a prompt, on a command line, in a picture.

use std::ffi::OsStr;

use crate::loras::{Mention, tag::number};
use crate::model::adapted::called;
use crate::request::{Name, Request, UsedHypernetwork};

/// What stands between several in a line of text.
const BETWEEN: &str = " | ";

/// `<hypernet:NAME:STRENGTH>`. A1111 draws on where it cannot read the number; here that is an error.
///
/// # Errors
/// What would be right, as a noun phrase.
pub(super) fn mentioned(mention: &Mention) -> Result<UsedHypernetwork, String> {
    let (name, strength) = match &mention.arguments[..] {
        [name] if !name.is_empty() => (name, 1.0),
        [name, strength] if !name.is_empty() => (name, number(strength)?),
        [_, _, more, ..] => return Err(format!("NAME:STRENGTH and no more, without `{more}`")),
        _ => return Err("a name, such as <hypernet:NAME:0.8>".to_owned()),
    };
    let used = UsedHypernetwork {
        name: Name::from(name.as_str()),
        strength,
    };
    used.validate()
        .map_err(|e| format!("another value, as {e}"))?;
    Ok(used)
}

/// The tag that asks A1111 for it. It has no way to say colons and brackets of a name.
pub(crate) fn tag(used: &UsedHypernetwork) -> String {
    let name = called(&used.name.to_string()).replace([':', '<', '>'], "");
    format!("<hypernet:{name}:{}>", used.strength)
}

/// Reads `NAME[:STRENGTH]`. A name may hold colons: only what stands behind the last and is a number is taken off. `exists` says
/// whether a text is a file's name as it stands.
///
/// # Errors
/// What is wrong, as a sentence.
pub fn typed(text: &OsStr, exists: impl Fn(&str) -> bool) -> Result<UsedHypernetwork, String> {
    let Some(text) = text.to_str() else {
        return Ok(Name::from(text.to_owned()).into());
    };
    Ok(match text.rsplit_once(':').filter(|_| !exists(text)) {
        Some((name, strength)) if strength.trim().parse::<f64>().is_ok() => UsedHypernetwork {
            name: Name::from(name),
            strength: number(strength).map_err(|expected| format!("expected {expected}"))?,
        },
        _ => Name::from(text).into(),
    })
}

/// The table of a request in a line of text.
pub(crate) fn in_line(request: &Request) -> String {
    let each = request.hypernetworks.iter();
    let each = each.map(|used| format!("{}:{}", used.name, used.strength));
    each.collect::<Vec<_>>().join(BETWEEN)
}

/// Those of such a line.
///
/// # Errors
/// What is wrong, as a sentence.
pub(crate) fn of_line(line: &str) -> Result<Vec<UsedHypernetwork>, String> {
    line.split(BETWEEN)
        .map(|text| typed(text.as_ref(), |_| false))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loras::mentions;

    #[test]
    fn tags_and_typed_texts() {
        let read = |text: &str| mentioned(&mentions(text)[0]);
        let bend = read("<hypernet:bend:0.6>").unwrap();
        assert_eq!((bend.name.as_str(), bend.strength), (Some("bend"), 0.6));
        assert_eq!(tag(&bend), "<hypernet:bend:0.6>");
        assert_eq!(read("<hypernet:a b>").unwrap().strength, 1.0);
        for (text, word) in [
            ("<hypernet::1>", "a name"),
            ("<hypernet:a:much>", "much"),
            ("<hypernet:a:1:2>", "no more"),
            ("<hypernet:a:1000>", "-100"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
        let read = |text: &str| typed(text.as_ref(), |name| name == "odd:1").unwrap();
        for (text, name, strength) in [
            ("a.pt", "a.pt", 1.0),
            ("a.pt:-0.5", "a.pt", -0.5),
            ("C:\\a.pt", "C:\\a.pt", 1.0),
            ("odd:1", "odd:1", 1.0),
        ] {
            let used = read(text);
            assert_eq!((used.name.as_str(), used.strength), (Some(name), strength));
        }
        let request = Request {
            hypernetworks: vec![read("a:0.5"), read("b")],
            ..Request::default()
        };
        assert_eq!(of_line(&in_line(&request)).unwrap(), request.hypernetworks);
    }
}
