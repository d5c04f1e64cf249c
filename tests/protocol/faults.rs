//! Owns the steps that processes do not take themselves: markers and timeouts of the broker, and faults. Steps that are
//! certain to happen (the session and the transaction of a stopped process time out) are not faults.

use super::explore::{Next, Step};
use super::model::{Bounds, Model, OFFSETS, OUTPUTS, Phase, STATE};
use super::process::actor;

/// Adds all possible next steps.
pub(crate) fn steps(model: &Model, bounds: &Bounds, next: &mut Next) {
    markers(model, next);
    expiries(model, next);
    if bounds.timeouts {
        timeouts(model, next);
    }
    if model.faults > 0 {
        crashes(model, bounds, next);
        rebalances(model, next);
    }
}

fn push(model: &Model, next: &mut Next, step: Step, change: impl FnOnce(&mut Model)) {
    if step.fault && model.faults == 0 {
        return;
    }
    let mut model = model.clone();
    model.faults -= u8::from(step.fault);
    change(&mut model);
    next.push((step, model));
}

fn markers(model: &Model, next: &mut Next) {
    for (id, transaction) in (0..).zip(&model.transactions) {
        if transaction.phase != Phase::Commit {
            continue;
        }
        let partitions = [(OUTPUTS, "the outputs"), (STATE, "the state"), (OFFSETS, "the offsets")];
        for (partition, what) in partitions.into_iter().filter(|(partition, _)| transaction.unmarked & partition != 0) {
            let step = Step { actor: "a marker", what, fault: false };
            push(model, next, step, |model| model.write_marker(id, partition));
        }
    }
}

fn expiries(model: &Model, next: &mut Next) {
    for instance in [0, 1] {
        if !model.members[instance as usize] {
            continue;
        }
        let fault = model
            .processes
            .iter()
            .any(|process| process.is_running() && process.instance == instance && process.is_member());
        let what = if fault { "is cut off: its session expires" } else { "is down: its session expires" };
        push(model, next, Step { actor: actor(0, instance), what, fault }, |model| {
            model.members[instance as usize] = false;
            model.expel(instance);
            model.moving = false;
            if model.owner == Some(instance) {
                model.reassign();
            } else {
                model.start_generation();
            }
        });
    }
}

fn timeouts(model: &Model, next: &mut Next) {
    for (id, transaction) in (0..).zip(&model.transactions) {
        if transaction.phase != Phase::Open {
            continue;
        }
        let fault = model.processes.iter().any(|process| process.is_running() && process.id == id);
        let what = if fault {
            "aborts a transaction after its timeout"
        } else {
            "aborts the transaction of a stopped process"
        };
        push(model, next, Step { actor: "the coordinator", what, fault }, |model| {
            model.fence(id);
        });
    }
}

fn crashes(model: &Model, bounds: &Bounds, next: &mut Next) {
    for (slot, process) in model.processes.iter().enumerate().filter(|(_, process)| process.is_running()) {
        let actor = actor(slot, process.instance);
        push(model, next, Step { actor, what: "crashes", fault: true }, |model| model.stop(slot));
        if bounds.doubles && slot < 2 && !model.processes[2].is_running() {
            push(model, next, Step { actor, what: "is replaced but still runs", fault: true }, |model| {
                model.processes[2] = *process;
                model.stop(slot);
            });
        }
    }
}

fn rebalances(model: &Model, next: &mut Next) {
    if model.members == [true; 2] && !model.moving {
        push(model, next, Step { actor: "the group", what: "moves the shard", fault: true }, |model| {
            model.moving = true;
            model.start_generation();
        });
    }
}
