//! Owns a model of the commit and restore protocol, and promises that no order of events within its bounds breaks it:
//! all of them are tried. Nor is any step of the protocol there for nothing: each is left out on purpose, and the
//! shortest way to the damage told (`cargo test --test protocol -- --nocapture`).
//!
//! **What is in it.** One shard of two or three messages, some held while later ones are applied; processes A and B,
//! each an ingest thread, a client library and a commit thread; the group's and the transactions' coordinators; the
//! last stable offset of outputs and state; markers that arrive one by one. Processes crash, are cut off and go on
//! unaware, or are replaced while they still run; the shard is moved; transactions time out: a bounded number of times,
//! at any moment.
//!
//! **What must hold.** Outputs that a reader of committed records sees come once and in order; a member restores state
//! and the offset that was committed with it; and from wherever it has come to, all outputs can still appear without
//! anything else going wrong. A process that was thrown out and does not know may well restore what does not fit: it
//! cannot commit.
//!
//! **What is not in it.** More than one shard, several epochs in flight, norms, compaction; brokers that lose what they
//! acknowledged or never write a marker; a record that arrives after its transaction was aborted; a process that was
//! replaced and joins again.
//!
//! **Why not a model checker from a registry.** What is needed of one, a breadth-first search with a way back, is a
//! page (`explore`); so the tests need no more packages, and equal worlds are found equal by what we know of the
//! protocol.

#[path = "protocol/commit.rs"]
mod commit;
#[path = "protocol/explore.rs"]
mod explore;
#[path = "protocol/faults.rs"]
mod faults;
#[path = "protocol/process.rs"]
mod process;
#[path = "protocol/world.rs"]
mod world;

use explore::{Findings, explore};
use world::{Scope, Stage, Wrong};

/// The protocol; each field is a step of it that can be left out or swapped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Protocol {
    /// Offsets are committed in the transaction, not by themselves before it.
    pub(crate) offsets_inside: bool,
    /// State is written in the transaction.
    pub(crate) state_inside: bool,
    /// The state is read to the end that was noted, not to the last stable offset.
    pub(crate) reads_to_noted_end: bool,
    /// The committed offset is asked until no transaction is open on it.
    pub(crate) waits_for_stability: bool,
    /// Offsets go with the group metadata, and the broker looks at it.
    pub(crate) checks_generation: bool,
    /// `init_transactions` fences older producers of the id and aborts what they left open.
    pub(crate) init_fences: bool,
    /// A process that begins anew does so under the same transactional id.
    pub(crate) stable_id: bool,
    /// Group metadata is read before it is asked whether the epoch is abandoned.
    pub(crate) metadata_first: bool,
    /// Messages that are read again and had been applied are skipped.
    pub(crate) skips_applied: bool,
    /// The lowest offset that is held is committed, not the position.
    pub(crate) commits_lowest_held: bool,
    /// Every transaction has an offset, if need be one that is committed already.
    pub(crate) always_offsets: bool,
    /// A shard that was away is restored, even if its committed offset is the same as before.
    pub(crate) restores_anew: bool,
    /// A shard is given up after its last epoch is committed.
    pub(crate) drains: bool,
    /// The watermark stands still while messages are read again.
    pub(crate) still_in_replay: bool,
    /// Blank metadata is not sent, and not taken if it is.
    pub(crate) refuses_blank: bool,
    /// A process that lost its session abandons its epoch, and then joins again.
    pub(crate) abandons_first: bool,
    /// The committed offset is asked before the end of the state is noted.
    pub(crate) offset_first: bool,
    /// Needless: it joins again only when it is through with that epoch.
    pub(crate) drains_before_rejoin: bool,
    /// Needless, and not so: all records have arrived when the offset is sent.
    pub(crate) records_first: bool,
}

