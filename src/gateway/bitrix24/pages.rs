//! Owns the reading of lists: pages of 50 rows by ascending id, and rows that have changed since an instant.
//!
//! Pages follow each other inside one batch: a command takes the last id of the page before it from the answers. Where a
//! portal does not do that, the next batch continues after the last page that was read.
//!
//! A filter by date is shifted by the difference between the zones of the webhook's owner and of the server, up to 14
//! hours in either direction. So every such bound is widened by [`MARGIN`], and compared again here.

use super::answer::Failure;
use super::client::{Client, LISTS_PER_BATCH};
use super::query::Command;
use super::value::{Row, Zone};
use crate::domain::time::{Span, Timestamp};
use crate::gateway::source::ReadError;
use serde_json::{Map, Value, json};

/// Rows in a page of every portal.
pub(super) const PAGE: usize = 50;

/// By how much bounds of time are widened.
pub(super) const MARGIN: Span = Span(14 * 3_600_000);

/// A list of a portal.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    /// The method.
    pub(super) method: &'static str,
    /// The type of the objects, where one method lists several.
    pub(super) type_id: Option<u64>,
    /// The field with the id.
    pub(super) id: &'static str,
    /// Where the rows are in the result; they are the result itself if this is empty.
    pub(super) within: &'static str,
    /// What is asked for in addition to all fields.
    pub(super) select: &'static [&'static str],
    /// Whether the parameters are written as those of the telephony are.
    pub(super) telephony: bool,
}

impl List {
    /// Objects of the CRM.
    pub(super) const fn items(type_id: u64) -> Self {
        let (method, type_id) = ("crm.item.list", Some(type_id));
        Self { method, type_id, id: "id", within: "items", select: &["*"], telephony: false }
    }

    /// Rows of the stage history.
    pub(super) const fn history(type_id: u64) -> Self {
        let (method, type_id) = ("crm.stagehistory.list", Some(type_id));
        Self { method, type_id, id: "ID", within: "items", select: &[], telephony: false }
    }

    /// Activities.
    pub(super) const ACTIVITIES: Self = Self {
        method: "crm.activity.list",
        type_id: None,
        id: "ID",
        within: "",
        select: &["*", "COMMUNICATIONS"],
        telephony: false,
    };

    /// Statistics of calls.
    pub(super) const CALLS: Self =
        Self { method: "voximplant.statistic.get", type_id: None, id: "ID", within: "", select: &[], telephony: true };

    /// A command for one page.
    pub(super) fn command(&self, filter: Map<String, Value>, order: &[(&str, &str)], start: i64) -> Command {
        let mut params = Map::new();
        if self.telephony {
            params.insert("FILTER".into(), filter.into());
            if let Some((field, direction)) = order.first() {
                params.insert("SORT".into(), (*field).into());
                params.insert("ORDER".into(), (*direction).into());
            }
            params.insert("start".into(), start.max(0).into());
        } else {
            if let Some(type_id) = self.type_id {
                params.insert("entityTypeId".into(), type_id.into());
            }
            if !self.select.is_empty() {
                params.insert("select".into(), json!(self.select));
            }
            params.insert("filter".into(), filter.into());
            let order = order.iter().map(|(field, direction)| ((*field).to_owned(), Value::from(*direction)));
            params.insert("order".into(), order.collect::<Map<_, _>>().into());
            params.insert("start".into(), start.into());
        }
        Command { method: self.method, params: params.into() }
    }

    /// The rows of a result.
    pub(super) fn rows(&self, result: Value) -> Vec<Value> {
        let rows = match result {
            Value::Object(mut map) if !self.within.is_empty() => map.remove(self.within).unwrap_or_default(),
            other => other,
        };
        match rows {
            Value::Array(rows) => rows,
            Value::Object(map) => map.into_iter().map(|(_, row)| row).collect(),
            _ => Vec::new(),
        }
    }

    /// The id of a row; 0 if it has none.
    pub(super) fn id_of(&self, row: &Value) -> u64 {
        Row(row).number(self.id).unwrap_or(0)
    }

    /// The highest id of the rows that `is_known` selects; if there are none, the one before the lowest id.
    pub(super) fn last_of_rows(&self, rows: &[Value], is_known: impl Fn(&&Value) -> bool) -> u64 {
        let lowest = rows.iter().map(|row| self.id_of(row)).min().unwrap_or(0).saturating_sub(1);
        rows.iter().filter(is_known).map(|row| self.id_of(row)).max().unwrap_or(lowest)
    }

    /// The last id of the page that a command of a batch answers.
    fn last_of(&self, label: usize) -> String {
        let within = if self.within.is_empty() { String::new() } else { format!("[{}]", self.within) };
        format!("$result[c{label}]{within}[{}][{}]", PAGE - 1, self.id)
    }
}

/// What was read, and whether there is more.
#[derive(Debug)]
pub(super) struct Read {
    /// The rows by ascending id.
    pub(super) rows: Vec<Value>,
    /// There may be more rows after the last one.
    pub(super) more: bool,
}

/// Reads the page with the highest ids; `None` if there is no answer.
pub(super) fn newest(client: &mut Client, list: &List) -> Result<Result<Option<Vec<Value>>, Failure>, ReadError> {
    let command = list.command(Map::new(), &[("ID", "DESC")], -1);
    let reply = client.batch(&[command], 1)?.pop().transpose();
    Ok(reply.map(|reply| reply.map(|reply| list.rows(reply.result))))
}

