//! Owns how many records of a partition are refused one after the other, or of those of the last minutes (F18).
//! Never makes anything of a record: what is refused is a dead letter all the same. At most it lets a partition wait,
//! if that is asked for, and then only for what our own keys have signed: whoever may write to the topic and has no
//! key must not be able to stop one. Invariant: what is kept of a partition does not grow with its records.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::json;

use super::herald::Herald;
use super::intake::signer;
use crate::domain::event::Severity;
use crate::domain::news::{News, minute_of};
use crate::kafka::record::Record;
use crate::pg::positions::Place;
use crate::runtime::clock;
use crate::runtime::config::{self, FloodAction};
use crate::runtime::context::Context;
use crate::runtime::secrets::Secrets;

/// The window is counted in so many parts; the oldest is forgotten whole.
const PARTS: u32 = 30;

/// The floods of a gate's partitions.
pub struct Floods {
    ctx: Context,
    herald: Herald,
    seen: HashMap<Place, Flood>,
}

impl Floods {
    /// Has seen nothing.
    pub fn new(ctx: &Context, herald: &Herald) -> Self {
        Self { ctx: ctx.clone(), herald: herald.clone(), seen: HashMap::new() }
    }

    /// For how long the partition of this record is not read.
    pub fn pause(&self, record: &Record) -> Option<Duration> {
        self.seen.get(&place_of(record))?.left(Instant::now())
    }

    /// Which partition waits because of a flood, and for how long.
    pub fn problem(&self) -> Option<String> {
        let now = Instant::now();
        let waits = |(place, flood): (&Place, &Flood)| Some((place.clone(), flood.left(now)?));
        let (place, left) = self.seen.iter().filter_map(waits).min_by_key(|(_, left)| *left)?;
        let (topic, partition) = (place.topic, place.partition);
        let seconds = left.as_secs();
        Some(format!("a flood of refused records: {topic}/{partition} waits for {seconds} s more"))
    }

    /// Notes a record that is a request.
    pub fn good(&mut self, record: &Record) {
        let limits = limits(&self.ctx.config.gate);
        let flood = self.seen.entry(place_of(record)).or_default();
        let was_told = flood.is_told;
        flood.note(Came::Good, &limits, Instant::now());
        if was_told != flood.is_told {
            tracing::info!(topic = &*record.topic, partition = record.partition, "a flood is over");
            self.gauge();
        }
    }

    /// Notes a record that is refused.
    pub fn refused(&mut self, record: &Record, secrets: &Secrets) {
        let limits = limits(&self.ctx.config.gate);
        // Of what is too large nobody asks who has signed it: that alone would be work.
        let most = self.ctx.config.gate.value_max_bytes;
        let value = record.value.as_deref().filter(|value| value.len() <= most);
        let signed = value.map(|value| signer(record, value, &self.ctx.config, secrets));
        let is_ours = matches!(signed, Some(Ok(Some(_))));
        let place = place_of(record);
        let flood = self.seen.entry(place.clone()).or_default();
        let noted = flood.note(Came::Refused { is_ours }, &limits, Instant::now());
        let tells = noted.begins.then(|| flood.counted());
        self.gauge();
        let (topic, partition) = (&*place.topic, place.partition);
        if noted.pauses {
            let pause_s = limits.pause.as_secs();
            tracing::error!(topic, partition, pause_s, "a flood of refused records: it waits");
        }
        if let Some((in_a_row, refused, read)) = tells {
            tracing::error!(
                topic,
                partition,
                in_a_row,
                refused,
                read,
                "a flood of refused records"
            );
            self.herald.tell(News {
                policy_name: "gate.flooded".into(),
                severity: Severity::Critical,
                subject: &format!("{} {partition} {}", place.topic_id, self.ctx.worker),
                window_start: minute_of(clock::now()),
                reason: format!(
                    "of the last {read} records of {topic}/{partition} {refused} were refused, {in_a_row} in a row"
                ),
                details: json!({
                    "topic": topic, "partition": partition, "worker": &*self.ctx.worker,
                    "read": read, "refused": refused, "in_a_row": in_a_row,
                }),
            });
        }
    }

    fn gauge(&self) {
        let flooded = self.seen.values().filter(|flood| flood.is_told).count();
        self.ctx.metrics.gate_flooded.set(i64::try_from(flooded).unwrap_or(i64::MAX));
    }
}

