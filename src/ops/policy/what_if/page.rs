//! Owns the what-if as one page of HTML: what stands in it.
//! Never puts a text into it unescaped (the template escapes), and never refers to anything outside of it.

mod chart;

use askama::Template;
use rust_decimal::Decimal;

use self::chart::{Rect, Time, class, float, part, stacked, time};
use super::amount::{self, count, currencies, money, percent, units};
use super::table::{decided, effect_word, moved, outcome_word};
use super::told::Told;
use crate::domain::policy::instruments::Currency;
use crate::domain::what_if::{
    Acted, Changed, Effect, Effects, Group, NotReproduced, Outcome, Report,
};

#[derive(Template)]
#[template(path = "what_if.html")]
struct Page {
    span: String,
    place: String,
    nothing: Option<String>,
    tiles: Vec<Tile>,
    policies: Vec<PolicyRow>,
    judged: String,
    effects: Vec<Share>,
    matrix: Vec<MatrixRow>,
    outcomes: [&'static str; 4],
    money: Vec<MoneyRow>,
    unpriced: Option<String>,
    rules: Vec<RuleRow>,
    time: Option<Time>,
    symbols: Vec<SymbolRow>,
    changes: Vec<ChangeRow>,
    changed: u64,
    left: u64,
    reproduced: Option<Reproduced>,
    unjudged: Vec<(String, String)>,
    unjudged_left: u64,
    held_fixed: Vec<String>,
}

/// A number that stands out.
struct Tile {
    value: String,
    name: &'static str,
    class: &'static str,
}

struct PolicyRow {
    kind: &'static str,
    place: String,
    digest: String,
    under: String,
}

/// A part of a bar, and its line in the legend.
struct Share {
    name: &'static str,
    class: &'static str,
    count: String,
    percent: String,
    rect: Rect,
}

struct MatrixRow {
    name: &'static str,
    /// The count, whether it is as it was, and how dark, 0 to 9.
    cells: Vec<(String, bool, u32)>,
}

struct MoneyRow {
    currency: String,
    recorded: String,
    new: String,
    change: String,
    bars: [Rect; 2],
}

struct RuleRow {
    rule: String,
    recorded: ActedCells,
    new: ActedCells,
    bars: [Rect; 2],
}

struct ActedCells {
    orders: String,
    stopped: String,
    removed: String,
}

struct SymbolRow {
    symbol: String,
    orders: String,
    changed: String,
    recorded: String,
    new: String,
    change: String,
    bars: Vec<Rect>,
}

struct ChangeRow {
    at: String,
    key: String,
    symbol: String,
    effect: &'static str,
    class: &'static str,
    recorded: String,
    asked: String,
    new: String,
    moved: String,
    rules: String,
    reason: String,
}

struct Reproduced {
    all: bool,
    text: String,
    rows: Vec<(String, String, String)>,
    left: u64,
}

/// The page.
pub fn html(told: &Told<'_>, top: usize) -> askama::Result<String> {
    page(told, top).render()
}

fn page(told: &Told<'_>, top: usize) -> Page {
    let report = told.report;
    let all = currencies(report);
    let only = if let [one] = all[..] { Some(one) } else { None };
    let changes: Vec<ChangeRow> = report.changes.iter().take(top).map(change_row).collect();
    let found = &report.findings;
    let unjudged = found.unjudged.iter().take(top);
    let span = match (report.first_at, report.last_at) {
        (Some(first), Some(last)) => {
            format!("{} to {} UTC", first.strftime("%F %T"), last.strftime("%F %T"))
        }
        _ => String::new(),
    };
    Page {
        span,
        place: told.place(),
        nothing: (report.decisions == 0).then(|| told.nothing()),
        tiles: tiles(report),
        policies: told.policies.iter().map(policy_row).collect(),
        judged: count(told.judged()),
        effects: shares(&report.total.orders),
        matrix: matrix(report),
        outcomes: Outcome::ALL.map(outcome_word),
        money: all.iter().map(|currency| money_row(&report.total, *currency)).collect(),
        unpriced: unpriced(&report.total),
        rules: rules(report, only),
        time: time(report, only),
        symbols: symbols(report, only),
        left: report.changed - changes.len() as u64,
        changes,
        changed: report.changed,
        reproduced: reproduced(report, top),
        unjudged_left: report.unjudged - unjudged.len() as u64,
        unjudged: unjudged.map(|one| (one.name.clone(), one.why.clone())).collect(),
        held_fixed: told.held_fixed.clone(),
    }
}

fn tiles(report: &Report) -> Vec<Tile> {
    let orders = &report.total.orders;
    let tile = |name, class, n: u64| Tile { value: count(n), name, class };
    let mut tiles = vec![tile("decisions", "plain", report.decisions)];
    for effect in Effect::ALL {
        if effect != Effect::Turned || orders.turned > 0 {
            tiles.push(tile(effect_word(effect), class(effect), orders.of(effect)));
        }
    }
    tiles.push(tile("REJECT, stays so", "plain", report.rejected));
    if report.unjudged > 0 {
        tiles.push(tile("not judged again", "plain", report.unjudged));
    }
    tiles
}

fn policy_row(policy: &super::told::PolicyTold) -> PolicyRow {
    PolicyRow {
        kind: policy.kind,
        place: policy.place(),
        digest: policy.digest.get(..12).unwrap_or(&policy.digest).to_string(),
        under: count(policy.recorded_under),
    }
}

fn shares(orders: &Effects) -> Vec<Share> {
    let share = |(effect, rect)| Share {
        name: effect_word(effect),
        class: class(effect),
        count: count(orders.of(effect)),
        percent: percent(orders.of(effect), orders.all()),
        rect,
    };
    stacked(orders, orders.all()).into_iter().map(share).collect()
}

fn matrix(report: &Report) -> Vec<MatrixRow> {
    let of = |was, is| {
        let found = report.outcomes.iter().find(|c| c.recorded == was && c.new == is);
        found.map_or(0, |cell| cell.orders)
    };
    let most = report.outcomes.iter().map(|cell| cell.orders).max().unwrap_or(0);
    // By the root, so that a few orders beside many can still be seen.
    let shade = |n: u64| match n {
        0 => 0,
        n => 1 + (part(n as f64, most as f64).sqrt() * 8.0).round() as u32,
    };
    let row = |was| MatrixRow {
        name: outcome_word(was),
        cells: Outcome::ALL.map(|is| (count(of(was, is)), was == is, shade(of(was, is)))).into(),
    };
    Outcome::ALL.map(row).into()
}

fn money_row(total: &Group, currency: Currency) -> MoneyRow {
    let amounts = [&total.recorded, &total.new].map(|sum| sum.notional.of(currency));
    let most = amounts[0].max(amounts[1]);
    let bar = |class, amount: Decimal| {
        let title = format!("{} {}", money(amount), currency.as_str());
        Rect::bar(class, part(float(amount), float(most)), title)
    };
    MoneyRow {
        currency: currency.as_str().to_string(),
        recorded: money(amounts[0]),
        new: money(amounts[1]),
        change: amount::change(amounts[1].saturating_sub(amounts[0])),
        bars: [bar("was", amounts[0]), bar("is", amounts[1])],
    }
}

fn unpriced(total: &Group) -> Option<String> {
    let (was, is) = (total.recorded.unpriced, total.new.unpriced);
    (was + is > 0).then(|| {
        format!(
            "Without a price, and so in no amount: {} order(s) as recorded, {} under the new policies. Beside an amount they \
             are told as (+1).",
            count(was),
            count(is)
        )
    })
}

fn rules(report: &Report, only: Option<Currency>) -> Vec<RuleRow> {
    let most =
        report.rules.iter().flat_map(|r| [r.recorded.orders, r.new.orders]).max().unwrap_or(0);
    let cells = |acted: &Acted| ActedCells {
        orders: count(acted.orders),
        stopped: count(acted.stopped),
        removed: with_currency(amount::of(&acted.removed, only), only),
    };
    let bar = |class, name: &str, acted: &Acted| {
        let title = format!("{name}: {} order(s)", count(acted.orders));
        Rect::bar(class, part(acted.orders as f64, most as f64), title)
    };
    let row = |r: &crate::domain::what_if::RuleActed| RuleRow {
        rule: r.rule.clone(),
        recorded: cells(&r.recorded),
        new: cells(&r.new),
        bars: [bar("was", "recorded", &r.recorded), bar("is", "new", &r.new)],
    };
    report.rules.iter().map(row).collect()
}

fn with_currency(amount: String, only: Option<Currency>) -> String {
    only.map_or(amount.clone(), |currency| format!("{amount} {}", currency.as_str()))
}

fn symbols(report: &Report, only: Option<Currency>) -> Vec<SymbolRow> {
    let most = report.symbols.iter().map(|s| s.group.orders.all()).max().unwrap_or(0);
    let row = |s: &crate::domain::what_if::OfSymbol| SymbolRow {
        symbol: s.symbol.to_string(),
        orders: count(s.group.orders.all()),
        changed: count(s.group.orders.changed()),
        recorded: amount::of(&s.group.recorded, only),
        new: with_currency(amount::of(&s.group.new, only), only),
        change: amount::difference(&s.group.recorded, &s.group.new, only),
        bars: stacked(&s.group.orders, most).into_iter().map(|(_, rect)| rect).collect(),
    };
    let mut rows: Vec<_> = report.symbols.iter().collect();
    rows.sort_by_key(|s| std::cmp::Reverse((s.group.orders.changed(), s.group.orders.all())));
    rows.into_iter().map(row).collect()
}

fn change_row(changed: &Changed) -> ChangeRow {
    let account = match changed.account.as_str() {
        "main" => String::new(),
        other => format!(" of {other}"),
    };
    let asked = |requested: Decimal| match requested.is_zero() {
        true => String::new(),
        false => format!("of {}", units(requested)),
    };
    ChangeRow {
        at: changed.decided_at.strftime("%F %T").to_string(),
        key: changed.idempotency_key.clone(),
        symbol: format!("{}{account}", changed.symbol),
        effect: effect_word(changed.effect),
        class: class(changed.effect),
        recorded: decided(&changed.recorded),
        asked: asked(changed.recorded.requested_qty),
        new: decided(&changed.new),
        moved: moved(changed),
        rules: changed.rules.join(", "),
        reason: changed.new.reason.clone(),
    }
}

fn reproduced(report: &Report, top: usize) -> Option<Reproduced> {
    let (all, same) = (report.reproduced.comparable, report.reproduced.reproduced);
    if all == 0 {
        return None;
    }
    let row = |one: &NotReproduced| {
        let what = format!("{} {} (by {})", one.idempotency_key, one.symbol, one.engine_version);
        (one.decided_at.strftime("%F %T").to_string(), what, one.differs.join("; "))
    };
    let rows: Vec<_> = report.findings.not_reproduced.iter().take(top).map(row).collect();
    Some(Reproduced {
        all: report.reproduced.all(),
        text: format!(
            "{} of {} decisions that must come out the same did",
            count(same),
            count(all)
        ),
        left: all - same - rows.len() as u64,
        rows,
    })
}
