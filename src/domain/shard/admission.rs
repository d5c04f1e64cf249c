//! Decides which events are admitted: bounds how many tenants, managers and departments can become known.
//!
//! An event is admitted when it arrives, not when it is applied. What was rejected is remembered like other refused
//! events, and what was admitted is applied, however many arrive after it: the result does not depend on a later count.
//! After a restart, what the restored events name is known again, so nothing that took effect is lost.

use crate::domain::event::reject::Reason;
use crate::domain::event::{CrmPayload, Event, Payload};
use crate::domain::figures::table::{MAX_CURRENCIES, MAX_STAGES};
use crate::domain::id::{DepartmentId, ManagerId, TenantId};
use crate::domain::mem::seeded::{SeededMap, SeededSet};
use crate::domain::named::named_enum;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// How many tenants, managers and departments may be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Tenants of a process.
    pub tenants: usize,
    /// Managers of a process.
    pub managers: usize,
    /// Departments of a process.
    pub departments: usize,
    /// Managers of a tenant.
    pub tenant_managers: usize,
    /// Departments of a tenant.
    pub tenant_departments: usize,
    /// The tenants whose events are accepted; `None`: all.
    pub accepted: Option<Arc<BTreeSet<TenantId>>>,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self {
            tenants: 10_000,
            managers: 100_000,
            departments: 20_000,
            tenant_managers: 10_000,
            tenant_departments: 1000,
            accepted: None,
        }
    }
}

named_enum! {
    /// What is limited.
    pub enum Limited, named "in labels" {
        /// The tenants of the process.
        Tenants = "tenants",
        /// The managers of the process.
        Managers = "managers",
        /// The departments of the process.
        Departments = "departments",
        /// The managers of the tenant with the most.
        TenantManagers = "tenant_managers",
        /// The departments of the tenant with the most.
        TenantDepartments = "tenant_departments",
        /// The stages of the tenant with the most; beyond the limit, figures are summed up.
        TenantStages = "tenant_stages",
        /// The currencies of the tenant with the most, likewise.
        TenantCurrencies = "tenant_currencies",
        /// The held events of the tenant with the most, in bytes; beyond the limit, the watermark passes the oldest.
        TenantHeld = "tenant_held",
    }
}

/// How much of each limit is used, as a ratio.
pub type LimitsUsed = [f64; Limited::ALL.len()];

/// The numbers of known tenants, managers and departments in all shards of a process.
#[derive(Debug, Default)]
pub struct ProcessCounts([AtomicUsize; 3]);

impl ProcessCounts {
    /// Adds one to the counters that `wanted` names, unless one of them is at its limit.
    fn reserve(&self, wanted: [bool; 3], limits: [usize; 3]) -> bool {
        let below = |limit| move |n: usize| (n < limit).then_some(n + 1);
        for (index, counter) in self.0.iter().enumerate() {
            if wanted[index] && counter.fetch_update(Relaxed, Relaxed, below(limits[index])).is_err() {
                let taken = self.0.iter().zip(wanted).take(index).filter(|(_, wanted)| *wanted);
                taken.for_each(|(counter, _)| _ = counter.fetch_sub(1, Relaxed));
                return false;
            }
        }
        true
    }

    fn add(&self, numbers: [usize; 3]) {
        self.0.iter().zip(numbers).for_each(|(counter, n)| _ = counter.fetch_add(n, Relaxed));
    }

    fn subtract(&self, numbers: [usize; 3]) {
        self.0.iter().zip(numbers).for_each(|(counter, n)| _ = counter.fetch_sub(n, Relaxed));
    }
}

/// What is known in one shard.
#[derive(Debug, Default)]
pub(super) struct Admission {
    limits: AdmissionLimits,
    process: Arc<ProcessCounts>,
    tenants: SeededMap<TenantId, Known>,
    /// The numbers of tenants, managers and departments.
    numbers: [usize; 3],
    /// The numbers of the tenants with the most managers, departments, stages and currencies.
    most: [usize; 4],
}

#[derive(Debug, Default)]
struct Known {
    managers: SeededSet<ManagerId>,
    departments: SeededSet<DepartmentId>,
}

impl Admission {
    /// Counts together with the other shards of a process.
    pub(super) fn share(&mut self, limits: AdmissionLimits, process: Arc<ProcessCounts>) {
        process.add(self.numbers);
        self.process.subtract(self.numbers);
        (self.limits, self.process) = (limits, process);
    }

    /// Adds a restored tenant; the limits do not apply.
    pub(super) fn add(
        &mut self,
        tenant: &TenantId,
        managers: impl Iterator<Item = ManagerId>,
        departments: impl Iterator<Item = DepartmentId>,
    ) {
        let known = Known { managers: managers.collect(), departments: departments.collect() };
        let numbers = [1, known.managers.len(), known.departments.len()];
        self.tenants.insert(tenant.clone(), known);
        self.process.add(numbers);
        self.count(numbers, [numbers[1], numbers[2]]);
    }

