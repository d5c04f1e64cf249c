//! Owns the answer to the question what a figure counts: the members of a figure as of the watermark of its rows.
//!
//! **Bounds.** The shard is locked for some thousand events at a time, so that its worker waits for milliseconds. At most
//! [`MOST`] members are collected.

use super::live_state::{LiveState, lock};
use crate::domain::context::origins::Origin;
use crate::domain::figures::behind::{Behind, Part};
use crate::domain::figures::pane::{Fact, Measure};
use crate::domain::id::{DepartmentId, ManagerId, PipelineId, StageId, TenantId};
use crate::domain::index::{JourneyIx, StageIx};
use crate::domain::tenant::Tenant;
use crate::domain::tenant::members::{Member, Remaining, Scan};
use crate::domain::time::Timestamp;
use crate::domain::time::window::Window;
use std::collections::BTreeMap;

/// The most members that are collected.
pub const MOST: usize = 200_000;
/// About how many events are replayed while the shard is locked.
const EVENTS: usize = 2_000;
/// How often the cases are looked at again because some were joined meanwhile, before the shard stays locked.
const ATTEMPTS: usize = 4;

/// Whose members of which figure are asked for.
#[derive(Debug)]
pub struct FigureQuery<'a> {
    /// The figure.
    pub figure: &'static Behind,
    /// The values of its labels by which members are chosen.
    pub labels: &'a BTreeMap<String, String>,
    /// The window; `None` for current figures.
    pub window: Option<Window>,
    /// The manager whose members are asked for; `None`: of all.
    pub manager: Option<&'a ManagerId>,
    /// The instant of the figure.
    pub at: Timestamp,
}

/// A member of a figure.
#[derive(Clone, Debug, PartialEq)]
pub struct FigureMember {
    /// Its date.
    pub at: Timestamp,
    /// The manager it counts for.
    pub manager: Option<ManagerId>,
    /// The manager's department.
    pub department: DepartmentId,
    /// What it is.
    pub origin: Origin,
    /// Whether it counts in a share; always if the figure is a count.
    pub counts: bool,
    /// What was measured: the lag or the talk in seconds, the score.
    pub value: Option<f64>,
}

/// Why members are not listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotListed {
    /// There is no such tenant here.
    UnknownTenant,
    /// There are more than [`MOST`].
    TooMany,
}

impl LiveState {
    /// The members of a figure, the latest first.
    pub fn members(&self, tenant: &TenantId, query: &FigureQuery<'_>) -> Result<Vec<FigureMember>, NotListed> {
        let stages = self.stages(tenant).ok_or(NotListed::UnknownTenant)?;
        let who = query.manager.map(|id| self.with_tenant(tenant, |tenant, _| tenant.who(id)).flatten());
        if who == Some(None) {
            return Ok(Vec::new());
        }
        let who = who.flatten();
        let panes = query.window.map(|window| {
            let last = query.at.pane(window.slide);
            (window.slide, last - window.panes(), last)
        });
        let part = |measure: Measure, dated: Timestamp| {
            let chosen = |label: &str| query.labels.get(label).map(String::as_str);
            let stage = |ix: StageIx| {
                let (pipeline, stage) = stages.get(ix.0 as usize)?;
                Some((pipeline.as_str(), stage.as_str()))
            };
            query.figure.has((measure, dated, query.at), &chosen, &stage)
        };
        let wanted = |fact: &Fact| {
            let is_covered = panes.is_none_or(|(slide, first, last)| (first..=last).contains(&fact.at.pane(slide)));
            is_covered && who.is_none_or(|who| fact.who == who) && part(fact.measure, fact.at).is_some()
        };
        // Other facts are dated at or before the last event of their case.
        let is_dated_by_deadline = ["first_response_within_norm", "violations"].contains(&query.figure.name);
        let since = match panes {
            Some((slide, first, _)) if !is_dated_by_deadline => Timestamp(first.saturating_mul(slide.0)),
            _ => Timestamp::MIN,
        };
        let facts = self.facts(tenant, (since, query.at), &wanted)?;
        let parts = facts.into_iter().filter_map(|fact| Some((part(fact.measure, fact.at)?, fact)));
        Ok(members(parts))
    }

