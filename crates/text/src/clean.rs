//! Text as `ftfy` cleans it, which A1111's tokenizers do before anything else.
//!
//! Source: [ftfy's documentation](https://ftfy.readthedocs.io/en/latest/config.html), version 6, defaults. Left out is the
//! repair of text that was decoded in the wrong encoding ("mojibake"). The crate `plsfix`, a port of all of ftfy, was
//! rejected for its dependencies (ICU, two tables of encodings, a second regular expression engine).

use unicode_normalization::UnicodeNormalization;

/// The characters that Windows-1252 has in the places of the controls U+0080 to U+009F; itself where it has none.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];
/// Entities in capitals that are understood without a semicolon, so that a longer name is never read as one in capitals.
const SHORT_CAPITALS: [&str; 8] = ["AMP", "COPY", "ETH", "GT", "LT", "QUOT", "REG", "THORN"];
/// How often entities within entities are decoded. ftfy goes on while there are any, which a long text made for it draws
/// out for hours.
const MOST_PASSES: usize = 32;
/// The longest name or number of an entity.
const LONGEST_ENTITY: usize = 24;

/// `text` with HTML entities decoded (where no `<` came before in it), Latin ligatures taken apart, half-width and
/// full-width forms, curly quotes and line breaks made plain, ANSI colours, control characters and byte order marks
/// taken out, in Unicode form C.
pub(crate) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut entities = true;
    for line in text.split_inclusive('\n') {
        entities &= !line.contains('<');
        out.push_str(&clean_line(line, entities));
    }
    out
}

fn clean_line(line: &str, entities: bool) -> String {
    let mut now = line.to_owned();
    for _ in 0..MOST_PASSES {
        let decoded = match entities {
            true => decode_entities(&now),
            false => now.clone(),
        };
        let mut plain = String::with_capacity(decoded.len());
        decoded.chars().for_each(|c| push_plain(c, &mut plain));
        let lines = plain.replace("\r\n", "\n").replace('\r', "\n");
        let next: String = without_colours(&lines)
            .chars()
            .filter(|c| !is_dropped(*c))
            .nfc()
            .collect();
        if next == now {
            break;
        }
        now = next;
    }
    now
}

/// Adds `c`, or what it stands for.
fn push_plain(c: char, out: &mut String) {
    match c {
        '\u{85}' => out.push('…'),
        '\u{80}'..='\u{9f}' => out.push(WINDOWS_1252[c as usize - 0x80]),
        '\u{2018}'..='\u{201b}' | '\u{2bc}' => out.push('\''),
        '\u{201c}'..='\u{201f}' => out.push('"'),
        '\u{2028}' | '\u{2029}' => out.push('\n'),
        '\u{3000}' => out.push(' '),
        'ŉ' => out.push_str("'n"),
        'ﬅ' => out.push_str("ſt"),
        // Full-width and half-width forms, and the ligatures, are what form KC takes apart.
        '\u{ff01}'..='\u{ffef}' | 'Ĳ' | 'ĳ' | 'Ǆ'..='ǌ' | 'Ǳ'..='ǳ' | 'ﬀ'..='ﬆ' => {
            out.extend(std::iter::once(c).nfkc());
        }
        _ => out.push(c),
    }
}

/// Whether `c` controls a terminal or a typesetter and stands for nothing.
fn is_dropped(c: char) -> bool {
    matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}')
        || matches!(c, '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffc}')
}

/// `text` without ANSI escape sequences: ESC, `[`, digits and semicolons, one letter.
fn without_colours(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        match rest.strip_prefix(|c: char| c.is_ascii_alphabetic()) {
            Some(rest) => out.push_str(rest),
            None => {
                out.push_str("\u{1b}[");
                out.push_str(part);
            }
        }
    }
    out
}

