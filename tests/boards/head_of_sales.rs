//! Owns the board of a head of sales: who needs a word today, and why. What burns stands at the top, who it is below,
//! what to say to him after that, and how it came about in rows that are folded at first.

use crate::board::{Board, Body, Field, Key, Line, Paint, Panel, Row, Unit, Variable};
use crate::promql::{Expr, Series, norm, of_departments, of_managers, of_tenant, values};
use crate::words::{self, Text};
use funnelwatch::domain::rule::Rule;
use funnelwatch::telemetry::metric::{Level, Metric};

const OF_MANAGER: [&str; 2] = ["department", "manager"];

pub(crate) fn board() -> Board {
    Board {
        name: "head-of-sales",
        title: ["Head of sales", "Руководитель отдела продаж"],
        says: [
            "Who needs a word today: customers who wait, managers who are beyond their norms, and by how much.",
            "С кем поговорить сегодня: какие клиенты ждут, кто из менеджеров не держит нормы и насколько.",
        ],
        back: "now-12h",
        refresh: "30s",
        variables: variables(),
        rows: vec![
            Row { heading: None, folded: false, panels: burning() },
            Row { heading: None, folded: false, panels: vec![people(), alerts()] },
            Row {
                heading: Some(["First answers and conversion", "Первые ответы и конверсия"]),
                folded: false,
                panels: vec![habit(), conversion()],
            },
            Row {
                heading: Some(["Calls, messages and deals that do not move", "Звонки, сообщения и застрявшие сделки"]),
                folded: false,
                panels: vec![calls(), messages(), stages()],
            },
            Row {
                heading: Some(["Terms and quality", "Условия и качество"]),
                folded: false,
                panels: vec![terms(), quality()],
            },
            Row {
                heading: Some(["How it came about", "Как к этому пришли"]), folded: true, panels: course()
            },
        ],
    }
}

fn variables() -> Vec<Variable> {
    let ask = |name, label, query: String, many| Variable { name, label, query: Some(query), many, preset: None };
    let tenant = "tenant=\"$tenant\"";
    let department = values(Metric::Awaiting, Level::Department, "department", &[tenant]);
    let manager = values(Metric::Awaiting, Level::Manager, "manager", &[tenant, "department=~\"$department\""]);
    let window = values(Metric::LeadsReceived, Level::Tenant, "window", &[tenant]);
    vec![
        Variable { name: "datasource", label: ["Prometheus", "Prometheus"], query: None, many: false, preset: None },
        ask("tenant", ["Company", "Компания"], values(Metric::Awaiting, Level::Tenant, "tenant", &[]), false),
        ask("department", ["Department", "Отдел"], department, true),
        ask("manager", ["Manager", "Менеджер"], manager, true),
        Variable { preset: Some("24h"), ..ask("window", ["Period", "Период"], window, false) },
    ]
}

/// Alerts of one rule that are open: what the processor found to be beyond the norm, on the norm's own clock.
fn open(rule: Rule) -> Expr {
    of_managers(Metric::OpenAlerts).is("rule", rule.name()).once()
}

fn awaiting() -> Expr {
    of_managers(Metric::Awaiting).once()
}

fn total(of: Expr) -> Expr {
    of.sum(&[]).or_none()
}

fn field(name: Text, unit: Unit, paint: Paint, expr: Expr) -> Field {
    Field { name, unit, paint, expr }
}

/// The deadline of a rule, on the norm's clock.
fn within(rule: Rule) -> Expr {
    norm(Metric::NormWithin, rule).once()
}

/// Lags of first answers on the clock of their norm, in working time where there is none.
fn lag(q: &'static str) -> Expr {
    let lag = || of_managers(Metric::FirstResponseLag).is("q", q);
    let norm = within(Rule::FirstResponseLate);
    let judged = lag().once().where_there_is(&norm).max(&OF_MANAGER);
    let plain = lag().is("clock", "business").once().where_there_is_no(&norm.max(&["department"]));
    judged.or(plain)
}

/// How many times its norm a lag is.
fn lag_over_norm(q: &'static str) -> Expr {
    let norm = within(Rule::FirstResponseLate);
    of_managers(Metric::FirstResponseLag).is("q", q).once().over(norm).max(&OF_MANAGER)
}

