//! A run's settings: one TOML file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use latent_data::{Crop, DataConfig, config::Size, settings};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{Decay, Ema, Error, LearnerSettings, ModelConfig, Optimiser, Precision, Rate};

/// Everything that decides what a run computes, and what it writes on the way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// What all randomness is drawn from.
    #[serde(default)]
    pub seed: u64,
    /// The length of the run in steps; or give `pictures`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// The length of the run in pictures, over all processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pictures: Option<u64>,
    /// The folder of another run with the same networks, whose averaged weights this one begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begin_from: Option<PathBuf>,
    /// Pictures that go through the network at once, in each process.
    pub batch: usize,
    /// Batches whose gradients make one step.
    #[serde(default = "one")]
    pub accumulation: u64,
    /// How many of those batches are computed at the same time, each on its share of the CPU's threads. The
    /// result is the same to the bit; memory is that of so many batches. The second stage only.
    #[serde(default = "one")]
    pub parallel: u64,
    /// Whether the backward pass computes again what the parts of the U-Net computed inside, instead of all of it
    /// being kept: much less memory, about a third more time, and the same gradients but for rounding. The second
    /// stage only.
    #[serde(default)]
    pub activation_checkpointing: bool,
    /// The largest norm of the gradients of a network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<f64>,
    /// The type to compute in; weights are f32.
    #[serde(default)]
    pub precision: Precision,
    /// Stops the run when the mean loss of 20 steps is above this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_limit: Option<f64>,
    /// What is learnt from.
    pub data: DataConfig,
    /// What is learnt.
    pub model: ModelConfig,
    /// How parameters move.
    #[serde(default)]
    pub optimiser: Optimiser,
    /// How far.
    pub rate: Rate,
    /// The moving average of the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<Ema>,
    /// Losses on pictures that are not learnt from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<ValidationConfig>,
    /// Sheets of samples or reconstructions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sheet: Option<SheetConfig>,
    /// What a stopped run continues from.
    #[serde(default)]
    pub checkpoint: CheckpointConfig,
    /// Numbers on the way.
    #[serde(default)]
    pub log: LogConfig,
    /// Keys of object stores, as [`latent_data::open`] takes them. Not in the file.
    #[serde(skip)]
    pub store: Vec<(String, String)>,
}

fn one() -> u64 {
    1
}

/// `[validation]`: pictures from `data`, or else a `share` of those that would be learnt from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationConfig {
    /// Steps between.
    pub every: u64,
    /// The share of the data that is held back, evenly spread, in (0, 0.5].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Another data set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataConfig>,
    /// The most pictures to look at; all of them where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pictures: Option<usize>,
}

/// `[sheet]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SheetConfig {
    /// Steps between; there is one at the end too.
    pub every: u64,
}

/// `[checkpoint]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointConfig {
    /// Steps between; there is one at the end too.
    #[serde(default = "checkpoint_every")]
    pub every: u64,
    /// How many are kept.
    #[serde(default = "checkpoint_keep")]
    pub keep: usize,
}

fn checkpoint_every() -> u64 {
    500
}

fn checkpoint_keep() -> usize {
    3
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            every: checkpoint_every(),
            keep: checkpoint_keep(),
        }
    }
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// Steps between lines; a line holds the means since the last.
    #[serde(default = "log_every")]
    pub every: u64,
    /// Whether to write TensorBoard's event files.
    #[serde(default = "yes")]
    pub tensorboard: bool,
}

fn log_every() -> u64 {
    10
}

fn yes() -> bool {
    true
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            every: log_every(),
            tensorboard: yes(),
        }
    }
}

