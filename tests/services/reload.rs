//! Tests that `run` reloads norms: what is overdue under the new norms fires at once, invalid norms are counted and
//! leave the previous ones in force, and SIGHUP always logs a result.

use super::demo::get;
use super::fixture::{Fixture, at, lead, tick, until};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// No allowed lateness, and a watermark that only events advance.
const QUICK: &str = "time: {allowed_lateness: 0s, idle_after: 500ms, watermark_follows_clock: false}
engine: {workers: 2, epoch: 100ms}
";

/// A `funnelwatch run` process with its norms in a separate file.
struct Process {
    child: Child,
    folder: PathBuf,
    address: String,
    log: Arc<Mutex<Vec<String>>>,
}

impl Process {
    fn start(fixture: &Fixture, norms: &str) -> Self {
        let folder = std::env::temp_dir().join(fixture.topic("run"));
        fs::create_dir_all(&folder).expect("a folder");
        let config = format!("{}{QUICK}norms_file: norms.yaml\nhttp: 127.0.0.1:0\n", fixture.sections());
        fs::write(folder.join("main.yaml"), config).expect("a file");
        write(&folder, norms);
        let mut child = Command::new(env!("CARGO_BIN_EXE_funnelwatch"))
            .args(["run", "--config"])
            .arg(folder.join("main.yaml"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("the process starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
        let address = lines
            .by_ref()
            .find_map(|line| line.split("http on ").nth(1)?.split(": /").next().map(str::to_owned))
            .expect("the process logs the address of its endpoints");
        let log = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&log);
        std::thread::spawn(move || lines.for_each(|line| collected.lock().expect("no panic").push(line)));
        Self { child, folder, address, log }
    }

    fn norms(&self, norms: &str) {
        write(&self.folder, norms);
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// The sum of the series with this prefix.
    fn metric(&self, series: &str) -> f64 {
        let metrics = get(&self.address, "/metrics");
        let lines = metrics.lines().filter(|line| line.starts_with(series));
        let values: Vec<f64> = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse().ok()).collect();
        assert!(!values.is_empty(), "{series} is missing");
        values.iter().sum()
    }

    /// The numbers of applied and refused reloads.
    fn reloads(&self) -> [f64; 2] {
        ["applied", "refused"]
            .map(|result| self.metric(&format!("funnelwatch_norms_reloads_total{{result=\"{result}\"}}")))
    }

    /// The number of log lines that contain a text.
    fn log_count(&self, text: &str) -> usize {
        self.log.lock().expect("no panic").iter().filter(|line| line.contains(text)).count()
    }

    fn stop(mut self) {
        self.signal("-TERM");
        let status = self.child.wait().expect("the process exits");
        assert!(status.success(), "{:#?}", self.log.lock().expect("no panic"));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn write(folder: &Path, norms: &str) {
    let text = format!("windows: [{{size: 1h, slide: 1m}}]\n{norms}\n");
    fs::write(folder.join("norms.yaml"), text).expect("a file");
}

fn within(span: &str) -> String {
    format!("norms: {{first_response_late: {{within: {span}}}}}")
}

#[test]
fn norms_are_reloaded_while_the_process_runs() {
    let fixture = Fixture::new("reload", 2, QUICK);
    let run = Process::start(&fixture, &within("1h"));
    let since = run.metric("funnelwatch_norms_in_force_timestamp_seconds");
    let tenants_alerted = |n| {
        let tenants = fixture.await_records("alerts", n).into_iter().map(|alert| {
            assert_eq!(alert.header("status"), Some("FIRING"));
            alert.header("tenant").expect("a tenant").to_owned()
        });
        tenants.collect::<Vec<_>>()
    };
    let applied = |n: f64| {
        let series = "funnelwatch_events_applied_total{topic=\"crm.events\"";
        until("events are applied", || run.metric(series) == n);
    };
    fixture.produce(&[lead("a", "1", at(0.0)), tick("a", "2", at(1200.0))]);
    applied(2.0);
    assert_eq!((fixture.read("alerts").len(), run.reloads()), (0, [0.0, 0.0]));

    // A lead that has waited twenty minutes: in time under 1h, overdue under 15m.
    run.norms(&within("15m"));
    until("the norms are reloaded", || run.reloads() == [1.0, 0.0]);
    assert!(run.metric("funnelwatch_norms_in_force_timestamp_seconds") > since);
    assert_eq!(tenants_alerted(1), ["a"]);

    // Invalid: the norms in force stay, also for tenants that appear later.
    run.norms(&within("soon"));
    until("the norms are refused", || run.reloads() == [1.0, 1.0]);
    until("the problem is logged with its line", || {
        run.log_count("norms.yaml:2: norms.first_response_late.within") == 1
    });
    fixture.produce(&[lead("b", "1", at(1300.0)), tick("b", "2", at(1300.0 + 899.0))]);
    applied(4.0);
    assert_eq!(tenants_alerted(1), ["a"]);
    fixture.produce(&[tick("b", "3", at(1300.0 + 901.0))]);
    assert_eq!(tenants_alerted(2), ["a", "b"]);
    assert_eq!(run.log_count("norms.first_response_late.within"), 1, "the problem is logged once");

    // SIGHUP logs it again.
    run.signal("-HUP");
    until("a result is logged", || run.reloads() == [1.0, 2.0]);
    assert_eq!(run.log_count("norms.first_response_late.within"), 2);

    run.norms("default_country: KZ");
    until("a change that needs a restart is refused", || run.reloads() == [1.0, 3.0]);
    until("the key is logged", || run.log_count("default_country: ") == 1);

    run.norms(&within("5m"));
    run.signal("-HUP");
    until("the norms are reloaded", || run.reloads() == [2.0, 3.0]);
    run.signal("-HUP");
    until("a result is logged", || run.log_count("nothing to reload") == 1);
    fixture.produce(&[lead("c", "1", at(2300.0)), tick("c", "2", at(2300.0 + 301.0))]);
    assert_eq!(tenants_alerted(3).len(), 3);
    assert_eq!(run.reloads(), [2.0, 3.0]);
    run.stop();
}
