//! Asks the API of the processor who the people of companies are: when an alert comes, and again and again while one is open.
//!
//! What is asked when an alert of a company comes for the first time is waited for, because it says who is to be informed. All
//! else is asked by a thread, one company after another. While the API does not answer, what was known remains.

use crate::codec::ascii::percent_encoded_segment as encoded;
use crate::config::notify::{ApiAccess, Notify};
use crate::domain::alert::Alert;
use crate::edge::http_client::{HttpClient, HttpClientSettings};
use crate::notify::channel::Job;
use crate::notify::digest::Api;
use crate::notify::directory::{Company, Directory};
use crossbeam_channel::{Receiver, Sender, bounded};
use serde_json::Value;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// After this time an answer is asked for again, while alerts are open.
const HOLDS: Duration = Duration::from_secs(60);
/// After this time an answer is too old to decide by it who is informed of a new alert.
const EXPIRES: Duration = Duration::from_secs(300);
/// How long the API is left alone after it did not answer; a company, after the API had no answer about it.
const PAUSE: Duration = Duration::from_secs(30);
/// How long it may take.
const TIME: Duration = Duration::from_secs(3);
/// The pause of the thread between two requests.
const GAP: Duration = Duration::from_millis(50);
/// The largest answer that is read, in bytes.
const MAX_BYTES: u64 = 8 << 20;
/// The companies whose people are known at a time.
const MAX_COMPANIES: usize = 10_000;
/// The companies that wait for the thread.
const WAITING: usize = 16;
/// The numbers and addresses that a to-do names.
const MAX_CONTACTS: usize = 3;

/// Why the API does not say who the people of a company are.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Failure {
    /// It answers nobody.
    Away(String),
    /// It has no answer about this company.
    Unanswered(u16),
}

/// The API of the processor.
#[derive(Clone)]
pub(super) struct Source {
    client: HttpClient,
    access: ApiAccess,
}

impl Source {
    fn new(notify: &Notify) -> Option<Self> {
        let access = notify.api.clone()?;
        let settings = HttpClientSettings { ca: None, time: TIME, max_bytes: MAX_BYTES, name: "notify" };
        Some(Self { client: HttpClient::new(settings).ok()?, access })
    }

    /// The answer at a path below `/api/v1`.
    fn ask(&self, path: &str) -> Result<Value, Failure> {
        let bearer = self.access.token.as_ref().map(|token| format!("Bearer {}", token.0));
        let headers: Vec<(&str, &str)> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
        let answer = self.client.get(&format!("{}/api/v1{path}", self.access.url), &headers);
        let answer = answer.map_err(|kind| Failure::Away(kind.to_owned()))?;
        match answer.status {
            200 => serde_json::from_slice(&answer.body).map_err(|_| Failure::Away("no JSON".into())),
            401 => Err(Failure::Away("status 401".into())),
            status => Err(Failure::Unanswered(status)),
        }
    }

    fn people(&self, company: &str) -> Result<Company, Failure> {
        let people = self.ask(&format!("/tenants/{}/people", encoded(company)))?;
        serde_json::from_value(people).map_err(|_| Failure::Unanswered(200))
    }
}

/// What is known of a company.
#[derive(Clone, Copy)]
struct Asked {
    /// When it was asked last.
    at: Instant,
    /// When the API answered last.
    answered: Option<Instant>,
    /// Whether the thread is asking.
    is_asking: bool,
}

/// What the thread answers about a company.
type Answer = (String, Result<Company, Failure>);

/// What is known of the people of companies, and since when.
pub(super) struct Companies {
    api: Option<Source>,
    /// Asks while the driver goes on.
    thread: Option<(Sender<String>, Receiver<Answer>)>,
    directory: Directory,
    asked: BTreeMap<String, Asked>,
    /// The companies whose people have changed, with what was known of them before.
    changed: Vec<(String, Company)>,
    rests_until: Cell<Option<Instant>>,
    is_away: bool,
}

impl Companies {
    pub(super) fn new(notify: &Notify) -> Self {
        let api = Source::new(notify);
        let thread = api.clone().and_then(start);
        let (directory, asked, changed, rests_until) = Default::default();
        Self { api, thread, directory, asked, changed, rests_until, is_away: false }
    }

    /// What is known.
    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The name of an alert's manager, else the id.
    pub(super) fn name(&self, alert: &Alert) -> Option<String> {
        let manager = alert.manager.as_ref()?;
        Some(self.directory.name(alert.tenant.as_str(), manager.as_str()).to_owned())
    }

    /// Whether the people of a company may become known.
    pub(super) fn may_learn(&self, company: &str) -> bool {
        self.api.is_some() && !self.directory.knows(company)
    }

    /// The numbers and addresses of the customer of a message's alert; none while the API does not answer.
    pub(super) fn call_back(&self, job: &Job, now: Instant) -> Vec<String> {
        let Some(alert) = job.items.first().map(|item| &item.alert) else { return Vec::new() };
        let Some(api) = self.api.as_ref().filter(|_| !self.rests(now)) else { return Vec::new() };
        let answer = api.ask(&format!("/tenants/{}/alerts/{}/contacts", encoded(alert.tenant.as_str()), alert.id));
        if let Err(Failure::Away(_)) = &answer {
            self.rests_until.set(Some(Instant::now() + PAUSE));
        }
        let answer = answer.unwrap_or_default();
        let contacts = answer["contacts"].as_array().into_iter().flatten();
        contacts.filter_map(|contact| contact["value"].as_str()).map(str::to_owned).take(MAX_CONTACTS).collect()
    }

