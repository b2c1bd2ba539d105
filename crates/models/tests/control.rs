//! Networks beside the U-Net: the goldens of ControlNets (`adapters_control`), to 1e-4 of their norm.

mod common;

use burn::tensor::{Device, Tensor, TensorData};
use common::*;
use latent_models::controlnet::{ControlInput, ControlNet, ControlNetConfig, UnionConfig};
use latent_models::unet::{
    Alter, Attention, Extras, Heads, Labels, Level, Residuals, timestep_sinusoid,
};
use latent_models::{Form, Given, Input, Padding, UNet, UNetConfig, named};
use latent_testkit::{Golden, closeness, recipe};

const TOLERANCE: f64 = 1e-4;

/// The picture that a network is held to, mirrored where it is the second's.
fn hint(mirrored: bool) -> Tensor<4> {
    let pixels = recipe::picture(64, 64);
    let at = |c: usize, y: usize, x: usize| {
        let x = if mirrored { 63 - x } else { x };
        f32::from(pixels[(y * 64 + x) * 3 + c]) / 255.0
    };
    let planes = (0..3).flat_map(|c| (0..64 * 64).map(move |i| (c, i / 64, i % 64)));
    let planes: Vec<f32> = planes.map(|(c, y, x)| at(c, y, x)).collect();
    Tensor::from_data(TensorData::new(planes, [1, 3, 64, 64]), &Device::flex())
}

/// The picture with a hole in it, as networks for inpainting were taught.
fn hint_with_hole() -> Tensor<4> {
    let inside = |i: usize| (16..48).contains(&(i / 64 % 64)) && i % 64 >= 24;
    let values = values(hint(false)).into_iter().enumerate();
    let holed: Vec<f32> = values
        .map(|(i, v)| if inside(i) { -1.0 } else { v })
        .collect();
    Tensor::from_data(TensorData::new(holed, [1, 3, 64, 64]), &Device::flex())
}

fn given(context: usize) -> Given {
    Given {
        context: Some(normal("probe/context", [1, 77, context])),
        ..Given::default()
    }
}

/// What a network says of the one call that every golden of a U-Net uses.
fn residuals(net: &ControlNet, hint: Tensor<4>, given: Given) -> Residuals {
    let given = net.prepare(given).unwrap();
    net.run(ControlInput {
        x: normal("probe/x", [1, 4, 8, 8]),
        t: Tensor::from_floats([501.0], &Device::flex()),
        given: &given,
        hint: &net.embed(hint),
    })
}

fn probe(unet: &UNet, given: Given, residuals: Residuals) -> Tensor<4> {
    let given = unet.prepare(given).unwrap();
    unet.run(Input {
        x: normal("probe/x", [1, 4, 8, 8]),
        t: Tensor::from_floats([501.0], &Device::flex()),
        given: &given,
        alter: &Alter::Nothing,
        watch: false,
        states: None,
        extras: Extras {
            residuals: Some(residuals),
            ..Extras::default()
        },
    })
    .x
}

fn unet() -> UNet {
    fill("unet", tiny_unet(4).init(&Device::flex()))
}

fn controlnet(component: &str, unet: UNetConfig) -> ControlNet {
    let config = ControlNetConfig::of(unet);
    config.validate().unwrap();
    fill(component, config.init(&Device::flex()))
}

/// As the oracle samples, about `keep` values.
fn strided<const D: usize>(golden: &Golden, name: &str, keep: usize, tensor: Tensor<D>) {
    let all = values(tensor);
    let step = (all.len() / keep).max(1);
    let got: Vec<f32> = all.iter().copied().step_by(step).collect();
    let want = golden.values(name);
    assert_eq!(got.len(), want.len(), "{name}");
    close(name, closeness(&got, want), TOLERANCE);
    let norm = all
        .iter()
        .map(|v| f64::from(*v).powi(2))
        .sum::<f64>()
        .sqrt();
    let want = f64::from(golden.values(&format!("{name}/norm"))[0]);
    assert!(
        (norm / want - 1.0).abs() < TOLERANCE,
        "{name}: {norm} {want}"
    );
}

#[test]
fn what_a_controlnet_says() {
    let golden = Golden::adapters_control();
    let net = controlnet("controlnet", tiny_unet(4));
    for net in both(net, |net| net.packed(Form::Plain, [8, 8])) {
        let said = residuals(&net, hint(false), given(48));
        assert_eq!(said.kept.len(), 12);
        for (i, residual) in said.kept.into_iter().chain(said.middle).enumerate() {
            strided(&golden, &format!("residual_{i:02}"), 128, residual);
        }
        let said = residuals(&net, hint_with_hole(), given(48));
        strided(&golden, "inpaint/mid_residual", 512, said.middle.unwrap());
    }
}

