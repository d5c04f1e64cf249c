//! Owns how calls take effect: the figures, touches, conversations and demands that follow from the legs known so far.
//!
//! A call is known at its end and dated at its start. Each record changes what is known of its call; what the call counts,
//! and what its entities have from it, is derived again and compared with before. **Acts** (attempts and conversations) also
//! settle demands: an attempt those of its own number and entity, a conversation those of every leg of its call.

use crate::domain::alert::Resolution;
use crate::domain::call::registry::Joined;
use crate::domain::call::{self, CallDemand, Leg, MAX_LENGTH, Parties, Reached, Start};
use crate::domain::event::{AnsweredBy, Call, CallEnd, CallOutcome, Direction, Position};
use crate::domain::figures::pane::Measure;
use crate::domain::id::reply_key;
use crate::domain::index::{CallIx, ContactIx, JourneyIx, ManagerIx};
use crate::domain::pending_replies::DemandKind;
use crate::domain::pending_replies::demand::{ActNow, Counts, Demand, DemandKey, Reach, Settlement};
use crate::domain::review::Medium;
use crate::domain::tenant::sampler::Interaction;
use crate::domain::tenant::{CALLS, MESSAGES, Tenant};
use crate::domain::time::Timestamp;
use std::sync::Arc;

impl Tenant {
    /// Handles `call_started`; an outbound one is a touch at its own event time.
    pub(super) fn call_started(&mut self, call: &Call) {
        let ix = self.join_call(call);
        if self.calls[ix].knows(&call.id) {
            return self.recount_calls();
        }
        if self.calls[ix].is_full_of_starts() {
            self.left_out += 1;
            return self.recount_calls();
        }
        let contact = self.number_of(call);
        let attribution = self.attribute(call.entity.as_ref(), None, contact);
        let (outbound, now) = (call.direction == Direction::Outbound, self.context.now);
        let (manager, responsible) = (self.manager_ix(call.manager.as_ref()), self.responsible(&attribution));
        let start = Start {
            id: call.id.clone(),
            order: self.context.position,
            at: now,
            direction: call.direction,
            who: manager.or(responsible),
            contact,
            named: attribution.named,
            entities: attribution.entities.clone(),
            ended: false,
        };
        let known = self.calls[ix].parties();
        self.calls[ix].add_start(start);
        if outbound {
            self.update_touches(ix);
            let added = self.calls[ix].parties().without(&known);
            self.settle_by_conversations(ix, &added, None);
            let parties = Parties::of(contact, attribution.named, &[]);
            self.settle_calls((ix, self.context.position), &parties, now, responsible.or(manager));
        }
        self.recount_calls();
        self.emit_all_facts(&attribution.entities);
    }

    /// Handles `call_ended`: a leg, another version of one, or a repetition.
    pub(super) fn call_ended(&mut self, call: &Call, end: &CallEnd) {
        let ix = self.join_call(call);
        let leg = self.leg(ix, call, end);
        let known = self.calls[ix].legs.iter().position(|known| known.repeats(&leg));
        match known {
            Some(position) => self.fill_leg(ix, position, call, end),
            None if self.calls[ix].is_full_of(&leg) && !self.calls.is_version(end.leg.as_ref()) => self.left_out += 1,
            None => self.add_leg(ix, leg, call, end),
        }
        self.recount_calls();
    }

    /// A leg as its record describes it, without the entities that it belongs to.
    fn leg(&mut self, ix: CallIx, call: &Call, end: &CallEnd) -> Leg {
        let (now, norms) = (self.context.now, &self.context.norms);
        let person = matches!(end.answered_by, None | Some(AnsweredBy::Person));
        let named =
            call.manager.is_some() || call.direction == Direction::Outbound || !norms.conversation_needs_manager;
        let answered = end.outcome == CallOutcome::Answered && end.talk >= norms.min_talk;
        let talked = || now.saturating_sub(end.talk.min(MAX_LENGTH));
        let start = end.started_at.or_else(|| self.calls[ix].started(&call.id, now)).unwrap_or_else(talked);
        Leg {
            id: call.id.clone(),
            order: self.context.position,
            start: start.min(now),
            end: now,
            rang_until: Leg::rang_until(now, end.answered_at, end.answered_by, end.outcome),
            direction: call.direction,
            outcome: end.outcome,
            talk: end.talk,
            conversation: answered && person && named,
            recorded: end.recording_url.is_some(),
            has_id: end.leg.is_some(),
            manager: self.manager_ix(call.manager.as_ref()),
            responsible: ManagerIx::NONE,
            contact: self.number_of(call),
            named: None,
            primary: None,
            entities: Default::default(),
        }
    }

