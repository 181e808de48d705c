//! Owns how a what-if reads in a terminal.
//! Never shows a text of a request as it is: what a terminal would act on is escaped. Without colour it says the same.

use super::amount::{self, change, count, currencies, money, percent, units};
use super::told::Told;
use crate::demo::report::Ink;
use crate::domain::event::Action;
use crate::domain::policy::instruments::Currency;
use crate::domain::what_if::{
    Acted, Changed, Effect, Every, Group, NotReproduced, Outcome, Unjudged, Verdict,
};
use crate::ops::table::{numbers, printable, table};

/// Width that long sentences are wrapped at.
const WIDTH: usize = 100;
/// Most stretches of time that are listed.
const BUCKETS_MAX: usize = 48;
/// Most symbols that are listed.
const SYMBOLS_MAX: usize = 40;

/// The whole table.
pub fn text(ink: Ink, told: &Told<'_>, top: usize) -> String {
    let report = told.report;
    let mut out = vec![ink.bold(&headline(told))];
    out.extend(policies(told));
    if report.decisions > 0 {
        // The currency, if there is but one: it then stands in the headings.
        let all = currencies(report);
        let only = if let [one] = all[..] { Some(one) } else { None };
        out.extend(section(ink, "What becomes of them", effects(told)));
        out.extend(section(ink, "Outcome: recorded (down) and new (across)", matrix(told)));
        out.extend(section(ink, &in_money("Money decided", only), totals(told, only)));
        out.extend(section(ink, &in_money("By rule", only), rules(told, only)));
        out.extend(section(ink, &in_money("By symbol", only), symbols(told, only)));
        let every = match report.bucket {
            Every::Hour => "By hour (UTC)",
            Every::Day => "By day (UTC)",
        };
        out.extend(section(ink, &in_money(every, only), buckets(told, only)));
        out.extend(section(ink, "Orders that change, the worst first", changes(told, top)));
        if unpriced(told) {
            out.push(ink.dim("  (+2): and two orders without a price, which are in no amount"));
        }
    }
    out.extend(findings(ink, told, top));
    out.extend(section(ink, "What is held fixed", String::new()));
    for sentence in &told.held_fixed {
        out.extend(wrapped(&printable(sentence.as_bytes())).into_iter().map(|line| ink.dim(&line)));
    }
    let text = out.join("\n");
    format!("{}\n", text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n"))
}

fn headline(told: &Told<'_>) -> String {
    let report = told.report;
    let place = printable(told.place().as_bytes());
    match (report.first_at, report.last_at) {
        (Some(first), Some(last)) => format!(
            "What if: {} decision(s), {} to {} UTC\n  from {place}",
            count(report.decisions),
            first.strftime("%F %T"),
            last.strftime("%F %T"),
        ),
        _ if report.decisions > 0 => {
            format!("What if: {} decision(s)\n  from {place}", count(report.decisions))
        }
        _ => format!("What if: {}", printable(told.nothing().as_bytes())),
    }
}

fn policies(told: &Told<'_>) -> Vec<String> {
    let judged = count(told.judged());
    let row = |p: &super::told::PolicyTold| {
        vec![
            format!(" {}", p.kind),
            printable(p.place().as_bytes()),
            p.digest.get(..12).unwrap_or(&p.digest).to_string(),
            format!("{} of {judged}", count(p.recorded_under)),
        ]
    };
    let columns = [" policy", "", "digest", "decided under it"];
    vec![numbers(table(&columns, told.policies.iter().map(row)), [3]).to_string()]
}

/// A heading with what is under it, after an empty line.
fn section(ink: Ink, title: &str, body: String) -> Vec<String> {
    let mut lines = vec![String::new(), ink.bold(title)];
    if !body.is_empty() {
        lines.push(body);
    }
    lines
}

fn in_money(title: &str, only: Option<Currency>) -> String {
    only.map_or(title.to_string(), |currency| format!("{title}, {}", currency.as_str()))
}

/// The word for an effect.
pub fn effect_word(effect: Effect) -> &'static str {
    match effect {
        Effect::Same => "same",
        Effect::Blocked => "blocked",
        Effect::Smaller => "smaller",
        Effect::Turned => "turned",
        Effect::Larger => "larger",
        Effect::LetThrough => "let through",
    }
}

/// The word for an outcome.
pub fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Whole => "whole",
        Outcome::Clamped => "clamped",
        Outcome::Blocked => "blocked",
        Outcome::Nothing => "nothing asked",
    }
}

