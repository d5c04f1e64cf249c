//! Reads and writes events. The fields of a payload and the types of their values are rows of the table of payloads.

use super::put::Put;
use super::{put, read};
use crate::codec::check::{self, Envelope};
use crate::codec::framing::varint;
use crate::codec::payloads::*;
use crate::codec::proto::{self, fields};
use crate::codec::reject::{Flaw, Read, Reject};
use crate::domain::event::Event;
use crate::domain::event::progress::{Incoming, Progress};
use crate::domain::event::reject::Reason;
use crate::domain::event::repair::Repairs;
use crate::domain::source::Topic;
use compact_str::CompactString;
use prost::Message as _;
use std::ops::RangeInclusive;

/// Decodes a bare message of `topic`.
pub fn decode(topic: Topic, bytes: &[u8]) -> Result<Event, Reject> {
    decode_with_repairs(topic, bytes)?.0.event().ok_or_else(Reject::not_an_event)
}

/// Decodes a bare message of `topic`, with its repairs.
pub fn decode_with_repairs(topic: Topic, bytes: &[u8]) -> Result<(Incoming, Repairs), Reject> {
    let mut repairs = Repairs::default();
    Ok((incoming(topic, bytes, &mut repairs)?, repairs))
}

macro_rules! protobuf {
    ($($topic:ident: $payload:path = $event:ident($oneof:ident) $numbers:expr, $stored:ident => {$(
        $domain:ident $(or $other:ident)? {$(
            $case:ident = $variant:ident($message:ident) {
                $($field:ident: $kind:ident $complete:ident $name:ident,)*
            } $(check { $($checked:ident: $check:ident),* })? $(absent { $($absent:ident),* })?
            $(fixed { $ignored:ident: $fixed:ident = $value:expr })? => [$($shape:tt)*]
        )*}
    )*})*) => {
        fn incoming(topic: Topic, bytes: &[u8], repairs: &mut Repairs) -> Read<Incoming> {
            match topic {
                $(Topic::$topic => {
                    let event: proto::$event = parse(bytes, $numbers)?;
                    let envelope = envelope(event.event_id, event.tenant_id, event.occurred_at)?;
                    match event.payload {
                        Some($oneof::Payload::Progress(mark)) => progress(envelope, event.source, mark),
                        payload => {
                            let payload = payload.map(|payload| payload.read(repairs)).transpose()?;
                            envelope.with_payload(payload, repairs).map(Incoming::Event)
                        }
                    }
                })*
            }
        }

        /// Decodes a payload written by [`pack`].
        pub fn unpack(topic: Topic, bytes: &[u8]) -> Option<Payload> {
            let mut repairs = Repairs::default();
            match topic {
                $(Topic::$topic => proto::$event::decode(bytes).ok()?.payload?.read(&mut repairs).ok(),)*
            }
        }

        /// Writes an event as a bare message of its topic.
        pub fn encode_event(event: &Event, out: &mut Vec<u8>) {
            match &event.payload {
                $($payload(_) => {
                    event.id.put(fields::$event::event_id, out);
                    event.tenant.put(fields::$event::tenant_id, out);
                    event.at.put(fields::$event::occurred_at, out);
                })*
            }
            pack(&event.payload, out);
        }

        /// Writes a progress mark as a bare message of `topic`; `occurred_at` is `up_to`.
        pub fn encode_progress(topic: Topic, progress: &Progress, out: &mut Vec<u8>) {
            match topic {
                $(Topic::$topic => {
                    progress.tenant.put(fields::$event::tenant_id, out);
                    progress.up_to.put(fields::$event::occurred_at, out);
                    progress.source.put(fields::$event::source, out);
                    put::message(fields::$event::progress.number, out, |out| {
                        progress.up_to.put(fields::Progress::up_to, out);
                        progress.backfill.put(fields::Progress::backfill, out);
                    });
                })*
            }
        }

        /// Writes a payload as a message of its topic, without the envelope.
        pub fn pack(payload: &Payload, out: &mut Vec<u8>) {
            match payload {
                $($payload(payload) => payload.pack(out),)*
            }
        }

        $(impl $oneof::Payload {
            fn read(self, repairs: &mut Repairs) -> Read<Payload> {
                match self {
                    $($(Self::$variant(message) => {
                        $case(message, repairs).map_err(|flaw| flaw.within(stringify!($case)))
                    })*)*
                    Self::Progress(_) => Err(Flaw::new(Reason::NoPayload, "a progress mark is not an event")),
                }
            }
        })*

        $($($(fn $case(message: proto::$message, repairs: &mut Repairs) -> Read<Payload> {
            $($(read::$check(message.$checked).map_err(|flaw| flaw.within(stringify!($checked)))?;)*)?
            $(check::present(Some(check::trimmed(&message.$ignored)).filter(|id| !id.is_empty()), stringify!($ignored))?;)?
            $(
                let $name = read::$kind(message.$field).map_err(|flaw| flaw.within(stringify!($field)))?;
                let $name = check::$complete($name, stringify!($field), repairs)?;
            )*
            $($(let $absent = Default::default();)*)?
            $(let _: CompactString = $fixed;)?
            Ok($payload(Box::new($($shape)*.into())))
        })*)*)*

        $($(impl Pack for $domain {
            fn pack(&self, out: &mut Vec<u8>) {
                match self {
                    $($($shape)* => {
                        $($(let _ = $absent;)*)?
                        $(let $fixed = $value;)?
                        put::message(fields::$event::$case.number, out, |out| {
                            $($name.put(fields::$message::$field, out);)*
                        });
                    })*
                    $(Self::$other(other) => other.pack(out),)?
                }
            }
        })*)*
    };
}

