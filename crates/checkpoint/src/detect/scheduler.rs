//! How the model was trained to denoise: the noise schedule and what the network predicts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::networks::{DetectError, keys::short};

/// The settings of a diffusers `scheduler_config.json`, with diffusers' names; also what a single file is taken to
/// have been trained with.
///
/// Only what describes the model, or how diffusers spaces timesteps, has a field. The solver's own settings
/// (`solver_order`, `algorithm_type`, …) are kept unread in [`rest`](Self::rest): the sampler is the user's choice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SchedulerConfig {
    /// The scheduler class, such as `PNDMScheduler`.
    #[serde(rename = "_class_name")]
    pub class_name: String,
    /// Training timesteps, at least 1.
    pub num_train_timesteps: usize,
    /// β at the first timestep.
    pub beta_start: f64,
    /// β at the last timestep.
    pub beta_end: f64,
    /// `linear`, `scaled_linear` (linear in √β), `squaredcos_cap_v2` or `sigmoid`.
    pub beta_schedule: String,
    /// `epsilon`, `v_prediction`, `sample` or `flow_prediction`.
    pub prediction_type: String,
    /// `leading`, `trailing` or `linspace`; `None`: the class's default.
    pub timestep_spacing: Option<String>,
    /// Added to every timestep of the `leading` spacing.
    pub steps_offset: i64,
    /// Whether β is rescaled so that the last timestep is pure noise.
    pub rescale_betas_zero_snr: bool,
    /// Whether ᾱ before the first timestep is 1 rather than the first ᾱ; `None`: the class's default.
    pub set_alpha_to_one: Option<bool>,
    /// Whether x̂₀ is clipped; `None`: the class's default.
    pub clip_sample: Option<bool>,
    /// The bound of that clipping.
    pub clip_sample_range: Option<f64>,
    /// Whether x̂₀ is clipped by quantile.
    pub thresholding: bool,
    /// Whether PNDM starts without Runge–Kutta steps.
    pub skip_prk_steps: Option<bool>,
    /// Karras et al.'s spacing of σ.
    pub use_karras_sigmas: bool,
    /// Spacing of σ in equal ratios.
    pub use_exponential_sigmas: bool,
    /// Spacing by the quantiles of a beta distribution.
    pub use_beta_sigmas: bool,
    /// How far the noise levels of a rectified flow are moved towards noise, above 0; `None`: 1, not at all.
    pub shift: Option<f64>,
    /// What comes after the last step: `zero` or `sigma_min`.
    pub final_sigmas_type: Option<String>,
    /// Every other setting, as it stands in the file.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

impl Default for SchedulerConfig {
    /// diffusers' defaults, which are DDPM's and not Stable Diffusion's.
    fn default() -> Self {
        Self {
            class_name: String::new(),
            num_train_timesteps: 1000,
            beta_start: 0.0001,
            beta_end: 0.02,
            beta_schedule: "linear".into(),
            prediction_type: "epsilon".into(),
            timestep_spacing: None,
            steps_offset: 0,
            rescale_betas_zero_snr: false,
            set_alpha_to_one: None,
            clip_sample: None,
            clip_sample_range: None,
            thresholding: false,
            skip_prk_steps: None,
            use_karras_sigmas: false,
            use_exponential_sigmas: false,
            use_beta_sigmas: false,
            shift: None,
            final_sigmas_type: None,
            rest: BTreeMap::new(),
        }
    }
}

/// Trained (β₀, β_T) of published models; all are linear in √β.
const BETAS: [(f64, f64); 5] = [
    (0.00085, 0.012),
    (0.0015, 0.0195),
    (0.0015, 0.0155),
    (0.0015, 0.0205),
    (0.0015, 0.015),
];

impl SchedulerConfig {
    /// The key under which a model that was trained here states what it is drawn with: `size`, `guidance`, `steps`.
    /// diffusers passes over keys that begin so.
    pub const TRAINED: &str = "_latent";

    /// What stands under [`TRAINED`](Self::TRAINED), in models that were trained here.
    pub fn trained_here(&self) -> Option<&serde_json::Value> {
        self.rest.get(Self::TRAINED)
    }

