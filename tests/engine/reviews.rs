//! Property test of review sampling: a sample consists of the lowest hashes of its day, in any order of arrival.

use funnelwatch::codec::json;
use funnelwatch::codec::state::PACKING;
use funnelwatch::config;
use funnelwatch::domain::effect::Effect;
use funnelwatch::domain::identity;
use funnelwatch::domain::shard::processor::{ShardProcessor, ShardProgress, Timing};
use funnelwatch::domain::source::{Offset, Source, Topic};
use funnelwatch::domain::time::{Span, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Monday 2026-03-02 in Moscow.
const START: Timestamp = Timestamp(1_772_398_800_000);
const DAYS: i64 = 4;
const PER_DAY: usize = 3;

const NORMS: &str = "
calendars: {c: {timezone: Europe/Moscow, week: {mon: ['09:00-18:00']}}}
calendar: c
privacy_key: secret
review_sampling: {per_day: 3, min_talk_seconds: 30}";

/// A call or message: minute, manager, seconds talked (`None`: a message), lateness in hours.
type Interaction = (i64, usize, Option<i64>, i64);

/// The hour at whose end it has arrived and the watermark has passed it.
fn arrival((minute, .., late): &Interaction) -> i64 {
    minute / 60 + 1 + late
}

/// The requested ids by manager and day, in order.
fn requested(interactions: &[Interaction], order: &[usize]) -> BTreeMap<(String, String), Vec<String>> {
    let norms = config::parse_norms("norms", NORMS).unwrap_or_else(|problems| panic!("{problems}")).norms;
    let mut processor =
        ShardProcessor::new(Arc::new(norms), Timing { max_future_skew: None, ..Timing::default() }, PACKING);
    // The tenant exists, so that what arrives later can be late.
    let text = format!(r#"{{"tenant_id":"acme","occurred_at":"{START}","manager_upserted":{{"manager_id":"0"}}}}"#);
    let event = json::decode(text.as_bytes()).expect("an event");
    processor.arrive(Source::Topic(Topic::Crm), Offset(0), event, START).expect("accepted");
    let mut requested = BTreeMap::<_, Vec<String>>::new();
    for hour in 1..=DAYS * 24 {
        for index in order.iter().filter(|index| arrival(&interactions[**index]) == hour) {
            let (minute, who, talk, _) = interactions[*index];
            let at = START + Span(minute * Span::MINUTE.0);
            let payload = match talk {
                Some(talk) => format!(
                    r#""call_ended":{{"call_id":"{index}","direction":"INBOUND","outcome":"ANSWERED","talk_seconds":{talk},"manager_id":"{who}"}}"#
                ),
                None => format!(r#""message_sent":{{"message_id":"{index}","channel":"CHAT","manager_id":"{who}"}}"#),
            };
            let text = format!(r#"{{"tenant_id":"acme","occurred_at":"{at}",{payload}}}"#);
            let event = json::decode(text.as_bytes()).expect("an event");
            let topic = if talk.is_some() { Topic::Telephony } else { Topic::Email };
            processor.arrive(Source::Topic(topic), Offset(*index as i64), event, START).expect("accepted");
        }
        let mut outputs = Vec::new();
        let watermark = START + Span(hour * Span::HOUR.0);
        processor.advance(&ShardProgress { close: Some(watermark), ..ShardProgress::default() }, &mut outputs);
        for effect in outputs.into_iter().flat_map(|effects| effects.effects) {
            if let Effect::Review(request) = effect {
                assert_eq!(request.requested_at, Timestamp(watermark.0), "at the end of the day");
                let key = (request.manager.to_string(), request.day.to_string());
                requested.entry(key).or_default().push(request.interaction.to_string());
            }
        }
    }
    requested
}

/// The lowest hashes of the interactions that arrived before their day ended.
fn expected(interactions: &[Interaction]) -> BTreeMap<(String, String), Vec<String>> {
    let mut days = BTreeMap::<_, Vec<_>>::new();
    for (index, interaction) in interactions.iter().enumerate() {
        let (minute, who, talk, _) = interaction;
        let day = minute / (24 * 60);
        if talk.is_none_or(|talk| talk >= 30) && arrival(interaction) <= (day + 1) * 24 {
            let key = (who.to_string(), format!("2026-03-{:02}", 2 + day));
            days.entry(key).or_default().push(index.to_string());
        }
    }
    for ids in days.values_mut() {
        ids.sort_by_key(|id| identity::Keyed::new("secret").digest(id));
        ids.truncate(PER_DAY);
    }
    days
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_sample_has_the_lowest_hashes_in_any_order_of_arrival(
        (interactions, order) in prop::collection::vec(
            (0..DAYS * 24 * 60, 0..3_usize, prop::option::of(0..90_i64), prop_oneof![3 => Just(0), 1 => 0..10_i64]),
            1..80,
        )
        .prop_flat_map(|interactions| {
            let order = Just((0..interactions.len()).collect::<Vec<_>>()).prop_shuffle();
            (Just(interactions), order)
        })
    ) {
        prop_assert_eq!(requested(&interactions, &order), expected(&interactions));
    }
}
