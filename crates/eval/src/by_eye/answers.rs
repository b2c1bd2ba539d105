//! The words of somebody who has looked, held against the key.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::path::Path;

use serde::Serialize;

use super::key::{Key, Kind, is_named};
use super::{KEY, SCORE};
use crate::Error;
use crate::report::percent;

/// How the words fare, with the words.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Score {
    /// The model that drew.
    pub model: String,
    /// Its drawings.
    pub drawn: Shares,
    /// Real ones.
    pub real: Shares,
    /// Each picture.
    pub each: Vec<Read>,
}

/// How many pictures were named.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Shares {
    /// Rightly.
    pub right: usize,
    /// Not at all, which counts as wrong.
    pub unanswered: usize,
    /// Pictures.
    pub pictures: usize,
}

/// What was said of a picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Read {
    /// Its number.
    pub number: usize,
    /// Where it comes from.
    pub kind: Kind,
    /// The prompt, or the real picture's name in its set.
    pub from: String,
    /// What it may be called.
    pub names: Vec<String>,
    /// What it was called.
    pub words: Option<String>,
    /// Whether that is one of its names.
    pub right: bool,
}

/// Reads the key of the test in `folder` and a file of words, a line for each number (`17 cat`, `17: a cat`), and writes
/// `score.json` beside the key, which keeps the words.
///
/// # Errors
/// No such test, a file that cannot be read, a line without a number, a number that the test does not have or that is there twice.
pub fn score(folder: &Path, words: &Path) -> Result<Score, Error> {
    let wrong = |path: &Path, problem: String| Error::Words {
        path: path.to_owned(),
        problem,
    };
    let text = |path: &Path| {
        let text = std::fs::read_to_string(path);
        text.map_err(|e| wrong(path, format!("cannot be read as text: {e}")))
    };
    let path = folder.join(KEY);
    let key: Key = serde_json::from_str(&text(&path)?)
        .map_err(|e| wrong(&path, format!("it is no key of a test by eye: {e}")))?;
    let said = read(&text(words)?, &key).map_err(|problem| wrong(words, problem))?;
    let score = scored(key, &said);
    let path = folder.join(SCORE);
    let text = serde_json::to_string_pretty(&score).unwrap_or_default();
    std::fs::write(&path, text + "\n").map_err(Error::io(&path, "write"))?;
    Ok(score)
}

/// The words by number; numbers with nothing behind them are left out.
fn read(text: &str, key: &Key) -> Result<BTreeMap<usize, String>, String> {
    let known = |number: usize| key.pictures.iter().any(|picture| picture.number == number);
    let mut said = BTreeMap::new();
    let lines = text.trim_start_matches('\u{feff}').lines().enumerate();
    for (at, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let line = line.trim();
        let digits = line.bytes().take_while(u8::is_ascii_digit).count();
        let wrong = |problem: String| Err(format!("line {}: {problem}", at + 1));
        let Ok(number) = line[..digits].parse::<usize>() else {
            return wrong(format!(
                "`{line}` begins with no number of a picture: expected lines as `17 cat`"
            ));
        };
        if !known(number) {
            return wrong(format!(
                "the test has no picture {number}: it has 1 to {}",
                key.pictures.len()
            ));
        }
        let rest = line[digits..].trim_start_matches(|c: char| {
            c.is_whitespace() || [':', '.', ')', '=', '→', '-', ','].contains(&c)
        });
        if said.insert(number, rest.trim().to_owned()).is_some() {
            return wrong(format!("picture {number} is there twice: leave one line"));
        }
    }
    said.retain(|_, words| !words.is_empty());
    match said.is_empty() {
        true => Err("it says nothing of any picture: expected lines as `17 cat`".to_owned()),
        false => Ok(said),
    }
}

