//! A row that Postgres refuses for its content does not hold the sink: its record is parked alone (I9).

use noctus::domain::event::{Action, Alert, EventId, Severity};
use noctus::kafka::producer::Outgoing;
use noctus::wire::{self, Subject};
use serde_json::{Value, json};

use super::base::{Order, at};
use super::role::Place;

/// Rules of the tables that some rows break: a check (23514), and a value that does not fit (22003).
const RULES: &str = "
    ALTER TABLE obs_decisions ADD CONSTRAINT planted CHECK (trace_id <> 't-bad');
    ALTER TABLE obs_alerts ADD CONSTRAINT planted CHECK (reason <> 'bad');
    CREATE FUNCTION planted() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN IF NEW.order_id = 'bad' THEN PERFORM 1000::numeric(2,1); END IF; RETURN NEW; END $$;
    CREATE TRIGGER planted BEFORE INSERT ON obs_exec_events FOR EACH ROW EXECUTE FUNCTION planted();";
const MENDED: &str = "
    ALTER TABLE obs_decisions DROP CONSTRAINT planted;
    ALTER TABLE obs_alerts DROP CONSTRAINT planted;
    DROP TRIGGER planted ON obs_exec_events;";

fn header(letter: &Value, name: &str) -> String {
    let headers = letter["headers"].as_array().expect("headers");
    let found = headers.iter().find(|h| h[0] == name).unwrap_or_else(|| panic!("{name}"));
    let bytes = hex::decode(found[1].as_str().expect("hex")).expect("hex");
    String::from_utf8(bytes).expect("text")
}

/// A decision, a step and an alert that the tables refuse.
async fn refused(place: &Place) -> [Outgoing; 3] {
    let order = Order::new("t-bad", "order-bad-1");
    let decision = order.decision_of(Action::Buy, Some("147.252"), at(30));
    let decision = wire::decision::encode(&decision).expect("it fits");
    let other = Order::new("t-other", "order-other-1");
    let mut step = other.step(1, noctus::domain::event::OrderStatus::Sent, at(41));
    step.order_id = "bad".into();
    let step = wire::exec_event::encode(&step).expect("it fits");
    let alert = Alert {
        event_id: EventId("0123456789abcdef0123456789abcdef".into()),
        trace_id: None,
        idempotency_key: None,
        policy_name: "risk.halted".into(),
        severity: Severity::Critical,
        reason: "bad".into(),
        details: json!({}),
        at: at(50),
    };
    let alert = wire::alert::encode(&alert).expect("it fits");
    [
        place.record(Subject::Decision, "t-bad", &decision).await,
        place.record(Subject::ExecEvent, "t-other", &step).await,
        Outgoing { key: None, ..place.record(Subject::Alert, "", &alert).await },
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f64_a_row_that_cannot_be_kept_is_parked_alone_and_written_when_it_is_read_again() {
    // One partition each, so that what is refused stands before what is good.
    let place = Place::with_partitions(1, |_| {}).await;
    place.base.sql(RULES).await;
    let bad = refused(&place).await;
    place.produce(&place.orders(0, 3).await).await;
    place.produce(&bad).await;
    place.produce(&place.orders(3, 6).await).await;
    let sink = place.sink("one").await;
    place.becomes("SELECT count(*) FROM obs_decisions", "6").await;
    place.becomes("SELECT count(*) FROM obs_exec_events", "18").await;
    let told = "SELECT string_agg(coalesce(trace_id, '-') || ' ' || severity || ' '
                       || substring(reason from '\\(([0-9A-Z]{5})\\)'), ', ' ORDER BY trace_id)
                  FROM obs_alerts WHERE policy_name = 'sink.unstorable'";
    place.becomes(told, "t-bad CRITICAL 23514, t-other CRITICAL 22003").await;
    place.becomes("SELECT count(*) FROM owed_events", "0").await;
    let letters = place.dump("dead-letters");
    let mut places: Vec<String> = letters
        .iter()
        .map(|l| {
            let topic = header(l, "noctus-origin-topic");
            let topic = topic.strip_prefix(&*place.prefix).expect("ours").to_string();
            let (offset, reason) = (header(l, "noctus-origin-offset"), header(l, "noctus-reason"));
            format!("{topic}/{offset} {reason}")
        })
        .collect();
    places.sort();
    let wanted = ["alerts/0 unstorable", "decisions/3 unstorable", "exec-events/9 unstorable"];
    assert_eq!(places, wanted, "an alert that cannot be kept makes no other one");
    let mut kept: Vec<&str> = letters.iter().filter_map(|l| l["value"].as_str()).collect();
    let mut sent: Vec<String> =
        bad.iter().map(|r| hex::encode(r.value.as_ref().expect("a value"))).collect();
    kept.sort_unstable();
    sent.sort_unstable();
    assert_eq!(kept, sent, "their bytes are unchanged");
    assert_eq!(sink.metrics.sink_refused.with_label_values(&["unstorable"]).get(), 3);
    sink.ready().await;

    // Mended and read again: what was parked is a row, and what was written is no second one.
    place.base.sql(MENDED).await;
    place.produce(&bad).await;
    place.becomes("SELECT count(*) FROM obs_decisions", "7").await;
    place.becomes("SELECT count(*) FROM obs_exec_events", "19").await;
    place.becomes("SELECT count(*) FROM obs_alerts", "3").await;
    assert_eq!(place.dump("dead-letters").len(), 3);
    sink.stop().await;
}
