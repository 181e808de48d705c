//! The way of an order in a simulated world (docs/simulation.md): gates, senders, a broker, a database and an input,
//! stepped one at a time by a queue of events under simulated time. Every choice comes from a seed.
//! Never decides by rules of its own where the product has pure ones: those are what is tried here.
//! Invariant: the same seed does the same, to the last byte of its log.

mod audit;
mod broker;
mod chance;
pub mod db;
mod fault;
mod flight;
mod gate;
mod journal;
mod operator;
mod plan;
mod rest;
mod sender;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;

use self::audit::Audit;
use self::broker::{Broker, Call, Deed};
pub use self::chance::Chance;
use self::db::Db;
pub use self::fault::Fault;
use self::flight::Signal;
use self::gate::{Gate, GateStep};
use self::journal::Journal;
use self::operator::Operator;
use self::plan::{MS, Plan, SECOND, Written};
use self::sender::{Sender, SenderStep};
use crate::dispatch::broker::protocol::OrderView;
use crate::dispatch::fold::Manners;

/// More steps than this in one world mean that it turns in circles.
const STEPS_MAX: u64 = 200_000;
/// After the last fault a world comes to rest within this time, microseconds.
const REST_WITHIN: u64 = 240 * SECOND;

/// What happens at a moment.
enum Event {
    /// A record is written to the input.
    Write(usize),
    /// Quotes reach a gate.
    Quotes(usize),
    Gate(usize, u32, GateStep),
    Sender(usize, u32, SenderStep),
    /// Something reaches a flight of a sender.
    Flight(usize, u32, u64, Signal),
    /// What the broker tells by itself reaches a sender.
    Heard(usize, u32, Box<OrderView>),
    /// A call reaches the broker.
    Arrives(Box<Call>),
    /// The market, or a clock, moves an order at the broker.
    Moves(usize, Deed),
    /// A partition gets another reader.
    Assign(i32),
    /// A worker that died is there again.
    Starts(Worker),
    /// Faults that strike by the clock.
    Trouble,
    /// People.
    Operates(operator::Deed),
    /// From here on nothing new goes wrong.
    Calm,
    /// The broker's market closes: what works there ends.
    Closes,
    /// Is everything at rest?
    Looks,
}

/// A worker of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worker {
    Gate(usize),
    Sender(usize),
}

/// Something that must never be, and is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which invariant.
    pub invariant: &'static str,
    /// What was seen.
    pub seen: String,
}

/// What came of a seed.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Report {
    pub seed: u64,
    /// Of the whole log.
    pub hash: u64,
    pub steps: u64,
    /// Orders that were decided with a quantity, and keys in all.
    pub orders: usize,
    pub keys: usize,
    /// Writes of orders to the broker.
    pub sends: u64,
    pub simulated_us: u64,
    /// How often each kind of fault struck, as [`Fault::ALL`] lists them.
    pub faults: Vec<u64>,
    pub violation: Option<Violation>,
    /// The log, if it was kept.
    pub lines: Vec<String>,
}

/// How a world is run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settings {
    /// Keeps the log.
    pub keeps_log: bool,
    /// Mistakes of `runtime::faults`, and the broker's own.
    pub planted: &'static [&'static str],
}

/// Lives through one seed.
pub fn live(seed: u64, settings: Settings) -> Report {
    let _planted = crate::runtime::faults::plant_here(settings.planted);
    let mut world = World::new(seed, settings);
    world.begin();
    world.run();
    Report {
        seed,
        hash: world.journal.hash(),
        steps: world.steps,
        orders: world.db.orders().count(),
        keys: world.db.rows.len(),
        sends: world.audit.sends,
        simulated_us: world.now,
        faults: world.struck,
        violation: world.violation,
        lines: world.journal.lines().to_vec(),
    }
}

/// Everything there is.
struct World {
    now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    queued: u64,
    steps: u64,
    chance: Chance,
    journal: Journal,
    plan: Plan,
    manners: Manners,
    planted: &'static [&'static str],
    is_calm: bool,
    struck: Vec<u64>,
    db: Db,
    /// The records of every partition.
    input: Vec<Vec<Written>>,
    /// Who reads each partition.
    readers: Vec<usize>,
    gates: Vec<Gate>,
    senders: Vec<Sender>,
    broker: Broker,
    operator: Operator,
    audit: Audit,
    violation: Option<Violation>,
    numbers: u64,
}

