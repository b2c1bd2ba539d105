//! ControlNets, T2I-Adapters and IP-Adapters by name and shape: every published layout under its names, back from shapes and
//! from settings.

use std::collections::{BTreeMap, BTreeSet};

use latent_checkpoint::networks::{Shapes, find};
use latent_checkpoint::{Kind, Network, Role, Scheme};
use latent_models::controlnet::UnionConfig;
use latent_models::ip_adapter::ProjectionConfig;
use latent_models::t2i::T2iForm;
use latent_models::unet::{Attention, Heads, Labels};
use latent_models::{
    ControlNetConfig, IpAdapterConfig, StyleAdapterConfig, T2iAdapterConfig, UNetConfig, named,
};

/// The file of a network: names and shapes.
fn file(network: &Network, scheme: Scheme) -> BTreeMap<String, Vec<usize>> {
    let table = network.table(scheme);
    let parameters = network.parameters().into_iter();
    let placed = parameters.map(|(name, shape)| {
        let place = table
            .place(&name)
            .unwrap_or_else(|| panic!("`{name}` has no name"));
        assert_eq!(table.parameters(&place.name), std::slice::from_ref(&name));
        (place.name, shape)
    });
    placed.collect()
}

fn again<K: Kind>(config: &K, scheme: Scheme) -> K {
    let file = file(&config.clone().into(), scheme);
    let shapes = Shapes::new(file.iter().map(|(n, s)| (n.as_str(), s.as_slice())), "");
    K::from_shapes(&shapes, scheme).unwrap()
}

/// Small ones for SDXL: attention in the last level alone and once, or nowhere.
fn small(attention: bool) -> UNetConfig {
    let mut unet = named::unet_sdxl_base();
    let last = unet.levels.len() - 1;
    for (i, level) in unet.levels.iter_mut().enumerate() {
        level.attention = level.attention.filter(|_| attention && i == last);
        if let Some(attention) = &mut level.attention {
            attention.depth = 1;
        }
    }
    let once = Attention {
        heads: Heads::Width(64),
        depth: 1,
    };
    unet.middle = attention.then_some(once);
    if !attention {
        (unet.middle_resblocks, unet.context) = (1, None);
        unet.projection = Default::default();
    }
    unet.depths = None;
    unet
}

#[test]
fn controlnets_of_every_family() {
    for (name, unet, kept, parameters) in [
        ("SD 1.5", named::unet_sd1(), 12, 361.3),
        ("SD 2", named::unet_sd2(), 12, 364.2),
        ("SDXL", named::unet_sdxl_base(), 9, 1251.0),
        ("SDXL mid", small(true), 9, 270.9),
        ("SDXL small", small(false), 9, 125.7),
    ] {
        let config = ControlNetConfig::of(UNetConfig {
            out_channels: 4,
            ..unet
        });
        assert_eq!(config.kept(), kept, "{name}");
        let all = Network::ControlNet(config.clone()).parameters();
        let numbers: usize = all
            .iter()
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum();
        assert!(
            (numbers as f64 / 1e6 - parameters).abs() < 0.06,
            "{name}: {numbers}"
        );
        for scheme in [Scheme::Ldm, Scheme::Diffusers] {
            let found = again(&config, scheme);
            assert!(
                config.is_found_as(&found),
                "{name} in {scheme:?}:\n{config:?}\n{found:?}"
            );
        }
        let json = Kind::to_json(&config, 64).unwrap();
        let read = ControlNetConfig::from_json(&json).unwrap();
        assert!(config.is_found_as(&read), "{name}:\n{config:?}\n{read:?}");
    }
}

