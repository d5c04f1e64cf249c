//! Owns what a process does by itself, one step at a time: its client library, its ingest thread and its commit thread
//! (`commit`) take turns in any order. What it asks the broker for happens at once, or its step has to wait.

use crate::Protocol;
use crate::commit;
use crate::explore::{Next, Step};
use crate::world::{At, Job, Marks, OFFSETS, Phase, Process, Scope, Seat, Shard, World, Wrong};

/// Adds all that the process can do next.
pub(crate) fn steps(world: &World, slot: usize, protocol: &Protocol, scope: &Scope, next: &mut Next) {
    let turn = Turn { world, slot, protocol, scope };
    match world.processes[slot].at {
        At::Down if slot < 2 => turn.begin(next),
        At::Down => {}
        _ => {
            turn.hear(next);
            turn.ingest(next);
            commit::steps(&turn, next);
        }
    }
}

/// A process and where it is.
pub(crate) struct Turn<'a> {
    pub(crate) world: &'a World,
    pub(crate) slot: usize,
    pub(crate) protocol: &'a Protocol,
    scope: &'a Scope,
}

impl Turn<'_> {
    pub(crate) fn process(&self) -> &Process {
        &self.world.processes[self.slot]
    }

    /// Adds a step of this process.
    pub(crate) fn step(&self, next: &mut Next, what: &'static str, change: impl FnOnce(&mut World, usize)) {
        let mut world = self.world.clone();
        change(&mut world, self.slot);
        next.push((Step { who: who(self.slot, self.process().name), what, fault: false }, world));
    }

    /// `init_transactions`: whoever had the id is fenced and its open transaction taken back.
    fn begin(&self, next: &mut Next) {
        let Some(id) = self.id() else { return };
        let ready = |world: &mut World, slot: usize| {
            let name = world.processes[slot].name;
            world.processes[slot] = Process { at: At::Join, id, ..Process::down(name) };
        };
        match self.world.transactions[id as usize].phase {
            _ if !self.protocol.init_fences => self.step(next, "begins without init_transactions", ready),
            Phase::None | Phase::Open => self.step(next, "begins: init_transactions", |world, slot| {
                world.fence(id);
                ready(world, slot);
            }),
            Phase::Commit => {}
        }
    }

    /// Its own, or any that nobody has.
    fn id(&self) -> Option<u8> {
        if self.protocol.stable_id {
            return Some(self.process().name);
        }
        let used = |id: &u8| self.world.processes.iter().any(|process| process.lives() && process.id == *id);
        let idle = |id: &u8| self.world.transactions[*id as usize].phase == Phase::None;
        (0..self.world.transactions.len() as u8).find(|id| !used(id) && idle(id))
    }

    /// The client library hears from the group, whatever the other threads are at.
    fn hear(&self, next: &mut Next) {
        let process = self.process();
        match process.seat {
            Seat::Older => self.step(next, "hears of the new generation", |world, slot| {
                world.processes[slot].seat = Seat::Newest;
            }),
            Seat::Expelled if self.world.members[process.name as usize] => {
                self.step(next, "hears that another has its instance id, and exits", World::stop);
            }
            Seat::Expelled if self.slot == 2 => {
                self.step(next, "hears that its session is over, and exits", World::stop)
            }
            Seat::Expelled => self.step(next, "hears that its session is over", |world, slot| {
                world.processes[slot].seat = Seat::None;
            }),
            Seat::None | Seat::Newest => {}
        }
    }

    fn ingest(&self, next: &mut Next) {
        let process = self.process();
        let mine = process.seat == Seat::Newest && self.world.owner == Some(process.name);
        match process.at {
            At::Join if process.seat != Seat::None => self.abandon(next, At::Spare),
            At::Join => self.join(next),
            _ if process.seat == Seat::None && self.protocol.abandons_first => self.abandon(next, At::Join),
            _ if process.seat == Seat::None => self.join(next),
            At::Spare if mine && !self.world.moving => self.step(next, "is assigned the shard", |world, slot| {
                world.processes[slot].at = if self.protocol.offset_first { At::Ask } else { At::Note };
            }),
            At::Spare | At::Ask | At::Note | At::Read | At::Run if mine && self.world.moving => {
                self.step(next, "is asked to give the shard up", |world, slot| {
                    self.leave(&mut world.processes[slot]);
                    world.processes[slot].at = At::Drain;
                });
            }
            At::Drain => self.give_up(next),
            At::Ask => self.ask(next),
            At::Note => self.step(next, "notes the end of the state", |world, slot| {
                let end = if self.protocol.reads_to_noted_end { world.states.len() as u8 } else { 0 };
                world.processes[slot].end = end;
                world.processes[slot].at = if self.protocol.offset_first { At::Read } else { At::Ask };
            }),
            At::Read if process.end == 0 => self.step(next, "restores the state", restore),
            At::Run if process.job.is_none() => self.epochs(next),
            _ => {}
        }
    }

    /// Whoever has the shard now goes on from the last commit.
    fn abandon(&self, next: &mut Next, then: At) {
        self.step(next, "abandons what it has in hand", |world, slot| {
            let process = &mut world.processes[slot];
            self.leave(process);
            process.at = then;
            if let Some(job) = &mut process.job {
                job.abandoned = true;
            }
        });
    }

    /// Forgets the shard.
    fn leave(&self, process: &mut Process) {
        process.end = 0;
        process.kept = process.at == At::Run && process.job.is_none() && !self.protocol.restores_anew;
        if !process.kept {
            (process.asked, process.shard) = (0, Shard::default());
        }
    }

    fn join(&self, next: &mut Next) {
        if self.protocol.drains_before_rejoin && self.process().job.is_some() {
            return;
        }
        self.step(next, "joins the group", |world, slot| {
            let process = &mut world.processes[slot];
            let name = process.name;
            process.at = if process.at == At::Join { At::Spare } else { At::Join };
            if std::mem::replace(&mut world.members[name as usize], true) {
                // The coordinator knows the instance id: it gets its assignment back without a rebalance.
                world.expel(name);
            } else {
                world.bump();
                world.owner.get_or_insert(name);
            }
            world.processes[slot].seat = Seat::Newest;
        });
    }

    fn give_up(&self, next: &mut Next) {
        let process = self.process();
        if !process.sits() || (process.job.is_some() && self.protocol.drains) {
            return;
        }
        self.step(next, "gives the shard up", |world, slot| {
            world.processes[slot].at = At::Spare;
            world.hand_over();
        });
    }

    fn ask(&self, next: &mut Next) {
        let stable = self.world.transactions.iter().all(|transaction| transaction.left & OFFSETS == 0);
        if stable || !self.protocol.waits_for_stability {
            self.step(next, "asks the committed offset", |world, slot| {
                let process = &mut world.processes[slot];
                let stays = process.kept && process.asked == world.offset;
                process.asked = world.offset;
                process.at = match (stays, self.protocol.offset_first) {
                    (true, _) => At::Run,
                    (false, true) => At::Note,
                    (false, false) => At::Read,
                };
                process.kept = false;
                if !stays {
                    process.shard = Shard::default();
                }
            });
        }
    }

    /// Epochs of any length, with the watermark anywhere that makes no event late. One that comes to nothing is the
    /// beginning of the next.
    fn epochs(&self, next: &mut Next) {
        let mut shard = self.process().shard;
        loop {
            for watermark in shard.watermark..=self.highest(&shard) {
                self.epoch(next, Shard { watermark, ..shard });
            }
            if shard.cursor == self.scope.times.len() as u8 {
                return;
            }
            self.read(&mut shard);
        }
    }

    fn read(&self, shard: &mut Shard) {
        let rank = self.scope.times[shard.cursor as usize];
        let applied = shard.cursor < shard.position && rank <= shard.watermark;
        if !applied || !self.protocol.skips_applied {
            shard.held |= bit(rank);
        }
        shard.cursor += 1;
        shard.position = shard.position.max(shard.cursor);
    }

    /// How far the watermark may go. It stands still while messages are read again.
    fn highest(&self, shard: &Shard) -> u8 {
        if self.protocol.still_in_replay && shard.cursor < shard.position {
            return shard.watermark;
        }
        let unread = &self.scope.times[shard.position as usize..];
        unread.iter().min().map_or(self.scope.times.len() as u8, |rank| rank - 1).max(shard.watermark)
    }

    fn epoch(&self, next: &mut Next, mut shard: Shard) {
        let applied = shard.held & ((1 << shard.watermark) - 1);
        shard.held &= !applied;
        let waits = |offset: &u8| shard.held & bit(self.scope.times[*offset as usize]) != 0;
        let lowest = (0..shard.cursor).find(waits).filter(|_| self.protocol.commits_lowest_held);
        let offset = lowest.unwrap_or(shard.cursor);
        let marks = Marks { offset, position: shard.position, watermark: shard.watermark, applied };
        if applied == 0 && offset == self.process().asked {
            return;
        }
        self.step(next, EPOCHS[applied as usize & 7], |world, slot| {
            let stage = self.protocol.stages()[0];
            let job = Job { stage, todo: 0, seat: Seat::None, abandoned: false, marks };
            world.processes[slot].shard = shard;
            world.processes[slot].job = Some(job);
        });
    }
}

/// What an epoch applies, in words.
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

/// How a process is called.
pub(crate) fn who(slot: usize, name: u8) -> &'static str {
    match (slot, name) {
        (2, 0) => "the old A",
        (2, _) => "the old B",
        (_, 0) => "A",
        _ => "B",
    }
}

/// The set of this rank alone.
pub(crate) fn bit(rank: u8) -> u8 {
    1 << (rank - 1)
}

fn restore(world: &mut World, slot: usize) {
    let Marks { offset, position, watermark, .. } = world.state;
    let process = &mut world.processes[slot];
    if process.sits() && process.asked != offset {
        world.wrong = Some(Wrong::Torn);
    }
    process.shard = Shard { cursor: process.asked, position: position.max(process.asked), watermark, held: 0 };
    process.at = At::Run;
}
