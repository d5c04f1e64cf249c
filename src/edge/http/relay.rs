//! Streams the page of a tenant to a viewer, wherever the tenant is: when its shard moves, the viewer is shown that, and the
//! stream goes on with the process that has the shard then.
//!
//! Only whole events are passed on: one that was cut off by the end of a process would be shown as a part of the page.

use super::forward::Forwarder;
use super::forwarding::{CHECK, Forwarding, is_stream};
use super::page;
use crate::edge::members::Decision;
use crate::telemetry::member_metrics::Forwarded;
use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::http::request::Parts;
use axum::http::{StatusCode, response};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::time::{sleep, timeout};

/// The longest event.
const MAX_EVENT: usize = 8 << 20;
/// After how many checks without an event a viewer is sent a comment, so that proxies keep the connection.
const QUIET: u32 = 15;
/// After how many checks a source that sends nothing, not even a comment, is given up.
const SILENT: u32 = 40;
/// The end of an event.
const END: &[u8] = b"\n\n";

/// The stream of one viewer.
struct Relay {
    state: Forwarding,
    tenant: String,
    request: Parts,
    next: Next,
    /// Where the events come from.
    source: Option<(Decision, BodyDataStream)>,
    /// The beginning of an event.
    buffer: Vec<u8>,
    /// The viewer knows that the shard is being moved.
    is_said: bool,
    /// Checks since something was received or sent.
    quiet: u32,
}

/// The result of an attempt to find a source.
enum Opened {
    Events(response::Parts),
    /// No process answers for the tenant.
    Moving,
    /// The answer is something else than a stream.
    Other(Response),
}

/// The stream of a tenant's page.
pub(super) async fn stream(state: Forwarding, tenant: String, request: Parts, next: Next) -> Response {
    let (source, buffer) = (None, Vec::new());
    let mut relay = Relay { state, tenant, request, next, source, buffer, is_said: false, quiet: 0 };
    let opened = relay.open().await;
    let body = |relay| Body::from_stream(stream::unfold(relay, Relay::step));
    match opened {
        Opened::Events(head) => Response::from_parts(head, body(relay)),
        Opened::Moving => {
            let headers = [(CONTENT_TYPE, "text/event-stream"), (HeaderName::from_static("x-accel-buffering"), "no")];
            (headers, body(relay)).into_response()
        }
        Opened::Other(response) => response,
    }
}

impl Relay {
    /// Looks for a source.
    async fn open(&mut self) -> Opened {
        let decision = self.state.decide(&self.tenant);
        let response = match &decision {
            Decision::Here => {
                let request = Request::from_parts(self.request.clone(), Body::empty());
                self.next.clone().run(request).await
            }
            Decision::Elsewhere(member) => {
                let forwarder: &Arc<Forwarder> = &self.state.forwarder;
                match forwarder.send(member, &self.request, &self.request.uri, Bytes::new()).await {
                    Ok(response) => response,
                    Err(_) => return Opened::Moving,
                }
            }
            Decision::Moving => {
                self.state.members.metrics().forwarded(Forwarded::Moving);
                return Opened::Moving;
            }
        };
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            return Opened::Moving;
        }
        if !is_stream(&response) {
            return Opened::Other(response);
        }
        let (head, body) = response.into_parts();
        self.source = Some((decision, body.into_data_stream()));
        (self.is_said, self.quiet) = (false, 0);
        Opened::Events(head)
    }

    /// Waits for what the viewer is sent next.
    async fn step(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        loop {
            let Some((decision, data)) = &mut self.source else {
                match self.open().await {
                    Opened::Events(_) => {}
                    Opened::Other(_) => return None,
                    Opened::Moving if !self.is_said => {
                        self.is_said = true;
                        let text = page::moving_fragment(&self.state.page, &self.request.uri, &self.request.headers);
                        return Some((Ok(format!("data: {text}\n\n").into()), self));
                    }
                    Opened::Moving => {
                        sleep(CHECK).await;
                        self.quiet += 1;
                        if self.quiet.is_multiple_of(QUIET) {
                            return Some((Ok(Bytes::from_static(b":\n\n")), self));
                        }
                    }
                }
                continue;
            };
            let received = timeout(CHECK, data.next()).await;
            if self.state.decide(&self.tenant) != *decision {
                self.close();
                continue;
            }
            match received {
                Ok(Some(Ok(bytes))) => {
                    self.quiet = 0;
                    if let Some(events) = self.events(&bytes) {
                        return Some((Ok(events), self));
                    }
                    if self.buffer.len() > MAX_EVENT {
                        self.close();
                    }
                }
                Ok(Some(Err(_)) | None) => {
                    self.close();
                    // A source that ends at once must not be asked again and again.
                    sleep(CHECK).await;
                }
                Err(_) => {
                    self.quiet += 1;
                    if self.quiet > SILENT {
                        self.close();
                    }
                }
            }
        }
    }

    /// The whole events up to these bytes.
    fn events(&mut self, bytes: &[u8]) -> Option<Bytes> {
        // The end may have come in two parts.
        let from = self.buffer.len().saturating_sub(END.len() - 1);
        self.buffer.extend_from_slice(bytes);
        let end = self.buffer[from..].windows(END.len()).rposition(|two| two == END)?;
        let rest = self.buffer.split_off(from + end + END.len());
        Some(std::mem::replace(&mut self.buffer, rest).into())
    }

    fn close(&mut self) {
        self.source = None;
        self.buffer.clear();
    }
}
