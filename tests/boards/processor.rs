//! Owns the board of those who run the processor: is everything all right, how far behind is it, what is refused, and
//! how near it is to its limits. Where a limit is exported it is drawn; no other number is judged here: alerts are
//! those of the Prometheus rules.

use crate::board::{Board, Body, Field, Key, Line, Paint, Panel, Row, Unit, Variable};
use crate::promql::{Expr, Series, of_processor, values};
use crate::words::Text;
use funnelwatch::telemetry::metric::{Level, Metric, MetricKind};

/// What the Prometheus client library tells of a process, and Prometheus of a target: names that are not ours.
pub(crate) const FOREIGN: [&str; 3] = ["up", "process_resident_memory_bytes", "process_cpu_seconds_total"];

pub(crate) fn board() -> Board {
    Board {
        name: "processor",
        title: ["Processor", "Обработчик событий"],
        says: [
            "For those who run funnelwatch: is it up, does it keep up, what does it refuse, how near are its limits.",
            "Для тех, кто держит funnelwatch в работе: жив ли он, успевает ли, что отвергает, близко ли пределы.",
        ],
        back: "now-1h",
        refresh: "10s",
        variables: variables(),
        rows: vec![
            Row { heading: None, folded: false, panels: state_of_things() },
            Row { heading: Some(["How far behind", "Отставание"]), folded: false, panels: delay() },
            Row { heading: Some(["What comes in", "Что приходит"]), folded: false, panels: intake() },
            Row {
                heading: Some(["Epochs and commits", "Эпохи и коммиты"]), folded: false, panels: commits()
            },
            Row {
                heading: Some(["Shards and state", "Шарды и состояние"]), folded: false, panels: shards()
            },
            Row { heading: Some(["What comes out", "Что уходит"]), folded: false, panels: output() },
            Row { heading: Some(["Redis", "Redis"]), folded: false, panels: redis() },
            Row { heading: Some(["The process", "Процесс"]), folded: false, panels: process() },
        ],
    }
}

fn variables() -> Vec<Variable> {
    let ask = |name, label, query| Variable { name, label, query: Some(query), many: true, preset: None };
    let of_job = ["job=~\"$job\""];
    vec![
        Variable { name: "datasource", label: ["Prometheus", "Prometheus"], query: None, many: false, preset: None },
        ask("job", ["Job", "Задание"], values(Metric::Build, Level::Tenant, "job", &[])),
        ask("instance", ["Process", "Процесс"], values(Metric::Build, Level::Tenant, "instance", &of_job)),
    ]
}

fn gauge(metric: Metric) -> Expr {
    of_processor(metric).each()
}

fn rate(metric: Metric) -> Expr {
    of_processor(metric).rate()
}

fn foreign(name: &'static str, kind: MetricKind) -> Series {
    assert!(FOREIGN.contains(&name), "{name} is not in the table");
    Series::of_process(name, kind, Vec::new())
}

fn field(name: Text, unit: Unit, paint: Paint, expr: Expr) -> Field {
    Field { name, unit, paint, expr }
}

fn line(legend: Text, expr: Expr) -> Line {
    Line { legend, norm: false, expr }
}

fn limit(legend: Text, expr: Expr) -> Line {
    Line { legend, norm: true, expr }
}

/// A legend that is the same in every language.
fn same(legend: &'static str) -> Text {
    [legend, legend]
}

fn panel(title: Text, says: Text, width: u32, height: u32, body: Body) -> Panel {
    Panel { title, says, width, height, body }
}

fn curves(title: Text, says: Text, width: u32, unit: Unit, lines: Vec<Line>) -> Panel {
    panel(title, says, width, 8, Body::Curves { unit, stacked: false, lines })
}

fn number(title: Text, says: Text, field: Field) -> Panel {
    panel(title, says, 3, 4, Body::Numbers(vec![field]))
}

