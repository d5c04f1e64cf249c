//! Owns which digests were sent. A digest of a day is made once; each of its messages is recorded as under way before it is sent,
//! and as sent afterwards, like a message about alerts.
//!
//! A thread makes the messages: what it asks of the API takes a while. A company whose figures are not there yet, or a recipient
//! whose channel does not answer, delays no other one. Of the messages of a channel one is under way at a time, alerts
//! included; those that failed come after the others.
//!
//! Digests belong to the owner of the first partition.

use crate::config::notify::{Channel, Digest, Notify};
use crate::domain::norms::Norms;
use crate::domain::source::ShardId;
use crate::domain::time::{Span, Timestamp};
use crate::notify::channel::{Address, Job, Outcome};
use crate::notify::digest::{self, Api, Due};
use crate::notify::ledger::Ledger;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// The partition of the records.
pub(super) const SHARD: ShardId = ShardId(0);
/// How often is looked whether a digest is due.
const CHECK_INTERVAL: Duration = Duration::from_secs(20);
/// The numbers of messages of alerts are below.
const FIRST_ID: u64 = 1 << 63;
/// What the keys of records begin with.
const PREFIX: &str = "d/";
/// The companies whose messages wait for the driver.
const WAITING: usize = 4;
/// The longest pause before a message that failed is sent again.
const MAX_PAUSE: Span = Span(15 * Span::MINUTE.0);

/// A message of a digest.
enum Entry {
    Waiting(Box<Waiting>),
    /// `None`: it was under way when a process ended.
    UnderWay(Option<Box<Waiting>>),
    Sent,
}

/// A message that is to be sent.
#[derive(Clone)]
struct Waiting {
    job: Job,
    at: Timestamp,
    /// How often it failed.
    failed: u32,
}

/// Asks the thread for the messages of a digest.
struct Wanted {
    /// Answers to older questions are of no use.
    number: u64,
    due: Due,
    /// The companies whose messages are made.
    made: BTreeSet<String>,
}

/// What the thread answers.
enum Made {
    /// Messages of a company, and whether these are all of them.
    Company { number: u64, company: String, jobs: Vec<Job>, is_whole: bool },
    /// That was all; `is_whole`: of all companies.
    End { number: u64, is_whole: bool },
}

/// The thread that makes messages.
struct Maker {
    wanted: Sender<Wanted>,
    made: Receiver<Made>,
}

/// Which digests were sent.
#[derive(Default)]
pub(super) struct Digests {
    maker: Option<Maker>,
    entries: BTreeMap<String, Entry>,
    changed: Vec<(String, Option<&'static str>)>,
    /// The day whose messages are being made, and the companies whose messages are.
    day: String,
    made: BTreeSet<String>,
    /// Whether all messages of the day are made.
    is_whole: bool,
    is_making: bool,
    has_warned: bool,
    /// The number of the last question to the thread.
    asked: u64,
    checked: Option<Instant>,
    last_id: u64,
    by_id: BTreeMap<u64, (String, Address)>,
    doubled: u64,
}

impl Digests {
    /// Starts the thread that makes messages, if digests are configured.
    pub(super) fn start(notify: &Notify, api: impl Api + Send + 'static) -> Self {
        let Some(settings) = notify.digest.clone() else { return Self::default() };
        let (wanted_in, wanted) = bounded(1);
        let (made_in, made) = bounded(WAITING);
        let notify = notify.clone();
        let run = move || make_all(&notify, &settings, &api, &wanted, &made_in);
        match std::thread::Builder::new().name("digests".into()).spawn(run) {
            Ok(_) => Self { maker: Some(Maker { wanted: wanted_in, made }), ..Self::default() },
            Err(error) => {
                tracing::error!("start the thread of digests: {error}");
                Self::default()
            }
        }
    }

    /// Forgets what was read of the partition.
    pub(super) fn clear(&mut self) {
        let maker = self.maker.take();
        *self = Self { maker, last_id: self.last_id, doubled: self.doubled, asked: self.asked + 1, ..Self::default() };
    }

    /// Takes over a stored record. Returns whether it is one of a digest.
    pub(super) fn restore(&mut self, key: &[u8], value: &[u8]) -> bool {
        let Some(key) = str::from_utf8(key).ok().and_then(|key| key.strip_prefix(PREFIX)) else { return false };
        let entry = if value == b"sent" { Entry::Sent } else { Entry::UnderWay(None) };
        self.entries.insert(key.to_owned(), entry);
        true
    }

    /// Has the messages made that are due.
    pub(super) fn check(&mut self, notify: &Notify, norms: &Norms, now: Timestamp) {
        self.take_made(now);
        let is_early = self.checked.is_some_and(|checked| checked.elapsed() < CHECK_INTERVAL);
        let Some(settings) = notify.digest.as_ref().filter(|_| !is_early) else { return };
        self.checked = Some(Instant::now());
        if let Some(due) = digest::due(settings, norms, now) {
            self.want(due);
        }
    }

