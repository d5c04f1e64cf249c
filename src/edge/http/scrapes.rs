//! One rendered scrape for all that ask for it at the same time.
//!
//! **Bound.** At most two scrapes are in memory: the latest, and the one before it until its readers have it, for which
//! the write timeout is the limit. Until then the latest is not replaced, however old it is.

use crate::telemetry::exporter::Exporter;
use crate::telemetry::http_metrics::HttpMetrics;
use axum::body::Bytes;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Renders scrapes and shares them.
pub(super) struct Scrapes {
    exporter: Arc<Exporter>,
    metrics: Arc<HttpMetrics>,
    /// The age up to which a scrape is shared.
    shared_for: Duration,
    pages: Arc<Mutex<Pages>>,
}

/// The scrapes in memory; the lock serializes requests, so that those that come during a rendering share it.
#[derive(Default)]
struct Pages {
    latest: Option<(Instant, Arc<[u8]>)>,
    /// The one before; only its readers keep it.
    previous: Option<Weak<[u8]>>,
}

impl Scrapes {
    pub(super) fn new(exporter: Arc<Exporter>, metrics: Arc<HttpMetrics>, shared_for: Duration) -> Self {
        Self { exporter, metrics, shared_for, pages: Arc::default() }
    }

    /// The latest scrape, rendered if there is none to share; `None`: rendering panicked.
    pub(super) async fn latest(&self) -> Option<Bytes> {
        let pages = Arc::clone(&self.pages).lock_owned().await;
        let is_shared = |(at, _): &&(Instant, Arc<[u8]>)| {
            at.elapsed() < self.shared_for || pages.previous.as_ref().is_some_and(|text| text.strong_count() > 0)
        };
        let shared = pages.latest.as_ref().filter(is_shared).map(|(_, text)| Arc::clone(text));
        self.metrics.scraped(shared.is_some());
        let text = match shared {
            Some(text) => text,
            None => self.render(pages).await?,
        };
        Some(Bytes::from_owner(text))
    }

    /// Renders on a separate thread. The lock goes with it: a client that leaves starts no second rendering beside this
    /// one.
    async fn render(&self, mut pages: OwnedMutexGuard<Pages>) -> Option<Arc<[u8]>> {
        let exporter = Arc::clone(&self.exporter);
        let work = move || {
            pages.previous = pages.latest.take().map(|(_, text)| Arc::downgrade(&text));
            let text: Arc<[u8]> = exporter.render().into();
            pages.latest = Some((Instant::now(), Arc::clone(&text)));
            text
        };
        tokio::task::spawn_blocking(work).await.ok()
    }
}