impl World {
    fn new(seed: u64, settings: Settings) -> Self {
        let mut chance = Chance::new(seed);
        let plan = Plan::new(&mut chance);
        let (capabilities, settle_ms) = (plan.capabilities.clone(), plan.settle_ms);
        let gates = (0..plan.gates).map(|n| Gate::new(n, &mut chance)).collect();
        let senders = (0..plan.senders).map(|n| Sender::new(n, &mut chance)).collect();
        let broker = Broker::new(chance.around(1_500_000));
        Self {
            now: 0,
            queue: BTreeMap::new(),
            queued: 0,
            steps: 0,
            journal: Journal::new(settings.keeps_log),
            manners: Manners { capabilities, settle_ms, late_fill_ms: 10_000 },
            planted: settings.planted,
            is_calm: false,
            struck: vec![0; Fault::ALL.len()],
            db: Db::default(),
            input: vec![Vec::new(); plan.partitions as usize],
            readers: (0..plan.partitions as usize).map(|p| p % plan.gates).collect(),
            gates,
            senders,
            broker,
            operator: Operator::default(),
            audit: Audit::default(),
            violation: None,
            numbers: 0,
            chance,
            plan,
        }
    }

    /// Puts the beginning into the queue.
    fn begin(&mut self) {
        let caps = &self.plan.capabilities;
        self.journal.note(0, format_args!(
            "{} gates, {} senders, {} partitions; broker: dedupes {} horizon {:?} query {} visible {} accept_by {} events {}; settle {} lease {}",
            self.plan.gates, self.plan.senders, self.plan.partitions, caps.dedupes_by_client_id,
            caps.dedupe_horizon_s, caps.query_by_client_id, caps.visible_within_ms,
            caps.honours_accept_by, caps.events, self.plan.settle_ms, self.plan.lease_ms,
        ));
        for at in 0..self.plan.writes.len() {
            self.at(self.plan.writes[at].0, Event::Write(at));
        }
        for gate in 0..self.gates.len() {
            for at in [0, 30, 60] {
                self.at(at * SECOND, Event::Quotes(gate));
            }
            self.starts(Worker::Gate(gate));
        }
        for sender in 0..self.senders.len() {
            self.starts(Worker::Sender(sender));
        }
        self.at(SECOND, Event::Trouble);
        self.at(self.plan.calm_us, Event::Calm);
        self.at(self.plan.calm_us + 3 * SECOND, Event::Closes);
        self.at(self.plan.calm_us + 4 * SECOND, Event::Looks);
    }

    fn run(&mut self) {
        while self.violation.is_none() {
            let Some(((at, _), event)) = self.queue.pop_first() else { break };
            self.now = at;
            self.steps += 1;
            if self.steps > STEPS_MAX {
                self.violate("rest", format!("after {STEPS_MAX} steps: {}", self.unrest()));
                break;
            }
            match event {
                Event::Looks if self.is_at_rest() => {
                    self.look_at_rest();
                    break;
                }
                Event::Looks if at > self.plan.calm_us + REST_WITHIN => {
                    self.violate("rest", self.unrest());
                }
                Event::Looks => self.after(500 * MS, Event::Looks),
                event => self.happens(event),
            }
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Write(at) => self.write(at),
            Event::Quotes(gate) => self.quotes(gate),
            Event::Gate(which, life, step) => self.gate(which, life, step),
            Event::Sender(which, life, step) => self.sender(which, life, step),
            Event::Flight(which, life, flight, signal) => self.flight(which, life, flight, signal),
            Event::Heard(which, life, view) => self.hears(which, life, view),
            Event::Arrives(call) => self.arrives(*call),
            Event::Moves(order, deed) => self.moves(order, deed),
            Event::Assign(partition) => self.assign(partition),
            Event::Starts(worker) => self.starts(worker),
            Event::Trouble => self.trouble(),
            Event::Operates(deed) => self.operates(deed),
            Event::Calm => self.calm(),
            Event::Closes => self.closes(),
            Event::Looks => {}
        }
    }

