//! Errors in the two forms of A1111: its own, and the validation errors of its framework.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::fault::Fault;

/// An error of this interface.
#[derive(Debug)]
pub enum Error {
    /// Anything but a value of the wrong type.
    Fault(Fault),
    /// Values of the wrong type.
    Types(Vec<WrongType>),
}

/// A value that a field does not take.
#[derive(Debug, PartialEq, Eq)]
pub struct WrongType {
    /// The field.
    pub field: &'static str,
    /// What was expected.
    pub expected: &'static str,
}

/// What became of a call.
pub type Result<T> = std::result::Result<T, Error>;

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<latent_queue::Error> for Error {
    fn from(error: latent_queue::Error) -> Self {
        Self::Fault(error.into())
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        match self {
            Self::Fault(fault) => {
                // A1111 has the names of samplers checked by itself, not by its framework.
                let status = match fault.code.as_str() {
                    "name_unknown" | "name_not_implemented" => StatusCode::BAD_REQUEST,
                    _ => fault.status,
                };
                let mut response = (status, Json(body(&fault))).into_response();
                fault.add_headers(&mut response);
                response
            }
            Self::Types(wrong) => {
                let detail: Vec<Value> = wrong
                    .iter()
                    .map(|wrong| {
                        json!({
                            "loc": ["body", wrong.field],
                            "msg": format!("value is not a valid {}", wrong.expected),
                            "type": format!("type_error.{}", wrong.expected),
                        })
                    })
                    .collect();
                let body = json!({ "detail": detail });
                (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
            }
        }
    }
}

fn body(fault: &Fault) -> Value {
    json!({
        "error": "HTTPException",
        "detail": fault.to_string(),
        "body": "",
        "errors": fault.to_string(),
        "code": fault.code,
    })
}
