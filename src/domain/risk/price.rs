//! Owns which price a notional uses (C-RISK-3), and when a quote is usable.
//! Never lets an order's own price alone shrink its notional. Without a usable price there is none.

use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;

use super::Case;
use crate::domain::event::Quote;
use crate::domain::exact::Exact;
use crate::domain::money::Overflow;
use crate::domain::policy::Policies;
use crate::domain::policy::risk::NotionalBasis;
use crate::domain::request::{OrderType, Side};
use crate::domain::text::{Account, Symbol};

/// How far ahead of us a quote's clock may be.
const AHEAD: SignedDuration = SignedDuration::from_secs(5);

/// Whether a quote is of a time that has not come, beyond what clocks may differ.
pub fn is_ahead(quote: &Quote, now: Timestamp) -> bool {
    quote.at.duration_since(now) > AHEAD
}

/// 0 < bid ≤ ask, and −5 s ≤ now − at ≤ max_quote_age_s.
pub fn is_usable(quote: &Quote, max_quote_age_s: u32, now: Timestamp) -> bool {
    let age = now.duration_since(quote.at);
    quote.bid > Decimal::ZERO
        && quote.bid <= quote.ask
        && !is_ahead(quote, now)
        && age <= SignedDuration::from_secs(max_quote_age_s.into())
}

/// The price and the notional of one unit; neither if a notional cannot be known.
pub(super) fn of(case: &Case) -> Result<(Option<Decimal>, Option<Exact>), Overflow> {
    if case.limits.notional_basis == NotionalBasis::Qty {
        return Ok((Some(Decimal::ONE), Some(Exact::ONE)));
    }
    let (Some(price), Some(rate)) = (price(case), case.facts.rate) else {
        return Ok((None, None));
    };
    if rate <= Decimal::ZERO {
        return Ok((None, None));
    }
    let contract = Exact::from(case.instrument.contract_size);
    let unit = Exact::from(price).times_up(contract)?.times_up(rate.into())?;
    Ok((Some(price), Some(unit)))
}

/// The price of note 3, whatever the policy's basis is.
pub(super) fn price(case: &Case) -> Option<Decimal> {
    let market = case.quote.map(|q| if case.side == Side::Buy { q.ask } else { q.bid });
    let max_age = SignedDuration::from_secs(case.limits.max_quote_age_s.into());
    let is_fresh = case.now.duration_since(*case.intake.requested_at()) <= max_age;
    let other = market.or(case.intake.reference_price().filter(|_| is_fresh));
    if case.intake.order_type() == OrderType::Market {
        return other;
    }
    let limit = case.intake.limit_price();
    let own = limit.or(case.intake.stop_price());
    match (own, other) {
        (Some(own), Some(other)) => Some(own.max(other)),
        (Some(own), None) if limit.is_some() && case.side == Side::Buy => Some(own),
        _ => None,
    }
}

/// Decimals of a rate that a division gave; it is rounded up, so a notional is never too small.
const RATE_DECIMALS: u32 = 12;

/// What one unit of a symbol's quote currency is worth in the account's currency (note 3): 1 if they are
/// the same, else the dearer side of a usable quote of the pair, either way round. None: unknown.
pub fn rate(
    policies: &Policies,
    account: &Account,
    symbol: &Symbol,
    now: Timestamp,
    quote: impl Fn(&Symbol) -> Option<Quote>,
) -> Option<Decimal> {
    let from = policies.instruments.quote_currency(symbol)?;
    let to = policies.instruments.account_currency(account);
    if from == to {
        return Some(Decimal::ONE);
    }
    let max_age_s = policies.risk.for_symbol(symbol).max_quote_age_s;
    let pair = |base: &str, quoted: &str| {
        let pair = Symbol::new(&format!("{base}{quoted}")).ok()?;
        quote(&pair).filter(|q| is_usable(q, max_age_s, now))
    };
    if let Some(direct) = pair(from.as_str(), to.as_str()) {
        return Some(direct.ask);
    }
    let inverse = pair(to.as_str(), from.as_str())?;
    let down = Exact::ONE.over_down(inverse.bid.into(), RATE_DECIMALS).ok()?;
    let is_exact = Exact::from(down).times_up(inverse.bid.into()).ok()? == Exact::ONE;
    let last = Decimal::new(1, RATE_DECIMALS);
    if is_exact { Some(down) } else { down.checked_add(last) }
}
