//! Owns the faults: which, when, to whom, all thrown by one seed. Promises that every kind comes up when there are ten
//! kills or more, and that at the end everybody runs, no proxy disturbs and the broker is there.

use crate::dice::Dice;
use crate::load::Progress;
use crate::processes::Processes;
use crate::proxy::Proxy;
use crate::site::PROCESSES;
use crate::watch::{Cause, Watch};
use crate::{asked_to_stop, say};
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// So long faults rest at most, until the group gets on again.
const REST: Duration = Duration::from_secs(15);

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// kill -9 of one process.
    Kill,
    /// Of two at once.
    KillTwo,
    /// Of one, and again soon after it was started again: while it restores its state.
    KillAgain,
    /// SIGTERM.
    Term,
    /// SIGSTOP for longer than the session lasts, then SIGCONT: a zombie.
    Zombie,
    /// All connections of one process break.
    Cut,
    /// Nothing comes through to or from one process for some seconds.
    Stall,
    /// Everything comes 50 to 200 ms later for one process.
    Slow,
    /// From three processes to one, to three, to two, to three.
    Scale,
    /// The broker is stopped in order and started.
    BrokerRestart,
    /// The broker is killed and started.
    BrokerKill,
    /// The broker is away for a minute.
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
        let known = || format!("one of {}", Self::ALL.map(Self::name).join(", "));
        Self::ALL.into_iter().find(|fault| fault.name() == name).ok_or_else(known)
    }

    fn kills(self) -> u32 {
        match self {
            Self::Kill => 1,
            Self::KillTwo | Self::KillAgain => 2,
            _ => 0,
        }
    }

    fn is_brokers(self) -> bool {
        matches!(self, Self::BrokerRestart | Self::BrokerKill | Self::BrokerMinute)
    }
}

