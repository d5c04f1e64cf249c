//! Generates the Grafana boards and checks them. Each is declared once, with English and Russian texts side by side
//! and queries built from the metric families. `UPDATE_DOCS=1 cargo test --test outputs boards` writes them to
//! `k8s/boards`; without `UPDATE_DOCS` the test fails if the files differ. `tests/boards/check` validates the files
//! against Grafana's schema.

#[path = "../boards/board.rs"]
mod board;
#[path = "../boards/head_of_sales.rs"]
mod head_of_sales;
#[path = "../boards/processor.rs"]
mod processor;
#[path = "../boards/promql.rs"]
mod promql;
#[path = "../boards/words.rs"]
mod words;

use board::Board;
use funnelwatch::telemetry::metric::{Family, MetricKind};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use words::Language;

fn boards() -> [Board; 2] {
    [head_of_sales::board(), processor::board()]
}

/// Every board in every language, by file name.
fn files() -> Vec<(String, Value)> {
    let of =
        |board: &Board, language: Language| (format!("{}.{}.json", board.name, language.code()), board.json(language));
    boards().iter().flat_map(|board| Language::ALL.map(|language| of(board, language))).collect()
}

/// The panels of a board, including rows and the panels in collapsed rows.
fn panels(board: &Value) -> Vec<&Value> {
    let mut all = Vec::new();
    for panel in board["panels"].as_array().expect("panels") {
        all.push(panel);
        all.extend(panel["panels"].as_array().into_iter().flatten());
    }
    all
}

/// Every string in a board, with its key.
fn strings<'a>(value: &'a Value, key: &'a str, found: &mut Vec<(&'a str, &'a str)>) {
    match value {
        Value::String(text) => found.push((key, text)),
        Value::Array(items) => items.iter().for_each(|item| strings(item, key, found)),
        Value::Object(members) => members.iter().for_each(|(key, member)| strings(member, key, found)),
        _ => {}
    }
}

fn queries(board: &Value) -> Vec<&str> {
    let mut found = Vec::new();
    strings(board, "", &mut found);
    found.into_iter().filter(|(key, _)| ["expr", "query"].contains(key)).map(|(_, text)| text).collect()
}

/// The words of a query outside of quotes: names, numbers, durations.
fn words_of(query: &str) -> Vec<&str> {
    let outside = query.split('"').step_by(2);
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || "_$.".contains(letter);
    outside.flat_map(|part| part.split(move |letter| !is_word(letter))).filter(|word| !word.is_empty()).collect()
}

#[test]
fn files_are_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("k8s/boards");
    for (name, board) in files() {
        let (file, text) = (folder.join(&name), format!("{board:#}\n"));
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(&folder).expect("a writable folder k8s/boards");
            std::fs::write(&file, &text).expect("a writable folder k8s/boards");
        }
        let found = std::fs::read_to_string(file).unwrap_or_default();
        assert!(found == text, "k8s/boards/{name} is stale: UPDATE_DOCS=1 cargo test --test outputs boards");
    }
}

#[test]
fn panel_ids_are_unique_and_panels_do_not_overlap() {
    for (name, board) in files() {
        let mut ids = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for panel in panels(&board) {
            let id = panel["id"].as_u64().expect("an id");
            assert!(id > 0 && ids.insert(id), "{name}: duplicate panel id {id}");
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().expect("a position"));
            assert!(w > 0 && h > 0 && x + w <= 24, "{name}: panel {id} does not fit");
            for position in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(taken.insert(position), "{name}: panel {id} overlaps another one");
            }
        }
    }
}

/// Links and bookmarks refer to boards by uid, so uids must not change.
#[test]
fn uids_are_stable() {
    let uids: Vec<String> = files().iter().map(|(_, board)| board["uid"].as_str().expect("a uid").to_owned()).collect();
    let known = ["head-of-sales-en", "head-of-sales-ru", "processor-en", "processor-ru"];
    assert_eq!(uids, known.map(|name| format!("funnelwatch-{name}")));
    assert!(uids.iter().all(|uid| uid.len() <= 40), "Grafana allows 40 characters");
}

