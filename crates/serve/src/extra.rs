//! stable-diffusion.cpp's way to put its own fields into any prompt: `<sd_cpp_extra_args>{…}</sd_cpp_extra_args>`.

use serde_json::{Map, Value};

use crate::config::Limits;
use crate::fault::{Fault, Result};
use crate::given::Given;
use crate::sdcpp::translate;

const OPEN: &str = "<sd_cpp_extra_args>";
const CLOSE: &str = "</sd_cpp_extra_args>";

/// Takes them out of the field `prompt`.
///
/// # Errors
/// What is between the marks is no object of JSON.
pub fn of_prompt(body: &mut Value) -> Result<Option<Map<String, Value>>> {
    let prompt = body
        .get("prompt")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let Some((before, rest)) = prompt.split_once(OPEN) else {
        return Ok(None);
    };
    let invalid = |why: &str| {
        let message = format!("{OPEN}…{CLOSE} holds an object of JSON: {why}");
        Fault::new("json_invalid", message).of("prompt")
    };
    let (inside, after) = rest
        .split_once(CLOSE)
        .ok_or_else(|| invalid("it is not closed"))?;
    let fields = serde_json::from_str(inside).map_err(|error| invalid(&error.to_string()))?;
    let prompt = format!("{before}{after}").trim().to_owned();
    body["prompt"] = prompt.into();
    Ok(Some(fields))
}

/// Lays them over a request.
///
/// # Errors
/// What cannot be honoured.
pub fn lay(
    request: &mut Map<String, Value>,
    given: &mut Given,
    fields: &Map<String, Value>,
    limits: &Limits,
) -> Result<()> {
    let mut own = Map::new();
    translate::lay(&mut own, given, fields, limits)?;
    for (field, value) in own {
        match (
            request.get_mut(&field).and_then(Value::as_object_mut),
            value,
        ) {
            (Some(table), Value::Object(over)) => table.extend(over),
            (_, value) => {
                request.insert(field, value);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_come_out_of_the_prompt() {
        let mut body = json!({"prompt": "an apple <sd_cpp_extra_args>{\"seed\": 5, \"sample_params\": {\"sample_steps\": 3}}</sd_cpp_extra_args>"});
        let fields = of_prompt(&mut body).expect("read").expect("there");
        assert_eq!(body["prompt"], "an apple");
        let mut request = Map::new();
        request.insert("steps".into(), 20.into());
        lay(
            &mut request,
            &mut Given::default(),
            &fields,
            &Limits::default(),
        )
        .expect("laid");
        assert_eq!(
            (&request["steps"], &request["seed"]),
            (&json!(3), &json!(5))
        );
        for prompt in [
            "<sd_cpp_extra_args>{",
            "<sd_cpp_extra_args>[]</sd_cpp_extra_args>",
        ] {
            assert!(
                of_prompt(&mut json!({ "prompt": prompt })).is_err(),
                "{prompt}"
            );
        }
        assert!(
            of_prompt(&mut json!({"prompt": "plain"}))
                .expect("read")
                .is_none()
        );
    }
}
