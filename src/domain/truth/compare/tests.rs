//! Sides that agree, that do not, and what is on its way or kept no more.

use std::convert::Infallible;

use super::*;
use crate::domain::truth::Place;

fn entry(id: &str, says: &str) -> Entry {
    Entry {
        id: Short::of(id.as_bytes()),
        hour: Hour(8),
        content: Short::of(says.as_bytes()),
        bytes: 1,
        place: Place { part: 0, at: 0 },
        standing: Standing::Sure,
        is_inner: false,
    }
}

fn on(standing: Standing, entry: Entry) -> Entry {
    Entry { standing, ..entry }
}

fn compared(left: &[Entry], right: &[Entry], bounds: Bounds) -> Compared {
    let sorted = |side: &[Entry]| {
        let mut side = side.to_vec();
        side.sort();
        side.into_iter().map(Ok::<_, Infallible>)
    };
    let bounds = Bounds { examples_max: 2, ..bounds };
    compare(sorted(left), sorted(right), &bounds).expect("nothing can fail")
}

const TABLE: Bounds = Bounds {
    right_is_table: true,
    from: None,
    to: None,
    left_lacks_to: None,
    right_lacks_to: None,
    examples_max: 2,
};
const LEDGER: Bounds = Bounds { right_is_table: false, ..TABLE };

fn counts(compared: &Compared) -> Vec<(Kind, u64)> {
    compared.counts.iter().map(|(kind, count)| (*kind, *count)).collect()
}

#[test]
fn equal_sides_are_equal_hour_by_hour_whatever_comes_again() {
    let (a, b) = (entry("a", "1"), Entry { hour: Hour(9), ..entry("b", "2") });
    let found = compared(&[a, b, a], &[b, a], TABLE);
    assert!(found.is_equal() && found.examples.is_empty(), "{found:?}");
    assert_eq!(found.repeats, 1);
    assert_eq!(found.hours.keys().copied().collect::<Vec<_>>(), [Hour(8), Hour(9)]);
    for sides in found.hours.values() {
        assert_eq!(sides.left, sides.right);
        assert_eq!(sides.left.events, 1);
    }
}

#[test]
fn each_kind_of_difference_is_told_once_and_its_hour_differs() {
    let a = entry("a", "1");
    let inner = Entry { is_inner: true, ..a };
    for (left, right, kind) in [
        (vec![a], vec![], Kind::Missing),
        (vec![inner], vec![], Kind::Gap),
        (vec![], vec![a], Kind::Extra),
        (vec![a], vec![entry("a", "2")], Kind::Different),
    ] {
        for bounds in [TABLE, LEDGER] {
            let found = compared(&left, &right, bounds);
            assert_eq!(counts(&found), [(kind, 1)]);
            let sides = found.hours[&Hour(8)];
            assert_ne!(sides.left, sides.right, "{kind:?}");
        }
    }
}

#[test]
fn an_event_that_came_again_with_other_bytes_is_told_beside_its_table_and_the_row_may_be_of_either()
{
    let (a, other) = (entry("a", "1"), Entry { bytes: 2, ..entry("a", "2") });
    for row in [a, entry("a", "2")] {
        let found = compared(&[a, other], &[row], TABLE);
        assert_eq!(counts(&found), [(Kind::EmittedOtherwise, 1)]);
        assert_eq!(found.hours[&Hour(8)].left, found.hours[&Hour(8)].right);
    }
    // The same said in other bytes is told as well; a third saying in the table is a difference of its own.
    let same = Entry { bytes: 2, ..a };
    assert_eq!(counts(&compared(&[a, same], &[a], TABLE)), [(Kind::EmittedOtherwise, 1)]);
    let found = compared(&[a, other], &[entry("a", "3")], TABLE);
    assert_eq!(counts(&found), [(Kind::Different, 1), (Kind::EmittedOtherwise, 1)]);
}

#[test]
fn of_rows_of_one_id_one_is_right_and_of_records_of_one_id_all_are() {
    let a = entry("a", "1");
    assert_eq!(counts(&compared(&[a], &[a, a], TABLE)), [(Kind::Extra, 1)]);
    assert_eq!(counts(&compared(&[a], &[a, entry("a", "2")], TABLE)), [(Kind::Extra, 1)]);
    assert_eq!(counts(&compared(&[], &[a, a], TABLE)), [(Kind::Extra, 2)]);
    assert!(compared(&[a], &[a, a], LEDGER).is_equal());
    assert_eq!(counts(&compared(&[], &[a, a], LEDGER)), [(Kind::Extra, 1)]);
    let other = entry("a", "2");
    assert_eq!(counts(&compared(&[a], &[other, other], LEDGER)), [(Kind::Different, 1)]);
    assert_eq!(counts(&compared(&[a], &[a, entry("a", "2")], LEDGER)), [(Kind::Different, 1)]);
}

#[test]
fn what_is_on_its_way_is_no_difference_unless_it_says_something_else() {
    let a = entry("a", "1");
    let flight = |owed, unread, newer| InFlight { owed, unread, newer };
    for (left, right, bounds, wanted) in [
        (vec![on(Standing::Unread, a)], vec![], TABLE, flight(0, 1, 0)),
        (vec![a], vec![on(Standing::Owed, a)], LEDGER, flight(1, 0, 0)),
        (vec![], vec![on(Standing::Young, a)], LEDGER, flight(0, 0, 1)),
        (vec![on(Standing::Unread, a)], vec![a], TABLE, flight(0, 0, 0)),
        (vec![a], vec![on(Standing::Young, a)], LEDGER, flight(0, 0, 0)),
        (vec![a], vec![a, on(Standing::Owed, a)], LEDGER, flight(0, 0, 0)),
    ] {
        let found = compared(&left, &right, bounds);
        assert!(found.is_equal(), "{found:?}");
        assert_eq!(found.in_flight, wanted);
    }
    let found = compared(&[on(Standing::Unread, a)], &[entry("a", "2")], TABLE);
    assert_eq!(counts(&found), [(Kind::Different, 1)]);
    // One of two records was read: its row must be there.
    let found = compared(&[a, on(Standing::Unread, a)], &[], TABLE);
    assert_eq!(counts(&found), [(Kind::Missing, 1)]);
}

#[test]
fn what_is_kept_no_more_is_left_out_and_what_is_there_is_compared_all_the_same() {
    let a = entry("a", "1");
    let gone = Bounds { left_lacks_to: Some(Hour(8)), right_lacks_to: Some(Hour(8)), ..TABLE };
    let found = compared(&[a], &[entry("b", "1")], gone);
    assert!(found.is_equal());
    assert_eq!((found.left_gone, found.right_gone), (1, 1));
    let found = compared(&[a], &[entry("a", "2")], gone);
    assert_eq!(counts(&found), [(Kind::Different, 1)]);
    let later = Entry { hour: Hour(9), ..a };
    assert_eq!(counts(&compared(&[later], &[], gone)), [(Kind::Missing, 1)]);
}

#[test]
fn only_the_hours_asked_for_are_looked_at_and_only_some_examples_are_kept() {
    let at = |id: usize| Entry { hour: Hour(id as i32), ..entry(&id.to_string(), "1") };
    let all: Vec<Entry> = (0..10).map(at).collect();
    let bounds = Bounds { from: Some(Hour(2)), to: Some(Hour(7)), ..TABLE };
    let found = compared(&all, &[], bounds);
    assert_eq!(counts(&found), [(Kind::Missing, 5)]);
    assert_eq!((found.examples.len(), found.hours.len()), (2, 5));
}
