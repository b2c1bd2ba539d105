//! The texts inside PNG, JPEG and WebP files.
#![no_main]

use latent_pipeline::picture::metadata::Metadata;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Metadata::read("fuzz", data);
});
