//! Owns the reasons for which a value of an event is put right while it is read. A repaired event is never rejected for
//! that value.

use crate::domain::named::named_enum;

named_enum! {
    /// What was put right; the name is the metric label.
    pub enum Repair, named "in labels and logs" {
        /// A value of the wrong type in a field that no rule needs: dropped.
        WrongValue = "wrong_value",
        /// A date other than `occurred_at` outside the years 1 to 9998: dropped.
        DateOutOfRange = "date_out_of_range",
        /// A call that ended has no usable `started_at`, because it is absent: taken from `call_started` or the talk time.
        StartMissing = "start_missing",
        /// `started_at` is later than the end of the call: likewise.
        StartAfterEnd = "start_after_end",
        /// `started_at` is more than 24 hours before the end of the call: likewise.
        StartTooEarly = "start_too_early",
        /// `talk_seconds` is absent and `answered_at` is given: the talk time is computed.
        TalkMissing = "talk_missing",
        /// `talk_seconds` is negative: 0.
        TalkNegative = "talk_negative",
        /// A message, thread or recording id that is too long, or has control characters: its SHA-256.
        IdHashed = "id_hashed",
        /// A text that is too long: its beginning.
        TextCut = "text_cut",
        /// A phone, address or handle that is too long: dropped.
        ContactDropped = "contact_dropped",
    }
}

/// The repairs of one event, one bit for each reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repairs(u16);

impl Repairs {
    /// Adds a repair.
    pub fn add(&mut self, repair: Repair) {
        self.0 |= 1 << repair as u8;
    }

    /// Removes a repair.
    pub fn remove(&mut self, repair: Repair) {
        self.0 &= !(1 << repair as u8);
    }

    /// Whether the event has this repair.
    pub fn contains(self, repair: Repair) -> bool {
        self.0 & 1 << repair as u8 != 0
    }

    /// The repairs of the event.
    pub fn iter(self) -> impl Iterator<Item = Repair> {
        Repair::ALL.into_iter().filter(move |repair| self.contains(*repair))
    }
}
