//! Tests that people are informed of every stage of every alert, by a process that is killed, while Kafka restarts and receivers are
//! away: the alerts of simulated days, with a real mail server and a real Alertmanager, which are stopped, too. What is owed is
//! computed here from the alerts and the routes, by other code than that of the program.

use super::child::Killed;
use super::fixture::{Fixture, Raw, report, until, variable};
use super::receivers::{API_TOKEN, BOT_TOKEN, Fault, HOOK_SECRET, PORTAL_CODE, Receivers};
use funnelwatch::domain::time::Span;
use funnelwatch::sim::{Plan, Simulation, norms_yaml};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The alerts of a rule of which people are informed.
const PER_RULE: usize = 12;
const PARTITIONS: u32 = 2;
/// The rule of which managers are informed in their chats.
const RULE: &str = "first_response_late";

/// The alerts of simulated days, each with its statuses in order: what is informed of, and some whose begin is their end.
fn alerts(fixture: &Fixture) -> Vec<Vec<Value>> {
    let mut plan = Plan { keeps_expected: false, ..Plan::demo(3) };
    // A small company: the week is replayed without optimization.
    plan.companies.truncate(1);
    let company = &mut plan.companies[0];
    (company.leads_per_day, company.callers_per_day, company.backlog) = (15, 8, 20);
    let close = plan.start + Span(7 * Span::DAY.0);
    let events: Vec<_> = Simulation::new(plan).take_while(|event| event.at <= close).collect();
    let (lines, _) = fixture.replay(&events, Some(close));
    let mut by_id: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in lines {
        let alert: Value = serde_json::from_str(&line).expect("JSON");
        by_id.entry(alert["alert_id"].as_str().expect("an id").to_owned()).or_default().push(alert);
    }
    let mut all: Vec<_> = by_id.into_values().collect();
    all.iter_mut().for_each(|statuses| statuses.sort_by_key(order));
    // Of every rule some.
    let mut rules: BTreeMap<String, usize> = BTreeMap::new();
    all.retain(|statuses| {
        let count = rules.entry(statuses[0]["rule"].to_string()).or_default();
        *count += 1;
        *count <= PER_RULE
    });
    // For some of them the week ends before they do.
    for statuses in all.iter_mut().step_by(3).filter(|statuses| statuses.len() > 1) {
        statuses.retain(|alert| !is_over(alert));
    }
    all.retain(|statuses| !statuses.is_empty());
    all
}

/// Takes away some of the alerts that are mailed and end: their statuses come while the mail server and the Alertmanager are away.
fn take_brief(alerts: &mut Vec<Vec<Value>>) -> Vec<Vec<Value>> {
    let ends = |statuses: &[Value]| {
        statuses.iter().any(is_mailed)
            && statuses.first().is_some_and(|first| !is_over(first) && first["historic"] != true)
            && statuses.last().is_some_and(is_over)
    };
    let (mut brief, mut others, mut found) = (Vec::new(), Vec::new(), 0);
    for statuses in alerts.drain(..) {
        found += usize::from(ends(&statuses));
        let list = if ends(&statuses) && found % 2 == 1 { &mut brief } else { &mut others };
        list.push(statuses);
    }
    *alerts = others;
    brief
}

/// Whether the head is mailed this status.
fn is_mailed(alert: &Value) -> bool {
    alert["severity"] == "critical" && !is_over(alert)
}

/// Whether an alert is over, or never was.
fn is_over(alert: &Value) -> bool {
    ["RESOLVED", "AVERTED", "RETRACTED"].contains(&alert["status"].as_str().unwrap_or_default())
}

/// The order of the statuses of an alert.
fn order(alert: &Value) -> (String, u8) {
    let rank = ["DUE_SOON", "FIRING", "RAISED", "ESCALATED", "RESOLVED", "AVERTED", "RETRACTED"];
    let status = alert["status"].as_str().expect("a status");
    let place = rank.iter().position(|known| *known == status).expect("a known status");
    (alert["at"].as_str().expect("a time").to_owned(), place as u8)
}

