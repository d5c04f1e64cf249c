//! The rules of the source tree that the compiler does not check: which module may use which (read from the table in
//! `docs/architecture.md`), which file may import which (`architecture/imports.rs`), the first line and the length of
//! files, undeclared files, and phrases that are not plain English.
//! Sources are read as text, without comments, literals and the unit tests inside a file.

mod architecture {
    pub(crate) mod imports;
    pub(crate) mod picture;
}

use architecture::{imports, picture};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A row of the table: a top-level module, `src/NAME.rs` and everything in `src/NAME/`.
#[derive(Debug)]
struct Module {
    name: String,
    /// The modules that it may use in addition to itself; `*` is all of them.
    modules: Vec<String>,
    /// The packages that it may use; `*` is all of them.
    packages: Vec<String>,
    /// What it may use of the parts of `std` in [`ENVIRONMENT`].
    std: Vec<String>,
}

/// The header of the table in `docs/architecture.md`.
const HEADER: &str = "| module | may name modules | may use packages | may use of std |";

/// The modules, from the table in `docs/architecture.md`.
fn modules(page: &str) -> Vec<Module> {
    let rows = page.lines().skip_while(|line| *line != HEADER).skip(2).take_while(|line| line.starts_with('|'));
    let cell = |cell: &str| match cell.trim() {
        "-" => Vec::new(),
        list => list.split(", ").map(|name| name.trim_matches('`').to_owned()).collect(),
    };
    rows.map(|row| {
        let cells: Vec<Vec<String>> = row.trim_matches('|').split('|').map(cell).collect();
        let [name, modules, packages, std] = <[_; 4]>::try_from(cells).unwrap_or_else(|_| panic!("{row}"));
        Module { name: name.concat(), modules, packages, std }
    })
    .collect()
}

/// The parts of `std` that access the environment.
const ENVIRONMENT: &[&str] = &["env", "fs", "io", "net", "os", "process", "thread", "time"];

/// Output goes through `io`, so that no line is printed by accident.
const PRINTS: &[&str] = &["print!", "println!", "eprint!", "eprintln!", "dbg!"];

/// No file of `src` is longer.
const MAX_LINES: usize = 900;

/// Phrases that a native engineer would not write in a comment, a message or a document; with a better wording.
const PHRASES: &[(&str, &str)] = &[
    ("anew", "again"),
    ("are told", "are reported"),
    ("go by", "follow, use"),
    ("goes by", "follows, uses"),
    ("hands out", "returns"),
    ("he", "they"),
    ("him", "them"),
    ("his", "their"),
    ("is told", "is reported, is emitted"),
    ("knows us no more", "no longer recognizes this member"),
    ("let go of", "drop, release"),
    ("lets go of", "drops, releases"),
    ("live again", "are replayed"),
    ("lived again", "replayed"),
    ("lives again", "is replayed"),
    ("looks after", "updates, manages"),
    ("takes in", "accepts, adds"),
    ("taken back", "aborted, retracted"),
    ("tells", "reports, returns"),
    ("was told", "was reported, was emitted"),
    ("were told", "were reported, were emitted"),
    ("whoever", "anyone who"),
];

/// Files whose text is not ours to choose: the table of old names, event texts, and this list.
const NOT_CHECKED: &[&str] = &["LICENSE", "Cargo.lock", "docs/names.md", "tests/architecture.rs"];

/// The sources by their path from `src`, and the packages that `Cargo.toml` names.
struct Sources {
    modules: Vec<Module>,
    files: BTreeMap<String, String>,
    packages: BTreeSet<String>,
}

impl Sources {
    /// The sources of this package.
    fn of_package() -> Self {
        let mut files = BTreeMap::new();
        read_sources(&root().join("src"), "", &mut files);
        let read = |name: &str| fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { modules: modules(&read("docs/architecture.md")), files, packages: packages(&read("Cargo.toml")) }
    }

