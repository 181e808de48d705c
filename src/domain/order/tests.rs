//! The table of C-FSM, cell by cell, and its laws.

use proptest::prelude::*;

use super::*;
use OrderStatus::*;

fn fill(id: &str, qty: i64) -> Fill {
    let at = jiff::Timestamp::UNIX_EPOCH;
    Fill { fill_id: id.into(), px: Decimal::new(147_250, 3), qty: qty.into(), at }
}

fn order(status: OrderStatus) -> Order {
    let mut order = Order::new(100.into(), TimeInForce::Gtc);
    order.status = status;
    match status {
        PartiallyFilled => drop(order.fills.insert("p".into(), fill("p", 40))),
        Filled => drop(order.fills.insert("f".into(), fill("f", 100))),
        _ => {}
    }
    order
}

fn events() -> Vec<Event> {
    let code = || "why".to_string();
    vec![
        Event::Send,
        Event::NotSent { code: code() },
        Event::Accept { broker_ref: Some("r-1".into()) },
        Event::Fill(fill("new", 10)),
        Event::Reject { code: code() },
        Event::Cancel { code: code() },
        Event::Expire { code: code() },
        Event::LoseTrack { code: code() },
        Event::Park { code: code() },
        Event::Replace { qty: 60.into() },
    ]
}

#[test]
fn every_cell_of_the_table_is_as_written_here() {
    // Rows: states; columns: send, not_sent, accept, fill(10), reject, cancel, expire, lose_track, park,
    // replace(60).
    // `=` known already, `!` illegal, else the new state's first letters.
    let table = [
        (New, "SENT ! ! ! REJ CAN EXP ! ! NEW"),
        (Sent, "! NEW ACC PAR REJ CAN EXP UNK PARK !"),
        (Accepted, "! ! = PAR REJ CAN EXP ! ! ACC"),
        (PartiallyFilled, "! ! = PAR ! CAN EXP ! ! PAR"),
        (Filled, "! ! = FIL ! ! ! ! ! !"),
        (Rejected, "! ! ! ! = ! ! ! ! !"),
        (Cancelled, "! ! = CAN ! = ! ! ! !"),
        (Expired, "! ! = EXP ! ! = ! ! !"),
        (Unknown, "SENT NEW ACC PAR REJ CAN EXP = PARK !"),
        (Parked, "! ! ACC PAR REJ CAN EXP = = !"),
    ];
    assert_eq!(table.map(|row| row.0), OrderStatus::ALL);
    for (status, row) in table {
        for (event, wanted) in events().iter().zip(row.split(' ')) {
            let found = match order(status).apply(event) {
                Err(_) => "!".to_string(),
                Ok(step) if !step.moved => "=".to_string(),
                Ok(step) if step.order.status == Parked => "PARK".to_string(),
                Ok(step) => step.order.status.as_str()[..wanted.len()].to_string(),
            };
            assert_eq!(found, wanted, "{} × {}", status.as_str(), event.label());
        }
    }
}

fn alerts(step: &Step) -> Vec<(&'static str, Severity)> {
    let alert = |a: &Action| match a {
        Action::Alert { policy_name, severity, .. } => Some((*policy_name, *severity)),
        _ => None,
    };
    step.actions.iter().filter_map(alert).collect()
}

#[test]
fn a_replacement_shrinks_and_leaves_something_to_be_filled() {
    let replaced = |status, qty: i64| order(status).apply(&Event::Replace { qty: qty.into() });
    let step = replaced(PartiallyFilled, 41).expect("40 are filled");
    assert_eq!((step.order.qty, step.order.unfilled()), (41.into(), 1.into()));
    assert_eq!(
        (step.actions.as_slice(), step.code.as_deref()),
        (&[Action::Reprice][..], Some("replaced"))
    );
    let filled = step.order.apply(&Event::Fill(fill("rest", 1))).expect("legal");
    assert_eq!(filled.order.status, Filled, "it is filled by its new quantity");
    assert!(replaced(PartiallyFilled, 40).is_err(), "nothing would be left");
    assert!(replaced(Accepted, 101).is_err(), "it never grows");
    assert!(replaced(Accepted, 100).expect("another price alone").moved);
}

#[test]
fn f56_a_fill_before_the_ack_counts_and_the_ack_then_changes_nothing() {
    let step = order(Sent).apply(&Event::Fill(fill("a", 40))).expect("legal");
    assert_eq!(step.order.status, PartiallyFilled);
    let ack = Event::Accept { broker_ref: Some("r-9".into()) };
    let acked = step.order.apply(&ack).expect("legal");
    assert!(!acked.moved);
    assert_eq!(acked.order.broker_ref.as_deref(), Some("r-9"));
    assert_eq!(acked.order.executed_qty(), 40.into());
}

