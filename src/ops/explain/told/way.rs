//! The way of an order after its decision: sends, commands, steps at the broker, halts, and the rules that fired.

use super::decided::number;
use super::pen::{Pen, at, ms, say, short, took};
use crate::domain::catalogue::Kind;
use crate::domain::money::plain;
use crate::pg::story::{
    Alert, Attempt, Cancel, Command, DeadLetter, Held, Notification, Order, Step,
};

pub(super) fn way(pen: Pen, order: &Order) -> Vec<String> {
    let mut out = Vec::new();
    let mut part = |en: &str, ja: &str, lines: Vec<String>| {
        let labels = std::iter::once(pen.label(en, ja)).chain(std::iter::repeat(pen.no_label()));
        out.extend(labels.zip(lines).map(|(label, line)| format!("{label}{line}")));
    };
    part("halts", "停止", order.halts.iter().map(|h| held(pen, h)).collect());
    part("sent", "送信", order.attempts.iter().map(|a| attempt(pen, a)).collect());
    part("commands", "指示", order.commands.iter().map(|c| command(pen, c)).collect());
    part("cancel", "取消", order.cancel.iter().map(|c| cancel(pen, c)).collect());
    part("broker", "約定経過", order.steps.iter().map(|s| step(pen, s)).collect());
    // Fills that are applied and whose step the sink has not written.
    let is_told = |id: &str| {
        order.steps.iter().any(|s| s.response["last_fill"]["fill_id"].as_str() == Some(id))
    };
    let untold = order.fills.iter().filter(|fill| !is_told(&fill.fill_id));
    let fill = |fill: &crate::pg::story::Fill| {
        let (id, qty, px, when) =
            (&fill.fill_id, plain(fill.qty), plain(fill.px), at(fill.filled_at));
        say!(pen, "fill {id} {qty} at {px}, {when}", "{id} {qty} 単位 価格 {px}、{when}")
    };
    part("fills", "約定", untold.map(fill).collect());
    out.extend(durations(pen, order));
    out
}

fn held(pen: Pen, held: &Held) -> String {
    let scope = [&held.account, &held.symbol, &held.strategy];
    let scope: Vec<&str> = scope.into_iter().flatten().map(String::as_str).collect();
    let scope = if scope.is_empty() { say!(pen, "all", "全体") } else { scope.join(" ") };
    let mode = pen.ink.yellow(&held.mode);
    let (number, by, from, why) = (held.number, &held.by_whom, at(held.at), &held.reason);
    let until = match held.ended_at.map(at) {
        Some(end) => say!(pen, " until {end}", " 〜 {end}"),
        None => say!(pen, ", in force still", "、現在も有効"),
    };
    say!(
        pen,
        "{mode} {scope}, number {number} by {by} at {from}{until}: {why}",
        "{mode} {scope}、番号 {number}、{by}、{from}{until}: {why}"
    )
}

fn attempt(pen: Pen, attempt: &Attempt) -> String {
    let outcome = match attempt.outcome.as_deref() {
        Some("accepted") => pen.ink.green("accepted"),
        Some(other) => pen.ink.yellow(other),
        None => pen.ink.yellow(&say!(pen, "no outcome yet", "結果はまだ無い")),
    };
    let took = attempt.ended_at.map(|end| ms(attempt.started_at, end));
    let took = took.map_or(String::new(), |ms| say!(pen, " after {ms} ms", " ({ms} ms 後)"));
    let is_good = attempt.outcome.as_deref() == Some("accepted");
    let why = match attempt.detail.as_ref().filter(|_| !is_good) {
        Some(detail) if detail.as_object().is_none_or(|o| !o.is_empty()) => format!(": {detail}"),
        _ => String::new(),
    };
    let (no, start, worker) = (attempt.attempt_no, at(attempt.started_at), &attempt.worker);
    let under = attempt.capabilities.as_deref().map(short);
    let under = under.map_or(String::new(), |digest| {
        say!(pen, ", capabilities {digest}", "、ブローカーの能力 {digest}")
    });
    say!(
        pen,
        "attempt {no} at {start} by {worker}: {outcome}{took}{under}{why}",
        "{no} 回目 {start}、{worker}: {outcome}{took}{under}{why}"
    )
}

fn command(pen: Pen, command: &Command) -> String {
    let mut asked = command.action.clone();
    let terms = [
        (say!(pen, "qty", "数量"), command.qty),
        (say!(pen, "limit", "指値"), command.limit_price),
    ];
    for (name, term) in terms {
        if let Some(term) = term {
            asked.push_str(&format!(" {name} {}", plain(term)));
        }
    }
    let status = match command.status.as_str() {
        "ACCEPTED" | "DONE" => pen.ink.green(&command.status),
        other => pen.ink.yellow(other),
    };
    let code = command.code.as_ref().map_or(String::new(), |code| format!(" {code}"));
    let why = command
        .why
        .as_ref()
        .map_or(String::new(), |why| say!(pen, "; asked because: {why}", "。依頼の理由: {why}"));
    let (when, key, reason) = (at(command.decided_at), &command.idempotency_key, &command.reason);
    say!(
        pen,
        "{asked} at {when} by command {key}: {status}{code}: {reason}{why}",
        "{asked} {when}、指示 {key}: {status}{code}: {reason}{why}"
    )
}

