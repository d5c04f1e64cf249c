//! Owns the form of a script: reads its norms, steps and expectations, and writes it again with other expectations.
//!
//! ```text
//! # What the story is about.
//! norms: {first_response_late: {within: 15m}}            norms, as a user writes them
//! ---
//! > 10:00 lead_created lead_id=1 manager_id=ann          an event; behind its name the fields of its payload
//! > watermark 10:20                                      the watermark moves; what came of it stands below
//! 10:15 FIRING first_response_late lead:1 ann/unknown warning since=10:00 due=10:15 lag_seconds=900
//! > figures manager:ann 1h violations                    a row at the watermark: what of it is not zero
//! violations.first_response_late 1
//! ```
//!
//! Times are UTC, on Monday 2026-03-02 or `+1d 10:00`, `-2d 9:30:15.250`. Fields are words `name=value`, with quotes
//! where the value has spaces; `entity=lead:1`, `contacts=+78121234567,bob@example.com,CHAT:bob`, and names that end in
//! `_at` take a time. `id=` is the event's id (else each event has its own, `id=-`: none), `tenant=` its tenant.
//!
//! Other steps: `wall 10:05` sets the wall clock (else it shows the time of the event that comes in), `tide crm
//! telephony(idle)` moves the watermark by what the sources have told, `norms {neglected: {within: 1h}}` puts other norms
//! in force. Blank lines and comments stay where they are.

use funnelwatch::domain::time::{Span, Timestamp};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// Monday 2026-03-02.
const BASE: Timestamp = Timestamp(1_772_409_600_000);

/// A script as it stands in its file.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) norms: String,
    lines: Vec<Line>,
}

#[derive(Clone, Debug)]
enum Line {
    /// A comment or a blank line.
    Aside(String),
    /// A step, as written, and what is expected of it.
    Step { text: String, step: Step, expected: Vec<String> },
}

/// What happens.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// An event comes in, as JSON.
    Event(Box<Value>),
    /// The watermark moves to this instant.
    Watermark(Timestamp),
    /// The watermark moves by the sources of these topics, each idle or not.
    ShardProgress(Vec<(String, bool)>),
    /// The wall clock shows this instant from now on.
    Wall(Timestamp),
    /// Other norms are in force.
    Norms(String),
    /// Somebody looks at a row: its subject, its window, and the keys that matter (none: all).
    Figures(String, String, Vec<String>),
}

impl Script {
    /// Reads a script; says what is wrong with which line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (norms, body) = text.split_once("\n---\n").ok_or("no line `---` after the norms")?;
        let first = norms.lines().count() + 2;
        let mut lines = Vec::new();
        for (number, line) in (first..).zip(body.lines()) {
            if let Some(text) = line.strip_prefix("> ") {
                let step = step(text).map_err(|problem| format!("line {number}: {problem}"))?;
                lines.push(Line::Step { text: text.into(), step, expected: Vec::new() });
            } else if line.is_empty() || line.starts_with('#') {
                lines.push(Line::Aside(line.into()));
            } else {
                let step = lines.iter_mut().rev().find_map(|line| match line {
                    Line::Step { expected, .. } => Some(expected),
                    Line::Aside(_) => None,
                });
                step.ok_or(format!("line {number}: nothing has happened yet"))?.push(line.into());
            }
        }
        Ok(Self { norms: norms.into(), lines })
    }

    /// What happens, in order.
    pub(crate) fn steps(&self) -> impl Iterator<Item = &Step> {
        self.lines.iter().filter_map(|line| match line {
            Line::Step { step, .. } => Some(step),
            Line::Aside(_) => None,
        })
    }

    /// The script with what `told` says after each step instead of what was expected.
    pub(crate) fn with(&self, told: &[Vec<String>]) -> Self {
        let mut told = told.iter();
        let mut script = self.clone();
        for line in &mut script.lines {
            if let Line::Step { expected, .. } = line {
                expected.clone_from(told.next().expect("told of every step"));
            }
        }
        script
    }

    /// The text of the file.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}\n---\n", self.norms);
        for line in &self.lines {
            match line {
                Line::Aside(aside) => writeln!(text, "{aside}"),
                Line::Step { text: step, expected, .. } => {
                    let told: String = expected.iter().map(|line| format!("{line}\n")).collect();
                    write!(text, "> {step}\n{told}")
                }
            }
            .expect("text");
        }
        text
    }
}

/// A time as scripts write it.
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
        _ => Err(format!("no step: {text}")),
    }
}

/// An event as its source would write it in JSON.
fn event(at: Timestamp, name: &str, words: &[String]) -> Result<Step, String> {
    let mut event = Map::new();
    let mut payload = Map::new();
    event.insert("tenant_id".into(), json!("acme"));
    event.insert("occurred_at".into(), json!(at.to_string()));
    for word in words {
        let (key, value) = word.split_once('=').ok_or(format!("no field: {word}"))?;
        match key {
            "id" => event.insert("event_id".into(), json!(value)),
            "tenant" => event.insert("tenant_id".into(), json!(value)),
            _ => payload.insert(key.into(), field(key, value)?),
        };
    }
    event.insert(name.into(), payload.into());
    Ok(Step::Event(Box::new(event.into())))
}

fn field(key: &str, value: &str) -> Result<Value, String> {
    let number = || value.parse::<serde_json::Number>().map_err(|error| format!("{key}: {error}"));
    Ok(match key {
        "entity" => {
            let (kind, id) = value.split_once(':').ok_or(format!("no entity: {value}"))?;
            json!({"kind": kind.to_uppercase(), "id": id})
        }
        "contact" => contact(value),
        "contacts" => value.split(',').map(contact).collect(),
        "filled_fields" => value.split(',').collect(),
        "automatic" | "active" => json!(value.parse::<bool>().map_err(|error| format!("{key}: {error}"))?),
        "score" | "amount_minor" | "installment_months" => number()?.into(),
        _ if key.ends_with("_seconds") || key.ends_with("_percent") => number()?.into(),
        _ if key.ends_with("_at") => json!(instant(value)?.to_string()),
        _ => json!(value),
    })
}

fn contact(text: &str) -> Value {
    match text.split_once(':') {
        Some((channel, handle)) => json!({"handle": handle, "channel": channel}),
        None if text.contains('@') => json!({"email": text}),
        None => json!({"phone": text}),
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
    read().ok_or(format!("no time: {text}"))
}

/// Words between spaces; quotes hold spaces together.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in text.chars() {
        match letter {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            other => words.last_mut().expect("one at least").push(other),
        }
    }
    if quoted {
        return Err("a quote that does not end".into());
    }
    words.retain(|word| !word.is_empty());
    if words.is_empty() { Err("an empty step".into()) } else { Ok(words) }
}
