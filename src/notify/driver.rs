//! Owns the run: reads alerts, commits what is owed, and passes messages to the channels.
//!
//! **Order.** A message is given to its channel after the transaction that records it as under way, and its outcome is part of
//! the next transaction. Nothing is sent until all alerts that were published before have been read: most of what was open
//! then is over.

mod channels;
mod company;
mod context;
mod decision;
mod digests;

use super::asked::{Asked, Refusal};
use super::channel::{Job, Outcome};
use super::directory::Directory;
use super::ledger::Ledger;
use super::link::Answer;
use super::routing::{self, Duty};
use super::{notice, record};
use crate::config::notify::Channel;
use crate::domain::alert::Alert;
use crate::domain::source::{ShardId, Topic};
use crate::domain::time::{Span, Timestamp};
use crate::edge::clock;
use crate::edge::kafka::shared_log::{self, LogEvent, LogRecord, SharedLog, SharedTopics};
use crate::edge::kafka::{Restarts, RunError};
use crate::gateway::encode;
use crate::gateway::source::Outgoing;
use crate::telemetry::notify_metrics::Verdict;
use channels::Channels;
pub use channels::{Printed, build_alertmanager, build_senders};
use company::Companies;
pub use company::{api_of, check as check_api};
use context::count;
pub use context::{NotifyContext, printed};
use digests::Digests;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long the driver waits for alerts before it looks at messages.
const TICK: Duration = Duration::from_millis(20);
/// The alerts that are read before what they mean is committed.
const BATCH: usize = 500;
/// How long no alert of a partition must have come before messages are sent for the first time, unless one came that was
/// published after the assignment.
const CAUGHT_UP: Duration = Duration::from_secs(1);
/// How often offsets are committed while nothing is owed.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// How often is looked which companies have open alerts.
const REFRESH_INTERVAL: Duration = Duration::from_secs(5);
/// How often the membership in the group is checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How long a stop waits for messages that are under way.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Informs people until a stop is requested. Waits for brokers and topics without limit.
pub fn run(context: &NotifyContext) -> Result<(), RunError> {
    let mut restarts = Restarts::default();
    let channels = Channels::start(context);
    let mut kept = Kept::new(context);
    loop {
        let Err(error) = start(context, &channels, &mut kept) else { return Ok(()) };
        let of_run = (&context.stop, &*context.observer);
        restarts.after(error, &context.config, of_run, || context.metrics.restarting())?;
    }
}

/// What further runs of a process keep. A message of an earlier run may have its outcome in a later one: its number is given to
/// no other message.
struct Kept {
    ledger: Ledger,
    companies: Companies,
    digests: Digests,
}

impl Kept {
    fn new(context: &NotifyContext) -> Self {
        let ledger = Ledger::new(context.notify.summary_after);
        let digests = Digests::start(&context.notify, api_of(&context.notify));
        Self { ledger, companies: Companies::new(&context.notify), digests }
    }

    /// Forgets what belongs to partitions.
    fn clear(&mut self) {
        self.ledger.clear();
        self.digests.clear();
    }

    /// Notes what became of a message. Returns whether it is one of these partitions.
    fn done(&mut self, job: u64, outcome: &Outcome, now: Timestamp) -> bool {
        self.ledger.done(job, outcome, now) || self.digests.done(job, outcome, &mut self.ledger, now)
    }
}

fn start(context: &NotifyContext, channels: &Channels, kept: &mut Kept) -> Result<(), RunError> {
    kept.clear();
    let log = SharedLog::open(&context.config, SharedTopics::NOTIFY, &context.stop, &context.observer)?;
    let Some(log) = log else { return Ok(()) };
    let driver = Driver {
        context,
        channels,
        log,
        kept,
        digests_first: false,
        refreshed: Instant::now(),
        next: BTreeMap::new(),
        used: BTreeMap::new(),
        new_used: Vec::new(),
        reading_since: BTreeMap::new(),
        assigned_at: clock::now(),
        is_caught_up: false,
    };
    driver.run()
}

/// The key and the value of a record; without a value it deletes the key.
type Record = (Vec<u8>, Option<Vec<u8>>);

struct Driver<'a> {
    context: &'a NotifyContext,
    channels: &'a Channels,
    log: SharedLog,
    kept: &'a mut Kept,
    /// Whether digests have the first choice of a channel that is free; alerts and digests take turns.
    digests_first: bool,
    /// When companies with open alerts were looked at last.
    refreshed: Instant,
    /// For each assigned partition, the offset after the last alert that was read, if it is not committed.
    next: BTreeMap<ShardId, Option<i64>>,
    /// Links that were used, each until when it is valid.
    used: BTreeMap<String, (ShardId, Timestamp)>,
    new_used: Vec<String>,
    /// The partitions whose alerts of the time before the assignment may not be read yet, with the time of the last one.
    reading_since: BTreeMap<ShardId, Instant>,
    assigned_at: Timestamp,
    is_caught_up: bool,
}

