//! Tiny models of the shape of each published kind: what decides how a file is read is as published (widths of heads,
//! numbers of layers, extra channels), everything else is small.

use latent_models::unet::{Attention, Depths, Labels};
use latent_models::{
    AutoencoderConfig, AutoencoderTinyConfig, ClipTextConfig, ClipVisionConfig,
    EmbeddingNormalizerConfig, UNetConfig, named,
};
use serde_json::{Value, json};

use super::{TINY_LATENT, part, tiny_autoencoder, tiny_text_encoder, tiny_unet};
use crate::convert::Model;
use crate::detect::SchedulerConfig;
use crate::networks::{Role, StoredAutoencoder};

/// Numbers in the sinusoid of a size.
const SINUSOID: usize = 256;

/// The enum of the kinds, and the list of all of them.
macro_rules! families {
    ($($(#[$about:meta])* $name:ident,)*) => {
        /// A kind of published model.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum TinyFamily {
            $($(#[$about])* $name,)*
        }

        /// All of them.
        pub const TINY_FAMILIES: &[TinyFamily] = &[$(TinyFamily::$name),*];
    };
}

families! {
    Sd1,
    Sd1Inpainting,
    Lcm,
    Sd2,
    Sd2Inpainting,
    Sd2Depth,
    Sd2UnClip,
    Upscaler,
    Sdxl,
    SdxlInpainting,
    SdxlTurbo,
    /// Velocity and zero terminal SNR.
    SdxlV,
    Ssd1b,
    Vega,
    Koala,
    Playground,
    CosXl,
    Refiner,
}

/// OpenCLIP's encoder of Stable Diffusion 2: 24 layers, of which published folders carry 23.
fn text_h(layers: usize) -> ClipTextConfig {
    ClipTextConfig {
        layers,
        projection: None,
        ..open_clip(named::clip_h())
    }
}

fn text_g() -> ClipTextConfig {
    ClipTextConfig {
        layers: 12,
        projection: Some(48),
        ..open_clip(named::clip_g())
    }
}

fn open_clip(config: ClipTextConfig) -> ClipTextConfig {
    ClipTextConfig {
        width: 48,
        heads: 4,
        intermediate: 192,
        ..config
    }
}

fn text_l() -> ClipTextConfig {
    ClipTextConfig {
        width: 32,
        layers: 3,
        heads: 4,
        intermediate: 128,
        ..named::clip_l()
    }
}

/// The tiny encoder of pictures, of the kind of ViT-H/14.
pub fn tiny_image_encoder() -> ClipVisionConfig {
    ClipVisionConfig {
        image: 32,
        patch: 8,
        width: 32,
        layers: 3,
        heads: 4,
        intermediate: 128,
        projection: 32,
        ..named::clip_h_vision()
    }
}

/// TAESD, narrow.
pub fn tiny_taesd() -> AutoencoderTinyConfig {
    AutoencoderTinyConfig {
        width: 16,
        ..named::autoencoder_tiny()
    }
}

/// `config` with other channels at each level and another context.
fn narrowed(mut config: UNetConfig, channels: &[usize], context: usize) -> UNetConfig {
    config.model_channels = channels[0];
    config.context = Some(context);
    for (level, channels) in config.levels.iter_mut().zip(channels) {
        level.channels = *channels;
    }
    config
}

/// `config` with other numbers of transformer blocks at its levels, and in the middle `middle`.
fn deep(mut config: UNetConfig, depths: &[usize], middle: usize) -> UNetConfig {
    for (level, depth) in config.levels.iter_mut().zip(depths) {
        level.attention = level.attention.map(|attention| Attention {
            depth: *depth,
            ..attention
        });
    }
    config.middle = config.middle.map(|attention| Attention {
        depth: middle,
        ..attention
    });
    config
}

fn sd2() -> UNetConfig {
    narrowed(named::unet_sd2(), &[64, 64, 128, 64], 48)
}

fn sdxl() -> UNetConfig {
    UNetConfig {
        labels: Labels::Vector(48 + 6 * SINUSOID),
        ..deep(
            narrowed(named::unet_sdxl_base(), &[32, 128, 64], 80),
            &[1, 1, 2],
            2,
        )
    }
}

/// SDXL with fewer blocks, and so with widths that rise.
fn pruned(config: UNetConfig, depths: &[usize]) -> UNetConfig {
    UNetConfig {
        labels: Labels::Vector(48 + 6 * SINUSOID),
        depths: None,
        ..deep(narrowed(config, &[32, 64, 128], 80), depths, 1)
    }
}

fn ssd_1b() -> UNetConfig {
    UNetConfig {
        depths: Some(Depths {
            down: vec![vec![], vec![2, 2], vec![3, 3]],
            up: vec![vec![], vec![2, 1, 1], vec![3, 3, 5]],
        }),
        ..pruned(named::unet_ssd_1b(), &[1, 2, 5])
    }
}

fn refiner() -> UNetConfig {
    UNetConfig {
        labels: Labels::Vector(48 + 5 * SINUSOID),
        ..deep(
            narrowed(named::unet_sdxl_refiner(), &[32, 64, 128, 64], 48),
            &[1, 2, 2, 1],
            2,
        )
    }
}

fn upscaler() -> UNetConfig {
    narrowed(named::unet_x4_upscaler(), &[32, 64, 64, 128], 48)
}

fn with_inputs(config: UNetConfig, in_channels: usize) -> UNetConfig {
    UNetConfig {
        in_channels,
        ..config
    }
}

/// The autoencoder with its latent scale.
fn scaled(network: AutoencoderConfig, scale: f64) -> StoredAutoencoder {
    StoredAutoencoder {
        scale: Some(scale),
        ..network.into()
    }
}

/// Playground v2.5's means and deviations of latent channels.
const MOMENTS: [(f64, f64); 4] = [
    (-1.6574, 8.4927),
    (1.886, 5.9022),
    (-1.383, 6.5498),
    (2.5155, 5.2299),
];

impl TinyFamily {
    /// The model without its weights. `original` is it as a single file carries it: with the layers that are left out of
    /// folders.
    pub fn model(self, original: bool) -> Model {
        use TinyFamily::*;
        let h = text_h(if original { 24 } else { 23 });
        let h = ClipTextConfig {
            projection: original.then_some(48),
            ..h
        };
        let denoiser = match self {
            Sd1 => tiny_unet(4),
            Sd1Inpainting => tiny_unet(9),
            Lcm => UNetConfig {
                guidance: Some(256),
                ..tiny_unet(4)
            },
            Sd2 => sd2(),
            Sd2Inpainting => with_inputs(sd2(), 9),
            Sd2Depth => with_inputs(sd2(), 5),
            Sd2UnClip => UNetConfig {
                labels: Labels::Projection(64),
                ..sd2()
            },
            Upscaler => upscaler(),
            Sdxl | SdxlTurbo | SdxlV | Playground | CosXl => sdxl(),
            SdxlInpainting => with_inputs(sdxl(), 9),
            Ssd1b => ssd_1b(),
            Vega => pruned(named::unet_vega(), &[1, 1, 2]),
            Koala => pruned(named::unet_koala_700m(), &[1, 2, 5]),
            Refiner => refiner(),
        };
        let vae = tiny_autoencoder();
        let autoencoder = match self {
            Sd1 | Sd1Inpainting | Lcm | Sd2 | Sd2Inpainting | Sd2Depth | Sd2UnClip => {
                scaled(vae, 0.18215)
            }
            Upscaler => scaled(
                AutoencoderConfig {
                    levels: vae.levels[..3].to_vec(),
                    ..vae
                },
                0.08333,
            ),
            Playground => StoredAutoencoder {
                moments: MOMENTS.to_vec(),
                ..scaled(vae, 0.5)
            },
            _ => scaled(vae, 0.13025),
        };
        let texts = match self {
            Sd1 | Sd1Inpainting | Lcm => vec![(Role::TEXT_ENCODER, tiny_text_encoder())],
            Sd2 | Sd2Inpainting | Sd2Depth | Sd2UnClip | Upscaler => vec![(Role::TEXT_ENCODER, h)],
            Refiner => vec![(Role::TEXT_ENCODER_2, text_g())],
            _ => vec![
                (Role::TEXT_ENCODER, text_l()),
                (Role::TEXT_ENCODER_2, text_g()),
            ],
        };
        let mut parts = vec![
            part(Role::DENOISER, denoiser.into()),
            part(Role::AUTOENCODER, autoencoder.into()),
        ];
        parts.extend(
            texts
                .into_iter()
                .map(|(role, text)| part(role, text.into())),
        );
        if self == Sd2UnClip {
            let encoder = tiny_image_encoder();
            let width = encoder.projection;
            let normalizer = EmbeddingNormalizerConfig { width };
            parts.push(part(Role::IMAGE_ENCODER, encoder.into()));
            parts.push(part(Role::IMAGE_NORMALIZER, normalizer.into()));
        }
        Model {
            parts,
            scheduler: self.scheduler(),
            sample_size: Some(if self == Upscaler { 16 } else { TINY_LATENT }),
            metadata: Default::default(),
            ..Model::default()
        }
    }

    /// As published beside it.
    pub fn scheduler(self) -> SchedulerConfig {
        use TinyFamily::*;
        let legacy = SchedulerConfig::stable_diffusion();
        let of = |class: &str, prediction: &str, spacing: Option<&str>| SchedulerConfig {
            class_name: class.to_owned(),
            prediction_type: prediction.to_owned(),
            timestep_spacing: spacing.map(str::to_owned),
            ..legacy.clone()
        };
        let edm = |class: &str, prediction: &str, rest: Value| SchedulerConfig {
            class_name: class.to_owned(),
            prediction_type: prediction.to_owned(),
            rest: rest
                .as_object()
                .into_iter()
                .flatten()
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            ..SchedulerConfig::default()
        };
        match self {
            Sd1 | Sd1Inpainting => legacy,
            Lcm => SchedulerConfig {
                set_alpha_to_one: Some(true),
                rest: [
                    ("original_inference_steps".to_owned(), json!(50)),
                    ("timestep_scaling".to_owned(), json!(10.0)),
                ]
                .into(),
                ..of("LCMScheduler", "epsilon", Some("leading"))
            },
            Sd2 => of("DDIMScheduler", "v_prediction", None),
            Sd2Inpainting | Sd2Depth => of("PNDMScheduler", "epsilon", None),
            Sd2UnClip => of("PNDMScheduler", "v_prediction", None),
            Upscaler => SchedulerConfig {
                beta_start: 0.0001,
                beta_end: 0.02,
                ..of("DDIMScheduler", "v_prediction", None)
            },
            SdxlTurbo => of(
                "EulerAncestralDiscreteScheduler",
                "epsilon",
                Some("trailing"),
            ),
            SdxlV => SchedulerConfig {
                rescale_betas_zero_snr: true,
                ..of("EulerDiscreteScheduler", "v_prediction", Some("trailing"))
            },
            Playground => edm(
                "EDMDPMSolverMultistepScheduler",
                "epsilon",
                json!({"rho": 7.0, "sigma_data": 0.5, "sigma_max": 80.0, "sigma_min": 0.002}),
            ),
            CosXl => edm(
                "EDMEulerScheduler",
                "v_prediction",
                json!({"rho": 7.0, "sigma_data": 1.0, "sigma_max": 120.0, "sigma_min": 0.002,
                       "sigma_schedule": "exponential"}),
            ),
            Sdxl | SdxlInpainting | Ssd1b | Vega | Koala | Refiner => {
                of("EulerDiscreteScheduler", "epsilon", Some("leading"))
            }
        }
    }
}
