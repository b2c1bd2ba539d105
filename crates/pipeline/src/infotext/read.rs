//! From A1111's keys to a request, one by one: what cannot be read is left out and named, and keeps nothing else from being
//! read.

use std::str::FromStr;

use latent_diffusion::names;

use super::{EMBEDDINGS, HYPERNETWORKS, Infotext, LORA_HASHES, LORAS, STOPPED};
use crate::hypernetworks;
use crate::loras;
use crate::request::{
    AUTOMATIC, Choice, Compat, GuidanceOptions, Hires, InpaintFill, Remark, Request, RequestError,
    Rng, Size, Tiling, Upscaler, WeightRule,
};

/// Keys that say something of the picture and nothing that can be asked for.
const FACTS: &[&str] = &[
    "Model",
    "Model hash",
    "VAE",
    "VAE hash",
    "Refiner",
    EMBEDDINGS,
    "Version",
    "User",
    "Init image hash",
    "Conditional mask weight",
    LORA_HASHES,
    STOPPED,
];

/// What a text says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reading {
    /// The request, not validated: fields that were left out have their default.
    pub request: Request,
    /// Pairs that were not taken over as they stand.
    pub remarks: Vec<Remark>,
    /// Keys that no field holds (extensions of other programs).
    pub unknown: Vec<String>,
}

impl Infotext {
    /// The request this text describes. Never fails: each pair is read for itself. Names of models and their hashes are in no
    /// field: read them with [`Infotext::get`].
    pub fn to_request(&self) -> Reading {
        let mut reading = Reading {
            request: Request {
                prompt: self.prompt.clone(),
                negative_prompt: self.negative_prompt.clone(),
                ..Request::default()
            },
            ..Reading::default()
        };
        // They decide how others are read. A1111's default generator is its GPU's, and the key is missing then.
        reading.request.rng = Some(Rng::Cuda);
        let first = |(key, _): &&(String, String)| matches!(key.as_str(), "Compat" | "RNG");
        let hires =
            |(key, _): &&(String, String)| key.starts_with("Hires ") || key == "First pass size";
        if self.entries.iter().any(|entry| hires(&entry)) {
            reading.request.hires = Some(Hires::default());
        }
        let rest = self.entries.iter().filter(|entry| !first(entry));
        for (key, value) in self.entries.iter().filter(first).chain(rest) {
            reading.take(key, value);
        }
        let has_mask = ["Mask mode", "Mask blur", "Inpaint area", "Masked content"]
            .iter()
            .any(|key| self.get(key).is_some());
        if has_mask && self.get("Mask blur").is_none() {
            // A1111 leaves the key out where there is no blur.
            reading.request.start.mask_blur = 0;
        }
        if let Some(Ok(first)) = self.get("First pass size").map(Size::from_str) {
            restore_first_pass(&mut reading.request, first);
        }
        reading
    }
}

impl Reading {
    fn take(&mut self, key: &str, value: &str) {
        if FACTS.contains(&key) {
            return;
        }
        let before = self.request.clone();
        let Some((field, taken)) = self.request.take(key, value) else {
            self.unknown.push(key.to_owned());
            return;
        };
        // What no request may hold keeps no picture from being repeated.
        let taken = taken.and_then(|()| match self.request.validate() {
            Err(RequestError::Range {
                field: at,
                value,
                expected,
            }) if at.starts_with(field) => {
                self.request = before;
                Err(format!("{value}: expected {expected}"))
            }
            _ => Ok(()),
        });
        if let Err(reason) = taken {
            self.remarks.push(Remark {
                field: field.to_owned(),
                pair: format!("{key}: {value}"),
                reason: match value.is_empty() {
                    true => "empty".to_owned(),
                    false => reason,
                },
            });
        }
    }
}

/// Whether a pair was taken over; if not, or not as it stands, why.
type Taken = Result<(), String>;

