//! What is settled and checked before the first step: names, ladders, memory, prompts.

use latent_checkpoint::SchedulerConfig;
use latent_diffusion::{Sampler, Scheduler, names};
use latent_models::ConditionerConfig;
use latent_text::Pass;

use crate::beside::Hints;
use crate::canvas::Prepared;
use crate::condition::check_fields;
use crate::conditioning::Prompts;
use crate::control::{Held, Style};
use crate::decode::Decoding;
use crate::draw::{Drawing, calls_per_step};
use crate::embeddings::Used;
use crate::error::{Error, Result};
use crate::guiders;
use crate::hooks::{self, Hooks};
use crate::hypernetworks;
use crate::level::level;
use crate::marks::clean;
use crate::memory::{MemoryPlan, Settled};
use crate::model::{Model, Stage};
use crate::picture::Picture;
use crate::profile::Profile;
use crate::reference::Referred;
use crate::refiner;
use crate::request::{self, Compat, Hires, Request, Size};
use crate::resources::Resources;
use crate::seen::{self, Seen};
use crate::shown::Shown;

/// Names that a request leaves open, settled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resolved {
    /// The sampler.
    pub sampler: Sampler,
    /// Its ladder: never [`Scheduler::Automatic`] where the sampler has an own default.
    pub scheduler: Scheduler,
    /// Metadata says "Automatic": the scheduler was left to the sampler, and is none that A1111 names all the same.
    pub automatic: bool,
}

impl Resolved {
    /// The names of both passes of a request.
    ///
    /// # Errors
    /// As [`Self::of`]'s.
    pub fn of_passes(
        request: &Request,
        config: &SchedulerConfig,
        profile: &Profile,
    ) -> Result<(Self, Option<Self>)> {
        let of = |sampler: &str, scheduler: &str| Self::of(sampler, scheduler, profile, config);
        let first = of(&request.sampler, &request.scheduler)?;
        let second = request.hires.as_ref().map(|hires| {
            let sampler = hires.sampler.as_deref().unwrap_or(&request.sampler);
            let scheduler = hires.scheduler.as_deref().unwrap_or(&request.scheduler);
            of(sampler, scheduler).map_err(Error::in_second_pass)
        });
        Ok((first, second.transpose()?))
    }

    /// How many pictures are drawn at once by the samplers of both passes. One that chooses its steps for each picture makes
    /// every picture of a batch walk with all the others, so it has each alone.
    pub(crate) fn together(request: &Request, (first, second): (Self, Option<Self>)) -> usize {
        let adaptive = |names: Self| names.sampler.evaluations(1).is_none();
        match adaptive(first) || second.is_some_and(adaptive) {
            true => 1,
            false => request.batch_size,
        }
    }

    /// Settles a sampler's and a scheduler's name. A combined old name ("DPM++ 2M Karras") brings its scheduler, which
    /// an explicit one overrides. [`request::AUTOMATIC`] is what the profile draws with when nothing is chosen.
    ///
    /// # Errors
    /// An unknown name, with the nearest known ones.
    pub fn of(
        sampler: &str,
        scheduler: &str,
        profile: &Profile,
        config: &SchedulerConfig,
    ) -> Result<Self> {
        let (sampler, named) = if sampler.trim().eq_ignore_ascii_case(request::AUTOMATIC) {
            profile.default_sampler(config)?
        } else {
            names::parse_sampler(sampler)?
        };
        let sampler = profile.sampler(sampler);
        let asked = match names::parse_scheduler(scheduler)? {
            Scheduler::Automatic => named.unwrap_or(Scheduler::Automatic),
            explicit => explicit,
        };
        let own = profile.default_scheduler(sampler, config);
        let automatic = match profile.compat {
            // A1111 names a curve that a sampler brings as if it had been asked for.
            Compat::A1111 => {
                asked == Scheduler::Automatic
                    && matches!(
                        own,
                        Scheduler::Automatic | Scheduler::Uniform | Scheduler::DdimUniform
                    )
            }
            _ => asked == Scheduler::Automatic || asked == own,
        };
        Ok(Self {
            sampler,
            scheduler: if asked == Scheduler::Automatic {
                own
            } else {
                asked
            },
            automatic,
        })
    }
}

