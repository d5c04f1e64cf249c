//! Owns the search for another process with the same `transactional_id`: two of them would fence each other forever.
//!
//! Brokers give a static member the id `<group.instance.id>-<UUID>`, and forget it when its session is over.

use super::client::{self, CallError, is_connection};
use super::patience::{PAUSE, Patience};
use crate::config::Config;
use rdkafka::consumer::Consumer;
use std::time::{Duration, Instant};

/// How long after the end of a run its successor may take to join the group.
const JOIN_TIME: Duration = Duration::from_secs(3);
/// How long the group may remember a member of this process that has not left: longer than its session (6 s by default).
const MEMORY: Duration = Duration::from_secs(10);
/// Timeout of one request.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// The length of a UUID as text.
const UUID: usize = 36;

/// Whether a member of the group has the id of this process, which is none any more. `false` also if a stop is requested.
/// Waits for brokers.
pub(super) fn exists(config: &Config, patience: &mut Patience<'_>) -> Result<bool, CallError> {
    let client = client::metadata_client(&config.kafka)?;
    let mut answered = None;
    std::thread::sleep(JOIN_TIME);
    while !patience.is_stopped() {
        match client.fetch_group_list(Some(&config.kafka.group), QUERY_TIMEOUT) {
            Ok(list) => {
                let members = list.groups().iter().flat_map(rdkafka::groups::GroupInfo::members);
                let is_namesake = |id: &str| is_of(id, &config.kafka.transactional_id);
                if !members.map(rdkafka::groups::GroupMemberInfo::id).any(is_namesake) {
                    return Ok(false);
                }
                // Sessions do not end while there is no coordinator.
                if answered.get_or_insert_with(Instant::now).elapsed() > MEMORY - JOIN_TIME {
                    return Ok(true);
                }
            }
            Err(error) if error.rdkafka_error_code().is_some_and(is_connection) => {
                answered = None;
                patience.go_on(&format!("look at the group {}: {error}", config.kafka.group));
            }
            // Without the right to see the group nothing is known.
            Err(error) => {
                tracing::warn!("look at the group {}: {error}", config.kafka.group);
                return Ok(false);
            }
        }
        std::thread::sleep(PAUSE);
    }
    Ok(false)
}

/// Whether a member id is that of a static member with this instance id.
fn is_of(member: &str, instance: &str) -> bool {
    let uuid = member.strip_prefix(instance).and_then(|rest| rest.strip_prefix('-'));
    uuid.is_some_and(|uuid| uuid.len() == UUID)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_recognized_by_its_instance_id() {
        assert!(is_of("funnelwatch-0-453b877a-4b8e-4a5b-9c1d-0123456789ab", "funnelwatch-0"));
        assert!(!is_of("funnelwatch-0-1-453b877a-4b8e-4a5b-9c1d-0123456789ab", "funnelwatch-0"));
        assert!(!is_of("funnelwatch-1-453b877a-4b8e-4a5b-9c1d-0123456789ab", "funnelwatch-0"));
        assert!(!is_of("funnelwatch-0", "funnelwatch-0"));
    }
}
