//! Owns the rules of the contract's table, one function each, in its order.
//! Never changes a quantity itself: a rule says what it wants, the fold carries it out.

use rust_decimal::Decimal;
use serde_json::json;

use super::{Case, Cut, Effect, Rule, Taking, Trail};
use crate::domain::event::Severity;
use crate::domain::exact::Exact;
use crate::domain::judge::{Fired, Halt};
use crate::domain::money::{Overflow, QTY_DECIMALS, plain};

type Applied = Result<Option<Cut>, Overflow>;

/// The rules, but for the last (the instrument's step and minimum).
pub(super) const TABLE: [Rule; 11] = [
    rule("risk.halted", Severity::Critical, halted),
    rule("risk.forbidden_symbol", Severity::High, forbidden_symbol),
    rule("risk.trading_window", Severity::Medium, trading_window),
    rule("risk.price_unavailable", Severity::High, price_unavailable),
    rule("risk.price_collar", Severity::High, price_collar),
    rule("risk.consecutive_losses", Severity::Low, consecutive_losses),
    rule("risk.max_order_qty", Severity::Medium, max_order_qty),
    rule("risk.rate", Severity::High, rate),
    rule("risk.daily_loss", Severity::High, daily_loss),
    rule("risk.max_trace_notional", Severity::High, max_trace_notional),
    rule("risk.max_position_notional", Severity::High, max_position_notional),
];

const fn rule(name: &'static str, severity: Severity, apply: fn(&Case, Taking) -> Applied) -> Rule {
    Rule { name, severity, apply }
}

fn cut(effect: Effect, reason: String, details: serde_json::Value) -> Applied {
    Ok(Some(Cut { effect, reason, details }))
}

fn halted(case: &Case, _: Taking) -> Applied {
    match case.halt {
        None => Ok(None),
        Some(Halt::Halted) => {
            cut(Effect::Stop, "halted: nothing is sent".into(), json!({"halt": "halted"}))
        }
        Some(Halt::ReduceOnly) => cut(
            Effect::Reduce,
            "reduce_only: nothing is opened".into(),
            json!({"halt": "reduce_only"}),
        ),
    }
}

fn forbidden_symbol(case: &Case, _: Taking) -> Applied {
    let symbol = case.intake.symbol();
    if !case.limits.forbidden_symbols.contains(symbol) {
        return Ok(None);
    }
    cut(Effect::Stop, format!("{symbol} is forbidden"), json!({"symbol": symbol}))
}

fn trading_window(case: &Case, _: Taking) -> Applied {
    if case.limits.hours.are_open(case.now) {
        return Ok(None);
    }
    let (now, hours) = (case.now.to_string(), case.limits.hours.to_string());
    let reason = format!("{now} is outside {hours}");
    cut(Effect::Stop, reason, json!({"decided_at": now, "hours": hours}))
}

fn price_unavailable(case: &Case, _: Taking) -> Applied {
    if case.limits.needs_price() && case.unit.is_none() {
        let what = match case.facts.rate {
            Some(_) => "no usable price for the notional",
            None => "no rate to the account currency",
        };
        return cut(Effect::Reduce, format!("{what}: nothing is opened"), json!({"missing": what}));
    }
    let collared = case.limits.price_collar_pct.is_some() && case.intake.limit_price().is_some();
    if collared && case.quote.is_none() {
        let what = "no usable quote for the price collar";
        return cut(Effect::Reduce, format!("{what}: nothing is opened"), json!({"missing": what}));
    }
    Ok(None)
}

/// |limit − mid| · 100 > collar · mid, without a division: with mid = (bid + ask) / 2, both sides doubled.
fn price_collar(case: &Case, _: Taking) -> Applied {
    let (Some(pct), Some(limit), Some(quote)) =
        (case.limits.price_collar_pct, case.intake.limit_price(), case.quote)
    else {
        return Ok(None);
    };
    let both = Exact::from(quote.bid).plus(quote.ask.into())?;
    let twice = Exact::from(limit).plus(limit.into())?;
    let apart = twice.max(both).minus(twice.min(both))?;
    let allowed = both.times_down(pct.into())?.per_cent();
    if apart <= allowed {
        return Ok(None);
    }
    let (limit, pct) = (plain(limit), plain(pct));
    let quoted = format!("{}/{}", plain(quote.bid), plain(quote.ask));
    let reason = format!("limit {limit} is more than {pct} % from the mid of {quoted}");
    cut(Effect::Stop, reason, json!({"limit_price": limit, "quote": quoted, "collar_pct": pct}))
}

