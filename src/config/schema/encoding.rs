//! Names the probable encoding of a file that is not UTF-8.

use std::fmt;

/// A file is not UTF-8. Displayed with the probable encoding.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotUtf8 {
    /// The first line that is not UTF-8, from 1.
    line: usize,
    probably: &'static str,
}

impl fmt::Display for NotUtf8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, probably } = self;
        write!(f, "not UTF-8 (line {line}) but probably {probably}; save it as UTF-8")
    }
}

impl std::error::Error for NotUtf8 {}

/// The text of a file.
pub(crate) fn decode(bytes: Vec<u8>) -> Result<String, NotUtf8> {
    // UTF-16 without a mark can be valid UTF-8 that is full of zeros.
    if let Some(probably) = utf_16(&bytes) {
        return Err(NotUtf8 { line: 1, probably });
    }
    String::from_utf8(bytes).map_err(|error| {
        let (valid, rest) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        NotUtf8 { line, probably: single_byte(rest) }
    })
}

/// Recognizes UTF-16 by its mark or by the zeros in its ASCII characters.
fn utf_16(bytes: &[u8]) -> Option<&'static str> {
    let [even, odd] = [0, 1].map(|first| bytes.iter().skip(first).step_by(2).filter(|byte| **byte == 0).count());
    match bytes {
        [0xff, 0xfe, ..] => Some("UTF-16 little-endian"),
        [0xfe, 0xff, ..] => Some("UTF-16 big-endian"),
        _ if (even + odd) * 4 < bytes.len() || even + odd == 0 => None,
        _ if odd >= even => Some("UTF-16 little-endian"),
        _ => Some("UTF-16 big-endian"),
    }
}

/// Distinguishes two encodings of one byte per letter: letters beyond ASCII follow each other in Cyrillic words, and are
/// single in words of Western Europe.
fn single_byte(bytes: &[u8]) -> &'static str {
    let is_letter = |byte: &u8| *byte >= 0xc0;
    let letters = bytes.iter().filter(|byte| is_letter(byte)).count();
    let pairs = bytes.windows(2).filter(|pair| pair.iter().all(is_letter)).count();
    if pairs * 2 > letters { "windows-1251" } else { "latin-1 (ISO 8859-1, windows-1252)" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flaw(bytes: &[u8]) -> Option<String> {
        decode(bytes.to_vec()).err().map(|error| error.to_string())
    }

    fn utf_16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn the_probable_encoding_is_named() {
        let not =
            |line, probably: &str| Some(format!("not UTF-8 (line {line}) but probably {probably}; save it as UTF-8"));
        for text in ["", "a", "language: ru", "# Часы\n", "\u{feff}a: b\n", "a\0b: c, d"] {
            assert_eq!(flaw(text.as_bytes()), None, "{text:?}");
        }
        let text = "# Часы\ncalendar: moscow\n";
        for text in [text.to_owned(), format!("\u{feff}{text}"), format!("\u{feff}# {}", "часы ".repeat(20))] {
            assert_eq!(flaw(&utf_16(&text, u16::to_le_bytes)), not(1, "UTF-16 little-endian"), "{text}");
            assert_eq!(flaw(&utf_16(&text, u16::to_be_bytes)), not(1, "UTF-16 big-endian"), "{text}");
        }
        // "# Часы работы" and "# Öffnungszeiten für Köln".
        let moscow = b"calendar: a\n# \xd7\xe0\xf1\xfb \xf0\xe0\xe1\xee\xf2\xfb\n";
        assert_eq!(flaw(moscow), not(2, "windows-1251"));
        let cologne = b"# \xd6ffnungszeiten f\xfcr K\xf6ln\n";
        assert_eq!(flaw(cologne), not(1, "latin-1 (ISO 8859-1, windows-1252)"));
        assert!(flaw(b"\xff").is_some() && flaw(b"a\n\x80").is_some());
    }
}
