//! A dispatch worker: rounds of settling, renewing and taking lanes, heeding, claiming, cancelling, asking. What is
//! decided in them is the product's; what is here is what `dispatch::run` and `Lanes` do around it, step by step.

mod round;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::chance::Chance;
use super::fault::Fault;
use super::flight::{Flight, Task};
use super::plan::MS;
use super::{Event, Worker, World};
use crate::dispatch::broker::protocol::OrderView;
use crate::dispatch::fence::Lease;
use crate::dispatch::fold::Outcome;
use crate::pg::lanes::{HeldLane, LaneKey};
use crate::pg::risk::HaltRow;
use crate::runtime::clock::Boot;

/// Pause between two rounds of a sender with nothing to do; it grows to a third of the lease.
const IDLE_US: u64 = 50 * MS;
/// Pause after a failed round.
const RETRY: u64 = 250 * MS;
/// Pause between two looks for lanes that nobody holds.
const LOOK: u64 = 300 * MS;
/// Pause between two reads of the halts.
const READ: u64 = 50 * MS;
/// Longest pause of a lane whose sends do not leave, milliseconds.
const PAUSE_MAX_MS: u64 = 5_000;
/// Orders of one lane claimed together from a broker that dedupes.
const PER_LANE_DEDUPED: usize = 16;

/// One step of a sender's round, or of what goes on beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SenderStep {
    Settles,
    Renews,
    Takes,
    /// Settles what it found in lanes that it has just taken.
    TakesOver,
    Doubts,
    Heeds,
    Claims,
    Cancels,
    Asks,
    ReadsHalts,
}

impl SenderStep {
    /// The one after it, of a round in which it has nothing to do.
    fn next(self) -> Option<Self> {
        use SenderStep::*;
        Some(match self {
            Settles => Renews,
            Renews => Takes,
            Takes => TakesOver,
            TakesOver => Doubts,
            Doubts => Heeds,
            Heeds => Claims,
            Claims => Cancels,
            Cancels => Asks,
            Asks | ReadsHalts => return None,
        })
    }

    /// Whether it ends with a commit.
    fn commits(self) -> bool {
        use SenderStep::*;
        matches!(self, Settles | Takes | TakesOver | Doubts | Claims)
    }
}

/// A lane in hand, as `dispatch::lanes` has it.
pub struct Lane {
    pub epoch: i64,
    pub lease: Arc<Lease>,
    busy: bool,
    pause_ms: u64,
    not_before: Option<u64>,
    worked_at: u64,
    /// Something in it may be to be sent.
    moves: bool,
    /// There was nothing to claim in it.
    barren: bool,
}

impl Lane {
    /// Whether it takes a place among those in which something moves, as in `dispatch::lanes`.
    fn counts(&self) -> bool {
        self.busy || self.moves && !self.barren
    }
}

/// Something that a flight came back with.
pub struct Landed {
    pub lane: Option<LaneKey>,
    pub cancel: Option<String>,
    pub outcomes: Vec<Outcome>,
}

/// What is known of the halts.
#[derive(Clone)]
pub struct Seen {
    pub at: Boot,
    pub halts: Vec<HaltRow>,
    pub number: i64,
}

/// A sender.
pub struct Sender {
    pub life: u32,
    pub is_down: bool,
    pub asleep_until: u64,
    pub skew_us: i64,
    pub name: String,
    which: usize,
    boot_us: u64,
    pub lanes: BTreeMap<LaneKey, Lane>,
    taking: Vec<(HeldLane, Boot)>,
    findings: Vec<Outcome>,
    renewed: Option<u64>,
    looked: Option<u64>,
    in_doubt: bool,
    pub landed: Vec<Landed>,
    pub flights: BTreeMap<u64, Flight>,
    asking: BTreeSet<String>,
    cancelling: BTreeSet<String>,
    pub seen: Option<Seen>,
    told: Option<i64>,
    ear: BTreeMap<String, Vec<OrderView>>,
    /// The event of its round that counts: any older one was overtaken by a wake-up.
    pub round: (u64, SenderStep),
    /// Whether its round waits for nothing but time.
    idles: bool,
    idle_us: u64,
    /// When the statement of the step at hand was sent.
    asked_us: u64,
    pub reads_halts: bool,
}

