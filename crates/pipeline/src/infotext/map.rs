//! From a drawn picture to A1111's keys.

use super::{EMBEDDINGS, HYPERNETWORKS, Infotext, LORA_HASHES, LORAS, STOPPED};
use crate::embeddings::Used;
use crate::hypernetworks;
use crate::loras;
use crate::preprocess::{Kind, Preprocess};
use crate::request::{
    Choice, Compat, Control, ControlMode, InpaintFill, Reference, Request, ResizeMode, Rng,
    ShownPictures, Size, Tiling, WeightRule,
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
    /// Each adapter's name, with its hash where that is known.
    pub loras: &'a [(&'a str, Option<&'a str>)],
    /// The name of the refiner's checkpoint, with its hash in brackets where that is known.
    pub refiner: Option<&'a str>,
    /// The embeddings that the prompts name.
    pub embeddings: &'a [Used],
    /// The networks of [`Request::control`], in its order.
    pub controls: &'a [HeldBy],
    /// The names of those of [`Request::ip_adapter`], each with its hash in brackets where that is known.
    pub ip_adapters: &'a [String],
    /// How their pictures are fitted where the request does not say.
    pub control_fit: ResizeMode,
    /// Whether the U-Net has nine input channels.
    pub inpainting_model: bool,
    /// Whether the sampler draws noise on its way, so that ENSD and η matter.
    pub stochastic: bool,
    /// Where drawing was stopped, such as `step 12 of 300`.
    pub stopped: Option<&'a str>,
    /// Written as `Version`.
    pub version: &'a str,
}

/// A network that holds a drawing to a picture.
#[derive(Debug)]
pub struct HeldBy {
    /// Its name, with its hash in brackets where that is known.
    pub name: String,
    /// It is a T2I-Adapter of style.
    pub style: bool,
}

impl Infotext {
    /// The text of a drawn picture, keys in A1111's order.
    pub fn of(drawn: &Drawn<'_>) -> Self {
        let request = drawn.request;
        let mut info = Self {
            prompt: loras::in_prompt(request),
            negative_prompt: request.negative_prompt.clone(),
            entries: Vec::new(),
            broken: false,
        };
        let varied = request.subseed_strength != 0.0;
        let masked = request.start.mask.is_some();
        let when = |yes: bool, value: String| yes.then_some(value);
        let or = |value: Option<&str>| value.map(str::to_owned);
        let strength = match &request.hires {
            Some(hires) => Some(hires.denoising_strength),
            None => request
                .start
                .image
                .is_some()
                .then_some(request.start.strength),
        };
        let pairs: [(&str, Option<String>); 19] = [
            ("Steps", Some(request.steps.to_string())),
            ("Sampler", Some(drawn.sampler.to_owned())),
            ("Schedule type", Some(drawn.schedule.to_owned())),
            ("CFG scale", Some(request.guidance.scale.to_string())),
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
        info.push_loras(drawn.loras);
        info.push_rest(request, drawn);
        info.push(STOPPED, drawn.stopped.unwrap_or_default());
        info.push("Version", drawn.version);
        info
    }

    fn push_mask(&mut self, request: &Request) {
        if request.start.mask.is_none() {
            return;
        }
        if request.start.mask_invert {
            self.push("Mask mode", "Inpaint not masked");
        }
        if request.start.mask_blur > 0 {
            self.push("Mask blur", request.start.mask_blur);
        }
        if request.start.only_masked {
            self.push("Inpaint area", "Only masked");
            self.push("Masked area padding", request.start.padding);
        }
        if request.start.fill != InpaintFill::Original {
            self.push(
                "Masked content",
                request.start.fill.name().replace('_', " "),
            );
        }
    }

    /// As A1111 does: those whose hash is known, their names without commas and colons.
    fn push_loras(&mut self, loras: &[(&str, Option<&str>)]) {
        let known = loras.iter().filter_map(|(name, hash)| {
            let name = name.replace([',', ':'], "");
            hash.map(|hash| format!("{name}: {hash}"))
        });
        self.push(LORA_HASHES, known.collect::<Vec<_>>().join(", "));
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
            ("CFG rescale", request.guidance.rescale, 0.0),
        ] {
            if value != default {
                self.push(key, value);
            }
        }
        if let Some(refiner) = drawn.refiner {
            self.push("Refiner", refiner);
            self.push("Refiner switch at", request.refiner_switch);
        }
        for (i, (control, network)) in request.control.iter().zip(drawn.controls).enumerate() {
            let (module, fit) = match network.style {
                true => ("t2ia_style_clipvision", ResizeMode::Crop),
                false => ("none", control.resize_mode.unwrap_or(drawn.control_fit)),
            };
            let resize = resize_name(fit);
            let mode = mode_name(control.mode);
            // The extension's own form, in which pairs are joined once more.
            let model = network.name.replace([',', ':'], "");
            let Control {
                weight, start, end, ..
            } = control;
            let preprocess = control.preprocess.as_ref();
            let module = preprocess.map_or(module, |made| module_name(made.kind));
            let settings = preprocess.map_or_else(String::new, module_settings);
            let pixel_perfect = match preprocess.is_some_and(|made| made.resolution.is_some()) {
                true => "False",
                false => "True",
            };
            self.push(
                &format!("ControlNet {i}"),
                format!(
                    "Module: {module}, Model: {model}, Weight: {weight}, Resize Mode: {resize}, {settings}Guidance \
                     Start: {start}, Guidance End: {end}, Pixel Perfect: {pixel_perfect}, Control Mode: {mode}"
                ),
            );
        }
        // The extension has IP-Adapters too.
        let first = request.control.len();
        for (i, (shown, model)) in request.ip_adapter.iter().zip(drawn.ip_adapters).enumerate() {
            let model = model.replace([',', ':'], "");
            let ShownPictures {
                weight, start, end, ..
            } = shown;
            self.push(
                &format!("ControlNet {}", first + i),
                format!(
                    "Module: ip-adapter-auto, Model: {model}, Weight: {weight}, Resize Mode: Crop and Resize, Guidance \
                     Start: {start}, Guidance End: {end}, Pixel Perfect: True, Control Mode: Balanced"
                ),
            );
        }
        let first = first + request.ip_adapter.len();
        for (i, reference) in request.reference.iter().enumerate() {
            let resize = resize_name(reference.resize_mode.unwrap_or(drawn.control_fit));
            let mode = mode_name(reference.mode);
            let Reference {
                weight,
                fidelity,
                start,
                end,
                ..
            } = reference;
            self.push(
                &format!("ControlNet {}", first + i),
                format!(
                    "Module: reference_only, Model: None, Weight: {weight}, Resize Mode: {resize}, Threshold A: {fidelity}, \
                     Guidance Start: {start}, Guidance End: {end}, Pixel Perfect: True, Control Mode: {mode}"
                ),
            );
        }
        for (key, text) in [
            ("Prompt 2", &request.prompt_2),
            ("Negative prompt 2", &request.negative_prompt_2),
        ] {
            self.push(key, text.as_deref().unwrap_or_default());
        }
        let hashes = drawn.embeddings.iter().map(|used| {
            // A1111 takes these out of the name.
            let name = used.name.replace([',', ':'], "");
            format!("{name}: {}", used.hash)
        });
        self.push(EMBEDDINGS, hashes.collect::<Vec<_>>().join(", "));
        let more = &request.guidance;
        if let Some(pag) = &more.pag {
            self.push("PAG scale", pag.scale);
            self.push("PAG layers", &pag.layers);
        }
        if let Some(sag) = more.sag {
            self.push("SAG scale", sag.scale);
            self.push("SAG blur", sag.blur);
        }
        if let Some(freeu) = &more.freeu {
            self.push("FreeU", "on");
            for (key, factors) in [("FreeU b", freeu.b), ("FreeU s", freeu.s)] {
                if let Some([first, second]) = factors {
                    self.push(key, format!("{first} {second}"));
                }
            }
        }
        if let Some(weight) = more.perp_neg {
            self.push("Perp-Neg scale", weight);
        }
        if let Some(skip) = &more.skip_layers {
            self.push("SLG scale", skip.scale);
            self.push("SLG layers", &skip.layers);
            self.push("SLG start", skip.start);
            self.push("SLG end", skip.end);
        }
        if let Some(level) = request.condition.noise_level {
            self.push("Noise level", level);
        }
        if request.weight_rule == Some(WeightRule::Ignore) {
            self.push("Emphasis", "Ignore");
        }
        if request.compat != Compat::A1111 {
            self.push(LORAS, loras::in_line(&request.loras));
            self.push(HYPERNETWORKS, hypernetworks::in_line(request));
            self.push("Compat", request.compat);
        }
    }
}

