//! Runs scripts on a shard and its tenants' scoreboards, and formats the output of each step.
//!
//! Every alert is checked for the invariants of all alerts. Contacts are shown by phone or address instead of their key.

use super::script::{Script, Step, show};
use funnelwatch::codec::json;
use funnelwatch::codec::state::PACKING;
use funnelwatch::config;
use funnelwatch::domain::alert::{Alert, Resolution, Value as Number, Values, alert_id};
use funnelwatch::domain::effect::Effect;
use funnelwatch::domain::event::{Contact, Event, Payload};
use funnelwatch::domain::figures::row::Row;
use funnelwatch::domain::id::TenantId;
use funnelwatch::domain::identity;
use funnelwatch::domain::norms::Norms;
use funnelwatch::domain::review::{About, Medium, ReviewRequest};
use funnelwatch::domain::rule::{catalog, evidence};
use funnelwatch::domain::scoreboard::Scoreboard;
use funnelwatch::domain::shard::processor::{Effects, ShardProcessor, ShardProgress, SourceProgress, Timing};
use funnelwatch::domain::source::{Offset, Source, Topic};
use funnelwatch::domain::time::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How events are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// As in the script.
    AsWritten,
    /// Each event with an id twice.
    Twice,
    /// Events between two moves of the watermark in reverse order.
    Reversed,
    /// The watermark moves only at the last move.
    AtOnce,
}

/// The output of a script.
#[derive(Debug)]
pub(crate) struct RunOutput {
    pub(crate) output: Vec<Vec<String>>,
    /// Whether the output depends on when the watermark moves: events were late or rejected, sources moved it, or the
    /// norms changed.
    pub(crate) time_dependent: bool,
}

struct Harness {
    norms: Arc<Norms>,
    processor: ShardProcessor,
    scoreboards: BTreeMap<TenantId, Scoreboard>,
    /// Phones and addresses by their keys in alerts.
    contacts: BTreeMap<String, String>,
    wall: Option<Timestamp>,
    offset: Offset,
    time_dependent: bool,
}

impl Script {
    /// Runs the script.
    pub(crate) fn run(&self, delivery: Delivery) -> Result<RunOutput, String> {
        let document = config::parse_norms("norms", &self.norms).map_err(|problems| problems.to_string())?;
        let mut harness = Harness::new(document.norms);
        let last = self.steps().filter(|step| matches!(step, Step::Watermark(_))).count();
        let mut moves = 0;
        let mut waiting: Vec<(usize, Offset, Event)> = Vec::new();
        let mut output: Vec<Vec<String>> = Vec::new();
        for (index, step) in self.steps().enumerate() {
            output.push(Vec::new());
            if let Step::Event(event) = step {
                let (offset, event) = harness.decode(event)?;
                let again = event.clone();
                if delivery == Delivery::Reversed {
                    waiting.push((index, offset, event));
                    continue;
                }
                output[index] = harness.arrive(offset, event);
                if delivery == Delivery::Twice && again.id.is_some() {
                    let offset = harness.next_offset();
                    let second = harness.arrive(offset, again);
                    if output[index] != second {
                        return Err(format!("duplicate: {second:?}"));
                    }
                }
                continue;
            }
            for (index, offset, event) in waiting.drain(..).rev() {
                output[index] = harness.arrive(offset, event);
            }
            output[index] = match step {
                Step::Watermark(_) if delivery == Delivery::AtOnce && moves + 1 < last => Vec::new(),
                Step::Watermark(at) => harness.watermark(*at, delivery)?,
                Step::ShardProgress(sources) => harness.shard_progress(sources, delivery)?,
                Step::Wall(at) => {
                    harness.wall = Some(*at);
                    Vec::new()
                }
                Step::Norms(norms) => harness.reload(norms)?,
                Step::Figures(subject, window, keys) => harness.figures(subject, window, keys),
                Step::Event(_) => Vec::new(),
            };
            moves += usize::from(matches!(step, Step::Watermark(_)));
        }
        Ok(RunOutput { output, time_dependent: harness.time_dependent })
    }
}

