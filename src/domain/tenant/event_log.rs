//! Owns the log of a case: its events in one memory block, because there are as many logs as customers.

use crate::domain::event::EventOrder;
use crate::domain::source::Offset;
use crate::domain::time::Timestamp;

/// Applied events, in insertion order.
///
/// Format per event: rank and source (one byte each); event time, offset and payload length (varints); payload. The
/// bytes never leave the process.
#[derive(Debug, Default)]
pub(super) struct Log {
    bytes: Vec<u8>,
}

/// Maximum size of an event header: two bytes and three varints.
const MAX_HEADER: usize = 2 + 3 * 10;

impl Log {
    /// A log without events.
    pub(super) const EMPTY: Self = Self { bytes: Vec::new() };

    pub(super) fn push(&mut self, order: EventOrder, packed: &[u8]) {
        let (mut header, mut end) = ([0; MAX_HEADER], 2);
        (header[0], header[1]) = (order.rank, order.source);
        for value in [zigzag(order.at.0), zigzag(order.offset.0), packed.len() as u64] {
            write_varint(value, &mut header, &mut end);
        }
        self.reserve(end + packed.len());
        self.bytes.extend_from_slice(&header[..end]);
        self.bytes.extend_from_slice(packed);
    }

    /// Its length in bytes.
    pub(super) fn length(&self) -> usize {
        self.bytes.len()
    }

    /// Takes the events that were added since it had this length.
    pub(super) fn split_off(&mut self, length: usize) -> Self {
        Self { bytes: self.bytes.split_off(length.min(self.bytes.len())) }
    }

    pub(super) fn append(&mut self, other: Self) {
        if self.bytes.is_empty() {
            *self = other;
            return;
        }
        self.reserve(other.bytes.len());
        self.bytes.extend_from_slice(&other.bytes);
    }

    /// Reserves space with little slack: many logs have one event, and few grow much.
    fn reserve(&mut self, more: usize) {
        if self.bytes.capacity() - self.bytes.len() < more {
            self.bytes.reserve_exact(more + self.bytes.len() / 4);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (EventOrder, &[u8])> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            let (&[rank, source], after) = rest.split_first_chunk()?;
            rest = after;
            let at = Timestamp(unzigzag(read_varint(&mut rest)));
            let offset = Offset(unzigzag(read_varint(&mut rest)));
            let length = read_varint(&mut rest) as usize;
            let packed = rest.split_off(..length)?;
            Some((EventOrder { at, rank, offset, source }, packed))
        })
    }
}

fn write_varint(mut value: u64, into: &mut [u8; MAX_HEADER], end: &mut usize) {
    while value >= 0x80 {
        into[*end] = value as u8 | 0x80;
        *end += 1;
        value >>= 7;
    }
    into[*end] = value as u8;
    *end += 1;
}

fn read_varint(from: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    while let Some(byte) = from.split_off_first() {
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_round_trip() {
        let order = |at, rank, offset, source| EventOrder { at: Timestamp(at), rank, offset: Offset(offset), source };
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
    fn a_log_of_one_event_has_no_slack() {
        let mut log = Log::default();
        log.push(
            EventOrder { at: Timestamp(1_772_434_800_000), rank: 0, offset: Offset(250_000), source: 0 },
            &[0; 70],
        );
        assert_eq!((log.bytes.len(), log.bytes.capacity()), (82, 82));
    }
}
