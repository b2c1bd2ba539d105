//! What a run reads: the pictures to learn from, and those that are only looked at.

use std::sync::Arc;

use latent_data::{Crop, DataConfig, Loader, LoaderOptions, Partial, Share, Source};

use crate::held_back::split;
use crate::look::{look, same_classes};
use crate::{Error, Needs, Peers, Report, Step, Task, TrainConfig};

type Shared = Arc<dyn Source>;

/// The sources that the settings name, and that of `validation.data`.
///
/// # Errors
/// Data that cannot be opened.
pub fn open(config: &TrainConfig) -> Result<(Shared, Option<Shared>), Error> {
    let open = |data: &DataConfig, table: &str| {
        latent_data::open(data, &config.store).map_err(of_columns(config.model.columns(), table))
    };
    let other = config.validation.as_ref().and_then(|v| v.data.as_ref());
    let other = other.map(|data| open(data, "validation.data"));
    let mut data = config.data.clone();
    data.columns.also = config.model.columns().to_vec();
    Ok((open(&data, "data")?, other.transpose()?))
}

/// [`Error::of_data`], but for columns that the model asks for.
fn of_columns(columns: &[String], table: &str) -> impl FnOnce(latent_data::Error) -> Error {
    move |error| match error {
        latent_data::Error::Column {
            name,
            wanted,
            found,
        } if columns.iter().any(|column| wanted == format!("{column:?}")) => {
            let expected = format!("columns of {name}, which has {found}");
            Error::setting("model.contrast.same", wanted, &expected)
        }
        error => Error::of_data(table)(error),
    }
}

/// The data of a run.
pub struct Sets {
    /// What is learnt from.
    pub learnt: Loader,
    /// What is validated on.
    pub validation: Option<Loader>,
    /// What was found in both, a sentence each.
    pub found: Vec<String>,
}

impl Sets {
    /// Looks through the sources, `validation` being that of `validation.data`, and prepares batches.
    ///
    /// # Errors
    /// Data that does not have what the task needs.
    pub fn new(
        config: &TrainConfig,
        needs: &Needs,
        peers: &dyn Peers,
        mut source: Arc<dyn Source>,
        validation: Option<Arc<dyn Source>>,
    ) -> Result<Self, Error> {
        let mut of_validation = Vec::new();
        let mut held: Option<(Arc<dyn Source>, DataConfig)> = None;
        if let Some(settings) = &config.validation {
            let data = settings.data.clone();
            let data = data.unwrap_or_else(|| config.data.clone());
            held = Some(match (validation, settings.share) {
                (Some(other), _) => {
                    if matches!(needs, Needs::Classes { .. } | Needs::Boxes { .. }) {
                        same_classes(&*source, &*other)?;
                    }
                    of_validation = look(&*other, needs, 0.0)?;
                    (other, data)
                }
                (None, share) => {
                    let [learnt, back] = split(&source, share.unwrap_or_default());
                    source = Arc::new(learnt);
                    look(&back, needs, 0.0)?;
                    (Arc::new(back), data)
                }
            });
        }
        let mut found = look(&*source, needs, config.data.flip)?;
        let of_validation = of_validation.into_iter();
        found.extend(of_validation.map(|sentence| format!("validation: {sentence}")));
        found.extend(config.notes());
        let validation = held.map(|(source, data)| validation_loader(source, data, config.batch));
        let options = LoaderOptions {
            share: Share {
                rank: peers.rank(),
                of: peers.size(),
            },
            ..LoaderOptions::new(config.seed, config.batch * peers.size())
        };
        Ok(Self {
            learnt: Loader::new(source, config.data.fit()?, options)
                .map_err(Error::of_data("data"))?,
            validation: validation.transpose()?,
            found,
        })
    }
}

/// Pictures in their order, whole, from the middle, as they are, each once. One at least can be read.
fn validation_loader(
    source: Arc<dyn Source>,
    mut data: DataConfig,
    batch: usize,
) -> Result<Loader, Error> {
    data.flip = 0.0;
    data.crop = Crop::Centre;
    let options = LoaderOptions {
        shuffle: false,
        partial: Partial::Keep,
        replace: false,
        ..LoaderOptions::new(0, batch)
    };
    let loader = Loader::new(source, data.fit()?, options)?;
    for position in 0..loader.batches_per_epoch() {
        if !loader.batch(position)?.examples.is_empty() {
            return Ok(loader);
        }
    }
    let (id, reason) = loader.skipped().into_iter().next().unwrap_or_default();
    Err(Error::setting(
        "validation",
        format!(
            "{id} of {} pictures, none of which can be read ({reason})",
            loader.source().len()
        ),
        "pictures: run `latent data check`",
    ))
}

/// The losses of the first `most` pictures, the noise being the same at every time.
///
/// # Errors
/// Those of [`Task::validate`].
pub fn validate(task: &dyn Task, loader: &Loader, most: usize, seed: u64) -> Result<Report, Error> {
    let mut seen = 0;
    let mut reports = Vec::new();
    for position in 0..loader.batches_per_epoch() {
        if seen == most {
            break;
        }
        let mut examples = loader.batch(position)?.examples;
        examples.truncate(most - seen);
        if examples.is_empty() {
            continue; // none of them can be read
        }
        let step = Step {
            number: u64::MAX,
            seed,
            first: seen,
        };
        reports.push((task.validate(&examples, step)?, examples.len() as f64));
        seen += examples.len();
    }
    Ok(reports.into_iter().collect())
}
