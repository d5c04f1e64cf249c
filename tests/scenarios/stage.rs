//! Owns the stage that scripts are played on: a floor and its tenants' scoreboards, and what is told of each step.
//!
//! Promises that every alert is checked for what holds of all alerts, and refuses to tell hashes: contacts are shown by
//! their phone or address.

use crate::script::{Script, Step, show};
use funnelwatch::codec::json;
use funnelwatch::codec::state::PACKING;
use funnelwatch::config;
use funnelwatch::domain::alert::{Alert, Resolution, Value as Number, Values, alert_id};
use funnelwatch::domain::effect::Effect;
use funnelwatch::domain::event::{Contact, CrmPayload, Event, Payload, Topic};
use funnelwatch::domain::evidence;
use funnelwatch::domain::id::TenantId;
use funnelwatch::domain::identity;
use funnelwatch::domain::norms::Norms;
use funnelwatch::domain::review::{About, Medium, ReviewRequest};
use funnelwatch::domain::row::Row;
use funnelwatch::domain::scoreboard::Scoreboard;
use funnelwatch::domain::shard_processor::{Effects, ShardProcessor, ShardProgress, Source, SourceProgress, Timing};
use funnelwatch::domain::time::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How events come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// As the script says.
    AsWritten,
    /// Each event that has an id twice.
    Twice,
    /// What comes in between two moves of the watermark, the last first.
    Backwards,
    /// The watermark moves once, at the last move.
    AtOnce,
}

/// What was told of each step.
#[derive(Debug)]
pub(crate) struct Play {
    pub(crate) told: Vec<Vec<String>>,
    /// Whether it mattered when the watermark moved: events were late or refused, or sources told the time.
    pub(crate) timed: bool,
}

struct Stage {
    norms: Arc<Norms>,
    floor: ShardProcessor,
    boards: BTreeMap<TenantId, Scoreboard>,
    /// Phones and addresses by what alerts call them.
    contacts: BTreeMap<String, String>,
    wall: Option<Timestamp>,
    offset: i64,
    timed: bool,
}

impl Script {
    /// Plays the script.
    pub(crate) fn play(&self, delivery: Delivery) -> Result<Play, String> {
        let document = config::parse_norms("norms", &self.norms).map_err(|problems| problems.to_string())?;
        let mut stage = Stage::new(document.norms);
        let last = self.steps().filter(|step| matches!(step, Step::Watermark(_))).count();
        let mut moves = 0;
        let mut waiting: Vec<(usize, i64, Event)> = Vec::new();
        let mut told: Vec<Vec<String>> = Vec::new();
        for (number, step) in self.steps().enumerate() {
            told.push(Vec::new());
            if let Step::Event(event) = step {
                let (offset, event) = stage.decode(event)?;
                let again = event.clone();
                if delivery == Delivery::Backwards {
                    waiting.push((number, offset, event));
                    continue;
                }
                told[number] = stage.arrive(offset, event);
                if delivery == Delivery::Twice && again.id.is_some() {
                    let offset = stage.next_offset();
                    let second = stage.arrive(offset, again);
                    if told[number] != second {
                        return Err(format!("the second time: {second:?}"));
                    }
                }
                continue;
            }
            for (number, offset, event) in waiting.drain(..).rev() {
                told[number] = stage.arrive(offset, event);
            }
            told[number] = match step {
                Step::Watermark(_) if delivery == Delivery::AtOnce && moves + 1 < last => Vec::new(),
                Step::Watermark(at) => stage.watermark(*at, delivery)?,
                Step::ShardProgress(sources) => stage.shard_progress(sources, delivery)?,
                Step::Wall(at) => {
                    stage.wall = Some(*at);
                    Vec::new()
                }
                Step::Norms(norms) => stage.reload(norms)?,
                Step::Figures(subject, window, keys) => stage.figures(subject, window, keys),
                Step::Event(_) => Vec::new(),
            };
            moves += usize::from(matches!(step, Step::Watermark(_)));
        }
        Ok(Play { told, timed: stage.timed })
    }
}

