//! Weight files of every form: safetensors headers, torch zip and legacy files.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(file) = latent_checkpoint::TensorFile::from_bytes("fuzz", data.to_vec()) {
        for tensor in file.tensors() {
            let _ = file.bytes(&tensor.name);
        }
        let _ = latent_checkpoint::Checkpoint::from_file(file);
    }
});
