//! Between a request and A1111's keys.

use std::str::FromStr;

use super::Infotext;
use crate::request::{
    Choice, Compat, Hires, InpaintFill, Request, RequestError, Rng, Size, Tiling, WeightRule,
};

/// What is known of a picture once it is drawn, beside its request.
#[derive(Debug, Clone, Copy)]
pub struct Drawn<'a> {
    /// The request of this one picture: seed, subseed, generator and clip skip as used.
    pub request: &'a Request,
    /// The sampler's name in A1111's vocabulary.
    pub sampler: &'a str,
    /// The scheduler's label in A1111's vocabulary.
    pub schedule: &'a str,
    /// The size that was sampled in the first pass.
    pub size: Size,
    /// The first ten hexadecimal digits of the checkpoint's SHA-256.
    pub model_hash: Option<&'a str>,
    /// The checkpoint's file name without its extension.
    pub model: Option<&'a str>,
    /// The hash of a VAE that was loaded on its own.
    pub vae_hash: Option<&'a str>,
    /// Its file name.
    pub vae: Option<&'a str>,
    /// Whether the U-Net has nine input channels.
    pub inpainting_model: bool,
    /// Whether the sampler draws noise on its way, so that ENSD and η matter.
    pub stochastic: bool,
    /// Written as `Version`.
    pub version: &'a str,
}

/// Keys that say something of the picture and nothing that can be asked for.
const FACTS: &[&str] = &[
    "Model",
    "Model hash",
    "VAE",
    "VAE hash",
    "Version",
    "User",
    "Init image hash",
    "Conditional mask weight",
];

impl Infotext {
    /// The text of a drawn picture, keys in A1111's order.
    pub fn of(drawn: &Drawn<'_>) -> Self {
        let request = drawn.request;
        let mut info = Self {
            prompt: request.prompt.clone(),
            negative_prompt: request.negative_prompt.clone(),
            entries: Vec::new(),
        };
        let varied = request.subseed_strength != 0.0;
        let masked = request.mask.is_some();
        let when = |yes: bool, value: String| yes.then_some(value);
        let or = |value: Option<&str>| value.map(str::to_owned);
        let strength = match &request.hires {
            Some(hires) => Some(hires.denoising_strength),
            None => request.init_image.is_some().then_some(request.strength),
        };
        let pairs: [(&str, Option<String>); 19] = [
            ("Steps", Some(request.steps.to_string())),
            ("Sampler", Some(drawn.sampler.to_owned())),
            ("Schedule type", Some(drawn.schedule.to_owned())),
            ("CFG scale", Some(request.cfg_scale.to_string())),
            ("Seed", request.seed.map(|v| v.to_string())),
            ("Size", Some(drawn.size.to_string())),
            ("Model hash", or(drawn.model_hash)),
            // A1111 takes commas and colons out of the name.
            ("Model", drawn.model.map(|v| v.replace([',', ':'], ""))),
            ("VAE hash", or(drawn.vae_hash)),
            ("VAE", drawn.vae.map(|v| v.replace([',', ':'], ""))),
            (
                "Variation seed",
                request.subseed.filter(|_| varied).map(|v| v.to_string()),
            ),
            (
                "Variation seed strength",
                when(varied, request.subseed_strength.to_string()),
            ),
            (
                "Seed resize from",
                request.seed_resize_from.map(|v| v.to_string()),
            ),
            ("Denoising strength", strength.map(|v| v.to_string())),
            (
                "Conditional mask weight",
                when(drawn.inpainting_model && masked, "1.0".to_owned()),
            ),
            (
                "Clip skip",
                request
                    .layers_skipped()
                    .filter(|v| *v > 0)
                    .map(|v| (v + 1).to_string()),
            ),
            (
                "ENSD",
                when(
                    drawn.stochastic && request.ensd != 0,
                    request.ensd.to_string(),
                ),
            ),
            (
                "RNG",
                request
                    .rng
                    .map(|v| if v == Rng::Cpu { "CPU" } else { "NV" }.to_owned()),
            ),
            (
                "Tiling",
                when(
                    request.tiling != Tiling::None,
                    match request.tiling {
                        Tiling::Both => "True".to_owned(),
                        other => other.to_string(),
                    },
                ),
            ),
        ];
        for (key, value) in pairs {
            if let Some(value) = value {
                info.push(key, value);
            }
        }
        info.push_mask(request);
        info.push_hires(request);
        info.push_rest(request, drawn);
        info.push("Version", drawn.version);
        info
    }

