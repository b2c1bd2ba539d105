//! The pickle machine.
#![no_main]

use latent_checkpoint::file::pickle::{Limits, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = parse(data, &Limits::default());
});
