//! Owns what the parts of the reader share: the portal, what is remembered about it, and the events that were made.

use super::answer::Failure;
use super::budget::Share;
use super::client::Client;
use super::events::Events;
use super::legs::Legs;
use super::memory::{ById, Changes, Marks, One, Table, Unreadable};
use super::pages::List;
use super::settings::Settings;
use super::value::plain_name;
use crate::domain::id::EntityKind;
use crate::domain::time::{Span, Timestamp};
use crate::gateway::source::{Cursors, ReadError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The outcome of a part of the work: outer errors concern the portal, inner ones the leg.
pub(super) type Outcome<T> = Result<Result<T, Failure>, ReadError>;

/// Returns from a function with an [`Outcome`] if the leg has failed.
macro_rules! read {
    ($outcome:expr) => {
        match $outcome? {
            Ok(value) => value,
            Err(failure) => return Ok(Err(failure)),
        }
    };
}
pub(super) use read;

/// How long what was read once may become visible late: reading begins this long before the last position.
pub(super) const OVERLAP: Span = Span(120_000);

/// The general facts about a portal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Known {
    /// The host that it was renamed to.
    pub(super) host: Option<String>,
    /// The host in the configuration at that time: another one there is the newer name.
    #[serde(default)]
    pub(super) renamed_from: Option<String>,
    /// When it was first read, by its clock.
    pub(super) started: Option<i64>,
    /// From when on the stage history was or will be read.
    pub(super) covered_from: Option<i64>,
    /// Whether it has no leads.
    pub(super) without_leads: bool,
    /// Whether people and departments were read once.
    pub(super) people: bool,
    /// Whether a sweep was completed.
    pub(super) swept: bool,
}

/// Up to when rows were read by the date of their last change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Changed {
    pub(super) since: i64,
    /// Many rows have changed: they are being read by id.
    #[serde(default)]
    pub(super) walk: Option<Walk>,
}

/// Many changed rows, which are read by id in several steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Walk {
    /// Those that have changed since then.
    pub(super) since: i64,
    /// When it began: the position after it.
    pub(super) began: i64,
    /// The last id that was read.
    pub(super) after: u64,
}

/// The contacts of an open lead or deal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Links {
    pub(super) contacts: Vec<u64>,
    pub(super) company: Option<u64>,
}

/// A row of the call statistics that was reported.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct CallRow {
    /// `CALL_ID`.
    pub(super) call: String,
    /// The id it was reported under.
    pub(super) reported_as: String,
    pub(super) start: i64,
    pub(super) end: i64,
    /// Of the row as the portal gave it.
    pub(super) raw: String,
    /// Of the event.
    pub(super) digest: String,
    pub(super) vote: u64,
    pub(super) entity: Option<(u64, u64)>,
    pub(super) recording: Option<String>,
    pub(super) manager: Option<String>,
    pub(super) session: Option<String>,
}

/// The positions in the call statistics.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct CallsRead {
    pub(super) begun: bool,
    pub(super) last: u64,
    /// When the rows of the last day were read again.
    pub(super) day: i64,
    /// When those of the last three days were.
    pub(super) days: i64,
    /// They are being read again.
    #[serde(default)]
    pub(super) again: Option<Again>,
}

/// Rows of the call statistics that are read again, in several steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Again {
    /// When it began.
    pub(super) began: i64,
    /// Whether these are the rows of three days.
    pub(super) days: bool,
    /// The last row that was read.
    pub(super) after: u64,
}

/// An open plan that was reported.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Plan {
    /// Type and id of the lead or deal.
    pub(super) entity: (u64, u64),
    /// `LAST_UPDATED` as reported.
    pub(super) updated: i64,
}

/// A session of an open line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Session {
    /// Type and id of the lead or deal.
    pub(super) entity: Option<(u64, u64)>,
    /// The last message that was reported.
    pub(super) last: u64,
    /// Whether the session has ended.
    pub(super) ended: bool,
    /// Whether it was read after it had ended.
    pub(super) read: bool,
    /// When it last changed.
    pub(super) updated: i64,
}

/// When the regular work was done last, by the clock of the portal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Regular {
    pub(super) people: i64,
    pub(super) plans: i64,
    pub(super) deletions: i64,
    pub(super) gaps: i64,
    /// The last open plan that was asked for; 0: begin with the first.
    #[serde(default)]
    pub(super) plans_after: u64,
    /// The same of the open sessions of open lines.
    #[serde(default)]
    pub(super) sessions_after: u64,
}

