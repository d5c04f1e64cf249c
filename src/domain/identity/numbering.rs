//! Owns what a row of digits means: which country code it has, and the one form in which the spellings of a number
//! meet.
//!
//! **+7 by own rules.** Code 7 has ten digits, a trunk prefix 8 and area codes that begin with 8 (8-800, 812, 831, 861,
//! 862). The rules here need no metadata, take no library call, and keep the forms of the first version.
//!
//! **All other codes by [`rlibphonenumber`]** (Apache-2.0), a port of Google's libphonenumber whose metadata is
//! released every few weeks. A number counts if its length is possible in its country. Considered:
//!
//! - `phonenumber` 0.3, the best known: strips a trunk prefix that is part of the number (`+7 812…` becomes `+712…`,
//!   `+375 800…` becomes `+3750…`), keeps the one to be stripped (`+44 07700…`), 5.5 us per call, 66 ms to load.
//! - `phonelib`: simplified tables in place of Google's metadata; wrong for some valid numbers.
//! - The C++ original behind bindings: a C++ toolchain and its libraries in every build.
//!
//! On 10,005 numbers made from the examples of all regions it agrees with Google's port to Python. It adds `regex`,
//! `dashmap`, `strum` and four small crates, and 2.2 MB to the program. All else is paid at the first foreign number:
//! 11 to 15 ms to load and 8 MB, then 1 MB for the regular expressions of each country met. A number takes 1 to 2 us; the
//! feature `lite` in place of `regex` makes that ten times as long and the program 1.7 MB smaller. +7 numbers take 40 to
//! 140 ns.
//!
//! An update of the metadata may make numbers possible that had no form. It changes a form only where a country changes
//! its plan.
//!
//! **Cache.** The contact of an event is normalized two to three times, and the same customers call again. Each thread
//! keeps the last [`SLOTS`] answers, one per slot, in 256 KiB that are allocated at the first foreign number. A cached
//! answer takes 50 ns.

use super::country::Country;
use compact_str::CompactString;
use rlibphonenumber::{CountryCodeSource, PHONE_NUMBER_UTIL, PhoneNumber, PhoneNumberFormat, Region};
use rustc_hash::FxHasher;
use std::cell::RefCell;
use std::hash::{Hash, Hasher};

/// Minimum number of digits of a customer's phone number.
pub(super) const MIN_DIGITS: usize = 6;
/// Maximum number of digits accepted; a phone number has at most 15, an international prefix at most 3.
pub(super) const MAX_DIGITS: usize = 32;

/// The number of cached answers of a thread: more than the customers that call or write at one time.
const SLOTS: usize = 4096;
/// Digits that the library is asked about; more are no number in any country.
const MAX_LIBRARY_DIGITS: usize = 20;
/// The length of Mexican numbers without prefix.
const MX_DIGITS: usize = 10;

/// The form of a number that begins with a country code. `spaced` states whether something separates the first two
/// digits.
pub(super) fn international(digits: &str, spaced: bool) -> Option<CompactString> {
    match digits.as_bytes() {
        // `+8 921…` and `+8 (495)…` are slips for +7. `+84`, `+880` and `+886` are other countries.
        [b'8', b'9' | b'3', ..] if digits.len() == 11 => Some(with_code_7(&digits[1..])),
        [b'8', b'4' | b'8', ..] if digits.len() == 11 && spaced => Some(with_code_7(&digits[1..])),
        _ => plain(digits),
    }
}

/// The form of a number with `(0)` at this place: a trunk prefix that is dropped after a country code, except where
/// only the number with it exists, as in Italy.
pub(super) fn international_with_zero(digits: &str, at: usize) -> Option<CompactString> {
    if digits.starts_with('7') {
        return plain(digits);
    }
    let without = answer(digits, None);
    if without.valid {
        return without.form;
    }
    let mut with = CompactString::from(digits);
    with.insert(at, '0');
    let with = answer(&with, None);
    if with.valid { with.form } else { without.form.or(with.form) }
}

/// The form of a number that begins with a country code, if the number is valid in its country.
pub(super) fn valid(digits: &str) -> Option<CompactString> {
    match digits.strip_prefix('7') {
        Some(national) => (national.len() == 10).then(|| digits.into()),
        None => Some(answer(digits, None)).filter(|answer| answer.valid)?.form,
    }
}

/// The form of a number without plus and international prefix, as written in a country. Digits that are no national
/// number of Russia or Kazakhstan stay as they are, unless they are a foreign number without its plus.
pub(super) fn national(digits: &str, country: Country) -> Option<CompactString> {
    let foreign = || (digits.len() > 10).then(|| plain(digits)).flatten();
    if country.has_code_7() {
        return match digits.len() {
            10 => Some(with_code_7(digits)),
            11 if digits.starts_with('8') => Some(with_code_7(&digits[1..])),
            length => (length >= MIN_DIGITS).then(|| foreign().unwrap_or_else(|| digits.into())),
        };
    }
    let region = Region::from_code(country.name()).ok();
    region
        .and_then(|region| answer(digits, Some(region)).form)
        .or_else(|| plain(digits.strip_prefix("810")?))
        .or_else(foreign)
}

fn with_code_7(national: &str) -> CompactString {
    let mut number = CompactString::with_capacity(1 + national.len());
    number.push('7');
    number.push_str(national);
    number
}

