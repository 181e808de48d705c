//! What follows from an attempt to deliver a message, and when messages are due.
//! Never promises what a receiver cannot keep. Invariant: a message that may have arrived is sent again only if it may be
//! repeated: under an id by which the receiver knows it, or because silence would be worse.

use jiff::{SignedDuration, Timestamp};

use super::letter::Letter;
use super::routes::{Kind, Pace};

/// Longest pause that a receiver may ask for.
const RETRY_AFTER_MAX: SignedDuration = SignedDuration::from_hours(1);
/// Messages about CRITICAL conditions on their way to one receiver at one time; then they are gathered, too.
const CRITICAL_OUTSTANDING_MAX: i64 = 10;

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The receiver has answered, and asked for so long a pause.
    Status(u16, Option<SignedDuration>),
    /// No byte of the message has left.
    NothingLeft(String),
    /// It may have arrived or not.
    Lost(String),
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// It has arrived.
    Delivered,
    /// The receiver wants no more (410).
    Gone,
    /// It will not arrive.
    Failed(String),
    /// It may have arrived, and is not sent again.
    Unknown(String),
    /// It is sent again after this long; what was wrong, and whether it may have arrived.
    Again(SignedDuration, String, bool),
}

/// Whether a message may be sent again when nobody knows whether it arrived. A webhook's receiver knows it by its id.
/// Slack knows no ids: there only what would be missed is repeated, that something CRITICAL holds.
pub fn repeats(kind: Kind, letter: &Letter) -> bool {
    kind == Kind::Webhook || letter.is_critical()
}

/// What follows from an answer to the `attempts`-th attempt of a message this old; `chance` is 0..1, for the pause.
pub fn next(
    answer: Answer,
    repeats: bool,
    attempts: u32,
    age: SignedDuration,
    pace: &Pace,
    chance: f64,
) -> Next {
    let (why, asked, may_have_arrived) = match answer {
        Answer::Status(200..=299, _) => return Next::Delivered,
        Answer::Status(410, _) => return Next::Gone,
        // It is the message that they do not like: it would never go.
        Answer::Status(status @ (400 | 413 | 415 | 422), _) => {
            return Next::Failed(format!("HTTP {status}"));
        }
        // Somebody in between says that he got no answer.
        Answer::Status(status @ (502 | 504), asked) => (format!("HTTP {status}"), asked, true),
        Answer::Status(status, asked) => (format!("HTTP {status}"), asked, false),
        Answer::NothingLeft(why) => (why, None, false),
        Answer::Lost(why) => (why, None, true),
    };
    if may_have_arrived && !repeats {
        return Next::Unknown(why);
    }
    let pause = pause(attempts, pace, chance).max(asked.unwrap_or_default().min(RETRY_AFTER_MAX));
    if age.saturating_add(pause) > SignedDuration::from_secs(i64::from(pace.give_up_s)) {
        return Next::Failed(format!("{why}, after {attempts} attempts"));
    }
    Next::Again(pause, why, may_have_arrived)
}

/// 1 s, 2 s, 4 s … and no more than the most, each ± 20 %.
fn pause(attempts: u32, pace: &Pace, chance: f64) -> SignedDuration {
    let most_ms = f64::from(pace.retry_max_s) * 1_000.0;
    let doubled =
        1_000.0 * 2f64.powi(i32::try_from(attempts.saturating_sub(1).min(20)).unwrap_or(20));
    let ms = doubled.min(most_ms) * (0.8 + 0.4 * chance.clamp(0.0, 1.0));
    SignedDuration::from_millis(ms as i64)
}

/// What waits for a receiver, and what it was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waiting {
    /// Since when something CRITICAL waits.
    pub critical_since: Option<Timestamp>,
    /// Since when something else waits.
    pub others_since: Option<Timestamp>,
    /// When the last message about something CRITICAL was made.
    pub critical_made: Option<Timestamp>,
    /// When the last of the others was made.
    pub others_made: Option<Timestamp>,
    /// Messages about something CRITICAL on their way.
    pub critical_outstanding: i64,
    /// The others on their way.
    pub others_outstanding: i64,
}

impl Waiting {
    /// Whether a message about what is CRITICAL is to be made now. It waits for no other message.
    pub fn is_critical_due(&self, now: Timestamp, pace: &Pace) -> bool {
        self.critical_outstanding < CRITICAL_OUTSTANDING_MAX
            && due(self.critical_since, pace.critical_flush_s, self.critical_made, pace, now)
    }

    /// Whether a message about the others is to be made now: one at a time, so that they gather while one is on its way.
    pub fn are_others_due(&self, now: Timestamp, pace: &Pace) -> bool {
        self.others_outstanding == 0
            && due(self.others_since, pace.flush_s, self.others_made, pace, now)
    }
}

fn due(
    since: Option<Timestamp>,
    gather_s: u32,
    made: Option<Timestamp>,
    pace: &Pace,
    now: Timestamp,
) -> bool {
    let passed = |from: Timestamp, s: u32| {
        now.duration_since(from) >= SignedDuration::from_secs(i64::from(s))
    };
    since.is_some_and(|since| passed(since, gather_s))
        && made.is_none_or(|made| passed(made, pace.flush_s))
}
