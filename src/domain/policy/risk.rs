//! Owns the limits of the risk gate (`configs/risk_policy.yml`, C-RISK): for all, and per symbol.
//! Invariant: a symbol's limits are complete; an override replaces key by key, a list whole.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use rust_decimal::Decimal;
use serde::Serialize;

use super::hours::{Calendar, DAYS, Hours, Session, Window};
use super::read::{Bounds, Given, Section, below, scalar, shown};
use super::tree::{self, Node, Value};
use super::violation::{BadPolicy, Violations};
use crate::domain::text::Symbol;

/// What a notional is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NotionalBasis {
    /// qty × price × contract size × rate to the account currency.
    Price,
    /// The plan's first, naive meaning: 1 unit = 1.
    Qty,
}

/// The limits of one symbol; an absent limit is off. Money is in the account currency.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RiskLimits {
    /// Most notional that a position may reach in the order's direction.
    pub max_position_notional: Option<Decimal>,
    /// Most units of one order.
    pub max_order_qty: Option<Decimal>,
    /// When orders may be decided.
    pub hours: Hours,
    /// From so many losing reductions in a row on, openings shrink; 0 = off.
    pub max_consecutive_losses: u32,
    /// By how much they shrink, percent.
    pub shrink_after_losses_pct: Decimal,
    /// Symbols that are not traded.
    pub forbidden_symbols: Vec<Symbol>,
    /// Most opening notional of one trace.
    pub max_trace_notional: Option<Decimal>,
    /// Realised loss of the UTC day from which nothing is opened.
    pub max_daily_loss: Option<Decimal>,
    /// Most orders of an (account, symbol) in 60 s.
    pub max_orders_per_minute: Option<u32>,
    /// How far a limit price may be from the quote's mid, percent.
    pub price_collar_pct: Option<Decimal>,
    /// A quote or reference price older than this is not used, seconds.
    pub max_quote_age_s: u32,
    /// What a notional is.
    pub notional_basis: NotionalBasis,
}

impl RiskLimits {
    /// Nothing is limited.
    fn off() -> Self {
        Self {
            max_position_notional: None,
            max_order_qty: None,
            hours: Hours::ALWAYS,
            max_consecutive_losses: 0,
            shrink_after_losses_pct: Decimal::from(50),
            forbidden_symbols: Vec::new(),
            max_trace_notional: None,
            max_daily_loss: None,
            max_orders_per_minute: None,
            price_collar_pct: None,
            max_quote_age_s: 60,
            notional_basis: NotionalBasis::Price,
        }
    }

    /// Whether a notional must be known: a notional limit is on and is not the naive one.
    pub fn needs_price(&self) -> bool {
        self.notional_basis == NotionalBasis::Price
            && (self.max_position_notional.is_some() || self.max_trace_notional.is_some())
    }
}

/// The risk gate's policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RiskPolicy {
    /// For every symbol without an override.
    pub limits: RiskLimits,
    /// Complete limits of single symbols.
    pub overrides: BTreeMap<Symbol, RiskLimits>,
}

/// The plan's own file, as it is shipped.
pub const PLAN: &str = include_str!("../../../configs/risk_policy.yml");

/// Finds a time zone's rules by name.
pub type Zones<'z> = &'z dyn Fn(&str) -> Option<TimeZone>;

/// No zone but UTC is known.
pub fn utc_only(name: &str) -> Option<TimeZone> {
    (name == "UTC").then_some(TimeZone::UTC)
}

impl Default for RiskPolicy {
    fn default() -> Self {
        Self::parse("risk_policy.yml", PLAN, &utc_only).expect("the plan's file is a good policy")
    }
}

impl RiskPolicy {
    /// The limits of a symbol.
    pub fn for_symbol(&self, symbol: &Symbol) -> &RiskLimits {
        self.overrides.get(symbol).unwrap_or(&self.limits)
    }

