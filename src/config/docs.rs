//! Owns what is said outside the code of what one sets and of what comes of it: `docs/configuration.md` and the JSON
//! Schema of norms here, `docs/rules.md`, `docs/metrics.md` and the JSON Schema of alerts below. Promises that all are
//! written from the declared keys, the rules and the metrics alone; a test fails when the files differ from them (`UPDATE_DOCS=1 cargo test
//! config::docs` writes them anew).

pub mod alert;
pub mod metrics;
pub mod rules;

use super::key::{Absent, KeySpec, Need, ValueKind};
use super::{CONFIG, keys, properties};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;

const INTRODUCTION: &str = "\
<!-- Written from src/config by `UPDATE_DOCS=1 cargo test config::docs`; change it there. -->

# Configuration

One YAML file, given to `funnelwatch run` and its siblings; [`examples/funnelwatch.yaml`](examples/funnelwatch.yaml)
is one to start from. Every key may be left out unless its default says *needed*. `funnelwatch check` reads a
configuration, tells every problem with its line, and prints the norms that are in force.

Norms (`calendars`, `pipelines`, `norms`…) stand in the same file, or in one of their own that `norms_file` names;
[`examples/norms.yaml`](examples/norms.yaml) is one to start from, with the working days of Russia in
[`examples/calendar-russia.yaml`](examples/calendar-russia.yaml), and
[`schema/norms.schema.json`](schema/norms.schema.json) lets an editor check it.

**Reload.** `funnelwatch run` looks at all files that its configuration came from (this one, `norms_file`, `include`,
`{file: PATH}`) about once a second. Changed norms take force within two or three seconds, at once after a SIGHUP.
If anything is wrong, those in force stay, every problem is logged, and
`funnelwatch_norms_reloads_total{result=\"refused\"}` counts it. A change of `windows`, `default_country`,
`min_talk_seconds` or `privacy_key` is refused: it needs a restart. So do `language` and all that is no norm, but norms
beside them take force, with a warning. `run --once` reads its files once.

- **Lengths of time** are whole numbers with a unit: `90s`, `15m`, `4h`, `7d`; outside the norms also `100ms`. Sizes
  are `256KiB`, `1MiB` or plain bytes.
- **Ids and names** are text. A whole number is taken as it is written; anything else that YAML reads as a number or as
  `true` wants quotes, such as `\"007\"`.
- **Secrets.** In the kafka section, in `api.token`, in `redis.url` and in `privacy_key`, `${NAME}` stands for an environment variable,
  `${NAME:-text}` has a text for when it is not set, and `$${` is a plain `${`. Properties and
  those three may also be `{file: PATH}`, relative to the file they stand in. Secrets are never shown.
- Unknown keys, keys given twice and values out of their range are problems, and nothing starts before they are mended.
";

const OVERRIDES: &str = "\
An override applies where every key of its `when` matches: the responsible's department, the pipeline and the source
of the lead or deal where the clock starts. Overrides are merged in order, key by key inside a rule, so a part of a rule
is enough, and `enabled: false` switches it off there. Window rules judge managers: they go by tenant and department.
`at_least` and `of_department` exclude each other: the override that gives one takes back the other.
Norms are checked as they are in force: in the base, in the place of each override, and where two overrides meet.
";

const RULES: &str = "\
A rule that is not named is off; `{}` names it. Keys in bold are needed; of keys with a bar between them, one.
";

const REFUSED: &str = "\
These are not to be set under `kafka.client`, `kafka.consumer` or `kafka.producer`: the guarantees rest on them.
";

/// `docs/configuration.md`.
pub fn reference() -> String {
    let mut out = String::from(INTRODUCTION);
    section(&mut out, "Keys of the configuration", CONFIG);
    for key in CONFIG {
        nested(&mut out, key.name, key);
    }
    write(
        &mut out,
        format!("\n## Kafka properties that are refused\n\n{REFUSED}\n| property | why |\n| --- | --- |\n"),
    );
    for (name, why) in properties::REFUSED {
        write(&mut out, format!("| `{name}` | {why} |\n"));
    }
    section(&mut out, "Keys of the norms", keys::NORMS);
    for key in keys::NORMS.iter().filter(|key| !["norms", "overrides"].contains(&key.name)) {
        nested(&mut out, key.name, key);
    }
    rules(&mut out);
    for key in keys::RULES.iter().filter(|key| key.name == "terms") {
        nested(&mut out, "norms.terms", key);
    }
    section(&mut out, "`overrides[]`", keys::OVERRIDE);
    write(&mut out, format!("\n{OVERRIDES}"));
    for key in keys::OVERRIDE.iter().filter(|key| key.name == "when") {
        nested(&mut out, "overrides[].when", key);
    }
    out
}

