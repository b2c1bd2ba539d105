//! The reference's own token ids.

use latent_testkit::golden::{FAMILY_TOKENS, TOKENS};
use latent_text::{BOS, ClipTokenizer, Dialect, EOS, LENGTH, Pad, TEXT_LENGTH, chunks};
use serde_json::Value;

fn ids(row: &Value, key: &str) -> Vec<u32> {
    let ids = row[key].as_array().unwrap().iter();
    ids.map(|id| u32::try_from(id.as_u64().unwrap()).unwrap())
        .collect()
}

#[test]
fn tokens_are_the_references() {
    let rows: Vec<Value> = serde_json::from_str(TOKENS).unwrap();
    assert_eq!(rows.len(), 11);
    let tokenizer = ClipTokenizer::new();
    for row in &rows {
        let prompt = row["prompt"].as_str().unwrap();
        let got = tokenizer.encode(prompt);
        let whole = [&[BOS], got.as_slice(), &[EOS]].concat();
        assert_eq!(whole, ids(row, "ids"), "{prompt:?}");

        let encoded = chunks(&tokenizer, prompt, Dialect::Diffusers, Pad::End).unwrap();
        assert_eq!(encoded.chunks.len(), 1);
        let chunk = &encoded.chunks[0];
        assert_eq!(chunk.ids, ids(row, "padded"), "{prompt:?}");
        assert_eq!(chunk.weights, [1.0; LENGTH]);
        assert_eq!(encoded.truncated.is_some(), got.len() > TEXT_LENGTH);
    }
}

/// The whole text's ids and the chunk of both paddings, as diffusers' pipelines hand them to the encoders.
#[test]
fn tokens_of_either_padding_are_the_references() {
    let rows: Vec<Value> = serde_json::from_str(FAMILY_TOKENS).unwrap();
    assert_eq!(rows.len(), 15);
    let tokenizer = ClipTokenizer::new();
    let mut with_bangs = 0;
    for row in &rows {
        let prompt = row["prompt"].as_str().unwrap();
        for (key, pad) in [("end", Pad::End), ("zero", Pad::Zero)] {
            let encoded = chunks(&tokenizer, prompt, Dialect::Diffusers, pad).unwrap();
            let chunk = &encoded.chunks[0];
            assert_eq!(chunk.ids, ids(&row[key], "padded"), "{key} {prompt:?}");
            let whole = ids(&row[key], "ids");
            assert_eq!(
                encoded.truncated.is_some(),
                whole.len() > LENGTH,
                "{key} {prompt:?}"
            );
        }
        // The other programs give "!" its own id under either padding.
        for dialect in [Dialect::A1111, Dialect::ComfyUi] {
            let text = prompt.replace(['(', ')'], "");
            let read = |pad| chunks(&tokenizer, &text, dialect, pad).unwrap().chunks;
            let (end, zero) = (read(Pad::End), read(Pad::Zero));
            assert_eq!(end.len(), zero.len());
            for (end, zero) in end.iter().zip(&zero) {
                let text = 1 + end.ids.iter().position(|id| *id == EOS).unwrap();
                assert_eq!(end.ids[..text], zero.ids[..text], "{dialect} {prompt:?}");
                assert!(zero.ids[text..].iter().all(|id| *id == 0));
                with_bangs += usize::from(end.ids[..text].contains(&256));
            }
        }
    }
    assert_eq!(with_bangs, 6);
}