    /// Every violation of a rule, one line each.
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let declared = self.declared(&mut problems);
        for (path, text) in &self.files {
            if !text.starts_with("//!") {
                problems.push(format!("{path}: line 1 is not a `//!` comment"));
            }
            if path.ends_with("mod.rs") {
                problems.push(format!("{path}: the root of a folder `x/` is `x.rs`"));
            }
            let length = text.lines().count();
            if length > MAX_LINES {
                problems.push(format!("{path}: {length} lines, more than {MAX_LINES}"));
            }
            match declared.get(path.as_str()) {
                None => problems.push(format!("{path}: no file declares it as a module")),
                Some(for_tests) => self.check_names(path, text, *for_tests, &mut problems),
            }
        }
        problems
    }

    /// The files reachable from `lib.rs` and `main.rs`, and whether they are compiled for tests only.
    fn declared(&self, problems: &mut Vec<String>) -> BTreeMap<String, bool> {
        let mut declared = BTreeMap::new();
        let mut open: Vec<(String, bool)> = vec![("lib.rs".into(), false), ("main.rs".into(), false)];
        while let Some((path, for_tests)) = open.pop() {
            let Some(text) = self.files.get(&path) else {
                problems.push(format!("{path}: declared as a module but missing"));
                continue;
            };
            let folder = match path.as_str() {
                "lib.rs" | "main.rs" => String::new(),
                path => format!("{}/", path.trim_end_matches(".rs")),
            };
            let code = code(text);
            let mut before = "";
            for line in code.lines().map(str::trim).filter(|line| !line.is_empty()) {
                // A module at another path has a file outside of `src`.
                if let Some(name) = module(line).filter(|_| !before.starts_with("#[path")) {
                    open.push((format!("{folder}{name}.rs"), for_tests || before == "#[cfg(test)]"));
                }
                before = line;
            }
            declared.insert(path, for_tests);
        }
        declared
    }

    fn check_names(&self, path: &str, text: &str, for_tests: bool, problems: &mut Vec<String>) {
        let module: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
        let Some(row) = self.modules.iter().find(|row| row.name == module[0]) else {
            problems.push(format!("{path}: docs/architecture.md has no row for module `{}`", module[0]));
            return;
        };
        let allowed = |allowed: &[String], name: &str| allowed.iter().any(|one| one == "*" || one == name);
        let code = code(text);
        let code = if for_tests { code.as_str() } else { without_tests(&code) };
        let found: BTreeSet<String> = names(code, module.len())
            .into_iter()
            .filter_map(|name| match name {
                Name::Module(name) => {
                    let known = self.files.contains_key(&format!("{name}.rs"));
                    let fine = !known || name == row.name || allowed(&row.modules, &name);
                    (!fine).then(|| format!("{path}: uses module `{name}`"))
                }
                Name::Std(name) => {
                    let fine = for_tests || !ENVIRONMENT.contains(&name.as_str()) || allowed(&row.std, &name);
                    (!fine).then(|| format!("{path}: uses `std::{name}`"))
                }
                Name::Root(name) => {
                    let fine = for_tests || !self.packages.contains(&name) || allowed(&row.packages, &name);
                    (!fine).then(|| format!("{path}: uses package `{name}`"))
                }
            })
            .collect();
        problems.extend(found);
        for word in PRINTS.iter().filter(|_| !for_tests) {
            if code.match_indices(word).any(|(at, _)| !code[..at].ends_with(is_name)) {
                problems.push(format!("{path}: prints with `{word}`"));
            }
        }
    }
}

/// The beginning of a path in the code.
enum Name {
    /// `crate::NAME`, or the same through `super`.
    Module(String),
    /// `std::NAME` or `core::NAME`.
    Std(String),
    /// Anything else that is followed by `::`, or used as a whole.
    Root(String),
}

