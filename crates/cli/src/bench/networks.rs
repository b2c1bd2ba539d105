//! The networks of Stable Diffusion 1.5, and the large ones of SDXL.

use burn::module::Module;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use half::bf16;
use latent_models::unet::{Alter, Attention, Extras, Heads, Level};
use latent_models::{Form, Given, Input, ParameterError, UNetConfig, load, named};
use latent_pipeline::passes::as_one_batch;
use latent_pipeline::request::Dtype;
use latent_testkit::recipe;
use rayon::prelude::*;

use super::{Bench, name};
use crate::failure::Failure;

/// `module` with numbers of the recipe's size, drawn on all threads.
pub fn fill<M: Module>(module: M, dtype: DType) -> Result<M, Failure> {
    let mut fetch = |path: &str, shape: &[usize]| {
        let count: usize = shape.iter().product();
        let scale = match shape {
            [_] if path.ends_with("weight") => None,
            [_] => Some(0.1),
            _ => Some((3.0 / (count / shape[0].max(1)).max(1) as f64).sqrt()),
        };
        let number = |u: f64| scale.map_or(1.0 + 0.1 * u, |scale| scale * u) as f32;
        const PART: usize = 1 << 16;
        let draw = |part: usize| {
            let numbers = recipe::uniform_from(path, 0, (part * PART) as u64).map(number);
            numbers.take(PART.min(count - part * PART))
        };
        let parts = (0..count.div_ceil(PART)).into_par_iter();
        let shape = shape.to_vec();
        Ok::<_, ParameterError>(if dtype == DType::BF16 {
            let numbers: Vec<bf16> = parts
                .flat_map_iter(|p| draw(p).map(bf16::from_f32))
                .collect();
            TensorData::new(numbers, shape)
        } else {
            let numbers: Vec<f32> = parts.flat_map_iter(draw).collect();
            TensorData::new(numbers, shape)
        })
    };
    load(module, &mut fetch, dtype)
        .map_err(|e| Failure::run(format!("the recipe does not fit the network: {e}")))
}

/// A test input by name.
pub fn normal<const D: usize>(name: &str, shape: [usize; D], device: &Device) -> Tensor<D> {
    let values = recipe::normal(name, &shape);
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The type of the parameters, and their form.
pub fn types(dtype: Dtype) -> (DType, Form) {
    match dtype {
        Dtype::Bf16 => (DType::BF16, Form::Plain),
        Dtype::Int8 => (DType::BF16, Form::Int8),
        _ => (DType::F32, Form::Plain),
    }
}

/// Tokens of a text.
pub const CONTEXT: usize = 77;

/// One step with guidance: two prompts, as one batch or one after the other, as a drawing has them.
pub fn step(
    bench: &Bench,
    what: &'static str,
    config: &UNetConfig,
    side: usize,
    dtype: Dtype,
) -> Result<f64, Failure> {
    let device = Device::flex();
    let (parameters, form) = types(dtype);
    let unet = fill(config.init(&device), parameters)?.packed(form, [side, side]);
    let x = normal("bench/x", [2, config.in_channels, side, side], &device);
    let width = config.context.unwrap_or(1);
    let context = normal("bench/context", [2, CONTEXT, width], &device);
    let vector = config.labels.width();
    let vector = vector.map(|width| normal("bench/vector", [2, width], &device));
    let batch = if as_one_batch(side * side) { 2 } else { 1 };
    let given = (0..2).step_by(batch).map(|first| {
        unet.prepare(Given {
            context: Some(context.clone().narrow(0, first, batch)),
            vector: vector.clone().map(|all| all.narrow(0, first, batch)),
            ..Given::default()
        })
    });
    let given = given.collect::<Result<Vec<_>, _>>().map_err(Failure::run)?;
    let t = Tensor::from_floats(vec![500.0f32; batch].as_slice(), &device);
    Ok(bench.time(what, name(dtype), &mut || {
        for (i, given) in given.iter().enumerate() {
            let y = unet.run(Input {
                x: x.clone().narrow(0, i * batch, batch),
                t: t.clone(),
                given,
                alter: &Alter::Nothing,
                watch: false,
                states: None,
                extras: Extras::default(),
            });
            std::hint::black_box(y.x.into_data());
        }
    }))
}

/// One step with guidance at 512×512.
pub fn unet(bench: &Bench, dtype: Dtype) -> Result<(), Failure> {
    step(bench, "unet_cfg_step", &named::unet_sd1(), 64, dtype).map(|_| ())
}

/// A U-Net of three levels of these widths, the first the model's own. Attention is on the finer two
/// and in the middle, on the coarsest where `everywhere` says so.
pub fn three_levels(widths: [usize; 3], heads: Heads, everywhere: bool) -> UNetConfig {
    let attention = Some(Attention { heads, depth: 1 });
    let level = |(i, &channels): (usize, &usize)| Level {
        channels,
        resblocks: 2,
        attention: attention.filter(|_| everywhere || i < 2),
    };
    UNetConfig {
        model_channels: widths[0],
        levels: widths.iter().enumerate().map(level).collect(),
        middle: attention,
        context: Some(256),
        ..named::unet_sd1()
    }
}

/// The decoder at 512×512.
pub fn vae(bench: &Bench, dtype: Dtype) -> Result<(), Failure> {
    decode(bench, "vae_decode_512", 64, dtype)
}

/// SDXL's U-Net and decoder at 1024×1024.
pub fn xl(bench: &Bench, dtype: Dtype) -> Result<(), Failure> {
    let config = named::unet_sdxl_base();
    step(bench, "sdxl_cfg_step_1024", &config, 128, dtype)?;
    decode(bench, "vae_decode_1024", 128, dtype)
}

/// The decoder of Stable Diffusion 1 and XL on a latent of `side` × `side`.
fn decode(bench: &Bench, what: &'static str, side: usize, dtype: Dtype) -> Result<(), Failure> {
    let device = Device::flex();
    let (parameters, form) = types(dtype);
    let vae = fill(named::autoencoder_kl_f8().init(&device), parameters)?;
    let vae = vae.packed(form, [side, side]);
    let z = normal("bench/x", [1, 4, side, side], &device);
    bench.time(what, name(dtype), &mut || {
        std::hint::black_box(vae.decode(z.clone()).into_data());
    });
    Ok(())
}

/// Two texts.
pub fn text(bench: &Bench, dtype: Dtype) -> Result<(), Failure> {
    let device = Device::flex();
    let text = fill(named::clip_l().init(&device), types(dtype).0)?.packed();
    let ids: Vec<i64> = (0..154).map(|i| i * 317 % 49408).collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [2, 77]), &device);
    bench.time("text_encode_2x77", name(dtype), &mut || {
        std::hint::black_box(text.forward(ids.clone(), 0).into_data());
    });
    Ok(())
}