/// Reads the rows after an id that pass a filter, at most `pages` pages of them. After a failure, the pages before it are
/// returned, and more are announced.
pub(super) fn after(
    client: &mut Client,
    list: &List,
    filter: &Map<String, Value>,
    after: u64,
    pages: usize,
) -> Result<Result<Read, Failure>, ReadError> {
    let mut read = Read { rows: Vec::new(), more: true };
    let (mut last, mut count) = (after, 0);
    while read.more && count < pages {
        // Most of the time there is no second page.
        let size = if count == 0 { 1 } else { client.lists_per_batch().min(pages - count) };
        let key = format!(">{}", list.id);
        let commands: Vec<Command> = (0..size)
            .map(|index| {
                let mut filter = filter.clone();
                let bound = if index == 0 { last.into() } else { list.last_of(index - 1).into() };
                filter.insert(key.clone(), bound);
                list.command(filter, &[(list.id, "ASC")], -1)
            })
            .collect();
        let before = last;
        for (index, answer) in client.batch(&commands, LISTS_PER_BATCH)?.into_iter().enumerate() {
            let reply = match answer {
                Ok(reply) => reply,
                // The page before was the last one, or the portal does not know references.
                Err(_) if index > 0 => break,
                // What was read before is used; the next call meets the failure at once.
                Err(_) if count > 0 => return Ok(Ok(read)),
                Err(failure) => return Ok(Err(failure)),
            };
            let mut rows = list.rows(reply.result);
            let full = rows.len() >= PAGE;
            rows.sort_by_key(|row| list.id_of(row));
            rows.retain(|row| list.id_of(row) > last);
            let Some(highest) = rows.last().map(|row| list.id_of(row)) else {
                read.more = index > 0 && full;
                break;
            };
            last = highest;
            read.rows.extend(rows);
            count += 1;
            read.more = full;
            if !full {
                break;
            }
        }
        if last == before {
            read.more = false;
        }
    }
    Ok(Ok(read))
}

/// Reads all rows after an id that pass a filter.
pub(super) fn all_after(
    client: &mut Client,
    list: &List,
    filter: &Map<String, Value>,
    mut last: u64,
) -> Result<Result<Vec<Value>, Failure>, ReadError> {
    let mut rows = Vec::new();
    loop {
        let read = match after(client, list, filter, last, LISTS_PER_BATCH)? {
            Ok(read) => read,
            Err(failure) => return Ok(Err(failure)),
        };
        last = read.rows.last().map_or(last, |row| list.id_of(row));
        rows.extend(read.rows);
        if !read.more {
            return Ok(Ok(rows));
        }
    }
}

/// Rows that have changed.
#[derive(Debug)]
pub(super) enum Changed {
    /// All of them.
    All(Vec<Value>),
    /// There are many: all rows of the window have to be read by id.
    Many,
}

/// A filter for rows whose field `date` is not before `since`, widened.
pub(super) fn since_filter(zone: &Zone, date: &str, since: Timestamp) -> Map<String, Value> {
    Map::from_iter([(format!(">={date}"), Value::from(zone.bound(since.saturating_sub(MARGIN))))])
}

/// Reads the rows whose field `date` is not before `since`.
///
/// The newest page is enough if it reaches back to `since`; else all rows of the widened window have to be read by id.
/// It is ordered by the date alone: parameters are sent in the order of their names, and a portal sorts by the first.
pub(super) fn changed(
    client: &mut Client,
    list: &List,
    date: &str,
    since: Timestamp,
) -> Result<Result<Changed, Failure>, ReadError> {
    let zone = client.zone().clone();
    let newest = list.command(since_filter(&zone, date, since), &[(date, "DESC")], -1);
    let answer = client.batch(&[newest], 1)?.pop().unwrap_or(Err(Failure::NotFound));
    let rows = match answer {
        Ok(reply) => list.rows(reply.result),
        Err(failure) => return Ok(Err(failure)),
    };
    let time = |row: &Value| Row(row).time(date, &zone);
    let descending = rows.windows(2).all(|pair| time(&pair[0]) >= time(&pair[1]));
    let reaches = rows.last().and_then(time).is_some_and(|oldest| oldest < since);
    if rows.len() < PAGE || descending && reaches {
        return Ok(Ok(Changed::All(rows)));
    }
    Ok(Ok(Changed::Many))
}

/// Reads the rows whose field `field` is one of `ids`, which may give several rows each.
pub(super) fn of_ids(
    client: &mut Client,
    list: &List,
    field: &str,
    ids: &[u64],
) -> Result<Result<Vec<Value>, Failure>, ReadError> {
    let key = format!("@{field}");
    let parts: Vec<&[u64]> = ids.chunks(PAGE).collect();
    let filter = |part: &[u64]| Map::from_iter([(key.clone(), json!(part))]);
    let commands: Vec<Command> = parts.iter().map(|part| list.command(filter(part), &[(list.id, "ASC")], -1)).collect();
    let mut all = Vec::new();
    for (part, answer) in parts.iter().zip(client.batch(&commands, LISTS_PER_BATCH)?) {
        let mut rows = match answer {
            Ok(reply) => list.rows(reply.result),
            Err(failure) => return Ok(Err(failure)),
        };
        // Objects are one row each; of a history, there may be further pages.
        if rows.len() >= PAGE && field != list.id {
            let last = rows.iter().map(|row| list.id_of(row)).max().unwrap_or(0);
            match all_after(client, list, &filter(part), last)? {
                Ok(further) => rows.extend(further),
                Err(failure) => return Ok(Err(failure)),
            }
        }
        all.extend(rows);
    }
    all.sort_by_key(|row| list.id_of(row));
    all.dedup_by_key(|row| list.id_of(row));
    Ok(Ok(all))
}
