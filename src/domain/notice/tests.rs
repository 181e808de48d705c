use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::attempt::{self, Answer, Next, Waiting};
use super::letter::{CRITICAL_MAX, Letter, compose, id_of};
use super::routes::{Kind as How, Pace, Route, Routes, fits};
use super::*;

fn at(s: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + s).expect("a time")
}

fn firing(rule: &str, symbol: &str, severity: Severity, s: i64) -> Firing {
    Firing {
        policy_name: rule.into(),
        subject: Subject::of(&json!({}), Some(("main", symbol))),
        source: Source::Alert,
        severity,
        reason: format!("at {s}"),
        trace_id: Some(format!("t-{s}")),
        at: at(s),
    }
}

fn fresh(firing: &Firing) -> Condition {
    Condition::new(firing, at(0))
}

fn terms() -> Terms {
    Pace::default().terms()
}

fn kinds(noted: &[Noted]) -> Vec<&'static str> {
    let kind = |noted: &Noted| match noted {
        Noted::Changed(change) => change.kind.as_str(),
        Noted::Counted => "counted",
        Noted::Known => "known",
        Noted::Stale => "stale",
    };
    noted.iter().map(kind).collect()
}

#[test]
fn a_condition_opens_is_counted_gets_worse_is_told_again_and_ends() {
    use Severity::*;
    let day = 86_400;
    let first = firing("risk.rate", "USDJPY", Medium, 0);
    let mut condition = fresh(&first);
    let mut noted = Vec::new();
    for (severity, s) in
        [(Medium, 0), (Low, 1), (Medium, 2), (Critical, 3), (High, 4), (Low, 14_403)]
    {
        noted.push(condition.fire(&firing("risk.rate", "USDJPY", severity, s), at(s), &terms()));
    }
    assert_eq!(kinds(&noted), ["open", "counted", "counted", "update", "counted", "update"]);
    assert_eq!((condition.change_no, condition.alerts), (3, 6));
    assert_eq!((condition.severity, condition.reason.as_str()), (Critical, "at 3"));
    assert_eq!(condition.rest(at(14_403 + 899), &terms()), None);
    let over = condition.rest(at(14_403 + 900), &terms()).expect("it is over");
    assert_eq!((over.kind, over.change_no, over.severity), (Kind::Resolved, 4, Critical));
    assert_eq!(condition.rest(at(day), &terms()), None, "once");
}

#[test]
fn what_is_over_is_opened_by_news_and_not_by_a_repeat_nor_by_history() {
    let first = firing("do.expired", "USDJPY", Severity::Low, 0);
    let mut condition = fresh(&first);
    condition.fire(&first, at(0), &terms());
    condition.rest(at(1_000), &terms()).expect("it is over");
    assert_eq!(condition.fire(&first, at(1_001), &terms()), Noted::Known);
    let old = firing("do.expired", "USDJPY", Severity::Low, 2);
    assert_eq!(condition.fire(&old, at(100_000), &terms()), Noted::Stale);
    let news = firing("do.expired", "USDJPY", Severity::Low, 99_000);
    let noted = condition.fire(&news, at(100_000), &terms());
    assert_eq!((kinds(&[noted]), condition.change_no), (vec!["open"], 3));
}

#[test]
fn a_violation_ends_when_it_is_not_shown_for_a_while_and_its_looks_are_no_alerts() {
    let shown = Firing { source: Source::Slo, ..firing("slo.x", "USDJPY", Severity::High, 0) };
    let mut condition = fresh(&shown);
    condition.fire(&shown, at(0), &terms());
    let again = Firing { at: at(15), ..shown };
    assert_eq!(condition.fire(&again, at(15), &terms()), Noted::Counted);
    assert_eq!(condition.alerts, 1);
    assert_eq!(condition.rest(at(74), &terms()), None);
    assert!(condition.rest(at(75), &terms()).is_some());
}

#[test]
fn the_subject_is_what_stays_the_same_and_the_ledger_helps_where_details_say_nothing() {
    let of = |details: Value, lane| Subject::of(&details, lane);
    let lane = Some(("main", "EURUSD"));
    for (details, lane, text) in [
        (json!({"before": "7", "after": "5"}), lane, "account=main symbol=EURUSD"),
        (json!({"account": "a", "symbol": "B", "exec_seq": 3}), lane, "account=a symbol=B"),
        (
            json!({"topic": "order-requests", "partition": 3, "offset": 9}),
            None,
            "topic=order-requests",
        ),
        (json!({"whose": "Kafka", "worker": "h-1-2", "ahead_ms": 7}), None, "whose=Kafka"),
        (json!({"receiver": "ops", "message": "msg_1"}), None, "receiver=ops"),
        (json!(["account"]), None, ""),
        (json!(null), None, ""),
        (json!({"symbol": {"deep": 1}}), None, ""),
    ] {
        assert_eq!(of(details.clone(), lane).text, text, "{details}");
    }
    let long = of(json!({"symbol": "x".repeat(1_000)}), None);
    assert_eq!(long.text.chars().count(), "symbol=".len() + 64);
    assert_ne!(fingerprint("a", &of(json!({}), lane)), fingerprint("b", &of(json!({}), lane)));
}

