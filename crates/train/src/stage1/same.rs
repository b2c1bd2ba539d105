//! Whether a denoiser knows the latents that are decoded.

use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use latent_models::{Autoencoder, parameters};

use crate::{Error, FirstStage};

/// How far the weights of two encoders may be apart, as a share of their length: written in a smaller type they are a hundredth
/// away.
const APART: f64 = 0.02;

/// How far two scales of one encoder's latents may be apart: files hold them in decimals.
const SCALES_APART: f64 = 1e-3;

/// Whether a parameter of an autoencoder has a part in making latents.
fn encodes(name: &str) -> bool {
    let parts = ["encoder.", "quant_conv.", "quantize."];
    parts.iter().any(|part| name.starts_with(part))
}

fn refused(path: &Path, expected: &str) -> Error {
    Error::setting("model.denoiser", path.display(), expected)
}

/// # Errors
/// A denoiser, at `path`, of latents that another kind of encoder makes than that of `own`.
pub(super) fn same_kind(own: &Autoencoder, first: &FirstStage, path: &Path) -> Result<(), Error> {
    let shapes = |net: &Autoencoder| -> Vec<(String, Vec<usize>)> {
        let all = parameters(net).into_iter();
        all.filter(|(name, _)| encodes(name)).collect()
    };
    let theirs = first.autoencoder().map(shapes).unwrap_or_default();
    if theirs == shapes(own) {
        return Ok(());
    }
    let config = own.config();
    let ours = [config.latent_channels, config.downsampling()];
    let theirs = [first.channels(), first.downsampling()];
    let latents = |[channels, by]: [usize; 2]| {
        format!("{channels} channels, {by} times smaller than a picture")
    };
    let but = match ours == theirs {
        true => "another encoder makes its".to_owned(),
        false => format!("its have {}", latents(theirs)),
    };
    let expected = format!(
        "a model of the latents of model.autoencoder, {}; {but}",
        latents(ours)
    );
    Err(refused(path, &expected))
}

/// # Errors
/// A denoiser, at `path`, whose encoder has other weights, or whose latents another scale than the `stated` one.
pub(super) fn same_latents(
    own: &Autoencoder,
    stated: Option<f64>,
    first: &FirstStage,
    path: &Path,
) -> Result<(), Error> {
    let apart = first
        .autoencoder()
        .map_or(f64::INFINITY, |theirs| apart(own, theirs));
    if apart.is_nan() || apart > APART {
        let expected = format!(
            "a model that learnt the latents of the encoder that begin_from names; those of its own encoder are others: its \
             weights are {:.0} % away",
            100.0 * apart
        );
        return Err(refused(path, &expected));
    }
    let scale = first.scale();
    match stated {
        Some(stated) if (stated / scale - 1.0).abs() > SCALES_APART => {
            let expected = format!(
                "a model of latents times {stated}, the scale of those that begin_from names; its are times {scale}"
            );
            Err(refused(path, &expected))
        }
        _ => Ok(()),
    }
}

/// The length of the difference of two encoders' weights as a share of the second's length.
fn apart(own: &Autoencoder, other: &Autoencoder) -> f64 {
    struct Numbers(Vec<Vec<f32>>);
    impl ModuleVisitor for Numbers {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let data = param.val().into_data();
            self.0.push(data.iter::<f32>().collect());
        }
    }
    let numbers = |net: &Autoencoder| {
        let mut numbers = Numbers(Vec::new());
        net.visit(&mut numbers);
        let named = parameters(net).into_iter().zip(numbers.0);
        let encoding = named.filter(|((name, _), _)| encodes(name));
        encoding
            .flat_map(|(_, numbers)| numbers)
            .collect::<Vec<f32>>()
    };
    let (own, other) = (numbers(own), numbers(other));
    let length =
        |x: &mut dyn Iterator<Item = f32>| x.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    let between = length(&mut own.iter().zip(&other).map(|(a, b)| a - b));
    between / length(&mut other.iter().copied())
}