    fn add_leg(&mut self, ix: CallIx, leg: Leg, call: &Call, end: &CallEnd) {
        let attribution = self.attribute(call.entity.as_ref(), None, leg.contact);
        let responsible = self.responsible(&attribution);
        let leg = Leg {
            responsible,
            named: attribution.named,
            primary: attribution.primary,
            entities: attribution.entities.clone(),
            ..leg
        };
        let talked = self.calls.conversation(ix).is_some();
        let replaced = end.leg.as_ref().and_then(|leg_id| self.calls.take_leg(leg_id));
        let (known, direction) = (self.calls[ix].parties(), self.calls[ix].direction());
        self.calls.add_leg(ix, leg.clone(), end.leg.as_ref());
        if let Some((from, old)) = replaced {
            self.replace_leg(ix, from, &old, &leg, talked);
        }
        self.sample(&leg, end);
        if self.calls[ix].direction() != direction {
            self.redirect(ix);
        }
        self.update_touches(ix);
        self.recount_calls();
        self.settle_by_leg(ix, &leg, responsible.or(leg.manager), &known);
        self.emit_all_facts(&attribution.entities);
    }

    /// Takes away what figures count of a version that another one has replaced. What it settled stays settled.
    fn replace_leg(&mut self, ix: CallIx, from: CallIx, old: &Leg, new: &Leg, talked: bool) {
        self.sampler.iter_mut().for_each(|sampler| sampler.withdraw(&self.context, old.who(), &old.id.0, old.start));
        if from != ix {
            self.update_touches(from);
        }
        let mut parties = self.calls[from].parties();
        parties.extend(old);
        let act = ((from, old.order), old.start);
        for (contact, kind) in self.reached_by(&parties) {
            self.with_pending_replies(contact, kind, |pending_replies, context, demand_context| {
                pending_replies.replace_act(context, demand_context, act);
            });
        }
        let opened = self.calls[from].demand.filter(|demand| demand.leg == old.order);
        if let Some(demand) = opened {
            self.follow_leg(ix, from, demand, new);
        }
        let waits = self.calls[ix].demand.is_some_and(|demand| !demand.withdrawn && !self.has_ended(demand));
        let talked = talked && self.calls.conversation(ix).is_none();
        if new.missed() && talked && !waits {
            let stands = |demand: &CallDemand| self.calls[ix].legs.iter().any(|leg| leg.order == demand.leg);
            if let Some(first) = self.calls[ix].demand.filter(|demand| demand.withdrawn && stands(demand)) {
                self.set_counts(first, |demand| Some(Counts { figures: true, ..demand.counts }));
            }
            self.calls[ix].demand = None;
            self.calls[ix].missed_from = new.order;
        }
    }

    /// The demand of a leg goes on with the version that replaced the leg, if that was missed too.
    fn follow_leg(&mut self, ix: CallIx, from: CallIx, demand: CallDemand, new: &Leg) {
        if self.is_hidden(demand) {
            self.calls[from].demand = None;
            self.remove_demand(demand);
        } else if new.missed() {
            self.calls[from].demand = None;
            self.calls[ix].demand = self.calls[ix].demand.or(Some(CallDemand { leg: new.order, ..demand }));
            self.with_pending_replies(demand.contact, CALLS, |pending_replies, _, _| {
                pending_replies.set_call(demand.key, ix);
            });
        } else if self.has_ended(demand) {
            self.set_counts(demand, |demand| Some(Counts { figures: false, ..demand.counts }));
        }
    }

