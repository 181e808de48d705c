//! The schema registry goes away and comes back (F04): what needs it waits, a person is told once, nothing is lost.

use jiff::Timestamp;
use noctus::domain::event::Quote;
use noctus::domain::text::Symbol;
use noctus::kafka::producer::Outgoing;
use noctus::runtime::clock;
use noctus::wire::{self, Subject};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{Line, Role, open_policy, order};
use crate::stack::{Stack, until};

/// A way to a service that can be cut.
pub struct Cable {
    pub url: String,
    cut: watch::Sender<bool>,
}

impl Cable {
    pub async fn to(url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").expect("a scheme");
        let (at, path) = rest.split_once('/').expect("a path");
        let (user, host) = at.split_once('@').map_or(("", at), |(user, host)| (user, host));
        let user = if user.is_empty() { String::new() } else { format!("{user}@") };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let near = listener.local_addr().expect("it is bound");
        let (cut, is_cut) = watch::channel(false);
        let host = host.to_string();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (mut is_cut, host) = (is_cut.clone(), host.clone());
                tokio::spawn(async move {
                    if *is_cut.borrow() {
                        return;
                    }
                    let mut far = TcpStream::connect(host).await.expect("the service is there");
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = is_cut.wait_for(|cut| *cut) => {}
                    }
                });
            }
        });
        Self { url: format!("{scheme}://{user}{near}/{path}"), cut }
    }

    pub fn cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }
}

/// A line whose gate reaches the registry over the cable; its sink needs none.
async fn line(cable: &Cable) -> (Line, Role, Role) {
    let mut line = Line::new(2, |config| {
        config.policies.risk = Some(open_policy());
        config.registry.url = cable.url.clone();
        config.registry.unknown_schema_ms = 2_000;
        config.registry.absent_alert_ms = 1_000;
        config.registry.timeout_ms = 500;
    })
    .await;
    let sink = line.start_with("sink", &[("NOCTUS_REGISTRY__URL", Stack::get().registry.as_str())]);
    let gate = line.start("gate");
    line.produce(&[order("outage-0001", "USDJPY")], Some(1)).await;
    line.until("SELECT count(*) FROM outbox_orders", "1").await;
    (line, gate, sink)
}

/// A well signed request under a schema id that nobody has registered.
fn unknown(line: &Line, id: u32) -> Outgoing {
    let mut value = line.record(&order("outage-bad-1", "USDJPY"), None).value.expect("a value");
    value[1..5].copy_from_slice(&id.to_be_bytes());
    let key = b"main|USDJPY".to_vec();
    Outgoing { partition: Some(0), ..line.sealed(Subject::OrderRequest, key, value) }
}

fn times(role: &Role, text: &str) -> usize {
    role.log().matches(text).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f04_an_absent_registry_is_told_once_an_outage_and_so_is_its_end() {
    let cable = Cable::to(&Stack::get().registry).await;
    let (line, gate, _sink) = line(&cable).await;
    let refused = "SELECT count(*) FROM obs_alerts WHERE policy_name = 'ingest.unknown_schema'";
    for (outage, id) in [(1, 77_777_001_u32), (2, 77_777_002)] {
        cable.cut(true);
        line.send(&[unknown(&line, id)]).await;
        let away = async || gate.metric("noctus_registry_away_seconds").await;
        until(away, |seconds| *seconds >= 3.0).await;
        assert_eq!(times(&gate, "the schema registry does not answer"), outage, "once an outage");
        // What is known goes on.
        line.produce(&[order(&format!("outage-1{outage:03}"), "USDJPY")], Some(1)).await;
        line.until("SELECT count(*) FROM outbox_orders", &(outage + 1).to_string()).await;
        cable.cut(false);
        line.until(refused, &outage.to_string()).await;
        until(away, |seconds| *seconds == 0.0).await;
        until(async || times(&gate, "the schema registry answers again"), |n| *n == outage).await;
    }
    // Two outages that began within a minute are one alert.
    let told =
        "SELECT string_agg(DISTINCT severity::text, ' ') || ' ' || (count(*) BETWEEN 1 AND 2)
                  FROM obs_alerts WHERE policy_name = 'ingest.registry_unavailable'";
    line.until(told, "HIGH true").await;
    assert_eq!(line.dump("dead-letters").len(), 2, "only what nobody registered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f04_a_quote_that_needs_the_registry_is_waited_for_and_nothing_is_judged_without_it() {
    let cable = Cable::to(&Stack::get().registry).await;
    let (line, gate, _sink) = line(&cable).await;
    // The record is made while the registry is there; the gate has seen no quote and knows no schema of one.
    let symbol = Symbol::new("EURJPY").expect("a symbol");
    let at: Timestamp = clock::now();
    let body = wire::quote::encode(&symbol, &Quote { bid: 160.into(), ask: 161.into(), at });
    let quote = line.signed(Subject::Quote, &symbol, &body.expect("it fits")).await;
    cable.cut(true);
    line.send(&[quote]).await;
    until(async || times(&gate, "a quote waits for its schema"), |n| *n > 0).await;
    let mut market = order("outage-market", "EURJPY");
    market["order_type"] = json!("MARKET");
    market.as_object_mut().expect("an object").remove("limit_price");
    line.produce(&[market], None).await;
    let away = async || gate.metric("noctus_registry_away_seconds").await;
    until(away, |seconds| *seconds >= 3.0).await;
    assert_eq!(line.ask("SELECT count(*) FROM outbox_orders").await, "1", "it waits");
    cable.cut(false);
    line.until("SELECT count(*) FROM outbox_orders", "2").await;
    let row = "SELECT action || ' ' || (payload->'quote'->>'ask') FROM outbox_orders
                WHERE idempotency_key = 'outage-market'";
    assert_eq!(line.ask(row).await, "BUY 161", "decided with the quote");
}