impl Harness {
    fn new(norms: Norms) -> Self {
        let norms = Arc::new(norms);
        let processor = ShardProcessor::new(Arc::clone(&norms), Timing::default(), PACKING);
        let (scoreboards, contacts) = Default::default();
        Self { norms, processor, scoreboards, contacts, wall: None, offset: Offset(0), time_dependent: false }
    }

    fn reload(&mut self, norms: &str) -> Result<Vec<String>, String> {
        let document = config::parse_norms("norms", norms).map_err(|problems| problems.to_string())?;
        self.time_dependent = true;
        self.norms = Arc::new(document.norms);
        self.processor.reload(Arc::clone(&self.norms));
        self.scoreboards.values_mut().for_each(|scoreboard| scoreboard.reload(Arc::clone(&self.norms)));
        Ok(Vec::new())
    }

    fn next_offset(&mut self) -> Offset {
        self.offset = self.offset.next();
        self.offset
    }

    fn decode(&mut self, event: &Value) -> Result<(Offset, Event), String> {
        let offset = self.next_offset();
        let reject = |reject| format!("{event}: {reject}");
        let mut decoded = json::decode(event.to_string().as_bytes()).map_err(reject)?;
        decoded.id = match decoded.id {
            None => Some(format!("event {offset}").into()),
            given => given.filter(|id| id.as_str() != "-"),
        };
        let secret = self.norms.privacy_key.as_deref().unwrap_or(decoded.tenant.as_str());
        for contact in contacts(&decoded.payload) {
            for form in identity::normal_forms(&contact, self.norms.country) {
                let key = identity::key(&form, secret);
                self.contacts.insert(format!("contact:{key}"), format!("contact:{form}"));
            }
        }
        Ok((offset, decoded))
    }

    fn arrive(&mut self, offset: Offset, event: Event) -> Vec<String> {
        let source = Source::Topic(event.payload.topic());
        let wall = self.wall.unwrap_or(event.at);
        match self.processor.arrive(source, offset, event, wall) {
            Ok(()) => Vec::new(),
            Err(reason) => {
                self.time_dependent = true;
                vec![format!("refused: {}", reason.name())]
            }
        }
    }

    fn watermark(&mut self, at: Timestamp, delivery: Delivery) -> Result<Vec<String>, String> {
        self.advance(&ShardProgress { close: Some(at), ..ShardProgress::default() }, delivery)
    }

    fn shard_progress(&mut self, sources: &[(String, bool)], delivery: Delivery) -> Result<Vec<String>, String> {
        self.time_dependent = true;
        let source = |name: &str| Topic::ALL.into_iter().find(|topic| topic.name() == format!("{name}.events"));
        let sources: Option<_> =
            sources.iter().map(|(name, idle)| Some(SourceProgress::of(Source::Topic(source(name)?), *idle))).collect();
        let shard_progress =
            ShardProgress { wall: self.wall, sources: sources.ok_or("unknown topic")?, ..ShardProgress::default() };
        let rest = self.advance(&shard_progress, delivery)?;
        let watermark = match self.processor.watermark() {
            Timestamp::MIN => "none".into(),
            watermark => show(watermark),
        };
        Ok(std::iter::once(format!("watermark {watermark}")).chain(rest).collect())
    }

