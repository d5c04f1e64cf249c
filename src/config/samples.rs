//! Owns the documents that the tests of the configuration read.
//!
//! In the lists of documents a line `#! …` tells what is expected of the line above it (`#!   …` goes on with it), and
//! `=====` stands between documents.

/// The documents of a list, each with what is expected of it as `LINE: …`.
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

/// A norms document with something of everything.
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

/// Norms documents with problems.
pub(super) const NORMS_REFUSED: &str = r#"norm: {}
#! norm: unknown key, did you mean `norms`?
=====
norms:
  first_response: {within: 1h}
#! norms.first_response: unknown key, did you mean `first_response_late`?
=====
norms:
  stage_reverted: {within: 1h}
#! norms.stage_reverted.within: unknown key, wanted one of enabled, severity, escalate_after
=====
norms:
  prepayment_too_low: {escalate_after: [1h]}
#! norms.prepayment_too_low.escalate_after: unknown key, wanted one of enabled, severity
  terms: {policies: [{}]}
=====
norms: {neglected: {witin: 1h}}
#! norms.neglected.witin: unknown key, did you mean `within`?
=====
norms:
  neglected: 16h
#! norms.neglected: wanted a mapping, found the text `16h`
=====
norms:
  neglected: {clock: wall}
#! norms.neglected.within: this key is missing: the deadline, counted from the anchor on the rule's clock
  too_few_attempts:
#! norms.too_few_attempts.attempts: this key is missing: how many touches are wanted
    within: 1d
=====
norms:
  conversion_low: {min_sample: 5}
#! norms.conversion_low.at_least: one of `at_least` and `of_department` is wanted
=====
norms:
  conversion_low: {at_least: 0.2,
#! norms.conversion_low.at_least: of `at_least` and `of_department` only one may be in force
    of_department: 0.5}
=====
norms:
  response_slow: {at_most: 0.5}
#! norms.response_slow.at_most: wanted a length of time such as 90s, 15m, 4h or 7d, found the number 0.5
=====
norms:
  terms: {approvers: [a]}
#! norms.terms.policies: this key is missing: without rows nothing is judged
=====
norms:
  discount_over_limit: {}
#! norms.discount_over_limit: the rule is judged by `norms.terms`, which is missing
=====
review_sampling:
#! review_sampling.per_day: this key is missing: how many to pick
  min_talk_seconds: 5
=====
norms:
  conversion_low: {at_least: 20}
#! norms.conversion_low.at_least: wanted a number from 0 to 1, found the number 20
  quality_low: {at_least: 101}
#! norms.quality_low.at_least: wanted a number from 0 to 100, found the number 101
  stuck_early: {at_most: -1}
#! norms.stuck_early.at_most: wanted a number from 0 to 1, found the number -1
=====
norms:
  too_few_attempts: {within: 1d, attempts: 0}
#! norms.too_few_attempts.attempts: wanted a whole number from 1 to 1000, found the number 0
  response_slow: {at_most: 1h, quantile: 1}
#! norms.response_slow.quantile: wanted a number above 0 and below 1, found the number 1
=====
norms:
  terms:
    policies:
    - max_discount_percent: 150
#! norms.terms.policies[0].max_discount_percent: wanted a number from 0 to 100, found the number 150
      min_prepayment_percent: '30'
#! norms.terms.policies[0].min_prepayment_percent: wanted a number from 0 to 100, found the text `30`: take the
#!   quotes away
=====
norms: {message_unanswered: {within: 1h,
 channels: [EMAIL, email, FAX]}}
#! norms.message_unanswered.channels[1]: wanted one of EMAIL, CHAT, SMS, MESSENGER, found the text `email`, did you
#!   mean `EMAIL`?
#! norms.message_unanswered.channels[2]: wanted one of EMAIL, CHAT, SMS, MESSENGER, found the text `FAX`
=====
norms:
  neglected:
    within: 1h
    escalate_after: [2h, 1h]
#! norms.neglected.escalate_after: the steps are not ascending
  stage_overdue: {escalate_after: [1h, 1h]}
#! norms.stage_overdue.escalate_after: the steps are not ascending
=====
norms:
  neglected: {within: 1d, clock: business, escalate_after: [1h, 2d]}
#! norms.neglected.escalate_after: 2d is in days, which a business clock does not have: write hours
#! norms.neglected.within: 1d is in days, which a business clock does not have: write hours
=====
norms:
  response_slow: {clock: business,
    at_most: 1d}
#! norms.response_slow.at_most: 1d is in days, which a business clock does not have: write hours
=====
pipelines:
  a:
    entity: deal
    stages:
    - id: x
      max_time: 3d
#! pipelines.a.stages[0].max_time: 3d is in days, though `stage_overdue` counts business time: write hours
    - {id: y, max_time: 3h}
