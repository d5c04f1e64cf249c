//! `source_silent`: no event at all from a source topic of a tenant for `within`, though the tenant's others speak.

use super::super::alert::{Alert, Heading, Whose};
use super::super::decode::Topic;
use super::super::history::{UNKNOWN, World};
use super::super::norms::{Norms, Scope};
use super::super::readings;
use super::{Ending, Watch, lasting, life, within};

const RULE: &str = "source_silent";

pub fn judge(world: &World, norms: &Norms, until: i64) -> Vec<Alert> {
    let scope = Scope { tenant: world.tenant.clone(), department: UNKNOWN.to_owned(), pipeline: None, source: None };
    let Some(norm) = norms.rule(RULE, &scope) else { return Vec::new() };
    let mut alerts = Vec::new();
    for (topic, name) in [Topic::Crm, Topic::Telephony, Topic::Email].into_iter().zip(readings::TOPICS) {
        // Moments of its events: each starts a clock that the next one ends.
        let own: Vec<usize> = (1..=world.topics.len()).filter(|m| world.topics[m - 1] == topic).collect();
        for (index, last) in own.iter().enumerate() {
            let next = own.get(index + 1).copied();
            // Decision 19: the first event of another topic since.
            let other = (last + 1..=world.topics.len()).find(|m| world.topics[m - 1] != topic);
            let Some(other) = other.filter(|other| next.is_none_or(|next| *other < next)) else { continue };
            let anchor = world.instant_of(*last);
            let ending = |moment| Ending { date: world.instant_of(moment), moment, resolution: "recovered" };
            let watch = Watch {
                anchor,
                opened: other,
                within: norm.within,
                clock: &norm.clock,
                escalate_after: &norm.escalate_after,
                acts: next.map(ending).into_iter().collect(),
                stop: None,
            };
            let Some((due, steps)) = life(world, &watch, until) else { continue };
            let heading = Heading {
                rule: RULE,
                subject: format!("topic:{name}"),
                whose: Whose::Manager(None),
                entity: None,
                interaction: None,
                window: None,
                anchor,
                due: Some(due),
                severity: norm.severity,
            };
            let told = lasting(steps, &norm.clock, anchor, 0, "silent_seconds", &within(&norm));
            alerts.push(heading.tell(world, told));
        }
    }
    alerts
}
