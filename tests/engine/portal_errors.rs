//! What a reader of a Bitrix24 portal does when parts of the portal fail, change very much, or cannot be seen: the rest is
//! read as if nothing had happened, within the budget.

use funnelwatch::config::Config;
use funnelwatch::domain::source::Topic;
use funnelwatch::domain::time::{Span, Timestamp};
use funnelwatch::gateway::bitrix24::{
    Bitrix24, Budget, Fields, Findings, Inspector, Received, Settings, Transport, Webhook,
};
use funnelwatch::gateway::source::{Clock, Cursors, Hint, Next, ReadError, Reader, Stop};
use funnelwatch::sim::portal::{Interface, Tables};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const SECRET: &str = "s3cretcode0123456789";
const BEGIN: Timestamp = Timestamp(1_772_434_800_000);

/// A portal whose answers a test can change.
#[derive(Default)]
pub(super) struct Scene {
    pub(super) tables: Tables,
    pub(super) interface: Interface,
    now: Timestamp,
    /// The error of each method or command, inside and outside of batches: status and code.
    errors: BTreeMap<&'static str, (u16, &'static str)>,
    /// When each method was asked, with its host.
    pub(super) asked: Vec<(Timestamp, String, String)>,
    /// A batch of more lists than this is not completed.
    most_lists: Option<usize>,
    bodies: Vec<String>,
}

#[derive(Clone, Default)]
pub(super) struct Portal(Arc<Mutex<Scene>>);

impl Portal {
    pub(super) fn new() -> Self {
        let portal = Self::default();
        portal.wait(Span(BEGIN.0));
        portal
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Scene> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wait(&self, time: Span) {
        let mut scene = self.lock();
        let now = Timestamp(scene.now.0 + time.0);
        scene.now = now;
        scene.tables.advance(now);
    }

    /// How often a method was asked after an instant.
    fn count(&self, method: &str, since: Timestamp) -> usize {
        self.lock().asked.iter().filter(|(at, asked, _)| *at >= since && asked == method).count()
    }

    pub(super) fn fail(&self, method: &'static str, error: Option<(u16, &'static str)>) {
        match error {
            Some(error) => _ = self.lock().errors.insert(method, error),
            None => _ = self.lock().errors.remove(method),
        }
    }

    pub(super) fn settings(&self) -> Settings {
        Settings {
            name: "romashka".into(),
            tenant: "romashka".into(),
            time_zone: jiff::tz::TimeZone::get("Europe/Moscow").expect("a zone"),
            webhook: Webhook::parse(&format!("https://old.bitrix24.ru/rest/1/{SECRET}/")).expect("a webhook"),
            ca: None,
            sweep: Span(60_000),
            backfill_from: None,
            budget: Budget::default(),
            lead_pipeline: "leads".into(),
            deal_pipelines: [(0, "sales".into())].into(),
            fields: Fields::default(),
            grade: None,
        }
    }

    pub(super) fn inspector(&self, settings: Settings) -> Inspector {
        Inspector::new(settings, Box::new(self.clone()), Arc::new(self.clone()))
    }
}

impl Clock for Portal {
    fn now(&self) -> Timestamp {
        self.lock().now
    }

    fn wait(&self, time: Duration, _: &Stop) {
        self.wait(Span(time.as_millis() as i64));
    }
}

