//! Owns the log lines of librdkafka's clients: what repeats is counted and not logged.
//!
//! While a broker is away, each connection of each client reports each attempt, from its log and from its error callback:
//! hundreds of lines a minute with the same reason. Here the first one is logged, and the next one with the same reason
//! after [`WINDOW`] together with the number of those in between.
//!
//! One for the process: its clients lose their brokers together.

use crate::dataflow::live::lock;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};
use tracing::Level;

/// How long repetitions of a message are only counted.
const WINDOW: Duration = Duration::from_secs(60);
/// The most messages that are remembered.
const REMEMBERED: usize = 256;

static REPETITIONS: LazyLock<Mutex<Repetitions>> = LazyLock::new(Mutex::default);

/// Logs an error that a client reports to its callback.
pub(super) fn error(error: &KafkaError, reason: &str) {
    match error.rdkafka_error_code() {
        // The end of a partition, which is no error.
        Some(RDKafkaErrorCode::PartitionEOF) => {}
        // Follows the reasons why each broker is not reachable; the statistics of the consumer report the change.
        Some(RDKafkaErrorCode::AllBrokersDown) => tracing::debug!("kafka: {reason}"),
        _ => log(Level::WARN, reason),
    }
}

/// Logs a line of the log of a client.
pub(super) fn line(level: RDKafkaLogLevel, facility: &str, line: &str) {
    let level = match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => Level::ERROR,
        // What librdkafka calls an error it retries: a refused connection.
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => Level::WARN,
        // Lost connections: most are reported to the error callback, too.
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info if facility == "FAIL" => Level::WARN,
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => Level::INFO,
        RDKafkaLogLevel::Debug => {
            tracing::debug!("kafka: {facility}: {line}");
            return;
        }
    };
    log(level, line);
}

fn log(level: Level, message: &str) {
    let message = gist(message);
    let Some(repeated) = lock(&REPETITIONS).admit(key(&message), Instant::now()) else { return };
    let times = if repeated == 0 { String::new() } else { format!(" ({repeated} more times since the last line)") };
    if level == Level::ERROR {
        tracing::error!("kafka: {message}{times}");
    } else if level == Level::WARN {
        tracing::warn!("kafka: {message}{times}");
    } else {
        tracing::info!("kafka: {message}{times}");
    }
}

/// A message without what differs between repetitions: the thread, the role of the connection, how long it existed, and how
/// often librdkafka itself has suppressed the line.
pub(super) fn gist(message: &str) -> String {
    let mut gist = message.trim();
    if let Some((_, rest)) = gist.strip_prefix("[thrd:").and_then(|rest| rest.split_once("]: ")) {
        gist = rest;
    }
    for role in ["GroupCoordinator: ", "TxnCoordinator: "] {
        gist = gist.strip_prefix(role).unwrap_or(gist);
    }
    if let Some(start) = gist.rfind(" (after ").filter(|_| gist.ends_with(')')) {
        gist = &gist[..start];
    }
    // `host:port/id: …`: the id is that of the broker, or `bootstrap`.
    match split_broker(gist) {
        Some((broker, rest)) => {
            let address = broker.rsplit_once("://").map_or(broker, |(_, address)| address);
            let address = address.split_once('/').map_or(address, |(address, _)| address);
            format!("{address}: {rest}")
        }
        None => gist.to_owned(),
    }
}

/// The broker with which a message begins, and the rest.
fn split_broker(message: &str) -> Option<(&str, &str)> {
    message.split_once(": ").filter(|(broker, _)| broker.contains(':'))
}

/// What two messages have in common that are logged once: all but numbers and what is in parentheses, such as partitions, ids
/// of topics, and addresses behind a name. The broker before a colon is part of it.
fn key(gist: &str) -> String {
    let (broker, rest) = split_broker(gist).unwrap_or(("", gist));
    let (mut key, mut depth) = (broker.to_owned(), 0_usize);
    for c in rest.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            '0'..='9' if key.ends_with('#') => {}
            '0'..='9' => key.push('#'),
            c => key.push(c),
        }
    }
    key
}

/// Messages of the last minute by their keys, and how often each was repeated since it was logged.
#[derive(Debug, Default)]
struct Repetitions(BTreeMap<String, (Instant, u64)>);