/// A figure of conversion as its norm counts it, by leads created where there is none.
fn converted(of: Series) -> Expr {
    let norm = norm(Metric::NormAtLeast, Rule::ConversionLow).once().max(&["department", "basis"]).or(norm(
        Metric::NormOfDepartment,
        Rule::ConversionLow,
    )
    .once()
    .max(&["department", "basis"]));
    let by: Vec<&str> = of.free().iter().copied().filter(|label| *label != "basis").collect();
    let judged = of.clone().once().where_there_is(&norm).max(&by);
    let plain = of.is("basis", "cohort").once().where_there_is_no(&norm.max(&["department"]));
    judged.or(plain)
}

/// The conversion of his department, for each manager.
fn department_converted() -> Expr {
    awaiting().zero().plus(converted(of_departments(Metric::LeadConversion)))
}

/// Worse or better than the department beyond chance: its rate is outside of the manager's 95 % interval.
fn beyond_chance() -> Expr {
    let department = || converted(of_departments(Metric::LeadConversion));
    let better = converted(of_managers(Metric::LeadConversionLower)).above(department());
    better.minus(converted(of_managers(Metric::LeadConversionUpper)).below(department()))
}

const VERDICT: Paint = Paint::Verdict([["lower", "ниже"], ["same", "наравне"], ["higher", "выше"]]);

fn manager() -> Key {
    Key {
        label: "manager",
        name: ["Manager", "Менеджер"],
        width: 110,
        shown: true,
        called: Vec::new(),
        sets: Some(["Only this manager", "Только этот менеджер"]),
    }
}

fn department() -> Key {
    Key {
        label: "department",
        name: ["Department", "Отдел"],
        width: 100,
        shown: true,
        called: Vec::new(),
        sets: Some(["Only this department", "Только этот отдел"]),
    }
}

fn of_each_manager(fields: Vec<Field>, sorted: usize) -> Body {
    Body::Table { keys: vec![manager(), Key { shown: false, ..department() }], fields, sorted }
}

