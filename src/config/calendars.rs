//! Reads the calendars of the norms: those of the document, and those of the files that it includes.

use super::keys;
use super::schema::env::reason;
use super::schema::reader::Reader;
use super::schema::typed::Typed;
use super::schema::value::{Data, Table, Value};
use crate::domain::time::calendar::{Calendar, CalendarError};
use crate::domain::time::hours::{CalendarDay, Hours, WEEKDAYS};
use compact_str::CompactString;
use jiff::civil::Date;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The calendars of a document and of the files it includes.
pub(super) struct Calendars {
    /// The valid ones.
    pub(super) built: BTreeMap<CompactString, Arc<Calendar>>,
    /// File and line of each name, including invalid calendars.
    named: BTreeMap<String, (String, usize)>,
    /// Whether all files could be read.
    all_read: bool,
}

impl Calendars {
    /// Reads the calendars of a document; those of the included files become part of it.
    pub(super) fn read(reader: &mut Reader<'_>, root: &mut Table) -> Self {
        let mut calendars = Self { built: BTreeMap::new(), named: BTreeMap::new(), all_read: true };
        calendars.add(reader, root);
        for item in root.list("include").to_vec() {
            match item.text().and_then(|name| calendars.include(reader, item.line, name)) {
                Some(included) => root.extend("calendars", included.map("calendars")),
                None => calendars.all_read = false,
            }
        }
        calendars
    }

    fn include(&mut self, reader: &mut Reader<'_>, line: usize, name: &str) -> Option<Table> {
        let path = reader.locate(name);
        let file = path.display().to_string();
        let text = match reader.env().file(&path) {
            Ok(text) => text,
            Err(error) => {
                reader.problem(line, "include", format!("cannot read {file}: {}", reason(&error)));
                return None;
            }
        };
        let mut inner = Reader::new(&file, &text, reader.env());
        let table = inner.document(&[keys::INCLUDED]);
        self.all_read &= table.is_set("calendars");
        self.add(&mut inner, &table);
        reader.merge(inner, path);
        Some(table)
    }

    /// The names of all calendars; `None` if some of them are unknown.
    pub(super) fn names(&self) -> Option<Vec<&str>> {
        self.all_read.then(|| self.named.keys().map(String::as_str).collect())
    }

    /// Adds the calendars of one file; a duplicate name is a problem.
    fn add(&mut self, reader: &mut Reader<'_>, table: &Table) {
        for (name, value) in table.map("calendars") {
            if let Some((file, line)) = self.named.get(name) {
                let text = format!("duplicate calendar `{name}`, first defined in {file} on line {line}");
                reader.problem(value.line, format!("{}.{name}", table.path_of("calendars")), text);
                continue;
            }
            self.named.insert(name.clone(), (reader.name().into(), value.line));
            if let Some(calendar) = value.table().and_then(|table| calendar(reader, name, table)) {
                self.built.insert(name.as_str().into(), Arc::new(calendar));
            }
        }
    }
}

fn calendar(reader: &mut Reader<'_>, name: &str, table: &Table) -> Option<Calendar> {
    let ordinary = table.table("week")?;
    let week = WEEKDAYS.map(|day| {
        let path = ordinary.path_of(day);
        ordinary.value(day).map(|value| hours(reader, value, &path)).unwrap_or_default()
    });
    let years: BTreeSet<i16> = table.list("years").iter().filter_map(Typed::read).collect();
    let mut days = BTreeMap::new();
    let mut unlisted = BTreeSet::new();
    for (text, date, value) in dates(table) {
        if !years.contains(&date.year()) && unlisted.insert(date.year()) {
            let text = format!("{date} is listed, but {} is not in `years`", date.year());
            reader.note(value.line, table.path_of("days"), text);
        }
        days.insert(date, hours(reader, value, &path_of_date(table, text)));
    }
    if week.iter().all(Vec::is_empty) {
        reader.note(ordinary.line, &ordinary.path, "the week has no working hours: business clocks do not advance");
    }
    match Calendar::new(name, table.text("timezone")?, week, days, years) {
        Ok(calendar) => return Some(calendar),
        Err(CalendarError::Schedule(errors)) => {
            for error in errors {
                let (line, path) = place(table, ordinary, error.day());
                reader.problem(line, path, error.to_string());
            }
        }
        Err(error) => reader.problem(table.line, &table.path, error.to_string()),
    }
    None
}

/// The line and the path of a day.
fn place(table: &Table, ordinary: &Table, day: CalendarDay) -> (usize, String) {
    let listed = dates(table).find(|(_, date, _)| day == CalendarDay::Date(*date));
    match listed {
        Some((text, _, value)) => (value.line, path_of_date(table, text)),
        None => (ordinary.line_of(&day.to_string()), ordinary.path_of(&day.to_string())),
    }
}

fn path_of_date(table: &Table, text: &str) -> String {
    format!("{}.{text}", table.path_of("days"))
}

/// The listed days, as written and as dates; invalid dates have been reported.
fn dates(table: &Table) -> impl Iterator<Item = (&str, Date, &Value)> {
    table.map("days").iter().filter_map(|(text, value)| Some((text.as_str(), text.parse().ok()?, value)))
}

/// The hours of a day at `path`. Notes those that are probably not meant so.
fn hours(reader: &mut Reader<'_>, value: &Value, path: &str) -> Vec<Hours> {
    let Data::List(items) = &value.data else { return Vec::new() };
    let parse = |(index, item): (usize, &Value)| Some((index, item.line, Hours::parse(item.text()?).ok()?));
    let hours: Vec<_> = items.iter().enumerate().filter_map(parse).collect();
    for (index, line, hours) in &hours {
        let length = hours.end - hours.start;
        if hours.end == Hours::DAY - 1 {
            let to_midnight = Hours { end: Hours::DAY, ..*hours };
            let text = format!("{hours} ends a minute before midnight; did you mean {to_midnight}?");
            reader.note(*line, format!("{path}[{index}]"), text);
        } else if hours.is_night() && length > LONGEST_NIGHT {
            let text = format!("{hours} ends on the next day, {} hours later; is that intended?", length / 60);
            reader.note(*line, format!("{path}[{index}]"), text);
        }
    }
    hours.into_iter().map(|(.., hours)| hours).collect()
}

/// In minutes: longer shifts that pass midnight are probably hours of the afternoon in the morning.
const LONGEST_NIGHT: u32 = 16 * 60;
