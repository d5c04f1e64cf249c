//! Owns what is passed on to librdkafka. Refuses the properties that the guarantees rest on, saying why; shows no value
//! that may be a secret.

use super::reader::Reader;
use super::value::{Data, Table};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Deref;

/// Properties of a librdkafka client.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties {
    values: BTreeMap<String, String>,
    hidden: BTreeSet<String>,
}

impl Deref for Properties {
    type Target = BTreeMap<String, String>;

    fn deref(&self) -> &BTreeMap<String, String> {
        &self.values
    }
}

/// Values that came from the environment or a file, or whose name sounds like a secret, are not shown.
impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |name| if self.hidden.contains(name) { "(secret)" } else { self.values[name].as_str() };
        f.debug_map().entries(self.values.keys().map(|name| (name, shown(name)))).finish()
    }
}

/// Parts of names of properties that hold secrets.
const SECRETS: [&str; 7] = ["password", "secret", "token", "jaas", "oauthbearer.config", "pem", "username"];

/// Properties that the guarantees rest on, and why.
pub(crate) const REFUSED: &[(&str, &str)] = &[
    ("bootstrap.servers", "it is `kafka.bootstrap`"),
    ("metadata.broker.list", "it is `kafka.bootstrap`"),
    ("group.id", "it is `kafka.group`"),
    ("transactional.id", "it is `kafka.transactional_id`"),
    ("group.instance.id", "it is `kafka.transactional_id`"),
    ("enable.auto.commit", "offsets are committed in the transaction of what came of them, and nowhere else"),
    ("auto.commit.enable", "offsets are committed in the transaction of what came of them, and nowhere else"),
    ("auto.commit.interval.ms", "offsets are committed in the transaction of what came of them, and nowhere else"),
    ("enable.auto.offset.store", "offsets are committed in the transaction of what came of them, and nowhere else"),
    ("offset.store.method", "offsets are committed in the transaction of what came of them, and nowhere else"),
    ("isolation.level", "uncommitted messages may be taken back, what came of them could not"),
    ("enable.idempotence", "without it a retry can write a message twice"),
    ("acks", "a message that only some replicas have can be lost"),
    ("request.required.acks", "a message that only some replicas have can be lost"),
    ("partition.assignment.strategy", "a shard is the same partition of every topic, and must move as one"),
    ("group.protocol", "a shard is the same partition of every topic, and must move as one"),
    ("group.remote.assignor", "a shard is the same partition of every topic, and must move as one"),
    ("partitioner", "a tenant's partition is fixed by its hash, here and in the producers"),
    ("auto.offset.reset", "a shard without offsets begins at the beginning, else events are lost in silence"),
    ("allow.auto.create.topics", "a topic that a typing mistake creates has the wrong number of partitions"),
    ("enable.partition.eof", "it tells when a partition was read to its end"),
    ("dr_cb", "delivery reports are what a commit waits for"),
    ("dr_msg_cb", "delivery reports are what a commit waits for"),
];

impl Properties {
    /// Those under `key`, less the refused ones.
    pub(crate) fn read(reader: &mut Reader<'_>, table: &Table, key: &str) -> Self {
        let mut properties = Self::default();
        for (name, value) in table.map(key) {
            if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| refused == name) {
                let path = format!("{}.{name}", table.path_of(key));
                reader.problem(value.line, path, format!("the property is not to be set: {why}"));
                continue;
            }
            let Data::Text(text, hidden) = &value.data else { continue };
            if *hidden || SECRETS.iter().any(|part| name.contains(part)) {
                properties.hidden.insert(name.clone());
            }
            properties.values.insert(name.clone(), text.clone());
        }
        properties
    }
}
