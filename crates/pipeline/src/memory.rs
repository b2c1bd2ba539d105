//! How much memory a job needs, known before it starts.
//!
//! Weights are counted by their numbers. Working memory is an estimate from the configurations of the networks: what the
//! U-Net keeps for its way up, what ControlNets say and references show, and copies of the largest maps, as many as were
//! measured on the CPU backend with full-size
//! Stable Diffusion 1.5 at 512×512 and SDXL at 1024×1024. It is meant to be right within a quarter.

use std::fmt;

use burn::tensor::DType;
use latent_models::{DenoiserConfig, TransformerConfig, UNetConfig};

use crate::decode::Decoding;
use crate::error::{Error, Result};
use crate::model::{ControlNetwork, Model, Stage};
use crate::passes::as_one_batch;
use crate::profile::Profile;
use crate::ready::Resolved;
use crate::request::{Request, Switch};

/// Live copies of a level's map, beside what is kept for the way up, in a transformer block at its worst moment.
const ATTENDING_COPIES: u64 = 15;
/// The same in a resblock.
const RESBLOCK_COPIES: u64 = 10;
/// Live copies of a transformer's tokens at its worst moment: between the two layers of a block they are four times as wide.
const TOKEN_COPIES: u64 = 8;
/// Live copies of the decoder's finest map at its worst moment, decoded whole. The encoder's are as many.
const DECODER_COPIES: u64 = 4;
/// And in strips.
const STRIP_COPIES: u64 = 2;
/// Rows of a strip.
const STRIP_ROWS: usize = 32;

/// What a job needs, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Weights of what reads prompts and conditions.
    pub conditioning: u64,
    /// Weights of the denoiser.
    pub denoiser: u64,
    /// Weights of the refiner's denoiser.
    pub refiner: u64,
    /// One batch is drawn, in which the denoiser is given up before the refiner's is read.
    pub in_one_batch: bool,
    /// Weights of the autoencoder, and of the refiner's where that decodes.
    pub autoencoder: u64,
    /// How much of all these is in memory already.
    pub held: u64,
    /// Sampling, beside the weights.
    pub sampling: u64,
    /// Encoding a picture that is given, beside the weights.
    pub encoding: u64,
    /// Decoding one picture whole, beside the weights.
    pub decoding: u64,
    /// Decoding one picture in strips, beside the weights.
    pub decoding_in_strips: u64,
}

/// Which networks a job has in memory at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// All of them, from the first job of many to the last.
    All,
    /// What reads the prompts goes when it has done so; the others stay.
    Pair,
    /// Those of one stage.
    Turn,
}

/// How a job goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settled {
    pub decoding: Decoding,
    /// Networks give way to each other, and are read again where they are needed again.
    pub in_turn: bool,
}

/// Bytes of a denoiser's tensors, for one latent of `pixels` pixels and numbers of `size` bytes: those that it keeps for its way up,
/// and those beside them at its worst moment.
fn working_bytes(denoiser: &DenoiserConfig, pixels: u64, size: u64) -> (u64, u64) {
    match denoiser {
        DenoiserConfig::Unet(unet) => working_bytes_of_unet(unet, pixels, size),
        DenoiserConfig::Transformer(TransformerConfig { width, patch, .. }) => {
            let tokens = pixels / (patch * patch).max(1) as u64;
            (0, tokens * *width as u64 * size * TOKEN_COPIES)
        }
    }
}

fn working_bytes_of_unet(unet: &UNetConfig, pixels: u64, size: u64) -> (u64, u64) {
    let levels = unet.levels.iter().enumerate();
    let maps = levels.map(|(i, level)| {
        let map = (pixels >> (2 * i)) * level.channels as u64 * size;
        let copies = match level.attention {
            Some(_) => ATTENDING_COPIES,
            None => RESBLOCK_COPIES,
        };
        // Each resblock's output is kept, and that of what comes before the first.
        (map * (level.resblocks as u64 + 1), map * copies)
    });
    maps.fold((0, 0), |(kept, worst), (keeps, works)| {
        (kept + keeps, works.max(worst))
    })
}

/// Bytes of sampling one latent with one prompt: the denoiser beside what ControlNets said, or a ControlNet beside what those
/// before it said; and what references have shown.
fn sampling_bytes(request: &Request, model: &Model, pixels: u64) -> u64 {
    let denoiser = &model.denoiser;
    let size = bytes_of(denoiser.dtype());
    let entries = 0..request.control.len();
    let controls = entries.filter_map(|entry| match &model.control(entry)?.network {
        ControlNetwork::ControlNet(part) => {
            let size = bytes_of(part.dtype());
            Some(working_bytes_of_unet(&part.config().unet, pixels, size))
        }
        ControlNetwork::T2iAdapter(_) | ControlNetwork::Style(_) => None,
    });
    // Their sums are one set of maps, as large as what the denoiser keeps; a network's own are beside it while it is asked.
    let (said, asked) = controls.fold((0, 0), |(said, asked), (kept, worst)| {
        (kept.max(said), (said + kept + worst).max(asked))
    });
    let levels = denoiser.config().unet().into_iter();
    let levels = levels.flat_map(|unet| unet.levels.iter().enumerate());
    let seen = levels.map(|(i, level)| {
        let blocks = level.attention.map_or(0, |attention| {
            (2 * level.resblocks as u64 + 1) * attention.depth as u64
        });
        (pixels >> (2 * i)) * level.channels as u64 * size * blocks
    });
    let seen = seen.sum::<u64>() * request.reference.len() as u64;
    let (kept, worst) = working_bytes(denoiser.config(), pixels, size);
    (said + kept + worst).max(asked) + seen
}

