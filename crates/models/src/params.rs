//! Parameters by their published names: listing, loading, conversion.
//!
//! A parameter's path is the Rust field path with two translations, so that it equals the name in
//! the published diffusers or transformers file: the variant of an `enum` adds no segment, and
//! everything else is a struct field, a `Vec` index or a tuple index (`to_out.0` is a `Vec` of one,
//! `ff.net.2` the third of a tuple).

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Tensor, TensorData};

use latent_ops as ops;

use crate::error::ParameterError;
use crate::exchange::module_of;

/// The dotted path of the parameter or layer being visited.
#[derive(Debug, Default)]
pub struct Path {
    segments: Vec<String>,
}

impl Path {
    /// One segment longer.
    pub(crate) fn within<T>(&mut self, name: &str, then: impl FnOnce(&mut Self) -> T) -> T {
        self.segments.push(name.to_owned());
        let result = then(self);
        self.segments.pop();
        result
    }

    pub(crate) fn enter(&mut self, name: &str, container: &str) {
        if !container.starts_with("Enum:") {
            self.segments.push(name.to_owned());
        }
    }

    pub(crate) fn exit(&mut self, container: &str) {
        if !container.starts_with("Enum:") {
            self.segments.pop();
        }
    }

    pub(crate) fn join(&self) -> String {
        self.segments.join(".")
    }
}

struct Lister {
    path: Path,
    found: Vec<(String, Vec<usize>)>,
}

impl ModuleVisitor for Lister {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found
            .push((self.path.join(), param.lazy_shape().to_vec()));
    }
}

/// Every parameter's published name and shape, in the order of the module's fields. Allocates no
/// tensor.
pub fn parameters<M: Module>(module: &M) -> Vec<(String, Vec<usize>)> {
    let mut lister = Lister {
        path: Path::default(),
        found: Vec::new(),
    };
    module.visit(&mut lister);
    lister.found
}

/// How many numbers a module's parameters hold. Allocates no tensor.
pub fn parameter_count<M: Module>(module: &M) -> usize {
    let parameters = parameters(module);
    parameters
        .iter()
        .map(|(_, shape)| shape.iter().product::<usize>())
        .sum()
}

/// Where [`load`] gets a parameter's values, by published name and shape.
pub type Fetch<'a, E> = dyn FnMut(&str, &[usize]) -> Result<TensorData, E> + 'a;

/// Gives every parameter the values that `fetch` returns for its published name and shape, stored
/// as `dtype`.
///
/// Parameters are fetched one at a time in the order of [`parameters`], so a caller can count
/// progress and no more than one tensor exists twice at any time.
///
/// # Errors
///
/// The first error of `fetch`, or a [`ParameterError`] where the values have another shape or
/// cannot be converted.
pub fn load<M: Module, E: From<ParameterError>>(
    module: M,
    fetch: &mut Fetch<'_, E>,
    dtype: DType,
) -> Result<M, E> {
    load_some(module, &|_| true, fetch, dtype)
}

/// [`load`] of the modules for which `chosen` holds, by their dotted path. The others stay without storage.
///
/// # Errors
///
/// As [`load`]'s.
pub fn load_some<M: Module, E: From<ParameterError>>(
    module: M,
    chosen: &dyn Fn(&str) -> bool,
    fetch: &mut Fetch<'_, E>,
    dtype: DType,
) -> Result<M, E> {
    let mut loader = Loader {
        path: Path::default(),
        chosen,
        fetch,
        dtype,
        error: None,
    };
    let module = module.map(&mut loader);
    match loader.error {
        Some(error) => Err(error),
        None => Ok(module),
    }
}

struct Loader<'a, E> {
    path: Path,
    chosen: &'a dyn Fn(&str) -> bool,
    fetch: &'a mut Fetch<'a, E>,
    dtype: DType,
    error: Option<E>,
}

impl<E: From<ParameterError>> Loader<'_, E> {
    fn fetch(&mut self, shape: &[usize]) -> Result<TensorData, E> {
        let path = self.path.join();
        let data = (self.fetch)(&path, shape)?;
        if data.shape().as_slice() != shape {
            return Err(E::from(ParameterError::Shape {
                path,
                expected: shape.to_vec(),
                found: data.shape().to_vec(),
            }));
        }
        data.try_cast(self.dtype).map_err(|reason| {
            E::from(ParameterError::Convert {
                path,
                dtype: format!("{:?}", self.dtype),
                reason: reason.to_string(),
            })
        })
    }
}

impl<E: From<ParameterError>> ModuleMapper for Loader<'_, E> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.error.is_some() || !(self.chosen)(module_of(&self.path.join())) {
            return param;
        }
        match self.fetch(&param.lazy_shape().to_vec()) {
            Ok(data) => {
                let tensor = Tensor::from_data(data, (&param.lazy_device(), self.dtype));
                let id = param.id;
                param.transform_for_load(tensor, id)
            }
            Err(error) => {
                self.error = Some(error);
                param
            }
        }
    }
}

struct Caster {
    dtype: DType,
}

impl ModuleMapper for Caster {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let dtype = self.dtype;
        param.map(|tensor| ops::cast(tensor, dtype))
    }
}

/// The module with every parameter stored as `dtype`, one tensor converted at a time.
pub fn cast<M: Module>(module: M, dtype: DType) -> M {
    module.map(&mut Caster { dtype })
}