fn burning() -> Vec<Panel> {
    let late = total(open(Rule::FirstResponseLate));
    let oldest = || of_managers(Metric::OldestWait).once().max(&[]).or_none();
    // Leads of the company that no manager has: those of all managers, whoever is looked at, are not among them.
    let everybody = of_tenant(Metric::Awaiting).once();
    let assigned = of_managers(Metric::Awaiting).of_everybody().once().sum(&[]).or_none();
    vec![
        Panel {
            title: ["Leads without an answer", "Лиды без ответа"],
            says: [
                "Leads that wait for their first answer now; those of them that have waited for longer than the norm, on \
                 the norm's own clock; and those that nobody is responsible for. Red: call, or have somebody call, now.",
                "Сколько лидов ждут первого ответа сейчас; сколько из них ждут дольше нормы (по часам нормы); у скольких \
                 нет ответственного. Красное — поручите позвонить прямо сейчас.",
            ],
            width: 6,
            height: 4,
            body: Body::Numbers(vec![
                field(["waiting", "ждут"], Unit::Count, Paint::Plain, total(awaiting())),
                field(["too long", "слишком долго"], Unit::Count, Paint::Bad, late.clone()),
                field(["of nobody", "ничьи"], Unit::Count, Paint::Bad, everybody.minus(assigned)),
            ]),
        },
        Panel {
            title: ["Longest wait", "Дольше всех ждут"],
            says: [
                "How long the customer who waits longest has been waiting, nights and days off included. Red as soon as \
                 any lead waits for longer than its norm, on the norm's own clock.",
                "Сколько ждёт тот, кто ждёт дольше всех, считая ночи и выходные. Красное, как только хоть один лид ждёт \
                 дольше нормы по её часам.",
            ],
            width: 4,
            height: 4,
            // The limit is the value itself where something is late, else one more: red exactly then.
            body: Body::Judged(
                field(["longest wait", "дольше всех"], Unit::Length, Paint::Bad, oldest()),
                oldest().plus(late.none()),
            ),
        },
        Panel {
            title: ["Missed calls", "Пропущенные звонки"],
            says: [
                "Customers who called, reached nobody and were not called back yet; those of them for longer than the \
                 norm. Red: have them called back before they call somebody else.",
                "Кто звонил, не дозвонился и кому ещё не перезвонили; скольким — дольше нормы. Красное — пусть \
                 перезвонят, пока клиент не позвонил другим.",
            ],
            width: 4,
            height: 4,
            body: Body::Numbers(vec![
                field(
                    ["to return", "перезвонить"],
                    Unit::Count,
                    Paint::Plain,
                    total(of_managers(Metric::UnreturnedCalls).once()),
                ),
                field(["too late", "просрочено"], Unit::Count, Paint::Bad, total(open(Rule::MissedCallNotReturned))),
            ]),
        },
        Panel {
            title: ["Messages", "Сообщения"],
            says: [
                "Customers who wrote and have no answer yet; those of them for longer than the norm. Red: have them \
                 answered today.",
                "Кто написал и ещё не получил ответа; сколько из них ждут дольше нормы. Красное — пусть ответят сегодня.",
            ],
            width: 4,
            height: 4,
            body: Body::Numbers(vec![
                field(
                    ["to answer", "ответить"],
                    Unit::Count,
                    Paint::Plain,
                    total(of_managers(Metric::UnansweredMessages).once()),
                ),
                field(["too late", "просрочено"], Unit::Count, Paint::Bad, total(open(Rule::MessageUnanswered))),
            ]),
        },
        Panel {
            title: ["Violations", "Нарушения"],
            says: [
                "Alerts that are open now, of all rules, and violations that began in the period, those that are over or \
                 were single acts included. Whose they are stands below.",
                "Сколько оповещений открыто сейчас, по всем правилам, и сколько нарушений началось за период, включая \
                 законченные и разовые. Чьи они — ниже.",
            ],
            width: 3,
            height: 4,
            body: Body::Numbers(vec![
                field(["open", "открыто"], Unit::Count, Paint::Bad, total(of_managers(Metric::OpenAlerts).once())),
                field(
                    ["in the period", "за период"],
                    Unit::Count,
                    Paint::Plain,
                    total(of_managers(Metric::Violations).once()),
                ),
            ]),
        },
        Panel {
            title: ["Answered in time", "Ответы вовремя"],
            says: [
                "Of the leads that were due in the period, the share that got its first answer by the deadline. If it is \
                 low for everybody, look at how leads are given out before you talk to anyone.",
                "Какой доле лидов за период ответили в срок. Если она низкая у всех, начните не с людей, а с того, как \
                 распределяются лиды.",
            ],
            width: 3,
            height: 4,
            body: Body::Numbers(vec![field(
                ["in time", "вовремя"],
                Unit::Share,
                Paint::Good,
                of_managers(Metric::WithinNorm)
                    .once()
                    .times(of_managers(Metric::WithinNormSample).once())
                    .sum(&[])
                    .over(of_managers(Metric::WithinNormSample).once().sum(&[])),
            )]),
        },
    ]
}

