//! Reads one event file record by record. Undecodable records are passed on; only blank lines are skipped silently.

use super::format::{self, Format, Reader};
use super::message::{ReadError, offset_of};
use crate::codec::Encoding;
use crate::dataflow::epoch::{Batch, Message};
use crate::domain::source::{Offset, Topic};
use std::io::{self, BufRead, Read};
use std::path::Path;

/// Of a longer line or value only so much is kept: more than any accepted message has.
const MAX_RECORD: usize = 17 << 20;

/// One file.
pub(super) struct EventFile {
    path: Box<Path>,
    index: usize,
    reader: Reader,
    format: Format,
    /// Lines or records read so far.
    line: u64,
}

impl EventFile {
    /// Opens the contents of the file at `path`, the `index`-th of a replay.
    pub(super) fn open(
        path: &Path,
        index: usize,
        raw: impl Read + Send + 'static,
        encoding: Encoding,
    ) -> Result<Self, ReadError> {
        let (reader, format) = format::open(raw, encoding).map_err(|cause| ReadError::of_file(path, cause))?;
        Ok(Self { path: path.into(), index, reader, format, line: 0 })
    }

    /// Appends the next record to a batch; `false` at the end.
    pub(super) fn append(&mut self, batch: &mut Batch) -> Result<bool, ReadError> {
        let read = match self.format {
            Format::Lines => self.append_line(batch),
            Format::Values => self.append_value(batch),
            Format::Records => self.append_record(batch),
        };
        read.map_err(|cause| ReadError::of_file(&self.path, cause))
    }

    fn append_line(&mut self, batch: &mut Batch) -> io::Result<bool> {
        loop {
            let start = batch.bytes.len();
            let length = (&mut self.reader).take(MAX_RECORD as u64).read_until(b'\n', &mut batch.bytes)?;
            if length == 0 {
                return Ok(false);
            }
            if length == MAX_RECORD {
                self.reader.skip_until(b'\n')?;
            }
            self.line += 1;
            let line = batch.bytes[start..].trim_ascii_end();
            let end = start + line.len();
            batch.bytes.truncate(end);
            if end > start {
                batch.messages.push(message(offset_of(self.index, self.line), None, start, end));
                return Ok(true);
            }
        }
    }

    /// A value at the top level, or an element of an array there. Its position is the line on which it begins.
    fn append_value(&mut self, batch: &mut Batch) -> io::Result<bool> {
        if !self.skip_to_value()? {
            return Ok(false);
        }
        let (start, line) = (batch.bytes.len(), self.line + 1);
        let mut scan = ValueScan::default();
        let mut ended = false;
        while !ended {
            let read = self.reader.fill_buf()?;
            if read.is_empty() {
                break;
            }
            let length;
            (length, ended) = scan.advance(read);
            let room = MAX_RECORD - (batch.bytes.len() - start);
            batch.bytes.extend_from_slice(&read[..length.min(room)]);
            self.line += lines_in(&read[..length]);
            self.reader.consume(length);
        }
        batch.messages.push(message(offset_of(self.index, line), None, start, batch.bytes.len()));
        Ok(true)
    }

    /// Skips white space and what stands between values; `false` at the end.
    fn skip_to_value(&mut self) -> io::Result<bool> {
        loop {
            let read = self.reader.fill_buf()?;
            if read.is_empty() {
                return Ok(false);
            }
            let separates = |byte: &u8| byte.is_ascii_whitespace() || b"[],".contains(byte);
            let length = read.iter().position(|byte| !separates(byte)).unwrap_or(read.len());
            let found = length < read.len();
            self.line += lines_in(&read[..length]);
            self.reader.consume(length);
            if found {
                return Ok(true);
            }
        }
    }

    /// `EventRecord`: a length, then one field whose number is the message type.
    fn append_record(&mut self, batch: &mut Batch) -> io::Result<bool> {
        let Some(length) = self.varint()? else { return Ok(false) };
        let no_record = |line| io::Error::other(format!("record {line} is not an EventRecord"));
        if length > MAX_RECORD as u64 {
            return Err(no_record(self.line + 1));
        }
        let start = batch.bytes.len();
        let length_read = (&mut self.reader).take(length).read_to_end(&mut batch.bytes)?;
        if length_read as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.line += 1;
        let mut record = &batch.bytes[start..];
        let topic = match prost::encoding::decode_varint(&mut record) {
            Ok(tag) => Topic::ALL.into_iter().find(|topic| u64::from(record_tag(*topic)) == tag),
            Err(_) => None,
        };
        let payload_length = prost::encoding::decode_varint(&mut record).unwrap_or_default();
        let Some(topic) = topic.filter(|_| payload_length == record.len() as u64) else {
            return Err(no_record(self.line));
        };
        let end = batch.bytes.len();
        batch.messages.push(message(offset_of(self.index, self.line), Some(topic), end - record.len(), end));
        Ok(true)
    }

    fn varint(&mut self) -> io::Result<Option<u64>> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            if self.reader.read(&mut byte)? == 0 {
                return if shift == 0 { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                return Ok(Some(value));
            }
        }
        Err(io::Error::other("record length exceeds 64 bits"))
    }
}

/// Finds the end of a JSON value, which may be spread over several reads. It checks no more of the syntax than that needs.
#[derive(Default)]
struct ValueScan {
    depth: usize,
    begun: bool,
    in_string: bool,
    escaped: bool,
}

