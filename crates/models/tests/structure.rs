//! What configurations can say: names, options, errors, types.

mod common;

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor, TensorData};
use common::*;
use latent_models::unet::{
    Attention, Depths, Heads, Labels, Level, Projection, Resample, TimeShift,
};
use latent_models::{
    AutoencoderConfig, ClipTextConfig, Given, Padding, ParameterError, UNetConfig, cast, load,
    named, parameter_count, parameters,
};
use latent_testkit::closeness;
use proptest::prelude::*;

fn names(config: &UNetConfig) -> Vec<String> {
    let list = parameters(&config.init(&Device::flex()));
    list.into_iter().map(|(name, _)| name).collect()
}

fn has(names: &[String], name: &str) -> bool {
    names.iter().any(|found| found == name)
}

#[test]
fn names_are_the_published_ones() {
    let sdxl = names(&named::unet_sdxl_base());
    for name in [
        "conv_in.weight",
        "time_embedding.linear_1.bias",
        "add_embedding.linear_2.weight",
        "down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_out.0.bias",
        "down_blocks.2.attentions.1.transformer_blocks.9.ff.net.0.proj.weight",
        "mid_block.attentions.0.transformer_blocks.9.ff.net.2.weight",
        "mid_block.resnets.1.time_emb_proj.weight",
        "down_blocks.0.downsamplers.0.conv.weight",
        "up_blocks.0.upsamplers.0.conv.bias",
        "up_blocks.1.resnets.2.conv_shortcut.weight",
        "up_blocks.0.attentions.2.proj_in.weight",
        "conv_norm_out.weight",
        "conv_out.bias",
    ] {
        assert!(has(&sdxl, name), "{name}");
    }
    assert!(
        !sdxl
            .iter()
            .any(|name| name.contains("up_blocks.2.attentions"))
    );

    let churches = names(&named::unet_lsun_churches());
    for name in [
        "down_blocks.0.downsamplers.0.norm1.weight",
        "down_blocks.0.downsamplers.0.time_emb_proj.bias",
        "up_blocks.0.upsamplers.0.conv2.weight",
        "down_blocks.0.attentions.0.group_norm.weight",
        "mid_block.attentions.0.to_q.bias",
        "mid_block.attentions.0.to_out.0.weight",
    ] {
        assert!(has(&churches, name), "{name}");
    }

    let vae = parameters(&named::autoencoder_vq_f8().init(&Device::flex()));
    let vae: Vec<String> = vae.into_iter().map(|(name, _)| name).collect();
    for name in [
        "encoder.down_blocks.3.attentions.1.to_v.weight",
        "encoder.mid_block.attentions.0.group_norm.bias",
        "decoder.up_blocks.0.resnets.2.conv1.weight",
        "decoder.up_blocks.2.upsamplers.0.conv.weight",
        "quant_conv.weight",
        "post_quant_conv.bias",
        "quantize.embedding.weight",
    ] {
        assert!(has(&vae, name), "{name}");
    }

    let table = UNetConfig {
        labels: Labels::Table(1000),
        ..named::unet_sd2()
    };
    let list = parameters(&table.init(&Device::flex()));
    assert!(list.contains(&("class_embedding.weight".into(), vec![1000, 1280])));
    let shape_of = |config: &UNetConfig| {
        let list = parameters(&config.init(&Device::flex()));
        list.into_iter()
            .find(|(name, _)| name.ends_with("proj_in.weight"))
            .unwrap()
            .1
    };
    assert_eq!(shape_of(&named::unet_sd1()), [320, 320, 1, 1]);
    assert_eq!(shape_of(&named::unet_sd2()), [320, 320]);

    let clip = ClipTextConfig {
        projection: Some(768),
        ..named::clip_l()
    };
    let clip = parameters(&clip.init(&Device::flex()));
    for (name, shape) in [
        (
            "text_model.embeddings.token_embedding.weight",
            vec![49408, 768],
        ),
        (
            "text_model.embeddings.position_embedding.weight",
            vec![77, 768],
        ),
        (
            "text_model.encoder.layers.11.self_attn.q_proj.weight",
            vec![768, 768],
        ),
        ("text_model.encoder.layers.0.mlp.fc1.bias", vec![3072]),
        ("text_model.final_layer_norm.weight", vec![768]),
        ("text_projection.weight", vec![768, 768]),
    ] {
        assert!(clip.contains(&(name.into(), shape)), "{name}");
    }
}

