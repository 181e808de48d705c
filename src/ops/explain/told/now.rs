//! Where an order is, what it holds, and what is still to come.

use rust_decimal::Decimal;

use super::pen::{Pen, at, say};
use crate::domain::money::plain;
use crate::ops::explain::held;
use crate::pg::story::{Ledger, Order};

/// Questions about an unknown outcome before it is PARKED (C-OUT-3).
const QUESTIONS_MAX: i32 = 6;

pub(super) fn now(pen: Pen, order: &Order) -> Vec<String> {
    let mut out = Vec::new();
    let label = pen.label("now", "現在");
    match &order.ledger {
        Some(ledger) => out.push(format!("{label}{}", state(pen, ledger))),
        None => {
            let nothing = say!(pen, "nothing was sent", "何も送られていない");
            let status = order.steps.last().map_or(nothing, |step| step.status.clone());
            out.push(say!(
                pen,
                "{label}{status}; the ledger does not have this order",
                "{label}{status}。この注文は台帳に無い"
            ));
        }
    }
    if let Some(m) = &order.metrics {
        let (resends, fills) = (m.retry_counts, m.partial_fills);
        let mut told = say!(
            pen,
            "{resends} resend(s), {fills} partial fill(s)",
            "再送 {resends} 回、部分約定 {fills} 回"
        );
        if let Some(slippage) = m.slippage.map(plain) {
            told.push_str(&say!(pen, ", slippage {slippage}", "、スリッページ {slippage}"));
        }
        out.push(pen.note(&told));
    }
    let Some(ledger) = &order.ledger else { return out };
    out.extend(reserved(pen, ledger));
    let warn = |text: String| format!("{}{}", pen.no_label(), pen.ink.yellow(&text));
    for label in &ledger.quarantined {
        out.push(warn(say!(
            pen,
            "the broker said what cannot be: {label}",
            "ブローカーがあり得ないことを伝えた: {label}"
        )));
    }
    let (written, all) = (order.steps.last().map_or(0, |step| step.exec_seq), ledger.exec_seq);
    if written < all {
        out.push(warn(say!(
            pen,
            "the sink has written step {written} of {all}",
            "sink が書いたのは {all} 段階のうち {written} 段階まで"
        )));
    }
    if !order.decision_written {
        out.push(warn(say!(
            pen,
            "the sink has not written the decision yet",
            "sink はまだ判定を書いていない"
        )));
    }
    out
}

/// What of the reservation is still held (C-RISK-8).
fn reserved(pen: Pen, l: &Ledger) -> Option<String> {
    if l.state == "NOT_SENT" {
        return None;
    }
    if l.working_qty == Decimal::ZERO {
        return Some(pen.note(&say!(pen, "reserves nothing any more", "予約は残っていない")));
    }
    let held = held(l);
    let (qty, all) = (plain(held.qty), plain(l.decided_qty));
    let notional = plain(held.opening_notional);
    Some(pen.note(&say!(
        pen,
        "reserves {qty} of {all} units, {notional} of opening notional",
        "予約: {all} 単位のうち {qty} 単位、新規分の想定元本 {notional}"
    )))
}

fn state(pen: Pen, l: &Ledger) -> String {
    let ink = pen.ink;
    let (done, all) = (plain(l.executed_qty), plain(l.decided_qty));
    let filled = say!(pen, "{done} of {all}", "{all} のうち {done}");
    let price = l.avg_price.map(plain);
    let price = price.map_or(String::new(), |p| say!(pen, " at {p}", " 平均価格 {p}"));
    match l.state.as_str() {
        "NOT_SENT" => {
            let action = &l.action;
            say!(pen, "nothing is sent for {action}", "{action} は送られない")
        }
        "NEW" => {
            let until = l.dispatch_by.into_iter().chain(l.valid_until).min().map(at);
            let until = until
                .map_or(String::new(), |t| say!(pen, ", until {t} at most", "、遅くとも {t} まで"));
            let new = ink.yellow("NEW");
            say!(pen, "{new}: waits to be sent{until}", "{new}: 送信待ち{until}")
        }
        "UNKNOWN" => {
            let next = match l.next_query_at.map(at) {
                Some(t) => say!(pen, "the broker is asked again at {t}", "{t} に再び照会する"),
                None => say!(pen, "it is to be sent again", "再送する"),
            };
            let (unknown, asked) = (ink.yellow("UNKNOWN"), l.query_no);
            say!(
                pen,
                "{unknown}: nobody knows whether the broker has it; {next} ({asked} of {QUESTIONS_MAX} questions asked)",
                "{unknown}: ブローカーに届いたか不明。{next} (照会 {QUESTIONS_MAX} 回のうち {asked} 回済み)"
            )
        }
        "PARKED" => {
            let (parked, held) = (ink.red("PARKED"), plain(l.working_qty));
            say!(
                pen,
                "{parked}: a person must find out what became of it at the broker; {held} units stay reserved, and later orders that open risk wait",
                "{parked}: ブローカーでどうなったかを人が確かめる。{held} 単位は予約されたままで、リスクを増やす後続の注文は待つ"
            )
        }
        "FILLED" => format!("{}: {filled}{price}", ink.green("FILLED")),
        other => {
            let state = ink.yellow(other);
            say!(pen, "{state}: {filled} filled{price}", "{state}: {filled} 約定{price}")
        }
    }
}
