use super::*;

fn limit(calls: &[CallKind], max: u32) -> RateLimit {
    RateLimit { calls: calls.to_vec(), max, per_ms: 60_000, burst: 1 }
}

fn pace(limits: &[RateLimit]) -> Pace {
    let pace = Pace::new(Arc::new(Metrics::default()));
    pace.limit(limits);
    pace
}

/// A time at which every bucket has something.
fn later() -> Boot {
    boot().after(Duration::from_secs(3_600))
}

const AT_ONCE: Duration = Duration::from_millis(50);

#[tokio::test]
async fn f57_without_limits_nobody_waits_and_with_one_only_who_it_counts() {
    let pace = pace(&[]);
    pace.turn(CallKind::Order, Rank::Later).await;
    pace.limit(&[limit(&[CallKind::Order], 1)]);
    pace.turn(CallKind::Query, Rank::Later).await;
    let order = tokio::time::timeout(AT_ONCE, pace.turn(CallKind::Order, Rank::First)).await;
    assert!(order.is_err(), "a bucket begins empty");
    assert!(pace.state().waiting.is_empty(), "given up, it waits no more");
}

#[tokio::test]
async fn f57_while_the_broker_asks_for_peace_nobody_calls_it_and_the_longest_wish_counts() {
    let pace = pace(&[]);
    pace.keep_quiet(Duration::from_secs(60), "rate_limited");
    pace.keep_quiet(Duration::from_millis(1), "rate_limited");
    assert!(pace.is_quiet());
    for (call, rank) in [(CallKind::Cancel, Rank::First), (CallKind::Events, Rank::Later)] {
        assert!(tokio::time::timeout(AT_ONCE, pace.turn(call, rank)).await.is_err(), "{call:?}");
    }
    let brief = self::pace(&[]);
    brief.keep_quiet(Duration::from_millis(20), "unavailable");
    brief.turn(CallKind::Order, Rank::Later).await;
    assert!(!brief.is_quiet());
}

#[test]
fn f57_what_takes_risk_away_goes_before_what_came_earlier_and_opens() {
    use CallKind::*;
    let pace = pace(&[limit(&[Order, Cancel], 1)]);
    let opens = pace.place(Order, Rank::Later);
    let also_opens = pace.place(Order, Rank::Later);
    let reduces = pace.place(Order, Rank::First);
    let now = later();
    let waits = |place: &Place<'_>| pace.state().wait(place.ticket, Order, now).is_some();
    assert_eq!([waits(&opens), waits(&also_opens), waits(&reduces)], [true, true, false]);
    let cancel = pace.place(Cancel, Rank::First);
    assert!(pace.state().wait(cancel.ticket, Cancel, now).is_some(), "behind what came earlier");
    drop(reduces);
    assert!(pace.state().wait(cancel.ticket, Cancel, now).is_none());
    drop(cancel);
    assert_eq!([waits(&opens), waits(&also_opens)], [false, true]);
}

#[test]
fn f57_who_is_held_back_by_a_limit_of_its_own_holds_nobody_else_back() {
    use CallKind::*;
    let pace = pace(&[limit(&[Cancel], 1), limit(&[Order, Cancel], 600)]);
    // The second limit has something again after 0.1 s, the first after a minute.
    let now = boot().after(Duration::from_secs(1));
    let cancel = pace.place(Cancel, Rank::First);
    let order = pace.place(Order, Rank::Later);
    assert!(pace.state().wait(cancel.ticket, Cancel, now).is_some());
    assert!(pace.state().wait(order.ticket, Order, now).is_none());
}

#[test]
fn f57_there_is_room_for_few_that_wait_and_for_all_without_a_limit_on_orders() {
    use CallKind::*;
    let pace = pace(&[limit(&[Order], 1)]);
    assert_eq!(pace.room(2), 2);
    let places = [(Order, Rank::Later), (Order, Rank::First), (Query, Rank::Later)];
    let _waiting = places.map(|(call, rank)| pace.place(call, rank));
    assert_eq!(pace.room(2), 1, "only what opens counts");
    pace.limit(&[limit(&[Query], 1)]);
    assert_eq!(pace.room(2), usize::MAX);
}
