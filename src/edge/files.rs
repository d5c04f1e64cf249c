//! Owns files of events: reads them into batches in the order of a replay, and writes what came of them.
//!
//! NDJSON has one event a line, the three message types mixed; `.pb` files have protobuf records (`EventRecord` of
//! `event.proto`), each behind its length. Both may be gzipped (`.gz`); `-` is standard input (NDJSON). Several files
//! are merged by event time, so one file a topic is as good as one file for all. Lines that cannot be read go on to be
//! refused like any other message: nothing is skipped in silence but blank lines.
//!
//! Two replays of the same files share one reading ([`EventFiles::fork`]): standard input and pipes can be read once only,
//! and large files need not be kept.

use crate::codec::Encoding;
use crate::codec::json;
use crate::dataflow::epoch::{Batch, Message};
use crate::domain::event::{Event, Topic};
use crate::domain::shard_processor::Source;
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

/// How many batches one reader of a fork may be ahead of the other.
const AHEAD: usize = 64;

/// Where in the files a message stands: the file's number in the upper bits, then the line or record, from 1.
pub fn place(file: usize, line: u64) -> i64 {
    ((file as i64) << 40) | line as i64
}

/// File number and line of a place.
pub fn line_of(place: i64) -> (usize, u64) {
    ((place >> 40) as usize, (place & ((1 << 40) - 1)) as u64)
}

/// Reads the events of several files as one stream.
pub struct EventFiles {
    files: Vec<EventFile>,
    encoding: Encoding,
    shuffled: Option<std::vec::IntoIter<FileRecord>>,
}

/// One file, opened.
struct EventFile {
    path: PathBuf,
    number: usize,
    reader: Box<dyn BufRead + Send>,
    encoding: Encoding,
    line: u64,
    /// The next record, read ahead where files are merged.
    next: Option<FileRecord>,
    ended: bool,
}

struct FileRecord {
    place: i64,
    topic: Option<Topic>,
    bytes: Vec<u8>,
}

impl EventFiles {
    /// Opens the files; `read` counts the bytes read of them, for progress. Fails if one cannot be opened, or if
    /// protobuf and JSON files are mixed.
    pub fn open(paths: &[PathBuf], read: &Arc<AtomicU64>) -> Result<Self, ReadError> {
        let mut files = Vec::new();
        for (number, path) in paths.iter().enumerate() {
            let file = EventFile::open(path, number, read).map_err(|cause| ReadError::new(path, cause))?;
            files.push(file);
        }
        let encoding = files.first().map_or(Encoding::Json, |file| file.encoding);
        if let Some(other) = files.iter().find(|file| file.encoding != encoding) {
            let cause = io::Error::other("JSON and protobuf files cannot be replayed together");
            return Err(ReadError::new(&other.path, cause));
        }
        Ok(Self { files, encoding, shuffled: None })
    }

    /// Events that are in memory already, as NDJSON.
    pub fn from_ndjson(text: Vec<u8>) -> Self {
        let reader = Box::new(io::Cursor::new(text));
        let path = PathBuf::from("memory");
        let file = EventFile { path, number: 0, reader, encoding: Encoding::Json, line: 0, next: None, ended: false };
        Self { files: vec![file], encoding: Encoding::Json, shuffled: None }
    }

    /// Reads everything and delivers it in a random order in which no event is later than `lateness` allows.
    ///
    /// Each event is delivered at a moment drawn from its own instant to `lateness` after it (exclusive): whatever
    /// comes before it was dated less than `lateness` after it. An event that is late in the files stays so.
    pub fn shuffle(&mut self, seed: u64, lateness: Span) -> Result<(), ReadError> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut records = Vec::new();
        let mut latest = Timestamp::MIN;
        while let Some(record) = self.next_merged()? {
            let at = self.instant(&record);
            let late = at.is_none_or(|at| at.saturating_add(lateness) <= latest);
            latest = latest.max(at.unwrap_or(latest));
            let jitter = if late || lateness == Span::ZERO { 0 } else { rng.random_range(0..lateness.0) };
            let due = if late { latest } else { at.unwrap_or(latest) };
            records.push((due.saturating_add(Span(jitter)), rng.random::<u32>(), record));
        }
        records.sort_by_key(|(due, tie, _)| (*due, *tie));
        self.shuffled = Some(records.into_iter().map(|(_, _, record)| record).collect::<Vec<_>>().into_iter());
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
        if let Some(records) = &mut self.shuffled {
            records.take(messages).for_each(|record| batch.push(record.place, record.topic, &record.bytes));
        } else if let [file] = self.files.as_mut_slice() {
            while batch.messages.len() < messages && file.append(&mut batch)? {}
        } else {
            while batch.messages.len() < messages
                && let Some(record) = self.next_merged()?
            {
                batch.push(record.place, record.topic, &record.bytes);
            }
        }
        Ok((!batch.messages.is_empty()).then_some(batch))
    }

    /// Reads once for two readers: each branch gives every batch, of up to `messages` messages, shared between them.
    ///
    /// A branch that is read faster than the other waits for it once it is [`AHEAD`] batches ahead, so they must be read
    /// on threads of their own; one that is dropped ends both. A failure to read comes out of both.
    pub fn fork(mut self, messages: usize) -> [Branch; 2] {
        let (first_in, first) = bounded(AHEAD);
        let (second_in, second) = bounded(AHEAD);
        std::thread::spawn(move || {
            while let Some(batch) = self.batch(messages).map(|batch| batch.map(Arc::new)).transpose() {
                let failed = batch.is_err();
                if first_in.send(batch.clone()).is_err() || second_in.send(batch).is_err() || failed {
                    break;
                }
            }
        });
        [Branch(first), Branch(second)]
    }

    /// The record that is next by event time; what has none goes at once.
    fn next_merged(&mut self) -> Result<Option<FileRecord>, ReadError> {
        for file in &mut self.files {
            file.look_ahead()?;
        }
        let next = |file: &EventFile| file.next.as_ref().map(|record| (self.instant(record), file.number));
        let Some((_, number)) = self.files.iter().filter_map(next).min() else { return Ok(None) };
        Ok(self.files[number].next.take())
    }

    fn instant(&self, record: &FileRecord) -> Option<Timestamp> {
        match self.encoding {
            Encoding::Json => json::decode(&record.bytes).ok(),
            _ => crate::codec::protobuf::decode(record.topic?, &record.bytes).ok(),
        }
        .map(|event| event.at)
    }
}

