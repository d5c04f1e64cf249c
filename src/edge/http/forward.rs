//! Sends requests to other processes, and streams their answers back.
//!
//! **Bounds.** A connection for each request; time limits for connecting, for the head of the answer and for the silence in it;
//! at most [`MAX_WAITING`] requests wait for one process. So a process that hangs holds few of them, each for some seconds.

use super::access::is_meant;
use crate::dataflow::live::lock;
use crate::edge::members::{Member, Members};
use crate::telemetry::member_metrics::Forwarded;
use axum::body::{Body, Bytes};
use axum::http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, ORIGIN, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use axum::response::Response;
use futures_util::stream::{self, StreamExt};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// The process that forwards a request; in a response, that the receiver has another token.
pub(super) const MEMBER: HeaderName = HeaderName::from_static("funnelwatch-member");
/// The token that it shows.
pub(super) const TOKEN: HeaderName = HeaderName::from_static("funnelwatch-member-token");

/// Time to connect to another process.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time until it begins to answer.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest silence within an answer. Streams say something every fifteen seconds.
const SILENCE: Duration = Duration::from_secs(40);
/// The most requests that wait for the answer of one process.
const MAX_WAITING: usize = 16;

/// Headers that are for one connection only (<https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1>).
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Sends requests to other processes.
pub(super) struct Forwarder {
    members: Arc<Members>,
    /// The numbers of requests that wait, by process.
    waiting: Mutex<BTreeMap<String, usize>>,
}

impl Forwarder {
    pub(super) fn new(members: Arc<Members>) -> Self {
        Self { members, waiting: Mutex::default() }
    }

    /// Sends a request and waits for the head of the answer. Counts what becomes of it.
    pub(super) async fn send(
        self: &Arc<Self>,
        member: &Member,
        parts: &Parts,
        uri: &Uri,
        body: Bytes,
    ) -> Result<Response, Forwarded> {
        let sent = self.try_send(member, parts, uri, body).await;
        let result = sent.as_ref().map_or_else(|failure| *failure, |_| Forwarded::Answered);
        self.members.metrics().forwarded(result);
        sent
    }

    async fn try_send(
        self: &Arc<Self>,
        member: &Member,
        parts: &Parts,
        uri: &Uri,
        body: Bytes,
    ) -> Result<Response, Forwarded> {
        let unreachable = |error: &dyn std::fmt::Display| {
            tracing::debug!("forward a request to {} at {}: {error}", member.name, member.url);
            Forwarded::Unreachable
        };
        let _permit = self.wait_for(&member.name).ok_or(Forwarded::Busy)?;
        let mut request = Request::builder().method(&parts.method).uri(uri).body(Body::from(body));
        let request = request.as_mut().map_err(|error| unreachable(error))?;
        let host = HeaderValue::from_str(member.url.authority()).map_err(|error| unreachable(&error))?;
        *request.headers_mut() = self.headers(&parts.headers, host);
        let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(member.url.target())).await;
        let stream = connected.map_err(|_| Forwarded::Late)?.map_err(|error| unreachable(&error))?;
        // Events are small, and each is to arrive at once.
        let _ = stream.set_nodelay(true);
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
        let driven = Driven(
            tokio::spawn(async move {
                // Its error is that of the request or of the body.
                let _ = connection.await;
            })
            .abort_handle(),
        );
        let answer = timeout(HEAD_TIMEOUT, sender.send_request(std::mem::take(request))).await;
        let (mut head, body) = answer.map_err(|_| Forwarded::Late)?.map_err(|error| unreachable(&error))?.into_parts();
        HOP_BY_HOP.iter().for_each(|name| drop(head.headers.remove(name)));
        // Not the user is refused, but this process.
        if head.headers.remove(MEMBER).is_some() {
            tracing::debug!("forward a request to {} at {}: it has another token", member.name, member.url);
            return Err(Forwarded::Refused);
        }
        let data = (Body::new(body).into_data_stream(), driven);
        let body = stream::unfold(data, |(mut data, driven)| async move {
            let item = match timeout(SILENCE, data.next()).await {
                Ok(item) => item?.map_err(io::Error::other),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            };
            Some((item, (data, driven)))
        });
        Ok(Response::from_parts(head, Body::from_stream(body)))
    }

    /// The headers of a request for another process: those of the client, without those that are for this connection.
    fn headers(&self, of_client: &HeaderMap, host: HeaderValue) -> HeaderMap {
        let mut headers = of_client.clone();
        // This process has compared the origin with the host that the client addressed.
        for name in HOP_BY_HOP.iter().chain(&[CONTENT_LENGTH, EXPECT, ORIGIN, MEMBER, TOKEN]) {
            headers.remove(name);
        }
        let named = of_client.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
        for name in named.flat_map(|names| names.split(',')) {
            headers.remove(name.trim());
        }
        if is_meant(of_client) {
            // Without the origin the other process could not see that no other site has caused it.
            headers.insert(HeaderName::from_static("sec-fetch-site"), HeaderValue::from_static("same-origin"));
        }
        headers.insert(HOST, host);
        if let Ok(name) = HeaderValue::from_str(self.members.name()) {
            headers.insert(MEMBER, name);
        }
        if let Some(mut token) = self.members.token().and_then(|token| HeaderValue::from_str(token).ok()) {
            token.set_sensitive(true);
            headers.insert(TOKEN, token);
        }
        headers
    }

    /// A permit to wait for a process; `None`: too many wait.
    fn wait_for(self: &Arc<Self>, member: &str) -> Option<Waiting> {
        let mut waiting = lock(&self.waiting);
        let count = waiting.entry(member.to_owned()).or_default();
        if *count >= MAX_WAITING {
            return None;
        }
        *count += 1;
        Some(Waiting { forwarder: Arc::clone(self), member: member.to_owned() })
    }
}