impl Transport for Portal {
    fn post(&mut self, webhook: &Webhook, method: &str, body: &str) -> Result<Received, &'static str> {
        self.wait(Span(100));
        let mut scene = self.lock();
        let scene = &mut *scene;
        let (now, host) = (scene.now, webhook.host().to_owned());
        if host.starts_with("new.") {
            scene.interface.faults.renamed = None;
        }
        scene.asked.push((now, method.to_owned(), host.clone()));
        scene.bodies.push(body.to_owned());
        if let Some((status, code)) = scene.errors.get(method) {
            let body = json!({"error": code, "error_description": "<br>text"}).to_string();
            return Ok(Received { status: *status, location: None, body: body.into() });
        }
        let mut parsed: Value = serde_json::from_str(body).expect("JSON");
        let mut failed = Map::new();
        if let Some(commands) = parsed["cmd"].as_object_mut() {
            commands.retain(|label, command| {
                let command = command.as_str().unwrap_or_default();
                let name = command.split('?').next().unwrap_or_default().to_owned();
                scene.asked.push((now, name.clone(), host.clone()));
                let error = scene.errors.get(name.as_str()).or_else(|| scene.errors.get(command));
                failed.extend(error.map(|(_, code)| (label.clone(), json!({"error": code, "error_description": ""}))));
                error.is_none()
            });
        }
        let lists = body.matches(".list?").count();
        if scene.most_lists.is_some_and(|most| lists > most) {
            scene.now = Timestamp(scene.now.0 + 60_000);
            let body = b"<html>504 Gateway Time-out</html>".to_vec();
            return Ok(Received { status: 504, location: None, body });
        }
        let answer = scene.interface.answer(&mut scene.tables, method, &parsed.to_string());
        let mut body = answer.body;
        if !failed.is_empty() {
            let mut answer: Value = serde_json::from_str(&body).expect("JSON");
            let errors = answer["result"]["result_error"].as_object().cloned().unwrap_or_default();
            failed.extend(errors);
            answer["result"]["result_error"] = failed.into();
            body = answer.to_string();
        }
        Ok(Received { status: answer.status, location: answer.location, body: body.into_bytes() })
    }
}

/// A reader, and what it has committed.
pub(super) struct Run {
    portal: Portal,
    settings: Settings,
    reader: Bitrix24,
    pub(super) cursors: Cursors,
    hints: Vec<Hint>,
    pub(super) events: Vec<(Topic, Value)>,
    /// With the number of events before them.
    marks: Vec<(Topic, Timestamp, usize)>,
    errors: Vec<ReadError>,
    /// The most events that one step has returned.
    pub(super) most: usize,
}

impl Run {
    pub(super) fn new(portal: &Portal, settings: Settings) -> Self {
        let cursors = Cursors::new();
        let reader = Self::open(portal, &settings, &cursors);
        let portal = portal.clone();
        let (hints, events, marks, errors) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { portal, settings, reader, cursors, hints, events, marks, errors, most: 0 }
    }

    fn open(portal: &Portal, settings: &Settings, cursors: &Cursors) -> Bitrix24 {
        let (transport, clock) = (Box::new(portal.clone()), Arc::new(portal.clone()));
        Bitrix24::new(settings.clone(), cursors, transport, clock, Arc::new(())).expect("readable cursors")
    }

    /// Kills the process and starts another one.
    pub(super) fn restart(&mut self) {
        self.reader = Self::open(&self.portal, &self.settings, &self.cursors);
    }

    fn hint(&mut self, event: &str, id: u64) {
        let fields = [("event", event.to_owned()), ("data[FIELDS][ID]", id.to_string())];
        let fields = fields.map(|(key, value)| (key.into(), value.into())).into();
        self.hints.push(Hint { received_at: self.portal.now(), fields });
    }

    /// Kills the process before the next step is committed, and starts another one.
    pub(super) fn lose_a_step(&mut self) {
        let _ = self.reader.step(&self.hints, &Stop::default());
        self.restart();
    }

    /// Does one step; returns how long the driver would wait.
    pub(super) fn step(&mut self) -> Duration {
        let portion = match self.reader.step(&self.hints, &Stop::default()) {
            Ok(portion) => portion,
            Err(error) => {
                assert!(!error.to_string().contains(SECRET), "{error}");
                let wait = error.retry_in();
                self.errors.push(error);
                return wait;
            }
        };
        self.hints.drain(..portion.finished_hints);
        self.most = self.most.max(portion.events.len());
        for event in portion.events {
            self.events.push((event.topic(), serde_json::from_slice(event.json()).expect("JSON")));
        }
        let count = self.events.len();
        self.marks.extend(portion.marks.iter().map(|(topic, mark)| (*topic, mark.up_to, count)));
        super::portal::store(&mut self.cursors, portion.cursors);
        match portion.next {
            Next::AtOnce => Duration::ZERO,
            Next::Within(time) => time.max(Duration::from_millis(20)),
        }
    }