fn open(rule: &str, symbol: &str, severity: Severity) -> Change {
    let firing = firing(rule, symbol, severity, 0);
    match fresh(&firing).fire(&firing, at(0), &terms()) {
        Noted::Changed(change) => *change,
        other => panic!("{other:?}"),
    }
}

#[test]
fn f66_ten_thousand_changes_are_one_short_message_with_every_one_counted() {
    let changes: Vec<Change> =
        (0..10_000).map(|n| open("risk.rate", &format!("S{n}"), Severity::High)).collect();
    let letter = compose("ops", &changes, at(9)).expect("a message");
    assert_eq!(letter.counts(), [10_000, 0, 0, 10_000]);
    assert_eq!((letter.groups.len(), letter.groups[0].conditions.len()), (1, 5));
    assert_eq!(letter.groups[0].more, 9_995);
    assert!(webhook::body(&letter).len() < 4_000);
    assert_eq!(letter.headline(), "HIGH risk.rate: 10000 open (10000 alerts)");
}

#[test]
fn f66_everything_critical_is_named_and_rules_without_end_are_gathered() {
    let criticals: Vec<Change> = (0..CRITICAL_MAX)
        .map(|n| open("do.parked", &format!("S{n}"), Severity::Critical))
        .collect();
    let letter = compose("ops", &criticals, at(9)).expect("a message");
    assert_eq!((letter.groups[0].conditions.len(), letter.groups[0].more), (CRITICAL_MAX, 0));
    let rules: Vec<Change> =
        (0..500).map(|n| open(&format!("x.r{n}"), "USDJPY", Severity::Low)).collect();
    let letter = compose("ops", &rules, at(9)).expect("a message");
    assert!(letter.groups.len() <= 41, "{}", letter.groups.len());
    assert_eq!(letter.counts()[0], 500);
}

#[test]
fn of_a_condition_that_changed_several_times_only_the_last_state_is_told() {
    let first = firing("risk.rate", "USDJPY", Severity::Low, 0);
    let mut condition = fresh(&first);
    let mut changes = Vec::new();
    for (severity, s) in [(Severity::Low, 0), (Severity::Critical, 1)] {
        let noted = condition.fire(&firing("risk.rate", "USDJPY", severity, s), at(s), &terms());
        let Noted::Changed(change) = noted else { panic!("it changed") };
        changes.push(*change);
    }
    changes.extend(condition.rest(at(2_000), &terms()));
    changes.reverse();
    let letter = compose("ops", &changes, at(2_001)).expect("a message");
    let named = &letter.groups[0].conditions;
    assert_eq!((named.len(), named[0].change, named[0].kind), (1, 3, Kind::Resolved));
    assert!(named[0].is_new);
    assert_eq!(letter.counts(), [0, 0, 1, 2]);
    assert_eq!(compose("ops", &[], at(0)), None);
}

#[test]
fn the_id_of_a_message_is_a_function_of_who_is_told_and_of_what() {
    let (a, b) = (open("r.a", "A", Severity::Low), open("r.b", "B", Severity::Low));
    let id = id_of("ops", &[a.clone(), b.clone()]);
    assert_eq!(id, id_of("ops", &[b.clone(), a.clone()]));
    assert_ne!(id, id_of("pager", &[a.clone(), b.clone()]));
    assert_ne!(id, id_of("ops", std::slice::from_ref(&a)));
    assert_ne!(id, id_of("ops", &[Change { change_no: 2, ..a.clone() }, b.clone()]));
    assert_ne!(id, id_of("ops", &[Change { opened_at: at(7), ..a }, b]));
    assert_eq!(id.len(), "msg_".len() + 32);
}