    /// What Stable Diffusion and its relatives were trained with, in the words of its published folder.
    pub fn stable_diffusion() -> Self {
        Self {
            class_name: "PNDMScheduler".into(),
            beta_start: 0.00085,
            beta_end: 0.012,
            beta_schedule: "scaled_linear".into(),
            steps_offset: 1,
            set_alpha_to_one: Some(false),
            clip_sample: Some(false),
            skip_prk_steps: Some(true),
            ..Self::default()
        }
    }

    /// Reads a `scheduler_config.json`.
    ///
    /// # Errors
    /// When a setting has the wrong type, or one that changes the schedule is not understood.
    pub fn from_json(value: &Value) -> Result<Self, DetectError> {
        let mut object: Map<String, Value> = value.as_object().cloned().unwrap_or_default();
        // A null means "not set"; the fields that may be unset read it so, the others take their default.
        object.retain(|_, value| !value.is_null());
        let config: Self =
            serde_json::from_value(Value::Object(object)).map_err(|e| DetectError::Settings {
                what: "scheduler_config.json",
                problem: e.to_string(),
            })?;
        let bad = |key: &str, value: &str, expected: &'static str| DetectError::Key {
            what: "scheduler_config.json",
            key: key.to_owned(),
            value: value.to_owned(),
            expected: expected.to_owned(),
        };
        if let Some(betas) = config.rest.get("trained_betas") {
            let value = short(betas);
            return Err(bad("trained_betas", &value, "null: a β schedule by name"));
        }
        let named = ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"];
        if !named.contains(&config.beta_schedule.as_str()) {
            let expected = "linear, scaled_linear, squaredcos_cap_v2 or sigmoid";
            return Err(bad("beta_schedule", &config.beta_schedule, expected));
        }
        let predictions = ["epsilon", "v_prediction", "sample", "flow_prediction"];
        if !predictions.contains(&config.prediction_type.as_str()) {
            let expected = "epsilon, v_prediction, sample or flow_prediction";
            return Err(bad("prediction_type", &config.prediction_type, expected));
        }
        let chosen = |key: &str, value: &Option<String>, known: &[&str], expected| match value {
            Some(value) if !known.contains(&value.as_str()) => Err(bad(key, value, expected)),
            _ => Ok(()),
        };
        chosen(
            "timestep_spacing",
            &config.timestep_spacing,
            &["leading", "trailing", "linspace"],
            "leading, trailing or linspace",
        )?;
        chosen(
            "final_sigmas_type",
            &config.final_sigmas_type,
            &["zero", "sigma_min"],
            "zero or sigma_min",
        )?;
        let (start, end) = (config.beta_start, config.beta_end);
        if !(0.0 < start && start <= end && end < 1.0) {
            let value = format!("{start} (beta_end {end})");
            return Err(bad("beta_start", &value, "0 < beta_start ≤ beta_end < 1"));
        }
        if let Some(shift) = config.shift.filter(|s| !(*s > 0.0 && s.is_finite())) {
            return Err(bad("shift", &shift.to_string(), "a number above 0"));
        }
        if !(1..=1_000_000).contains(&config.num_train_timesteps) {
            let value = config.num_train_timesteps.to_string();
            return Err(bad("num_train_timesteps", &value, "1 to 1000000"));
        }
        Ok(config)
    }

    /// [`from_json`](Self::from_json) of a text.
    ///
    /// # Errors
    /// Also when it is not JSON.
    pub fn from_text(text: &str) -> Result<Self, DetectError> {
        let value = serde_json::from_str(text).map_err(|e| DetectError::Settings {
            what: "scheduler_config.json",
            problem: e.to_string(),
        })?;
        Self::from_json(&value)
    }

    /// The `scheduler_config.json` of these settings. A switch that every scheduler has off by default is written
    /// where it is on: most classes do not know it.
    pub fn to_json(&self) -> Value {
        const OFF: [&str; 5] = [
            "rescale_betas_zero_snr",
            "thresholding",
            "use_karras_sigmas",
            "use_exponential_sigmas",
            "use_beta_sigmas",
        ];
        let mut value = serde_json::to_value(self).unwrap_or_default();
        if let Some(object) = value.as_object_mut() {
            object.retain(|key, value| {
                let off = OFF.contains(&key.as_str()) && value == &Value::Bool(false);
                !value.is_null() && !off
            });
            object.insert("trained_betas".into(), Value::Null);
        }
        value
    }

    /// Takes β₀, β_T and their number from a training checkpoint's `betas`.
    pub(super) fn trained_with(&mut self, betas: &[f64]) {
        let (Some(&first), Some(&last)) = (betas.first(), betas.last()) else {
            return;
        };
        if !(first > 0.0 && first <= last && last < 1.0) {
            // A zero-terminal-SNR model stores its rescaled β; the schedule's own numbers are not in it.
            return;
        }
        let near = |a: f64, b: f64| (a - b).abs() <= 2e-3 * b;
        let known = BETAS
            .iter()
            .find(|(a, b)| near(first, *a) && near(last, *b));
        (self.beta_start, self.beta_end) = known.copied().unwrap_or((first, last));
        self.num_train_timesteps = betas.len();
        let middle = betas[betas.len() / 2];
        let straight = (first + last) / 2.0;
        let scaled = ((first.sqrt() + last.sqrt()) / 2.0).powi(2);
        let linear = (middle - straight).abs() < (middle - scaled).abs();
        self.beta_schedule = if linear { "linear" } else { "scaled_linear" }.into();
    }

    /// Applies what a file says of its training beside a scheduler's settings.
    pub(super) fn marked(&mut self, marks: &Marks) {
        if let Some(betas) = &marks.betas {
            self.trained_with(betas);
        }
        if let Some(prediction) = marks.prediction {
            self.prediction_type = prediction.into();
        }
        if marks.zero_snr {
            self.rescale_betas_zero_snr = true;
            self.timestep_spacing = Some("trailing".into());
        }
        if let Some(edm) = &marks.edm {
            self.class_name = edm.class.into();
            self.prediction_type = edm.prediction.into();
            self.timestep_spacing = None;
            let settings = [
                ("sigma_data", edm.sigma_data.into()),
                ("sigma_min", edm.sigma_range[0].into()),
                ("sigma_max", edm.sigma_range[1].into()),
                ("sigma_schedule", edm.sigma_schedule.into()),
            ];
            let settings = settings.map(|(key, value): (&str, Value)| (key.to_owned(), value));
            self.rest.extend(settings);
        }
    }
}

