//! Owns the conversation with a portal: single calls and batches within both budgets, repeated where that can help.

use super::answer::{Failure, Received, Reply, Timing, back_off, failure, read};
use super::budget::{Meter, Share};
use super::query::Command;
use super::settings::Settings;
use super::transport::Transport;
use super::value::{Row, Zone, whole};
use super::webhook::Webhook;
use crate::domain::time::{Span, Timestamp};
use crate::gateway::source::{Clock, ReadError, Stop, Watch};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How many lists one batch asks for: a request lives at most a minute, and a list of a large table takes seconds.
pub(super) const LISTS_PER_BATCH: usize = 25;

/// How many commands a portal accepts in a batch.
pub(super) const COMMANDS_PER_BATCH: usize = 50;

/// How often a request is repeated.
const ATTEMPTS: u32 = 4;

/// How often a portal may be renamed within one request.
const RENAMES: u32 = 3;

/// Answers of a batch, one for each command.
pub(super) type Answers = Vec<Result<Reply, Failure>>;

/// Talks to one portal.
pub(super) struct Client {
    webhook: Webhook,
    transport: Box<dyn Transport>,
    clock: Arc<dyn Clock>,
    watch: Arc<dyn Watch>,
    zone: Zone,
    meter: Meter,
    share: Share,
    stop: Stop,
    /// The clock of the portal less that of this machine, in milliseconds.
    ahead: i64,
    /// When the portal began the last request that it answered, by its clock.
    began: Option<Timestamp>,
    /// The host that the portal was renamed to, until it is stored.
    renamed: Option<String>,
    size: BatchSize,
}

/// How many commands a batch may have: fewer after batches that the portal did not complete, because they may be too much
/// work for one request, or give too large an answer.
#[derive(Debug)]
struct BatchSize {
    most: usize,
    /// When it was changed last.
    changed_at: Timestamp,
    /// How long it stays before it grows again: longer each time that this has failed.
    stays: Span,
    grown: bool,
}

impl BatchSize {
    const STAYS: Span = Span(60_000);
    const STAYS_AT_MOST: Span = Span(3_600_000);

    fn new(now: Timestamp) -> Self {
        Self { most: COMMANDS_PER_BATCH, changed_at: now, stays: Self::STAYS, grown: false }
    }

    /// A batch of this size was not completed.
    fn failed(&mut self, size: usize, now: Timestamp) {
        if size <= 1 {
            // The size is not the reason.
            return *self = Self::new(now);
        }
        if self.grown {
            self.stays = Span((self.stays.0 * 2).min(Self::STAYS_AT_MOST.0));
        }
        (self.most, self.changed_at, self.grown) = (size / 2, now, false);
    }

    fn completed(&mut self, now: Timestamp) {
        if self.most < COMMANDS_PER_BATCH && now.0 - self.changed_at.0 >= self.stays.0 {
            (self.most, self.changed_at, self.grown) = (COMMANDS_PER_BATCH.min(self.most * 2), now, true);
        }
    }
}

impl Client {
    pub(super) fn new(
        settings: &Settings,
        transport: Box<dyn Transport>,
        clock: Arc<dyn Clock>,
        watch: Arc<dyn Watch>,
    ) -> Self {
        let meter = Meter::new(settings.budget, clock.now());
        let zone = Zone::new(settings.time_zone.clone());
        let (webhook, stop) = (settings.webhook.clone(), Stop::default());
        let (ahead, began, renamed, share) = (0, None, None, Share::Live);
        let size = BatchSize::new(clock.now());
        Self { webhook, transport, clock, watch, zone, meter, share, stop, ahead, began, renamed, size }
    }

    /// Obeys this signal from now on.
    pub(super) fn obey(&mut self, stop: &Stop) {
        self.stop = stop.clone();
    }

    /// Chooses the part of the budget.
    pub(super) fn use_share(&mut self, share: Share) {
        self.share = share;
    }

    /// Uses the host that the portal was renamed to earlier.
    pub(super) fn use_host(&mut self, host: &str) {
        self.webhook = self.webhook.at(host);
    }

