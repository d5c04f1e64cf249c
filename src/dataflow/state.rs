//! Owns the durable state of a shard: the records written for an epoch, and restoring the shard from its records.

pub mod inspect;
pub mod reset;

use super::live_state::{ReviewCounts, TenantFigures};
use super::open_alerts::OpenAlerts;
use crate::codec::state::{
    self, PACKING, Records, ShardRecord, StateDigest, StateFlaw, StateKey, StateRecord, TenantRecord,
};
use crate::domain::alert::Alert;
use crate::domain::effect::Effect;
use crate::domain::id::TenantId;
use crate::domain::norms::Norms;
use crate::domain::scoreboard::{Scoreboard, WindowViolation, WindowViolationKey};
use crate::domain::shard::processor::{Effects, ShardProcessor, SourceProgress, Timing};
use crate::domain::tenant::Tenant;
use crate::domain::tenant::changelog::{AppliedEvent, SourceOffset, TenantMark};
use crate::domain::time::Timestamp;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Norms in use by this process, with their record id.
type NormsWithId = (Arc<Norms>, String);

/// A shard on its worker: the processor, and the bookkeeping of its state records.
#[derive(Debug)]
pub(super) struct ShardState {
    pub(super) processor: ShardProcessor,
    digest: StateDigest,
    norms: Vec<NormsWithId>,
}

/// A shard restored from its records.
#[derive(Debug)]
pub struct RestoredShard {
    /// The shard.
    pub shard: u32,
    processor: ShardProcessor,
    digest: StateDigest,
    norms: Vec<NormsWithId>,
    /// The figures of its tenants.
    pub(super) figures: Vec<(TenantId, TenantFigures)>,
    /// Its open alerts, each with its last status.
    pub(super) open: Vec<Alert>,
}

impl ShardState {
    /// An empty shard.
    pub(super) fn new(norms: &Arc<Norms>, timing: Timing) -> Self {
        let processor = ShardProcessor::new(Arc::clone(norms), timing, PACKING);
        Self { processor, digest: StateDigest::default(), norms: Vec::new() }
    }

    /// The number of applied events stored for the shard.
    pub(super) fn entries(&self) -> u64 {
        self.digest.applied
    }

    /// Writes the state changes of a tenant.
    pub(super) fn write(&mut self, effects: &Effects, records: &mut Records) {
        let Effects { tenant, changelog, .. } = effects;
        for (order, id, packed) in changelog.applied() {
            self.digest.add(records.applied(tenant, order, id, packed));
        }
        for source in &changelog.expired {
            self.digest.remove(records.remove_applied(tenant, *source));
        }
        if let Some(TenantMark { first_event, last_event, norm_versions }) =
            self.processor.mark_of(tenant).filter(|_| changelog.mark_changed)
        {
            let norm_versions =
                norm_versions.into_iter().map(|(since, norms)| (since, self.id_of(&norms, records))).collect();
            records.tenant(tenant, &TenantRecord { first_event, last_event, norm_versions });
        }
    }

    /// The shard record at the end of an epoch; `written` is the wall clock of the epoch.
    pub(super) fn checkpoint(&mut self, progress: &[SourceProgress], written: Timestamp) -> ShardRecord {
        ShardRecord { checkpoint: self.processor.checkpoint(progress), digest: self.digest, written }
    }

    fn id_of(&mut self, norms: &Arc<Norms>, records: &mut Records) -> String {
        if let Some((_, id)) = self.norms.iter().find(|(known, _)| Arc::ptr_eq(known, norms)) {
            return id.clone();
        }
        let id = state::norms_id(&norms.document);
        records.norms(&id, &norms.document);
        self.norms.push((Arc::clone(norms), id.clone()));
        id
    }
}

/// Why a shard cannot be restored.
#[derive(Debug, PartialEq, Eq)]
pub enum RebuildError {
    /// The record with this key is unusable.
    BadRecord(String, StateFlaw),
    /// The applied events do not match the digest: expected, found.
    Incomplete(StateDigest, StateDigest),
    /// A record that another record refers to is missing.
    Missing(String),
    /// A tenant belongs to another shard: this one.
    WrongShard(TenantId, u32),
}

impl RebuildError {
    /// The record with this key is unusable.
    fn bad_record(key: &[u8], flaw: StateFlaw) -> Self {
        Self::BadRecord(String::from_utf8_lossy(key).into_owned(), flaw)
    }

    /// The payload of this intact event cannot be decoded by this version.
    fn unreadable(tenant: &TenantId, source: SourceOffset) -> Self {
        Self::bad_record(Records::default().remove_applied(tenant, source), StateFlaw::Unknown("a payload"))
    }
}

