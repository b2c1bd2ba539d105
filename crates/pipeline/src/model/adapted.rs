//! Adapters that are merged into a model's weights, and what they were made for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use latent_checkpoint::adapter::{About, AdapterFile, BlockWeights, MadeFor, Strengths};
use latent_checkpoint::patch::Targets;
use latent_checkpoint::{Adapter, ModelError, Patch, Role};
use latent_models::{ClipTextConfig, Denoiser, UNetConfig, named};

use super::Model;
use crate::error::{Error, Result};
use crate::family::{FAMILIES, Family};
use crate::request::{Lora, RequestError};

/// An adapter, and how strongly it acts.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterUse {
    /// What pictures call it: as the request does, without folders and ending.
    pub name: String,
    /// The file or folder.
    pub path: PathBuf,
    /// How strongly it acts.
    pub strengths: Strengths,
    /// In which calls it acts on the denoiser.
    pub calls: Calls,
}

/// Calls of the denoiser, counted from 0 in each pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// The first.
    pub start: usize,
    /// The first that is no longer one of them; `None`: all from the first on.
    pub stop: Option<usize>,
}

impl Calls {
    fn contain(&self, call: usize) -> bool {
        self.start <= call && self.stop.is_none_or(|stop| call < stop)
    }
}

impl AdapterUse {
    /// What a request says of the adapter that lies at `path`.
    ///
    /// # Errors
    /// Block weights that no denoiser takes.
    pub fn of(lora: &Lora, path: PathBuf) -> Result<Self> {
        let blocks = lora.blocks.clone().map(BlockWeights::new).transpose();
        let wrong = |expected| RequestError::range("loras.blocks", "unusable", expected);
        Ok(Self {
            name: called(&lora.name.to_string()),
            path,
            strengths: Strengths {
                denoiser: lora.strength,
                text: lora.text_strength.unwrap_or(lora.strength),
                blocks: blocks.map_err(wrong)?,
                ranks: lora.ranks,
            },
            calls: Calls {
                start: lora.start,
                stop: lora.stop,
            },
        })
    }
}

/// A file's name without folders and ending, as A1111 calls a LoRA.
pub(crate) fn called(name: &str) -> String {
    let path = Path::new(name);
    let known = ["safetensors", "pt", "pth", "ckpt", "bin"];
    let ending = path.extension().and_then(|ending| ending.to_str());
    let stem = match ending.is_some_and(|ending| known.contains(&ending)) {
        true => path.file_stem(),
        false => path.file_name(),
    };
    stem.map_or_else(
        || name.to_owned(),
        |stem| stem.to_string_lossy().into_owned(),
    )
}

/// An adapter in a model.
#[derive(Debug, Clone)]
pub struct Adapted {
    /// What pictures call it.
    pub name: String,
    /// The first twelve digits of its hash as A1111 computes it, where the caller has.
    pub hash: Option<String>,
    /// The file and the strengths.
    pub adapter: Arc<Adapter>,
    /// In which calls it acts on the denoiser.
    pub calls: Calls,
}

impl Adapted {
    /// Opens adapters. No weight is read.
    ///
    /// # Errors
    /// A file that cannot be read, or is no adapter.
    pub fn all(uses: &[AdapterUse]) -> Result<Vec<Self>> {
        let each = uses.iter().map(|given| {
            let file =
                AdapterFile::open(&given.path).map_err(|error| foreign(error, &given.path))?;
            Ok(Self {
                name: given.name.clone(),
                hash: None,
                adapter: Arc::new(Adapter::of(Arc::new(file), given.strengths.clone())?),
                calls: given.calls,
            })
        });
        each.collect()
    }

    /// The change of weights that it makes.
    pub(super) fn patch(&self) -> Arc<dyn Patch> {
        Arc::clone(&self.adapter) as Arc<dyn Patch>
    }

    /// The changes that several make to the network of a role in a call of the denoiser.
    pub(super) fn patches(all: &[Self], role: Role, call: usize) -> Vec<Arc<dyn Patch>> {
        let acts = |one: &&Self| role != Role::DENOISER || one.calls.contain(call);
        all.iter().filter(acts).map(Self::patch).collect()
    }

