//! The name tables over every published network, and over random layouts.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use latent_checkpoint::names::{Piece, Table, ema_name, ignored};
use latent_checkpoint::networks::Shapes;
use latent_checkpoint::{Kind, Network, Scheme, StoredAutoencoder};
use latent_models::unet::{Attention, Heads, Labels, Level, Projection, Resample, TimeShift};
use latent_models::{UNetConfig, named};
use proptest::prelude::*;

/// Every parameter has a place, no two share one (unless each is a third), and every place leads back.
fn check_round_trip(config: &Network, scheme: Scheme) -> BTreeMap<String, Vec<usize>> {
    let table = config.table(scheme);
    let mut taken: HashMap<String, HashSet<usize>> = HashMap::new();
    let mut file = BTreeMap::new();
    for (name, shape) in config.parameters() {
        let place = table
            .place(&name)
            .unwrap_or_else(|| panic!("`{name}` has no name in {scheme:?}"));
        let back = table.parameters(&place.name);
        assert!(back.contains(&name), "`{name}` -> {place:?} -> {back:?}");
        let third = match place.piece {
            Piece::Whole | Piece::Transposed => {
                assert_eq!(back, std::slice::from_ref(&name));
                0
            }
            Piece::Third { index, .. } => {
                assert_eq!(back.len(), 3);
                index
            }
        };
        assert!(
            taken.entry(place.name.clone()).or_default().insert(third),
            "two parameters share `{}`",
            place.name
        );
        let mut shape = place.piece.stored_shape(&shape);
        shape.resize(place.dims.unwrap_or(shape.len()).max(shape.len()), 1);
        assert_eq!(ignored(&place.name), None, "a weight would be ignored");
        file.insert(place.name, shape);
    }
    file
}

fn shapes<'a>(file: &'a BTreeMap<String, Vec<usize>>) -> Shapes<'a> {
    Shapes::new(file.iter().map(|(n, s)| (n.as_str(), s.as_slice())), "")
}

fn unets() -> Vec<(&'static str, UNetConfig)> {
    vec![
        ("celebahq", named::unet_celebahq()),
        ("churches", named::unet_lsun_churches()),
        ("imagenet f8", named::unet_imagenet_f8()),
        ("imagenet f4", named::unet_imagenet_f4()),
        ("text2img256", named::unet_text2img256()),
        ("txt2img-1p4B", named::unet_txt2img_1p4b()),
        ("inpainting", named::unet_inpainting_big()),
        ("super-resolution", named::unet_superresolution()),
        ("semantic", named::unet_semantic()),
        ("layout", named::unet_layout2img()),
        ("retrieval", named::unet_rdm()),
        ("sd1", named::unet_sd1()),
        ("sd2", named::unet_sd2()),
        ("sdxl", named::unet_sdxl_base()),
        ("sdxl refiner", named::unet_sdxl_refiner()),
    ]
}

#[test]
fn every_published_unet_has_names_and_is_recognised_by_them() {
    for (name, config) in unets() {
        let part = Network::Unet(config.clone());
        for scheme in [Scheme::Ldm, Scheme::Diffusers] {
            let file = check_round_trip(&part, scheme);
            let found = <UNetConfig as Kind>::from_shapes(&shapes(&file), scheme)
                .unwrap_or_else(|e| panic!("{name} in {scheme:?}: {e}"));
            assert_eq!(found, config, "{name} in {scheme:?}");
        }
    }
}

#[test]
fn every_published_autoencoder_has_names_and_is_recognised_by_them() {
    let autoencoders = [
        ("kl-f4", named::autoencoder_kl_f4()),
        ("kl-f8", named::autoencoder_kl_f8()),
        ("kl-f16", named::autoencoder_kl_f16()),
        ("kl-f32", named::autoencoder_kl_f32()),
        ("vq-f4", named::autoencoder_vq_f4()),
        ("vq-f4-noattn", named::autoencoder_vq_f4_noattn()),
        ("vq-f8", named::autoencoder_vq_f8()),
        ("vq-f8-n256", named::autoencoder_vq_f8_n256()),
        ("vq-f16", named::autoencoder_vq_f16()),
    ];
    for (name, config) in autoencoders {
        let part = Network::Autoencoder(config.clone().into());
        for scheme in [Scheme::Ldm, Scheme::Diffusers] {
            let file = check_round_trip(&part, scheme);
            let found = StoredAutoencoder::from_shapes(&shapes(&file), scheme)
                .unwrap()
                .network;
            assert_eq!(found, config, "{name} in {scheme:?}");
        }
    }
}

#[test]
fn moving_averages_keep_their_names_apart() {
    for (name, config) in unets() {
        let part = Network::Unet(config);
        let table = part.table(Scheme::Ldm);
        let places: BTreeSet<String> = part
            .parameters()
            .iter()
            .filter_map(|(parameter, _)| table.place(parameter))
            .map(|place| place.name)
            .collect();
        let flat: BTreeSet<String> = places.iter().map(|name| ema_name(name)).collect();
        assert_eq!(places.len(), flat.len(), "{name}");
    }
}

