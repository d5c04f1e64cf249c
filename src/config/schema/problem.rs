//! Problems of a document, errors and notes alike: file, line, key path and message.

use super::env::reason;
use std::{fmt, io};

/// One problem of a document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The document.
    pub file: String,
    /// The line, from 1; 0 for the document as a whole.
    pub line: usize,
    /// The path of the key, such as `norms.neglected.within`; may be empty.
    pub path: String,
    /// The message.
    pub text: String,
}

/// The problem of a document that cannot be read.
pub(crate) fn unreadable(file: &str, error: &io::Error) -> Problem {
    Problem { file: file.into(), line: 0, path: String::new(), text: format!("cannot read file: {}", reason(error)) }
}

/// Sorts problems in document order and removes duplicates.
pub(crate) fn sorted(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort();
    problems.dedup();
    problems
}

/// All problems of a document; displayed one per line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.text)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if index == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