/// One of the two that read the same files.
pub struct Branch(Receiver<Result<Arc<Batch>, ReadError>>);

impl Branch {
    /// The next batch; `None` at the end.
    pub fn batch(&mut self) -> Result<Option<Arc<Batch>>, ReadError> {
        self.0.recv().ok().transpose()
    }
}

impl EventFile {
    fn open(path: &Path, number: usize, read: &Arc<AtomicU64>) -> io::Result<Self> {
        let counted = |reader: Box<dyn Read + Send>| Counted { reader, read: Arc::clone(read) };
        let raw =
            if path == Path::new("-") { counted(Box::new(io::stdin())) } else { counted(Box::new(File::open(path)?)) };
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
        Ok(Self { path: path.into(), number, reader, encoding, line: 0, next: None, ended: false })
    }

    fn look_ahead(&mut self) -> Result<(), ReadError> {
        if self.next.is_none() && !self.ended {
            let mut batch = Batch::new(Source::Files, None, self.encoding);
            self.ended = !self.append(&mut batch)?;
            self.next = batch.messages.pop().map(|message| FileRecord {
                place: message.offset,
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
                batch.messages.push(message(place(self.number, self.line), None, start, end));
                return Ok(true);
            }
        }
    }

    /// `EventRecord`: a length, then one field whose number tells the message type.
    fn append_record(&mut self, batch: &mut Batch) -> io::Result<bool> {
        let Some(length) = self.varint()? else { return Ok(false) };
        let start = batch.bytes.len();
        let taken = (&mut self.reader).take(length).read_to_end(&mut batch.bytes)?;
        if taken as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.line += 1;
        let mut record = &batch.bytes[start..];
        let topic = match prost::encoding::decode_varint(&mut record) {
            Ok(0x0a) => Some(Topic::Crm),
            Ok(0x12) => Some(Topic::Telephony),
            Ok(0x1a) => Some(Topic::Email),
            _ => None,
        };
        let inner = prost::encoding::decode_varint(&mut record).unwrap_or_default();
        let Some(topic) = topic.filter(|_| inner == record.len() as u64) else {
            return Err(io::Error::other(format!("record {} is no EventRecord", self.line)));
        };
        let end = batch.bytes.len();
        batch.messages.push(message(place(self.number, self.line), Some(topic), end - record.len(), end));
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
        Err(io::Error::other("a length of more than 64 bits"))
    }
}

fn message(place: i64, topic: Option<Topic>, start: usize, end: usize) -> Message {
    Message { offset: place, topic, timestamp: None, key: None, value: Some(start as u32..end as u32), headers: None }
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
            let tag = [0x0a, 0x12, 0x1a][event.payload.topic() as usize];
            let inner = self.record.len() as u64;
            let length = 1 + prost::encoding::encoded_len_varint(inner) as u64 + inner;
            prost::encoding::encode_varint(length, &mut self.buffer);
            self.buffer.push(tag);
            prost::encoding::encode_varint(inner, &mut self.buffer);
            self.buffer.extend_from_slice(&self.record);
        }
        self.out.write_all(&self.buffer)
    }

    /// Writes out what is buffered.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Counts the bytes that are read.
struct Counted<R> {
    reader: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(branch: &mut Branch) -> Vec<i64> {
        let batches = std::iter::from_fn(|| branch.batch().expect("in memory"));
        batches.flat_map(|batch| batch.messages.iter().map(|message| message.offset).collect::<Vec<_>>()).collect()
    }

    #[test]
    fn both_branches_get_everything_and_the_slower_one_holds_the_other_back() {
        // Many times more batches than one may be ahead.
        let lines = 20 * AHEAD as i64;
        let text: String = (0..lines).map(|line| format!("{line}\n\n")).collect();
        let [mut first, mut second] = EventFiles::from_ndjson(text.into_bytes()).fork(1);
        let fast = std::thread::spawn(move || offsets(&mut first));
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(!fast.is_finished(), "nothing is kept for the other without a bound");
        let all: Vec<i64> = (0..lines).map(|line| place(0, 2 * line as u64 + 1)).collect();
        assert_eq!(offsets(&mut second), all);
        assert_eq!(fast.join().expect("no panic"), all);
    }

    #[test]
    fn a_branch_that_is_dropped_ends_the_other() {
        let text = "{}\n".repeat(10 * AHEAD).into_bytes();
        let [first, mut second] = EventFiles::from_ndjson(text).fork(1);
        drop(first);
        // What the reader had put by for the dropped one before, and no more.
        assert!(offsets(&mut second).len() <= AHEAD);
    }
}
