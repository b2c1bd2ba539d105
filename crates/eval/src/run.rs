//! From options to a report.

use burn::tensor::Device;
use image::RgbImage;
use latent_data::compose::Facts;
use latent_metrics::{
    Features, Nearest, frechet_distance, kernel_distance, nearest, nearest_others,
    precision_recall, psnr, quantiles, r_precision, ssim,
};

use crate::encoder::Encoder;
use crate::features::FeatureNet;
use crate::scenes::{Scenes, check};
use crate::subject::{DrawSettings, Subject};
use crate::tested::{CHOICES, Tested};
use crate::training::Training;
use crate::{
    About, Alignment, Apart, Closest, Copies, Error, Guided, Likeness, Observer, Options,
    Reconstruction, Report, Shown, Spread, chart, sheet,
};

/// Pictures of the sheet of drawn ones, eight in a row, and captions that the report lists.
const SHOWN: usize = 64;
const COLUMNS: usize = 8;
/// Pairs of the sheet of nearest pictures.
const PAIRS: usize = 32;
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
    let size = subject.size;
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
    };
    evaluation.measure(observer)
}

/// Everything that is opened once.
struct Evaluation<'a> {
    options: &'a Options,
    subject: Subject,
    settings: DrawSettings,
    feature_net: Option<FeatureNet>,
    tested: Tested,
    training: Option<Training>,
    choices: Vec<[usize; CHOICES]>,
}

impl Evaluation<'_> {
    fn measure(&self, observer: &mut dyn Observer) -> Result<Report, Error> {
        let Self {
            options, tested, ..
        } = self;
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
            reconstruction: self.reconstruction(observer)?,
            likeness: None,
            alignment: None,
            copies: None,
            scenes: None,
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
                report.copies = Some(self.copies(training, feature_net, &drawn, seen)?);
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
        texts
    }

    fn reconstruction(&self, observer: &mut dyn Observer) -> Result<Option<Reconstruction>, Error> {
        let pictures: Vec<&RgbImage> = self.tested.pictures.iter().collect();
        let side = self.subject.size as usize;
        let (mut ratio, mut likeness, mut far) = (0.0, 0.0, 0.0);
        let mut made_bytes = Vec::new();
        let there = self
            .subject
            .reconstruct(&pictures, observer, |given, made| {
                if let Some(feature_net) = &self.feature_net {
                    let each = feature_net.distances(given.clone(), made.clone());
                    far += each.iter().map(|d| f64::from(*d)).sum::<f64>();
                }
                let numbers =
                    |x: burn::tensor::Tensor<4>| x.into_data().iter::<f32>().collect::<Vec<f32>>();
                let (given, made) = (numbers(given), numbers(made));
                for (given, made) in given
                    .chunks(3 * side * side)
                    .zip(made.chunks(3 * side * side))
                {
                    ratio += psnr(given, made, 2.0)?;
                    likeness += ssim(given, made, [3, side, side], 2.0)?;
                    if made_bytes.len() < SHOWN / 2 {
                        made_bytes.push(bytes(made, side));
                    }
                }
                Ok(())
            })?;
        if !there {
            return Ok(None);
        }
        let rows = sheet::in_turn(
            &[pictures.clone(), made_bytes.iter().collect()],
            COLUMNS,
            SHOWN,
        );
        sheet::write(&self.options.out.join("reconstruction.png"), &rows, COLUMNS)?;
        let count = pictures.len() as f64;
        Ok(Some(Reconstruction {
            pictures: pictures.len(),
            psnr: ratio / count,
            ssim: likeness / count,
            feature_distance: self.feature_net.is_some().then_some(far / count),
        }))
    }

    /// A picture for each test caption.
    fn draw(&self, guidance: f64, observer: &mut dyn Observer) -> Result<Vec<RgbImage>, Error> {
        let settings = DrawSettings {
            guidance,
            ..self.settings
        };
        let captions = self.tested.captions();
        self.subject.draw(&captions, settings, observer)
    }

    /// R-precision of pictures, one for each test caption.
    fn aligned(&self, encoder: &Encoder, pictures: &[RgbImage]) -> Result<f64, Error> {
        let texts = encoder.texts(&self.tested.captions());
        let seen = encoder.pictures(pictures);
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let rows = seen.iter().zip(&self.choices);
        let likeness: Vec<f32> = rows
            .flat_map(|(picture, row)| row.iter().map(|at| dot(picture, &texts[*at])))
            .collect();
        Ok(r_precision(&likeness, CHOICES)?)
    }

    fn copies(
        &self,
        training: &Training,
        feature_net: &FeatureNet,
        drawn: &[RgbImage],
        seen: &[f32],
    ) -> Result<Copies, Error> {
        let of = |numbers| Features::new(numbers, feature_net.width());
        let known = of(&training.features)?;
        let near = nearest(&of(seen)?, &known)?;
        let test = spread(&nearest(&of(&self.tested.features)?, &known)?)?;
        let nearer = near.iter().filter(|n| n.distance < test.percent_1);
        let nearer = nearer.count() as f64 / near.len() as f64;
        let mut order: Vec<usize> = (0..near.len()).collect();
        order.sort_by(|a, b| near[*a].distance.total_cmp(&near[*b].distance));
        order.truncate(PAIRS);
        let mut closest = Vec::new();
        let mut originals = Vec::new();
        for &at in &order {
            let Nearest { index, distance } = near[at];
            let (name, caption) = training.named(index);
            closest.push(Closest {
                distance,
                caption: self.tested.captions[at].clone(),
                training: name.to_owned(),
                training_caption: caption.map(str::to_owned),
            });
            originals.push(training.picture(index)?);
        }
        let pairs: Vec<&RgbImage> = order
            .iter()
            .zip(&originals)
            .flat_map(|(at, original)| [&drawn[*at], original])
            .collect();
        sheet::write(&self.options.out.join("closest.png"), &pairs, COLUMNS)?;
        Ok(Copies {
            drawn: spread(&near)?,
            training: spread(&nearest_others(&known, self.options.count)?)?,
            test,
            nearer,
            closest,
        })
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

/// What was drawn, each in the place of another.
fn anothers(drawn: &[RgbImage]) -> Vec<RgbImage> {
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

fn spread(near: &[Nearest]) -> Result<Spread, Error> {
    let distances: Vec<f64> = near.iter().map(|n| n.distance).collect();
    let found = quantiles(&distances, &[0.0, 0.01, 0.05, 0.25, 0.5, 0.75])?;
    Ok(Spread {
        least: found[0],
        percent_1: found[1],
        percent_5: found[2],
        percent_25: found[3],
        median: found[4],
        percent_75: found[5],
    })
}

/// A picture from planes within −1..=1.
fn bytes(planes: &[f32], side: usize) -> RgbImage {
    let area = side * side;
    RgbImage::from_fn(side as u32, side as u32, |x, y| {
        let at = y as usize * side + x as usize;
        let byte = |channel: usize| ((planes[channel * area + at] + 1.0) * 127.5).round() as u8;
        image::Rgb([0, 1, 2].map(byte))
    })
}
