//! Compares the names in norms with those in events: what only one of them has, and what was probably meant.
//!
//! Names are opaque ids of the sources: a stage that the CRM spells otherwise than the norms is not judged. Of pipelines and
//! their stages both sides are complete. Of sources, managers, departments, grades and tenants the norms name only those
//! with norms of their own: the others are shown, but are nothing to correct.

use super::schema::similar::nearest;
use crate::domain::event::{CrmPayload, Event, Payload};
use crate::domain::id::{UNKNOWN, shown};
use crate::domain::norms::{Layer, Norms};
use crate::domain::rule::Rule;
use crate::domain::source::Topic;
use crate::domain::time::Timestamp;
use compact_str::CompactString;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};

/// How many different names of a kind are kept; further ones are not compared.
const MAX_NAMES: usize = 100_000;
/// Longer names are not compared.
const MAX_NAME_BYTES: usize = 256;
/// How many names of a kind are shown, the commonest first.
const SHOWN: usize = 20;

/// Names with how often they occur.
type Counts = BTreeMap<CompactString, u64>;

/// The names that events contain.
#[derive(Clone, Debug, Default)]
pub struct EventNames {
    events: u64,
    span: Option<(Timestamp, Timestamp)>,
    topics: BTreeMap<Topic, u64>,
    tenants: Counts,
    pipelines: Counts,
    /// By pipeline; empty: none is named.
    stages: BTreeMap<CompactString, Counts>,
    sources: Counts,
    managers: Counts,
    departments: Counts,
    grades: Counts,
}

impl EventNames {
    /// Adds the names of an event.
    pub fn add(&mut self, event: &Event) {
        self.events += 1;
        let (from, to) = self.span.unwrap_or((event.at, event.at));
        self.span = Some((from.min(event.at), to.max(event.at)));
        *self.topics.entry(event.payload.topic()).or_default() += 1;
        count(&mut self.tenants, Some(&event.tenant));
        count(&mut self.managers, event.payload.manager());
        if let Payload::Crm(payload) = &event.payload {
            self.add_crm(payload);
        }
    }

    /// How many events were added.
    pub fn events(&self) -> u64 {
        self.events
    }

    fn add_crm(&mut self, payload: &CrmPayload) {
        match payload {
            CrmPayload::LeadCreated(created) | CrmPayload::DealCreated(created) => {
                self.add_stages(created.pipeline.as_ref(), [created.stage.as_ref()]);
                count(&mut self.sources, created.source.as_ref());
            }
            CrmPayload::Snapshot(snapshot) => {
                self.add_stages(snapshot.pipeline.as_ref(), [snapshot.stage.as_ref()]);
                count(&mut self.sources, snapshot.source.as_ref());
            }
            CrmPayload::StageChanged(change) => self.add_stages(change.pipeline.as_ref(), [Some(&change.to)]),
            CrmPayload::Reopened { stage, .. } => self.add_stages(None::<&str>, [stage.as_ref()]),
            CrmPayload::TermsOffered(terms) => count(&mut self.managers, terms.approved_by.as_ref()),
            CrmPayload::InteractionReviewed { manager, .. } => count(&mut self.managers, Some(manager)),
            CrmPayload::ManagerUpserted { manager, department, grade, .. } => {
                count(&mut self.managers, Some(manager));
                count(&mut self.departments, department.as_ref().filter(|id| !id.as_str().is_empty()));
                count(&mut self.grades, grade.as_ref().filter(|grade| !grade.is_empty()));
            }
            CrmPayload::DepartmentUpserted { department, head, .. } => {
                count(&mut self.departments, Some(department));
                count(&mut self.managers, head.as_ref().filter(|head| !head.as_str().is_empty()));
            }
            _ => {}
        }
    }

    fn add_stages<'a>(
        &mut self,
        pipeline: Option<&'a (impl AsRef<str> + ?Sized)>,
        stages: impl IntoIterator<Item = Option<&'a (impl AsRef<str> + 'a)>>,
    ) {
        count(&mut self.pipelines, pipeline);
        let pipeline = pipeline.map_or("", AsRef::as_ref);
        for stage in stages.into_iter().flatten() {
            if self.stages.contains_key(pipeline) || self.stages.len() < MAX_NAMES {
                count(self.stages.entry(pipeline.into()).or_default(), Some(stage));
            }
        }
    }
}

fn count(counts: &mut Counts, name: Option<&(impl AsRef<str> + ?Sized)>) {
    let Some(name) = name.map(AsRef::as_ref) else { return };
    if let Some(count) = counts.get_mut(name) {
        *count += 1;
    } else if counts.len() < MAX_NAMES && name.len() <= MAX_NAME_BYTES {
        counts.insert(name.into(), 1);
    }
}