impl std::fmt::Display for RebuildError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BadRecord(key, flaw) => {
                let kind = StateKey::read(key.as_bytes()).map_or("unknown", |key| key.kind());
                write!(f, "{kind} record {key:?}: {flaw}")
            }
            Self::Incomplete(expected, found) if expected.applied != found.applied => {
                write!(f, "found {} of {} applied events", found.applied, expected.applied)
            }
            Self::Incomplete(..) => write!(f, "the applied events do not match the state digest"),
            Self::Missing(what) => write!(f, "missing record: {what}"),
            Self::WrongShard(tenant, shard) => write!(f, "tenant {tenant} belongs to shard {shard}"),
        }
    }
}

impl std::error::Error for RebuildError {}

/// What is needed to restore a shard in addition to its records.
#[derive(Clone, Debug)]
pub struct RestoreContext {
    /// The current norms.
    pub norms: Arc<Norms>,
    /// The settings of event time.
    pub timing: Timing,
    /// Reads norms from their document; without the privacy key, which is not in it.
    pub read_norms: fn(&str) -> Result<Norms, String>,
}

/// Collects the records of one shard in partition order; the last record of a key wins.
#[derive(Debug, Default)]
pub struct StateLoader {
    events: FxHashMap<TenantId, FxHashMap<SourceOffset, AppliedEvent>>,
    tenants: BTreeMap<TenantId, TenantRecord>,
    violations: BTreeMap<TenantId, BTreeMap<WindowViolationKey, WindowViolation>>,
    /// The violation of each record key.
    violation_keys: FxHashMap<Vec<u8>, (TenantId, WindowViolationKey)>,
    norms: BTreeMap<String, String>,
    shard: Option<ShardRecord>,
    /// Unusable records by key, except those that were replaced.
    flaws: BTreeMap<Vec<u8>, StateFlaw>,
    /// The digest of all applied events, including damaged ones.
    digest: StateDigest,
    records: u64,
    settled: bool,
}

impl StateLoader {
    /// The number of records read, including replaced ones.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The shard record, if there is one.
    pub fn shard(&self) -> Option<&ShardRecord> {
        self.shard.as_ref()
    }

    /// Whether the last record is the shard record, which ends every transaction, or there are no records.
    pub fn is_settled(&self) -> bool {
        self.settled || self.records == 0
    }

