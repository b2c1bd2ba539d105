//! T2I-Adapters of style: walks of the tiny model as sd-webui-controlnet and ComfyUI go (golden `style_adapter`), adapters from
//! files, and what is refused.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device, Tensor};
use latent_checkpoint::convert::{Target, write_file, write_folder};
use latent_checkpoint::file::write::Existing;
use latent_checkpoint::tiny::write_tiny_style_adapter;
use latent_checkpoint::{Network, Role};
use latent_models::clip::Activation;
use latent_models::{ClipVision, ClipVisionConfig, Form, StyleAdapter, StyleAdapterConfig};
use latent_pipeline::control::Held;
use latent_pipeline::model::{ControlNetwork, NetworkFiles, Stage};
use latent_pipeline::picture::Picture;
use latent_pipeline::request::{
    Compat, Control, ControlKind, ControlMode, GuidanceOptions, Hires, ResizeMode, Rng,
};
use latent_pipeline::resources::Disk;
use latent_pipeline::{Model, ModelFiles, Quiet, Request, run};
use latent_testkit::{Golden, closeness, recipe};

use super::{
    asks, base, common, control, draw, drawn, held, latent, named_as, open, recipe_network, unet,
    written,
};
use common::{scheduler, tiny};

/// Relative to the norm.
const TOLERANCE: f64 = 1e-4;

fn config() -> StyleAdapterConfig {
    StyleAdapterConfig {
        width: 32,
        tokens: 8,
        context: 48,
        layers: 3,
        heads: 8,
        intermediate: 128,
    }
}

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

fn adapter() -> StyleAdapter {
    recipe_network("style_adapter", config().init(&Device::flex()))
}

fn encoder() -> ClipVision {
    recipe_network("image_encoder", vision().init(&Device::flex()))
}

/// The model with so many of them.
fn model(adapters: usize) -> Model {
    let model = tiny(4, scheduler());
    (0..adapters).fold(model, |model, _| {
        let with = model.with_style("style", adapter(), encoder());
        with.expect("they go together")
    })
}

/// The oracle's photograph.
fn photo() -> Held {
    Held {
        picture: Picture::new(61, 97, recipe::picture(61, 97)).expect("a picture"),
        ..held(false)
    }
}

/// The walk of the golden.
fn walks(compat: Compat, control: Vec<Control>) -> Request {
    Request {
        compat,
        rng: Some(Rng::Cpu),
        sampler: "Euler".into(),
        steps: 5,
        sigmas: Some(vec![14.0, 6.0, 2.5, 1.0, 0.4, 0.0]),
        guidance: GuidanceOptions {
            scale: 7.0,
            ..GuidanceOptions::default()
        },
        ..asks(control)
    }
}

fn weighted(weight: f64) -> Control {
    Control {
        weight,
        ..control()
    }
}

#[test]
fn tokens_of_a_picture() {
    let golden = Golden::style_adapter();
    let model = model(1);
    let Some(ControlNetwork::Style(style)) = model.control(0).map(|control| &control.network)
    else {
        panic!("it is an adapter of style");
    };
    let values = |tensor: Tensor<3>| tensor.into_data().iter::<f32>().collect::<Vec<_>>();
    let sees = style.adapter.config().sees();
    let states = values(style.encoder.seen(&photo().picture, sees).unwrap());
    let far = closeness(&states, golden.values("states"));
    assert!(far < TOLERANCE, "states: {far}");
    let tokens = values(style.tokens(&photo().picture).unwrap());
    let far = closeness(&tokens, golden.values("tokens"));
    assert!(far < TOLERANCE, "tokens: {far}");
}

