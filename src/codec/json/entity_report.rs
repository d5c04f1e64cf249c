//! Writes the report on one lead or deal, with its clocks and its history, as JSON. Unknown values are omitted.

use super::output::values;
use super::write::{object, string};
use crate::domain::id::TenantId;
use crate::domain::tenant::entity_report::{ClockState, EntityReport, HistoryEntry};

/// Writes an entity report as one JSON object.
pub fn encode_entity_report(tenant: &TenantId, report: &EntityReport, out: &mut Vec<u8>) {
    object(out, |object| {
        object.text("tenant_id", tenant.as_str());
        object.text("entity", &report.entity.to_string());
        object.plain("at", report.at);
        object.maybe("manager_id", report.manager.as_ref().map(|id| id.as_str()));
        object.maybe("department_id", report.department.as_ref().map(|id| id.as_str()));
        object.maybe("pipeline_id", report.pipeline.as_ref().map(|id| id.as_str()));
        object.maybe("stage_id", report.stage.as_ref().map(|id| id.as_str()));
        object.maybe_time("stage_since", report.stage_since);
        object.maybe_time("created_at", report.created_at);
        object.bare("open", report.closed.is_none() && report.deleted_at.is_none());
        object.maybe("outcome", report.closed.map(|(outcome, _)| outcome.name()));
        object.maybe_time("closed_at", report.closed.map(|(_, at)| at));
        object.maybe_time("deleted_at", report.deleted_at);
        object.maybe("lead_id", report.lead.as_deref());
        object.list("contacts", &report.contacts, |out, contact| string(out, contact));
        object.object("touches", |object| {
            object.bare("n", report.touches.len());
            object.maybe_time("first_at", report.touches.first().copied());
            object.maybe_time("last_at", report.touches.last().copied());
        });
        object.list("clocks", &report.clocks, clock);
        object.list("history", &report.history, history_entry);
    });
}

fn clock(out: &mut Vec<u8>, clock: &ClockState) {
    object(out, |object| {
        object.text("rule", clock.rule.name());
        object.text("subject", &clock.subject);
        object.text("state", clock.status.name());
        object.plain("anchor_at", clock.anchor);
        object.maybe_time("due_at", clock.due);
        object.text("clock", clock.clock.name());
        object.maybe("calendar", clock.calendar.as_deref());
        if let Some(within) = clock.within {
            object.number("within_seconds", within.seconds());
        }
        object.number("counted_seconds", clock.counted.seconds());
        object.maybe_time("stopped_at", clock.stopped_at);
        if let Some(alert) = &clock.alert {
            object.object("alert", |object| {
                object.plain("alert_id", alert.id);
                object.bare("level", alert.level);
                object.text("severity", alert.severity.name());
                object.maybe_time("next_escalation_at", alert.next_escalation);
            });
        }
    });
}

fn history_entry(out: &mut Vec<u8>, entry: &HistoryEntry) {
    object(out, |object| {
        object.plain("at", entry.at);
        object.text("event", entry.kind.name());
        object.maybe("manager_id", entry.manager.as_ref().map(|id| id.as_str()));
        values(object, &entry.details);
    });
}
