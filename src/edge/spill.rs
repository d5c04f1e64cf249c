//! Keeps held events that are too many for memory in a temporary file: a B-tree in the order of events (`redb`).
//!
//! The file is in the system's directory for temporary files (`TMPDIR`) and has no name, so nothing is left of it however
//! the process ends. It is never synchronized, because durable state has its own records of these events. It is dropped
//! when nothing is in it any more.
//!
//! **A full disk.** What cannot be written is kept in memory, block by block, so that what was written before stays
//! readable. Until the file can be written again, further events stay in memory.
//!
//! *Alternative considered*: sorted runs in plain files. They need merging when there are many, and the space of what was
//! read is free only when a whole run was.

use crate::domain::event::EventOrder;
use crate::domain::id::EventId;
use crate::domain::shard::spill::HeldSpill;
use crate::domain::source::Offset;
use crate::domain::tenant::changelog::PackedEvents;
use crate::domain::time::Timestamp;
use redb::{Database, ReadableTable, StorageBackend, TableDefinition};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The memory for parts of the file, in bytes.
const CACHE: usize = 16 << 20;
/// The size of a block that is kept in memory, in bytes.
const BLOCK: u64 = 4 << 10;

/// Place, tenant, and the position of the event: instant, rank, offset, source.
type Key = (u64, u32, i64, u8, i64, u8);
/// The id and the packed payload of an event.
type Value = (Option<&'static str>, &'static [u8]);

const EVENTS: TableDefinition<'_, Key, Value> = TableDefinition::new("events");

/// A temporary file with held events.
#[derive(Debug, Default)]
pub struct TemporaryEvents {
    open: Mutex<Option<Open>>,
    places: AtomicU64,
    /// Whether a failure was logged.
    is_logged: Arc<AtomicBool>,
}

/// The file, while there is something in it.
#[derive(Debug)]
struct Open {
    database: Database,
    unwritten: Arc<Blocks>,
    events: u64,
}

/// Blocks that could not be written, by number.
type Blocks = Mutex<BTreeMap<u64, Vec<u8>>>;

impl Open {
    fn new(file: File, is_logged: &Arc<AtomicBool>) -> Result<Self, redb::Error> {
        let unwritten = Arc::new(Blocks::default());
        let (len, is_logged) = (AtomicU64::new(0), Arc::clone(is_logged));
        let file = TemporaryFile { file, len, unwritten: Arc::clone(&unwritten), is_logged };
        let database = Database::builder().set_cache_size(CACHE).create_with_backend(file)?;
        Ok(Self { database, unwritten, events: 0 })
    }

    fn write(&mut self, place: u64, tenant: u32, events: &PackedEvents) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        let mut table = transaction.open_table(EVENTS)?;
        let mut added = 0;
        for (order, id, packed) in events.iter() {
            let id = id.map(EventId::as_str);
            added += u64::from(table.insert(key(place, tenant, order), (id, packed))?.is_none());
        }
        drop(table);
        transaction.commit()?;
        self.events += added;
        Ok(())
    }

    fn take(
        &mut self,
        (place, tenant): (u64, u32),
        until: Timestamp,
        bytes: usize,
    ) -> Result<(PackedEvents, Option<EventOrder>), redb::Error> {
        let transaction = self.database.begin_write()?;
        let mut table = transaction.open_table(EVENTS)?;
        let (mut taken, mut number, mut size) = (PackedEvents::default(), 0, 0);
        let last = (place, tenant, i64::MAX, u8::MAX, i64::MAX, u8::MAX);
        let first = (place, tenant, i64::MIN, u8::MIN, i64::MIN, u8::MIN);
        let due = (place, tenant, until.0, u8::MAX, i64::MAX, u8::MAX);
        for entry in table.extract_from_if(first..=due, |_, _| true)? {
            let (key, value) = entry?;
            let (id, packed) = value.value();
            taken.append(order(key.value()), id.map(EventId::from), |out| out.extend_from_slice(packed));
            (number, size) = (number + 1, size + packed.len());
            if size >= bytes {
                break;
            }
        }
        let next = table.range(first..=last)?.next().transpose()?.map(|(key, _)| order(key.value()));
        drop(table);
        transaction.commit()?;
        self.events -= number;
        Ok((taken, next))
    }

    fn close(&mut self, place: u64) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        let mut table = transaction.open_table(EVENTS)?;
        let mut removed = 0;
        let first = (place, u32::MIN, i64::MIN, u8::MIN, i64::MIN, u8::MIN);
        let last = (place, u32::MAX, i64::MAX, u8::MAX, i64::MAX, u8::MAX);
        table.retain_in(first..=last, |_, _| {
            removed += 1;
            false
        })?;
        drop(table);
        transaction.commit()?;
        self.events -= removed;
        Ok(())
    }
}

impl TemporaryEvents {
    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_write(&self, place: u64, tenant: u32, events: &PackedEvents) -> Result<bool, redb::Error> {
        let mut open = self.lock();
        if let Some(Open { unwritten, .. }) = &*open
            && !lock(unwritten).is_empty()
        {
            return Ok(false);
        }
        if open.is_none() {
            *open = Some(Open::new(tempfile::tempfile()?, &self.is_logged)?);
        }
        let Some(file) = &mut *open else { return Ok(false) };
        file.write(place, tenant, events).map(|()| true)
    }
}

