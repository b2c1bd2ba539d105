//! From options to a report.

use std::collections::HashMap;

use burn::tensor::Device;
use image::RgbImage;
use latent_data::compose::Facts;
use latent_metrics::{
    Features, frechet_distance, kernel_distance, precision_recall, psnr, r_precision, ssim,
};

use crate::encoder::Encoder;
use crate::features::FeatureNet;
use crate::scenes::{Scenes, check};
use crate::subject::{DrawSettings, Subject};
use crate::tested::{CHOICES, Tested};
use crate::things::{Given, Known, Things};
use crate::training::Training;
use crate::{
    About, Alignment, Apart, Error, Guided, Likeness, Observer, Options, Reconstruction, Report,
    Shown, chart, pictures, sheet,
};

/// Pictures of the sheet of drawn ones, eight in a row, and captions that the report lists.
pub(crate) const SHOWN: usize = 64;
pub(crate) const COLUMNS: usize = 8;
/// Vectors of a subset of the kernel distance, as published.
const SUBSET: usize = 1000;
/// Nearest neighbours that a neighbourhood reaches to, as published.
const NEIGHBOURS: usize = 3;

/// Measures a model and writes `report.json`, the sheets and with a sweep `trade-off.svg` into [`Options::out`].
///
/// # Errors
/// Options, data or a model that cannot be used; files that cannot be written; [`Error::Stopped`] when the observer says
/// so.
pub fn evaluate(
    options: &Options,
    device: &Device,
    observer: &mut dyn Observer,
) -> Result<Report, Error> {
    options.validate()?;
    let out = &options.out;
    std::fs::create_dir_all(out).map_err(Error::io(out, "make the folder"))?;
    let open = |path: &std::path::PathBuf| FeatureNet::open(path, device);
    let feature_net = options.features.as_ref().map(open).transpose()?;
    let subject = Subject::open(&options.model, options.size, device, observer)?;
    for &t in &options.from_noise {
        subject.level(t)?;
    }
    let size = subject.size;
    let known = |column: &String| Known::read(options, column, size);
    let known = options.things_from.as_ref().map(known).transpose()?;
    let tested = Tested::read(options, size, feature_net.as_ref(), observer)?;
    let training = match &options.train {
        Some(config) => {
            let read = Training::read(
                options,
                config,
                size,
                feature_net.as_ref(),
                device,
                observer,
            );
            Some(read?)
        }
        None => None,
    };
    let things = match known {
        Some(known) => {
            let with = (&subject, &tested);
            Some(Things::open(options, known, with, device, observer)?)
        }
        None => None,
    };
    let cfg_scale = options.cfg_scale.unwrap_or(subject.guidance());
    let evaluation = Evaluation {
        options,
        settings: DrawSettings {
            steps: options.steps.unwrap_or(subject.steps()),
            guidance: cfg_scale,
            seed: options.seed,
        },
        choices: tested.choices(options.seed),
        subject,
        feature_net,
        tested,
        training,
        things,
    };
    evaluation.measure(observer)
}

/// Everything that is opened once.
pub(crate) struct Evaluation<'a> {
    pub options: &'a Options,
    pub subject: Subject,
    pub settings: DrawSettings,
    pub feature_net: Option<FeatureNet>,
    pub tested: Tested,
    pub training: Option<Training>,
    things: Option<Things>,
    choices: Vec<[usize; CHOICES]>,
}

