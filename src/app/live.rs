//! The commands that need a Kafka cluster: `run`, `simulate`, `topics`.

use super::configuration::{load, log_notes, warn_missing_holidays};
use super::output::{create, progress_bar};
use super::reload::{self, Reload};
use crate::cli;
use crate::config::{Config, HttpServer, Watched};
use crate::dataflow::epoch::EpochOutput;
use crate::dataflow::live::{LiveState, OpenAlertsView, lock};
use crate::dataflow::settings::DataflowSettings;
use crate::domain::shard::processor::Timing;
use crate::domain::time::Timestamp;
use crate::edge::deliveries::Deliveries;
use crate::edge::files::EventWriter;
use crate::edge::http::{self, Access, EndpointContext, Publish};
use crate::edge::kafka::crm_events::CrmEvents;
use crate::edge::kafka::delivery_log::DeliveryLog;
use crate::edge::kafka::member_log::MemberLog;
use crate::edge::kafka::producer::{EventProducer, Pace};
use crate::edge::kafka::topics::Wanted;
use crate::edge::kafka::{self, Mode, NormsHandle, Observer, Reaction, RuntimeEvent, Stop};
use crate::edge::members::{MemberUrl, Members};
use crate::edge::redis::{LiveView, LiveViewSource};
use crate::edge::terminal::Newest;
use crate::edge::{clock, kafka::topics as kafka_topics};
use crate::sim::{Plan, Simulation};
use crate::telemetry::exporter::{Clock, Exporter};
use crate::telemetry::http_metrics::HttpMetrics;
use crate::telemetry::liveness::Liveness;
use crate::telemetry::member_metrics::MemberMetrics;
use crate::telemetry::processor_metrics::ProcessorMetrics;
use anyhow::{Context, bail};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// `run`: processes events until stopped.
pub(super) fn run(args: &cli::Run) -> anyhow::Result<()> {
    let watches = args.config.as_deref().filter(|_| !args.once);
    let reload_requested = watches.map(|_| reload::on_sighup()).transpose()?;
    let (mut config, watched) = match watches {
        Some(path) => {
            let (config, watched) = Watched::load(path)?;
            log_notes(&config.notes);
            (config, Some(watched))
        }
        None => (load(args.config.as_deref())?, None),
    };
    warn_missing_holidays(&config.norms, clock::now());
    if let Some(workers) = args.workers {
        config.engine.workers = workers.max(1);
    }
    let stop = stop_on_signals()?;
    let settings = settings(&config, Timing { until: args.until, ..config.timing() });
    if args.once {
        // A backfill processes the past and must not overwrite the live view.
        config.redis = None;
    }
    let views = RunViews::new(&config, &settings.live_state, Arc::new(clock::now))?;
    let mut log = None;
    if !args.once {
        let endpoints = views.endpoints(&config)?;
        let bound = http::serve(config.http, &server_of(&config), endpoints.clone())?;
        tracing::info!("http on {bound}: /metrics /livez /readyz /api/v1/tenants; page: http://{bound}/");
        if let Some(probes) = config.http_server.probes {
            let bound = http::serve_probes(probes, &config.http_server, endpoints)?;
            tracing::info!("probes on {bound}: /livez /readyz");
        }
        views.read_deliveries(&config, &stop)?;
        log = start_members(&config, &views, bound)?;
    }
    let norms_handle = NormsHandle::default();
    if let (Some(watched), Some(requested)) = (watched, reload_requested) {
        let (norms_handle, metrics, stop) = (norms_handle.clone(), Arc::clone(&views.metrics), stop.clone());
        Reload { watched, requested, norms_handle, metrics, stop }.start()?;
    }
    let mode = if args.once { Mode::Once } else { Mode::Live };
    let ended = kafka::run(&config, settings, mode, &stop, norms_handle, views.observer());
    if let Some(log) = log {
        log.leave();
    }
    let summary = ended?;
    tracing::info!(
        "{} epochs in {} transactions: {} alerts, {} rows, {} dead letters, {} rerouted, {} state records of {} bytes",
        summary.epochs,
        summary.transactions,
        summary.alerts,
        summary.rows,
        summary.dead_letters,
        summary.rerouted,
        summary.state.0,
        summary.state.1
    );
    Ok(())
}

/// How HTTP is served: other processes address this one by the name that it announces.
fn server_of(config: &Config) -> HttpServer {
    let mut server = config.http_server.clone();
    // A free port is not known yet; only the host matters.
    let address = SocketAddr::new(config.http.ip(), config.http.port().max(1));
    let url = config.members.as_ref().and_then(|members| MemberUrl::parse(&members.url(address)));
    server.allowed_hosts.extend(url.map(|url| url.host().to_ascii_lowercase()));
    server
}

