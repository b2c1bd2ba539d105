//! The embeddings that texts name, as the text encoders of one model read them.

use latent_checkpoint::Role;
use latent_checkpoint::inversion::{Learnt, Vectors};
use latent_text::{Dialect, Pad, PseudoWords};

use super::{Embeddings, Entry};
use crate::error::{Error, Result};
use crate::family::FAMILIES;
use crate::model::Model;

/// An embedding that was drawn with, as A1111 names it in pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// Its name.
    pub name: String,
    /// The first twelve digits of its file's SHA-256.
    pub hash: String,
}

/// The embeddings of folders, by their names.
#[derive(Debug, Default)]
pub struct Named {
    pub(crate) words: PseudoWords,
    /// The vectors of each of the model's text encoders, by number.
    vectors: Vec<Vec<Vec<f32>>>,
    /// In the order in which the texts name them.
    pub used: Vec<Used>,
}

impl Named {
    /// Finds and reads the embeddings that `texts` name.
    ///
    /// # Errors
    /// An embedding that cannot be read, that two files are called by, or that is made for another family than the model's.
    pub fn of(
        model: &Model,
        dialect: Dialect,
        texts: &[&str],
        embeddings: &Embeddings,
    ) -> Result<Self> {
        let spellings = embeddings.spellings(dialect);
        let mut named = Self {
            vectors: vec![Vec::new(); model.texts.len()],
            ..Self::default()
        };
        let mut words = Vec::new();
        for place in places(model, dialect, texts, &spellings) {
            let entry = &embeddings.entries()[place];
            check_alone(entry, embeddings, dialect)?;
            let read = entry.read()?;
            let first = named.vectors.first().map_or(0, Vec::len);
            let fitting = fit(model, &read.learnt).map_err(|reason| Error::Embedding {
                path: entry.path.clone(),
                reason,
            })?;
            for (all, new) in named.vectors.iter_mut().zip(fitting) {
                all.extend(new.each().map(<[f32]>::to_vec));
            }
            let range = first..first + read.learnt.count();
            let own = spellings.iter().filter(|(_, of)| *of == place);
            words.extend(own.map(|(spelling, _)| (spelling.clone(), range.clone())));
            named.used.push(Used {
                name: entry.name.clone(),
                hash: entry.hash()?,
            });
            tracing::info!("embedding {}: {} vectors", entry.name, read.learnt.count());
        }
        named.words = PseudoWords::new(&model.tokenizer, words);
        Ok(named)
    }

    /// Vector `number` as text encoder `encoder` of the model reads it.
    pub(crate) fn vector(&self, encoder: usize, number: usize) -> Option<&[f32]> {
        self.vectors.get(encoder)?.get(number).map(Vec::as_slice)
    }
}

/// The places of the entries that texts name, in the order of the texts. What cannot be read of a text is told where it is
/// encoded.
fn places(
    model: &Model,
    dialect: Dialect,
    texts: &[&str],
    spellings: &[(String, usize)],
) -> Vec<usize> {
    let mut places = Vec::new();
    if spellings.is_empty() {
        return places;
    }
    // Which names a text holds does not depend on how many vectors they stand for.
    let single = spellings
        .iter()
        .map(|(name, place)| (name.clone(), *place..place + 1));
    let words = PseudoWords::new(&model.tokenizer, single);
    for text in texts {
        let encoded = words.chunks(&model.tokenizer, text, dialect, Pad::End);
        let chunks = encoded.map(|encoded| encoded.chunks).unwrap_or_default();
        for (_, place) in chunks.into_iter().flat_map(|chunk| chunk.vectors) {
            if !places.contains(&place) {
                places.push(place);
            }
        }
    }
    places
}

/// Where a name is all that a text can say, no other file may have it.
fn check_alone(entry: &Entry, embeddings: &Embeddings, dialect: Dialect) -> Result<()> {
    let same = |other: &&Entry| {
        other.path != entry.path && other.name.to_lowercase() == entry.name.to_lowercase()
    };
    match embeddings.entries().iter().find(same) {
        Some(other) if dialect != Dialect::ComfyUi => Err(Error::Embedding {
            path: entry.path.clone(),
            reason: format!(
                "{} is called {} too: rename one of them",
                other.path.display(),
                entry.name
            ),
        }),
        _ => Ok(()),
    }
}

/// The vectors for each text encoder of the model.
fn fit<'a>(model: &Model, learnt: &'a Learnt) -> Result<Vec<&'a Vectors>, String> {
    let widths: Vec<usize> = model
        .texts
        .iter()
        .map(|t| t.network.config().width)
        .collect();
    let second = |text: &crate::model::TextEncoder| text.input.role == Role::TEXT_ENCODER_2;
    let found: Vec<&Vectors> = match learnt {
        Learnt::One(vectors) => vec![vectors],
        // A refiner has the second encoder alone.
        Learnt::Pair([_, clip_g]) if model.texts.len() == 1 && model.texts.iter().all(second) => {
            vec![clip_g]
        }
        Learnt::Pair([clip_l, clip_g]) => vec![clip_l, clip_g],
    };
    let fits = found
        .iter()
        .map(|vectors| vectors.width())
        .eq(widths.iter().copied());
    match fits {
        true => Ok(found),
        false => Err(format!(
            "it was learnt for {}, with {}, and {} reads {}: use one that was learnt for it, or take the name out of the prompt",
            made_for(&learnt.widths()).unwrap_or("another model"),
            told(&learnt.widths()),
            model.family.name,
            told(&widths)
        )),
    }
}

/// The family whose text encoders have these widths.
pub fn made_for(widths: &[usize]) -> Option<&'static str> {
    let family = FAMILIES.iter().find(|family| {
        let texts = family.texts.iter().map(|text| text.width);
        texts.eq(widths.iter().copied())
    })?;
    Some(family.name)
}

fn told(widths: &[usize]) -> String {
    match widths {
        [] => "no text".to_owned(),
        [width] => format!("vectors of width {width}"),
        [first, rest @ ..] => {
            let rest: Vec<_> = rest.iter().map(usize::to_string).collect();
            format!(
                "pairs of vectors of width {first} and {}",
                rest.join(" and ")
            )
        }
    }
}
