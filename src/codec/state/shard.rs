//! The shard record: the checkpoint of a shard, and the digest of its applied events.

use super::flaw::StateFlaw;
use super::keys::SHARD;
use super::records::Records;
use crate::codec::proto;
use crate::domain::shard::processor::ShardCheckpoint;
use crate::domain::source::{Offset, Source};
use crate::domain::time::Timestamp;
use prost::encoding::message;
use std::collections::BTreeMap;
use uuid::Uuid;

/// The checkpoint of a shard, and the digest that its records are verified against.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardRecord {
    /// The position of the shard in its sources.
    pub checkpoint: ShardCheckpoint,
    /// The digest of its applied events.
    pub digest: StateDigest,
    /// The wall clock when it was written.
    pub written: Timestamp,
    /// The logs of its sources, as far as they are known.
    pub logs: BTreeMap<Source, SourceLog>,
    /// Whether metric rows of the shard follow in later transactions.
    pub rows_follow: bool,
}

/// The log of a source partition that offsets refer to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceLog {
    /// The id of the topic: one that is deleted and created again has another. `None` if unknown.
    pub topic: Option<Uuid>,
    /// What is added to the offsets of the topic. Not 0 after a log was lost: offsets that were used are never used again,
    /// because events are ordered, stored and recognized by them.
    pub shift: i64,
}

/// The number of stored applied events, and the sum of the checksums of their keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateDigest {
    /// The number of applied events.
    pub applied: u64,
    /// The sum of the CRC-32 of their keys, modulo 2^64.
    pub digest: u64,
}

impl StateDigest {
    /// Adds the event with this key.
    pub fn add(&mut self, key: &[u8]) {
        self.applied = self.applied.wrapping_add(1);
        self.digest = self.digest.wrapping_add(u64::from(crc32fast::hash(key)));
    }

    /// Removes the event with this key.
    pub fn remove(&mut self, key: &[u8]) {
        self.applied = self.applied.wrapping_sub(1);
        self.digest = self.digest.wrapping_sub(u64::from(crc32fast::hash(key)));
    }
}

impl ShardRecord {
    /// Encodes the record.
    pub fn encode(&self) -> Records {
        let mut records = Records::default();
        records.shard(self);
        records
    }
}

impl Records {
    /// Adds the shard record.
    pub fn shard(&mut self, state: &ShardRecord) {
        let ShardRecord { checkpoint, digest, written, logs, rows_follow } = state;
        let ShardCheckpoint { watermark, read, next, refused } = checkpoint;
        let topic_of = |source: Source| logs.get(&source)?.topic;
        let source = |source: Source| proto::shard_state::Source {
            source: u32::from(source.id()),
            read: read.get(&source).copied().unwrap_or_default().0,
            next: next.get(&source).copied().unwrap_or_default().0,
            seen_ms: None,
            refused: Vec::new(),
            refused_ranges: distances(refused.ranges(source)),
            topic_id: topic_of(source).map(|topic| topic.as_bytes().to_vec()).unwrap_or_default(),
            shift: logs.get(&source).map_or(0, |log| log.shift),
        };
        let state = proto::ShardState {
            watermark_ms: Some(watermark.0).filter(|at| *at > i64::MIN),
            sources: read.keys().copied().map(source).collect(),
            applied: digest.applied,
            digest: digest.digest,
            written_ms: written.0,
            rows_follow: *rows_follow,
        };
        self.put(|key| key.extend_from_slice(SHARD), |out| message::encode(4, &state, out));
    }
}

/// Each range as the distance from the end of the one before and its length less one.
fn distances(ranges: &[(Offset, Offset)]) -> Vec<i64> {
    let mut end = 0;
    let distances = |(first, last): &(Offset, Offset)| {
        let distance = first.0 - end;
        end = last.0;
        [distance, last.0 - first.0]
    };
    ranges.iter().flat_map(distances).collect()
}

/// The first layout version in which each tenant has its own watermark.
const OWN_WATERMARKS: u32 = 6;

/// Decodes the shard record of a layout version.
pub(super) fn read(shard: proto::ShardState, version: u32) -> Result<ShardRecord, StateFlaw> {
    let absent = if version < OWN_WATERMARKS { Timestamp(0) } else { Timestamp::MIN };
    let watermark = shard.watermark_ms.map_or(absent, Timestamp);
    let mut checkpoint = ShardCheckpoint { watermark, ..ShardCheckpoint::default() };
    let mut logs = BTreeMap::new();
    for stored in shard.sources {
        let source = u8::try_from(stored.source).ok().and_then(Source::from_id);
        let source = source.ok_or(StateFlaw::Unknown("a source"))?;
        let log = SourceLog { topic: Uuid::from_slice(&stored.topic_id).ok(), shift: stored.shift };
        if log != SourceLog::default() {
            logs.insert(source, log);
        }
        checkpoint.read.insert(source, Offset(stored.read));
        checkpoint.next.insert(source, Offset(stored.next));
        stored.refused.into_iter().for_each(|offset| checkpoint.refused.insert(source, Offset(offset)));
        let mut end = 0_i64;
        for [distance, length] in stored.refused_ranges.as_chunks::<2>().0 {
            let first = end.wrapping_add(*distance);
            end = first.wrapping_add(*length);
            checkpoint.refused.insert_range(source, Offset(first), Offset(end));
        }
    }
    let digest = StateDigest { applied: shard.applied, digest: shard.digest };
    let (written, rows_follow) = (Timestamp(shard.written_ms), shard.rows_follow);
    Ok(ShardRecord { checkpoint, digest, written, logs, rows_follow })
}
