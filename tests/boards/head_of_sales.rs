//! Owns the board for a head of sales: which managers to talk to today, and about what. Urgent figures are at the top,
//! managers and rules below, details after that, and trends in a row that is initially collapsed.

use super::board::{Board, Body, Coloring, Display, Field, Key, Line, Panel, Row, Unit, Variable};
use super::promql::{
    Expr, Series, figure, norm, of_departments, of_managers, of_tenant, target_of_groups, target_of_managers, values,
};
use super::words::Text;
use funnelwatch::domain::rule::{Rule, catalog};
use funnelwatch::telemetry::metric::{Level, Metric};

const OF_MANAGER: [&str; 2] = ["department", "manager"];

pub(crate) fn board() -> Board {
    Board {
        name: "head-of-sales",
        title: ["Head of sales", "Руководитель отдела продаж"],
        description: [
            "Whom to talk to today: customers who are waiting, managers who do not meet their norms, and by how much.",
            "С кем поговорить сегодня: какие клиенты ждут, кто из менеджеров не укладывается в нормы и насколько.",
        ],
        time_range: "now-12h",
        refresh: "30s",
        variables: variables(),
        rows: vec![
            Row { heading: None, collapsed: false, panels: urgent() },
            Row { heading: None, collapsed: false, panels: vec![managers(), rules()] },
            Row {
                heading: Some(["Plan and fact", "План и факт"]),
                collapsed: false,
                panels: vec![plans_of_managers(), plans_of_groups()],
            },
            Row {
                heading: Some(["First responses and conversion", "Первые ответы и конверсия"]),
                collapsed: false,
                panels: vec![response_times(), conversion()],
            },
            Row {
                heading: Some(["Calls, messages and stalled deals", "Звонки, сообщения и застрявшие сделки"]),
                collapsed: false,
                panels: vec![calls(), messages(), next_steps(), stages()],
            },
            Row {
                heading: Some(["Terms and quality", "Условия и качество"]),
                collapsed: false,
                panels: vec![terms(), quality()],
            },
            Row { heading: Some(["Trends", "Динамика"]), collapsed: true, panels: trends() },
        ],
    }
}

fn variables() -> Vec<Variable> {
    let ask =
        |name, label, query: String, multiple| Variable { name, label, query: Some(query), multiple, selected: None };
    let tenant = "tenant=\"$tenant\"";
    let department = values(figure("awaiting_first_response"), Level::Department, "department", &[tenant]);
    let manager =
        values(figure("awaiting_first_response"), Level::Manager, "manager", &[tenant, "department=~\"$department\""]);
    let window = values(figure("leads_received"), Level::Tenant, "window", &[tenant]);
    vec![
        Variable {
            name: "datasource",
            label: ["Prometheus", "Prometheus"],
            query: None,
            multiple: false,
            selected: None,
        },
        ask(
            "tenant",
            ["Company", "Компания"],
            values(figure("awaiting_first_response"), Level::Tenant, "tenant", &[]),
            false,
        ),
        ask("department", ["Department", "Отдел"], department, true),
        ask("manager", ["Manager", "Менеджер"], manager, true),
        Variable { selected: Some("24h"), ..ask("window", ["Period", "Период"], window, false) },
    ]
}

/// The open alerts of one rule. The processor evaluated them on the clock of the norm.
fn open(rule: Rule) -> Expr {
    of_managers("open_alerts").with_label("rule", rule.name()).deduplicated()
}

fn awaiting() -> Expr {
    of_managers("awaiting_first_response").deduplicated()
}

fn total(of: Expr) -> Expr {
    of.sum(&[]).or_zero()
}

fn field(name: Text, unit: Unit, coloring: Coloring, expr: Expr) -> Field {
    Field { name, unit, coloring, expr }
}

/// The deadline of a rule, on the clock of its norm.
fn within(rule: Rule) -> Expr {
    norm(Metric::NormWithin, rule).deduplicated()
}

/// First response lags on the clock of their norm, in working time where there is no norm.
fn lag(q: &'static str) -> Expr {
    let lag = || of_managers("first_response_lag_seconds").with_label("q", q);
    let norm = within(Rule::FirstResponseLate);
    let judged = lag().deduplicated().where_present(&norm).max(&OF_MANAGER);
    let plain = lag().with_label("clock", "business").deduplicated().where_absent(&norm.max(&["department"]));
    judged.or(plain)
}

/// A first response lag as a multiple of its norm.
fn lag_over_norm(q: &'static str) -> Expr {
    let norm = within(Rule::FirstResponseLate);
    of_managers("first_response_lag_seconds").with_label("q", q).deduplicated().divided_by(norm).max(&OF_MANAGER)
}

