//! Owns the protobuf format of norms for durable state: norms that were in force are stored with the state that they
//! judged. The encoding is canonical: equal norms give equal bytes. Decoding restores the norms exactly or fails:
//! fields and names written by a newer version are rejected, never dropped. The privacy key is not written.

mod read;
mod write;

use crate::codec::proto;
use crate::domain::norms::Norms;
use prost::Message;
use std::fmt;

/// Why a norms record cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormsFlaw {
    /// From the outermost field to the innermost.
    path: String,
    problem: String,
}

/// The result of reading a part of a record.
type Read<T> = Result<T, NormsFlaw>;

impl NormsFlaw {
    fn new(problem: impl Into<String>) -> Self {
        Self { path: String::new(), problem: problem.into() }
    }

    /// Prepends `field` to the path.
    fn within(mut self, field: &str) -> Self {
        self.path = if self.path.is_empty() { field.into() } else { format!("{field}.{}", self.path) };
        self
    }
}

/// For example ``base.rules.neglected.clock: unknown value `lunar` ``.
impl fmt::Display for NormsFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, problem } = self;
        if path.is_empty() { f.write_str(problem) } else { write!(f, "{path}: {problem}") }
    }
}

impl std::error::Error for NormsFlaw {}

/// Encodes norms without the privacy key.
pub fn encode_norms(norms: &Norms) -> Vec<u8> {
    write::norms(norms).encode_to_vec()
}

/// Decodes norms; the privacy key is taken from the current configuration.
pub fn decode_norms(bytes: &[u8], privacy_key: Option<String>) -> Result<Norms, NormsFlaw> {
    let message = proto::Norms::decode(bytes).map_err(|_| NormsFlaw::new("not a valid norms message"))?;
    // Decoding drops unknown fields. Norms without them would be different norms.
    if message.encode_to_vec() != bytes {
        return Err(NormsFlaw::new("contains fields unknown to this version"));
    }
    read::norms(message, privacy_key)
}

#[cfg(test)]
mod tests {
    use super::proto::norms as stored;
    use super::*;
    use crate::config::samples::{EVERYTHING, LAYERS, NORMS_NOTED, documents};
    use crate::config::{Config, load_norms, parse_norms};
    use crate::domain::alert::Severity;
    use crate::domain::event::{Channel, Outcome};
    use crate::domain::id::EntityKind;
    use crate::domain::norms::{
        Basis, Clock, Layer, Length, Override, Params, Response, SamplingParams, TermsParams, TermsPolicy,
    };
    use crate::domain::rule::Rule;
    use crate::domain::time::calendar::{Calendar, Hours};
    use crate::domain::time::window::Window;
    use crate::domain::time::{Span, Timestamp};
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    /// Every valid norms document of the repository, with its name.
    fn valid_norms() -> Vec<(String, Norms)> {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples");
        let mut found = vec![
            ("example".into(), load_norms(&examples.join("norms.yaml")).expect("valid").norms),
            ("configuration".into(), Config::load(&examples.join("funnelwatch.yaml")).expect("valid").norms),
        ];
        let single = [EVERYTHING, include_str!("../../sim/norms.yaml")];
        for text in
            single.into_iter().chain([LAYERS, NORMS_NOTED].into_iter().flat_map(documents).map(|(text, _)| text))
        {
            found.extend(parse_norms("norms", text).ok().map(|document| (text.into(), document.norms)));
        }
        assert!(found.len() > 10, "only {}", found.len());
        found
    }

    fn everything() -> Norms {
        parse_norms("norms", EVERYTHING).expect("valid").norms
    }

    /// Norms that consist of one layer.
    fn norms_with_base(base: Layer) -> Norms {
        Norms { base, ..parse_norms("norms", "norms: {}").expect("valid").norms }
    }

    fn restored(norms: &Norms) -> Norms {
        let restored = decode_norms(&encode_norms(norms), norms.privacy_key.clone());
        restored.unwrap_or_else(|flaw| panic!("{flaw}\n{norms:?}"))
    }

    #[test]
    fn norms_round_trip() {
        for (name, norms) in valid_norms() {
            let restored = restored(&norms);
            assert_eq!(format!("{restored:#?}"), format!("{norms:#?}"), "{name}");
            assert_eq!(restored.privacy_key, norms.privacy_key, "{name}");
            assert_eq!(encode_norms(&restored), encode_norms(&norms), "{name}");
        }
    }

