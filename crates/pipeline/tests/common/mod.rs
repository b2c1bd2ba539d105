//! The tiny model of `tools/reference/`: recipe weights in the published layout.

#![allow(dead_code)] // each test file uses its own part

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device, TensorData};
use half::f16;
use latent_checkpoint::convert::{NamedPart, Target, write_file, write_folder};
use latent_checkpoint::file::write::{Existing, safetensors};
use latent_checkpoint::tiny::{TinyFamily, tiny_taesd};
use latent_checkpoint::{Dtype, Error, Network, Role, SchedulerConfig, TensorFile, TensorInfo};
use latent_models::autoencoder::AutoencoderLevel;
use latent_models::unet::{Attention, Heads, Level};
use latent_models::{AutoencoderConfig, ClipTextConfig, ParameterError, UNetConfig, named};
use latent_pipeline::Model;
use latent_pipeline::model::ImageSettings;
use latent_testkit::recipe;

pub fn fill<M: burn::module::Module>(component: &str, module: M) -> M {
    let fetch = &mut |path: &str, shape: &[usize]| {
        let values = recipe::tensor(&format!("{component}/{path}"), shape, 0);
        Ok::<_, ParameterError>(TensorData::new(values, shape.to_vec()))
    };
    latent_models::load(module, fetch, DType::F32).expect("recipe weights fit")
}

/// The model; `in_channels` is 4, or 9 for an inpainting U-Net.
pub fn tiny(in_channels: usize, scheduler: SchedulerConfig) -> Model {
    try_tiny(in_channels, scheduler).expect("the tiny model is of a known family")
}

/// The model, or why it is of no family.
pub fn try_tiny(in_channels: usize, scheduler: SchedulerConfig) -> Result<Model, String> {
    let device = Device::flex();
    let attention = Attention {
        heads: Heads::Count(8),
        depth: 1,
    };
    let level = |(i, channels)| Level {
        channels,
        resblocks: 2,
        attention: (i < 3).then_some(attention),
    };
    let unet = UNetConfig {
        in_channels,
        out_channels: 4,
        model_channels: 32,
        levels: [32, 64, 64, 96]
            .into_iter()
            .enumerate()
            .map(level)
            .collect(),
        middle: Some(attention),
        context: Some(48),
        ..named::unet_sd1()
    };
    let level = |channels| AutoencoderLevel {
        channels,
        attention: false,
    };
    let vae = AutoencoderConfig {
        levels: [32, 32, 64, 64].map(level).to_vec(),
        ..named::autoencoder_kl_f8()
    };
    let text = ClipTextConfig {
        width: 48,
        layers: 3,
        heads: 4,
        intermediate: 192,
        ..named::clip_l()
    };
    Model::new(
        fill("unet", unet.init(&device)),
        fill("vae", vae.init(&device)),
        vec![(Role::TEXT_ENCODER, fill("text_encoder", text.init(&device)))],
        scheduler,
    )
}

/// A tiny model of a published kind with recipe weights, as a folder carries it.
pub fn family(kind: TinyFamily, scheduler: SchedulerConfig) -> Model {
    family_with(kind, scheduler, |_| {})
}