impl Stage {
    fn new(norms: Norms) -> Self {
        let norms = Arc::new(norms);
        let floor = ShardProcessor::new(Arc::clone(&norms), Timing::default(), PACKING);
        let (boards, contacts) = Default::default();
        Self { norms, floor, boards, contacts, wall: None, offset: 0, timed: false }
    }

    fn reload(&mut self, norms: &str) -> Result<Vec<String>, String> {
        let document = config::parse_norms("norms", norms).map_err(|problems| problems.to_string())?;
        self.timed = true;
        self.norms = Arc::new(document.norms);
        self.floor.reload(Arc::clone(&self.norms));
        self.boards.values_mut().for_each(|board| board.reload(Arc::clone(&self.norms)));
        Ok(Vec::new())
    }

    fn next_offset(&mut self) -> i64 {
        self.offset += 1;
        self.offset
    }

    fn decode(&mut self, event: &Value) -> Result<(i64, Event), String> {
        let offset = self.next_offset();
        let reject = |reject| format!("{event}: {reject}");
        let mut decoded = json::decode(event.to_string().as_bytes()).map_err(reject)?;
        decoded.id = match decoded.id {
            None => Some(format!("event {offset}").into()),
            given => given.filter(|id| id.as_str() != "-"),
        };
        let secret = self.norms.privacy_key.as_deref().unwrap_or(decoded.tenant.as_str());
        for contact in contacts(&decoded.payload) {
            if let Some(form) = identity::normal_form(&contact, self.norms.country) {
                let key = identity::key(&form, secret);
                self.contacts.insert(format!("contact:{key}"), format!("contact:{form}"));
            }
        }
        Ok((offset, decoded))
    }

    fn arrive(&mut self, offset: i64, event: Event) -> Vec<String> {
        let source = Source::Topic(event.payload.topic());
        let wall = self.wall.unwrap_or(event.at);
        match self.floor.arrive(source, offset, event, wall) {
            Ok(()) => Vec::new(),
            Err(reason) => {
                self.timed = true;
                vec![format!("refused: {}", reason.name())]
            }
        }
    }

    fn watermark(&mut self, at: Timestamp, delivery: Delivery) -> Result<Vec<String>, String> {
        self.advance(&ShardProgress { wall: self.wall.unwrap_or(at), sources: Vec::new(), close: Some(at) }, delivery)
    }

    fn shard_progress(&mut self, sources: &[(String, bool)], delivery: Delivery) -> Result<Vec<String>, String> {
        self.timed = true;
        let source = |name: &str| Topic::ALL.into_iter().find(|topic| topic.name() == format!("{name}.events"));
        let sources: Option<_> =
            sources.iter().map(|(name, idle)| Some(SourceProgress::of(Source::Topic(source(name)?), *idle))).collect();
        let wall = self.wall.unwrap_or_default();
        let shard_progress = ShardProgress { wall, sources: sources.ok_or("a tide of no topic")?, close: None };
        let rest = self.advance(&shard_progress, delivery)?;
        let mark = match self.floor.watermark() {
            Timestamp::MIN => "none".into(),
            mark => show(mark),
        };
        Ok(std::iter::once(format!("watermark {mark}")).chain(rest).collect())
    }

