//! Owns the words of the boards that stand for names: English and Russian side by side, so that neither is ahead.

use funnelwatch::domain::rule::Rule;

/// A text in English and in Russian.
pub(crate) type Text = [&'static str; 2];

/// The languages, in the order of a [`Text`].
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

/// What a rule is called in a cell of a table.
pub(crate) fn rule(rule: Rule) -> Text {
    match rule {
        Rule::FirstResponseLate => ["First answer late", "Поздний первый ответ"],
        Rule::TooFewAttempts => ["Too few attempts", "Мало попыток связаться"],
        Rule::Neglected => ["Nobody turns to the customer", "Клиент заброшен"],
        Rule::DisqualifiedWithoutReason => ["Turned down without a reason", "Отказ без причины"],
        Rule::DisqualifiedWithoutContact => ["Turned down without contact", "Отказ без контакта"],
        Rule::StageSkipped => ["Stage skipped", "Пропущен этап"],
        Rule::StageRequirementsUnmet => ["Stage entered unprepared", "Этап без нужных данных"],
        Rule::StageReverted => ["Moved back a stage", "Возврат на этап назад"],
        Rule::StageOverdue => ["Stuck in its stage", "Застряли на этапе"],
        Rule::MissedCallNotReturned => ["Missed call not returned", "Не перезвонили"],
        Rule::MessageUnanswered => ["Message not answered", "Нет ответа на сообщение"],
        Rule::DiscountOverLimit => ["Discount too big", "Скидка больше разрешённой"],
        Rule::InstallmentNotAllowed => ["Instalments not allowed", "Рассрочка без разрешения"],
        Rule::PrepaymentTooLow => ["Prepayment too low", "Мало предоплаты"],
        Rule::ConversionLow => ["Conversion low", "Низкая конверсия"],
        Rule::ResponseSlow => ["Answers slowly as a habit", "Обычно отвечает долго"],
        Rule::QualityLow => ["Reviews are bad", "Низкие оценки разговоров"],
        Rule::StuckEarly => ["Deals pile up early", "Сделки копятся в начале воронки"],
        Rule::SpecialTermsFrequent => ["Special terms too often", "Слишком часто особые условия"],
        Rule::SourceSilent => ["A source is silent", "Источник молчит"],
    }
}
