//! The prompt languages: the first byte chooses the language, the second the steps.
#![no_main]

use std::sync::OnceLock;

use latent_text::{ClipTokenizer, Dialect, Pad, chunks, parse, parse_negative};
use libfuzzer_sys::fuzz_target;

static TOKENIZER: OnceLock<ClipTokenizer> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    let [dialect, steps, text @ ..] = data else { return };
    let dialect = [Dialect::A1111, Dialect::ComfyUi, Dialect::Diffusers][usize::from(*dialect) % 3];
    let text = String::from_utf8_lossy(text);
    let steps = usize::from(*steps);
    let _ = parse_negative(&text, steps, dialect);
    let Ok(prompt) = parse(&text, steps, dialect) else { return };
    let tokenizer = TOKENIZER.get_or_init(ClipTokenizer::new);
    for scheduled in prompt.parts.iter().flat_map(|part| &part.schedule) {
        if let Ok(encoded) = chunks(tokenizer, &scheduled.text, dialect, Pad::Zero) {
            assert!(encoded.chunks.iter().all(|c| c.ids.len() == 77 && c.weights.len() == 77));
        }
    }
});
