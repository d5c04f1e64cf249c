//! Owns the channels' settings.

use super::channel::Channel;
use super::forms::{Hidden, URL};
use super::people::MAILBOX;
use crate::config::gateway::bitrix24::fault_of_url;
use crate::config::schema::key::ValueKind::{Count, Form as Of, Secret, Setting, Table as Keys, Text};
use crate::config::schema::key::{KeySpec, ValueKind};
use crate::config::schema::reader::Reader;
use crate::config::schema::typed::{named, one_of};
use crate::config::schema::value::Table;
use crate::config::users::MIN_TOKEN_LENGTH;
use crate::domain::named::named_enum;
use std::path::PathBuf;

/// The channels that are set up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Targets {
    /// A portal.
    pub bitrix24: Option<Bitrix24>,
    /// A bot.
    pub telegram: Option<Telegram>,
    /// A mail server.
    pub mail: Option<Mail>,
    /// A program.
    pub webhook: Option<Webhook>,
    /// An Alertmanager.
    pub alertmanager: Option<Alertmanager>,
}

/// A portal of Bitrix24.
#[derive(Clone, Debug, PartialEq)]
pub struct Bitrix24 {
    /// The address of an incoming webhook. Secret.
    pub url: Hidden,
    /// CA certificates.
    pub ca: Option<PathBuf>,
}

/// A bot of Telegram.
#[derive(Clone, Debug, PartialEq)]
pub struct Telegram {
    /// The token of the bot.
    pub token: Hidden,
    /// The address of the Bot API.
    pub api_url: String,
}

named_enum! {
    /// How the connection to a mail server is encrypted.
    pub enum TlsMode, named "in the configuration" {
        /// Encrypted from the beginning.
        Tls = "tls",
        /// Begun without and then encrypted.
        StartTls = "starttls",
        /// Not encrypted: for a server on the same machine.
        Plain = "none",
    }
}

named! { TlsMode }

/// A mail server.
#[derive(Clone, Debug, PartialEq)]
pub struct Mail {
    /// Its host.
    pub host: String,
    /// Its port; `None`: the usual one of the encryption.
    pub port: Option<u16>,
    /// The encryption.
    pub tls: TlsMode,
    /// User and password.
    pub credentials: Option<(String, Hidden)>,
    /// The sender.
    pub from: String,
    /// CA certificates.
    pub ca: Option<PathBuf>,
}

/// A program that receives signed requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Webhook {
    /// Its address.
    pub url: String,
    /// The key of signatures.
    pub secret: Hidden,
}

/// An Alertmanager.
#[derive(Clone, Debug, PartialEq)]
pub struct Alertmanager {
    /// Its address.
    pub url: String,
}

pub(super) const TARGETS: &[KeySpec] = &[
    KeySpec::new("bitrix24", Keys(&[BITRIX24]), "a portal: notifications, to-dos and tasks"),
    KeySpec::new("telegram", Keys(&[TELEGRAM]), "a bot of Telegram"),
    KeySpec::new("mail", Keys(&[MAIL]), "a mail server"),
    KeySpec::new("webhook", Keys(&[WEBHOOK]), "a program that receives signed requests"),
    KeySpec::new("alertmanager", Keys(&[ALERTMANAGER]), "an Alertmanager, which is informed which alerts are open"),
];

const BITRIX24: &[KeySpec] = &[
    KeySpec::new(
        "url",
        Secret,
        "address of an incoming webhook with the rights `im`, `crm` and `task`, such as \
         `https://example.bitrix24.ru/rest/1/CODE/`; it contains a secret",
    )
    .required(),
    KeySpec::new("ca", Text, "PEM file of the CA certificates, relative to this file").described("the usual CAs"),
];

const TELEGRAM: &[KeySpec] = &[
    KeySpec::new("token", Secret, "the token of the bot").required(),
    KeySpec::new("api_url", Of(URL), "the address of the Bot API").default("https://api.telegram.org"),
];

const MAIL: &[KeySpec] = &[
    KeySpec::new("host", Setting, "the mail server").required(),
    KeySpec::new("port", Count(1, 65535), "its port").described("465, 587 or 25, by `tls`"),
    KeySpec::new(
        "tls",
        one_of::<TlsMode>(),
        "how the connection is encrypted; `none` only for a server on this machine",
    )
    .default("tls"),
    KeySpec::new("user", Setting, "the user").described("none: without sign-in"),
    KeySpec::new("password", Secret, "the password").described("none"),
    KeySpec::new("from", Of(MAILBOX), "the sender's address").required(),
    KeySpec::new("ca", Text, "PEM file of the CA certificates, relative to this file").described("the usual CAs"),
];

