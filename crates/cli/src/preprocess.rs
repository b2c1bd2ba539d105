//! `latent preprocess`.

use std::path::Path;

use latent_pipeline::{
    picture::{
        Picture,
        files::{Format, check_writable, read_bytes},
        metadata::Metadata,
    },
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
    let read = |name: &Name| Ok(read_bytes(Path::new(name.as_os_str()))?);
    let made = preprocess.run_with(&picture, &read)?;
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
