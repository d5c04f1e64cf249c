//! Owns a processor in a process of its own: `funnelwatch run`, to be stopped, frozen and killed.

use super::site::{QUICK, Site, until};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

static CHILDREN: AtomicU32 = AtomicU32::new(0);

/// `funnelwatch run`.
pub(crate) struct Child {
    child: std::process::Child,
    config: PathBuf,
    log: Arc<Mutex<Vec<String>>>,
}

impl Child {
    /// Starts a process of this name in the site's group.
    pub(crate) fn start(site: &Site, id: &str) -> Self {
        Self::start_with(site, id, QUICK)
    }

    /// Likewise, by other norms and settings.
    pub(crate) fn start_with(site: &Site, id: &str, sections: &str) -> Self {
        // A name of its own: it may follow another of its name that has not been dropped yet.
        let number = CHILDREN.fetch_add(1, Ordering::Relaxed);
        let config = std::env::temp_dir().join(format!("{}.yaml", site.topic(&format!("child-{number}"))));
        let text = format!("{}{sections}http: 127.0.0.1:0\n", site.sections_of(id));
        std::fs::write(&config, text).expect("a file");
        let mut child = Command::new(env!("CARGO_BIN_EXE_funnelwatch"))
            .args(["run", "--config"])
            .arg(&config)
            .env("RUST_LOG", "info")
            .stderr(Stdio::piped())
            .spawn()
            .expect("the run starts");
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&log);
        std::thread::spawn(move || lines.for_each(|line| kept.lock().expect("no panic").push(line)));
        Self { child, config, log }
    }

    /// Where its endpoints are.
    pub(crate) fn address(&self) -> String {
        let mut address = None;
        until("the endpoints", || {
            let log = self.log();
            let said = log.iter().find_map(|line| line.split("http on ").nth(1)?.split(": ").next());
            address = said.map(str::to_owned);
            address.is_some()
        });
        address.expect("just found")
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Kills it and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it is killed");
        self.child.wait().expect("it is gone");
    }

    /// Asks it to stop.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal("-TERM");
        self.child.wait().expect("the run ends")
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it can be asked")
    }

    /// How many lines of its log hold a text.
    pub(crate) fn told(&self, text: &str) -> usize {
        self.log().iter().filter(|line| line.contains(text)).count()
    }

    /// Its log so far.
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