/// A conversion figure on the basis of its norm, `cohort` where there is no norm.
fn converted(of: Series) -> Expr {
    let norm = norm(Metric::NormAtLeast, Rule::ConversionLow).deduplicated().max(&["department", "basis"]).or(norm(
        Metric::NormOfDepartment,
        Rule::ConversionLow,
    )
    .deduplicated()
    .max(&["department", "basis"]));
    let by: Vec<&str> = of.free().iter().copied().filter(|label| *label != "basis").collect();
    let judged = of.clone().deduplicated().where_present(&norm).max(&by);
    let plain = of.with_label("basis", "cohort").deduplicated().where_absent(&norm.max(&["department"]));
    judged.or(plain)
}

/// For each manager, the conversion of the department.
fn department_converted() -> Expr {
    awaiting().zero().plus(converted(of_departments("lead_conversion_ratio")))
}

/// −1 or 1 if the manager is worse or better than the department beyond chance: the department's rate is outside the
/// manager's 95 % interval. Else 0.
fn beyond_chance() -> Expr {
    let department = || converted(of_departments("lead_conversion_ratio"));
    let better = converted(of_managers("lead_conversion_lower_ratio")).above(department());
    better.minus(converted(of_managers("lead_conversion_upper_ratio")).below(department()))
}

const VERDICT: Coloring = Coloring::Verdict([["lower", "ниже"], ["same", "наравне"], ["higher", "выше"]]);

/// The keys of a table of managers: their names, and the ids that links use.
fn manager_keys(department: Display) -> Vec<Key> {
    let id = |label| Key {
        label,
        name: ["Id", "Код"],
        width: 100,
        display: Display::Hidden,
        value_names: Vec::new(),
        link: None,
    };
    let manager = Key {
        label: "name",
        name: ["Manager", "Менеджер"],
        width: 140,
        display: Display::Shown,
        link: Some((["Only this manager", "Только этот менеджер"], "manager")),
        ..id("name")
    };
    let department = Key {
        label: "department_name",
        name: ["Department", "Отдел"],
        width: 120,
        display: department,
        link: Some((["Only this department", "Только этот отдел"], "department")),
        ..id("department_name")
    };
    vec![manager, department, id("manager"), id("department")]
}

fn named(fields: Vec<Field>) -> Vec<Field> {
    fields.into_iter().map(|field| Field { expr: field.expr.with_names_of_managers(), ..field }).collect()
}

fn manager_table(fields: Vec<Field>, sorted: usize) -> Body {
    Body::Table { keys: manager_keys(Display::Dropped), fields: named(fields), sorted }
}

