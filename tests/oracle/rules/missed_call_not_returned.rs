//! `missed_call_not_returned`: an inbound call without a conversation is not followed by an outbound call to the contact
//! or a conversation with it; and the call-back figures.
//!
//! A call has one wait, from its first missed leg. Its own conversation settles it, whenever that was; another act does
//! if it starts at or after the end of the missed leg. For alerts by what was known then, for figures by what is known
//! at T.

use std::collections::{BTreeMap, BTreeSet};

use super::super::alert::Alert;
use super::super::calls::{Key, Leg};
use super::super::history::TenantHistory;
use super::super::identity::EntityId;
use super::super::norms::Norms;
use super::super::readings;
use super::Ending;
use super::waits::{Wait, Waits};

const RULE: &str = "missed_call_not_returned";

pub fn judge(history: &TenantHistory, norms: &Norms, until: i64) -> Vec<Alert> {
    replay(history, norms).alerts(history, norms, RULE, until)
}

/// An act that may return missed calls, as known at a moment.
struct Act<'a> {
    date: i64,
    /// The moment of its leg or message.
    moment: usize,
    call: Option<Key>,
    conversation: bool,
    text: bool,
    /// Its numbers and the entities that it names, with the moments when each became known.
    contacts: BTreeMap<&'a str, usize>,
    names: BTreeMap<&'a EntityId, usize>,
    /// The call's direction: whether it is a call back, or the customer got through.
    by_staff: bool,
    who: Option<String>,
    /// The calls that its own conversation settles.
    own: BTreeSet<Key>,
}

/// Replays the waits, moment by moment.
pub fn replay(history: &TenantHistory, norms: &Norms) -> Waits {
    let mut waits = Waits::default();
    let mut waiting: Vec<usize> = (0..history.dismissals.len()).collect();
    let (mut next_text, calls) = (0, &history.calls);
    for moment in 1..=history.moments() {
        let changed = history.call_changes.get(&moment);
        if let Some(changed) = changed {
            follow_version(history, &mut waits, moment);
            let keys: BTreeSet<Key> = changed.iter().map(|call| calls.key(call, moment)).collect();
            for key in touched(history, &keys, moment) {
                call_changed(history, norms, &mut waits, &key, moment);
            }
            for act in acts_of(history, &keys, moment) {
                settle(history, norms, &mut waits, &act, moment);
            }
        }
        while let Some(text) = history.sent.get(next_text).filter(|text| text.moment == moment) {
            settle(history, norms, &mut waits, &text_act(text), moment);
            next_text += 1;
        }
        let tried = |index: &usize| {
            let dismissal = &history.dismissals[*index];
            dismissal.moment == moment || dismissal.moment < moment && changed.is_some()
        };
        let trying: Vec<usize> = waiting.iter().copied().filter(tried).collect();
        for index in trying {
            if dismiss(history, &mut waits, index, moment) {
                waiting.retain(|other| *other != index);
            }
        }
        waits.start_clocks(moment);
    }
    waits
}

/// A demand whose leg got another version that is missed too goes on with it; into another call only while it is open.
fn follow_version(history: &TenantHistory, waits: &mut Waits, moment: usize) {
    let legs = &history.calls.legs;
    let Some(new) = history.calls.leg_of_moment(moment).filter(|new| legs[*new].replaces) else { return };
    if legs[new].missed() && legs[new].number.is_some() {
        let goes_on = |wait: &Wait| wait.is_pending() || legs[wait.leg].call == legs[new].call;
        let old = |index: &usize| {
            let wait = &waits.waits[*index];
            legs[wait.leg].gone == Some(moment) && goes_on(wait)
        };
        let old: Vec<usize> = (0..waits.waits.len()).filter(old).collect();
        old.into_iter().for_each(|index| waits.follow(index, new, &legs[new].call));
    }
}

/// The calls that a change of these may affect: also those of the same numbers, which may overlap.
fn touched(history: &TenantHistory, keys: &BTreeSet<Key>, moment: usize) -> BTreeSet<Key> {
    let calls = &history.calls;
    let mut touched = keys.clone();
    let changed = keys.iter().flat_map(|key| calls.calls_of(key, moment)).flat_map(|call| calls.legs_of(call));
    let numbers: BTreeSet<&String> =
        changed.filter(|leg| leg.moment <= moment).filter_map(|leg| leg.number.as_ref()).collect();
    touched.extend(numbers.into_iter().flat_map(|number| calls.keys_of_number(number, moment)));
    touched
}