#[test]
fn configurations_survive_json() {
    for unet in [
        named::unet_sdxl_refiner(),
        named::unet_ssd_1b(),
        named::unet_x4_upscaler(),
        named::unet_lcm(),
    ] {
        let text = serde_json::to_string(&unet).unwrap();
        assert_eq!(serde_json::from_str::<UNetConfig>(&text).unwrap(), unet);
    }
    // What earlier versions wrote is written as it was.
    let text = serde_json::to_string(&named::unet_sd1()).unwrap();
    for key in ["middle_resblocks", "depths", "context_only", "guidance"] {
        assert!(!text.contains(key), "{text}");
    }
    let vae = named::autoencoder_vq_f16();
    let text = serde_json::to_string(&vae).unwrap();
    assert_eq!(
        serde_json::from_str::<AutoencoderConfig>(&text).unwrap(),
        vae
    );
    let clip = named::clip_l();
    let text = serde_json::to_string(&clip).unwrap();
    assert_eq!(serde_json::from_str::<ClipTextConfig>(&text).unwrap(), clip);
    assert!(serde_json::from_str::<ClipTextConfig>(&text.replace("width", "widht")).is_err());
}

/// Of as many levels, the last without attention: 1 on the way down, `up` on the way up.
fn depths(levels: usize, up: usize) -> Depths {
    let list = |numbers: Vec<usize>| {
        let mut list = vec![numbers; levels];
        list[levels - 1].clear();
        list
    };
    Depths {
        down: list(vec![1; 2]),
        up: list(vec![up; 3]),
    }
}

#[test]
fn errors_name_the_field() {
    let unet = |change: &dyn Fn(&mut UNetConfig)| {
        let mut config = tiny_unet(4);
        change(&mut config);
        config.validate().unwrap_err()
    };
    let attention = |heads, depth| Some(Attention { heads, depth });
    for (field, error) in [
        ("in_channels", unet(&|c| c.in_channels = 0)),
        ("model_channels", unet(&|c| c.model_channels = 33)),
        ("norm_groups", unet(&|c| c.norm_groups = 0)),
        ("number of levels", unet(&|c| c.levels.clear())),
        ("levels[1].channels", unet(&|c| c.levels[1].channels = 48)),
        ("levels[2].resblocks", unet(&|c| c.levels[2].resblocks = 0)),
        (
            "levels[0].attention.heads",
            unet(&|c| c.levels[0].attention = attention(Heads::Count(5), 1)),
        ),
        (
            "levels[0].attention.heads",
            unet(&|c| c.levels[0].attention = attention(Heads::Width(0), 1)),
        ),
        (
            "middle.depth",
            unet(&|c| c.middle = attention(Heads::Count(8), 0)),
        ),
        ("context", unet(&|c| c.context = Some(0))),
        ("labels.vector", unet(&|c| c.labels = Labels::Vector(0))),
        ("guidance", unet(&|c| c.guidance = Some(0))),
        ("middle_resblocks", unet(&|c| c.middle_resblocks = 1)),
        (
            "middle_resblocks",
            unet(&|c| (c.middle, c.middle_resblocks) = (None, 3)),
        ),
        (
            "context_only_levels",
            unet(&|c| c.context_only_levels = vec![3]),
        ),
        (
            "context_only_levels",
            unet(&|c| (c.context, c.context_only_levels) = (None, vec![0])),
        ),
        ("depths.down", unet(&|c| c.depths = Some(depths(3, 2)))),
        ("depths.up[0]", unet(&|c| c.depths = Some(depths(4, 0)))),
        (
            "levels[0].attention.depth",
            unet(&|c| c.depths = Some(depths(4, 2))),
        ),
        (
            "middle.depth",
            unet(&|c| {
                c.context = None;
                c.middle = attention(Heads::Count(8), 2);
            }),
        ),
    ] {
        assert_eq!(error.field, field);
        assert!(error.to_string().contains(field), "{error}");
    }
    let vae = |change: &dyn Fn(&mut AutoencoderConfig)| {
        let mut config = tiny_autoencoder();
        change(&mut config);
        config.validate().unwrap_err().field
    };
    assert_eq!(vae(&|c| c.levels[3].channels = 40), "levels[3].channels");
    assert_eq!(vae(&|c| c.codebook = Some(8)), "codebook");
    assert_eq!(
        vae(&|c| (c.quant_conv, c.latent_channels) = (false, 3)),
        "latent_channels"
    );
    let clip = ClipTextConfig {
        heads: 5,
        ..tiny_text()
    };
    assert_eq!(clip.validate().unwrap_err().field, "width");
}

