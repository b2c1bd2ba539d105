//! Pictures that a drawing is held to: pipelines of the tiny model against diffusers and A1111's modes (`goldens`), networks
//! from files (`files`), what requests say (`requests`), and T2I-Adapters of style (`styles`).

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/drawing.rs"]
mod drawing;
#[path = "../common/golden.rs"]
mod golden;

mod files;
mod goldens;
mod requests;
mod styles;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device, TensorData};
use latent_checkpoint::convert::{NamedPart, Target, write_file, write_folder};
use latent_checkpoint::file::write::{Existing, safetensors};
use latent_checkpoint::tiny::write_tiny;
use latent_checkpoint::{Dtype, Error, Network, Role, TensorFile, TensorInfo};
use latent_models::{ControlNet, ControlNetConfig, ParameterError, UNetConfig};
use latent_pipeline::beside::Hints;
use latent_pipeline::control::{Held, Style};
use latent_pipeline::draw::Canvas;
use latent_pipeline::model::NetworkFiles;
use latent_pipeline::picture::Picture;
use latent_pipeline::request::{Control, Name, ResizeMode};
use latent_pipeline::resources::Memory;
use latent_pipeline::{Model, ModelFiles, Output, Quiet, Request, run};
use latent_testkit::recipe;

use common::{scheduler, tiny};

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

/// What the tiny model's denoiser is made of.
fn unet() -> UNetConfig {
    let model = tiny(4, scheduler());
    let unet = model.denoiser.config().unet();
    unet.expect("it is a U-Net").clone()
}

fn model(components: &[&str]) -> Model {
    let mut model = tiny(4, scheduler());
    for component in components {
        let network = controlnet(component, unet());
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
        styles: Style::all(model, &held).expect("tokens"),
        held,
        ..Hints::default()
    };
    drawing::draw_with(model, request, canvas, Some(&hints))
}

/// A tiny checkpoint.
fn base(dir: &Path) -> PathBuf {
    let weights = &mut |component: &str, name: &str, shape: &[usize]| {
        recipe::tensor_f16(&format!("{component}/{name}"), shape, 0)
    };
    write_tiny(dir, 4, weights).unwrap().safetensors
}

fn named(config: Network) -> latent_checkpoint::convert::Model {
    named_as(Role::CONTROLNET, config)
}

fn named_as(role: Role, config: Network) -> latent_checkpoint::convert::Model {
    let parameters = config.parameters();
    let part = NamedPart {
        role,
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
    let config = Network::ControlNet(ControlNetConfig::of(unet()));
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

fn open(model: &Path, controls: Vec<impl Into<NetworkFiles>>) -> Result<Model, String> {
    let files = ModelFiles {
        controls: controls.into_iter().map(Into::into).collect(),
        ..ModelFiles::from(model.to_owned())
    };
    let opened = Model::open(&files, &Device::flex(), DType::F32, &mut |_, _, _| {});
    opened.map(|(model, _)| model).map_err(|e| e.to_string())
}

fn drawn(model: &Model, request: &Request) -> Output {
    drawn_with(model, request, &[])
}

/// The same with more pictures that can be named.
fn drawn_with(model: &Model, request: &Request, more: &[(&str, &Picture)]) -> Output {
    let png = |picture: &Picture| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.png");
        picture.write(&path, 90, &Default::default(), true).unwrap();
        std::fs::read(path).unwrap()
    };
    let (plain, mirrored) = (picture(false), picture(true));
    let own = [("picture.png", &plain), ("mirrored.png", &mirrored)];
    let all = own.iter().chain(more);
    let resources = Memory {
        files: all
            .map(|(name, picture)| (Name::from(*name), png(picture)))
            .collect(),
        ..Memory::default()
    };
    let mut outputs = run(request, model, &resources, None, &mut Quiet).unwrap();
    outputs.remove(0)
}

fn latent(output: &Output) -> Vec<f32> {
    output.latent.to_data().iter::<f32>().collect()
}
