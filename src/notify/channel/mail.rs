//! E-mail: one thread for each alert, as text and HTML.

use super::{Job, Outcome, Sender};
use crate::config::notify::{Mail as Settings, TlsMode};
use crate::domain::rule::message::Language;
use crate::domain::time::Span;
use crate::edge::clock;
use crate::notify::text::{self, Message as Said, Wording, html};
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Message, SmtpTransport, Transport};
use std::time::Duration;

/// How long the mail server may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Sends mail.
pub struct Mail {
    transport: SmtpTransport,
    from: Mailbox,
    /// The host part of ids of messages.
    host: String,
    wording: Wording,
}

/// The mail server cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The sender's address.
    #[error("notify.targets.mail.from: not an address")]
    From,
    /// The certificates.
    #[error("notify.targets.mail.ca: {0}")]
    Ca(String),
}

impl Mail {
    /// The mail server of the settings.
    pub fn new(settings: &Settings, wording: Wording) -> Result<Self, MailError> {
        let from: Mailbox = settings.from.parse().map_err(|_| MailError::From)?;
        let mut parameters = TlsParameters::builder(settings.host.clone());
        if let Some(ca) = &settings.ca {
            let pem =
                std::fs::read(ca).map_err(|error| MailError::Ca(format!("cannot read the file: {}", error.kind())))?;
            let certificates = pem_certificates(&pem).ok_or_else(|| MailError::Ca("no certificate in PEM".into()))?;
            for certificate in certificates {
                parameters = parameters.add_root_certificate(certificate);
            }
        }
        let parameters = || parameters.clone().build_rustls().map_err(|_| MailError::Ca("not usable".into()));
        let (tls, port) = match settings.tls {
            TlsMode::Tls => (Tls::Wrapper(parameters()?), 465),
            TlsMode::StartTls => (Tls::Required(parameters()?), 587),
            TlsMode::Plain => (Tls::None, 25),
        };
        let mut builder = SmtpTransport::builder_dangerous(&settings.host)
            .port(settings.port.unwrap_or(port))
            .tls(tls)
            .timeout(Some(TIMEOUT));
        if let Some((user, password)) = &settings.credentials {
            builder = builder.credentials(Credentials::new(user.clone(), password.0.clone()));
        }
        let host = settings.from.rsplit_once('@').map_or("funnelwatch", |(_, host)| host).to_owned();
        Ok(Self { transport: builder.build(), from, host, wording })
    }

    fn message(&self, job: &Job) -> Option<(Message, String)> {
        let said = self.wording.of(job, clock::now());
        let first =
            job.items.first().map_or_else(|| job.key.replace(['/', ' '], "-"), |item| item.alert.id.to_string());
        // The first message of a thread has the id of its alert; further ones answer it.
        let root = format!("<{first}.{}@{}>", job.items.len() + job.more, self.host);
        let builder = Message::builder().from(self.from.clone()).to(job.address.to.parse().ok()?).subject(&said.title);
        let (builder, id) = match &job.replaces {
            None => (builder.message_id(Some(root.clone())), root),
            Some(before) => {
                let item = &job.items.first()?.alert;
                let id = format!("<{first}.{}.{}@{}>", item.status.name().to_ascii_lowercase(), item.level, self.host);
                (builder.in_reply_to(before.clone()).references(before.clone()).message_id(Some(id)), before.clone())
            }
        };
        let language = job.address.language;
        let part = |kind: ContentType, body: String| SinglePart::builder().header(kind).body(body);
        let body = MultiPart::alternative()
            .singlepart(part(ContentType::TEXT_PLAIN, plain(&said, language)))
            .singlepart(part(ContentType::TEXT_HTML, markup(&said, language)));
        Some((builder.multipart(body).ok()?, id))
    }
}

/// The certificates of a PEM file.
fn pem_certificates(pem: &[u8]) -> Option<Vec<Certificate>> {
    const END: &str = "-----END CERTIFICATE-----";
    let text = str::from_utf8(pem).ok()?;
    let parts = text.split_inclusive(END).filter(|part| part.contains("-----BEGIN CERTIFICATE-----"));
    let certificates: Option<Vec<_>> = parts.map(|part| Certificate::from_pem(part.trim().as_bytes()).ok()).collect();
    certificates.filter(|certificates| !certificates.is_empty())
}

/// Whether there was no connection at all. The library has no other sign of it than its words.
fn is_before_connection(error: &lettre::transport::smtp::Error) -> bool {
    error.to_string().starts_with("Connection error")
}

/// Whether a code is about the sign-in (<https://www.rfc-editor.org/rfc/rfc4954#section-6>).
const fn is_sign_in(code: u16) -> bool {
    matches!(code, 530 | 534 | 535 | 538)
}

