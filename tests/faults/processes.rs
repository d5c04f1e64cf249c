//! Owns the processes of the group: starts them, starts them again as Kubernetes would, sends them signals. Promises to
//! tell every exit that no fault of ours explains, and that no process outlives it.

use crate::say;
use crate::site::{PROCESSES, Site};
use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A process that ended by itself is started again after this time.
const BACK_OFF: Duration = Duration::from_millis(500);
/// So long after a fault an exit may be put down to it.
const AFTERMATH: Duration = Duration::from_secs(75);

/// An exit that nobody asked for.
#[derive(Clone, Debug)]
pub(crate) struct Exit {
    pub(crate) process: usize,
    pub(crate) status: String,
    /// The fault that it may come of.
    pub(crate) after: Option<&'static str>,
    pub(crate) log: String,
}

#[derive(Default)]
struct Process {
    child: Option<Child>,
    started: Option<Instant>,
    /// Whether it should run, and from when on.
    wanted: bool,
    due: Option<Instant>,
    /// How long after its end it is due.
    back: Duration,
    /// It is to end: by which signal.
    asked: Option<&'static str>,
    /// SIGSTOP.
    halted: bool,
}

#[derive(Default)]
struct Books {
    processes: Vec<Process>,
    exits: Vec<Exit>,
    /// What may make a process end by itself: the fault, whose (all, if nobody's), and when it was over.
    strains: Vec<(&'static str, Option<usize>, Option<Instant>)>,
    starts: u64,
}

/// The processes.
pub(crate) struct Processes {
    site: Arc<Site>,
    inject_fault: Option<String>,
    books: Mutex<Books>,
    over: AtomicBool,
}

impl Processes {
    /// None runs yet. The thread ends them all when it is told to end.
    pub(crate) fn supervise(site: &Arc<Site>, inject_fault: Option<String>) -> (Arc<Self>, JoinHandle<()>) {
        let books = Books { processes: (0..PROCESSES).map(|_| Process::default()).collect(), ..Books::default() };
        let (site, books, over) = (Arc::clone(site), Mutex::new(books), AtomicBool::new(false));
        let processes = Arc::new(Self { site, inject_fault, books, over });
        let keeper = Arc::clone(&processes);
        let thread = std::thread::spawn(move || {
            while !keeper.over.load(Ordering::Relaxed) {
                keeper.look();
                std::thread::sleep(Duration::from_millis(10));
            }
            let mut books = keeper.books();
            for child in books.processes.iter_mut().filter_map(|process| process.child.as_mut()) {
                let _ = child.kill();
                let _ = child.wait();
            }
        });
        (processes, thread)
    }

    /// Ends the supervision, and all processes.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self, process: usize) -> std::path::PathBuf {
        self.site.path(&format!("process-{process}.log"))
    }

    /// Notes who has ended, and starts who should run.
    fn look(&self) {
        let mut books = self.books();
        for process in 0..PROCESSES {
            let status = books.processes[process].child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = status {
                self.note(&mut books, process, status);
            }
            let Process { child, wanted, due, .. } = &books.processes[process];
            if child.is_none() && *wanted && due.is_none_or(|due| due <= Instant::now()) {
                match self.spawn(process) {
                    Ok(child) => {
                        books.starts += 1;
                        self.site.note(&format!("process {process} started"));
                        let (started, wanted) = (Some(Instant::now()), true);
                        books.processes[process] =
                            Process { child: Some(child), started, wanted, ..Process::default() };
                    }
                    Err(error) => {
                        say(&format!("start process {process}: {error}"));
                        books.processes[process].due = Some(Instant::now() + Duration::from_secs(1));
                    }
                }
            }
        }
    }

    fn note(&self, books: &mut Books, process: usize, status: ExitStatus) {
        let Process { asked, child, due, back, halted, .. } = &mut books.processes[process];
        (*child, *halted) = (None, false);
        let asked = asked.take();
        *due = Some(Instant::now() + if asked.is_some() { *back } else { BACK_OFF });
        self.site.note(&format!("process {process} ended, {status}"));
        let expected = match asked {
            Some("KILL") => status.signal() == Some(9),
            Some(_) => status.success(),
            None => false,
        };
        if !expected {
            let after = books.strain(process);
            let what = asked.map(|signal| format!(" on SIG{signal}")).unwrap_or_default();
            let log = tail(&self.log(process)).unwrap_or_default();
            let cause = after.map_or("without cause".into(), |after| format!("after {after}"));
            say(&format!("process {process} ended{what} with {status}, {cause}"));
            books.exits.push(Exit { process, status: format!("{status}{what}"), after, log });
        }
    }

