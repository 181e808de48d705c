//! Owns how a story reads in a terminal.
//! Never looks anything up. Invariant: without colour the text says the same.

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::demo::report::Ink;
use crate::domain::event::{self, Candidate, PolicyDigests, Quality, Quote};
use crate::domain::money::plain;
use crate::pg::story::{Alert, Attempt, Command, Hop, Ledger, Order, Owed, Step, Story};

/// Questions about an unknown outcome before it is PARKED (C-OUT-3).
const QUESTIONS_MAX: i32 = 6;

/// The whole story.
pub fn story(ink: Ink, story: &Story) -> String {
    let mut out = vec![ink.bold(&format!("trace {}", story.trace_id))];
    if story.orders.is_empty() {
        out.push("  no order of it has been decided".into());
    }
    for order in &story.orders {
        out.push(String::new());
        out.extend(self::order(ink, order));
        let fired = |a: &&Alert| a.idempotency_key.as_ref() == Some(&order.idempotency_key);
        out.extend(story.alerts.iter().filter(fired).map(|a| alert(ink, a)));
        out.extend(now(ink, order));
    }
    let known = |a: &Alert| {
        let of = |o: &Order| Some(&o.idempotency_key) == a.idempotency_key.as_ref();
        story.orders.iter().any(of)
    };
    let others: Vec<&Alert> = story.alerts.iter().filter(|a| !known(a)).collect();
    if !others.is_empty() {
        out.push(String::new());
        out.extend(others.into_iter().map(|a| alert(ink, a)));
    }
    out.push(String::new());
    out.extend(timeline(ink, &story.timeline));
    out.extend(owed(ink, &story.owed, story.told_at));
    out.join("\n")
}

fn order(ink: Ink, order: &Order) -> Vec<String> {
    let mut out = vec![ink.bold(&format!("order {}", order.idempotency_key))];
    out.extend(asked(order).into_iter().map(|line| format!("  {line}")));
    out.extend(decided(ink, order));
    for (nth, attempt) in order.attempts.iter().enumerate() {
        let name = if nth == 0 { "sent" } else { "" };
        out.push(format!("  {name:<10}{}", self::attempt(ink, attempt)));
    }
    for (nth, command) in order.commands.iter().enumerate() {
        let name = if nth == 0 { "commands" } else { "" };
        out.push(format!("  {name:<10}{}", self::command(ink, command)));
    }
    for (nth, step) in order.steps.iter().enumerate() {
        let name = if nth == 0 { "broker" } else { "" };
        out.push(format!("  {name:<10}{}", self::step(ink, step)));
    }
    // Fills that are applied and whose step the sink has not written.
    let written = |id: &str| {
        order.steps.iter().any(|s| s.response["last_fill"]["fill_id"].as_str() == Some(id))
    };
    for fill in order.fills.iter().filter(|f| !written(&f.fill_id)) {
        let (qty, px) = (plain(fill.qty), plain(fill.px));
        out.push(format!(
            "            fill {} {qty} at {px}, {}",
            fill.fill_id,
            at(fill.filled_at)
        ));
    }
    out
}

fn asked(order: &Order) -> Vec<String> {
    let d = &order.decision;
    let text = |name: &str| d[name].as_str().unwrap_or_default();
    let Some(l) = &order.ledger else {
        let qty = number(d, "requested_qty").map_or("?".into(), plain);
        let (symbol, kind, account) = (text("symbol"), text("order_type"), text("account"));
        let asked = format!("{}{qty} {symbol} {kind} for account {account}", side(d));
        return [format!("asked     {asked}")].into_iter().chain(quality_told(d)).collect();
    };
    let qty = plain(l.requested_qty);
    let mut asked = format!("{}{qty} {} {}", side(d), l.symbol, l.order_type);
    let prices = [
        ("limit", l.limit_price),
        ("stop", l.stop_price),
        ("reference", l.reference_price),
        ("stop loss", l.stop_loss),
        ("take profit", l.take_profit),
    ];
    for (name, price) in prices {
        if let Some(price) = price {
            asked.push_str(&format!(" {name} {}", plain(price)));
        }
    }
    asked.push_str(&format!(" {} for account {}", l.time_in_force, l.account));
    if let Some(strategy) = &l.strategy {
        asked.push_str(&format!(", strategy {strategy}"));
    }
    let mut when = format!("          at {}", at(l.requested_at));
    if let Some(until) = l.valid_until {
        when.push_str(&format!(", valid until {}", at(until)));
    }
    when.push_str(&format!(
        "; read at partition/offset {}/{}",
        l.source_partition, l.source_offset
    ));
    [format!("asked     {asked}"), when].into_iter().chain(quality_told(d)).collect()
}

