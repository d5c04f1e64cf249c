//! Reads files of events as one stream of batches: as they stand, sorted by event time, or shuffled; and writes such files.
//!
//! A file has events as JSON (one object a line, or arrays; the three message types mixed) or, if its name ends in `.pb`,
//! length-delimited protobuf records (`EventRecord` of `event.proto`). Compression and UTF-16 are recognized by the
//! beginning (`format`); `-` is standard input. Several files are merged by event time, so one file per topic is
//! equivalent to one file for all. Undecodable records are passed on and rejected like any other message.
//!
//! Files can be read several times; standard input and pipes only after [`EventFiles::keep`]. Two replays of the same
//! files share one read ([`EventStream::fork`]), so that large files need not be kept in memory.

mod format;
mod message;
mod records;
mod sorted;
mod writer;

pub use message::{ReadError, decode, file_and_line};
pub use writer::EventWriter;

use crate::codec::Encoding;
use crate::dataflow::epoch::Batch;
use crate::domain::source::{Offset, Source, Topic};
use crate::domain::time::{Span, Timestamp};
use crossbeam_channel::{Receiver, bounded};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use records::EventFile;
use sorted::{FilePart, Sorted};
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many batches one branch of a fork may be ahead of the other.
const BRANCH_CAPACITY: usize = 64;
/// A batch ends before its number of messages once it has so many bytes.
const BATCH_BYTES: usize = 4 << 20;
/// Sorting keeps about so much in memory.
const SORT_MEMORY: usize = 256 << 20;

/// Files of events.
pub struct EventFiles {
    files: Vec<(PathBuf, Contents)>,
    encoding: Encoding,
    /// Counts the bytes read, for progress.
    read: Arc<AtomicU64>,
}

/// Where the contents of a file are read from.
enum Contents {
    /// A regular file.
    File,
    /// Standard input or a pipe: can be read once.
    Pipe,
    /// What a pipe contained, in a temporary file.
    Kept(Arc<File>),
    Memory(Arc<[u8]>),
}

impl EventFiles {
    /// The files at these paths; `read` counts the bytes read, for progress. Fails if protobuf and JSON files are mixed.
    pub fn open(paths: &[PathBuf], read: &Arc<AtomicU64>) -> Result<Self, ReadError> {
        let encoding = paths.first().map_or(Encoding::Json, |path| encoding_of(path));
        if let Some(other) = paths.iter().find(|path| encoding_of(path) != encoding) {
            let cause = io::Error::other("JSON and protobuf files cannot be read together");
            return Err(ReadError::of_file(other, cause));
        }
        let contents = |path: &PathBuf| {
            let is_pipe = || std::fs::metadata(path).map(|data| !data.is_file());
            let pipe = path == Path::new(STDIN) || is_pipe().map_err(|cause| ReadError::of_file(path, cause))?;
            Ok((path.clone(), if pipe { Contents::Pipe } else { Contents::File }))
        };
        let files = paths.iter().map(contents).collect::<Result<_, _>>()?;
        Ok(Self { files, encoding, read: Arc::clone(read) })
    }

    /// NDJSON events in memory.
    pub fn from_ndjson(text: Vec<u8>) -> Self {
        let files = vec![("memory".into(), Contents::Memory(text.into()))];
        Self { files, encoding: Encoding::Json, read: Arc::default() }
    }

    /// Reads standard input and pipes to their ends, into temporary files, so that they can be read several times.
    pub fn keep(&mut self) -> Result<(), ReadError> {
        for (path, contents) in &mut self.files {
            if matches!(contents, Contents::Pipe) {
                let copied = copy(pipe(path), &self.read).map_err(|cause| ReadError::of_file(path, cause))?;
                *contents = Contents::Kept(Arc::new(copied));
            }
        }
        Ok(())
    }

    /// The events in the order of the files, which are merged by event time.
    pub fn stream(&self) -> Result<EventStream, ReadError> {
        let mut files = self.open_all()?;
        let records = match files.pop() {
            Some(file) if files.is_empty() => Records::One(file),
            file => Records::Merged(Merge::of(files.into_iter().chain(file).collect(), self.encoding)?),
        };
        Ok(EventStream { encoding: self.encoding, records })
    }

    /// Reads everything and delivers it in the order of event time.
    pub fn sorted(&self) -> Result<EventStream, ReadError> {
        self.sorted_within(SORT_MEMORY)
    }

    fn sorted_within(&self, memory: usize) -> Result<EventStream, ReadError> {
        let sorted = sorted::sort(self.open_all()?, self.encoding, memory)?;
        Ok(EventStream { encoding: self.encoding, records: Records::Sorted(sorted) })
    }

