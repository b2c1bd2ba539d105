//! What the reference programs' regular expressions mean by space and by word.

/// Python's `\s`: Unicode white space and the four ASCII separators.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Python's `\w`.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where `word` stands in `text` as a whole word (`\bword\b`), ascending. `word` begins and ends with a letter.
pub(crate) fn whole_words<'t>(text: &'t str, word: &'t str) -> impl Iterator<Item = usize> + 't {
    text.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| {
            let before = text[..*at].chars().next_back();
            let after = text[at + word.len()..].chars().next();
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
}

/// `text` without the comments that A1111 takes out before it reads a prompt: `#` and what follows it in its line.
///
/// A line that is nothing but a comment goes away; after a comment that ends a line, the line break stays. [`parse`]
/// does this for [`Dialect::A1111`]. Public because A1111 also writes the stripped prompt into its pictures.
///
/// Source: [A1111 `comments.py`](https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/modules/processing_scripts/comments.py),
/// where it is the option "Enable comments", on by default.
///
/// [`parse`]: crate::parse
/// [`Dialect::A1111`]: crate::Dialect::A1111
pub fn strip_comments(text: &str) -> String {
    // Two passes, as there. The first takes a line's own break and the next one; it goes on after what it took, so that
    // of two comment lines in a row the second is left to the second pass.
    let mut whole_lines = String::with_capacity(text.len());
    let mut rest = text;
    let mut at_start = true;
    loop {
        let found = if at_start && rest.starts_with('#') {
            Some((0, 0))
        } else {
            rest.find("\n#").map(|at| (at, at + 1))
        };
        let Some((keep, comment)) = found else {
            whole_lines.push_str(rest);
            break;
        };
        at_start = false;
        whole_lines.push_str(&rest[..keep]);
        whole_lines.push('\n');
        rest = after_line(&rest[comment..]);
    }
    let mut out = String::with_capacity(whole_lines.len());
    let mut rest = whole_lines.as_str();
    while let Some(at) = rest.find('#') {
        out.push_str(&rest[..at]);
        out.push('\n');
        rest = after_line(&rest[at..]);
    }
    out.push_str(rest);
    out
}

/// What follows the first line of `text`.
fn after_line(text: &str) -> &str {
    text.find('\n').map_or("", |at| &text[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_whole() {
        let at = |text| whole_words(text, "AND").collect::<Vec<_>>();
        assert_eq!(at("a AND b"), [2]);
        assert_eq!(at("AND"), [0]);
        assert_eq!(at("[a]AND(b)"), [3]);
        assert_eq!(at("BRAND ANDY AND_ éAND 1AND and"), [] as [usize; 0]);
    }

    #[test]
    fn comments_go() {
        // Drawn with Python's re, the two patterns of comments.py.
        for (text, want) in [
            ("a cat", "a cat"),
            ("a cat # not a dog", "a cat \n"),
            ("a\n# b\nc", "a\nc"),
            ("# b\nc", "\nc"),
            ("#", "\n"),
            ("a\n#b\n#c\nd", "a\n\nd"),
            ("a #b\nc", "a \nc"),
            ("#a\n#b", "\n\n"),
            ("a\n#", "a\n"),
            ("\n#x", "\n"),
            ("a\n\n#b\n\nc", "a\n\n\nc"),
            ("a#b#c\nd#", "a\nd\n"),
        ] {
            assert_eq!(strip_comments(text), want, "{text:?}");
        }
    }
}
