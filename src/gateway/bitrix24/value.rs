//! Owns the reading of what a portal answers. The older methods write numbers as strings and the newer ones as numbers; what
//! is absent is `null`, `""`, `0`, `"0"`, `false`, `[]` or `{}`; a list with gaps comes as an object.

use crate::domain::time::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;

/// An object of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a>(pub(super) &'a Value);

impl<'a> Row<'a> {
    /// The field as it stands; `None` if it is absent or null.
    pub(super) fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A text without blanks around it, or a number as text; never empty.
    pub(super) fn text(self, name: &str) -> Option<String> {
        self.get(name).and_then(text)
    }

    /// An id: a text other than `0`.
    pub(super) fn id(self, name: &str) -> Option<String> {
        self.text(name).filter(|id| id != "0")
    }

    /// A positive whole number.
    pub(super) fn number(self, name: &str) -> Option<u64> {
        self.get(name).and_then(whole).filter(|number| *number > 0)
    }

    /// A number, also with a decimal point.
    pub(super) fn decimal(self, name: &str) -> Option<f64> {
        self.get(name).and_then(decimal)
    }

    /// A flag: `Y`, `1`, `true`.
    pub(super) fn flag(self, name: &str) -> bool {
        self.get(name).is_some_and(is_yes)
    }

    /// The elements of a list, whatever its form.
    pub(super) fn list(self, name: &str) -> Vec<&'a Value> {
        self.get(name).map(elements).unwrap_or_default()
    }

    /// The object in a field; empty lists are none.
    pub(super) fn row(self, name: &str) -> Option<Row<'a>> {
        self.get(name).filter(|value| value.is_object()).map(Row)
    }

    /// An instant.
    pub(super) fn time(self, name: &str, zone: &Zone) -> Option<Timestamp> {
        self.text(name).and_then(|text| zone.read(&text))
    }
}

/// A text without blanks around it, or a number as text; never empty.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A whole number that is not negative.
pub(super) fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64().or_else(|| {
            let number = number.as_f64()?;
            (number >= 0.0 && number.fract() == 0.0 && number < 9e15).then_some(number as u64)
        }),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A finite number.
pub(super) fn decimal(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        // Money comes as `1500|RUB` in fields that a portal has defined itself.
        Value::String(text) => text.trim().split('|').next()?.replace(',', ".").parse().ok(),
        _ => None,
    }
    .filter(|number: &f64| number.is_finite())
}

/// Whether a flag is set.
pub(super) fn is_yes(value: &Value) -> bool {
    match value {
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() == Some(1.0),
        Value::String(text) => matches!(text.trim(), "Y" | "y" | "1" | "true"),
        _ => false,
    }
}

/// The elements of a list, or the values of an object that stands for one.
pub(super) fn elements(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    }
}

/// Whether a field of a lead or deal is filled.
pub(super) fn is_filled(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        // Of flags, only `Y` is something that a manager has filled in.
        Value::String(text) => !matches!(text.trim(), "" | "0" | "N"),
        Value::Array(list) => list.iter().any(is_filled),
        Value::Object(map) => map.values().any(is_filled),
    }
}

/// The name of a field without its spelling: `UF_CRM_REASON` and `ufCrmReason` are equal, so are `STATUS_DESCRIPTION` and
/// `statusDescription`.
pub(super) fn plain_name(name: &str) -> String {
    name.chars().filter(|letter| *letter != '_').flat_map(char::to_lowercase).collect()
}

/// The time zone of times without an offset.
#[derive(Clone, Debug)]
pub(super) struct Zone(TimeZone);

impl Zone {
    pub(super) fn new(zone: TimeZone) -> Self {
        Self(zone)
    }

    /// The zone of an IANA name.
    #[cfg(test)]
    pub(super) fn named(name: &str) -> Self {
        Self(jiff::tz::TimeZoneDatabase::bundled().get(name).expect(name))
    }

