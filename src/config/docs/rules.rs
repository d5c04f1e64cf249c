//! Owns `docs/rules.md` and `docs/rules.ru.md`: every rule for a head of sales and for whoever reads its alerts.
//! Promises that all of it comes from the rules' own files, from the declared keys of the norms and from the table of
//! evidence: a rule that is added stands here without a line of its own.

use super::{default, value, write};
use crate::config::key::{Absent, KeySpec, Need};
use crate::config::keys::{COMMON, keys};
use crate::domain::alert::Resolution;
use crate::domain::evidence;
use crate::domain::rule::{Evaluation, Language, Parameter, Rule, common};

/// What the two pages say besides what the rules say of themselves.
struct Words {
    introduction: &'static str,
    /// The head of the table of rules.
    head: &'static str,
    nothing: &'static str,
    terms: &'static str,
    needed: &'static str,
    one: &'static str,
    kind: &'static str,
    subject: &'static str,
    lasting: &'static str,
    settled: &'static str,
    act: &'static str,
    /// The head of the table of keys in the norms.
    set: &'static str,
    /// The head of the table of keys in alerts.
    told: &'static str,
    observed: &'static str,
    norm: &'static str,
    common: &'static str,
    endings: &'static str,
}

const ENGLISH: Words = Words {
    introduction: "\
<!-- Written from src/domain/rule and src/config by `UPDATE_DOCS=1 cargo test config::docs`; change it there. -->

# The rules

What funnelwatch can find on a sales floor, why it matters, and what there is to set. The same page in Russian is
[rules.ru.md](rules.ru.md). A rule is off until the norms name it; [`examples/norms.yaml`](examples/norms.yaml) is a set
to start from, [configuration.md](configuration.md) tells every key, [alerts.md](alerts.md) the life of an alert. What
the stage rules go by (`required`, `requires`, `max_time`, `early`) is set at the stages of `pipelines`.

There are three kinds of rules.

- **Lasting**: something that should have happened has not. The alert fires at the deadline, escalates if the norm says
  so, and ends when what was missing comes, or when the lead or deal is closed or deleted.
- **Act**: something was done that should not have been. The alert is raised once; it has no end and never escalates.
- **Figures**: a manager's figures over a rolling window, looked at whenever the window moves. The alert fires when they
  are beyond the norm, with enough cases to judge by, and ends when they are back, or when too few cases are left.

A subject's `ID` and `STAGE` are the CRM's ids, `KEY` is a keyed hash of a phone or an address, `WINDOW` is the size of
the window, such as `7d`. In the sentences, words in braces stand for the subject and for values of the alert; lengths
of time are told as `1 h 5 min` there, and in seconds in the alert.
",
    head: "| rule | what it finds | why it matters | what one sets | kind |",
    nothing: "only that it is on",
    terms: "[`terms`](configuration.md#normsterms)",
    needed: "needed",
    one: "one needed",
    kind: "Kind",
    subject: "Subject",
    lasting: "While it lasts",
    settled: "When it is over",
    act: "It says",
    set: "| in the norms | value | default | meaning |\n| --- | --- | --- | --- |\n",
    told: "| in alerts | key | unit | meaning |\n| --- | --- | --- | --- |\n",
    observed: "observed",
    norm: "norm",
    common: "\
## What every rule has

In the norms each rule may also have these keys; those that go by `terms` have no `escalate_after`.
",
    endings: "\
These ends are told in the same words for every rule. `{n}` is the number of cases.

| resolution | English | Russian |
| --- | --- | --- |
",
};

const RUSSIAN: Words = Words {
    introduction: "\
<!-- Written from src/domain/rule and src/config by `UPDATE_DOCS=1 cargo test config::docs`; change it there. -->

# Правила

Что funnelwatch умеет замечать в отделе продаж, почему это важно и что здесь настраивается. Та же страница
по-английски: [rules.md](rules.md). Правило выключено, пока его не назовут нормы; начать можно
с [`examples/norms.yaml`](examples/norms.yaml). Все ключи описаны в [configuration.md](configuration.md), жизнь
оповещения — в [alerts.md](alerts.md). То, по чему судят правила об этапах (`required`, `requires`, `max_time`,
`early`), задаётся у этапов в `pipelines`.

Правила бывают трёх видов.

- **Длится**: не произошло то, что должно было. Оповещение приходит в срок, повторяется, если так велит норма,
  и кончается, когда недостающее сделано либо лид или сделка закрыты или удалены.
- **Поступок**: сделано то, чего делать не следовало. Оповещение приходит один раз; у него нет конца и повторов.
- **Показатели**: показатели менеджера за скользящее окно; проверяются при каждом его сдвиге. Оповещение приходит, когда
  они хуже нормы и случаев достаточно, и кончается, когда они снова в норме или случаев осталось мало.

`ID` и `STAGE` в том, о чём оповещение, — идентификаторы из CRM, `KEY` — хеш телефона или адреса с ключом, `WINDOW` —
размер окна, например `7d`. Слова в фигурных скобках заменяются тем, о чём оповещение, и его значениями; время
в сообщении пишется как `1 ч 5 мин`, а в самом оповещении — в секундах.
",
    head: "| правило | что находит | почему это важно | что настраивается | вид |",
    nothing: "только включить",
    terms: "[`terms`](configuration.md#normsterms)",
    needed: "обязательно",
    one: "обязательно одно из двух",
    kind: "Вид",
    subject: "О чём",
    lasting: "Пока длится",
    settled: "Когда кончилось",
    act: "Сообщение",
    set: "| в нормах | без него | что значит |\n| --- | --- | --- |\n",
    told: "| в оповещении | ключ | единица | что значит |\n| --- | --- | --- | --- |\n",
    observed: "observed",
    norm: "norm",
    common: "\
## Что есть у каждого правила

В нормах у каждого правила могут быть и эти ключи; у правил, которые судят по `terms`, нет `escalate_after`.
",
    endings: "\
О таких концах все правила говорят одинаково. `{n}` — число случаев.

| resolution | по-английски | по-русски |
| --- | --- | --- |
",
};

