//! Owns the JSON format: reads events (and writes them, for the simulator); writes alerts, metric rows and the alert
//! changes between two sets of norms.
//!
//! Events are read in one pass by our own scanner directly into domain types, without an intermediate tree. This is
//! twice as fast as building a tree alone, and a rejection can name the field without repeating its value. Unknown keys
//! are ignored. The last value of a duplicate key wins, but two payloads are rejected.

mod api;
mod entity_report;
mod event;
mod output;
mod row;
mod scan;
mod value;
mod write;

pub use api::{encode_alerts, encode_error, encode_rows, encode_tenants};
pub use entity_report::encode_entity_report;
pub use event::{encode_event, encode_progress};
pub use output::{encode_alert, encode_change, encode_open_alert, encode_review};
pub use row::encode_row;

use super::reject::{Flaw, Read, Reject};
use crate::domain::event::Event;
use crate::domain::event::progress::Incoming;
use crate::domain::event::reject::Reason;
use crate::domain::event::repair::Repairs;
use crate::domain::source::Topic;
use scan::Scanner;

/// Decodes an event of any topic; the payload determines the topic.
pub fn decode(bytes: &[u8]) -> Result<Event, Reject> {
    decode_with_repairs(None, bytes)?.0.event().ok_or_else(Reject::not_an_event)
}

/// Decodes a message of `topic`, or of any topic, with its repairs. An event of another topic is rejected with
/// `no_payload`.
pub fn decode_with_repairs(topic: Option<Topic>, bytes: &[u8]) -> Result<(Incoming, Repairs), Reject> {
    let (incoming, repairs) = incoming(bytes).map_err(|flaw| rejection(flaw, bytes))?;
    match &incoming {
        Incoming::Event(event) if topic.is_some_and(|topic| event.payload.topic() != topic) => {
            Err(Reject::new(Reason::NoPayload, "payload belongs to a different topic"))
        }
        _ => Ok((incoming, repairs)),
    }
}

fn incoming(bytes: &[u8]) -> Read<(Incoming, Repairs)> {
    let mut scanner = Scanner::new(bytes)?;
    let incoming = event::read(&mut scanner)?;
    scanner.end()?;
    Ok((incoming, scanner.repairs))
}

/// Reports invalid JSON as malformed, even if another flaw was found before the syntax error.
#[cold]
fn rejection(flaw: Flaw, bytes: &[u8]) -> Reject {
    let syntax = Scanner::new(bytes).and_then(|mut scanner| {
        scanner.skip()?;
        scanner.end()
    });
    syntax.err().unwrap_or(flaw).into()
}

#[cfg(test)]
mod output_tests;
#[cfg(test)]
mod respelled;
#[cfg(test)]
mod tests;
