//! The JSON configurations of diffusers folders.
#![no_main]

use latent_checkpoint::SchedulerConfig;
use latent_checkpoint::detect::{autoencoder_from_json, clip_from_json, unet_from_json};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(data) else { return };
    if let Ok(config) = unet_from_json(&value) {
        let _ = config.validate();
    }
    if let Ok(config) = autoencoder_from_json(&value) {
        let _ = config.validate();
    }
    if let Ok(config) = clip_from_json(&value) {
        let _ = config.validate();
    }
    let _ = SchedulerConfig::from_json(&value);
});
