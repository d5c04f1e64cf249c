//! Owns the JSON syntax: a scanner that walks a document once and returns values borrowed from it.
//!
//! Strict (RFC 8259): no trailing commas, no bare words, no unpaired surrogates, no raw control characters. Some
//! conventions are ours: `null` and `""` mean absent, an unknown key with capital letters is retried in snake_case, and
//! ids and flags have the spellings that typeless languages give them.

use crate::codec::reject::{Flaw, Read};
use crate::domain::event::reject::Reason;
use crate::domain::event::repair::Repairs;

/// The maximum nesting depth. It prevents a document from exhausting the stack.
const MAX_DEPTH: usize = 128;

const BYTE_ORDER_MARK: &str = "\u{feff}";

/// A position in a document.
///
/// Strings are returned as `&str`, which is passed in registers. Returning larger types through memory took half of the
/// time.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// Whether the last scanned string contains escapes.
    escapes: bool,
    /// The last string with its escapes resolved.
    resolved: String,
    /// What was put right so far.
    pub(super) repairs: Repairs,
}

impl<'a> Scanner<'a> {
    /// Starts at the beginning of a document, after a byte order mark if there is one.
    pub(super) fn new(bytes: &'a [u8]) -> Read<Self> {
        let text = str::from_utf8(bytes).map_err(|_| Flaw::malformed("invalid UTF-8"))?;
        let at = if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        Ok(Self { text, at, escapes: false, resolved: String::new(), repairs: Repairs::default() })
    }

