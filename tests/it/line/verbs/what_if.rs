//! Decisions of a running line, judged again under another policy: from the table and from the topic.

use jiff::{SignedDuration, Timestamp};
use noctus::kafka::producer::Outgoing;
use serde_json::{Value, json};

use super::super::{Line, open_policy, order};
use super::{Ran, run};

/// Tighter than [`open_policy`]: 20 000 units become 10, and EURJPY is forbidden.
const TIGHTER: &str = "default: { max_position_notional: 1000000000, max_order_qty: 10 }
overrides: { EURJPY: { forbidden_symbols: [EURJPY] } }
";

/// Seven orders, at 1.5 yen a unit, of which the tighter policy changes three.
fn orders() -> [Value; 7] {
    let with = |key: &str, symbol: &str, given: Value| {
        let mut order = order(key, symbol);
        order.as_object_mut().expect("an object").extend(given.as_object().expect("one").clone());
        order
    };
    let late = noctus::runtime::clock::now() - SignedDuration::from_hours(48);
    [
        with("what-if-same", "USDJPY", json!({"qty": "3"})),
        with("what-if-smaller", "USDJPY", json!({"qty": "30"})),
        with("what-if-blocked", "EURJPY", json!({"qty": "5"})),
        with("what-if-clamped", "GBPJPY", json!({"qty": "25000"})),
        with(
            "what-if-bad-data",
            "USDJPY",
            json!({"quality": {"missing_ratio": 0.5, "data_lag_min": 1.0}}),
        ),
        // Nobody quotes USDJPY, so there is no rate to the account's yen.
        with("what-if-no-rate", "EURUSD", json!({"qty": "4"})),
        with("what-if-late", "USDJPY", json!({"requested_at": late})),
    ]
}

fn json_of(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}"))
}

fn cell(report: &Value, recorded: &str, new: &str) -> u64 {
    let cells = report["outcomes"].as_array().expect("cells");
    let found = cells.iter().find(|c| c["recorded"] == recorded && c["new"] == new);
    found.and_then(|c| c["orders"].as_u64()).expect("every cell is there")
}

