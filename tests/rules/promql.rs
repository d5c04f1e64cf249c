//! A partial PromQL parser for checks of expressions against the exported metrics: the selected series, their matchers
//! and the labels used for grouping. It does not validate syntax; Prometheus does.

// Each test uses a part of this.
#![allow(dead_code, unreachable_pub)]

use saphyr::{LoadableYamlNode, YamlOwned};
use std::path::{Path, PathBuf};

/// A file of the repository.
pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The text of a file of the repository.
pub fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The only document of a YAML text.
pub fn yaml(text: &str) -> YamlOwned {
    YamlOwned::load_from_str(text).expect("YAML").pop().expect("a document")
}

/// The sequence under a key, or an empty one.
pub fn list<'a>(node: &'a YamlOwned, key: &str) -> &'a [YamlOwned] {
    node.as_mapping_get(key).and_then(|list| list.as_sequence()).map_or(&[], Vec::as_slice)
}

/// The text under a key.
pub fn text<'a>(node: &'a YamlOwned, key: &str) -> Option<&'a str> {
    node.as_mapping_get(key)?.as_str()
}

/// The rule file.
pub const RULES: &str = "k8s/prometheus/funnelwatch.rules.yml";

/// A recording or alerting rule.
pub struct Rule {
    pub name: String,
    pub alerts: bool,
    pub expr: String,
    /// Whether it has a `for` duration.
    pub waits: bool,
    pub severity: Option<String>,
    /// Names and texts.
    pub annotations: Vec<(String, String)>,
}

/// All rules, in order.
pub fn rules() -> Vec<Rule> {
    let document = yaml(&read(RULES));
    let rules = list(&document, "groups").iter().flat_map(|group| list(group, "rules"));
    rules
        .map(|rule| {
            let (alerts, name) = match (text(rule, "alert"), text(rule, "record")) {
                (Some(name), None) => (true, name),
                (None, Some(name)) => (false, name),
                _ => panic!("neither `alert` nor `record`: {rule:?}"),
            };
            let annotations = rule.as_mapping_get("annotations").and_then(|all| all.as_mapping());
            let annotations = annotations.into_iter().flatten();
            let owned = |node: &YamlOwned| node.as_str().expect("text").to_owned();
            Rule {
                name: name.to_owned(),
                alerts,
                expr: text(rule, "expr").unwrap_or_else(|| panic!("{name} has no `expr`")).to_owned(),
                waits: text(rule, "for").is_some(),
                severity: rule.as_mapping_get("labels").and_then(|labels| text(labels, "severity")).map(str::to_owned),
                annotations: annotations.map(|(key, value)| (owned(key), owned(value))).collect(),
            }
        })
        .collect()
}

/// The selectors and labels of an expression.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub selectors: Vec<Selector>,
    /// In `by`, `without`, `on`, `ignoring`, `group_left` and `group_right`.
    pub grouping: Vec<String>,
    /// The labels that `label_replace` and `label_join` create.
    pub created: Vec<String>,
}

/// A selector of series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selector {
    pub metric: String,
    /// Labels, operators and values.
    pub matchers: Vec<(String, String, String)>,
}