/// The published names of the first and the last of everything that only a ControlNet has.
#[test]
fn original_names() {
    let network = Network::ControlNet(ControlNetConfig::of(named::unet_sd1()));
    let file = file(&network, Scheme::Ldm);
    assert_eq!(file.len(), 340);
    for (name, shape) in [
        ("input_hint_block.0.weight", vec![16, 3, 3, 3]),
        ("input_hint_block.4.weight", vec![32, 16, 3, 3]),
        ("input_hint_block.14.weight", vec![320, 256, 3, 3]),
        ("zero_convs.0.0.weight", vec![320, 320, 1, 1]),
        ("zero_convs.11.0.bias", vec![1280]),
        ("middle_block_out.0.weight", vec![1280, 1280, 1, 1]),
        ("time_embed.0.weight", vec![1280, 320]),
        (
            "input_blocks.11.0.in_layers.2.weight",
            vec![1280, 1280, 3, 3],
        ),
        (
            "middle_block.1.transformer_blocks.0.attn2.to_k.weight",
            vec![1280, 768],
        ),
    ] {
        assert_eq!(file.get(name), Some(&shape), "{name}");
    }
}

#[test]
fn a_controlnet_is_no_denoiser() {
    for (scheme, prefix) in [
        (Scheme::Ldm, "control_model."),
        (Scheme::Ldm, ""),
        (Scheme::Diffusers, ""),
    ] {
        let network = Network::ControlNet(ControlNetConfig::of(named::unet_sd1()));
        let file = file(&network, scheme);
        let has = |name: &str| {
            name.strip_prefix(prefix)
                .is_some_and(|name| file.contains_key(name))
        };
        let roles: Vec<Role> = find(has).into_iter().map(|found| found.role).collect();
        assert_eq!(roles, [Role::CONTROLNET], "{scheme:?} {prefix}");
    }
}

#[test]
fn unions() {
    let config = ControlNetConfig {
        union: Some(UnionConfig {
            kinds: 8,
            layers: 1,
            sinusoid: 256,
        }),
        ..ControlNetConfig::of(UNetConfig {
            out_channels: 4,
            ..named::unet_sdxl_base()
        })
    };
    assert!(config.is_found_as(&again(&config, Scheme::Diffusers)));
    let read = ControlNetConfig::from_json(&Kind::to_json(&config, 128).unwrap()).unwrap();
    assert!(config.is_found_as(&read), "{config:?}\n{read:?}");
    assert_eq!(read.unet.labels, Labels::Vector(2816));
}

#[test]
fn t2i_adapters_of_every_form() {
    let config = |in_channels, unshuffle, resblocks, form| T2iAdapterConfig {
        in_channels,
        unshuffle,
        channels: vec![320, 640, 1280, 1280],
        resblocks,
        form,
    };
    for (config, parameters) in [
        (config(3, 8, 2, T2iForm::Full), 77.4),
        (config(1, 8, 2, T2iForm::Full), 77.0),
        (config(3, 16, 2, T2iForm::FullXl), 79.0),
        (config(1, 16, 2, T2iForm::FullXl), 77.6),
        (config(3, 8, 4, T2iForm::Light), 18.7),
    ] {
        let all = Network::T2iAdapter(config.clone()).parameters();
        let numbers: usize = all
            .iter()
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum();
        assert!(
            (numbers as f64 / 1e6 - parameters).abs() < 0.06,
            "{config:?}: {numbers}"
        );
        for scheme in [Scheme::Ldm, Scheme::Diffusers] {
            assert_eq!(again(&config, scheme), config, "{scheme:?}");
        }
        let json = Kind::to_json(&config, 64).unwrap();
        assert_eq!(T2iAdapterConfig::from_json(&json).unwrap(), config);
    }
}