/// What is known of these orders.
fn is_as_known(report: &Value) {
    let told = |name: &str| report[name].as_u64();
    assert_eq!(
        (told("decisions"), told("rejected"), told("not_judged")),
        (Some(7), Some(1), Some(0))
    );
    assert_eq!(told("changed"), Some(3));
    assert_eq!(cell(report, "whole", "whole"), 1);
    assert_eq!(cell(report, "whole", "clamped"), 1);
    assert_eq!(cell(report, "whole", "blocked"), 1);
    assert_eq!(cell(report, "clamped", "clamped"), 1);
    assert_eq!(cell(report, "blocked", "blocked"), 2);
    let total = &report["total"];
    assert_eq!(total["orders"]["same"], 3);
    assert_eq!(total["orders"]["smaller"], 2);
    assert_eq!(total["orders"]["blocked"], 1);
    // 3 + 30 + 5 + 20 000 at 1.5; then 3 + 10 + 10.
    assert_eq!(total["recorded"]["notional"], json!({"JPY": "30057"}));
    assert_eq!(total["new"]["notional"], json!({"JPY": "34.5"}));
    assert_eq!(
        (&total["recorded"]["units"], &total["new"]["units"]),
        (&json!("20038"), &json!("23"))
    );
    let keys: Vec<&str> = report["changes"]
        .as_array()
        .expect("orders")
        .iter()
        .filter_map(|c| c["idempotency_key"].as_str())
        .collect();
    assert_eq!(keys, ["what-if-clamped", "what-if-smaller", "what-if-blocked"]);
    let worst = &report["changes"][0];
    assert_eq!((&worst["effect"], &worst["notional"]), (&json!("smaller"), &json!("29985")));
    assert_eq!(worst["recorded"]["decided_qty"], "20000");
    assert_eq!(worst["new"]["decided_qty"], "10");
    let rule = |name: &str| {
        let rules = report["rules"].as_array().expect("rules");
        rules.iter().find(|r| r["rule"] == name).unwrap_or_else(|| panic!("{name}: {rules:?}"))
    };
    let size = rule("risk.max_order_qty");
    assert_eq!((&size["recorded"]["orders"], &size["new"]["orders"]), (&json!(1), &json!(2)));
    assert_eq!(size["recorded"]["removed"]["notional"], json!({"JPY": "7500"}));
    assert_eq!(size["new"]["removed"]["units"], "25010");
    let no_rate = &rule("risk.price_unavailable")["new"];
    assert_eq!((&no_rate["removed"]["unpriced"], &no_rate["stopped"]), (&json!(1), &json!(1)));
    assert_eq!(no_rate["removed"]["notional"], json!({}), "without a price it is no amount, not 0");
    assert_eq!(report["reproduced"], json!({"comparable": 1, "reproduced": 1}), "the late one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_and_a_dump_of_the_topic_tell_the_same_of_known_orders() {
    let mut line = Line::new(3, |c| c.policies.risk = Some(open_policy())).await;
    let before: Timestamp = noctus::runtime::clock::now();
    let (_gate, _sink) = (line.start("gate"), line.start("sink"));
    let orders = orders();
    // What is decided in one batch is decided at one time: the last one has its own.
    for (some, decided) in [(&orders[..6], "6"), (&orders[6..], "7")] {
        line.produce(some, None).await;
        line.until("SELECT count(*) FROM obs_decisions", decided).await;
    }
    line.until("SELECT count(*) FROM owed_events", "0").await;

    let dumped = run(&line, "topics dump decisions").with(0);
    assert_eq!(dumped.json().len(), 7, "{dumped:?}");
    let dump = line.file("decisions.jsonl", &dumped.out).display().to_string();
    let policy = line.file("risk_policy.yml", TIGHTER).display().to_string();
    let page = line.file("page.html", "").display().to_string();
    let words = format!("policy what-if --policy {policy}");
    let of_table = json_of(&run(&line, &format!("{words} --json")).with(1));
    let of_dump = json_of(&run(&line, &format!("{words} --dump {dump} --json")).with(1));
    is_as_known(&of_table);
    let without_source = |report: &Value| {
        let mut report = report.clone();
        report.as_object_mut().expect("an object").remove("source");
        report
    };
    assert_eq!(without_source(&of_table), without_source(&of_dump));
    assert_eq!(of_dump["source"], json!({"kind": "dump", "file": dump, "repeats": 0}));

    // A file beside the table, and the page.
    let file = line.file("report.json", "").display().to_string();
    let shown = run(&line, &format!("{words} --json {file} --html {page} --exit-zero")).with(0);
    assert!(shown.out.contains("What if: 7 decision(s)"), "{shown:?}");
    assert!(shown.out.contains("BUY 20\u{202f}000 → BUY 10"), "{shown:?}");
    let written = std::fs::read_to_string(&file).expect("the report is written");
    assert_eq!(serde_json::from_str::<Value>(&written).expect("JSON"), of_table);
    let page = std::fs::read_to_string(&page).expect("the page is written");
    assert!(page.contains("what-if-clamped") && page.contains("<svg ") && !page.contains("://"));

    // Under the policy that they were decided by everything comes out the same.
    let same = open_policy().display().to_string();
    let same = run(&line, &format!("policy what-if --policy {same} --kind risk --json")).with(0);
    let same = json_of(&same);
    assert_eq!(same["reproduced"], json!({"comparable": 7, "reproduced": 7}));
    assert_eq!((&same["changed"], &same["decisions"]), (&json!(0), &json!(7)));

    // By time, half-open; and nothing at all.
    let at = of_table["last_at"].as_str().expect("a time");
    let words = format!("{words} --json");
    let but_one = json_of(&run(&line, &format!("{words} --from {before} --to {at}")));
    assert_eq!(but_one["decisions"], 6, "the last is not in it");
    let one = json_of(&run(&line, &format!("{words} --from {at}")));
    assert_eq!(one["decisions"], 1);
    let none = run(&line, &format!("{words} --to {before}")).with(1);
    assert!(none.err.contains("there is no decision in obs_decisions, before "), "{none:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_is_dumped_decoded_and_what_does_not_decode_is_told_in_its_place() {
    let mut line = Line::new(2, |c| c.policies.risk = Some(open_policy())).await;
    let partition = |key: &str, partition| line.record(&order(key, "USDJPY"), Some(partition));
    let mut cut = partition("dump-0000002", 0);
    cut.value.as_mut().expect("a value").truncate(9);
    let mut records = vec![partition("dump-0000001", 0), cut.clone(), partition("dump-0000003", 1)];
    records.push(Outgoing {
        value: Some(b"not ours".to_vec()),
        headers: vec![("raw".into(), Some(vec![0xff]))],
        ..cut.clone()
    });
    line.send(&records).await;

    let all = run(&line, "topics dump order-requests").with(1);
    assert!(all.err.contains("2 of 4 record(s) cannot be decoded"), "{all:?}");
    let lines = all.json();
    let places: Vec<(i64, i64)> = lines
        .iter()
        .map(|l| (l["partition"].as_i64().expect("it"), l["offset"].as_i64().expect("it")))
        .collect();
    assert_eq!(places, [(0, 0), (0, 1), (0, 2), (1, 0)], "partition by partition, in order");
    let first = &lines[0];
    assert_eq!(first["topic"], line.config.topic("order-requests"));
    assert_eq!((&first["key"], &first["value"]["qty"]), (&json!("main|USDJPY"), &json!("3")));
    assert_eq!(first["value"]["idempotency_key"], "dump-0000001");
    assert_eq!(first["headers"][0][0], "noctus-signature");
    assert!(first["timestamp"].as_str().is_some_and(|t| t.parse::<Timestamp>().is_ok()));
    assert!(
        lines[1]["error"].as_str().is_some_and(|e| e.starts_with("not a valid Avro body")),
        "{}",
        lines[1]
    );
    assert_eq!(lines[1]["hex"], hex::encode(cut.value.expect("a value")));
    assert_eq!(lines[2]["error"], "not in Confluent's wire format: the first byte is not 0");
    assert_eq!(lines[2]["headers"], json!([["raw", "0xff"]]));
    assert!(lines[1].get("value").is_none() && first.get("error").is_none());

    let dump =
        |line: &Line, words: &str, code| run(line, &format!("topics dump {words}")).with(code);
    assert_eq!(dump(&line, "order-requests:1", 0).json(), lines[3..]);
    assert_eq!(dump(&line, "order-requests --limit 1", 0).json(), lines[..1]);
    assert_eq!(dump(&line, "order-requests:0 --from 1 --to 2", 1).json(), lines[1..2]);
    assert_eq!(dump(&line, "order-requests --from 1h", 1).json(), lines);
    assert!(dump(&line, "order-requests --to 1h", 0).err.contains("no records"));
    assert!(dump(&line, "order-requests:7", 2).err.contains("has no partition 7"));
    assert!(
        dump(&line, "orders", 2).err.contains("decisions"),
        "it tells the topics that there are"
    );

    // What was refused is decoded as what it was meant to be, if it can be.
    let mut stranger = line.record(&order("dump-0000004", "USDJPY"), Some(0));
    stranger.headers.clear();
    line.send(&[stranger]).await;
    let _gate = line.start("gate");
    line.read_to_the_end("gate", &["order-requests"]).await;
    line.until("SELECT count(*) FROM owed_events", "0").await;
    let letters = dump(&line, "dead-letters", 1).json();
    let keys: Vec<&str> =
        letters.iter().filter_map(|l| l["value"]["idempotency_key"].as_str()).collect();
    assert_eq!((letters.len(), keys), (3, vec!["dump-0000004"]), "{letters:?}");
    let decisions = dump(&line, "decisions", 0).json();
    assert_eq!(decisions.len(), 2);
    assert!(decisions.iter().all(|l| l["value"]["requested_qty"] == "3"), "{decisions:?}");
}
