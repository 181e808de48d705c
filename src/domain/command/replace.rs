//! Owns whether an order may go on with other terms, and what is reserved for it then. Pure.
//! Never lets an order grow, and never lets a new price pass that the gate would not let pass now.
//! Invariant: what is reserved on top until the replacement is over covers the dearer of both terms (C-CMD-6).

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::rule::{Effect, Verdict};
use crate::domain::event::OrderStatus;
use crate::domain::judge::{Facts, Halt, QualityMemory, judge};
use crate::domain::money::{WIRE_DECIMALS, plain};
use crate::domain::policy::Policies;
use crate::domain::position::share;
use crate::domain::request::{Intake, OrderRequest, OrderType, QualityInput, Side, TimeInForce};
use crate::domain::text::{Account, StrategyName, Symbol, TraceId};

/// Terms of an order that a replacement may change, and what they reserve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Units in all, what is filled included.
    #[serde(with = "rust_decimal::serde::str")]
    pub qty: Decimal,
    /// The limit price, if it has one.
    pub limit_price: Option<Decimal>,
    /// How much of `qty` opens risk.
    #[serde(with = "rust_decimal::serde::str")]
    pub opening_qty: Decimal,
    /// The same as a notional in the account's currency, for all of `qty`.
    #[serde(with = "rust_decimal::serde::str")]
    pub opening_notional: Decimal,
}

/// An order as it stands, under lock.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Standing {
    pub status: OrderStatus,
    pub trace_id: TraceId,
    pub account: Account,
    pub symbol: Symbol,
    pub side: Side,
    pub order_type: OrderType,
    pub time_in_force: TimeInForce,
    pub strategy: Option<StrategyName>,
    pub stop_price: Option<Decimal>,
    pub terms: Terms,
    /// Units not filled: what is still reserved.
    pub working_qty: Decimal,
    /// A cancel is wanted of it.
    pub cancel: bool,
    /// Another replacement is on its way.
    pub replacing: bool,
}

impl Standing {
    /// What is left of it under other terms, as a request of now: only risk is to be judged.
    pub fn request(&self, left: Decimal, limit_price: Option<Decimal>, now: Timestamp) -> Intake {
        Intake::Order(OrderRequest {
            trace_id: self.trace_id.clone(),
            account: self.account.clone(),
            symbol: self.symbol.clone(),
            side: self.side,
            qty: left,
            order_type: self.order_type,
            limit_price,
            stop_price: self.stop_price,
            time_in_force: self.time_in_force,
            requested_at: now,
            valid_until: None,
            decision_id: None,
            // What was seen when it was asked for is no price of now.
            reference_price: None,
            stop_loss: None,
            take_profit: None,
            strategy: self.strategy.clone(),
            timeframe: None,
            quality: Some(QualityInput { missing_ratio: Some(0.0), data_lag_min: Some(0.0) }),
            meta: Default::default(),
            idempotency_key: None,
        })
    }

    /// What is still reserved of the opening notional.
    fn reserved(&self) -> Decimal {
        share(self.terms.opening_notional, self.working_qty, self.terms.qty)
    }

    /// The facts as if this order were not there: it is judged against all others.
    fn without(&self, facts: &Facts) -> Facts {
        let less = |sum: Decimal, part: Decimal| (sum - part).max(Decimal::ZERO);
        let mut facts = facts.clone();
        match self.side {
            Side::Sell => facts.working_sell = less(facts.working_sell, self.working_qty),
            Side::Buy | Side::Flat => {
                facts.working_buy = less(facts.working_buy, self.working_qty);
            }
        }
        facts.trace_notional = less(facts.trace_notional, self.reserved());
        facts.orders_last_minute = 0;
        facts.quality_state = QualityMemory::default();
        facts.cancelled = false;
        facts
    }
}