/// What the keys of a parameter mean, in Russian, in the order of [`keys`].
fn in_russian(parameter: Parameter) -> &'static [&'static str] {
    match parameter {
        Parameter::Within => &["срок от начала отсчёта, по часам правила"],
        Parameter::Clock => &["какое время считается: всё (`wall`) или рабочее (`business`)"],
        Parameter::Response => &["что считается ответом: любая попытка (`attempt`) или разговор (`conversation`)"],
        Parameter::Attempts => &["сколько нужно попыток"],
        Parameter::Entities => &["за чем следить: за лидами, за сделками"],
        Parameter::AppliesTo => &["какие исходы требуют причины"],
        Parameter::AllowedReasons => &["какие причины уважительны"],
        Parameter::MinTouches => &["сколько обращений нужно до отказа"],
        Parameter::Channels => &["за какими каналами следить"],
        Parameter::Window => &["размер окна, по которому судят"],
        Parameter::Basis => &["от чего доля: от лидов, созданных в окне (`cohort`), или от закрытых в нём (`closed`)"],
        Parameter::Share => &[
            "наименьшая доля лидов, которую менеджер должен превращать в сделки",
            "то же как часть доли его отдела; задаётся одно из двух",
        ],
        Parameter::Score => &["наименьшая допустимая средняя оценка"],
        Parameter::AtMostLag => &["наибольшая допустимая задержка"],
        Parameter::AtMost => &["наибольшая допустимая доля"],
        Parameter::Quantile => &["по какому квантилю задержек судят"],
        Parameter::MinSample => &["при меньшем числе случаев оценки нет"],
        Parameter::Terms => &[],
    }
}

/// What [`COMMON`] means, in Russian.
const COMMON_IN_RUSSIAN: &[&str] = &[
    "`false` выключает правило",
    "насколько это важно; каждое повторное оповещение на ступень важнее",
    "когда повторять: по возрастанию, от срока, по часам правила",
];

fn kind(rule: Rule) -> [&'static str; 2] {
    match rule.definition().evaluation {
        Evaluation::Journey(_) | Evaluation::Demands(_) | Evaluation::Topics => ["lasting", "длится"],
        Evaluation::Act(_) => ["act", "поступок"],
        Evaluation::Window(_) => ["figures", "показатели"],
    }
}

/// The page in a language.
pub fn page(language: Language) -> String {
    let number = language as usize;
    let words = match language {
        Language::En => ENGLISH,
        Language::Ru => RUSSIAN,
    };
    let mut out = String::from(words.introduction);
    write(&mut out, format!("\n{}\n| --- | --- | --- | --- | --- |\n", words.head));
    for rule in Rule::ALL {
        let (name, definition) = (rule.name(), rule.definition());
        let (about, why, kind) = (definition.about[number], definition.why[number], kind(*rule)[number]);
        let set = brief(definition.takes, &words, language);
        write(&mut out, format!("| [`{name}`](#{name}) | {about} | {why} | {set} | {kind} |\n"));
    }
    write(&mut out, format!("\n{}\n{}", words.common, words.set));
    COMMON.iter().zip(COMMON_IN_RUSSIAN).for_each(|(key, help)| row(&mut out, key, help, &words, language));
    write(&mut out, format!("\n{}", words.endings));
    for resolution in Resolution::ALL {
        if let Some([english, russian]) = common(resolution) {
            write(&mut out, format!("| `{}` | {english} | {russian} |\n", resolution.name()));
        }
    }
    Rule::ALL.iter().for_each(|rule| section(&mut out, *rule, &words, language));
    out
}

