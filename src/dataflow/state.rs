//! Owns the way of a shard to the state topic and back: what is written of an epoch, and how the shard is rebuilt.

pub mod inspect;
pub mod reset;

use super::live_state::{ReviewCounts, TenantFigures};
use super::open_alerts::OpenAlerts;
use crate::codec::protobuf;
use crate::codec::state::{
    self, PACKING, Records, ShardRecord, StateDigest, StateFlaw, StateKey, StateRecord, TenantRecord,
};
use crate::domain::alert::Alert;
use crate::domain::changelog::{AppliedEvent, SourceOffset, TenantMark};
use crate::domain::effect::Effect;
use crate::domain::id::TenantId;
use crate::domain::norms::Norms;
use crate::domain::scoreboard::{Scoreboard, WindowViolation, WindowViolationKey};
use crate::domain::shard_processor::{Effects, ShardProcessor, Source, SourceProgress, Timing};
use crate::domain::tenant::Tenant;
use crate::domain::time::Timestamp;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Norms that this process judges by, with their id.
type NormsWithId = (Arc<Norms>, String);

/// A shard on its worker: its floor, and what is known of its records.
#[derive(Debug)]
pub(super) struct ShardState {
    pub(super) processor: ShardProcessor,
    digest: StateDigest,
    norms: Vec<NormsWithId>,
}

/// A shard that was rebuilt from its records.
#[derive(Debug)]
pub struct RestoredShard {
    /// Which.
    pub shard: u32,
    processor: ShardProcessor,
    digest: StateDigest,
    norms: Vec<NormsWithId>,
    /// The figures of its tenants.
    pub(super) boards: Vec<(TenantId, TenantFigures)>,
    /// The alerts that are open in it, as they were told last.
    pub(super) open: Vec<Alert>,
}

impl ShardState {
    /// A shard of which nothing is known.
    pub(super) fn new(norms: &Arc<Norms>, timing: Timing) -> Self {
        let processor = ShardProcessor::new(Arc::clone(norms), timing, PACKING);
        Self { processor, digest: StateDigest::default(), norms: Vec::new() }
    }

    /// How many applied events it would be restored from.
    pub(super) fn entries(&self) -> u64 {
        self.digest.applied
    }

    /// Writes what of a tenant has changed.
    pub(super) fn write(&mut self, effects: &Effects, records: &mut Records) {
        let Effects { tenant, changelog, .. } = effects;
        for (order, id, packed) in changelog.kept() {
            self.digest.add(records.applied(tenant, order, id, packed));
        }
        for source in &changelog.gone {
            self.digest.remove(records.gone(tenant, *source));
        }
        if let Some(TenantMark { first_event, last_event, norm_versions }) =
            self.processor.mark_of(tenant).filter(|_| changelog.marked)
        {
            let norm_versions =
                norm_versions.into_iter().map(|(since, norms)| (since, self.id_of(&norms, records))).collect();
            records.tenant(tenant, &TenantRecord { first_event, last_event, norm_versions });
        }
    }

    /// Writes where the shard stands.
    pub(super) fn checkpoint(
        &mut self,
        progress: &[SourceProgress],
        lowest: &BTreeMap<Source, i64>,
        written: Timestamp,
    ) -> Records {
        let mut records = Records::default();
        records.shard(&ShardRecord {
            checkpoint: self.processor.checkpoint(progress, lowest),
            digest: self.digest,
            written,
        });
        records
    }

    fn id_of(&mut self, norms: &Arc<Norms>, records: &mut Records) -> String {
        if let Some((_, id)) = self.norms.iter().find(|(known, _)| Arc::ptr_eq(known, norms)) {
            return id.clone();
        }
        let bytes = protobuf::encode_norms(norms);
        let id = state::norms_id(&bytes);
        records.norms(&id, &bytes);
        self.norms.push((Arc::clone(norms), id.clone()));
        id
    }
}

/// A shard cannot be rebuilt.
#[derive(Debug, PartialEq, Eq)]
pub enum RebuildError {
    /// The record of a key is of no use.
    StateRecord(String, StateFlaw),
    /// Records are missing: what there should be, and what was found.
    Incomplete(StateDigest, StateDigest),
    /// A record that another one speaks of is missing.
    Missing(String),
    /// A tenant belongs to another shard: to this one.
    Misplaced(TenantId, u32),
}

impl RebuildError {
    /// The record of this key is of no use.
    fn of(key: &[u8], flaw: StateFlaw) -> Self {
        Self::StateRecord(String::from_utf8_lossy(key).into_owned(), flaw)
    }

    /// The bytes of this event are whole, and this program makes nothing of them.
    fn unreadable(tenant: &TenantId, source: SourceOffset) -> Self {
        Self::of(Records::default().gone(tenant, source), StateFlaw::Unknown("a payload"))
    }
}

