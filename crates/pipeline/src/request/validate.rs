//! The range of every field.

use super::likeness::nearest;
use super::{Lora, Request, UsedHypernetwork};

/// Longest side of a picture, in pixels.
pub(crate) const MAX_SIDE: usize = 16_384;

/// What is wrong with a request.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// A value outside its range.
    #[error("`{field}` is {value}: expected {expected}")]
    Range {
        /// The field.
        field: String,
        /// What was given.
        value: String,
        /// What is allowed.
        expected: String,
    },
    /// A name that no value has.
    #[error("`{field}` is \"{value}\": expected one of {expected}{hint}")]
    Choice {
        /// The field.
        field: &'static str,
        /// What was given.
        value: String,
        /// Every name.
        expected: String,
        /// The nearest name, as a half sentence.
        hint: String,
    },
    /// A field that does not exist.
    #[error("there is no field `{field}`{hint}")]
    UnknownField {
        /// What was given.
        field: String,
        /// The nearest name, as a half sentence.
        hint: String,
    },
    /// A field of the wrong type.
    #[error("a field of the request cannot be read: {reason}")]
    Field {
        /// What was found and what was expected.
        reason: String,
    },
    /// A field that needs another one.
    #[error("`{field}` needs `{needs}`: {reason}")]
    Needs {
        /// The field that was given.
        field: &'static str,
        /// The one that is missing.
        needs: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// Bytes that are no text.
    #[error("expected text in UTF-8, or in UTF-16 with a byte order mark")]
    NotText,
    /// Not JSON or TOML.
    #[error("this is not a {format} request: {reason}")]
    Syntax {
        /// `JSON` or `TOML`.
        format: &'static str,
        /// The parser's message.
        reason: String,
    },
}

impl RequestError {
    /// The fields that the message names in `` ` ``, the faulty one first.
    pub fn fields(&self) -> Vec<&str> {
        match self {
            Self::Range { field, .. } => vec![field],
            Self::Choice { field, .. } => vec![field],
            Self::Needs { field, needs, .. } => vec![field, needs],
            Self::UnknownField { .. }
            | Self::Field { .. }
            | Self::NotText
            | Self::Syntax { .. } => Vec::new(),
        }
    }

    pub(crate) fn range(
        field: &str,
        value: impl std::fmt::Display,
        expected: impl Into<String>,
    ) -> Self {
        Self::Range {
            field: field.to_owned(),
            value: value.to_string(),
            expected: expected.into(),
        }
    }

    /// The same of a table that stands in `table`.
    pub(super) fn within(self, table: &str) -> Self {
        match self {
            Self::Range {
                field,
                value,
                expected,
            } => Self::Range {
                field: format!("{table}.{field}"),
                value,
                expected,
            },
            other => other,
        }
    }

    pub(super) fn choice(
        field: &'static str,
        value: &str,
        names: impl Iterator<Item = &'static str> + Clone,
    ) -> Self {
        Self::Choice {
            field,
            value: value.to_owned(),
            expected: names.clone().collect::<Vec<_>>().join(", "),
            hint: nearest(value, names)
                .map(|name| format!("; did you mean \"{name}\"?"))
                .unwrap_or_default(),
        }
    }
}

pub(crate) fn number(field: &str, value: f64, low: f64, high: f64) -> Result<(), RequestError> {
    if value.is_finite() && (low..=high).contains(&value) {
        return Ok(());
    }
    let expected = if high == f64::MAX {
        format!("a number from {low}")
    } else {
        format!("a number from {low} to {high}")
    };
    Err(RequestError::range(field, value, expected))
}

pub(crate) fn whole(
    field: &str,
    value: usize,
    low: usize,
    high: usize,
) -> Result<(), RequestError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(RequestError::range(
        field,
        value,
        format!("a whole number from {low} to {high}"),
    ))
}

impl Request {
    /// Checks every field against its range and the fields against each other. The first fault is returned. Names of
    /// samplers and schedulers are checked where they are resolved, files where they are opened.
    pub fn validate(&self) -> Result<(), RequestError> {
        self.loras.iter().try_for_each(Lora::validate)?;
        let mut bending = self.hypernetworks.iter();
        bending.try_for_each(UsedHypernetwork::validate)?;
        for (field, text) in [
            ("prompt", self.prompt.as_str()),
            ("negative_prompt", &self.negative_prompt),
            ("prompt_2", self.prompt_2.as_deref().unwrap_or_default()),
            (
                "negative_prompt_2",
                self.negative_prompt_2.as_deref().unwrap_or_default(),
            ),
        ] {
            if text.contains('\0') {
                return Err(RequestError::range(
                    field,
                    "text with a NUL character",
                    "text without one",
                ));
            }
        }
        whole("steps", self.steps, 1, 1000)?;
        whole("width", self.width, 8, MAX_SIDE)?;
        whole("height", self.height, 8, MAX_SIDE)?;
        whole("batch_size", self.batch_size, 1, 1024)?;
        whole("batch_count", self.batch_count, 1, 1_000_000)?;
        number("subseed_strength", self.subseed_strength, 0.0, 1.0)?;
        number("refiner_switch", self.refiner_switch, 0.0, 1.0)?;
        if let Some(size) = self.seed_resize_from {
            whole("seed_resize_from (width)", size.width, 8, MAX_SIDE)?;
            whole("seed_resize_from (height)", size.height, 8, MAX_SIDE)?;
        }
        self.validate_sampling()?;
        self.validate_clip_skip()?;
        self.guidance.validate()?;
        self.condition.validate()?;
        self.start.validate()?;
        self.validate_control()?;
        for shown in &self.ip_adapter {
            shown.validate()?;
        }
        for reference in &self.reference {
            reference.validate()?;
        }
        self.validate_hires()
    }