#[test]
fn stable_diffusion_1_has_the_names_that_are_published() {
    let config = Network::Unet(named::unet_sd1());
    let table = config.table(Scheme::Ldm);
    let place = |name: &str| table.place(name).unwrap().name;
    for (ours, theirs) in [
        ("conv_in.weight", "input_blocks.0.0.weight"),
        (
            "down_blocks.0.resnets.0.conv1.weight",
            "input_blocks.1.0.in_layers.2.weight",
        ),
        (
            "down_blocks.0.downsamplers.0.conv.bias",
            "input_blocks.3.0.op.bias",
        ),
        (
            "down_blocks.1.resnets.0.conv_shortcut.bias",
            "input_blocks.4.0.skip_connection.bias",
        ),
        (
            "down_blocks.3.resnets.1.time_emb_proj.bias",
            "input_blocks.11.0.emb_layers.1.bias",
        ),
        (
            "mid_block.attentions.0.proj_in.weight",
            "middle_block.1.proj_in.weight",
        ),
        (
            "mid_block.resnets.1.norm2.bias",
            "middle_block.2.out_layers.0.bias",
        ),
        (
            "up_blocks.0.upsamplers.0.conv.weight",
            "output_blocks.2.1.conv.weight",
        ),
        (
            "up_blocks.1.upsamplers.0.conv.weight",
            "output_blocks.5.2.conv.weight",
        ),
        (
            "up_blocks.3.attentions.2.transformer_blocks.0.attn2.to_out.0.bias",
            "output_blocks.11.1.transformer_blocks.0.attn2.to_out.0.bias",
        ),
        ("time_embedding.linear_2.weight", "time_embed.2.weight"),
        ("conv_norm_out.weight", "out.0.weight"),
        ("conv_out.bias", "out.2.bias"),
    ] {
        assert_eq!(place(ours), theirs);
    }
}

#[test]
fn the_first_stage_has_the_names_that_are_published() {
    let config = Network::Autoencoder(named::autoencoder_kl_f8().into());
    let table: Table = config.table(Scheme::Ldm);
    let place = |name: &str| table.place(name).unwrap();
    for (ours, theirs) in [
        (
            "encoder.down_blocks.0.downsamplers.0.conv.weight",
            "encoder.down.0.downsample.conv.weight",
        ),
        (
            "encoder.down_blocks.1.resnets.0.conv_shortcut.bias",
            "encoder.down.1.block.0.nin_shortcut.bias",
        ),
        (
            "encoder.mid_block.resnets.1.norm1.bias",
            "encoder.mid.block_2.norm1.bias",
        ),
        (
            "decoder.up_blocks.0.resnets.2.conv2.weight",
            "decoder.up.3.block.2.conv2.weight",
        ),
        (
            "decoder.up_blocks.0.upsamplers.0.conv.weight",
            "decoder.up.3.upsample.conv.weight",
        ),
        (
            "decoder.mid_block.attentions.0.group_norm.weight",
            "decoder.mid.attn_1.norm.weight",
        ),
        ("decoder.conv_norm_out.bias", "decoder.norm_out.bias"),
        ("quant_conv.weight", "quant_conv.weight"),
    ] {
        assert_eq!(place(ours).name, theirs);
    }
    let norm = place("decoder.mid_block.attentions.0.group_norm.weight");
    assert_eq!(norm.dims, None);
    let q = place("encoder.mid_block.attentions.0.to_q.weight");
    assert_eq!(
        (q.name.as_str(), q.dims),
        ("encoder.mid.attn_1.q.weight", Some(4))
    );
    let out = place("encoder.mid_block.attentions.0.to_out.0.bias");
    assert_eq!(
        (out.name.as_str(), out.dims),
        ("encoder.mid.attn_1.proj_out.bias", None)
    );
}

prop_compose! {
    fn any_unet()(
        levels in prop::collection::vec((1usize..4, 1usize..4, any::<bool>(), 1usize..3), 1..5),
        channels in prop::sample::select(vec![(4usize, 4usize), (9, 4), (7, 3), (3, 3)]),
        middle in any::<bool>(),
        middle_resblocks in 0usize..3,
        context in prop::option::of(prop::sample::select(vec![48usize, 768])),
        linear in any::<bool>(),
        scale_shift in any::<bool>(),
        resnet in any::<bool>(),
        labels in prop::sample::select(vec![Labels::None, Labels::Table(11), Labels::Vector(64)]),
    ) -> UNetConfig {
        let linear = linear && context.is_some();
        // Heads are not in the names; these are what the tables of the detection say for such networks.
        let heads = match (context, linear) {
            (Some(_), true) if channels.0 == 7 => Heads::Count(8),
            (Some(_), true) => Heads::Width(64),
            (Some(_), false) => Heads::Count(8),
            (None, _) if resnet && levels.len() > 1 => Heads::Count(8),
            (None, _) => Heads::Width(32),
        };
        let attention = |depth: usize| Attention { heads, depth: if context.is_some() { depth } else { 1 } };
        UNetConfig {
            in_channels: channels.0,
            out_channels: channels.1,
            model_channels: 64,
            levels: levels.iter().map(|&(resblocks, width, attends, depth)| Level {
                channels: 64 * width,
                resblocks,
                attention: attends.then(|| attention(depth)),
            }).collect(),
            middle: middle.then(|| attention(1)),
            context: context.filter(|_| middle || levels.iter().any(|l| l.2)),
            projection: if linear && (middle || levels.iter().any(|l| l.2)) { Projection::Linear } else { Projection::Conv },
            time_shift: if scale_shift { TimeShift::ScaleShift } else { TimeShift::Additive },
            resample: if resnet && levels.len() > 1 { Resample::Resnet } else { Resample::Conv },
            labels,
            norm_groups: 32,
            middle_resblocks: if middle { 2 } else { middle_resblocks },
            depths: None,
            context_only_levels: Vec::new(),
            guidance: None,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_unet_survives_its_names(config in any_unet()) {
        let part = Network::Unet(config.clone());
        for scheme in [Scheme::Ldm, Scheme::Diffusers] {
            let file = check_round_trip(&part, scheme);
            let found = <UNetConfig as Kind>::from_shapes(&shapes(&file), scheme).unwrap();
            prop_assert_eq!(&found, &config, "{:?}", scheme);
        }
    }
}
