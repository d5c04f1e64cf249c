//! Webhooks of Bitrix24: each becomes a hint, without anything secret in it.
//!
//! A webhook says that something has changed, not what. Its only proof is `auth[application_token]`; the other fields of
//! `auth` may be tokens too. So everything below `auth` is dropped as soon as the proof was compared.
//! Format: <https://apidocs.bitrix24.com/api-reference/events/index.html>.

use super::form::{self, Field};
use super::replays;
use crate::edge::http::is_secret;

/// A webhook that may become a hint.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Webhook {
    /// The name of the event, if it is one that the portal is known to send.
    pub(super) event: &'static str,
    /// The fields to keep.
    pub(super) fields: Vec<Field>,
    /// Recognizes it when it comes again.
    pub(super) print: u128,
}

/// Why a webhook is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is none; what is wrong, without any content.
    Malformed(&'static str),
    /// It does not show the token.
    WrongToken,
}

/// Reads a body that must show this token.
pub(super) fn read(body: &[u8], token: &str) -> Result<Webhook, Refusal> {
    let fields = form::parse(body).map_err(Refusal::Malformed)?;
    let mut shown = fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("auth[application_token]"));
    match (shown.next(), shown.next()) {
        (Some((_, shown)), None) if is_secret(shown, token) => {}
        (Some(_), Some(_)) => return Err(Refusal::Malformed("two tokens")),
        _ => return Err(Refusal::WrongToken),
    }
    let mut fields = fields;
    fields.retain(|(name, value)| !form::root(name).eq_ignore_ascii_case("auth") && !value.contains(token));
    let named = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("event"));
    let Some((_, event)) = named.filter(|(_, event)| !event.is_empty()) else {
        return Err(Refusal::Malformed("no event"));
    };
    let event = EVENTS.iter().find(|known| event.eq_ignore_ascii_case(known)).copied().unwrap_or(OTHER);
    let print = replays::print(fields.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    Ok(Webhook { event, fields, print })
}

/// What metrics call an event that is not listed.
pub(super) const OTHER: &str = "other";

/// The events of the portal that say something to the reader, and others that are often enabled with them.
const EVENTS: [&str; 30] = [
    "ONCRMLEADADD",
    "ONCRMLEADUPDATE",
    "ONCRMLEADDELETE",
    "ONCRMDEALADD",
    "ONCRMDEALUPDATE",
    "ONCRMDEALDELETE",
    "ONCRMDEALMOVETOCATEGORY",
    "ONCRMCONTACTADD",
    "ONCRMCONTACTUPDATE",
    "ONCRMCONTACTDELETE",
    "ONCRMCOMPANYADD",
    "ONCRMCOMPANYUPDATE",
    "ONCRMCOMPANYDELETE",
    "ONCRMACTIVITYADD",
    "ONCRMACTIVITYUPDATE",
    "ONCRMACTIVITYDELETE",
    "ONVOXIMPLANTCALLINIT",
    "ONVOXIMPLANTCALLSTART",
    "ONVOXIMPLANTCALLEND",
    "ONEXTERNALCALLSTART",
    "ONEXTERNALCALLBACKSTART",
    "ONSESSIONSTART",
    "ONSESSIONFINISH",
    "ONOPENLINEMESSAGEADD",
    "ONOPENLINEMESSAGEUPDATE",
    "ONOPENLINEMESSAGEDELETE",
    "ONUSERADD",
    "ONAPPINSTALL",
    "ONAPPUPDATE",
    "ONAPPUNINSTALL",
];

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "51856fefc120afa4b628cc82d3935cce";

    fn body(token: &str) -> String {
        format!(
            "event=ONCRMDEALUPDATE&event_handler_id=58&data%5BFIELDS%5D%5BID%5D=17&ts=1727018926\
             &auth%5Baccess_token%5D=s3cret&auth%5Bdomain%5D=example.bitrix24.ru&auth%5Bapplication_token%5D={token}"
        )
    }

    #[test]
    fn a_webhook_becomes_a_hint_without_anything_secret() {
        let webhook = read(body(TOKEN).as_bytes(), TOKEN).expect("a webhook");
        let names: Vec<_> = webhook.fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            (webhook.event, names),
            ("ONCRMDEALUPDATE", vec!["event", "event_handler_id", "data[FIELDS][ID]", "ts"])
        );
        let shown = format!("{webhook:?}");
        assert!(
            !shown.contains(TOKEN) && !shown.contains("s3cret") && !shown.contains("example.bitrix24.ru"),
            "{shown}"
        );
    }

    #[test]
    fn letter_case_does_not_matter() {
        let text = body(TOKEN).replace("auth", "AUTH").replace("application_token", "Application_Token");
        let text = text.replace("event=ONCRMDEALUPDATE", "Event=onCrmDealUpdate");
        let webhook = read(text.as_bytes(), TOKEN).expect("a webhook");
        assert_eq!((webhook.event, webhook.fields.len()), ("ONCRMDEALUPDATE", 4));
        // A token in a place where none is expected is dropped, too.
        let text = format!("{}&data[x]={TOKEN}&data[y]=a{TOKEN}", body(TOKEN));
        assert_eq!(read(text.as_bytes(), TOKEN).expect("a webhook").fields.len(), 4);
    }

    #[test]
    fn a_webhook_without_the_token_is_refused() {
        for token in ["", "51856fefc120afa4b628cc82d3935ccf", "51856fefc120afa4b628cc82d3935cc", "x"] {
            assert_eq!(read(body(token).as_bytes(), TOKEN), Err(Refusal::WrongToken), "{token}");
        }
        assert_eq!(read(b"event=ONCRMDEALUPDATE", TOKEN), Err(Refusal::WrongToken));
        assert_eq!(read(format!("application_token={TOKEN}&event=X").as_bytes(), TOKEN), Err(Refusal::WrongToken));
        let twice = format!("{}&auth[APPLICATION_TOKEN]=x", body(TOKEN));
        assert_eq!(read(twice.as_bytes(), TOKEN), Err(Refusal::Malformed("two tokens")));
    }

    #[test]
    fn what_is_no_webhook_is_refused() {
        let text = format!("auth[application_token]={TOKEN}");
        assert_eq!(read(text.as_bytes(), TOKEN), Err(Refusal::Malformed("no event")));
        assert_eq!(read(format!("{text}&event=").as_bytes(), TOKEN), Err(Refusal::Malformed("no event")));
        assert_eq!(read(format!("{text}&event={TOKEN}").as_bytes(), TOKEN), Err(Refusal::Malformed("no event")));
        let webhook = read(format!("{text}&event=ONTASKADD").as_bytes(), TOKEN).expect("a webhook");
        assert_eq!(webhook.event, OTHER);
    }

    #[test]
    fn the_same_webhook_has_the_same_print_whatever_its_tokens() {
        let print = |text: &str| read(text.as_bytes(), TOKEN).expect("a webhook").print;
        let first = body(TOKEN);
        assert_eq!(print(&first), print(&first.replace("s3cret", "another")));
        assert_ne!(print(&first), print(&first.replace("1727018926", "1727018927")));
    }
}