fn cancel(pen: Pen, cancel: &Cancel) -> String {
    let Cancel { code, reason, by_whom, asked, .. } = cancel;
    let when = at(cancel.at);
    let halt = cancel
        .halt_number
        .map_or(String::new(), |number| say!(pen, " (halt {number})", " (停止 {number})"));
    let answer = match &cancel.answer {
        Some(answer) => pen.ink.green(answer),
        None => pen.ink.yellow(&say!(pen, "under way", "進行中")),
    };
    say!(
        pen,
        "{code} wanted at {when} by {by_whom}{halt}: {reason}; the broker was asked {asked} time(s): {answer}",
        "{code} {when}、{by_whom}{halt}: {reason}。ブローカーへ {asked} 回依頼: {answer}"
    )
}

fn step(pen: Pen, step: &Step) -> String {
    let mut line = format!("{} {:<17}{}", step.exec_seq, step.status, at(step.sent_at));
    let fill = &step.response["last_fill"];
    if let (Some(qty), Some(px)) = (number(fill, "qty"), number(fill, "px")) {
        let (qty, px, id) = (plain(qty), plain(px), fill["fill_id"].as_str().unwrap_or("?"));
        line.push_str(&say!(pen, "  {qty} at {px} ({id})", "  {qty} 単位 価格 {px} ({id})"));
    }
    if let Some(code) = &step.reason_code {
        line.push_str(&format!("  {}", pen.ink.yellow(code)));
        if let Some(text) = pen.text(Kind::Exec, code) {
            line.push_str(&pen.ink.dim(&format!(" ({})", text.means)));
        }
    }
    if let Some(reference) = step.response["order_ref"].as_str() {
        line.push_str(&pen.ink.dim(&format!("  {} {reference}", step.provider)));
    }
    let latencies = [
        (say!(pen, "queue", "待ち"), step.queue_ms),
        (say!(pen, "broker", "往復"), step.broker_rtt_ms),
        (say!(pen, "total", "全体"), step.total_ms),
    ];
    let told: Vec<String> =
        latencies.iter().filter_map(|(name, ms)| Some(format!("{name} {} ms", (*ms)?))).collect();
    if !told.is_empty() {
        line.push_str(&pen.ink.dim(&format!("  {}", told.join(", "))));
    }
    line
}

/// How long each part of the way took.
fn durations(pen: Pen, order: &Order) -> Option<String> {
    let ledger = order.ledger.as_ref()?;
    let first = |wanted: &[&str]| {
        order.steps.iter().find(|s| wanted.contains(&s.status.as_str())).map(|s| s.sent_at)
    };
    let over = order.steps.last().filter(|_| ledger.working_qty.is_zero()).map(|s| s.sent_at);
    let state = ledger.state.as_str();
    let points = [
        (say!(pen, "decided", "判定"), Some(ledger.decided_at)),
        (say!(pen, "sent", "送信"), first(&["SENT"])),
        (say!(pen, "accepted", "受理"), first(&["ACCEPTED", "PARTIALLY_FILLED", "FILLED"])),
        (state.to_string(), over),
    ];
    let (mut last, mut told) = (ledger.requested_at, say!(pen, "asked", "依頼"));
    for (name, time) in points {
        let Some(time) = time else { continue };
        told.push_str(&format!(" → {name} {}", took(ms(last, time))));
        last = time;
    }
    let (label, all) = (pen.label("took", "所要"), took(ms(ledger.requested_at, last)));
    Some(format!("{label}{all}: {told}"))
}

/// A rule that fired; what it is, unless a step has said that already, and what to do.
pub(super) fn alert(pen: Pen, alert: &Alert, is_explained: bool) -> Vec<String> {
    let name = pen.ink.yellow(&format!("{} {}", alert.severity, alert.policy_name));
    let mut out = vec![format!("{}{name}: {}", pen.label("alert", "警告"), alert.reason)];
    if let Some(text) = pen.text(Kind::Alert, &alert.policy_name) {
        if !is_explained {
            out.push(pen.note(text.means));
        }
        let to_do = text.to_do;
        out.push(pen.note(&say!(pen, "to do: {to_do}", "対応: {to_do}")));
    }
    out
}

/// What people were told of a rule that fired.
pub(super) fn notified(pen: Pen, told: &Notification) -> String {
    let Notification { policy_name, kind, receiver, severity, .. } = told;
    let (label, at) = (pen.label("told", "通知"), at(told.noted_at));
    let not_yet = say!(pen, "not sent yet", "未送信");
    let state = pen.ink.yellow(told.state.as_ref().unwrap_or(&not_yet));
    let status = told.status.map_or(String::new(), |status| format!(" (HTTP {status})"));
    say!(
        pen,
        "{label}{receiver} of {severity} {policy_name} {kind} at {at}: {state}{status}",
        "{label}{receiver} へ {severity} {policy_name} {kind} {at}: {state}{status}"
    )
}

/// An input that was refused, and where to find it.
pub(super) fn letter(pen: Pen, letter: &DeadLetter) -> Vec<String> {
    let DeadLetter { topic, partition, offset, reason, .. } = letter;
    let (label, reason) = (pen.label("refused", "拒否"), pen.ink.red(reason));
    vec![say!(
        pen,
        "{label}{reason}: the record {topic}/{partition}/{offset} is a dead letter (noctus dead-letters)",
        "{label}{reason}: レコード {topic}/{partition}/{offset} は dead letter (noctus dead-letters)"
    )]
}
