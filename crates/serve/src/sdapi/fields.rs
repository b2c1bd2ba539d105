//! Fields as A1111's framework reads them: `"7.0"` is a number where one is wanted, `null` is the default, and keys that nobody
//! knows are ignored.

use serde_json::{Map, Value, json};

use super::error::{Error, Result, WrongType};

/// What a field takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Text,
    /// A whole number.
    Whole,
    /// A number.
    Number,
    /// Yes or no.
    Flag,
    /// Texts.
    Texts,
    /// A list of anything.
    List,
    /// An object of anything.
    Object,
}

/// A field: its name, what it takes, and its default as JSON.
pub type Field = (&'static str, Kind, &'static str);

use Kind::{Flag, List, Number, Object, Text, Texts, Whole};

/// Of both requests.
const COMMON: &[Field] = &[
    ("prompt", Text, "\"\""),
    ("negative_prompt", Text, "\"\""),
    ("styles", Texts, "null"),
    ("seed", Whole, "-1"),
    ("subseed", Whole, "-1"),
    ("subseed_strength", Number, "0"),
    ("seed_resize_from_h", Whole, "-1"),
    ("seed_resize_from_w", Whole, "-1"),
    ("sampler_name", Text, "null"),
    ("scheduler", Text, "null"),
    ("batch_size", Whole, "1"),
    ("n_iter", Whole, "1"),
    ("steps", Whole, "50"),
    ("cfg_scale", Number, "7.0"),
    ("width", Whole, "512"),
    ("height", Whole, "512"),
    ("restore_faces", Flag, "null"),
    ("tiling", Flag, "null"),
    ("do_not_save_samples", Flag, "false"),
    ("do_not_save_grid", Flag, "false"),
    ("eta", Number, "null"),
    ("denoising_strength", Number, "0.75"),
    ("s_min_uncond", Number, "null"),
    ("s_churn", Number, "null"),
    ("s_tmax", Number, "null"),
    ("s_tmin", Number, "null"),
    ("s_noise", Number, "null"),
    ("override_settings", Object, "null"),
    ("override_settings_restore_afterwards", Flag, "true"),
    ("refiner_checkpoint", Text, "null"),
    ("refiner_switch_at", Number, "null"),
    ("disable_extra_networks", Flag, "false"),
    ("firstpass_image", Text, "null"),
    ("comments", Object, "null"),
    ("force_task_id", Text, "null"),
    ("sampler_index", Text, "\"Euler\""),
    ("script_name", Text, "null"),
    ("script_args", List, "[]"),
    ("send_images", Flag, "true"),
    ("save_images", Flag, "false"),
    ("alwayson_scripts", Object, "{}"),
    ("infotext", Text, "null"),
];

/// Of txt2img alone.
const TXT2IMG: &[Field] = &[
    ("enable_hr", Flag, "false"),
    ("firstphase_width", Whole, "0"),
    ("firstphase_height", Whole, "0"),
    ("hr_scale", Number, "2.0"),
    ("hr_upscaler", Text, "null"),
    ("hr_second_pass_steps", Whole, "0"),
    ("hr_resize_x", Whole, "0"),
    ("hr_resize_y", Whole, "0"),
    ("hr_checkpoint_name", Text, "null"),
    ("hr_sampler_name", Text, "null"),
    ("hr_scheduler", Text, "null"),
    ("hr_prompt", Text, "\"\""),
    ("hr_negative_prompt", Text, "\"\""),
];

/// Of img2img alone.
const IMG2IMG: &[Field] = &[
    ("init_images", Texts, "null"),
    ("resize_mode", Whole, "0"),
    ("image_cfg_scale", Number, "null"),
    ("mask", Text, "null"),
    ("mask_blur_x", Whole, "4"),
    ("mask_blur_y", Whole, "4"),
    ("mask_blur", Whole, "null"),
    ("mask_round", Flag, "true"),
    ("inpainting_fill", Whole, "0"),
    ("inpaint_full_res", Flag, "true"),
    ("inpaint_full_res_padding", Whole, "0"),
    ("inpainting_mask_invert", Whole, "0"),
    ("initial_noise_multiplier", Number, "null"),
    ("latent_mask", Text, "null"),
    ("include_init_images", Flag, "false"),
];

/// Fields of a request, every known one with a value.
#[derive(Clone, Debug)]
pub struct Fields(pub Map<String, Value>);

impl Fields {
    /// Those of txt2img.
    ///
    /// # Errors
    /// All values of the wrong type.
    pub fn txt2img(body: &Value) -> Result<Self> {
        Self::read(body, &[COMMON, TXT2IMG])
    }

    /// Those of img2img.
    ///
    /// # Errors
    /// All values of the wrong type.
    pub fn img2img(body: &Value) -> Result<Self> {
        Self::read(body, &[COMMON, IMG2IMG])
    }