#[test]
fn a_unet_that_is_held_to_pictures() {
    let golden = Golden::adapters_control();
    let factors = |key: &str| -> Vec<f64> { serde_json::from_str(golden.metadata(key)).unwrap() };
    let nets = ["controlnet", "controlnet_b"].map(|name| controlnet(name, tiny_unet(4)));
    for packed in [false, true] {
        let pack = |net: ControlNet| {
            if packed {
                net.packed(Form::Plain, [8, 8])
            } else {
                net
            }
        };
        let [one, two] = nets.clone().map(pack);
        let unet = if packed {
            unet().packed(Form::Plain, [8, 8])
        } else {
            unet()
        };
        let one = residuals(&one, hint(false), given(48));
        let two = residuals(&two, hint(true), given(48));
        for (name, added) in [
            ("scale_1", one.clone()),
            ("scale_0.6", one.clone().scaled(&[0.6; 13])),
            ("soft", one.clone().scaled(&factors("soft"))),
            ("guess", one.clone().scaled(&factors("guess"))),
            (
                "two_0.8_0.5",
                one.clone().scaled(&[0.8; 13]).plus(two.scaled(&[0.5; 13])),
            ),
            ("global_pool", one.clone().pooled()),
        ] {
            check(
                &golden,
                &format!("unet/{name}"),
                probe(&unet, given(48), added),
                TOLERANCE,
            );
        }
    }
}

#[test]
fn half_precision_is_near() {
    let golden = Golden::adapters_control();
    let net = latent_models::cast(
        controlnet("controlnet", tiny_unet(4)),
        burn::tensor::DType::BF16,
    );
    let unet = latent_models::cast(unet(), burn::tensor::DType::BF16);
    for (form, bound) in [(Form::Plain, 0.03), (Form::Int8, 0.08)] {
        let net = net.clone().packed(form, [8, 8]);
        let said = residuals(&net, hint(false), given(48));
        let drawn = probe(&unet.clone().packed(form, [8, 8]), given(48), said);
        check(&golden, "unet/scale_1", drawn, bound);
    }
}

#[test]
fn a_network_for_several_kinds_of_pictures() {
    let golden = Golden::control_union();
    let config = ControlNetConfig {
        union: Some(UnionConfig {
            kinds: 8,
            layers: 1,
            sinusoid: 8,
        }),
        ..ControlNetConfig::of(tiny_unet(4))
    };
    let net = fill("union", config.init(&Device::flex()));
    for net in both(net, |net| net.packed(Form::Plain, [8, 8])) {
        for (name, kind) in [("depth", 1), ("canny", 3)] {
            let said = residuals(&net.clone().with_kind(kind), hint(false), given(48));
            check(
                &golden,
                &format!("{name}/kept_0"),
                said.kept[0].clone(),
                TOLERANCE,
            );
            check(
                &golden,
                &format!("{name}/middle"),
                said.middle.unwrap(),
                TOLERANCE,
            );
        }
    }
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

#[test]
fn a_controlnet_that_is_told_sizes() {
    let golden = Golden::adapters_control();
    let sizes = Tensor::from_floats([64.0, 96.0, 0.0, 8.0, 64.0, 64.0], &Device::flex());
    let sizes = timestep_sinusoid(sizes, 8).reshape([1, 48]);
    let told = Given {
        vector: Some(Tensor::cat(vec![normal("probe/pooled", [1, 48]), sizes], 1)),
        ..given(80)
    };
    let unet = fill("xl/unet", xl().init(&Device::flex()));
    let net = controlnet("xl/controlnet", xl());
    for packed in [false, true] {
        let (unet, net) = match packed {
            true => (
                unet.clone().packed(Form::Plain, [8, 8]),
                net.clone().packed(Form::Plain, [8, 8]),
            ),
            false => (unet.clone(), net.clone()),
        };
        let said = residuals(&net, hint(false), told.clone());
        assert_eq!(said.kept.len(), 9);
        strided(
            &golden,
            "xl/mid_residual",
            512,
            said.middle.clone().unwrap(),
        );
        check(
            &golden,
            "xl/unet",
            probe(&unet, told.clone(), said),
            TOLERANCE,
        );
    }
    assert!(net.prepare(given(80)).is_err(), "nothing says the sizes");
}

/// Small networks for SDXL have no attention, and so look at no text.
#[test]
fn a_network_without_attention_looks_at_no_text() {
    let mut config = xl();
    config
        .levels
        .iter_mut()
        .for_each(|level| level.attention = None);
    (config.middle, config.middle_resblocks, config.context) = (None, 1, None);
    let net = controlnet("small", config);
    let told = Given {
        vector: Some(normal("vector", [1, 96])),
        ..given(80)
    };
    let wrapped = net.clone().with_padding(Padding::Circular);
    let [plain, wrapped] = [net, wrapped].map(|net| residuals(&net, hint(false), told.clone()));
    assert_eq!(plain.kept.len(), 9);
    let [plain, wrapped] = [plain, wrapped].map(|said| values(said.kept[0].clone()));
    assert!(closeness(&plain, &wrapped) > 1e-3, "edges that wrap around");
}

#[test]
fn what_does_not_go_together_is_told() {
    let net = ControlNetConfig::of(tiny_unet(4));
    assert_eq!(net.misfit(&tiny_unet(4)), None);
    assert_eq!(
        net.misfit(&tiny_unet(9)),
        None,
        "nine channels hold a latent of four"
    );
    let [own, other] = net.misfit(&xl()).unwrap();
    assert!(
        own.contains("2×96") && other.contains("2×32, 2×64, 2×64"),
        "{own} {other}"
    );
    let wider = UNetConfig {
        context: Some(64),
        ..tiny_unet(4)
    };
    let [own, other] = net.misfit(&wider).unwrap();
    assert!(own.contains("48") && other.contains("64"), "{own} {other}");
}
