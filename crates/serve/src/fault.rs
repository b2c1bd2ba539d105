//! Everything that can be wrong with a request, with a stable code, as each API spells it.

use std::fmt;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// What became of a request.
pub type Result<T, E = Fault> = std::result::Result<T, E>;

/// A fault: a stable code, the HTTP status, the field, and a sentence that says what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The stable name; those of the engine are listed in `docs/errors.md`, those of the service in [`CODES`].
    pub code: String,
    /// The HTTP status.
    pub status: StatusCode,
    /// The field of the request, such as `start.strength`.
    pub field: Option<String>,
    /// In words.
    pub message: String,
    /// Seconds after which it may go well.
    pub retry_after: Option<u64>,
}

/// The codes of the service itself and their statuses.
pub const CODES: &[(&str, u16)] = &[
    ("not_found", 404),
    ("method_not_allowed", 405),
    ("host_refused", 403),
    ("origin_refused", 403),
    ("cross_site_refused", 403),
    ("unauthorized", 401),
    ("rate_limited", 429),
    ("too_many_tries", 429),
    ("json_expected", 415),
    ("picture_expected", 415),
    ("json_invalid", 400),
    ("json_too_deep", 400),
    ("multipart_invalid", 400),
    ("websocket_expected", 400),
    ("query_invalid", 400),
    ("body_too_large", 413),
    ("body_too_slow", 408),
    ("bodies_in_flight", 503),
    ("waiting_requests", 503),
    ("shutting_down", 503),
    ("field_wrong_type", 422),
    ("field_unusable", 422),
    ("field_missing", 422),
    ("prompt_too_long", 422),
    ("picture_invalid", 422),
    ("picture_too_large", 422),
    ("picture_not_named", 422),
    ("url_refused", 422),
    ("kind_not_offered", 501),
    ("not_offered", 501),
    ("model_unknown", 404),
    ("job_cancelled", 409),
    ("job_failed", 500),
    ("defect", 500),
];

impl Fault {
    /// A fault of the service; its status is the code's.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        let known = CODES.iter().find(|(name, _)| *name == code);
        debug_assert!(known.is_some(), "{code} is in no table");
        Self {
            code: code.to_owned(),
            status: known
                .and_then(|(_, status)| StatusCode::from_u16(*status).ok())
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            field: None,
            message: message.into(),
            retry_after: None,
        }
    }

    /// A fault of the engine in what was asked: 422, with the field where one is at fault.
    pub fn asked(code: impl Into<String>, field: Option<&str>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            status: StatusCode::UNPROCESSABLE_ENTITY,
            field: field.map(str::to_owned),
            message: message.into(),
            retry_after: None,
        }
    }

    /// A fault of the engine or the machine while working: 500.
    pub fn failed(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            ..Self::asked(code, None, message)
        }
    }

    /// The same, of that field.
    #[must_use]
    pub fn of(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// The same with another status.
    #[must_use]
    pub fn with(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The same, to be tried again after so many seconds.
    #[must_use]
    pub fn after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds.max(1));
        self
    }

    /// `retry-after`, and what a client must know of a refusal for want of a name.
    pub fn add_headers(&self, response: &mut Response) {
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let basic = HeaderValue::from_static("Basic realm=\"latent\"");
            headers.insert(header::WWW_AUTHENTICATE, basic);
        }
    }

    /// As RFC 9457 has it.
    pub fn problem(&self) -> Problem {
        Problem {
            kind: format!("/docs#{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            detail: self.message.clone(),
            code: self.code.clone(),
            field: self.field.clone(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) if !self.message.starts_with(field.as_str()) => {
                write!(f, "{field}: {}", self.message)
            }
            _ => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Fault {}

/// The body of an error, `application/problem+json`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Where the code is explained.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// What is wrong, and what was expected.
    pub detail: String,
    /// The stable name.
    pub code: String,
    /// The field of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.problem())).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        self.add_headers(&mut response);
        response
    }
}

impl From<latent_queue::Error> for Fault {
    fn from(error: latent_queue::Error) -> Self {
        use latent_queue::Error as E;
        let seconds = |ms: u64| ms.div_ceil(1000).max(1);
        let (status, field, after) = match &error {
            E::KeyReused { .. } => (StatusCode::UNPROCESSABLE_ENTITY, None, None),
            E::UserFull { retry_after_ms, .. } | E::QueueFull { retry_after_ms, .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                None,
                Some(seconds(*retry_after_ms)),
            ),
            E::NoRoom { .. } | E::DiskFull { .. } => (StatusCode::INSUFFICIENT_STORAGE, None, None),
            E::NoJob | E::NoPicture | E::NoInput { .. } => (StatusCode::NOT_FOUND, None, None),
            E::WrongState { .. } => (StatusCode::CONFLICT, None, None),
            E::Argument { field, .. } => (
                StatusCode::UNPROCESSABLE_ENTITY,
                Some((*field).to_owned()),
                None,
            ),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, None, None),
        };
        let code = error.code().replace('-', "_");
        // Where files lie is nobody's business outside.
        let message = match &error {
            E::NoRoom { .. } | E::DiskFull { .. } => {
                "the disk has too little room for pictures; make room and try again".to_owned()
            }
            _ if status == StatusCode::INTERNAL_SERVER_ERROR => {
                tracing::error!(%error, "the queue failed");
                "the queue cannot be read or written; the log says more".to_owned()
            }
            _ => error.to_string(),
        };
        Self {
            code,
            status,
            field,
            message,
            retry_after: after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_known_once_and_have_a_status() {
        let mut names: Vec<_> = CODES.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        for (name, status) in CODES {
            assert_eq!(Fault::new(name, "").status.as_u16(), *status);
        }
    }

    #[test]
    fn the_field_stands_once() {
        let fault = Fault::asked(
            "field_out_of_range",
            Some("steps"),
            "steps is 0: expected 1",
        );
        assert_eq!(fault.to_string(), "steps is 0: expected 1");
        assert_eq!(Fault::new("defect", "x").of("a").to_string(), "a: x");
    }

    #[test]
    fn a_full_queue_says_when_to_come_back_and_no_folder_leaks() {
        let full = latent_queue::Error::QueueFull {
            waiting: 1000,
            most: 1000,
            retry_after_ms: 2500,
        };
        let fault = Fault::from(full);
        assert_eq!((fault.status.as_u16(), fault.retry_after), (429, Some(3)));
        let disk = latent_queue::Error::DiskFull {
            folder: "/secret".into(),
        };
        assert!(!Fault::from(disk).message.contains("secret"));
    }
}
