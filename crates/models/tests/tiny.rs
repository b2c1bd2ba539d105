//! The tiny golden networks: every tensor of `networks_tiny`, to 1e-4 of its norm.

mod common;

use burn::tensor::{Device, Tensor};
use common::*;
use latent_testkit::Golden;

const TOLERANCE: f64 = 1e-4;

#[test]
fn text_encoder() {
    let golden = Golden::networks_tiny();
    let text = fill("text_encoder", tiny_text().init(&Device::flex()));
    let ids = padded_ids(4);
    check(
        &golden,
        "text/last_hidden_state",
        text.forward(ids.clone(), 0),
        TOLERANCE,
    );
    check(&golden, "text/clip_skip_2", text.forward(ids, 1), TOLERANCE);
}

#[test]
fn unet() {
    let golden = Golden::networks_tiny();
    let unet = fill("unet", tiny_unet(4).init(&Device::flex()));
    for (name, shape, t) in [
        ("square", [2, 4, 16, 16], vec![999.0, 1.0]),
        ("wide", [1, 4, 8, 24], vec![500.0]),
    ] {
        let out = run_unet(&unet, name, shape, &t, 48);
        check(&golden, &format!("unet/{name}"), out, TOLERANCE);
    }
}

#[test]
fn inpainting_unet() {
    let golden = Golden::networks_tiny();
    let unet = fill("unet", tiny_unet(9).init(&Device::flex()));
    let out = run_unet(&unet, "inpaint9", [1, 9, 8, 8], &[501.0], 48);
    check(&golden, "unet/inpaint9", out, TOLERANCE);
}

#[test]
fn autoencoder() {
    let golden = Golden::networks_tiny();
    let vae = fill("vae", tiny_autoencoder().init(&Device::flex()));
    let image: Tensor<4> = normal("vae/image", [1, 3, 64, 64]).clamp(-1.0, 1.0);
    let moments = vae.encode(image);
    check(&golden, "vae/mean", moments.mean, TOLERANCE);
    check(&golden, "vae/logvar", moments.logvar, TOLERANCE);
    let decoded = vae.decode(normal("vae/latent", [1, 4, 8, 8]));
    check(&golden, "vae/decoded", decoded, TOLERANCE);
}