    /// Counts the lags of what a call settled by its direction, which has changed.
    fn redirect(&mut self, ix: CallIx) {
        let outbound = self.calls[ix].direction() == Direction::Outbound;
        let (parties, act) = (self.calls[ix].parties(), (ix, self.calls[ix].since()));
        for (contact, kind) in self.reached_by(&parties) {
            if kind.rule == CALLS.rule {
                self.with_pending_replies(contact, kind, |pending_replies, context, demand_context| {
                    pending_replies.set_reply(context, demand_context, act, outbound);
                });
            }
        }
    }

    /// The contacts whose demands acts with these parties may have settled.
    fn reached_by(&self, parties: &Parties) -> Vec<(ContactIx, DemandKind)> {
        let having = parties.contacts.iter().flat_map(|contact| self.contacts[*contact].entities.iter());
        let entities = having.chain(&parties.named).chain(&parties.entities).map(|entity| self.survivor(*entity));
        let own = parties.entities.iter().map(|entity| self.survivor(*entity));
        let leads = own.flat_map(|entity| self.converted_leads(entity));
        let others = entities.chain(leads).flat_map(|entity| self.journeys[entity].pending_contacts());
        let mut contacts: Vec<ContactIx> = parties.contacts.iter().chain(others).copied().collect();
        contacts.sort_unstable();
        contacts.dedup();
        contacts.iter().flat_map(|contact| [(*contact, CALLS), (*contact, MESSAGES)]).collect()
    }

    /// Whether a demand does not count, because the call rang too short.
    fn is_hidden(&self, demand: CallDemand) -> bool {
        let pending = self.contacts[demand.contact].pending.calls.as_ref();
        let found = pending.and_then(|pending| pending.find(demand.key)).filter(|_| !demand.withdrawn);
        found.is_some_and(|demand| demand.counts == Counts::NOT)
    }

    /// Whether the wait for a reply that a call opened has ended.
    fn has_ended(&self, demand: CallDemand) -> bool {
        let pending = self.contacts[demand.contact].pending.calls.as_ref();
        !demand.withdrawn && pending.is_none_or(|pending| pending.has_ended(demand.key))
    }

    fn set_counts(&mut self, demand: CallDemand, counts: impl Fn(&Demand) -> Option<Counts>) {
        let position = self.context.position;
        self.with_pending_replies(demand.contact, CALLS, |pending_replies, context, demand_context| {
            pending_replies.set_counts(context, demand_context, demand.key, counts, position);
        });
    }

    /// Adds what a repeated record contains and the first one did not.
    fn fill_leg(&mut self, ix: CallIx, position: usize, call: &Call, end: &CallEnd) {
        let known = self.calls[ix].parties();
        end.leg.iter().for_each(|leg_id| self.calls.name_leg(leg_id, ix, position));
        let leg = &mut self.calls[ix].legs[position];
        if let Some(url) = end.recording_url.as_ref().filter(|_| !std::mem::replace(&mut leg.recorded, true)) {
            let (who, id) = (leg.who(), &leg.id.0);
            self.sampler.iter_mut().for_each(|sampler| sampler.add_recording(who, id, url));
        }
        if leg.named.is_some() {
            return;
        }
        let Some(entity) = call.entity.as_ref().and_then(|entity| self.journey_ix(entity)) else { return };
        let responsible = self.journeys[entity].who;
        let leg = &mut self.calls[ix].legs[position];
        let who = leg.responsible.or(leg.manager).or(responsible);
        leg.named = Some(entity);
        leg.primary = leg.primary.or(Some(entity));
        leg.responsible = leg.responsible.or(responsible);
        if !leg.entities.contains(&entity) {
            leg.entities.push(entity);
        }
        let leg = leg.clone();
        if let Some(demand) = self.calls[ix].demand.filter(|demand| demand.leg == leg.order) {
            self.add_pending_contact(demand.contact, &[entity]);
            self.with_pending_replies(demand.contact, CALLS, |pending_replies, _, _| {
                pending_replies.add_entity(demand.key, entity);
            });
        }
        self.calls.mark_changed(ix);
        self.update_touches(ix);
        self.recount_calls();
        self.settle_by_leg(ix, &leg, who, &known);
        self.emit_facts(entity);
    }

