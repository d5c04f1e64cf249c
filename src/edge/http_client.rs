//! Owns requests to other programs over HTTP: no redirect followed, answers bounded in size and time.
//!
//! Addresses may contain secrets, so nothing that the HTTP library reports is passed on; failures are named by their kind.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};

/// Sends requests.
#[derive(Clone)]
pub struct HttpClient {
    agent: ureq::Agent,
    max_bytes: u64,
}

/// How requests are sent.
#[derive(Clone, Copy, Debug)]
pub struct HttpClientSettings<'a> {
    /// PEM file of a private authority that is trusted besides those of the system.
    pub ca: Option<&'a Path>,
    /// The time from the beginning of a request to the end of its answer.
    pub time: Duration,
    /// The largest answer that is read, in bytes.
    pub max_bytes: u64,
    /// What the program is called in `User-Agent`.
    pub name: &'a str,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The address of a redirect.
    pub location: Option<String>,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// The whole body.
    pub body: Vec<u8>,
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

impl HttpClient {
    /// A client that trusts the authorities of the system and those of the settings.
    pub fn new(settings: HttpClientSettings<'_>) -> Result<Self, CaError> {
        let system = rustls_native_certs::load_native_certs().certs;
        let mut roots: Vec<Certificate<'static>> =
            system.iter().map(|certificate| Certificate::from_der(certificate.as_ref()).to_owned()).collect();
        if let Some(ca) = settings.ca {
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
            // Signed links of portals answer 404 without one.
            .user_agent(format!("funnelwatch/{} ({})", env!("CARGO_PKG_VERSION"), settings.name))
            .timeout_global(Some(settings.time))
            .timeout_connect(Some(settings.time.min(Duration::from_secs(10))))
            .max_idle_connections_per_host(1)
            .build();
        Ok(Self { agent: config.new_agent(), max_bytes: settings.max_bytes })
    }

    /// Posts a JSON document. The error names the kind of failure.
    pub fn post(&self, address: &str, headers: &[(&str, &str)], body: &str) -> Result<HttpAnswer, &'static str> {
        let request = self.agent.post(address).header("content-type", "application/json");
        let request = request.header("accept", "application/json");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.read(request.send(body))
    }

    /// Reads a document.
    pub fn get(&self, address: &str, headers: &[(&str, &str)]) -> Result<HttpAnswer, &'static str> {
        let request = self.agent.get(address).header("accept", "application/json");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.read(request.call())
    }

    fn read(&self, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<HttpAnswer, &'static str> {
        let mut response = answer.map_err(|error| kind(&error))?;
        let status = response.status().as_u16();
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let (location, retry_after) =
            (header("location").map(str::to_owned), header("retry-after").and_then(|seconds| seconds.parse().ok()));
        let mut bytes = Vec::new();
        let body = response.body_mut().with_config().limit(u64::MAX).reader();
        body.take(self.max_bytes + 1).read_to_end(&mut bytes).map_err(|error| match error.kind() {
            std::io::ErrorKind::TimedOut => "timeout",
            _ => match error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
                Some(error) => kind(error),
                None => "cut_off",
            },
        })?;
        if bytes.len() as u64 > self.max_bytes {
            return Err("too_large");
        }
        Ok(HttpAnswer { status, location, retry_after, body: bytes })
    }
}

/// Whether a request that failed in this way may have had its effect.
pub fn may_have_arrived(kind: &str) -> bool {
    matches!(kind, "timeout" | "cut_off" | "protocol" | "too_large")
}

/// The kind of a failure, for messages and metrics.
fn kind(error: &ureq::Error) -> &'static str {
    use ureq::{Error, Timeout};
    match error {
        Error::Timeout(Timeout::Resolve | Timeout::Connect) => "connect_timeout",
        Error::Timeout(_) => "timeout",
        Error::HostNotFound => "host_not_found",
        Error::ConnectionFailed => "no_connection",
        Error::Io(error) => match error.kind() {
            std::io::ErrorKind::TimedOut => "timeout",
            std::io::ErrorKind::ConnectionRefused => "connection_refused",
            std::io::ErrorKind::InvalidData => "tls",
            std::io::ErrorKind::HostUnreachable
            | std::io::ErrorKind::NetworkUnreachable
            | std::io::ErrorKind::AddrNotAvailable => "no_connection",
            _ => "cut_off",
        },
        Error::Tls(_) | Error::Pem(_) | Error::Rustls(_) => "tls",
        _ => "protocol",
    }
}
