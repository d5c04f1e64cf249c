//! Writes and reads the records of the topic `notify`: what was promised and sent for each alert.
//!
//! Keys: `a/ID` for an alert, `u/TOKEN` for a link that was used. One of a newer version stays as it is.

use super::case::{Case, Line, Stage};
use super::channel::Address;
use super::notice;
use crate::codec::json;
use crate::domain::alert::Status;
use crate::domain::rule::message::Language;
use crate::domain::time::Timestamp;
use crate::edge::deliveries::record::{self, CaseRecord, LineRecord, StageRecord, VERSION};
pub(super) use crate::edge::deliveries::record::{id, key};

impl From<Stage> for StageRecord {
    fn from(stage: Stage) -> Self {
        Self { status: stage.status.name().into(), level: stage.level, taken: stage.is_taken }
    }
}

/// The stage of a record; `None` if this version does not know it.
fn stage(record: &StageRecord) -> Option<Stage> {
    let status = Status::named(&record.status)?;
    Some(Stage { status, level: record.level, is_taken: record.taken })
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
        sent_at: line.sent_at.map(|at| at.0),
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

/// Reads a record; `None` if it is damaged or of a newer version.
pub(super) fn decode(bytes: &[u8]) -> Option<Case> {
    let record = record::read(bytes)?;
    let line = |line: LineRecord| {
        let language = Language::named(&line.language)?;
        Some(Line {
            address: Address { channel: line.channel, to: line.to, person: line.person, language },
            wanted: stage(&line.wanted)?,
            sent: line.sent.as_ref().and_then(stage),
            sent_at: line.sent_at.map(Timestamp),
            attempt: line.attempt.as_ref().and_then(stage),
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
