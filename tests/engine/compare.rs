//! Tests `replay --compare` as a user runs it: its result against two separate replays, the destinations of its output,
//! and no differences for rules with the same norm.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Leads arrive at 09:00: `1` is answered after 3 minutes, `2` after 10, `3` after 20, `4` never. A fifth arrives at noon
/// and is answered after 10 minutes. The last event is at 13:00.
const EVENTS: &str = r#"
{"event_id":"a1","tenant_id":"t","occurred_at":"2026-03-02T09:00:00Z","lead_created":{"lead_id":"1","manager_id":"anna"}}
{"event_id":"a2","tenant_id":"t","occurred_at":"2026-03-02T09:00:00Z","lead_created":{"lead_id":"2","manager_id":"vera"}}
{"event_id":"a3","tenant_id":"t","occurred_at":"2026-03-02T09:00:00Z","lead_created":{"lead_id":"3","manager_id":"vera"}}
{"event_id":"a4","tenant_id":"t","occurred_at":"2026-03-02T09:00:00Z","lead_created":{"lead_id":"4","manager_id":"gleb"}}
{"event_id":"b1","tenant_id":"t","occurred_at":"2026-03-02T09:03:00Z","message_sent":{"message_id":"1","channel":"CHAT","manager_id":"anna","entity":{"kind":"LEAD","id":"1"},"contact":{"email":"c1@example.com"}}}
{"event_id":"b2","tenant_id":"t","occurred_at":"2026-03-02T09:10:00Z","message_sent":{"message_id":"2","channel":"CHAT","manager_id":"vera","entity":{"kind":"LEAD","id":"2"},"contact":{"email":"c2@example.com"}}}
{"event_id":"b3","tenant_id":"t","occurred_at":"2026-03-02T09:20:00Z","message_sent":{"message_id":"3","channel":"CHAT","manager_id":"vera","entity":{"kind":"LEAD","id":"3"},"contact":{"email":"c3@example.com"}}}
{"event_id":"a5","tenant_id":"t","occurred_at":"2026-03-02T12:00:00Z","lead_created":{"lead_id":"5","manager_id":"anna"}}
{"event_id":"b5","tenant_id":"t","occurred_at":"2026-03-02T12:10:00Z","message_sent":{"message_id":"5","channel":"CHAT","manager_id":"anna","entity":{"kind":"LEAD","id":"5"},"contact":{"email":"c5@example.com"}}}
{"event_id":"c1","tenant_id":"t","occurred_at":"2026-03-02T13:00:00Z","manager_upserted":{"manager_id":"anna"}}
"#;

/// A separate folder for each test.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compare").join(name);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn write_file(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).expect("written");
    path
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Runs the program to its end.
fn run(args: &[&str]) -> Output {
    run_on(args, Stdio::null())
}

fn run_on(args: &[&str], input: Stdio) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_funnelwatch"));
    command.args(args).env("RUST_LOG", "warn,funnelwatch=info").stdin(input).output().expect("the program runs")
}

/// The standard output of a successful run.
fn stdout(output: Output) -> String {
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}

/// Norms with this limit for the first response; the rest is the same.
fn norms(within: &str) -> String {
    format!("norms: {{first_response_late: {{within: {within}}}, missed_call_not_returned: {{within: 20m}}}}")
}

/// The hand-written events, with old norms of 15 minutes and new norms of 5.
struct Small {
    folder: PathBuf,
    events: PathBuf,
    old: PathBuf,
    new: PathBuf,
}

impl Small {
    fn new(name: &str) -> Self {
        let folder = folder(name);
        let [events, old, new] = [("events.ndjson", EVENTS), ("old.yaml", &norms("15m")), ("new.yaml", &norms("5m"))]
            .map(|(name, text)| write_file(&folder, name, text));
        Self { folder, events, old, new }
    }

    fn compare(&self, more: &[&str]) -> Output {
        let files =
            ["replay", "--norms", path(&self.new), "--compare", path(&self.old), "--events", path(&self.events)];
        run(&[&files, more].concat())
    }
}

/// The remaining cells of the table line that begins with these words.
fn cells(table: &str, prefix: &[&str]) -> Vec<String> {
    let split = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let found = table.lines().map(split).find(|cells| cells.iter().take(prefix.len()).eq(prefix));
    found.unwrap_or_else(|| panic!("no line {prefix:?} in:\n{table}")).split_off(prefix.len())
}