/// `BUY `, or how many proposals it was made from.
fn side(decision: &Value) -> String {
    let request = &decision["request"];
    match (request["side"].as_str(), request["proposals"].as_array()) {
        (Some(side), _) => format!("{side} "),
        (None, Some(proposals)) => format!("by {} proposal(s): ", proposals.len()),
        (None, None) => String::new(),
    }
}

/// What the producer said of its data.
fn quality_told(decision: &Value) -> Option<String> {
    let quality = decision["request"]["quality"].as_object()?;
    let told: Vec<String> = quality.iter().map(|(name, value)| format!("{name} {value}")).collect();
    Some(format!("          {}", told.join(", ")))
}

fn decided(ink: Ink, order: &Order) -> Vec<String> {
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
        "BUY" | "SELL" => ink.green(&format!("{action} {}", qty.map_or("?".into(), plain))),
        other => ink.yellow(other),
    };
    let mut line = format!("  decided   {what}");
    if let Some(l) = &order.ledger {
        line.push_str(&format!(", {} ms after it was asked", ms(l.requested_at, l.decided_at)));
    }
    if let Some(version) = d["engine_version"].as_str() {
        line.push_str(&format!(", by {version}"));
    }
    let mut out = vec![line];
    let steps: Vec<event::Step> = field(d, "steps").unwrap_or_default();
    for step in &steps {
        let (before, after) = (plain(step.before), plain(step.after));
        out.push(format!("            {before} → {after}  {}", step.rule));
        out.push(ink.dim(&format!("              {}", step.reason)));
    }
    let mut note = |text: String| out.push(ink.dim(&format!("            {text}")));
    if let Some(reason) = d["reason"].as_str() {
        note(format!("because: {reason}"));
    }
    if let Some(q) = field::<Quality>(d, "quality") {
        note(format!("quality {}, multiplier {}", q.verdict.as_str(), plain(q.multiplier)));
    }
    if let Some(price) = number(d, "price") {
        note(format!("price {}", plain(price)));
    }
    if let Some(q) = field::<Quote>(d, "quote") {
        let age = field::<Timestamp>(d, "decided_at").map(|decided| ms(q.at, decided));
        let age = age.map_or(String::new(), |age| format!(", {age} ms old"));
        note(format!("quote bid {} ask {} of {}{age}", plain(q.bid), plain(q.ask), at(q.at)));
    }
    for c in field::<Vec<Candidate>>(d, "top_candidates").unwrap_or_default() {
        let (score, confidence, risk) =
            (plain(c.score), plain(c.confidence_term), plain(c.risk_term));
        let intent = format!("{:?}", c.intent).to_uppercase();
        let asks = format!("{} {intent} {}", c.strategy, plain(c.qty_raw));
        note(format!("candidate {asks}: score {score} (confidence {confidence}, risk {risk})"));
    }
    if let Some(arm) = d["arm"].as_str() {
        note(format!("arm {arm}"));
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
        note(format!("policies {}", digests.join(", ")));
    }
    out
}

