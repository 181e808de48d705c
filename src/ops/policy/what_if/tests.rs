//! How a what-if reads: in a terminal, as JSON and as a page; and how a dump is read.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::policies::{Origin, Part, Tried};
use super::source::{self, Source};
use super::told::Told;
use super::*;
use crate::domain::policy::Policies;
use crate::domain::what_if::given::{self, IS, WAS, two_days};
use crate::domain::what_if::{Report, WhatIf};

/// The risk policy is new, the others are the plan's.
fn tried(was: Policies, is: Policies) -> Tried {
    let part = |kind: Kind| match kind {
        Kind::Risk => Part { kind, origin: Origin::New, file: Some("risk_policy.yml".into()) },
        _ => Part { kind, origin: Origin::Plan, file: None },
    };
    Tried { base: was, new: is, parts: Kind::ALL.map(part).into() }
}

fn report(tried: &Tried, decisions: impl IntoIterator<Item = Value>) -> Report {
    let mut what_if = WhatIf::new(&tried.base, &tried.new, usize::MAX);
    for (nth, decision) in decisions.into_iter().enumerate() {
        what_if.take(&format!("decisions/0/{nth}"), decision);
    }
    what_if.finish()
}

/// Two days of six hundred orders, a few of which cannot be judged again, under other limits.
fn example() -> (Tried, Report) {
    let tried = tried(given::risk(WAS), given::risk(IS));
    let mut decisions = two_days(600, &tried.base);
    decisions[17]["facts"] = json!({});
    decisions[99]["request"]["qty"] = json!("-5");
    let report = report(&tried, decisions);
    (tried, report)
}

fn told<'r>(tried: &Tried, report: &'r Report) -> Told<'r> {
    Told::new(Source::ObsDecisions, &Stretch::default(), tried, report)
}

#[test]
fn two_days_read_well_in_a_terminal() {
    let (tried, report) = example();
    let text = table::text(Ink::none(), &told(&tried, &report), 12);
    insta::assert_snapshot!("two_days", text);
}

#[test]
fn json_has_every_order_that_changes_and_decimals_as_texts() {
    let (tried, report) = example();
    let json = serde_json::to_value(told(&tried, &report)).unwrap();
    let changes = json["changes"].as_array().unwrap();
    assert_eq!(json["changed"].as_u64(), Some(changes.len() as u64));
    assert_eq!(json["decisions"], 600);
    assert_eq!(json["not_judged"], 2);
    assert_eq!(json["findings"]["not_judged"].as_array().map(Vec::len), Some(2));
    assert_eq!(json["source"], json!({"kind": "obs_decisions"}));
    let policies = json["policies"].as_array().unwrap();
    assert_eq!(policies[2]["file"], "risk_policy.yml");
    assert_eq!(
        (&policies[2]["origin"], &policies[2]["recorded_under"]),
        (&json!("new"), &json!(0))
    );
    assert_eq!(policies[0]["recorded_under"], 598);
    for place in [
        "/total/new/units",
        "/total/recorded/notional/JPY",
        "/changes/0/notional",
        "/changes/0/new/decided_qty",
        "/rules/0/new/removed/units",
        "/buckets/0/recorded/units",
    ] {
        let found = json.pointer(place).unwrap_or_else(|| panic!("{place}"));
        assert!(found.is_string(), "{place}: {found}");
    }
    let mut keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let documented = std::fs::read_to_string("docs/policies.md").unwrap();
    for key in keys {
        assert!(documented.contains(&format!("| `{key}` |")), "docs/policies.md lacks {key}");
    }
}

/// Every text of a request, a file's name and a rule that would do harm in a page.
fn hostile() -> (Tried, Vec<Value>) {
    const BAD: &str = "<script>alert('1')</script>\"><img src=x>&\u{1b}[31m";
    let mut tried = tried(
        given::risk("default: {max_order_qty: 500}"),
        given::risk("default: {max_order_qty: 5}"),
    );
    tried.parts[2].file = Some(BAD.into());
    let facts = given::quoted("149", "150", "2026-11-23T10:00:00Z".parse().unwrap());
    let decided = |key: &str| {
        let order = given::order(json!({}));
        given::recorded(key, &order, &facts, &tried.base, "2026-11-23T10:00:00Z".parse().unwrap())
    };
    let mut decisions = vec![decided("hostile-01"), decided("hostile-02"), decided("hostile-03")];
    decisions[0]["idempotency_key"] = json!(BAD);
    decisions[0]["trace_id"] = json!(BAD);
    decisions[0]["reason"] = json!(BAD);
    decisions[0]["steps"] = json!([{"rule": BAD, "before": "9", "after": "1", "reason": BAD}]);
    decisions[1]["policies"] = serde_json::to_value(&tried.new.digests).unwrap();
    decisions[1]["engine_version"] = json!(BAD);
    decisions[1]["steps"] = json!([{"rule": BAD, "before": "9", "after": "1", "reason": BAD}]);
    decisions[2]["idempotency_key"] = json!(BAD);
    decisions[2]["facts"] = json!({BAD: 1});
    (tried, decisions)
}