    fn advance(&mut self, shard_progress: &ShardProgress, delivery: Delivery) -> Result<Vec<String>, String> {
        let mut outputs = Vec::new();
        self.processor.advance(shard_progress, &mut outputs);
        let (mut alerts, mut reviews) = (Vec::new(), Vec::new());
        for Effects { tenant, effects, .. } in outputs {
            let norms = Arc::clone(&self.norms);
            let scoreboard = self.scoreboards.entry(tenant.clone()).or_insert_with(|| Scoreboard::new(tenant, norms));
            for effect in effects {
                match effect {
                    Effect::Review(request) => reviews.push(review_line(&request)),
                    Effect::ReviewOver { manager, answered: true, .. } => reviews.push(format!("reviewed: {manager}")),
                    Effect::ReviewOver { manager, answered: false, .. } => reviews.push(format!("given up: {manager}")),
                    effect => scoreboard.apply(effect, &mut alerts),
                }
            }
        }
        let watermark = self.processor.watermark();
        self.scoreboards.values_mut().for_each(|scoreboard| scoreboard.judge_until(watermark, &mut alerts));
        alerts.sort_by(|a, b| (a.at, &a.tenant).cmp(&(b.at, &b.tenant)));
        let mut output = Vec::new();
        for alert in &alerts {
            output.push(alert_line(alert, &self.contacts)?);
        }
        output.append(&mut reviews);
        let counts = self.processor.take_counts();
        self.time_dependent |= counts.late > 0;
        if delivery != Delivery::Twice {
            let counted = [("duplicates", counts.duplicates), ("late", counts.late)];
            output.extend(counted.iter().filter(|(_, n)| *n > 0).map(|(what, n)| format!("{what}: {n}")));
        }
        Ok(output)
    }

    fn figures(&mut self, subject: &str, window: &str, keys: &[String]) -> Vec<String> {
        let at = self.processor.watermark();
        let mut rows = Vec::new();
        self.scoreboards.values_mut().for_each(|scoreboard| scoreboard.rows(at, &mut rows));
        let wanted = |row: &&Row| row.subject.to_string() == subject && row.figures.window() == window;
        let Some(row) = rows.iter().find(wanted) else { return vec!["no row".into()] };
        let mut line = Vec::new();
        json::encode_row(row, &mut line);
        let row: Value = serde_json::from_slice(&line).expect("rows are JSON");
        let mut output = Vec::new();
        for (key, value) in row.as_object().expect("rows are objects") {
            if !["tenant_id", "subject", "window", "at"].contains(&key.as_str()) {
                flatten(key, value, &mut output);
            }
        }
        output.retain(|line| keys.is_empty() || keys.iter().any(|key| line.starts_with(key)));
        if output.is_empty() { vec!["nothing".into()] } else { output }
    }
}

/// The first field of an alert that its rule does not declare.
fn undeclared(alert: &Alert) -> Option<String> {
    let definition = catalog::definition(alert.rule);
    let kind = |subject: &str| subject.split_once(':').map(|(kind, id)| (kind.to_owned(), id.contains('/')));
    if !definition.subjects.iter().any(|subject| kind(subject) == kind(&alert.subject)) {
        return Some("subject not declared in the rule's `subjects`".into());
    }
    let output = |values: &Values| values.iter().map(|(key, _)| *key).collect::<Vec<_>>();
    // A sample that is too small has only counts.
    if alert.resolution != Some(Resolution::SampleTooSmall) && output(&alert.observed) != definition.observed {
        return Some("keys differ from the rule's `observed`".into());
    }
    if output(&alert.norm) != definition.norm {
        return Some("keys differ from the rule's `norm`".into());
    }
    let strange = |(key, value): &&(&'static str, Number)| {
        !evidence::of(alert.rule, key).is_some_and(|evidence| evidence.unit.fits(value))
    };
    let (key, _) = alert.observed.iter().chain(&alert.norm).find(strange)?;
    Some(format!("{key} does not match src/domain/rule/evidence.rs"))
}

