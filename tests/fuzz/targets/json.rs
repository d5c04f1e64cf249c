//! Fuzzes JSON events: nothing panics, and accepted events round-trip through both encodings.

#![no_main]

use funnelwatch::codec::{json, protobuf};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(event) = json::decode(bytes) else { return };
    let (mut text, mut message) = (Vec::new(), Vec::new());
    json::encode_event(&event, &mut text);
    assert_eq!(json::decode(&text).as_ref(), Ok(&event), "{}", String::from_utf8_lossy(&text));
    protobuf::encode_event(&event, &mut message);
    assert_eq!(protobuf::decode(event.payload.topic(), &message), Ok(event));
});
