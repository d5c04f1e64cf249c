//! Tests what others can send to the gateway: attacks are refused, bounded and counted; what is acknowledged is in Kafka,
//! without any secret. On real sockets, with the embedded broker.

use funnelwatch::config::Config;
use funnelwatch::edge::clock;
use funnelwatch::edge::kafka::acknowledged::AcknowledgedProducer;
use funnelwatch::edge::kafka::in_process::InProcess;
use funnelwatch::gateway::inbox::Inbox;
use funnelwatch::telemetry::gateway_metrics::GatewayMetrics;
use funnelwatch::telemetry::http_metrics::HttpMetrics;
use funnelwatch::telemetry::liveness::Liveness;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const TOKEN: &str = "51856fefc120afa4b628cc82d3935cce";
const OTHER_TOKEN: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
const EVENTS_TOKEN: &str = "0123456789abcdef-events";

/// A gateway with two portals, a program and a phone system.
struct Gateway {
    address: SocketAddr,
    metrics: Arc<GatewayMetrics>,
    kafka: InProcess,
    config: Config,
}

impl Gateway {
    fn start() -> Self {
        let text = format!(
            "http_server: {{read_timeout: 1s}}
gateway:
  body_bytes: 64KiB
  sources:
    - name: romashka
      tenant: romashka
      bitrix24: {{url: 'https://example.bitrix24.ru/rest/1/s3cretcode/', application_token: {TOKEN}}}
    - name: northwind
      tenant: northwind
      bitrix24: {{url: 'https://northwind.bitrix24.ru/rest/1/s3cretcode/', application_token: {OTHER_TOKEN}}}
    - {{name: silent, tenant: romashka, bitrix24: {{url: 'https://example.bitrix24.ru/rest/1/s3cretcode/'}}}}
    - {{name: site, tenant: romashka, events: {{token: {EVENTS_TOKEN}}}}}
    - {{name: pbx, tenant: romashka, telephony: {{mapping: mango, token: 0123456789abcdef}}}}
"
        );
        let mut config = Config::parse("test", &text).unwrap_or_else(|problems| panic!("{problems}"));
        let kafka = InProcess::start(&config.topics, 2).expect("a broker");
        config.kafka.bootstrap = kafka.bootstrap().to_owned();
        let gateway = config.gateway.clone().expect("a gateway");
        let http = Arc::new(HttpMetrics::new(config.http_server.connections));
        let names = gateway.sources.iter().map(|source| source.name.as_str());
        let metrics = Arc::new(GatewayMetrics::new(names, http, Arc::new(clock::now)));
        let producer = AcknowledgedProducer::start(&config).expect("a producer");
        let inbox = Inbox::new((&config, &gateway), producer, &metrics, &Arc::new(Liveness::default()));
        let address = inbox.serve(&config, "127.0.0.1:0".parse().expect("an address")).expect("a port");
        Self { address, metrics, kafka, config }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
        stream
    }

    /// The status and body of the answer to what is sent.
    fn exchange(&self, request: &[u8]) -> (u16, String) {
        let mut stream = self.connect();
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(request);
        answer(stream)
    }

    fn post(&self, path: &str, headers: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nHost: hooks.example.com\r\nConnection: close\r\n{headers}");
        self.exchange(format!("{head}Content-Length: {length}\r\n\r\n{body}").as_bytes())
    }

    fn webhook(&self, path: &str, body: &str) -> u16 {
        self.post(path, "Content-Type: application/x-www-form-urlencoded\r\n", body).0
    }

    fn events(&self, token: &str, body: &str) -> (u16, String) {
        self.post("/in/site/events", &format!("Authorization: Bearer {token}\r\n"), body)
    }

    /// The value of a sample.
    fn metric(&self, sample: &str) -> u64 {
        let text = String::from_utf8(self.metrics.render()).expect("UTF-8");
        let value = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().expect("a count"))
    }

    fn hints(&self, verdict: &str) -> u64 {
        let of = |event: &str, source: &str| {
            let labels = format!(r#"source="{source}",event="{event}",verdict="{verdict}""#);
            self.metric(&format!("funnelwatch_gateway_hints_total{{{labels}}}"))
        };
        of("ONCRMDEALUPDATE", "romashka") + of("other", "romashka") + of("other", "northwind") + of("other", "silent")
    }

    /// The values of a topic.
    fn read(&self, topic: &str) -> Vec<String> {
        read_topic(self.kafka.bootstrap(), topic)
    }
}