/// Formats one alert, and checks the invariants of all alerts.
fn alert_line(alert: &Alert, contacts: &BTreeMap<String, String>) -> Result<String, String> {
    if alert.id != alert_id(&alert.tenant, alert.rule, &alert.subject, alert.anchor_at) {
        return Err(format!("alert id does not match its fields: {alert:?}"));
    }
    if let Some(problem) = undeclared(alert) {
        return Err(format!("{problem}: {alert:?}"));
    }
    let subject = contacts.get(alert.subject.as_str()).map_or(alert.subject.as_str(), String::as_str);
    let (rule, status) = (alert.rule.name(), alert.status.name());
    let mut line = format!("{} {status} {rule} {subject}", show(alert.at));
    match (&alert.manager, &alert.department) {
        (Some(manager), Some(department)) => line += &format!(" {manager}/{department}"),
        (None, None) => line += " nobody",
        _ => return Err(format!("manager without department, or the reverse: {alert:?}")),
    }
    let mut add = |key: &str, value: &dyn std::fmt::Display| line += &format!(" {key}={value}");
    if alert.level > 0 {
        add("level", &alert.level);
    }
    add("severity", &alert.severity.name());
    if let Some(entity) = alert.entity.as_ref().filter(|entity| entity.to_string() != subject) {
        add("entity", entity);
    }
    if let Some(interaction) = &alert.interaction {
        add("interaction", interaction);
    }
    add("since", &show(alert.anchor_at));
    if let Some(due) = alert.due_at {
        add("due", &show(due));
    }
    let mut add_all = |values: &Values| {
        for (key, value) in values {
            match value {
                Number::Count(count) => add(key, count),
                Number::Number(number) => add(key, number),
                Number::Text(text) => add(key, text),
            }
        }
    };
    add_all(&alert.observed);
    // The norm of a window rule may be derived from another figure, so it is shown too.
    if alert.window.is_some() {
        add_all(&alert.norm);
        let keys: Vec<_> = alert.norm.iter().map(|(key, _)| *key).collect();
        if keys != catalog::definition(alert.rule).norm {
            return Err(format!("incomplete norm: {alert:?}"));
        }
    }
    if let Some(resolution) = alert.resolution {
        add("resolution", &resolution.name());
    }
    Ok(line)
}

/// Formats one review request.
fn review_line(request: &ReviewRequest) -> String {
    let ReviewRequest { manager, department, interaction, medium, at, day, requested_at, about, .. } = request;
    let (end, kind, at) = (show(*requested_at), medium.name(), show(*at));
    let mut line = format!("{end} REVIEW {kind} {interaction} {manager}/{department} day={day} at={at}");
    let mut add = |key: &str, value: &dyn std::fmt::Display| line += &format!(" {key}={value}");
    match medium {
        Medium::Call { direction, talk, recording_url } => {
            add("direction", &format!("{direction:?}").to_uppercase());
            add("talk_seconds", &talk.seconds());
            recording_url.iter().for_each(|url| add("recording_url", url));
        }
        Medium::Message { channel } => add("channel", &channel.name()),
    }
    if let Some(About { entity, ending, pipeline, stage }) = about {
        add("entity", entity);
        add("outcome", &ending.name());
        pipeline.iter().for_each(|pipeline| add("pipeline", pipeline));
        stage.iter().for_each(|stage| add("stage", stage));
    }
    line
}

/// The figures of a row that are not zero: ratios as `k of n`, lags by number, mean and quantiles.
fn flatten(key: &str, value: &Value, output: &mut Vec<String>) {
    match value {
        Value::Object(fields) if fields.contains_key("ratio") => {
            if fields["n"] != 0 || fields["k"] != 0 {
                output.push(format!("{key} {} of {}", fields["k"], fields["n"]));
            }
        }
        Value::Object(fields) if fields.contains_key("p50_seconds") => {
            if fields["n"] != 0 {
                let about = |key: &str| format!("~{}", fields[key].as_f64().unwrap_or_default().round());
                let quantiles = ["p50_seconds", "p90_seconds", "p99_seconds"].map(about).join(" ");
                output.push(format!("{key} n={} mean={} quantiles {quantiles}", fields["n"], fields["mean_seconds"]));
            }
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| flatten(&format!("{key}.{name}"), value, output))
        }
        Value::Null => {}
        Value::Number(number) if number.as_f64() == Some(0.0) => {}
        other => output.push(format!("{key} {other}")),
    }
}

fn contacts(payload: &Payload) -> Vec<Contact> {
    let mut contacts = Vec::new();
    payload.each_contact(|contact| contacts.push(contact.clone()));
    contacts
}
