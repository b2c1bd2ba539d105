//! Pictures as prompts: pipelines of the tiny model against diffusers' IP-Adapters (golden `adapters_image`), adapters from
//! files, and what is refused.

mod common;
#[path = "common/drawing.rs"]
mod drawing;
#[path = "common/golden.rs"]
mod golden;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device, TensorData};
use latent_checkpoint::convert::{NamedPart, write_folder};
use latent_checkpoint::file::write::{Existing, safetensors};
use latent_checkpoint::tiny::write_tiny;
use latent_checkpoint::{Dtype, Error, Network, Role, TensorInfo};
use latent_models::clip::Activation;
use latent_models::ip_adapter::{IpAdapterConfig, ProjectionConfig};
use latent_models::{ClipVisionConfig, Form, ParameterError};
use latent_pipeline::beside::Hints;
use latent_pipeline::model::NetworkFiles;
use latent_pipeline::picture::Picture;
use latent_pipeline::request::{ResizeMode, ShownPictures, WeightType};
use latent_pipeline::resources::Memory;
use latent_pipeline::shown::Shown;
use latent_pipeline::{Model, ModelFiles, Quiet, Request, run};
use latent_testkit::{Golden, closeness, recipe};

use common::{scheduler, tiny};
use golden::check;

/// Names of tensors with their shapes.
type Shapes = Vec<(String, Vec<usize>)>;

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

/// An adapter's name in a file, where attentions of pixels on themselves are counted too.
fn file_name(path: &str) -> String {
    match path
        .strip_prefix("ip_adapter.")
        .and_then(|rest| rest.split_once('.'))
    {
        Some((number, rest)) => {
            let number: usize = number.parse().unwrap();
            format!("ip_adapter.{}.{rest}", 2 * number + 1)
        }
        None => path.to_owned(),
    }
}

fn config(model: &Model, plus: bool) -> IpAdapterConfig {
    let unet = model.denoiser.config().unet().expect("a U-Net");
    let [down, middle, up] = unet.attentions_on_context();
    IpAdapterConfig {
        projection: match plus {
            false => ProjectionConfig::Linear {
                input: 24,
                tokens: 4,
            },
            true => ProjectionConfig::Resampler {
                input: 32,
                width: 48,
                tokens: 16,
                layers: 4,
                heads: 1,
            },
        },
        context: unet.context.unwrap(),
        attentions: [down, up, middle].concat(),
    }
}

fn filled<M: burn::module::Module>(component: &str, network: M) -> M {
    let fetch = &mut |path: &str, shape: &[usize]| {
        let values = recipe::tensor(&format!("{component}/{}", file_name(path)), shape, 0);
        Ok::<_, ParameterError>(TensorData::new(values, shape.to_vec()))
    };
    latent_models::load(network, fetch, DType::F32).expect("recipe weights fit")
}

fn model(plus: bool) -> Model {
    let model = tiny(4, scheduler());
    let component = if plus { "ip_plus" } else { "ip_plain" };
    let adapter = filled(component, config(&model, plus).init(&Device::flex()));
    let encoder = filled("image_encoder", vision().init(&Device::flex()));
    model
        .with_ip_adapter(component, adapter, encoder)
        .expect("they go together")
}

fn png(picture: &Picture) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.png");
    picture.write(&path, 90, &Default::default(), true).unwrap();
    std::fs::read(path).unwrap()
}

/// A picture of 64×64 in columns of grey.
fn grey(of: impl Fn(usize) -> u8) -> Picture {
    let pixels = (0..64 * 64).flat_map(|i| [of(i % 64); 3]).collect();
    Picture::new(64, 64, pixels).unwrap()
}

fn photos() -> Memory {
    let photo = Picture::new(61, 97, recipe::picture(61, 97)).unwrap();
    let other = Picture::new(64, 64, recipe::picture(64, 64)).unwrap();
    Memory {
        files: BTreeMap::from([
            ("photo.png".into(), png(&photo)),
            ("other.png".into(), png(&other)),
            ("white.png".into(), png(&grey(|_| 255))),
            ("black.png".into(), png(&grey(|_| 0))),
            (
                "half.png".into(),
                png(&grey(|x| if x < 32 { 255 } else { 0 })),
            ),
        ]),
        ..Memory::default()
    }
}

fn asks(shown: ShownPictures) -> Request {
    Request {
        width: 64,
        ip_adapter: vec![shown],
        ..golden::request("DDIM")
    }
}

fn shows(weight: f64) -> ShownPictures {
    ShownPictures {
        weight,
        ..ShownPictures::new("ip".into(), vec!["photo.png".into()])
    }
}

fn draw(model: &Model, request: &Request) -> drawing::Drawn {
    let hints = Hints {
        shown: Shown::all(request, model, &photos()).expect("pictures"),
        ..Hints::default()
    };
    drawing::draw_with(model, request, None, Some(&hints))
}