    /// Asks the thread for the messages of a day, unless it has made them or is busy.
    fn want(&mut self, due: Due) {
        if due.day != self.day {
            self.day.clone_from(&due.day);
            (self.is_whole, self.has_warned) = (false, false);
            self.made.clear();
            self.asked += 1;
            self.is_making = false;
            self.forget_other_days();
        }
        let Some(maker) = self.maker.as_ref().filter(|_| !self.is_whole && !self.is_making) else { return };
        let wanted = Wanted { number: self.asked, due, made: self.made.clone() };
        // A thread that is busy with another question is asked the next time.
        self.is_making = maker.wanted.try_send(wanted).is_ok();
    }

    fn take_made(&mut self, now: Timestamp) {
        while let Some(made) = self.maker.as_ref().and_then(|maker| maker.made.try_recv().ok()) {
            match made {
                Made::Company { number, .. } | Made::End { number, .. } if number != self.asked => {}
                Made::Company { company, jobs, is_whole, .. } => {
                    jobs.into_iter().for_each(|job| self.add(job, now));
                    if is_whole {
                        self.made.insert(company);
                    }
                }
                Made::End { is_whole, .. } => {
                    (self.is_whole, self.is_making) = (is_whole, false);
                    if !is_whole && !std::mem::replace(&mut self.has_warned, true) {
                        tracing::warn!("digests wait for the API: it does not answer all that is asked");
                    }
                }
            }
        }
    }

    /// The messages that are due and that nothing stands in the way of, marked as under way.
    pub(super) fn take_due(&mut self, ledger: &mut Ledger, now: Timestamp) -> Vec<Job> {
        let mut ready: Vec<(Timestamp, Channel, String)> = Vec::new();
        for (key, entry) in &self.entries {
            if let Entry::Waiting(waiting) = entry
                && waiting.at <= now
            {
                ready.push((waiting.at, waiting.job.address.channel, key.clone()));
            }
        }
        // Those that have waited longest come first, so that one that fails again and again does not delay the others.
        ready.sort();
        let mut under_way: BTreeSet<Channel> = self.by_id.values().map(|(_, address)| address.channel).collect();
        let mut jobs = Vec::new();
        for (_, channel, key) in ready {
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            let Entry::Waiting(waiting) = entry else { continue };
            if under_way.contains(&channel) || !ledger.begin(&waiting.job.address) {
                continue;
            }
            under_way.insert(channel);
            self.last_id += 1;
            waiting.job.id = FIRST_ID | self.last_id;
            let waiting = waiting.clone();
            self.by_id.insert(waiting.job.id, (key.clone(), waiting.job.address.clone()));
            jobs.push(waiting.job.clone());
            *entry = Entry::UnderWay(Some(waiting));
            self.changed.push((key, Some("attempt")));
        }
        jobs
    }

    fn forget_other_days(&mut self) {
        let part = format!("/{}/", self.day);
        let old: Vec<String> = self.entries.keys().filter(|key| !key.contains(&part)).cloned().collect();
        for key in old {
            self.entries.remove(&key);
            self.changed.push((key, None));
        }
    }

    fn add(&mut self, job: Job, now: Timestamp) {
        let key = job.key.clone();
        match self.entries.get(&key) {
            Some(Entry::Sent | Entry::Waiting(_) | Entry::UnderWay(Some(_))) => return,
            Some(Entry::UnderWay(None)) => self.doubled += u64::from(!job.address.channel.is_repeatable()),
            None => {}
        }
        self.entries.insert(key, Entry::Waiting(Box::new(Waiting { job, at: now, failed: 0 })));
    }

    /// What became of a message. Returns whether it is one of a digest.
    pub(super) fn done(&mut self, id: u64, outcome: &Outcome, ledger: &mut Ledger, now: Timestamp) -> bool {
        let Some((key, address)) = self.by_id.remove(&id) else { return false };
        ledger.end(&address);
        let Some(entry) = self.entries.get_mut(&key) else { return true };
        let Entry::UnderWay(waiting) = std::mem::replace(entry, Entry::Sent) else { return true };
        match (outcome, waiting) {
            (Outcome::Later(after, _) | Outcome::Unknown(after, _), Some(mut waiting)) => {
                let may_double = matches!(outcome, Outcome::Unknown(..)) && !address.channel.is_repeatable();
                self.doubled += u64::from(may_double);
                let pause = Span((*after).max(Span(1000)).0.saturating_mul(1 << waiting.failed.min(10)));
                waiting.at = now + pause.min(MAX_PAUSE.max(*after));
                // To wait for one's turn is no failure.
                let is_failure = !matches!(outcome, Outcome::Later(_, "paced" | "moved"));
                waiting.failed = waiting.failed.saturating_add(u32::from(is_failure));
                *entry = Entry::Waiting(waiting);
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

/// Makes the messages that are wanted, until nobody wants any more.
fn make_all(notify: &Notify, settings: &Digest, api: &impl Api, wanted: &Receiver<Wanted>, made: &Sender<Made>) {
    for Wanted { number, due, made: done } in wanted {
        let companies = digest::companies(api);
        let mut all = companies.is_some();
        for company in companies.into_iter().flatten().filter(|company| !done.contains(company)) {
            let (jobs, is_whole) = digest::messages_of(notify, settings, api, &due, &company);
            all &= is_whole;
            if made.send(Made::Company { number, company, jobs, is_whole }).is_err() {
                return;
            }
        }
        if made.send(Made::End { number, is_whole: all }).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
