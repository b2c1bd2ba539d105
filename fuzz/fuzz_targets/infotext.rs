//! A1111's text: what is read must be read the same again after it is written.
#![no_main]

use latent_pipeline::infotext::Infotext;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let read = Infotext::parse(text);
    let _ = read.to_request();
    let _ = Infotext::parse(&read.to_string());
});