    /// Checks that only whitespace follows.
    pub(super) fn end(&mut self) -> Read<()> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { Err(Flaw::malformed("trailing data after the object")) }
    }

    /// Reads an object. `field` is called with each key and the scanner at its value; it returns `false` for an unknown
    /// key.
    ///
    /// A flaw in a known field gets the field's name prepended to its path. A syntax error does not, because it may be
    /// inside an unknown key of the message.
    pub(super) fn object(&mut self, mut field: impl FnMut(&mut Self, &str) -> Read<bool>) -> Read<()> {
        self.open(b'{', "expected an object")?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let raw = self.key()?;
            let resolved;
            let key = if self.escapes {
                resolved = resolve(raw)?;
                &resolved
            } else {
                raw
            };
            match field(self, key) {
                Ok(true) => {}
                Ok(false) => self.unknown_key(key, &mut field)?,
                Err(flaw) => return Err(in_field(flaw, key)),
            }
            if !self.more(b'}')? {
                return Ok(());
            }
        }
    }

    /// Handles a key unknown to `field`: retries a camelCase key in snake_case, otherwise skips the value.
    fn unknown_key(&mut self, key: &str, field: &mut impl FnMut(&mut Self, &str) -> Read<bool>) -> Read<()> {
        if key.bytes().any(|byte| byte.is_ascii_uppercase()) {
            let snake = snake_case(key);
            if field(self, &snake).map_err(|flaw| in_field(flaw, &snake))? {
                return Ok(());
            }
        }
        self.skip()
    }

    /// Reads an array. `item` is called with the scanner at each element.
    pub(super) fn array(&mut self, mut item: impl FnMut(&mut Self) -> Read<()>) -> Read<()> {
        self.open(b'[', "expected an array")?;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            item(self)?;
            if !self.more(b']')? {
                return Ok(());
            }
        }
    }

    /// Skips `null` and returns whether there was one.
    pub(super) fn null(&mut self) -> Read<bool> {
        match self.peek()? {
            b'n' => self.word("null").map(|()| true),
            _ => Ok(false),
        }
    }

    /// Skips `null` or `""` and returns whether there was one.
    pub(super) fn absent(&mut self) -> Read<bool> {
        match self.peek()? {
            b'n' => self.word("null").map(|()| true),
            b'"' if self.rest().starts_with(b"\"\"") => {
                self.at += 2;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Skips `null`, `""` or the brackets `empty` with nothing between them, and returns whether there was one. PHP
    /// writes an empty object as `[]`.
    pub(super) fn absent_or(&mut self, empty: &[u8; 2]) -> Read<bool> {
        if self.absent()? {
            return Ok(true);
        }
        let start = self.at;
        if self.take(empty[0]) {
            self.space();
            if self.take(empty[1]) {
                return Ok(true);
            }
            self.at = start;
        }
        Ok(false)
    }

    /// A string; empty if absent.
    #[inline]
    pub(super) fn text(&mut self) -> Read<&str> {
        match self.peek()? {
            b'"' => self.quoted(),
            b'n' => self.word("null").map(|()| ""),
            _ => Err(Flaw::bad_value("expected a string")),
        }
    }

    /// A string or an integer as it is written; empty if absent.
    #[inline]
    pub(super) fn id(&mut self) -> Read<&str> {
        match self.peek()? {
            b'"' => self.quoted(),
            b'-' | b'0'..=b'9' => match self.bare_numeral()? {
                digits if digits.bytes().any(|byte| b".eE".contains(&byte)) => {
                    Err(Flaw::bad_value("expected a string"))
                }
                digits => Ok(digits),
            },
            b'n' => self.word("null").map(|()| ""),
            _ => Err(Flaw::bad_value("expected a string")),
        }
    }

    /// `true` or `false`; the same, `y`, `yes`, `n` or `no` as text in any case; 1 or 0 as text or number.
    pub(super) fn flag(&mut self) -> Read<Option<bool>> {
        let text = match self.peek()? {
            b't' => return self.word("true").map(|()| Some(true)),
            b'f' => return self.word("false").map(|()| Some(false)),
            b'-' | b'0'..=b'9' => self.bare_numeral()?,
            b'"' | b'n' => self.text()?,
            _ => return Err(Flaw::bad_value("expected true or false")),
        };
        let is_one_of = |spellings: [&str; 4]| spellings.iter().any(|spelling| text.eq_ignore_ascii_case(spelling));
        match text {
            "" => Ok(None),
            _ if is_one_of(["true", "y", "yes", "1"]) => Ok(Some(true)),
            _ if is_one_of(["false", "n", "no", "0"]) => Ok(Some(false)),
            _ => Err(Flaw::bad_value("expected true or false")),
        }
    }

    /// A finite number, optionally quoted, as the protobuf JSON mapping allows.
    pub(super) fn number(&mut self) -> Read<Option<f64>> {
        let digits = self.numeral()?;
        if digits.is_empty() {
            return Ok(None);
        }
        let number: f64 = digits.parse().map_err(|_| Flaw::bad_value("expected a number"))?;
        if number.is_finite() { Ok(Some(number)) } else { Err(Flaw::bad_value("number too large")) }
    }

    /// An integer, optionally quoted; `1e3` and `5.0` are integers, too.
    pub(super) fn integer(&mut self) -> Read<Option<i64>> {
        /// Every integer up to 2^53 is exactly representable as `f64`.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let digits = self.numeral()?;
        if digits.is_empty() {
            return Ok(None);
        }
        if let Ok(number) = digits.parse() {
            return Ok(Some(number));
        }
        match digits.parse::<f64>() {
            Ok(number) if number.fract() == 0.0 && number.abs() <= EXACT => Ok(Some(number as i64)),
            Ok(number) if number.fract() == 0.0 => Err(Flaw::bad_value("number too large")),
            _ => Err(Flaw::bad_value("expected an integer")),
        }
    }

    /// Where the next value starts.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Goes back to a value that was read in part, and skips it.
    pub(super) fn skip_from(&mut self, position: usize) -> Read<()> {
        self.at = position;
        self.skip()
    }

    /// Skips any value.
    pub(super) fn skip(&mut self) -> Read<()> {
        self.skip_at(0)
    }

    fn skip_at(&mut self, depth: usize) -> Read<()> {
        if depth == MAX_DEPTH {
            return Err(Flaw::malformed("nesting too deep"));
        }
        match self.peek()? {
            b'"' => self.text().map(drop),
            b'{' => self.object(|scanner, _| scanner.skip_at(depth + 1).map(|()| true)),
            b'[' => self.array(|scanner| scanner.skip_at(depth + 1)),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => self.bare_numeral().map(drop),
        }
    }

    /// The text of a number, bare or quoted; empty if absent.
    fn numeral(&mut self) -> Read<&str> {
        match self.peek()? {
            b'-' | b'0'..=b'9' => self.bare_numeral(),
            b'"' => match self.text()? {
                text if text.is_empty() || numeral_len(text.as_bytes()) == Some(text.len()) => Ok(text),
                _ => Err(Flaw::bad_value("expected a number")),
            },
            b'n' => self.word("null").map(|()| ""),
            _ => Err(Flaw::bad_value("expected a number")),
        }
    }

    fn bare_numeral(&mut self) -> Read<&'a str> {
        let length = numeral_len(self.rest()).ok_or_else(|| Flaw::malformed("expected a value"))?;
        let digits = &self.text[self.at..self.at + length];
        self.at += length;
        Ok(digits)
    }

    /// The next byte that is not whitespace.
    #[inline]
    fn peek(&mut self) -> Read<u8> {
        self.space();
        self.here().ok_or_else(unexpected_end)
    }

    fn here(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at..]
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.here() {
            self.at += 1;
        }
    }

    fn open(&mut self, bracket: u8, problem: &'static str) -> Read<()> {
        if self.peek()? != bracket {
            return Err(Flaw::bad_value(problem));
        }
        self.at += 1;
        self.space();
        Ok(())
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.here() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Whether another element follows; otherwise `bracket` closes the list.
    fn more(&mut self, bracket: u8) -> Read<bool> {
        let next = self.peek()?;
        self.at += 1;
        match next {
            b',' => Ok(true),
            _ if next == bracket => Ok(false),
            _ => Err(Flaw::malformed("expected `,` or a closing bracket")),
        }
    }

    /// Reads a key without resolving its escapes, and the colon after it.
    fn key(&mut self) -> Read<&'a str> {
        if self.peek()? != b'"' {
            return Err(Flaw::malformed("expected a key"));
        }
        let key = self.raw()?;
        if self.peek()? != b':' {
            return Err(Flaw::malformed("expected `:`"));
        }
        self.at += 1;
        Ok(key)
    }

    fn word(&mut self, word: &str) -> Read<()> {
        if !self.rest().starts_with(word.as_bytes()) {
            return Err(Flaw::malformed("expected a value"));
        }
        self.at += word.len();
        Ok(())
    }

    /// Reads a string without resolving its escapes; the scanner is at the opening quote.
    #[inline]
    fn raw(&mut self) -> Read<&'a str> {
        let start = self.at + 1;
        let end = start + plain_len(&self.text.as_bytes()[start..]);
        self.at = end + 1;
        self.escapes = false;
        match self.text.as_bytes().get(end) {
            Some(b'"') => Ok(&self.text[start..end]),
            _ => self.raw_with_escapes(start, end),
        }
    }

    /// Reads a string that starts at `start` and has its first escape or control character at `at`.
    #[cold]
    fn raw_with_escapes(&mut self, start: usize, mut at: usize) -> Read<&'a str> {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => at += 2,
                Some(_) => return Err(Flaw::malformed("unescaped control character in a string")),
                None => return Err(unexpected_end()),
            }
            at += plain_len(bytes.get(at..).unwrap_or_default());
        }
        self.at = at + 1;
        self.escapes = true;
        Ok(&self.text[start..at])
    }

    /// The content of a string; the scanner is at the opening quote.
    #[inline]
    fn quoted(&mut self) -> Read<&str> {
        let raw = self.raw()?;
        if self.escapes { self.resolve(raw) } else { Ok(raw) }
    }

    #[cold]
    fn resolve(&mut self, raw: &str) -> Read<&str> {
        self.resolved = resolve(raw)?;
        Ok(&self.resolved)
    }
}