fn write(out: &mut String, text: String) {
    // Writing to a string cannot fail.
    let _ = out.write_str(&text);
}

fn section(out: &mut String, title: &str, keys: &[KeySpec]) {
    write(out, format!("\n## {title}\n\n| key | value | default | meaning |\n| --- | --- | --- | --- |\n"));
    for key in keys {
        match small(&key.kind) {
            Some(inner) => inner.for_each(|inner| row(out, &format!("{}.{}", key.name, inner.name), inner)),
            None => row(out, key.name, key),
        }
    }
}

fn row(out: &mut String, name: &str, key: &KeySpec) {
    write(out, format!("| `{name}` | {} | {} | {} |\n", value(&key.kind), default(key), key.help));
}

/// The keys of a mapping that is small enough to stand in the table of the one around it.
fn small(kind: &ValueKind) -> Option<impl Iterator<Item = &'static KeySpec> + use<>> {
    match *kind {
        ValueKind::Table(parts) => Some(parts.iter().copied().flatten()).filter(|keys| keys.clone().count() <= 2),
        _ => None,
    }
}

/// The sections of the mappings under a key.
fn nested(out: &mut String, path: &str, key: &KeySpec) {
    let (path, parts) = match key.kind {
        ValueKind::Table(_) if small(&key.kind).is_some() => return,
        ValueKind::Table(parts) => (path.to_owned(), parts),
        ValueKind::List(&ValueKind::Table(parts), _) => (format!("{path}[]"), parts),
        ValueKind::Map(_, &ValueKind::Table(parts)) => (format!("{path}.NAME"), parts),
        _ => return,
    };
    let keys: Vec<KeySpec> = parts.concat();
    section(out, &format!("`{path}`"), &keys);
    for key in &keys {
        nested(out, &format!("{path}.{}", key.name), key);
    }
}

/// The rules with their keys, and what the keys mean.
fn rules(out: &mut String) {
    write(out, format!("\n## `norms`\n\n{RULES}\n| rule | holds when | keys |\n| --- | --- | --- |\n"));
    let mut told: Vec<(KeySpec, BTreeSet<&str>)> = Vec::new();
    for rule in keys::RULES.iter().filter(|rule| rule.name != "terms") {
        let ValueKind::Table(parts) = rule.kind else { continue };
        let keys: Vec<KeySpec> = parts.concat();
        let plain = |need| keys.iter().filter(move |key| key.need == need).map(|key| key.name);
        let mut shown: Vec<String> = plain(Need::InForce).map(|name| format!("**`{name}`**")).collect();
        let one: Vec<_> = plain(Need::OneInForce).map(|name| format!("**`{name}`**")).collect();
        if !one.is_empty() {
            shown.push(one.join(" \\| "));
        }
        shown.extend(plain(Need::Optional).map(|name| format!("`{name}`")));
        write(out, format!("| `{}` | {} | {} |\n", rule.name, rule.help, shown.join(", ")));
        for key in keys {
            match told.iter_mut().find(|(known, _)| known.name == key.name && known.help == key.help) {
                Some((_, rules)) => drop(rules.insert(rule.name)),
                None => told.push((key, BTreeSet::from([rule.name]))),
            }
        }
    }
    write(out, "\n| key of a rule | value | default | meaning |\n| --- | --- | --- | --- |\n".into());
    for (key, rules) in &told {
        let shared = told.iter().filter(|(other, _)| other.name == key.name).count() > 1;
        let of =
            if shared { format!(" ({})", Vec::from_iter(rules.iter().copied()).join(", ")) } else { String::new() };
        let name = key.name;
        write(out, format!("| `{name}`{of} | {} | {} | {} |\n", value(&key.kind), default(key), key.help));
    }
}

