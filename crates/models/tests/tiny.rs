//! The tiny golden networks: every tensor of `networks_tiny`, to 1e-4 of its norm, unpacked and packed.

mod common;

use burn::tensor::{Device, Tensor};
use common::*;
use latent_models::Form;
use latent_testkit::Golden;

const TOLERANCE: f64 = 1e-4;

#[test]
fn text_encoder() {
    let golden = Golden::networks_tiny();
    let text = fill("text_encoder", tiny_text().init(&Device::flex()));
    for text in both(text, |text| text.packed()) {
        for (case, skip) in [("last_hidden_state", 0), ("clip_skip_2", 1)] {
            let states = text.forward(padded_ids(4), skip);
            check(&golden, &format!("text/{case}"), states, TOLERANCE);
        }
    }
}

fn unet(in_channels: usize, cases: &[(&str, [usize; 4], &[f32])]) {
    let golden = Golden::networks_tiny();
    let unet = fill("unet", tiny_unet(in_channels).init(&Device::flex()));
    for &(name, shape, t) in cases {
        let [_, _, height, width] = shape;
        for unet in both(unet.clone(), |unet| {
            unet.packed(Form::Plain, [height, width])
        }) {
            let out = run_unet(&unet, name, shape, t, 48);
            check(&golden, &format!("unet/{name}"), out, TOLERANCE);
        }
    }
}

#[test]
fn text_to_picture_unet() {
    unet(
        4,
        &[
            ("square", [2, 4, 16, 16], &[999.0, 1.0]),
            ("wide", [1, 4, 8, 24], &[500.0]),
        ],
    );
}

#[test]
fn inpainting_unet() {
    unet(9, &[("inpaint9", [1, 9, 8, 8], &[501.0])]);
}

#[test]
fn autoencoder() {
    let golden = Golden::networks_tiny();
    let vae = fill("vae", tiny_autoencoder().init(&Device::flex()));
    for vae in both(vae, |vae| vae.packed(Form::Plain, [8, 8])) {
        let image: Tensor<4> = normal("vae/image", [1, 3, 64, 64]).clamp(-1.0, 1.0);
        let moments = vae.encode(image);
        check(&golden, "vae/mean", moments.mean, TOLERANCE);
        check(&golden, "vae/logvar", moments.logvar, TOLERANCE);
        let decoded = vae.decode(normal("vae/latent", [1, 4, 8, 8]));
        check(&golden, "vae/decoded", decoded, TOLERANCE);
    }
}

#[test]
fn instruction_sets() {
    on_every_instruction_set();
}
