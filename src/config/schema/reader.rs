//! Reads a YAML document against its declared keys and returns typed values with line numbers.
//!
//! Aliases and merge keys (`<<`) are resolved; the parser limits how many nodes aliases can produce.
//!
//! Reports all problems of a document at once, each with its line, key path, and the expected and found values. Rejects
//! unknown keys, duplicate keys, tags, several documents in a file, quoted numbers and values out of range. A rejected
//! value counts as set, so that one mistake is reported once.
//!
//! **Secrets** never appear in a problem.

use super::env::{Env, reason};
use super::key::{Absent, Form, KeySpec, Need, ValueKind};
use super::problem::Problem;
use super::scalar::{Source, describe_node};
use super::similar::nearest;
use super::text::{DUPLICATE, excerpt, join};
use super::value::{Data, Entry, Table, Value};
use saphyr::{LoadableYamlNode, MarkedYamlOwned, ScalarOwned, ScanError, YamlDataOwned};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(crate) struct Reader<'a> {
    file: &'a str,
    text: Cow<'a, str>,
    /// The last line: the parser reports what is missing at the end of a document on the line after it.
    last: usize,
    env: &'a dyn Env,
    /// Errors.
    pub(crate) problems: Vec<Problem>,
    /// Notes: valid but suspicious settings.
    pub(crate) notes: Vec<Problem>,
    /// The files that values were read from.
    pub(crate) files: Vec<PathBuf>,
}

impl<'a> Reader<'a> {
    /// A reader of the document `text`; `file` is its name in problems.
    pub(crate) fn new(file: &'a str, text: &'a str, env: &'a dyn Env) -> Self {
        let text = Cow::Borrowed(text.strip_prefix('\u{feff}').unwrap_or(text));
        let last = text.replace("\r\n", "\n").split(['\n', '\r']).count();
        Self { file, text, last, env, problems: Vec::new(), notes: Vec::new(), files: Vec::new() }
    }

