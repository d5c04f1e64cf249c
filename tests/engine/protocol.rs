//! A model of the commit and restore protocol, explored exhaustively: no order of steps within its bounds violates the
//! guarantees. The tests also show that every step of the protocol is necessary: each one is left out or reordered, and
//! the model finds a shortest trace to a violation (`cargo test --test engine protocol -- --nocapture` prints the
//! traces).
//!
//! **In the model.** One shard with two or three messages, some held while later ones are applied; processes A and B,
//! each with an ingest thread, a client library and a commit thread; the group coordinator and the transaction
//! coordinator; the last stable offset of outputs and state; markers that arrive one by one. Processes crash, are cut
//! off and continue without noticing, or are replaced while they still run; the shard moves; transactions time out: a
//! bounded number of times, at any moment.
//!
//! **Guarantees.** A reader of committed records sees each output once and in order. A member restores state together
//! with the offset that was committed with it. From every reachable state, all outputs can still become visible without
//! further faults. An expelled process that does not know it yet may restore state and offset that do not match,
//! because it cannot commit.
//!
//! **Not in the model.** More than one shard, several epochs in flight, norms, compaction; brokers that lose
//! acknowledged records or never write a marker; a record that arrives after its transaction was aborted; a replaced
//! process that joins again.
//!
//! **Why not an existing model checker.** All that is needed, a breadth-first search with traces, is one page
//! (`explore`). The tests need no further dependency, and equivalent states are merged by knowledge of the protocol.

#[path = "../protocol/commit.rs"]
mod commit;
#[path = "../protocol/explore.rs"]
mod explore;
#[path = "../protocol/faults.rs"]
mod faults;
#[path = "../protocol/model.rs"]
mod model;
#[path = "../protocol/process.rs"]
mod process;

use explore::{Findings, explore};
use model::{Bounds, CommitStage, Violation};

/// The protocol. Each field is a step that can be left out or reordered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Protocol {
    /// Offsets are committed in the transaction, not separately before it.
    pub(crate) offsets_in_transaction: bool,
    /// State is written in the transaction.
    pub(crate) state_in_transaction: bool,
    /// The state is read up to the noted end offset, not only to the last stable offset.
    pub(crate) reads_to_noted_end: bool,
    /// The committed offset is fetched until no transaction is open on it.
    pub(crate) waits_for_stable_offset: bool,
    /// Offsets are sent with the group metadata, and the broker checks it.
    pub(crate) checks_generation: bool,
    /// `init_transactions` fences older producers of the id and aborts their open transaction.
    pub(crate) init_fences: bool,
    /// A restarted process uses the same transactional id.
    pub(crate) stable_id: bool,
    /// Group metadata is read before the check whether the epoch is abandoned.
    pub(crate) metadata_first: bool,
    /// Replayed messages that were already applied are skipped.
    pub(crate) skips_applied: bool,
    /// The lowest held offset is committed, not the position.
    pub(crate) commits_lowest_held: bool,
    /// Every transaction contains an offset, even if it has not changed.
    pub(crate) always_sends_offset: bool,
    /// A reassigned shard is restored even if its committed offset has not changed.
    pub(crate) always_restores: bool,
    /// A shard is released after its last epoch is committed.
    pub(crate) drains: bool,
    /// The watermark does not advance while messages are replayed.
    pub(crate) holds_watermark_in_replay: bool,
    /// Blank metadata is not sent, and the broker rejects it.
    pub(crate) rejects_blank_metadata: bool,
    /// A process that lost its session abandons its epoch before it joins again.
    pub(crate) abandons_first: bool,
    /// The committed offset is fetched before the end of the state is noted.
    pub(crate) offset_first: bool,
    /// Not part of the protocol: the process joins again only after that epoch has ended.
    pub(crate) drains_before_rejoin: bool,
    /// Not part of the protocol: all records are acknowledged before the offset is sent.
    pub(crate) records_first: bool,
}

