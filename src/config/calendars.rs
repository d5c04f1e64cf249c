//! Reads the calendars of the norms: those of the document, and those of the files that it includes.

use super::keys;
use super::schema::reader::Reader;
use super::schema::typed::Typed;
use super::schema::value::{Table, Value};
use crate::domain::time::calendar::{Calendar, CalendarError, Hours, WEEKDAYS};
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
                reader.problem(line, "include", format!("cannot read {file}: {}", error.kind()));
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

struct Parts<'t> {
    name: &'t str,
    zone: &'t str,
    week: [Vec<Hours>; 7],
    days: BTreeMap<Date, Vec<Hours>>,
}

fn calendar(reader: &mut Reader<'_>, name: &str, table: &Table) -> Option<Calendar> {
    let ordinary = table.table("week")?;
    let week = WEEKDAYS.map(|day| ordinary.value(day).map(hours).unwrap_or_default());
    let years: BTreeSet<i16> = table.list("years").iter().filter_map(Typed::read).collect();
    let mut days = BTreeMap::new();
    let mut unlisted = BTreeSet::new();
    for (_, date, value) in dates(table) {
        if !years.contains(&date.year()) && unlisted.insert(date.year()) {
            let text = format!("{date} is listed, but {} is not in `years`", date.year());
            reader.note(value.line, table.path_of("days"), text);
        }
        days.insert(date, hours(value));
    }
    if week.iter().all(Vec::is_empty) {
        reader.note(ordinary.line, &ordinary.path, "the week has no working hours: business clocks do not advance");
    }
    let parts = Parts { name, zone: table.text("timezone")?, week, days };
    match Calendar::new(name, parts.zone, parts.week.clone(), parts.days.clone(), years) {
        Ok(calendar) => Some(calendar),
        Err(error) => {
            report(reader, table, ordinary, &parts, &error);
            None
        }
    }
}

/// Reports an error on its line, which is found by trying each day alone.
fn report(reader: &mut Reader<'_>, table: &Table, ordinary: &Table, parts: &Parts<'_>, error: &CalendarError) {
    let reported = reader.problems.len();
    let alone = |week, days| Calendar::new(parts.name, parts.zone, week, days, BTreeSet::new()).err();
    for (index, day) in WEEKDAYS.into_iter().enumerate() {
        let mut week: [Vec<Hours>; 7] = Default::default();
        week[index].clone_from(&parts.week[index]);
        if let Some(error) = alone(week, BTreeMap::new()) {
            reader.problem_of(ordinary, day, error.to_string());
        }
    }
    for (text, date, value) in dates(table) {
        if let Some(error) = alone(Default::default(), BTreeMap::from([(date, hours(value))])) {
            reader.problem(value.line, format!("{}.{text}", table.path_of("days")), error.to_string());
        }
    }
    if reader.problems.len() == reported {
        reader.problem(table.line, &table.path, error.to_string());
    }
}

/// The listed days, as written and as dates; invalid dates have been reported.
fn dates(table: &Table) -> impl Iterator<Item = (&str, Date, &Value)> {
    table.map("days").iter().filter_map(|(text, value)| Some((text.as_str(), text.parse().ok()?, value)))
}

fn hours(value: &Value) -> Vec<Hours> {
    let texts: Vec<CompactString> = Typed::read(value).unwrap_or_default();
    texts.iter().filter_map(|text| Hours::parse(text)).collect()
}
