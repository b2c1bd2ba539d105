//! Networks that show a U-Net pictures: T2I-Adapters, those of style among them, and IP-Adapters, every tensor of
//! `adapters_image` and of `style_adapter` that a network makes, to 1e-4 of its norm.

mod common;

use burn::tensor::{DType, Device, Tensor, TensorData};
use common::*;
use latent_models::clip::{Activation, Sees};
use latent_models::ip_adapter::{IpAdapter, IpAdapterConfig, ProjectionConfig};
use latent_models::t2i::{T2iAdapterConfig, T2iForm};
use latent_models::unet::{
    Alter, Attention, Extras, Heads, KeysValues, Labels, Level, MIDDLE, Pictures, timestep_sinusoid,
};
use latent_models::{
    ClipVisionConfig, Form, Given, Input, ParameterError, StyleAdapterConfig, UNet, UNetConfig,
    load, named,
};
use latent_testkit::{Golden, closeness, recipe};

const TOLERANCE: f64 = 1e-4;

fn picture() -> Tensor<4> {
    let pixels = recipe::picture(64, 64);
    let planes = (0..3).flat_map(|c| pixels.iter().skip(c).step_by(3));
    let planes: Vec<f32> = planes.map(|byte| f32::from(*byte) / 255.0).collect();
    Tensor::from_data(TensorData::new(planes, [1, 3, 64, 64]), &Device::flex())
}

/// As the oracle samples.
fn strided<const D: usize>(golden: &Golden, name: &str, tensor: Tensor<D>) {
    let all = values(tensor);
    let got: Vec<f32> = all
        .iter()
        .copied()
        .step_by((all.len() / 128).max(1))
        .collect();
    close(name, closeness(&got, golden.values(name)), TOLERANCE);
}

/// A network with a vector beside the time, and levels of several transformers.
fn xl() -> UNetConfig {
    let level = |channels, heads, depth: usize| Level {
        channels,
        resblocks: 2,
        attention: (depth > 0).then_some(Attention {
            heads: Heads::Count(heads),
            depth,
        }),
    };
    UNetConfig {
        model_channels: 32,
        levels: vec![level(32, 2, 0), level(64, 4, 1), level(64, 4, 2)],
        middle: level(64, 4, 2).attention,
        context: Some(80),
        labels: Labels::Vector(96),
        ..named::unet_sdxl_base()
    }
}

fn unet(of_xl: bool) -> UNet {
    match of_xl {
        true => fill("xl/unet", xl().init(&Device::flex())),
        false => fill("unet", tiny_unet(4).init(&Device::flex())),
    }
}

/// The one call that every golden of a U-Net uses.
fn probe(unet: &UNet, alter: &Alter, extras: Extras) -> Tensor<4> {
    let width = unet.config().context.unwrap();
    let device = Device::flex();
    let sizes = Tensor::from_floats([64.0, 96.0, 0.0, 8.0, 64.0, 64.0], &device);
    let sizes = timestep_sinusoid(sizes, 8).reshape([1, 48]);
    let vector = Tensor::cat(vec![normal("probe/pooled", [1, 48]), sizes], 1);
    let given = unet.prepare(Given {
        context: Some(normal("probe/context", [1, 77, width])),
        vector: unet.config().labels.width().map(|_| vector),
        guidance: None,
    });
    let given = given.unwrap();
    unet.run(Input {
        x: normal("probe/x", [1, 4, 8, 8]),
        t: Tensor::from_floats([501.0], &device),
        given: &given,
        alter,
        watch: false,
        states: None,
        extras,
    })
    .x
}

#[test]
fn style_adapters() {
    let golden = Golden::style_adapter();
    let config = StyleAdapterConfig {
        width: 32,
        tokens: 8,
        context: 48,
        layers: 3,
        heads: 8,
        intermediate: 128,
    };
    let adapter = fill("style_adapter", config.init(&Device::flex()));
    let states = TensorData::new(golden.values("states").to_vec(), [1, 17, 32]);
    let states: Tensor<3> = Tensor::from_data(states, &Device::flex());
    check(&golden, "tokens", adapter.tokens(states.clone()), TOLERANCE);
    // Each picture of a batch by itself.
    let two = adapter.tokens(Tensor::cat(vec![states.zeros_like(), states], 0));
    check(&golden, "tokens", two.narrow(0, 1, 1), TOLERANCE);
    assert_eq!(config.misfit(&tiny_unet(4)), None);
    let [own, theirs] = config.misfit(&named::unet_sd1()).unwrap();
    assert_eq!(
        (own.as_str(), theirs.as_str()),
        ("tokens of width 48", "tokens of width 768")
    );
}

