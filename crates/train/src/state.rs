//! The state of a task as tensors and numbers under names, and the file they lie in.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};
use latent_checkpoint::file::write::{self, Existing};
use latent_checkpoint::{Dtype, TensorFile, TensorInfo};
use latent_models::parameters;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::Error;

/// Collects a state. Tensors are shared with the task, not copied, so it is written before the next step.
#[derive(Debug, Default)]
pub struct StateWriter {
    tensors: Vec<(TensorInfo, Tensor<1>)>,
    numbers: Map<String, Value>,
}

impl StateWriter {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an f32 tensor.
    pub fn tensor<const D: usize>(&mut self, name: impl Into<String>, x: Tensor<D>) {
        let shape = x.dims();
        self.flat(
            name,
            &shape,
            x.inner().reshape([shape.iter().product::<usize>()]),
        );
    }

    /// Adds the f32 numbers of a tensor of `shape`.
    pub fn flat(&mut self, name: impl Into<String>, shape: &[usize], x: Tensor<1>) {
        let info = TensorInfo {
            name: name.into(),
            dtype: Dtype::F32,
            shape: shape.to_vec(),
        };
        self.tensors.push((info, x));
    }

    /// Adds every parameter of a module, of f32, under its published name.
    pub fn module<M: Module>(&mut self, module: &M) {
        struct Collector<'a> {
            names: std::vec::IntoIter<(String, Vec<usize>)>,
            out: &'a mut StateWriter,
        }
        impl ModuleVisitor for Collector<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if let Some((name, _)) = self.names.next() {
                    self.out.tensor(name, param.val());
                }
            }
        }
        module.visit(&mut Collector {
            names: parameters(module).into_iter(),
            out: self,
        });
    }

    /// Adds a counter or anything else that JSON holds without loss.
    pub fn number(&mut self, name: &str, value: &impl Serialize) {
        let value = serde_json::to_value(value).expect("a state's numbers are JSON");
        self.numbers.insert(name.to_owned(), value);
    }

    /// The numbers.
    pub fn numbers(&self) -> &Map<String, Value> {
        &self.numbers
    }

    /// Writes the tensors as a safetensors file that is not there yet.
    ///
    /// # Errors
    /// A file that cannot be written, or a name that was given twice.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let infos: Vec<TensorInfo> = self.tensors.iter().map(|(info, _)| info.clone()).collect();
        let mut tensors = self.tensors.iter();
        write::safetensors(path, &infos, &BTreeMap::new(), Existing::Refuse, |_| {
            let numbers = tensors.next().map(|(_, x)| x.clone().into_data());
            let bytes = numbers
                .iter()
                .flat_map(|data| data.iter::<f32>())
                .flat_map(f32::to_le_bytes)
                .collect();
            Ok(Cow::Owned(bytes))
        })
    }
}

/// Gives back a state that was written. What is in it and is not asked for is an error too.
#[derive(Debug)]
pub struct StateReader {
    file: TensorFile,
    numbers: Map<String, Value>,
    unread: BTreeSet<String>,
}

impl StateReader {
    /// Opens the tensors of `path`, to be read with `numbers`.
    ///
    /// # Errors
    /// A file that is no safetensors file, or is cut off.
    pub fn open(path: &Path, numbers: Map<String, Value>) -> Result<Self, Error> {
        let file = TensorFile::open(path)?;
        let names = file.tensors().iter().map(|info| info.name.clone());
        Ok(Self {
            unread: names.chain(numbers.keys().cloned()).collect(),
            file,
            numbers,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    fn problem(&self, problem: String) -> Error {
        Error::State {
            path: PathBuf::from(self.path()),
            problem,
        }
    }

    /// Whether there is a tensor of that name.
    pub fn has(&self, name: &str) -> bool {
        self.file.get(name).is_some()
    }

    /// The f32 tensor of that name.
    ///
    /// # Errors
    /// One that is missing or has another shape.
    pub fn tensor<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
        device: &Device,
    ) -> Result<Tensor<D>, Error> {
        let values = self.values(name, &shape)?;
        Ok(Tensor::from_data(TensorData::new(values, shape), device))
    }

    /// The numbers of the f32 tensor of that name, row-major.
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor).
    pub fn values(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let Some(info) = self.file.get(name) else {
            return Err(self.problem(format!(
                "no tensor `{name}` of shape {shape:?}: the state is of another model or optimiser"
            )));
        };
        if info.shape != shape || info.dtype != Dtype::F32 {
            return Err(self.problem(format!(
                "tensor `{name}` is {} {:?}, and F32 {shape:?} is wanted: the state is of another model",
                info.dtype, info.shape
            )));
        }
        let bytes = self.file.bytes(name)?;
        let (words, _) = bytes.as_chunks::<4>();
        let values = words.iter().map(|&word| f32::from_le_bytes(word)).collect();
        self.unread.remove(name);
        Ok(values)
    }

    /// The number of that name.
    ///
    /// # Errors
    /// One that is missing or of another kind.
    pub fn number<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, Error> {
        let Some(value) = self.numbers.get(name) else {
            return Err(self.problem(format!("no number `{name}`: the state is of another task")));
        };
        let value = serde_json::from_value(value.clone())
            .map_err(|e| self.problem(format!("number `{name}`: {e}")))?;
        self.unread.remove(name);
        Ok(value)
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Names that nobody asked for.
    pub fn finish(self) -> Result<(), Error> {
        match self.unread.first() {
            None => Ok(()),
            Some(name) => Err(self.problem(format!(
                "`{name}` and {} more are not of what is trained here: the state is of another model or task",
                self.unread.len() - 1
            ))),
        }
    }
}
