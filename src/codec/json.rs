//! Owns the JSON form: events in (and out, for the simulator); alerts, metric rows and what other norms would change
//! out.
//!
//! Events are read in one pass by our own scanner straight into the domain's types, without a tree in between: twice as
//! fast as a tree alone, and a refusal can name the field without repeating its value. Unknown keys pass; a key that
//! comes twice holds what it held last, but two payloads are a refusal.

mod api;
mod entity_report;
mod output;
mod read;
mod scan;
mod value;
mod write;

pub use api::{encode_alerts, encode_error, encode_rows, encode_tenants};
pub use entity_report::encode_entity_report;
pub use output::{encode_alert, encode_change, encode_review, encode_row};
pub use write::encode_event;

use super::reject::{Flaw, Read, Reject};
use crate::domain::event::{Event, Topic};
use crate::domain::reject::Reason;
use scan::Scanner;

/// Decodes an event of any topic: its payload tells which.
pub fn decode(bytes: &[u8]) -> Result<Event, Reject> {
    event(bytes).map_err(|flaw| refusal(flaw, bytes))
}

/// Decodes an event of `topic`; one of another topic has no payload here.
pub fn decode_for(topic: Topic, bytes: &[u8]) -> Result<Event, Reject> {
    let event = decode(bytes)?;
    if event.payload.topic() == topic {
        Ok(event)
    } else {
        Err(Reject::new(Reason::NoPayload, "the payload belongs to another topic"))
    }
}

fn event(bytes: &[u8]) -> Read<Event> {
    let mut scanner = Scanner::new(bytes)?;
    let event = read::event(&mut scanner)?;
    scanner.end()?;
    Ok(event)
}

/// What is no JSON at all is malformed, whatever was wrong before the place where it breaks off.
#[cold]
fn refusal(flaw: Flaw, bytes: &[u8]) -> Reject {
    let syntax = Scanner::new(bytes).and_then(|mut scanner| {
        scanner.skip()?;
        scanner.end()
    });
    syntax.err().unwrap_or(flaw).into()
}

#[cfg(test)]
mod tests;