#[test]
fn pipelines_of_diffusers() {
    let golden = Golden::adapters_image();
    for (name, plus) in [("plain", false), ("plus", true)] {
        let model = model(plus);
        for weight in [1.0, 0.5] {
            let drawn = draw(&model, &asks(shows(weight)));
            check(&golden, &format!("{name}_{weight:.1}"), &drawn);
        }
        let packed = model.packed(Form::Plain);
        check(
            &golden,
            &format!("{name}_1.0"),
            &draw(&packed, &asks(shows(1.0))),
        );
    }
}

/// The middle of a picture as CLIP takes it.
#[test]
fn pictures_as_the_encoder_takes_them() {
    let golden = Golden::adapters_image();
    let model = model(false);
    let encoder = &model.ip_adapter(0).unwrap().encoder;
    for (width, height) in [(61, 97), (56, 56)] {
        let picture = Picture::new(width, height, recipe::picture(width, height)).unwrap();
        let pixels = encoder.pixels(&picture, ResizeMode::Crop).into_data();
        let pixels: Vec<f32> = pixels.iter::<f32>().collect();
        let step = (pixels.len() / 2048).max(1);
        let got: Vec<f32> = pixels.into_iter().step_by(step).collect();
        let far = closeness(
            &got,
            golden.values(&format!("clip_pixels/{width}x{height}_56")),
        );
        assert!(far < 1e-3, "{width}×{height}: {far}");
    }
}

#[test]
fn several_pictures_and_part_of_the_run() {
    let model = model(false);
    let whole = draw(&model, &asks(shows(1.0)));
    let both = ShownPictures {
        images: vec!["photo.png".into(), "other.png".into()],
        ..shows(1.0)
    };
    let both = draw(&model, &asks(both));
    assert!(closeness(&both.latent, &whole.latent) > 1e-3);
    let half = draw(
        &model,
        &asks(ShownPictures {
            end: 0.5,
            ..shows(1.0)
        }),
    );
    assert!(closeness(&half.latent, &whole.latent) > 1e-3);
    let never = draw(
        &model,
        &asks(ShownPictures {
            end: 0.0,
            ..shows(1.0)
        }),
    );
    let plain = drawing::draw(
        &tiny(4, scheduler()),
        &Request {
            ip_adapter: Vec::new(),
            ..asks(shows(1.0))
        },
        None,
    );
    assert_eq!(never.latent, plain.latent);
    // Of two pictures of a batch each is as it is alone.
    let ask = |seed, batch_size| Request {
        seed: Some(seed),
        batch_size,
        ..asks(shows(1.0))
    };
    let two = draw(&model, &ask(42, 2));
    assert_eq!(two.latent[..two.latent.len() / 2], whole.latent);
}

/// Where a mask is black nothing is seen; types of weights differ by part of the network.
#[test]
fn masks_and_types_of_weights() {
    let model = model(false);
    let whole = draw(&model, &asks(shows(1.0)));
    let plain = drawing::draw(
        &tiny(4, scheduler()),
        &Request {
            ip_adapter: Vec::new(),
            ..asks(shows(1.0))
        },
        None,
    );
    let with = |mask: &str| {
        draw(
            &model,
            &asks(ShownPictures {
                mask: Some(mask.into()),
                ..shows(1.0)
            }),
        )
    };
    assert!(closeness(&with("white.png").latent, &whole.latent) < 1e-5);
    assert_eq!(with("black.png").latent, plain.latent);
    assert!(closeness(&with("half.png").latent, &whole.latent) > 1e-4);
    assert!(closeness(&with("half.png").latent, &plain.latent) > 1e-4);
    let typed = |weight_type| {
        draw(
            &model,
            &asks(ShownPictures {
                weight_type,
                ..shows(1.0)
            }),
        )
        .latent
    };
    assert_eq!(typed(WeightType::Linear), whole.latent);
    let style = typed(WeightType::Style);
    let composition = typed(WeightType::Composition);
    assert!(closeness(&style, &composition) > 1e-4);
    assert!(closeness(&style, &whole.latent) > 1e-4);
}

/// A file of these tensors.
fn write(path: &Path, tensors: &[(String, Vec<usize>)], component: &str) {
    let infos: Vec<TensorInfo> = tensors
        .iter()
        .map(|(name, shape)| TensorInfo {
            name: name.clone(),
            dtype: Dtype::F16,
            shape: shape.clone(),
        })
        .collect();
    safetensors::<Error>(path, &infos, &BTreeMap::new(), Existing::Replace, |info| {
        let values = recipe::tensor_f16(&format!("{component}/{}", info.name), &info.shape, 0);
        Ok(values
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect::<Vec<u8>>()
            .into())
    })
    .unwrap();
}

fn tensors(config: &IpAdapterConfig) -> Vec<(String, Vec<usize>)> {
    let parameters = Network::IpAdapter(config.clone()).parameters();
    let parameters = parameters.into_iter();
    parameters
        .map(|(name, shape)| (file_name(&name), shape))
        .collect()
}

