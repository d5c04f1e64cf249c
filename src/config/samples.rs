//! Documents for the tests of the configuration.
//!
//! In a list of documents, `#! …` is the problem expected on the line above it (`#!   …` continues it), and `=====`
//! separates documents.

/// The documents of a list, each with its expected problems as `LINE: …`.
pub(crate) fn documents(list: &str) -> Vec<(&str, Vec<String>)> {
    list.split("=====\n").map(|document| (document, expected(document))).collect()
}

fn expected(document: &str) -> Vec<String> {
    let (mut line, mut expected) = (0, Vec::<String>::new());
    for (index, text) in document.lines().enumerate() {
        match (text.strip_prefix("#! "), expected.last_mut()) {
            (Some(text), Some(last)) if text.starts_with(' ') => {
                last.push(' ');
                last.push_str(text.trim_start());
            }
            (Some(text), _) => expected.push(format!("{line}: {text}")),
            (None, _) => line = index + 1,
        }
    }
    expected
}

/// A norms document that uses every key.
pub(crate) const EVERYTHING: &str = r#"language: ru
default_country: KZ
privacy_key: "a $${key}"
calendars:
  almaty:
    timezone: Asia/Almaty
    week: {mon: ["13:00-18:00", "09:00-12:00"], sat: ["10:00-14:00"]}
    days: {2026-01-01: [], "2026-03-08": ["10:00-24:00"]}
    years: [2026]
  round: {timezone: UTC, week: {mon: ["00:00-24:00"]}}
pipelines:
  leads:
    entity: lead
    stages: [{id: NEW, max_time: 2d}]
  9:
    entity: deal
    stages:
    - {id: C9:NEW, early: true, max_time: 90s}
    - id: 142
      required: true
      requires:
        fields: [budget, 7]
        activities: [DEMO, NEEDS_ANALYSIS]
    - {id: last}
calendar: almaty
min_talk_seconds: 0.5
windows: [{size: 2h, slide: 1m}, {size: 7d, slide: 2h}]
norms:
  first_response_late: {within: 15m, clock: business, response: conversation, severity: info, escalate_after: [15m, 2h]}
  too_few_attempts: {within: 2d, clock: wall, attempts: 3}
  neglected: {within: 16h, clock: business, entities: [deal]}
  disqualified_without_reason: {applies_to: [LOST, DISQUALIFIED], allowed_reasons: [no_budget, 12]}
  disqualified_without_contact: {min_touches: 2}
  stage_skipped: {}
  stage_requirements_unmet:
  stage_reverted: {enabled: true, severity: critical}
  stage_overdue: {escalate_after: [1d]}
  missed_call_not_returned: {within: 30m}
  message_unanswered: {within: 4h, channels: [SMS, EMAIL]}
  prepayment_too_low: {severity: info}
  terms:
    approvers: [boss]
    severity: critical
    policies:
    - {pipeline: 9, grade: senior, max_discount_percent: 12.5, max_installment_months: 6, min_prepayment_percent: 30}
    - {amount_minor_below: 10000000}
  conversion_low: {window: 7d, basis: closed, of_department: 0.5, min_sample: 20}
  response_slow: {window: 2h, quantile: 0.95, clock: business, at_most: 30m}
  quality_low: {at_least: 60, min_sample: 5}
  stuck_early: {at_most: 0.5}
  special_terms_frequent: {at_most: 1, min_sample: 10}
  source_silent: {within: 2h, clock: business}
review_sampling: {per_day: 3, min_talk_seconds: 30}
overrides:
- when: {tenant: acme}
  calendar: round
  norms: {first_response_late: {within: 5m}}
- when: {tenant: acme, department: north, pipeline: 9, source_id: WEB}
  norms: {neglected: {enabled: false}}
"#;

/// Invalid norms documents.
pub(super) const NORMS_INVALID: &str = r#"norm: {}
#! norm: unknown key; did you mean `norms`?
=====
norms:
  first_response: {within: 1h}
#! norms.first_response: unknown key; did you mean `first_response_late`?
=====
norms:
  stage_reverted: {within: 1h}
#! norms.stage_reverted.within: unknown key; expected one of enabled, severity, escalate_after
=====
norms:
  prepayment_too_low: {escalate_after: [1h]}
#! norms.prepayment_too_low.escalate_after: unknown key; expected one of enabled, severity
  terms: {policies: [{}]}
