//! Reads the norms, steps and expectations of a scenario script, and writes it with other expectations.
//!
//! ```text
//! # What the scenario shows.
//! norms: {first_response_late: {within: 15m}}            norms, in the format of the configuration
//! ---
//! > 10:00 lead_created lead_id=1 manager_id=ann          an event, its payload and the fields of the payload
//! > watermark 10:20                                      moves the watermark; the expected output follows
//! 10:15 FIRING first_response_late lead:1 ann/unknown severity=warning since=10:00 due=10:15 lag_seconds=900
//! > figures manager:ann 1h violations                    a row at the watermark, without zeros
//! violations.first_response_late 1
//! ```
//!
//! Times are UTC on Monday 2026-03-02, or `+1d 10:00`, `-2d 9:30:15.250`. Fields are `name=value`, quoted if the value
//! has spaces; `entity=lead:1`, `contacts=+78121234567,bob@example.com,CHAT:bob`; `deadline` and names ending in `_at` take a time, or
//! an instant as in JSON (`0001-01-01T00:00:00Z`). A field that is left out is absent. `id=` is the event id (by default
//! unique; `id=-`: none), `tenant=` the tenant. `phone="+78120000001; +78120000002"` and
//! `contact="bob@example.com; eve@example.com"` are several contacts in one field, `contact=CHAT:@bob` is a handle.
//!
//! Other steps: `wall 10:05` sets the wall clock (by default the time of the event), `tide crm telephony(idle)` moves the
//! watermark by the progress of these sources, `norms {neglected: {within: 1h}}` puts other norms in force. Blank lines
//! and comments are kept.

use funnelwatch::domain::event::Channel;
use funnelwatch::domain::time::{Span, Timestamp};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// Monday 2026-03-02.
const BASE: Timestamp = Timestamp(1_772_409_600_000);

/// A parsed script.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) norms: String,
    lines: Vec<Line>,
}

#[derive(Clone, Debug)]
enum Line {
    /// A comment or a blank line.
    Comment(String),
    /// A step as written and as parsed, with its expected output.
    Step { text: String, step: Step, expected: Vec<String> },
}

/// A step of a script.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// An event arrives, as JSON.
    Event(Box<Value>),
    /// The watermark moves to this instant.
    Watermark(Timestamp),
    /// The watermark moves by the progress of the sources of these topics; the flag means idle.
    ShardProgress(Vec<(String, bool)>),
    /// The wall clock is this instant from now on.
    Wall(Timestamp),
    /// Other norms come into force.
    Norms(String),
    /// A row is read: its subject, its window, and the prefixes of the keys to show (empty: all).
    Figures(String, String, Vec<String>),
}

impl Script {
    /// Parses a script; the error names the line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (norms, body) = text.split_once("\n---\n").ok_or("no line `---` after the norms")?;
        let first = norms.lines().count() + 2;
        let mut lines = Vec::new();
        for (line_number, line) in (first..).zip(body.lines()) {
            if let Some(text) = line.strip_prefix("> ") {
                let step = step(text).map_err(|problem| format!("line {line_number}: {problem}"))?;
                lines.push(Line::Step { text: text.into(), step, expected: Vec::new() });
            } else if line.is_empty() || line.starts_with('#') {
                lines.push(Line::Comment(line.into()));
            } else {
                let step = lines.iter_mut().rev().find_map(|line| match line {
                    Line::Step { expected, .. } => Some(expected),
                    Line::Comment(_) => None,
                });
                step.ok_or(format!("line {line_number}: expected output before the first step"))?.push(line.into());
            }
        }
        Ok(Self { norms: norms.into(), lines })
    }

    /// The steps, in order.
    pub(crate) fn steps(&self) -> impl Iterator<Item = &Step> {
        self.lines.iter().filter_map(|line| match line {
            Line::Step { step, .. } => Some(step),
            Line::Comment(_) => None,
        })
    }

    /// The script with this output after each step instead of the expected one.
    pub(crate) fn with(&self, output: &[Vec<String>]) -> Self {
        let mut output = output.iter();
        let mut script = self.clone();
        for line in &mut script.lines {
            if let Line::Step { expected, .. } = line {
                expected.clone_from(output.next().expect("output of every step"));
            }
        }
        script
    }

    /// The text of the file.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}\n---\n", self.norms);
        for line in &self.lines {
            match line {
                Line::Comment(comment) => writeln!(text, "{comment}"),
                Line::Step { text: step, expected, .. } => {
                    let output: String = expected.iter().map(|line| format!("{line}\n")).collect();
                    write!(text, "> {step}\n{output}")
                }
            }
            .expect("text");
        }
        text
    }
}

