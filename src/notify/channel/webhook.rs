//! Signed requests to a program: every status of an alert, as JSON.
//!
//! `X-Funnelwatch-Signature: sha256=HEX` is the HMAC-SHA-256 of `TIMESTAMP.BODY` with the shared key, `X-Funnelwatch-Timestamp`
//! is in milliseconds, and `Idempotency-Key` is the same when a request is repeated. Any status of 200 to 299 is an
//! acknowledgement.

use super::{Job, Outcome, Sender};
use crate::codec::ascii::hex;
use crate::codec::json;
use crate::config::notify::Hidden;
use crate::domain::rule::message;
use crate::domain::time::Span;
use crate::edge::clock;
use crate::edge::http_client::HttpClient;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Sends alerts to a program.
pub struct Webhook {
    client: HttpClient,
    url: String,
    secret: Hidden,
}

impl Webhook {
    /// The program at an address.
    pub fn new(client: HttpClient, url: &str, secret: Hidden) -> Self {
        Self { client, url: url.to_owned(), secret }
    }
}

impl Sender for Webhook {
    fn send(&mut self, job: &Job) -> Outcome {
        let mut body = Vec::from(&b"{\"alerts\":["[..]);
        for (index, item) in job.items.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            let message = message::of(&item.alert, job.address.language);
            json::encode_alert(&item.alert, &message, &mut body);
        }
        body.extend_from_slice(b"]}");
        let body = String::from_utf8(body).unwrap_or_default();
        let at = clock::now().0.to_string();
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.secret.0.as_bytes()).expect("HMAC accepts keys of any length");
        mac.update(format!("{at}.{body}").as_bytes());
        let signature = format!("sha256={}", hex(&mac.finalize().into_bytes()));
        let key: String = job.key.chars().filter(char::is_ascii_graphic).collect();
        let headers = [
            ("x-funnelwatch-timestamp", at.as_str()),
            ("x-funnelwatch-signature", &signature),
            ("idempotency-key", &key),
        ];
        match self.client.post(&self.url, &headers, &body) {
            Ok(answer) if (200..300).contains(&answer.status) => Outcome::Sent(Some(key)),
            Ok(answer) if matches!(answer.status, 408 | 425 | 429) || answer.status >= 500 => {
                let seconds = answer.retry_after.unwrap_or(10).min(3600);
                Outcome::Later(Span(seconds as i64 * 1000), "busy")
            }
            Ok(answer) if matches!(answer.status, 401 | 403 | 404) => Outcome::Later(Span(60_000), "no_access"),
            Ok(_) => Outcome::Refused("bad_request"),
            Err(kind) => Outcome::Later(Span(10_000), kind),
        }
    }

    fn check(&mut self) -> Result<String, String> {
        match self.client.get(&self.url, &[]) {
            Ok(answer) => {
                Ok(format!("the program can be reached (a request without alerts is answered with {})", answer.status))
            }
            Err(kind) => Err(format!("the program cannot be reached ({kind})")),
        }
    }
}
