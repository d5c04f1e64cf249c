//! Supervises the processes of the group: starts them, restarts them as Kubernetes would, and sends them signals. Every
//! exit that no injected fault explains is recorded, and no process outlives the supervisor.

use crate::environment::{Environment, PROCESSES};
use crate::print;
use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The delay before a process that exited by itself is restarted.
const BACK_OFF: Duration = Duration::from_millis(500);
/// How long after a fault an exit is attributed to it.
const ATTRIBUTION: Duration = Duration::from_secs(75);

/// An exit that was not requested.
#[derive(Clone, Debug)]
pub(crate) struct Exit {
    pub(crate) process: usize,
    pub(crate) status: String,
    /// The fault that may have caused it.
    pub(crate) after: Option<&'static str>,
    pub(crate) log: String,
}

#[derive(Default)]
struct Process {
    child: Option<Child>,
    started: Option<Instant>,
    /// Whether it should run, and from when on.
    should_run: bool,
    start_at: Option<Instant>,
    /// The delay between a requested exit and the restart.
    restart_after: Duration,
    /// The signal by which it was asked to exit.
    signal: Option<&'static str>,
    /// Suspended by SIGSTOP.
    suspended: bool,
}

#[derive(Default)]
struct State {
    processes: Vec<Process>,
    exits: Vec<Exit>,
    /// Faults that may make a process exit: the fault, the process (`None`: all of them), and when it ended.
    faults: Vec<(&'static str, Option<usize>, Option<Instant>)>,
    starts: u64,
}

/// The supervised processes.
pub(crate) struct Processes {
    env: Arc<Environment>,
    inject_fault: Option<String>,
    state: Mutex<State>,
    stop: AtomicBool,
}

impl Processes {
    /// Starts the supervisor thread. No process runs yet; `end` kills them all.
    pub(crate) fn supervise(env: &Arc<Environment>, inject_fault: Option<String>) -> (Arc<Self>, JoinHandle<()>) {
        let state = State { processes: (0..PROCESSES).map(|_| Process::default()).collect(), ..State::default() };
        let (env, state, stop) = (Arc::clone(env), Mutex::new(state), AtomicBool::new(false));
        let processes = Arc::new(Self { env, inject_fault, state, stop });
        let supervisor = Arc::clone(&processes);
        let thread = std::thread::spawn(move || {
            while !supervisor.stop.load(Ordering::Relaxed) {
                supervisor.poll();
                std::thread::sleep(Duration::from_millis(10));
            }
            let mut state = supervisor.state();
            for child in state.processes.iter_mut().filter_map(|process| process.child.as_mut()) {
                let _ = child.kill();
                let _ = child.wait();
            }
        });
        (processes, thread)
    }

    /// Stops the supervisor and kills all processes.
    pub(crate) fn end(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self, process: usize) -> std::path::PathBuf {
        self.env.path(&format!("process-{process}.log"))
    }

    /// Records exits, and starts processes that should run.
    fn poll(&self) {
        let mut state = self.state();
        for process in 0..PROCESSES {
            let status = state.processes[process].child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = status {
                self.record_exit(&mut state, process, status);
            }
            let Process { child, should_run, start_at, .. } = &state.processes[process];
            if child.is_none() && *should_run && start_at.is_none_or(|at| at <= Instant::now()) {
                match self.spawn(process) {
                    Ok(child) => {
                        state.starts += 1;
                        self.env.note(&format!("process {process} started"));
                        let (started, should_run) = (Some(Instant::now()), true);
                        state.processes[process] =
                            Process { child: Some(child), started, should_run, ..Process::default() };
                    }
                    Err(error) => {
                        print(&format!("start process {process}: {error}"));
                        state.processes[process].start_at = Some(Instant::now() + Duration::from_secs(1));
                    }
                }
            }
        }
    }

    fn record_exit(&self, state: &mut State, process: usize, status: ExitStatus) {
        let Process { signal, child, start_at, restart_after, suspended, .. } = &mut state.processes[process];
        (*child, *suspended) = (None, false);
        let signal = signal.take();
        *start_at = Some(Instant::now() + if signal.is_some() { *restart_after } else { BACK_OFF });
        self.env.note(&format!("process {process} exited, {status}"));
        let expected = match signal {
            Some("KILL") => status.signal() == Some(9),
            Some(_) => status.success(),
            None => false,
        };
        if !expected {
            let after = state.cause(process);
            let on_signal = signal.map(|signal| format!(" on SIG{signal}")).unwrap_or_default();
            let log = tail(&self.log(process)).unwrap_or_default();
            let cause = after.map_or("without a cause".into(), |after| format!("after {after}"));
            print(&format!("process {process} exited{on_signal} with {status}, {cause}"));
            state.exits.push(Exit { process, status: format!("{status}{on_signal}"), after, log });
        }
    }

