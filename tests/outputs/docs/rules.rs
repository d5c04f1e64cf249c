//! Generates `docs/rules.md` and `docs/rules.ru.md`, the reference of all rules for heads of sales and readers of
//! alerts, from the rule definitions, the declared norms keys and the evidence table: a new rule needs no changes here.

use super::{assert_document, default, value, write};
use funnelwatch::config::keys::COMMON;
use funnelwatch::config::params::key;
use funnelwatch::config::schema::key::{Absent, KeySpec, Need};
use funnelwatch::domain::alert::Resolution;
use funnelwatch::domain::rule::definition::{Evaluation, Parameter};
use funnelwatch::domain::rule::message::{Language, common_wording};
use funnelwatch::domain::rule::{Rule, catalog, evidence};

/// The fixed texts of a page.
struct Words {
    introduction: &'static str,
    /// The header of the table of rules.
    head: &'static str,
    /// The cell of a rule without settings.
    no_settings: &'static str,
    terms: &'static str,
    required: &'static str,
    one_required: &'static str,
    kind: &'static str,
    subject: &'static str,
    due_soon: &'static str,
    lasting: &'static str,
    settled: &'static str,
    act: &'static str,
    /// The header of the table of norms keys.
    norm_keys: &'static str,
    /// The header of the table of alert keys.
    alert_keys: &'static str,
    observed: &'static str,
    norm: &'static str,
    common: &'static str,
    resolutions: &'static str,
}

const ENGLISH: Words = Words {
    introduction: "\
<!-- Generated from src/domain/rule and src/config by `UPDATE_DOCS=1 cargo test --test outputs docs`; edit it there. -->

# Rules

The rules that funnelwatch evaluates for sales departments: what each one detects, why it matters and how it is
configured. This page is also available in Russian: [rules.ru.md](rules.ru.md). A rule is off unless the norms list it;
[`examples/norms.yaml`](examples/norms.yaml) is a starting point. All keys are described in
[configuration.md](configuration.md), the statuses of an alert in [alerts.md](alerts.md). The settings of the stage
rules (`required`, `requires`, `max_time`, `early`) belong to the stages in `pipelines`.

There are four kinds of rules.

- **Lasting**: something that should have happened has not. The alert fires at the deadline, escalates if the norm says
  so, and is resolved when the missing action occurs, or when the lead or deal is closed or deleted. With
  `warn_before`, a warning precedes it; a warning is no violation.
- **Act**: something was done that should not have been. The alert is raised once; it is never resolved and never
  escalates.
- **Figures**: a manager's figures over a sliding window, evaluated at every slide. The alert fires when they violate
  the norm and the sample is large enough, and is resolved when they meet the norm again or the sample becomes too
  small.
- **Plan**: a figure of a manager, a department or the company in the running period of a target, evaluated at every
  slide of the first window. The alert fires when the figure is behind the pace of the plan, and is resolved when it
  has caught up, when the plan is reached, or when the period is over. The rule is on for every target in `targets`,
  without being listed.

In a subject, `ID` and `STAGE` are CRM ids, `KEY` is a keyed hash of a phone number or an address, `WINDOW` is the
size of the window, such as `7d`, and `TARGET` is the id of the target. In messages, words in braces stand for the subject and for values of the alert.
Durations are written as `1 h 5 min` in messages and in seconds in alert fields.
",
    head: "| rule | violation | why it matters | settings | kind |",
    no_settings: "none",
    terms: "[`terms`](configuration.md#normsterms)",
    required: "required",
    one_required: "one required",
    kind: "Kind",
    subject: "Subject",
    due_soon: "Message before the deadline",
    lasting: "Message while open",
    settled: "Message when resolved",
    act: "Message",
    norm_keys: "| norm key | value | default | meaning |\n| --- | --- | --- | --- |\n",
    alert_keys: "| alert field | key | unit | meaning |\n| --- | --- | --- | --- |\n",
    observed: "observed",
    norm: "norm",
    common: "\
## Common keys

Every rule also accepts these keys in the norms; rules configured by `terms` have no `escalate_after`.
",
    resolutions: "\
These resolutions have the same message for all rules. `{n}` is the number of cases. An `AVERTED` with another
resolution says “{subject}: done before the deadline”.

| resolution | English | Russian |
| --- | --- | --- |
",
};

