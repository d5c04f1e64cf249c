//! Owns the description of messages that were gone before they were read.

use crate::domain::source::ShardId;
use std::fmt;

/// Messages of a source partition that are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostOffsets {
    /// The topic.
    pub topic: String,
    /// Its partition; `None`: all of them.
    pub shard: Option<ShardId>,
    /// The number of offsets, at least 1. It includes transaction markers, and of a topic that was created again only what
    /// had been read and was not applied yet.
    pub offsets: u64,
    /// How they were lost.
    pub cause: LossCause,
}

/// How messages were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossCause {
    /// The log begins behind what is to be read: it expired, or was deleted.
    Expired,
    /// The log ends before what was read: brokers lost it.
    Cut,
    /// The topic was deleted and created again.
    Recreated,
}

impl fmt::Display for LostOffsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, shard, offsets, cause } = self;
        write!(f, "{topic}")?;
        if let Some(shard) = shard {
            write!(f, " partition {shard}")?;
        }
        match cause {
            LossCause::Expired => {
                write!(f, ": {offsets} offsets are gone before they were read: they expired or were deleted")
            }
            LossCause::Cut => {
                write!(f, ": the last {offsets} offsets that were read are gone: the brokers have lost them")
            }
            LossCause::Recreated => {
                write!(f, ": the topic was deleted and created again; at least {offsets} offsets are gone")
            }
        }
    }
}
