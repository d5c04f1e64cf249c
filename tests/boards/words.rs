//! Owns the display names of rules in English and Russian, side by side so that they cannot get out of step.

use funnelwatch::domain::rule::Rule;

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

/// The name of a rule in a table.
pub(crate) fn rule(rule: Rule) -> Text {
    match rule {
        Rule::FirstResponseLate => ["First response late", "Поздний первый ответ"],
        Rule::TooFewAttempts => ["Too few attempts", "Мало попыток связаться"],
        Rule::Neglected => ["Customer neglected", "Клиент без внимания"],
        Rule::DisqualifiedWithoutReason => ["Disqualified without a reason", "Отказ без причины"],
        Rule::DisqualifiedWithoutContact => ["Disqualified without contact", "Отказ без контакта"],
        Rule::StageSkipped => ["Stage skipped", "Пропущен этап"],
        Rule::StageRequirementsUnmet => ["Stage requirements not met", "Этап без нужных данных"],
        Rule::StageReverted => ["Moved back a stage", "Возврат на этап назад"],
        Rule::StageOverdue => ["Stage overdue", "Слишком долго на этапе"],
        Rule::MissedCallNotReturned => ["Missed call not returned", "Не перезвонили"],
        Rule::MessageUnanswered => ["Message not answered", "Нет ответа на сообщение"],
        Rule::DiscountOverLimit => ["Discount over the limit", "Скидка больше разрешённой"],
        Rule::InstallmentNotAllowed => ["Instalments not allowed", "Рассрочка дольше разрешённой"],
        Rule::PrepaymentTooLow => ["Prepayment too low", "Предоплата ниже разрешённой"],
        Rule::ConversionLow => ["Conversion low", "Низкая конверсия"],
        Rule::ResponseSlow => ["Habitually slow responses", "Обычно долгий ответ"],
        Rule::QualityLow => ["Low review scores", "Низкие оценки проверок"],
        Rule::StuckEarly => ["Deals stuck early", "Сделки копятся в начале воронки"],
        Rule::SpecialTermsFrequent => ["Special terms too often", "Слишком часто особые условия"],
        Rule::SourceSilent => ["Source silent", "Источник молчит"],
    }
}