    /// Reads everything and delivers it in a random order in which no event is later than `lateness` allows.
    ///
    /// Each event is delayed by a random span of less than `lateness`, so every event delivered before it is dated less
    /// than `lateness` after it. An event that is late in the files stays late.
    pub fn shuffled(&self, seed: u64, lateness: Span) -> Result<EventStream, ReadError> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut records = Vec::new();
        let mut latest = Timestamp::MIN;
        let mut merge = Merge::of(self.open_all()?, self.encoding)?;
        while let Some(record) = merge.next()? {
            let late = record.at.is_none_or(|at| at.saturating_add(lateness) <= latest);
            latest = latest.max(record.at.unwrap_or(latest));
            let jitter = if late || lateness == Span::ZERO { 0 } else { rng.random_range(0..lateness.0) };
            let delivered_at = if late { latest } else { record.at.unwrap_or(latest) };
            records.push((delivered_at.saturating_add(Span(jitter)), rng.random::<u32>(), record));
        }
        records.sort_by_key(|(delivered_at, tie_breaker, _)| (*delivered_at, *tie_breaker));
        let records = records.into_iter().map(|(_, _, record)| record).collect::<Vec<_>>().into_iter();
        Ok(EventStream { encoding: self.encoding, records: Records::Shuffled(records) })
    }

    /// Opens the files at their beginnings.
    fn open_all(&self) -> Result<Vec<EventFile>, ReadError> {
        self.read.store(0, Ordering::Relaxed);
        let open = |(index, (path, contents)): (usize, &(PathBuf, Contents))| {
            let raw: io::Result<Box<dyn Read + Send>> = match contents {
                Contents::File => File::open(path).map(|file| Box::new(file) as _),
                Contents::Pipe => pipe(path),
                Contents::Kept(file) => FilePart::all(file).map(|part| Box::new(part) as _),
                Contents::Memory(text) => Ok(Box::new(Cursor::new(Arc::clone(text)))),
            };
            let reader = raw.map_err(|cause| ReadError::of_file(path, cause))?;
            EventFile::open(path, index, CountingReader { reader, read: Arc::clone(&self.read) }, self.encoding)
        };
        self.files.iter().enumerate().map(open).collect()
    }
}

/// The path that stands for standard input.
const STDIN: &str = "-";

