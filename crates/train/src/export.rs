//! A trained network as a part of a published folder.

use std::collections::HashMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use latent_checkpoint::convert::NamedPart;
use latent_checkpoint::{Dtype, Network, Role};
use latent_models::parameters;

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
