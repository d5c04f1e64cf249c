//! Owns the judgement: what readers of committed records find in the outputs, against what a replay of the same events
//! says must be there. Promises to count every line, how often it is there included.

use crate::site::Site;
use anyhow::{Context, bail};
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

/// A reader that is not through with a topic by then gives up.
const PATIENCE: Duration = Duration::from_secs(300);
/// So many differences of a kind are shown.
const SHOWN: usize = 5;

/// How often a line is there: by the replay, and in the topic.
type Counts = BTreeMap<String, [u64; 2]>;

/// What differs between two lists of lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// Lines of the replay.
    pub(crate) total: u64,
    /// More often in the replay than in the topic.
    pub(crate) missing: u64,
    /// More often in the topic, among them those that the replay does not know.
    pub(crate) duplicated: u64,
    pub(crate) unexpected: u64,
    examples: Vec<String>,
}

impl Lines {
    fn compare(counts: &Counts) -> Self {
        let mut lines = Self::default();
        let mut shown = [0; 3];
        // What went wrong first tells most.
        let mut counts: Vec<_> = counts.iter().collect();
        counts.sort_by_key(|(line, _)| instant(line));
        for (line, [wanted, found]) in counts {
            lines.total += wanted;
            let kind = match wanted.cmp(found) {
                std::cmp::Ordering::Equal => continue,
                std::cmp::Ordering::Greater => 0,
                std::cmp::Ordering::Less => 1 + usize::from(*wanted == 0),
            };
            lines.missing += wanted.saturating_sub(*found);
            lines.duplicated += found.saturating_sub(*wanted);
            lines.unexpected += if *wanted == 0 { *found } else { 0 };
            shown[kind] += 1;
            if shown[kind] <= SHOWN {
                let name = ["missing", "duplicated", "unexpected"][kind];
                lines.examples.push(format!("{name} ({found} instead of {wanted}): {line}"));
            }
        }
        lines
    }

    pub(crate) fn agree(&self) -> bool {
        self.missing == 0 && self.duplicated == 0
    }
}

/// When it was said, of an alert or a request.
fn instant(line: &str) -> Option<String> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    Some(line["at"].as_str()?.to_owned())
}

/// Metric rows at the end, by their keys.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// Of the replay.
    pub(crate) total: u64,
    /// Both have it at the end instant.
    pub(crate) compared: u64,
    pub(crate) different: u64,
    examples: Vec<String>,
}

/// All that was found.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) alerts: Lines,
    pub(crate) reviews: Lines,
    pub(crate) rows: Rows,
    pub(crate) dead_letters: Vec<String>,
}

impl Verdict {
    /// What differs, to be read by people.
    pub(crate) fn examples(&self) -> impl Iterator<Item = String> {
        let dead = self.dead_letters.iter().take(SHOWN).map(|line| format!("dead letter: {line}"));
        let named = |what: &'static str, lines: &[String]| {
            lines.iter().map(|line| format!("{what} {line}")).collect::<Vec<_>>()
        };
        let mut all = named("alert", &self.alerts.examples);
        all.extend(named("review", &self.reviews.examples));
        all.extend(named("row", &self.rows.examples));
        all.extend(dead);
        all.into_iter()
    }
}

/// Compares the topics with the files that the replay wrote; `end` is the instant at which rows are compared.
pub(crate) fn judge(site: &Site, end: &str) -> anyhow::Result<Verdict> {
    let alerts = read(site, "alerts")?;
    save(site, "alerts.found.ndjson", &alerts)?;
    let reviews = read(site, "reviews")?;
    save(site, "reviews.found.ndjson", &reviews)?;
    let rows = read(site, "metrics")?;
    let rows: BTreeMap<_, _> = rows.into_iter().collect();
    save(site, "metrics.found.ndjson", &rows.clone().into_iter().collect::<Vec<_>>())?;
    let dead_letters = read(site, "dlq")?.into_iter().map(|(_, value)| value).collect();
    Ok(Verdict {
        alerts: compare(site, "alerts.wanted.ndjson", &alerts)?,
        reviews: compare(site, "reviews.wanted.ndjson", &reviews)?,
        rows: compare_rows(site, "metrics.wanted.ndjson", &rows, end)?,
        dead_letters,
    })
}

fn save(site: &Site, name: &str, records: &[(String, String)]) -> anyhow::Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(site.path(name))?);
    for (_, value) in records {
        writeln!(file, "{value}")?;
    }
    Ok(file.flush()?)
}

fn compare(site: &Site, wanted: &str, found: &[(String, String)]) -> anyhow::Result<Lines> {
    let mut counts = Counts::new();
    for line in std::fs::read_to_string(site.path(wanted))?.lines() {
        counts.entry(line.to_owned()).or_default()[0] += 1;
    }
    for (_, line) in found {
        counts.entry(line.clone()).or_default()[1] += 1;
    }
    Ok(Lines::compare(&counts))
}

fn compare_rows(site: &Site, wanted: &str, found: &BTreeMap<String, String>, end: &str) -> anyhow::Result<Rows> {
    let mut rows = Rows::default();
    for line in std::fs::read_to_string(site.path(wanted))?.lines() {
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
                let fields =
                    fields.map(|(name, value)| format!("\n  {name}: {} instead of {}", cut(&other[name]), cut(value)));
                rows.examples.push(format!("{key} differs{}", fields.collect::<String>()));
            }
        }
    }
    Ok(rows)
}

/// The beginning of a value: the files have the rest.
fn cut(value: &serde_json::Value) -> String {
    value.to_string().chars().take(80).collect()
}

/// Keys and values of all committed records, partition by partition in order.
fn read(site: &Site, topic: &str) -> anyhow::Result<Vec<(String, String)>> {
    let reader = site.reader(&[topic])?;
    let (mut records, mut ended) = (Vec::new(), 0);
    let partitions = reader.assignment()?.count();
    let started = Instant::now();
    while ended < partitions {
        if started.elapsed() > PATIENCE {
            bail!("{topic} cannot be read to its end");
        }
        match reader.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
                records.push((text(message.key()), text(message.payload())));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            // The client tries again by itself.
            Some(Err(_)) | None => {}
        }
    }
    Ok(records)
}
