//! Tests what people are informed, how, and what they can answer: the driver of `notify` with the embedded broker, and the
//! receivers of messages as fakes on a real socket.

use super::receivers::{API_TOKEN, BOT_TOKEN, ChatMessage, Fault, HOOK_SECRET, Notification, PORTAL_CODE, Receivers};
use funnelwatch::codec::{json as codec, protobuf};
use funnelwatch::config::Config;
use funnelwatch::config::notify::Hidden;
use funnelwatch::domain::alert::{Alert, Severity, Status};
use funnelwatch::domain::id::EntityId;
use funnelwatch::domain::rule::Rule;
use funnelwatch::domain::time::{Span, Timestamp};
use funnelwatch::edge::clock;
use funnelwatch::edge::kafka::acknowledged::AcknowledgedProducer;
use funnelwatch::edge::kafka::in_process::InProcess;
use funnelwatch::edge::kafka::{Observer, Stop};
use funnelwatch::notify::answers::Desk;
use funnelwatch::notify::asked::WAITING;
use funnelwatch::notify::channel::telegram::Buttons;
use funnelwatch::notify::driver::{self, NotifyContext};
use funnelwatch::notify::link::{self, Answer, Claim};
use funnelwatch::telemetry::http_metrics::HttpMetrics;
use funnelwatch::telemetry::liveness::Liveness;
use funnelwatch::telemetry::notify_metrics::NotifyMetrics;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing_subscriber::layer::SubscriberExt;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(120);
const LINK_SECRET: &str = "link-secret-0123456789";
/// Ids that would be markup in a message.
const EVIL: &str = "<b onclick=x>&[url=http://evil.example]x[/url]";

/// Everything that the program logs in these tests.
static LOG: LazyLock<Arc<Mutex<Vec<u8>>>> = LazyLock::new(|| {
    let log = Arc::<Mutex<Vec<u8>>>::default();
    let written = Arc::clone(&log);
    let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || Lines(Arc::clone(&written)));
    let filter = "off,funnelwatch=trace,ureq=debug,ureq_proto=debug".parse::<tracing_subscriber::filter::Targets>();
    let subscriber = tracing_subscriber::registry().with(filter.expect("a filter")).with(layer);
    tracing::subscriber::set_global_default(subscriber).expect("no other subscriber");
    log
});

struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A process of `notify` in this one.
struct Notifying {
    receivers: Receivers,
    metrics: Arc<NotifyMetrics>,
    kafka: InProcess,
    address: SocketAddr,
    stop: Stop,
    thread: Option<JoinHandle<Result<(), String>>>,
    producer: BaseProducer,
    sent: AtomicU32,
}

impl Notifying {
    /// Starts it with these keys of the section, which include the routes.
    fn start(section: &str, alerts: &[Alert]) -> Self {
        LazyLock::force(&LOG);
        let receivers = Receivers::start();
        receivers.state().people = json!({
            "managers": [{"id": "vera", "name": "Vera <i>Ivanova</i>", "department": "north"}, {"id": "oleg", "name": "Oleg"}],
            "departments": [{"id": "north", "head": "oleg", "parent": "sales"}, {"id": "sales", "head": "boss"}]});
        let closed = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"][(clock::now().0 / Span::DAY.0 + 6) as usize % 7];
        let text = format!(
            "calendars: {{never: {{timezone: UTC, week: {{{closed}: ['09:00-10:00']}}}}, always: {{timezone: UTC, week: {{mon: ['00:00-24:00'],
  tue: ['00:00-24:00'], wed: ['00:00-24:00'], thu: ['00:00-24:00'], fri: ['00:00-24:00'], sat: ['00:00-24:00'], sun: ['00:00-24:00']}}}}}}
