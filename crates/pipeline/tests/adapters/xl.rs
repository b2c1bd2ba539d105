//! A model with two text encoders, in the names that kohya gives to such: original paths of the denoiser, `lora_te1_` and `lora_te2_`.

use std::collections::HashMap;
use std::sync::Arc;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use latent_checkpoint::convert::{NamedPart, write_folder};
use latent_checkpoint::file::write::Existing;
use latent_checkpoint::tiny::TinyFamily;
use latent_checkpoint::{Adapter, Checkpoint, LoadOptions, Network, Role};
use latent_models::clip::Take;
use latent_models::unet::{Alter, Attention, Extras, Heads, Labels};
use latent_models::{ClipTextConfig, Given, Input, UNetConfig};
use latent_testkit::{Golden, closeness, recipe};
use latent_text::{Dialect, Pad};

use super::made::{Values, sites, write};
use super::{PROMPT, plans, tensor};

/// Numbers of a sinusoid, in the oracle's model.
const SINUSOID: usize = 8;

/// The oracle's networks of SDXL's shape.
fn networks() -> Vec<(Role, Network)> {
    let model = TinyFamily::Sdxl.model(true);
    let mut networks = Vec::new();
    for part in model.parts {
        let config = match part.config {
            Network::Unet(config) => {
                let heads = |count, depth| {
                    Some(Attention {
                        heads: Heads::Count(count),
                        depth,
                    })
                };
                let mut config = UNetConfig {
                    model_channels: 32,
                    middle: heads(4, 2),
                    context: Some(80),
                    labels: Labels::Vector(6 * SINUSOID + 48),
                    ..config
                };
                let levels = [(32, None), (64, heads(4, 1)), (64, heads(4, 2))];
                for (level, (channels, attention)) in config.levels.iter_mut().zip(levels) {
                    (level.channels, level.attention) = (channels, attention);
                }
                config.into()
            }
            Network::TextEncoder(config) => ClipTextConfig {
                layers: 3,
                ..config
            }
            .into(),
            _ => continue,
        };
        networks.push((part.role, config));
    }
    networks
}

#[test]
fn a_file_in_kohya_s_names_of_sdxl() {
    let golden = Golden::adapters_lora();
    let dir = tempfile::tempdir().unwrap();
    let networks = networks();
    let shapes: HashMap<(Role, String), Vec<usize>> = networks
        .iter()
        .flat_map(|(role, network)| {
            network
                .parameters()
                .into_iter()
                .map(|(name, shape)| ((*role, name), shape))
        })
        .collect();
    let mut values = |role: Role, name: &str| {
        let shape = &shapes[&(role, name.to_owned())];
        let values = recipe::tensor_f16(&format!("xl/{}/{name}", role.folder()), shape, 0);
        Ok(values.iter().flat_map(|v| v.to_le_bytes()).collect())
    };
    // Shapes do not say how many heads there are; a folder's settings do.
    let mut checkpoints = HashMap::new();
    for (role, config) in &networks {
        let names = config.parameters().into_iter();
        let part = NamedPart {
            role: *role,
            dtypes: names
                .map(|(name, _)| (name, latent_checkpoint::Dtype::F16))
                .collect(),
            config: config.clone(),
        };
        let model = latent_checkpoint::convert::Model {
            parts: vec![part],
            ..Default::default()
        };
        let folder = dir.path().join(role.folder());
        write_folder(&folder, &model, Existing::Refuse, &mut values).expect("a folder");
        checkpoints.insert(*role, Checkpoint::open(&folder).expect("a checkpoint"));
    }
    let sites = sites(&networks);
    let tensors: Vec<(String, Values)> = plans::named("xl", &sites)
        .into_iter()
        .map(|(site, part, values)| {
            let stem = match (&site.original, site.role) {
                (Some(original), Role::DENOISER) => {
                    format!("lora_unet_{}", original.replace('.', "_"))
                }
                _ => site.name.clone(),
            };
            (format!("{stem}.{part}"), values)
        })
        .collect();
    let file = dir.path().join("xl.kohya.safetensors");
    write(&file, &tensors, &[]);

    let adapter = Arc::new(Adapter::open(&file, 1.0).expect("an adapter"));
    for (name, patches) in [
        ("xl_base", Vec::new()),
        ("xl", vec![adapter as Arc<dyn latent_checkpoint::Patch>]),
    ] {
        let options = LoadOptions {
            patches,
            ..LoadOptions::new(Device::flex(), DType::F32)
        };
        let got = denoised(&checkpoints[&Role::DENOISER], &options);
        let want = golden.values(&format!("{name}/unet"));
        let difference = closeness(&got, want);
        assert!(difference < 1e-4, "{name}: {difference:e}");
        if name == "xl" {
            for (role, width, pad) in [
                (Role::TEXT_ENCODER, 32, Pad::End),
                (Role::TEXT_ENCODER_2, 48, Pad::Zero),
            ] {
                let got = states(&checkpoints[&role], role, &options, pad);
                let want = golden.values(&format!("xl/{}", role.folder()));
                let difference = closeness(&got[..8 * width], want);
                assert!(difference < 1e-4, "{role}: {difference:e}");
            }
        }
    }
}

fn denoised(checkpoint: &Checkpoint, options: &LoadOptions) -> Vec<f32> {
    let (unet, _) = checkpoint
        .load::<UNetConfig>(Role::DENOISER, options, &mut |_, _| {})
        .expect("weights");
    let device = Device::flex();
    let sizes = [64.0f32, 96.0, 0.0, 8.0, 64.0, 64.0];
    let sinusoids =
        latent_models::unet::timestep_sinusoid(Tensor::from_floats(sizes, &device), SINUSOID);
    let vector = Tensor::cat(
        vec![
            tensor("probe/pooled", [1, 48]),
            sinusoids.reshape([1, 6 * SINUSOID]),
        ],
        1,
    );
    let given = Given {
        context: Some(tensor("probe/context", [1, 77, 80])),
        vector: Some(vector),
        ..Given::default()
    };
    let given = unet.prepare(given).expect("what it takes");
    let input = Input {
        x: tensor("probe/x", [1, 4, 8, 8]),
        t: Tensor::from_floats([501.0f32], &device),
        given: &given,
        alter: &Alter::Nothing,
        watch: false,
        states: None,
        extras: Extras::default(),
    };
    unet.run(input).x.into_data().iter::<f32>().collect()
}

fn states(checkpoint: &Checkpoint, role: Role, options: &LoadOptions, pad: Pad) -> Vec<f32> {
    let (text, _) = checkpoint
        .load::<ClipTextConfig>(role, options, &mut |_, _| {})
        .expect("weights");
    let tokenizer = latent_text::ClipTokenizer::new();
    let chunks = latent_text::chunks(&tokenizer, PROMPT, Dialect::Diffusers, pad).expect("chunks");
    let ids: Vec<i32> = chunks.chunks[0].ids.iter().map(|id| *id as i32).collect();
    let count = ids.len();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, count]), &Device::flex());
    let take = Take {
        skip: 0,
        normed: true,
        pooled: false,
    };
    text.encode(ids, take)
        .states
        .into_data()
        .iter::<f32>()
        .collect()
}
