//! Owns filters and orders of lists, and the query strings of batches.

use crate::domain::time::Timestamp;
use serde_json::{Map, Value};
use std::cmp::Ordering;

/// Milliseconds by which the bounds of date filters are shifted.
pub(super) type Shift = i64;

/// Whether a row passes a filter; an unknown field is an error.
pub(super) fn passes(row: &Value, filter: &Value, fields: &[&str], shift: Shift) -> Result<bool, ()> {
    let Value::Object(conditions) = filter else { return Ok(true) };
    for (key, wanted) in conditions {
        let name = key.trim_start_matches(['>', '<', '=', '!', '@', '%']);
        let operator = &key[..key.len() - name.len()];
        if !fields.is_empty() && !fields.contains(&name) && row.get(name).is_none() {
            return Err(());
        }
        let found = row.get(name).unwrap_or(&Value::Null);
        let holds = match operator {
            "@" => list(wanted).iter().any(|wanted| compare(found, wanted, 0) == Ordering::Equal),
            ">" => compare(found, wanted, shift) == Ordering::Greater,
            ">=" => compare(found, wanted, shift) != Ordering::Less,
            "<" => compare(found, wanted, shift) == Ordering::Less,
            "<=" => compare(found, wanted, shift) != Ordering::Greater,
            "!" | "!=" => compare(found, wanted, 0) != Ordering::Equal,
            _ => compare(found, wanted, 0) == Ordering::Equal,
        };
        if !holds {
            return Ok(false);
        }
    }
    Ok(true)
}

fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => map.values().collect(),
        other => vec![other],
    }
}

/// Compares a field with a value of a filter, which is shifted if it is a date.
pub(super) fn compare(found: &Value, wanted: &Value, shift: Shift) -> Ordering {
    if let (Some(found), Some(wanted)) = (date(found), date(wanted)) {
        return found.cmp(&(wanted + shift));
    }
    match (number(found), number(wanted)) {
        (Some(found), Some(wanted)) => found.total_cmp(&wanted),
        _ => text(found).cmp(&text(wanted)),
    }
}

fn date(value: &Value) -> Option<i64> {
    let text = value.as_str().filter(|text| text.len() >= 19)?;
    Timestamp::parse(text).map(|at| at.0)
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Sorts rows by an order such as `{"updatedTime": "DESC", "id": "DESC"}`.
pub(super) fn sort(rows: &mut [Value], order: &[(String, bool)]) {
    rows.sort_by(|one, other| {
        let of = |row: &Value, field: &str| row.get(field).cloned().unwrap_or(Value::Null);
        order.iter().fold(Ordering::Equal, |so_far, (field, descending)| {
            let next = compare(&of(one, field), &of(other, field), 0);
            so_far.then(if *descending { next.reverse() } else { next })
        })
    });
}

/// Reads a query string in bracket form. All values are texts.
pub(super) fn query(text: &str) -> Value {
    let mut root = Value::Object(Map::new());
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (head, rest) = key.split_once('[').unwrap_or((key, ""));
        let parts = std::iter::once(head).chain(rest.split('[').map(|part| part.trim_end_matches(']')));
        let mut place = &mut root;
        for part in parts.filter(|part| !part.is_empty()) {
            let map = place.as_object_mut().expect("an object");
            place = map.entry(decoded(part)).or_insert_with(|| Value::Object(Map::new()));
        }
        *place = Value::String(decoded(value));
    }
    root
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let hex = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
                let hex = std::str::from_utf8(&hex).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok());
                bytes.push(hex.unwrap_or(b'?'));
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn filters_compare_numbers_texts_and_shifted_dates() {
        let row = json!({"id": 41, "stageId": "NEW", "updatedTime": "2026-03-02T12:00:00+03:00"});
        let passes = |filter: Value, shift| passes(&row, &filter, &["id"], shift);
        assert_eq!(passes(json!({">id": "40", "@id": {"0": "7", "1": "41"}}), 0), Ok(true));
        assert_eq!(passes(json!({"<id": 41}), 0), Ok(false));
        assert_eq!(passes(json!({"!stageId": "WON", "=stageId": "NEW"}), 0), Ok(true));
        let bound = json!({">=updatedTime": "2026-03-02T09:00:00Z"});
        assert_eq!((passes(bound.clone(), 0), passes(bound, 7_200_000)), (Ok(true), Ok(false)));
        assert_eq!(passes(json!({"nonsense": 1}), 0), Err(()));
        assert_eq!(
            query("filter[%3Eid]=5&select[0]=%2A&start=-1"),
            json!({"filter": {">id": "5"}, "select": {"0": "*"}, "start": "-1"})
        );
    }
}
