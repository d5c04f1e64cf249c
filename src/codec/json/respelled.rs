//! Owns the test that a lenient spelling of an event means the same as the strict one.

use super::*;
use crate::codec::arbitrary;
use crate::domain::event::repair::Repair;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Fields that are ids, besides those that end in `_id`.
const IDS: [&str; 3] = ["id", "approved_by", "in_reply_to"];
const FLAGS: [&str; 2] = ["automatic", "active"];
const ENUMS: [&str; 6] = ["kind", "outcome", "direction", "channel", "verdict", "answered_by"];
const TIMES: [&str; 5] = ["occurred_at", "created_at", "stage_entered_at", "started_at", "answered_at"];
/// Objects and lists that an event can lack.
const OPTIONAL: [&str; 4] = ["entity", "contact", "contacts", "filled_fields"];

/// A sequence of choices.
struct Choices(std::iter::Cycle<std::vec::IntoIter<u8>>);

impl Choices {
    fn pick<T: Clone>(&mut self, options: &[T]) -> T {
        let choice = self.0.next().map_or(0, usize::from);
        options[choice % options.len()].clone()
    }

    fn field(&mut self, key: &str, value: Value) -> (String, Value) {
        let value = match value {
            Value::Object(fields) => self.object(fields),
            Value::Array(items) if items.is_empty() => self.pick(&[json!([]), json!({}), json!(""), json!(null)]),
            Value::Array(items) => items.into_iter().map(|item| self.field("", item).1).collect(),
            Value::Bool(flag) if FLAGS.contains(&key) => self.flag(flag),
            Value::String(text) => self.text(key, text),
            other => other,
        };
        (self.key(key), value)
    }

    fn object(&mut self, fields: Map<String, Value>) -> Value {
        fields.into_iter().map(|(key, value)| self.field(&key, value)).collect()
    }

    /// The key in snake_case or camelCase.
    fn key(&mut self, key: &str) -> String {
        let mut words = key.split('_');
        let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
        let camel = words.next().into_iter().map(str::to_owned).chain(words.map(capital)).collect();
        self.pick(&[key.to_owned(), camel])
    }

    fn flag(&mut self, flag: bool) -> Value {
        let spellings = if flag {
            [json!(true), json!("TRUE"), json!("y"), json!("Yes"), json!(1), json!("1")]
        } else {
            [json!(false), json!("False"), json!("N"), json!("no"), json!(0), json!("0")]
        };
        self.pick(&spellings)
    }

    fn text(&mut self, key: &str, text: String) -> Value {
        if key.ends_with("_id") || IDS.contains(&key) {
            match text.parse::<u64>().ok().filter(|number| number.to_string() == text) {
                Some(number) if self.pick(&[true, false]) => json!(number),
                _ => json!(self.padded(&text)),
            }
        } else if key == "currency" && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
            let spelling = self.pick(&[text.to_lowercase(), text]);
            json!(self.padded(&spelling))
        } else if ENUMS.contains(&key) {
            let half = text[..1].to_owned() + &text[1..].to_lowercase();
            json!(self.pick(&[text.to_lowercase(), half, text]))
        } else if TIMES.contains(&key) {
            let utc = text.trim_end_matches('Z');
            let spellings =
                ["Z", "z", "999999999999999Z", "+00:00", "-00:00", "0+0000"].map(|zone| format!("{utc}{zone}"));
            json!(self.pick(&spellings))
        } else {
            json!(text)
        }
    }

    fn padded(&mut self, text: &str) -> String {
        let blanks = ["", " ", "\t\n", "\u{a0}", "\u{2003} "];
        format!("{}{text}{}", self.pick(&blanks), self.pick(&blanks))
    }

    /// Adds absent values to the payload, and a wrong value that no rule needs.
    fn add_to_payload(&mut self, case: &str, payload: &mut Map<String, Value>) {
        for key in OPTIONAL {
            if self.pick(&[true, false]) && !payload.contains_key(key) {
                let empty = self.pick(&[json!([]), json!({}), json!("")]);
                payload.insert(key.into(), empty);
            }
        }
        let droppable: &[&str] = match case {
            "stage_changed" => &["changed_by"],
            "closed" => &["closed_by"],
            "interaction_reviewed" => &["comment", "checklist"],
            "manager_upserted" | "department_upserted" if !payload.contains_key("name") => &["name"],
            "call_started" => &["line"],
            "call_ended" if payload.contains_key("recording_url") => &["line"],
            "call_ended" => &["line", "recording_url"],
            _ => return,
        };
        let (key, wrong) = (self.pick(droppable), self.pick(&[json!(1.5), json!([1]), json!({"a": []}), json!(true)]));
        payload.insert(key.into(), wrong);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_lenient_spelling_means_the_same(event in arbitrary::event(), choices in prop::collection::vec(any::<u8>(), 1..64)) {
        let mut bytes = Vec::new();
        encode_event(&event, &mut bytes);
        let (strict, strict_repairs) = decode_with_repairs(None, &bytes).expect("valid");
        prop_assert_eq!(strict.event(), Some(event.clone()));

        let mut choices = Choices(choices.into_iter().cycle());
        let mut tree: Map<String, Value> = serde_json::from_slice(&bytes).expect("an object");
        let case = event.payload.kind().name();
        if let Some(Value::Object(payload)) = tree.get_mut(case) {
            choices.add_to_payload(case, payload);
        }
        let source = choices.pick(&[json!("test"), json!(7), json!(["x"])]);
        tree.insert("source".into(), source);
        let mut tree = choices.object(tree);
        let other = choices.pick(&["reopened", "call_started", "message_sent"]);
        if other != case {
            let absent = choices.pick(&[json!([]), json!(""), json!(null)]);
            tree[other] = absent;
        }
        let text = tree.to_string();

        let (lenient, repairs) = decode_with_repairs(None, text.as_bytes()).map_err(|reject| {
            TestCaseError::fail(format!("{reject}: {text}"))
        })?;
        prop_assert_eq!(lenient.event(), Some(event), "{}", text);
        let mut others = repairs;
        others.remove(Repair::WrongValue);
        prop_assert_eq!(others, strict_repairs, "{}", text);
    }
}
