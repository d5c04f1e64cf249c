//! Owns the links by which people answer: `PUBLIC_URL/a/TOKEN`.
//!
//! A token says which alert is meant, who answers what, and until when it is valid, and is signed with HMAC-SHA-256. It can be
//! used once. It contains no phone, address or name.

use crate::codec::ascii::hex;
use crate::config::notify::{Hidden, Links};
use crate::domain::alert::Alert;
use crate::domain::named::named_enum;
use crate::domain::time::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;

named_enum! {
    /// What a person can answer.
    pub enum Answer, named "in links" {
        /// The person takes care of it.
        Taken = "t",
        /// The call or message needs no answer.
        Dismissed = "d",
    }
}

/// What a link says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What is answered.
    pub answer: Answer,
    /// The alert.
    pub alert: Uuid,
    /// Until when the link is valid.
    pub valid_until: Timestamp,
    /// Who answers, by the id in the CRM.
    pub person: String,
}

/// The longest token that is read.
const MAX_TOKEN: usize = 1024;

/// The address of an answer.
pub fn address(links: &Links, answer: Answer, alert: &Alert, person: &str, now: Timestamp) -> String {
    let claim = Claim { answer, alert: alert.id, valid_until: now + links.valid_for, person: person.to_owned() };
    format!("{}/a/{}", links.public_url, token(&links.secret, &claim))
}

/// The token of a claim.
pub fn token(secret: &Hidden, claim: &Claim) -> String {
    let said = format!(
        "{}.{}.{}.{}",
        claim.answer.name(),
        claim.alert.simple(),
        claim.valid_until.0,
        hex(claim.person.as_bytes())
    );
    let signature = hex(&sign(secret, &said).finalize().into_bytes()[..16]);
    format!("{said}.{signature}")
}

/// What a token claims, if it is genuine and still valid.
pub fn verify(secret: &Hidden, token: &str, now: Timestamp) -> Option<Claim> {
    if token.len() > MAX_TOKEN {
        return None;
    }
    let (said, signature) = token.rsplit_once('.')?;
    // Compared in constant time.
    sign(secret, said).verify_truncated_left(&unhex(signature)?.try_into().ok().map(|bytes: [u8; 16]| bytes)?).ok()?;
    let mut parts = said.split('.');
    let name = parts.next()?;
    let claim = Claim {
        answer: Answer::named(name)?,
        alert: Uuid::parse_str(parts.next()?).ok()?,
        valid_until: Timestamp(parts.next()?.parse().ok()?),
        person: String::from_utf8(unhex(parts.next()?)?).ok()?,
    };
    (parts.next().is_none() && now <= claim.valid_until).then_some(claim)
}

fn sign(secret: &Hidden, said: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.0.as_bytes()).expect("HMAC accepts keys of any length");
    mac.update(b"answer/");
    mac.update(said.as_bytes());
    mac
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let is_hex = digits.len().is_multiple_of(2) && digits.iter().all(u8::is_ascii_hexdigit);
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    is_hex.then(|| digits.chunks(2).filter_map(byte).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Hidden {
        Hidden("a key of signatures".into())
    }

    fn claim() -> Claim {
        let (answer, alert, valid_until) = (Answer::Dismissed, Uuid::from_u128(7), Timestamp(1000));
        Claim { answer, alert, valid_until, person: "вера/1".into() }
    }

    #[test]
    fn a_link_says_what_was_signed() {
        let token = token(&secret(), &claim());
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.'), "{token}");
        assert_eq!(verify(&secret(), &token, Timestamp(1000)), Some(claim()));
        assert_eq!(verify(&secret(), &token, Timestamp(1001)), None, "expired");
        assert_eq!(verify(&Hidden("another key of it".into()), &token, Timestamp(0)), None);
    }

    #[test]
    fn forged_links_are_refused() {
        let genuine = token(&secret(), &claim());
        for at in 0..genuine.len() {
            let mut forged = genuine.clone().into_bytes();
            forged[at] = if forged[at] == b'1' { b'2' } else { b'1' };
            let forged = String::from_utf8(forged).expect("text");
            assert_eq!(verify(&secret(), &forged, Timestamp(0)), None, "{forged}");
        }
        let other = genuine.replacen('d', "t", 1);
        for forged in ["", ".", "....", &genuine[1..], &other, &"x".repeat(5000), &format!("{genuine}.00")] {
            assert_eq!(verify(&secret(), forged, Timestamp(0)), None, "{forged}");
        }
    }
}
