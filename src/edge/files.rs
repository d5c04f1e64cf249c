//! Reads files of events into batches in replay order, and writes such files.
//!
//! NDJSON files have one event per line, the three message types mixed; `.pb` files have length-delimited protobuf
//! records (`EventRecord` of `event.proto`). Both may be gzipped (`.gz`); `-` is standard input (NDJSON). Several files
//! are merged by event time, so one file per topic is equivalent to one file for all. Undecodable lines are passed on
//! and rejected like any other message; only blank lines are skipped silently.
//!
//! Two replays of the same files share one read ([`EventFiles::fork`]): standard input and pipes can be read only once,
//! and large files need not be kept in memory.

use crate::codec::{Encoding, json};
use crate::dataflow::epoch::{Batch, Message};
use crate::domain::event::Event;
use crate::domain::source::{Offset, Source, Topic};
use crate::domain::time::{Span, Timestamp};
use crossbeam_channel::{Receiver, bounded};
use flate2::read::MultiGzDecoder;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A file could not be opened or read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("read events from {}: {cause}", path.display())]
pub struct ReadError {
    path: PathBuf,
    cause: Arc<io::Error>,
}

impl ReadError {
    fn new(path: &Path, cause: io::Error) -> Self {
        Self { path: path.into(), cause: Arc::new(cause) }
    }
}

/// How many batches one branch of a fork may be ahead of the other.
const BRANCH_CAPACITY: usize = 64;

/// The offset of a message: the file's index in the upper bits, then the line or record, from 1.
fn offset_of(file: usize, line: u64) -> Offset {
    Offset(((file as i64) << 40) | line as i64)
}

/// File index and line of an offset.
pub fn file_and_line(Offset(offset): Offset) -> (usize, u64) {
    ((offset >> 40) as usize, (offset & ((1 << 40) - 1)) as u64)
}

/// Reads the events of several files as one stream.
pub struct EventFiles {
    files: Vec<EventFile>,
    encoding: Encoding,
    shuffled_records: Option<std::vec::IntoIter<FileRecord>>,
}

struct EventFile {
    path: PathBuf,
    index: usize,
    reader: Box<dyn BufRead + Send>,
    encoding: Encoding,
    line: u64,
    /// The next record, read ahead when files are merged.
    next: Option<FileRecord>,
    ended: bool,
}

struct FileRecord {
    offset: Offset,
    topic: Option<Topic>,
    bytes: Vec<u8>,
}

impl EventFiles {
    /// Opens the files; `read` counts the bytes read, for progress. Fails if a file cannot be opened, or if protobuf
    /// and JSON files are mixed.
    pub fn open(paths: &[PathBuf], read: &Arc<AtomicU64>) -> Result<Self, ReadError> {
        let mut files = Vec::new();
        for (index, path) in paths.iter().enumerate() {
            let file = EventFile::open(path, index, read).map_err(|cause| ReadError::new(path, cause))?;
            files.push(file);
        }
        let encoding = files.first().map_or(Encoding::Json, |file| file.encoding);
        if let Some(other) = files.iter().find(|file| file.encoding != encoding) {
            let cause = io::Error::other("JSON and protobuf files cannot be replayed together");
            return Err(ReadError::new(&other.path, cause));
        }
        Ok(Self { files, encoding, shuffled_records: None })
    }

    /// NDJSON events in memory.
    pub fn from_ndjson(text: Vec<u8>) -> Self {
        let reader = Box::new(io::Cursor::new(text));
        let path = PathBuf::from("memory");
        let file = EventFile { path, index: 0, reader, encoding: Encoding::Json, line: 0, next: None, ended: false };
        Self { files: vec![file], encoding: Encoding::Json, shuffled_records: None }
    }