/// Announces this process, whose endpoints listen on `bound`, to the others.
fn start_members(config: &Config, views: &RunViews, bound: SocketAddr) -> anyhow::Result<Option<MemberLog>> {
    let (Some(settings), Some(members)) = (&config.members, &views.members) else { return Ok(None) };
    let url = settings.url(bound);
    let url = MemberUrl::parse(&url).with_context(|| format!("members.url: {url} is not an address of a process"))?;
    tracing::info!("other processes reach this one at {url}");
    members.set_url(url);
    Ok(Some(MemberLog::start(config, Arc::clone(members))?))
}

/// The dataflow settings of a configuration.
pub(super) fn settings(config: &Config, timing: Timing) -> DataflowSettings {
    DataflowSettings {
        max_message_bytes: config.engine.max_message_bytes,
        event_limits: config.limits.event,
        admission_limits: config.limits.admission.clone(),
        rows_at_boundaries: true,
        ..DataflowSettings::new(Arc::new(config.norms.clone()), timing)
    }
}

/// Requests a stop on Ctrl-C and SIGTERM; a second Ctrl-C ends the process immediately. A second SIGTERM does not,
/// because supervisors that stop process groups may send it twice.
pub(super) fn stop_on_signals() -> anyhow::Result<Stop> {
    let stop = Stop::default();
    signal_hook::flag::register_conditional_shutdown(SIGINT, 1, stop.flag()).context("handle signals")?;
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, stop.flag()).context("handle signals")?;
    }
    Ok(stop)
}

/// What shows a run: telemetry, the live view and the terminal.
pub(super) struct RunViews {
    metrics: Arc<ProcessorMetrics>,
    liveness: Arc<Liveness>,
    live_state: Arc<LiveState>,
    open_alerts: Arc<OpenAlertsView>,
    live: Option<LiveView>,
    /// The processes that answer for each other.
    members: Option<Arc<Members>>,
    member_metrics: Arc<MemberMetrics>,
    deliveries: Arc<Deliveries>,
    clock: Clock,
    pub(super) newest: Mutex<Newest>,
}

impl RunViews {
    pub(super) fn new(config: &Config, live_state: &Arc<LiveState>, clock: Clock) -> anyhow::Result<Arc<Self>> {
        let (metrics, liveness, newest): (Arc<ProcessorMetrics>, _, _) = Default::default();
        let open_alerts = Arc::new(OpenAlertsView::new(Arc::clone(live_state)));
        metrics.norms_in_force(clock::now());
        metrics.counters().in_flight_limit = config.engine.epochs_in_flight.max(1);
        let source = || LiveViewSource {
            live_state: Arc::clone(live_state),
            open_alerts: Arc::clone(&open_alerts),
            language: config.language,
        };
        let live = config.redis.as_ref().map(|redis| LiveView::start(redis, source())).transpose()?;
        let member_metrics = Arc::new(MemberMetrics::default());
        let members = config.members.as_ref().map(|members| {
            let (name, token) = (&config.kafka.transactional_id, members.token.as_deref());
            Arc::new(Members::new(name, token, Arc::clone(&member_metrics)))
        });
        let live_state = Arc::clone(live_state);
        let deliveries = Arc::default();
        Ok(Arc::new(Self {
            metrics,
            liveness,
            live_state,
            open_alerts,
            live,
            members,
            member_metrics,
            deliveries,
            clock,
            newest,
        }))
    }