fn call_changed(history: &TenantHistory, norms: &Norms, waits: &mut Waits, key: &Key, moment: usize) {
    let calls = &history.calls;
    let group = calls.group(key, moment);
    let (_, component) = calls.component(key, moment);
    let talk = component.iter().filter(|leg| leg.conversation).min_by_key(|leg| leg.moment);
    let outbound = group.outbound();
    let first_missed = group.first_missed();

    let is_own = |call: &str, wait: &Wait| !wait.merged && calls.legs[wait.leg].call == call;
    let mut own: Vec<usize> = Vec::new();
    for call in calls.calls_of(key, moment) {
        own.extend(waits.of_call(call).filter(|index| is_own(call, &waits.waits[*index])));
    }
    own.sort_by_key(|index| waits.waits[*index].order());
    // Calls that turned out to be one: the first missed leg stands for all.
    let call_of = |waits: &Waits, index: usize| calls.legs[waits.waits[index].leg].call.clone();
    if let Some((first, others)) = own.split_first() {
        for other in others {
            if call_of(waits, *other) == call_of(waits, *first) {
                continue;
            }
            let anchor = waits.waits[*other].anchor;
            let date = talk.map_or(anchor, |talk| talk.start.max(anchor));
            waits.end(*other, Ending::taken_back(date, moment));
            waits.waits[*other].merged = true;
        }
    }
    own.retain(|index| !waits.waits[*index].merged);
    for index in &own {
        let wait = &waits.waits[*index];
        let (anchor, ended) = (wait.anchor, wait.ends.iter().any(|end| end.taken_back));
        let because = match talk {
            // Its own conversation, whichever started first.
            Some(talk) => Some(talk.start.max(anchor)),
            // An earlier outbound leg, or no missed leg any more.
            None if outbound || first_missed.is_none() => Some(anchor),
            None => None,
        };
        if let Some(date) = because
            && !ended
        {
            waits.end(*index, Ending::taken_back(date, moment));
        }
    }

    let Some(first) = first_missed.filter(|_| talk.is_none() && !outbound) else { return };
    let version = group.legs.iter().copied().find(|leg| leg.moment == moment && leg.replaces);
    let before = |new: &&Leg| {
        let is_old = |old: &Leg| old.gone == Some(moment) && old.leg_id == new.leg_id && old.call == new.call;
        calls.legs.iter().any(|old| is_old(old) && old.missed())
    };
    let version = version.filter(|leg| leg.missed() && leg.number.is_some() && !before(leg));
    let opening = if own.is_empty() {
        // What was a conversation until this version opens at the version's end.
        let before = calls.key(&first.call, moment - 1);
        let was_talk = calls.component(&before, moment - 1).1.iter().any(|leg| leg.conversation);
        version.filter(|_| was_talk && readings::A_MISSED_VERSION_OPENS_AT_ITS_OWN_END).unwrap_or(first)
    } else if let Some(version) = version.filter(|_| own.iter().all(|index| !waits.waits[*index].is_pending())) {
        version
    } else {
        return;
    };
    let norm = norms.rule(RULE, &opening.attribution.scope);
    if norm.and_then(|norm| norm.span("min_ring")).is_some_and(|min| group.ring() < min) {
        return;
    }
    let contact = opening.number.clone().unwrap();
    if waits.is_dismissed(&contact, (opening.end, opening.moment)) {
        return;
    }
    let source = calls.leg_of_moment(opening.moment).unwrap();
    let index = waits.open(Wait {
        contact,
        anchor: opening.end,
        moment: opening.moment,
        source,
        leg: source,
        interaction: opening.call.clone(),
        attribution: opening.attribution.clone(),
        ends: Vec::new(),
        ended: None,
        merged: false,
    });
    waits.follow(index, source, &opening.call);
    if !opening.belongs.is_empty() {
        waits.linked.insert(opening.number.clone().unwrap());
    }
    // An act that is known already: of the same instant, or before the call opened a wait.
    let known = calls.keys_since(history.moment_at(opening.end - 1), moment);
    let mut earlier = acts_at(history, &known, moment);
    earlier.extend(history.sent.iter().map(text_act));
    earlier.retain(|act| act.moment < moment && returns(history, norms, act, &waits.waits[index], moment));
    earlier.sort_by_key(|act| act.moment);
    for act in earlier {
        waits.end(index, ending(&act, act.moment));
        waits.waits[index].ended = Some(moment);
    }
}

/// The acts of these calls that an event of this moment made, or whose numbers and entities it may have changed.
fn acts_of<'a>(history: &'a TenantHistory, keys: &BTreeSet<Key>, moment: usize) -> Vec<Act<'a>> {
    let mut acts = acts_at(history, keys, moment);
    acts.retain(|act| act.conversation || act.moment == moment);
    acts
}