    /// Whether every tensor of it has its place in networks of these parameters. What was put into the file besides is told.
    ///
    /// # Errors
    /// Tensors that fit nothing, with what the file was made for.
    pub fn check(&self, targets: &[Targets], family: &str, notes: &mut Vec<String>) -> Result<()> {
        let file = self.adapter.file();
        let refused = |reason: String| Error::Model {
            path: file.path().to_owned(),
            reason: format!("{reason}: {}", fits(&file.made_for(), targets, family)),
        };
        let fit = match self.adapter.fit(targets) {
            Ok(fit) => fit,
            Err(ModelError::Mismatch(mismatch)) => {
                let shapes: Vec<String> = mismatch
                    .misshapen
                    .iter()
                    .take(3)
                    .map(|m| {
                        format!(
                            "`{}` is {:?} and must be {:?}",
                            m.tensor, m.found, m.expected
                        )
                    })
                    .collect();
                return Err(refused(format!(
                    "its shapes do not fit the model, {}",
                    shapes.join(", ")
                )));
            }
            Err(other) => return Err(other.into()),
        };
        if let Some(first) = fit.unused.first() {
            return Err(refused(format!(
                "{} of its {} tensors fit nothing in the model, such as `{first}`",
                fit.unused.len(),
                file.tensors()
            )));
        }
        if let Some(first) = fit.without_bias.first() {
            notes.push(format!(
                "left out of {}: {} differences of biases, such as `{first}`, whose layers have none",
                file.path().display(),
                fit.without_bias.len()
            ));
        }
        let left = file.left_out();
        if let Some((tensor, why)) = left.first() {
            notes.push(format!(
                "left out of {}: {} tensors, such as `{tensor}` ({why})",
                file.path().display(),
                left.len()
            ));
        }
        Ok(())
    }
}

impl Model {
    /// Exchanges the adapters that are merged into its weights, and says what is to be said of them. Of the networks in memory, the
    /// modules that are changed by the old or by the new are read again, and no others.
    ///
    /// # Errors
    /// As [`open`](Self::open)'s of adapters; a model of networks that came from no file. The model is then as it was.
    pub fn adapt(&mut self, uses: &[AdapterUse]) -> Result<Vec<String>> {
        let same = |adapted: &Adapted, given: &AdapterUse| {
            adapted.adapter.is(&given.path, &given.strengths) && adapted.calls == given.calls
        };
        let held = self.adapters.iter().zip(uses);
        if self.adapters.len() == uses.len() && held.clone().all(|(a, b)| same(a, b)) {
            return Ok(Vec::new());
        }
        let mut adapters = Adapted::all(uses)?;
        for new in &mut adapters {
            let mut old = self.adapters.iter();
            let known = old.find(|old| old.adapter.file().path() == new.adapter.file().path());
            new.hash = known.and_then(|old| old.hash.clone());
        }
        let mut targets = vec![self.denoiser.targets()?];
        for text in &self.texts {
            targets.push(text.network.targets()?);
        }
        let mut notes = Vec::new();
        for adapter in &adapters {
            adapter.check(&targets, self.family.name, &mut notes)?;
        }
        let old = std::mem::replace(&mut self.adapters, adapters);
        if let Err(error) = self.exchange(&targets) {
            self.adapters = old;
            self.exchange(&targets)?;
            return Err(error);
        }
        Ok(notes)
    }

    /// Merges the adapters that it has now. `targets` are those of the denoiser and of each text encoder.
    fn exchange(&mut self, targets: &[Targets]) -> Result<()> {
        let (first, others) = targets.split_at(1);
        let of = |role| Adapted::patches(&self.adapters, role, 0);
        let (denoiser, text) = (of(Role::DENOISER), of(Role::TEXT_ENCODER));
        self.denoiser.adapt(&first[0], &denoiser)?;
        for (encoder, targets) in self.texts.iter_mut().zip(others) {
            encoder.network.adapt(targets, &text)?;
        }
        Ok(())
    }

    /// The calls behind the first at which other adapters act on the denoiser than before.
    pub(crate) fn turns(&self) -> Vec<usize> {
        let each = self.adapters.iter();
        let calls = each.flat_map(|one| [Some(one.calls.start), one.calls.stop]);
        let mut calls: Vec<usize> = calls.flatten().filter(|call| *call > 0).collect();
        calls.sort_unstable();
        calls.dedup();
        calls
    }

    /// The denoiser as adapters change it in a call. Layers that are as in the first call are shared with it.
    ///
    /// # Errors
    /// A weight that cannot be read.
    pub(crate) fn denoiser_at(&self, call: usize) -> Result<Arc<Denoiser>> {
        let patches = Adapted::patches(&self.adapters, Role::DENOISER, call);
        Ok(self.denoiser.with(&self.denoiser.targets()?, &patches)?)
    }

    /// Computes the hashes of adapters that are not known yet. `progress` is called with the bytes read and their number.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn hash_adapters(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        for adapted in self
            .adapters
            .iter_mut()
            .filter(|adapted| adapted.hash.is_none())
        {
            let hash = adapted.adapter.file().network_hash(progress);
            adapted.hash = hash.map_err(ModelError::from)?;
        }
        Ok(())
    }
}

