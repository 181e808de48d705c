//! The laws of judging again, for any request, facts and policies.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::given::recorded;
use super::*;
use crate::domain::judge::laws::could_judge;
use crate::domain::judge::laws::given::{facts, intake, policies, texts};
use crate::domain::judge::laws::tighter::{tighten, turns};
use crate::domain::laws::cases;
use crate::domain::request::Intake;

const NOW: &str = "2026-11-23T10:00:00Z";

/// What is recorded of this; none if the wire cannot carry it, as then nothing is decided.
fn written(key: &str, intake: &Intake, facts: &Facts, policies: &Policies) -> Value {
    recorded(key, intake, facts, policies, NOW.parse().unwrap())
}

fn report(base: &Policies, new: &Policies, decisions: Vec<Value>) -> Report {
    let mut what_if = WhatIf::new(base, new, usize::MAX);
    decisions.into_iter().for_each(|decision| what_if.take("-", decision));
    what_if.finish()
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn what_was_decided_under_these_policies_comes_out_the_same(
        intake in intake(), facts in facts(), policies in policies()
    ) {
        let decision = written("order-00001", &intake, &facts, &policies);
        let report = report(&policies, &policies, vec![decision.clone()]);
        prop_assert_eq!(report.unjudged, 0, "{:?}", report.findings);
        prop_assert_eq!(report.reproduced, Reproduced { comparable: 1, reproduced: 1 }, "{:?}\n{}", report.findings, decision);
        prop_assert_eq!(report.changed, 0);
        prop_assert_eq!(&report.total.recorded, &report.total.new);
        prop_assert!(report.rules.iter().all(|rule| rule.recorded == rule.new), "{:?}", report.rules);
    }

    #[test]
    fn one_decision_judged_again_is_told_as_the_report_counts_it(
        intake in intake(), facts in facts(), texts in texts(), others in texts()
    ) {
        let (base, new) = (texts.policies(), others.policies());
        let decision = written("order-00001", &intake, &facts, &base);
        let same = again("-", decision.clone(), &base).unwrap();
        prop_assert!(same.same && same.steps.iter().all(|step| step.same), "{:?}", same);
        prop_assert!(same.policies.iter().all(|policy| policy.same));
        let other = again("-", decision.clone(), &new).unwrap();
        let report = report(&base, &new, vec![decision.clone()]);
        prop_assert_eq!(u64::from(other.effect != Effect::Same && other.recorded.action != Action::Reject), report.changed);
        let recorded: Vec<&str> = other.steps.iter().filter(|s| s.recorded.is_some()).map(|s| s.rule.as_str()).collect();
        let steps = decision["steps"].as_array().unwrap();
        let wanted: Vec<&str> = steps.iter().map(|s| s["rule"].as_str().unwrap()).collect();
        prop_assert_eq!(recorded, wanted);
        prop_assert!(other.steps.iter().all(|s| s.recorded.is_some() || s.now.is_some()));
    }

    #[test]
    fn tighter_policies_let_nothing_more_through(
        intake in intake(), facts in facts(), texts in texts(), turns in turns()
    ) {
        let looser = texts.policies();
        let mut texts = texts;
        turns.iter().for_each(|turn| tighten(&mut texts, *turn));
        let tighter = texts.policies();
        let now = NOW.parse().unwrap();
        prop_assume!(could_judge(&judge(&intake, &facts, &looser, now)));
        let report = report(&looser, &tighter, vec![written("order-00001", &intake, &facts, &looser)]);
        let orders = &report.total.orders;
        prop_assert_eq!(orders.larger + orders.let_through + orders.turned, 0, "{:?}", report.changes);
        prop_assert!(report.total.new.units <= report.total.recorded.units);
        for (currency, amount) in &report.total.new.notional.0 {
            prop_assert!(*amount <= report.total.recorded.notional.of(*currency));
        }
    }

    #[test]
    fn every_decision_is_counted_in_exactly_one_place(
        all in prop::collection::vec((intake(), facts(), 0u8..6), 0..5), was in policies(), is in policies()
    ) {
        let mut decisions = Vec::new();
        for (nth, (intake, facts, kind)) in all.iter().enumerate() {
            let mut decision = written(&format!("order-{nth:05}"), intake, facts, &was);
            match kind {
                0 => decision["facts"] = Value::Null,
                1 => decision["action"] = json!("REJECT"),
                2 => decision = json!({"no": "decision"}),
                _ => {}
            }
            decisions.push(decision);
        }
        let asked = decisions.len() as u64;
        let report = report(&was, &is, decisions);
        let cells: u64 = report.outcomes.iter().map(|cell| cell.orders).sum();
        prop_assert_eq!(report.decisions, asked);
        prop_assert_eq!(report.rejected + report.unjudged + cells, asked);
        prop_assert_eq!(report.total.orders.all(), cells);
        prop_assert_eq!(report.findings.unjudged.len() as u64, report.unjudged);
        let symbols: u64 = report.symbols.iter().map(|s| s.group.orders.all()).sum();
        let buckets: u64 = report.buckets.iter().map(|b| b.group.orders.all()).sum();
        prop_assert_eq!((symbols, buckets), (cells, cells));
        prop_assert_eq!(report.changed, report.total.orders.changed());
        prop_assert_eq!(report.changes.len() as u64, report.changed);
        let sent = [Outcome::Whole, Outcome::Clamped];
        let newly_blocked = report.outcomes.iter().filter(|c| sent.contains(&c.recorded) && c.new == Outcome::Blocked);
        let newly_blocked: u64 = newly_blocked.map(|c| c.orders).sum();
        prop_assert!(report.total.orders.blocked >= newly_blocked, "{:?}", report.outcomes);
    }
}