fn people() -> Panel {
    let all = || of_managers(Metric::OpenAlerts).once().sum(&OF_MANAGER).or_none_of(awaiting());
    let violations = of_managers(Metric::Violations).once().sum(&OF_MANAGER).or_none_of(awaiting());
    let special = of_managers(Metric::SpecialTerms).once();
    Panel {
        title: ["Who needs a word", "С кем поговорить"],
        says: [
            "A row for each manager, those with most open alerts first. Red is beyond a norm: it says what to talk about. \
             “Nine of ten within” is the lag of first answers; of the norm, 100 % is the norm itself. Conversion stands with \
             its 95 % interval and the department's: “lower” is more than chance. A click on a name leaves only that manager.",
            "По строке на менеджера, сначала те, у кого больше открытых оповещений. Красное — хуже нормы: об этом и \
             разговор. «Девять из десяти за» — как быстро отвечают на новые лиды; 100 % от нормы — ровно норма. Конверсия — с \
             95 %-ным интервалом и рядом с отделом: «ниже» — это не случайность. Щелчок по имени оставит только этого менеджера.",
        ],
        width: 24,
        height: 11,
        body: Body::Table {
            keys: vec![manager(), department()],
            fields: vec![
                field(["Open alerts", "Открыто"], Unit::Count, Paint::Bad, all()),
                field(["Leads waiting", "Лиды ждут"], Unit::Count, Paint::Plain, awaiting()),
                field(
                    ["Longest wait", "Дольше всех"],
                    Unit::Length,
                    Paint::Plain,
                    of_managers(Metric::OldestWait).once(),
                ),
                field(["Nine of ten within", "Девять из десяти за"], Unit::Length, Paint::Plain, lag("0.9")),
                field(["Of the norm", "От нормы"], Unit::Share, Paint::AtMost, lag_over_norm("0.9")),
                field(["In time", "Вовремя"], Unit::Share, Paint::Good, of_managers(Metric::WithinNorm).once()),
                field(
                    ["Calls to return", "Ждут звонка"],
                    Unit::Count,
                    Paint::Plain,
                    of_managers(Metric::UnreturnedCalls).once(),
                ),
                field(
                    ["Converts", "Конверсия"],
                    Unit::Share,
                    Paint::Plain,
                    converted(of_managers(Metric::LeadConversion)),
                ),
                field(["from", "от"], Unit::Share, Paint::Plain, converted(of_managers(Metric::LeadConversionLower))),
                field(["to", "до"], Unit::Share, Paint::Plain, converted(of_managers(Metric::LeadConversionUpper))),
                field(["Department converts", "Конверсия отдела"], Unit::Share, Paint::Plain, department_converted()),
                field(["Verdict", "Вывод"], Unit::Count, VERDICT, beyond_chance()),
                field(["Violations", "Нарушений"], Unit::Count, Paint::Plain, violations),
                field(["Special terms", "Особые условия"], Unit::Share, Paint::Plain, special),
                field(["Score", "Оценка"], Unit::Score, Paint::Plain, of_managers(Metric::ReviewScore).once()),
            ],
            sorted: 0,
        },
    }
}

fn alerts() -> Panel {
    let called = Rule::ALL.iter().map(|rule| (rule.name(), words::rule(*rule))).collect();
    let what = Key { label: "rule", name: ["What", "Что не так"], width: 240, shown: true, called, sets: None };
    let open = of_managers(Metric::OpenAlerts).once();
    let began = of_managers(Metric::Violations).once();
    Panel {
        title: ["What about", "О чём говорить"],
        says: [
            "Each manager's alerts by rule: how many are open now, and how many violations began in the period. Open \
             ones can still be mended today; begin with the longest bar.",
            "Оповещения каждого менеджера по правилам: сколько открыто сейчас и сколько нарушений началось за период. \
             Открытое ещё можно исправить сегодня; начните с самой длинной полосы.",
        ],
        width: 24,
        height: 9,
        body: Body::Table {
            keys: vec![manager(), department(), what],
            fields: vec![
                field(["Open now", "Открыто сейчас"], Unit::Count, Paint::Heap, open.clone().or_none_of(began.clone())),
                field(["Began in the period", "Началось за период"], Unit::Count, Paint::Heap, began.or_none_of(open)),
            ],
            sorted: 0,
        },
    }
}

/// The norm of each department that has managers.
fn of_those_at_work(norm: Expr) -> Expr {
    norm.max(&["department"]).where_there_is(&awaiting().max(&["department"]))
}

/// Curves of the managers, with the deadline as a line.
fn lags(q: &'static str) -> Body {
    let line = |legend, norm, expr| Line { legend, norm, expr };
    let mut lines = vec![
        line(["{{manager}}", "{{manager}}"], false, lag(q)),
        line(
            ["norm, {{department}}", "норма, {{department}}"],
            true,
            of_those_at_work(within(Rule::FirstResponseLate)),
        ),
    ];
    let habit = of_those_at_work(norm(Metric::NormAtMost, Rule::ResponseSlow).is("q", q).in_the_window().once());
    lines.push(line(["norm of the habit, {{department}}", "норма привычки, {{department}}"], true, habit));
    Body::Curves { unit: Unit::Length, stacked: false, lines }
}