/// Resolves all escapes of a string.
fn resolve(raw: &str) -> Read<String> {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((plain, escape)) = rest.split_once('\\') {
        text.push_str(plain);
        let (character, length) = resolve_one(escape)?;
        text.push(character);
        rest = &escape[length..];
    }
    text.push_str(rest);
    Ok(text)
}

/// The character that an escape denotes, and the length of the escape after its backslash.
fn resolve_one(escape: &str) -> Read<(char, usize)> {
    let character = match escape.bytes().next() {
        Some(character @ (b'"' | b'\\' | b'/')) => char::from(character),
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return resolve_unicode(escape),
        _ => return Err(Flaw::malformed("invalid escape sequence")),
    };
    Ok((character, 1))
}

/// Resolves `uXXXX`, or a surrogate pair of two such escapes.
fn resolve_unicode(escape: &str) -> Read<(char, usize)> {
    let unpaired = || Flaw::malformed("unpaired surrogate");
    let first = hex(&escape[1..])?;
    if !(0xD800..0xDC00).contains(&first) {
        return Ok((char::from_u32(first).ok_or_else(unpaired)?, 5));
    }
    let second = escape[5..].strip_prefix("\\u").ok_or_else(unpaired).and_then(hex)?;
    if !(0xDC00..0xE000).contains(&second) {
        return Err(unpaired());
    }
    let character = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
    Ok((char::from_u32(character).ok_or_else(unpaired)?, 11))
}

