//! Owns what is told of a document that is wrong, or suspicious: where, and what was found and is wanted.

use std::fmt;
use std::io;

/// One thing that is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The document.
    pub file: String,
    /// The line, from 1; 0 where it is the document as a whole.
    pub line: usize,
    /// The key, as in `norms.neglected.within`; may be empty.
    pub path: String,
    /// What was found and what is wanted.
    pub text: String,
}

/// The problem that a document cannot be read at all.
pub(crate) fn unreadable(file: &str, error: &io::Error) -> Problem {
    Problem { file: file.into(), line: 0, path: String::new(), text: format!("cannot read the file: {}", error.kind()) }
}

/// In the order of the document, each once.
pub(crate) fn sorted(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort();
    problems.dedup();
    problems
}

/// Everything that is wrong with a document: one problem a line.
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
