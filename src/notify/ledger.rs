//! Owns what is owed and what was sent: for each alert, a line for each address.
//!
//! A line has the stage that is wanted (the newest status) and the stage that was sent last. If they differ, a message is owed.
//! A status that is overtaken before it was sent is never sent, nor is an alert that is over by then.
//!
//! **Invariant.** A stage of a line is given to a channel once: it is recorded as under way before, and as sent afterwards.
//! Only a stage that was under way when the process ended is given to the channel again.
//!
//! **Bounds.** Alerts without an address are not kept. Others are kept until they are over and nothing is owed, and then for as
//! long as they may be retracted. At most [`MAX_CASES`] are kept.

use super::case::{Case, Line, Stage, is_over};
use super::channel::{Address, Item, Job, Outcome};
use super::record;
use super::routing::{Duty, QUIET, SUMMARY_MOST};
use crate::config::notify::Channel;
use crate::domain::alert::{Alert, Status};
use crate::domain::source::ShardId;
use crate::domain::time::{Span, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// The alerts that are kept.
pub const MAX_CASES: usize = 100_000;
/// The messages that are given to channels at a time.
const MAX_JOBS: usize = 64;
/// How long an alert that is over is kept, because it may be retracted.
const KEEP: Span = Span(7 * Span::DAY.0);
/// How long one is kept that cannot change any more, and of which nobody was informed.
const KEEP_SETTLED: Span = Span(10 * Span::MINUTE.0);
/// How long one is kept that cannot change any more: the page shows who was informed of it.
const KEEP_TOLD: Span = Span::DAY;
/// How long a message that the channel does not take is tried.
const GIVE_UP: Span = Span(Span::DAY.0);
/// How long Alertmanager is informed of an alert that is over.
const TELL_END: Span = Span(5 * Span::MINUTE.0);
/// What is tried again is tried within this time; what is ready later waits for working time.
const SOON: Span = Span(10 * Span::MINUTE.0);
/// The pause before an address or a channel that is busy is looked at again.
const BUSY: Span = Span(50);

type CaseKey = (ShardId, Uuid);

/// A message that was given to a channel.
#[derive(Debug)]
struct UnderWay {
    address: (Channel, String),
    lines: Vec<(CaseKey, Address)>,
}

/// What is owed and what was sent.
#[derive(Debug)]
pub struct Ledger {
    summary_after: Span,
    cases: BTreeMap<CaseKey, Case>,
    /// When to look at a case.
    due: BTreeSet<(Timestamp, CaseKey)>,
    /// When a case can be forgotten.
    ends: BTreeSet<(Timestamp, CaseKey)>,
    under_way: BTreeMap<u64, UnderWay>,
    busy: BTreeSet<(Channel, String)>,
    changed: BTreeSet<CaseKey>,
    last_job: u64,
    /// Messages that may have been sent twice.
    doubled: u64,
    /// Messages that were not sent because their alert was over.
    withheld: u64,
}

impl Ledger {
    /// An empty ledger; what could not be sent for `summary_after` is summed up.
    pub fn new(summary_after: Span) -> Self {
        Self {
            summary_after,
            cases: BTreeMap::new(),
            due: BTreeSet::new(),
            ends: BTreeSet::new(),
            under_way: BTreeMap::new(),
            busy: BTreeSet::new(),
            changed: BTreeSet::new(),
            last_job: 0,
            doubled: 0,
            withheld: 0,
        }
    }

    /// Takes over a stored record. What was under way is owed again.
    pub fn restore(&mut self, shard: ShardId, key: &[u8], value: &[u8]) {
        let Some((id, mut case)) = record::id(key).zip(record::decode(value)) else { return };
        let mut changed = false;
        for line in &mut case.lines {
            let Some(attempt) = line.attempt.take() else { continue };
            line.may_have_arrived(attempt);
            changed = true;
            self.doubled += u64::from(line.may_double());
        }
        let key = (shard, id);
        self.cases.insert(key, case);
        if changed {
            self.changed.insert(key);
        }
        self.schedule(key);
    }

    /// Forgets everything: the partitions belong to nobody known.
    pub fn clear(&mut self) {
        *self = Self {
            last_job: self.last_job,
            doubled: self.doubled,
            withheld: self.withheld,
            ..Self::new(self.summary_after)
        };
    }

    /// An alert has a new status, for which routes ask for these messages.
    pub fn status(&mut self, shard: ShardId, alert: Alert, duties: Vec<Duty>, now: Timestamp) {
        let key = (shard, alert.id);
        let is_known = self.cases.contains_key(&key);
        if !is_known && (duties.is_empty() || alert.historic || is_over(alert.status)) {
            return;
        }
        let case = self.cases.entry(key).or_insert_with(|| Case {
            alert: alert.clone(),
            taken_by: None,
            updated: now,
            lines: Vec::new(),
        });
        (case.alert, case.updated) = (alert, now);
        let is_over = is_over(case.alert.status);
        if is_over {
            let before = case.lines.len();
            case.lines.retain(Line::may_be_known);
            self.withheld += (before - case.lines.len()) as u64;
        }
        let stages = Channel::ALL.map(|channel| Stage::of(case, channel));
        for line in &mut case.lines {
            if is_over && !line.address.channel.follows() {
                line.give_up();
                continue;
            }
            let stage = stages[line.address.channel as usize];
            let duty = duties.iter().find(|duty| duty.address == line.address);
            let follows = line.address.channel.follows() || duty.is_some() && line.address.channel == Channel::Mail;
            if follows && line.wanted != stage {
                if !line.is_owed() {
                    line.ready_at = duty.map_or(now, |duty| duty.ready_at);
                    line.since = now.max(line.ready_at);
                }
                if line.is_refused {
                    // The channel may take this one.
                    (line.is_refused, line.failing_since) = (false, None);
                }
                line.wanted = stage;
            }
        }
        if !is_over && !case.alert.historic {
            add_lines(case, duties, &stages, now);
        }
        self.changed.insert(key);
        self.schedule(key);
        self.bound();
    }

    /// Keeps an alert of which nobody is informed, because it is not known yet who is to be: see [`Self::reroute`].
    pub fn keep(&mut self, shard: ShardId, alert: Alert, now: Timestamp) {
        let key = (shard, alert.id);
        if self.cases.contains_key(&key) || alert.historic || is_over(alert.status) {
            return;
        }
        self.cases.insert(key, Case { alert, taken_by: None, updated: now, lines: Vec::new() });
        self.changed.insert(key);
        self.schedule(key);
        self.bound();
    }

    /// The alerts of a company that are open.
    pub fn open_alerts(&self, tenant: &str) -> Vec<(ShardId, Alert)> {
        let is_meant = |case: &Case| case.alert.tenant.as_str() == tenant && !is_over(case.alert.status);
        let open = self.cases.iter().filter(|(_, case)| is_meant(case) && !case.alert.historic);
        open.map(|((shard, _), case)| (*shard, case.alert.clone())).collect()
    }

    /// The companies of the alerts that are open.
    pub fn companies(&self) -> BTreeSet<&str> {
        let open = self.cases.values().filter(|case| !is_over(case.alert.status));
        open.map(|case| case.alert.tenant.as_str()).collect()
    }

    /// It has become known that an open alert is for others: who is not to be informed any more, and was not yet, is not.
    pub fn reroute(&mut self, shard: ShardId, id: Uuid, no_more: &[Duty], also: Vec<Duty>, now: Timestamp) {
        let key = (shard, id);
        let Some(case) = self.cases.get_mut(&key).filter(|case| !is_over(case.alert.status)) else { return };
        let is_meant = |line: &Line| no_more.iter().any(|duty| duty.address == line.address);
        case.lines.retain(|line| line.may_be_known() || line.is_uncertain || !is_meant(line));
        let stages = Channel::ALL.map(|channel| Stage::of(case, channel));
        add_lines(case, also, &stages, now);
        self.changed.insert(key);
        self.schedule(key);
    }

    /// Somebody takes care of an alert: what is owed to this person is not sent any more. Returns the alert, if it is known and
    /// open.
    pub fn take(&mut self, id: Uuid, person: &str, now: Timestamp) -> Option<Alert> {
        let key = self.find(id)?;
        let case = self.cases.get_mut(&key)?;
        if is_over(case.alert.status) {
            return None;
        }
        case.taken_by = Some(person.to_owned());
        case.lines.retain(|line| line.may_be_known() || line.address.person.as_deref() != Some(person));
        let stage = Stage::of(case, Channel::Telegram);
        for line in case.lines.iter_mut().filter(|line| line.address.channel == Channel::Telegram) {
            if !line.is_owed() {
                (line.ready_at, line.since) = (now, now);
            }
            line.wanted = stage;
        }
        let alert = case.alert.clone();
        self.changed.insert(key);
        self.schedule(key);
        Some(alert)
    }

    /// The case of an alert.
    pub fn case(&self, id: Uuid) -> Option<&Case> {
        self.cases.get(&self.find(id)?)
    }

    /// The partition and key of an alert.
    pub fn shard_of(&self, id: Uuid) -> Option<ShardId> {
        self.find(id).map(|(shard, _)| shard)
    }

    fn find(&self, id: Uuid) -> Option<CaseKey> {
        // There are few partitions.
        let mut shards: Vec<ShardId> = self.cases.keys().map(|(shard, _)| *shard).collect();
        shards.dedup();
        shards.into_iter().map(|shard| (shard, id)).find(|key| self.cases.contains_key(key))
    }

    /// The messages that are due, marked as under way. They may be given to the channels once the [records](Self::take_records)
    /// are stored.
    ///
    /// `name` is the name of an alert's manager, and `opening` when the manager's working time begins again, if it is not now.
    pub fn take_due(
        &mut self,
        now: Timestamp,
        name: impl Fn(&Alert) -> Option<String>,
        opening: impl Fn(&Alert) -> Option<Timestamp>,
    ) -> Vec<Job> {
        self.forget(now);
        // What may have arrived is repeated as it was, without other alerts.
        let mut groups: BTreeMap<(Address, bool, String), Vec<CaseKey>> = BTreeMap::new();
        let mut waiting = Vec::new();
        while let Some((at, key)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            if groups.len() >= MAX_JOBS {
                break;
            }
            self.due.remove(&(at, key));
            let Some(case) = self.cases.get_mut(&key) else { continue };
            if case.wait_for_opening(now, &opening) {
                self.changed.insert(key);
            }
            let Some(case) = self.cases.get(&key) else { continue };
            for line in case.lines.iter().filter(|line| line.is_owed() && line.attempt.is_none()) {
                if line.ready_at > now {
                    waiting.push((line.ready_at, key));
                } else if self.is_busy(&line.address) {
                    waiting.push((now + BUSY, key));
                } else {
                    let text = match (&line.message, &line.group) {
                        (Some(message), _) => format!("m{message}"),
                        _ if line.most > 1 && now - line.since > self.summary_after => "late".to_owned(),
                        (None, Some(group)) => format!("g{group}"),
                        _ if self.is_late(line, now) => "late".to_owned(),
                        (None, None) => format!("a{}", key.1),
                    };
                    groups.entry((line.address.clone(), !line.is_uncertain, text)).or_default().push(key);
                }
            }
        }
        self.due.extend(waiting);
        let mut jobs = Vec::new();
        for ((address, _, text), keys) in groups {
            if !self.begin(&address) {
                // Another message of this round goes there.
                self.due.extend(keys.into_iter().map(|key| (now + BUSY, key)));
                continue;
            }
            jobs.push(self.job(address, &text, keys, &name));
        }
        jobs
    }

    /// Whether a message to this address has to wait: it goes where another one is under way.
    fn is_busy(&self, address: &Address) -> bool {
        let (to_one, to) = (address.channel.is_repeatable(), &address.to);
        self.busy.iter().any(|(channel, other)| *channel == address.channel && (!to_one || other == to))
    }

    /// Begins a message that is not about alerts, so that no other one is under way where it goes. Returns whether it may be
    /// sent now.
    pub fn begin(&mut self, address: &Address) -> bool {
        let is_free = !self.is_busy(address);
        if is_free {
            self.busy.insert((address.channel, address.to.clone()));
        }
        is_free
    }

    /// Such a message has an outcome.
    pub fn end(&mut self, address: &Address) {
        self.busy.remove(&(address.channel, address.to.clone()));
    }

    /// Whether a line could not be sent for so long that it is summed up.
    fn is_late(&self, line: &Line, now: Timestamp) -> bool {
        let sums_up = matches!(line.address.channel, Channel::Bitrix24 | Channel::Telegram | Channel::Mail);
        sums_up && line.sent.is_none() && now - line.since > self.summary_after
    }

    fn job(
        &mut self,
        address: Address,
        text: &str,
        mut keys: Vec<CaseKey>,
        name: &impl Fn(&Alert) -> Option<String>,
    ) -> Job {
        self.last_job += 1;
        let replaces = text.strip_prefix('m').map(str::to_owned);
        let is_summary = text == "late" || text.strip_prefix('g') == Some(QUIET);
        if let Some(message) = &replaces {
            // The other alerts of the message are named again.
            let same = |line: &Line| line.address == address && line.message.as_deref() == Some(message);
            let all = self.cases.iter().filter(|(_, case)| case.lines.iter().any(same)).map(|(key, _)| *key);
            keys = all.collect();
        }
        let mut most = if is_summary { SUMMARY_MOST } else { 1 };
        let mut items: Vec<(CaseKey, Item)> = Vec::new();
        for key in &keys {
            let Some(case) = self.cases.get_mut(key) else { continue };
            let Some(line) = case.lines.iter_mut().find(|line| line.address == address) else { continue };
            most = most.max(line.most);
            line.attempt = Some(line.wanted);
            if is_summary {
                line.most = line.most.max(SUMMARY_MOST);
            }
            let (alert, taken_by) = (case.alert.clone(), case.taken_by.clone());
            items.push((*key, Item { manager: name(&alert), alert, taken_by }));
            self.changed.insert(*key);
        }
        items.sort_by_key(|(_, item)| {
            (is_over(item.alert.status), std::cmp::Reverse(item.alert.severity), item.alert.anchor_at, item.alert.id)
        });
        // The same when it is sent again, though an alert may have gone on meanwhile.
        let first = items.iter().map(|(key, _)| *key).min_by_key(|(_, id)| *id);
        let line = first.and_then(|key| self.cases.get(&key)?.lines.iter().find(|line| line.address == address));
        let stage = line.map(|line| (line.wanted.status.name(), line.wanted.level)).unwrap_or_default();
        let first = first.map(|(_, id)| id).unwrap_or_default();
        let lines = items.iter().map(|(key, _)| (*key, address.clone())).collect();
        let more = items.len().saturating_sub(most);
        let open = items.iter().filter(|(_, item)| !is_over(item.alert.status)).count();
        let target = (address.channel, address.to.clone());
        self.under_way.insert(self.last_job, UnderWay { address: target, lines });
        Job {
            id: self.last_job,
            replaces,
            key: format!("{first}/{}/{}/{}/{}", stage.0, stage.1, address.channel.name(), address.to),
            address,
            items: items.into_iter().take(most).map(|(_, item)| item).collect(),
            more,
            open,
            is_summary,
            text: None,
            call_back: Vec::new(),
        }
    }

    /// What became of a message. Returns whether it is one of this ledger.
    pub fn done(&mut self, job: u64, outcome: &Outcome, now: Timestamp) -> bool {
        let Some(UnderWay { address, lines }) = self.under_way.remove(&job) else { return false };
        self.busy.remove(&address);
        let mut doubled = false;
        for (key, address) in lines {
            let Some(case) = self.cases.get_mut(&key) else { continue };
            let is_open = !is_over(case.alert.status);
            let Some(line) = case.lines.iter_mut().find(|line| line.address == address) else { continue };
            let Some(attempt) = line.attempt.take() else { continue };
            let failing = now - *line.failing_since.get_or_insert(now);
            match outcome {
                Outcome::Sent(message) => {
                    (line.sent, line.sent_at) = (Some(attempt), Some(now));
                    (line.is_uncertain, line.failing_since) = (false, None);
                    if message.is_some() {
                        line.message.clone_from(message);
                    }
                    (line.ready_at, line.since) = (now, now);
                }
                Outcome::Later(after, _) | Outcome::Unknown(after, _) if failing <= GIVE_UP => {
                    line.ready_at = now + *after;
                    if matches!(outcome, Outcome::Unknown(..)) {
                        line.may_have_arrived(attempt);
                        doubled |= line.may_double();
                    }
                }
                Outcome::Later(..) | Outcome::Unknown(..) | Outcome::Refused(_) => line.is_refused = true,
            }
            if !is_open && !line.address.channel.follows() {
                line.give_up();
            }
            if !is_open && !line.may_be_known() {
                // Over before it was sent.
                case.lines.retain(|line| line.address != address);
                self.withheld += 1;
            }
            self.changed.insert(key);
            self.schedule(key);
        }
        self.doubled += u64::from(doubled);
        true
    }

    /// The alerts that Alertmanager is informed of, with the end of those that are over.
    pub fn for_alertmanager(&self, now: Timestamp) -> Vec<(Alert, Option<Timestamp>)> {
        let told = |case: &&Case| case.lines.iter().any(|line| line.address.channel == Channel::Alertmanager);
        let state = |case: &Case| {
            let is_raised = case.alert.status == Status::Raised;
            // What was raised has no end; it is informed of for some minutes.
            let ended = if is_raised {
                Some(case.updated + TELL_END)
            } else {
                is_over(case.alert.status).then_some(case.updated)
            };
            let informs = ended.is_none_or(|ended| now - ended <= TELL_END);
            informs.then(|| (case.alert.clone(), ended.filter(|ended| *ended <= now)))
        };
        self.cases.values().filter(told).filter_map(state).collect()
    }

    /// The records that changed since the last call; `None`: deleted.
    pub fn take_records(&mut self) -> Vec<(ShardId, Vec<u8>, Option<Vec<u8>>)> {
        let changed = std::mem::take(&mut self.changed);
        let record = |key: CaseKey| (key.0, record::key(key.1), self.cases.get(&key).map(record::encode));
        changed.into_iter().map(record).collect()
    }

    /// The number of alerts that are kept.
    pub fn len(&self) -> usize {
        self.cases.len()
    }

    /// Whether no alert is kept.
    pub fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    /// The messages that are owed or under way.
    pub fn owed(&self) -> usize {
        self.cases.values().flat_map(|case| &case.lines).filter(|line| line.is_owed()).count()
    }

    /// The age of the oldest message that is owed, without those that wait for working time.
    pub fn oldest(&self, now: Timestamp) -> Span {
        let lines = self.cases.values().flat_map(|case| &case.lines);
        let waiting = lines.filter(|line| line.is_owed() && line.ready_at <= now + SOON);
        waiting.map(|line| now - line.since).max().unwrap_or(Span::ZERO).max(Span::ZERO)
    }

    /// The messages that may have been sent twice, and those that were withheld because their alert was over.
    pub fn counts(&self) -> (u64, u64) {
        (self.doubled, self.withheld)
    }

    fn schedule(&mut self, key: CaseKey) {
        let Some(case) = self.cases.get(&key) else { return };
        let owed = case.lines.iter().filter(|line| line.is_owed() && line.attempt.is_none());
        match owed.map(|line| line.ready_at).min() {
            Some(at) => {
                self.due.insert((at, key));
            }
            None => {
                let keep = match case.alert.status {
                    _ if case.lines.is_empty() => KEEP_SETTLED,
                    Status::Retracted | Status::Averted => {
                        let is_told = case.lines.iter().any(|line| line.sent.is_some());
                        if is_told { KEEP_TOLD } else { KEEP_SETTLED }
                    }
                    Status::Resolved | Status::Raised => KEEP,
                    // As long as it is open.
                    _ => return,
                };
                self.ends.insert((case.updated + keep, key));
            }
        }
    }

    /// Forgets what is over.
    fn forget(&mut self, now: Timestamp) {
        while let Some((at, key)) = self.ends.first().copied().filter(|(at, _)| *at <= now) {
            self.ends.remove(&(at, key));
            let Some(case) = self.cases.get(&key) else { continue };
            let is_over = case.lines.is_empty() || !matches!(case.alert.status.is_open(), Some(true));
            let is_settled = case.lines.iter().all(|line| !line.is_owed() && line.attempt.is_none());
            if is_over && is_settled && now - case.updated >= KEEP_SETTLED {
                self.cases.remove(&key);
                self.changed.insert(key);
            }
        }
    }

    /// Forgets the oldest alerts if there are too many: those that are over first.
    fn bound(&mut self) {
        while self.cases.len() > MAX_CASES {
            let oldest = |over: bool| {
                let fits = |(_, case): &(&CaseKey, &Case)| !over || is_over(case.alert.status);
                self.cases.iter().filter(fits).min_by_key(|(_, case)| case.updated).map(|(key, _)| *key)
            };
            let Some(key) = self.ends.first().map(|(_, key)| *key).or_else(|| oldest(false)) else { return };
            self.ends.retain(|(_, other)| *other != key);
            self.cases.remove(&key);
            self.changed.insert(key);
        }
    }
}

/// Adds a line for each address that has none, unless its person takes care of the alert.
fn add_lines(case: &mut Case, duties: Vec<Duty>, stages: &[Stage; Channel::ALL.len()], now: Timestamp) {
    for duty in duties {
        let is_known = case.lines.iter().any(|line| line.address == duty.address);
        let is_taken = case.taken_by.is_some() && case.taken_by == duty.address.person;
        if !is_known && !is_taken {
            case.lines.push(new_line(duty, stages, now));
        }
    }
}

/// A message that is owed from now on.
fn new_line(duty: Duty, stages: &[Stage; Channel::ALL.len()], now: Timestamp) -> Line {
    Line {
        wanted: stages[duty.address.channel as usize],
        address: duty.address,
        sent: None,
        sent_at: None,
        attempt: None,
        ready_at: duty.ready_at,
        since: now.max(duty.ready_at),
        failing_since: None,
        group: duty.group,
        most: duty.most,
        is_quiet: duty.is_quiet,
        message: None,
        is_refused: false,
        is_uncertain: false,
    }
}

#[cfg(test)]
mod tests;
