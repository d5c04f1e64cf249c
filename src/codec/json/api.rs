//! Owns the JSON that `/api/v1` wraps around rows and alerts, and what it says when it has none.

use super::output::{encode_alert, encode_row};
use super::write::object;
use crate::domain::alert::Alert;
use crate::domain::id::TenantId;
use crate::domain::row::Row;
use crate::domain::time::Timestamp;

/// Writes why a question is not answered.
pub fn encode_error(why: &str, out: &mut Vec<u8>) {
    object(out, |object| object.text("error", why));
}

/// Writes tenants with their shards, and up to which event time they are known.
pub fn encode_tenants(tenants: &[(TenantId, u32, Timestamp)], out: &mut Vec<u8>) {
    object(out, |answer| {
        answer.list("tenants", tenants, |out, (tenant, shard, at)| {
            object(out, |tenant_of| {
                tenant_of.text("tenant_id", tenant.as_str());
                tenant_of.bare("shard", shard);
                tenant_of.maybe_time("at", Some(*at).filter(|at| *at > Timestamp::MIN));
            });
        });
    });
}

/// Writes metric rows of a tenant.
pub fn encode_rows(tenant: &TenantId, rows: &[&Row], out: &mut Vec<u8>) {
    object(out, |answer| {
        answer.text("tenant_id", tenant.as_str());
        answer.list("rows", rows, |out, row| encode_row(row, out));
    });
}

/// Writes alerts of a tenant, each with its message.
pub fn encode_alerts(tenant: &TenantId, alerts: &[(&Alert, String)], out: &mut Vec<u8>) {
    object(out, |answer| {
        answer.text("tenant_id", tenant.as_str());
        answer.list("alerts", alerts, |out, (alert, message)| encode_alert(alert, message, out));
    });
}
