//! Owns the interface of the channels: where a message goes, what it says, and what became of it.

pub mod alertmanager;
pub mod bitrix24;
pub mod mail;
pub mod telegram;
pub mod webhook;

use crate::config::notify::Channel;
use crate::domain::alert::Alert;
use crate::domain::rule::message::Language;
use crate::domain::time::Span;
use crate::edge::http_client;
use crate::notify::message::Message;

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// Through which channel.
    pub channel: Channel,
    /// The address in it; empty for programs.
    pub to: String,
    /// The person, by the id in the CRM; `None`: a list or a program.
    pub person: Option<String>,
    /// The language of the message.
    pub language: Language,
}

impl Channel {
    /// Whether a message can be changed, or every status is a message of its own, so that a message follows its alert.
    pub const fn follows(self) -> bool {
        matches!(self, Self::Bitrix24 | Self::Telegram | Self::Webhook | Self::Alertmanager)
    }

    /// Whether a request can be repeated without a second message.
    pub const fn is_repeatable(self) -> bool {
        matches!(self, Self::Bitrix24 | Self::Task | Self::Webhook | Self::Alertmanager)
    }
}

/// A message to send, or to replace one that was sent.
#[derive(Clone)]
pub struct Job {
    /// Its number in this process.
    pub id: u64,
    /// Where it goes.
    pub address: Address,
    /// The message that it replaces, as the channel names it.
    pub replaces: Option<String>,
    /// A name that is the same whenever this message is sent, and different for each other one.
    pub key: String,
    /// What it is about, most urgent first.
    pub items: Vec<Item>,
    /// How many more alerts it is about.
    pub more: usize,
    /// How many of all its alerts are not over.
    pub open: usize,
    /// Whether it sums up what could not be sent in time.
    pub is_summary: bool,
    /// What it says in place of alerts: a digest.
    pub text: Option<Message>,
    /// The numbers and addresses of the customer, for a to-do. They are not stored, and never logged.
    pub call_back: Vec<String>,
}

impl Job {
    /// A message that says nothing yet.
    pub(super) fn to(address: Address) -> Self {
        Self {
            id: 0,
            address,
            replaces: None,
            key: String::new(),
            items: Vec::new(),
            more: 0,
            open: 0,
            is_summary: false,
            text: None,
            call_back: Vec::new(),
        }
    }
}

/// An alert in a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The alert with its current status.
    pub alert: Alert,
    /// The name of the manager, else the id.
    pub manager: Option<String>,
    /// Who takes care of it.
    pub taken_by: Option<String>,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was sent; the channel names it so.
    Sent(Option<String>),
    /// It was not sent; it may be in this time. The reason is a name that the program knows.
    Later(Span, &'static str),
    /// It may have arrived, or not; it may be sent again in this time.
    Unknown(Span, &'static str),
    /// It can never be sent.
    Refused(&'static str),
}

impl Outcome {
    /// What a failure of the connection means.
    pub(super) fn of_failure(after: Span, kind: &'static str) -> Self {
        if http_client::may_have_arrived(kind) { Self::Unknown(after, kind) } else { Self::Later(after, kind) }
    }
}

/// Sends messages, one at a time.
pub trait Sender: Send {
    /// Sends a message.
    fn send(&mut self, job: &Job) -> Outcome;

    /// Checks that the channel can be used, without sending anything to a person. `Err` says in words what is wrong.
    fn check(&mut self) -> Result<String, String>;
}
