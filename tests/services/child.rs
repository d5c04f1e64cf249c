//! Runs `funnelwatch run` and `funnelwatch gateway` as child processes that tests can stop, suspend and kill.

use super::fixture::{Fixture, QUICK, until};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// A process that is killed when it is dropped.
pub(crate) struct Killed(pub(crate) std::process::Child);

impl Killed {
    /// Starts `funnelwatch gateway` with this configuration.
    pub(crate) fn gateway(config: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_funnelwatch"))
            .args(["gateway", "--config"])
            .arg(config)
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("the process starts"))
    }

    /// Kills it, and waits until it has exited.
    pub(crate) fn kill(&mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("it exits");
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

static CHILDREN: AtomicU32 = AtomicU32::new(0);

/// A `funnelwatch run` process.
pub(crate) struct Child {
    child: std::process::Child,
    config: PathBuf,
    log: Arc<Mutex<Vec<String>>>,
}

impl Child {
    /// Starts a process with this id in the group of the fixture.
    pub(crate) fn start(fixture: &Fixture, id: &str) -> Self {
        Self::start_with(fixture, id, QUICK)
    }

    /// Starts a process with other norms and settings.
    pub(crate) fn start_with(fixture: &Fixture, id: &str, sections: &str) -> Self {
        // A unique file name: an earlier process with the same id may not have been dropped yet.
        let index = CHILDREN.fetch_add(1, Ordering::Relaxed);
        let config = std::env::temp_dir().join(format!("{}.yaml", fixture.topic(&format!("child-{index}"))));
        let text = format!("{}{sections}http: 127.0.0.1:0\n", fixture.sections_of(id));
        std::fs::write(&config, text).expect("a file");
        let mut child = Command::new(env!("CARGO_BIN_EXE_funnelwatch"))
            .args(["run", "--config"])
            .arg(&config)
            .env("RUST_LOG", "info")
            .stderr(Stdio::piped())
            .spawn()
            .expect("the process starts");
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
        let log = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&log);
        std::thread::spawn(move || lines.for_each(|line| collected.lock().expect("no panic").push(line)));
        Self { child, config, log }
    }

    /// The address of its HTTP endpoints.
    pub(crate) fn address(&self) -> String {
        let mut address = None;
        until("the endpoints", || {
            let log = self.log();
            let found = log.iter().find_map(|line| line.split("http on ").nth(1)?.split(": ").next());
            address = found.map(str::to_owned);
            address.is_some()
        });
        address.expect("just found")
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Sends SIGKILL and waits for the process to exit.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the process is killed");
        self.child.wait().expect("the process exits");
    }

    /// Sends SIGTERM and waits for the process to exit.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal("-TERM");
        self.child.wait().expect("the process exits")
    }

    /// The exit status, if the process has exited.
    pub(crate) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the status is available")
    }

    /// The number of log lines that contain a text.
    pub(crate) fn log_count(&self, text: &str) -> usize {
        self.log().iter().filter(|line| line.contains(text)).count()
    }

    /// The log so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().expect("no panic").clone()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.config);
    }
}
