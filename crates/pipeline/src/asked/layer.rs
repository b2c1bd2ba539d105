//! One layer of settings: what somebody states, and no more.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::request::{Request, RequestError, in_tables};

/// Fields of a request that are stated, laid over those of another source.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layer(Map<String, Value>);

impl Layer {
    /// The fields of a file, or of the body of a call.
    ///
    /// # Errors
    /// Values that no request has.
    pub fn of(fields: Value) -> Result<Self, RequestError> {
        Request::from_value(fields.clone())?;
        match fields {
            Value::Object(fields) => Ok(Self(in_tables(fields)?)),
            _ => Ok(Self::default()),
        }
    }

    /// States `field` where there is a value; that of a table behind a dot (`hires.scale`).
    ///
    /// # Errors
    /// A number that is not finite, which no file can hold either.
    pub fn set(&mut self, field: &str, value: Option<impl Serialize>) -> Result<(), RequestError> {
        let Some(value) = value else { return Ok(()) };
        let value = serde_json::to_value(value).unwrap_or_default();
        match has_null(&value) {
            true => Err(RequestError::range(field, "not finite", "a number that is")),
            false => {
                self.put(field, value);
                Ok(())
            }
        }
    }

    /// States that `field` is left open.
    pub fn open(&mut self, field: &str) {
        self.put(field, Value::Null);
    }

    /// States that there is a table, whatever is in it.
    pub fn table(&mut self, field: &str) {
        if !self.states(field) {
            self.put(field, Value::Object(Map::new()));
        }
    }

    fn put(&mut self, field: &str, value: Value) {
        let (tables, name) = field.rsplit_once('.').unwrap_or(("", field));
        let mut at = &mut self.0;
        for table in tables.split('.').filter(|table| !table.is_empty()) {
            let inner = at.entry(table).or_insert_with(|| Map::new().into());
            if !inner.is_object() {
                *inner = Map::new().into();
            }
            let Value::Object(inner) = inner else { return };
            at = inner;
        }
        at.insert(name.to_owned(), value);
    }

    /// Whether `field` is stated, or something in the table of that name; `size` is either side, and a sampler brings its
    /// scheduler.
    pub fn states(&self, field: &str) -> bool {
        let has = |field: &str| {
            let mut names = field.split('.');
            let first = names.next().and_then(|name| self.0.get(name));
            let found = first.and_then(|first| names.try_fold(first, |at, name| at.get(name)));
            found.is_some()
        };
        match field {
            "size" => has("width") || has("height"),
            "scheduler" => has("scheduler") || has("sampler"),
            field => has(field),
        }
    }

    /// `request` with the fields of this layer in the place of its own.
    ///
    /// # Errors
    /// A value that its field does not take.
    pub fn over(&self, request: &Request) -> Result<Request, RequestError> {
        let mut tree = serde_json::to_value(request).unwrap_or_default();
        if self.0.contains_key("sampler") {
            // The scheduler belonged to the other sampler.
            tree["scheduler"] = Request::default().scheduler.into();
        }
        if self.states("hires.scale")
            && let Some(hires) = tree.get_mut("hires").and_then(Value::as_object_mut)
        {
            // A factor replaces a size.
            hires.remove("width");
            hires.remove("height");
        }
        lay(&mut tree, &Value::Object(self.0.clone()));
        Request::from_value(tree)
    }
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(values) => values.iter().any(has_null),
        Value::Object(fields) => fields.values().any(has_null),
        _ => false,
    }
}

/// Tables are laid over tables field by field, everything else takes the place of what was there.
fn lay(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (field, value) in over {
                lay(under.entry(field.clone()).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Hires, PerturbedAttention};

    #[test]
    fn only_what_is_stated_is_replaced() {
        let mut layer = Layer::default();
        layer.set("steps", Some(11)).unwrap();
        layer.set("prompt", None::<String>).unwrap();
        layer.set("hires.scale", Some(1.5)).unwrap();
        layer.set("guidance.pag.scale", Some(2.0)).unwrap();
        layer.open("seed");
        let under = Request {
            prompt: "a".into(),
            steps: 9,
            seed: Some(u64::MAX),
            hires: Some(Hires {
                width: Some(64),
                denoising_strength: 0.1 + 0.2,
                ..Hires::default()
            }),
            ..Request::default()
        };
        let request = layer.over(&under).unwrap();
        let mut expected = Request {
            steps: 11,
            seed: None,
            ..under
        };
        let hires = expected.hires.as_mut().unwrap();
        (hires.scale, hires.width) = (1.5, None);
        expected.guidance.pag = Some(PerturbedAttention {
            scale: 2.0,
            ..Default::default()
        });
        assert_eq!(request, expected);
        for (field, stated) in [
            ("steps", true),
            ("seed", true),
            ("guidance.pag", true),
            ("guidance.pag.layers", false),
            ("hires", true),
            ("prompt", false),
            ("size", false),
        ] {
            assert_eq!(layer.states(field), stated, "{field}");
        }
    }

    #[test]
    fn a_sampler_brings_its_scheduler() {
        let under = Request {
            sampler: "DDIM".into(),
            scheduler: "DDIM".into(),
            ..Request::default()
        };
        let mut layer = Layer::default();
        layer.set("sampler", Some("Euler")).unwrap();
        assert!(layer.states("scheduler"));
        let request = layer.over(&under).unwrap();
        assert_eq!(
            (request.sampler.as_str(), request.scheduler.as_str()),
            ("Euler", "Automatic")
        );
        layer.set("scheduler", Some("Karras")).unwrap();
        assert_eq!(layer.over(&under).unwrap().scheduler, "Karras");
    }

    #[test]
    fn numbers_that_are_none_are_refused() {
        let mut layer = Layer::default();
        assert!(layer.set("s_tmax", Some(f64::INFINITY)).is_err());
        assert!(layer.set("sigmas", Some([1.0, f64::NAN])).is_err());
        assert!(!layer.states("s_tmax") && !layer.states("sigmas"));
    }
}
