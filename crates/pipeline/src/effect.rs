//! Which settings of a request cannot change its pictures.
//!
//! Settings that contradict each other are refused by `Request::validate`. Others are sound and do nothing: churn for a sampler
//! without churn, a strength without a picture. Whoever typed one should hear of it.

use latent_diffusion::Sampler;
use latent_models::ConditionerConfig;
use latent_text::Dialect;

use crate::draw::calls_per_step;
use crate::error::Result;
use crate::family::VectorInput;
use crate::model::Model;
use crate::profile::{Profile, StepNoise};
use crate::ready::{Resolved, reads_prompt_language};
use crate::request::{Compat, Hires, Request};

/// A setting without effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idle {
    /// The request's field; those of a table behind a dot.
    pub field: &'static str,
    /// Why it does nothing, and what would make it act.
    pub reason: &'static str,
}

impl Idle {
    /// Whether `request` has another value there than a request has by default; one of the second pass, than a second pass
    /// has.
    pub fn is_set(&self, request: &Request) -> bool {
        let default = Request {
            hires: request.hires.is_some().then(Hires::default),
            ..Request::default()
        };
        let value = |request: &Request| {
            let tree = serde_json::to_value(request).unwrap_or_default();
            let mut names = self.field.split('.');
            names.try_fold(tree, |tree, name| tree.get(name).cloned())
        };
        value(request) != value(&default)
    }
}

/// Samplers that add noise before their steps.
pub(crate) fn churns(sampler: Sampler) -> bool {
    matches!(sampler, Sampler::Euler | Sampler::Heun | Sampler::Dpm2)
}

/// Samplers that take an η.
fn takes_eta(sampler: Sampler) -> bool {
    sampler.default_eta() > 0.0
        || matches!(
            sampler,
            Sampler::Ddim
                | Sampler::DdimCfgPp
                | Sampler::EulerCfgPp
                | Sampler::DpmFast
                | Sampler::DpmAdaptive
                | Sampler::Dpmpp2m
        )
}

/// Samplers that add noise whatever their options are. Restart jumps back from 20 steps on.
fn always_noisy(sampler: Sampler, steps: usize) -> bool {
    match sampler {
        Sampler::Lcm | Sampler::Tcd => true,
        Sampler::Restart => steps >= 20,
        _ => false,
    }
}

/// What a sampler does with the settings of noise, under a request.
#[derive(Clone, Copy)]
struct Noises {
    eta: bool,
    churn: bool,
    /// Noise is added on the way.
    noise: bool,
    /// And from the picture's own stream.
    stream: bool,
}

impl Noises {
    fn of(request: &Request, profile: &Profile, sampler: Sampler, steps: usize) -> Self {
        let churn = churns(sampler);
        let eta = profile.eta_of(request, sampler);
        let noise = (takes_eta(sampler) && eta > 0.0)
            || (churn && request.s_churn > 0.0)
            || always_noisy(sampler, steps);
        let path = profile.brownian && sampler.brownian_noise();
        Self {
            eta: takes_eta(sampler),
            churn,
            noise,
            stream: noise && !path && profile.step_noise == StepNoise::Continue,
        }
    }
}

/// Whether a model is told in words what to draw.
pub(crate) fn reads_text(model: &Model) -> bool {
    let own = matches!(model.conditioner(), Some(ConditionerConfig::Text { .. }));
    own || reads_prompt_language(model)
}