=====
norms: {neglected: {witin: 1h}}
#! norms.neglected.witin: unknown key; did you mean `within`?
=====
norms:
  neglected: 16h
#! norms.neglected: expected a mapping, found string `16h`
=====
norms:
  neglected: {clock: wall}
#! norms.neglected.within: required key is missing: the deadline, measured from the anchor on the rule's clock
  too_few_attempts:
#! norms.too_few_attempts.attempts: required key is missing: number of touches required
    within: 1d
=====
norms:
  conversion_low: {min_sample: 5}
#! norms.conversion_low.at_least: required key is missing: `at_least` or `of_department`
=====
norms:
  conversion_low: {at_least: 0.2,
#! norms.conversion_low.at_least: `at_least` and `of_department` are mutually exclusive
    of_department: 0.5}
=====
norms:
  response_slow: {at_most: 0.5}
#! norms.response_slow.at_most: expected a duration such as 90s, 15m, 4h or 7d, found number 0.5
=====
norms:
  terms: {approvers: [a]}
#! norms.terms.policies: required key is missing: without rows, terms cannot be checked
=====
norms:
  discount_over_limit: {}
#! norms.discount_over_limit: the rule requires `norms.terms`, which is missing
=====
review_sampling:
#! review_sampling.per_day: required key is missing: the number of samples per manager and day
  min_talk_seconds: 5
=====
norms:
  conversion_low: {at_least: 20}
#! norms.conversion_low.at_least: expected a number from 0 to 1, found number 20
  quality_low: {at_least: 101}
#! norms.quality_low.at_least: expected a number from 0 to 100, found number 101
  stuck_early: {at_most: -1}
#! norms.stuck_early.at_most: expected a number from 0 to 1, found number -1
=====
norms:
  too_few_attempts: {within: 1d, attempts: 0}
#! norms.too_few_attempts.attempts: expected an integer from 1 to 1000, found number 0
  response_slow: {at_most: 1h, quantile: 1}
#! norms.response_slow.quantile: expected a number between 0 and 1, exclusive, found number 1
=====
norms:
  terms:
    policies:
    - max_discount_percent: 150
#! norms.terms.policies[0].max_discount_percent: expected a number from 0 to 100, found number 150
      min_prepayment_percent: '30'
#! norms.terms.policies[0].min_prepayment_percent: expected a number from 0 to 100, found string `30`; remove the quotes
=====
norms: {message_unanswered: {within: 1h,
 channels: [EMAIL, email, FAX]}}
#! norms.message_unanswered.channels[1]: expected one of EMAIL, CHAT, SMS, MESSENGER, found string `email`; did you mean
#!   `EMAIL`?
#! norms.message_unanswered.channels[2]: expected one of EMAIL, CHAT, SMS, MESSENGER, found string `FAX`
=====
norms:
  neglected:
    within: 1h
    escalate_after: [2h, 1h]
#! norms.neglected.escalate_after: expected ascending durations
  stage_overdue: {escalate_after: [1h, 1h]}
#! norms.stage_overdue.escalate_after: expected ascending durations
=====
norms:
  neglected: {within: 1d, clock: business, escalate_after: [1h, 2d]}
#! norms.neglected.escalate_after: 2d is in days, which business clocks do not support; use hours
#! norms.neglected.within: 1d is in days, which business clocks do not support; use hours
=====
norms:
  response_slow: {clock: business,
    at_most: 1d}
#! norms.response_slow.at_most: 1d is in days, which business clocks do not support; use hours
=====
pipelines:
  a:
    entity: deal
    stages:
    - id: x
      max_time: 3d
#! pipelines.a.stages[0].max_time: 3d is in days, but `stage_overdue` counts business time; use hours
    - {id: y, max_time: 3h}
norms: {stage_overdue: {clock: business}}
=====
windows:
- {size: 1h, slide: 7m}
#! windows[0].slide: size 1h is not a multiple of slide 7m
- {size: 7d, slide: 1m}
#! windows[1].slide: size 7d is 10080 slides, expected at most 10000
- size: 1h
  slide: 2h
#! windows[2].slide: size 1h is not a multiple of slide 2h
- {size: 1h, slide: 1m}
- {size: 60m, slide: 1m}
#! windows[4].slide: duplicate window of size 1h; sizes must be unique
=====
windows: []
#! windows: expected a non-empty list of mappings, found an empty list
=====
norms:
  quality_low: {at_least: 60, window: 3d}
