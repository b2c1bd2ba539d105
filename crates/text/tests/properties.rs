//! What holds for any prompt.

use std::sync::LazyLock;

use latent_text::{
    BOS, ClipTokenizer, Dialect, EOS, LENGTH, Pad, Pass, Prompt, TEXT_LENGTH, chunks, parse,
    parse_negative, strip_comments,
};
use proptest::prelude::*;

static TOKENIZER: LazyLock<ClipTokenizer> = LazyLock::new(ClipTokenizer::new);

fn dialects() -> impl Strategy<Value = Dialect> {
    prop_oneof![
        Just(Dialect::A1111),
        Just(Dialect::ComfyUi),
        Just(Dialect::Diffusers)
    ]
}

/// Strings full of syntax, and any strings.
fn prompts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[\\[\\]():|\\\\#, ]",
        "[a-z]{1,6} ?",
        "\\PC",
        "[+-]?[0-9.]{1,4}[)\\]]",
        Just(" AND ".to_owned()),
        Just(" BREAK ".to_owned()),
        Just("[a:b:3]".to_owned()),
        Just("[a|b|]".to_owned()),
        Just("(a:1.2)".to_owned()),
        Just("<|endoftext|>".to_owned()),
        Just("<start_of_text>".to_owned()),
        Just("\n".to_owned()),
    ];
    let pieces = prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat());
    prop_oneof![3 => pieces, 1 => any::<String>()]
}

fn passes() -> impl Strategy<Value = Pass> {
    prop_oneof![
        (0..60_usize).prop_map(Pass::Only),
        any::<usize>().prop_map(Pass::Only),
        (any::<usize>(), 0..60_usize).prop_map(|(first, steps)| Pass::Second { first, steps }),
        (0..60_usize, 0..60_usize).prop_map(|(first, steps)| Pass::Second { first, steps }),
    ]
}

fn check_prompt(prompt: &Prompt, pass: Pass) -> Result<(), TestCaseError> {
    prop_assert!(!prompt.parts.is_empty());
    for part in &prompt.parts {
        prop_assert!(part.weight.is_finite());
        let last = part.schedule.last().map(|s| s.until);
        prop_assert_eq!(last, Some(pass.steps()));
        let rising = part.schedule.windows(2).all(|w| w[0].until < w[1].until);
        let differing = part.schedule.windows(2).all(|w| w[0].text != w[1].text);
        prop_assert!(rising && differing);
    }
    prop_assert_eq!(prompt.at(0).count(), prompt.parts.len());
    Ok(())
}

fn check_chunks(text: &str, dialect: Dialect) -> Result<(), TestCaseError> {
    for pad in [Pad::End, Pad::Zero] {
        check_padded(text, dialect, pad)?;
    }
    Ok(())
}

fn check_padded(text: &str, dialect: Dialect, pad: Pad) -> Result<(), TestCaseError> {
    let Ok(encoded) = chunks(&TOKENIZER, text, dialect, pad) else {
        return Ok(());
    };
    prop_assert!(!encoded.chunks.is_empty());
    for chunk in &encoded.chunks {
        prop_assert_eq!(chunk.ids.len(), LENGTH);
        prop_assert_eq!(chunk.weights.len(), LENGTH);
        prop_assert_eq!(chunk.ids[0], BOS);
        let end = chunk.ids.iter().rposition(|id| *id == EOS);
        match pad {
            Pad::End => prop_assert_eq!(end, Some(LENGTH - 1)),
            Pad::Zero => prop_assert!(chunk.ids[end.unwrap() + 1..].iter().all(|id| *id == 0)),
        }
        prop_assert_eq!((chunk.weights[0], chunk.weights[LENGTH - 1]), (1.0, 1.0));
        prop_assert!(chunk.ids.iter().all(|id| *id <= EOS));
        prop_assert!(chunk.weights.iter().all(|w| w.is_finite()));
    }
    Ok(())
}

/// The ids between the specials of all chunks, and their weights, for text that holds no special itself.
fn joined(text: &str, dialect: Dialect) -> (Vec<u32>, Vec<f32>) {
    let encoded = chunks(&TOKENIZER, text, dialect, Pad::End).unwrap();
    let pairs = encoded
        .chunks
        .iter()
        .flat_map(|c| c.ids.iter().copied().zip(c.weights.iter().copied()));
    pairs.filter(|(id, _)| *id < BOS).unzip()
}

