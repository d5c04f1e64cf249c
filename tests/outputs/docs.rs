//! Generates the reference documents: `docs/configuration.md` and the JSON Schema of norms here; `docs/rules.md`,
//! `docs/metrics.md` and the JSON Schema of alerts in the submodules.
//!
//! They are generated only from the declared keys, rules and metrics. A test fails if the files are stale;
//! `UPDATE_DOCS=1 cargo test --test outputs docs` regenerates them.

mod alert;
mod asyncapi;
mod limits;
mod metrics;
mod rules;

use funnelwatch::codec::Encoding;
use funnelwatch::config::schema::key::{Absent, KeySpec, Need, ValueKind};
use funnelwatch::config::{CONFIG, REJECTED, keys};
use funnelwatch::domain::event::repair::Repair;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

const INTRODUCTION: &str = "\
<!-- Generated from src/config by `UPDATE_DOCS=1 cargo test --test outputs docs`; edit it there. -->

# Configuration

The configuration is one YAML file, passed to `funnelwatch run` and the related subcommands;
[`examples/funnelwatch.yaml`](examples/funnelwatch.yaml) is a starting point. Every key is optional unless its default
is *required*. `funnelwatch check` reads a configuration, reports all problems with their lines, and prints the norms in
force.

Norms (`calendars`, `pipelines`, `norms`…) are part of the same file or of a separate file set by `norms_file`.
[`examples/norms.yaml`](examples/norms.yaml) is a starting point, with the working days of Russia in
[`examples/calendar-russia.yaml`](examples/calendar-russia.yaml). Editors can validate it against
[`schema/norms.schema.json`](schema/norms.schema.json).

**Reload.** `funnelwatch run` checks all files that its configuration was read from (this one, `norms_file`, `include`,
`{file: PATH}`) about once per second. Changed norms are applied within two or three seconds, or immediately after a
SIGHUP. If the change is invalid, the previous norms stay in force, all problems are logged, and
`funnelwatch_norms_reloads_total{result=\"refused\"}` is incremented. A change of `windows`, `default_country`,
`min_talk_seconds`, `conversation_needs_manager`, `ignored_contacts`, `shared_contact_limit`, `excluded_reasons` or
`privacy_key` is rejected: it requires a restart. Changes of `language` and of all settings that are not norms also
require a restart; norms changed along with them are applied, with a warning. `run --once` reads its files once.

- **Durations** are integers with a unit: `90s`, `15m`, `4h`, `7d`; outside the norms also `100ms`. Sizes are `256KiB`,
  `1MiB` or plain bytes.
- **Ids and names** are strings. An integer is accepted as written; quote anything else that YAML parses as a number or
  a boolean, such as `\"007\"`.
- **Secrets.** In the kafka section, `api.token` and those of users, `redis.url` and `privacy_key`, `${NAME}` is replaced by an environment
  variable, `${NAME:-text}` sets a default for an unset variable, and `$${` is a literal `${`. Kafka properties and
  those keys may also be `{file: PATH}`, relative to the file they are in. Secrets are never shown.
- Unknown keys, duplicate keys and values out of range are errors; the program does not start until they are fixed.
";

const OVERRIDES: &str = "\
An override applies where all keys of its `when` match: the responsible manager, the department of that manager, and the
pipeline and source of the lead or deal when the clock starts. An override by `manager` holds the manager's own hours
(`calendar`), grace or norms. Overrides are merged in order, key by key within a rule, so an override may set only part
of a rule, and `enabled: false` disables the rule in its scope; one by `manager` should come after those by
`department`. Window rules and review sampling are evaluated per manager: only overrides by tenant, department and
manager apply to them. `ignored_contacts` replaces the list for a whole tenant. `at_least` and `of_department` are mutually
exclusive: an override that sets one clears the other. Norms are checked in their merged form: in the base, in the scope
of each override, and where two overrides overlap.
";

const RULES: &str = "\
A rule that is not listed is off; `{}` enables it. Keys in bold are required; of keys separated by a bar, exactly one.
";