fn encoder(folder: &Path) {
    let config = Network::ImageEncoder(vision());
    let parameters = config.parameters();
    let part = NamedPart {
        role: Role::IMAGE_ENCODER,
        dtypes: parameters
            .iter()
            .map(|(name, _)| (name.clone(), Dtype::F16))
            .collect(),
        config,
    };
    let model = latent_checkpoint::convert::Model {
        parts: vec![part],
        ..Default::default()
    };
    let shapes: HashMap<String, Vec<usize>> = parameters.into_iter().collect();
    let values = &mut |_: Role, name: &str| {
        let values = recipe::tensor_f16(&format!("image_encoder/{name}"), &shapes[name], 0);
        Ok(values.iter().flat_map(|v| v.to_le_bytes()).collect())
    };
    write_folder(folder, &model, Existing::Refuse, values).unwrap();
}

fn open(base: &Path, adapter: PathBuf, encoder: Option<PathBuf>) -> Result<Model, String> {
    let files = ModelFiles {
        ip_adapters: vec![NetworkFiles {
            network: adapter,
            encoder,
        }],
        ..ModelFiles::from(base.to_owned())
    };
    let opened = Model::open(&files, &Device::flex(), DType::F32, &mut |_, _, _| {});
    opened.map(|(model, _)| model).map_err(|e| e.to_string())
}

#[test]
fn adapters_from_files_and_what_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let weights = &mut |component: &str, name: &str, shape: &[usize]| {
        recipe::tensor_f16(&format!("{component}/{name}"), shape, 0)
    };
    let base = write_tiny(dir.path(), 4, weights).unwrap().safetensors;
    let golden = Golden::adapters_image();
    let plain = config(&tiny(4, scheduler()), false);
    let file = dir.path().join("ip-adapter_tiny.safetensors");
    write(&file, &tensors(&plain), "ip_plain");

    // No encoder is named, and none lies beside it.
    let words = open(&base, file.clone(), None).err().unwrap();
    for word in [
        "ip_adapter.encoder",
        "embeddings of 24 numbers",
        "image_encoder",
    ] {
        assert!(words.contains(word), "{word}: {words}");
    }
    encoder(&dir.path().join("image_encoder"));
    let model = open(&base, file.clone(), None).unwrap();
    let outputs = run(&asks(shows(1.0)), &model, &photos(), None, &mut Quiet).unwrap();
    let latent: Vec<f32> = outputs[0].latent.to_data().iter::<f32>().collect();
    assert!(closeness(&latent, golden.values("plain_1.0/latent")) < 1e-3);
    let pair = "ControlNet 0: \"Module: ip-adapter-auto, Model: ip-adapter_tiny, Weight: 1, ";
    assert!(
        outputs[0].infotext.contains(pair),
        "{}",
        outputs[0].infotext
    );

    let changed = |name: &str, change: &dyn Fn(&mut Shapes)| {
        let mut tensors = tensors(&plain);
        change(&mut tensors);
        let path = dir.path().join(name);
        write(&path, &tensors, "ip_plain");
        open(&base, path, None).err().unwrap()
    };
    let words = changed("xl.safetensors", &|all| {
        for (name, shape) in all {
            if name.starts_with("ip_adapter.") {
                shape[1] = 2048;
            } else if name == "image_proj.proj.weight" || name == "image_proj.proj.bias" {
                shape[0] = 4 * 2048;
            } else {
                shape[0] = 2048;
            }
        }
    });
    for word in [
        "IP-Adapter for SDXL",
        "tokens of width 2048",
        "tokens of width 48",
    ] {
        assert!(words.contains(word), "{word}: {words}");
    }
    let words = changed("bigG.safetensors", &|all| {
        for (name, shape) in all {
            if name == "image_proj.proj.weight" {
                shape[1] = 1280;
            }
        }
    });
    assert!(
        words.contains("ViT-bigG/14") && words.contains("24 numbers"),
        "{words}"
    );
    let words = changed("unknown.safetensors", &|all| {
        all.push(("image_proj.extra.weight".into(), vec![2, 2]));
    });
    assert!(words.contains("image_proj.extra.weight"), "{words}");
    let words = changed("less.safetensors", &|all| {
        all.retain(|(name, _)| !name.starts_with("ip_adapter.5."));
    });
    assert!(words.contains("2×32"), "{words}");
    let words = changed("face.safetensors", &|all| {
        all.retain(|(name, _)| !name.starts_with("image_proj.proj"));
        all.push(("image_proj.proj.0.weight".into(), vec![96, 48]));
        all.push(("image_proj.proj.2.weight".into(), vec![192, 96]));
    });
    assert!(words.contains("FaceID"), "{words}");
    let words = open(&base, base.clone(), None).err().unwrap();
    assert!(words.contains("there is no IP-Adapter in it"), "{words}");

    let words = run(
        &asks(shows(1.0)),
        &tiny(4, scheduler()),
        &photos(),
        None,
        &mut Quiet,
    );
    assert!(
        words
            .unwrap_err()
            .to_string()
            .contains("ModelFiles::ip_adapters")
    );
}