    /// Reads everything and delivers it in a random order in which no event is later than `lateness` allows.
    ///
    /// Each event is delayed by a random span of less than `lateness`, so every event delivered before it is dated less
    /// than `lateness` after it. An event that is late in the files stays late.
    pub fn shuffle(&mut self, seed: u64, lateness: Span) -> Result<(), ReadError> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut records = Vec::new();
        let mut latest = Timestamp::MIN;
        while let Some(record) = self.next_merged()? {
            let at = self.event_time(&record);
            let late = at.is_none_or(|at| at.saturating_add(lateness) <= latest);
            latest = latest.max(at.unwrap_or(latest));
            let jitter = if late || lateness == Span::ZERO { 0 } else { rng.random_range(0..lateness.0) };
            let delivered_at = if late { latest } else { at.unwrap_or(latest) };
            records.push((delivered_at.saturating_add(Span(jitter)), rng.random::<u32>(), record));
        }
        records.sort_by_key(|(delivered_at, tie_breaker, _)| (*delivered_at, *tie_breaker));
        self.shuffled_records = Some(records.into_iter().map(|(_, _, record)| record).collect::<Vec<_>>().into_iter());
        Ok(())
    }

    /// The next batch of up to `messages` messages; `None` at the end.
    pub fn batch(&mut self, messages: usize) -> Result<Option<Batch>, ReadError> {
        let mut batch = Batch {
            source: Source::Files,
            shard: None,
            encoding: self.encoding,
            bytes: Vec::with_capacity(messages * 256),
            messages: Vec::with_capacity(messages),
        };
        if let Some(records) = &mut self.shuffled_records {
            records.take(messages).for_each(|record| batch.push(record.offset, record.topic, &record.bytes));
        } else if let [file] = self.files.as_mut_slice() {
            while batch.messages.len() < messages && file.append(&mut batch)? {}
        } else {
            while batch.messages.len() < messages
                && let Some(record) = self.next_merged()?
            {
                batch.push(record.offset, record.topic, &record.bytes);
            }
        }
        Ok((!batch.messages.is_empty()).then_some(batch))
    }

    /// Reads once for two readers: both branches yield all batches, of up to `messages` messages each.
    ///
    /// The faster branch blocks once it is [`BRANCH_CAPACITY`] batches ahead of the other, so each must be read on its
    /// own thread; dropping one ends both. A read error is returned by both.
    pub fn fork(mut self, messages: usize) -> [Branch; 2] {
        let (first_sender, first) = bounded(BRANCH_CAPACITY);
        let (second_sender, second) = bounded(BRANCH_CAPACITY);
        std::thread::spawn(move || {
            while let Some(batch) = self.batch(messages).map(|batch| batch.map(Arc::new)).transpose() {
                let failed = batch.is_err();
                if first_sender.send(batch.clone()).is_err() || second_sender.send(batch).is_err() || failed {
                    break;
                }
            }
        });
        [Branch(first), Branch(second)]
    }

    /// The next record by event time; records without one come first.
    fn next_merged(&mut self) -> Result<Option<FileRecord>, ReadError> {
        for file in &mut self.files {
            file.peek()?;
        }
        let next = |file: &EventFile| file.next.as_ref().map(|record| (self.event_time(record), file.index));
        let Some((_, index)) = self.files.iter().filter_map(next).min() else { return Ok(None) };
        Ok(self.files[index].next.take())
    }

    fn event_time(&self, record: &FileRecord) -> Option<Timestamp> {
        match self.encoding {
            Encoding::Json => json::decode(&record.bytes).ok(),
            _ => crate::codec::protobuf::decode(record.topic?, &record.bytes).ok(),
        }
        .map(|event| event.at)
    }
}

/// One of two readers of the same files.
pub struct Branch(Receiver<Result<Arc<Batch>, ReadError>>);

impl Branch {
    /// The next batch; `None` at the end.
    pub fn batch(&mut self) -> Result<Option<Arc<Batch>>, ReadError> {
        self.0.recv().ok().transpose()
    }
}

impl EventFile {
    fn open(path: &Path, index: usize, read: &Arc<AtomicU64>) -> io::Result<Self> {
        let counting = |reader: Box<dyn Read + Send>| CountingReader { reader, read: Arc::clone(read) };
        let raw = if path == Path::new("-") {
            counting(Box::new(io::stdin()))
        } else {
            counting(Box::new(File::open(path)?))
        };
        let mut reader = BufReader::with_capacity(1 << 20, raw);
        let gzipped = reader.fill_buf()?.starts_with(&[0x1f, 0x8b]);
        let reader: Box<dyn BufRead + Send> = if gzipped {
            Box::new(BufReader::with_capacity(1 << 20, MultiGzDecoder::new(reader)))
        } else {
            Box::new(reader)
        };
        let name = path.to_string_lossy();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        let encoding = if name.ends_with(".pb") { Encoding::Protobuf } else { Encoding::Json };
        Ok(Self { path: path.into(), index, reader, encoding, line: 0, next: None, ended: false })
    }

    fn peek(&mut self) -> Result<(), ReadError> {
        if self.next.is_none() && !self.ended {
            let mut batch = Batch::new(Source::Files, None, self.encoding);
            self.ended = !self.append(&mut batch)?;
            self.next = batch.messages.pop().map(|message| FileRecord {
                offset: message.offset,
                topic: message.topic,
                bytes: std::mem::take(&mut batch.bytes),
            });
        }
        Ok(())
    }

    /// Appends the next record to a batch; `false` at the end.
    fn append(&mut self, batch: &mut Batch) -> Result<bool, ReadError> {
        let read = match self.encoding {
            Encoding::Json => self.append_line(batch),
            _ => self.append_record(batch),
        };
        read.map_err(|cause| ReadError::new(&self.path, cause))
    }

