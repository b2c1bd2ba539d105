//! Hypernetworks as A1111 writes them: `{width: (keys, values)}`, each the state of a torch `Sequential` (`linear.0.weight`, …),
//! beside settings.
//!
//! Places of the list that hold no tensors are activations and dropout, so that the order of the others says what the network is:
//! a matrix is a layer, a vector alone the norm behind it. The first files have `linear1` and `linear2` and nothing between.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{DType, Device, TensorData};
use latent_models::hypernetwork::{Bent, Curve};
use latent_models::{Hypernetwork, HypernetworkConfig};
use serde::Serialize;

use crate::Error;
use crate::file::{TensorFile, TensorInfo, Weights};
use crate::load::{check_finite, stored, to_f32};
use crate::report::ModelError;

/// What is trained for one width.
const SIDES: [&str; 2] = ["keys", "values"];

/// A file of a hypernetwork. No weight is read yet.
#[derive(Debug)]
pub struct HypernetworkFile {
    weights: Weights,
    config: HypernetworkConfig,
    /// The tensor of each parameter.
    names: BTreeMap<String, String>,
    about: About,
}

/// What a file says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct About {
    /// The name that it was given when it was trained, which its file's may differ from.
    pub name: Option<String>,
    /// Training steps.
    pub steps: Option<u64>,
    /// The checkpoint that it was trained on.
    pub checkpoint: Option<String>,
    /// The beginning of that checkpoint's hash.
    pub checkpoint_hash: Option<String>,
}

/// Where a tensor belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    width: usize,
    side: usize,
    /// In the list.
    index: usize,
}

/// A weight with its bias.
#[derive(Default)]
struct Entry<'a> {
    weight: Option<&'a TensorInfo>,
    bias: Option<&'a TensorInfo>,
}

/// The entries of a list, by their places in it.
type List<'a> = BTreeMap<usize, Entry<'a>>;

/// A layer of a list, as paths below it with the tensors.
struct Layer<'a> {
    output: usize,
    norm: bool,
    parameters: Vec<(String, &'a TensorInfo)>,
}

impl HypernetworkFile {
    /// Whether a file holds a hypernetwork, by the names in it.
    pub fn recognise(file: &TensorFile) -> bool {
        file.tensors()
            .iter()
            .any(|info| place(&info.name).is_some())
    }

    /// Opens a file and finds out what it is made of.
    ///
    /// # Errors
    /// As [`of`](Self::of)'s; a file that cannot be read, a pickle that asks for more than data.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        Self::of(TensorFile::open(path)?)
    }

    /// What a file holds.
    ///
    /// # Errors
    /// A file without a hypernetwork, or with tensors beside it; layers that do not go together; an activation that is not known.
    pub fn of(file: TensorFile) -> Result<Self, ModelError> {
        let unsupported = |what: String| Error::Unsupported {
            path: file.path().to_owned(),
            what,
        };
        if !Self::recognise(&file) {
            let what =
                "it is no hypernetwork: expected layers by width, such as `768.0.linear.0.weight`";
            return Err(unsupported(what.to_owned()).into());
        }
        let wrong =
            |info: &TensorInfo, problem: String| Error::tensor(file.path(), &info.name, problem);
        let mut lists: BTreeMap<(usize, usize), List<'_>> = BTreeMap::new();
        for info in file.tensors() {
            let Some((at, weight)) = place(&info.name) else {
                return Err(
                    wrong(info, "it belongs to no layer of a hypernetwork".to_owned()).into(),
                );
            };
            let list = lists.entry((at.width, at.side)).or_default();
            let entry = list.entry(at.index).or_default();
            let part = match weight {
                true => &mut entry.weight,
                false => &mut entry.bias,
            };
            if part.replace(info).is_some() {
                return Err(wrong(info, "it is there twice".to_owned()).into());
            }
        }
        let (mut widths, mut names, mut norms) = (Vec::<Bent>::new(), BTreeMap::new(), None);
        for ((width, side), list) in &lists {
            if !lists.contains_key(&(*width, 1 - side)) {
                let what = format!(
                    "of width {width} it has the network for {} alone, and keys and values need one each",
                    SIDES[*side]
                );
                return Err(unsupported(what).into());
            }
            let layers = layers(*width, list).map_err(|(info, problem)| match info {
                Some(info) => wrong(info, problem),
                None => unsupported(format!("width {width}: {problem}")),
            })?;
            let sizes: Vec<usize> = layers.iter().map(|layer| layer.output).collect();
            for layer in &layers {
                if *norms.get_or_insert(layer.norm) != layer.norm {
                    let what = "some of its layers are normalised and others are not".to_owned();
                    return Err(unsupported(what).into());
                }
            }
            match widths.last() {
                Some(last) if last.width == *width && last.layers != sizes => {
                    let what = format!(
                        "of width {width} the networks for keys and for values differ: layers of {:?} and of {sizes:?}",
                        last.layers
                    );
                    return Err(unsupported(what).into());
                }
                Some(last) if last.width == *width => {}
                _ => widths.push(Bent {
                    width: *width,
                    layers: sizes,
                }),
            }
            for (i, layer) in layers.into_iter().enumerate() {
                for (path, info) in layer.parameters {
                    let stem = format!("pairs.{}.{}.layers.{i}", widths.len() - 1, SIDES[*side]);
                    names.insert(format!("{stem}.{path}"), info.name.clone());
                }
            }
        }
        let said = |key: &str| file.metadata().get(key).map(|text| text.trim());
        let curve = match said("activation_func") {
            None | Some("linear" | "") => None,
            Some(name) => {
                let read = name.parse::<Curve>().map_err(|expected| {
                    unsupported(format!(
                        "its activation is `{}`: {expected}",
                        crate::error::shown(name)
                    ))
                });
                Some(read?)
            }
        };
        let config = HypernetworkConfig {
            widths,
            curve,
            // A file that does not say is of the time when all had it.
            curve_at_end: said("activate_output") != Some("false"),
            norms: norms.unwrap_or_default(),
        };
        config
            .validate()
            .map_err(|problem| unsupported(problem.to_string()))?;
        let filled = |key: &str| said(key).filter(|text| !text.is_empty()).map(str::to_owned);
        Ok(Self {
            about: About {
                name: filled("name"),
                steps: filled("step").and_then(|steps| steps.parse().ok()),
                checkpoint: filled("sd_checkpoint_name"),
                checkpoint_hash: filled("sd_checkpoint"),
            },
            config,
            names,
            weights: Weights::from(file),
        })
    }

    /// What the network is made of.
    pub fn config(&self) -> &HypernetworkConfig {
        &self.config
    }

    /// What the file says of itself.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        self.weights.path()
    }

    /// Reads the network.
    ///
    /// # Errors
    /// Numbers that are not finite, or of a type that networks do not have.
    pub fn load(&self, device: &Device, dtype: DType) -> Result<Hypernetwork, ModelError> {
        let fetch = &mut |path: &str, shape: &[usize]| -> Result<TensorData, ModelError> {
            let name = self.names.get(path).map_or(path, String::as_str);
            let info = stored(&self.weights, name)?;
            let bytes = self.weights.bytes(name)?;
            check_finite(&bytes, info, &self.weights)?;
            let values = to_f32(&bytes, info.dtype).unwrap_or_default();
            Ok(TensorData::new(values, shape.to_vec()))
        };
        latent_models::load(self.config.init(device), fetch, dtype)
    }
}