norms: {stage_overdue: {clock: business}}
=====
windows:
- {size: 1h, slide: 7m}
#! windows[0].slide: the size 1h is no multiple of the slide 7m
- {size: 7d, slide: 1m}
#! windows[1].slide: the size 7d is 10080 slides, wanted at most 10000
- size: 1h
  slide: 2h
#! windows[2].slide: the size 1h is no multiple of the slide 2h
- {size: 1h, slide: 1m}
- {size: 60m, slide: 1m}
#! windows[4].slide: there is another window of 1h; a window is known by its size
=====
windows: []
#! windows: wanted a list, not empty, of mappings, found an empty list
=====
norms:
  quality_low: {at_least: 60, window: 3d}
#! norms.quality_low.window: there is no window of 3d among `windows`: 1h, 1d, 7d, 30d
=====
calendar: moskow
#! calendar: there is no calendar `moskow`, did you mean `moscow`?
calendars:
  moscow: {timezone: Europe/Moscow, week: {}}
=====
calendars:
  a:
    timezone: Europe/Moskow
#! calendars.a.timezone: wanted an IANA time zone such as Europe/Moscow, found the text `Europe/Moskow`
    week:
      mon: ["9-18", "18:00-09:00"]
#! calendars.a.week.mon[0]: wanted an interval such as 09:00-18:00, found the text `9-18`
#! calendars.a.week.mon[1]: wanted an interval such as 09:00-18:00, found the text `18:00-09:00`
      mun: []
#! calendars.a.week.mun: unknown key, did you mean `mon`?
    days:
      2026-02-29: []
#! calendars.a.days.2026-02-29: wanted a date such as 2026-01-31, found `2026-02-29`
      2026-1-1: []
#! calendars.a.days.2026-1-1: wanted a date such as 2026-01-31, found `2026-1-1`
    years: [26]
#! calendars.a.years[0]: wanted a whole number from 1900 to 2199, found the number 26
=====
calendars:
  a:
    timezone: UTC
    week:
      mon: ["09:00-13:00", "12:00-18:00"]
#! calendars.a.week.mon: reading the hours of mon: 09:00-13:00 and 12:00-18:00 overlap
    years: [2026]
    days:
      2026-01-01: []
      2026-01-02: ["09:00-13:00", "12:00-18:00"]
#! calendars.a.days.2026-01-02: reading the hours of 2026-01-02: 09:00-13:00 and 12:00-18:00 overlap
=====
pipelines:
  a:
    entity: contact
#! pipelines.a.entity: wanted one of lead, deal, found the text `contact`
    stages:
    - {id: x}
    - {early: true}
#! pipelines.a.stages[1].id: this key is missing: the CRM's id of the stage
    - {id: x, max_time: 0h}
#! pipelines.a.stages[2].id: there is another stage `x` in this pipeline
#! pipelines.a.stages[2].max_time: wanted a length of time such as 90s, 15m, 4h or 7d, found the text `0h`
  b: {entity: deal}
#! pipelines.b.stages: this key is missing: its stages, in order
=====
overrides:
- norms: {}
#! overrides[0].when: this key is missing: where it applies: every key that is given must match
- when: {tenant: a, source: b}
#! overrides[1].when.source: unknown key, did you mean `source_id`?
  windows: []
#! overrides[1].windows: unknown key, wanted one of when, calendar, norms, review_sampling
  calendar: x
#! overrides[1].calendar: there is no calendar `x`
"#;

/// Norms that are right or wrong as they are in force, base and overrides together.
pub(crate) const LAYERS: &str = r#"norms: {neglected: {within: 2d}, conversion_low: {at_least: 0.2}}
overrides:
# A part of a rule is enough, and a rule that is off needs nothing.
- when: {tenant: a}
  norms: {neglected: {severity: info}, too_few_attempts: {enabled: false}}
=====
overrides:
- when: {tenant: a}
  norms: {too_few_attempts: {within: 1d}}
#! overrides[0].norms.too_few_attempts.attempts: this key is missing: how many touches are wanted
=====
# A fault of the base is told there, not again in every override.
norms: {neglected: {clock: wall}}
#! norms.neglected.within: this key is missing: the deadline, counted from the anchor on the rule's clock
overrides:
- {when: {tenant: a}, norms: {neglected: {severity: info}}}
=====
# What the base says meets what the override says.
norms:
  neglected: {within: 2d}
  conversion_low: {at_least: 0.2}
overrides:
- when: {tenant: a}
  norms: {neglected: {clock: business}}
#! overrides[0].norms.neglected.within: 2d is in days, which a business clock does not have: write hours
- when: {tenant: b}
  norms: {neglected: {clock: business, within: 16h}}
