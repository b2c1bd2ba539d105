//! Feature maps of a frozen network of pictures, as what a denoiser learns is aligned with.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use image::RgbImage;
use latent_checkpoint::load_perceptual;
use latent_models::Perceptual;

use super::align::AlignConfig;
use super::cache::{Cache, Small, hash, hash_of, known_or_made};
use crate::Error;
use crate::pictures::stack;

/// The features of pictures, made once and kept.
#[derive(Debug)]
pub(super) struct Features {
    network: Perceptual,
    layer: usize,
    /// With the hash of the network.
    cache: Option<(Cache, String)>,
    device: Device,
}

impl Features {
    /// # Errors
    /// A file that cannot be read, or a network that has not so many feature maps.
    pub fn open(
        config: &AlignConfig,
        cache: Option<&Path>,
        device: &Device,
    ) -> Result<Self, Error> {
        let network = load_perceptual(&config.features, device)
            .map_err(Error::named("model.align.features"))?;
        let maps = network.maps([1; 2]).len();
        if !(1..=maps).contains(&config.layer) {
            let expected = format!("1 to {maps}, the feature maps of that network, finest first");
            let name = "model.align.layer";
            return Err(Error::setting(name, config.layer, &expected));
        }
        Ok(Self::new(network, config.layer, cache, device))
    }

    fn new(network: Perceptual, layer: usize, cache: Option<&Path>, device: &Device) -> Self {
        Self {
            cache: cache.map(|folder| (Cache::new(folder.join("features")), hash_of(&network))),
            network,
            layer,
            device: device.clone(),
        }
    }

    /// Channels, height and width for a picture of that size.
    pub fn map(&self, size: [usize; 2]) -> [usize; 3] {
        self.network.maps(size)[self.layer - 1]
    }

    /// Of pictures of one size: normalised, in eight bits, whether they come from the cache or not. `keep` says which pictures
    /// come again.
    ///
    /// # Errors
    /// Pictures that are too small; a cache that cannot be written.
    ///
    /// # Shapes
    ///
    /// `[batch, features, h, w]`
    pub fn of(&self, pictures: &[(&str, &RgbImage)], keep: &[bool]) -> Result<Tensor<4>, Error> {
        let Some((id, first)) = pictures.first() else {
            return Ok(Tensor::zeros([0, 1, 1, 1], &self.device));
        };
        let size = [first.height(), first.width()].map(|side| side as usize);
        let [channels, height, width] = self.map(size);
        if size[0].min(size[1]) < self.network.smallest() || height * width < 2 {
            return Err(Error::Example {
                id: (*id).to_owned(),
                problem: format!(
                    "{}×{} pixels: map {} of the network of model.align.features has no two positions of it to tell apart; take \
                     a finer one (model.align.layer) or larger pictures (data.size)",
                    size[1], size[0], self.layer
                ),
            });
        }
        let pictures: Vec<&RgbImage> = pictures.iter().map(|(_, picture)| *picture).collect();
        let make = |places: &[usize]| {
            let chosen: Vec<&RgbImage> = places.iter().map(|&i| pictures[i]).collect();
            let mut maps = self.network.features(stack(&chosen, &self.device));
            let map = maps.swap_remove(self.layer - 1).into_data();
            let mut numbers: Vec<f32> = map.iter::<f32>().collect();
            numbers.chunks_mut(height * width).for_each(normalise);
            let each = numbers.chunks(channels * height * width);
            each.map(Small::of).collect::<Vec<_>>()
        };
        let maps = match &self.cache {
            None => make(&(0..pictures.len()).collect::<Vec<_>>()),
            Some((cache, network)) => {
                let layer = self.layer.to_le_bytes();
                let key = |p: &&RgbImage| {
                    let width = p.width().to_le_bytes();
                    hash(&[network.as_bytes(), &layer, &width, p.as_raw()])
                };
                let keys: Vec<String> = pictures.iter().map(key).collect();
                let get = |key: &str| cache.get_small(key, channels * height * width);
                known_or_made(&keys, keep, get, make, |key, map| cache.put_small(key, map))?
            }
        };
        let numbers: Vec<f32> = maps.iter().flat_map(Small::numbers).collect();
        let data = TensorData::new(numbers, [maps.len(), channels, height, width]);
        Ok(Tensor::from_data(data, &self.device))
    }
}