/// All acts of these calls as known at a moment.
fn acts_at<'a>(history: &'a TenantHistory, keys: &BTreeSet<Key>, moment: usize) -> Vec<Act<'a>> {
    let calls = &history.calls;
    let mut acts = Vec::new();
    for key in keys {
        let group = calls.group(key, moment);
        let by_staff = group.outbound();
        let base = |date, moment, who| Act {
            date,
            moment,
            call: Some(key.clone()),
            conversation: false,
            text: false,
            contacts: BTreeMap::new(),
            names: BTreeMap::new(),
            by_staff,
            who,
            own: BTreeSet::from([key.clone()]),
        };
        for start in group.starts.iter().filter(|start| start.outbound) {
            let who = history.owner_at(start.manager.as_ref(), start.primary.as_ref(), start.moment);
            let names = start.named.iter().map(|id| (id, start.moment)).collect();
            acts.push(Act { contacts: one(&start.number, start.moment), names, ..base(start.at, start.moment, who) });
        }
        for leg in &group.legs {
            let act = base(leg.start, leg.moment, leg.attribution.who.clone());
            if leg.conversation {
                // Every number and entity on any leg, known no earlier than the conversation.
                let known = |since: usize| since.max(leg.moment);
                let contacts = group.numbers().into_iter().map(|(number, since)| (number, known(since))).collect();
                let names = group.names(moment).into_iter().map(|(id, since)| (id, known(since))).collect();
                let own = calls.component(key, moment).0;
                acts.push(Act { conversation: true, contacts, names, own, ..act });
            } else if leg.outbound && group.attempt(leg).is_none_or(|start| start.number != leg.number) {
                let names =
                    leg.named.iter().filter(|(_, since)| *since <= moment).map(|(id, since)| (id, *since)).collect();
                acts.push(Act { contacts: one(&leg.number, leg.moment), names, ..act });
            }
        }
    }
    acts
}

fn one(number: &Option<String>, known: usize) -> BTreeMap<&str, usize> {
    number.iter().map(|number| (number.as_str(), known)).collect()
}

fn text_act(text: &super::super::history::SentMessage) -> Act<'_> {
    Act {
        date: text.at,
        moment: text.moment,
        call: None,
        conversation: false,
        text: true,
        contacts: one(&text.contact, text.moment),
        names: BTreeMap::new(),
        by_staff: true,
        who: text.who.clone(),
        own: BTreeSet::new(),
    }
}

fn ending(act: &Act, moment: usize) -> Ending {
    Ending::new(act.date, moment, if act.by_staff { "returned" } else { "customer_called_again" })
}

/// Decision 15: the call back must start at or after the missed call's end. Its own call is not returned by it.
fn may_return(history: &TenantHistory, act: &Act, wait: &Wait, moment: usize) -> bool {
    let own = act.own.contains(&history.calls.key(&history.calls.legs[wait.leg].call, moment));
    act.date >= wait.anchor && !own && (act.moment > wait.moment || readings::CALL_BACK_AT_THE_SAME_INSTANT_COUNTS)
}

/// Whether it returns a missed call, `moment` being what is known of calls: by the number, a contact of an entity that the
/// missed call belonged to, or such an entity itself.
fn returns(history: &TenantHistory, norms: &Norms, act: &Act, wait: &Wait, moment: usize) -> bool {
    if !may_return(history, act, wait, moment) {
        return false;
    }
    if act.text {
        let norm = norms.rule(RULE, &wait.attribution.scope);
        if norm.is_none_or(|norm| norm.keys.get("text_returns") != Some(&true.into())) {
            return false;
        }
    }
    // The entities of the missed call and their contacts as known when the act became known.
    let leg = &history.calls.legs[wait.source];
    let linked = |known: usize, fits: &dyn Fn(&EntityId, usize) -> bool| {
        let known = known.max(wait.moment);
        leg.belongs_at(known).any(|id| fits(history.survivor_at(id, known), known))
    };
    let lists = |(contact, known): (&&str, &usize)| linked(*known, &|id, at| history.lists(id, contact, at));
    let names = |(named, known): (&&EntityId, &usize)| linked(*known, &|id, _| id == *named);
    act.contacts.contains_key(wait.contact.as_str()) || act.contacts.iter().any(lists) || act.names.iter().any(names)
}

fn settle(history: &TenantHistory, norms: &Norms, waits: &mut Waits, act: &Act, moment: usize) {
    let contacts: BTreeSet<String> =
        waits.linked.iter().cloned().chain(act.contacts.keys().map(|&contact| contact.to_owned())).collect();
    for contact in contacts {
        let of: Vec<usize> = waits
            .of(&contact)
            .filter(|(_, wait)| may_return(history, act, wait, moment))
            .map(|(index, _)| index)
            .collect();
        let direct: Vec<usize> =
            of.iter().copied().filter(|index| returns(history, norms, act, &waits.waits[*index], moment)).collect();
        let pending = |waits: &Waits, index: usize| waits.waited_at(index, act.date);
        // What settles one missed call of a contact settles all that had ended by its start.
        let settles = direct.iter().any(|index| pending(waits, *index));
        for index in of {
            let proves = direct.iter().any(|other| waits.waits[*other].order() >= waits.waits[index].order());
            if settles || !pending(waits, index) && proves {
                waits.end(index, ending(act, moment));
            }
        }
    }
}

