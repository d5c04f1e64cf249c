//! Owns the steps of the commit thread: read the group metadata, check that the epoch is not abandoned, and run the
//! transaction. Records and offsets reach the broker in any order, because the producer sends records in the
//! background.

use super::explore::Next;
use super::model::{CommitStage, EpochCommit, IngestState, Membership, Model, OFFSETS, OUTPUTS, Phase, Process, STATE};
use super::process::{ProcessView, bit};

/// Adds all possible next steps of the commit thread.
pub(crate) fn steps(view: &ProcessView<'_>, next: &mut Next) {
    let Some(epoch) = &view.process().epoch else { return };
    let phase = view.model.transactions[view.process().id as usize].phase;
    match epoch.stage {
        CommitStage::Metadata => view.step(next, "reads the group metadata", |model, slot| {
            let membership = model.processes[slot].membership;
            change(model, slot, |epoch| epoch.membership = membership);
            advance(view, model, slot);
        }),
        CommitStage::Check if epoch.abandoned => view.step(next, "drops the abandoned epoch", |model, slot| {
            finish(&mut model.processes[slot]);
        }),
        CommitStage::Check
            if epoch.membership == Membership::None
                && view.protocol.rejects_blank_metadata
                && view.protocol.metadata_first =>
        {
            view.step(next, "has blank metadata and retries", |model, slot| {
                change(model, slot, |epoch| epoch.stage = CommitStage::Metadata);
            });
        }
        CommitStage::Check => {
            view.step(next, "checks that the epoch is not abandoned", |model, slot| advance(view, model, slot))
        }
        CommitStage::Offset => offset(view, next, epoch),
        // The markers of the previous transaction are being written.
        _ if phase == Phase::Commit => {}
        CommitStage::Send if epoch.todo == 0 => commit(view, next, phase),
        CommitStage::Send => send(view, next, epoch),
        CommitStage::Abort => view.step(next, "aborts and retries", |model, slot| {
            model.abort(model.processes[slot].id);
            change(model, slot, |epoch| (epoch.stage, epoch.todo) = (view.protocol.stages()[0], 0));
        }),
    }
}

/// Moves on to the next stage.
fn advance(view: &ProcessView<'_>, model: &mut Model, slot: usize) {
    let known_offset = model.processes[slot].known_offset;
    change(model, slot, |epoch| {
        let mut stages = view.protocol.stages().iter().skip_while(|stage| **stage != epoch.stage);
        epoch.stage = stages.nth(1).copied().unwrap_or(CommitStage::Send);
        if epoch.stage == CommitStage::Send {
            let offsets = view.protocol.offsets_in_transaction
                && (view.protocol.always_sends_offset || epoch.record.offset != known_offset);
            epoch.todo =
                STATE | if epoch.record.applied == 0 { 0 } else { OUTPUTS } | if offsets { OFFSETS } else { 0 };
        }
    });
}

/// Sends one of the parts that have not been sent yet.
fn send(view: &ProcessView<'_>, next: &mut Next, epoch: &EpochCommit) {
    let record = epoch.record;
    if epoch.todo & OUTPUTS != 0 {
        view.step(next, "sends its outputs", |model, slot| {
            let id = add_partition(model, slot, OUTPUTS);
            let ranks = (1..=8).filter(|rank| record.applied & bit(*rank) != 0);
            model.outputs.extend(ranks.map(|rank| (rank, Some(id))));
        });
    }
    if epoch.todo & STATE != 0 && view.protocol.state_in_transaction {
        view.step(next, "sends its state", |model, slot| {
            let id = add_partition(model, slot, STATE);
            model.states.push((record, Some(id)));
        });
    } else if epoch.todo & STATE != 0 {
        view.step(next, "writes its state outside the transaction", |model, slot| {
            change(model, slot, |epoch| epoch.todo &= !STATE);
            model.states.push((record, None));
            model.advance_stable_offset();
        });
    }
    if epoch.todo & OFFSETS != 0 && (epoch.todo == OFFSETS || !view.protocol.records_first) {
        offset(view, next, epoch);
    }
}

/// The group coordinator accepts the offset if the metadata is up to date.
fn offset(view: &ProcessView<'_>, next: &mut Next, epoch: &EpochCommit) {
    let offset = epoch.record.offset;
    let blank = epoch.membership == Membership::None && !view.protocol.rejects_blank_metadata;
    let inside = epoch.stage == CommitStage::Send;
    if epoch.membership != Membership::Current && !blank && view.protocol.checks_generation {
        let stage = if inside { CommitStage::Abort } else { view.protocol.stages()[0] };
        view.step(next, "sends its offset, which is rejected: there is a newer generation", |model, slot| {
            change(model, slot, |epoch| epoch.stage = stage);
        });
    } else if inside {
        view.step(next, "sends its offset, which is accepted", |model, slot| {
            let id = add_partition(model, slot, OFFSETS);
            model.transactions[id as usize].offset = offset;
        });
    } else {
        view.step(next, "commits its offset outside the transaction", |model, slot| {
            model.offset = offset;
            advance(view, model, slot);
        });
    }
}

/// Commits. Whether the process receives the response or crashes before makes no difference to the others.
fn commit(view: &ProcessView<'_>, next: &mut Next, phase: Phase) {
    if phase == Phase::None {
        return view.step(next, "has no transaction to commit and exits", Model::stop);
    }
    view.step(next, "commits: the commit is decided", |model, slot| {
        let process = &mut model.processes[slot];
        model.transactions[process.id as usize].phase = Phase::Commit;
        if let Some(epoch) = process.epoch.filter(|epoch| process.at == IngestState::Run && !epoch.abandoned) {
            process.known_offset = epoch.record.offset;
        }
        finish(process);
    });
}

/// Adds a partition to the transaction of the process and opens it if necessary.
fn add_partition(model: &mut Model, slot: usize, partition: u8) -> u8 {
    change(model, slot, |epoch| epoch.todo &= !partition);
    let id = model.processes[slot].id;
    let transaction = &mut model.transactions[id as usize];
    transaction.phase = Phase::Open;
    transaction.unmarked |= partition;
    id
}

fn change(model: &mut Model, slot: usize, change: impl FnOnce(&mut EpochCommit)) {
    if let Some(epoch) = &mut model.processes[slot].epoch {
        change(epoch);
    }
}

/// The process has no epoch to commit any more.
fn finish(process: &mut Process) {
    process.epoch = None;
    if process.membership == Membership::Stale {
        process.membership = Membership::Current;
    }
}
