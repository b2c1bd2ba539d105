use std::sync::LazyLock;

use super::*;

static TOKENIZER: LazyLock<ClipTokenizer> = LazyLock::new(ClipTokenizer::new);

const CAT: u32 = 2368;
const DOG: u32 = 1929;

/// The text's ids of every chunk, with their weights; the rest is checked on the way.
fn encoded(text: &str, dialect: Dialect) -> Vec<(Vec<u32>, Vec<f32>)> {
    let encoded = chunks(&TOKENIZER, text, dialect, Pad::End).unwrap();
    let inner = encoded.chunks.into_iter().map(|chunk| {
        assert_eq!((chunk.ids.len(), chunk.weights.len()), (LENGTH, LENGTH));
        assert_eq!((chunk.ids[0], chunk.weights[0]), (BOS, 1.0));
        let length = chunk.ids.iter().position(|id| *id == EOS).unwrap();
        assert!(chunk.ids[length..].iter().all(|id| *id == EOS));
        assert!(chunk.weights[length..].iter().all(|w| *w == 1.0));
        (
            chunk.ids[1..length].to_vec(),
            chunk.weights[1..length].to_vec(),
        )
    });
    inner.collect()
}

fn lengths(text: &str, dialect: Dialect) -> Vec<usize> {
    encoded(text, dialect)
        .iter()
        .map(|(ids, _)| ids.len())
        .collect()
}

fn cats(n: usize) -> String {
    vec!["cat"; n].join(" ")
}

#[test]
fn nothing_is_one_chunk() {
    for dialect in [Dialect::A1111, Dialect::ComfyUi, Dialect::Diffusers] {
        for text in ["", " \n"] {
            assert_eq!(lengths(text, dialect), [0], "{dialect} {text:?}");
        }
        assert_eq!(lengths(&cats(75), dialect), [75], "{dialect}");
    }
    assert_eq!(lengths("()", Dialect::A1111), [0]);
    assert_eq!(lengths("()", Dialect::ComfyUi), [0]);
}

#[test]
fn long_texts() {
    assert_eq!(lengths(&cats(76), Dialect::A1111), [75, 1]);
    assert_eq!(lengths(&cats(150), Dialect::A1111), [75, 75]);
    assert_eq!(lengths(&cats(151), Dialect::ComfyUi), [75, 75, 1]);
    assert_eq!(lengths(&cats(80), Dialect::Diffusers), [75]);
}

#[test]
fn diffusers_says_what_it_cut() {
    let truncated = |text: &str, dialect| {
        chunks(&TOKENIZER, text, dialect, Pad::End)
            .unwrap()
            .truncated
    };
    let text = format!("{}, A (Dog:1.2)", cats(73));
    let cut = truncated(&text, Dialect::Diffusers);
    assert_eq!(cut.as_deref(), Some("( dog : 1 . 2 )"));
    assert_eq!(truncated(&cats(75), Dialect::Diffusers), None);
    assert_eq!(truncated(&text, Dialect::A1111), None);
    assert_eq!(truncated(&text, Dialect::ComfyUi), None);
}

#[test]
fn a1111_goes_back_to_a_near_comma() {
    let text = |before: usize, after: usize| format!("{}, {}", cats(before), cats(after));
    assert_eq!(lengths(&text(60, 20), Dialect::A1111), [61, 20]);
    assert_eq!(lengths(&text(60, 14), Dialect::A1111), [75]);
    assert_eq!(lengths(&text(55, 20), Dialect::A1111), [56, 20]);
    assert_eq!(lengths(&text(54, 21), Dialect::A1111), [75, 1]);
    assert_eq!(lengths(&text(74, 1), Dialect::A1111), [75, 1]);
    // A comma that comes when the chunk is full begins the next.
    assert_eq!(lengths(&text(75, 1), Dialect::A1111), [75, 2]);
    // ComfyUI takes no notice.
    assert_eq!(lengths(&text(60, 20), Dialect::ComfyUi), [75, 6]);

    let weighted = format!("{}, (dog {}:1.5)", cats(60), cats(19));
    let got = encoded(&weighted, Dialect::A1111);
    assert_eq!(got[0].1, [1.0; 61]);
    assert_eq!((got[1].0[0], &got[1].1[..]), (DOG, &[1.5; 20][..]));
}

