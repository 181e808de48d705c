use super::*;
use crate::kafka::registry::{Registry as Client, RegistryError};
use crate::runtime::config::RegistryConfig;

async fn client(registry: &Registry) -> Client {
    let config = RegistryConfig { url: registry.url().into(), ..RegistryConfig::default() };
    Client::new(&config).expect("a client of a local address")
}

#[tokio::test]
async fn every_embedded_schema_is_found_by_its_subject_and_by_its_id() {
    let registry = Registry::start().await.unwrap();
    let client = client(&registry).await;
    for subject in Subject::ALL {
        let id = client.id_of(&subject_of(subject.topic()), subject.schema()).await.unwrap();
        assert_eq!(&*client.schema(id).await.unwrap(), subject.schema(), "{subject:?}");
    }
    let versions = client.versions("order-requests-value").await.unwrap();
    assert_eq!(versions.iter().map(|v| v.version).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn what_is_not_there_is_unknown_and_not_unavailable() {
    let registry = Registry::start().await.unwrap();
    let client = client(&registry).await;
    let error = client.schema(9_999).await.unwrap_err();
    assert!(matches!(error, RegistryError::UnknownId(9_999)), "{error}");
    let error = client.id_of("who-value", Subject::Quote.schema()).await.unwrap_err();
    assert!(matches!(error, RegistryError::NotRegistered { .. }), "{error}");
    let other = client.id_of("quotes-value", Subject::Alert.schema()).await.unwrap_err();
    assert!(matches!(other, RegistryError::NotRegistered { .. }), "{other}");
    assert!(client.versions("who-value").await.unwrap().is_empty());
}

#[tokio::test]
async fn registering_again_gives_the_same_id_and_a_prefix_gives_a_subject_of_its_own() {
    let registry = Registry::start().await.unwrap();
    let client = client(&registry).await;
    let text = Subject::Quote.versions()[0];
    let id = client.id_of("quotes-value", Subject::Quote.schema()).await.unwrap();
    assert_eq!(client.register("quotes-value", text).await.unwrap(), id);
    assert_eq!(client.register("x-quotes-value", text).await.unwrap(), id);
    client.set_compatibility("x-quotes-value", "FULL_TRANSITIVE").await.unwrap();
    let error = client.register("quotes-value", "{\"type\":\"nonsense\"}").await.unwrap_err();
    assert!(matches!(error, RegistryError::Refused { status: 422, .. }), "{error}");
}
