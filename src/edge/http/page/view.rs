//! Owns the markup of a company and of a person: what changes while somebody looks.
//!
//! Sections have ids and rows have keys, so that `page.js` can put a new fragment in place without moving what the reader
//! points at. Without scripts the page is complete and refreshes itself.

use super::board::{Board, Person, RunningClock, SubjectFigures, entity_name};
use super::links::Shown;
use super::sparkline;
use super::stream::Seen;
use super::text::{NONE, Text, counted, duration, figure, interval, lag, number, per, percent, target_value, time};
use crate::config::Page;
use crate::domain::alert::{Alert, Severity, Status};
use crate::domain::figures::row::Subject;
use crate::domain::figures::statistics::Ratio;
use crate::domain::figures::table::{TargetFigures, WindowFigures};
use crate::domain::id::{DepartmentId, EntityId, ManagerId, TenantId};
use crate::domain::norms::Clock;
use crate::domain::norms::targets::Target;
use crate::domain::rule::message::Language;
use crate::domain::rule::{Rule, catalog};
use crate::domain::time::{Span, Timestamp};
use crate::edge::http::source::{Open, Source};
use maud::{Markup, html};
use std::collections::BTreeSet;

/// How many people are listed.
const PEOPLE: usize = 200;
/// How many clocks are listed.
const CLOCKS: usize = 40;
/// Figures that are this old are not called current.
const OLD: Span = Span(10 * Span::MINUTE.0);

/// What a view needs besides the board.
pub(super) struct Reader<'a> {
    pub(super) board: &'a Board<'a>,
    pub(super) seen: &'a Seen,
    pub(super) source: Source,
    pub(super) shown: &'a Shown,
    /// The clock of this process.
    pub(super) clock: Timestamp,
    pub(super) settings: &'a Page,
    /// Whether the reader has signed in.
    pub(super) is_signed_in: bool,
}

