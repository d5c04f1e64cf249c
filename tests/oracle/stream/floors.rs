//! Streams of what happens on sales floors: plans that are kept, moved and forgotten, leads that are handed over before they
//! are answered, stages that wait for the customer, moves of one instant that arrive in any order, leads that were no
//! opportunities, and warnings before the deadlines of all of these.

use serde_json::{Map, Value, json};

use super::super::calendar::span;
use super::exchanges::entity_of;
use super::{
    CRM, DAY, Generator, HOUR, INBOUND, KINDS, MINUTE, Rng, SALES, SECOND, Style, Subject, rule_norm, written,
};

/// Rules that can warn.
const WARNING: [&str; 8] = [
    "first_response_late",
    "too_few_attempts",
    "neglected",
    "stage_overdue",
    "missed_call_not_returned",
    "message_unanswered",
    "next_step_missing",
    "next_step_overdue",
];

/// Adds what the norms have for these to a document.
pub(super) fn norms(rng: &mut Rng, document: &mut Value, style: &Style) {
    if rng.percent(70) {
        document["excluded_reasons"] = rng.pick(&[json!(["spam"]), json!(["whim", " spam "]), json!(["no_budget"])]);
    }
    for (_, pipeline) in document["pipelines"].as_object_mut().unwrap() {
        for stage in pipeline["stages"].as_array_mut().unwrap() {
            if rng.percent(30) {
                stage["waiting"] = json!(true);
            }
        }
    }
    for rule in ["next_step_missing", "next_step_overdue"] {
        if rng.percent(90) {
            document["norms"][rule] = rule_norm(rng, rule, false, style);
        }
    }
    for rule in ["first_response_late", "neglected"] {
        if document["norms"].get(rule).is_none() && rng.percent(80) {
            document["norms"][rule] = rule_norm(rng, rule, false, style);
        }
    }
    let mut warns = Map::new();
    for rule in WARNING {
        warns.insert(rule.to_owned(), json!(rng.percent(75)));
    }
    extend(rng, &mut document["norms"], &warns, true);
    for one in document["overrides"].as_array_mut().into_iter().flatten() {
        for rule in ["next_step_missing", "next_step_overdue"] {
            if rng.percent(20) {
                one["norms"][rule] = rule_norm(rng, rule, true, style);
            }
        }
        if one.get("norms").is_some() {
            extend(rng, &mut one["norms"], &warns, false);
        }
    }
}

/// Adds warnings and the clock from the assignment to rules. A rule that warns anywhere warns wherever it has a `within`.
fn extend(rng: &mut Rng, norms: &mut Value, warns: &Map<String, Value>, complete: bool) {
    for rule in WARNING {
        let Some(norm) = norms.get_mut(rule) else { continue };
        if warns[rule] == true {
            let within = norm["within"].as_str().and_then(span).or((rule == "stage_overdue").then_some(20 * MINUTE));
            let early = ["30s", "1m", "4m", "10m", "50m", "3h", "8h", "20h"];
            let fits = |before: &&str| {
                let most = if rule == "next_step_overdue" { Some(i64::MAX) } else { within };
                most.is_some_and(|most| span(before).unwrap() < most)
            };
            let early: Vec<&str> = early.into_iter().filter(fits).collect();
            if !early.is_empty() && (complete || within.is_some()) {
                norm["warn_before"] = json!(rng.pick(&early[early.len().saturating_sub(3)..]));
            }
        }
    }
    if let Some(norm) = norms.get_mut("first_response_late")
        && rng.percent(if complete { 65 } else { 40 })
    {
        norm["from"] = json!(if complete || rng.percent(60) { "assigned" } else { "created" });
    }
}

/// Figures that these streams move.
#[cfg(test)]
pub(super) const FIGURES: [&str; 9] = [
    "/leads_excluded",
    "/human_response/wall/n",
    "/plans/made",
    "/plans/done",
    "/plans/done_in_time",
    "/plans/moved",
    "/open_plans",
    "/overdue_plans",
    "/without_next_step",
];

