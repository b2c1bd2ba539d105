//! A validated request: everything a run can be asked, as data.
//!
//! There are two stages. What was typed (flags, a job file, a picture's metadata, an HTTP body) is put on top of
//! [`Request::default`] as text and numbers; [`Request::validate`] then checks every field once, so that nothing
//! behind it has to. A request holds names, never paths, tensors or open files: it can come from anywhere, be stored in a
//! picture and read back; what a [`Name`] stands for, [`Resources`](crate::Resources) say. Sampler and scheduler stay
//! names because the vocabulary belongs to `latent-diffusion`.
//!
//! What belongs together stands in a table (`[guidance]`, `[start]`, `[condition]`, `[compute]`, `[hires]`); the flat names that
//! requests had before are read too (`read.rs`).
//!
//! Fields that are `None` are settled later: the seed by the program, the rest by the compatibility profile and by the
//! model.

mod control;
mod guidance;
mod hires;
mod hypernetworks;
mod images;
mod ip_adapter;
mod likeness;
mod loras;
mod name;
mod once;
mod parts;
mod read;
mod reference;
mod sizes;
mod tables;
mod validate;
mod wrong;

pub(crate) use likeness::{likeness, near};
pub(crate) use parts::choice;
pub(crate) use read::in_tables;
pub(crate) use validate::{MAX_SIDE, number, whole};
pub(crate) use wrong::field_error;

use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use crate::condition::Class;
pub use control::{Control, ControlKind, ControlMode};
pub use guidance::{
    FreeUFactors, GuidanceOptions, Layers, PerturbedAttention, SelfAttention, SkipLayers,
};
pub use hires::Hires;
pub use hypernetworks::UsedHypernetwork;
pub use images::ImagePrompt;
pub use ip_adapter::{ShownPictures, WeightType};
pub use loras::Lora;
pub use name::Name;
pub use parts::{
    Choice, Compat, Dtype, DynamicThresholding, InpaintFill, Outpaint, PredictionType, ResizeMode,
    Rng, Switch, Tiling, Upscaler, WeightRule,
};
pub use read::{Remark, text_of};
pub use reference::Reference;
pub use sizes::{Size, SizeConditions, Sizes};
pub use tables::{ComputeOptions, Conditions, GivenPicture};
pub use validate::RequestError;

/// The name of a choice that is left to the profile: of a sampler or of a scheduler.
pub const AUTOMATIC: &str = "Automatic";

