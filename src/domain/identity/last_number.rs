//! Owns the number that was read last: what an event does needs the forms of its number several times.

use super::country::Country;
use super::field::NormalForms;
use super::phone;
use compact_str::CompactString;

/// The field with a phone number that was read last, and its normal forms.
#[derive(Debug, Default)]
pub struct LastNumber {
    read: Option<(CompactString, Country)>,
    forms: NormalForms,
}

impl LastNumber {
    /// The same as [`super::phones`].
    pub fn phones(&mut self, text: &str, country: Country) -> impl Iterator<Item = &CompactString> {
        if !self.read.as_ref().is_some_and(|(known, of)| known == text && *of == country) {
            self.forms = NormalForms::default();
            phone::phones(text, country, &mut self.forms);
            self.read = Some((text.into(), country));
        }
        self.forms.iter()
    }
}