/// What norms and events do not share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unshared {
    about: String,
    groups: Vec<Group>,
}

/// The names of one kind that only one side has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    title: String,
    /// Whether the norms should have every name of this kind.
    complete: bool,
    in_events: Vec<Name>,
    in_norms: Vec<Name>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    name: CompactString,
    /// In how many events.
    count: u64,
    /// The name of the other side that is probably meant.
    meant: Option<CompactString>,
}

impl Unshared {
    /// Compares norms with the names of events.
    pub fn between(norms: &Norms, events: &EventNames) -> Self {
        let mut groups = Vec::new();
        let named = NormNames::of(norms);
        if !norms.pipelines.is_empty() {
            groups.push(Group::of("Pipelines", true, &named.pipelines, &events.pipelines));
            groups.extend(stages(norms, events));
        }
        groups.push(topics(norms, events));
        for (title, named, found) in [
            ("Tenants", &named.tenants, &events.tenants),
            ("Departments", &named.departments, &events.departments),
            ("Managers", &named.managers, &events.managers),
            ("Sources", &named.sources, &events.sources),
            ("Grades", &named.grades, &events.grades),
        ] {
            if !named.is_empty() {
                groups.push(Group::of(title, false, named, found));
            }
        }
        groups.retain(|group| !group.in_events.is_empty() || !group.in_norms.is_empty());
        Self { about: about(events), groups }
    }

    /// How many names there are to look at.
    pub fn hints(&self) -> usize {
        let of_events =
            |group: &Group| group.in_events.iter().filter(|name| group.complete || name.meant.is_some()).count();
        self.groups.iter().map(|group| of_events(group) + group.in_norms.len()).sum()
    }
}

/// Names in norms, by kind.
#[derive(Default)]
struct NormNames {
    tenants: BTreeSet<CompactString>,
    pipelines: BTreeSet<CompactString>,
    sources: BTreeSet<CompactString>,
    managers: BTreeSet<CompactString>,
    departments: BTreeSet<CompactString>,
    grades: BTreeSet<CompactString>,
}

impl NormNames {
    fn of(norms: &Norms) -> Self {
        let mut names = Self::default();
        names.pipelines.extend(norms.pipelines.keys().map(|id| id.0.clone()));
        for over in &norms.overrides {
            names.tenants.extend(over.tenant.clone());
            names.pipelines.extend(over.pipeline.clone());
            names.sources.extend(over.source.clone());
            names.managers.extend(over.manager.clone());
            names.departments.extend(over.department.clone().filter(|name| name != UNKNOWN));
        }
        for Layer { terms, .. } in norms.layers() {
            names.managers.extend(terms.approvers.iter().flatten().cloned());
            let policies = || terms.policies.iter().flatten();
            names.pipelines.extend(policies().filter_map(|policy| Some(policy.pipeline.as_ref()?.0.clone())));
            names.grades.extend(policies().filter_map(|policy| policy.grade.clone()));
        }
        names
    }
}

/// The stages of each pipeline. Stages without a pipeline are listed if any pipeline lists them.
fn stages(norms: &Norms, events: &EventNames) -> Vec<Group> {
    let listed = |pipeline: &str| -> BTreeSet<CompactString> {
        norms.pipelines.get(&pipeline.into()).into_iter().flat_map(|p| &p.stages).map(|s| s.id.0.clone()).collect()
    };
    let all: BTreeSet<CompactString> = norms.pipelines.keys().flat_map(|id| listed(id.as_str())).collect();
    let none = Counts::new();
    let unnamed = events.stages.get("").unwrap_or(&none);
    let mut groups = Vec::new();
    for id in norms.pipelines.keys() {
        let found = events.stages.get(id.as_str()).unwrap_or(&none);
        let mut group = Group::of(&format!("Stages of pipeline {id}"), true, &listed(id.as_str()), found);
        // These may be the pipeline's.
        group.in_norms.retain(|name| !unnamed.contains_key(&name.name));
        groups.push(group);
    }
    for (pipeline, found) in &events.stages {
        if !norms.pipelines.contains_key(&pipeline.as_str().into()) {
            let title = match pipeline.as_str() {
                "" => "Stages without a pipeline".to_owned(),
                _ => format!("Stages of pipeline {}, which the norms lack", shown(pipeline)),
            };
            let known = if pipeline.is_empty() { all.clone() } else { BTreeSet::new() };
            let mut group = Group::of(&title, true, &known, found);
            group.in_norms.clear();
            for name in &mut group.in_events {
                name.meant = meant(&name.name, all.iter().filter(|other| **other != name.name));
            }
            groups.push(group);
        }
    }
    groups
}

