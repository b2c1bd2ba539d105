//! Which pipeline of diffusers draws with just these networks: `model_index.json`.

use std::path::Path;

use latent_models::unet::Labels;
use latent_models::{AutoencoderConfig, ClipTextConfig, UNetConfig};
use serde_json::{Value, json};

use super::configs::index;
use super::write::{Model, NamedPart};
use super::{request, tokenizer};
use crate::detect::{Carried, ZEROS};
use crate::networks::{Network, Role, extend, sorted};
use crate::report::ModelError;

/// The networks of a model that decide which pipeline of diffusers draws with them.
struct Signs<'a> {
    denoiser: &'a UNetConfig,
    autoencoder: &'a AutoencoderConfig,
    texts: Vec<&'a ClipTextConfig>,
    /// Networks that look at a picture.
    pictures: usize,
    others: usize,
}

/// A pipeline of diffusers: its class, what its networks are like, and what else its index says, as JSON.
struct Pipeline {
    class: &'static str,
    fits: fn(&Signs<'_>) -> bool,
    more: &'static str,
    companions: &'static [Companion],
}

/// A component without weights that a pipeline needs, as published: written where the input has none.
struct Companion {
    name: &'static str,
    library: &'static str,
    class: &'static str,
    file: &'static str,
    json: &'static str,
}

/// Stands in a companion's JSON for the side of the pictures that the model's image encoder takes.
const SIDE: &str = "SIDE";

const PIPELINES: [Pipeline; 12] = [
    Pipeline {
        class: "StableDiffusionXLInpaintPipeline",
        fits: |s| s.told_sizes(6) && s.reads_text() && s.beside(s.latent() + 1),
        more: r#"{"force_zeros_for_empty_prompt": true, "requires_aesthetics_score": false}"#,
        companions: &[],
    },
    Pipeline {
        class: "StableDiffusionXLInstructPix2PixPipeline",
        fits: |s| s.told_sizes(6) && s.reads_text() && s.beside(s.latent()),
        more: r#"{"force_zeros_for_empty_prompt": true}"#,
        companions: &[],
    },
    Pipeline {
        class: "StableDiffusionXLPipeline",
        fits: |s| s.told_sizes(6) && s.reads_text() && s.beside(0),
        more: r#"{"force_zeros_for_empty_prompt": true}"#,
        companions: &[],
    },
    Pipeline {
        class: "StableDiffusionXLImg2ImgPipeline",
        fits: |s| s.told_sizes(5) && s.reads_text() && s.beside(0),
        more: r#"{"force_zeros_for_empty_prompt": false, "requires_aesthetics_score": true,
            "text_encoder": [null, null], "tokenizer": [null, null]}"#,
        companions: &[],
    },
    Pipeline {
        class: "StableDiffusionInpaintPipeline",
        fits: |s| s.plain() && s.reads_text() && s.beside(s.latent() + 1),
        more: UNCHECKED,
        companions: &[],
    },
    Pipeline {
        class: "StableDiffusionInstructPix2PixPipeline",
        fits: |s| s.plain() && s.reads_text() && s.beside(s.latent()),
        more: UNCHECKED,
        companions: &[],
    },
    Pipeline {
        class: "StableDiffusionDepth2ImgPipeline",
        fits: |s| s.plain() && s.reads_text() && s.beside(1),
        more: r#"{"depth_estimator": [null, null], "feature_extractor": [null, null]}"#,
        companions: &[],
    },
    Pipeline {
        class: "LatentConsistencyModelPipeline",
        fits: |s| s.plain() && s.reads_text() && s.beside(0) && s.denoiser.guidance.is_some(),
        more: UNCHECKED,
        companions: &[],
    },
    Pipeline {
        class: "StableDiffusionPipeline",
        fits: |s| s.plain() && s.reads_text() && s.beside(0),
        more: UNCHECKED,
        companions: &[],
    },
    Pipeline {
        class: "StableDiffusionUpscalePipeline",
        fits: |s| {
            let level = matches!(s.denoiser.labels, Labels::Table(_));
            level && s.texts.len() == 1 && s.reads_text() && s.beside(3)
        },
        more: r#"{"max_noise_level": 350}"#,
        companions: &[Companion {
            name: "low_res_scheduler",
            library: "diffusers",
            class: "DDPMScheduler",
            file: "scheduler_config.json",
            json: r#"{"_class_name": "DDPMScheduler", "beta_end": 0.02, "beta_schedule": "scaled_linear",
                "beta_start": 0.0001, "clip_sample": true, "num_train_timesteps": 1000,
                "prediction_type": "epsilon", "trained_betas": null, "variance_type": "fixed_small"}"#,
        }],
    },
    Pipeline {
        class: "StableUnCLIPImg2ImgPipeline",
        fits: |s| {
            let picture = matches!(s.denoiser.labels, Labels::Projection(_));
            picture && s.texts.len() == 1 && s.conditioned() && s.pictures == 2 && s.beside(0)
        },
        more: "{}",
        companions: &[
            Companion {
                name: "feature_extractor",
                library: "transformers",
                class: "CLIPImageProcessor",
                file: "preprocessor_config.json",
                json: r#"{"crop_size": {"height": SIDE, "width": SIDE}, "do_center_crop": true, "do_convert_rgb": true,
                    "do_normalize": true, "do_rescale": true, "do_resize": true,
                    "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_processor_type": "CLIPImageProcessor",
                    "image_std": [0.26862954, 0.26130258, 0.27577711], "resample": 3,
                    "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": SIDE}}"#,
            },
            Companion {
                name: "image_noising_scheduler",
                library: "diffusers",
                class: "DDPMScheduler",
                file: "scheduler_config.json",
                json: r#"{"_class_name": "DDPMScheduler", "beta_end": 0.02, "beta_schedule": "squaredcos_cap_v2",
                    "beta_start": 0.0001, "num_train_timesteps": 1000, "prediction_type": "epsilon",
                    "trained_betas": null}"#,
            },
        ],
    },
    Pipeline {
        class: "LDMPipeline",
        fits: |s| {
            s.texts.is_empty() && s.denoiser.context.is_none() && s.autoencoder.codebook.is_some()
        },
        more: "{}",
        companions: &[],
    },
];

