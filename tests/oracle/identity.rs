//! Identities: entity names and the contact keys used in alerts.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Lead,
    Deal,
}

/// A lead or a deal; displayed as `lead:ID`, as in a subject.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityId {
    pub kind: Kind,
    pub id: String,
}

impl EntityId {
    pub fn lead(id: &str) -> EntityId {
        EntityId { kind: Kind::Lead, id: id.to_owned() }
    }

    pub fn deal(id: &str) -> EntityId {
        EntityId { kind: Kind::Deal, id: id.to_owned() }
    }
}

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Lead => "lead",
            Kind::Deal => "deal",
        };
        write!(f, "{kind}:{}", self.id)
    }
}

/// The first 16 hex digits of the HMAC-SHA-256 of a normal form, keyed with the tenant id (default `privacy_key`).
pub fn key(tenant: &str, normal: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(tenant.as_bytes()).unwrap();
    mac.update(normal.as_bytes());
    mac.finalize().into_bytes().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        // hmac.new(b"acme", b"78121234567", hashlib.sha256).hexdigest()[:16], by another implementation.
        assert_eq!(key("acme", "78121234567"), ACME_KEY);
    }

    const ACME_KEY: &str = "6025521dc8fbc195";
}
