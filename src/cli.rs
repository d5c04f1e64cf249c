//! The command line: commands, flags and help texts.

use crate::codec::Encoding;
use crate::domain::id::EntityId;
use crate::domain::time::{Span, Timestamp};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Real-time supervision of sales departments: reads CRM, telephony and e-mail events, publishes alerts and figures.
#[derive(Debug, Parser)]
#[command(name = "funnelwatch", version, max_term_width = 100)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a simulated load and the whole processor in one process, with an in-process Kafka
    Demo(Demo),
    /// Process events from Kafka
    Run(Run),
    /// Read CRM and phone systems, and take their webhooks, as events for `run`
    Gateway(Gateway),
    /// Tell people of alerts, in the channels that they use
    Notify(Notify),
    /// Process files of events without Kafka
    Replay(Replay),
    /// Send a simulated load to Kafka or write it to a file
    Simulate(Simulate),
    /// Check a configuration or a norms file, and show which norms apply in a scope
    Check(Check),
    /// Verify the topics, or create them
    Topics(Topics),
    /// List, show, verify or reset the state of shards and tenants
    State(State),
}

/// `demo`
#[derive(Debug, Args)]
pub struct Demo {
    /// Stop after this duration (`30s`, `5m`)
    #[arg(long = "for", value_parser = span)]
    pub duration: Option<Span>,
    /// Speed of the simulated clock relative to the wall clock
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub speed: u32,
    /// Seed of the simulation; the same seed gives the same events
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
    /// Listen address for the page, /metrics, /livez, /readyz and /api/v1
    #[arg(long, default_value = "127.0.0.1:9464")]
    pub http: SocketAddr,
    /// Open the page in a browser
    #[arg(long)]
    pub open: bool,
    /// Print the messages that people would be sent, in place of the table
    #[arg(long)]
    pub notify: bool,
    /// Write the live view to this Redis (`redis://127.0.0.1:6379`)
    #[arg(long)]
    pub redis: Option<String>,
    /// Where events come from: a simulated load, or a simulated Bitrix24 portal that the gateway reads
    #[arg(long, value_enum, default_value_t = DemoSource::Simulator)]
    pub source: DemoSource,
}

/// `demo --source`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DemoSource {
    /// Simulated departments that send events.
    Simulator,
    /// A simulated portal.
    Bitrix24,
}

/// `run`
#[derive(Debug, Args)]
pub struct Run {
    /// Configuration file
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Read to the end offsets found at start, finish like `replay`, and exit
    #[arg(long)]
    pub once: bool,
    /// With --once: process up to this event time, RFC 3339 (default: the last event)
    #[arg(long, value_parser = timestamp, requires = "once")]
    pub until: Option<Timestamp>,
    /// Number of worker threads; overrides the configuration
    #[arg(long)]
    pub workers: Option<usize>,
}

/// `gateway`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Gateway {
    /// Configuration file, with the section `gateway`
    #[arg(long, required = true)]
    pub config: Option<PathBuf>,
    /// Something else than reading
    #[command(subcommand)]
    pub command: Option<GatewayCommand>,
}

/// `notify`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Notify {
    /// Configuration file, with the section `notify`
    #[arg(long, required = true)]
    pub config: Option<PathBuf>,
    /// Print messages in place of sending them; nothing is stored
    #[arg(long)]
    pub dry_run: bool,
    /// Something else than telling people
    #[command(subcommand)]
    pub command: Option<NotifyCommand>,
}

/// `notify COMMAND`
#[derive(Debug, Subcommand)]
pub enum NotifyCommand {
    /// Reach each channel, without sending anything to a person, and name what is missing
    Check(NotifyCheck),
    /// Print the digest as it would be sent now
    Digest(NotifyDigest),
}

/// `notify digest`
#[derive(Debug, Args)]
pub struct NotifyDigest {
    /// Configuration file, with the section `notify.digest`
    #[arg(long)]
    pub config: PathBuf,
    /// The digest of the week
    #[arg(long)]
    pub weekly: bool,
    /// Print it and send nothing; required, since the running `notify` sends it at its time
    #[arg(long, required = true)]
    pub dry_run: bool,
}

/// `notify check`
#[derive(Debug, Args)]
pub struct NotifyCheck {
    /// Configuration file, with the section `notify`
    #[arg(long)]
    pub config: PathBuf,
}

/// `gateway COMMAND`
#[derive(Debug, Subcommand)]
pub enum GatewayCommand {
    /// Show what the webhooks of portals may see, and what will be missing and why
    Check(GatewaySources),
    /// Print a section `pipelines` for the norms, with the funnels and stages of a portal
    Norms(GatewayPortal),
    /// Show how far back-fills are
    Backfill(GatewaySources),
}

