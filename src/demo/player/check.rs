//! Expectations against evidence; each gives one line that says what must be, and what was found if it is not.

use anyhow::Context as _;
use rust_decimal::Decimal;
use serde_json::Value;
use std::str::FromStr;

use super::super::scenario::{Acceptance, AtBroker, Decided, Expectation, Timeline};
use super::{Evidence, Player, Sent};
use crate::pg::acceptance::{self, Answer};
use crate::pg::evidence;

/// One expectation and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Whether it holds.
    pub ok: bool,
    /// What must be.
    pub what: String,
    /// What was found instead.
    pub found: String,
}

impl Checked {
    fn that(what: impl Into<String>, ok: bool, found: impl Into<String>) -> Self {
        Self { ok, what: what.into(), found: found.into() }
    }

    fn equal<T: PartialEq + std::fmt::Debug>(what: String, wanted: T, found: T) -> Self {
        let told = format!("{found:?}");
        Self::that(what, wanted == found, told)
    }
}

impl Player {
    /// Looks at one expectation.
    pub(super) async fn check(
        &self,
        expectation: &Expectation,
        sent: &[Sent],
        seen: &Evidence,
    ) -> anyhow::Result<Vec<Checked>> {
        let of = expectation.of().unwrap_or_default();
        let none = Vec::new();
        let check = match expectation {
            Expectation::Decision(wanted) => return Ok(decision(wanted, seen.decisions.get(of))),
            Expectation::NoDecision(_) => {
                let found = seen.decisions.get(of).map(|d| d["action"].clone());
                Checked::that(
                    format!("nothing was decided about {of}"),
                    found.is_none(),
                    told(&found),
                )
            }
            Expectation::Alerts(wanted) => {
                let found = seen.alerts.get(of).unwrap_or(&Vec::new()).clone();
                let mut found: Vec<(String, String)> =
                    found.into_iter().map(|a| (a.policy_name, a.severity)).collect();
                found.sort();
                match (&wanted.are, wanted.at_most) {
                    (Some(are), _) => {
                        let mut are: Vec<(String, String)> =
                            are.iter().map(|(p, s)| (p.clone(), s.as_str().into())).collect();
                        are.sort();
                        Checked::equal(format!("alerts of {of}: {}", pairs(&are)), are, found)
                    }
                    (None, most) => {
                        let most = most.unwrap_or(0);
                        let what = format!("at most {most} alert(s) of {of}");
                        Checked::that(what, found.len() <= most, pairs(&found))
                    }
                }
            }
            Expectation::Broker(wanted) => return Ok(broker(wanted, seen)),
            Expectation::Exec(wanted) => {
                let found = seen.statuses.get(of).unwrap_or(&none).clone();
                let statuses: Vec<String> =
                    wanted.statuses.iter().map(|s| s.as_str().to_string()).collect();
                let words =
                    if statuses.is_empty() { "none".into() } else { statuses.join(" → ") };
                Checked::equal(format!("steps of {of} at the broker: {words}"), statuses, found)
            }
            Expectation::DeadLetters(wanted) => {
                let found = seen.dead_letters.get(of).map(Vec::as_slice).unwrap_or_default();
                let reason = |l: &super::DeadLetter| {
                    wanted.reason.as_ref().is_none_or(|reason| l.reason == *reason)
                };
                let ok = found.len() == wanted.count && found.iter().all(reason);
                let named = wanted.reason.as_deref().map(|r| format!(" ({r})")).unwrap_or_default();
                let what = format!("{} dead letter(s) of {of}{named}", wanted.count);
                let reasons: Vec<&str> = found.iter().map(|l| &*l.reason).collect();
                Checked::that(what, ok, format!("{} {reasons:?}", found.len()))
            }
            Expectation::Rows(wanted) => {
                let client = self.pool.get().await?;
                let table = wanted.table.as_str();
                let found =
                    evidence::rows(&client, table, &one(sent, of)?.request.trace_id).await?;
                Checked::equal(
                    format!("{} row(s) of {of} in {table}", wanted.count),
                    wanted.count,
                    found,
                )
            }
            Expectation::Timeline(wanted) => self.timeline(wanted, sent).await?,
            Expectation::Acceptance(wanted) => self.acceptance(*wanted, sent, seen).await?,
        };
        Ok(vec![check])
    }

    /// The plan's query for the timeline of a trace.
    pub async fn timeline_of(&self, sent: &Sent) -> anyhow::Result<Answer> {
        let client = self.pool.get().await?;
        let query = acceptance::of_trace(acceptance::TIMELINE, &sent.request.trace_id);
        Ok(acceptance::ask(&client, &query).await?)
    }

    /// Any of the plan's queries.
    pub async fn ask(&self, query: &str) -> anyhow::Result<Answer> {
        let client = self.pool.get().await?;
        Ok(acceptance::ask(&client, query).await?)
    }

