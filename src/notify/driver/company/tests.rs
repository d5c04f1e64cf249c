//! Tests of what is asked of the API, when, and what remains known while it is away.

use super::*;
use crate::config::Config;
use crate::domain::rule::Rule;
use crate::domain::rule::message::Language;
use crate::domain::time::Timestamp;
use crate::notify::channel::{Address, Item};
use crate::notify::fake_server::FakeServer;
use std::sync::{Arc, Mutex};

const PATIENCE: Duration = Duration::from_secs(60);

fn notify(url: &str) -> Notify {
    let text = format!("notify: {{api: {{url: '{url}'}}}}\n");
    let config = Config::parse("test", &text).unwrap_or_else(|problems| panic!("{problems}"));
    config.notify.expect("the section")
}

fn until(mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "timed out");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The people of a company whose manager has this name.
fn people(name: &str) -> Option<(u16, String)> {
    Some((200, format!(r#"{{"managers": [{{"id": "vera", "name": "{name}"}}]}}"#)))
}

#[test]
fn names_that_become_known_later_are_used_and_remain_while_the_api_is_away() {
    let answer = Arc::new(Mutex::new(people("")));
    let said = Arc::clone(&answer);
    let server = FakeServer::http(move |_| said.lock().expect("no panic").clone());
    let say = |people: Option<(u16, String)>| *answer.lock().expect("no panic") = people;
    let mut companies = Companies::new(&notify(&server.url()));
    let name = |companies: &Companies| companies.directory().name("acme", "vera").to_owned();
    let start = Instant::now();
    say(people("Vera"));
    companies.ask("acme", start);
    assert_eq!((name(&companies).as_str(), companies.learned(start).len()), ("Vera", 1));
    say(people("Vera Ivanova"));
    for _ in 0..100 {
        companies.ask("acme", start + Duration::from_secs(1));
        companies.refresh(["acme"], start + HOLDS / 2);
    }
    assert!(server.paths().len() == 1 && !companies.asked["acme"].is_asking, "an answer holds");
    // It is asked once at a time, however often an answer is wanted.
    let mut changed = Vec::new();
    until(|| {
        companies.refresh(["acme"], start + 2 * HOLDS);
        changed.extend(companies.learned(start + 2 * HOLDS));
        !changed.is_empty()
    });
    assert_eq!((name(&companies).as_str(), server.paths().len()), ("Vera Ivanova", 2));
    assert_eq!(changed[0].1.managers[0].name.as_deref(), Some("Vera"), "what was known before");
    // It is away.
    say(None);
    let later = start + 4 * HOLDS;
    until(|| {
        companies.refresh(["acme"], later);
        companies.learned(later);
        companies.rests(later)
    });
    companies.refresh(["acme", "other"], later);
    companies.ask("other", later);
    assert_eq!((name(&companies).as_str(), companies.learned(later).len()), ("Vera Ivanova", 0));
    let asked = server.paths().len();
    say(people("Vera"));
    until(|| {
        companies.refresh(["acme"], later + HOLDS);
        !companies.learned(later + HOLDS).is_empty()
    });
    assert_eq!((name(&companies).as_str(), server.paths().len()), ("Vera", asked + 1));
}

#[test]
fn a_company_without_an_answer_delays_no_other_one() {
    let server =
        FakeServer::http(|path| if path.contains("/new/") { Some((503, "moving".into())) } else { people("Vera") });
    let mut companies = Companies::new(&notify(&server.url()));
    let now = Instant::now();
    for company in ["new", "acme", "new"] {
        companies.ask(company, now);
    }
    assert_eq!(companies.directory().name("acme", "vera"), "Vera");
    assert_eq!(server.paths().len(), 2, "it is not asked again at once");
    assert!(companies.may_learn("new") && !companies.may_learn("acme"));
}

#[test]
fn while_the_api_is_away_todos_do_not_wait_for_it() {
    let server = FakeServer::http(|_| None);
    let companies = Companies::new(&notify(&server.url()));
    let alert = Alert::sample("../acme", Rule::Neglected, "lead:1", Timestamp(0));
    let address =
        Address { channel: crate::config::notify::Channel::Todo, to: "7".into(), person: None, language: Language::En };
    let job = Job { id: 1, items: vec![Item { alert, manager: None, taken_by: None }], open: 1, ..Job::to(address) };
    for _ in 0..10 {
        assert!(companies.call_back(&job, Instant::now()).is_empty());
    }
    let paths = server.paths();
    assert!(paths.iter().all(|path| path.starts_with("/api/v1/tenants/%2E%2E%2Facme/alerts/")), "{paths:?}");
    assert_eq!(paths.len(), 1, "the API is left alone after it did not answer");
}

#[test]
fn a_digest_learns_that_there_is_nothing_from_what_is_missing_and_waits_for_what_is_not_there_yet() {
    let answers = |path: &str| match path {
        "/api/v1/known" => Some((200, "{\"rows\":[]}".into())),
        "/api/v1/missing" => Some((404, "no figures for this subject".into())),
        _ => Some((503, "the shard is being moved".into())),
    };
    let server = FakeServer::http(answers);
    let api = api_of(&notify(&server.url()));
    assert_eq!(api.get("/known"), Some(serde_json::json!({"rows": []})));
    assert_eq!(api.get("/missing"), Some(Value::Null));
    assert_eq!(api.get("/moving"), None);
}