impl Sender {
    pub fn new(which: usize, chance: &mut Chance) -> Self {
        Self {
            life: 0,
            is_down: true,
            asleep_until: 0,
            skew_us: chance.around(200_000),
            name: String::new(),
            which,
            boot_us: 0,
            lanes: BTreeMap::new(),
            taking: Vec::new(),
            findings: Vec::new(),
            renewed: None,
            looked: None,
            in_doubt: false,
            landed: Vec::new(),
            flights: BTreeMap::new(),
            asking: BTreeSet::new(),
            cancelling: BTreeSet::new(),
            seen: None,
            told: None,
            ear: BTreeMap::new(),
            round: (0, SenderStep::Settles),
            idles: false,
            idle_us: IDLE_US,
            asked_us: 0,
            reads_halts: false,
        }
    }

    /// A new process on a machine that has been up for so long.
    pub fn starts(&mut self, boot_us: u64) {
        let (which, life, skew_us) = (self.which, self.life + 1, self.skew_us);
        let fresh = Self::new(which, &mut Chance::new(0));
        let name = format!("sender-{which}.{life}");
        *self = Self { life, is_down: false, skew_us, name, boot_us, reads_halts: true, ..fresh };
    }

    /// Its clock that runs on while it sleeps.
    pub fn boot(&self, at_us: u64) -> Boot {
        Boot::at(Duration::from_micros(at_us + self.boot_us))
    }

    fn held(&self, wanted: impl Fn(&Lane) -> bool) -> Vec<HeldLane> {
        let wanted = self.lanes.iter().filter(|(_, lane)| wanted(lane));
        wanted.map(|(key, lane)| HeldLane { key: key.clone(), epoch: lane.epoch }).collect()
    }

    /// Whether nothing is under way in it.
    pub fn is_idle(&self) -> bool {
        self.flights.is_empty() && self.landed.is_empty() && self.findings.is_empty()
    }
}

impl World {
    /// The next step of a sender's round.
    pub(super) fn sender_next(&mut self, which: usize, step: SenderStep, wait: u64) {
        let sender = &mut self.senders[which];
        sender.asked_us = self.now;
        sender.round = (self.now + wait, step);
        let life = sender.life;
        self.after(wait, Event::Sender(which, life, step));
    }

    /// Ends the pause of a sender that has nothing to do.
    pub(super) fn sender_wakes(&mut self, which: usize) {
        let sender = &mut self.senders[which];
        sender.idle_us = IDLE_US;
        if sender.idles {
            sender.idles = false;
            let wait = self.moment();
            self.sender_next(which, SenderStep::Settles, wait);
        }
    }

    /// Something new is in the outbox.
    pub(super) fn wake_senders(&mut self) {
        for which in 0..self.senders.len() {
            self.senders[which].looked = None;
            self.sender_wakes(which);
        }
    }

    /// A step of a sender, unless it is another process by now, sleeps, or dies of it.
    pub(super) fn sender(&mut self, which: usize, life: u32, step: SenderStep) {
        let sender = &mut self.senders[which];
        if sender.life != life || sender.is_down {
            return;
        }
        let beside = step == SenderStep::ReadsHalts;
        if !beside && sender.round != (self.now, step) {
            return;
        }
        if sender.asleep_until > self.now {
            let wakes = sender.asleep_until;
            if !beside {
                sender.round = (wakes, step);
            }
            return self.at(wakes, Event::Sender(which, life, step));
        }
        if beside {
            return self.sender_reads_halts(which);
        }
        if self.sender_is_struck(which) {
            return;
        }
        let mut step = step;
        while !self.speaks(which, step)
            && let Some(next) = step.next()
        {
            step = next;
        }
        let step = match (step, self.db_outcome(step)) {
            (step, DbOutcome::Works) => step,
            (_, DbOutcome::Refuses) => return self.sender_retries(which),
            // What the statement did stays; what it said was not heard.
            (SenderStep::Settles, DbOutcome::Unheard) => {
                let landed = self.senders[which].landed.iter();
                let outcomes: Vec<Outcome> = landed.flat_map(|l| l.outcomes.clone()).collect();
                self.settle(which, &outcomes);
                return self.sender_retries(which);
            }
            (step, DbOutcome::Unheard) => {
                self.sender_step(which, step);
                return self.sender_deaf(which, step);
            }
        };
        if let Some((next, wait)) = self.sender_step(which, step) {
            self.sender_next(which, next, wait);
        }
    }