    fn validate_sampling(&self) -> Result<(), RequestError> {
        if self.sampler.trim().is_empty() {
            return Err(RequestError::range(
                "sampler",
                "empty",
                "a sampler's name, see `latent samplers`",
            ));
        }
        if let Some(eta) = self.eta {
            number("eta", eta, 0.0, 10.0)?;
        }
        number("s_churn", self.s_churn, 0.0, 1000.0)?;
        number("s_tmin", self.s_tmin, 0.0, f64::MAX)?;
        if let Some(s_tmax) = self.s_tmax {
            number("s_tmax", s_tmax, self.s_tmin, f64::MAX)?;
        }
        number("s_noise", self.s_noise, 0.0, 2.0)?;
        let Some(sigmas) = &self.sigmas else {
            return Ok(());
        };
        whole("sigmas (how many)", sigmas.len(), 2, 1001)?;
        for sigma in sigmas {
            number("sigmas", *sigma, 0.0, 1e6)?;
        }
        match sigmas.windows(2).find(|pair| pair[0] <= pair[1]) {
            Some(pair) => Err(RequestError::range(
                "sigmas",
                format!("{} followed by {}", pair[0], pair[1]),
                "descending values",
            )),
            None => Ok(()),
        }
    }

    fn validate_clip_skip(&self) -> Result<(), RequestError> {
        let Some(given) = self.clip_skip else {
            return Ok(());
        };
        match self.layers_skipped() {
            Some(0..=31) => Ok(()),
            _ => Err(RequestError::range(
                "clip_skip",
                given,
                match self.compat {
                    super::Compat::A1111 => {
                        "0 to 32 (A1111 counts from 1, the last layer, and reads 0 as 1)"
                    }
                    super::Compat::ComfyUi => {
                        "-1 to -32 (ComfyUI counts back from -1, the last layer)"
                    }
                    super::Compat::Diffusers => "0 to 31 (diffusers counts the layers left out)",
                },
            )),
        }
    }

    fn validate_control(&self) -> Result<(), RequestError> {
        for control in &self.control {
            control.validate()?;
            if control.image.is_none() && self.start.image.is_none() {
                return Err(RequestError::Needs {
                    field: "control",
                    needs: "control.image",
                    reason: "there is no picture to hold the drawing to, and none that is started from",
                });
            }
            if control.hires_image.is_some() && self.hires.is_none() {
                return Err(RequestError::Needs {
                    field: "control.hires_image",
                    needs: "hires",
                    reason: "there is no second pass",
                });
            }
        }
        Ok(())
    }

    fn validate_hires(&self) -> Result<(), RequestError> {
        let Some(hires) = &self.hires else {
            return Ok(());
        };
        if self.start.image.is_some() {
            return Err(RequestError::range(
                "hires",
                "set together with start.image",
                "a second pass only when drawing from text",
            ));
        }
        number("hires.scale", hires.scale, 1.0, 8.0)?;
        number(
            "hires.denoising_strength",
            hires.denoising_strength,
            0.0,
            1.0,
        )?;
        if let Some(steps) = hires.steps {
            whole("hires.steps", steps, 1, 1000)?;
        }
        for (field, value) in [("hires.width", hires.width), ("hires.height", hires.height)] {
            if let Some(value) = value {
                whole(field, value, 8, MAX_SIDE)?;
            }
        }
        let (target, _) = hires.target(self.size());
        whole("hires (width reached)", target.width, 8, MAX_SIDE)?;
        whole("hires (height reached)", target.height, 8, MAX_SIDE)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Compat, Control, ControlMode, DynamicThresholding, Hires, ImagePrompt, Outpaint,
        PerturbedAttention, Reference, SelfAttention, ShownPictures, SkipLayers,
    };
    use super::*;

