//! Owns how phone numbers are written: words around them, prefixes, extensions, addresses of telephony and messengers.

use super::country::Country;
use super::field::NormalForms;
use super::numbering::{self, MAX_DIGITS, MIN_DIGITS};
use compact_str::CompactString;

/// The maximum number of digits of a country code.
const MAX_CODE_DIGITS: usize = 3;
/// Digits that a text after a separator needs to be a number if it begins with a word for an extension.
const MIN_DIGITS_AFTER_EXTENSION_WORD: usize = 10;

/// The normal form of a phone number: digits with country code, without plus.
///
/// `+`, `00` and `8~10` (also `810` before more digits than a national number has) precede a country code; other digits
/// are read as in `country`. Words before and after the number are removed, and so is an extension: everything after
/// words such as `доб`, `доп`, `вн`, `ext`, `int` or `x`, a pause (`p`, `w`), a comma, semicolon, `#` or `*`, and a
/// short number in brackets behind. `tel:` and `sip:+…@host` are read, and so are the ids of WhatsApp.
///
/// `None` for fewer than 6 or more than 32 digits, for numbers that their country cannot have, for SIP names, and if
/// letters stand between digits.
pub fn phone(text: &str, country: Country) -> Option<CompactString> {
    if let Some(digits) = text.strip_prefix('+')
        && (MIN_DIGITS..=MAX_DIGITS).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
    {
        return numbering::international(digits, false);
    }
    if memchr::memchr2(b':', b'@', text.as_bytes()).is_none() {
        return Written::read(text)?.form(country);
    }
    whatsapp_number(text.trim(), country).or_else(|| Written::read(telephony_user(text)?)?.form(country))
}

/// Adds the normal forms of the numbers in a field.
pub(super) fn phones(text: &str, country: Country, forms: &mut NormalForms) {
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'+') {
        return phone(text, country).into_iter().for_each(|form| forms.push(form));
    }
    forms.read(text, &|text, is_part| {
        let form = phone(text, country)?;
        // Parameters of a URI, and a long extension behind a comma.
        (!is_part || is_number_by_itself(text, &form)).then_some(form)
    });
}

/// Whether a part of a field with this form is a number of its own: no long extension, parameter of an address, or area
/// code before a slash.
fn is_number_by_itself(text: &str, form: &str) -> bool {
    let (before, digits) = text.split_at(text.find(char::is_numeric).unwrap_or(0));
    let word = before.trim_start_matches(|character: char| !character.is_alphabetic());
    let is_extension = form.len() < MIN_DIGITS_AFTER_EXTENSION_WORD && begins_extension(word);
    let is_area_code = digits.starts_with('0') && digits.chars().filter(char::is_ascii_digit).count() <= MIN_DIGITS;
    !is_extension && !is_area_code && !before.contains('=')
}

/// The number of a WhatsApp id: `digits@c.us`, or `digits@s.whatsapp.net` with or without the number of a device.
pub(super) fn whatsapp_number(text: &str, country: Country) -> Option<CompactString> {
    let id = text.strip_suffix("@c.us").or_else(|| text.strip_suffix("@s.whatsapp.net"))?;
    let digits = id.split_once(':').map_or(id, |(digits, _)| digits).trim_start_matches('+');
    is_row_of_digits(digits, MIN_DIGITS).then(|| phone(&format!("+{digits}"), country)).flatten()
}

/// The number that a messenger uses as a name: digits after a plus, or a valid international number without it.
pub(super) fn messenger_number(name: &str, country: Country) -> Option<CompactString> {
    match name.strip_prefix('+') {
        Some(after) => {
            let digits: String =
                after.chars().filter(|character| !matches!(character, '-' | '(' | ')' | '.')).collect();
            is_row_of_digits(&digits, MIN_DIGITS).then(|| phone(name, country)).flatten()
        }
        None => is_row_of_digits(name, 10).then(|| numbering::valid(name)).flatten(),
    }
}