    pub(super) fn run(&mut self, time: Span) {
        let end = Timestamp(self.portal.now().0 + time.0);
        while self.portal.now() < end {
            let wait = self.step();
            self.portal.wait(Span(wait.as_millis() as i64));
        }
    }

    pub(super) fn ids(&self, prefix: &str) -> BTreeSet<String> {
        let ids = self.events.iter().filter_map(|(_, event)| event["event_id"].as_str());
        ids.filter(|id| id.starts_with(prefix)).map(str::to_owned).collect()
    }

    /// How many events are before the first mark of a topic that covers an instant.
    pub(super) fn first_mark(&self, topic: Topic, instant: Timestamp) -> Option<usize> {
        self.marks.iter().find(|(of, up_to, _)| *of == topic && *up_to >= instant).map(|(.., count)| *count)
    }

    /// The marks of a topic after an instant.
    pub(super) fn marks_of(&self, topic: Topic, since: Timestamp) -> usize {
        self.marks.iter().filter(|(of, up_to, _)| *of == topic && *up_to >= since).count()
    }
}

const MINUTE: Span = Span(60_000);

pub(super) fn minutes(count: i64) -> Span {
    Span(count * MINUTE.0)
}

pub(super) fn add_lead(portal: &Portal) -> u64 {
    let tables = &mut portal.lock().tables;
    let id = tables.create(1, json!({"stageId": "NEW", "stageSemanticId": "P"}));
    tables.enter(1, id, 0, "NEW", 'P', Span::ZERO);
    id
}

#[test]
fn a_method_that_is_parked_or_broken_keeps_no_other_from_being_read() {
    for error in [(429, "OPERATION_TIME_LIMIT"), (500, "INTERNAL_SERVER_ERROR"), (500, "ERROR_UNEXPECTED_ANSWER")] {
        let portal = Portal::new();
        let mut run = Run::new(&portal, portal.settings());
        run.run(minutes(3));
        let broken = portal.now();
        portal.fail("voximplant.statistic.get", Some(error));
        portal.lock().tables.call(json!({"CALL_TYPE": "2", "CALL_DURATION": "60"}), Span::ZERO);
        for _ in 0..60 {
            let lead = add_lead(&portal);
            run.run(MINUTE);
            run.run(MINUTE);
            let seen = run.ids(&format!("b24:item:1:{lead}:"));
            assert!(!seen.is_empty(), "{error:?}: lead {lead} is late");
        }
        let repaired = portal.now();
        // A retry costs one request, so at most six a minute.
        let tried = portal.count("voximplant.statistic.get", broken);
        assert!(tried <= 12 * 60, "{error:?}: tried {tried} times");
        let marks = run.marks_of(Topic::Crm, broken);
        assert!(marks > 80, "{error:?}: {marks} marks");
        assert!(run.marks_of(Topic::Email, broken) > 80, "{error:?}");
        assert_eq!(run.marks_of(Topic::Telephony, broken), 0, "{error:?}: a mark without the calls");
        assert!(run.ids("b24:vx:").is_empty() && run.errors.is_empty(), "{error:?}: {:?}", run.errors);
        portal.fail("voximplant.statistic.get", None);
        run.run(minutes(25));
        assert_eq!(run.ids("b24:vx:1:").len(), 1, "{error:?}");
        assert!(run.marks_of(Topic::Telephony, repaired) > 5, "{error:?}");
    }
}

