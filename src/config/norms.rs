//! Reads norms from YAML into [`Norms`]. Accepted norms are complete and consistent in every scope: base and overrides
//! are merged before they are checked. Rejects unknown keys.
//!
//! Rule defaults are not filled in, so that a layer holds only what it sets; the rules apply them.

use super::calendars::Calendars;
use super::schema::canonical;
use super::schema::env::{Env, SystemEnv};
use super::schema::problem::{Problem, Problems, sorted, unreadable};
use super::schema::reader::Reader;
use super::schema::value::{Table, Value};
use super::{check, keys, params, targets};
use crate::domain::id::EntityKind;
use crate::domain::identity::{Country, IgnoredContacts};
use crate::domain::norms::params::Params;
use crate::domain::norms::{
    Layer, Norms, Override, Pipeline, SamplingParams, SharedScopes, Stage, TermsParams, TermsPolicy,
};
use crate::domain::rule::Rule;
use crate::domain::rule::message::Language;
use crate::domain::time::window::Window;
use crate::domain::time::{Length, Span};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A parsed norms document.
#[derive(Clone, Debug)]
pub struct Document {
    /// The norms.
    pub norms: Norms,
    /// The language of alert messages.
    pub language: Language,
    /// Valid but suspicious settings.
    pub notes: Vec<Problem>,
    /// All files that were read, including those that only values were taken from.
    pub files: Vec<PathBuf>,
}

/// Reads the norms document at `path`.
pub fn load_norms(path: &Path) -> Result<Document, Problems> {
    let file = path.display().to_string();
    let text = SystemEnv.file(path).map_err(|error| Problems(vec![unreadable(&file, &error)]))?;
    let mut document = parse_norms(&file, &text)?;
    document.files.insert(0, path.into());
    Ok(document)
}

/// Reads the norms document `text`; `file` is its name in problems and the base of relative paths.
pub fn parse_norms(file: &str, text: &str) -> Result<Document, Problems> {
    parse_with(file, text, &SystemEnv)
}

/// Restores norms from [`Norms::document`]. They are not checked again across layers: they were valid when they came
/// into force.
pub fn restore_norms(document: &str) -> Result<Norms, String> {
    let mut reader = Reader::new("", document, &SystemEnv);
    let mut root = reader.document(&[keys::EFFECTIVE]);
    let (norms, _) = read(&mut reader, &mut root);
    match reader.problems.first() {
        None => Ok(norms),
        Some(Problem { path, text, .. }) if path.is_empty() => Err(text.clone()),
        Some(Problem { path, text, .. }) => Err(format!("{path}: {text}")),
    }
}

fn parse_with(file: &str, text: &str, env: &dyn Env) -> Result<Document, Problems> {
    let mut reader = Reader::new(file, text, env);
    let mut root = reader.document(keys::NORMS);
    let (norms, language) = build(&mut reader, &mut root);
    if !reader.problems.is_empty() {
        return Err(Problems(sorted(reader.problems)));
    }
    Ok(Document { norms, language, notes: sorted(reader.notes), files: reader.files })
}

/// Builds and checks the norms and the language from the keys of a document. The result is valid only if there are no
/// problems.
pub(super) fn build(reader: &mut Reader<'_>, root: &mut Table) -> (Norms, Language) {
    let (norms, calendars) = read(reader, root);
    check::check(reader, root, &norms, calendars.names());
    (norms, root.get("language").unwrap_or_default())
}

/// Reads the norms; calendars of included files become part of the document.
fn read(reader: &mut Reader<'_>, root: &mut Table) -> (Norms, Calendars) {
    let windows = windows(reader, root);
    let calendars = Calendars::read(reader, root);
    let pipelines = root.map("pipelines").iter();
    let overrides = root.list("overrides").iter().filter_map(Value::table);
    let country = root.get("default_country").unwrap_or_default();
    let norms = Norms {
        document: canonical::write(root, keys::EFFECTIVE),
        calendars: calendars.built.clone(),
        pipelines: pipelines
            .filter_map(|(id, value)| Some((id.as_str().into(), pipeline(reader, value.table()?))))
            .collect(),
        min_talk: root.get("min_talk_seconds").map(Span::from_seconds).unwrap_or_default(),
        conversation_needs_manager: root.get("conversation_needs_manager").unwrap_or_default(),
        shared_contact_limit: root.get("shared_contact_limit").unwrap_or_default(),
        excluded_reasons: root.get("excluded_reasons").unwrap_or_default(),
        country,
        privacy_key: root.text("privacy_key").map(Into::into),
        base: layer(reader, root, &windows, country),
        overrides: overrides.map(|table| override_layer(reader, table, &windows, country)).collect(),
        windows,
        scopes: SharedScopes::default(),
    };
    (norms, calendars)
}