/// What one sets, in a cell.
fn brief(takes: &[Parameter], words: &Words, language: Language) -> String {
    let mut parts = Vec::new();
    for parameter in takes {
        if *parameter == Parameter::Terms {
            parts.push(words.terms.into());
        }
        // Keys of one parameter are ways to say one thing.
        let keys = keys(*parameter);
        let names: Vec<_> = keys.iter().map(|key| format!("`{}`", key.name)).collect();
        parts.extend(keys.first().map(|key| match absent(key, words, language) {
            without if without.is_empty() => names.join(" \\| "),
            without => format!("{} ({without})", names.join(" \\| ")),
        }));
    }
    if parts.is_empty() { words.nothing.into() } else { parts.join(", ") }
}

/// What holds without a key.
fn absent(key: &KeySpec, words: &Words, language: Language) -> String {
    match (key.need, key.absent, language) {
        (Need::Must | Need::InForce, ..) => words.needed.into(),
        (Need::OneInForce, ..) => words.one.into(),
        (_, Absent::Told("any reason"), Language::Ru) => "любая причина".into(),
        (_, Absent::Told("the first of `windows`"), Language::Ru) => "первое из `windows`".into(),
        _ => default(key),
    }
}

fn row(out: &mut String, key: &KeySpec, russian: &str, words: &Words, language: Language) {
    let (name, without) = (key.name, absent(key, words, language));
    write(
        out,
        match language {
            Language::En => format!("| `{name}` | {} | {without} | {} |\n", value(&key.kind), key.help),
            Language::Ru => format!("| `{name}` | {without} | {russian} |\n"),
        },
    );
}

fn section(out: &mut String, rule: Rule, words: &Words, language: Language) {
    let (definition, number) = (rule.definition(), language as usize);
    let sentence = |text: &str| {
        let mut letters = text.chars();
        let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
        format!("{first}{}.", letters.as_str())
    };
    let (about, why) = (sentence(definition.about[number]), definition.why[number]);
    let subjects: Vec<_> = definition.subjects.iter().map(|subject| format!("`{subject}`")).collect();
    let (kind, subjects) = (kind(rule)[number], subjects.join(", "));
    write(out, format!("\n## `{}`\n\n{about} {why}\n\n", rule.name()));
    write(out, format!("- {}: {kind}\n- {}: {subjects}\n", words.kind, words.subject));
    let wording = definition.wording;
    let act = wording.settled[0].is_empty();
    let said = [(if act { words.act } else { words.lasting }, wording.lasting), (words.settled, wording.settled)];
    for (when, sentences) in said.into_iter().filter(|(_, sentences)| !sentences[0].is_empty()) {
        let [first, second] = [sentences[number], sentences[1 - number]];
        write(out, format!("- {when}:\n  - “{first}”\n  - “{second}”\n"));
    }
    if definition.takes.contains(&Parameter::Terms) {
        let what = words.head.split(" | ").nth(3).unwrap_or_default();
        write(out, format!("- {}: {}\n", sentence(what).trim_end_matches('.'), words.terms));
    }
    let set: Vec<_> =
        definition.takes.iter().flat_map(|parameter| keys(*parameter).iter().zip(in_russian(*parameter))).collect();
    if !set.is_empty() {
        write(out, format!("\n{}", words.set));
        set.into_iter().for_each(|(key, help)| row(out, key, help, words, language));
    }
    write(out, format!("\n{}", words.told));
    for (part, keys) in [(words.observed, definition.observed), (words.norm, definition.norm)] {
        for key in keys {
            let Some(evidence) = evidence::of(rule, key) else { continue };
            let unit = match evidence.unit {
                evidence::Unit::Name(names) => {
                    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
                }
                unit => unit.name()[number].into(),
            };
            write(out, format!("| `{part}` | `{key}` | {unit} | {} |\n", evidence.about[number]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::hold;
    use super::*;

    #[test]
    fn the_rules_are_the_ones_in_docs() {
        hold("rules.md", &page(Language::En));
        hold("rules.ru.md", &page(Language::Ru));
    }

    #[test]
    fn every_key_is_told_in_russian() {
        assert_eq!(COMMON.len(), COMMON_IN_RUSSIAN.len());
        for rule in Rule::ALL {
            for parameter in rule.definition().takes {
                assert_eq!(keys(*parameter).len(), in_russian(*parameter).len(), "{parameter:?}");
            }
        }
    }

    #[test]
    fn nothing_breaks_a_table() {
        for rule in Rule::ALL {
            let definition = rule.definition();
            let cells = [definition.about, definition.why].concat();
            assert!(cells.iter().all(|text| !text.contains(['|', '\n'])), "{}", rule.name());
            let about = definition.about.iter().all(|about| !about.ends_with('.'));
            assert!(about, "{}: `about` is half a sentence", rule.name());
        }
    }
}