fn effects(told: &Told<'_>) -> String {
    let report = told.report;
    let line = |name: &str, n: u64, share: String, what: &str| {
        vec![format!(" {name}"), count(n), share, what.to_string()]
    };
    let what = |effect| match effect {
        Effect::Same => "as recorded",
        Effect::Blocked => "sent, and nothing of it would be",
        Effect::Smaller => "less of it would be sent",
        Effect::Turned => "it would go in the other direction",
        Effect::Larger => "more of it would be sent",
        Effect::LetThrough => "nothing was sent, and something would be",
    };
    let orders = &report.total.orders;
    let shown = Effect::ALL.into_iter().filter(|e| *e != Effect::Turned || orders.turned > 0);
    let mut rows: Vec<Vec<String>> = shown
        .map(|e| line(effect_word(e), orders.of(e), percent(orders.of(e), orders.all()), what(e)))
        .collect();
    rows.push(line("REJECT", report.rejected, String::new(), "stays so under any policy"));
    rows.push(line(
        "not judged",
        report.unjudged,
        String::new(),
        "cannot be judged again: see below",
    ));
    numbers(table(&["", "orders", "share", ""], rows), [1, 2]).to_string()
}

fn matrix(told: &Told<'_>) -> String {
    let cell = |was, is| {
        let found = told.report.outcomes.iter().find(|c| c.recorded == was && c.new == is);
        count(found.map_or(0, |cell| cell.orders))
    };
    let row = |was: Outcome| {
        let cells = Outcome::ALL.into_iter().map(|is| cell(was, is));
        [format!(" {}", outcome_word(was))].into_iter().chain(cells).collect()
    };
    let names = Outcome::ALL.map(outcome_word);
    let columns = ["", names[0], names[1], names[2], names[3]];
    numbers(table(&columns, Outcome::ALL.map(row)), 1..=4).to_string()
}

fn totals(told: &Told<'_>, only: Option<Currency>) -> String {
    let total = &told.report.total;
    let units_change = total.new.units.saturating_sub(total.recorded.units);
    let rows = [
        vec![
            " money".into(),
            amount::of(&total.recorded, only),
            amount::of(&total.new, only),
            amount::difference(&total.recorded, &total.new, only),
        ],
        vec![
            " units".into(),
            money(total.recorded.units),
            money(total.new.units),
            change(units_change),
        ],
    ];
    numbers(table(&["", "recorded", "new", "change"], rows), 1..=3).to_string()
}

/// Whether an order without a price is in any sum.
fn unpriced(told: &Told<'_>) -> bool {
    let total = &told.report.total;
    let removed = told.report.rules.iter().flat_map(|r| [&r.recorded.removed, &r.new.removed]);
    [&total.recorded, &total.new].into_iter().chain(removed).any(|sum| sum.unpriced > 0)
}

fn rules(told: &Told<'_>, only: Option<Currency>) -> String {
    if told.report.rules.is_empty() {
        return "  no rule changed a quantity".into();
    }
    let cells = |acted: &Acted| {
        [count(acted.orders), count(acted.stopped), amount::of(&acted.removed, only)]
    };
    let row = |r: &crate::domain::what_if::RuleActed| {
        let name = format!(" {}", printable(r.rule.as_bytes()));
        [name].into_iter().chain(cells(&r.recorded)).chain(cells(&r.new)).collect()
    };
    let columns = [
        " rule",
        "recorded:\norders",
        "\nstopped",
        "\nremoved",
        "new:\norders",
        "\nstopped",
        "\nremoved",
    ];
    numbers(table(&columns, told.report.rules.iter().map(row)), 1..=6).to_string()
}

/// What groups of orders are told by: those that change by what becomes of them, and the money.
fn groups(
    told: &Told<'_>,
    only: Option<Currency>,
    rows: impl Iterator<Item = (String, Group)>,
) -> String {
    let turns = told.report.total.orders.turned > 0;
    let mut columns = vec!["", "orders", "blocked", "smaller", "more", "recorded", "new", "change"];
    if turns {
        columns.insert(4, "turned");
    }
    let row = |(name, group): (String, Group)| {
        let orders = &group.orders;
        let more = orders.larger + orders.let_through;
        let mut counts = vec![orders.all(), orders.blocked, orders.smaller, more];
        if turns {
            counts.insert(3, orders.turned);
        }
        let sums = [
            amount::of(&group.recorded, only),
            amount::of(&group.new, only),
            amount::difference(&group.recorded, &group.new, only),
        ];
        [format!(" {name}")].into_iter().chain(counts.into_iter().map(count)).chain(sums).collect()
    };
    let numbered = 1..columns.len();
    numbers(table(&columns, rows.map(row)), numbered).to_string()
}

fn symbols(told: &Told<'_>, only: Option<Currency>) -> String {
    let all = &told.report.symbols;
    let mut worst: Vec<_> = all.iter().collect();
    worst.sort_by_key(|s| std::cmp::Reverse((s.group.orders.changed(), s.group.orders.all())));
    let rows = worst.iter().take(SYMBOLS_MAX);
    let table = groups(told, only, rows.map(|s| (s.symbol.to_string(), s.group.clone())));
    format!("{table}{}", and_more(all.len().saturating_sub(SYMBOLS_MAX), "symbol(s)"))
}

