//! What waits for an answer: the missed calls and messages of contacts, replayed moment by moment. One clock per contact
//! at a time, from the first that waits; when that one ends, the next waits on its own, with its own anchor, from the
//! moment when this became known.

use std::collections::{BTreeMap, BTreeSet};

use super::super::alert::{Alert, AlertHeader};
use super::super::history::{Attribution, Dismissal, Fact, TenantHistory};
use super::super::norms::Norms;
use super::super::readings;
use super::{Ending, RunningClock, lifecycle, observe_duration, within};

/// A missed call or a message that asks for an answer.
#[derive(Debug)]
pub struct Wait {
    pub contact: String,
    pub anchor: i64,
    /// The moment of the leg or message.
    pub moment: usize,
    /// The index of the leg or message.
    pub source: usize,
    /// The index of the version of the leg that stands for it now.
    pub leg: usize,
    pub interaction: String,
    pub attribution: Attribution,
    /// Everything that would end it, in the order in which it became known.
    pub ends: Vec<Ending>,
    /// The moment when it ended.
    pub ended: Option<usize>,
    /// Another wait of the same call stands for it.
    pub merged: bool,
}

impl Wait {
    pub fn order(&self) -> (i64, usize) {
        (self.anchor, self.moment)
    }

    pub fn is_pending(&self) -> bool {
        self.ended.is_none()
    }
}

/// A dismissal that took effect: it ends what is dated up to `up_to`.
#[derive(Clone, Debug)]
pub struct Dismissed {
    pub contact: String,
    pub at: i64,
    pub moment: usize,
    pub up_to: (i64, usize),
}

/// All waits of one kind.
#[derive(Default)]
pub struct Waits {
    pub waits: Vec<Wait>,
    /// (wait, the moment when it was known to be the first).
    clocks: Vec<(usize, usize)>,
    firsts: BTreeMap<String, usize>,
    by_contact: BTreeMap<String, Vec<usize>>,
    /// The waits that a leg of a `call_id` stands or stood for.
    by_call: BTreeMap<String, BTreeSet<usize>>,
    /// The contacts of missed calls that belong to an entity.
    pub linked: BTreeSet<String>,
    /// The contacts whose first pending wait may have changed at this moment.
    changed: BTreeSet<String>,
    pub dismissed: Vec<Dismissed>,
    /// (moment of the dismissal event, when and for whom it counts).
    pub counted: Vec<(usize, Fact<()>)>,
}

impl Waits {
    pub fn open(&mut self, wait: Wait) -> usize {
        let index = self.waits.len();
        self.by_contact.entry(wait.contact.clone()).or_default().push(index);
        self.changed.insert(wait.contact.clone());
        self.waits.push(wait);
        index
    }

    /// The leg with this index, of the `call_id`, stands for the wait from now on.
    pub fn follow(&mut self, index: usize, leg: usize, call: &str) {
        self.waits[index].leg = leg;
        self.by_call.entry(call.to_owned()).or_default().insert(index);
    }

    /// The waits that legs of a `call_id` stand or stood for.
    pub fn of_call(&self, call: &str) -> impl Iterator<Item = usize> {
        self.by_call.get(call).into_iter().flatten().copied()
    }

    pub fn end(&mut self, index: usize, ending: Ending) {
        let wait = &mut self.waits[index];
        wait.ended.get_or_insert(ending.moment);
        wait.ends.push(ending);
        self.changed.insert(wait.contact.clone());
    }

    pub fn contacts(&self) -> BTreeSet<String> {
        self.by_contact.keys().cloned().collect()
    }