    fn facts(
        &self,
        tenant: &TenantId,
        (since, at): (Timestamp, Timestamp),
        wanted: &dyn Fn(&Fact) -> bool,
    ) -> Result<Vec<Member>, NotListed> {
        for attempt in 1.. {
            let (mut facts, mut scan) = (Vec::new(), Scan::default());
            let events = if attempt < ATTEMPTS { EVENTS } else { usize::MAX };
            loop {
                let step =
                    |tenant: &mut Tenant, _| tenant.facts_behind(&mut scan, (since, at, events), wanted, &mut facts);
                let remaining = self.with_tenant(tenant, step).ok_or(NotListed::UnknownTenant)?;
                if facts.len() > MOST {
                    return Err(NotListed::TooMany);
                }
                match remaining {
                    Remaining::Cases => {}
                    Remaining::Everything => break,
                    Remaining::Nothing => {
                        let reviews = |tenant: &mut Tenant, _| tenant.reviews_behind(at, wanted, &mut facts);
                        self.with_tenant(tenant, reviews).ok_or(NotListed::UnknownTenant)?;
                        return Ok(facts);
                    }
                }
            }
        }
        Err(NotListed::UnknownTenant)
    }

    /// The pipelines and stages of a tenant by index.
    fn stages(&self, tenant: &TenantId) -> Option<Vec<(PipelineId, StageId)>> {
        let figures = self.figures_of(tenant)?;
        let figures = lock(&figures);
        let declared = figures.scoreboard.stages().iter();
        Some(declared.map(|stage| (stage.pipeline.clone(), stage.stage.clone())).collect())
    }
}

fn members(facts: impl Iterator<Item = (Part, Member)>) -> Vec<FigureMember> {
    let (mut members, mut marks) = (Vec::new(), BTreeMap::<_, usize>::new());
    let mut deals = BTreeMap::<JourneyIx, usize>::new();
    let stage_of = |measure| match measure {
        Measure::StageReached(ix) | Measure::StagePassed(ix) => Some(ix),
        _ => None,
    };
    for (part, fact) in facts {
        let Member { at, manager, department, measure, origin } = fact;
        let key = (at, manager.clone(), origin.entity.clone(), stage_of(measure));
        if part == Part::Marks {
            *marks.entry(key).or_default() += 1;
            continue;
        }
        let counts = part == Part::Counts;
        if let Measure::Terms { deal, .. } = measure {
            // A deal counts once, however often terms were offered.
            if let Some(known) = deals.get(&deal) {
                let known: &mut (FigureMember, _) = &mut members[*known];
                known.0.counts |= counts;
                continue;
            }
            deals.insert(deal, members.len());
        }
        members.push((FigureMember { at, manager, department, origin, counts, value: value(measure) }, key));
    }
    for (member, key) in &mut members {
        if let Some(left) = marks.get_mut(key).filter(|left| **left > 0) {
            *left -= 1;
            member.counts = true;
        }
    }
    let mut members: Vec<FigureMember> = members.into_iter().map(|(member, _)| member).collect();
    members.sort_by(|a, b| b.at.cmp(&a.at).then_with(|| a.origin.cmp(&b.origin)));
    members
}

fn value(measure: Measure) -> Option<f64> {
    match measure {
        Measure::FirstResponse { wall: lag, .. }
        | Measure::HumanResponse { wall: lag, .. }
        | Measure::CallBack(lag)
        | Measure::Reply(lag) => Some(lag.seconds()),
        Measure::Review { score_micros, .. } => Some(score_micros as f64 / 1e6),
        _ => None,
    }
}