fn buckets(told: &Told<'_>, only: Option<Currency>) -> String {
    let all = &told.report.buckets;
    let form = match told.report.bucket {
        Every::Hour => "%F %H:00",
        Every::Day => "%F",
    };
    // The newest: what is older is in JSON and in the page.
    let skipped = all.len().saturating_sub(BUCKETS_MAX);
    let rows = all.iter().skip(skipped);
    let table =
        groups(told, only, rows.map(|b| (b.from.strftime(form).to_string(), b.group.clone())));
    let before =
        if skipped == 0 { String::new() } else { format!("  {skipped} earlier left out\n") };
    format!("{before}{table}")
}

/// `BUY 500`, or what else was decided.
pub fn decided(verdict: &Verdict) -> String {
    match verdict.action {
        Action::Buy | Action::Sell => {
            format!("{} {}", verdict.action.as_str(), units(verdict.decided_qty))
        }
        Action::Flat => "nothing".into(),
        Action::Reject => "REJECT".into(),
    }
}

/// `1 200 JPY`, or `no price`.
pub fn moved(changed: &Changed) -> String {
    match changed.notional {
        Some(amount) => format!("{} {}", money(amount), changed.currency.as_str()),
        None => "no price".into(),
    }
}

fn changes(told: &Told<'_>, top: usize) -> String {
    let report = told.report;
    if report.changed == 0 {
        return "  none".into();
    }
    let row = |c: &Changed| {
        vec![
            format!(" {}", c.decided_at.strftime("%F %T")),
            printable(c.idempotency_key.as_bytes()),
            c.symbol.to_string(),
            effect_word(c.effect).to_string(),
            format!("{} → {}", decided(&c.recorded), decided(&c.new)),
            moved(c),
            printable(c.rules.join(", ").as_bytes()),
        ]
    };
    let columns =
        [" decided at", "key", "symbol", "is", "recorded → new", "by", "rules that differ"];
    let shown = report.changes.iter().take(top);
    let left = usize::try_from(report.changed).unwrap_or(usize::MAX) - shown.len();
    let table = numbers(table(&columns, shown.map(row)), [5]).to_string();
    format!("{table}{}", and_more(left, "order(s); --json has all of them"))
}

/// `… and 12 more order(s)`, in a line of its own.
fn and_more(left: usize, what: &str) -> String {
    match left {
        0 => String::new(),
        left => format!("\n  … and {} more {what}", count(left as u64)),
    }
}

fn findings(ink: Ink, told: &Told<'_>, top: usize) -> Vec<String> {
    let report = told.report;
    let found = &report.findings;
    let mut out = Vec::new();
    if report.reproduced.comparable > 0 {
        let same = format!(
            "{} of {} decision(s) that must come out the same did",
            count(report.reproduced.reproduced),
            count(report.reproduced.comparable)
        );
        let title = if report.reproduced.all() { ink.green(&same) } else { ink.red(&same) };
        out.extend([String::new(), title]);
        let tell = |one: &NotReproduced| {
            let at = one.decided_at.strftime("%F %T");
            let what =
                format!("{} {}: {}", one.idempotency_key, one.symbol, one.differs.join("; "));
            format!(
                "  {at}  {} (by {})",
                printable(what.as_bytes()),
                printable(one.engine_version.as_bytes())
            )
        };
        let shown = found.not_reproduced.iter().take(top);
        let all = report.reproduced.comparable - report.reproduced.reproduced;
        let left = usize::try_from(all).unwrap_or(usize::MAX) - shown.len();
        out.extend(shown.map(tell));
        out.extend(left_over(left));
    }
    if report.unjudged > 0 {
        let title = format!("{} decision(s) cannot be judged again", count(report.unjudged));
        out.extend([String::new(), ink.red(&title)]);
        let tell = |one: &Unjudged| {
            format!("  {}: {}", printable(one.name.as_bytes()), printable(one.why.as_bytes()))
        };
        let shown = found.unjudged.iter().take(top);
        let left = usize::try_from(report.unjudged).unwrap_or(usize::MAX) - shown.len();
        out.extend(shown.map(tell));
        out.extend(left_over(left));
    }
    out
}

/// A line that says how many more there are, if there are.
fn left_over(left: usize) -> Option<String> {
    (left > 0).then(|| format!("  … and {} more of them", count(left as u64)))
}

/// A sentence in lines of at most [`WIDTH`] characters.
fn wrapped(sentence: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::from(" ");
    for word in sentence.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(std::mem::replace(&mut line, String::from("   ")));
        }
        line.push(' ');
        line.push_str(word);
    }
    lines.push(line);
    lines
}