/// The text of a one-part prompt that does not change.
fn only_text(prompt: &Prompt) -> &str {
    assert_eq!(prompt.parts.len(), 1);
    assert_eq!(prompt.parts[0].schedule.len(), 1);
    &prompt.parts[0].schedule[0].text
}

proptest! {
    #[test]
    fn nothing_panics_and_every_step_has_a_text(
        text in prompts(), pass in passes(), dialect in dialects(),
    ) {
        check_chunks(&text, dialect)?;
        let texts = parse_negative(&text, pass, dialect);
        let prompt = parse(&text, pass, dialect);
        prop_assert_eq!(texts.is_ok(), prompt.is_ok());
        if let Ok(prompt) = prompt {
            check_prompt(&prompt, pass)?;
            for scheduled in prompt.parts.iter().flat_map(|part| &part.schedule).take(20) {
                check_chunks(&scheduled.text, dialect)?;
            }
        }
    }

    #[test]
    fn reading_is_repeatable(text in prompts(), pass in passes(), dialect in dialects()) {
        prop_assert_eq!(parse(&text, pass, dialect), parse(&text, pass, dialect));
    }

    #[test]
    fn tokens_survive_being_decoded(text in "[a-zA-Z0-9 ,.!?éü猫-]{0,60}") {
        let ids = TOKENIZER.encode(&text);
        let decoded = TOKENIZER.decode(&ids);
        prop_assert_eq!(TOKENIZER.encode(&decoded), ids);
    }

    #[test]
    fn plain_text_keeps_its_tokens(words in prop::collection::vec("[a-z]{1,9},?|猫|😀|[0-9]", 0..200)) {
        let text = words.join(" ");
        let ids = TOKENIZER.encode(&text);
        for dialect in [Dialect::A1111, Dialect::ComfyUi] {
            let (got, weights) = joined(&text, dialect);
            prop_assert_eq!(&got, &ids);
            prop_assert!(weights.iter().all(|w| *w == 1.0));
        }
        let (got, _) = joined(&text, Dialect::Diffusers);
        prop_assert_eq!(&got[..], &ids[..ids.len().min(TEXT_LENGTH)]);
    }

    #[test]
    fn escapes_make_any_bracket_text(text in "[a-z ()\\[\\]\\\\,.!]{0,60}") {
        let mut escaped = String::new();
        for c in text.chars() {
            if matches!(c, '(' | ')' | '[' | ']' | '\\') {
                escaped.push('\\');
            }
            escaped.push(c);
        }
        let prompt = parse(&escaped, 10, Dialect::A1111).unwrap();
        let (ids, weights) = joined(only_text(&prompt), Dialect::A1111);
        prop_assert_eq!(ids, TOKENIZER.encode(&text));
        prop_assert!(weights.iter().all(|w| *w == 1.0));

        // ComfyUI: brackets only, and a backslash before one cannot be written.
        let text = text.replace('\\', "");
        let escaped = text.replace('(', "\\(").replace(')', "\\)");
        let (ids, weights) = joined(&escaped, Dialect::ComfyUi);
        prop_assert_eq!(ids, TOKENIZER.encode(&text));
        prop_assert!(weights.iter().all(|w| *w == 1.0));
    }

    #[test]
    fn weights_are_as_typed(hundredths in -2000..2000_i32) {
        let weight = f64::from(hundredths) / 100.0;
        let text = format!("(cat:{weight:.2})");
        for dialect in [Dialect::A1111, Dialect::ComfyUi] {
            let (_, weights) = joined(&text, dialect);
            prop_assert_eq!(&weights, &[weight as f32]);
        }
        let prompt = parse(&format!("cat :{weight:.2} AND dog"), 10, Dialect::A1111).unwrap();
        prop_assert_eq!(prompt.at(3).collect::<Vec<_>>(), [(weight, "cat"), (1.0, " dog")]);
    }

    #[test]
    fn a_switch_happens_after_its_step(when in 0..30_usize, steps in 1..30_usize) {
        let prompt = parse(&format!("[a:b:{when}]"), steps, Dialect::A1111).unwrap();
        for step in 0..steps {
            let want = if when > 0 && step <= when { "a" } else { "b" };
            prop_assert_eq!(prompt.at(step).next(), Some((1.0, want)));
        }
    }

    #[test]
    fn stripped_prompts_have_no_comments(text in "[a-z#\n ]{0,40}") {
        let stripped = strip_comments(&text);
        prop_assert!(!stripped.contains('#'));
        prop_assert_eq!(strip_comments(&stripped), stripped.clone());
        if !text.contains('#') {
            prop_assert_eq!(stripped, text);
        }
    }
}