    fn sample(&mut self, leg: &Leg, end: &CallEnd) {
        let Some(sampler) = self.sampler.as_mut().filter(|_| leg.conversation) else { return };
        let medium =
            Medium::Call { direction: leg.direction, talk: leg.talk, recording_url: end.recording_url.clone() };
        let replaceable = end.leg.is_some();
        let interaction = Interaction { id: &leg.id.0, at: leg.start, entity: leg.primary, medium, replaceable };
        sampler.consider(&mut self.context, leg.who(), interaction);
    }

    /// The call of a record, together with the one that turns out to be the same.
    fn join_call(&mut self, call: &Call) -> CallIx {
        let Joined { call: ix, absorbed } = self.calls.join(&call.id, call.session.as_ref());
        if let Some(absorbed) = absorbed {
            self.take_over(ix, absorbed.0, absorbed.1);
        }
        if !self.dismissed_early.is_empty() {
            let session = call.session.as_ref().map(|session| session.as_str());
            for id in session.into_iter().chain([call.id.as_str()]) {
                if let Some(who) = self.dismissed_early.remove(reply_key(id)) {
                    self.calls[ix].dismissed_early.get_or_insert(who);
                }
            }
        }
        ix
    }

    /// Merges what a call and another one, which is the same call, have caused.
    fn take_over(&mut self, ix: CallIx, from: CallIx, mut absorbed: call::Call) {
        if let Some((at, who)) = absorbed.touch {
            self.context.emit_fact(at, who, -1, Measure::Touch);
        }
        for reached in absorbed.reached.drain(..) {
            if self.calls[ix].reached.iter().any(|known| known.entity == reached.entity) {
                self.update_reached(from, reached.entity, Some(reached), None);
            } else {
                self.journeys[reached.entity].replace_call(from, ix);
                self.calls[ix].reached.push(reached);
            }
        }
        let call = &mut self.calls[ix];
        call.dismissed_early = call.dismissed_early.or(absorbed.dismissed_early);
        call.missed_from = call.missed_from.max(absorbed.missed_from);
        let mut demands: Vec<CallDemand> = call.demand.into_iter().chain(absorbed.demand).collect();
        let (contacts, absorbed) = (call.parties().contacts, (from, call.since()));
        for &contact in &contacts {
            self.with_pending_replies(contact, CALLS, |pending_replies, context, demand_context| {
                pending_replies.replace_call(context, demand_context, absorbed, ix);
            });
        }
        // One call has one demand: the first that counts, else the first.
        demands.sort_by_key(|demand| (demand.withdrawn || self.is_hidden(*demand), demand.key.1));
        self.calls[ix].demand = demands.first().copied();
        self.withdraw_demands(demands.into_iter().skip(1).map(|demand| (demand, demand.key.0)).collect());
        self.redirect(ix);
        self.update_touches(ix);
        let parties = self.calls[ix].parties();
        self.settle_by_conversations(ix, &parties, None);
    }

    /// The number of a call. A field with several numbers means the first.
    fn number_of(&mut self, call: &Call) -> Option<ContactIx> {
        let form = self.number.phones(&call.phone, self.context.norms.country).next().cloned();
        form.map(|form| self.contact_ix(form))
    }

    /// Derives the touch that a call counts, and what its entities have from it.
    fn update_touches(&mut self, ix: CallIx) {
        let (touch, reached) =
            (self.calls[ix].earliest_touch(), self.calls[ix].reaches(|entity| self.survivor(entity)));
        let before = std::mem::replace(&mut self.calls[ix].touch, touch);
        if before != touch {
            for ((at, who), times) in before.map(|touch| (touch, -1)).into_iter().chain(touch.map(|touch| (touch, 1))) {
                self.context.emit_fact(at, who, times, Measure::Touch);
            }
        }
        let before = std::mem::take(&mut self.calls[ix].reached);
        let find = |list: &[Reached], entity| list.iter().find(|reached| reached.entity == entity).copied();
        for gone in before.iter().filter(|gone| find(&reached, gone.entity).is_none()) {
            self.update_reached(ix, gone.entity, Some(*gone), None);
        }
        for now in &reached {
            self.update_reached(ix, now.entity, find(&before, now.entity), Some(*now));
        }
        self.calls[ix].reached = reached;
    }