fn habit() -> Panel {
    Panel {
        title: ["Nine of ten leads are answered within", "За сколько отвечают на девять лидов из десяти"],
        says: [
            "The lag of first answers in the period, manager by manager, on the clock of the norm; the norm is the dashed \
             line. A curve above it is a habit, not a case. A lead counts for whoever answered it: a manager who takes over \
             what others let lie has long lags, and is in time all the same.",
            "За сколько каждый менеджер отвечает на новые лиды, по часам нормы; пунктир — норма. Кривая выше пунктира — \
             это уже привычка, а не случай. Лид засчитан тому, кто ответил: у того, кто подхватывает чужие просроченные \
             лиды, кривая высокая, а доля «вовремя» хорошая.",
        ],
        width: 12,
        height: 10,
        body: lags("0.9"),
    }
}

fn conversion() -> Panel {
    let of_department = norm(Metric::NormOfDepartment, Rule::ConversionLow).in_the_window().once().max(&["department"]);
    let at_least = norm(Metric::NormAtLeast, Rule::ConversionLow).in_the_window().once().max(&["department"]);
    let wanted = at_least.or(of_department.times(converted(of_departments(Metric::LeadConversion))));
    let share = |name, of| field(name, Unit::Share, Paint::Plain, converted(of_managers(of)));
    Panel {
        title: ["Conversion beside the department's", "Конверсия рядом с отделом"],
        says: [
            "What share of leads became deals, counted as the norm counts it. “From” and “to” are the 95 % interval: the \
             true rate lies there. “Lower” is worse than the department beyond chance, red is under the norm beyond \
             chance; few leads say little.",
            "Какая доля лидов стала сделками, по счёту нормы. «От» и «до» — 95 %-ный интервал: настоящая конверсия где-то \
             там. «Ниже» — хуже отдела не случайно, красное — хуже нормы не случайно; по нескольким лидам судить рано.",
        ],
        width: 12,
        height: 10,
        body: of_each_manager(
            vec![
                field(
                    ["Conversion", "Конверсия"],
                    Unit::Share,
                    Paint::Bar,
                    converted(of_managers(Metric::LeadConversion)),
                ),
                share(["from", "от"], Metric::LeadConversionLower),
                share(["to", "до"], Metric::LeadConversionUpper),
                field(
                    ["Of leads", "Лидов"],
                    Unit::Count,
                    Paint::Plain,
                    converted(of_managers(Metric::LeadConversionSample)),
                ),
                field(["Department converts", "Конверсия отдела"], Unit::Share, Paint::Plain, department_converted()),
                field(["Verdict", "Вывод"], Unit::Count, VERDICT, beyond_chance()),
                field(
                    ["“To” of the norm", "«До» от нормы"],
                    Unit::Share,
                    Paint::AtLeast,
                    converted(of_managers(Metric::LeadConversionUpper)).over(wanted),
                ),
            ],
            0,
        ),
    }
}

/// Of what is asked by customers: how much was answered, in what time, and what is still open.
fn answers(rule: Rule, came: Field, answered: Field, lag: Metric, waiting: Field) -> Body {
    let lag = of_managers(lag).is("q", "0.9").once();
    let over = lag.clone().over(within(rule).max(&["department"]));
    of_each_manager(
        vec![
            field(["Too late now", "Просрочено"], Unit::Count, Paint::Bad, open(rule).or_none_of(awaiting())),
            waiting,
            came,
            answered,
            field(["Nine of ten within", "Девять из десяти за"], Unit::Length, Paint::Plain, lag),
            field(["Of the norm", "От нормы"], Unit::Share, Paint::AtMost, over),
        ],
        0,
    )
}

fn calls() -> Panel {
    let missed = of_managers(Metric::Calls).is("direction", "inbound").is("outcome", "missed").once();
    let plain = |name, of| field(name, Unit::Count, Paint::Plain, of_managers(of).once());
    Panel {
        title: ["Missed calls and call-backs", "Пропущенные звонки и перезвоны"],
        says: [
            "Who misses calls, who calls back, and how soon beside the norm. Many missed calls of one person are a matter \
             of who is on duty; calls not returned are a matter for a word.",
            "Кто пропускает звонки, кто и как быстро перезванивает по сравнению с нормой. Много пропущенных у одного — \
             вопрос дежурств; не перезвонил — повод для разговора.",
        ],
        width: 12,
        height: 9,
        body: answers(
            Rule::MissedCallNotReturned,
            field(["Missed", "Пропущено"], Unit::Count, Paint::Plain, missed),
            plain(["Called back", "Перезвонили"], Metric::CallBacks),
            Metric::CallBackLag,
            plain(["To return", "Перезвонить"], Metric::UnreturnedCalls),
        ),
    }
}

