//! Owns what commands write apart from logs: files, standard output and progress bars.

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// The path that stands for standard output.
const STDOUT: &str = "-";

/// Whether `path` is given and stands for standard output.
pub(super) fn is_stdout(path: Option<&Path>) -> bool {
    path == Some(Path::new(STDOUT))
}

/// Opens standard output or creates a file.
pub(super) fn create(path: &Path) -> anyhow::Result<Box<dyn Write>> {
    if is_stdout(Some(path)) {
        return Ok(Box::new(io::stdout().lock()));
    }
    Ok(Box::new(File::create(path).with_context(|| format!("create {}", path.display()))?))
}

/// Writes a line per item.
pub(super) fn write_lines<T>(path: &Path, items: &[T], encode: impl Fn(&T, &mut Vec<u8>)) -> anyhow::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, create(path)?);
    let mut line = Vec::new();
    for item in items {
        line.clear();
        encode(item, &mut line);
        line.push(b'\n');
        out.write_all(&line)?;
    }
    Ok(out.flush()?)
}

/// A progress bar on standard error, if that is a terminal. `length` is the final position, if known.
pub(super) fn progress_bar(length: Option<u64>, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr_with_hz(5));
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
