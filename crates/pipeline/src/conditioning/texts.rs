//! Texts to states: chunks of tokens through each text encoder, the rule for weights, the states joined.

use burn::tensor::{Int, Tensor, TensorData};
use latent_models::ClipText;
use latent_models::clip::{Take, TextStates};
use latent_text::{Chunk, Dialect, WeightRule};

use crate::embeddings::Named;
use crate::error::{Error, Result};
use crate::family::Layer;
use crate::model::{Model, TextEncoder};

/// How texts are encoded.
#[derive(Debug, Clone, Copy)]
pub struct Encoding<'a> {
    /// The prompt language.
    pub dialect: Dialect,
    /// How weights act.
    pub rule: WeightRule,
    /// Layers left out at the end beyond those that the family leaves out, or in its place; `None`: the family's.
    pub skip: Option<Skip>,
    /// `prompt`, `negative_prompt` and the like: where the texts of the first encoder and of the others stand, for errors.
    pub which: [&'static str; 2],
    /// What words of the texts stand for.
    pub named: &'a Named,
}

/// Which layer of a text encoder a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// So many before the one that the family reads.
    Further(usize),
    /// So many before the last.
    BeforeLast(usize),
}

impl TextEncoder {
    /// What is taken of the network, with `skip` in the place of the family's layer.
    fn take(&self, skip: Option<Skip>) -> Take {
        let own = match self.input.layer {
            Layer::BeforeLast(layers) => layers,
            // Later layers were never loaded.
            Layer::Number(number) => self.network.config().layers.saturating_sub(number),
        };
        Take {
            skip: match skip {
                None => own,
                Some(Skip::Further(layers)) => own + layers,
                Some(Skip::BeforeLast(layers)) => layers,
            },
            normed: self.input.normed,
            pooled: self.input.pooled,
        }
    }
}

impl Model {
    /// What the model's text encoders make of texts that one prompt goes through, each as the first encoder and as the others
    /// read it: states `[1, 77 · chunks, width]`, the widths of all encoders joined, and the pooled state of the first chunk,
    /// `[1, width]`, where the family takes it.
    ///
    /// A1111 encodes such texts as one batch, which shows: the shorter are filled up with empty chunks, and the mean
    /// that weights must keep is that of the whole batch. Each encoder is by itself in this, but for the number of chunks.
    ///
    /// # Errors
    /// Texts beyond the limits of `latent-text`; an encoder whose weights cannot be read.
    pub fn encode_texts(
        &self,
        texts: &[[&str; 2]],
        encoding: Encoding<'_>,
    ) -> Result<Vec<TextStates>> {
        let mut rows = Vec::with_capacity(self.texts.len());
        for (number, encoder) in self.texts.iter().enumerate() {
            let (pad, own) = (encoder.input.pad, number.min(1));
            let which = encoding.which[own];
            let chunks = |text: &str| {
                let words = &encoding.named.words;
                let encoded = words.chunks(&self.tokenizer, text, encoding.dialect, pad);
                let encoded = encoded.map_err(|source| Error::Prompt { which, source })?;
                Ok::<_, Error>(encoded.chunks)
            };
            let all = texts.iter().map(|pair| chunks(pair[own]));
            rows.push((all.collect::<Result<Vec<_>>>()?, chunks("")?));
        }
        let all = rows.iter().flat_map(|(rows, _)| rows);
        let longest = all.map(Vec::len).max().unwrap_or(0);
        let mut joined: Vec<TextStates> = Vec::new();
        for (number, (rows, empty)) in rows.into_iter().enumerate() {
            let encoded = self.encode_by(number, rows, empty.first(), longest, encoding)?;
            joined = match joined.is_empty() {
                true => encoded,
                false => joined.into_iter().zip(encoded).map(join).collect(),
            };
        }
        Ok(joined)
    }

