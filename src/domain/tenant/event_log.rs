//! Owns the log of a case: its events in one block of memory, as there are as many logs as customers.

use super::super::event::EventOrder;
use super::super::time::Timestamp;

/// Events that took effect, in the order in which they were added.
///
/// Of each: rank and feed, event time, offset and the number of bytes that follow as varints, and those bytes. They are
/// written and read in one process only.
#[derive(Debug, Default)]
pub(super) struct Log {
    bytes: Vec<u8>,
}

/// The most that stands before an event's own bytes: two bytes, and three numbers.
const HEAD: usize = 2 + 3 * 10;

impl Log {
    /// Adds an event.
    pub(super) fn push(&mut self, order: EventOrder, packed: &[u8]) {
        let (mut head, mut end) = ([0; HEAD], 2);
        (head[0], head[1]) = (order.rank, order.source);
        for number in [zigzag(order.at.0), zigzag(order.offset), packed.len() as u64] {
            put(number, &mut head, &mut end);
        }
        self.reserve(end + packed.len());
        self.bytes.extend_from_slice(&head[..end]);
        self.bytes.extend_from_slice(packed);
    }

    /// Adds the events of another log.
    pub(super) fn append(&mut self, other: Self) {
        if self.bytes.is_empty() {
            *self = other;
            return;
        }
        self.reserve(other.bytes.len());
        self.bytes.extend_from_slice(&other.bytes);
    }

    /// Makes room: many logs have one event, and few grow much.
    fn reserve(&mut self, more: usize) {
        if self.bytes.capacity() - self.bytes.len() < more {
            self.bytes.reserve_exact(more + self.bytes.len() / 4);
        }
    }

    /// The events and their bytes.
    pub(super) fn iter(&self) -> impl Iterator<Item = (EventOrder, &[u8])> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            let (&[rank, source], after) = rest.split_first_chunk()?;
            rest = after;
            let at = Timestamp(unzigzag(take(&mut rest)));
            let offset = unzigzag(take(&mut rest));
            let length = take(&mut rest) as usize;
            let packed = rest.split_off(..length)?;
            Some((EventOrder { at, rank, offset, source }, packed))
        })
    }
}

fn put(mut number: u64, into: &mut [u8; HEAD], end: &mut usize) {
    while number >= 0x80 {
        into[*end] = number as u8 | 0x80;
        *end += 1;
        number >>= 7;
    }
    into[*end] = number as u8;
    *end += 1;
}

fn take(from: &mut &[u8]) -> u64 {
    let (mut number, mut shift) = (0, 0);
    while let Some(byte) = from.split_off_first() {
        number |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}

fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_gives_back_what_was_put_in() {
        let order = |at, rank, offset, source| EventOrder { at: Timestamp(at), rank, offset, source };
        let events = [
            (order(0, 0, 0, 0), &b""[..]),
            (order(1_772_434_800_000, 2, 300, 1), b"a lead"),
            (order(-62_135_596_800_000, 1, -1, 9), b"\x80\xff"),
            (order(i64::MIN, 255, i64::MAX, 255), &[7; 300]),
            (order(i64::MAX, 255, i64::MIN, 255), b"the end"),
        ];
        let (mut log, mut other) = (Log::default(), Log::default());
        events[..2].iter().for_each(|(order, packed)| log.push(*order, packed));
        events[2..].iter().for_each(|(order, packed)| other.push(*order, packed));
        log.append(other);
        assert_eq!(log.iter().collect::<Vec<_>>(), events);
        let mut empty = Log::default();
        assert_eq!(empty.iter().count(), 0);
        empty.append(log);
        assert_eq!(empty.iter().count(), 5);
    }

    #[test]
    fn one_event_takes_no_more_than_it_needs() {
        let mut log = Log::default();
        log.push(EventOrder { at: Timestamp(1_772_434_800_000), rank: 0, offset: 250_000, source: 0 }, &[0; 70]);
        assert_eq!((log.bytes.len(), log.bytes.capacity()), (82, 82));
    }
}
