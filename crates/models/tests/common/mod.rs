//! Recipe networks and comparisons shared by the golden tests. Every test file uses some of it.
#![allow(dead_code)]

use burn::module::Module;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use latent_models::autoencoder::AutoencoderLevel;
use latent_models::unet::{Attention, Heads, Level, UNet};
use latent_models::{AutoencoderConfig, ClipTextConfig, ParameterError, UNetConfig, load, named};
use latent_testkit::{Golden, closeness, recipe};

/// `module` with recipe weights of the named component.
pub fn fill<M: Module>(component: &str, module: M) -> M {
    let fetch = &mut |path: &str, shape: &[usize]| {
        let values = recipe::tensor(&format!("{component}/{path}"), shape, 0);
        Ok::<_, ParameterError>(TensorData::new(values, shape.to_vec()))
    };
    load(module, fetch, DType::F32).unwrap()
}

/// A test input by name.
pub fn normal<const D: usize>(name: &str, shape: [usize; D]) -> Tensor<D> {
    let values = recipe::normal(name, &shape);
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

/// The first `count` padded id rows of the token golden.
pub fn padded_ids(count: usize) -> Tensor<2, Int> {
    let rows: Vec<serde_json::Value> =
        serde_json::from_str(latent_testkit::golden::TOKENS).unwrap();
    let ids: Vec<i64> = rows[..count]
        .iter()
        .flat_map(|row| row["padded"].as_array().unwrap())
        .map(|id| id.as_i64().unwrap())
        .collect();
    Tensor::from_data(TensorData::new(ids, [count, 77]), &Device::flex())
}

/// The text encoder of the oracle's `tiny` size.
pub fn tiny_text() -> ClipTextConfig {
    ClipTextConfig {
        width: 48,
        layers: 3,
        heads: 4,
        intermediate: 192,
        ..named::clip_l()
    }
}

/// The U-Net of the oracle's `tiny` size.
pub fn tiny_unet(in_channels: usize) -> UNetConfig {
    let attention = Some(Attention {
        heads: Heads::Count(8),
        depth: 1,
    });
    let level = |(i, channels)| Level {
        channels,
        resblocks: 2,
        attention: if i < 3 { attention } else { None },
    };
    UNetConfig {
        in_channels,
        model_channels: 32,
        levels: [32, 64, 64, 96]
            .into_iter()
            .enumerate()
            .map(level)
            .collect(),
        context: Some(48),
        ..named::unet_sd1()
    }
}

/// The autoencoder of the oracle's `tiny` size.
pub fn tiny_autoencoder() -> AutoencoderConfig {
    let level = |channels| AutoencoderLevel {
        channels,
        attention: false,
    };
    AutoencoderConfig {
        levels: [32, 32, 64, 64].map(level).to_vec(),
        ..named::autoencoder_kl_f8()
    }
}

/// The U-Net on the inputs that the oracle names after the case.
pub fn run_unet(
    unet: &UNet,
    name: &str,
    shape: [usize; 4],
    t: &[f32],
    context: usize,
) -> Tensor<4> {
    let x = normal(&format!("{name}/x"), shape);
    let context = normal(&format!("{name}/context"), [shape[0], 77, context]);
    let t = Tensor::from_data(t, &Device::flex());
    unet.forward(x, t, Some(context), None)
}

/// All values, row-major.
pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

/// Compares `tensor` with the golden of that name.
pub fn check<const D: usize>(golden: &Golden, name: &str, tensor: Tensor<D>, tolerance: f64) {
    assert_eq!(tensor.dims().as_slice(), golden.shape(name), "{name}");
    let error = closeness(&values(tensor), golden.values(name));
    println!("{name}: {error:.2e}");
    assert!(error <= tolerance, "{name}: {error:.2e} > {tolerance:.0e}");
}