fn scored(key: Key, said: &BTreeMap<usize, String>) -> Score {
    let each = key.pictures.into_iter().map(|picture| {
        let words = said.get(&picture.number).cloned();
        Read {
            right: words
                .as_ref()
                .is_some_and(|words| is_named(words, &picture.names)),
            number: picture.number,
            kind: picture.kind,
            from: picture.from,
            names: picture.names,
            words,
        }
    });
    let each: Vec<Read> = each.collect();
    let of = |kind: Kind| {
        let mut shares = Shares::default();
        for read in each.iter().filter(|read| read.kind == kind) {
            shares.pictures += 1;
            shares.right += usize::from(read.right);
            shares.unanswered += usize::from(read.words.is_none());
        }
        shares
    };
    Score {
        model: key.model,
        drawn: of(Kind::Drawn),
        real: of(Kind::Real),
        each,
    }
}

impl Display for Shares {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            right,
            unanswered,
            pictures,
        } = *self;
        let share = percent(right as f64 / pictures.max(1) as f64);
        write!(f, "{right} of {pictures} named rightly: {share}")?;
        match unanswered {
            0 => Ok(()),
            n => write!(f, " ({n} not named, which counts as wrong)"),
        }
    }
}

impl Display for Score {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.model)?;
        writeln!(f, "  drawn   {}", self.drawn)?;
        writeln!(f, "  real    {}", self.real)?;
        for read in self.each.iter().filter(|read| !read.right) {
            let words = read.words.as_deref().unwrap_or("–");
            let names = read.names.join(", ");
            let real = if read.kind == Kind::Real {
                " (real)"
            } else {
                ""
            };
            writeln!(f, "  {:>4}  {words}: {names}{real}", read.number)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::Picture;
    use super::*;

    fn key() -> Key {
        let picture = |number, kind, names: &[&str]| Picture {
            number,
            kind,
            from: format!("prompt {number}"),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        Key {
            model: "m".to_owned(),
            seed: 0,
            pictures: vec![
                picture(1, Kind::Drawn, &["cat", "kitten"]),
                picture(2, Kind::Real, &["dog"]),
                picture(3, Kind::Drawn, &["owl"]),
                picture(4, Kind::Drawn, &["fox"]),
            ],
        }
    }

    #[test]
    fn words_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        put(KEY, &serde_json::to_string(&key()).unwrap());
        put(
            "words.txt",
            "\u{feff}3: a bird\n\n1\tKitten\r\n2) dogs\n4\n",
        );
        let words = folder.path().join("words.txt");
        let found = score(folder.path(), &words).unwrap();
        let shares = |right, unanswered, pictures| Shares {
            right,
            unanswered,
            pictures,
        };
        assert_eq!(found.drawn, shares(1, 1, 3));
        assert_eq!(found.real, shares(1, 0, 1));
        assert_eq!(found.each[2].words.as_deref(), Some("a bird"));
        assert_eq!(found.each[3].words, None);
        let text = found.to_string();
        assert!(
            text.contains("33.3 %") && text.contains("a bird: owl"),
            "{text}"
        );
        let kept = std::fs::read_to_string(folder.path().join(SCORE)).unwrap();
        assert!(kept.contains("a bird"));
        for (text, said) in [
            ("5 cat", "no picture 5"),
            ("0 cat", "no picture 0"),
            ("cat", "line 1"),
            ("1 cat\n1 dog", "twice"),
            ("99999999999999999999999 cat", "no number"),
            ("\n", "says nothing"),
        ] {
            put("words.txt", text);
            let error = score(folder.path(), &words).unwrap_err().to_string();
            assert!(
                error.contains(said) && error.contains("words.txt"),
                "{error}"
            );
        }
        put("words.txt", "1 cat");
        put(KEY, "{}");
        let error = score(folder.path(), &words).unwrap_err().to_string();
        assert!(error.contains("key.json"), "{error}");
        let error = score(&folder.path().join("none"), &words)
            .unwrap_err()
            .to_string();
        assert!(error.contains("key.json"), "{error}");
    }
}
