//! What librdkafka says about its own properties: their names, and whether it accepts a value.

use rdkafka::ClientConfig;
use rdkafka::bindings::rd_kafka_conf_properties_show;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;
use std::ptr;

/// Why librdkafka does not accept a property.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no property of this name.
    Unknown,
    /// In librdkafka's words, which may contain the value.
    Invalid(String),
}

/// Sets a property in a configuration of its own; contradictions between properties are found when a client is created.
pub(super) fn try_set(name: &str, value: &str) -> Result<(), Refusal> {
    match ClientConfig::new().set(name, value).create_native_config() {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => Err(Refusal::Unknown),
        Err(KafkaError::ClientConfig(_, reason, ..)) => Err(Refusal::Invalid(reason)),
        // A name or value with a NUL byte.
        Err(_) => Err(Refusal::Invalid("it contains a zero byte".into())),
    }
}

/// The names of all properties. librdkafka lists them as a table in Markdown, as in its `CONFIGURATION.md`.
pub(super) fn names() -> Vec<String> {
    let table = table();
    let names = table.lines().filter_map(|line| line.split_once(" | ")).map(|(name, _)| name.trim().to_owned());
    let is_name = |name: &String| name.bytes().all(|byte| byte.is_ascii_lowercase() || b"._".contains(&byte));
    names.filter(is_name).collect()
}

#[allow(unsafe_code)]
fn table() -> String {
    let (mut text, mut size) = (ptr::null_mut(), 0);
    // SAFETY: the stream is written by librdkafka, and closed once. After that `text` is a buffer of `size` bytes that
    // belongs to us; it is copied and then freed, once. `free` accepts null.
    unsafe {
        let stream = libc::open_memstream(&raw mut text, &raw mut size);
        if stream.is_null() {
            return String::new();
        }
        rd_kafka_conf_properties_show(stream);
        libc::fclose(stream);
        let table = if text.is_null() { &[] } else { std::slice::from_raw_parts(text.cast::<u8>(), size) };
        let table = String::from_utf8_lossy(table).into_owned();
        libc::free(text.cast());
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_those_of_librdkafka() {
        let names = names();
        assert!(names.len() > 150, "{names:?}");
        for name in ["sasl.password", "sasl.mechanism", "ssl.ca.location", "compression.type", "fetch.wait.max.ms"] {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
        assert_eq!(try_set("sasl.password", "x"), Ok(()));
        assert_eq!(try_set("compression.type", "zstd"), Ok(()), "of topics");
        assert_eq!(try_set("sasl.pasword", "x"), Err(Refusal::Unknown));
        assert!(matches!(try_set("fetch.wait.max.ms", "x"), Err(Refusal::Invalid(_))));
        assert!(matches!(try_set("client.id", "a\0b"), Err(Refusal::Invalid(_))));
    }
}