impl Request {
    /// Takes one pair: the field that holds it, and whether the value could be read; `None` where no field does.
    fn take(&mut self, key: &str, value: &str) -> Option<(&'static str, Taken)> {
        if let Some(hires) = &mut self.hires
            && let Some(taken) = hires.take(key, value)
        {
            return Some(taken);
        }
        if let Some(taken) = self.guidance.take(key, value) {
            return Some(taken);
        }
        Some(match key {
            "Steps" => ("steps", set(&mut self.steps, value)),
            "Sampler" => ("sampler", name(&mut self.sampler, value, is_sampler)),
            "Schedule type" => ("scheduler", name(&mut self.scheduler, value, is_scheduler)),
            "CFG scale" => ("guidance.scale", set(&mut self.guidance.scale, value)),
            "Seed" => ("seed", seed(&mut self.seed, value)),
            "Size" => {
                let mut size = self.size();
                let taken = set(&mut size, value);
                (self.width, self.height) = (size.width, size.height);
                ("size", taken)
            }
            "Variation seed" => ("subseed", seed(&mut self.subseed, value)),
            "Variation seed strength" => {
                ("subseed_strength", set(&mut self.subseed_strength, value))
            }
            "Seed resize from" => ("seed_resize_from", some(&mut self.seed_resize_from, value)),
            "Denoising strength" => ("start.strength", set(&mut self.start.strength, value)),
            "Clip skip" => {
                let mut given = None::<i32>;
                let taken = some(&mut given, value);
                self.clip_skip = given.map(|given| match self.compat {
                    Compat::A1111 => given,
                    Compat::ComfyUi => given.saturating_neg(),
                    Compat::Diffusers => given.saturating_sub(1),
                });
                ("clip_skip", taken)
            }
            "ENSD" => ("ensd", set(&mut self.ensd, value)),
            "Tiling" => ("tiling", choice::<Tiling>(&mut self.tiling, value)),
            "Mask mode" => {
                let modes = ["Inpaint masked", "Inpaint not masked"];
                (
                    "start.mask_invert",
                    one_of(&mut self.start.mask_invert, value, modes),
                )
            }
            "Mask blur" => ("start.mask_blur", set(&mut self.start.mask_blur, value)),
            "Inpaint area" => {
                let areas = ["Whole picture", "Only masked"];
                (
                    "start.only_masked",
                    one_of(&mut self.start.only_masked, value, areas),
                )
            }
            "Masked area padding" => ("start.padding", set(&mut self.start.padding, value)),
            "Masked content" => (
                "start.fill",
                choice::<InpaintFill>(&mut self.start.fill, value),
            ),
            "Eta" | "Eta DDIM" => ("eta", some(&mut self.eta, value)),
            "Sigma churn" => ("s_churn", set(&mut self.s_churn, value)),
            "Sigma tmin" => ("s_tmin", set(&mut self.s_tmin, value)),
            "Sigma tmax" => {
                let taken = some(&mut self.s_tmax, value);
                self.s_tmax = self.s_tmax.filter(|v| v.is_finite());
                ("s_tmax", taken)
            }
            "Sigma noise" => ("s_noise", set(&mut self.s_noise, value)),
            "CFG rescale" => ("guidance.rescale", set(&mut self.guidance.rescale, value)),
            "Noise level" => (
                "condition.noise_level",
                some(&mut self.condition.noise_level, value),
            ),
            "Prompt 2" => ("prompt_2", text(&mut self.prompt_2, value)),
            "Negative prompt 2" => (
                "negative_prompt_2",
                text(&mut self.negative_prompt_2, value),
            ),
            "Refiner switch at" => ("refiner_switch", set(&mut self.refiner_switch, value)),
            "Refiner switch by sampling steps" => (
                "refiner_switch",
                match value {
                    "False" => Ok(()),
                    _ => Err("here it takes over by time steps".to_owned()),
                },
            ),
            "Hires refiner" => (
                "refiner",
                match value {
                    "second pass" => Ok(()),
                    _ => Err("here it takes part in the second pass alone".to_owned()),
                },
            ),
            "Emphasis" => (
                "weight_rule",
                match value {
                    "Original" => Ok(()),
                    "Ignore" | "None" => {
                        self.weight_rule = Some(WeightRule::Ignore);
                        Ok(())
                    }
                    _ => Err("a rule that this program has not".to_owned()),
                },
            ),
            HYPERNETWORKS => (
                "hypernetworks",
                hypernetworks::of_line(value).map(|read| self.hypernetworks = read),
            ),
            // A1111's, before tags in the prompt.
            "Hypernet" => {
                let named = hypernetworks::of_line(value.split("(").next().unwrap_or(value).trim());
                (
                    "hypernetworks",
                    named.map(|read| self.hypernetworks = read),
                )
            }
            "Hypernet strength" => (
                "hypernetworks",
                match self.hypernetworks.last_mut() {
                    Some(used) => set(&mut used.strength, value),
                    None => Err("no hypernetwork is named before it".to_owned()),
                },
            ),
            LORAS => ("loras", loras::of_line(value).map(|read| self.loras = read)),
            "Compat" => ("compat", choice(&mut self.compat, value)),
            "RNG" => {
                let mut rng = Rng::Cuda;
                let taken = choice(&mut rng, value);
                self.rng = Some(rng);
                ("rng", taken)
            }
            key if key.starts_with("ControlNet ") => (
                "control",
                Err(
                    "the picture that it was held to is not in the text: give it and the network with --control and \
                     --control-image"
                        .to_owned(),
                ),
            ),
            // Read at the end; here it is only judged.
            "First pass size" => (
                "hires",
                Size::from_str(value)
                    .map(drop)
                    .map_err(|_| NO_VALUE.to_owned()),
            ),
            _ => return None,
        })
    }
}

