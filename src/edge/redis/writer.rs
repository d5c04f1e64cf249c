//! Owns the thread that writes the live view: connecting, one batch after another, and the whole of it.
//!
//! A company's keys have its id in braces, so that a Redis Cluster keeps them together. Its open alerts change in one
//! transaction; rows, which are many, by groups of subjects, each subject at once.

use super::{Batch, Source};
use crate::codec::json;
use crate::config;
use crate::domain::alert::{Alert, Status};
use crate::domain::id::TenantId;
use crate::domain::row::Row;
use crate::domain::rule;
use crate::telemetry::live::LiveHealth;
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
/// Rows that are written in one go.
const ROWS: usize = 1000;
/// After a stop, what waits must be written within this time.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A window, and a row over it as it is written.
type Windowed = (String, Vec<u8>);

/// The subject of a company's own rows.
const TENANT: &str = "tenant";

pub(super) struct Writer {
    client: Client,
    connection: Option<Connection>,
    prefix: String,
    ttl: Duration,
    source: Source,
    health: Arc<LiveHealth>,
    torn: Arc<AtomicBool>,
    /// When to try to connect again, and how long to wait after that.
    again: Instant,
    pause: Duration,
    /// When it was last written whole.
    whole: Option<Instant>,
    /// Whether somebody was told that Redis is away.
    told: bool,
}

impl Writer {
    pub(super) fn new(
        client: Client,
        settings: &config::Redis,
        source: Source,
        health: Arc<LiveHealth>,
        torn: Arc<AtomicBool>,
    ) -> Self {
        Self {
            client,
            connection: None,
            prefix: settings.prefix.clone(),
            ttl: Duration::from_millis(settings.ttl.0.unsigned_abs()),
            source,
            health,
            torn,
            again: Instant::now(),
            pause: PAUSE,
            whole: None,
            told: false,
        }
    }

    /// Writes until nothing can come any more.
    pub(super) fn run(mut self, batches: &Receiver<Batch>) {
        loop {
            let batch = batches.recv_timeout(LOOK);
            self.health.set_queued(batches.len());
            let over = matches!(batch, Err(RecvTimeoutError::Disconnected));
            if self.connect() {
                let written = self.write(batch.ok(), batches);
                self.heed(written);
            } else if batch.is_ok() {
                self.health.dropped(1);
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
                self.health.set_connected(true);
            }
            Err(error) => self.lose(&error),
        }
    }

    fn lose(&mut self, error: &redis::RedisError) {
        self.connection = None;
        self.torn.store(true, Ordering::Relaxed);
        self.health.set_connected(false);
        self.health.error();
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!("redis: {error}; the stream goes on without the live view");
        }
        self.again = Instant::now() + self.pause;
        self.pause = LONGEST_PAUSE.min(self.pause * 2);
    }

    /// Writes a batch; all of the view, if something is missing or its keys grow old.
    fn write(&mut self, batch: Option<Batch>, batches: &Receiver<Batch>) -> RedisResult<()> {
        let stale = self.whole.is_none_or(|whole| whole.elapsed() >= self.ttl / 3);
        if !stale && !self.torn.load(Ordering::Relaxed) {
            return batch.map_or(Ok(()), |batch| self.write_batch(&batch, true));
        }
        // What waits is older than what is written now, but whoever listens should hear of it.
        let deadline = Instant::now() + LAST_WORDS;
        let mut waiting = batch;
        while let Some(batch) = waiting {
            self.write_batch(&batch, false)?;
            waiting = batches.try_recv().ok().filter(|_| Instant::now() < deadline);
        }
        self.torn.store(false, Ordering::Relaxed);
        self.write_whole()?;
        self.whole = Some(Instant::now());
        self.health.whole();
        Ok(())
    }

    fn key(&self, tenant: &TenantId, rest: &str) -> String {
        format!("{}:{{{tenant}}}:{rest}", self.prefix)
    }

    /// Publishes alerts, and keeps them and rows where services look for them; `keep`: else they are only published.
    fn write_batch(&mut self, batch: &Batch, keep: bool) -> RedisResult<()> {
        let mut pipe = redis::pipe();
        for alert in &batch.alerts {
            let key = self.key(&alert.tenant, "alerts");
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
        self.health.written();
        Ok(())
    }

    /// Writes all rows and open alerts from memory.
    fn write_whole(&mut self) -> RedisResult<()> {
        let surveys = self.source.board.surveys();
        for survey in &surveys {
            for rows in survey.rows.chunks(ROWS) {
                self.write_rows(rows)?;
            }
            let key = self.key(&survey.tenant, "alerts");
            let mut pipe = redis::pipe();
            pipe.atomic().del(&key).ignore();
            let open = self.source.view.alerts(&survey.tenant);
            for alert in &open {
                pipe.hset(&key, alert.id.to_string(), self.written(alert)).ignore();
            }
            if !open.is_empty() {
                pipe.expire(&key, self.seconds()).ignore();
            }
            self.send(pipe)?;
        }
        Ok(())
    }

    /// Writes rows, those of a subject at once.
    fn write_rows(&mut self, rows: &[Row]) -> RedisResult<()> {
        let mut subjects = BTreeMap::<(&TenantId, String), Vec<Windowed>>::new();
        for row in rows {
            let mut text = Vec::new();
            json::encode_row(row, &mut text);
            let of = subjects.entry((&row.tenant, row.subject.to_string())).or_default();
            of.push((row.figures.window().into(), text));
        }
        let mut pipe = redis::pipe();
        let tenants = format!("{}:tenants", self.prefix);
        for ((tenant, subject), windows) in subjects {
            if subject == TENANT {
                pipe.sadd(&tenants, tenant.as_str()).ignore().expire(&tenants, self.seconds()).ignore();
            }
            let (key, names) = (self.key(tenant, &format!("row:{subject}")), self.key(tenant, "subjects"));
            pipe.hset_multiple(&key, &windows).ignore().expire(&key, self.seconds()).ignore();
            pipe.sadd(&names, &subject).ignore().expire(&names, self.seconds()).ignore();
        }
        self.send(pipe)
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
            Some(connection) if !pipe.is_empty() => pipe.exec(connection),
            _ => Ok(()),
        }
    }
}