    /// The host that the portal was renamed to, once.
    pub(super) fn take_renamed(&mut self) -> Option<String> {
        self.renamed.take()
    }

    /// The time zone of times without an offset.
    pub(super) fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The present instant by the clock of the portal, as well as it is known.
    pub(super) fn portal_now(&self) -> Timestamp {
        Timestamp(self.clock.now().0.saturating_add(self.ahead))
    }

    /// Whether the portal has said what time it is.
    pub(super) fn knows_clock(&self) -> bool {
        self.began.is_some()
    }

    /// When the portal began the last request that it answered, by its clock.
    pub(super) fn began(&self) -> Timestamp {
        self.began.unwrap_or_else(|| self.portal_now())
    }

    /// Calls one method.
    pub(super) fn call(&mut self, method: &'static str, params: &Value) -> Result<Result<Reply, Failure>, ReadError> {
        let reply = self.request(method, &params.to_string());
        match reply {
            Ok(reply) => {
                let (portal, now) = (self.portal_now(), self.clock.now());
                self.meter.record(method, &reply.timing, portal, now);
                Ok(Ok(reply))
            }
            Err(Asked::Failed(
                failure @ (Failure::NoRight(_) | Failure::NoMethod | Failure::NotFound | Failure::Wrong(_)),
            )) => Ok(Err(failure)),
            Err(asked) => Err(self.give_up(method, asked)),
        }
    }

    /// Runs commands, `size` of them in a batch, and returns an answer for each.
    ///
    /// Commands of methods that have used up their time fail with [`Failure::OverTime`] without being sent.
    pub(super) fn batch(&mut self, commands: &[Command], size: usize) -> Result<Answers, ReadError> {
        let mut answers: Vec<Option<Result<Reply, Failure>>> = commands.iter().map(|_| None).collect();
        for attempt in 1.. {
            let open: Vec<usize> = (0..commands.len()).filter(|index| is_open(answers[*index].as_ref())).collect();
            if open.is_empty() || attempt > ATTEMPTS {
                break;
            }
            if attempt > 1 {
                self.wait(back_off(attempt - 1))?;
            }
            for part in open.chunks(size.min(self.size.most)) {
                // A portal may bill a batch to its methods, or to the name `batch`.
                let now = self.clock.now();
                let is_ready = |method: &str| self.meter.rest(method, self.share, now).is_zero();
                let (ready, resting): (Vec<_>, Vec<_>) =
                    part.iter().partition(|index| is_ready("batch") && is_ready(commands[**index].method));
                resting.into_iter().for_each(|index| answers[index] = Some(Err(Failure::OverTime)));
                if !ready.is_empty() {
                    self.run(commands, &ready, &mut answers)?;
                }
            }
        }
        // A command that was never run, or only failed, is busy.
        Ok(answers.into_iter().map(|answer| answer.unwrap_or(Err(Failure::Busy("not_run", None)))).collect())
    }

    /// How many lists that follow each other one batch may ask for.
    pub(super) fn lists_per_batch(&self) -> usize {
        LISTS_PER_BATCH.min(self.size.most)
    }