const CORRECT: Protocol = Protocol {
    offsets_in_transaction: true,
    state_in_transaction: true,
    reads_to_noted_end: true,
    waits_for_stable_offset: true,
    checks_generation: true,
    init_fences: true,
    stable_id: true,
    metadata_first: true,
    skips_applied: true,
    commits_lowest_held: true,
    always_sends_offset: true,
    always_restores: true,
    drains: true,
    holds_watermark_in_replay: true,
    rejects_blank_metadata: true,
    abandons_first: true,
    offset_first: true,
    drains_before_rejoin: false,
    records_first: false,
};

impl Protocol {
    /// The stages of committing an epoch, in order.
    pub(crate) fn stages(&self) -> &'static [CommitStage] {
        use CommitStage::{Check, Metadata, Offset, Send};
        match (self.offsets_in_transaction, self.metadata_first) {
            (false, _) => &[Metadata, Check, Offset, Send],
            (true, true) => &[Metadata, Check, Send],
            (true, false) => &[Check, Metadata, Send],
        }
    }
}

/// Two events of which the second to arrive is applied first; and a third one.
const TWO: Bounds = Bounds { times: &[2, 1], faults: 1, timeouts: true, doubles: true };
const THREE: Bounds = Bounds { times: &[2, 1, 3], ..TWO };

/// Explores and prints the findings.
#[allow(clippy::print_stdout, reason = "the test harness captures it unless --nocapture is passed")]
fn explore_and_print(name: &str, protocol: &Protocol, bounds: &Bounds, ignored: &[Violation]) -> Findings {
    let found = explore(protocol, bounds, ignored);
    println!("{name}: {found}");
    found
}

/// Asserts that there is no violation in at least this many states.
fn assert_safe(name: &str, protocol: &Protocol, bounds: &Bounds, ignored: &[Violation], states: usize) {
    let found = explore_and_print(name, protocol, bounds, ignored);
    assert!(found.violation.is_none(), "{name}: {found}");
    assert!(found.states >= states, "{name}: explored only {} states", found.states);
}

/// Asserts that these violations are found, with traces of these lengths.
fn assert_violations(name: &str, protocol: &Protocol, bounds: &Bounds, expected: &[(Violation, usize)]) {
    let mut ignored = Vec::new();
    for (violation, steps) in expected {
        let found = explore_and_print(name, protocol, bounds, &ignored);
        let (kind, trace) =
            found.violation.as_ref().map_or((None, 0), |(violation, trace)| (Some(*violation), trace.len()));
        assert_eq!((kind, trace), (Some(*violation), *steps), "{name}: {found}");
        ignored.push(*violation);
    }
}

#[test]
fn two_faults_violate_nothing() {
    assert_safe("complete protocol", &CORRECT, &Bounds { faults: 2, ..TWO }, &[], 500_000);
}

#[test]
fn one_fault_with_three_events_violates_nothing() {
    assert_safe("complete protocol", &CORRECT, &THREE, &[], 400_000);
}

/// A restarted process aborts its open transaction. Timeouts are needed only for processes that never return.
#[test]
fn transaction_timeouts_are_not_needed() {
    assert_safe("no timeouts", &CORRECT, &Bounds { timeouts: false, ..TWO }, &[], 20_000);
}

#[test]
fn offsets_outside_the_transaction() {
    let protocol = Protocol { offsets_in_transaction: false, ..CORRECT };
    assert_violations("1 offsets before the transaction", &protocol, &TWO, &[(Violation::Missing, 9)]);
}

#[test]
fn state_outside_the_transaction() {
    let protocol = Protocol { state_in_transaction: false, ..CORRECT };
    assert_violations(
        "2 state outside the transaction",
        &protocol,
        &TWO,
        &[(Violation::Torn, 15), (Violation::Missing, 22)],
    );
}

#[test]
fn state_read_to_the_last_stable_offset() {
    let protocol = Protocol { reads_to_noted_end: false, ..CORRECT };
    assert_violations(
        "3 state read to the last stable offset",
        &protocol,
        &TWO,
        &[(Violation::Torn, 19), (Violation::Duplicated, 28)],
    );
}

#[test]
fn unstable_offsets() {
    let protocol = Protocol { waits_for_stable_offset: false, ..CORRECT };
    assert_violations("4 unstable offsets", &protocol, &TWO, &[(Violation::Torn, 19), (Violation::Duplicated, 27)]);
    let protocol = Protocol { records_first: true, ..protocol };
    assert_violations("4 unstable offsets, records first", &protocol, &TWO, &[(Violation::Torn, 19)]);
    assert_safe("4 unstable offsets, records first, torn state ignored", &protocol, &TWO, &[Violation::Torn], 20_000);
}

