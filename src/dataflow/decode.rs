//! The `decode` operator: turns raw messages into events, rejections, and messages to be rerouted.
//!
//! It has no state, so any worker can decode any part of a batch. Whether a message was rejected or rerouted before a
//! restart is decided by the `shard` operator.

use super::epoch::{Batch, Message, MisroutedMessage, RejectedMessage, SCHEMA_HEADER, TOPIC_HEADER};
use super::messages::{Decoded, Edge, ProcessLocal};
use super::settings::DataflowSettings;
use crate::codec::{self, Reject};
use crate::domain::event::progress::Incoming;
use crate::domain::event::reject::Reason;
use crate::domain::event::repair::Repairs;
use crate::domain::shard::partitioner;
use crate::domain::source::{Source, Topic};
use rustc_hash::FxHashMap;
use std::sync::Arc;
use timely::dataflow::operators::vec::Map;

/// Decodes batches.
pub(super) fn decode<'scope>(
    batches: Edge<'scope, Arc<Batch>>,
    settings: DataflowSettings,
) -> Edge<'scope, ProcessLocal<Decoded>> {
    batches.flat_map(move |batch| decode_batch(&settings, &batch).into_iter().map(ProcessLocal))
}

/// Decodes a batch for each shard that it has events of.
fn decode_batch(settings: &DataflowSettings, batch: &Arc<Batch>) -> Vec<Decoded> {
    let empty = |shard| {
        let (events, marks, rejected, misrouted) = Default::default();
        Decoded { shard, batch: Arc::clone(batch), events, marks, rejected, misrouted }
    };
    // Messages that are not events belong to the shard that has read them. Files are not partitioned: any shard will do.
    let home = batch.shard.unwrap_or_default();
    let mut decoded = vec![empty(home)];
    let mut slots = FxHashMap::from_iter([(home, 0)]);
    for (message, raw) in (0..).zip(&batch.messages) {
        let (incoming, topic, repairs) = match decode_message(settings, batch, raw) {
            Ok(decoded) => decoded,
            Err(reject) => {
                decoded[0].rejected.push(RejectedMessage { batch: Arc::clone(batch), message, reject });
                continue;
            }
        };
        let shard = partitioner::shard(incoming.tenant().as_str(), settings.shards);
        if batch.shard.is_some_and(|partition| partition != shard) {
            decoded[0].misrouted.push(MisroutedMessage { batch: Arc::clone(batch), message, shard, topic });
            continue;
        }
        let slot = *slots.entry(shard).or_insert_with(|| {
            decoded.push(empty(shard));
            decoded.len() - 1
        });
        match incoming {
            Incoming::Event(event) => decoded[slot].events.push((message, repairs, event)),
            Incoming::Progress(progress) => decoded[slot].marks.push((message, topic, progress)),
        }
    }
    decoded
}

/// The content of a message, its topic, and the repairs of an event.
fn decode_message(
    settings: &DataflowSettings,
    batch: &Batch,
    message: &Message,
) -> Result<(Incoming, Topic, Repairs), Reject> {
    let Some(value) = batch.slice(&message.value) else {
        return Err(match batch.unreadable(message) {
            Some(unreadable) => Reject::new(Reason::Unreadable, &unreadable.problem),
            None => Reject::new(Reason::Malformed, "message has no value"),
        });
    };
    if value.len() > settings.max_message_bytes {
        return Err(Reject::oversized());
    }
    let encoding = match message.content_type() {
        None => batch.encoding,
        Some(content_type) => batch
            .encoding
            .of_message(content_type)
            .ok_or_else(|| Reject::new(Reason::UnknownEncoding, "content-type: unknown encoding"))?,
    };
    let topic = match batch.source {
        Source::Rerouted => {
            let named = |name| Topic::ALL.into_iter().find(|topic| topic.name().as_bytes() == name);
            message.header(TOPIC_HEADER).and_then(named).or(message.topic)
        }
        _ => message.topic,
    };
    let (mut incoming, mut repairs) = match topic {
        Some(topic) => codec::decode(encoding, topic, message.header(SCHEMA_HEADER).is_some(), value),
        None => codec::json::decode_with_repairs(None, value),
    }?;
    settings.event_limits.apply(&mut incoming, &mut repairs)?;
    let topic = match &incoming {
        Incoming::Event(event) => event.payload.topic(),
        // Those of files belong to all topics alike.
        Incoming::Progress(_) => topic.unwrap_or(Topic::Crm),
    };
    Ok((incoming, topic, repairs))
}