    fn spawn(&self, process: usize) -> std::io::Result<Child> {
        let mut log = OpenOptions::new().create(true).append(true).open(self.log(process))?;
        writeln!(log, "--- start")?;
        let mut command = Command::new(&self.site.binary);
        command.args(["run", "--config"]).arg(self.site.config(process)).current_dir(&self.site.dir);
        if let Some(inject_fault) = &self.inject_fault {
            command.env("FUNNELWATCH_INJECT_FAULT", inject_fault);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()
    }

    /// Wants a process to run, from some time on.
    pub(crate) fn start(&self, process: usize, delay: Duration) {
        let process = &mut self.books().processes[process];
        (process.wanted, process.due) = (true, Some(Instant::now() + delay));
    }

    /// Those that run and are not halted or about to end; for how long.
    pub(crate) fn running(&self) -> Vec<(usize, Duration)> {
        let books = self.books();
        let runs = |process: &Process| process.child.is_some() && process.asked.is_none() && !process.halted;
        let all = books.processes.iter().enumerate().filter(|(_, process)| runs(process));
        all.map(|(number, process)| (number, process.started.map_or(Duration::ZERO, |at| at.elapsed()))).collect()
    }

    pub(crate) fn are_all_gone(&self) -> bool {
        self.books().processes.iter().all(|process| process.child.is_none())
    }

    /// SIGKILL; it comes back so long after it has ended, or never.
    pub(crate) fn kill(&self, process: usize, back: Option<Duration>) {
        self.ask(process, "KILL", back);
    }

    /// SIGTERM; likewise.
    pub(crate) fn terminate(&self, process: usize, back: Option<Duration>) {
        self.ask(process, "TERM", back);
    }

    fn ask(&self, number: usize, signal: &'static str, back: Option<Duration>) {
        let mut books = self.books();
        let process = &mut books.processes[number];
        process.wanted = back.is_some();
        process.back = back.unwrap_or_default();
        if let Some(child) = &process.child {
            process.asked = Some(signal);
            self.site.note(&format!("process {number} gets SIG{signal}"));
            send(child, signal);
        }
    }

    /// SIGSTOP.
    pub(crate) fn halt(&self, process: usize) {
        let process = &mut self.books().processes[process];
        if let Some(child) = &process.child {
            process.halted = true;
            send(child, "STOP");
        }
    }

    /// SIGCONT.
    pub(crate) fn go_on(&self, process: usize) {
        let process = &mut self.books().processes[process];
        process.halted = false;
        if let Some(child) = &process.child {
            send(child, "CONT");
        }
    }

    /// From here on exits may come of this fault: of one process, or of all.
    pub(crate) fn strain(&self, what: &'static str, process: Option<usize>) {
        self.site.note(&format!("{what} {process:?} begins"));
        self.books().strains.push((what, process, None));
    }

    /// The fault is over.
    pub(crate) fn relax(&self, what: &'static str, process: Option<usize>) {
        self.site.note(&format!("{what} {process:?} is over"));
        let mut books = self.books();
        let mut open = books.strains.iter_mut().rev().filter(|(_, _, over)| over.is_none());
        if let Some(strain) = open.find(|strain| (strain.0, strain.1) == (what, process)) {
            strain.2 = Some(Instant::now());
        }
    }

    /// Whether something strains anybody now, or did a moment ago.
    pub(crate) fn is_strained(&self) -> bool {
        let recent = |over: Option<Instant>| over.is_none_or(|over| over.elapsed() < Duration::from_secs(5));
        self.books().strains.iter().any(|(_, _, over)| recent(*over))
    }

    pub(crate) fn exits(&self) -> Vec<Exit> {
        self.books().exits.clone()
    }

    pub(crate) fn starts(&self) -> u64 {
        self.books().starts
    }
}

impl Books {
    /// The last fault that may have made this process end.
    fn strain(&self, process: usize) -> Option<&'static str> {
        let recent = |over: Option<Instant>| over.is_none_or(|over| over.elapsed() < AFTERMATH);
        let mut strains = self.strains.iter().rev();
        let strain = strains.find(|(_, whose, over)| whose.is_none_or(|whose| whose == process) && recent(*over));
        strain.map(|(what, ..)| *what)
    }
}

/// By the program of that name: a call would need `unsafe` or one package more.
fn send(child: &Child, signal: &str) {
    let status = Command::new("kill").args(["-s", signal, &child.id().to_string()]).stderr(Stdio::null()).status();
    if let Err(error) = status {
        say(&format!("kill -s {signal}: {error}"));
    }
}

/// The last lines of a log.
fn tail(path: &std::path::Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(2000)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().rev().take(5).collect();
    Ok(lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
}
