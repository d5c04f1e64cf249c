//! Loads the configuration of a command and logs what is suspicious in it.

use crate::config::{Config, Problem, Problems};
use crate::domain::norms::Norms;
use crate::domain::time::Timestamp;
use std::path::Path;

/// Loads a configuration file, or the defaults.
pub(super) fn load(path: Option<&Path>) -> Result<Config, Problems> {
    let config = match path {
        Some(path) => Config::load(path)?,
        None => Config::default(),
    };
    log_notes(&config.notes);
    Ok(config)
}

/// Logs valid but suspicious settings.
pub(super) fn log_notes(notes: &[Problem]) {
    for note in notes {
        tracing::warn!("{note}");
    }
}

/// Warns of calendars without holidays for the year of `at`, all of whose days count as ordinary.
pub(super) fn warn_missing_holidays(norms: &Norms, at: Timestamp) {
    for calendar in norms.calendars.values().filter(|calendar| !calendar.lists(at)) {
        tracing::warn!("calendar {}: no holidays listed for the year of {at}", calendar.name());
    }
}
