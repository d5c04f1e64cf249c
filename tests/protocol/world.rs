//! Owns the world of the model: what the broker knows, what each process knows, and the one place where committed
//! records become visible. Promises that equal situations are equal values, so that the explorer meets each of them
//! once.
//!
//! **No counters.** Generations, member ids and producer epochs only ever matter by being the newest or not, and what
//! is not will never be again: so a process holds a [`Seat`], and whoever makes something newer marks the others, or
//! ends them.
//!
//! **No past.** Records that are visible have become `seen` and `state`; only what lies behind the last stable offset
//! is kept, without what was aborted: nobody can tell that it was ever there.

/// One partition of source messages and how much may go wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    /// By offset: when the event happened, as its rank from 1.
    pub(crate) times: &'static [u8],
    /// Crashes, processes cut off or replaced, timeouts of those alive, moves of the shard: so many in all.
    pub(crate) faults: u8,
    /// Whether the broker ever takes back a transaction by itself.
    pub(crate) timeouts: bool,
    /// Whether a process can be replaced while it still runs.
    pub(crate) doubles: bool,
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wrong {
    /// A reader of committed outputs sees one again.
    Twice,
    /// A reader of committed outputs sees one while one before it is missing.
    Skipped,
    /// State was restored that was not committed with the offset that is read from.
    Torn,
    /// All is committed and nothing is in hand, but an output is missing.
    Missing,
    /// Whatever happens from here on, some output never appears.
    Stuck,
}

/// Transactional ids: two, and two for processes that begin under another each time.
pub(crate) const IDS: usize = 4;
/// Which partitions a transaction touches.
pub(crate) const OUTPUTS: u8 = 1;
pub(crate) const STATE: u8 = 2;
pub(crate) const OFFSETS: u8 = 4;

/// What a process' client library says of its place in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Seat {
    /// It is no member, and knows.
    None,
    /// A member, of the newest generation.
    Newest,
    /// A member; the group has moved on, which it will hear.
    Older,
    /// Its session is over or another has taken its instance id; it does not know.
    Expelled,
}

/// What a process' ingest thread is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum At {
    Down,
    Join,
    /// A member without the shard.
    Spare,
    Ask,
    Note,
    Read,
    Run,
    Drain,
}

/// What its commit thread is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    Metadata,
    Check,
    /// Commit the offset outside of the transaction.
    Offset,
    /// Send what is to do, in any order; then commit.
    Send,
    Abort,
}

/// What is committed of a shard: sets are bits by rank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Marks {
    /// The source offset that was committed with it. No process looks at it.
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
    /// Up to where it was ever read.
    pub(crate) position: u8,
    pub(crate) watermark: u8,
    pub(crate) held: u8,
}

/// What came of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Job {
    pub(crate) stage: Stage,
    /// What is not sent yet.
    pub(crate) todo: u8,
    /// The group metadata that will go with the offsets.
    pub(crate) seat: Seat,
    /// The ingest thread has told the commit thread to give it up.
    pub(crate) abandoned: bool,
    /// `applied` is what it adds.
    pub(crate) marks: Marks,
}

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    /// 0 or 1: the instance id.
    pub(crate) name: u8,
    pub(crate) at: At,
    pub(crate) seat: Seat,
    /// The transactional id.
    pub(crate) id: u8,
    /// The committed offset, as far as it knows.
    pub(crate) asked: u8,
    /// How many records of the state partition it waits for.
    pub(crate) end: u8,
    /// It has lost the shard and not forgotten it.
    pub(crate) kept: bool,
    pub(crate) shard: Shard,
    pub(crate) job: Option<Job>,
}

impl Process {
    pub(crate) fn down(name: u8) -> Self {
        Self {
            name,
            at: At::Down,
            seat: Seat::None,
            id: name,
            asked: 0,
            end: 0,
            kept: false,
            shard: Shard::default(),
            job: None,
        }
    }

    pub(crate) fn lives(&self) -> bool {
        self.at != At::Down
    }

    pub(crate) fn sits(&self) -> bool {
        matches!(self.seat, Seat::Newest | Seat::Older)
    }

    fn reseat(&mut self, from: &[Seat], to: Seat) {
        for seat in [Some(&mut self.seat), self.job.as_mut().map(|job| &mut job.seat)].into_iter().flatten() {
            if from.contains(seat) {
                *seat = to;
            }
        }
    }
}

/// How far a transaction is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    #[default]
    None,
    Open,
    /// Decided; markers are on their way.
    Commit,
}

/// The transaction of an id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Transaction {
    pub(crate) phase: Phase,
    /// Partitions that it touched and no marker has reached.
    pub(crate) left: u8,
    pub(crate) offset: u8,
}

/// A record behind the last stable offset: of which open transaction, or committed.
pub(crate) type Unseen<T> = Vec<(T, Option<u8>)>;

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    /// A, B, and an older incarnation of one of them that was cut off and replaced.
    pub(crate) processes: [Process; 3],
    pub(crate) members: [bool; 2],
    pub(crate) owner: Option<u8>,
    /// The owner is asked to give the shard up.
    pub(crate) moving: bool,
    pub(crate) transactions: [Transaction; IDS],
    /// The committed offset.
    pub(crate) offset: u8,
    /// Outputs of the ranks 1 to here are visible.
    pub(crate) seen: u8,
    pub(crate) outputs: Unseen<u8>,
    /// What a reader of committed records makes of the state partition.
    pub(crate) state: Marks,
    pub(crate) states: Unseen<Marks>,
    /// How many more things may go wrong.
    pub(crate) faults: u8,
    pub(crate) wrong: Option<Wrong>,
}