#[test]
fn the_table_shows_the_effect_of_the_new_norms() {
    let table = stdout(Small::new("people").compare(&[]));
    let conclusion = "On 2026-03-02 (1 day), new.yaml would have produced 4 alerts instead of 2 under old.yaml, 2 added and 0 \
                      removed: 4.0 instead of 2.0 per day, 1.3 instead of 0.67 per manager and day.";
    assert_eq!(table.lines().next(), Some(conclusion));
    assert!(table.contains("\nt: 2 of 3 managers would have had more alerts\n"), "{table}");
    assert!(table.contains("first_response_late: within 15m → 5m\n"), "{table}");
    assert_eq!(cells(&table, &["first_response_late", "all"]), ["2", "4", "+2", "·", "2", "·", "·"]);
    assert_eq!(cells(&table, &["vera", "unknown"]), ["1", "2", "+1", "·", "1", "·", "·"]);
    assert_eq!(cells(&table, &["anna", "unknown"]), ["0", "1", "+1", "·", "·", "·", "·"]);
    assert_eq!(cells(&table, &["1", "more"]), ["1", "1", "·", "·", "1", "·", "·"]);
}

#[test]
fn compare_out_has_a_line_per_change() {
    let small = Small::new("machines");
    let changes = lines(&stdout(small.compare(&["--compare-out", "-"])));
    let found: Vec<_> =
        changes.iter().map(|line| (text(line, "change"), text(line, "subject"), text(line, "manager_id"))).collect();
    let expected = [
        ("added", "lead:2", "vera"),
        ("changed", "lead:3", "vera"),
        ("changed", "lead:4", "gleb"),
        ("added", "lead:5", "anna"),
    ];
    assert_eq!(found, expected);
    let [added, changed, ..] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!(text(added, "anchor_at"), "2026-03-02T09:00:00.000Z");
    assert!(added.get("old").is_none());
    assert_eq!(
        (text(&added["new"], "due_at"), text(&added["new"], "status")),
        ("2026-03-02T09:05:00.000Z", "RESOLVED")
    );
    assert_eq!(changed["old"]["alert_id"], changed["new"]["alert_id"]);
    assert_eq!(
        (text(&changed["old"], "due_at"), text(&changed["new"], "due_at")),
        ("2026-03-02T09:15:00.000Z", "2026-03-02T09:05:00.000Z")
    );
    // With a file, standard output has the table.
    let file = small.folder.join("changes.ndjson");
    let table = stdout(small.compare(&["--compare-out", path(&file)]));
    assert!(table.contains("first_response_late"), "{table}");
    assert_eq!(lines(&fs::read_to_string(file).expect("there")), changes);
}

#[test]
fn alerts_are_written_on_request() {
    let small = Small::new("alerts");
    let replayed = stdout(run(&["replay", "--norms", path(&small.new), "--events", path(&small.events)]));
    let output = small.compare(&["--alerts", "-"]);
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("would have produced 4 alerts"),
        "the conclusion is in the log"
    );
    assert_eq!(stdout(output), replayed);
}

#[test]
fn the_period_can_begin_after_the_first_event() {
    let table = stdout(Small::new("since").compare(&["--since", "2026-03-02T10:00:00Z"]));
    assert!(table.contains("1 alert instead of 0"), "{table}");
    assert_eq!(cells(&table, &["first_response_late", "all"]), ["0", "1", "+1", "·", "·", "·", "·"]);
}

#[test]
fn swapped_norms_remove_the_alerts() {
    let small = Small::new("back");
    let table = stdout(Small { old: small.new.clone(), new: small.old.clone(), ..small }.compare(&[]));
    assert_eq!(cells(&table, &["first_response_late", "all"]), ["4", "2", "·", "−2", "2", "·", "·"]);
}

#[test]
fn comparison_options_are_rejected_without_a_comparison() {
    let small = Small::new("options");
    for option in [["--compare-out", "-"], ["--since", "2026-03-02T10:00:00Z"]] {
        let files = ["replay", "--norms", path(&small.new), "--events", path(&small.events)];
        assert_eq!(run(&[&files[..], &option].concat()).status.code(), Some(2), "{option:?}");
    }
    let missing = small.folder.join("nowhere.yaml");
    assert_eq!(Small { old: missing, ..small }.compare(&[]).status.code(), Some(2));
}

#[test]
fn truncated_events_fail_the_comparison() {
    let small = Small::new("broken");
    // A gzip header without data.
    fs::write(&small.events, [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1]).expect("written");
    let output = small.compare(&[]);
    assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(1), true));
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(log.contains("read events from") && log.contains("events.ndjson"), "{log}");
}

#[test]
fn without_events_there_is_nothing_to_compare() {
    let small = Small::new("empty");
    fs::write(&small.events, "").expect("written");
    assert_eq!(stdout(small.compare(&[])), "There are no events to compare.\n");
}