impl GuidanceOptions {
    /// As [`Request::take`], of the keys of guidance beside the scale.
    fn take(&mut self, key: &str, value: &str) -> Option<(&'static str, Taken)> {
        let (kind, _) = key.split_once(' ').unwrap_or((key, ""));
        let (mut pag, mut sag) = (
            self.pag.clone().unwrap_or_default(),
            self.sag.unwrap_or_default(),
        );
        let mut skip = self.skip_layers.clone().unwrap_or_default();
        let mut freeu = self.freeu.unwrap_or_default();
        let taken = match key {
            "PAG scale" => ("guidance.pag.scale", set(&mut pag.scale, value)),
            "PAG layers" => ("guidance.pag.layers", set(&mut pag.layers, value)),
            "SAG scale" => ("guidance.sag.scale", set(&mut sag.scale, value)),
            "SAG blur" => ("guidance.sag.blur", set(&mut sag.blur, value)),
            "Perp-Neg scale" => ("guidance.perp_neg", some(&mut self.perp_neg, value)),
            "FreeU" => ("guidance.freeu", Ok(())),
            "FreeU b" => ("guidance.freeu.b", two(&mut freeu.b, value)),
            "FreeU s" => ("guidance.freeu.s", two(&mut freeu.s, value)),
            "SLG scale" => ("guidance.skip_layers.scale", set(&mut skip.scale, value)),
            "SLG layers" => ("guidance.skip_layers.layers", set(&mut skip.layers, value)),
            "SLG start" => ("guidance.skip_layers.start", set(&mut skip.start, value)),
            "SLG end" => ("guidance.skip_layers.end", set(&mut skip.end, value)),
            _ => return None,
        };
        if taken.1.is_ok() {
            match kind {
                "PAG" => self.pag = Some(pag),
                "SAG" => self.sag = Some(sag),
                "FreeU" => self.freeu = Some(freeu),
                "SLG" => self.skip_layers = Some(skip),
                _ => {}
            }
        }
        Some(taken)
    }
}