#[test]
fn loading_refuses_another_shape_and_stops_at_the_first_error() {
    let mut asked = 0;
    let result = load(
        tiny_autoencoder().init(&Device::flex()),
        &mut |path, shape| {
            asked += 1;
            let mut shape = shape.to_vec();
            if path == "encoder.down_blocks.0.resnets.0.norm1.weight" {
                shape = vec![31];
            }
            let count = shape.iter().product();
            Ok::<_, ParameterError>(TensorData::new(vec![0f32; count], shape))
        },
        DType::F32,
    );
    assert_eq!(
        result.err(),
        Some(ParameterError::Shape {
            path: "encoder.down_blocks.0.resnets.0.norm1.weight".into(),
            expected: vec![32],
            found: vec![31],
        })
    );
    assert_eq!(asked, 3);
}

#[test]
fn half_precision_is_close_and_returns_f32() {
    let device = Device::flex();
    let unet = fill("unet", tiny_unet(4).init(&device));
    let vae = fill("vae", tiny_autoencoder().init(&device));
    let text = fill("text_encoder", tiny_text().init(&device));
    let run = |dtype| {
        let (unet, vae, text) = (
            cast(unet.clone(), dtype),
            cast(vae.clone(), dtype),
            cast(text.clone(), dtype),
        );
        assert_eq!(
            (unet.dtype(), vae.dtype(), text.dtype()),
            (dtype, dtype, dtype)
        );
        let image: Tensor<4> = normal("vae/image", [1, 3, 64, 64]);
        [
            values(run_unet(&unet, "wide", [1, 4, 8, 24], &[500.0], 48)),
            values(vae.encode(image).mean),
            values(vae.decode(normal("vae/latent", [1, 4, 8, 8]))),
            values(text.forward(padded_ids(1), 0)),
        ]
    };
    let whole = run(DType::F32);
    for (dtype, tolerance) in [(DType::F16, 1e-2), (DType::BF16, 6e-2)] {
        for (half, whole) in run(dtype).iter().zip(&whole) {
            let error = closeness(half, whole);
            assert!(error > 0.0 && error < tolerance, "{dtype:?}: {error:.2e}");
        }
    }
}