calendar: always
norms: {{neglected: {{within: 24h}}}}
overrides: [{{when: {{department: south}}, calendar: never}}]
page: {{lead_url: 'https://crm.example.com/lead/{{id}}/'}}
kafka: {{consumer: {{fetch.wait.max.ms: 10}}}}
notify:
  api: {{url: 'http://{}', token: {API_TOKEN}}}
  links: {{public_url: 'https://fw.example.com', secret: {LINK_SECRET}}}
  people:
    vera: {{bitrix24: 17, telegram: 117}}
    oleg: {{bitrix24: 18, telegram: 118, language: ru}}
    boss: {{bitrix24: 19, telegram: 119}}
    '{EVIL}': {{bitrix24: 20, telegram: 120}}
  targets: {{{}}}
{section}",
            receivers.address,
            receivers.targets().replace("webhook:", &format!("alertmanager: {{url: 'http://{}'}}, webhook:", receivers.address)),
        );
        let mut config = Config::parse("test", &text).unwrap_or_else(|problems| panic!("{problems}"));
        let kafka = InProcess::start(&config.topics, 2).expect("a broker");
        config.kafka.bootstrap = kafka.bootstrap().to_owned();
        let notify = config.notify.clone().expect("a section");
        config.kafka.group.clone_from(&notify.group);
        let producer = ClientConfig::new().set("bootstrap.servers", kafka.bootstrap()).set("linger.ms", "0").create();
        let metrics = Arc::new(NotifyMetrics::new(Arc::new(HttpMetrics::new(10)), Arc::new(clock::now)));
        let liveness = Arc::<Liveness>::default();
        let (asked_in, asked) = crossbeam_channel::bounded(WAITING);
        let desk = Desk::new(&notify, asked_in.clone(), &metrics, &liveness);
        let address = desk.serve(&config, "127.0.0.1:0".parse().expect("an address")).expect("a port");
        Buttons::start(notify.targets.telegram.as_ref().expect("a bot"), notify.language, asked_in).expect("a thread");
        let stop = Stop::default();
        let context = NotifyContext {
            producer: AcknowledgedProducer::start(&config).expect("a producer"),
            config,
            notify,
            metrics: Arc::clone(&metrics),
            observer: Arc::new(Observer::new(Arc::default(), Arc::clone(&liveness), |_| ())),
            liveness,
            stop: stop.clone(),
            asked,
            dry_run: false,
            records: true,
        };
        let notifying = Self {
            receivers,
            metrics,
            kafka,
            address,
            stop,
            thread: None,
            producer: producer.expect("a producer"),
            sent: AtomicU32::new(0),
        };
        alerts.iter().for_each(|alert| notifying.publish(alert));
        let thread = std::thread::spawn(move || driver::run(&context).map_err(|error| error.to_string()));
        Self { thread: Some(thread), ..notifying }
    }

    /// Publishes a status of an alert, in JSON and protobuf by turns.
    fn publish(&self, alert: &Alert) {
        let n = self.sent.fetch_add(1, Ordering::Relaxed);
        let encode = if n.is_multiple_of(2) { codec::encode_alert } else { protobuf::encode_alert };
        let mut bytes = Vec::new();
        encode(alert, "a message", &mut bytes);
        self.publish_bytes(&bytes);
    }

    fn publish_bytes(&self, bytes: &[u8]) {
        let record = BaseRecord::to("funnelwatch.alerts").partition(0).key("acme").payload(bytes);
        self.producer.send(record).map_err(|(error, _)| error).expect("sent");
        self.producer.flush(PATIENCE).expect("delivered");
    }

    /// The value of a sample.
    fn metric(&self, sample: &str) -> u64 {
        let text = String::from_utf8(self.metrics.render()).expect("UTF-8");
        let value = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().expect("a count"))
    }

    /// Waits until a condition holds.
    fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !holds(self) {
            let state = self.receivers.state();
            let seen = (&state.messages, &state.notifications, &state.todos, &state.tasks);
            assert!(started.elapsed() < PATIENCE, "{what}: {seen:#?}");
            drop(state);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until an alert, published now, has gone the whole way to its webhook, and nothing is owed.
    fn settled(&self) {
        let mark = Alert {
            severity: Severity::Info,
            manager: None,
            department: None,
            ..alert(&format!("mark{}", clock::now().0), Status::Raised)
        };
        self.publish(&mark);
        let id = mark.id.to_string();
        let has_mark = |this: &Self| this.receivers.state().hooked.iter().any(|(_, alert)| alert["alert_id"] == *id);
        self.until("the mark", has_mark);
        self.until("nothing owed", |this| this.metric("funnelwatch_notify_messages_owed") == 0);
    }

    fn chat(&self, chat: i64) -> Vec<ChatMessage> {
        self.receivers.state().messages.iter().filter(|message| message.chat == chat).cloned().collect()
    }

    fn bells(&self, user: i64) -> Vec<Notification> {
        self.receivers.state().notifications.iter().filter(|bell| bell.user == user).cloned().collect()
    }

    fn http(&self, method: &str, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).expect("connected");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: fw.example.com\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("sent");
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        (status, text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    }

    /// The events that were written.
    fn events(&self) -> Vec<Value> {
        let texts = super::gateway::read_topic(self.kafka.bootstrap(), "crm.events");
        texts.iter().map(|text| serde_json::from_str(text).expect("JSON")).collect()
    }

    /// Stops it, and checks what holds for every run.
    fn finish(mut self) {
        self.stop.stop();
        self.thread.take().expect("running").join().expect("no panic").expect("no error");
        let state = self.receivers.state();
        assert_eq!((state.too_soon, state.bad_signatures), (0, 0), "flood limits are kept, and requests are signed");
        let log = String::from_utf8_lossy(&LOG.lock().expect("no panic")).into_owned();
        let page = String::from_utf8(self.metrics.render()).expect("UTF-8");
        for secret in [BOT_TOKEN, PORTAL_CODE, HOOK_SECRET, LINK_SECRET, API_TOKEN] {
            let line = log.lines().chain(page.lines()).find(|line| line.contains(secret));
            assert_eq!(line, None, "a secret is shown");
        }
    }
}