fn place_of(record: &Record) -> Place {
    let (topic_id, topic) = (record.topic_id.clone(), record.topic.clone());
    Place { topic_id, topic, partition: record.partition }
}

/// When it is a flood; 0 turns a limit off.
struct Limits {
    in_a_row: u64,
    percent: u64,
    of_at_least: u64,
    window: Duration,
    action: FloodAction,
    pause: Duration,
}

fn limits(gate: &config::Gate) -> Limits {
    Limits {
        in_a_row: gate.flood_in_a_row,
        percent: gate.flood_percent,
        of_at_least: gate.flood_of_at_least,
        window: Duration::from_secs(gate.flood_window_s),
        action: gate.flood_action,
        pause: Duration::from_secs(gate.flood_pause_s),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Came {
    Good,
    /// `is_ours`: signed well, by a key of the ring.
    Refused {
        is_ours: bool,
    },
}

/// What follows from a record.
#[derive(Debug, Default, PartialEq, Eq)]
struct Noted {
    /// It is a flood since this record: to be told.
    begins: bool,
    /// The partition is not read for a while.
    pauses: bool,
}

/// What is known of one partition.
#[derive(Default)]
struct Flood {
    all: Counts,
    /// Without what nobody of ours has signed.
    ours: Counts,
    is_told: bool,
    until: Option<Instant>,
}

impl Flood {
    fn note(&mut self, came: Came, limits: &Limits, now: Instant) -> Noted {
        let is_refused = came != Came::Good;
        self.all.note(is_refused, limits.window, now);
        if came != (Came::Refused { is_ours: false }) {
            self.ours.note(is_refused, limits.window, now);
        }
        let is_flood = self.all.is_flood(limits);
        let begins = is_flood && !self.is_told;
        // One that goes on after a pause, or just below a limit, is the same.
        self.is_told = is_flood || self.is_told && (is_refused || !self.all.is_calm(limits));
        let pauses = limits.action == FloodAction::Pause && self.ours.is_flood(limits);
        if pauses {
            self.until = now.checked_add(limits.pause);
            // What comes after the pause is tried: as many again until the next one.
            self.ours = Counts::default();
        }
        Noted { begins, pauses }
    }

    /// For how long it waits.
    fn left(&self, now: Instant) -> Option<Duration> {
        let left = self.until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// In a row, and of the window refused and read.
    fn counted(&self) -> (u64, u64, u64) {
        let (refused, read) = self.all.of_window();
        (self.all.in_a_row, refused, read)
    }
}

/// Records, and those of them that were refused.
#[derive(Default)]
struct Counts {
    in_a_row: u64,
    parts: VecDeque<Part>,
}

struct Part {
    began: Instant,
    refused: u64,
    read: u64,
}

impl Counts {
    fn note(&mut self, is_refused: bool, window: Duration, now: Instant) {
        self.in_a_row = if is_refused { self.in_a_row + 1 } else { 0 };
        while self.parts.front().is_some_and(|part| now.duration_since(part.began) >= window) {
            self.parts.pop_front();
        }
        let is_new =
            self.parts.back().is_none_or(|part| now.duration_since(part.began) >= window / PARTS);
        if is_new {
            self.parts.push_back(Part { began: now, refused: 0, read: 0 });
        }
        if let Some(part) = self.parts.back_mut() {
            part.read += 1;
            part.refused += u64::from(is_refused);
        }
    }

    fn of_window(&self) -> (u64, u64) {
        self.parts
            .iter()
            .fold((0, 0), |(refused, read), part| (refused + part.refused, read + part.read))
    }

    fn is_flood(&self, limits: &Limits) -> bool {
        let (refused, read) = self.of_window();
        let in_a_row = limits.in_a_row > 0 && self.in_a_row >= limits.in_a_row;
        let of_many = limits.percent > 0
            && read >= limits.of_at_least
            && refused * 100 > read * limits.percent;
        in_a_row || of_many
    }

    /// Whether not even half of what is borne was refused.
    fn is_calm(&self, limits: &Limits) -> bool {
        let (refused, read) = self.of_window();
        read < limits.of_at_least || refused * 200 <= read * limits.percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Came = Came::Good;
    const BAD: Came = Came::Refused { is_ours: true };
    const FORGED: Came = Came::Refused { is_ours: false };

    fn limits(action: FloodAction) -> Limits {
        Limits {
            in_a_row: 5,
            percent: 10,
            of_at_least: 40,
            window: Duration::from_secs(300),
            action,
            pause: Duration::from_secs(60),
        }
    }

    /// At which of these records, one a second, something is told, and at which the partition is paused.
    fn noted(records: &[Came], limits: &Limits) -> (Vec<usize>, Vec<usize>) {
        let (mut flood, start) = (Flood::default(), Instant::now());
        let (mut told, mut paused) = (Vec::new(), Vec::new());
        for (at, came) in records.iter().enumerate() {
            let noted = flood.note(*came, limits, start + Duration::from_secs(at as u64));
            told.extend(noted.begins.then_some(at));
            paused.extend(noted.pauses.then_some(at));
        }
        (told, paused)
    }

    #[test]
    fn f18_so_many_in_a_row_are_a_flood_that_is_told_once_until_it_is_over() {
        let alert = limits(FloodAction::Alert);
        assert_eq!(noted(&[BAD; 4], &alert), (vec![], vec![]));
        assert_eq!(noted(&[BAD; 30], &alert), (vec![4], vec![]));
        assert_eq!(noted(&[FORGED; 30], &alert), (vec![4], vec![]), "whoever sent them");
        let apart = [BAD, BAD, BAD, BAD, GOOD].repeat(2);
        assert_eq!(noted(&apart, &alert).0, Vec::<usize>::new(), "a good one between them");
        let twice = [&[BAD; 6][..], &[GOOD], &[BAD; 6]].concat();
        assert_eq!(noted(&twice, &alert).0, [4, 11], "it was over in between");
        let off = Limits { in_a_row: 0, percent: 0, ..limits(FloodAction::Pause) };
        assert_eq!(noted(&[BAD; 500], &off), (vec![], vec![]));
    }

    #[test]
    fn f18_more_than_so_many_of_a_hundred_are_a_flood_once_there_are_enough() {
        let alert = limits(FloodAction::Alert);
        // Exactly one of ten is borne; a little more is not, from the fortieth record on.
        let tenth = [&[GOOD; 9][..], &[BAD]].concat().repeat(30);
        assert_eq!(noted(&tenth, &alert).0, Vec::<usize>::new());
        let ninth = [&[GOOD; 8][..], &[BAD]].concat().repeat(30);
        assert_eq!(noted(&ninth, &alert).0, [44]);
        // What lies longer ago than the window does not count.
        let later = [&ninth[..], &[GOOD; 400], &ninth[..], &ninth[..]].concat();
        let told = noted(&later, &alert).0;
        assert_eq!((told.len(), told[0]), (2, 44), "{told:?}");
        let off = Limits { percent: 0, ..alert };
        assert_eq!(noted(&ninth, &off).0, Vec::<usize>::new());
    }

    #[test]
    fn f18_only_what_our_keys_have_signed_lets_a_partition_wait() {
        let pause = limits(FloodAction::Pause);
        assert_eq!(noted(&[FORGED; 500], &pause), (vec![4], vec![]), "told and not waited for");
        let mixed = [BAD, FORGED].repeat(5);
        assert_eq!(noted(&mixed, &pause), (vec![4], vec![8]), "forged ones do not count");
        // Tried after each pause, and told once.
        assert_eq!(noted(&[BAD; 15], &pause), (vec![4], vec![4, 9, 14]));
    }

    #[test]
    fn f18_a_pause_ends_by_itself_and_what_is_kept_does_not_grow() {
        let (mut flood, start, pause) =
            (Flood::default(), Instant::now(), limits(FloodAction::Pause));
        for _ in 0..5 {
            flood.note(BAD, &pause, start);
        }
        assert_eq!(flood.left(start), Some(Duration::from_secs(60)));
        assert_eq!(flood.left(start + Duration::from_secs(59)), Some(Duration::from_secs(1)));
        assert_eq!(flood.left(start + Duration::from_secs(60)), None);
        for second in 0..10_000 {
            flood.note(GOOD, &pause, start + Duration::from_secs(second));
        }
        assert!(flood.all.parts.len() <= PARTS as usize + 1, "{}", flood.all.parts.len());
        assert_eq!(flood.counted(), (0, 0, flood.all.of_window().1));
    }
}
