//! Owns the records of the topic `notify`: what was promised and sent for each alert, as JSON.
//!
//! Keys: `a/ID` for an alert, `u/TOKEN` for a link that was used. A record names its layout; one of a newer layout is
//! passed over and stays as it is.

use super::case::{Case, Line, Stage};
use super::channel::Address;
use super::notice;
use crate::codec::json;
use crate::config::notify::Channel;
use crate::domain::alert::Status;
use crate::domain::rule::message::Language;
use crate::domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The layout of the records.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct CaseRecord {
    v: u32,
    alert: serde_json::Value,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    taken_by: Option<String>,
    updated: i64,
    lines: Vec<LineRecord>,
}

#[derive(Serialize, Deserialize)]
struct LineRecord {
    channel: Channel,
    to: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    person: Option<String>,
    language: String,
    wanted: StageRecord,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    sent: Option<StageRecord>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    attempt: Option<StageRecord>,
    ready_at: i64,
    since: i64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    failing: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    group: Option<String>,
    most: usize,
    #[serde(default)]
    quiet: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    message: Option<String>,
    #[serde(default)]
    refused: bool,
    #[serde(default)]
    uncertain: bool,
}

#[derive(Serialize, Deserialize)]
struct StageRecord {
    status: String,
    level: u32,
    #[serde(default)]
    taken: bool,
}

impl From<Stage> for StageRecord {
    fn from(stage: Stage) -> Self {
        Self { status: stage.status.name().into(), level: stage.level, taken: stage.is_taken }
    }
}

impl StageRecord {
    fn read(&self) -> Option<Stage> {
        let status = Status::named(&self.status)?;
        Some(Stage { status, level: self.level, is_taken: self.taken })
    }
}

/// The key of an alert.
pub(super) fn key(id: Uuid) -> Vec<u8> {
    format!("a/{id}").into_bytes()
}

/// The alert of a key; `None`: it is another one.
pub(super) fn id(key: &[u8]) -> Option<Uuid> {
    Uuid::parse_str(str::from_utf8(key).ok()?.strip_prefix("a/")?).ok()
}

/// The key of a link that was used.
pub(super) fn used_key(token: &str) -> Vec<u8> {
    format!("u/{token}").into_bytes()
}

/// The used link of a key; `None`: it is another one.
pub(super) fn used(key: &[u8]) -> Option<&str> {
    str::from_utf8(key).ok()?.strip_prefix("u/")
}

pub(super) fn encode(case: &Case) -> Vec<u8> {
    let mut alert = Vec::new();
    json::encode_alert(&case.alert, "", &mut alert);
    let alert = serde_json::from_slice(&alert).unwrap_or_default();
    let line = |line: &Line| LineRecord {
        channel: line.address.channel,
        to: line.address.to.clone(),
        person: line.address.person.clone(),
        language: line.address.language.name().into(),
        wanted: line.wanted.into(),
        sent: line.sent.map(Into::into),
        attempt: line.attempt.map(Into::into),
        ready_at: line.ready_at.0,
        since: line.since.0,
        failing: line.failing_since.map(|at| at.0),
        group: line.group.clone(),
        most: line.most,
        quiet: line.is_quiet,
        message: line.message.clone(),
        refused: line.is_refused,
        uncertain: line.is_uncertain,
    };
    let lines = case.lines.iter().map(line).collect();
    let record = CaseRecord { v: VERSION, alert, taken_by: case.taken_by.clone(), updated: case.updated.0, lines };
    serde_json::to_vec(&record).unwrap_or_default()
}

/// Reads a record; `None` if it is damaged or of a newer layout.
pub(super) fn decode(bytes: &[u8]) -> Option<Case> {
    let record: CaseRecord = serde_json::from_slice(bytes).ok()?;
    if record.v > VERSION {
        return None;
    }
    let line = |line: LineRecord| {
        let language = Language::named(&line.language)?;
        Some(Line {
            address: Address { channel: line.channel, to: line.to, person: line.person, language },
            wanted: line.wanted.read()?,
            sent: line.sent.as_ref().and_then(StageRecord::read),
            attempt: line.attempt.as_ref().and_then(StageRecord::read),
            ready_at: Timestamp(line.ready_at),
            since: Timestamp(line.since),
            failing_since: line.failing.map(Timestamp),
            group: line.group,
            most: line.most,
            is_quiet: line.quiet,
            message: line.message,
            is_refused: line.refused,
            is_uncertain: line.uncertain,
        })
    };
    Some(Case {
        alert: notice::read_json(&record.alert)?,
        taken_by: record.taken_by,
        updated: Timestamp(record.updated),
        lines: record.lines.into_iter().filter_map(line).collect(),
    })
}