impl ValueScan {
    /// The number of bytes that belong to the value, and whether it ends there.
    fn advance(&mut self, bytes: &[u8]) -> (usize, bool) {
        for (index, byte) in bytes.iter().enumerate() {
            if self.in_string {
                // No string contains a line break. So one that is not closed spoils its own value and not all others.
                self.in_string = self.escaped || !matches!(byte, b'"' | b'\n');
                self.escaped = !self.escaped && *byte == b'\\';
                continue;
            }
            let outside = self.depth == 0 && self.begun;
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' if outside => return (index, true),
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if outside => return (index, true),
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return (index + 1, true);
                    }
                }
                b',' | b' ' | b'\t' | b'\r' | b'\n' if outside => return (index, true),
                _ => {}
            }
            self.begun = true;
        }
        (bytes.len(), false)
    }
}

fn lines_in(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// The protobuf key of a topic's field in `EventRecord`: field number and wire type 2 (length-delimited).
pub(super) const fn record_tag(topic: Topic) -> u8 {
    (topic.info().file_field << 3 | 2) as u8
}

fn message(offset: Offset, topic: Option<Topic>, start: usize, end: usize) -> Message {
    Message { offset, topic, timestamp: None, key: None, value: Some(start as u32..end as u32), headers: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::source::Source;
    use std::io::Cursor;

    /// A reader that returns `step` bytes at a time.
    struct Slow(Cursor<Vec<u8>>, usize);

    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = buffer.len().min(self.1);
            self.0.read(&mut buffer[..length])
        }
    }

    /// Line and text of each record.
    fn records(text: &str) -> Vec<(i64, String)> {
        let read = |step| {
            let reader = Slow(Cursor::new(text.into()), step);
            let format = match text.trim_start().as_bytes() {
                [b'[', ..] | [b'{', b'\n', ..] => Format::Values,
                _ => Format::Lines,
            };
            let reader = Box::new(io::BufReader::with_capacity(step, reader));
            let mut file = EventFile { path: Path::new("memory").into(), index: 0, reader, format, line: 0 };
            let mut batch = Batch::new(Source::Files, None, Encoding::Json);
            while file.append(&mut batch).expect("in memory") {}
            let text = |message: &Message| {
                String::from_utf8_lossy(batch.slice(&message.value).unwrap_or_default()).into_owned()
            };
            batch.messages.iter().map(|message| (message.offset.0, text(message))).collect::<Vec<_>>()
        };
        let found = read(1);
        assert_eq!(found, read(3), "where a read ends does not matter");
        assert_eq!(found, read(1 << 16), "where a read ends does not matter");
        found
    }

    fn expected(records: &[(i64, &str)]) -> Vec<(i64, String)> {
        records.iter().map(|(line, text)| (*line, (*text).to_owned())).collect()
    }

    #[test]
    fn lines_are_read_without_blank_ones() {
        assert_eq!(
            records("{\"a\":1}\r\n\n  \nx\n{\"a\":2}"),
            expected(&[(1, "{\"a\":1}"), (4, "x"), (5, "{\"a\":2}")])
        );
    }

    #[test]
    fn elements_of_an_array_are_read_with_the_line_on_which_they_begin() {
        let text = "[\n  {\n    \"a\": \"}]\\\"\"\n  },\n  {\"b\": [1, {}]}, 5, \"x,y\" ]\n";
        assert_eq!(
            records(text),
            expected(&[(2, "{\n    \"a\": \"}]\\\"\"\n  }"), (5, "{\"b\": [1, {}]}"), (5, "5"), (5, "\"x,y\"")])
        );
        assert_eq!(records("[]"), []);
        assert_eq!(records("[[{}],\n[{}]]"), expected(&[(1, "{}"), (2, "{}")]));
    }

    #[test]
    fn objects_one_after_another_are_read() {
        assert_eq!(records("{\n\"a\": 1}\n{\n}{}"), expected(&[(1, "{\n\"a\": 1}"), (3, "{\n}"), (4, "{}")]));
    }

    #[test]
    fn a_broken_element_spoils_no_others() {
        let text = "[\n{\"a\": \"open},\n{\"b\": 2},\n}, nul {\"c\": 3},\n{\"cut\": ";
        let found = records(text);
        assert_eq!(found[0].0, 2);
        assert!(found.iter().any(|(line, value)| (*line, value.as_str()) == (4, "{\"c\": 3}")), "{found:?}");
        assert_eq!(found.last(), Some(&(5, "{\"cut\": ".into())));
    }

    #[test]
    fn a_record_keeps_a_bounded_part_of_what_it_was() {
        let long = "x".repeat(MAX_RECORD + 10);
        for text in [format!("{{\"a\":\"{long}\"}}\n{{}}\n"), format!("[{{\"a\":\"{long}\"}},\n{{}}]")] {
            let format = if text.starts_with('[') { Format::Values } else { Format::Lines };
            let reader = Box::new(Cursor::new(text.into_bytes()));
            let mut file = EventFile { path: Path::new("memory").into(), index: 0, reader, format, line: 0 };
            let mut batch = Batch::new(Source::Files, None, Encoding::Json);
            while file.append(&mut batch).expect("in memory") {}
            let lengths = batch.messages.iter().map(|message| batch.slice(&message.value).unwrap_or_default().len());
            assert_eq!(lengths.collect::<Vec<_>>(), [MAX_RECORD, 2]);
            assert_eq!(batch.messages[1].offset, offset_of(0, 2));
        }
    }
}