fn messages() -> Panel {
    let received = of_managers(Metric::Messages).is("direction", "received").once().sum(&OF_MANAGER);
    let plain = |name, of| field(name, Unit::Count, Paint::Plain, of_managers(of).once());
    Panel {
        title: ["Messages and answers", "Сообщения и ответы"],
        says: [
            "Letters and chats: how many came, how many were answered, how soon beside the norm, and what is still open.",
            "Письма и чаты: сколько пришло, на сколько ответили и как быстро по сравнению с нормой, сколько ещё ждут.",
        ],
        width: 12,
        height: 9,
        body: answers(
            Rule::MessageUnanswered,
            field(["Received", "Получено"], Unit::Count, Paint::Plain, received),
            plain(["Answered", "Ответили"], Metric::Replies),
            Metric::ReplyLag,
            plain(["To answer", "Ответить"], Metric::UnansweredMessages),
        ),
    }
}

fn stages() -> Panel {
    const STAGE: [&str; 2] = ["pipeline", "deal_stage"];
    let key = |label, name, width| Key { label, name, width, shown: true, called: Vec::new(), sets: None };
    let open = || of_managers(Metric::Open).once().sum(&STAGE);
    let overdue = || of_managers(Metric::Overdue).once().sum(&STAGE).or_none_of(open());
    Panel {
        title: ["Where deals are stuck", "Где застревают сделки"],
        says: [
            "Leads and deals that are open, stage by stage, and those that are in their stage for longer than it allows. \
             A long bar for everybody is a matter of the process; choose a manager above to see his own.",
            "Открытые лиды и сделки по этапам и те, что стоят на этапе дольше положенного. Длинная полоса у всех сразу — \
             вопрос к процессу; выберите менеджера наверху, чтобы увидеть его этапы.",
        ],
        width: 24,
        height: 8,
        body: Body::Table {
            keys: vec![key("pipeline", ["Pipeline", "Воронка"], 200), key("deal_stage", ["Stage", "Этап"], 200)],
            fields: vec![
                field(["Overdue", "Просрочено"], Unit::Count, Paint::Heap, overdue()),
                field(["Open", "Открыто"], Unit::Count, Paint::Plain, open()),
                field(["Share overdue", "Доля просроченных"], Unit::Share, Paint::Bar, overdue().over(open())),
            ],
            sorted: 0,
        },
    }
}

fn terms() -> Panel {
    let norm = norm(Metric::NormAtMostShare, Rule::SpecialTermsFrequent).in_the_window().once();
    let special = || of_managers(Metric::SpecialTerms).once();
    let plain = |name, unit, of| field(name, unit, Paint::Plain, of_managers(of).once());
    Panel {
        title: ["Terms given", "Особые условия"],
        says: [
            "For how many deals terms were offered, how many of them were special (a discount, instalments, less than \
             full prepayment), and the mean discount. Red: more often than the norm allows in this period.",
            "По скольким сделкам предлагали условия, по скольким — особые (скидка, рассрочка, неполная предоплата) и \
             какова средняя скидка. Красное — чаще, чем норма допускает за этот период.",
        ],
        width: 12,
        height: 9,
        body: of_each_manager(
            vec![
                field(["Special", "Особые"], Unit::Share, Paint::Bar, special()),
                field(["Of the norm", "От нормы"], Unit::Share, Paint::AtMost, special().over(norm)),
                plain(["Deals", "Сделок"], Unit::Count, Metric::TermsOffered),
                plain(["With special terms", "Из них с особыми"], Unit::Count, Metric::TermsSpecial),
                plain(["Mean discount", "Средняя скидка"], Unit::Share, Metric::DiscountMean),
            ],
            0,
        ),
    }
}

