//! Writes metric rows as the protobuf message `MetricRow`: the fields of the table of figures, by their tags.
//!
//! `tests/outputs/protos.rs` compares the table with `alert.proto`; maps are written in the order of their keys.

use super::put::message;
use super::write::{time, write};
use crate::codec::proto;
use crate::domain::figures::row::Row;
use crate::domain::figures::table::{Field, FigureValue};
use prost::encoding::{bool, double, int64};

/// Writes a metric row.
pub fn encode_row(row: &Row, out: &mut Vec<u8>) {
    let envelope = proto::MetricRow {
        tenant_id: row.tenant.to_string(),
        subject: row.subject.to_string(),
        window: row.figures.window().into(),
        at: Some(time(row.at)),
        historic: row.historic,
        ..Default::default()
    };
    write(&envelope, out);
    fields(&row.figures.fields(), out);
}

fn fields(fields: &[Field<'_>], out: &mut Vec<u8>) {
    fields.iter().for_each(|(_, tag, found)| value(*tag, found, out));
}

/// Writes a value, unless it is the default of a scalar.
fn value(tag: u32, found: &FigureValue<'_>, out: &mut Vec<u8>) {
    match found {
        FigureValue::Count(0) | FigureValue::Number(0.0) | FigureValue::Optional(None) | FigureValue::Absent => {}
        FigureValue::Count(n) => int64::encode(tag, n, out),
        FigureValue::Number(number) | FigureValue::Optional(Some(number)) => double::encode(tag, number, out),
        FigureValue::Flag(flag) => bool::encode(tag, flag, out),
        FigureValue::Share(share) => message(tag, out, |out| fields(&share.fields(), out)),
        FigureValue::Lags(lags) => message(tag, out, |out| fields(&lags.fields(), out)),
        FigureValue::Group(group) => message(tag, out, |out| fields(group, out)),
        FigureValue::Map(entries) => map(tag, entries, out),
    }
}

fn map(tag: u32, entries: &[(&str, FigureValue<'_>)], out: &mut Vec<u8>) {
    let mut entries: Vec<_> = entries.iter().collect();
    entries.sort_unstable_by_key(|(name, _)| *name);
    for (name, found) in entries {
        message(tag, out, |entry| {
            if !name.is_empty() {
                message(1, entry, |key| key.extend_from_slice(name.as_bytes()));
            }
            match found {
                // The value of a map cannot be a map: a message holds it.
                FigureValue::Map(_) => message(2, entry, |out| value(1, found, out)),
                found => value(2, found, entry),
            }
        });
    }
}
