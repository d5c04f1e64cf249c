//! Owns the state of the model: of the broker, of each process, and of the single point where committed records become
//! visible. Equivalent situations are equal values, so that the explorer visits each of them once.
//!
//! **No counters.** Generations, member ids and producer epochs matter only by being the newest or not, and one that is
//! not the newest never becomes so again. Therefore a process has a [`Membership`], and creating a newer generation or
//! epoch marks or stops the older ones.
//!
//! **No history.** Visible records are merged into `seen` and `state`. Only records after the last stable offset are
//! kept, without aborted ones, which have no observable effect.

/// Bounds of the exploration: the messages of one source partition, and which faults may occur.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Event times by offset, as ranks from 1.
    pub(crate) times: &'static [u8],
    /// The number of faults in all: crashes, processes cut off or replaced, timeouts of running processes, moves of the
    /// shard.
    pub(crate) faults: u8,
    /// Whether the broker aborts transactions after a timeout.
    pub(crate) timeouts: bool,
    /// Whether a process can be replaced while it still runs.
    pub(crate) doubles: bool,
}

/// A violation of a guarantee.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Violation {
    /// A reader of committed outputs sees one a second time.
    Duplicated,
    /// A reader of committed outputs sees one before an earlier one.
    Skipped,
    /// State was restored that was not committed together with the offset from which the process reads.
    Torn,
    /// All offsets are committed and no work is in flight, but an output is missing.
    Missing,
    /// On every continuation some output never appears.
    Stuck,
}

/// The number of transactional ids: two, and two more for processes that start with another one each time.
pub(crate) const IDS: usize = 4;
/// The partitions of a transaction, as bits.
pub(crate) const OUTPUTS: u8 = 1;
pub(crate) const STATE: u8 = 2;
pub(crate) const OFFSETS: u8 = 4;

/// The group membership of a process as its client library knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Membership {
    /// Not a member, and the process knows.
    None,
    /// A member of the newest generation.
    Current,
    /// A member that has not been notified of the newest generation yet.
    Stale,
    /// Not a member, because its session has expired or another process took its instance id; the process does not know
    /// yet.
    Expelled,
}

/// The next action of the ingest thread of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum IngestState {
    Down,
    Join,
    /// A member without the shard.
    Idle,
    FetchOffset,
    NoteEnd,
    Restore,
    Run,
    Drain,
}

/// The next action of the commit thread of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CommitStage {
    Metadata,
    Check,
    /// Commit the offset outside the transaction.
    Offset,
    /// Send what is left in `todo`, in any order; then commit.
    Send,
    Abort,
}

/// The committed state of a shard. Sets are bits by rank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct StateRecord {
    /// The source offset that was committed with it. No process uses it.
    pub(crate) offset: u8,
    pub(crate) position: u8,
    pub(crate) watermark: u8,
    pub(crate) applied: u8,
}

/// A shard in the memory of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Shard {
    /// The next offset to read.
    pub(crate) cursor: u8,
    /// The highest position ever read.
    pub(crate) position: u8,
    pub(crate) watermark: u8,
    pub(crate) held: u8,
}

/// An epoch to commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EpochCommit {
    pub(crate) stage: CommitStage,
    /// The partitions that have not been sent yet, as bits.
    pub(crate) todo: u8,
    /// The group metadata to send with the offsets.
    pub(crate) membership: Membership,
    /// The ingest thread has abandoned the epoch.
    pub(crate) abandoned: bool,
    /// The state after the epoch; `applied` has only the events of this epoch.
    pub(crate) record: StateRecord,
}

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    /// The instance id, 0 or 1.
    pub(crate) instance: u8,
    pub(crate) at: IngestState,
    pub(crate) membership: Membership,
    /// The transactional id.
    pub(crate) id: u8,
    /// The committed offset that it knows.
    pub(crate) known_offset: u8,
    /// The number of records of the state partition that must become visible before it restores.
    pub(crate) pending_records: u8,
    /// It has lost the shard, but kept its state in memory.
    pub(crate) kept: bool,
    pub(crate) shard: Shard,
    pub(crate) epoch: Option<EpochCommit>,
}

impl Process {
    pub(crate) fn down(instance: u8) -> Self {
        Self {
            instance,
            at: IngestState::Down,
            membership: Membership::None,
            id: instance,
            known_offset: 0,
            pending_records: 0,
            kept: false,
            shard: Shard::default(),
            epoch: None,
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.at != IngestState::Down
    }

    pub(crate) fn is_member(&self) -> bool {
        matches!(self.membership, Membership::Current | Membership::Stale)
    }

    fn change_membership(&mut self, from: &[Membership], to: Membership) {
        for membership in
            [Some(&mut self.membership), self.epoch.as_mut().map(|epoch| &mut epoch.membership)].into_iter().flatten()
        {
            if from.contains(membership) {
                *membership = to;
            }
        }
    }
}

/// The phase of a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    #[default]
    None,
    Open,
    /// The commit is decided; markers are being written.
    Commit,
}

/// The transaction of a transactional id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Transaction {
    pub(crate) phase: Phase,
    /// Its partitions that no marker has reached yet, as bits.
    pub(crate) unmarked: u8,
    pub(crate) offset: u8,
}

/// Records after the last stable offset, each with its open transaction; `None`: committed.
pub(crate) type Unstable<T> = Vec<(T, Option<u8>)>;