/// Whether the order may have these terms from now. `facts` are those of its lane and trace, this order included.
pub fn decide(
    (qty, limit_price): (Option<Decimal>, Option<Decimal>),
    standing: &Standing,
    facts: &Facts,
    policies: &Policies,
    now: Timestamp,
) -> Verdict {
    let old = &standing.terms;
    let new = (qty.unwrap_or(old.qty), limit_price.or(old.limit_price));
    if let Some((code, why)) = unfit(standing, new, limit_price.is_some(), facts) {
        return Verdict::refused(code, why);
    }
    let executed = old.qty - standing.working_qty;
    let left = new.0 - executed;
    let terms = match new.1 == old.limit_price {
        // Less of the same opens nothing.
        true => Terms {
            qty: new.0,
            limit_price: new.1,
            opening_qty: old.opening_qty.min(new.0),
            opening_notional: share(old.opening_notional, new.0, old.qty),
        },
        false => {
            let request = standing.request(left, new.1, now);
            let judged = judge(&request, &standing.without(facts), policies, now);
            if judged.decided_qty != left {
                let fired = judged.alerts.first();
                let rule = fired.map_or("risk", |fired| fired.policy_name.as_str());
                let why =
                    format!("at the new price {rule} lets {} pass", plain(judged.decided_qty));
                return Verdict::refused("over_a_limit", why);
            }
            repriced(new, left, (judged.opening_qty, judged.opening_notional))
        }
    };
    let reserved =
        (share(terms.opening_notional, left, terms.qty) - standing.reserved()).max(Decimal::ZERO);
    let from =
        |price: Option<Decimal>| price.map_or(String::new(), |p| format!(" at {}", plain(p)));
    let reason = format!(
        "the order is {}: {}{} becomes {}{}",
        standing.status.as_str(),
        plain(old.qty),
        from(old.limit_price),
        plain(terms.qty),
        from(terms.limit_price)
    );
    Verdict::accepted(Effect::Replace { terms: Box::new(terms), reserved }, None, reason)
}

/// What was judged of the rest, for the whole: what was filled under other terms is not judged again.
fn repriced(
    (qty, limit_price): (Decimal, Option<Decimal>),
    left: Decimal,
    (opening_qty, opening_notional): (Decimal, Decimal),
) -> Terms {
    let whole = |part: Decimal| {
        let scaled = part.checked_mul(qty).and_then(|p| p.checked_div(left));
        scaled.unwrap_or(Decimal::MAX).round_dp(WIRE_DECIMALS)
    };
    let opening_qty = whole(opening_qty).min(qty);
    Terms { qty, limit_price, opening_qty, opening_notional: whole(opening_notional) }
}

/// Why these terms are no terms for this order, a stable code and a text.
fn unfit(
    standing: &Standing,
    (qty, limit_price): (Decimal, Option<Decimal>),
    priced: bool,
    facts: &Facts,
) -> Option<(&'static str, String)> {
    let old = &standing.terms;
    let executed = old.qty - standing.working_qty;
    let status = standing.status.as_str();
    use OrderStatus::{Accepted, New, PartiallyFilled};
    let is = |code, why: &str| Some((code, why.to_string()));
    if standing.cancel {
        is("cancel_wanted", "it is to be cancelled")
    } else if standing.replacing {
        is("replace_pending", "another replacement of it is on its way")
    } else if !matches!(standing.status, New | Accepted | PartiallyFilled) {
        Some((
            "outcome_unknown",
            format!("the order is {status}: what the broker has is not known"),
        ))
    } else if priced && !standing.order_type.uses_limit_price() {
        is("no_limit_price", "its type has no limit price")
    } else if qty > old.qty {
        let why = format!("{} is more than {}: send another order", plain(qty), plain(old.qty));
        Some(("would_grow", why))
    } else if qty <= executed {
        let why = format!("{} of it are filled: cancel the rest", plain(executed));
        Some(("too_much_filled", why))
    } else if qty == old.qty && limit_price == old.limit_price {
        is("nothing_changes", "these are its terms")
    } else if facts.halt == Some(Halt::Halted) {
        is("halted", "its scope is halted; a cancel goes through")
    } else if facts.halt == Some(Halt::ReduceOnly) && !old.opening_qty.is_zero() {
        is("reduce_only", "it opens risk, and its scope only reduces")
    } else {
        None
    }
}
