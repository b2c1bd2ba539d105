//! What other programs call samplers and schedulers.
//!
//! This is the one module of the crate that knows product names, because names are what users bring: from A1111 and its
//! old pictures ("DPM++ 2M Karras"), ComfyUI, diffusers' scheduler classes, InvokeAI, kohya, stable-diffusion.cpp and
//! k-diffusion's functions. Upper and lower case, blanks, hyphens and underscores are the same; `k_` and `sample_` in
//! front are dropped where the rest is a name.
//!
//! A name that exists elsewhere and not here gets an error that says so, with the nearest that exists here; silently
//! taking another sampler would give another picture.

mod tables;

use crate::{Sampler, Scheduler};

use tables::{ELSEWHERE_SAMPLERS, ELSEWHERE_SCHEDULERS, SAMPLERS, SCHEDULERS};

/// A name that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nobody's name.
    #[error("unknown {kind} `{name}`; did you mean {}?", or_list(nearest))]
    Unknown {
        /// "sampler" or "scheduler".
        kind: &'static str,
        /// What was given.
        name: String,
        /// The nearest names that are understood.
        nearest: Vec<&'static str>,
    },
    /// A name another program has for something this one lacks.
    #[error(
        "the {kind} `{name}` is known from {program} but not implemented; nearest: {}",
        or_list(nearest)
    )]
    Elsewhere {
        /// "sampler" or "scheduler".
        kind: &'static str,
        /// What was given.
        name: String,
        /// A program that has it.
        program: &'static str,
        /// What comes closest in method, by this program's names.
        nearest: Vec<&'static str>,
    },
    /// A scheduler class with a combination of flags that is not implemented.
    #[error("{class} with {flag} = {value} is not implemented; nearest: {nearest}")]
    Flag {
        /// The class.
        class: String,
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: String,
        /// What comes closest.
        nearest: &'static str,
    },
}

fn or_list(names: &[&str]) -> String {
    names
        .iter()
        .map(|n| format!("`{n}`"))
        .collect::<Vec<_>>()
        .join(" or ")
}

/// What is known of a sampler besides its arithmetic. Defaults are A1111's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SamplerInfo {
    /// The sampler.
    pub sampler: Sampler,
    /// A1111's label, as PNG metadata carries it; a label in the same style where A1111 has none.
    pub label: &'static str,
    /// ComfyUI's and k-diffusion's style of name: the one to print on a command line.
    pub name: &'static str,
    /// Other names.
    pub aliases: &'static [&'static str],
    /// The ladder `Automatic` stands for.
    pub scheduler: Scheduler,
    /// Whether the ladder is asked for one step more and loses its last level above 0.
    pub discard_penultimate: bool,
}

/// What is known of a scheduler besides its arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchedulerInfo {
    /// The scheduler.
    pub scheduler: Scheduler,
    /// A1111's label, as PNG metadata carries it.
    pub label: &'static str,
    /// The name to print on a command line.
    pub name: &'static str,
    /// Other names.
    pub aliases: &'static [&'static str],
}

/// Every sampler.
pub fn samplers() -> &'static [SamplerInfo] {
    SAMPLERS
}

/// Every scheduler.
pub fn schedulers() -> &'static [SchedulerInfo] {
    SCHEDULERS
}

/// What is known of `sampler`.
pub fn sampler_info(sampler: Sampler) -> &'static SamplerInfo {
    let found = SAMPLERS.iter().find(|s| s.sampler == sampler);
    found.unwrap_or(&SAMPLERS[0]) // a test checks that every sampler has its row
}

/// What is known of `scheduler`.
pub fn scheduler_info(scheduler: Scheduler) -> &'static SchedulerInfo {
    let found = SCHEDULERS.iter().find(|s| s.scheduler == scheduler);
    found.unwrap_or(&SCHEDULERS[0])
}

/// The sampler, and the scheduler where the name includes one: `DPM++ 2M Karras`, `k_dpmpp_2m_ka`, `euler_a karras`,
/// `euler_k`.
pub fn parse_sampler(name: &str) -> Result<(Sampler, Option<Scheduler>), NameError> {
    let key = normalise(name);
    let found = ["", "sample_", "k_"]
        .into_iter()
        .filter_map(|prefix| key.strip_prefix(prefix))
        .find_map(combined);
    if let Some(found) = found {
        return Ok(found);
    }
    if let Ok(found) = parse_class(name, &ClassFlags::default()) {
        return Ok(found);
    }
    let known = SAMPLERS.iter().flat_map(|s| {
        [s.name, s.label]
            .into_iter()
            .chain(s.aliases.iter().copied())
    });
    Err(unknown("sampler", name, &key, ELSEWHERE_SAMPLERS, known))
}

