//! Owns the normal form of e-mail addresses.

use super::field::{MAX_CONTACT_BYTES, NormalForms};
use compact_str::CompactString;
use idna::AsciiDenyList;

/// The normal form of an e-mail address: the local part in lower case, the domain in its ASCII form (IDNA).
///
/// Display name, angle brackets, comments (RFC 5322), `mailto:`, a trailing dot and invisible characters are removed.
/// `None` if either side of the last `@` is empty.
pub fn email(text: &str) -> Option<CompactString> {
    match is_plain(text) {
        _ if text.len() > MAX_CONTACT_BYTES => None,
        true => plain(text),
        false => address(&visible(text)),
    }
}

/// Adds the normal forms of the addresses in a field.
pub(super) fn emails(text: &str, forms: &mut NormalForms) {
    match is_plain(text) {
        _ if text.len() > MAX_CONTACT_BYTES => {}
        true => plain(text).into_iter().for_each(|form| forms.push(form)),
        false => forms.read(&visible(text), &|part, _| address(part)),
    }
}

/// The normal form of a domain; `None` if it is empty, or a quote or bracket of a broken display name is in it.
pub(super) fn domain(text: &str) -> Option<CompactString> {
    let text = text.trim_start().trim_end_matches(|end: char| end == '.' || end.is_whitespace());
    let mut domain = match text.is_ascii() {
        true => CompactString::from(text),
        false => match idna::domain_to_ascii_cow(text.as_bytes(), AsciiDenyList::URL) {
            Ok(ascii) => CompactString::from(ascii),
            // Not a domain that can exist. The text still is the same contact wherever it is spelled so.
            Err(_) => CompactString::from(text.to_lowercase()),
        },
    };
    domain.make_ascii_lowercase();
    domain.truncate(domain.trim_end_matches('.').len());
    (!domain.is_empty() && !domain.contains(['"', '<', '>', '('])).then_some(domain)
}

/// Whether a text has only characters that stand in an address that needs no care.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'@' | b'.' | b'-' | b'_' | b'+'))
}

/// The normal form of a text for which [`is_plain`] holds.
fn plain(text: &str) -> Option<CompactString> {
    let text = text.trim_end_matches('.');
    let at = memchr::memrchr(b'@', text.as_bytes())?;
    let mut address = CompactString::from(text);
    address.make_ascii_lowercase();
    (at > 0 && at + 1 < text.len()).then_some(address)
}

/// The normal form of a single address in a text without comments and quoted display names.
fn address(text: &str) -> Option<CompactString> {
    let inner = match memchr::memrchr(b'<', text.as_bytes()) {
        Some(open) => {
            let inner = &text[open + 1..];
            inner.split_once('>').map_or(inner, |(address, _)| address)
        }
        None => text,
    };
    let (local, domain) = without_scheme(inner.trim()).rsplit_once('@')?;
    let (local, domain) = (local.trim(), self::domain(domain)?);
    if local.is_empty() {
        return None;
    }
    let mut address = match local.is_ascii() {
        true => CompactString::from(local),
        false => CompactString::from(local.to_lowercase()),
    };
    address.make_ascii_lowercase();
    address.push('@');
    address.push_str(&domain);
    Some(address)
}

/// An address without `mailto:` and the header fields behind it (RFC 6068).
fn without_scheme(mut address: &str) -> &str {
    const SCHEME: &str = "mailto:";
    while let Some((scheme, rest)) = address.split_at_checked(SCHEME.len())
        && scheme.eq_ignore_ascii_case(SCHEME)
    {
        address = rest.split_once('?').map_or(rest, |(address, _)| address).trim_start();
    }
    address
}

/// A text without comments, quoted display names and invisible characters. A quoted local part remains.
fn visible(text: &str) -> String {
    let text: String = text.chars().filter(|character| !is_invisible(*character)).collect();
    let mut visible = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(character) = rest.chars().next() {
        let length = character.len_utf8();
        let (end, keep) = match character {
            '"' => closing(rest)
                .map_or((length, true), |end| (end, rest[end..].starts_with('@') && !rest[..end].contains('<'))),
            '(' => (closing(rest).unwrap_or(rest.len()), false),
            _ => (length, true),
        };
        if keep {
            visible.push_str(&rest[..end]);
        }
        rest = &rest[end..];
    }
    visible
}

/// The end of the quoted string or comment that a text begins with; `None` if it is not closed.
fn closing(text: &str) -> Option<usize> {
    let comment = text.starts_with('(');
    let mut depth = 0_usize;
    let mut escaped = false;
    text.bytes().enumerate().find_map(|(at, byte)| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'(' if comment => depth += 1,
            b')' if comment => depth -= 1,
            b'"' if !comment => depth = usize::from(at == 0),
            _ => {}
        }
        (depth == 0).then_some(at + 1)
    })
}

/// Whether a character has no width: controls, joiners, marks of direction, selectors of variants.
fn is_invisible(character: char) -> bool {
    let blank = character.is_whitespace();
    let listed = matches!(character, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{feff}')
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(character, '\u{fe00}'..='\u{fe0f}' | '\u{e0000}'..='\u{e007f}');
    listed || (character.is_control() && !blank)
}
