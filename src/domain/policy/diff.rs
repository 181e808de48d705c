//! Owns what changes between two policies of one kind: key by key, by what is in force for each symbol.
//! Never calls a change tighter unless no order can get more by it (the law is in `judge/laws.rs`).
//! Invariant: policies without a change between them judge every order alike.

use std::collections::BTreeSet;
use std::fmt;

use rust_decimal::Decimal;

use super::hours::Hours;
use super::instruments::{Currency, Instrument, InstrumentsPolicy};
use super::profiles::{Combine, Profile, ProfilesPolicy};
use super::quality::{OnUnknown, QualityLimits, QualityPolicy};
use super::risk::{NotionalBasis, RiskLimits, RiskPolicy};
use crate::domain::money::plain;
use crate::domain::text::Symbol;

/// What a change does to orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// No order gets more, some may get less.
    Tightens,
    /// No order gets less, some may get more.
    Loosens,
    /// Some may get more and some less.
    Neither,
}

impl Direction {
    /// The word, for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Tightens => "tightens",
            Direction::Loosens => "loosens",
            Direction::Neither => "neither",
        }
    }
    fn of(tighter: bool) -> Self {
        if tighter { Direction::Tightens } else { Direction::Loosens }
    }
}

/// One key whose value in force is another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// For whom: a symbol, a timeframe, a profile; `*` is every other one.
    pub scope: String,
    /// The key, as it is written in the file.
    pub key: String,
    /// What was in force.
    pub before: String,
    /// What is.
    pub after: String,
    /// What that does.
    pub direction: Direction,
}

/// The scope of everything that has no section of its own.
pub const OTHERS: &str = "*";

/// A value and how it limits.
#[derive(Debug, Clone, PartialEq)]
enum Limit {
    /// A smaller one is tighter; none is off.
    Most(Option<Decimal>),
    /// A larger one is tighter.
    Least(Decimal),
    /// A smaller one is tighter; 0 is off.
    From(u32),
    /// A coarser one is tighter, if the finer one goes into it.
    Step(Decimal),
    /// A longer list is tighter.
    Forbidden(Vec<Symbol>),
    /// Fewer minutes are tighter.
    Hours(Hours),
    /// The first word is tighter than the second.
    Word(&'static str, bool),
    /// Its size says nothing about tightness; none is absent.
    Other(Option<String>),
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Most(None) | Limit::From(0) => f.write_str("off"),
            Limit::Most(Some(n)) | Limit::Least(n) | Limit::Step(n) => f.write_str(&plain(*n)),
            Limit::From(n) => write!(f, "{n}"),
            Limit::Forbidden(symbols) if symbols.is_empty() => f.write_str("none"),
            Limit::Forbidden(symbols) => {
                let all: Vec<&str> = symbols.iter().map(|s| s.as_str()).collect();
                f.write_str(&all.join(", "))
            }
            Limit::Hours(hours) => f.write_str(&hours.told()),
            Limit::Word(word, _) => f.write_str(word),
            Limit::Other(text) => f.write_str(text.as_deref().unwrap_or("absent")),
        }
    }
}

impl Limit {
    /// What it does to put `after` in the place of `self`; none if they are equal.
    fn until(&self, after: &Limit) -> Option<Direction> {
        use Limit::*;
        if self == after {
            return None;
        }
        Some(match (self, after) {
            (Most(None), Most(_)) => Direction::Tightens,
            (Most(_), Most(None)) => Direction::Loosens,
            (Most(Some(a)), Most(Some(b))) => Direction::of(b < a),
            (Least(a), Least(b)) => Direction::of(b > a),
            (From(a), From(b)) => Direction::of(*a == 0 || (*b != 0 && b < a)),
            (Step(a), Step(b)) => {
                let goes_into = |fine: &Decimal, coarse: &Decimal| {
                    coarse.checked_rem(*fine).is_some_and(|rest| rest.is_zero())
                };
                both_ways(goes_into(a, b), goes_into(b, a))?
            }
            (Forbidden(a), Forbidden(b)) => {
                let within = |a: &[Symbol], b: &[Symbol]| a.iter().all(|s| b.contains(s));
                both_ways(within(a, b), within(b, a))?
            }
            (Hours(a), Hours(b)) => both_ways(b.is_within(a), a.is_within(b))?,
            (Word(_, a), Word(_, b)) if a != b => Direction::of(*b),
            _ => Direction::Neither,
        })
    }
}