    fn push_mask(&mut self, request: &Request) {
        if request.mask.is_none() {
            return;
        }
        if request.mask_invert {
            self.push("Mask mode", "Inpaint not masked");
        }
        if request.mask_blur > 0 {
            self.push("Mask blur", request.mask_blur);
        }
        if request.inpaint_only_masked {
            self.push("Inpaint area", "Only masked");
            self.push("Masked area padding", request.inpaint_padding);
        }
        if request.inpaint_fill != InpaintFill::Original {
            self.push(
                "Masked content",
                request.inpaint_fill.name().replace('_', " "),
            );
        }
    }

    fn push_hires(&mut self, request: &Request) {
        let Some(hires) = &request.hires else { return };
        for (key, value) in [
            ("Hires sampler", &hires.sampler),
            ("Hires prompt", &hires.prompt),
            ("Hires negative prompt", &hires.negative_prompt),
            ("Hires schedule type", &hires.scheduler),
        ] {
            if let Some(value) = value {
                self.push(key, value);
            }
        }
        if hires.width.is_none() && hires.height.is_none() {
            self.push("Hires upscale", hires.scale);
        } else {
            let side = |v: Option<usize>| v.unwrap_or(0);
            self.push(
                "Hires resize",
                format!("{}x{}", side(hires.width), side(hires.height)),
            );
        }
        if let Some(steps) = hires.steps {
            self.push("Hires steps", steps);
        }
        self.push("Hires upscaler", hires.upscaler);
    }

    /// What A1111 writes only when it is not the default, then what only this program has a key for.
    fn push_rest(&mut self, request: &Request, drawn: &Drawn<'_>) {
        if let Some(eta) = request.eta {
            self.push(
                if drawn.sampler.starts_with("DDIM") {
                    "Eta DDIM"
                } else {
                    "Eta"
                },
                eta,
            );
        }
        for (key, value, default) in [
            ("Sigma churn", request.s_churn, 0.0),
            ("Sigma tmin", request.s_tmin, 0.0),
            (
                "Sigma tmax",
                request.s_tmax.unwrap_or(f64::INFINITY),
                f64::INFINITY,
            ),
            ("Sigma noise", request.s_noise, 1.0),
            ("CFG rescale", request.cfg_rescale, 0.0),
        ] {
            if value != default {
                self.push(key, value);
            }
        }
        if request.weight_rule == Some(WeightRule::Ignore) {
            self.push("Emphasis", "Ignore");
        }
        if request.compat != Compat::A1111 {
            self.push("Compat", request.compat);
        }
    }

    /// The request this text describes, and the keys that say something no field holds (extensions of other programs).
    /// Names of models and their hashes are neither: read them with [`Infotext::get`].
    pub fn to_request(&self) -> Result<(Request, Vec<String>), RequestError> {
        let mut request = Request {
            prompt: self.prompt.clone(),
            negative_prompt: self.negative_prompt.clone(),
            ..Request::default()
        };
        // Both decide how others are read.
        if let Some(compat) = self.get("Compat") {
            request.compat = compat.parse()?;
        }
        // A1111's default generator is its GPU's, and the key is missing then.
        request.rng = Some(match self.get("RNG") {
            Some(rng) => rng.parse()?,
            None => Rng::Cuda,
        });
        let has_mask = ["Mask mode", "Mask blur", "Inpaint area", "Masked content"]
            .iter()
            .any(|key| self.get(key).is_some());
        if self
            .entries
            .iter()
            .any(|(key, _)| key.starts_with("Hires ") || key == "First pass size")
        {
            request.hires = Some(self.hires()?);
        }
        let mut unknown = Vec::new();
        for (key, value) in &self.entries {
            if !request.take(key, value)? && !FACTS.contains(&key.as_str()) {
                unknown.push(key.clone());
            }
        }
        if let Some(first) = self.size("First pass size")? {
            restore_first_pass(&mut request, first);
        }
        if request.hires.is_some() {
            // The strength belongs to the second pass.
            request.strength = Request::default().strength;
        }
        if has_mask && self.get("Mask blur").is_none() {
            // A1111 leaves the key out where there is no blur.
            request.mask_blur = 0;
        }
        Ok((request, unknown))
    }