#[test]
fn f56_a_late_fill_after_the_end_is_booked_with_a_high_alert_and_the_end_stays() {
    for ended in [Cancelled, Expired] {
        let step = order(ended).apply(&Event::Fill(fill("late", 10))).expect("legal");
        assert_eq!(step.order.status, ended);
        assert!(matches!(step.actions[0], Action::Book(_)));
        assert_eq!(alerts(&step), [("do.late_fill", Severity::High)]);
    }
}

#[test]
fn f56_an_over_fill_is_booked_critical_and_halts_the_symbol() {
    let step = order(PartiallyFilled).apply(&Event::Fill(fill("b", 61))).expect("legal");
    assert_eq!(step.order.status, Filled);
    assert_eq!(step.order.executed_qty(), 101.into());
    assert_eq!(alerts(&step), [("do.over_fill", Severity::Critical)]);
    assert!(step.actions.contains(&Action::HaltSymbol));
}

#[test]
fn a_fill_id_counts_once_and_with_other_numbers_it_is_illegal() {
    let known = order(PartiallyFilled);
    assert!(!known.apply(&Event::Fill(fill("p", 40))).expect("a repeat").moved);
    assert!(known.apply(&Event::Fill(fill("p", 41))).is_err());
    assert!(known.apply(&Event::Fill(fill("z", 0))).is_err());
    let huge = Fill { px: Decimal::MAX, ..fill("huge", 1) };
    assert!(known.apply(&Event::Fill(huge)).is_err());
}

#[test]
fn a_fok_order_that_ends_with_fills_raises_an_alert() {
    let mut broken = order(PartiallyFilled);
    broken.time_in_force = TimeInForce::Fok;
    let step = broken.apply(&Event::Cancel { code: "broker".into() }).expect("legal");
    assert_eq!(alerts(&step), [("do.fok_partial", Severity::High)]);
    assert_eq!(step.actions[0], Action::Release);
}

#[test]
fn parking_raises_a_critical_alert_once() {
    let park = Event::Park { code: "asked_in_vain".into() };
    let step = order(Unknown).apply(&park).expect("legal");
    assert_eq!(alerts(&step), [("do.parked", Severity::Critical)]);
    assert!(alerts(&step.order.apply(&park).expect("a repeat")).is_empty());
}

#[test]
fn the_average_price_is_weighted_by_quantity() {
    let mut order = order(Sent);
    for (id, px, qty) in [("a", 10, 30), ("b", 20, 10)] {
        let fill = Fill { px: px.into(), ..fill(id, qty) };
        order = order.apply(&Event::Fill(fill)).expect("legal").order;
    }
    assert_eq!(order.avg_price(), Some(Decimal::new(125, 1)));
}

fn any_event() -> impl Strategy<Value = Event> {
    let code = || Just("c".to_string());
    prop_oneof![
        2 => Just(Event::Send),
        1 => code().prop_map(|code| Event::NotSent { code }),
        2 => Just(Event::Accept { broker_ref: None }),
        5 => (0u8..6, 1i64..70).prop_map(|(id, qty)| Event::Fill(fill(&id.to_string(), qty))),
        1 => code().prop_map(|code| Event::Reject { code }),
        1 => code().prop_map(|code| Event::Cancel { code }),
        1 => code().prop_map(|code| Event::Expire { code }),
        1 => code().prop_map(|code| Event::LoseTrack { code }),
        1 => code().prop_map(|code| Event::Park { code }),
    ]
}

proptest! {
    #[test]
    fn the_laws_of_an_order_hold_for_any_events(
        events in proptest::collection::vec(any_event(), 0..60))
    {
        let mut now = Order::new(100.into(), TimeInForce::Gtc);
        let mut releases = 0;
        for event in events {
            let before = now.clone();
            let Ok(step) = before.apply(&event) else { continue };
            now = step.order.clone();
            // A repeat of the same event right after it moves nothing.
            if let Ok(again) = now.apply(&event) {
                prop_assert!(!again.moved, "{} twice", event.label());
            }
            prop_assert!(now.executed_qty() >= before.executed_qty(), "executed only grows");
            prop_assert!(before.status.is_final() <= (now.status == before.status));
            prop_assert!(now.status != Filled || now.executed_qty() >= now.qty);
            let over = step.actions.contains(&Action::HaltSymbol);
            prop_assert_eq!(over, step.moved && step.last_fill.is_some() && now.executed_qty() > now.qty);
            let booked = step.actions.iter().any(|a| matches!(a, Action::Book(_)));
            prop_assert_eq!(booked, now.executed_qty() > before.executed_qty());
            releases += step.actions.iter().filter(|a| **a == Action::Release).count();
            prop_assert!(releases <= 1, "a reservation is released once");
            prop_assert!(step.moved || now.status == before.status);
        }
    }
}
