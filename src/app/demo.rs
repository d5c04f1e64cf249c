//! Owns `demo`: Kafka in this process, a simulated sales floor under a simulated clock, the processor, the endpoints and
//! a table to watch. Nothing needs to be installed.

use super::live::{Watch, settings, stop_on_signals};
use crate::cli;
use crate::config::{self, Config};
use crate::dataflow::live_state::lock;
use crate::domain::shard_processor::Timing;
use crate::domain::time::{Span, Timestamp};
use crate::edge::http::{self, EndpointContext, HttpError};
use crate::edge::kafka::in_process::InProcess;
use crate::edge::kafka::producer::EventProducer;
use crate::edge::kafka::{self, Mode, NormsHandle, RunError, Stop};
use crate::edge::terminal::Screen;
use crate::sim::{self, Plan, Simulation};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Partitions of each topic: more than there are companies.
const PARTITIONS: u32 = 4;
/// How often the screen is drawn.
const FRAME: Duration = Duration::from_millis(500);

/// The simulated clock: event time that passes `speed` times faster than the wall clock.
#[derive(Clone, Copy)]
struct SimulatedClock {
    start: Timestamp,
    began: Instant,
    speed: u32,
}

impl SimulatedClock {
    fn now(&self) -> Timestamp {
        self.start + Span(self.began.elapsed().as_millis() as i64 * i64::from(self.speed))
    }

    /// How long it takes until `at`.
    fn until(&self, at: Timestamp) -> Duration {
        let millis = (at - self.now()).0.max(0) as u64;
        Duration::from_millis(millis / u64::from(self.speed))
    }
}

/// Runs the demonstration.
pub(super) fn demo(args: &cli::Demo) -> anyhow::Result<()> {
    let mut config = Config::default();
    if let Some(url) = &args.redis {
        let text = format!("redis: {{url: {:?}}}", url);
        config.redis = Config::parse("--redis", &text)?.redis;
    }
    let norms = config::parse_norms("the demo's norms", sim::norms_yaml())?;
    config.norms = norms.norms;
    // An hour of life goes by in half a minute: so do silences, and the second by which a busy machine may deliver one
    // topic behind another is minutes.
    config.time.allowed_lateness = config.time.allowed_lateness.max(Span(i64::from(args.speed) * Span::SECOND.0));
    config.time.idle_after = Span(config.time.idle_after.0 / i64::from(args.speed).clamp(1, 50));
    let cluster = InProcess::start(&config.topics, PARTITIONS)?;
    config.kafka.bootstrap = cluster.bootstrap().to_owned();

    let stop = stop_on_signals()?;
    let plan = Plan { keeps_owed: false, ..Plan::demo(args.seed) };
    let clock = SimulatedClock { start: plan.start, began: Instant::now(), speed: args.speed };
    let settings = settings(&config, Timing { follows_clock: false, ..config.timing() });
    let board = Arc::clone(&settings.board);
    let watch = Watch::new(&config, &board, Arc::new(move || clock.now()))?;
    let http = serve(args.http, &watch.shown(&config))?;
    tracing::info!(
        "kafka in this process: {}   http: {http} (/metrics /livez /readyz /api/v1/tenants)",
        config.kafka.bootstrap
    );
    tracing::info!("try: kcat -b {} -t {} -C -e", config.kafka.bootstrap, config.topics.alerts);

    let simulation = simulate(EventProducer::new(&config)?, plan, clock, stop.clone());
    let (observer, asked) = (Arc::clone(&watch), stop.clone());
    let processor =
        std::thread::spawn(move || kafka::run(&config, settings, Mode::Live, &asked, NormsHandle::default(), observer));

    let screen = Screen::open()?;
    let head =
        format!("funnelwatch demo   {}× faster than life   http {http}   kafka {}", args.speed, cluster.bootstrap());
    let end = args.duration.map(|span| clock.began + Duration::from_millis(span.0 as u64));
    while !stop.is_set() && !processor.is_finished() && end.is_none_or(|end| Instant::now() < end) {
        std::thread::sleep(FRAME);
        screen.show(clock.now(), &head, &board.rows(), &mut lock(&watch.newest))?;
    }
    let rows = board.rows();
    stop.stop();
    let done = finish(processor, simulation);
    let mut newest = lock(&watch.newest);
    screen.show(clock.now(), &head, &rows, &mut newest)?;
    screen.close(&rows, newest.seen)?;
    done
}

/// Serves on the wanted address, or on a free port if that one is taken.
fn serve(address: SocketAddr, shown: &EndpointContext) -> Result<SocketAddr, HttpError> {
    http::serve(address, shown.clone()).or_else(|error| {
        tracing::warn!("{error}; taking a free port");
        http::serve(SocketAddr::new(address.ip(), 0), shown.clone())
    })
}

/// Sends each event when the simulated clock gets to it.
fn simulate(
    mut producer: EventProducer,
    plan: Plan,
    clock: SimulatedClock,
    stop: Stop,
) -> JoinHandle<anyhow::Result<()>> {
    std::thread::spawn(move || {
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

fn finish(
    processor: JoinHandle<Result<kafka::Summary, RunError>>,
    simulation: JoinHandle<anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let panicked = |part: &str| anyhow::anyhow!("the {part} panicked");
    let processed = processor.join().map_err(|_| panicked("processor"))?;
    simulation.join().map_err(|_| panicked("simulation"))??;
    processed?;
    Ok(())
}
