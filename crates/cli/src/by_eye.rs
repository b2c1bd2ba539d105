//! `latent by-eye`: whether a stranger can name what a model draws.

use latent_eval::{
    Error,
    by_eye::{self, ByEye},
};
use serde_json::json;

use crate::{
    args::{ByEyeArgs, ByEyeCommand, DrawArgs, ScoreArgs},
    data,
    eval::Watch,
    failure::{Failure, INTERRUPTED, OK},
    job, machine, model,
};

/// Runs `latent by-eye`.
///
/// # Errors
/// A model or data that cannot be used, words that fit no key, files that cannot be written.
pub fn by_eye(args: &ByEyeArgs, json: bool) -> Result<u8, Failure> {
    match &args.command {
        ByEyeCommand::Draw(args) => draw(args, json),
        ByEyeCommand::Score(args) => score(args, json),
    }
}

fn draw(args: &DrawArgs, json: bool) -> Result<u8, Failure> {
    let test = ByEye {
        model: model::files(args.model.as_deref())?,
        prompts: job::prompts(&args.prompts_from)?,
        data: data::config(&args.data)?,
        things_from: args.things_from.clone(),
        store: data::store_options(),
        things: data::things(&args.things)?,
        real: args.real,
        size: args.size,
        steps: args.steps,
        cfg_scale: args.cfg_scale,
        seed: args.seed,
        out: args.out.clone(),
    };
    machine::set_threads(args.threads)?;
    let device = machine::device(&args.device)?;
    let mut watch = Watch::new(json)?;
    let outcome = by_eye::write(&test, &device, &mut watch);
    watch.bar.finish_and_clear();
    let pictures = match outcome {
        Err(Error::Stopped) => {
            eprintln!("stopped; nothing was written");
            return Ok(INTERRUPTED);
        }
        outcome => outcome?,
    };
    let out = args.out.display();
    match json {
        true => println!("{}", json!({"folder": args.out, "pictures": pictures})),
        false => {
            println!(
                "{pictures} pictures to be named: {out}/pictures; what they are: {out}/key.json"
            );
            println!("then: latent by-eye score {out} WORDS, a line for each number: 17 cat");
        }
    }
    Ok(OK)
}

fn score(args: &ScoreArgs, json: bool) -> Result<u8, Failure> {
    let score = by_eye::score(&args.folder, &args.words)?;
    match json {
        true => println!("{}", serde_json::to_value(&score).map_err(Failure::run)?),
        false => {
            print!("{score}");
            println!("\nwords and score: {}/score.json", args.folder.display());
        }
    }
    Ok(OK)
}
