//! The loss of the first stage (Rombach et al. 2022, appendix G; Esser et al. 2021): reconstruction,
//! perceptual distance, a small penalty of the latent, and a patch discriminator whose share is balanced
//! by gradients.
//!
//! Both players learn from one pass. The published code runs the autoencoder again, after its step,
//! before the discriminator learns; that costs a pass and is the same game.

use burn::module::Module;
use burn::tensor::{Gradients, Int, Tensor, activation};
use latent_models::autoencoder::Quantized;
use latent_models::layers::BatchStatistics;
use latent_models::{Autoencoder, Discriminator, Perceptual, feature_distance};
use serde::{Deserialize, Serialize};

use crate::{Error, Report};

/// The weights of the parts of the loss. What is left out has the published value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LossConfig {
    /// Of the perceptual distance, beside the absolute difference of pixels.
    pub perceptual_weight: f64,
    /// The logarithm of the variance that the reconstruction is judged with, in KL models. The published
    /// code has it as a parameter that no optimiser moves.
    pub log_variance: f64,
    /// Of the Kullback-Leibler divergence, in KL models.
    pub kl_weight: f64,
    /// Of the codebook's loss, in VQ models.
    pub codebook_weight: f64,
    /// The share of [`beta_on`](Self::beta_on) in the codebook's loss.
    pub beta: f64,
    /// What `beta` weighs.
    pub beta_on: BetaOn,
    /// Of the discriminator, before the balance of gradients; 0 for none.
    pub discriminator_weight: f64,
    /// The first step at which there is a discriminator.
    pub discriminator_start: u64,
}

/// The half of the codebook's loss that β weighs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaOn {
    /// That which moves the entries: what all published models were trained with.
    #[default]
    Codebook,
    /// That which moves the encoder: what the paper (van den Oord et al. 2017) says.
    Commitment,
}

impl Default for LossConfig {
    fn default() -> Self {
        Self {
            perceptual_weight: 1.0,
            log_variance: 0.0,
            kl_weight: 1e-6,
            codebook_weight: 1.0,
            beta: 0.25,
            beta_on: BetaOn::Codebook,
            discriminator_weight: 0.5,
            discriminator_start: 50_001,
        }
    }
}

impl LossConfig {
    /// # Errors
    /// The first number that is out of its range.
    pub fn validate(&self) -> Result<(), Error> {
        let weights = [
            ("perceptual_weight", self.perceptual_weight),
            ("kl_weight", self.kl_weight),
            ("codebook_weight", self.codebook_weight),
            ("beta", self.beta),
            ("discriminator_weight", self.discriminator_weight),
        ];
        for (name, value) in weights {
            if !(0.0..f64::INFINITY).contains(&value) {
                return Err(Error::setting(
                    &format!("model.loss.{name}"),
                    value,
                    "0 or more",
                ));
            }
        }
        match self.log_variance.is_finite() {
            true => Ok(()),
            false => Err(Error::setting(
                "model.loss.log_variance",
                self.log_variance,
                "a number",
            )),
        }
    }

    /// The negative log-likelihood of a mean difference: in KL models the sum over a picture's `numbers`, in VQ models,
    /// which give none, the mean.
    pub(crate) fn likelihood(&self, apart: f64, numbers: Option<usize>) -> f64 {
        match numbers {
            Some(numbers) => {
                (apart * (-self.log_variance).exp() + self.log_variance) * numbers as f64
            }
            None => apart,
        }
    }

    /// Whether the discriminator plays at that step.
    pub fn adversarial(&self, step: u64) -> bool {
        self.discriminator_weight > 0.0 && step >= self.discriminator_start
    }
}

/// The networks of the loss.
#[derive(Debug, Clone, Copy)]
pub struct Loss<'a> {
    /// What is learnt.
    pub autoencoder: &'a Autoencoder,
    /// What tells its pictures from real ones, once it takes part.
    pub discriminator: Option<&'a Discriminator>,
    /// The network whose features are compared, if any; records no gradients of its own.
    pub perceptual: Option<&'a Perceptual>,
    /// The weights.
    pub config: &'a LossConfig,
}