impl Repetitions {
    /// `Some`: the message is to be logged, with the number of repetitions that were not.
    fn admit(&mut self, key: String, now: Instant) -> Option<u64> {
        if let Some((logged, repeated)) = self.0.get_mut(&key) {
            if now.duration_since(*logged) < WINDOW {
                *repeated += 1;
                return None;
            }
            *logged = now;
            return Some(std::mem::take(repeated));
        }
        if self.0.len() >= REMEMBERED {
            self.0.retain(|_, (logged, _)| now.duration_since(*logged) < WINDOW);
        }
        // With more different messages than that, the rest is not remembered, and logged.
        if self.0.len() < REMEMBERED {
            self.0.insert(key, (now, 0));
        }
        Some(0)
    }
}

/// The context of clients that report nothing but errors.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LoggedContext;

impl ClientContext for LoggedContext {
    fn error(&self, error: KafkaError, reason: &str) {
        self::error(&error, reason);
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        line(level, facility, message);
    }
}

impl ConsumerContext for LoggedContext {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_reason_has_the_same_gist() {
        let refused = "kafka-0.kafka:9092: Connect to ipv4#10.1.0.7:9092 failed: Connection refused";
        for message in [
            "[thrd:kafka-0.kafka:9092/1]: kafka-0.kafka:9092/1: Connect to ipv4#10.1.0.7:9092 failed: Connection refused \
             (after 0ms in state CONNECT, 1 identical error(s) suppressed)",
            "kafka-0.kafka:9092/bootstrap: Connect to ipv4#10.1.0.7:9092 failed: Connection refused (after 3ms in state \
             CONNECT)",
            "[thrd:GroupCoordinator]: GroupCoordinator: kafka-0.kafka:9092: Connect to ipv4#10.1.0.7:9092 failed: \
             Connection refused (after 12ms in state CONNECT)",
            "sasl_ssl://kafka-0.kafka:9092/1: Connect to ipv4#10.1.0.7:9092 failed: Connection refused (after 1ms in state \
             CONNECT)",
        ] {
            assert_eq!(gist(message), refused, "{message}");
        }
        let reason = "kafka:9092: Failed to resolve 'kafka:9092': Name or service not known";
        assert_eq!(gist(&format!("{}/bootstrap: {}", &reason[..10], &reason[12..])), reason);
        let moved = "kafka-0.kafka:9092: Connect to ipv4#10.1.0.19:9092 failed: Connection refused";
        assert_eq!(key(moved), key(refused));
        assert_ne!(key(&moved.replace("kafka-0", "kafka-1")), key(refused));
        let partition = |n| format!("Partition state(WVbWaHKLQU2BP4mWlXGQrA)[{n}]: new leader-1 not found in cache");
        assert_eq!(key(&partition(1)), key(&partition(12)));
        assert_eq!(gist("Failed to acquire PID"), "Failed to acquire PID");
        assert_eq!(gist("(after all)"), "(after all)");
    }

    #[test]
    fn a_message_is_logged_once_a_window_with_its_repetitions() {
        let (mut repetitions, start) = (Repetitions::default(), Instant::now());
        let mut at = |seconds, message: &str| repetitions.admit(message.into(), start + Duration::from_secs(seconds));
        assert_eq!(at(0, "refused"), Some(0));
        assert_eq!(at(1, "refused"), None);
        assert_eq!(at(2, "reset"), Some(0), "another reason");
        assert_eq!(at(59, "refused"), None);
        assert_eq!(at(60, "refused"), Some(2));
        assert_eq!(at(61, "refused"), None);
    }

    #[test]
    fn no_more_messages_are_remembered_than_the_bound() {
        let (mut repetitions, start) = (Repetitions::default(), Instant::now());
        for number in 0..2 * REMEMBERED {
            assert_eq!(repetitions.admit(number.to_string(), start), Some(0));
        }
        assert_eq!(repetitions.0.len(), REMEMBERED);
        assert_eq!(repetitions.admit("0".into(), start), None, "the first ones are still remembered");
        assert_eq!(repetitions.admit("later".into(), start + WINDOW), Some(0));
        assert_eq!(repetitions.0.len(), 1, "what is over makes room");
    }
}