#[test]
fn a_webhook_is_signed_as_standard_webhooks_say() {
    // The example of the specification's libraries.
    let keys = webhook::keys("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a secret");
    let signed = webhook::signature(
        &keys,
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1_614_265_330,
        br#"{"test": 2432232314}"#,
    );
    assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    let two = webhook::keys(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n",
    );
    assert_eq!(webhook::signature(&two.expect("two"), "i", 1, b"").split(' ').count(), 2);
    for bad in
        ["", "secret", "whsec_", "whsec_!!!!", "whsec_YWJj", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
    {
        assert!(webhook::keys(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_slack_message_mentions_nobody_and_stays_within_slacks_limits() {
    let hostile = "<!channel> & `code` *bold* <https://evil.example|click>\u{202e}\0";
    let mut changes: Vec<Change> = (0..150)
        .map(|n| Change {
            reason: hostile.repeat(20),
            subject: Subject { text: format!("symbol={hostile}{n}"), ..Subject::default() },
            fingerprint: n.to_string(),
            ..open(&format!("{hostile}{}", n % 60), "A", Severity::Critical)
        })
        .collect();
    changes.push(open("do.parked", "USDJPY", Severity::Critical));
    let letter = compose("ops", &changes, at(9)).expect("a message");
    for is_again in [false, true] {
        let body = slack::body(&letter, is_again);
        let text = String::from_utf8(body.clone()).expect("text");
        assert!(!text.contains("<!") && !text.contains("<http") && !text.contains('\u{202e}'));
        assert_eq!(text.contains("may have been sent before"), is_again);
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        let blocks = body["blocks"].as_array().expect("blocks");
        assert!(blocks.len() <= 50 && body["text"].as_str().is_some_and(|t| !t.is_empty()));
        for block in blocks {
            let length = |v: &Value| v.as_str().unwrap_or_default().chars().count();
            match block["type"].as_str() {
                Some("header") => assert!(length(&block["text"]["text"]) <= 150),
                Some("section") => assert!(length(&block["text"]["text"]) <= 3_000),
                _ => assert!(length(&block["elements"][0]["text"]) <= 2_000),
            }
        }
    }
}

#[test]
fn f65_what_follows_from_an_answer() {
    let pace = Pace { give_up_s: 1_000, ..Pace::default() };
    let after = |answer: Answer, repeats, attempts| {
        attempt::next(answer, repeats, attempts, SignedDuration::from_secs(500), &pace, 0.5)
    };
    let s = SignedDuration::from_secs;
    let again = |pause, why: &str, lost| Next::Again(s(pause), why.into(), lost);
    let lost = || Answer::Lost("reset".into());
    for (answer, repeats, attempts, wanted) in [
        (Answer::Status(204, None), true, 1, Next::Delivered),
        (Answer::Status(410, None), true, 1, Next::Gone),
        (Answer::Status(400, None), true, 1, Next::Failed("HTTP 400".into())),
        (Answer::Status(500, None), true, 1, again(1, "HTTP 500", false)),
        (Answer::Status(500, None), true, 4, again(8, "HTTP 500", false)),
        (Answer::Status(500, None), true, 90, again(60, "HTTP 500", false)),
        (Answer::Status(307, None), true, 1, again(1, "HTTP 307", false)),
        (Answer::Status(401, None), true, 1, again(1, "HTTP 401", false)),
        (Answer::Status(429, Some(s(30))), true, 1, again(30, "HTTP 429", false)),
        (Answer::Status(503, Some(s(499))), false, 1, again(499, "HTTP 503", false)),
        (
            Answer::Status(503, Some(s(501))),
            true,
            1,
            Next::Failed("HTTP 503, after 1 attempts".into()),
        ),
        (Answer::Status(502, None), true, 1, again(1, "HTTP 502", true)),
        (Answer::Status(504, None), false, 1, Next::Unknown("HTTP 504".into())),
        (Answer::NothingLeft("no".into()), false, 2, again(2, "no", false)),
        (lost(), true, 1, again(1, "reset", true)),
        (lost(), false, 1, Next::Unknown("reset".into())),
    ] {
        assert_eq!(after(answer.clone(), repeats, attempts), wanted, "{answer:?}");
    }
    let critical = compose("ops", &[open("a.b", "A", Severity::Critical)], at(0)).expect("one");
    let high = compose("ops", &[open("a.b", "A", Severity::High)], at(0)).expect("one");
    let repeats = |how, letter: &Letter| attempt::repeats(how, letter);
    assert!(repeats(How::Slack, &critical) && !repeats(How::Slack, &high));
    assert!(repeats(How::Webhook, &critical) && repeats(How::Webhook, &high));
}

#[test]
fn f66_a_critical_message_waits_for_no_other_and_the_others_for_each_other() {
    let pace = Pace::default();
    let none = Waiting::default();
    let critical = Waiting { critical_since: Some(at(0)), others_outstanding: 1, ..none };
    let others = Waiting { others_since: Some(at(0)), ..none };
    for (waiting, s, wanted) in [
        (none, 99, (false, false)),
        (critical, 0, (false, false)),
        (critical, 1, (true, false)),
        (Waiting { critical_made: Some(at(-5)), ..critical }, 4, (false, false)),
        (Waiting { critical_made: Some(at(-5)), ..critical }, 5, (true, false)),
        (Waiting { critical_outstanding: 10, ..critical }, 99, (false, false)),
        (others, 9, (false, false)),
        (others, 10, (false, true)),
        (Waiting { others_outstanding: 1, ..others }, 99, (false, false)),
        (Waiting { others_made: Some(at(5)), ..others }, 14, (false, false)),
        (Waiting { others_made: Some(at(5)), ..others }, 15, (false, true)),
    ] {
        let got = (waiting.is_critical_due(at(s), &pace), waiting.are_others_due(at(s), &pace));
        assert_eq!(got, wanted, "{waiting:?} at {s}");
    }
}

#[test]
fn routes_lead_by_severity_rule_account_and_symbol_the_first_that_holds_decides() {
    let to = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<String>>();
    let routes = Routes {
        routes: vec![
            Route {
                policies: to(&["PLAN.*"]),
                severities: vec![Severity::Low],
                ..Route::default()
            },
            Route {
                severities: vec![Severity::Critical],
                to: to(&["pager"]),
                goes_on: true,
                ..Route::default()
            },
            Route { symbols: to(&["EURUSD"]), to: to(&["euro", "ops"]), ..Route::default() },
            Route { policies: to(&["notify.*"]), to: to(&["ops", "pager"]), ..Route::default() },
        ],
        default: to(&["rest"]),
        ..Routes::default()
    };
    let told = |rule: &str, symbol: &str, severity| {
        routes.receivers_of(&open(rule, symbol, severity)).join(" ")
    };
    assert_eq!(told("PLAN.QUALITY.HELD", "EURUSD", Severity::Low), "");
    assert_eq!(told("PLAN.QUALITY.HELD", "USDJPY", Severity::High), "rest");
    assert_eq!(told("do.parked", "EURUSD", Severity::Critical), "euro ops pager");
    assert_eq!(told("do.parked", "USDJPY", Severity::Critical), "pager");
    let mut own = open("notify.delivery_failed", "A", Severity::High);
    own.subject = Subject::of(&json!({"receiver": "ops"}), None);
    assert_eq!(routes.receivers_of(&own), ["pager"], "not by way of what is broken");
}

#[test]
fn a_pattern_holds_for_the_whole_name() {
    for (pattern, name, is_good) in [
        ("risk.*", "risk.rate", true),
        ("risk.*", "xrisk.rate", false),
        ("*.rate", "risk.rate", true),
        ("*", "anything", true),
        ("r*k.*e", "risk.rate", true),
        ("r*z*e", "risk.rate", false),
        ("risk.rate", "risk.rate", true),
        ("risk.rate", "risk.rates", false),
        ("a*a", "a", false),
        ("**", "x", true),
    ] {
        assert_eq!(fits(pattern, name), is_good, "{pattern} {name}");
    }
}

proptest! {
    #[test]
    fn laws_changes_are_numbered_without_gap_and_open_and_resolved_take_turns(
        steps in proptest::collection::vec((0u8..5, 0i64..3_000), 1..60),
    ) {
        use Severity::*;
        let first = firing("a.b", "A", Low, 0);
        let (mut condition, mut now) = (fresh(&first), 0);
        let (mut last, mut is_open, mut worst) = (0, false, Low);
        for (what, wait) in steps {
            now += wait;
            let changed = match what {
                4 => condition.rest(at(now), &terms()),
                n => {
                    let severity = [Low, Medium, High, Critical][usize::from(n)];
                    let noted = condition.fire(&firing("a.b", "A", severity, now), at(now), &terms());
                    match noted { Noted::Changed(change) => Some(*change), _ => None }
                }
            };
            let Some(change) = changed else { continue };
            prop_assert_eq!(change.change_no, last + 1);
            last = change.change_no;
            prop_assert_eq!(change.kind == Kind::Open, !is_open);
            is_open = change.kind != Kind::Resolved;
            if change.kind == Kind::Open { worst = Low; }
            prop_assert!(change.severity >= worst);
            worst = change.severity;
        }
    }

    #[test]
    fn laws_no_text_makes_markup_or_breaks_a_message(rule in ".{0,200}", text in ".{0,400}") {
        let mut change = open("a.b", "A", Severity::High);
        change.policy_name = plain(&rule, POLICY_NAME_MAX);
        change.subject = Subject::of(&json!({"symbol": text.clone()}), None);
        change.reason = plain(&text, REASON_MAX);
        let letter = compose("ops", &[change], at(0)).expect("a message");
        let stored = serde_json::to_value(&letter).expect("plain data");
        prop_assert!(!stored.to_string().contains("\\u0000"), "Postgres keeps it");
        let back: Letter = serde_json::from_value(stored).expect("the same");
        prop_assert_eq!(webhook::body(&back), webhook::body(&letter));
        let slack: Value = serde_json::from_slice(&slack::body(&letter, false)).expect("JSON");
        let section = slack["blocks"][1]["text"]["text"].as_str().expect("text").to_string();
        prop_assert!(!section.contains('<') && !section.contains('>'));
    }
}
