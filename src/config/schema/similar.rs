//! Finds the known name that a misspelled one probably means.

/// The known name closest to `found`, if any is similar enough to suggest.
pub(crate) fn nearest<'n>(found: &str, names: &[&'n str]) -> Option<&'n str> {
    let found = found.to_lowercase();
    let compared: String = found.chars().take(MAX_COMPARED).collect();
    let distance = |name: &str| strsim::osa_distance(&compared, &name.to_lowercase());
    let (distance, name) = names.iter().map(|name| (distance(name), *name)).min()?;
    let length = name.chars().count();
    let near = distance <= 2.min(length / 2) || distance * 4 <= length;
    let by_prefix = || names.iter().copied().find(|name| found.len() >= 3 && name.to_lowercase().starts_with(&found));
    if near { Some(name) } else { by_prefix() }
}

/// Limits the cost of a comparison with a long text.
const MAX_COMPARED: usize = 80;

/// The suggestion to append to a message about an unknown name; empty if no known name is similar.
pub(crate) fn suggestion(found: &str, names: &[&str]) -> String {
    nearest(found, names).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found() {
        let names = ["within", "clock", "min_sample", "escalate_after"];
        for (found, near) in [
            ("withn", Some("within")),
            ("iwthin", Some("within")),
            ("Clock", Some("clock")),
            ("minsample", Some("min_sample")),
            ("escalate", Some("escalate_after")),
            ("severity", None),
            ("", None),
        ] {
            assert_eq!(nearest(found, &names), near, "{found}");
        }
    }
}
