//! Checkpoints merged with each other, parameter by parameter: a weighted sum A (1 − w) + B w, or the difference of two added to a
//! third, A + w (B − C). w may differ from block to block.
//!
//! It is a [`Patch`] on A, so that the outcome is written in any form and may have LoRAs merged into it too. Of a denoiser with
//! more input channels than the others (for inpainting), the channels that they have are merged.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::adapter::BlockWeights;
use crate::detect::Checkpoint;
use crate::load::Parameters;
use crate::networks::Role;
use crate::patch::{Patch, Target, Targets};
use crate::report::{Mismatch, Misshapen, ModelError};

/// How checkpoints are merged.
#[derive(Debug, Clone, PartialEq)]
pub struct MixOptions {
    /// w.
    pub weight: f64,
    /// w of each block in its place: the first is that of all that lies in no block of the denoiser, and of the other networks.
    pub blocks: Option<BlockWeights>,
}

/// What merging did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Mixed {
    /// Of each network, how many parameters were changed and by how much: the norm of the change beside that of the network.
    pub networks: Vec<(Role, usize, f64)>,
    /// Networks of A that the others have no counterpart of: they are as they were.
    pub kept: Vec<Role>,
    /// Networks of B that A does not have.
    pub left_out: Vec<Role>,
}

/// See [the module](self).
#[derive(Debug)]
pub struct Mix {
    options: MixOptions,
    networks: Vec<Network>,
    mixed: Mixed,
    /// Changed parameters of each network, and the sums of squares of its changes and of its values.
    sums: Mutex<HashMap<Role, BTreeMap<String, [f64; 2]>>>,
}

/// Parameters with their checkpoint.
type Shared = Parameters<Arc<Checkpoint>>;

/// One network of A, with its counterparts.
#[derive(Debug)]
struct Network {
    role: Role,
    added: Shared,
    minus: Option<Shared>,
}

/// Whether the parameters of a network are those of A's, but for input channels that A alone has.
fn check(own: &Shared, base: &[(String, Vec<usize>)]) -> Result<(), ModelError> {
    let mut mismatch = Mismatch {
        path: own.checkpoint().path().to_owned(),
        part: Some(own.role()),
        ..Mismatch::default()
    };
    for (name, expected) in base {
        match own.shape(name) {
            None => mismatch.missing.push(name.clone()),
            Some(found) if found == expected || wider(name, expected, found) => {}
            Some(found) => mismatch.misshapen.push(Misshapen {
                tensor: name.clone(),
                expected: expected.clone(),
                found: found.to_vec(),
            }),
        }
    }
    let known: HashSet<&str> = base.iter().map(|(name, _)| name.as_str()).collect();
    let more = own.list().filter(|(name, _)| !known.contains(name));
    mismatch.unused = more.map(|(name, _)| name.to_owned()).collect();
    match mismatch.is_empty() {
        true => Ok(()),
        false => Err(Box::new(mismatch).into()),
    }
}

/// Whether a denoiser's first convolution has more input channels than another's.
fn wider(name: &str, own: &[usize], other: &[usize]) -> bool {
    matches!((own, other), ([o, i, rest @ ..], [p, j, others @ ..])
        if name == "conv_in.weight" && o == p && i > j && rest == others)
}