/// One job. [`Request::default`] holds the documented defaults: those of A1111's page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// What to draw, in the prompt language of the profile. May be empty.
    pub prompt: String,
    /// What guidance moves away from. May be empty.
    pub negative_prompt: String,
    /// The prompt of the second text encoder, where a model has two (SDXL). `None`: that of the first.
    pub prompt_2: Option<String>,
    /// The same of the negative prompt.
    pub negative_prompt_2: Option<String>,
    /// Sampling steps, 1 to 1000. Default 20.
    pub steps: usize,
    /// A sampler's name in any of the vocabularies that `latent samplers` lists. Default [`AUTOMATIC`]: what the
    /// profile's program draws with when nothing is chosen.
    pub sampler: String,
    /// A σ ladder's name; `Automatic` is the sampler's own. Default `Automatic`.
    pub scheduler: String,
    /// The seed of the first picture; picture `i` of the job uses `seed + i`, or the same seed where a variation counts
    /// up instead. `None` (−1 in a file) asks the program to draw one; the library never does.
    #[serde(deserialize_with = "read::seed")]
    pub seed: Option<u64>,
    /// The seed of the variation noise; picture `i` uses `subseed + i`. `None` as for `seed`.
    #[serde(deserialize_with = "read::seed")]
    pub subseed: Option<u64>,
    /// How far the noise is turned towards the variation noise, 0 to 1. Default 0.
    pub subseed_strength: f64,
    /// Draw the noise as for a picture of this size and fit it into the real one.
    pub seed_resize_from: Option<Size>,
    /// Added to the seed of the noise that ancestral steps draw (A1111's "eta noise seed delta"). Default 0.
    pub ensd: i64,
    /// Pixels. Default 512.
    pub width: usize,
    /// Pixels. Default 512.
    pub height: usize,
    /// Pictures drawn together. The number never changes a picture. Default 1.
    pub batch_size: usize,
    /// How many batches are drawn one after the other. Default 1.
    pub batch_count: usize,
    /// Which layer of the text encoder is read, counted as the profile counts: A1111 1 = the last, 2 = the one before;
    /// ComfyUI −1, −2; diffusers 0, 1. `None`: as the model was trained.
    pub clip_skip: Option<i32>,
    /// η: the share of fresh noise in DDIM (0 to 1) and in the ancestral samplers. `None`: the sampler's own.
    pub eta: Option<f64>,
    /// Karras's stochastic churn, ≥ 0. Default 0.
    pub s_churn: f64,
    /// Churn only above this σ. Default 0.
    pub s_tmin: f64,
    /// Churn only below this σ; `None` is no limit.
    pub s_tmax: Option<f64>,
    /// The factor on fresh noise, 0 to 2. Default 1.
    pub s_noise: f64,
    /// A σ ladder given by hand: descending, at least two values. Overrides `steps` and `scheduler`.
    pub sigmas: Option<Vec<f64>>,
    /// Whose picture this shall be where programs differ. Default `a1111`.
    pub compat: Compat,
    /// How prompt weights act on the embedding. `None`: the profile's rule.
    pub weight_rule: Option<WeightRule>,
    /// Whose random numbers. `None`: the profile's generator.
    pub rng: Option<Rng>,
    /// What the denoiser predicts. `None`: as its files say, or as it is found by asking it.
    pub prediction: Option<PredictionType>,
    /// A checkpoint file or a diffusers folder.
    pub model: Option<Name>,
    /// A VAE to use instead of the model's own.
    pub vae: Option<Name>,
    /// A text encoder to use instead of the model's own.
    pub text_encoder: Option<Name>,
    /// LoRAs and their kin, merged into the model. A1111's profile reads more of them out of the prompt.
    pub loras: Vec<Lora>,
    /// Hypernetworks that bend what the denoiser's attention reads, one after the other. A1111's profile reads more of them out
    /// of the prompt.
    pub hypernetworks: Vec<UsedHypernetwork>,
    /// A checkpoint that finishes the pictures which `model` begins: SDXL's refiner, or any model of the same latents.
    pub refiner: Option<Name>,
    /// Where it takes over: the fraction of the run that is done by then, 0 to 1, as the profile's program counts it. Default
    /// 0.8.
    pub refiner_switch: f64,
    /// How strongly, and by what, the picture is pulled towards the prompt.
    pub guidance: GuidanceOptions,
    /// The picture that is started from, and what of it is drawn anew.
    pub start: GivenPicture,
    /// What some models are told beside a prompt.
    pub condition: Conditions,
    /// Pictures that the drawing is held to by networks beside the denoiser (ControlNet), whose sums are added up.
    pub control: Vec<Control>,
    /// Pictures as prompts, shown by IP-Adapters.
    pub ip_adapter: Vec<ShownPictures>,
    /// Pictures that the denoiser's own attention looks at (reference-only).
    pub reference: Vec<Reference>,
    /// An empty negative prompt is zeros to the network (true) or an empty text (false). `None`: as the profile's program
    /// does with this model.
    pub zero_empty_negative: Option<bool>,
    /// The second pass at a larger size.
    pub hires: Option<Hires>,
    /// Pictures whose opposite edges meet. Default `none`.
    pub tiling: Tiling,
    /// How it is computed.
    pub compute: ComputeOptions,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            prompt: String::new(),
            negative_prompt: String::new(),
            prompt_2: None,
            negative_prompt_2: None,
            steps: 20,
            sampler: AUTOMATIC.to_owned(),
            scheduler: AUTOMATIC.to_owned(),
            seed: None,
            subseed: None,
            subseed_strength: 0.0,
            seed_resize_from: None,
            ensd: 0,
            width: 512,
            height: 512,
            batch_size: 1,
            batch_count: 1,
            clip_skip: None,
            eta: None,
            s_churn: 0.0,
            s_tmin: 0.0,
            s_tmax: None,
            s_noise: 1.0,
            sigmas: None,
            guidance: GuidanceOptions::default(),
            start: GivenPicture::default(),
            condition: Conditions::default(),
            control: Vec::new(),
            ip_adapter: Vec::new(),
            reference: Vec::new(),
            compute: ComputeOptions::default(),
            compat: Compat::default(),
            weight_rule: None,
            rng: None,
            prediction: None,
            model: None,
            vae: None,
            text_encoder: None,
            loras: Vec::new(),
            hypernetworks: Vec::new(),
            refiner: None,
            refiner_switch: 0.8,
            zero_empty_negative: None,
            hires: None,
            tiling: Tiling::default(),
        }
    }
}

