//! `latent preprocess`.

use latent_pipeline::{
    picture::{
        Picture,
        files::{Format, check_writable, read_bytes},
        metadata::Metadata,
    },
    preprocess::SoftEdge,
    request::Name,
};
use serde_json::json;

use crate::{
    args::PreprocessArgs,
    failure::{Failure, OK},
};

/// Runs the command.
///
/// # Errors
/// A picture that cannot be read, a setting that the kind does not have, a file that cannot be written.
pub fn preprocess(args: &PreprocessArgs, json: bool) -> Result<u8, Failure> {
    let preprocess = args.preprocess();
    preprocess.validate()?;
    if args.weights.is_some() && !preprocess.needs_network() {
        return Err(Failure::input(format!(
            "--weights is of softedge, and {} has no network: leave it out",
            args.kind
        )));
    }
    let format = Format::of_path(&args.output)?;
    if args.quality.is_some() && format != Format::Jpeg {
        return Err(Failure::input(format!(
            "--quality is of JPEG files, and {} is none: leave it out",
            args.output.display()
        )));
    }
    check_writable(&args.output, args.overwrite)?;
    let name = args.picture.display().to_string();
    let picture = Picture::decode(&name, &read_bytes(&args.picture)?)?;
    let network = args.weights.as_deref().map(SoftEdge::open).transpose()?;
    let made = preprocess.run(&picture, network.as_ref())?;
    let quality = args.quality.unwrap_or(95);
    made.write(&args.output, quality, &Metadata::default(), args.overwrite)?;
    let size = made.size();
    match json {
        true => println!(
            "{}",
            json!({"event": "picture", "path": Name::from(args.output.as_path()), "kind": args.kind.to_string(),
                   "width": size.width, "height": size.height})
        ),
        false => println!("{}  ({}, {size})", args.output.display(), args.kind),
    }
    Ok(OK)
}