/// The seeds must be there already: this crate draws none.
fn check_seeds(request: &Request) -> Result<()> {
    let missing = |field| {
        Error::field(
            field,
            "not set",
            "a number: the program draws one before it calls the library",
        )
    };
    request.seed.ok_or_else(|| missing("seed"))?;
    if request.subseed_strength > 0.0 {
        request.subseed.ok_or_else(|| missing("subseed"))?;
    }
    Ok(())
}

/// The sides must be multiples of the latent's, and of what the network halves by where it cannot round.
fn check_size(request: &Request, model: &Model) -> Result<()> {
    let entries = 0..request.control.len();
    let controls = entries.filter_map(|entry| model.control(entry));
    let controls = controls.map(|control| control.network.multiple());
    let by = controls.fold(model.multiple(), lcm);
    let check = |field, Size { width, height }: Size| match width.is_multiple_of(by)
        && height.is_multiple_of(by)
    {
        true => Ok(()),
        false => Err(Error::field(
            field,
            format!("{width}×{height}"),
            format!("multiples of {by}, which this model and what it is drawn with need"),
        )),
    };
    check("width and height", request.canvas())?;
    let Some(hires) = &request.hires else {
        return Ok(());
    };
    let (_, target) = hires.target(request.size());
    let round = |side: usize| side.next_multiple_of(model.multiple());
    let target = Size {
        width: round(target.width),
        height: round(target.height),
    };
    check("hires.width and hires.height", target).map_err(Error::in_second_pass)
}

/// The least common multiple of two numbers above 0.
fn lcm(a: usize, b: usize) -> usize {
    let mut multiples = (1..=b).map(|n| n * a);
    multiples.find(|n| n.is_multiple_of(b)).unwrap_or(a)
}

/// Whether prompts for this model are in the language of the profile; models that were trained here with a text encoder of
/// their own read plain text.
pub(crate) fn reads_prompt_language(model: &Model) -> bool {
    let frozen = |c: &ConditionerConfig| matches!(c, ConditionerConfig::FrozenText { .. });
    !model.texts.is_empty() && model.conditioner().is_none_or(frozen)
}

/// What is settled before the first picture: names, memory and prompts.
pub(crate) struct Ready {
    pub profile: Profile,
    pub decoding: Decoding,
    /// Networks give way to each other.
    pub in_turn: bool,
    pub resolved: Resolved,
    pub prompts: Prompts,
    pub prepared: Option<Prepared>,
    pub hints: Hints,
    pub second: Option<Second>,
    /// What the refiner of the last pass is told.
    pub refined: Option<Prompts>,
    /// The embeddings that prompts of any pass name.
    pub embeddings: Vec<Used>,
}

/// The same of the second pass.
pub(crate) struct Second {
    pub hires: Hires,
    pub resolved: Resolved,
    pub steps: usize,
    pub prompts: Prompts,
}

/// What encodes the prompts of a job, and says what is to be said of them.
struct Encoding<'a> {
    model: &'a Model,
    profile: &'a Profile,
    request: &'a Request,
    resources: &'a dyn Resources,
    hooks: &'a mut dyn Hooks,
}

impl Encoding<'_> {
    /// Both prompts for one pass over pictures of `size`. `told`: their marks have been spoken of.
    fn pass(
        &mut self,
        [prompt, negative]: [&str; 2],
        size: Size,
        pass: Pass,
        told: bool,
    ) -> Result<Prompts> {
        let (model, profile) = (self.model, self.profile);
        let dialect = reads_prompt_language(model).then_some(profile.dialect);
        let embeddings = &self.resources.models().embeddings;
        let clean =
            |which, text: &str| clean(which, text, profile.dialect, dialect.is_some(), embeddings);
        let prompt = clean("prompt", prompt);
        let negative = clean("negative_prompt", negative);
        let mut notes = [prompt.notes, negative.notes].concat();
        let mut second = |which, text: &Option<String>| {
            let cleaned = clean(which, text.as_ref()?);
            notes.extend(cleaned.notes);
            Some(cleaned.text)
        };
        let request = Request {
            prompt_2: second("prompt_2", &self.request.prompt_2),
            negative_prompt_2: second("negative_prompt_2", &self.request.negative_prompt_2),
            ..self.request.clone()
        };
        for note in notes.into_iter().filter(|_| !told) {
            self.hooks.note(note);
        }
        let texts = [prompt.text.as_str(), &negative.text];
        let mut prompts = match dialect {
            Some(_) => Prompts::encode(model, profile, &request, texts, size, pass, embeddings)?,
            None => Prompts::read(model, &request, texts, size, self.resources)?,
        };
        prompts.positive = level(prompts.positive);
        if let Some(cut) = prompts.truncated.as_ref().filter(|_| !told) {
            self.hooks.note(format!(
                "the prompt is longer than the model reads; this end of it has no effect: {cut}"
            ));
        }
        Ok(prompts)
    }
}

