//! The ladders that programs build in their own way.

use latent_checkpoint::SchedulerConfig;
use latent_diffusion::{
    EdmSchedule, FlowSchedule, LadderOptions, LastSigma, Levels, NoiseSchedule, Sampler, Scheduler,
    Shape, Sigmas, SpacedLadder, Spacing, TailPlan, distilled_timesteps, ladder,
    ladder_of_timesteps, names, strided_ladder,
};

use super::Walk;
use crate::error::{Error, Result};

/// How many training time steps a consistency model was distilled to.
const DISTILLED: usize = 50;

/// A1111's LCM: a curve over the time steps that were distilled, every 20th of 1000, each σ with the nearest of them.
pub(super) fn distilled(
    scheduler: Scheduler,
    schedule: &NoiseSchedule,
    steps: usize,
    options: &LadderOptions,
) -> Result<Sigmas> {
    let stride = (schedule.steps() / DISTILLED).max(1);
    let kept = schedule.sigmas().iter().skip(stride - 1).step_by(stride);
    let bars = kept.map(|sigma| 1.0 / (1.0 + sigma * sigma)).collect();
    let levels = NoiseSchedule::from_alphas_cumprod(bars)?;
    let sigmas = ladder(scheduler, &levels, steps, options)?;
    let trained =
        |sigma: &f64| levels.timestep(*sigma).round() * stride as f64 + (stride - 1) as f64;
    let times = sigmas.values()[..sigmas.steps()]
        .iter()
        .map(trained)
        .collect();
    Ok(sigmas.with_timesteps(times)?)
}

/// A1111's samplers on time steps of their own. A given picture is noised to one level above the first that is walked.
pub(super) fn strided(
    sampler: Sampler,
    schedule: &NoiseSchedule,
    steps: usize,
    plan: Option<TailPlan>,
) -> Result<Walk> {
    let whole = strided_ladder(schedule, steps)?;
    if matches!(sampler, Sampler::UniPcBh1 | Sampler::UniPcBh2) {
        return uniform_in_time(schedule, &whole, plan.map(|p| p.keep));
    }
    let Some(plan) = plan else {
        return Ok(Walk {
            sigmas: whole,
            noised: None,
        });
    };
    let start = (whole.steps() + 2).saturating_sub(plan.keep);
    if start >= whole.steps() {
        return Err(too_little());
    }
    let noised = whole.values().get(start.saturating_sub(1)).copied();
    Ok(Walk {
        sigmas: whole.tail(start)?,
        noised,
    })
}

/// A given picture of which no step is left to walk: A1111's samplers on time steps leave out the first.
fn too_little() -> Error {
    Error::field(
        "start.strength",
        "too low",
        "a value high enough to leave two steps or more to this sampler, or more steps",
    )
}

/// A1111's UniPC: as many intervals, even in time, as the `strided` ladder has visited steps, from the last time step or,
/// for a given picture, from the step below the one it is noised to, down to the first. σ follows the interpolated
/// log ᾱ.
fn uniform_in_time(
    schedule: &NoiseSchedule,
    strided: &Sigmas,
    keep: Option<usize>,
) -> Result<Walk> {
    let visited = strided.values();
    let train = schedule.steps();
    let (from, intervals, noised) = match keep {
        None => ((train - 1) as f64, visited.len(), None),
        Some(keep) => {
            // time steps rise with the index from the end
            let at = |index: usize| visited.len().checked_sub(index + 1);
            let noised = at(keep - 1).and_then(|i| visited.get(i)).copied();
            let first = keep
                .checked_sub(2)
                .and_then(at)
                .and_then(|i| visited.get(i));
            let Some(first) = first else {
                return Err(too_little());
            };
            (schedule.timestep(*first).round(), keep - 1, noised)
        }
    };
    let times: Vec<f64> = (0..=intervals)
        .map(|i| from * (1.0 - i as f64 / intervals as f64))
        .collect();
    let bars = schedule.alphas_cumprod();
    let sigma = |t: &f64| {
        let (low, share) = (t.floor() as usize, t.fract());
        let high = (low + 1).min(train - 1);
        // a terminal ᾱ of 0 keeps the σ that the schedule gives it
        if bars[high] <= 0.0 {
            return schedule.sigma(*t);
        }
        let bar = (bars[low].ln() * (1.0 - share) + bars[high].ln() * share).exp();
        ((1.0 - bar) / bar).sqrt()
    };
    let sigmas = Sigmas::new(times.iter().map(sigma).collect())?;
    Ok(Walk {
        sigmas: sigmas.with_timesteps(times[..intervals].to_vec())?,
        noised,
    })
}