/// The value of the first four hexadecimal digits.
fn hex(text: &str) -> Read<u32> {
    let invalid = || Flaw::malformed("invalid \\u escape");
    let digits = text.as_bytes().get(..4).ok_or_else(invalid)?;
    digits.iter().try_fold(0, |sum, digit| Ok(sum * 16 + char::from(*digit).to_digit(16).ok_or_else(invalid)?))
}

fn unexpected_end() -> Flaw {
    Flaw::malformed("unexpected end of input")
}

/// Prepends the name of our field to the path of a flaw, unless it is a syntax error.
#[cold]
fn in_field(flaw: Flaw, field: &str) -> Flaw {
    if flaw.reason() == Reason::Malformed { flaw } else { flaw.within(field) }
}

/// Converts camelCase to snake_case: `leadId` to `lead_id`.
fn snake_case(key: &str) -> String {
    let mut snake = String::with_capacity(key.len() + 4);
    for letter in key.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// The number of bytes before the first quote, backslash or control character. Examines eight bytes per step.
fn plain_len(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = ONES << 7;
    /// Sets the high bit of each zero byte of `word`; bytes above the first zero byte may be marked falsely.
    fn zeros(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word & HIGH
    }
    let (words, tail) = bytes.as_chunks();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let marks = control | zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\')));
        if marks != 0 {
            return index * 8 + marks.trailing_zeros() as usize / 8;
        }
    }
    let ends = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    words.len() * 8 + tail.iter().position(ends).unwrap_or(tail.len())
}

