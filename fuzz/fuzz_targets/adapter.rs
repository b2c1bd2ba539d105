//! Adapters: keys, metadata, kinds, and how they fit a model; hypernetworks; the texts that ask for them.
#![no_main]

use std::sync::{Arc, OnceLock};

use latent_checkpoint::patch::Targets;
use latent_checkpoint::tiny::{tiny_text_encoder, tiny_unet};
use latent_checkpoint::{Adapter, AdapterFile, HypernetworkFile, Role, TensorFile};
use latent_pipeline::loras::{mentions, typed};
use libfuzzer_sys::fuzz_target;

static MODEL: OnceLock<[Targets; 2]> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    for mention in mentions(&text) {
        let _ = mention.lora();
    }
    let _ = typed(text.as_ref().as_ref(), |_| false);
    let _ = latent_pipeline::hypernetworks::typed(text.as_ref().as_ref(), |_| false);
    let _ = TensorFile::from_bytes("fuzz", data.to_vec()).map(HypernetworkFile::of);
    let Ok(file) = TensorFile::from_bytes("fuzz", data.to_vec()) else { return };
    let Ok(file) = AdapterFile::from_file(file) else { return };
    let _ = file.about();
    let model = MODEL.get_or_init(|| {
        [
            Targets::of(Role::DENOISER, &tiny_unet(4).into()),
            Targets::of(Role::TEXT_ENCODER, &tiny_text_encoder().into()),
        ]
    });
    if let Ok(adapter) = Adapter::of(Arc::new(file), 1.0) {
        let _ = adapter.fit(model);
    }
});