    /// Dies or falls asleep right before a step, now and then.
    fn sender_is_struck(&mut self, which: usize) -> bool {
        if self.senders[which].idles {
            self.senders[which].idles = false;
            return false;
        }
        if self.strikes(Fault::SenderDies) {
            self.senders[which].is_down = true;
            let away = self.chance.between(50, 4_000) * MS;
            self.journal.note(self.now, format_args!("sender {which} dies"));
            self.after(away, Event::Starts(Worker::Sender(which)));
            return true;
        }
        if self.strikes(Fault::SenderSleeps) {
            let wakes = self.now + self.chance.between(50, 6_000) * MS;
            let sender = &mut self.senders[which];
            sender.asleep_until = wakes;
            let (life, step) = (sender.life, sender.round.1);
            sender.round = (wakes, step);
            self.journal.note(self.now, format_args!("sender {which} sleeps"));
            self.at(wakes, Event::Sender(which, life, step));
            return true;
        }
        false
    }

    /// Whether a step has anything to do; the last one always has.
    fn speaks(&self, which: usize, step: SenderStep) -> bool {
        let (at, sender) = (self.now, &self.senders[which]);
        let over = |since: Option<u64>, us: u64| since.is_none_or(|since| at - since >= us);
        match step {
            SenderStep::Settles => !sender.landed.is_empty(),
            SenderStep::Renews => over(sender.renewed, self.plan.lease_ms * MS / 3),
            SenderStep::Takes => over(sender.looked, LOOK),
            SenderStep::TakesOver => !sender.taking.is_empty() || !sender.findings.is_empty(),
            SenderStep::Doubts => sender.in_doubt,
            SenderStep::Heeds => !sender.ear.is_empty(),
            SenderStep::Claims | SenderStep::Cancels => !sender.lanes.is_empty(),
            SenderStep::Asks | SenderStep::ReadsHalts => true,
        }
    }

    /// What becomes of the statement of a step.
    fn db_outcome(&mut self, step: SenderStep) -> DbOutcome {
        let speaks = step != SenderStep::ReadsHalts;
        if speaks && self.strikes(Fault::DatabaseFails) {
            DbOutcome::Refuses
        } else if speaks && step.commits() && self.strikes(Fault::CommitUnheard) {
            DbOutcome::Unheard
        } else {
            DbOutcome::Works
        }
    }

    fn sender_retries(&mut self, which: usize) {
        self.senders[which].in_doubt = true;
        self.senders[which].taking.clear();
        self.senders[which].findings.clear();
        self.sender_next(which, SenderStep::Settles, RETRY);
    }

    /// Forgets what a step learned.
    fn sender_deaf(&mut self, which: usize, step: SenderStep) {
        match step {
            SenderStep::Claims => {
                let sender = &mut self.senders[which];
                let new: Vec<u64> = sender
                    .flights
                    .iter()
                    .filter(|(_, flight)| flight.is_new_send(self.now))
                    .map(|(number, _)| *number)
                    .collect();
                for number in new {
                    if let Some(Flight { task: Task::Lane { lane, .. }, .. }) =
                        sender.flights.remove(&number)
                        && let Some(lane) = sender.lanes.get_mut(&lane)
                    {
                        lane.busy = false;
                    }
                }
            }
            SenderStep::TakesOver => self.senders[which].taking.clear(),
            _ => {}
        }
        self.sender_retries(which);
    }

