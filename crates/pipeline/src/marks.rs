//! What prompts carry for other parts of other programs: `<lora:NAME:0.8>`, `embedding:NAME`, wildcards.
//!
//! LoRAs and hypernetworks in the prompt are A1111's way of asking for them, and are taken out where they are read
//! ([`crate::loras`], [`crate::hypernetworks`]). An
//! embedding that is there is left to the prompt language. Every other mark is treated as the profile's program treats it
//! where its file is missing, and named.

use latent_text::Dialect;

use crate::embeddings::Embeddings;
use crate::loras::{Mention, tag};

/// What ComfyUI's names of embeddings begin with.
const EMBEDDING: &str = "embedding:";

/// A prompt as it is encoded, and what is to be said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cleaned {
    pub text: String,
    pub notes: Vec<String>,
}

/// What a program does with a mark.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is taken out of the text, and honoured.
    Read,
    /// It is taken out of the text.
    LeftOut,
    /// It is drawn as words.
    Words,
}

/// What marks of one kind are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `<lora:NAME:0.8>`, `<lyco:…>`
    Lora,
    /// `<hypernet:NAME:0.8>`
    Hypernetwork,
    /// What else looks so.
    Network,
    /// `embedding:NAME`
    Embedding,
    /// `__NAME__`, `{a|b}`
    Wildcard,
}

impl Kind {
    /// Why it cannot be honoured.
    fn reason(self, mark: &str, embeddings: &Embeddings) -> String {
        let plain = match self {
            Self::Lora => {
                "A1111 alone reads LoRAs out of a prompt, and out of no negative one: name it by --lora"
            }
            Self::Hypernetwork => {
                "A1111 alone reads hypernetworks out of a prompt, and out of no negative one: name it by --hypernetwork"
            }
            Self::Network => {
                "of extra networks, this version has LoRAs (lora, lyco) and hypernetworks (hypernet)"
            }
            Self::Embedding if embeddings.entries().is_empty() => {
                "no embedding is there; --embeddings DIR says where they are"
            }
            Self::Embedding => {
                let hint = embeddings.hint(mark.trim_start_matches(EMBEDDING));
                return format!("no embedding is called so{hint}");
            }
            Self::Wildcard => {
                "wildcards are not part of this version; --prompts-from draws many prompts"
            }
        };
        plain.to_owned()
    }
}

/// Whether the mark is an embedding that texts of the prompt language can name.
fn is_there(mark: &str, dialect: Dialect, embeddings: &Embeddings) -> bool {
    let name = mark.trim_start_matches(EMBEDDING);
    match dialect {
        Dialect::ComfyUi => embeddings.knows_file(name),
        // Its name is found among the words.
        _ => embeddings.knows(name),
    }
}

