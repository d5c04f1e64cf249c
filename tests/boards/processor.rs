//! Owns the board for operators: is the processor healthy, how far is it behind, what does it reject, how close is it
//! to its limits. Exported limits are drawn; the board has no other thresholds, because the Prometheus rules alert.

use super::board::{Board, Body, Coloring, Display, Field, Key, Line, Panel, Row, Unit, Variable};
use super::promql::{Expr, Series, of_processor, values};
use super::words::Text;
use funnelwatch::telemetry::metric::{Level, Metric, MetricKind};

/// Metrics of the Prometheus client library about a process, and of Prometheus about a target.
pub(crate) const FOREIGN: [&str; 3] = ["up", "process_resident_memory_bytes", "process_cpu_seconds_total"];

pub(crate) fn board() -> Board {
    Board {
        name: "processor",
        title: ["Processor", "Обработчик событий"],
        description: [
            "For operators of funnelwatch: is it up, does it keep up, what does it reject, how close are its limits.",
            "Для тех, кто эксплуатирует funnelwatch: работает ли он, успевает ли, что отклоняет, близко ли пределы.",
        ],
        time_range: "now-1h",
        refresh: "10s",
        variables: variables(),
        rows: vec![
            Row { heading: None, collapsed: false, panels: health() },
            Row {
                heading: Some(["Lag and watermarks", "Отставание и водяные знаки"]),
                collapsed: false,
                panels: lag(),
            },
            Row { heading: Some(["Input", "Входящие события"]), collapsed: false, panels: input() },
            Row {
                heading: Some(["Epochs and commits", "Эпохи и коммиты"]), collapsed: false, panels: commits()
            },
            Row {
                heading: Some(["Shards and state", "Шарды и состояние"]), collapsed: false, panels: shards()
            },
            Row { heading: Some(["Output", "Результаты"]), collapsed: false, panels: output() },
            Row { heading: Some(["Redis", "Redis"]), collapsed: false, panels: redis() },
            Row { heading: Some(["Gateway", "Шлюз"]), collapsed: false, panels: gateway() },
            Row {
                heading: Some(["Messages to people", "Сообщения людям"]), collapsed: false, panels: notify()
            },
            Row { heading: Some(["Processes", "Процессы"]), collapsed: false, panels: process() },
        ],
    }
}

fn variables() -> Vec<Variable> {
    let ask = |name, label, query| Variable { name, label, query: Some(query), multiple: true, selected: None };
    let of_job = ["job=~\"$job\""];
    vec![
        Variable {
            name: "datasource",
            label: ["Prometheus", "Prometheus"],
            query: None,
            multiple: false,
            selected: None,
        },
        ask("job", ["Job", "Задание"], values(Metric::Build.family(), Level::Tenant, "job", &[])),
        ask("instance", ["Process", "Процесс"], values(Metric::Build.family(), Level::Tenant, "instance", &of_job)),
    ]
}

fn gauge(metric: Metric) -> Expr {
    of_processor(metric).per_process()
}

fn rate(metric: Metric) -> Expr {
    of_processor(metric).rate()
}

fn foreign(name: &'static str, kind: MetricKind) -> Series {
    assert!(FOREIGN.contains(&name), "{name} is not in FOREIGN");
    Series::of_process(name, kind, Vec::new())
}