#[test]
fn breaks() {
    let lengths = |text| lengths(text, Dialect::A1111);
    assert_eq!(lengths("cat BREAK dog cat"), [1, 2]);
    assert_eq!(lengths("BREAK"), [0]);
    assert_eq!(lengths("cat BREAK"), [1]);
    assert_eq!(lengths("BREAK cat"), [0, 1]);
    assert_eq!(lengths("cat BREAK BREAK dog"), [1, 0, 1]);
    assert_eq!(lengths("cat\nBREAK\ndog, break"), [1, 3]);
    let got = encoded("(cat BREAK dog)", Dialect::A1111);
    assert_eq!(got, [(vec![CAT, 2568, DOG], vec![1.1, -1.1, 1.1])]);
}

#[test]
fn comfyui_keeps_short_stretches_whole() {
    let text = |n| format!("{} ({}:1.5) dog", cats(70), cats(n));
    assert_eq!(lengths(&text(5), Dialect::ComfyUi), [75, 1]);
    assert_eq!(lengths(&text(6), Dialect::ComfyUi), [70, 7]);
    assert_eq!(lengths(&text(7), Dialect::ComfyUi), [70, 8]);
    assert_eq!(lengths(&text(8), Dialect::ComfyUi), [75, 4]);
    let got = encoded(&text(8), Dialect::ComfyUi);
    assert_eq!(got[1].1, [1.5, 1.5, 1.5, 1.0]);
}

#[test]
fn weights_beyond_numbers() {
    let huge = format!("(cat:{})", "9".repeat(39));
    for dialect in [Dialect::A1111, Dialect::ComfyUi] {
        let got = chunks(&TOKENIZER, &huge, dialect, Pad::End);
        assert!(
            matches!(got, Err(PromptError::WeightRange { .. })),
            "{dialect}"
        );
    }
    let product = format!("((cat:{nines}):{nines})", nines = "9".repeat(200));
    let got = chunks(&TOKENIZER, &product, Dialect::A1111, Pad::End);
    assert!(matches!(got, Err(PromptError::WeightRange { .. })));
    assert!(chunks(&TOKENIZER, &huge, Dialect::Diffusers, Pad::End).is_ok());
    assert!(Chunk::of(vec![CAT], vec![0.5], vec![], Pad::End).is_weighted());
    assert!(!Chunk::of(vec![CAT], vec![1.0], vec![], Pad::End).is_weighted());
}

#[test]
fn a1111_cleans_text_after_its_brackets() {
    let ids = |text| encoded(text, Dialect::A1111);
    for (text, plain) in [
        ("a cat’s “hat”", "a cat's \"hat\""),
        ("1girl，solo", "1girl,solo"),
        ("ﬁre", "fire"),
        ("rock &amp; roll", "rock & roll"),
        ("ＡＢＣ", "ABC"),
        ("\u{feff}(a:1.3) ﬁre", "(a:1.3) fire"),
        ("（cat：1.5）", "\\(cat:1.5\\)"),
    ] {
        assert_eq!(ids(text), ids(plain), "{text}");
        let other = |text, dialect| encoded(text, dialect);
        for dialect in [Dialect::ComfyUi, Dialect::Diffusers] {
            assert_ne!(
                other(text, dialect),
                other(plain, dialect),
                "{dialect} {text}"
            );
        }
    }
    // A comma of any width is one to go back to.
    assert_eq!(
        lengths(&format!("{}， {}", cats(60), cats(20)), Dialect::A1111),
        [61, 20]
    );
}
