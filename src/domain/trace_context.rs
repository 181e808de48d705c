//! Owns the W3C trace context of an input (`traceparent`, `tracestate`), and how it goes on from hop to hop.
//! Never trusts it: headers are not signed, so it decides nothing, and what the recommendation forbids is dropped.
//! Invariant: what a hop passes on is a function of the input's context and of what the hop is, so an event that is
//! written again has the same headers.

use sha2::{Digest, Sha256};

/// The header with trace id, parent and flags.
pub const TRACEPARENT: &str = "traceparent";
/// The header with what vendors add.
pub const TRACESTATE: &str = "tracestate";

/// The flags that are passed on: sampled, and that the trace id is random.
const FLAGS_KNOWN: u8 = 0b11;
const SAMPLED: u8 = 0b01;
/// Most members of a `tracestate`.
const MEMBERS_MAX: usize = 32;
/// A longer `tracestate` loses members, characters.
const STATE_MAX: usize = 512;
/// Members longer than this go first, characters.
const MEMBER_LONG: usize = 128;

/// Why a context is not taken; what came with it is decided as if there were none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum BadTraceContext {
    #[error("more than one traceparent header")]
    Twice,
    #[error(
        "traceparent is not version-trace_id-parent_id-flags in lower hex, or one of its parts is forbidden"
    )]
    Traceparent,
}

/// Where in a trace something happens: the trace, and the span that caused it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace_id: [u8; 16],
    parent_id: [u8; 8],
    flags: u8,
    state: Option<String>,
}

type Header = (String, Option<Vec<u8>>);

impl TraceContext {
    /// The context of a record; none if it has no `traceparent`. A bad `tracestate` is dropped alone.
    pub fn of_headers(headers: &[Header]) -> Result<Option<Self>, BadTraceContext> {
        let named = |wanted: &'static str| {
            let of_name = move |(name, _): &&Header| name.eq_ignore_ascii_case(wanted);
            headers.iter().filter(of_name).map(|(_, value)| value.as_deref().unwrap_or_default())
        };
        let mut parents = named(TRACEPARENT);
        let parent = match (parents.next(), parents.next()) {
            (None, _) => return Ok(None),
            (Some(parent), None) => parent,
            (Some(_), Some(_)) => return Err(BadTraceContext::Twice),
        };
        let parent = std::str::from_utf8(parent).map_err(|_| BadTraceContext::Traceparent)?;
        // Several headers are one list, in their order.
        let states: Option<Vec<&str>> =
            named(TRACESTATE).map(|state| std::str::from_utf8(state).ok()).collect();
        let state = states.map(|states| states.join(",")).unwrap_or_default();
        Self::parse(parent, Some(&state)).map(Some)
    }

    /// Reads both headers' values.
    pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Result<Self, BadTraceContext> {
        let (trace_id, parent_id, flags) =
            parent(traceparent).ok_or(BadTraceContext::Traceparent)?;
        Ok(Self { trace_id, parent_id, flags, state: tracestate.and_then(state) })
    }

    /// The same trace, one hop further: `hop` names the span, e.g. an event's id.
    pub fn child(&self, hop: &str) -> Self {
        Self { parent_id: self.span(hop), flags: self.flags & FLAGS_KNOWN, ..self.clone() }
    }

    /// The id of the span of a hop in this trace.
    pub fn span(&self, hop: &str) -> [u8; 8] {
        let mut hash = Sha256::new_with_prefix(b"noctus-span-v1");
        hash.update(self.trace_id);
        hash.update(hop.as_bytes());
        let mut id = [0; 8];
        id.copy_from_slice(&hash.finalize()[..8]);
        // Zero is no id; one in 2^64 takes another.
        if id == [0; 8] { [1; 8] } else { id }
    }

    /// The trace.
    pub fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    /// The span that caused this.
    pub fn parent_id(&self) -> [u8; 8] {
        self.parent_id
    }

    /// Whether whoever began the trace may have recorded it.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The trace that begins with what is called so, e.g. a Noctus trace id; begun again it is the same.
    pub fn begun(name: &str, hop: &str) -> Self {
        let mut trace_id = [0; 16];
        let hash = Sha256::new_with_prefix(b"noctus-trace-v1").chain_update(name.as_bytes());
        trace_id.copy_from_slice(&hash.finalize()[..16]);
        let root = Self { trace_id, parent_id: [1; 8], flags: SAMPLED, state: None };
        root.child(hop)
    }

    /// A context as the ledger keeps it.
    pub fn stored(traceparent: Option<&str>, tracestate: Option<&str>) -> Option<Self> {
        Self::parse(traceparent?, tracestate).ok()
    }

    /// The header's value.
    pub fn traceparent(&self) -> String {
        let (trace, parent) = (hex::encode(self.trace_id), hex::encode(self.parent_id));
        format!("00-{trace}-{parent}-{:02x}", self.flags & FLAGS_KNOWN)
    }

    /// The other header's value, if there is one.
    pub fn tracestate(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// The headers to send it on with.
    pub fn headers(&self) -> Vec<Header> {
        let mut headers = vec![(TRACEPARENT.to_string(), Some(self.traceparent().into_bytes()))];
        if let Some(state) = &self.state {
            headers.push((TRACESTATE.to_string(), Some(state.clone().into_bytes())));
        }
        headers
    }
}

