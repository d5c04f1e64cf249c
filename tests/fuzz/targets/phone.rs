//! Fuzzes phone numbers and e-mail addresses: nothing panics, and normalization is idempotent.

#![no_main]

use funnelwatch::domain::identity::{Country, email, phone};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for country in [Country::Ru, Country::Kz] {
        if let Some(form) = phone(text, country) {
            assert!(form.len() >= 6 && form.bytes().all(|byte| byte.is_ascii_digit()), "{form}");
            assert_eq!(phone(&format!("+{form}"), country).as_deref(), Some(form.as_str()));
        }
    }
    if let Some(form) = email(text) {
        assert_eq!(email(&form).as_deref(), Some(form.as_str()));
    }
});