const RUSSIAN: Words = Words {
    introduction: "\
<!-- Generated from src/domain/rule and src/config by `UPDATE_DOCS=1 cargo test --test outputs docs`; edit it there. -->

# Правила

Правила, по которым funnelwatch контролирует отделы продаж: что выявляет каждое правило, почему это важно и что в нём
настраивается. Эта страница на английском: [rules.md](rules.md). Правило действует, только если указано в нормах; за
основу можно взять [`examples/norms.yaml`](examples/norms.yaml). Все ключи описаны
в [configuration.md](configuration.md), статусы оповещений — в [alerts.md](alerts.md). Настройки для правил об этапах
(`required`, `requires`, `max_time`, `early`) задаются у этапов в `pipelines`.

Правила бывают четырёх видов.

- **Длящееся нарушение**: не сделано то, что должно быть сделано. Оповещение создаётся по истечении срока, эскалируется,
  если это задано в норме, и завершается, когда недостающее сделано либо лид или сделка закрыты или удалены. С ключом
  `warn_before` ему предшествует предупреждение; предупреждение — ещё не нарушение.
- **Действие**: сделано то, чего делать не следовало. Оповещение создаётся один раз, не завершается и не эскалируется.
- **Показатели**: показатели менеджера за скользящее окно проверяются при каждом его сдвиге. Оповещение создаётся, когда
  показатели хуже нормы и случаев достаточно, и завершается, когда они снова в норме или случаев стало слишком мало.
- **План**: показатель менеджера, отдела или компании в текущем периоде плана проверяется при каждом сдвиге первого
  окна. Оповещение создаётся, когда показатель отстаёт от плана, и завершается, когда отставания нет, план выполнен или
  период закончился. Правило действует для каждого плана из `targets`, указывать его в нормах не нужно.

В предмете оповещения `ID` и `STAGE` — идентификаторы из CRM, `KEY` — хеш телефона или адреса с ключом, `WINDOW` —
размер окна, например `7d`, `TARGET` — идентификатор плана. В сообщениях слова в фигурных скобках заменяются предметом и значениями оповещения.
Длительность в сообщениях указывается как `1 ч 5 мин`, в полях оповещения — в секундах.
",
    head: "| правило | нарушение | почему это важно | настройки | вид |",
    no_settings: "нет",
    terms: "[`terms`](configuration.md#normsterms)",
    required: "обязательно",
    one_required: "обязателен один из двух",
    kind: "Вид",
    subject: "Предмет",
    due_soon: "Сообщение до срока",
    lasting: "Сообщение о нарушении",
    settled: "Сообщение о завершении",
    act: "Сообщение",
    norm_keys: "| ключ в нормах | по умолчанию | что означает |\n| --- | --- | --- |\n",
    alert_keys: "| поле оповещения | ключ | единица | что означает |\n| --- | --- | --- | --- |\n",
    observed: "observed",
    norm: "norm",
    common: "\
## Общие ключи

В нормах у каждого правила могут быть и эти ключи; у правил, которые настраиваются через `terms`, нет `escalate_after`.
",
    resolutions: "\
При этих причинах завершения сообщение одинаково для всех правил. `{n}` — число случаев. При остальных сообщение
`AVERTED` — «{subject}: сделано до срока».

| resolution | по-английски | по-русски |
| --- | --- | --- |
",
};

fn kind(rule: Rule) -> [&'static str; 2] {
    match catalog::definition(rule).evaluation {
        Evaluation::Journey(_) | Evaluation::Demands(_) | Evaluation::Topics => ["lasting", "длящееся нарушение"],
        Evaluation::Act(_) => ["act", "действие"],
        Evaluation::Window(_) => ["figures", "показатели"],
        Evaluation::Targets(_) => ["plan", "план"],
    }
}

/// The page in the given language.
fn page(language: Language) -> String {
    let index = language as usize;
    let words = match language {
        Language::En => ENGLISH,
        Language::Ru => RUSSIAN,
    };
    let mut out = String::from(words.introduction);
    write(&mut out, format!("\n{}\n| --- | --- | --- | --- | --- |\n", words.head));
    for rule in Rule::ALL {
        let (name, definition) = (rule.name(), catalog::definition(*rule));
        let (about, why, kind) = (definition.about[index], definition.why[index], kind(*rule)[index]);
        let settings = summary(definition.takes, &words, language);
        write(&mut out, format!("| [`{name}`](#{name}) | {about} | {why} | {settings} | {kind} |\n"));
    }
    write(&mut out, format!("\n{}\n{}", words.common, words.norm_keys));
    COMMON.iter().for_each(|parameter| row(&mut out, *parameter, &words, language));
    write(&mut out, format!("\n{}", words.resolutions));
    for resolution in Resolution::ALL {
        if let Some([english, russian]) = common_wording(resolution) {
            write(&mut out, format!("| `{}` | {english} | {russian} |\n", resolution.name()));
        }
    }
    Rule::ALL.iter().for_each(|rule| section(&mut out, *rule, &words, language));
    out
}