/// Very many leads or deals of a contact or company, which are linked in several steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Linking {
    /// Type and id of the contact or company.
    pub(super) of: (u64, u64),
    /// Leads (1) or deals (2).
    pub(super) kind: u64,
    /// The last lead or deal that was linked.
    pub(super) after: u64,
}

/// How far a back-fill is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Backfill {
    /// Where it begins; `None`: there is none.
    pub(super) from: Option<i64>,
    /// What is not older is read live.
    pub(super) until: i64,
    /// The beginning of the month that is being read.
    pub(super) month: i64,
    /// What is being read of it: the number of the phase.
    pub(super) phase: usize,
    /// The last id that was read in this phase.
    pub(super) after: u64,
    /// The last rows of the histories and of the calls that were read, over all months.
    pub(super) history: [u64; 2],
    pub(super) calls: u64,
    /// Where live reading begins.
    pub(super) history_end: [u64; 2],
    pub(super) calls_end: u64,
    /// Whether the positions are set and the opening marks are sent.
    pub(super) begun: bool,
    /// Whether it is complete.
    pub(super) over: bool,
}

impl Backfill {
    /// Whether there is nothing more to read.
    pub(super) fn is_over(&self) -> bool {
        self.from.is_none() || self.over
    }

    /// How much of its span is read, from 0 to 1.
    pub(super) fn share(&self) -> f64 {
        let Some(from) = self.from else { return 1.0 };
        let span = (self.until - from).max(1) as f64;
        if self.over { 1.0 } else { ((self.month - from).max(0) as f64 / span).min(1.0) }
    }
}

/// What is remembered about a portal.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) known: One<Known>,
    pub(super) regular: One<Regular>,
    pub(super) changed: [One<Changed>; 4],
    pub(super) activities_changed: One<Changed>,
    pub(super) activities: One<ById>,
    pub(super) history: [One<ById>; 2],
    pub(super) objects: [Marks; 2],
    pub(super) links: [Table<Links, 8>; 2],
    pub(super) linking: One<Vec<Linking>>,
    pub(super) terms: Table<String, 8>,
    pub(super) calls: One<CallsRead>,
    pub(super) call_rows: Table<CallRow, 6>,
    pub(super) activity_marks: Marks,
    pub(super) plans: Table<Plan, 8>,
    pub(super) sessions: Table<Session, 6>,
    pub(super) users: Table<String, 8>,
    pub(super) departments: Table<String, 8>,
    pub(super) backfill: One<Backfill>,
}

impl Memory {
    pub(super) fn load(cursors: &Cursors) -> Result<Self, Unreadable> {
        Ok(Self {
            known: One::load("portal", cursors)?,
            regular: One::load("regular", cursors)?,
            changed: [
                One::load("changed.lead", cursors)?,
                One::load("changed.deal", cursors)?,
                One::load("changed.contact", cursors)?,
                One::load("changed.company", cursors)?,
            ],
            activities_changed: One::load("changed.activity", cursors)?,
            activities: One::load("activities", cursors)?,
            history: [One::load("history.lead", cursors)?, One::load("history.deal", cursors)?],
            objects: [Marks::load("known.lead", cursors)?, Marks::load("known.deal", cursors)?],
            links: [Table::load("links.lead", cursors)?, Table::load("links.deal", cursors)?],
            linking: One::load("linking", cursors)?,
            terms: Table::load("terms", cursors)?,
            calls: One::load("calls", cursors)?,
            call_rows: Table::load("call_rows", cursors)?,
            activity_marks: Marks::load("known.activity", cursors)?,
            plans: Table::load("plans", cursors)?,
            sessions: Table::load("sessions", cursors)?,
            users: Table::load("users", cursors)?,
            departments: Table::load("departments", cursors)?,
            backfill: One::load("backfill", cursors)?,
        })
    }

    /// The records that have changed.
    pub(super) fn drain(&mut self) -> Changes {
        let mut changes = Vec::new();
        self.known.drain(&mut changes);
        self.regular.drain(&mut changes);
        self.changed.iter_mut().for_each(|one| one.drain(&mut changes));
        self.activities_changed.drain(&mut changes);
        self.activities.drain(&mut changes);
        self.history.iter_mut().for_each(|one| one.drain(&mut changes));
        self.objects.iter_mut().for_each(|marks| marks.drain(&mut changes));
        self.links.iter_mut().for_each(|table| table.drain(&mut changes));
        self.linking.drain(&mut changes);
        self.terms.drain(&mut changes);
        self.calls.drain(&mut changes);
        self.call_rows.drain(&mut changes);
        self.activity_marks.drain(&mut changes);
        self.plans.drain(&mut changes);
        self.sessions.drain(&mut changes);
        self.users.drain(&mut changes);
        self.departments.drain(&mut changes);
        self.backfill.drain(&mut changes);
        changes
    }
}

