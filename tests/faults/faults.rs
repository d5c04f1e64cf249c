//! Injects faults: one seed determines their kinds, times and targets. With ten kills or more every kind occurs, except
//! that `kill_two` and `kill_again` depend on the seed and `broker_minute` needs 200 kills. At the end all processes
//! run, no proxy delays traffic and the broker is up.

use crate::environment::PROCESSES;
use crate::load::Progress;
use crate::monitor::{Cause, Monitor};
use crate::processes::Processes;
use crate::proxy::Proxy;
use crate::random::Random;
use crate::{print, stop_requested};
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The longest pause of fault injection while event time is paused.
const MAX_PAUSE: Duration = Duration::from_secs(15);

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// SIGKILL to one process.
    Kill,
    /// SIGKILL to two processes at once.
    KillTwo,
    /// SIGKILL to one process, and again soon after its restart, while it restores its state.
    KillAgain,
    /// SIGTERM to one process.
    Term,
    /// SIGSTOP for longer than the session timeout, then SIGCONT: a zombie.
    Zombie,
    /// Closes all connections of one process.
    Cut,
    /// Blocks all traffic of one process for some seconds.
    Stall,
    /// Delays all traffic of one process by 50 to 200 ms.
    Slow,
    /// Scales from three processes to one, to three, to two, to three.
    Scale,
    /// Stops the broker cleanly and starts it again.
    BrokerRestart,
    /// Kills the broker and starts it again.
    BrokerKill,
    /// Stops the broker for a minute.
    BrokerMinute,
}

impl Fault {
    const ALL: [Self; 12] = [
        Self::Kill,
        Self::KillTwo,
        Self::KillAgain,
        Self::Term,
        Self::Zombie,
        Self::Cut,
        Self::Stall,
        Self::Slow,
        Self::Scale,
        Self::BrokerRestart,
        Self::BrokerKill,
        Self::BrokerMinute,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::KillTwo => "kill_two",
            Self::KillAgain => "kill_again",
            Self::Term => "term",
            Self::Zombie => "zombie",
            Self::Cut => "cut",
            Self::Stall => "stall",
            Self::Slow => "slow",
            Self::Scale => "scale",
            Self::BrokerRestart => "broker_restart",
            Self::BrokerKill => "broker_kill",
            Self::BrokerMinute => "broker_minute",
        }
    }

    pub(crate) fn named(name: &str) -> Result<Self, String> {
        let known = || format!("expected one of {}", Self::ALL.map(Self::name).join(", "));
        Self::ALL.into_iter().find(|fault| fault.name() == name).ok_or_else(known)
    }

    fn kills(self) -> u32 {
        match self {
            Self::Kill => 1,
            Self::KillTwo | Self::KillAgain => 2,
            _ => 0,
        }
    }

    fn is_broker_fault(self) -> bool {
        matches!(self, Self::BrokerRestart | Self::BrokerKill | Self::BrokerMinute)
    }
}

/// All faults of a run. They are injected from the end of the list.
fn plan(kills: u32, only: &[Fault], random: &mut Random) -> Vec<Fault> {
    let mut faults = Vec::new();
    let enabled = |fault: Fault| only.is_empty() || only.contains(&fault);
    let mut left = kills;
    while left > 0 {
        let sample = random.unit();
        let fault = match left {
            2.. if sample < 0.08 && enabled(Fault::KillTwo) => Fault::KillTwo,
            2.. if sample > 0.90 && enabled(Fault::KillAgain) => Fault::KillAgain,
            _ => Fault::Kill,
        };
        left -= fault.kills();
        faults.push(fault);
    }
    let every = |fault, n: u32, least| match kills {
        0..10 if only.is_empty() => (fault, 0),
        0..10 => (fault, 1),
        _ => (fault, (kills / n).max(least)),
    };
    let others = [
        every(Fault::Term, 10, 2),
        every(Fault::Zombie, 20, 2),
        every(Fault::Cut, 20, 2),
        every(Fault::Stall, 30, 1),
        every(Fault::Slow, 30, 1),
        every(Fault::Scale, 100, 1),
        every(Fault::BrokerRestart, 100, 1),
        every(Fault::BrokerKill, 100, 1),
        every(Fault::BrokerMinute, 1000, u32::from(kills >= 200)),
    ];
    for (fault, times) in others.into_iter().filter(|(fault, _)| enabled(*fault)) {
        faults.extend((0..times).map(|_| fault));
    }
    random.shuffle(&mut faults);
    // The longest faults go to the end, which is injected first, so that a short run does not wait for them.
    if kills < 200 {
        faults.sort_by_key(|fault| matches!(fault, Fault::Scale | Fault::BrokerKill));
    }
    faults
}