    /// Removes a tenant that was forgotten.
    pub(super) fn remove(&mut self, tenant: &TenantId) {
        let Some(known) = self.tenants.remove(tenant) else { return };
        let numbers = [1, known.managers.len(), known.departments.len()];
        self.process.subtract(numbers);
        self.numbers.iter_mut().zip(numbers).for_each(|(number, n)| *number -= n);
        if self.most[..2].iter().zip(&numbers[1..]).any(|(most, n)| most == n) {
            let most = |of: fn(&Known) -> usize| self.tenants.values().map(of).max().unwrap_or_default();
            (self.most[0], self.most[1]) = (most(|known| known.managers.len()), most(|known| known.departments.len()));
        }
    }

    /// Adds what an admitted event names; the limits do not apply.
    pub(super) fn add_event(&mut self, event: &Event) {
        let known = self.tenants.entry(event.tenant.clone()).or_default();
        let manager = named_manager(&event.payload).is_some_and(|id| known.managers.insert(id.clone()));
        let department = named_department(&event.payload).is_some_and(|id| known.departments.insert(id.clone()));
        let of_tenant = [known.managers.len(), known.departments.len()];
        let numbers = [0, usize::from(manager), usize::from(department)];
        self.process.add(numbers);
        self.count(numbers, of_tenant);
    }

    /// Admits a tenant, or says why not.
    pub(super) fn admit_tenant(&mut self, tenant: &TenantId) -> Result<(), Reason> {
        self.admit_named(tenant, None, None)
    }

    /// Admits an event, or says why not.
    pub(super) fn admit(&mut self, event: &Event) -> Result<(), Reason> {
        self.admit_named(&event.tenant, named_manager(&event.payload), named_department(&event.payload))
    }

    fn admit_named(
        &mut self,
        tenant: &TenantId,
        manager: Option<&ManagerId>,
        department: Option<&DepartmentId>,
    ) -> Result<(), Reason> {
        if self.limits.accepted.as_ref().is_some_and(|accepted| !accepted.contains(tenant)) {
            return Err(Reason::UnknownTenant);
        }
        let known = self.tenants.get(tenant);
        let is_new = |manager: &&ManagerId| known.is_none_or(|known| !known.managers.contains(*manager));
        let manager = manager.filter(is_new);
        let is_new = |department: &&DepartmentId| known.is_none_or(|known| !known.departments.contains(*department));
        let department = department.filter(is_new);
        if known.is_some() && manager.is_none() && department.is_none() {
            return Ok(());
        }
        let numbers = known.map_or([0, 0], |known| [known.managers.len(), known.departments.len()]);
        let wanted = [known.is_none(), manager.is_some(), department.is_some()];
        let AdmissionLimits { tenants, managers, departments, tenant_managers, tenant_departments, .. } = self.limits;
        if wanted[1] && numbers[0] >= tenant_managers
            || wanted[2] && numbers[1] >= tenant_departments
            || !self.process.reserve(wanted, [tenants, managers, departments])
        {
            return Err(Reason::OverLimit);
        }
        let (manager, department) = (manager.cloned(), department.cloned());
        let known = self.tenants.entry(tenant.clone()).or_default();
        known.managers.extend(manager);
        known.departments.extend(department);
        let of_tenant = [known.managers.len(), known.departments.len()];
        self.count(wanted.map(usize::from), of_tenant);
        Ok(())
    }

    fn count(&mut self, added: [usize; 3], of_tenant: [usize; 2]) {
        self.numbers.iter_mut().zip(added).for_each(|(number, n)| *number += n);
        self.most.iter_mut().zip(of_tenant).for_each(|(most, n)| *most = n.max(*most));
    }

    /// A tenant has used so many stages and currencies. They are not limited, because rules judge every stage.
    pub(super) fn names_used(&mut self, of_tenant: [usize; 2]) {
        self.most[2..].iter_mut().zip(of_tenant).for_each(|(most, n)| *most = n.max(*most));
    }

    /// How much of each limit is used, in the order of [`Limited`]; 0 for held events, which others know.
    pub(super) fn used(&self) -> LimitsUsed {
        let AdmissionLimits { tenants, managers, departments, tenant_managers, tenant_departments, .. } = self.limits;
        let [a, b, c] = self.process.0.each_ref().map(|counter| counter.load(Relaxed));
        let [d, e, f, g] = self.most;
        let used = [
            (a, tenants),
            (b, managers),
            (c, departments),
            (d, tenant_managers),
            (e, tenant_departments),
            (f, MAX_STAGES),
            (g, MAX_CURRENCIES),
        ];
        let [a, b, c, d, e, f, g] = used.map(|(n, limit)| n as f64 / limit.max(1) as f64);
        [a, b, c, d, e, f, g, 0.0]
    }
}

/// What the shard knew no longer counts in its process.
impl Drop for Admission {
    fn drop(&mut self) {
        self.process.subtract(self.numbers);
    }
}