/// The part of diffusers' PNDM ladder that a given picture walks. The list of that scheduler holds its second time step twice,
/// and a picture starts by its place in the list: from the third place on at the step above the one that the strength asks for.
/// What it goes on from then is one step noisier than it is taken for. (At the second place the repeated step itself is walked
/// in a way that no ladder says; the plain part stands in for it.)
pub(super) fn repeated(ladder: &Sigmas, plan: TailPlan) -> Result<Sigmas> {
    let start = plan.start(ladder);
    if start < 2 {
        return Ok(plan.tail(ladder)?);
    }
    let values = ladder.values();
    let walked = || std::iter::once(start - 1).chain(start + 1..ladder.steps());
    let mut levels: Vec<f64> = walked().map(|i| values[i]).collect();
    levels.push(values[ladder.steps()]);
    let times = walked().map(|i| ladder.timestep(values[i]));
    let times: Option<Vec<f64>> = times.collect();
    let part = Sigmas::new(levels)?;
    let part = match times {
        Some(times) => part.with_timesteps(times)?,
        None => part,
    };
    Ok(part.with_landings(walked().map(|i| ladder.landing(i)).collect())?)
}

/// Samplers that A1111 runs on time steps of their own instead of a σ ladder.
pub(super) fn on_timesteps(sampler: Sampler) -> bool {
    matches!(
        sampler,
        Sampler::Ddim | Sampler::DdimCfgPp | Sampler::Plms | Sampler::UniPcBh1 | Sampler::UniPcBh2
    )
}

/// Samplers whose diffusers classes step over whole time steps and keep an exact ᾱ of 0.
pub(super) fn whole(sampler: Sampler) -> bool {
    matches!(
        sampler,
        Sampler::Ddim
            | Sampler::DdimCfgPp
            | Sampler::Ddpm
            | Sampler::Plms
            | Sampler::Lcm
            | Sampler::Tcd
    )
}

/// Samplers whose diffusers classes keep fractional time steps and start from σ₀ times noise.
pub(super) fn fractional(sampler: Sampler) -> bool {
    matches!(
        sampler,
        Sampler::Euler
            | Sampler::EulerAncestral
            | Sampler::EulerCfgPp
            | Sampler::EulerAncestralCfgPp
            | Sampler::Heun
            | Sampler::Dpm2
            | Sampler::Dpm2Ancestral
            | Sampler::Lms
    )
}

/// What diffusers makes of a scheduler's name; `None` for curves that it has no flag for.
pub(super) fn shape(scheduler: Scheduler, config: &SchedulerConfig) -> Option<Shape> {
    Some(match scheduler {
        Scheduler::Automatic if config.use_karras_sigmas => Shape::Karras,
        Scheduler::Automatic if config.use_exponential_sigmas => Shape::Exponential,
        Scheduler::Automatic if config.use_beta_sigmas => Shape::Beta,
        Scheduler::Automatic | Scheduler::Normal | Scheduler::Uniform => Shape::Plain,
        Scheduler::Karras => Shape::Karras,
        Scheduler::Exponential => Shape::Exponential,
        Scheduler::Beta => Shape::Beta,
        _ => return None,
    })
}

/// The ladder of a flow: the published one in this shape, or a curve over its levels.
pub(super) fn flow_levels(
    levels: &FlowSchedule,
    scheduler: Scheduler,
    shape: Option<Shape>,
    steps: usize,
    curve: &LadderOptions,
) -> Result<Sigmas> {
    if scheduler == Scheduler::AlignYourSteps {
        return Err(Error::field(
            "scheduler",
            names::scheduler_info(scheduler).label,
            "another one, such as Automatic or Beta: its table begins at σ = 14.6, and this model is a rectified flow, whose σ is at most 1",
        ));
    }
    Ok(match shape {
        Some(shape) => levels.shaped(shape, steps)?,
        None => ladder(scheduler, levels, steps, curve)?,
    })
}

