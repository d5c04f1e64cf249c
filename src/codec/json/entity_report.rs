//! Writes the report on one lead or deal, with its clocks and its history, as JSON. Unknown values are omitted.

use super::output::values;
use super::write::object;
use crate::domain::id::{EntityId, TenantId};
use crate::domain::tenant::entity_report::{ClockState, EntityReport, HistoryEntry};

/// Writes an entity report as one JSON object.
pub fn encode_entity_report(tenant: &TenantId, report: &EntityReport, out: &mut Vec<u8>) {
    object(out, |object| {
        object.field("tenant_id", tenant);
        object.field("entity", &report.entity.to_string());
        object.field("at", &report.at);
        object.field("manager_id", &report.manager);
        object.field("department_id", &report.department);
        object.field("pipeline_id", &report.pipeline);
        object.field("stage_id", &report.stage);
        object.field("stage_since", &report.stage_since);
        object.field("created_at", &report.created_at);
        object.field("open", &(report.closed.is_none() && report.deleted_at.is_none()));
        object.field("outcome", &report.closed.map(|(outcome, _)| outcome.name()));
        object.field("closed_at", &report.closed.map(|(_, at)| at));
        object.field("deleted_at", &report.deleted_at);
        object.field("merged_into", &report.merged_into.as_ref().map(EntityId::to_string));
        let merged = || report.merged.iter().map(EntityId::to_string).collect::<Vec<_>>();
        object.field("merged", &(!report.merged.is_empty()).then(merged));
        object.field("lead_id", &report.lead);
        object.field("contacts", &report.contacts);
        object.object("touches", |object| {
            object.field("n", &report.touches.len());
            object.field("first_at", &report.touches.first().copied());
            object.field("last_at", &report.touches.last().copied());
        });
        object.list("clocks", &report.clocks, clock);
        object.list("history", &report.history, history_entry);
    });
}

fn clock(out: &mut Vec<u8>, clock: &ClockState) {
    object(out, |object| {
        object.field("rule", clock.rule.name());
        object.field("subject", &clock.subject);
        object.field("state", clock.status.name());
        object.field("anchor_at", &clock.anchor);
        object.field("due_at", &clock.due);
        object.field("clock", clock.clock.name());
        object.field("calendar", &clock.calendar);
        object.field("within_seconds", &clock.within);
        object.field("counted_seconds", &clock.counted);
        object.field("stopped_at", &clock.stopped_at);
        if let Some(alert) = &clock.alert {
            object.object("alert", |object| {
                object.field("alert_id", &alert.id);
                object.field("level", &alert.level);
                object.field("severity", alert.severity.name());
                object.field("next_escalation_at", &alert.next_escalation);
            });
        }
    });
}

fn history_entry(out: &mut Vec<u8>, entry: &HistoryEntry) {
    object(out, |object| {
        object.field("at", &entry.at);
        object.field("event", entry.kind.name());
        object.field("manager_id", &entry.manager);
        values(object, &entry.details);
    });
}