/// The form of a number that begins with a country code, without slips.
fn plain(digits: &str) -> Option<CompactString> {
    match digits.strip_prefix('7') {
        _ if digits.len() < MIN_DIGITS => None,
        // `+7 8 (812)…`
        Some(national) if national.len() == 11 && national.starts_with('8') => Some(with_code_7(&national[1..])),
        Some(_) => Some(digits.into()),
        None => answer(digits, None).form,
    }
}

/// What the library says of a number.
#[derive(Clone, Default)]
struct Answer {
    /// The form; `None` if the number is not possible.
    form: Option<CompactString>,
    /// Whether it has the digits that numbers of its country have.
    valid: bool,
}

/// A cached answer.
#[derive(Clone, Default)]
struct Slot {
    digits: CompactString,
    region: Option<Region>,
    answer: Answer,
}

/// The answer of the library or of the cache: with a region for national digits, else for digits with country code.
fn answer(digits: &str, region: Option<Region>) -> Answer {
    thread_local! {
        static SLOTS_OF_THREAD: RefCell<Vec<Slot>> = const { RefCell::new(Vec::new()) };
    }
    if !(MIN_DIGITS..=MAX_LIBRARY_DIGITS).contains(&digits.len()) {
        return Answer::default();
    }
    let mut hasher = FxHasher::default();
    (digits, region).hash(&mut hasher);
    let at = (hasher.finish() >> 32) as usize % SLOTS;
    let cached = SLOTS_OF_THREAD.with_borrow(|slots| {
        slots.get(at).filter(|slot| slot.digits == digits && slot.region == region).map(|slot| slot.answer.clone())
    });
    cached.unwrap_or_else(|| {
        let answer = match region {
            Some(region) => read_national(digits, region),
            None => read_international(digits),
        };
        SLOTS_OF_THREAD.with_borrow_mut(|slots| {
            slots.resize(SLOTS, Slot::default());
            slots[at] = Slot { digits: digits.into(), region, answer: answer.clone() };
        });
        answer
    })
}

/// Reads digits with country code. The library removes one trunk prefix. A number that is possible with the prefix and
/// not valid without it keeps its digits, which may be its own, as in made-up numbers. Any other result is read again
/// until nothing changes.
fn read_international(digits: &str) -> Answer {
    let mut form = shorter(digits);
    let mut valid = false;
    for _ in 0..MAX_LIBRARY_DIGITS {
        let Some(number) = parse(&format!("+{form}"), None) else { return Answer::default() };
        valid |= number.is_valid();
        let next = shorter(&digits_of(&number));
        if next == form || !valid && is_possible_as_written(&form, &number) {
            return Answer { form: Some(form), valid };
        }
        form = next;
    }
    Answer::default()
}

/// Whether all digits after the country code, with the prefix that the parser removed, make a possible number.
fn is_possible_as_written(digits: &str, parsed: &PhoneNumber) -> bool {
    let national = digits.strip_prefix(parsed.country_code.to_string().as_str()).unwrap_or(digits);
    let rest = national.trim_start_matches('0');
    let mut number = parsed.clone();
    number.national_number = rest.parse().unwrap_or(0);
    number.italian_leading_zero = Some(rest.len() < national.len());
    number.number_of_leading_zeros = i32::try_from(national.len() - rest.len()).ok();
    number.is_possible_with_reason().is_ok()
}

/// Reads digits as written in a region, including its own international prefix and `00`.
fn read_national(digits: &str, region: Region) -> Answer {
    let digits = match region {
        Region::MX => without_mx_prefix(digits),
        _ => digits,
    };
    let number = parse(digits, Some(region));
    let abroad = digits.strip_prefix("00").filter(|_| !number.as_ref().is_some_and(begins_abroad));
    let form = abroad.and_then(plain).or_else(|| plain(&digits_of(&number?)));
    Answer { form, valid: false }
}

/// A number if it is possible.
fn parse(text: &str, region: Option<Region>) -> Option<PhoneNumber> {
    let number = PHONE_NUMBER_UTIL.parse_and_keep_raw_input(text, region).ok()?;
    number.is_possible_with_reason().is_ok().then_some(number)
}

/// Whether a number was written with the international prefix of its region.
fn begins_abroad(number: &PhoneNumber) -> bool {
    number.country_code_source() == CountryCodeSource::FromNumberWithIdd
}

/// The digits of a number with country code.
fn digits_of(number: &PhoneNumber) -> CompactString {
    number.format_as(PhoneNumberFormat::E164).trim_start_matches('+').into()
}

/// The shorter form of mobile numbers that have two: Brazil with the ninth digit, Argentina with 9, Mexico with 1
/// before the area code.
fn shorter(digits: &str) -> CompactString {
    let mut form = CompactString::from(digits);
    match digits.as_bytes() {
        [b'5', b'5', _, _, b'9', ..] if digits.len() == 13 => drop(form.remove(4)),
        [b'5', b'4', b'9', ..] | [b'5', b'2', b'1', ..] if digits.len() == 13 => drop(form.remove(2)),
        _ => {}
    }
    form
}

/// A Mexican number without the prefixes that were dialled until 2019, which the metadata no longer has.
fn without_mx_prefix(digits: &str) -> &str {
    let prefixes = ["044", "045", "01", "1"].into_iter();
    prefixes.filter_map(|prefix| digits.strip_prefix(prefix)).find(|rest| rest.len() == MX_DIGITS).unwrap_or(digits)
}
