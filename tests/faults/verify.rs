//! Verifies the output: compares the committed records of the output topics with a replay of the same events, including
//! the number of times each line occurs.

use crate::environment::Environment;
use anyhow::{Context, bail};
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

/// Timeout for reading a topic.
const PATIENCE: Duration = Duration::from_secs(300);
/// The maximum number of examples per kind of difference.
const SHOWN: usize = 5;

/// The number of occurrences of a line in the replay and in the topic.
type Counts = BTreeMap<String, [u64; 2]>;

/// The differences between two lists of lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// Lines of the replay.
    pub(crate) total: u64,
    /// Occurrences in the replay that the topic lacks.
    pub(crate) missing: u64,
    /// Surplus occurrences in the topic, including unexpected ones.
    pub(crate) duplicated: u64,
    /// Occurrences in the topic of lines that are not in the replay.
    pub(crate) unexpected: u64,
    examples: Vec<String>,
}

impl Lines {
    fn compare(counts: &Counts) -> Self {
        let mut lines = Self::default();
        let mut shown = [0; 3];
        // The earliest differences are the most useful.
        let mut counts: Vec<_> = counts.iter().collect();
        counts.sort_by_key(|(line, _)| instant(line));
        for (line, [expected, found]) in counts {
            lines.total += expected;
            let kind = match expected.cmp(found) {
                std::cmp::Ordering::Equal => continue,
                std::cmp::Ordering::Greater => 0,
                std::cmp::Ordering::Less => 1 + usize::from(*expected == 0),
            };
            lines.missing += expected.saturating_sub(*found);
            lines.duplicated += found.saturating_sub(*expected);
            lines.unexpected += if *expected == 0 { *found } else { 0 };
            shown[kind] += 1;
            if shown[kind] <= SHOWN {
                let name = ["missing", "duplicated", "unexpected"][kind];
                lines.examples.push(format!("{name} (expected {expected}, found {found}): {line}"));
            }
        }
        lines
    }

    pub(crate) fn is_equal(&self) -> bool {
        self.missing == 0 && self.duplicated == 0
    }
}

/// The time of an alert or a review request.
fn instant(line: &str) -> Option<String> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    Some(line["at"].as_str()?.to_owned())
}

/// Differences between the last metric rows, by key.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// Rows of the replay.
    pub(crate) total: u64,
    /// Rows that both have at the end instant.
    pub(crate) compared: u64,
    pub(crate) different: u64,
    examples: Vec<String>,
}

/// All differences.
#[derive(Debug, Default)]
pub(crate) struct Differences {
    pub(crate) alerts: Lines,
    /// The topic of open alerts, compared with what the found alerts say.
    pub(crate) open_alerts: Lines,
    pub(crate) reviews: Lines,
    pub(crate) rows: Rows,
    pub(crate) dead_letters: Vec<String>,
}

impl Differences {
    /// Examples of the differences.
    pub(crate) fn examples(&self) -> impl Iterator<Item = String> {
        let dead_letters = self.dead_letters.iter().take(SHOWN).map(|line| format!("dead letter: {line}"));
        let named = |what: &'static str, lines: &[String]| {
            lines.iter().map(|line| format!("{what} {line}")).collect::<Vec<_>>()
        };
        let mut all = named("alert", &self.alerts.examples);
        all.extend(named("open alert", &self.open_alerts.examples));
        all.extend(named("review", &self.reviews.examples));
        all.extend(named("row", &self.rows.examples));
        all.extend(dead_letters);
        all.into_iter()
    }
}

/// Compares the topics with the files of the replay; `end` is the instant at which rows are compared.
pub(crate) fn verify(env: &Environment, end: &str) -> anyhow::Result<Differences> {
    let alerts = read(env, "alerts")?;
    save(env, "alerts.found.ndjson", &alerts)?;
    let reviews = read(env, "reviews")?;
    save(env, "reviews.found.ndjson", &reviews)?;
    let rows = read(env, "metrics")?;
    let rows: BTreeMap<_, _> = rows.into_iter().collect();
    save(env, "metrics.found.ndjson", &rows.clone().into_iter().collect::<Vec<_>>())?;
    let dead_letters = read(env, "dlq")?.into_iter().map(|(_, value)| value).collect();
    Ok(Differences {
        alerts: compare(env, "alerts.expected.ndjson", &alerts)?,
        open_alerts: compare_open(&alerts, &read(env, "alerts.open")?)?,
        reviews: compare(env, "reviews.expected.ndjson", &reviews)?,
        rows: compare_rows(env, "metrics.expected.ndjson", &rows, end)?,
        dead_letters,
    })
}