fn state_of_things() -> Vec<Panel> {
    let up = || foreign("up", MetricKind::Gauge).each();
    let broken = of_processor(Metric::CommitsAborted).growth().sum(&[]);
    vec![
        panel(
            ["Processes that answer", "Процессы отвечают"],
            [
                "The share of the processes known to Prometheus that answered its last scrape. Red: one is down; the \
                 others have taken over its shards, see why it went.",
                "Какая доля процессов, известных Prometheus, ответила на последний опрос. Красное — какой-то лежит; его \
                 шарды уже у других, выясните, почему он упал.",
            ],
            4,
            4,
            Body::Numbers(vec![
                field(["share", "доля"], Unit::Share, Paint::All, up().sum(&[]).over(up().count(&[]))),
                field(["processes", "процессов"], Unit::Count, Paint::Plain, up().count(&[])),
            ]),
        ),
        panel(
            ["Behind Kafka", "Отставание от Kafka"],
            [
                "The age of the last message read in the partition that is furthest behind, 0 at its end, and how many \
                 messages all partitions have left. If it grows, add processes.",
                "Возраст последнего прочитанного сообщения в самой отстающей партиции, 0 — дочитано, и сколько сообщений \
                 осталось во всех. Если растёт, добавьте процессов.",
            ],
            5,
            4,
            Body::Numbers(vec![
                field(["time", "время"], Unit::Length, Paint::Plain, gauge(Metric::LagSeconds).max(&[])),
                field(["messages", "сообщений"], Unit::Count, Paint::Plain, gauge(Metric::LagMessages).sum(&[])),
            ]),
        ),
        number(
            ["Watermark delay", "Водяной знак"],
            [
                "How far the slowest shard's watermark is behind the clock: alerts come that much later. The allowed \
                 lateness is always in it.",
                "Насколько водяной знак самого медленного шарда отстаёт от часов: на столько позже приходят оповещения. \
                 Допустимое опоздание входит сюда всегда.",
            ],
            field(["delay", "отставание"], Unit::Length, Paint::Plain, gauge(Metric::WatermarkDelay).max(&[])),
        ),
        number(
            ["Commits taken back", "Откаты коммитов"],
            [
                "Kafka transactions that were taken back in the time shown, to be tried again. Some around a rebalance \
                 or a broker's restart are as it should be; a steady stream wants a look at the brokers.",
                "Сколько транзакций Kafka отменено и начато заново за показанное время. Несколько при ребалансировке или \
                 перезапуске брокера — норма; если они идут всё время, проверьте брокеры.",
            ],
            field(["taken back", "откатов"], Unit::Count, Paint::Bad, broken),
        ),
        number(
            ["Messages refused", "Отвергнуто"],
            [
                "Messages sent to the dead-letter topic in the time shown. The reasons stand below; the messages \
                 themselves, with theirs, in the topic.",
                "Сколько сообщений ушло в топик недоставленных за показанное время. Причины ниже; сами сообщения со своими \
                 причинами — в топике.",
            ],
            field(["refused", "отвергнуто"], Unit::Count, Paint::Bad, of_processor(Metric::Refused).growth().sum(&[])),
        ),
        number(
            ["Shards restoring", "Шарды поднимаются"],
            [
                "Shards whose state is being read: until it is there, their companies are not judged.",
                "Шарды, состояние которых ещё читается: пока оно не прочитано, их компании не проверяются.",
            ],
            field(["restoring", "поднимаются"], Unit::Count, Paint::Bad, gauge(Metric::ShardsRestoring).sum(&[])),
        ),
        number(
            ["Series left out", "Рядов не вошло"],
            [
                "Figures that scrapes leave out, because there would be more than the limit: boards and rules do not see \
                 them. Raise the limit, or export fewer windows.",
                "Показатели, не вошедшие в опрос, потому что их больше предела: ни панели, ни правила их не видят. \
                 Поднимите предел или сократите окна.",
            ],
            field(["left out", "не вошло"], Unit::Count, Paint::Bad, gauge(Metric::SeriesLeftOut).sum(&[]).or_none()),
        ),
    ]
}