impl TrainConfig {
    /// Reads and checks a TOML file. Relative paths in it are relative to it.
    ///
    /// # Errors
    /// A file that cannot be read, an unknown key (with its line), a value out of range.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let problem = |problem: String| Error::Config {
            path: path.to_owned(),
            problem,
        };
        let text = std::fs::read_to_string(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => problem(
                "there are no such settings; configs/small of this project has some to begin with, and docs/training.md \
                 explains them"
                    .to_owned(),
            ),
            _ => Error::io(path, "read")(e),
        })?;
        let mut config: Self = settings::from_toml(&text).map_err(problem)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        config.data.relative_to(folder);
        if let Some(data) = config.validation.as_mut().and_then(|v| v.data.as_mut()) {
            data.relative_to(folder);
        }
        config.begin_from = config.begin_from.map(|run| folder.join(run));
        config.model.relative_to(folder);
        config.validate().map_err(|e| problem(e.to_string()))?;
        Ok(config)
    }

    /// # Errors
    /// The first setting that is out of its range.
    pub fn validate(&self) -> Result<(), Error> {
        let positive = |name: &str, value: u64| match value {
            0 => Err(Error::setting(name, 0, "1 or more")),
            _ => Ok(()),
        };
        positive("batch", self.batch as u64)?;
        positive("accumulation", self.accumulation)?;
        positive("parallel", self.parallel)?;
        let most = match self.model {
            ModelConfig::Stage1(_) => 1,
            ModelConfig::Stage2(_) => self.accumulation,
        };
        if self.activation_checkpointing && matches!(self.model, ModelConfig::Stage1(_)) {
            let expected = "false: an autoencoder is trained without";
            return Err(Error::setting("activation_checkpointing", true, expected));
        }
        if self.parallel > most {
            let expected = match most {
                1 => "1: an autoencoder computes one batch after the other, as does `accumulation = 1`".to_owned(),
                most => format!("1 to {most}, which is `accumulation`"),
            };
            return Err(Error::setting("parallel", self.parallel, &expected));
        }
        if let (ModelConfig::Stage2(model), 1) = (&self.model, self.batch)
            && model.contrast.is_some()
        {
            let expected = "2 or more: model.contrast keeps a picture from the others of its batch";
            return Err(Error::setting("batch", 1, expected));
        }
        positive("checkpoint.every", self.checkpoint.every)?;
        positive("checkpoint.keep", self.checkpoint.keep as u64)?;
        positive("log.every", self.log.every)?;
        if let Some(sheet) = &self.sheet {
            positive("sheet.every", sheet.every)?;
        }
        match (self.steps, self.pictures) {
            (Some(steps), None) => positive("steps", steps)?,
            (None, Some(pictures)) => positive("pictures", pictures)?,
            (None, None) => {
                return Err(Error::setting("steps", "nothing", "`steps` or `pictures`"));
            }
            (Some(steps), Some(_)) => {
                return Err(Error::setting(
                    "steps",
                    steps,
                    "`steps` or `pictures`, not both",
                ));
            }
        }
        if let Some(clip) = self.clip.filter(|clip| !(*clip > 0.0 && clip.is_finite())) {
            return Err(Error::setting("clip", clip, "a number above 0"));
        }
        if let Some(validation) = &self.validation {
            positive("validation.every", validation.every)?;
            match (validation.share, &validation.data) {
                (Some(share), None) if share > 0.0 && share <= 0.5 => {}
                (None, Some(_)) => {}
                (share, _) => {
                    let value = share.map_or("nothing".to_owned(), |share| share.to_string());
                    let expected = "above 0 and at most 0.5; or `validation.data`, not both";
                    return Err(Error::setting("validation.share", value, expected));
                }
            }
        }
        self.data.fit().map_err(Error::of_data("data"))?;
        if let Some(data) = self.validation.as_ref().and_then(|v| v.data.as_ref()) {
            data.fit().map_err(Error::of_data("validation.data"))?;
        }
        self.optimiser.validate()?;
        self.rate.validate()?;
        self.rate.fits(self.steps(1))?;
        self.ema.map_or(Ok(()), |ema| ema.validate())?;
        if let (ModelConfig::Stage1(model), None) = (&self.model, &self.begin_from)
            && model.freeze.is_some()
        {
            let expected = "the run or model whose encoder model.freeze keeps as it is";
            return Err(Error::setting("begin_from", "nothing", expected));
        }
        self.model.validate()
    }

    /// The larger side of the pictures in pixels, where the settings state one.
    pub fn side(&self) -> Option<usize> {
        let side = match self.data.size? {
            Size::Square(side) => side,
            Size::Sides([height, width]) => height.max(width),
        };
        Some(side as usize)
    }

    /// Whether a validation and a sheet are due, by their steps between.
    pub(crate) fn looked_at(&self, due: impl Fn(u64) -> bool) -> [bool; 2] {
        let validation = self.validation.as_ref().map(|v| v.every);
        [validation, self.sheet.as_ref().map(|s| s.every)].map(|every| every.is_some_and(&due))
    }

    /// What of the settings has less effect than one may expect.
    pub(crate) fn notes(&self) -> Option<String> {
        let model = match &self.model {
            ModelConfig::Stage1(model) => {
                let cost = match model.autoencoder.codebook {
                    Some(_) => "codebook_weight",
                    None => "kl_weight",
                };
                return model.freeze.map(|_| {
                    format!(
                        "model.freeze: latents stay as they are, so that what they cost (model.loss.{cost}) is left out of the loss"
                    )
                });
            }
            ModelConfig::Stage2(model) => model,
        };
        let made = model.first_stage.is_some() || model.align.is_some();
        let keeps = model.cache.is_some() && made;
        (keeps && self.data.crop == Crop::Random).then(|| {
            "model.cache: latents and features of random crops are not kept, as they do not come again; those of pictures that need no \
             crop are, and data.crop = \"centre\" keeps all"
                .to_owned()
        })
    }

    /// How each network is trained.
    pub fn learner(&self) -> LearnerSettings {
        LearnerSettings {
            optimiser: self.optimiser,
            clip: self.clip,
            ema: self.ema,
            precision: self.precision,
            activation_checkpointing: self.activation_checkpointing,
        }
    }

    /// Pictures of a step, with so many processes.
    pub fn pictures_per_step(&self, processes: usize) -> u64 {
        self.batch as u64 * self.accumulation * processes as u64
    }

    /// The steps of the run, with so many processes.
    pub fn steps(&self, processes: usize) -> u64 {
        match (self.steps, self.pictures) {
            (Some(steps), _) => steps,
            (_, pictures) => pictures
                .unwrap_or_default()
                .div_ceil(self.pictures_per_step(processes)),
        }
    }

    /// What differs between the settings that a checkpoint of so many steps was made with and those of now, a sentence each.
    /// When and how far the rate falls is free until it does.
    pub(crate) fn differences(&self, before: &Value, now: &Value, step: u64) -> Vec<String> {
        let rates = [before, now].map(|settings| {
            let rate = Rate::deserialize(&settings["rate"]).ok()?;
            (rate.decay == Decay::Stable).then_some(rate)
        });
        let mut before = before.clone();
        let mut turned = None;
        if let [Some(then), Some(now)] = rates {
            let turns = then.falls_from(0).min(now.falls_from(0));
            if step <= turns {
                let Rate {
                    over,
                    cool_down,
                    end,
                    ..
                } = now;
                before["rate"] = json!(Rate {
                    over,
                    cool_down,
                    end,
                    ..then
                });
            } else {
                turned = Some(turns);
            }
        }
        let mut all = differences("", &before, now);
        let over = all.iter_mut().find(|text| text.starts_with("rate.over "));
        if let (None, Some(over)) = (self.rate.over, over) {
            let length = match self.steps {
                Some(steps) => format!("steps = {steps}"),
                None => format!("pictures = {}", self.pictures.unwrap_or_default()),
            };
            *over += &match turned {
                Some(turns) => format!(
                    ": it is the length of the run, {length}, which can change until the rate falls, here up to step {turns}, \
                     and {step} steps are done; leave the length as it was, or remove the checkpoints after step {turns}"
                ),
                None => format!(
                    ": the settings leave it out, and so it is the length of the run, {length}; to make the run longer, also \
                     write down rate.over as it was"
                ),
            };
        }
        all
    }

    /// What a continued run must have in common with the one before: all that the numbers depend on. Where
    /// the data lies is not part of it, how many pictures there are is.
    pub(crate) fn defining(&self, pictures: usize, processes: usize) -> Value {
        let mut data = json!(self.data);
        if let Some(data) = data.as_object_mut() {
            data.remove("path");
            data.insert("pictures".to_owned(), json!(pictures));
        }
        let mut model = json!(self.model);
        if let Some(model) = model.as_object_mut() {
            // Where latents are kept and how sheets are drawn.
            model.remove("cache");
            model.remove("samples");
        }
        let mut rate = self.rate;
        if rate.decay != Decay::Constant {
            rate.over.get_or_insert(self.steps(processes));
        }
        json!({
            "seed": self.seed,
            "batch": self.batch,
            "accumulation": self.accumulation,
            "processes": processes,
            "clip": self.clip,
            "precision": self.precision,
            "activation_checkpointing": self.activation_checkpointing,
            "data": data,
            "held_back": self.validation.as_ref().and_then(|v| v.share),
            "model": model,
            "optimiser": self.optimiser,
            "rate": rate,
            "ema": self.ema,
        })
    }
}

/// The settings below `name` that differ, as text.
fn differences(name: &str, before: &Value, now: &Value) -> Vec<String> {
    if before == now {
        return Vec::new();
    }
    let (Some(before), Some(now)) = (before.as_object(), now.as_object()) else {
        let text = |value: &Value| match value {
            Value::Null => "nothing".to_owned(),
            value => value.to_string(),
        };
        return vec![format!("{name} was {} and is {}", text(before), text(now))];
    };
    let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let below = |key: &String| {
        let of = |all: &Map<String, Value>| all.get(key).cloned().unwrap_or_default();
        let name = match name {
            "" => key.clone(),
            name => format!("{name}.{key}"),
        };
        differences(&name, &of(before), &of(now))
    };
    names.into_iter().flat_map(below).collect()
}
