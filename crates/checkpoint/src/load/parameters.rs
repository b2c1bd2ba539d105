//! The parameters of a file's network, without the network.

use burn::tensor::{DType, Device};

use super::{Assignment, LoadOptions, Plan, plan, read};
use crate::detect::{Checkpoint, DetectedPart};
use crate::networks::Role;
use crate::report::ModelError;

/// Parameters of one network, read one at a time as f32.
#[derive(Debug)]
pub struct Parameters<'a> {
    checkpoint: &'a Checkpoint,
    part: &'a DetectedPart,
    plan: Plan,
}

impl Checkpoint {
    /// The parameters of the network that plays `role`.
    ///
    /// # Errors
    /// When there is none, or the file does not fit it exactly.
    pub fn parameters(&self, role: Role) -> Result<Parameters<'_>, ModelError> {
        let part = self.part(role)?;
        Ok(Parameters {
            checkpoint: self,
            part,
            plan: plan(self, part, false)?,
        })
    }
}

impl Parameters<'_> {
    /// Published names and shapes, in the network's order.
    pub fn list(&self) -> impl Iterator<Item = (&str, &[usize])> {
        let each = self.plan.assignments.iter();
        each.map(|own| (own.parameter.as_str(), own.shape.as_slice()))
    }

    /// The values of a parameter, row-major; `None` where the network has none of that name.
    ///
    /// # Errors
    /// Values that cannot be read or are no numbers.
    pub fn read(&self, name: &str) -> Result<Option<Vec<f32>>, ModelError> {
        let mut all = self.plan.assignments.iter();
        let Some(own) = all.find(|own: &&Assignment| own.parameter == name) else {
            return Ok(None);
        };
        let options = LoadOptions::new(Device::flex(), DType::F32);
        let data = read(self.checkpoint.weights_of(self.part), own, &options, None)?;
        Ok(Some(data.iter::<f32>().collect()))
    }
}
