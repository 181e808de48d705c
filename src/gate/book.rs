//! Owns which of the quotes that came counts at a moment, for every symbol. Pure.
//! Never lets a quote whose time has not come stand before one that is usable, and never falls back from a newer
//! quote that is bad to an older one that is not. Invariant: at most two quotes of a symbol are kept.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::domain::event::Quote;
use crate::domain::risk::is_ahead;
use crate::domain::text::Symbol;

/// Quotes by symbol.
#[derive(Debug, Default)]
pub struct Book(HashMap<Symbol, Kept>);

/// What is kept of a symbol.
#[derive(Debug, Clone, Copy, Default)]
struct Kept {
    /// The newest quote whose time had come when it was looked at.
    newest: Option<Quote>,
    /// Of those more than 5 s ahead the one whose time comes first: a clock that is always ahead would put off
    /// the newest of them for ever.
    ahead: Option<Quote>,
}

impl Kept {
    /// A late quote does not replace a newer one; of two of one time the later arrival counts.
    fn take(&mut self, quote: Quote) {
        if self.newest.is_none_or(|newest| quote.at >= newest.at) {
            self.newest = Some(quote);
        }
    }

    /// The same at a later moment: the time of the quote that was ahead may have come.
    fn at(mut self, now: Timestamp) -> Self {
        if let Some(due) = self.ahead.take_if(|quote| !is_ahead(quote, now)) {
            self.take(due);
        }
        self
    }
}

/// What a quote was when it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// Its time has come; it counts unless a newer one is known.
    InTime,
    /// More than 5 s ahead; `first`: none was before it.
    Ahead {
        /// Whether no other quote of the symbol waits for its time.
        first: bool,
    },
}

impl Book {
    /// Takes a quote, good or bad.
    pub fn take(&mut self, symbol: Symbol, quote: Quote, now: Timestamp) -> Came {
        let kept = self.0.entry(symbol).or_default();
        *kept = kept.at(now);
        if !is_ahead(&quote, now) {
            kept.take(quote);
            return Came::InTime;
        }
        let first = kept.ahead.is_none();
        if kept.ahead.is_none_or(|ahead| quote.at <= ahead.at) {
            kept.ahead = Some(quote);
        }
        Came::Ahead { first }
    }

    /// The newest quote of a symbol at this moment, usable or not. One that is ahead is told only if there is no
    /// other, so that a decision can say what was wrong with it.
    pub fn newest(&self, symbol: &Symbol, now: Timestamp) -> Option<Quote> {
        let kept = self.0.get(symbol)?.at(now);
        kept.newest.or(kept.ahead)
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use rust_decimal::Decimal;

    use super::*;
    use crate::domain::risk::is_usable;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn s(seconds: i64) -> Timestamp {
        NOW + SignedDuration::from_secs(seconds)
    }

    /// A quote of that second; its bid tells it from others.
    fn quote(bid: i64, second: i64) -> Quote {
        Quote { bid: bid.into(), ask: Decimal::from(bid) + Decimal::ONE, at: s(second) }
    }

    fn book(quotes: &[(Quote, i64)]) -> (Book, Symbol) {
        let (mut book, symbol) = (Book::default(), Symbol::new("USDJPY").expect("a symbol"));
        for (quote, came) in quotes {
            book.take(symbol.clone(), *quote, s(*came));
        }
        (book, symbol)
    }

    #[test]
    fn a_quote_from_the_future_does_not_stand_before_one_that_comes_later_and_is_of_now() {
        let (book, symbol) = book(&[(quote(1, 3_600), 0), (quote(2, 1), 1)]);
        assert_eq!(book.newest(&symbol, s(1)), Some(quote(2, 1)));
        let (book, symbol) = self::book(&[(quote(2, 1), 1), (quote(1, 3_600), 2)]);
        assert_eq!(book.newest(&symbol, s(2)), Some(quote(2, 1)), "nor before one that was there");
    }

    #[test]
    fn a_quote_that_was_ahead_counts_when_its_time_comes() {
        let (book, symbol) = book(&[(quote(1, 0), 0), (quote(2, 20), 1)]);
        assert_eq!(book.newest(&symbol, s(14)), Some(quote(1, 0)));
        assert_eq!(book.newest(&symbol, s(15)), Some(quote(2, 20)), "5 s ahead is in time");
        assert!(is_usable(&quote(2, 20), 60, s(15)));
        let alone = self::book(&[(quote(2, 20), 1)]);
        let told = alone.0.newest(&alone.1, s(2)).expect("it is told");
        assert!(!is_usable(&told, 60, s(2)), "and not usable");
    }

    #[test]
    fn a_quote_whose_time_comes_does_not_replace_a_newer_one() {
        let (book, symbol) = book(&[(quote(1, 10), 0), (quote(2, 30), 30)]);
        assert_eq!(book.newest(&symbol, s(31)), Some(quote(2, 30)));
    }

    #[test]
    fn a_clock_that_is_always_ahead_delays_quotes_and_does_not_keep_them_out() {
        let ticks: Vec<(Quote, i64)> = (0..60).map(|n| (quote(n + 1, n + 8), n)).collect();
        let (book, symbol) = book(&ticks);
        let newest = book.newest(&symbol, s(59)).expect("there is one");
        assert!(is_usable(&newest, 10, s(59)), "{newest:?}");
    }

    #[test]
    fn a_bad_quote_that_is_newest_is_not_passed_over_for_an_older_good_one() {
        for bad in [
            Quote { bid: Decimal::from(3), ..quote(1, 5) },
            Quote { bid: Decimal::ZERO, ..quote(1, 5) },
            Quote { ask: Decimal::ZERO, ..quote(1, 5) },
        ] {
            let (book, symbol) = book(&[(quote(1, 4), 4), (bad, 5)]);
            assert_eq!(book.newest(&symbol, s(6)), Some(bad));
            assert!(!is_usable(&bad, 60, s(6)));
            let (book, symbol) = self::book(&[(quote(1, 4), 4), (bad, 5), (quote(2, 5), 6)]);
            assert_eq!(
                book.newest(&symbol, s(6)),
                Some(quote(2, 5)),
                "of one time the last counts"
            );
        }
    }

    #[test]
    fn a_late_quote_does_not_replace_a_newer_one() {
        let (book, symbol) = book(&[(quote(1, 5), 5), (quote(2, 4), 6)]);
        assert_eq!(book.newest(&symbol, s(6)), Some(quote(1, 5)));
    }

    #[test]
    fn what_came_ahead_is_told_apart() {
        let (mut book, symbol) = book(&[]);
        let mut came = |quote: Quote, at: i64| book.take(symbol.clone(), quote, s(at));
        assert_eq!(came(quote(1, 5), 0), Came::InTime);
        assert_eq!(came(quote(1, 6), 0), Came::Ahead { first: true });
        assert_eq!(came(quote(1, 7), 0), Came::Ahead { first: false });
        assert_eq!(came(quote(1, 9), 2), Came::Ahead { first: true }, "the one before is due");
    }
}
