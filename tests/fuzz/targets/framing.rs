//! Fuzzes Schema Registry framing: nothing panics, the message is a suffix of the input, and framing round-trips.

#![no_main]

use funnelwatch::codec::{Encoding, decode, framing, protobuf};
use funnelwatch::domain::source::Topic;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, u32, &[u8])| {
    let (in_header, schema_id, bytes) = input;
    if let Ok(message) = framing::strip(bytes, in_header) {
        assert!(bytes.ends_with(message) && (in_header || message.len() < bytes.len()));
    }
    for topic in Topic::ALL {
        let _ = decode(Encoding::ConfluentProtobuf, topic, in_header, bytes);
        let mut framed = Vec::new();
        framing::write_prefix(schema_id, topic, &mut framed);
        framed.extend_from_slice(bytes);
        assert_eq!(framing::strip(&framed, in_header), Ok(bytes));
        assert_eq!(decode(Encoding::ConfluentProtobuf, topic, in_header, &framed), protobuf::decode(topic, bytes));
    }
});
