//! Owns an alert of which somebody is informed: a line for each address, with what is owed to it and what was sent.

use super::channel::Address;
use super::routing::{QUIET, SUMMARY_MOST};
use crate::config::notify::Channel;
use crate::domain::alert::{Alert, Status};
use crate::domain::time::Timestamp;

/// What is said of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The status.
    pub status: Status,
    /// The number of escalations.
    pub level: u32,
    /// Whether it says that somebody takes care of it.
    pub is_taken: bool,
}

impl Stage {
    /// What is said in a channel.
    pub(super) fn of(case: &Case, channel: Channel) -> Self {
        // Where a message can be changed without a sound.
        let is_taken = channel == Channel::Telegram && case.taken_by.is_some();
        Self { status: case.alert.status, level: case.alert.level, is_taken }
    }
}

/// An alert, and who is informed of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// The alert with its newest status.
    pub alert: Alert,
    /// Who takes care of it.
    pub taken_by: Option<String>,
    /// When its newest status arrived, on the wall clock.
    pub updated: Timestamp,
    /// A line for each address.
    pub lines: Vec<Line>,
}

/// What is owed to an address, and what was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// To whom, and how.
    pub address: Address,
    /// What is to be said.
    pub wanted: Stage,
    /// What was said last.
    pub sent: Option<Stage>,
    /// When it was said.
    pub sent_at: Option<Timestamp>,
    /// What is under way.
    pub attempt: Option<Stage>,
    /// When the next message may be sent.
    pub ready_at: Timestamp,
    /// Since when it is owed and may be sent.
    pub since: Timestamp,
    /// Since when the channel does not take it.
    pub failing_since: Option<Timestamp>,
    /// Whether its first message waits for the working time of the manager.
    pub is_quiet: bool,
    /// Lines of one address with the same text are one message.
    pub group: Option<String>,
    /// The alerts that a message names.
    pub most: usize,
    /// The message that was sent, as the channel names it.
    pub message: Option<String>,
    /// Whether the channel will never take it; the next stage is given to it all the same.
    pub is_refused: bool,
    /// Whether a message was under way when a process ended: the recipient may have it.
    pub is_uncertain: bool,
}

impl Case {
    /// Lets messages that are due wait for the manager's working time, because they could not be sent in it. Returns whether
    /// there are any.
    pub(super) fn wait_for_opening(&mut self, now: Timestamp, opening: impl Fn(&Alert) -> Option<Timestamp>) -> bool {
        let is_due = |line: &&mut Line| line.is_quiet && line.is_first() && line.is_owed() && line.ready_at <= now;
        let mut due = self.lines.iter_mut().filter(is_due).peekable();
        if due.peek().is_none() {
            return false;
        }
        let Some(opens_at) = opening(&self.alert).filter(|opens_at| *opens_at > now) else { return false };
        for line in due {
            (line.ready_at, line.since) = (opens_at, opens_at);
            (line.group, line.most) = (Some(QUIET.to_owned()), line.most.max(SUMMARY_MOST));
        }
        true
    }
}

impl Line {
    /// Whether the recipient has no message yet.
    fn is_first(&self) -> bool {
        self.sent.is_none() && self.attempt.is_none() && !self.is_uncertain
    }

    /// Whether the recipient may know of the alert, and is to be informed how it ends.
    pub(super) fn may_be_known(&self) -> bool {
        self.sent.is_some()
            || self.attempt.is_some()
            || self.is_uncertain && self.address.channel.follows()
            // It is informed again and again, and of the end for some minutes.
            || self.address.channel == Channel::Alertmanager
    }

    /// Whether sending it again can be a second message; an edit of a message is none.
    pub(super) fn may_double(&self) -> bool {
        let channel = self.address.channel;
        !channel.is_repeatable() && (self.message.is_none() || channel != Channel::Telegram)
    }

    /// Owes nothing that is not under way.
    pub(super) fn give_up(&mut self) {
        if let Some(stage) = self.attempt.or(self.sent) {
            self.wanted = stage;
        }
        self.is_uncertain &= self.attempt.is_some() || self.sent.is_none();
    }

    /// It is not known whether a message has arrived: the recipient is assumed to know it, and gets it again if it is still wanted.
    pub(super) fn may_have_arrived(&mut self, stage: Stage) {
        self.is_uncertain = true;
        // Without any message before, the alert may be unknown to the recipient.
        self.sent = self.sent.and(Some(stage));
    }

    pub(super) fn is_owed(&self) -> bool {
        let is_said = self.sent == Some(self.wanted) && !self.is_uncertain;
        !self.is_refused && !is_said && self.address.channel != Channel::Alertmanager
    }
}

/// Whether an alert is over, or never was.
pub fn is_over(status: Status) -> bool {
    matches!(status, Status::Resolved | Status::Retracted | Status::Averted)
}
