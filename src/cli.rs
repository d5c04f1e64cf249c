//! Owns the command line: its words, and nothing of what they do.

use crate::codec::Encoding;
use crate::domain::id::EntityId;
use crate::domain::time::{Span, Timestamp};
use clap::{ArgGroup, Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Real-time supervisor of sales departments: CRM, telephony and mail events in, violations and figures out.
#[derive(Debug, Parser)]
#[command(name = "funnelwatch", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch a simulated sales floor: Kafka in this process, nothing to install
    Demo(Demo),
    /// Process events from Kafka
    Run(Run),
    /// Judge files of events by norms, without Kafka
    Replay(Replay),
    /// Send the events of a simulated sales floor to Kafka or to a file
    Simulate(Simulate),
    /// Check a configuration or norms, and show what applies where
    Check(Check),
    /// Verify the topics, or create them
    Topics(Topics),
    /// Look into what is kept of shards and tenants, verify it, or reset it
    State(State),
}

/// `demo`
#[derive(Debug, Args)]
pub struct Demo {
    /// Stop after this long (`30s`, `5m`)
    #[arg(long = "for", value_parser = span)]
    pub duration: Option<Span>,
    /// How many times faster than the wall clock the simulated clock runs
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub speed: u32,
    /// The same seed gives the same sales floor
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
    /// Where to serve /metrics, /livez, /readyz and /api/v1
    #[arg(long, default_value = "127.0.0.1:9464")]
    pub http: SocketAddr,
    /// Keep the live view in this Redis, such as redis://127.0.0.1:6379
    #[arg(long)]
    pub redis: Option<String>,
}

/// `run`
#[derive(Debug, Args)]
pub struct Run {
    /// The configuration file
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Read to the end offsets found at start, close as `replay` does, and exit
    #[arg(long)]
    pub once: bool,
    /// With --once: process up to this instant (default: the last event)
    #[arg(long, value_parser = timestamp, requires = "once")]
    pub until: Option<Timestamp>,
    /// Worker threads, instead of the configuration's
    #[arg(long)]
    pub workers: Option<usize>,
}

/// `replay`
#[derive(Debug, Args)]
pub struct Replay {
    /// The norms to judge by
    #[arg(long)]
    pub norms: PathBuf,
    /// Judge by these norms too, those in force now, and tell which alerts --norms would have added and removed, by
    /// rule and manager, in a table on standard output
    #[arg(long, value_name = "OLD_NORMS")]
    pub compare: Option<PathBuf>,
    /// With --compare: where each alert that was added, removed or changed goes as NDJSON; `-` is standard output,
    /// instead of the table
    #[arg(long, requires = "compare", value_name = "FILE")]
    pub compare_out: Option<PathBuf>,
    /// With --compare: only alerts that began at this instant or later count, RFC 3339; the events before it are still
    /// judged, so that open leads and figures over windows are right (default: the first event)
    #[arg(long, value_parser = timestamp, requires = "compare")]
    pub since: Option<Timestamp>,
    /// Files of events: NDJSON, or protobuf records (`.pb`), each may be gzipped; `-` is standard input
    #[arg(long, required = true, num_args = 1..)]
    pub events: Vec<PathBuf>,
    /// Process up to this instant, RFC 3339 (default: the last event)
    #[arg(long, value_parser = timestamp)]
    pub until: Option<Timestamp>,
    /// Where alerts go as NDJSON; `-` is standard output (default, if nothing else goes there and nothing is compared)
    #[arg(long)]
    pub alerts: Option<PathBuf>,
    /// Where the metric rows at the end go as NDJSON; `-` is standard output
    #[arg(long)]
    pub metrics: Option<PathBuf>,
    /// Where the calls and messages picked for review go as NDJSON; `-` is standard output
    #[arg(long)]
    pub reviews: Option<PathBuf>,
    /// Deliver the events in a random order within the allowed lateness: the output must be the same
    #[arg(long, value_name = "SEED")]
    pub shuffle: Option<u64>,
    /// Forget what was settled so long ago (`60d`; default: nothing is forgotten)
    #[arg(long, value_parser = span)]
    pub retention: Option<Span>,
    /// Worker threads (default: one for each core)
    #[arg(long)]
    pub workers: Option<usize>,
    /// A configuration file, for its `time` section
    #[arg(long)]
    pub config: Option<PathBuf>,
}