/// The names and shapes of the published file (`t2iadapter_style_sd14v1.pth`).
#[test]
fn style_adapters() {
    let config = StyleAdapterConfig {
        width: 1024,
        tokens: 8,
        context: 768,
        layers: 3,
        heads: 8,
        intermediate: 4096,
    };
    let mut published = BTreeMap::from([
        ("style_embedding".to_owned(), vec![1, 8, 1024]),
        ("proj".to_owned(), vec![1024, 768]),
    ]);
    let mut pair = |stem: String, shape: &[usize]| {
        published.insert(format!("{stem}weight"), shape.to_vec());
        published.insert(format!("{stem}bias"), shape[..1].to_vec());
    };
    pair("ln_pre.".into(), &[1024]);
    pair("ln_post.".into(), &[1024]);
    for layer in 0..3 {
        let stem = |name: &str| format!("transformer_layes.{layer}.{name}");
        pair(stem("attn.in_proj_"), &[3072, 1024]);
        pair(stem("attn.out_proj."), &[1024, 1024]);
        pair(stem("ln_1."), &[1024]);
        pair(stem("ln_2."), &[1024]);
        pair(stem("mlp.c_fc."), &[4096, 1024]);
        pair(stem("mlp.c_proj."), &[1024, 4096]);
    }
    let shapes = Shapes::new(
        published.iter().map(|(n, s)| (n.as_str(), s.as_slice())),
        "",
    );
    let read = StyleAdapterConfig::from_shapes(&shapes, Scheme::Ldm).unwrap();
    assert_eq!(read, config);
    let roles = find(|name| published.contains_key(name)).into_iter();
    let roles: Vec<Role> = roles.map(|found| found.role).collect();
    assert_eq!(roles, [Role::STYLE_ADAPTER]);

    let network = Network::StyleAdapter(config.clone());
    let parameters = network.parameters();
    let count = |shape: &Vec<usize>| shape.iter().product::<usize>();
    assert_eq!(
        parameters.iter().map(|(_, s)| count(s)).sum::<usize>(),
        published.values().map(count).sum::<usize>()
    );
    // One naming, whatever the form of the file.
    for scheme in [Scheme::Ldm, Scheme::Diffusers] {
        let table = network.table(scheme);
        let places = parameters.iter();
        let places = places.map(|(name, _)| table.place(name).expect("a name").name);
        let names: BTreeSet<String> = places.collect();
        assert!(names.iter().eq(published.keys()), "{names:?}");
    }
    let json = Kind::to_json(&config, 64).unwrap();
    assert_eq!(StyleAdapterConfig::from_json(&json).unwrap(), config);
}

#[test]
fn ip_adapters_of_every_form() {
    let sd1 = named::unet_sd1();
    let xl = named::unet_sdxl_base();
    let plus = |width, heads| ProjectionConfig::Resampler {
        input: 1280,
        width,
        tokens: 16,
        layers: 4,
        heads,
    };
    let linear = |input| ProjectionConfig::Linear { input, tokens: 4 };
    for (name, unet, projection, parameters) in [
        ("sd15", &sd1, linear(1024), 3.15 + 19.18),
        ("plus sd15", &sd1, plus(768, 12), 29.9 + 19.18),
        (
            "full face",
            &sd1,
            ProjectionConfig::Mlp { input: 1280 },
            2.6 + 19.18,
        ),
        ("sdxl", &xl, linear(1280), 10.5 + 340.8),
        ("plus sdxl", &xl, plus(1280, 20), 83.0 + 340.8),
    ] {
        let [down, middle, up] = unet.attentions_on_context();
        let config = IpAdapterConfig {
            projection,
            context: unet.context.unwrap(),
            attentions: [down, up, middle].concat(),
        };
        assert_eq!(config.misfit(unet), None);
        assert_eq!(
            config.attentions.len(),
            if *name == *"sd15" || unet.context == Some(768) {
                16
            } else {
                70
            }
        );
        let network = Network::IpAdapter(config.clone());
        let numbers = network.parameters();
        let numbers: usize = numbers
            .iter()
            .map(|(_, s)| s.iter().product::<usize>())
            .sum();
        assert!(
            (numbers as f64 / 1e6 - parameters).abs() < 0.2,
            "{name}: {numbers}"
        );
        assert_eq!(again(&config, Scheme::Diffusers), config, "{name}");
        let names = file(&network, Scheme::Diffusers);
        assert!(names.contains_key("ip_adapter.1.to_k_ip.weight"));
        assert!(!names.contains_key("ip_adapter.0.to_k_ip.weight"));
    }
}
