//! From a request to finished pictures.

use crate::error::Result;
use crate::hooks::{Hooks, Output};
use crate::job::Job;
use crate::model::{Model, Stage};
use crate::ready::Ready;
use crate::request::Request;
use crate::resources::Resources;

/// Draws every picture of a request.
///
/// What the request names stands in `resources`. `available` is how much memory may be used, in bytes, where the caller knows;
/// work that would not fit is refused before it starts, or decoded in strips.
///
/// # Errors
/// A request that cannot be honoured, a picture that cannot be read, too little memory, results that are not numbers.
pub fn run(
    request: &Request,
    model: &Model,
    resources: &dyn Resources,
    available: Option<u64>,
    hooks: &mut dyn Hooks,
) -> Result<Vec<Output>> {
    let ready = Ready::of(request, model, resources, available, false, hooks)?;
    Job::new(request, model, &ready, false).run(hooks)
}

/// [`run`] for a model that draws nothing else: each network is freed when it has done its work, and those of a model that was
/// only [declared](Model::declare) are read when they are needed.
///
/// # Errors
/// As [`run`]'s.
pub fn run_once(
    request: &Request,
    mut model: Model,
    resources: &dyn Resources,
    available: Option<u64>,
    hooks: &mut dyn Hooks,
) -> Result<Vec<Output>> {
    let ready = Ready::of(request, &model, resources, available, true, hooks)?;
    model.release(Stage::Conditioning);
    model.in_turn = ready.in_turn;
    Job::new(request, &model, &ready, true).run(hooks)
}