fn urgent() -> Vec<Panel> {
    let late = total(open(Rule::FirstResponseLate));
    let oldest = || of_managers("oldest_wait_seconds").deduplicated().max(&[]).or_zero();
    // Leads without a manager: those of the tenant minus those of all managers, whatever is selected.
    let of_company = of_tenant("awaiting_first_response").deduplicated();
    let assigned = of_managers("awaiting_first_response").without_selection().deduplicated().sum(&[]).or_zero();
    vec![
        Panel {
            title: ["Leads without a response", "Лиды без ответа"],
            description: [
                "Leads waiting for a first response now; how many of them have waited longer than the norm, on the \
                 norm's own clock; and how many have no responsible manager. Red: have these customers called now.",
                "Сколько лидов ждут первого ответа сейчас; сколько из них ждут дольше нормы (время считается так, \
                 как задано в норме); у скольких нет ответственного. Красный цвет — поручите позвонить прямо сейчас.",
            ],
            width: 6,
            height: 4,
            body: Body::Stats(vec![
                field(["waiting", "ждут"], Unit::Count, Coloring::Plain, total(awaiting())),
                field(["overdue", "просрочено"], Unit::Count, Coloring::Bad, late.clone()),
                field(["unassigned", "не назначены"], Unit::Count, Coloring::Bad, of_company.minus(assigned)),
            ]),
        },
        Panel {
            title: ["Longest wait", "Самое долгое ожидание"],
            description: [
                "How long the customer who has waited longest has been waiting, including nights and days off. Red \
                 if any lead has waited longer than its norm, on the norm's own clock.",
                "Сколько ждёт клиент, который ждёт дольше всех, считая ночи и выходные. Красный цвет — хотя бы один \
                 лид ждёт дольше нормы (время считается так, как задано в норме).",
            ],
            width: 4,
            height: 4,
            // The threshold is the value if something is late, else the value plus 1: red exactly if something is late.
            body: Body::StatWithThreshold(
                field(["longest wait", "дольше всех"], Unit::Duration, Coloring::Bad, oldest()),
                oldest().plus(late.equal_to_zero()),
            ),
        },
        Panel {
            title: ["Missed calls", "Пропущенные звонки"],
            description: [
                "Customers whose calls were missed and who have not been called back yet; how many of them have \
                 waited longer than the norm. Red: have them called back before they turn to another company.",
                "Сколько клиентов не дозвонились и ещё ждут ответного звонка; сколько из них ждут дольше нормы. \
                 Красный цвет — поручите перезвонить, пока клиент не обратился в другую компанию.",
            ],
            width: 4,
            height: 4,
            body: Body::Stats(vec![
                field(
                    ["to return", "перезвонить"],
                    Unit::Count,
                    Coloring::Plain,
                    total(of_managers("unreturned_calls").deduplicated()),
                ),
                field(["overdue", "просрочено"], Unit::Count, Coloring::Bad, total(open(Rule::MissedCallNotReturned))),
            ]),
        },
        Panel {
            title: ["Messages", "Сообщения"],
            description: [
                "Customers who wrote and have not received an answer yet; how many of them have waited longer than \
                 the norm. Red: have them answered today.",
                "Сколько клиентов написали и ещё не получили ответа; сколько из них ждут дольше нормы. Красный цвет \
                 — поручите ответить сегодня.",
            ],
            width: 4,
            height: 4,
            body: Body::Stats(vec![
                field(
                    ["to answer", "ответить"],
                    Unit::Count,
                    Coloring::Plain,
                    total(of_managers("unanswered_messages").deduplicated()),
                ),
                field(["overdue", "просрочено"], Unit::Count, Coloring::Bad, total(open(Rule::MessageUnanswered))),
            ]),
        },
        Panel {
            title: ["Violations", "Нарушения"],
            description: [
                "Open alerts of all rules now, and violations that began in the period, including those that are \
                 over and single acts. The tables below show them by manager.",
                "Сколько оповещений открыто сейчас, по всем правилам, и сколько нарушений началось за период, \
                 включая завершённые и разовые. По менеджерам они показаны в таблицах ниже.",
            ],
            width: 3,
            height: 4,
            body: Body::Stats(vec![
                field(
                    ["open", "открыто"],
                    Unit::Count,
                    Coloring::Bad,
                    total(of_managers("open_alerts").deduplicated()),
                ),
                field(
                    ["in the period", "за период"],
                    Unit::Count,
                    Coloring::Plain,
                    total(of_managers("violations").deduplicated()),
                ),
            ]),
        },
        Panel {
            title: ["Responded in time", "Ответы вовремя"],
            description: [
                "Of the leads that were due in the period, the share that received a first response by the deadline. \
                 If it is low for all managers, look at how leads are distributed before you talk to anyone.",
                "Какая доля лидов, по которым срок ответа пришёлся на период, получила первый ответ вовремя. Если \
                 она низкая у всех, начните не с людей, а с того, как распределяются лиды.",
            ],
            width: 3,
            height: 4,
            body: Body::Stats(vec![field(
                ["in time", "вовремя"],
                Unit::Ratio,
                Coloring::Gradient,
                of_managers("first_response_within_norm_ratio")
                    .deduplicated()
                    .times(of_managers("first_response_within_norm_sample").deduplicated())
                    .sum(&[])
                    .divided_by(of_managers("first_response_within_norm_sample").deduplicated().sum(&[])),
            )]),
        },
    ]
}

