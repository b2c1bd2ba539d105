//! What stands between a file and a network: changes of weights, made while they are read.
//!
//! A [`Patch`] sees one parameter at a time, by its name and shape before anything is read, and by its values as f32 on their
//! way from the file to the network's type. So every network can be patched, whatever its file stores and however it is
//! packed afterwards, in the memory of one parameter more; and what fits nothing is known before any work. Rejected:
//! changing a network that is loaded, which knows its weights in rounded or packed form alone.

use std::fmt::Debug;

use crate::names::{Piece, Table};
use crate::networks::{Network, Role, Scheme};
use crate::report::ModelError;

/// Changes parameters on their way into networks.
pub trait Patch: Debug + Send + Sync {
    /// Whether it changes this parameter. Answered by names and shapes.
    ///
    /// # Errors
    /// Where it means this parameter and does not fit it.
    fn changes(&self, target: &Target<'_>) -> Result<bool, ModelError>;

    /// Changes the values of a parameter that it [changes](Self::changes), row-major.
    ///
    /// # Errors
    /// What it holds for the parameter cannot be read.
    fn apply(&self, target: &Target<'_>, values: &mut [f32]) -> Result<(), ModelError>;

    /// What it holds for none of the parameters of `networks`, by the names in its file.
    ///
    /// # Errors
    /// As [`changes`](Self::changes)'s.
    fn unused(&self, networks: &[Targets]) -> Result<Vec<String>, ModelError>;
}

/// The parameters of one network, as patches see them.
#[derive(Debug)]
pub struct Targets {
    role: Role,
    parameters: Vec<(String, Vec<usize>)>,
    original: Option<Table>,
}

impl Targets {
    /// Of the network that plays `role`.
    pub fn of(role: Role, network: &Network) -> Self {
        Self {
            role,
            parameters: network.parameters(),
            original: (role == Role::DENOISER).then(|| network.table(Scheme::Ldm)),
        }
    }

    /// What the network is for.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Every parameter.
    pub fn all(&self) -> impl Iterator<Item = Target<'_>> {
        let parameters = self.parameters.iter();
        parameters.map(|(name, shape)| self.one(name, shape))
    }

    /// How many blocks the network's original names have that begin with this; `None` where it has no original names.
    pub(crate) fn original_blocks(&self, start: &str) -> Option<usize> {
        self.original.as_ref()?;
        let number = |target: Target<'_>| {
            let name = target.original()?;
            name.strip_prefix(start)?
                .split('.')
                .next()?
                .parse::<usize>()
                .ok()
        };
        let last = self.all().filter_map(number).max();
        Some(last.map_or(0, |last| last + 1))
    }

    /// One of the parameters.
    pub(crate) fn one<'a>(&'a self, name: &'a str, shape: &'a [usize]) -> Target<'a> {
        Target {
            network: self,
            name,
            shape,
        }
    }
}

/// A parameter, as patches see it.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    network: &'a Targets,
    /// Its published name.
    pub name: &'a str,
    /// Its shape.
    pub shape: &'a [usize],
}

impl Target<'_> {
    /// What its network is for.
    pub fn role(&self) -> Role {
        self.network.role
    }

    /// Its name in the original code, where that has it as a tensor of its own.
    pub fn original(&self) -> Option<String> {
        let place = self.network.original.as_ref()?.place(self.name)?;
        (place.piece == Piece::Whole).then_some(place.name)
    }
}
