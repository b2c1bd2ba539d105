//! What is measured, and how.

use std::path::PathBuf;

use latent_data::DataConfig;
use latent_data::build::Things;
use latent_pipeline::ModelFiles;

use crate::Error;

/// What [`evaluate`](crate::evaluate) is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// The trained model.
    pub model: ModelFiles,
    /// Captioned pictures that the model has not learnt from.
    pub data: DataConfig,
    /// The pictures that it has learnt from; without them alignment, the retrieval baseline and copies are not measured.
    pub train: Option<DataConfig>,
    /// Keys of object stores, as [`latent_data::open`] takes them.
    pub store: Vec<(String, String)>,
    /// Side of the pictures in pixels. `None`: as the model was trained.
    pub size: Option<u32>,
    /// How many test captions are drawn, at most. 500.
    pub count: usize,
    /// Sampling steps. `None`: the model's own, or 20.
    pub steps: Option<usize>,
    /// Guidance. `None`: the model's own.
    pub cfg_scale: Option<f64>,
    /// Guidances of the trade-off curve; none for no curve.
    pub sweep: Vec<f64>,
    /// The weights of EfficientNet-Lite0; without them nothing is measured by features.
    pub features: Option<PathBuf>,
    /// What the choice of test pictures, noise, the encoder and the other captions are drawn from.
    pub seed: u64,
    /// Steps that the encoder learns for. 3000.
    pub encoder_steps: u64,
    /// The column of both sets' tables that says what a picture shows; without it drawings of things are not measured.
    pub things_from: Option<String>,
    /// The things that count, with other names that captions may have for them. `None`: everything that the column names.
    pub things: Option<Things>,
    /// The column of the training set's table by which a thing is held against others of its kind.
    pub subgroups_from: Option<String>,
    /// Drawings of each thing. 2.
    pub seeds: usize,
    /// Steps that the judge of things learns for. 1500.
    pub judge_steps: u64,
    /// Shares of noise, each above 0 and below 1, from which real pictures are finished; none for no such measure.
    pub from_noise: Vec<f64>,
    /// Where the report, the sheets and what is kept for the next run go.
    pub out: PathBuf,
}

impl Options {
    /// The defaults, for that model and those test pictures.
    pub fn new(model: impl Into<ModelFiles>, data: DataConfig, out: impl Into<PathBuf>) -> Self {
        Self {
            model: model.into(),
            data,
            train: None,
            store: Vec::new(),
            size: None,
            count: 500,
            steps: None,
            cfg_scale: None,
            sweep: Vec::new(),
            features: None,
            seed: 0,
            encoder_steps: 3000,
            things_from: None,
            things: None,
            subgroups_from: None,
            seeds: 2,
            judge_steps: 1500,
            from_noise: Vec::new(),
            out: out.into(),
        }
    }

    /// Checks what needs no file.
    ///
    /// # Errors
    /// The first option that cannot be used.
    pub fn validate(&self) -> Result<(), Error> {
        /// R-precision needs as many different captions, the distances two vectors.
        const LEAST: usize = 10;
        if self.count < LEAST {
            let problem = format!("expected {LEAST} pictures or more");
            return Err(Error::option("count", self.count, problem));
        }
        if let Some(size) = self.size.filter(|size| !(16..=2048).contains(size)) {
            return Err(Error::option("size", size, "expected 16 to 2048"));
        }
        if let Some(steps) = self.steps.filter(|steps| !(1..=1000).contains(steps)) {
            return Err(Error::option("steps", steps, "expected 1 to 1000"));
        }
        for (flag, steps) in [
            ("encoder-steps", self.encoder_steps),
            ("judge-steps", self.judge_steps),
        ] {
            if steps == 0 {
                return Err(Error::option(flag, 0, "expected 1 or more"));
            }
        }
        self.validate_things()?;
        let odd = |scale: &&f64| !(0.0..=100.0).contains(*scale);
        if let Some(scale) = self.cfg_scale.iter().find(odd) {
            return Err(Error::option("cfg-scale", scale, "expected 0 to 100"));
        }
        if let Some(scale) = self.sweep.iter().find(odd) {
            return Err(Error::option("sweep", scale, "expected 0 to 100"));
        }
        if !self.sweep.is_empty() && (self.train.is_none() || self.features.is_none()) {
            let scales: Vec<String> = self.sweep.iter().map(f64::to_string).collect();
            return Err(Error::option(
                "sweep",
                scales.join(","),
                "its curve needs --train for R-precision and --features for the Fréchet distance: give both",
            ));
        }
        Ok(())
    }

    /// The same of drawings of things.
    fn validate_things(&self) -> Result<(), Error> {
        if !(1..=100).contains(&self.seeds) {
            return Err(Error::option("seeds", self.seeds, "expected 1 to 100"));
        }
        let odd = self.from_noise.iter().find(|t| !(**t > 0.0 && **t < 1.0));
        if let Some(t) = odd {
            let problem = "expected shares of noise above 0 and below 1";
            return Err(Error::option("from-noise", t, problem));
        }
        let Some(column) = &self.things_from else {
            let shares: Vec<String> = self.from_noise.iter().map(f64::to_string).collect();
            let list = self.things.as_ref().map(|_| String::new());
            let noise = (!shares.is_empty()).then(|| shares.join(","));
            for (flag, value) in [
                ("things", list),
                ("subgroups-from", self.subgroups_from.clone()),
                ("from-noise", noise),
            ] {
                if let Some(value) = value {
                    let problem = "what a picture shows is not known: give --things-from with the column that says it";
                    return Err(Error::option(flag, value, problem));
                }
            }
            return Ok(());
        };
        match &self.train {
            Some(_) => Ok(()),
            None => Err(Error::option(
                "things-from",
                column,
                "its judge learns from the training split: give --train too",
            )),
        }
    }
}