#[test]
fn what_concerns_the_whole_portal_stops_all_requests_wherever_it_is_said() {
    let table = [
        ("batch", 503, "OVERLOAD_LIMIT", 600),
        ("crm.item.list", 503, "OVERLOAD_LIMIT", 600),
        ("batch", 401, "NO_AUTH_FOUND", 60),
        ("crm.item.list", 401, "expired_token", 60),
        ("batch", 500, "PORTAL_DELETED", 60),
        ("batch", 403, "ACCESS_DENIED", 60),
        ("batch", 400, "INVALID_REQUEST", 300),
        ("batch", 400, "ERROR_BATCH_LENGTH_EXCEEDED", 300),
        ("batch", 405, "ERROR_BATCH_METHOD_NOT_ALLOWED", 300),
    ];
    for (method, status, code, pause) in table {
        let portal = Portal::new();
        let mut run = Run::new(&portal, portal.settings());
        run.run(minutes(3));
        let broken = portal.now();
        let lead = add_lead(&portal);
        portal.fail(method, Some((status, code)));
        run.run(minutes(60));
        let asked = portal.count("batch", broken) as i64;
        // A probe that asks for the history first takes two.
        assert!(asked <= 2 * (1 + 3600 / pause), "{code} in {method}: {asked} requests in an hour");
        assert!(run.errors.iter().all(|error| matches!(error, ReadError::Refused { .. })), "{:?}", run.errors);
        assert!(!run.errors.is_empty() && run.marks_of(Topic::Crm, broken) == 0, "{code} in {method}");
        portal.fail(method, None);
        run.run(minutes(15));
        assert!(!run.ids(&format!("b24:item:1:{lead}:")).is_empty(), "{code} in {method}: what was missed is read");
    }
}

#[test]
fn a_change_of_very_many_objects_is_read_in_parts_though_the_budget_ends_and_the_reader_is_killed() {
    const LEADS: u64 = 3_000;
    let portal = Portal::new();
    for _ in 0..LEADS {
        portal.lock().tables.create(1, json!({"stageId": "NEW", "stageSemanticId": "P"}));
    }
    portal.wait(minutes(24 * 60));
    // 13 lists of 50: a fifth of what has changed.
    let budget = Budget { operating_seconds: 4.0, ..Budget::default() };
    let mut run = Run::new(&portal, Settings { budget, ..portal.settings() });
    run.run(minutes(12));
    assert!(run.events.iter().all(|(_, event)| event.get("lead_snapshot").is_none()));
    let changed = portal.now();
    for id in 1..=LEADS {
        portal.lock().tables.update(1, id, json!({"assignedById": 2}));
    }
    portal.lock().tables.hooks.clear();
    for part in 0..18 {
        run.run(minutes(10));
        if part % 4 == 3 {
            run.restart();
        }
    }
    let found = run.ids("b24:item:1:").len() as u64;
    assert_eq!(found, LEADS, "of {LEADS} changed leads");
    assert!(run.most <= 1_500, "{} events in one step", run.most);
    assert_eq!(portal.lock().interface.requests().1, 0, "the portal had to refuse requests");
    // Meanwhile the calls are complete at each sweep, and the leads only at the end.
    assert!(run.marks_of(Topic::Telephony, changed) > 20);
    let last = run.events.iter().rposition(|(_, event)| event.get("lead_snapshot").is_some()).expect("a lead");
    let of_crm = run.marks.iter().filter(|(of, at, _)| *of == Topic::Crm && *at >= changed);
    let early: Vec<_> = of_crm.clone().filter(|(.., count)| *count < last).collect();
    assert!(early.is_empty(), "marks before all changes were read: {early:?}");
    assert!(of_crm.count() > 0);
}

#[test]
fn a_portal_that_is_too_slow_for_large_batches_is_asked_in_smaller_ones() {
    let portal = Portal::new();
    portal.lock().most_lists = Some(4);
    let mut run = Run::new(&portal, portal.settings());
    run.run(minutes(5));
    for _ in 0..700 {
        portal.lock().tables.create(1, json!({"stageId": "NEW", "stageSemanticId": "P"}));
    }
    run.run(minutes(60));
    assert_eq!(run.ids("b24:item:1:").len(), 700);
    assert!(!run.errors.is_empty() && run.errors.iter().all(|error| matches!(error, ReadError::Unavailable { .. })));
}

