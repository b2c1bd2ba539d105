//! What a run will take, before it begins.

use std::fmt;
use std::path::PathBuf;

use latent_data::counted;
use serde::Serialize;

use crate::memory::size;

/// A run in numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Where everything is written.
    pub folder: PathBuf,
    /// How the data was read and what was found in it, a sentence each.
    pub found: Vec<String>,
    /// Trained numbers of each network.
    pub parameters: Vec<(String, usize)>,
    /// Bytes of weights, gradients, optimiser and averages. What a step computes comes on top and grows
    /// with the batch.
    pub state_bytes: u64,
    /// Bytes that the pictures of a step take at the very least; 0 where they keep their own sizes.
    pub batch_bytes: u64,
    /// Pictures to learn from.
    pub pictures: usize,
    /// Pictures held back for validation.
    pub held_back: usize,
    /// Pictures of a step, over all processes.
    pub pictures_per_step: u64,
    /// Steps done already.
    pub done: u64,
    /// Steps in all.
    pub steps: u64,
    /// Passes through the data in all.
    pub epochs: f64,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "folder: {}", self.folder.display())?;
        for (name, count) in &self.parameters {
            writeln!(f, "{name}: {:.2} million parameters", *count as f64 / 1e6)?;
        }
        let batch = match self.batch_bytes {
            0 => "what a batch takes".to_owned(),
            bytes => format!("several times {} for the pictures of a step", size(bytes)),
        };
        writeln!(
            f,
            "memory: {} for weights, gradients, optimiser and averages, and {batch}",
            size(self.state_bytes)
        )?;
        let held_back = match self.held_back {
            0 => String::new(),
            count => format!(", {count} held back for validation"),
        };
        let pictures = counted(self.pictures, "picture");
        writeln!(f, "data: {pictures}{held_back}")?;
        for found in &self.found {
            writeln!(f, "  {found}")?;
        }
        write!(
            f,
            "steps: {} of {}, {:.1} epochs",
            self.steps,
            counted(self.pictures_per_step as usize, "picture"),
            self.epochs
        )?;
        match self.done {
            0 => Ok(()),
            1 => write!(f, "; 1 is done"),
            done => write!(f, "; {done} are done"),
        }
    }
}