/// The alerts of a single replay without the retracted ones: id → tenant, rule and manager of the first status.
fn replayed(folder: &Path, norms: &Path, events: &Path) -> BTreeMap<String, (String, String, String)> {
    let out = folder.join("alone.ndjson");
    stdout(run(&["replay", "--norms", path(norms), "--events", path(events), "--alerts", path(&out)]));
    let mut alerts = BTreeMap::new();
    for alert in lines(&fs::read_to_string(out).expect("there")) {
        let id = text(&alert, "alert_id").to_owned();
        if text(&alert, "status") == "RETRACTED" {
            alerts.remove(&id);
            continue;
        }
        let manager = alert["manager_id"].as_str().unwrap_or("(unassigned)").to_owned();
        alerts.entry(id).or_insert((text(&alert, "tenant_id").into(), text(&alert, "rule").into(), manager));
    }
    alerts
}

#[test]
fn a_simulated_stream_gives_the_differences_of_two_replays() {
    let folder = folder("simulated");
    let events = folder.join("events.ndjson");
    let simulate = ["simulate", "--seed", "11", "--tenants", "2", "--managers", "10", "--density", "1"];
    stdout(run(&[&simulate[..], &["--events", "30000", "--out", path(&events)]].concat()));
    let (old, new) = (write_file(&folder, "old.yaml", &norms("15m")), write_file(&folder, "new.yaml", &norms("5m")));
    let (before, after) = (replayed(&folder, &old, &events), replayed(&folder, &new, &events));
    let ids = |alerts: &BTreeMap<String, _>| alerts.keys().cloned().collect::<BTreeSet<_>>();
    let (before_ids, after_ids) = (ids(&before), ids(&after));
    assert!(before_ids.len() > 10 && after_ids.len() > before_ids.len() + 10, "{} {}", before.len(), after.len());

    let out = folder.join("changes.ndjson");
    let compare = ["replay", "--norms", path(&new), "--compare", path(&old), "--compare-out", path(&out), "--events"];
    let table = stdout(run(&[&compare[..], &[path(&events)]].concat()));
    let changes = lines(&fs::read_to_string(&out).expect("there"));
    let changed = |change: &str, side: &str| {
        let lines = changes.iter().filter(|line| text(line, "change") == change);
        lines.map(|line| text(&line[side], "alert_id").to_owned()).collect::<BTreeSet<_>>()
    };
    assert_eq!(changed("added", "new"), &after_ids - &before_ids);
    assert_eq!(changed("removed", "old"), &before_ids - &after_ids);
    // Every deadline differs, so every alert present in both has changed.
    let both = (&before_ids & &after_ids).into_iter().filter(|id| before[id].1 == "first_response_late").collect();
    assert_eq!(changed("changed", "new"), both);
    // The other rule has the same norm and no changes.
    assert!(before.values().any(|(_, rule, _)| rule == "missed_call_not_returned"), "the other rule has alerts too");
    assert!(changes.iter().all(|line| text(line, "rule") == "first_response_late"));

    // The table has the counts of the replays for each tenant, rule and manager.
    let count = |alerts: &BTreeMap<String, (String, String, String)>, tenant: &str, rule: &str, manager: &str| {
        let fits = |alert: &&(String, String, String)| {
            alert.0 == tenant && alert.1 == rule && (manager == "all" || alert.2 == manager)
        };
        alerts.values().filter(fits).count().to_string()
    };
    let (mut tenant, mut rule, mut counted) = (String::new(), String::new(), 0);
    for line in table.lines() {
        if let Some((name, _)) = line.split_once(": ").filter(|_| line.starts_with("tenant-")) {
            tenant = name.into();
        }
        let mut cells: Vec<_> = line.split_whitespace().collect();
        if let Some(name) =
            cells.first().filter(|name| ["first_response_late", "missed_call_not_returned"].contains(name))
        {
            rule = (*name).into();
            cells.remove(0);
        }
        let numbers = match cells[..] {
            ["all", old, new, ..] => [old, new],
            [manager, _, old, new, ..] if manager.starts_with('m') && manager.contains('-') => [old, new],
            _ => continue,
        };
        let expected = [&before, &after].map(|alerts| count(alerts, &tenant, &rule, cells[0]));
        assert_eq!(expected, numbers, "{line}\n{table}");
        counted += 1;
    }
    assert!(counted > 10, "{table}");

    // Standard input is read once, and the number of workers does not matter.
    let piped = run_on(&[&compare[..], &["-", "--workers", "4"]].concat(), File::open(&events).expect("there").into());
    assert_eq!(stdout(piped), table);
    assert_eq!(lines(&fs::read_to_string(&out).expect("there")), changes);
    // Equal norms give no difference.
    let same = stdout(run(&["replay", "--norms", path(&new), "--compare", path(&new), "--events", path(&events)]));
    assert!(same.lines().next().is_some_and(|line| line.ends_with(": no difference.")), "{same}");
}