/// What the routes of this test ask for, computed from the statuses that were published one after another with all messages
/// sent in between.
#[derive(Default)]
struct Owed {
    /// The stages that the webhook is informed: alert, status, level.
    hooked: BTreeSet<(String, String, u64)>,
    /// The versions of a message to a manager's chat, by chat and alert.
    chats: BTreeMap<(i64, String), usize>,
    /// Mails to the head: alert, status, level.
    mails: BTreeSet<(String, String, u64)>,
    /// What an Alertmanager shows in the end.
    open: BTreeSet<String>,
}

fn owed(alerts: &[Vec<Value>], chats: &BTreeMap<String, i64>) -> Owed {
    let mut owed = Owed::default();
    for statuses in alerts {
        let text = |alert: &Value, key: &str| alert[key].as_str().unwrap_or_default().to_owned();
        let stage = |alert: &Value| {
            (text(alert, "alert_id"), text(alert, "status"), alert["level"].as_u64().unwrap_or_default())
        };
        let mut told = statuses.iter().skip_while(|alert| is_over(alert) || alert["historic"] == true);
        let mut is_chatting = false;
        for alert in &mut told {
            owed.hooked.insert(stage(alert));
            // Critical ones are mailed while they last, and each stage is a mail of its own.
            if is_mailed(alert) {
                owed.mails.insert(stage(alert));
            }
            // The manager's chat; the message says what becomes of it.
            let chat = chats.get(&text(alert, "manager_id"));
            is_chatting |= alert["rule"] == RULE && !is_over(alert) && chat.is_some();
            if is_chatting {
                *owed.chats.entry((*chat.expect("a chat"), text(alert, "alert_id"))).or_default() += 1;
            }
        }
        let last = statuses.last().expect("a status");
        if !is_over(last) && last["status"] != "RAISED" {
            owed.open.insert(text(last, "alert_id"));
        }
    }
    owed
}

fn config(fixture: &Fixture, receivers: &Receivers, listen: u16, chats: &BTreeMap<String, i64>) -> String {
    let people: String = chats.iter().map(|(id, chat)| format!("    {id}: {{telegram: {chat}}}\n")).collect();
    let (smtp_host, smtp_port) = variable("FUNNELWATCH_SMTP")
        .split_once(':')
        .map(|(host, port)| (host.to_owned(), port.to_owned()))
        .expect("an address");
    format!(
        "{}notify:
  listen: 127.0.0.1:{listen}
  group: {}
  hold: 0s
  api: {{url: 'http://{}', token: {API_TOKEN}}}
  targets: {{{}, mail: {{host: {smtp_host}, port: {smtp_port}, tls: none, from: watch@sales.example}}, alertmanager: {{url: '{}'}}}}
  people:
{people}  routes:
    - {{via: [webhook, alertmanager], continue: true}}
    - {{when: {{rule: [{RULE}]}}, to: [manager], via: [telegram], continue: true}}
    - {{when: {{severity: [critical]}}, to: [{{mail: '{}'}}], via: [mail]}}
",
        fixture.sections(),
        fixture.topic("notify-group"),
        receivers.address,
        receivers.targets(),
        variable("FUNNELWATCH_ALERTMANAGER"),
        head(fixture),
    )
}

/// The address of the head, which no other run has.
fn head(fixture: &Fixture) -> String {
    format!("{}@sales.example", fixture.topic("head"))
}

/// The section for which the topic of `notify` is created.
const SECTION: &str = "notify: {}\n";

/// A process of `notify`, started again and again.
struct Notifying {
    config: PathBuf,
    listen: u16,
    log: PathBuf,
    child: Option<Killed>,
    /// The doubles that earlier processes have counted.
    doubled: u64,
}

impl Notifying {
    fn start(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(&self.log).expect("a file");
        let child = Command::new(env!("CARGO_BIN_EXE_funnelwatch"))
            .args(["notify", "--config"])
            .arg(&self.config)
            .env("RUST_LOG", "debug,rdkafka=info,librdkafka=info")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(Killed(child.expect("the process starts")));
        until("the process reads alerts", || self.get("/readyz").is_some_and(|text| text.contains("200 OK")));
    }