#[test]
fn t2i_adapters() {
    let golden = Golden::adapters_image();
    let config = |in_channels, unshuffle, channels: [usize; 4], resblocks, form| T2iAdapterConfig {
        in_channels,
        unshuffle,
        channels: channels.to_vec(),
        resblocks,
        form,
    };
    for (name, config) in [
        ("full", config(3, 8, [32, 64, 64, 96], 2, T2iForm::Full)),
        ("light", config(1, 8, [32, 64, 64, 96], 4, T2iForm::Light)),
        ("xl", config(3, 16, [32, 64, 64, 64], 2, T2iForm::FullXl)),
    ] {
        config.validate().unwrap();
        let unet = unet(name == "xl");
        assert_eq!(config.misfit(unet.config()), None, "{name}");
        let adapter = fill(&format!("t2i_{name}"), config.init(&Device::flex()));
        let features = adapter.forward(picture());
        for (i, feature) in features.iter().enumerate() {
            strided(&golden, &format!("t2i_{name}/feature_{i}"), feature.clone());
        }
        for unet in both(unet, |unet| unet.packed(Form::Plain, [8, 8])) {
            let mut extras = Extras::default();
            extras.add_features(features.clone());
            let got = probe(&unet, &Alter::Nothing, extras);
            check(&golden, &format!("t2i_{name}/unet"), got, TOLERANCE);
        }
    }
    // Half as wide, another number of levels: not this one's.
    let other = config(3, 8, [16, 32, 32, 48], 2, T2iForm::Full);
    let [own, wanted] = other.misfit(&tiny_unet(4)).unwrap();
    assert!(
        own.contains("16, 32") && wanted.contains("32, 64"),
        "{own} {wanted}"
    );
}

/// The encoder of pictures of the oracle.
fn vision() -> ClipVisionConfig {
    ClipVisionConfig {
        image: 56,
        patch: 14,
        width: 32,
        layers: 3,
        heads: 4,
        intermediate: 128,
        activation: Activation::Gelu,
        projection: 24,
    }
}

#[test]
fn states_of_nothing() {
    let golden = Golden::adapters_image();
    let encoder = fill("image_encoder", vision().init(&Device::flex()));
    for encoder in both(encoder, |encoder| encoder.packed()) {
        let states = encoder.states(Tensor::zeros([1, 3, 56, 56], &Device::flex()));
        check(&golden, "vision/penultimate_of_zeros", states, TOLERANCE);
    }
}

/// An adapter with the oracle's weights, which count attentions as files do.
fn ip_adapter(component: &str, unet: &UNetConfig, projection: ProjectionConfig) -> IpAdapter {
    let [down, middle, up] = unet.attentions_on_context();
    let config = IpAdapterConfig {
        projection,
        context: unet.context.unwrap(),
        attentions: [down, up, middle].concat(),
    };
    config.validate().unwrap();
    assert_eq!(config.misfit(unet), None);
    let fetch = &mut |path: &str, shape: &[usize]| {
        let name = match path
            .strip_prefix("ip_adapter.")
            .and_then(|rest| rest.split_once('.'))
        {
            Some((number, rest)) => {
                let number: usize = number.parse().unwrap();
                format!("ip_adapter.{}.{rest}", 2 * number + 1)
            }
            None => path.to_owned(),
        };
        let values = recipe::tensor(&format!("{component}/{name}"), shape, 0);
        Ok::<_, ParameterError>(TensorData::new(values, shape.to_vec()))
    };
    load(config.init(&Device::flex()), fetch, DType::F32).unwrap()
}

const LINEAR: ProjectionConfig = ProjectionConfig::Linear {
    input: 24,
    tokens: 4,
};
const RESAMPLER: ProjectionConfig = ProjectionConfig::Resampler {
    input: 32,
    width: 48,
    tokens: 16,
    layers: 4,
    heads: 1,
};

fn shown(adapter: &IpAdapter, unet: &UNet, tokens: &Tensor<3>, weight: f64) -> Vec<KeysValues> {
    adapter.keys_values(tokens, unet.config(), weight)
}