/// The values of a topic of two partitions.
pub(super) fn read_topic(bootstrap: &str, topic: &str) -> Vec<String> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "none")
        .set("enable.partition.eof", "true")
        .create()
        .expect("a consumer");
    let mut list = TopicPartitionList::new();
    (0..2).for_each(|partition| list.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset"));
    consumer.assign(&list).expect("assigned");
    let (mut values, mut ended, started) = (Vec::new(), 0, Instant::now());
    while ended < 2 {
        assert!(started.elapsed() < Duration::from_secs(60), "{topic} is not read to its end");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => values.push(String::from_utf8_lossy(message.payload().unwrap_or_default()).into()),
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => ended += 1,
            _ => {}
        }
    }
    values
}

fn answer(mut stream: TcpStream) -> (u16, String) {
    let mut bytes = Vec::new();
    // A reset after the answer is no matter.
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

fn deal(id: u32, token: &str) -> String {
    format!(
        "event=ONCRMDEALUPDATE&data%5BFIELDS%5D%5BID%5D={id}&ts=1767600000&auth%5Baccess_token%5D=s3cret\
         &auth%5Bapplication_token%5D={token}"
    )
}

fn lead(id: u32, tenant: &str) -> String {
    format!(
        r#"{{"event_id":"{id}","tenant_id":"{tenant}","occurred_at":"2026-01-05T08:00:00Z","lead_created":{{"lead_id":"{id}"}}}}"#
    )
}

#[test]
fn webhooks_are_acknowledged_when_they_are_stored_and_others_are_refused_and_counted() {
    let gateway = Gateway::start();
    assert_eq!(gateway.webhook("/in/romashka", &deal(1, TOKEN)), 200);
    assert_eq!(gateway.webhook("/in/romashka", &deal(1, TOKEN)), 200, "a second change within a second");
    let upper = deal(2, TOKEN).replace("auth%5Bapplication_token%5D", "AUTH[APPLICATION_TOKEN]");
    assert_eq!(gateway.webhook("/in/romashka", &upper), 200);
    assert_eq!(gateway.hints("accepted"), 3);

    // Wrong and missing tokens; the token of another company; a portal without a token.
    for body in [deal(3, "x"), deal(3, ""), deal(3, OTHER_TOKEN), "event=ONCRMDEALUPDATE".into(), String::new()] {
        assert_eq!(gateway.webhook("/in/romashka", &body), 403, "{body}");
    }
    assert_eq!(gateway.webhook("/in/northwind", &deal(3, TOKEN)), 403, "another tenant's path");
    assert_eq!(gateway.webhook("/in/silent", &deal(3, TOKEN)), 403);
    assert_eq!(gateway.hints("wrong_token"), 7);
    for path in ["/in/nobody", "/in/romashka/", "/in/romashka/events", "/in/", "/in", "/in/%2e%2e/romashka", "/in/site"]
    {
        assert_eq!(gateway.webhook(path, &deal(3, TOKEN)), 404, "{path}");
    }
    assert!(gateway.metric("funnelwatch_gateway_unknown_sources_total") >= 1);

    // Bodies that are none.
    let bomb = format!("a{}=1&{}", "[a]".repeat(5000), deal(4, TOKEN));
    let many = format!("{}{}", "a=1&".repeat(5000), deal(4, TOKEN));
    let deep = format!("data{}=1&{}", "[".repeat(60), deal(4, TOKEN));
    let no_event = format!("auth[application_token]={TOKEN}");
    for body in [bomb, many, deep, no_event, format!("{}&a=%FF", deal(4, TOKEN)), "%".repeat(1000) + "&%C0"] {
        assert_eq!(gateway.webhook("/in/romashka", &body), 400, "{}", &body[..40]);
    }
    assert_eq!(gateway.hints("malformed"), 6);
    assert_eq!(gateway.webhook("/in/romashka", &format!("{}&a={}", deal(5, TOKEN), "x".repeat(70_000))), 413);
    assert_eq!(gateway.hints("too_large"), 1);

    let stored = gateway.read("funnelwatch.hints");
    assert_eq!(stored.len(), 3, "{stored:?}");
    for text in &stored {
        assert!(!text.contains(TOKEN) && !text.contains("s3cret") && !text.contains("auth"), "{text}");
    }
    let page = String::from_utf8(gateway.metrics.render()).expect("UTF-8");
    assert!(!page.contains(TOKEN) && !page.contains("s3cret"));
    assert!(format!("{:?}", gateway.config).contains("romashka") && !format!("{:?}", gateway.config).contains(TOKEN));
}

#[test]
fn bodies_that_are_huge_slow_or_chunked_without_an_end_cost_little() {
    let gateway = Gateway::start();
    let head = "POST /in/romashka HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    // Announced, and not sent.
    assert_eq!(gateway.exchange(format!("{head}Content-Length: 2000000000\r\n\r\n").as_bytes()).0, 413);
    // Chunks without an end: refused at the limit, whatever comes.
    let mut stream = gateway.connect();
    let _ = write!(stream, "{head}Transfer-Encoding: chunked\r\n\r\n");
    let chunk = format!("4000\r\n{}\r\n", "a".repeat(0x4000));
    let sent = (0..10_000).take_while(|_| stream.write_all(chunk.as_bytes()).is_ok()).count();
    assert!(sent < 10_000, "the connection is closed before {sent} chunks");
    // A body that never comes.
    let slow = gateway.exchange(format!("{head}Content-Length: 100\r\n\r\nevent=").as_bytes());
    assert_eq!(slow.0, 408);
    assert_eq!((gateway.hints("too_slow"), gateway.hints("too_large")), (1, 2));
    // Chunks that are damaged, lengths that are none, methods that are others.
    for request in [
        format!("{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
        format!("{head}Content-Length: x\r\n\r\n"),
        format!("{head}Content-Length: 5\r\nContent-Length: 6\r\n\r\n"),
        "GET /in/romashka HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".into(),
    ] {
        let (status, _) = gateway.exchange(request.as_bytes());
        assert!((400..500).contains(&status), "{status}: {request}");
    }
    assert_eq!(gateway.webhook("/in/romashka", &deal(1, TOKEN)), 200, "others are served");
    assert_eq!(gateway.read("funnelwatch.hints").len(), 1);
    // Metrics are for those who address this process by an accepted name.
    let get = |host: &str| {
        gateway.exchange(format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes()).0
    };
    assert_eq!((get("localhost"), get("evil.example.com")), (200, 403));
}

#[test]
fn a_webhook_that_is_sent_again_later_is_refused_and_a_token_counts_only_where_it_belongs() {
    let gateway = Gateway::start();
    let first = deal(1, TOKEN);
    assert_eq!(gateway.webhook("/in/romashka", &first), 200);
    // The token anywhere else proves nothing.
    let without = "event=ONCRMDEALUPDATE&data[FIELDS][ID]=2";
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    for (path, headers) in [
        (format!("/in/romashka?auth[application_token]={TOKEN}"), form.to_owned()),
        ("/in/romashka".to_owned(), format!("{form}Authorization: Bearer {TOKEN}\r\n")),
        ("/in/romashka".to_owned(), format!("{form}Cookie: application_token={TOKEN}\r\n")),
    ] {
        assert_eq!(gateway.post(&path, &headers, without).0, 403, "{path} {headers}");
    }
    let json = format!(r#"{{"event":"ONCRMDEALUPDATE","auth":{{"application_token":"{TOKEN}"}}}}"#);
    assert_eq!(gateway.post("/in/romashka", "Content-Type: application/json\r\n", &json).0, 403);
    for name in
        ["auth[application_token", "auth[application_token][]", "auth.application_token", "xauth[application_token]"]
    {
        let status = gateway.webhook("/in/romashka", &format!("{without}&{name}={TOKEN}"));
        assert!(status == 403 || status == 400, "{name}: {status}");
    }
    // What was acknowledged a while ago comes from somebody who has recorded it.
    std::thread::sleep(Duration::from_millis(10_500));
    assert_eq!(gateway.webhook("/in/romashka", &first), 409);
    assert_eq!(gateway.webhook("/in/romashka", &first.replace("1767600000", "1767600011")), 200, "a later change");
    assert_eq!(gateway.hints("replayed"), 1);
    assert_eq!(gateway.read("funnelwatch.hints").len(), 2);
}

#[test]
fn senders_that_never_finish_keep_nobody_else_from_being_served() {
    let gateway = Gateway::start();
    let head = "POST /in/romashka HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\nevent=";
    let slow: Vec<TcpStream> = (0..400)
        .map(|_| {
            let mut stream = gateway.connect();
            let _ = stream.write_all(head.as_bytes());
            stream
        })
        .collect();
    for id in 0..20 {
        assert_eq!(gateway.webhook("/in/romashka", &deal(id, TOKEN)), 200, "webhook {id}");
    }
    drop(slow);
    assert_eq!(gateway.read("funnelwatch.hints").len(), 20);
}

/// Sends webhooks with ascending ids on one connection until `over`; returns each id with its answer, 0 for none.
fn send_until(address: SocketAddr, ids: impl Iterator<Item = u32>, over: &AtomicBool) -> Vec<(u32, u16)> {
    let mut answers = Vec::new();
    let mut stream: Option<BufReader<TcpStream>> = None;
    for id in ids.take_while(|_| !over.load(Ordering::Relaxed)) {
        let reader = stream.get_or_insert_with(|| BufReader::new(TcpStream::connect(address).expect("connected")));
        let body = deal(id, TOKEN);
        let head = format!("POST /in/romashka HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
        let _ = reader.get_mut().write_all(format!("{head}{body}").as_bytes());
        let (mut line, mut length) = (String::new(), 0);
        let _ = reader.read_line(&mut line);
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        while !line.trim_end().is_empty() {
            line.clear();
            let _ = reader.read_line(&mut line);
            let value = line.to_ascii_lowercase();
            length =
                value.strip_prefix("content-length: ").map_or(length, |value| value.trim().parse().expect("a length"));
        }
        let _ = std::io::copy(&mut reader.take(length), &mut std::io::sink());
        answers.push((id, status));
        if status == 0 {
            stream = None;
        }
        // 16 connections: 1,000 a second while all is well.
        std::thread::sleep(Duration::from_millis(15));
    }
    answers
}

#[test]
fn what_is_acknowledged_under_load_is_stored_though_kafka_goes_away_and_comes_back() {
    const CONNECTIONS: u32 = 16;
    let gateway = Gateway::start();
    let over = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = (0..CONNECTIONS)
        .map(|connection| {
            let (address, over) = (gateway.address, Arc::clone(&over));
            let ids = (0..).map(move |number| number * CONNECTIONS + connection);
            std::thread::spawn(move || send_until(address, ids, &over))
        })
        .collect();
    let until = |what: &str, verdict: &str, more: u64| {
        let (before, started) = (gateway.hints(verdict), Instant::now());
        while gateway.hints(verdict) < before + more {
            assert!(started.elapsed() < Duration::from_secs(120), "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let cluster = gateway.kafka.cluster().expect("a cluster");
    for _ in 0..2 {
        until("acknowledged", "accepted", 1500);
        cluster.broker_down(1).expect("down");
        until("answered with 503", "not_stored", u64::from(2 * CONNECTIONS));
        cluster.broker_up(1).expect("up");
    }
    until("acknowledged again", "accepted", 1500);
    over.store(true, Ordering::Relaxed);
    let answers: Vec<(u32, u16)> = senders.into_iter().flat_map(|sender| sender.join().expect("no panic")).collect();
    let count = |status: u16| answers.iter().filter(|(_, answer)| *answer == status).count();
    let (accepted, refused) = (count(200), count(503));
    assert_eq!(accepted + refused, answers.len(), "every request has one of these answers");
    assert!(accepted >= 4500 && refused >= 4 * CONNECTIONS as usize);
    assert_eq!((gateway.hints("accepted"), gateway.hints("not_stored")), (accepted as u64, refused as u64));
    let id = |text: &String| -> u32 {
        let id = text.split_once(r#""data[FIELDS][ID]",""#).and_then(|(_, rest)| rest.split('"').next());
        id.and_then(|id| id.parse().ok()).expect("a hint")
    };
    let stored: BTreeSet<u32> = gateway.read("funnelwatch.hints").iter().map(id).collect();
    let acknowledged = answers.iter().filter(|(_, status)| *status == 200);
    let lost: Vec<_> = acknowledged.filter(|(id, _)| !stored.contains(id)).take(5).collect();
    assert!(lost.is_empty(), "acknowledged and not stored: {lost:?}");
}

#[test]
fn events_are_checked_one_by_one_and_the_answer_says_what_was_refused() {
    let gateway = Gateway::start();
    let body = format!("{}\n\n{}\nno json\n{}\r\n", lead(1, "romashka"), lead(2, "northwind"), lead(3, "romashka"));
    let (status, answer) = gateway.events(EVENTS_TOKEN, &body);
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!((status, &answer["accepted"], &answer["refused"]), (422, &2.into(), &2.into()));
    let problems: Vec<_> = answer["problems"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| (one["line"].as_u64(), one["reason"].as_str()))
        .collect();
    assert_eq!(problems, [(Some(3), Some("other_tenant")), (Some(4), Some("malformed"))]);
    assert!(!answer.to_string().contains("northwind"), "the name of another tenant is not repeated");
    let (status, answer) = gateway.events(EVENTS_TOKEN, &lead(4, "romashka").replace(',', ",\n"));
    assert_eq!((status, answer.as_str()), (200, "{\"accepted\":1,\"problems\":[],\"refused\":0}\n"));
    for token in ["", "x", TOKEN] {
        assert_eq!(gateway.events(token, &lead(5, "romashka")).0, 401);
    }
    assert_eq!(gateway.events(EVENTS_TOKEN, "\n\n").0, 400);
    assert_eq!(gateway.events(EVENTS_TOKEN, &"x".repeat(70_000)).0, 413);
    let (status, answer) = gateway.events(EVENTS_TOKEN, &"x\n".repeat(1000));
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!(
        (status, &answer["refused"], answer["problems"].as_array().map(Vec::len)),
        (422, &1000.into(), Some(100))
    );
    let mut stored = gateway.read("crm.events");
    stored.sort();
    let expected = [1, 3, 4].map(|id| lead(id, "romashka"));
    let stored: Vec<String> = stored.iter().map(|text| text.replace('\n', "")).collect();
    assert_eq!(stored, expected);
}