#[test]
fn no_generation_check() {
    let protocol = Protocol { checks_generation: false, ..CORRECT };
    assert_violations("5 no generation check", &protocol, &TWO, &[(Violation::Torn, 19), (Violation::Duplicated, 27)]);
}

#[test]
fn no_init_transactions() {
    let protocol = Protocol { init_fences: false, ..CORRECT };
    assert_violations("6a no init_transactions", &protocol, &TWO, &[(Violation::Duplicated, 23)]);
}

/// Correct if the broker aborts the transactions of stopped processes after a timeout; without timeouts the group is
/// stuck.
#[test]
fn new_transactional_id_on_each_start() {
    let protocol = Protocol { stable_id: false, ..CORRECT };
    assert_safe("6b new id", &protocol, &TWO, &[], 30_000);
    assert_violations(
        "6b new id, no timeouts",
        &protocol,
        &Bounds { timeouts: false, ..TWO },
        &[(Violation::Stuck, 9)],
    );
}

#[test]
fn metadata_read_after_the_check() {
    let protocol = Protocol { metadata_first: false, ..CORRECT };
    assert_violations(
        "7a metadata read after the check",
        &protocol,
        &TWO,
        &[(Violation::Torn, 20), (Violation::Duplicated, 30)],
    );
    let protocol = Protocol { drains_before_rejoin: true, ..protocol };
    assert_safe("7a, but the epoch ends before the process joins again", &protocol, &TWO, &[], 20_000);
}

#[test]
fn epochs_abandoned_after_joining_again() {
    let protocol = Protocol { abandons_first: false, ..CORRECT };
    assert_violations(
        "7b epoch abandoned too late",
        &protocol,
        &TWO,
        &[(Violation::Torn, 20), (Violation::Duplicated, 29)],
    );
}

#[test]
fn applied_messages_not_skipped() {
    let protocol = Protocol { skips_applied: false, ..CORRECT };
    assert_violations("8 applied messages not skipped", &protocol, &TWO, &[(Violation::Duplicated, 29)]);
}

#[test]
fn position_committed() {
    let protocol = Protocol { commits_lowest_held: false, ..CORRECT };
    assert_violations("9 position committed", &protocol, &TWO, &[(Violation::Missing, 13)]);
}

#[test]
fn unchanged_offsets_not_sent() {
    let protocol = Protocol { always_sends_offset: false, ..CORRECT };
    assert_violations("10 unchanged offset not sent", &protocol, &TWO, &[(Violation::Duplicated, 25)]);
}

#[test]
fn shard_kept_if_its_offset_is_unchanged() {
    let protocol = Protocol { always_restores: false, ..CORRECT };
    assert_violations(
        "11 shard kept if its offset is unchanged",
        &protocol,
        &Bounds { faults: 2, ..TWO },
        &[(Violation::Duplicated, 33)],
    );
}

#[test]
fn shard_released_too_early() {
    let protocol = Protocol { drains: false, ..CORRECT };
    assert_violations(
        "12 shard released too early",
        &protocol,
        &TWO,
        &[(Violation::Torn, 23), (Violation::Duplicated, 31)],
    );
}

#[test]
fn watermark_advances_in_replay() {
    let protocol = Protocol { holds_watermark_in_replay: false, ..CORRECT };
    assert_violations("13 watermark advances in replay", &protocol, &THREE, &[(Violation::Missing, 39)]);
}

#[test]
fn blank_metadata() {
    let protocol = Protocol { rejects_blank_metadata: false, ..CORRECT };
    assert_violations("14 blank metadata", &protocol, &TWO, &[(Violation::Torn, 20), (Violation::Duplicated, 28)]);
}

#[test]
fn end_noted_before_the_offset_is_fetched() {
    let protocol = Protocol { offset_first: false, ..CORRECT };
    assert_violations(
        "15 end noted before the offset",
        &protocol,
        &TWO,
        &[(Violation::Torn, 19), (Violation::Duplicated, 28)],
    );
}