impl MemoryPlan {
    /// The plan of a request's largest pass.
    pub fn of(request: &Request, model: &Model) -> Self {
        let canvas = request.canvas();
        let size = request.hires.as_ref().map_or(canvas, |hires| {
            let (size, _) = hires.target(request.size());
            if size.width * size.height > canvas.width * canvas.height {
                size
            } else {
                canvas
            }
        });
        let pixels = (size.width * size.height) as u64;
        let latent = pixels / (model.latent.downsample * model.latent.downsample) as u64;
        let decoders = model.all_autoencoders();
        let finest = decoders
            .map(|decoder| decoder.config().finest() as u64 * bytes_of(decoder.dtype()))
            .max()
            .unwrap_or(0);
        // Prompts that guidance reads run as one batch, but for large latents. The second level's width meets the finest
        // resolution after the last enlargement of the decoder.
        let guided = match request.guidance.perp_neg {
            _ if !as_one_batch(latent as usize) => 1,
            Some(_) => 3,
            None if request.guidance_scale() == 1.0 => 1,
            None => 2,
        };
        let refining = |refiner: &Model| {
            let denoiser = &refiner.denoiser;
            let size = bytes_of(denoiser.dtype());
            let (kept, worst) = working_bytes(denoiser.config(), latent, size);
            kept + worst
        };
        let sampling = sampling_bytes(request, model, latent);
        let denoiser = sampling.max(model.refiner.as_deref().map_or(0, refining));
        let names = Resolved::of_passes(request, &model.scheduler, &Profile::of(request.compat));
        let map = pixels * finest;
        let given = request.start.image.is_some()
            || request.hires.is_some()
            || model.inpaints()
            || !request.reference.is_empty();
        Self {
            conditioning: model.bytes(Stage::Conditioning),
            denoiser: model.bytes(Stage::Denoising),
            refiner: model.bytes(Stage::Refining),
            in_one_batch: names
                .is_ok_and(|names| Resolved::together(request, names) >= request.pictures()),
            autoencoder: model.bytes(Stage::Compressing),
            held: Stage::ALL.into_iter().map(|stage| model.held(stage)).sum(),
            sampling: denoiser * guided * request.batch_size as u64,
            encoding: if given { map * DECODER_COPIES } else { 0 },
            decoding: map * DECODER_COPIES,
            decoding_in_strips: map * STRIP_COPIES,
        }
    }

    /// All weights.
    pub fn weights(&self) -> u64 {
        self.conditioning + self.denoiser + self.refiner + self.autoencoder
    }

    /// The most that is in use at any time.
    pub fn peak(&self, decoding: Decoding, holding: Holding) -> u64 {
        let decoding = match decoding {
            Decoding::Whole => self.decoding,
            Decoding::Strips(_) => self.decoding_in_strips,
        };
        let compressing = decoding.max(self.encoding);
        let both = self.denoiser + self.refiner;
        let larger = self.denoiser.max(self.refiner);
        let with = |denoisers| denoisers + self.autoencoder + self.sampling.max(compressing);
        let kept = if self.in_one_batch { larger } else { both };
        match holding {
            Holding::All => self.conditioning + with(both),
            Holding::Pair => self.conditioning.max(with(kept)),
            Holding::Turn => (larger + self.sampling)
                .max(self.autoencoder + compressing)
                .max(self.conditioning),
        }
    }

    /// How to go about a job within `available` bytes beside what is in memory already. `once`: the model draws nothing else.
    ///
    /// # Errors
    /// [`Error::Memory`] where even strips, or sampling itself, would not fit.
    pub(crate) fn settle(
        &self,
        request: &Request,
        available: Option<u64>,
        once: bool,
    ) -> Result<Settled> {
        let strips = Decoding::Strips(STRIP_ROWS);
        let least = if once { Holding::Turn } else { Holding::All };
        let needed = |decoding, holding| self.peak(decoding, holding).saturating_sub(self.held);
        let fits =
            |decoding, holding| available.is_none_or(|free| needed(decoding, holding) <= free);
        let decoding = match request.compute.vae_tiling {
            Switch::On => strips,
            Switch::Off => Decoding::Whole,
            Switch::Auto if fits(Decoding::Whole, least) => Decoding::Whole,
            Switch::Auto => strips,
        };
        match available {
            Some(free) if !fits(decoding, least) => Err(Error::Memory {
                needed: human(needed(decoding, least)),
                available: human(free),
                advice: "make the picture or the batch smaller, or use --dtype bf16".to_owned(),
            }),
            _ => Ok(Settled {
                decoding,
                in_turn: once && !fits(decoding, Holding::Pair),
            }),
        }
    }
}

fn bytes_of(dtype: DType) -> u64 {
    dtype.size() as u64
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "weights {} (text {}, denoiser {}, refiner {}, autoencoder {}; {} in memory), sampling {}, decoding {} (in strips {})",
            human(self.weights()),
            human(self.conditioning),
            human(self.denoiser),
            human(self.refiner),
            human(self.autoencoder),
            human(self.held),
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
