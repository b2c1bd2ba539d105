//! Embeddings (textual inversion): files of weights and pictures.
#![no_main]

use latent_checkpoint::{Inversion, TensorFile};
use latent_pipeline::embeddings::in_picture;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = in_picture("fuzz.png", data);
    if let Ok(file) = TensorFile::from_bytes("fuzz.pt", data.to_vec())
        && let Ok(read) = Inversion::of(file)
    {
        assert!(read.learnt.count() > 0);
    }
});
