//! Owns what a webhook of the portal means: which objects to read at once. A webhook is only a hint: what it says about the
//! object is never reported, except for the beginning of a call, which the portal reports nowhere else.

use super::portal::{COMPANY, CONTACT, Outcome, Portal, index};
use crate::domain::id::EntityKind;
use crate::domain::source::Topic;
use crate::domain::time::Span;
use crate::gateway::source::Hint;
use serde_json::json;
use std::collections::BTreeSet;

/// A call whose beginning is reported later than this is over, or the webhook was sent twice.
const STALE: Span = Span(600_000);

/// What to read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) leads: BTreeSet<u64>,
    pub(super) deals: BTreeSet<u64>,
    pub(super) contacts: BTreeSet<u64>,
    pub(super) companies: BTreeSet<u64>,
    pub(super) activities: BTreeSet<u64>,
    /// New rows of the call statistics.
    pub(super) calls: bool,
}

impl Wanted {
    /// What hints ask for.
    pub(super) fn of(hints: &[Hint]) -> Self {
        let mut wanted = Self::default();
        for hint in hints {
            let event = hint.field("event").unwrap_or_default().to_ascii_uppercase();
            let id = hint.field("data[FIELDS][ID]").and_then(|id| id.trim().parse::<u64>().ok());
            let set = if event.starts_with("ONCRMLEAD") {
                &mut wanted.leads
            } else if event.starts_with("ONCRMDEAL") {
                &mut wanted.deals
            } else if event.starts_with("ONCRMCONTACT") {
                &mut wanted.contacts
            } else if event.starts_with("ONCRMCOMPANY") {
                &mut wanted.companies
            } else if event.starts_with("ONCRMACTIVITY") {
                &mut wanted.activities
            } else {
                wanted.calls |= event.starts_with("ONVOXIMPLANTCALL");
                continue;
            };
            set.extend(id.filter(|id| *id > 0));
        }
        wanted
    }
}

impl Portal {
    /// Reports the calls that hints announce.
    pub(super) fn report_calls_of(&mut self, hints: &[Hint]) {
        for hint in hints {
            self.report_start(hint);
        }
    }

    fn report_start(&mut self, hint: &Hint) {
        let event = hint.field("event").unwrap_or_default();
        let field = |name: &str| hint.field(&format!("data[{name}]")).map(str::trim).filter(|text| !text.is_empty());
        // `ONVOXIMPLANTCALLSTART` names neither the number nor the direction: it adds nothing to the row of the call.
        if !event.eq_ignore_ascii_case("ONVOXIMPLANTCALLINIT") {
            return;
        }
        let (Some(call), Some(kind)) = (field("CALL_ID"), field("CALL_TYPE")) else { return };
        let inbound = matches!(kind, "2" | "3");
        let sent = hint.field("ts").and_then(|seconds| seconds.trim().parse::<i64>().ok());
        let is_stale = sent.is_some_and(|seconds| hint.received_at.0 - seconds.saturating_mul(1000) > STALE.0);
        if !matches!(kind, "1" | "2" | "3" | "4") || is_stale || self.has_call(call) {
            return;
        }
        // For an inbound call, the dialled number is the company's line.
        let (number, caller) = (field("PHONE_NUMBER"), field("CALLER_ID"));
        let (phone, line) = if inbound { (caller.or(number), number) } else { (number.or(caller), caller) };
        let payload = json!({
            "call_id": call,
            "direction": if inbound { "INBOUND" } else { "OUTBOUND" },
            "phone": phone,
            "line": line.filter(|line| Some(*line) != phone),
        });
        let id = format!("b24:call:{call}:start");
        self.events.push(Topic::Telephony, id, hint.received_at, "call_started", payload);
    }

    /// Reads what hints ask for.
    pub(super) fn read_wanted(&mut self, wanted: &Wanted) -> Outcome<()> {
        // What cannot be read keeps nothing else from being read.
        let (kinds, mut failed) = (self.kinds(), None);
        for (kind, ids) in [(EntityKind::Lead, &wanted.leads), (EntityKind::Deal, &wanted.deals)] {
            if !ids.is_empty() && kinds.contains(&kind) {
                // A move is the most urgent thing that a webhook announces.
                if self.memory.history[index(kind)].get().begun {
                    failed = self.read_history(kind)?.err().or(failed);
                }
                failed = self.read_objects(kind, ids)?.err().or(failed);
            }
        }
        for (type_id, ids) in [(CONTACT, &wanted.contacts), (COMPANY, &wanted.companies)] {
            if !ids.is_empty() {
                failed = self.read_contacts(type_id, ids)?.err().or(failed);
            }
        }
        if !wanted.activities.is_empty() {
            failed = self.read_activities(&wanted.activities)?.err().or(failed);
        }
        if wanted.calls && self.memory.calls.get().begun {
            failed = self.read_calls()?.err().or(failed);
        }
        if !self.suspects.is_empty() {
            failed = self.read_suspects()?.err().or(failed);
        }
        Ok(failed.map_or(Ok(()), Err))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    #[test]
    fn hints_name_what_to_read_in_any_case() {
        let hint = |fields: &[(&str, &str)]| Hint {
            received_at: Timestamp(0),
            fields: fields.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        };
        let hints = [
            hint(&[("event", "ONCRMDEALUPDATE"), ("data[FIELDS][ID]", "412")]),
            hint(&[("event", "onCrmDealAdd"), ("data[fields][id]", "412")]),
            hint(&[("event", "onCrmActivityAdd"), ("data[FIELDS][ID]", "7")]),
            hint(&[("event", "ONCRMLEADDELETE"), ("data[FIELDS][ID]", "-1")]),
            hint(&[("event", "ONVOXIMPLANTCALLEND"), ("data[CALL_ID]", "x")]),
            hint(&[("event", "ONTASKADD"), ("data[FIELDS][ID]", "7")]),
            hint(&[]),
        ];
        let expected = Wanted { deals: [412].into(), activities: [7].into(), calls: true, ..Wanted::default() };
        assert_eq!(Wanted::of(&hints), expected);
    }
}
