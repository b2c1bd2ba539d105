//! How the service is run. What is unsafe or contradicts itself is refused before anything listens.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest, Sha256};

/// How the service is run. [`Config::new`] is closed: this machine only, no other origins.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The folder of settings and styles.
    pub data: PathBuf,
    /// Who may use it; empty means everybody who reaches it.
    pub users: Vec<User>,
    /// Everybody may use it although others than this machine reach it.
    pub no_auth: bool,
    /// Names under which it is reached beside loopback names and addresses.
    pub allowed_hosts: Vec<String>,
    /// Pages of these origins may use it, as `https://host[:port]`; `*` is any, with users only.
    pub cors_origins: Vec<String>,
    /// Which other programs' APIs are offered.
    pub compat: Compat,
    /// Start without drawing, until the queue is resumed.
    pub paused: bool,
    /// Say in the log what is drawn.
    pub log_prompts: bool,
    /// Nothing is written but the queue, and results are soon gone; the queue is to be opened so too.
    pub private: bool,
    /// Other processes have the same queue.
    pub shared: bool,
    /// Whether this one draws.
    pub draws: bool,
    /// How much is taken at once.
    pub limits: Limits,
}

/// Which other programs' APIs are offered: all by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compat {
    /// `/sdapi/v1` and what lies around it.
    pub a1111: bool,
    /// `/v1`.
    pub openai: bool,
    /// `/sdcpp/v1`.
    pub sdcpp: bool,
    /// `/prompt` and what lies around it.
    pub comfyui: bool,
}

impl Default for Compat {
    fn default() -> Self {
        Self {
            a1111: true,
            openai: true,
            sdcpp: true,
            comfyui: true,
        }
    }
}

/// How much is taken at once.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of one body: 64 MiB.
    pub body: usize,
    /// Bytes of all bodies being read: 256 MiB.
    pub bodies: usize,
    /// How long a body may stand still: 30 s.
    pub body_idle: Duration,
    /// Bytes of a request's head: 16 KiB.
    pub head: usize,
    /// How long a head may take: 10 s.
    pub head_time: Duration,
    /// Connections open at once: 1,024.
    pub connections: usize,
    /// Requests that wait for pictures: 256.
    pub waiting: usize,
    /// Pixels of a given picture, by its header: 64 million.
    pub pixels: u64,
    /// Characters of a prompt: 32,000.
    pub prompt: usize,
    /// Levels of JSON: 32.
    pub depth: usize,
    /// How often a waiting answer sends a blank: 20 s.
    pub blank: Duration,
    /// How long the running picture may take at the end: 30 s.
    pub grace: Duration,
    /// Jobs that wait through `/sdcpp/v1`: 64.
    pub sdcpp_queue: u64,
    /// How long a finished job is told through `/sdcpp/v1`: 600 s.
    pub sdcpp_kept: Duration,
    /// Requests a minute of each user (or address, where nobody is asked for a name), a tenth of them at once: 6,000.
    pub rate: u32,
    /// Wrong keys a minute from one address, twice as many at once: 10.
    pub tries: u32,
    /// How long the address of a picture holds that needs no key: 1 h.
    pub link: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 64 << 20,
            bodies: 256 << 20,
            body_idle: Duration::from_secs(30),
            head: 16 << 10,
            head_time: Duration::from_secs(10),
            connections: 1024,
            waiting: 256,
            pixels: 64_000_000,
            prompt: 32_000,
            depth: 32,
            blank: Duration::from_secs(20),
            grace: Duration::from_secs(30),
            sdcpp_queue: 64,
            sdcpp_kept: Duration::from_secs(600),
            rate: 6_000,
            tries: 10,
            link: Duration::from_secs(3600),
        }
    }
}

/// Somebody who may use the service. The secret is the password of Basic and the key of Bearer; its hash alone is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Who owns what is drawn.
    pub name: String,
    /// SHA-256 of the secret.
    pub(crate) secret: [u8; 32],
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "User({})", self.name)
    }
}

impl User {
    /// From `user:password`.
    ///
    /// # Errors
    /// A text without a colon, or with nothing before or behind it.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        match text.split_once(':') {
            Some((name, secret)) if !name.is_empty() && !secret.is_empty() && name.len() <= 200 => {
                Ok(Self {
                    name: name.to_owned(),
                    secret: digest(secret),
                })
            }
            _ => Err(ConfigError::User),
        }
    }
}

