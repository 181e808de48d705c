//! C-CMD-6: REPLACE: other terms for an order that waits or works, with what is reserved moved once.

use noctus::domain::event::OrderStatus;
use serde_json::{Value, json};

use super::super::{Line, Role, order, policy_file};
use super::{far_quotes, line, outcome_of, produce, rest, run};

fn replace(key: &str, target: &str, terms: Value) -> Value {
    let mut asked = super::cancel(key, target, "USDJPY");
    asked["action"] = json!("REPLACE");
    asked.as_object_mut().expect("an object").extend(terms.as_object().expect("terms").clone());
    asked
}

/// An order in the state, in a line with these roles.
async fn working(line: &Line, key: &str) {
    far_quotes(line).await;
    line.produce(&[order(key, "USDJPY")], None).await;
    line.until(&state_of(key), "ACCEPTED").await;
}

fn state_of(key: &str) -> String {
    format!("SELECT state FROM outbox_orders WHERE idempotency_key = '{key}'")
}

/// What works, and what the trace holds.
async fn reserved(line: &Line) -> String {
    let sql = "SELECT (SELECT sum(working_buy)::float8 FROM risk_positions) || ' ' ||
                      (SELECT sum(opening_notional)::float8 FROM risk_traces)";
    line.ask(sql).await
}

/// Its steps since the broker has it; how often it took to get there is not the matter.
async fn chain(line: &Line) -> String {
    let sql =
        "SELECT string_agg(status || coalesce(' ' || reason_code, '') || ' ' || size::float8, ', '
                      ORDER BY exec_seq) FROM obs_exec_events WHERE status NOT IN ('NEW','SENT','UNKNOWN')";
    line.ask(sql).await
}

async fn fill(line: &Line, id: &str, qty: &str) {
    let body = json!({"client_order_id": id, "qty": qty, "px": "1.5"});
    assert!(line.broker.post("/fills", &body).await.status().is_success());
}

/// Everything the broker ever filled of orders that it was sent.
async fn filled_at_the_broker(line: &Line) -> String {
    let told: Value =
        line.broker.get("/v1/positions?account=main").await.json().await.expect("positions");
    told["positions"][0]["qty"].to_string()
}