/// What may stand there, for a cell of a table.
fn value(kind: &ValueKind) -> String {
    match kind {
        ValueKind::Name(names) => names().iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
        ValueKind::List(of, _) => match **of {
            ValueKind::Name(_) => format!("a list of {}", value(of)),
            _ => kind.wanted(),
        },
        ValueKind::Map(form, of) => match **of {
            ValueKind::Table(_) => format!("a mapping from {} to mappings", form.wanted),
            ValueKind::Property => "a mapping from names to text, numbers, flags, see Secrets".into(),
            _ => kind.wanted(),
        },
        ValueKind::Form(form) => form.wanted.into(),
        ValueKind::Secret | ValueKind::Setting | ValueKind::Property => "text, see Secrets".into(),
        _ => kind.wanted(),
    }
}

fn default(key: &KeySpec) -> String {
    match (key.absent, key.need) {
        (_, Need::Must | Need::InForce) => "*needed*".into(),
        (_, Need::OneInForce) => "*one needed*".into(),
        (Absent::Filled("{}") | Absent::Nothing, _) => String::new(),
        (Absent::Filled(text) | Absent::Known(text), _) => format!("`{text}`"),
        (Absent::Told(text), _) => text.into(),
    }
}

/// `docs/schema/norms.schema.json`: JSON Schema 2020-12 of the norms document.
pub fn schema() -> Value {
    let mut rules = Map::new();
    for rule in keys::RULES {
        rules.insert(rule.name.into(), schema_of_key(rule));
    }
    let mut schema = table(&[keys::NORMS]);
    if let Some(root) = schema.as_object_mut() {
        root.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
        root.insert("title".into(), "Norms of funnelwatch".into());
        root.insert("$defs".into(), rules.into());
        root.insert("type".into(), "object".into());
    }
    // In the base a rule that is on must be complete; what is in force in an override cannot be said here.
    let complete: Map<String, Value> = keys::RULES.iter().map(|rule| (rule.name.into(), complete(rule))).collect();
    schema["properties"]["norms"]["properties"] = complete.into();
    schema["properties"]["review_sampling"]["type"] = "object".into();
    schema["properties"]["review_sampling"]["required"] = json!(["per_day"]);
    let part: Map<String, Value> = keys::RULES.iter().map(|rule| (rule.name.into(), reference_to(rule))).collect();
    schema["properties"]["overrides"]["items"]["properties"]["norms"]["properties"] = part.into();
    schema
}

fn reference_to(rule: &KeySpec) -> Value {
    json!({ "$ref": format!("#/$defs/{}", rule.name) })
}

/// A rule that is off, or has all that it needs.
fn complete(rule: &KeySpec) -> Value {
    let ValueKind::Table(parts) = rule.kind else { return reference_to(rule) };
    let keys: Vec<KeySpec> = parts.concat();
    let names = |need| keys.iter().filter(move |key| key.need == need).map(|key| key.name).collect::<Vec<_>>();
    let (needed, one) = (names(Need::InForce), names(Need::OneInForce));
    let mut ways = vec![json!({ "required": ["enabled"], "properties": { "enabled": { "const": false } } })];
    if one.is_empty() {
        ways.push(json!({ "required": needed }));
    }
    for key in &one {
        let others: Vec<_> =
            one.iter().filter(|other| *other != key).map(|other| json!({ "required": [other] })).collect();
        ways.push(json!({ "required": [key], "not": { "anyOf": others } }));
    }
    if needed.is_empty() && one.is_empty() {
        return reference_to(rule);
    }
    json!({ "$ref": format!("#/$defs/{}", rule.name), "type": "object", "anyOf": ways })
}

fn schema_of_key(key: &KeySpec) -> Value {
    let mut schema = schema_of(&key.kind);
    let default = match key.absent {
        Absent::Nothing => String::new(),
        Absent::Filled(text) | Absent::Known(text) | Absent::Told(text) => format!("; default: {text}"),
    };
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".into(), format!("{}{default}", key.help).into());
    }
    schema
}

