//! Owns the time of a tenant: its watermark, and what the watermark follows from.
//!
//! **Watermark.** For each topic in which the tenant was seen: its highest event time there less `allowed_lateness`; the
//! watermark is the lowest of these. A topic counts no longer when the tenant was silent there for `idle_after`, and
//! everything that the partition held then was read. If none counts, the watermark follows the wall clock, less
//! `allowed_lateness`, or stays. In a backlog, a topic in which the tenant was not seen yet counts by the events of all
//! tenants, because the first one of this tenant may still come. The watermark never passes the wall clock less `allowed_lateness`, except in files and at the end of
//! a bounded run. It never decreases. So no event of one tenant changes the watermark of another.
//!
//! **Progress marks.** From the first mark on, the part of a topic is the lowest mark of its sources, and neither silence
//! nor the clock moves it. A source that stops counts no longer, until its next mark: if its mark is behind the wall clock
//! by more than `progress_timeout`, or, in a back-fill, if there was none for `backfill_timeout`. A mark is not too old
//! while the partition may contain the next one.
//!
//! **Back-fill.** It begins with a mark that says so, and ends with the first one of its source that does not. Statuses and
//! rows dated up to that mark are historic: the events before it are applied only when it has moved the watermark.

use crate::domain::event::progress::Progress;
use crate::domain::source::{PerTopic, Topic};
use crate::domain::time::{Span, Timestamp};
use compact_str::CompactString;

/// The highest number of sources of one topic of a tenant that send marks.
pub const MAX_MARK_SOURCES: usize = 64;

/// When silent sources count no longer.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Silence of a tenant in a topic after which the topic counts no longer.
    pub idle_after: Span,
    /// How far behind the wall clock a mark may be.
    pub progress: Span,
    /// How long a back-fill may be without a mark.
    pub backfill: Span,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { idle_after: Span(10_000), progress: Span(30 * Span::MINUTE.0), backfill: Span::DAY }
    }
}

/// The latest mark of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The topic.
    pub topic: Topic,
    /// The name of the source.
    pub source: CompactString,
    /// Everything dated up to this instant was sent.
    pub up_to: Timestamp,
    /// Whether the source sends past events.
    pub backfill: bool,
    /// The wall clock when it was read.
    pub arrived: Timestamp,
}

/// What the events of a tenant in one topic say about time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The highest event time; `MIN` if there was no event.
    pub at: Timestamp,
    /// The wall clock when the last event was read.
    pub arrived: Timestamp,
}

impl Default for Seen {
    fn default() -> Self {
        Self { at: Timestamp::MIN, arrived: Timestamp::MIN }
    }
}

/// The time of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantClock {
    /// Event time up to which everything was processed.
    pub watermark: Timestamp,
    /// Its events.
    pub seen: PerTopic<Seen>,
    /// In order of topics and sources.
    pub marks: Vec<Mark>,
    /// The latest mark that ended a back-fill.
    pub backfilled_until: Timestamp,
}

/// The instant for which watermarks are computed.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The wall clock; `None`: there is none, as for files.
    pub wall: Option<Timestamp>,
    /// Topics of which everything was read that was there `idle_after` ago.
    pub current: PerTopic<bool>,
    /// How far the other topics were read: the highest event time of their slowest source.
    pub unread: PerTopic<Option<Timestamp>>,
    /// Topics that were read to the end of a bounded run.
    pub ended: PerTopic<bool>,
    /// Expected out-of-orderness.
    pub allowed_lateness: Span,
    /// Whether a tenant of which no topic counts follows the wall clock.
    pub follows_clock: bool,
}

/// Where a watermark goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// To this instant, and then by events and marks.
    Events(Timestamp),
    /// With the wall clock.
    Clock,
    /// To this instant, and then nowhere until there is an event or a mark.
    Stays(Timestamp),
}

/// A mark was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkFlaw {
    /// It is below the last one of its source.
    Below,
    /// There are too many sources.
    TooMany,
}

impl Default for TenantClock {
    fn default() -> Self {
        Self {
            watermark: Timestamp::MIN,
            seen: PerTopic::default(),
            marks: Vec::new(),
            backfilled_until: Timestamp::MIN,
        }
    }
}

impl TenantClock {
    /// An event was read.
    pub fn see(&mut self, topic: Topic, at: Timestamp, wall: Timestamp) {
        let seen = &mut self.seen[topic];
        *seen = Seen { at: at.max(seen.at), arrived: wall };
    }

    /// A progress mark was read.
    pub fn mark(&mut self, topic: Topic, progress: Progress, wall: Timestamp) -> Result<(), MarkFlaw> {
        let Progress { source, up_to, backfill, .. } = progress;
        let key = |mark: &Mark| (mark.topic, &*mark.source) < (topic, &*source);
        let index = self.marks.partition_point(key);
        let of_topic = self.marks.iter().filter(|mark| mark.topic == topic).count();
        match self.marks.get_mut(index).filter(|mark| mark.topic == topic && mark.source == source) {
            Some(mark) if up_to < mark.up_to => return Err(MarkFlaw::Below),
            Some(mark) => {
                if mark.backfill && !backfill {
                    self.backfilled_until = self.backfilled_until.max(up_to);
                }
                (mark.up_to, mark.backfill, mark.arrived) = (up_to, backfill, wall);
            }
            None if of_topic >= MAX_MARK_SOURCES => return Err(MarkFlaw::TooMany),
            None => self.marks.insert(index, Mark { topic, source, up_to, backfill, arrived: wall }),
        }
        Ok(())
    }

