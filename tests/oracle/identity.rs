//! Identities: normal forms of phones, addresses and handles, entity names, and the contact keys used in alerts.

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

/// A phone's normal form: digits with country code, no plus (decision 28, default country RU).
pub fn phone(raw: &str) -> Option<String> {
    let lower = raw.to_lowercase();
    // Remove the extension first: `доб. 12`, `ext 12`, `,12`.
    let end = ["доб", "ext", ","].iter().filter_map(|mark| lower.find(mark)).min().unwrap_or(lower.len());
    let number = &lower[..end];
    // Remaining letters or an `@` mean a SIP name or `anonymous`, not a number.
    if number.chars().any(|c| c.is_alphabetic() || c == '@') {
        return None;
    }
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    let international = number.chars().find(|c| *c == '+' || c.is_ascii_digit()) == Some('+');
    let normal = if international {
        digits
    } else if let Some(rest) = digits.strip_prefix("00") {
        rest.to_owned()
    } else if digits.starts_with("810") && (number.contains('~') || digits.len() > 11) {
        // `8~10`; eleven digits without the tilde are a national number.
        digits[3..].to_owned()
    } else if digits.len() == 10 {
        format!("7{digits}")
    } else if digits.len() == 11 && digits.starts_with('8') {
        format!("7{}", &digits[1..])
    } else {
        digits
    };
    (normal.len() >= 6).then_some(normal)
}

/// An address's normal form: lower case, without display name.
pub fn email(raw: &str) -> Option<String> {
    let bare = match (raw.rfind('<'), raw.rfind('>')) {
        (Some(open), Some(close)) if open < close => &raw[open + 1..close],
        _ => raw,
    };
    let bare = bare.trim().to_lowercase();
    bare.contains('@').then_some(bare)
}

/// A handle's normal form: `CHANNEL:handle`.
pub fn handle(channel: &str, handle: &str) -> String {
    format!("{channel}:{handle}")
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
    fn russian_spellings_have_one_normal_form() {
        for form in [
            "8 (812) 123-45-67",
            "+7 812 123 45 67",
            "8122345678",
            "+7 (812) 123-45-67 доб. 12",
            "8-812-123-45-67 ext 12",
            "88121234567,12",
            "8121234567",
            "78121234567",
            "+78121234567, доб 3",
            " (812) 123.45.67 ДОБ.9",
            "00 7 812 1234567",
        ] {
            let expected = if form == "8122345678" { "78122345678" } else { "78121234567" };
            assert_eq!(phone(form).as_deref(), Some(expected), "{form}");
        }
        // +7 numbers whose national part begins with 8 are unchanged.
        for national in ["800", "812", "831", "861", "862"] {
            let expected = format!("7{national}5553535");
            for form in [format!("+7{national}5553535"), format!("8{national}5553535"), format!("{national}5553535")] {
                assert_eq!(phone(&form), Some(expected.clone()), "{form}");
            }
        }
        // Kazakhstan has the same country code.
        assert_eq!(phone("8 (701) 234-56-78"), phone("+7 701 234 5678"));
    }

    #[test]
    fn other_countries_and_short_forms() {
        assert_eq!(phone("+44 20 7946 0958").as_deref(), Some("442079460958"));
        assert_eq!(phone("0044 20 7946 0958").as_deref(), Some("442079460958"));
        assert_eq!(phone("8~10 44 20 7946 0958").as_deref(), Some("442079460958"));
        assert_eq!(phone("8 10 44 20 7946 0958").as_deref(), Some("442079460958"));
        assert_eq!(phone("2234567").as_deref(), Some("2234567"));
        assert_eq!(phone("(+7) 495 123-45-67").as_deref(), Some("74951234567"));
    }

    #[test]
    fn not_a_number() {
        for form in [
            "",
            "anonymous",
            "12345",
            "sip:ivan@pbx",
            "ivan.petrov",
            "1-800-FLOWERS",
            "100200@10.0.0.1",
            ",123456",
            "+7",
        ] {
            assert_eq!(phone(form), None, "{form}");
        }
    }

    #[test]
    fn addresses_and_keys() {
        assert_eq!(email("Ivan Petrov <Ivan@Example.COM>").as_deref(), Some("ivan@example.com"));
        assert_eq!(email(" IVAN@example.com ").as_deref(), Some("ivan@example.com"));
        assert_eq!(email("Ivan"), None);
        assert_eq!(handle("CHAT", "Ivan"), "CHAT:Ivan");
        // hmac.new(b"acme", b"78121234567", hashlib.sha256).hexdigest()[:16], by another implementation.
        assert_eq!(key("acme", "78121234567"), ACME_KEY);
    }

    const ACME_KEY: &str = "6025521dc8fbc195";
}
