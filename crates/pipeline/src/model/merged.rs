//! Checkpoints written with others and with adapters merged into them.

use std::path::Path;
use std::sync::Arc;

use latent_checkpoint::mix::{Mix, MixOptions, Mixed};
use latent_checkpoint::{Checkpoint, ConvertOptions, Converted, ModelError, Patch};

use super::adapted::{Adapted, AdapterUse, Calls};
use crate::error::{Error, Result};
use crate::family::Recognised;

/// A checkpoint to merge with another.
#[derive(Debug, Clone)]
pub struct Other {
    /// What is added.
    pub added: Arc<Checkpoint>,
    /// What its difference from is added, in the place of a weighted sum.
    pub minus: Option<Arc<Checkpoint>>,
    /// How strongly.
    pub options: MixOptions,
}

/// What came of it.
#[derive(Debug)]
pub struct Merged {
    /// What was written.
    pub converted: Converted,
    /// What merging with the other did.
    pub mixed: Option<Mixed>,
    /// What is to be said of the adapters.
    pub notes: Vec<String>,
}

/// Writes a checkpoint with another merged with it, and then with adapters merged into it.
///
/// # Errors
/// Checkpoints or adapters that do not fit; as [`latent_checkpoint::merge`]'s.
pub fn merge(
    (checkpoint, recognised): (&Checkpoint, &Recognised),
    other: Option<&Other>,
    uses: &[AdapterUse],
    output: &Path,
    options: &ConvertOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Merged> {
    if let Some(one) = uses.iter().find(|one| one.calls != Calls::default()) {
        return Err(Error::field(
            "loras",
            &one.name,
            "no start= and no stop=: what is merged into a checkpoint holds for all steps",
        ));
    }
    let adapters = Adapted::all(uses)?;
    let family = recognised
        .family()
        .ok()
        .flatten()
        .map_or("of its own", |family| family.name);
    let (targets, mut notes) = (checkpoint.targets(), Vec::new());
    for adapter in &adapters {
        adapter.check(&targets, family, &mut notes)?;
    }
    let mix = other.map(|other| {
        let Other {
            added,
            minus,
            options,
        } = other;
        let mix = Mix::new(checkpoint, added, minus.as_ref(), options.clone());
        mix.map(Arc::new).map_err(|error| unlike(error, family))
    });
    let mix = mix.transpose()?;
    let first = mix.iter().map(|mix| Arc::clone(mix) as Arc<dyn Patch>);
    let patches: Vec<_> = first.chain(adapters.iter().map(Adapted::patch)).collect();
    let converted = latent_checkpoint::merge(checkpoint, &patches, output, options, progress)?;
    Ok(Merged {
        converted,
        mixed: mix.map(|mix| mix.mixed()),
        notes,
    })
}

/// Layouts that differ are told with what the first is.
fn unlike(error: ModelError, family: &str) -> Error {
    match error {
        ModelError::Mismatch(mismatch) => Error::Model {
            path: mismatch.path.clone(),
            reason: format!(
                "it is of another layout than the checkpoint that it is to be merged with ({family}): {mismatch}"
            ),
        },
        other => other.into(),
    }
}