    /// Reads the document as a mapping with the declared keys; an empty document is an empty mapping.
    pub(crate) fn document(&mut self, keys: &'static [&'static [KeySpec]]) -> Table {
        if let Some(line) = self.text.lines().position(is_too_deep) {
            self.problem(line + 1, "", format!("nested too deeply: the line starts after column {MAX_INDENT}"));
            return Table::default();
        }
        let documents = match load(&mut self.text) {
            Ok(documents) => documents,
            Err(error) => {
                let text = format!("invalid YAML: {}", error.info());
                self.problem(error.marker().line(), "", text);
                return Table::default();
            }
        };
        if let Some(second) = documents.get(1) {
            self.problem(second.span.start.line(), "", "expected a single YAML document, found a second one");
        }
        let empty = MarkedYamlOwned::value_from_str("~");
        match self.value(documents.first().unwrap_or(&empty), &ValueKind::Table(keys), String::new(), 1).data {
            Data::Table(table) => table,
            _ => Table::default(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        self.file
    }

    /// The environment that the document is read in.
    pub(crate) fn env(&self) -> &'a dyn Env {
        self.env
    }

    /// Adds the problems, notes and files of another document, read from `path`.
    pub(crate) fn merge(&mut self, other: Reader<'_>, path: PathBuf) {
        self.problems.extend(other.problems);
        self.notes.extend(other.notes);
        self.files.push(path);
        self.files.extend(other.files);
    }

    /// Reports an error.
    pub(crate) fn problem(&mut self, line: usize, path: impl Into<String>, text: impl Into<String>) {
        let line = line.min(self.last);
        self.problems.push(Problem { file: self.file.into(), line, path: path.into(), text: text.into() });
    }

    /// Reports an error of a key, whether it is set or absent.
    pub(crate) fn problem_of(&mut self, table: &Table, key: &str, text: impl Into<String>) {
        self.problem(table.line_of(key), table.path_of(key), text);
    }

    /// Reports a valid but suspicious setting of a key.
    pub(crate) fn note_of(&mut self, table: &Table, key: &str, text: impl Into<String>) {
        self.note(table.line_of(key), table.path_of(key), text);
    }

    /// Reports a valid but suspicious setting.
    pub(crate) fn note(&mut self, line: usize, path: impl Into<String>, text: impl Into<String>) {
        let line = line.min(self.last);
        self.notes.push(Problem { file: self.file.into(), line, path: path.into(), text: text.into() });
    }

    fn source(&self) -> Source<'_> {
        Source { text: &self.text, env: self.env }
    }

    /// Resolves a path relative to the document.
    pub(crate) fn locate(&self, path: &str) -> PathBuf {
        Path::new(self.file).parent().unwrap_or(Path::new("")).join(path)
    }

    /// Reads a node; `line` is the line of its key.
    fn value(&mut self, node: &MarkedYamlOwned, kind: &ValueKind, path: String, line: usize) -> Value {
        use YamlDataOwned::{Mapping, Sequence, Value as Scalar};
        let value_line = match &node.data {
            Scalar(scalar) if !matches!(scalar, ScalarOwned::Null) => node.span.start.line().max(line),
            _ => line,
        };
        let is_null = matches!(&node.data, Scalar(ScalarOwned::Null));
        let data = match (kind, &node.data) {
            (ValueKind::Table(keys) | ValueKind::Either(_, keys), Mapping(_)) => {
                Data::Table(self.table(node, keys, path, line))
            }
            (ValueKind::Table(keys), _) if is_null => Data::Table(self.table(node, keys, path, line)),
            (ValueKind::Map(form, of), Mapping(_)) => Data::Map(self.map(node, form, of, &path)),
            (ValueKind::Map(..), _) if is_null => Data::Map(Vec::new()),
            (ValueKind::List(_, 0), _) if is_null => Data::List(Vec::new()),
            (ValueKind::List(of, least), Sequence(nodes)) if nodes.len() >= *least => {
                let read = |(index, node): (usize, &MarkedYamlOwned)| {
                    self.value(node, of, format!("{path}[{index}]"), node.span.start.line())
                };
                Data::List(nodes.iter().enumerate().map(read).collect())
            }
            (ValueKind::Secret | ValueKind::Property, Mapping(_)) => self.secret_from_file(node, path, line),
            (kind, Scalar(scalar)) => match self.source().read(scalar, node, kind) {
                Ok(data) => data,
                Err(text) => {
                    self.problem(value_line, path, text);
                    Data::Bad
                }
            },
            _ => {
                self.problem(
                    value_line,
                    path,
                    format!("expected {}, found {}", kind.expected(), describe_node(node, false)),
                );
                Data::Bad
            }
        };
        Value { line: value_line, data }
    }

    /// The entries of a mapping, then those merged into it (`<<`) that it does not set itself. Reports keys that are not
    /// strings and duplicate keys.
    fn entries<'n>(&mut self, node: &'n MarkedYamlOwned, path: &str) -> Vec<NamedNode<'n>> {
        let YamlDataOwned::Mapping(mapping) = &node.data else { return Vec::new() };
        let (mut entries, mut lines, mut merged) = (Vec::new(), BTreeMap::new(), Vec::new());
        for (key, value) in mapping {
            let line = key.span.start.line();
            let Some(name) = self.source().id_text(key) else {
                self.problem(line, path, format!("expected a string as key, found {}", describe_node(key, false)));
                continue;
            };
            let name = name.replace(DUPLICATE, "");
            if let Some(first) = lines.get(&name) {
                let text = format!("duplicate key, first defined on line {first}");
                self.problem(line, join(path, &name), text);
                continue;
            }
            lines.insert(name.clone(), line);
            if name == MERGE && self.source().is_plain(key) {
                merged = self.merged_entries(value, path, line);
            } else {
                entries.push((name, line, value));
            }
        }
        let is_new = |(name, line, _): &NamedNode<'n>| lines.insert(name.clone(), *line).is_none();
        entries.extend(merged.into_iter().filter(is_new));
        entries
    }

    /// The entries of the mapping or mappings to merge; of equal names, the first applies.
    fn merged_entries<'n>(&mut self, node: &'n MarkedYamlOwned, path: &str, line: usize) -> Vec<NamedNode<'n>> {
        let mappings = match &node.data {
            YamlDataOwned::Sequence(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let mut entries = Vec::new();
        for mapping in mappings {
            if matches!(mapping.data, YamlDataOwned::Mapping(_)) {
                entries.extend(self.entries(mapping, path));
            } else {
                let found = describe_node(mapping, true);
                let text = format!("expected a mapping to merge, or a list of mappings, found {found}");
                self.problem(line, join(path, MERGE), text);
            }
        }
        entries
    }

    fn map(&mut self, node: &MarkedYamlOwned, form: &Form, of: &ValueKind, path: &str) -> Vec<(String, Value)> {
        let mut values = Vec::new();
        for (name, line, node) in self.entries(node, path) {
            let path = join(path, &name);
            if !(form.fits)(&name) {
                self.problem(line, path, format!("expected {}, found `{}`", form.expected, excerpt(&name)));
                continue;
            }
            values.push((name, self.value(node, of, path, line)));
        }
        values
    }

    fn table(&mut self, node: &MarkedYamlOwned, keys: &[&'static [KeySpec]], path: String, line: usize) -> Table {
        let keys = || keys.iter().copied().flatten();
        let mut table = Table { line, path, entries: BTreeMap::new() };
        for (name, line, node) in self.entries(node, &table.path) {
            let path = join(&table.path, &name);
            match keys().find(|key| key.name == name) {
                Some(key) => {
                    let value = self.value(node, &key.kind, path, line);
                    table.entries.insert(key.name, Entry { line, explicit: true, value });
                }
                None => {
                    let known: Vec<_> = keys().map(|key| key.name).collect();
                    let text = match nearest(&name, &known) {
                        Some(near) => {
                            // It counts as set, so that it is not also reported as missing.
                            let value = Value { line, data: Data::Bad };
                            table.entries.entry(near).or_insert(Entry { line, explicit: true, value });
                            format!("unknown key; did you mean `{near}`?")
                        }
                        None => format!("unknown key; expected one of {}", known.join(", ")),
                    };
                    self.problem(line, path, text);
                }
            }
        }
        for key in keys().filter(|key| !table.entries.contains_key(key.name)).collect::<Vec<_>>() {
            match key.absent {
                _ if key.need == Need::Required => {
                    self.problem(line, table.path_of(key.name), format!("required key is missing: {}", key.help));
                }
                Absent::Default(default) => {
                    let value = self.default(default, &key.kind, table.path_of(key.name), line);
                    table.entries.insert(key.name, Entry { line, explicit: false, value });
                }
                _ => {}
            }
        }
        table
    }

    /// Reads a declared default as if the document contained it.
    fn default(&mut self, default: &str, kind: &ValueKind, path: String, line: usize) -> Value {
        let mut text = Cow::Borrowed(default);
        let mut value = match load(&mut text).ok().as_deref() {
            Some([node, ..]) => self.value(node, kind, path, line),
            _ => Value { line, data: Data::Bad },
        };
        value.line = line;
        value
    }

    /// `{file: PATH}`: the text of the file, without trailing line ends.
    fn secret_from_file(&mut self, node: &MarkedYamlOwned, path: String, line: usize) -> Data {
        const FILE: &[&[KeySpec]] = &[&[KeySpec::new("file", ValueKind::Text, "the file with the text").required()]];
        // A secret that YAML reads as a mapping: its keys are not shown.
        let is_file = |key| {
            let name = self.source().id_text(key).unwrap_or_default().replace(DUPLICATE, "");
            name == MERGE || nearest(&name, &["file"]).is_some()
        };
        if let YamlDataOwned::Mapping(mapping) = &node.data
            && !mapping.iter().all(|(key, _)| is_file(key))
        {
            self.problem(line, path, format!("expected {}, found another mapping", ValueKind::Secret.expected()));
            return Data::Bad;
        }
        let table = self.table(node, FILE, path.clone(), line);
        let Some(name) = table.text("file") else { return Data::Bad };
        self.secret_in(&table, "file", name).map_or(Data::Bad, |text| Data::Text(text, true))
    }

    /// The text of the file `name`, which a key names, without trailing line ends.
    pub(crate) fn secret_in(&mut self, table: &Table, key: &str, name: &str) -> Option<String> {
        let file = self.locate(name);
        match self.env.secret(&file) {
            Ok(text) => {
                self.files.push(file.clone());
                let text = text.trim_end_matches(['\r', '\n']);
                if text.is_empty() {
                    self.problem_of(table, key, format!("file {name} is empty"));
                }
                if self.env.is_public(&file) {
                    self.note_of(table, key, format!("every user of this system can read {name}"));
                }
                Some(text.into())
            }
            Err(error) => {
                let text = format!("cannot read {name}: {}", reason(&error));
                self.problem_of(table, key, text);
                None
            }
        }
    }
}

/// A key, its line and its value.
type NamedNode<'n> = (String, usize, &'n MarkedYamlOwned);