/// `simulate`
#[derive(Debug, Args)]
pub struct Simulate {
    /// The configuration file: where Kafka is, and the topics
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Write to this file instead of Kafka: NDJSON, or protobuf records if it ends in `.pb`; `-` is standard output
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// The same seed gives the same events
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
    /// How many events to send (default: until stopped)
    #[arg(long)]
    pub events: Option<u64>,
    /// Events a second of wall clock (default: as fast as they are taken)
    #[arg(long)]
    pub rate: Option<u32>,
    /// Simulated companies
    #[arg(long, default_value_t = 4)]
    pub tenants: u32,
    /// Managers of each
    #[arg(long, default_value_t = 50)]
    pub managers: u32,
    /// Events a second of simulated time, over all companies
    #[arg(long, default_value_t = 100)]
    pub density: u32,
    /// The first simulated instant, RFC 3339 (default: a Monday morning; `now` makes a live load)
    #[arg(long, value_parser = timestamp_or_now)]
    pub start: Option<Timestamp>,
}

/// `check`
#[derive(Debug, Args)]
pub struct Check {
    /// The configuration file
    #[arg(long, required_unless_present = "norms")]
    pub config: Option<PathBuf>,
    /// A norms file
    #[arg(long, conflicts_with = "config")]
    pub norms: Option<PathBuf>,
    /// Show the norms that apply in this tenant
    #[arg(long)]
    pub tenant: Option<String>,
    /// … in this department
    #[arg(long)]
    pub department: Option<String>,
    /// … in this pipeline
    #[arg(long)]
    pub pipeline: Option<String>,
    /// … to leads of this source
    #[arg(long)]
    pub source: Option<String>,
}

/// `topics`
#[derive(Debug, Args)]
pub struct Topics {
    /// The configuration file
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Create what is missing
    #[arg(long)]
    pub create: bool,
    /// How many partitions there should be (default: as many as the source topics have, else 12)
    #[arg(long)]
    pub partitions: Option<u32>,
    /// Replicas of each partition, if topics are created
    #[arg(long, default_value_t = 1)]
    pub replication: u16,
}

/// `state`
#[derive(Debug, Args)]
pub struct State {
    /// What to do with it.
    #[command(subcommand)]
    pub command: StateCommand,
}

/// The commands about state.
#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// What there is of each shard and of each tenant
    List(StateList),
    /// The events of a tenant that took effect, in the order of it
    Show(StateShow),
    /// Read everything, and say what is wrong with it
    Verify(StateVerify),
    /// Make a tenant or a shard begin anew, while no process runs
    Reset(StateReset),
}

/// `state list`
#[derive(Debug, Args)]
pub struct StateList {
    /// The configuration file
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Only this shard
    #[arg(long)]
    pub shard: Option<u32>,
    /// Only this tenant, and its shard
    #[arg(long, conflicts_with = "shard")]
    pub tenant: Option<String>,
    /// A JSON object a line instead of tables
    #[arg(long)]
    pub json: bool,
}

/// `state show`
#[derive(Debug, Args)]
pub struct StateShow {
    /// The configuration file
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Whose events
    #[arg(long)]
    pub tenant: String,
    /// Only those that name this lead or deal: `lead:17`, `deal:4`
    #[arg(long, value_parser = entity)]
    pub entity: Option<EntityId>,
}

/// `state verify`
#[derive(Debug, Args)]
pub struct StateVerify {
    /// The configuration file
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Only this shard
    #[arg(long)]
    pub shard: Option<u32>,
}

/// `state reset`
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["tenant", "shard"])))]
pub struct StateReset {
    /// The configuration file
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// The tenant that is to begin anew
    #[arg(long)]
    pub tenant: Option<String>,
    /// The shard that is to begin anew, with all its tenants
    #[arg(long)]
    pub shard: Option<u32>,
    /// Do it; without this it is only said what would be done
    #[arg(long)]
    pub yes: bool,
}

/// The encoding that a file's name asks for.
pub fn encoding_of(path: &std::path::Path) -> Encoding {
    if path.extension().is_some_and(|extension| extension == "pb") { Encoding::Protobuf } else { Encoding::Json }
}

fn timestamp(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| "not an RFC 3339 date and time, such as 2026-03-02T09:00:00Z".into())
}

fn entity(text: &str) -> Result<EntityId, String> {
    match text.split_once(':') {
        Some(("lead", id)) if !id.is_empty() => Ok(EntityId::lead(id)),
        Some(("deal", id)) if !id.is_empty() => Ok(EntityId::deal(id)),
        _ => Err("not a lead or a deal, such as lead:17 or deal:4".into()),
    }
}

fn timestamp_or_now(text: &str) -> Result<Timestamp, String> {
    if text == "now" { Ok(crate::edge::clock::now()) } else { timestamp(text) }
}

fn span(text: &str) -> Result<Span, String> {
    let wrong = || "not a length of time, such as 90s, 15m or 4h".to_owned();
    let unit = match text.as_bytes().last() {
        Some(b's') => Span::SECOND,
        Some(b'm') => Span::MINUTE,
        Some(b'h') => Span::HOUR,
        Some(b'd') => Span::DAY,
        _ => return Err(wrong()),
    };
    let number: i64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    let span = number.checked_mul(unit.0).filter(|millis| *millis > 0);
    span.map(Span).ok_or_else(wrong)
}
