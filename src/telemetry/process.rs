//! The standard `process_*` metrics of Prometheus' client libraries, read from `/proc` on each scrape.
//!
//! Names and meanings: <https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>.

use procfs::WithCurrentSystemInfo;
use procfs::process::{LimitValue, Process};
use std::io::Write;

/// Appends the metrics that can be read; the others are left out.
pub(super) fn append(page: &mut Vec<u8>) {
    let Ok(process) = Process::myself() else { return };
    let mut family = |name: &str, kind: &str, help: &str, value: f64| {
        // Writing to memory cannot fail.
        let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    };
    if let Ok(stat) = process.stat() {
        let ticks = procfs::ticks_per_second() as f64;
        let cpu = (stat.utime + stat.stime) as f64 / ticks;
        family("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.", cpu);
        let resident = stat.rss_bytes().get() as f64;
        family("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", resident);
        family("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", stat.vsize as f64);
        family("process_threads", "gauge", "Number of OS threads in the process.", stat.num_threads as f64);
        if let Ok(boot) = procfs::boot_time_secs() {
            let start = boot as f64 + stat.starttime as f64 / ticks;
            let help = "Start time of the process since unix epoch in seconds.";
            family("process_start_time_seconds", "gauge", help, start);
        }
    }
    if let Ok(open) = process.fd_count() {
        family("process_open_fds", "gauge", "Number of open file descriptors.", open as f64);
    }
    if let Ok(LimitValue::Value(limit)) = process.limits().map(|limits| limits.max_open_files.soft_limit) {
        family("process_max_fds", "gauge", "Maximum number of open file descriptors.", limit as f64);
    }
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
        assert!(value("process_cpu_seconds_total") < 86_400.0);
        assert!(value("process_resident_memory_bytes") > 1e5);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!(value("process_threads") >= 2.0, "this test has a thread of its own");
        assert!((3.0..=value("process_max_fds")).contains(&value("process_open_fds")));
        let age = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs_f64()
            - value("process_start_time_seconds");
        assert!((-2.0..86_400.0).contains(&age), "started {age} s ago");
    }
}