impl std::fmt::Display for RebuildError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::StateRecord(key, flaw) => {
                let kind = StateKey::read(key.as_bytes()).map_or("unknown", |key| key.kind());
                write!(f, "{kind} record {key:?}: {flaw}")
            }
            Self::Incomplete(wanted, found) if wanted.applied != found.applied => {
                write!(f, "{} of {} applied events are there", found.applied, wanted.applied)
            }
            Self::Incomplete(..) => write!(f, "the applied events are not those that were written"),
            Self::Missing(what) => write!(f, "there is no record of {what}"),
            Self::Misplaced(tenant, shard) => write!(f, "tenant {tenant} belongs to shard {shard}"),
        }
    }
}

impl std::error::Error for RebuildError {}

/// What is needed to rebuild beside the records.
#[derive(Clone, Debug)]
pub struct RestoreContext {
    /// The norms in force now.
    pub norms: Arc<Norms>,
    /// How event time is kept.
    pub timing: Timing,
}

/// Gathers the records of one shard, in the order of its partition; the last one of a key counts.
#[derive(Debug, Default)]
pub struct StateLoader {
    events: FxHashMap<TenantId, FxHashMap<SourceOffset, AppliedEvent>>,
    tenants: BTreeMap<TenantId, TenantRecord>,
    violations: BTreeMap<TenantId, BTreeMap<WindowViolationKey, WindowViolation>>,
    /// Which violation a key is of.
    violation_keys: FxHashMap<Vec<u8>, (TenantId, WindowViolationKey)>,
    norms: BTreeMap<String, Vec<u8>>,
    shard: Option<ShardRecord>,
    /// Records that are of no use, by their keys. One that another replaced is none of them.
    flaws: BTreeMap<Vec<u8>, StateFlaw>,
    /// Of all applied events that there are, damaged ones among them.
    digest: StateDigest,
    records: u64,
    settled: bool,
}

impl StateLoader {
    /// How many records were taken in, those that others replaced among them.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Where the shard stands, if there is any state of it.
    pub fn shard(&self) -> Option<&ShardRecord> {
        self.shard.as_ref()
    }

    /// Whether the last record said where the shard stands, as the last one of each transaction does; or there is none.
    pub fn is_settled(&self) -> bool {
        self.settled || self.records == 0
    }

