//! Owns the threads of the channels. Each sends one message at a time, so that nothing overtakes anything in a channel.

use super::context::{Finished, NotifyContext, count, printed};
use crate::config::Config;
use crate::config::notify::{Channel, Notify};
use crate::domain::alert::Alert;
use crate::domain::time::Timestamp;
use crate::edge::clock;
use crate::edge::http_client::{HttpClient, HttpClientSettings};
use crate::notify::channel::alertmanager::Alertmanager;
use crate::notify::channel::bitrix24::Bitrix24;
use crate::notify::channel::mail::Mail;
use crate::notify::channel::telegram::Telegram;
use crate::notify::channel::webhook::Webhook;
use crate::notify::channel::{Job, Outcome, Sender as Sends};
use crate::notify::ledger::Ledger;
use crate::notify::text::Wording;
use crate::telemetry::notify_metrics::NotifyMetrics;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How often Alertmanager is informed which alerts are open.
const TELL_INTERVAL: Duration = Duration::from_secs(30);
/// How long a request may take.
const TIME: Duration = Duration::from_secs(30);
/// The largest answer that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Alerts, each with its end if it is over.
type OpenAlerts = Vec<(Alert, Option<Timestamp>)>;

/// A sender and its name.
type NamedSender = (&'static str, Box<dyn Sends>);

/// The threads of the channels.
pub(super) struct Channels {
    senders: BTreeMap<&'static str, Sender<Job>>,
    finished: Receiver<Finished>,
    finish: Sender<Finished>,
    under_way: Arc<AtomicUsize>,
    alertmanager: Option<Sender<OpenAlerts>>,
    last_told: std::sync::Mutex<Option<Instant>>,
}

/// Prints messages in place of sending them.
pub struct Printed {
    /// What the messages say.
    pub wording: Wording,
}

impl Sends for Printed {
    fn send(&mut self, job: &Job) -> Outcome {
        // A reader that has gone is no error.
        let _ = writeln!(std::io::stdout(), "{}", printed(job, &self.wording, clock::now()));
        Outcome::Sent(Some(format!("printed-{}", job.id)))
    }

    fn check(&mut self) -> Result<String, String> {
        Ok("messages are printed".into())
    }
}

/// The channel whose thread sends the messages of a channel: those of one target.
fn target(channel: Channel) -> &'static str {
    match channel {
        Channel::Todo | Channel::Task => Channel::Bitrix24.name(),
        channel => channel.name(),
    }
}

fn client(ca: Option<&Path>) -> Result<HttpClient, String> {
    let settings = HttpClientSettings { ca, time: TIME, max_bytes: MAX_BYTES, name: "notify" };
    HttpClient::new(settings).map_err(|error| error.to_string())
}

/// The senders of the targets of a configuration, by name. `Err`: a target cannot be used as it is configured.
pub fn build_senders(config: &Config, notify: &Notify) -> Result<Vec<NamedSender>, String> {
    let wording = || Wording { links: notify.links.clone(), cards: config.page.clone() };
    let targets = &notify.targets;
    let mut senders: Vec<NamedSender> = Vec::new();
    if let Some(portal) = &targets.bitrix24 {
        let client = client(portal.ca.as_deref()).map_err(|error| format!("notify.targets.bitrix24.ca: {error}"))?;
        senders.push(("bitrix24", Box::new(Bitrix24::new(client, &portal.url.0, wording()))));
    }
    if let Some(bot) = &targets.telegram {
        senders.push(("telegram", Box::new(Telegram::new(client(None)?, &bot.api_url, &bot.token.0, wording()))));
    }
    if let Some(server) = &targets.mail {
        senders.push(("mail", Box::new(Mail::new(server, wording()).map_err(|error| error.to_string())?)));
    }
    if let Some(program) = &targets.webhook {
        senders.push(("webhook", Box::new(Webhook::new(client(None)?, &program.url, program.secret.clone()))));
    }
    Ok(senders)
}