impl Driver<'_> {
    fn run(mut self) -> Result<(), RunError> {
        self.drive()?;
        self.finish()
    }

    /// Runs until a stop is requested.
    fn drive(&mut self) -> Result<(), RunError> {
        let (mut checked, mut committed) = (Instant::now(), Instant::now());
        while !self.context.stop.is_set() {
            self.read()?;
            self.take_outcomes();
            while let Ok(asked) = self.context.asked.try_recv() {
                self.answer(asked);
            }
            let now = clock::now();
            let mut jobs = Vec::new();
            self.reading_since.retain(|_, since| since.elapsed() <= CAUGHT_UP);
            if !self.is_caught_up && self.reading_since.is_empty() && !self.next.is_empty() {
                self.is_caught_up = true;
                tracing::info!(
                    "all alerts are read: {} are kept, {} messages are owed",
                    self.kept.ledger.len(),
                    self.kept.ledger.owed()
                );
            }
            self.learn(now);
            if self.is_caught_up {
                jobs = self.take_due(now);
                self.channels.tell_alertmanager(&self.kept.ledger, now);
            }
            self.forget_used(now);
            let may_wait = jobs.is_empty() && committed.elapsed() < COMMIT_INTERVAL;
            let has_committed = self.commit(may_wait)?;
            if has_committed {
                committed = Instant::now();
            }
            for mut job in jobs {
                if job.address.channel == Channel::Todo {
                    job.call_back = self.kept.companies.call_back(&job, Instant::now());
                }
                self.channels.send(job);
            }
            // To count all that is owed takes a while.
            if has_committed || checked.elapsed() > CHECK_INTERVAL {
                let owed = (self.kept.ledger.owed(), self.kept.ledger.oldest(now));
                let (doubled, withheld) = self.kept.ledger.counts();
                let counts = (doubled + self.kept.digests.doubled(), withheld);
                self.context.metrics.set_ledger(self.kept.ledger.len(), owed, counts);
            }
            if checked.elapsed() > CHECK_INTERVAL {
                checked = Instant::now();
                if self.log.is_lost() {
                    return Err(RunError::Removed);
                }
            }
        }
        Ok(())
    }

    /// The messages that may be sent now: those about alerts, and digests.
    fn take_due(&mut self, now: Timestamp) -> Vec<Job> {
        let Kept { ledger, companies, digests } = &mut *self.kept;
        let mut jobs = Vec::new();
        let has_digests = self.next.contains_key(&digests::SHARD);
        if has_digests {
            digests.check(&self.context.notify, &self.context.config.norms, now);
            if self.digests_first {
                jobs = digests.take_due(ledger, now);
            }
        }
        let opening = |alert: &Alert| routing::opening(&self.context.config.norms, alert, now);
        jobs.extend(ledger.take_due(now, |alert| companies.name(alert), opening));
        if has_digests && !self.digests_first {
            jobs.extend(digests.take_due(ledger, now));
        }
        self.digests_first = !self.digests_first;
        jobs
    }

    /// Keeps what is known of people fresh while alerts are open; what has become known changes who is informed.
    fn learn(&mut self, now: Timestamp) {
        if self.refreshed.elapsed() > REFRESH_INTERVAL {
            self.refreshed = Instant::now();
            let Kept { ledger, companies, .. } = &mut *self.kept;
            companies.refresh(ledger.companies(), Instant::now());
        }
        for (company, before) in self.kept.companies.learned(Instant::now()) {
            let mut old = Directory::default();
            old.replace(&company, before);
            for (shard, alert) in self.kept.ledger.open_alerts(&company) {
                let duties = |directory| {
                    routing::duties(&self.context.notify, &self.context.config.norms, directory, &alert, now)
                };
                let (old, new) = (duties(&old), duties(self.kept.companies.directory()));
                let has = |duties: &[Duty], duty: &Duty| duties.iter().any(|other| other.address == duty.address);
                let no_more: Vec<Duty> = old.iter().filter(|duty| !has(&new, duty)).cloned().collect();
                let also: Vec<Duty> = new.into_iter().filter(|duty| !has(&old, duty)).collect();
                if !no_more.is_empty() || !also.is_empty() {
                    self.kept.ledger.reroute(shard, alert.id, &no_more, also, now);
                }
            }
        }
    }

    /// Reads what has come, as far as one commit takes it.
    fn read(&mut self) -> Result<(), RunError> {
        let mut time = TICK;
        for _ in 0..BATCH {
            match self.log.next(time)? {
                Some(LogEvent::Assigned(records)) => {
                    self.assigned(records);
                    return Ok(());
                }
                Some(LogEvent::Revoked) => {
                    self.kept.clear();
                    self.next.clear();
                    self.used.clear();
                    self.is_caught_up = false;
                    return Ok(());
                }
                Some(LogEvent::Read { at: (shard, offset), written_at, value, .. }) => {
                    match self.reading_since.get_mut(&shard) {
                        Some(_) if written_at.is_some_and(|at| at > self.assigned_at) => {
                            self.reading_since.remove(&shard);
                        }
                        Some(since) => *since = Instant::now(),
                        None => {}
                    }
                    self.next.insert(shard, Some(offset + 1));
                    match notice::read(&value) {
                        Some(alert) => self.alert(shard, alert),
                        None => self.context.metrics.unreadable(),
                    }
                    time = Duration::ZERO;
                }
                None => return Ok(()),
            }
        }
        Ok(())
    }

    fn assigned(&mut self, records: BTreeMap<ShardId, shared_log::StateRecords>) {
        self.kept.clear();
        (self.is_caught_up, self.assigned_at) = (false, clock::now());
        self.reading_since = records.keys().map(|shard| (*shard, Instant::now())).collect();
        self.used.clear();
        for (shard, shared_log::StateRecords(records)) in records {
            self.next.insert(shard, None);
            for (key, value) in records {
                match record::used(&key) {
                    Some(token) => {
                        let valid = str::from_utf8(&value).ok().and_then(|text| text.parse().ok()).unwrap_or_default();
                        self.used.insert(token.to_owned(), (shard, Timestamp(valid)));
                    }
                    None if self.kept.digests.restore(&key, &value) => {}
                    None => self.kept.ledger.restore(shard, &key, &value),
                }
            }
        }
        tracing::info!("reading the alerts of {} partitions", self.next.len());
        self.context.liveness.set_ready(true);
    }

    fn alert(&mut self, shard: ShardId, alert: Alert) {
        let now = clock::now();
        let Kept { ledger, companies, .. } = &mut *self.kept;
        companies.ask(alert.tenant.as_str(), Instant::now());
        let (notify, norms) = (&self.context.notify, &self.context.config.norms);
        let duties = routing::duties(notify, norms, companies.directory(), &alert, now);
        let may_learn = || companies.may_learn(alert.tenant.as_str()) && routing::needs_heads(notify, &alert);
        if duties.is_empty() && may_learn() {
            ledger.keep(shard, alert.clone(), now);
        }
        ledger.status(shard, alert, duties, now);
    }

    fn take_outcomes(&mut self) {
        while let Some((job, channel, outcome)) = self.channels.outcome() {
            let now = clock::now();
            if self.kept.done(job, &outcome, now) {
                count(&self.context.metrics, channel, &outcome);
            }
        }
    }

    /// Records what a person answered.
    fn answer(&mut self, asked: Asked) {
        let result = self.decide(&asked);
        self.context.metrics.answered(match result {
            Ok(()) => Verdict::Accepted,
            Err(Refusal::Used) => Verdict::Used,
            Err(Refusal::Over | Refusal::Taken) => Verdict::Over,
            Err(Refusal::NotRecipient) => Verdict::NotRecipient,
            Err(Refusal::NotStored) => Verdict::NotStored,
        });
        // The person may have given up waiting.
        let _ = asked.reply.send(result);
    }

    fn decide(&mut self, asked: &Asked) -> Result<(), Refusal> {
        let now = clock::now();
        let Asked { claim, token, .. } = asked;
        let known = (!self.next.is_empty()).then_some(&self.kept.ledger);
        let (alert, person) = decision::decide(known, self.used.contains_key(token), asked)?;
        self.write(&alert, claim.answer, &person, token, now)?;
        if claim.answer == Answer::Taken {
            let _ = self.kept.ledger.take(claim.alert, &person, now);
        }
        if let Some(shard) = self.kept.ledger.shard_of(claim.alert) {
            self.used.insert(token.clone(), (shard, claim.valid_until));
            self.new_used.push(token.clone());
        }
        Ok(())
    }

    /// Writes the event of an answer. Its id follows from the link, so that a repetition is a duplicate.
    fn write(&self, alert: &Alert, answer: Answer, person: &str, token: &str, now: Timestamp) -> Result<(), Refusal> {
        let payload = match answer {
            Answer::Taken => json!({"alert_taken": {"alert_id": alert.id.to_string(), "manager_id": person}}),
            Answer::Dismissed => {
                let interaction = alert.interaction.as_ref().ok_or(Refusal::Over)?;
                json!({"interaction_dismissed": {"interaction_id": interaction.as_str(), "manager_id": person}})
            }
        };
        let mut event = json!({
            "event_id": format!("notify-{token}"),
            "tenant_id": alert.tenant.as_str(),
            "occurred_at": now.to_string(),
            "source": "notify",
        });
        if let (Some(event), Some(payload)) = (event.as_object_mut(), payload.as_object()) {
            event.extend(payload.clone());
        }
        let outgoing = Outgoing::new(Topic::Crm, event.to_string().into_bytes()).map_err(|_| Refusal::NotStored)?;
        let topics = &self.context.config.topics;
        let value = encode::event(topics, &outgoing);
        let topic = &topics.sources[Topic::Crm].name;
        let sent = self.context.producer.send(topic, None, alert.tenant.as_str().as_bytes(), &value);
        match sent.map(tokio::sync::oneshot::Receiver::blocking_recv) {
            Some(Ok(true)) => Ok(()),
            _ => Err(Refusal::NotStored),
        }
    }

    fn forget_used(&mut self, now: Timestamp) {
        // One at a time: they are few.
        let expired = self.used.iter().find(|(_, (_, valid_until))| *valid_until + Span::HOUR < now);
        if let Some(token) = expired.map(|(token, _)| token.clone()) {
            self.new_used.push(token);
        }
    }

    /// Commits what has changed; offsets alone may wait. Returns whether something was committed.
    fn commit(&mut self, may_wait: bool) -> Result<bool, RunError> {
        if !self.context.records {
            self.kept.ledger.take_records();
            self.kept.digests.take_records();
            return Ok(true);
        }
        let mut records: BTreeMap<ShardId, Vec<Record>> = BTreeMap::new();
        for (shard, key, value) in self.kept.ledger.take_records() {
            records.entry(shard).or_default().push((key, value));
        }
        for record in self.kept.digests.take_records() {
            records.entry(digests::SHARD).or_default().push(record);
        }
        let now = clock::now();
        for token in std::mem::take(&mut self.new_used) {
            let Some((shard, valid_until)) = self.used.get(&token).copied() else { continue };
            let is_over = valid_until + Span::HOUR < now;
            let value = (!is_over).then(|| valid_until.0.to_string().into_bytes());
            records.entry(shard).or_default().push((record::used_key(&token), value));
            if is_over {
                self.used.remove(&token);
            }
        }
        if records.is_empty() && (may_wait || self.next.values().all(Option::is_none)) {
            return Ok(false);
        }
        let started = Instant::now();
        let topic = self.context.config.topics.notify.clone();
        for (shard, next) in self.next.clone() {
            let changed = records.remove(&shard).unwrap_or_default();
            if changed.is_empty() && next.is_none() {
                continue;
            }
            let partition = Some(shard);
            let list: Vec<LogRecord<'_>> = changed
                .iter()
                .map(|(key, value)| LogRecord { topic: &topic, partition, key, value: value.as_deref() })
                .collect();
            if !self.log.commit(shard, &list, next, || self.context.metrics.aborted())? {
                return Err(RunError::Removed);
            }
            self.next.insert(shard, None);
        }
        self.context.metrics.committed(started.elapsed());
        Ok(true)
    }

    /// Waits for messages that are under way, commits, and leaves the group.
    fn finish(mut self) -> Result<(), RunError> {
        let stopped = Instant::now();
        while self.channels.under_way() > 0 && stopped.elapsed() < STOP_TIMEOUT {
            std::thread::sleep(TICK);
            self.take_outcomes();
        }
        self.take_outcomes();
        self.commit(false)?;
        self.log.leave();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::domain::rule::Rule;
    use crate::domain::rule::message::Language;
    use crate::notify::channel::Address;

    #[test]
    fn an_outcome_of_an_earlier_run_is_none_of_a_message_of_this_run() {
        let config = Config::parse("test", "notify: {}\n").unwrap_or_else(|problems| panic!("{problems}"));
        let notify = config.notify.expect("a section");
        let mut kept =
            Kept { ledger: Ledger::new(Span::HOUR), companies: Companies::new(&notify), digests: Digests::default() };
        let begin = |kept: &mut Kept| {
            let address = Address { channel: Channel::Telegram, to: "1".into(), person: None, language: Language::En };
            let duty = Duty { address, ready_at: Timestamp(0), group: None, most: 1, is_quiet: false };
            let alert = Alert::sample("acme", Rule::Neglected, "lead:1", Timestamp(0));
            kept.ledger.status(ShardId(0), alert, vec![duty], Timestamp(0));
            kept.ledger.take_due(Timestamp(0), |_| None, |_| None).remove(0)
        };
        let before = begin(&mut kept);
        // What `start` does.
        kept.clear();
        let now = begin(&mut kept);
        assert!(!kept.done(before.id, &Outcome::Sent(Some("another message".into())), Timestamp(1)));
        assert_eq!(kept.ledger.owed(), 1);
        assert!(kept.done(now.id, &Outcome::Sent(Some("m1".into())), Timestamp(2)));
        assert_eq!(kept.ledger.owed(), 0);
    }
}
