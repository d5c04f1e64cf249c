//! Fuzzes configurations that refer to other documents, to files and to variables: nothing panics, every problem is in a
//! line of a document, and no secret is shown. Nothing is read from the file system or the environment.

#![no_main]

use funnelwatch::config::{self, Config, Env, Problem};
use funnelwatch::domain::norms::ScopeQuery;
use libfuzzer_sys::fuzz_target;
use std::io;
use std::path::Path;

/// Part of every secret.
const SECRET: &str = "s3cr3t-c4nary";
/// The documents of an input, each after this line.
const SEPARATOR: &str = "=====\n";
const NAMES: [&str; 3] = ["main.yaml", "norms.yaml", "more.yaml"];

/// The documents by their names; every file and some variables contain a secret.
struct Documents<'a>(Vec<&'a str>);

impl Documents<'_> {
    fn get(&self, path: &Path) -> Option<&str> {
        let index = NAMES.iter().position(|name| Path::new(name) == path)?;
        self.0.get(index).copied()
    }
}

impl Env for Documents<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        Some(match name {
            "PASSWORD" => SECRET.into(),
            "LINES" => format!("{SECRET}: [\n{SECRET}"),
            "URL" => format!("rediss://:{SECRET}@redis:6379/0"),
            "ODD_URL" => format!("rediss://:{SECRET}#redis"),
            "HOSTNAME" => "pod-3".into(),
            "NUMBER" => "7".into(),
            "EMPTY" => String::new(),
            _ => return None,
        })
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        self.get(path).map(Into::into).ok_or(io::ErrorKind::NotFound.into())
    }

    fn secret(&self, path: &Path) -> io::Result<String> {
        match path.to_str() {
            Some("none") => Err(io::ErrorKind::NotFound.into()),
            Some("empty") => Ok(String::new()),
            Some("number") => Ok("7\n".into()),
            _ => Ok(format!("{SECRET}\n")),
        }
    }

    fn is_public(&self, path: &Path) -> bool {
        path.ends_with("public")
    }
}

fn check(problem: &Problem, documents: &Documents<'_>) {
    let text = documents.get(Path::new(&problem.file)).unwrap_or_else(|| panic!("no such document: {problem}"));
    let breaks = text.chars().filter(|letter| "\r\n\u{85}\u{2028}\u{2029}".contains(*letter)).count();
    assert!(problem.line <= 1 + breaks, "of {} lines: {problem}", 1 + breaks);
    assert!(!problem.to_string().contains(SECRET), "{problem}");
}

fuzz_target!(|text: &str| {
    // librdkafka loads the libraries that this property names.
    if text.contains("plugin") || text.contains(SECRET) {
        return;
    }
    let documents = Documents(text.splitn(NAMES.len(), SEPARATOR).collect());
    let main = documents.0.first().copied().unwrap_or_default();
    match Config::parse_with(NAMES[0], main, &documents) {
        Ok(config) => {
            config.notes.iter().for_each(|note| check(note, &documents));
            let Config { kafka, api, redis, norms, .. } = &config;
            let shown = format!("{:?} {:?} {:?} {api:?} {redis:?}", kafka.client, kafka.consumer, kafka.producer);
            assert!(!shown.contains(SECRET), "{shown}");
            let described = config::describe(norms, ScopeQuery::default());
            assert!(!described.contains(SECRET), "{described}");
        }
        Err(problems) => {
            assert!(!problems.0.is_empty());
            problems.0.iter().for_each(|problem| check(problem, &documents));
        }
    }
});
