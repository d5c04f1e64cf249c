//! `check`: reports all problems of a configuration, or shows the norms that apply.

use super::configuration::{load, log_notes};
use crate::domain::id::UNKNOWN;
use crate::domain::norms::ScopeQuery;
use crate::{cli, config};
use std::io::{self, Write};

pub(super) fn check(args: &cli::Check) -> anyhow::Result<()> {
    let norms = match (&args.norms, &args.config) {
        (Some(path), _) => {
            let document = config::load_norms(path)?;
            log_notes(&document.notes);
            document.norms
        }
        (None, path) => load(path.as_deref())?.norms,
    };
    let query = ScopeQuery {
        tenant: args.tenant.as_deref().unwrap_or_default(),
        department: args.department.as_deref().unwrap_or(UNKNOWN),
        pipeline: args.pipeline.as_deref(),
        source: args.source.as_deref(),
    };
    io::stdout().lock().write_all(config::describe(&norms, query).as_bytes())?;
    Ok(())
}