/// A payload that is written as the field of the oneof of its topic.
trait Pack {
    fn pack(&self, out: &mut Vec<u8>);
}

payloads!(protobuf);

/// Decodes a message that contains at most one field with a number in `payloads`.
fn parse<M: prost::Message + Default>(bytes: &[u8], payloads: RangeInclusive<u64>) -> Read<M> {
    // The error text of prost may contain message content, so it is dropped.
    let message = M::decode(bytes).map_err(|_| Flaw::malformed("not a valid protobuf message of this topic"))?;
    match fields(bytes).filter(|number| payloads.contains(number)).count() {
        0 | 1 => Ok(message),
        _ => Err(Flaw::new(Reason::SeveralPayloads, "more than one payload")),
    }
}

/// The numbers of the top-level fields of a message that is known to be valid.
fn fields(mut bytes: &[u8]) -> impl Iterator<Item = u64> {
    let mut groups = 0_u32;
    std::iter::from_fn(move || {
        loop {
            let key = varint(&mut bytes)?;
            let length = match key & 7 {
                0 => varint(&mut bytes).map(|_| 0)?,
                1 => 8,
                2 => usize::try_from(varint(&mut bytes)?).ok()?,
                5 => 4,
                3 => {
                    groups += 1;
                    continue;
                }
                _ => {
                    groups = groups.checked_sub(1)?;
                    continue;
                }
            };
            bytes = bytes.get(length..)?;
            if groups == 0 {
                return Some(key >> 3);
            }
        }
    })
}

fn progress(envelope: Envelope, source: String, mark: proto::Progress) -> Read<Incoming> {
    let up_to = read::time(mark.up_to).map_err(|flaw| flaw.within("up_to").within("progress"))?;
    let envelope = Envelope { source: Some(source.into()), ..envelope };
    envelope.with_progress((up_to, mark.backfill)).map(Incoming::Progress)
}

fn envelope(id: String, tenant: String, at: Option<proto::well_known::Timestamp>) -> Read<Envelope> {
    let at = read::time(at).map_err(|flaw| flaw.within("occurred_at"))?;
    Ok(Envelope { id: read::id(id)?, tenant: read::id(tenant)?, at, source: None })
}