    /// The states by the encoder of this number, of rows that are filled up with `empty` to the length of the longest.
    fn encode_by(
        &self,
        number: usize,
        mut rows: Vec<Vec<Chunk>>,
        empty: Option<&Chunk>,
        longest: usize,
        encoding: Encoding<'_>,
    ) -> Result<Vec<TextStates>> {
        let encoder = &self.texts[number];
        for row in &mut rows {
            while row.len() < longest {
                row.extend(empty.cloned());
            }
        }
        let states = Chunks {
            model: self,
            network: &*encoder.network.get()?,
            take: encoder.take(encoding.skip),
            named: encoding.named,
            number,
        };
        let mut encoded: Vec<Vec<TextStates>> = vec![Vec::with_capacity(longest); rows.len()];
        for at in 0..longest {
            let column: Vec<&Chunk> = rows.iter().map(|row| &row[at]).collect();
            let states = states.weighted(&column, empty, encoding.rule);
            for (text, states) in encoded.iter_mut().zip(states) {
                text.push(states);
            }
        }
        let whole = |chunks: Vec<TextStates>| TextStates {
            pooled: chunks.first().and_then(|chunk| chunk.pooled.clone()),
            states: Tensor::cat(chunks.into_iter().map(|chunk| chunk.states).collect(), 1),
        };
        Ok(encoded.into_iter().map(whole).collect())
    }
}

/// The states of two encoders side by side, and the pooled state of the one that gives one.
fn join((first, second): (TextStates, TextStates)) -> TextStates {
    TextStates {
        states: Tensor::cat(vec![first.states, second.states], 2),
        pooled: second.pooled.or(first.pooled),
    }
}

/// The encoding of chunks by one encoder.
struct Chunks<'a> {
    model: &'a Model,
    network: &'a ClipText,
    take: Take,
    named: &'a Named,
    /// Of the encoder.
    number: usize,
}

impl Chunks<'_> {
    /// The states of one chunk of each text, weights applied.
    fn weighted(
        &self,
        chunks: &[&Chunk],
        empty: Option<&Chunk>,
        rule: WeightRule,
    ) -> Vec<TextStates> {
        let mut states: Vec<TextStates> = Vec::with_capacity(chunks.len());
        for (i, chunk) in chunks.iter().enumerate() {
            let same = |c: &&Chunk| c.ids == chunk.ids && c.vectors == chunk.vectors;
            let known = chunks[..i].iter().position(same);
            states.push(known.map_or_else(|| self.states(chunk), |k| states[k].clone()));
        }
        let plain = |chunk: &&&Chunk| chunk.weights.iter().all(|w| *w == 1.0);
        if rule == WeightRule::None || chunks.iter().all(|c| plain(&c)) {
            return states;
        }
        let weights = |chunk: &Chunk| {
            let tokens = chunk.weights.len();
            let weights = TensorData::new(chunk.weights.clone(), [1, tokens, 1]);
            Tensor::<3>::from_data(weights, &self.model.device)
        };
        let changed = |text: TextStates, change: &dyn Fn(Tensor<3>) -> Tensor<3>| TextStates {
            states: change(text.states),
            ..text
        };
        match (rule, empty) {
            (WeightRule::InterpolateFromEmpty, Some(empty)) => {
                let empty = self.states(empty).states;
                let pairs = states.into_iter().zip(chunks);
                pairs
                    .map(|(text, chunk)| {
                        changed(text, &|s| {
                            (s - empty.clone()) * weights(chunk) + empty.clone()
                        })
                    })
                    .collect()
            }
            (WeightRule::MeanRestoring, _) => {
                let before: f64 = states.iter().map(mean).sum();
                let pairs = states.into_iter().zip(chunks);
                let states: Vec<_> = pairs
                    .map(|(text, chunk)| changed(text, &|s| s * weights(chunk)))
                    .collect();
                let after: f64 = states.iter().map(mean).sum();
                if after == 0.0 {
                    return states;
                }
                let restored = states.into_iter();
                restored
                    .map(|text| changed(text, &|s| s * (before / after)))
                    .collect()
            }
            _ => states,
        }
    }

    fn states(&self, chunk: &Chunk) -> TextStates {
        let ids: Vec<i64> = chunk.ids.iter().map(|id| i64::from(*id)).collect();
        let ids = TensorData::new(ids, [1, chunk.ids.len()]);
        let ids = Tensor::<2, Int>::from_data(ids, &self.model.device);
        let vectors = chunk.vectors.iter().filter_map(|&(position, vector)| {
            Some((position, self.named.vector(self.number, vector)?))
        });
        let vectors: Vec<_> = vectors.collect();
        self.network.encode_with(ids, &vectors, self.take)
    }
}

/// The mean of all values, summed in one order whatever the number of threads.
fn mean(text: &TextStates) -> f64 {
    let data = text.states.to_data().convert::<f32>();
    let sum: f64 = data.iter::<f32>().map(f64::from).sum();
    sum / data.num_elements().max(1) as f64
}
