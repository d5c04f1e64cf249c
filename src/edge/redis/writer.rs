//! Owns the thread that writes the live view: connecting, one batch after another, and the whole of it.
//!
//! A company's keys have its id in braces, so that a Redis Cluster keeps them together; braces in the id are written as in
//! addresses (`%7B`), so that no id can be mistaken for another's key. When the view is written whole, open alerts and the
//! list of subjects are replaced in one transaction; rows, which are many, by groups of subjects, each subject at once.

use super::{CommittedBatch, LiveViewSource};
use crate::codec::json;
use crate::config;
use crate::domain::alert::{Alert, Status};
use crate::domain::id::TenantId;
use crate::domain::row::Row;
use crate::domain::rule;
use crate::edge::clock;
use crate::telemetry::live_view_metrics::LiveViewMetrics;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use redis::{Client, Connection, Pipeline, RedisResult};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A Redis that takes longer to answer is away.
const ANSWER: Duration = Duration::from_secs(2);
/// Between two attempts to reach it, at first and at most.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often the thread looks up when nothing is committed.
const LOOK: Duration = Duration::from_millis(200);
/// Rows that are written in one go, and subjects.
const ROWS: usize = 1000;
const SUBJECTS: usize = 200;
/// A Redis that nothing was asked of for so long is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(1);
/// After a stop, what waits must be written within this time.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The subject of a company's own rows.
const TENANT: &str = "tenant";
/// Ends of keys.
const ALERTS_KEY: &str = "alerts";
const SUBJECTS_KEY: &str = "subjects";

pub(super) struct Writer {
    client: Client,
    connection: Option<Connection>,
    prefix: String,
    ttl: Duration,
    source: LiveViewSource,
    metrics: Arc<LiveViewMetrics>,
    torn: Arc<AtomicBool>,
    /// When to try to connect again, and how long to wait after that.
    again: Instant,
    pause: Duration,
    /// When it was last written whole.
    whole: Option<Instant>,
    /// When it last answered.
    answered: Instant,
    /// Whether somebody was told that Redis is away.
    told: bool,
}

impl Writer {
    pub(super) fn new(
        client: Client,
        settings: &config::Redis,
        source: LiveViewSource,
        metrics: Arc<LiveViewMetrics>,
        torn: Arc<AtomicBool>,
    ) -> Self {
        Self {
            client,
            connection: None,
            prefix: settings.prefix.clone(),
            ttl: Duration::from_millis(settings.ttl.0.unsigned_abs()),
            source,
            metrics,
            torn,
            again: Instant::now(),
            pause: PAUSE,
            whole: None,
            answered: Instant::now(),
            told: false,
        }
    }

