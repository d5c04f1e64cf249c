//! Shared by the whole-program tests: a replay of events in memory, and its output as a user reads it.

// Each test uses a part of this.
#![allow(dead_code, unreachable_pub)]

use funnelwatch::codec::{EventLimits, json};
use funnelwatch::config;
use funnelwatch::domain::norms::Norms;
use funnelwatch::domain::rule::message;
use funnelwatch::domain::rule::message::Language;
use funnelwatch::domain::shard::admission::AdmissionLimits;
use funnelwatch::domain::shard::processor::Timing;
use funnelwatch::domain::tenant::Memory;
use funnelwatch::domain::time::Timestamp;
use funnelwatch::edge::files::EventFiles;
use funnelwatch::edge::replay::{self, Delivery, Options};
use serde_json::Value;
use std::sync::Arc;

/// The options of a replay.
#[derive(Clone, Copy, Debug)]
pub struct Replay {
    pub workers: usize,
    pub shuffle: Option<u64>,
    pub until: Option<i64>,
    /// Late events are corrections, and an epoch has 16 events; otherwise the events are sorted.
    pub as_delivered: bool,
    /// From so many events on a case has an undo log. Few, so that the short streams of tests have some.
    pub undo_events: usize,
}

/// Alerts, review requests and rows, decoded from the bytes that a user gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    pub alerts: Vec<Value>,
    pub reviews: Vec<Value>,
    pub rows: Vec<Value>,
    /// The number of events that were late.
    pub late: u64,
}

impl Replay {
    /// In order, with one worker, up to the last event.
    pub const PLAIN: Self = Self { workers: 1, shuffle: None, until: None, as_delivered: false, undo_events: 2 };

    /// Replays events with a norms document (JSON is YAML).
    pub fn run(self, events: &[Value], norms: &str) -> Output {
        let document = config::parse_norms("norms", norms).unwrap_or_else(|problems| panic!("{problems}\n{norms}"));
        let lines: Vec<u8> = events.iter().flat_map(|event| format!("{event}\n").into_bytes()).collect();
        self.run_bytes(lines, document.norms)
    }

    /// Replays NDJSON.
    pub fn run_bytes(self, ndjson: Vec<u8>, norms: Norms) -> Output {
        self.run_files(EventFiles::from_ndjson(ndjson), norms)
    }

    /// Replays files.
    pub fn run_files(self, files: EventFiles, norms: Norms) -> Output {
        let memory = Memory { undo_events: self.undo_events, ..Memory::default() };
        let options = Options {
            norms: Arc::new(norms),
            timing: Timing { until: self.until.map(Timestamp), memory, ..Timing::default() },
            workers: self.workers,
            max_message_bytes: 1 << 18,
            event_limits: EventLimits::default(),
            admission_limits: AdmissionLimits::default(),
            latest: None,
            epoch_messages: if self.as_delivered { 16 } else { replay::EPOCH_MESSAGES },
            delivery: match self.shuffle {
                Some(seed) => Delivery::Shuffled(seed),
                None if self.as_delivered => Delivery::AsDelivered,
                None => Delivery::Sorted,
            },
        };
        let mut outcome = replay::replay(files, &options, |_, _, _| {}).expect("replay");
        if !self.as_delivered {
            outcome.sort_alerts_by_time();
        }
        let decode = |line: Vec<u8>| serde_json::from_slice(&line).expect("output is JSON");
        let alerts = outcome.alerts.iter().map(|alert| {
            let mut line = Vec::new();
            json::encode_alert(alert, &message::of(alert, Language::En), &mut line);
            decode(line)
        });
        let rows = outcome.rows.iter().map(|row| {
            let mut line = Vec::new();
            json::encode_row(row, &mut line);
            decode(line)
        });
        let reviews = outcome.reviews.iter().map(|request| {
            let mut line = Vec::new();
            json::encode_review(request, &mut line);
            decode(line)
        });
        Output { alerts: alerts.collect(), reviews: reviews.collect(), rows: rows.collect(), late: outcome.late }
    }
}