#[test]
fn ip_adapters() {
    let golden = Golden::adapters_image();
    let tensor = |name: &str, shape: [usize; 3]| -> Tensor<3> {
        let data = TensorData::new(golden.values(name).to_vec(), shape);
        Tensor::from_data(data, &Device::flex())
    };
    for (name, component, of_xl, projection) in [
        ("plain", "ip_plain", false, LINEAR),
        ("plus", "ip_plus", false, RESAMPLER),
        ("xl_plain", "ip_xl", true, LINEAR),
    ] {
        let unet = unet(of_xl);
        let adapter = ip_adapter(component, unet.config(), projection);
        let (seen, nothing) = match projection.sees() {
            Sees::Embedding(width) => (
                tensor("vision/image_embeds", [1, 1, width]),
                Tensor::zeros([1, 1, width], &Device::flex()),
            ),
            Sees::States(width) | Sees::LastStates(width) => (
                tensor("vision/penultimate", [1, 17, width]),
                tensor("vision/penultimate_of_zeros", [1, 17, width]),
            ),
        };
        let tokens = adapter.tokens(seen);
        check(
            &golden,
            &format!("{name}/tokens"),
            tokens.clone(),
            TOLERANCE,
        );
        check(
            &golden,
            &format!("{name}/tokens_uncond"),
            adapter.tokens(nothing),
            TOLERANCE,
        );
        for unet in both(unet, |unet| unet.packed(Form::Plain, [8, 8])) {
            for weight in [1.0, 0.5] {
                let extras = Extras {
                    pictures: vec![Pictures {
                        seen: shown(&adapter, &unet, &tokens, weight),
                        mask: None,
                    }],
                    ..Extras::default()
                };
                let got = probe(&unet, &Alter::Nothing, extras);
                check(&golden, &format!("{name}_{weight:.1}/unet"), got, TOLERANCE);
            }
        }
    }
}

/// Attention that is left out looks at no pictures, and those after it look at their own.
#[test]
fn attention_that_is_left_out_passes_by() {
    let unet = unet(false);
    let adapter = ip_adapter("ip_plain", unet.config(), LINEAR);
    let tokens = adapter.tokens(normal("seen", [1, 1, 24]));
    let all = shown(&adapter, &unet, &tokens, 1.0);
    let [down, middle, _] = unet.config().attentions_on_context();
    let mut silent = all.clone();
    for one in &mut silent[down.len()..down.len() + middle.len()] {
        one.values = one.values.zeros_like();
    }
    let skipped = Alter::Skip(vec![MIDDLE]);
    let [with, without] = [all, silent].map(|pictures| {
        let extras = Extras {
            pictures: vec![Pictures {
                seen: pictures,
                mask: None,
            }],
            ..Extras::default()
        };
        values(probe(&unet, &skipped, extras))
    });
    assert_eq!(with, without);
}

/// White in rows 16 to 47 and from column 24 on, or the rest.
fn mask(inside: bool) -> Tensor<4> {
    let white = |i: usize| (16..48).contains(&(i / 64)) && i % 64 >= 24;
    let values: Vec<f32> = (0..64 * 64)
        .map(|i| f32::from(u8::from(white(i) == inside)))
        .collect();
    Tensor::from_data(TensorData::new(values, [1, 1, 64, 64]), &Device::flex())
}

#[test]
fn pictures_behind_masks() {
    let golden = Golden::ip_mask();
    let plain = unet(false);
    let config = plain.config().clone();
    let show = |component: &str, seen: &str, weight: f64, inside: bool, unet: &UNet| {
        let adapter = ip_adapter(component, &config, LINEAR);
        let tokens = adapter.tokens(normal(seen, [1, 1, 24]));
        Pictures {
            seen: shown(&adapter, unet, &tokens, weight),
            mask: Some(mask(inside)),
        }
    };
    for unet in both(plain, |unet| unet.packed(Form::Plain, [8, 8])) {
        let first = show("ip_plain", "ip_mask/seen", 1.0, true, &unet);
        let second = show("ip_other", "ip_mask/other", 0.5, false, &unet);
        for (name, pictures) in [
            ("masked", vec![first.clone()]),
            ("two", vec![first, second]),
        ] {
            let extras = Extras {
                pictures,
                ..Extras::default()
            };
            check(
                &golden,
                name,
                probe(&unet, &Alter::Nothing, extras),
                TOLERANCE,
            );
        }
    }
}