impl Reader<'_> {
    fn tenant(&self) -> &TenantId {
        &self.board.snapshot.tenant
    }

    fn duration(&self, span: Span) -> String {
        duration(self.board.language, span)
    }

    pub(super) fn time(&self, at: Timestamp) -> String {
        time(self.board.calendar.as_deref(), at, self.board.now())
    }

    /// The view of the company or of a department.
    pub(super) fn company(&self) -> Markup {
        let people = self.board.people();
        html! {
            (self.top(&people))
            section #people { (self.people(&people)) }
            section #clocks { (self.clocks()) }
            section #plan { (self.plan(self.board.subjects())) }
        }
    }

    /// The first line of the company: whom to talk to, or that all is well.
    fn top(&self, people: &[Person<'_>]) -> Markup {
        let urgent: Vec<_> = people.iter().filter(|person| needs_attention(person)).collect();
        match urgent.len() {
            0 => self.first_line("calm", &self.all_well()),
            n => self.first_line("busy", &self.to_talk_to(n, &urgent)),
        }
    }

    /// The first line of a person.
    fn top_of(&self, person: &Person<'_>) -> Markup {
        let board = self.board;
        if person.open.is_empty() {
            return self.first_line("calm", board.say(["All norms are kept", "Все нормы соблюдены"]));
        }
        let n = person.open.len() as i64;
        let open =
            counted(board.language, n, ["open violation", "open violations"], ["нарушение", "нарушения", "нарушений"]);
        let longest = person.wait.map_or_else(String::new, |(waited, alert)| {
            let wait = board.say(["longest wait", "дольше всего ждут"]);
            format!("; {wait} {} ({})", self.duration(waited), board.subject(alert))
        });
        self.first_line("busy", &format!("{open}{longest}"))
    }

    /// One sentence: what is wrong with the data, else `text`.
    fn first_line(&self, kind: &str, text: &str) -> Markup {
        let board = self.board;
        let (kind, text) = if self.seen.not_ready.is_some() {
            (
                "stale",
                board
                    .say([
                        "The figures are not complete yet: data is being restored",
                        "Данные ещё восстанавливаются, показатели неполны",
                    ])
                    .into(),
            )
        } else if let Some(alert) = board.silent_source() {
            ("stale", board.message(alert))
        } else if self.age() > OLD && !board.snapshot.is_backfilling {
            let age = self.duration(self.age());
            (
                "stale",
                match board.language {
                    Language::En => format!("The figures are {age} old: nothing newer has arrived"),
                    Language::Ru => format!("Показателям {age}: более новых данных нет"),
                },
            )
        } else {
            (kind, text.into())
        };
        let backfill = board.say(["A back-fill of past events is running.", "Загружаются прошлые события."]);
        html! {
            p #top class={ "top " (kind) } role="status" {
                (text)
                @if board.snapshot.is_backfilling { " " (backfill) }
            }
            p #as-of .as-of {
                (board.say(["As of", "На"])) " "
                time datetime=(board.now()) { (self.time(board.now())) }
                @if let Some(calendar) = &board.calendar { " (" (calendar.zone_name()) ")" }
            }
        }
    }

    fn age(&self) -> Span {
        self.clock - self.board.now()
    }

    fn to_talk_to(&self, n: usize, urgent: &[&Person<'_>]) -> String {
        let board = self.board;
        let people = counted(board.language, n as i64, ["person", "people"], ["человеком", "людьми", "людьми"]);
        let longest = urgent.iter().filter_map(|person| person.wait).max_by_key(|(waited, _)| *waited);
        let whom = match board.language {
            Language::En => format!("{people} to talk to today"),
            Language::Ru => format!("Сегодня стоит поговорить с {people}"),
        };
        let Some((waited, alert)) = longest else { return whom };
        let wait = board.say(["longest wait", "дольше всего ждут"]);
        let who = alert.manager.as_ref().map_or_else(String::new, |id| format!(", {}", board.manager_name(id)));
        format!("{whom}; {wait} {} ({}{who})", self.duration(waited), board.subject(alert))
    }

    fn all_well(&self) -> String {
        let board = self.board;
        let subject = board.department.map_or(Subject::Tenant, |id| Subject::Department(id.clone()));
        let kept = board.figures(&subject).window.map_or(0, |figures| figures.first_response_within_norm.k);
        let well = board.say(["All norms are kept", "Все нормы соблюдены"]);
        if kept == 0 {
            return well.into();
        }
        let leads =
            counted(board.language, kept, ["lead", "leads"], ["лид получил", "лида получили", "лидов получили"]);
        format!("{well}; {leads} {}", board.say(["answered in time", "ответ вовремя"]))
    }

    fn people(&self, people: &[Person<'_>]) -> Markup {
        let board = self.board;
        html! {
            h2 { (board.say(["People, those who need attention first", "Люди: сначала те, кому нужно внимание"])) }
            @if people.is_empty() {
                p { (board.say(["Nobody is known yet.", "Пока никого нет."])) }
            } @else {
                (table(
                    board.say(["People", "Люди"]),
                    &[
                        (board.say(["Name", "Имя"]), ""),
                        (board.say(["What to talk about", "О чём говорить"]), ""),
                        (board.say(["Longest wait", "Дольше всего ждут"]), "n"),
                        (board.say(["First response, p90", "Первый ответ, p90"]), "n extra"),
                        (board.say(["Within norm", "В норме"]), "n extra"),
                        (board.say(["Conversion", "Конверсия"]), "n extra"),
                        (board.say(["Plan", "План"]), "n extra"),
                    ],
                    true,
                    &html! {
                        @for person in people.iter().take(PEOPLE) { (self.person_row(person)) }
                    },
                ))
                @if people.len() > PEOPLE {
                    p { (shown_of(board, PEOPLE, people.len())) }
                }
                (self.csv("people"))
            }
        }
    }

    fn csv(&self, table: &str) -> Markup {
        html! { p .more { a href=(self.shown.csv(self.tenant(), table)) { "CSV" } } }
    }

    fn person_row(&self, person: &Person<'_>) -> Markup {
        let board = self.board;
        let key = person.id.map_or("", |id| id.as_str());
        let scope = board.scope(person.id, person.department);
        let norm = scope.rules.get(&Rule::FirstResponseLate).and_then(|norm| norm.within).map(|within| within.span);
        let empty = WindowFigures::default();
        let figures = person.figures.window.unwrap_or(&empty);
        let lags = if norm.is_some() && scope.clock(Rule::FirstResponseLate) == Clock::Business {
            figures.first_response_business
        } else {
            figures.first_response_wall
        };
        let department = board.figures(&Subject::Department(person.department.into())).window;
        let conversion = figures.lead_conversion.closed;
        let of_department = department.and_then(|figures| figures.lead_conversion.closed.ratio());
        html! {
            tr data-key=(key) class=[needs_attention(person).then_some("urgent")] {
                th scope="row" {
                    @match person.id {
                        Some(id) => a href=(self.shown.manager(self.tenant(), id)) { (board.manager_name(id)) },
                        None => (board.say(["Nobody is responsible", "Никто не отвечает"])),
                    }
                    @if person.id.is_some() { small { (board.department_name(person.department)) } }
                    (self.course(person))
                }
                td { (self.topics(person)) }
                td .n {
                    @if let Some((waited, alert)) = person.wait {
                        (self.duration(waited))
                        small { (self.link_to(alert)) }
                    } @else { (NONE) }
                }
                td .n.extra {
                    (lag(board.language, lags.n, lags.p90_seconds))
                    @if let Some(norm) = norm {
                        small { (board.say(["norm", "норма"])) " " (self.duration(norm)) }
                    }
                }
                td .n.extra { (percent(figures.first_response_within_norm.ratio())) (share_bar(figures.first_response_within_norm)) }
                td .n.extra {
                    (percent(conversion.ratio()))
                    small {
                        (interval(conversion))
                        @if of_department.is_some() {
                            " · " (board.say(["department", "отдел"])) " " (percent(of_department))
                        }
                    }
                }
                td .n.extra { (self.plan_cell(person)) }
            }
        }
    }

    /// The open violations of a person over the day.
    fn course(&self, person: &Person<'_>) -> Markup {
        let subject = person.id.map(|id| Subject::Manager(id.clone()));
        let values = subject.and_then(|subject| self.seen.courses.get(&subject));
        let name = self.board.say(["Open violations", "Открытые нарушения"]);
        values.map_or_else(|| html! {}, |values| sparkline::small(values, name, self.board.language))
    }

    /// What to talk about: the rules that are broken, the worst first, and the case to begin with.
    fn topics(&self, person: &Person<'_>) -> Markup {
        let board = self.board;
        let mut rules: Vec<(Rule, usize)> = Vec::new();
        for open in &person.open {
            match rules.iter_mut().find(|(rule, _)| *rule == open.alert.rule) {
                Some((_, n)) => *n += 1,
                None => rules.push((open.alert.rule, 1)),
            }
        }
        let Some(first) = person.open.first() else {
            return html! { span .quiet { (board.say(["norms are kept", "нормы соблюдены"])) } };
        };
        html! {
            ul .topics {
                @for (rule, n) in &rules {
                    li { (severity_mark(board, worst(person, *rule))) (board.say(catalog::definition(*rule).title))
                        @if *n > 1 { ": " b { (n) } } }
                }
            }
            small { (board.message(&first.alert)) }
        }
    }

    fn plan_cell(&self, person: &Person<'_>) -> Markup {
        let Some(id) = person.id else { return html! { (NONE) } };
        let subject = Subject::Manager(id.clone());
        let figures = self.board.figures(&subject);
        let targets = self.board.targets(&subject);
        let worst = targets.iter().filter_map(|target| Some((target, target_of(figures, target)?))).min_by(|a, b| {
            let share = |(_, figures): &(&Target, &TargetFigures)| ahead(figures);
            share(a).total_cmp(&share(b))
        });
        let Some((target, figures)) = worst else { return html! { (NONE) } };
        html! {
            (target_value(target.figure, target.currency.as_deref(), figures.fact as f64))
            small {
                (self.board.say(["of", "из"])) " " (target_value(target.figure, target.currency.as_deref(), figures.at_least))
                ", " (self.board.say(figure(target.figure))) " " (self.board.say(per(target.per)))
            }
        }
    }

    fn link_to(&self, alert: &Alert) -> Markup {
        match &alert.entity {
            Some(entity) => {
                html! { a href=(self.shown.entity(self.tenant(), entity)) { (entity_name(self.board.language, entity)) } }
            }
            None => html! { (self.board.subject(alert)) },
        }
    }

    /// The link to the journey of a lead or deal.
    pub(super) fn link_to_entity(&self, entity: &EntityId) -> Markup {
        html! { a href=(self.shown.entity(self.tenant(), entity)) { (entity_name(self.board.language, entity)) } }
    }

    /// The link to a lead or deal in the CRM, if its address is configured.
    pub(super) fn card(&self, entity: &EntityId) -> Markup {
        html! {
            @if let Some(address) = self.settings.card(self.tenant(), entity) {
                " " a href=(address) target="_blank" rel="noopener noreferrer" { "CRM ↗" }
            }
        }
    }

    fn clocks(&self) -> Markup {
        let board = self.board;
        let clocks = board.clocks();
        html! {
            h2 { (board.say(["Running out now", "Время истекает"])) }
            @if clocks.is_empty() {
                p .quiet { (board.say(["No deadline is near, nothing is overdue.", "Близких сроков и просрочек нет."])) }
            } @else {
                ol .clocks data-rows {
                    @for clock in clocks.iter().take(CLOCKS) { (self.clock_row(clock)) }
                }
                @if clocks.len() > CLOCKS {
                    p { (shown_of(board, CLOCKS, clocks.len())) }
                }
                (self.csv("clocks"))
            }
        }
    }

    fn clock_row(&self, clock: &RunningClock<'_>) -> Markup {
        let (board, alert) = (self.board, &clock.open.alert);
        let seconds = clock.left.0 / Span::SECOND.0;
        let state = if clock.is_overdue { ["overdue", "просрочено"] } else { ["left", "осталось"] };
        html! {
            li data-key=(alert.id) class=(if clock.is_overdue { "overdue" } else { "soon" }) {
                span .countdown data-seconds=(seconds) data-runs=(i32::from(clock.counts)) data-up=(i32::from(clock.is_overdue)) {
                    (self.duration(clock.left))
                }
                span .state { (board.say(state)) @if !clock.counts { ", " (board.say(["paused", "пауза"])) } }
                span .what { (severity_mark(board, alert.severity)) (board.say(catalog::definition(alert.rule).title)) }
                span .who { (self.link_to(alert)) ", " (self.who(alert)) }
                span .taken {
                    @if let Some(taken) = &clock.open.taken {
                        (board.say(["taken by", "взял(а)"])) " " (board.manager_name(&taken.manager))
                    } @else if self.source.viewer.may_write() && !self.shown.wall {
                        form method="post" action=(self.shown.taken(self.tenant(), &alert.id.to_string())) {
                            button .small { (board.say(["I take care of it", "Беру в работу"])) }
                        }
                    }
                }
            }
        }
    }

    fn who(&self, alert: &Alert) -> Markup {
        match &alert.manager {
            Some(id) => {
                let name = self.board.manager_name(id);
                html! { a href=(self.shown.manager(self.tenant(), id)) { (name) } }
            }
            None => html! { (self.board.say(["nobody is responsible", "никто не отвечает"])) },
        }
    }

    /// Targets of subjects: what is to be reached, how far it is, and where it leads.
    fn plan<'s>(&self, subjects: impl Iterator<Item = &'s Subject>) -> Markup {
        let board = self.board;
        let rows: Vec<_> = self.plan_rows(subjects).collect();
        html! {
            h2 { (board.say(["Plan and fact", "План и факт"])) }
            @if rows.is_empty() {
                p .quiet { (board.say(["There are no targets.", "Планов нет."])) }
            } @else {
                (table(
                    board.say(["Plan and fact", "План и факт"]),
                    &[
                        (board.say(["Whose", "Чей"]), ""),
                        (board.say(["Target", "План"]), ""),
                        (board.say(["Fact", "Факт"]), "n"),
                        (board.say(["Should be by now", "Должно быть сейчас"]), "n"),
                        (board.say(["Target", "Цель"]), "n"),
                        (board.say(["Forecast", "Прогноз"]), "n"),
                    ],
                    true,
                    &html! {
                        @for (subject, target, figures) in rows.iter().take(PEOPLE) {
                                (self.plan_row(subject, target, figures))
                            }
                    },
                ))
                (self.csv("plan"))
            }
        }
    }

    /// The targets of subjects with their figures.
    pub(super) fn plan_rows<'s>(
        &self,
        subjects: impl Iterator<Item = &'s Subject>,
    ) -> impl Iterator<Item = (&'s Subject, Target, TargetFigures)> {
        subjects.flat_map(|subject| {
            let figures = self.board.figures(subject);
            let targets = self.board.targets(subject).into_iter();
            targets.filter_map(move |target| {
                let figures = *target_of(figures, &target)?;
                Some((subject, target, figures))
            })
        })
    }

    fn plan_row(&self, subject: &Subject, target: &Target, figures: &TargetFigures) -> Markup {
        let board = self.board;
        let value = |value: f64| target_value(target.figure, target.currency.as_deref(), value);
        let is_behind = ahead(figures) < 1.0 - target.tolerance.get() && !figures.incomplete;
        let state = if figures.incomplete {
            ["begun in part", "период известен частично"]
        } else if is_behind {
            ["behind", "отстаёт"]
        } else {
            ["on pace", "по плану"]
        };
        html! {
            tr data-key=(format!("{subject}/{}", target.id)) {
                th scope="row" { (self.subject_name(subject)) }
                td { (board.say(figure(target.figure))) " " (board.say(per(target.per))) }
                td .n { (value(figures.fact as f64)) meter min="0" max=(figures.at_least) value=(figures.fact) {} small class=[is_behind.then_some("bad")] { (board.say(state)) } }
                td .n { (value(figures.pace)) }
                td .n { (value(figures.at_least)) }
                td .n { (figures.forecast.map_or_else(|| NONE.into(), value)) }
            }
        }
    }

    /// The name of a subject for people.
    pub(super) fn subject_name(&self, subject: &Subject) -> String {
        match subject {
            Subject::Tenant => self.board.say(["The company", "Компания"]).into(),
            Subject::Department(id) => self.board.department_name(id.as_str()).into(),
            Subject::Manager(id) => self.board.manager_name(id).into(),
        }
    }

    /// The view of one person.
    pub(super) fn person(&self, person: &Person<'_>) -> Markup {
        let board = self.board;
        let department = Subject::Department(person.department.into());
        let own = person.id.map(|id| Subject::Manager(id.clone()));
        html! {
            (self.top_of(person))
            section #open {
                h2 { (board.say(["What to talk about", "О чём говорить"])) }
                @if person.open.is_empty() {
                    p .quiet { (board.say(["All norms are kept.", "Все нормы соблюдены."])) }
                } @else {
                    ol .alerts data-rows {
                        @for open in person.open.iter().take(PEOPLE) { (self.alert_row(open)) }
                    }
                }
            }
            section #sides { (self.sides(person.figures.window, board.figures(&department).window)) }
            section #figures { (self.comparison(person, board.figures(&department))) }
            section #plan { (self.plan(own.iter())) }
        }
    }

    fn alert_row(&self, open: &Open) -> Markup {
        let (board, alert) = (self.board, &open.alert);
        html! {
            li data-key=(alert.id) {
                (severity_mark(board, alert.severity))
                span .what { (board.message(alert)) }
                small {
                    (board.say(["since", "с"])) " " (self.time(alert.due_at.unwrap_or(alert.anchor_at)))
                    @if alert.entity.is_some() { " · " (self.link_to(alert)) }
                    @if alert.status == Status::Escalated { " · " (board.say(["escalated", "эскалация"])) }
                }
            }
        }
    }

    /// Strong and weak sides in words: where the interval of a share does not contain that of the department.
    fn sides(&self, own: Option<&WindowFigures>, department: Option<&WindowFigures>) -> Markup {
        let board = self.board;
        let (Some(own), Some(department)) = (own, department) else { return html! {} };
        let mut sides: Vec<(bool, String)> = Vec::new();
        for (name, share) in shares() {
            let (mine, theirs) = (share(own), share(department));
            let (Some((lower, upper)), Some(ratio)) = (mine.bounds(), theirs.ratio()) else { continue };
            if ratio < lower || ratio > upper {
                let than = board.say(["the department has", "в отделе"]);
                let text =
                    format!("{}: {}, {than} {}", board.say(name), percent(mine.ratio()), percent(theirs.ratio()));
                sides.push((ratio < lower, text));
            }
        }
        html! {
            h2 { (board.say(["Strong and weak sides", "Сильные и слабые стороны"])) }
            @if sides.is_empty() {
                p .quiet { (board.say(["No certain difference from the department.", "Уверенных отличий от отдела нет."])) }
            } @else {
                ul .sides {
                    @for (is_strong, text) in &sides {
                        li { b { (board.say(if *is_strong { ["Strong", "Сильно"] } else { ["Weak", "Слабо"] })) } " " (text) }
                    }
                }
            }
        }
    }

    /// The figures of a person beside those of the department.
    fn comparison(&self, person: &Person<'_>, department: SubjectFigures<'_>) -> Markup {
        let board = self.board;
        let empty = WindowFigures::default();
        let (own, theirs) = (person.figures.window.unwrap_or(&empty), department.window.unwrap_or(&empty));
        type Behind = Option<(&'static str, &'static [(&'static str, &'static str)])>;
        type Line = (Text, fn(Language, &WindowFigures) -> String, Behind);
        let lines: &[Line] = &[
            (["Leads received", "Получено лидов"], |_, f| number(f.leads_received), Some(("leads_received", &[]))),
            (
                ["First response, median", "Первый ответ, медиана"],
                |l, f| lag(l, f.first_response_business.n, f.first_response_business.p50_seconds),
                Some(("first_responses", &[])),
            ),
            (
                ["First response, p90", "Первый ответ, p90"],
                |l, f| lag(l, f.first_response_business.n, f.first_response_business.p90_seconds),
                Some(("first_responses", &[])),
            ),
            (
                ["Answered within the norm", "Ответы в норме"],
                |_, f| percent(f.first_response_within_norm.ratio()),
                Some(("first_response_within_norm", &[])),
            ),
            (
                ["Call-back, p90", "Перезвон, p90"],
                |l, f| lag(l, f.call_back.n, f.call_back.p90_seconds),
                Some(("call_backs", &[])),
            ),
            (
                ["Reply to messages, p90", "Ответ на сообщение, p90"],
                |l, f| lag(l, f.reply.n, f.reply.p90_seconds),
                Some(("replies", &[])),
            ),
            (
                ["Leads to deals", "Лиды в сделки"],
                |_, f| share_text(f.lead_conversion.closed),
                Some(("lead_conversion", &[])),
            ),
            (["Deals won", "Выигранные сделки"], |_, f| share_text(f.win_rate.closed), Some(("win_rate", &[]))),
            (
                ["Calls answered by customers", "Дозвонились клиенту"],
                |_, f| number(f.calls.outbound_answered),
                Some(("calls", &[("direction", "outbound"), ("outcome", "answered")])),
            ),
            (
                ["Missed calls", "Пропущенные звонки"],
                |_, f| number(f.calls.inbound_missed),
                Some(("calls", &[("direction", "inbound"), ("outcome", "missed")])),
            ),
            (["Meetings", "Встречи"], |_, f| number(f.meetings), Some(("meetings", &[]))),
            (["Touches", "Касания"], |_, f| number(f.touches), Some(("touches", &[]))),
            (
                ["Planned steps done in time", "Шаги, сделанные в срок"],
                |_, f| share_text(Ratio { n: f.plans.done, k: f.plans.done_in_time }),
                Some(("plans_done", &[])),
            ),
            (
                ["Review score", "Оценка проверок"],
                |_, f| f.reviews.mean_score.map_or_else(|| NONE.into(), |score| format!("{score:.0}")),
                Some(("reviews", &[])),
            ),
        ];
        html! {
            h2 { (board.say(["Figures", "Показатели"])) " (" (board.window) ")" }
            (table(
                board.say(["Figures", "Показатели"]),
                &[
                    (board.say(["Figure", "Показатель"]), ""),
                    (person.id.map_or(NONE, |id| board.manager_name(id)), "n"),
                    (board.department_name(person.department), "n"),
                ],
                false,
                &html! {
                    @for (name, value, behind) in lines {
                            tr {
                                th scope="row" { (board.say(*name)) }
                                td .n { (self.behind(*behind, person.id, &value(board.language, own))) }
                                td .n { (value(board.language, theirs)) }
                            }
                        }
                },
            ))
        }
    }

    /// A figure with a link to what stands behind it.
    fn behind(&self, behind: Option<(&str, &[(&str, &str)])>, manager: Option<&ManagerId>, value: &str) -> Markup {
        match behind.filter(|_| value != NONE && value != "0") {
            Some((figure, labels)) => {
                html! { a href=(self.shown.figure(self.tenant(), figure, manager, labels)) { (value) } }
            }
            None => html! { (value) },
        }
    }

    /// The departments to choose from, by name.
    pub(super) fn departments(&self) -> BTreeSet<(String, &DepartmentId)> {
        let departments = self.board.snapshot.departments.iter();
        departments.map(|id| (self.subject_name(&Subject::Department(id.clone())), id)).collect()
    }
}

