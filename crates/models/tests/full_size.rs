//! The golden networks at the size of Stable Diffusion 1.5: strided samples and norms, to 1e-3.
//!
//! About 5 GB and a minute or two, so not run by default:
//!
//! ```text
//! cargo test --release -p latent-models --test full_size -- --ignored --nocapture
//! ```

mod common;

use std::time::Instant;

use burn::tensor::{Device, Tensor};
use common::*;
use latent_models::named;
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