/// The topics that rules need and that have no events.
fn topics(norms: &Norms, events: &EventNames) -> Group {
    let is_on = |rule| norms.layers().any(|layer| layer.rules.get(&rule).is_some_and(|p| p.enabled != Some(false)));
    let needs = |topic: &Topic| {
        let own = match topic {
            Topic::Crm => None,
            Topic::Telephony => Some(Rule::MissedCallNotReturned),
            Topic::Email => Some(Rule::MessageUnanswered),
        };
        is_on(Rule::SourceSilent) || own.is_some_and(is_on)
    };
    let lacking = Topic::ALL.into_iter().filter(needs).filter(|topic| !events.topics.contains_key(topic));
    let name = |topic: Topic| Name { name: topic.name().into(), count: 0, meant: None };
    let (title, in_norms) = ("Topics".into(), lacking.map(name).collect());
    Group { title, complete: false, in_events: Vec::new(), in_norms }
}

impl Group {
    fn of(title: &str, complete: bool, named: &BTreeSet<CompactString>, found: &Counts) -> Self {
        let mut in_events: Vec<Name> = found
            .iter()
            .filter(|(name, _)| !named.contains(*name))
            .map(|(name, count)| Name { name: name.clone(), count: *count, meant: meant(name, named.iter()) })
            .collect();
        in_events.sort_by_key(|name| Reverse(name.count));
        let explained = |name: &CompactString| in_events.iter().any(|other| other.meant.as_ref() == Some(name));
        let in_norms = named
            .iter()
            .filter(|name| !found.contains_key(*name))
            .map(|name| Name {
                name: name.clone(),
                count: 0,
                meant: if explained(name) { None } else { meant(name, found.keys()) },
            })
            .collect();
        Self { title: title.into(), complete, in_events, in_norms }
    }
}

/// The name that is probably meant: the same but for case and blanks, or a similar one with the same digits.
fn meant<'a>(name: &str, others: impl Iterator<Item = &'a CompactString> + Clone) -> Option<CompactString> {
    let folded = |name: &str| -> String {
        name.chars().filter(|char| !char.is_whitespace()).flat_map(char::to_lowercase).collect()
    };
    let digits = |name: &str| -> String { name.chars().filter(char::is_ascii_digit).collect() };
    let same = others.clone().find(|other| folded(other) == folded(name));
    same.cloned().or_else(|| {
        let others: Vec<&str> =
            others.map(CompactString::as_str).filter(|other| digits(other) == digits(name)).collect();
        nearest(name, &others).map(CompactString::from)
    })
}

/// The events in one sentence.
fn about(events: &EventNames) -> String {
    let Some((from, to)) = events.span else { return "No events.".into() };
    let day = |at: Timestamp| at.to_string().split('T').next().unwrap_or_default().to_owned();
    let topics: Vec<String> =
        events.topics.iter().map(|(topic, count)| format!("{count} of {}", topic.name())).collect();
    let tenants = events.tenants.len();
    format!(
        "{} events of {tenants} tenant{}, {} to {}: {}.",
        events.events,
        if tenants == 1 { "" } else { "s" },
        day(from),
        day(to),
        topics.join(", ")
    )
}

/// For people.
impl fmt::Display for Unshared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.about)?;
        for group in &self.groups {
            writeln!(f, "\n{}", group.title)?;
            let only =
                if group.complete { "only in the events, so nothing is judged by them" } else { "only in the events" };
            write_names(f, only, &group.in_events)?;
            write_names(f, "only in the norms", &group.in_norms)?;
        }
        match self.hints() {
            0 => writeln!(f, "\nThe events have every name that the norms have."),
            1 => writeln!(f, "\n1 name to look at."),
            hints => writeln!(f, "\n{hints} names to look at."),
        }
    }
}

