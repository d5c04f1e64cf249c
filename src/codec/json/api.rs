//! Writes the JSON responses of `/api/v1`: tenants, metric rows, alerts and errors.

use super::output::encode_open_alert;
use super::row::encode_row;
use super::write::object;
use crate::domain::alert::{Alert, AlertTaken};
use crate::domain::figures::row::Row;
use crate::domain::id::TenantId;
use crate::domain::source::ShardId;
use crate::domain::time::Timestamp;

/// Writes an error response.
pub fn encode_error(message: &str, out: &mut Vec<u8>) {
    object(out, |object| object.field("error", message));
}

/// Writes tenants, each with its shard, its watermark, and whether there is a back-fill.
pub fn encode_tenants(tenants: &[(TenantId, ShardId, Timestamp, bool)], out: &mut Vec<u8>) {
    object(out, |response| {
        response.list("tenants", tenants, |out, (tenant, shard, at, is_backfilling)| {
            object(out, |entry| {
                entry.field("tenant_id", tenant);
                entry.field("shard", &shard.0);
                entry.field("at", &Some(*at).filter(|at| *at > Timestamp::MIN));
                entry.field("backfill", &is_backfilling.then_some(true));
            });
        });
    });
}

/// Writes the metric rows of a tenant.
pub fn encode_rows(tenant: &TenantId, rows: &[&Row], out: &mut Vec<u8>) {
    object(out, |object| {
        object.field("tenant_id", tenant);
        object.list("rows", rows, |out, row| encode_row(row, out));
    });
}

/// Writes the open alerts of a tenant, each with who takes care of it and its message.
pub fn encode_alerts(tenant: &TenantId, alerts: &[(&Alert, Option<&AlertTaken>, String)], out: &mut Vec<u8>) {
    object(out, |object| {
        object.field("tenant_id", tenant);
        object.list("alerts", alerts, |out, (alert, taken, message)| encode_open_alert(alert, *taken, message, out));
    });
}