/// A scheduler by name, label or alias.
pub fn parse_scheduler(name: &str) -> Result<Scheduler, NameError> {
    let key = normalise(name);
    exact_scheduler(&key).ok_or_else(|| {
        let known = SCHEDULERS.iter().flat_map(|s| {
            [s.name, s.label]
                .into_iter()
                .chain(s.aliases.iter().copied())
        });
        unknown("scheduler", name, &key, ELSEWHERE_SCHEDULERS, known)
    })
}

/// The up to three candidates nearest to `name`, nearest first (Jaro–Winkler).
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let key = normalise(name);
    let mut scored: Vec<(f64, &str)> = candidates
        .map(|c| (strsim::jaro_winkler(&key, &normalise(c)), c))
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut seen: Vec<String> = Vec::new();
    scored.retain(|(_, c)| {
        let fresh = !seen.contains(&normalise(c));
        seen.push(normalise(c));
        fresh
    });
    scored.into_iter().take(3).map(|(_, c)| c).collect()
}

/// A row of a table of what is not implemented: name, program, nearest.
type Elsewhere = (&'static str, &'static str, &'static [&'static str]);

fn unknown(
    kind: &'static str,
    name: &str,
    key: &str,
    elsewhere: &[Elsewhere],
    known: impl Iterator<Item = &'static str>,
) -> NameError {
    let bare = key.strip_prefix("k_").unwrap_or(key);
    let bare = bare.strip_prefix("sample_").unwrap_or(bare);
    let stems = [
        Some(key),
        Some(bare),
        split_suffix(bare).map(|(stem, _)| stem),
    ];
    let hit = stems
        .into_iter()
        .flatten()
        .find_map(|stem| elsewhere.iter().find(|(n, ..)| normalise(n) == stem));
    match hit {
        Some((_, program, nearest)) => NameError::Elsewhere {
            kind,
            name: name.to_owned(),
            program,
            nearest: nearest.to_vec(),
        },
        None => NameError::Unknown {
            kind,
            name: name.to_owned(),
            nearest: nearest(name, known),
        },
    }
}

/// Lower case, one underscore for every run of blanks, hyphens and underscores.
fn normalise(name: &str) -> String {
    let lower = name.to_lowercase();
    let words = lower.split(|c: char| c.is_whitespace() || c == '-' || c == '_');
    words
        .filter(|w| !w.is_empty())
        .collect::<Vec<_>>()
        .join("_")
}

fn exact_sampler(key: &str) -> Option<Sampler> {
    let is = |name: &&str| normalise(name) == key;
    SAMPLERS
        .iter()
        .find(|s| is(&s.name) || is(&s.label) || s.aliases.iter().any(is))
        .map(|s| s.sampler)
}

fn exact_scheduler(key: &str) -> Option<Scheduler> {
    let is = |name: &&str| normalise(name) == key;
    SCHEDULERS
        .iter()
        .find(|s| is(&s.name) || is(&s.label) || s.aliases.iter().any(is))
        .map(|s| s.scheduler)
}

fn combined(key: &str) -> Option<(Sampler, Option<Scheduler>)> {
    if let Some(sampler) = exact_sampler(key) {
        return Some((sampler, None));
    }
    let (stem, scheduler) = split_suffix(key)?;
    Some((exact_sampler(stem)?, Some(scheduler)))
}

/// Splits a scheduler off the end: a whole name, or the abbreviations `_ka`, `_exp` (A1111) and `_k` (InvokeAI).
fn split_suffix(key: &str) -> Option<(&str, Scheduler)> {
    let short = [
        ("_ka", Scheduler::Karras),
        ("_exp", Scheduler::Exponential),
        ("_k", Scheduler::Karras),
    ];
    let short = short
        .into_iter()
        .find_map(|(suffix, scheduler)| Some((key.strip_suffix(suffix)?, scheduler)));
    short.or_else(|| {
        // the longest first: "dpm++_2m_sgm_uniform" ends in both "uniform" and "sgm_uniform"
        let cuts = key.match_indices('_').map(|(at, _)| at);
        cuts.filter(|&at| at > 0)
            .find_map(|at| Some((&key[..at], exact_scheduler(&key[at + 1..])?)))
    })
}