    fn rests(&self, now: Instant) -> bool {
        self.rests_until.get().is_some_and(|until| now < until)
    }

    /// Asks for the people of a company of which an alert has come, and waits for the answer, unless it is known or was asked a
    /// short time ago.
    pub(super) fn ask(&mut self, company: &str, now: Instant) {
        let is_fit = |asked: &Asked| {
            let answered = asked.answered.is_some_and(|answered| now.duration_since(answered) < EXPIRES);
            answered || now.duration_since(asked.at) < PAUSE
        };
        if self.asked.get(company).is_some_and(is_fit) || self.rests(now) {
            return;
        }
        let Some(answer) = self.api.as_ref().map(|api| api.people(company)) else { return };
        self.learn(company, answer, Instant::now());
    }

    /// Has the thread ask again for companies that have open alerts, those first whose answer is the oldest.
    pub(super) fn refresh<'a>(&mut self, open: impl IntoIterator<Item = &'a str>, now: Instant) {
        let Some((thread, _)) = self.thread.as_ref().filter(|_| !self.rests(now)) else { return };
        let mut old: Vec<(Option<Instant>, &str)> = Vec::new();
        for company in open {
            match self.asked.get(company) {
                Some(asked) => {
                    let pause = if asked.answered == Some(asked.at) { HOLDS } else { PAUSE };
                    if !asked.is_asking && now.duration_since(asked.at) >= pause {
                        old.push((Some(asked.at), company));
                    }
                }
                None => old.push((None, company)),
            }
        }
        old.sort_unstable();
        for (_, company) in old {
            if thread.try_send(company.to_owned()).is_err() {
                return;
            }
            let answered = self.asked.get(company).and_then(|asked| asked.answered);
            self.asked.insert(company.to_owned(), Asked { at: now, answered, is_asking: true });
        }
    }

    /// Takes what was answered. Returns the companies whose people have changed, with what was known of them before.
    pub(super) fn learned(&mut self, now: Instant) -> Vec<(String, Company)> {
        while let Some((company, answer)) = self.thread.as_ref().and_then(|(_, answers)| answers.try_recv().ok()) {
            self.learn(&company, answer, now);
        }
        std::mem::take(&mut self.changed)
    }

    /// Notes an answer.
    fn learn(&mut self, company: &str, answer: Result<Company, Failure>, now: Instant) {
        if self.asked.len() >= MAX_COMPANIES && !self.asked.contains_key(company) {
            self.asked.clear();
            self.directory = Directory::default();
        }
        let answered = self.asked.get(company).and_then(|asked| asked.answered);
        let answered = if answer.is_ok() { Some(now) } else { answered };
        self.asked.insert(company.to_owned(), Asked { at: now, answered, is_asking: false });
        match answer {
            Ok(known) => {
                if std::mem::take(&mut self.is_away) {
                    tracing::info!("the API answers again");
                }
                let before = self.directory.replace(company, known);
                self.changed.extend(before.map(|before| (company.to_owned(), before)));
            }
            Err(Failure::Away(reason)) => {
                self.rests_until.set(Some(now + PAUSE));
                if !std::mem::replace(&mut self.is_away, true) {
                    tracing::warn!("the API does not say who people are ({reason}): names and heads may be missing");
                }
            }
            Err(Failure::Unanswered(status)) => {
                tracing::debug!("the API does not say who the people of a company are (status {status})");
            }
        }
    }
}

/// Starts the thread that asks again. It ends with the other side of its channels.
fn start(api: Source) -> Option<(Sender<String>, Receiver<Answer>)> {
    let (company_in, companies) = bounded::<String>(WAITING);
    let (answer_in, answers) = bounded(2 * WAITING);
    let run = move || {
        for company in companies {
            let answer = api.people(&company);
            if answer_in.send((company, answer)).is_err() {
                return;
            }
            std::thread::sleep(GAP);
        }
    };
    match std::thread::Builder::new().name("people".into()).spawn(run) {
        Ok(_) => Some((company_in, answers)),
        Err(error) => {
            tracing::error!("start the thread that asks for people: {error}");
            None
        }
    }
}

/// The API of a configuration; one that never answers if there is none.
pub fn api_of(notify: &Notify) -> impl Api + Send + use<> {
    Reader(Source::new(notify))
}

struct Reader(Option<Source>);

impl Api for Reader {
    fn get(&self, path: &str) -> Option<Value> {
        match self.0.as_ref()?.ask(path) {
            Ok(answer) => Some(answer),
            // There is nothing, as about a department without leads.
            Err(Failure::Unanswered(404)) => Some(Value::Null),
            Err(_) => None,
        }
    }
}

/// Whether the API answers; `None`: there is none in the configuration.
pub fn check(notify: &Notify) -> Option<Result<String, String>> {
    let api = notify.api.as_ref()?;
    let settings = HttpClientSettings { ca: None, time: TIME, max_bytes: MAX_BYTES, name: "notify" };
    let client = match HttpClient::new(settings) {
        Ok(client) => client,
        Err(error) => return Some(Err(error.to_string())),
    };
    let bearer = api.token.as_ref().map(|token| format!("Bearer {}", token.0));
    let headers: Vec<(&str, &str)> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
    Some(match client.get(&format!("{}/api/v1/tenants", api.url), &headers) {
        Ok(answer) if answer.status == 200 => Ok("the API answers".into()),
        Ok(answer) if matches!(answer.status, 401 | 403) => Err("the API refuses the token".into()),
        Ok(answer) => Err(format!("the API answers {}", answer.status)),
        Err(kind) => Err(format!("the API cannot be reached ({kind})")),
    })
}

#[cfg(test)]
mod tests;
