//! Pictures that a drawing is held to: pipelines of the tiny model against diffusers and A1111's modes (golden
//! `adapters_control`), ControlNets from files, and what is refused.

mod common;
#[path = "common/drawing.rs"]
mod drawing;
#[path = "common/golden.rs"]
mod golden;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device, TensorData};
use latent_checkpoint::convert::{NamedPart, Target, write_file, write_folder};
use latent_checkpoint::file::write::{Existing, safetensors};
use latent_checkpoint::tiny::write_tiny;
use latent_checkpoint::{Dtype, Error, Network, Role, Scheme, TensorFile, TensorInfo};
use latent_models::t2i::{T2iAdapterConfig, T2iForm};
use latent_models::{ControlNet, ControlNetConfig, Form, ParameterError, UNetConfig};
use latent_pipeline::beside::Hints;
use latent_pipeline::control::Held;
use latent_pipeline::draw::Canvas;
use latent_pipeline::picture::{Grey, Picture};
use latent_pipeline::request::{
    Compat, Control, ControlMode, GivenPicture, GuidanceOptions, Hires, ResizeMode, Size,
};
use latent_pipeline::resources::{Disk, Memory};
use latent_pipeline::{Model, ModelFiles, Output, Quiet, Request, run};
use latent_testkit::{Golden, closeness, recipe};

use common::{scheduler, tiny};
use golden::check;

fn recipe_network<M: burn::module::Module>(component: &str, network: M) -> M {
    let fetch = &mut |path: &str, shape: &[usize]| {
        let values = recipe::tensor(&format!("{component}/{path}"), shape, 0);
        Ok::<_, ParameterError>(TensorData::new(values, shape.to_vec()))
    };
    latent_models::load(network, fetch, DType::F32).expect("recipe weights fit")
}

fn controlnet(component: &str, unet: UNetConfig) -> ControlNet {
    recipe_network(component, ControlNetConfig::of(unet).init(&Device::flex()))
}

fn model(components: &[&str]) -> Model {
    let mut model = tiny(4, scheduler());
    for component in components {
        let network = controlnet(component, model.unet.config().clone());
        model = model.with_control(component, network).expect("it fits");
    }
    model
}

/// The oracle's picture, or that mirrored.
fn picture(mirrored: bool) -> Picture {
    let mut rgb = recipe::picture(64, 64);
    if mirrored {
        for row in rgb.chunks_exact_mut(3 * 64) {
            let pixels: Vec<u8> = row.rchunks_exact(3).flatten().copied().collect();
            row.copy_from_slice(&pixels);
        }
    }
    Picture::new(64, 64, rgb).expect("a picture")
}

fn held(mirrored: bool) -> Held {
    Held {
        picture: picture(mirrored),
        hole: None,
        second: None,
        fit: ResizeMode::Stretch,
    }
}

fn control() -> Control {
    Control::new("net".into(), Some("picture.png".into()))
}

/// Rows 16..48, columns 24..: white.
fn hole() -> Grey {
    let inside = |i: usize| (16..48).contains(&(i / 64)) && i % 64 >= 24;
    let values = (0..64 * 64).map(|i| if inside(i) { 255 } else { 0 });
    Grey::new(64, 64, values.collect()).expect("a mask")
}

fn asks(control: Vec<Control>) -> Request {
    Request {
        width: 64,
        control,
        ..golden::request("DDIM")
    }
}

