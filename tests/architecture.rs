//! Owns the house rules that a compiler does not check: who may name whom, what every file begins with, how long it may
//! be, and that no file lies about unused. Reads the sources as text; comments, literals and tests inside a file aside.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A room of the house: `src/NAME.rs` and all in `src/NAME/`.
struct Room {
    name: &'static str,
    /// The rooms that it may name besides itself; `*` is all of them.
    rooms: &'static [&'static str],
    /// The packages that it may name; `*` is all of them.
    packages: &'static [&'static str],
    /// What it may use of those parts of `std` that meet the world ([`WORLD`]).
    world: &'static [&'static str],
}

/// Who may name whom, in the order of the stream; below, what stands beside it.
///
/// Absences are promises: the domain does no I/O, reads no clock, starts no thread, and knows neither timely nor any wire
/// format; no ring names one that comes after it; and only `app` sees everything.
const ROOMS: &[Room] = &[
    Room {
        name: "domain",
        rooms: &[],
        packages: &["compact_str", "hashbrown", "hmac", "jiff", "memchr", "rustc_hash", "sha2", "uuid"],
        world: &[],
    },
    Room {
        name: "codec",
        rooms: &["domain"],
        packages: &["compact_str", "crc32fast", "prost", "uuid"],
        world: &["io"],
    },
    Room {
        name: "dataflow",
        rooms: &["domain", "codec"],
        packages: &["crossbeam_channel", "rustc_hash", "serde", "timely", "uuid"],
        world: &["thread", "time"],
    },
    Room {
        name: "edge",
        rooms: &["domain", "codec", "dataflow", "config", "telemetry"],
        packages: &[
            "axum",
            "crossbeam_channel",
            "crossterm",
            "flate2",
            "prometheus",
            "prost",
            "rand",
            "rand_chacha",
            "rdkafka",
            "redis",
            "sha2",
            "thiserror",
            "tokio",
            "tracing",
            "uuid",
        ],
        world: &["fs", "io", "net", "thread", "time"],
    },
    Room {
        name: "config",
        // Of telemetry the names of its metrics, and what one selects of them.
        rooms: &["domain", "codec", "telemetry"],
        packages: &["compact_str", "jiff", "saphyr", "serde_json"],
        world: &["env", "fs", "io", "net", "thread"],
    },
    Room {
        name: "telemetry",
        rooms: &["domain", "dataflow"],
        packages: &["prometheus", "tracing_subscriber"],
        world: &["env", "io", "time"],
    },
    Room { name: "sim", rooms: &["domain"], packages: &["compact_str", "rand", "rand_chacha"], world: &[] },
    Room { name: "cli", rooms: &["domain", "codec", "edge"], packages: &["clap"], world: &["net"] },
    Room { name: "app", rooms: &["*"], packages: &["*"], world: WORLD },
    Room {
        name: "main",
        rooms: &["app", "cli", "telemetry"],
        packages: &["clap", "funnelwatch", "mimalloc"],
        world: &["process"],
    },
    Room { name: "lib", rooms: &["*"], packages: &[], world: &[] },
];

/// The parts of `std` that meet the world.
const WORLD: &[&str] = &["env", "fs", "io", "net", "os", "process", "thread", "time"];

/// Nobody prints but by way of `io`, so that no line of output is there by accident.
const UNSPOKEN: &[&str] = &["print!", "println!", "eprint!", "eprintln!", "dbg!"];

/// No file of `src` is longer.
const LONGEST: usize = 900;

/// The sources by their path from `src`, and the packages that `Cargo.toml` names.
struct House {
    files: BTreeMap<String, String>,
    packages: BTreeSet<String>,
}