    #[test]
    fn calendars_measure_the_same_time() {
        let mut compared = 0;
        for (name, norms) in valid_norms() {
            let restored = restored(&norms);
            for (original, decoded) in norms.calendars.values().zip(restored.calendars.values()) {
                assert_eq!(original.name(), decoded.name());
                // Two years, some of them listed in the calendar and some not, at all times of day.
                let start = Timestamp::parse("2025-07-01T00:00:00Z").expect("valid");
                for step in 0..730 {
                    let at = start + Span(step * (Span::DAY.0 + 97 * Span::MINUTE.0));
                    for span in [Span::MINUTE, Span(5 * Span::HOUR.0), Span(40 * Span::HOUR.0)] {
                        assert_eq!(original.deadline(at, span), decoded.deadline(at, span), "{name}: {at} {span}");
                    }
                    assert_eq!(original.working(start, at), decoded.working(start, at), "{name}: {at}");
                    assert_eq!(original.day(at), decoded.day(at), "{name}: {at}");
                    assert_eq!(original.lists(at), decoded.lists(at), "{name}: {at}");
                    compared += 1;
                }
            }
        }
        assert!(compared > 2000, "only {compared}");
    }

    #[test]
    fn every_time_zone_round_trips_by_name() {
        for name in jiff::tz::TimeZoneDatabase::bundled().available() {
            let calendar = |name| Calendar::new("c", name, Default::default(), Default::default(), BTreeSet::new());
            let original = calendar(name.as_str()).expect("listed");
            assert_eq!(calendar(original.timezone()).expect("known").timezone(), original.timezone());
            assert_eq!(original.timezone(), name.as_str());
        }
    }

    #[test]
    fn hours_are_stored_to_the_minute() {
        let hours = vec![Hours { start: 0, end: 1 }, Hours { start: 1, end: 1439 }, Hours { start: 1439, end: 1440 }];
        let week = [hours.clone(), vec![], vec![], vec![], vec![], vec![], hours.clone()];
        let years = [-1, 2026].into();
        let calendar = Calendar::new("c", "Asia/Kathmandu", week, Default::default(), years).expect("valid");
        let norms = Norms { calendars: [("c".into(), calendar.into())].into(), ..everything() };
        assert_eq!(format!("{:?}", restored(&norms).calendars), format!("{:?}", norms.calendars));
    }

    fn length(minutes: i64, in_days: bool) -> Length {
        Length { span: Span(minutes * Span::MINUTE.0), in_days }
    }

    /// Params with every key set. Written without `..`, so that the compiler reports a new key.
    fn params() -> Params {
        Params {
            enabled: Some(false),
            severity: Some(Severity::Info),
            escalate_after: Some(vec![length(1, false), length(1440, true)]),
            within: Some(length(15, false)),
            clock: Some(Clock::Business),
            response: Some(Response::Conversation),
            attempts: Some(0),
            entities: Some(vec![EntityKind::Deal, EntityKind::Lead]),
            applies_to: Some(vec![Outcome::Lost, Outcome::Won, Outcome::Converted, Outcome::Disqualified]),
            allowed_reasons: Some(vec!["нет бюджета".into(), "".into()]),
            min_touches: Some(i64::MAX),
            channels: Some(vec![Channel::Sms, Channel::Email, Channel::Chat, Channel::Messenger]),
            window: Some(Span::DAY),
            basis: Some(Basis::Closed),
            at_least: Some(0.0),
            of_department: Some(0.1),
            at_most: Some(-0.0),
            at_most_lag: Some(length(2880, true)),
            quantile: Some(f64::MIN_POSITIVE),
            min_sample: Some(-1),
        }
    }

    #[test]
    fn every_key_of_a_rule_round_trips_alone_and_with_all_others() {
        macro_rules! alone {
            ($($key:ident)*) => {{
                // Destructured without `..` as well, so that no key is missed.
                let Params { $($key),* } = params();
                vec![$((stringify!($key), Params { $key, ..Params::default() })),*]
            }};
        }
        let mut table = alone! { enabled severity escalate_after within clock response attempts entities applies_to
        allowed_reasons min_touches channels window basis at_least of_department at_most at_most_lag quantile min_sample };
        assert!(table.iter().all(|(_, params)| *params != Params::default()));
        table.extend([("all", params()), ("none", Params::default())]);
        let empty = Params {
            escalate_after: Some(vec![]),
            entities: Some(vec![]),
            applies_to: Some(vec![]),
            allowed_reasons: Some(vec![]),
            channels: Some(vec![]),
            ..Params::default()
        };
        table.push(("empty lists", empty));
        let mut seen = BTreeSet::new();
        for (key, params) in table {
            let rules = Rule::ALL.iter().map(|rule| (*rule, params.clone())).collect();
            let norms = norms_with_base(Layer { rules, ..Layer::default() });
            assert_eq!(restored(&norms).base.rules, norms.base.rules, "{key}");
            assert!(seen.insert(encode_norms(&norms)), "{key}");
        }
    }