#[test]
fn a_page_stands_alone_and_no_text_of_a_request_does_anything_in_it() {
    let (tried, decisions) = hostile();
    let report = report(&tried, decisions);
    assert_eq!((report.changed, report.unjudged), (2, 1));
    assert!(!report.reproduced.all());
    let page = page::html(&told(&tried, &report), 25).unwrap();
    assert!(page.contains("&#60;script&#62;alert"), "the texts are there, escaped");
    for bad in
        ["<script", "<img", "src=", "href=", "url(", "://", "@import", "javascript:", "onload"]
    {
        let escaped = page.replace("&#60;img src=x", "");
        assert!(!escaped.contains(bad), "{bad} is in the page");
    }
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
    for wanted in
        ["default-src 'none'", "prefers-color-scheme: dark", "width=device-width", "<svg "]
    {
        assert!(page.contains(wanted), "{wanted}");
    }
    let text = table::text(Ink::none(), &told(&tried, &report), 25);
    assert!(text.contains("<script>") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn a_page_of_two_days_has_its_charts() {
    let (tried, report) = example();
    let page = page::html(&told(&tried, &report), 20).unwrap();
    assert_eq!(page.matches("<td class=\"nowrap\">").count(), 20, "as many orders as asked for");
    let left = report.changed - 20;
    assert!(page.contains(&format!("… and {left} more;")));
    for bucket in &report.buckets {
        let hour = bucket.from.strftime("%F %H:00").to_string();
        assert!(page.contains(&format!("<title>{hour}: ")), "{hour}");
        assert!(page.contains(&format!("<title>{hour}, new: ")), "{hour}");
    }
    for symbol in &report.symbols {
        assert!(page.contains(&format!("<b>{}</b>", symbol.symbol)));
    }
    for rule in &report.rules {
        assert!(page.contains(&format!("<code>{}</code>", rule.rule)), "{}", rule.rule);
    }
    assert!(!page.contains("NaN") && !page.contains("inf\""), "every length is a number");
}

#[test]
fn nothing_is_said_to_be_nothing() {
    let tried = tried(given::risk(WAS), given::risk(IS));
    let report = report(&tried, []);
    let stretch = Stretch { from: Some("2026-11-23T00:00:00Z".parse().unwrap()), to: None };
    let told = Told::new(Source::ObsDecisions, &stretch, &tried, &report);
    let said =
        "there is no decision in obs_decisions, from 2026-11-23T00:00:00Z on: nothing was judged";
    assert_eq!(told.nothing(), said);
    assert!(table::text(Ink::none(), &told, 9).contains(said));
    assert!(page::html(&told, 9).unwrap().contains(said));
}

/// What a dump of these lines comes to.
fn dumped(name: &str, lines: &[String], stretch: Stretch) -> (Source, Report) {
    let path = std::env::temp_dir().join(format!("noctus-what-if-{}-{name}", std::process::id()));
    std::fs::write(&path, lines.join("\n")).unwrap();
    let tried = tried(given::risk(WAS), given::risk(IS));
    let mut what_if = WhatIf::new(&tried.base, &tried.new, usize::MAX);
    let source = source::dump(&path, &stretch, &mut what_if).unwrap();
    std::fs::remove_file(&path).unwrap();
    let Source::Dump { file, repeats } = source else { panic!("{source:?}") };
    assert_eq!(PathBuf::from(file), path);
    (Source::Dump { file: "dump".into(), repeats }, what_if.finish())
}

fn line(offset: usize, value: &Value) -> String {
    json!({"topic": "decisions", "partition": 0, "offset": offset, "value": value}).to_string()
}

#[test]
fn a_dump_is_read_as_the_table_is_and_what_is_told_twice_counts_once() {
    let tried = tried(given::risk(WAS), given::risk(IS));
    let decisions = two_days(90, &tried.base);
    let direct = report(&tried, decisions.clone());
    let mut lines: Vec<String> = decisions.iter().enumerate().map(|(n, d)| line(n, d)).collect();
    let again = lines[..30].to_vec();
    lines.extend(again);
    lines.insert(7, String::new());
    lines.reverse();
    let (source, dumped) = dumped("twice", &lines, Stretch::default());
    assert_eq!(source, Source::Dump { file: "dump".into(), repeats: 30 });
    assert_eq!(dumped, direct);
}

#[test]
fn a_stretch_of_a_dump_begins_with_its_start_and_ends_before_its_end() {
    let was = given::risk(WAS);
    let decisions = two_days(60, &was);
    let at = |nth: usize| decisions[nth]["decided_at"].as_str().unwrap().parse().unwrap();
    let lines: Vec<String> = decisions.iter().enumerate().map(|(n, d)| line(n, d)).collect();
    let stretch = Stretch { from: Some(at(10)), to: Some(at(30)) };
    let (_, report) = dumped("stretch", &lines, stretch);
    assert_eq!(report.decisions, 20);
    assert_eq!((report.first_at, report.last_at), (Some(at(10)), Some(at(29))));
}

#[test]
fn lines_that_are_no_decisions_are_told_with_their_place() {
    let was = given::risk(WAS);
    let good = line(4, &two_days(1, &was)[0]);
    let lines = [
        "no json".to_string(),
        "{}".to_string(),
        json!({"topic": "decisions", "partition": 2, "offset": 7, "error": "cut short", "hex": "00"}).to_string(),
        line(9, &Value::Null),
        line(10, &json!({"event_id": "x"})),
        good,
    ];
    let (_, report) = dumped("bad", &lines, Stretch::default());
    assert_eq!((report.decisions, report.unjudged), (6, 5));
    let told: Vec<String> =
        report.findings.unjudged.iter().map(|one| format!("{}: {}", one.name, one.why)).collect();
    let starts = [
        "decisions/0/10: no decision: ",
        "decisions/0/9: no decision: ",
        "decisions/2/7: cut short",
        "line 1: no JSON: ",
        "line 2: not a line of noctus topics dump: it has no value",
    ];
    for (told, start) in told.iter().zip(starts) {
        assert!(told.starts_with(start), "{told}");
    }
}
