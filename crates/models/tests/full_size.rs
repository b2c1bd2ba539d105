//! The golden networks at their published sizes: strided samples and norms, to 1e-3.
//!
//! Some GB and a minute or more each, so not run by default:
//!
//! ```text
//! cargo test --release --workspace --test full_size -- --ignored --nocapture --test-threads 1 stable_diffusion_15
//! ```

mod common;

use std::time::Instant;

use burn::tensor::{DType, Device, Tensor};
use common::*;
use latent_models::{Form, Given, UNet, UNetConfig, cast, named};
use latent_testkit::{Golden, closeness};

const TOLERANCE: f64 = 1e-3;

/// [`check_sample`] with the time it took.
fn check_timed<const D: usize>(golden: &Golden, name: &str, tensor: Tensor<D>, began: Instant) {
    check_sample(golden, name, name, tensor, TOLERANCE);
    println!("{name}: {:.1} s", began.elapsed().as_secs_f64());
}

#[test]
#[ignore = "needs 5 GB and a minute or two"]
fn stable_diffusion_15() {
    let golden = Golden::networks_sd15();
    let device = Device::flex();

    let began = Instant::now();
    let text = fill("text_encoder", named::clip_l().init(&device));
    println!(
        "text encoder filled, {:.1} s",
        began.elapsed().as_secs_f64()
    );
    let ids = padded_ids(4);
    let began = Instant::now();
    check_timed(
        &golden,
        "text/last_hidden_state",
        text.forward(ids.clone(), 0),
        began,
    );
    let began = Instant::now();
    check_timed(&golden, "text/clip_skip_2", text.forward(ids, 1), began);
    drop(text);

    let began = Instant::now();
    let vae = fill("vae", named::autoencoder_kl_f8().init(&device));
    println!("autoencoder filled, {:.1} s", began.elapsed().as_secs_f64());
    let image: Tensor<4> = normal("vae/image", [1, 3, 512, 512]).clamp(-1.0, 1.0);
    let began = Instant::now();
    let moments = vae.encode(image);
    check_timed(&golden, "vae/mean", moments.mean, began);
    check_timed(&golden, "vae/logvar", moments.logvar, began);
    let began = Instant::now();
    let decoded = vae.decode(normal("vae/latent", [1, 4, 64, 64]));
    check_timed(&golden, "vae/decoded", decoded, began);
    drop(vae);

    let began = Instant::now();
    let unet = fill("unet", named::unet_sd1().init(&device));
    println!("U-Net filled, {:.1} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    let out = run_unet(&unet, "full", [1, 4, 64, 64], &[500.0], 768);
    check_timed(&golden, "unet/full", out, began);
}

/// A U-Net on a latent of 32×32 at step 500, unpacked and packed.
fn unet(golden: &Golden, name: &str, config: UNetConfig, vector: Option<Tensor<2>>) {
    let context = config.context.unwrap();
    let unet = fill("unet", config.init(&Device::flex()));
    let given = || Given {
        vector: vector.clone(),
        ..looking_at(normal(&format!("{name}/context"), [1, 77, context]))
    };
    let run = |unet: &UNet| {
        let began = Instant::now();
        let x = normal(&format!("{name}/x"), [1, 4, 32, 32]);
        let t = Tensor::from_data([500.0f32], &Device::flex());
        let out = unet.forward(x, t, given()).unwrap();
        check(golden, &format!("unet/{name}"), out, TOLERANCE);
        println!("{:.1} s", began.elapsed().as_secs_f64());
    };
    run(&unet);
    run(&unet.packed(Form::Plain, [32, 32]));
}

#[test]
#[ignore = "needs 4 GB and a minute or two"]
fn stable_diffusion_21() {
    unet(&Golden::networks_sd21(), "sd2", named::unet_sd2(), None);
}

#[test]
#[ignore = "needs 11 GB and some minutes"]
fn stable_diffusion_xl() {
    let sizes = sizes(1280, &[256.0, 256.0, 0.0, 0.0, 256.0, 256.0]);
    let config = named::unet_sdxl_base();
    unet(&Golden::networks_sdxl(), "sdxl", config, Some(sizes));
}

/// OpenCLIP-H, OpenCLIP-bigG and CLIP-L.
#[test]
#[ignore = "needs 4 GB and some minutes"]
fn text_encoders() {
    let configs = [named::clip_h(), named::clip_g(), named::clip_l()];
    check_texts(&Golden::networks_texts(), configs, TOLERANCE);
}

/// The U-Net's output in fewer bits, beside f32: the error of the norm, to 1 % in bf16 and 4 % in int8.
#[test]
#[ignore = "needs 6 GB and a minute or two"]
fn fewer_bits() {
    let run = |form: Option<Form>| {
        let unet = fill("unet", named::unet_sd1().init(&Device::flex()));
        let unet = match form {
            Some(form) => cast(unet, DType::BF16).packed(form, [64, 64]),
            None => unet,
        };
        values(run_unet(&unet, "full", [1, 4, 64, 64], &[500.0], 768))
    };
    let want = run(None);
    for (form, tolerance) in [(Form::Plain, 2e-2), (Form::Int8, 4e-2)] {
        let error = closeness(&run(Some(form)), &want);
        println!("U-Net in bf16, {form:?}: {error:.2e}");
        assert!(error <= tolerance, "{form:?}: {error:.2e}");
    }

    let vae = fill("vae", named::autoencoder_kl_f8().init(&Device::flex()));
    let latent = || normal("vae/latent", [1, 4, 64, 64]);
    let want = values(vae.decode(latent()));
    let vae = cast(vae, DType::BF16).packed(Form::Plain, [64, 64]);
    let got = values(vae.decode(latent()));
    // Of the range of a picture, or of what is taken of it where that is less.
    let range = want.iter().fold(0f64, |m, x| m.max(f64::from(x.abs())));
    let square = |(a, b): (&f32, &f32)| f64::from(a - b).powi(2);
    let error = got.iter().zip(&want).map(square).sum::<f64>() / want.len() as f64;
    let psnr = 10.0 * (4.0 * range.min(1.0).powi(2) / error).log10();
    println!("decoder in bf16: {psnr:.1} dB (values within ±{range:.2})");
    assert!(psnr >= 40.0, "{psnr:.1} dB");
}
