//! Writes metric rows as JSON: the fields of the table of figures, in its order.

use super::write::{Object, object};
use crate::domain::figures::row::Row;
use crate::domain::figures::table::{Field, FigureValue};

/// Writes a metric row as one JSON object.
pub fn encode_row(row: &Row, out: &mut Vec<u8>) {
    object(out, |object| {
        object.field("tenant_id", &row.tenant);
        object.field("subject", &row.subject.to_string());
        object.field("window", &row.figures.window());
        object.field("at", &row.at);
        object.field("historic", &row.historic.then_some(true));
        fields(object, &row.figures.fields());
    });
}

fn fields(object: &mut Object<'_>, fields: &[Field<'_>]) {
    fields.iter().for_each(|(key, _, found)| value(object, key, found));
}

fn value(object: &mut Object<'_>, key: &str, found: &FigureValue<'_>) {
    match found {
        FigureValue::Count(n) => object.field(key, n),
        FigureValue::Number(number) => object.field(key, number),
        FigureValue::Absent => {}
        FigureValue::Flag(flag) => object.field(key, flag),
        FigureValue::Optional(number) => object.field(key, &number.unwrap_or(f64::NAN)),
        FigureValue::Share(share) => object.object(key, |object| fields(object, &share.fields())),
        FigureValue::Lags(lags) => object.object(key, |object| fields(object, &lags.fields())),
        FigureValue::Group(group) => object.object(key, |object| fields(object, group)),
        FigureValue::Map(entries) => object.object(key, |object| {
            entries.iter().for_each(|(name, found)| value(object, name, found));
        }),
    }
}