/// The direction of what is at least as tight, at least as loose, or both, which changes nothing.
fn both_ways(tight: bool, loose: bool) -> Option<Direction> {
    match (tight, loose) {
        (true, true) => None,
        (true, false) => Some(Direction::Tightens),
        (false, true) => Some(Direction::Loosens),
        (false, false) => Some(Direction::Neither),
    }
}

/// The keys of a scope with what is in force.
type Keys = Vec<(String, Limit)>;

fn compare(scope: &str, before: Keys, after: Keys, changes: &mut Vec<Change>) {
    let absent = Limit::Other(None);
    let of = |keys: &Keys, key: &str| {
        keys.iter().find(|(k, _)| k == key).map_or(&absent, |(_, limit)| limit).clone()
    };
    let mut seen = BTreeSet::new();
    for (key, _) in before.iter().chain(&after).filter(|(key, _)| seen.insert(key.clone())) {
        let (a, b) = (of(&before, key), of(&after, key));
        if let Some(direction) = a.until(&b) {
            let (scope, key) = (scope.to_string(), key.clone());
            let (before, after) = (a.to_string(), b.to_string());
            changes.push(Change { scope, key, before, after, direction });
        }
    }
}

/// The names that either side has a section for, and `*` first.
fn scopes<'a>(names: impl Iterator<Item = &'a str>) -> impl Iterator<Item = String> {
    let names: BTreeSet<&str> = names.collect();
    let names: Vec<String> = names.into_iter().map(String::from).collect();
    std::iter::once(OTHERS.to_string()).chain(names)
}

impl QualityPolicy {
    /// What changes from this policy to `after`.
    pub fn diff(&self, after: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        let names = self.timeframes.keys().chain(after.timeframes.keys());
        for scope in scopes(names.map(|name| name.as_str())) {
            let of = |policy: &Self| {
                quality(policy.timeframes.get(scope.as_str()).unwrap_or(&policy.limits))
            };
            compare(&scope, of(self), of(after), &mut changes);
        }
        changes
    }
}

fn quality(limits: &QualityLimits) -> Keys {
    let QualityLimits {
        max_data_lag_min,
        max_missing_ratio,
        slope,
        floor,
        flat_missing_ratio,
        exit_ratio,
        on_unknown,
    } = limits;
    let on_unknown = match on_unknown {
        OnUnknown::Flat => Limit::Word("flat", true),
        OnUnknown::Ok => Limit::Word("ok", false),
    };
    vec![
        ("max_data_lag_min".into(), Limit::Most(Some(*max_data_lag_min))),
        ("max_missing_ratio".into(), Limit::Most(Some(*max_missing_ratio))),
        ("slope".into(), Limit::Least(*slope)),
        ("floor".into(), Limit::Most(Some(*floor))),
        ("flat_missing_ratio".into(), Limit::Most(Some(*flat_missing_ratio))),
        ("exit_ratio".into(), Limit::Most(Some(*exit_ratio))),
        ("on_unknown".into(), on_unknown),
    ]
}

impl RiskPolicy {
    /// What changes from this policy to `after`.
    pub fn diff(&self, after: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        let names = self.overrides.keys().chain(after.overrides.keys());
        for scope in scopes(names.map(|name| name.as_str())) {
            let of = |policy: &Self| {
                risk(policy.overrides.get(scope.as_str()).unwrap_or(&policy.limits))
            };
            compare(&scope, of(self), of(after), &mut changes);
        }
        changes
    }
}