fn quality() -> Panel {
    let norm = norm(Metric::NormScore, Rule::QualityLow).in_the_window().once();
    let score = || of_managers(Metric::ReviewScore).once();
    let plain = |name, unit, of| field(name, unit, Paint::Plain, of_managers(of).once());
    Panel {
        title: ["Quality of talks and letters", "Качество разговоров и писем"],
        says: [
            "What reviewers say: the mean score beside the norm, and how many reviews it rests on. Red is under the norm \
             of this period: listen to a failure together.",
            "Что говорят проверки: средняя оценка, её доля от нормы и число проверок. Красное — ниже нормы за этот \
             период: послушайте вместе неудачный разговор.",
        ],
        width: 12,
        height: 9,
        body: of_each_manager(
            vec![
                plain(["Score", "Оценка"], Unit::Score, Metric::ReviewScore),
                field(["Of the norm", "От нормы"], Unit::Share, Paint::AtLeast, score().over(norm)),
                plain(["Reviews", "Проверок"], Unit::Count, Metric::Reviews),
                plain(["Failures", "Неудач"], Unit::Count, Metric::ReviewFailures),
                plain(["Successes", "Удач"], Unit::Count, Metric::ReviewSuccesses),
            ],
            3,
        ),
    }
}

fn course() -> Vec<Panel> {
    let curve = |title, says, unit, stacked, legend, expr| Panel {
        title,
        says,
        width: 12,
        height: 9,
        body: Body::Curves { unit, stacked, lines: vec![Line { legend, norm: false, expr }] },
    };
    const MANAGER: Text = ["{{manager}}", "{{manager}}"];
    let median = Panel {
        title: ["Half of the leads are answered within", "За сколько отвечают на половину лидов"],
        says: [
            "The lag of an ordinary first answer; the norm is the dashed line. If this is fine and nine of ten are not, \
             some leads are forgotten.",
            "За сколько отвечают обычно; пунктир — норма. Если здесь всё хорошо, а на девять из десяти отвечают долго, \
             часть лидов забывают.",
        ],
        width: 12,
        height: 9,
        body: lags("0.5"),
    };
    vec![
        curve(
            ["Leads waiting", "Лиды ждут ответа"],
            [
                "How many leads wait for their first answer. A hill at the same hour every day wants another shift.",
                "Сколько лидов ждут первого ответа. Горка в один и тот же час каждый день — повод пересмотреть смены.",
            ],
            Unit::Count,
            true,
            MANAGER,
            awaiting(),
        ),
        curve(
            ["Open alerts", "Открытые оповещения"],
            [
                "How many alerts are open. Only a curve that comes down shows that a word has helped.",
                "Сколько оповещений открыто. Помог ли разговор, видно по тому, пошла ли кривая вниз.",
            ],
            Unit::Count,
            true,
            MANAGER,
            of_managers(Metric::OpenAlerts).once().sum(&OF_MANAGER).or_none_of(awaiting()),
        ),
        curve(
            ["Answered in time", "Ответы вовремя"],
            [
                "The share of leads answered by their deadline, over the period before each moment.",
                "Доля лидов, которым ответили в срок, за период перед каждым моментом.",
            ],
            Unit::Share,
            false,
            MANAGER,
            of_managers(Metric::WithinNorm).once(),
        ),
        median,
        curve(
            ["Leads received", "Новые лиды"],
            [
                "Leads that came in the period before each moment: who gets many, and who gets few.",
                "Сколько лидов пришло за период перед каждым моментом: кому достаётся много, кому мало.",
            ],
            Unit::Count,
            true,
            MANAGER,
            of_managers(Metric::LeadsReceived).once(),
        ),
        curve(
            ["Conversion of departments", "Конверсия отделов"],
            [
                "The share of leads that became deals, counted as the norm counts it, over the period before each moment.",
                "Какая доля лидов стала сделками, по счёту нормы, за период перед каждым моментом.",
            ],
            Unit::Share,
            false,
            ["{{department}}", "{{department}}"],
            converted(of_departments(Metric::LeadConversion)),
        ),
    ]
}
