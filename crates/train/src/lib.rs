//! Training of latent diffusion models.
//!
//! What is learnt is a [`Task`]: it turns a batch of pictures into gradients, applies them, and knows how
//! to save all of itself. The trainer around it knows no network: it feeds batches, asks for validation
//! and sheets, and writes checkpoints. A task holds one [`Learner`] for each network that it trains.
//!
//! Three rules make a run that was stopped end as if it had not been:
//!
//! * Every random number is a pure function of the seed, a purpose, the step and the picture's place in
//!   the step's batch ([`Step::random`]). There is no generator, so there is none to save.
//! * A task's whole state is tensors and numbers under names ([`StateWriter`], [`StateReader`]); reading
//!   one that is short of a name, or has one too many, is an error.
//! * What is computed depends neither on the threads nor on the layout of tensors in memory.
//!
//! Rejected: burn's own optimisers, which make a dozen passes over memory for every parameter where one
//! is enough; and its `Learner`, whose checkpoints do not restore the position in the data.

mod checkpoint;
mod config;
mod error;
mod export;
mod held_back;
mod initialise;
mod learner;
mod lock;
mod log;
mod look;
mod memory;
mod model;
#[cfg(feature = "mpi")]
mod mpi;
mod objective;
mod observe;
mod optimiser;
mod peers;
mod pictures;
mod plan;
mod random;
mod schedule;
mod sets;
mod sheet;
pub mod stage1;
mod stage2;
mod state;
mod task;
mod teams;
mod trainer;

pub use checkpoint::{Checkpoints, Saved};
pub use config::{CheckpointConfig, LogConfig, SheetConfig, TrainConfig, ValidationConfig};
pub use error::Error;
pub use export::name_classes;
pub use initialise::{Fill, initialise, torch_default};
pub use latent_data::{Example, LabelledBox};
pub use learner::{Learner, LearnerSettings, Precision};
pub use look::Needs;
pub use memory::LeastMemory;
pub use model::{ModelConfig, TaskContext};
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
pub use objective::{
    BANDS, Distance, Level, Loss, NoiseConfig, Noisy, Objective, ObjectiveConfig, Times,
};
pub use observe::{Event, Observer};
pub use optimiser::{Ema, Optimiser};
pub use peers::{Alone, Peers};
pub use plan::Plan;
pub use random::Random;
pub use schedule::{Decay, Rate};
pub use sheet::grid;
pub use stage2::{
    AlignConfig, ContrastConfig, FirstStage, LatentModel, PerceptualConfig, SamplesConfig, Stage2,
    Stage2Config, degrade, hole,
};
pub use state::{StateReader, StateWriter};
pub use task::{Report, Step, Task, Update};
pub use trainer::{CHECKPOINTS, Outcome, Trainer};