impl Evaluation<'_> {
    fn measure(&self, observer: &mut dyn Observer) -> Result<Report, Error> {
        let Self {
            options, tested, ..
        } = self;
        let (reconstruction, through) = self.reconstruction(observer)?;
        let mut report = Report {
            about: About {
                model: options.model.model.clone(),
                data: tested.path.clone(),
                train: self.training.as_ref().map(|t| t.path().to_owned()),
                features: options.features.clone(),
                size: self.subject.size,
                count: tested.pictures.len(),
                steps: self.settings.steps,
                cfg_scale: self.settings.guidance,
                seed: options.seed,
            },
            reconstruction,
            likeness: None,
            alignment: None,
            copies: None,
            scenes: None,
            things: None,
            sweep: Vec::new(),
            left_out: self.left_out(),
            captions: tested.captions.iter().take(SHOWN).cloned().collect(),
        };
        if report.reconstruction.is_none() {
            let text = "reconstruction: the model draws pixels and has no autoencoder";
            report.left_out.push(text.to_owned());
        }
        let drawn = self.draw(self.settings.guidance, observer)?;
        let retrieved = match &self.training {
            Some(training) => Some(training.retrieved(&tested.captions(), observer)?),
            None => None,
        };
        let seen = match &self.feature_net {
            Some(feature_net) => {
                Some(feature_net.look("looking at what was drawn", &drawn, observer)?)
            }
            None => None,
        };
        if let (Some(feature_net), Some(seen)) = (&self.feature_net, &seen) {
            observer.stage("comparing features", 0);
            let (half, other) = tested.halves();
            report.likeness = Some(Likeness {
                drawn: apart(&tested.features, seen, feature_net.width())?,
                floor: apart(half, other, feature_net.width())?,
            });
            if let Some(training) = &self.training {
                let captions = tested.captions();
                let of = (drawn.as_slice(), captions.as_slice(), seen.as_slice());
                report.copies = Some(self.copies(training, feature_net, of, "closest.png")?);
            }
        }
        if let (Some(training), Some(retrieved)) = (&self.training, &retrieved) {
            let aligned = |pictures: &[RgbImage]| self.aligned(&training.encoder, pictures);
            report.alignment = Some(Alignment {
                choices: CHOICES,
                encoder_steps: options.encoder_steps,
                real: aligned(&tested.pictures)?,
                drawn: aligned(&drawn)?,
                retrieval: aligned(retrieved)?,
                random: aligned(&anothers(&drawn))?,
            });
        }
        report.scenes = self.scenes(&drawn, retrieved.as_deref())?;
        if report.scenes.is_none() {
            let text = "exact checks: the test set's metadata.jsonl says of no picture what it shows (`groups`, `relation`)";
            report.left_out.push(text.to_owned());
        }
        self.sheets(&drawn)?;
        if let (Some(things), Some(retrieved)) = (&self.things, &retrieved) {
            let given = Given {
                drawn: &drawn,
                retrieved,
                through: &through,
            };
            let found = self.things(things, &given, observer)?;
            report.left_out.extend(found.left_out());
            report.things = Some(found);
        }
        report.sweep = self.sweep(&report, &drawn, observer)?;
        self.write(&report)?;
        Ok(report)
    }

    fn left_out(&self) -> Vec<String> {
        let mut texts = Vec::new();
        if self.feature_net.is_none() {
            texts.push(
                "everything by features: give --features with the weights of EfficientNet-Lite0, which `tools/perceptual.sh` fetches"
                    .to_owned(),
            );
        }
        if self.training.is_none() {
            texts.push(
                "R-precision, the retrieval baseline and copies: give --train with the pictures that the model has learnt from"
                    .to_owned(),
            );
        }
        if self.things.is_none() {
            texts.push(
                "thing accuracy, R-precision by the noun alone, foreign colours, seeds: give --things-from with the column that says what a picture shows (and --train)"
                    .to_owned(),
            );
        } else if self.options.from_noise.is_empty() {
            texts.push(
                "real pictures finished from noise: give --from-noise 0.2,0.4,0.6,0.8".to_owned(),
            );
        }
        texts
    }

    /// What the autoencoder loses, and what it makes of the test pictures; nothing without one.
    fn reconstruction(
        &self,
        observer: &mut dyn Observer,
    ) -> Result<(Option<Reconstruction>, Vec<RgbImage>), Error> {
        let pictures: Vec<&RgbImage> = self.tested.pictures.iter().collect();
        let side = self.subject.size as usize;
        let (mut ratio, mut likeness, mut far) = (0.0, 0.0, 0.0);
        let mut all_made = Vec::new();
        let there = self
            .subject
            .reconstruct(&pictures, observer, |given, made| {
                if let Some(feature_net) = &self.feature_net {
                    let each = feature_net.distances(given.clone(), made.clone());
                    far += each.iter().map(|d| f64::from(*d)).sum::<f64>();
                }
                all_made.extend(pictures::of(made.clone()));
                let numbers =
                    |x: burn::tensor::Tensor<4>| x.into_data().iter::<f32>().collect::<Vec<f32>>();
                let (given, made) = (numbers(given), numbers(made));
                for (given, made) in given
                    .chunks(3 * side * side)
                    .zip(made.chunks(3 * side * side))
                {
                    ratio += psnr(given, made, 2.0)?;
                    likeness += ssim(given, made, [3, side, side], 2.0)?;
                }
                Ok(())
            })?;
        if !there {
            return Ok((None, all_made));
        }
        let shown = all_made.iter().take(SHOWN / 2).collect();
        let rows = sheet::in_turn(&[pictures.clone(), shown], COLUMNS, SHOWN);
        sheet::write(&self.options.out.join("reconstruction.png"), &rows, COLUMNS)?;
        let count = pictures.len() as f64;
        let found = Reconstruction {
            pictures: pictures.len(),
            psnr: ratio / count,
            ssim: likeness / count,
            feature_distance: self.feature_net.is_some().then_some(far / count),
        };
        Ok((Some(found), all_made))
    }

    /// A picture for each test caption.
    fn draw(&self, guidance: f64, observer: &mut dyn Observer) -> Result<Vec<RgbImage>, Error> {
        let settings = DrawSettings {
            guidance,
            ..self.settings
        };
        let captions = self.tested.captions();
        let what = format!("drawing with guidance {guidance}");
        self.subject.draw(&what, &captions, settings, observer)
    }

    /// R-precision of pictures, one for each test caption.
    fn aligned(&self, encoder: &Encoder, pictures: &[RgbImage]) -> Result<f64, Error> {
        let captions = &self.tested.captions;
        let rows = self.choices.iter();
        let rows = rows.map(|row| row.iter().map(|at| captions[*at].clone()).collect());
        aligned(encoder, pictures, &rows.collect::<Vec<_>>())
    }

    /// The exact checks, where anything is known of the test pictures as scenes.
    fn scenes(
        &self,
        drawn: &[RgbImage],
        retrieved: Option<&[RgbImage]>,
    ) -> Result<Option<Shown>, Error> {
        let facts: &[Option<Facts>] = &self.tested.facts;
        if facts.iter().all(Option::is_none) {
            return Ok(None);
        }
        let of = |pictures: &[RgbImage]| -> Result<Scenes, Error> {
            let pairs = pictures.iter().zip(facts);
            check(pairs.filter_map(|(picture, facts)| Some((picture, facts.as_ref()?))))
        };
        Ok(Some(Shown {
            real: of(&self.tested.pictures)?,
            drawn: of(drawn)?,
            retrieval: retrieved.map(of).transpose()?,
            random: of(&anothers(drawn))?,
        }))
    }

    fn sheets(&self, drawn: &[RgbImage]) -> Result<(), Error> {
        let drawn: Vec<&RgbImage> = drawn.iter().collect();
        let real: Vec<&RgbImage> = self.tested.pictures.iter().collect();
        let out = &self.options.out;
        let first = &drawn[..drawn.len().min(SHOWN)];
        sheet::write(&out.join("drawn.png"), first, COLUMNS)?;
        let rows = sheet::in_turn(&[real, drawn], COLUMNS, SHOWN / COLUMNS);
        sheet::write(&out.join("real-and-drawn.png"), &rows, COLUMNS)
    }

    /// Draws everything again with each guidance.
    fn sweep(
        &self,
        report: &Report,
        drawn: &[RgbImage],
        observer: &mut dyn Observer,
    ) -> Result<Vec<Guided>, Error> {
        let (Some(feature_net), Some(training)) = (&self.feature_net, &self.training) else {
            return Ok(Vec::new());
        };
        let mut points = Vec::new();
        let mut rows: Vec<RgbImage> = Vec::new();
        for &cfg_scale in &self.options.sweep {
            // What is known already is not drawn again.
            let known = (report.alignment.as_ref()).zip(report.likeness.as_ref());
            let (pictures, point) = match known.filter(|_| cfg_scale == self.settings.guidance) {
                Some((alignment, likeness)) => {
                    let point = Guided {
                        cfg_scale,
                        r_precision: alignment.drawn,
                        likeness: likeness.drawn.clone(),
                    };
                    (drawn.to_vec(), point)
                }
                None => {
                    let pictures = self.draw(cfg_scale, observer)?;
                    let what = "looking at what was drawn";
                    let seen = feature_net.look(what, &pictures, observer)?;
                    let point = Guided {
                        cfg_scale,
                        r_precision: self.aligned(&training.encoder, &pictures)?,
                        likeness: apart(&self.tested.features, &seen, feature_net.width())?,
                    };
                    (pictures, point)
                }
            };
            points.push(point);
            rows.extend(pictures.into_iter().take(COLUMNS));
        }
        if !points.is_empty() {
            let rows: Vec<&RgbImage> = rows.iter().collect();
            sheet::write(&self.options.out.join("sweep.png"), &rows, COLUMNS)?;
            chart::trade_off(&self.options.out.join("trade-off.svg"), &points)?;
        }
        Ok(points)
    }

    fn write(&self, report: &Report) -> Result<(), Error> {
        let path = self.options.out.join("report.json");
        let text = serde_json::to_string_pretty(report).unwrap_or_default();
        std::fs::write(&path, text + "\n").map_err(Error::io(&path, "write"))
    }
}