    pub(super) fn observer(self: &Arc<Self>) -> Arc<Observer> {
        let views = Arc::clone(self);
        let show = move |event: RuntimeEvent<'_>| match event {
            RuntimeEvent::EpochCommitted(output, _) => views.committed(*output),
            RuntimeEvent::RowsCommitted(rows) => {
                if let Some(live) = &views.live {
                    live.committed(Vec::new(), Vec::new(), rows);
                }
            }
            RuntimeEvent::Restarting(_) => {
                views.open_alerts.clear();
                views.to_members(|members| members.reading(&[]));
            }
            RuntimeEvent::Shards(shards) => views.to_members(|members| members.set_shards(shards)),
            RuntimeEvent::Received(shards, generation) => {
                views.to_members(|members| members.received(shards, generation));
            }
            RuntimeEvent::Assigned(shards) => views.to_members(|members| members.reading(shards)),
            RuntimeEvent::WithoutState(shards) => {
                views.to_members(|members| members.restored(shards.iter().copied()));
            }
            // The group has moved on without this process.
            RuntimeEvent::EpochsAbandoned(_) | RuntimeEvent::TransactionAborted(.., Reaction::AwaitRevocation) => {
                views.to_members(Members::lost);
            }
            _ => {}
        };
        Arc::new(Observer::new(Arc::clone(&self.metrics), Arc::clone(&self.liveness), show))
    }

    fn to_members(&self, report: impl FnOnce(&Members)) {
        if let Some(members) = &self.members {
            report(members);
        }
    }

    fn committed(&self, output: EpochOutput) {
        self.open_alerts.committed(&output);
        self.to_members(|members| members.restored(output.restored.iter().map(|(shard, _)| *shard)));
        output.alerts.iter().for_each(|alert| lock(&self.newest).push(alert));
        if let Some(live) = &self.live {
            if !output.restored.is_empty() {
                live.mark_incomplete();
            }
            live.committed(output.alerts, output.taken, output.rows);
        }
    }

    /// Starts to read what `notify` has sent to whom, until the stop.
    pub(super) fn read_deliveries(&self, config: &Config, stop: &Stop) -> anyhow::Result<()> {
        Ok(DeliveryLog::start(config, Arc::clone(&self.deliveries), stop)?)
    }

    /// What the HTTP endpoints read.
    pub(super) fn endpoints(&self, config: &Config) -> anyhow::Result<EndpointContext> {
        let (live_state, metrics, clock) =
            (Arc::clone(&self.live_state), Arc::clone(&self.metrics), Arc::clone(&self.clock));
        let exporter = Exporter::new(live_state, metrics, clock, config.prometheus.clone());
        let http = Arc::new(HttpMetrics::new(config.http_server.connections));
        let exporter = exporter.with_live(self.live.as_ref().map(|live| Arc::clone(live.metrics())));
        let exporter = exporter.with_http(Arc::clone(&http));
        let exporter = exporter.with_members(self.members.as_ref().map(|_| Arc::clone(&self.member_metrics)));
        let crm_events = CrmEvents::start(config)?;
        let publish: Publish = Arc::new(move |tenant, event| {
            let (crm_events, tenant) = (crm_events.clone(), tenant.clone());
            Box::pin(async move { crm_events.write(&tenant, &event).await })
        });
        Ok(EndpointContext {
            publish: Some(publish),
            exporter: Arc::new(exporter),
            liveness: Arc::clone(&self.liveness),
            live_state: Arc::clone(&self.live_state),
            open_alerts: Arc::clone(&self.open_alerts),
            language: config.language,
            access: Arc::new(Access::new(&config.api)),
            page: config.page.clone(),
            deliveries: Arc::clone(&self.deliveries),
            http,
            members: self.members.clone(),
        })
    }
}

/// `simulate`: sends simulated events to Kafka or writes them to a file.
pub(super) fn simulate(args: &cli::Simulate) -> anyhow::Result<()> {
    let config = load(args.config.as_deref())?;
    let stop = stop_on_signals()?;
    let mut plan = Plan::load(args.seed, args.tenants, args.managers, args.density);
    plan.start = args.start.unwrap_or(plan.start);
    let events = Simulation::new(plan).take(args.events.map_or(usize::MAX, |events| events as usize));
    let template =
        if args.events.is_some() { "{bar:30} {percent}% {human_pos} {per_sec} {eta}" } else { "{human_pos} {per_sec}" };
    let bar = progress_bar(args.events, template);
    let mut pace = args.rate.map(|rate| Pace::new(f64::from(rate)));
    let mut allowed = || !stop.is_set() && pace.as_mut().is_none_or(|pace| pace.wait(&stop));
    if let Some(path) = &args.out {
        let out = BufWriter::with_capacity(1 << 20, create(path)?);
        let mut writer = EventWriter::new(out, cli::encoding_of(path));
        for event in events.take_while(|_| allowed()) {
            writer.write(&event)?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        return Ok(writer.finish()?);
    }
    let mut producer = EventProducer::new(&config)?;
    let mut last = Timestamp::MIN;
    for event in events.take_while(|_| allowed()) {
        producer.send(&event)?;
        last = event.at;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let flushed = producer.flush(Duration::from_secs(60));
    let counts = producer.counts();
    tracing::info!("{} of {} events delivered, up to event time {last}", counts.delivered, counts.sent);
    if !flushed || counts.failed > 0 {
        bail!("{} events were not delivered", counts.sent - counts.delivered);
    }
    Ok(())
}

/// `topics`: verifies the topics, or creates them.
pub(super) fn topics(args: &cli::Topics) -> anyhow::Result<()> {
    let config = load(args.config.as_deref())?;
    let wanted = Wanted { create: args.create, partitions: args.partitions, replication: args.replication };
    if args.wait && !kafka_topics::await_broker(&config, &stop_on_signals()?)? {
        bail!("stopped while waiting for a broker");
    }
    let report = kafka_topics::verify(&config, &wanted)?;
    write!(io::stdout().lock(), "{report}")?;
    if !report.is_ok() {
        bail!("topic verification failed");
    }
    Ok(())
}