fn windows(reader: &mut Reader<'_>, root: &Table) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    for item in root.list("windows") {
        let Some((table, Length { span: size, in_days }, slide)) =
            item.table().and_then(|table| Some((table, table.get("size")?, table.get::<Length>("slide")?.span)))
        else {
            continue;
        };
        let window = Window { size, in_days, slide };
        let text = if slide < keys::MIN_SLIDE {
            format!("expected a slide of at least {}, found {slide}", keys::MIN_SLIDE)
        } else if size.0 % slide.0 != 0 {
            format!("size {size} is not a multiple of slide {slide}")
        } else if window.panes() > keys::MAX_PANES {
            format!("size {size} is {} slides, expected at most {}", window.panes(), keys::MAX_PANES)
        } else if windows.iter().any(|earlier| earlier.size == size) {
            format!("duplicate window of size {size}; sizes must be unique")
        } else {
            windows.push(window);
            continue;
        };
        reader.problem_of(table, "slide", text);
    }
    windows
}

fn pipeline(reader: &mut Reader<'_>, table: &Table) -> Pipeline {
    let mut stages: Vec<Stage> = Vec::new();
    for item in table.list("stages") {
        let Some((item, id)) = item.table().and_then(|item| Some((item, item.text("id")?))) else { continue };
        if stages.iter().any(|stage| stage.id.as_str() == id) {
            let text = format!("duplicate stage `{id}` in this pipeline");
            reader.problem_of(item, "id", text);
        }
        let names = |key| item.table("requires").and_then(|requires| requires.get(key)).unwrap_or_default();
        stages.push(Stage {
            id: id.into(),
            early: item.get("early").unwrap_or_default(),
            required: item.get("required").unwrap_or_default(),
            waiting: item.get("waiting").unwrap_or_default(),
            max_time: item.get("max_time"),
            requires_fields: names("fields"),
            requires_activities: names("activities"),
        });
    }
    Pipeline { entity: table.get("entity").unwrap_or(EntityKind::Deal), stages }
}

fn override_layer(reader: &mut Reader<'_>, table: &Table, windows: &[Window], country: Country) -> Override {
    let key = |name| table.table("when")?.get(name);
    Override {
        tenant: key("tenant"),
        department: key("department"),
        manager: key("manager"),
        pipeline: key("pipeline"),
        source: key("source_id"),
        layer: layer(reader, table, windows, country),
    }
}

fn layer(reader: &mut Reader<'_>, table: &Table, windows: &[Window], country: Country) -> Layer {
    let norms = table.table("norms");
    let mut rules = BTreeMap::new();
    for rule in Rule::ALL {
        if let Some(table) = norms.and_then(|norms| norms.table(rule.name())) {
            rules.insert(*rule, params(reader, *rule, table, windows));
        }
    }
    let shared = norms.and_then(|norms| norms.table("terms"));
    if let Some(shared) = shared {
        // `terms` applies to all rules that it configures; keys under a rule's own name take precedence.
        for rule in keys::of_terms() {
            let params: &mut Params = rules.entry(rule).or_default();
            params.enabled = params.enabled.or(shared.get("enabled"));
            params.severity = params.severity.or(shared.get("severity"));
        }
    }
    let sampling = table.table("review_sampling").map(|table| SamplingParams {
        per_day: table.get("per_day"),
        min_talk: table.get("min_talk_seconds").map(Span::from_seconds),
    });
    Layer {
        calendar: table.get("calendar"),
        ignored_contacts: table.value("ignored_contacts").map(|_| ignored_contacts(reader, table, country)),
        rules,
        terms: shared.map(|table| terms(reader, table)).unwrap_or_default(),
        review_sampling: sampling.unwrap_or_default(),
        targets: targets::read(table),
    }
}

/// The contacts that are not customers. Problems do not repeat an entry: reloads log them.
fn ignored_contacts(reader: &mut Reader<'_>, table: &Table, country: Country) -> Arc<IgnoredContacts> {
    let items = table.list("ignored_contacts");
    for (index, item) in items.iter().enumerate() {
        if item.text().is_some_and(|text| IgnoredContacts::new([text], country).is_err()) {
            let path = format!("{}[{index}]", table.path_of("ignored_contacts"));
            let text = "expected a phone number, an e-mail address, @example.com for a domain or @name for a handle";
            reader.problem(item.line, path, text);
        }
    }
    Arc::new(IgnoredContacts::new(items.iter().filter_map(Value::text), country).unwrap_or_default())
}

fn params(reader: &mut Reader<'_>, rule: Rule, table: &Table, windows: &[Window]) -> Params {
    let params = params::read(keys::parameters_of(rule), table);
    let at = |key| (table.line_of(key), table.path_of(key));
    if let Some(steps) = &params.escalate_after {
        let (line, path) = at("escalate_after");
        if !params::are_ascending(steps) {
            reader.problem(line, path, params::NOT_ASCENDING);
        } else if !steps.is_empty() && keys::is_act_rule(rule) {
            reader.note(line, path, "an act has no duration: the rule never escalates");
        }
    }
    if let Some(window) = params.window.filter(|size| windows.iter().all(|window| window.size != *size)) {
        let known: Vec<_> = windows.iter().map(|window| window.size.to_string()).collect();
        let (line, path) = at("window");
        reader.problem(line, path, format!("unknown window {window}; expected one of {}", known.join(", ")));
    }
    if params.allowed_reasons.as_ref().is_some_and(Vec::is_empty) {
        let (line, path) = at("allowed_reasons");
        reader.note(line, path, "no reason is accepted: every such outcome is a violation");
    }
    params
}