#[test]
fn webhooks_that_never_end_keep_the_sweeps_and_the_back_fill_from_nothing() {
    let portal = Portal::new();
    let first = add_lead(&portal);
    portal.wait(minutes(60 * 24 * 40));
    let begin = portal.now();
    let settings = Settings { backfill_from: Some(Timestamp(BEGIN.0 - 1_000)), ..portal.settings() };
    let mut run = Run::new(&portal, settings);
    run.run(minutes(1));
    let silent = add_lead(&portal);
    let end = Timestamp(portal.now().0 + minutes(20).0);
    let mut given = 0;
    while portal.now() < end {
        run.hint("ONCRMLEADUPDATE", first);
        given += 1;
        // Now and then the driver has to wait, but new webhooks wake it.
        let _ = run.step();
        portal.wait(Span(50));
    }
    assert!(run.hints.len() < 20, "{} of {given} webhooks wait", run.hints.len());
    assert!(!run.ids(&format!("b24:item:1:{silent}:")).is_empty(), "what no webhook announced is found");
    assert!(run.ids("b24:item:1:1:").contains("b24:item:1:1:created"), "the past is filled in");
    assert!(run.marks_of(Topic::Crm, begin) > 10, "{} marks", run.marks_of(Topic::Crm, begin));
}

#[test]
fn the_newest_changes_are_found_among_many_that_were_never_touched_again() {
    let portal = Portal::new();
    // Each lead was changed last when it was created, so the order of ids is that of the changes.
    for _ in 0..80 {
        portal.lock().tables.create(1, json!({"stageId": "NEW", "stageSemanticId": "P"}));
        portal.wait(minutes(5));
    }
    let mut run = Run::new(&portal, portal.settings());
    run.run(minutes(5));
    portal.lock().tables.update(1, 3, json!({"assignedById": 5}));
    run.run(minutes(3));
    assert_eq!(run.ids("b24:item:1:3:").len(), 1, "{:?}", run.ids("b24:item"));
    // One page was enough to see that.
    let lists = portal.count("crm.item.list", Timestamp(portal.now().0 - minutes(2).0));
    assert!(lists <= 3 * 5, "{lists} lists in two minutes");
}

#[test]
fn a_history_that_could_not_be_read_at_first_is_not_read_from_its_beginning() {
    let portal = Portal::new();
    let old: Vec<u64> = (0..70).map(|_| add_lead(&portal)).collect();
    portal.wait(minutes(60));
    portal.fail("crm.stagehistory.list", Some((403, "ACCESS_DENIED")));
    let mut run = Run::new(&portal, portal.settings());
    run.run(minutes(5));
    run.hint("ONCRMLEADUPDATE", old[0]);
    run.run(minutes(2));
    portal.fail("crm.stagehistory.list", None);
    let new = add_lead(&portal);
    run.hint("ONCRMLEADADD", new);
    run.run(minutes(20));
    assert_eq!(run.ids("b24:sh:1:"), BTreeSet::from(["b24:sh:1:71".to_owned()]), "only what is new");
    // A denied history keeps a hint from nothing else.
    assert!(!run.ids(&format!("b24:item:1:{}:", old[0])).is_empty());
}

#[test]
fn a_new_address_in_the_configuration_counts_more_than_an_earlier_redirect() {
    let portal = Portal::new();
    let mut run = Run::new(&portal, portal.settings());
    run.run(minutes(2));
    portal.lock().interface.faults.renamed = Some("https://new.bitrix24.ru/rest/1/x/".to_owned());
    run.run(minutes(2));
    run.restart();
    let restarted = portal.now();
    run.run(minutes(2));
    let hosts = |since: Timestamp| -> BTreeSet<String> {
        portal.lock().asked.iter().filter(|(at, ..)| *at >= since).map(|(.., host)| host.clone()).collect()
    };
    assert_eq!(hosts(restarted), BTreeSet::from(["new.bitrix24.ru".to_owned()]), "the new name is remembered");
    run.settings.webhook = Webhook::parse(&format!("https://crm.example.com/rest/1/{SECRET}/")).expect("a webhook");
    run.restart();
    let moved = portal.now();
    run.run(minutes(2));
    assert_eq!(hosts(moved), BTreeSet::from(["crm.example.com".to_owned()]));
}

