//! Sorts records by event time in bounded memory: full runs are sorted and spilled to a temporary file, and merged when
//! everything is read. The file has no name, so nothing is left of it however the process ends.

use super::message::{ReadError, decode};
use super::records::EventFile;
use crate::codec::Encoding;
use crate::dataflow::epoch::Batch;
use crate::domain::source::{Offset, Source, Topic};
use crate::domain::time::Timestamp;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// The order: records without an event time first, those of one instant as they stand in the files. At one instant, the
/// topic ranks before that, but the shard takes care of it: it never gets a part of an instant.
type Key = (Timestamp, Offset);

/// Records in the order of event time.
pub(super) struct Sorted {
    runs: Vec<Run>,
    /// The first record of each run.
    heads: BinaryHeap<Reverse<(Key, usize)>>,
}

/// Reads all records of `files`, keeping about `memory` bytes of them in memory.
pub(super) fn sort(files: Vec<EventFile>, encoding: Encoding, memory: usize) -> Result<Sorted, ReadError> {
    let mut sorter = Sorter { memory, records: Vec::new(), bytes: Vec::new(), spilled: Spilled::default() };
    let mut batch = Batch::new(Source::Files, None, encoding);
    for mut file in files {
        while file.append(&mut batch)? {
            for message in &batch.messages {
                let value = batch.slice(&message.value).unwrap_or_default();
                let at = decode(encoding, message.topic, value).map_or(Timestamp::MIN, |incoming| incoming.at());
                sorter.push((at, message.offset), message.topic, value).map_err(ReadError::of_sorting)?;
            }
            batch.messages.clear();
            batch.bytes.clear();
        }
    }
    sorter.finish().map_err(ReadError::of_sorting)
}

impl Sorted {
    /// Appends the next record to a batch; `false` at the end.
    pub(super) fn append(&mut self, batch: &mut Batch) -> Result<bool, ReadError> {
        let Some(Reverse(((_, offset), index))) = self.heads.pop() else { return Ok(false) };
        let run = &mut self.runs[index];
        batch.push(offset, run.topic, &run.value);
        if let Some(key) = run.advance().map_err(ReadError::of_sorting)? {
            self.heads.push(Reverse((key, index)));
        }
        Ok(true)
    }
}

/// A record in memory, with the range of its value.
struct Record {
    key: Key,
    topic: Option<Topic>,
    start: usize,
    length: u32,
}

struct Sorter {
    memory: usize,
    records: Vec<Record>,
    bytes: Vec<u8>,
    spilled: Spilled,
}

/// The runs in the temporary file.
#[derive(Default)]
struct Spilled {
    out: Option<BufWriter<File>>,
    length: u64,
    /// Where each run ends.
    ends: Vec<u64>,
}

impl Sorter {
    fn push(&mut self, key: Key, topic: Option<Topic>, value: &[u8]) -> io::Result<()> {
        let used = self.bytes.len() + self.records.len() * size_of::<Record>();
        if !self.records.is_empty() && used + value.len() > self.memory {
            self.spill()?;
        }
        let record = Record { key, topic, start: self.bytes.len(), length: value.len() as u32 };
        self.records.push(record);
        self.bytes.extend_from_slice(value);
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        self.records.sort_unstable_by_key(|record| record.key);
        for record in self.records.drain(..) {
            let value = &self.bytes[record.start..record.start + record.length as usize];
            self.spilled.write(record.key, record.topic, value)?;
        }
        self.bytes.clear();
        self.spilled.ends.push(self.spilled.length);
        Ok(())
    }

    /// Merges the runs. The last one stays in memory.
    fn finish(mut self) -> io::Result<Sorted> {
        self.records.sort_unstable_by_key(|record| record.key);
        let mut runs = vec![Run::new(Rest::Memory(self.records.into_iter(), self.bytes))];
        if let Some(out) = self.spilled.out {
            let file = Arc::new(out.into_inner()?);
            let buffer = (self.memory / self.spilled.ends.len()).clamp(4 << 10, 1 << 20);
            let starts = std::iter::once(0).chain(self.spilled.ends.iter().copied());
            runs.extend(starts.zip(&self.spilled.ends).map(|(start, end)| {
                let part = FilePart { file: Arc::clone(&file), at: start, end: *end };
                Run::new(Rest::File(BufReader::with_capacity(buffer, part)))
            }));
        }
        let mut heads = BinaryHeap::new();
        for (index, run) in runs.iter_mut().enumerate() {
            heads.extend(run.advance()?.map(|key| Reverse((key, index))));
        }
        Ok(Sorted { runs, heads })
    }
}

impl Spilled {
    /// Event time and offset (8 bytes each), topic (1), length (4), value.
    fn write(&mut self, (at, offset): Key, topic: Option<Topic>, value: &[u8]) -> io::Result<()> {
        let out = match &mut self.out {
            Some(out) => out,
            None => self.out.insert(BufWriter::with_capacity(1 << 20, tempfile::tempfile()?)),
        };
        let topic = topic.map_or(u8::MAX, |topic| topic as u8);
        out.write_all(&at.0.to_le_bytes())?;
        out.write_all(&offset.0.to_le_bytes())?;
        out.write_all(&[topic])?;
        out.write_all(&(value.len() as u32).to_le_bytes())?;
        out.write_all(value)?;
        self.length += HEADER as u64 + value.len() as u64;
        Ok(())
    }
}