fn managers() -> Panel {
    let all = || of_managers("open_alerts").deduplicated().sum(&OF_MANAGER).or_zero_for(awaiting());
    let violations = of_managers("violations").deduplicated().sum(&OF_MANAGER).or_zero_for(awaiting());
    let special = of_managers("special_terms_ratio").deduplicated();
    Panel {
        title: ["Managers", "Менеджеры"],
        description: [
            "One row per manager, those with most open alerts first. Red is beyond a norm and shows what to talk \
             about. “Nine in ten within” is the response time of nine leads in ten; in “Of the norm”, 100 % is the \
             norm itself. Conversion is shown with its 95 % interval and next to the department's: “lower” is more \
             than chance. A click on a name selects only that manager.",
            "По строке на менеджера, сначала те, у кого больше открытых оповещений. Красный цвет — хуже нормы: об \
             этом и разговор. «Девять из десяти за» — за какое время отвечают на девять новых лидов из десяти; 100 % \
             от нормы — ровно норма. Конверсия показана с 95 %-ным интервалом и рядом с конверсией отдела: «ниже» — \
             это не случайность. Щелчок по имени оставит только этого менеджера.",
        ],
        width: 24,
        height: 11,
        body: Body::Table {
            keys: manager_keys(Display::Shown),
            fields: named(vec![
                field(["Open alerts", "Открыто"], Unit::Count, Coloring::Bad, all()),
                field(["Leads waiting", "Лиды ждут"], Unit::Count, Coloring::Plain, awaiting()),
                field(
                    ["Longest wait", "Самое долгое ожидание"],
                    Unit::Duration,
                    Coloring::Plain,
                    of_managers("oldest_wait_seconds").deduplicated(),
                ),
                field(["Nine in ten within", "Девять из десяти за"], Unit::Duration, Coloring::Plain, lag("0.9")),
                field(["Of the norm", "От нормы"], Unit::Ratio, Coloring::AtMost, lag_over_norm("0.9")),
                field(
                    ["In time", "Вовремя"],
                    Unit::Ratio,
                    Coloring::Gradient,
                    of_managers("first_response_within_norm_ratio").deduplicated(),
                ),
                field(
                    ["Calls to return", "Ждут звонка"],
                    Unit::Count,
                    Coloring::Plain,
                    of_managers("unreturned_calls").deduplicated(),
                ),
                field(
                    ["Converted", "Конверсия"],
                    Unit::Ratio,
                    Coloring::Plain,
                    converted(of_managers("lead_conversion_ratio")),
                ),
                field(
                    ["from", "от"],
                    Unit::Ratio,
                    Coloring::Plain,
                    converted(of_managers("lead_conversion_lower_ratio")),
                ),
                field(
                    ["to", "до"],
                    Unit::Ratio,
                    Coloring::Plain,
                    converted(of_managers("lead_conversion_upper_ratio")),
                ),
                field(
                    ["Department conversion", "Конверсия отдела"],
                    Unit::Ratio,
                    Coloring::Plain,
                    department_converted(),
                ),
                field(["Verdict", "Вывод"], Unit::Count, VERDICT, beyond_chance()),
                field(["Violations", "Нарушений"], Unit::Count, Coloring::Plain, violations),
                field(["Special terms", "Особые условия"], Unit::Ratio, Coloring::Plain, special),
                field(
                    ["Score", "Оценка"],
                    Unit::Score,
                    Coloring::Plain,
                    of_managers("review_mean_score").deduplicated(),
                ),
            ]),
            sorted: 0,
        },
    }
}

fn rules() -> Panel {
    let value_names = Rule::ALL.iter().map(|rule| (rule.name(), catalog::definition(*rule).title)).collect();
    let name = ["Rule", "Правило"];
    let rule = Key { label: "rule", name, width: 240, display: Display::Shown, value_names, link: None };
    let mut keys = manager_keys(Display::Shown);
    keys.insert(2, rule);
    let open = of_managers("open_alerts").deduplicated();
    let began = of_managers("violations").deduplicated();
    Panel {
        title: ["Rules", "Правила"],
        description: [
            "Each manager's alerts by rule: how many are open now, and how many violations began in the period. Open \
             ones can still be corrected today; start with the longest bar.",
            "Оповещения каждого менеджера по правилам: сколько открыто сейчас и сколько нарушений началось за \
             период. Открытое ещё можно исправить сегодня; начните с самой длинной полосы.",
        ],
        width: 24,
        height: 9,
        body: Body::Table {
            keys,
            fields: named(vec![
                field(
                    ["Open now", "Открыто сейчас"],
                    Unit::Count,
                    Coloring::CountBar,
                    open.clone().or_zero_for(began.clone()),
                ),
                field(
                    ["Began in the period", "Началось за период"],
                    Unit::Count,
                    Coloring::CountBar,
                    began.or_zero_for(open),
                ),
            ]),
            sorted: 0,
        },
    }
}

/// The norm of each selected department that has managers.
fn of_active_departments(norm: Expr) -> Expr {
    norm.max(&["department"]).where_present(&awaiting().max(&["department"])).with_names_of_departments()
}

/// A line per manager, with the deadline and the norm for the window.
fn lags(q: &'static str) -> Body {
    let line = |legend, norm, expr| Line { legend, norm, expr };
    let mut lines = vec![
        line(["{{name}}", "{{name}}"], false, lag(q).with_names_of_managers()),
        line(
            ["deadline, {{department_name}}", "срок ответа, {{department_name}}"],
            true,
            of_active_departments(within(Rule::FirstResponseLate)),
        ),
    ];
    let window_norm = of_active_departments(
        norm(Metric::NormAtMost, Rule::ResponseSlow).with_label("q", q).in_window().deduplicated(),
    );
    lines.push(line(
        ["norm for the period, {{department_name}}", "норма за период, {{department_name}}"],
        true,
        window_norm,
    ));
    Body::TimeSeries { unit: Unit::Duration, stacked: false, lines }
}