/// The beginnings of the paths in `code`, which belongs to a module `depth` levels below the root.
fn names(code: &str, depth: usize) -> Vec<Name> {
    let mut names = Vec::new();
    let mut rest = code;
    let mut before = None;
    while let Some(letter) = rest.chars().next() {
        if !is_name(letter) {
            // `::name` and `.name` continue a path or a value.
            before = Some(letter);
            rest = &rest[letter.len_utf8()..];
            continue;
        }
        let (word, after) = rest.split_at(rest.find(|letter| !is_name(letter)).unwrap_or(rest.len()));
        rest = after;
        if matches!(before.take(), Some(':' | '.' | '\'')) {
            continue;
        }
        let Some(mut inside) = after.strip_prefix("::") else {
            if used_whole(&code[..code.len() - after.len() - word.len()]) && after.starts_with([';', ' ']) {
                names.push(Name::Root(word.into()));
            }
            continue;
        };
        let mut up = usize::from(word == "super");
        while let Some(higher) = inside.strip_prefix("super::").filter(|_| up > 0) {
            (up, inside) = (up + 1, higher);
        }
        match word {
            "crate" | "funnelwatch" => names.extend(heads(inside).map(Name::Module)),
            "super" if up >= depth => names.extend(heads(inside).map(Name::Module)),
            "std" | "core" | "alloc" => names.extend(heads(inside).map(Name::Std)),
            "super" | "self" | "Self" => {}
            other => names.push(Name::Root(other.into())),
        }
    }
    names
}

/// Whether the code before ends with `use` or `extern crate`.
fn used_whole(before: &str) -> bool {
    before.ends_with("use ") || before.ends_with("extern crate ")
}

/// The first names of a path, or of each path in braces.
fn heads(path: &str) -> impl Iterator<Item = String> + use<> {
    let mut heads = Vec::new();
    let (mut level, mut fresh) = (0, true);
    for (at, letter) in path.char_indices() {
        match letter {
            '{' => level += 1,
            '}' => level -= 1,
            ',' => fresh = level == 1,
            _ if is_name(letter) && fresh && level <= 1 => {
                heads.push(path[at..].chars().take_while(|letter| is_name(*letter)).collect());
                fresh = false;
            }
            _ => {}
        }
        if level == 0 && (letter == '}' || !heads.is_empty()) {
            break;
        }
    }
    heads.into_iter()
}

fn is_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The name in `mod name;` of any visibility.
fn module(line: &str) -> Option<&str> {
    let line = line.strip_suffix(';')?;
    let (before, name) = line.split_once("mod ")?;
    let visible = before.is_empty() || (before.starts_with("pub") && before.ends_with(' '));
    (visible && name.chars().all(is_name)).then_some(name)
}

/// The code up to the tests at its end.
fn without_tests(code: &str) -> &str {
    code.find("#[cfg(test)]\nmod tests {").map_or(code, |at| &code[..at])
}

/// The text without comments and without the contents of literals.
fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let raw = rest.strip_prefix('r').map(|rest| rest.trim_start_matches('#')).filter(|rest| rest.starts_with('"'));
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(inside) = raw.filter(|_| !code.ends_with(is_name)) {
            let hashes = rest.len() - inside.len() - 1;
            let end = format!("\"{}", "#".repeat(hashes));
            inside[1..].find(&end).map_or(rest.len(), |at| hashes + 2 + at + end.len())
        } else if letter == '"' {
            string_end(rest)
        } else if letter == '\'' {
            letter_end(rest)
        } else {
            code.push(letter);
            rest = &rest[letter.len_utf8()..];
            continue;
        };
        if !rest.starts_with('/') {
            code.push('"');
        }
        rest = &rest[skipped..];
    }
    code
}

/// The index after the quote that ends a string.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, letter)| {
        let ends = *letter == '"' && !escaped;
        escaped = *letter == '\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