/// `gateway check`, `gateway backfill`
#[derive(Debug, Args)]
pub struct GatewaySources {
    /// Configuration file, with the section `gateway`
    #[arg(long)]
    pub config: PathBuf,
    /// Only the source with this name
    #[arg(long)]
    pub source: Option<String>,
}

/// `gateway norms`
#[derive(Debug, Args)]
pub struct GatewayPortal {
    /// Configuration file, with the section `gateway`
    #[arg(long)]
    pub config: PathBuf,
    /// The name of the source
    #[arg(long)]
    pub source: String,
}

/// `replay`
#[derive(Debug, Args)]
pub struct Replay {
    /// Norms file
    #[arg(long)]
    pub norms: PathBuf,
    /// Compare with the norms in this file (the current ones): report to standard output which alerts --norms would
    /// have added, removed and changed, by rule and manager
    #[arg(long, value_name = "OLD_NORMS")]
    pub compare: Option<PathBuf>,
    /// With --compare: write each added, removed or changed alert to this file as NDJSON; `-` is standard output and
    /// replaces the report
    #[arg(long, requires = "compare", value_name = "FILE")]
    pub compare_out: Option<PathBuf>,
    /// With --compare: count only alerts that began at or after this event time, RFC 3339 (default: the first event).
    /// Earlier events are still processed, so that open leads and figures over windows are complete
    #[arg(long, value_parser = timestamp, requires = "compare")]
    pub since: Option<Timestamp>,
    /// Files of events: JSON objects, one a line or in an array, or protobuf records (`.pb`); plain, gzip or zstd;
    /// `-` is standard input
    #[arg(long, required = true, num_args = 1..)]
    pub events: Vec<PathBuf>,
    /// Process up to this event time, RFC 3339 (default: the last event). Events further ahead of the wall clock than
    /// `max_future_skew` are refused, unless this is later
    #[arg(long, value_parser = timestamp)]
    pub until: Option<Timestamp>,
    /// Write alerts to this file as NDJSON; `-` is standard output (the default without
    /// --compare, unless another option writes there)
    #[arg(long)]
    pub alerts: Option<PathBuf>,
    /// Write the final metric rows to this file as NDJSON; `-` is standard output
    #[arg(long)]
    pub metrics: Option<PathBuf>,
    /// Write the calls and messages selected for review to this file as NDJSON; `-` is standard output
    #[arg(long)]
    pub reviews: Option<PathBuf>,
    /// Do not sort: deliver the events as they stand in the files, so that late ones are corrections
    #[arg(long)]
    pub as_delivered: bool,
    /// Deliver the events in random order within the allowed lateness (implies --as-delivered); the output must not
    /// change
    #[arg(long, value_name = "SEED")]
    pub shuffle: Option<u64>,
    /// Write alerts by their instant (`at`), not in the order in which they are emitted
    #[arg(long)]
    pub sort_by_at: bool,
    /// Drop state that is settled and unchanged for this duration (`60d`; default: keep everything)
    #[arg(long, value_parser = span)]
    pub retention: Option<Span>,
    /// Number of worker threads (default: one per core)
    #[arg(long)]
    pub workers: Option<usize>,
    /// Configuration file, for its `time` section
    #[arg(long)]
    pub config: Option<PathBuf>,
}

/// `simulate`
#[derive(Debug, Args)]
pub struct Simulate {
    /// Configuration file, for the Kafka connection and the topics
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Write to this file instead of Kafka: NDJSON, or protobuf records if it ends in `.pb`; `-` is standard output
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Seed of the simulation; the same seed gives the same events
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
    /// Number of events to send (default: until stopped)
    #[arg(long)]
    pub events: Option<u64>,
    /// Events per second of wall-clock time (default: unlimited)
    #[arg(long)]
    pub rate: Option<u32>,
    /// Number of simulated tenants
    #[arg(long, default_value_t = 4)]
    pub tenants: u32,
    /// Number of managers per tenant
    #[arg(long, default_value_t = 50)]
    pub managers: u32,
    /// Events per second of simulated time, over all tenants
    #[arg(long, default_value_t = 100)]
    pub density: u32,
    /// Event time of the first event, RFC 3339, or `now` for a live load (default: a Monday morning)
    #[arg(long, value_parser = timestamp_or_now)]
    pub start: Option<Timestamp>,
}

