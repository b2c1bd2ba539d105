//! Adapters that change weights: LoRA and its kin, as published.
//!
//! A file of one says by its keys which modules of a network it changes and how. The keys are in one of many spellings and the
//! changes of a dozen kinds, and nothing is guessed of either: `spelling` spells the model's own modules in every way and looks
//! them up in the file, `kind` tells the kind by the parts that are there and holds their shapes against the weight's. A key that
//! fits nothing is told ([`Patch::unused`]), never passed over.
//!
//! An [`Adapter`] is a [`Patch`]: it changes weights in f32 on their way from the file to the network, so that packed networks and
//! those in fewer bits are what they would be had the sum been in the file. Rejected: a low-rank branch beside each layer, which
//! costs at every step and which the kinds that are no sum do not have; and parsing the names of modules (programs that did so lost
//! layers in silence).

mod about;
mod blocks;
mod change;
mod extract;
mod file;
mod keys;
mod kind;
mod rename;
mod rotation;
mod scale;
mod spelling;
mod svd;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use crate::error::shown;
use crate::networks::Role;
use crate::patch::{Patch, Target, Targets};
use crate::report::{Mismatch, ModelError};

pub use about::{About, MadeFor, Ranks, Touched};
pub use blocks::BlockWeights;
use change::Applied;
pub use extract::{ExtractOptions, Extracted, extract};
pub use file::AdapterFile;
use file::Module;
pub use kind::Kind as AdapterKind;
pub use rename::{WRITTEN, rename};
pub use spelling::Dialect;

/// The metadata in which trainers name their code, and the one whose OFT takes an alpha of 0 for a bound.
const TRAINER: &str = "ss_network_module";
const KOHYA_OFT: &str = "networks.oft";

/// How strongly an adapter acts.
#[derive(Clone, Debug, PartialEq)]
pub struct Strengths {
    /// On the denoiser; may be negative.
    pub denoiser: f64,
    /// On text encoders.
    pub text: f64,
    /// Factors on both, block by block.
    pub blocks: Option<BlockWeights>,
    /// Only so many ranks of a LoRA are taken, the first ones; 1 or more.
    pub ranks: Option<usize>,
}

impl From<f64> for Strengths {
    /// The same on all.
    fn from(strength: f64) -> Self {
        Self {
            denoiser: strength,
            text: strength,
            blocks: None,
            ranks: None,
        }
    }
}

/// What an adapter holds that changes nothing in a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fit {
    /// Tensors that fit nothing.
    pub unused: Vec<String>,
    /// Differences of biases of layers that have none.
    pub without_bias: Vec<String>,
}

/// An adapter at some strength.
#[derive(Clone, Debug)]
pub struct Adapter {
    file: Arc<AdapterFile>,
    strengths: Strengths,
}

impl Adapter {
    /// Opens a file or folder: see [`AdapterFile::open`].
    ///
    /// # Errors
    /// As [`AdapterFile::open`]'s, and strengths that are not finite.
    pub fn open(path: &Path, strengths: impl Into<Strengths>) -> Result<Self, ModelError> {
        Self::of(Arc::new(AdapterFile::open(path)?), strengths)
    }

    /// The adapter in a file that is open.
    ///
    /// # Errors
    /// Strengths that are not finite, or no ranks.
    pub fn of(file: Arc<AdapterFile>, strengths: impl Into<Strengths>) -> Result<Self, ModelError> {
        let strengths = strengths.into();
        let bad = [strengths.denoiser, strengths.text]
            .into_iter()
            .find(|s| !s.is_finite());
        if let Some(bad) = bad {
            return Err(file.wrong(format!("its strength is {bad}; it must be a number")));
        }
        if strengths.ranks == Some(0) {
            return Err(
                file.wrong("of its ranks 0 are asked for: 1 or more can be taken".to_owned())
            );
        }
        Ok(Self { file, strengths })
    }