fn alert(lead: &str, status: Status) -> Alert {
    let subject = format!("lead:{lead}");
    Alert {
        id: Uuid::new_v5(&Uuid::NAMESPACE_OID, subject.as_bytes()),
        tenant: "acme".into(),
        rule: Rule::Neglected,
        severity: Severity::Warning,
        level: 0,
        status,
        subject: subject.into(),
        at: clock::now(),
        anchor_at: clock::now().saturating_sub(Span::HOUR),
        due_at: Some(clock::now() + Span::HOUR),
        manager: Some("vera".into()),
        department: Some("north".into()),
        entity: Some(EntityId::lead(lead)),
        interaction: None,
        window: None,
        observed: Vec::new(),
        norm: Vec::new(),
        resolution: None,
        historic: false,
    }
}

/// What every test needs: marks go to the webhook alone.
const MARKS: &str = "    - {when: {severity: [info]}, via: [webhook]}\n";

#[test]
fn alerts_reach_whom_the_routes_say_and_messages_follow_them_to_their_end() {
    let past = Alert { historic: true, ..alert("9", Status::Firing) };
    let section = format!(
        "  hold: 0s
  fallback: [{{chat: -100500}}]
  routes:
{MARKS}    - {{when: {{status: [DUE_SOON]}}, to: [manager], via: [bitrix24, todo]}}
    - {{when: {{severity: [critical]}}, to: [head], via: [telegram, task], continue: true}}
    - {{when: {{severity: [critical], level: 1}}, to: [head_of_head], via: [telegram], continue: true}}
    - {{to: [manager], via: [telegram, webhook]}}
"
    );
    let notifying = Notifying::start(&section, &[past]);
    // One alert from the warning to the end.
    for status in [Status::DueSoon, Status::Firing, Status::Resolved] {
        notifying.publish(&alert("1", status));
        notifying.settled();
    }
    let bells = notifying.bells(17);
    assert_eq!(bells.len(), 1, "one notification that follows the alert: {bells:?}");
    let first_words = |texts: &[String]| texts.iter().map(|text| text[3..10].to_owned()).collect::<Vec<_>>();
    assert_eq!(first_words(&bells[0].texts), ["Due soo", "Violati", "Over: C"], "{:?}", bells[0].texts);
    let messages = notifying.chat(117);
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert_eq!(first_words(&messages[0].texts), ["Violati", "Over: C"], "{:?}", messages[0].texts);
    assert!(messages[0].texts[0].contains("<a href=\"https://crm.example.com/lead/1/\">"), "{:?}", messages[0].texts);
    assert!(messages[0].texts[0].contains("Vera &lt;i&gt;Ivanova&lt;/i&gt;"), "{:?}", messages[0].texts);
    {
        let state = notifying.receivers.state();
        let todo = &state.todos;
        assert_eq!(todo.len(), 1, "{todo:?}");
        assert!(todo[0]["title"].as_str().is_some_and(|title| title.starts_with("funnelwatch: ")));
        assert_eq!(
            (&todo[0]["ownerTypeId"], &todo[0]["ownerId"], &todo[0]["responsibleId"]),
            (&json!(1), &json!(1), &json!(17))
        );
        let statuses: Vec<_> = state
            .hooked
            .iter()
            .filter(|(_, alert)| alert["entity"] == "lead:1")
            .map(|(_, alert)| alert["status"].clone())
            .collect();
        assert_eq!(statuses, [json!("FIRING"), json!("RESOLVED")]);
    }

    // A critical one goes to the manager and the head, and to the head of the head once it is escalated.
    let critical = |status, level| Alert { severity: Severity::Critical, level, ..alert("2", status) };
    notifying.publish(&critical(Status::Firing, 0));
    notifying.settled();
    assert_eq!((notifying.chat(117).len(), notifying.chat(118).len(), notifying.chat(119).len()), (2, 1, 0));
    let head = notifying.chat(118);
    assert!(head[0].texts[0].starts_with("<b>Нарушение: "), "in the head's language: {head:?}");
    notifying.publish(&critical(Status::Escalated, 1));
    notifying.settled();
    assert_eq!((notifying.chat(117).len(), notifying.chat(118).len(), notifying.chat(119).len()), (2, 1, 1));
    assert_eq!(notifying.chat(118)[0].texts.len(), 2, "the message says that it is escalated");
    notifying.publish(&critical(Status::Retracted, 1));
    notifying.settled();
    for chat in [117, 118, 119] {
        let last = notifying.chat(chat).last().and_then(|message| message.texts.last().cloned()).expect("a text");
        assert!(last.starts_with("<b>No violation") || last.starts_with("<b>Нарушения не было"), "{chat}: {last}");
    }
    assert_eq!(notifying.receivers.state().tasks.len(), 1);

    // Nobody can be reached: the list. A known person is informed only where there is a route.
    notifying.publish(&Alert { manager: Some("nobody".into()), ..alert("3", Status::Firing) });
    notifying.publish(&Alert { manager: None, department: None, ..alert("4", Status::Firing) });
    // Ids are no markup, in any channel.
    notifying.publish(&Alert { manager: Some(EVIL.into()), ..alert(EVIL, Status::DueSoon) });
    notifying.publish(&Alert { manager: Some(EVIL.into()), ..alert(EVIL, Status::Firing) });
    notifying.publish_bytes(b"{\"no\": \"alert\"}");
    notifying.settled();
    assert_eq!(notifying.chat(-100_500).len(), 2);
    let bell = notifying.bells(20);
    let texts = bell.iter().flat_map(|bell| &bell.texts).cloned().collect::<String>();
    assert!(texts.contains("evil.example") && !texts.contains("[url=http://evil"), "{texts}");
    let message = notifying.chat(120);
    assert!(message.len() == 1 && message[0].texts[0].contains("&lt;b onclick=x&gt;&amp;"), "{message:?}");
    assert_eq!(notifying.metric("funnelwatch_notify_unreadable_total"), 1);
    let has_past = |texts: &[String]| texts.iter().any(|text| text.contains("lead/9/"));
    let state = notifying.receivers.state();
    assert!(!state.messages.iter().any(|message| has_past(&message.texts)), "what belongs to the past is not sent");
    assert!(!state.notifications.iter().any(|bell| has_past(&bell.texts)));
    drop(state);
    assert_eq!(notifying.metric("funnelwatch_notify_messages_doubled_total"), 0);
    notifying.finish();
}