    /// The waits of a contact, in the order in which they opened.
    pub fn of<'a>(&'a self, contact: &str) -> impl Iterator<Item = (usize, &'a Wait)> + use<'a> {
        let all = self.by_contact.get(contact).into_iter().flatten().map(|index| (*index, &self.waits[*index]));
        all.filter(|(_, wait)| !wait.merged)
    }

    /// Whether a dismissal that took effect covers this date.
    pub fn is_dismissed(&self, contact: &str, order: (i64, usize)) -> bool {
        self.dismissed.iter().any(|dismissed| dismissed.contact == contact && order <= dismissed.up_to)
    }

    /// Ends what is pending, dated up to `up_to`.
    pub fn dismiss(&mut self, by: &Dismissal, contact: &str, up_to: (i64, usize), at: i64, moment: usize) {
        let pending = self.of(contact).filter(|(_, wait)| wait.is_pending() && wait.order() <= up_to);
        let pending: Vec<usize> = pending.map(|(index, _)| index).collect();
        self.dismissed.push(Dismissed { contact: contact.to_owned(), at, moment, up_to });
        let Some(first) = pending.iter().min_by_key(|index| self.waits[**index].order()) else { return };
        // "The demand's": of the interaction itself, if it still waited.
        let named = pending.iter().find(|index| self.waits[**index].order() == up_to);
        let named = named.filter(|_| readings::A_DISMISSAL_COUNTS_FOR_THE_DEMAND_THAT_IT_NAMES);
        let who = by.manager.clone().or(self.waits[*named.unwrap_or(first)].attribution.who.clone());
        self.counted.push((by.moment, Fact { date: at, who, value: () }));
        for index in pending {
            self.end(index, Ending::new(at, moment, "dismissed"));
        }
    }

    /// Whether it waited at a date, as known now: an act that becomes known after a closing or a dismissal may precede it.
    pub fn waited_at(&self, index: usize, date: i64) -> bool {
        let later = |end: &Ending| end.date > date && ["closed", "dismissed"].contains(&end.resolution);
        self.waits[index].ends.iter().all(later)
    }

    /// To be called at the end of each moment.
    pub fn start_clocks(&mut self, moment: usize) {
        for contact in std::mem::take(&mut self.changed) {
            let first = self.of(&contact).find(|(_, wait)| wait.is_pending()).map(|(index, _)| index);
            let before = match first {
                Some(first) => self.firsts.insert(contact, first),
                None => self.firsts.remove(&contact),
            };
            self.clocks.extend(first.filter(|first| before != Some(*first)).map(|first| (first, moment)));
        }
    }

    pub fn alerts(&self, history: &TenantHistory, norms: &Norms, rule: &'static str, until: i64) -> Vec<Alert> {
        let alert = |(index, opened): &(usize, usize)| {
            let wait = &self.waits[*index];
            // Decision 7: the norm of the scope where the clock starts.
            let norm = norms.rule(rule, &wait.attribution.scope)?;
            let running = RunningClock {
                anchor: wait.anchor,
                opened: *opened,
                within: norm.within,
                clock: &norm.clock,
                warn_before: norm.warn_before(),
                warns_early: false,
                escalate_after: &norm.escalate_after,
                acts: wait.ends.clone(),
                // Decision 11: alerts of a contact do not end with its entities.
                stop: None,
            };
            let (due, steps) = lifecycle(history, &running, until)?;
            let (attribution, interaction) = (&wait.attribution, &wait.interaction);
            let header = AlertHeader::contact(
                history,
                rule,
                &wait.contact,
                attribution,
                interaction,
                wait.anchor,
                norm.severity,
            );
            let details = observe_duration(steps, &norm.clock, wait.anchor, 0, "lag_seconds", &within(&norm));
            Some(AlertHeader { due: Some(due), ..header }.build(history, details))
        };
        self.clocks.iter().filter_map(alert).collect()
    }
}

/// The dismissals that took something off a list, each once.
pub fn dismissed(calls: &Waits, messages: &Waits) -> Vec<Fact<()>> {
    let mut counted: BTreeMap<usize, Fact<()>> = BTreeMap::new();
    for (event, fact) in calls.counted.iter().chain(&messages.counted) {
        counted.entry(*event).or_insert_with(|| fact.clone());
    }
    counted.into_values().collect()
}