/// What a file without a scheduler's settings says of its training: safetensors metadata, marks among the tensors'
/// names, the text of a `.yaml` beside the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    /// β of every step.
    pub betas: Option<Vec<f64>>,
    /// What the network predicts.
    pub prediction: Option<&'static str>,
    /// The last step was pure noise.
    pub zero_snr: bool,
    /// It was trained on levels of noise (Karras et al., 2206.00364).
    pub edm: Option<Edm>,
}

/// A training on levels of noise.
#[derive(Clone, Debug)]
pub(super) struct Edm {
    /// diffusers' scheduler for it.
    class: &'static str,
    prediction: &'static str,
    sigma_data: f64,
    sigma_range: [f64; 2],
    sigma_schedule: &'static str,
}

impl Edm {
    /// Playground v2.5's, which the tensors `edm_mean` and `edm_std` mark.
    pub fn playground() -> Self {
        Self {
            class: "EDMDPMSolverMultistepScheduler",
            prediction: "epsilon",
            sigma_data: 0.5,
            sigma_range: [0.002, 80.0],
            sigma_schedule: "karras",
        }
    }

    /// CosXL's, which `edm_vpred.sigma_max` marks.
    pub fn cosine(sigma_range: [f64; 2]) -> Self {
        Self {
            class: "EDMEulerScheduler",
            prediction: "v_prediction",
            sigma_data: 1.0,
            sigma_range,
            sigma_schedule: "exponential",
        }
    }
}

