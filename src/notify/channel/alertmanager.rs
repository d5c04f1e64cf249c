//! Informs an Alertmanager which alerts are open: all of them again and again, as its API wants
//! (<https://prometheus.io/docs/alerting/latest/alerts_api/>), and the end of others for some minutes.

use crate::domain::alert::Alert;
use crate::domain::rule::catalog;
use crate::domain::rule::message::{self, Language};
use crate::domain::time::Timestamp;
use crate::edge::clock;
use crate::edge::http_client::HttpClient;
use crate::notify::text::Wording;
use serde_json::{Value, json};

/// The alerts of one request.
const ALERTS_PER_REQUEST: usize = 500;

/// An Alertmanager.
pub struct Alertmanager {
    client: HttpClient,
    url: String,
    language: Language,
    wording: Wording,
}

impl Alertmanager {
    /// The one at an address.
    pub fn new(client: HttpClient, url: &str, language: Language, wording: Wording) -> Self {
        Self { client, url: url.to_owned(), language, wording }
    }

    /// Informs of alerts, each with its end if it is over. The error names the kind of failure; alerts that are refused stand in
    /// the way of no others.
    pub fn tell(&self, alerts: &[(Alert, Option<Timestamp>)]) -> Result<(), &'static str> {
        let mut result = Ok(());
        for part in alerts.chunks(ALERTS_PER_REQUEST) {
            let body: Vec<Value> = part.iter().map(|(alert, ended)| self.alert(alert, *ended)).collect();
            let answer =
                self.client.post(&format!("{}/api/v2/alerts", self.url), &[], &Value::from(body).to_string())?;
            match answer.status {
                200..300 => {}
                400..500 => result = Err("bad_request"),
                _ => return Err("server_error"),
            }
        }
        result
    }

    /// An alert: labels identify it, so they do not change with its status.
    fn alert(&self, alert: &Alert, ended: Option<Timestamp>) -> Value {
        let mut labels = json!({
            "alertname": alert.rule.name(),
            "tenant": alert.tenant.as_str(),
            "subject": alert.subject.as_str(),
            "alert_id": alert.id.to_string(),
        });
        let people = [
            ("manager", alert.manager.as_ref().map(|id| id.as_str())),
            ("department", alert.department.as_ref().map(|id| id.as_str())),
        ];
        for (name, value) in people {
            if let Some(value) = value {
                labels[name] = value.into();
            }
        }
        // A begin in the future, as that of a warning, is refused.
        let starts = alert.due_at.unwrap_or(alert.anchor_at).min(clock::now());
        let mut told = json!({
            "labels": labels,
            "annotations": {
                "summary": catalog::definition(alert.rule).title[self.language as usize],
                "description": message::of(alert, self.language),
                "severity": alert.severity.name(),
                "status": alert.status.name(),
            },
            "startsAt": starts.to_string(),
        });
        if let Some(ended) = ended {
            told["endsAt"] = ended.max(starts).to_string().into();
        }
        if let Some(card) = self.wording.card(alert) {
            told["generatorURL"] = card.into();
        }
        told
    }

    /// Whether it can be reached.
    pub fn check(&self) -> Result<String, String> {
        match self.client.get(&format!("{}/api/v2/status", self.url), &[]) {
            Ok(answer) if answer.status == 200 => Ok("Alertmanager answers".into()),
            Ok(answer) => Err(format!("Alertmanager answers {}", answer.status)),
            Err(kind) => Err(format!("Alertmanager cannot be reached ({kind})")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rule::Rule;
    use crate::edge::http_client::HttpClientSettings;
    use crate::notify::fake_server::FakeServer;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[test]
    fn alerts_that_are_refused_stand_in_the_way_of_no_others() {
        let count = AtomicUsize::new(0);
        let server = FakeServer::http(move |_| {
            let is_first = count.fetch_add(1, Ordering::Relaxed) == 0;
            Some((if is_first { 400 } else { 200 }, "{}".into()))
        });
        let settings = HttpClientSettings { ca: None, time: Duration::from_secs(30), max_bytes: 1 << 20, name: "test" };
        let client = HttpClient::new(settings).expect("a client");
        let alertmanager = Alertmanager::new(client, &server.url(), Language::En, Wording::default());
        let alert = |n: usize| (Alert::sample("acme", Rule::Neglected, &format!("lead:{n}"), Timestamp(0)), None);
        let alerts: Vec<_> = (0..=ALERTS_PER_REQUEST).map(alert).collect();
        assert_eq!(alertmanager.tell(&alerts), Err("bad_request"));
        assert_eq!(server.paths(), ["/api/v2/alerts"; 2]);
    }
}
