//! Some layers of a network in the place of its own: what a changed adapter asks for, without reading the rest again.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Tensor, TensorData};

use crate::layers::{Conv2d, Linear};
use crate::params::Path;
use crate::walk::{Layer, Layers};

/// A layer by itself, packed or not.
enum Held {
    Linear(Linear),
    Conv(Conv2d),
}

/// `network` with the modules of `from` for which `chosen` holds, by their dotted path, in the place of its own. The two must be of one
/// configuration; of `from` nothing else is read.
pub fn exchanged<N: Module + Layers>(
    mut network: N,
    mut from: N,
    chosen: &dyn Fn(&str) -> bool,
) -> N {
    let mut layers = HashMap::new();
    from.each_layer(&mut |path, layer| {
        if chosen(path) {
            let held = match layer {
                Layer::Linear(layer) => Held::Linear(layer.clone()),
                Layer::Conv(layer) => Held::Conv(layer.clone()),
            };
            layers.insert(path.to_owned(), held);
        }
    });
    // Norms and the like, whose parameters are all there is of them.
    let mut others = Others {
        path: Path::default(),
        wanted: &|module| chosen(module) && !layers.contains_key(module),
        found: HashMap::new(),
    };
    from.visit(&mut others);
    let found = others.found;
    network.each_layer(&mut |path, layer| match (layers.remove(path), layer) {
        (Some(Held::Linear(new)), Layer::Linear(old)) => *old = new,
        (Some(Held::Conv(new)), Layer::Conv(old)) => *old = new,
        _ => {}
    });
    network.map(&mut Replace {
        path: Path::default(),
        found,
    })
}

struct Others<'a> {
    path: Path,
    wanted: &'a dyn Fn(&str) -> bool,
    found: HashMap<String, (TensorData, DType)>,
}

impl ModuleVisitor for Others<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.join();
        if (self.wanted)(module_of(&name)) {
            let values = param.val();
            let dtype = values.dtype();
            self.found.insert(name, (values.into_data(), dtype));
        }
    }
}

struct Replace {
    path: Path,
    found: HashMap<String, (TensorData, DType)>,
}

impl ModuleMapper for Replace {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.found.remove(&self.path.join()) {
            Some((data, dtype)) => {
                let tensor = Tensor::from_data(data, (&param.lazy_device(), dtype));
                let id = param.id;
                param.transform_for_load(tensor, id)
            }
            None => param,
        }
    }
}

/// The module that owns a parameter.
pub(crate) fn module_of(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(module, _)| module)
}
