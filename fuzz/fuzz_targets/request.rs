//! Request files, JSON and TOML.
#![no_main]

use latent_pipeline::Request;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for request in [Request::from_json(text), Request::from_toml(text)].into_iter().flatten() {
        if request.validate().is_ok() {
            let _ = request.canvas();
            assert_eq!(Request::from_json(&request.to_json()).as_ref(), Ok(&request));
        }
    }
});