fn attempt(ink: Ink, attempt: &Attempt) -> String {
    let outcome = attempt.outcome.as_deref().unwrap_or("no outcome yet");
    let coloured = match outcome {
        "accepted" => ink.green(outcome),
        _ => ink.yellow(outcome),
    };
    let took = attempt.ended_at.map(|end| ms(attempt.started_at, end));
    let took = took.map_or(String::new(), |ms| format!(" after {ms} ms"));
    let why = match attempt.detail.as_ref().filter(|_| outcome != "accepted") {
        Some(detail) if detail.as_object().is_none_or(|o| !o.is_empty()) => format!(": {detail}"),
        _ => String::new(),
    };
    let (no, start, worker) = (attempt.attempt_no, at(attempt.started_at), &attempt.worker);
    let under = attempt.capabilities.as_deref().map(short);
    let under = under.map_or(String::new(), |digest| format!(", capabilities {digest}"));
    format!("attempt {no} at {start} by {worker}: {coloured}{took}{under}{why}")
}

fn command(ink: Ink, command: &Command) -> String {
    let mut asked = command.action.clone();
    for (name, term) in [("qty", command.qty), ("limit", command.limit_price)] {
        if let Some(term) = term {
            asked.push_str(&format!(" {name} {}", plain(term)));
        }
    }
    let status = match command.status.as_str() {
        "ACCEPTED" | "DONE" => ink.green(&command.status),
        other => ink.yellow(other),
    };
    let code = command.code.as_ref().map_or(String::new(), |code| format!(" {code}"));
    let why = command.why.as_ref().map_or(String::new(), |why| format!("; asked because: {why}"));
    let (when, key, reason) = (at(command.decided_at), &command.idempotency_key, &command.reason);
    format!("{asked} at {when} by command {key}: {status}{code}: {reason}{why}")
}

fn step(ink: Ink, step: &Step) -> String {
    let mut line = format!("{} {:<17}{}", step.exec_seq, step.status, at(step.sent_at));
    let fill = &step.response["last_fill"];
    if let (Some(qty), Some(px)) = (number(fill, "qty"), number(fill, "px")) {
        let id = fill["fill_id"].as_str().unwrap_or("?");
        line.push_str(&format!("  {} at {} ({id})", plain(qty), plain(px)));
    }
    if let Some(code) = &step.reason_code {
        line.push_str(&format!("  {}", ink.yellow(code)));
    }
    if let Some(reference) = step.response["order_ref"].as_str() {
        line.push_str(&ink.dim(&format!("  {} {reference}", step.provider)));
    }
    let latencies =
        [("queue", step.queue_ms), ("broker", step.broker_rtt_ms), ("total", step.total_ms)];
    let told: Vec<String> =
        latencies.iter().filter_map(|(name, ms)| Some(format!("{name} {} ms", (*ms)?))).collect();
    if !told.is_empty() {
        line.push_str(&ink.dim(&format!("  {}", told.join(", "))));
    }
    line
}

fn alert(ink: Ink, alert: &Alert) -> String {
    let name = ink.yellow(&format!("{} {}", alert.severity, alert.policy_name));
    format!("  alert     {name}: {}", alert.reason)
}

/// Where the order is, and what is still to come.
fn now(ink: Ink, order: &Order) -> Vec<String> {
    let mut out = Vec::new();
    match &order.ledger {
        Some(ledger) => out.push(format!("  now       {}", state(ink, ledger))),
        None => {
            let status = order.steps.last().map_or("nothing was sent", |step| step.status.as_str());
            out.push(format!("  now       {status}; the ledger does not have this order"));
        }
    }
    if let Some(m) = &order.metrics {
        let mut parts =
            vec![format!("{} resend(s), {} partial fill(s)", m.retry_counts, m.partial_fills)];
        parts.extend(m.slippage.map(|s| format!("slippage {}", plain(s))));
        out.push(ink.dim(&format!("            {}", parts.join(", "))));
    }
    let Some(ledger) = &order.ledger else { return out };
    for quarantined in &ledger.quarantined {
        let what = format!("the broker said what cannot be: {quarantined}");
        out.push(format!("            {}", ink.yellow(&what)));
    }
    let written = order.steps.last().map_or(0, |step| step.exec_seq);
    if written < ledger.exec_seq {
        let behind = format!("the sink has written step {written} of {}", ledger.exec_seq);
        out.push(format!("            {}", ink.yellow(&behind)));
    }
    if !order.decision_written {
        out.push(format!(
            "            {}",
            ink.yellow("the sink has not written the decision yet")
        ));
    }
    out
}