const ABOUT_REJECTED: &str = "\
These cannot be set under `kafka.client`, `kafka.consumer` or `kafka.producer`: the delivery guarantees depend on them. All
other properties of librdkafka can. Names that it does not have, and values that it does not accept, are errors; the value
of a name that is unknown or looks secret is not shown.
";

/// `docs/configuration.md`.
fn reference() -> String {
    let mut out = String::from(INTRODUCTION);
    section(&mut out, "Configuration keys", CONFIG);
    for key in CONFIG {
        nested(&mut out, key.name, key);
    }
    write(&mut out, format!("\n## Rejected Kafka properties\n\n{ABOUT_REJECTED}\n| property | why |\n| --- | --- |\n"));
    for (name, why) in REJECTED {
        write(&mut out, format!("| `{name}` | {why} |\n"));
    }
    section(&mut out, "Norms keys", &keys::NORMS.concat());
    for key in keys::NORMS.concat().iter().filter(|key| !["norms", "overrides"].contains(&key.name)) {
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

/// The keys of a mapping that is small enough to be listed in the table of its parent.
fn small(kind: &ValueKind) -> Option<impl Iterator<Item = &'static KeySpec> + use<>> {
    match *kind {
        ValueKind::Table(parts) => Some(parts.iter().copied().flatten()).filter(|keys| keys.clone().count() <= 2),
        _ => None,
    }
}

/// Writes the sections of the mappings under a key.
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

/// Writes the rules with their keys, and the meaning of the keys.
fn rules(out: &mut String) {
    write(out, format!("\n## `norms`\n\n{RULES}\n| rule | violated when | keys |\n| --- | --- | --- |\n"));
    let mut described: Vec<(KeySpec, BTreeSet<&str>)> = Vec::new();
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
            match described.iter_mut().find(|(known, _)| known.name == key.name && known.help == key.help) {
                Some((_, rules)) => drop(rules.insert(rule.name)),
                None => described.push((key, BTreeSet::from([rule.name]))),
            }
        }
    }
    write(out, "\n| key of a rule | value | default | meaning |\n| --- | --- | --- | --- |\n".into());
    for (key, rules) in &described {
        let shared = described.iter().filter(|(other, _)| other.name == key.name).count() > 1;
        let of =
            if shared { format!(" ({})", Vec::from_iter(rules.iter().copied()).join(", ")) } else { String::new() };
        let name = key.name;
        write(out, format!("| `{name}`{of} | {} | {} | {} |\n", value(&key.kind), default(key), key.help));
    }
}

/// The accepted value, for a table cell.
fn value(kind: &ValueKind) -> String {
    match kind {
        ValueKind::Name(names) => names().iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
        ValueKind::List(of, _) => match **of {
            ValueKind::Name(_) => format!("a list of {}", value(of)),
            _ => kind.expected(),
        },
        ValueKind::Map(form, of) => match **of {
            ValueKind::Table(_) => format!("a mapping from {} to mappings", form.expected),
            ValueKind::Property => "a mapping from names to strings, numbers or flags, see Secrets".into(),
            _ => kind.expected(),
        },
        ValueKind::Form(form) => form.expected.into(),
        ValueKind::Secret | ValueKind::Setting | ValueKind::Property => "a string, see Secrets".into(),
        _ => kind.expected(),
    }
}

fn default(key: &KeySpec) -> String {
    match (key.absent, key.need) {
        (_, Need::Required | Need::InForce) => "*required*".into(),
        (_, Need::OneInForce) => "*one required*".into(),
        (Absent::Default("{}") | Absent::Nothing, _) => String::new(),
        (Absent::Default(text) | Absent::RuleDefault(text), _) => format!("`{text}`"),
        (Absent::Described(text), _) => text.into(),
    }
}