fn terms(reader: &mut Reader<'_>, table: &Table) -> TermsParams {
    let mut policies: Vec<TermsPolicy> = Vec::new();
    for item in table.list("policies").iter().filter_map(Value::table) {
        let policy = TermsPolicy {
            pipeline: item.text("pipeline").map(Into::into),
            grade: item.get("grade"),
            amount_minor_below: item.get("amount_minor_below"),
            max_discount_percent: item.get("max_discount_percent"),
            max_installment_months: item.get("max_installment_months"),
            min_prepayment_percent: item.get("min_prepayment_percent"),
        };
        if let Some(row) = policies.iter().position(|earlier| covers(earlier, &policy)) {
            let text = format!("unreachable row: row {} always matches first", row + 1);
            reader.note(item.line, &item.path, text);
        }
        policies.push(policy);
    }
    TermsParams { approvers: table.get("approvers"), policies: table.is_set("policies").then_some(policies) }
}

/// Whether `earlier` matches wherever `later` does.
fn covers(earlier: &TermsPolicy, later: &TermsPolicy) -> bool {
    (earlier.pipeline.is_none() || earlier.pipeline == later.pipeline)
        && (earlier.grade.is_none() || earlier.grade == later.grade)
        && earlier.amount_minor_below.is_none_or(|limit| later.amount_minor_below.is_some_and(|amount| amount <= limit))
}

#[cfg(test)]
mod tests {
    use super::super::samples::{EVERYTHING, LAYERS, NORMS_INVALID, NORMS_NOTED, documents};
    use super::super::schema::env::fake::FakeEnv;
    use super::*;
    use crate::domain::alert::Severity;
    use crate::domain::event::{Channel, Outcome};
    use crate::domain::norms::targets::{Of, Per, TargetFigure};
    use crate::domain::norms::{Basis, Clock, ClockStart, Response, ScopeQuery, TargetParams};
    use crate::domain::time::Timestamp;
    use compact_str::CompactString;
    use jiff::civil::date;

    fn document(text: &str) -> Document {
        parse_norms("norms.yaml", text).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
    }

    /// Problems and notes, without the file name.
    fn check(text: &str) -> (Vec<String>, Vec<String>) {
        let strip = |problem: &Problem| problem.to_string().replace("norms.yaml:", "");
        match parse_norms("norms.yaml", text) {
            Ok(document) => (Vec::new(), document.notes.iter().map(strip).collect()),
            Err(problems) => (problems.0.iter().map(strip).collect(), Vec::new()),
        }
    }

    fn length(minutes: i64) -> Length {
        Length { span: Span(minutes * Span::MINUTE.0), in_days: false }
    }

    fn days(days: i64) -> Length {
        Length { span: Span(days * Span::DAY.0), in_days: true }
    }

