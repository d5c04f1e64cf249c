//! Owns how the numbers and addresses of customers are written for those who may see them.

/// The kind of a contact, and how it is written, from its normal form.
pub(super) fn contact_value(normal: &str) -> (&'static str, String) {
    if normal.bytes().all(|byte| byte.is_ascii_digit()) {
        ("phone", format!("+{normal}"))
    } else if normal.contains('@') && !normal.contains(':') {
        ("email", normal.into())
    } else {
        ("handle", normal.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_forms_are_told_apart() {
        assert_eq!(contact_value("79160000001"), ("phone", "+79160000001".into()));
        assert_eq!(contact_value("a@b.example"), ("email", "a@b.example".into()));
        assert_eq!(contact_value("CHAT:a@b"), ("handle", "CHAT:a@b".into()));
    }
}
