//! A text encoder that does not learn.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor, TensorData};
use latent_checkpoint::{Checkpoint, LoadOptions, Role};
use latent_models::{ClipText, ClipTextConfig};
use latent_text::{ClipTokenizer, TextTokenizer};

use super::cache::{Cache, hash, hash_of};
use crate::Error;

/// The encoder, and the states that it has made of texts.
#[derive(Debug)]
pub(super) struct Frozen {
    pub encoder: ClipText,
    pub words: Arc<TextTokenizer>,
    hash: String,
    cache: Option<Cache>,
    /// Tokens, and the width of a state.
    pub size: [usize; 2],
    device: Device,
}

impl Frozen {
    /// That of the checkpoint at `path`, which must make states of that size; they are kept in the folder `cache`.
    ///
    /// # Errors
    /// A checkpoint that cannot be read, or another size.
    pub fn open(
        path: &Path,
        size: [usize; 2],
        cache: Option<&Path>,
        device: &Device,
    ) -> Result<Self, Error> {
        let options = LoadOptions::new(device.clone(), DType::F32);
        let checkpoint = Checkpoint::open(path)?;
        let (encoder, _) =
            checkpoint.load::<ClipTextConfig>(Role::TEXT_ENCODER, &options, &mut |_, _| {})?;
        let made = [encoder.config().positions, encoder.config().width];
        if made != size {
            let value = format!("{size:?}");
            let expected = format!("{made:?}, what the text encoder gives");
            return Err(Error::setting(
                "model.conditioner.tokens and width",
                value,
                &expected,
            ));
        }
        Ok(Self {
            hash: hash_of(&encoder),
            encoder,
            words: Arc::new(TextTokenizer::Clip(ClipTokenizer::new())),
            cache: cache.map(|folder| Cache::new(folder.join("texts"))),
            size,
            device: device.clone(),
        })
    }

    /// The states of a text: `[1, tokens, width]`.
    ///
    /// # Errors
    /// A cache that cannot be written.
    pub fn states(&self, text: &str) -> Result<Tensor<3>, Error> {
        let [tokens, width] = self.size;
        let row = self.words.row(text, tokens);
        let bytes: Vec<u8> = row.iter().flat_map(|id| id.to_le_bytes()).collect();
        let key = hash(&[self.hash.as_bytes(), &bytes]);
        let known = self
            .cache
            .as_ref()
            .and_then(|cache| cache.get(&key, tokens * width));
        let numbers = match known {
            Some(numbers) => numbers,
            None => {
                let ids: Vec<i64> = row.into_iter().map(i64::from).collect();
                let ids = Tensor::from_data(TensorData::new(ids, [1, tokens]), &self.device);
                let states = self.encoder.forward(ids, 0).into_data();
                let numbers: Vec<f32> = states.iter::<f32>().collect();
                if let Some(cache) = &self.cache {
                    cache.put(&key, &numbers)?;
                }
                numbers
            }
        };
        Ok(Tensor::from_data(
            TensorData::new(numbers, [1, tokens, width]),
            &self.device,
        ))
    }
}