    /// Takes a record in; one without value is a tombstone. What is wrong with it is told by [`Self::verify`], for another
    /// one of its key may yet come.
    pub fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.records += 1;
        self.settled = key == state::SHARD;
        if !self.flaws.is_empty() && self.flaws.remove(key).is_some() && state::source(key).is_some() {
            self.digest.remove(key);
        }
        let record = match value.map(|value| state::decode(key, value)) {
            None => return self.bury(key),
            Some(Err(flaw)) => {
                // What it took the place of is gone.
                self.bury(key);
                if state::source(key).is_some() {
                    self.digest.add(key);
                }
                self.flaws.insert(key.to_vec(), flaw);
                return;
            }
            Some(Ok(record)) => record,
        };
        match record {
            StateRecord::Applied(tenant, kept) => {
                let source = (kept.order.source, kept.order.offset);
                if self.events.entry(tenant).or_default().insert(source, kept).is_none() {
                    self.digest.add(key);
                }
            }
            StateRecord::Shard(shard) => self.shard = Some(shard),
            StateRecord::Tenant(tenant, state) => drop(self.tenants.insert(tenant, state)),
            StateRecord::Violation(tenant, of, violation) => {
                self.violation_keys.insert(key.to_vec(), (tenant.clone(), of.clone()));
                self.violations.entry(tenant).or_default().insert(of, violation);
            }
            StateRecord::Norms(norms) => drop(self.norms.insert(state::norms_id(&norms), norms)),
        }
    }

    fn bury(&mut self, key: &[u8]) {
        match StateKey::read(key) {
            Some(StateKey::Event(tenant, source)) => {
                let events = self.events.get_mut(&tenant);
                if events.and_then(|events| events.remove(&source)).is_some() {
                    self.digest.remove(key);
                }
            }
            Some(StateKey::Violation(tenant)) => {
                if let Some((_, key)) = self.violation_keys.remove(key) {
                    self.violations.entry(tenant).or_default().remove(&key);
                }
            }
            Some(StateKey::Tenant(tenant)) => drop(self.tenants.remove(&tenant)),
            Some(StateKey::Norms(id)) => drop(self.norms.remove(&id)),
            Some(StateKey::Shard) => self.shard = None,
            None => {}
        }
    }

    /// Whether everything is there; `None`: there is no state.
    pub fn verify(&self) -> Result<Option<&ShardRecord>, RebuildError> {
        if let Some(flaw) = self.flaws().next() {
            return Err(flaw);
        }
        let wanted = self.shard.as_ref().map(|shard| shard.digest).unwrap_or_default();
        // Where promises are broken on purpose, the fault suite is to notice, and not the count.
        if wanted != self.digest && !cfg!(feature = "fault_injection") {
            return Err(RebuildError::Incomplete(wanted, self.digest));
        }
        Ok(self.shard.as_ref())
    }

    /// The records that are of no use.
    fn flaws(&self) -> impl Iterator<Item = RebuildError> {
        self.flaws.iter().map(|(key, flaw)| RebuildError::of(key, *flaw))
    }

    /// Rebuilds the shard; `None`: there is no state of it.
    pub fn restore(mut self, shard: u32, plan: &RestoreContext) -> Result<Option<RestoredShard>, RebuildError> {
        self.verify()?;
        let Some(ShardRecord { checkpoint, .. }) = self.shard.take() else { return Ok(None) };
        let mut norms = Vec::new();
        let watermark = checkpoint.watermark;
        let (mut tenants, mut boards, mut open) = (Vec::new(), Vec::new(), Vec::new());
        for (id, state) in std::mem::take(&mut self.tenants) {
            let mut norm_versions = Vec::with_capacity(state.norm_versions.len());
            for (since, name) in state.norm_versions {
                norm_versions.push((since, self.norms_of(&name, plan, &mut norms)?));
            }
            let Some((_, first)) = norm_versions.first() else {
                return Err(RebuildError::Missing(format!("norms of {id}")));
            };
            let mut board = Scoreboard::new(id.clone(), Arc::clone(first));
            let mut reviews = BTreeMap::<_, ReviewCounts>::new();
            let mut kept: Vec<AppliedEvent> = self.events.remove(&id).unwrap_or_default().into_values().collect();
            kept.sort_unstable_by_key(|kept| kept.order);
            let mark = TenantMark {
                first_event: state.first_event,
                last_event: state.last_event,
                norm_versions: norm_versions.clone(),
            };
            let mut effects = Vec::new();
            let mut lasting = OpenAlerts::default();
            let tenant = Tenant::restore(id.clone(), mark, plan.timing.memory, PACKING, kept, watermark, |tenant| {
                tenant.take_effects(&mut effects);
                for effect in effects.drain(..) {
                    match effect {
                        Effect::Review(request) => reviews.entry(request.manager.clone()).or_default().open += 1,
                        Effect::ReviewOver { manager, .. } => reviews.entry(manager).or_default().open -= 1,
                        Effect::Alert(alert) => lasting.take(alert.id, alert.status, || alert),
                        effect => board.recall(effect),
                    }
                }
            });
            let tenant = tenant.map_err(|order| RebuildError::unreadable(&id, (order.source, order.offset)))?;
            for (_, norms) in &norm_versions[1..] {
                board.reload(Arc::clone(norms));
            }
            let violations = self.violations.remove(&id).unwrap_or_default();
            board.resume(watermark, violations, |at| {
                let era = norm_versions.partition_point(|(since, _)| *since < at).saturating_sub(1);
                Arc::clone(&norm_versions[era].1)
            });
            open.extend(lasting.into_values().map(|alert| *alert));
            open.extend(board.open_alerts());
            let figures = TenantFigures { shard, at: watermark, scoreboard: board, reviews };
            boards.push((id, figures));
            tenants.push((tenant, norm_versions.pop().map(|(_, norms)| norms)));
        }
        let last = tenants.iter().find_map(|(_, norms)| norms.clone()).unwrap_or_else(|| Arc::clone(&plan.norms));
        let mut processor = ShardProcessor::restore(last, plan.timing, PACKING, checkpoint);
        tenants.into_iter().for_each(|(tenant, _)| processor.adopt(tenant));
        Ok(Some(RestoredShard { shard, processor, digest: self.digest, norms, boards, open }))
    }

    /// The norms of an id: those in force now, if they are the same.
    fn norms_of(
        &self,
        name: &str,
        plan: &RestoreContext,
        known: &mut Vec<NormsWithId>,
    ) -> Result<Arc<Norms>, RebuildError> {
        if let Some((norms, _)) = known.iter().find(|(_, id)| id == name) {
            return Ok(Arc::clone(norms));
        }
        let missing = || RebuildError::Missing(format!("norms {name}"));
        let bytes = self.norms.get(name).ok_or_else(missing)?;
        let norms = if *bytes == protobuf::encode_norms(&plan.norms) {
            Arc::clone(&plan.norms)
        } else {
            let read = protobuf::decode_norms(bytes, plan.norms.privacy_key.clone());
            Arc::new(read.map_err(|flaw| RebuildError::Missing(format!("norms {name} that can be read: {flaw}")))?)
        };
        known.push((Arc::clone(&norms), name.into()));
        Ok(norms)
    }
}

impl RestoredShard {
    /// Takes it apart: the shard for its worker, the figures of its tenants, and its open alerts.
    pub(super) fn split(self) -> (u32, ShardState, Vec<(TenantId, TenantFigures)>, Vec<Alert>) {
        let Self { shard, processor, digest, norms, boards, open } = self;
        (shard, ShardState { processor, digest, norms }, boards, open)
    }
}

#[cfg(test)]
mod tests;
