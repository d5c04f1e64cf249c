//! `demo --source bitrix24`: a simulated portal whose webhooks and answers take the whole way through the gateway, on the
//! simulated clock.

use super::clock::SimulatedClock;
use crate::app::{gateway, portal};
use crate::config::Config;
use crate::config::gateway::{GatewaySource, SourceKind};
use crate::domain::time::{Span, Timestamp};
use crate::edge::kafka::Stop as RunStop;
use crate::gateway::bitrix24::{Bitrix24, Received, Transport, Webhook};
use crate::gateway::driver::Opener;
use crate::gateway::source::{Clock, Cursors, Hint, Next, Portion, ReadError, Reader, Stop};
use crate::sim::portal::{Hook, Interface, Pace, World};
use crate::telemetry::gateway_metrics::SourceMetrics;
use anyhow::Context;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The norms of the simulated department.
pub(super) const NORMS: &str = include_str!("../../sim/portal/norms.yaml");

/// The token of the simulated outgoing webhook.
const TOKEN: &str = "token-of-the-demo";

/// The longest wait before the signal to stop is looked at.
const TICK: Duration = Duration::from_millis(20);

/// The gateway's part of the configuration. No port but that of the listener is used: the portal is in this process.
const GATEWAY: &str = "gateway:
  listen: 127.0.0.1:0
  sources:
    - name: portal
      tenant: romashka
      time_zone: Europe/Moscow
      bitrix24:
        url: http://127.0.0.1/rest/1/demo/
        application_token: token-of-the-demo
        sweep: 60s
        deals: {pipelines: {0: sales, 9: service}}
        fields: {filled: {UF_CRM_NEED: need}}
";

/// The portal and its clock.
#[derive(Clone)]
struct Scene {
    portal: Arc<Mutex<(World, Interface)>>,
    clock: SimulatedClock,
}

impl Scene {
    fn lock(&self) -> MutexGuard<'_, (World, Interface)> {
        self.portal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A time on the simulated clock as a time on the wall clock.
    fn real(&self, time: Duration) -> Duration {
        time / self.clock.speed
    }
}

impl Clock for Scene {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn wait(&self, time: Duration, stop: &Stop) {
        let end = self.clock.began.elapsed() + self.real(time);
        while !stop.is_set() && self.clock.began.elapsed() < end {
            std::thread::sleep(TICK.min(end.saturating_sub(self.clock.began.elapsed())));
        }
    }
}

impl Transport for Scene {
    fn post(&mut self, _: &Webhook, method: &str, body: &str) -> Result<Received, &'static str> {
        let now = self.clock.now();
        let (world, interface) = &mut *self.lock();
        world.advance(now);
        let answer = interface.answer(&mut world.tables, method, body);
        Ok(Received { status: answer.status, location: answer.location, body: answer.body.into_bytes() })
    }
}

/// A reader whose waits are those of the simulated clock.
struct Faster {
    reader: Bitrix24,
    scene: Scene,
}

impl Reader for Faster {
    fn step(&mut self, hints: &[Hint], stop: &Stop) -> Result<Portion, ReadError> {
        let portion = self.reader.step(hints, stop).map_err(|error| match error {
            ReadError::Unavailable { what, retry_in } => {
                ReadError::Unavailable { what, retry_in: self.scene.real(retry_in) }
            }
            ReadError::Refused { what, retry_in } => ReadError::Refused { what, retry_in: self.scene.real(retry_in) },
        })?;
        let next = match portion.next {
            Next::Within(time) => Next::Within(self.scene.real(time)),
            Next::AtOnce => Next::AtOnce,
        };
        Ok(Portion { next, ..portion })
    }
}

/// A portal that is read, and the thread that sends its webhooks.
pub(super) struct RunningPortal {
    gateway: gateway::Running,
    hooks: JoinHandle<()>,
}

impl RunningPortal {
    /// Starts the portal and the gateway; events go to the topics of `bootstrap`.
    pub(super) fn start(bootstrap: &str, seed: u64, clock: SimulatedClock, stop: &RunStop) -> anyhow::Result<Self> {
        let mut config = Config::parse("the demo's gateway", GATEWAY)?;
        bootstrap.clone_into(&mut config.kafka.bootstrap);
        let pace = Pace { leads: 160, managers: 7, odd: false, step: Span(40 * 60_000) };
        let world = World::new(seed, clock.start, Timestamp(clock.start.0 + 3650 * Span::DAY.0), pace);
        let scene = Scene { portal: Arc::new(Mutex::new((world, Interface::default()))), clock };
        let of_reader = scene.clone();
        let open: Opener = Arc::new(move |source: &GatewaySource, cursors: &Cursors, metrics: Arc<SourceMetrics>| {
            let refused = |what: String| ReadError::Refused { what, retry_in: Duration::from_secs(60) };
            let SourceKind::Bitrix24(section) = &source.kind else { return Err(refused("no portal".to_owned())) };
            let settings = portal::settings(source, section).map_err(|error| refused(error.to_string()))?;
            let (transport, clock) = (Box::new(of_reader.clone()), Arc::new(of_reader.clone()));
            let reader = Bitrix24::new(settings, cursors, transport, clock, metrics);
            let reader = reader.map_err(|error| refused(error.to_string()))?;
            Ok(Box::new(Faster { reader, scene: of_reader.clone() }) as Box<dyn Reader>)
        });
        let (gateway, address) = gateway::start(config, open, stop)?;
        tracing::info!("gateway: http://{address} (POST /in/portal, /metrics)");
        let stop = stop.clone();
        let hooks = std::thread::Builder::new().name("portal".into()).spawn(move || send(&scene, address, &stop))?;
        Ok(Self { gateway, hooks })
    }

    /// Waits for the end of both.
    pub(super) fn await_end(self, stop: &RunStop) -> anyhow::Result<()> {
        self.hooks.join().map_err(|_| anyhow::anyhow!("the portal thread panicked"))?;
        self.gateway.await_end(stop).context("gateway")
    }
}

/// Sends the webhooks of the portal, as it does: without repeating those that fail.
fn send(scene: &Scene, address: SocketAddr, stop: &RunStop) {
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(2))).build().into();
    let url = format!("http://{address}/in/portal");
    while !stop.is_set() {
        let hooks: Vec<Hook> = {
            let now = scene.clock.now();
            let (world, _) = &mut *scene.lock();
            world.advance(now);
            let (due, later) = std::mem::take(&mut world.tables.hooks).into_iter().partition(|hook| hook.at <= now);
            world.tables.hooks = later;
            due
        };
        for hook in hooks {
            let own = [("auth[domain]", "demo.bitrix24.ru"), ("auth[application_token]", TOKEN)];
            let fields = hook.fields.iter().map(|(key, value)| (key.as_str(), value.as_str())).chain(own);
            if let Err(error) = agent.post(&url).send_form(fields) {
                tracing::debug!("a webhook of the portal is lost: {error}");
            }
        }
        std::thread::sleep(TICK);
    }
}