impl House {
    /// The house that this test stands in.
    fn here() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = BTreeMap::new();
        gather(&root.join("src"), "", &mut files);
        let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("Cargo.toml");
        Self { files, packages: packages(&manifest) }
    }

    /// What is out of order, one line each.
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let declared = self.declared(&mut problems);
        for (path, text) in &self.files {
            if !text.starts_with("//!") {
                problems.push(format!("{path}: line 1 does not say what the file owns (`//!`)"));
            }
            if path.ends_with("mod.rs") {
                problems.push(format!("{path}: a folder `x/` belongs to `x.rs`"));
            }
            let length = text.lines().count();
            if length > LONGEST {
                problems.push(format!("{path}: {length} lines, more than {LONGEST}"));
            }
            match declared.get(path.as_str()) {
                None => problems.push(format!("{path}: no file declares it as a module")),
                Some(for_tests) => self.check_names(path, text, *for_tests, &mut problems),
            }
        }
        problems
    }

    /// The files that are reached from `lib.rs` and `main.rs`, and whether only tests have them.
    fn declared(&self, problems: &mut Vec<String>) -> BTreeMap<String, bool> {
        let mut declared = BTreeMap::new();
        let mut open: Vec<(String, bool)> = vec![("lib.rs".into(), false), ("main.rs".into(), false)];
        while let Some((path, for_tests)) = open.pop() {
            let Some(text) = self.files.get(&path) else {
                problems.push(format!("{path}: declared as a module, and not there"));
                continue;
            };
            let folder = match path.as_str() {
                "lib.rs" | "main.rs" => String::new(),
                path => format!("{}/", path.trim_end_matches(".rs")),
            };
            let code = code(text);
            let (mut before, mut listed) = ("", false);
            for line in code.lines().map(str::trim).filter(|line| !line.is_empty()) {
                // The macro `rules!` declares the second name on each of its lines.
                let second = line.split_once(' ').map(|(_, name)| name).filter(|_| listed);
                listed = line == "rules! {" || (listed && line != "}");
                if let Some(name) = module(line).or(second) {
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
        let Some(room) = ROOMS.iter().find(|room| room.name == module[0]) else {
            problems.push(format!("{path}: the table has no room `{}`", module[0]));
            return;
        };
        let allowed = |allowed: &[&str], name: &str| allowed.contains(&"*") || allowed.contains(&name);
        let code = code(text);
        let code = if for_tests { code.as_str() } else { without_tests(&code) };
        let found: BTreeSet<String> = names(code, module.len())
            .into_iter()
            .filter_map(|name| match name {
                Name::Room(name) => {
                    let known = self.files.contains_key(&format!("{name}.rs"));
                    let fine = !known || name == room.name || allowed(room.rooms, &name);
                    (!fine).then(|| format!("{path}: names the room `{name}`"))
                }
                Name::Std(name) => {
                    let fine = for_tests || !WORLD.contains(&name.as_str()) || allowed(room.world, &name);
                    (!fine).then(|| format!("{path}: uses `std::{name}`"))
                }
                Name::Root(name) => {
                    let fine = for_tests || !self.packages.contains(&name) || allowed(room.packages, &name);
                    (!fine).then(|| format!("{path}: names the package `{name}`"))
                }
            })
            .collect();
        problems.extend(found);
        for word in UNSPOKEN.iter().filter(|_| !for_tests) {
            if code.match_indices(word).any(|(at, _)| !code[..at].ends_with(is_name)) {
                problems.push(format!("{path}: says `{word}`"));
            }
        }
    }
}

/// What a path in the code begins with.
enum Name {
    /// `crate::NAME`, or the same by way of `super`.
    Room(String),
    /// `std::NAME` or `core::NAME`.
    Std(String),
    /// Anything else that is followed by `::`, or used whole.
    Root(String),
}

/// What the paths in `code` begin with; the code is that of a module so many levels below the root.
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
            "crate" | "funnelwatch" => names.extend(heads(inside).map(Name::Room)),
            "super" if up >= depth => names.extend(heads(inside).map(Name::Room)),
            "std" | "core" | "alloc" => names.extend(heads(inside).map(Name::Std)),
            "super" | "self" | "Self" => {}
            other => names.push(Name::Root(other.into())),
        }
    }
    names
}

/// Whether `use` or `extern crate` stands before.
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

/// The name in `mod name;`, however visible.
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

/// The text without comments and without what stands in literals.
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

/// Behind the quote that ends a string.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, letter)| {
        let ends = *letter == '"' && !escaped;
        escaped = *letter == '\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

/// Behind a letter in quotes, or behind the quote of a lifetime.
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

fn gather(folder: &Path, prefix: &str, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("a folder").path();
        let name = format!("{prefix}{}", path.file_name().unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            gather(&path, &format!("{name}/"), files);
        } else if name.ends_with(".rs") {
            files.insert(name, fs::read_to_string(&path).expect("a source"));
        }
    }
}

