//! The layout versions of state records, and why a record cannot be used.

/// The layout version that is written.
pub const VERSION: u32 = 6;
/// The oldest layout version that is read. Versions 1 and 2 were written before the first release.
pub const OLDEST: u32 = 3;

/// Why a record cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateFlaw {
    /// Not a record, or modified after it was written.
    Damaged,
    /// Written with a layout version that is no longer supported.
    Older(u32),
    /// Written by a newer version.
    Newer(u32),
    /// Contains an identifier unknown to this version.
    Unknown(&'static str),
}

impl std::fmt::Display for StateFlaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damaged => write!(f, "the record is damaged"),
            Self::Older(version) => {
                write!(
                    f,
                    "the record has layout version {version}, this program reads {OLDEST} to {VERSION}; stop all \
                     processes, remove the shard's state with `funnelwatch state reset --shard N --yes`, and set the \
                     group's offsets back to read the source topics again"
                )
            }
            Self::Newer(version) => {
                write!(
                    f,
                    "the record has layout version {version}, written by a newer program; this program reads {OLDEST} \
                     to {VERSION}"
                )
            }
            Self::Unknown(what) => write!(f, "the record contains {what} unknown to this program"),
        }
    }
}

impl std::error::Error for StateFlaw {}