    #[test]
    fn all_keys_are_read() {
        let Document { norms, language, notes, files } = document(EVERYTHING);
        assert_eq!((language, notes, files), (Language::Ru, vec![], vec![]));
        assert_eq!((norms.country, norms.privacy_key.as_deref()), (Country::KZ, Some("a ${key}")));
        assert!(!format!("{:?}", document(EVERYTHING)).contains("${key}"));
        assert_eq!((norms.min_talk, norms.conversation_needs_manager), (Span(500), true));
        assert_eq!((norms.shared_contact_limit, &norms.excluded_reasons[..]), (5, &["spam".into(), "7".into()][..]));
        let window = |size: Span, slide| Window { size, in_days: size >= Span::DAY, slide };
        let week = Span(7 * Span::DAY.0);
        let hours = |hours| Span(hours * Span::HOUR.0);
        assert_eq!(norms.windows, [window(hours(2), Span::MINUTE), window(week, hours(2))]);

        assert_eq!(norms.pipelines.keys().map(|id| id.as_str()).collect::<Vec<_>>(), ["9", "leads"]);
        let (deals, leads) = (&norms.pipelines[&"9".into()], &norms.pipelines[&"leads".into()]);
        assert_eq!((deals.entity, leads.entity), (EntityKind::Deal, EntityKind::Lead));
        assert_eq!(leads.stages[0].max_time, Some(days(2)));
        assert_eq!(deals.stages.iter().map(|stage| stage.id.as_str()).collect::<Vec<_>>(), ["C9:NEW", "142", "last"]);
        assert_eq!(
            deals.stages.iter().map(|stage| (stage.early, stage.required, stage.waiting)).collect::<Vec<_>>(),
            [(true, false, false), (false, true, false), (false, false, true)]
        );
        assert_eq!(deals.stages[0].max_time.map(|time| time.span), Some(Span(90_000)));
        assert_eq!(deals.stages[1].requires_fields, ["budget", "7"]);
        assert_eq!(deals.stages[1].requires_activities, ["DEMO", "NEEDS_ANALYSIS"]);

        let base = &norms.base;
        assert_eq!(base.calendar.as_deref(), Some("almaty"));
        assert_eq!(base.review_sampling, SamplingParams { per_day: Some(3), min_talk: Some(Span(30_000)) });
        let rules: BTreeMap<Rule, Params> = [
            (
                Rule::FirstResponseLate,
                Params {
                    within: Some(length(15)),
                    clock: Some(Clock::Business),
                    response: Some(Response::Conversation),
                    from: Some(ClockStart::Assigned),
                    severity: Some(Severity::Info),
                    escalate_after: Some(vec![length(15), length(120)]),
                    ..Params::default()
                },
            ),
            (
                Rule::TooFewAttempts,
                Params { within: Some(days(2)), clock: Some(Clock::Wall), attempts: Some(3), ..Params::default() },
            ),
            (
                Rule::Neglected,
                Params {
                    within: Some(length(16 * 60)),
                    clock: Some(Clock::Business),
                    entities: Some(vec![EntityKind::Deal]),
                    ..Params::default()
                },
            ),
            (
                Rule::DisqualifiedWithoutReason,
                Params {
                    applies_to: Some(vec![Outcome::Lost, Outcome::Disqualified]),
                    allowed_reasons: Some(vec!["no_budget".into(), "12".into()]),
                    ..Params::default()
                },
            ),
            (Rule::DisqualifiedWithoutContact, Params { min_touches: Some(2), ..Params::default() }),
            (Rule::StageSkipped, Params::default()),
            (Rule::StageRequirementsUnmet, Params::default()),
            (
                Rule::StageReverted,
                Params { enabled: Some(true), severity: Some(Severity::Critical), ..Params::default() },
            ),
            (Rule::StageOverdue, Params { escalate_after: Some(vec![days(1)]), ..Params::default() }),
            (
                Rule::NextStepMissing,
                Params {
                    within: Some(days(1)),
                    step_entities: Some(vec![EntityKind::Lead, EntityKind::Deal]),
                    ..Params::default()
                },
            ),
            (
                Rule::NextStepOverdue,
                Params {
                    within: Some(length(30)),
                    clock: Some(Clock::Business),
                    escalate_after: Some(vec![length(120)]),
                    ..Params::default()
                },
            ),
            (
                Rule::MissedCallNotReturned,
                Params {
                    within: Some(length(30)),
                    min_ring: Some(Span(1500)),
                    text_returns: Some(true),
                    ..Params::default()
                },
            ),
            (
                Rule::MessageUnanswered,
                Params {
                    within: Some(length(240)),
                    channels: Some(vec![Channel::Sms, Channel::Email]),
                    quiet_after_close: Some(Span::DAY),
                    ..Params::default()
                },
            ),
            (Rule::DiscountOverLimit, Params { severity: Some(Severity::Critical), ..Params::default() }),
            (Rule::InstallmentNotAllowed, Params { severity: Some(Severity::Critical), ..Params::default() }),
            (Rule::PrepaymentTooLow, Params { severity: Some(Severity::Info), ..Params::default() }),
            (
                Rule::ConversionLow,
                Params {
                    window: Some(week),
                    basis: Some(Basis::Closed),
                    of_department: Some(0.5),
                    min_sample: Some(20),
                    ..Params::default()
                },
            ),
            (
                Rule::ResponseSlow,
                Params {
                    window: Some(hours(2)),
                    quantile: Some(0.95),
                    clock: Some(Clock::Business),
                    at_most_lag: Some(length(30)),
                    ..Params::default()
                },
            ),
            (Rule::QualityLow, Params { min_score: Some(60.0), min_sample: Some(5), ..Params::default() }),
            (Rule::StuckEarly, Params { at_most: Some(0.5), ..Params::default() }),
            (Rule::SpecialTermsFrequent, Params { at_most: Some(1.0), min_sample: Some(10), ..Params::default() }),
            (Rule::TargetBehind, Params { severity: Some(Severity::Critical), ..Params::default() }),
            (
                Rule::SourceSilent,
                Params { within: Some(length(120)), clock: Some(Clock::Business), ..Params::default() },
            ),
        ]
        .into();
        assert_eq!(base.rules, rules);
        assert_eq!(base.terms.approvers, Some(vec!["boss".into()]));
        assert_eq!(
            base.terms.policies,
            Some(vec![
                TermsPolicy {
                    pipeline: Some("9".into()),
                    grade: Some("senior".into()),
                    amount_minor_below: None,
                    max_discount_percent: Some(12.5),
                    max_installment_months: Some(6),
                    min_prepayment_percent: Some(30.0),
                },
                TermsPolicy { amount_minor_below: Some(10_000_000), ..TermsPolicy::default() },
            ])
        );
        let calls = TargetParams {
            figure: Some(TargetFigure::CallsOutbound),
            per: Some(Per::Day),
            at_least: Some(12.5),
            of: Some(Of::Department),
            clock: Some(Clock::Wall),
            judge_after: Some(0.25),
            tolerance: Some(0.0),
            judge: Some(false),
            from: Some(date(2026, 3, 10)),
            severity: Some(Severity::Info),
            escalate_after: Some(vec![Length { span: Span::DAY, in_days: true }]),
            ..TargetParams::default()
        };
        let amount = TargetParams {
            enabled: Some(true),
            figure: Some(TargetFigure::AmountWon),
            per: Some(Per::Quarter),
            at_least: Some(3_000_000.0),
            currency: Some("RUB".into()),
            ..TargetParams::default()
        };
        assert_eq!(base.targets, BTreeMap::from([("calls".into(), calls), ("7".into(), amount)]));

        let [acme, north, plans, anna] = &norms.overrides[..] else { panic!("four overrides") };
        assert_eq!((acme.tenant.as_deref(), acme.layer.calendar.as_deref()), (Some("acme"), Some("round")));
        assert_eq!((&acme.department, &acme.pipeline, &acme.source), (&None, &None, &None));
        let scope = [&north.tenant, &north.department, &north.pipeline, &north.source];
        assert_eq!(scope.map(|key| key.as_deref()), [Some("acme"), Some("north"), Some("9"), Some("WEB")]);
        assert_eq!(north.layer.rules[&Rule::Neglected].enabled, Some(false));
        let of_north = [
            ("calls".into(), TargetParams { at_least: Some(10.0), of: Some(Of::Manager), ..TargetParams::default() }),
            ("7".into(), TargetParams { enabled: Some(false), ..TargetParams::default() }),
        ];
        assert_eq!(plans.layer.targets, BTreeMap::from(of_north));
        assert_eq!((anna.manager.as_deref(), &anna.tenant, &north.manager), (Some("anna"), &None, &None));
    }

