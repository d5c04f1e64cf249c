//! The thread that writes the live view: committed batches and full rewrites.
//!
//! The keys of a tenant contain its id in braces (a hash tag), so that a Redis Cluster keeps them in one slot; braces
//! in the id are percent-encoded (`%7B`), so that no id can collide with another tenant's key. A full rewrite replaces
//! the open alerts and the list of subjects of a tenant in one transaction; rows, which are many, in one transaction
//! per group of subjects, so that each subject is replaced atomically.

use super::connection::{Connector, describe};
use crate::codec::json;
use crate::config;
use crate::dataflow::live::{LiveState, OpenAlert, OpenAlertsView};
use crate::domain::alert::{Alert, AlertTaken};
use crate::domain::figures::row::Row;
use crate::domain::id::TenantId;
use crate::domain::rule::message::{self, Language};
use crate::edge::clock;
use crate::telemetry::live_view_metrics::LiveViewMetrics;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use redis::{Connection, Pipeline, RedisResult};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Redis counts as unavailable if a response takes longer.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Backoff between connection attempts.
const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// How often the thread wakes up when nothing is committed.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Rows per pipeline, and subjects per transaction of a rewrite.
const ROWS_PER_BATCH: usize = 1000;
const SUBJECTS_PER_BATCH: usize = 200;
/// Redis is pinged after this long without a request.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// Time limit for publishing queued batches before a full rewrite.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// The subject of rows about a tenant as a whole.
const TENANT: &str = "tenant";
/// Key suffixes.
const ALERTS_KEY: &str = "alerts";
const SUBJECTS_KEY: &str = "subjects";

#[derive(Debug)]
pub(super) struct CommittedBatch {
    pub(super) alerts: Vec<Alert>,
    pub(super) taken: Vec<AlertTaken>,
    pub(super) rows: Vec<Row>,
}

/// What a full rewrite reads.
pub struct LiveViewSource {
    /// The rows.
    pub live_state: Arc<LiveState>,
    /// The open alerts.
    pub open_alerts: Arc<OpenAlertsView>,
    /// The language of alerts' messages.
    pub language: Language,
}

pub(super) struct Writer {
    connector: Connector,
    connection: Option<Connection>,
    prefix: String,
    ttl: Duration,
    source: LiveViewSource,
    metrics: Arc<LiveViewMetrics>,
    incomplete: Arc<AtomicBool>,
    /// When to connect again, and the backoff after that attempt.
    retry_at: Instant,
    backoff: Duration,
    /// Time of the last full rewrite.
    rewritten_at: Option<Instant>,
    /// Time of the last response.
    answered_at: Instant,
    /// Why Redis is unavailable, as logged last.
    logged_reason: Option<String>,
}

impl Writer {
    pub(super) fn new(
        connector: Connector,
        settings: &config::Redis,
        source: LiveViewSource,
        metrics: Arc<LiveViewMetrics>,
        incomplete: Arc<AtomicBool>,
    ) -> Self {
        Self {
            connector,
            connection: None,
            prefix: settings.prefix.clone(),
            ttl: Duration::from_millis(settings.ttl.0.unsigned_abs()),
            source,
            metrics,
            incomplete,
            retry_at: Instant::now(),
            backoff: MIN_BACKOFF,
            rewritten_at: None,
            answered_at: Instant::now(),
            logged_reason: None,
        }
    }

