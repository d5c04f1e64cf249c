//! Owns the environment of a run: its folder, topics and group, the configurations of its processes, and clients.

use crate::file_log::{FileLogContext, append_line};
use anyhow::{Context, bail};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The number of partitions of the sources, and of shards.
pub(crate) const SHARDS: u32 = 6;
/// The number of processes of the group.
pub(crate) const PROCESSES: usize = 3;
/// The topics with committed offsets: source topics and the rerouted topic.
pub(crate) const SOURCES: [&str; 4] = ["crm", "telephony", "email", "rerouted"];
/// Timeout of a request to the broker.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of a command of the binary.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(180);

/// The environment of a run.
pub(crate) struct Environment {
    pub(crate) dir: PathBuf,
    pub(crate) binary: PathBuf,
    /// The address of the broker, without a proxy.
    pub(crate) bootstrap: String,
    /// For each process: the ports of the broker, of its proxy and of its HTTP endpoints.
    pub(crate) ports: Vec<[u16; 3]>,
    pub(crate) group: String,
    /// `allowed_lateness`, in hours.
    pub(crate) lateness: u32,
}

impl Environment {
    /// Creates the folder. The addresses come from environment variables that `tests/services/up` prints.
    pub(crate) fn new(binary: PathBuf, lateness: u32) -> anyhow::Result<Self> {
        let variable =
            |name: &str| std::env::var(name).with_context(|| format!("{name} is not set: use tests/faults/run"));
        let proxied = variable("FUNNELWATCH_KAFKA_PROXIED")?;
        let mut ports = Vec::new();
        for entry in proxied.split_whitespace() {
            let numbers: Vec<u16> = entry.split(':').map(str::parse).collect::<Result<_, _>>()?;
            ports.push(numbers.try_into().ok().context("FUNNELWATCH_KAFKA_PROXIED: expected three ports per entry")?);
        }
        if ports.len() < PROCESSES {
            bail!("FUNNELWATCH_KAFKA_PROXIED: expected {PROCESSES} entries, found {}", ports.len());
        }
        let group = format!("faults-{}", std::process::id());
        let dir = std::env::temp_dir().join(format!("funnelwatch-{group}"));
        std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        let env = Self { dir, binary, bootstrap: variable("FUNNELWATCH_KAFKA")?, ports, group, lateness };
        std::fs::write(env.path("norms.yaml"), include_str!("norms.yaml"))?;
        for process in 0..PROCESSES {
            std::fs::write(env.config(process), env.configuration(process))?;
        }
        Ok(env)
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

    /// The configuration of a process. Only events advance the watermark, so that the output is deterministic.
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
  open_alerts: {group}.alerts.open
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

    /// Appends to the timeline of the run, for the analysis of differences.
    pub(crate) fn note(&self, text: &str) {
        append_line(&self.path("timeline.log"), text);
    }

    /// Runs a command of the binary with its output in a log. It must exit within three minutes.
    pub(crate) fn call(&self, log: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let log = std::fs::File::create(self.path(log))?;
        let mut child = Command::new(&self.binary)
            .args(arguments)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", self.binary.display()))?;
        let deadline = Instant::now() + COMMAND_TIMEOUT;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if Instant::now() > deadline || crate::stop_requested() {
                child.kill()?;
                break child.wait()?;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        if !status.success() {
            bail!("funnelwatch {}: {status}", arguments.join(" "));
        }
        Ok(())
    }

    /// The configuration of the suite's own clients, which bypass the proxies.
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

    /// The context of the suite's own clients.
    pub(crate) fn client_context(&self) -> FileLogContext {
        FileLogContext::new(self.path("clients.log"))
    }

    /// A consumer of committed records from the beginning of these topics.
    pub(crate) fn reader(&self, topics: &[&str]) -> anyhow::Result<BaseConsumer<FileLogContext>> {
        let consumer: BaseConsumer<FileLogContext> = self
            .client()
            .set("group.id", format!("{}-reader", self.group))
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "50")
            .create_with_context(self.client_context())?;
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