    fn spawn(&self, process: usize) -> std::io::Result<Child> {
        let mut log = OpenOptions::new().create(true).append(true).open(self.log(process))?;
        writeln!(log, "--- start")?;
        let mut command = Command::new(&self.env.binary);
        command.args(["run", "--config"]).arg(self.env.config(process)).current_dir(&self.env.dir);
        if let Some(inject_fault) = &self.inject_fault {
            command.env("FUNNELWATCH_INJECT_FAULT", inject_fault);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()
    }

    /// Starts a process after a delay.
    pub(crate) fn start(&self, process: usize, delay: Duration) {
        let process = &mut self.state().processes[process];
        (process.should_run, process.start_at) = (true, Some(Instant::now() + delay));
    }

    /// The running processes, without suspended and exiting ones, and how long they have been running.
    pub(crate) fn running(&self) -> Vec<(usize, Duration)> {
        let state = self.state();
        let runs = |process: &Process| process.child.is_some() && process.signal.is_none() && !process.suspended;
        let all = state.processes.iter().enumerate().filter(|(_, process)| runs(process));
        all.map(|(index, process)| (index, process.started.map_or(Duration::ZERO, |at| at.elapsed()))).collect()
    }

    pub(crate) fn all_exited(&self) -> bool {
        self.state().processes.iter().all(|process| process.child.is_none())
    }

    /// Sends SIGKILL. The process is restarted with this delay after its exit, or not at all.
    pub(crate) fn kill(&self, process: usize, restart_after: Option<Duration>) {
        self.signal(process, "KILL", restart_after);
    }

    /// Sends SIGTERM; otherwise like `kill`.
    pub(crate) fn terminate(&self, process: usize, restart_after: Option<Duration>) {
        self.signal(process, "TERM", restart_after);
    }

    fn signal(&self, index: usize, signal: &'static str, restart_after: Option<Duration>) {
        let mut state = self.state();
        let process = &mut state.processes[index];
        process.should_run = restart_after.is_some();
        process.restart_after = restart_after.unwrap_or_default();
        if let Some(child) = &process.child {
            process.signal = Some(signal);
            self.env.note(&format!("process {index} gets SIG{signal}"));
            send(child, signal);
        }
    }

    /// Sends SIGSTOP.
    pub(crate) fn suspend(&self, process: usize) {
        let process = &mut self.state().processes[process];
        if let Some(child) = &process.child {
            process.suspended = true;
            send(child, "STOP");
        }
    }

    /// Sends SIGCONT.
    pub(crate) fn resume(&self, process: usize) {
        let process = &mut self.state().processes[process];
        process.suspended = false;
        if let Some(child) = &process.child {
            send(child, "CONT");
        }
    }

    /// From now on, exits of one process, or of all, may be caused by this fault.
    pub(crate) fn begin_fault(&self, what: &'static str, process: Option<usize>) {
        self.env.note(&format!("{what} {process:?} begins"));
        self.state().faults.push((what, process, None));
    }

    /// The fault has ended.
    pub(crate) fn end_fault(&self, what: &'static str, process: Option<usize>) {
        self.env.note(&format!("{what} {process:?} ends"));
        let mut state = self.state();
        let mut open = state.faults.iter_mut().rev().filter(|(_, _, ended)| ended.is_none());
        if let Some(fault) = open.find(|fault| (fault.0, fault.1) == (what, process)) {
            fault.2 = Some(Instant::now());
        }
    }

    /// Whether a fault is active or ended within the last seconds.
    pub(crate) fn has_recent_fault(&self) -> bool {
        let recent = |ended: Option<Instant>| ended.is_none_or(|ended| ended.elapsed() < Duration::from_secs(5));
        self.state().faults.iter().any(|(_, _, ended)| recent(*ended))
    }

    pub(crate) fn exits(&self) -> Vec<Exit> {
        self.state().exits.clone()
    }

    pub(crate) fn starts(&self) -> u64 {
        self.state().starts
    }
}

impl State {
    /// The last fault that may have made this process exit.
    fn cause(&self, process: usize) -> Option<&'static str> {
        let recent = |ended: Option<Instant>| ended.is_none_or(|ended| ended.elapsed() < ATTRIBUTION);
        let mut faults = self.faults.iter().rev();
        let fault = faults.find(|(_, target, ended)| target.is_none_or(|target| target == process) && recent(*ended));
        fault.map(|(what, ..)| *what)
    }
}

/// Sends a signal with the program `kill`: a system call would need `unsafe` or another dependency.
fn send(child: &Child, signal: &str) {
    let status = Command::new("kill").args(["-s", signal, &child.id().to_string()]).stderr(Stdio::null()).status();
    if let Err(error) = status {
        print(&format!("kill -s {signal}: {error}"));
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