/// Where a tensor of that name belongs, and whether it is a weight.
fn place(name: &str) -> Option<(Place, bool)> {
    let mut names = name.split('.');
    let width = names.next()?.parse().ok()?;
    let side = match names.next()? {
        "0" => 0,
        "1" => 1,
        _ => return None,
    };
    let index = match names.next()? {
        "linear" => names.next()?.parse().ok()?,
        "linear1" => 0,
        "linear2" => 1,
        _ => return None,
    };
    let weight = match names.next()? {
        "weight" => true,
        "bias" => false,
        _ => return None,
    };
    let place = Place { width, side, index };
    names.next().is_none().then_some((place, weight))
}

/// A list as layers, each with the norm behind it.
fn layers<'a>(
    width: usize,
    list: &List<'a>,
) -> Result<Vec<Layer<'a>>, (Option<&'a TensorInfo>, String)> {
    let mut layers: Vec<Layer<'a>> = Vec::new();
    let mut input = width;
    for (index, entry) in list {
        let (Some(weight), Some(bias)) = (entry.weight, entry.bias) else {
            let what =
                format!("place {index} of its list has a weight or a bias and not the other");
            return Err((None, what));
        };
        let (output, kind) = match weight.shape[..] {
            [output, from] if from == input => (output, "linear"),
            [_, from] => {
                let problem =
                    format!("it reads {from} numbers, and the layer before it gives {input}");
                return Err((Some(weight), problem));
            }
            [output] if output == input && layers.last().is_some_and(|last| !last.norm) => {
                (output, "norm")
            }
            _ => {
                let shape = &weight.shape;
                return Err((
                    Some(weight),
                    format!(
                        "shape {shape:?}, expected a layer that reads {input} numbers, or the norm behind one"
                    ),
                ));
            }
        };
        if bias.shape != [output] {
            let problem = format!("shape {:?}, expected [{output}]", bias.shape);
            return Err((Some(bias), problem));
        }
        let both = [("weight", weight), ("bias", bias)];
        let parameters = both.map(|(name, info)| (format!("{kind}.{name}"), info));
        match (kind, layers.last_mut()) {
            ("norm", Some(last)) => {
                last.norm = true;
                last.parameters.extend(parameters);
            }
            _ => layers.push(Layer {
                output,
                norm: false,
                parameters: parameters.to_vec(),
            }),
        }
        input = output;
    }
    match input == width {
        true => Ok(layers),
        false => Err((
            None,
            format!("its last layer gives {input} numbers, and {width} are to be bent"),
        )),
    }
}