/// The settings of a rule, for a table cell.
fn summary(takes: &[Parameter], words: &Words, language: Language) -> String {
    let mut parts = Vec::new();
    if takes.contains(&Parameter::Terms) {
        parts.push(words.terms.into());
    }
    let keys: Vec<_> = takes.iter().filter_map(|parameter| key(*parameter)).collect();
    // Alternatives have one cell.
    for keys in keys.chunk_by(|one, next| one.need == Need::OneInForce && next.need == one.need) {
        let names: Vec<_> = keys.iter().map(|key| format!("`{}`", key.name)).collect();
        parts.push(match default_of(keys[0], words, language) {
            default if default.is_empty() => names.join(" \\| "),
            default => format!("{} ({default})", names.join(" \\| ")),
        });
    }
    if parts.is_empty() { words.no_settings.into() } else { parts.join(", ") }
}

/// The default of a key.
fn default_of(key: &KeySpec, words: &Words, language: Language) -> String {
    match (key.need, key.absent, language) {
        (Need::Required | Need::InForce, ..) => words.required.into(),
        (Need::OneInForce, ..) => words.one_required.into(),
        (_, Absent::Described("any reason"), Language::Ru) => "любая причина".into(),
        (_, Absent::Described("the first of `windows`"), Language::Ru) => "первое из `windows`".into(),
        (_, Absent::Described("no warning"), Language::Ru) => "без предупреждения".into(),
        _ => default(key),
    }
}

fn row(out: &mut String, parameter: Parameter, words: &Words, language: Language) {
    let Some(key) = key(parameter) else { return };
    let (name, default, help) = (key.name, default_of(key, words, language), parameter.help()[language as usize]);
    write(
        out,
        match language {
            Language::En => format!("| `{name}` | {} | {default} | {help} |\n", value(&key.kind)),
            Language::Ru => format!("| `{name}` | {default} | {help} |\n"),
        },
    );
}

fn section(out: &mut String, rule: Rule, words: &Words, language: Language) {
    let (definition, index) = (catalog::definition(rule), language as usize);
    let sentence = |text: &str| {
        let mut letters = text.chars();
        let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
        format!("{first}{}.", letters.as_str())
    };
    let (about, why) = (sentence(definition.about[index]), definition.why[index]);
    let subjects: Vec<_> = definition.subjects.iter().map(|subject| format!("`{subject}`")).collect();
    let (kind, subjects) = (kind(rule)[index], subjects.join(", "));
    write(out, format!("\n## `{}`\n\n{about} {why}\n\n", rule.name()));
    write(out, format!("- {}: {kind}\n- {}: {subjects}\n", words.kind, words.subject));
    let wording = definition.wording;
    let act = wording.settled[0].is_empty();
    let lasting = if act { words.act } else { words.lasting };
    let messages = [(words.due_soon, wording.due_soon), (lasting, wording.lasting), (words.settled, wording.settled)];
    for (when, sentences) in messages.into_iter().filter(|(_, sentences)| !sentences[0].is_empty()) {
        let [first, second] = [sentences[index], sentences[1 - index]];
        write(out, format!("- {when}:\n  - “{first}”\n  - “{second}”\n"));
    }
    if definition.takes.contains(&Parameter::Terms) {
        let settings = words.head.split(" | ").nth(3).unwrap_or_default();
        write(out, format!("- {}: {}\n", sentence(settings).trim_end_matches('.'), words.terms));
    }
    if definition.takes.iter().any(|parameter| key(*parameter).is_some()) {
        write(out, format!("\n{}", words.norm_keys));
        definition.takes.iter().for_each(|parameter| row(out, *parameter, words, language));
    }
    write(out, format!("\n{}", words.alert_keys));
    for (part, keys) in [(words.observed, definition.observed), (words.norm, definition.norm)] {
        for key in keys {
            let Some(evidence) = evidence::of(rule, key) else { continue };
            let unit = match evidence.unit {
                evidence::Unit::Name(names) => {
                    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
                }
                unit => unit.name()[index].into(),
            };
            write(out, format!("| `{part}` | `{key}` | {unit} | {} |\n", evidence.about[index]));
        }
    }
}

#[test]
fn the_pages_in_docs_are_up_to_date() {
    assert_document("rules.md", &page(Language::En));
    assert_document("rules.ru.md", &page(Language::Ru));
}

#[test]
fn texts_fit_in_table_cells() {
    for rule in Rule::ALL {
        let definition = catalog::definition(*rule);
        let cells = [definition.about, definition.why].concat();
        assert!(cells.iter().all(|text| !text.contains(['|', '\n'])), "{}", rule.name());
        let about = definition.about.iter().all(|about| !about.ends_with('.'));
        assert!(about, "{}: `about` ends with a full stop", rule.name());
    }
}
