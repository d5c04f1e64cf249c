//! Fuzzes Schema Registry framing: nothing panics, the message is a suffix of the input, and framing round-trips.

#![no_main]

use funnelwatch::codec::{Encoding, decode, framing};
use funnelwatch::domain::source::Topic;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, u32, &[u8])| {
    let (in_header, schema_id, bytes) = input;
    for strip in [framing::strip_protobuf, framing::strip_json] {
        if let Ok(message) = strip(bytes, in_header) {
            assert!(bytes.ends_with(message) && (in_header || message.len() < bytes.len()));
        }
    }
    let mut framed_json = Vec::new();
    framing::write_json_prefix(schema_id, &mut framed_json);
    framed_json.extend_from_slice(bytes);
    assert_eq!(framing::strip_json(&framed_json, in_header), Ok(bytes));
    for topic in Topic::ALL {
        let _ = decode(Encoding::ConfluentProtobuf, topic, in_header, bytes);
        let _ = decode(Encoding::ConfluentJson, topic, in_header, bytes);
        let mut framed = Vec::new();
        framing::write_protobuf_prefix(schema_id, topic, &mut framed);
        framed.extend_from_slice(bytes);
        assert_eq!(framing::strip_protobuf(&framed, in_header), Ok(bytes));
        let plain = |encoding| decode(encoding, topic, false, bytes);
        let of_framed = decode(Encoding::ConfluentProtobuf, topic, in_header, &framed);
        assert_eq!(of_framed, plain(Encoding::Protobuf));
        assert_eq!(decode(Encoding::ConfluentJson, topic, in_header, &framed_json), plain(Encoding::Json));
    }
});