    fn advance(&mut self, shard_progress: &ShardProgress, delivery: Delivery) -> Result<Vec<String>, String> {
        let mut made = Vec::new();
        self.floor.advance(shard_progress, &mut made);
        let (mut alerts, mut reviews) = (Vec::new(), Vec::new());
        for Effects { tenant, effects, .. } in made {
            let norms = Arc::clone(&self.norms);
            let board = self.boards.entry(tenant.clone()).or_insert_with(|| Scoreboard::new(tenant, norms));
            for effect in effects {
                match effect {
                    Effect::Review(request) => reviews.push(review_line(&request)),
                    Effect::ReviewOver { manager, answered: true } => reviews.push(format!("reviewed: {manager}")),
                    Effect::ReviewOver { manager, answered: false } => reviews.push(format!("given up: {manager}")),
                    effect => board.take(effect, &mut alerts),
                }
            }
        }
        let watermark = self.floor.watermark();
        self.boards.values_mut().for_each(|board| board.judge_until(watermark, &mut alerts));
        alerts.sort_by(|a, b| (a.at, &a.tenant).cmp(&(b.at, &b.tenant)));
        let mut told = Vec::new();
        for alert in &alerts {
            told.push(alert_line(alert, &self.contacts)?);
        }
        told.append(&mut reviews);
        let counts = self.floor.take_counts();
        self.timed |= counts.late > 0;
        if delivery != Delivery::Twice {
            let counted = [("duplicates", counts.duplicates), ("late", counts.late)];
            told.extend(counted.iter().filter(|(_, n)| *n > 0).map(|(what, n)| format!("{what}: {n}")));
        }
        Ok(told)
    }

    fn figures(&mut self, subject: &str, window: &str, keys: &[String]) -> Vec<String> {
        let at = self.floor.watermark();
        let mut rows = Vec::new();
        self.boards.values_mut().for_each(|board| board.rows(at, &mut rows));
        let wanted = |row: &&Row| row.subject.to_string() == subject && row.figures.window() == window;
        let Some(row) = rows.iter().find(wanted) else { return vec!["no row".into()] };
        let mut line = Vec::new();
        json::encode_row(row, &mut line);
        let row: Value = serde_json::from_slice(&line).expect("rows are JSON");
        let mut told = Vec::new();
        for (key, value) in row.as_object().expect("rows are objects") {
            if !["tenant_id", "subject", "window", "at"].contains(&key.as_str()) {
                flatten(key, value, &mut told);
            }
        }
        told.retain(|line| keys.is_empty() || keys.iter().any(|key| line.starts_with(key)));
        if told.is_empty() { vec!["nothing".into()] } else { told }
    }
}

/// What an alert says that its rule's file does not.
fn undeclared(alert: &Alert) -> Option<String> {
    let definition = alert.rule.definition();
    let kind = |subject: &str| subject.split_once(':').map(|(kind, id)| (kind.to_owned(), id.contains('/')));
    if !definition.subjects.iter().any(|subject| kind(subject) == kind(&alert.subject)) {
        return Some("a subject of another form than the rule's `subjects`".into());
    }
    let told = |values: &Values| values.iter().map(|(key, _)| *key).collect::<Vec<_>>();
    // With too small a sample only the counts are told.
    if alert.resolution != Some(Resolution::SampleTooSmall) && told(&alert.observed) != definition.observed {
        return Some("other keys than the rule's `observed`".into());
    }
    if told(&alert.norm) != definition.norm {
        return Some("other keys than the rule's `norm`".into());
    }
    let strange = |(key, value): &&(&'static str, Number)| {
        !evidence::of(alert.rule, key).is_some_and(|evidence| evidence.unit.fits(value))
    };
    let (key, _) = alert.observed.iter().chain(&alert.norm).find(strange)?;
    Some(format!("{key} is not what src/domain/evidence.rs says"))
}

