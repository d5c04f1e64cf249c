//! Owns the digest: when heads are sent a summary.

use super::channel::Channel;
use super::routes::{RECIPIENT, Recipient, recipients};
use super::targets::Targets;
use crate::config::schema::key::ValueKind::{Flag, Form as Of, List, Name};
use crate::config::schema::key::{ANY, Form, KeySpec};
use crate::config::schema::reader::Reader;
use crate::config::schema::typed::{named, one_of};
use crate::config::schema::value::Table;
use crate::domain::named::named_enum;

/// When heads are sent a summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The local time of the company's calendar, in minutes since midnight.
    pub at: u32,
    /// Whether only on working days of the calendar.
    pub working_days: bool,
    /// The day on which the week is summed up, Monday 0; `None`: never.
    pub weekly: Option<u8>,
    /// To whom.
    pub to: Vec<Recipient>,
    /// Through which channels.
    pub via: Vec<Channel>,
    /// Whether a digest without anything to say is not sent.
    pub skip_empty: bool,
}

named_enum! {
    /// The days of a week.
    pub enum Weekday, named "in the configuration" {
        /// The first.
        Monday = "monday",
        /// The second.
        Tuesday = "tuesday",
        /// The third.
        Wednesday = "wednesday",
        /// The fourth.
        Thursday = "thursday",
        /// The fifth.
        Friday = "friday",
        /// The sixth.
        Saturday = "saturday",
        /// The seventh.
        Sunday = "sunday",
    }
}

named! { Weekday }

const TIME: Form = Form {
    expected: "a time such as \"09:05\"",
    fits: |text| minutes(text).is_some(),
    pattern: "^([01][0-9]|2[0-3]):[0-5][0-9]$",
    ..ANY
};

fn minutes(text: &str) -> Option<u32> {
    let (hour, minute) = text.split_once(':')?;
    let part = |text: &str, below| text.parse::<u32>().ok().filter(|n| text.len() == 2 && *n < below);
    Some(part(hour, 24)? * 60 + part(minute, 60)?)
}

pub(super) const DIGEST: &[KeySpec] = &[
    KeySpec::new("at", Of(TIME), "when, in the time zone of the default calendar").default("\"09:05\""),
    KeySpec::new(
        "days",
        Name(|| vec!["working", "all"]),
        "on the working days of the default calendar, or on all days",
    )
    .default("working"),
    KeySpec::new("weekly", one_of::<Weekday>(), "the day on which it sums up the week").described("never"),
    KeySpec::new("to", List(&RECIPIENT, 1), "to whom; `head`: each head the own departments").default("[head]"),
    KeySpec::new("via", List(&one_of::<Channel>(), 1), "through which channels: `mail`, `telegram` or `bitrix24`")
        .required(),
    KeySpec::new("skip_empty", Flag, "whether a digest without anything to say is not sent").default("true"),
];

impl Digest {
    pub(super) fn read(reader: &mut Reader<'_>, table: &Table, targets: &Targets) -> Option<Self> {
        let via: Vec<Channel> = table.get("via")?;
        for channel in &via {
            let fits = matches!(channel, Channel::Mail | Channel::Telegram | Channel::Bitrix24);
            if !fits {
                reader.problem_of(table, "via", format!("a digest cannot be sent by `{}`", channel.name()));
            } else if !targets.has(*channel) {
                let target = Targets::key_of(*channel);
                reader.problem_of(table, "via", format!("`{}` needs `notify.targets.{target}`", channel.name()));
            }
        }
        Some(Self {
            at: minutes(table.text("at")?)?,
            working_days: table.text("days")? == "working",
            weekly: table.get::<Weekday>("weekly").map(|day| day as u8),
            to: recipients(reader, table, "to"),
            via,
            skip_empty: table.get("skip_empty")?,
        })
    }
}
