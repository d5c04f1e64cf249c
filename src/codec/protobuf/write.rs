//! Converts values to the field values of the generated protobuf messages.

use crate::codec::names::{Name, Text};
use crate::codec::proto::{self, contact::Address, well_known};
use crate::domain::event::Contact;
use crate::domain::id::EntityId;
use crate::domain::time::{Span, Timestamp};

pub(super) fn write(message: &impl prost::Message, out: &mut Vec<u8>) {
    message.encode(out).expect("a Vec grows as needed");
}

/// A string; empty if absent.
pub(super) fn text(value: &Option<impl ToString>) -> String {
    value.as_ref().map(ToString::to_string).unwrap_or_default()
}

pub(super) fn time(at: Timestamp) -> well_known::Timestamp {
    let nanos = at.0.rem_euclid(1000) * 1_000_000;
    well_known::Timestamp { seconds: at.0.div_euclid(1000), nanos: i32::try_from(nanos).unwrap_or_default() }
}

/// A value of an event that a field of type `P` holds.
pub(super) trait Write<P> {
    fn write(&self) -> P;
}

impl<T: Text + ?Sized> Write<String> for T {
    fn write(&self) -> String {
        self.text().into()
    }
}

impl<T: Text> Write<String> for Option<T> {
    fn write(&self) -> String {
        self.as_ref().map(Write::write).unwrap_or_default()
    }
}

impl<T: Name> Write<i32> for T {
    fn write(&self) -> i32 {
        self.number()
    }
}

impl<T: Name> Write<i32> for Option<T> {
    fn write(&self) -> i32 {
        self.map(Name::number).unwrap_or_default()
    }
}

impl<T: Write<P>, P> Write<Option<P>> for Option<T> {
    fn write(&self) -> Option<P> {
        self.as_ref().map(Write::write)
    }
}

impl<T: Write<P>, P> Write<Vec<P>> for Vec<T> {
    fn write(&self) -> Vec<P> {
        self.iter().map(Write::write).collect()
    }
}

macro_rules! values {
    ($($value:ident: $type:ty => $message:ty: $written:expr,)*) => {$(
        impl Write<$message> for $type {
            fn write(&self) -> $message {
                let $value = self;
                $written
            }
        }
    )*};
}

values! {
    value: f64 => f64: *value,
    value: i64 => i64: *value,
    value: bool => bool: *value,
    value: bool => Option<bool>: Some(*value),
    span: Span => Option<f64>: Some(span.seconds()),
    at: Timestamp => well_known::Timestamp: time(*at),
    months: Option<i64> => Option<i32>: months.and_then(|months| months.try_into().ok()),
    entity: EntityId => proto::Entity: proto::Entity { kind: entity.kind.number(), id: entity.id.to_string() },
    entity: EntityId => Option<proto::Entity>: Some(entity.write()),
    contact: Contact => proto::Contact: {
        let (address, channel) = match contact {
            Contact::Phone(phone) => (Address::Phone(phone.to_string()), 0),
            Contact::Email(email) => (Address::Email(email.to_string()), 0),
            Contact::Handle { handle, channel } => (Address::Handle(handle.to_string()), channel.number()),
        };
        proto::Contact { address: Some(address), channel }
    },
}