    fn hires(&self) -> Result<Hires, RequestError> {
        let mut hires = Hires::default();
        let text = |key: &str| self.get(key).map(str::to_owned);
        if let Some(scale) = self.get("Hires upscale") {
            hires.scale = read("Hires upscale", scale)?;
        }
        if let Some(size) = self.size("Hires resize")? {
            hires.width = Some(size.width).filter(|v| *v > 0);
            hires.height = Some(size.height).filter(|v| *v > 0);
        }
        if let Some(steps) = self.get("Hires steps") {
            hires.steps = Some(read("Hires steps", steps)?).filter(|v| *v > 0);
        }
        if let Some(upscaler) = self.get("Hires upscaler") {
            hires.upscaler = upscaler.parse()?;
        }
        if let Some(strength) = self.get("Denoising strength") {
            hires.denoising_strength = read("Denoising strength", strength)?;
        }
        hires.sampler = text("Hires sampler").filter(|v| v != "Use same sampler");
        hires.scheduler = text("Hires schedule type").filter(|v| v != "Use same scheduler");
        hires.prompt = text("Hires prompt");
        hires.negative_prompt = text("Hires negative prompt");
        Ok(hires)
    }

    fn size(&self, key: &str) -> Result<Option<Size>, RequestError> {
        self.get(key).map(|value| read(key, value)).transpose()
    }
}

impl Request {
    /// Takes one pair; `false` where no field holds it.
    fn take(&mut self, key: &str, value: &str) -> Result<bool, RequestError> {
        match key {
            "Steps" => self.steps = read(key, value)?,
            "Sampler" => self.sampler = value.to_owned(),
            "Schedule type" => self.scheduler = value.to_owned(),
            "CFG scale" => self.cfg_scale = read(key, value)?,
            "Seed" => self.seed = Some(read(key, value)?),
            "Size" => {
                let size: Size = read(key, value)?;
                (self.width, self.height) = (size.width, size.height);
            }
            "Variation seed" => self.subseed = Some(read(key, value)?),
            "Variation seed strength" => self.subseed_strength = read(key, value)?,
            "Seed resize from" => self.seed_resize_from = Some(read(key, value)?),
            "Denoising strength" => self.strength = read(key, value)?,
            "Clip skip" => {
                let given: i32 = read(key, value)?;
                self.clip_skip = Some(match self.compat {
                    Compat::A1111 => given,
                    Compat::ComfyUi => given.saturating_neg(),
                    Compat::Diffusers => given.saturating_sub(1),
                });
            }
            "ENSD" => self.ensd = read(key, value)?,
            "Tiling" => self.tiling = value.parse()?,
            "Mask mode" => self.mask_invert = value == "Inpaint not masked",
            "Mask blur" => self.mask_blur = read(key, value)?,
            "Inpaint area" => self.inpaint_only_masked = value == "Only masked",
            "Masked area padding" => self.inpaint_padding = read(key, value)?,
            "Masked content" => self.inpaint_fill = value.parse()?,
            "Eta" | "Eta DDIM" => self.eta = Some(read(key, value)?),
            "Sigma churn" => self.s_churn = read(key, value)?,
            "Sigma tmin" => self.s_tmin = read(key, value)?,
            "Sigma tmax" => self.s_tmax = Some(read(key, value)?).filter(|v: &f64| v.is_finite()),
            "Sigma noise" => self.s_noise = read(key, value)?,
            "CFG rescale" => self.cfg_rescale = read(key, value)?,
            "Emphasis" if value == "Ignore" || value == "None" => {
                self.weight_rule = Some(WeightRule::Ignore)
            }
            // Read before the others.
            "RNG"
            | "Compat"
            | "First pass size"
            | "Hires upscale"
            | "Hires resize"
            | "Hires steps"
            | "Hires upscaler"
            | "Hires sampler"
            | "Hires schedule type"
            | "Hires prompt"
            | "Hires negative prompt" => {}
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn read<T: FromStr>(key: &str, value: &str) -> Result<T, RequestError> {
    value
        .trim()
        .parse()
        .map_err(|_| RequestError::range(key, value, "a value of A1111's `parameters` text"))
}

/// Before 2023 the text named the final size and, apart, the first pass's; 0x0 asked for a size of 512² pixels.
fn restore_first_pass(request: &mut Request, first: Size) {
    let last = Size {
        width: request.width,
        height: request.height,
    };
    let first = if first.width == 0 || first.height == 0 {
        let scale = ((512.0 * 512.0) / (last.width as f64 * last.height as f64)).sqrt();
        let side = |v: usize| ((scale * v as f64 / 64.0).ceil() * 64.0) as usize;
        Size {
            width: side(last.width),
            height: side(last.height),
        }
    } else {
        first
    };
    (request.width, request.height) = (first.width, first.height);
    if let Some(hires) = &mut request.hires {
        hires.width = Some(last.width);
        hires.height = Some(last.height);
    }
}
