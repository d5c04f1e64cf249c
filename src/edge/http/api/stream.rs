//! Owns the stream of open alerts of the API: all of them at first, and whenever one changes.
//!
//! A client that reads slowly gets the newest state and none of those in between; nothing is kept for it.

use super::asked::{ApiResult, Asked, check, line};
use super::endpoints::STREAM;
use crate::codec::json;
use crate::dataflow::live::OpenAlert;
use crate::domain::rule::message;
use axum::http::HeaderName;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream;
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// How often the alerts are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often something is sent at least.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) async fn alerts(Asked(request, tenant, filters): Asked<String>) -> ApiResult {
    check(&filters, &STREAM)?;
    let tenant = request.tenant(&tenant)?;
    let (http, source, language) = (request.http.clone(), request.source.clone(), request.http.context.language);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let events = stream::unfold((ticks, None::<Vec<u8>>), move |(mut ticks, last)| {
        let (http, source, tenant) = (http.clone(), source.clone(), tenant.clone());
        async move {
            loop {
                ticks.tick().await;
                let (source, tenant) = (source.clone(), tenant.clone());
                let body = http.compute(move || {
                    let open = source.contains(&tenant).then(|| source.alerts(&tenant))?;
                    let all: Vec<_> = open
                        .iter()
                        .map(|OpenAlert { alert, taken }| (&**alert, taken.as_ref(), message::of(alert, language)))
                        .collect();
                    let mut body = line(|body| json::encode_alerts(&tenant, &all, body));
                    body.pop();
                    Some(body)
                });
                // The end of the stream says that the tenant is no longer here.
                let body = body.await.ok()??;
                if last.as_ref() != Some(&body) {
                    let event = Event::default().event("alerts").data(String::from_utf8_lossy(&body));
                    return Some((Ok::<_, Infallible>(event), (ticks, Some(body))));
                }
            }
        }
    });
    let events = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    // nginx would collect the events (https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_buffering).
    Ok(([(HeaderName::from_static("x-accel-buffering"), "no")], events).into_response())
}
