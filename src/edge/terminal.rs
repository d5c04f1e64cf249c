//! The demo's terminal output: a live table of managers with the newest alerts, or plain lines if standard output is
//! not a terminal.

use crate::domain::alert::{Alert, Status};
use crate::domain::figures::row::{Figures, Row, Subject};
use crate::domain::figures::table::{NowFigures, WindowFigures};
use crate::domain::id::{DepartmentId, UNKNOWN};
use crate::domain::rule::message;
use crate::domain::rule::message::Language;
use crate::domain::time::{Span, Timestamp};
use crate::telemetry::clean::clean;
use crossterm::style::Stylize;
use crossterm::{cursor, queue, terminal};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

/// How many of the newest alerts are kept.
const ALERTS: usize = 200;
/// How many of them are shown below the table.
const NEWEST: usize = 12;

/// The newest alerts, as lines.
#[derive(Debug, Default)]
pub struct Newest {
    lines: VecDeque<String>,
    /// Alert statuses since the start.
    pub seen: u64,
}

impl Newest {
    /// Adds an alert.
    pub fn push(&mut self, alert: &Alert) {
        self.seen += 1;
        self.lines.push_back(line(alert));
        if self.lines.len() > ALERTS {
            self.lines.pop_front();
        }
    }

    /// Removes and returns the lines added since the last call, for plain output.
    pub fn drain(&mut self) -> impl Iterator<Item = String> {
        self.lines.drain(..)
    }
}

/// `10:25:00 FIRING    vera       lead:L12 had no response within 15 min …`
fn line(alert: &Alert) -> String {
    let manager = alert.manager.as_ref().map_or("unassigned", |manager| manager.as_str());
    let message = message::of(alert, Language::En);
    clean(&format!("{} {:9} {:10} {message}", time_of_day(alert.at), alert.status.name(), manager))
}

/// The time of day in the demo's calendar (Moscow, UTC+3 all year).
fn time_of_day(at: Timestamp) -> String {
    let seconds = (at.0 + 3 * Span::HOUR.0).div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// The figures of a manager in the table.
#[derive(Default)]
struct ManagerRow<'a> {
    window: Option<&'a WindowFigures>,
    now: Option<&'a NowFigures>,
}

/// The columns of the table, as wide as in its lines.
const HEAD: &str =
    "tenant     department  manager   leads waiting  resp p50  resp p90  in norm  calls  missed   late   open";

/// The table of managers over the window named `window`, one line each, most violations first.
pub fn table(rows: &[Row], window: &str) -> Vec<String> {
    let mut managers = BTreeMap::<(&str, &str, &str), ManagerRow<'_>>::new();
    for row in rows {
        let Subject::Manager(id) = &row.subject else { continue };
        let department = row.department.as_ref().map_or(UNKNOWN, DepartmentId::as_str);
        let entry = managers.entry((row.tenant.as_str(), department, id.as_str())).or_default();
        match &row.figures {
            Figures::Window(_, figures) if row.figures.window() == window => entry.window = Some(figures),
            Figures::Now(figures) => entry.now = Some(figures),
            Figures::Window(..) | Figures::Closing(..) | Figures::Gone(_) => {}
        }
    }
    let mut lines = vec![HEAD.to_owned()];
    let mut managers: Vec<_> = managers.into_iter().collect();
    let problems = |row: &ManagerRow<'_>| {
        let late: i64 = row.window.map_or(0, |figures| figures.violations.values().sum());
        let open: i64 = row.now.map_or(0, |figures| figures.open_alerts.values().sum());
        (late, open)
    };
    managers.sort_by_key(|((tenant, ..), row)| (*tenant, std::cmp::Reverse(problems(row))));
    for ((tenant, department, manager), row) in &managers {
        let [tenant, department, manager] = [tenant, department, manager].map(|id| clean(id));
        let (late, open) = problems(row);
        let empty = WindowFigures::default();
        let window = row.window.unwrap_or(&empty);
        let lags = &window.first_response_wall;
        let lag = |seconds: f64| if lags.n > 0 { minutes(seconds) } else { "-".into() };
        let within =
            window.first_response_within_norm.ratio().map_or("-".into(), |ratio| format!("{:.0} %", ratio * 100.0));
        let calls = window.calls.inbound_answered + window.calls.outbound_answered + window.calls.outbound_unanswered;
        lines.push(format!(
            "{tenant:10} {department:11} {manager:9} {:>5} {:>7} {:>9} {:>9} {within:>8} {calls:>6} {:>7} {late:>6} {open:>6}",
            window.leads_received,
            row.now.map_or(0, |now| now.awaiting_first_response),
            lag(lags.p50_seconds),
            lag(lags.p90_seconds),
            row.now.map_or(0, |now| now.unreturned_calls),
        ));
    }
    lines
}

fn minutes(seconds: f64) -> String {
    let seconds = seconds.round() as i64;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// Draws the table on a terminal; on other outputs prints new alerts as lines.
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

    /// Draws the current figures at simulated time `at`.
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
        let capacity = usize::from(height).saturating_sub(table.len() + 4).min(NEWEST);
        for (index, line) in text.lines().map(str::to_owned).chain(table).enumerate() {
            let line: String = line.chars().take(width.into()).collect();
            match index {
                0 | 1 => writeln!(out, "{}\r", line.bold())?,
                _ => writeln!(out, "{line}\r")?,
            }
        }
        writeln!(out, "\r\n{}\r", "newest alerts".bold())?;
        for line in newest.lines.iter().rev().take(capacity) {
            let cut: String = line.chars().take(width.into()).collect();
            if line.contains(Status::Firing.name()) || line.contains(Status::Escalated.name()) {
                writeln!(out, "{}\r", cut.red())?;
            } else if line.contains(Status::DueSoon.name()) {
                writeln!(out, "{}\r", cut.yellow())?;
            } else {
                writeln!(out, "{}\r", cut.green())?;
            }
        }
        out.flush()
    }

    /// Restores the terminal and prints the final table.
    pub fn close(self, rows: &[Row], seen: u64) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.live {
            queue!(out, terminal::LeaveAlternateScreen, cursor::Show)?;
        }
        writeln!(out)?;
        for line in table(rows, "1h") {
            writeln!(out, "{line}")?;
        }
        writeln!(out, "\n{seen} alert statuses. resp p50/p90: first-response lag, median and 90th percentile, min:s;")?;
        writeln!(
            out,
            "in norm: leads responded to by their deadline; missed: contacts with an unreturned missed call;"
        )?;
        writeln!(out, "late: violations in the last hour; open: alerts open now.")?;
        out.flush()
    }
}