#[test]
fn variables_are_declared_and_used() {
    for (name, board) in files() {
        let mut declared = BTreeSet::new();
        for variable in board["templating"]["list"].as_array().expect("variables") {
            let (variable, text) = (variable["name"].as_str().expect("a name"), variable.to_string());
            for used in variables(&text) {
                assert!(declared.contains(&used), "{name}: {variable} uses ${used}, which is declared after it");
            }
            assert!(declared.insert(variable.to_owned()), "{name}: {variable} is declared twice");
        }
        let used = variables(&board["panels"].to_string());
        assert_eq!(used, declared, "{name}: used and declared variables differ");
    }
}

/// The variables of a board that a text uses. Built-in variables of Grafana begin with two underscores.
fn variables(text: &str) -> BTreeSet<String> {
    let named = text.split('$').skip(1).map(|rest| {
        let rest = rest.trim_start_matches('{');
        rest.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').next().unwrap_or_default()
    });
    // A pattern may end in `$`, and `$1` is a group of one.
    let is_variable = |name: &&str| name.starts_with(|first: char| first.is_ascii_alphabetic());
    named.filter(is_variable).map(str::to_owned).collect()
}

#[test]
fn languages_differ_only_in_texts() {
    for board in boards() {
        let [english, russian] = Language::ALL.map(|language| board.json(language));
        compare(&english, &russian, "");
    }
}

/// Keys of texts for people; `sortBy` refers to its column by its display name.
const TEXTS: [&str; 6] = ["title", "description", "label", "tooltip", "legendFormat", "displayName"];

fn compare(english: &Value, russian: &Value, path: &str) {
    let key = path.rsplit('/').find(|part| part.parse::<usize>().is_err()).unwrap_or_default();
    match (english, russian) {
        (Value::Object(one), Value::Object(other)) => {
            assert_eq!(Vec::from_iter(one.keys()), Vec::from_iter(other.keys()), "{path}");
            // The text of an override is under `value`.
            let text = one.get("id").and_then(Value::as_str).filter(|id| TEXTS.contains(id));
            for (key, value) in one {
                let key_of_text = text.filter(|_| key == "value").unwrap_or(key);
                compare(value, &other[key], &format!("{path}/{key_of_text}"));
            }
        }
        (Value::Array(one), Value::Array(other)) => {
            assert_eq!(one.len(), other.len(), "{path}");
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                compare(one, other, &format!("{path}/{index}"));
            }
        }
        (Value::String(one), Value::String(other)) => {
            assert!(!one.trim().is_empty() || one == other, "{path} is empty");
            assert!(!one.chars().any(is_cyrillic), "{path}: “{one}” is not English");
            // The text of a mapping is under `text`, as are the choices of variables, which are names.
            let is_text = TEXTS.contains(&key) || key == "text" && path.contains("/options/");
            let coded = one.replace("-en", "-ru") == *other && key != "text" || [one.as_str(), other] == ["en", "ru"];
            match one == other {
                true => {
                    let name = one.contains("{{") || ["Prometheus", "Redis", "limit"].contains(&one.as_str());
                    assert!(!is_text || name, "{path}: “{one}” has no Russian text");
                }
                false if coded => {}
                false => {
                    assert!(is_text, "{path} differs: {one} and {other}");
                    assert!(other.chars().any(is_cyrillic), "{path}: “{other}” is not Russian");
                }
            }
        }
        (one, other) => assert_eq!(one, other, "{path}"),
    }
}

fn is_cyrillic(letter: char) -> bool {
    ('а'..='я').contains(&letter) || ('А'..='Я').contains(&letter) || "ёЁ".contains(letter)
}