    /// Writes until nothing can come any more.
    pub(super) fn run(mut self, batches: &Receiver<CommittedBatch>) {
        loop {
            let batch = batches.recv_timeout(LOOK);
            self.metrics.set_queued(batches.len());
            let over = matches!(batch, Err(RecvTimeoutError::Disconnected));
            if self.connect() {
                let written = self.write(batch.ok(), batches);
                self.heed(written);
            } else if batch.is_ok() {
                self.metrics.dropped(1);
                self.torn.store(true, Ordering::Relaxed);
            }
            if over {
                return;
            }
            if self.connection.is_none() && batches.is_empty() {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// Whether there is a connection by now.
    fn connect(&mut self) -> bool {
        if self.connection.is_none() && Instant::now() >= self.again {
            let connected = self.client.get_connection_with_timeout(ANSWER).and_then(|connection| {
                connection.set_read_timeout(Some(ANSWER))?;
                connection.set_write_timeout(Some(ANSWER))?;
                Ok(connection)
            });
            match connected {
                Ok(connection) => {
                    self.connection = Some(connection);
                    self.torn.store(true, Ordering::Relaxed);
                }
                Err(error) => self.lose(&error),
            }
        }
        self.connection.is_some()
    }

    /// Goes on, or waits before it tries again.
    fn heed(&mut self, written: RedisResult<()>) {
        match written {
            Ok(()) => {
                if self.told {
                    tracing::info!("redis: the live view is whole again");
                }
                (self.told, self.pause) = (false, PAUSE);
                self.metrics.set_connected(true);
            }
            Err(error) => self.lose(&error),
        }
    }

    fn lose(&mut self, error: &redis::RedisError) {
        self.connection = None;
        self.torn.store(true, Ordering::Relaxed);
        self.metrics.set_connected(false);
        self.metrics.error();
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!("redis: {error}; the stream goes on without the live view");
        }
        self.again = Instant::now() + self.pause;
        self.pause = LONGEST_PAUSE.min(self.pause * 2);
    }

    /// Writes a batch; all of the view, if something is missing or its keys grow old.
    fn write(&mut self, batch: Option<CommittedBatch>, batches: &Receiver<CommittedBatch>) -> RedisResult<()> {
        let stale = self.whole.is_none_or(|whole| whole.elapsed() >= self.ttl / 3);
        if !stale && !self.torn.load(Ordering::Relaxed) {
            return match batch {
                Some(batch) => self.write_batch(&batch, true),
                None => self.ask(),
            };
        }
        // What waits is older than what is written now, but whoever listens should hear of it.
        let deadline = Instant::now() + LAST_WORDS;
        let mut waiting = batch;
        while let Some(batch) = waiting {
            self.write_batch(&batch, false)?;
            waiting = if Instant::now() < deadline { batches.try_recv().ok() } else { None };
        }
        self.torn.store(false, Ordering::Relaxed);
        self.write_whole()?;
        self.whole = Some(Instant::now());
        self.metrics.whole();
        Ok(())
    }

    fn key(&self, tenant: &TenantId, rest: &str) -> String {
        key(&self.prefix, tenant.as_str(), rest)
    }

    /// Asks whether Redis is there, if nothing else was asked of it for a while.
    fn ask(&mut self) -> RedisResult<()> {
        if self.answered.elapsed() < SILENCE {
            return Ok(());
        }
        let mut pipe = redis::pipe();
        pipe.ping().ignore();
        self.send(pipe)
    }

    /// Publishes alerts, and keeps them and rows where services look for them; `keep`: else they are only published.
    fn write_batch(&mut self, batch: &CommittedBatch, keep: bool) -> RedisResult<()> {
        let written = self.try_batch(batch, keep);
        match written {
            Ok(()) => self.metrics.written(),
            Err(_) => self.metrics.dropped(1),
        }
        written
    }

    fn try_batch(&mut self, batch: &CommittedBatch, keep: bool) -> RedisResult<()> {
        let mut pipe = redis::pipe();
        for alert in &batch.alerts {
            let key = self.key(&alert.tenant, ALERTS_KEY);
            let text = self.written(alert);
            if keep {
                match alert.status {
                    Status::Firing | Status::Escalated => {
                        pipe.hset(&key, alert.id.to_string(), &text).ignore();
                        pipe.expire(&key, self.seconds()).ignore();
                    }
                    Status::Resolved | Status::Retracted => drop(pipe.hdel(&key, alert.id.to_string()).ignore()),
                    Status::Raised => {}
                }
            }
            pipe.publish(&key, text).ignore();
        }
        self.send(pipe)?;
        if keep {
            for rows in batch.rows.chunks(ROWS) {
                self.write_rows(rows)?;
            }
        }
        Ok(())
    }

    /// Writes all rows and open alerts from memory, in the place of all that was there.
    fn write_whole(&mut self) -> RedisResult<()> {
        let snapshots = self.source.board.snapshots();
        let mut old = redis::pipe();
        old.zrembyscore(self.tenants(), 0, clock::now().0 / 1000 - self.seconds()).ignore();
        self.send(old)?;
        for snapshot in &snapshots {
            let subjects: Vec<_> = by_subject(&snapshot.rows).into_iter().collect();
            for some in subjects.chunks(SUBJECTS) {
                let mut pipe = redis::pipe();
                pipe.atomic();
                for ((tenant, subject), rows) in some {
                    pipe.del(self.key(tenant, &row_key(subject))).ignore();
                    self.keep_rows(&mut pipe, tenant, subject, rows);
                }
                self.send(pipe)?;
            }
            let mut pipe = redis::pipe();
            pipe.atomic();
            if !subjects.is_empty() {
                let key = self.key(&snapshot.tenant, SUBJECTS_KEY);
                let names: Vec<&str> = subjects.iter().map(|((_, subject), _)| subject.as_str()).collect();
                pipe.del(&key).ignore().sadd(&key, names).ignore().expire(&key, self.seconds()).ignore();
            }
            let key = self.key(&snapshot.tenant, ALERTS_KEY);
            pipe.del(&key).ignore();
            let open = self.source.view.alerts(&snapshot.tenant);
            for alert in &open {
                pipe.hset(&key, alert.id.to_string(), self.written(alert)).ignore();
            }
            if !open.is_empty() {
                pipe.expire(&key, self.seconds()).ignore();
            }
            self.send(pipe)?;
        }
        // Last of all, so that whoever finds a company here finds the rest of it.
        let mut pipe = redis::pipe();
        for snapshot in snapshots.iter().filter(|snapshot| !snapshot.rows.is_empty()) {
            self.list(&mut pipe, &snapshot.tenant);
        }
        self.send(pipe)
    }

    /// Writes rows, those of a subject at once.
    fn write_rows(&mut self, rows: &[Row]) -> RedisResult<()> {
        let mut pipe = redis::pipe();
        for ((tenant, subject), rows) in by_subject(rows) {
            let names = self.key(tenant, SUBJECTS_KEY);
            self.keep_rows(&mut pipe, tenant, &subject, &rows);
            pipe.sadd(&names, &subject).ignore().expire(&names, self.seconds()).ignore();
            if subject == TENANT {
                self.list(&mut pipe, tenant);
            }
        }
        self.send(pipe)
    }

    fn keep_rows(&self, pipe: &mut Pipeline, tenant: &TenantId, subject: &str, rows: &[&Row]) {
        let window = |row: &&Row| {
            let mut text = Vec::new();
            json::encode_row(row, &mut text);
            (row.figures.window().into(), text)
        };
        let windows: Vec<(String, Vec<u8>)> = rows.iter().map(window).collect();
        let key = self.key(tenant, &row_key(subject));
        pipe.hset_multiple(&key, &windows).ignore().expire(&key, self.seconds()).ignore();
    }

    /// Notes that a company was written now.
    fn list(&self, pipe: &mut Pipeline, tenant: &TenantId) {
        let key = self.tenants();
        pipe.zadd(&key, tenant.as_str(), clock::now().0 / 1000).ignore().expire(&key, self.seconds()).ignore();
    }

    fn tenants(&self) -> String {
        format!("{}:tenants", self.prefix)
    }

    fn written(&self, alert: &Alert) -> Vec<u8> {
        let mut text = Vec::new();
        json::encode_alert(alert, &rule::message(alert, self.source.language), &mut text);
        text
    }

    fn seconds(&self) -> i64 {
        self.ttl.as_secs().try_into().unwrap_or(i64::MAX)
    }

    fn send(&mut self, pipe: Pipeline) -> RedisResult<()> {
        match &mut self.connection {
            Some(connection) if !pipe.is_empty() => pipe.exec(connection)?,
            _ => return Ok(()),
        }
        self.answered = Instant::now();
        Ok(())
    }
}

/// Rows by whom they are about.
fn by_subject(rows: &[Row]) -> BTreeMap<(&TenantId, String), Vec<&Row>> {
    let mut subjects = BTreeMap::<_, Vec<&Row>>::new();
    for row in rows {
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
    fn no_company_can_be_mistaken_for_anothers_key() {
        assert_eq!(key("funnelwatch", "acme", "alerts"), "funnelwatch:{acme}:alerts");
        let ids = ["a", "a}:row:manager:1", "a%7D:row:manager:1", "{a", "}", "", "a:b", "%"];
        let keys: Vec<_> = ids.iter().map(|id| key("f", id, "alerts")).collect();
        for (place, one) in keys.iter().enumerate() {
            assert_eq!((one.matches('{').count(), one.matches('}').count()), (1, 1), "{one}: one hash tag");
            assert!(keys[place + 1..].iter().all(|other| other != one), "{one}");
        }
        assert_ne!(key("f", "a}:row:manager:1", "alerts"), key("f", "a", "row:manager:1}:alerts"));
    }
}
