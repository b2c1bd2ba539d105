//! Model families as values.
//!
//! A family says what the networks of a checkpoint have in common beyond their own configurations: the scale of the
//! latent, the noise schedule, the size they were trained at. Adding a family is adding a value to [`FAMILIES`].

use latent_diffusion::BetaSchedule;
use latent_models::{AutoencoderConfig, ClipTextConfig, UNetConfig};

/// How a picture becomes the latent that the denoiser works in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatentFormat {
    /// Channels.
    pub channels: usize,
    /// Pixels per latent number along each side.
    pub downsample: usize,
    /// The latent is `(encoded − shift) · scale`.
    pub scale: f64,
    /// See `scale`.
    pub shift: f64,
}

/// One family.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Family {
    /// What people call it.
    pub name: &'static str,
    /// Its latent.
    pub latent: LatentFormat,
    /// β schedule of its training: kind, β₀, β_T.
    pub betas: (BetaSchedule, f64, f64),
    /// Training time steps.
    pub timesteps: usize,
    /// Width and height it draws best at, pixels.
    pub size: usize,
    /// Text-encoder layers left out at "clip skip 1".
    pub text_skip: usize,
}

/// Every family this version runs.
pub const FAMILIES: &[Family] = &[Family {
    name: "Stable Diffusion 1.x",
    latent: LatentFormat {
        channels: 4,
        downsample: 8,
        scale: 0.18215,
        shift: 0.0,
    },
    betas: (BetaSchedule::ScaledLinear, 0.00085, 0.012),
    timesteps: 1000,
    size: 512,
    text_skip: 0,
}];

impl Family {
    /// The family whose pipeline these networks fit.
    ///
    /// # Errors
    ///
    /// Why none does, as a sentence.
    pub fn of(
        unet: &UNetConfig,
        vae: &AutoencoderConfig,
        text: &ClipTextConfig,
    ) -> Result<Self, String> {
        let fits = |f: &&Self| {
            f.latent.channels == vae.latent_channels
                && f.latent.channels == unet.out_channels
                && f.latent.downsample == vae.downsampling()
                && unet.context == Some(text.width)
        };
        FAMILIES.iter().find(fits).copied().ok_or_else(|| {
            format!(
                "no family of this version has a U-Net of {} → {} channels with context width {:?}, an autoencoder of {} \
                 latent channels at 1/{} size and text states of width {}; the families are: {}",
                unet.in_channels,
                unet.out_channels,
                unet.context,
                vae.latent_channels,
                vae.downsampling(),
                text.width,
                FAMILIES.iter().map(|f| f.name).collect::<Vec<_>>().join(", "),
            )
        })
    }

    /// A family of its own: a model that was trained here, in the latents of `vae` or in pixels.
    ///
    /// # Errors
    ///
    /// Why the networks do not fit each other, as a sentence.
    pub fn trained(
        unet: &UNetConfig,
        vae: Option<&AutoencoderConfig>,
        size: usize,
    ) -> Result<Self, String> {
        let channels = vae.map_or(3, |vae| vae.latent_channels);
        if unet.out_channels != channels {
            return Err(format!(
                "its U-Net makes {} channels, and a latent has {channels}",
                unet.out_channels
            ));
        }
        Ok(Self {
            name: "trained here",
            latent: LatentFormat {
                channels,
                downsample: vae.map_or(1, AutoencoderConfig::downsampling),
                scale: 1.0,
                shift: 0.0,
            },
            betas: (BetaSchedule::ScaledLinear, 0.0015, 0.0195),
            timesteps: 1000,
            size,
            text_skip: 0,
        })
    }

    /// Channels that an inpainting network of this family takes beside the latent: the mask and the masked picture.
    pub fn inpaint_channels(&self) -> usize {
        1 + self.latent.channels
    }
}
