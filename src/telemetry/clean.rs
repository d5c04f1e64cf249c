//! Text from outside, made safe to show: in logs, in tables, on terminals.

use std::fmt::Write as _;
use std::io::{self, Write};

/// The text with control characters, marks that reverse the direction of text, and invisible letters escaped, so that ids
/// from sources can neither control a terminal nor look like others.
pub fn clean(text: &str) -> String {
    escape(
        text,
        |letter| letter.is_control() || is_deceptive(letter),
        |out, letter| out.extend(letter.escape_unicode()),
    )
}

/// Whether a letter changes how others are displayed, or is not displayed itself
/// (<https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters>, general category `Cf`).
fn is_deceptive(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    )
}

fn escape(text: &str, is_escaped: impl Fn(char) -> bool, write: impl Fn(&mut String, char)) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_escaped(letter) { write(&mut out, letter) } else { out.push(letter) }
    }
    out
}

/// Writes log lines without deceptive letters. The formatter of log lines escapes control characters itself.
///
/// An error of the writer is ignored: a full disk must not end the process.
pub(super) struct CleanLog<W>(pub(super) W);

impl<W: Write> Write for CleanLog<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let written = match str::from_utf8(line) {
            Ok(text) if text.chars().any(is_deceptive) => self.0.write_all(escape(text, is_deceptive, json).as_bytes()),
            _ => self.0.write_all(line),
        };
        drop(written);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        drop(self.0.flush());
        Ok(())
    }
}

/// The escape of JSON, which is valid in log lines of both formats.
fn json(out: &mut String, letter: char) {
    for unit in letter.encode_utf16(&mut [0; 2]) {
        // Writing to a string cannot fail.
        let _ = write!(out, "\\u{unit:04x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_controls_or_deceives_is_escaped() {
        assert_eq!(clean("a\u{1b}[2Jb\nc é"), "a\\u{1b}[2Jb\\u{a}c é");
        assert_eq!(clean("ann\u{202e}bob\u{200b}\u{feff}"), "ann\\u{202e}bob\\u{200b}\\u{feff}");
        assert_eq!(clean("компания 7"), "компания 7");
    }

    #[test]
    fn log_lines_keep_their_form() {
        let mut log = CleanLog(Vec::new());
        log.write_all("{\"lead\":\"a\u{202e}b\u{e0041}\"}\n".as_bytes()).expect("memory");
        log.write_all("\u{1b}[32mINFO\u{1b}[0m компания\n".as_bytes()).expect("memory");
        let text = String::from_utf8(log.0).expect("UTF-8");
        assert_eq!(text, "{\"lead\":\"a\\u202eb\\udb40\\udc41\"}\n\u{1b}[32mINFO\u{1b}[0m компания\n");
    }

    /// A device without space.
    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
    }

    #[test]
    fn a_full_device_is_no_error() {
        let mut log = CleanLog(Full);
        assert!(log.write_all(b"line\n").is_ok() && log.flush().is_ok());
    }
}