fn draw(
    model: &Model,
    request: &Request,
    held: Vec<Held>,
    canvas: Option<&Canvas>,
) -> drawing::Drawn {
    let hints = Hints {
        held,
        ..Hints::default()
    };
    drawing::draw_with(model, request, canvas, Some(&hints))
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
    // A light one halves what its levels see, which must come out even.
    let network = recipe_network(
        "t2i_light",
        config(1, 4, T2iForm::Light).init(&Device::flex()),
    );
    let model = tiny(4, scheduler())
        .with_control("light", network)
        .expect("it fits");
    let odd = Request {
        width: 72,
        ..asks(vec![control()])
    };
    let error = run(&odd, &model, &Memory::default(), None, &mut Quiet).unwrap_err();
    assert!(error.to_string().contains("multiples of 64"), "{error}");
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
        ..asks(vec![control()])
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
            controls: vec![file.clone()],
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

/// A tiny checkpoint.
fn base(dir: &Path) -> PathBuf {
    let weights = &mut |component: &str, name: &str, shape: &[usize]| {
        recipe::tensor_f16(&format!("{component}/{name}"), shape, 0)
    };
    write_tiny(dir, 4, weights).unwrap().safetensors
}

fn named(config: Network) -> latent_checkpoint::convert::Model {
    let parameters = config.parameters();
    let part = NamedPart {
        role: Role::CONTROLNET,
        dtypes: parameters
            .iter()
            .map(|(name, _)| (name.clone(), Dtype::F16))
            .collect(),
        config,
    };
    latent_checkpoint::convert::Model {
        parts: vec![part],
        ..Default::default()
    }
}

/// The first ControlNet as one file of the original form, as the same without a prefix, as diffusers' folder, and as the
/// file in that folder alone.
fn written(dir: &Path) -> [PathBuf; 4] {
    let unet = tiny(4, scheduler()).unet.config().clone();
    let config = Network::ControlNet(ControlNetConfig::of(unet));
    let shapes: HashMap<String, Vec<usize>> = config.parameters().into_iter().collect();
    let values = &mut |_: Role, name: &str| {
        let values = recipe::tensor_f16(&format!("controlnet/{name}"), &shapes[name], 0);
        Ok(values.iter().flat_map(|v| v.to_le_bytes()).collect())
    };
    let model = named(config);
    let file = dir.join("control_scribble.safetensors");
    std::fs::create_dir_all(dir).unwrap();
    let bare = dir.join("bare.safetensors");
    write_file(&bare, Target::Safetensors, &model, Existing::Refuse, values).unwrap();
    changed(&bare, &file, |name| Some(format!("control_model.{name}")));
    let folder = dir.join("scribble");
    write_folder(&folder, &model, Existing::Refuse, values).unwrap();
    let inner = folder.join("diffusion_pytorch_model.safetensors");
    [file, bare, folder, inner]
}

/// A file with other names; a tensor without one is left out.
fn changed(from: &Path, to: &Path, rename: impl Fn(&str) -> Option<String>) {
    let file = TensorFile::open(from).unwrap();
    let renamed: Vec<(String, TensorInfo)> = file
        .tensors()
        .iter()
        .filter_map(|info| {
            let name = rename(&info.name)?;
            let new = TensorInfo {
                name,
                ..info.clone()
            };
            Some((info.name.clone(), new))
        })
        .collect();
    let olds: HashMap<&str, &str> = renamed
        .iter()
        .map(|(old, new)| (new.name.as_str(), old.as_str()))
        .collect();
    let infos: Vec<TensorInfo> = renamed.iter().map(|(_, new)| new.clone()).collect();
    safetensors::<Error>(to, &infos, &BTreeMap::new(), Existing::Replace, |info| {
        file.bytes(olds[info.name.as_str()])
    })
    .unwrap();
}

fn open(model: &Path, controls: Vec<PathBuf>) -> Result<Model, String> {
    let files = ModelFiles {
        controls,
        ..ModelFiles::from(model.to_owned())
    };
    let opened = Model::open(&files, &Device::flex(), DType::F32, &mut |_, _, _| {});
    opened.map(|(model, _)| model).map_err(|e| e.to_string())
}

fn drawn(model: &Model, request: &Request) -> Output {
    let png = |picture: &Picture| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.png");
        picture.write(&path, 90, &Default::default(), true).unwrap();
        std::fs::read(path).unwrap()
    };
    let resources = Memory {
        files: BTreeMap::from([
            ("picture.png".into(), png(&picture(false))),
            ("mirrored.png".into(), png(&picture(true))),
        ]),
        ..Memory::default()
    };
    let mut outputs = run(request, model, &resources, None, &mut Quiet).unwrap();
    outputs.remove(0)
}