    fn at(&mut self, at: u64, event: Event) {
        self.queued += 1;
        self.queue.insert((at.max(self.now), self.queued), event);
    }

    fn after(&mut self, us: u64, event: Event) {
        self.at(self.now + us, event);
    }

    /// A short while, microseconds.
    fn moment(&mut self) -> u64 {
        self.chance.between(200, 4_000)
    }

    /// The database's clock.
    fn time(&self) -> Timestamp {
        self.plan.time(self.now, 0)
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Whether this kind of fault strikes now.
    fn strikes(&mut self, fault: Fault) -> bool {
        if self.is_calm || !self.chance.permille(self.plan.rates[fault as usize]) {
            return false;
        }
        self.struck[fault as usize] += 1;
        let name = Fault::ALL[fault as usize].1;
        self.journal.note(self.now, format_args!("  ! {name}"));
        true
    }

    fn violate(&mut self, invariant: &'static str, seen: String) {
        self.journal.note(self.now, format_args!("VIOLATION {invariant}: {seen}"));
        self.violation.get_or_insert(Violation { invariant, seen });
    }

    fn write(&mut self, at: usize) {
        let (_, partition, what) = self.plan.writes[at];
        let log = &mut self.input[partition as usize];
        log.push(what);
        let offset = log.len() - 1;
        match what {
            Written::Request(number) => {
                let key = self.plan.requests[number].keys[0].clone();
                self.journal.note(self.now, format_args!("input {partition}/{offset} {key}"));
            }
            Written::Poison => {
                self.journal.note(self.now, format_args!("input {partition}/{offset} poison"));
            }
        }
        let reader = self.readers[partition as usize];
        let (life, wait) = (self.gates[reader].life, self.moment());
        self.after(wait, Event::Gate(reader, life, GateStep::Polls));
    }

    /// Faults that need no occasion.
    fn trouble(&mut self) {
        if self.is_calm {
            return;
        }
        let partition = self.chance.between(0, self.plan.partitions as u64 - 1) as i32;
        if self.strikes(Fault::Rebalance) {
            self.assign(partition);
        }
        let tx = self.number();
        let free = self.db.lock_all(tx, &[(db::Lock::Input(partition), false)]);
        self.db.unlock(tx);
        if free && self.strikes(Fault::Rewind) {
            let read = self.db.inputs.get(&partition).map_or(0, |p| p.next_offset);
            let to = self.chance.between(0, read.unsigned_abs()) as i64;
            self.journal.note(self.now, format_args!("input {partition} rewound to {to}"));
            self.db.rewind(partition, to);
        }
        self.operator_may();
        self.after(500 * MS, Event::Trouble);
    }

    /// Nothing goes wrong any more: everybody is there and awake, and partitions have readers.
    fn calm(&mut self) {
        self.is_calm = true;
        self.journal.note(self.now, format_args!("calm"));
        for gate in 0..self.gates.len() {
            self.gates[gate].asleep_until = self.now;
        }
        for sender in 0..self.senders.len() {
            self.senders[sender].asleep_until = self.now;
        }
        for partition in 0..self.plan.partitions {
            self.after(SECOND, Event::Assign(partition));
        }
    }

    fn starts(&mut self, worker: Worker) {
        match worker {
            Worker::Gate(which) => {
                self.gates[which].starts();
                let life = self.gates[which].life;
                self.journal.note(self.now, format_args!("gate {which} starts, life {life}"));
                for partition in 0..self.plan.partitions {
                    if self.readers[partition as usize] == which {
                        let wait = self.moment();
                        self.after(wait, Event::Gate(which, life, GateStep::Takes(partition)));
                    }
                }
                self.after(10 * MS, Event::Gate(which, life, GateStep::Polls));
            }
            Worker::Sender(which) => {
                let offset = self.chance.between(0, 1_000 * SECOND);
                self.senders[which].starts(offset);
                let life = self.senders[which].life;
                self.journal.note(self.now, format_args!("sender {which} starts, life {life}"));
                self.after(5 * MS, Event::Sender(which, life, SenderStep::ReadsHalts));
                self.sender_next(which, SenderStep::Settles, 10 * MS);
            }
        }
    }
}