fn field(name: Text, unit: Unit, coloring: Coloring, expr: Expr) -> Field {
    Field { name, unit, coloring, expr }
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

fn panel(title: Text, description: Text, width: u32, height: u32, body: Body) -> Panel {
    Panel { title, description, width, height, body }
}

fn time_series(title: Text, description: Text, width: u32, unit: Unit, lines: Vec<Line>) -> Panel {
    panel(title, description, width, 8, Body::TimeSeries { unit, stacked: false, lines })
}

fn stat(title: Text, description: Text, field: Field) -> Panel {
    panel(title, description, 3, 4, Body::Stats(vec![field]))
}

fn health() -> Vec<Panel> {
    let up = || foreign("up", MetricKind::Gauge).per_process();
    let aborted = of_processor(Metric::CommitsAborted).increase().sum(&[]);
    vec![
        panel(
            ["Processes up", "Работающие процессы"],
            [
                "The share of the processes known to Prometheus whose last scrape succeeded. Red: a process is down \
                 and the others have taken over its shards; find out why it failed.",
                "Доля процессов, известных Prometheus, у которых удался последний опрос. Красный цвет — какой-то \
                 процесс не работает, его шарды перешли к другим; выясните причину сбоя.",
            ],
            4,
            4,
            Body::Stats(vec![
                field(["share", "доля"], Unit::Ratio, Coloring::All, up().sum(&[]).divided_by(up().count(&[]))),
                field(["processes", "процессов"], Unit::Count, Coloring::Plain, up().count(&[])),
            ]),
        ),
        panel(
            ["Lag behind Kafka", "Отставание от Kafka"],
            [
                "The age of the last message read in the partition that is furthest behind (0 at its end), and how \
                 many messages are left to read in all partitions. If it grows, add processes.",
                "Возраст последнего прочитанного сообщения в самой отстающей партиции (0 — дочитана до конца) и \
                 сколько сообщений осталось прочитать во всех. Если растёт, добавьте процессы.",
            ],
            5,
            4,
            Body::Stats(vec![
                field(["time", "время"], Unit::Duration, Coloring::Plain, gauge(Metric::LagSeconds).max(&[])),
                field(["messages", "сообщений"], Unit::Count, Coloring::Plain, gauge(Metric::LagMessages).sum(&[])),
            ]),
        ),
        stat(
            ["Watermark delay", "Водяной знак"],
            [
                "How far the slowest shard's watermark is behind the clock: alerts are delayed by this time. It \
                 always includes the allowed lateness.",
                "Насколько водяной знак самого медленного шарда отстаёт от часов: на столько задерживаются \
                 оповещения. Всегда включает допустимое опоздание.",
            ],
            field(["delay", "отставание"], Unit::Duration, Coloring::Plain, gauge(Metric::WatermarkDelay).max(&[])),
        ),
        stat(
            ["Aborted commits", "Отменённые коммиты"],
            [
                "Kafka transactions that were aborted and retried in the time range shown. A few around a rebalance \
                 or a restart of a broker are normal; if they do not stop, check the brokers.",
                "Сколько транзакций Kafka отменено и повторено за показанное время. Несколько при ребалансировке или \
                 перезапуске брокера — норма; если они не прекращаются, проверьте брокеры.",
            ],
            field(["aborted", "отменено"], Unit::Count, Coloring::Bad, aborted),
        ),
        stat(
            ["Rejected messages", "Отклонено"],
            [
                "Messages sent to the dead-letter topic in the time range shown. The reasons are shown below; the \
                 topic contains the messages, each with its reason.",
                "Сколько сообщений ушло в топик отклонённых за показанное время. Причины показаны ниже; сами \
                 сообщения, каждое с причиной, — в топике.",
            ],
            field(
                ["rejected", "отклонено"],
                Unit::Count,
                Coloring::Bad,
                of_processor(Metric::Refused).increase().sum(&[]),
            ),
        ),
        stat(
            ["Shards restoring", "Восстановление"],
            [
                "Shards whose state is being restored. Until then, no alerts are raised for their companies.",
                "Шарды, состояние которых ещё восстанавливается: до этого оповещений по их компаниям нет.",
            ],
            field(
                ["restoring", "восстанавливается"],
                Unit::Count,
                Coloring::Bad,
                gauge(Metric::ShardsRestoring).sum(&[]),
            ),
        ),
        stat(
            ["Series left out", "Не вошло рядов"],
            [
                "Figures that scrapes leave out because there are more series than the limit: boards and rules do \
                 not see them. Raise the limit, or export fewer windows.",
                "Показатели, которые не вошли в опрос, потому что рядов больше предела: их не видят ни дашборды, ни \
                 правила. Поднимите предел или сократите число окон.",
            ],
            field(
                ["left out", "не вошло"],
                Unit::Count,
                Coloring::Bad,
                gauge(Metric::SeriesLeftOut).sum(&[]).or_zero(),
            ),
        ),
    ]
}

fn lag() -> Vec<Panel> {
    vec![
        time_series(
            ["Age of the last message read", "Возраст последнего прочитанного сообщения"],
            [
                "The worst partition of each topic. If one topic lags, the cause is in its partitions; if all of \
                 them lag, the processor does not keep up.",
                "Худшая партиция каждого топика. Отстаёт один топик — дело в его партициях; отстают все — обработчик \
                 не успевает.",
            ],
            8,
            Unit::Duration,
            vec![line(same("{{topic}}"), gauge(Metric::LagSeconds).max(&["topic"]))],
        ),
        time_series(
            ["Unread messages", "Непрочитанные сообщения"],
            [
                "How many messages are left to read in each topic, in all partitions together.",
                "Сколько сообщений осталось прочитать в каждом топике, по всем партициям.",
            ],
            8,
            Unit::Count,
            vec![line(same("{{topic}}"), gauge(Metric::LagMessages).sum(&["topic"]))],
        ),
        time_series(
            ["Watermark delay by shard", "Отставание водяного знака по шардам"],
            [
                "How far each shard's watermark is behind the clock. If it grows for one shard only, the shard waits \
                 for a partition that is idle and has not been read to its end.",
                "Насколько водяной знак каждого шарда отстаёт от часов. Если отставание растёт у одного шарда, он \
                 ждёт партицию, которая не дочитана и из которой ничего не приходит.",
            ],
            8,
            Unit::Duration,
            vec![line(["shard {{shard}}", "шард {{shard}}"], gauge(Metric::WatermarkDelay).max(&["shard"]))],
        ),
    ]
}

fn input() -> Vec<Panel> {
    vec![
        time_series(
            ["Events applied", "Применённые события"],
            [
                "By topic. If a curve ends, its source no longer sends events; the rule source_silent also alerts \
                 the company.",
                "По топикам. Если кривая оборвалась, источник перестал присылать события; компанию об этом оповестит \
                 и правило source_silent.",
            ],
            8,
            Unit::PerSecond,
            vec![line(same("{{topic}}"), rate(Metric::Events).sum(&["topic"]))],
        ),
        time_series(
            ["Events by kind", "События по видам"],
            [
                "Which kinds of events arrive. If a kind disappears, it was renamed or disabled at its source.",
                "Какие виды событий приходят. Если вид пропал, его переименовали или отключили в источнике.",
            ],
            8,
            Unit::PerSecond,
            vec![line(same("{{event}}"), rate(Metric::Events).sum(&["event"]))],
        ),
        time_series(
            ["Rejected messages by reason", "Отклонённые сообщения по причинам"],
            [
                "Messages sent to the dead-letter topic. If a new reason appears after a release of a source, that \
                 release is the cause.",
                "Сообщения, ушедшие в топик отклонённых. Если новая причина появилась после обновления источника, \
                 дело в этом обновлении.",
            ],
            8,
            Unit::PerSecond,
            vec![line(same("{{reason}}"), rate(Metric::Refused).sum(&["reason"]))],
        ),
        time_series(
            ["Late, duplicate and rerouted events", "Опоздавшие, повторные, перенаправленные"],
            [
                "Events that arrived after the watermark and were applied as corrections; duplicates; and events \
                 that their producer sent to the wrong partition. If many are late, increase the allowed lateness or \
                 fix the source.",
                "События, пришедшие после водяного знака (учтены как поправки), уже известные и отправленные \
                 источником не в ту партицию. Много опоздавших — увеличьте допустимое опоздание или исправьте \
                 источник.",
            ],
            8,
            Unit::PerSecond,
            vec![
                line(["late", "опоздавшие"], rate(Metric::Late).sum(&[])),
                line(["duplicate", "повторные"], rate(Metric::Duplicates).sum(&[])),
                line(["rerouted", "перенаправленные"], rate(Metric::Rerouted).sum(&[])),
            ],
        ),
        time_series(
            ["Repaired and ignored events", "Исправленные и игнорируемые"],
            [
                "Accepted events in which a wrong value was put right, by reason, and calls and messages of ignored \
                 contacts. If a reason appears after a release of a source, that release is the cause.",
                "Принятые события, в которых исправлено неверное значение, по причинам, и обращения контактов из \
                 списка игнорируемых. Если причина появилась после обновления источника, дело в этом обновлении.",
            ],
            8,
            Unit::PerSecond,
            vec![
                line(same("{{reason}}"), rate(Metric::Repaired).sum(&["reason"])),
                line(["ignored", "игнорируемые"], rate(Metric::Ignored).sum(&[])),
            ],
        ),
        time_series(
            ["Events held", "Ждут водяного знака"],
            [
                "Events that wait in memory for the watermark. Normally throughput times the allowed lateness; more \
                 means that a shard's watermark does not advance.",
                "События в памяти, которые ждут водяного знака. Обычно это поток, умноженный на допустимое \
                 опоздание; больше — значит, водяной знак какого-то шарда не движется.",
            ],
            8,
            Unit::Count,
            vec![line(["shard {{shard}}", "шард {{shard}}"], gauge(Metric::Held).max(&["shard"]))],
        ),
    ]
}

fn durations(title: Text, description: Text, of: Metric) -> Panel {
    let quantile = |q| of_processor(of).quantile(q);
    time_series(
        title,
        description,
        6,
        Unit::ShortDuration,
        vec![
            line(["median", "медиана"], quantile("0.5")),
            line(["9 in 10", "9 из 10"], quantile("0.9")),
            line(["99 in 100", "99 из 100"], quantile("0.99")),
        ],
    )
}

fn commits() -> Vec<Panel> {
    vec![
        durations(
            ["Duration of an epoch", "Длительность эпохи"],
            [
                "From the end of reading an epoch to its commit: what the processor adds to the delay of an alert.",
                "От конца чтения эпохи до её коммита: столько обработчик добавляет к задержке оповещения.",
            ],
            Metric::EpochSeconds,
        ),
        durations(
            ["Duration of a commit", "Длительность коммита"],
            [
                "A Kafka transaction, including aborted attempts. If this is most of the duration of an epoch, the \
                 brokers are slow.",
                "Транзакция Kafka вместе с отменёнными попытками. Если это почти вся длительность эпохи, медленно \
                 работают брокеры.",
            ],
            Metric::CommitSeconds,
        ),
        time_series(
            ["Epochs in flight", "Эпох в работе"],
            [
                "Epochs that were read and are not committed yet. At the dashed limit, reading pauses until one is \
                 committed.",
                "Эпохи, которые прочитаны, но ещё не закоммичены. На пунктире чтение приостанавливается до коммита \
                 одной из них.",
            ],
            6,
            Unit::Count,
            vec![
                line(same("{{instance}}"), gauge(Metric::EpochsInFlight).max(&["instance"])),
                limit(["limit", "предел"], gauge(Metric::EpochsInFlightLimit).max(&[])),
            ],
        ),
        time_series(
            ["Commits", "Коммиты"],
            [
                "Committed epochs, and transactions that were aborted and retried. If there are no commits while \
                 events arrive, check the brokers and the log.",
                "Закоммиченные эпохи и транзакции, отменённые и начатые заново. События приходят, а коммитов нет — \
                 проверьте брокеры и журнал.",
            ],
            6,
            Unit::PerSecond,
            vec![
                line(["committed", "закоммичено"], rate(Metric::Epochs).sum(&[])),
                line(["aborted", "отменено"], rate(Metric::CommitsAborted).sum(&[])),
            ],
        ),
    ]
}

fn shards() -> Vec<Panel> {
    let key =
        |label, name| Key { label, name, width: 160, display: Display::Shown, value_names: Vec::new(), link: None };
    vec![
        panel(
            ["Shards by process", "Шарды по процессам"],
            [
                "How many shards each process has, and how many of them are still being restored. They should be \
                 spread evenly; after a rebalance all should be restored within a minute or two.",
                "Сколько шардов у каждого процесса и сколько из них ещё восстанавливается. Их должно быть примерно \
                 поровну; после ребалансировки все должны восстановиться за одну-две минуты.",
            ],
            8,
            8,
            Body::Table {
                keys: vec![key("instance", ["Process", "Процесс"])],
                fields: vec![
                    field(
                        ["Shards", "Шардов"],
                        Unit::Count,
                        Coloring::Plain,
                        gauge(Metric::ShardsAssigned).max(&["instance"]),
                    ),
                    field(
                        ["Restoring", "Загружается"],
                        Unit::Count,
                        Coloring::Bad,
                        gauge(Metric::ShardsRestoring).max(&["instance"]),
                    ),
                ],
                sorted: 0,
            },
        ),
        time_series(
            ["Restore progress", "Ход восстановления"],
            [
                "The share of its state that a shard has read while it is being restored. Empty if no shard is being \
                 restored.",
                "Какую долю состояния уже прочитал восстанавливаемый шард. Пусто, если ни один шард не \
                 восстанавливается.",
            ],
            8,
            Unit::Ratio,
            vec![line(["shard {{shard}}", "шард {{shard}}"], gauge(Metric::RestoreProgress).max(&["shard"]))],
        ),
        time_series(
            ["Events to restore from", "События для восстановления"],
            [
                "Applied events from which each shard would be restored: the duration of a restart depends on them.",
                "Сколько применённых событий пришлось бы прочитать каждому шарду при перезапуске: от этого зависит \
                 его длительность.",
            ],
            8,
            Unit::Count,
            vec![line(["shard {{shard}}", "шард {{shard}}"], gauge(Metric::StateEntries).max(&["shard"]))],
        ),
        time_series(
            ["State written", "Запись состояния"],
            [
                "Bytes written to the state topic, before compression: what the brokers have to store and compact.",
                "Сколько байт записывается в топик состояния (до сжатия): столько брокерам хранить и уплотнять.",
            ],
            12,
            Unit::BytesPerSecond,
            vec![line(["bytes", "байты"], rate(Metric::StateBytes).sum(&[]))],
        ),
        time_series(
            ["State records written", "Записи состояния"],
            ["Records written to the state topic.", "Сколько записей попадает в топик состояния."],
            12,
            Unit::PerSecond,
            vec![line(["records", "записи"], rate(Metric::StateRecords).sum(&[]))],
        ),
    ]
}

fn output() -> Vec<Panel> {
    vec![
        time_series(
            ["Alerts by status", "Оповещения по статусам"],
            [
                "Committed alert statuses. A burst right after a change of the norms comes from that change; many \
                 retracted alerts come from late sources.",
                "Закоммиченные статусы оповещений. Всплеск сразу после смены норм вызван ею; много отозванных — \
                 признак опаздывающих источников.",
            ],
            8,
            Unit::PerSecond,
            vec![line(same("{{status}}"), rate(Metric::Alerts).sum(&["status"]))],
        ),
        time_series(
            ["Alerts by rule", "Оповещения по правилам"],
            [
                "Which rules raise alerts. If a rule does so all the time, its norm is not being kept.",
                "Какие правила срабатывают. Если правило срабатывает постоянно, его норму не соблюдают.",
            ],
            8,
            Unit::PerSecond,
            vec![line(same("{{rule}}"), rate(Metric::Alerts).sum(&["rule"]))],
        ),
        time_series(
            ["Review requests", "Запросы на проверку"],
            [
                "Requests committed per second, and how many requests of all companies wait for their review.",
                "Сколько запросов уходит в секунду и сколько запросов всех компаний ждут проверки.",
            ],
            8,
            Unit::Count,
            vec![
                line(["requests per second", "запросов в секунду"], rate(Metric::ReviewRequests).sum(&[])),
                line(["waiting", "ждут"], gauge(Metric::ReviewsOpen).sum(&[])),
            ],
        ),
        time_series(
            ["Series of figures", "Ряды показателей"],
            [
                "Figures and norms in a scrape of each process. Above the dashed limit they are left out.",
                "Сколько показателей и норм отдаёт каждый процесс за опрос. Выше пунктира они в опрос не попадают.",
            ],
            8,
            Unit::Count,
            vec![
                line(same("{{instance}}"), gauge(Metric::Series).max(&["instance"])),
                limit(["limit", "предел"], gauge(Metric::SeriesLimit).max(&[])),
            ],
        ),
        time_series(
            ["Series left out by level", "Не вошло рядов, по уровням"],
            [
                "Which figures are left out when there are too many: those of managers first, those of the company \
                 last.",
                "Какие показатели не попадают в опрос, когда их слишком много: сначала показатели менеджеров, в \
                 последнюю очередь — компании.",
            ],
            8,
            Unit::Count,
            vec![line(same("{{level}}"), gauge(Metric::SeriesLeftOut).sum(&["level"]))],
        ),
        time_series(
            ["Norms reloads", "Перезагрузка норм"],
            [
                "Changes of the norms that were applied or refused in the time range shown. If a change is refused, \
                 the previous norms stay in force and the log shows the problem.",
                "Сколько раз за показанное время изменённые нормы приняты или отклонены. Если изменение отклонено, \
                 действуют прежние нормы, а ошибка записана в журнале.",
            ],
            8,
            Unit::Count,
            vec![line(same("{{result}}"), of_processor(Metric::NormsReloads).increase().sum(&["result"]))],
        ),
    ]
}

fn redis() -> Vec<Panel> {
    let counted = |metric| rate(metric).sum(&[]);
    vec![
        stat(
            ["Redis reachable", "Redis доступен"],
            [
                "The share of processes that reach Redis. Red: the view in Redis is out of date; alerts and rows in \
                 Kafka are not affected.",
                "Доля процессов, которым доступен Redis. Красный цвет — данные в нём устарели; на оповещения и \
                 показатели в Kafka это не влияет.",
            ],
            field(
                ["share", "доля"],
                Unit::Ratio,
                Coloring::All,
                gauge(Metric::RedisUp).sum(&[]).divided_by(gauge(Metric::RedisUp).count(&[])),
            ),
        ),
        time_series(
            ["Writes to Redis", "Запись в Redis"],
            [
                "Writes, failed writes, batches dropped because Redis was too slow, and full rewrites of the view \
                 after that.",
                "Записи, ошибки, пачки, пропущенные из-за медленного Redis, и полные перезаписи после этого.",
            ],
            13,
            Unit::PerSecond,
            vec![
                line(["writes", "записи"], counted(Metric::RedisWrites)),
                line(["errors", "ошибки"], counted(Metric::RedisErrors)),
                line(["batches dropped", "пропущено пачек"], counted(Metric::RedisDropped)),
                line(["full rewrites", "полные перезаписи"], counted(Metric::RedisWhole)),
            ],
        ),
        time_series(
            ["Batches waiting for Redis", "Пачки в очереди к Redis"],
            [
                "Batches that wait to be written. If the queue keeps growing, batches will be dropped.",
                "Пачки, которые ждут записи. Если очередь продолжает расти, часть пачек будет пропущена.",
            ],
            8,
            Unit::Count,
            vec![line(same("{{instance}}"), gauge(Metric::RedisQueue).max(&["instance"]))],
        ),
    ]
}

fn gateway() -> Vec<Panel> {
    vec![
        time_series(
            ["Age of what is read", "Возраст прочитанного"],
            [
                "How far each part of a source is read behind the clock. Alerts wait for it. Normally it does not exceed \
                 the interval of sweeps and some seconds.",
                "Насколько прочитанное из каждой части источника отстаёт от часов. Оповещения ждут этого. Обычно не \
                 больше промежутка между обходами и нескольких секунд.",
            ],
            8,
            Unit::Duration,
            vec![line(same("{{source}} {{leg}}"), gauge(Metric::GatewayCursorAge).max(&["source", "leg"]))],
        ),
        time_series(
            ["Webhooks", "Вебхуки"],
            [
                "Webhooks by what became of them. Anything but accepted ones needs a look: another token, a scanner, or \
                 a Kafka that does not acknowledge.",
                "Вебхуки по тому, что с ними стало. Всё, кроме принятых (accepted), стоит проверить: другой токен, сканер \
                 или Kafka без подтверждений.",
            ],
            8,
            Unit::PerSecond,
            vec![line(same("{{source}} {{verdict}}"), rate(Metric::GatewayHints).sum(&["source", "verdict"]))],
        ),
        time_series(
            ["Events written", "Записанные события"],
            ["Events written to Kafka, by source.", "События, записанные в Kafka, по источникам."],
            8,
            Unit::PerSecond,
            vec![line(same("{{source}}"), rate(Metric::GatewayEvents).sum(&["source"]))],
        ),
        time_series(
            ["Requests to sources", "Запросы к источникам"],
            [
                "Requests to each source by answer. Errors that pass are tried again; the log names those that do not.",
                "Запросы к каждому источнику по ответам. Временные ошибки повторяются, о прочих пишет журнал.",
            ],
            8,
            Unit::PerSecond,
            vec![line(same("{{source}} {{answer}}"), rate(Metric::GatewayRequests).sum(&["source", "answer"]))],
        ),
        time_series(
            ["Received events and calls", "Полученные события и звонки"],
            [
                "What programs and phone systems send, by what became of it.",
                "Что присылают программы и телефония — по тому, что с этим стало.",
            ],
            8,
            Unit::PerSecond,
            vec![line(same("{{source}} {{verdict}}"), rate(Metric::GatewayReceived).sum(&["source", "verdict"]))],
        ),
        time_series(
            ["Budget left", "Остаток бюджета"],
            [
                "Requests that the limit of each source would accept at once. At zero the gateway waits.",
                "Сколько запросов каждый источник принял бы сразу. При нуле шлюз ждёт.",
            ],
            4,
            Unit::Count,
            vec![line(same("{{source}}"), gauge(Metric::GatewayRequestsLeft).max(&["source"]))],
        ),
        time_series(
            ["Back-fill", "Загрузка прошлого"],
            ["The share of the back-fill that is done.", "Какая доля прошлого загружена."],
            4,
            Unit::Ratio,
            vec![line(same("{{source}}"), gauge(Metric::GatewayBackfill).max(&["source"]))],
        ),
    ]
}

fn notify() -> Vec<Panel> {
    vec![
        time_series(
            ["Oldest message owed", "Самое старое неотправленное сообщение"],
            [
                "Age of the oldest message that is owed, without those that wait for working time. Normally not more than the \
                 hold and some seconds.",
                "Возраст самого старого неотправленного сообщения, кроме ждущих рабочего времени. Обычно не больше выдержки и \
                 нескольких секунд.",
            ],
            8,
            Unit::Duration,
            vec![line(["oldest", "самое старое"], gauge(Metric::NotifyOldest).max(&[]))],
        ),
        time_series(
            ["Attempts to send", "Попытки отправки"],
            [
                "Attempts by channel and outcome. Anything but sent ones is tried again or given up; the name says why.",
                "Попытки по каналам и исходам. Всё, кроме отправленного (sent), повторяется или не отправляется вовсе; \
                 название говорит, почему.",
            ],
            8,
            Unit::PerSecond,
            vec![line(same("{{channel}} {{outcome}}"), rate(Metric::NotifyMessages).sum(&["channel", "outcome"]))],
        ),
        time_series(
            ["Owed, doubled, withheld", "К отправке и повторы"],
            [
                "Messages that are owed; those that may have been sent twice, and those that were not sent because their alert \
                 was over, in the range of the board.",
                "Сообщения к отправке; сообщения, которые могли уйти дважды, и те, что не отправлены, потому что вопрос уже \
                 закрыт, — за период доски.",
            ],
            4,
            Unit::Count,
            vec![
                line(["owed", "к отправке"], gauge(Metric::NotifyOwed).sum(&[])),
                line(["doubled", "задвоено"], of_processor(Metric::NotifyDoubled).increase().sum(&[])),
                line(["withheld", "не отправлено"], of_processor(Metric::NotifyWithheld).increase().sum(&[])),
            ],
        ),
        time_series(
            ["Answers", "Ответы"],
            ["Answers of people by link or button.", "Ответы людей по ссылкам и кнопкам."],
            4,
            Unit::PerSecond,
            vec![line(same("{{verdict}}"), rate(Metric::NotifyAnswers).sum(&["verdict"]))],
        ),
    ]
}

fn process() -> Vec<Panel> {
    vec![
        panel(
            ["Versions", "Версии"],
            [
                "How many processes run each version. During a rollout there are two.",
                "Сколько процессов каждой версии. Во время обновления версий две.",
            ],
            4,
            8,
            Body::Stats(vec![field(
                same("{{version}}"),
                Unit::Count,
                Coloring::Plain,
                gauge(Metric::Build).count(&["version"]),
            )]),
        ),
        time_series(
            ["Memory", "Память"],
            [
                "Resident memory of each process. It depends on the open leads and deals and on the windows. A \
                 sawtooth is normal, endless growth is not.",
                "Память каждого процесса. Она зависит от открытых лидов и сделок и от окон. «Пила» — норма, \
                 бесконечный рост — нет.",
            ],
            10,
            Unit::Bytes,
            vec![line(
                same("{{instance}}"),
                foreign("process_resident_memory_bytes", MetricKind::Gauge).per_process().max(&["instance"]),
            )],
        ),
        time_series(
            ["CPU time", "Процессорное время"],
            [
                "How many cores each process uses; 100 % is one core.",
                "Сколько ядер использует каждый процесс; 100 % — одно ядро.",
            ],
            10,
            Unit::Ratio,
            vec![line(
                same("{{instance}}"),
                foreign("process_cpu_seconds_total", MetricKind::Counter).rate().sum(&["instance"]),
            )],
        ),
    ]
}