# Of two limits that exclude each other the later one counts.
- when: {tenant: c}
  norms: {conversion_low: {of_department: 0.5}}
- when: {tenant: c, department: d}
  norms: {conversion_low: {at_least: 0.2, of_department: 0.5}}
#! overrides[3].norms.conversion_low.at_least: of `at_least` and `of_department` only one may be in force
=====
# An override leaves to an earlier one what that says wherever it applies itself, and nothing else.
overrides:
- when: {tenant: a}
  norms: {too_few_attempts: {within: 1d, attempts: 2}}
- when: {tenant: a, department: b}
  norms: {too_few_attempts: {attempts: 3}}
- when: {tenant: b}
  norms: {too_few_attempts: {attempts: 3}}
#! overrides[2].norms.too_few_attempts.within: this key is missing: the deadline, counted from the anchor on the
#!   rule's clock
=====
# Two overrides that are right alone and wrong together.
overrides:
- when: {tenant: a}
  norms: {source_silent: {within: 3h, clock: business}}
- when: {department: b}
  norms: {source_silent: {within: 1d}}
#! overrides[1].norms.source_silent.within: 1d is in days, which a business clock does not have: write hours (where
#!   the override of line 4 applies too)
- when: {tenant: c}
  norms: {source_silent: {within: 1d}}
=====
# Rows of terms and the number to pick are wanted wherever they are needed, from whichever layer.
overrides:
- when: {tenant: a}
  norms: {terms: {policies: [{max_discount_percent: 5}]}}
  review_sampling: {per_day: 3}
- when: {tenant: a, department: b}
  norms: {terms: {approvers: [boss]}, discount_over_limit: {severity: info}}
  review_sampling: {min_talk_seconds: 30}
- when: {department: b}
  norms: {terms: {approvers: [boss]}}
#! overrides[2].norms.terms.policies: this key is missing: without rows nothing is judged
  review_sampling: {min_talk_seconds: 30}
#! overrides[2].review_sampling.per_day: this key is missing: how many to pick
- when: {tenant: c}
  norms: {terms: {enabled: false, approvers: [boss]}}
- when: {tenant: d}
  norms: {discount_over_limit: {severity: info}, prepayment_too_low: {enabled: false}}
#! overrides[4].norms.discount_over_limit: the rule is judged by `norms.terms`, which is missing
=====
# Everything can be wrong at once.
windows: [{size: 1h, slide: 7m}]
#! windows[0].slide: the size 1h is no multiple of the slide 7m
default_country: US
#! default_country: wanted one of RU, KZ, found the text `US`
calendar: moscow
#! calendar: there is no calendar `moscow`
norms:
  neglected: {within: 5}
#! norms.neglected.within: wanted a length of time such as 90s, 15m, 4h or 7d, found the number 5: the unit is missing
  neglected: {within: 1h}
#! norms.neglected: the key is given twice, first on line 9
  stage_overdu: {}
#! norms.stage_overdu: unknown key, did you mean `stage_overdue`?
  too_few_attempts: {within: 1d, clock: business}
#! norms.too_few_attempts.attempts: this key is missing: how many touches are wanted
#! norms.too_few_attempts.within: 1d is in days, which a business clock does not have: write hours
overrides:
- when: {tenant: a}
  norms: {conversion_low: {}}
#! overrides[0].norms.conversion_low.at_least: one of `at_least` and `of_department` is wanted
"#;

/// Norms documents that are legal and yet suspicious.
pub(crate) const NORMS_NOTED: &str = r#"norms: {}
#! norms: no rule is named: nothing is supervised
=====
norms:
  neglected: {within: 1h, clock: business}
#! norms.neglected.clock: the clock is a business one, but no calendar is set here: wall time counts
=====
calendars:
  a:
    timezone: UTC
    week: {mon: []}
#! calendars.a.week: the week has no working hours: business clocks stand still
    days:
      2025-01-01: []
#! calendars.a.days: 2025-01-01 is listed, but 2025 is not among `years`
      2025-01-02: []
calendar: a
norms: {neglected: {within: 1h, clock: business}}
=====
norms:
  stage_skipped: {}
#! norms.stage_skipped: no stage is `required`: the rule never holds
  stage_reverted: {enabled: false}
  stage_overdue: {}
#! norms.stage_overdue: no stage has a `max_time`: the rule never holds
  stuck_early: {at_most: 0.5}
#! norms.stuck_early: no stage is `early` and has a `max_time`: the rule never holds
  stage_requirements_unmet: {escalate_after: [1h]}
#! norms.stage_requirements_unmet: no stage `requires` anything: the rule never holds
#! norms.stage_requirements_unmet.escalate_after: the rule is about an act, which has no duration: it never escalates
=====
norms:
  terms:
    policies:
    - {grade: senior, amount_minor_below: 100}
    - {pipeline: sale}