impl Mix {
    /// Of these with `base`, which is A. No weight is read.
    ///
    /// # Errors
    /// Checkpoints of other layouts than A's, or that have none of its networks.
    pub fn new(
        base: &Checkpoint,
        added: &Arc<Checkpoint>,
        minus: Option<&Arc<Checkpoint>>,
        options: MixOptions,
    ) -> Result<Self, ModelError> {
        let request = |problem: String| ModelError::Request {
            path: added.path().to_owned(),
            problem,
        };
        let (mut networks, mut mixed) = (Vec::new(), Mixed::default());
        for part in &base.parts {
            let role = part.role;
            let there = |other: &Arc<Checkpoint>| other.find(role).is_some();
            if !there(added) || !minus.is_none_or(there) {
                mixed.kept.push(role);
                continue;
            }
            let parameters = part.config.parameters();
            let of = |other: &Arc<Checkpoint>| {
                let own = Parameters::of(Arc::clone(other), role)?;
                check(&own, &parameters)?;
                Ok::<_, ModelError>(own)
            };
            networks.push(Network {
                role,
                added: of(added)?,
                minus: minus.map(of).transpose()?,
            });
            if role == Role::DENOISER
                && let Some(blocks) = &options.blocks
            {
                let inputs = Targets::of(role, &part.config).original_blocks("input_blocks.");
                if let Some(problem) = inputs.and_then(|inputs| blocks.misfit(inputs)) {
                    return Err(request(problem));
                }
            }
        }
        if networks.is_empty() {
            let problem = format!(
                "it has none of the networks of {} to merge with",
                base.path().display()
            );
            return Err(request(problem));
        }
        let own = |role: &Role| base.find(*role).is_some();
        let theirs = added.parts.iter().map(|part| part.role);
        mixed.left_out = theirs.filter(|role| !own(role)).collect();
        Ok(Self {
            options,
            networks,
            mixed,
            sums: Mutex::default(),
        })
    }

    /// What was done, once all parameters are written.
    pub fn mixed(&self) -> Mixed {
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let networks = self.networks.iter().map(|network| {
            let own = sums.get(&network.role);
            let values = || own.into_iter().flat_map(BTreeMap::values);
            let total = |i: usize| values().map(|sums| sums[i]).sum::<f64>();
            let share = (total(0) / total(1).max(f64::MIN_POSITIVE)).sqrt();
            (network.role, values().count(), share)
        });
        Mixed {
            networks: networks.collect(),
            ..self.mixed.clone()
        }
    }

    fn network(&self, role: Role) -> Option<&Network> {
        self.networks.iter().find(|network| network.role == role)
    }

    /// w of a parameter.
    fn weight(&self, target: &Target<'_>) -> f64 {
        let Some(blocks) = &self.options.blocks else {
            return self.options.weight;
        };
        let original = target.original();
        let of_block = original.and_then(|name| blocks.at(&name));
        of_block.unwrap_or_else(|| blocks.text())
    }
}

impl Patch for Mix {
    fn changes(&self, target: &Target<'_>) -> Result<bool, ModelError> {
        Ok(self.network(target.role()).is_some() && self.weight(target) != 0.0)
    }

    fn apply(&self, target: &Target<'_>, values: &mut [f32]) -> Result<(), ModelError> {
        let Some(network) = self.network(target.role()) else {
            return Ok(());
        };
        let weight = self.weight(target) as f32;
        let Some(added) = network.added.read(target.name)? else {
            return Ok(());
        };
        let minus = network.minus.as_ref();
        let minus = minus
            .map(|minus| minus.read(target.name))
            .transpose()?
            .flatten();
        // Of a wider network, the first input channels of each output: as many numbers as the narrower has.
        let outputs = target.shape.first().copied().unwrap_or(1).max(1);
        let (own, theirs) = (values.len() / outputs, added.len() / outputs);
        let squares = |values: &[f32]| values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
        let mut sums = [0.0, squares(values)];
        for (i, b) in added.iter().enumerate() {
            let at = i / theirs.max(1) * own + i % theirs.max(1);
            let a = values[at];
            let new = match &minus {
                Some(minus) => a + weight * (b - minus[i]),
                None => (1.0 - weight) * a + weight * b,
            };
            sums[0] += f64::from(new - a).powi(2);
            values[at] = new;
        }
        let mut all = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(target.role())
            .or_default()
            .insert(target.name.to_owned(), sums);
        Ok(())
    }

    fn unused(&self, _: &[Targets]) -> Result<Vec<String>, ModelError> {
        // Layouts were compared when it was made.
        Ok(Vec::new())
    }
}