/// What is to come, in order.
fn deck(kills: u32, only: &[Fault], dice: &mut Dice) -> Vec<Fault> {
    let mut deck = Vec::new();
    let may = |fault: Fault| only.is_empty() || only.contains(&fault);
    let mut left = kills;
    while left > 0 {
        let throw = dice.unit();
        let fault = match left {
            2.. if throw < 0.08 && may(Fault::KillTwo) => Fault::KillTwo,
            2.. if throw > 0.90 && may(Fault::KillAgain) => Fault::KillAgain,
            _ => Fault::Kill,
        };
        left -= fault.kills();
        deck.push(fault);
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
    for (fault, times) in others.into_iter().filter(|(fault, _)| may(*fault)) {
        deck.extend((0..times).map(|_| fault));
    }
    dice.shuffle(&mut deck);
    // Drawn from the end: what takes longest comes first, so that a short run does not wait for it.
    if kills < 200 {
        deck.sort_by_key(|fault| matches!(fault, Fault::Scale | Fault::BrokerKill));
    }
    deck
}

/// What follows of a fault later.
enum Step {
    KillAgain(usize),
    GoOn(usize),
    Relax(&'static str, usize),
    Scale(u32),
}

/// Brings the faults about.
pub(crate) struct Director {
    dice: Dice,
    deck: Vec<Fault>,
    /// Seconds between two faults, on average.
    gap: f64,
    processes: Arc<Processes>,
    watch: Arc<Watch>,
    proxies: Vec<Proxy>,
    later: Vec<(Instant, Step)>,
    broker: Option<JoinHandle<bool>>,
    zombie: Option<usize>,
    scaling: bool,
    progress: Arc<Progress>,
    /// Faults done, and kills among them.
    pub(crate) done: BTreeMap<Fault, u32>,
    pub(crate) kills: u32,
}

impl Director {
    pub(crate) fn new(
        (seed, kills, gap): (u64, u32, f64),
        only: &[Fault],
        processes: &Arc<Processes>,
        (watch, progress): (&Arc<Watch>, &Arc<Progress>),
        proxies: Vec<Proxy>,
    ) -> Self {
        let mut dice = Dice::new(seed, 1);
        let deck = deck(kills, only, &mut dice);
        let (processes, watch) = (Arc::clone(processes), Arc::clone(watch));
        let (later, broker, zombie, scaling) = (Vec::new(), None, None, false);
        let (done, kills) = (BTreeMap::new(), 0);
        let progress = Arc::clone(progress);
        Self { dice, deck, gap, processes, watch, proxies, later, broker, zombie, scaling, progress, done, kills }
    }

    /// Until all faults are done and over; `false` if something went wrong with a fault itself, or it was asked to stop.
    /// `tell` is called again and again.
    pub(crate) fn run(&mut self, mut tell: impl FnMut(&Self)) -> bool {
        let mut next = Instant::now();
        while !(self.deck.is_empty() && self.later.is_empty() && self.broker.is_none()) {
            if asked_to_stop() {
                return false;
            }
            self.do_steps();
            if self.broker.as_ref().is_some_and(JoinHandle::is_finished)
                && !self.broker.take().is_some_and(|broker| broker.join().unwrap_or(false))
            {
                say("the broker could not be stopped or started");
                return false;
            }
            // Kills that hit a group in which nothing happens any more prove nothing.
            let idles = self.progress.stands.load(Ordering::Relaxed) && next.elapsed() < REST;
            if next <= Instant::now() && !idles {
                self.draw();
                next = Instant::now() + self.dice.seconds(0.2, 2.0 * self.gap - 0.2);
            }
            tell(self);
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }

    /// The next fault that can be done now.
    fn draw(&mut self) {
        let can = |fault: &Fault| match fault {
            fault if fault.is_brokers() => self.broker.is_none(),
            Fault::Zombie => self.zombie.is_none() && !self.scaling,
            Fault::Scale => self.zombie.is_none() && !self.scaling,
            _ => true,
        };
        let Some(place) = self.deck.iter().rposition(can) else { return };
        let fault = self.deck[place];
        let running = self.processes.running();
        if running.len() < if fault == Fault::KillTwo { 2 } else { 1 } {
            return;
        }
        self.deck.remove(place);
        let first = self.dice.below(running.len());
        self.start(fault, running[first].0, running[(first + 1) % running.len()].0);
        *self.done.entry(fault).or_default() += 1;
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
                let time = self.dice.seconds(0.1, 2.0);
                self.later(time, Step::KillAgain(process));
            }
            Fault::Term => {
                self.watch.stopped(process, Cause::Term, self.is_strained());
                let back = self.dice.seconds(0.0, 3.0);
                self.processes.terminate(process, Some(back));
            }
            Fault::Zombie => {
                self.strain("zombie", Some(process));
                self.zombie = Some(process);
                self.processes.halt(process);
                let time = self.dice.seconds(8.0, 10.0);
                self.later(time, Step::GoOn(process));
            }
            Fault::Cut => {
                self.strain("cut", Some(process));
                self.proxies[process].cut();
                self.later(Duration::ZERO, Step::Relax("cut", process));
            }
            Fault::Stall | Fault::Slow => {
                let name = fault.name();
                let time = self.dice.seconds(2.0, 6.0);
                self.strain(name, Some(process));
                match fault {
                    Fault::Stall => self.proxies[process].stall(time),
                    _ => self.proxies[process].slow(time),
                }
                self.later(time, Step::Relax(name, process));
            }
            Fault::Scale => {
                self.scaling = true;
                self.watch.disturb();
                self.later(Duration::ZERO, Step::Scale(0));
            }
            _ => self.broker(fault),
        }
    }

    fn kill(&mut self, process: usize, longest: f64) {
        self.watch.stopped(process, Cause::Kill, self.is_strained());
        let back = self.dice.seconds(0.0, longest);
        self.processes.kill(process, Some(back));
        self.kills += 1;
    }

    fn is_strained(&self) -> bool {
        self.scaling || self.processes.is_strained()
    }

    fn strain(&self, what: &'static str, process: Option<usize>) {
        self.watch.disturb();
        self.processes.strain(what, process);
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
                    if self.processes.running().iter().any(|(number, _)| *number == process) {
                        self.kill(process, 3.0);
                    } else {
                        self.later(Duration::from_millis(100), Step::KillAgain(process));
                    }
                }
                Step::GoOn(process) => {
                    self.processes.go_on(process);
                    self.processes.relax("zombie", Some(process));
                    self.zombie = None;
                }
                Step::Relax(what, process) => self.processes.relax(what, Some(process)),
                Step::Scale(stage) => self.scale(stage),
            }
        }
    }

    /// Longer than a session at each stage, so that the others take the shards over whatever the kind of membership.
    fn scale(&mut self, stage: u32) {
        let away: &[usize] = match stage {
            0 => &[1, 2],
            2 => &[0],
            _ => &[],
        };
        for process in 0..PROCESSES {
            if away.contains(&process) {
                self.watch.stopped(process, Cause::Term, true);
                self.processes.terminate(process, None);
            } else {
                self.processes.start(process, Duration::ZERO);
            }
        }
        match stage {
            3 => self.scaling = false,
            _ => self.later(Duration::from_secs(if away.is_empty() { 4 } else { 9 }), Step::Scale(stage + 1)),
        }
    }

    fn broker(&mut self, fault: Fault) {
        self.strain("broker", None);
        let (processes, watch) = (Arc::clone(&self.processes), Arc::clone(&self.watch));
        let away = match fault {
            Fault::BrokerMinute => Duration::from_secs(60),
            _ => self.dice.seconds(0.0, 2.0),
        };
        self.broker = Some(std::thread::spawn(move || {
            let kill: &[&str] = if fault == Fault::BrokerKill { &["--kill"] } else { &[] };
            let stopped = script("kafka-stop", kill);
            std::thread::sleep(away);
            let started = script("kafka-start", &[]);
            watch.disturb();
            processes.relax("broker", None);
            stopped && started
        }));
    }

    /// Brings everything back, however it was left.
    pub(crate) fn restore(&mut self) {
        if let Some(broker) = self.broker.take() {
            let _ = broker.join();
        }
        for process in 0..PROCESSES {
            self.processes.go_on(process);
            self.processes.start(process, Duration::ZERO);
        }
    }
}

fn script(name: &str, words: &[&str]) -> bool {
    let path = format!("{}/tests/services/{name}", env!("CARGO_MANIFEST_DIR"));
    let status =
        Command::new(path).args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
