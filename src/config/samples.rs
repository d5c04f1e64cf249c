//! Documents for the tests of the configuration.
//!
//! In a list of documents, `#! …` is the problem expected on the line above it (`#!   …` continues it), and `=====`
//! separates documents.

/// The documents of a list, each with its expected problems as `LINE: …`.
pub(super) fn documents(list: &str) -> Vec<(&str, Vec<String>)> {
    list.split("=====\n").map(|document| (document, expected(document))).collect()
}

fn expected(document: &str) -> Vec<String> {
    let (mut line, mut expected) = (0, Vec::<String>::new());
    for (index, text) in document.lines().enumerate() {
        match (text.strip_prefix("#! "), expected.last_mut()) {
            (Some(text), Some(last)) if text.starts_with(' ') => {
                last.push(' ');
                last.push_str(text.trim_start());
            }
            (Some(text), _) => expected.push(format!("{line}: {text}")),
            (None, _) => line = index + 1,
        }
    }
    expected
}

/// A norms document that uses every key.
pub(super) const EVERYTHING: &str = include_str!("../../tests/config/everything.yaml");

pub(super) const NORMS_INVALID: &str = include_str!("../../tests/config/norms-invalid.yaml");

/// Norms that are valid or invalid in their merged form, base and overrides together.
pub(super) const LAYERS: &str = include_str!("../../tests/config/norms-layers.yaml");

/// Norms documents that are valid but suspicious.
pub(super) const NORMS_NOTED: &str = include_str!("../../tests/config/norms-noted.yaml");

pub(super) const CONFIG_INVALID: &str = include_str!("../../tests/config/config-invalid.yaml");
