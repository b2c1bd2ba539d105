//! Pipelines against diffusers and A1111's modes (goldens `adapters_control`, `adapters_image`).

use burn::tensor::{DType, Device, TensorData};
use latent_models::Form;
use latent_models::t2i::{T2iAdapterConfig, T2iForm};
use latent_pipeline::control::Held;
use latent_pipeline::draw::Canvas;
use latent_pipeline::picture::Grey;
use latent_pipeline::request::{Control, ControlMode, GivenPicture};
use latent_pipeline::{Model, ModelFiles, Request};
use latent_testkit::{Golden, closeness};

use super::golden::check;
use super::{
    asks, base, common, control, draw, drawing, drawn, held, model, picture, recipe_network,
    written,
};
use common::{scheduler, tiny};

/// Rows 16..48, columns 24..: white.
fn hole() -> Grey {
    let inside = |i: usize| (16..48).contains(&(i / 64)) && i % 64 >= 24;
    let values = (0..64 * 64).map(|i| if inside(i) { 255 } else { 0 });
    Grey::new(64, 64, values.collect()).expect("a mask")
}

#[test]
fn pipelines_of_diffusers() {
    let golden = Golden::adapters_control();
    let model = model(&["controlnet"]);
    let part = |start, end| Control {
        start,
        end,
        ..control()
    };
    for (name, control) in [
        ("plain", control()),
        (
            "scale_0.6",
            Control {
                weight: 0.6,
                ..control()
            },
        ),
        ("from_0.2_to_0.7", part(0.2, 0.7)),
        (
            "guess",
            Control {
                mode: ControlMode::Guess,
                ..control()
            },
        ),
        (
            "a1111_prompt",
            Control {
                mode: ControlMode::Prompt,
                ..control()
            },
        ),
        (
            "a1111_control",
            Control {
                mode: ControlMode::Control,
                ..control()
            },
        ),
    ] {
        let drawn = draw(&model, &asks(vec![control]), vec![held(false)], None);
        check(&golden, name, &drawn);
    }
    let packed = model.packed(Form::Plain);
    check(
        &golden,
        "plain",
        &draw(&packed, &asks(vec![control()]), vec![held(false)], None),
    );
}

#[test]
fn several_at_once() {
    let golden = Golden::adapters_control();
    let model = model(&["controlnet", "controlnet_b"]);
    let asked = |weight, start, end| Control {
        weight,
        start,
        end,
        ..control()
    };
    for (name, controls) in [
        (
            "two_0.8_0.5",
            vec![asked(0.8, 0.0, 1.0), asked(0.5, 0.0, 1.0)],
        ),
        (
            "two_windows",
            vec![asked(0.8, 0.0, 0.5), asked(0.5, 0.5, 1.0)],
        ),
    ] {
        let drawn = draw(&model, &asks(controls), vec![held(false), held(true)], None);
        check(&golden, name, &drawn);
    }
}

/// T2I-Adapters, which are held to pictures in the same way.
#[test]
fn t2i_adapters() {
    let golden = Golden::adapters_image();
    let config = |in_channels, resblocks, form| T2iAdapterConfig {
        in_channels,
        unshuffle: 8,
        channels: vec![32, 64, 64, 96],
        resblocks,
        form,
    };
    for (name, config) in [
        ("full", config(3, 2, T2iForm::Full)),
        ("light", config(1, 4, T2iForm::Light)),
    ] {
        let network = recipe_network(&format!("t2i_{name}"), config.init(&Device::flex()));
        let model = tiny(4, scheduler())
            .with_control(name, network)
            .expect("it fits");
        for weight in [1.0, 0.6] {
            let control = Control {
                weight,
                ..control()
            };
            let drawn = draw(&model, &asks(vec![control]), vec![held(false)], None);
            check(&golden, &format!("t2i_{name}_{weight:.1}"), &drawn);
        }
    }
    // Levels of odd sides are rounded up, as the U-Net's are.
    let light = config(1, 4, T2iForm::Light).init(&Device::flex());
    let light = recipe_network("t2i_light", light);
    let model = tiny(4, scheduler())
        .with_control("light", light)
        .expect("it fits");
    let odd = Request {
        width: 72,
        ..asks(vec![control()])
    };
    assert_eq!(drawn(&model, &odd).picture.width(), 72);
}

#[test]
fn a_picture_with_a_hole() {
    let golden = Golden::adapters_control();
    let model = model(&["controlnet"]);
    let planes = picture(false).to_planes();
    let image = TensorData::new(planes, [1, 3, 64, 64]);
    let canvas = Canvas {
        image: burn::tensor::Tensor::from_data(image, &Device::flex()),
        ..drawing::given(true)
    };
    let request = Request {
        start: GivenPicture {
            strength: 1.0,
            ..asks(Vec::new()).start
        },
        // The default of diffusers' pipeline.
        ..asks(vec![Control {
            weight: 0.5,
            ..control()
        }])
    };
    let holed = Held {
        hole: Some(hole()),
        ..held(false)
    };
    check(
        &golden,
        "inpaint",
        &draw(&model, &request, vec![holed], Some(&canvas)),
    );
}

/// What is drawn in half precision, and in eight bits.
#[test]
fn bf16_and_int8_are_near() {
    let golden = Golden::adapters_control();
    let dir = tempfile::tempdir().unwrap();
    let [file, ..] = written(dir.path());
    let base = base(dir.path());
    for (dtype, form, bound) in [
        (DType::BF16, Form::Plain, 0.1),
        (DType::BF16, Form::Int8, 0.3),
    ] {
        let files = ModelFiles {
            controls: vec![file.clone().into()],
            ..ModelFiles::from(base.clone())
        };
        let (model, _) = Model::open(&files, &Device::flex(), dtype, &mut |_, _, _| {}).unwrap();
        let drawn = draw(
            &model.packed(form),
            &asks(vec![control()]),
            vec![held(false)],
            None,
        );
        let far = closeness(&drawn.latent, golden.values("plain/latent"));
        println!("{dtype:?} {form:?}: {far:.2e}");
        assert!(far < bound, "{dtype:?} {form:?}: {far}");
    }
}