#[test]
fn what_is_over_within_the_hold_or_outside_working_hours_is_withheld() {
    let section = format!(
        "  hold: 4s
  routes:
{MARKS}    - {{when: {{severity: [critical]}}, to: [manager], via: [telegram], quiet_hours: calendar}}
    - {{to: [manager], via: [telegram]}}
"
    );
    let notifying = Notifying::start(&section, &[]);
    let critical = |lead: &str, department: &str| Alert {
        severity: Severity::Critical,
        department: Some(department.into()),
        ..alert(lead, Status::Firing)
    };
    for (lead, end) in [("1", Status::Retracted), ("2", Status::Resolved)] {
        notifying.publish(&alert(lead, Status::Firing));
        notifying.publish(&alert(lead, end));
    }
    notifying.publish(&alert("3", Status::Firing));
    notifying.publish(&critical("4", "north"));
    notifying.publish(&critical("5", "south"));
    notifying.until("what is in working hours", |this| this.chat(117).len() == 2);
    let texts: String = notifying.chat(117).iter().flat_map(|message| message.texts.clone()).collect();
    assert!(texts.contains("lead/3/") && texts.contains("lead/4/") && !texts.contains("lead/5/"), "{texts}");
    assert_eq!(notifying.metric("funnelwatch_notify_messages_withheld_total"), 2);
    notifying.until("one outside working hours", |this| this.metric("funnelwatch_notify_messages_owed") == 1);
    notifying.publish(&Alert { status: Status::Resolved, ..critical("5", "south") });
    notifying.settled();
    assert_eq!((notifying.chat(117).len(), notifying.metric("funnelwatch_notify_messages_withheld_total")), (2, 3));
    notifying.finish();
}