#[test]
fn every_panel_has_a_description() {
    for (name, board) in files() {
        for panel in panels(&board).into_iter().filter(|panel| panel["type"] != "row") {
            let title = panel["title"].as_str().expect("a title");
            let description = panel["description"].as_str().unwrap_or_default();
            assert!(description.ends_with('.') && !description.contains("  "), "{name}: {title}: {description}");
            let limit = 6 * panel["gridPos"]["w"].as_u64().expect("a width") as usize;
            assert!(title.chars().count() <= limit, "{name}: the title {title} is too long for a small screen");
            assert!(!panel["targets"].as_array().expect("queries").is_empty(), "{name}: {title} has no query");
        }
    }
}

#[test]
fn queries_use_existing_metrics() {
    let series_names = |family: &Family| {
        let names = family.names().map(|(_, name)| name);
        match family.kind {
            MetricKind::Histogram => names.map(|name| format!("{name}_bucket")).collect::<Vec<_>>(),
            MetricKind::Gauge | MetricKind::Counter => names.collect(),
        }
    };
    let mut known: BTreeSet<String> = Family::all().iter().flat_map(series_names).collect();
    known.extend(processor::FOREIGN.map(str::to_owned));
    for (name, board) in files() {
        for query in queries(&board) {
            // A metric name precedes `{`, or is the first argument of `label_values`.
            let asked = query.match_indices('{').map(|(at, _)| words_of(&query[..at]).pop().expect("a name"));
            let all = query.strip_prefix("label_values(").and_then(|rest| rest.split([',', '{']).next());
            for metric in asked.chain(all) {
                assert!(known.contains(metric), "{name}: unknown metric {metric} in {query}");
            }
            for word in words_of(query).into_iter().filter(|word| word.starts_with("funnelwatch_")) {
                assert!(known.contains(word), "{name}: unknown metric {word} in {query}");
            }
        }
    }
}

/// Thresholds come from exported norms and limits. The only numbers in queries are 0, 1 and quantiles.
#[test]
fn no_threshold_is_hard_coded() {
    for (name, board) in files() {
        for query in queries(&board) {
            for number in words_of(query).into_iter().filter(|word| word.parse::<f64>().is_ok()) {
                assert!(["0", "1", "0.5", "0.9", "0.99"].contains(&number), "{name}: {number} in {query}");
            }
        }
        for panel in panels(&board) {
            thresholds(panel, &mut |value| {
                assert!(value.is_null() || value == 0 || value == 1, "{name}: {value} in {}", panel["title"]);
            });
        }
    }
}

/// Visits the values of all steps and the ends of all scales.
fn thresholds(value: &Value, visit: &mut impl FnMut(&Value)) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| thresholds(item, visit)),
        Value::Object(members) => {
            if let Some(steps) = members.get("steps").and_then(Value::as_array) {
                steps.iter().for_each(|step| visit(&step["value"]));
            }
            let ends = ["min", "max"];
            if members.get("id").and_then(Value::as_str).is_some_and(|id| ends.contains(&id)) {
                visit(&members["value"]);
            }
            ends.iter().filter_map(|end| members.get(*end)).for_each(&mut *visit);
            members.values().for_each(|member| thresholds(member, visit));
        }
        _ => {}
    }
}

/// The query builder rejects labels and functions that a metric does not support.
mod rejected {
    use super::promql::{norm, of_managers};
    use funnelwatch::domain::rule::Rule;
    use funnelwatch::telemetry::metric::Metric;

    #[test]
    #[should_panic(expected = "has no free label clock")]
    fn matcher_on_an_unknown_label() {
        let _ = of_managers("awaiting_first_response").with_label("clock", "wall");
    }

    #[test]
    #[should_panic(expected = "has no label rule")]
    fn sum_by_an_unknown_label() {
        let _ = of_managers("awaiting_first_response").deduplicated().sum(&["rule"]);
    }

    #[test]
    #[should_panic(expected = "has no label clock")]
    fn join_on_an_unknown_label() {
        let _ = of_managers("awaiting_first_response")
            .deduplicated()
            .divided_by(norm(Metric::NormWithin, Rule::Neglected).deduplicated());
    }

    #[test]
    #[should_panic(expected = "is not a counter")]
    fn rate_of_a_gauge() {
        let _ = of_managers("awaiting_first_response").rate();
    }
}