/// Whether both passes have a ladder to walk.
fn check_ladders(
    request: &Request,
    model: &Model,
    profile: &Profile,
    names: (Resolved, Option<Resolved>),
) -> Result<()> {
    let first = Drawing::of(request, model, profile, names.0);
    let from_picture = request.start.image.is_some();
    first.check_ladder(from_picture, "steps")?;
    let check_legs = |drawing: &Drawing<'_>, from_picture| {
        let whole = drawing.ladder(from_picture)?.sigmas;
        let refiner = refiner_of(request, model)?;
        drawing.legs(&whole, refiner, from_picture).map(drop)
    };
    let Some((hires, second)) = request.hires.as_ref().zip(names.1) else {
        return check_legs(&first, from_picture);
    };
    let second = Drawing {
        sampler: second.sampler,
        scheduler: second.scheduler,
        steps: hires.steps_after(request.steps),
        strength: hires.denoising_strength,
        rule: profile.hires_strength,
        ..first
    };
    let checked = second.check_ladder(true, "hires.steps");
    let checked = checked.and_then(|()| check_legs(&second, true));
    checked.map_err(Error::in_second_pass)
}

/// The refiner that a request asks for.
///
/// # Errors
/// One that is not there, or does not go with the model.
fn refiner_of<'a>(request: &Request, model: &'a Model) -> Result<Option<&'a Model>> {
    let Some(name) = &request.refiner else {
        return Ok(None);
    };
    let wrong = |expected: String| Error::field("refiner", name, expected);
    let Some(refiner) = &model.refiner else {
        let expected = "a model that was opened with it (`ModelFiles::refiner`)";
        return Err(wrong(expected.to_owned()));
    };
    refiner::pair(Some(&model.family), Some(&refiner.family)).map_err(wrong)?;
    Ok(Some(refiner))
}

/// What is settled of a request before any network works.
struct Planned {
    profile: Profile,
    hints: Hints,
    names: (Resolved, Option<Resolved>),
    prepared: Option<Prepared>,
    pictures: Vec<(Picture, f64)>,
    settled: Settled,
}

impl Planned {
    /// `once`: the model draws nothing else.
    fn of(
        request: &Request,
        model: &Model,
        resources: &dyn Resources,
        available: Option<u64>,
        once: bool,
    ) -> Result<Self> {
        request.validate().map_err(Error::Request)?;
        check_seeds(request)?;
        let profile = Profile::of(request.compat);
        check_fields(request, model.conditioner(), &model.family)?;
        check_size(request, model)?;
        let mut hints = Hints::of(request, model, resources)?;
        let names = Resolved::of_passes(request, &model.scheduler, &profile)?;
        check_ladders(request, model, &profile, names)?;
        let prepared = Prepared::of(request, &profile, resources)?;
        hints.held = Held::all(request, model, &profile, prepared.as_ref(), resources)?;
        let pictures = seen::pictures(request, model, &profile, prepared.as_ref(), resources)?;
        let settled = MemoryPlan::of(request, model).settle(request, available, once)?;
        Ok(Self {
            profile,
            hints,
            names,
            prepared,
            pictures,
            settled,
        })
    }
}

/// Whether a request can be drawn, as far as that can be told before any network works; the model may be
/// [declared](Model::declare).
///
/// # Errors
/// As [`crate::run()`]'s.
pub fn check(
    request: &Request,
    model: &Model,
    resources: &dyn Resources,
    available: Option<u64>,
) -> Result<()> {
    Planned::of(request, model, resources, available, false).map(drop)
}

