//! Owns the watch for shards that no member of the group owns, and the choice of the member that rejoins because of them.
//!
//! The group moves shards in two steps: they are revoked, then each member that gave up some requests a second rebalance,
//! in which they are assigned. If all processes end in between, they come back as the same static members, the broker
//! returns the assignment of the first step to each of them, and nobody requests the second one. librdkafka cannot
//! request a rebalance, except by leaving and joining again. So one member does, the one with the fewest shards: all of
//! them get their shards in the rebalances that follow.
//!
//! Every process watches: none must rely on another one.

use super::client;
use super::client_log::LoggedContext;
use super::source_topics::SourceTopics;
use crate::config::Config;
use crate::domain::source::{ShardId, Source};
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Timeout of a broker request.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the same shards have no owner before a member rejoins. Longer than the commits in flight, which a member
/// waits for between the two steps.
const PATIENCE: Duration = Duration::from_secs(30);

/// The shards of one member of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    client_id: String,
    shards: BTreeSet<ShardId>,
}

/// The shards without an owner.
pub(super) struct Orphans {
    group: String,
    /// The topic whose partitions the group assigns.
    topic: String,
    /// The client id of this process as a member.
    client_id: String,
    /// The number of shards.
    shards: u32,
    /// The shards that have no owner, and since when.
    found: Option<(BTreeSet<ShardId>, Instant)>,
}

impl Orphans {
    pub(super) fn new(config: &Config, shards: u32) -> Self {
        Self {
            group: config.kafka.group.clone(),
            topic: SourceTopics::of(&config.topics).name(Source::GROUP).to_owned(),
            client_id: client::consumer_id(&config.kafka),
            shards,
            found: None,
        }
    }

    /// Looks at the group; returns whether this process is to rejoin it.
    pub(super) fn look(&mut self, client: &BaseConsumer<LoggedContext>, now: Instant) -> bool {
        let members = self.members(client);
        let orphans = self.judge(members.as_deref(), now);
        if let Some(orphans) = &orphans {
            let orphans: Vec<String> = orphans.iter().map(ToString::to_string).collect();
            tracing::warn!(
                "shards without an owner: {}; rejoining the group, so that they get one",
                orphans.join(", ")
            );
        }
        orphans.is_some()
    }

    /// The members of the group; `None` while it is not stable, or without an answer.
    fn members(&self, client: &BaseConsumer<LoggedContext>) -> Option<Vec<Member>> {
        let list = client.fetch_group_list(Some(&self.group), QUERY_TIMEOUT);
        let list = list.inspect_err(|error| tracing::debug!("look at the group: {error}")).ok()?;
        let group = list.groups().iter().find(|group| group.name() == self.group && group.state() == "Stable")?;
        let member = |member: &rdkafka::groups::GroupMemberInfo| {
            let shards = shards_of(member.assignment()?, &self.topic)?;
            Some(Member { client_id: member.client_id().to_owned(), shards })
        };
        group.members().iter().map(member).collect()
    }

    /// The shards that have had no owner for so long that this process is to rejoin.
    fn judge(&mut self, members: Option<&[Member]>, now: Instant) -> Option<BTreeSet<ShardId>> {
        let members = members.unwrap_or_default();
        let owned: BTreeSet<ShardId> = members.iter().flat_map(|member| &member.shards).copied().collect();
        let orphans: BTreeSet<ShardId> = (0..self.shards).map(ShardId).filter(|shard| !owned.contains(shard)).collect();
        if members.is_empty() || orphans.is_empty() {
            self.found = None;
            return None;
        }
        if self.found.as_ref().is_none_or(|(before, _)| *before != orphans) {
            self.found = Some((orphans, now));
            return None;
        }
        let chosen = members.iter().min_by_key(|member| (member.shards.len(), &member.client_id))?;
        let (_, since) = self.found.as_ref()?;
        if now - *since < PATIENCE || chosen.client_id != self.client_id {
            return None;
        }
        self.found.take().map(|(orphans, _)| orphans)
    }
}

