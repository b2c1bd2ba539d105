//! AdamW over the parameters of a module.

use std::any::Any;
use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::{Gradients, Tensor};
use latent_ops::{self as ops, AdamWStep, Moments};

/// The optimiser with its memory of every parameter. Parameters are f32.
#[derive(Debug)]
pub struct AdamW {
    settings: AdamWStep,
    /// [`Moments`] of each parameter's rank.
    moments: HashMap<ParamId, Box<dyn Any + Send>>,
}

impl AdamW {
    /// Learning rate `rate`; otherwise torch's defaults: β = (0.9, 0.999), ε = 1e-8, decay 0.01.
    pub fn new(rate: f64) -> Self {
        Self {
            settings: AdamWStep {
                rate,
                betas: [0.9, 0.999],
                eps: 1e-8,
                decay: 1e-2,
                step: 0,
            },
            moments: HashMap::new(),
        }
    }

    /// The module after one step. Parameters without a gradient stay as they are.
    pub fn step<M: Module>(&mut self, module: M, gradients: Gradients) -> M {
        self.settings.step += 1;
        module.map(&mut Stepper {
            optimiser: self,
            gradients,
        })
    }
}

struct Stepper<'a> {
    optimiser: &'a mut AdamW,
    gradients: Gradients,
}

impl ModuleMapper for Stepper<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let id = param.id;
        let AdamW { settings, moments } = &mut *self.optimiser;
        let gradients = &mut self.gradients;
        param.map(|tensor| {
            let Some(gradient) = tensor.grad_remove(gradients) else {
                return tensor;
            };
            let wants = tensor.is_require_grad();
            let parameter = tensor.inner();
            let known = moments
                .remove(&id)
                .and_then(|m| m.downcast::<Moments<D>>().ok());
            let before = known.map_or_else(|| Moments::zeros(&parameter), |m| *m);
            let (parameter, after) = ops::adamw(settings, parameter, gradient, before);
            moments.insert(id, Box::new(after));
            Tensor::from_inner(parameter).set_require_grad(wants)
        })
    }
}