fn save(env: &Environment, name: &str, records: &[(String, String)]) -> anyhow::Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(env.path(name))?);
    for (_, value) in records {
        writeln!(file, "{value}")?;
    }
    Ok(file.flush()?)
}

fn compare(env: &Environment, expected: &str, found: &[(String, String)]) -> anyhow::Result<Lines> {
    let mut counts = Counts::new();
    for line in std::fs::read_to_string(env.path(expected))?.lines() {
        counts.entry(line.to_owned()).or_default()[0] += 1;
    }
    for (_, line) in found {
        counts.entry(line.clone()).or_default()[1] += 1;
    }
    Ok(Lines::compare(&counts))
}

/// Compares the open alerts of a subscriber that folds all statuses with those of the compacted topic.
fn compare_open(alerts: &[(String, String)], published: &[(String, String)]) -> anyhow::Result<Lines> {
    let (mut open, mut counts) = ([BTreeMap::new(), BTreeMap::new()], Counts::new());
    for (key, line) in alerts {
        let alert: serde_json::Value = serde_json::from_str(line)?;
        match alert["status"].as_str() {
            Some("DUE_SOON" | "FIRING" | "ESCALATED") => drop(open[0].insert(key, line)),
            _ => drop(open[0].remove(key)),
        }
    }
    for (key, line) in published {
        match line.as_str() {
            "" => drop(open[1].remove(key)),
            _ => drop(open[1].insert(key, line)),
        }
    }
    for (side, open) in open.into_iter().enumerate() {
        open.into_values().for_each(|line| counts.entry(line.clone()).or_default()[side] += 1);
    }
    Ok(Lines::compare(&counts))
}

fn compare_rows(
    env: &Environment,
    expected: &str,
    found: &BTreeMap<String, String>,
    end: &str,
) -> anyhow::Result<Rows> {
    let mut rows = Rows::default();
    for line in std::fs::read_to_string(env.path(expected))?.lines() {
        let row: serde_json::Value = serde_json::from_str(line)?;
        let text = |field: &str| row[field].as_str().with_context(|| format!("{field} of {line}"));
        let key = format!("{}/{}/{}", text("tenant_id")?, text("subject")?, text("window")?);
        rows.total += 1;
        let is_last = |line: &&String| {
            let row: Option<serde_json::Value> = serde_json::from_str(line).ok();
            row.is_some_and(|row| row["at"] == end)
        };
        let Some(other) = found.get(&key).filter(is_last) else { continue };
        rows.compared += 1;
        if other != line {
            rows.different += 1;
            if rows.examples.len() < 3 {
                let other: serde_json::Value = serde_json::from_str(other)?;
                let fields = row.as_object().into_iter().flatten().filter(|(name, value)| other[name] != **value);
                let fields = fields.take(SHOWN);
                let fields = fields.map(|(name, value)| {
                    format!("\n  {name}: expected {}, found {}", truncated(value), truncated(&other[name]))
                });
                rows.examples.push(format!("{key} differs{}", fields.collect::<String>()));
            }
        }
    }
    Ok(rows)
}

/// The first characters of a value; the files contain all of it.
fn truncated(value: &serde_json::Value) -> String {
    value.to_string().chars().take(80).collect()
}

/// Keys and values of all committed records, partition by partition in order.
fn read(env: &Environment, topic: &str) -> anyhow::Result<Vec<(String, String)>> {
    let reader = env.reader(&[topic])?;
    let (mut records, mut ended) = (Vec::new(), 0);
    let partitions = reader.assignment()?.count();
    let started = Instant::now();
    while ended < partitions {
        if started.elapsed() > PATIENCE {
            bail!("timed out reading {topic} to its end");
        }
        match reader.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
                records.push((text(message.key()), text(message.payload())));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            // The client retries by itself.
            Some(Err(_)) | None => {}
        }
    }
    Ok(records)
}