fn latent(output: &Output) -> Vec<f32> {
    output.latent.to_data().iter::<f32>().collect()
}

#[test]
fn files_of_every_form_draw_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let base = base(dir.path());
    let golden = Golden::adapters_control();
    for path in written(dir.path()) {
        let model = open(&base, vec![path.clone()]).unwrap();
        let output = drawn(&model, &asks(vec![control()]));
        let far = closeness(&latent(&output), golden.values("plain/latent"));
        assert!(far < 1e-3, "{}: {far}", path.display());
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let pair = format!(
            "ControlNet 0: \"Module: none, Model: {name}, Weight: 1, Resize Mode: Just Resize, Guidance Start: 0, \
             Guidance End: 1, Pixel Perfect: True, Control Mode: Balanced\""
        );
        assert!(output.infotext.contains(&pair), "{}", output.infotext);
    }
    // One network for two pictures is read once.
    let [file, ..] = written(&dir.path().join("again"));
    let model = open(&base, vec![file.clone(), file]).unwrap();
    assert_eq!(model.controls.len(), 1);
    assert_eq!(
        model.control(0).unwrap().name,
        model.control(1).unwrap().name
    );
}

/// A file of tensors in f16.
fn write(path: &Path, tensors: &[(String, Vec<usize>, Vec<f32>)]) {
    let infos: Vec<TensorInfo> = tensors
        .iter()
        .map(|(name, shape, _)| TensorInfo {
            name: name.clone(),
            dtype: Dtype::F16,
            shape: shape.clone(),
        })
        .collect();
    let values: HashMap<&str, &Vec<f32>> = tensors
        .iter()
        .map(|(name, _, values)| (name.as_str(), values))
        .collect();
    safetensors::<Error>(path, &infos, &BTreeMap::new(), Existing::Replace, |info| {
        let bytes = values[info.name.as_str()].iter();
        let bytes = bytes.flat_map(|v| half::f16::from_f32(*v).to_le_bytes());
        Ok(bytes.collect::<Vec<u8>>().into())
    })
    .unwrap();
}

/// The oracle's Control-LoRA under its original names: products for the weights of the denoiser's way down, with `prefix` before
/// every name. `inherited`: biases and norms are in it too, as they are in the denoiser.
fn control_lora(prefix: &str, inherited: bool) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let unet = tiny(4, scheduler()).unet.config().clone();
    let network = Network::ControlNet(ControlNetConfig::of(unet));
    let table = network.table(Scheme::Ldm);
    let mut all = vec![("lora_controlnet".to_owned(), vec![], vec![0.0])];
    for (name, shape) in network.parameters() {
        let theirs = format!("{prefix}{}", table.place(&name).unwrap().name);
        let count = |shape: &[usize]| shape.iter().product::<usize>();
        if name.starts_with("controlnet_") {
            let values = recipe::tensor(&format!("controlnet/{name}"), &shape, 0);
            all.push((theirs, shape, values));
        } else if name.ends_with("weight") && shape.len() > 1 {
            let [ours, theirs] = [&name, &theirs].map(|name| name.strip_suffix(".weight").unwrap());
            let ones = vec![1; shape.len() - 2];
            let up = recipe::tensor(&format!("control_lora/{ours}.up"), &[shape[0], 2], 0);
            let up = up.into_iter().map(|v| v / 2.0).collect();
            all.push((
                format!("{theirs}.up"),
                [vec![shape[0], 2], ones].concat(),
                up,
            ));
            let inputs = count(&shape[1..]);
            let down = recipe::tensor(&format!("control_lora/{ours}.down"), &[2, inputs], 0);
            all.push((format!("{theirs}.down"), [&[2], &shape[1..]].concat(), down));
        } else if inherited {
            let values = recipe::tensor(&format!("unet/{name}"), &shape, 0);
            all.push((theirs, shape, values));
        }
    }
    all
}