#! norms.terms.policies[1].pipeline: there is no pipeline `sale` among `pipelines`, did you mean `sales`?
    - {grade: senior, pipeline: sale, max_discount_percent: 5}
#! norms.terms.policies[2]: the row is never reached: row 2 fits wherever it does
#! norms.terms.policies[2].pipeline: there is no pipeline `sale` among `pipelines`, did you mean `sales`?
    - {}
    - {}
#! norms.terms.policies[4]: the row is never reached: row 4 fits wherever it does
pipelines: {sales: {entity: deal, stages: [{id: a}]}}
=====
norms: {quality_low: {at_least: 60}}
overrides:
- when: {}
#! overrides[0].when: no key is given: the override applies everywhere
  norms: {quality_low: {at_least: 50}}
- when: {source_id: a}
  norms: {quality_low: {at_least: 50}}
#! overrides[1].norms.quality_low: the rule judges managers: an override by pipeline or source never applies to it
  review_sampling: {per_day: 3}
#! overrides[1].review_sampling: reviews are picked per manager: an override by pipeline or source never applies to them
- when: {pipeline: b}
#! overrides[2].when.pipeline: there is no pipeline `b` among `pipelines`
=====
norms: {disqualified_without_reason: {allowed_reasons: []}}
#! norms.disqualified_without_reason.allowed_reasons: no reason is a good one: every such ending is a violation
"#;

/// Configurations with problems.
pub(super) const CONFIG_REFUSED: &str = r#"kafka:
  client: {enable.auto.commit: true}
#! kafka.client.enable.auto.commit: the property is not to be set: offsets are committed in the transaction of what
#!   came of them, and nowhere else
  consumer:
    group.id: x
#! kafka.consumer.group.id: the property is not to be set: it is `kafka.group`
    isolation.level: y
#! kafka.consumer.isolation.level: the property is not to be set: uncommitted messages may be taken back, what came
#!   of them could not
=====
redis:
  url: rediss://:hunter2@redis
#! redis.url: wanted an address such as redis://redis:6379/0, found TLS, which is not spoken here: put a proxy between
  prefix: a{b
#! redis.prefix: wanted letters, digits, `.`, `_`, `-` and `:`, found the text `a{b`
  ttl: 1s
#! redis.ttl: wanted a length of time from 10s to 3653d, found the text `1s`
  queue: 0
#! redis.queue: wanted a whole number from 1 to 100000, found the number 0
=====
redis:
  url: hunter2@redis
#! redis.url: wanted an address such as redis://redis:6379/0, found something else
=====
redis: {}
#! redis.url: this key is missing: where Redis is, such as `redis://redis:6379/0`; without TLS
=====
kafka: {client: {sasl.password: '${GONE}', a b: c}, bootstrap: ''}
#! kafka.bootstrap: the text is empty
#! kafka.client.a b: wanted the name of a librdkafka property, found `a b`
#! kafka.client.sasl.password: the environment variable GONE is not set
=====
topics:
  crm: crm.events
#! topics.crm: wanted a mapping, found the text `crm.events`
  email: {name: a/b}
#! topics.email.name: wanted a topic name of letters, digits, `.`, `_` and `-`, found the text `a/b`
  alerts: telephony.events
#! topics.alerts: `telephony.events` is also the topic of `telephony`; each must be its own
  state: funnelwatch.dlq
#! topics.state: `funnelwatch.dlq` is also the topic of `dead_letters`; each must be its own
  output: confluent_protobuf
#! topics.output: wanted one of json, protobuf, found the text `confluent_protobuf`
=====
time:
  allowed_lateness: 1h
  correction_horizon: 1m
#! time.correction_horizon: 1m is less than the allowed lateness of 1h: events in time would be too late
  retention: 2d
#! time.retention: 2d is less than the longest window (30d) and the correction horizon (1m) together: figures would
#!   miss finished leads and deals
=====
engine: {epoch: 1m, workers: -1, max_message_bytes: 1KB}
#! engine.epoch: wanted a length of time from 1ms to 10s, found the text `1m`
#! engine.max_message_bytes: wanted a size from 1KiB to 16MiB, found the text `1KB`
#! engine.workers: wanted a whole number from 0 to 256, found the number -1
time: {allowed_lateness: 10}
#! time.allowed_lateness: wanted a length of time from 0s to 1d, found the number 10: the unit is missing
http: localhost:80
#! http: wanted an address and port such as 127.0.0.1:9464 or [::]:9464, found the text `localhost:80`
=====
engine: {wrkers: 3}
#! engine.wrkers: unknown key, did you mean `workers`?
norm_file: x
#! norm_file: unknown key, did you mean `norms_file`?
"#;