#[test]
fn a_batch_changes_no_bit() {
    let device = Device::flex();
    let unet = fill("unet", tiny_unet(4).init(&device));
    let x: Tensor<4> = normal("x", [4, 4, 16, 24]);
    let context: Tensor<3> = normal("context", [4, 77, 48]);
    let t: Tensor<1> = Tensor::from_data([999.0, 500.5, 3.0, 0.0], &device);
    let together = values(
        unet.forward(x.clone(), t.clone(), looking_at(context.clone()))
            .unwrap(),
    );
    let alone: Vec<f32> = (0..4)
        .flat_map(|i| {
            let context = context.clone().narrow(0, i, 1);
            let (x, t) = (x.clone().narrow(0, i, 1), t.clone().narrow(0, i, 1));
            values(unet.forward(x, t, looking_at(context)).unwrap())
        })
        .collect();
    assert_eq!(together, alone);

    let vae = fill("vae", tiny_autoencoder().init(&device));
    let z: Tensor<4> = normal("z", [3, 4, 8, 10]);
    let together = values(vae.decode(z.clone()));
    let alone: Vec<f32> = (0..3)
        .flat_map(|i| values(vae.decode(z.clone().narrow(0, i, 1))))
        .collect();
    assert_eq!(together, alone);

    let text = fill("text_encoder", tiny_text().init(&device));
    let ids = padded_ids(4);
    let together = values(text.forward(ids.clone(), 0));
    let alone: Vec<f32> = (0..4)
        .flat_map(|i| values(text.forward(ids.clone().narrow(0, i, 1), 0)))
        .collect();
    assert_eq!(together, alone);
}

#[test]
fn wrapped_edges_move_with_the_picture() {
    let device = Device::flex();
    let vae = fill("vae", tiny_autoencoder().init(&device)).with_padding(Padding::CircularX);
    let z: Tensor<4> = normal("z", [1, 4, 4, 6]);
    // The latent turned by two pixels gives the picture turned by sixteen.
    let turn = |x: Tensor<4>, by: usize| {
        let width = x.dims()[3];
        Tensor::cat(
            vec![x.clone().narrow(3, by, width - by), x.narrow(3, 0, by)],
            3,
        )
    };
    let picture = vae.decode(z.clone());
    let turned = vae.decode(turn(z.clone(), 2));
    let error = closeness(&values(turn(picture.clone(), 16)), &values(turned));
    assert!(error < 1e-5, "{error:.2e}");
    let plain = vae.with_padding(Padding::Zero).decode(z);
    assert!(closeness(&values(plain), &values(picture)) > 1e-3);
}

#[test]
fn moments_sample_around_the_mean() {
    let vae = fill("vae", tiny_autoencoder().init(&Device::flex()));
    let moments = vae.encode(normal("vae/image", [1, 3, 64, 64]));
    let noise: Tensor<4> = normal("noise", [1, 4, 8, 8]);
    let want: Vec<f32> = values(moments.mean.clone())
        .into_iter()
        .zip(values(moments.logvar.clone()))
        .zip(values(noise.clone()))
        .map(|((mean, logvar), noise)| mean + (logvar / 2.0).exp() * noise)
        .collect();
    assert!(closeness(&values(moments.sample(noise)), &want) < 1e-6);
}

#[test]
fn quantised_latents_decode_from_codebook_rows() {
    let config = AutoencoderConfig {
        double_z: false,
        codebook: Some(19),
        ..tiny_autoencoder()
    };
    let vae = fill("vae", config.init(&Device::flex()));
    let z: Tensor<4> = normal("z", [2, 4, 5, 3]);
    let rounded = vae.quantize(z.clone());
    let book = vae.quantize.as_ref().unwrap().embedding.weight.val();
    let book = values(book);
    let plane = values(rounded.clone());
    for pixel in 0..15 {
        let row: Vec<f32> = (0..4).map(|c| plane[c * 15 + pixel]).collect();
        assert!(book.chunks(4).any(|entry| entry == row), "{row:?}");
    }
    assert_eq!(values(vae.decode(z)), values(vae.decode(rounded)));
    let logvar = values(vae.encode(normal("vae/image", [1, 3, 16, 16])).logvar);
    assert!(logvar.iter().all(|&v| v == -30.0));
}