impl Hires {
    /// As [`Request::take`], of the keys of the second pass; the strength is its, where there is one.
    fn take(&mut self, key: &str, value: &str) -> Option<(&'static str, Taken)> {
        let other = |field: &mut Option<String>, same: &str| {
            *field = Some(value.to_owned()).filter(|v| !v.is_empty() && v != same);
            Ok(())
        };
        let named = |field: &mut Option<String>, same: &str, known: fn(&str) -> bool| {
            other(field, same)?;
            match field.as_deref().is_none_or(known) {
                true => Ok(()),
                false => {
                    *field = None;
                    Err(format!("{NO_NAME}; the first pass's in its place"))
                }
            }
        };
        Some(match key {
            "Hires upscale" => ("hires.scale", set(&mut self.scale, value)),
            "Hires resize" => {
                let mut size = None::<Size>;
                let taken = some(&mut size, value);
                self.width = size.map(|s| s.width).filter(|v| *v > 0);
                self.height = size.map(|s| s.height).filter(|v| *v > 0);
                ("hires.width", taken)
            }
            "Hires steps" => {
                let taken = some(&mut self.steps, value);
                self.steps = self.steps.filter(|v| *v > 0);
                ("hires.steps", taken)
            }
            "Hires upscaler" => (
                "hires.upscaler",
                choice::<Upscaler>(&mut self.upscaler, value).map_err(|_| {
                    self.upscaler = Upscaler::Lanczos;
                    "an upscaler that this program has not; Lanczos in its place".to_owned()
                }),
            ),
            "Denoising strength" => (
                "hires.denoising_strength",
                set(&mut self.denoising_strength, value),
            ),
            "Hires sampler" => (
                "hires.sampler",
                named(&mut self.sampler, "Use same sampler", is_sampler),
            ),
            "Hires schedule type" => (
                "hires.scheduler",
                named(&mut self.scheduler, "Use same scheduler", is_scheduler),
            ),
            "Hires prompt" => ("hires.prompt", other(&mut self.prompt, "")),
            "Hires negative prompt" => (
                "hires.negative_prompt",
                other(&mut self.negative_prompt, ""),
            ),
            _ => return None,
        })
    }
}

const NO_NAME: &str = "a name that this program has not";
const NO_VALUE: &str = "not a value of this key";

/// Reads a number or a size; a whole number may be written with a point and zeros.
fn read<T: FromStr>(value: &str) -> Result<T, String> {
    let value = value.trim();
    let whole = value
        .split_once('.')
        .filter(|(_, zeros)| zeros.bytes().all(|b| b == b'0'))
        .map(|(whole, _)| whole);
    let read = value.parse().ok();
    read.or_else(|| whole?.parse().ok())
        .ok_or_else(|| NO_VALUE.to_owned())
}

fn set<T: FromStr>(field: &mut T, value: &str) -> Taken {
    read(value).map(|value| *field = value)
}

fn some<T: FromStr>(field: &mut Option<T>, value: &str) -> Taken {
    read(value).map(|value| *field = Some(value))
}

/// Two numbers with a space between them.
fn two(field: &mut Option<[f64; 2]>, value: &str) -> Taken {
    let numbers: Option<Vec<f64>> = value.split(' ').map(|n| n.parse().ok()).collect();
    match numbers.as_deref() {
        Some([first, second]) => {
            *field = Some([*first, *second]);
            Ok(())
        }
        _ => Err(NO_VALUE.to_owned()),
    }
}

fn text(field: &mut Option<String>, value: &str) -> Taken {
    *field = Some(value.to_owned());
    Ok(())
}

fn choice<T: Choice>(field: &mut T, value: &str) -> Taken {
    let read = T::read(value).map(|value| *field = value);
    read.map_err(|_| NO_NAME.to_owned())
}

/// The second of two names sets the switch.
fn one_of(field: &mut bool, value: &str, names: [&str; 2]) -> Taken {
    let at = names.iter().position(|name| *name == value);
    at.map(|at| *field = at == 1)
        .ok_or_else(|| NO_VALUE.to_owned())
}

fn is_sampler(name: &str) -> bool {
    name.eq_ignore_ascii_case(AUTOMATIC) || names::parse_sampler(name).is_ok()
}

fn is_scheduler(name: &str) -> bool {
    names::parse_scheduler(name).is_ok()
}

/// A sampler's or scheduler's name.
fn name(field: &mut String, value: &str, known: fn(&str) -> bool) -> Taken {
    if !known(value) {
        return Err(NO_NAME.to_owned());
    }
    value.clone_into(field);
    Ok(())
}

fn seed(field: &mut Option<u64>, value: &str) -> Taken {
    match value.trim() {
        "-1" => Err("random: the one that was drawn is not told".to_owned()),
        value => some(field, value),
    }
}

/// Before 2023 the text named the final size and, apart, the first pass's; 0x0 asked for a size of 512² pixels.
fn restore_first_pass(request: &mut Request, first: Size) {
    let last = request.size();
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