pub(crate) fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// A configuration that is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// Others than this machine would reach it, and nobody is asked for a name.
    #[error(
        "{0} can be reached by others: give --auth USER:PASSWORD, or say --no-auth if everybody there may draw, read and delete"
    )]
    Open(SocketAddr),
    /// No user and password.
    #[error("a user is given as USER:PASSWORD, both not empty")]
    User,
    /// One name for two.
    #[error("the user {0} is given twice")]
    Twice(String),
    /// A host that is none.
    #[error(
        "{0:?} is no host name: expected a name such as draw.example.org, without scheme or path"
    )]
    Host(String),
    /// An origin that is none.
    #[error("{0:?} is no origin: expected https://host or http://host:port")]
    Origin(String),
    /// What is not to be kept, in the log.
    #[error("--private keeps no prompts, --log-prompts does: leave one of them out")]
    PrivateLog,
    /// No request at all.
    #[error("--rate-limit 0 lets nobody in: expected at least 1")]
    NoRate,
    /// Every page of the world, unasked.
    #[error(
        "--cors-allow-origins * lets every page that is opened in a browser draw and delete: name the origins, or give --auth"
    )]
    AnyOrigin,
}

impl Config {
    /// Port 7860 of this machine, with settings in `data`.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7860),
            data: data.into(),
            users: Vec::new(),
            no_auth: false,
            allowed_hosts: Vec::new(),
            cors_origins: Vec::new(),
            compat: Compat::default(),
            paused: false,
            log_prompts: false,
            private: false,
            shared: false,
            draws: true,
            limits: Limits::default(),
        }
    }

    /// Whether it may be run so.
    ///
    /// # Errors
    /// What is unsafe or makes no sense.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !self.listen.ip().is_loopback() && self.users.is_empty() && !self.no_auth {
            return Err(ConfigError::Open(self.listen));
        }
        if self.private && self.log_prompts {
            return Err(ConfigError::PrivateLog);
        }
        if self.limits.rate == 0 {
            return Err(ConfigError::NoRate);
        }
        let mut names: Vec<_> = self.users.iter().map(|user| &user.name).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ConfigError::Twice(pair[0].clone()));
        }
        let is_host = |host: &String| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            !host.is_empty() && host.chars().all(plain)
        };
        if let Some(wrong) = self.allowed_hosts.iter().find(|host| !is_host(host)) {
            return Err(ConfigError::Host(wrong.clone()));
        }
        for origin in &self.cors_origins {
            let host = ["http://", "https://"]
                .iter()
                .find_map(|scheme| origin.strip_prefix(scheme));
            match (origin.as_str(), host) {
                ("*", _) if self.users.is_empty() => return Err(ConfigError::AnyOrigin),
                ("*", _) => {}
                (_, Some(host)) if !host.is_empty() && !host.contains(['/', '*', '?', '#']) => {}
                _ => return Err(ConfigError::Origin(origin.clone())),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: impl FnOnce(&mut Config)) -> Result<(), ConfigError> {
        let mut config = Config::new("x");
        change(&mut config);
        config.check()
    }

    #[test]
    fn others_are_asked_for_a_name() {
        let everywhere: SocketAddr = "0.0.0.0:7860".parse().expect("an address");
        assert_eq!(config(|_| {}), Ok(()));
        assert_eq!(
            config(|c| c.listen = everywhere),
            Err(ConfigError::Open(everywhere))
        );
        let named = |c: &mut Config| {
            c.listen = everywhere;
            c.users = vec![User::parse("me:it").expect("a user")];
        };
        assert_eq!(config(named), Ok(()));
        let open = |c: &mut Config| {
            c.listen = everywhere;
            c.no_auth = true;
        };
        assert_eq!(config(open), Ok(()));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!(
            config(|c| c.cors_origins = vec!["*".into()]),
            Err(ConfigError::AnyOrigin)
        );
        for origin in ["null", "https://", "https://a/b", "file://x", "a.org"] {
            let found = config(|c| c.cors_origins = vec![origin.into()]);
            assert_eq!(found, Err(ConfigError::Origin(origin.into())));
        }
        for host in ["", "https://a.org", "a.org/x", "a.org:80", "*"] {
            let found = config(|c| c.allowed_hosts = vec![host.into()]);
            assert_eq!(found, Err(ConfigError::Host(host.into())));
        }
        for user in ["", "me", ":it", "me:"] {
            assert_eq!(User::parse(user), Err(ConfigError::User), "{user}");
        }
        let both = |c: &mut Config| (c.private, c.log_prompts) = (true, true);
        assert_eq!(config(both), Err(ConfigError::PrivateLog));
        assert_eq!(config(|c| c.limits.rate = 0), Err(ConfigError::NoRate));
        let twice = |c: &mut Config| {
            c.users = ["me:a", "me:b"]
                .map(|u| User::parse(u).expect("a user"))
                .into();
        };
        assert_eq!(config(twice), Err(ConfigError::Twice("me".into())));
        let user = User::parse("me:hidden").expect("a user");
        assert!(!format!("{user:?}").contains("hidden"));
    }
}