fn risk(limits: &RiskLimits) -> Keys {
    let RiskLimits {
        max_position_notional,
        max_order_qty,
        hours,
        max_consecutive_losses,
        shrink_after_losses_pct,
        forbidden_symbols,
        max_trace_notional,
        max_daily_loss,
        max_orders_per_minute,
        price_collar_pct,
        max_quote_age_s,
        notional_basis,
    } = limits;
    let basis = match notional_basis {
        NotionalBasis::Price => "price",
        NotionalBasis::Qty => "qty",
    };
    vec![
        ("max_position_notional".into(), Limit::Most(*max_position_notional)),
        ("max_order_qty".into(), Limit::Most(*max_order_qty)),
        // Of either kind: one takes the place of the other.
        ("trading_hours".into(), Limit::Hours(hours.clone())),
        ("max_consecutive_losses".into(), Limit::From(*max_consecutive_losses)),
        ("shrink_after_losses_pct".into(), Limit::Least(*shrink_after_losses_pct)),
        ("forbidden_symbols".into(), Limit::Forbidden(forbidden_symbols.clone())),
        ("max_trace_notional".into(), Limit::Most(*max_trace_notional)),
        ("max_daily_loss".into(), Limit::Most(*max_daily_loss)),
        ("max_orders_per_minute".into(), Limit::Most(max_orders_per_minute.map(Decimal::from))),
        ("price_collar_pct".into(), Limit::Most(*price_collar_pct)),
        // Neither tighter nor looser: what is then priced by a reference may be priced lower.
        ("max_quote_age_s".into(), Limit::Other(Some(max_quote_age_s.to_string()))),
        ("notional_basis".into(), Limit::Other(Some(basis.into()))),
    ]
}

impl ProfilesPolicy {
    /// What changes from this policy to `after`.
    pub fn diff(&self, after: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        compare("champion", profile(&self.champion), profile(&after.champion), &mut changes);
        let cohort = |policy: &Self| -> Keys {
            let Some(c) = &policy.cohort else { return Vec::new() };
            let other = |key: &str, text: String| (key.to_string(), Limit::Other(Some(text)));
            let mut keys = vec![
                other("percent", plain(c.percent)),
                other("salt", c.salt.clone()),
                other("version", c.version.to_string()),
            ];
            let challenger = profile(&c.challenger).into_iter();
            keys.extend(challenger.map(|(key, limit)| (format!("challenger.{key}"), limit)));
            keys
        };
        compare("cohort", cohort(self), cohort(after), &mut changes);
        changes
    }
}

fn profile(profile: &Profile) -> Keys {
    let Profile { rollout_percent, min_confidence, combine, alpha_risk, weights } = profile;
    let combine = match combine {
        Combine::WeightedSum => "weighted_sum",
        Combine::BestOne => "best_one",
    };
    let other = |text: String| Limit::Other(Some(text));
    let mut keys = vec![
        ("rollout_percent".to_string(), Limit::Most(Some(*rollout_percent))),
        // Neither: who drops out may have won with less than who wins then.
        ("min_confidence".into(), other(plain(*min_confidence))),
        ("combine".into(), other(combine.into())),
        ("alpha_risk".into(), other(plain(*alpha_risk))),
    ];
    keys.extend(weights.iter().map(|(name, w)| (format!("weights.{name}"), other(plain(*w)))));
    keys
}

impl InstrumentsPolicy {
    /// What changes from this policy to `after`.
    pub fn diff(&self, after: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        let other = |c: &Currency| Limit::Other(Some(c.as_str().to_string()));
        let accounts = |policy: &Self| -> Keys {
            let own = policy.accounts.iter().map(|(a, c)| (format!("accounts.{a}"), other(c)));
            let all = ("account_currency".to_string(), other(&policy.account_currency));
            std::iter::once(all).chain(own).collect()
        };
        compare("accounts", accounts(self), accounts(after), &mut changes);
        let names = self.symbols.keys().chain(after.symbols.keys());
        for scope in scopes(names.map(|name| name.as_str())) {
            let of = |policy: &Self| {
                instrument(policy.symbols.get(scope.as_str()).unwrap_or(&policy.other))
            };
            compare(&scope, of(self), of(after), &mut changes);
        }
        changes
    }
}

fn instrument(instrument: &Instrument) -> Keys {
    let Instrument { contract_size, qty_step, min_qty, quote_currency } = instrument;
    let quote_currency = quote_currency.map(|c| c.as_str().to_string());
    vec![
        ("contract_size".into(), Limit::Least(*contract_size)),
        ("qty_step".into(), Limit::Step(*qty_step)),
        ("min_qty".into(), Limit::Least(*min_qty)),
        ("quote_currency".into(), Limit::Other(quote_currency)),
    ]
}

#[cfg(test)]
#[path = "diff/tests.rs"]
mod tests;
