//! What was asked, what was decided of it, and every step in between.

use rust_decimal::Decimal;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::pen::{Pen, at, ms, say, short};
use crate::domain::catalogue::Kind;
use crate::domain::event::{self, Candidate, PolicyDigests, Quality, Quote};
use crate::domain::money::plain;
use crate::pg::story::{Ledger, Order};

pub(super) fn asked(pen: Pen, order: &Order) -> Vec<String> {
    let d = &order.decision;
    let text = |name: &str| d[name].as_str().unwrap_or_default();
    let (label, side) = (pen.label("asked", "依頼"), side(pen, d));
    let Some(l) = &order.ledger else {
        let qty = number(d, "requested_qty").map_or("?".into(), plain);
        let (symbol, kind, account) = (text("symbol"), text("order_type"), text("account"));
        let asked = say!(
            pen,
            "{label}{side}{qty} {symbol} {kind} for account {account}",
            "{label}{side}{qty} {symbol} {kind} 口座 {account}"
        );
        return [asked].into_iter().chain(quality_told(pen, d)).collect();
    };
    let mut asked =
        format!("{label}{side}{} {} {}", plain(l.requested_qty), l.symbol, l.order_type);
    let prices = [
        (say!(pen, "limit", "指値"), l.limit_price),
        (say!(pen, "stop", "逆指値"), l.stop_price),
        (say!(pen, "reference", "参考値"), l.reference_price),
        (say!(pen, "stop loss", "損切り"), l.stop_loss),
        (say!(pen, "take profit", "利確"), l.take_profit),
    ];
    for (name, price) in prices {
        if let Some(price) = price {
            asked.push_str(&format!(" {name} {}", plain(price)));
        }
    }
    let (tif, account) = (&l.time_in_force, &l.account);
    asked.push_str(&say!(pen, " {tif} for account {account}", " {tif} 口座 {account}"));
    if let Some(strategy) = &l.strategy {
        asked.push_str(&say!(pen, ", strategy {strategy}", "、戦略 {strategy}"));
    }
    let mut out = vec![asked, when(pen, l)];
    out.extend(quality_told(pen, d));
    if let Some(traceparent) = &l.traceparent {
        let state = l.tracestate.as_ref().map_or(String::new(), |state| format!("; {state}"));
        out.push(pen.note(&format!("traceparent {traceparent}{state}")));
    }
    out
}

fn when(pen: Pen, l: &Ledger) -> String {
    let (asked, blank) = (at(l.requested_at), pen.no_label());
    let mut when = say!(pen, "{blank}at {asked}", "{blank}時刻 {asked}");
    if let Some(until) = l.valid_until.map(at) {
        when.push_str(&say!(pen, ", valid until {until}", "、有効期限 {until}"));
    }
    let (partition, offset) = (l.source_partition, l.source_offset);
    when.push_str(&say!(
        pen,
        "; read at partition/offset {partition}/{offset}",
        "。入力の位置 (partition/offset) {partition}/{offset}"
    ));
    if let Some(source_at) = l.source_at {
        let (in_kafka, written) = (ms(l.requested_at, source_at), ms(source_at, l.created_at));
        when.push_str(&say!(
            pen,
            ", in Kafka after {in_kafka} ms, in the ledger {written} ms later",
            "、{in_kafka} ms 後に Kafka、さらに {written} ms 後に台帳"
        ));
    }
    when
}

/// `BUY `, or how many proposals it was made from.
fn side(pen: Pen, decision: &Value) -> String {
    let request = &decision["request"];
    match (request["side"].as_str(), request["proposals"].as_array()) {
        (Some(side), _) => format!("{side} "),
        (None, Some(proposals)) => {
            let count = proposals.len();
            say!(pen, "by {count} proposal(s): ", "提案 {count} 件から: ")
        }
        (None, None) => String::new(),
    }
}

/// What the producer said of its data.
fn quality_told(pen: Pen, decision: &Value) -> Option<String> {
    let quality = decision["request"]["quality"].as_object()?;
    let told: Vec<String> = quality.iter().map(|(name, value)| format!("{name} {value}")).collect();
    Some(format!("{}{}", pen.no_label(), told.join(", ")))
}