impl HeldSpill for TemporaryEvents {
    fn open(&self) -> u64 {
        self.places.fetch_add(1, Relaxed)
    }

    fn close(&self, place: u64) {
        let mut open = self.lock();
        let Some(file) = &mut *open else { return };
        if let Err(error) = file.close(place) {
            tracing::warn!("held events of a shard that moved stay in the temporary file: {error}");
        }
        if file.events == 0 {
            *open = None;
        }
    }

    fn write(&self, place: u64, tenant: u32, events: &PackedEvents) -> bool {
        self.try_write(place, tenant, events).unwrap_or_else(|error| {
            log_once(&self.is_logged, &error);
            false
        })
    }

    fn take(&self, place: u64, tenant: u32, until: Timestamp, bytes: usize) -> (PackedEvents, Option<EventOrder>) {
        let mut open = self.lock();
        let Some(file) = &mut *open else { return (PackedEvents::default(), None) };
        // The run must end: the events are in the state, and are restored from there.
        let taken = file.take((place, tenant), until, bytes);
        let taken = taken.unwrap_or_else(|error| panic!("held events cannot be read from the temporary file: {error}"));
        if file.events == 0 {
            *open = None;
        }
        taken
    }
}

fn key(place: u64, tenant: u32, order: EventOrder) -> (u64, u32, i64, u8, i64, u8) {
    let EventOrder { at, rank, offset, source } = order;
    (place, tenant, at.0, rank, offset.0, source)
}

fn order((_, _, at, rank, offset, source): (u64, u32, i64, u8, i64, u8)) -> EventOrder {
    EventOrder { at: Timestamp(at), rank, offset: Offset(offset), source }
}

fn log_once(is_logged: &AtomicBool, error: &dyn std::fmt::Display) {
    if !is_logged.swap(true, Relaxed) {
        tracing::error!("held events cannot be written to a temporary file (TMPDIR), and stay in memory: {error}");
    }
}

fn lock(blocks: &Blocks) -> MutexGuard<'_, BTreeMap<u64, Vec<u8>>> {
    blocks.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file that is never synchronized, with the blocks that could not be written.
#[derive(Debug)]
struct TemporaryFile {
    file: File,
    len: AtomicU64,
    unwritten: Arc<Blocks>,
    is_logged: Arc<AtomicBool>,
}

impl TemporaryFile {
    /// Reads what is in the file; what it does not have is zero.
    fn read_file(&self, mut offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        while !out.is_empty() {
            match self.file.read_at(out, offset)? {
                0 => {
                    out.fill(0);
                    return Ok(());
                }
                n => (offset, out) = (offset + n as u64, &mut out[n..]),
            }
        }
        Ok(())
    }

    /// Keeps in memory what could not be written.
    fn keep(&self, offset: u64, data: &[u8], blocks: &mut BTreeMap<u64, Vec<u8>>) -> io::Result<()> {
        for number in numbers(offset, data.len()) {
            if let Entry::Vacant(entry) = blocks.entry(number) {
                let mut block = vec![0; BLOCK as usize];
                self.read_file(number * BLOCK, &mut block)?;
                entry.insert(block);
            }
        }
        update(offset, data, blocks);
        Ok(())
    }
}

/// The blocks that data of this length at `offset` is in.
fn numbers(offset: u64, length: usize) -> Range<u64> {
    offset / BLOCK..(offset + length as u64).div_ceil(BLOCK)
}

/// Writes data into the blocks that are in memory.
fn update(offset: u64, data: &[u8], blocks: &mut BTreeMap<u64, Vec<u8>>) {
    for (number, block) in blocks.range_mut(numbers(offset, data.len())) {
        let (of_block, of_data) = overlap(*number, offset, data.len());
        block[of_block].copy_from_slice(&data[of_data]);
    }
}

/// What a block and data of this length at `offset` have in common: its range in the block and in the data.
fn overlap(number: u64, offset: u64, length: usize) -> (Range<usize>, Range<usize>) {
    let begin = number * BLOCK;
    let (from, to) = (begin.max(offset), (begin + BLOCK).min(offset + length as u64));
    let range = |of: u64| (from - of) as usize..(to - of) as usize;
    (range(begin), range(offset))
}