#[test]
fn alerts_of_a_group_are_one_message_and_a_backlog_is_sent_as_it_is_now() {
    let section = format!(
        "  hold: 0s
  routes:
{MARKS}    - {{to: [head], via: [telegram, bitrix24], group: {{by: [manager, rule], wait: 2s, most: 10}}}}
"
    );
    // What was over before the program read it is not sent.
    let before: Vec<Alert> =
        (0..12).map(|n| alert(&format!("{n}"), Status::Firing)).chain([alert("0", Status::Resolved)]).collect();
    let notifying = Notifying::start(&section, &before);
    notifying.until("the group", |this| this.chat(118).len() == 1 && this.bells(18).len() == 1);
    notifying.settled();
    let (message, bell) = (notifying.chat(118).remove(0), notifying.bells(18).remove(0));
    for text in [&message.texts[0], &bell.texts[0]] {
        assert!(text.contains("11 нарушений") && text.contains("и ещё 1") && !text.contains("lead/0/"), "{text}");
    }
    // What becomes of one of them is an edit of the same message.
    notifying.publish(&alert("5", Status::Resolved));
    notifying.settled();
    let (messages, bells) = (notifying.chat(118), notifying.bells(18));
    assert_eq!((messages.len(), messages[0].texts.len(), bells.len(), bells[0].texts.len()), (1, 2, 1, 2));
    assert!(messages[0].texts[1].contains("из них открыто: 10"), "{:?}", messages[0].texts);
    notifying.finish();
}