    /// Writes until the queue is disconnected.
    pub(super) fn run(mut self, batches: &Receiver<CommittedBatch>) {
        loop {
            let batch = batches.recv_timeout(POLL_INTERVAL);
            self.metrics.set_queued(batches.len());
            let disconnected = matches!(batch, Err(RecvTimeoutError::Disconnected));
            if self.connect() {
                let result = self.write(batch.ok(), batches);
                self.handle(result);
            } else if batch.is_ok() {
                self.metrics.dropped(1);
                self.incomplete.store(true, Ordering::Relaxed);
            }
            if disconnected {
                return;
            }
            if self.connection.is_none() && batches.is_empty() {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// Connects if it is time to; whether there is a connection.
    fn connect(&mut self) -> bool {
        if self.connection.is_none() && Instant::now() >= self.retry_at {
            match self.connector.connect(RESPONSE_TIMEOUT) {
                Ok(connection) => {
                    self.connection = Some(connection);
                    self.incomplete.store(true, Ordering::Relaxed);
                }
                Err(error) => self.disconnect(error.to_string()),
            }
        }
        self.connection.is_some()
    }

    /// Records a success, or disconnects after an error.
    fn handle(&mut self, result: RedisResult<()>) {
        match result {
            Ok(()) => {
                if self.logged_reason.take().is_some() {
                    tracing::info!("redis: connected; live view complete again");
                }
                self.backoff = MIN_BACKOFF;
                self.metrics.set_connected(true);
            }
            Err(error) => self.disconnect(describe(&error)),
        }
    }

    fn disconnect(&mut self, reason: String) {
        self.connection = None;
        self.incomplete.store(true, Ordering::Relaxed);
        self.metrics.set_connected(false);
        self.metrics.error();
        if self.logged_reason.as_ref() != Some(&reason) {
            tracing::warn!("redis unavailable: {reason}; processing continues without the live view");
            self.logged_reason = Some(reason);
        }
        self.retry_at = Instant::now() + self.backoff;
        self.backoff = MAX_BACKOFF.min(self.backoff * 2);
    }

    /// Writes a batch, or the full view if something may be missing or its keys are to be refreshed.
    fn write(&mut self, batch: Option<CommittedBatch>, batches: &Receiver<CommittedBatch>) -> RedisResult<()> {
        let stale = self.rewritten_at.is_none_or(|at| at.elapsed() >= self.ttl / 3);
        if !stale && !self.incomplete.load(Ordering::Relaxed) {
            return match batch {
                Some(batch) => self.write_batch(&batch, true),
                None => self.ping(),
            };
        }
        // Queued batches are older than the rewrite, but subscribers must still receive their alerts.
        let deadline = Instant::now() + DRAIN_TIMEOUT;
        let mut waiting = batch;
        while let Some(batch) = waiting {
            self.write_batch(&batch, false)?;
            waiting = if Instant::now() < deadline { batches.try_recv().ok() } else { None };
        }
        self.incomplete.store(false, Ordering::Relaxed);
        self.rewrite()?;
        self.rewritten_at = Some(Instant::now());
        self.metrics.whole();
        Ok(())
    }

    fn key(&self, tenant: &TenantId, rest: &str) -> String {
        key(&self.prefix, tenant.as_str(), rest)
    }

    /// Pings Redis if there was no response for a while.
    fn ping(&mut self) -> RedisResult<()> {
        if self.answered_at.elapsed() < PING_INTERVAL {
            return Ok(());
        }
        let mut pipe = redis::pipe();
        pipe.ping().ignore();
        self.send(pipe)
    }

    /// Publishes alerts; with `store`, also updates the stored alerts and rows.
    fn write_batch(&mut self, batch: &CommittedBatch, store: bool) -> RedisResult<()> {
        let result = self.try_batch(batch, store);
        match result {
            Ok(()) => self.metrics.written(),
            Err(_) => self.metrics.dropped(1),
        }
        result
    }

    fn try_batch(&mut self, batch: &CommittedBatch, store: bool) -> RedisResult<()> {
        let mut pipe = redis::pipe();
        for alert in &batch.alerts {
            let key = self.key(&alert.tenant, ALERTS_KEY);
            let text = self.encode(alert, None);
            if store {
                match alert.status.is_open() {
                    Some(true) => {
                        let taken = self.source.open_alerts.alert(&alert.tenant, alert.id).and_then(|open| open.taken);
                        match taken {
                            Some(taken) => pipe.hset(&key, alert.id.to_string(), self.encode(alert, Some(&taken))),
                            None => pipe.hset(&key, alert.id.to_string(), &text),
                        };
                        pipe.ignore();
                        pipe.expire(&key, self.ttl_seconds()).ignore();
                    }
                    Some(false) => drop(pipe.hdel(&key, alert.id.to_string()).ignore()),
                    None => {}
                }
            }
            pipe.publish(&key, text).ignore();
        }
        for taken in batch.taken.iter().filter(|_| store) {
            if let Some(open) = self.source.open_alerts.alert(&taken.tenant, taken.alert) {
                let key = self.key(&taken.tenant, ALERTS_KEY);
                self.store_alert(&mut pipe, &key, &open);
                pipe.expire(&key, self.ttl_seconds()).ignore();
            }
        }
        self.send(pipe)?;
        if store {
            for rows in batch.rows.chunks(ROWS_PER_BATCH) {
                self.write_rows(rows)?;
            }
        }
        Ok(())
    }

    /// Replaces all rows and open alerts by those in memory.
    fn rewrite(&mut self) -> RedisResult<()> {
        let snapshots = self.source.live_state.snapshots();
        let mut old = redis::pipe();
        old.zrembyscore(self.tenants_key(), 0, clock::now().0 / 1000 - self.ttl_seconds()).ignore();
        self.send(old)?;
        for snapshot in &snapshots {
            let subjects: Vec<_> = by_subject(&snapshot.rows).into_iter().collect();
            for group in subjects.chunks(SUBJECTS_PER_BATCH) {
                let mut pipe = redis::pipe();
                pipe.atomic();
                for ((tenant, subject), rows) in group {
                    pipe.del(self.key(tenant, &row_key(subject))).ignore();
                    self.store_rows(&mut pipe, tenant, subject, rows);
                }
                self.send(pipe)?;
            }
            let mut pipe = redis::pipe();
            pipe.atomic();
            if !subjects.is_empty() {
                let key = self.key(&snapshot.tenant, SUBJECTS_KEY);
                let names: Vec<&str> = subjects.iter().map(|((_, subject), _)| subject.as_str()).collect();
                pipe.del(&key).ignore().sadd(&key, names).ignore().expire(&key, self.ttl_seconds()).ignore();
            }
            let key = self.key(&snapshot.tenant, ALERTS_KEY);
            pipe.del(&key).ignore();
            let open = self.source.open_alerts.alerts(&snapshot.tenant);
            open.iter().for_each(|open| self.store_alert(&mut pipe, &key, open));
            if !open.is_empty() {
                pipe.expire(&key, self.ttl_seconds()).ignore();
            }
            self.send(pipe)?;
        }
        // Last, so that a tenant is listed only once the rest of its keys is complete.
        let mut pipe = redis::pipe();
        for snapshot in snapshots.iter().filter(|snapshot| !snapshot.rows.is_empty()) {
            self.index_tenant(&mut pipe, &snapshot.tenant);
        }
        self.send(pipe)
    }

    /// Writes rows, and removes those of forgotten subjects, grouped by subject as far as they follow one another.
    fn write_rows(&mut self, rows: &[Row]) -> RedisResult<()> {
        let mut pipe = redis::pipe();
        for rows in rows.chunk_by(|row, next| row.is_gone() == next.is_gone()) {
            let is_gone = rows.iter().any(Row::is_gone);
            for ((tenant, subject), rows) in by_subject(rows) {
                if is_gone {
                    self.remove_rows(&mut pipe, tenant, &subject);
                } else {
                    self.add_rows(&mut pipe, tenant, &subject, &rows);
                }
            }
        }
        self.send(pipe)
    }

    /// Stores rows of a subject, and lists the subject.
    fn add_rows(&self, pipe: &mut Pipeline, tenant: &TenantId, subject: &str, rows: &[&Row]) {
        let names = self.key(tenant, SUBJECTS_KEY);
        self.store_rows(pipe, tenant, subject, rows);
        pipe.sadd(&names, subject).ignore().expire(&names, self.ttl_seconds()).ignore();
        if subject == TENANT {
            self.index_tenant(pipe, tenant);
        }
    }

    fn store_rows(&self, pipe: &mut Pipeline, tenant: &TenantId, subject: &str, rows: &[&Row]) {
        let window = |row: &&Row| {
            let mut text = Vec::new();
            json::encode_row(row, &mut text);
            (row.figures.window().into(), text)
        };
        let windows: Vec<(String, Vec<u8>)> = rows.iter().map(window).collect();
        let key = self.key(tenant, &row_key(subject));
        pipe.hset_multiple(&key, &windows).ignore().expire(&key, self.ttl_seconds()).ignore();
    }

    /// Removes the rows of a subject that was forgotten; with the tenant, its place in the index.
    fn remove_rows(&self, pipe: &mut Pipeline, tenant: &TenantId, subject: &str) {
        pipe.del(self.key(tenant, &row_key(subject))).ignore();
        pipe.srem(self.key(tenant, SUBJECTS_KEY), subject).ignore();
        if subject == TENANT {
            pipe.zrem(self.tenants_key(), tenant.as_str()).ignore();
        }
    }

    /// Sets the time of the last write in the index of tenants.
    fn index_tenant(&self, pipe: &mut Pipeline, tenant: &TenantId) {
        let key = self.tenants_key();
        pipe.zadd(&key, tenant.as_str(), clock::now().0 / 1000).ignore().expire(&key, self.ttl_seconds()).ignore();
    }

    fn tenants_key(&self) -> String {
        format!("{}:tenants", self.prefix)
    }

    fn store_alert(&self, pipe: &mut Pipeline, key: &str, OpenAlert { alert, taken }: &OpenAlert<Arc<Alert>>) {
        pipe.hset(key, alert.id.to_string(), self.encode(alert, taken.as_ref())).ignore();
    }

    fn encode(&self, alert: &Alert, taken: Option<&AlertTaken>) -> Vec<u8> {
        let mut text = Vec::new();
        json::encode_open_alert(alert, taken, &message::of(alert, self.source.language), &mut text);
        text
    }

    fn ttl_seconds(&self) -> i64 {
        self.ttl.as_secs().try_into().unwrap_or(i64::MAX)
    }

    fn send(&mut self, pipe: Pipeline) -> RedisResult<()> {
        match &mut self.connection {
            Some(connection) if !pipe.is_empty() => pipe.exec(connection)?,
            _ => return Ok(()),
        }
        self.answered_at = Instant::now();
        Ok(())
    }
}

fn by_subject(rows: &[Row]) -> BTreeMap<(&TenantId, String), Vec<&Row>> {
    let mut subjects = BTreeMap::<_, Vec<&Row>>::new();
    // A closed period is no current figure.
    for row in rows.iter().filter(|row| !row.is_closing()) {
        subjects.entry((&row.tenant, row.subject.to_string())).or_default().push(row);
    }
    subjects
}

fn row_key(subject: &str) -> String {
    format!("row:{subject}")
}

fn key(prefix: &str, tenant: &str, rest: &str) -> String {
    let mut key = format!("{prefix}:{{");
    for letter in tenant.chars() {
        match letter {
            '%' => key.push_str("%25"),
            '{' => key.push_str("%7B"),
            '}' => key.push_str("%7D"),
            letter => key.push(letter),
        }
    }
    key + "}:" + rest
}

#[cfg(test)]
mod tests {
    use super::key;

    #[test]
    fn keys_of_different_tenants_never_collide() {
        assert_eq!(key("funnelwatch", "acme", "alerts"), "funnelwatch:{acme}:alerts");
        let ids = ["a", "a}:row:manager:1", "a%7D:row:manager:1", "{a", "}", "", "a:b", "%"];
        let keys: Vec<_> = ids.iter().map(|id| key("f", id, "alerts")).collect();
        for (index, one) in keys.iter().enumerate() {
            assert_eq!((one.matches('{').count(), one.matches('}').count()), (1, 1), "{one}: one hash tag");
            assert!(keys[index + 1..].iter().all(|other| other != one), "{one}");
        }
        assert_ne!(key("f", "a}:row:manager:1", "alerts"), key("f", "a", "row:manager:1}:alerts"));
    }
}