/// Whether a text is that many to 15 digits.
fn is_row_of_digits(text: &str, least: usize) -> bool {
    (least..=15).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The user of a `sip:` or `sips:` address, if it is a number with a plus; other text without `@` as it is.
fn telephony_user(text: &str) -> Option<&str> {
    let user = text.split_once('@').map_or(text, |(user, _)| user);
    let after_scheme = ["sip:", "sips:"].into_iter().find_map(|scheme| after_ignoring_case(user, scheme));
    match after_scheme {
        Some(user) => user.trim_start().starts_with('+').then_some(user),
        None => (user.len() == text.len()).then_some(text),
    }
}

/// Whether a text begins with this word of ASCII characters.
fn begins_ignoring_case(text: &str, word: &str) -> bool {
    text.split_at_checked(word.len()).is_some_and(|(start, _)| start.eq_ignore_ascii_case(word))
}

/// What follows the first place of a word of ASCII characters in a text.
fn after_ignoring_case<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let at = text.as_bytes().windows(word.len()).position(|part| part.eq_ignore_ascii_case(word.as_bytes()))?;
    Some(&text[at + word.len()..])
}

/// A number as written.
#[derive(Default)]
struct Written {
    digits: [u8; MAX_DIGITS],
    count: usize,
    /// A plus precedes the digits.
    plus: bool,
    /// `~` follows the first digit, an 8.
    dial_tone: bool,
    /// Something separates the first two digits.
    spaced: bool,
    /// The place of `(0)` after a country code; it is not among the digits.
    zero_at: Option<usize>,
    /// A word follows the digits so far.
    word_behind: bool,
}

impl Written {
    /// Reads a number; `None` if letters stand between digits, or too many digits.
    fn read(text: &str) -> Option<Self> {
        let mut written = Self::default();
        let mut rest = text.trim_start();
        if begins_ignoring_case(rest, "sip/") || begins_ignoring_case(rest, "pjsip/") {
            return None;
        }
        while let Some(character) = rest.chars().next() {
            if let '0'..='9' | ' ' | '-' | ')' = character {
                written.take(character)?;
                rest = &rest[1..];
                continue;
            }
            let length = match character {
                _ if written.ends_before(character, rest) => break,
                _ if character.is_alphabetic() => written.word(rest),
                '(' | '[' => written.bracket(rest),
                _ => {
                    written.take(character)?;
                    character.len_utf8()
                }
            };
            rest = &rest[length..];
        }
        Some(written)
    }

    fn digits(&self) -> &str {
        str::from_utf8(&self.digits[..self.count]).unwrap_or_default()
    }

    /// Whether an extension begins at this character.
    fn ends_before(&self, character: char, rest: &str) -> bool {
        match character {
            ',' | ';' | '#' | '*' => true,
            '(' | '[' => self.count >= MIN_DIGITS && is_short_number_behind(rest),
            _ => self.count > 0 && character.is_alphabetic() && begins_extension(rest),
        }
    }

    /// Passes over a word; returns its length.
    fn word(&mut self, rest: &str) -> usize {
        self.word_behind = self.count > 0;
        self.plus &= self.count > 0;
        rest.find(|character: char| !character.is_alphabetic()).unwrap_or(rest.len())
    }

    /// Passes over a bracket, or over `(0)` after a country code; returns the length.
    fn bracket(&mut self, rest: &str) -> usize {
        self.spaced |= self.count == 1;
        let close = rest.find([')', ']']).unwrap_or(0);
        if self.zero_at.is_none() && rest[1..close.max(1)].trim() == "0" && self.ends_with_code() {
            self.zero_at = Some(self.count);
            return close + 1;
        }
        1
    }

    /// Whether the digits so far are a country code after a plus or an international prefix.
    fn ends_with_code(&self) -> bool {
        let prefix = if self.plus { 0 } else { self.prefix(self.digits(), true).unwrap_or(self.count) };
        (1..=MAX_CODE_DIGITS).contains(&(self.count - prefix))
    }