impl Sender for Mail {
    fn send(&mut self, job: &Job) -> Outcome {
        let Some((message, id)) = self.message(job) else { return Outcome::Refused("bad_address") };
        match self.transport.send(&message) {
            Ok(_) => Outcome::Sent(Some(id)),
            // The sign-in is missing or not accepted, which is no fault of the message.
            Err(error) if error.status().is_some_and(|code| is_sign_in(code.into())) => {
                Outcome::Later(Span(60_000), "no_right")
            }
            Err(error) if error.is_permanent() => Outcome::Refused("refused_by_server"),
            Err(error) if error.is_transient() => Outcome::Later(Span(60_000), "busy"),
            Err(error) if error.is_tls() => Outcome::Later(Span(60_000), "tls"),
            Err(error) if is_before_connection(&error) => Outcome::Later(Span(15_000), "no_connection"),
            Err(error) if error.is_timeout() => Outcome::Unknown(Span(30_000), "timeout"),
            Err(_) => Outcome::Unknown(Span(15_000), "cut_off"),
        }
    }

    fn check(&mut self) -> Result<String, String> {
        match self.transport.test_connection() {
            Ok(true) => Ok("the mail server answers, and accepts the sign-in".into()),
            Ok(false) => Err("the mail server does not answer".into()),
            Err(error) if error.is_permanent() => Err("the mail server refuses the sign-in".into()),
            Err(error) if error.is_tls() => Err("the mail server's certificate is not accepted".into()),
            Err(error) if error.is_timeout() => Err("the mail server does not answer in time".into()),
            Err(_) => Err("the mail server cannot be reached".into()),
        }
    }
}

fn plain(said: &Said, language: Language) -> String {
    let mut text = format!("{}\n", said.title);
    for line in &said.lines {
        text += &format!("\n{}: {}\n", line.label, line.sentence);
        if let Some(people) = text::about_people(line, language) {
            text += &format!("{people}\n");
        }
        if let Some(card) = &line.card {
            text += &format!("{}: {card}\n", text::open_card(language));
        }
        for (label, address) in &line.answers {
            text += &format!("{label}: {address}\n");
        }
    }
    if let Some(more) = &said.more {
        text += &format!("\n{more}\n");
    }
    text
}

fn markup(said: &Said, language: Language) -> String {
    let mut text = format!(
        "<!doctype html><html><body style=\"font:16px/1.5 system-ui,sans-serif;color:#1c1c1e;max-width:40em\"><h1 \
         style=\"font-size:18px\">{}</h1>",
        html(&said.title)
    );
    for line in &said.lines {
        text += &format!("<p><b>{}</b>: {}", html(&line.label), html(&line.sentence));
        if let Some(people) = text::about_people(line, language) {
            text += &format!("<br>{}", html(&people));
        }
        let card = line.card.iter().map(|card| (text::open_card(language), card));
        for (label, address) in card.chain(line.answers.iter().map(|(label, address)| (*label, address))) {
            text += &format!("<br><a href=\"{}\">{}</a>", html(address), html(label));
        }
        text += "</p>";
    }
    if let Some(more) = &said.more {
        text += &format!("<p>{}</p>", html(more));
    }
    text + "</body></html>"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::notify::Channel;
    use crate::domain::alert::Alert;
    use crate::domain::rule::Rule;
    use crate::domain::time::Timestamp;
    use crate::notify::channel::{Address, Item};
    use crate::notify::fake_server::FakeServer;

    #[test]
    fn a_sign_in_that_is_refused_is_no_fault_of_the_message() {
        let sent_to = |refusal: &'static str| {
            let server = FakeServer::smtp(move |line| match line.get(..4) {
                Some("EHLO") => "250 localhost".into(),
                Some("MAIL") => refusal.into(),
                _ => "221 bye".into(),
            });
            let settings = Settings {
                host: "127.0.0.1".into(),
                port: Some(server.port()),
                tls: TlsMode::Plain,
                credentials: None,
                from: "watch@sales.example".into(),
                ca: None,
            };
            let alert = Alert::sample("acme", Rule::Neglected, "lead:1", Timestamp(0));
            let address = Address {
                channel: Channel::Mail,
                to: "vera@sales.example".into(),
                person: None,
                language: Language::En,
            };
            let job =
                Job { id: 1, items: vec![Item { alert, manager: None, taken_by: None }], open: 1, ..Job::to(address) };
            Mail::new(&settings, Wording::default()).expect("settings").send(&job)
        };
        for refusal in ["530 5.7.0 authentication required", "535 5.7.8 credentials invalid"] {
            assert_eq!(sent_to(refusal), Outcome::Later(Span(60_000), "no_right"));
        }
        assert_eq!(sent_to("550 5.1.1 unknown user"), Outcome::Refused("refused_by_server"));
        assert_eq!(sent_to("451 4.3.0 try later"), Outcome::Later(Span(60_000), "busy"));
    }
}
