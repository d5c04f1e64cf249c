//! The Rust types that values of a document are read as, and how they are written in document syntax.

use super::key::ValueKind;
use super::text::word;
use super::units::format_span;
use super::value::{Data, Table, Value};
use crate::domain::identity::Country;
use crate::domain::time::{Length, Span};
use compact_str::CompactString;

/// A type that values can be read as.
pub(crate) trait Typed: Sized {
    /// The value as this type; `None` if it is of another kind or was rejected.
    fn read(value: &Value) -> Option<Self>;

    /// The value in document syntax.
    fn show(&self) -> String;

    /// The durations that it contains.
    fn lengths(&self) -> Vec<Length> {
        Vec::new()
    }
}

impl Table {
    /// The value of a key.
    pub(crate) fn get<T: Typed>(&self, name: &str) -> Option<T> {
        T::read(self.value(name)?)
    }
}

/// A type with a fixed set of values, spelled by name.
pub(crate) trait Named: Copy + 'static {
    /// The values, in the order in which the documentation lists them.
    const ALL: &'static [Self];

    fn name(self) -> &'static str;
}

/// Implements [`Named`] for enums whose values have names: for all values, or for those listed.
macro_rules! named {
    ($($type:ident)*) => {
        named! { $($type: $type::ALL;)* }
    };
    ($($type:ident: $values:expr;)*) => {$(
        impl $crate::config::schema::typed::Named for $type {
            const ALL: &'static [Self] = &$values;

            fn name(self) -> &'static str {
                $type::name(self)
            }
        }
    )*};
}
pub(crate) use named;

/// One of the values of `T`, by name.
pub(crate) const fn one_of<T: Named>() -> ValueKind {
    ValueKind::Name(|| T::ALL.iter().map(|value| value.name()).collect())
}

impl<T: Named> Typed for T {
    fn read(value: &Value) -> Option<Self> {
        let name = value.text()?;
        T::ALL.iter().copied().find(|value| value.name() == name)
    }

    fn show(&self) -> String {
        self.name().into()
    }
}

impl<T: Typed> Typed for Vec<T> {
    fn read(value: &Value) -> Option<Self> {
        match &value.data {
            Data::List(items) => Some(items.iter().filter_map(T::read).collect()),
            _ => None,
        }
    }

    fn show(&self) -> String {
        format!("[{}]", self.iter().map(T::show).collect::<Vec<_>>().join(", "))
    }

    fn lengths(&self) -> Vec<Length> {
        self.iter().flat_map(T::lengths).collect()
    }
}

impl Typed for Length {
    fn read(value: &Value) -> Option<Self> {
        match value.data {
            Data::Length(length) => Some(length),
            _ => None,
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn lengths(&self) -> Vec<Length> {
        vec![*self]
    }
}

macro_rules! plain {
    ($($type:ty, $value:ident => $read:expr, $show:expr;)*) => {$(
        impl Typed for $type {
            fn read($value: &Value) -> Option<Self> {
                $read
            }

            fn show(&self) -> String {
                $show(self)
            }
        }
    )*};
}

plain! {
    bool, value => if let Data::Flag(flag) = value.data { Some(flag) } else { None }, ToString::to_string;
    i64, value => if let Data::Count(count) = value.data { Some(count) } else { None }, ToString::to_string;
    f64, value => if let Data::Number(number) = value.data { Some(number) } else { None }, ToString::to_string;
    Country, value => Country::parse(value.text()?), |country: &Country| country.name().into();
    // A duration whose unit does not matter.
    Span, value => Length::read(value).map(|length| length.span), |span: &Span| format_span(*span);
    CompactString, value => value.text().map(Into::into), |text: &CompactString| word(text);
    String, value => value.text().map(Into::into), |text: &String| word(text);
    // Counts of a kind that is limited to the range of the type.
    i16, value => i64::read(value)?.try_into().ok(), ToString::to_string;
    u32, value => i64::read(value)?.try_into().ok(), ToString::to_string;
    usize, value => i64::read(value)?.try_into().ok(), ToString::to_string;
}