#[test]
fn the_house_is_in_order() {
    let problems = House::here().problems();
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn tests_and_benches_say_what_they_own_too() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = BTreeMap::new();
    for folder in ["tests", "benches"] {
        gather(&root.join(folder), &format!("{folder}/"), &mut files);
    }
    let silent: Vec<_> = files.iter().filter(|(_, text)| !text.starts_with("//!")).map(|(path, _)| path).collect();
    assert!(silent.is_empty(), "line 1 is not `//!` in {silent:?}");
}

#[test]
fn every_room_names_only_rooms_that_there_are() {
    for room in ROOMS {
        for other in room.rooms.iter().filter(|name| **name != "*") {
            assert!(ROOMS.iter().any(|room| room.name == *other), "{} names {other}", room.name);
        }
    }
}

/// Breaks a small house in one place after the other.
#[test]
fn whoever_breaks_a_rule_is_found_out() {
    let sound = [
        ("lib.rs", "//! The house.\npub mod codec;\npub mod domain;\npub mod edge;\n"),
        ("main.rs", "//! The door.\nfn main() {}\n"),
        ("domain.rs", "//! Decides.\npub(crate) mod time;\n#[cfg(test)]\nmod samples;\n"),
        ("domain/time.rs", "//! Time.\nuse super::super::domain;\nuse std::{fmt, sync::Arc};\n// std::fs\n"),
        ("domain/samples.rs", "//! For tests.\nuse std::fs;\nuse proptest::prelude::*;\n"),
        ("codec.rs", "//! Translates.\nuse crate::domain::time;\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n"),
        ("edge.rs", "//! Touches.\nuse crate::{codec, domain::{time}};\nconst EDGE: &str = \"crate::app println!\";\n"),
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
        House { files, packages }.problems().join("\n")
    };
    assert_eq!(problems(None), "");
    for (path, text, problem) in [
        ("domain/time.rs", "+use crate::codec;", "domain/time.rs: names the room `codec`"),
        ("domain/time.rs", "+use super::super::edge::clock;", "domain/time.rs: names the room `edge`"),
        ("domain/time.rs", "+fn f() { crate::edge::now() }", "domain/time.rs: names the room `edge`"),
        ("domain.rs", "+use super::{domain::time, codec};", "domain.rs: names the room `codec`"),
        ("domain/samples.rs", "+use crate::codec;", "domain/samples.rs: names the room `codec`"),
        ("codec.rs", "//!\nuse crate::{domain::{a, b}, edge::c};", "codec.rs: names the room `edge`"),
        ("domain/time.rs", "+use std::time::Instant;", "domain/time.rs: uses `std::time`"),
        ("domain/time.rs", "+fn f() { std::thread::yield_now() }", "domain/time.rs: uses `std::thread`"),
        ("domain/time.rs", "+use std::{fmt::{self, Write}, fs};", "domain/time.rs: uses `std::fs`"),
        ("domain/time.rs", "+use timely::Data;", "domain/time.rs: names the package `timely`"),
        ("domain/time.rs", "+use prost;", "domain/time.rs: names the package `prost`"),
        ("codec.rs", "//!\ntype T = rdkafka::Message;", "codec.rs: names the package `rdkafka`"),
        ("domain/time.rs", "+fn f() { println!(\"\") }", "domain/time.rs: says `println!`"),
        ("codec.rs", "use crate::domain;", "codec.rs: line 1 does not say what the file owns (`//!`)"),
        ("domain.rs", "//! Decides.\n", "domain/samples.rs: no file declares it as a module"),
        ("domain.rs", "+mod nowhere;", "domain/nowhere.rs: declared as a module, and not there"),
        ("domain.rs", "+rules! {\n    Late late\n}", "domain/late.rs: declared as a module, and not there"),
        ("lib.rs", "+mod attic;", "attic.rs: declared as a module, and not there"),
        ("domain/mod.rs", "//! Old.\n", "domain/mod.rs: a folder `x/` belongs to `x.rs`"),
    ] {
        let found = problems(Some((path, text)));
        assert!(found.lines().any(|line| line == problem), "{path} with {text}: {problem}?\n{found}");
    }
    let long = "//! Long.\n".repeat(LONGEST + 1);
    assert_eq!(problems(Some(("edge.rs", &long))), format!("edge.rs: {} lines, more than {LONGEST}", LONGEST + 1));
}
