//! What a first stage is worth on pictures that it does not learn from.

use burn::module::Module;
use burn::tensor::Tensor;
use latent_metrics::{psnr, ssim};
use latent_models::feature_distance;

use super::Stage1;
use crate::{Error, Example, Report, Step};

/// The numbers of each picture of a batch.
fn each(pictures: &Tensor<4>) -> Vec<Vec<f32>> {
    let [batch, ..] = pictures.dims();
    let numbers: Vec<f32> = pictures.clone().into_data().iter::<f32>().collect();
    numbers
        .chunks(numbers.len() / batch.max(1))
        .map(<[f32]>::to_vec)
        .collect()
}

impl Stage1 {
    /// Losses and measures of the averaged weights; with a denoiser also of what they make of its guesses.
    ///
    /// # Errors
    /// Pictures that do not fit.
    pub(super) fn measure(&self, batch: &[Example], step: Step) -> Result<Report, Error> {
        let picture = self.pictures(batch, 1.0)?;
        let [_, channels, height, width] = picture.dims();
        let net = self.autoencoder.averaged();
        let moments = net.encode(picture.clone());
        let made = net.decode(moments.mean.clone());
        let absolute = (picture.clone() - made.clone())
            .abs()
            .mean()
            .into_scalar::<f32>();
        let mut apart = f64::from(absolute);
        let mut report = Report::new().with("absolute", apart);
        let made = made.clamp(-1.0, 1.0);
        if let Some(network) = &self.perceptual {
            let network = network.valid();
            let [a, b] = [picture.clone(), made.clone()].map(|x| network.features(x));
            let distance = f64::from(feature_distance(a, b).mean().into_scalar::<f32>());
            report = report.with("perceptual", distance);
            apart += self.config.loss.perceptual_weight * distance;
        }
        let shape = [channels, height, width];
        let pairs = |made: &Tensor<4>| each(&picture).into_iter().zip(each(made));
        let count = picture.dims()[0] as f64;
        let ratio = |made: &Tensor<4>| -> Result<f64, Error> {
            let ratios = pairs(made).map(|(a, b)| psnr(&a, &b, 2.0));
            Ok(ratios.sum::<Result<f64, _>>()? / count)
        };
        report = report.with("psnr", ratio(&made)?);
        if let Some(denoiser) = &self.denoiser {
            let times = self.config.denoiser_times();
            let guess = denoiser.guess(moments.mean.clone(), batch, times, step)?;
            let made = net.decode(guess).clamp(-1.0, 1.0);
            report = report.with("psnr_guessed", ratio(&made)?);
        }
        if height.min(width) >= 11 {
            let alike: f64 = pairs(&made)
                .map(|(a, b)| ssim(&a, &b, shape, 2.0))
                .sum::<Result<_, _>>()?;
            report = report.with("ssim", alike / count);
        }
        // In the unit of the loss that is learnt by, so that one axis holds both.
        let numbers = net.config().double_z.then_some(channels * height * width);
        let mut loss = self.config.loss.likelihood(apart, numbers);
        if net.config().double_z && self.config.freeze.is_none() {
            let kl = f64::from(moments.kl().mean().into_scalar::<f32>());
            report = report.with("kl", kl);
            loss += self.config.loss.kl_weight * kl;
        }
        report.0.insert(0, ("loss".to_owned(), loss));
        Ok(report)
    }
}
