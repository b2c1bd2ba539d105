//! The golden networks at the size of Stable Diffusion 1.5: strided samples and norms, to 1e-3.
//!
//! About 5 GB and a minute or two, so not run by default:
//!
//! ```text
//! cargo test --release -p latent-models --test full_size -- --ignored --nocapture
//! ```

mod common;

use std::time::Instant;

use burn::tensor::{DType, Device, Tensor};
use common::*;
use latent_models::{Form, cast, named};
use latent_testkit::{Golden, closeness};

const TOLERANCE: f64 = 1e-3;

/// Compares shape, norm and every n-th value, n chosen as the oracle does.
fn check_sample<const D: usize>(golden: &Golden, name: &str, tensor: Tensor<D>, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    let json = |key| serde_json::from_str::<serde_json::Value>(golden.metadata(key)).unwrap();
    let shape: Vec<usize> = serde_json::from_value(json("shapes")[name].clone()).unwrap();
    assert_eq!(tensor.dims().as_slice(), shape, "{name}");
    let values = values(tensor);
    let norm = values
        .iter()
        .map(|&v| f64::from(v).powi(2))
        .sum::<f64>()
        .sqrt();
    let wanted = json("norms")[name].as_f64().unwrap();
    let sample: Vec<f32> = values
        .iter()
        .copied()
        .step_by((values.len() / 2048).max(1))
        .collect();
    let error = closeness(&sample, golden.values(name));
    let norm_error = (norm / wanted - 1.0).abs();
    println!("{name}: {error:.2e}, of the norm {norm_error:.2e}, {seconds:.1} s");
    assert!(error <= TOLERANCE, "{name}: {error:.2e}");
    assert!(
        norm_error <= TOLERANCE,
        "{name}: norm {norm} where the reference has {wanted}"
    );
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
    check_sample(
        &golden,
        "text/last_hidden_state",
        text.forward(ids.clone(), 0),
        began,
    );
    let began = Instant::now();
    check_sample(&golden, "text/clip_skip_2", text.forward(ids, 1), began);
    drop(text);

    let began = Instant::now();
    let vae = fill("vae", named::autoencoder_kl_f8().init(&device));
    println!("autoencoder filled, {:.1} s", began.elapsed().as_secs_f64());
    let image: Tensor<4> = normal("vae/image", [1, 3, 512, 512]).clamp(-1.0, 1.0);
    let began = Instant::now();
    let moments = vae.encode(image);
    check_sample(&golden, "vae/mean", moments.mean, began);
    check_sample(&golden, "vae/logvar", moments.logvar, began);
    let began = Instant::now();
    let decoded = vae.decode(normal("vae/latent", [1, 4, 64, 64]));
    check_sample(&golden, "vae/decoded", decoded, began);
    drop(vae);

    let began = Instant::now();
    let unet = fill("unet", named::unet_sd1().init(&device));
    println!("U-Net filled, {:.1} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    let out = run_unet(&unet, "full", [1, 4, 64, 64], &[500.0], 768);
    check_sample(&golden, "unet/full", out, began);
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