    /// Adds a record; one without a value is a tombstone. A faulty record is reported by [`Self::verify`], because
    /// another record with the same key may still follow.
    pub fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.records += 1;
        self.settled = key == state::SHARD;
        if !self.flaws.is_empty() && self.flaws.remove(key).is_some() && state::source(key).is_some() {
            self.digest.remove(key);
        }
        let record = match value.map(|value| state::decode(key, value)) {
            None => return self.remove(key),
            Some(Err(flaw)) => {
                // It replaces the previous record of its key.
                self.remove(key);
                if state::source(key).is_some() {
                    self.digest.add(key);
                }
                self.flaws.insert(key.to_vec(), flaw);
                return;
            }
            Some(Ok(record)) => record,
        };
        match record {
            StateRecord::Applied(tenant, event) => {
                let source = (event.order.source, event.order.offset);
                if self.events.entry(tenant).or_default().insert(source, event).is_none() {
                    self.digest.add(key);
                }
            }
            StateRecord::Shard(shard) => self.shard = Some(shard),
            StateRecord::Tenant(tenant, state) => drop(self.tenants.insert(tenant, state)),
            StateRecord::Violation(tenant, id, violation) => {
                self.violation_keys.insert(key.to_vec(), (tenant.clone(), id.clone()));
                self.violations.entry(tenant).or_default().insert(id, violation);
            }
            StateRecord::Norms(document) => drop(self.norms.insert(state::norms_id(&document), document)),
        }
    }

    fn remove(&mut self, key: &[u8]) {
        match StateKey::read(key) {
            Some(StateKey::Event(tenant, source)) => {
                let events = self.events.get_mut(&tenant);
                if events.and_then(|events| events.remove(&source)).is_some() {
                    self.digest.remove(key);
                }
            }
            Some(StateKey::Violation(tenant)) => {
                if let Some((_, id)) = self.violation_keys.remove(key) {
                    self.violations.entry(tenant).or_default().remove(&id);
                }
            }
            Some(StateKey::Tenant(tenant)) => drop(self.tenants.remove(&tenant)),
            Some(StateKey::Norms(id)) => drop(self.norms.remove(&id)),
            Some(StateKey::Shard) => self.shard = None,
            None => {}
        }
    }

    /// Checks that the records are complete and usable. Returns the shard record; `None` if there is no state.
    pub fn verify(&self) -> Result<Option<&ShardRecord>, RebuildError> {
        if let Some(flaw) = self.flaws().next() {
            return Err(flaw);
        }
        let expected = self.shard.as_ref().map(|shard| shard.digest).unwrap_or_default();
        // With injected faults the fault suite must detect the loss, not this check.
        if expected != self.digest && !cfg!(feature = "fault_injection") {
            return Err(RebuildError::Incomplete(expected, self.digest));
        }
        Ok(self.shard.as_ref())
    }

    /// The errors of all unusable records.
    fn flaws(&self) -> impl Iterator<Item = RebuildError> {
        self.flaws.iter().map(|(key, flaw)| RebuildError::bad_record(key, *flaw))
    }

    /// Restores the shard; `None` if there is no state.
    pub fn restore(mut self, shard: u32, context: &RestoreContext) -> Result<Option<RestoredShard>, RebuildError> {
        self.verify()?;
        let Some(ShardRecord { checkpoint, .. }) = self.shard.take() else { return Ok(None) };
        let mut norms = Vec::new();
        let watermark = checkpoint.watermark;
        let (mut tenants, mut figures, mut open) = (Vec::new(), Vec::new(), Vec::new());
        for (id, state) in std::mem::take(&mut self.tenants) {
            let mut norm_versions = Vec::with_capacity(state.norm_versions.len());
            for (since, name) in state.norm_versions {
                norm_versions.push((since, self.norms_of(&name, context, &mut norms)?));
            }
            let Some((_, first)) = norm_versions.first() else {
                return Err(RebuildError::Missing(format!("norms of tenant {id}")));
            };
            let mut scoreboard = Scoreboard::new(id.clone(), Arc::clone(first));
            let mut reviews = BTreeMap::<_, ReviewCounts>::new();
            let mut events: Vec<AppliedEvent> = self.events.remove(&id).unwrap_or_default().into_values().collect();
            events.sort_unstable_by_key(|event| event.order);
            let mark = TenantMark {
                first_event: state.first_event,
                last_event: state.last_event,
                norm_versions: norm_versions.clone(),
            };
            let mut effects = Vec::new();
            let mut open_alerts = OpenAlerts::default();
            let tenant =
                Tenant::restore(id.clone(), mark, context.timing.memory, PACKING, events, watermark, |tenant| {
                    tenant.take_effects(&mut effects);
                    for effect in effects.drain(..) {
                        match effect {
                            Effect::Review(request) => reviews.entry(request.manager.clone()).or_default().open += 1,
                            Effect::ReviewOver { manager, .. } => reviews.entry(manager).or_default().open -= 1,
                            Effect::Alert(alert) => open_alerts.apply(alert.id, alert.status, || alert),
                            effect => scoreboard.replay(effect),
                        }
                    }
                });
            let tenant = tenant.map_err(|order| RebuildError::unreadable(&id, (order.source, order.offset)))?;
            for (_, norms) in &norm_versions[1..] {
                scoreboard.reload(Arc::clone(norms));
            }
            let violations = self.violations.remove(&id).unwrap_or_default();
            scoreboard.resume(watermark, violations, |at| {
                let version = norm_versions.partition_point(|(since, _)| *since < at).saturating_sub(1);
                Arc::clone(&norm_versions[version].1)
            });
            open.extend(open_alerts.into_values().map(|alert| *alert));
            open.extend(scoreboard.open_alerts());
            figures.push((id, TenantFigures { shard, at: watermark, scoreboard, reviews }));
            tenants.push((tenant, norm_versions.pop().map(|(_, norms)| norms)));
        }
        let latest = tenants.iter().find_map(|(_, norms)| norms.clone()).unwrap_or_else(|| Arc::clone(&context.norms));
        let mut processor = ShardProcessor::restore(latest, context.timing, PACKING, checkpoint);
        tenants.into_iter().for_each(|(tenant, _)| processor.adopt(tenant));
        Ok(Some(RestoredShard { shard, processor, digest: self.digest, norms, figures, open }))
    }

    /// The norms with this id; the current ones if they are equal.
    fn norms_of(
        &self,
        name: &str,
        context: &RestoreContext,
        known: &mut Vec<NormsWithId>,
    ) -> Result<Arc<Norms>, RebuildError> {
        if let Some((norms, _)) = known.iter().find(|(_, id)| id == name) {
            return Ok(Arc::clone(norms));
        }
        let missing = || RebuildError::Missing(format!("norms {name}"));
        let document = self.norms.get(name).ok_or_else(missing)?;
        let unreadable = |flaw| RebuildError::Missing(format!("norms {name} (unreadable: {flaw})"));
        let norms = (context.read_norms)(document).map_err(unreadable)?;
        let norms = if norms.document == context.norms.document {
            Arc::clone(&context.norms)
        } else {
            Arc::new(Norms { privacy_key: context.norms.privacy_key.clone(), ..norms })
        };
        known.push((Arc::clone(&norms), name.into()));
        Ok(norms)
    }
}

impl RestoredShard {
    /// Splits it into the shard for its worker, the figures of its tenants, and its open alerts.
    pub(super) fn split(self) -> (u32, ShardState, Vec<(TenantId, TenantFigures)>, Vec<Alert>) {
        let Self { shard, processor, digest, norms, figures, open } = self;
        (shard, ShardState { processor, digest, norms }, figures, open)
    }
}

#[cfg(test)]
mod tests;
