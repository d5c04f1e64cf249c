//! Owns the protobuf form of norms, for durable state: the norms that were in force, kept with what they judged. Promises
//! that one set of norms is one string of bytes, and that norms come back as they were or not at all: what a newer
//! version wrote and this one does not know is refused, never left out. The privacy key is not written.

mod read;
mod write;

use crate::codec::proto;
use crate::domain::norms::Norms;
use prost::Message;
use std::fmt;

/// Why a record of norms cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormsFlaw {
    /// From the outermost field inwards.
    path: String,
    what: String,
}

/// What a reader of a part of a record gives.
type Read<T> = Result<T, NormsFlaw>;

impl NormsFlaw {
    fn new(what: impl Into<String>) -> Self {
        Self { path: String::new(), what: what.into() }
    }

    /// The same flaw, seen from the message that has it in `field`.
    fn within(mut self, field: &str) -> Self {
        self.path = if self.path.is_empty() { field.into() } else { format!("{field}.{}", self.path) };
        self
    }
}

/// `base.rules.neglected.clock: this version knows no `lunar``
impl fmt::Display for NormsFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, what } = self;
        if path.is_empty() { f.write_str(what) } else { write!(f, "{path}: {what}") }
    }
}

impl std::error::Error for NormsFlaw {}

/// Writes norms, all but the privacy key.
pub fn encode_norms(norms: &Norms) -> Vec<u8> {
    write::norms(norms).encode_to_vec()
}

/// Reads norms back; the privacy key is that of today's configuration.
pub fn decode_norms(bytes: &[u8], privacy_key: Option<String>) -> Result<Norms, NormsFlaw> {
    let message = proto::Norms::decode(bytes).map_err(|_| NormsFlaw::new("no protobuf message of norms"))?;
    // What we do not know is gone from the message. Norms without it would be other norms.
    if message.encode_to_vec() != bytes {
        return Err(NormsFlaw::new("more is kept than this version knows"));
    }
    read::norms(message, privacy_key)
}

#[cfg(test)]
mod tests {
    use super::proto::norms as kept;
    use super::*;
    use crate::config::samples::{EVERYTHING, LAYERS, NORMS_NOTED, documents};
    use crate::config::{Config, load_norms, parse_norms};
    use crate::domain::alert::Severity;
    use crate::domain::calendar::{Calendar, Hours};
    use crate::domain::event::{Channel, Outcome};
    use crate::domain::id::EntityKind;
    use crate::domain::norms::{
        Basis, Clock, Layer, Length, Override, Params, Response, SamplingParams, TermsParams, TermsPolicy, Window,
    };
    use crate::domain::rule::Rule;
    use crate::domain::time::{Span, Timestamp};
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    /// Every norms document that is at hand and that is not refused, with its name.
    fn norms_at_hand() -> Vec<(String, Norms)> {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples");
        let mut found = vec![
            ("example".into(), load_norms(&examples.join("norms.yaml")).expect("good").norms),
            ("configuration".into(), Config::load(&examples.join("funnelwatch.yaml")).expect("good").norms),
        ];
        let everything = [EVERYTHING, include_str!("../../sim/norms.yaml")];
        for text in
            everything.into_iter().chain([LAYERS, NORMS_NOTED].into_iter().flat_map(documents).map(|(text, _)| text))
        {
            found.extend(parse_norms("norms", text).ok().map(|document| (text.into(), document.norms)));
        }
        assert!(found.len() > 10, "only {}", found.len());
        found
    }

    fn everything() -> Norms {
        parse_norms("norms", EVERYTHING).expect("good").norms
    }

    /// Norms with one layer.
    fn norms_of(base: Layer) -> Norms {
        Norms { base, ..parse_norms("norms", "norms: {}").expect("good").norms }
    }

    fn back(norms: &Norms) -> Norms {
        let back = decode_norms(&encode_norms(norms), norms.privacy_key.clone());
        back.unwrap_or_else(|flaw| panic!("{flaw}\n{norms:?}"))
    }

    #[test]
    fn norms_come_back_as_they_were() {
        for (name, norms) in norms_at_hand() {
            let back = back(&norms);
            assert_eq!(format!("{back:#?}"), format!("{norms:#?}"), "{name}");
            assert_eq!(back.privacy_key, norms.privacy_key, "{name}");
            assert_eq!(encode_norms(&back), encode_norms(&norms), "{name}");
        }
    }

    #[test]
    fn calendars_count_the_same_time() {
        let mut compared = 0;
        for (name, norms) in norms_at_hand() {
            let back = back(&norms);
            for (one, other) in norms.calendars.values().zip(back.calendars.values()) {
                assert_eq!(one.name(), other.name());
                // Two years, with listed ones and others, at all times of the day.
                let start = Timestamp::parse("2025-07-01T00:00:00Z").expect("good");
                for step in 0..730 {
                    let at = start + Span(step * (Span::DAY.0 + 97 * Span::MINUTE.0));
                    for span in [Span::MINUTE, Span(5 * Span::HOUR.0), Span(40 * Span::HOUR.0)] {
                        assert_eq!(one.deadline(at, span), other.deadline(at, span), "{name}: {at} {span}");
                    }
                    assert_eq!(one.working(start, at), other.working(start, at), "{name}: {at}");
                    assert_eq!((one.day(at), one.lists(at)), (other.day(at), other.lists(at)), "{name}: {at}");
                    compared += 1;
                }
            }
        }
        assert!(compared > 2000, "only {compared}");
    }