/// No network that judges pictures.
const UNCHECKED: &str = r#"{"feature_extractor": [null, null], "image_encoder": [null, null],
    "requires_safety_checker": false, "safety_checker": [null, null]}"#;

impl Signs<'_> {
    /// Text and nothing else.
    fn reads_text(&self) -> bool {
        self.conditioned() && self.pictures == 0
    }

    fn conditioned(&self) -> bool {
        let context = self.denoiser.context.is_some();
        context && self.autoencoder.codebook.is_none() && self.others == 0
    }

    /// One text encoder, and nothing beside the time.
    fn plain(&self) -> bool {
        self.texts.len() == 1 && self.denoiser.labels == Labels::None
    }

    /// Whether the denoiser is given the pooled text and `count` sizes.
    fn told_sizes(&self, count: usize) -> bool {
        let pooled = self.texts.last().and_then(|text| text.projection);
        pooled.is_some_and(|pooled| self.denoiser.labels == Labels::Vector(pooled + 256 * count))
    }

    fn latent(&self) -> usize {
        self.autoencoder.latent_channels
    }

    /// Whether the denoiser takes `channels` beside the latent.
    fn beside(&self, channels: usize) -> bool {
        self.denoiser.in_channels == self.latent() + channels
    }
}

fn pipeline(model: &Model) -> Option<&'static Pipeline> {
    let texts = model.parts.iter().filter_map(|part| match &part.config {
        Network::TextEncoder(text) => Some(text),
        _ => None,
    });
    let texts: Vec<_> = texts.collect();
    let looks = |part: &&NamedPart| {
        matches!(
            part.config,
            Network::ImageEncoder(_) | Network::ImageNormalizer(_)
        )
    };
    let pictures = model.parts.iter().filter(looks).count();
    let (Network::Unet(denoiser), Network::Autoencoder(stored)) =
        (model.part(Role::DENOISER)?, model.part(Role::AUTOENCODER)?)
    else {
        return None;
    };
    let signs = Signs {
        denoiser,
        autoencoder: &stored.network,
        others: model.parts.len() - 2 - texts.len() - pictures,
        pictures,
        texts,
    };
    PIPELINES.iter().find(|row| (row.fits)(&signs))
}

/// The components without weights that the model's pipeline needs and the input does not have.
pub(super) fn companions(model: &Model) -> Vec<Carried> {
    let companions = pipeline(model).map_or(&[] as &[Companion], |row| row.companions);
    let there = |name: &str| model.carried.iter().any(|carried| carried.name == name);
    let missing = companions.iter().filter(|companion| !there(companion.name));
    let side = match model.part(Role::IMAGE_ENCODER) {
        Some(Network::ImageEncoder(encoder)) => encoder.image.to_string(),
        _ => String::new(),
    };
    let carried = missing.map(|companion| Carried {
        name: companion.name.to_owned(),
        library: companion.library.to_owned(),
        class: companion.class.to_owned(),
        files: vec![(
            companion.file.to_owned(),
            companion.json.replace(SIDE, &side).into(),
        )],
    });
    carried.collect()
}

/// `model_index.json`: the pipeline that draws with exactly these networks.
pub(super) fn model_index(
    path: &Path,
    model: &Model,
    parts: &[(String, Value)],
) -> Result<Value, ModelError> {
    let row = pipeline(model).ok_or_else(|| {
        let problem = "diffusers has no pipeline for just these networks; convert them one by one";
        request(path, problem)
    })?;
    let mut whole: Value = serde_json::from_str(row.more).unwrap_or_default();
    if let (Some(stated), Some(usual)) = (model.zeros_for_empty, whole.get_mut(ZEROS)) {
        *usual = stated.into();
    }
    for part in &model.parts {
        if let Network::TextEncoder(_) = part.config {
            let tokenizer = tokenizer::folder(part.role);
            extend(
                &mut whole,
                json!({tokenizer: ["transformers", "CLIPTokenizer"]}),
            );
        }
    }
    // What is written stands above what the pipeline does without.
    extend(&mut whole, index(row.class, model, parts));
    Ok(sorted(whole))
}
