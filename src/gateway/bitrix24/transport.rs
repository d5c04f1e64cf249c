//! Owns the HTTP connection to a portal: one POST at a time, no redirect followed, answers bounded in size and time.
//!
//! The addresses of requests contain the secret, so nothing that the HTTP library reports is passed on; failures are named
//! by their kind.

use super::answer::Received;
use super::webhook::Webhook;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};

/// The largest answer that is read. A batch of 25 lists of 50 objects with all fields is about a quarter of it.
const MAX_ANSWER_BYTES: u64 = 32 << 20;

/// A portal ends a request after 60 s.
const MAX_TIME: Duration = Duration::from_secs(75);

/// Sends requests to a portal.
pub trait Transport: Send {
    /// Posts `body`, which is JSON, to a method. The error names the kind of failure.
    fn post(&mut self, webhook: &Webhook, method: &str, body: &str) -> Result<Received, &'static str>;
}

/// The real connection.
pub struct Http {
    agent: ureq::Agent,
}

/// The certificates of a private authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The file cannot be read.
    #[error("cannot read the file of the private authority: {0}")]
    Unreadable(std::io::Error),
    /// It contains something else.
    #[error("the file of the private authority contains no certificate in PEM")]
    NoCertificate,
}

impl Http {
    /// A connection that trusts the authorities of the system and those in `ca`.
    pub fn new(ca: Option<&Path>) -> Result<Self, CaError> {
        Self::within(ca, MAX_TIME)
    }

    /// The same, which gives a request this time from its beginning to the end of the answer.
    pub fn within(ca: Option<&Path>, time: Duration) -> Result<Self, CaError> {
        let system = rustls_native_certs::load_native_certs().certs;
        let mut roots: Vec<Certificate<'static>> =
            system.iter().map(|certificate| Certificate::from_der(certificate.as_ref()).to_owned()).collect();
        if let Some(ca) = ca {
            let pem = std::fs::read(ca).map_err(CaError::Unreadable)?;
            let before = roots.len();
            roots.extend(ureq::tls::parse_pem(&pem).filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            }));
            if roots.len() == before {
                return Err(CaError::NoCertificate);
            }
        }
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // Signed links answer 404 without one.
            .user_agent(concat!("funnelwatch/", env!("CARGO_PKG_VERSION"), " (gateway)"))
            .timeout_global(Some(time))
            .timeout_connect(Some(Duration::from_secs(10)))
            .max_idle_connections_per_host(1)
            .build();
        Ok(Self { agent: config.new_agent() })
    }
}

impl Transport for Http {
    fn post(&mut self, webhook: &Webhook, method: &str, body: &str) -> Result<Received, &'static str> {
        let request = self.agent.post(webhook.address(method)).header("content-type", "application/json");
        let mut response = request.header("accept", "application/json").send(body).map_err(|error| kind(&error))?;
        let status = response.status().as_u16();
        let location = response.headers().get("location").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut bytes = Vec::new();
        let body = response.body_mut().with_config().limit(u64::MAX).reader();
        body.take(MAX_ANSWER_BYTES + 1).read_to_end(&mut bytes).map_err(|error| match error.kind() {
            std::io::ErrorKind::TimedOut => "timeout",
            _ => match error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
                Some(error) => kind(error),
                None => "cut_off",
            },
        })?;
        if bytes.len() as u64 > MAX_ANSWER_BYTES {
            return Err("too_large");
        }
        Ok(Received { status, location, body: bytes })
    }
}

/// The kind of a failure, for messages and metrics.
fn kind(error: &ureq::Error) -> &'static str {
    use ureq::Error;
    match error {
        Error::Timeout(_) => "timeout",
        Error::HostNotFound => "host_not_found",
        Error::ConnectionFailed => "no_connection",
        Error::Io(error) => match error.kind() {
            std::io::ErrorKind::TimedOut => "timeout",
            std::io::ErrorKind::ConnectionRefused => "connection_refused",
            std::io::ErrorKind::InvalidData => "tls",
            _ => "no_connection",
        },
        Error::Tls(_) | Error::Pem(_) | Error::Rustls(_) => "tls",
        _ => "protocol",
    }
}
