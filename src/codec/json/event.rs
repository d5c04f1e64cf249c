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
use crate::domain::event::reject::Reason;
use compact_str::CompactString;

/// Reads an event of any topic.
pub(super) fn read(scanner: &mut Scanner<'_>) -> Read<Event> {
    let mut envelope = Envelope::default();
    let mut payload = None;
    scanner.object(|scanner, key| {
        match key {
            "event_id" => envelope.id = value::id(scanner)?,
            "tenant_id" => envelope.tenant = value::id(scanner)?,
            "occurred_at" => envelope.at = value::time(scanner)?,
            "source" => value::note(scanner)?,
            case => {
                let Some(read) = reader(case) else { return Ok(false) };
                if !scanner.absent_or(b"[]")? && payload.replace(read(scanner)?).is_some() {
                    return Err(Flaw::new(Reason::SeveralPayloads, "more than one payload"));
                }
            }
        }
        Ok(true)
    })?;
    envelope.with_payload(payload, &mut scanner.repairs)
}

type Reader = fn(&mut Scanner<'_>) -> Read<Payload>;

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

        $($($(fn $case(scanner: &mut Scanner<'_>) -> Read<Payload> {
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
            Ok($payload(Box::new($($shape)*.into())))
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