    /// Kills it, and starts another one.
    fn kill(&mut self) {
        // What it has counted. A restored message counts before the process is ready.
        self.doubled += self.metric("messages_doubled_total").unwrap_or_default();
        self.child.take().expect("running").kill();
        self.start();
    }

    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.listen)).ok()?;
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())
            .ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    }

    fn metric(&self, name: &str) -> Option<u64> {
        let page = self.get("/metrics")?;
        page.lines().find_map(|line| line.strip_prefix(&format!("funnelwatch_notify_{name} "))?.parse().ok())
    }
}

/// The mails to the head: the id of each, as often as it arrived.
fn mails(fixture: &Fixture) -> Vec<String> {
    let folder = PathBuf::from(variable("FUNNELWATCH_SERVICES_DIR")).join("smtp/mail/new");
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let id = |entry: std::fs::DirEntry| {
        let text = std::fs::read_to_string(entry.path()).ok()?;
        text.contains(&format!("Envelope-to: {}", head(fixture))).then_some(())?;
        let id = text.lines().find_map(|line| line.strip_prefix("Message-ID: <"))?;
        Some(id.split('@').next().unwrap_or_default().to_owned())
    };
    entries.map_while(Result::ok).filter_map(id).collect()
}

/// The ids of the alerts that the Alertmanager shows as active.
fn shown() -> BTreeSet<String> {
    let address = variable("FUNNELWATCH_ALERTMANAGER");
    let output =
        Command::new("curl").args(["-fsS", "-m", "5", &format!("{address}/api/v2/alerts?active=true")]).output();
    let alerts: Value = serde_json::from_slice(&output.expect("curl runs").stdout).unwrap_or_default();
    let id = |alert: &Value| alert["labels"]["alert_id"].as_str().map(str::to_owned);
    alerts.as_array().into_iter().flatten().filter_map(id).collect()
}

fn service(name: &str, arguments: &[&str]) {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/services").join(name);
    let status = Command::new(script).args(arguments).stderr(Stdio::null()).status();
    assert!(status.expect("a script").success(), "{name} {arguments:?}");
}

/// The servers that are real and not of this test.
const SERVERS: [&str; 2] = ["smtp", "alertmanager"];
/// Their channels.
const SERVERS_BY_CHANNEL: [&str; 2] = ["mail", "alertmanager"];

