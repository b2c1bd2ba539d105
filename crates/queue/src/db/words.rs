//! What a user types into the field of a search.

use super::{Dialect, Sql};
use crate::{Error, Result};

/// A word or a phrase.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Term<'a> {
    pub(super) text: &'a str,
    /// A beginning: `cat*`.
    pub(super) begins: bool,
}

/// Adds the conditions that a row of `words w` fits what the user typed and has all of the fields.
///
/// # Errors
///
/// [`Error::Argument`] for words that are none.
pub(crate) fn push_match(
    found: &mut Sql,
    dialect: Dialect,
    words: Option<&str>,
    fields: &[String],
) -> Result<()> {
    let words = words.map(|words| query(dialect, words)).transpose()?;
    dialect.push_match(found, words.as_deref(), fields);
    Ok(())
}

/// The words as a query of the full-text index.
fn query(dialect: Dialect, words: &str) -> Result<String> {
    let (all, none) = terms(words);
    if all.is_empty() {
        return Err(Error::Argument {
            field: "words",
            why: format!("{words:?} has no word to look for; give at least one without a minus"),
        });
    }
    Ok(dialect.query_words(&all, &none))
}

/// Terms that must stand there, and those that must not.
fn terms(words: &str) -> (Vec<Term<'_>>, Vec<Term<'_>>) {
    let (mut all, mut none) = (Vec::new(), Vec::new());
    let mut rest = words.trim_start();
    while !rest.is_empty() {
        let (not, after) = match rest.strip_prefix('-') {
            Some(after) => (true, after),
            None => (false, rest),
        };
        let (text, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_at(after.find(char::is_whitespace).unwrap_or(after.len())),
        };
        let (begins, after) = match after.strip_prefix('*') {
            Some(after) => (true, after),
            None => (text.ends_with('*'), after),
        };
        let term = Term { text, begins };
        // Signs alone are no word of any index.
        if text.contains(char::is_alphanumeric) {
            if not { &mut none } else { &mut all }.push(term);
        }
        rest = after.trim_start();
    }
    (all, none)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_phrases_beginnings_and_what_must_not_be() {
        let term = |text, begins| Term { text, begins };
        let (all, none) = terms(r#" red  "old house"* cat* -"in fog" -dog !! "open"#);
        assert_eq!(
            all,
            [
                term("red", false),
                term("old house", true),
                term("cat*", true),
                term("open", false)
            ]
        );
        assert_eq!(none, [term("in fog", false), term("dog", false)]);
    }

    #[test]
    fn operators_are_words() {
        let text = query(Dialect::Sqlite, r#"a"b OR NEAR(x) -c"#).expect("words");
        assert_eq!(text, r#"("a""b" AND "OR" AND "NEAR(x)") NOT ("c")"#);
        assert!(query(Dialect::Sqlite, "-cat *").is_err());
    }
}
