//! Processes that MPI started: `mpirun -n N latent train …`.

use mpi::collective::SystemOperation;
use mpi::datatype::Equivalence;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives};

use crate::{Error, Peers};

/// All processes of the MPI run, or this one by itself where `mpirun` did not start it.
pub struct Mpi {
    world: SimpleCommunicator,
    /// MPI ends when this is dropped.
    _universe: Universe,
}

impl Mpi {
    /// Joins the others. Once in a process.
    ///
    /// # Errors
    /// MPI runs already.
    pub fn start() -> Result<Self, Error> {
        let universe = mpi::initialize()
            .ok_or_else(|| Error::setting("mpi", "started before", "one start in a process"))?;
        Ok(Self {
            world: universe.world(),
            _universe: universe,
        })
    }

    fn reduce<T: Equivalence + Clone>(&self, numbers: &mut [T]) {
        let own = numbers.to_vec();
        self.world
            .all_reduce_into(&own[..], numbers, SystemOperation::sum());
    }
}

impl Peers for Mpi {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn size(&self) -> usize {
        self.world.size() as usize
    }

    fn sum(&self, numbers: &mut [f32]) {
        self.reduce(numbers);
    }

    fn sum_wide(&self, numbers: &mut [f64]) {
        self.reduce(numbers);
    }
}