    #[test]
    fn every_name_round_trips() {
        let mut choices = Vec::new();
        choices.extend(Severity::ALL.map(|value| Params { severity: Some(value), ..Params::default() }));
        choices.extend(Clock::ALL.map(|value| Params { clock: Some(value), ..Params::default() }));
        choices.extend(Response::ALL.map(|value| Params { response: Some(value), ..Params::default() }));
        choices.extend(Basis::ALL.map(|value| Params { basis: Some(value), ..Params::default() }));
        for params in choices {
            let rules = [(Rule::Neglected, params)].into();
            let norms = norms_with_base(Layer { rules, ..Layer::default() });
            assert_eq!(restored(&norms).base.rules, norms.base.rules);
        }
    }

    #[test]
    fn empty_is_not_absent() {
        let layers = [
            Layer::default(),
            Layer { calendar: Some("".into()), ..Layer::default() },
            Layer {
                terms: TermsParams { approvers: Some(vec![]), policies: Some(vec![]) },
                review_sampling: SamplingParams { per_day: Some(0), min_talk: Some(Span::ZERO) },
                ..Layer::default()
            },
            Layer {
                terms: TermsParams {
                    approvers: Some(vec!["".into()]),
                    policies: Some(vec![
                        TermsPolicy::default(),
                        TermsPolicy {
                            pipeline: Some("".into()),
                            grade: Some("".into()),
                            amount_minor_below: Some(0),
                            max_discount_percent: Some(0.0),
                            max_installment_months: Some(0),
                            min_prepayment_percent: Some(0.0),
                        },
                    ]),
                },
                ..Layer::default()
            },
        ];
        for layer in layers {
            let over = Override {
                tenant: Some("".into()),
                department: None,
                pipeline: Some("".into()),
                source: Some("".into()),
                layer: layer.clone(),
            };
            let norms = Norms { overrides: vec![Override::default(), over], ..norms_with_base(layer) };
            assert_eq!(format!("{:#?}", restored(&norms)), format!("{norms:#?}"));
        }
    }

