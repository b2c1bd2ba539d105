//! The reference's own token ids.

use latent_testkit::golden::TOKENS;
use latent_text::{BOS, ClipTokenizer, Dialect, EOS, LENGTH, TEXT_LENGTH, chunks};
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

        let encoded = chunks(&tokenizer, prompt, Dialect::Diffusers).unwrap();
        assert_eq!(encoded.chunks.len(), 1);
        let chunk = &encoded.chunks[0];
        assert_eq!(chunk.ids, ids(row, "padded"), "{prompt:?}");
        assert_eq!(chunk.weights, [1.0; LENGTH]);
        assert_eq!(encoded.truncated.is_some(), got.len() > TEXT_LENGTH);
    }
}