    #[test]
    fn calendars_are_built() {
        let norms = document(EVERYTHING).norms;
        let calendar = &norms.calendars["almaty"];
        let at = |text| Timestamp::parse(text).expect("an instant");
        let working = |from, to| calendar.working(at(from), at(to));
        // A Monday with two intervals, a Saturday, a day off, and a Sunday with hours until midnight.
        assert_eq!(working("2026-06-01T00:00:00+05:00", "2026-06-02T00:00:00+05:00"), Span(8 * Span::HOUR.0));
        assert_eq!(working("2026-06-06T00:00:00+05:00", "2026-06-07T00:00:00+05:00"), Span(4 * Span::HOUR.0));
        assert_eq!(working("2026-01-01T00:00:00+05:00", "2026-01-02T00:00:00+05:00"), Span::ZERO);
        assert_eq!(working("2026-03-08T00:00:00+05:00", "2026-03-09T00:00:00+05:00"), Span(14 * Span::HOUR.0));
        // The nights of a regular and of a listed Thursday end on Friday.
        assert_eq!(working("2026-06-05T00:00:00+05:00", "2026-06-06T00:00:00+05:00"), Span(2 * Span::HOUR.0));
        assert_eq!(working("2026-03-13T00:00:00+05:00", "2026-03-14T00:00:00+05:00"), Span(3 * Span::HOUR.0));
        assert!(calendar.lists(at("2026-12-01T00:00:00Z")) && !calendar.lists(at("2027-12-01T00:00:00Z")));
    }

    #[test]
    fn an_empty_document_is_valid() {
        let Document { norms, language, notes, .. } = document("");
        let windows: Vec<_> =
            norms.windows.iter().map(|window| format!("{}/{}", window.name(), window.slide)).collect();
        assert_eq!(windows, ["1h/1m", "24h/15m", "7d/2h", "30d/8h"]);
        assert_eq!((norms.min_talk, norms.conversation_needs_manager), (Span::SECOND, false));
        assert_eq!((norms.shared_contact_limit, norms.excluded_reasons.len()), (20, 0));
        assert_eq!(norms.ignored_contacts(&"acme".into()), None);
        assert_eq!((norms.country, norms.privacy_key, language), (Country::RU, None, Language::En));
        assert!(norms.base.rules.is_empty() && norms.overrides.is_empty());
        assert_eq!(notes.len(), 1);
    }

    #[test]
    fn problems_are_reported() {
        for (text, problems) in documents(NORMS_INVALID) {
            assert_eq!(check(text).0, problems, "{text}");
        }
    }

    #[test]
    fn rules_are_checked_in_their_merged_form() {
        for (text, problems) in documents(LAYERS) {
            assert_eq!(check(text).0, problems, "{text}");
        }
    }

    #[test]
    fn calendars_can_be_included_from_other_files() {
        let files = [
            ("etc/a.yaml", "calendars:\n  a: {timezone: UTC, week: {}}\n"),
            ("etc/again.yaml", "\ncalendars:\n  here: {timezone: UTC, week: {}}\n  a: {timezone: UTC, week: {}}\n"),
            ("etc/more.yaml", "calendars: {b: {timezone: UTC, week: {}}}\ncalendar: b\n"),
            ("etc/bad.yaml", "calendars:\n  c: {timezone: Mars, week: {}}\n"),
        ];
        let files = files.into_iter().map(|(path, text)| (PathBuf::from(path), text)).collect();
        let env = FakeEnv { files, ..FakeEnv::default() };
        let result = |text: &str| match parse_with("etc/norms.yaml", text, &env) {
            Ok(document) => document.files.iter().map(|path| path.display().to_string()).collect(),
            Err(Problems(problems)) => problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        };
        assert_eq!(result("include: [a.yaml]\ncalendar: a\nnorms: {}"), ["etc/a.yaml"]);
        assert_eq!(result("include:\ncalendar: a"), ["etc/norms.yaml:2: calendar: unknown calendar `a`"]);
        assert_eq!(
            result("include: [a.yaml, again.yaml]\ncalendars:\n  here: {timezone: UTC, week: {}}\ncalendar: hree\n"),
            [
                "etc/again.yaml:3: calendars.here: duplicate calendar `here`, first defined in etc/norms.yaml on line \
                 3",
                "etc/again.yaml:4: calendars.a: duplicate calendar `a`, first defined in etc/a.yaml on line 2",
                "etc/norms.yaml:4: calendar: unknown calendar `hree`; did you mean `here`?",
            ]
        );
        // References to calendars that are invalid or cannot be read are not reported again.
        assert_eq!(
            result("include:\n- more.yaml\n- bad.yaml\n- gone.yaml\ncalendar: c\n"),
            [
                "etc/bad.yaml:2: calendars.c.timezone: expected an IANA time zone such as Europe/Moscow, found string \
                 `Mars`",
                "etc/more.yaml:2: calendar: unknown key; did you mean `calendars`?",
                "etc/norms.yaml:4: include: cannot read etc/gone.yaml: entity not found",
            ]
        );
    }

