//! Owns the steps of a process: of its client library, its ingest thread and its commit thread (`commit`), interleaved
//! in any order. A request to the broker completes within its step; if it cannot complete, the step is not possible
//! yet.

use super::Protocol;
use super::commit;
use super::explore::{Next, Step};
use super::model::{
    Bounds, EpochCommit, IngestState, Membership, Model, OFFSETS, Phase, Process, Shard, StateRecord, Violation,
};

/// Adds all possible next steps of the process.
pub(crate) fn steps(model: &Model, slot: usize, protocol: &Protocol, bounds: &Bounds, next: &mut Next) {
    let view = ProcessView { model, slot, protocol, bounds };
    match model.processes[slot].at {
        IngestState::Down if slot < 2 => view.start(next),
        IngestState::Down => {}
        _ => {
            view.notify(next);
            view.ingest(next);
            commit::steps(&view, next);
        }
    }
}

/// A process in a state of the model.
pub(crate) struct ProcessView<'a> {
    pub(crate) model: &'a Model,
    pub(crate) slot: usize,
    pub(crate) protocol: &'a Protocol,
    bounds: &'a Bounds,
}

impl ProcessView<'_> {
    pub(crate) fn process(&self) -> &Process {
        &self.model.processes[self.slot]
    }

    /// Adds a step of this process.
    pub(crate) fn step(&self, next: &mut Next, what: &'static str, change: impl FnOnce(&mut Model, usize)) {
        let mut model = self.model.clone();
        change(&mut model, self.slot);
        next.push((Step { actor: actor(self.slot, self.process().instance), what, fault: false }, model));
    }

    /// Starts with `init_transactions`, which fences older producers of the id and aborts their open transaction.
    fn start(&self, next: &mut Next) {
        let Some(id) = self.id() else { return };
        let ready = |model: &mut Model, slot: usize| {
            let instance = model.processes[slot].instance;
            model.processes[slot] = Process { at: IngestState::Join, id, ..Process::down(instance) };
        };
        match self.model.transactions[id as usize].phase {
            _ if !self.protocol.init_fences => self.step(next, "starts without init_transactions", ready),
            Phase::None | Phase::Open => self.step(next, "starts: init_transactions", |model, slot| {
                model.fence(id);
                ready(model, slot);
            }),
            Phase::Commit => {}
        }
    }

    /// Its stable transactional id, or any unused one.
    fn id(&self) -> Option<u8> {
        if self.protocol.stable_id {
            return Some(self.process().instance);
        }
        let used = |id: &u8| self.model.processes.iter().any(|process| process.is_running() && process.id == *id);
        let idle = |id: &u8| self.model.transactions[*id as usize].phase == Phase::None;
        (0..self.model.transactions.len() as u8).find(|id| !used(id) && idle(id))
    }

    /// The client library is notified of changes of the group, independently of the other threads.
    fn notify(&self, next: &mut Next) {
        let process = self.process();
        match process.membership {
            Membership::Stale => self.step(next, "is notified of the new generation", |model, slot| {
                model.processes[slot].membership = Membership::Current;
            }),
            Membership::Expelled if self.model.members[process.instance as usize] => {
                self.step(next, "is fenced by another process with its instance id, and exits", Model::stop);
            }
            Membership::Expelled if self.slot == 2 => {
                self.step(next, "is notified that its session has expired, and exits", Model::stop)
            }
            Membership::Expelled => self.step(next, "is notified that its session has expired", |model, slot| {
                model.processes[slot].membership = Membership::None;
            }),
            Membership::None | Membership::Current => {}
        }
    }

    fn ingest(&self, next: &mut Next) {
        let process = self.process();
        let is_owner = process.membership == Membership::Current && self.model.owner == Some(process.instance);
        match process.at {
            IngestState::Join if process.membership != Membership::None => self.abandon(next, IngestState::Idle),
            IngestState::Join => self.join(next),
            _ if process.membership == Membership::None && self.protocol.abandons_first => {
                self.abandon(next, IngestState::Join)
            }
            _ if process.membership == Membership::None => self.join(next),
            IngestState::Idle if is_owner && !self.model.moving => {
                self.step(next, "is assigned the shard", |model, slot| {
                    model.processes[slot].at =
                        if self.protocol.offset_first { IngestState::FetchOffset } else { IngestState::NoteEnd };
                })
            }
            IngestState::Idle
            | IngestState::FetchOffset
            | IngestState::NoteEnd
            | IngestState::Restore
            | IngestState::Run
                if is_owner && self.model.moving =>
            {
                self.step(next, "must release the shard", |model, slot| {
                    self.drop_shard(&mut model.processes[slot]);
                    model.processes[slot].at = IngestState::Drain;
                });
            }
            IngestState::Drain => self.release(next),
            IngestState::FetchOffset => self.fetch_offset(next),
            IngestState::NoteEnd => self.step(next, "notes the end of the state", |model, slot| {
                let pending_records = if self.protocol.reads_to_noted_end { model.states.len() as u8 } else { 0 };
                model.processes[slot].pending_records = pending_records;
                model.processes[slot].at =
                    if self.protocol.offset_first { IngestState::Restore } else { IngestState::FetchOffset };
            }),
            IngestState::Restore if process.pending_records == 0 => self.step(next, "restores the state", restore),
            IngestState::Run if process.epoch.is_none() => self.epochs(next),
            _ => {}
        }
    }

    /// Abandons the current epoch: the new owner resumes from the last commit.
    fn abandon(&self, next: &mut Next, then: IngestState) {
        self.step(next, "abandons its epoch", |model, slot| {
            let process = &mut model.processes[slot];
            self.drop_shard(process);
            process.at = then;
            if let Some(epoch) = &mut process.epoch {
                epoch.abandoned = true;
            }
        });
    }

    /// Drops the state of the shard.
    fn drop_shard(&self, process: &mut Process) {
        process.pending_records = 0;
        process.kept = process.at == IngestState::Run && process.epoch.is_none() && !self.protocol.always_restores;
        if !process.kept {
            (process.known_offset, process.shard) = (0, Shard::default());
        }
    }

    fn join(&self, next: &mut Next) {
        if self.protocol.drains_before_rejoin && self.process().epoch.is_some() {
            return;
        }
        self.step(next, "joins the group", |model, slot| {
            let process = &mut model.processes[slot];
            let instance = process.instance;
            process.at = if process.at == IngestState::Join { IngestState::Idle } else { IngestState::Join };
            if std::mem::replace(&mut model.members[instance as usize], true) {
                // The coordinator knows the instance id, so the process gets its assignment back without a rebalance.
                model.expel(instance);
            } else {
                model.start_generation();
                model.owner.get_or_insert(instance);
            }
            model.processes[slot].membership = Membership::Current;
        });
    }

    fn release(&self, next: &mut Next) {
        let process = self.process();
        if !process.is_member() || (process.epoch.is_some() && self.protocol.drains) {
            return;
        }
        self.step(next, "releases the shard", |model, slot| {
            model.processes[slot].at = IngestState::Idle;
            model.reassign();
        });
    }

    fn fetch_offset(&self, next: &mut Next) {
        let stable = self.model.transactions.iter().all(|transaction| transaction.unmarked & OFFSETS == 0);
        if stable || !self.protocol.waits_for_stable_offset {
            self.step(next, "fetches the committed offset", |model, slot| {
                let process = &mut model.processes[slot];
                let is_unchanged = process.kept && process.known_offset == model.offset;
                process.known_offset = model.offset;
                process.at = match (is_unchanged, self.protocol.offset_first) {
                    (true, _) => IngestState::Run,
                    (false, true) => IngestState::NoteEnd,
                    (false, false) => IngestState::Restore,
                };
                process.kept = false;
                if !is_unchanged {
                    process.shard = Shard::default();
                }
            });
        }
    }

    /// Epochs of any length, with every watermark that makes no event late. An epoch without effect is the beginning of
    /// the next one.
    fn epochs(&self, next: &mut Next) {
        let mut shard = self.process().shard;
        loop {
            for watermark in shard.watermark..=self.highest(&shard) {
                self.epoch(next, Shard { watermark, ..shard });
            }
            if shard.cursor == self.bounds.times.len() as u8 {
                return;
            }
            self.read(&mut shard);
        }
    }

    fn read(&self, shard: &mut Shard) {
        let rank = self.bounds.times[shard.cursor as usize];
        let applied = shard.cursor < shard.position && rank <= shard.watermark;
        if !applied || !self.protocol.skips_applied {
            shard.held |= bit(rank);
        }
        shard.cursor += 1;
        shard.position = shard.position.max(shard.cursor);
    }

    /// The highest possible watermark. It does not advance while messages are replayed.
    fn highest(&self, shard: &Shard) -> u8 {
        if self.protocol.holds_watermark_in_replay && shard.cursor < shard.position {
            return shard.watermark;
        }
        let unread = &self.bounds.times[shard.position as usize..];
        unread.iter().min().map_or(self.bounds.times.len() as u8, |rank| rank - 1).max(shard.watermark)
    }

    fn epoch(&self, next: &mut Next, mut shard: Shard) {
        let applied = shard.held & ((1 << shard.watermark) - 1);
        shard.held &= !applied;
        let is_held = |offset: &u8| shard.held & bit(self.bounds.times[*offset as usize]) != 0;
        let lowest = (0..shard.cursor).find(is_held).filter(|_| self.protocol.commits_lowest_held);
        let offset = lowest.unwrap_or(shard.cursor);
        let record = StateRecord { offset, position: shard.position, watermark: shard.watermark, applied };
        if applied == 0 && offset == self.process().known_offset {
            return;
        }
        self.step(next, EPOCHS[applied as usize & 7], |model, slot| {
            let stage = self.protocol.stages()[0];
            let epoch = EpochCommit { stage, todo: 0, membership: Membership::None, abandoned: false, record };
            model.processes[slot].shard = shard;
            model.processes[slot].epoch = Some(epoch);
        });
    }
}