const RIGHT: Protocol = Protocol {
    offsets_inside: true,
    state_inside: true,
    reads_to_noted_end: true,
    waits_for_stability: true,
    checks_generation: true,
    init_fences: true,
    stable_id: true,
    metadata_first: true,
    skips_applied: true,
    commits_lowest_held: true,
    always_offsets: true,
    restores_anew: true,
    drains: true,
    still_in_replay: true,
    refuses_blank: true,
    abandons_first: true,
    offset_first: true,
    drains_before_rejoin: false,
    records_first: false,
};

impl Protocol {
    /// What becomes of an epoch, in order.
    pub(crate) fn stages(&self) -> &'static [Stage] {
        use Stage::{Check, Metadata, Offset, Send};
        match (self.offsets_inside, self.metadata_first) {
            (false, _) => &[Metadata, Check, Offset, Send],
            (true, true) => &[Metadata, Check, Send],
            (true, false) => &[Check, Metadata, Send],
        }
    }
}

/// Two events, of which the second to come is the first to be applied; and a third.
const TWO: Scope = Scope { times: &[2, 1], faults: 1, timeouts: true, doubles: true };
const THREE: Scope = Scope { times: &[2, 1, 3], ..TWO };

/// Explores and tells what came of it: `cargo test --test protocol -- --nocapture`.
#[allow(clippy::print_stdout, reason = "the test harness keeps it back, unless it is asked for")]
fn told(name: &str, protocol: &Protocol, scope: &Scope, blind: &[Wrong]) -> Findings {
    let found = explore(protocol, scope, blind);
    println!("{name}: {found}");
    found
}

/// Nothing is wrong, and there were this many worlds to look at.
fn holds(name: &str, protocol: &Protocol, scope: &Scope, blind: &[Wrong], states: usize) {
    let found = told(name, protocol, scope, blind);
    assert!(found.wrong.is_none(), "{name}: {found}");
    assert!(found.states >= states, "{name}: only {} states", found.states);
}

/// This is wrong, and found by a trace of so many steps.
fn breaks(name: &str, protocol: &Protocol, scope: &Scope, expected: &[(Wrong, usize)]) {
    let mut blind = Vec::new();
    for (wrong, steps) in expected {
        let found = told(name, protocol, scope, &blind);
        let (kind, way) = found.wrong.as_ref().map_or((None, 0), |(wrong, way)| (Some(*wrong), way.len()));
        assert_eq!((kind, way), (Some(*wrong), *steps), "{name}: {found}");
        blind.push(*wrong);
    }
}

#[test]
fn two_faults_do_no_harm() {
    holds("as it is", &RIGHT, &Scope { faults: 2, ..TWO }, &[], 500_000);
}

#[test]
fn one_fault_does_no_harm_to_three_events() {
    holds("as it is", &RIGHT, &THREE, &[], 400_000);
}

/// A process that begins anew takes back what it left open: the broker's patience is for those that never return.
#[test]
fn nobody_needs_timeouts_of_transactions() {
    holds("no timeouts", &RIGHT, &Scope { timeouts: false, ..TWO }, &[], 20_000);
}

#[test]
fn offsets_outside_of_the_transaction() {
    let protocol = Protocol { offsets_inside: false, ..RIGHT };
    breaks("1 offsets before the transaction", &protocol, &TWO, &[(Wrong::Missing, 9)]);
}

#[test]
fn state_outside_of_the_transaction() {
    let protocol = Protocol { state_inside: false, ..RIGHT };
    breaks("2 state outside of the transaction", &protocol, &TWO, &[(Wrong::Torn, 15), (Wrong::Missing, 22)]);
}

#[test]
fn state_read_to_the_last_stable_offset() {
    let protocol = Protocol { reads_to_noted_end: false, ..RIGHT };
    breaks("3 state read to the last stable offset", &protocol, &TWO, &[(Wrong::Torn, 19), (Wrong::Twice, 28)]);
}