#[test]
fn a_portal_without_leads_is_not_asked_for_them_until_it_is_switched() {
    let portal = Portal::new();
    portal.lock().interface.faults.without_leads = true;
    let mut run = Run::new(&portal, portal.settings());
    run.run(minutes(3));
    let deal = {
        let tables = &mut portal.lock().tables;
        let id = tables.create(2, json!({"stageId": "NEW", "stageSemanticId": "P", "categoryId": 0, "leadId": 0}));
        tables.enter(2, id, 0, "NEW", 'P', Span::ZERO);
        id
    };
    run.hint("ONCRMLEADADD", 7);
    run.run(minutes(15));
    let of_leads = |portal: &Portal| {
        let bodies = &portal.lock().bodies;
        bodies.iter().filter(|body| body.contains("entityTypeId=1&")).count()
    };
    assert_eq!(of_leads(&portal), 0);
    assert!(!run.ids(&format!("b24:item:2:{deal}:")).is_empty() && !run.ids("b24:sh:2:").is_empty());
    assert!(run.marks_of(Topic::Crm, BEGIN) > 10, "marks without leads");
    portal.lock().interface.faults.without_leads = false;
    run.run(minutes(12));
    let lead = add_lead(&portal);
    run.run(minutes(3));
    assert!(of_leads(&portal) > 0 && !run.ids(&format!("b24:item:1:{lead}:")).is_empty());
    assert_eq!(run.ids("b24:sh:1:").len(), 1);
}

#[test]
fn terms_do_not_change_because_product_rows_cannot_be_read() {
    let portal = Portal::new();
    let deal = {
        let tables = &mut portal.lock().tables;
        let id = tables.create(2, json!({"stageId": "NEW", "stageSemanticId": "P", "ufCrmMonths": "6"}));
        let row = json!({"id": 1, "price": 80, "priceBrutto": 100, "quantity": 2, "taxRate": null});
        tables.products.insert(id, vec![row]);
        id
    };
    let fields = Fields { installment_months: Some("UF_CRM_MONTHS".into()), ..Fields::default() };
    let mut run = Run::new(&portal, Settings { fields, ..portal.settings() });
    run.run(minutes(3));
    portal.lock().tables.update(2, deal, json!({"assignedById": 2}));
    run.run(minutes(3));
    assert_eq!(run.ids("b24:terms:").len(), 1);
    portal.fail("crm.item.productrow.list", Some((403, "ACCESS_DENIED")));
    portal.lock().tables.update(2, deal, json!({"assignedById": 3}));
    run.run(minutes(3));
    assert_eq!(run.ids("b24:terms:").len(), 1, "{:?}", run.events);
    portal.fail("crm.item.productrow.list", None);
    run.run(minutes(11));
    let other = json!({"id": 1, "price": 70, "priceBrutto": 100, "quantity": 2, "taxRate": null});
    portal.lock().tables.products.insert(deal, vec![other]);
    portal.lock().tables.update(2, deal, json!({"assignedById": 4}));
    run.run(minutes(3));
    let terms: Vec<&Value> = run.events.iter().filter_map(|(_, event)| event.get("terms_offered")).collect();
    let discounts: Vec<_> = terms.iter().map(|terms| terms["discount_percent"].as_f64()).collect();
    assert_eq!(discounts, [Some(20.0), Some(30.0)]);
}

pub(super) fn open_chat(portal: &Portal, session: u64) {
    let tables = &mut portal.lock().tables;
    let time = Tables::time(tables.now);
    let fields = json!({"PROVIDER_ID": "IMOPENLINES_SESSION", "ASSOCIATED_ENTITY_ID": session.to_string()});
    tables.activity((1, 5), fields);
    let message = json!({"id": "70", "chatid": "90", "senderid": "12", "date": time, "text": "x"});
    let user = json!({"id": "12", "bot": false, "connector": true});
    let history = json!({"chatId": 90 + session, "sessionId": session, "message": {"70": message}, "users": {"12": user},
        "chat": {"90": {"id": "90", "entityId": format!("telegrambot|2|20{session}|5000")}}});
    tables.sessions.insert(session, history);
}