#[test]
fn walks_of_programs() {
    let golden = Golden::style_adapter();
    let check = |name: &str, model: &Model, request: &Request, held: Vec<Held>| {
        let drawn = draw(model, request, held, None);
        let far = closeness(&drawn.latent, golden.values(&format!("{name}/latent")));
        println!("{name}: {far:.2e}");
        assert!(far < TOLERANCE, "{name}: {far}");
    };
    let webui = |control| walks(Compat::A1111, control);
    check("plain", &model(0), &webui(Vec::new()), Vec::new());
    check(
        "webui",
        &model(1),
        &webui(vec![weighted(1.0)]),
        vec![photo()],
    );
    let part = Control {
        start: 0.3,
        end: 0.7,
        ..weighted(0.6)
    };
    check("webui_part", &model(1), &webui(vec![part]), vec![photo()]);
    let two = webui(vec![weighted(1.0), weighted(0.5)]);
    check("webui_two", &model(2), &two, vec![photo(), held(false)]);
    let comfyui = walks(Compat::ComfyUi, vec![weighted(0.8)]);
    check("comfyui", &model(1), &comfyui, vec![photo()]);
    let packed = model(1).packed(Form::Plain);
    check("comfyui", &packed, &comfyui, vec![photo()]);

    // A ControlNet sees the tokens too, whichever is named first.
    let network = || super::controlnet("controlnet", unet());
    let two = webui(vec![weighted(1.0), weighted(1.0)]);
    let both = model(1).with_control("net", network()).unwrap();
    check("webui_control", &both, &two, vec![photo(), held(false)]);
    let both = tiny(4, scheduler()).with_control("net", network()).unwrap();
    let both = both.with_style("style", adapter(), encoder()).unwrap();
    check("webui_control", &both, &two, vec![held(false), photo()]);
}

/// A picture that weighs nothing, or acts in no call, changes no bit; another picture changes the drawing.
#[test]
fn weights_parts_and_passes() {
    let model = model(1);
    let none = tiny(4, scheduler());
    for compat in [Compat::A1111, Compat::ComfyUi, Compat::Diffusers] {
        let drawing = |control| latent(&drawn(&model, &walks(compat, vec![control])));
        let plain = latent(&drawn(&none, &walks(compat, Vec::new())));
        assert_eq!(drawing(weighted(0.0)), plain, "{compat}");
        let whole = drawing(control());
        assert!(closeness(&whole, &plain) > 0.01, "{compat}");
        let other = drawing(Control {
            image: Some("mirrored.png".into()),
            ..control()
        });
        assert!(closeness(&other, &whole) > 1e-3, "{compat}");
        let late = drawing(Control {
            start: 0.9,
            ..control()
        });
        assert!(closeness(&late, &plain) < closeness(&whole, &plain));
    }
    let second = |hires_image| Request {
        hires: Some(Hires::default()),
        sigmas: None,
        ..walks(
            Compat::A1111,
            vec![Control {
                hires_image,
                ..control()
            }],
        )
    };
    let same = latent(&drawn(&model, &second(None)));
    let other = latent(&drawn(&model, &second(Some("mirrored.png".into()))));
    assert!(closeness(&other, &same) > 1e-3);
}

/// Writes the adapter of the golden, and its encoder beside it.
fn files(dir: &Path) -> PathBuf {
    std::fs::create_dir_all(dir).unwrap();
    let path = dir.join("t2iadapter_style.safetensors");
    let weights = &mut |component: &str, name: &str, shape: &[usize]| {
        recipe::tensor_f16(&format!("{component}/{name}"), shape, 0)
    };
    write_tiny_style_adapter(&path, weights).unwrap();
    write_encoder(&dir.join("image_encoder"), vision());
    path
}

fn write_encoder(folder: &Path, config: ClipVisionConfig) {
    let config = Network::ImageEncoder(config);
    let shapes: std::collections::HashMap<String, Vec<usize>> =
        config.parameters().into_iter().collect();
    let values = &mut |_: Role, name: &str| {
        let values = recipe::tensor_f16(&format!("image_encoder/{name}"), &shapes[name], 0);
        Ok(values.iter().flat_map(|v| v.to_le_bytes()).collect())
    };
    let model = named_as(Role::IMAGE_ENCODER, config);
    write_folder(folder, &model, Existing::Refuse, values).unwrap();
}