    fn update_reached(&mut self, call: CallIx, entity: JourneyIx, before: Option<Reached>, now: Option<Reached>) {
        if before != now && !self.journeys[entity].deleted() {
            self.refresh_lead_source(entity);
            self.change(entity, |journey, context| journey.reach(context, call, before, now));
            self.emit_facts(entity);
        }
    }

    /// Counts the calls that have changed, and withdraws or opens their demands.
    fn recount_calls(&mut self) {
        let context = &mut self.context;
        let changed = self.calls.recount(|counted, times| {
            let (at, who, direction, answered) = (counted.at, counted.who, counted.direction, counted.answered);
            context.emit_fact(at, who, times, Measure::Call { direction, answered });
            if answered {
                context.emit_fact(at, who, times, Measure::Talk(counted.talk));
            }
        });
        self.withdraw_needless(&changed);
        changed.into_iter().for_each(|call| self.update_demand(call));
    }

    /// Whether nothing in a call, or in those whose legs overlap its legs, was a conversation.
    fn is_missed(&self, ix: CallIx) -> bool {
        let call = &self.calls[ix];
        let missed = call.direction() == Direction::Inbound && call.first_missed().is_some();
        missed && self.calls.conversation(ix).is_none()
    }

    /// Withdraws the demands of calls that turn out to need no reply. All at once: with only some of them, another demand
    /// could get a settlement that belongs to none of those that remain.
    fn withdraw_needless(&mut self, calls: &[CallIx]) {
        let mut withdrawn = Vec::new();
        for &ix in calls {
            let counting = self.calls[ix].demand.filter(|demand| !demand.withdrawn && !self.is_hidden(*demand));
            if let Some(demand) = counting.filter(|_| !self.is_missed(ix)) {
                withdrawn.push((demand, self.calls.conversation(ix).unwrap_or(demand.key.0)));
                self.calls[ix].demand = Some(CallDemand { withdrawn: true, ..demand });
                self.calls[ix].missed_from = self.context.position.next();
            }
        }
        self.withdraw_demands(withdrawn);
    }

    /// Opens the demand of a call that was missed, or takes it out of the figures once the call needs no reply.
    fn update_demand(&mut self, ix: CallIx) {
        let (talk, missed) = (self.calls.conversation(ix), self.is_missed(ix));
        match (self.calls[ix].demand, self.calls[ix].opening().cloned()) {
            (Some(demand), _) if !missed && self.is_hidden(demand) => {
                self.calls[ix].demand = None;
                self.remove_demand(demand);
            }
            (Some(demand), _) if !demand.withdrawn => self.check_ring(ix, demand),
            (_, Some(leg)) if missed => self.open_demand(ix, leg),
            (Some(demand), _) => {
                let figures = missed && self.calls[ix].legs.iter().any(|leg| leg.order == demand.leg);
                self.set_counts(demand, |demand| Some(Counts { figures, ..demand.counts }));
            }
            (None, Some(leg)) if talk.is_some() => self.answered_elsewhere(ix, &leg, talk),
            (None, _) => {}
        }
        let Some(who) = self.calls[ix].dismissed_early else { return };
        if let Some((contact, key)) = self.dismissible(ix) {
            self.calls[ix].dismissed_early = None;
            self.dismiss(contact, CALLS, key, who);
        }
    }

    /// The contact and the key of what a dismissal of this call ends: its demand, else its first missed leg.
    pub(super) fn dismissible(&self, ix: CallIx) -> Option<(ContactIx, DemandKey)> {
        let demand = self.calls[ix].demand.map(|demand| (demand.contact, demand.key));
        demand.or_else(|| {
            let leg = self.calls[ix].first_missed()?;
            Some((leg.contact?, (leg.end, leg.order)))
        })
    }

    /// A missed leg of a call that has a conversation. It is no demand, also if it turns out later to be a call of its own:
    /// an alert would come too late to help. Figures follow what is known then, so what settles it is recorded.
    fn answered_elsewhere(&mut self, ix: CallIx, leg: &Leg, talk: Option<Timestamp>) {
        self.record_averted(ix, leg, talk);
        let Some(contact) = leg.contact else { return };
        let demand = Demand { counts: Counts::NOT, ..self.demand_of(ix, leg) };
        self.calls[ix].missed_from = self.context.position.next();
        self.calls[ix].demand = Some(CallDemand { contact, key: demand.key(), leg: leg.order, withdrawn: true });
        self.demand(contact, CALLS, demand);
    }