/// The shards in the assignment of a member, in the format of Kafka's consumer protocol; `None`: it is invalid.
fn shards_of(mut assignment: &[u8], group_topic: &str) -> Option<BTreeSet<ShardId>> {
    let bytes = &mut assignment;
    let mut shards = BTreeSet::new();
    if bytes.is_empty() {
        return Some(shards);
    }
    let _version = i16::from_be_bytes(take(bytes)?);
    for _ in 0..i32::from_be_bytes(take(bytes)?) {
        let length = usize::try_from(i16::from_be_bytes(take(bytes)?)).ok()?;
        let topic = bytes.split_off(..length)?;
        for _ in 0..i32::from_be_bytes(take(bytes)?) {
            let partition = i32::from_be_bytes(take(bytes)?);
            if topic == group_topic.as_bytes() {
                shards.insert(ShardId::from_partition(partition)?);
            }
        }
    }
    Some(shards)
}

/// Takes the first bytes.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn orphans(client_id: &str) -> Orphans {
        Orphans { client_id: client_id.into(), ..Orphans::new(&Config::default(), 4) }
    }

    fn member(client_id: &str, shards: &[u32]) -> Member {
        Member { client_id: client_id.into(), shards: shards.iter().map(|shard| ShardId(*shard)).collect() }
    }

    #[test]
    fn the_member_with_the_fewest_shards_rejoins_after_a_while() {
        let members = [member("a", &[0, 1]), member("b", &[3]), member("c", &[])];
        let start = Instant::now();
        for (client_id, rejoins) in [("a", false), ("b", false), ("c", true)] {
            let mut watch = orphans(client_id);
            assert_eq!(watch.judge(Some(&members), start), None);
            assert_eq!(watch.judge(Some(&members), start + PATIENCE - SECOND), None);
            let orphans = watch.judge(Some(&members), start + PATIENCE);
            assert_eq!(orphans, rejoins.then(|| BTreeSet::from([ShardId(2)])), "{client_id}");
            assert_eq!(watch.judge(Some(&members), start + PATIENCE + SECOND), None, "it waits again");
        }
    }

    #[test]
    fn shards_that_move_have_an_owner_soon() {
        let (mut watch, start) = (orphans("a"), Instant::now());
        let missing = |shard: u32| {
            let shards: Vec<u32> = (0..4).filter(|other| *other != shard).collect();
            [member("a", &shards)]
        };
        assert_eq!(watch.judge(Some(&missing(0)), start), None);
        assert_eq!(watch.judge(Some(&missing(1)), start + PATIENCE), None, "other shards");
        assert_eq!(watch.judge(None, start + PATIENCE * 2), None, "a rebalance");
        assert_eq!(watch.judge(Some(&missing(1)), start + PATIENCE * 3), None);
        assert_eq!(watch.judge(Some(&[member("a", &[0, 1, 2, 3])]), start + PATIENCE * 4), None, "all are owned");
        assert_eq!(watch.judge(Some(&missing(1)), start + PATIENCE * 5), None);
        assert!(watch.judge(Some(&missing(1)), start + PATIENCE * 6).is_some());
    }

    #[test]
    fn an_assignment_is_parsed_and_an_invalid_one_is_none() {
        let mut bytes = vec![0, 1, 0, 0, 0, 2];
        for (topic, partitions) in [("crm", &[0, 3][..]), ("other", &[7])] {
            bytes.extend((topic.len() as u16).to_be_bytes());
            bytes.extend(topic.bytes());
            bytes.extend((partitions.len() as u32).to_be_bytes());
            partitions.iter().for_each(|partition: &i32| bytes.extend(partition.to_be_bytes()));
        }
        let expected = BTreeSet::from([ShardId(0), ShardId(3)]);
        assert_eq!(shards_of(&bytes, "crm"), Some(expected.clone()));
        for end in 1..bytes.len() {
            assert_eq!(shards_of(&bytes[..end], "crm"), None, "{end}");
        }
        bytes.extend([0, 0, 0, 0]);
        assert_eq!(shards_of(&bytes, "crm"), Some(expected), "user data follows");
        assert_eq!(shards_of(&[], "crm"), Some(BTreeSet::new()));
    }
}
