//! The tiny checkpoint on disk, and files made from it by changing tensors.
#![allow(dead_code)]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Tensor};
use latent_checkpoint::file::write::{Existing, safetensors};
use latent_checkpoint::tiny::{TinyPaths, write_tiny};
use latent_checkpoint::{
    Checkpoint, Dtype, Error, LoadOptions, Role, StoredAutoencoder, TensorFile, TensorInfo,
};
use latent_testkit::recipe;

/// The tiny checkpoint with the recipe's weights, written once per test program.
pub fn tiny() -> &'static TinyPaths {
    static TINY: OnceLock<(tempfile::TempDir, TinyPaths)> = OnceLock::new();
    let (_, paths) = TINY.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let paths = write(dir.path(), 4);
        (dir, paths)
    });
    paths
}

pub fn write(dir: &Path, in_channels: usize) -> TinyPaths {
    write_tiny(dir, in_channels, &mut |component, name, shape| {
        recipe::tensor_f16(&format!("{component}/{name}"), shape, 0)
    })
    .unwrap()
}

pub fn options() -> LoadOptions {
    LoadOptions::new(Device::flex(), DType::F32)
}

struct Collect(Vec<Vec<f32>>);

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let data = param.val().into_data().convert::<f32>();
        self.0.push(data.try_to_vec().unwrap());
    }
}

/// Every parameter of a module, by published name.
pub fn values<M: Module>(module: &M) -> BTreeMap<String, Vec<f32>> {
    let mut collect = Collect(Vec::new());
    module.visit(&mut collect);
    let names = latent_models::parameters(module)
        .into_iter()
        .map(|(name, _)| name);
    names.zip(collect.0).collect()
}

/// Every parameter of all three networks.
pub fn all_values(path: &Path) -> BTreeMap<String, Vec<f32>> {
    let checkpoint = Checkpoint::open(path).unwrap();
    let mut quiet = |_, _| {};
    let (unet, _) = checkpoint
        .load::<latent_models::UNetConfig>(Role::DENOISER, &options(), &mut quiet)
        .unwrap();
    let (vae, _) = checkpoint
        .load::<StoredAutoencoder>(Role::AUTOENCODER, &options(), &mut quiet)
        .unwrap();
    let (text, _) = checkpoint
        .load::<latent_models::ClipTextConfig>(Role::TEXT_ENCODER, &options(), &mut quiet)
        .unwrap();
    let parts = [
        ("unet", values(&unet)),
        ("vae", values(&vae)),
        ("text_encoder", values(&text)),
    ];
    let named = parts.into_iter().flat_map(|(part, values)| {
        values
            .into_iter()
            .map(move |(name, v)| (format!("{part}/{name}"), v))
    });
    named.collect()
}

/// Tensors in memory, to be changed and written.
pub struct Tensors(pub Vec<(TensorInfo, Vec<u8>)>);

impl Tensors {
    pub fn read(path: &Path) -> Self {
        let file = TensorFile::open(path).unwrap();
        let read = |info: &TensorInfo| (info.clone(), file.bytes(&info.name).unwrap().into_owned());
        Self(file.tensors().iter().map(read).collect())
    }

    pub fn rename(&mut self, new: impl Fn(&str) -> String) {
        for (info, _) in &mut self.0 {
            info.name = new(&info.name);
        }
    }

    pub fn keep(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|(info, _)| keep(&info.name));
    }

    pub fn reshape(&mut self, change: impl Fn(&str, &mut Vec<usize>)) {
        for (info, _) in &mut self.0 {
            change(&info.name, &mut info.shape);
        }
    }

    pub fn add(&mut self, name: &str, dtype: Dtype, shape: &[usize], bytes: Vec<u8>) {
        let (name, shape) = (name.to_owned(), shape.to_vec());
        self.0.push((TensorInfo { name, dtype, shape }, bytes));
    }

    pub fn write(&self, path: &Path, metadata: &[(&str, &str)]) -> PathBuf {
        let infos: Vec<TensorInfo> = self.0.iter().map(|(info, _)| info.clone()).collect();
        let metadata = metadata
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let mut queue = self.0.iter();
        safetensors::<Error>(path, &infos, &metadata, Existing::Replace, |_| {
            Ok(Cow::Borrowed(queue.next().unwrap().1.as_slice()))
        })
        .unwrap();
        path.to_owned()
    }
}
