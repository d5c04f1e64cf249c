//! Owns the librdkafka calls that the `rdkafka` crate does not expose. All unsafe code of the edge is here.

use crate::domain::source::Offset;
use rdkafka::bindings;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::BorrowedMessage;
use std::ffi::{CStr, CString, c_int};
use std::ptr;
use std::time::Duration;
use uuid::Uuid;

/// Headers of a message, as batches store them.
pub(super) type HeaderList = Box<[(String, Option<Vec<u8>>)]>;

/// Copies a message's headers; `None` if it has none. Names that are not UTF-8 are converted lossily: the `rdkafka`
/// crate panics on them, so anyone with write access to the topic could stop the stream.
#[allow(unsafe_code)]
pub(super) fn headers(message: &BorrowedMessage<'_>) -> Option<HeaderList> {
    let mut list = Vec::new();
    let mut headers = ptr::null_mut();
    // SAFETY: the message is borrowed, so it and its headers, which it owns, outlive this function; names are C
    // strings, and values are null or have the length that librdkafka returns. Everything is copied before we return.
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

/// The ids of topics; without those that do not exist or have no id.
#[allow(unsafe_code)]
pub(super) fn topic_ids<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    timeout: Duration,
) -> Vec<(String, Uuid)> {
    let names: Vec<CString> = topics.iter().filter_map(|topic| CString::new(*topic).ok()).collect();
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let millis = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
    let mut ids = Vec::new();
    // SAFETY: the client is borrowed and thus alive, and so are the names, which librdkafka copies. We own the collection,
    // the options, the queue and the event until we destroy them, once; a queue may be destroyed before its event comes.
    // The descriptions belong to the event, and are copied before that.
    unsafe {
        let client = client.native_ptr();
        let collection = bindings::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        let operation = bindings::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let options = bindings::rd_kafka_AdminOptions_new(client, operation);
        bindings::rd_kafka_AdminOptions_set_request_timeout(options, millis, ptr::null_mut(), 0);
        let queue = bindings::rd_kafka_queue_new(client);
        bindings::rd_kafka_DescribeTopics(client, collection, options, queue);
        let event = bindings::rd_kafka_queue_poll(queue, millis);
        if !event.is_null() {
            let result = bindings::rd_kafka_event_DescribeTopics_result(event);
            let mut count = 0;
            let found = if result.is_null() {
                ptr::null_mut()
            } else {
                bindings::rd_kafka_DescribeTopics_result_topics(result, &mut count)
            };
            for index in 0..count {
                let description = *found.add(index);
                let id = bindings::rd_kafka_TopicDescription_topic_id(description);
                let name = bindings::rd_kafka_TopicDescription_name(description);
                let error = bindings::rd_kafka_TopicDescription_error(description);
                if bindings::rd_kafka_error_code(error) != bindings::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
                    || id.is_null()
                {
                    continue;
                }
                let high = bindings::rd_kafka_Uuid_most_significant_bits(id);
                let low = bindings::rd_kafka_Uuid_least_significant_bits(id);
                let id = Uuid::from_u64_pair(high.cast_unsigned(), low.cast_unsigned());
                if !id.is_nil() {
                    ids.push((CStr::from_ptr(name).to_string_lossy().into_owned(), id));
                }
            }
            bindings::rd_kafka_event_destroy(event);
        }
        bindings::rd_kafka_queue_destroy(queue);
        bindings::rd_kafka_AdminOptions_destroy(options);
        bindings::rd_kafka_TopicCollection_destroy(collection);
    }
    ids
}

/// What a partition returned first after a seek.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Probed {
    /// A message, or the end of the partition.
    Readable,
    /// A batch that cannot be read: the offset that librdkafka names it by, and the problem, without any content.
    Unreadable(Offset, String),
}

/// Whether an error means that a batch cannot be read: unknown compression, an invalid or too large result of
/// unpacking, a wrong checksum, a batch that no fetch is large enough for.
pub(super) fn is_unreadable(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::BadCompression
            | RDKafkaErrorCode::BadMessage
            | RDKafkaErrorCode::NotImplemented
            | RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::CriticalSystemResource
    )
}

/// Takes the next message or error from the queue of a partition, which must have been split off; `None`: neither. The
/// `rdkafka` crate returns errors without their offset.
#[allow(unsafe_code)]
pub(super) fn probe<C: ClientContext>(client: &Client<C>, topic: &str, partition: i32) -> Option<Probed> {
    let topic = CString::new(topic).ok()?;
    // SAFETY: the client is borrowed and thus alive, and so is the name of the topic. We own the reference to the queue
    // and the message until we destroy them, once; the text of an error has the length that librdkafka returns, and is
    // copied before that.
    unsafe {
        let queue = bindings::rd_kafka_queue_get_partition(client.native_ptr(), topic.as_ptr(), partition);
        if queue.is_null() {
            return None;
        }
        let message = bindings::rd_kafka_consume_queue(queue, 0);
        bindings::rd_kafka_queue_destroy(queue);
        let found = message.as_ref().and_then(|found| {
            let code = RDKafkaErrorCode::from(found.err);
            match code {
                RDKafkaErrorCode::NoError | RDKafkaErrorCode::PartitionEOF => Some(Probed::Readable),
                code if is_unreadable(code) => {
                    let text = (!found.payload.is_null())
                        .then(|| std::slice::from_raw_parts(found.payload.cast::<u8>(), found.len));
                    let text = text.map_or_else(|| code.to_string(), |text| String::from_utf8_lossy(text).into_owned());
                    Some(Probed::Unreadable(Offset(found.offset), text))
                }
                // librdkafka retries.
                _ => None,
            }
        });
        if !message.is_null() {
            bindings::rd_kafka_message_destroy(message);
        }
        found
    }
}

/// A consumer's membership in its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Membership {
    /// The member id. The coordinator assigns a new one at each join, so a lost one is never reused.
    pub(super) member: String,
    /// -1: not part of the current generation.
    pub(super) generation: i32,
}

/// The consumer's current membership; `None` if it is not a member.
#[allow(unsafe_code)]
pub(super) fn membership<C: ClientContext>(client: &Client<C>) -> Option<Membership> {
    // SAFETY: the client is borrowed and thus alive. We own the returned metadata until we destroy it, once; the member
    // id is a C string that lives as long as the metadata, and is copied before that.
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

/// Sets the initial rebalance delay of this client's mock cluster to 0 instead of 3 s.
#[allow(unsafe_code)]
pub(super) fn disable_initial_rebalance_delay<C: ClientContext>(client: &Client<C>) {
    // SAFETY: the client is borrowed and thus alive, and so is its mock cluster; a client without one returns null,
    // which is not passed on. librdkafka takes its own lock for the change.
    unsafe {
        let cluster = bindings::rd_kafka_handle_mock_cluster(client.native_ptr());
        if !cluster.is_null() {
            bindings::rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0);
        }
    }
}
