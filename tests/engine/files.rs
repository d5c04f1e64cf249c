//! Tests `replay` and `check --events` on files as people have them: of every kind that is read or refused, in any order,
//! with broken lines, with events dated in the future; as a user runs them.

use flate2::write::GzEncoder;
use funnelwatch::codec::{Encoding, json};
use funnelwatch::edge::files::EventWriter;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const NORMS: &str = "norms: {first_response_late: {within: 15m}}";

/// Two leads, of which the first is answered in time; the last event is at 09:00.
const EVENTS: [&str; 4] = [
    r#"{"event_id":"1","tenant_id":"acme","occurred_at":"2025-03-03T07:00:00Z","lead_created":{"lead_id":"L1","contacts":[{"phone":"+79000000001"}]}}"#,
    r#"{"event_id":"2","tenant_id":"acme","occurred_at":"2025-03-03T07:10:00Z","lead_created":{"lead_id":"Лид","manager_id":"anna"}}"#,
    r#"{"event_id":"3","tenant_id":"acme","occurred_at":"2025-03-03T07:14:00Z","call_started":{"call_id":"c","direction":"OUTBOUND","phone":"+79000000001"}}"#,
    r#"{"event_id":"4","tenant_id":"acme","occurred_at":"2025-03-03T09:00:00Z","manager_upserted":{"manager_id":"anna"}}"#,
];

struct Folder(PathBuf);

struct Run {
    code: Option<i32>,
    stdout: String,
    log: String,
}

impl Folder {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("files").join(name);
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("norms.yaml"), NORMS).expect("written");
        Self(folder)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.0.join(name), bytes).expect("written");
    }

    fn run_on(&self, args: &[&str], input: Stdio) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_funnelwatch"));
        command.current_dir(&self.0).args(args).env("RUST_LOG", "warn,funnelwatch=info").stdin(input);
        let output = command.output().expect("the program runs");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Run { code: output.status.code(), stdout: text(output.stdout), log: text(output.stderr) }
    }

    fn run(&self, args: &[&str]) -> Run {
        self.run_on(args, Stdio::null())
    }

    fn replay(&self, events: &[&str], more: &[&str]) -> Run {
        self.run(&[&["replay", "--norms", "norms.yaml", "--events"], events, more].concat())
    }
}

fn array() -> String {
    let events: Vec<Value> = EVENTS.iter().map(|event| serde_json::from_str(event).expect("JSON")).collect();
    serde_json::to_string_pretty(&events).expect("JSON")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    ["\u{feff}", text].concat().encode_utf16().flat_map(bytes).collect()
}

fn protobuf() -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = EventWriter::new(&mut out, Encoding::Protobuf);
    for event in EVENTS {
        writer.write(&json::decode(event.as_bytes()).expect("an event")).expect("in memory");
    }
    writer.finish().expect("in memory");
    out
}

#[test]
fn every_kind_of_file_gives_the_same_alerts() {
    let folder = Folder::new("kinds");
    let lines = EVENTS.join("\n") + "\n";
    let pretty: Vec<String> = EVENTS
        .iter()
        .map(|event| serde_json::to_string_pretty(&serde_json::from_str::<Value>(event).expect("JSON")).expect("JSON"))
        .collect();
    folder.write("events.ndjson", &lines);
    let expected = folder.replay(&["events.ndjson"], &[]);
    assert_eq!(expected.stdout.lines().count(), 1, "{}", expected.log);
    assert!(expected.stdout.contains("lead:Лид"), "{}", expected.stdout);
    let kinds: [(&str, Vec<u8>); 15] = [
        ("array.json", array().into_bytes()),
        ("compact.json", format!("[{}]", EVENTS.join(",")).into_bytes()),
        ("pretty.json", pretty.join("\n").into_bytes()),
        ("mark.ndjson", [b"\xef\xbb\xbf", lines.as_bytes()].concat()),
        ("utf16le.ndjson", utf16(&lines, u16::to_le_bytes)),
        ("utf16be.json", utf16(&array(), u16::to_be_bytes)),
        ("lines.gz", gzip(lines.as_bytes())),
        ("without-suffix", gzip(lines.as_bytes())),
        ("array.json.gz", gzip(array().as_bytes())),
        ("utf16.gz", gzip(&utf16(&array(), u16::to_le_bytes))),
        ("lines.zst", zstd::encode_all(lines.as_bytes(), 3).expect("in memory")),
        ("utf16.json.zst", zstd::encode_all(&utf16(&array(), u16::to_be_bytes)[..], 3).expect("in memory")),
        ("records.pb", protobuf()),
        ("records.pb.gz", gzip(&protobuf())),
        ("records.pb.zst", zstd::encode_all(&protobuf()[..], 3).expect("in memory")),
    ];
    for (name, bytes) in kinds {
        folder.write(name, bytes);
        let found = folder.replay(&[name], &[]);
        assert_eq!((found.code, &found.stdout), (Some(0), &expected.stdout), "{name}: {}", found.log);
        assert!(!found.log.contains("refused"), "{name}: {}", found.log);
        let piped = File::open(folder.0.join(name)).expect("there");
        if !name.contains(".pb") {
            let found = folder.run_on(&["replay", "--norms", "norms.yaml", "--events", "-"], piped.into());
            assert_eq!(found.stdout, expected.stdout, "{name} as standard input: {}", found.log);
        }
    }
}

