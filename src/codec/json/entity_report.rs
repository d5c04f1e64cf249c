//! Owns the JSON form of a dossier: one lead or deal with its clocks and its history. What is not known is left out.

use super::output::values;
use super::write::{object, string};
use crate::domain::entity_report::{ClockState, EntityReport, HistoryEntry};
use crate::domain::id::TenantId;

/// Writes a dossier as one JSON object.
pub fn encode_entity_report(tenant: &TenantId, entity_report: &EntityReport, out: &mut Vec<u8>) {
    object(out, |object| {
        object.text("tenant_id", tenant.as_str());
        object.text("entity", &entity_report.entity.to_string());
        object.plain("at", entity_report.at);
        object.maybe("manager_id", entity_report.manager.as_ref().map(|id| id.as_str()));
        object.maybe("department_id", entity_report.department.as_ref().map(|id| id.as_str()));
        object.maybe("pipeline_id", entity_report.pipeline.as_ref().map(|id| id.as_str()));
        object.maybe("stage_id", entity_report.stage.as_ref().map(|id| id.as_str()));
        object.maybe_time("stage_since", entity_report.stage_since);
        object.maybe_time("created_at", entity_report.created_at);
        object.bare("open", entity_report.closed.is_none() && entity_report.deleted_at.is_none());
        object.maybe("outcome", entity_report.closed.map(|(outcome, _)| outcome.name()));
        object.maybe_time("closed_at", entity_report.closed.map(|(_, at)| at));
        object.maybe_time("deleted_at", entity_report.deleted_at);
        object.maybe("lead_id", entity_report.lead.as_deref());
        object.list("contacts", &entity_report.contacts, |out, contact| string(out, contact));
        object.object("touches", |object| {
            object.bare("n", entity_report.touches.len());
            object.maybe_time("first_at", entity_report.touches.first().copied());
            object.maybe_time("last_at", entity_report.touches.last().copied());
        });
        object.list("clocks", &entity_report.clocks, clock);
        object.list("history", &entity_report.history, happened);
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

fn happened(out: &mut Vec<u8>, event: &HistoryEntry) {
    object(out, |object| {
        object.plain("at", event.at);
        object.text("event", event.kind.name());
        object.maybe("manager_id", event.manager.as_ref().map(|id| id.as_str()));
        values(object, &event.details);
    });
}