/// The client order id of the order that works at the broker.
async fn at_the_broker(line: &Line) -> String {
    line.ask("SELECT coalesce(replaced ->> 'order_id', idempotency_key) FROM outbox_orders").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replacement_lowers_the_quantity_or_changes_the_price_and_the_reservation_follows() {
    let mut line = line().await;
    let (_gate, _dispatch, _sink) =
        (line.start("gate"), line.start("dispatch"), line.start("sink"));
    working(&line, "terms-0001").await;
    let at_first = reserved(&line).await;
    let notional: f64 = at_first.split(' ').nth(1).expect("a number").parse().expect("one");
    let of = |part: f64| format!("{part}");
    produce(&line, &[replace("replace-0001", "terms-0001", json!({"qty": "2"}))]).await;
    line.until(&outcome_of("replace-0001"), "DONE -").await;
    assert_eq!(reserved(&line).await, format!("2 {}", of(notional * 2.0 / 3.0)));
    let asked = json!({"limit_price": "1.25"});
    produce(&line, &[replace("replace-0002", "terms-0001", asked)]).await;
    line.until(&outcome_of("replace-0002"), "DONE -").await;
    let now = line.broker.orders();
    let now = &now.last().expect("it came").order;
    assert_eq!(
        (now.qty.to_string(), now.limit_price.map(|p| p.to_string())),
        ("2".into(), Some("1.25".into()))
    );
    assert!(reserved(&line).await.starts_with("2 "));
    line.read_to_the_end("sink", &["exec-events", "command-outcomes"]).await;
    let wanted = "ACCEPTED 3, ACCEPTED replaced 2, ACCEPTED replaced 2";
    assert_eq!(chain(&line).await, wanted);
    let told =
        "SELECT string_agg(status, ' ' ORDER BY decided_at, status) FROM obs_command_outcomes";
    assert_eq!(line.ask(told).await, "ACCEPTED DONE ACCEPTED DONE");
    // What the gate would not let pass is refused, and the order is as it was.
    for (n, terms, code) in [
        (3, json!({"qty": "4"}), "would_grow"),
        (4, json!({"limit_price": "1.25"}), "nothing_changes"),
    ] {
        let key = format!("replace-000{n}");
        produce(&line, &[replace(&key, "terms-0001", terms)]).await;
        line.until(&outcome_of(&key), &format!("REFUSED {code}")).await;
    }
    produce(&line, &[replace("replace-0005", "nobody-0001", json!({"qty": "1"}))]).await;
    line.until(&outcome_of("replace-0005"), "REFUSED unknown_order").await;
    // It is filled as it is now, by its new quantity.
    fill(&line, &at_the_broker(&line).await, "2").await;
    rest(&line, 1).await;
    assert_eq!(line.ask(&state_of("terms-0001")).await, OrderStatus::Filled.as_str());
    assert_eq!(filled_at_the_broker(&line).await, "\"2\"");
    let story = run(&line, "explain terms-0001").with(0).out;
    assert!(story.contains("REPLACE qty 2") && story.contains("DONE"), "{story}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_was_not_sent_yet_goes_with_its_new_terms() {
    let mut line = line().await;
    let (_gate, _sink) = (line.start("gate"), line.start("sink"));
    far_quotes(&line).await;
    line.produce(&[order("unsent-0001", "USDJPY")], None).await;
    line.until(&state_of("unsent-0001"), "NEW").await;
    let terms = json!({"qty": "1", "limit_price": "1.75"});
    produce(&line, &[replace("replace-0001", "unsent-0001", terms)]).await;
    line.until(&outcome_of("replace-0001"), "ACCEPTED -").await;
    let _dispatch = line.start("dispatch");
    line.until(&outcome_of("replace-0001"), "DONE -").await;
    line.until(&state_of("unsent-0001"), "ACCEPTED").await;
    let sent = line.broker.orders();
    assert_eq!(sent.len(), 1, "it came once, with its new terms");
    let sent = &sent[0].order;
    assert_eq!(
        (sent.qty.to_string(), sent.limit_price.map(|p| p.to_string())),
        ("1".into(), Some("1.75".into()))
    );
    assert_eq!(sent.client_order_id, "unsent-0001");
    fill(&line, "unsent-0001", "1").await;
    rest(&line, 1).await;
    assert_eq!(reserved(&line).await.split(' ').next(), Some("0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fill_that_races_with_a_replacement_never_makes_the_whole_larger() {
    let mut line = line().await;
    let (_gate, mut dispatch, _sink) =
        (line.start("gate"), line.start("dispatch"), line.start("sink"));
    working(&line, "raced-0001").await;
    // Filled while nobody looks; the replacement is reckoned from what is known.
    dispatch.kill();
    produce(&line, &[replace("replace-0001", "raced-0001", json!({"qty": "2"}))]).await;
    line.until(&outcome_of("replace-0001"), "ACCEPTED -").await;
    fill(&line, "raced-0001", "1.5").await;
    let _dispatch = line.start("dispatch");
    line.until(&outcome_of("replace-0001"), "DONE -").await;
    let now = line.broker.orders();
    let now = &now.last().expect("it came").order;
    assert_eq!(now.qty.to_string(), "0.5", "what is left of 2 after 1.5");
    fill(&line, &at_the_broker(&line).await, "0.5").await;
    rest(&line, 1).await;
    assert_eq!(filled_at_the_broker(&line).await, "\"2\"");
    assert_eq!(line.ask(&state_of("raced-0001")).await, "FILLED");
    // More is filled than is left to be replaced: it fails, and the order goes on.
    line.produce(&[order("raced-0002", "USDJPY")], None).await;
    line.until(&state_of("raced-0002"), "ACCEPTED").await;
    fill(&line, "raced-0002", "2").await;
    line.until(&state_of("raced-0002"), "PARTIALLY_FILLED").await;
    produce(&line, &[replace("replace-0002", "raced-0002", json!({"qty": "2"}))]).await;
    line.until(&outcome_of("replace-0002"), "REFUSED too_much_filled").await;
    fill(&line, "raced-0002", "1").await;
    rest(&line, 2).await;
}

async fn lost(lies: Value) {
    let mut line = line().await;
    let (_gate, _dispatch, _sink) =
        (line.start("gate"), line.start("dispatch"), line.start("sink"));
    working(&line, "lost-00001").await;
    line.broker.lie(lies).await;
    produce(&line, &[replace("replace-0001", "lost-00001", json!({"qty": "2"}))]).await;
    let asked = "SELECT asked > 0 FROM order_commands";
    line.until(asked, "t").await;
    line.broker.lie(json!({})).await;
    line.until(&outcome_of("replace-0001"), "DONE -").await;
    let replacing: Vec<_> =
        line.broker.orders().into_iter().filter(|view| view.replaces.is_some()).collect();
    assert_eq!(replacing.len(), 1, "one order took its place");
    assert!(reserved(&line).await.starts_with("2 "), "{}", reserved(&line).await);
    fill(&line, &at_the_broker(&line).await, "2").await;
    rest(&line, 1).await;
    assert_eq!(chain(&line).await, "ACCEPTED 3, ACCEPTED replaced 2, FILLED 2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f51_a_replacement_whose_answer_is_lost_is_asked_about_and_in_force_once() {
    lost(json!({"drop_answer_every": 1})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f51_a_replacement_that_never_reached_the_broker_is_asked_for_again() {
    lost(json!({"reset_before_apply_every": 1})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f50_a_dispatcher_that_dies_around_the_write_of_a_replacement_leaves_one_order_in_its_place()
 {
    for point in ["dispatch/half-written:1", "dispatch/all-written:1"] {
        let mut line = line().await;
        let (_gate, mut first, _sink) =
            (line.start("gate"), line.start("dispatch"), line.start("sink"));
        working(&line, "killed-001").await;
        first.kill();
        produce(&line, &[replace("replace-0001", "killed-001", json!({"qty": "2"}))]).await;
        line.until(&outcome_of("replace-0001"), "ACCEPTED -").await;
        let mut doomed: Role = line.start_with("dispatch", &[("NOCTUS_CRASH", point)]);
        let died = doomed.process.wait().expect("it can be waited for");
        assert!(!died.success(), "{point}: {}", doomed.log());
        assert_eq!(
            line.ask("SELECT asked > 0 FROM order_commands").await,
            "t",
            "{point}: it was stored before"
        );
        let _dispatch = line.start("dispatch");
        line.until(&outcome_of("replace-0001"), "DONE -").await;
        let replacing = line.broker.orders().into_iter().filter(|view| view.replaces.is_some());
        assert_eq!(replacing.count(), 1, "{point}");
        fill(&line, &at_the_broker(&line).await, "2").await;
        rest(&line, 1).await;
        assert_eq!(filled_at_the_broker(&line).await, "\"2\"", "{point}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_limit_a_halt_or_a_cancel_forbids_is_refused_and_a_cancel_still_goes_through() {
    let text = "default: { max_position_notional: 500, max_order_qty: 100 }\n";
    let policy = policy_file("replaced-tight", text);
    let mut line = Line::new(4, |config| config.policies.risk = Some(policy)).await;
    let (_gate, _dispatch, _sink) =
        (line.start("gate"), line.start("dispatch"), line.start("sink"));
    far_quotes(&line).await;
    line.produce(&[order("tight-0001", "USDJPY")], None).await;
    line.until(&state_of("tight-0001"), "ACCEPTED").await;
    let before = reserved(&line).await;
    let asked = json!({"limit_price": "200"});
    produce(&line, &[replace("replace-0001", "tight-0001", asked)]).await;
    line.until(&outcome_of("replace-0001"), "REFUSED over_a_limit").await;
    assert_eq!(reserved(&line).await, before);
    assert_eq!(line.broker.orders().len(), 1);
    run(&line, "reduce-only --symbol USDJPY --reason test --as alice").with(0);
    produce(&line, &[replace("replace-0002", "tight-0001", json!({"qty": "1"}))]).await;
    line.until(&outcome_of("replace-0002"), "REFUSED reduce_only").await;
    produce(&line, &[super::cancel("cancel-0001", "tight-0001", "USDJPY")]).await;
    rest(&line, 1).await;
    assert_eq!(line.ask(&state_of("tight-0001")).await, "CANCELLED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_replaces_nothing_is_not_asked_to_and_the_order_goes_on_as_it_was() {
    let mut line = line().await;
    let address = line.broker.url.trim_start_matches("http://").to_string();
    line.broker.kill();
    line.broker.restart_at(&address, &["--no-replace"]);
    let (_gate, _dispatch, _sink) =
        (line.start("gate"), line.start("dispatch"), line.start("sink"));
    working(&line, "stays-0001").await;
    let before = reserved(&line).await;
    let terms = json!({"qty": "2", "limit_price": "1.75"});
    produce(&line, &[replace("replace-0001", "stays-0001", terms)]).await;
    line.until(&outcome_of("replace-0001"), "FAILED broker_no_replace").await;
    assert_eq!(reserved(&line).await, before, "what was held on top is free again");
    assert_eq!(line.broker.orders().len(), 1);
    fill(&line, "stays-0001", "3").await;
    rest(&line, 1).await;
    assert_eq!(chain(&line).await, "ACCEPTED 3, FILLED 3");
}
