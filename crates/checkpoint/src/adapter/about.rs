//! What an adapter's file is, without a model beside it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::file::{AdapterFile, Module};
use super::kind::Kind;
use super::spelling::Dialect;
use crate::networks::Role;
use crate::report::ModelError;

/// So many words of the captions are told.
const WORDS: usize = 12;
/// Of texts in the file, so many characters are told.
const SHOWN: usize = 200;

/// What a trainer wrote about its work, by the key, and what it is called here.
const TRAINED: [(&str, &str); 17] = [
    ("modelspec.title", "title"),
    ("modelspec.author", "author"),
    ("modelspec.description", "description"),
    ("modelspec.license", "licence"),
    ("modelspec.usage_hint", "usage"),
    ("modelspec.trigger_phrase", "trigger"),
    ("modelspec.prediction_type", "prediction"),
    ("modelspec.date", "date"),
    ("ss_output_name", "name"),
    ("ss_sd_model_name", "trained on"),
    ("ss_network_module", "trainer"),
    ("ss_network_args", "arguments"),
    ("ss_resolution", "resolution"),
    ("ss_clip_skip", "clip skip"),
    ("ss_num_train_images", "pictures"),
    ("ss_steps", "steps"),
    ("ss_training_comment", "comment"),
];

/// What a file of an adapter says of itself.
#[derive(Clone, Debug, Serialize)]
pub struct About {
    /// Kinds of changes, with the number of modules.
    pub kinds: Vec<(Kind, usize)>,
    /// Magnitudes beside them (DoRA), in so many modules.
    pub with_magnitudes: usize,
    /// Spellings, with the number of modules, the commonest first.
    pub dialects: Vec<(Dialect, usize)>,
    /// The ranks of its modules; `None` where none has one.
    pub ranks: Option<Ranks>,
    /// Alphas of its modules; `None` where the file has no tensor of them.
    pub alphas: Option<Ranks>,
    /// The networks that it changes.
    pub touched: Vec<Touched>,
    /// What it was made for, as far as shapes and names say.
    pub made_for: MadeFor,
    /// What its trainer wrote of it, in words that people use.
    pub trained: Vec<(String, String)>,
    /// The words of the captions that it was trained with, the commonest first.
    pub words: Vec<(String, u64)>,
    /// Tensors that are no part of a change known here.
    pub unknown: Vec<String>,
    /// Tensors left unread, each with the reason.
    pub left_out: Vec<(String, String)>,
    /// Numbers in all.
    pub parameters: usize,
    /// How many tensors are stored in each type.
    pub dtypes: BTreeMap<String, usize>,
}

/// The least and the most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ranks {
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

impl Ranks {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        values
            .map(|v| Self { least: v, most: v })
            .reduce(|a, b| Self {
                least: a.least.min(b.least),
                most: a.most.max(b.most),
            })
    }
}

impl std::fmt::Display for Ranks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.least == self.most {
            true => write!(f, "{}", self.least),
            false => write!(f, "{} to {}", self.least, self.most),
        }
    }
}

/// A network that an adapter changes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Touched {
    /// Which; `None` where the spelling does not say.
    pub network: Option<Role>,
    /// Modules of it.
    pub modules: usize,
}

/// What an adapter was made for, by the shapes of what it changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MadeFor {
    /// Width of the tokens that the denoiser's cross-attention reads.
    pub context: Option<usize>,
    /// Width of the first text encoder.
    pub text: Option<usize>,
    /// It changes a second text encoder.
    pub second_text: bool,
    /// What its trainer says: `ss_base_model_version`, else `modelspec.architecture`.
    pub stated: Option<String>,
}

impl AdapterFile {
    /// What it is.
    ///
    /// # Errors
    /// A module whose parts do not go together, or whose alpha is no number.
    pub fn about(&self) -> Result<About, ModelError> {
        let mut kinds: BTreeMap<Kind, usize> = BTreeMap::new();
        let mut touched: BTreeMap<Option<Role>, usize> = BTreeMap::new();
        let (mut ranks, mut alphas) = (Vec::new(), Vec::new());
        let mut with_magnitudes = 0;
        for module in self.modules() {
            let kind = module.kind()?;
            *kinds.entry(kind).or_default() += 1;
            *touched.entry(network(module.stem)).or_default() += 1;
            with_magnitudes += usize::from(module.has("dora_scale") || module.has("magnitude"));
            ranks.extend(module.rank(kind).map(|rank| rank as f64));
            alphas.extend(module.number("alpha")?);
        }
        let mut kinds: Vec<_> = kinds.into_iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let tensors = self.weights().tensors();
        let mut dtypes: BTreeMap<String, usize> = BTreeMap::new();
        for info in tensors {
            *dtypes.entry(info.dtype.name().to_owned()).or_default() += 1;
        }
        let touched = touched.into_iter();
        let left_out = self.left_out().iter();
        Ok(About {
            kinds,
            with_magnitudes,
            dialects: self.dialects(),
            ranks: Ranks::of(ranks.into_iter()),
            alphas: Ranks::of(alphas.into_iter()),
            touched: touched
                .map(|(network, modules)| Touched { network, modules })
                .collect(),
            made_for: self.made_for(),
            trained: self.trained(),
            words: self.words(),
            unknown: self.unknown().to_vec(),
            left_out: left_out
                .map(|(name, why)| (name.clone(), (*why).to_owned()))
                .collect(),
            parameters: tensors.iter().map(|info| info.elements()).sum(),
            dtypes,
        })
    }

