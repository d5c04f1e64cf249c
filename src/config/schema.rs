//! A schema engine for YAML documents: declared keys, typed values with their lines, and all problems of a document at
//! once. It contains no key of this program; documents are declared above it.

pub(crate) mod canonical;
mod encoding;
pub(crate) mod env;
pub mod key;
pub(crate) mod problem;
pub(crate) mod reader;
mod scalar;
pub(crate) mod similar;
pub(crate) mod text;
pub(crate) mod typed;
pub(crate) mod units;
pub(crate) mod value;