/// Tells one alert, and checks what holds of all alerts.
fn alert_line(alert: &Alert, contacts: &BTreeMap<String, String>) -> Result<String, String> {
    if alert.id != alert_id(&alert.tenant, alert.rule, &alert.subject, alert.anchor_at) {
        return Err(format!("an id that does not follow from its alert: {alert:?}"));
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
        _ => return Err(format!("a manager without department, or the reverse: {alert:?}")),
    }
    let mut tell = |key: &str, value: &dyn std::fmt::Display| line += &format!(" {key}={value}");
    if alert.level > 0 {
        tell("level", &alert.level);
    }
    tell("severity", &alert.severity.name());
    if let Some(entity) = alert.entity.as_ref().filter(|entity| entity.to_string() != subject) {
        tell("entity", entity);
    }
    if let Some(interaction) = &alert.interaction {
        tell("interaction", interaction);
    }
    tell("since", &show(alert.anchor_at));
    if let Some(due) = alert.due_at {
        tell("due", &show(due));
    }
    let mut tell_all = |values: &Values| {
        for (key, value) in values {
            match value {
                Number::Count(count) => tell(key, count),
                Number::Number(number) => tell(key, number),
                Number::Text(text) => tell(key, text),
            }
        }
    };
    tell_all(&alert.observed);
    // The norm of a window may be a part of another figure: it is told too.
    if alert.window.is_some() {
        tell_all(&alert.norm);
        let keys: Vec<_> = alert.norm.iter().map(|(key, _)| *key).collect();
        if keys != alert.rule.definition().norm {
            return Err(format!("a norm that is not told whole: {alert:?}"));
        }
    }
    if let Some(resolution) = alert.resolution {
        tell("resolution", &resolution.name());
    }
    Ok(line)
}

/// Tells one request for a review.
fn review_line(request: &ReviewRequest) -> String {
    let ReviewRequest { manager, department, interaction, medium, at, day, requested_at, about, .. } = request;
    let (end, kind, at) = (show(*requested_at), medium.name(), show(*at));
    let mut line = format!("{end} REVIEW {kind} {interaction} {manager}/{department} day={day} at={at}");
    let mut tell = |key: &str, value: &dyn std::fmt::Display| line += &format!(" {key}={value}");
    match medium {
        Medium::Call { direction, talk, recording_url } => {
            tell("direction", &format!("{direction:?}").to_uppercase());
            tell("talk_seconds", &talk.seconds());
            recording_url.iter().for_each(|url| tell("recording_url", url));
        }
        Medium::Message { channel } => tell("channel", &channel.name()),
    }
    if let Some(About { entity, ending, pipeline, stage }) = about {
        tell("entity", entity);
        tell("outcome", &ending.name());
        pipeline.iter().for_each(|pipeline| tell("pipeline", pipeline));
        stage.iter().for_each(|stage| tell("stage", stage));
    }
    line
}

/// What of a row's value is not zero: ratios as `k of n`, lags by their number, mean and quantiles.
fn flatten(key: &str, value: &Value, told: &mut Vec<String>) {
    match value {
        Value::Object(fields) if fields.contains_key("ratio") => {
            if fields["n"] != 0 || fields["k"] != 0 {
                told.push(format!("{key} {} of {}", fields["k"], fields["n"]));
            }
        }
        Value::Object(fields) if fields.contains_key("p50_seconds") => {
            if fields["n"] != 0 {
                let about = |key: &str| format!("~{}", fields[key].as_f64().unwrap_or_default().round());
                let quantiles = ["p50_seconds", "p90_seconds", "p99_seconds"].map(about).join(" ");
                told.push(format!("{key} n={} mean={} quantiles {quantiles}", fields["n"], fields["mean_seconds"]));
            }
        }
        Value::Object(fields) => fields.iter().for_each(|(name, value)| flatten(&format!("{key}.{name}"), value, told)),
        Value::Null => {}
        Value::Number(number) if number.as_f64() == Some(0.0) => {}
        other => told.push(format!("{key} {other}")),
    }
}

fn contacts(payload: &Payload) -> Vec<Contact> {
    match payload {
        Payload::Crm(payload) => match &**payload {
            CrmPayload::LeadCreated(created) | CrmPayload::DealCreated(created) => created.contacts.clone(),
            CrmPayload::Snapshot(snapshot) => snapshot.contacts.clone(),
            CrmPayload::ContactLinked { contact, .. } => contact.iter().cloned().collect(),
            _ => Vec::new(),
        },
        Payload::Call(call) => vec![Contact::Phone(call.phone.clone())],
        Payload::Message(message) => message.contact.iter().cloned().collect(),
    }
}