fn state(ink: Ink, l: &Ledger) -> String {
    let filled = format!("{} of {}", plain(l.executed_qty), plain(l.decided_qty));
    let price = l.avg_price.map_or(String::new(), |p| format!(" at {}", plain(p)));
    match l.state.as_str() {
        "NOT_SENT" => format!("nothing is sent for {}", l.action),
        "NEW" => {
            let until = l.dispatch_by.into_iter().chain(l.valid_until).min();
            let until = until.map_or(String::new(), |t| format!(", until {} at most", at(t)));
            format!("{}: waits to be sent{until}", ink.yellow("NEW"))
        }
        "UNKNOWN" => {
            let next = match l.next_query_at {
                Some(t) => format!("the broker is asked again at {}", at(t)),
                None => "it is to be sent again".into(),
            };
            let asked = format!("{} of {QUESTIONS_MAX} questions asked", l.query_no);
            format!(
                "{}: nobody knows whether the broker has it; {next} ({asked})",
                ink.yellow("UNKNOWN")
            )
        }
        "PARKED" => {
            let held = format!("{} units stay reserved", plain(l.working_qty));
            let what = "a person must find out what became of it at the broker";
            format!("{}: {what}; {held}, and later orders that open risk wait", ink.red("PARKED"))
        }
        "FILLED" => format!("{}: {filled}{price}", ink.green("FILLED")),
        other => format!("{}: {filled} filled{price}", ink.yellow(other)),
    }
}

fn timeline(ink: Ink, hops: &[Hop]) -> Vec<String> {
    let Some(start) = hops.iter().map(|hop| hop.ts).min() else {
        return vec!["timeline: nothing is written yet".into()];
    };
    let mut out = vec![ink.bold(&format!("timeline, ms since {}", at(start)))];
    for hop in hops {
        let us = hop.ts.as_microsecond() - start.as_microsecond();
        let offset = format!("{}.{:03}", us / 1_000, us % 1_000);
        let action = hop.action.as_deref().unwrap_or_default();
        let more = match hop.kind.as_str() {
            "ALERT" => hop.payload["reason"].as_str().unwrap_or_default().to_string(),
            "EXEC" => format!("step {}", hop.payload["exec_seq"]),
            "COMMAND" => hop.payload["reason"].as_str().unwrap_or_default().to_string(),
            _ => String::new(),
        };
        let line = format!("{offset:>14}  {} {action}  {}", hop.kind, ink.dim(&more));
        out.push(line.trim_end().to_string());
    }
    out
}

fn owed(ink: Ink, owed: &[Owed], now: Timestamp) -> Vec<String> {
    let line = |o: &Owed| {
        let age = ms(o.oldest, now);
        let what = format!("{} event(s) owed to {}, for {age} ms", o.events, o.topic);
        format!("{} (committed, not yet acknowledged by Kafka)", ink.yellow(&what))
    };
    owed.iter().map(line).collect()
}

/// A part of the decision, if it is there and is what it should be.
fn field<T: DeserializeOwned>(value: &Value, name: &str) -> Option<T> {
    serde_json::from_value(value.get(name)?.clone()).ok()
}

fn number(value: &Value, name: &str) -> Option<Decimal> {
    field(value, name)
}

fn ms(from: Timestamp, to: Timestamp) -> i64 {
    to.as_millisecond() - from.as_millisecond()
}

fn at(time: Timestamp) -> String {
    time.strftime("%F %T%.3f").to_string()
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}
