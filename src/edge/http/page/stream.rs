//! Owns what viewers are sent while they look: a fragment is rendered once per view and tick for all its viewers, and only
//! if it has changed. It becomes an event once, too: the viewers share its bytes.
//!
//! **Bounds.** There is a view for as long as somebody looks, so there are no more of them than connections. A viewer that
//! reads slowly gets the newest fragment and none of those in between; one that does not read is closed by the server.

use super::links::View;
use crate::dataflow::live::{TenantSnapshot, lock};
use crate::domain::figures::row::Subject;
use crate::domain::id::TenantId;
use crate::edge::http::access::Viewer;
use crate::edge::http::context::HttpState;
use crate::edge::http::source::{Open, Source};
use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often a view is rendered.
const TICK: Duration = Duration::from_secs(1);
/// How old a snapshot may be that another view has taken.
const SHARED_FOR: Duration = Duration::from_millis(900);
/// How often something is sent at least: proxies close silent connections.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A company as all its views see it.
pub(super) struct Seen {
    pub(super) snapshot: TenantSnapshot,
    pub(super) alerts: Vec<Open>,
    /// The open violations of managers over the day.
    pub(super) courses: BTreeMap<Subject, Vec<f64>>,
    /// Why the figures are not complete.
    pub(super) not_ready: Option<String>,
}

/// Renders the changing part of a view.
pub(super) type Render = fn(&Streams, &View) -> String;

/// A company as it was seen, and when.
type Taken = (Instant, Arc<Seen>);

/// The views that somebody looks at.
pub(crate) struct Streams {
    pub(crate) http: HttpState,
    views: Mutex<HashMap<View, watch::Sender<Bytes>>>,
    seen: Mutex<HashMap<(TenantId, Arc<Viewer>), Taken>>,
}

impl Streams {
    pub(super) fn new(http: HttpState) -> Self {
        Self { http, views: Mutex::default(), seen: Mutex::default() }
    }

    /// A company as a viewer sees it now; `None` if there is none. Blocks while it is summed up.
    pub(super) fn seen(&self, viewer: &Arc<Viewer>, tenant: &TenantId) -> Option<Arc<Seen>> {
        let mut companies = lock(&self.seen);
        companies.retain(|_, (taken, _)| taken.elapsed() < SHARED_FOR);
        let key = (tenant.clone(), Arc::clone(viewer));
        if let Some((_, seen)) = companies.get(&key) {
            return Some(Arc::clone(seen));
        }
        let source = Source::new(&self.http.context, viewer);
        let (snapshot, alerts) = (source.snapshot(tenant)?, source.alerts(tenant));
        let courses = source.courses(tenant, "open_alerts");
        let not_ready = self.http.context.liveness.ready().err();
        let seen = Arc::new(Seen { snapshot, alerts, courses, not_ready });
        companies.insert(key, (Instant::now(), Arc::clone(&seen)));
        Some(seen)
    }

    fn subscribe(self: &Arc<Self>, view: &View, render: Render) -> watch::Receiver<Bytes> {
        let mut views = lock(&self.views);
        if let Some(sender) = views.get(view) {
            let mut receiver = sender.subscribe();
            receiver.mark_changed();
            return receiver;
        }
        let (sender, receiver) = watch::channel(Bytes::new());
        views.insert(view.clone(), sender.clone());
        tokio::spawn(update(Arc::clone(self), view.clone(), render, sender));
        receiver
    }

    /// Removes a view that nobody looks at.
    fn is_over(&self, view: &View, sender: &watch::Sender<Bytes>) -> bool {
        let mut views = lock(&self.views);
        let is_over = sender.receiver_count() == 0;
        if is_over {
            views.remove(view);
        }
        is_over
    }
}

/// Renders a view until nobody looks at it.
async fn update(streams: Arc<Streams>, view: View, render: Render, sender: watch::Sender<Bytes>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if streams.is_over(&view, &sender) {
            return;
        }
        let (of_work, viewed) = (Arc::clone(&streams), view.clone());
        let Ok(event) = streams.http.compute(move || event(&render(&of_work, &viewed))).await else { continue };
        sender.send_if_modified(|last| {
            let has_changed = *last != event;
            if has_changed {
                *last = event;
            }
            has_changed
        });
    }
}

/// A fragment as a server-sent event (<https://html.spec.whatwg.org/multipage/server-sent-events.html>); empty if it is.
fn event(fragment: &str) -> Bytes {
    let mut event = String::with_capacity(fragment.len() + 64);
    if !fragment.is_empty() {
        for line in fragment.split(['\n', '\r']) {
            event.push_str("data: ");
            event.push_str(line);
            event.push('\n');
        }
        event.push('\n');
    }
    event.into()
}

/// The events of a view, without end; a comment where there is none for long.
pub(super) fn of(streams: &Arc<Streams>, view: &View, render: Render) -> Response {
    let receiver = streams.subscribe(view, render);
    let events = stream::unfold(receiver, |mut receiver| async move {
        loop {
            match timeout(KEEP_ALIVE, receiver.changed()).await {
                Err(_) => return Some((Ok::<_, Infallible>(Bytes::from_static(b":\n\n")), receiver)),
                Ok(changed) => changed.ok()?,
            }
            let event = receiver.borrow_and_update().clone();
            if !event.is_empty() {
                return Some((Ok(event), receiver));
            }
        }
    });
    ([(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-cache")], Body::from_stream(events)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_a_fragment_is_data() {
        assert_eq!(event("<p>a\nb\rc</p>"), "data: <p>a\ndata: b\ndata: c</p>\n\n");
        assert_eq!(event(""), "");
    }
}