impl Request {
    /// The names of given pictures and files that are set, each with its field.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &Name)> {
        let files = [
            ("start.image", &self.start.image),
            ("start.mask", &self.start.mask),
            ("condition.semantic_map", &self.condition.semantic_map),
            ("condition.layout", &self.condition.layout),
            ("condition.upscale", &self.condition.upscale),
            ("condition.depth", &self.condition.depth),
        ];
        let files = files
            .into_iter()
            .filter_map(|(field, name)| Some((field, name.as_ref()?)));
        let images = self
            .condition
            .images
            .iter()
            .map(|given| ("condition.images", &given.image));
        let controls = self.control.iter().flat_map(|control| {
            let preprocess = control.preprocess.as_ref();
            let files = [
                ("control.image", &control.image),
                ("control.mask", &control.mask),
                ("control.hires_image", &control.hires_image),
            ];
            let weights = preprocess.and_then(|preprocess| preprocess.weights.as_ref());
            let weights = weights.map(|name| ("control.preprocess.weights", name));
            let files = files.into_iter();
            files
                .filter_map(|(field, name)| Some((field, name.as_ref()?)))
                .chain(weights)
        });
        let shown = self.ip_adapter.iter().flat_map(|shown| {
            let images = shown
                .images
                .iter()
                .map(|image| ("ip_adapter.images", image));
            let mask = shown.mask.iter().map(|mask| ("ip_adapter.mask", mask));
            images.chain(mask)
        });
        let referred = self.reference.iter();
        let referred = referred.map(|reference| ("reference.image", &reference.image));
        files
            .chain(images)
            .chain(controls)
            .chain(shown)
            .chain(referred)
    }

    /// The names of the model, of its refiner, of networks in the place of its own and of those beside it that are set, each
    /// with its field.
    pub fn models(&self) -> impl Iterator<Item = (&'static str, &Name)> {
        let models = [
            ("model", &self.model),
            ("vae", &self.vae),
            ("text_encoder", &self.text_encoder),
            ("refiner", &self.refiner),
        ];
        let models = models
            .into_iter()
            .filter_map(|(field, name)| Some((field, name.as_ref()?)));
        let controls = self.control.iter().flat_map(|control| {
            let encoder = control.encoder.iter();
            let encoder = encoder.map(|name| ("control.encoder", name));
            std::iter::once(("control.model", &control.model)).chain(encoder)
        });
        let shown = self.ip_adapter.iter().flat_map(|shown| {
            let encoder = shown
                .encoder
                .iter()
                .map(|name| ("ip_adapter.encoder", name));
            std::iter::once(("ip_adapter.model", &shown.model)).chain(encoder)
        });
        models.chain(controls).chain(shown)
    }

    /// Pictures in the whole job.
    pub fn pictures(&self) -> usize {
        self.batch_size.saturating_mul(self.batch_count)
    }

    /// The request that draws pictures `part` of the whole job, one by one, with the seeds that they have in it: with a variation
    /// A1111 keeps the seed and counts the variation up.
    pub fn part(&self, part: Range<usize>) -> Self {
        let later = |seed: u64| seed.wrapping_add(part.start as u64);
        let varied = self.subseed_strength > 0.0;
        let seed = self.seed.unwrap_or_default();
        Self {
            seed: Some(if varied { seed } else { later(seed) }),
            subseed: match varied {
                true => Some(later(self.subseed.unwrap_or_default())),
                false => self.subseed,
            },
            batch_size: 1,
            batch_count: part.len(),
            ..self.clone()
        }
    }

    /// How many layers of the text encoder are left out at its end, from `clip_skip` in the profile's counting; `None`
    /// where the model decides. [`Request::validate`] has checked the range.
    pub fn layers_skipped(&self) -> Option<usize> {
        let given = i64::from(self.clip_skip?);
        let skipped = match self.compat {
            // A1111 reads 0 as 1.
            Compat::A1111 => given.max(1) - 1,
            Compat::ComfyUi => -given - 1,
            Compat::Diffusers => given,
        };
        usize::try_from(skipped).ok()
    }

    /// The guidance scale that holds: in diffusers one of at most 1 is none, 0 included.
    pub fn guidance_scale(&self) -> f64 {
        match self.compat {
            Compat::Diffusers if self.guidance.scale <= 1.0 => 1.0,
            _ => self.guidance.scale,
        }
    }

    /// `width` and `height`.
    pub fn size(&self) -> Size {
        Size {
            width: self.width,
            height: self.height,
        }
    }

    /// The size that is sampled: `width` and `height` raised to the next multiple of 8. The decoded picture is cut to
    /// the asked size at its centre.
    pub fn canvas(&self) -> Size {
        Size {
            width: self.width.next_multiple_of(8),
            height: self.height.next_multiple_of(8),
        }
    }

    /// The request as one line of JSON, fields at their default included, so that it stays valid when a default changes.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_round_trip() {
        let request = Request {
            prompt: "a \"b\"\nc".to_owned(),
            seed: Some(u64::MAX),
            hires: Some(Hires::default()),
            guidance: GuidanceOptions {
                interval: Some([0.1, 0.5]),
                ..GuidanceOptions::default()
            },
            ..Request::default()
        };
        assert_eq!(Request::from_json(&request.to_json()).unwrap(), request);
    }

    /// A file's name need not be Unicode.
    #[cfg(unix)]
    #[test]
    fn any_path_goes_into_json_and_back() {
        use std::os::unix::ffi::OsStringExt;
        let name = |bytes: &[u8]| Some(std::ffi::OsString::from_vec(bytes.to_vec()).into());
        let request = Request {
            model: name(b"/m\xFF.safetensors"),
            start: GivenPicture {
                mask: name("/Bär.png".as_bytes()),
                ..GivenPicture::default()
            },
            ..Request::default()
        };
        let json = request.to_json();
        assert_eq!(Request::from_json(&json).unwrap(), request);
        assert!(
            json.contains("\"/Bär.png\"") && json.contains("[47,109,255,46"),
            "{json}"
        );
        assert!(Request::from_json("{\"model\": [300]}").is_err());
        assert!(Request::from_json("{\"model\": 7}").is_err());
    }

    #[test]
    fn clip_skip_is_counted_as_the_profile_counts() {
        let skip = |compat, clip_skip| {
            Request {
                compat,
                clip_skip,
                ..Request::default()
            }
            .layers_skipped()
        };
        assert_eq!(skip(Compat::A1111, Some(2)), Some(1));
        assert_eq!(skip(Compat::A1111, Some(0)), Some(0));
        assert_eq!(skip(Compat::ComfyUi, Some(-2)), Some(1));
        assert_eq!(skip(Compat::Diffusers, Some(1)), Some(1));
        assert_eq!(skip(Compat::Diffusers, None), None);
    }

    #[test]
    fn a_canvas_is_a_multiple_of_eight() {
        let request = Request {
            width: 513,
            height: 504,
            ..Request::default()
        };
        assert_eq!(
            request.canvas(),
            Size {
                width: 520,
                height: 504
            }
        );
    }
}