fn delay() -> Vec<Panel> {
    vec![
        curves(
            ["Age of the last message read", "Возраст последнего прочитанного"],
            [
                "The worst partition of each topic. One topic that stays behind is slow at its source's partition; all of \
                 them, and the processor does not keep up.",
                "Худшая партиция каждого топика. Отстаёт один топик — дело в его партиции; отстают все — обработчик не \
                 успевает.",
            ],
            8,
            Unit::Length,
            vec![line(same("{{topic}}"), gauge(Metric::LagSeconds).max(&["topic"]))],
        ),
        curves(
            ["Messages not read yet", "Ещё не прочитано"],
            [
                "What each topic has left to read, all partitions together.",
                "Сколько осталось прочитать в каждом топике, по всем партициям.",
            ],
            8,
            Unit::Count,
            vec![line(same("{{topic}}"), gauge(Metric::LagMessages).sum(&["topic"]))],
        ),
        curves(
            ["Watermark delay by shard", "Водяной знак по шардам"],
            [
                "How far each shard's watermark is behind the clock. One that climbs alone waits for a partition that is \
                 silent and has not been read to its end.",
                "Насколько водяной знак каждого шарда отстаёт от часов. Если растёт один, он ждёт партицию, которая молчит \
                 и не дочитана.",
            ],
            8,
            Unit::Length,
            vec![line(["shard {{shard}}", "шард {{shard}}"], gauge(Metric::WatermarkDelay).max(&["shard"]))],
        ),
    ]
}

fn intake() -> Vec<Panel> {
    vec![
        curves(
            ["Events applied", "Принято событий"],
            [
                "By topic. A source that breaks off is a curve that ends; the rule source_silent tells the company too.",
                "По топикам. Оборвавшийся источник — оборвавшаяся кривая; компании о нём скажет и правило source_silent.",
            ],
            8,
            Unit::PerSecond,
            vec![line(same("{{topic}}"), rate(Metric::Events).sum(&["topic"]))],
        ),
        curves(
            ["Events by kind", "События по видам"],
            [
                "What the companies do all day; a kind that vanished was renamed or switched off at its source.",
                "Чем заняты компании; если вид пропал, его переименовали или отключили в источнике.",
            ],
            8,
            Unit::PerSecond,
            vec![line(same("{{event}}"), rate(Metric::Events).sum(&["event"]))],
        ),
        curves(
            ["Refused, by reason", "Отвергнуто, по причинам"],
            [
                "Messages sent to the dead-letter topic. A new reason after a release of a source is that release.",
                "Сообщения, ушедшие в топик недоставленных. Новая причина после обновления источника — это его обновление.",
            ],
            8,
            Unit::PerSecond,
            vec![line(same("{{reason}}"), rate(Metric::Refused).sum(&["reason"]))],
        ),
        curves(
            ["Late, known already, sent on", "Опоздавшие, повторные, переадресованные"],
            [
                "Events that came after the watermark and were applied as corrections; those that were known already; \
                 those that their producer keyed wrongly. Many late ones: allow more lateness, or mend the source.",
                "События, пришедшие после водяного знака (учтены как поправки), уже известные и отправленные не в ту \
                 партицию. Много опоздавших — увеличьте допустимое опоздание или почините источник.",
            ],
            12,
            Unit::PerSecond,
            vec![
                line(["late", "опоздавшие"], rate(Metric::Late).sum(&[])),
                line(["known already", "повторные"], rate(Metric::Duplicates).sum(&[])),
                line(["sent on", "переадресованные"], rate(Metric::Rerouted).sum(&[])),
            ],
        ),
        curves(
            ["Events held", "Ждут водяного знака"],
            [
                "Events that wait for the watermark, in memory. It follows throughput times lateness; more means that a \
                 shard's watermark stands still.",
                "События в памяти, которые ждут водяного знака. Обычно это поток, умноженный на допустимое опоздание; \
                 больше — значит, водяной знак какого-то шарда стоит.",
            ],
            12,
            Unit::Count,
            vec![line(["shard {{shard}}", "шард {{shard}}"], gauge(Metric::Held).max(&["shard"]))],
        ),
    ]
}

