//! `source_silent`: no event from a source topic of a tenant for `within`, although another topic had one.

use super::super::alert::{Alert, AlertHeader, AlertOwner};
use super::super::decode::Topic;
use super::super::history::{TenantHistory, UNKNOWN};
use super::super::norms::{Norms, Scope};
use super::super::readings;
use super::{Ending, RunningClock, lifecycle, observe_duration, within};

const RULE: &str = "source_silent";

pub fn judge(history: &TenantHistory, norms: &Norms, until: i64) -> Vec<Alert> {
    let scope = Scope {
        tenant: history.tenant.clone(),
        department: UNKNOWN.to_owned(),
        manager: None,
        pipeline: None,
        source: None,
    };
    let Some(norm) = norms.rule(RULE, &scope) else { return Vec::new() };
    let mut alerts = Vec::new();
    for (topic, name) in [Topic::Crm, Topic::Telephony, Topic::Email].into_iter().zip(readings::TOPICS) {
        // The moments of its events: each starts a clock that the next one ends.
        let own: Vec<usize> = (1..=history.topics.len()).filter(|m| history.topics[m - 1] == topic).collect();
        for (index, last) in own.iter().enumerate() {
            let next = own.get(index + 1).copied();
            // Decision 19: the first later event of another topic.
            let other = (last + 1..=history.topics.len()).find(|m| history.topics[m - 1] != topic);
            let Some(other) = other.filter(|other| next.is_none_or(|next| *other < next)) else { continue };
            let anchor = history.instant_of(*last);
            let ending = |moment| Ending::new(history.instant_of(moment), moment, "recovered");
            let running = RunningClock {
                anchor,
                opened: other,
                within: norm.within,
                clock: &norm.clock,
                warn_before: None,
                warns_early: false,
                escalate_after: &norm.escalate_after,
                acts: next.map(ending).into_iter().collect(),
                stop: None,
            };
            let Some((due, steps)) = lifecycle(history, &running, until) else { continue };
            let header = AlertHeader {
                rule: RULE,
                subject: format!("topic:{name}"),
                owner: AlertOwner::Manager(None),
                entity: None,
                interaction: None,
                window: None,
                anchor,
                due: Some(due),
                severity: norm.severity,
            };
            let details = observe_duration(steps, &norm.clock, anchor, 0, "silent_seconds", &within(&norm));
            alerts.push(header.build(history, details));
        }
    }
    alerts
}