/// The key whose mappings are merged.
const MERGE: &str = "<<";

/// Whether a line opens so many levels that the recursive parser could overflow the stack.
fn is_too_deep(line: &str) -> bool {
    line.len() - line.trim_start_matches([' ', '\t', '-', '?', ':']).len() > MAX_INDENT
}

/// The last column at which a line may start.
const MAX_INDENT: usize = 200;

/// Parses `text`. The parser stops at the first duplicate key, so duplicates get a mark and parsing is retried.
fn load(text: &mut Cow<'_, str>) -> Result<Vec<MarkedYamlOwned>, ScanError> {
    let mut last = usize::MAX;
    for marks in 1..64 {
        let error = match MarkedYamlOwned::load_from_str(text) {
            Err(error) if error.info().starts_with("duplicated key") && error.marker().index() != last => error,
            result => return result,
        };
        last = error.marker().index();
        // After the first character of the key, which may be a quote.
        let Some((at, _)) = text.char_indices().nth(last + 1) else { return Err(error) };
        text.to_mut().insert_str(at, &DUPLICATE.to_string().repeat(marks));
    }
    MarkedYamlOwned::load_from_str(text)
}

#[cfg(test)]
mod tests {
    use super::super::env::fake::FakeEnv;
    use super::super::key::ANY;
    use super::super::problem::sorted;
    use super::*;
    use crate::domain::time::{Length, Span};
    use std::collections::BTreeMap;