    /// Reads an instant in one of the forms of the portals.
    pub(super) fn read(&self, text: &str) -> Option<Timestamp> {
        if let Some(at) = Timestamp::parse(text) {
            return Some(at);
        }
        let local = ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M:%S", "%Y-%m-%d", "%d.%m.%Y"];
        let local = local.iter().find_map(|form| {
            DateTime::strptime(form, text)
                .ok()
                .or_else(|| jiff::civil::Date::strptime(form, text).ok().map(|date| date.at(0, 0, 0, 0)))
        })?;
        let at = self.0.to_ambiguous_timestamp(local).compatible().ok()?;
        Timestamp::checked(at.as_millisecond())
    }

    /// An instant as a filter of the portals reads it.
    pub(super) fn bound(&self, at: Timestamp) -> String {
        let at = jiff::Timestamp::from_millisecond(at.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        self.0.to_datetime(at).strftime("%Y-%m-%dT%H:%M:%S").to_string() + &self.offset(at)
    }

    fn offset(&self, at: jiff::Timestamp) -> String {
        let seconds = self.0.to_offset(at).seconds();
        let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.unsigned_abs() / 60);
        format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }

    /// The first instant of the month that contains `at`, and of the one after it.
    pub(super) fn month(&self, at: Timestamp) -> (Timestamp, Timestamp) {
        let instant = jiff::Timestamp::from_millisecond(at.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let first = self.0.to_datetime(instant).date().first_of_month();
        let next = first.saturating_add(jiff::Span::new().months(1));
        let midnight = |date: jiff::civil::Date| {
            let at = self.0.to_ambiguous_timestamp(date.at(0, 0, 0, 0)).compatible();
            Timestamp(at.map_or(i64::MAX, |at| at.as_millisecond()))
        };
        (midnight(first), midnight(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_spellings_of_the_interface_are_read() {
        let value = json!({"ID": "41", "id": 41, "none": null, "zero": "0", "blank": " ", "sum": "999.90", "money": "1500|RUB",
            "yes": "Y", "no": "N", "empty": [], "gaps": {"3": "a"}, "double": 7.0});
        let row = Row(&value);
        assert_eq!((row.number("ID"), row.number("id"), row.number("double")), (Some(41), Some(41), Some(7)));
        assert_eq!(
            (row.id("none"), row.id("zero"), row.id("blank"), row.id("id")),
            (None, None, None, Some("41".into()))
        );
        assert_eq!((row.decimal("sum"), row.decimal("money")), (Some(999.9), Some(1500.0)));
        assert!(row.flag("yes") && !row.flag("no") && row.list("empty").is_empty() && row.list("gaps").len() == 1);
        let filled = ["ID", "sum", "yes", "gaps"];
        for (name, field) in value.as_object().expect("an object") {
            assert_eq!(
                is_filled(field),
                filled.contains(&name.as_str()) || ["id", "money", "double"].contains(&name.as_str()),
                "{name}"
            );
        }
        assert_eq!(plain_name("UF_CRM_1720000000"), plain_name("ufCrm_1720000000"));
        assert_eq!(plain_name("STATUS_DESCRIPTION"), plain_name("statusDescription"));
    }

    #[test]
    fn times_are_read_in_every_form() {
        let zone = Zone::named("Europe/Moscow");
        let noon = Timestamp::parse("2026-03-02T09:00:00Z");
        for text in ["2026-03-02T12:00:00+03:00", "2026-03-02 12:00:00", "02.03.2026 12:00:00", "2026-03-02T12:00:00"] {
            assert_eq!(zone.read(text), noon, "{text}");
        }
        assert_eq!(zone.read("2026-03-02"), Timestamp::parse("2026-03-01T21:00:00Z"));
        assert_eq!(zone.read("soon"), None);
        let noon = noon.expect("valid");
        assert_eq!(zone.bound(noon), "2026-03-02T12:00:00+03:00");
        let (first, next) = zone.month(noon);
        assert_eq!(
            (zone.bound(first), zone.bound(next)),
            ("2026-03-01T00:00:00+03:00".into(), "2026-04-01T00:00:00+03:00".into())
        );
    }
}
