//! Tests the demo: it runs, shows which managers are late, ends by itself, and promtool accepts its metrics.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The body of `GET path`, which must succeed.
pub(crate) fn get(address: &str, path: &str) -> String {
    let (status, body) = request(address, path);
    assert_eq!(status, 200, "{path}: {body}");
    body
}

/// The status of `GET path`.
pub(crate) fn status(address: &str, path: &str) -> u16 {
    request(address, path).0
}

fn request(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("the endpoints are open");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").expect("a request");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    let (head, body) = response.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

/// Checks metrics with promtool.
pub(crate) fn lint(metrics: &str) {
    let mut promtool =
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).spawn().expect("promtool");
    promtool.stdin.take().expect("piped").write_all(metrics.as_bytes()).expect("promtool reads");
    assert!(promtool.wait().expect("promtool ends").success(), "promtool rejects the metrics");
}

#[test]
fn the_demo_shows_late_managers_and_ends_by_itself() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_funnelwatch"))
        .args(["demo", "--for", "30s", "--http", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the demo starts");
    let mut log = BufReader::new(demo.stderr.take().expect("piped")).lines();
    let address = log
        .by_ref()
        .map(|line| line.expect("a line"))
        .find_map(|line| line.split("http: ").nth(1)?.split_whitespace().next().map(str::to_owned))
        .expect("the demo logs the address of its endpoints");
    let rest = std::thread::spawn(move || log.map_while(Result::ok).collect::<Vec<_>>());
    std::thread::sleep(Duration::from_secs(22));
    let metrics = get(&address, "/metrics");
    assert_eq!(get(&address, "/livez"), "alive\n");
    assert_eq!(get(&address, "/readyz"), "ready\n");

    lint(&metrics);
    for series in
        ["funnelwatch_manager_open_alerts{", "funnelwatch_tenant_lead_conversion_sample{", "funnelwatch_alerts_total{"]
    {
        assert!(metrics.contains(series), "{series} is missing");
    }

    let output = demo.wait_with_output().expect("the demo ends");
    let log = rest.join().expect("the log is read");
    assert!(output.status.success(), "{log:#?}");
    assert!(log.iter().all(|line| !line.contains("WARN") && !line.contains("ERROR")), "{log:#?}");
    let shown = String::from_utf8(output.stdout).expect("UTF-8");
    let firing =
        |manager: &str| shown.lines().any(|line| line.split_whitespace().skip(1).take(2).eq(["FIRING", manager]));
    for late in ["vera", "zhanna", "gleb", "svetlana"] {
        assert!(firing(late), "{late} is late, but has no alert:\n{shown}");
    }
    assert!(!shown.contains("RETRACTED"), "the demo has no late events, so nothing is retracted:\n{shown}");
    for prompt in ["anna", "boris", "olga", "daria"] {
        assert!(!firing(prompt), "{prompt} is not late, but has an alert:\n{shown}");
    }
}
