//! Fuzzes phone numbers, e-mail addresses and handles: nothing panics, and normalization is idempotent.

#![no_main]

use funnelwatch::domain::event::{Channel, Contact};
use funnelwatch::domain::identity::{Country, IgnoredContacts, email, normal_forms, phone, phones};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let countries = ["RU", "DE", "US", "BR", "AR", "MX", "BY", "AU", "AQ"].map(|code| Country::parse(code).expect(code));
    for country in countries {
        for form in phones(text, country) {
            assert!(form.len() >= 6 && form.bytes().all(|byte| byte.is_ascii_digit()), "{form}");
            // In Russia, fewer than ten digits stay as they are; with a plus they would be a number of another country.
            // Longer ones that are no number of any country have a form only without a plus.
            let again = phone(&format!("+{form}"), country).filter(|_| country != Country::RU || form.len() > 9);
            assert!(again.is_none_or(|again| again == form), "{form}");
        }
        let _ = IgnoredContacts::new([text], country);
    }
    if let Some(form) = email(text) {
        assert_eq!(email(&form).as_deref(), Some(form.as_str()));
    }
    for channel in Channel::ALL {
        let forms = |handle: &str| normal_forms(&Contact::Handle { handle: handle.into(), channel }, Country::RU).next();
        if let Some(form) = forms(text) {
            let name = form.strip_prefix(channel.name()).and_then(|rest| rest.strip_prefix(':'));
            assert_eq!(forms(&name.map_or(format!("+{form}"), Into::into)), Some(form));
        }
    }
});
