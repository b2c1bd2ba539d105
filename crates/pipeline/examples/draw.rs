//! Draws one picture with a checkpoint, from Rust: `cargo run --release -p latent-pipeline --example draw -- MODEL OUT.png`.

use std::{error::Error, ops::ControlFlow, path::PathBuf};

use burn::tensor::{DType, Device};
use latent_diffusion::Step;
use latent_pipeline::picture::metadata::Metadata;
use latent_pipeline::request::Compat;
use latent_pipeline::resources::Disk;
use latent_pipeline::{Hooks, Model, ModelFiles, Request, run};

/// What this program wants to hear of.
struct Progress;

impl Hooks for Progress {
    fn step(&mut self, step: &Step<'_>) -> ControlFlow<()> {
        eprintln!("step {} of {}", step.index + 1, step.total);
        // `ControlFlow::Break(())` would stop here and decode what there is.
        ControlFlow::Continue(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(model), Some(out)) = (arguments.next(), arguments.next()) else {
        return Err("usage: draw MODEL OUT.png".into());
    };

    let files = ModelFiles {
        model,
        ..ModelFiles::default()
    };
    let (model, _reports) = Model::open(&files, &Device::flex(), DType::F32, &mut |_, _, _| {})?;

    let request = Request {
        prompt: "a red apple on a table".to_owned(),
        negative_prompt: "blurry".to_owned(),
        sampler: "Euler a".to_owned(),
        steps: 8,
        width: 128,
        height: 128,
        seed: Some(42), // a library draws no random numbers that no argument gave
        compat: Compat::A1111,
        ..Request::default()
    };
    for output in run(&request, &model, &Disk::default(), None, &mut Progress)? {
        let metadata = Metadata {
            parameters: Some(output.infotext),
            request: Some(output.request.to_json()),
            ..Metadata::default()
        };
        output.picture.write(&out, 95, &metadata, false)?;
    }
    Ok(())
}