/// The index after a character literal, or after the quote of a lifetime.
fn letter_end(text: &str) -> usize {
    let mut letters = text.char_indices().skip(1);
    match letters.next() {
        Some((_, '\\')) => text[3..].find('\'').map_or(text.len(), |at| at + 4),
        Some(_) => letters.next().filter(|(_, letter)| *letter == '\'').map_or(1, |(at, _)| at + 1),
        None => 1,
    }
}

/// The packages in a manifest, as code names them.
fn packages(manifest: &str) -> BTreeSet<String> {
    let mut inside = false;
    let mut packages = BTreeSet::from(["funnelwatch".to_owned()]);
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
        } else if let Some((name, _)) = line.split_once('=').filter(|_| inside && !line.starts_with('#')) {
            packages.insert(name.trim().replace('-', "_"));
        }
    }
    packages
}

fn read_sources(folder: &Path, prefix: &str, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("a folder").path();
        let name = format!("{prefix}{}", path.file_name().unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            read_sources(&path, &format!("{name}/"), files);
        } else if name.ends_with(".rs") {
            files.insert(name, fs::read_to_string(&path).expect("a source"));
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below a path that is text of ours, by its path from the root of the package.
fn read_texts(path: &Path, texts: &mut BTreeMap<String, String>) {
    if path.is_dir() {
        let fixtures = ["tests/state", "tests/fuzz/corpus", "tests/fuzz/target", "tests/fuzz/artifacts"];
        if fixtures.iter().any(|fixture| path.ends_with(fixture)) {
            return;
        }
        for entry in fs::read_dir(path).expect("a folder") {
            read_texts(&entry.expect("a folder").path(), texts);
        }
        return;
    }
    let name = path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned();
    // Pictures are not text, nor are checksums.
    if !name.ends_with("/go.sum")
        && let Ok(text) = fs::read_to_string(path)
        && !NOT_CHECKED.contains(&name.as_str())
    {
        texts.insert(name, text);
    }
}

/// The phrases of [`PHRASES`] in a text, with their line.
fn phrases(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.to_lowercase();
        for (phrase, better) in PHRASES {
            let is_word = |at: usize| !line[..at].ends_with(is_name) && !line[at + phrase.len()..].starts_with(is_name);
            if line.match_indices(phrase).any(|(at, _)| is_word(at)) {
                found.push(format!("{path}:{number}: `{phrase}`; better: {better}"));
            }
        }
    }
    found
}

#[test]
fn modules_use_what_the_documentation_allows() {
    let problems = Sources::of_package().problems();
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn imports_point_downward_and_never_in_a_circle() {
    let files = Sources::of_package().files;
    let imports = imports::imports(&files);
    assert!(imports.values().map(BTreeSet::len).sum::<usize>() > 500, "imports are not recognized");
    let page = fs::read_to_string(root().join("docs/architecture.md")).expect("the page");
    let tables = imports::parts(&page);
    assert!(tables.iter().any(|table| table.module() == "domain"), "{tables:?}");
    let upward = tables.iter().flat_map(|table| table.problems(&imports));
    let problems: Vec<String> = imports::cycles(&imports).into_iter().chain(upward).collect();
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

/// `UPDATE_DOCS=1` writes the picture.
#[test]
fn the_picture_shows_the_tables() {
    let page = fs::read_to_string(root().join("docs/architecture.md")).expect("the page");
    let drawn = picture::draw(&modules(&page), &imports::parts(&page));
    let path = root().join("docs/pictures/modules.svg");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &drawn).expect("the picture");
    }
    assert!(
        fs::read_to_string(&path).is_ok_and(|kept| kept == drawn),
        "run UPDATE_DOCS=1 cargo test --test architecture"
    );
}

#[test]
fn tests_and_benchmarks_begin_with_what_they_are() {
    let mut files = BTreeMap::new();
    for folder in ["tests", "benches"] {
        read_sources(&root().join(folder), &format!("{folder}/"), &mut files);
    }
    let silent: Vec<_> = files.iter().filter(|(_, text)| !text.starts_with("//!")).map(|(path, _)| path).collect();
    assert!(silent.is_empty(), "line 1 is not a `//!` comment in {silent:?}");
}

#[test]
fn the_table_lists_every_module_once_and_no_other() {
    let sources = Sources::of_package();
    let rows: Vec<&str> = sources.modules.iter().map(|row| row.name.as_str()).collect();
    let listed: BTreeSet<&str> = rows.iter().copied().collect();
    assert_eq!(rows.len(), listed.len(), "{rows:?}");
    let tops = sources.files.keys().filter(|path| !path.contains('/')).map(|path| path.trim_end_matches(".rs"));
    assert_eq!(tops.collect::<BTreeSet<_>>(), listed);
    for row in &sources.modules {
        for other in row.modules.iter().filter(|name| *name != "*") {
            assert!(listed.contains(other.as_str()), "{} may use {other}, which does not exist", row.name);
        }
        for package in row.packages.iter().filter(|name| *name != "*") {
            assert!(sources.packages.contains(package), "{} may use {package}, no dependency", row.name);
        }
        assert!(row.std.iter().all(|part| ENVIRONMENT.contains(&part.as_str())), "{row:?}");
    }
}

/// Every text of the package.
fn texts() -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    for entry in fs::read_dir(root()).expect("the package") {
        let path = entry.expect("the package").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !["target", ".git"].contains(&name.as_str()) {
            read_texts(&path, &mut texts);
        }
    }
    texts
}

