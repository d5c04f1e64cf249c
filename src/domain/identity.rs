//! Owns the normalization of phone numbers and addresses, so that one customer is recognized under different spellings,
//! and the keys that replace them in alerts. Promises that the normal form of a number or address never changes, because
//! forms are stored in state. Never guesses: text that may not be a number or an address has no form.
//!
//! **Forms** (decision 28). Phone: digits with country code, without plus. E-mail address: lower case, without display
//! name. Name in another channel: `CHANNEL:name`, with its original spelling.
//!
//! **Why no phone library.** `phonenumber` corrupts +7 numbers whose national part begins with 8 (8-800, 812, 831, 861,
//! 862): it treats that 8 as the trunk prefix.

use crate::domain::event::Contact;
use crate::domain::named::named_enum;
use compact_str::{CompactString, format_compact};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

named_enum! {
    /// The country whose national phone number formats are recognized.
    #[derive(Default)]
    pub enum Country, named "as an ISO 3166 code" {
        /// Russia: code 7, trunk prefix 8, international prefix 8~10.
        #[default]
        Ru = "RU",
        /// Kazakhstan: the same numbering plan.
        Kz = "KZ",
    }
}

impl Country {
    /// The country code of phone numbers.
    fn code(self) -> &'static str {
        match self {
            Self::Ru | Self::Kz => "7",
        }
    }
}

/// Minimum number of digits of a customer's phone number.
const MIN_DIGITS: usize = 6;
/// Maximum number of digits accepted; a phone number has at most 15, an international prefix at most 3.
const MAX_DIGITS: usize = 32;

/// The normal form of a phone number: digits with country code, without plus.
///
/// National forms have 10 digits, or 11 that begin with 8. `+`, `00` and `8~10` (also `810` before more digits than a
/// national number has) precede a country code. Other forms are unchanged. An extension is removed: everything after
/// `доб`, `вн`, `ext`, `x`, a comma, semicolon, `#` or `*`. `None` for fewer than 6 or more than 32 digits, for SIP names,
/// and if letters remain.
pub fn phone(text: &str, country: Country) -> Option<CompactString> {
    if let Some(digits) = text.strip_prefix('+')
        && (MIN_DIGITS..=MAX_DIGITS).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Some(digits.into());
    }
    if memchr::memchr(b'@', text.as_bytes()).is_some() {
        return None;
    }
    let mut digits = [0; MAX_DIGITS];
    let mut count = 0;
    let mut plus = false;
    let mut dial_tone = false;
    for (at, character) in text.char_indices() {
        let digit = match character {
            '0'..='9' => character as u8,
            ' ' | '-' | '(' | ')' => continue,
            ',' | ';' | '#' | '*' => break,
            '+' | '\u{ff0b}' => {
                plus |= count == 0;
                continue;
            }
            '~' => {
                dial_tone |= digits[..count] == *b"8";
                continue;
            }
            _ if character.is_alphabetic() => {
                if begins_extension(&text[at..]) {
                    break;
                }
                return None;
            }
            _ if character.is_numeric() => ascii_digit(character)?,
            _ => continue,
        };
        *digits.get_mut(count)? = digit;
        count += 1;
    }
    let digits = str::from_utf8(&digits[..count]).ok()?;
    let (code, rest) = match digits {
        _ if plus => ("", digits),
        _ if digits.starts_with("00") => ("", &digits[2..]),
        _ if digits.starts_with("810") && (dial_tone || count > 11) => ("", &digits[3..]),
        _ if count == 10 => (country.code(), digits),
        _ if count == 11 && digits.starts_with('8') => (country.code(), &digits[1..]),
        _ => ("", digits),
    };
    if rest.len() < MIN_DIGITS {
        return None;
    }
    let mut number = CompactString::from(code);
    number.push_str(rest);
    Some(number)
}

/// Whether a text that begins with a letter begins with a word for an extension. Short words must be whole words, because
/// a name may begin with them.
fn begins_extension(text: &str) -> bool {
    let after = |word: &str| {
        let mut rest = text.chars();
        let same = word.chars().all(|letter| rest.next().is_some_and(|other| other.to_lowercase().eq([letter])));
        same.then(|| rest.next())
    };
    let starts = |word| after(word).is_some();
    let is_word = |word| after(word).is_some_and(|next| !next.is_some_and(char::is_alphabetic));
    // The second `x` is the Cyrillic letter of the same shape.
    starts("доб") || starts("ext") || starts("внутр") || is_word("вн") || is_word("x") || is_word("х")
}

