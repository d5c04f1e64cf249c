//! Owns the search for the end of a batch that librdkafka cannot read: it unpacks to more than the consumer accepts, or
//! is damaged.
//!
//! librdkafka returns the same error for every offset inside such a batch, which never ends by itself. The error names
//! the batch, not its end: so the search asks for offsets behind it, first in doubling steps, then by bisection, until
//! the last offset of this batch is known. Another batch that cannot be read has another name. Pure: calls no client.

use crate::dataflow::epoch::UnreadableBatch;
use crate::domain::source::Offset;
use crate::edge::kafka::native::Probed;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Seek this offset.
    Seek(Offset),
    /// The batch is known.
    Found(UnreadableBatch),
    /// The partition can be read where the search began, at this offset.
    Readable(Offset),
}

/// The search for the end of a batch.
#[derive(Debug)]
pub(super) struct Search {
    /// The offset that is sought.
    pub(super) sought: Offset,
    /// The next offset to read, which is in the batch or before it.
    start: Offset,
    /// The name of the batch and the problem; `None`: not confirmed yet.
    batch: Option<(Offset, String)>,
    /// The last offset that is known to be in the batch.
    inside: i64,
    /// The first offset that is known to be behind the batch.
    behind: i64,
    step: i64,
}

impl Search {
    /// A search from the next offset to read in a partition that ends at `end`, which is the start of a batch. Begins with
    /// a seek to `start`.
    pub(super) fn new(start: Offset, end: Offset) -> Self {
        Self { sought: start, start, batch: None, inside: start.0, behind: end.0, step: 1 }
    }

    /// Continues with what the consumer returned for the sought offset.
    pub(super) fn next(&mut self, probed: Probed) -> Step {
        match (probed, &self.batch) {
            (Probed::Readable, None) => return Step::Readable(self.start),
            (Probed::Unreadable(name, problem), None) => {
                self.inside = self.inside.max(name.0);
                self.batch = Some((name, problem));
            }
            (Probed::Unreadable(name, _), Some((batch, _))) if name == *batch => self.inside = self.sought.0,
            (Probed::Readable | Probed::Unreadable(..), Some(_)) => self.behind = self.sought.0,
        }
        let candidate = (self.inside + self.step).min(self.inside + (self.behind - self.inside) / 2);
        if candidate > self.inside {
            self.step *= 2;
            self.sought = Offset(candidate);
            return Step::Seek(self.sought);
        }
        let (name, problem) = self.batch.take().unwrap_or_default();
        Step::Found(UnreadableBatch { first: self.start.max(name), last: Offset(self.inside), problem })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches from `start` in a log of batches, each with its first and last offset and whether it can be read. Returns
    /// the result and the number of seeks.
    fn search(start: i64, log: &[(i64, i64, bool)]) -> (Step, usize) {
        let end = log.last().map_or(0, |(_, last, _)| last + 1);
        let mut search = Search::new(Offset(start), Offset(end));
        for seeks in 1.. {
            let batch = log.iter().find(|(_, last, _)| search.sought.0 <= *last).expect("an offset of the log");
            let probed = match batch {
                (_, _, true) => Probed::Readable,
                (first, _, false) => Probed::Unreadable(Offset(*first), "broken".into()),
            };
            match search.next(probed) {
                Step::Seek(_) => assert!(seeks < 100, "the search ends"),
                step => return (step, seeks),
            }
        }
        unreachable!()
    }

    fn found(first: i64, last: i64) -> Step {
        Step::Found(UnreadableBatch { first: Offset(first), last: Offset(last), problem: "broken".into() })
    }

    #[test]
    fn the_last_offset_of_a_batch_of_any_length_is_found_in_few_seeks() {
        for length in (1..200).chain([1000, 123_456, 1_000_000]) {
            for after in [0, 1, 3, 5000] {
                let mut log = vec![(0, 4, true), (5, 4 + length, false)];
                log.extend((0..after).map(|at| (5 + length + at, 5 + length + at, true)));
                let (step, seeks) = search(5, &log);
                assert_eq!(step, found(5, 4 + length), "{length} {after}");
                assert!(seeks < 48, "{seeks} seeks for {length}");
            }
        }
    }

    #[test]
    fn messages_between_two_batches_are_not_skipped() {
        for length in 1..40 {
            for between in 1..40 {
                for second in [1, 10, 300] {
                    let gap = 10 + length + between;
                    let log = [
                        (0, 9, true),
                        (10, 9 + length, false),
                        (10 + length, gap - 1, true),
                        (gap, gap + second, false),
                    ];
                    assert_eq!(search(10, &log).0, found(10, 9 + length), "{length} {between} {second}");
                }
            }
        }
    }

    #[test]
    fn two_batches_that_follow_each_other_are_found_one_by_one() {
        let log = [(3, 7, false), (8, 20, false), (21, 21, true)];
        assert_eq!(search(3, &log).0, found(3, 7));
        assert_eq!(search(8, &log).0, found(8, 20));
    }

    #[test]
    fn offsets_before_and_inside_of_a_batch_are_not_named_twice() {
        // A transaction marker, which is no message, is before the batch.
        let log = [(0, 4, true), (6, 9, false), (10, 10, true)];
        assert_eq!(search(5, &log).0, found(6, 9));
        assert_eq!(search(8, &log).0, found(8, 9), "the rest of a batch");
    }

    #[test]
    fn an_error_that_does_not_return_skips_nothing() {
        assert_eq!(search(5, &[(0, 9, true)]).0, Step::Readable(Offset(5)));
    }
}
