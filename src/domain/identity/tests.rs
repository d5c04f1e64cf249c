//! Tests of the forms of contacts; `tests/identity/spellings.txt` has the spellings.

use super::*;
use crate::domain::event::Channel;
use proptest::prelude::*;
use std::collections::BTreeMap;

const SPELLINGS: &str = include_str!("../../../tests/identity/spellings.txt");

fn forms(contact: &Contact, country: Country) -> String {
    let forms: Vec<_> = normal_forms(contact, country).map(String::from).collect();
    if forms.is_empty() { "none".into() } else { forms.join(" & ") }
}

fn number(text: &str) -> String {
    phone(text, Country::RU).map_or("none".into(), String::from)
}

/// A spelling of the file without its escapes.
fn unescaped(text: &str) -> String {
    let mut plain = text.replace("\\n", "\n").replace("\\r", "\r").replace("\\t", "\t");
    while let Some((before, rest)) = plain.split_once("\\u{") {
        let (code, after) = rest.split_once('}').expect("a closed escape");
        let character = u32::from_str_radix(code, 16).ok().and_then(char::from_u32).expect("a character");
        plain = format!("{before}{character}{after}");
    }
    plain
}

/// A contact of a section.
fn contact(kind: &str, text: String) -> Contact {
    match Channel::named(kind) {
        Some(channel) => Contact::Handle { handle: text.into(), channel },
        None if kind == "email" => Contact::Email(text.into()),
        None => Contact::Phone(text.into()),
    }
}