fn consecutive_losses(case: &Case, taking: Taking) -> Applied {
    let (losses, from) = (case.facts.consecutive_losses, case.limits.max_consecutive_losses);
    if from == 0 || losses < from {
        return Ok(None);
    }
    let pct = case.limits.shrink_after_losses_pct;
    let kept = Exact::from(Decimal::ONE_HUNDRED).minus(pct.into())?.per_cent();
    let left = Exact::from(taking.opening()).times_down(kept)?.cut(28)?;
    let pct = plain(pct);
    let reason = format!("{losses} losses in a row ≥ {from}: openings shrink by {pct} %");
    cut(Effect::Opening(left), reason, json!({"losses": losses, "limit": from, "shrink_pct": pct}))
}

fn max_order_qty(case: &Case, taking: Taking) -> Applied {
    match case.limits.max_order_qty {
        Some(most) if taking.qty > most => {
            let (qty, limit) = (plain(taking.qty), plain(most));
            cut(Effect::Clamp(most), format!("{qty} > {limit}"), json!({"limit": limit}))
        }
        _ => Ok(None),
    }
}

fn rate(case: &Case, _: Taking) -> Applied {
    let orders = case.facts.orders_last_minute;
    match case.limits.max_orders_per_minute {
        Some(most) if orders >= most => cut(
            Effect::Stop,
            format!("{orders} orders in the last 60 s ≥ {most}"),
            json!({"orders": orders, "limit": most}),
        ),
        _ => Ok(None),
    }
}

fn daily_loss(case: &Case, _: Taking) -> Applied {
    let loss = -case.facts.daily_pnl;
    match case.limits.max_daily_loss {
        Some(most) if loss >= most => {
            let (loss, limit) = (plain(loss), plain(most));
            let reason = format!("loss of the day {loss} ≥ {limit}: nothing is opened");
            cut(Effect::Reduce, reason, json!({"loss": loss, "limit": limit}))
        }
        _ => Ok(None),
    }
}

fn max_trace_notional(case: &Case, taking: Taking) -> Applied {
    let (Some(most), Some(unit)) = (case.limits.max_trace_notional, case.unit) else {
        return Ok(None);
    };
    let so_far = case.facts.trace_notional;
    let room = Exact::from(most).minus(so_far.into())?;
    let asked = Exact::from(taking.opening()).times_up(unit)?;
    if asked <= room {
        return Ok(None);
    }
    let (asked, so_far, limit) = (plain(asked.raised(9)?), plain(so_far), plain(most));
    let reason = format!("the trace's opening notional {so_far} + {asked} > {limit}");
    let left = room.over_down(unit, QTY_DECIMALS)?;
    let details = json!({"so_far": so_far, "asked": asked, "limit": limit});
    cut(Effect::Opening(left), reason, details)
}

fn max_position_notional(case: &Case, taking: Taking) -> Applied {
    let (Some(most), Some(unit)) = (case.limits.max_position_notional, case.unit) else {
        return Ok(None);
    };
    let held = case.held;
    let reached = held.plus(taking.opening().into())?.times_up(unit)?;
    if reached <= most.into() {
        return Ok(None);
    }
    let room = Exact::from(most).minus(held.times_up(unit)?)?;
    let left = room.over_down(unit, QTY_DECIMALS)?;
    let (reached, limit) = (plain(reached.raised(9)?), plain(most));
    let reason = format!("position notional {reached} > {limit}");
    let price = case.price.map(plain);
    cut(Effect::Opening(left), reason, json!({"reached": reached, "limit": limit, "price": price}))
}

/// Rule 10: down to the instrument's step, which fires nothing; then 0 or below the minimum is FLAT.
pub(super) fn fit_instrument(
    case: &Case,
    qty: Decimal,
    trail: &mut Trail,
) -> Result<Decimal, Overflow> {
    if qty.is_zero() {
        return Ok(qty);
    }
    let (step, least) = (case.instrument.qty_step, case.instrument.min_qty);
    let steps = Exact::from(qty).over_down(step.into(), 0)?;
    let rounded = Exact::from(steps).times_down(step.into())?.cut(QTY_DECIMALS)?;
    if !rounded.is_zero() && rounded >= least {
        if rounded == qty {
            return Ok(qty);
        }
        let why = format!("rounded down to a multiple of {}", plain(step));
        return Ok(trail.change("risk.qty_step", qty, rounded, &why));
    }
    let (asked, step, least) = (plain(qty), plain(step), plain(least));
    let reason = format!("{asked} is below the least quantity {least} (step {step})");
    trail.fired.push(Fired {
        policy_name: "risk.below_min_qty".into(),
        severity: Severity::Low,
        details: json!({"before": asked, "after": "0", "min_qty": least, "qty_step": step}),
        reason: reason.clone(),
    });
    Ok(trail.change("risk.below_min_qty", qty, Decimal::ZERO, &reason))
}