/// R-precision of pictures, each with its own caption and then others.
pub(crate) fn aligned(
    encoder: &Encoder,
    pictures: &[RgbImage],
    rows: &[Vec<String>],
) -> Result<f64, Error> {
    let mut texts: Vec<&str> = rows.iter().flatten().map(String::as_str).collect();
    texts.sort_unstable();
    texts.dedup();
    let read: HashMap<&str, Vec<f32>> = texts.iter().copied().zip(encoder.texts(&texts)).collect();
    let seen = encoder.pictures(pictures);
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let pairs = seen.iter().zip(rows);
    let likeness: Vec<f32> = pairs
        .flat_map(|(picture, row)| row.iter().map(|text| dot(picture, &read[text.as_str()])))
        .collect();
    Ok(r_precision(&likeness, rows.first().map_or(0, Vec::len))?)
}

/// What was drawn, each in the place of another.
pub(crate) fn anothers(drawn: &[RgbImage]) -> Vec<RgbImage> {
    let mut drawn = drawn.to_vec();
    drawn.rotate_left(1);
    drawn
}

/// How far two sets of features are apart.
fn apart(real: &[f32], made: &[f32], width: usize) -> Result<Apart, Error> {
    let (real, made) = (Features::new(real, width)?, Features::new(made, width)?);
    let kernel = kernel_distance(&real, &made, SUBSET)?;
    let shares = precision_recall(&real, &made, NEIGHBOURS)?;
    Ok(Apart {
        pictures: [real.count(), made.count()],
        fd_efflite0: frechet_distance(&real, &made)?,
        kid_efflite0: kernel.mean,
        kid_error: kernel.error,
        precision: shares.precision,
        recall: shares.recall,
    })
}