fn durations(title: Text, says: Text, of: Metric) -> Panel {
    let quantile = |q| of_processor(of).quantile(q);
    curves(
        title,
        says,
        6,
        Unit::Moment,
        vec![
            line(["half", "половина"], quantile("0.5")),
            line(["9 of 10", "9 из 10"], quantile("0.9")),
            line(["99 of 100", "99 из 100"], quantile("0.99")),
        ],
    )
}

fn commits() -> Vec<Panel> {
    vec![
        durations(
            ["An epoch takes", "Сколько длится эпоха"],
            [
                "From the end of an epoch's reading to its commit: what the processor adds to the delay of an alert.",
                "От конца чтения эпохи до её коммита: столько обработчик добавляет к задержке оповещения.",
            ],
            Metric::EpochSeconds,
        ),
        durations(
            ["A commit takes", "Сколько длится коммит"],
            [
                "A Kafka transaction, tries that were taken back included. If this is most of an epoch, the brokers are slow.",
                "Транзакция Kafka вместе с отменёнными попытками. Если это почти вся эпоха, медленны брокеры.",
            ],
            Metric::CommitSeconds,
        ),
        curves(
            ["Epochs in flight", "Эпох в работе"],
            [
                "Epochs that were read and are not committed; at the dashed limit reading rests until one is.",
                "Эпохи, которые прочитаны, но ещё не закоммичены; на пунктире чтение ждёт, пока одна не закончится.",
            ],
            6,
            Unit::Count,
            vec![
                line(same("{{instance}}"), gauge(Metric::EpochsInFlight).max(&["instance"])),
                limit(["limit", "предел"], gauge(Metric::EpochsInFlightLimit).max(&[])),
            ],
        ),
        curves(
            ["Commits", "Коммиты"],
            [
                "Epochs committed, and transactions that were taken back to be tried again. No commits while events come \
                 in: look at the brokers and at the log.",
                "Закоммиченные эпохи и транзакции, отменённые ради новой попытки. События идут, а коммитов нет — смотрите \
                 брокеры и журнал.",
            ],
            6,
            Unit::PerSecond,
            vec![
                line(["committed", "закоммичено"], rate(Metric::Epochs).sum(&[])),
                line(["taken back", "отменено"], rate(Metric::CommitsAborted).sum(&[])),
            ],
        ),
    ]
}

