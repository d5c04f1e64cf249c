//! Owns what the commit thread of a process does with an epoch: metadata, a last look whether it is abandoned, and the
//! transaction. Records and offsets reach the broker in any order: the producer sends records in the background.

use crate::explore::Next;
use crate::process::{Turn, bit};
use crate::world::{At, Job, OFFSETS, OUTPUTS, Phase, Process, STATE, Seat, Stage, World};

/// Adds all that it can do next.
pub(crate) fn steps(turn: &Turn<'_>, next: &mut Next) {
    let Some(job) = &turn.process().job else { return };
    let phase = turn.world.transactions[turn.process().id as usize].phase;
    match job.stage {
        Stage::Metadata => turn.step(next, "reads the group metadata", |world, slot| {
            let seat = world.processes[slot].seat;
            change(world, slot, |job| job.seat = seat);
            advance(turn, world, slot);
        }),
        Stage::Check if job.abandoned => turn.step(next, "drops the abandoned epoch", |world, slot| {
            rest(&mut world.processes[slot]);
        }),
        Stage::Check if job.seat == Seat::None && turn.protocol.refuses_blank && turn.protocol.metadata_first => {
            turn.step(next, "has blank metadata and asks again", |world, slot| {
                change(world, slot, |job| job.stage = Stage::Metadata);
            });
        }
        Stage::Check => turn.step(next, "finds the epoch not abandoned", |world, slot| advance(turn, world, slot)),
        Stage::Offset => offset(turn, next, job),
        // The markers of the transaction before are on their way.
        _ if phase == Phase::Commit => {}
        Stage::Send if job.todo == 0 => end(turn, next, phase),
        Stage::Send => send(turn, next, job),
        Stage::Abort => turn.step(next, "aborts and tries again", |world, slot| {
            world.abort(world.processes[slot].id);
            change(world, slot, |job| (job.stage, job.todo) = (turn.protocol.stages()[0], 0));
        }),
    }
}

/// The next stage's turn comes.
fn advance(turn: &Turn<'_>, world: &mut World, slot: usize) {
    let asked = world.processes[slot].asked;
    change(world, slot, |job| {
        let mut stages = turn.protocol.stages().iter().skip_while(|stage| **stage != job.stage);
        job.stage = stages.nth(1).copied().unwrap_or(Stage::Send);
        if job.stage == Stage::Send {
            let offsets = turn.protocol.offsets_inside && (turn.protocol.always_offsets || job.marks.offset != asked);
            job.todo = STATE | if job.marks.applied == 0 { 0 } else { OUTPUTS } | if offsets { OFFSETS } else { 0 };
        }
    });
}

/// Sends one of the things that are to do.
fn send(turn: &Turn<'_>, next: &mut Next, job: &Job) {
    let marks = job.marks;
    if job.todo & OUTPUTS != 0 {
        turn.step(next, "sends its outputs", |world, slot| {
            let id = touch(world, slot, OUTPUTS);
            let ranks = (1..=8).filter(|rank| marks.applied & bit(*rank) != 0);
            world.outputs.extend(ranks.map(|rank| (rank, Some(id))));
        });
    }
    if job.todo & STATE != 0 && turn.protocol.state_inside {
        turn.step(next, "sends its state", |world, slot| {
            let id = touch(world, slot, STATE);
            world.states.push((marks, Some(id)));
        });
    } else if job.todo & STATE != 0 {
        turn.step(next, "writes its state outside of the transaction", |world, slot| {
            change(world, slot, |job| job.todo &= !STATE);
            world.states.push((marks, None));
            world.show();
        });
    }
    if job.todo & OFFSETS != 0 && (job.todo == OFFSETS || !turn.protocol.records_first) {
        offset(turn, next, job);
    }
}

/// The group's coordinator takes the offset if the metadata is still true.
fn offset(turn: &Turn<'_>, next: &mut Next, job: &Job) {
    let offset = job.marks.offset;
    let blank = job.seat == Seat::None && !turn.protocol.refuses_blank;
    let inside = job.stage == Stage::Send;
    if job.seat != Seat::Newest && !blank && turn.protocol.checks_generation {
        let stage = if inside { Stage::Abort } else { turn.protocol.stages()[0] };
        turn.step(next, "sends its offset, which is refused: the group has moved on", |world, slot| {
            change(world, slot, |job| job.stage = stage);
        });
    } else if inside {
        turn.step(next, "sends its offset, which is taken", |world, slot| {
            let id = touch(world, slot, OFFSETS);
            world.transactions[id as usize].offset = offset;
        });
    } else {
        turn.step(next, "commits its offset outside of the transaction", |world, slot| {
            world.offset = offset;
            advance(turn, world, slot);
        });
    }
}

/// Commits. That the process hears of it, or crashes before, makes no difference to anybody else.
fn end(turn: &Turn<'_>, next: &mut Next, phase: Phase) {
    if phase == Phase::None {
        return turn.step(next, "has no transaction to commit and exits", World::stop);
    }
    turn.step(next, "commits: it is decided", |world, slot| {
        let process = &mut world.processes[slot];
        world.transactions[process.id as usize].phase = Phase::Commit;
        if let Some(job) = process.job.filter(|job| process.at == At::Run && !job.abandoned) {
            process.asked = job.marks.offset;
        }
        rest(process);
    });
}

/// Opens the process' transaction if need be, and has it touch a partition.
fn touch(world: &mut World, slot: usize, partition: u8) -> u8 {
    change(world, slot, |job| job.todo &= !partition);
    let id = world.processes[slot].id;
    let transaction = &mut world.transactions[id as usize];
    transaction.phase = Phase::Open;
    transaction.left |= partition;
    id
}

fn change(world: &mut World, slot: usize, change: impl FnOnce(&mut Job)) {
    if let Some(job) = &mut world.processes[slot].job {
        change(job);
    }
}

/// The process has nothing in hand any more.
fn rest(process: &mut Process) {
    process.job = None;
    if process.seat == Seat::Older {
        process.seat = Seat::Newest;
    }
}
