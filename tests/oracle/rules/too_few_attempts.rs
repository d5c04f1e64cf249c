//! `too_few_attempts`: `within` after creation an open lead has fewer than `attempts` touches and no conversation.

use serde_json::{Value, json};

use super::super::alert::{Alert, AlertHeader};
use super::super::history::{Act, Entity, TenantHistory};
use super::super::identity::Kind;
use super::super::norms::Norms;
use super::first_response_late::stop;
use super::{Ending, RunningClock, Step, lifecycle, seconds};

const RULE: &str = "too_few_attempts";

pub fn judge(history: &TenantHistory, norms: &Norms, until: i64) -> Vec<Alert> {
    let leads = history.entities.values().filter(|entity| entity.id.kind == Kind::Lead);
    leads.filter_map(|lead| alert(history, norms, lead, until)).collect()
}

fn alert(history: &TenantHistory, norms: &Norms, lead: &Entity, until: i64) -> Option<Alert> {
    // The clock of the creation, if there is one (decision 8), in its scope.
    let clock = lead.first_response.as_ref()?;
    let norm = norms.rule(RULE, &clock.scope)?;
    let attempts = norm.number("attempts").unwrap_or(1.0) as usize;
    let running = RunningClock {
        anchor: clock.created_at,
        opened: clock.moment,
        within: norm.within,
        clock: &norm.clock,
        warn_before: norm.warn_before(),
        warns_early: false,
        escalate_after: &norm.escalate_after,
        acts: endings(lead, attempts, clock.moment),
        stop: stop(lead),
    };
    let (due, steps) = lifecycle(history, &running, until)?;
    let observed = |step: &Step| {
        let by_an_act = matches!(step.resolution, Some("responded" | "late_evidence"));
        let known = lead.touches.iter().filter(|touch| touch.stands_at(step.moment));
        let touches = known.filter(|touch| !by_an_act || touch.date <= step.observed_to).count();
        json!({"touches": touches})
    };
    let required: Value =
        json!({"within_seconds": seconds(norm.within), "clock": norm.clock_name, "attempts": attempts});
    let details = steps.into_iter().map(|step| (step, observed(&step), required.clone())).collect();
    let header = AlertHeader::entity(RULE, &lead.id, clock.created_at, norm.severity);
    Some(AlertHeader { due: Some(due), ..header }.build(history, details))
}

/// The date of the `attempts`-th touch or of the first conversation, whichever is earlier: one entry when it became known
/// and one each time it turned out to be earlier.
fn endings(lead: &Entity, attempts: usize, opened: usize) -> Vec<Ending> {
    let mut moments: Vec<usize> = lead.touches.iter().chain(&lead.conversations).map(|act| act.moment).collect();
    moments.sort_unstable();
    moments.dedup();
    let mut endings: Vec<Ending> = Vec::new();
    for moment in moments {
        // What was replaced before the clock was known never ended it.
        let stands = |act: &&Act| act.stands_at(moment) && act.gone.is_none_or(|gone| gone > opened);
        let mut touches: Vec<i64> = lead.touches.iter().filter(stands).map(|a| a.date).collect();
        touches.sort_unstable();
        let enough = touches.get(attempts.max(1) - 1).copied();
        let talked = lead.conversations.iter().filter(stands).map(|a| a.date).min();
        let Some(date) = enough.into_iter().chain(talked).min() else { continue };
        if endings.last().is_none_or(|last| date < last.date) {
            endings.push(Ending::new(date, moment, "responded"));
        }
    }
    endings
}
