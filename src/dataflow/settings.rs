//! Owns the settings of the operators.

use super::live::LiveState;
use crate::codec::EventLimits;
use crate::domain::norms::Norms;
use crate::domain::shard::admission::{AdmissionLimits, ProcessCounts};
use crate::domain::shard::processor::Timing;
use crate::domain::shard::spill::HeldMemory;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

/// Settings shared by all operators of all workers.
#[derive(Clone, Debug)]
pub struct DataflowSettings {
    /// The norms in force.
    pub norms: Arc<Norms>,
    /// The settings of event time.
    pub timing: Timing,
    /// The number of shards: the partition count of the source topics.
    pub shards: u32,
    /// Larger messages are rejected.
    pub max_message_bytes: usize,
    /// The bounds on what one event may contain.
    pub event_limits: EventLimits,
    /// How many tenants, managers and departments may be known.
    pub admission_limits: AdmissionLimits,
    /// How many are known.
    pub known: Arc<ProcessCounts>,
    /// The memory for held events.
    pub held_memory: Arc<HeldMemory>,
    /// The size of the output of an epoch, in bytes, beyond which watermarks stop; `usize::MAX`: unbounded.
    pub max_output: usize,
    /// Whether rows are emitted whenever a window slides, or only at the end.
    pub rows_at_boundaries: bool,
    /// The state that is visible outside the graph.
    pub live_state: Arc<LiveState>,
    /// The latest event time accepted so far, in milliseconds.
    pub latest: Arc<AtomicI64>,
    /// The earliest event time accepted so far, in milliseconds.
    pub earliest: Arc<AtomicI64>,
}

impl DataflowSettings {
    /// One shard, messages of up to 256 KiB, rows at the end, and a new live state.
    pub fn new(norms: Arc<Norms>, timing: Timing) -> Self {
        Self {
            norms,
            timing,
            shards: 1,
            max_message_bytes: 256 << 10,
            event_limits: EventLimits::default(),
            admission_limits: AdmissionLimits::default(),
            known: Arc::default(),
            held_memory: Arc::default(),
            max_output: usize::MAX,
            rows_at_boundaries: false,
            live_state: Arc::default(),
            latest: Arc::new(AtomicI64::new(i64::MIN)),
            earliest: Arc::new(AtomicI64::new(i64::MAX)),
        }
    }
}