#[test]
fn documents_name_files_that_exist() {
    let texts = texts();
    let mut missing = Vec::new();
    for (page, text) in texts.iter().filter(|(page, _)| page.ends_with(".md") && *page != "CHANGELOG.md") {
        // Capitals stand for any name; the example of the tutorial is a file to write.
        let named = text.split('`').skip(1).step_by(2).filter(|name| name.ends_with(".rs") && !name.contains("NAME"));
        for name in named.filter(|name| name.chars().all(|letter| is_name(letter) || "/.".contains(letter))) {
            let end = format!("/{name}");
            let exists = root().join(name).exists() || texts.keys().any(|path| path.ends_with(&end));
            if !exists && !name.ends_with("/won_without_amount.rs") {
                missing.push(format!("{page}: `{name}`"));
            }
        }
    }
    assert!(missing.is_empty(), "{} files:\n{}", missing.len(), missing.join("\n"));
}

#[test]
fn texts_are_plain_english() {
    let texts = texts();
    assert!(texts.len() > 300 && texts.contains_key("README.md") && texts.contains_key("src/domain.rs"));
    let found: Vec<String> = texts.iter().flat_map(|(path, text)| phrases(path, text)).collect();
    assert!(found.is_empty(), "{} phrases:\n{}", found.len(), found.join("\n"));
}

#[test]
fn a_phrase_is_found_as_a_whole_word_only() {
    let of = |text: &str| phrases("a.md", text);
    assert_eq!(
        of("The shard lives again.\nIt Tells"),
        ["a.md:1: `lives again`; better: is replayed", "a.md:2: `tells`; better: reports, returns"]
    );
    assert_eq!(of("this shell has a history; the_his"), Vec::<String>::new());
}

