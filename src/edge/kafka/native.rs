//! Owns the calls into librdkafka that the safe crate has no door for. Everything unsafe of the edge is here.

use rdkafka::bindings;
use rdkafka::client::{Client, ClientContext};
use rdkafka::message::BorrowedMessage;
use std::ffi::CStr;
use std::ptr;

/// Headers of a message, as batches keep them.
pub(super) type HeaderList = Box<[(String, Option<Vec<u8>>)]>;

/// Copies a message's headers; `None` if it has none. Names that are no UTF-8 are kept as well as can be: the safe
/// crate panics on them, and anybody who may write to the topic could stop the stream with one.
#[allow(unsafe_code)]
pub(super) fn headers(message: &BorrowedMessage<'_>) -> Option<HeaderList> {
    let mut list = Vec::new();
    let mut headers = ptr::null_mut();
    // SAFETY: the message is borrowed, so it lives until the end of this function, and so do its headers, which stay
    // its property; names are C strings, and values as long as librdkafka says or null. All is copied before we return.
    unsafe {
        if bindings::rd_kafka_message_headers(message.ptr(), &mut headers)
            != bindings::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            return None;
        }
        let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
        while bindings::rd_kafka_header_get_all(headers, list.len(), &mut name, &mut value, &mut length)
            == bindings::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            let name = CStr::from_ptr(name).to_string_lossy().into_owned();
            let value = (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), length).to_vec());
            list.push((name, value));
        }
    }
    Some(list.into_boxed_slice())
}

/// Who a consumer is to its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Membership {
    /// Given by the broker, anew each time somebody joins: one that was lost never comes back.
    pub(super) member: String,
    /// -1: the group has moved on without us.
    pub(super) generation: i32,
}

/// Who this consumer is to its group now; `None` if it is no member.
#[allow(unsafe_code)]
pub(super) fn membership<C: ClientContext>(client: &Client<C>) -> Option<Membership> {
    // SAFETY: the client is borrowed and thus alive. What it gives is ours until we destroy it, once; the member id is a C
    // string that lives as long, and is copied before that.
    unsafe {
        let metadata = bindings::rd_kafka_consumer_group_metadata(client.native_ptr());
        if metadata.is_null() {
            return None;
        }
        let id = bindings::rd_kafka_consumer_group_metadata_member_id(metadata);
        let member = if id.is_null() { String::new() } else { CStr::from_ptr(id).to_string_lossy().into_owned() };
        let generation = bindings::rd_kafka_consumer_group_metadata_generation_id(metadata);
        bindings::rd_kafka_consumer_group_metadata_destroy(metadata);
        (!member.is_empty()).then_some(Membership { member, generation })
    }
}

/// Makes the mock cluster of this client form groups at once instead of after 3 s.
#[allow(unsafe_code)]
pub(super) fn form_groups_at_once<C: ClientContext>(client: &Client<C>) {
    // SAFETY: the client is borrowed and thus alive, its mock cluster with it; a client without one gives null, which
    // is not passed on. librdkafka takes its own lock for the change.
    unsafe {
        let cluster = bindings::rd_kafka_handle_mock_cluster(client.native_ptr());
        if !cluster.is_null() {
            bindings::rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0);
        }
    }
}
