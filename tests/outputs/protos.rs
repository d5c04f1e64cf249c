//! The numbers and types of all protobuf fields and enum values only grow: what was published in a topic or stored in the
//! state topic must stay readable. `tests/outputs/protos.txt` pins them; `UPDATE_DOCS=1` adds new ones.
//!
//! A field may gain presence (`optional`), which does not change its encoding.
//!
//! Before the first release, layout version 3 of the state replaced the messages of `norms.proto` by the text of the norms
//! document. That is the only removal.

use funnelwatch::domain::figures::statistics::{Quantiles, Ratio};
use funnelwatch::domain::figures::table::TargetFigures;
use funnelwatch::domain::figures::table::{Field, Figure, FigureValue, Kind, NOW, WINDOW};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The fields and enum values of a file, one line each: `state.proto Applied.offset int64 = 3`.
fn fields(file: &str, text: &str) -> BTreeSet<String> {
    let mut fields = BTreeSet::new();
    let mut scopes: Vec<&str> = Vec::new();
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default().trim();
        if let Some(head) = line.strip_suffix('{') {
            scopes.push(head.trim());
        } else if line == "}" {
            scopes.pop();
        } else if let Some((declaration, number)) = line.strip_suffix(';').and_then(|line| line.rsplit_once(" = ")) {
            // A oneof is no part of the wire format; `message A {}` and `enum A {}` are scopes of names.
            let names = scopes.iter().filter_map(|scope| scope.split_once(' ')).filter(|(kind, _)| *kind != "oneof");
            let path: Vec<&str> = names.map(|(_, name)| name).collect();
            let (kind, name) = declaration.rsplit_once(' ').unwrap_or(("value", declaration));
            if !path.is_empty() {
                fields.insert(format!("{file} {}.{name} {kind} = {number}", path.join(".")));
            }
        }
    }
    assert!(scopes.is_empty(), "{file}: {scopes:?}");
    fields
}

#[test]
fn fields_only_grow() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(root.join("proto/funnelwatch/v1")).expect("the protos") {
        let path = entry.expect("the protos").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        found.extend(fields(&name, &fs::read_to_string(&path).expect("a proto")));
    }
    let path = root.join("tests/outputs/protos.txt");
    let pinned: BTreeSet<String> = fs::read_to_string(&path).unwrap_or_default().lines().map(str::to_owned).collect();
    let on_the_wire = |lines: &BTreeSet<String>| -> BTreeSet<String> {
        lines.iter().map(|line| line.replacen(" optional ", " ", 1)).collect()
    };
    let removed: Vec<_> = on_the_wire(&pinned).difference(&on_the_wire(&found)).cloned().collect();
    assert!(removed.is_empty(), "removed, renumbered or of another type: {removed:#?}");
    let added: Vec<_> = found.difference(&pinned).collect();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let lines: Vec<&str> = found.iter().map(String::as_str).collect();
        fs::write(&path, lines.join("\n") + "\n").expect("the file is written");
    } else {
        assert!(added.is_empty(), "not pinned yet, UPDATE_DOCS=1 adds them: {added:#?}");
    }
}

/// The fields that the table of figures requires: messages with their fields. The proto file determines the message of a
/// group.
fn fields_of_figures<F: Default>(table: &[Figure<F>], found: &BTreeSet<String>, into: &mut BTreeSet<String>) {
    for (figure, part) in table.iter().flat_map(|figure| figure.values.iter().map(move |part| (figure, part))) {
        let [groups @ .., (key, tag)] = part.path else { continue };
        let mut message = "MetricRow";
        for (group, tag) in groups {
            let line = found.iter().find_map(|line| line.strip_prefix(&format!("alert.proto MetricRow.{group} ")));
            message = line.and_then(|line| line.split(' ').next()).unwrap_or_else(|| panic!("no message for {group}"));
            into.insert(format!("alert.proto MetricRow.{group} {message} = {tag}"));
        }
        let scalar = scalar(&(part.value)(&F::default()));
        let kind = match (figure.labels.len() - part.labels.len(), figure.kind) {
            (0, Kind::Share(..)) => "Ratio",
            (0, Kind::Lags) => "Quantiles",
            (0, Kind::Plain(_)) if *key == "targets" => "map<string, Target>",
            (0, Kind::Plain(_)) => scalar,
            (1, Kind::Plain(_)) => "map<string, int64>",
            (2, Kind::Plain(_)) => "map<string, StageCounts>",
            (2, Kind::Share(..)) => "map<string, StageRatios>",
            other => panic!("{key}: no message for {other:?}"),
        };
        into.insert(format!("alert.proto {message}.{key} {kind} = {tag}"));
    }
}

fn scalar(value: &FigureValue<'_>) -> &'static str {
    match value {
        FigureValue::Number(_) => "double",
        FigureValue::Optional(_) => "optional double",
        FigureValue::Flag(_) => "bool",
        _ => "int64",
    }
}

#[test]
fn metric_rows_have_the_fields_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/funnelwatch/v1/alert.proto");
    let found = fields("alert.proto", &fs::read_to_string(path).expect("a proto"));
    let envelope = [
        "tenant_id string = 1",
        "subject string = 2",
        "window string = 3",
        "at google.protobuf.Timestamp = 4",
        "historic bool = 5",
    ];
    let mut wanted: BTreeSet<String> = envelope.map(|field| format!("alert.proto MetricRow.{field}")).into();
    fields_of_figures(WINDOW, &found, &mut wanted);
    fields_of_figures(NOW, &found, &mut wanted);
    let mut statistics = |message, fields: &[Field<'_>]| {
        let line = |(key, tag, value): &Field<'_>| format!("alert.proto {message}.{key} {} = {tag}", scalar(value));
        wanted.extend(fields.iter().map(line));
    };
    statistics("Ratio", &Ratio::default().fields());
    statistics("Quantiles", &Quantiles::default().fields());
    let target = TargetFigures { incomplete: true, ..TargetFigures::default() };
    statistics("Target", &target.fields());
    statistics("MetricRow", &target.closing_fields());
    wanted.insert("alert.proto StageCounts.stages map<string, int64> = 1".into());
    wanted.insert("alert.proto StageRatios.stages map<string, Ratio> = 1".into());
    let message = |line: &str| line.split(['.', ' ']).nth(2).map(str::to_owned);
    let messages: BTreeSet<_> = wanted.iter().map(|line| message(line)).collect();
    let found: BTreeSet<_> = found.into_iter().filter(|line| messages.contains(&message(line))).collect();
    assert_eq!(found, wanted);
}

#[test]
fn a_field_is_its_message_name_type_and_number() {
    let text = "message A {\n  uint32 b = 1;\n  oneof c {\n    B d = 2; // old\n  }\n  message B {\n    \
                optional sint64 e = 1;\n  }\n}\nenum F {\n  F_UNSPECIFIED = 0;\n}\n";
    let expected = ["x A.B.e optional sint64 = 1", "x A.b uint32 = 1", "x A.d B = 2", "x F.F_UNSPECIFIED value = 0"];
    assert_eq!(fields("x", text).into_iter().collect::<Vec<_>>(), expected);
}