    async fn timeline(&self, wanted: &Timeline, sent: &[Sent]) -> anyhow::Result<Checked> {
        let answer = self.timeline_of(one(sent, &wanted.of)?).await?;
        let (kinds, actions) = (answer.column("kind"), answer.column("action"));
        let row = |(kind, action): (&Option<&str>, &Option<&str>)| match action {
            Some(action) => format!("{} {action}", kind.unwrap_or("?")),
            None => kind.unwrap_or("?").to_string(),
        };
        let rows: Vec<String> = kinds.iter().zip(&actions).map(row).collect();
        let times = answer.column("ts");
        let seen: Vec<(Option<&str>, &str)> =
            times.into_iter().zip(rows.iter().map(String::as_str)).collect();
        let ok = shows(seen, &wanted.shows);
        let what = format!("timeline of {}: {}", wanted.of, wanted.shows.join(" · "));
        Ok(Checked::that(what, ok, rows.join(" · ")))
    }

    async fn acceptance(
        &self,
        wanted: Acceptance,
        sent: &[Sent],
        seen: &Evidence,
    ) -> anyhow::Result<Checked> {
        let decided = || sent.iter().filter(|s| seen.decisions.contains_key(&s.label));
        Ok(match wanted {
            Acceptance::OneRowPerKey => {
                let rows = self.ask(acceptance::TWICE).await?.rows;
                let what = "no key has two rows in outbox_orders";
                Checked::that(what, rows.is_empty(), format!("{rows:?}"))
            }
            Acceptance::TracesAgree => {
                let orphans = self.ask(acceptance::EXEC_WITHOUT_DECISION).await?.rows;
                let silent = self.ask(acceptance::DECISION_WITHOUT_EXEC).await?.rows;
                let what = "what was executed was decided, and what was decided was executed";
                let ok = orphans.is_empty() && silent.is_empty();
                Checked::that(
                    what,
                    ok,
                    format!("executed only {orphans:?}, decided only {silent:?}"),
                )
            }
            Acceptance::TimelineAnswers => {
                let (mut ok, mut found) = (true, Vec::new());
                for one in decided() {
                    let answer = self.timeline_of(one).await?;
                    let (kinds, actions) = (answer.column("kind"), answer.column("action"));
                    let action = kinds.iter().zip(&actions).find(|(k, _)| **k == Some("DECISION"));
                    ok &= action.is_some_and(|(_, action)| action.is_some());
                    found.push(format!("{}: {} row(s)", one.label, answer.rows.len()));
                }
                let what =
                    "the timeline answers for every decided trace, with the decision's action";
                Checked::that(what, ok, found.join(", "))
            }
            Acceptance::LatencyAnswers => {
                let (mut ok, mut found) = (true, Vec::new());
                for one in decided() {
                    let query = acceptance::of_trace(acceptance::LATENCY, &one.request.trace_id);
                    let answer = self.ask(&query).await?;
                    let total = answer.column("ms_total");
                    let number = |t: &str| Decimal::from_str(t).is_ok_and(|n| n >= Decimal::ZERO);
                    ok &= total.len() == 1 && total.iter().flatten().all(|t| number(t));
                    found.push(format!("{}: ms_total {total:?}", one.label));
                }
                let what = "the latency view answers for every decided trace, once";
                Checked::that(what, ok, found.join(", "))
            }
        })
    }
}

/// Whether these rows, in the order of their times, are what is wanted. Rows of one time have no order among
/// them, and what a row shows beyond what is wanted (a PLAN row's action, say) is not looked at.
fn shows(mut rows: Vec<(Option<&str>, &str)>, wanted: &[String]) -> bool {
    let fits = |row: &str, wanted: &str| {
        row == wanted || row.strip_prefix(wanted).is_some_and(|rest| rest.starts_with(' '))
    };
    for wanted in wanted {
        let Some(&(now, _)) = rows.first() else { return false };
        let at = rows.iter().position(|(ts, row)| *ts == now && fits(row, wanted));
        match at {
            Some(at) => drop(rows.remove(at)),
            None => return false,
        }
    }
    rows.is_empty()
}

fn one<'a>(sent: &'a [Sent], label: &str) -> anyhow::Result<&'a Sent> {
    sent.iter().find(|s| s.label == label).with_context(|| format!("{label} was not produced"))
}

fn told<T: std::fmt::Display>(value: &Option<T>) -> String {
    value.as_ref().map_or("nothing".into(), T::to_string)
}

fn pairs(alerts: &[(String, String)]) -> String {
    match alerts.is_empty() {
        true => "none".into(),
        false => alerts.iter().map(|(p, s)| format!("{p} {s}")).collect::<Vec<_>>().join(", "),
    }
}