/// A time in the format of scripts.
pub(crate) fn show(at: Timestamp) -> String {
    let since = at - BASE;
    let (day, rest) = (since.0.div_euclid(Span::DAY.0), since.0.rem_euclid(Span::DAY.0));
    let mut text = if day == 0 { String::new() } else { format!("{day:+}d ") };
    let (hours, minutes) = (rest / Span::HOUR.0, rest / Span::MINUTE.0 % 60);
    write!(text, "{hours:02}:{minutes:02}").expect("text");
    let millis = rest % Span::MINUTE.0;
    if millis != 0 {
        write!(text, ":{:02}", millis / 1000).expect("text");
    }
    if millis % 1000 != 0 {
        write!(text, ".{:03}", millis % 1000).expect("text");
    }
    text
}

fn step(text: &str) -> Result<Step, String> {
    if let Some(norms) = text.strip_prefix("norms ") {
        return Ok(Step::Norms(format!("norms: {norms}")));
    }
    let mut words = words(text)?;
    let mut first = words.remove(0);
    if first.starts_with(['+', '-']) && first.ends_with('d') && !words.is_empty() {
        first = format!("{first} {}", words.remove(0));
    }
    match first.as_str() {
        "watermark" => Ok(Step::Watermark(instant(&words.join(" "))?)),
        "wall" => Ok(Step::Wall(instant(&words.join(" "))?)),
        "tide" => Ok(Step::ShardProgress(
            words
                .into_iter()
                .map(|word| match word.strip_suffix("(idle)") {
                    Some(topic) => (topic.into(), true),
                    None => (word, false),
                })
                .collect(),
        )),
        "figures" if words.len() >= 2 => {
            let keys = words.split_off(2);
            let window = words.remove(1);
            Ok(Step::Figures(words.remove(0), window, keys))
        }
        time if !words.is_empty() => event(instant(time)?, &words.remove(0), &words),
        _ => Err(format!("unknown step: {text}")),
    }
}

/// An event as JSON.
fn event(at: Timestamp, name: &str, words: &[String]) -> Result<Step, String> {
    let mut event = Map::new();
    let mut payload = Map::new();
    event.insert("tenant_id".into(), json!("acme"));
    event.insert("occurred_at".into(), json!(at.to_string()));
    for word in words {
        let (key, value) = word.split_once('=').ok_or(format!("not a field: {word}"))?;
        match key {
            "id" => event.insert("event_id".into(), json!(value)),
            "tenant" => event.insert("tenant_id".into(), json!(value)),
            _ => payload.insert(key.into(), field(key, value)?),
        };
    }
    event.insert(name.into(), payload.into());
    Ok(Step::Event(Box::new(event.into())))
}

/// Whether a field is an instant.
fn is_time(key: &str) -> bool {
    key.ends_with("_at") || key == "deadline"
}

fn field(key: &str, value: &str) -> Result<Value, String> {
    let number = || value.parse::<serde_json::Number>().map_err(|error| format!("{key}: {error}"));
    Ok(match key {
        "entity" | "into" => {
            let (kind, id) = value.split_once(':').ok_or(format!("not an entity: {value}"))?;
            json!({"kind": kind.to_uppercase(), "id": id})
        }
        "contact" => contact(value),
        "contacts" => value.split(',').map(contact).collect(),
        "filled_fields" => value.split(',').collect(),
        "automatic" | "active" => json!(value.parse::<bool>().map_err(|error| format!("{key}: {error}"))?),
        "score" | "amount_minor" | "installment_months" => number()?.into(),
        _ if key.ends_with("_seconds") || key.ends_with("_percent") => number()?.into(),
        _ if is_time(key) && (value.ends_with('Z') || value.contains('T')) => json!(value),
        _ if is_time(key) => json!(instant(value)?.to_string()),
        _ => json!(value),
    })
}

fn contact(text: &str) -> Value {
    let is_channel = |word: &str| Channel::ALL.iter().any(|channel| channel.name() == word);
    match text.split_once(':') {
        Some((channel, handle)) if is_channel(channel) => json!({"handle": handle, "channel": channel}),
        _ if text.contains('@') => json!({"email": text}),
        _ => json!({"phone": text}),
    }
}

/// `10:00`, `10:00:05.250`, `+1d 10:00`.
fn instant(text: &str) -> Result<Timestamp, String> {
    let read = || {
        let (days, time) = text.split_once("d ").unwrap_or(("0", text));
        let (hours, rest) = time.split_once(':')?;
        let (minutes, seconds) = rest.split_once(':').unwrap_or((rest, "0"));
        let minutes =
            days.parse::<i64>().ok()? * 24 * 60 + hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?;
        let seconds = Span::from_seconds(seconds.parse::<f64>().ok()?);
        Some(BASE + Span(minutes * Span::MINUTE.0 + seconds.0))
    };
    read().ok_or(format!("not a time: {text}"))
}

/// Splits at spaces outside quotes.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in text.chars() {
        match letter {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            other => words.last_mut().expect("at least one word").push(other),
        }
    }
    if quoted {
        return Err("unterminated quote".into());
    }
    words.retain(|word| !word.is_empty());
    if words.is_empty() { Err("empty step".into()) } else { Ok(words) }
}