fn shards() -> Vec<Panel> {
    let key = |label, name| Key { label, name, width: 160, shown: true, called: Vec::new(), sets: None };
    vec![
        panel(
            ["Shards of each process", "Шарды процессов"],
            [
                "How many shards each process has, and how many of them are still being restored. They should be spread \
                 evenly; after a rebalance all should be restored within a minute or two.",
                "Сколько шардов у каждого процесса и сколько из них ещё поднимается. Их должно быть примерно поровну; после \
                 ребалансировки все должны подняться за минуту-другую.",
            ],
            8,
            8,
            Body::Table {
                keys: vec![key("instance", ["Process", "Процесс"])],
                fields: vec![
                    field(
                        ["Shards", "Шардов"],
                        Unit::Count,
                        Paint::Plain,
                        gauge(Metric::ShardsAssigned).max(&["instance"]),
                    ),
                    field(
                        ["Restoring", "Поднимается"],
                        Unit::Count,
                        Paint::Bad,
                        gauge(Metric::ShardsRestoring).max(&["instance"]),
                    ),
                ],
                sorted: 0,
            },
        ),
        curves(
            ["Restored so far", "Поднято состояния"],
            [
                "The share of its state that a shard which is being restored has read; nothing while none is.",
                "Какую долю состояния прочитал шард, который поднимается; если никто не поднимается, пусто.",
            ],
            8,
            Unit::Share,
            vec![line(["shard {{shard}}", "шард {{shard}}"], gauge(Metric::RestoreProgress).max(&["shard"]))],
        ),
        curves(
            ["State that a restart reads", "Что читать при перезапуске"],
            [
                "Applied events that each shard would be restored from: how long a restart takes follows from it.",
                "Сколько событий пришлось бы прочитать каждому шарду при перезапуске: от этого зависит, сколько он длится.",
            ],
            8,
            Unit::Count,
            vec![line(["shard {{shard}}", "шард {{shard}}"], gauge(Metric::StateEntries).max(&["shard"]))],
        ),
        curves(
            ["State written", "Запись состояния"],
            [
                "Bytes written to the state topic before compression: what the brokers have to keep and compact.",
                "Сколько байт уходит в топик состояния до сжатия: столько брокерам хранить и уплотнять.",
            ],
            12,
            Unit::BytesPerSecond,
            vec![line(["bytes", "байты"], rate(Metric::StateBytes).sum(&[]))],
        ),
        curves(
            ["State records written", "Записи состояния"],
            ["Records written to the state topic.", "Сколько записей уходит в топик состояния."],
            12,
            Unit::PerSecond,
            vec![line(["records", "записи"], rate(Metric::StateRecords).sum(&[]))],
        ),
    ]
}

fn output() -> Vec<Panel> {
    vec![
        curves(
            ["Alerts by status", "Оповещения по статусам"],
            [
                "Alert statuses committed. A burst after a change of norms is that change; many retracted ones come from \
                 late sources.",
                "Закоммиченные статусы оповещений. Всплеск после смены норм — это она и есть; много отозванных — источники \
                 опаздывают.",
            ],
            8,
            Unit::PerSecond,
            vec![line(same("{{status}}"), rate(Metric::Alerts).sum(&["status"]))],
        ),
        curves(
            ["Alerts by rule", "Оповещения по правилам"],
            [
                "Which rules speak. One that speaks all the time has a norm that nobody keeps.",
                "Какие правила срабатывают. Если одно срабатывает всё время, его норму никто не держит.",
            ],
            8,
            Unit::PerSecond,
            vec![line(same("{{rule}}"), rate(Metric::Alerts).sum(&["rule"]))],
        ),
        curves(
            ["Requests for reviews", "Запросы проверок"],
            [
                "Requests committed in a second, and how many of all companies' wait for their review.",
                "Сколько запросов уходит в секунду и сколько во всех компаниях ждут проверки.",
            ],
            8,
            Unit::Count,
            vec![
                line(["requests a second", "запросов в секунду"], rate(Metric::ReviewRequests).sum(&[])),
                line(["waiting", "ждут"], gauge(Metric::ReviewsOpen).sum(&[])),
            ],
        ),
        curves(
            ["Series of figures", "Ряды показателей"],
            [
                "Figures and norms in a scrape of each process; above the dashed limit they are left out.",
                "Сколько показателей и норм отдаёт каждый процесс; выше пунктира они не попадают в опрос.",
            ],
            8,
            Unit::Count,
            vec![
                line(same("{{instance}}"), gauge(Metric::Series).max(&["instance"])),
                limit(["limit", "предел"], gauge(Metric::SeriesLimit).max(&[])),
            ],
        ),
        curves(
            ["Series left out, by level", "Не вошло рядов, по уровням"],
            [
                "Whose figures are left out when there are too many: managers' first, a company's own last.",
                "Чьи показатели не входят, когда их слишком много: сначала менеджеров, в последнюю очередь компании.",
            ],
            8,
            Unit::Count,
            vec![line(same("{{level}}"), gauge(Metric::SeriesLeftOut).sum(&["level"]))],
        ),
        curves(
            ["Norms read again", "Нормы перечитаны"],
            [
                "Changes of the norms in the time shown that were applied, or refused as wrong: then those before are in \
                 force, and the log says what is wrong.",
                "Сколько раз за показанное время изменённые нормы приняты или отвергнуты с ошибкой: тогда действуют \
                 прежние, а ошибка — в журнале.",
            ],
            8,
            Unit::Count,
            vec![line(same("{{result}}"), of_processor(Metric::NormsReloads).growth().sum(&["result"]))],
        ),
    ]
}