fn response_times() -> Panel {
    Panel {
        title: ["Response time of nine leads in ten", "Время ответа на девять лидов из десяти"],
        description: [
            "How quickly each manager responds to nine new leads in ten, over the period before each moment, on the \
             clock of the norm; the dashed lines are the deadline and the norm. A curve above them is a habit, not \
             an exception. A response counts for the manager who is responsible when it becomes known: a manager who \
             takes over leads that were left waiting has long times and can still be in time.",
            "За какое время каждый менеджер отвечает на девять новых лидов из десяти, за период перед каждым \
             моментом; время считается так, как задано в норме; пунктир — срок ответа и норма. Кривая выше пунктира \
             — это уже привычка, а не случай. Ответ засчитывается менеджеру, который отвечает за лид, когда об \
             ответе становится известно: у того, кто подхватывает чужие просроченные лиды, кривая высокая, а доля \
             «вовремя» может быть хорошей.",
        ],
        width: 12,
        height: 10,
        body: lags("0.9"),
    }
}

fn conversion() -> Panel {
    let of_department =
        norm(Metric::NormOfDepartment, Rule::ConversionLow).in_window().deduplicated().max(&["department"]);
    let at_least = norm(Metric::NormAtLeast, Rule::ConversionLow).in_window().deduplicated().max(&["department"]);
    let wanted = at_least.or(of_department.times(converted(of_departments("lead_conversion_ratio"))));
    let share = |name, of| field(name, Unit::Ratio, Coloring::Plain, converted(of_managers(of)));
    Panel {
        title: ["Conversion compared with the department's", "Конверсия в сравнении с отделом"],
        description: [
            "The share of leads that became deals, counted as the norm counts it. “From” and “to” are the 95 % \
             interval, which very likely contains the true rate. “Lower” is below the department beyond chance, red \
             is below the norm beyond chance; with few leads no conclusion is possible yet.",
            "Какая доля лидов стала сделками; считается так, как задано в норме. «От» и «до» — 95 %-ный интервал: \
             истинная конверсия почти наверняка в нём. «Ниже» — не случайно хуже отдела, красный цвет — не случайно \
             хуже нормы; по нескольким лидам судить рано.",
        ],
        width: 12,
        height: 10,
        body: manager_table(
            vec![
                field(
                    ["Conversion", "Конверсия"],
                    Unit::Ratio,
                    Coloring::RatioBar,
                    converted(of_managers("lead_conversion_ratio")),
                ),
                share(["from", "от"], "lead_conversion_lower_ratio"),
                share(["to", "до"], "lead_conversion_upper_ratio"),
                field(
                    ["Leads", "Лидов"],
                    Unit::Count,
                    Coloring::Plain,
                    converted(of_managers("lead_conversion_sample")),
                ),
                field(
                    ["Department conversion", "Конверсия отдела"],
                    Unit::Ratio,
                    Coloring::Plain,
                    department_converted(),
                ),
                field(["Verdict", "Вывод"], Unit::Count, VERDICT, beyond_chance()),
                field(
                    ["“To” of the norm", "«До» от нормы"],
                    Unit::Ratio,
                    Coloring::AtLeast,
                    converted(of_managers("lead_conversion_upper_ratio")).divided_by(wanted),
                ),
            ],
            0,
        ),
    }
}

/// Requests of customers: how many were answered, how quickly, and how many are still open.
fn answers(rule: Rule, received_count: Field, answered: Field, lag: &str, waiting: Field, others: Vec<Field>) -> Body {
    let lag = of_managers(lag).with_label("q", "0.9").deduplicated();
    let over = lag.clone().divided_by(within(rule).max(&["department"]));
    let fields = vec![
        field(["Overdue", "Просрочено"], Unit::Count, Coloring::Bad, open(rule).or_zero_for(awaiting())),
        waiting,
        received_count,
        answered,
        field(["Nine in ten within", "Девять из десяти за"], Unit::Duration, Coloring::Plain, lag),
        field(["Of the norm", "От нормы"], Unit::Ratio, Coloring::AtMost, over),
    ];
    manager_table(fields.into_iter().chain(others).collect(), 0)
}