    /// Whether it is that of this file, at these strengths.
    pub fn is(&self, path: &Path, strengths: &Strengths) -> bool {
        self.file.path() == path && self.strengths == *strengths
    }

    /// The file.
    pub fn file(&self) -> &AdapterFile {
        &self.file
    }

    /// The module that changes a parameter, and which of the parameters of its layer that is.
    fn module<'a>(&self, target: &Target<'a>) -> Result<Option<(Module<'_>, &'a str)>, ModelError> {
        let (stems, kind) = spelling::stems(target);
        let mut found = stems.iter().filter_map(|stem| self.file.module(stem));
        let Some(module) = found.next() else {
            return Ok(None);
        };
        match found.find(|other| other.stem != module.stem) {
            None => Ok(Some((module, kind))),
            Some(other) => Err(self.file.wrong(format!(
                "`{}` and `{}` are two names of one module of the model",
                shown(module.stem),
                shown(other.stem)
            ))),
        }
    }

    /// The strength that holds for a parameter.
    fn strength(&self, target: &Target<'_>) -> f64 {
        let blocks = self.strengths.blocks.as_ref();
        match target.role() {
            Role::DENOISER => {
                let original = target.original();
                let own = blocks
                    .zip(original.as_deref())
                    .map(|(blocks, name)| blocks.of(name));
                self.strengths.denoiser * own.unwrap_or(1.0)
            }
            _ => self.strengths.text * blocks.map_or(1.0, BlockWeights::text),
        }
    }

    /// How the whole file fits networks of these parameters.
    ///
    /// # Errors
    /// Parts that are misshapen, that do not go together, or whose numbers are none.
    pub fn fit(&self, networks: &[Targets]) -> Result<Fit, ModelError> {
        let (mut used, mut met): (HashSet<&str>, HashSet<&str>) = Default::default();
        for network in networks {
            let inputs = network.original_blocks("input_blocks.");
            let blocks = self.strengths.blocks.as_ref().zip(inputs);
            if let Some(problem) = blocks.and_then(|(blocks, inputs)| blocks.misfit(inputs)) {
                return Err(self.file.wrong(problem));
            }
            for target in network.all() {
                let Some(module) = self.fitting(&target)? else {
                    continue;
                };
                // Says what is wrong with its numbers before anything is read.
                self.applied(&module, &target)?;
                met.insert(module.stem);
                let of_bias = target.name.ends_with("bias");
                let own = module
                    .parts
                    .iter()
                    .filter(|(part, _)| keys::BIAS.contains(part) == of_bias);
                used.extend(own.map(|(_, name)| name.as_str()));
                let scales = ["alpha", "scale"].map(|part| module.parts.get(part));
                used.extend(scales.into_iter().flatten().map(String::as_str));
            }
        }
        // LyCORIS writes the difference of a bias for layers that have none, too.
        let modules = met.iter().filter_map(|stem| self.file.module(stem));
        let without_bias: HashSet<&str> = modules
            .flat_map(|module| {
                keys::BIAS
                    .iter()
                    .filter_map(move |part| module.parts.get(part))
            })
            .map(String::as_str)
            .filter(|name| !used.contains(name))
            .collect();
        let names = self.file.infos().map(|info| info.name.as_str());
        let left = self.file.left_out();
        let idle = |name: &str| left.iter().any(|(other, _)| other == name);
        let unused = names
            .filter(|name| !used.contains(name) && !without_bias.contains(name) && !idle(name));
        Ok(Fit {
            unused: unused.map(shown).collect(),
            without_bias: without_bias.iter().map(|name| shown(name)).collect(),
        })
    }

    /// How a module acts on a parameter.
    fn applied(&self, module: &Module<'_>, target: &Target<'_>) -> Result<Applied, ModelError> {
        let kind = module.kind()?;
        let path = target.name.rsplit_once('.').map_or("", |(path, _)| path);
        let rank = module.rank(kind);
        let factor = match (rank, module.number("scale")?, module.number("alpha")?) {
            (_, Some(scale), _) => scale,
            (None, ..) => 1.0,
            (Some(rank), None, Some(alpha)) => alpha / rank as f64,
            (Some(rank), None, None) => {
                self.file.scale_of(target.role(), path, rank).unwrap_or(1.0)
            }
        };
        let cut = self
            .strengths
            .ranks
            .filter(|_| kind != AdapterKind::LowRank);
        if cut.is_some() {
            return Err(self.file.wrong(format!(
                "fewer ranks than it has are asked for, and `{}` is a {}: ranks are taken from plain LoRAs alone",
                shown(module.stem),
                kind.words()
            )));
        }
        Ok(Applied {
            kind,
            strength: self.strength(target),
            factor,
            ranks: self.strengths.ranks,
            zero_forbids: self.file.metadata().get(TRAINER).map(String::as_str) == Some(KOHYA_OFT),
        })
    }

    /// The module that has something for this parameter, with its kind, if its shapes fit.
    fn fitting(&self, target: &Target<'_>) -> Result<Option<Module<'_>>, ModelError> {
        let Some((module, parameter)) = self.module(target)? else {
            return Ok(None);
        };
        let kind = module.kind()?;
        let of_bias = module.parts.keys().any(|part| keys::BIAS.contains(part));
        match parameter {
            "weight" if kind != AdapterKind::Bias => {
                let shape = narrowed(&module, kind, target);
                module.check(kind, target, &shape)?;
                Ok(Some(module))
            }
            "bias" if of_bias => {
                let each = keys::BIAS.iter().filter_map(|part| module.info(part));
                let other = each.filter(|info| info.shape != target.shape);
                let misshapen: Vec<_> = other
                    .map(|info| crate::report::Misshapen {
                        tensor: info.name.clone(),
                        expected: target.shape.to_vec(),
                        found: info.shape.clone(),
                    })
                    .collect();
                Mismatch::of_shapes(self.file.path(), target.role(), misshapen)?;
                Ok(Some(module))
            }
            _ => Ok(None),
        }
    }
}

