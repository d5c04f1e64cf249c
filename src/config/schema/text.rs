//! Names and strings of a document in problems, and in document syntax.

/// Marks a duplicate key so that the parser accepts it and all duplicates are reported at once.
pub(super) const DUPLICATE: char = '\u{e000}';

pub(super) fn join(path: &str, name: &str) -> String {
    match path {
        "" => excerpt(name),
        path => format!("{path}.{}", excerpt(name)),
    }
}

/// The beginning of a string, on one line.
pub(super) fn excerpt(text: &str) -> String {
    let text = text.replace(DUPLICATE, "");
    let mut line: String = text.chars().take(40).map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if text.chars().nth(40).is_some() {
        line.push('…');
    }
    line
}

/// A string as YAML, quoted unless it is unambiguous.
pub(crate) fn word(text: &str) -> String {
    let plain = text.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    if plain { text.into() } else { serde_json::Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ambiguous_strings_are_quoted() {
        for (text, shown) in [("WEB", "WEB"), ("no", "\"no\""), ("1", "\"1\""), ("a: b", "\"a: b\""), ("ж", "\"ж\"")]
        {
            assert_eq!(word(text), shown);
        }
    }
}