    fn append_line(&mut self, batch: &mut Batch) -> io::Result<bool> {
        loop {
            let start = batch.bytes.len();
            if self.reader.read_until(b'\n', &mut batch.bytes)? == 0 {
                return Ok(false);
            }
            self.line += 1;
            let line = batch.bytes[start..].trim_ascii_end();
            let end = start + line.len();
            batch.bytes.truncate(end);
            if end > start {
                batch.messages.push(message(offset_of(self.index, self.line), None, start, end));
                return Ok(true);
            }
        }
    }

    /// `EventRecord`: a length, then one field whose number is the message type.
    fn append_record(&mut self, batch: &mut Batch) -> io::Result<bool> {
        let Some(length) = self.varint()? else { return Ok(false) };
        let start = batch.bytes.len();
        let length_read = (&mut self.reader).take(length).read_to_end(&mut batch.bytes)?;
        if length_read as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.line += 1;
        let mut record = &batch.bytes[start..];
        let topic = match prost::encoding::decode_varint(&mut record) {
            Ok(tag) => Topic::ALL.into_iter().find(|topic| u64::from(record_tag(*topic)) == tag),
            Err(_) => None,
        };
        let payload_length = prost::encoding::decode_varint(&mut record).unwrap_or_default();
        let Some(topic) = topic.filter(|_| payload_length == record.len() as u64) else {
            return Err(io::Error::other(format!("record {} is not an EventRecord", self.line)));
        };
        let end = batch.bytes.len();
        batch.messages.push(message(offset_of(self.index, self.line), Some(topic), end - record.len(), end));
        Ok(true)
    }

    fn varint(&mut self) -> io::Result<Option<u64>> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            if self.reader.read(&mut byte)? == 0 {
                return if shift == 0 { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                return Ok(Some(value));
            }
        }
        Err(io::Error::other("record length exceeds 64 bits"))
    }
}

/// The protobuf key of a topic's field in `EventRecord`: field number and wire type 2 (length-delimited).
const fn record_tag(topic: Topic) -> u8 {
    (topic.info().file_field << 3 | 2) as u8
}

fn message(offset: Offset, topic: Option<Topic>, start: usize, end: usize) -> Message {
    Message { offset, topic, timestamp: None, key: None, value: Some(start as u32..end as u32), headers: None }
}

/// Writes events as a file that [`EventFiles`] reads.
pub struct EventWriter<W> {
    out: W,
    encoding: Encoding,
    buffer: Vec<u8>,
    record: Vec<u8>,
}

impl<W: Write> EventWriter<W> {
    /// Writes to `out`: NDJSON, or protobuf records.
    pub fn new(out: W, encoding: Encoding) -> Self {
        Self { out, encoding, buffer: Vec::new(), record: Vec::new() }
    }

    /// Writes one event.
    pub fn write(&mut self, event: &Event) -> io::Result<()> {
        self.buffer.clear();
        if self.encoding == Encoding::Json {
            json::encode_event(event, &mut self.buffer);
            self.buffer.push(b'\n');
        } else {
            self.record.clear();
            crate::codec::protobuf::encode_event(event, &mut self.record);
            let tag = record_tag(event.payload.topic());
            let payload_length = self.record.len() as u64;
            let length = 1 + prost::encoding::encoded_len_varint(payload_length) as u64 + payload_length;
            prost::encoding::encode_varint(length, &mut self.buffer);
            self.buffer.push(tag);
            prost::encoding::encode_varint(payload_length, &mut self.buffer);
            self.buffer.extend_from_slice(&self.record);
        }
        self.out.write_all(&self.buffer)
    }

    /// Flushes the output.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}

struct CountingReader<R> {
    reader: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for CountingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(branch: &mut Branch) -> Vec<Offset> {
        let batches = std::iter::from_fn(|| branch.batch().expect("in memory"));
        batches.flat_map(|batch| batch.messages.iter().map(|message| message.offset).collect::<Vec<_>>()).collect()
    }

    #[test]
    fn both_branches_get_everything_and_the_faster_one_waits() {
        // Many times the number of batches that a branch may be ahead.
        let lines = 20 * BRANCH_CAPACITY as i64;
        let text: String = (0..lines).map(|line| format!("{line}\n\n")).collect();
        let [mut first, mut second] = EventFiles::from_ndjson(text.into_bytes()).fork(1);
        let fast = std::thread::spawn(move || offsets(&mut first));
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(!fast.is_finished(), "the faster branch is bounded");
        let all: Vec<Offset> = (0..lines).map(|line| offset_of(0, 2 * line as u64 + 1)).collect();
        assert_eq!(offsets(&mut second), all);
        assert_eq!(fast.join().expect("no panic"), all);
    }

    #[test]
    fn dropping_a_branch_ends_the_other() {
        let text = "{}\n".repeat(10 * BRANCH_CAPACITY).into_bytes();
        let [first, mut second] = EventFiles::from_ndjson(text).fork(1);
        drop(first);
        // At most what the reader had buffered before the drop.
        assert!(offsets(&mut second).len() <= BRANCH_CAPACITY);
    }
}
