//! Owns what is known of the logs of the source topics: whether a topic is still the one that was read, and where reading
//! goes on if its log no longer has what is to be read.
//!
//! **Invariant: no offset is used twice.** Events are ordered, stored and recognized by their offsets. If a topic was
//! deleted and created again, or its log ends before what was read, new messages have offsets that were used before. So
//! from then on a shift is added to them: they go on where the old ones ended. The shift is part of the state.

use super::event::{Observer, RuntimeEvent};
use super::lost::{LossCause, LostOffsets};
use super::native;
use super::source_topics::SourceTopics;
use crate::codec::state::{ShardRecord, SourceLog};
use crate::config::{Config, LostLog};
use crate::domain::source::{Offset, ShardId, Source};
use rdkafka::client::{Client, ClientContext};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Timeout of a request for the ids of topics.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// Where reading a source goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Start {
    /// The next offset; `None`: at the start of the log.
    pub(super) next: Option<Offset>,
    /// The first offset that was never used.
    pub(super) unused: Offset,
    /// The log that they are in.
    pub(super) log: SourceLog,
}

impl Start {
    /// Goes on at `kafka`, an offset of the topic, with offsets that were never used.
    fn afresh(self, kafka: Offset, topic: Option<Uuid>) -> Self {
        let log = SourceLog { topic, shift: self.unused.0 - kafka.0 };
        Self { next: Some(self.unused), log, ..self }
    }
}

/// The source topics as they were when the run began, and what happens when something is lost.
#[derive(Clone)]
pub(super) struct SourceLogs {
    sources: SourceTopics,
    ids: BTreeMap<Source, Uuid>,
    policy: LostLog,
    observer: Arc<Observer>,
}

impl SourceLogs {
    /// Queries the ids of the topics; topics without an id are not watched.
    pub(super) fn new<C: ClientContext>(config: &Config, client: &Client<C>, observer: Arc<Observer>) -> Self {
        let sources = SourceTopics::of(&config.topics);
        let ids = ids(client, &sources);
        observer.emit(RuntimeEvent::Sources(&sources.names().collect::<Vec<_>>()));
        Self { sources, ids, policy: config.kafka.lost_log, observer }
    }

    /// The id of the topic of a source.
    pub(super) fn id(&self, source: Source) -> Option<Uuid> {
        self.ids.get(&source).copied()
    }

    /// A topic that was deleted and created again since the run began.
    pub(super) fn recreated<C: ClientContext>(&self, client: &Client<C>) -> Option<LostOffsets> {
        let now = ids(client, &self.sources);
        let is_other = |(source, id): &(&Source, &Uuid)| now.get(source).is_some_and(|now| now != *id);
        let (source, _) = self.ids.iter().find(is_other)?;
        Some(self.lost(None, *source, 1, LossCause::Recreated))
    }

    /// Where a restored shard goes on reading.
    pub(super) fn resume(
        &self,
        shard: ShardId,
        ShardRecord { checkpoint, logs, .. }: &ShardRecord,
    ) -> Result<BTreeMap<Source, Start>, LostOffsets> {
        let start = |(source, next): (&Source, &Offset)| {
            let unused = checkpoint.read.get(source).copied().unwrap_or_default().max(*next);
            let stored = logs.get(source).copied().unwrap_or_default();
            let (id, log) = (self.id(*source), SourceLog { topic: stored.topic.or(self.id(*source)), ..stored });
            let lost = |offsets, cause| self.lost(Some(shard), *source, offsets, cause);
            let mut start = Start { next: Some(*next), unused, log };
            if next.0 < log.shift {
                // Events that were held when the log was cut.
                self.lose(lost(log.shift - next.0, LossCause::Cut))?;
                start.next = Some(Offset(log.shift));
            }
            if stored.topic.is_none_or(|topic| id.is_none_or(|id| id == topic)) {
                return Ok((*source, start));
            }
            self.lose(lost((unused.0 - next.0).max(1), LossCause::Recreated))?;
            Ok((*source, start.afresh(Offset(0), id)))
        };
        checkpoint.next.iter().map(start).collect()
    }

    /// Where reading goes on in a log from `low` to `high` (offsets of the topic), of which `start` was asked for and not
    /// found. The result may be `start`.
    pub(super) fn find(
        &self,
        (shard, source): (ShardId, Source),
        start: Start,
        (low, high): (Offset, Offset),
    ) -> Result<Start, LostOffsets> {
        let next = Offset(start.next.map_or(low.0, |next| next.0 - start.log.shift));
        let lost = |offsets, cause| self.lost(Some(shard), source, offsets, cause);
        if next < low {
            self.lose(lost(low.0 - next.0, LossCause::Expired))?;
            let next = Offset(low.0 + start.log.shift);
            return Ok(Start { next: Some(next), unused: start.unused.max(next), ..start });
        }
        if next > high {
            self.lose(lost(next.0 - high.0, LossCause::Cut))?;
            return Ok(start.afresh(high, start.log.topic));
        }
        Ok(start)
    }

