//! Trained networks as a published folder, and as a part of one.

use std::collections::HashMap;
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use latent_checkpoint::convert::NamedPart;
use latent_checkpoint::{Dtype, Network, Role};
use latent_models::parameters;

use crate::{Error, Task};

/// Writes a task's model into `part`, then puts it into the place of the older one at `path`.
///
/// # Errors
/// Files that cannot be written; the older one is there still.
pub(crate) fn replace(
    task: &dyn Task,
    classes: &[String],
    path: &Path,
    part: &Path,
) -> Result<(), Error> {
    remove(part)?;
    std::fs::create_dir(part).map_err(Error::io(part, "create"))?;
    let written = task.export(part).and_then(|()| name_classes(part, classes));
    if let Err(error) = written {
        // A half one would keep a full disk full.
        let _ = remove(part);
        return Err(error);
    }
    remove(path)?;
    std::fs::rename(part, path).map_err(Error::io(path, "rename the finished model to it"))
}

/// Writes the names of classes, in the order of their numbers, into the folder of a model that was trained with a condition
/// of its own: `conditioner/classes.txt`.
///
/// # Errors
/// A file that cannot be written.
pub fn name_classes(model: &Path, classes: &[String]) -> Result<(), Error> {
    let path = model.join(latent_conditions::CLASSES);
    if classes.is_empty() || !path.parent().is_some_and(Path::is_dir) {
        return Ok(());
    }
    let lines: String = classes
        .iter()
        .map(|name| name.replace(['\n', '\r'], " ") + "\n")
        .collect();
    std::fs::write(&path, lines).map_err(Error::io(&path, "write"))
}

fn remove(folder: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(folder, "remove")(e)),
        _ => Ok(()),
    }
}

/// One network to write, in f32, and the bytes of its parameters by name.
pub(crate) fn part<M: Module>(
    role: Role,
    config: Network,
    module: &M,
) -> (NamedPart, HashMap<String, Vec<u8>>) {
    struct Reader {
        names: std::vec::IntoIter<(String, Vec<usize>)>,
        found: HashMap<String, Vec<u8>>,
    }
    impl ModuleVisitor for Reader {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some((name, _)) = self.names.next() {
                let numbers = param.val().into_data();
                let bytes = numbers.iter::<f32>().flat_map(f32::to_le_bytes).collect();
                self.found.insert(name, bytes);
            }
        }
    }
    let mut reader = Reader {
        names: parameters(module).into_iter(),
        found: HashMap::new(),
    };
    module.visit(&mut reader);
    let dtypes = reader.found.keys().map(|name| (name.clone(), Dtype::F32));
    let named = NamedPart {
        role,
        config,
        dtypes: dtypes.collect(),
    };
    (named, reader.found)
}