/// A portal that is being read.
pub(super) struct Portal {
    pub(super) settings: Settings,
    pub(super) client: Client,
    pub(super) memory: Memory,
    pub(super) events: Events,
    pub(super) legs: Legs,
    /// The last snapshot of an object, so that rows that are read again need nothing: digest of the row, id of the event.
    pub(super) recent: HashMap<(u64, u64), (String, String)>,
    /// The last digest of a contact or company that was reported.
    pub(super) contacts_reported: HashMap<(u64, u64), String>,
    /// Objects that may be gone: only `get` proves it.
    pub(super) suspects: BTreeSet<(u64, u64)>,
    /// How many objects of a bucket the portal had, and how many of them were known, at the last comparison.
    pub(super) compared: BTreeMap<(u64, u64), (u64, u64)>,
    /// The bucket of leads and of deals at which a comparison continues.
    pub(super) compare_at: [u64; 2],
    /// Since when a part of the back-fill is refused.
    pub(super) refused_since: Option<Timestamp>,
    /// The remembered rows of the call statistics by `CALL_ID`.
    pub(super) calls_by_name: HashMap<String, BTreeSet<u64>>,
}

impl Portal {
    /// The kinds of objects that are read.
    pub(super) fn kinds(&self) -> &'static [EntityKind] {
        if self.memory.known.get().without_leads { &[EntityKind::Deal] } else { &[EntityKind::Lead, EntityKind::Deal] }
    }

    /// Whether the stage history of an object created then is read from its beginning.
    pub(super) fn is_covered(&self, created: Option<Timestamp>) -> bool {
        let from = self.memory.known.get().covered_from;
        created.zip(from).is_some_and(|(created, from)| created.0 >= from)
    }

    /// The value of a field that the portal has defined itself.
    pub(super) fn own_field<'a>(&self, row: &'a Value, name: &str) -> Option<&'a Value> {
        let plain = plain_name(name);
        let fields = row.as_object()?;
        fields.iter().find(|(key, _)| plain_name(key) == plain).map(|(_, value)| value)
    }

    /// Forgets rows of the call statistics that began before an instant.
    pub(super) fn forget_calls_before(&mut self, oldest: i64) {
        self.memory.call_rows.retain(|_, row| row.start >= oldest);
        self.index_calls();
    }

    /// Builds the index of the remembered calls.
    pub(super) fn index_calls(&mut self) {
        self.calls_by_name.clear();
        for (id, row) in self.memory.call_rows.iter() {
            self.calls_by_name.entry(row.call.clone()).or_default().insert(id);
        }
    }

    /// Reads something again, within its part of the budget.
    pub(super) fn again<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        self.client.use_share(Share::Again);
        let answer = read(self);
        self.client.use_share(Share::Live);
        answer
    }

    /// Keeps memory that is not stored within bounds.
    pub(super) fn forget(&mut self) {
        const MOST: usize = 50_000;
        if self.recent.len() > MOST {
            self.recent.clear();
        }
        if self.contacts_reported.len() > MOST {
            self.contacts_reported.clear();
        }
    }
}

/// The index of a kind in arrays of two.
pub(super) fn index(kind: EntityKind) -> usize {
    match kind {
        EntityKind::Lead => 0,
        EntityKind::Deal => 1,
    }
}

/// `entityTypeId` of leads and deals.
pub(super) fn type_id(kind: EntityKind) -> u64 {
    match kind {
        EntityKind::Lead => 1,
        EntityKind::Deal => 2,
    }
}

/// The kind with this `entityTypeId`.
pub(super) fn kind_of(type_id: u64) -> Option<EntityKind> {
    match type_id {
        1 => Some(EntityKind::Lead),
        2 => Some(EntityKind::Deal),
        _ => None,
    }
}

/// `entityTypeId` of contacts.
pub(super) const CONTACT: u64 = 3;

/// `entityTypeId` of companies.
pub(super) const COMPANY: u64 = 4;

/// The list of leads or deals.
pub(super) fn items(kind: EntityKind) -> List {
    List::items(type_id(kind))
}
