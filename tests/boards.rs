//! Owns Grafana's boards: declares them once, with English and Russian texts side by side and queries built from the
//! enum of metrics, writes them to `k8s/boards` (`UPDATE_DOCS=1 cargo test --test boards`), and fails when the files
//! there differ. `boards/check` holds the files against Grafana's own schema.

#[path = "boards/board.rs"]
mod board;
#[path = "boards/head_of_sales.rs"]
mod head_of_sales;
#[path = "boards/processor.rs"]
mod processor;
#[path = "boards/promql.rs"]
mod promql;
#[path = "boards/words.rs"]
mod words;

use board::Board;
use funnelwatch::telemetry::metric::{Metric, MetricKind};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use words::Language;

fn boards() -> [Board; 2] {
    [head_of_sales::board(), processor::board()]
}

/// Every board in every language, by the name of its file.
fn files() -> Vec<(String, Value)> {
    let of =
        |board: &Board, language: Language| (format!("{}.{}.json", board.name, language.code()), board.json(language));
    boards().iter().flat_map(|board| Language::ALL.map(|language| of(board, language))).collect()
}

/// The panels of a board, those under folded rows too, rows themselves included.
fn panels(board: &Value) -> Vec<&Value> {
    let mut all = Vec::new();
    for panel in board["panels"].as_array().expect("panels") {
        all.push(panel);
        all.extend(panel["panels"].as_array().into_iter().flatten());
    }
    all
}

/// Every string in a board, with the key that it stands under.
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

/// The words of a query that stand outside of quotes: names, numbers, durations.
fn words_of(query: &str) -> Vec<&str> {
    let outside = query.split('"').step_by(2);
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || "_$.".contains(letter);
    outside.flat_map(|part| part.split(move |letter| !is_word(letter))).filter(|word| !word.is_empty()).collect()
}

#[test]
fn the_files_are_these() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("k8s/boards");
    for (name, board) in files() {
        let (file, text) = (folder.join(&name), format!("{board:#}\n"));
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(&folder).expect("a writable folder k8s/boards");
            std::fs::write(&file, &text).expect("a writable folder k8s/boards");
        }
        let found = std::fs::read_to_string(file).unwrap_or_default();
        assert!(found == text, "k8s/boards/{name} is stale: UPDATE_DOCS=1 cargo test --test boards");
    }
}

#[test]
fn panels_have_numbers_of_their_own_and_do_not_overlap() {
    for (name, board) in files() {
        let mut ids = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for panel in panels(&board) {
            let id = panel["id"].as_u64().expect("an id");
            assert!(id > 0 && ids.insert(id), "{name}: panel {id} twice");
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().expect("a place"));
            assert!(w > 0 && h > 0 && x + w <= 24, "{name}: panel {id} does not fit");
            for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(taken.insert(place), "{name}: panel {id} lies on another one");
            }
        }
    }
}

/// Links and bookmarks name boards by their uid: they must not change.
#[test]
fn uids_are_what_they_were() {
    let uids: Vec<String> = files().iter().map(|(_, board)| board["uid"].as_str().expect("a uid").to_owned()).collect();
    let known = ["head-of-sales-en", "head-of-sales-ru", "processor-en", "processor-ru"];
    assert_eq!(uids, known.map(|name| format!("funnelwatch-{name}")));
    assert!(uids.iter().all(|uid| uid.len() <= 40), "Grafana takes 40 letters");
}

#[test]
fn variables_are_declared_and_used() {
    for (name, board) in files() {
        let mut declared = BTreeSet::new();
        for variable in board["templating"]["list"].as_array().expect("variables") {
            let (variable, text) = (variable["name"].as_str().expect("a name"), variable.to_string());
            for used in variables(&text) {
                assert!(declared.contains(&used), "{name}: {variable} asks with ${used}, which stands after it");
            }
            assert!(declared.insert(variable.to_owned()), "{name}: {variable} twice");
        }
        let used = variables(&board["panels"].to_string());
        assert_eq!(used, declared, "{name}: used and declared variables");
    }
}

/// The variables of a board that a text names; those of Grafana itself begin with two underscores.
fn variables(text: &str) -> BTreeSet<String> {
    let named = text.split('$').skip(1).map(|rest| {
        let rest = rest.trim_start_matches('{');
        rest.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').next().unwrap_or_default()
    });
    // A pattern may end in `$`, which names nothing.
    named.filter(|name| !name.is_empty() && !name.starts_with("__")).map(str::to_owned).collect()
}

