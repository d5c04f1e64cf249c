//! Fuzzes protobuf events of any topic: nothing panics, and accepted events round-trip through both encodings.

#![no_main]

use funnelwatch::codec::{json, protobuf};
use funnelwatch::domain::source::Topic;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for topic in Topic::ALL {
        let Ok(event) = protobuf::decode(topic, bytes) else { continue };
        let (mut text, mut message) = (Vec::new(), Vec::new());
        protobuf::encode_event(&event, &mut message);
        assert_eq!(protobuf::decode(topic, &message).as_ref(), Ok(&event));
        json::encode_event(&event, &mut text);
        assert_eq!(json::decode(&text), Ok(event), "{}", String::from_utf8_lossy(&text));
    }
});