/// Prepares a prompt. `which` is the request's field; `language`: the model's prompts are in that language, and it does not read
/// its text by itself; `embeddings` are those that it may name.
pub(crate) fn clean(
    which: &'static str,
    prompt: &str,
    dialect: Dialect,
    language: bool,
    embeddings: &Embeddings,
) -> Cleaned {
    let fate = |kind| match (kind, dialect) {
        // A1111 looks for networks in the prompt only, and takes out all that look like one.
        (Kind::Lora | Kind::Hypernetwork, Dialect::A1111) if which.starts_with("prompt") => {
            Fate::Read
        }
        (Kind::Network, Dialect::A1111) if which.starts_with("prompt") => Fate::LeftOut,
        (Kind::Embedding, Dialect::ComfyUi) if language => Fate::LeftOut,
        _ => Fate::Words,
    };
    let mut cleaned = Cleaned {
        text: String::with_capacity(prompt.len()),
        notes: Vec::new(),
    };
    let mut at = 0;
    while let Some(first) = prompt[at..].chars().next() {
        let before = prompt[..at].chars().next_back();
        let rest = &prompt[at..];
        let found = network(rest)
            .or_else(|| embedding(rest, before))
            .or_else(|| wildcard(rest, before));
        let Some((kind, length)) = found else {
            cleaned.text.push(first);
            at += first.len_utf8();
            continue;
        };
        let mark = &rest[..length];
        if kind == Kind::Embedding && language && is_there(mark, dialect, embeddings) {
            cleaned.text += mark;
            at += length;
            continue;
        }
        let shown: String = mark.chars().take(60).collect();
        let fate = fate(kind);
        let how = match fate {
            Fate::Read => {
                at += length;
                continue;
            }
            Fate::LeftOut => "is left out",
            Fate::Words => "is drawn as words",
        };
        let note = format!(
            "`{shown}` in `{which}` {how}: {}",
            kind.reason(mark, embeddings)
        );
        if !cleaned.notes.contains(&note) {
            cleaned.notes.push(note);
        }
        if fate == Fate::Words {
            cleaned.text += mark;
        }
        at += length;
    }
    cleaned
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A1111's extra networks.
fn network(text: &str) -> Option<(Kind, usize)> {
    let length = tag::length(text)?;
    let mention = Mention::of(&text[..length]);
    let kind = match (mention.is_lora(), mention.is_hypernetwork()) {
        (true, _) => Kind::Lora,
        (_, true) => Kind::Hypernetwork,
        _ => Kind::Network,
    };
    Some((kind, length))
}

/// ComfyUI's `embedding:NAME` at the start of a word: the name goes on to white space or a bracket; commas at its end, and the
/// weight of a bracket around it, are not its; a bracket with nothing else in it loses its weight with it.
fn embedding(text: &str, before: Option<char>) -> Option<(Kind, usize)> {
    let starts = before.is_none_or(|c| c.is_whitespace() || matches!(c, '(' | ',' | ')'));
    let name = text.strip_prefix(EMBEDDING).filter(|_| starts)?;
    let mut escaped = false;
    let end = name.find(|c: char| {
        let ends = c.is_whitespace() || (matches!(c, '(' | ')') && !escaped);
        escaped = c == '\\';
        ends
    });
    let mut length = end.unwrap_or(name.len());
    if name[length..].starts_with(')')
        && before != Some('(')
        && let Some((inner, weight)) = name[..length].rsplit_once(':')
        && weight.trim().parse::<f64>().is_ok()
    {
        length = inner.len();
    }
    let length = name[..length].trim_end_matches(',').len();
    (length > 0).then_some((Kind::Embedding, EMBEDDING.len() + length))
}

/// The marks of prompt generators: `__NAME__` and `{a|b}`.
fn wildcard(text: &str, before: Option<char>) -> Option<(Kind, usize)> {
    if before.is_some_and(is_word) {
        return None;
    }
    let named = text.strip_prefix("__").and_then(|inside| {
        let end = inside.find("__").filter(|at| *at > 0)?;
        let plain = |c: char| is_word(c) || matches!(c, '-' | '/' | '*');
        inside[..end].chars().all(plain).then_some(end + 4)
    });
    let choice = || {
        let inside = text.strip_prefix('{')?;
        let end = inside.find(['{', '}'])?;
        let closed = inside[end..].starts_with('}') && inside[..end].contains('|');
        closed.then_some(end + 2)
    };
    named.or_else(choice).map(|length| (Kind::Wildcard, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(which: &'static str, prompt: &str, dialect: Dialect) -> (String, usize) {
        let cleaned = clean(which, prompt, dialect, true, &Embeddings::default());
        (cleaned.text, cleaned.notes.len())
    }

    #[test]
    fn a1111_takes_networks_out_of_the_prompt() {
        let prompt = |text_: &str| text("prompt", text_, Dialect::A1111);
        for (given, kept, notes) in [
            ("cat <lora:foo:0.8>", "cat ", 0),
            ("<lora:a:1><lyco:b:te=1:unet=0.5>cat", "cat", 0),
            ("cat <hypernet:x y:1>, dog", "cat , dog", 0),
            ("cat <segs:x y:1>, dog", "cat , dog", 1),
            ("a <b:c <lora:x:1> d", "a  d", 1),
            ("cat <lora:a:1> <lora:a:1>", "cat  ", 0),
            ("a < b : c > d", "a < b : c > d", 0),
            ("<lora:>, <:x>, <lora:x", "<lora:>, <:x>, <lora:x", 0),
            ("猫 <lora:猫:1>犬", "猫 犬", 0),
        ] {
            assert_eq!(prompt(given), (kept.to_owned(), notes), "{given}");
        }
    }

    #[test]
    fn elsewhere_networks_are_words_that_are_named() {
        let given = "cat <lora:foo:0.8>";
        for (which, dialect) in [
            ("negative_prompt", Dialect::A1111),
            ("prompt", Dialect::ComfyUi),
            ("prompt", Dialect::Diffusers),
        ] {
            assert_eq!(text(which, given, dialect), (given.to_owned(), 1));
        }
        let none = Embeddings::default();
        let own = clean("prompt", given, Dialect::Diffusers, false, &none);
        assert!(
            own.text == given
                && own.notes[0].contains("`<lora:foo:0.8>` in `prompt` is drawn as words")
        );
        let own = clean("prompt", given, Dialect::A1111, false, &none);
        assert_eq!(own.text, "cat ");
    }

    #[test]
    fn comfyui_leaves_out_embeddings_that_are_not_there() {
        for (given, kept) in [
            ("embedding:bad", ""),
            ("cat, embedding:bad-hands, dog", "cat, , dog"),
            ("(embedding:bad:1.2) dog", "() dog"),
            ("(cat, embedding:bad:1.2) dog", "(cat, :1.2) dog"),
            ("((embedding:bad)) dog", "(()) dog"),
            ("embedding:a\\(1\\) b", " b"),
            ("cat\nembedding:x.pt", "cat\n"),
        ] {
            let got = text("negative_prompt", given, Dialect::ComfyUi);
            assert_eq!(got, (kept.to_owned(), 1), "{given}");
        }
        let no_mark = "myembedding:x, embedding: y";
        assert_eq!(
            text("prompt", no_mark, Dialect::ComfyUi),
            (no_mark.to_owned(), 0)
        );
        let words = text("prompt", "embedding:bad", Dialect::A1111);
        assert_eq!(words, ("embedding:bad".to_owned(), 1));
    }

    #[test]
    fn embeddings_that_are_there_are_left_to_the_prompt_language() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        for file in ["bad.pt", "sub/Good.safetensors"] {
            std::fs::write(folder.path().join(file), "").unwrap();
        }
        let there = Embeddings::open(&[folder.path().to_owned()]).unwrap();
        let clean = |text: &str, dialect| clean("prompt", text, dialect, true, &there);
        let comfy = clean(
            "embedding:bad, embedding:sub/Good embedding:good embedding:bat",
            Dialect::ComfyUi,
        );
        assert_eq!(comfy.text, "embedding:bad, embedding:sub/Good  ");
        assert_eq!(comfy.notes.len(), 2);
        assert!(
            comfy.notes[1].contains("did you mean bad?"),
            "{:?}",
            comfy.notes
        );
        let a1111 = clean("embedding:good embedding:bat", Dialect::A1111);
        assert_eq!(a1111.text, "embedding:good embedding:bat");
        assert_eq!(a1111.notes.len(), 1);
    }

    #[test]
    fn wildcards_are_named() {
        for given in ["a __colour__ cat", "a {red|green} cat", "__a/b-c__"] {
            let none = Embeddings::default();
            let cleaned = clean("prompt", given, Dialect::A1111, true, &none);
            assert_eq!((cleaned.text.as_str(), cleaned.notes.len()), (given, 1));
        }
        for given in ["a {cat}", "snake__case__name", "____", "{a {b|c"] {
            assert_eq!(text("prompt", given, Dialect::A1111).1, 0, "{given}");
        }
    }
}