/// The levels of a network of EDM's forms: `sigma_min`, `sigma_max` and `sigma_data` of its scheduler's settings, and
/// the usual ones where they say nothing.
pub(super) fn edm_levels(usual: &EdmSchedule, config: &SchedulerConfig) -> Result<EdmSchedule> {
    let said = |key: &str, usual: f64| match config.rest.get(key) {
        None => Ok(usual),
        Some(value) => value.as_f64().ok_or_else(|| {
            Error::field("scheduler_config.json", value, format!("a number as {key}"))
        }),
    };
    let ends = usual.sigmas();
    let (low, high) = (ends[0], ends[ends.len() - 1]);
    Ok(EdmSchedule::new(
        said("sigma_min", low)?,
        said("sigma_max", high)?,
        said("sigma_data", usual.sigma_data())?,
    )?)
}

/// The curve of a diffusers scheduler class for EDM's forms: `sigma_schedule` of its settings unless one is chosen.
pub(super) fn edm_curve(scheduler: Scheduler, config: &SchedulerConfig) -> Result<Scheduler> {
    let text = |key: &str| config.rest.get(key).and_then(|v| v.as_str());
    if config
        .final_sigmas_type
        .as_deref()
        .is_some_and(|last| last != "zero")
    {
        return Err(Error::field(
            "final_sigmas_type",
            config.final_sigmas_type.as_deref().unwrap_or_default(),
            "zero in scheduler_config.json of a model of EDM's forms",
        ));
    }
    match (scheduler, text("sigma_schedule")) {
        (Scheduler::Automatic, None | Some("karras")) => Ok(Scheduler::Karras),
        (Scheduler::Automatic, Some("exponential")) => Ok(Scheduler::Exponential),
        (Scheduler::Automatic, Some(other)) => Err(Error::field(
            "sigma_schedule",
            other,
            "karras or exponential in scheduler_config.json",
        )),
        (chosen, _) => Ok(chosen),
    }
}

/// The ladder of a diffusers scheduler class.
pub(super) fn spaced(
    sampler: Sampler,
    scheduler: Scheduler,
    schedule: &NoiseSchedule,
    config: &SchedulerConfig,
    steps: usize,
) -> Result<Sigmas> {
    let Some(shape) = shape(scheduler, config) else {
        // The common curves, their time steps interpolated.
        return Ok(ladder(
            scheduler,
            schedule,
            steps,
            &LadderOptions::default(),
        )?);
    };
    let spacing = |own: Spacing| match config.timestep_spacing.as_deref() {
        Some("leading") => Spacing::Leading,
        Some("linspace") => Spacing::Linspace,
        Some("trailing") => Spacing::Trailing,
        _ => own,
    };
    let offset = usize::try_from(config.steps_offset).map_err(|_| {
        Error::field(
            "steps_offset",
            config.steps_offset,
            "0 or more in scheduler_config.json",
        )
    })?;
    let first_step = |own: bool| match config.set_alpha_to_one {
        Some(one) if !one => LastSigma::FirstStep,
        None if own => LastSigma::FirstStep,
        _ => LastSigma::Zero,
    };
    let last = match config.final_sigmas_type.as_deref() {
        Some("sigma_min") => LastSigma::FirstStep,
        _ => LastSigma::Zero,
    };
    let spaced = match sampler {
        Sampler::Lcm | Sampler::Tcd => {
            let original = config.rest.get("original_inference_steps");
            let original = original.and_then(|steps| usize::try_from(steps.as_u64()?).ok());
            let original = original.unwrap_or(50).clamp(1, schedule.steps());
            let timesteps = distilled_timesteps(schedule.steps(), original, steps, 1.0)?;
            return Ok(ladder_of_timesteps(schedule, timesteps, LastSigma::Zero)?);
        }
        Sampler::Ddim | Sampler::DdimCfgPp => {
            SpacedLadder::whole(spacing(Spacing::Leading), offset, first_step(false))
        }
        Sampler::Plms => SpacedLadder::whole(spacing(Spacing::Leading), offset, first_step(true)),
        Sampler::Ddpm => SpacedLadder::whole(spacing(Spacing::Leading), offset, LastSigma::Zero),
        s if fractional(s) => SpacedLadder::fractional(spacing(Spacing::Linspace), offset, shape),
        _ => SpacedLadder::intervals(spacing(Spacing::Linspace), offset, shape, last),
    };
    Ok(spaced.ladder(schedule, steps)?)
}