const WEBHOOK: &[KeySpec] = &[
    KeySpec::new("url", ValueKind::Form(URL), "its address").required(),
    KeySpec::new("secret", Secret, "the key that requests are signed with, at least 16 characters").required(),
];

const ALERTMANAGER: &[KeySpec] =
    &[KeySpec::new("url", Of(URL), "its address, such as `http://alertmanager:9093`").required()];

impl Targets {
    /// Whether a channel is set up.
    pub fn has(&self, channel: Channel) -> bool {
        match channel {
            Channel::Bitrix24 | Channel::Todo | Channel::Task => self.bitrix24.is_some(),
            Channel::Telegram => self.telegram.is_some(),
            Channel::Mail => self.mail.is_some(),
            Channel::Webhook => self.webhook.is_some(),
            Channel::Alertmanager => self.alertmanager.is_some(),
        }
    }

    /// The key of the channel's settings.
    pub(super) fn key_of(channel: Channel) -> &'static str {
        match channel {
            Channel::Todo | Channel::Task => Channel::Bitrix24.name(),
            other => other.name(),
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>, table: &Table) -> Option<Self> {
        let secret = |table: &Table, key| table.text(key).map(|text| Hidden(text.trim().to_owned()));
        let bitrix24 = table.table("bitrix24").map(|portal| {
            let url = secret(portal, "url")?;
            if let Some(found) = fault_of_url(&url.0) {
                // The address is not shown: it contains the webhook's code.
                let expected = "expected an address such as https://example.bitrix24.ru/rest/1/CODE/";
                reader.problem_of(portal, "url", format!("{expected}, found {found}"));
            }
            Some(Bitrix24 { url, ca: portal.text("ca").map(|path| reader.locate(path)) })
        });
        let telegram = table.table("telegram").map(|bot| {
            let token = secret(bot, "token")?;
            let is_token = |text: &str| {
                let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
                let parts = text.split_once(':');
                parts.is_some_and(|(id, key)| id.parse::<u64>().is_ok() && key.len() >= 16 && key.bytes().all(letter))
            };
            if !is_token(&token.0) {
                reader.problem_of(bot, "token", "expected a token such as 123456:ABC-DEF…, found another format");
            }
            Some(Telegram { token, api_url: bot.get("api_url")? })
        });
        let mail = table.table("mail").map(|server| {
            let user: Option<String> = server.get("user");
            let credentials = user.zip(secret(server, "password"));
            if server.is_set("user") != server.is_set("password") {
                reader.problem_of(server, "user", "`user` and `password` belong together");
            }
            let tls = server.get("tls")?;
            if tls == TlsMode::Plain && credentials.is_some() {
                reader.problem_of(server, "tls", "the password would be sent unencrypted");
            }
            Some(Mail {
                host: server.get("host")?,
                port: server.get::<i64>("port").and_then(|port| u16::try_from(port).ok()),
                tls,
                credentials,
                from: server.get("from")?,
                ca: server.text("ca").map(|path| reader.locate(path)),
            })
        });
        let webhook = table.table("webhook").map(|program| {
            let secret = secret(program, "secret")?;
            if secret.0.len() < MIN_TOKEN_LENGTH {
                let text = format!("expected at least {MIN_TOKEN_LENGTH} characters: a shorter key could be guessed");
                reader.problem_of(program, "secret", text);
            }
            Some(Webhook { url: program.get("url")?, secret })
        });
        let alertmanager = table.table("alertmanager").map(|server| Some(Alertmanager { url: server.get("url")? }));
        Some(Self {
            bitrix24: bitrix24.map_or(Some(None), |read| read.map(Some))?,
            telegram: telegram.map_or(Some(None), |read| read.map(Some))?,
            mail: mail.map_or(Some(None), |read| read.map(Some))?,
            webhook: webhook.map_or(Some(None), |read| read.map(Some))?,
            alertmanager: alertmanager.map_or(Some(None), |read| read.map(Some))?,
        })
    }
}