/// `check`
#[derive(Debug, Args)]
pub struct Check {
    /// Configuration file
    #[arg(long, required_unless_present = "norms")]
    pub config: Option<PathBuf>,
    /// Norms file
    #[arg(long, conflicts_with = "config")]
    pub norms: Option<PathBuf>,
    /// Compare the names in the norms (stages, sources, managers, departments…) with those in these files of events, and
    /// list what only one of them has; files as in `replay`
    #[arg(long, num_args = 1.., conflicts_with_all = ["tenant", "department", "manager", "pipeline", "source"])]
    pub events: Vec<PathBuf>,
    /// With --events: exit with code 1 if there is anything to list
    #[arg(long, requires = "events")]
    pub strict: bool,
    /// Show the norms that apply to this tenant
    #[arg(long)]
    pub tenant: Option<String>,
    /// Show the norms that apply to this department
    #[arg(long)]
    pub department: Option<String>,
    /// Show the norms that apply to this manager; give the department too, if overrides name it
    #[arg(long)]
    pub manager: Option<String>,
    /// Show the norms that apply to this pipeline
    #[arg(long)]
    pub pipeline: Option<String>,
    /// Show the norms that apply to leads from this source
    #[arg(long)]
    pub source: Option<String>,
}

/// `topics`
#[derive(Debug, Args)]
pub struct Topics {
    /// Configuration file
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Create missing topics
    #[arg(long)]
    pub create: bool,
    /// Wait for a broker without limit (default: a minute)
    #[arg(long)]
    pub wait: bool,
    /// Expected number of partitions (default: that of the existing source topics, or 12)
    #[arg(long)]
    pub partitions: Option<u32>,
    /// Replication factor of created topics
    #[arg(long, default_value_t = 1)]
    pub replication: u16,
}

/// `state`
#[derive(Debug, Args)]
pub struct State {
    /// The command.
    #[command(subcommand)]
    pub command: StateCommand,
}

/// The commands of `state`.
#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// List the state of each shard and each tenant
    List(StateList),
    /// Show the applied events of a tenant in event order
    Show(StateShow),
    /// Verify that the state of each shard is complete and can be restored
    Verify(StateVerify),
    /// Delete the state of a tenant or a shard; all processes of the group must be stopped
    Reset(StateReset),
}

/// `state list`
#[derive(Debug, Args)]
pub struct StateList {
    /// Configuration file
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// List only this shard
    #[arg(long)]
    pub shard: Option<u32>,
    /// List only this tenant and its shard
    #[arg(long, conflicts_with = "shard")]
    pub tenant: Option<String>,
    /// Print one JSON object per line instead of tables
    #[arg(long)]
    pub json: bool,
}

/// `state show`
#[derive(Debug, Args)]
pub struct StateShow {
    /// Configuration file
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Tenant
    #[arg(long)]
    pub tenant: String,
    /// Show only events that name this lead or deal (`lead:17`, `deal:4`)
    #[arg(long, value_parser = entity)]
    pub entity: Option<EntityId>,
}

/// `state verify`
#[derive(Debug, Args)]
pub struct StateVerify {
    /// Configuration file
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Verify only this shard
    #[arg(long)]
    pub shard: Option<u32>,
}

/// `state reset`
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["tenant", "shard"])))]
pub struct StateReset {
    /// Configuration file
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Delete the state of this tenant
    #[arg(long)]
    pub tenant: Option<String>,
    /// Delete the state of this shard, with all its tenants
    #[arg(long)]
    pub shard: Option<u32>,
    /// Delete the state; without this flag, only report what would be deleted
    #[arg(long)]
    pub yes: bool,
}

/// The encoding by the file name extension.
pub fn encoding_of(path: &std::path::Path) -> Encoding {
    if path.extension().is_some_and(|extension| extension == "pb") { Encoding::Protobuf } else { Encoding::Json }
}

fn timestamp(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| "expected an RFC 3339 timestamp, such as 2026-03-02T09:00:00Z".into())
}

fn entity(text: &str) -> Result<EntityId, String> {
    match text.split_once(':') {
        Some(("lead", id)) if !id.is_empty() => Ok(EntityId::lead(id)),
        Some(("deal", id)) if !id.is_empty() => Ok(EntityId::deal(id)),
        _ => Err("expected a lead or deal, such as lead:17 or deal:4".into()),
    }
}

fn timestamp_or_now(text: &str) -> Result<Timestamp, String> {
    if text == "now" { Ok(crate::edge::clock::now()) } else { timestamp(text) }
}

fn span(text: &str) -> Result<Span, String> {
    let invalid = || "expected a duration with the unit s, m, h or d, such as 90s, 15m or 4h".to_owned();
    let unit = match text.as_bytes().last() {
        Some(b's') => Span::SECOND,
        Some(b'm') => Span::MINUTE,
        Some(b'h') => Span::HOUR,
        Some(b'd') => Span::DAY,
        _ => return Err(invalid()),
    };
    let number: i64 = text[..text.len() - 1].parse().map_err(|_| invalid())?;
    let span = number.checked_mul(unit.0).filter(|millis| *millis > 0);
    span.map(Span).ok_or_else(invalid)
}
