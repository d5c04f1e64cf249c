//! The standard `process_*` metrics of Prometheus' client libraries, read from `/proc/self` on each scrape.
//!
//! Names and meanings: <https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>. Formats: `man 5 proc`.
//! The files are read here because the crates that do it are two of the larger dependencies of the first build, for seven
//! numbers.

use std::fs;
use std::io::Write;

/// What `/proc/self/stat` has after the name of the program, counted from 0: the fields 3 and following of the manual.
mod stat {
    pub(super) const USER_TICKS: usize = 11;
    pub(super) const SYSTEM_TICKS: usize = 12;
    pub(super) const THREADS: usize = 17;
    pub(super) const START_TICKS: usize = 19;
    pub(super) const VIRTUAL_BYTES: usize = 20;
    pub(super) const RESIDENT_PAGES: usize = 21;
}

/// Appends the metrics that can be read; the others are left out.
pub(super) fn append(page: &mut Vec<u8>) {
    let mut family = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            // Writing to memory cannot fail.
            let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        }
    };
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name is in parentheses and may contain any character.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let field = |index: usize| fields.get(index)?.parse::<f64>().ok();
    let seconds = |ticks: f64| ticks / rustix::param::clock_ticks_per_second() as f64;

    let cpu = field(stat::USER_TICKS).zip(field(stat::SYSTEM_TICKS)).map(|(user, system)| seconds(user + system));
    family("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.", cpu);
    let resident = field(stat::RESIDENT_PAGES).map(|pages| pages * rustix::param::page_size() as f64);
    family("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", resident);
    family("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", field(stat::VIRTUAL_BYTES));
    family("process_threads", "gauge", "Number of OS threads in the process.", field(stat::THREADS));
    let start = field(stat::START_TICKS).zip(boot_time()).map(|(ticks, boot)| boot + seconds(ticks));
    family("process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.", start);
    // One of them is the descriptor of the directory itself.
    let open = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count().saturating_sub(1) as f64);
    family("process_open_fds", "gauge", "Number of open file descriptors.", open);
    family("process_max_fds", "gauge", "Maximum number of open file descriptors.", max_fds());
}

/// The resident memory of this process, in bytes; 0 if it cannot be read.
pub(crate) fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: Option<u64> = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or_default() * rustix::param::page_size() as u64
}

/// When the machine was started, in seconds since the epoch.
fn boot_time() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// The soft limit of open files; `None` if there is no limit.
fn max_fds() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_plausible_values() {
        let mut page = Vec::new();
        append(&mut page);
        let page = String::from_utf8(page).expect("UTF-8");
        let value = |name: &str| -> f64 {
            let line = page.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            line.unwrap_or_else(|| panic!("{name} is missing in\n{page}")).parse().expect("a number")
        };
        assert!((0.0..86_400.0).contains(&value("process_cpu_seconds_total")));
        let resident = value("process_resident_memory_bytes");
        assert!(resident > 1e5);
        assert!((0.5..2.0).contains(&(resident_bytes() as f64 / resident)), "the other source agrees");
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!(value("process_threads") >= 2.0, "this test has a thread of its own");
        assert!((3.0..=value("process_max_fds")).contains(&value("process_open_fds")));
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs_f64();
        let age = now - value("process_start_time_seconds");
        assert!((-2.0..86_400.0).contains(&age), "started {age} s ago");
    }
}