impl World {
    /// A was the first to join.
    pub(crate) fn new(scope: &Scope) -> Self {
        let a = Process { at: At::Spare, seat: Seat::Newest, ..Process::down(0) };
        Self {
            processes: [a, Process::down(1), Process::down(0)],
            members: [true, false],
            owner: Some(0),
            moving: false,
            transactions: [Transaction::default(); IDS],
            offset: 0,
            seen: 0,
            outputs: Vec::new(),
            state: Marks::default(),
            states: Vec::new(),
            faults: scope.faults,
            wrong: None,
        }
    }

    /// Whether the group is through with all messages, nobody has anything left to do, and yet not all outputs are
    /// there.
    pub(crate) fn misses(&self, scope: &Scope) -> bool {
        let events = scope.times.len() as u8;
        let busy = |process: &Process| process.job.is_some() || (process.at == At::Run && process.shard.held != 0);
        self.offset == events
            && self.seen < events
            && self.transactions.iter().all(|transaction| transaction.phase == Phase::None)
            && !self.processes.iter().any(busy)
    }

    /// A process is gone; of a replaced one nothing remains.
    pub(crate) fn stop(&mut self, slot: usize) {
        let name = if slot == 2 { 0 } else { self.processes[slot].name };
        self.processes[slot] = Process::down(name);
    }

    /// The group moves on. Members hear of it later; one that has no epoch in hand may as well hear at once.
    pub(crate) fn bump(&mut self) {
        for process in self.processes.iter_mut().filter(|process| process.job.is_some()) {
            process.reseat(&[Seat::Newest], Seat::Older);
        }
    }

    /// Those who sit by this name do so no more.
    pub(crate) fn expel(&mut self, name: u8) {
        for process in self.processes.iter_mut().filter(|process| process.name == name) {
            process.reseat(&[Seat::Newest, Seat::Older], Seat::Expelled);
        }
    }

    /// The owner has given up, or is gone.
    pub(crate) fn hand_over(&mut self) {
        let Some(owner) = self.owner else { return };
        let other = 1 - owner;
        self.owner = if self.members[other as usize] { Some(other) } else { Some(owner) };
        self.owner = self.owner.filter(|name| self.members[*name as usize]);
        self.moving = false;
        self.bump();
    }

    /// A newer producer has this id, and its open transaction is taken back. Those who had the id exit at once: nothing
    /// that they send is taken any more. Nor does it matter when the markers arrive, for what they abort was never
    /// seen.
    pub(crate) fn fence(&mut self, id: u8) {
        for slot in 0..self.processes.len() {
            if self.processes[slot].lives() && self.processes[slot].id == id {
                self.stop(slot);
            }
        }
        self.abort(id);
    }

    /// Takes back the open transaction of this id.
    pub(crate) fn abort(&mut self, id: u8) {
        if self.transactions[id as usize].phase != Phase::Open {
            return;
        }
        self.transactions[id as usize] = Transaction::default();
        let gone = |at: &usize| self.states[*at].1 == Some(id);
        let gone: Vec<usize> = (0..self.states.len()).filter(gone).collect();
        for process in &mut self.processes {
            process.end -= gone.iter().filter(|at| **at < process.end as usize).count() as u8;
        }
        self.states.retain(|(_, of)| *of != Some(id));
        self.outputs.retain(|(_, of)| *of != Some(id));
        self.show();
    }

    /// The marker of a committed transaction reaches one of its partitions.
    pub(crate) fn mark(&mut self, id: u8, partition: u8) {
        match partition {
            OUTPUTS => commit(&mut self.outputs, id),
            STATE => commit(&mut self.states, id),
            _ => self.offset = self.transactions[id as usize].offset,
        }
        let transaction = &mut self.transactions[id as usize];
        transaction.left &= !partition;
        if transaction.left == 0 {
            *transaction = Transaction::default();
        }
        self.show();
    }

    /// Shows readers of committed records what no open transaction stands before.
    pub(crate) fn show(&mut self) {
        while let Some((rank, None)) = self.outputs.first() {
            match *rank {
                rank if rank <= self.seen => self.wrong = Some(Wrong::Twice),
                rank if rank == self.seen + 1 => self.seen = rank,
                _ => self.wrong = Some(Wrong::Skipped),
            }
            self.outputs.remove(0);
        }
        while let Some((marks, None)) = self.states.first() {
            self.state = Marks { applied: self.state.applied | marks.applied, ..*marks };
            self.states.remove(0);
            for process in &mut self.processes {
                process.end = process.end.saturating_sub(1);
            }
        }
    }
}

fn commit<T>(records: &mut Unseen<T>, id: u8) {
    records.iter_mut().filter(|(_, of)| *of == Some(id)).for_each(|(_, of)| *of = None);
}