/// What the encoder makes of pictures.
pub struct Encoded {
    /// What the decoder is given, drawn or rounded.
    pub z: Tensor<4>,
    /// The latents as the second stage sees them, drawn or before any rounding; without a record.
    pub latent: Tensor<4>,
    /// The codebook's entries that were used.
    pub ids: Option<Tensor<2, Int>>,
    /// What the latents cost, in models that have a loss of it.
    pub penalty: Option<Penalty>,
}

/// A loss of latents alone.
pub struct Penalty {
    /// Its name in reports.
    pub name: &'static str,
    /// Its value: one number.
    pub value: Tensor<1>,
    /// How much it counts.
    pub weight: f64,
}

/// A pass of the autoencoder, forward and back.
pub struct Pass {
    /// Of the autoencoder's parameters.
    pub gradients: Gradients,
    /// What became of the pictures, without a record.
    pub reconstruction: Tensor<4>,
    /// The latents as the second stage sees them, drawn or before any rounding; without a record.
    pub latent: Tensor<4>,
    /// The codebook's entries that were used.
    pub ids: Option<Tensor<2, Int>>,
    /// What the discriminator's normalisations saw.
    pub seen: Vec<BatchStatistics>,
    /// `loss` and its parts.
    pub report: Report,
}

/// A pass of the discriminator, forward and back.
pub struct Judgement {
    /// Of its parameters.
    pub gradients: Gradients,
    /// What its normalisations saw, of pictures and of reconstructions.
    pub seen: [Vec<BatchStatistics>; 2],
    /// Its loss, and what it thinks of either.
    pub report: Report,
}

/// A tensor of one number.
fn number(x: &Tensor<1>) -> f64 {
    f64::from(x.clone().into_scalar::<f32>())
}

/// The length of all numbers as one vector.
fn norm(x: &Tensor<4>) -> f64 {
    number(&x.clone().square().sum()).sqrt()
}

/// The same numbers as the beginning of a new record.
fn leaf(x: &Tensor<4>) -> Tensor<4> {
    x.clone().detach().require_grad()
}

/// The gradient of `loss` with respect to the leaf `x`.
fn gradient_at(x: &Tensor<4>, loss: Tensor<1>) -> Tensor<4> {
    let found = x.grad_remove(&mut loss.backward());
    found.map_or_else(|| x.clone().detach().zeros_like(), |g| g.reshape(x.dims()))
}

/// The parts of the reconstruction's loss.
struct Reconstruction {
    /// The negative log-likelihood.
    nll: Tensor<1>,
    absolute: f64,
    perceptual: Option<f64>,
}