pub(super) fn decided(pen: Pen, order: &Order) -> Vec<String> {
    let d = &order.decision;
    let action = match (&order.ledger, d["action"].as_str()) {
        (Some(l), _) => l.action.as_str(),
        (None, action) => action.unwrap_or("?"),
    };
    let qty = match &order.ledger {
        Some(l) => Some(l.decided_qty),
        None => number(d, "decided_qty"),
    };
    let what = match action {
        "BUY" | "SELL" => pen.ink.green(&format!("{action} {}", qty.map_or("?".into(), plain))),
        other => pen.ink.yellow(other),
    };
    let mut line = format!("{}{what}", pen.label("decided", "判定"));
    if let Some(l) = &order.ledger {
        let after = ms(l.requested_at, l.decided_at);
        line.push_str(&say!(pen, ", {after} ms after it was asked", "、依頼の {after} ms 後"));
    }
    if let Some(version) = d["engine_version"].as_str() {
        line.push_str(&say!(pen, ", by {version}", "、{version}"));
    }
    let mut out = vec![line];
    out.extend(steps(pen, d));
    out.extend(because(pen, action, d));
    out
}

/// Every change of the quantity, why, and what the rule is.
fn steps(pen: Pen, decision: &Value) -> Vec<String> {
    let steps: Vec<event::Step> = field(decision, "steps").unwrap_or_default();
    let mut out = Vec::with_capacity(steps.len() * 3);
    for step in &steps {
        let (before, after) = (plain(step.before), plain(step.after));
        out.push(format!("{}{before} → {after}  {}", pen.no_label(), step.rule));
        out.push(pen.note(&format!("  {}", step.reason)));
        out.extend(pen.rule(&step.rule).map(|text| pen.note(&format!("  {}", text.means))));
    }
    out
}

fn because(pen: Pen, action: &str, d: &Value) -> Vec<String> {
    let mut out = Vec::new();
    let mut note = |text: String| out.push(pen.note(&text));
    if let Some(reason) = d["reason"].as_str() {
        note(say!(pen, "because: {reason}", "理由: {reason}"));
        let code = reason.split([' ', ':', ',']).next().unwrap_or_default();
        let told = pen.text(Kind::Decision, code).filter(|_| action == "REJECT");
        told.into_iter().for_each(|text| note(format!("  {}", text.means)));
    }
    if let Some(q) = field::<Quality>(d, "quality") {
        let (verdict, multiplier) = (q.verdict.as_str(), plain(q.multiplier));
        note(say!(
            pen,
            "quality {verdict}, multiplier {multiplier}",
            "品質 {verdict}、係数 {multiplier}"
        ));
    }
    if let Some(price) = number(d, "price").map(plain) {
        note(say!(pen, "price {price}", "価格 {price}"));
    }
    if let Some(q) = field::<Quote>(d, "quote") {
        let age = field(d, "decided_at").map(|decided| ms(q.at, decided));
        let age = age.map_or(String::new(), |age| say!(pen, ", {age} ms old", "、{age} ms 前"));
        let (bid, ask, of) = (plain(q.bid), plain(q.ask), at(q.at));
        note(say!(pen, "quote bid {bid} ask {ask} of {of}{age}", "気配 {bid} / {ask} ({of}{age})"));
    }
    for c in field::<Vec<Candidate>>(d, "top_candidates").unwrap_or_default() {
        let (score, confidence, risk) =
            (plain(c.score), plain(c.confidence_term), plain(c.risk_term));
        let intent = format!("{:?}", c.intent).to_uppercase();
        let asks = format!("{} {intent} {}", c.strategy, plain(c.qty_raw));
        note(say!(
            pen,
            "candidate {asks}: score {score} (confidence {confidence}, risk {risk})",
            "候補 {asks}: 評点 {score} (確信度 {confidence}、リスク {risk})"
        ));
    }
    if let Some(arm) = d["arm"].as_str() {
        note(say!(pen, "arm {arm}", "実験群 {arm}"));
    }
    if let Some(p) = field::<PolicyDigests>(d, "policies") {
        let named = [
            ("quality", p.quality),
            ("profiles", p.profiles),
            ("risk", p.risk),
            ("instruments", p.instruments),
        ];
        let digests: Vec<String> =
            named.iter().map(|(name, digest)| format!("{name} {}", short(digest))).collect();
        let digests = digests.join(", ");
        note(say!(pen, "policies {digests}", "ポリシー {digests}"));
    }
    out
}

/// A part of the decision, if it is there and is what it should be.
pub(super) fn field<T: DeserializeOwned>(value: &Value, name: &str) -> Option<T> {
    serde_json::from_value(value.get(name)?.clone()).ok()
}

pub(super) fn number(value: &Value, name: &str) -> Option<Decimal> {
    field(value, name)
}
