//! Owns which digests were sent. A digest of a day is made once; each of its messages is recorded as under way before it is sent,
//! and as sent afterwards, like a message about alerts.
//!
//! Digests belong to the owner of the first partition.

use crate::config::notify::Notify;
use crate::domain::norms::Norms;
use crate::domain::source::ShardId;
use crate::domain::time::{Span, Timestamp};
use crate::notify::channel::{Job, Outcome};
use crate::notify::digest::{self, Api};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The partition of the records.
pub(super) const SHARD: ShardId = ShardId(0);
/// How often is looked whether a digest is due.
const CHECK_INTERVAL: Duration = Duration::from_secs(20);
/// The numbers of messages of alerts are below.
const FIRST_ID: u64 = 1 << 63;
/// What the keys of records begin with.
const PREFIX: &str = "d/";

/// A message of a digest.
enum Entry {
    Waiting(Box<Job>, Timestamp),
    /// `None`: it was under way when a process ended.
    UnderWay(Option<Box<Job>>),
    Sent,
}

/// Which digests were sent.
#[derive(Default)]
pub(super) struct Digests {
    entries: BTreeMap<String, Entry>,
    changed: Vec<(String, Option<&'static str>)>,
    /// The day whose messages are made.
    day: String,
    checked: Option<Instant>,
    last_id: u64,
    by_id: BTreeMap<u64, String>,
    doubled: u64,
}

impl Digests {
    /// Forgets what was read of the partition.
    pub(super) fn clear(&mut self) {
        *self = Self { last_id: self.last_id, doubled: self.doubled, ..Self::default() };
    }

    /// Takes over a stored record. Returns whether it is one of a digest.
    pub(super) fn restore(&mut self, key: &[u8], value: &[u8]) -> bool {
        let Some(key) = str::from_utf8(key).ok().and_then(|key| key.strip_prefix(PREFIX)) else { return false };
        let entry = if value == b"sent" { Entry::Sent } else { Entry::UnderWay(None) };
        self.entries.insert(key.to_owned(), entry);
        true
    }

    /// The messages that are due, marked as under way.
    pub(super) fn take_due(&mut self, notify: &Notify, norms: &Norms, api: &impl Api, now: Timestamp) -> Vec<Job> {
        let Some(settings) = &notify.digest else { return Vec::new() };
        if self.checked.is_none_or(|checked| checked.elapsed() > CHECK_INTERVAL) {
            self.checked = Some(Instant::now());
            if let Some(due) = digest::due(settings, norms, now).filter(|due| due.day != self.day) {
                match digest::messages(notify, settings, api, &due) {
                    Some(jobs) => self.make(jobs, due.day, now),
                    None => tracing::debug!("the digest waits for the API"),
                }
            }
        }
        let ready = |entry: &Entry| matches!(entry, Entry::Waiting(_, at) if *at <= now);
        let keys: Vec<String> =
            self.entries.iter().filter(|(_, entry)| ready(entry)).map(|(key, _)| key.clone()).collect();
        let mut jobs = Vec::new();
        for key in keys {
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            let Entry::Waiting(job, _) = std::mem::replace(entry, Entry::UnderWay(None)) else { continue };
            self.last_id += 1;
            let job = Job { id: FIRST_ID | self.last_id, ..*job };
            *entry = Entry::UnderWay(Some(Box::new(job.clone())));
            self.by_id.insert(job.id, key.clone());
            self.changed.push((key, Some("attempt")));
            jobs.push(job);
        }
        jobs
    }

    fn make(&mut self, jobs: Vec<Job>, day: String, now: Timestamp) {
        let keys: Vec<String> = jobs.iter().map(|job| job.key.clone()).collect();
        // Those of other days.
        let part = format!("/{day}/");
        let old: Vec<String> = self.entries.keys().filter(|key| !key.contains(&part)).cloned().collect();
        for key in old {
            self.entries.remove(&key);
            self.changed.push((key, None));
        }
        for (key, job) in keys.into_iter().zip(jobs) {
            match self.entries.get(&key) {
                Some(Entry::Sent | Entry::Waiting(..) | Entry::UnderWay(Some(_))) => {}
                Some(Entry::UnderWay(None)) => {
                    self.doubled += u64::from(!job.address.channel.is_repeatable());
                    self.entries.insert(key, Entry::Waiting(Box::new(job), now));
                }
                None => {
                    self.entries.insert(key, Entry::Waiting(Box::new(job), now));
                }
            }
        }
        self.day = day;
    }

    /// What became of a message. Returns whether it is one of a digest.
    pub(super) fn done(&mut self, id: u64, outcome: &Outcome, now: Timestamp) -> bool {
        let Some(key) = self.by_id.remove(&id) else { return false };
        let Some(entry) = self.entries.get_mut(&key) else { return true };
        let Entry::UnderWay(job) = std::mem::replace(entry, Entry::Sent) else { return true };
        match (outcome, job) {
            (Outcome::Later(after, _) | Outcome::Unknown(after, _), Some(job)) => {
                let may_double = matches!(outcome, Outcome::Unknown(..)) && !job.address.channel.is_repeatable();
                self.doubled += u64::from(may_double);
                *entry = Entry::Waiting(job, now + (*after).max(Span(1000)));
            }
            _ => self.changed.push((key, Some("sent"))),
        }
        true
    }

    /// The records that changed since the last call; `None`: deleted.
    pub(super) fn take_records(&mut self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let record = |(key, value): (String, Option<&str>)| {
            (format!("{PREFIX}{key}").into_bytes(), value.map(|value| value.as_bytes().to_vec()))
        };
        self.changed.drain(..).map(record).collect()
    }

    /// Messages that may have been sent twice.
    pub(super) fn doubled(&self) -> u64 {
        self.doubled
    }
}