    /// How long to wait before methods of a batch may be called again.
    pub(super) fn rest(&self, methods: &[&'static str]) -> Duration {
        let now = self.clock.now();
        let rests = methods.iter().chain([&"batch"]).map(|method| self.meter.rest(method, self.share, now));
        rests.max().unwrap_or_default()
    }

    /// Runs the commands with these indices in one request.
    fn run(
        &mut self,
        commands: &[Command],
        part: &[usize],
        answers: &mut [Option<Result<Reply, Failure>>],
    ) -> Result<(), ReadError> {
        // Labels begin with a letter: labels that are numbers come back as a list without labels.
        let labels: Map<String, Value> =
            part.iter().map(|index| (format!("c{index}"), commands[*index].query().into())).collect();
        let body = json!({"halt": 0, "cmd": labels}).to_string();
        let reply = match self.request("batch", &body) {
            Ok(reply) => {
                self.size.completed(self.clock.now());
                reply
            }
            // Parts of the work wait for it, and others may still use their share of the budget.
            Err(Asked::Failed(Failure::OverTime)) => {
                part.iter().for_each(|index| answers[*index] = Some(Err(Failure::OverTime)));
                return Ok(());
            }
            Err(asked) => {
                if let Asked::Failed(Failure::Busy(..)) = asked {
                    self.size.failed(part.len(), self.clock.now());
                }
                return Err(self.give_up("batch", asked));
            }
        };
        let (portal, now) = (self.portal_now(), self.clock.now());
        self.meter.record("batch", &reply.timing, portal, now);
        let mut whole_result = reply.result;
        for index in part {
            let (label, method) = (format!("c{index}"), commands[*index].method);
            let inner = |name: &str| whole_result.get(name).and_then(|map| map.get(&label));
            let timing = inner("result_time").map(|time| Timing::read(Row(time), &self.zone)).unwrap_or_default();
            let (total, next) = (inner("result_total").and_then(whole), inner("result_next").and_then(whole));
            // Errors outside of the table have no HTTP status of their own.
            let failed = inner("result_error").and_then(|error| failure(400, error));
            self.meter.record(method, &timing, portal, now);
            let answer = match failed {
                Some(failure) => {
                    match &failure {
                        Failure::OverTime => self.meter.refuse(method, now),
                        Failure::Busy("query_limit_exceeded", _) => self.meter.is_full(now),
                        // They concern the portal, whatever command they come with.
                        Failure::Blocked | Failure::NoAccess(_) => {
                            self.watch.request(method, failure.name());
                            return Err(self.give_up(method, Asked::Failed(failure)));
                        }
                        _ => {}
                    }
                    Err(failure)
                }
                None => match whole_result.get_mut("result").and_then(|map| map.get_mut(&label)) {
                    Some(result) => Ok(Reply { result: result.take(), timing, total, next }),
                    None => Err(Failure::Busy("not_run", None)),
                },
            };
            self.watch.request(method, answer.as_ref().map_or_else(Failure::name, |_| "ok"));
            answers[*index] = Some(answer);
        }
        Ok(())
    }

    /// Sends one request, and repeats it while that can help.
    fn request(&mut self, method: &'static str, body: &str) -> Result<Reply, Asked> {
        let mut renames = 0;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let rest = self.meter.rest(method, self.share, self.clock.now());
            if !rest.is_zero() {
                return Err(Asked::Failed(Failure::OverTime));
            }
            let pause = self.meter.pause(self.share, self.clock.now());
            self.wait(pause).map_err(Asked::Stopped)?;
            self.meter.count_request(self.clock.now());
            let received = self.transport.post(&self.webhook, method, body);
            let reply = match received {
                Ok(received) => self.understand(&received),
                Err(kind) => Err(Failure::Busy(kind, None)),
            };
            let now = self.clock.now();
            self.watch.request(method, reply.as_ref().map_or_else(Failure::name, |_| "ok"));
            let (requests, seconds) = self.meter.left(now);
            self.watch.budget_left(requests, seconds);
            match reply {
                Ok(reply) => return Ok(reply),
                Err(Failure::Renamed(host)) if renames < RENAMES => {
                    renames += 1;
                    attempt -= 1;
                    self.webhook = self.webhook.at(&host);
                    self.renamed = Some(host);
                }
                Err(Failure::Busy(kind, at_least)) if attempt < ATTEMPTS => {
                    if kind == "query_limit_exceeded" {
                        self.meter.is_full(now);
                    }
                    self.wait(back_off(attempt).max(at_least.unwrap_or_default())).map_err(Asked::Stopped)?;
                }
                Err(failure) => {
                    if failure == Failure::OverTime {
                        self.meter.refuse(method, now);
                    }
                    return Err(Asked::Failed(failure));
                }
            }
        }
    }

