//! The parameters of a file's network, without the network.

use std::collections::HashMap;
use std::ops::Deref;

use burn::tensor::{DType, Device};

use super::{Assignment, LoadOptions, Plan, plan, read};
use crate::detect::Checkpoint;
use crate::networks::Role;
use crate::report::ModelError;

/// Parameters of one network, read one at a time as f32, of a checkpoint that is borrowed or shared.
#[derive(Debug)]
pub struct Parameters<C> {
    checkpoint: C,
    role: Role,
    plan: Plan,
    by_name: HashMap<String, usize>,
}

impl Checkpoint {
    /// The parameters of the network that plays `role`.
    ///
    /// # Errors
    /// When there is none, or the file does not fit it exactly.
    pub fn parameters(&self, role: Role) -> Result<Parameters<&Self>, ModelError> {
        Parameters::of(self, role)
    }
}

impl<C: Deref<Target = Checkpoint>> Parameters<C> {
    /// Those of the network that plays `role`.
    ///
    /// # Errors
    /// When there is none, or the file does not fit it exactly.
    pub fn of(checkpoint: C, role: Role) -> Result<Self, ModelError> {
        let plan = plan(&checkpoint, checkpoint.part(role)?, false)?;
        let names = plan.assignments.iter().enumerate();
        Ok(Self {
            by_name: names.map(|(i, own)| (own.parameter.clone(), i)).collect(),
            checkpoint,
            role,
            plan,
        })
    }

    /// The checkpoint.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// What the network is for.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Published names and shapes, in the network's order.
    pub fn list(&self) -> impl Iterator<Item = (&str, &[usize])> {
        let each = self.plan.assignments.iter();
        each.map(|own| (own.parameter.as_str(), own.shape.as_slice()))
    }

    /// The shape of a parameter; `None` where the network has none of that name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        Some(&self.get(name)?.shape)
    }

    fn get(&self, name: &str) -> Option<&Assignment> {
        self.plan.assignments.get(*self.by_name.get(name)?)
    }

    /// The values of a parameter, row-major; `None` where the network has none of that name.
    ///
    /// # Errors
    /// Values that cannot be read or are no numbers.
    pub fn read(&self, name: &str) -> Result<Option<Vec<f32>>, ModelError> {
        let Some(own) = self.get(name) else {
            return Ok(None);
        };
        let options = LoadOptions::new(Device::flex(), DType::F32);
        let part = self.checkpoint.part(self.role)?;
        let data = read(self.checkpoint.weights_of(part), own, &options, None)?;
        Ok(Some(data.iter::<f32>().collect()))
    }
}
