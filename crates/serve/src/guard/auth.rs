//! Who sends a request. Basic (clients of A1111), Bearer (of OpenAI) and a cookie (the page) name the same users.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use subtle::ConstantTimeEq;

use crate::app::Shared;
use crate::config::{User, digest};
use crate::fault::{Fault, Result as Outcome};
use crate::guard::rate::Peer;
use crate::openai::{self, links};

/// The name of the page's cookie.
pub const COOKIE: &str = "latent_session";
/// How long a login holds: 30 days, or until the server ends.
const SESSION_MS: i64 = 30 * 24 * 3_600_000;
/// What may be seen without a name: whether the server lives, the way in, pictures by unguessable address.
const OPEN: &[&str] = &["/healthz", "/readyz", "/login", "/style.css"];
/// The owner where there is only one.
const LOCAL: &str = "local";

/// Who sent a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller(Option<String>);

impl Caller {
    /// A user, or nobody in particular.
    pub fn new(user: Option<String>) -> Self {
        Self(user)
    }

    /// Whose rows may be seen: none means all of them.
    pub fn user(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Whose a new row is.
    pub fn owner(&self) -> &str {
        self.user().unwrap_or(LOCAL)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

/// Finds the user, or refuses; also whoever asks too often.
pub async fn guard(State(app): State<Shared>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let open = OPEN.contains(&path) || path.starts_with(links::PATH);
    let found = match open {
        true => Ok(None),
        false => find(&app, request.headers(), Peer::of(request.extensions())),
    };
    let found = found.and_then(|user| {
        check_rate(&app, user.as_deref(), Peer::of(request.extensions()))?;
        Ok(user)
    });
    match found {
        Ok(user) => {
            request.extensions_mut().insert(Caller(user));
            next.run(request).await
        }
        Err(fault) => match path.starts_with(openai::PATH) {
            true => openai::error::answer(&fault),
            false if path == "/" && is_browser(request.headers()) => {
                Redirect::to("/login").into_response()
            }
            false => refused(&fault, request.headers()),
        },
    }
}

/// Whether a person sees the answer.
pub fn is_browser(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// A page whose login has ended leads to the way in by itself: its browser is not to ask for a password in a window of its own.
fn refused(fault: &Fault, headers: &HeaderMap) -> Response {
    let mut response = fault.clone().into_response();
    if cookie(headers).is_some() {
        response.headers_mut().remove(header::WWW_AUTHENTICATE);
    }
    response
}

/// The user that a request names and proves. Without users, whatever it names is nobody's.
fn find(app: &Shared, headers: &HeaderMap, peer: Peer) -> Outcome<Option<String>> {
    if app.config.users.is_empty() {
        return Ok(None);
    }
    let word = cookie(headers);
    if let Some(user) = word.and_then(|word| app.sessions.find(word, app.now())) {
        return Ok(Some(user));
    }
    let given = headers.get(header::AUTHORIZATION);
    let given = given.and_then(|value| value.to_str().ok());
    let unknown = || {
        let message = "a user and password (Basic), a key (Bearer) or a login is needed, and what was sent is none that is known";
        Fault::new("unauthorized", message)
    };
    let (name, secret) = given.and_then(credentials).ok_or_else(unknown)?;
    let user = prove(app, peer, name.as_deref(), &secret)?;
    user.map(Some).ok_or_else(unknown)
}

/// The name, where one is given, and the secret of a header.
fn credentials(given: &str) -> Option<(Option<String>, String)> {
    let (scheme, rest) = given.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some((None, rest.to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(BASE64_STANDARD.decode(rest).ok()?).ok()?;
    let (name, password) = pair.split_once(':')?;
    Some((Some(name.to_owned()), password.to_owned()))
}

/// As [`proven`], and counts wrong ones: after some, nothing more from there is looked at for a while.
///
/// # Errors
/// Too many were wrong.
pub fn prove(
    app: &Shared,
    peer: Peer,
    name: Option<&str>,
    secret: &str,
) -> Outcome<Option<String>> {
    let (key, now) = (peer.key(), app.now());
    if let Some(seconds) = app.tries.wait(&key, now) {
        let message = "too many wrong passwords or keys came from there; try again";
        return Err(Fault::new("too_many_tries", message).after(seconds));
    }
    let user = proven(&app.config.users, name, secret);
    if user.is_none() {
        app.tries.count(&key, now);
    }
    Ok(user)
}

/// Counts a request of a user, or of an address where nobody is asked for a name. This machine's own without a name are not
/// counted.
fn check_rate(app: &Shared, user: Option<&str>, peer: Peer) -> Outcome<()> {
    let key = match user {
        Some(name) => format!("user {name}"),
        None if peer.0.to_canonical().is_loopback() => return Ok(()),
        None => peer.key(),
    };
    app.rate.pass(&key, app.now()).map_err(|seconds| {
        let most = app.config.limits.rate;
        let message = format!("more than {most} requests a minute: ask less often, or start the server with --rate-limit N");
        Fault::new("rate_limited", message).after(seconds)
    })
}

/// The user of that name, or any, whose secret this is. Every user is compared, whatever was found before.
pub fn proven(users: &[User], name: Option<&str>, secret: &str) -> Option<String> {
    let given = digest(secret);
    let mut found = None;
    for user in users {
        let same = bool::from(user.secret.ct_eq(&given));
        if same && name.is_none_or(|name| name == user.name) {
            found = Some(user.name.clone());
        }
    }
    found
}

/// Logins of the page: random words in cookies, and who has them. They end with the process.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<HashMap<[u8; 32], (String, i64)>>);

impl Sessions {
    /// Lets a user in until a time, under a random `word`.
    pub fn open(&self, word: &str, user: String, now_ms: i64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (_, until)| *until > now_ms);
        all.insert(digest(word), (user, now_ms + SESSION_MS));
    }

    /// Ends a login.
    pub fn close(&self, word: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&digest(word));
    }

    /// Whose word it is.
    pub fn find(&self, word: &str, now_ms: i64) -> Option<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (user, until) = all.get(&digest(word))?;
        (*until > now_ms).then(|| user.clone())
    }
}

/// The word in the page's cookie.
pub fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter();
    let mut pairs = cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_proves_a_user_by_both_ways() {
        let users = ["a:one", "b:two"].map(|u| User::parse(u).expect("a user"));
        assert_eq!(proven(&users, Some("b"), "two").as_deref(), Some("b"));
        assert_eq!(proven(&users, None, "one").as_deref(), Some("a"));
        for (name, secret) in [
            (Some("b"), "one"),
            (Some("c"), "two"),
            (None, ""),
            (None, "tw"),
        ] {
            assert_eq!(proven(&users, name, secret), None);
        }
    }

    #[test]
    fn a_login_ends() {
        let sessions = Sessions::default();
        sessions.open("word", "me".into(), 0);
        assert_eq!(sessions.find("word", 1).as_deref(), Some("me"));
        assert_eq!(sessions.find("word", SESSION_MS), None);
        assert_eq!(sessions.find("other", 1), None);
        sessions.close("word");
        assert_eq!(sessions.find("word", 1), None);
    }
}