    const KEYS: &[KeySpec] = &[
        KeySpec::new("flag", ValueKind::Flag, "a flag"),
        KeySpec::new("count", ValueKind::Count(1, 100), "a count"),
        KeySpec::new("share", ValueKind::Number(0.0, 1.0), "a share"),
        KeySpec::new("quantile", ValueKind::Between(0.0, 1.0), "a quantile"),
        KeySpec::new("length", ValueKind::Length, "a length"),
        KeySpec::new("span", ValueKind::Span(Span(1), Span::HOUR), "a span"),
        KeySpec::new("size", ValueKind::Bytes(1, 1 << 20), "a size"),
        KeySpec::new("text", ValueKind::Text, "a text"),
        KeySpec::new("name", ValueKind::Name(|| vec!["warning", "critical"]), "a name"),
        KeySpec::new("secret", ValueKind::Secret, "a secret"),
        KeySpec::new("property", ValueKind::Property, "a property"),
        KeySpec::new("list", ValueKind::List(&ValueKind::Count(1, 9), 1), "a list"),
        KeySpec::new("map", ValueKind::Map(ANY, &ValueKind::Flag), "a map"),
        KeySpec::new("inner", ValueKind::Table(&[INNER]), "an inner table"),
    ];
    const INNER: &[KeySpec] = &[
        KeySpec::new("id", ValueKind::Text, "the id").required(),
        KeySpec::new("within", ValueKind::Length, "the deadline").default("15m"),
    ];

    fn fake_env() -> FakeEnv {
        FakeEnv {
            variables: BTreeMap::from([("HOST", "pod-3"), ("EMPTY", "")]),
            files: BTreeMap::from([("etc/key".into(), "s3cret\n"), ("etc/nothing".into(), "\n")]),
            ..FakeEnv::default()
        }
    }

    fn read(text: &str) -> (Table, Vec<String>) {
        let env = fake_env();
        let mut reader = Reader::new("etc/test.yaml", text, &env);
        let table = reader.document(&[KEYS]);
        let strip = |problem: &Problem| problem.to_string().replace("etc/test.yaml:", "");
        (table, sorted(reader.problems).iter().map(strip).collect())
    }