/// The ASCII digit of a full-width, Arabic-Indic or Persian digit; `None` for other numerals.
fn ascii_digit(character: char) -> Option<u8> {
    let digit = ['\u{ff10}', '\u{660}', '\u{6f0}']
        .into_iter()
        .find_map(|zero| u32::from(character).checked_sub(u32::from(zero)).filter(|digit| *digit < 10))?;
    Some(b'0' + digit as u8)
}

/// The normal form of an e-mail address: without display name and angle brackets, trimmed, in lower case.
///
/// `None` if either side of the last `@` is empty.
pub fn email(text: &str) -> Option<CompactString> {
    let address = match memchr::memrchr(b'<', text.as_bytes()) {
        Some(open) => {
            let inner = &text[open + 1..];
            inner.split_once('>').map_or(inner, |(address, _)| address)
        }
        None => text,
    };
    let address = address.trim();
    let at = memchr::memrchr(b'@', address.as_bytes())?;
    if at == 0 || at + 1 == address.len() {
        return None;
    }
    if !address.is_ascii() {
        return Some(address.to_lowercase().into());
    }
    let mut address = CompactString::from(address);
    address.make_ascii_lowercase();
    Some(address)
}

/// The normal form by which a contact is compared, stored and keyed; `None` if it has none.
pub fn normal_form(contact: &Contact, country: Country) -> Option<CompactString> {
    match contact {
        Contact::Phone(text) => phone(text, country),
        Contact::Email(text) => email(text),
        Contact::Handle { handle, channel } => {
            let handle = handle.as_str();
            (!handle.is_empty()).then(|| format_compact!("{}:{handle}", channel.name()))
        }
    }
}

/// The `KEY` of alert subjects: the first 16 hexadecimal digits of the HMAC-SHA-256 of a normal form, keyed with
/// `privacy_key` in UTF-8.
pub fn key(normal_form: &str, privacy_key: &str) -> CompactString {
    let digest = digest(normal_form, privacy_key);
    let first = digest.iter().take(8).fold(0_u64, |first, byte| first << 8 | u64::from(*byte));
    format_compact!("{first:016x}")
}

