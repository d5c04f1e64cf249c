//! Owns the promise that a sample for review is the lowest hashes of its day, as many as are asked for, in whatever order
//! the day's interactions came.

use funnelwatch::codec::json;
use funnelwatch::codec::state::PACKING;
use funnelwatch::config;
use funnelwatch::domain::effect::Effect;
use funnelwatch::domain::event::Topic;
use funnelwatch::domain::identity;
use funnelwatch::domain::shard_processor::{ShardProcessor, ShardProgress, Source, Timing};
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

/// A call or message: its minute, whose it is, seconds talked (none: a message), and by how many hours it is late.
type Acted = (i64, usize, Option<i64>, i64);

/// The hour after which the watermark has passed it, and it has come.
fn arrival((minute, .., late): &Acted) -> i64 {
    minute / 60 + 1 + late
}

/// The ids that are asked for, by manager and day, in order.
fn asked(acts: &[Acted], order: &[usize]) -> BTreeMap<(String, String), Vec<String>> {
    let norms = config::parse_norms("norms", NORMS).unwrap_or_else(|problems| panic!("{problems}")).norms;
    let mut floor =
        ShardProcessor::new(Arc::new(norms), Timing { max_future_skew: None, ..Timing::default() }, PACKING);
    let mut asked = BTreeMap::<_, Vec<String>>::new();
    for hour in 1..=DAYS * 24 {
        for number in order.iter().filter(|number| arrival(&acts[**number]) == hour) {
            let (minute, who, talk, _) = acts[*number];
            let at = START + Span(minute * Span::MINUTE.0);
            let payload = match talk {
                Some(talk) => format!(
                    r#""call_ended":{{"call_id":"{number}","direction":"INBOUND","outcome":"ANSWERED","talk_seconds":{talk},"manager_id":"{who}"}}"#
                ),
                None => format!(r#""message_sent":{{"message_id":"{number}","channel":"CHAT","manager_id":"{who}"}}"#),
            };
            let text = format!(r#"{{"tenant_id":"acme","occurred_at":"{at}",{payload}}}"#);
            let event = json::decode(text.as_bytes()).expect("an event");
            let topic = if talk.is_some() { Topic::Telephony } else { Topic::Email };
            floor.arrive(Source::Topic(topic), *number as i64, event, START).expect("taken");
        }
        let mut made = Vec::new();
        let watermark = START + Span(hour * Span::HOUR.0);
        floor.advance(&ShardProgress { close: Some(watermark), ..ShardProgress::default() }, &mut made);
        for effect in made.into_iter().flat_map(|effects| effects.effects) {
            if let Effect::Review(request) = effect {
                assert_eq!(request.requested_at, Timestamp(watermark.0), "at the end of the day");
                let key = (request.manager.to_string(), request.day.to_string());
                asked.entry(key).or_default().push(request.interaction.to_string());
            }
        }
    }
    asked
}

/// The lowest hashes of those that came before their day ended.
fn lowest(acts: &[Acted]) -> BTreeMap<(String, String), Vec<String>> {
    let mut days = BTreeMap::<_, Vec<_>>::new();
    for (number, act) in acts.iter().enumerate() {
        let (minute, who, talk, _) = act;
        let day = minute / (24 * 60);
        if talk.is_none_or(|talk| talk >= 30) && arrival(act) <= (day + 1) * 24 {
            let key = (who.to_string(), format!("2026-03-{:02}", 2 + day));
            days.entry(key).or_default().push(number.to_string());
        }
    }
    for ids in days.values_mut() {
        ids.sort_by_key(|id| identity::digest(id, "secret"));
        ids.truncate(PER_DAY);
    }
    days
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_sample_is_the_lowest_hashes_in_whatever_order_they_come(
        (acts, order) in prop::collection::vec(
            (0..DAYS * 24 * 60, 0..3_usize, prop::option::of(0..90_i64), prop_oneof![3 => Just(0), 1 => 0..10_i64]),
            1..80,
        )
        .prop_flat_map(|acts| {
            let order = Just((0..acts.len()).collect::<Vec<_>>()).prop_shuffle();
            (Just(acts), order)
        })
    ) {
        prop_assert_eq!(asked(&acts, &order), lowest(&acts));
    }
}