    /// What it was made for.
    pub fn made_for(&self) -> MadeFor {
        let ends = |stem: &str, words: &[&str]| words.iter().any(|word| stem.ends_with(word));
        let of_context = |module: &Module<'_>| {
            let attends = module.stem.contains("attn2");
            attends && ends(module.stem, &["to_k", "to_v", "to_k_lora", "to_v_lora"])
        };
        let of_text = |module: &Module<'_>| {
            let own = [
                "q_proj",
                "k_proj",
                "v_proj",
                "to_q_lora",
                "to_k_lora",
                "to_v_lora",
            ];
            network(module.stem) == Some(Role::TEXT_ENCODER) && ends(module.stem, &own)
        };
        let second = |module: &Module<'_>| network(module.stem) == Some(Role::TEXT_ENCODER_2);
        let metadata = |key: &str| self.metadata().get(key).cloned();
        MadeFor {
            context: self
                .modules()
                .filter(of_context)
                .find_map(|module| module.inputs()),
            text: self
                .modules()
                .filter(of_text)
                .find_map(|module| module.inputs()),
            second_text: self.modules().any(|module| second(&module)),
            stated: metadata("ss_base_model_version")
                .or_else(|| metadata("modelspec.architecture")),
        }
    }

    fn trained(&self) -> Vec<(String, String)> {
        let each = TRAINED.iter().filter_map(|(key, words)| {
            let text = self.metadata().get(*key).filter(|text| !text.is_empty())?;
            let shown: String = text.chars().take(SHOWN).collect();
            Some(((*words).to_owned(), shown))
        });
        each.collect()
    }

    /// kohya's `ss_tag_frequency`: folder → tag → how often.
    fn words(&self) -> Vec<(String, u64)> {
        let text = self.metadata().get("ss_tag_frequency");
        let read: Option<Value> = text.and_then(|text| serde_json::from_str(text).ok());
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        let folders = read
            .iter()
            .filter_map(Value::as_object)
            .flat_map(|folders| folders.values());
        for (word, count) in folders.filter_map(Value::as_object).flatten() {
            let word: String = word.trim().chars().take(SHOWN).collect();
            let count = count.as_u64().unwrap_or(0);
            let sum = counts.entry(word).or_default();
            *sum = sum.saturating_add(count);
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts.truncate(WORDS);
        counts
    }
}

impl Module<'_> {
    /// How many inputs the layer has that it changes, where its shapes say so.
    fn inputs(&self) -> Option<usize> {
        let side = |part, axis: usize| self.shape(part).get(axis).copied();
        match self.kind().ok()? {
            Kind::LowRank | Kind::LowRankCore => side("lora_down", 1),
            Kind::Hadamard | Kind::HadamardCore => side("hada_w1_b", 1),
            Kind::Full => side("diff", 1),
            Kind::Generalised if self.is_old_glora() => side("a1", 1),
            Kind::Generalised => side("a1", 0),
            Kind::Kronecker => {
                let first = side("lokr_w1", 1).or_else(|| side("lokr_w1_b", 1))?;
                let second = side("lokr_w2", 1).or_else(|| side("lokr_w2_b", 1))?;
                first.checked_mul(second)
            }
            _ => None,
        }
    }
}

/// The network that a stem is of, by what it begins with.
fn network(stem: &str) -> Option<Role> {
    const STARTS: [(&str, Role); 13] = [
        ("lora_unet_", Role::DENOISER),
        ("lora_te2_", Role::TEXT_ENCODER_2),
        ("lora_te", Role::TEXT_ENCODER),
        ("unet.", Role::DENOISER),
        ("unet/", Role::DENOISER),
        ("lycoris_", Role::DENOISER),
        ("diffusion_model.", Role::DENOISER),
        ("text_encoder_2", Role::TEXT_ENCODER_2),
        ("text_encoders.clip_g.", Role::TEXT_ENCODER_2),
        ("clip_g.", Role::TEXT_ENCODER_2),
        ("text_encoder", Role::TEXT_ENCODER),
        ("clip_", Role::TEXT_ENCODER),
        ("text_model.", Role::TEXT_ENCODER),
    ];
    let stem = stem.strip_prefix("base_model.model.").unwrap_or(stem);
    let found = STARTS.iter().find(|(start, _)| stem.starts_with(start));
    let blocks = [
        "down_blocks.",
        "mid_block.",
        "up_blocks.",
        "conv_",
        "time_embedding.",
    ];
    let bare = blocks.iter().any(|block| stem.starts_with(block));
    found
        .map(|(_, role)| *role)
        .or(bare.then_some(Role::DENOISER))
}