/// The entries of a diffusers `scheduler_config.json` that decide which sampler its class is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClassFlags<'a> {
    /// `algorithm_type` of the DPM-Solver classes.
    pub algorithm_type: Option<&'a str>,
    /// `solver_type`: `midpoint`, `heun`, `bh1`, `bh2`, `logrho`.
    pub solver_type: Option<&'a str>,
    /// `solver_order`.
    pub solver_order: Option<usize>,
    /// `use_karras_sigmas`.
    pub use_karras_sigmas: bool,
    /// `use_exponential_sigmas`.
    pub use_exponential_sigmas: bool,
    /// `use_beta_sigmas`.
    pub use_beta_sigmas: bool,
}

/// A diffusers scheduler class with its flags (`EulerAncestralDiscreteScheduler`, `DPMSolverMultistepScheduler`, …).
///
/// # Errors
/// A class or a combination of flags without an implementation here.
pub fn parse_class(
    class: &str,
    flags: &ClassFlags<'_>,
) -> Result<(Sampler, Option<Scheduler>), NameError> {
    let stem = class.trim().to_lowercase();
    let flag = |flag, value: &str, nearest| NameError::Flag {
        class: class.to_owned(),
        flag,
        value: value.to_owned(),
        nearest,
    };
    let sampler = match stem.as_str() {
        "ddimscheduler" | "ddimparallelscheduler" => Sampler::Ddim,
        "ddpmscheduler" | "ddpmparallelscheduler" => Sampler::Ddpm,
        "pndmscheduler" => Sampler::Plms,
        "lmsdiscretescheduler" => Sampler::Lms,
        "eulerdiscretescheduler" | "edmeulerscheduler" => Sampler::Euler,
        "eulerancestraldiscretescheduler" => Sampler::EulerAncestral,
        "heundiscretescheduler" => Sampler::Heun,
        "kdpm2discretescheduler" => Sampler::Dpm2,
        "kdpm2ancestraldiscretescheduler" => Sampler::Dpm2Ancestral,
        "dpmsolversdescheduler" => Sampler::DpmppSde,
        "deismultistepscheduler" => Sampler::Deis,
        "ipndmscheduler" => Sampler::Ipndm,
        "lcmscheduler" => Sampler::Lcm,
        "tcdscheduler" => Sampler::Tcd,
        "flowmatcheulerdiscretescheduler" => Sampler::Euler,
        "flowmatchheundiscretescheduler" => Sampler::Heun,
        "unipcmultistepscheduler" => match flags.solver_type.unwrap_or("bh2") {
            "bh1" => Sampler::UniPcBh1,
            "bh2" => Sampler::UniPcBh2,
            other => return Err(flag("solver_type", other, "bh2")),
        },
        "dpmsolvermultistepscheduler" | "edmdpmsolvermultistepscheduler" => {
            let algorithm = flags.algorithm_type.unwrap_or("dpmsolver++");
            let heun = flags.solver_type == Some("heun");
            match (algorithm, flags.solver_order.unwrap_or(2)) {
                ("dpmsolver++", 2) if !heun => Sampler::Dpmpp2m,
                ("sde-dpmsolver++", 2) if heun => Sampler::Dpmpp2mSdeHeun,
                ("sde-dpmsolver++", 2) => Sampler::Dpmpp2mSde,
                ("sde-dpmsolver++", 3) => Sampler::Dpmpp3mSde,
                ("dpmsolver++", 2) => return Err(flag("solver_type", "heun", "midpoint")),
                ("dpmsolver++" | "sde-dpmsolver++", order) => {
                    return Err(flag("solver_order", &order.to_string(), "2"));
                }
                (other, _) => return Err(flag("algorithm_type", other, "dpmsolver++")),
            }
        }
        _ => {
            let classes = tables::CLASSES.iter().copied();
            let key = normalise(class);
            return Err(unknown(
                "scheduler class",
                class,
                &key,
                ELSEWHERE_SAMPLERS,
                classes,
            ));
        }
    };
    let scheduler = if flags.use_karras_sigmas {
        Some(Scheduler::Karras)
    } else if flags.use_exponential_sigmas {
        Some(Scheduler::Exponential)
    } else if flags.use_beta_sigmas {
        Some(Scheduler::Beta)
    } else {
        None
    };
    Ok((sampler, scheduler))
}

#[cfg(test)]
mod tests;