impl Marks {
    /// Those of a file with that metadata, of which `has` says which tensors it holds, and `yaml` what the configuration beside
    /// it says that it predicts. v counts whoever says it;
    /// otherwise the file's own word comes first.
    pub fn of(
        metadata: &BTreeMap<String, String>,
        has: impl Fn(&str) -> bool,
        yaml: Option<&'static str>,
    ) -> Self {
        let says = |key: &str, value: &str| {
            metadata
                .get(key)
                .is_some_and(|found| found.trim().eq_ignore_ascii_case(value))
        };
        let v = says("modelspec.prediction_type", "v")
            || says("modelspec.prediction_type", "v_prediction")
            || says("modelspec.predict_key", "v")
            || says("ss_v_parameterization", "true")
            || has("v_pred")
            || yaml == Some("v_prediction");
        let epsilon = says("modelspec.prediction_type", "epsilon")
            || says("modelspec.prediction_type", "eps")
            || says("modelspec.predict_key", "epsilon");
        Self {
            betas: None,
            prediction: match (v, epsilon) {
                (true, _) => Some("v_prediction"),
                (false, true) => Some("epsilon"),
                (false, false) => yaml,
            },
            zero_snr: has("ztsnr") || says("ss_zero_terminal_snr", "true"),
            edm: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_file_reads_as_stable_diffusion() {
        let json = serde_json::json!({
            "_class_name": "PNDMScheduler", "_diffusers_version": "0.6.0", "beta_start": 0.00085, "beta_end": 0.012,
            "beta_schedule": "scaled_linear", "num_train_timesteps": 1000, "set_alpha_to_one": false,
            "skip_prk_steps": true, "steps_offset": 1, "trained_betas": null, "clip_sample": false
        });
        let mut config = SchedulerConfig::from_json(&json).unwrap();
        assert_eq!(config.rest.len(), 1);
        config.rest.clear();
        assert_eq!(config, SchedulerConfig::stable_diffusion());
        let again = SchedulerConfig::from_json(&config.to_json()).unwrap();
        assert_eq!(again, config);
    }

    #[test]
    fn unknown_schedules_are_errors() {
        for (json, key) in [
            (
                serde_json::json!({"trained_betas": [0.1, 0.2]}),
                "trained_betas",
            ),
            (
                serde_json::json!({"beta_schedule": "laplace"}),
                "beta_schedule",
            ),
            (
                serde_json::json!({"prediction_type": "w"}),
                "prediction_type",
            ),
            (serde_json::json!({"beta_end": 1.5}), "beta_start"),
            (serde_json::json!({"shift": 0.0}), "shift"),
            (
                serde_json::json!({"timestep_spacing": "bogus"}),
                "`timestep_spacing` is bogus; expected leading, trailing or linspace",
            ),
            (
                serde_json::json!({"final_sigmas_type": "one"}),
                "final_sigmas_type",
            ),
            (
                serde_json::json!({"num_train_timesteps": 0}),
                "num_train_timesteps",
            ),
            (serde_json::json!({"beta_start": "x"}), "invalid type"),
        ] {
            let error = SchedulerConfig::from_json(&json).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }

    #[test]
    fn betas_tell_the_schedule() {
        let scaled = |a: f64, b: f64| -> Vec<f64> {
            let (a, b) = (a.sqrt(), b.sqrt());
            (0..1000)
                .map(|i| f64::from(((a + (b - a) * i as f64 / 999.0).powi(2)) as f32))
                .collect()
        };
        let mut config = SchedulerConfig::stable_diffusion();
        config.trained_with(&scaled(0.0015, 0.0195));
        assert_eq!((config.beta_start, config.beta_end), (0.0015, 0.0195));
        assert_eq!(config.beta_schedule, "scaled_linear");
        let linear: Vec<f64> = (0..500)
            .map(|i| 1e-4 + (0.02 - 1e-4) * f64::from(i) / 499.0)
            .collect();
        config.trained_with(&linear);
        assert_eq!(config.beta_schedule, "linear");
        assert_eq!(config.num_train_timesteps, 500);
    }
}