#! norms.quality_low.window: unknown window 3d; expected one of 1h, 1d, 7d, 30d
=====
calendar: moskow
#! calendar: unknown calendar `moskow`; did you mean `moscow`?
calendars:
  moscow: {timezone: Europe/Moscow, week: {}}
=====
calendars:
  a:
    timezone: Europe/Moskow
#! calendars.a.timezone: expected an IANA time zone such as Europe/Moscow, found string `Europe/Moskow`
    week:
      mon: ["9-18", "18:00-09:00"]
#! calendars.a.week.mon[0]: expected an interval such as 09:00-18:00, found string `9-18`
#! calendars.a.week.mon[1]: expected an interval such as 09:00-18:00, found string `18:00-09:00`
      mun: []
#! calendars.a.week.mun: unknown key; did you mean `mon`?
    days:
      2026-02-29: []
#! calendars.a.days.2026-02-29: expected a date such as 2026-01-31, found `2026-02-29`
      2026-1-1: []
#! calendars.a.days.2026-1-1: expected a date such as 2026-01-31, found `2026-1-1`
    years: [26]
#! calendars.a.years[0]: expected an integer from 1900 to 2199, found number 26
=====
calendars:
  a:
    timezone: UTC
    week:
      mon: ["09:00-13:00", "12:00-18:00"]
#! calendars.a.week.mon: overlapping hours on mon: 09:00-13:00 and 12:00-18:00
    years: [2026]
    days:
      2026-01-01: []
      2026-01-02: ["09:00-13:00", "12:00-18:00"]
#! calendars.a.days.2026-01-02: overlapping hours on 2026-01-02: 09:00-13:00 and 12:00-18:00
=====
pipelines:
  a:
    entity: contact
#! pipelines.a.entity: expected one of lead, deal, found string `contact`
    stages:
    - {id: x}
    - {early: true}
#! pipelines.a.stages[1].id: required key is missing: the CRM id of the stage
    - {id: x, max_time: 0h}
#! pipelines.a.stages[2].id: duplicate stage `x` in this pipeline
#! pipelines.a.stages[2].max_time: expected a duration such as 90s, 15m, 4h or 7d, found string `0h`
  b: {entity: deal}
#! pipelines.b.stages: required key is missing: the stages, in order
=====
overrides:
- norms: {}
#! overrides[0].when: required key is missing: where the override applies: all keys that are set must match
- when: {tenant: a, source: b}
#! overrides[1].when.source: unknown key; did you mean `source_id`?
  windows: []
#! overrides[1].windows: unknown key; expected one of when, calendar, norms, review_sampling
  calendar: x
#! overrides[1].calendar: unknown calendar `x`
"#;

/// Norms that are valid or invalid in their merged form, base and overrides together.
pub(crate) const LAYERS: &str = r#"norms: {neglected: {within: 2d}, conversion_low: {at_least: 0.2}}
overrides:
# An override may set part of a rule, and a disabled rule needs no keys.
- when: {tenant: a}
  norms: {neglected: {severity: info}, too_few_attempts: {enabled: false}}
=====
overrides:
- when: {tenant: a}
  norms: {too_few_attempts: {within: 1d}}
#! overrides[0].norms.too_few_attempts.attempts: required key is missing: number of touches required
=====
# A fault of the base is reported there, not again in every override.
norms: {neglected: {clock: wall}}
#! norms.neglected.within: required key is missing: the deadline, measured from the anchor on the rule's clock
overrides:
- {when: {tenant: a}, norms: {neglected: {severity: info}}}
=====
# Base and override combined.
norms:
  neglected: {within: 2d}
  conversion_low: {at_least: 0.2}
overrides:
- when: {tenant: a}
  norms: {neglected: {clock: business}}
#! overrides[0].norms.neglected.within: 2d is in days, which business clocks do not support; use hours
- when: {tenant: b}
  norms: {neglected: {clock: business, within: 16h}}
# Of two mutually exclusive limits, the later one applies.
- when: {tenant: c}
  norms: {conversion_low: {of_department: 0.5}}
- when: {tenant: c, department: d}
  norms: {conversion_low: {at_least: 0.2, of_department: 0.5}}
#! overrides[3].norms.conversion_low.at_least: `at_least` and `of_department` are mutually exclusive
=====
# An override inherits keys only from earlier overrides that cover its whole scope.
overrides:
- when: {tenant: a}
  norms: {too_few_attempts: {within: 1d, attempts: 2}}