fn redis() -> Vec<Panel> {
    let counted = |metric| rate(metric).sum(&[]);
    vec![
        number(
            ["Redis answers", "Redis отвечает"],
            [
                "The share of processes that reach Redis. Red: the view there is old; alerts and rows in Kafka are not \
                 touched by it.",
                "Какая доля процессов видит Redis. Красное — данные там устарели; оповещения и показатели в Kafka от этого \
                 не страдают.",
            ],
            field(
                ["share", "доля"],
                Unit::Share,
                Paint::All,
                gauge(Metric::RedisUp).sum(&[]).over(gauge(Metric::RedisUp).count(&[])),
            ),
        ),
        curves(
            ["Writes to Redis", "Запись в Redis"],
            [
                "Writes, those that failed, batches that were dropped because Redis was too slow, and times that \
                 everything was written anew after that.",
                "Записи, ошибки, пачки, пропущенные из-за медленного Redis, и сколько раз после этого всё записано заново.",
            ],
            13,
            Unit::PerSecond,
            vec![
                line(["writes", "записи"], counted(Metric::RedisWrites)),
                line(["errors", "ошибки"], counted(Metric::RedisErrors)),
                line(["batches dropped", "пропущено пачек"], counted(Metric::RedisDropped)),
                line(["written anew", "записано заново"], counted(Metric::RedisWhole)),
            ],
        ),
        curves(
            ["Batches waiting for Redis", "Пачки в очереди к Redis"],
            [
                "Batches that wait to be written; one that keeps growing ends in dropped batches.",
                "Пачки, которые ждут записи; если очередь растёт, часть их пропустят.",
            ],
            8,
            Unit::Count,
            vec![line(same("{{instance}}"), gauge(Metric::RedisQueue).max(&["instance"]))],
        ),
    ]
}

fn process() -> Vec<Panel> {
    vec![
        panel(
            ["Versions", "Версии"],
            [
                "How many processes run each version; two while one rolls out.",
                "Сколько процессов каждой версии; во время обновления их две.",
            ],
            4,
            8,
            Body::Numbers(vec![field(
                same("{{version}}"),
                Unit::Count,
                Paint::Plain,
                gauge(Metric::Build).count(&["version"]),
            )]),
        ),
        curves(
            ["Memory", "Память"],
            [
                "Resident memory of each process. It follows the open leads and deals and the windows; a saw is fine, a \
                 ramp that never ends is not.",
                "Память каждого процесса. Она зависит от открытых лидов и сделок и от окон; пила — норма, бесконечный \
                 подъём — нет.",
            ],
            10,
            Unit::Bytes,
            vec![line(
                same("{{instance}}"),
                foreign("process_resident_memory_bytes", MetricKind::Gauge).each().max(&["instance"]),
            )],
        ),
        curves(
            ["Processor time", "Процессорное время"],
            [
                "Cores that each process keeps busy; 100 % is one core.",
                "Сколько ядер занимает каждый процесс; 100 % — одно ядро.",
            ],
            10,
            Unit::Share,
            vec![line(
                same("{{instance}}"),
                foreign("process_cpu_seconds_total", MetricKind::Counter).rate().sum(&["instance"]),
            )],
        ),
    ]
}