    /// Reads a file's text; `file` names it in violations.
    pub fn parse(file: &str, text: &str, zones: Zones) -> Result<Self, BadPolicy> {
        let mut found = Violations::new(file, text);
        let mut policy = Self { limits: RiskLimits::off(), overrides: BTreeMap::new() };
        if let Some(root) = tree::read(text, &mut found) {
            let mut section = Section::of(&root, "", &mut found);
            if let Some(node) = section.take("default") {
                policy.limits = limits(node, "default", RiskLimits::off(), zones, &mut found);
            }
            if let Some(node) = section.take("overrides") {
                for (key, node) in Section::of(node, "overrides", &mut found).rest() {
                    let path = below("overrides", &key.text);
                    let limits = limits(node, &path, policy.limits.clone(), zones, &mut found);
                    match Symbol::new(&key.text) {
                        Ok(symbol) => drop(policy.overrides.insert(symbol, limits)),
                        Err(wrong) => found.add(key.place, &path, wrong.to_string()),
                    }
                }
            }
            section.end(&mut found);
        }
        found.verdict(policy)
    }
}

fn limits(
    node: &Node,
    path: &str,
    base: RiskLimits,
    zones: Zones,
    found: &mut Violations,
) -> RiskLimits {
    let mut section = Section::of(node, path, found);
    let off = RiskLimits::off();
    let mut limit =
        |key, bounds, before| section.decimal(key, bounds, found).map(Some).over(before, None);
    let mut limits = RiskLimits {
        max_position_notional: limit(
            "max_position_notional",
            Bounds::LIMIT,
            base.max_position_notional,
        ),
        max_order_qty: limit("max_order_qty", Bounds::LIMIT, base.max_order_qty),
        max_trace_notional: limit("max_trace_notional", Bounds::LIMIT, base.max_trace_notional),
        max_daily_loss: limit("max_daily_loss", Bounds::LIMIT, base.max_daily_loss),
        price_collar_pct: limit("price_collar_pct", Bounds::PERCENT, base.price_collar_pct),
        ..base
    };
    limits.shrink_after_losses_pct = section
        .decimal("shrink_after_losses_pct", Bounds::PERCENT, found)
        .over(limits.shrink_after_losses_pct, off.shrink_after_losses_pct);
    limits.max_consecutive_losses =
        section.count("max_consecutive_losses", found).over(limits.max_consecutive_losses, 0);
    limits.max_orders_per_minute = section
        .count("max_orders_per_minute", found)
        .map(Some)
        .over(limits.max_orders_per_minute, None);
    limits.max_quote_age_s =
        section.count("max_quote_age_s", found).over(limits.max_quote_age_s, off.max_quote_age_s);
    let words = [("price", NotionalBasis::Price), ("qty", NotionalBasis::Qty)];
    limits.notional_basis = section
        .word("notional_basis", &words, found)
        .over(limits.notional_basis, off.notional_basis);
    limits.forbidden_symbols = section
        .list("forbidden_symbols", found, symbol)
        .over(limits.forbidden_symbols, off.forbidden_symbols);
    limits.forbidden_symbols.sort();
    limits.forbidden_symbols.dedup();
    limits.hours = hours(&mut section, limits.hours, zones, found);
    section.end(found);
    limits
}

fn symbol(node: &Node, path: &str, found: &mut Violations) -> Option<Symbol> {
    let symbol = scalar(node).and_then(|text| Symbol::new(text).ok());
    if symbol.is_none() {
        let what = format!("must be a symbol {}, found {}", Symbol::ALLOWED, shown(node));
        found.add(node.place, path, what);
    }
    symbol
}

