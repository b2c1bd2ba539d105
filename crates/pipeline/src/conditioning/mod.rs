//! Prompts as the network sees them.

mod texts;
mod vector;

use burn::tensor::Tensor;
use latent_models::clip::TextStates;
use latent_models::{Condition, Conditioned};
use latent_text::{Pad, Pass, Scheduled, WeightRule};

pub use texts::{Encoding, Skip};

use crate::beside::NOISE_LEVEL;
use crate::embeddings::{Embeddings, Named, Used};
use crate::error::{Error, Result};
use crate::family::VectorInput;
use crate::model::Model;
use crate::profile::Profile;
use crate::ready::reads_prompt_language;
use crate::request::{self, Request, Size};
use crate::resources::{Memory, Resources};
use crate::track::{Context, Track};

/// The fields of a request whose texts are encoded.
const PROMPT: &str = "prompt";
const NEGATIVE: &str = "negative_prompt";
/// Those of the encoders after the first.
const PROMPT_2: &str = "prompt_2";
const NEGATIVE_2: &str = "negative_prompt_2";

/// The tracks of a prompt and its negative prompt over one pass.
#[derive(Debug, Clone)]
pub struct Prompts {
    /// One per part joined by `AND`.
    pub positive: Vec<Track>,
    /// Of weight 1.
    pub negative: Track,
    /// Of no text, for guidance that starts from there.
    pub empty: Option<Track>,
    /// What the program would cut off the end of a prompt that is too long for it.
    pub truncated: Option<String>,
    /// The embeddings that the prompts name, the negative one's last.
    pub embeddings: Vec<Used>,
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
    /// Encodes both prompts for a pass over pictures of `size`; `embeddings` are what they may name. Conditions that are files are not read: that is
    /// [`read`](Self::read)'s.
    ///
    /// # Errors
    /// A prompt that cannot be read, an embedding that it names and that cannot be drawn with.
    pub fn encode(
        model: &Model,
        profile: &Profile,
        request: &Request,
        [prompt, negative]: [&str; 2],
        size: Size,
        pass: Pass,
        embeddings: &Embeddings,
    ) -> Result<Self> {
        if !reads_prompt_language(model) {
            return Self::read(model, request, [prompt, negative], size, &Memory::default());
        }
        let dialect = profile.dialect;
        let at = |which| move |source| Error::Prompt { which, source };
        // Of the encoders after the first.
        let others = |which, text: &Option<String>| {
            let text = text.as_ref().filter(|_| model.texts.len() > 1);
            let read = text.map(|text| latent_text::parse_negative(text, pass, dialect));
            read.transpose().map_err(at(which))
        };
        let prompt_2 = others(PROMPT_2, &request.prompt_2)?;
        let negative_2 = others(NEGATIVE_2, &request.negative_prompt_2)?;
        let parts = latent_text::parse(prompt, pass, dialect)
            .map_err(at(PROMPT))?
            .parts;
        let unwanted =
            |text| latent_text::parse_negative(text, pass, dialect).map_err(at(NEGATIVE));
        let against = unwanted(negative)?;
        let texts = parts.iter().flat_map(|part| &part.schedule);
        let texts = texts.chain(prompt_2.iter().flatten());
        let texts = texts.chain(&against).chain(negative_2.iter().flatten());
        let texts: Vec<&str> = texts.map(|scheduled| scheduled.text.as_str()).collect();
        let named = &Named::of(model, dialect, &texts, embeddings)?;
        let encoder = |negative: bool| Encoder {
            model,
            request,
            size,
            negative,
            encoding: Encoding {
                dialect,
                rule: weight_rule(request, profile),
                skip: profile.skip(request, &model.family, negative),
                which: match negative {
                    true => [
                        NEGATIVE,
                        request
                            .negative_prompt_2
                            .as_ref()
                            .map_or(NEGATIVE, |_| NEGATIVE_2),
                    ],
                    false => [
                        PROMPT,
                        request.prompt_2.as_ref().map_or(PROMPT, |_| PROMPT_2),
                    ],
                },
                named,
            },
        };
        let positive = parts
            .iter()
            .map(|part| encoder(false).track(part.weight, &part.schedule, prompt_2.as_deref()));
        let positive = positive.collect::<Result<_>>()?;
        let mut against = encoder(true).track(1.0, &against, negative_2.as_deref())?;
        let nothing = negative_2.iter().flatten().all(|text| text.text.is_empty());
        if negative.is_empty() && nothing && profile.zeros_for_empty(request, &model.family) {
            encoder(true).zero(&mut against);
        }
        let empty = request
            .guidance
            .perp_neg
            .map(|_| encoder(true).track(1.0, &unwanted("")?, None));
        let mut empty = empty.transpose()?;
        if profile.zeros_for_empty(request, &model.family) {
            empty.iter_mut().for_each(|track| encoder(true).zero(track));
        }
        let pad = model.texts.first().map_or(Pad::End, |text| text.input.pad);
        let chunks = |text, pad| named.words.chunks(&model.tokenizer, text, dialect, pad);
        let cut = chunks(prompt, pad).map_err(at(PROMPT))?;
        let pad_2 = model.texts.get(1).map(|text| text.input.pad);
        let cut_2 = pad_2.zip(request.prompt_2.as_ref()).map(|(pad, text)| {
            let cut = chunks(text, pad);
            cut.map(|cut| cut.truncated).map_err(at(PROMPT_2))
        });
        let cut_2 = cut_2.transpose()?.flatten();
        Ok(Self {
            positive,
            negative: against,
            empty,
            truncated: cut
                .truncated
                .into_iter()
                .chain(cut_2)
                .reduce(|a, b| format!("{a} … {b}")),
            embeddings: named.used.clone(),
        })
    }
}

