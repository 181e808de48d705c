//! When a comparison of positions stands, and what it asks for.

use jiff::Timestamp;

use super::*;

fn lane() -> Lane {
    ("main".into(), "USDJPY".into())
}

fn held(position: i64, unclear: bool, working: bool) -> Held {
    let (account, symbol) = lane();
    Held { account, symbol, position: position.into(), unclear, working }
}

/// What a look at one lane comes to: whether it stands.
fn looks(round: &mut Round, before: Held, after: Held, theirs: i64, at: Boot) -> bool {
    let theirs = [(lane(), Decimal::from(theirs))].into();
    let (stands, waiting) = round.compare(&[before], &[after], &theirs, at);
    assert_eq!(stands.len() + waiting, 1);
    !stands.is_empty()
}

#[test]
fn equal_positions_at_rest_agree_at_once() {
    let mut round = Round::default();
    assert!(looks(&mut round, held(5, false, false), held(5, false, false), 5, boot()));
}

#[test]
fn a_lane_in_which_something_is_under_way_is_waited_for_even_if_it_agrees() {
    let start = boot();
    let mut round = Round::default();
    let at = |s| start.after(Duration::from_secs(s));
    assert!(!looks(&mut round, held(5, true, false), held(5, true, false), 5, at(0)), "unclear");
    assert!(!looks(&mut round, held(4, false, false), held(5, false, false), 5, at(1)), "moved");
    assert!(!looks(&mut round, held(5, false, true), held(5, false, false), 5, at(2)), "ended");
    assert!(looks(&mut round, held(5, false, false), held(5, false, false), 5, at(3)));
}

#[test]
fn a_difference_stands_when_it_stays_the_same_and_longer_where_an_order_works() {
    for (working, needed) in [(false, 2), (true, 8)] {
        let start = boot();
        let mut round = Round::default();
        let mut look = |ours, theirs, s| {
            let at = start.after(Duration::from_secs(s));
            looks(&mut round, held(ours, false, working), held(ours, false, working), theirs, at)
        };
        assert!(!look(5, 6, 0), "just seen");
        assert!(!look(5, 7, 1), "another difference begins anew");
        assert!(!look(5, 7, needed), "{working}");
        assert!(look(5, 7, needed + 1), "{working}");
    }
}

#[test]
fn what_is_only_with_one_side_is_compared_too() {
    let mut round = Round::default();
    let theirs = [(lane(), Decimal::ONE)].into();
    let start = boot();
    assert_eq!(round.compare(&[], &[], &theirs, start), (vec![], 1));
    let (stands, _) = round.compare(&[], &[], &theirs, start.after(STAYS));
    assert_eq!(stands[0].1, Look { ours: 0.into(), theirs: 1.into(), working: false });
}

#[test]
fn a_difference_is_new_until_it_was_told_and_again_when_it_changes() {
    let look =
        |ours: i64, theirs: i64| Look { ours: ours.into(), theirs: theirs.into(), working: false };
    let check = |ours: i64, theirs: i64, halt_number| Check {
        account: "main".into(),
        symbol: "USDJPY".into(),
        ours: ours.into(),
        theirs: theirs.into(),
        checked_at: Timestamp::UNIX_EPOCH,
        halt_number,
    };
    let halt = Halt {
        number: 1,
        mode: "resumed".into(),
        scope: Scope::default(),
        reason: "seen".into(),
        by_whom: "me".into(),
        approved_by: None,
        at: Timestamp::UNIX_EPOCH,
        in_force: true,
    };
    let newest = Some(&halt);
    let cases = [
        (look(5, 5), None, Verdict::Agrees),
        (look(5, 5), Some(check(5, 6, Some(1))), Verdict::Agrees),
        (look(5, 6), None, Verdict::New),
        (look(5, 6), Some(check(5, 5, None)), Verdict::New),
        (look(5, 6), Some(check(5, 6, Some(1))), Verdict::Known),
        (look(105, 106), Some(check(5, 6, Some(1))), Verdict::Known),
        (look(5, 7), Some(check(5, 6, Some(1))), Verdict::New),
    ];
    for (look, check, wanted) in cases {
        assert_eq!(verdict(&look, check.as_ref(), newest), wanted, "{look:?} {check:?}");
    }
}