/// A later step of a fault.
enum Step {
    KillAgain(usize),
    Resume(usize),
    EndFault(&'static str, usize),
    Scale(u32),
}

/// Injects the faults.
pub(crate) struct Injector {
    random: Random,
    remaining: Vec<Fault>,
    /// Seconds between two faults, on average.
    gap: f64,
    processes: Arc<Processes>,
    monitor: Arc<Monitor>,
    proxies: Vec<Proxy>,
    later: Vec<(Instant, Step)>,
    broker: Option<JoinHandle<bool>>,
    zombie: Option<usize>,
    scaling: bool,
    progress: Arc<Progress>,
    /// The number of injected faults by kind.
    pub(crate) injected: BTreeMap<Fault, u32>,
    /// The number of processes killed.
    pub(crate) kills: u32,
}

impl Injector {
    pub(crate) fn new(
        (seed, kills, gap): (u64, u32, f64),
        only: &[Fault],
        processes: &Arc<Processes>,
        (monitor, progress): (&Arc<Monitor>, &Arc<Progress>),
        proxies: Vec<Proxy>,
    ) -> Self {
        let mut random = Random::new(seed, 1);
        let remaining = plan(kills, only, &mut random);
        let (processes, monitor) = (Arc::clone(processes), Arc::clone(monitor));
        let (later, broker, zombie, scaling) = (Vec::new(), None, None, false);
        let (injected, kills) = (BTreeMap::new(), 0);
        let progress = Arc::clone(progress);
        Self {
            random,
            remaining,
            gap,
            processes,
            monitor,
            proxies,
            later,
            broker,
            zombie,
            scaling,
            progress,
            injected,
            kills,
        }
    }

    /// Injects all faults and waits for their ends; returns `false` if injecting a fault failed or a stop was
    /// requested. Calls `report` repeatedly.
    pub(crate) fn run(&mut self, mut report: impl FnMut(&Self)) -> bool {
        let mut next = Instant::now();
        while !(self.remaining.is_empty() && self.later.is_empty() && self.broker.is_none()) {
            if stop_requested() {
                return false;
            }
            self.do_steps();
            if self.broker.as_ref().is_some_and(JoinHandle::is_finished)
                && !self.broker.take().is_some_and(|broker| broker.join().unwrap_or(false))
            {
                print("the broker could not be stopped or started");
                return false;
            }
            // Faults in a group that makes no progress test nothing.
            let stalled = self.progress.paused.load(Ordering::Relaxed) && next.elapsed() < MAX_PAUSE;
            if next <= Instant::now() && !stalled {
                self.inject_next();
                next = Instant::now() + self.random.seconds(0.2, 2.0 * self.gap - 0.2);
            }
            report(self);
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }

    /// Injects the next fault that is currently possible.
    fn inject_next(&mut self) {
        let possible = |fault: &Fault| match fault {
            fault if fault.is_broker_fault() => self.broker.is_none(),
            Fault::Zombie => self.zombie.is_none() && !self.scaling,
            Fault::Scale => self.zombie.is_none() && !self.scaling,
            _ => true,
        };
        let Some(index) = self.remaining.iter().rposition(possible) else { return };
        let fault = self.remaining[index];
        let running = self.processes.running();
        if running.len() < if fault == Fault::KillTwo { 2 } else { 1 } {
            return;
        }
        self.remaining.remove(index);
        let first = self.random.below(running.len());
        self.start(fault, running[first].0, running[(first + 1) % running.len()].0);
        *self.injected.entry(fault).or_default() += 1;
    }

    fn start(&mut self, fault: Fault, process: usize, other: usize) {
        match fault {
            Fault::Kill => self.kill(process, 3.0),
            Fault::KillTwo => {
                self.kill(process, 3.0);
                self.kill(other, 3.0);
            }
            Fault::KillAgain => {
                self.kill(process, 0.0);
                let time = self.random.seconds(0.1, 2.0);
                self.later(time, Step::KillAgain(process));
            }
            Fault::Term => {
                self.monitor.process_stopped(process, Cause::Term, self.is_disturbed());
                let restart_after = self.random.seconds(0.0, 3.0);
                self.processes.terminate(process, Some(restart_after));
            }
            Fault::Zombie => {
                self.begin_fault("zombie", Some(process));
                self.zombie = Some(process);
                self.processes.suspend(process);
                let time = self.random.seconds(8.0, 10.0);
                self.later(time, Step::Resume(process));
            }
            Fault::Cut => {
                self.begin_fault("cut", Some(process));
                self.proxies[process].cut();
                self.later(Duration::ZERO, Step::EndFault("cut", process));
            }
            Fault::Stall | Fault::Slow => {
                let name = fault.name();
                let time = self.random.seconds(2.0, 6.0);
                self.begin_fault(name, Some(process));
                match fault {
                    Fault::Stall => self.proxies[process].stall(time),
                    _ => self.proxies[process].slow(time),
                }
                self.later(time, Step::EndFault(name, process));
            }
            Fault::Scale => {
                self.scaling = true;
                self.monitor.disturb();
                self.later(Duration::ZERO, Step::Scale(0));
            }
            _ => self.broker(fault),
        }
    }

    fn kill(&mut self, process: usize, max_delay: f64) {
        self.monitor.process_stopped(process, Cause::Kill, self.is_disturbed());
        let restart_after = self.random.seconds(0.0, max_delay);
        self.processes.kill(process, Some(restart_after));
        self.kills += 1;
    }

    fn is_disturbed(&self) -> bool {
        self.scaling || self.processes.has_recent_fault()
    }

    fn begin_fault(&self, what: &'static str, process: Option<usize>) {
        self.monitor.disturb();
        self.processes.begin_fault(what, process);
    }

    fn later(&mut self, time: Duration, step: Step) {
        self.later.push((Instant::now() + time, step));
    }

    fn do_steps(&mut self) {
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.later).into_iter().partition(|(at, _)| *at <= now);
        self.later = later;
        for (_, step) in due {
            let step: Step = step;
            match step {
                Step::KillAgain(process) => {
                    if self.processes.running().iter().any(|(running, _)| *running == process) {
                        self.kill(process, 3.0);
                    } else {
                        self.later(Duration::from_millis(100), Step::KillAgain(process));
                    }
                }
                Step::Resume(process) => {
                    self.processes.resume(process);
                    self.processes.end_fault("zombie", Some(process));
                    self.zombie = None;
                }
                Step::EndFault(what, process) => self.processes.end_fault(what, Some(process)),
                Step::Scale(stage) => self.scale(stage),
            }
        }
    }