/// The length of the number at the start of `bytes`.
fn numeral_len(bytes: &[u8]) -> Option<usize> {
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    let whole = digits(at);
    if whole == 0 || (whole > 1 && bytes[at] == b'0') {
        return None;
    }
    at += whole;
    if bytes.get(at) == Some(&b'.') {
        let part = digits(at + 1);
        if part == 0 {
            return None;
        }
        at += 1 + part;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let power = digits(at + 1 + sign);
        if power == 0 {
            return None;
        }
        at += 1 + sign + power;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Whether the scanner accepts the text as one JSON value.
    fn is_json(text: &str) -> bool {
        Scanner::new(text.as_bytes())
            .and_then(|mut scanner| {
                scanner.skip()?;
                scanner.end()
            })
            .is_ok()
    }

    fn text(json: &str) -> Option<String> {
        let mut scanner = Scanner::new(json.as_bytes()).ok()?;
        let text = scanner.text().ok()?.to_owned();
        scanner.end().ok().map(|()| text)
    }

    /// Text made of JSON tokens, most of it almost valid.
    fn nearly_json() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "\"a\"",
            "\\",
            "\\u00e9",
            "\\ud83d",
            "\\ude00",
            "\\n",
            "0",
            "-",
            "1.5",
            "e",
            "E+3",
            ".",
            "true",
            "false",
            "null",
            " ",
            "\n",
            "\u{1}",
            "я",
            "{\"a\":1}",
            "[1,2]",
            "\"b\":",
        ]);
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    /// Any value, with its text.
    fn value() -> impl Strategy<Value = serde_json::Value> {
        use serde_json::Value;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            prop::collection::vec(any::<char>(), 0..12).prop_map(|chars| Value::from(String::from_iter(chars))),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((prop::collection::vec(any::<char>(), 0..6), inner), 0..4).prop_map(|fields| {
                    fields.into_iter().map(|(key, value)| (String::from_iter(key), value)).collect()
                }),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn accepts_exactly_what_serde_json_accepts(text in nearly_json()) {
            let expected = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            prop_assert_eq!(is_json(&text), expected, "{}", text);
        }

        #[test]
        fn every_value_is_skipped_completely(value in value(), pretty in any::<bool>()) {
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            prop_assert!(is_json(&text), "{}", text);
        }

        #[test]
        fn strings_match_serde_json(
            chars in prop::collection::vec(any::<char>(), 1..40),
            ascii in any::<bool>(),
        ) {
            let content = String::from_iter(chars);
            let plain = serde_json::to_string(&content).expect("a string");
            prop_assert_eq!(text(&plain), Some(content.clone()));
            if ascii {
                let units: String = content.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
                prop_assert_eq!(text(&format!("\"{units}\"")), Some(content));
            }
        }

        #[test]
        fn plain_len_matches_a_bytewise_search(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let expected = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)).unwrap_or(bytes.len());
            prop_assert_eq!(plain_len(&bytes), expected);
        }

        #[test]
        fn numbers_round_trip(number in any::<f64>(), whole in any::<i64>()) {
            prop_assume!(number.is_finite());
            let json = serde_json::to_string(&number).expect("finite");
            for text in [json.clone(), format!("\"{json}\"")] {
                let read = Scanner::new(text.as_bytes()).and_then(|mut scanner| scanner.number());
                prop_assert_eq!(read.ok(), Some(Some(number)));
            }
            for text in [whole.to_string(), format!("\"{whole}\"")] {
                let read = Scanner::new(text.as_bytes()).and_then(|mut scanner| scanner.integer());
                prop_assert_eq!(read.ok(), Some(Some(whole)));
            }
        }
    }

    #[test]
    fn integers_are_accepted_in_every_notation() {
        let read = |text: &str| Scanner::new(text.as_bytes()).and_then(|mut scanner| scanner.integer()).ok();
        for (text, number) in
            [("1e3", 1000), ("5.0", 5), ("\"-7\"", -7), ("-0", 0), ("9007199254740993", 9_007_199_254_740_993)]
        {
            assert_eq!(read(text), Some(Some(number)), "{text}");
        }
        for text in ["null", "\"\"", " null"] {
            assert_eq!(read(text), Some(None), "{text}");
        }
        for text in
            ["1.5", "1e300", "9223372036854775808", "\"1 \"", "\"+1\"", "\"NaN\"", "true", "[1]", "01", "--1", ""]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_rejected() {
        for bracket in ["[", "{\"a\":"] {
            assert!(!is_json(&bracket.repeat(1_000_000)));
        }
        assert!(is_json(&format!("{}1{}", "[".repeat(127), "]".repeat(127))));
    }

    #[test]
    fn keys_are_converted_to_snake_case() {
        assert_eq!(snake_case("fromStageId"), "from_stage_id");
        assert_eq!(snake_case("ID"), "_i_d");
    }
}