    #[test]
    fn every_time_zone_is_found_again_by_its_name() {
        for name in jiff::tz::TimeZoneDatabase::bundled().available() {
            let calendar = |name| Calendar::new("c", name, Default::default(), Default::default(), BTreeSet::new());
            let one = calendar(name.as_str()).expect("listed");
            assert_eq!(calendar(one.timezone()).expect("known").timezone(), one.timezone());
            assert_eq!(one.timezone(), name.as_str());
        }
    }

    #[test]
    fn hours_are_kept_to_the_minute() {
        let hours = vec![Hours { start: 0, end: 1 }, Hours { start: 1, end: 1439 }, Hours { start: 1439, end: 1440 }];
        let week = [hours.clone(), vec![], vec![], vec![], vec![], vec![], hours.clone()];
        let calendar = Calendar::new("c", "Asia/Kathmandu", week, Default::default(), [-1, 2026].into()).expect("good");
        let norms = Norms { calendars: [("c".into(), calendar.into())].into(), ..everything() };
        assert_eq!(format!("{:?}", back(&norms).calendars), format!("{:?}", norms.calendars));
    }

    fn length(minutes: i64, in_days: bool) -> Length {
        Length { span: Span(minutes * Span::MINUTE.0), in_days }
    }

    /// Params that say everything; whoever adds a key is told by the compiler.
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
    fn every_key_of_a_rule_comes_back_alone_and_with_all_others() {
        macro_rules! alone {
            ($($key:ident)*) => {{
                // No key is left out here either.
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
            let norms = norms_of(Layer { rules, ..Layer::default() });
            assert_eq!(back(&norms).base.rules, norms.base.rules, "{key}");
            assert!(seen.insert(encode_norms(&norms)), "{key}");
        }
    }

    #[test]
    fn every_name_comes_back() {
        let mut choices = Vec::new();
        choices.extend(Severity::ALL.map(|one| Params { severity: Some(one), ..Params::default() }));
        choices.extend(Clock::ALL.map(|one| Params { clock: Some(one), ..Params::default() }));
        choices.extend(Response::ALL.map(|one| Params { response: Some(one), ..Params::default() }));
        choices.extend(Basis::ALL.map(|one| Params { basis: Some(one), ..Params::default() }));
        for params in choices {
            let rules = [(Rule::Neglected, params)].into();
            let norms = norms_of(Layer { rules, ..Layer::default() });
            assert_eq!(back(&norms).base.rules, norms.base.rules);
        }
    }

    #[test]
    fn what_is_empty_is_not_absent() {
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
            let norms = Norms { overrides: vec![Override::default(), over], ..norms_of(layer) };
            assert_eq!(format!("{:#?}", back(&norms)), format!("{norms:#?}"));
        }
    }

    #[test]
    fn the_privacy_key_is_not_written_and_is_todays() {
        let norms = everything();
        let secret = norms.privacy_key.clone().expect("a key");
        let bytes = encode_norms(&norms);
        assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()));
        assert_eq!(bytes, encode_norms(&Norms { privacy_key: None, ..norms }));
        let keys = [None, Some("another".to_owned())];
        for key in keys {
            assert_eq!(decode_norms(&bytes, key.clone()).expect("good").privacy_key, key);
        }
    }

    /// What is told of norms that were changed on their way.
    fn flaw(change: impl Fn(&mut proto::Norms)) -> String {
        let mut message = write::norms(&everything());
        change(&mut message);
        decode_norms(&message.encode_to_vec(), None).map(|_| ()).expect_err("refused").to_string()
    }

    fn base(message: &mut proto::Norms) -> &mut kept::Layer {
        message.base.get_or_insert_default()
    }

    /// The parameters of a rule.
    fn rule<'m>(message: &'m mut proto::Norms, name: &str) -> &'m mut kept::Params {
        base(message).rules.entry(name.into()).or_default()
    }

    fn round(message: &mut proto::Norms) -> &mut kept::Calendar {
        message.calendars.entry("round".into()).or_default()
    }

    fn names(names: &[&str]) -> Option<kept::Names> {
        Some(kept::Names { names: names.iter().map(ToString::to_string).collect() })
    }

    #[test]
    fn what_a_newer_version_wrote_is_refused_by_name() {
        assert_eq!(flaw(|it| it.country = "DE".into()), "country: this version knows no `DE`");
        assert_eq!(
            flaw(|it| rule(it, "neglected").clock = Some("lunar".into())),
            "base.rules.neglected.clock: this version knows no `lunar`"
        );
        assert_eq!(
            flaw(|it| it.overrides[1]
                .layer
                .get_or_insert_default()
                .rules
                .extend([("too_late".into(), Default::default())])),
            "overrides[1].layer.rules: this version knows no `too_late`"
        );
        assert_eq!(
            flaw(|it| rule(it, "stage_overdue").severity = Some("fatal".into())),
            "base.rules.stage_overdue.severity: this version knows no `fatal`"
        );
        assert_eq!(
            flaw(|it| rule(it, "conversion_low").basis = Some("".into())),
            "base.rules.conversion_low.basis: this version knows no ``"
        );
        assert_eq!(
            flaw(|it| rule(it, "first_response_late").response = Some("smile".into())),
            "base.rules.first_response_late.response: this version knows no `smile`"
        );
        assert_eq!(
            flaw(|it| rule(it, "message_unanswered").channels = names(&["SMS", "FAX"])),
            "base.rules.message_unanswered.channels: this version knows no `FAX`"
        );
        assert_eq!(
            flaw(|it| rule(it, "neglected").entities = names(&["ENTITY_KIND_UNSPECIFIED"])),
            "base.rules.neglected.entities: this version knows no `ENTITY_KIND_UNSPECIFIED`"
        );
        assert_eq!(
            flaw(|it| rule(it, "neglected").applies_to = names(&["PAUSED"])),
            "base.rules.neglected.applies_to: this version knows no `PAUSED`"
        );
        assert_eq!(
            flaw(|it| it.pipelines.entry("9".into()).or_default().entity = "TICKET".into()),
            "pipelines.9.entity: this version knows no `TICKET`"
        );
    }

    #[test]
    fn what_cannot_be_norms_is_refused() {
        assert_eq!(flaw(|it| it.base = None), "base: missing: the record was cut short");
        assert_eq!(
            flaw(|it| round(it).timezone = "Mars/Olympus".into()),
            "calendars.round: looking up time zone `Mars/Olympus`: no such IANA name"
        );
        assert_eq!(flaw(|it| round(it).week.truncate(6)), "calendars.round.week: not of seven days");
        assert_eq!(
            flaw(|it| round(it).week[2].hours.push("9-18".into())),
            "calendars.round.week[2].hours[0]: `9-18` are no hours"
        );
        assert_eq!(flaw(|it| round(it).years.push(40_000)), "calendars.round.years[0]: no year");
        let days = |dates: &[&str]| {
            flaw(|it| round(it).days.extend(dates.iter().map(|date| (date.to_string(), Default::default()))))
        };
        assert_eq!(days(&["soon"]), "calendars.round.days: `soon` is no date");
        assert_eq!(days(&["2026-01-01", "20260101"]), "calendars.round.days: `20260101` is there twice");
        assert!(days(&["0206-01-01"]).starts_with("calendars.round: reading listed day 0206-01-01"));
        for (size_ms, slide_ms) in [(60_000, 0), (0, 60_000), (60_000, 7_000), (i64::MIN, -1), (-60_000, 60_000)] {
            let window = kept::Window { size_ms, in_days: false, slide_ms };
            let told = format!("windows[0]: a size of {size_ms} ms is no multiple of a slide of {slide_ms} ms");
            assert_eq!(flaw(|it| it.windows[0] = window), told);
        }
    }

    #[test]
    fn a_field_that_is_not_known_is_refused_wherever_it_stands() {
        // Field 99, a number.
        let unknown: &[u8] = &[0x98, 0x06, 0x01];
        let empty = encode_norms(&norms_of(Layer::default()));
        // The base layer ends the record: of four bytes, and then of seven.
        let (outside, inside) = empty.split_at(empty.len() - 5);
        assert_eq!(inside, [4, 0x1a, 0, 0x22, 0]);
        let nested = [outside, &[7], &inside[1..], unknown].concat();
        let whole = [&empty, unknown].concat();
        for bytes in [whole, nested] {
            let flaw = decode_norms(&bytes, None).map(|_| ()).expect_err("refused");
            assert_eq!(flaw.to_string(), "more is kept than this version knows");
        }
    }

    #[test]
    fn a_record_that_was_cut_short_is_refused() {
        for norms in [everything(), norms_of(Layer::default())] {
            let bytes = encode_norms(&norms);
            for end in 0..bytes.len() {
                assert!(decode_norms(&bytes[..end], None).is_err(), "{end} of {}", bytes.len());
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode_norms(&bytes, None).is_err());
        }

        #[test]
        fn no_damage_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = encode_norms(&everything());
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(norms) = decode_norms(&bytes, None) {
                // It may still be norms: those then are whole.
                prop_assert_eq!(format!("{:?}", back(&norms)), format!("{norms:?}"));
                let panes: i64 = norms.windows.iter().copied().map(Window::panes).sum();
                prop_assert!(panes > 0);
            }
        }
    }
}
