//! Owns the proof that norms are read again while `run` goes on: what is overdue by the new ones fires at once, what is
//! broken leaves the old ones in force and is counted, and SIGHUP asks for an answer.

use super::demo::get;
use super::site::{Site, at, lead, tick, until};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// No waiting, and the watermark moves with events alone.
const QUICK: &str = "time: {allowed_lateness: 0s, idle_after: 500ms, watermark_follows_clock: false}
engine: {workers: 2, epoch: 100ms}
";

/// `funnelwatch run`, with its norms in a file of their own.
struct Process {
    child: Child,
    folder: PathBuf,
    address: String,
    log: Arc<Mutex<Vec<String>>>,
}

impl Process {
    fn start(site: &Site, norms: &str) -> Self {
        let folder = std::env::temp_dir().join(site.topic("run"));
        fs::create_dir_all(&folder).expect("a folder");
        let config = format!("{}{QUICK}norms_file: norms.yaml\nhttp: 127.0.0.1:0\n", site.sections());
        fs::write(folder.join("main.yaml"), config).expect("a file");
        write(&folder, norms);
        let mut child = Command::new(env!("CARGO_BIN_EXE_funnelwatch"))
            .args(["run", "--config"])
            .arg(folder.join("main.yaml"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("the run starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
        let address = lines
            .by_ref()
            .find_map(|line| line.split("http on ").nth(1)?.split(": /").next().map(str::to_owned))
            .expect("the run says where its endpoints are");
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&log);
        std::thread::spawn(move || lines.for_each(|line| kept.lock().expect("no panic").push(line)));
        Self { child, folder, address, log }
    }

    fn norms(&self, norms: &str) {
        write(&self.folder, norms);
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// The sum of the series that begin like this.
    fn metric(&self, series: &str) -> f64 {
        let metrics = get(&self.address, "/metrics");
        let of_them = metrics.lines().filter(|line| line.starts_with(series));
        let values: Vec<f64> = of_them.filter_map(|line| line.rsplit_once(' ')?.1.parse().ok()).collect();
        assert!(!values.is_empty(), "{series} is missing");
        values.iter().sum()
    }

    /// How many reloads were applied, and refused.
    fn reloads(&self) -> [f64; 2] {
        ["applied", "refused"]
            .map(|result| self.metric(&format!("funnelwatch_norms_reloads_total{{result=\"{result}\"}}")))
    }

    /// How many lines of the log hold a text.
    fn told(&self, text: &str) -> usize {
        self.log.lock().expect("no panic").iter().filter(|line| line.contains(text)).count()
    }

    fn stop(mut self) {
        self.signal("-TERM");
        let status = self.child.wait().expect("the run ends");
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
fn norms_are_read_again_while_the_run_goes_on() {
    let site = Site::new("reload", 2, QUICK);
    let run = Process::start(&site, &within("1h"));
    let since = run.metric("funnelwatch_norms_in_force_timestamp_seconds");
    let late = |n| {
        let tenants = site.await_records("alerts", n).into_iter().map(|alert| {
            assert_eq!(alert.header("status"), Some("FIRING"));
            alert.header("tenant").expect("a tenant").to_owned()
        });
        tenants.collect::<Vec<_>>()
    };
    let applied = |n: f64| {
        let series = "funnelwatch_events_applied_total{topic=\"crm.events\"";
        until("events are applied", || run.metric(series) == n);
    };
    site.produce(&[lead("a", "1", at(0.0)), tick("a", "2", at(1200.0))]);
    applied(2.0);
    assert_eq!((site.read("alerts").len(), run.reloads()), (0, [0.0, 0.0]));

    // Twenty minutes of an hour: of fifteen minutes they are too many.
    run.norms(&within("15m"));
    until("the norms are reloaded", || run.reloads() == [1.0, 0.0]);
    assert!(run.metric("funnelwatch_norms_in_force_timestamp_seconds") > since);
    assert_eq!(late(1), ["a"]);

    // Broken: those in force stay, for companies that come later as well.
    run.norms(&within("soon"));
    until("the norms are refused", || run.reloads() == [1.0, 1.0]);
    until("it is told with its line", || run.told("norms.yaml:2: norms.first_response_late.within") == 1);
    site.produce(&[lead("b", "1", at(1300.0)), tick("b", "2", at(1300.0 + 899.0))]);
    applied(4.0);
    assert_eq!(late(1), ["a"]);
    site.produce(&[tick("b", "3", at(1300.0 + 901.0))]);
    assert_eq!(late(2), ["a", "b"]);
    assert_eq!(run.told("norms.first_response_late.within"), 1, "it is told once");

    // Who asks is told again.
    run.signal("-HUP");
    until("there is an answer", || run.reloads() == [1.0, 2.0]);
    assert_eq!(run.told("norms.first_response_late.within"), 2);

    run.norms("default_country: KZ");
    until("a restart is asked for", || run.reloads() == [1.0, 3.0]);
    until("the key is told", || run.told("default_country: ") == 1);

    run.norms(&within("5m"));
    run.signal("-HUP");
    until("the norms are reloaded", || run.reloads() == [2.0, 3.0]);
    run.signal("-HUP");
    until("there is an answer", || run.told("nothing to reload") == 1);
    site.produce(&[lead("c", "1", at(2300.0)), tick("c", "2", at(2300.0 + 301.0))]);
    assert_eq!(late(3).len(), 3);
    assert_eq!(run.reloads(), [2.0, 3.0]);
    run.stop();
}