fn write_names(f: &mut fmt::Formatter<'_>, title: &str, names: &[Name]) -> fmt::Result {
    if names.is_empty() {
        return Ok(());
    }
    writeln!(f, "  {title}:")?;
    let width = names.iter().take(SHOWN).map(|name| shown(&name.name).chars().count()).max().unwrap_or_default();
    for Name { name, count, meant } in names.iter().take(SHOWN) {
        let mut line = format!("    {:width$}", shown(name));
        if *count > 0 {
            write!(line, "  {count} event{}", if *count == 1 { "" } else { "s" })?;
        }
        if let Some(meant) = meant {
            write!(line, "  did you mean {}?", shown(meant))?;
        }
        writeln!(f, "{}", line.trim_end())?;
    }
    match names.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => writeln!(f, "    and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::json;
    use crate::config::parse_norms;

    fn compare(norms: &str, events: &[&str]) -> Unshared {
        let norms = parse_norms("norms", norms).unwrap_or_else(|problems| panic!("{problems}")).norms;
        let mut names = EventNames::default();
        for payload in events {
            let text = format!(r#"{{"tenant_id":"acme","occurred_at":"2025-03-03T07:00:00Z",{payload}}}"#);
            names.add(&json::decode(text.as_bytes()).unwrap_or_else(|reject| panic!("{reject}: {text}")));
        }
        Unshared::between(&norms, &names)
    }

    #[test]
    fn stages_are_compared_pipeline_by_pipeline() {
        let norms = "
pipelines:
  sales: {entity: deal, stages: [{id: NEW}, {id: OFFER}, {id: INVOICE}]}
norms: {stage_skipped: {}}";
        let found = compare(
            norms,
            &[
                r#""deal_created":{"deal_id":"1","pipeline_id":"sales","stage_id":"new"}"#,
                r#""deal_created":{"deal_id":"2","pipeline_id":"sales","stage_id":"new"}"#,
                r#""stage_changed":{"entity":{"kind":"DEAL","id":"1"},"to_stage_id":"INVOICE"}"#,
                r#""stage_changed":{"entity":{"kind":"DEAL","id":"1"},"pipeline_id":"Sales ","to_stage_id":"of fer"}"#,
            ],
        );
        let expected = "\
4 events of 1 tenant, 2025-03-03 to 2025-03-03: 4 of crm.events.

Pipelines
  only in the events, so nothing is judged by them:
    Sales  1 event  did you mean sales?

Stages of pipeline sales
  only in the events, so nothing is judged by them:
    new  2 events  did you mean NEW?
  only in the norms:
    NEW
    OFFER

Stages of pipeline Sales, which the norms lack
  only in the events, so nothing is judged by them:
    of fer  1 event  did you mean OFFER?

5 names to look at.
";
        assert_eq!(found.to_string().replace("Sales  ", "Sales "), expected.replace("Sales  ", "Sales "), "{found}");
    }

    #[test]
    fn only_kinds_that_the_norms_name_are_compared() {
        let lead = r#""lead_created":{"lead_id":"1","source_id":"web","manager_id":"anna"}"#;
        let manager = r#""manager_upserted":{"manager_id":"anna","department_id":"north"}"#;
        let found = compare("norms: {first_response_late: {within: 15m}}", &[lead, manager]);
        assert_eq!((found.hints(), found.groups.len()), (0, 0), "{found}");

        let norms = "
norms: {first_response_late: {within: 15m}, missed_call_not_returned: {within: 1h}}
overrides:
- when: {source_id: Web}
  norms: {first_response_late: {within: 5m}}
- when: {department: north}
  norms: {first_response_late: {within: 5m}}";
        let found = compare(norms, &[lead, manager]).to_string();
        assert!(found.contains("Sources\n  only in the events:\n    web  1 event  did you mean Web?"), "{found}");
        assert!(found.contains("  only in the norms:\n    Web\n"), "{found}");
        assert!(found.contains("Topics\n  only in the norms:\n    telephony.events\n"), "{found}");
        assert!(!found.contains("Departments"), "{found}");
        assert!(found.ends_with("3 names to look at.\n"), "{found}");
    }

    #[test]
    fn long_lists_are_cut() {
        let norms = "pipelines:\n  p: {entity: deal, stages: [{id: A}]}\nnorms: {stage_skipped: {}}";
        let stage = |n| format!(r#""deal_created":{{"deal_id":"1","pipeline_id":"p","stage_id":"stage-{n}"}}"#);
        let events: Vec<String> = (0..30).map(stage).collect();
        let found = compare(norms, &events.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(found.hints(), 31);
        assert!(found.to_string().contains("    and 10 more\n"), "{found}");
    }

    #[test]
    fn ids_with_other_digits_are_no_misspellings() {
        let names = ["manager-18".into(), "Anna".into()];
        assert_eq!(meant("manager-17", names.iter()), None);
        assert_eq!(meant("maneger-18", names.iter()), Some("manager-18".into()));
        assert_eq!(meant(" a nna", names.iter()), Some("Anna".into()));
    }
}