#[test]
fn changes_of_the_denoiser() {
    let dir = tempfile::tempdir().unwrap();
    let base = base(dir.path());
    let golden = Golden::adapters_control();
    let at = |name: &str| dir.path().join(name);
    for (name, inherited) in [("whole.safetensors", true), ("less.safetensors", false)] {
        write(&at(name), &control_lora("", inherited));
        let model = open(&base, vec![at(name)]).unwrap();
        let output = drawn(&model, &asks(vec![control()]));
        let far = closeness(&latent(&output), golden.values("control_lora/latent"));
        assert!(far < 1e-3, "{name}: {far}");
    }
    // Differences of 0 draw what products of 0 draw.
    let mut silent = control_lora("", false);
    for (name, _, values) in &mut silent {
        if name.ends_with(".up") {
            values.fill(0.0);
        }
    }
    write(&at("silent.safetensors"), &silent);
    let unet = tiny(4, scheduler()).unet.config().clone();
    let network = Network::ControlNet(ControlNetConfig::of(unet));
    let table = network.table(Scheme::Ldm);
    let mut differences = vec![("difference".to_owned(), vec![], vec![0.0])];
    for (name, shape) in network.parameters() {
        let values = match name.starts_with("controlnet_") {
            true => recipe::tensor(&format!("controlnet/{name}"), &shape, 0),
            false => vec![0.0; shape.iter().product()],
        };
        let theirs = format!("control_model.{}", table.place(&name).unwrap().name);
        differences.push((theirs, shape, values));
    }
    write(&at("difference.safetensors"), &differences);
    let [silent, differences] = ["silent.safetensors", "difference.safetensors"].map(|name| {
        let model = open(&base, vec![at(name)]).unwrap();
        latent(&drawn(&model, &asks(vec![control()])))
    });
    assert_eq!(silent, differences);

    // Of another rank, and of another denoiser.
    let mut bent = control_lora("", true);
    let (_, shape, values) = bent
        .iter_mut()
        .find(|(name, ..)| name.ends_with("attn1.to_q.up"))
        .unwrap();
    (shape[1], *values) = (3, vec![0.0; shape[0] * 3]);
    write(&at("bent.safetensors"), &bent);
    let words = open(&base, vec![at("bent.safetensors")]).err().unwrap();
    assert!(
        words.contains("attn1.to_q.up") && words.contains("ControlNet"),
        "{words}"
    );
    let mut more = control_lora("", true);
    more.push((
        "input_blocks.40.0.in_layers.2.up".into(),
        vec![2, 2],
        vec![0.0; 4],
    ));
    write(&at("more.safetensors"), &more);
    let words = open(&base, vec![at("more.safetensors")]).err().unwrap();
    assert!(
        words.contains("input_blocks.40.0.in_layers.2.up"),
        "{words}"
    );
}

/// The picture of a request, in its place the one that is started from, and another in the second pass.
#[test]
fn pictures_of_requests() {
    let model = model(&["controlnet"]);
    let first = drawn(&model, &asks(vec![control()]));
    let mirrored = Control {
        image: Some("mirrored.png".into()),
        ..control()
    };
    let other = drawn(&model, &asks(vec![mirrored]));
    assert!(closeness(&latent(&other), &latent(&first)) > 1e-2);

    let started = |image| Request {
        start: GivenPicture {
            image: Some("mirrored.png".into()),
            ..GivenPicture::default()
        },
        ..asks(vec![Control { image, ..control() }])
    };
    let by_default = drawn(&model, &started(None));
    let named = drawn(&model, &started(Some("mirrored.png".into())));
    assert_eq!(latent(&by_default), latent(&named));

    let second = |hires_image| Request {
        compat: Compat::A1111,
        hires: Some(Hires::default()),
        ..asks(vec![Control {
            hires_image,
            ..control()
        }])
    };
    let same = drawn(&model, &second(None));
    let other = drawn(&model, &second(Some("mirrored.png".into())));
    assert_eq!(
        same.picture.size(),
        Size {
            width: 128,
            height: 128
        }
    );
    assert!(closeness(&latent(&other), &latent(&same)) > 1e-3);
}

