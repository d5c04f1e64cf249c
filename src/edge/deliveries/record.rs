//! Owns the layout of a record of the topic `notify` about an alert: who is to be informed and what was sent, as JSON.
//!
//! A record names its version. One of a newer version is passed over.

use crate::config::notify::Channel;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The version that is written, and the newest that is read.
pub const VERSION: u32 = 1;

/// What is kept of an alert.
#[derive(Debug, Serialize, Deserialize)]
pub struct CaseRecord {
    /// The version of the layout.
    pub v: u32,
    /// The alert with its newest status, as it was published.
    pub alert: serde_json::Value,
    /// Who takes care of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub taken_by: Option<String>,
    /// When its newest status arrived, in milliseconds since 1970, as all times of the record.
    pub updated: i64,
    /// A line for each address.
    pub lines: Vec<LineRecord>,
}

/// What an address is owed and was sent.
#[derive(Debug, Serialize, Deserialize)]
pub struct LineRecord {
    /// How.
    pub channel: Channel,
    /// The address in the channel; empty for programs.
    pub to: String,
    /// The person, by the id in the CRM; absent: a list or a program.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub person: Option<String>,
    /// The language of messages.
    pub language: String,
    /// What is to be said.
    pub wanted: StageRecord,
    /// What was said last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sent: Option<StageRecord>,
    /// When it was said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sent_at: Option<i64>,
    /// What is under way.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attempt: Option<StageRecord>,
    /// When the next message may be sent.
    pub ready_at: i64,
    /// Since when it is owed.
    pub since: i64,
    /// Since when the channel does not take it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failing: Option<i64>,
    /// Lines of one address with the same text are one message.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub group: Option<String>,
    /// The alerts that a message names.
    pub most: usize,
    /// Whether it waits for working time.
    #[serde(default)]
    pub quiet: bool,
    /// The message that was sent, as the channel names it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// Whether the channel will never take it.
    #[serde(default)]
    pub refused: bool,
    /// Whether a message was under way when a process ended.
    #[serde(default)]
    pub uncertain: bool,
}

/// What is said of an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageRecord {
    /// The status.
    pub status: String,
    /// The number of escalations.
    pub level: u32,
    /// Whether it says that somebody takes care of it.
    #[serde(default)]
    pub taken: bool,
}

/// The name of a channel in records.
impl Serialize for Channel {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Channel {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::named(&name).ok_or_else(|| serde::de::Error::custom("an unknown channel"))
    }
}

/// The key of an alert.
pub fn key(id: Uuid) -> Vec<u8> {
    format!("a/{id}").into_bytes()
}

/// The alert of a key; `None`: it is another one.
pub fn id(key: &[u8]) -> Option<Uuid> {
    Uuid::parse_str(str::from_utf8(key).ok()?.strip_prefix("a/")?).ok()
}

/// Reads a record; `None` if it is damaged or of a newer version.
pub fn read(bytes: &[u8]) -> Option<CaseRecord> {
    let record: CaseRecord = serde_json::from_slice(bytes).ok()?;
    (record.v <= VERSION).then_some(record)
}
