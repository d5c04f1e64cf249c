//! Webhooks of phone systems: a mapping says what their fields mean, and each becomes an event at once.
//!
//! The id of the event follows from what the webhook says, so a webhook that comes twice changes nothing.

use super::form;
use crate::codec::ascii::hex;
use crate::codec::{EventLimits, Reject};
use crate::config::gateway::GatewaySource;
use crate::config::gateway::telephony::{MappedField, MappingRule, Pointer, Proof, Telephony};
use crate::domain::event::progress::Incoming;
use crate::domain::source::Topic;
use crate::domain::time::Timestamp;
use crate::edge::http::is_secret;
use crate::gateway::source::Outgoing;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Why a webhook is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It cannot be read; what is wrong, without any content.
    Malformed(&'static str),
    /// It does not prove where it comes from.
    WrongToken,
    /// The event that the mapping makes of it is not valid; which field and why, without any content.
    Invalid(String),
}

impl From<Reject> for Refusal {
    fn from(reject: Reject) -> Self {
        Self::Invalid(format!("{}: {}", reject.reason.name(), reject.detail))
    }
}

/// A webhook as it was received.
pub(super) struct Request<'a> {
    /// The path below that of the source.
    pub(super) path: &'a str,
    /// Whether it shows the token in its headers.
    pub(super) has_bearer: bool,
    pub(super) body: &'a [u8],
    pub(super) now: Timestamp,
}

/// The event of a webhook; `None`: the mapping does not mean it.
pub(super) fn read(
    source: &GatewaySource,
    telephony: &Telephony,
    limits: &EventLimits,
    request: &Request<'_>,
) -> Result<Option<Outgoing>, Refusal> {
    let Telephony { mapping, token, .. } = telephony;
    if mapping.proof == Proof::Bearer && !request.has_bearer {
        return Err(Refusal::WrongToken);
    }
    let document = document(request.body)?;
    let is_proven = match &mapping.proof {
        Proof::Bearer => true,
        Proof::Field(at) => text_at(&document, at).is_some_and(|shown| is_secret(&shown, token)),
        Proof::Signature { at, over } => {
            let signed: Option<String> = over.iter().map(|field| text_at(&document, field)).collect();
            signed.zip(text_at(&document, at)).is_some_and(|(signed, shown)| {
                is_secret(&shown.to_ascii_lowercase(), &hex(&Sha256::digest(signed + token)))
            })
        }
    };
    if !is_proven {
        return Err(Refusal::WrongToken);
    }
    let document = match &mapping.body {
        None => document,
        Some(at) => {
            let text = text_at(&document, at).ok_or(Refusal::Malformed("the field with the document is missing"))?;
            serde_json::from_str(&text).map_err(|_| Refusal::Malformed("the field with the document is not JSON"))?
        }
    };
    let path = request.path.trim_matches('/');
    let Some(rule) = mapping.rules.iter().find(|rule| applies(rule, path, &document)) else { return Ok(None) };
    let event = Event { source, telephony, document: &document }.of(rule, path, request.now)?;
    let outgoing = Outgoing::new(Topic::Telephony, event.to_string().into_bytes())?;
    let (mut incoming, mut repairs) = (Incoming::Event(outgoing.event.clone()), Default::default());
    limits.apply(&mut incoming, &mut repairs)?;
    Ok(Some(outgoing))
}

/// The body as a document: JSON, or the fields of a form.
fn document(body: &[u8]) -> Result<Value, Refusal> {
    if body.trim_ascii_start().first().is_some_and(|byte| b"{[".contains(byte)) {
        return serde_json::from_slice(body).map_err(|_| Refusal::Malformed("not JSON"));
    }
    let fields = form::parse_within(body, body.len()).map_err(Refusal::Malformed)?;
    let fields: Map<String, Value> =
        fields.into_iter().map(|(name, value)| (name.to_string(), value.as_str().into())).collect();
    Ok(Value::Object(fields))
}