/// The HMAC-SHA-256 of a text, keyed with `privacy_key` in UTF-8.
pub fn digest(text: &str, privacy_key: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(privacy_key.as_bytes()).expect("HMAC accepts keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Channel;
    use proptest::prelude::*;

    fn number(text: &str) -> String {
        phone(text, Country::Ru).map_or("none".into(), String::from)
    }

    #[test]
    fn national_spellings_have_the_same_form() {
        // Includes numbers whose national part begins with 8.
        for (area, local) in [
            ("800", "5553535"),
            ("812", "1234567"),
            ("831", "4210987"),
            ("861", "2001122"),
            ("862", "2600000"),
            ("495", "7654321"),
            ("999", "1234567"),
            ("727", "2501122"),
            ("701", "1112233"),
        ] {
            let (a, b, c) = (&local[..3], &local[3..5], &local[5..]);
            let form = format!("7{area}{local}");
            for spelling in [
                format!("+7{area}{local}"),
                format!("+7 {area} {a}-{b}-{c}"),
                format!("+7 ({area}) {a} {b} {c}"),
                format!("(+7) {area}.{a}.{b}.{c}"),
                format!(" +7\u{a0}({area})\u{a0}{a}\u{2011}{b}\u{2011}{c}\t"),
                format!("\u{202a}+7 {area} {a} {b} {c}\u{202c}"),
                format!("7{area}{local}"),
                format!("7 ({area}) {a}-{b}-{c}"),
                format!("8{area}{local}"),
                format!("8 ({area}) {a}-{b}-{c}"),
                format!("8-{area}-{a}-{b}-{c}"),
                format!("{area}{local}"),
                format!("({area}) {a}-{b}-{c}"),
                format!("007{area}{local}"),
                format!("00 7 {area} {local}"),
                format!("8~10 7 {area} {local}"),
                format!("8107{area}{local}"),
                format!("8 ({area}) {a}-{b}-{c} доб. 12"),
                format!("8 ({area}) {a}-{b}-{c}доб12"),
                format!("8 ({area}) {a}-{b}-{c} (ДОБ. 12)"),
                format!("{area}{local} добавочный 1234"),
                format!("8 {area} {local} вн. 123"),
                format!("8 {area} {local}, внутренний 123"),
                format!("8 {area} {local} ВНУТР 123"),
                format!("+7{area}{local} ext 12"),
                format!("+7{area}{local} Ext. 12"),
                format!("+7{area}{local};ext=12"),
                format!("+7{area}{local}x12"),
                format!("+7{area}{local} х 12"),
                format!("+7{area}{local},12"),
                format!("+7{area}{local},,12#"),
                format!("{area}{local}#12"),
                format!("{area}{local}*12"),
                format!("8{area}{local}, Анна"),
            ] {
                assert_eq!(number(&spelling), form, "{spelling}");
                assert_eq!(phone(&spelling, Country::Kz).as_deref(), Some(form.as_str()), "{spelling}");
            }
        }
    }

    #[test]
    fn other_spellings_have_the_decided_form() {
        for (text, form) in [
            // A plus precedes any country code.
            ("+88005553535", "88005553535"),
            ("+8 800 555 35 35", "88005553535"),
            ("+4930123456", "4930123456"),
            ("+9991234567", "9991234567"),
            ("+1 (212) 555-01-00", "12125550100"),
            // So do international prefixes.
            ("00 49 30 123456", "4930123456"),
            ("0049301234", "49301234"),
            ("8 10 49 30 123456", "4930123456"),
            ("8~10 49 30 1234", "49301234"),
            ("8 ~ 10 375 29 1234567", "375291234567"),
            ("810 375 29 1234567", "375291234567"),
            // Eleven digits that begin with 8 are a national number, even if 10 follows.
            ("8 101 234 56 78", "71012345678"),
            // Other forms are unchanged.
            ("123456", "123456"),
            ("234-56-78", "2345678"),
            ("49301234567", "49301234567"),
            ("380441234567", "380441234567"),
            ("812 123-45-6", "812123456"),
            // A plus elsewhere is ignored.
            ("8 812 1234567 +", "78121234567"),
            // Digits of other scripts.
            ("＋７９９９１２３４５６７", "79991234567"),
            ("٠٠٤٩٣٠١٢٣٤٥٦", "4930123456"),
            ("۸۱۲۲۳۴۵۶۷۸", "78122345678"),
        ] {
            assert_eq!(number(text), form, "{text}");
        }
    }

    #[test]
    fn text_that_is_not_a_number_has_no_form() {
        for text in [
            "",
            " ",
            "+",
            "12345",
            "+12345",
            "00 12345",
            "8~10 12345",
            "8 (12) 34",
            "101",
            "anonymous",
            "Anonymous",
            "unknown",
            "неизвестен",
            "Иван",
            "SIP/101",
            "SIP/trunk-78121234567",
            "sip:78121234567@pbx.example",
            "sip:101@10.0.0.1",
            "78121234567@10.0.0.1",
            "+78121234567,12@10.0.0.1",
            "тел. 8 812 123 45 67",
            "8-800-FLOWERS",
            "8 812 123 45 67 Анна",
            "8 812 123 45 67 Внуков",
            "8 812 123 45 67 xavier",
            "next 8121234567",
            "доб. 8121234567",
            "ext 8121234567",
            ",8121234567",
            "*100#",
            "#31#89991234567",
            "8 812 ⅷ 1234567",
            "८१२१२३४५६७८",
            "+7 812 12a 45 67",
            "d8:1212:1234567",
        ] {
            assert_eq!(number(text), "none", "{text}");
        }
    }

    #[test]
    fn addresses_ignore_case_and_display_name() {
        for (text, form) in [
            ("anna@example.com", Some("anna@example.com")),
            (" Anna.Petrova@Example.COM\r\n", Some("anna.petrova@example.com")),
            ("Anna Petrova <Anna@Example.com>", Some("anna@example.com")),
            ("\"Petrova, Anna <sales>\" < anna@example.com >", Some("anna@example.com")),
            ("<anna@example.com>", Some("anna@example.com")),
            ("Anna <anna@example.com", Some("anna@example.com")),
            ("anna@home@example.com", Some("anna@home@example.com")),
            ("Анна@Почта.РФ", Some("анна@почта.рф")),
            ("ÄRGER@STRASSE.DE", Some("ärger@strasse.de")),
            ("aΣ@ΟΔΟΣ.gr", Some("aς@οδοσ.gr")),
            (
                "a-very-long-local-part+tag@a-very-long-domain.EXAMPLE",
                Some("a-very-long-local-part+tag@a-very-long-domain.example"),
            ),
            ("", None),
            ("anna", None),
            ("@example.com", None),
            ("anna@", None),
            ("Anna <>", None),
            ("anna@example.com <anna>", None),
            (" @ ", None),
        ] {
            assert_eq!(email(text).as_deref(), form, "{text}");
        }
    }

    #[test]
    fn every_kind_of_contact_has_a_form() {
        let form = |contact: &Contact| normal_form(contact, Country::Ru);
        assert_eq!(form(&Contact::Phone("8 (812) 123-45-67".into())).as_deref(), Some("78121234567"));
        assert_eq!(form(&Contact::Email("A <A@B.C>".into())).as_deref(), Some("a@b.c"));
        let handle = |handle: &str, channel| form(&Contact::Handle { handle: handle.into(), channel });
        assert_eq!(handle("@Anna", Channel::Messenger).as_deref(), Some("MESSENGER:@Anna"));
        assert_eq!(handle("Anna", Channel::Chat).as_deref(), Some("CHAT:Anna"));
        assert_eq!(handle("", Channel::Chat), None);
        assert_eq!(form(&Contact::Phone("".into())), None);
    }

    /// The first is test case 2 of RFC 4231; the others were computed with Python's `hmac`.
    #[test]
    fn keys_are_the_first_digits_of_the_hmac() {
        let long = "x".repeat(200);
        for (form, secret, expected) in [
            ("what do ya want for nothing?", "Jefe", "5bdcc146bf60754e"),
            ("78121234567", "acme", "6025521dc8fbc195"),
            ("anna@example.com", "acme", "2bbd73103667c064"),
            ("MESSENGER:@Анна", "ключ", "e488618d3964e3b4"),
            ("78121234567", long.as_str(), "a463ac9ae54bb531"),
            ("78121234567", "", "70f10f1c814b9cf8"),
        ] {
            assert_eq!(key(form, secret), expected, "{form}");
        }
    }

    proptest! {
        #[test]
        fn separators_are_ignored(
            digits in "[0-9]{6,15}", plus in any::<bool>(), between in prop::collection::vec("[-() ./\u{a0}]{0,2}", 16),
        ) {
            let plain = format!("{}{digits}", if plus { "+" } else { "" });
            let spelled: String = plain.chars().zip(&between).map(|(digit, more)| format!("{digit}{more}")).collect();
            prop_assert_eq!(phone(&spelled, Country::Ru), phone(&plain, Country::Ru));
            let cut = format!("{spelled} доб. {digits}");
            prop_assert_eq!(phone(&cut, Country::Ru), phone(&plain, Country::Ru));
        }

        #[test]
        fn normalization_is_idempotent(text in "\\PC{0,20}") {
            if let Some(form) = phone(&text, Country::Ru) {
                prop_assert!(form.len() >= MIN_DIGITS && form.bytes().all(|byte| byte.is_ascii_digit()));
                let international = format!("+{form}");
                prop_assert_eq!(phone(&international, Country::Ru), Some(form));
            }
        }

        #[test]
        fn addresses_are_in_lower_case(local in "[^<>@\\s]{1,12}", domain in "[^<>@\\s]{1,12}") {
            let form = email(&format!("Someone <{local}@{domain}>")).map(String::from);
            prop_assert_eq!(form, Some(format!("{local}@{domain}").to_lowercase()));
        }
    }
}
