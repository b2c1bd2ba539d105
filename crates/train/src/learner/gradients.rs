//! Gradients of a network's parameters, out of burn's containers.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor};

use super::flat;

/// A gradient for each parameter that has one, in the order of the module's fields.
#[derive(Debug)]
pub struct GradientList(pub(super) Vec<Option<Tensor<1>>>);

impl GradientList {
    /// Those of a module's parameters, which are taken out of `gradients`: the sums over all backward passes.
    pub fn of<M: Module>(module: &M, gradients: &mut [Gradients]) -> Self {
        struct Collector<'a> {
            gradients: &'a mut [Gradients],
            list: Vec<Option<Tensor<1>>>,
        }
        impl ModuleVisitor for Collector<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let value = param.val();
                let each = self.gradients.iter_mut();
                let found = each.filter_map(|gradients| value.grad_remove(gradients));
                self.list.push(found.reduce(|a, b| a + b).map(flat));
            }
        }
        let mut collector = Collector {
            gradients,
            list: Vec::new(),
        };
        module.visit(&mut collector);
        Self(collector.list)
    }

    /// The same on another device, which records no gradients.
    #[must_use]
    pub fn moved_to(self, device: &Device) -> Self {
        let moved = |gradient: Tensor<1>| gradient.to_device(device);
        Self(self.0.into_iter().map(|g| g.map(moved)).collect())
    }
}
