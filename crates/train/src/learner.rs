//! A network and all that training it needs.

mod gradients;
mod like;
mod state;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Gradients, Tensor, TensorData};
use latent_models::{cast, parameters};
use latent_ops as ops;
use serde::{Deserialize, Serialize};

pub use gradients::GradientList;
use like::Like;

use crate::optimiser::{Memory, Stride};
use crate::{Ema, Error, Optimiser, Report, Update};

/// The type that a network computes in. Its weights, gradients and averages are f32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// bfloat16.
    Bf16,
}

/// How a network is trained.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LearnerSettings {
    /// How parameters move.
    pub optimiser: Optimiser,
    /// The largest norm of all gradients together; larger ones are scaled down to it.
    pub clip: Option<f64>,
    /// The average of the weights, where one is kept.
    pub ema: Option<Ema>,
    /// The type to compute in.
    pub precision: Precision,
    /// Whether what is computed inside the parts of a network is computed again in the backward pass, rather than kept.
    pub activation_checkpointing: bool,
}

/// A network that learns: its weights, their mean gradient so far in this step, what the optimiser
/// remembers, and their moving average.
#[derive(Debug)]
pub struct Learner<M: Module> {
    /// Absent only while [`apply`](Self::apply) works.
    module: Option<M>,
    settings: LearnerSettings,
    /// One for each parameter, in the order of the module's fields.
    slots: Vec<Slot>,
    /// How many pictures the gradients are of.
    weight: f64,
    updates: u64,
    /// Pictures seen in all steps.
    seen: f64,
}

/// What is kept of a parameter, as flat f32 tensors that record no gradients.
#[derive(Debug, Default)]
struct Slot {
    name: String,
    shape: Vec<usize>,
    gradient: Option<Tensor<1>>,
    memory: Vec<Memory>,
    average: Option<Tensor<1>>,
}

fn flat<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    let count = x.shape().num_elements();
    x.inner().reshape([count])
}

/// A tensor with memory of its own: weights are changed in place.
fn copy(x: Tensor<1>) -> Tensor<1> {
    x.zeros_like() + x
}

impl<M: Module> Learner<M> {
    /// A learner of `module`, whose parameters are f32, filled, and on a device with autodiff.
    pub fn new(module: M, settings: LearnerSettings) -> Self {
        let slot = |(name, shape)| Slot {
            name,
            shape,
            ..Slot::default()
        };
        let mut learner = Self {
            slots: parameters(&module).into_iter().map(slot).collect(),
            module: Some(module),
            settings,
            weight: 0.0,
            updates: 0,
            seen: 0.0,
        };
        if settings.ema.is_some() {
            let trained = learner.flat_parameters();
            for (slot, (value, trains)) in learner.slots.iter_mut().zip(trained) {
                slot.average = trains.then(|| copy(value));
            }
        }
        learner
    }

    /// The network with its f32 weights, which record gradients.
    pub fn module(&self) -> &M {
        self.module
            .as_ref()
            .expect("a learner has its module between calls")
    }

    /// The same, to change what is not learnt by gradients: running statistics, a dead code.
    pub fn module_mut(&mut self) -> &mut M {
        self.module
            .as_mut()
            .expect("a learner has its module between calls")
    }

    /// The network in the type to compute in. The backward pass through it gives the gradients of
    /// [`module`](Self::module)'s weights.
    pub fn network(&self) -> M {
        self.computing(self.module().clone())
    }

    fn computing(&self, module: M) -> M {
        match self.settings.precision {
            Precision::F32 => module,
            Precision::Bf16 => cast(module, DType::BF16),
        }
    }