/// The bytes of a spilled record before its value.
const HEADER: usize = 8 + 8 + 1 + 4;

/// A sorted run: its current record, and the rest.
struct Run {
    topic: Option<Topic>,
    value: Vec<u8>,
    rest: Rest,
}

enum Rest {
    Memory(std::vec::IntoIter<Record>, Vec<u8>),
    File(BufReader<FilePart>),
}

impl Run {
    fn new(rest: Rest) -> Self {
        Self { topic: None, value: Vec::new(), rest }
    }

    /// Reads the next record; `None` at the end.
    fn advance(&mut self) -> io::Result<Option<Key>> {
        self.value.clear();
        match &mut self.rest {
            Rest::Memory(records, bytes) => {
                let Some(record) = records.next() else { return Ok(None) };
                self.topic = record.topic;
                self.value.extend_from_slice(&bytes[record.start..record.start + record.length as usize]);
                Ok(Some(record.key))
            }
            Rest::File(reader) => {
                if reader.get_ref().is_at_end() && reader.buffer().is_empty() {
                    return Ok(None);
                }
                let mut fixed = [0; HEADER];
                reader.read_exact(&mut fixed)?;
                let mut rest = &fixed[..];
                let at = i64::from_le_bytes(take(&mut rest));
                let offset = i64::from_le_bytes(take(&mut rest));
                let [topic] = take(&mut rest);
                self.topic = Topic::ALL.get(usize::from(topic)).copied();
                self.value.resize(u32::from_le_bytes(take(&mut rest)) as usize, 0);
                reader.read_exact(&mut self.value)?;
                Ok(Some((Timestamp(at), Offset(offset))))
            }
        }
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let (first, rest) = bytes.split_first_chunk().expect("the header has all its fields");
    *bytes = rest;
    *first
}

/// A part of a file, read independently of other readers of it.
pub(super) struct FilePart {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl FilePart {
    /// All of a file.
    pub(super) fn all(file: &Arc<File>) -> io::Result<Self> {
        Ok(Self { file: Arc::clone(file), at: 0, end: file.metadata()?.len() })
    }

    fn is_at_end(&self) -> bool {
        self.at == self.end
    }
}

impl Read for FilePart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min((self.end - self.at) as usize);
        let length = self.file.read_at(&mut buffer[..length], self.at)?;
        self.at += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Offsets of the records of two files in the order of delivery, with this much memory.
    fn sorted(files: &[String; 2], memory: usize) -> (Vec<i64>, usize) {
        let open = |(index, text): (usize, &String)| {
            let raw = io::Cursor::new(text.clone().into_bytes());
            EventFile::open("memory".as_ref(), index, raw, Encoding::Json).expect("in memory")
        };
        let files = files.iter().enumerate().map(open).collect();
        let mut sorted = sort(files, Encoding::Json, memory).expect("in memory");
        let mut batch = Batch::new(Source::Files, None, Encoding::Json);
        while sorted.append(&mut batch).expect("in memory") {}
        (batch.messages.iter().map(|message| message.offset.0).collect(), sorted.runs.len())
    }

    fn event(second: u32, note: &str) -> String {
        let at = Timestamp(i64::from(second) * 1000);
        format!(
            r#"{{"tenant_id":"t","occurred_at":"{at}","closed":{{"entity":{{"kind":"LEAD","id":"{note}"}},"outcome":"LOST"}}}}"#
        )
    }

    proptest! {
        #[test]
        fn records_are_in_order_however_little_memory_there_is(
            seconds in prop::collection::vec(0u32..50, 1..60), split in any::<prop::sample::Index>(), memory in 0usize..4000
        ) {
            let (first, second) = seconds.split_at(split.index(seconds.len()));
            let text = |seconds: &[u32]| {
                seconds.iter().map(|second| event(*second, &"x".repeat(*second as usize + 1)) + "\n").collect::<String>()
            };
            let files = [text(first), "no json\n{\"a\": 1}\n".to_owned() + &text(second)];
            let mut expected: Vec<(Option<u32>, i64)> = vec![(None, (1 << 40) + 1), (None, (1 << 40) + 2)];
            expected.extend((1..).zip(first).map(|(line, second)| (Some(*second), line)));
            expected.extend((3..).zip(second).map(|(line, second)| (Some(*second), (1 << 40) + line)));
            expected.sort();
            let expected: Vec<i64> = expected.into_iter().map(|(_, offset)| offset).collect();
            let (found, runs) = sorted(&files, memory);
            prop_assert_eq!(&found, &expected);
            prop_assert!(memory > 0 || runs == expected.len(), "every record is its own run: {}", runs);
            prop_assert_eq!(sorted(&files, 1 << 20), (expected, 1));
        }
    }
}