fn calls() -> Panel {
    let missed = of_managers("calls").with_label("direction", "inbound").with_label("outcome", "missed").deduplicated();
    let plain = |name, of| field(name, Unit::Count, Coloring::Plain, of_managers(of).deduplicated());
    Panel {
        title: ["Missed calls and call-backs", "Пропущенные звонки и перезвоны"],
        description: [
            "Which managers miss calls, which call back, and how quickly compared with the norm. Many missed calls \
             of one manager are a question of shifts; calls that are not returned are a reason to talk to the \
             manager.",
            "Кто пропускает звонки, кто и как быстро перезванивает по сравнению с нормой. Много пропущенных у одного \
             менеджера — вопрос графика дежурств; если не перезванивают — повод для разговора.",
        ],
        width: 12,
        height: 9,
        body: answers(
            Rule::MissedCallNotReturned,
            field(["Missed", "Пропущено"], Unit::Count, Coloring::Plain, missed),
            plain(["Called back", "Перезвонили"], "call_backs"),
            "call_back_lag_seconds",
            plain(["To return", "Перезвонить"], "unreturned_calls"),
            Vec::new(),
        ),
    }
}

fn messages() -> Panel {
    let received = of_managers("messages").with_label("direction", "received").deduplicated().sum(&OF_MANAGER);
    let plain = |name, of| field(name, Unit::Count, Coloring::Plain, of_managers(of).deduplicated());
    Panel {
        title: ["Messages and replies", "Сообщения и ответы"],
        description: [
            "E-mails and chats: how many were received, how many were answered, how quickly compared with the norm, \
             and how many still wait for an answer. Dismissed: calls and messages that somebody marked as needing no \
             answer; a manager with many of them deserves a look.",
            "Письма и чаты: сколько пришло, на сколько ответили и как быстро по сравнению с нормой, сколько ещё ждут \
             ответа. «Снято» — звонки и сообщения, отмеченные как не требующие ответа; если их у менеджера много, \
             стоит посмотреть, какие.",
        ],
        width: 12,
        height: 9,
        body: answers(
            Rule::MessageUnanswered,
            field(["Received", "Получено"], Unit::Count, Coloring::Plain, received),
            plain(["Answered", "Ответили"], "replies"),
            "reply_lag_seconds",
            plain(["To answer", "Ответить"], "unanswered_messages"),
            vec![plain(["Dismissed", "Снято"], "dismissed")],
        ),
    }
}

fn next_steps() -> Panel {
    let plain = |name, of| field(name, Unit::Count, Coloring::Plain, of_managers(of).deduplicated());
    let missing = open(Rule::NextStepMissing).or_zero_for(awaiting());
    let overdue = open(Rule::NextStepOverdue).or_zero_for(awaiting());
    Panel {
        title: ["Next steps", "Следующие шаги"],
        description: [
            "For how many open deals nothing is planned, and how many planned activities are past their deadline; red: \
             for longer than the norm allows. Then what became of the plans in the period. Many moved deadlines are \
             promises that are not kept: look at these deals together with the manager.",
            "По скольким открытым сделкам ничего не запланировано и сколько дел просрочено; красный цвет — дольше, чем \
             допускает норма. Дальше — что стало с планами за период. Много переносов — это обещания, которые не \
             выполняют: разберите такие сделки вместе с менеджером.",
        ],
        width: 24,
        height: 8,
        body: manager_table(
            vec![
                field(["Without a step, too long", "Без шага дольше нормы"], Unit::Count, Coloring::Bad, missing),
                field(["Steps overdue, too long", "Просрочены дольше нормы"], Unit::Count, Coloring::Bad, overdue),
                plain(["Without a next step", "Без следующего шага"], "without_next_step"),
                plain(["Planned", "Запланировано"], "open_plans"),
                plain(["Past the deadline", "Срок прошёл"], "overdue_plans"),
                plain(["Made", "Поставлено"], "plans_made"),
                plain(["Done", "Сделано"], "plans_done"),
                plain(["In time", "Из них в срок"], "plans_done_in_time"),
                plain(["Moved", "Перенесено"], "plans_moved"),
            ],
            2,
        ),
    }
}

/// The columns about a target: how much of the pace is missing comes first, because it sorts the rows.
fn plan_fields(of: fn(&str) -> Series) -> Vec<Field> {
    let value = |name: &str| of(name).deduplicated();
    let plain = |name, of| field(name, Unit::Count, Coloring::Plain, value(of));
    let of_plan = |of| value(of).divided_by(value("at_least"));
    let missing = value("pace").minus(value("fact")).divided_by(value("at_least"));
    vec![
        field(["Behind, of the plan", "Отставание от плана"], Unit::Ratio, Coloring::Plain, missing),
        plain(["Done", "Сделано"], "fact"),
        plain(["Due by now", "По плану на сейчас"], "pace"),
        plain(["Plan", "План"], "at_least"),
        field(["Done, of the plan", "Выполнено"], Unit::Ratio, Coloring::RatioBar, of_plan("fact")),
        field(["Forecast, of the plan", "Прогноз к плану"], Unit::Ratio, Coloring::AtLeast, of_plan("forecast")),
    ]
}