fn levels() -> impl Strategy<Value = Vec<(usize, usize, bool)>> {
    prop::collection::vec((1usize..4, 1usize..3, any::<bool>()), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever a valid configuration says, the network runs at any size and listing it costs
    /// nothing.
    #[test]
    fn every_valid_unet_runs(
        levels in levels(),
        middle in 0usize..4,
        pruned in prop::array::uniform3(any::<bool>()),
        options in prop::array::uniform4(any::<bool>()),
        labels in 0usize..4,
        size in prop::array::uniform2(1usize..14),
    ) {
        let [context, linear, shift, resnet] = options;
        let [ragged, context_only, guided] = pruned;
        let by_level = |depths: &dyn Fn(usize) -> Vec<usize>| {
            let at = |&(_, resblocks, attends): &(_, usize, bool)| match attends {
                true => depths(resblocks),
                false => Vec::new(),
            };
            levels.iter().map(at).collect::<Vec<_>>()
        };
        let attention = Attention { heads: Heads::Width(4), depth: if context { 2 } else { 1 } };
        // Resblocks that halve cannot follow odd sizes up again at a single pixel; sizes are made
        // even for them.
        let unit = if resnet { 1 << (levels.len() - 1) } else { 1 };
        let size = size.map(|n| n * unit);
        let config = UNetConfig {
            in_channels: 5,
            out_channels: 3,
            model_channels: 8,
            levels: levels
                .iter()
                .map(|&(channels, resblocks, attends)| Level {
                    channels: 8 * channels,
                    resblocks,
                    attention: attends.then_some(attention),
                })
                .collect(),
            middle: (middle == 3).then_some(attention),
            context: context.then_some(12),
            projection: if linear { Projection::Linear } else { Projection::Conv },
            time_shift: if shift { TimeShift::ScaleShift } else { TimeShift::Additive },
            resample: if resnet { Resample::Resnet } else { Resample::Conv },
            labels: [Labels::None, Labels::Table(7), Labels::Vector(9), Labels::Projection(9)][labels],
            norm_groups: 4,
            middle_resblocks: middle.min(2),
            depths: (context && ragged).then(|| Depths {
                down: by_level(&|resblocks| vec![1; resblocks]),
                up: by_level(&|resblocks| [vec![2], vec![1; resblocks]].concat()),
            }),
            context_only_levels: match context && context_only {
                true => (0..levels.len()).filter(|&i| levels[i].2).collect(),
                false => Vec::new(),
            },
            guidance: guided.then_some(6),
        };
        config.validate().unwrap();
        let device = Device::flex();
        let unet = fill("unet", config.init(&device));
        prop_assert_eq!(parameter_count(&unet), unet.num_params());
        let run = |t: f32, label: f32| {
            let given = Given {
                context: context.then(|| normal("context", [2, 6, 12])),
                vector: match config.labels {
                    Labels::None => None,
                    Labels::Table(_) => Some(Tensor::<2>::full([2, 1], label, &device)),
                    Labels::Vector(width) | Labels::Projection(width) => {
                        Some(normal::<2>("vector", [2, width]) * label)
                    }
                },
                guidance: config.guidance.map(|width| normal::<2>("w", [2, width])),
            };
            let t = Tensor::from_data([t, 10.0], &device);
            let x = normal("x", [2, 5, size[0], size[1]]);
            values(unet.forward(x, t, given).unwrap())
        };
        let out = run(400.0, 3.0);
        prop_assert_eq!(out.len(), 2 * 3 * size[0] * size[1]);
        prop_assert!(out.iter().all(|v| v.is_finite()));
        let one = out.len() / 2;
        let later = run(700.0, 3.0);
        prop_assert_ne!(&out[..one], &later[..one]);
        prop_assert_eq!(&out[one..], &later[one..]);
        if labels > 0 {
            prop_assert_ne!(out, run(400.0, 2.0));
        }
    }
}