/// A scalar value as text; `None`: it is absent or empty.
fn text_at(document: &Value, at: &Pointer) -> Option<String> {
    let text = match document.pointer(&at.0)? {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    (!text.is_empty()).then_some(text)
}

fn applies(rule: &MappingRule, path: &str, document: &Value) -> bool {
    let holds = |(at, values): &(Pointer, Vec<String>)| match text_at(document, at) {
        None => values.is_empty(),
        Some(text) => values.contains(&text),
    };
    rule.path.as_ref().is_none_or(|expected| expected == path)
        && rule.when.iter().all(holds)
        && !rule.unless.iter().any(holds)
}

/// Makes an event of a document.
struct Event<'a> {
    source: &'a GatewaySource,
    telephony: &'a Telephony,
    document: &'a Value,
}

impl Event<'_> {
    fn of(&self, rule: &MappingRule, path: &str, now: Timestamp) -> Result<Value, Refusal> {
        let mut payload = Map::new();
        for (name, field) in &rule.fields {
            let Some(value) = self.value(name, field)? else { continue };
            match *name {
                "lead_id" => entity(&mut payload, "LEAD", value),
                "deal_id" => entity(&mut payload, "DEAL", value),
                name => drop(payload.insert(name.into(), value)),
            }
        }
        let at = match &rule.at {
            None => now,
            Some(field) => {
                let text = self.text(field).ok_or_else(|| Refusal::Invalid("no_time: `at` is absent".into()))?;
                self.time(&text)?.ok_or_else(|| Refusal::Invalid("no_time: `at` is 0".into()))?
            }
        };
        let mut event = Map::new();
        let name = &self.source.name;
        let said = Sha256::digest(format!("{} {path} {}", rule.event, self.document));
        event.insert("event_id".into(), format!("tel:{name}:{}", &hex(&said)[..32]).into());
        event.insert("tenant_id".into(), self.source.tenant.as_str().into());
        event.insert("occurred_at".into(), at.to_string().into());
        event.insert("source".into(), name.as_str().into());
        event.insert(rule.event.into(), Value::Object(payload));
        Ok(Value::Object(event))
    }

    /// What a field of the webhook says, in our words.
    fn text(&self, field: &MappedField) -> Option<String> {
        let theirs = field.from.iter().find_map(|at| text_at(self.document, at));
        match theirs {
            Some(theirs) => Some(field.values.get(&theirs).or(field.otherwise.as_ref()).cloned().unwrap_or(theirs)),
            None => field.otherwise.clone(),
        }
    }

    fn value(&self, name: &str, field: &MappedField) -> Result<Option<Value>, Refusal> {
        let Some(text) = self.text(field) else { return Ok(None) };
        Ok(match name {
            "started_at" | "answered_at" => self.time(&text)?.map(|at| at.to_string().into()),
            "talk_seconds" => self.seconds(&text, field.minus.as_ref())?.map(Value::from),
            "manager_id" => {
                let id = self.telephony.managers.get(&text).map_or(text.as_str(), |id| id.as_str());
                Some(id.into())
            }
            "phone" | "line" => Some(number_of(&text).into()),
            _ => Some(text.into()),
        })
    }

    /// A time: RFC 3339, seconds or milliseconds since 1970, or the local time of the source. 0 is none.
    fn time(&self, text: &str) -> Result<Option<Timestamp>, Refusal> {
        const MILLIS_FROM: f64 = 1e11;
        if let Ok(number) = text.parse::<f64>() {
            let millis = if number.abs() < MILLIS_FROM { number * 1000.0 } else { number };
            return Ok((number != 0.0).then_some(Timestamp(millis as i64)));
        }
        let zone: &TimeZone = &self.source.time_zone;
        let local = || {
            let local: DateTime = text.parse().ok()?;
            Some(Timestamp(zone.to_timestamp(local).ok()?.as_millisecond()))
        };
        let at = Timestamp::parse(text).or_else(local);
        at.map(Some).ok_or_else(|| Refusal::Invalid("bad_value: a time is none".into()))
    }

    /// A duration in seconds, or the time since another time; `None` if there is no such time.
    fn seconds(&self, text: &str, minus: Option<&Pointer>) -> Result<Option<f64>, Refusal> {
        let Some(minus) = minus else {
            let number = text.parse::<f64>().map_err(|_| Refusal::Invalid("bad_value: a duration is none".into()))?;
            return Ok(Some(number));
        };
        let Some(since) = text_at(self.document, minus) else { return Ok(None) };
        let (end, since) = (self.time(text)?, self.time(&since)?);
        Ok(end.zip(since).map(|(end, since)| (end - since).seconds().max(0.0)))
    }
}