    /// The highest instant up to which a source has reported; `MIN` without marks.
    pub fn latest_mark(&self) -> Timestamp {
        self.marks.iter().map(|mark| mark.up_to).max().unwrap_or(Timestamp::MIN)
    }

    /// Where the watermark goes.
    pub fn course(&self, now: &Now, timeouts: &Timeouts) -> Course {
        let (mut lowest, mut highest) = (None::<Timestamp>, Timestamp::MIN);
        for (topic, seen) in self.seen.iter() {
            let marks = self.marks.iter().filter(|mark| mark.topic == topic && mark.counts(now, timeouts));
            let part = match marks.map(|mark| mark.up_to).min() {
                Some(up_to) => Some(up_to),
                None if seen.at == Timestamp::MIN => match now.unread[topic] {
                    Some(read) => Some(read.saturating_sub(now.allowed_lateness)),
                    None => continue,
                },
                None => {
                    let part = seen.at.saturating_sub(now.allowed_lateness);
                    highest = highest.max(part);
                    let is_silent = now.current[topic] && now.is_past(seen.arrived, timeouts.idle_after);
                    Some(part).filter(|_| !is_silent && !now.ended[topic])
                }
            };
            lowest = lowest.into_iter().chain(part).min();
        }
        let bound = now.bound();
        match lowest {
            Some(lowest) => Course::Events(lowest.min(bound)),
            None if now.follows_clock && now.wall.is_some() => Course::Clock,
            None => Course::Stays(highest.min(bound)),
        }
    }

    /// Whether the watermark waits for a progress mark that is not among the messages to be read; `course`: where it goes.
    pub fn waits_for_mark(&self, course: Course, now: &Now, timeouts: &Timeouts) -> bool {
        let Course::Events(at) = course else { return false };
        self.marks.iter().any(|mark| mark.up_to <= at && now.current[mark.topic] && mark.counts(now, timeouts))
    }

    /// Whether a source sends past events.
    pub fn is_backfilling(&self, now: &Now, timeouts: &Timeouts) -> bool {
        self.marks.iter().any(|mark| mark.backfill && mark.counts(now, timeouts))
    }
}

impl Mark {
    /// Whether its source still counts.
    fn counts(&self, now: &Now, timeouts: &Timeouts) -> bool {
        let is_read = now.current[self.topic] || now.ended[self.topic];
        let (since, wait) = match self.backfill {
            true => (self.arrived, timeouts.backfill),
            false => (self.up_to, timeouts.progress),
        };
        !is_read || !now.is_past(since.saturating_add(Span(1)), wait)
    }
}

impl Now {
    /// What no watermark passes.
    pub fn bound(&self) -> Timestamp {
        self.wall.map_or(Timestamp::MAX, |wall| wall.saturating_sub(self.allowed_lateness))
    }

