//! Small models and examples that the tests of the second stage share. Every test file uses some of it.
#![allow(dead_code)]

use std::path::Path;

use burn::module::Module;
use burn::tensor::{DType, Device, TensorData};
use image::{GrayImage, Luma, Rgb, RgbImage};
use latent_models::autoencoder::AutoencoderLevel;
use latent_models::{Autoencoder, AutoencoderConfig, ParameterError, load};
use latent_testkit::recipe;
use latent_train::{Alone, Example, LabelledBox, Report, Step, Task, Update};

/// A module with recipe weights.
pub fn fill<M: Module>(component: &str, module: M) -> M {
    let fetch = &mut |path: &str, shape: &[usize]| {
        let values = recipe::tensor(&format!("{component}/{path}"), shape, 0);
        Ok::<_, ParameterError>(TensorData::new(values, shape.to_vec()))
    };
    load(module, fetch, DType::F32).unwrap()
}

/// An autoencoder `downsampling` times smaller, with so many channels, a codebook or not.
pub fn autoencoder(downsampling: usize, channels: usize, codebook: Option<usize>) -> Autoencoder {
    let levels = downsampling.ilog2() as usize + 1;
    let level = AutoencoderLevel {
        channels: 32,
        attention: false,
    };
    let config = AutoencoderConfig {
        in_channels: 3,
        out_channels: 3,
        levels: vec![level; levels],
        resblocks: 1,
        middle_attention: true,
        z_channels: channels,
        latent_channels: channels,
        double_z: codebook.is_none(),
        quant_conv: true,
        post_quant_conv: true,
        codebook,
        norm_groups: 32,
    };
    config.validate().unwrap();
    fill("vae", config.init(&Device::flex()))
}

/// Example number `index`, with everything that a condition may be made of.
pub fn example(index: u32, side: u32, classes: u32) -> Example {
    let of = |x: u32, y: u32| {
        [
            (x * 255 / side) as u8,
            (y * 255 / side) as u8,
            (index * 40) as u8,
        ]
    };
    Example {
        id: format!("picture {index}"),
        index: index as usize,
        number: u64::from(index),
        picture: RgbImage::from_fn(side, side, |x, y| Rgb(of(x, y))),
        original: [side, side],
        crop: [0, 0],
        flipped: false,
        caption: Some(format!("a photo of number {index}")),
        class: Some(index % classes),
        mask: Some(GrayImage::from_fn(side, side, |x, _| {
            Luma([((x * classes) / side) as u8])
        })),
        boxes: vec![LabelledBox {
            class: index % classes,
            area: [0.1, 0.2, 0.6, 0.9],
        }],
        low: None,
        columns: Vec::new(),
    }
}

/// One step of training.
pub fn step(task: &mut dyn Task, batch: &[Example], number: u64, rate: f64) -> Report {
    let step = Step {
        number,
        seed: 7,
        first: 0,
    };
    let report = task.accumulate(batch, step).unwrap();
    let update = Update {
        step,
        rate,
        peers: &Alone,
    };
    task.apply(&update).unwrap();
    report
}

/// The vectors of pictures for a `neighbours` condition.
pub fn write_vectors(path: &Path, width: usize, count: usize) {
    let values = recipe::normal("vectors", &[count, width]);
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let ids: Vec<String> = (0..count).map(|i| format!("picture {i}")).collect();
    let metadata = [("ids".to_owned(), serde_json::to_string(&ids).unwrap())];
    let info = latent_checkpoint::TensorInfo {
        name: "vectors".into(),
        dtype: latent_checkpoint::Dtype::F32,
        shape: vec![count, width],
    };
    latent_checkpoint::file::write::safetensors(
        path,
        &[info],
        &metadata.into_iter().collect(),
        latent_checkpoint::file::write::Existing::Refuse,
        |_| Ok::<_, latent_checkpoint::Error>(bytes.clone().into()),
    )
    .unwrap();
}

/// A file of VGG16 with recipe weights, whose features of pictures of 16×16 pixels have 2×2 positions and 512 channels in the
/// fourth map, 8×8 and 128 in the second.
pub fn write_vgg(path: &Path) {
    let shapes = latent_models::parameters(&latent_models::named::vgg16().init(&Device::flex()));
    let info = |(name, shape): &(String, Vec<usize>)| latent_checkpoint::TensorInfo {
        name: name.clone(),
        dtype: latent_checkpoint::Dtype::F32,
        shape: shape.clone(),
    };
    let infos: Vec<_> = shapes.iter().map(info).collect();
    let mut shapes = shapes.iter();
    latent_checkpoint::file::write::safetensors(
        path,
        &infos,
        &Default::default(),
        latent_checkpoint::file::write::Existing::Refuse,
        |_| {
            let (name, shape) = shapes.next().unwrap();
            let values = recipe::tensor(name, shape, 0);
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            Ok::<_, latent_checkpoint::Error>(bytes.into())
        },
    )
    .unwrap();
}
