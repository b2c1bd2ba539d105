//! Prompts as the network sees them.

use latent_models::{Condition, Conditioned, ConditionerConfig};
use latent_text::{Pad, Pass, Scheduled, WeightRule};

use crate::error::{Error, Result};
use crate::guided::{Context, Track};
use crate::model::Model;
use crate::profile::Profile;
use crate::request::{self, Request};

/// The tracks of a prompt and its negative prompt over one pass.
#[derive(Debug, Clone)]
pub struct Prompts {
    /// One per part joined by `AND`.
    pub positive: Vec<Track>,
    /// Of weight 1.
    pub negative: Track,
    /// What the program would cut off the end of a prompt that is too long for it.
    pub truncated: Option<String>,
}

/// The rule for weights that a request asks for.
pub(crate) fn weight_rule(request: &Request, profile: &Profile) -> WeightRule {
    match request.weight_rule {
        None => profile.weight_rule,
        Some(request::WeightRule::A1111) => WeightRule::MeanRestoring,
        Some(request::WeightRule::ComfyUi) => WeightRule::InterpolateFromEmpty,
        Some(request::WeightRule::Ignore) => WeightRule::None,
    }
}

impl Prompts {
    /// Encodes both prompts for a pass.
    ///
    /// # Errors
    /// A prompt that cannot be read.
    pub fn encode(
        model: &Model,
        profile: &Profile,
        request: &Request,
        prompt: &str,
        negative: &str,
        pass: Pass,
    ) -> Result<Self> {
        let frozen = |c: &ConditionerConfig| matches!(c, ConditionerConfig::FrozenText { .. });
        if model.text.is_none() || model.conditioner().is_some_and(|c| !frozen(c)) {
            return Self::trained(model, request, prompt, negative);
        }
        let encoder = Encoder {
            model,
            profile,
            rule: weight_rule(request, profile),
            skip: request.layers_skipped().unwrap_or(model.family.text_skip),
        };
        let at = |which| move |source| Error::Prompt { which, source };
        let dialect = profile.dialect;
        let parts = latent_text::parse(prompt, pass, dialect)
            .map_err(at("prompt"))?
            .parts;
        let positive = parts
            .iter()
            .map(|part| encoder.track(part.weight, &part.schedule));
        let positive = positive.collect::<Result<_, _>>().map_err(at("prompt"))?;
        let against =
            latent_text::parse_negative(negative, pass, dialect).map_err(at("negative_prompt"))?;
        let negative = encoder
            .track(1.0, &against)
            .map_err(at("negative_prompt"))?;
        let cut = latent_text::chunks(&model.tokenizer, prompt, dialect, Pad::End)
            .map_err(at("prompt"))?;
        Ok(Self {
            positive,
            negative,
            truncated: cut.truncated,
        })
    }
}

impl Prompts {
    /// The condition of a model that was trained here and reads it itself, or of one without any.
    fn trained(model: &Model, request: &Request, prompt: &str, negative: &str) -> Result<Self> {
        let request = Request {
            prompt: prompt.to_owned(),
            negative_prompt: negative.to_owned(),
            ..request.clone()
        };
        let [with, without] = match &model.condition {
            Some(reader) => reader.read(&request, request.canvas())?,
            None => [Conditioned::default(), Conditioned::default()],
        };
        let track = |given| Track {
            weight: 1.0,
            contexts: vec![Context {
                until: usize::MAX,
                given,
            }],
        };
        Ok(Self {
            positive: vec![track(with)],
            negative: track(without),
            truncated: None,
        })
    }
}

struct Encoder<'a> {
    model: &'a Model,
    profile: &'a Profile,
    rule: WeightRule,
    skip: usize,
}

impl Encoder<'_> {
    fn track(
        &self,
        weight: f64,
        schedule: &[Scheduled],
    ) -> Result<Track, latent_text::PromptError> {
        let texts: Vec<&str> = schedule.iter().map(|s| s.text.as_str()).collect();
        let dialect = self.profile.dialect;
        let encoded = self
            .model
            .encode_texts(&texts, dialect, self.rule, self.skip)?;
        let given = |tokens| match &self.model.condition {
            Some(reader) => reader.network().forward(Condition::Vectors(tokens)),
            None => Conditioned {
                context: Some(tokens),
                ..Conditioned::default()
            },
        };
        let contexts = schedule.iter().zip(encoded).map(|(s, tokens)| Context {
            until: s.until,
            given: given(tokens),
        });
        Ok(Track {
            weight,
            contexts: contexts.collect(),
        })
    }
}