    #[test]
    fn suspicious_settings_are_noted() {
        for (text, notes) in documents(NORMS_NOTED) {
            assert_eq!(check(text), (vec![], notes), "{text}");
        }
    }

    #[test]
    fn stages_in_days_are_checked_against_the_clock_of_their_pipeline() {
        const NORMS: &str = "\
pipelines:
  a: {entity: deal, stages: [{id: x, max_time: 3d}]}
  b: {entity: deal, stages: [{id: x, max_time: 3h}]}
norms: {stage_overdue: {clock: BASE}}
overrides:
- when: {pipeline: a}
  norms: {stage_overdue: {THERE}}
";
        let text = |base: &str, there: &str| NORMS.replace("BASE", base).replace("THERE", there);
        let problem = "2: pipelines.a.stages[0].max_time: 3d is in days, but `stage_overdue` counts business time; use \
                       hours";
        assert_eq!(check(&text("business", "clock: wall")).0, Vec::<String>::new());
        assert_eq!(check(&text("business", "enabled: false")).0, Vec::<String>::new());
        assert_eq!(check(&text("wall", "severity: info")).0, Vec::<String>::new());
        assert_eq!(check(&text("wall", "clock: business")).0, [problem]);
        assert_eq!(check(&text("business", "severity: info")).0, [problem]);
    }