impl Ready {
    /// `once`: the model draws nothing else.
    pub fn of(
        request: &Request,
        model: &Model,
        resources: &dyn Resources,
        available: Option<u64>,
        once: bool,
        hooks: &mut dyn Hooks,
    ) -> Result<Self> {
        let Planned {
            profile,
            mut hints,
            names,
            prepared,
            pictures,
            settled: Settled { decoding, in_turn },
        } = Planned::of(request, model, resources, available, once)?;
        model.load(Stage::Conditioning, hooks)?;
        hooks::stage(hooks, "encoding the prompt", 0, 0)?;
        hints.seen = Seen::all(&pictures, model, &profile)?;
        hints.styles = Style::all(model, &hints.held)?;
        hints.shown = Shown::all(request, model, resources)?;
        hints.referred = Referred::all(request, model, &profile, resources)?;
        hints.bends =
            hypernetworks::bends(request, model, resources, &mut |told| hooks.note(told))?;
        let texts = [request.prompt.as_str(), &request.negative_prompt];
        let mut encoding = Encoding {
            model,
            profile: &profile,
            request,
            resources,
            hooks,
        };
        let first = request.steps * calls_per_step(names.0.sampler);
        for late in model.adapters.iter().filter(|one| one.calls.start >= first) {
            encoding.hooks.note(format!(
                "the LoRA {} begins at call {}, and the run has {first} (0 to {}): it changes the text encoders alone",
                late.name,
                late.calls.start,
                first.saturating_sub(1)
            ));
        }
        let only = Pass::Only(first);
        let prompts = encoding.pass(texts, request.canvas(), only, false)?;
        // Its layout alone is looked at, which takes no memory.
        let network = &model.denoiser.config().init(&model.device);
        guiders::check(request, network, names.0.sampler, prompts.positive.len())?;
        if network.interface().guidance.is_some() && !texts[1].trim().is_empty() {
            encoding.hooks.note(
                "this model is told its guidance and reads no negative prompt: it has no effect"
                    .to_owned(),
            );
        }
        // What the refiner goes by too.
        let mut last = (texts, request.canvas(), only, names.0.sampler);
        let hires = request.hires.as_ref();
        let second = hires.zip(names.1).map(|(hires, resolved)| {
            let steps = hires.steps_after(request.steps);
            let pass = Pass::Second {
                first,
                steps: steps * calls_per_step(resolved.sampler),
            };
            let told = hires.prompt.is_none() && hires.negative_prompt.is_none();
            let texts = [
                hires.prompt.as_deref().unwrap_or(texts[0]),
                hires.negative_prompt.as_deref().unwrap_or(texts[1]),
            ];
            let (_, size) = hires.target(request.size());
            last = (texts, size, pass, resolved.sampler);
            let prompts = encoding.pass(texts, size, pass, told)?;
            guiders::check(request, network, resolved.sampler, prompts.positive.len())?;
            Ok::<_, Error>(Second {
                hires: hires.clone(),
                resolved,
                steps,
                prompts,
            })
        });
        let second = second.transpose()?;
        let refined = refiner_of(request, model)?.map(|refiner| {
            encoding.model = refiner;
            let (texts, size, pass, sampler) = last;
            let prompts = encoding.pass(texts, size, pass, true)?;
            let network = &refiner.denoiser.config().init(&refiner.device);
            guiders::check(request, network, sampler, prompts.positive.len())?;
            Ok::<_, Error>(prompts)
        });
        let refined = refined.transpose()?;
        let all = [
            Some(&prompts),
            second.as_ref().map(|s| &s.prompts),
            refined.as_ref(),
        ];
        let mut embeddings: Vec<Used> = Vec::new();
        for used in all
            .into_iter()
            .flatten()
            .flat_map(|prompts| &prompts.embeddings)
        {
            if !embeddings.contains(used) {
                embeddings.push(used.clone());
            }
        }
        let there = resources.models().embeddings.entries().len();
        if embeddings.is_empty() && there > 0 {
            encoding.hooks.note(format!(
                "no prompt names one of the {there} embeddings that there are"
            ));
        }
        Ok(Self {
            refined,
            embeddings,
            second,
            decoding,
            in_turn,
            prepared,
            hints,
            resolved: names.0,
            prompts,
            profile,
        })
    }
}
