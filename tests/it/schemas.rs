//! The schemas on a real registry: what it refuses, what it lets through and the lint finds, and that old bytes decode.

use noctus::kafka::registry::{Registry, RegistryError, subject_of};
use noctus::ops::schemas::{Local, compare, local, register_all};
use noctus::runtime::config::Config;
use noctus::wire::{self, Subject};
use serde_json::{Value, json};

use crate::stack::{FreshPrefix, Stack, fresh_prefix};

async fn registered() -> (Config, Registry, FreshPrefix) {
    let prefix = fresh_prefix();
    let config = Stack::get().config("postgres://none", &prefix);
    register_all(&config).await.expect("the registry takes them; start it with tests/stack/up");
    let registry = Registry::new(&config.registry).expect("a client");
    (config, registry, prefix)
}

fn newest(subject: Subject) -> Value {
    serde_json::from_str(subject.versions().last().expect("a version")).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_subject_is_registered_full_transitive_and_the_lint_finds_nothing() {
    let (config, registry, _prefix) = registered().await;
    for subject in Subject::ALL {
        let name = subject_of(&config.topic(subject.topic()));
        let level = registry.compatibility(&name).await.expect("it answers");
        assert_eq!(level.as_deref(), Some("FULL_TRANSITIVE"), "{name}");
        let versions = registry.versions(&name).await.expect("it answers");
        assert_eq!(versions.len(), subject.versions().len(), "{name}");
    }
    let report = compare(&config, Some(&registry), local(None).expect("embedded")).await;
    let report = report.expect("it answers");
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert!(report.versions > Subject::ALL.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f05_an_incompatible_change_is_refused_by_the_registry() {
    let (config, registry, _prefix) = registered().await;
    let name = subject_of(&config.topic(Subject::OrderRequest.topic()));
    let mut schema = newest(Subject::OrderRequest);
    let fields = schema["fields"].as_array_mut().expect("fields");
    fields.push(json!({"name": "needed", "type": "string"}));
    let refused = registry.register(&name, &schema.to_string()).await;
    assert!(matches!(refused, Err(RegistryError::Refused { status: 409, .. })), "{refused:?}");
    assert_eq!(registry.versions(&name).await.expect("it answers").len(), 2, "nothing was added");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_registry_lets_through_the_lint_finds() {
    let (config, registry, _prefix) = registered().await;
    let name = subject_of(&config.topic(Subject::Quote.topic()));
    // Seconds for microseconds: a registry looks at the type, which stays long.
    let text = newest(Subject::Quote).to_string().replace("timestamp-micros", "timestamp-millis");
    registry.register(&name, &text).await.expect("this registry does not see it");
    let report = compare(&config, Some(&registry), local(None).expect("embedded")).await;
    let findings = report.expect("it answers").findings;
    assert!(
        findings.iter().any(|(subject, f)| *subject == name && f.to_string().contains("timestamp")),
        "{findings:?}"
    );
    // Another scale, in a folder of schemas that are not registered yet.
    let scaled = newest(Subject::Quote).to_string().replace("\"scale\":9", "\"scale\":8");
    let mine = Local { subject: Subject::Quote, label: "quote.avsc".into(), text: scaled };
    let report = compare(
        &config,
        None,
        [local(None).expect("embedded"), vec![mine]].into_iter().flatten().collect(),
    );
    let findings = report.await.expect("no registry is asked").findings;
    assert!(findings.iter().any(|(_, f)| f.to_string().contains("decimal(28,8)")), "{findings:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_of_v1_0_and_of_v1_1_decode_by_the_ids_of_the_registry() {
    let (config, registry, _prefix) = registered().await;
    let name = subject_of(&config.topic(Subject::OrderRequest.topic()));
    let versions = registry.versions(&name).await.expect("it answers");
    let draft: noctus::domain::request::OrderDraft = serde_json::from_value(json!({
        "schema_version": "1.0", "trace_id": "t-1", "symbol": "USDJPY", "side": "BUY", "qty": "1000.5",
        "requested_at": "2025-08-23T11:00:30.123456Z", "meta": {"a": "b"},
    }))
    .expect("an order");
    let v1_1 = wire::order_request::encode(&draft).expect("it fits");
    // v1.0 is v1.1 without its last field, whose absence is one byte.
    let v1_0 = v1_1[..v1_1.len() - 1].to_vec();
    for (version, body) in versions.iter().zip([v1_0, v1_1]) {
        let fresh = Registry::new(&config.registry).expect("a client that knows nothing");
        let schema = fresh.schema(version.id).await.expect("it is registered");
        let read = wire::order_request::decode(&body, &schema).expect("it decodes");
        assert_eq!(read, draft, "version {}", version.version);
    }
    let unknown = registry.schema(2_000_000_000).await;
    assert!(matches!(unknown, Err(RegistryError::UnknownId(_))), "{unknown:?}");
}