fn schema_of(kind: &ValueKind) -> Value {
    match kind {
        ValueKind::Flag => json!({ "type": "boolean" }),
        ValueKind::Count(from, i64::MAX) => json!({ "type": "integer", "minimum": from }),
        ValueKind::Count(from, to) => json!({ "type": "integer", "minimum": from, "maximum": to }),
        ValueKind::Number(from, to) => json!({ "type": "number", "minimum": from, "maximum": to }),
        ValueKind::Between(from, to) => json!({ "type": "number", "exclusiveMinimum": from, "exclusiveMaximum": to }),
        ValueKind::Length => json!({ "type": "string", "pattern": "^0*[1-9][0-9]*[smhd]$" }),
        ValueKind::Span(..) => json!({ "type": "string", "pattern": "^[0-9]+(ms|[smhd])$" }),
        ValueKind::Bytes(..) => json!({ "type": ["string", "integer"], "pattern": "^[0-9]+(B|KiB|MiB)$" }),
        ValueKind::Text => json!({ "type": ["string", "integer"], "minLength": 1 }),
        ValueKind::Form(form) if form.pattern.is_empty() => json!({ "type": "string", "minLength": 1 }),
        ValueKind::Form(form) => json!({ "type": "string", "pattern": form.pattern }),
        ValueKind::Name(names) => json!({ "enum": names() }),
        ValueKind::Setting => json!({ "type": "string", "minLength": 1 }),
        ValueKind::Secret => json!({ "anyOf": [{ "type": "string", "minLength": 1 }, from_a_file()] }),
        ValueKind::Property => json!({ "anyOf": [{ "type": ["string", "number", "boolean"] }, from_a_file()] }),
        ValueKind::List(of, 0) => json!({ "type": ["array", "null"], "items": schema_of(of) }),
        ValueKind::List(of, least) => json!({ "type": "array", "items": schema_of(of), "minItems": least }),
        ValueKind::Map(form, of) if form.pattern.is_empty() => {
            json!({ "type": ["object", "null"], "additionalProperties": schema_of(of) })
        }
        ValueKind::Map(form, of) => json!({
            "type": ["object", "null"],
            "additionalProperties": schema_of(of),
            "propertyNames": { "pattern": form.pattern },
        }),
        ValueKind::Table(parts) => table(parts),
    }
}

fn from_a_file() -> Value {
    let properties = json!({ "file": { "type": "string", "minLength": 1 } });
    json!({ "type": "object", "properties": properties, "required": ["file"], "additionalProperties": false })
}

fn table(parts: &[&[KeySpec]]) -> Value {
    let keys: Vec<KeySpec> = parts.concat();
    let properties: Map<String, Value> = keys.iter().map(|key| (key.name.into(), schema_of_key(key))).collect();
    let needed: Vec<_> = keys.iter().filter(|key| key.need == Need::Must).map(|key| key.name).collect();
    let mut schema = json!({ "properties": properties, "additionalProperties": false });
    if needed.is_empty() {
        schema["type"] = json!(["object", "null"]);
    } else {
        schema["type"] = json!("object");
        schema["required"] = json!(needed);
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Fails unless a file of `docs` says `text`; writes it anew if it is asked to.
    pub(super) fn hold(name: &str, text: &str) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&file, text).expect("a writable docs folder");
        }
        let found = std::fs::read_to_string(file).unwrap_or_default();
        assert!(found == text, "docs/{name} is stale: UPDATE_DOCS=1 cargo test config::docs");
    }

    #[test]
    fn the_reference_is_the_one_in_docs() {
        hold("configuration.md", &reference());
    }

    #[test]
    fn the_schema_of_norms_is_the_one_in_docs() {
        hold("schema/norms.schema.json", &format!("{:#}\n", schema()));
    }

    #[test]
    fn every_key_says_what_it_is_for() {
        fn visit(key: &KeySpec) {
            let help = key.help;
            assert!(!help.is_empty() && !help.ends_with('.') && !help.contains(['|', '\n']), "{}: {help}", key.name);
            match key.kind {
                ValueKind::Table(parts)
                | ValueKind::List(&ValueKind::Table(parts), _)
                | ValueKind::Map(_, &ValueKind::Table(parts)) => {
                    parts.iter().copied().flatten().for_each(visit);
                }
                _ => {}
            }
        }
        CONFIG.iter().chain(keys::NORMS).for_each(visit);
    }
}