#[test]
fn languages_differ_in_texts_alone() {
    for board in boards() {
        let [english, russian] = Language::ALL.map(|language| board.json(language));
        compare(&english, &russian, "");
    }
}

/// Places that hold texts for people; `sortBy` names its column by its text.
const TEXTS: [&str; 6] = ["title", "description", "label", "tooltip", "legendFormat", "displayName"];

fn compare(english: &Value, russian: &Value, path: &str) {
    let key = path.rsplit('/').find(|part| part.parse::<usize>().is_err()).unwrap_or_default();
    match (english, russian) {
        (Value::Object(one), Value::Object(other)) => {
            assert_eq!(Vec::from_iter(one.keys()), Vec::from_iter(other.keys()), "{path}");
            // What an override sets to a text stands under `value`.
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
            // A mapping's text stands under `text`, as do the choices of variables, which are names.
            let told = TEXTS.contains(&key) || key == "text" && path.contains("/options/");
            let coded = one.replace("-en", "-ru") == *other && key != "text" || [one.as_str(), other] == ["en", "ru"];
            match one == other {
                true => {
                    let name = one.contains("{{") || ["Prometheus", "Redis", "limit"].contains(&one.as_str());
                    assert!(!told || name, "{path}: “{one}” has no Russian text");
                }
                false if coded => {}
                false => {
                    assert!(told, "{path} differs: {one} and {other}");
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
fn every_panel_says_what_to_do() {
    for (name, board) in files() {
        for panel in panels(&board).into_iter().filter(|panel| panel["type"] != "row") {
            let title = panel["title"].as_str().expect("a title");
            let says = panel["description"].as_str().unwrap_or_default();
            assert!(says.ends_with('.') && !says.contains("  "), "{name}: {title}: {says}");
            let room = 6 * panel["gridPos"]["w"].as_u64().expect("a width") as usize;
            assert!(title.chars().count() <= room, "{name}: {title} does not fit into its head on a small screen");
            assert!(!panel["targets"].as_array().expect("queries").is_empty(), "{name}: {title} asks nothing");
        }
    }
}

#[test]
fn queries_name_metrics_that_there_are() {
    let histograms = |metric: &Metric| {
        let names = metric.names().map(|(_, name)| name);
        match metric.kind() {
            MetricKind::Histogram => names.map(|name| format!("{name}_bucket")).collect::<Vec<_>>(),
            MetricKind::Gauge | MetricKind::Counter => names.collect(),
        }
    };
    let mut known: BTreeSet<String> = Metric::ALL.iter().flat_map(histograms).collect();
    known.extend(processor::FOREIGN.map(str::to_owned));
    for (name, board) in files() {
        for query in queries(&board) {
            // What is asked for stands before `{`, or is the first of `label_values`.
            let asked = query.match_indices('{').map(|(at, _)| words_of(&query[..at]).pop().expect("a name"));
            let all = query.strip_prefix("label_values(").and_then(|rest| rest.split([',', '{']).next());
            for metric in asked.chain(all) {
                assert!(known.contains(metric), "{name}: there is no {metric}, which {query} asks for");
            }
            for word in words_of(query).into_iter().filter(|word| word.starts_with("funnelwatch_")) {
                assert!(known.contains(word), "{name}: there is no {word}, which {query} asks for");
            }
        }
    }
}

/// Thresholds come from norms and limits that are exported. What numbers there are mean nothing else than "none",
/// "one", "all of it", a quantile, or a quarter of nothing.
#[test]
fn no_threshold_is_typed() {
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

/// The values of all steps, and the ends of all scales.
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

/// The builder of queries itself: what is not there is not asked for.
mod refused {
    use crate::promql::{norm, of_managers};
    use funnelwatch::domain::rule::Rule;
    use funnelwatch::telemetry::metric::Metric;

    #[test]
    #[should_panic(expected = "has no free label clock")]
    fn a_matcher_on_no_label() {
        let _ = of_managers(Metric::Awaiting).is("clock", "wall");
    }

    #[test]
    #[should_panic(expected = "has no label rule")]
    fn a_sum_by_no_label() {
        let _ = of_managers(Metric::Awaiting).once().sum(&["rule"]);
    }

    #[test]
    #[should_panic(expected = "has no label clock")]
    fn a_join_on_no_label() {
        let _ = of_managers(Metric::Awaiting).once().over(norm(Metric::NormWithin, Rule::Neglected).once());
    }

    #[test]
    #[should_panic(expected = "is no counter")]
    fn the_rate_of_a_gauge() {
        let _ = of_managers(Metric::Awaiting).rate();
    }
}