- when: {tenant: a, department: b}
  norms: {too_few_attempts: {attempts: 3}}
- when: {tenant: b}
  norms: {too_few_attempts: {attempts: 3}}
#! overrides[2].norms.too_few_attempts.within: required key is missing: the deadline, measured from the anchor on the
#!   rule's clock
=====
# Two overrides that are valid alone and invalid together.
overrides:
- when: {tenant: a}
  norms: {source_silent: {within: 3h, clock: business}}
- when: {department: b}
  norms: {source_silent: {within: 1d}}
#! overrides[1].norms.source_silent.within: 1d is in days, which business clocks do not support; use hours (where the
#!   override on line 4 also applies)
- when: {tenant: c}
  norms: {source_silent: {within: 1d}}
=====
# Rows of terms and `per_day` are required wherever they are needed, from any layer.
overrides:
- when: {tenant: a}
  norms: {terms: {policies: [{max_discount_percent: 5}]}}
  review_sampling: {per_day: 3}
- when: {tenant: a, department: b}
  norms: {terms: {approvers: [boss]}, discount_over_limit: {severity: info}}
  review_sampling: {min_talk_seconds: 30}
- when: {department: b}
  norms: {terms: {approvers: [boss]}}
#! overrides[2].norms.terms.policies: required key is missing: without rows, terms cannot be checked
  review_sampling: {min_talk_seconds: 30}
#! overrides[2].review_sampling.per_day: required key is missing: the number of samples per manager and day
- when: {tenant: c}
  norms: {terms: {enabled: false, approvers: [boss]}}
- when: {tenant: d}
  norms: {discount_over_limit: {severity: info}, prepayment_too_low: {enabled: false}}
#! overrides[4].norms.discount_over_limit: the rule requires `norms.terms`, which is missing
=====
# All problems are reported at once.
windows: [{size: 1h, slide: 7m}]
#! windows[0].slide: size 1h is not a multiple of slide 7m
default_country: US
#! default_country: expected one of RU, KZ, found string `US`
calendar: moscow
#! calendar: unknown calendar `moscow`
norms:
  neglected: {within: 5}
#! norms.neglected.within: expected a duration such as 90s, 15m, 4h or 7d, found number 5; the unit is missing
  neglected: {within: 1h}
#! norms.neglected: duplicate key, first defined on line 9
  stage_overdu: {}
#! norms.stage_overdu: unknown key; did you mean `stage_overdue`?
  too_few_attempts: {within: 1d, clock: business}
#! norms.too_few_attempts.attempts: required key is missing: number of touches required
#! norms.too_few_attempts.within: 1d is in days, which business clocks do not support; use hours
overrides:
- when: {tenant: a}
  norms: {conversion_low: {}}
#! overrides[0].norms.conversion_low.at_least: required key is missing: `at_least` or `of_department`
"#;

/// Norms documents that are valid but suspicious.
pub(crate) const NORMS_NOTED: &str = r#"norms: {}
#! norms: no rule is enabled: nothing is supervised
=====
norms:
  neglected: {within: 1h, clock: business}
#! norms.neglected.clock: business clock without a calendar: the clock counts wall time
=====
calendars:
  a:
    timezone: UTC
    week: {mon: []}
#! calendars.a.week: the week has no working hours: business clocks do not advance
    days:
      2025-01-01: []
#! calendars.a.days: 2025-01-01 is listed, but 2025 is not in `years`
      2025-01-02: []
calendar: a
norms: {neglected: {within: 1h, clock: business}}
=====
norms:
  stage_skipped: {}
#! norms.stage_skipped: no stage is `required`: the rule never applies
  stage_reverted: {enabled: false}
  stage_overdue: {}
#! norms.stage_overdue: no stage has a `max_time`: the rule never applies
  stuck_early: {at_most: 0.5}
#! norms.stuck_early: no stage is `early` and has a `max_time`: the rule never applies
  stage_requirements_unmet: {escalate_after: [1h]}
#! norms.stage_requirements_unmet: no stage `requires` anything: the rule never applies
#! norms.stage_requirements_unmet.escalate_after: an act has no duration: the rule never escalates
=====
norms:
  terms:
    policies:
    - {grade: senior, amount_minor_below: 100}
    - {pipeline: sale}
#! norms.terms.policies[1].pipeline: unknown pipeline `sale`; did you mean `sales`?
    - {grade: senior, pipeline: sale, max_discount_percent: 5}