    /// Whether an instant of the wall clock is at least so long ago.
    fn is_past(&self, since: Timestamp, wait: Span) -> bool {
        self.wall.is_some_and(|wall| wall >= since.saturating_add(wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRM: Topic = Topic::Crm;
    const CALLS: Topic = Topic::Telephony;
    const TIMEOUTS: Timeouts = Timeouts { idle_after: Span(5), progress: Span(100), backfill: Span(1000) };

    /// At this wall clock, with all topics read up to now, and a lateness of 10.
    fn now(wall: i64) -> Now {
        Now {
            wall: Some(Timestamp(wall)),
            current: PerTopic::from_fn(|_| true),
            unread: PerTopic::from_fn(|_| None),
            ended: PerTopic::from_fn(|_| false),
            allowed_lateness: Span(10),
            follows_clock: true,
        }
    }

    fn seen(events: &[(Topic, i64, i64)]) -> TenantClock {
        let mut clock = TenantClock::default();
        events.iter().for_each(|(topic, at, wall)| clock.see(*topic, Timestamp(*at), Timestamp(*wall)));
        clock
    }

    fn mark(clock: &mut TenantClock, source: &str, up_to: i64, backfill: bool, wall: i64) -> Result<(), MarkFlaw> {
        let progress = Progress { tenant: "acme".into(), source: source.into(), up_to: Timestamp(up_to), backfill };
        clock.mark(CRM, progress, Timestamp(wall))
    }

    fn course(clock: &TenantClock, now: &Now) -> Course {
        clock.course(now, &TIMEOUTS)
    }

    const fn events(at: i64) -> Course {
        Course::Events(Timestamp(at))
    }

    #[test]
    fn the_topic_that_is_behind_counts() {
        let clock = seen(&[(CRM, 300, 300), (CALLS, 250, 301), (CALLS, 240, 302)]);
        assert_eq!(course(&clock, &now(302)), events(240));
    }

    #[test]
    fn a_silent_topic_counts_until_it_was_read() {
        let clock = seen(&[(CRM, 300, 300), (CALLS, 250, 250)]);
        assert_eq!(course(&clock, &now(302)), events(290));
        let mut unread = now(302);
        unread.current[CALLS] = false;
        assert_eq!(course(&clock, &unread), events(240));
        unread.ended[CALLS] = true;
        assert_eq!(course(&clock, &unread), events(290), "nothing more will be read");
        assert_eq!(course(&clock, &now(254)), events(240), "it is silent for 4 only");
    }

    #[test]
    fn in_a_backlog_it_waits_for_topics_that_may_contain_its_first_event() {
        let clock = seen(&[(CRM, 300, 300)]);
        let mut backlog = now(400);
        (backlog.current[CALLS], backlog.unread[CALLS]) = (false, Some(Timestamp(200)));
        assert_eq!(course(&clock, &backlog), events(190));
    }

    #[test]
    fn without_events_it_follows_the_clock_or_stays() {
        let clock = seen(&[(CRM, 300, 300), (CALLS, 250, 300)]);
        assert_eq!(course(&clock, &now(305)), Course::Clock);
        assert_eq!(course(&clock, &Now { follows_clock: false, ..now(305) }), Course::Stays(Timestamp(290)));
        assert_eq!(course(&TenantClock::default(), &now(305)), Course::Clock);
    }

    #[test]
    fn it_never_passes_the_wall_clock() {
        let clock = seen(&[(CRM, 590, 300)]);
        assert_eq!(course(&clock, &now(300)), events(290));
        assert_eq!(course(&clock, &Now { wall: None, ..now(0) }), events(580), "files have no wall clock");
        let mut clock = TenantClock::default();
        mark(&mut clock, "a", 350, false, 300).expect("taken");
        assert_eq!(course(&clock, &now(300)), events(290));
    }

    #[test]
    fn the_lowest_mark_replaces_silence_and_events() {
        let mut clock = seen(&[(CRM, 300, 300)]);
        mark(&mut clock, "a", 280, false, 300).expect("taken");
        mark(&mut clock, "b", 270, false, 300).expect("taken");
        assert_eq!(course(&clock, &now(305)), events(270), "events after the mark do not count, nor does silence");
        assert_eq!(mark(&mut clock, "b", 269, false, 306), Err(MarkFlaw::Below));
        mark(&mut clock, "b", 290, false, 306).expect("taken");
        assert_eq!(course(&clock, &now(306)), events(280));
        clock.see(CALLS, Timestamp(275), Timestamp(306));
        assert_eq!(course(&clock, &now(306)), events(265), "another topic without marks");
    }

    #[test]
    fn a_source_that_stops_counts_no_longer() {
        let mut clock = seen(&[(CRM, 300, 300)]);
        mark(&mut clock, "a", 280, false, 300).expect("taken");
        mark(&mut clock, "b", 300, false, 300).expect("taken");
        assert_eq!(course(&clock, &now(380)), events(280));
        assert_eq!(course(&clock, &now(381)), events(300), "the other source");
        assert_eq!(course(&clock, &now(401)), Course::Clock);
        let mut unread = now(401);
        unread.current[CRM] = false;
        assert_eq!(course(&clock, &unread), events(280), "the next mark may be there");
        mark(&mut clock, "a", 310, false, 402).expect("taken");
        assert_eq!(course(&clock, &now(402)), events(310));
    }

    #[test]
    fn a_back_fill_ends_with_the_first_other_mark() {
        let mut clock = TenantClock::default();
        mark(&mut clock, "a", 0, true, 5000).expect("taken");
        assert!(clock.is_backfilling(&now(6000), &TIMEOUTS));
        assert_eq!(course(&clock, &now(6000)), events(0), "its marks are old, and count");
        assert!(!clock.is_backfilling(&now(6001), &TIMEOUTS), "there was no mark for more than 1000");
        mark(&mut clock, "a", 4000, true, 6500).expect("taken");
        assert_eq!(course(&clock, &now(6500)), events(4000));
        mark(&mut clock, "a", 6490, false, 6500).expect("taken");
        assert_eq!(clock.backfilled_until, Timestamp(6490));
        assert!(!clock.is_backfilling(&now(6500), &TIMEOUTS));
    }

    #[test]
    fn the_number_of_sources_has_a_bound() {
        let mut clock = TenantClock::default();
        for number in 0..MAX_MARK_SOURCES {
            mark(&mut clock, &number.to_string(), 1, false, 1).expect("taken");
        }
        assert_eq!(mark(&mut clock, "one more", 1, false, 1), Err(MarkFlaw::TooMany));
        mark(&mut clock, "7", 2, false, 1).expect("a known one");
    }
}
