//! The imports between the files of `src`, and the rules about them: no file imports itself through others, and within a
//! module the parts use each other only downward, as the tables in `docs/architecture.md` list them.
//!
//! An import is a path to an item of another file, in a `use` or in the code. Declaring a module is none.

use crate::{code, is_name, without_tests};
use std::collections::{BTreeMap, BTreeSet};

/// The beginning of the header of a table of parts: the module follows.
const HEADER: &str = "| part of ";

/// The files that each file imports, by their paths from `src`.
pub(crate) type Imports<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// The parts of a module, from the bottom up.
#[derive(Debug)]
pub(crate) struct Parts {
    module: String,
    /// `x.rs` is that file, `x/` the folder, `x` both.
    parts: Vec<String>,
}

/// The tables of parts in a page.
pub(crate) fn parts(page: &str) -> Vec<Parts> {
    let name = |line: &str| line.split('`').nth(1).unwrap_or_default().to_owned();
    let mut lines = page.lines();
    let mut tables = Vec::new();
    while let Some(header) = lines.find(|line| line.starts_with(HEADER)) {
        let rows = lines.by_ref().skip(1).take_while(|line| line.starts_with('|'));
        tables.push(Parts { module: name(header), parts: rows.map(name).collect() });
    }
    tables
}

/// The imports of every file.
pub(crate) fn imports(files: &BTreeMap<String, String>) -> Imports<'_> {
    files.iter().map(|(path, text)| (path.as_str(), imports_of(path, text, files))).collect()
}

fn imports_of<'a>(path: &str, text: &str, files: &'a BTreeMap<String, String>) -> BTreeSet<&'a str> {
    let own = module(path);
    let code = code(text);
    let code = without_tests(&code);
    let mut found = BTreeSet::new();
    for path in paths(code) {
        let (first, mut rest) = (path[0], &path[1..]);
        let mut base = match first {
            "crate" | "funnelwatch" => Vec::new(),
            "self" => own.clone(),
            "super" => own[..own.len().saturating_sub(1)].to_vec(),
            // The path of a module that this file declares.
            _ => [own.as_slice(), &[first]].concat(),
        };
        while let Some((_, after)) = rest.split_first().filter(|(name, _)| **name == "super") {
            base.pop();
            rest = after;
        }
        let full = [base.as_slice(), rest].concat();
        let candidates = (1..=full.len()).rev().map(|length| format!("{}.rs", full[..length].join("/")));
        found.extend(candidates.filter_map(|file| files.get_key_value(&file)).map(|(file, _)| file.as_str()).next());
    }
    found.remove(path);
    found
}

/// The path of the module in a file.
fn module(path: &str) -> Vec<&str> {
    match path {
        "lib.rs" | "main.rs" => Vec::new(),
        path => path.trim_end_matches(".rs").split('/').collect(),
    }
}

/// Every path in the code, with the braces of `use` expanded.
fn paths(code: &str) -> Vec<Vec<&str>> {
    let mut paths = Vec::new();
    let mut rest = code;
    while let Some(start) = rest.find(is_name) {
        let (before, from) = rest.split_at(start);
        let word = from.split(|letter| !is_name(letter)).next().unwrap_or_default();
        let continues = before.ends_with(['.', '\'']) || before.ends_with("::");
        if word == "use" && !continues {
            let statement = from.split(';').next().unwrap_or_default();
            tree(statement[word.len()..].trim(), &[], &mut paths);
            rest = &from[statement.len()..];
            continue;
        }
        let length = from.find(|letter| !is_name(letter) && letter != ':').unwrap_or(from.len());
        let path: Vec<&str> = from[..length].split("::").collect();
        if path.len() > 1 && !continues {
            paths.push(path);
        }
        rest = &from[length.max(word.len())..];
    }
    paths
}