/// The settings that cannot change what `request` draws with `model`, whatever their values are.
///
/// # Errors
/// Unknown names of samplers and schedulers.
pub fn without_effect(request: &Request, model: &Model) -> Result<Vec<Idle>> {
    let profile = Profile::of(request.compat);
    let first = Resolved::of_passes(request, &model.scheduler, &profile)?;
    let second = request.hires.as_ref().zip(first.1);
    let second = second.map(|(hires, names)| (names, hires.steps_after(request.steps)));
    let passes = || std::iter::once((first.0, request.steps)).chain(second);
    let any = |has: fn(&Noises) -> bool| {
        passes().any(|(names, steps)| has(&Noises::of(request, &profile, names.sampler, steps)))
    };
    let picture = request.start.image.is_some();
    let looks = !request.condition.images.is_empty() || (picture && profile.looks_at_start);
    let masked = request.start.mask.is_some() || request.start.outpaint.is_some();
    let language = reads_prompt_language(model);
    let text = reads_text(model);
    let more = &request.guidance;
    let unguided = request.guidance_scale() == 1.0
        && !request.prompt.contains("AND")
        && more.perp_neg.is_none();
    let alone = unguided && more.pag.is_none() && more.sag.is_none() && more.skip_layers.is_none();
    let one_sided = unguided && !passes().any(|(names, _)| names.sampler.needs_unconditional());
    let by_hand = request.sigmas.is_some();
    let sized = |hires: &Hires| hires.width.is_some() || hires.height.is_some();
    let churning = any(|n| n.churn) && request.s_churn > 0.0;
    // Of a run whose number of calls is known here.
    let calls = (!picture && request.hires.is_none() && request.refiner.is_none()).then(|| {
        let (names, steps) = (first.0, request.steps);
        steps * calls_per_step(names.sampler)
    });
    let never = |[from, to]: [f64; 2]| {
        let inside = |call: usize, calls| (from..=to).contains(&(call as f64 / calls as f64));
        !by_hand && calls.is_some_and(|calls| !(0..calls).any(|call| inside(call, calls)))
    };
    let skipping = more.skip_layers.as_ref();

    let no_picture = "there is no picture to start from (--init-img)";
    let no_mask = "there is no mask (--mask)";
    let no_guidance = match request.compat {
        Compat::Diffusers => "a scale of at most 1 is no guidance",
        _ => "a scale of 1 is no guidance",
    };
    let no_text = "this model reads no text";
    let no_language = "this model has no text encoder of Stable Diffusion";
    let second_negative = request.negative_prompt_2.as_deref().unwrap_or_default();
    let no_second_negative = model.texts.len() < 2 || second_negative.is_empty();
    let no_second = "this model has no second text encoder; SDXL has";
    let one_encoder = !language || model.texts.len() < 2;
    let no_churn = "there is no churn: --s-churn, and a sampler that has it, such as Euler or Heun";
    let refiner = model
        .refiner
        .as_deref()
        .filter(|_| request.refiner.is_some());
    let vectors = || {
        std::iter::once(model)
            .chain(refiner)
            .map(|model| model.family.vector)
    };
    let sizes = vectors().any(|vector| vector.sinusoids() > 0);
    let scored = vectors().any(|vector| vector == VectorInput::Score);
    let no_sizes = "this model is not told sizes; SDXL is";
    let open_clip = model.texts.iter().any(|text| text.input.open_clip);
    let weightless = request.control.iter().all(|control| control.weight == 0.0);
    let unseen = request.ip_adapter.iter().all(|shown| shown.weight == 0.0);
    let unbent = request
        .hypernetworks
        .iter()
        .all(|used| used.strength == 0.0);
    let unseen_reference = request.reference.iter().all(|one| one.weight == 0.0);
    let rules: [(bool, &'static str, &'static str); 45] = [
        (
            unseen_reference,
            "reference",
            "its weight is 0 (--reference-weight)",
        ),
        (unbent, "hypernetworks", "its strength is 0"),
        (
            unseen,
            "ip_adapter",
            "its weight is 0 (--ip-adapter-weight)",
        ),
        (weightless, "control", "its weight is 0 (--control-weight)"),
        (!text, "prompt", no_text),
        (!text, "negative_prompt", no_text),
        (text && one_sided, "negative_prompt", no_guidance),
        (one_encoder, "prompt_2", no_second),
        (one_encoder, "negative_prompt_2", no_second),
        (!one_encoder && one_sided, "negative_prompt_2", no_guidance),
        (!language, "clip_skip", no_language),
        (
            language && open_clip && request.compat == Compat::A1111,
            "clip_skip",
            "A1111 skips no layers of OpenCLIP's encoders",
        ),
        (!sizes, "condition.sizes", no_sizes),
        (
            model.augmentor.is_some() && !looks,
            "condition.noise_level",
            "there is no picture for the model to look at (--image)",
        ),
        (
            sizes && !scored,
            "condition.sizes.score",
            "SDXL's refiner alone is told a score",
        ),
        (
            sizes && !scored,
            "condition.sizes.negative_score",
            "SDXL's refiner alone is told a score",
        ),
        (
            scored && vectors().all(|vector| vector != VectorInput::Sizes),
            "condition.sizes.target",
            "SDXL's refiner is told a score in its place",
        ),
        (sizes && one_sided, "condition.sizes.negative", no_guidance),
        (
            request.refiner.is_none(),
            "refiner_switch",
            "there is no refiner (--refiner)",
        ),
        (
            request.refiner_switch == 1.0,
            "refiner",
            "the switch is at 1, the end of the run (--refiner-switch)",
        ),
        (
            !(request.negative_prompt.is_empty() && no_second_negative),
            "zero_empty_negative",
            "the negative prompt is not empty",
        ),
        (unguided, "zero_empty_negative", no_guidance),
        (!language, "weight_rule", no_language),
        (
            language && profile.dialect == Dialect::Diffusers,
            "weight_rule",
            "prompts of diffusers have no weights",
        ),
        (!picture, "start.strength", no_picture),
        (!picture, "start.resize_mode", no_picture),
        (
            request.start.only_masked,
            "start.resize_mode",
            "the masked region alone is fitted to the size",
        ),
        (!masked, "start.mask_blur", no_mask),
        (!masked, "start.fill", no_mask),
        (
            !request.start.only_masked,
            "start.padding",
            "the whole picture is worked on (--only-masked)",
        ),
        (
            request.subseed_strength == 0.0,
            "subseed",
            "no share of its noise is taken (--subseed-strength)",
        ),
        (
            !any(|n| n.stream),
            "ensd",
            "the sampler draws no further noise from the picture's own stream",
        ),
        (
            !any(|n| n.eta),
            "eta",
            "the sampler takes none; DDIM and those whose names end in `a` do",
        ),
        (
            !any(|n| n.churn),
            "s_churn",
            "the sampler has no churn; Euler, Heun and DPM2 have",
        ),
        (!churning, "s_tmin", no_churn),
        (!churning, "s_tmax", no_churn),
        (
            !any(|n| n.noise),
            "s_noise",
            "the sampler adds no noise on its way",
        ),
        (
            by_hand && !request.prompt.contains('['),
            "steps",
            "the levels are given by hand (--sigmas)",
        ),
        (
            by_hand,
            "scheduler",
            "the levels are given by hand (--sigmas)",
        ),
        (alone, "guidance.rescale", no_guidance),
        (alone, "guidance.interval", no_guidance),
        (
            more.interval.is_some_and(never),
            "guidance.interval",
            "none of the steps is inside; with more steps some are",
        ),
        (
            skipping.is_some_and(|skip| never([skip.start, skip.end])),
            "guidance.skip_layers",
            "none of the steps is in its part of the run (--skip-layer-start, --skip-layer-end)",
        ),
        (
            request.negative_prompt.is_empty() && no_second_negative,
            "guidance.perp_neg",
            "the negative prompt is empty",
        ),
        (unguided, "guidance.threshold", no_guidance),
    ];
    let rules = rules.into_iter();
    let mut idle: Vec<_> = rules
        .filter(|(idle, ..)| *idle)
        .map(|(_, field, reason)| Idle { field, reason })
        .collect();
    if request.hires.as_ref().is_some_and(sized) {
        let reason = "the second pass has a width or a height";
        idle.push(Idle {
            field: "hires.scale",
            reason,
        });
    }
    Ok(idle)
}