/// Numbers of mean 0 and deviation 1, those of a channel at all positions.
fn normalise(numbers: &mut [f32]) {
    let count = numbers.len() as f64;
    let mean = numbers.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
    let squares = numbers.iter().map(|&v| (f64::from(v) - mean).powi(2));
    let deviation = (squares.sum::<f64>() / (count - 1.0)).sqrt();
    for number in numbers {
        *number = ((f64::from(*number) - mean) / (deviation + 1e-6)) as f32;
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Module;
    use latent_models::perceptual::{EfficientNetConfig, Stage, VggBlock, VggConfig};

    use super::*;
    use crate::{Fill, Random, initialise};

    fn numbers<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.into_data().iter::<f32>().collect()
    }

    /// Networks of few channels, whose maps of 21×16 pixels are of sizes that do not halve exactly.
    fn networks() -> [Perceptual; 2] {
        let device = Device::flex();
        let stage = |stride| Stage {
            blocks: 2,
            kernel: 3,
            stride,
            expansion: 2,
            channels: 6 + stride,
        };
        let net = EfficientNetConfig {
            stem: 5,
            stages: vec![stage(1), stage(2)],
            features: 4,
            classes: 2,
        };
        let rule = |name: &str, _: &[usize]| match name {
            name if name.ends_with("running_var") => Fill::Constant(1.0),
            name if name.contains("norm") => Fill::NormalAround(0.5, 0.1),
            _ => Fill::Normal(0.5),
        };
        let net = initialise(net.init(&device), 1, &rule).unwrap();
        let blocks = [(4, 1), (7, 2)].map(|(channels, convolutions)| VggBlock {
            channels,
            convolutions,
        });
        let vgg = VggConfig {
            blocks: blocks.to_vec(),
        };
        let vgg = initialise(vgg.init(&device), 2, &|_, _| Fill::Normal(0.1)).unwrap();
        [
            Perceptual::EfficientNet(net).no_grad(),
            Perceptual::Vgg(vgg).no_grad(),
        ]
    }

    fn picture(seed: u64) -> RgbImage {
        let mut random = Random::new(seed, "picture", 0, 0);
        let bytes = (0..3 * 21 * 16).map(|_| (255.0 * random.uniform()) as u8);
        RgbImage::from_raw(16, 21, bytes.collect()).unwrap()
    }

    #[test]
    fn features_are_normalised_and_the_same_from_a_cache_and_in_any_batch() {
        for network in networks() {
            let (device, folder) = (Device::flex(), tempfile::tempdir().unwrap());
            let pictures: Vec<RgbImage> = (0..3).map(picture).collect();
            let named: Vec<_> = pictures.iter().map(|p| ("p", p)).collect();
            let raw = network.features(stack(&[&pictures[1]], &device));
            let shapes: Vec<_> = raw.iter().map(|map| map.dims()).collect();
            let said = network.maps([21, 16]);
            assert_eq!(
                shapes,
                said.iter()
                    .map(|&[c, h, w]| [1, c, h, w])
                    .collect::<Vec<_>>()
            );
            let plain = Features::new(network.clone(), 2, None, &device);
            let all = plain.of(&named, &[true; 3]).unwrap();
            let [channels, height, width] = plain.map([21, 16]);
            assert_eq!(all.dims(), [3, channels, height, width]);
            let one = plain.of(&named[1..2], &[true]).unwrap();
            assert_eq!(numbers(one.clone()), numbers(all.clone().narrow(0, 1, 1)));
            let cached = Features::new(network.clone(), 2, Some(folder.path()), &device);
            for _ in 0..2 {
                let again = cached.of(&named, &[true, false, true]).unwrap();
                assert_eq!(numbers(again), numbers(all.clone()));
            }
            // Of every channel that is not the same everywhere.
            let wanted = numbers(raw[1].clone());
            let map = numbers(one);
            for (got, raw) in map
                .chunks(height * width)
                .zip(wanted.chunks(height * width))
            {
                let mut want = raw.to_vec();
                normalise(&mut want);
                let squares: f32 = want.iter().map(|v| v * v).sum();
                assert!(squares < 1e-3 || (squares / (want.len() as f32 - 1.0) - 1.0).abs() < 1e-2);
                for (got, want) in got.iter().zip(want) {
                    assert!((got - want).abs() < 0.05, "{got} {want}");
                }
            }
            // Another layer of the same network and picture is another entry.
            let finer = Features::new(network, 1, Some(folder.path()), &device);
            assert_ne!(finer.of(&named, &[true; 3]).unwrap().dims(), all.dims());
        }
    }

    #[test]
    fn a_picture_of_one_position_is_refused() {
        let [network, _] = networks();
        let features = Features::new(network, 2, None, &Device::flex());
        let small = RgbImage::new(4, 4);
        let error = features.of(&[("small", &small)], &[true]).unwrap_err();
        let error = error.to_string();
        for word in ["small: 4×4", "model.align.layer", "data.size"] {
            assert!(error.contains(word), "{error}");
        }
    }
}