#[test]
fn a_chat_that_may_not_be_seen_keeps_no_other_chat_from_being_read() {
    let portal = Portal::new();
    let mut run = Run::new(&portal, portal.settings());
    run.run(minutes(2));
    let denied = "imopenlines.session.history.get?SESSION_ID=1";
    portal.fail(denied, Some((403, "ACCESS_ERROR")));
    open_chat(&portal, 1);
    open_chat(&portal, 2);
    let opened = portal.now();
    run.run(minutes(5));
    assert_eq!(run.ids("b24:ol:"), BTreeSet::from(["b24:ol:2:70".to_owned()]));
    assert!(run.marks_of(Topic::Email, opened) > 2);
    portal.fail(denied, None);
    run.run(minutes(2));
    assert_eq!(run.ids("b24:ol:").len(), 2);
    // Without the right, all are refused, and mails and chats are incomplete.
    let refused = portal.now();
    portal.fail("imopenlines.session.history.get", Some((403, "insufficient_scope")));
    run.run(minutes(5));
    assert_eq!(run.marks_of(Topic::Email, Timestamp(refused.0 + MINUTE.0)), 0);
    assert!(run.marks_of(Topic::Crm, refused) > 2);
}

fn check(portal: &Portal, settings: Settings) -> Findings {
    portal.inspector(settings).check().expect("an answer")
}

#[test]
fn a_check_says_what_will_be_missing_and_why() {
    let portal = Portal::new();
    open_chat(&portal, 1);
    let fine = check(&portal, portal.settings());
    assert_eq!(fine.missing, Vec::<String>::new());
    for word in ["portal", "webhook", "scopes", "mode", "funnel", "readable", "calls", "chats", "users", "departments"]
    {
        assert!(fine.facts.iter().any(|(found, _)| found == word), "{word}: {:?}", fine.facts);
    }
    let denied = [
        ("crm.category.list", "funnels: access denied"),
        ("crm.stagehistory.list", "stage history of leads: access denied"),
        ("crm.activity.list", "activities: access denied"),
        ("crm.item.productrow.list", "product rows: access denied"),
        ("voximplant.statistic.get", "calls: access denied"),
        ("user.get", "users: access denied"),
        ("department.get", "departments: access denied"),
        ("imopenlines.session.history.get", "chats of open lines: access denied"),
        ("crm.item.get", "deletions of leads and deals (`crm.item.get`): access denied"),
        ("crm.activity.get", "deletions of planned activities (`crm.activity.get`): access denied"),
        ("crm.activity.binding.list", "the deals of calls and mails of contacts (`crm.activity.binding.list`): access"),
        ("crm.status.list", "stages, for `gateway norms` (`crm.status.list`): access denied"),
    ];
    for (method, text) in denied {
        portal.fail(method, Some((403, "ACCESS_DENIED")));
        let found = check(&portal, portal.settings());
        assert!(found.missing.iter().any(|missing| missing.starts_with(text)), "{method}: {:?}", found.missing);
        portal.fail(method, Some((404, "ERROR_METHOD_NOT_FOUND")));
        let found = check(&portal, portal.settings());
        assert!(found.missing.iter().any(|missing| missing.contains("no such method")), "{method}: {found:?}");
        portal.fail(method, None);
    }
    let scopes = [
        ("voximplant.statistic.get", "calls: the webhook lacks a scope: add `telephony` to it"),
        ("imopenlines.session.history.get", "chats of open lines: the webhook lacks a scope: add `imopenlines` to it"),
        ("user.get", "users: the webhook lacks a scope: add `user` to it"),
    ];
    for (method, text) in scopes {
        portal.fail(method, Some((403, "insufficient_scope")));
        let found = check(&portal, portal.settings());
        assert_eq!(found.missing, [text], "{method}");
        portal.fail(method, None);
    }
    let grade = Settings { grade: Some("UF_USR_GRADE".into()), ..portal.settings() };
    portal.lock().tables.users.insert(1, json!({"ID": "1", "NAME": "Ann"}));
    assert_eq!(
        check(&portal, grade.clone()).missing,
        ["grade: none of the first 1 users has a value in the field UF_USR_GRADE"]
    );
    portal.lock().tables.users.insert(2, json!({"ID": "2", "NAME": "Bob", "UF_USR_GRADE": "senior"}));
    assert_eq!(check(&portal, grade).missing, Vec::<String>::new());
    portal.lock().interface.faults.without_leads = true;
    let found = check(&portal, portal.settings());
    assert!(found.facts.iter().any(|(word, text)| word == "mode" && text.starts_with("without leads")));
    assert!(!found.facts.iter().any(|(word, text)| word == "readable" && text.contains("leads")), "{found:?}");
    portal.lock().interface.faults.expired = true;
    let refused = portal.inspector(portal.settings()).check().expect_err("expired");
    assert!(matches!(refused, ReadError::Refused { .. }) && refused.to_string().contains("expired"), "{refused}");
}

