//! Recognizes what an event file is by its beginning, undoes compression and UTF-16, and refuses what it cannot read, with
//! a message that names what the file is and what is wanted.

use crate::codec::Encoding;
use encoding_rs_io::DecodeReaderBytes;
use flate2::read::MultiGzDecoder;
use std::io::{self, BufRead, BufReader, Cursor, Read};

/// A file's contents as read.
pub(super) type Reader = Box<dyn BufRead + Send>;

/// How the events of a file follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// One JSON object per line.
    Lines,
    /// JSON values over any number of lines: arrays of objects, or objects one after another.
    Values,
    /// Length-delimited protobuf records.
    Records,
}

/// How much of a file is looked at.
const BEGINNING: usize = 64 << 10;
const BUFFER: usize = 1 << 20;
/// Compression inside compression is undone this often.
const MAX_LAYERS: usize = 3;

const WANTED: &str = "wanted: events as JSON objects, one a line or in an array, or as protobuf records (.pb); plain or \
                      compressed with gzip or zstd; text as UTF-8, or UTF-16 with a byte order mark";

/// Opens the contents of a file whose name promises `encoding`.
pub(super) fn open(raw: impl Read + Send + 'static, encoding: Encoding) -> io::Result<(Reader, Format)> {
    let (mut beginning, mut reader) = peek(raw)?;
    for _ in 0..MAX_LAYERS {
        (beginning, reader) = match beginning[..] {
            [0x1f, 0x8b, ..] => peek(MultiGzDecoder::new(reader))?,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => peek(zstd::Decoder::with_buffer(reader)?)?,
            _ => break,
        };
    }
    if encoding != Encoding::Json {
        return Ok((reader, Format::Records));
    }
    match beginning[..] {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => return Err(refused("UTF-32 text")),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => (beginning, reader) = peek(DecodeReaderBytes::new(reader))?,
        [0xef, 0xbb, 0xbf, ..] => {
            reader.consume(3);
            beginning.drain(..3);
        }
        _ => {}
    }
    Ok((reader, recognize(&beginning)?))
}

/// The beginning of `raw`, and a reader of all of it.
fn peek(raw: impl Read + Send + 'static) -> io::Result<(Vec<u8>, Reader)> {
    let mut reader = BufReader::with_capacity(BUFFER, raw);
    let mut beginning = Vec::new();
    reader.by_ref().take(BEGINNING as u64).read_to_end(&mut beginning)?;
    Ok((beginning.clone(), Box::new(Cursor::new(beginning).chain(reader))))
}

/// The format of text by its beginning. A file of lines may have some that are no JSON: those are rejected one by one.
fn recognize(beginning: &[u8]) -> io::Result<Format> {
    if let Some(what) = foreign(beginning) {
        return Err(refused(what));
    }
    let mut lines = beginning.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let Some(first) = lines.clone().next() else { return Ok(Format::Lines) };
    match first {
        [b'[', ..] => Ok(Format::Values),
        [b'<', ..] => Err(refused("XML or HTML")),
        _ if lines.any(|line| line.starts_with(b"{")) => Ok(match lines.next() {
            // An object that goes on: a key, or its end.
            Some([b'"' | b'}', ..]) => Format::Values,
            _ => Format::Lines,
        }),
        _ if first.iter().any(|byte| b",;\t".contains(byte)) => Err(refused("CSV")),
        _ => Err(refused("text that is not JSON")),
    }
}

/// What the bytes are, if they are no text.
fn foreign(beginning: &[u8]) -> Option<&'static str> {
    const SIGNATURES: [(&[u8], &str); 12] = [
        (b"PK\x03\x04", "a zip archive or an Excel workbook"),
        (b"\xd0\xcf\x11\xe0", "an Excel workbook"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"Rar!", "a rar archive"),
        (b"BZh", "compressed with bzip2"),
        (b"\xfd7zXZ\0", "compressed with xz"),
        (b"\x04\x22\x4d\x18", "compressed with lz4"),
        (b"PAR1", "a Parquet file"),
        (b"Obj\x01", "an Avro file"),
        (b"ORC", "an ORC file"),
        (b"SQLite format 3\0", "an SQLite database"),
        (b"%PDF", "a PDF document"),
    ];
    let known = SIGNATURES.iter().find(|(signature, _)| beginning.starts_with(signature)).map(|(_, what)| *what);
    known.or_else(|| {
        if beginning.get(257..262) == Some(b"ustar") {
            return Some("a tar archive");
        }
        // Half of the bytes of UTF-16 in Latin script are zero, always at the same parity.
        let zeros = |parity| beginning.iter().skip(parity).step_by(2).take(8).all(|byte| *byte == 0);
        match (beginning.len() >= 4, zeros(0), zeros(1)) {
            (true, true, false) | (true, false, true) => Some("UTF-16 text without a byte order mark"),
            _ => beginning.contains(&0).then_some("binary data"),
        }
    })
}

