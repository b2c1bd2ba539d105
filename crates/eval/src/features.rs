//! Features of pictures by EfficientNet-Lite0, and those of the training pictures kept for the next run.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use image::RgbImage;
use latent_checkpoint::file::hash::sha256;
use latent_checkpoint::file::write::{self, Existing};
use latent_checkpoint::{Dtype, ModelError, TensorFile, TensorInfo, load_perceptual};
use latent_models::perceptual::EfficientNet;
use latent_models::{Perceptual, feature_distance};

use crate::{Error, Observer, observe, pictures};

/// Pictures looked at together.
const BATCH: usize = 16;

/// The network that pictures are compared by.
pub(crate) struct FeatureNet {
    network: EfficientNet,
    device: Device,
    /// The hash of its file.
    pub hash: String,
}

impl FeatureNet {
    /// Reads EfficientNet-Lite0: the wheel that `tools/perceptual.sh` fetches, or the `.pth` file inside it.
    pub fn open(path: &Path, device: &Device) -> Result<Self, Error> {
        if !path.exists() {
            return Err(Error::option(
                "features",
                path.display(),
                "there is no such file: `tools/perceptual.sh FOLDER` fetches it",
            ));
        }
        match load_perceptual(path, device)? {
            Perceptual::EfficientNet(network) => Ok(Self {
                network,
                device: device.clone(),
                hash: sha256(path, &mut |_, _| {}).map_err(ModelError::from)?,
            }),
            Perceptual::Vgg(_) => Err(Error::option(
                "features",
                path.display(),
                "it is VGG: EfficientNet-Lite0 is wanted, which `tools/perceptual.sh FOLDER` fetches too",
            )),
        }
    }

    /// Numbers of a vector: 1280.
    pub fn width(&self) -> usize {
        self.network.head_norm.weight.dims()[0]
    }

    /// The features of pictures of one size, one vector after another.
    pub fn pooled(&self, pictures: &[&RgbImage]) -> Vec<f32> {
        let part = |part: &[&RgbImage]| {
            let features = self.network.pooled(pictures::tensor(part, &self.device));
            features.into_data().iter::<f32>().collect::<Vec<_>>()
        };
        pictures.chunks(BATCH).flat_map(part).collect()
    }

    /// [`pooled`](Self::pooled), with progress.
    pub fn look(
        &self,
        what: &str,
        pictures: &[RgbImage],
        observer: &mut dyn Observer,
    ) -> Result<Vec<f32>, Error> {
        observer.stage(what, pictures.len() as u64);
        let mut features = Vec::with_capacity(pictures.len() * self.width());
        for part in pictures.chunks(BATCH) {
            features.extend(self.pooled(&part.iter().collect::<Vec<_>>()));
            observe::advance(observer, part.len() as u64)?;
        }
        Ok(features)
    }

    /// How far apart pictures look by the features of its stages: `[batch, 3, height, width]` twice → `[batch]`.
    pub fn distances(&self, a: Tensor<4>, b: Tensor<4>) -> Vec<f32> {
        let distance = feature_distance(self.network.stages(a), self.network.stages(b));
        distance.into_data().iter::<f32>().collect()
    }
}

const TENSOR: &str = "features";
const KEY: &str = "of";

/// The features that were kept under that key.
pub(crate) fn kept(path: &Path, key: &str, width: usize) -> Option<Vec<f32>> {
    let file = TensorFile::open(path).ok()?;
    if file.metadata().get(KEY).map(String::as_str) != Some(key) {
        return None;
    }
    let info = file.get(TENSOR)?;
    let fits = info.dtype == Dtype::F32 && info.shape.get(1) == Some(&width);
    let bytes = file.bytes(TENSOR).ok().filter(|_| fits)?;
    let (words, _) = bytes.as_chunks::<4>();
    Some(words.iter().map(|&word| f32::from_le_bytes(word)).collect())
}

/// Keeps features under a key, in place of what was kept before.
pub(crate) fn keep(path: &Path, key: &str, features: &[f32], width: usize) -> Result<(), Error> {
    let info = TensorInfo {
        name: TENSOR.to_owned(),
        dtype: Dtype::F32,
        shape: vec![features.len() / width, width],
    };
    let metadata = BTreeMap::from([(KEY.to_owned(), key.to_owned())]);
    let bytes: Vec<u8> = features.iter().flat_map(|v| v.to_le_bytes()).collect();
    write::safetensors(path, &[info], &metadata, Existing::Replace, |_| {
        Ok::<_, ModelError>(Cow::Borrowed(bytes.as_slice()))
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_kept_under_their_key() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("x.safetensors");
        assert_eq!(kept(&path, "a", 2), None);
        let features = [1.0, -2.5, 3.0, 1e-9];
        keep(&path, "a", &features, 2).unwrap();
        assert_eq!(kept(&path, "a", 2).unwrap(), features);
        assert_eq!(kept(&path, "b", 2), None);
        assert_eq!(kept(&path, "a", 4), None);
        keep(&path, "b", &features[..2], 2).unwrap();
        assert_eq!(kept(&path, "b", 2).unwrap(), features[..2]);
    }
}