#[cfg(test)]
pub(super) const OUTCOMES: [(&str, usize); 32] = [
    (r#""first_response_late" "DUE_SOON" null"#, 50),
    (r#""first_response_late" "AVERTED" "responded""#, 1),
    (r#""first_response_late" "AVERTED" "late_evidence""#, 1),
    (r#""first_response_late" "AVERTED" "reassigned""#, 1),
    (r#""first_response_late" "AVERTED" "closed""#, 1),
    (r#""first_response_late" "RESOLVED" "reassigned""#, 10),
    (r#""too_few_attempts" "DUE_SOON" null"#, 10),
    (r#""too_few_attempts" "AVERTED" "responded""#, 1),
    (r#""neglected" "DUE_SOON" null"#, 50),
    (r#""neglected" "AVERTED" "responded""#, 5),
    (r#""neglected" "AVERTED" "waiting""#, 1),
    (r#""neglected" "RESOLVED" "waiting""#, 10),
    (r#""stage_overdue" "DUE_SOON" null"#, 20),
    (r#""stage_overdue" "AVERTED" "left_stage""#, 5),
    (r#""missed_call_not_returned" "AVERTED" "returned""#, 1),
    (r#""message_unanswered" "AVERTED" "answered""#, 1),
    (r#""first_response_late" "RESOLVED" "merged""#, 3),
    (r#""neglected" "RESOLVED" "merged""#, 5),
    (r#""next_step_overdue" "RESOLVED" "merged""#, 1),
    (r#""next_step_missing" "FIRING" null"#, 50),
    (r#""next_step_missing" "DUE_SOON" null"#, 50),
    (r#""next_step_missing" "AVERTED" "planned""#, 2),
    (r#""next_step_missing" "RESOLVED" "planned""#, 20),
    (r#""next_step_missing" "RESOLVED" "closed""#, 10),
    (r#""next_step_missing" "RESOLVED" "waiting""#, 5),
    (r#""next_step_overdue" "FIRING" null"#, 30),
    (r#""next_step_overdue" "DUE_SOON" null"#, 30),
    (r#""next_step_overdue" "AVERTED" "done""#, 3),
    (r#""next_step_overdue" "RESOLVED" "done""#, 10),
    (r#""next_step_overdue" "RESOLVED" "rescheduled""#, 10),
    (r#""next_step_overdue" "RESOLVED" "cancelled""#, 5),
    (r#""next_step_overdue" "RESOLVED" "closed""#, 3),
];

impl Generator {
    pub(super) fn floor_scenario(&mut self, tenant: usize) {
        if self.merges && self.rng.percent(30) {
            return self.merging(tenant);
        }
        match self.rng.below(100) {
            0..=39 => self.plans(tenant),
            40..=64 => self.hand_overs(tenant),
            65..=79 => self.waiting_stages(tenant),
            80..=92 => self.moves_of_one_instant(tenant),
            93..=95 => self.placed(tenant),
            _ => {
                let (at, manager) = (self.random_instant(), self.manager(tenant, 100));
                if at % 2 == 0 {
                    let taken = json!({"alert_id": "29b9046d-0842-585f-a8ec-0d27b66fa528", "manager_id": manager});
                    self.emit(tenant, CRM, at, "alert_taken", taken);
                } else {
                    let department = json!({"department_id": "north", "name": "North", "parent_id": " ",
                        "head_manager_id": manager});
                    self.emit(tenant, CRM, at, "department_upserted", department);
                }
            }
        }
    }

    /// A known entity, or a new one with little in it.
    fn some_subject(&mut self, tenant: usize, lead: usize) -> Subject {
        if let Some(subject) = self.subject(tenant).filter(|_| self.rng.percent(35)) {
            return subject;
        }
        let is_lead = self.rng.percent(lead);
        let id = self.serial(if is_lead { "L" } else { "D" });
        let anchor = self.random_instant();
        let pipeline = if is_lead { "inbound" } else { "sales" };
        let (name, key) = if is_lead { ("lead_created", "lead_id") } else { ("deal_created", "deal_id") };
        let mut payload = json!({
            "manager_id": self.manager(tenant, 70),
            "pipeline_id": self.rng.maybe(80, pipeline),
            "stage_id": self.rng.maybe(70, "NEW"),
            "source_id": self.rng.maybe(30, "WEB").filter(|_| is_lead),
            "contacts": self.contacts(tenant),
        });
        payload[key] = json!(id);
        if self.rng.percent(90) {
            self.emit(tenant, CRM, anchor, name, payload);
        }
        let subject = Subject { is_lead, id, anchor };
        let list = if is_lead { &mut self.tenants[tenant].leads } else { &mut self.tenants[tenant].deals };
        list.push(subject.clone());
        subject
    }

    // ---- plans

    fn deadline_of(&mut self, at: i64) -> Value {
        match self.rng.below(20) {
            0..=2 => Value::Null,
            3 => json!("9999-12-31T23:59:59Z"),
            4..=5 => json!(written(at - self.rng.between(0, 50) * HOUR / 10)),
            6 => json!(written(at)),
            _ => json!(written(self.after(at).min(at + 10 * DAY))),
        }
    }

    fn plans(&mut self, tenant: usize) {
        let subject = self.some_subject(tenant, 30);
        let entity = entity_of(&subject);
        let mut at = self.after(subject.anchor);
        let mut deadline = Value::Null;
        let activity = format!("a{}", self.rng.below(3));
        for step in 0..2 + self.rng.below(5) {
            let activity = if self.rng.percent(75) { activity.clone() } else { format!("a{}", self.rng.below(3)) };
            match self.rng.below(10) {
                0..=4 if step > 0 => match self.rng.below(10) {
                    0..=5 => {
                        let done = json!({
                            "entity": entity,
                            "activity_id": self.rng.maybe(90, &activity),
                            "manager_id": self.manager(tenant, 50),
                            "kind": self.rng.pick(&KINDS),
                        });
                        self.emit(tenant, CRM, at, "activity_completed", done);
                    }
                    6..=7 => {
                        let cancelled = json!({"entity": entity, "activity_id": activity});
                        self.emit(tenant, CRM, at, "activity_cancelled", cancelled);
                    }
                    _ => self.closing(tenant, &subject, &entity, at),
                },
                _ => {
                    if step == 0 || self.rng.percent(80) {
                        deadline = self.deadline_of(at);
                    }
                    let planned = json!({
                        "entity": entity,
                        "activity_id": activity,
                        "manager_id": self.manager(tenant, 60),
                        "kind": self.rng.pick(&KINDS),
                        "deadline": deadline,
                    });
                    self.emit(tenant, CRM, at, "activity_planned", planned);
                }
            }
            let dated = deadline.as_str().filter(|text| !text.starts_with("9999"));
            let dated = dated.and_then(super::super::calendar::instant).filter(|deadline| *deadline > at);
            at = match dated {
                Some(deadline) if self.rng.percent(60) => {
                    let off = self.rng.pick(&[-HOUR, -MINUTE, -1, 0, 1]);
                    if self.rng.percent(50) { self.after(deadline) } else { (deadline + off).max(at) }
                }
                _ => self.after(at),
            };
        }
    }

    // ---- hand-overs

    fn hand_overs(&mut self, tenant: usize) {
        let subject = self.some_subject(tenant, 85);
        let entity = entity_of(&subject);
        let mut at = subject.anchor;
        for _ in 0..1 + self.rng.below(4) {
            at = if self.rng.percent(60) { self.after(at) } else { self.after(subject.anchor) };
            match self.rng.below(10) {
                0..=5 => {
                    let manager = self.manager(tenant, 100);
                    self.emit(tenant, CRM, at, "assigned", json!({"entity": entity, "manager_id": manager}));
                }
                6 => {
                    let mut call = self.some_call(tenant, None);
                    call.entity = Some(entity.clone());
                    self.call_across_deadline(tenant, at, call);
                }
                7 => {
                    let key = if subject.is_lead { "lead_id" } else { "deal_id" };
                    let mut snapshot = json!({"manager_id": self.manager(tenant, 80)});
                    if self.rng.percent(40) {
                        let created =
                            if self.rng.percent(70) { subject.anchor } else { at - self.rng.between(0, 90) * MINUTE };
                        snapshot["created_at"] = json!(written(created.min(at)));
                    }
                    snapshot[key] = json!(subject.id);
                    let name = if subject.is_lead { "lead_snapshot" } else { "deal_snapshot" };
                    self.emit(tenant, CRM, at, name, snapshot);
                }
                _ => {
                    let person = self.person(tenant);
                    self.message(tenant, at, &person, Some(entity.clone()), None, None);
                }
            }
        }
    }

    // ---- merges

    /// Two or three of one kind, each with a history, are merged; afterwards something happens to all of them.
    fn merging(&mut self, tenant: usize) {
        let is_lead = self.rng.percent(75);
        let mut subjects: Vec<Subject> = Vec::new();
        for _ in 0..20 {
            let subject = self.some_subject(tenant, if is_lead { 100 } else { 0 });
            let known = subjects.iter().any(|other| other.id == subject.id);
            if subject.is_lead == is_lead && !known && (subjects.len() < 2 || self.rng.percent(20)) {
                subjects.push(subject);
            }
        }
        let mut at = subjects.iter().map(|subject| subject.anchor).max().unwrap();
        for subject in &subjects {
            for _ in 0..self.rng.below(3) {
                let acted = self.after(subject.anchor).min(at + DAY);
                at = at.max(acted);
                if self.rng.percent(25) {
                    let planned = json!({
                        "entity": entity_of(subject),
                        "activity_id": format!("a{}", self.rng.below(3)),
                        "kind": "TASK",
                        "deadline": self.deadline_of(acted),
                    });
                    self.emit(tenant, CRM, acted, "activity_planned", planned);
                } else {
                    self.act(tenant, subject, acted);
                }
            }
        }
        for _ in 0..1 + self.rng.below(2) {
            at = self.after(at);
            let (one, into) = (self.rng.pick(&subjects), self.rng.pick(&subjects));
            let merged = json!({"entity": entity_of(&one), "into": entity_of(&into)});
            self.emit(tenant, CRM, at, "merged", merged);
        }
        for _ in 0..self.rng.below(4) {
            let subject = self.rng.pick(&subjects);
            let acted = self.after(at);
            self.act(tenant, &subject, acted);
        }
    }

    // ---- stages

    /// Into and out of stages, with touches, plans and closings between.
    fn waiting_stages(&mut self, tenant: usize) {
        let subject = self.some_subject(tenant, 40);
        let pipeline = if subject.is_lead { "inbound" } else { "sales" };
        self.move_through_stages(tenant, &subject, pipeline);
        for _ in 0..self.rng.below(4) {
            let at = self.after(subject.anchor);
            self.act(tenant, &subject, at);
        }
    }

    /// Several moves at one instant, which mostly form a chain, in any order.
    fn moves_of_one_instant(&mut self, tenant: usize) {
        let subject = self.some_subject(tenant, 40);
        let entity = entity_of(&subject);
        let stages = if subject.is_lead { &INBOUND[..] } else { &SALES[..] };
        let at = self.after(subject.anchor);
        let mut stage = if self.rng.percent(80) { stages[0] } else { self.rng.pick(stages) };
        if self.rng.percent(40) {
            // Known to hold the first stage.
            let before = at - self.rng.between(0, 300) * SECOND;
            self.emit(tenant, CRM, before, "stage_changed", json!({"entity": entity, "to_stage_id": stage}));
        }
        for _ in 0..2 + self.rng.below(3) {
            let to = self.rng.pick(stages);
            let from = if self.rng.percent(94) { json!(stage) } else { Value::Null };
            let moved = json!({
                "entity": entity,
                "pipeline_id": self.rng.maybe(20, if subject.is_lead { "inbound" } else { "sales" }),
                "from_stage_id": from,
                "to_stage_id": to,
                "filled_fields": self.fields(),
            });
            self.emit(tenant, CRM, at, "stage_changed", moved);
            if self.rng.percent(94) {
                stage = to;
            }
        }
        if self.rng.percent(15) {
            let snapshot =
                if subject.is_lead { json!({"lead_id": subject.id}) } else { json!({"deal_id": subject.id}) };
            let mut snapshot = snapshot;
            snapshot["stage_id"] = json!(self.rng.pick(stages));
            let name = if subject.is_lead { "lead_snapshot" } else { "deal_snapshot" };
            self.emit(tenant, CRM, at, name, snapshot);
        }
    }

    /// An entity without a stage is placed, or closed without ever holding one.
    fn placed(&mut self, tenant: usize) {
        let subject = self.some_subject(tenant, 40);
        let entity = entity_of(&subject);
        let mut at = self.after(subject.anchor);
        if self.rng.percent(60) {
            let stages = if subject.is_lead { &INBOUND[..] } else { &SALES[..] };
            let moved = json!({"entity": entity, "to_stage_id": self.rng.pick(stages), "filled_fields": self.fields()});
            self.emit(tenant, CRM, at, "stage_changed", moved);
            at = self.after(at);
        }
        let outcome = if subject.is_lead { "CONVERTED" } else { "WON" };
        self.emit(tenant, CRM, at, "closed", json!({"entity": entity, "outcome": outcome}));
    }
}