/// The encoding by the name of a file, compressed or not.
fn encoding_of(path: &Path) -> Encoding {
    let name = path.to_string_lossy();
    let name = [".gz", ".zst"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(&name);
    if name.ends_with(".pb") { Encoding::Protobuf } else { Encoding::Json }
}

fn pipe(path: &Path) -> io::Result<Box<dyn Read + Send>> {
    if path == Path::new(STDIN) { Ok(Box::new(io::stdin())) } else { Ok(Box::new(File::open(path)?)) }
}

/// Copies everything to a temporary file without a name.
fn copy(from: io::Result<Box<dyn Read + Send>>, read: &Arc<AtomicU64>) -> io::Result<File> {
    let mut from = CountingReader { reader: from?, read: Arc::clone(read) };
    let mut to = tempfile::tempfile()?;
    io::copy(&mut from, &mut to)?;
    Ok(to)
}

/// One reading of event files.
pub struct EventStream {
    encoding: Encoding,
    records: Records,
}

enum Records {
    One(EventFile),
    Merged(Merge),
    Sorted(Sorted),
    Shuffled(std::vec::IntoIter<FileRecord>),
}

impl EventStream {
    /// The next batch of up to `messages` messages; `None` at the end.
    pub fn batch(&mut self, messages: usize) -> Result<Option<Batch>, ReadError> {
        let mut batch = Batch {
            source: Source::Files,
            shard: None,
            encoding: self.encoding,
            bytes: Vec::with_capacity(messages * 256),
            messages: Vec::with_capacity(messages),
            shift: 0,
            unreadable: Vec::new(),
        };
        while batch.messages.len() < messages && batch.bytes.len() < BATCH_BYTES && self.append(&mut batch)? {}
        Ok((!batch.messages.is_empty()).then_some(batch))
    }

    /// Appends the next record to a batch; `false` at the end.
    fn append(&mut self, batch: &mut Batch) -> Result<bool, ReadError> {
        let record = match &mut self.records {
            Records::One(file) => return file.append(batch),
            Records::Sorted(sorted) => return sorted.append(batch),
            Records::Merged(merge) => merge.next()?,
            Records::Shuffled(records) => records.next(),
        };
        let Some(record) = record else { return Ok(false) };
        batch.push(record.offset, record.topic, &record.bytes);
        Ok(true)
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
}

/// One of two readers of the same files.
pub struct Branch(Receiver<Result<Arc<Batch>, ReadError>>);

impl Branch {
    /// The next batch; `None` at the end.
    pub fn batch(&mut self) -> Result<Option<Arc<Batch>>, ReadError> {
        self.0.recv().ok().transpose()
    }
}

struct FileRecord {
    at: Option<Timestamp>,
    offset: Offset,
    topic: Option<Topic>,
    bytes: Vec<u8>,
}

/// Files merged by event time.
struct Merge {
    files: Vec<EventFile>,
    /// The next record of each file.
    next: Vec<Option<FileRecord>>,
    encoding: Encoding,
}

impl Merge {
    fn of(files: Vec<EventFile>, encoding: Encoding) -> Result<Self, ReadError> {
        let next = files.iter().map(|_| None).collect();
        let mut merge = Self { files, next, encoding };
        (0..merge.files.len()).try_for_each(|index| merge.read(index))?;
        Ok(merge)
    }

    /// The next record by event time; records without one come first.
    fn next(&mut self) -> Result<Option<FileRecord>, ReadError> {
        let times = self.next.iter().enumerate().filter_map(|(index, record)| Some((record.as_ref()?.at, index)));
        let Some((_, index)) = times.min() else { return Ok(None) };
        let record = self.next[index].take();
        self.read(index)?;
        Ok(record)
    }

    /// Reads the next record of a file.
    fn read(&mut self, index: usize) -> Result<(), ReadError> {
        let mut batch = Batch::new(Source::Files, None, self.encoding);
        self.files[index].append(&mut batch)?;
        self.next[index] = batch.messages.pop().map(|message| FileRecord {
            at: decode(self.encoding, message.topic, batch.slice(&message.value).unwrap_or_default())
                .ok()
                .map(|incoming| incoming.at()),
            offset: message.offset,
            topic: message.topic,
            bytes: batch.slice(&message.value).unwrap_or_default().to_vec(),
        });
        Ok(())
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
    use super::message::offset_of;
    use super::*;

    fn offsets(branch: &mut Branch) -> Vec<Offset> {
        let batches = std::iter::from_fn(|| branch.batch().expect("in memory"));
        batches.flat_map(|batch| batch.messages.iter().map(|message| message.offset).collect::<Vec<_>>()).collect()
    }

    fn fork(text: String) -> [Branch; 2] {
        EventFiles::from_ndjson(text.into_bytes()).stream().expect("in memory").fork(1)
    }

    #[test]
    fn both_branches_get_everything_and_the_faster_one_waits() {
        // Many times the number of batches that a branch may be ahead.
        let lines = 20 * BRANCH_CAPACITY as i64;
        let [mut first, mut second] = fork((0..lines).map(|line| format!("{{{line}\n\n")).collect());
        let fast = std::thread::spawn(move || offsets(&mut first));
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(!fast.is_finished(), "the faster branch is bounded");
        let all: Vec<Offset> = (0..lines).map(|line| offset_of(0, 2 * line as u64 + 1)).collect();
        assert_eq!(offsets(&mut second), all);
        assert_eq!(fast.join().expect("no panic"), all);
    }

    #[test]
    fn dropping_a_branch_ends_the_other() {
        let [first, mut second] = fork("{}\n".repeat(10 * BRANCH_CAPACITY));
        drop(first);
        // At most what the reader had buffered before the drop.
        assert!(offsets(&mut second).len() <= BRANCH_CAPACITY);
    }

    #[test]
    fn values_survive_the_temporary_file() {
        let event = |second: i64| {
            let at = Timestamp(second * 1000);
            format!(r#"{{"tenant_id":"t","occurred_at":"{at}","manager_upserted":{{"manager_id":"m{second}"}}}}"#)
        };
        let lines: Vec<String> = (0..100).rev().map(event).collect();
        let files = EventFiles::from_ndjson(lines.join("\n").into_bytes());
        let mut sorted = files.sorted_within(1000).expect("in memory");
        let mut found = Vec::new();
        while let Some(batch) = sorted.batch(7).expect("in memory") {
            let text = |message| String::from_utf8_lossy(batch.slice(message).unwrap_or_default()).into_owned();
            found.extend(batch.messages.iter().map(|message| text(&message.value)));
        }
        assert!(found.iter().eq(lines.iter().rev()), "{found:?}");
    }

    #[test]
    fn encodings_are_found_by_name() {
        for (name, encoding) in [
            ("a.ndjson", Encoding::Json),
            ("a.pb", Encoding::Protobuf),
            ("a.pb.gz", Encoding::Protobuf),
            ("a.pb.zst", Encoding::Protobuf),
            ("a.json.zst", Encoding::Json),
            ("-", Encoding::Json),
        ] {
            assert_eq!(encoding_of(Path::new(name)), encoding, "{name}");
        }
    }
}
