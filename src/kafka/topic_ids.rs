//! Owns the one call that librdkafka has and rdkafka has not: DescribeTopics, for Kafka's topic ids.
//! Never keeps a pointer beyond the call. Invariant: whatever librdkafka hands out is freed by [`Owned`].

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char};
use std::ptr::NonNull;

use rdkafka::client::{Client, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as native;
use rdkafka_sys::types::{RDKafkaAdminOp, RDKafkaRespErr, RDKafkaType};

use super::admin::AdminError;

/// How much longer than librdkafka's own time-out its answer is waited for, milliseconds.
const GRACE_MS: i32 = 1_000;

/// Asks the brokers; blocks for up to `timeout_ms` and a second.
pub(super) fn ask(
    config: &ClientConfig,
    topics: &[String],
    timeout_ms: i32,
) -> Result<HashMap<String, String>, AdminError> {
    let names: Vec<CString> =
        topics.iter().map(|t| CString::new(t.as_str())).collect::<Result<_, _>>().map_err(
            |_| AdminError::Unusable {
                what: "a topic's name",
                why: "it contains a zero byte".into(),
            },
        )?;
    // As rdkafka's own AdminClient does it: a producer is the lighter of the two kinds.
    let kind = RDKafkaType::RD_KAFKA_PRODUCER;
    let native = config.create_native_config()?;
    let client = Client::new(config, native, kind, DefaultClientContext)?;
    let event = describe(&client, &names, timeout_ms)?;
    read(&event)
}

/// Something of librdkafka's that is freed when it goes out of scope.
struct Owned<T> {
    pointer: NonNull<T>,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// # Safety
    /// `pointer` is null or owned by the caller, and `free` is the function that frees it.
    unsafe fn new(
        what: &'static str,
        pointer: *mut T,
        free: unsafe extern "C" fn(*mut T),
    ) -> Result<Self, AdminError> {
        let none = || AdminError::Unusable { what, why: "librdkafka could not make it".into() };
        Ok(Self { pointer: NonNull::new(pointer).ok_or_else(none)?, free })
    }

    fn as_ptr(&self) -> *mut T {
        self.pointer.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: by the contract of `new` this is ours and this function frees it; it is dropped once.
        unsafe { (self.free)(self.pointer.as_ptr()) }
    }
}

/// Sends the request and waits for the event that answers it.
fn describe(
    client: &Client<DefaultClientContext>,
    names: &[CString],
    timeout_ms: i32,
) -> Result<Owned<native::rd_kafka_event_t>, AdminError> {
    let mut pointers: Vec<*const c_char> = names.iter().map(|n| n.as_ptr()).collect();
    let mut told = [0 as c_char; 256];
    // SAFETY: the client lives longer than everything made of it here. `pointers` holds as many
    // strings as is said, ending in zero, and `told` as many bytes; both are only read or written
    // during the call they are given to (librdkafka copies the names). Each constructor is paired
    // with the destructor its documentation names.
    unsafe {
        let queue = Owned::new(
            "a queue",
            native::rd_kafka_queue_new(client.native_ptr()),
            native::rd_kafka_queue_destroy,
        )?;
        let topics = Owned::new(
            "a collection of topics",
            native::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()),
            native::rd_kafka_TopicCollection_destroy,
        )?;
        let options = Owned::new(
            "options",
            native::rd_kafka_AdminOptions_new(
                client.native_ptr(),
                RDKafkaAdminOp::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            ),
            native::rd_kafka_AdminOptions_destroy,
        )?;
        let set = native::rd_kafka_AdminOptions_set_request_timeout(
            options.as_ptr(),
            timeout_ms,
            told.as_mut_ptr(),
            told.len(),
        );
        fail("the time-out", set)?;
        native::rd_kafka_DescribeTopics(
            client.native_ptr(),
            topics.as_ptr(),
            options.as_ptr(),
            queue.as_ptr(),
        );
        let event =
            native::rd_kafka_queue_poll(queue.as_ptr(), timeout_ms.saturating_add(GRACE_MS));
        Owned::new("an answer in time", event, native::rd_kafka_event_destroy)
    }
}

/// Reads the ids out of an event; everything is copied, since it lives no longer than the event.
fn read(event: &Owned<native::rd_kafka_event_t>) -> Result<HashMap<String, String>, AdminError> {
    // SAFETY: the event is alive. `topics` is an array of `count` descriptions that live as long
    // as the event, each with a name and an id; strings end in zero. Null is looked for wherever
    // librdkafka's documentation allows it. The event is of this thread only, so that the id's text,
    // which librdkafka writes into the id when it is first asked for, is written by nobody else.
    unsafe {
        fail("DescribeTopics", native::rd_kafka_event_error(event.as_ptr()))?;
        let result = native::rd_kafka_event_DescribeTopics_result(event.as_ptr());
        if result.is_null() {
            let why = "it is an event of another kind".into();
            return Err(AdminError::Unusable { what: "the answer to DescribeTopics", why });
        }
        let mut count = 0;
        let topics = native::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        let mut ids = HashMap::with_capacity(count);
        for at in 0..count {
            let topic = *topics.add(at);
            let name = text(native::rd_kafka_TopicDescription_name(topic)).unwrap_or_default();
            let error = native::rd_kafka_TopicDescription_error(topic);
            // Without an error librdkafka gives null or one whose code says so.
            let code = match error.is_null() {
                true => RDKafkaErrorCode::NoError,
                false => native::rd_kafka_error_code(error).into(),
            };
            match code {
                RDKafkaErrorCode::NoError => {}
                RDKafkaErrorCode::UnknownTopicOrPartition => return Err(AdminError::NoTopic(name)),
                code => return Err(AdminError::Refused { topic: name, code }),
            }
            let id = native::rd_kafka_TopicDescription_topic_id(topic);
            let known = !id.is_null()
                && (native::rd_kafka_Uuid_most_significant_bits(id) != 0
                    || native::rd_kafka_Uuid_least_significant_bits(id) != 0);
            let id = if known { text(native::rd_kafka_Uuid_base64str(id)) } else { None };
            let id = id.ok_or_else(|| AdminError::NoTopicId(name.clone()))?;
            // As Kafka's own tools write it: base64 for addresses.
            ids.insert(name, id.replace('+', "-").replace('/', "_"));
        }
        Ok(ids)
    }
}

/// # Safety
/// `pointer` is null or a string that ends in zero and lives during the call.
unsafe fn text(pointer: *const c_char) -> Option<String> {
    // SAFETY: by this function's own contract.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}

fn fail(what: &'static str, error: RDKafkaRespErr) -> Result<(), AdminError> {
    match RDKafkaErrorCode::from(error) {
        RDKafkaErrorCode::NoError => Ok(()),
        code => Err(AdminError::Failed { what, code }),
    }
}