/// Whether the dismissal took effect: the call that it names has a missed leg.
fn dismiss(history: &TenantHistory, waits: &mut Waits, index: usize, moment: usize) -> bool {
    let dismissal = &history.dismissals[index];
    let calls = &history.calls;
    for key in calls.keys(moment) {
        if !calls.is_named(&key, &dismissal.key, moment) {
            continue;
        }
        let own = waits.waits.iter().filter(|wait| !wait.merged);
        let own = own.filter(|wait| calls.key(&calls.legs[wait.leg].call, moment) == key);
        let up_to = match own.max_by_key(|wait| wait.order()) {
            Some(wait) => Some((wait.contact.clone(), wait.order())),
            None if !readings::WHAT_DID_NOT_WAIT_CAN_BE_DISMISSED => None,
            None => {
                let first = calls.group(&key, moment).first_missed();
                first.map(|leg| (leg.number.clone().unwrap(), (leg.end, leg.moment)))
            }
        };
        if let Some((contact, up_to)) = up_to {
            waits.dismiss(dismissal, &contact, up_to, history.instant_of(moment), moment);
            return true;
        }
    }
    false
}

/// A group of missed calls as known at T: the first one, and the call back that settled them: when, whose.
pub struct Group<'a> {
    pub first: &'a Wait,
    pub returned: Option<(i64, Option<String>)>,
    pub pending: bool,
}

/// The missed calls of all contacts in the order of their dates, with what settled them.
pub fn groups<'a>(history: &TenantHistory, norms: &Norms, waits: &'a Waits) -> Vec<Group<'a>> {
    const NOW: usize = usize::MAX;
    let calls = &history.calls;
    let keys = calls.keys(NOW);
    let mut acts = acts_at(history, &keys, NOW);
    acts.extend(history.sent.iter().map(text_act));
    let mut acts_by_contact: BTreeMap<&str, Vec<&Act>> = BTreeMap::new();
    for act in &acts {
        act.contacts.keys().for_each(|contact| acts_by_contact.entry(contact).or_default().push(act));
    }
    let mut groups = Vec::new();
    for contact in waits.contacts() {
        enum Entry<'a, 'b> {
            Wait(&'a Wait),
            Act(&'b Act<'b>),
            Dismissed((i64, usize)),
        }
        let stands = |wait: &&Wait| {
            let key = calls.key(&calls.legs[wait.leg].call, NOW);
            let group = calls.group(&key, NOW);
            let talk = calls.component(&key, NOW).1.iter().any(|leg| leg.conversation);
            !talk && !group.outbound() && group.first_missed().is_some()
        };
        let own: Vec<&Wait> = waits.of(&contact).map(|(_, wait)| wait).filter(stands).collect();
        let mut entries: Vec<(i64, usize, usize, Entry)> = Vec::new();
        entries.extend(own.iter().map(|wait| (wait.anchor, 0, wait.moment, Entry::Wait(wait))));
        let candidates = match waits.linked.contains(&contact) {
            true => acts.iter().collect(),
            false => acts_by_contact.get(contact.as_str()).cloned().unwrap_or_default(),
        };
        let relevant =
            candidates.into_iter().filter(|act| own.iter().any(|wait| returns(history, norms, act, wait, NOW)));
        entries.extend(relevant.map(|act| (act.date, 1, act.moment, Entry::Act(act))));
        let dismissed = waits.dismissed.iter().filter(|dismissed| dismissed.contact == contact);
        entries.extend(dismissed.map(|one| (one.at, 1, one.moment, Entry::Dismissed(one.up_to))));
        entries.sort_by_key(|(date, class, moment, _)| (*date, *class, *moment));
        let mut pending: Vec<&Wait> = Vec::new();
        for (_, _, _, entry) in entries {
            match entry {
                Entry::Wait(wait) => pending.push(wait),
                Entry::Dismissed(up_to) => pending.retain(|wait| wait.order() > up_to),
                Entry::Act(act) => {
                    if pending.iter().any(|wait| returns(history, norms, act, wait, NOW)) {
                        let settled = |wait: &&Wait| may_return(history, act, wait, NOW);
                        let first = *pending.iter().find(|wait| settled(wait)).unwrap();
                        pending.retain(|wait| !settled(wait));
                        // Fixed reading b: only outbound calls are call backs.
                        let returned = act.by_staff.then(|| (act.date, act.who.clone()));
                        groups.push(Group { first, returned, pending: false });
                    }
                }
            }
        }
        groups.extend(pending.first().map(|first| Group { first, returned: None, pending: true }));
    }
    groups
}