#[test]
fn spellings_meet_in_one_form() {
    let mut section = ("", Country::RU);
    let mut lines: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (at, line) in SPELLINGS.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        if let Some(header) = line.strip_prefix('[') {
            let (kind, country) = header.trim_end_matches(']').split_once(' ').expect("a kind and a country");
            section = (kind, Country::parse(country).expect("a country"));
            lines.clear();
            continue;
        }
        let (form, spellings) = line.split_once(" = ").expect("a form and spellings");
        assert_eq!(lines.insert(form, at), None, "line {}: the form {form} has two lines", at + 1);
        for spelling in spellings.split(" | ") {
            let found = forms(&contact(section.0, unescaped(spelling)), section.1);
            if found != form {
                wrong.push(format!("line {}: {spelling:?} gives {found}, not {form}", at + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn national_spellings_have_the_same_form() {
    // Includes numbers whose national part begins with 8.
    for area in ["800", "812", "831", "861", "862", "495", "999", "727", "701"] {
        let form = format!("7{area}5550123");
        for spelling in [
            format!("+7{area}5550123"),
            format!("(+7) {area}.555.01.23"),
            format!("7 ({area}) 555-01-23"),
            format!(" +7\u{a0}({area})\u{a0}555\u{2011}01\u{2011}23\t"),
            format!("8-{area}-555-01-23"),
            format!("{area}5550123"),
            format!("007{area}5550123"),
            format!("8~10 7 {area} 5550123"),
            format!("8107{area}5550123"),
            format!("8 ({area}) 555-01-23 доб. 12"),
            format!("+7 8 ({area}) 555-01-23"),
        ] {
            assert_eq!(number(&spelling), form, "{spelling}");
            assert_eq!(phone(&spelling, Country::KZ).as_deref(), Some(form.as_str()), "{spelling}");
        }
    }
}

#[test]
fn other_digits_stay_as_they_are() {
    for (text, form) in [
        ("+73", "none"),
        ("+734567", "734567"),
        ("123456", "123456"),
        ("234-56-78", "2345678"),
        ("812 123-45-6", "812123456"),
        // Eleven digits that begin with 8 are a national number, even if 10 follows.
        ("8 101 234 56 78", "71012345678"),
        ("8 812 1234567 +", "78121234567"),
        ("٠٠٤٩٣٠١٢٣٤٥٦", "4930123456"),
        ("۸۱۲۲۳۴۵۶۷۸", "78122345678"),
        // Zeros are a trunk prefix only if a valid number follows them.
        ("+44 07700 900001", "447700900001"),
        ("+972 000 022 090 179", "972000022090179"),
        ("12345678901234567890123456789012", "12345678901234567890123456789012"),
        ("123456789012345678901234567890123", "none"),
    ] {
        assert_eq!(number(text), form, "{text}");
    }
}

#[test]
fn a_field_has_a_bound() {
    let list = |count: usize, separator: &str| {
        let numbers: Vec<_> = (0..count).map(|ix| format!("8 900 000-{:02}-{:02}", ix / 100, ix % 100)).collect();
        normal_forms(&Contact::Phone(numbers.join(separator).into()), Country::RU).count()
    };
    assert_eq!([1, 2, 16, 17, 100].map(|count| list(count, "\n")), [1, 2, 16, 16, 16]);
    assert_eq!([1, 2, 16, 17, 100, 200].map(|count| list(count, ", ")), [1, 2, 16, 16, 16, 0]);
    let handle = |length: usize| Contact::Handle { handle: "a".repeat(length).into(), channel: Channel::Chat };
    assert_eq!([2048, 2049].map(|length| normal_forms(&handle(length), Country::RU).count()), [1, 0]);
    let address = |length: usize| Contact::Email(format!("{}@example.com", "a".repeat(length - 12)).into());
    assert_eq!([2048, 2049].map(|length| normal_forms(&address(length), Country::RU).count()), [1, 0]);
}

#[test]
fn ignored_contacts_are_recognized_in_every_spelling() {
    let entries = ["8 812 555-00-31", "Anna@Пример.Испытание", "@Example.com", "@Robot", "+44 (0)20 7946 0958"];
    let ignored = IgnoredContacts::new(entries, Country::RU).expect("readable entries");
    let contains = |kind: &str, text: &str| {
        normal_forms(&contact(kind, text.into()), Country::RU).any(|form| ignored.contains(&form))
    };
    for (kind, text) in [
        ("phone", "+7 (812) 555-00-31 доб. 5"),
        ("phone", "8 921 000-00-22, 8 812 555-00-31"),
        ("phone", "0044 20 7946 0958"),
        ("MESSENGER", "78125550031@c.us"),
        ("email", "anna@xn--e1afmkfd.xn--80akhbyknj4f"),
        ("email", "Office <office@EXAMPLE.com>"),
        ("MESSENGER", "robot"),
        ("CHAT", "@ROBOT"),
        ("SMS", "Ro Bot"),
    ] {
        assert!(contains(kind, text), "{text}");
    }
    for (kind, text) in [
        ("phone", "8 812 555-00-32"),
        ("email", "boris@пример.испытание"),
        ("email", "office@mail.example.com"),
        ("email", "office@example.org"),
        ("MESSENGER", "@@robot"),
        ("CHAT", "@example.com"),
        ("CHAT", "78125550031"),
    ] {
        assert!(!contains(kind, text), "{text}");
    }
    assert!(!ignored.is_empty() && IgnoredContacts::default().is_empty());
    for entry in ["", "robot", "@", "@.", "12", "@a@example.com", "anna@"] {
        assert_eq!(IgnoredContacts::new(["8 812 555-00-31", entry], Country::RU), Err(1), "{entry}");
    }
}

#[test]
fn every_country_of_the_standard_is_known() {
    for code in ["RU", "KZ", "DE", "NO", "AQ", "XK"] {
        assert_eq!(Country::parse(code).map(Country::name), Some(code));
        assert_eq!(Country::parse(&code.to_lowercase()).map(Country::name), Some(code));
    }
    for code in ["", "XX", "RUS", "R", " RU", "AD AE", "7"] {
        assert_eq!(Country::parse(code), None, "{code}");
    }
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

/// Countries with trunk prefixes, mobile forms and international prefixes of all kinds.
fn countries() -> impl Strategy<Value = Country> {
    let codes = ["RU", "KZ", "DE", "GB", "US", "FR", "BR", "MX", "AR", "UA", "BY", "TJ", "UZ", "IT", "AU", "AQ"];
    prop::sample::select(codes.map(|code| Country::parse(code).unwrap_or_default()).to_vec())
}

/// Text made of what phone numbers and addresses are made of.
fn contact_text() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "+", "7", "8", "00", "810", "~", "44", "(0)", "900", "0000001", "55119", "5491", "521", " ", "-", "(", ")",
        "[", "]", ",", ";", "/", ":::", "\n", "\r", "доб", "ext", "x", "p", "#", "*", "=", "tel:", "sip:", "@",
        "@c.us", "mailto:", "<", ">", "\"", "\\", ".", "anna", "Ж", "İ", "Σ", "ß", "\u{200b}", "xn--", "example", "６",
        "٣",
    ]);
    prop_oneof![prop::collection::vec(pieces, 0..24).prop_map(|pieces| pieces.concat()), "\\PC{0,24}", "\\+[0-9]{6,16}"]
}

proptest! {
    #[test]
    fn separators_are_ignored(
        digits in "[0-9]{6,15}", plus in any::<bool>(), country in countries(),
        between in prop::collection::vec("[-. \u{a0}]{0,2}", 16),
    ) {
        let plain = format!("{}{digits}", if plus { "+" } else { "" });
        let spelled: String = plain.chars().zip(&between).map(|(digit, more)| format!("{digit}{more}")).collect();
        // A separator after the first digit makes `+8 4…` and `+8 8…` a slip for +7.
        prop_assume!(!(plain.starts_with("+84") || plain.starts_with("+88")));
        prop_assert_eq!(phone(&spelled, country), phone(&plain, country));
        let cut = format!("тел. {spelled} доб. {digits}");
        prop_assert_eq!(phone(&cut, country), phone(&plain, country));
    }

    #[test]
    fn normalization_is_idempotent(text in contact_text(), country in countries()) {
        for form in phones(&text, country) {
            prop_assert!((6..=32).contains(&form.len()) && form.bytes().all(|byte| byte.is_ascii_digit()));
            let again = phone(&format!("+{form}"), country);
            if country == Country::RU || country == Country::KZ {
                // Fewer than ten digits stay as they are; with a plus they would be a number of another country. Longer
                // ones that are no number of any country have a form only without a plus.
                prop_assert!(again.is_none_or(|again| again == form || form.len() < 10), "{form}");
            } else {
                prop_assert_eq!(again, Some(form));
            }
        }
        if let Some(form) = email(&text) {
            let again = email(&form);
            prop_assert_eq!(again.as_deref(), Some(form.as_str()));
        }
        for channel in Channel::ALL {
            let handle = Contact::Handle { handle: text.as_str().into(), channel };
            for form in normal_forms(&handle, country) {
                let name = form.strip_prefix(channel.name()).and_then(|rest| rest.strip_prefix(':'));
                let again = Contact::Handle { handle: name.map_or(format!("+{form}"), Into::into).into(), channel };
                prop_assert_eq!(normal_forms(&again, country).next(), Some(form));
            }
        }
    }

    #[test]
    fn several_contacts_have_the_forms_of_each(
        numbers in prop::collection::vec(0..1_000_u32, 1..8),
        separator in prop::sample::select(vec![", ", ";", "/", " / ", ":::", "\n", "\r\n"]),
    ) {
        let spell = |number: &u32| format!("8 (900) 000-0{}-{:02}", number / 100, number % 100);
        let field = numbers.iter().map(spell).collect::<Vec<_>>().join(separator);
        let mut expected: Vec<CompactString> = Vec::new();
        for form in numbers.iter().filter_map(|number| phone(&spell(number), Country::RU)) {
            if !expected.contains(&form) {
                expected.push(form);
            }
        }
        prop_assert_eq!(normal_forms(&Contact::Phone(field.into()), Country::RU).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn addresses_are_in_lower_case(local in "[a-zA-Z0-9.!#$%&'*+=?^_`{|}~-]{1,12}", domain in "[a-zA-Z0-9-]{1,12}") {
        let form = email(&format!("Someone <{local}@{domain}>")).map(String::from);
        prop_assert_eq!(form, Some(format!("{local}@{domain}").to_lowercase()));
    }
}