#[test]
fn unstable_offsets() {
    let protocol = Protocol { waits_for_stability: false, ..RIGHT };
    breaks("4 unstable offsets", &protocol, &TWO, &[(Wrong::Torn, 19), (Wrong::Twice, 27)]);
    let protocol = Protocol { records_first: true, ..protocol };
    breaks("4 unstable offsets, records first", &protocol, &TWO, &[(Wrong::Torn, 19)]);
    holds("4 unstable offsets, records first, torn or not", &protocol, &TWO, &[Wrong::Torn], 20_000);
}

#[test]
fn no_generation() {
    let protocol = Protocol { checks_generation: false, ..RIGHT };
    breaks("5 no generation", &protocol, &TWO, &[(Wrong::Torn, 19), (Wrong::Twice, 27)]);
}

#[test]
fn init_transactions_that_fence_nobody() {
    let protocol = Protocol { init_fences: false, ..RIGHT };
    breaks("6a no init_transactions", &protocol, &TWO, &[(Wrong::Twice, 23)]);
}

/// Right as long as the broker takes back by itself what a dead process left open; without, nobody goes on.
#[test]
fn another_transactional_id_each_time() {
    let protocol = Protocol { stable_id: false, ..RIGHT };
    holds("6b another id", &protocol, &TWO, &[], 30_000);
    breaks("6b another id, no timeouts", &protocol, &Scope { timeouts: false, ..TWO }, &[(Wrong::Stuck, 9)]);
}

#[test]
fn metadata_after_the_last_look() {
    let protocol = Protocol { metadata_first: false, ..RIGHT };
    breaks("7a fresh metadata after the last look", &protocol, &TWO, &[(Wrong::Torn, 20), (Wrong::Twice, 30)]);
    let protocol = Protocol { drains_before_rejoin: true, ..protocol };
    holds("7a, but the epoch ends before it joins again", &protocol, &TWO, &[], 20_000);
}

#[test]
fn epochs_abandoned_after_joining_again() {
    let protocol = Protocol { abandons_first: false, ..RIGHT };
    breaks("7b abandoned too late", &protocol, &TWO, &[(Wrong::Torn, 20), (Wrong::Twice, 29)]);
}

#[test]
fn applied_messages_are_not_skipped() {
    let protocol = Protocol { skips_applied: false, ..RIGHT };
    breaks("8 nothing is skipped", &protocol, &TWO, &[(Wrong::Twice, 29)]);
}

#[test]
fn position_committed() {
    let protocol = Protocol { commits_lowest_held: false, ..RIGHT };
    breaks("9 position committed", &protocol, &TWO, &[(Wrong::Missing, 13)]);
}

#[test]
fn transactions_without_offsets() {
    let protocol = Protocol { always_offsets: false, ..RIGHT };
    breaks("10 no offset if it has not moved", &protocol, &TWO, &[(Wrong::Twice, 25)]);
}

#[test]
fn shard_kept_by_its_offset() {
    let protocol = Protocol { restores_anew: false, ..RIGHT };
    breaks("11 kept", &protocol, &Scope { faults: 2, ..TWO }, &[(Wrong::Twice, 33)]);
}

#[test]
fn shard_given_up_too_early() {
    let protocol = Protocol { drains: false, ..RIGHT };
    breaks("12 given up too early", &protocol, &TWO, &[(Wrong::Torn, 23), (Wrong::Twice, 31)]);
}

#[test]
fn watermark_moves_in_replay() {
    let protocol = Protocol { still_in_replay: false, ..RIGHT };
    breaks("13 the watermark moves while messages are read again", &protocol, &THREE, &[(Wrong::Missing, 39)]);
}

#[test]
fn blank_metadata() {
    let protocol = Protocol { refuses_blank: false, ..RIGHT };
    breaks("14 blank metadata", &protocol, &TWO, &[(Wrong::Torn, 20), (Wrong::Twice, 28)]);
}

#[test]
fn end_noted_before_the_offset_is_asked() {
    let protocol = Protocol { offset_first: false, ..RIGHT };
    breaks("15 end noted first", &protocol, &TWO, &[(Wrong::Torn, 19), (Wrong::Twice, 28)]);
}
