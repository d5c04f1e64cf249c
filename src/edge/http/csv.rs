//! Owns CSV (<https://www.rfc-editor.org/rfc/rfc4180>): the cells of tables, and the list of an answer of the API as a table.

use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The list of a JSON object as CSV, one line for each entry: the keys of nested objects are joined by dots. An object without
/// a list is a table of one line.
pub(super) fn of_json(body: &[u8]) -> Vec<u8> {
    let Ok(Value::Object(object)) = serde_json::from_slice(body) else { return Vec::new() };
    let list = object.values().find_map(Value::as_array).cloned();
    let entries = list.unwrap_or_else(|| vec![Value::Object(object)]);
    let lines: Vec<Map<String, Value>> = entries
        .into_iter()
        .map(|entry| {
            let mut cells = Map::new();
            flatten("", entry, &mut cells);
            cells
        })
        .collect();
    let columns: BTreeSet<&String> = lines.iter().flat_map(Map::keys).collect();
    let mut csv = columns.iter().map(|name| cell(name)).collect::<Vec<_>>().join(",");
    csv += "\r\n";
    for cells in &lines {
        let line = columns.iter().map(|name| match cells.get(*name) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => cell(text),
            Some(other) => cell(&other.to_string()),
        });
        csv += &line.collect::<Vec<_>>().join(",");
        csv += "\r\n";
    }
    csv.into_bytes()
}

fn flatten(path: &str, value: Value, cells: &mut Map<String, Value>) {
    let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Object(object) => object.into_iter().for_each(|(key, value)| flatten(&join(&key), value, cells)),
        value => {
            let name = if path.is_empty() { "value".into() } else { path.to_owned() };
            cells.insert(name, value);
        }
    }
}

/// A cell, quoted if need be. What a spreadsheet would take for a formula gets an apostrophe in front
/// (<https://owasp.org/www-community/attacks/CSV_Injection>), unless it is a number.
pub(super) fn cell(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']) && text.parse::<f64>().is_err();
    let guarded = if is_formula { format!("'{text}") } else { text.to_owned() };
    if guarded.contains([',', '"', '\r', '\n']) { format!("\"{}\"", guarded.replace('"', "\"\"")) } else { guarded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_cannot_become_columns_or_formulas() {
        let cells = [
            ("Vera", "Vera"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("=1+1", "'=1+1"),
            ("@a,b", "\"'@a,b\""),
            ("-12.5", "-12.5"),
            ("-x", "'-x"),
        ];
        for (text, expected) in cells {
            assert_eq!(cell(text), expected);
        }
    }

    #[test]
    fn the_list_of_an_answer_becomes_a_table() {
        let json = br#"{"tenant_id":"a","rows":[{"b":{"n":1,"k":null},"a":"x,y"},{"a":"=1","c":[1,2]}]}"#;
        assert_eq!(String::from_utf8_lossy(&of_json(json)), "a,b.k,b.n,c\r\n\"x,y\",,1,\r\n'=1,,,\"[1,2]\"\r\n");
        assert_eq!(String::from_utf8_lossy(&of_json(br#"{"a":1,"b":{"c":true}}"#)), "a,b.c\r\n1,true\r\n");
        assert_eq!(of_json(b"odd"), b"");
    }
}
