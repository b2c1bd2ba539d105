//! Requests that a page somewhere else makes a browser send are refused.
//!
//! A browser sends multipart, forms and plain text without asking first, and a name that an attacker owns may lead to this
//! machine (DNS rebinding). So every request must name a host that is ours, and whoever has an origin must have ours.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::app::Shared;
use crate::config::Config;
use crate::fault::{Fault, Result};
use crate::openai::links;

/// Refuses what a page of another site sends.
pub async fn guard(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let link = request.uri().path().starts_with(links::PATH);
    match check(&app.config, request.method(), request.headers(), link) {
        Ok(()) => next.run(request).await,
        Err(fault) => fault.into_response(),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

/// Whether a request may come from where it says it comes from. `link`: it asks for a picture by an unguessable address.
fn check(config: &Config, method: &Method, headers: &HeaderMap, link: bool) -> Result<()> {
    let host = text(headers, header::HOST.as_str()).unwrap_or_default();
    if headers.get_all(header::HOST).iter().count() > 1 || !is_ours(config, host) {
        return Err(Fault::new(
            "host_refused",
            format!("this is not {host:?}: if it shall be, start with --allowed-host NAME"),
        ));
    }
    let origin = text(headers, header::ORIGIN.as_str());
    let listed = origin.is_some_and(|origin| {
        let mut allowed = config.cors_origins.iter();
        allowed.any(|a| a.eq_ignore_ascii_case(origin) || (a == "*" && origin != "null"))
    });
    let own = origin.is_some_and(|origin| {
        let rest = origin.strip_prefix("http://");
        let rest = rest.or_else(|| origin.strip_prefix("https://"));
        rest.is_some_and(|rest| rest.eq_ignore_ascii_case(host))
    });
    if let Some(origin) = origin.filter(|_| !listed && !own) {
        return Err(Fault::new(
            "origin_refused",
            format!(
                "pages of {origin} may not use this server; if they shall, start with --cors-allow-origins {origin}"
            ),
        ));
    }
    let crossing = text(headers, "sec-fetch-site") == Some("cross-site");
    let navigates = text(headers, "sec-fetch-mode") == Some("navigate") && method == Method::GET;
    if crossing && !navigates && !listed && !link {
        return Err(Fault::new(
            "cross_site_refused",
            "a page of another site asked for this; if it shall, start with --cors-allow-origins and its origin",
        ));
    }
    Ok(())
}

/// Whether a `Host` is a name of this server: a loopback name, an address at which it listens, or one that was allowed.
fn is_ours(config: &Config, host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => (address, port.strip_prefix(':')),
        None => match host.rsplit_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return false;
    }
    if let Ok(address) = name.parse::<IpAddr>() {
        let listens = config.listen.ip();
        return address.is_loopback() || listens == address || listens.is_unspecified();
    }
    let mut allowed = config.allowed_hosts.iter();
    name.eq_ignore_ascii_case("localhost") || allowed.any(|own| own.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    fn refused(config: &Config, method: Method, pairs: &[(&str, &str)]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: HeaderName = name.parse().expect("a name");
            headers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        check(config, &method, &headers, false)
            .err()
            .map(|f| f.code)
    }

    #[test]
    fn hosts() {
        let mut config = Config::new("x");
        config.allowed_hosts = vec!["draw.example.org".into()];
        for host in [
            "localhost",
            "LOCALHOST:7860",
            "127.0.0.1:1",
            "[::1]:7860",
            "[::1]",
            "Draw.example.org",
        ] {
            assert_eq!(
                refused(&config, Method::GET, &[("host", host)]),
                None,
                "{host}"
            );
        }
        for host in [
            "",
            "evil.org",
            "127.0.0.1.evil.org",
            "10.0.0.1",
            "localhost.evil.org",
            "localhost:x",
            "[::1",
            "evil.org:7860",
        ] {
            let found = refused(&config, Method::GET, &[("host", host)]);
            assert_eq!(found.as_deref(), Some("host_refused"), "{host}");
        }
        let two = [("host", "localhost"), ("host", "localhost")];
        assert!(refused(&config, Method::GET, &two).is_some());
        config.listen = "0.0.0.0:7860".parse().expect("an address");
        assert_eq!(refused(&config, Method::GET, &[("host", "10.0.0.1")]), None);
    }

    #[test]
    fn origins() {
        let mut config = Config::new("x");
        let host = ("host", "localhost:7860");
        let with =
            |config: &Config, origin| refused(config, Method::POST, &[host, ("origin", origin)]);
        assert_eq!(with(&config, "http://localhost:7860"), None);
        for origin in [
            "null",
            "http://localhost",
            "http://localhost:3000",
            "https://evil.org",
            "http://localhost:7860.evil.org",
            "localhost:7860",
        ] {
            assert_eq!(
                with(&config, origin).as_deref(),
                Some("origin_refused"),
                "{origin}"
            );
        }
        config.cors_origins = vec!["https://page.org".into()];
        assert_eq!(with(&config, "https://page.org"), None);
        assert!(with(&config, "https://page.org.evil.org").is_some());
        config.cors_origins = vec!["*".into()];
        assert_eq!(with(&config, "https://any.org"), None);
        assert!(with(&config, "null").is_some());
    }

    #[test]
    fn other_sites_may_lead_here_and_no_more() {
        let config = Config::new("x");
        let cross = |method, mode| {
            let pairs = [
                ("host", "localhost"),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", mode),
            ];
            refused(&config, method, &pairs)
        };
        assert_eq!(cross(Method::GET, "navigate"), None);
        assert!(cross(Method::POST, "navigate").is_some());
        assert!(cross(Method::GET, "no-cors").is_some());
    }
}
