//! stub
use super::epoch::Yield;
use crate::domain::alert::Alert;
use crate::domain::id::TenantId;
use std::sync::Arc;

/// Stub.
#[derive(Debug, Default)]
pub struct View {
    open: std::sync::Mutex<
        std::collections::BTreeMap<(TenantId, crate::domain::time::Timestamp, uuid::Uuid), Arc<Alert>>,
    >,
}

impl View {
    /// Stub.
    pub fn alerts(&self, tenant: &TenantId) -> Vec<Arc<Alert>> {
        super::board::lock(&self.open)
            .iter()
            .filter(|((of, ..), _)| of == tenant)
            .map(|(_, alert)| Arc::clone(alert))
            .collect()
    }

    /// Stub.
    pub fn committed(&self, made: &Yield) {
        use crate::domain::alert::Status;
        let mut open = super::board::lock(&self.open);
        for alert in &made.alerts {
            open.retain(|(_, _, id), _| *id != alert.id);
            if matches!(alert.status, Status::Firing | Status::Escalated) {
                open.insert((alert.tenant.clone(), alert.at, alert.id), Arc::new(alert.clone()));
            }
        }
    }
}
