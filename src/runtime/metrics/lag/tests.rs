use prometheus::Opts;
use prometheus::core::Collector;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).expect("a time")
}

/// `(records, seconds)` of the only partition; none if none is told of.
fn told(lag: &Lag, now: i64) -> Option<(i64, f64)> {
    let labels = ["role", "topic", "partition"];
    let records = IntGaugeVec::new(Opts::new("r", "r"), &labels).expect("valid");
    let seconds = GaugeVec::new(Opts::new("s", "s"), &labels).expect("valid");
    records.with_label_values(&["old", "gone", "9"]).set(7);
    lag.tell(&records, &seconds, at(now));
    let families = records.collect();
    let series = families[0].get_metric();
    assert_eq!(series.len(), seconds.collect()[0].get_metric().len());
    let one = series.first()?;
    assert_eq!(series.len(), 1);
    let labels: Vec<&str> = one.get_label().iter().map(|label| label.value()).collect();
    assert_eq!(labels, ["0", "gate", "t"], "by name: partition, role, topic");
    let seconds = seconds.collect()[0].get_metric()[0].get_gauge().get_value();
    Some((one.get_gauge().get_value() as i64, seconds))
}

fn topic() -> Arc<str> {
    "t".into()
}

#[test]
fn a_partition_is_told_of_from_when_it_is_known_until_it_is_given_away() {
    let (lag, t) = (Lag::default(), topic());
    let place = (&t, 0);
    lag.end("gate", place, 5, at(0));
    assert_eq!(told(&lag, 0), None, "it is not ours");
    lag.taken("gate", place, 2);
    assert_eq!(told(&lag, 0), None, "nobody has said where it ends");
    lag.end("gate", place, 5, at(10));
    assert_eq!(told(&lag, 14), Some((3, 4.0)), "heard of 4 s ago");
    lag.gone("gate", place);
    assert_eq!(told(&lag, 14), None, "gone at once");
    // What was on its way when it was given away does not bring it back.
    lag.done("gate", place, 5);
    lag.read("gate", place, 6, at(14));
    lag.end("gate", place, 9, at(14));
    assert_eq!(told(&lag, 14), None);
}

#[test]
fn the_oldest_record_that_is_not_done_says_for_how_long_a_reader_is_behind() {
    let (lag, t) = (Lag::default(), topic());
    let place = (&t, 0);
    lag.taken("gate", place, 0);
    lag.end("gate", place, 3, at(100));
    for (offset, since) in [(0, 40), (1, 50), (2, 60)] {
        lag.read("gate", place, offset, at(since));
    }
    assert_eq!(told(&lag, 100), Some((3, 60.0)));
    lag.done("gate", place, 1);
    assert_eq!(told(&lag, 100), Some((2, 50.0)));
    // Dropped and read again: still the same record.
    lag.taken("gate", place, 1);
    lag.read("gate", place, 1, at(50));
    assert_eq!(told(&lag, 130), Some((2, 80.0)), "it goes on while nothing is done");
    lag.done("gate", place, 3);
    assert_eq!(told(&lag, 130), Some((0, 0.0)));
}

#[test]
fn records_that_were_not_read_are_dated_by_when_they_were_heard_of() {
    let (lag, t) = (Lag::default(), topic());
    let place = (&t, 0);
    lag.taken("gate", place, 0);
    for second in 0..1_000 {
        lag.end("gate", place, second + 1, at(second));
    }
    assert_eq!(told(&lag, 1_000), Some((1_000, 1_000.0)));
    lag.done("gate", place, 500);
    let (records, seconds) = told(&lag, 1_000).expect("it is ours");
    assert_eq!(records, 500);
    // Few of the ends are kept: the time may be that of a neighbour.
    assert!((480.0..=500.0).contains(&seconds), "{seconds}");
    assert!(lag.parts().values().all(|part| part.ends.len() <= ENDS_MAX));
}

#[test]
fn a_partition_that_was_moved_back_forgets_what_it_knew() {
    let (lag, t) = (Lag::default(), topic());
    let place = (&t, 0);
    lag.taken("gate", place, 10);
    lag.read("gate", place, 10, at(5));
    lag.end("gate", place, 11, at(6));
    lag.taken("gate", place, 0);
    assert_eq!(told(&lag, 20), None, "until Kafka speaks again");
    lag.end("gate", place, 11, at(20));
    assert_eq!(told(&lag, 20), Some((11, 0.0)));
    lag.read("gate", place, 0, at(1));
    assert_eq!(told(&lag, 20), Some((11, 19.0)));
}
