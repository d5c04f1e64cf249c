//! Owns the terminal: the demo's live table of managers with the newest alerts, or plain lines where nobody watches.

use crate::domain::alert::{Alert, Status};
use crate::domain::id::{DepartmentId, UNKNOWN};
use crate::domain::row::{Figures, NowFigures, Row, Subject, WindowFigures};
use crate::domain::rule::{self, Language};
use crate::domain::time::{Span, Timestamp};
use crossterm::style::Stylize;
use crossterm::{cursor, queue, terminal};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

/// How many alerts are kept to be shown.
const ALERTS: usize = 200;
/// How many of them a table shows.
const NEWEST: usize = 12;

/// The newest alerts, as lines.
#[derive(Debug, Default)]
pub struct Newest {
    lines: VecDeque<String>,
    /// How many were seen since the start.
    pub seen: u64,
}

impl Newest {
    /// Takes in an alert.
    pub fn push(&mut self, alert: &Alert) {
        self.seen += 1;
        self.lines.push_back(line(alert));
        if self.lines.len() > ALERTS {
            self.lines.pop_front();
        }
    }

    /// Hands out what came since the last call, for plain output.
    pub fn drain(&mut self) -> impl Iterator<Item = String> {
        self.lines.drain(..)
    }
}

/// `10:25:00 FIRING    vera       lead:L12 had no response within 15 min …`
fn line(alert: &Alert) -> String {
    let manager = alert.manager.as_ref().map_or("nobody", |manager| manager.as_str());
    let message = rule::message(alert, Language::En);
    format!("{} {:9} {:10} {message}", time_of_day(alert.at), alert.status.name(), manager)
}

/// The simulated hour, in the calendar of the demo (Moscow, UTC+3 all year).
fn time_of_day(at: Timestamp) -> String {
    let seconds = (at.0 + 3 * Span::HOUR.0).div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// What is shown of a manager.
#[derive(Default)]
struct Shown<'a> {
    window: Option<&'a WindowFigures>,
    now: Option<&'a NowFigures>,
}

/// The table of managers over the window called `window`, one line each, worst first.
pub fn table(rows: &[Row], window: &str) -> Vec<String> {
    let mut managers = BTreeMap::<(&str, &str, &str), Shown<'_>>::new();
    for row in rows {
        let Subject::Manager(id) = &row.subject else { continue };
        let department = row.department.as_ref().map_or(UNKNOWN, DepartmentId::as_str);
        let shown = managers.entry((row.tenant.as_str(), department, id.as_str())).or_default();
        match &row.figures {
            Figures::Window(_, figures) if row.figures.window() == window => shown.window = Some(figures),
            Figures::Now(figures) => shown.now = Some(figures),
            Figures::Window(..) => {}
        }
    }
    let mut lines = vec![format!(
        "{:10} {:11} {:9} {:>5} {:>7} {:>9} {:>9} {:>8} {:>6} {:>7} {:>6} {:>6}",
        "company",
        "department",
        "manager",
        "leads",
        "waiting",
        "answer50",
        "answer90",
        "in norm",
        "calls",
        "missed",
        "late",
        "open"
    )];
    let mut managers: Vec<_> = managers.into_iter().collect();
    let trouble = |shown: &Shown<'_>| {
        let late: i64 = shown.window.map_or(0, |figures| figures.violations.values().sum());
        let open: i64 = shown.now.map_or(0, |figures| figures.open_alerts.values().sum());
        (late, open)
    };
    managers.sort_by_key(|((tenant, ..), shown)| (*tenant, std::cmp::Reverse(trouble(shown))));
    for ((tenant, department, manager), shown) in &managers {
        let (late, open) = trouble(shown);
        let empty = WindowFigures::default();
        let window = shown.window.unwrap_or(&empty);
        let lags = &window.first_response_wall;
        let lag = |seconds: f64| if lags.n > 0 { minutes(seconds) } else { "-".into() };
        let within =
            window.first_response_within_norm.ratio().map_or("-".into(), |ratio| format!("{:.0} %", ratio * 100.0));
        let calls = window.calls.inbound_answered + window.calls.outbound_answered + window.calls.outbound_unanswered;
        lines.push(format!(
            "{tenant:10} {department:11} {manager:9} {:>5} {:>7} {:>9} {:>9} {within:>8} {calls:>6} {:>7} {late:>6} {open:>6}",
            window.leads_received,
            shown.now.map_or(0, |now| now.awaiting_first_response),
            lag(lags.p50_seconds),
            lag(lags.p90_seconds),
            shown.now.map_or(0, |now| now.unreturned_calls),
        ));
    }
    lines
}

fn minutes(seconds: f64) -> String {
    let seconds = seconds.round() as i64;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// Draws the table on a terminal, or says new lines on anything else.
pub struct Screen {
    live: bool,
}

impl Screen {
    /// A screen on standard output; `live` if that is a terminal.
    pub fn open() -> io::Result<Self> {
        let live = io::stdout().is_terminal();
        if live {
            queue!(io::stdout(), terminal::EnterAlternateScreen, cursor::Hide)?;
        }
        Ok(Self { live })
    }

    /// Shows how things stand at simulated time `at`.
    pub fn show(&self, at: Timestamp, head: &str, rows: &[Row], newest: &mut Newest) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if !self.live {
            for line in newest.drain() {
                writeln!(out, "{line}")?;
            }
            return out.flush();
        }
        let (width, height) = terminal::size().unwrap_or((120, 40));
        queue!(out, cursor::MoveTo(0, 0), terminal::Clear(terminal::ClearType::All))?;
        let mut text = String::new();
        let _ = writeln!(text, "{head}   simulated time {}   last hour", time_of_day(at));
        let table = table(rows, "1h");
        let room = usize::from(height).saturating_sub(table.len() + 4).min(NEWEST);
        for (number, line) in text.lines().map(str::to_owned).chain(table).enumerate() {
            let line: String = line.chars().take(width.into()).collect();
            match number {
                0 | 1 => writeln!(out, "{}\r", line.bold())?,
                _ => writeln!(out, "{line}\r")?,
            }
        }
        writeln!(out, "\r\n{}\r", "newest alerts".bold())?;
        for line in newest.lines.iter().rev().take(room) {
            let cut: String = line.chars().take(width.into()).collect();
            if line.contains(Status::Firing.name()) || line.contains(Status::Escalated.name()) {
                writeln!(out, "{}\r", cut.red())?;
            } else {
                writeln!(out, "{}\r", cut.green())?;
            }
        }
        out.flush()
    }

    /// Gives the terminal back and says how things stood at the end.
    pub fn close(self, rows: &[Row], seen: u64) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.live {
            queue!(out, terminal::LeaveAlternateScreen, cursor::Show)?;
        }
        writeln!(out)?;
        for line in table(rows, "1h") {
            writeln!(out, "{line}")?;
        }
        writeln!(
            out,
            "\n{seen} alert statuses. answer50/answer90: first-response lag, median and 90th percentile, min:s;"
        )?;
        writeln!(
            out,
            "in norm: leads answered by their deadline; missed: contacts whose missed call nobody returned;"
        )?;
        writeln!(out, "late: violations of the last hour; open: alerts that are open now.")?;
        out.flush()
    }
}
