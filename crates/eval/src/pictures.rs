//! Data sets as the measures need them.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use image::RgbImage;
use image::imageops::{FilterType, resize};
use latent_data::config::{Columns, Format, Size};
use latent_data::{
    About, DataConfig, Example, Labels, Loader, LoaderOptions, Partial, Raw, Source,
};

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

    /// The pictures of those places alone, in that order; their own places are those of the list.
    pub fn only(&self, places: Vec<usize>) -> Self {
        Self {
            source: Arc::new(Chosen {
                source: self.source.clone(),
                places,
            }),
            config: self.config.clone(),
        }
    }

    /// What messages call a picture.
    pub fn id(&self, index: usize) -> String {
        self.source.id(index)
    }

    /// What a column of the set's table says of each picture; without a table, [`CLASS`] is the class that the set gives it.
    ///
    /// # Errors
    /// No such column, or none at all; `flag` is where it was named.
    pub fn column(
        &self,
        column: &str,
        flag: &'static str,
        store: &[(String, String)],
    ) -> Result<Vec<Option<String>>, Error> {
        let about = self.source.about();
        let tables = [Format::Csv, Format::Jsonl, Format::Parquet];
        if !about.format.is_some_and(|format| tables.contains(&format)) {
            if column != CLASS {
                let problem = format!(
                    "{} is no table and has no columns: name one, or write --{flag} {CLASS} for the classes of its pictures",
                    self.path()
                );
                return Err(Error::option(flag, column, problem));
            }
            let value = |index: usize| {
                let class = self.source.labels(index, false).ok()?.class?;
                let name = self.source.classes().get(class as usize);
                Some(name.cloned().unwrap_or_else(|| class.to_string()))
            };
            return Ok((0..self.source.len()).map(value).collect());
        }
        // Any column can be read as a caption, as it is.
        let config = DataConfig {
            columns: Columns {
                caption: Some(column.to_owned()),
                ..self.config.columns.clone()
            },
            ..self.config.clone()
        };
        let source = latent_data::open(&config, store)?;
        let text = |index: usize| source.labels(index, false).ok()?.caption;
        let texts = (0..source.len()).map(text);
        Ok(texts
            .map(|text| text.filter(|text| !text.is_empty()))
            .collect())
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

/// The column of a picture's class in sets that are no tables.
pub(crate) const CLASS: &str = "class";

/// Some pictures of a source.
struct Chosen {
    source: Arc<dyn Source>,
    places: Vec<usize>,
}

impl Source for Chosen {
    fn len(&self) -> usize {
        self.places.len()
    }

    fn id(&self, index: usize) -> String {
        self.source.id(self.places[index])
    }

    fn size(&self, index: usize) -> Result<[u32; 2], latent_data::Error> {
        self.source.size(self.places[index])
    }

    fn read(&self, index: usize) -> Result<Raw, latent_data::Error> {
        self.source.read(self.places[index])
    }

    fn labels(&self, index: usize, mask: bool) -> Result<Labels, latent_data::Error> {
        self.source.labels(self.places[index], mask)
    }

    fn classes(&self) -> &[String] {
        self.source.classes()
    }

    fn about(&self) -> About {
        self.source.about()
    }
}

/// A picture as a square of that side, for a network that looks at small ones.
pub(crate) fn square(picture: &RgbImage, side: u32) -> RgbImage {
    match picture.dimensions() == (side, side) {
        true => picture.clone(),
        false => resize(picture, side, side, FilterType::Triangle),
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

/// The pictures of a tensor within −1..=1: `[batch, 3, height, width]`.
pub(crate) fn of(x: Tensor<4>) -> Vec<RgbImage> {
    let [_, _, height, width] = x.dims();
    let numbers = x.permute([0, 2, 3, 1]).into_data();
    let byte = |v: f32| ((v + 1.0) * 127.5).round() as u8;
    let bytes: Vec<u8> = numbers.iter::<f32>().map(byte).collect();
    let pictures = bytes.chunks(3 * height * width);
    let picture = |bytes: &[u8]| RgbImage::from_raw(width as u32, height as u32, bytes.to_vec());
    pictures.filter_map(picture).collect()
}
