//! A WebSocket (RFC 6455) as a server holds it: texts and bytes go out, pings are answered, what comes in is read over.
//!
//! `axum`'s feature for them brings `tungstenite`, whose features would build the random numbers of burn anew, for masks that a
//! server never makes.

use std::pin::Pin;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::time::timeout;

use crate::fault::{Fault, Result};

/// What a client sends is no longer than this.
const LONGEST: u64 = 64 << 10;
/// A listener that takes nothing for so long is gone.
const STUCK: Duration = Duration::from_secs(30);
/// What a server appends to the key of a client.
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const TEXT: u8 = 1;
const BYTES: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

type Stream = TokioIo<Upgraded>;

/// A request for a WebSocket.
#[derive(Debug)]
pub struct Handshake {
    accept: HeaderValue,
    upgrade: OnUpgrade,
}

impl<S: Send + Sync> FromRequestParts<S> for Handshake {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let headers = &parts.headers;
        let key = headers.get("sec-websocket-key").map(HeaderValue::as_bytes);
        let upgrade = parts.extensions.remove::<OnUpgrade>();
        let asked = holds(headers, header::CONNECTION.as_str(), "upgrade")
            && holds(headers, header::UPGRADE.as_str(), "websocket")
            && headers
                .get("sec-websocket-version")
                .is_some_and(|version| version == "13");
        let (Some(key), Some(upgrade), true) = (key, upgrade, asked) else {
            return Err(Fault::new(
                "websocket_expected",
                "expected a WebSocket's handshake, version 13",
            ));
        };
        let accept = HeaderValue::from_str(&accepted(key));
        let accept = accept.map_err(|_| Fault::new("defect", "base64 is no header"))?;
        Ok(Self { accept, upgrade })
    }
}

/// Whether one of the words of a header, divided by commas, is that one.
fn holds(headers: &HeaderMap, name: &str, word: &str) -> bool {
    let values = headers.get_all(name).iter();
    let mut words = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    words.any(|own| own.trim().eq_ignore_ascii_case(word))
}

/// What proves that the key was read.
fn accepted(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(MAGIC);
    BASE64_STANDARD.encode(hash.finalize())
}

impl Handshake {
    /// Accepts it; `serve` has the socket as soon as the answer is sent.
    pub fn accept<F>(self, serve: impl FnOnce(Sender, Receiver) -> F + Send + 'static) -> Response
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Self { accept, upgrade } = self;
        tokio::spawn(async move {
            match upgrade.await {
                Ok(upgraded) => {
                    let (read, write) = split(TokioIo::new(upgraded));
                    serve(
                        Sender(write),
                        Receiver {
                            read,
                            sent: Vec::new(),
                        },
                    )
                    .await;
                }
                Err(error) => tracing::debug!(%error, "a WebSocket was not opened"),
            }
        });
        let fixed = [
            (header::CONNECTION, HeaderValue::from_static("upgrade")),
            (header::UPGRADE, HeaderValue::from_static("websocket")),
            (header::SEC_WEBSOCKET_ACCEPT, accept),
        ];
        (StatusCode::SWITCHING_PROTOCOLS, fixed).into_response()
    }
}

/// What goes out.
#[derive(Debug)]
pub struct Sender(WriteHalf<Stream>);

/// The client is gone.
#[derive(Debug)]
pub struct Gone;

impl Sender {
    /// Sends a text.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn text(&mut self, text: &str) -> Result<(), Gone> {
        self.frame(TEXT, text.as_bytes()).await
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn bytes(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        self.frame(BYTES, bytes).await
    }

    /// Answers a ping.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn pong(&mut self, body: &[u8]) -> Result<(), Gone> {
        self.frame(PONG, body).await
    }

    /// Ends it, with a code of the RFC.
    pub async fn close(&mut self, code: u16) {
        // It may be gone.
        let _ = self.frame(CLOSE, &code.to_be_bytes()).await;
        let _ = timeout(STUCK, self.0.shutdown()).await;
    }

    async fn frame(&mut self, kind: u8, body: &[u8]) -> Result<(), Gone> {
        let write = async {
            self.0.write_all(&head(kind, body.len() as u64)).await?;
            self.0.write_all(body).await?;
            self.0.flush().await
        };
        match timeout(STUCK, write).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Gone),
        }
    }
}

/// The head of a whole message.
fn head(kind: u8, length: u64) -> Vec<u8> {
    let mut head = vec![0x80 | kind];
    match length {
        0..=125 => head.push(length as u8),
        126..=0xffff => {
            head.push(126);
            head.extend((length as u16).to_be_bytes());
        }
        _ => {
            head.push(127);
            head.extend(length.to_be_bytes());
        }
    }
    head
}

