//! The records of applied and of held events.

use super::flaw::StateFlaw;
use super::keys;
use super::records::{Records, bytes, text};
use crate::codec::payloads::payloads;
use crate::codec::proto::crm_event::Payload;
use crate::codec::{proto, protobuf};
use crate::domain::event::EventOrder;
use crate::domain::id::{EventId, TenantId};
use crate::domain::source::{Offset, Source, Topic};
use crate::domain::tenant::changelog::{self, AppliedEvent, PayloadCodec, SourceOffset};
use crate::domain::time::Timestamp;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};

/// How payloads are encoded in applied events.
pub const PACKING: PayloadCodec = PayloadCodec { pack: protobuf::pack, unpack: protobuf::unpack };

/// Writes the key of an event.
type WriteKey = fn(&TenantId, SourceOffset, &mut Vec<u8>);

/// The fields of `StateRecord`.
const APPLIED: u32 = 3;
const HELD: u32 = 8;

impl Records {
    /// Adds an applied event. Returns its key.
    pub fn applied(&mut self, tenant: &TenantId, order: EventOrder, id: Option<&EventId>, packed: &[u8]) -> &[u8] {
        self.event((keys::event, APPLIED), tenant, order, id, packed)
    }

    /// Adds a held event. Returns its key.
    pub fn held(&mut self, tenant: &TenantId, order: EventOrder, id: Option<&EventId>, packed: &[u8]) -> &[u8] {
        self.event((keys::held, HELD), tenant, order, id, packed)
    }

    fn event(
        &mut self,
        (write_key, field): (WriteKey, u32),
        tenant: &TenantId,
        order: EventOrder,
        id: Option<&EventId>,
        packed: &[u8],
    ) -> &[u8] {
        let mut inner = std::mem::take(&mut self.scratch);
        inner.clear();
        text(1, tenant.as_str(), &mut inner);
        number(2, u64::from(order.source), &mut inner);
        number(3, order.offset.0 as u64, &mut inner);
        number(4, zigzag(order.at.0), &mut inner);
        text(5, id.map_or("", |id| id.as_str()), &mut inner);
        bytes(changelog::topic(order).info().state_field, packed, &mut inner);
        let source = (order.source, order.offset);
        let key = self.put(|key| write_key(tenant, source, key), |out| bytes(field, &inner, out));
        self.scratch = inner;
        self.slice(&key)
    }

    /// Adds the tombstone of a held event. Returns its key.
    pub fn remove_held(&mut self, tenant: &TenantId, source: SourceOffset) -> &[u8] {
        self.remove(|key| keys::held(tenant, source, key))
    }

    /// Adds the tombstone of an applied event. Returns its key.
    pub fn remove_applied(&mut self, tenant: &TenantId, source: SourceOffset) -> &[u8] {
        self.remove(|key| keys::event(tenant, source, key))
    }
}

macro_rules! packed {
    ($($topic:ident: $payload:path = $event:ident($oneof:ident) $numbers:expr, $stored:ident => $rows:tt)*) => {
        /// The topic and the packed payload of an event.
        fn packed(event: proto::applied::Event) -> (Topic, Vec<u8>) {
            match event {
                $(proto::applied::Event::$stored(packed) => (Topic::$topic, packed),)*
            }
        }
    };
}

payloads!(packed);

/// Decodes an applied event of a layout version.
pub(super) fn read(applied: proto::Applied, version: u32) -> Result<(TenantId, AppliedEvent), StateFlaw> {
    let (topic, mut packed) = applied.event.map(packed).ok_or(StateFlaw::Unknown("an event type"))?;
    if version < WITH_PRESENCE && topic == Topic::Crm {
        packed = with_presence(packed);
    }
    let source = u8::try_from(applied.source).ok().and_then(Source::from_id).ok_or(StateFlaw::Unknown("a source"))?;
    let order = EventOrder::of(Timestamp(applied.at_ms), topic, source, Offset(applied.offset));
    let id = Some(applied.event_id).filter(|id| !id.is_empty()).map(|id| EventId(id.into()));
    Ok((applied.tenant_id.into(), AppliedEvent { order, id, packed: packed.into() }))
}

/// The first layout version in which a `manager_upserted` says which of its fields were given.
const WITH_PRESENCE: u32 = 4;

/// Completes a `manager_upserted` of an earlier layout, in which an absent field meant its default.
fn with_presence(packed: Vec<u8>) -> Vec<u8> {
    match proto::CrmEvent::decode(packed.as_slice()) {
        Ok(proto::CrmEvent { payload: Some(Payload::ManagerUpserted(mut upserted)), .. }) => {
            upserted.department_id.get_or_insert_default();
            upserted.grade.get_or_insert_default();
            upserted.active.get_or_insert_default();
            let payload = Some(Payload::ManagerUpserted(upserted));
            proto::CrmEvent { payload, ..proto::CrmEvent::default() }.encode_to_vec()
        }
        _ => packed,
    }
}

fn number(field: u32, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        encode_key(field, WireType::Varint, out);
        encode_varint(value, out);
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}
