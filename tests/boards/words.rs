//! Owns texts in two languages, side by side so that they cannot get out of step.

/// A text in English and in Russian.
pub(crate) type Text = [&'static str; 2];

/// The languages, in the order of [`Text`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Language {
    En,
    Ru,
}

impl Language {
    pub(crate) const ALL: [Self; 2] = [Self::En, Self::Ru];

    pub(crate) fn code(self) -> &'static str {
        self.of(["en", "ru"])
    }

    pub(crate) fn of(self, text: Text) -> &'static str {
        text[self as usize]
    }
}