    #[test]
    fn the_privacy_key_is_not_written_and_comes_from_the_configuration() {
        let norms = everything();
        let secret = norms.privacy_key.clone().expect("a key");
        let bytes = encode_norms(&norms);
        assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()));
        assert_eq!(bytes, encode_norms(&Norms { privacy_key: None, ..norms }));
        let keys = [None, Some("another".to_owned())];
        for key in keys {
            assert_eq!(decode_norms(&bytes, key.clone()).expect("valid").privacy_key, key);
        }
    }

    /// The error reported for norms changed after encoding.
    fn flaw(change: impl Fn(&mut proto::Norms)) -> String {
        let mut message = write::norms(&everything());
        change(&mut message);
        decode_norms(&message.encode_to_vec(), None).map(|_| ()).expect_err("rejected").to_string()
    }

    fn base(message: &mut proto::Norms) -> &mut stored::Layer {
        message.base.get_or_insert_default()
    }

    /// The parameters of a rule.
    fn rule<'m>(message: &'m mut proto::Norms, name: &str) -> &'m mut stored::Params {
        base(message).rules.entry(name.into()).or_default()
    }

    fn round(message: &mut proto::Norms) -> &mut stored::Calendar {
        message.calendars.entry("round".into()).or_default()
    }

    fn names(names: &[&str]) -> Option<stored::Names> {
        Some(stored::Names { names: names.iter().map(ToString::to_string).collect() })
    }

    #[test]
    fn names_from_a_newer_version_are_rejected_by_name() {
        assert_eq!(flaw(|norms| norms.country = "DE".into()), "country: unknown value `DE`");
        assert_eq!(
            flaw(|norms| rule(norms, "neglected").clock = Some("lunar".into())),
            "base.rules.neglected.clock: unknown value `lunar`"
        );
        assert_eq!(
            flaw(|norms| norms.overrides[1]
                .layer
                .get_or_insert_default()
                .rules
                .extend([("too_late".into(), Default::default())])),
            "overrides[1].layer.rules: unknown value `too_late`"
        );
        assert_eq!(
            flaw(|norms| rule(norms, "stage_overdue").severity = Some("fatal".into())),
            "base.rules.stage_overdue.severity: unknown value `fatal`"
        );
        assert_eq!(
            flaw(|norms| rule(norms, "conversion_low").basis = Some("".into())),
            "base.rules.conversion_low.basis: unknown value ``"
        );
        assert_eq!(
            flaw(|norms| rule(norms, "first_response_late").response = Some("smile".into())),
            "base.rules.first_response_late.response: unknown value `smile`"
        );
        assert_eq!(
            flaw(|norms| rule(norms, "message_unanswered").channels = names(&["SMS", "FAX"])),
            "base.rules.message_unanswered.channels: unknown value `FAX`"
        );
        assert_eq!(
            flaw(|norms| rule(norms, "neglected").entities = names(&["ENTITY_KIND_UNSPECIFIED"])),
            "base.rules.neglected.entities: unknown value `ENTITY_KIND_UNSPECIFIED`"
        );
        assert_eq!(
            flaw(|norms| rule(norms, "neglected").applies_to = names(&["PAUSED"])),
            "base.rules.neglected.applies_to: unknown value `PAUSED`"
        );
        assert_eq!(
            flaw(|norms| norms.pipelines.entry("9".into()).or_default().entity = "TICKET".into()),
            "pipelines.9.entity: unknown value `TICKET`"
        );
    }

    #[test]
    fn invalid_norms_are_rejected() {
        assert_eq!(flaw(|norms| norms.base = None), "base: missing: the record is truncated");
        assert_eq!(
            flaw(|norms| round(norms).timezone = "Mars/Olympus".into()),
            "calendars.round: unknown IANA time zone `Mars/Olympus`"
        );
        assert_eq!(flaw(|norms| round(norms).week.truncate(6)), "calendars.round.week: expected seven days");
        assert_eq!(
            flaw(|norms| round(norms).week[2].hours.push("9-18".into())),
            "calendars.round.week[2].hours[0]: invalid hours `9-18`"
        );
        assert_eq!(flaw(|norms| round(norms).years.push(40_000)), "calendars.round.years[0]: invalid year");
        let days = |dates: &[&str]| {
            flaw(|norms| round(norms).days.extend(dates.iter().map(|date| (date.to_string(), Default::default()))))
        };
        assert_eq!(days(&["soon"]), "calendars.round.days: invalid date `soon`");
        assert_eq!(days(&["2026-01-01", "20260101"]), "calendars.round.days: duplicate entry `20260101`");
        assert!(days(&["0206-01-01"]).starts_with("calendars.round: listed day 0206-01-01"));
        for (size_ms, slide_ms) in [(60_000, 0), (0, 60_000), (60_000, 7_000), (i64::MIN, -1), (-60_000, 60_000)] {
            let window = stored::Window { size_ms, in_days: false, slide_ms };
            let expected = format!("windows[0]: size {size_ms} ms is not a multiple of slide {slide_ms} ms");
            assert_eq!(flaw(|norms| norms.windows[0] = window), expected);
        }
    }

    #[test]
    fn unknown_fields_are_rejected_at_any_depth() {
        // Field 99, a number.
        let unknown: &[u8] = &[0x98, 0x06, 0x01];
        let empty = encode_norms(&norms_with_base(Layer::default()));
        // The base layer is the last field of the record: four bytes long, then seven.
        let (outside, inside) = empty.split_at(empty.len() - 5);
        assert_eq!(inside, [4, 0x1a, 0, 0x22, 0]);
        let nested = [outside, &[7], &inside[1..], unknown].concat();
        let whole = [&empty, unknown].concat();
        for bytes in [whole, nested] {
            let flaw = decode_norms(&bytes, None).map(|_| ()).expect_err("rejected");
            assert_eq!(flaw.to_string(), "contains fields unknown to this version");
        }
    }

    #[test]
    fn truncated_records_are_rejected() {
        for norms in [everything(), norms_with_base(Layer::default())] {
            let bytes = encode_norms(&norms);
            for end in 0..bytes.len() {
                assert!(decode_norms(&bytes[..end], None).is_err(), "{end} of {}", bytes.len());
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_rejected(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode_norms(&bytes, None).is_err());
        }

        #[test]
        fn corruption_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = encode_norms(&everything());
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(norms) = decode_norms(&bytes, None) {
                // The result may still be valid norms; those must round-trip.
                prop_assert_eq!(format!("{:?}", restored(&norms)), format!("{norms:?}"));
                let panes: i64 = norms.windows.iter().copied().map(Window::panes).sum();
                prop_assert!(panes > 0);
            }
        }
    }
}