impl StorageBackend for TemporaryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len.load(Relaxed))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.read_file(offset, out)?;
        for (number, block) in lock(&self.unwritten).range(numbers(offset, out.len())) {
            let (of_block, of_out) = overlap(*number, offset, out.len());
            out[of_out].copy_from_slice(&block[of_block]);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let before = self.len.swap(len, Relaxed);
        if len < before {
            lock(&self.unwritten).retain(|number, _| number * BLOCK < len);
        }
        // A file that stays shorter reads as zero behind its end; one that stays longer is written again.
        let _ = self.file.set_len(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut blocks = lock(&self.unwritten);
        if let Err(error) = self.file.write_all_at(data, offset) {
            log_once(&self.is_logged, &error);
            return self.keep(offset, data, &mut blocks);
        }
        update(offset, data, &mut blocks);
        let (whole, written) = (0..BLOCK as usize, numbers(offset, data.len()));
        blocks.retain(|number, _| !written.contains(number) || overlap(*number, offset, data.len()).0 != whole);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::source::{Source, Topic};
    use std::fs::OpenOptions;

    const SOURCE: Source = Source::Topic(Topic::Crm);

    fn read_all(file: &TemporaryFile, length: usize) -> Vec<u8> {
        let mut found = vec![1; length];
        file.read(0, &mut found).expect("read");
        found
    }

    fn packed(instants: impl IntoIterator<Item = i64>) -> PackedEvents {
        let mut events = PackedEvents::default();
        for at in instants {
            let id = (at % 2 == 0).then(|| EventId(at.to_string().as_str().into()));
            let order = EventOrder::of(Timestamp(at), Topic::Crm, SOURCE, Offset(1000 - at));
            events.append(order, id, |bytes| bytes.extend_from_slice(format!("payload {at}").as_bytes()));
        }
        events
    }

    fn taken(spill: &TemporaryEvents, place: u64, tenant: u32, until: i64) -> (Vec<i64>, Option<i64>) {
        let (events, next) = spill.take(place, tenant, Timestamp(until), 20);
        for (order, id, packed) in events.iter() {
            assert_eq!(packed, format!("payload {}", order.at.0).as_bytes());
            assert_eq!(id.is_some(), order.at.0 % 2 == 0);
            assert_eq!(order.offset, Offset(1000 - order.at.0));
        }
        (events.iter().map(|(order, ..)| order.at.0).collect(), next.map(|order| order.at.0))
    }

    fn exercise(spill: &TemporaryEvents) {
        let [place, other] = [spill.open(), spill.open()];
        assert!(spill.write(place, 1, &packed([5, -3, 9, 2])) && spill.write(other, 1, &packed([4])));
        assert_eq!(taken(spill, place, 1, 4), (vec![-3, 2], Some(5)), "in event order, up to the instant");
        assert_eq!(taken(spill, place, 2, 4), (vec![], None), "another tenant");
        assert!(spill.write(place, 1, &packed(6..9)));
        assert_eq!(taken(spill, place, 1, i64::MAX), (vec![5, 6, 7], Some(8)), "about twenty bytes");
        spill.close(place);
        assert_eq!(taken(spill, place, 1, i64::MAX), (vec![], None));
        assert_eq!(taken(spill, other, 1, i64::MAX), (vec![4], None));
        assert!(spill.lock().is_none(), "an empty file is dropped");
    }

    #[test]
    fn what_a_full_disk_does_not_take_is_read_from_memory() {
        let full = OpenOptions::new().read(true).write(true).open("/dev/full").expect("a device");
        let (unwritten, is_logged) = (Arc::new(Blocks::default()), Arc::default());
        let mut file = TemporaryFile { file: full, len: AtomicU64::new(0), unwritten, is_logged };
        let mut expected = vec![0; 5 * BLOCK as usize];
        assert_eq!(read_all(&file, expected.len()), expected);
        for (offset, length, byte) in [(100, 50, 2), (4000, 9000, 3), (4096, 4096, 4), (20_000, 480, 5)] {
            file.write(offset, &vec![byte; length]).expect("kept");
        }
        let fill = |expected: &mut Vec<u8>, offset: usize, length, byte| expected[offset..offset + length].fill(byte);
        for (offset, length, byte) in [(100, 50, 2), (4000, 9000, 3), (4096, 4096, 4), (20_000, 480, 5)] {
            fill(&mut expected, offset, length, byte);
        }
        assert_eq!(read_all(&file, expected.len()), expected);
        // There is room again.
        file.file = tempfile::tempfile().expect("a file");
        file.write(0, &vec![6; 6000]).expect("written");
        fill(&mut expected, 0, 6000, 6);
        assert_eq!(read_all(&file, expected.len()), expected);
        assert_eq!(lock(&file.unwritten).keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4]);
    }

    #[test]
    fn events_are_read_back_in_order() {
        exercise(&TemporaryEvents::default());
    }

    /// Every write to this device fails as on a full disk.
    #[test]
    fn on_a_full_disk_everything_stays_readable() {
        let spill = TemporaryEvents::default();
        let full = OpenOptions::new().read(true).write(true).open("/dev/full").expect("a device");
        let mut open = Open::new(full, &spill.is_logged).expect("in memory");
        let place = spill.open();
        open.write(place, 1, &packed(0..100)).expect("in memory");
        *spill.lock() = Some(open);
        assert!(spill.is_logged.load(Relaxed) && !spill.write(place, 1, &packed([1000])), "no more is accepted");
        let mut found = Vec::new();
        while let (events, Some(_)) = taken(&spill, place, 1, i64::MAX) {
            found.extend(events);
        }
        assert!(found.into_iter().eq(0..99) || spill.lock().is_none());
        assert!(spill.lock().is_none() && spill.write(place, 1, &packed([1000])), "another file is tried");
    }
}
