//! Tensors by which programs of single files tell how a model was trained.

use super::write::Model;
use crate::file::{Dtype, TensorInfo};
use crate::networks::{Network, Role};

/// The marks of a model's training, with their values: `v_pred`, `ztsnr`, `edm_mean` and `edm_std`, `edm_vpred.…`. A model
/// that was trained here says itself what it is, and a file without a denoiser has no training to mark.
pub(super) fn marks(model: &Model) -> Vec<(TensorInfo, Vec<u8>)> {
    let scheduler = &model.scheduler;
    if model.part(Role::DENOISER).is_none() || scheduler.trained_here().is_some() {
        return Vec::new();
    }
    let mark = |name: &str, shape: &[usize], values: &[f64]| {
        let info = TensorInfo {
            name: name.to_owned(),
            dtype: Dtype::F32,
            shape: shape.to_vec(),
        };
        let bytes = values.iter().flat_map(|v| (*v as f32).to_le_bytes());
        (info, bytes.collect())
    };
    let velocity = scheduler.prediction_type == "v_prediction";
    let mut marks = Vec::new();
    if !scheduler.class_name.starts_with("EDM") {
        // Their being there is all that they say.
        marks.extend(velocity.then(|| mark("v_pred", &[0], &[])));
        let zero = scheduler.rescale_betas_zero_snr;
        marks.extend(zero.then(|| mark("ztsnr", &[0], &[])));
        return marks;
    }
    let level = |key: &str| scheduler.rest.get(key)?.as_f64();
    if velocity {
        let ends = ["sigma_max", "sigma_min"].map(|key| Some((key, level(key)?)));
        let ends = ends.into_iter().flatten();
        marks.extend(ends.map(|(key, value)| mark(&format!("edm_vpred.{key}"), &[], &[value])));
    } else if let Some(Network::Autoencoder(stored)) = model.part(Role::AUTOENCODER) {
        let (means, deviations): (Vec<f64>, Vec<f64>) = stored.moments.iter().copied().unzip();
        let shape = [1, means.len(), 1, 1];
        let there = !means.is_empty();
        marks.extend(there.then(|| mark("edm_mean", &shape, &means)));
        marks.extend(there.then(|| mark("edm_std", &shape, &deviations)));
    }
    marks
}