/// The paths of a `use` tree below `prefix`.
fn tree<'a>(tree: &'a str, prefix: &[&'a str], paths: &mut Vec<Vec<&'a str>>) {
    let (path, group) = tree.split_once('{').map_or((tree, None), |(path, group)| (path, Some(group)));
    let names = path.split("::").map(|name| name.split_whitespace().next().unwrap_or_default());
    let path = [prefix, &names.filter(|name| !name.is_empty()).collect::<Vec<_>>()].concat();
    let Some(group) = group.and_then(|group| group.trim_end().strip_suffix('}')) else {
        paths.extend(Some(path).filter(|path| !path.is_empty()));
        return;
    };
    let (mut level, mut start) = (0, 0);
    for (at, letter) in group.char_indices().chain([(group.len(), ',')]) {
        match letter {
            '{' => level += 1,
            '}' => level -= 1,
            ',' if level == 0 => {
                self::tree(group[start..at].trim(), &path, paths);
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// The cycles: one line for each group of files of which every one imports every other, directly or through others.
pub(crate) fn cycles(imports: &Imports<'_>) -> Vec<String> {
    let reached: BTreeMap<_, _> = imports.keys().map(|file| (*file, reachable(file, imports))).collect();
    let groups: BTreeSet<Vec<&str>> = reached
        .iter()
        .filter(|(file, others)| others.contains(*file))
        .map(|(file, others)| others.iter().copied().filter(|other| reached[other].contains(file)).collect())
        .collect();
    groups.iter().map(|files| format!("import cycle: {}", files.join(", "))).collect()
}

fn reachable<'a>(from: &str, imports: &Imports<'a>) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = imports[from].iter().copied().collect();
    while let Some(file) = open.pop() {
        if reached.insert(file) {
            open.extend(&imports[file]);
        }
    }
    reached
}

impl Parts {
    /// The module whose parts these are.
    pub(crate) fn module(&self) -> &str {
        &self.module
    }

    /// The parts, from the bottom up.
    pub(crate) fn names(&self) -> &[String] {
        &self.parts
    }

    /// What contradicts the table: a file in no part, and an import from a part to a higher one.
    pub(crate) fn problems(&self, imports: &Imports<'_>) -> Vec<String> {
        let folder = format!("{}/", self.module);
        let height = |file: &str| {
            let inside = file.strip_prefix(&folder)?;
            let holds = |part: &&String| match part.strip_suffix('/') {
                Some(_) => inside.starts_with(part.as_str()),
                None if part.ends_with(".rs") => inside == **part,
                None => inside.trim_end_matches(".rs").split('/').next() == Some(part),
            };
            let found = self.parts.iter().enumerate().filter(|(_, part)| holds(part));
            found.max_by_key(|(_, part)| part.len()).map(|(height, _)| height)
        };
        let files = imports.keys().filter(|file| file.starts_with(&folder));
        let lost = files.clone().filter(|file| height(file).is_none());
        let lost = lost.map(|file| format!("{file}: the table of `{}` has no part for it", self.module));
        let upward = files.flat_map(|file| imports[file].iter().map(move |other| (file, other)));
        let upward = upward.filter(|(file, other)| height(file) < height(other));
        lost.chain(upward.map(|(file, other)| format!("{file}: imports {other}, which is above it"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(texts: &[(&str, &str)]) -> BTreeMap<String, String> {
        texts.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn every_form_of_an_import_is_found() {
        let names = ["x.rs", "x/a.rs", "x/a/deep.rs", "x/b.rs", "y.rs"];
        for (text, found) in [
            ("use crate::y;", vec!["y.rs"]),
            ("use crate::x::a::{deep::{self, T}, U};", vec!["x/a.rs", "x/a/deep.rs"]),
            ("pub(crate) use crate::{\n    x::{a::T as Other},\n    y,\n};", vec!["x/a.rs", "y.rs"]),
            ("use super::{super::y::F, a};", vec!["x/a.rs", "y.rs"]),
            ("fn f(g: crate::x::a::T) -> super::a::deep::U { g.into() }", vec!["x/a.rs", "x/a/deep.rs"]),
            ("mod inner; use std::fmt; // crate::y::F\nconst A: &str = \"crate::y::F\";", vec![]),
            ("use crate::x::b::own;\n#[cfg(test)]\nmod tests {\n    use crate::y::F;\n}", vec![]),
        ] {
            let mut texts: Vec<(&str, &str)> = names.iter().map(|name| (*name, "")).collect();
            texts[3].1 = text;
            assert_eq!(imports(&files(&texts))["x/b.rs"], found.into_iter().collect(), "{text}");
        }
        let parent = files(&[("x.rs", "mod a;\npub use a::T;"), ("x/a.rs", "use super::U;")]);
        assert_eq!(cycles(&imports(&parent)), ["import cycle: x.rs, x/a.rs"]);
    }

    #[test]
    fn an_import_upward_is_found() {
        let page = "| part of `x` | owns |\n| --- | --- |\n| `id.rs` | ids |\n| `low` | |\n| `id/` | rules |\n\ntext";
        let sound = [
            ("x.rs", "mod id; mod low;"),
            ("x/id.rs", "mod rule;"),
            ("x/id/rule.rs", "use crate::x::{id::Id, low::deep::F};"),
            ("x/low.rs", "use crate::x::id::Id;"),
            ("x/low/deep.rs", "use crate::x::low::G;"),
        ];
        let problems = |texts: &[(&str, &str)]| parts(page)[0].problems(&imports(&files(texts)));
        assert_eq!(problems(&sound), Vec::<String>::new());
        let mut broken = sound.to_vec();
        broken[3].1 = "use crate::x::id::rule::R;";
        broken.push(("x/new.rs", ""));
        assert_eq!(
            problems(&broken),
            ["x/new.rs: the table of `x` has no part for it", "x/low.rs: imports x/id/rule.rs, which is above it"]
        );
    }
}