    #[test]
    fn values_of_every_kind_are_read() {
        let text = "flag: true\ncount: 0x10\nshare: 1\nquantile: .5\nlength: 7d\nspan: 100ms\nsize: 256KiB\ntext: 142\n\
                    name: critical\nsecret: {file: key}\nproperty: 0.5\nlist: [1, 2]\nmap: {1: true, b: false}\n\
                    inner: {id: \"007\"}\n";
        let (table, problems) = read(text);
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!((table.get("flag"), table.get("count")), (Some(true), Some(16_i64)));
        assert_eq!((table.get("share"), table.get("quantile")), (Some(1.0), Some(0.5)));
        assert_eq!(table.get("length"), Some(Length { span: Span(7 * Span::DAY.0), in_days: true }));
        assert_eq!(table.get("span"), Some(Span(100)));
        assert_eq!(table.get("size"), Some(262_144_i64));
        assert_eq!((table.text("text"), table.text("name")), (Some("142"), Some("critical")));
        assert!(matches!(&table.value("secret").expect("given").data, Data::Text(text, true) if text == "s3cret"));
        assert_eq!(table.text("property"), Some("0.5"));
        assert_eq!(table.list("list").len(), 2);
        assert_eq!(table.map("map").iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["1", "b"]);
        let inner = table.table("inner").expect("given");
        assert_eq!((inner.text("id"), inner.line, inner.path.as_str()), (Some("007"), 14, "inner"));
        assert_eq!(inner.get("within"), Some(Span(15 * Span::MINUTE.0)));
        assert!(inner.is_set("id") && !inner.is_set("within"));
    }

    #[test]
    fn problems_have_line_path_and_message() {
        let length = "expected a duration such as 90s, 15m, 4h or 7d, found";
        for (text, expected) in [
            ("flag: \"true\"", "1: flag: expected true or false, found string `true`; remove the quotes"),
            ("flag: yes", "1: flag: expected true or false, found string `yes`"),
            ("\ncount: 0", "2: count: expected an integer from 1 to 100, found number 0"),
            ("count: 1.5", "1: count: expected an integer from 1 to 100, found number 1.5"),
            ("count: '5'", "1: count: expected an integer from 1 to 100, found string `5`; remove the quotes"),
            ("share: 20", "1: share: expected a number from 0 to 1, found number 20"),
            ("share: .nan", "1: share: expected a number from 0 to 1, found number NaN"),
            ("quantile: 1", "1: quantile: expected a number between 0 and 1, exclusive, found number 1"),
            ("length: 15", &format!("1: length: {length} number 15; the unit is missing")),
            ("length: 15 m", &format!("1: length: {length} string `15 m`")),
            ("length: 1.5h", &format!("1: length: {length} string `1.5h`")),
            ("length: 0s", &format!("1: length: {length} string `0s`")),
            ("length: 90ms", &format!("1: length: {length} string `90ms`")),
            ("length: 9999999999999999999d", &format!("1: length: {length} string `9999999999999999999d`")),
            ("length: 99999999999d", &format!("1: length: {length} string `99999999999d`")),
            ("length:", &format!("1: length: {length} no value")),
            ("length: [1h]", &format!("1: length: {length} a list")),
            ("span: 2h", "1: span: expected a duration from 1ms to 1h, found string `2h`"),
            ("size: 2MiB", "1: size: expected a size from 1B to 1MiB, found string `2MiB`"),
            ("size: 1kb", "1: size: expected a size from 1B to 1MiB, found string `1kb`"),
            ("text: 007", "1: text: expected a string, found number 7; put it in quotes"),
            ("text: 1.10", "1: text: expected a string, found number 1.1; put it in quotes"),
            ("text: true", "1: text: expected a string, found true; put it in quotes"),
            ("text: ''", "1: text: expected a string, found an empty string"),
            (
                "text: ${HOST}",
                "1: text: environment variables are not expanded here; the documentation lists the keys in which they are",
            ),
            ("text: !secret x", "1: text: expected a string, found tag !secret"),
            ("name: warn", "1: name: expected one of warning, critical, found string `warn`; did you mean `warning`?"),
            ("name: x", "1: name: expected one of warning, critical, found string `x`"),
            (
                "property: 00123",
                "1: property: expected a string, optionally with ${NAME}, or {file: PATH}, found a number; put it in \
                 quotes",
            ),
            ("secret: ${NOWHERE}", "1: secret: environment variable NOWHERE is not set"),
            ("secret: ${HOST", "1: secret: unterminated `${`"),
            ("secret: ${A-B}", "1: secret: invalid environment variable name in `${…}`"),
            ("secret: ${EMPTY}", "1: secret: expected a non-empty string"),
            ("secret: {file: gone}", "1: secret.file: cannot read gone: entity not found"),
            ("secret: {file: nothing}", "1: secret.file: file nothing is empty"),
            ("secret:\n  fil: key", "2: secret.fil: unknown key; did you mean `file`?"),
            ("list: []", "1: list: expected a non-empty list of integers from 1 to 9, found an empty list"),
            ("list:\n  - 1\n  - 10", "3: list[1]: expected an integer from 1 to 9, found number 10"),
            ("map: [a]", "1: map: expected a mapping from a name to true or false, found a list"),
            ("map:\n  a: 1", "2: map.a: expected true or false, found number 1"),
            ("map: {'': true}", "1: map.: expected a name, found ``"),
            ("map: {1.5: true}", "1: map: expected a string as key, found number 1.5"),
            ("inner:\n", "1: inner.id: required key is missing: the id"),
            ("inner: {id: a, withn: 5m}", "1: inner.withn: unknown key; did you mean `within`?"),
            ("inner: {id: a, zzz: 5m}", "1: inner.zzz: unknown key; expected one of id, within"),
            ("inner: x", "1: inner: expected a mapping, found string `x`"),
            ("- a", "1: expected a mapping, found a list"),
            ("flag: true\n---\nflag: true", "3: expected a single YAML document, found a second one"),
        ] {
            assert_eq!(read(text).1, [expected], "{text}");
        }
    }