    /// Those of that list.
    ///
    /// # Errors
    /// All values of the wrong type.
    pub fn read(body: &Value, lists: &[&[Field]]) -> Result<Self> {
        let Some(given) = body.as_object() else {
            let wrong = WrongType {
                field: "body",
                expected: "dict",
            };
            return Err(Error::Types(vec![wrong]));
        };
        let (mut fields, mut wrong) = (Map::new(), Vec::new());
        for (name, kind, default) in lists.iter().copied().flatten() {
            let value = given.get(*name).filter(|value| !value.is_null());
            let read = value.map(|value| coerced(value, *kind).ok_or(*kind));
            let value = match read {
                Some(Ok(value)) => value,
                Some(Err(kind)) => {
                    wrong.push(WrongType {
                        field: name,
                        expected: expected(kind),
                    });
                    continue;
                }
                None => serde_json::from_str(default).unwrap_or_default(),
            };
            fields.insert((*name).to_owned(), value);
        }
        match wrong.is_empty() {
            true => Ok(Self(fields)),
            false => Err(Error::Types(wrong)),
        }
    }

    /// A text that is not empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str().filter(|text| !text.is_empty())
    }

    /// A whole number; 0 where there is none.
    pub fn whole(&self, name: &str) -> i64 {
        self.0.get(name).and_then(Value::as_i64).unwrap_or_default()
    }

    /// A number.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.0.get(name)?.as_f64()
    }

    /// Yes or no.
    pub fn flag(&self, name: &str) -> bool {
        self.0
            .get(name)
            .and_then(Value::as_bool)
            .unwrap_or_default()
    }

    /// Texts.
    pub fn texts(&self, name: &str) -> Vec<String> {
        let list = self.0.get(name).and_then(Value::as_array);
        let texts = list.into_iter().flatten().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    }

    /// An object; empty where there is none.
    pub fn object(&self, name: &str) -> Map<String, Value> {
        let object = self.0.get(name).and_then(Value::as_object);
        object.cloned().unwrap_or_default()
    }
}

fn expected(kind: Kind) -> &'static str {
    match kind {
        Text => "str",
        Whole => "integer",
        Number => "float",
        Flag => "boolean",
        Texts | List => "list",
        Object => "dict",
    }
}

fn coerced(value: &Value, kind: Kind) -> Option<Value> {
    match kind {
        Text => match value {
            Value::String(_) => Some(value.clone()),
            Value::Number(number) => Some(number.to_string().into()),
            _ => None,
        },
        Whole => whole(value).map(Value::from),
        Number => {
            let number = match value {
                Value::Number(number) => number.as_f64(),
                Value::String(text) => text.trim().parse().ok(),
                Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
                _ => None,
            };
            number
                .filter(|number| number.is_finite())
                .map(|number| json!(number))
        }
        Flag => flag(value).map(Value::from),
        Texts => {
            let list = match value {
                Value::Array(list) => list.clone(),
                _ => return None,
            };
            list.iter().all(Value::is_string).then(|| list.into())
        }
        List => value.is_array().then(|| value.clone()),
        Object => value.is_object().then(|| value.clone()),
    }
}

fn whole(value: &Value) -> Option<i64> {
    let cut = |number: f64| {
        let fits = number.is_finite() && number.abs() < 9.0e18;
        fits.then_some(number as i64)
    };
    match value {
        Value::Number(number) => number.as_i64().or_else(|| cut(number.as_f64()?)),
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(flag) => Some(i64::from(*flag)),
        _ => None,
    }
}

fn flag(value: &Value) -> Option<bool> {
    let word = match value {
        Value::Bool(flag) => return Some(*flag),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.to_lowercase(),
        _ => return None,
    };
    match word.as_str() {
        "1" | "true" | "on" | "yes" | "t" | "y" => Some(true),
        "0" | "false" | "off" | "no" | "f" | "n" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_in_many_forms() {
        let body = json!({"cfg_scale": "7.5", "steps": 12.5, "seed": "42", "width": null, "tiling": "on", "unknown": {}, "eta": 1});
        let fields = Fields::txt2img(&body).expect("read");
        assert_eq!(
            (fields.number("cfg_scale"), fields.whole("steps")),
            (Some(7.5), 12)
        );
        assert_eq!((fields.whole("seed"), fields.whole("width")), (42, 512));
        assert!(fields.flag("tiling") && !fields.0.contains_key("unknown"));
        assert_eq!(fields.0["sampler_index"], "Euler");
    }

    #[test]
    fn every_wrong_value_is_named() {
        let body = json!({"steps": "many", "prompt": [], "n_iter": 1e300, "styles": "x"});
        let Err(Error::Types(wrong)) = Fields::txt2img(&body) else {
            panic!("taken");
        };
        let names: Vec<_> = wrong.iter().map(|wrong| wrong.field).collect();
        assert_eq!(names, ["prompt", "styles", "n_iter", "steps"]);
        assert!(Fields::txt2img(&json!([])).is_err());
    }
}
