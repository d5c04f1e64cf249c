//! Writes values of events as the fields of protobuf messages, without building the messages first.

use crate::codec::names::{Name, Text, text_types};
use crate::codec::proto::fields::{self, Field};
use crate::domain::event::Contact;
use crate::domain::id::{
    ActivityId, CallId, DepartmentId, EntityId, EventId, LegId, ManagerId, MessageId, PipelineId, SessionId, SourceId,
    StageId, TenantId, ThreadId,
};
use crate::domain::time::{Span, Timestamp};
use compact_str::CompactString;
use prost::encoding::{WireType, double, encode_key, encode_varint, int64};

/// A value that a field of a message can hold.
pub(super) trait Put {
    /// Appends the field. A default value is left out, unless the presence of the field is explicit.
    fn put(&self, field: Field, out: &mut Vec<u8>);
}

/// Writes bytes with their length.
pub(super) fn message(number: u32, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    encode_key(number, WireType::LengthDelimited, out);
    // One byte for the length, and more where that is not enough.
    let begin = out.len() + 1;
    out.push(0);
    fill(out);
    let length = out.len() - begin;
    match u8::try_from(length) {
        Ok(short @ ..0x80) => out[begin - 1] = short,
        _ => {
            let mut varint = Vec::with_capacity(10);
            encode_varint(length as u64, &mut varint);
            out.splice(begin - 1..begin, varint);
        }
    }
}

fn string(field: Field, value: &str, out: &mut Vec<u8>) {
    if field.explicit || !value.is_empty() {
        encode_key(field.number, WireType::LengthDelimited, out);
        encode_varint(value.len() as u64, out);
        out.extend_from_slice(value.as_bytes());
    }
}

fn integer(field: Field, value: i64, out: &mut Vec<u8>) {
    if field.explicit || value != 0 {
        int64::encode(field.number, &value, out);
    }
}

macro_rules! strings {
    ($($type:ty)*) => {$(
        impl Put for $type {
            fn put(&self, field: Field, out: &mut Vec<u8>) {
                string(field, self.text(), out);
            }
        }
    )*};
}

text_types!(strings);

impl<T: Name> Put for T {
    fn put(&self, field: Field, out: &mut Vec<u8>) {
        integer(field, i64::from(self.number()), out);
    }
}

impl<T: Put> Put for Option<T> {
    fn put(&self, field: Field, out: &mut Vec<u8>) {
        self.iter().for_each(|value| value.put(field, out));
    }
}

impl<T: Put> Put for Vec<T> {
    fn put(&self, field: Field, out: &mut Vec<u8>) {
        // Each of them is written.
        let field = Field { explicit: true, ..field };
        self.iter().for_each(|value| value.put(field, out));
    }
}

impl Put for i64 {
    fn put(&self, field: Field, out: &mut Vec<u8>) {
        integer(field, *self, out);
    }
}

impl Put for bool {
    fn put(&self, field: Field, out: &mut Vec<u8>) {
        integer(field, i64::from(*self), out);
    }
}

impl Put for f64 {
    fn put(&self, field: Field, out: &mut Vec<u8>) {
        if field.explicit || *self != 0.0 {
            double::encode(field.number, self, out);
        }
    }
}

impl Put for Span {
    fn put(&self, field: Field, out: &mut Vec<u8>) {
        self.seconds().put(field, out);
    }
}

impl Put for Timestamp {
    fn put(&self, field: Field, out: &mut Vec<u8>) {
        message(field.number, out, |out| {
            // google.protobuf.Timestamp
            let (seconds, nanos) = (self.0.div_euclid(1000), self.0.rem_euclid(1000) * 1_000_000);
            seconds.put(Field { number: 1, explicit: false }, out);
            nanos.put(Field { number: 2, explicit: false }, out);
        });
    }
}

impl Put for EntityId {
    fn put(&self, field: Field, out: &mut Vec<u8>) {
        message(field.number, out, |out| {
            self.kind.put(fields::Entity::kind, out);
            self.id.put(fields::Entity::id, out);
        });
    }
}

impl Put for Contact {
    fn put(&self, field: Field, out: &mut Vec<u8>) {
        message(field.number, out, |out| match self {
            Self::Phone(phone) => phone.put(fields::Contact::phone, out),
            Self::Email(email) => email.put(fields::Contact::email, out),
            Self::Handle { handle, channel } => {
                handle.put(fields::Contact::handle, out);
                channel.put(fields::Contact::channel, out);
            }
        });
    }
}
