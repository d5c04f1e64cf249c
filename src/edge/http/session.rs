//! Owns the sessions of browsers: the token, entered once, becomes a cookie that scripts cannot read and other sites cannot
//! use.
//!
//! A session is its end and a keyed hash of it, so nothing is stored, and a new token ends all sessions. The cookie is
//! `Secure`: browsers accept that over HTTPS and from this machine.

use super::secret::is_secret;
use crate::codec::ascii::hex;
use crate::domain::time::Span;
use crate::edge::clock;
use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The name of the cookie.
const NAME: &str = "funnelwatch_session";
/// How long a session lasts, in seconds: a working day.
const LASTS: i64 = 12 * 3600;

/// The current time in seconds since 1970.
pub(super) fn now() -> i64 {
    clock::now().0.div_euclid(Span::SECOND.0)
}

/// The value of `Set-Cookie` for a new session at `now`, in seconds since 1970.
pub(super) fn begin(token: &str, now: i64) -> String {
    let end = now.saturating_add(LASTS);
    let signature = sign(token, end);
    format!("{NAME}={end}.{signature}; Max-Age={LASTS}; Path=/; HttpOnly; Secure; SameSite=Strict")
}

/// The value of `Set-Cookie` that ends a session.
pub(super) fn end() -> String {
    format!("{NAME}=; Max-Age=0; Path=/; HttpOnly; Secure; SameSite=Strict")
}

/// Whether a request belongs to a session that has not ended.
pub(super) fn is_open(headers: &HeaderMap, token: &str, now: i64) -> bool {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut values = cookies.flat_map(|line| line.split(';')).filter_map(|cookie| {
        let (name, value) = cookie.trim().split_once('=')?;
        (name == NAME).then_some(value)
    });
    values.any(|value| {
        let Some((end, signature)) = value.split_once('.') else { return false };
        let Ok(end) = end.parse::<i64>() else { return false };
        now < end && is_secret(signature, &sign(token, end))
    })
}

fn sign(token: &str, end: i64) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(token.as_bytes()) else {
        unreachable!("keys of any length are accepted")
    };
    mac.update(b"funnelwatch session until ");
    mac.update(end.to_string().as_bytes());
    hex(&mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn with(cookie: &str) -> HeaderMap {
        HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(cookie).expect("a header"))])
    }

    #[test]
    fn a_session_is_open_until_its_end_and_for_its_token() {
        let cookie = begin("secret", 1000);
        let cookie = cookie.split(';').next().expect("a cookie");
        for other in [cookie.to_owned(), format!("a=b; {cookie}; c=d")] {
            assert!(is_open(&with(&other), "secret", 1000));
            assert!(is_open(&with(&other), "secret", 1000 + LASTS - 1));
            assert!(!is_open(&with(&other), "secret", 1000 + LASTS));
            assert!(!is_open(&with(&other), "another", 1000));
        }
    }

    #[test]
    fn forged_sessions_are_closed() {
        let signature = sign("secret", 5000);
        for forged in ["", "5000", "5000.", "x.y", &format!("6000.{signature}"), &format!(" 5000 .{signature}")] {
            assert!(!is_open(&with(&format!("{NAME}={forged}")), "secret", 1), "{forged}");
        }
        assert!(!is_open(&with(&format!("other=5000.{signature}")), "secret", 1));
        assert!(!is_open(&HeaderMap::new(), "secret", 1));
        assert!(is_open(&with(&format!("{NAME}=5000.{signature}")), "secret", 1));
    }
}