    /// In a replay: records the evidence that retracts the alert of a missed leg, if one was published.
    fn record_averted(&mut self, ix: CallIx, leg: &Leg, talk: Option<Timestamp>) {
        let Some((contact, talk)) = leg.contact.zip(talk).filter(|_| self.context.is_replaying()) else { return };
        let demand = self.demand_of(ix, leg);
        let key = demand.key();
        self.add_pending_contact(contact, &[]);
        self.demand(contact, CALLS, demand);
        let demand = CallDemand { contact, key, leg: leg.order, withdrawn: true };
        self.withdraw_demands(vec![(demand, talk)]);
        self.remove_demand(demand);
    }

    fn remove_demand(&mut self, demand: CallDemand) {
        self.with_pending_replies(demand.contact, CALLS, |pending_replies, _, _| pending_replies.remove(demand.key));
    }

    /// Counts the demand of a call that has rung long enough.
    fn check_ring(&mut self, ix: CallIx, demand: CallDemand) {
        let (ring, position) = (self.calls[ix].ring(), self.context.position);
        self.with_pending_replies(demand.contact, CALLS, |pending_replies, context, demand_context| {
            let rang = |demand: &Demand| (ring >= demand.scope.min_ring()).then_some(Counts::ALL);
            pending_replies.set_counts(context, demand_context, demand.key, rang, position);
        });
    }

    fn open_demand(&mut self, ix: CallIx, leg: Leg) {
        let Some(contact) = leg.contact else { return };
        let mut demand = self.demand_of(ix, &leg);
        if self.calls[ix].ring() < demand.scope.min_ring() {
            demand.counts = Counts::NOT;
        }
        let key = demand.key();
        self.calls[ix].demand = Some(CallDemand { contact, key, leg: leg.order, withdrawn: false });
        self.add_pending_contact(contact, &leg.entities);
        self.demand(contact, CALLS, demand);
        let concerns = |act: &&ActNow| {
            act.contacts.contains(&contact) || leg.entities.iter().any(|entity| act.entities.contains(entity))
        };
        let settlements: Vec<_> = self.calls_now.iter().filter(concerns).map(|act| act.settlement.clone()).collect();
        for settlement in settlements {
            self.settle(contact, CALLS, settlement);
        }
    }

    /// The demand for a reply to a missed leg.
    fn demand_of(&mut self, ix: CallIx, leg: &Leg) -> Demand {
        Demand {
            at: leg.end,
            order: leg.order,
            interaction: leg.id.0.clone(),
            entity: leg.primary,
            who: leg.manager,
            accountable: leg.responsible.or(leg.manager),
            scope: self.scope_of(leg.primary, leg.manager),
            entities: leg.entities.to_vec(),
            thread: None,
            open: false,
            call: Some(ix),
            ended: None,
            counts: Counts::ALL,
            opened: self.context.position,
        }
    }

    /// Withdraws demands, because acts with these dates show that they never were any.
    fn withdraw_demands(&mut self, mut withdrawn: Vec<(CallDemand, Timestamp)>) {
        withdrawn.sort_by_key(|(demand, _)| (demand.contact, demand.key));
        for of_contact in withdrawn.chunk_by(|(demand, _), (next, _)| demand.contact == next.contact) {
            let keys: Vec<_> = of_contact.iter().map(|(demand, act)| (demand.key, *act)).collect();
            self.with_pending_replies(of_contact[0].0.contact, CALLS, |pending_replies, context, demand_context| {
                pending_replies.withdraw(context, demand_context, &keys);
            });
        }
    }

