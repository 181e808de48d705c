//! What would have been decided under the policies in force now, told step by step.

use super::pen::{Pen, say, short};
use crate::domain::money::plain;
use crate::domain::what_if::{Again, CameTo, Change, Effect, StepAgain};

pub(super) fn again(pen: Pen, again: &Result<Again, String>) -> Vec<String> {
    let label = pen.label("again", "再判定");
    let again = match again {
        Ok(again) => again,
        Err(why) => {
            return vec![say!(
                pen,
                "{label}cannot be judged under the policies in force now: {why}",
                "{label}現在のポリシーでは判定し直せない: {why}"
            )];
        }
    };
    let came = |to: &CameTo| match to.decided_qty.is_zero() {
        true => to.action.as_str().to_string(),
        false => format!("{} {}", to.action.as_str(), plain(to.decided_qty)),
    };
    let (was, is) = (came(&again.recorded), came(&again.now));
    let mut out = vec![match again.same {
        true => say!(
            pen,
            "{label}the same under the policies in force now: {is}",
            "{label}現在のポリシーでも同じ: {is}"
        ),
        false => {
            let (is, effect) = (pen.ink.yellow(&is), effect(pen, again.effect));
            say!(
                pen,
                "{label}different under the policies in force now: {is} instead of {was} ({effect})",
                "{label}現在のポリシーでは異なる: {was} ではなく {is} ({effect})"
            )
        }
    }];
    out.extend(again.steps.iter().map(|s| format!("{}{}", pen.no_label(), step(pen, s))));
    let changed: Vec<String> = again
        .policies
        .iter()
        .filter(|policy| !policy.same)
        .map(|p| format!("{} {} → {}", p.kind, short(&p.recorded), short(&p.now)))
        .collect();
    let changed = changed.join(", ");
    out.push(pen.note(&match changed.is_empty() {
        true => say!(pen, "no policy has changed since", "ポリシーは変わっていない"),
        false => say!(pen, "changed since: {changed}", "変わったポリシー: {changed}"),
    }));
    out
}

fn effect(pen: Pen, effect: Effect) -> String {
    match effect {
        Effect::Same => say!(pen, "the same order, for other reasons", "注文は同じで理由が異なる"),
        Effect::Blocked => say!(pen, "blocked", "止められる"),
        Effect::Smaller => say!(pen, "smaller", "小さくなる"),
        Effect::Turned => say!(pen, "the other direction", "反対の向き"),
        Effect::Larger => say!(pen, "larger", "大きくなる"),
        Effect::LetThrough => say!(pen, "let through", "通される"),
    }
}

fn step(pen: Pen, step: &StepAgain) -> String {
    let told = |change: &Change| format!("{} → {}", plain(change.before), plain(change.after));
    let rule = &step.rule;
    match (&step.recorded, &step.now) {
        (_, Some(now)) if step.same => {
            let now = told(now);
            pen.ink.dim(&say!(pen, "same       {now}  {rule}", "同じ       {now}  {rule}"))
        }
        (Some(was), Some(now)) => {
            let (was, is) = (told(was), told(now));
            pen.ink.yellow(&say!(
                pen,
                "different  {is}  {rule}, was {was}",
                "異なる     {is}  {rule}、以前は {was}"
            ))
        }
        (None, Some(now)) => {
            let is = told(now);
            pen.ink.yellow(&say!(
                pen,
                "different  {is}  {rule}, is new",
                "異なる     {is}  {rule}、新たに適用"
            ))
        }
        (Some(was), None) => {
            let was = told(was);
            pen.ink.yellow(&say!(
                pen,
                "different  {rule} no longer acts, was {was}",
                "異なる     {rule} は働かない、以前は {was}"
            ))
        }
        (None, None) => String::new(),
    }
}
