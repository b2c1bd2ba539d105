//! A tiny autoencoder in two files, as its makers publish it: `taesd_encoder` and `taesd_decoder`, with plain indices for names.

use crate::file::{TensorFile, Weights};
use crate::report::ModelError;

const HALVES: [&str; 2] = ["encoder", "decoder"];

/// Which half of a tiny autoencoder a file is: 0 or 1 of [`HALVES`].
fn half(file: &TensorFile) -> Option<usize> {
    let has = |names: [&str; 2]| names.iter().all(|name| file.get(name).is_some());
    match (
        has(["0.weight", "1.conv.0.weight"]),
        has(["1.weight", "3.conv.0.weight"]),
    ) {
        (true, _) => Some(0),
        (false, true) if file.get("0.weight").is_none() => Some(1),
        _ => None,
    }
}

/// The tensors of a file; of half a tiny autoencoder those of both halves, the other taken from the file beside it.
pub(super) fn weights(file: TensorFile) -> Result<Weights, ModelError> {
    let Some(own) = half(&file) else {
        return Ok(file.into());
    };
    let (here, other) = (HALVES[own], HALVES[1 - own]);
    let path = file.path().to_owned();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(name.replace(here, other));
    if beside == path || !beside.is_file() {
        let problem = format!(
            "it is the {here} of a tiny autoencoder; put its {other} beside it, under the same name with `{other}` in \
             the place of `{here}`"
        );
        return Err(ModelError::Request { path, problem });
    }
    let beside = TensorFile::open(beside)?;
    let (encoder, decoder) = match own {
        0 => (file, beside),
        _ => (beside, file),
    };
    let named = vec![("encoder.", encoder), ("decoder.", decoder)];
    Ok(Weights::join_under(&path, named)?)
}
