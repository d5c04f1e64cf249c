//! Owns where a run takes place: its folder, its topics and group, the configurations of its processes, its clients.

use crate::quiet::{Quiet, note};
use anyhow::{Context, bail};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Partitions of the sources, and so shards.
pub(crate) const SHARDS: u32 = 6;
/// Processes of the group.
pub(crate) const PROCESSES: usize = 3;
/// Source topics and the one for rerouted messages: what offsets are committed of.
pub(crate) const SOURCES: [&str; 4] = ["crm", "telephony", "email", "rerouted"];
/// How long one question to the broker may take.
pub(crate) const ASK: Duration = Duration::from_secs(5);
/// How long a command of the binary may take.
const LONGEST: Duration = Duration::from_secs(180);

/// Where a run takes place.
pub(crate) struct Site {
    pub(crate) dir: PathBuf,
    pub(crate) binary: PathBuf,
    /// The broker, without a proxy.
    pub(crate) bootstrap: String,
    /// Of each process: the broker's port, the proxy's, and the one of its own endpoints.
    pub(crate) ports: Vec<[u16; 3]>,
    pub(crate) group: String,
    /// In hours of event time.
    pub(crate) lateness: u32,
}

impl Site {
    /// Takes the broker's address from the environment, as `tests/services/up` prints it, and makes a folder.
    pub(crate) fn new(binary: PathBuf, lateness: u32) -> anyhow::Result<Self> {
        let variable = |name: &str| std::env::var(name).with_context(|| format!("{name}: use tests/faults/run"));
        let words = variable("FUNNELWATCH_KAFKA_PROXIED")?;
        let mut ports = Vec::new();
        for word in words.split_whitespace() {
            let numbers: Vec<u16> = word.split(':').map(str::parse).collect::<Result<_, _>>()?;
            ports.push(numbers.try_into().ok().context("FUNNELWATCH_KAFKA_PROXIED: three ports a word")?);
        }
        if ports.len() < PROCESSES {
            bail!("FUNNELWATCH_KAFKA_PROXIED: {PROCESSES} words are needed");
        }
        let group = format!("faults-{}", std::process::id());
        let dir = std::env::temp_dir().join(format!("funnelwatch-{group}"));
        std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        let site = Self { dir, binary, bootstrap: variable("FUNNELWATCH_KAFKA")?, ports, group, lateness };
        std::fs::write(site.path("norms.yaml"), include_str!("norms.yaml"))?;
        for process in 0..PROCESSES {
            std::fs::write(site.config(process), site.configuration(process))?;
        }
        Ok(site)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn config(&self, process: usize) -> PathBuf {
        self.path(&format!("process-{process}.yaml"))
    }

    pub(crate) fn transactional_id(&self, process: usize) -> String {
        format!("{}-{process}", self.group)
    }

    pub(crate) fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.group)
    }

    /// What one process is configured with. The watermark follows events alone, so that what comes out is known.
    fn configuration(&self, process: usize) -> String {
        let Self { group, lateness, .. } = self;
        let [_, proxy, http] = self.ports[process];
        format!(
            "kafka: {{bootstrap: '127.0.0.1:{proxy}', group: {group}, transactional_id: {}}}
topics:
  crm: {{name: {group}.crm}}
  telephony: {{name: {group}.telephony}}
  email: {{name: {group}.email}}
  alerts: {group}.alerts
  metrics: {group}.metrics
  reviews: {group}.reviews
  dead_letters: {group}.dlq
  state: {group}.state
  rerouted: {group}.rerouted
time: {{allowed_lateness: {lateness}h, watermark_follows_clock: false, max_future_skew: 3653d}}
engine: {{workers: 2}}
http: '127.0.0.1:{http}'
norms_file: norms.yaml
",
            self.transactional_id(process)
        )
    }

    /// Writes down what happens and when, for whoever looks for the cause of a difference.
    pub(crate) fn note(&self, text: &str) {
        note(&self.path("timeline.log"), text);
    }

    /// Runs the binary to its end, which it must reach within three minutes, with its words in a log; what was written to
    /// standard output is lost.
    pub(crate) fn call(&self, log: &str, words: &[&str]) -> anyhow::Result<()> {
        let log = std::fs::File::create(self.path(log))?;
        let mut child = Command::new(&self.binary)
            .args(words)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", self.binary.display()))?;
        let deadline = Instant::now() + LONGEST;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if Instant::now() > deadline || crate::asked_to_stop() {
                child.kill()?;
                break child.wait()?;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        if !status.success() {
            bail!("funnelwatch {}: {status}", words.join(" "));
        }
        Ok(())
    }

    /// A client of ours, past all proxies.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("reconnect.backoff.max.ms", "500")
            .set("reconnect.backoff.ms", "50");
        config
    }

    /// The context of a client of ours.
    pub(crate) fn quiet(&self) -> Quiet {
        Quiet::new(self.path("clients.log"))
    }

    /// A reader of committed records from the beginning of these topics.
    pub(crate) fn reader(&self, topics: &[&str]) -> anyhow::Result<BaseConsumer<Quiet>> {
        let consumer: BaseConsumer<Quiet> = self
            .client()
            .set("group.id", format!("{}-reader", self.group))
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "50")
            .create_with_context(self.quiet())?;
        let mut list = TopicPartitionList::new();
        for topic in topics {
            for partition in 0..SHARDS {
                list.add_partition_offset(&self.topic(topic), partition as i32, Offset::Beginning)?;
            }
        }
        consumer.assign(&list)?;
        Ok(consumer)
    }
}