fn entity(payload: &mut Map<String, Value>, kind: &str, id: Value) {
    payload.insert("entity".into(), serde_json::json!({"kind": kind, "id": id}));
}

/// The number of a SIP address, `sip:+74951234567@host`; other texts as they are.
fn number_of(text: &str) -> &str {
    let Some(address) = text.strip_prefix("sip:").or_else(|| text.strip_prefix("sips:")) else { return text };
    let user = address.split_once('@').map_or(address, |(user, _)| user);
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number(user.strip_prefix('+').unwrap_or(user)) { user } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::gateway::SourceKind;
    use crate::domain::event::{Event as DomainEvent, Payload};

    const KEY: &str = "0123456789abcdef";
    const NOW: Timestamp = Timestamp(1_767_600_000_000);

    fn source() -> GatewaySource {
        let text = format!(
            "gateway: {{sources: [{{name: pbx, tenant: romashka, time_zone: Europe/Moscow,
                telephony: {{mapping: mango, token: {KEY}, managers: {{'101': '17'}}}}}}]}}"
        );
        let config = Config::parse("test", &text).unwrap_or_else(|problems| panic!("{problems}"));
        config.gateway.expect("a gateway").sources.remove(0)
    }

    fn send(path: &str, json: &str, key: &str) -> Result<Option<DomainEvent>, Refusal> {
        let source = source();
        let SourceKind::Telephony(telephony) = &source.kind else { panic!("telephony") };
        let sign = hex(&Sha256::digest(format!("apikey{json}{key}")));
        let mut body = form_urlencoded::Serializer::new(String::new());
        let body =
            body.append_pair("vpbx_api_key", "apikey").append_pair("sign", &sign).append_pair("json", json).finish();
        let request = Request { path, has_bearer: false, body: body.as_bytes(), now: NOW };
        let outgoing = read(&source, telephony, &EventLimits::default(), &request)?;
        Ok(outgoing.map(|outgoing| outgoing.event))
    }

    const SUMMARY: &str = r#"{"entry_id":"e1","call_direction":1,"from":{"number":"79211234567"},"to":{"extension":"101",
        "number":"sip:user1@example.mangosip.ru"},"line_number":"74951234567","create_time":1767600000,"forward_time":1767600004,
        "talk_time":"1767600010","end_time":1767600070,"entry_result":1,"disconnect_reason":1110}"#;

    #[test]
    fn the_summary_of_a_mango_call_becomes_an_event() {
        let event = send("events/summary", SUMMARY, KEY).expect("valid").expect("an event");
        assert_eq!((event.tenant.as_str(), event.at), ("romashka", Timestamp(1_767_600_070_000)));
        let Payload::Call(call) = &event.payload else { panic!("{event:?}") };
        let end = call.end.as_ref().expect("ended");
        assert_eq!(call.manager.as_ref().map(|id| id.as_str()), Some("17"));
        assert_eq!(end.talk, crate::domain::time::Span(60_000));
        let shown = format!("{event:?}");
        assert!(shown.contains("Inbound") && shown.contains("Answered") && shown.contains("79211234567"), "{shown}");
        let again = send("events/summary", SUMMARY, KEY).expect("valid").expect("an event");
        assert_eq!(event.id, again.id, "the same webhook again is a duplicate");
    }

    #[test]
    fn whether_somebody_talked_follows_from_the_time_of_talk() {
        // A call that ends in the voice menu has entry_result 1.
        let missed = SUMMARY.replace(r#""talk_time":"1767600010""#, r#""talk_time":0"#);
        let missed = missed.replace(r#""to":{"extension":"101","#, r#""to":{"#);
        let event = send("events/summary", &missed, KEY).expect("valid").expect("an event");
        let shown = format!("{event:?}");
        assert!(shown.contains("NoAnswer") && shown.contains("manager: None"), "{shown}");
        let outgoing = missed.replace(r#""call_direction":1"#, r#""call_direction":"2""#);
        let shown = format!("{:?}", send("events/summary", &outgoing, KEY).expect("valid").expect("an event"));
        assert!(shown.contains("Outbound") && shown.contains("NoAnswer"), "{shown}");
        let internal = missed.replace(r#""call_direction":1"#, r#""call_direction":0"#);
        assert_eq!(send("events/summary", &internal, KEY), Ok(None));
        assert_eq!(send("events/recording", SUMMARY, KEY), Ok(None));
    }

    #[test]
    fn a_call_that_rings_is_known_at_once() {
        let ringing = r#"{"entry_id":"e1","call_id":"c1","timestamp":1767600000,"seq":1,"call_state":"Appeared",
            "location":"ivr","from":{"number":"79211234567"},"to":{"line_number":"74951234567"}}"#;
        let event = send("events/call", ringing, KEY).expect("valid").expect("an event");
        let Payload::Call(call) = &event.payload else { panic!("{event:?}") };
        assert!(call.end.is_none() && event.at == NOW);
        for other in
            [ringing.replace("Appeared", "Connected"), ringing.replace(r#""from":{"#, r#""from":{"extension":"7","#)]
        {
            assert_eq!(send("events/call", &other, KEY), Ok(None), "{other}");
        }
    }

    #[test]
    fn a_webhook_that_is_not_signed_with_the_key_is_refused() {
        assert_eq!(send("events/summary", SUMMARY, "another key of it"), Err(Refusal::WrongToken));
        let source = source();
        let SourceKind::Telephony(telephony) = &source.kind else { panic!("telephony") };
        for body in ["", "json={}", "sign=x&json={}&vpbx_api_key=apikey", "{}", "[]", "{\"sign\":{}}"] {
            let request = Request { path: "events/summary", has_bearer: true, body: body.as_bytes(), now: NOW };
            let refused = read(&source, telephony, &EventLimits::default(), &request);
            assert_eq!(refused, Err(Refusal::WrongToken), "{body}");
        }
        let request = Request { path: "", has_bearer: true, body: b"{", now: NOW };
        assert_eq!(read(&source, telephony, &EventLimits::default(), &request), Err(Refusal::Malformed("not JSON")));
    }

    #[test]
    fn what_is_no_call_is_refused_with_the_reason() {
        let no_id = SUMMARY.replace("\"entry_id\":\"e1\"", "\"entry_id\":\"\"");
        let Err(Refusal::Invalid(reason)) = send("events/summary", &no_id, KEY) else { panic!("accepted") };
        assert!(reason.contains("call_id"), "{reason}");
        let no_end = SUMMARY.replace("\"end_time\":1767600070", "\"end_time\":\"soon\"");
        assert_eq!(send("events/summary", &no_end, KEY), Err(Refusal::Invalid("bad_value: a time is none".into())));
    }

    #[test]
    fn times_without_an_offset_are_in_the_zone_of_the_source() {
        let source = source();
        let SourceKind::Telephony(telephony) = &source.kind else { panic!("telephony") };
        let event = Event { source: &source, telephony, document: &Value::Null };
        let expected = Timestamp::parse("2026-01-05T08:00:00Z");
        for text in
            ["2026-01-05 11:00:00", "2026-01-05T11:00:00", "2026-01-05T08:00:00Z", "1767600000", "1767600000000"]
        {
            assert_eq!(event.time(text), Ok(expected), "{text}");
        }
        assert_eq!((event.time("0"), event.time("0.0")), (Ok(None), Ok(None)));
        assert!(event.time("yesterday").is_err());
    }

    #[test]
    fn sip_addresses_of_numbers_become_numbers() {
        assert_eq!(number_of("sip:+74951234567@host"), "+74951234567");
        assert_eq!(number_of("sips:74951234567"), "74951234567");
        for text in ["sip:user1@host", "sip:@host", "sip:+", "74951234567", "anonymous"] {
            assert_eq!(number_of(text), text);
        }
    }
}
