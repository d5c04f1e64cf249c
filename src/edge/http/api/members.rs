//! Owns the answers about one figure: its members, and its course over the day.

use super::asked::{ApiResult, Asked, bad_request, check, cursor, limit, not_found, unknown_tenant};
use super::endpoints::{HISTORY, MEMBERS};
use super::lists::{is_of, written};
use crate::dataflow::live::{FigureMember, FigureQuery, History, MOST_MEMBERS, NotListed, TenantSnapshot};
use crate::domain::figures::behind::Behind;
use crate::domain::figures::row::{Figures, Row, Subject};
use crate::domain::id::{EntityId, ManagerId};
use crate::domain::time::Timestamp;
use crate::edge::http::response::ApiError;
use crate::edge::http::source::Source;
use serde_json::{Value, json};

pub(super) async fn members(Asked(request, (tenant, name), filters): Asked<(String, String)>) -> ApiResult {
    check(&filters, &MEMBERS)?;
    let id = request.tenant(&tenant)?;
    let figure = Behind::named(&name).ok_or_else(|| not_found("no such figure, or it has no members"))?;
    let others = ["manager", "department", "window", "limit", "cursor"];
    let is_label = |key: &&String| !others.contains(&key.as_str());
    if let Some(key) = filters.keys().filter(is_label).find(|key| !figure.labels.contains(&key.as_str())) {
        return Err(bad_request(format!("{name} has no label \"{key}\"")));
    }
    if figure.now && filters.contains_key("window") {
        return Err(bad_request(format!("{name} is a current figure: it has no window")));
    }
    request
        .scan(move |source| {
            let snapshot = source.snapshot(&id).ok_or_else(unknown_tenant)?;
            let windows = &snapshot.norms.windows;
            let window = match filters.get("window") {
                _ if figure.now => None,
                Some(name) => Some(
                    windows
                        .iter()
                        .find(|window| window.name() == *name)
                        .copied()
                        .ok_or_else(|| bad_request("unknown window; expected one of the configured windows"))?,
                ),
                None => windows.iter().max_by_key(|window| window.size).copied(),
            };
            let manager = filters.get("manager").map(|id| ManagerId::from(id.as_str()));
            let at = snapshot.watermark;
            let query = FigureQuery { figure, labels: &filters, window, manager: manager.as_ref(), at };
            let mut members = source.members(&id, &query).map_err(not_listed)?;
            members.retain(|member| is_of(&filters, member.manager.as_ref(), Some(&member.department)));
            let n = members.len() as i64;
            let elsewhere = value(&snapshot, figure, &filters).map(|(value, _)| value - n).filter(|rest| *rest > 0);
            let k = figure.share.then(|| members.iter().filter(|member| member.counts).count());
            let (page, next) = page(members, filters.get("cursor").and_then(|text| cursor(text)), limit(&filters));
            let entries: Vec<Value> = page.iter().map(|member| entry(member, figure)).collect();
            Ok(written(json!({
                "tenant_id": id.as_str(),
                "figure": figure.name,
                "window": window.map(|window| window.name().to_string()),
                "at": at.to_string(),
                "n": n,
                "k": k,
                "elsewhere": elsewhere,
                "members": entries,
                "next": next,
            })))
        })
        .await
}

fn not_listed(reason: NotListed) -> ApiError {
    match reason {
        NotListed::UnknownTenant => unknown_tenant(),
        NotListed::TooMany => {
            bad_request(format!("more than {MOST_MEMBERS} members: choose a manager or a shorter window"))
        }
    }
}

/// The figure in the row of the subject that is asked about.
fn value(snapshot: &TenantSnapshot, figure: &Behind, filters: &super::asked::Filters) -> Option<(i64, Option<i64>)> {
    let subject = match (filters.get("manager"), filters.get("department")) {
        (Some(id), _) => Subject::Manager(id.as_str().into()),
        (None, Some(id)) => Subject::Department(id.as_str().into()),
        (None, None) => Subject::Tenant,
    };
    let longest = snapshot.norms.windows.iter().max_by_key(|window| window.size);
    let window = filters.get("window").cloned().or_else(|| longest.map(|window| window.name().to_string()));
    let is_asked = |row: &&Row| {
        row.subject == subject
            && match &row.figures {
                Figures::Window(own, _) => !figure.now && window.as_ref().is_some_and(|name| own.name() == *name),
                Figures::Now(_) => figure.now,
                _ => false,
            }
    };
    let row = snapshot.rows.iter().find(is_asked)?;
    figure.value(row, &|label| filters.get(label).map(String::as_str))
}

/// The members after a cursor, and where the list goes on.
fn page(members: Vec<FigureMember>, cursor: Option<(i64, usize)>, limit: usize) -> (Vec<FigureMember>, Option<String>) {
    let is_after = |member: &FigureMember, of_instant: usize| match cursor {
        None => true,
        Some((at, passed)) => member.at.0 < at || member.at.0 == at && of_instant >= passed,
    };
    let (mut page, mut last, mut of_instant) = (Vec::new(), None::<Timestamp>, 0);
    for member in members {
        of_instant = if last == Some(member.at) { of_instant + 1 } else { 0 };
        last = Some(member.at);
        if !is_after(&member, of_instant) {
            continue;
        }
        if page.len() == limit {
            return (page, Some(format!("{}.{of_instant}", member.at.0)));
        }
        page.push(member);
    }
    (page, None)
}

fn entry(member: &FigureMember, figure: &Behind) -> Value {
    json!({
        // A plan without a deadline has no date.
        "at": (member.at < Timestamp::MAX).then(|| member.at.to_string()),
        "manager_id": member.manager.as_ref().map(ManagerId::as_str),
        "department_id": member.department.as_str(),
        "entity": member.origin.entity.as_ref().map(EntityId::to_string),
        "contact": member.origin.contact.as_deref(),
        "interaction_id": member.origin.interaction.as_deref(),
        "counts": figure.share.then_some(member.counts),
        "value": member.value,
    })
}

pub(super) async fn history(Asked(request, (tenant, name), filters): Asked<(String, String)>) -> ApiResult {
    check(&filters, &HISTORY)?;
    let id = request.tenant(&tenant)?;
    request
        .answer(move |source: &Source| {
            let subject = match (filters.get("manager"), filters.get("department")) {
                (Some(_), Some(_)) => return Err(bad_request("expected manager or department, and not both")),
                (Some(id), None) => Subject::Manager(id.as_str().into()),
                (None, Some(id)) => Subject::Department(id.as_str().into()),
                (None, None) => Subject::Tenant,
            };
            let snapshot = source.snapshot(&id).ok_or_else(unknown_tenant)?;
            if !snapshot.rows.iter().any(|row| row.subject == subject) {
                return Err(not_found("no figures for this subject"));
            }
            let course = source.course(&id, &subject, &name).ok_or_else(unknown_tenant)?;
            let course = course.ok_or_else(|| not_found("the course of this figure is not kept"))?;
            let point = |(at, value): &(Timestamp, Option<f64>)| json!({"at": at.to_string(), "value": value});
            Ok(written(json!({
                "tenant_id": id.as_str(),
                "figure": name,
                "subject": subject.to_string(),
                "window": History::window(&snapshot.norms).map(|window| window.name().to_string()),
                "points": course.iter().map(point).collect::<Vec<_>>(),
            })))
        })
        .await
}
