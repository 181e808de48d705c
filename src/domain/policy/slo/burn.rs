//! The burn rates of an availability: how fast what it allows is being used up.

use rust_decimal::Decimal;

use super::super::read::{Bounds, Section, below, decimal, shown};
use super::super::tree::{Node, Value};
use super::super::violation::Violations;
use super::{Indicator, Levels, Objective, min_samples, severity, span};
use crate::domain::event::Severity;

/// The burn rates of an availability.
pub(super) fn rates(
    node: &Node,
    of: &Objective,
    path: &str,
    found: &mut Violations,
) -> Vec<Objective> {
    let goal = of.levels.set().map(|(_, level)| level).max();
    if of.indicator != Indicator::Availability {
        found.add(node.place, path, "only an availability burns");
        return Vec::new();
    }
    let Some(goal) = goal.filter(|goal| *goal < Decimal::ONE) else {
        found.add(node.place, path, "an availability of 1 leaves nothing to burn");
        return Vec::new();
    };
    let Value::List(items) = &node.value else {
        found.add(node.place, path, format!("must be a list, found {}", shown(node)));
        return Vec::new();
    };
    let mut rates: Vec<Objective> = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let path = format!("{path}[{at}]");
        let Some(rate) = burn(item, of, goal, &path, found) else { continue };
        if rates.iter().any(|other| other.slo == rate.slo) {
            found.add(item.place, &path, "a burn rate with this long window is there already");
        }
        rates.push(rate);
    }
    rates
}

fn burn(
    node: &Node,
    of: &Objective,
    goal: Decimal,
    path: &str,
    found: &mut Violations,
) -> Option<Objective> {
    let mut section = Section::of(node, path, found);
    let long = span(&mut section, node, "long", found);
    let short = span(&mut section, node, "short", found);
    let factor = match section.take("factor") {
        Some(node) => decimal(node, &below(path, "factor"), Bounds::LIMIT, found),
        None => {
            found.add(node.place, &below(path, "factor"), "is missing");
            None
        }
    };
    let severity = match section.take("severity") {
        Some(node) => severity(node, &below(path, "severity"), found),
        None => Severity::Medium,
    };
    let min_samples = min_samples(&mut section, found);
    section.end(found);
    let (long, short, factor) = (long?, short?, factor?);
    if short.seconds >= long.seconds {
        found.add(node.place, path, "the short window must be shorter than the long one");
    }
    if factor <= Decimal::ONE {
        found.add(node.place, path, "the factor must be above 1: at 1 the budget lasts exactly");
    }
    let mut levels = Levels::default();
    *levels.slot(severity) = Some(factor.normalize());
    Some(Objective {
        slo: format!("{}.burn_{}", of.slo, long.text),
        about: "How many times faster than availability allows orders fail".into(),
        indicator: Indicator::BurnRate,
        percentile: None,
        window: long,
        short: Some(short),
        goal: Some(goal),
        is_floor: false,
        levels,
        min_samples,
        no_data: None,
    })
}