    /// Settles what a leg settles, and what the conversations of its call settle with whom it adds to the call. `known`:
    /// those whom the call concerned before.
    fn settle_by_leg(&mut self, ix: CallIx, leg: &Leg, who: ManagerIx, known: &Parties) {
        let all = self.calls[ix].parties();
        self.settle_by_conversations(ix, &all.without(known), Some(leg.order));
        if leg.conversation {
            self.settle_calls((ix, leg.order), &all, leg.start, who);
            self.settle_by_conversation((ix, leg.order), &all, leg.start, who);
        } else if leg.direction == Direction::Outbound
            && self.calls[ix].attempt(leg).is_none_or(|start| start.contact != leg.contact)
        {
            let own = Parties::of(leg.contact, leg.named, &[]);
            self.settle_calls((ix, leg.order), &own, leg.start, who);
        }
    }

    /// Settles what the conversations of a call settle with these parties. `except`: a leg that is not one of them.
    fn settle_by_conversations(&mut self, ix: CallIx, parties: &Parties, except: Option<Position>) {
        if parties.is_empty() {
            return;
        }
        let others = self.calls[ix].conversations().filter(|other| Some(other.order) != except);
        let others: Vec<_> =
            others.map(|other| (other.order, other.start, other.responsible.or(other.manager))).collect();
        for (order, start, who) in others {
            self.settle_calls((ix, order), parties, start, who);
            self.settle_by_conversation((ix, order), parties, start, who);
        }
    }

    /// An attempt or a conversation settles the missed calls of its numbers, and those that belonged to an entity that it
    /// names or that has one of its numbers. Its own call is settled by a conversation only, and then needs no reply.
    fn settle_calls(&mut self, (ix, leg): (CallIx, Position), parties: &Parties, at: Timestamp, who: ManagerIx) {
        if parties.is_empty() {
            return;
        }
        let resolution = match self.calls[ix].direction() {
            Direction::Outbound => Resolution::Returned,
            Direction::Inbound => Resolution::CustomerCalledAgain,
        };
        let settlement = Settlement { at, order: Position::MAX, who, act: Some((ix, leg)), ..self.own_end(resolution) };
        let entities = self.settle_missed(parties, &settlement);
        if at == self.context.now {
            self.calls_now.push(ActNow { contacts: parties.contacts.clone(), entities, settlement });
        }
    }

    /// Settles the missed calls of contacts, and of the other contacts of their entities and of named ones. Returns these
    /// entities.
    pub(super) fn settle_missed(&mut self, parties: &Parties, settlement: &Settlement) -> Vec<JourneyIx> {
        let having = parties.contacts.iter().flat_map(|contact| self.contacts[*contact].entities.iter());
        let entities = self.survivors(having.chain(&parties.named).copied());
        for contact in &parties.contacts {
            self.settle(*contact, CALLS, settlement.clone());
        }
        let mut others: Vec<ContactIx> =
            entities.iter().flat_map(|entity| self.journeys[*entity].pending_contacts()).copied().collect();
        others.retain(|contact| !parties.contacts.contains(contact));
        others.sort_unstable();
        others.dedup();
        if !others.is_empty() {
            let reach = Reach { entities: self.with_absorbed(entities.clone()), ..Reach::default() };
            let reach = Some(Arc::new(reach));
            let settlement = Settlement { reach, ..settlement.clone() };
            others.into_iter().for_each(|contact| self.settle(contact, CALLS, settlement.clone()));
        }
        entities
    }

    /// A conversation answers the messages of its numbers, and those that belonged to one of its entities.
    fn settle_by_conversation(&mut self, act: (CallIx, Position), parties: &Parties, at: Timestamp, who: ManagerIx) {
        let entities = self.survivors(parties.entities.iter().copied());
        let leads: Vec<JourneyIx> = entities.iter().flat_map(|entity| self.converted_leads(*entity)).collect();
        let asking: Vec<ContactIx> = entities
            .iter()
            .chain(&leads)
            .flat_map(|entity| self.journeys[*entity].pending_contacts())
            .copied()
            .collect();
        if !self.any_awaits(&parties.contacts, &asking) {
            return;
        }
        let (entities, leads) = (self.with_absorbed(entities), self.with_absorbed(leads));
        let reach = Reach { entities, leads, ..Reach::default() };
        let settlement = Settlement { at, who, act: Some(act), ..self.own_end(Resolution::Answered) };
        self.settle_messages(&parties.contacts, asking, reach, settlement);
    }
}
