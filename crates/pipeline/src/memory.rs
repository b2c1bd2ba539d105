//! How much memory a job needs, known before it starts.
//!
//! Weights are counted exactly. Working memory is an estimate from the sizes of the largest tensors, with factors
//! measured on the CPU backend with full-size Stable Diffusion 1.5 at 512×512; it is meant to be right within a quarter.

use std::fmt;

use burn::module::Module;
use burn::tensor::DType;
use latent_models::parameter_count;

use crate::decode::Decoding;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::request::{Request, Size, Switch};

/// Live copies of the U-Net's finest feature map at its worst moment.
const UNET_COPIES: u64 = 20;
/// The same of the decoder's finest, decoded whole.
const DECODER_COPIES: u64 = 4;
/// And in strips.
const STRIP_COPIES: u64 = 2;
/// Rows of a strip.
const STRIP_ROWS: usize = 32;

/// What a job needs, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlan {
    /// All weights.
    pub weights: u64,
    /// Sampling, beside the weights.
    pub sampling: u64,
    /// Decoding one picture whole, beside the weights.
    pub decoding: u64,
    /// Decoding one picture in strips, beside the weights.
    pub decoding_in_strips: u64,
}

fn bytes_of(dtype: DType) -> u64 {
    match dtype {
        DType::F64 => 8,
        DType::F16 | DType::BF16 => 2,
        _ => 4,
    }
}

fn weights<M: Module>(module: &M, dtype: DType) -> u64 {
    parameter_count(module) as u64 * bytes_of(dtype)
}

impl MemoryPlan {
    /// The plan of a request's largest pass.
    pub fn of(request: &Request, model: &Model) -> Self {
        let canvas = request.canvas();
        let size = request.hires.as_ref().map_or(canvas, |hires| {
            let (size, _) = hires.target(Size {
                width: request.width,
                height: request.height,
            });
            if size.width * size.height > canvas.width * canvas.height {
                size
            } else {
                canvas
            }
        });
        let pixels = (size.width * size.height) as u64;
        let latent = pixels / (model.latent.downsample * model.latent.downsample) as u64;
        let unet = model.unet.config();
        let decoder = model.autoencoder.as_ref();
        let finest = decoder.map_or(0, |decoder| {
            decoder.finest() as u64 * bytes_of(decoder.dtype())
        });
        // Prompts that guidance reads run as one batch. The second level's width meets the finest resolution after the last
        // enlargement of the decoder.
        let width = unet.model_channels as u64 * bytes_of(model.denoiser_dtype());
        let guided = match request.guidance.perp_neg {
            Some(_) => 3,
            None if request.guidance_scale() == 1.0 => 1,
            None => 2,
        };
        let map = pixels * finest;
        Self {
            weights: weights(&model.unet, model.denoiser_dtype())
                + decoder.map_or(0, |decoder| {
                    decoder.parameters() as u64 * bytes_of(decoder.dtype())
                })
                + model
                    .texts
                    .iter()
                    .map(|text| weights(&text.network, text.network.dtype()))
                    .sum::<u64>()
                + model
                    .condition
                    .as_ref()
                    .map_or(0, |c| weights(c.network(), DType::F32)),
            sampling: latent * width * UNET_COPIES * guided * request.batch_size as u64,
            decoding: map * DECODER_COPIES,
            decoding_in_strips: map * STRIP_COPIES,
        }
    }

    /// The most that is in use at any time, for a way of decoding.
    pub fn peak(&self, decoding: Decoding) -> u64 {
        let decoding = match decoding {
            Decoding::Whole => self.decoding,
            Decoding::Strips(_) => self.decoding_in_strips,
        };
        self.weights + self.sampling.max(decoding)
    }

    /// How to decode within `available` bytes of further memory (the weights are loaded already).
    ///
    /// # Errors
    /// [`Error::Memory`] where even strips, or sampling itself, would not fit.
    pub fn settle(&self, request: &Request, available: Option<u64>) -> Result<Decoding> {
        let strips = Decoding::Strips(STRIP_ROWS);
        let fits =
            |decoding| available.is_none_or(|free| self.peak(decoding) - self.weights <= free);
        let chosen = match request.vae_tiling {
            Switch::On => strips,
            Switch::Off => Decoding::Whole,
            Switch::Auto if fits(Decoding::Whole) => Decoding::Whole,
            Switch::Auto => strips,
        };
        match available {
            Some(free) if !fits(chosen) => Err(Error::Memory {
                needed: human(self.peak(chosen) - self.weights),
                available: human(free),
                advice: "make the picture or the batch smaller, or use --dtype bf16".to_owned(),
            }),
            _ => Ok(chosen),
        }
    }
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "weights {}, sampling {}, decoding {} (in strips {})",
            human(self.weights),
            human(self.sampling),
            human(self.decoding),
            human(self.decoding_in_strips)
        )
    }
}

/// A number of bytes as a person reads it: `3.4 GB`.
pub fn human(bytes: u64) -> String {
    let bytes = bytes as f64;
    match bytes {
        b if b < 1e6 => format!("{:.0} kB", b / 1e3),
        b if b < 1e9 => format!("{:.0} MB", b / 1e6),
        b => format!("{:.1} GB", b / 1e9),
    }
}
