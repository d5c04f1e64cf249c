//! Encoded records in one buffer, each with its layout version and its checksum.

use super::flaw::{StateFlaw, VERSION};
use prost::encoding::{WireType, encode_key, encode_varint, uint32};
use std::ops::Range;

/// The protobuf key of the checksum: field 15, fixed32.
pub(super) const CHECKSUM: u8 = 15 << 3 | 5;
/// The length of the checksum with its protobuf key.
const TAIL: usize = 5;

/// Encoded records.
#[derive(Clone, Debug, Default)]
pub struct Records {
    bytes: Vec<u8>,
    entries: Vec<(Range<usize>, Option<Range<usize>>)>,
    pub(super) scratch: Vec<u8>,
}

impl Records {
    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The total size of keys and values, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The keys and values. A record without a value is a tombstone.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.entries.iter().map(|(key, value)| (self.slice(key), value.as_ref().map(|value| self.slice(value))))
    }

    /// Adds a tombstone for any key.
    pub fn tombstone(&mut self, key: &[u8]) {
        self.remove(|out| out.extend_from_slice(key));
    }

    /// Adds a tombstone. Returns its key.
    pub(super) fn remove(&mut self, key: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        let key = self.key(key);
        self.entries.push((key.clone(), None));
        self.slice(&key)
    }

    /// Adds a record; `value` writes its only field besides version and checksum. Returns the position of its key.
    pub(super) fn put(&mut self, key: impl FnOnce(&mut Vec<u8>), value: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
        let key = self.key(key);
        let begin = self.bytes.len();
        uint32::encode(1, &VERSION, &mut self.bytes);
        value(&mut self.bytes);
        // The key immediately precedes its value in the buffer.
        let checksum = crc32fast::hash(&self.bytes[key.start..]);
        self.bytes.push(CHECKSUM);
        self.bytes.extend_from_slice(&checksum.to_le_bytes());
        self.entries.push((key.clone(), Some(begin..self.bytes.len())));
        key
    }

    /// The key or value at this position in the buffer.
    pub(super) fn slice(&self, range: &Range<usize>) -> &[u8] {
        &self.bytes[range.clone()]
    }

    fn key(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
        let begin = self.bytes.len();
        write(&mut self.bytes);
        begin..self.bytes.len()
    }
}

/// The value without its checksum, if that is correct.
pub(super) fn verified<'v>(key: &[u8], value: &'v [u8]) -> Result<&'v [u8], StateFlaw> {
    let (body, tail) = value.split_at_checked(value.len().wrapping_sub(TAIL)).ok_or(StateFlaw::Damaged)?;
    let mut hash = crc32fast::Hasher::new();
    hash.update(key);
    hash.update(body);
    let intact = tail[0] == CHECKSUM && tail[1..] == hash.finalize().to_le_bytes();
    if intact { Ok(body) } else { Err(StateFlaw::Damaged) }
}

/// Writes a field of bytes.
pub(super) fn bytes(field: u32, value: &[u8], out: &mut Vec<u8>) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

/// Writes a field of text, unless it is empty.
pub(super) fn text(field: u32, value: &str, out: &mut Vec<u8>) {
    if !value.is_empty() {
        bytes(field, value.as_bytes(), out);
    }
}
