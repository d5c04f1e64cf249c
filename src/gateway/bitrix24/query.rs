//! Owns the commands of a batch: a method with its parameters as a query string in PHP's bracket form.

use crate::codec::ascii::percent_encoded;
use serde_json::Value;

/// A command of a batch.
#[derive(Clone, Debug)]
pub(super) struct Command {
    /// The method.
    pub(super) method: &'static str,
    /// Its parameters, an object.
    pub(super) params: Value,
}

impl Command {
    /// The command in the form of a batch.
    pub(super) fn query(&self) -> String {
        let mut query = String::from(self.method);
        let mut separator = '?';
        if let Value::Object(params) = &self.params {
            for (key, value) in params {
                write_param(&mut query, &mut separator, &percent_encoded(key), value);
            }
        }
        query
    }
}

fn write_param(query: &mut String, separator: &mut char, key: &str, value: &Value) {
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(inner, value)| {
                write_param(query, separator, &format!("{key}[{}]", percent_encoded(inner)), value)
            });
        }
        Value::Array(list) => {
            let indexed = list.iter().enumerate();
            indexed.for_each(|(index, value)| write_param(query, separator, &format!("{key}[{index}]"), value));
        }
        scalar => {
            let text = match scalar {
                Value::String(text) => percent_encoded(text),
                Value::Null => String::new(),
                other => percent_encoded(&other.to_string()),
            };
            query.push(std::mem::replace(separator, '&'));
            query.push_str(key);
            query.push('=');
            query.push_str(&text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parameters_become_a_query_in_bracket_form() {
        let params =
            json!({"entityTypeId": 2, "filter": {">id": 5, "@id": [1, 2]}, "select": ["*", "a b"], "start": -1});
        let query = Command { method: "crm.item.list", params }.query();
        let expected = "crm.item.list?entityTypeId=2&filter[%3Eid]=5&filter[%40id][0]=1&filter[%40id][1]=2\
            &select[0]=%2A&select[1]=a%20b&start=-1";
        assert_eq!(query, expected);
        assert_eq!(Command { method: "scope", params: json!({}) }.query(), "scope");
    }
}
