//! Reads and writes events. The keys of a payload and the types of their values are rows of the table of payloads.
//!
//! Values that the domain does not keep are validated as well. So a message stays valid or invalid when a later version
//! starts to keep them.

use super::scan::Scanner;
use super::value;
use super::write::{Object, object};
use crate::codec::check::{self, Envelope};
use crate::codec::payloads::*;
use crate::codec::reject::{Flaw, Read};
use crate::domain::event::Event;
use crate::domain::event::progress::{Incoming, Progress};
use crate::domain::event::reject::Reason;
use crate::domain::time::Timestamp;
use compact_str::CompactString;

/// What a message contains besides its envelope.
enum Content {
    Payload(Payload),
    Progress((Option<Timestamp>, bool)),
}

/// Reads an event of any topic, or a progress mark.
pub(super) fn read(scanner: &mut Scanner<'_>) -> Read<Incoming> {
    let mut envelope = Envelope::default();
    let mut content = None;
    scanner.object(|scanner, key| {
        match key {
            "event_id" => envelope.id = value::id(scanner)?,
            "tenant_id" => envelope.tenant = value::id(scanner)?,
            "occurred_at" => envelope.at = value::time(scanner)?,
            "source" => envelope.source = value::free_text(scanner)?,
            case => {
                let read = match reader(case) {
                    Some(read) => read,
                    None if case == PROGRESS => progress,
                    None => return Ok(false),
                };
                if !scanner.absent_or(b"[]")? && content.replace(read(scanner)?).is_some() {
                    return Err(Flaw::new(Reason::SeveralPayloads, "more than one payload"));
                }
            }
        }
        Ok(true)
    })?;
    let payload = match content {
        Some(Content::Progress(progress)) => return envelope.with_progress(progress).map(Incoming::Progress),
        Some(Content::Payload(payload)) => Some(payload),
        None => None,
    };
    envelope.with_payload(payload, &mut scanner.repairs).map(Incoming::Event)
}

type Reader = fn(&mut Scanner<'_>) -> Read<Content>;

/// The key of a progress mark.
const PROGRESS: &str = "progress";

fn progress(scanner: &mut Scanner<'_>) -> Read<Content> {
    let (mut up_to, mut backfill) = (None, None);
    scanner.object(|scanner, key| {
        match key {
            "up_to" => up_to = value::time(scanner)?,
            "backfill" => backfill = value::flag(scanner)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(Content::Progress((up_to, backfill.unwrap_or_default())))
}

/// Writes a progress mark as one JSON object; `occurred_at` is `up_to`.
pub fn encode_progress(progress: &Progress, out: &mut Vec<u8>) {
    object(out, |object| {
        object.field("tenant_id", &progress.tenant);
        object.field("occurred_at", &progress.up_to);
        object.field("source", &progress.source);
        object.object(PROGRESS, |payload| {
            payload.field("up_to", &progress.up_to);
            payload.field("backfill", &progress.backfill);
        });
    });
}

/// Writes a payload as a key of its event.
trait Write {
    fn write(&self, event: &mut Object<'_>);
}

macro_rules! json {
    ($($topic:ident: $payload:path = $event:ident($oneof:ident) $numbers:expr, $stored:ident => {$(
        $domain:ident $(or $other:ident)? {$(
            $case:ident = $variant:ident($message:ident) {
                $($field:ident: $kind:ident $complete:ident $name:ident,)*
            } $(check { $($checked:ident: $check:ident),* })? $(absent { $($absent:ident),* })?
            $(fixed { $ignored:ident: $fixed:ident = $value:expr })? => [$($shape:tt)*]
        )*}
    )*})*) => {
        /// The reader of the payload with this key.
        fn reader(case: &str) -> Option<Reader> {
            Some(match case {
                $($($(stringify!($case) => $case,)*)*)*
                _ => return None,
            })
        }

        $($($(fn $case(scanner: &mut Scanner<'_>) -> Read<Content> {
            $(let mut $name = None;)*
            scanner.object(|scanner, key| {
                match key {
                    $(stringify!($field) => $name = value::$kind(scanner)?,)*
                    $($(stringify!($checked) => _ = value::$check(scanner)?,)*)?
                    _ => return Ok(false),
                }
                Ok(true)
            })?;
            $(check::present::<&CompactString>(Option::as_ref(&$fixed), stringify!($ignored))?;)?
            $(let $name = check::$complete($name, stringify!($field), &mut scanner.repairs)?;)*
            $($(let $absent = Default::default();)*)?
            $(let _: CompactString = $fixed;)?
            Ok(Content::Payload($payload(Box::new($($shape)*.into()))))
        })*)*)*

        $($(impl Write for $domain {
            fn write(&self, event: &mut Object<'_>) {
                match self {
                    $($($shape)* => event.object(stringify!($case), |payload| {
                        $($(let _ = $absent;)*)?
                        $(let $fixed = $value;)?
                        $(payload.field(stringify!($field), $name);)*
                    }),)*
                    $(Self::$other(other) => other.write(event),)?
                }
            }
        })*)*

        /// Writes an event as one JSON object with keys in snake_case. Absent values are omitted.
        pub fn encode_event(event: &Event, out: &mut Vec<u8>) {
            object(out, |object| {
                object.field("event_id", &event.id);
                object.field("tenant_id", &event.tenant);
                object.field("occurred_at", &event.at);
                match &event.payload {
                    $($payload(payload) => payload.write(object),)*
                }
            });
        }
    };
}

payloads!(json);
