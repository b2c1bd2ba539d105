//! Networks that a report's folder keeps, each beside what it has been taught on.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{DType, TensorData};
use latent_models::load;
use latent_train::{StateReader, StateWriter};
use serde::{Serialize, de::DeserializeOwned};

use crate::Error;

/// What is said of the network `name` that `folder` keeps. `None` where there is none, or it is said in another form.
pub(crate) fn about<A: DeserializeOwned>(folder: &Path, name: &str) -> Option<A> {
    let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).ok()?;
    serde_json::from_str(&text).ok()
}

/// The weights that it keeps, in `network`, whose own are not read.
///
/// # Errors
/// Weights that are damaged, or of another network.
pub(crate) fn weights<M: Module>(folder: &Path, name: &str, network: M) -> Result<M, Error> {
    let path = folder.join(format!("{name}.safetensors"));
    let mut reader = StateReader::open(&path, Default::default())?;
    let fetch = &mut |name: &str, shape: &[usize]| {
        let values = reader.values(name, shape)?;
        Ok::<_, latent_train::Error>(TensorData::new(values, shape.to_vec()))
    };
    Ok(load(network, fetch, DType::F32)?)
}

/// Keeps a network in `folder`, in the place of what was there.
///
/// # Errors
/// Files that cannot be written.
pub(crate) fn keep<M: Module, A: Serialize>(
    folder: &Path,
    name: &str,
    network: &M,
    about: &A,
) -> Result<(), Error> {
    let said = folder.join(format!("{name}.json"));
    let weights = folder.join(format!("{name}.safetensors"));
    // Without its description a file of weights is not read, so an interrupted write does no harm.
    for path in [&said, &weights] {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(path, "replace")(e));
            }
            _ => {}
        }
    }
    let mut writer = StateWriter::new();
    writer.module(network);
    writer.write(&weights)?;
    let text = serde_json::to_string(about).unwrap_or_default();
    std::fs::write(&said, text).map_err(Error::io(&said, "write"))
}
