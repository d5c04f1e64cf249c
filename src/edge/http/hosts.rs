//! Which requests are accepted by the name they address, on every endpoint.
//!
//! A web page can make a browser send requests to this process and read the responses, if the name of its site resolves
//! to the address of this process (DNS rebinding). Such requests carry the name as `Host`. So a name must be allowed. An
//! IP address needs not be: a page has the address of this process as its site only if this process served it. Prometheus
//! and the kubelet address pods by IP address.

use super::response::ApiError;
use crate::telemetry::http_metrics::HttpMetrics;
use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// The host that a request addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Address(IpAddr),
    /// In lower case, without a final dot.
    Name(String),
}

impl Host {
    /// `HOST` or `HOST:PORT` (<https://www.rfc-editor.org/rfc/rfc9110#name-host-and-authority>).
    fn parse(text: &str) -> Option<Self> {
        let (host, rest) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, rest) = rest.split_once(']')?;
                (Self::Address(address.parse::<Ipv6Addr>().ok()?.into()), rest)
            }
            None => {
                let (name, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
                let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
                let host = match name.parse::<Ipv4Addr>() {
                    Ok(address) => Self::Address(address.into()),
                    Err(_) if !name.is_empty() && name.bytes().all(is_name) => {
                        Self::Name(name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase())
                    }
                    Err(_) => return None,
                };
                (host, rest)
            }
        };
        let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
        (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port)).then_some(host)
    }

    /// This machine.
    pub(super) fn local() -> Self {
        Self::Name("localhost".into())
    }

    /// Whether it is `localhost` or a loopback address.
    pub(super) fn is_local(&self) -> bool {
        match self {
            Self::Address(address) => address.to_canonical().is_loopback(),
            Self::Name(name) => name == "localhost",
        }
    }
}

/// The accepted names.
pub(super) struct Hosts {
    allowed: Vec<String>,
    metrics: Arc<HttpMetrics>,
}

impl Hosts {
    /// `*.NAME` allows all names below `NAME`.
    pub(super) fn new(allowed: &[String], metrics: Arc<HttpMetrics>) -> Self {
        Self { allowed: allowed.to_vec(), metrics }
    }

    fn allows(&self, host: &Host) -> bool {
        let Host::Name(name) = host else { return true };
        let is_below =
            |parent: &str| name.strip_suffix(parent).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'));
        host.is_local()
            || self.allowed.iter().any(|allowed| match allowed.strip_prefix("*.") {
                Some(parent) => is_below(parent),
                None => allowed == name,
            })
    }

    /// The host that a request addresses, if it is accepted.
    fn host_of(&self, headers: &HeaderMap, uri: &Uri) -> Result<Host, ApiError> {
        let bad = |text: &str| ApiError::new(StatusCode::BAD_REQUEST, text);
        let text = single(headers, &HOST).ok_or_else(|| bad("expected one Host header"))?;
        let host = Host::parse(text).ok_or_else(|| bad("expected a Host header such as localhost:9464"))?;
        if uri.authority().is_some_and(|authority| authority.as_str() != text) {
            return Err(bad("the address of the request is not its Host header"));
        }
        let refused = |text: &str| ApiError::new(StatusCode::FORBIDDEN, text);
        if !self.allows(&host) {
            return Err(refused("this host name is not allowed; list it in http_server.allowed_hosts"));
        }
        // Of its own pages a browser sends this host as origin; this process has no pages, a proxy in front of it may.
        let own = |origin: &str| origin.split_once("://").is_some_and(|(_, origin)| origin.eq_ignore_ascii_case(text));
        if headers.contains_key(ORIGIN) && !single(headers, &ORIGIN).is_some_and(own) {
            return Err(refused("requests of pages of other sites are not accepted"));
        }
        Ok(host)
    }
}

/// The value of a header that is present once.
fn single<'a>(headers: &'a HeaderMap, name: &axum::http::HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter().map(HeaderValue::to_str);
    match (values.next(), values.next()) {
        (Some(Ok(value)), None) => Some(value),
        _ => None,
    }
}

/// Passes a request on with its [`Host`], or rejects it.
pub(super) async fn check(State(hosts): State<Arc<Hosts>>, mut request: Request, next: Next) -> Response {
    match hosts.host_of(request.headers(), request.uri()) {
        Ok(host) => {
            request.extensions_mut().insert(host);
            next.run(request).await
        }
        Err(error) => {
            hosts.metrics.refuse();
            error.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(allowed: &[&str], headers: &[(&'static str, &str)]) -> u16 {
        let allowed: Vec<_> = allowed.iter().map(|name| (*name).to_owned()).collect();
        let hosts = Hosts::new(&allowed, Arc::new(HttpMetrics::new(1)));
        let header = |(name, value): &(&'static str, &str)| {
            (axum::http::HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
        };
        let headers: HeaderMap = headers.iter().map(header).fold(HeaderMap::new(), |mut all, (name, value)| {
            all.append(name, value);
            all
        });
        hosts.host_of(&headers, &Uri::from_static("/metrics")).map_or_else(|error| error.status().as_u16(), |_| 200)
    }

    #[test]
    fn addresses_localhost_and_allowed_names_are_accepted() {
        let allowed = ["funnelwatch", "*.example.org"];
        for host in [
            "localhost",
            "LOCALHOST:9464",
            "localhost.",
            "127.0.0.1:9464",
            "10.1.2.3",
            "[::1]:9464",
            "[fd00::7]",
            "funnelwatch:9464",
            "Funnelwatch.",
            "a.example.org",
            "a.b.example.org:1",
        ] {
            assert_eq!(status(&allowed, &[("host", host)]), 200, "{host}");
        }
        for host in ["evil.org", "localhost.evil.org:80", "example.org", "evilexample.org", ".example.org", "127.1"] {
            assert_eq!(status(&allowed, &[("host", host)]), 403, "{host}");
        }
        for host in [
            "",
            ":80",
            "127.0.0.1:9464, evil",
            "127.0.0.1:9464,evil",
            "localhost:80:80",
            "localhost:",
            "localhost:x",
            "localhost:+1",
            "localhost:65536",
            "user@localhost",
            "[::1",
            "[::1]x",
            "[127.0.0.1]",
            "localhost/",
            "a b",
        ] {
            assert_eq!(status(&allowed, &[("host", host)]), 400, "{host}");
        }
        assert_eq!(status(&allowed, &[]), 400, "no host");
        assert_eq!(status(&allowed, &[("host", "localhost"), ("host", "localhost")]), 400, "two hosts");
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let of = |origin: &str| status(&[], &[("host", "localhost:9464"), ("origin", origin)]);
        assert_eq!([of("http://localhost:9464"), of("https://LOCALHOST:9464")], [200; 2]);
        for origin in ["http://localhost", "http://evil.org", "null", "", "localhost:9464", "http://localhost:9464/"] {
            assert_eq!(of(origin), 403, "{origin}");
        }
    }

    #[test]
    fn only_this_host_is_local() {
        let is_local = |text: &str| Host::parse(text).is_some_and(|host| host.is_local());
        for host in ["localhost", "LOCALHOST:9464", "127.0.0.1:9464", "127.8.9.1", "[::1]:9464", "[::ffff:127.0.0.1]"] {
            assert!(is_local(host), "{host}");
        }
        for host in ["example.org", "localhost.example.org:80", "10.0.0.1", "[::2]:80", "127.0.0.1, evil", ""] {
            assert!(!is_local(host), "{host}");
        }
    }
}
