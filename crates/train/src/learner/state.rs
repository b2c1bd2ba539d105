//! A learner's state under names, and what another run or model begins with.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};
use latent_models::parameters;

use super::like::Like;
use super::{Learner, Slot, copy};
use crate::optimiser::Memory;
use crate::{Error, Optimiser, StateReader, StateWriter};

impl<M: Module> Learner<M> {
    /// Writes everything under names that begin with `prefix`.
    pub fn save(&self, prefix: &str, out: &mut StateWriter) {
        for (slot, (value, _)) in self.slots.iter().zip(self.flat_parameters()) {
            let mut put = |part: &str, x: &Tensor<1>| {
                out.flat(
                    format!("{prefix}/{part}/{}", slot.name),
                    &slot.shape,
                    x.clone(),
                );
            };
            put("weights", &value);
            if let Some(average) = &slot.average {
                put("average", average);
            }
            let parts = self.settings.optimiser.memory().iter();
            for ((part, _), memory) in parts.zip(&slot.memory) {
                put(part, &memory.numbers());
            }
        }
        out.number(&format!("{prefix}/updates"), &self.updates);
        out.number(&format!("{prefix}/seen"), &self.seen);
    }

    /// Takes back what [`save`](Self::save) wrote under that prefix.
    ///
    /// # Errors
    /// A state of another network or optimiser.
    pub fn restore(&mut self, prefix: &str, from: &mut StateReader) -> Result<(), Error> {
        self.updates = from.number(&format!("{prefix}/updates"))?;
        self.seen = from.number(&format!("{prefix}/seen"))?;
        self.load(prefix, from, Take::All)
    }

    /// Begins with the weights, averaged ones where there are, of what another run wrote under that prefix.
    ///
    /// # Errors
    /// A state of another network.
    pub fn begin_from(&mut self, prefix: &str, from: &mut StateReader) -> Result<(), Error> {
        self.load(prefix, from, Take::Weights)
    }

    /// Begins with the weights of `module`, which are f32 and on a device with autodiff, in the place of its own.
    ///
    /// # Errors
    /// Another network: the first parameter that only one of them has, or has in that shape.
    pub fn begin_with(&mut self, module: M) -> Result<(), Error> {
        let (own, given) = (parameters(self.module()), parameters(&module));
        let alone = |these: &[(String, Vec<usize>)], those: &[(String, Vec<usize>)]| {
            let alone = these.iter().find(|one| !those.contains(one));
            alone.map(|(name, shape)| format!("{name} {shape:?}"))
        };
        if let Some(found) = alone(&given, &own).or_else(|| alone(&own, &given)) {
            let expected =
                "a model of the very network that [model] describes, with that parameter in both";
            return Err(Error::setting("begin_from", found, expected));
        }
        *self = Self::new(module, self.settings);
        Ok(())
    }

    fn load(&mut self, prefix: &str, from: &mut StateReader, take: Take) -> Result<(), Error> {
        struct Loader<'a> {
            prefix: &'a str,
            from: &'a mut StateReader,
            slots: std::slice::IterMut<'a, Slot>,
            optimiser: Optimiser,
            take: Take,
            error: Option<Error>,
        }
        impl Loader<'_> {
            fn parameter<const D: usize>(
                &mut self,
                param: Param<Tensor<D>>,
            ) -> Result<Param<Tensor<D>>, Error> {
                let Some(slot) = self.slots.next() else {
                    return Ok(param);
                };
                let prefix = self.prefix;
                let name = |part: &str| format!("{prefix}/{part}/{}", slot.name);
                let device = param.val().device().inner();
                let count: usize = slot.shape.iter().product();
                let from = &mut *self.from;
                let averaged = from.has(&name("average"));
                let parts = self.optimiser.memory();
                // A parameter that never had a gradient has nothing remembered.
                let remembered = parts.iter().any(|(part, _)| from.has(&name(part)));
                let mut flat = |part: &str| -> Result<Tensor<1>, Error> {
                    let values = from.values(&name(part), &slot.shape)?;
                    Ok(Tensor::from_data(TensorData::new(values, [count]), &device))
                };
                if self.take == Take::Weights {
                    let weights = flat(if averaged { "average" } else { "weights" })?;
                    if slot.average.is_some() {
                        slot.average = Some(copy(weights.clone()));
                    }
                    return Ok(param.map(|tensor| Like::of(&tensor).tensor(weights)));
                }
                let weights = flat("weights")?;
                if slot.average.is_some() {
                    slot.average = Some(flat("average")?);
                }
                slot.memory.clear();
                for (part, code) in parts.iter().filter(|_| remembered) {
                    slot.memory.push(Memory::new(flat(part)?, *code));
                }
                slot.gradient = None;
                Ok(param.map(|tensor| Like::of(&tensor).tensor(weights)))
            }
        }
        impl ModuleMapper for Loader<'_> {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                if self.error.is_some() {
                    return param;
                }
                let kept = param.clone();
                self.parameter(param).unwrap_or_else(|error| {
                    self.error = Some(error);
                    kept
                })
            }
        }
        self.weight = 0.0;
        let mut loader = Loader {
            prefix,
            from,
            slots: self.slots.iter_mut(),
            optimiser: self.settings.optimiser,
            take,
            error: None,
        };
        self.module = self.module.take().map(|module| module.map(&mut loader));
        loader.error.map_or(Ok(()), Err)
    }
}

/// What is read of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Take {
    /// Everything.
    All,
    /// What another run begins with.
    Weights,
}
