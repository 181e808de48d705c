//! A record as it lies in a topic, with the bytes exactly as they are.

use std::ffi::CStr;
use std::ptr;
use std::sync::Arc;

use jiff::Timestamp;
use rdkafka::Message;
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Headers};
use rdkafka_sys as native;

use crate::domain::trace_context::TraceContext;

/// A topic of ours: its actual name, what stands for it in contracts and signatures, and Kafka's id of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Topic {
    pub name: Arc<str>,
    pub logical: &'static str,
    pub id: Arc<str>,
}

/// One record and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Record {
    /// The topic's actual name.
    pub topic: Arc<str>,
    /// Its name in the contract, e.g. `order-requests`.
    pub logical: &'static str,
    pub topic_id: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    /// The broker's or the producer's, as the topic is set; absent if Kafka knows none.
    pub timestamp: Option<Timestamp>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// The epoch under which its reader held the partition; 0 outside of a group.
    pub epoch: i64,
}

impl Record {
    pub(super) fn of(topic: &Topic, message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            (0..headers.count()).map_while(|at| header(headers, at)).collect()
        });
        let millis = message.timestamp().to_millis();
        Self {
            topic: topic.name.clone(),
            logical: topic.logical,
            topic_id: topic.id.clone(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp: millis.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers,
            epoch: 0,
        }
    }

    /// The trace that it belongs to; none if its headers name none, or a bad one.
    pub fn trace(&self) -> Option<TraceContext> {
        TraceContext::of_headers(&self.headers).ok().flatten()
    }
}

/// A header, whoever wrote it: rdkafka's own reading panics at a name that is not UTF-8. Of such a name what is no
/// text is replaced.
fn header(headers: &BorrowedHeaders, at: usize) -> Option<(String, Option<Vec<u8>>)> {
    let list: *const native::rd_kafka_headers_t = ptr::from_ref(headers).cast();
    let (mut name, mut value, mut bytes) = (ptr::null(), ptr::null(), 0);
    // SAFETY: rdkafka makes a `&BorrowedHeaders` of the pointer to librdkafka's list and casts it back like this
    // itself; the list lives as long as the message, which `headers` borrows.
    let told =
        unsafe { native::rd_kafka_header_get_all(list, at, &mut name, &mut value, &mut bytes) };
    if told != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
        return None;
    }
    // SAFETY: a name ends in zero, and a value has so many bytes; both belong to the list and are copied here.
    let (name, value) = unsafe {
        let value = (!value.is_null())
            .then(|| std::slice::from_raw_parts(value.cast::<u8>(), bytes).to_vec());
        (CStr::from_ptr(name).to_string_lossy().into_owned(), value)
    };
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use super::*;

    /// What is read of headers with these names, each with a value.
    fn read(names: &[&[u8]]) -> Vec<(String, Option<Vec<u8>>)> {
        // SAFETY: the list is made, filled, read and freed here; names and values are copied into it.
        unsafe {
            let list = native::rd_kafka_headers_new(names.len());
            for name in names {
                let name = CString::new(*name).expect("no zero in it");
                native::rd_kafka_header_add(list, name.as_ptr(), -1, [1_u8, 2].as_ptr().cast(), 2);
            }
            let headers: &BorrowedHeaders = &*list.cast();
            let read = (0..headers.count()).map_while(|at| header(headers, at)).collect();
            native::rd_kafka_headers_destroy(list);
            read
        }
    }

    #[test]
    fn f02_a_header_whose_name_is_no_text_is_read_like_any_other() {
        let value = || Some(vec![1, 2]);
        let read = read(&[b"before", b"\xff\xfe name", b"", b"after"]);
        let names = ["before", "\u{fffd}\u{fffd} name", "", "after"];
        let wanted: Vec<_> = names.iter().map(|name| (name.to_string(), value())).collect();
        assert_eq!(read, wanted);
    }
}
