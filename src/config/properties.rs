//! Properties passed through to librdkafka. Rejects properties that the delivery guarantees depend on, with the reason,
//! and those that librdkafka does not know or accept: otherwise a mistyped name would be reported by the first client,
//! with its value. Never prints a value that may be secret.

use super::librdkafka::{self, Refusal};
use super::schema::reader::Reader;
use super::schema::similar::suggestion;
use super::schema::value::{Data, Table};
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

/// Values from the environment or a file, and values whose name suggests a secret, are not shown.
impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |name| if self.hidden.contains(name) { "(secret)" } else { self.values[name].as_str() };
        f.debug_map().entries(self.values.keys().map(|name| (name, shown(name)))).finish()
    }
}

/// Substrings of the names of secret properties.
const SECRETS: [&str; 8] =
    ["password", "passphrase", "secret", "token", "jaas", "oauthbearer.config", "pem", "username"];

/// Properties that the guarantees depend on, with the reason.
pub const REJECTED: &[(&str, &str)] = &[
    ("bootstrap.servers", "set `kafka.bootstrap` instead"),
    ("metadata.broker.list", "set `kafka.bootstrap` instead"),
    ("group.id", "set `kafka.group` instead"),
    ("transactional.id", "set `kafka.transactional_id` instead"),
    ("group.instance.id", "set `kafka.transactional_id` instead"),
    ("enable.auto.commit", "offsets are committed only in the transaction that holds the results"),
    ("auto.commit.enable", "offsets are committed only in the transaction that holds the results"),
    ("auto.commit.interval.ms", "offsets are committed only in the transaction that holds the results"),
    ("enable.auto.offset.store", "offsets are committed only in the transaction that holds the results"),
    ("offset.store.method", "offsets are committed only in the transaction that holds the results"),
    ("isolation.level", "uncommitted messages may be aborted after results derived from them were committed"),
    ("enable.idempotence", "without idempotence, a retry can write a message twice"),
    ("acks", "a message acknowledged by only some replicas can be lost"),
    ("request.required.acks", "a message acknowledged by only some replicas can be lost"),
    ("partition.assignment.strategy", "a shard is the same partition of every topic and must be assigned as a unit"),
    ("group.protocol", "a shard is the same partition of every topic and must be assigned as a unit"),
    ("group.remote.assignor", "a shard is the same partition of every topic and must be assigned as a unit"),
    ("partitioner", "a tenant's partition is determined by its hash, here and in the producers"),
    (
        "auto.offset.reset",
        "`kafka.lost_log` says what happens if messages are gone; otherwise events are lost silently",
    ),
    ("allow.auto.create.topics", "a topic created by a typo has the wrong number of partitions"),
    ("enable.partition.eof", "it signals that a partition has been read to its end"),
    ("dr_cb", "a commit waits for delivery reports"),
    ("dr_msg_cb", "a commit waits for delivery reports"),
];

/// The least size of a batch, and the least `max.message.bytes` of a topic that is written. Every alert, review request and
/// state record fits; of rows, dead letters and rerouted messages what fits is kept.
pub const LEAST_RECORD_BYTES: usize = 256 << 10;

impl Properties {
    /// Reads the properties under `key`; rejected ones are reported and left out.
    pub(super) fn read(reader: &mut Reader<'_>, table: &Table, key: &str) -> Self {
        let mut properties = Self::default();
        for (name, value) in table.map(key) {
            let path = || format!("{}.{name}", table.path_of(key));
            if let Some((_, why)) = REJECTED.iter().find(|(rejected, _)| rejected == name) {
                reader.problem(value.line, path(), format!("property cannot be set: {why}"));
                continue;
            }
            let (text, hidden) = match &value.data {
                Data::Text(text, hidden) => (text.as_str(), *hidden || SECRETS.iter().any(|part| name.contains(part))),
                // The value was reported; its name may be wrong as well.
                _ => ("", true),
            };
            match librdkafka::try_set(name, text) {
                Err(Refusal::Unknown) => reader.problem(value.line, path(), unknown(name)),
                _ if matches!(value.data, Data::Bad) => {}
                Err(Refusal::Invalid(_)) if hidden => {
                    reader.problem(value.line, path(), "librdkafka does not accept this value");
                }
                Err(Refusal::Invalid(reason)) => {
                    reader.problem(
                        value.line,
                        path(),
                        format!("librdkafka does not accept this value: {}", reason.trim()),
                    );
                }
                Ok(())
                    if name == "message.max.bytes"
                        && text.parse::<usize>().is_ok_and(|bytes| bytes < LEAST_RECORD_BYTES) =>
                {
                    let text = format!("expected at least {LEAST_RECORD_BYTES}, the size of the largest record");
                    reader.problem(value.line, path(), text);
                }
                Ok(()) => {
                    if hidden {
                        properties.hidden.insert(name.clone());
                    }
                    properties.values.insert(name.clone(), text.to_owned());
                }
            }
        }
        properties
    }
}

/// The problem of a name that librdkafka does not have.
fn unknown(name: &str) -> String {
    let known = librdkafka::names();
    let known: Vec<_> = known.iter().map(String::as_str).collect();
    format!("unknown librdkafka property{}", suggestion(name, &known))
}
