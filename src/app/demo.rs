//! `demo`: an in-process Kafka, simulated sales departments on a simulated clock, the processor, the HTTP endpoints and
//! a live table. Requires no installed services.

mod clock;
mod names;
mod notify;
mod portal;

use super::live::{RunViews, settings, stop_on_signals};
use crate::cli::{self, DemoSource};
use crate::config::{self, Config, HttpServer};
use crate::dataflow::live::lock;
use crate::domain::shard::processor::Timing;
use crate::domain::time::Span;
use crate::edge::http::{self, EndpointContext, HttpError};
use crate::edge::kafka::in_process::InProcess;
use crate::edge::kafka::producer::EventProducer;
use crate::edge::kafka::{self, Mode, NormsHandle, RunError, Stop};
use crate::edge::terminal::Screen;
use crate::sim::{self, Plan, Simulation};
use clock::SimulatedClock;
use portal::RunningPortal;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Partitions of each topic: more than there are tenants.
const PARTITIONS: u32 = 4;
/// Interval between redraws of the screen.
const FRAME: Duration = Duration::from_millis(500);

pub(super) fn demo(args: &cli::Demo) -> anyhow::Result<()> {
    let mut config = Config::default();
    if let Some(url) = &args.redis {
        let text = format!("redis: {{url: {:?}}}", url);
        config.redis = Config::parse("--redis", &text)?.redis;
    }
    config.prometheus.names = true;
    let of_portal = args.source == DemoSource::Bitrix24;
    let norms = if of_portal { portal::NORMS } else { sim::norms_yaml() };
    let norms = config::parse_norms("the demo's norms", norms)?;
    config.norms = norms.norms;
    // A simulated hour takes half a minute. Idle timeouts must shrink accordingly, and the second by which one topic
    // may lag behind another on a busy machine amounts to minutes of event time.
    config.time.allowed_lateness = config.time.allowed_lateness.max(Span(i64::from(args.speed) * Span::SECOND.0));
    config.time.idle_after = Span(config.time.idle_after.0 / i64::from(args.speed).clamp(1, 50));
    // The HTTP server keeps its Kafka clients until the process exits, so the cluster must not end before.
    let cluster = ManuallyDrop::new(InProcess::start(&config.topics, PARTITIONS)?);
    config.kafka.bootstrap = cluster.bootstrap().to_owned();

    let stop = stop_on_signals()?;
    let plan = Plan { keeps_expected: false, ..Plan::demo(args.seed) };
    let clock = SimulatedClock { start: plan.start, began: Instant::now(), speed: args.speed };
    let settings = settings(&config, Timing { follows_clock: false, ..config.timing() });
    let live_state = Arc::clone(&settings.live_state);
    let views = RunViews::new(&config, &live_state, Arc::new(move || clock.now()))?;
    let http = serve(args.http, &config.http_server, &views.endpoints(&config)?)?;
    views.read_deliveries(&config, &stop)?;
    tracing::info!("page: http://{http}/");
    tracing::info!(
        "in-process kafka: {}   http: {http} (/metrics /livez /readyz /api/v1/tenants)",
        config.kafka.bootstrap
    );
    tracing::info!("try: kcat -b {} -t {} -C -e", config.kafka.bootstrap, config.topics.alerts);

    let source = if of_portal {
        Source::Portal(RunningPortal::start(cluster.bootstrap(), args.seed, clock, &stop)?)
    } else {
        Source::Simulation(simulate(EventProducer::new(&config)?, plan, clock, stop.clone()))
    };
    let (observer, processor_stop) = (views.observer(), stop.clone());
    let processor = std::thread::spawn(move || {
        kafka::run(&config, settings, Mode::Live, &processor_stop, NormsHandle::default(), observer)
    });

    // Messages and a table would overwrite each other.
    let screen = if args.notify { None } else { Some(Screen::open()?) };
    let notify = if args.notify { Some(notify::start(cluster.bootstrap(), http, &stop)?) } else { None };
    if args.open {
        open_in_browser(&format!("http://{http}/"));
    }
    let header =
        format!("funnelwatch demo   {}× real time   http://{http}/   kafka {}", args.speed, cluster.bootstrap());
    let end = args.duration.map(|span| clock.began + Duration::from_millis(span.0 as u64));
    while !stop.is_set() && !processor.is_finished() && end.is_none_or(|end| Instant::now() < end) {
        std::thread::sleep(FRAME);
        if let Some(screen) = &screen {
            screen.show(clock.now(), &header, &live_state.rows(), &mut lock(&views.newest))?;
        }
    }
    let rows = live_state.rows();
    stop.stop();
    let result = finish(processor, source, &stop);
    if let Some(notify) = notify {
        notify.join().map_err(|_| anyhow::anyhow!("the notify thread panicked"))??;
    }
    let mut newest = lock(&views.newest);
    if let Some(screen) = screen {
        screen.show(clock.now(), &header, &rows, &mut newest)?;
        screen.close(&rows, newest.seen)?;
    }
    result
}

/// Opens a page in the browser of the desktop, if there is one.
fn open_in_browser(address: &str) {
    let command = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let nothing = std::process::Stdio::null;
    let started =
        std::process::Command::new(command).arg(address).stdin(nothing()).stdout(nothing()).stderr(nothing()).spawn();
    if let Err(error) = started {
        tracing::warn!("{command}: {error}; open {address} in a browser");
    }
}

/// Serves on the address, or on a free port if it is in use.
fn serve(address: SocketAddr, server: &HttpServer, context: &EndpointContext) -> Result<SocketAddr, HttpError> {
    http::serve(address, server, context.clone()).or_else(|error| {
        tracing::warn!("{error}; using a free port");
        http::serve(SocketAddr::new(address.ip(), 0), server, context.clone())
    })
}

/// Sends each event when the simulated clock reaches its time.
fn simulate(
    mut producer: EventProducer,
    plan: Plan,
    clock: SimulatedClock,
    stop: Stop,
) -> JoinHandle<anyhow::Result<()>> {
    std::thread::spawn(move || {
        for event in names::events(plan.start) {
            producer.send(&event)?;
        }
        for event in Simulation::new(plan) {
            while !stop.is_set() && clock.until(event.at) > Duration::ZERO {
                std::thread::sleep(clock.until(event.at).min(Duration::from_millis(20)));
                producer.serve();
            }
            if stop.is_set() {
                break;
            }
            producer.send(&event)?;
        }
        Ok(())
    })
}

/// Where the events come from.
enum Source {
    Simulation(JoinHandle<anyhow::Result<()>>),
    Portal(RunningPortal),
}

fn finish(processor: JoinHandle<Result<kafka::Summary, RunError>>, source: Source, stop: &Stop) -> anyhow::Result<()> {
    let panicked = |thread: &str| anyhow::anyhow!("the {thread} thread panicked");
    let processed = processor.join().map_err(|_| panicked("processor"))?;
    match source {
        Source::Simulation(thread) => thread.join().map_err(|_| panicked("simulation"))??,
        Source::Portal(portal) => portal.await_end(stop)?,
    }
    processed?;
    Ok(())
}