    /// Each stage lasts longer than a session, so that the others take over the shards with static membership, too.
    fn scale(&mut self, stage: u32) {
        let stopped: &[usize] = match stage {
            0 => &[1, 2],
            2 => &[0],
            _ => &[],
        };
        for process in 0..PROCESSES {
            if stopped.contains(&process) {
                self.monitor.process_stopped(process, Cause::Term, true);
                self.processes.terminate(process, None);
            } else {
                self.processes.start(process, Duration::ZERO);
            }
        }
        match stage {
            3 => self.scaling = false,
            _ => self.later(Duration::from_secs(if stopped.is_empty() { 4 } else { 9 }), Step::Scale(stage + 1)),
        }
    }

    fn broker(&mut self, fault: Fault) {
        self.begin_fault("broker", None);
        let (processes, monitor) = (Arc::clone(&self.processes), Arc::clone(&self.monitor));
        let downtime = match fault {
            Fault::BrokerMinute => Duration::from_secs(60),
            _ => self.random.seconds(0.0, 2.0),
        };
        self.broker = Some(std::thread::spawn(move || {
            let arguments: &[&str] = if fault == Fault::BrokerKill { &["--kill"] } else { &[] };
            let stopped = script("kafka-stop", arguments);
            std::thread::sleep(downtime);
            let started = script("kafka-start", &[]);
            monitor.disturb();
            processes.end_fault("broker", None);
            stopped && started
        }));
    }

    /// Ends all faults: waits for the broker, and resumes and starts all processes.
    pub(crate) fn restore(&mut self) {
        if let Some(broker) = self.broker.take() {
            let _ = broker.join();
        }
        for process in 0..PROCESSES {
            self.processes.resume(process);
            self.processes.start(process, Duration::ZERO);
        }
    }
}

fn script(name: &str, arguments: &[&str]) -> bool {
    let path = format!("{}/tests/services/{name}", env!("CARGO_MANIFEST_DIR"));
    let status =
        Command::new(path).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
