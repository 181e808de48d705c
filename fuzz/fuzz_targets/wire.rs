//! What a producer can put into a record: a signature's header, framing, and Avro bodies of every subject.
//! The first byte chooses what the rest is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use noctus::wire::{self, Subject, signature};

fuzz_target!(|data: &[u8]| {
    wire::set_limits();
    let Some((choice, rest)) = data.split_first() else { return };
    match choice % 4 {
        0 => header(rest),
        1 => signed(rest),
        _ => body(*choice / 4, rest),
    }
});

/// A header is read as it is written, or refused.
fn header(rest: &[u8]) {
    let Ok(text) = std::str::from_utf8(rest) else { return };
    if let Ok((kid, v1)) = signature::parse_header(text) {
        let hex: String = v1.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(signature::header(kid, &hex), text);
    }
}

/// What is signed verifies, and nothing else does: the parts cannot be moved into each other.
fn signed(rest: &[u8]) {
    let (at, rest) = rest.split_first().map_or((0, rest), |(at, rest)| (usize::from(*at), rest));
    let (key, value) = rest.split_at(at.min(rest.len()));
    let secret = b"a signing secret of thirty-two bytes.";
    let v1 = signature::sign(secret, "order-requests", Some(key), value);
    let text = signature::header("k", &v1);
    let (_, mac) = signature::parse_header(&text).expect("it is written as it is read");
    assert!(signature::verify(secret, "order-requests", Some(key), value, &mac));
    assert!(!signature::verify(secret, "proposal-sets", Some(key), value, &mac));
    if let Some((last, shorter)) = key.split_last() {
        let moved = [&[*last], value].concat();
        assert!(!signature::verify(secret, "order-requests", Some(shorter), &moved, &mac));
    }
    if let Ok(json) = serde_json::from_slice::<serde_json::Value>(value) {
        let v1 = signature::sign_json(secret, &json);
        let text = signature::header("k", &v1);
        let (_, mac) = signature::parse_header(&text).expect("it is written as it is read");
        let exact = signature::inexact_number(&json).is_none();
        assert_eq!(signature::verify_json(secret, &json, &mac), exact);
    }
}

/// A body by the newest schema of a subject: decoded and encoded again it is the same value, or it is refused.
fn body(choice: u8, rest: &[u8]) {
    let Ok((_, body)) = wire::split(rest) else { return };
    let subject = Subject::ALL[usize::from(choice) % Subject::ALL.len()];
    let schema = subject.schema();
    macro_rules! there_and_back {
        ($module:ident) => {{
            let Ok(value) = wire::$module::decode(body, schema) else { return };
            // A decision is rounded when it is written, and what does not fit is an error.
            let Ok(bytes) = wire::$module::encode(&value) else { return };
            let again = wire::$module::decode(&bytes, schema).expect("what was written can be read");
            let twice = wire::$module::encode(&again).expect("what was read can be written");
            assert_eq!(bytes, twice, "equal values encode to equal bytes");
        }};
    }
    match subject {
        Subject::OrderRequest => there_and_back!(order_request),
        Subject::ProposalSet => there_and_back!(proposal_set),
        Subject::OrderCommand => there_and_back!(order_command),
        Subject::CommandOutcome => there_and_back!(command_outcome),
        Subject::Quote => {
            let Ok((symbol, quote)) = wire::quote::decode(body, schema) else { return };
            let Ok(bytes) = wire::quote::encode(&symbol, &quote) else { return };
            assert_eq!(wire::quote::decode(&bytes, schema), Ok((symbol, quote)));
        }
        Subject::Decision => there_and_back!(decision),
        Subject::Alert => there_and_back!(alert),
        Subject::ExecEvent => there_and_back!(exec_event),
        Subject::PlanRun => there_and_back!(plan_run),
        Subject::InferCall => there_and_back!(infer_call),
    }
}