#[test]
fn adapters_from_files() {
    let dir = tempfile::tempdir().unwrap();
    let base = base(dir.path());
    let file = files(dir.path());
    let asked = walks(Compat::A1111, vec![control()]);
    let expected = latent(&drawn(&model(1), &asked));
    let model = open(&base, vec![file.clone()]).unwrap();
    let output = drawn(&model, &asked);
    assert!(closeness(&latent(&output), &expected) < TOLERANCE);
    let pair = "ControlNet 0: \"Module: t2ia_style_clipvision, Model: t2iadapter_style, Weight: 1, Resize Mode: Crop and Resize, \
                Guidance Start: 0, Guidance End: 1, Pixel Perfect: True, Control Mode: Balanced\"";
    assert!(output.infotext.contains(pair), "{}", output.infotext);
    // It is given up with what reads prompts, and read again.
    let held = model.held(Stage::Conditioning);
    model.release(Stage::Conditioning);
    assert!(held > 0 && model.held(Stage::Conditioning) == 0);
    assert_eq!(latent(&drawn(&model, &asked)), latent(&output));

    // By an encoder that is named.
    let other = dir.path().join("other");
    let lonely = files(&other);
    std::fs::rename(other.join("image_encoder"), other.join("clip")).unwrap();
    let named = NetworkFiles {
        network: lonely.clone(),
        encoder: Some(other.join("clip")),
    };
    let model = open(&base, vec![named]).unwrap();
    assert_eq!(latent(&drawn(&model, &asked)), latent(&output));
    for dtype in [DType::BF16, DType::F16] {
        let files = ModelFiles {
            controls: vec![file.clone().into()],
            ..ModelFiles::from(base.clone())
        };
        let opened = Model::declare(&files, &Device::flex(), dtype).unwrap();
        let far = closeness(&latent(&drawn(&opened.0, &asked)), &expected);
        assert!(far < 0.1, "{dtype:?}: {far}");
    }

    // None is named, and none lies beside it; one of another width; one that another network does not read.
    let words = open(&base, vec![lonely.clone()]).err().unwrap();
    for word in ["control.encoder", "states of 32 numbers", "image_encoder"] {
        assert!(words.contains(word), "{word}: {words}");
    }
    let wide = other.join("wide");
    let larger = ClipVisionConfig {
        width: 64,
        ..vision()
    };
    write_encoder(&wide, larger);
    let with = |network: &Path, encoder: &Path| NetworkFiles {
        network: network.to_owned(),
        encoder: Some(encoder.to_owned()),
    };
    let words = open(&base, vec![with(&lonely, &wide)]).err().unwrap();
    for word in ["control.encoder", "states of 64", "states of 32 numbers"] {
        assert!(words.contains(word), "{word}: {words}");
    }
    let [net, ..] = written(&dir.path().join("nets"));
    let words = open(&base, vec![with(&net, &wide)]).err().unwrap();
    for word in ["control.encoder", "by itself", "style"] {
        assert!(words.contains(word), "{word}: {words}");
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let base = base(dir.path());
    let file = files(dir.path());

    // Of the published width.
    let published = dir.path().join("published.safetensors");
    let wide = Network::StyleAdapter(StyleAdapterConfig {
        context: 768,
        ..config()
    });
    let shapes: std::collections::HashMap<String, Vec<usize>> =
        wide.parameters().into_iter().collect();
    let zeros = &mut |_: Role, name: &str| Ok(vec![0; 2 * shapes[name].iter().product::<usize>()]);
    let model = named_as(Role::STYLE_ADAPTER, wide);
    let target = Target::Safetensors;
    write_file(&published, target, &model, Existing::Refuse, zeros).unwrap();
    let words = open(&base, vec![published]).err().unwrap();
    for word in [
        "T2I-Adapter of style for Stable Diffusion 1.x",
        "width 768",
        "width 48",
    ] {
        assert!(words.contains(word), "{word}: {words}");
    }
    let bytes = std::fs::read(&file).unwrap();
    let truncated = dir.path().join("truncated.safetensors");
    std::fs::write(&truncated, &bytes[..bytes.len() - 100]).unwrap();
    let words = open(&base, vec![truncated]).err().unwrap();
    assert!(words.contains("truncated.safetensors"), "{words}");

    // What means nothing for it.
    let model = open(&base, vec![file]).unwrap();
    let refused = |control: Control, field: &str, expected: &str| {
        let request = walks(Compat::A1111, vec![control]);
        let error = run(&request, &model, &Disk::default(), None, &mut Quiet);
        let words = error.unwrap_err().to_string();
        assert!(
            words.contains(field) && words.contains(expected),
            "{field}: {words}"
        );
    };
    let mask = Some("mask.png".into());
    refused(Control { mask, ..control() }, "control.mask", "style");
    let mode = ControlMode::Prompt;
    refused(Control { mode, ..control() }, "control.mode", "balanced");
    let kind = Some(ControlKind::Depth);
    refused(Control { kind, ..control() }, "control.kind", "one kind");
    let resize_mode = Some(ResizeMode::Stretch);
    refused(
        Control {
            resize_mode,
            ..control()
        },
        "control.resize_mode",
        "crop",
    );
}