/// A decimal of the ledger's JSON, which writes it as a string.
pub(crate) fn decimal(value: &Value) -> Option<Decimal> {
    match value {
        Value::String(text) => Decimal::from_str(text).ok(),
        Value::Number(number) => Decimal::from_str(&number.to_string()).ok(),
        _ => None,
    }
}

fn decision(wanted: &Decided, found: Option<&Value>) -> Vec<Checked> {
    let of = &wanted.of;
    let action = wanted.action.as_str();
    let Some(found) = found else {
        return vec![Checked::that(format!("{of} is decided {action}"), false, "no decision")];
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let mut checks = vec![Checked::equal(
        format!("{of} is decided {action}"),
        action.into(),
        text(&found["action"]),
    )];
    if let Some(qty) = wanted.qty {
        let decided = decimal(&found["decided_qty"]);
        checks.push(Checked::that(
            format!("{of}: quantity {qty}"),
            decided == Some(qty),
            told(&decided),
        ));
    }
    if let Some(quality) = wanted.quality {
        let verdict = text(&found["quality"]["verdict"]);
        let what = format!("{of}: quality {}", quality.as_str());
        checks.push(Checked::equal(what, quality.as_str().to_string(), verdict));
    }
    if let Some(multiplier) = wanted.multiplier {
        let used = decimal(&found["quality"]["multiplier"]);
        let what = format!("{of}: multiplier {multiplier}");
        checks.push(Checked::that(what, used == Some(multiplier), told(&used)));
    }
    if let Some(steps) = &wanted.steps {
        let list = found["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
        let rules: Vec<String> = list.iter().map(|step| text(&step["rule"])).collect();
        let words = if steps.is_empty() { "nothing".into() } else { steps.join(", ") };
        checks.push(Checked::equal(
            format!("{of}: its quantity was changed by {words}"),
            steps.clone(),
            rules,
        ));
    }
    if let Some(part) = &wanted.reason_has {
        let reason = text(&found["reason"]);
        checks.push(Checked::that(
            format!("{of}: the reason says {part}"),
            reason.contains(part),
            reason,
        ));
    }
    checks
}

fn broker(wanted: &AtBroker, seen: &Evidence) -> Vec<Checked> {
    let of = &wanted.of;
    let orders = seen.broker.get(of).map(Vec::as_slice).unwrap_or_default();
    let what = format!("the broker received {} order(s) for {of}", wanted.orders);
    let mut checks = vec![Checked::equal(what, wanted.orders, orders.len())];
    for order in orders {
        if let Some(qty) = wanted.qty {
            let ok = order.order.qty == qty;
            checks.push(Checked::that(
                format!("{of}: {qty} at the broker"),
                ok,
                told(&Some(order.order.qty)),
            ));
        }
        if let Some(side) = wanted.side {
            let what = format!("{of}: {} at the broker", side.as_str());
            checks.push(Checked::equal(what, side, order.order.side));
        }
        if let Some(price) = wanted.price {
            let prices: Vec<Decimal> = order.fills.iter().map(|fill| fill.px).collect();
            let ok = !prices.is_empty() && prices.iter().all(|px| *px == price);
            checks.push(Checked::that(
                format!("{of}: filled at {price}"),
                ok,
                format!("{prices:?}"),
            ));
        }
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(words: &[&str]) -> Vec<String> {
        words.iter().map(|w| w.to_string()).collect()
    }

    #[test]
    fn a_timeline_is_compared_in_its_order_and_rows_of_one_time_in_any() {
        let rows =
            vec![(Some("1"), "PLAN:START x"), (Some("2"), "ALERT r"), (Some("2"), "DECISION BUY")];
        assert!(shows(rows.clone(), &wanted(&["PLAN:START", "DECISION BUY", "ALERT r"])));
        assert!(!shows(rows.clone(), &wanted(&["DECISION BUY", "PLAN:START", "ALERT r"])));
        assert!(!shows(rows.clone(), &wanted(&["PLAN:START", "DECISION BUY"])));
        assert!(!shows(rows, &wanted(&["PLAN:START", "DECISION BUY", "ALERT r", "EXEC"])));
    }

    #[test]
    fn decimals_of_the_ledger_are_compared_as_numbers() {
        let found =
            serde_json::json!({"action": "BUY", "decided_qty": "430.000000000", "steps": []});
        let wanted = |qty: &str| Decided {
            of: "a".into(),
            action: crate::domain::event::Action::Buy,
            qty: Some(qty.parse().unwrap()),
            quality: None,
            multiplier: None,
            steps: Some(Vec::new()),
            reason_has: None,
        };
        assert!(decision(&wanted("430"), Some(&found)).iter().all(|check| check.ok));
        assert!(!decision(&wanted("431"), Some(&found)).iter().all(|check| check.ok));
        assert!(!decision(&wanted("430"), None)[0].ok, "no decision fits nothing");
    }
}