/// A table that scrolls by itself where the screen is narrow. Each heading comes with the classes of its column; `keyed`: the
/// rows have keys.
pub(super) fn table(label: &str, head: &[(&str, &str)], keyed: bool, rows: &Markup) -> Markup {
    html! {
        div .scroll tabindex="0" role="region" aria-label=(label) {
            table {
                thead { tr {
                    @for (heading, classes) in head {
                        th scope="col" class=[(!classes.is_empty()).then_some(classes)] { (heading) }
                    }
                } }
                tbody data-rows[keyed] { (rows) }
            }
        }
    }
}

/// Whether somebody should talk to this person today.
pub(super) fn needs_attention(person: &Person<'_>) -> bool {
    person.open.iter().any(|open| open.alert.severity != Severity::Info)
}

fn worst(person: &Person<'_>, rule: Rule) -> Severity {
    let of_rule = person.open.iter().filter(|open| open.alert.rule == rule);
    of_rule.map(|open| open.alert.severity).max_by_key(|severity| *severity as u8).unwrap_or_default()
}

/// The severity in a word and a shape, not by colour alone.
fn severity_mark(board: &Board<'_>, severity: Severity) -> Markup {
    let (mark, name) = match severity {
        Severity::Info => ("○", ["info", "к сведению"]),
        Severity::Warning => ("△", ["warning", "внимание"]),
        Severity::Critical => ("▲", ["critical", "срочно"]),
    };
    html! { span class={ "mark " (severity.name()) } role="img" aria-label=(board.say(name)) { (mark) } " " }
}

