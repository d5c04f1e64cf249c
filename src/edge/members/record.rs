//! Owns the record by which a process announces which shards it answers for, and the address in it.

use crate::domain::source::ShardId;
use axum::http::uri::Authority;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The largest record that is read, in bytes.
pub(super) const MAX_BYTES: usize = 1 << 20;
/// The longest name of a process, in bytes.
const MAX_NAME: usize = 256;
/// The longest address, in bytes.
const MAX_URL: usize = 512;

/// The address of the endpoints of a process: `http://HOST:PORT` and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberUrl(Authority);

impl MemberUrl {
    /// Reads an address; `None`: it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("http://").filter(|_| text.len() <= MAX_URL)?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        let authority: Authority = rest.bytes().all(is_plain).then_some(rest)?.parse().ok()?;
        (!authority.host().is_empty() && authority.port_u16().is_some_and(|port| port > 0)).then_some(Self(authority))
    }

    /// Host and port, as in a `Host` header.
    pub fn authority(&self) -> &str {
        self.0.as_str()
    }

    /// The host, an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        self.0.host()
    }

    /// The host without brackets, and the port, for connecting.
    pub fn target(&self) -> (&str, u16) {
        (self.0.host().trim_start_matches('[').trim_end_matches(']'), self.0.port_u16().unwrap_or_default())
    }
}

impl fmt::Display for MemberUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.0)
    }
}

/// What a process announces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The process; the key of the record.
    pub member: String,
    /// Where the others reach it.
    pub url: MemberUrl,
    /// The run of the process: another one each time that it starts.
    pub run: String,
    /// The number of the record within the run.
    pub number: u64,
    /// The shards that it answers for, each with the generation of the group in which it was assigned.
    pub shards: BTreeMap<ShardId, i32>,
}

/// The same as JSON.
#[derive(Serialize, Deserialize)]
struct Json {
    member: String,
    url: String,
    shards: Vec<u32>,
    generations: Vec<i32>,
    run: String,
    number: u64,
}

impl Announcement {
    /// The value of the record.
    pub fn encode(&self) -> Vec<u8> {
        let (shards, generations) = self.shards.iter().map(|(shard, generation)| (shard.0, *generation)).unzip();
        let json = Json {
            member: self.member.clone(),
            url: self.url.to_string(),
            shards,
            generations,
            run: self.run.clone(),
            number: self.number,
        };
        serde_json::to_vec(&json).unwrap_or_default()
    }

    /// Reads the value of a record with this key; `None`: it is not valid.
    pub fn decode(key: &str, value: &[u8]) -> Option<Self> {
        if value.len() > MAX_BYTES {
            return None;
        }
        let Json { member, url, shards, generations, run, number } = serde_json::from_slice(value).ok()?;
        let is_named = member == key && !member.is_empty() && member.len() <= MAX_NAME && run.len() <= MAX_NAME;
        if !is_named || shards.len() != generations.len() {
            return None;
        }
        let shards = shards.into_iter().map(ShardId).zip(generations).collect();
        Some(Self { url: MemberUrl::parse(&url)?, member, run, number, shards })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (text, target) in [
            ("http://10.0.0.7:9464", ("10.0.0.7", 9464)),
            ("http://[fd00::7]:80", ("fd00::7", 80)),
            ("http://funnelwatch-0.funnelwatch-pods:9464", ("funnelwatch-0.funnelwatch-pods", 9464)),
        ] {
            let url = MemberUrl::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((url.to_string().as_str(), url.target()), (text, target));
        }
        for text in [
            "",
            "http://",
            "http://:1",
            "http://a",
            "http://a:0",
            "http://a:65536",
            "https://a:1",
            "http://user@a:1",
            "http://a:1/",
            "http://a:1/path",
            "http://a:1?q",
            "http://a:1#f",
            "http://a:1\r\nx: y",
            "http://a b:1",
            "http://a,b:1",
            "HTTP://a:1",
        ] {
            assert_eq!(MemberUrl::parse(text), None, "{text}");
        }
        assert_eq!(MemberUrl::parse(&format!("http://{}:1", "a".repeat(MAX_URL))), None);
    }

    #[test]
    fn an_announcement_is_read_as_it_was_written_and_others_are_refused() {
        let announcement = Announcement {
            member: "funnelwatch-0".into(),
            url: MemberUrl::parse("http://10.0.0.7:9464").expect("an address"),
            run: "r".into(),
            number: 7,
            shards: BTreeMap::from([(ShardId(0), 3), (ShardId(11), 4)]),
        };
        let value = announcement.encode();
        assert_eq!(
            String::from_utf8_lossy(&value),
            r#"{"member":"funnelwatch-0","url":"http://10.0.0.7:9464","shards":[0,11],"generations":[3,4],"run":"r","number":7}"#
        );
        assert_eq!(Announcement::decode("funnelwatch-0", &value), Some(announcement));
        assert_eq!(Announcement::decode("funnelwatch-1", &value), None, "another key");
        let text = String::from_utf8(value).expect("UTF-8");
        for (from, to) in [("[3,4]", "[3]"), ("http://", "https://"), ("[0,11]", "[-1,11]"), ("\"r\"", "0"), ("}", "")]
        {
            assert_eq!(Announcement::decode("funnelwatch-0", text.replace(from, to).as_bytes()), None, "{from} {to}");
        }
        let long = format!("{text}{}", " ".repeat(MAX_BYTES));
        assert_eq!(Announcement::decode("funnelwatch-0", long.as_bytes()), None);
    }
}