#[test]
fn other_kinds_are_refused_with_their_name() {
    let folder = Folder::new("refused");
    folder.write("leads.csv", "id;created;phone\n1;2025-03-03;+79000000001\n");
    folder.write("book.xlsx", b"PK\x03\x04\x14\0\x06\0");
    folder.write("notes.txt", "call anna\n");
    for (name, what) in [("leads.csv", "this is CSV"), ("book.xlsx", "Excel"), ("notes.txt", "not JSON")] {
        for args in
            [&["replay", "--norms", "norms.yaml", "--events"][..], &["check", "--norms", "norms.yaml", "--events"]]
        {
            let found = folder.run(&[args, &[name]].concat());
            assert_eq!((found.code, found.stdout.as_str()), (Some(1), ""), "{name}: {}", found.log);
            let named = found.log.contains(name) && found.log.contains(what) && found.log.contains("wanted: events");
            assert!(named, "{name}: {}", found.log);
        }
    }
}

#[test]
fn the_commonest_reasons_of_refusal_are_shown_with_their_first_position() {
    let folder = Folder::new("reasons");
    let mut lines = EVENTS.map(str::to_owned).to_vec();
    lines.extend(["{\"tenant_id\":\"t\"}", "{}", "{", "{}"].map(str::to_owned));
    folder.write("events.ndjson", lines.join("\n"));
    let found = folder.replay(&["events.ndjson"], &[]);
    assert_eq!((found.code, found.stdout.lines().count()), (Some(0), 1), "{}", found.log);
    for part in [
        "2 refused: no_tenant: tenant_id: missing; the first at events.ndjson:6",
        "1 refused: no_time: occurred_at: missing; the first at events.ndjson:5",
        "1 refused: malformed: unexpected end of input; the first at events.ndjson:7",
    ] {
        assert!(found.log.contains(part), "{part}: {}", found.log);
    }
    // Nothing is readable: exit code 1, with and without a comparison. Nothing to read is no failure.
    folder.write("broken.ndjson", "{}\n{\n");
    folder.write("empty.ndjson", "");
    folder.write("empty.json", "[]");
    for (name, code) in [("broken.ndjson", 1), ("empty.ndjson", 0), ("empty.json", 0)] {
        assert_eq!(folder.replay(&[name], &[]).code, Some(code), "{name}");
        assert_eq!(folder.replay(&[name], &["--compare", "norms.yaml"]).code, Some(code), "{name}");
        assert_eq!(folder.run(&["check", "--norms", "norms.yaml", "--events", name]).code, Some(code), "{name}");
    }
}

