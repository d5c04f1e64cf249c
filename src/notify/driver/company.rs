//! Asks the API of the processor who the people of a company are, now and then.

use crate::codec::ascii::percent_encoded;
use crate::config::notify::{ApiAccess, Notify};
use crate::domain::alert::Alert;
use crate::edge::http_client::{HttpClient, HttpClientSettings};
use crate::notify::channel::Job;
use crate::notify::digest::Api;
use crate::notify::directory::Directory;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long an answer holds.
const HOLDS: Duration = Duration::from_secs(60);
/// How long the API is left alone after it did not answer.
const PAUSE: Duration = Duration::from_secs(30);
/// How long it may take.
const TIME: Duration = Duration::from_secs(3);
/// The largest answer that is read, in bytes.
const MAX_BYTES: u64 = 8 << 20;
/// The companies whose people are known at a time.
const MAX_COMPANIES: usize = 10_000;

/// The numbers and addresses that a to-do names.
const MAX_CONTACTS: usize = 3;

/// What is known of the people of companies, and since when.
pub(super) struct Companies {
    api: Option<(HttpClient, ApiAccess)>,
    directory: Directory,
    asked: BTreeMap<String, Instant>,
    rests_until: Option<Instant>,
    is_away: bool,
}

impl Companies {
    pub(super) fn new(notify: &Notify) -> Self {
        let client = |api: &ApiAccess| {
            let settings = HttpClientSettings { ca: None, time: TIME, max_bytes: MAX_BYTES, name: "notify" };
            HttpClient::new(settings).ok().map(|client| (client, api.clone()))
        };
        let api = notify.api.as_ref().and_then(client);
        Self { api, directory: Directory::default(), asked: BTreeMap::new(), rests_until: None, is_away: false }
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

    /// The numbers and addresses of the customer of a message's alert; none while the API does not answer.
    pub(super) fn call_back(&self, job: &Job) -> Vec<String> {
        let Some(alert) = job.items.first().map(|item| &item.alert) else { return Vec::new() };
        let path = format!("/tenants/{}/alerts/{}/contacts", percent_encoded(alert.tenant.as_str()), alert.id);
        let answer = self.get(&path).unwrap_or_default();
        let contacts = answer["contacts"].as_array().into_iter().flatten();
        contacts.filter_map(|contact| contact["value"].as_str()).map(str::to_owned).take(MAX_CONTACTS).collect()
    }

    /// Asks for the people of a company, unless that was done a short time ago.
    pub(super) fn ask(&mut self, tenant: &str, now: Instant) {
        let Some((client, api)) = &self.api else { return };
        let is_known = self.asked.get(tenant).is_some_and(|asked| now.duration_since(*asked) < HOLDS);
        if is_known || self.rests_until.is_some_and(|until| now < until) {
            return;
        }
        if self.asked.len() >= MAX_COMPANIES {
            self.asked.clear();
        }
        let address = format!("{}/api/v1/tenants/{}/people", api.url, percent_encoded(tenant));
        let bearer = api.token.as_ref().map(|token| format!("Bearer {}", token.0));
        let headers: Vec<(&str, &str)> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
        let answer = client.get(&address, &headers);
        let company = match &answer {
            Ok(answer) if answer.status == 200 => serde_json::from_slice(&answer.body).ok(),
            _ => None,
        };
        match company {
            Some(company) => {
                self.directory.replace(tenant, company);
                self.asked.insert(tenant.to_owned(), now);
                if std::mem::take(&mut self.is_away) {
                    tracing::info!("the API answers again");
                }
            }
            None => {
                self.rests_until = Some(now + PAUSE);
                if !std::mem::replace(&mut self.is_away, true) {
                    let reason = answer.map_or_else(str::to_owned, |answer| format!("status {}", answer.status));
                    tracing::warn!("the API does not say who people are ({reason}): names and heads may be missing");
                }
            }
        }
    }
}

/// The API of a configuration.
pub fn api_of(notify: &Notify) -> impl Api {
    Companies::new(notify)
}

impl Api for Companies {
    fn get(&self, path: &str) -> Option<Value> {
        let (client, api) = self.api.as_ref()?;
        let bearer = api.token.as_ref().map(|token| format!("Bearer {}", token.0));
        let headers: Vec<(&str, &str)> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
        let answer = client.get(&format!("{}/api/v1{path}", api.url), &headers).ok()?;
        (answer.status == 200).then(|| serde_json::from_slice(&answer.body).ok())?
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
