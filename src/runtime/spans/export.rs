//! The way of spans to an OTLP receiver: a bounded queue, and one task that sends what is in it.

use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use opentelemetry::trace::{
    Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use tokio::sync::{mpsc, oneshot};

use super::{Kind, Span, SpansError};
use crate::domain::trace_context::TraceContext;
use crate::runtime::config::Tracing;

/// Spans of one call to the receiver.
const BATCH_MAX: usize = 512;
/// How long the first span of a call waits for others.
const LINGER: Duration = Duration::from_millis(500);

enum Told {
    Span(Box<Span>),
    /// Everything before this is to be sent now.
    Flush(oneshot::Sender<()>),
}

static QUEUE: OnceLock<mpsc::Sender<Told>> = OnceLock::new();
/// Spans that found the queue full.
static DROPPED: AtomicU64 = AtomicU64::new(0);

pub(super) fn on() -> bool {
    QUEUE.get().is_some()
}

pub(super) fn tell(span: Span) {
    let Some(queue) = QUEUE.get().filter(|_| span.parent.is_sampled()) else { return };
    if queue.try_send(Told::Span(Box::new(span))).is_err() {
        DROPPED.fetch_add(1, Relaxed);
    }
}

pub(super) async fn flush(limit: Duration) {
    let Some(queue) = QUEUE.get() else { return };
    let (done, sent) = oneshot::channel();
    let all = async {
        if queue.send(Told::Flush(done)).await.is_ok() {
            let _ = sent.await;
        }
    };
    if tokio::time::timeout(limit, all).await.is_err() {
        tracing::warn!("the last spans did not reach their receiver in time");
    }
}

pub(super) fn start(config: &Tracing, endpoint: &str, worker: &str) -> Result<(), SpansError> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .with_timeout(Duration::from_millis(config.otlp_timeout_ms));
    let mut exporter = exporter.build().map_err(|e| SpansError::Exporter(e.to_string()))?;
    exporter.set_resource(
        &Resource::builder_empty()
            .with_service_name(config.service_name.clone())
            .with_attribute(KeyValue::new("service.instance.id", worker.to_string()))
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build(),
    );
    let (queue, told) = mpsc::channel(config.otlp_queue_max);
    if QUEUE.set(queue).is_ok() {
        tokio::spawn(send(exporter, told));
    }
    Ok(())
}

/// Sends what is told until nobody can tell any more.
async fn send(exporter: SpanExporter, mut told: mpsc::Receiver<Told>) {
    let mut heard = Vec::with_capacity(BATCH_MAX);
    let mut is_away = false;
    loop {
        if told.recv_many(&mut heard, BATCH_MAX).await == 0 {
            return;
        }
        let flushes = |heard: &[Told]| heard.iter().any(|told| matches!(told, Told::Flush(_)));
        if heard.len() < BATCH_MAX && !flushes(&heard) {
            tokio::time::sleep(LINGER).await;
            while heard.len() < BATCH_MAX && !flushes(&heard) {
                let Ok(more) = told.try_recv() else { break };
                heard.push(more);
            }
        }
        let (mut spans, mut waiting) = (Vec::with_capacity(heard.len()), Vec::new());
        for told in heard.drain(..) {
            match told {
                Told::Span(span) => spans.push(data(*span)),
                Told::Flush(done) => waiting.push(done),
            }
        }
        let count = spans.len();
        let sent = if spans.is_empty() { Ok(()) } else { exporter.export(spans).await };
        match &sent {
            Ok(()) if is_away => tracing::info!("the OTLP receiver takes spans again"),
            Ok(()) => {}
            // Once an outage: spans are worth less than the log.
            Err(error) if !is_away => {
                tracing::warn!(%error, spans = count, "spans do not reach their receiver and are dropped");
            }
            Err(_) => {}
        }
        is_away = sent.is_err();
        let dropped = DROPPED.swap(0, Relaxed);
        if dropped > 0 {
            tracing::warn!(spans = dropped, "spans were dropped: the queue was full");
        }
        for done in waiting {
            // Whoever waited may have given up.
            let _ = done.send(());
        }
    }
}

fn context(trace: &TraceContext, span: [u8; 8], is_remote: bool) -> SpanContext {
    let state = trace.tracestate().map(TraceState::from_str);
    SpanContext::new(
        TraceId::from_bytes(trace.trace_id()),
        SpanId::from_bytes(span),
        TraceFlags::SAMPLED,
        is_remote,
        state.and_then(Result::ok).unwrap_or_default(),
    )
}

fn system_time(at: Timestamp) -> SystemTime {
    let since = u64::try_from(at.as_microsecond()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_micros(since)
}

fn data(span: Span) -> SpanData {
    let Span { parent, hop, is_root, .. } = &span;
    let mut links = SpanLinks::default();
    let within = span.within.as_ref();
    links.links.extend(within.map(|w| Link::with_context(context(w, w.parent_id(), false))));
    SpanData {
        span_context: context(parent, parent.span(hop), false),
        parent_span_id: match is_root {
            true => SpanId::INVALID,
            false => SpanId::from_bytes(parent.parent_id()),
        },
        parent_span_is_remote: !is_root,
        span_kind: match span.kind {
            Kind::Consumer => SpanKind::Consumer,
            Kind::Client => SpanKind::Client,
            Kind::Internal => SpanKind::Internal,
        },
        name: span.name.into(),
        start_time: system_time(span.began),
        end_time: system_time(span.ended.max(span.began)),
        attributes: span.attributes.into_iter().map(|(k, v)| KeyValue::new(k, v)).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links,
        status: match span.failed {
            Some(why) => Status::error(why),
            None => Status::Unset,
        },
        instrumentation_scope: InstrumentationScope::builder("noctus").build(),
    }
}
