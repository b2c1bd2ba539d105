//! Data sets as the measures need them.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use image::RgbImage;
use latent_data::config::Size;
use latent_data::{DataConfig, Example, Loader, LoaderOptions, Partial, Source};

use crate::{Error, Observer, observe};

/// Pictures decoded together.
const BATCH: usize = 32;

/// A data set whose pictures are squares of one size, as they are: nothing is mirrored or cropped at random.
pub(crate) struct Set {
    config: DataConfig,
    source: Arc<dyn Source>,
}

impl Set {
    /// Opens it; reads no picture.
    pub fn open(config: &DataConfig, size: u32, store: &[(String, String)]) -> Result<Self, Error> {
        let config = DataConfig {
            size: Some(Size::Square(size)),
            crop: Default::default(),
            flip: 0.0,
            buckets: None,
            ..config.clone()
        };
        Ok(Self {
            source: latent_data::open(&config, store)?,
            config,
        })
    }

    /// Where it lies.
    pub fn path(&self) -> &str {
        &self.config.path
    }

    /// How many pictures it has, broken ones included.
    pub fn len(&self) -> usize {
        self.source.len()
    }

    /// Batches in the set's own order, or shuffled by a seed.
    pub fn loader(&self, batch: usize, shuffle: Option<u64>) -> Result<Loader, Error> {
        let options = LoaderOptions {
            shuffle: shuffle.is_some(),
            partial: Partial::Keep,
            ..LoaderOptions::new(shuffle.unwrap_or_default(), batch)
        };
        Ok(Loader::new(
            self.source.clone(),
            self.config.fit()?,
            options,
        )?)
    }

    /// Gives `count` pictures, or all where there are fewer, to `each`, some at a time.
    pub fn read(
        &self,
        count: usize,
        shuffle: Option<u64>,
        observer: &mut dyn Observer,
        mut each: impl FnMut(Vec<Example>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let loader = self.loader(BATCH, shuffle)?;
        let mut left = count.min(self.len());
        for batch in loader.at(0) {
            let mut examples = batch?.examples;
            examples.truncate(left);
            left -= examples.len();
            let done = examples.len() as u64;
            each(examples)?;
            observe::advance(observer, done)?;
            if left == 0 {
                break;
            }
        }
        for (id, reason) in loader.skipped().into_iter().take(3) {
            observer.note(format!("{}: {id} was left out: {reason}", self.path()));
        }
        Ok(())
    }

    /// The picture of that index.
    pub fn at(&self, index: usize) -> Result<RgbImage, Error> {
        let batch = self.loader(1, None)?.batch(index as u64)?;
        let picture = batch.examples.into_iter().next();
        // A loader gives what it was asked for, or an error.
        Ok(picture.map(|e| e.picture).unwrap_or_default())
    }
}

/// Pictures of one size, within −1..=1.
///
/// # Shapes
///
/// `[batch, 3, height, width]`
pub(crate) fn tensor(pictures: &[&RgbImage], device: &Device) -> Tensor<4> {
    let (width, height) = pictures[0].dimensions();
    let numbers = pictures.iter().flat_map(|p| p.as_raw());
    let numbers: Vec<f32> = numbers.map(|&v| f32::from(v) / 127.5 - 1.0).collect();
    let shape = [pictures.len(), height as usize, width as usize, 3];
    Tensor::<4>::from_data(TensorData::new(numbers, shape), device).permute([0, 3, 1, 2])
}