/// Without guidance there is no negative prompt, and a mode that leaves it out draws what falling factors draw.
#[test]
fn without_guidance_the_prompt_is_alone() {
    let model = model(&["controlnet"]);
    let ask = |mode| Request {
        guidance: GuidanceOptions {
            scale: 1.0,
            ..GuidanceOptions::default()
        },
        ..asks(vec![Control { mode, ..control() }])
    };
    let [prompt, control] =
        [ControlMode::Prompt, ControlMode::Control].map(|mode| latent(&drawn(&model, &ask(mode))));
    assert_eq!(prompt, control);
}

/// A batch is held to its picture as each of its pictures alone is.
#[test]
fn a_batch_is_held_as_one_is() {
    let model = model(&["controlnet"]);
    let ask = |seed, batch_size| Request {
        seed: Some(seed),
        batch_size,
        ..asks(vec![Control {
            mode: ControlMode::Guess,
            ..control()
        }])
    };
    let resources = |request: &Request| drawn(&model, request);
    let alone = resources(&ask(43, 1));
    let hints = Hints {
        held: vec![held(false)],
        ..Hints::default()
    };
    let both = drawing::draw_with(&model, &ask(42, 2), None, Some(&hints));
    let second = &both.latent[both.latent.len() / 2..];
    assert_eq!(second, latent(&alone), "bit for bit");
}

#[test]
fn what_does_not_fit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let base = base(dir.path());
    let [file, ..] = written(dir.path());
    let refused = |path: &Path| open(&base, vec![path.to_owned()]).expect_err("refused");
    let at = |name: &str| dir.path().join(name);

    let other = at("other.safetensors");
    let mut unet = tiny(4, scheduler()).unet.config().clone();
    unet.context = Some(768);
    let config = Network::ControlNet(ControlNetConfig::of(unet));
    let shapes: HashMap<String, Vec<usize>> = config.parameters().into_iter().collect();
    let zeros = &mut |_: Role, name: &str| Ok(vec![0; 2 * shapes[name].iter().product::<usize>()]);
    write_file(
        &other,
        Target::Safetensors,
        &named(config),
        Existing::Refuse,
        zeros,
    )
    .unwrap();
    let words = refused(&other);
    for word in [
        "control",
        "ControlNet for Stable Diffusion 1.x",
        "width 768",
        "width 48",
    ] {
        assert!(words.contains(word), "{word}: {words}");
    }

    let unknown = at("unknown.safetensors");
    changed(&file, &unknown, |name| {
        Some(name.replace("middle_block_out.0.bias", "middle_block_out.7.bias"))
    });
    let words = refused(&unknown);
    for word in [
        "ControlNet",
        "control_model.middle_block_out.0.bias",
        "middle_block_out.7.bias",
    ] {
        assert!(words.contains(word), "{word}: {words}");
    }

    let missing = at("missing.safetensors");
    changed(&file, &missing, |name| {
        (!name.contains("zero_convs.3")).then(|| name.to_owned())
    });
    assert!(refused(&missing).contains("zero_convs.3.0.weight"));

    let words = refused(&base);
    assert!(words.contains("there is no ControlNet in it"), "{words}");

    let bytes = std::fs::read(&file).unwrap();
    let truncated = at("truncated.safetensors");
    std::fs::write(&truncated, &bytes[..bytes.len() - 100]).unwrap();
    assert!(refused(&truncated).contains("truncated.safetensors"));

    let poisoned = at("nan.safetensors");
    let mut bytes = bytes;
    let end = bytes.len();
    bytes[end - 2..].copy_from_slice(&half::f16::NAN.to_le_bytes());
    std::fs::write(&poisoned, bytes).unwrap();
    let words = refused(&poisoned);
    assert!(
        words.contains("NaN") && words.contains("control_model."),
        "{words}"
    );

    // A request for a network that the model was not opened with.
    let model = open(&base, Vec::new()).unwrap();
    let error = run(
        &asks(vec![control()]),
        &model,
        &Disk::default(),
        None,
        &mut Quiet,
    );
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("ModelFiles::controls")
    );
}
