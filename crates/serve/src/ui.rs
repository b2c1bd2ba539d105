//! The page for browsers: three files that `npm run build` writes in `ui/`, carried by the program.

use std::io::Write as _;
use std::sync::LazyLock;

use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use crate::app::Shared;

/// A file of the page.
struct File {
    kind: &'static str,
    plain: &'static [u8],
    packed: Bytes,
    tag: String,
}

impl File {
    fn new(kind: &'static str, plain: &'static [u8]) -> Self {
        let hash = Sha256::digest(plain);
        let hex: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            kind,
            plain,
            packed: gzip(plain).into(),
            tag: format!("W/\"{hex}\""),
        }
    }

    /// Asked for anew each time, and sent where it changed.
    fn answer(&self, asked: &HeaderMap) -> Response {
        let mut response = match (
            lists(asked, &header::IF_NONE_MATCH, &self.tag),
            lists(asked, &header::ACCEPT_ENCODING, "gzip"),
        ) {
            (true, _) => StatusCode::NOT_MODIFIED.into_response(),
            (false, true) => {
                ([(header::CONTENT_ENCODING, "gzip")], self.packed.clone()).into_response()
            }
            (false, false) => Bytes::from_static(self.plain).into_response(),
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.kind));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        if let Ok(tag) = HeaderValue::from_str(&self.tag) {
            headers.insert(header::ETAG, tag);
        }
        response
    }
}

/// Whether a header has a word in its list.
fn lists(asked: &HeaderMap, header: &HeaderName, word: &str) -> bool {
    let values = asked.get_all(header).iter();
    let mut words = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    words.any(|part| part.trim() == word)
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    // Writing into memory does not fail.
    let _ = packed.write_all(plain);
    packed.finish().unwrap_or_default()
}

static INDEX: LazyLock<File> = LazyLock::new(|| {
    File::new(
        "text/html; charset=utf-8",
        include_bytes!("../ui/dist/index.html"),
    )
});
static SCRIPT: LazyLock<File> = LazyLock::new(|| {
    File::new(
        "text/javascript; charset=utf-8",
        include_bytes!("../ui/dist/app.js"),
    )
});
static STYLE: LazyLock<File> = LazyLock::new(|| {
    File::new(
        "text/css; charset=utf-8",
        include_bytes!("../ui/dist/app.css"),
    )
});

/// Their routes.
pub fn router() -> Router<Shared> {
    Router::new()
        .route("/", get(async |asked: HeaderMap| INDEX.answer(&asked)))
        .route(
            "/app.js",
            get(async |asked: HeaderMap| SCRIPT.answer(&asked)),
        )
        .route(
            "/app.css",
            get(async |asked: HeaderMap| STYLE.answer(&asked)),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_small_and_holds_nothing_inline() {
        let packed = INDEX.packed.len() + SCRIPT.packed.len() + STYLE.packed.len();
        assert!(packed <= 200_000, "{packed} bytes");
        let page = String::from_utf8_lossy(INDEX.plain);
        assert_eq!(page.matches("<script").count(), 1);
        assert!(page.contains("src=\"/app.js\"") && page.contains("href=\"/app.css\""));
        assert!(!page.contains("style=\"") && !page.contains("<style"));
    }

    #[test]
    fn what_is_known_is_not_sent_again() {
        let mut asked = HeaderMap::new();
        asked.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("br, gzip"),
        );
        let first = SCRIPT.answer(&asked);
        assert_eq!(first.headers()[header::CONTENT_ENCODING], "gzip");
        let tag = first.headers()[header::ETAG].clone();
        asked.insert(header::IF_NONE_MATCH, tag);
        assert_eq!(SCRIPT.answer(&asked).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(INDEX.answer(&asked).status(), StatusCode::OK);
    }
}
