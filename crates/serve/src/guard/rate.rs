//! How often one key may ask, and how often wrong ones may be tried.
//!
//! Each key has a time at which its next request is due by its rate; one that comes before that by more than the burst allows
//! is refused (the generic cell rate algorithm of ITU-T I.371). A key costs one number.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

/// So many keys are known before those that are not in use are forgotten.
const KEYS: usize = 10_000;
const MINUTE_US: i64 = 60_000_000;

/// A rate for each key.
#[derive(Debug)]
pub struct Rate {
    /// Microseconds between two requests.
    pace: i64,
    /// How far ahead of its pace a key may be.
    ahead: i64,
    due: Mutex<HashMap<String, i64>>,
}

impl Rate {
    /// So many a minute, of which `burst` may come at once.
    pub fn new(a_minute: u32, burst: u32) -> Self {
        let pace = MINUTE_US / i64::from(a_minute.max(1));
        Self {
            pace,
            ahead: pace * i64::from(burst.max(1) - 1),
            due: Mutex::default(),
        }
    }

    fn due(&self) -> MutexGuard<'_, HashMap<String, i64>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds until this key may ask again; none if it may now.
    pub fn wait(&self, key: &str, now_ms: i64) -> Option<u64> {
        let early = self.due().get(key)? - now_ms * 1000 - self.ahead;
        (early > 0).then(|| early.cast_unsigned().div_ceil(1_000_000))
    }

    /// Counts a request, whether or not it may be.
    pub fn count(&self, key: &str, now_ms: i64) {
        let now = now_ms * 1000;
        let mut due = self.due();
        if due.len() >= KEYS {
            due.retain(|_, due| *due > now);
        }
        let at = due.entry(key.to_owned()).or_default();
        *at = (*at).max(now) + self.pace;
    }

    /// Counts a request that may be; the seconds to wait where it may not.
    ///
    /// # Errors
    /// Those seconds.
    pub fn pass(&self, key: &str, now_ms: i64) -> Result<(), u64> {
        match self.wait(key, now_ms) {
            Some(seconds) => Err(seconds),
            None => {
                self.count(key, now_ms);
                Ok(())
            }
        }
    }
}

/// The address of whoever is connected.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

impl Peer {
    /// What is counted: an address of IPv4, a network of IPv6.
    pub fn key(self) -> String {
        match self.0.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
            }
            address => address.to_string(),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::of(&parts.extensions))
    }
}

impl Peer {
    /// Of a request.
    pub fn of(extensions: &axum::http::Extensions) -> Self {
        let nobody = Self(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
        extensions.get().copied().unwrap_or(nobody)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_a_pace() {
        let rate = Rate::new(60, 3);
        for _ in 0..3 {
            assert_eq!(rate.pass("a", 5_000), Ok(()));
        }
        assert_eq!(rate.pass("a", 5_000), Err(1));
        assert_eq!(rate.pass("b", 5_000), Ok(()), "others are not held up");
        assert_eq!(rate.pass("a", 5_999), Err(1));
        assert_eq!(rate.pass("a", 6_000), Ok(()));
        assert_eq!(rate.pass("a", 6_000), Err(1));
        // Who was quiet has the whole burst again.
        for _ in 0..3 {
            assert_eq!(rate.pass("a", 60_000), Ok(()));
        }
        assert_eq!(Rate::new(6, 1).wait("a", 0), None);
    }

    #[test]
    fn keys_that_are_not_in_use_are_forgotten() {
        let rate = Rate::new(60, 1);
        for key in 0..KEYS {
            rate.count(&key.to_string(), 0);
        }
        rate.count("last", 2_000);
        assert_eq!(rate.due().len(), 1);
    }

    #[test]
    fn networks_of_ipv6_are_one_key() {
        let key = |text: &str| Peer(text.parse().expect("an address")).key();
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:10.0.0.1"), key("10.0.0.1"));
        assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
    }
}