/// `docs/schema/norms.schema.json`: JSON Schema 2020-12 of the norms document.
fn schema() -> Value {
    let mut rules = Map::new();
    for rule in keys::RULES {
        rules.insert(rule.name.into(), schema_of_key(rule));
    }
    let mut schema = table(keys::NORMS);
    if let Some(root) = schema.as_object_mut() {
        root.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
        root.insert("title".into(), "funnelwatch norms".into());
        root.insert("$defs".into(), rules.into());
        root.insert("type".into(), "object".into());
    }
    // In the base an enabled rule must be complete; the merged form of overrides cannot be expressed in the schema.
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

/// A rule that is disabled or has all required keys.
fn complete(rule: &KeySpec) -> Value {
    let ValueKind::Table(parts) = rule.kind else { return reference_to(rule) };
    let keys: Vec<KeySpec> = parts.concat();
    let names = |need| keys.iter().filter(move |key| key.need == need).map(|key| key.name).collect::<Vec<_>>();
    let (required, one) = (names(Need::InForce), names(Need::OneInForce));
    let mut alternatives = vec![json!({ "required": ["enabled"], "properties": { "enabled": { "const": false } } })];
    if one.is_empty() {
        alternatives.push(json!({ "required": required }));
    }
    for key in &one {
        let others: Vec<_> =
            one.iter().filter(|other| *other != key).map(|other| json!({ "required": [other] })).collect();
        alternatives.push(json!({ "required": [key], "not": { "anyOf": others } }));
    }
    if required.is_empty() && one.is_empty() {
        return reference_to(rule);
    }
    json!({ "$ref": format!("#/$defs/{}", rule.name), "type": "object", "anyOf": alternatives })
}

fn schema_of_key(key: &KeySpec) -> Value {
    let mut schema = schema_of(&key.kind);
    let default = match key.absent {
        Absent::Nothing => String::new(),
        Absent::Default(text) | Absent::RuleDefault(text) | Absent::Described(text) => format!("; default: {text}"),
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
        ValueKind::Either(form, parts) => {
            json!({ "anyOf": [{ "type": "string", "pattern": form.pattern }, table(parts)] })
        }
    }
}

fn from_a_file() -> Value {
    let properties = json!({ "file": { "type": "string", "minLength": 1 } });
    json!({ "type": "object", "properties": properties, "required": ["file"], "additionalProperties": false })
}

fn table(parts: &[&[KeySpec]]) -> Value {
    let keys: Vec<KeySpec> = parts.concat();
    let properties: Map<String, Value> = keys.iter().map(|key| (key.name.into(), schema_of_key(key))).collect();
    let required: Vec<_> = keys.iter().filter(|key| key.need == Need::Required).map(|key| key.name).collect();
    let mut schema = json!({ "properties": properties, "additionalProperties": false });
    if required.is_empty() {
        schema["type"] = json!(["object", "null"]);
    } else {
        schema["type"] = json!("object");
        schema["required"] = json!(required);
    }
    schema
}

/// Fails unless the file `name` in `docs` equals `text`; with `UPDATE_DOCS` set, writes it first.
fn assert_document(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, text).expect("a writable docs folder");
    }
    let found = std::fs::read_to_string(file).unwrap_or_default();
    assert!(found == text, "docs/{name} is stale: UPDATE_DOCS=1 cargo test --test outputs docs");
}

#[test]
fn the_reference_in_docs_is_up_to_date() {
    assert_document("configuration.md", &reference());
}

#[test]
fn the_norms_schema_in_docs_is_up_to_date() {
    assert_document("schema/norms.schema.json", &format!("{:#}\n", schema()));
}

#[test]
fn the_event_formats_list_every_encoding_and_every_repair() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/events.md")).expect("the page");
    let names = Encoding::ALL.map(Encoding::name).into_iter().chain(Repair::ALL.map(Repair::name));
    for name in names {
        assert!(page.contains(&format!("\n| `{name}` |")), "docs/events.md lacks `{name}`");
    }
    for encoding in Encoding::ALL {
        assert!(page.contains(encoding.content_type()), "docs/events.md lacks `{}`", encoding.content_type());
    }
}

#[test]
fn every_key_has_a_help_text() {
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
    CONFIG.iter().chain(keys::NORMS.iter().copied().flatten()).for_each(visit);
}