/// Descriptions of an epoch, by the events that it applies.
const EPOCHS: [&str; 8] = [
    "closes an epoch that applies nothing",
    "closes an epoch that applies the 1st event",
    "closes an epoch that applies the 2nd event",
    "closes an epoch that applies the 1st and 2nd event",
    "closes an epoch that applies the 3rd event",
    "closes an epoch that applies the 1st and 3rd event",
    "closes an epoch that applies the 2nd and 3rd event",
    "closes an epoch that applies all 3 events",
];

/// The display name of a process.
pub(crate) fn actor(slot: usize, instance: u8) -> &'static str {
    match (slot, instance) {
        (2, 0) => "the old A",
        (2, _) => "the old B",
        (_, 0) => "A",
        _ => "B",
    }
}

/// The set that contains only this rank.
pub(crate) fn bit(rank: u8) -> u8 {
    1 << (rank - 1)
}

fn restore(model: &mut Model, slot: usize) {
    let StateRecord { offset, position, watermark, .. } = model.state;
    let process = &mut model.processes[slot];
    if process.is_member() && process.known_offset != offset {
        model.violation = Some(Violation::Torn);
    }
    process.shard =
        Shard { cursor: process.known_offset, position: position.max(process.known_offset), watermark, held: 0 };
    process.at = IngestState::Run;
}