    #[test]
    fn integers_are_accepted_as_ids_verbatim() {
        for text in
            ["text: 142", "text:   142   # so", "{text: 142}", "{text: 142 }", "# ж\r\ntext: 142\r\n", "text:\n  142"]
        {
            let (table, problems) = read(text);
            assert_eq!((table.text("text"), problems), (Some("142"), vec![]), "{text:?}");
        }
        for (text, property) in [("1000", "1000"), ("0.5", "0.5"), ("false", "false"), ("-1", "-1"), ("'007'", "007")] {
            assert_eq!(read(&format!("property: {text} ")).0.text("property"), Some(property));
        }
    }

    #[test]
    fn secrets_do_not_appear_in_problems() {
        for text in ["secret: 12345", "secret: [hunter2]", "property: [hunter2]", "secret: {hunter: 2, file: gone}"] {
            let (_, problems) = read(text);
            assert!(!problems.is_empty(), "{text}");
            assert!(
                problems.iter().all(|problem| !problem.contains("12345") && !problem.contains("hunter2")),
                "{problems:?}"
            );
        }
    }

    #[test]
    fn all_duplicate_keys_are_reported_and_the_first_one_counts() {
        let text = "count: 1\r\nflag: x\r\n'count': 2\r\n\"count\": 3\r\ninner:\r\n  id: ж\r\n  id: b\r\n  id: c\r\n";
        let (table, problems) = read(text);
        assert_eq!(
            problems,
            [
                "2: flag: expected true or false, found string `x`",
                "3: count: duplicate key, first defined on line 1",
                "4: count: duplicate key, first defined on line 1",
                "7: inner.id: duplicate key, first defined on line 6",
                "8: inner.id: duplicate key, first defined on line 6",
            ]
        );
        assert_eq!(table.get("count"), Some(1_i64));
        assert_eq!(table.table("inner").and_then(|inner| inner.text("id")), Some("ж"));
    }

    #[test]
    fn syntax_errors_have_their_line() {
        for (text, line) in [
            ("flag: true\ncount: [1\n", "3: "),
            ("flag: true\r\ncount: [1", "2: "),
            ("flag: 'x\n", ""),
            ("a: b: c", "1: "),
            ("\n- a\nb: c", "3: "),
        ] {
            let (_, problems) = read(text);
            assert_eq!(problems.len(), 1, "{text}");
            assert!(problems[0].starts_with(line) && problems[0].contains("invalid YAML: "), "{problems:?}");
        }
    }

    #[test]
    fn no_problem_is_reported_after_the_last_line() {
        let (_, problems) = read("? a\rb:\n? ");
        assert!(
            problems.iter().any(|problem| problem == "3: expected a string as key, found no value"),
            "{problems:?}"
        );
    }

    #[test]
    fn deep_nesting_is_rejected_before_it_overflows_the_stack() {
        for deep in ["- ".repeat(100_000), "? ".repeat(100_000), format!("\n{}a", " ".repeat(201))] {
            let (_, problems) = read(&deep);
            assert!(
                matches!(&problems[..], [one] if one.ends_with("the line starts after column 200")),
                "{problems:?}"
            );
        }
        let (_, problems) = read(&format!("{}{}", "- ".repeat(100), "[".repeat(100_000)));
        assert!(matches!(&problems[..], [one] if one.contains("invalid YAML")), "{problems:?}");
    }