#[test]
fn a_check_of_a_portal_without_chats_finds_out_whether_they_could_be_read() {
    let portal = Portal::new();
    // A session that does not exist may be refused.
    portal.fail("imopenlines.session.history.get", Some((403, "ACCESS_DENIED")));
    let found = check(&portal, portal.settings());
    assert!(found.facts.contains(&("chats".to_owned(), "there are none of open lines yet".to_owned())), "{found:?}");
    for (error, text) in [("insufficient_scope", "lacks a scope"), ("ERROR_METHOD_NOT_FOUND", "no such method")] {
        portal.fail("imopenlines.session.history.get", Some((403, error)));
        let found = check(&portal, portal.settings());
        assert!(found.missing.len() == 1 && found.missing[0].contains(text), "{found:?}");
    }
    portal.fail("imopenlines.session.history.get", None);
    open_chat(&portal, 1);
    open_chat(&portal, 2);
    portal.fail("imopenlines.session.history.get?SESSION_ID=1", Some((403, "ACCESS_ERROR")));
    let found = check(&portal, portal.settings());
    let text = "1 of the newest 2 of open lines can be read".to_owned();
    assert!(found.missing.is_empty() && found.facts.contains(&("chats".to_owned(), text)), "{found:?}");
}

#[test]
fn a_check_calls_every_method_that_the_reader_calls() {
    let portal = Portal::new();
    let mut run = Run::new(&portal, portal.settings());
    run.run(minutes(2));
    let (lead, gone) = (add_lead(&portal), add_lead(&portal));
    let of_contact = portal.lock().tables.activity((3, 7), json!({"PROVIDER_ID": "CRM_EMAIL"}));
    let cancelled = portal.lock().tables.activity((1, lead), json!({"PROVIDER_ID": "CRM_TODO"}));
    open_chat(&portal, 1);
    portal
        .lock()
        .tables
        .create(2, json!({"stageId": "NEW", "stageSemanticId": "P", "contactIds": [7], "companyId": 3}));
    portal.lock().tables.call(json!({"CRM_ACTIVITY_ID": of_contact.to_string()}), Span::ZERO);
    run.run(minutes(5));
    portal.lock().tables.delete(1, gone);
    portal.lock().tables.delete_activity(cancelled);
    run.run(minutes(130));
    assert!(!run.ids("b24:gone:1:").is_empty() && !run.ids("b24:gone:act:").is_empty());
    let methods = |portal: &Portal| -> BTreeSet<String> {
        std::mem::take(&mut portal.lock().asked).into_iter().map(|(_, method, _)| method).collect()
    };
    let called = methods(&portal);
    assert!(called.len() >= 13, "{called:?}");
    check(&portal, portal.settings());
    let checked = methods(&portal);
    assert_eq!(called.difference(&checked).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn norms_of_a_portal_are_a_configuration() {
    let portal = Portal::new();
    for id in 1..=120u64 {
        let row = json!({"ID": id.to_string(), "NAME": format!("Dept {id}"), "SORT": 500});
        portal.lock().tables.departments.insert(id, row);
    }
    let text = portal.inspector(portal.settings()).norms().expect("an answer");
    Config::parse("norms", &text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    let order =
        ["leads:", "id: NEW", "id: IN_PROCESS", "CONVERTED", "sales:", "deal_9:", "C9:NEW", "#   120: Dept 120"];
    let places: Vec<usize> =
        order.iter().map(|part| text.find(part).unwrap_or_else(|| panic!("{part} in {text}"))).collect();
    assert!(places.is_sorted(), "{text}");
    portal.fail("crm.category.list", Some((403, "ACCESS_DENIED")));
    let text = portal.inspector(portal.settings()).norms().expect("an answer");
    assert!(text.contains("# funnels of deals are missing: access denied"), "{text}");
}