fn refused(what: &str) -> io::Error {
    io::Error::other(format!("this is {what}; {WANTED}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bytes: &[u8]) -> Result<(Format, Vec<u8>), String> {
        let (mut reader, format) =
            open(Cursor::new(bytes.to_vec()), Encoding::Json).map_err(|error| error.to_string())?;
        let mut contents = Vec::new();
        reader.read_to_end(&mut contents).map_err(|error| error.to_string())?;
        Ok((format, contents))
    }

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        ["\u{feff}", text].concat().encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn text_is_recognized_by_its_first_lines() {
        for (text, format) in [
            ("", Format::Lines),
            ("\n \n", Format::Lines),
            ("{\"a\":1}\n{\"a\":2}\n", Format::Lines),
            ("not json\n{\"a\":1}\n", Format::Lines),
            ("{\"cut off\n{\"a\":1}\n", Format::Lines),
            ("{\"a\":1}", Format::Lines),
            ("[{\"a\":1}]", Format::Values),
            ("\n  [\n", Format::Values),
            ("{\n  \"a\": 1\n}\n{\n", Format::Values),
            ("{\"a\": {},\n\"b\": 1}", Format::Values),
        ] {
            assert_eq!(found(text.as_bytes()), Ok((format, text.into())), "{text}");
        }
    }

    #[test]
    fn marks_and_compression_are_undone_in_any_combination() {
        use std::io::Write;
        let gzip = |bytes: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).expect("in memory");
            encoder.finish().expect("in memory")
        };
        let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).expect("in memory");
        let text = "[{\"имя\": \"😀\"}]\n";
        let plain = text.as_bytes().to_vec();
        for bytes in [
            plain.clone(),
            [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            utf16(text, u16::to_le_bytes),
            utf16(text, u16::to_be_bytes),
        ] {
            for wrapped in [bytes.clone(), gzip(&bytes), zstd(&bytes), gzip(&zstd(&bytes))] {
                assert_eq!(found(&wrapped), Ok((Format::Values, plain.clone())), "{wrapped:?}");
            }
        }
        // Members and frames one after another, as appended logs have them.
        let (one, two) = ("{\"a\":1}\n", "{\"a\":2}\n");
        for pack in [gzip, zstd] {
            let both = [pack(one.as_bytes()), pack(two.as_bytes())].concat();
            assert_eq!(found(&both), Ok((Format::Lines, [one, two].concat().into_bytes())));
        }
    }

    #[test]
    fn anything_else_is_refused_with_its_name() {
        let tar = [&[b'x'; 257][..], b"ustar\0"].concat();
        let cases: [(&[u8], &str); 10] = [
            (b"id;date;phone\n1;2;3\n", "CSV"),
            (b"id\tdate\n", "CSV"),
            (b"dear all\nno events today\n", "text that is not JSON"),
            (b"<?xml version='1.0'?>", "XML or HTML"),
            (b"PK\x03\x04...", "a zip archive or an Excel workbook"),
            (b"\xfd7zXZ\0...", "compressed with xz"),
            (&tar, "a tar archive"),
            (b"{\0\"\0a\0", "UTF-16 text without a byte order mark"),
            (b"\xff\xfe\0\0{\0\0\0", "UTF-32 text"),
            (b"\x0a\x05\0\0abc", "binary data"),
        ];
        for (bytes, what) in cases {
            let message = found(bytes).expect_err(what);
            assert!(message.starts_with(&format!("this is {what}; wanted: events as JSON")), "{message}");
        }
    }
}
