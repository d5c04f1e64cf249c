//! Owns the output of log lines: nobody has to read them. A pipe that is full, or a terminal that was stopped, takes no
//! more lines, and what writes them must not wait for it.
//!
//! *Alternative considered*: a queue with a thread of its own. The lines would be out of order with what commands print,
//! and the last ones before an exit would have to be awaited.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// How long a line waits for a reader, if the line before it found one.
const PATIENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
const NO_TIME: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
/// A pipe that can be written takes so many bytes without a wait (`PIPE_BUF`, `man 7 pipe`).
const PIPE_BYTES: usize = 4096;

static LOST: AtomicU64 = AtomicU64::new(0);

/// The number of log lines of this process that were not written, or not to their end.
pub(super) fn lines_lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// The state of an output.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// The last line waited in vain.
    blocked: bool,
    /// The last line was written in part.
    cut: bool,
}

/// Writes lines, each in one call. One that nobody reads is lost.
pub(super) struct LogOutput<'a, W>(pub(super) &'a Mutex<Output>, pub(super) W);

impl<W: Write + AsFd> Write for LogOutput<'_, W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let end_of_last: &[u8] = if state.cut { b"\n" } else { b"" };
        for part in end_of_last.chunks(1).chain(line.chunks(PIPE_BYTES)) {
            if !is_ready(&self.1, state.blocked) {
                state.blocked = true;
                LOST.fetch_add(1, Ordering::Relaxed);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.1.write_all(part)?;
            *state = Output { blocked: false, cut: !part.ends_with(b"\n") };
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.1.flush()
    }
}

/// Whether a write returns at once. If that cannot be found out, it is tried.
fn is_ready(output: &impl AsFd, blocked: bool) -> bool {
    let timeout = if blocked { NO_TIME } else { PATIENCE };
    poll(&mut [PollFd::new(output, PollFlags::OUT)], Some(&timeout)).map_or(true, |ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::time::{Duration, Instant};

    #[test]
    fn lines_that_nobody_reads_are_lost_and_later_ones_are_written() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let state = Mutex::new(Output::default());
        let mut output = LogOutput(&state, writer);
        let line = [vec![b'x'; 9999], vec![b'\n']].concat();
        let (started, before) = (Instant::now(), lines_lost());
        let written = (0..100).filter(|_| output.write_all(&line).is_ok()).count();
        assert!((1..100).contains(&written), "{written}");
        assert!(started.elapsed() < Duration::from_secs(10), "only the first one waits: {:?}", started.elapsed());
        assert!(lines_lost() >= before + 100 - written as u64);

        // A pipe holds at most 64 KiB. What is read makes room.
        let mut read = vec![0; 40_000];
        reader.read_exact(&mut read).expect("lines");
        output.write_all(b"end\n").expect("there is room");
        drop(output);
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).expect("lines");
        assert!(rest.ends_with(b"\nend\n"), "a line of its own");
    }
}