    /// Carries a step out; the next one and the pause before it.
    fn sender_step(&mut self, which: usize, step: SenderStep) -> Option<(SenderStep, u64)> {
        use SenderStep::*;
        let next = match step {
            Settles => {
                if !self.sender_settles(which) {
                    return Some((Settles, self.chance.between(1, 10) * MS));
                }
                Renews
            }
            Renews => {
                self.sender_renews(which);
                Takes
            }
            Takes => {
                self.sender_takes(which);
                TakesOver
            }
            TakesOver => {
                if !self.sender_takes_over(which) {
                    return Some((TakesOver, self.chance.between(1, 10) * MS));
                }
                Doubts
            }
            Doubts => {
                if !self.sender_doubts(which) {
                    return Some((Doubts, self.chance.between(1, 10) * MS));
                }
                Heeds
            }
            Heeds => {
                if self.sender_heeds(which) {
                    Settles
                } else {
                    Claims
                }
            }
            Claims => {
                if self.sender_claims(which) {
                    Settles
                } else {
                    Cancels
                }
            }
            Cancels => {
                self.sender_cancels(which);
                Asks
            }
            Asks => {
                self.sender_asks(which);
                let sender = &mut self.senders[which];
                if !sender.landed.is_empty() {
                    return Some((Settles, self.moment()));
                }
                // Time is all that it waits for: longer each time, but leases must be renewed.
                let most = self.plan.lease_ms * MS / 3;
                sender.idle_us = (sender.idle_us * 2).min(most);
                let wait = self.sender_wait(which);
                self.senders[which].idles = true;
                return Some((Settles, wait));
            }
            ReadsHalts => return None,
        };
        let wait = if step == Claims || step == Settles { self.moment() } else { 300 };
        Some((next, wait))
    }

    /// Until something may be due.
    fn sender_wait(&self, which: usize) -> u64 {
        let sender = &self.senders[which];
        let of_ours = |o: &&super::db::Sendable| sender.lanes.contains_key(&o.row.lane());
        let now = self.time();
        let questions = self.db.orders().filter(of_ours).filter_map(|o| o.next_query_at);
        let ask = questions.map(|at| at.duration_since(now).as_micros().max(1_000)).min();
        let ask = ask.and_then(|us| u64::try_from(us).ok()).unwrap_or(u64::MAX);
        sender.idle_us.min(ask)
    }

    /// Reads the halts, and confirms the newest once no write on older knowledge is under way.
    fn sender_reads_halts(&mut self, which: usize) {
        let refused = self.strikes(Fault::DatabaseFails);
        let (at, halts) = (self.now, self.db.halt_rows());
        let number = self.db.halts.len() as i64;
        let sender = &mut self.senders[which];
        if !refused {
            sender.seen = Some(Seen { at: sender.boot(at), halts, number });
            let older =
                sender.flights.values().any(|f| f.known.is_some_and(|known| known < number));
            if !older && sender.told != Some(number) {
                self.db.confirm(&sender.name, number);
                sender.told = Some(number);
            }
        }
        let goes_on = refused || !sender.flights.is_empty() || sender.told != Some(number);
        sender.reads_halts = goes_on;
        let life = sender.life;
        if goes_on {
            self.after(READ, Event::Sender(which, life, SenderStep::ReadsHalts));
        }
    }

    /// Has a sender read the halts soon.
    pub(super) fn sender_will_read_halts(&mut self, which: usize) {
        let sender = &mut self.senders[which];
        if !sender.reads_halts && !sender.is_down {
            sender.reads_halts = true;
            let life = sender.life;
            let wait = self.chance.between(1, READ);
            self.after(wait, Event::Sender(which, life, SenderStep::ReadsHalts));
        }
    }

    /// Hears what the broker tells.
    pub(super) fn hears(&mut self, which: usize, life: u32, view: Box<OrderView>) {
        let sender = &mut self.senders[which];
        if sender.life != life || sender.is_down {
            return;
        }
        if sender.asleep_until > self.now {
            let wakes = sender.asleep_until;
            return self.at(wakes, Event::Heard(which, life, view));
        }
        sender.ear.entry(view.order.client_order_id.clone()).or_default().push(*view);
        self.sender_wakes(which);
    }
}

/// What becomes of a statement.
enum DbOutcome {
    Works,
    Refuses,
    Unheard,
}