/// Breaks each rule once in a small source tree.
#[test]
fn every_violation_is_found() {
    let table = "| module | may name modules | may use packages | may use of std |\n| --- | --- | --- | --- |\n\
                 | `domain` | - | `uuid` | - |\n| `codec` | `domain` | `prost` | `io` |\n\
                 | `edge` | `domain`, `codec` | `rdkafka` | `fs` |\n| `main` | - | - | - |\n| `lib` | `*` | - | - |\n";
    let sound = [
        ("lib.rs", "//! The crate.\npub mod codec;\npub mod domain;\npub mod edge;\n"),
        ("main.rs", "//! The binary.\nfn main() {}\n"),
        (
            "domain.rs",
            "//! Decides.\npub(crate) mod time;\n#[cfg(test)]\nmod samples;\n#[path = \"../docs/x.rs\"]\nmod elsewhere;\n",
        ),
        ("domain/time.rs", "//! Time.\nuse super::super::domain;\nuse std::{fmt, sync::Arc};\n// std::fs\n"),
        ("domain/samples.rs", "//! For tests.\nuse std::fs;\nuse proptest::prelude::*;\n"),
        ("codec.rs", "//! Decodes.\nuse crate::domain::time;\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n"),
        ("edge.rs", "//! I/O.\nuse crate::{codec, domain::{time}};\nconst EDGE: &str = \"crate::app println!\";\n"),
    ];
    let problems = |broken: Option<(&str, &str)>| {
        let mut files: BTreeMap<String, String> =
            sound.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        if let Some((path, text)) = broken {
            let file = files.entry(path.into()).or_default();
            *file = match text.strip_prefix('+') {
                Some(more) => format!("{file}{more}\n"),
                None => text.into(),
            };
        }
        let packages =
            packages("[dependencies]\nprost = \"0\"\ntimely = {}\nrdkafka = \"0\"\n[features]\nfeature = []");
        Sources { modules: modules(table), files, packages }.problems().join("\n")
    };
    assert_eq!(problems(None), "");
    for (path, text, problem) in [
        ("domain/time.rs", "+use crate::codec;", "domain/time.rs: uses module `codec`"),
        ("domain/time.rs", "+use super::super::edge::clock;", "domain/time.rs: uses module `edge`"),
        ("domain/time.rs", "+fn f() { crate::edge::now() }", "domain/time.rs: uses module `edge`"),
        ("domain.rs", "+use super::{domain::time, codec};", "domain.rs: uses module `codec`"),
        ("domain/samples.rs", "+use crate::codec;", "domain/samples.rs: uses module `codec`"),
        ("codec.rs", "//!\nuse crate::{domain::{a, b}, edge::c};", "codec.rs: uses module `edge`"),
        ("domain/time.rs", "+use std::time::Instant;", "domain/time.rs: uses `std::time`"),
        ("domain/time.rs", "+fn f() { std::thread::yield_now() }", "domain/time.rs: uses `std::thread`"),
        ("domain/time.rs", "+use std::{fmt::{self, Write}, fs};", "domain/time.rs: uses `std::fs`"),
        ("domain/time.rs", "+use timely::Data;", "domain/time.rs: uses package `timely`"),
        ("domain/time.rs", "+use prost;", "domain/time.rs: uses package `prost`"),
        ("codec.rs", "//!\ntype T = rdkafka::Message;", "codec.rs: uses package `rdkafka`"),
        ("domain/time.rs", "+fn f() { println!(\"\") }", "domain/time.rs: prints with `println!`"),
        ("codec.rs", "use crate::domain;", "codec.rs: line 1 is not a `//!` comment"),
        ("domain.rs", "//! Decides.\n", "domain/samples.rs: no file declares it as a module"),
        ("domain.rs", "+mod nowhere;", "domain/nowhere.rs: declared as a module but missing"),
        ("lib.rs", "+mod attic;", "attic.rs: declared as a module but missing"),
        ("attic.rs", "//! New.\n", "attic.rs: no file declares it as a module"),
        ("domain/mod.rs", "//! Old.\n", "domain/mod.rs: the root of a folder `x/` is `x.rs`"),
    ] {
        let found = problems(Some((path, text)));
        assert!(found.lines().any(|line| line == problem), "{path} with {text}: {problem}?\n{found}");
    }
    let long = "//! Long.\n".repeat(MAX_LINES + 1);
    assert_eq!(problems(Some(("edge.rs", &long))), format!("edge.rs: {} lines, more than {MAX_LINES}", MAX_LINES + 1));
}
