//! Owns hexadecimal digits and percent-encoding: bytes as ASCII text.

use std::fmt::Write as _;

/// Bytes in lowercase hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A text with all but the unreserved characters percent-encoded
/// (<https://www.rfc-editor.org/rfc/rfc3986#section-2.1>).
pub fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

/// A text as a segment of a path or as a value of a query: as above, and dots, too, because a segment of dots would be another
/// level of the path.
pub fn percent_encoded_segment(text: &str) -> String {
    percent_encoded(text).replace('.', "%2E")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_ascii() {
        assert_eq!(hex(&[0, 10, 255]), "000aff");
        assert_eq!(percent_encoded("a/b?c=ё -._~"), "a%2Fb%3Fc%3D%D1%91%20-._~");
        assert_eq!(percent_encoded_segment("../a b.c"), "%2E%2E%2Fa%20b%2Ec");
    }
}
