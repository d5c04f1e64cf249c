//! Counts the refused messages of files by reason, with the position of the first of each.

use crate::codec::Reject;
use crate::domain::event::reject::Reason;
use crate::domain::source::Offset;
use crate::edge::files::file_and_line;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Refused messages by reason and field. The keys name fields of the schema and never a value, so they are few.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals(BTreeMap<(Reason, String), Refused>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refused {
    count: u64,
    first: Offset,
}

/// The messages refused for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason, the field and the problem.
    pub reject: Reject,
    /// How many there are.
    pub count: u64,
    /// The file of the first of them: its index.
    pub file: usize,
    /// The line of the first of them, or the record.
    pub line: u64,
}

impl Refusals {
    /// Counts a refused message.
    pub fn add(&mut self, offset: Offset, reject: &Reject) {
        let refused =
            self.0.entry((reject.reason, reject.detail.clone())).or_insert(Refused { count: 0, first: offset });
        refused.count += 1;
        refused.first = refused.first.min(offset);
    }

    /// How many messages were refused.
    pub fn total(&self) -> u64 {
        self.0.values().map(|refused| refused.count).sum()
    }

    /// How many of them for this reason.
    pub fn of(&self, reason: Reason) -> u64 {
        self.0.iter().filter(|((other, _), _)| *other == reason).map(|(_, refused)| refused.count).sum()
    }

    /// The commonest first; of equally common ones the one whose first message comes first.
    pub fn commonest(&self) -> Vec<Refusal> {
        let mut sorted: Vec<_> = self.0.iter().collect();
        sorted.sort_by_key(|(_, refused)| (Reverse(refused.count), refused.first));
        let refusal = |((reason, detail), refused): (&(Reason, String), &Refused)| {
            let (file, line) = file_and_line(refused.first);
            Refusal { reject: Reject { reason: *reason, detail: detail.clone() }, count: refused.count, file, line }
        };
        sorted.into_iter().map(refusal).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commonest_reason_comes_first_with_its_first_position() {
        let mut refusals = Refusals::default();
        let of = |detail: &str| Reject::new(Reason::BadValue, detail);
        refusals.add(Offset(9), &of("a"));
        refusals.add(Offset((1 << 40) + 2), &of("b"));
        refusals.add(Offset(5), &of("b"));
        refusals.add(Offset(3), &Reject::new(Reason::Malformed, "a"));
        let found: Vec<_> =
            refusals.commonest().into_iter().map(|r| (r.reject.to_string(), r.count, r.file, r.line)).collect();
        let expected = [("bad_value: b", 2, 0, 5), ("malformed: a", 1, 0, 3), ("bad_value: a", 1, 0, 9)];
        assert_eq!(found, expected.map(|(text, count, file, line)| (text.to_owned(), count, file, line)));
        assert_eq!((refusals.total(), refusals.of(Reason::BadValue), refusals.of(Reason::Future)), (4, 3, 0));
    }
}