/// A file that is a model and no adapter says so.
fn foreign(error: ModelError, path: &Path) -> Error {
    let checkpoint = matches!(error, ModelError::Request { .. })
        && latent_checkpoint::Checkpoint::open(path).is_ok();
    match checkpoint {
        true => Error::Model {
            path: path.to_owned(),
            reason: "it is a checkpoint and no LoRA: draw with it by --model".to_owned(),
        },
        false => error.into(),
    }
}

/// What an adapter was made for, and what the model is, as the end of a sentence.
fn fits(made: &MadeFor, targets: &[Targets], family: &str) -> String {
    let own = width(targets);
    match (family_of(made), made.context, own) {
        (Some(theirs), ..) if !family.starts_with(theirs) => {
            format!("it was made for {theirs}, and the model is of the family {family}")
        }
        (_, Some(theirs), Some(own)) if theirs != own => format!(
            "it was made for a denoiser that reads tokens of width {theirs}, and the model's reads tokens of width {own}"
        ),
        _ => format!(
            "it was made for a denoiser or text encoder of another layout than the model's ({family})"
        ),
    }
}

/// The width of the tokens that the denoiser reads.
fn width(targets: &[Targets]) -> Option<usize> {
    let mut each = targets.iter().flat_map(Targets::all);
    let reads = each.find(|target| {
        target.role() == Role::DENOISER && target.name.ends_with("attn2.to_k.weight")
    });
    reads.and_then(|target| target.shape.get(1).copied())
}

/// The family that an adapter was made for, by the width of the tokens that its cross-attention reads, by its text encoders, or as
/// its trainer states.
pub fn family_of(made: &MadeFor) -> Option<&'static str> {
    let widths = |family: &&Family| family.texts.iter().map(|text| text.width).sum::<usize>();
    let by_width = |width: usize| FAMILIES.iter().find(|family| widths(family) == width);
    let plain = |texts: usize| FAMILIES.iter().find(|family| family.texts.len() == texts);
    let stated = made.stated.as_deref().map(str::to_lowercase);
    let named = stated.and_then(|stated| {
        let (_, name) = STATED
            .iter()
            .find(|(words, _)| words.iter().any(|word| stated.contains(word)))?;
        FAMILIES.iter().find(|family| family.name == *name)
    });
    let second = made.second_text.then(|| plain(2)).flatten();
    let by_text = made.text.filter(|_| !made.second_text).and_then(by_width);
    let found = made
        .context
        .and_then(by_width)
        .or(named)
        .or(second)
        .or(by_text);
    found.map(|family| family.name)
}

/// What trainers call families (`ss_base_model_version`, `modelspec.architecture`).
const STATED: [(&[&str], &str); 3] = [
    (&["sdxl", "stable-diffusion-xl"], "SDXL"),
    (
        &["sd_v2", "stable-diffusion-v2", "sd_2"],
        "Stable Diffusion 2.x",
    ),
    (
        &["sd_v1", "stable-diffusion-v1", "sd_1"],
        "Stable Diffusion 1.x",
    ),
];

/// What a file of an adapter is.
///
/// # Errors
/// A file that cannot be read, or is no adapter.
pub fn about(path: &Path) -> Result<(About, Option<&'static str>, AdapterFile)> {
    let file = AdapterFile::open(path)?;
    let about = file.about()?;
    let family = family_of(&about.made_for);
    Ok((about, family, file))
}

/// The parameters of the published networks of a family that adapters are made for; `None` of others.
pub fn published(family: &str) -> Option<Vec<Targets>> {
    let of = |unet: UNetConfig, texts: &[(Role, ClipTextConfig)]| -> Vec<Targets> {
        let texts = texts
            .iter()
            .map(|(role, text)| Targets::of(*role, &text.clone().into()));
        std::iter::once(Targets::of(Role::DENOISER, &unet.into()))
            .chain(texts)
            .collect()
    };
    let (first, second) = (Role::TEXT_ENCODER, Role::TEXT_ENCODER_2);
    Some(match family {
        "Stable Diffusion 1.x" => of(named::unet_sd1(), &[(first, named::clip_l())]),
        "Stable Diffusion 2.x" => of(named::unet_sd2(), &[(first, named::clip_h())]),
        "SDXL" => of(
            named::unet_sdxl_base(),
            &[(first, named::clip_l()), (second, named::clip_g())],
        ),
        _ => return None,
    })
}
