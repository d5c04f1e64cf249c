//! Generates `docs/limits.md`.

use super::{assert_document, write};
use funnelwatch::config::schema::key::{Absent, ValueKind};
use funnelwatch::config::{AtMost, BOUNDS, CONFIG};

const INTRODUCTION: &str = "\
<!-- Generated from src/config/limits.rs by `UPDATE_DOCS=1 cargo test --test outputs docs`; edit it there. -->

# Limits

Everything that an input can make grow has a bound. Beyond it, an event is rejected or a value is shortened or summed up;
no other event, tenant or shard is affected. Bounds with a key are [configured](configuration.md).
";

/// `docs/limits.md`.
fn page() -> String {
    let mut out = String::from(INTRODUCTION);
    for (of, bounds) in BOUNDS {
        write(
            &mut out,
            format!("\n## {of}\n\n| what | at most | key | beyond it | shown by |\n| --- | --- | --- | --- | --- |\n"),
        );
        for bound in *bounds {
            let (at_most, key) = match bound.at_most {
                AtMost::Key(key) => (default(key).to_owned(), format!("`{key}`")),
                AtMost::Fixed(text) => (text.to_owned(), String::new()),
            };
            write(&mut out, format!("| {} | {at_most} | {key} | {} | {} |\n", bound.what, bound.beyond, bound.shown));
        }
    }
    out
}

/// The default of a key.
fn default(path: &str) -> &'static str {
    let (section, name) = path.split_once('.').expect("a key in a section");
    let section = CONFIG.iter().find(|key| key.name == section).expect("a section");
    let ValueKind::Table(parts) = section.kind else { panic!("{path}: no section") };
    match parts.iter().copied().flatten().find(|key| key.name == name).map(|key| key.absent) {
        Some(Absent::Default(text) | Absent::Described(text)) => text,
        other => panic!("{path}: {other:?}"),
    }
}

#[test]
fn the_limits_in_docs_are_up_to_date() {
    assert_document("limits.md", &page());
}