/// The complete state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Model {
    /// A, B, and an older process of A or B that was cut off and replaced.
    pub(crate) processes: [Process; 3],
    pub(crate) members: [bool; 2],
    pub(crate) owner: Option<u8>,
    /// The owner must release the shard.
    pub(crate) moving: bool,
    pub(crate) transactions: [Transaction; IDS],
    /// The committed offset.
    pub(crate) offset: u8,
    /// The outputs of ranks 1 to `seen` are visible.
    pub(crate) seen: u8,
    pub(crate) outputs: Unstable<u8>,
    /// The state according to a reader of committed records.
    pub(crate) state: StateRecord,
    pub(crate) states: Unstable<StateRecord>,
    /// The number of faults that may still occur.
    pub(crate) faults: u8,
    pub(crate) violation: Option<Violation>,
}

impl Model {
    /// The initial state: A has joined and owns the shard.
    pub(crate) fn new(bounds: &Bounds) -> Self {
        let a = Process { at: IngestState::Idle, membership: Membership::Current, ..Process::down(0) };
        Self {
            processes: [a, Process::down(1), Process::down(0)],
            members: [true, false],
            owner: Some(0),
            moving: false,
            transactions: [Transaction::default(); IDS],
            offset: 0,
            seen: 0,
            outputs: Vec::new(),
            state: StateRecord::default(),
            states: Vec::new(),
            faults: bounds.faults,
            violation: None,
        }
    }

    /// Whether all offsets are committed and no work is in flight, but outputs are missing.
    pub(crate) fn has_missing_outputs(&self, bounds: &Bounds) -> bool {
        let events = bounds.times.len() as u8;
        let busy =
            |process: &Process| process.epoch.is_some() || (process.at == IngestState::Run && process.shard.held != 0);
        self.offset == events
            && self.seen < events
            && self.transactions.iter().all(|transaction| transaction.phase == Phase::None)
            && !self.processes.iter().any(busy)
    }

    /// Stops a process. Slot 2 then becomes free.
    pub(crate) fn stop(&mut self, slot: usize) {
        let instance = if slot == 2 { 0 } else { self.processes[slot].instance };
        self.processes[slot] = Process::down(instance);
    }

    /// Starts a new generation. Members are notified later; without an epoch to commit, immediate notification is
    /// equivalent.
    pub(crate) fn start_generation(&mut self) {
        for process in self.processes.iter_mut().filter(|process| process.epoch.is_some()) {
            process.change_membership(&[Membership::Current], Membership::Stale);
        }
    }

    /// Ends the membership of all processes with this instance id.
    pub(crate) fn expel(&mut self, instance: u8) {
        for process in self.processes.iter_mut().filter(|process| process.instance == instance) {
            process.change_membership(&[Membership::Current, Membership::Stale], Membership::Expelled);
        }
    }

    /// Reassigns the shard after the owner released it or left.
    pub(crate) fn reassign(&mut self) {
        let Some(owner) = self.owner else { return };
        let other = 1 - owner;
        self.owner = if self.members[other as usize] { Some(other) } else { Some(owner) };
        self.owner = self.owner.filter(|instance| self.members[*instance as usize]);
        self.moving = false;
        self.start_generation();
    }

    /// Fences a transactional id and aborts its open transaction. Processes with this id stop at once, because the
    /// broker rejects everything they send. The time of the abort markers does not matter: the aborted records were
    /// never visible.
    pub(crate) fn fence(&mut self, id: u8) {
        for slot in 0..self.processes.len() {
            if self.processes[slot].is_running() && self.processes[slot].id == id {
                self.stop(slot);
            }
        }
        self.abort(id);
    }

    /// Aborts the open transaction of a transactional id.
    pub(crate) fn abort(&mut self, id: u8) {
        if self.transactions[id as usize].phase != Phase::Open {
            return;
        }
        self.transactions[id as usize] = Transaction::default();
        let is_aborted = |index: &usize| self.states[*index].1 == Some(id);
        let aborted: Vec<usize> = (0..self.states.len()).filter(is_aborted).collect();
        for process in &mut self.processes {
            process.pending_records -=
                aborted.iter().filter(|index| **index < process.pending_records as usize).count() as u8;
        }
        self.states.retain(|(_, transaction)| *transaction != Some(id));
        self.outputs.retain(|(_, transaction)| *transaction != Some(id));
        self.advance_stable_offset();
    }

    /// Writes the marker of a committed transaction to one of its partitions.
    pub(crate) fn write_marker(&mut self, id: u8, partition: u8) {
        match partition {
            OUTPUTS => commit(&mut self.outputs, id),
            STATE => commit(&mut self.states, id),
            _ => self.offset = self.transactions[id as usize].offset,
        }
        let transaction = &mut self.transactions[id as usize];
        transaction.unmarked &= !partition;
        if transaction.unmarked == 0 {
            *transaction = Transaction::default();
        }
        self.advance_stable_offset();
    }

    /// Makes the records before the last stable offset visible to readers of committed records.
    pub(crate) fn advance_stable_offset(&mut self) {
        while let Some((rank, None)) = self.outputs.first() {
            match *rank {
                rank if rank <= self.seen => self.violation = Some(Violation::Duplicated),
                rank if rank == self.seen + 1 => self.seen = rank,
                _ => self.violation = Some(Violation::Skipped),
            }
            self.outputs.remove(0);
        }
        while let Some((record, None)) = self.states.first() {
            self.state = StateRecord { applied: self.state.applied | record.applied, ..*record };
            self.states.remove(0);
            for process in &mut self.processes {
                process.pending_records = process.pending_records.saturating_sub(1);
            }
        }
    }
}

fn commit<T>(records: &mut Unstable<T>, id: u8) {
    records.iter_mut().filter(|(_, open)| *open == Some(id)).for_each(|(_, open)| *open = None);
}