/// The same with a change to its U-Net.
pub fn family_with(
    kind: TinyFamily,
    scheduler: SchedulerConfig,
    change: impl Fn(&mut UNetConfig),
) -> Model {
    let device = Device::flex();
    let model = kind.model(false);
    let (mut unet, mut vae, mut texts, mut stored) = (None, None, Vec::new(), None);
    let (mut encoder, mut normalizer) = (None, None);
    for part in model.parts {
        let component = part.role.folder();
        match part.config {
            Network::Unet(mut config) => {
                change(&mut config);
                unet = Some(fill(component, config.init(&device)));
            }
            Network::Autoencoder(config) => {
                vae = Some(fill(component, config.network.init(&device)));
                stored = Some(config);
            }
            Network::TextEncoder(config) => {
                texts.push((part.role, fill(component, config.init(&device))));
            }
            Network::ImageEncoder(config) => {
                encoder = Some(fill(component, config.init(&device)));
            }
            Network::ImageNormalizer(config) => {
                let fetch = &mut |name: &str, shape: &[usize]| {
                    let values = weights(component, name, shape).into_iter().map(f32::from);
                    let values = values.collect::<Vec<_>>();
                    Ok::<_, ParameterError>(TensorData::new(values, shape.to_vec()))
                };
                let loaded = latent_models::load(config.init(&device), fetch, DType::F32);
                normalizer = Some(loaded.expect("statistics"));
            }
            other => panic!("{other:?}"),
        }
    }
    let (unet, vae) = (unet.expect("a U-Net"), vae.expect("an autoencoder"));
    let mut model = Model::new(unet, vae, texts, scheduler).expect("a known family");
    let stored = stored.expect("an autoencoder");
    model.latent.scale = stored.scale.unwrap_or(model.latent.scale);
    model.moments = stored.moments;
    match encoder.zip(normalizer) {
        Some((encoder, normalizer)) => model
            .with_image_encoder(encoder, normalizer, &ImageSettings::default())
            .expect("an image encoder that fits"),
        None => model,
    }
}

/// The numbers of `tools/reference`: the recipe's, and unCLIP's statistics, 0.1 n and 1 + 0.1 n.
pub fn weights(folder: &str, name: &str, shape: &[usize]) -> Vec<f16> {
    let whole = format!("{folder}/{name}");
    if folder != Role::IMAGE_NORMALIZER.folder() {
        return recipe::tensor_f16(&whole, shape, 0);
    }
    let base = f32::from(u8::from(name == "std"));
    let numbers = recipe::normal(&whole, shape).into_iter();
    numbers.map(|n| f16::from_f32(base + 0.1 * n)).collect()
}

/// `DDIMScheduler(steps_offset=1, set_alpha_to_one=False)` and its relatives in `make.py`.
pub fn scheduler() -> SchedulerConfig {
    SchedulerConfig {
        beta_start: 0.00085,
        beta_end: 0.012,
        beta_schedule: "scaled_linear".into(),
        steps_offset: 1,
        set_alpha_to_one: Some(false),
        ..SchedulerConfig::default()
    }
}

/// TAESD, narrow, in each form in which it is published: a folder, one file, a decoder with its encoder beside it.
pub fn taesd(dir: &Path) -> [PathBuf; 3] {
    let config = Network::AutoencoderTiny(tiny_taesd());
    let parameters = config.parameters();
    let part = NamedPart {
        role: Role::AUTOENCODER,
        dtypes: parameters
            .iter()
            .map(|(name, _)| (name.clone(), Dtype::F16))
            .collect(),
        config,
    };
    let model = latent_checkpoint::convert::Model {
        parts: vec![part],
        ..Default::default()
    };
    let shapes: HashMap<String, Vec<usize>> = parameters.into_iter().collect();
    let values = &mut |_: Role, name: &str| {
        let values = recipe::tensor_f16(&format!("vae/{name}"), &shapes[name], 0);
        Ok(values.iter().flat_map(|v| v.to_le_bytes()).collect())
    };
    let folder = dir.join("taesd");
    write_folder(&folder, &model, Existing::Refuse, values).unwrap();
    let whole = dir.join("taesd.safetensors");
    write_file(
        &whole,
        Target::Safetensors,
        &model,
        Existing::Refuse,
        values,
    )
    .unwrap();
    let file = TensorFile::open(&whole).unwrap();
    for half in ["encoder", "decoder"] {
        let start = format!("{half}.");
        let tensors = file.tensors().iter();
        let infos: Vec<TensorInfo> = tensors
            .filter_map(|info| {
                let name = info.name.strip_prefix(&start)?.to_owned();
                Some(TensorInfo {
                    name,
                    ..info.clone()
                })
            })
            .collect();
        let path = dir.join(format!("taesd_{half}.safetensors"));
        let metadata = BTreeMap::new();
        safetensors::<Error>(&path, &infos, &metadata, Existing::Refuse, |info| {
            file.bytes(&format!("{start}{}", info.name))
        })
        .unwrap();
    }
    [folder, whole, dir.join("taesd_decoder.safetensors")]
}