/// What comes in.
#[derive(Debug)]
pub struct Receiver {
    read: ReadHalf<Stream>,
    /// What was read of a frame. It is kept, so that waiting may be given up and begun again.
    sent: Vec<u8>,
}

/// What a client says.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// It wants this back.
    Ping(Vec<u8>),
    /// It ends, or breaks the rules; with the code to end by.
    End(u16),
}

impl Receiver {
    /// Reads on until the client says something that matters. May be dropped and called again.
    pub async fn next(&mut self) -> Said {
        loop {
            loop {
                match frame(&self.sent) {
                    Frame::Part => break,
                    Frame::Wrong(code) => return Said::End(code),
                    Frame::Whole { kind, body, length } => {
                        self.sent.drain(..length);
                        match kind {
                            CLOSE => return Said::End(1000),
                            PING => return Said::Ping(body),
                            _ => {}
                        }
                    }
                }
            }
            let mut more = [0; 1024];
            match Pin::new(&mut self.read).read(&mut more).await {
                Ok(read @ 1..) => self.sent.extend_from_slice(&more[..read]),
                _ => return Said::End(1006),
            }
        }
    }
}

/// What stands at the beginning of the bytes.
#[derive(Debug, PartialEq, Eq)]
enum Frame {
    Part,
    Wrong(u16),
    Whole {
        kind: u8,
        body: Vec<u8>,
        length: usize,
    },
}

/// Reads a frame. A client's are masked, of known kinds, and short.
fn frame(bytes: &[u8]) -> Frame {
    let [first, second, rest @ ..] = bytes else {
        return Frame::Part;
    };
    let (kind, masked, short) = (first & 0x0f, second & 0x80 != 0, second & 0x7f);
    if first & 0x70 != 0 || !masked || !matches!(kind, 0..=2 | CLOSE..=PONG) {
        return Frame::Wrong(1002);
    }
    let control = kind >= CLOSE;
    if control && (short > 125 || first & 0x80 == 0) {
        return Frame::Wrong(1002);
    }
    let wide = match short {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let Some((digits, rest)) = rest.split_at_checked(wide) else {
        return Frame::Part;
    };
    let length = match wide {
        0 => u64::from(short),
        _ => digits
            .iter()
            .fold(0, |number, digit| (number << 8) | u64::from(*digit)),
    };
    if length > LONGEST {
        return Frame::Wrong(1009);
    }
    let Some((mask, rest)) = rest.split_at_checked(4) else {
        return Frame::Part;
    };
    let Some(body) = rest.get(..length as usize) else {
        return Frame::Part;
    };
    let body = body
        .iter()
        .zip(mask.iter().cycle())
        .map(|(byte, mask)| byte ^ mask);
    Frame::Whole {
        kind,
        body: body.collect(),
        length: 2 + wide + 4 + length as usize,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_answered_as_in_the_rfc() {
        assert_eq!(
            accepted(b"dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn heads_have_three_lengths() {
        assert_eq!(head(TEXT, 5), [0x81, 5]);
        assert_eq!(head(BYTES, 300), [0x82, 126, 1, 44]);
        assert_eq!(head(BYTES, 1 << 16), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn frames_are_read_piece_by_piece() {
        // "Hello", masked, of the RFC.
        let hello = [
            0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ];
        for end in 0..hello.len() {
            assert_eq!(frame(&hello[..end]), Frame::Part);
        }
        let whole = Frame::Whole {
            kind: TEXT,
            body: b"Hello".to_vec(),
            length: hello.len(),
        };
        assert_eq!(frame(&[&hello[..], &[0x89]].concat()), whole);
    }

    #[test]
    fn wrong_frames_end_it() {
        for (bytes, code) in [
            (&[0x81, 0x05][..], 1002), // not masked
            (&[0xc1, 0x85], 1002),     // a reserved bit
            (&[0x83, 0x85], 1002),     // an unknown kind
            (&[0x09, 0x80], 1002),     // a ping in pieces
            (&[0x89, 0xfe], 1002),     // a long ping
            (&[0x82, 0xff, 0, 0, 0, 0, 0, 2, 0, 0], 1009),
            (&[0x82, 0xff, 255, 255, 255, 255, 255, 255, 255, 255], 1009),
        ] {
            assert_eq!(frame(bytes), Frame::Wrong(code), "{bytes:x?}");
        }
    }
}