    /// The network with its averaged weights, or its weights where no average is kept; f32, records no
    /// gradients. What is not trained (running statistics) is as it is.
    pub fn averaged(&self) -> M {
        struct Averages<'a>(std::slice::Iter<'a, Slot>);
        impl ModuleMapper for Averages<'_> {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                match self.0.next().and_then(|slot| slot.average.clone()) {
                    Some(average) => param.map(|tensor| average.reshape(tensor.dims())),
                    None => param,
                }
            }
        }
        self.module().valid().map(&mut Averages(self.slots.iter()))
    }

    /// How it is trained.
    pub fn settings(&self) -> &LearnerSettings {
        &self.settings
    }

    /// How many steps have been taken.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// The numbers that are trained.
    pub fn parameter_count(&self) -> usize {
        self.slots
            .iter()
            .map(|slot| slot.shape.iter().product::<usize>())
            .sum()
    }

    /// A network of the same weights whose backward pass knows nothing of [`module`](Self::module)'s, so that
    /// several can run at the same time, each on its device (that records no gradients itself); and what
    /// [`network`](Self::network) makes of it.
    pub fn replica(&self, device: &Device) -> (M, M) {
        struct Leaves<'a>(&'a Device);
        impl ModuleMapper for Leaves<'_> {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                param.map(|tensor| {
                    let like = Like::of(&tensor);
                    like.tensor(flat(tensor).to_device(self.0))
                })
            }
        }
        let leaves = self.module().clone().map(&mut Leaves(device));
        let network = self.computing(leaves.clone());
        (leaves, network)
    }

    /// Every parameter's numbers and whether it is trained.
    fn flat_parameters(&self) -> Vec<(Tensor<1>, bool)> {
        struct Reader(Vec<(Tensor<1>, bool)>);
        impl ModuleVisitor for Reader {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let value = param.val();
                let trained = value.is_require_grad();
                self.0.push((flat(value), trained));
            }
        }
        let mut reader = Reader(Vec::new());
        self.module().visit(&mut reader);
        reader.0
    }

    /// Takes in the gradients of a loss that is a mean over `weight` pictures.
    pub fn accumulate(&mut self, gradients: Gradients, weight: f64) {
        let gradients = GradientList::of(self.module(), &mut [gradients]);
        self.accumulate_list(gradients, weight);
    }

    /// The same, for gradients that were taken out of a [`replica`](Self::replica)'s.
    pub fn accumulate_list(&mut self, gradients: GradientList, weight: f64) {
        self.weight += weight;
        let new = weight / self.weight;
        let old = 1.0 - new;
        for (slot, gradient) in self.slots.iter_mut().zip(gradients.0) {
            slot.gradient = match (slot.gradient.take(), gradient) {
                (Some(a), Some(b)) => Some(ops::blend(a, old, b, new)),
                (Some(a), None) => Some(a * old),
                // An earlier part of the step had no gradient here, which is one of zeros.
                (None, Some(b)) if old > 0.0 => Some(b * new),
                (None, gradient) => gradient,
            };
        }
    }

    /// Ends a step: averages the gradients over the peers, clips them, moves the weights and their
    /// average, and forgets the gradients. Without gradients nothing happens.
    ///
    /// The report holds `gradient_norm`, from before the clipping.
    ///
    /// # Errors
    /// [`Error::NotFinite`] with the first parameter whose gradient is not finite; the weights are as
    /// they were.
    pub fn apply(&mut self, update: &Update<'_>) -> Result<Report, Error> {
        let weight = self.share(update);
        if weight == 0.0 {
            return Ok(Report::new());
        }
        let moved = self
            .slots
            .iter()
            .filter_map(|slot| Some((slot, slot.gradient.clone()?)));
        let (moved, gradients): (Vec<&Slot>, Vec<_>) = moved.unzip();
        let squares = ops::square_sums(gradients);
        if let Some(at) = squares.iter().position(|squares| !squares.is_finite()) {
            return Err(Error::NotFinite {
                step: update.step.number,
                what: format!("the gradient of `{}`", moved[at].name),
            });
        }
        let total: f64 = squares.iter().sum();
        let norm = total.sqrt();
        self.updates += 1;
        self.seen += weight;
        let ema = self.settings.ema;
        let stepper = &mut Stepper {
            optimiser: self.settings.optimiser,
            stride: Stride {
                rate: update.rate,
                scale: self
                    .settings
                    .clip
                    .map_or(1.0, |most| (most / norm).min(1.0)),
                count: self.updates,
            },
            decay: ema.map(|ema| ema.decay(self.updates, weight, self.seen)),
            slots: self.slots.iter_mut(),
        };
        self.module = self.module.take().map(|module| module.map(stepper));
        Ok(Report::new().with("gradient_norm", norm))
    }

    /// Averages the gradients over the peers and gives the number of pictures of all.
    fn share(&mut self, update: &Update<'_>) -> f64 {
        let own = std::mem::take(&mut self.weight);
        if update.peers.size() == 1 {
            return own;
        }
        // Whether any process has a gradient for the parameter, and how many pictures there are.
        let mut known: Vec<f64> = self
            .slots
            .iter()
            .map(|slot| f64::from(u8::from(slot.gradient.is_some())))
            .chain([own])
            .collect();
        update.peers.sum_wide(&mut known);
        let all = known.pop().unwrap_or_default();
        let devices = self.module().devices();
        let device = devices
            .first()
            .map_or_else(Device::flex, |d| d.clone().inner());
        for (slot, known) in self.slots.iter_mut().zip(known) {
            if known == 0.0 {
                continue;
            }
            let count = slot.shape.iter().product();
            let mut numbers = match slot.gradient.take() {
                Some(gradient) => host(gradient * (own / all)),
                None => vec![0.0; count],
            };
            update.peers.sum(&mut numbers);
            let data = TensorData::new(numbers, [count]);
            slot.gradient = Some(Tensor::from_data(data, &device));
        }
        all
    }
}

/// A tensor's numbers.
fn host(x: Tensor<1>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}

/// Moves every parameter that has a gradient.
struct Stepper<'a> {
    optimiser: Optimiser,
    stride: Stride,
    decay: Option<f64>,
    slots: std::slice::IterMut<'a, Slot>,
}

impl ModuleMapper for Stepper<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(slot) = self.slots.next() else {
            return param;
        };
        let gradient = slot.gradient.take();
        let average = slot.average.take();
        param.map(|tensor| {
            let like = Like::of(&tensor);
            let mut value = flat(tensor);
            if let Some(gradient) = gradient {
                value = self
                    .optimiser
                    .step(&self.stride, value, gradient, &mut slot.memory);
            }
            if let (Some(average), Some(decay)) = (average, self.decay) {
                slot.average = Some(ops::blend(average, decay, value.clone(), 1.0 - decay));
            }
            like.tensor(value)
        })
    }
}