    /// The length of the international prefix of the digits; `more` states whether more digits follow.
    fn prefix(&self, digits: &str, more: bool) -> Option<usize> {
        match digits {
            _ if digits.starts_with("00") => Some(2),
            _ if digits.starts_with("810") && (self.dial_tone || more) => Some(3),
            _ => None,
        }
    }

    /// Adds a digit, or notes what stands between digits.
    fn take(&mut self, character: char) -> Option<()> {
        let digit = match character {
            '0'..='9' => character as u8,
            ' ' | '-' | ')' => {
                self.spaced |= self.count == 1;
                return Some(());
            }
            _ if character.is_numeric() => ascii_digit(character)?,
            _ => {
                self.plus |= matches!(character, '+' | '\u{ff0b}') && self.count == 0;
                self.dial_tone |= character == '~' && self.digits() == "8";
                self.spaced |= self.count == 1;
                return Some(());
            }
        };
        if self.word_behind {
            return None;
        }
        *self.digits.get_mut(self.count)? = digit;
        self.count += 1;
        Some(())
    }

    /// The normal form.
    fn form(&self, country: Country) -> Option<CompactString> {
        let digits = self.digits();
        let abroad = match self.plus {
            true => Some(0),
            // Other countries have prefixes that begin with 00, and numbers that begin with 810.
            false if !country.has_code_7() && !self.dial_tone && self.zero_at.is_none() => None,
            false => self.prefix(digits, self.count > 11),
        };
        match (abroad, self.zero_at) {
            _ if self.count < MIN_DIGITS => None,
            (Some(prefix), Some(zero)) => numbering::international_with_zero(&digits[prefix..], zero - prefix),
            (Some(prefix), None) => numbering::international(&digits[prefix..], self.spaced),
            (None, _) => numbering::national(digits, country),
        }
    }
}

/// Whether a text is a short number in brackets, with no digits behind it.
fn is_short_number_behind(text: &str) -> bool {
    let Some((inside, behind)) = text[1..].split_once([')', ']']) else { return false };
    let digits = inside.chars().filter(char::is_ascii_digit).count();
    let rest = |character: char| character.is_ascii_digit() || matches!(character, ' ' | '-');
    (1..MIN_DIGITS).contains(&digits) && inside.chars().all(rest) && !behind.contains(char::is_numeric)
}

/// Whether a text that begins with a letter begins with a word for an extension. Short words must be whole words,
/// because a name may begin with them.
fn begins_extension(text: &str) -> bool {
    let after = |word: &str| {
        let mut rest = text.chars();
        let same = word.chars().all(|letter| rest.next().is_some_and(|other| other.to_lowercase().eq([letter])));
        same.then(|| rest.next())
    };
    let starts = |word| after(word).is_some();
    let is_word = |word| after(word).is_some_and(|next| !next.is_some_and(char::is_alphabetic));
    let behind_pauses = text.trim_start_matches(['p', 'P', 'w', 'W']);
    let is_pause = behind_pauses.len() < text.len() && !behind_pauses.starts_with(char::is_alphabetic);
    // The second `x` is the Cyrillic letter of the same shape.
    is_pause
        || ["доб", "доп", "внутр", "ext", "int"].into_iter().any(starts)
        || ["вн", "x", "х"].into_iter().any(is_word)
}

/// The ASCII digit of a full-width, Arabic-Indic or Persian digit; `None` for other numerals.
fn ascii_digit(character: char) -> Option<u8> {
    let digit = ['\u{ff10}', '\u{660}', '\u{6f0}']
        .into_iter()
        .find_map(|zero| u32::from(character).checked_sub(u32::from(zero)).filter(|digit| *digit < 10))?;
    Some(b'0' + digit as u8)
}