/// A share as a bar; decoration, since the number stands beside it.
fn share_bar(share: Ratio) -> Markup {
    html! {
        @if share.n > 0 { meter aria-hidden="true" min="0" max=(share.n) value=(share.k) {} }
    }
}

fn share_text(share: Ratio) -> String {
    let interval = interval(share);
    if interval.is_empty() { NONE.into() } else { format!("{} ({interval})", percent(share.ratio())) }
}

fn target_of<'a>(figures: SubjectFigures<'a>, target: &Target) -> Option<&'a TargetFigures> {
    figures.now?.targets.get(&target.id)
}

/// The fact as a share of the pace.
fn ahead(figures: &TargetFigures) -> f64 {
    if figures.pace > 0.0 { figures.fact as f64 / figures.pace } else { f64::INFINITY }
}

fn shown_of(board: &Board<'_>, shown: usize, all: usize) -> String {
    match board.language {
        Language::En => format!("{shown} of {all} are shown: choose a department, or take the CSV."),
        Language::Ru => format!("Показаны {shown} из {all}: выберите отдел или возьмите CSV."),
    }
}

/// A share in which people are compared with their department.
type ComparedShare = (Text, fn(&WindowFigures) -> Ratio);

fn shares() -> [ComparedShare; 3] {
    [
        (["Answers in time", "Отвечает вовремя"], |figures| figures.first_response_within_norm),
        (["Turns leads into deals", "Переводит лиды в сделки"], |figures| {
            figures.lead_conversion.closed
        }),
        (["Wins deals", "Выигрывает сделки"], |figures| figures.win_rate.closed),
    ]
}
