//! Owns what every Kafka client of Noctus has in common: where the brokers are and how long to wait for them.
//! Never sets what only a consumer or only a producer needs. Invariant: no client makes a topic by naming it.

use rdkafka::ClientConfig;

use crate::runtime::config::Config;

/// A request not answered after this long has failed and is sent again, milliseconds (librdkafka's own: 60 s).
const SOCKET_TIMEOUT_MS: u32 = 10_000;
/// A connection not usable after this long (TCP, TLS, SASL) is given up and tried again, milliseconds.
const CONNECT_TIMEOUT_MS: u32 = 10_000;
/// Longest pause between tries to connect, milliseconds: a broker that is back is noticed this soon.
const RECONNECT_BACKOFF_MAX_MS: u32 = 2_000;

/// The base of every client: consumer, producer, admin. `kafka.properties` come last and win.
pub fn client(config: &Config) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &config.kafka.brokers)
        .set("client.id", "noctus")
        .set("allow.auto.create.topics", "false")
        .set("socket.keepalive.enable", "true")
        .set("socket.timeout.ms", SOCKET_TIMEOUT_MS.to_string())
        .set("socket.connection.setup.timeout.ms", CONNECT_TIMEOUT_MS.to_string())
        .set("reconnect.backoff.max.ms", RECONNECT_BACKOFF_MAX_MS.to_string());
    for (name, value) in &config.kafka.properties {
        client.set(name, value);
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_operator_sets_wins_and_librdkafka_knows_every_property() {
        let mut config = Config::default();
        config.kafka.brokers = "kafka-1:9092".into();
        config.kafka.properties.insert("socket.timeout.ms".into(), "20000".into());
        let client = client(&config);
        assert_eq!(client.get("bootstrap.servers"), Some("kafka-1:9092"));
        assert_eq!(client.get("socket.timeout.ms"), Some("20000"));
        assert_eq!(client.get("allow.auto.create.topics"), Some("false"));
        client.create_native_config().expect("every name and value is one that librdkafka takes");
    }
}