/// A request that waits for the answer of a process.
struct Waiting {
    forwarder: Arc<Forwarder>,
    member: String,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waiting = lock(&self.forwarder.waiting);
        if let Some(count) = waiting.get_mut(&self.member) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.member);
            }
        }
    }
}

/// The task that moves the bytes of a connection. It ends with the answer, or with the client that no longer wants it.
struct Driven(AbortHandle);

impl Drop for Driven {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forwarded_request_carries_what_the_client_sent_and_nothing_for_the_connection() {
        let members = Members::new("funnelwatch-0", Some("0123456789abcdef"), Arc::default());
        let forwarder = Forwarder::new(Arc::new(members));
        let mut of_client = HeaderMap::new();
        for (name, value) in [
            ("host", "page.example.org"),
            ("origin", "https://page.example.org"),
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("content-length", "5"),
            ("transfer-encoding", "chunked"),
            ("authorization", "Bearer user"),
            ("cookie", "funnelwatch_session=1.2"),
            ("accept", "text/csv"),
            ("funnelwatch-member", "forged"),
            ("funnelwatch-member-token", "forged"),
        ] {
            of_client.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let headers = forwarder.headers(&of_client, HeaderValue::from_static("10.0.0.7:9464"));
        let mut sent: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("ASCII"))).collect();
        sent.sort_unstable();
        assert_eq!(
            sent,
            [
                ("accept", "text/csv"),
                ("authorization", "Bearer user"),
                ("cookie", "funnelwatch_session=1.2"),
                ("funnelwatch-member", "funnelwatch-0"),
                ("funnelwatch-member-token", "0123456789abcdef"),
                ("host", "10.0.0.7:9464"),
                ("sec-fetch-site", "same-origin"),
            ]
        );
    }

    #[test]
    fn few_requests_wait_for_one_process() {
        let forwarder = Arc::new(Forwarder::new(Arc::new(Members::new("a", None, Arc::default()))));
        let waiting: Vec<_> = (0..MAX_WAITING).map(|_| forwarder.wait_for("b").expect("room")).collect();
        assert!(forwarder.wait_for("b").is_none());
        assert!(forwarder.wait_for("c").is_some(), "another one is not affected");
        drop(waiting);
        assert!(forwarder.wait_for("b").is_some());
        assert!(lock(&forwarder.waiting).is_empty());
    }
}