/// The hours that `trading_hours_utc` or `trading_hours` say; either replaces the hours before.
fn hours(section: &mut Section, before: Hours, zones: Zones, found: &mut Violations) -> Hours {
    let utc = section.list("trading_hours_utc", found, |node, path, found| {
        let window = match scalar(node) {
            Some(text) => Window::parse(text),
            None => Err("must be HH:MM-HH:MM".into()),
        };
        window
            .map_err(|why| found.add(node.place, path, format!("{why}, found {}", shown(node))))
            .ok()
    });
    let path = section.path("trading_hours");
    match (section.take("trading_hours"), utc) {
        (None, utc) => match (utc, before) {
            (Given::Value(windows), _) => Hours::Utc(windows),
            (Given::Null, Hours::Utc(_)) => Hours::ALWAYS,
            (Given::Null | Given::Absent, before) => before,
        },
        // Null is off, and only what it names.
        (Some(Node { value: Value::Null, .. }), utc) => match (utc, before) {
            (Given::Value(windows), _) => Hours::Utc(windows),
            (Given::Absent, before @ Hours::Utc(_)) => before,
            (Given::Absent, Hours::Calendar(_)) | (Given::Null, _) => Hours::ALWAYS,
        },
        (Some(node), Given::Absent | Given::Null) => {
            calendar(node, &path, zones, found).map_or(before, Hours::Calendar)
        }
        (Some(node), Given::Value(_)) => {
            found.add(node.place, &path, "give this or trading_hours_utc, not both");
            // What is wrong in it is told in the same go.
            calendar(node, &path, zones, found);
            before
        }
    }
}

fn calendar(node: &Node, path: &str, zones: Zones, found: &mut Violations) -> Option<Calendar> {
    let mut section = Section::of(node, path, found);
    let zone_path = section.path("zone");
    let zone = match section.take("zone") {
        Some(node) => {
            let known = scalar(node).and_then(|name| Some((name.to_string(), zones(name)?)));
            if known.is_none() {
                let what = format!("must be a known time zone, found {}", shown(node));
                found.add(node.place, &zone_path, what);
            }
            known
        }
        None => {
            found.add(node.place, &zone_path, "is needed, e.g. America/New_York");
            None
        }
    };
    let sessions = section.list("sessions", found, session).over(Vec::new(), Vec::new());
    let mut holidays = section.list("holidays", found, holiday).over(Vec::new(), Vec::new());
    holidays.sort();
    section.end(found);
    let (zone, rules) = zone?;
    Some(Calendar { zone, rules, sessions, holidays })
}

fn holiday(node: &Node, path: &str, found: &mut Violations) -> Option<Date> {
    let date = scalar(node).filter(|t| t.len() == 10).and_then(|text| text.parse().ok());
    if date.is_none() {
        found.add(node.place, path, format!("must be a day YYYY-MM-DD, found {}", shown(node)));
    }
    date
}

fn session(node: &Node, path: &str, found: &mut Violations) -> Option<Session> {
    let mut section = Section::of(node, path, found);
    let day = |node: &Node, path: &str, found: &mut Violations| {
        let day = scalar(node).and_then(|t| DAYS.iter().find(|(name, _)| *name == t));
        if day.is_none() {
            let what =
                format!("must be one of mon, tue, wed, thu, fri, sat, sun, found {}", shown(node));
            found.add(node.place, path, what);
        }
        day.map(|(_, day)| *day)
    };
    let days = match section.list("days", found, day) {
        Given::Value(days) => days,
        Given::Absent | Given::Null => {
            found.add(node.place, &section.path("days"), "is needed, e.g. [mon, tue]");
            Vec::new()
        }
    };
    let mut time = |key| {
        let text = section.take(key).and_then(scalar);
        if text.is_none() {
            found.add(node.place, &below(path, key), "is needed, HH:MM");
        }
        text
    };
    let window = match (time("from"), time("to")) {
        (Some(from), Some(to)) => {
            Window::new(from, to).map_err(|why| found.add(node.place, path, why)).ok()
        }
        _ => None,
    };
    section.end(found);
    Some(Session { days, window: window? })
}
