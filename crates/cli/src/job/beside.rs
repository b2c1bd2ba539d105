//! Files beside a checkpoint that some programs take for a part of it.

use std::path::Path;

use latent_pipeline::request::{Compat, Request};

/// `NAME.ENDING` beside `NAME.safetensors` is its autoencoder.
const AUTOENCODER: [&str; 3] = ["vae.safetensors", "vae.pt", "vae.ckpt"];

/// Sets the autoencoder beside the model where the profile's program takes it, and says what holds. `whole`: the request states
/// everything already. `none` for an autoencoder asks for the model's own.
pub fn autoencoder(request: &mut Request, whole: bool) -> Option<String> {
    if request.vae.as_deref() == Some(Path::new("none")) && !Path::new("none").exists() {
        request.vae = None;
        return None;
    }
    let model = request.model.as_ref().filter(|model| model.is_file())?;
    if whole || request.vae.is_some() {
        return None;
    }
    let mut files = AUTOENCODER
        .iter()
        .map(|ending| model.with_extension(ending));
    let beside = files.find(|file| file.is_file())?;
    let name = beside.display();
    if request.compat != Compat::A1111 {
        return Some(format!(
            "{name} beside the model is not used, as {} does not look for it: give it with --vae",
            request.compat
        ));
    }
    let note = format!(
        "drawing with the autoencoder {name} beside the model, as A1111 does; --vae none draws with the model's own"
    );
    request.vae = Some(beside);
    Some(note)
}