#[test]
fn a_log_that_nobody_reads_or_that_is_full_stops_nothing() {
    let folder = Folder::new("log");
    // More lines than a pipe holds.
    folder.write("events.ndjson", EVENTS.join("\n") + "\n" + &"no event\n".repeat(5000));
    for log in [Stdio::piped(), File::options().write(true).open("/dev/full").expect("a full device").into()] {
        let args = ["replay", "--norms", "norms.yaml", "--events", "events.ndjson"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_funnelwatch"));
        command.current_dir(&folder.0).args(args).env("RUST_LOG", "debug").stdout(Stdio::null()).stderr(log);
        let mut child = command.spawn().expect("the program starts");
        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("the status is available") {
                break status;
            }
            if started.elapsed() > Duration::from_secs(60) {
                child.kill().expect("the program is killed");
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        assert_eq!(status.code(), Some(0), "after {:?}", started.elapsed());
    }
}

#[test]
fn events_of_the_future_are_refused_unless_the_replay_ends_later() {
    let folder = Folder::new("future");
    let future = EVENTS[3].replace("2025", "2145");
    folder.write("events.ndjson", [&future, EVENTS[0], EVENTS[1], EVENTS[2], EVENTS[3]].join("\n"));
    let found = folder.replay(&["events.ndjson"], &["--metrics", "rows.ndjson"]);
    assert_eq!((found.code, found.stdout.lines().count()), (Some(0), 1), "{}", found.log);
    assert!(
        found.log.contains("1 refused: future: occurred_at") && found.log.contains("events.ndjson:1"),
        "{}",
        found.log
    );
    let rows = fs::read_to_string(folder.0.join("rows.ndjson")).expect("written");
    assert!(
        rows.contains(r#""at":"2025-03-03T09:00:00.000Z""#),
        "the last event that is not refused is the end: {rows}"
    );
    let found = folder.replay(&["events.ndjson"], &["--until", "2146-01-01T00:00:00Z"]);
    assert!(!found.log.contains("future"), "{}", found.log);
    let found = folder.replay(&["events.ndjson"], &["--until", "2025-03-03T08:00:00Z"]);
    assert!(found.log.contains("future"), "{}", found.log);
    let checked = folder.run(&["check", "--norms", "norms.yaml", "--events", "events.ndjson"]);
    assert!(
        checked.log.contains("future") && checked.stdout.starts_with("4 events"),
        "{} {}",
        checked.stdout,
        checked.log
    );
}

/// The lines of a simulated stream of two tenants, with distinct instants: too many for one epoch.
fn simulated(folder: &Folder) -> Vec<String> {
    let plan = ["simulate", "--seed", "5", "--tenants", "2", "--managers", "5", "--density", "1", "--events", "20000"];
    assert_eq!(folder.run(&[&plan[..], &["--out", "simulated.ndjson"]].concat()).code, Some(0));
    let text = fs::read_to_string(folder.0.join("simulated.ndjson")).expect("written");
    let mut instants = BTreeSet::new();
    let is_first = |line: &&str| {
        let event: Value = serde_json::from_str(line).expect("JSON");
        instants.insert(event["occurred_at"].as_str().expect("dated").to_owned())
    };
    let mut lines: Vec<String> = text.lines().filter(is_first).map(str::to_owned).collect();
    lines.sort_by_key(|line| line.split("occurred_at").nth(1).map(|rest| rest[..30].to_owned()));
    assert!(lines.len() > 17_000, "more than an epoch: {}", lines.len());
    lines
}

#[test]
fn the_order_of_distinct_events_in_files_does_not_matter() {
    let folder = Folder::new("order");
    let lines = simulated(&folder);
    let replay = |files: &[(&str, &[String])], more: &[&str]| {
        files.iter().for_each(|(name, lines)| folder.write(name, lines.join("\n")));
        let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
        let found = folder.replay(&names, &[&["--metrics", "rows.ndjson"], more].concat());
        assert_eq!(found.code, Some(0), "{}", found.log);
        (found.stdout, fs::read_to_string(folder.0.join("rows.ndjson")).expect("written"), found.log)
    };
    let (alerts, rows, log) = replay(&[("a", &lines)], &["--workers", "1"]);
    assert!(alerts.lines().count() > 20 && !log.contains("sorting"), "in order: {log}");
    let same = |files: &[(&str, &[String])], more: &[&str], sorts: bool| {
        let found = replay(files, more);
        assert_eq!((&found.0, &found.1), (&alerts, &rows), "{}", found.2);
        assert_eq!(found.2.contains("sorting"), sorts, "{}", found.2);
    };
    let newest_first: Vec<String> = lines.iter().rev().cloned().collect();
    let (early, late) = lines.split_at(lines.len() / 3);
    let one_after_the_other = [late, early].concat();
    // By a hash of the line: a permutation without any order.
    let mut mixed = lines.clone();
    mixed.sort_by_key(|line| {
        line.bytes().fold(7u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
    });
    same(&[("a", &newest_first)], &["--workers", "2"], true);
    same(&[("a", &one_after_the_other)], &["--workers", "1"], true);
    same(&[("a", &mixed)], &[], true);
    same(&[("a", late), ("b", early)], &[], false);
    same(&[("a", &newest_first), ("b", early)], &["--sort-by-at"], true);
    // Sorted lines are in order of their instants.
    let at = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["at"].as_str().expect("dated").to_owned();
    assert!(alerts.lines().map(at).is_sorted());

    // A comparison sorts as well.
    let compared = |lines: &[String]| {
        folder.write("other.yaml", "norms: {first_response_late: {within: 5m}}");
        folder.write("a", lines.join("\n"));
        folder.replay(&["a"], &["--compare", "other.yaml"]).stdout
    };
    let report = compared(&lines);
    assert!(report.contains("first_response_late"), "{report}");
    assert_eq!(compared(&mixed), report);
    // As delivered, late events are corrections.
    let (corrected, ..) = replay(&[("a", &one_after_the_other)], &["--as-delivered"]);
    assert_ne!(corrected, alerts);
    // Standard input is read to its end first.
    folder.write("a", newest_first.join("\n"));
    let input = File::open(folder.0.join("a")).expect("there");
    let piped = folder.run_on(&["replay", "--norms", "norms.yaml", "--events", "-"], input.into());
    assert_eq!(piped.stdout, alerts, "{}", piped.log);
}

/// A lead that is answered late, and far behind in the file the earlier call.
fn corrected_late() -> String {
    let call = |id: &str, at: &str| {
        format!(
            r#"{{"event_id":"{id}","tenant_id":"acme","occurred_at":"2025-03-03T{at}Z","call_started":{{"call_id":"{id}","direction":"OUTBOUND","phone":"+79000000001"}}}}"#
        )
    };
    let mut lines = vec![EVENTS[0].to_owned(), call("2", "08:00:00")];
    lines.extend((0..20_000).map(|n| EVENTS[3].replace("\"4\"", &format!("\"n{n}\"")).replace("09:00:00", "08:30:00")));
    lines.extend([call("3", "07:20:00"), EVENTS[3].to_owned()]);
    lines.join("\n")
}

#[test]
fn corrections_follow_what_they_correct() {
    let folder = Folder::new("corrections");
    folder.write("events.ndjson", corrected_late());
    let replay = |more: &[&str]| {
        let found = folder.replay(&["events.ndjson"], more);
        let field = |line: &str, key: &str| {
            let alert: Value = serde_json::from_str(line).expect("JSON");
            alert[key].as_str().map_or_else(|| alert["observed"]["lag_seconds"].to_string(), str::to_owned)
        };
        let lines = found.stdout.lines().map(|line| [field(line, "status"), field(line, "lag")].join(" "));
        lines.collect::<Vec<_>>()
    };
    assert_eq!(replay(&[]), ["FIRING 900", "RESOLVED 1200"]);
    for workers in ["1", "2", "4"] {
        let delivered = ["FIRING 900", "RESOLVED 3600", "RESOLVED 1200"];
        assert_eq!(replay(&["--as-delivered", "--workers", workers]), delivered);
    }
    assert_eq!(replay(&["--as-delivered", "--sort-by-at"]), ["FIRING 900", "RESOLVED 1200", "RESOLVED 3600"]);
}

#[test]
fn names_that_norms_and_events_do_not_share_are_listed() {
    let folder = Folder::new("names");
    folder.write(
        "norms.yaml",
        "pipelines:\n  sales: {entity: deal, stages: [{id: NEW}, {id: WON}]}\nnorms: {stage_skipped: {}}",
    );
    let deal = |stage: &str, day: u32| {
        format!(
            r#"{{"tenant_id":"acme","occurred_at":"2025-03-{day:02}T07:00:00Z","deal_created":{{"deal_id":"{day}","pipeline_id":"sales","stage_id":"{stage}"}}}}"#
        )
    };
    folder.write("unlisted.ndjson", [deal("new", 3), deal("new", 3), deal("new", 4), deal("WON", 5)].join("\n"));
    folder.write("listed.ndjson", [deal("NEW", 3), deal("WON", 5)].join("\n"));
    let check =
        |name: &str, more: &[&str]| folder.run(&[&["check", "--norms", "norms.yaml", "--events", name], more].concat());
    let found = check("unlisted.ndjson", &[]);
    assert_eq!(found.code, Some(0), "{}", found.log);
    assert!(found.stdout.contains("new  3 events  did you mean NEW?"), "{}", found.stdout);
    assert_eq!(check("unlisted.ndjson", &["--strict"]).code, Some(1));
    let found = check("listed.ndjson", &["--strict"]);
    assert_eq!(found.code, Some(0), "{} {}", found.stdout, found.log);
    // The replay logs each stage once a day.
    let found = folder.replay(&["unlisted.ndjson"], &[]);
    let lines: Vec<_> = found.log.lines().filter(|line| line.contains("no pipeline lists stage `new`")).collect();
    assert_eq!(lines.len(), 2, "{}", found.log);
    assert!(lines[0].contains("2025-03-03") && lines[1].contains("2025-03-04"), "{lines:?}");
    assert!(!folder.replay(&["listed.ndjson"], &[]).log.contains("no pipeline"));
}