    #[test]
    fn later_overrides_win_key_by_key() {
        let text = "\
norms:
  neglected: {within: 16h, severity: info, escalate_after: [1h, 2h]}
  source_silent: {within: 1h, enabled: false}
overrides:
- when: {tenant: acme}
  norms: {neglected: {within: 8h}, source_silent: {enabled: true}}
- when: {department: north}
  norms: {neglected: {severity: critical, escalate_after: []}}
- when: {tenant: acme, department: north}
  norms: {neglected: {within: 4h}}
- when: {tenant: acme, source_id: WEB}
  norms: {neglected: {enabled: false}}
- when: {pipeline: sales}
  norms: {neglected: {within: 1h}}
- when: {department: north, manager: ann}
  norms: {neglected: {within: 30h}}
";
        let norms = document(text).norms;
        let neglected = |query: ScopeQuery<'_>| {
            let scope = norms.scope(query);
            let params = scope.rules.get(&Rule::Neglected)?;
            let steps = params.escalate_after.as_ref().map(Vec::len);
            Some((params.within?.span.0 / Span::HOUR.0, params.severity?.name(), steps?))
        };
        let query = |tenant, department| ScopeQuery { tenant, department, ..ScopeQuery::default() };
        assert_eq!(neglected(query("other", "south")), Some((16, "info", 2)));
        assert_eq!(neglected(query("acme", "south")), Some((8, "info", 2)));
        assert_eq!(neglected(query("other", "north")), Some((16, "critical", 0)));
        assert_eq!(neglected(query("acme", "north")), Some((4, "critical", 0)));
        assert_eq!(neglected(ScopeQuery { source: Some("WEB"), ..query("acme", "north") }), None);
        assert_eq!(
            neglected(ScopeQuery { pipeline: Some("sales"), ..query("acme", "north") }),
            Some((1, "critical", 0))
        );
        let of_ann = |department| ScopeQuery { manager: Some("ann"), ..query("other", department) };
        assert_eq!(neglected(of_ann("north")), Some((30, "critical", 0)));
        assert_eq!(neglected(of_ann("south")), Some((16, "info", 2)));
        assert!(!norms.scope(query("other", "south")).rules.contains_key(&Rule::SourceSilent));
        assert!(norms.scope(query("acme", "south")).rules.contains_key(&Rule::SourceSilent));
    }

    #[test]
    fn overrides_of_terms_and_sampling_keep_keys_they_do_not_set() {
        let text = "\
norms:
  terms: {approvers: [boss], policies: [{max_discount_percent: 5}]}
review_sampling: {per_day: 3, min_talk_seconds: 30}
overrides:
- when: {tenant: acme}
  norms: {terms: {approvers: [chief]}}
  review_sampling: {per_day: 1}
- when: {tenant: acme, department: north}
  norms: {terms: {policies: [{max_discount_percent: 9}]}, discount_over_limit: {severity: critical}}
  review_sampling: {min_talk_seconds: 0}
- when: {department: west}
  norms: {terms: {policies: [{max_discount_percent: 7}]}}
  review_sampling: {min_talk_seconds: 60}
- when: {tenant: other}
  norms: {terms: {enabled: false}}
";
        let norms = document(text).norms;
        let scope = |tenant, department| norms.scope(ScopeQuery { tenant, department, ..ScopeQuery::default() });
        let terms = |tenant, department| {
            let terms = scope(tenant, department).terms.expect("given");
            let approvers: Vec<_> = terms.approvers.iter().map(CompactString::as_str).collect();
            let discounts: Vec<_> = terms.policies.iter().filter_map(|row| row.max_discount_percent).collect();
            (approvers.join(","), discounts)
        };
        assert_eq!(terms("acme", "south"), ("chief".into(), vec![5.0]));
        assert_eq!(terms("acme", "north"), ("chief".into(), vec![9.0]));
        assert_eq!(terms("other", "east"), ("boss".into(), vec![5.0]));
        // The two keys come from different overrides, neither of which covers the other.
        assert_eq!(terms("acme", "west"), ("chief".into(), vec![7.0]));
        assert_eq!(terms("none", "west"), ("boss".into(), vec![7.0]));
        let sampling = |tenant, department| {
            let sampling = scope(tenant, department).review_sampling.expect("given");
            (sampling.per_day, sampling.min_talk.0)
        };
        assert_eq!(sampling("acme", "south"), (1, 30_000));
        assert_eq!(sampling("acme", "north"), (1, 0));
        assert_eq!(sampling("acme", "west"), (1, 60_000));
        assert_eq!(sampling("none", "west"), (3, 60_000));
        let on = |tenant, department| {
            let scope = scope(tenant, department);
            let severity = |params: &Params| params.severity.unwrap_or_default().name();
            keys::of_terms().map(|rule| scope.rules.get(&rule).map(severity)).collect::<Vec<_>>()
        };
        assert_eq!(on("acme", "south"), [Some("warning"); 3]);
        assert_eq!(on("acme", "north"), [Some("critical"), Some("warning"), Some("warning")]);
        assert_eq!(on("other", "north"), [None; 3]);
    }

    #[test]
    fn contacts_are_ignored_per_tenant() {
        let text = "\
default_country: KZ
ignored_contacts: ['@example.com']
overrides:
- when: {tenant: acme}
  ignored_contacts: ['@example.org', bot@example.net, 8 727 000-00-01]
- when: {tenant: globex}
  ignored_contacts: []
- when: {tenant: acme, department: north}
  norms: {neglected: {within: 1h}}
";
        let norms = document(text).norms;
        let ignored = |tenant: &str| norms.ignored_contacts(&tenant.into()).map(|contacts| contacts.entries());
        assert_eq!(ignored("acme"), Some(vec!["+77270000001".into(), "@example.org".into(), "bot@example.net".into()]));
        assert_eq!(ignored("globex"), None);
        assert_eq!(ignored("other"), Some(vec!["@example.com".into()]));
    }

    #[test]
    fn norms_of_a_build_without_a_key_are_those_with_its_default() {
        let norms = document("norms: {missed_call_not_returned: {within: 1h}}").norms;
        let keys = ["conversation_needs_manager", "ignored_contacts", "shared_contact_limit", "excluded_reasons"];
        let mut old: serde_json::Value = serde_json::from_str(&norms.document).expect("JSON");
        keys.iter().for_each(|key| drop(old.as_object_mut().and_then(|old| old.remove(*key)).expect("written")));
        assert_eq!(restore_norms(&old.to_string()).expect("readable").document, norms.document);
    }

    #[test]
    fn scopes_without_terms_and_sampling_have_none() {
        let scope = document("norms: {neglected: {within: 1d}}").norms.scope(ScopeQuery::default());
        assert_eq!((scope.terms, scope.review_sampling), (None, None));
    }

    #[test]
    fn a_layer_that_sets_one_of_two_exclusive_limits_clears_the_other() {
        let text = "\
norms: {conversion_low: {at_least: 0.2, min_sample: 20}}
overrides:
- when: {tenant: acme}
  norms: {conversion_low: {of_department: 0.5}}
- when: {tenant: acme, department: north}
  norms: {conversion_low: {at_least: 0.1}}
- when: {tenant: acme, department: south}
  norms: {conversion_low: {severity: info}}
";
        let norms = document(text).norms;
        let limits = |tenant, department| {
            let scope = norms.scope(ScopeQuery { tenant, department, ..ScopeQuery::default() });
            let params = &scope.rules[&Rule::ConversionLow];
            (params.at_least, params.of_department, params.min_sample)
        };
        assert_eq!(limits("other", "north"), (Some(0.2), None, Some(20)));
        assert_eq!(limits("acme", "south"), (None, Some(0.5), Some(20)));
        assert_eq!(limits("acme", "north"), (Some(0.1), None, Some(20)));
    }

    /// The valid norms documents of the repository.
    fn valid_norms() -> Vec<Norms> {
        let lists = [LAYERS, NORMS_NOTED].into_iter().flat_map(documents).map(|(text, _)| text);
        let texts = [EVERYTHING, include_str!("../sim/norms.yaml")].into_iter().chain(lists);
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/norms.yaml");
        let mut found = vec![load_norms(&example).expect("valid").norms];
        found.extend(texts.filter_map(|text| Some(parse_norms("norms", text).ok()?.norms)));
        assert!(found.len() > 10, "only {}", found.len());
        found
    }

    fn restored(norms: &Norms) -> Norms {
        restore_norms(&norms.document).unwrap_or_else(|flaw| panic!("{flaw}\n{}", norms.document))
    }

    #[test]
    fn norms_are_restored_from_their_document() {
        let mut instants = 0;
        for norms in valid_norms() {
            let restored = restored(&norms);
            assert_eq!(restored.document, norms.document);
            assert_eq!(format!("{restored:#?}"), format!("{:#?}", Norms { privacy_key: None, ..norms.clone() }));
            for (original, restored) in norms.calendars.values().zip(restored.calendars.values()) {
                // Two years, some of them listed in the calendar and some not, at all times of day.
                let start = Timestamp::parse("2025-07-01T00:00:00Z").expect("valid");
                for step in 0..730 {
                    let at = start + Span(step * (Span::DAY.0 + 97 * Span::MINUTE.0));
                    let span = Span(40 * Span::HOUR.0);
                    assert_eq!(original.deadline(at, span), restored.deadline(at, span), "{at}");
                    assert_eq!(original.working(start, at), restored.working(start, at), "{at}");
                    assert_eq!(original.lists(at), restored.lists(at), "{at}");
                    instants += 1;
                }
            }
        }
        assert!(instants > 2000, "only {instants}");
    }

    #[test]
    fn the_document_does_not_depend_on_the_spelling() {
        let written = document(EVERYTHING).norms.document;
        let again = written.replace("\"2h\"", "\"120m\"").replace("{\"size", " {  \"size").replace(":0.5", ":.50");
        assert_ne!(written, again);
        assert_eq!(document(&again).norms.document, written);
        assert!(written.contains("\"sat\":[\"10:00-14:00\"]") && written.contains("[\"21:00-03:00\"]"), "{written}");
        let files = [(PathBuf::from("a.yaml"), "calendars:\n  a: {timezone: UTC, week: {}}\n")].into();
        let env = FakeEnv { files, ..FakeEnv::default() };
        let parse = |text| parse_with("norms.yaml", text, &env).expect("valid").norms.document;
        let included = parse("include: [a.yaml]\ncalendar: a\nlanguage: ru\n");
        assert_eq!(included, parse("default_country: RU\ncalendar: a\ncalendars: {a: {week: {}, timezone: UTC}}\n"));
        assert_eq!(
            included,
            "{\"calendar\":\"a\",\"calendars\":{\"a\":{\"timezone\":\"UTC\",\"week\":{}}},\
             \"conversation_needs_manager\":false,\"default_country\":\"RU\",\"excluded_reasons\":[],\
             \"ignored_contacts\":[],\"min_talk_seconds\":1.0,\"shared_contact_limit\":20,\"windows\":[{\"size\":\"1h\",\"slide\":\"1m\"},{\"size\":\"24h\",\"slide\":\"15m\"},\
             {\"size\":\"7d\",\"slide\":\"2h\"},{\"size\":\"30d\",\"slide\":\"8h\"}]}"
        );
    }

    #[test]
    fn the_document_does_not_contain_the_privacy_key() {
        let norms = document(EVERYTHING).norms;
        let secret = norms.privacy_key.as_ref().expect("a key");
        assert!(!norms.document.contains(secret.as_str()) && !norms.document.contains("privacy_key"));
        assert_eq!(restored(&norms).privacy_key, None);
        let flaw = restore_norms("{\"privacy_key\":\"k\"}").map(|_| ()).expect_err("rejected");
        assert!(flaw.starts_with("privacy_key: unknown key"), "{flaw}");
    }

    #[test]
    fn documents_of_a_newer_version_and_damaged_ones_are_rejected() {
        let document = document(EVERYTHING).norms.document;
        let flaw = |from: &str, to: &str| {
            assert!(document.contains(from), "{from}");
            restore_norms(&document.replace(from, to)).map(|_| ()).expect_err("rejected")
        };
        assert_eq!(
            flaw("\"clock\":\"wall\"", "\"clock\":\"lunar\""),
            "norms.too_few_attempts.clock: expected one of wall, business, found string `lunar`"
        );
        assert_eq!(
            flaw("\"stage_reverted\":", "\"deal_lost\":").split_once(';').expect("a hint").0,
            "norms.deal_lost: unknown key"
        );
        assert!(
            flaw("\"early\":true", "\"early\":true,\"later\":1")
                .starts_with("pipelines.9.stages[0].later: unknown key")
        );
        for end in (1..document.len()).filter(|end| document.is_char_boundary(*end)) {
            assert!(restore_norms(&document[..end]).is_err(), "{end} of {}", document.len());
        }
    }

    proptest::proptest! {
        #[test]
        fn any_name_is_restored(name in "\\PC{1,20}|[\u{0}-\u{ff}]{1,5}", share in 1e-12..1.0f64) {
            let text = serde_json::json!({
                "pipelines": {&name: {"entity": "deal", "stages": [{"id": name.replace("${", "")+"x"}]}},
                "norms": {"response_slow": {"at_most": "1h", "quantile": share}},
            });
            let norms = document(&text.to_string()).norms;
            let restored = restored(&norms);
            proptest::prop_assert_eq!(format!("{restored:?}"), format!("{norms:?}"));
        }
    }
}