impl Selector {
    /// Its PromQL text.
    pub fn text(&self) -> String {
        let matchers: Vec<String> =
            self.matchers.iter().map(|(label, op, value)| format!("{label}{op}{value}")).collect();
        if matchers.is_empty() { self.metric.clone() } else { format!("{}{{{}}}", self.metric, matchers.join(", ")) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Name(String),
    /// Including its quotes.
    Text(String),
    /// Numbers and durations.
    Number,
    Sign(String),
}

fn tokens(expr: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = expr;
    while let Some(first) = rest.chars().next() {
        let is_name = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | ':');
        let end = |keep: &dyn Fn(char) -> bool| rest.find(|letter| !keep(letter)).unwrap_or(rest.len());
        let length = if first.is_whitespace() {
            end(&char::is_whitespace)
        } else if first == '#' {
            end(&|letter| letter != '\n')
        } else if matches!(first, '"' | '\'' | '`') {
            let mut escaped = false;
            let closing = rest.char_indices().skip(1).find(|(_, letter)| {
                let closes = *letter == first && !escaped;
                escaped = *letter == '\\' && !escaped && first != '`';
                closes
            });
            let length = closing.map_or(rest.len(), |(at, _)| at + 1);
            tokens.push(Token::Text(rest[..length].to_owned()));
            length
        } else if first.is_ascii_digit() {
            tokens.push(Token::Number);
            end(&|letter| letter.is_alphanumeric() || letter == '.')
        } else if is_name(first) && first != ':' {
            let length = end(&is_name);
            tokens.push(Token::Name(rest[..length].to_owned()));
            length
        } else {
            let two = ["!=", "=~", "!~", "==", ">=", "<="].into_iter().find(|sign| rest.starts_with(sign));
            let length = two.map_or(first.len_utf8(), str::len);
            tokens.push(Token::Sign(rest[..length].to_owned()));
            length
        };
        rest = &rest[length..];
    }
    tokens
}

/// Keywords that are not metrics although no parenthesis follows.
const WORDS: &[&str] = &[
    "and",
    "or",
    "unless",
    "atan2",
    "offset",
    "bool",
    "start",
    "end",
    "inf",
    "Inf",
    "nan",
    "NaN",
    "sum",
    "min",
    "max",
    "avg",
    "group",
    "stddev",
    "stdvar",
    "count",
    "count_values",
    "bottomk",
    "topk",
    "quantile",
];

/// The selectors and labels of an expression. Variables of boards must have been replaced.
pub fn names(expr: &str) -> Names {
    let tokens = tokens(expr);
    let sign = |at: usize, wanted: &str| matches!(tokens.get(at), Some(Token::Sign(sign)) if sign == wanted);
    let mut names = Names::default();
    let mut at = 0;
    while at < tokens.len() {
        let Token::Name(word) = &tokens[at] else {
            at += 1;
            continue;
        };
        at += 1;
        if ["by", "without", "on", "ignoring", "group_left", "group_right"].contains(&word.as_str()) {
            // Without parentheses `group_left` has no labels.
            let list = if sign(at, "(") { &tokens[at..] } else { &[] };
            let list = list.split(|token| matches!(token, Token::Sign(sign) if sign == ")")).next().unwrap_or_default();
            names.grouping.extend(list.iter().filter_map(|token| match token {
                Token::Name(label) => Some(label.clone()),
                _ => None,
            }));
            at += list.len();
        } else if sign(at, "(") {
            if ["label_replace", "label_join"].contains(&word.as_str()) {
                names.created.extend(second_text(&tokens[at..]));
            }
        } else if !WORDS.contains(&word.as_str()) {
            let mut selector = Selector { metric: word.clone(), matchers: Vec::new() };
            if sign(at, "{") {
                while !sign(at, "}") && at < tokens.len() {
                    if let [Token::Name(label), Token::Sign(op), Token::Text(value)] =
                        &tokens[at..tokens.len().min(at + 3)]
                    {
                        selector.matchers.push((label.clone(), op.clone(), value.clone()));
                    }
                    at += 1;
                }
            }
            names.selectors.push(selector);
        }
    }
    names
}

/// The second argument of a call, if it is a string.
fn second_text(call: &[Token]) -> Option<String> {
    let mut depth = 0;
    let mut arguments = call.iter().filter(|token| {
        depth += match token {
            Token::Sign(sign) if ["(", "{", "["].contains(&sign.as_str()) => 1,
            Token::Sign(sign) if [")", "}", "]"].contains(&sign.as_str()) => -1,
            _ => 0,
        };
        depth == 1
    });
    arguments.find_map(|token| match token {
        Token::Text(text) => Some(text.trim_matches(['"', '\'', '`']).to_owned()),
        _ => None,
    })
}