    /// Each change breaks one field, and the message names it.
    #[test]
    fn every_range_is_checked() {
        type Change = fn(&mut Request);
        let cases: &[(&str, Change)] = &[
            ("negative_prompt", |r| r.negative_prompt = "a\0b".to_owned()),
            ("prompt_2", |r| r.prompt_2 = Some("a\0b".to_owned())),
            ("steps", |r| r.steps = 0),
            ("steps", |r| r.steps = 1001),
            ("guidance.scale", |r| r.guidance.scale = f64::NAN),
            ("guidance.scale", |r| r.guidance.scale = -1.0),
            ("width", |r| r.width = 7),
            ("height", |r| r.height = 100_000),
            ("batch_size", |r| r.batch_size = 0),
            ("batch_count", |r| r.batch_count = 0),
            ("subseed_strength", |r| r.subseed_strength = 1.1),
            ("sampler", |r| r.sampler.clear()),
            ("eta", |r| r.eta = Some(-0.1)),
            ("s_churn", |r| r.s_churn = f64::INFINITY),
            ("s_tmax", |r| {
                r.s_tmin = 2.0;
                r.s_tmax = Some(1.0)
            }),
            ("s_noise", |r| r.s_noise = 3.0),
            ("sigmas", |r| r.sigmas = Some(vec![1.0])),
            ("sigmas", |r| r.sigmas = Some(vec![1.0, 2.0, 0.0])),
            ("clip_skip", |r| r.clip_skip = Some(33)),
            ("clip_skip", |r| {
                r.compat = Compat::ComfyUi;
                r.clip_skip = Some(2)
            }),
            ("guidance.rescale", |r| r.guidance.rescale = 2.0),
            ("guidance.interval", |r| {
                r.guidance.interval = Some([0.5, 0.2])
            }),
            ("guidance.threshold.percentile", |r| {
                r.guidance.threshold = Some(DynamicThresholding {
                    percentile: 0.0,
                    mimic: 7.0,
                })
            }),
            ("guidance.pag.scale", |r| {
                r.guidance.pag = Some(PerturbedAttention {
                    scale: -1.0,
                    ..Default::default()
                })
            }),
            ("guidance.sag.blur", |r| {
                r.guidance.sag = Some(SelfAttention {
                    blur: 0.0,
                    ..Default::default()
                })
            }),
            ("guidance.perp_neg", |r| {
                r.guidance.perp_neg = Some(f64::NAN)
            }),
            ("guidance.skip_layers.end", |r| {
                r.guidance.skip_layers = Some(SkipLayers {
                    start: 0.5,
                    ..Default::default()
                })
            }),
            ("start.strength", |r| r.start.strength = 1.5),
            ("condition.images.strength", |r| {
                r.condition.images = vec![ImagePrompt {
                    image: "a.png".into(),
                    strength: 11.0,
                }]
            }),
            ("refiner_switch", |r| r.refiner_switch = -0.1),
            ("control.weight", |r| {
                let control = Control::new("net".into(), Some("a.png".into()));
                r.control = vec![Control {
                    weight: f64::NAN,
                    ..control
                }]
            }),
            ("control.end", |r| {
                let control = Control::new("net".into(), Some("a.png".into()));
                r.control = vec![Control {
                    start: 0.5,
                    end: 0.2,
                    ..control
                }]
            }),
            ("control.image", |r| {
                r.control = vec![Control::new("net".into(), None)];
            }),
            ("ip_adapter.images", |r| {
                r.ip_adapter = vec![ShownPictures::new("ip".into(), Vec::new())];
            }),
            ("ip_adapter.weight", |r| {
                let shown = ShownPictures::new("ip".into(), vec!["a.png".into()]);
                r.ip_adapter = vec![ShownPictures {
                    weight: 11.0,
                    ..shown
                }]
            }),
            ("reference.fidelity", |r| {
                r.reference = vec![Reference {
                    fidelity: 1.5,
                    ..Reference::new("a.png".into())
                }]
            }),
            ("reference.mode", |r| {
                r.reference = vec![Reference {
                    mode: ControlMode::Guess,
                    ..Reference::new("a.png".into())
                }]
            }),
            ("control.hires_image", |r| {
                let control = Control::new("net".into(), Some("a.png".into()));
                r.control = vec![Control {
                    hires_image: Some("b.png".into()),
                    ..control
                }]
            }),
            ("start.mask_blur", |r| r.start.mask_blur = 65),
            ("start.mask", |r| r.start.mask = Some("m.png".into())),
            ("start.outpaint", |r| {
                r.start.outpaint = Some(Outpaint::default())
            }),
            ("start.only_masked", |r| r.start.only_masked = true),
            ("hires.scale", |r| {
                r.hires = Some(Hires {
                    scale: 0.5,
                    ..Hires::default()
                })
            }),
            ("hires", |r| {
                r.hires = Some(Hires::default());
                r.start.image = Some("a.png".into())
            }),
        ];
        assert_eq!(Request::default().validate(), Ok(()));
        for (field, change) in cases {
            let mut request = Request::default();
            change(&mut request);
            let error = request.validate().expect_err(field).to_string();
            assert!(error.contains(field), "{field}: {error}");
        }
    }
}