fn target_key() -> Key {
    Key {
        label: "target",
        name: ["Target", "План"],
        width: 120,
        display: Display::Shown,
        value_names: Vec::new(),
        link: None,
    }
}

fn plans_of_managers() -> Panel {
    let keys = manager_keys(Display::Dropped).into_iter().chain([target_key()]).collect();
    Panel {
        title: ["Managers: plan and fact", "Менеджеры: план и факт"],
        description: [
            "What each manager has done in the running period of each target, and what would be done by now if the plan \
             were reached evenly over the working time. Those most behind come first; a negative number is ahead. The \
             forecast is red where the plan will be missed if it goes on like this. Talk to them while there is time: what \
             is in the way? Amounts are in minor units.",
            "Что каждый менеджер сделал в текущем периоде по каждому плану и сколько было бы сделано при равномерной работе. \
             Первыми идут те, кто отстаёт сильнее; отрицательное число — опережение. Красный прогноз — план не будет \
             выполнен, если так пойдёт дальше. Поговорите, пока есть время: что мешает? Суммы — в минимальных единицах \
             валюты.",
        ],
        width: 14,
        height: 9,
        body: Body::Table { keys, fields: named(plan_fields(target_of_managers)), sorted: 0 },
    }
}

fn plans_of_groups() -> Panel {
    let department = Key {
        label: "department",
        name: ["Department", "Отдел"],
        value_names: vec![("", ["the company", "вся компания"])],
        ..target_key()
    };
    Panel {
        title: ["Departments and the company: plan and fact", "Отделы и компания: план и факт"],
        description: [
            "The targets of departments and of the company. The fact of a department is the sum over its managers of now.",
            "Планы отделов и компании. Факт отдела — сумма по его нынешним менеджерам.",
        ],
        width: 10,
        height: 9,
        body: Body::Table { keys: vec![department, target_key()], fields: plan_fields(target_of_groups), sorted: 0 },
    }
}

fn stages() -> Panel {
    const STAGE: [&str; 2] = ["pipeline", "deal_stage"];
    let key =
        |label, name, width| Key { label, name, width, display: Display::Shown, value_names: Vec::new(), link: None };
    let open = || of_managers("open_entities").deduplicated().sum(&STAGE);
    let overdue = || of_managers("overdue_entities").deduplicated().sum(&STAGE).or_zero_for(open());
    Panel {
        title: ["Where deals are stuck", "Где застревают сделки"],
        description: [
            "Open leads and deals by stage, and how many of them have been in their stage longer than it allows. \
             Long bars for all managers are a question of the process; select a manager at the top to see only their \
             stages.",
            "Открытые лиды и сделки по этапам и сколько из них находятся на этапе дольше положенного. Длинные полосы \
             у всех сразу — вопрос к процессу; выберите менеджера вверху, чтобы увидеть только его этапы.",
        ],
        width: 24,
        height: 8,
        body: Body::Table {
            keys: vec![key("pipeline", ["Pipeline", "Воронка"], 200), key("deal_stage", ["Stage", "Этап"], 200)],
            fields: vec![
                field(["Overdue", "Просрочено"], Unit::Count, Coloring::CountBar, overdue()),
                field(["Open", "Открыто"], Unit::Count, Coloring::Plain, open()),
                field(
                    ["Share overdue", "Доля просроченных"],
                    Unit::Ratio,
                    Coloring::RatioBar,
                    overdue().divided_by(open()),
                ),
            ],
            sorted: 0,
        },
    }
}

fn terms() -> Panel {
    let norm = norm(Metric::NormAtMostShare, Rule::SpecialTermsFrequent).in_window().deduplicated();
    let special = || of_managers("special_terms_ratio").deduplicated();
    let plain = |name, unit, of| field(name, unit, Coloring::Plain, of_managers(of).deduplicated());
    Panel {
        title: ["Special terms", "Особые условия"],
        description: [
            "For how many deals terms were offered, for how many of them special ones (a discount, instalments, less \
             than full prepayment), and the mean discount. Red: more often than the norm allows for this period.",
            "По скольким сделкам предлагали условия, по скольким из них — особые (скидка, рассрочка, неполная \
             предоплата) и какова средняя скидка. Красный цвет — чаще, чем допускает норма за этот период.",
        ],
        width: 12,
        height: 9,
        body: manager_table(
            vec![
                field(["Special", "Особые"], Unit::Ratio, Coloring::RatioBar, special()),
                field(["Of the norm", "От нормы"], Unit::Ratio, Coloring::AtMost, special().divided_by(norm)),
                plain(["Deals", "Сделок"], Unit::Count, "terms_offered"),
                plain(["With special terms", "Из них с особыми"], Unit::Count, "terms_special"),
                plain(["Mean discount", "Средняя скидка"], Unit::Ratio, "discount_mean_ratio"),
            ],
            0,
        ),
    }
}