    #[test]
    fn empty_documents_and_byte_order_marks_are_accepted() {
        for text in ["", "\n# nothing\n", "---\n", "\u{feff}", "\u{feff}flag: true", "{}"] {
            assert_eq!(read(text).1, Vec::<String>::new(), "{text:?}");
        }
    }

    #[test]
    fn aliases_are_resolved() {
        let (table, problems) = read("list: &few [1, 2]\ncount: &one 1\nmap: {a: *one}\ninner: {id: *few}\n");
        assert_eq!(table.list("list").len(), 2);
        assert_eq!(
            problems,
            ["3: map.a: expected true or false, found number 1", "4: inner.id: expected a string, found a list"]
        );
    }

    #[test]
    fn mappings_are_merged_and_explicit_keys_win() {
        let (table, problems) = read(
            "\
map: &base {a: true, b: true, c: true}
inner: {id: x}
list: [1]
",
        );
        assert_eq!((table.map("map").len(), problems), (3, vec![]));
        let names = |text: &str| {
            let (table, problems) = read(text);
            assert_eq!(problems, Vec::<String>::new(), "{text}");
            let entry = |(name, value): &(String, Value)| (name.clone(), matches!(value.data, Data::Flag(true)));
            table.map("map").iter().map(entry).collect::<Vec<_>>()
        };
        let expected =
            |names: &[(&str, bool)]| Vec::from_iter(names.iter().map(|(name, flag)| ((*name).into(), *flag)));
        assert_eq!(names("map: {<<: {a: true, b: true}, b: false}"), expected(&[("b", false), ("a", true)]));
        assert_eq!(names("map: {b: false, <<: {a: true, b: true}}"), expected(&[("b", false), ("a", true)]));
        // Of several mappings the first wins; a merged mapping can itself be merged.
        assert_eq!(
            names("map:\n  <<: [{a: true}, {<<: {c: true, b: true}, b: false, a: false}]\n"),
            expected(&[("a", true), ("b", false), ("c", true)])
        );
        // A quoted key is an ordinary one.
        assert_eq!(names("map: {'<<': true}"), expected(&[("<<", true)]));
    }

    #[test]
    fn merged_keys_are_checked_like_others() {
        let text = "map: &m {a: 1}\ninner: {<<: *m, id: x}\n";
        assert_eq!(
            read(text).1,
            ["1: inner.a: unknown key; expected one of id, within", "1: map.a: expected true or false, found number 1"]
        );
        let (table, problems) = read("secret: {<<: {file: key}}\ninner: {<<: {id: a, within: 5m}}");
        assert_eq!((problems, table.table("inner").map(|inner| inner.is_set("within"))), (vec![], Some(true)));
        for (text, expected) in [
            ("map: {<<: 1}", "1: map.<<: expected a mapping to merge, or a list of mappings, found a number"),
            ("map:\n  <<:\n", "2: map.<<: expected a mapping to merge, or a list of mappings, found no value"),
            (
                "map: {<<: [{a: true}, x]}",
                "1: map.<<: expected a mapping to merge, or a list of mappings, found a string",
            ),
            ("map: {<<: {a: true},\n <<: {b: true}}", "2: map.<<: duplicate key, first defined on line 1"),
            ("map: {<<: {a: true,\n a: true}}", "2: map.a: duplicate key, first defined on line 1"),
        ] {
            assert_eq!(read(text).1, [expected], "{text}");
        }
    }

    #[test]
    fn aliases_that_multiply_are_rejected() {
        let level = |index: u32| format!("  - &l{} {{<<: [{}]}}\n", index + 1, format!("*l{index}, ").repeat(9));
        let text = format!("list:\n  - &l0 {{a: true}}\n{}", (0..9).map(level).collect::<String>());
        let (_, problems) = read(&text);
        assert!(matches!(&problems[..], [one] if one.contains("alias expansion exceeded")), "{problems:?}");
    }

    #[test]
    fn arbitrary_text_does_not_panic() {
        proptest::proptest!(|(text in "[a-z:{}<\\[\\]&*!|>'\"%@`#,\\-? \n\t0-9$\u{e000}ж]{0,60}")| {
            read(&text);
        });
    }
}
