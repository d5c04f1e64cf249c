//! Owns the JSON form of a dossier: one lead or deal with its clocks and its history. What is not known is left out.

use super::output::values;
use super::write::{object, string};
use crate::domain::dossier::{ClockState, Dossier, Happened};
use crate::domain::id::TenantId;

/// Writes a dossier as one JSON object.
pub fn encode_dossier(tenant: &TenantId, dossier: &Dossier, out: &mut Vec<u8>) {
    object(out, |object| {
        object.text("tenant_id", tenant.as_str());
        object.text("entity", &dossier.entity.to_string());
        object.plain("at", dossier.at);
        object.maybe("manager_id", dossier.manager.as_ref().map(|id| id.as_str()));
        object.maybe("department_id", dossier.department.as_ref().map(|id| id.as_str()));
        object.maybe("pipeline_id", dossier.pipeline.as_ref().map(|id| id.as_str()));
        object.maybe("stage_id", dossier.stage.as_ref().map(|id| id.as_str()));
        object.maybe_time("stage_since", dossier.stage_since);
        object.maybe_time("created_at", dossier.created_at);
        object.bare("open", dossier.closed.is_none() && dossier.deleted_at.is_none());
        object.maybe("outcome", dossier.closed.map(|(outcome, _)| outcome.name()));
        object.maybe_time("closed_at", dossier.closed.map(|(_, at)| at));
        object.maybe_time("deleted_at", dossier.deleted_at);
        object.maybe("lead_id", dossier.lead.as_deref());
        object.list("contacts", &dossier.contacts, |out, contact| string(out, contact));
        object.object("touches", |object| {
            object.bare("n", dossier.touches.len());
            object.maybe_time("first_at", dossier.touches.first().copied());
            object.maybe_time("last_at", dossier.touches.last().copied());
        });
        object.list("clocks", &dossier.clocks, clock);
        object.list("history", &dossier.history, happened);
    });
}

fn clock(out: &mut Vec<u8>, clock: &ClockState) {
    object(out, |object| {
        object.text("rule", clock.rule.name());
        object.text("subject", &clock.subject);
        object.text("state", clock.standing.name());
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

fn happened(out: &mut Vec<u8>, event: &Happened) {
    object(out, |object| {
        object.plain("at", event.at);
        object.text("event", event.kind.name());
        object.maybe("manager_id", event.manager.as_ref().map(|id| id.as_str()));
        values(object, &event.details);
    });
}