impl Prompts {
    /// The same prompts, each of the positive ones beside that vector for every picture: `[batch, width]`.
    pub(crate) fn beside(&self, vector: &Tensor<2>) -> Self {
        let mut prompts = self.clone();
        for track in &mut prompts.positive {
            for context in &mut track.contexts {
                context.given.vector = Some(vector.clone());
            }
        }
        prompts
    }

    /// The condition of a model that was trained here and reads it itself, or of one without any.
    ///
    /// # Errors
    /// A condition that is missing, cannot be read or does not fit the model.
    pub fn read(
        model: &Model,
        request: &Request,
        [prompt, negative]: [&str; 2],
        size: Size,
        resources: &dyn Resources,
    ) -> Result<Self> {
        let request = Request {
            prompt: prompt.to_owned(),
            negative_prompt: negative.to_owned(),
            ..request.clone()
        };
        // What is drawn before it is cut.
        let whole = |side: usize| side.next_multiple_of(model.multiple());
        let size = Size {
            width: whole(size.width),
            height: whole(size.height),
        };
        let read = |request: &Request| match &model.condition {
            Some(reader) => reader.read(request, size, resources),
            None => Ok([Conditioned::default(), Conditioned::default()]),
        };
        let [with, without] = read(&request)?;
        let empty = request.guidance.perp_neg.map(|_| {
            let [_, empty] = read(&Request {
                negative_prompt: String::new(),
                ..request.clone()
            })?;
            Ok::<_, Error>(empty)
        });
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
            empty: empty.transpose()?.map(track),
            truncated: None,
            embeddings: Vec::new(),
        })
    }
}

/// Each stretch in which the texts of two schedules stay as they are: its end, and both.
fn paired<'a>(first: &'a [Scheduled], second: &'a [Scheduled]) -> Vec<(usize, [&'a str; 2])> {
    let ends = first.iter().chain(second).map(|s| s.until);
    let ends: std::collections::BTreeSet<usize> = ends.collect();
    let at = |schedule: &'a [Scheduled], end| {
        let held = schedule.iter().find(|s| end <= s.until);
        held.or(schedule.last()).map_or("", |s| s.text.as_str())
    };
    let stretch = |end| (end, [at(first, end), at(second, end)]);
    ends.into_iter().map(stretch).collect()
}

struct Encoder<'a> {
    model: &'a Model,
    request: &'a Request,
    encoding: Encoding<'a>,
    size: Size,
    negative: bool,
}

impl Encoder<'_> {
    /// `others` are for the encoders after the first.
    fn track(
        &self,
        weight: f64,
        schedule: &[Scheduled],
        others: Option<&[Scheduled]>,
    ) -> Result<Track> {
        let (ends, texts): (Vec<_>, Vec<_>) = match others {
            Some(others) => paired(schedule, others).into_iter().unzip(),
            None => {
                let alike = schedule.iter().map(|s| (s.until, [s.text.as_str(); 2]));
                alike.unzip()
            }
        };
        let encoded = self.model.encode_texts(&texts, self.encoding)?;
        let contexts = ends.into_iter().zip(encoded).map(|(until, text)| {
            Ok::<_, Error>(Context {
                until,
                given: self.given(text)?,
            })
        });
        Ok(Track {
            weight,
            contexts: contexts.collect::<Result<_>>()?,
        })
    }

    /// What the denoiser is given for a text.
    fn given(&self, text: TextStates) -> Result<Conditioned> {
        if let Some(reader) = &self.model.condition {
            let network = reader.network().get()?;
            return Ok(network.forward(Condition::Vectors(text.states)));
        }
        Ok(Conditioned {
            vector: match self.model.family.vector {
                VectorInput::Level => {
                    let level = self.request.condition.noise_level.unwrap_or(NOISE_LEVEL);
                    Some(Tensor::full([1, 1], level, &self.model.device))
                }
                // Of no picture.
                VectorInput::Picture => {
                    let width = self.model.denoiser.config().interface().labels.width();
                    width.map(|width| Tensor::zeros([1, width], &self.model.device))
                }
                _ => text.pooled.map(|pooled| self.vector(pooled)),
            },
            context: Some(text.states),
            ..Conditioned::default()
        })
    }

    fn vector(&self, pooled: Tensor<2>) -> Tensor<2> {
        let input = self.model.family.vector;
        vector::sizes_vector(
            input,
            pooled,
            &self.request.condition.sizes,
            self.size,
            self.negative,
        )
    }

    /// Zeros in the place of states and pooled text; sizes stay.
    fn zero(&self, track: &mut Track) {
        let pooled = self.model.texts.iter().rev().find(|text| text.input.pooled);
        for context in &mut track.contexts {
            let given = &mut context.given;
            given.context = given.context.take().map(|states| states.zeros_like());
            given.vector = given.vector.take().map(|vector| match pooled {
                Some(text) => {
                    let config = text.network.config();
                    let width = config.projection.unwrap_or(config.width);
                    self.vector(Tensor::zeros([1, width], &vector.device()))
                }
                None => vector,
            });
        }
    }
}