#[test]
fn refusals_limits_and_lost_answers_of_the_channels_are_understood() {
    let section = format!(
        "  hold: 0s
  people: {{}}
  routes:
{MARKS}    - {{when: {{rule: [neglected]}}, to: [manager], via: [telegram, bitrix24, task, webhook]}}
    - {{to: [{{chat: -100500}}, {{chat: 500}}], via: [telegram]}}
"
    )
    .replace("  people: {}\n", "");
    let notifying = Notifying::start(&section, &[]);
    let answer = |status, text: &str| Fault::Answer(status, serde_json::from_str(text).expect("JSON"));
    let receivers = &notifying.receivers;
    let too_many = r#"{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 1","parameters":{"retry_after":1}}"#;
    receivers.fail("/sendMessage", [answer(429, too_many), Fault::Away]);
    receivers.fail("/im.notify.personal.add", [answer(503, r#"{"error":"QUERY_LIMIT_EXCEEDED"}"#), Fault::Lost]);
    receivers.fail("/tasks.task.add", [Fault::Lost]);
    receivers.fail("/hook", [answer(500, "{}"), Fault::Lost]);
    // An edit whose answer is lost is repeated: "message is not modified".
    receivers.fail("/editMessageText", [Fault::Lost]);
    notifying.publish(&alert("1", Status::Firing));
    notifying.until("all channels", |this| {
        let state = this.receivers.state();
        let (messages, bells) =
            (state.messages.len(), state.notifications.iter().map(|bell| bell.texts.len()).sum::<usize>());
        (messages, bells, state.tasks.len(), state.hooked.len()) == (1, 2, 1, 1)
    });
    notifying.settled();
    // The connection was closed without an answer, once: Telegram cannot be asked.
    assert_eq!(notifying.metric("funnelwatch_notify_messages_doubled_total"), 1);
    notifying.publish(&alert("1", Status::Resolved));
    notifying.settled();
    {
        let state = receivers.state();
        assert_eq!(
            (state.messages.len(), state.messages[0].texts.len(), state.notifications.len(), state.tasks.len()),
            (1, 2, 1, 1)
        );
        let edits = state.requests.iter().filter(|request| request.path.ends_with("/editMessageText")).count();
        assert_eq!(edits, 2, "the repeated edit");
    }
    assert_eq!(notifying.metric("funnelwatch_notify_messages_doubled_total"), 1, "an edit is not doubled");

    // A message that can never arrive is given up; a group that moved is followed.
    receivers.state().moved.insert(-100_500, -1_009_000);
    receivers.fail("/im.notify.personal.add", [Fault::Answer(200, json!({"result": false}))]);
    let blocked = json!({"ok": false, "error_code": 403, "description": "Forbidden: bot was blocked by the user"});
    receivers.fail("/sendMessage", [Fault::Answer(403, blocked)]);
    notifying.publish(&alert("2", Status::Firing));
    notifying.settled();
    assert_eq!((notifying.chat(117).len(), notifying.bells(17).len()), (1, 1), "refused");
    let refused = |channel: &str, reason: &str| {
        notifying.metric(&format!(r#"funnelwatch_notify_messages_total{{channel="{channel}",outcome="{reason}"}}"#))
    };
    assert_eq!((refused("telegram", "blocked_by_user"), refused("bitrix24", "bad_request")), (1, 1));
    notifying.publish(&Alert { rule: Rule::FirstResponseLate, ..alert("3", Status::Firing) });
    notifying.settled();
    assert_eq!((notifying.chat(-1_009_000).len(), notifying.chat(500).len()), (1, 1));
    // A message whose answer is lost is sent again, and is counted.
    receivers.fail("/sendMessage", [Fault::Lost]);
    notifying.publish(&alert("4", Status::Firing));
    notifying.settled();
    assert_eq!((notifying.chat(117).len(), notifying.metric("funnelwatch_notify_messages_doubled_total")), (3, 2));
    notifying.finish();
}

/// The path of a link in a text.
fn path(text: &str, answer: &str) -> String {
    let links = text.split("https://fw.example.com").skip(1);
    let path = |link: &str| link.split(['"', ']', '\n']).next().unwrap_or_default().to_owned();
    let found = links.map(path).find(|path| path.starts_with(&format!("/a/{answer}.")));
    found.unwrap_or_else(|| panic!("no link {answer} in {text}"))
}

#[test]
fn people_answer_by_link_once_and_nobody_else_does() {
    let section = format!(
        "  hold: 0s
  routes:
{MARKS}    - {{to: [manager, head], via: [bitrix24]}}
"
    );
    let notifying = Notifying::start(&section, &[]);
    let open = |lead: &str| Alert { interaction: Some(format!("call-{lead}").into()), ..alert(lead, Status::Firing) };
    ["1", "2", "3"].iter().for_each(|lead| notifying.publish(&open(lead)));
    notifying.settled();
    let text = |user: i64, n: usize| notifying.bells(user)[n].texts.last().cloned().expect("a text");
    let of = |user: i64, lead: &str| {
        let found = notifying.bells(user).iter().position(|bell| bell.texts[0].contains(&format!("lead/{lead}/")));
        text(user, found.expect("a notification"))
    };

    // GET shows, and changes nothing, however often.
    let taken = path(&of(17, "1"), "t");
    for _ in 0..3 {
        let (status, page) = notifying.http("GET", &taken);
        assert!(status == 200 && page.contains("<form method=\"post\">") && !page.contains("lead"), "{status} {page}");
    }
    assert_eq!(notifying.http("HEAD", &taken).0, 200);
    assert!(notifying.events().is_empty());

    // Forged ones: another answer, alert or person; another key; expired; nonsense.
    let claim = |person: &str, valid_for: Span| Claim {
        answer: Answer::Taken,
        alert: alert("1", Status::Firing).id,
        valid_until: clock::now() + valid_for,
        person: person.into(),
    };
    let signed = |key: &str, claim: &Claim| format!("/a/{}", link::token(&Hidden(key.into()), claim));
    let other = alert("2", Status::Firing).id.simple().to_string();
    let forged = [
        taken.replacen("/a/t.", "/a/d.", 1),
        taken.replace(&alert("1", Status::Firing).id.simple().to_string(), &other),
        signed("another-secret-123456", &claim("vera", Span::HOUR)),
        signed(LINK_SECRET, &claim("vera", Span(-1))),
        format!("{taken}0"),
        "/a/x".into(),
        format!("/a/{}", "y".repeat(3000)),
    ];
    for path in &forged {
        for method in ["GET", "POST"] {
            assert_eq!(notifying.http(method, path).0, 404, "{method} {path}");
        }
    }
    // Signed, but for somebody who was not informed; for an alert that is not known.
    assert_eq!(notifying.http("POST", &signed(LINK_SECRET, &claim("boss", Span::HOUR))).0, 409);
    let unknown = Claim { alert: Uuid::from_u128(7), ..claim("vera", Span::HOUR) };
    assert_eq!(notifying.http("POST", &signed(LINK_SECRET, &unknown)).0, 409);
    assert!(notifying.events().is_empty());

    // POST acts, once; another link of the same person has no further effect, and the head is too late.
    let (status, page) = notifying.http("POST", &taken);
    assert!(status == 200 && page.contains("Thank you"), "{page}");
    assert_eq!(notifying.http("POST", &taken).0, 409, "used");
    assert_eq!(
        notifying.http("POST", &signed(LINK_SECRET, &claim("vera", Span::HOUR))).0,
        409,
        "taken by the same person"
    );
    let (status, page) = notifying.http("POST", &path(&of(18, "1"), "t"));
    assert!(status == 409 && page.contains("Somebody else"), "{page}");
    let dismissed = path(&of(18, "2"), "d");
    assert_eq!((notifying.http("POST", &dismissed).0, notifying.http("POST", &dismissed).0), (200, 409));
    // What is over needs no answer.
    let late = path(&of(17, "3"), "t");
    notifying.publish(&Alert { status: Status::Resolved, ..open("3") });
    notifying.settled();
    assert_eq!(notifying.http("POST", &late).0, 409);
    let events = notifying.events();
    assert_eq!(events.len(), 2, "{events:?}");
    let id = alert("1", Status::Firing).id.to_string();
    assert_eq!(events[0]["alert_taken"], json!({"alert_id": id, "manager_id": "vera"}));
    assert_eq!(events[1]["interaction_dismissed"], json!({"interaction_id": "call-2", "manager_id": "oleg"}));
    let mut ids: Vec<_> = events.iter().map(|event| event["event_id"].to_string()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 2);
    for verdict in ["accepted", "used", "over", "not_recipient", "forged_or_expired"] {
        assert!(
            notifying.metric(&format!(r#"funnelwatch_notify_answers_total{{verdict="{verdict}"}}"#)) > 0,
            "{verdict}"
        );
    }
    notifying.finish();
}

#[test]
fn people_answer_by_button_and_the_message_says_who_takes_care() {
    let section = format!(
        "  hold: 0s
  routes:
{MARKS}    - {{to: [manager, head], via: [telegram]}}
    - {{to: [{{chat: -500}}], via: [telegram]}}
"
    );
    let notifying = Notifying::start(&section, &[]);
    notifying.publish(&Alert { interaction: Some("call-1".into()), ..alert("1", Status::Firing) });
    notifying.settled();
    let message = notifying.chat(117).remove(0);
    let names: Vec<_> = message.buttons.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["I take care of it", "No answer needed"]);
    let data = message.buttons[0].1.clone();
    let press = |id: &str, from: i64, chat: i64, data: &str| {
        notifying.receivers.press(id, from, chat, data);
        notifying.until(id, |this| this.receivers.state().said.iter().any(|(said, _)| said == id));
        let state = notifying.receivers.state();
        state.said.iter().find(|(said, _)| said == id).map(|(_, text)| text.clone()).expect("just found")
    };
    // Forwarded to a group, pressed by a stranger, nonsense.
    for (id, from, chat, data) in
        [("a", 117, -500, data.as_str()), ("b", 999, 999, &data), ("c", 117, 117, "t"), ("d", 117, 117, "")]
    {
        assert_eq!(press(id, from, chat, data), "This message was sent to somebody else.", "{id}");
    }
    assert!(notifying.events().is_empty());
    assert_eq!(press("e", 117, 117, &data), "Noted. Thank you.");
    assert_ne!(press("f", 117, 117, &data), "Noted. Thank you.");
    assert_ne!(press("g", 118, 118, &data), "Noted. Thank you.", "the head is too late");
    notifying.settled();
    let events = notifying.events();
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["alert_taken"]["manager_id"], "vera");
    for chat in [117, 118] {
        let message = notifying.chat(chat).remove(0);
        assert!(
            message.texts.len() == 2 && message.buttons.is_empty() && message.texts[1].contains("vera"),
            "{message:?}"
        );
    }
    notifying.finish();
}

#[test]
fn an_alert_for_a_head_who_is_not_known_yet_waits_and_names_are_those_of_now() {
    let section = format!(
        "  hold: 0s
  routes:
{MARKS}    - {{to: [head], via: [telegram]}}
"
    );
    let notifying = Notifying::start(&section, &[]);
    // The company's shard is being moved when the alert comes.
    notifying.receivers.fail("/people", [Fault::Answer(503, json!({}))]);
    notifying.publish(&alert("1", Status::Firing));
    notifying.until("the alert is kept", |this| this.metric("funnelwatch_notify_alerts") == 1);
    assert!(notifying.chat(118).is_empty(), "nobody is known");
    notifying.until("the head is informed", |this| this.chat(118).len() == 1);
    notifying.settled();
    let texts = notifying.chat(118).remove(0).texts;
    assert!(texts.len() == 1 && texts[0].contains("Vera &lt;i&gt;Ivanova"), "{texts:?}");
    let asked = notifying.receivers.state().requests.iter().filter(|request| request.path.ends_with("/people")).count();
    assert!((2..=4).contains(&asked), "the API is not asked more often than needed: {asked}");
    notifying.finish();
}

#[test]
fn an_alertmanager_is_told_which_alerts_are_open() {
    let section = format!("  routes:\n{MARKS}    - {{via: [alertmanager]}}\n");
    let open = [
        alert("1", Status::DueSoon),
        alert("2", Status::Firing),
        alert("3", Status::Firing),
        alert("3", Status::Resolved),
    ];
    let raised = Alert { due_at: None, ..alert("4", Status::Raised) };
    let notifying = Notifying::start(&section, &[&open[..], &[raised]].concat());
    notifying.until("the Alertmanager", |this| this.receivers.state().told.len() == 4);
    let now = Timestamp(clock::now().0);
    for told in notifying.receivers.state().told.values() {
        let at = |key: &str| told[key].as_str().and_then(Timestamp::parse);
        assert!(at("startsAt").is_some_and(|starts| starts <= now), "a begin in the future is refused: {told}");
        assert_eq!(at("endsAt").is_some(), told["annotations"]["status"] == "RESOLVED", "{told}");
        assert_eq!(told["labels"]["manager"], "vera");
    }
    notifying.finish();
}