#[test]
#[ignore = "stops the broker of all tests; tests/services/run runs it alone"]
fn people_are_told_of_every_stage_once_whatever_happens() {
    let fixture = Fixture::new("notify", PARTITIONS, &format!("{}{SECTION}", norms_yaml()));
    let mut alerts = alerts(&fixture);
    assert!(alerts.len() > 3 * PER_RULE, "{}", alerts.len());
    let brief = take_brief(&mut alerts);
    assert!(!brief.is_empty(), "some begin and end while servers are away");
    // Some managers have a chat.
    let managers: BTreeSet<String> = alerts
        .iter()
        .chain(&brief)
        .flatten()
        .filter_map(|alert| alert["manager_id"].as_str().map(str::to_owned))
        .collect();
    let chats: BTreeMap<String, i64> =
        managers.iter().zip(1_000..).filter(|(_, n)| n % 2 == 0).map(|(id, n)| (id.clone(), n)).collect();
    let of_brief = owed(&brief, &chats);
    let mut owed = owed(&alerts, &chats);
    // What is over when the mail server returns is not mailed.
    let hooked_brief = of_brief.hooked.len();
    owed.hooked.extend(of_brief.hooked);
    owed.chats.extend(of_brief.chats);
    assert!(!of_brief.mails.is_empty() && of_brief.open.is_empty());
    assert!(
        !owed.chats.is_empty() && !owed.mails.is_empty() && !owed.open.is_empty(),
        "of all sorts: {} {} {}",
        owed.chats.len(),
        owed.mails.len(),
        owed.open.len()
    );

    let receivers = Receivers::start();
    receivers.state().people = json!({"managers": [], "departments": []});
    let listen = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let path = std::env::temp_dir().join(format!("{}.yaml", fixture.topic("config")));
    std::fs::write(&path, config(&fixture, &receivers, listen, &chats)).expect("a file");
    let log = path.with_extension("log");
    let mut notifying = Notifying { config: path.clone(), listen, log: log.clone(), child: None, doubled: 0 };
    let started = Instant::now();
    // Answers that are lost after the effect, and a receiver that is busy.
    receivers.fail("/sendMessage", [Fault::Lost, Fault::Away, Fault::Answer(502, json!({}))]);
    receivers.fail("/hook", [Fault::Lost, Fault::Answer(503, json!({})), Fault::Away]);
    notifying.start();

    let waves = alerts.iter().map(Vec::len).max().expect("alerts");
    let raw = Raw::new();
    let publish = |alerts: &[Vec<Value>], wave: usize| {
        for alert in alerts.iter().filter_map(|statuses| statuses.get(wave)) {
            let id = alert["alert_id"].as_str().expect("an id");
            let partition = i32::from(id.as_bytes()[0] % PARTITIONS as u8);
            raw.send(&fixture.topic("alerts"), partition, Some(b"key"), Some(alert.to_string().as_bytes()), &[]);
        }
        raw.flush();
    };
    // The mail server and the Alertmanager are away until the first wave with mails has come: some alerts begin and end meanwhile.
    let returns = (0..waves).find(|wave| !owed_so_far(&alerts, *wave, &chats).mails.is_empty()).expect("mails");
    SERVERS.iter().for_each(|name| service("service-stop", &[name]));
    for wave in 0..brief.iter().map(Vec::len).max().expect("alerts") {
        publish(&brief, wave);
        let newest = brief.iter().filter_map(|statuses| statuses.iter().take(wave + 1).next_back());
        let unsent = newest.filter(|alert| is_mailed(alert)).count() as u64;
        let hooked = owed_so_far(&brief, wave, &chats).hooked.len();
        until(&format!("{unsent} mails are owed, and no other messages"), || {
            notifying.metric("messages_owed") == Some(unsent) && receivers.state().hooked.len() >= hooked
        });
    }
    let failed = |notifying: &Notifying, channel: &str| {
        let page = notifying.get("/metrics").unwrap_or_default();
        let name = format!("funnelwatch_notify_messages_total{{channel=\"{channel}\"");
        page.lines().any(|line| line.starts_with(&name) && !line.contains("\"sent\""))
    };
    until("the outages are counted", || SERVERS_BY_CHANNEL.iter().all(|channel| failed(&notifying, channel)));
    for wave in 0..waves {
        publish(&alerts, wave);
        match wave {
            0 => {
                std::thread::sleep(Duration::from_millis(1_500));
                notifying.kill();
            }
            1 => {
                receivers.state().is_away = true;
                std::thread::sleep(Duration::from_millis(1_500));
                notifying.kill();
                receivers.state().is_away = false;
            }
            2 => {
                service("kafka-stop", &[]);
                service("kafka-start", &[]);
            }
            _ => {
                // While mails are being sent.
                if wave > returns {
                    service("service-stop", &["smtp"]);
                    service("service-start", &["smtp"]);
                }
                notifying.kill();
            }
        }
        if wave == returns {
            let so_far = owed_so_far(&alerts, wave, &chats);
            let unsent = so_far.mails.len() as u64;
            let is_waiting = |notifying: &Notifying| {
                notifying.metric("messages_owed") == Some(unsent)
                    && receivers.state().hooked.len() >= so_far.hooked.len() + hooked_brief
            };
            until(&format!("{unsent} mails are owed, and no other messages"), || is_waiting(&notifying));
            notifying.kill();
            until(&format!("{unsent} mails are still owed"), || is_waiting(&notifying));
            assert_eq!(mails(&fixture), [""; 0], "the mail server is away");
            SERVERS.iter().for_each(|name| service("service-start", &[name]));
            // Without another start of the program.
            until("the Alertmanager shows what is open", || so_far.open.is_subset(&shown()));
        }
        let expected: usize = alerts.iter().map(|statuses| statuses.len().min(wave + 1)).sum();
        let hooked = || owed_so_far(&alerts, wave, &chats).hooked.len() + hooked_brief;
        until(&format!("wave {wave} of {expected} statuses"), || {
            notifying.metric("messages_owed") == Some(0) && receivers.state().hooked.len() >= hooked()
        });
    }

    // Exactly what is owed, and no more than the counted doubles beyond.
    let doubled = notifying.doubled + notifying.metric("messages_doubled_total").expect("a metric");
    {
        let state = receivers.state();
        let text = |alert: &Value, key: &str| alert[key].as_str().unwrap_or_default().to_owned();
        let hooked: Vec<_> = state
            .hooked
            .iter()
            .map(|(_, alert)| {
                (text(alert, "alert_id"), text(alert, "status"), alert["level"].as_u64().unwrap_or_default())
            })
            .collect();
        assert_eq!(hooked.len(), owed.hooked.len(), "a repeated request has the same key");
        assert_eq!(hooked.into_iter().collect::<BTreeSet<_>>(), owed.hooked);
        let mut extra = state.messages.len() as u64 - owed.chats.len() as u64;
        for ((chat, _), versions) in &owed.chats {
            assert!(state.messages.iter().any(|message| message.chat == *chat && message.texts.len() <= *versions));
        }
        let per_chat = |chat: i64| owed.chats.keys().filter(|(to, _)| *to == chat).count();
        for chat in chats.values() {
            assert!(state.messages.iter().filter(|message| message.chat == *chat).count() >= per_chat(*chat), "{chat}");
        }
        // Each stage is a mail with an id of its own, which begins with that of the alert.
        until("the mails are stored", || mails(&fixture).len() >= owed.mails.len());
        let found = mails(&fixture);
        let of_alert = |mail: &str| mail.split('.').next().unwrap_or_default().to_owned();
        let mut stages: BTreeMap<String, usize> = BTreeMap::new();
        for mail in found.iter().collect::<BTreeSet<_>>() {
            *stages.entry(of_alert(mail)).or_default() += 1;
        }
        let mut expected: BTreeMap<String, usize> = BTreeMap::new();
        owed.mails.iter().for_each(|(alert, ..)| *expected.entry(alert.clone()).or_default() += 1);
        assert_eq!(stages, expected, "mails of each alert");
        extra += (found.len() - owed.mails.len()) as u64;
        assert!(extra <= doubled, "{extra} more than owed, {doubled} counted");
        report(&format!(
            "{} stages to a webhook, {} messages in chats, {} mails in {:?}, {} alerts were over before they could be mailed; \
             {extra} doubled, {doubled} counted",
            owed.hooked.len(),
            owed.chats.len(),
            owed.mails.len(),
            started.elapsed(),
            brief.len()
        ));
    }
    // A process that starts informs the Alertmanager at once.
    notifying.kill();
    let ours: BTreeSet<_> =
        alerts.iter().chain(&brief).filter_map(|statuses| statuses[0]["alert_id"].as_str()).collect();
    let raised: BTreeSet<_> = alerts
        .iter()
        .chain(&brief)
        .filter(|statuses| statuses[0]["status"] == "RAISED")
        .filter_map(|statuses| statuses[0]["alert_id"].as_str())
        .collect();
    let is_meant = |id: &String| owed.open.contains(id) || raised.contains(id.as_str()) || !ours.contains(id.as_str());
    until("the Alertmanager shows what is open, and nothing that is over", || {
        let shown = shown();
        owed.open.is_subset(&shown) && shown.iter().all(is_meant)
    });
    drop(notifying);
    let text = std::fs::read_to_string(&log).expect("a log");
    for secret in [BOT_TOKEN, PORTAL_CODE, HOOK_SECRET, API_TOKEN] {
        assert_eq!(text.lines().find(|line| line.contains(secret)), None, "a secret is logged");
    }
    for path in [path, log] {
        std::fs::remove_file(path).expect("the file is removed");
    }
}

/// What is owed after the first statuses of each alert.
fn owed_so_far(alerts: &[Vec<Value>], wave: usize, chats: &BTreeMap<String, i64>) -> Owed {
    let begun: Vec<Vec<Value>> =
        alerts.iter().map(|statuses| statuses.iter().take(wave + 1).cloned().collect()).collect();
    owed(&begun, chats)
}
