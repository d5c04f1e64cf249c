//! Owns what happens to processes without their doing: the broker's markers and timeouts, and all that goes wrong. What
//! can be relied on to happen in time (a dead process' session and transaction time out) is no fault.

use crate::explore::{Next, Step};
use crate::process::who;
use crate::world::{OFFSETS, OUTPUTS, Phase, STATE, Scope, World};

/// Adds all that can happen next.
pub(crate) fn steps(world: &World, scope: &Scope, next: &mut Next) {
    markers(world, next);
    expiries(world, next);
    if scope.timeouts {
        timeouts(world, next);
    }
    if world.faults > 0 {
        crashes(world, scope, next);
        moves(world, next);
    }
}

fn push(world: &World, next: &mut Next, step: Step, change: impl FnOnce(&mut World)) {
    if step.fault && world.faults == 0 {
        return;
    }
    let mut world = world.clone();
    world.faults -= u8::from(step.fault);
    change(&mut world);
    next.push((step, world));
}

fn markers(world: &World, next: &mut Next) {
    for (id, transaction) in (0..).zip(&world.transactions) {
        if transaction.phase != Phase::Commit {
            continue;
        }
        let partitions = [(OUTPUTS, "the outputs"), (STATE, "the state"), (OFFSETS, "the offsets")];
        for (partition, what) in partitions.into_iter().filter(|(partition, _)| transaction.left & partition != 0) {
            let step = Step { who: "a marker", what, fault: false };
            push(world, next, step, |world| world.mark(id, partition));
        }
    }
}

fn expiries(world: &World, next: &mut Next) {
    for name in [0, 1] {
        if !world.members[name as usize] {
            continue;
        }
        let fault = world.processes.iter().any(|process| process.lives() && process.name == name && process.sits());
        let what = if fault { "is cut off: its session ends" } else { "is dead: its session ends" };
        push(world, next, Step { who: who(0, name), what, fault }, |world| {
            world.members[name as usize] = false;
            world.expel(name);
            world.moving = false;
            if world.owner == Some(name) {
                world.hand_over();
            } else {
                world.bump();
            }
        });
    }
}

fn timeouts(world: &World, next: &mut Next) {
    for (id, transaction) in (0..).zip(&world.transactions) {
        if transaction.phase != Phase::Open {
            continue;
        }
        let fault = world.processes.iter().any(|process| process.lives() && process.id == id);
        let what = if fault { "aborts a transaction that takes too long" } else { "aborts a dead one's transaction" };
        push(world, next, Step { who: "the coordinator", what, fault }, |world| {
            world.fence(id);
        });
    }
}

fn crashes(world: &World, scope: &Scope, next: &mut Next) {
    for (slot, process) in world.processes.iter().enumerate().filter(|(_, process)| process.lives()) {
        let who = who(slot, process.name);
        push(world, next, Step { who, what: "crashes", fault: true }, |world| world.stop(slot));
        if scope.doubles && slot < 2 && !world.processes[2].lives() {
            push(world, next, Step { who, what: "is replaced but still runs", fault: true }, |world| {
                world.processes[2] = *process;
                world.stop(slot);
            });
        }
    }
}

fn moves(world: &World, next: &mut Next) {
    if world.members == [true; 2] && !world.moving {
        push(world, next, Step { who: "the group", what: "moves the shard", fault: true }, |world| {
            world.moving = true;
            world.bump();
        });
    }
}