/// The shape of a weight, or of the part of it that the module was made for.
fn narrowed(module: &Module<'_>, kind: AdapterKind, target: &Target<'_>) -> Vec<usize> {
    let mut shape = target.shape.to_vec();
    if let Some(inputs) = module.narrower(kind, target) {
        shape[1] = inputs;
    }
    shape
}

impl Patch for Adapter {
    fn changes(&self, target: &Target<'_>) -> Result<bool, ModelError> {
        match self.fitting(target)? {
            Some(module) => Ok(self.applied(&module, target)?.strength != 0.0),
            None => Ok(false),
        }
    }

    fn apply(&self, target: &Target<'_>, values: &mut [f32]) -> Result<(), ModelError> {
        let Some((module, parameter)) = self.module(target)? else {
            return Ok(());
        };
        let how = self.applied(&module, target)?;
        if parameter == "bias" {
            return module.change_bias(&how, values);
        }
        let shape = narrowed(&module, how.kind, target);
        if shape == target.shape {
            return module.change(&how, &shape, values);
        }
        // The further inputs stay as they are.
        let [_, own, places] = change::sides(target.shape);
        let (whole, part) = (own * places, shape[1] * places);
        let mut narrow: Vec<f32> = values
            .chunks(whole)
            .flat_map(|row| row[..part].iter().copied())
            .collect();
        module.change(&how, &shape, &mut narrow)?;
        for (row, changed) in values.chunks_mut(whole).zip(narrow.chunks(part)) {
            row[..part].copy_from_slice(changed);
        }
        Ok(())
    }

    fn unused(&self, networks: &[Targets]) -> Result<Vec<String>, ModelError> {
        Ok(self.fit(networks)?.unused)
    }
}
