//! Errors as OpenAI's clients read them.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::fault::Fault;

/// A fault that is answered in this form.
#[derive(Debug)]
pub struct Error(pub Fault);

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self(fault)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        answer(&self.0)
    }
}

/// The body of an error.
pub fn body(fault: &Fault) -> Value {
    let kind = match fault.status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request_error",
    };
    json!({ "error": {
        "message": fault.to_string(),
        "type": kind,
        "param": fault.field,
        "code": fault.code,
    }})
}

/// The answer. What is wrong in the request has status 400 there, and is not to be sent again.
pub fn answer(fault: &Fault) -> Response {
    let status = match fault.status {
        StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
        status => status,
    };
    let mut response = (status, Json(body(fault))).into_response();
    fault.add_headers(&mut response);
    let again = match fault.retry_after.is_some() {
        true => "true",
        false => "false",
    };
    let name = HeaderName::from_static("x-should-retry");
    response
        .headers_mut()
        .insert(name, HeaderValue::from_static(again));
    response
}
