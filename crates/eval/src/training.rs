//! The training split: its captions, its features, and the encoder that learns from it.

use burn::tensor::Device;
use image::RgbImage;
use latent_data::{DataConfig, random};

use crate::encoder::{BATCH, Encoder, Teaching, Vocabulary};
use crate::features::{FeatureNet, keep, kept};
use crate::pictures::Set;
use crate::retrieval::Captions;
use crate::{Error, Observer, Options, observe};

/// The features of its pictures, beside the encoder's files.
const FEATURES: &str = "train-features.safetensors";

/// What the measures need of the training split.
pub(crate) struct Training {
    set: Set,
    seen: Survey,
    /// Features of the pictures, one vector after another; empty without a feature network.
    pub features: Vec<f32>,
    pub encoder: Encoder,
}

/// What its pictures are called and said to show; those that cannot be read are left out.
#[derive(Default)]
struct Survey {
    /// Places in the set.
    places: Vec<usize>,
    names: Vec<String>,
    captions: Vec<Option<String>>,
    /// A hash of names and captions: what is kept for the next run may be used for the same pictures only.
    content: u64,
}

impl Survey {
    fn of(set: &Set, observer: &mut dyn Observer) -> Result<Self, Error> {
        let mut seen = Self::default();
        observer.stage("reading training pictures", set.len() as u64);
        set.read(set.len(), None, observer, |examples| {
            for example in examples {
                let text = example.caption.as_deref().unwrap_or_default();
                let keys = [random::key(&example.id), random::key(text)];
                seen.content = random::draw(seen.content, &keys);
                seen.places.push(example.index);
                seen.names.push(example.id);
                seen.captions.push(example.caption);
            }
            Ok(())
        })?;
        Ok(seen)
    }
}

impl Training {
    /// Reads all pictures; computes their features and teaches the encoder, each unless the report's folder keeps it of
    /// the same pictures.
    pub fn read(
        options: &Options,
        config: &DataConfig,
        size: u32,
        feature_net: Option<&FeatureNet>,
        device: &Device,
        observer: &mut dyn Observer,
    ) -> Result<Self, Error> {
        let set = Set::open(config, size, &options.store)?;
        let seen = Survey::of(&set, observer)?;
        if seen.captions.iter().flatten().count() < 2 {
            let problem = "its pictures have no captions: name the captioned set that the model was trained with";
            return Err(Error::option("train", set.path(), problem));
        }
        let features = match feature_net {
            Some(feature_net) => features(options, &set, &seen, size, feature_net, observer)?,
            None => Vec::new(),
        };
        let teaching = Teaching {
            content: seen.content,
            size,
            steps: options.encoder_steps,
            seed: options.seed,
        };
        let encoder = match Encoder::kept(&options.out, &teaching, device)? {
            Some(encoder) => encoder,
            None => {
                let captions = seen.captions.iter().flatten().map(String::as_str);
                let vocabulary = Vocabulary::of(captions);
                let batches = set.loader(BATCH, Some(options.seed))?.at(0);
                let encoder = Encoder::learn(vocabulary, batches, &teaching, device, observer)?;
                encoder.keep(&options.out, &teaching)?;
                encoder
            }
        };
        Ok(Self {
            set,
            seen,
            features,
            encoder,
        })
    }

    /// Where it lies.
    pub fn path(&self) -> &str {
        self.set.path()
    }

    /// The picture of the nearest training caption, for each caption.
    pub fn retrieved(
        &self,
        captions: &[&str],
        observer: &mut dyn Observer,
    ) -> Result<Vec<RgbImage>, Error> {
        let known: Vec<(usize, &str)> = (0..self.seen.names.len())
            .filter_map(|at| Some((at, self.seen.captions[at].as_deref()?)))
            .collect();
        let index = Captions::new(known.iter().map(|(_, caption)| *caption));
        observer.stage("looking up captions", captions.len() as u64);
        let mut found = Vec::with_capacity(captions.len());
        for caption in captions {
            found.push(self.picture(known[index.nearest(caption)].0)?);
            observe::advance(observer, 1)?;
        }
        Ok(found)
    }

    /// A picture by its number among those that could be read.
    pub fn picture(&self, number: usize) -> Result<RgbImage, Error> {
        self.set.at(self.seen.places[number])
    }

    /// What it is called, and its caption.
    pub fn named(&self, number: usize) -> (&str, Option<&str>) {
        let caption = self.seen.captions[number].as_deref();
        (&self.seen.names[number], caption)
    }
}

/// The features of the pictures that were seen.
fn features(
    options: &Options,
    set: &Set,
    seen: &Survey,
    size: u32,
    feature_net: &FeatureNet,
    observer: &mut dyn Observer,
) -> Result<Vec<f32>, Error> {
    let path = options.out.join(FEATURES);
    let key = format!("{:016x} {size} {}", seen.content, feature_net.hash);
    let all = seen.names.len() * feature_net.width();
    if let Some(features) = kept(&path, &key, feature_net.width()).filter(|f| f.len() == all) {
        return Ok(features);
    }
    let mut features = Vec::with_capacity(all);
    observer.stage("looking at training pictures", set.len() as u64);
    set.read(set.len(), None, observer, |examples| {
        let pictures: Vec<&RgbImage> = examples.iter().map(|e| &e.picture).collect();
        features.extend(feature_net.pooled(&pictures));
        Ok(())
    })?;
    keep(&path, &key, &features, feature_net.width())?;
    Ok(features)
}