    fn lost(&self, shard: Option<ShardId>, source: Source, offsets: i64, cause: LossCause) -> LostOffsets {
        let topic = self.sources.name(source).to_owned();
        LostOffsets { topic, shard, offsets: offsets.unsigned_abs(), cause }
    }

    /// Counts a loss, or returns it if it is to stop the run.
    fn lose(&self, lost: LostOffsets) -> Result<(), LostOffsets> {
        match self.policy {
            LostLog::Stop => Err(lost),
            LostLog::Continue => {
                self.observer.emit(RuntimeEvent::OffsetsLost(&lost));
                Ok(())
            }
        }
    }
}

fn ids<C: ClientContext>(client: &Client<C>, sources: &SourceTopics) -> BTreeMap<Source, Uuid> {
    let names: Vec<&str> = sources.names().collect();
    let ids = native::topic_ids(client, &names, QUERY_TIMEOUT);
    ids.into_iter().filter_map(|(topic, id)| Some((sources.source(&topic)?, id))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::state::StateDigest;
    use crate::domain::shard::processor::ShardCheckpoint;
    use crate::domain::source::Topic;
    use crate::domain::time::Timestamp;

    const CRM: Source = Source::Topic(Topic::Crm);
    const SHARD: ShardId = ShardId(3);

    fn logs(policy: LostLog, id: u128) -> SourceLogs {
        SourceLogs {
            sources: SourceTopics::of(&Config::default().topics),
            ids: [(CRM, Uuid::from_u128(id))].into(),
            policy,
            observer: Arc::new(Observer::new(Arc::default(), Arc::default(), |_| ())),
        }
    }

    fn lost(offsets: u64, cause: LossCause) -> LostOffsets {
        LostOffsets { topic: "crm.events".into(), shard: Some(SHARD), offsets, cause }
    }

    fn start(next: i64, unused: i64, shift: i64) -> Start {
        let log = SourceLog { topic: Some(Uuid::from_u128(1)), shift };
        Start { next: Some(Offset(next)), unused: Offset(unused), log }
    }

    #[test]
    fn a_topic_that_was_created_again_is_read_from_its_start_with_new_offsets() {
        let checkpoint = ShardCheckpoint {
            read: [(CRM, Offset(20))].into(),
            next: [(CRM, Offset(15))].into(),
            ..ShardCheckpoint::default()
        };
        let log = SourceLog { topic: Some(Uuid::from_u128(1)), shift: 0 };
        let (digest, written) = (StateDigest::default(), Timestamp(0));
        let record = ShardRecord { checkpoint, digest, written, logs: [(CRM, log)].into(), rows_follow: false };
        let same = logs(LostLog::Stop, 1).resume(SHARD, &record).expect("nothing is lost");
        assert_eq!(same, [(CRM, start(15, 20, 0))].into());
        let stopped = logs(LostLog::Stop, 2).resume(SHARD, &record);
        assert_eq!(stopped, Err(lost(5, LossCause::Recreated)));
        let resumed = logs(LostLog::Continue, 2).resume(SHARD, &record).expect("the run goes on")[&CRM];
        assert_eq!((resumed.next, resumed.unused), (Some(Offset(20)), Offset(20)));
        assert_eq!(resumed.log, SourceLog { topic: Some(Uuid::from_u128(2)), shift: 20 });
        // State of an earlier version does not contain the id.
        let record = ShardRecord { logs: BTreeMap::new(), ..record };
        assert_eq!(logs(LostLog::Stop, 1).resume(SHARD, &record).expect("unknown"), same);
    }

    #[test]
    fn reading_goes_on_at_the_start_of_a_log_that_begins_later() {
        let bounds = (Offset(40), Offset(90));
        assert_eq!(
            logs(LostLog::Stop, 1).find((SHARD, CRM), start(15, 20, 0), bounds),
            Err(lost(25, LossCause::Expired))
        );
        for (shift, next) in [(0, 40), (7, 47)] {
            let found = logs(LostLog::Continue, 1).find((SHARD, CRM), start(15, 20, shift), bounds);
            assert_eq!(found, Ok(start(next, next, shift)));
        }
        let read_again = logs(LostLog::Continue, 1).find((SHARD, CRM), start(15, 60, 0), bounds);
        assert_eq!(read_again, Ok(start(40, 60, 0)), "held events that still exist are read again");
    }

    #[test]
    fn reading_goes_on_at_the_end_of_a_log_that_was_cut_with_new_offsets() {
        let bounds = (Offset(0), Offset(10));
        assert_eq!(logs(LostLog::Stop, 1).find((SHARD, CRM), start(15, 20, 0), bounds), Err(lost(5, LossCause::Cut)));
        let found = logs(LostLog::Continue, 1).find((SHARD, CRM), start(15, 20, 0), bounds);
        assert_eq!(found, Ok(start(20, 20, 10)), "offset 10 of the topic is 20");
    }

    #[test]
    fn nothing_is_lost_while_the_log_has_the_next_offset() {
        let logs = logs(LostLog::Stop, 1);
        for next in [10, 15, 20] {
            let start = start(next, 20, 0);
            assert_eq!(logs.find((SHARD, CRM), start, (Offset(10), Offset(20))), Ok(start));
        }
    }
}
