//! What a request promises, through the public door: `run` on the tiny recipe model.
//!
//! Every sampler and profile gives a picture (`samplers`); a picture does not depend on its batch, on threads or on what
//! was drawn before it (`repeatable`); pictures, masks, sizes and second passes (`pictures`); strips and edges that
//! meet (`edges`); the prompt language and guidance act (`prompts`), and so do pictures that a model looks at (`images`);
//! settings that are said to do nothing do nothing, the others something (`effect`); what cannot be done is refused in
//! words (`refusals`); networks may be read when they are needed (`turns`), and changed as they are read (`patches`); every
//! published kind does what it is for (`kinds`).

#[path = "../common/mod.rs"]
mod common;

mod edges;
mod effect;
mod images;
mod kinds;
mod patches;
mod pictures;
mod prompts;
mod refusals;
mod repeatable;
mod resources;
mod samplers;
mod transparent;
mod turns;

use latent_pipeline::picture::Picture;
use latent_pipeline::picture::metadata::Metadata;
use latent_pipeline::request::{Compat, Name};
use latent_pipeline::resources::Disk;
use latent_pipeline::{Model, Output, Quiet, Request, run};

const PROFILES: [Compat; 3] = [Compat::A1111, Compat::ComfyUi, Compat::Diffusers];

fn model() -> Model {
    common::tiny(4, common::scheduler())
}

/// 64×64 in three steps.
fn request() -> Request {
    Request {
        prompt: "a red apple on a table".into(),
        negative_prompt: "blurry".into(),
        steps: 3,
        sampler: "Euler".into(),
        width: 64,
        height: 64,
        seed: Some(7),
        ..Request::default()
    }
}

fn draw(model: &Model, request: &Request) -> Vec<Output> {
    run(request, model, &Disk::default(), None, &mut Quiet)
        .unwrap_or_else(|e| panic!("{e}: {request:?}"))
}

fn one(model: &Model, request: &Request) -> Output {
    let mut outputs = draw(model, request);
    assert_eq!(outputs.len(), 1);
    outputs.remove(0)
}

fn values(output: &Output) -> Vec<f32> {
    output.latent.to_data().iter::<f32>().collect()
}

/// The bits of latent and picture.
fn bits(output: &Output) -> (Vec<u32>, Vec<u8>) {
    let latent = values(output).into_iter().map(f32::to_bits).collect();
    (latent, output.picture.rgb().to_vec())
}

fn differ(a: &Output, b: &Output) -> bool {
    a.picture.size() != b.picture.size() || a.picture.rgb() != b.picture.rgb()
}

/// A folder of pictures to start from.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn write(&self, name: &str, picture: &Picture) -> Name {
        let path = self.0.path().join(name);
        picture
            .write(&path, 90, &Metadata::default(), true)
            .expect("a file");
        path.into()
    }

    /// A gradient.
    fn picture(&self, width: usize, height: usize) -> Name {
        self.named("picture.png", width, height)
    }

    /// The same in a file of that name.
    fn named(&self, name: &str, width: usize, height: usize) -> Name {
        let pixel = |i: usize| {
            let (x, y) = (i % width, i / width);
            [x * 255 / width, y * 255 / height, (x * 7 + y * 3) % 256].map(|v| v as u8)
        };
        let rgb = (0..width * height).flat_map(pixel).collect();
        self.write(name, &Picture::new(width, height, rgb).expect("a picture"))
    }

    /// White in columns `from..to` of every row in the middle half, black elsewhere.
    fn mask(&self, width: usize, height: usize, from: usize, to: usize) -> Name {
        let rows = height / 4..height - height / 4;
        let white = |i: usize| (from..to).contains(&(i % width)) && rows.contains(&(i / width));
        let rgb = (0..width * height)
            .flat_map(|i| [if white(i) { 255 } else { 0 }; 3])
            .collect();
        self.write(
            "mask.png",
            &Picture::new(width, height, rgb).expect("a picture"),
        )
    }
}