/// The headers of a hop of a trace, none without a trace.
pub fn headers_of(trace: Option<&TraceContext>, hop: &str) -> Vec<Header> {
    trace.map_or_else(Vec::new, |trace| trace.child(hop).headers())
}

/// The hop in which an order is decided.
pub fn decide(key: &str) -> String {
    format!("decide {key}")
}

/// The hop in which a command is decided.
pub fn command(key: &str) -> String {
    format!("command {key}")
}

/// The hop in which an input is refused, by where it lies.
pub fn refuse(topic_id: &str, partition: i32, offset: i64) -> String {
    format!("refuse {topic_id} {partition} {offset}")
}

/// The hop in which an order is sent for this time; before the first time it is still that of its decision.
pub fn send(key: &str, attempt_no: i32) -> String {
    match attempt_no {
        ..=0 => decide(key),
        _ => format!("send {key} {attempt_no}"),
    }
}

/// `00-<32 hex>-<16 hex>-<2 hex>`; a later version may have more behind it.
fn parent(text: &str) -> Option<([u8; 16], [u8; 8], u8)> {
    let bytes = text.as_bytes();
    let lower = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    let part = |from: usize, to: usize| bytes.get(from..to).filter(|p| p.iter().all(lower));
    let dashes = [2, 35, 52].iter().all(|at| bytes.get(*at) == Some(&b'-'));
    let version = part(0, 2).filter(|version| *version != b"ff")?;
    let ends = match bytes.len() {
        55 => true,
        56.. => version != b"00" && bytes[55] == b'-',
        _ => false,
    };
    if !dashes || !ends {
        return None;
    }
    let (mut trace_id, mut parent_id, mut flags) = ([0; 16], [0; 8], [0; 1]);
    hex::decode_to_slice(part(3, 35)?, &mut trace_id).ok()?;
    hex::decode_to_slice(part(36, 52)?, &mut parent_id).ok()?;
    hex::decode_to_slice(part(53, 55)?, &mut flags).ok()?;
    let is_valid = trace_id != [0; 16] && parent_id != [0; 8];
    is_valid.then_some((trace_id, parent_id, flags[0]))
}

/// The members that are passed on; none if there are none, or one of them is malformed.
fn state(text: &str) -> Option<String> {
    let parts = text.split(',').map(|member| member.trim_matches([' ', '\t']));
    let mut members: Vec<&str> = Vec::new();
    for member in parts.filter(|member| !member.is_empty()) {
        let (key, value) = member.split_once('=')?;
        let is_new = members.iter().all(|known| known.split('=').next() != Some(key));
        if !is_key(key) || !is_value(value) || !is_new || members.len() == MEMBERS_MAX {
            return None;
        }
        members.push(member);
    }
    let length = |members: &[&str]| members.iter().map(|m| m.len() + 1).sum::<usize>();
    if length(&members) > STATE_MAX + 1 {
        members.retain(|member| member.len() <= MEMBER_LONG);
    }
    while length(&members) > STATE_MAX + 1 {
        members.pop();
    }
    (!members.is_empty()).then(|| members.join(","))
}

/// `vendor` or `tenant@vendor`.
fn is_key(key: &str) -> bool {
    let rest = |text: &str, most: usize| {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-*/".contains(&b);
        text.len() <= most && text.bytes().all(fits)
    };
    let begins = |text: &str, with_digit: bool| {
        let first = text.bytes().next();
        first.is_some_and(|b| b.is_ascii_lowercase() || with_digit && b.is_ascii_digit())
    };
    match key.split_once('@') {
        None => begins(key, false) && rest(key, 256),
        Some((tenant, system)) => {
            begins(tenant, true) && rest(tenant, 241) && begins(system, false) && rest(system, 14)
        }
    }
}

fn is_value(value: &str) -> bool {
    let fits = |b: u8| matches!(b, 0x20..=0x7e) && b != b',' && b != b'=';
    (1..=256).contains(&value.len()) && value.bytes().all(fits) && !value.ends_with(' ')
}

#[cfg(test)]
mod tests;