impl Loss<'_> {
    /// The penalty of the latent, without its weight: name and value.
    fn penalty(&self, quantized: &Quantized) -> Tensor<1> {
        let (book, commitment) = (
            quantized.codebook_loss.clone(),
            quantized.commitment_loss.clone(),
        );
        match self.config.beta_on {
            BetaOn::Codebook => commitment + book * self.config.beta,
            BetaOn::Commitment => book + commitment * self.config.beta,
        }
    }

    /// In KL models the sum over a picture's numbers, in VQ models their mean, as published.
    fn reconstruction(&self, picture: Tensor<4>, reconstruction: Tensor<4>) -> Reconstruction {
        let [_, channels, height, width] = picture.dims();
        let numbers = (channels * height * width) as f64;
        let absolute = (picture.clone() - reconstruction.clone()).abs().mean();
        let distance = self.perceptual.map(|network| {
            let of_picture = network.features(picture);
            feature_distance(network.features(reconstruction), of_picture).mean()
        });
        let mut rec = absolute.clone();
        if let Some(distance) = &distance {
            rec = rec + distance.clone() * self.config.perceptual_weight;
        }
        let nll = match self.autoencoder.config().double_z {
            true => (rec * (-self.config.log_variance).exp() + self.config.log_variance) * numbers,
            false => rec,
        };
        Reconstruction {
            nll,
            absolute: number(&absolute),
            perceptual: distance.as_ref().map(number),
        }
    }

    /// Forward through the encoder. `noise` is what the latents of a KL model are drawn with.
    ///
    /// # Shapes
    ///
    /// picture `[batch, channels, height, width]` in −1..1, noise as the latent
    pub fn encode(
        &self,
        picture: Tensor<4>,
        noise: impl FnOnce([usize; 4]) -> Tensor<4>,
    ) -> Encoded {
        let net = self.autoencoder;
        let moments = net.encode(picture);
        let before = moments.mean.clone();
        if let Some(rounded) = net.quantize_training(before.clone()) {
            return Encoded {
                penalty: Some(Penalty {
                    name: "codebook",
                    value: self.penalty(&rounded),
                    weight: self.config.codebook_weight,
                }),
                z: rounded.latent,
                latent: before.detach(),
                ids: Some(rounded.ids),
            };
        }
        let (z, penalty) = match net.config().double_z {
            true => {
                let noise = noise(moments.mean.dims());
                let penalty = Penalty {
                    name: "kl",
                    value: moments.kl().mean(),
                    weight: self.config.kl_weight,
                };
                (moments.sample(noise), Some(penalty))
            }
            false => (moments.mean, None),
        };
        Encoded {
            latent: z.clone().detach(),
            z,
            ids: None,
            penalty,
        }
    }

    /// Forward through the decoder and back through all: how far what it makes of the latents is from `picture`.
    ///
    /// The balance needs the gradients of two losses at the last layer before the one backward pass
    /// through everything. So the losses go back to the picture alone; what of them reaches the last
    /// layer's weight is a convolution of three channels; and the pass through the autoencoder starts
    /// from their weighted sum.
    ///
    /// # Shapes
    ///
    /// picture `[batch, channels, height, width]` in −1..1, as large as what is decoded
    pub fn decode(&self, encoded: Encoded, picture: Tensor<4>) -> Pass {
        let net = self.autoencoder;
        let Encoded {
            z,
            latent,
            ids,
            penalty,
        } = encoded;
        let h = net.features(z);
        let made = net.last_layer(h.clone());

        let seen = leaf(&made);
        let parts = self.reconstruction(picture, seen.clone());
        let nll = number(&parts.nll);
        let mut pull = gradient_at(&seen, parts.nll);
        let mut report = Report::new()
            .with("nll", nll)
            .with("absolute", parts.absolute);
        if let Some(distance) = parts.perceptual {
            report = report.with("perceptual", distance);
        }
        let mut loss = nll;
        if let Some(penalty) = &penalty {
            let value = number(&penalty.value);
            report = report.with(penalty.name, value);
            loss += penalty.weight * value;
        }

        let mut statistics = Vec::new();
        if let Some(discriminator) = self.discriminator {
            let judged = leaf(&made);
            let (logits, seen) = discriminator
                .clone()
                .no_grad()
                .forward_training(judged.clone());
            statistics = seen;
            let g = -logits.mean();
            let value = number(&g);
            let push = gradient_at(&judged, g);
            let of =
                |gradient: &Tensor<4>| norm(&net.last_weight_gradient(h.clone(), gradient.clone()));
            let ratio = of(&pull) / (of(&push) + 1e-4);
            let balance = self.config.discriminator_weight * ratio.clamp(0.0, 1e4);
            pull = pull + push * balance;
            loss += balance * value;
            report = report
                .with("generator", value)
                .with("adaptive_weight", balance);
        }
        // Its gradient at the picture is `pull`.
        let mut whole = (made.clone() * pull.detach()).sum();
        if let Some(penalty) = penalty {
            whole = whole + penalty.value * penalty.weight;
        }
        report.0.insert(0, ("loss".to_owned(), loss));
        Pass {
            gradients: whole.backward(),
            reconstruction: made.detach(),
            latent,
            ids,
            seen: statistics,
            report,
        }
    }

    /// Forward and back through the discriminator: the hinge loss ½·(mean max(0, 1 − real) + mean max(0, 1
    /// + made)).
    ///
    /// # Shapes
    ///
    /// Both `[batch, channels, height, width]`
    pub fn discriminator(
        discriminator: &Discriminator,
        picture: Tensor<4>,
        made: Tensor<4>,
    ) -> Judgement {
        let (real, seen_real) = discriminator.forward_training(picture);
        let (fake, seen_fake) = discriminator.forward_training(made.detach());
        let hinge = |x: Tensor<4>| activation::relu(x + 1.0).mean();
        let loss = (hinge(-real.clone()) + hinge(fake.clone())) * 0.5;
        let report = Report::new()
            .with("discriminator", number(&loss))
            .with("logits_real", number(&real.mean()))
            .with("logits_made", number(&fake.mean()));
        Judgement {
            gradients: loss.backward(),
            seen: [seen_real, seen_fake],
            report,
        }
    }
}