fn quality() -> Panel {
    let norm = norm(Metric::NormScore, Rule::QualityLow).in_window().deduplicated();
    let score = || of_managers("review_mean_score").deduplicated();
    let plain = |name, unit, of| field(name, unit, Coloring::Plain, of_managers(of).deduplicated());
    Panel {
        title: ["Quality of calls and messages", "Качество разговоров и переписки"],
        description: [
            "Results of reviews: the mean score compared with the norm, and the number of reviews. Red is below the \
             norm for this period: go through a failed call or message together.",
            "Результаты проверок: средняя оценка, её доля от нормы и число проверок. Красный цвет — ниже нормы за \
             этот период: разберите вместе неудачный разговор.",
        ],
        width: 12,
        height: 9,
        body: manager_table(
            vec![
                plain(["Score", "Оценка"], Unit::Score, "review_mean_score"),
                field(["Of the norm", "От нормы"], Unit::Ratio, Coloring::AtLeast, score().divided_by(norm)),
                plain(["Reviews", "Проверок"], Unit::Count, "reviews"),
                plain(["Failures", "Неудач"], Unit::Count, "review_failures"),
                plain(["Successes", "Удач"], Unit::Count, "review_successes"),
            ],
            3,
        ),
    }
}

fn trends() -> Vec<Panel> {
    let curve = |title, description, unit, stacked, legend, expr| Panel {
        title,
        description,
        width: 12,
        height: 9,
        body: Body::TimeSeries { unit, stacked, lines: vec![Line { legend, norm: false, expr }] },
    };
    const MANAGER: Text = ["{{name}}", "{{name}}"];
    let median = Panel {
        title: ["Median response time", "Медианное время ответа"],
        description: [
            "How quickly half of the new leads get a response; the dashed lines are the deadline and the norm. If \
             this is good and the time of nine leads in ten is not, some leads are forgotten.",
            "За какое время отвечают на половину новых лидов; пунктир — срок ответа и норма. Если здесь всё хорошо, \
             а на девять лидов из десяти отвечают долго, о части лидов забывают.",
        ],
        width: 12,
        height: 9,
        body: lags("0.5"),
    };
    vec![
        curve(
            ["Leads waiting", "Лиды ждут ответа"],
            [
                "How many leads wait for a first response. A peak at the same hour every day is a reason to review \
                 the shifts.",
                "Сколько лидов ждут первого ответа. Пик в один и тот же час каждый день — повод пересмотреть смены.",
            ],
            Unit::Count,
            true,
            MANAGER,
            awaiting().with_names_of_managers(),
        ),
        curve(
            ["Open alerts", "Открытые оповещения"],
            [
                "How many alerts are open. If a talk has helped, the curve goes down.",
                "Сколько оповещений открыто. Если разговор помог, кривая идёт вниз.",
            ],
            Unit::Count,
            true,
            MANAGER,
            of_managers("open_alerts").deduplicated().sum(&OF_MANAGER).or_zero_for(awaiting()).with_names_of_managers(),
        ),
        curve(
            ["Responded in time", "Ответы вовремя"],
            [
                "The share of leads that received a first response by their deadline, over the period before each \
                 moment.",
                "Доля лидов, которым ответили в срок, за период перед каждым моментом.",
            ],
            Unit::Ratio,
            false,
            MANAGER,
            of_managers("first_response_within_norm_ratio").deduplicated().with_names_of_managers(),
        ),
        median,
        curve(
            ["Leads received", "Новые лиды"],
            [
                "Leads received in the period before each moment: which managers get many, and which get few.",
                "Сколько лидов пришло за период перед каждым моментом: кому достаётся много, кому мало.",
            ],
            Unit::Count,
            true,
            MANAGER,
            of_managers("leads_received").deduplicated().with_names_of_managers(),
        ),
        curve(
            ["Conversion of departments", "Конверсия отделов"],
            [
                "The share of leads that became deals, counted as the norm counts it, over the period before each \
                 moment.",
                "Какая доля лидов стала сделками, за период перед каждым моментом; считается так, как задано в норме.",
            ],
            Unit::Ratio,
            false,
            ["{{department_name}}", "{{department_name}}"],
            converted(of_departments("lead_conversion_ratio")).with_names_of_departments(),
        ),
    ]
}