#! norms.terms.policies[2]: unreachable row: row 2 always matches first
#! norms.terms.policies[2].pipeline: unknown pipeline `sale`; did you mean `sales`?
    - {}
    - {}
#! norms.terms.policies[4]: unreachable row: row 4 always matches first
pipelines: {sales: {entity: deal, stages: [{id: a}]}}
=====
norms: {quality_low: {at_least: 60}}
overrides:
- when: {}
#! overrides[0].when: no key is set: the override applies everywhere
  norms: {quality_low: {at_least: 50}}
- when: {source_id: a}
  norms: {quality_low: {at_least: 50}}
#! overrides[1].norms.quality_low: the rule is evaluated per manager: an override by pipeline or source never applies
  review_sampling: {per_day: 3}
#! overrides[1].review_sampling: reviews are sampled per manager: an override by pipeline or source never applies
- when: {pipeline: b}
#! overrides[2].when.pipeline: unknown pipeline `b`
=====
norms: {disqualified_without_reason: {allowed_reasons: []}}
#! norms.disqualified_without_reason.allowed_reasons: no reason is accepted: every such outcome is a violation
"#;

/// Invalid configurations.
pub(super) const CONFIG_INVALID: &str = r#"kafka:
  client: {enable.auto.commit: true}
#! kafka.client.enable.auto.commit: property cannot be set: offsets are committed only in the transaction that holds the
#!   results
  consumer:
    group.id: x
#! kafka.consumer.group.id: property cannot be set: set `kafka.group` instead
    isolation.level: y
#! kafka.consumer.isolation.level: property cannot be set: uncommitted messages may be aborted after results derived
#!   from them were committed
=====
redis:
  url: rediss://:hunter2@redis
#! redis.url: expected an address such as redis://redis:6379/0, found a TLS address; TLS is not supported, use a proxy
  prefix: a{b
#! redis.prefix: expected letters, digits, `.`, `_`, `-` and `:`, found string `a{b`
  ttl: 1s
#! redis.ttl: expected a duration from 10s to 3653d, found string `1s`
  queue: 0
#! redis.queue: expected an integer from 1 to 100000, found number 0
=====
redis:
  url: hunter2@redis
#! redis.url: expected an address such as redis://redis:6379/0, found another format
=====
redis: {}
#! redis.url: required key is missing: address of Redis, such as `redis://redis:6379/0`; TLS is not supported
=====
kafka: {client: {sasl.password: '${GONE}', a b: c}, bootstrap: ''}
#! kafka.bootstrap: expected a non-empty string
#! kafka.client.a b: expected the name of a librdkafka property, found `a b`
#! kafka.client.sasl.password: environment variable GONE is not set
=====
topics:
  crm: crm.events
#! topics.crm: expected a mapping, found string `crm.events`
  email: {name: a/b}
#! topics.email.name: expected a topic name of letters, digits, `.`, `_` and `-`, found string `a/b`
  alerts: telephony.events
#! topics.alerts: `telephony.events` is already used by `telephony`; topic names must be distinct
  state: funnelwatch.dlq
#! topics.state: `funnelwatch.dlq` is already used by `dead_letters`; topic names must be distinct
  output: confluent_protobuf
#! topics.output: expected one of json, protobuf, found string `confluent_protobuf`
=====
time:
  allowed_lateness: 1h
  correction_horizon: 1m
#! time.correction_horizon: 1m is less than `allowed_lateness` (1h): events within the allowed lateness would be
#!   rejected
  retention: 2d
#! time.retention: 2d is less than the longest window (30d) plus `correction_horizon` (1m): figures would miss finished
#!   leads and deals
=====
engine: {epoch: 1m, workers: -1, max_message_bytes: 1KB}
#! engine.epoch: expected a duration from 1ms to 10s, found string `1m`
#! engine.max_message_bytes: expected a size from 1KiB to 16MiB, found string `1KB`
#! engine.workers: expected an integer from 0 to 256, found number -1
time: {allowed_lateness: 10}
#! time.allowed_lateness: expected a duration from 0s to 1d, found number 10; the unit is missing
http: localhost:80
#! http: expected an address and port such as 127.0.0.1:9464 or [::]:9464, found string `localhost:80`
=====
engine: {wrkers: 3}
#! engine.wrkers: unknown key; did you mean `workers`?
norm_file: x
#! norm_file: unknown key; did you mean `norms_file`?
"#;