/// What A1111's extension calls it.
fn resize_name(mode: ResizeMode) -> &'static str {
    match mode {
        ResizeMode::Stretch => "Just Resize",
        ResizeMode::Crop => "Crop and Resize",
        ResizeMode::Fill => "Resize and Fill",
    }
}

/// The same of modes, and one that it has not.
fn mode_name(mode: ControlMode) -> &'static str {
    match mode {
        ControlMode::Balanced => "Balanced",
        ControlMode::Prompt => "My prompt is more important",
        ControlMode::Control => "ControlNet is more important",
        ControlMode::Guess => "Guess",
    }
}

/// The same of preprocessors: its modules, and one that it has not.
fn module_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Canny => "canny",
        Kind::SoftEdge => "softedge_hed",
        Kind::LineArt => "lineart_standard (from white bg & black line)",
        Kind::Scribble => "scribble_xdog",
        Kind::Blur => "blur_gaussian",
        Kind::Tile => "tile_resample",
        Kind::Threshold => "threshold",
        Kind::ColourGrid => "t2ia_color_grid",
        Kind::Luminance => "recolor_luminance",
        Kind::Depth => "depth",
        Kind::Normal => "normal_map",
        Kind::Invert => "invert (from white bg & black line)",
    }
}

/// Resolution and thresholds of a preprocessor, in its keys.
fn module_settings(made: &Preprocess) -> String {
    let resolution = made.resolution.map(|pixels| pixels.to_string());
    let first = match made.kind {
        Kind::Canny => made.low,
        Kind::Blur => made.sigma,
        Kind::Tile => made.factor,
        Kind::Luminance => made.gamma,
        Kind::Normal => made.background,
        _ => made.threshold.map(f64::from),
    };
    let all = [
        ("Processor Res", resolution),
        ("Threshold A", first.map(|value| value.to_string())),
        ("Threshold B", made.high.map(|value| value.to_string())),
    ];
    let all = all.into_iter();
    all.filter_map(|(key, value)| Some(format!("{key}: {}, ", value?)))
        .collect()
}
