//! LoRA and its kin against diffusers, PEFT and LyCORIS (goldens `adapters_lora`): every kind, every spelling, packed networks and
//! other number types; what does not fit is refused. Checkpoints merged with each other.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/drawing.rs"]
mod drawing;
mod files;
mod goldens;
mod made;
mod mixed;
mod plans;
mod prompts;
mod refusals;
mod steps;
mod use_;
mod xl;

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device, Tensor, TensorData};
use latent_checkpoint::adapter::Strengths;
use latent_checkpoint::tiny::{tiny_text_encoder, tiny_unet, write_tiny};
use latent_checkpoint::{Network, Role};
use latent_models::unet::{Alter, Extras};
use latent_models::{Form, Given, Input};
use latent_pipeline::conditioning::Encoding;
use latent_pipeline::embeddings::Named;
use latent_pipeline::model::{AdapterUse, Calls};
use latent_pipeline::resources::Disk;
use latent_pipeline::{Model, ModelFiles, Quiet, Request, run};
use latent_testkit::recipe;
use latent_text::{Dialect, WeightRule};

use made::{Adapter, Site, Values, kohya, sites, write};

const PROMPT: &str = "a red apple on a table";

/// A folder with the tiny model in it.
struct Place {
    dir: tempfile::TempDir,
    model: PathBuf,
    sites: Vec<Site>,
}

impl Place {
    fn new() -> Self {
        Self::with_channels(4)
    }

    /// `channels` is 4, or 9 for an inpainting model.
    fn with_channels(channels: usize) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let paths = write_tiny(dir.path(), channels, &mut |folder, name, shape| {
            recipe::tensor_f16(&format!("{folder}/{name}"), shape, 0)
        });
        let networks: [(Role, Network); 2] = [
            (Role::DENOISER, tiny_unet(4).into()),
            (Role::TEXT_ENCODER, tiny_text_encoder().into()),
        ];
        Self {
            model: paths.expect("a model").safetensors,
            sites: sites(&networks),
            dir,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file of these tensors.
    fn file(&self, name: &str, tensors: &[(String, Values)]) -> PathBuf {
        let path = self.path(name);
        write(&path, tensors, &[]);
        path
    }

    fn named(&self, name: &str) -> Adapter {
        plans::named(name, &self.sites)
    }

    /// The adapter of that name, as a file in kohya's names.
    fn kohya(&self, name: &str) -> PathBuf {
        self.file(&format!("{name}.safetensors"), &kohya(&self.named(name)))
    }

    fn open(
        &self,
        adapters: &[(&Path, Strengths)],
        dtype: DType,
    ) -> latent_pipeline::Result<Model> {
        open(&self.model, adapters, dtype)
    }

    fn model(&self, adapters: &[(&Path, Strengths)]) -> Model {
        self.open(adapters, DType::F32).expect("a model")
    }

    /// Why that file cannot be used.
    fn refused(&self, path: &Path) -> String {
        let opened = self.open(&[(path, 1.0.into())], DType::F32);
        opened.map(|_| ()).expect_err("a misfit").to_string()
    }
}

fn uses(adapters: &[(&Path, Strengths)]) -> Vec<AdapterUse> {
    let each = adapters.iter().map(|(path, strengths)| AdapterUse {
        name: path
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned(),
        path: path.to_path_buf(),
        strengths: strengths.clone(),
        calls: Calls::default(),
    });
    each.collect()
}

fn open(
    model: &Path,
    adapters: &[(&Path, Strengths)],
    dtype: DType,
) -> latent_pipeline::Result<Model> {
    let files = ModelFiles {
        adapters: uses(adapters),
        ..ModelFiles::from(model.to_owned())
    };
    let mut model = Model::open(&files, &Device::flex(), dtype, &mut |_, _, _| {})?.0;
    // As the oracle samples.
    model.scheduler = common::scheduler();
    Ok(model)
}

/// On the denoiser and on text encoders.
fn strengths(denoiser: f64, text: f64) -> Strengths {
    Strengths {
        denoiser,
        ..Strengths::from(text)
    }
}

fn tensor<const D: usize>(name: &str, shape: [usize; D]) -> Tensor<D> {
    let data = TensorData::new(recipe::normal(name, &shape), shape);
    Tensor::from_data(data, &Device::flex())
}

/// The one call of the denoiser that goldens are of.
fn probe(model: &Model) -> Vec<f32> {
    let unet = model.denoiser().expect("weights");
    let given = Given {
        context: Some(tensor("probe/context", [1, 77, 48])),
        ..Given::default()
    };
    let given = unet.prepare(given).expect("what it takes");
    let input = Input {
        x: tensor("probe/x", [1, 4, 8, 8]),
        t: Tensor::from_floats([501.0f32], &Device::flex()),
        given: &given,
        alter: &Alter::Nothing,
        watch: false,
        states: None,
        extras: Extras::default(),
    };
    let output = unet.run(input).x.into_data().convert::<f32>();
    output.iter::<f32>().collect()
}

/// The states of the first eight tokens.
fn text(model: &Model) -> Vec<f32> {
    let encoding = Encoding {
        dialect: Dialect::Diffusers,
        rule: WeightRule::None,
        skip: None,
        which: ["prompt", "prompt"],
        named: &Named::default(),
    };
    let states = model
        .encode_texts(&[[PROMPT; 2]], encoding)
        .expect("states");
    let states = states[0].states.to_data().convert::<f32>();
    let width = 48;
    states.iter::<f32>().take(8 * width).collect()
}

/// 64×64 in six steps, as diffusers draws it.
fn request() -> Request {
    Request {
        prompt: PROMPT.into(),
        negative_prompt: "blurry".into(),
        steps: 6,
        sampler: "DDIM".into(),
        seed: Some(42),
        width: 64,
        height: 64,
        compat: latent_pipeline::request::Compat::Diffusers,
        guidance: latent_pipeline::request::GuidanceOptions {
            scale: 7.5,
            ..Default::default()
        },
        ..Request::default()
    }
}

/// The latent of [`request`].
fn latent(model: &Model) -> Vec<f32> {
    let drawn = run(&request(), model, &Disk::default(), None, &mut Quiet).expect("a picture");
    drawn[0]
        .latent
        .to_data()
        .convert::<f32>()
        .iter::<f32>()
        .collect()
}

fn packed(model: Model, form: Form) -> Model {
    model.packed(form)
}