/// The Alertmanager of a configuration.
pub fn build_alertmanager(config: &Config, notify: &Notify) -> Result<Option<Alertmanager>, String> {
    let wording = Wording { links: None, cards: config.page.clone() };
    let Some(server) = &notify.targets.alertmanager else { return Ok(None) };
    Ok(Some(Alertmanager::new(client(None)?, &server.url, notify.language, wording)))
}

impl Channels {
    /// Starts the threads.
    pub(super) fn start(context: &NotifyContext) -> Self {
        let (finish, finished) = unbounded();
        let under_way = Arc::<AtomicUsize>::default();
        let mut senders = BTreeMap::new();
        let built = if context.dry_run {
            let wording = || Wording { links: context.notify.links.clone(), cards: context.config.page.clone() };
            let printed = |name| (name, Box::new(Printed { wording: wording() }) as Box<dyn Sends>);
            ["bitrix24", "telegram", "mail", "webhook"].map(printed).into()
        } else {
            build_senders(&context.config, &context.notify).unwrap_or_else(|error| {
                // They were built before, when the program started.
                tracing::error!("{error}");
                Vec::new()
            })
        };
        for (name, sender) in built {
            let (jobs_in, jobs) = unbounded();
            senders.insert(name, jobs_in);
            let (finish, under_way) = (finish.clone(), Arc::clone(&under_way));
            spawn(name, move || serve(sender, &jobs, &finish, &under_way));
        }
        let alertmanager =
            build_alertmanager(&context.config, &context.notify).ok().flatten().filter(|_| !context.dry_run);
        let alertmanager = alertmanager.map(|server| {
            let (list_in, lists) = bounded(1);
            let metrics = Arc::clone(&context.metrics);
            spawn("alertmanager", move || tell(&server, &lists, &metrics));
            list_in
        });
        Self { senders, finished, finish, under_way, alertmanager, last_told: std::sync::Mutex::default() }
    }

    /// Gives a message to its channel.
    pub(super) fn send(&self, job: Job) {
        let (id, channel) = (job.id, job.address.channel);
        self.under_way.fetch_add(1, Ordering::Relaxed);
        let sent = self.senders.get(target(channel)).is_some_and(|sender| sender.send(job).is_ok());
        if !sent {
            // The target was taken out of the configuration.
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            let _ = self.finish.send((id, channel, Outcome::Refused("no_target")));
        }
    }

    /// The next message that has an outcome.
    pub(super) fn outcome(&self) -> Option<Finished> {
        self.finished.try_recv().ok()
    }

    /// The messages that are under way.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    /// Informs Alertmanager which alerts are open, now and then.
    pub(super) fn tell_alertmanager(&self, ledger: &Ledger, now: Timestamp) {
        let Some(alertmanager) = &self.alertmanager else { return };
        let mut last = self.last_told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() > TELL_INTERVAL) {
            *last = Some(Instant::now());
            // One that is busy is informed the next time.
            let _ = alertmanager.try_send(ledger.for_alertmanager(now));
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) {
    if let Err(error) = std::thread::Builder::new().name(name.into()).spawn(run) {
        tracing::error!("start the thread of a channel: {error}");
    }
}

fn serve(mut sender: Box<dyn Sends>, jobs: &Receiver<Job>, finish: &Sender<Finished>, under_way: &AtomicUsize) {
    for job in jobs {
        let outcome = sender.send(&job);
        if let Outcome::Refused(reason) = &outcome {
            tracing::warn!("{}: a message can never be sent ({reason})", job.address.channel.name());
        }
        let _ = finish.send((job.id, job.address.channel, outcome));
        under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

fn tell(server: &Alertmanager, lists: &Receiver<OpenAlerts>, metrics: &NotifyMetrics) {
    let mut is_away = false;
    for list in lists {
        let outcome = match server.tell(&list) {
            Ok(()) => Outcome::Sent(None),
            Err(kind) => Outcome::Later(crate::domain::time::Span(TELL_INTERVAL.as_millis() as i64), kind),
        };
        let is_away_now = matches!(outcome, Outcome::Later(..));
        if is_away_now && !is_away {
            tracing::warn!("alertmanager is not informed of alerts: it does not answer as expected");
        }
        is_away = is_away_now;
        count(metrics, Channel::Alertmanager, &outcome);
    }
}