fn decode_entities(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let name = rest[1..].find(';').map(|end| &rest[1..=end]);
        match name.and_then(|name| Some((entity(name)?, name.len() + 2))) {
            Some((decoded, length)) => {
                out.push_str(&decoded);
                rest = &rest[length..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// What the entity of this name or number, without `&` and `;`, stands for.
fn entity(name: &str) -> Option<String> {
    let number = name.strip_prefix('#');
    let body = number.unwrap_or(name);
    let plain = body.bytes().all(|b| b.is_ascii_alphanumeric());
    if !(1..=LONGEST_ENTITY).contains(&body.len()) || !plain {
        return None;
    }
    if let Some(number) = number {
        return numbered(number).filter(|decoded| decoded != ";");
    }
    let named = |name: &str| {
        let entity = format!("&{name};");
        let decoded = html_escape::decode_html_entities(&entity).into_owned();
        (decoded != entity).then_some(decoded)
    };
    named(name).or_else(|| {
        // Names of small letters are read in capitals too, and mean the capital.
        let capitals = !name.bytes().any(|b| b.is_ascii_lowercase());
        let short = SHORT_CAPITALS.iter().any(|short| name.starts_with(short));
        let small = (capitals && !short).then(|| name.to_ascii_lowercase())?;
        Some(named(&small)?.to_uppercase())
    })
}

/// The character of a number as HTML 5 reads it: controls by Windows-1252, nothing for what is no character.
fn numbered(number: &str) -> Option<String> {
    let value = match number.strip_prefix(['x', 'X']) {
        Some(hex) => u128::from_str_radix(hex, 16).ok()?,
        None => number.parse().ok()?,
    };
    let Some(c) = u32::try_from(value).ok().and_then(char::from_u32) else {
        return Some('\u{fffd}'.into());
    };
    Some(match c {
        '\0' => '\u{fffd}'.into(),
        '\u{80}'..='\u{9f}' => WINDOWS_1252[c as usize - 0x80].into(),
        '\u{1}'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}' => String::new(),
        '\u{fdd0}'..='\u{fdef}' => String::new(),
        _ if value & 0xfffe == 0xfffe => String::new(),
        _ => c.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cleaned_as_ftfy_does() {
        // Drawn with ftfy 6.3.1, `fix_text`.
        for (text, want) in [
            (
                "a cat\u{2019}s \u{201c}hat\u{201d}",
                "a cat's \u{22}hat\u{22}",
            ),
            ("1girl\u{ff0c}solo", "1girl,solo"),
            (
                "\u{fb01}re \u{fb02}u\u{fb03}e\u{fb06} \u{fb05} \u{149} \u{133} \u{1c5} \u{1ca}",
                "fire fluffiest \u{17f}t 'n ij D\u{17e} NJ",
            ),
            ("rock &amp; roll", "rock & roll"),
            (
                "\u{ff21}\u{ff22}\u{ff23}\u{ff08}\u{ff44}\u{ff09}\u{3000}\u{ff01}",
                "ABC(d) !",
            ),
            (
                "\u{ff35}\u{ff80}\u{ff70}\u{ff9d} \u{ff76}\u{ff9e}",
                "U\u{30bf}\u{30fc}\u{30f3} \u{30ac}",
            ),
            ("\u{feff}a\u{206a}b\u{fffc}c\u{7}d\u{7f}", "abcd"),
            (
                "a\u{d}\u{a}b\u{d}c\u{2028}d\u{2029}e",
                "a\u{a}b\u{a}c\u{a}d\u{a}e",
            ),
            ("&amp;amp;lt; x", "< x"),
            ("a < b &amp; c\u{a}d &amp; e", "a < b &amp; c\u{a}d &amp; e"),
            ("x &amp; y\u{a}a < b", "x & y\u{a}a < b"),
            (
                "&eacute; &EACUTE; &NTILDE; &nTILDE; &SZLIG; &AMP; &AMPX; &checkmark;",
                "\u{e9} \u{c9} \u{d1} &nTILDE; SS & &AMPX; \u{2713}",
            ),
            (
                "&#8217; &#x201C; &#128; &#0; &#xD800; &#7; &#59; &#12a; &#99999999999999999999; &#xfdd0; &#65535;",
                "' \u{22} \u{20ac} \u{fffd} \u{fffd}  &#59; &#12a; \u{fffd}  ",
            ),
            ("&amp &nope; & ; &; &#; &#x;", "&amp &nope; & ; &; &#; &#x;"),
            ("\u{1b}[36;44mblue\u{1b}[0m \u{1b}[9", "blue [9"),
            ("e\u{301} \u{212b}", "\u{e9} \u{c5}"),
            ("\u{80}\u{93}\u{85}", "\u{20ac}\u{22}\u{2026}"),
            (
                "it&#x2019;s &hellip; don\u{b4}t `quote\u{b4} \u{2033} \u{201a}x\u{201b} \u{2039}y\u{203a}",
                "it's \u{2026} don\u{b4}t `quote\u{b4} \u{2033} 'x' \u{2039}y\u{203a}",
            ),
            (
                "&ETHX; &THORN; &QUOTA; &LTDOT; &LARR;",
                "&ETHX; \u{de} &QUOTA; &LTDOT; \u{2190}",
            ),
            (
                "no change: 20% (a:1.2), \u{732b} \u{1f600} \u{bd}",
                "no change: 20% (a:1.2), \u{732b} \u{1f600} \u{bd}",
            ),
        ] {
            assert_eq!(clean(text), want, "{text:?}");
        }
    }

    #[test]
    fn entities_within_entities_end() {
        let deep = format!("&{}lt;", "amp;".repeat(100_000));
        assert!(clean(&deep).starts_with("&amp;"));
    }
}