/// The manager that an event makes known.
fn named_manager(payload: &Payload) -> Option<&ManagerId> {
    payload.manager().or(match payload {
        Payload::Crm(payload) => match &**payload {
            CrmPayload::InteractionReviewed { manager, .. }
            | CrmPayload::AlertTaken { manager, .. }
            | CrmPayload::ManagerUpserted { manager, .. } => Some(manager),
            _ => None,
        },
        Payload::Call(_) | Payload::Message(_) => None,
    })
}

/// The department that an event makes known.
fn named_department(payload: &Payload) -> Option<&DepartmentId> {
    let Payload::Crm(payload) = payload else { return None };
    match &**payload {
        CrmPayload::ManagerUpserted { department, .. } => department.as_ref().filter(|id| !id.as_str().is_empty()),
        CrmPayload::DepartmentUpserted { department, .. } => Some(department),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    const LIMITS: AdmissionLimits = AdmissionLimits {
        tenants: 3,
        managers: 4,
        departments: 3,
        tenant_managers: 2,
        tenant_departments: 2,
        accepted: None,
    };

    fn event(tenant: &str, manager: &str, department: &str) -> Event {
        let payload = CrmPayload::ManagerUpserted {
            manager: manager.into(),
            department: Some(department.into()),
            grade: None,
            active: true,
            name: None,
        };
        Event { tenant: tenant.into(), at: Timestamp(0), id: None, payload: Payload::Crm(Box::new(payload)) }
    }

    #[test]
    fn each_bound_rejects_what_is_new_and_nothing_else() {
        let process = Arc::new(ProcessCounts::default());
        let mut shards = [Admission::default(), Admission::default()];
        shards.iter_mut().for_each(|shard| shard.share(LIMITS, Arc::clone(&process)));
        let [one, other] = &mut shards;
        let over = Err(Reason::OverLimit);
        assert_eq!(one.admit(&event("a", "m1", "d1")), Ok(()));
        assert_eq!(one.admit(&event("a", "m2", "d2")), Ok(()));
        assert_eq!(one.admit(&event("a", "m3", "d1")), over, "the managers of a tenant");
        assert_eq!(one.admit(&event("a", "m1", "d3")), over, "the departments of a tenant");
        assert_eq!(one.admit(&event("a", "m2", "d1")), Ok(()));
        assert_eq!(other.admit(&event("b", "m1", "d1")), Ok(()), "another tenant");
        assert_eq!(other.admit(&event("b", "m2", "d2")), over, "the departments of a process");
        assert_eq!(other.admit(&event("b", "m2", "")), Ok(()), "the manager was not counted");
        assert_eq!(one.admit(&event("c", "m1", "")), over, "the managers of a process");
        one.names_used([256, 1]);
        one.names_used([1, 32]);
        assert_eq!(one.used(), [2.0 / 3.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.0]);
        drop(shards);
        assert_eq!(process.0.each_ref().map(|counter| counter.load(Relaxed)), [0; 3]);
    }

    #[test]
    fn a_restored_tenant_is_known() {
        let process = Arc::new(ProcessCounts::default());
        let mut shard = Admission::default();
        shard.add(&"a".into(), ["m1", "m2", "m3"].map(ManagerId::from).into_iter(), [].into_iter());
        shard.share(LIMITS, process);
        assert_eq!(shard.admit(&event("a", "m3", "")), Ok(()), "beyond the limit, but known");
        assert_eq!(shard.admit(&event("a", "m4", "")), Err(Reason::OverLimit));
    }

    #[test]
    fn a_forgotten_tenant_makes_room() {
        let process = Arc::new(ProcessCounts::default());
        let mut shard = Admission::default();
        shard.share(AdmissionLimits { tenants: 2, ..LIMITS }, Arc::clone(&process));
        assert_eq!(shard.admit(&event("a", "m1", "d1")), Ok(()));
        assert_eq!(shard.admit(&event("b", "m1", "")), Ok(()));
        assert_eq!(shard.admit(&event("b", "m2", "")), Ok(()));
        assert_eq!(shard.admit(&event("c", "m1", "")), Err(Reason::OverLimit));
        shard.remove(&"b".into());
        assert_eq!(shard.used()[..5], [0.5, 0.25, 1.0 / 3.0, 0.5, 0.5]);
        assert_eq!(shard.admit(&event("c", "m1", "")), Ok(()));
        shard.add_event(&event("c", "m3", "d3"));
        shard.add_event(&event("c", "m3", "d3"));
        assert_eq!(process.0.each_ref().map(|counter| counter.load(Relaxed)), [2, 3, 2]);
    }

    #[test]
    fn only_accepted_tenants_are_admitted() {
        let accepted = Some(Arc::new(BTreeSet::from(["a".into()])));
        let mut shard = Admission::default();
        shard.share(AdmissionLimits { accepted, ..LIMITS }, Arc::default());
        assert_eq!(shard.admit(&event("a", "m", "")), Ok(()));
        assert_eq!(shard.admit(&event("b", "m", "")), Err(Reason::UnknownTenant));
    }
}