    fn understand(&mut self, received: &Received) -> Result<Reply, Failure> {
        if (300..400).contains(&received.status) {
            let host = received.location.as_deref().and_then(|location| self.webhook.renamed(location));
            return Err(host.map_or(Failure::Redirect, |host| Failure::Renamed(host.to_string())));
        }
        let reply = read(received, &self.zone)?;
        if let Some(began) = reply.timing.began {
            self.began = Some(began);
            self.ahead = began.0 - self.clock.now().0;
        }
        Ok(reply)
    }

    /// Waits, unless the reader has to stop.
    fn wait(&self, time: Duration) -> Result<(), ReadError> {
        if !time.is_zero() {
            self.clock.wait(time, &self.stop);
        }
        if self.stop.is_set() {
            let (what, retry_in) = ("stopped".to_owned(), Duration::ZERO);
            return Err(ReadError::Unavailable { what, retry_in });
        }
        Ok(())
    }

    fn give_up(&self, method: &'static str, asked: Asked) -> ReadError {
        let failure = match asked {
            Asked::Stopped(error) => return error,
            Asked::Failed(failure) => failure,
        };
        let host = self.webhook.host();
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        match failure {
            Failure::Busy(kind, _) => {
                let what = format!("{host} did not answer {method} ({kind}) in {ATTEMPTS} attempts");
                ReadError::Unavailable { what, retry_in: Duration::from_secs(30) }
            }
            Failure::OverTime => {
                let retry_in = self.meter.rest(method, self.share, self.clock.now()).max(Duration::from_secs(1));
                let what = format!("{host} has worked for this webhook as long as the budget allows");
                ReadError::Unavailable { what, retry_in }
            }
            Failure::Blocked => ReadError::Refused {
                what: format!("{host} was blocked by Bitrix24 (OVERLOAD_LIMIT): ask its support"),
                retry_in: minutes(10),
            },
            Failure::NoAccess(why) | Failure::NoRight(why) => ReadError::Refused {
                what: format!("{host} refuses the webhook: {why}; create a webhook and replace `url`"),
                retry_in: minutes(1),
            },
            Failure::Redirect | Failure::Renamed(_) => ReadError::Refused {
                what: format!("{host} redirects to another host, which is not asked: if it was renamed, change `url`"),
                retry_in: minutes(5),
            },
            Failure::NoMethod | Failure::NotFound => ReadError::Refused {
                what: format!("{host} does not know {method}: `url` may not be a webhook of Bitrix24"),
                retry_in: minutes(5),
            },
            Failure::Wrong(code) => {
                ReadError::Refused { what: format!("{host} does not accept {method}: {code}"), retry_in: minutes(5) }
            }
        }
    }
}

/// Why a request has no reply.
enum Asked {
    Stopped(ReadError),
    Failed(Failure),
}

/// Whether a command has to be run, or run again.
fn is_open(answer: Option<&Result<Reply, Failure>>) -> bool {
    matches!(answer, None | Some(Err(Failure::Busy(..))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_shrink_while_they_fail_and_grow_again_ever_more_carefully() {
        let mut size = BatchSize::new(Timestamp(0));
        for expected in [12, 6, 3] {
            size.failed(size.most.min(25), Timestamp(0));
            assert_eq!(size.most, expected);
        }
        size.completed(Timestamp(59_000));
        assert_eq!(size.most, 3);
        size.completed(Timestamp(60_000));
        assert_eq!(size.most, 6);
        size.failed(6, Timestamp(61_000));
        size.completed(Timestamp(61_000 + 119_000));
        assert_eq!(size.most, 3, "twice as long");
        size.completed(Timestamp(61_000 + 120_000));
        assert_eq!(size.most, 6);
        (0..20).for_each(|minute| size.completed(Timestamp(200_000 + minute * 120_000)));
        assert_eq!(size.most, COMMANDS_PER_BATCH);
        size.failed(25, Timestamp(0));
        size.failed(1, Timestamp(0));
        assert_eq!(size.most, COMMANDS_PER_BATCH, "a portal that is away has no batches that are too large");
    }
}
