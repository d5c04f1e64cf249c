//! `gateway`: reads the systems that a company uses, and takes what they send, until stopped.

use super::configuration::log_notes;
use super::live::stop_on_signals;
use super::portal;
use crate::cli;
use crate::config::gateway::{Gateway, GatewaySource, SourceKind};
use crate::config::{Config, Problem, Problems};
use crate::edge::clock;
use crate::edge::kafka::acknowledged::AcknowledgedProducer;
use crate::edge::kafka::{Observer, RuntimeEvent, Stop};
use crate::gateway::driver::{self, DriverContext, Opener};
use crate::gateway::inbox::Inbox;
use crate::gateway::source::{Cursors, ReadError, Reader};
use crate::telemetry::gateway_metrics::{GatewayMetrics, SourceMetrics};
use crate::telemetry::http_metrics::HttpMetrics;
use crate::telemetry::liveness::{Liveness, Thread};
use anyhow::bail;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a stop may take; shorter than the grace period of the Deployment.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// How often the driver is looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(20);

/// `gateway`: runs until stopped.
pub(super) fn gateway(args: &cli::Gateway) -> anyhow::Result<()> {
    if let Some(command) = &args.command {
        return portal::command(command);
    }
    let Some(path) = &args.config else { bail!("--config is missing") };
    let config = Config::load(path)?;
    // The gateway judges nothing: what is to be said about norms concerns the processor.
    let notes: Vec<_> = config.notes.iter().filter(|note| note.path != "norms").cloned().collect();
    log_notes(&notes);
    if config.gateway.is_none() {
        let text = "required key is missing: the systems that are read".into();
        let file = path.display().to_string();
        return Err(Problems(vec![Problem { file, line: 0, path: "gateway".into(), text }]).into());
    }
    let stop = stop_on_signals()?;
    let of_processor = config.clone();
    let open: Opener = Arc::new(move |source, cursors, metrics| open(&of_processor, source, cursors, metrics));
    let (running, address) = start(config, open, &stop)?;
    tracing::info!("http on {address}: POST /in/NAME, /metrics /livez /readyz");
    running.await_end(&stop)
}

/// Builds the reader of a source. The configuration is that of the file: its topics are those of the processor.
fn open(
    config: &Config,
    source: &GatewaySource,
    cursors: &Cursors,
    metrics: Arc<SourceMetrics>,
) -> Result<Box<dyn Reader>, ReadError> {
    match &source.kind {
        SourceKind::Bitrix24(section) => {
            portal::check_past(config, source, section, cursors)?;
            portal::open(source, section, cursors, metrics)
        }
        SourceKind::Events(_) | SourceKind::Telephony(_) => Err(ReadError::Refused {
            what: format!("{} is not read", source.kind.name()),
            retry_in: Duration::from_secs(3600),
        }),
    }
}

/// A gateway that runs in this process.
pub(super) struct Running {
    driver: JoinHandle<anyhow::Result<()>>,
    producer: AcknowledgedProducer,
}

/// Starts the gateway of a configuration; returns the address that it listens on.
pub(super) fn start(mut config: Config, open: Opener, stop: &Stop) -> anyhow::Result<(Running, SocketAddr)> {
    let Some(gateway) = config.gateway.clone() else { bail!("the configuration has no gateway") };
    as_member(&mut config, &gateway);
    let http = Arc::new(HttpMetrics::new(config.http_server.connections));
    let names = gateway.sources.iter().map(|source| source.name.as_str());
    let metrics = Arc::new(GatewayMetrics::new(names, http, Arc::new(clock::now)));
    let liveness = Arc::new(Liveness::default());
    let producer = AcknowledgedProducer::start(&config)?;
    let inbox = Inbox::new((&config, &gateway), producer.clone(), &metrics, &liveness);
    let address = inbox.serve(&config, gateway.listen)?;
    let beats = Arc::clone(&liveness);
    // Its commits are part of the thread that reads: while one waits for brokers, that thread is alive. So it is while it waits
    // for brokers to start again.
    let alive = move |event: RuntimeEvent<'_>| {
        if let RuntimeEvent::Alive(Thread::Commit) | RuntimeEvent::Waiting(_) = event {
            beats.beat(Thread::Ingest, clock::now());
        }
    };
    let observer = Arc::new(Observer::new(Arc::default(), Arc::clone(&liveness), alive));
    let context = DriverContext { config, open, metrics, liveness, observer, stop: stop.clone() };
    let driver = std::thread::Builder::new().name("driver".into()).spawn(move || Ok(driver::run(&context)?))?;
    Ok((Running { driver, producer }, address))
}

/// Gives the Kafka clients the identity of the gateway: a processor with the same configuration is another member of another
/// group.
fn as_member(config: &mut Config, gateway: &Gateway) {
    config.kafka.group.clone_from(&gateway.group);
    config.kafka.transactional_id.push_str("-gateway");
}

impl Running {
    /// Waits until the gateway has ended. What it has acknowledged is stored then.
    pub(super) fn await_end(self, stop: &Stop) -> anyhow::Result<()> {
        let mut stopping = None;
        while !self.driver.is_finished() {
            if stop.is_set() && stopping.get_or_insert_with(Instant::now).elapsed() > STOP_TIMEOUT {
                bail!("stop: not finished within {} s", STOP_TIMEOUT.as_secs());
            }
            if self.producer.is_broken() {
                bail!("the producer of hints and events has failed for good; the log has the reason");
            }
            std::thread::sleep(WATCH_INTERVAL);
        }
        self.producer.close();
        self.driver.join().map_err(|_| anyhow::anyhow!("the driver panicked"))?
    }
}
