//! A gate worker: takes partitions, reads, admits batches. The judging and the fold of facts are the product's; what is
//! here is what `gate::run`, `admit` and `Input` do around them, one step of theirs at a time.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::chance::Chance;
use super::db::Lock;
use super::fault::Fault;
use super::plan::{MS, SYMBOLS, Written, record};
use super::{Event, Worker, World};
use crate::domain::event::Quote;
use crate::domain::text::Symbol;
use crate::gate::admit::{Admitted, Batch, judged, wanted};
use crate::gate::book::Book;
use crate::gate::refusal::{Reason, Refusal};
use crate::pg::admission::Admission;
use crate::pg::positions::{Move, Place};
use crate::runtime::faults::is_planted;

/// Pause between two polls of an idle gate.
const POLL: u64 = 400 * MS;
/// A worker that says nothing for so long loses its partitions.
const SESSION: u64 = 700 * MS;
/// Records of one poll.
const POLLED_MAX: i64 = 4;

/// One step of a gate.
#[derive(Debug, Clone)]
pub enum GateStep {
    /// Looks for records and rewinds, and begins a batch.
    Polls,
    /// Locks what the batch needs, and judges it.
    Judges,
    /// Commits.
    Commits,
    /// Takes a partition that it was given.
    Takes(i32),
    /// Lets a partition go that it was told to.
    Revoked(i32),
    /// Reserves what a batch should have reserved before its commit (a planted mistake).
    Reserves,
}

/// A partition in hand.
#[derive(Debug, Clone, Copy)]
struct Part {
    epoch: i64,
    /// Up to where it is committed.
    from: i64,
    /// Up to where it was read.
    read: i64,
}

/// A batch in its transaction.
struct Flying {
    tx: u64,
    batch: Batch,
    judged: Option<(Admitted, Admission)>,
}

/// A gate worker.
pub struct Gate {
    pub life: u32,
    pub is_down: bool,
    pub asleep_until: u64,
    pub skew_us: i64,
    name: String,
    which: usize,
    book: Book,
    parts: BTreeMap<i32, Part>,
    waiting: Vec<(i32, i64)>,
    /// When the chain of polls goes on.
    polls_at: u64,
    flying: Option<Flying>,
    late: Vec<Admission>,
}

impl Gate {
    pub fn new(which: usize, chance: &mut Chance) -> Self {
        Self {
            life: 0,
            is_down: true,
            asleep_until: 0,
            skew_us: chance.around(200_000),
            name: String::new(),
            which,
            book: Book::default(),
            parts: BTreeMap::new(),
            waiting: Vec::new(),
            polls_at: 0,
            flying: None,
            late: Vec::new(),
        }
    }

    /// A new process.
    pub fn starts(&mut self) {
        self.life += 1;
        (self.is_down, self.name) = (false, format!("gate-{}.{}", self.which, self.life));
        self.forget();
    }

    fn forget(&mut self) {
        self.parts.clear();
        self.waiting.clear();
        self.late.clear();
        (self.flying, self.polls_at) = (None, 0);
    }

    /// Whether everything it has is committed, up to these ends of partitions.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.flying.is_none() && self.late.is_empty()
    }
}

/// Where a partition is.
fn place(partition: i32) -> Place {
    let record = record(partition, 0);
    Place { topic_id: record.topic_id, topic: record.topic, partition }
}

impl World {
    pub(super) fn quotes(&mut self, which: usize) {
        let (now, gate) = (self.time(), &mut self.gates[which]);
        for (n, symbol) in SYMBOLS.iter().enumerate() {
            let bid = Decimal::new(14_990 + n as i64 * 10, 2);
            let quote = Quote { bid, ask: bid + Decimal::new(2, 2), at: now };
            gate.book.take(Symbol::new(symbol).expect("a symbol"), quote, now);
        }
    }

    /// A step of a gate, unless it is another process by now, sleeps, or dies of it.
    pub(super) fn gate(&mut self, which: usize, life: u32, step: GateStep) {
        let gate = &self.gates[which];
        if gate.life != life || gate.is_down {
            return;
        }
        if gate.asleep_until > self.now {
            let wakes = gate.asleep_until;
            return self.at(wakes, Event::Gate(which, life, step));
        }
        if self.strikes(Fault::GateDies) {
            return self.gate_dies(which);
        }
        if self.strikes(Fault::GateSleeps) {
            let wakes = self.now + self.chance.between(50, 5_000) * MS;
            self.gates[which].asleep_until = wakes;
            if wakes - self.now > SESSION {
                for partition in self.parts_of(which) {
                    self.after(SESSION, Event::Assign(partition));
                    let told = wakes + self.chance.between(1, 100) * MS;
                    self.at(told, Event::Gate(which, life, GateStep::Revoked(partition)));
                }
            }
            return self.at(wakes, Event::Gate(which, life, step));
        }
        match step {
            GateStep::Polls => self.gate_polls(which),
            GateStep::Judges => self.gate_judges(which),
            GateStep::Commits => self.gate_commits(which),
            GateStep::Takes(partition) => self.gate_takes(which, partition),
            GateStep::Revoked(partition) => {
                let gate = &mut self.gates[which];
                if self.readers[partition as usize] != which {
                    gate.parts.remove(&partition);
                    gate.waiting.retain(|(p, _)| *p != partition);
                }
            }
            GateStep::Reserves => {
                for admission in std::mem::take(&mut self.gates[which].late) {
                    self.db.reserve(&admission);
                }
            }
        }
    }

    fn parts_of(&self, which: usize) -> Vec<i32> {
        (0..self.plan.partitions).filter(|p| self.readers[*p as usize] == which).collect()
    }

    fn gate_dies(&mut self, which: usize) {
        let gate = &mut self.gates[which];
        gate.is_down = true;
        // Postgres notices at once that the connection is closed.
        if let Some(flying) = &gate.flying {
            let tx = flying.tx;
            self.db.unlock(tx);
        }
        self.gates[which].forget();
        for partition in self.parts_of(which) {
            self.after(SESSION, Event::Assign(partition));
        }
        let away = self.chance.between(100, 2_000) * MS;
        self.after(away, Event::Starts(Worker::Gate(which)));
    }

    /// Gives a partition to a gate that is there.
    pub(super) fn assign(&mut self, partition: i32) {
        let there =
            |g: &&usize| !self.gates[**g].is_down && self.gates[**g].asleep_until <= self.now;
        let all: Vec<usize> = (0..self.gates.len()).collect();
        let there: Vec<usize> = all.iter().filter(there).copied().collect();
        if there.is_empty() {
            return self.after(300 * MS, Event::Assign(partition));
        }
        let (before, new) = (self.readers[partition as usize], self.chance.one_of(&there));
        self.readers[partition as usize] = new;
        self.journal.note(self.now, format_args!("input {partition} to gate {new}"));
        let wait = self.chance.between(1, 60) * MS;
        let life = self.gates[new].life;
        self.after(wait, Event::Gate(new, life, GateStep::Takes(partition)));
        if before != new {
            let (wait, life) = (self.chance.between(1, 300) * MS, self.gates[before].life);
            self.after(wait, Event::Gate(before, life, GateStep::Revoked(partition)));
        }
    }

    fn gate_takes(&mut self, which: usize, partition: i32) {
        if self.readers[partition as usize] != which {
            return;
        }
        let tx = self.number();
        let life = self.gates[which].life;
        if !self.db.lock_all(tx, &[(Lock::Input(partition), false)])
            || self.strikes(Fault::DatabaseFails)
        {
            self.db.unlock(tx);
            return self.after(20 * MS, Event::Gate(which, life, GateStep::Takes(partition)));
        }
        self.db.unlock(tx);
        let gate = &mut self.gates[which];
        gate.waiting.retain(|(p, _)| *p != partition);
        let (epoch, from) = self.db.take_input(&gate.name, partition);
        gate.parts.insert(partition, Part { epoch, from, read: from });
        self.journal.note(
            self.now,
            format_args!("gate {which} takes input {partition} at {from}, epoch {epoch}"),
        );
        self.after(MS, Event::Gate(which, life, GateStep::Polls));
    }

    fn gate_polls(&mut self, which: usize) {
        let life = self.gates[which].life;
        let rewound = |world: &Self, p: i32| {
            world.db.inputs.get(&p).is_some_and(|row| row.owner == "noctus rewind")
        };
        for partition in self.parts_of(which) {
            if rewound(self, partition) {
                self.gates[which].parts.remove(&partition);
                self.gates[which].waiting.retain(|(p, _)| *p != partition);
                self.after(MS, Event::Gate(which, life, GateStep::Takes(partition)));
            }
        }
        let gate = &mut self.gates[which];
        for (partition, part) in &mut gate.parts {
            let end = self.input[*partition as usize].len() as i64;
            let to = end.min(part.read + POLLED_MAX);
            gate.waiting.extend((part.read..to).map(|offset| (*partition, offset)));
            part.read = to.max(part.read);
        }
        if gate.flying.is_none() && !gate.waiting.is_empty() {
            self.gate_departs(which);
        }
        // One chain of polls, whatever else wakes it.
        if self.gates[which].polls_at <= self.now {
            self.gates[which].polls_at = self.now + POLL;
            self.after(POLL, Event::Gate(which, life, GateStep::Polls));
        }
    }

    /// What waits becomes a batch.
    fn gate_departs(&mut self, which: usize) {
        let tx = self.number();
        let gate = &mut self.gates[which];
        let mut batch = Batch::default();
        let mut moves: BTreeMap<i32, Move> = BTreeMap::new();
        for (partition, offset) in std::mem::take(&mut gate.waiting) {
            let Some(part) = gate.parts.get(&partition) else { continue };
            let step = moves.entry(partition).or_insert_with(|| Move {
                place: place(partition),
                epoch: part.epoch,
                from: part.from,
                to: offset,
            });
            step.to = step.to.max(offset + 1);
            let record = record(partition, offset);
            match self.input[partition as usize][offset as usize] {
                Written::Request(number) => {
                    let mut request = self.plan.requests[number].clone();
                    request.record = record;
                    batch.requests.push(request);
                }
                Written::Poison => batch.refused.push(Refusal {
                    record,
                    reason: Reason::BadWire,
                    why: "poison".into(),
                    trace_id: None,
                    idempotency_key: None,
                }),
            }
        }
        batch.moves = moves.into_values().collect();
        if batch.moves.is_empty() {
            return;
        }
        let life = gate.life;
        gate.flying = Some(Flying { tx, batch, judged: None });
        let wait = self.moment();
        self.after(wait, Event::Gate(which, life, GateStep::Judges));
    }

    fn gate_judges(&mut self, which: usize) {
        let life = self.gates[which].life;
        if self.strikes(Fault::DatabaseFails) {
            return self.gate_goes_back(which);
        }
        let now = self.plan.time(self.now, self.gates[which].skew_us);
        let Some(flying) = &self.gates[which].flying else { return };
        let wanted = wanted(&flying.batch);
        let mut locks = self.db.locks_of(&wanted);
        locks.extend(flying.batch.moves.iter().map(|m| (Lock::Input(m.place.partition), false)));
        if !self.db.lock_all(flying.tx, &locks) {
            // Another transaction has them: it waits.
            let wait = self.chance.between(1, 20) * MS;
            return self.after(wait, Event::Gate(which, life, GateStep::Judges));
        }
        if !self.db.fenced(&flying.batch.moves).is_empty() {
            self.journal.note(self.now, format_args!("gate {which} is fenced off"));
            return self.gate_goes_back(which);
        }
        let locked = self.db.facts(&wanted);
        let (admitted, admission) =
            judged(&flying.batch, locked, self.plan.policies, &self.gates[which].book, now);
        if let Some(flying) = &mut self.gates[which].flying {
            flying.judged = Some((admitted, admission));
        }
        let wait = self.chance.between(500, 30_000);
        self.after(wait, Event::Gate(which, life, GateStep::Commits));
    }

    fn gate_commits(&mut self, which: usize) {
        let life = self.gates[which].life;
        if self.strikes(Fault::DatabaseFails) {
            return self.gate_goes_back(which);
        }
        let Some(flying) = &mut self.gates[which].flying else { return };
        let Some((admitted, mut admission)) = flying.judged.take() else { return };
        let late = is_planted("reserve-outside").then(|| admission.clone());
        if late.is_some() {
            (admission.lanes, admission.traces) = (Vec::new(), Vec::new());
        }
        if admission.rows.iter().any(|row| self.db.ids.contains_key(&row.key)) {
            self.journal.note(self.now, format_args!("gate {which}: a key was claimed in between"));
            let tx = flying.tx;
            self.db.unlock(tx);
            let wait = self.moment();
            return self.after(wait, Event::Gate(which, life, GateStep::Judges));
        }
        let (tx, batch) = (flying.tx, std::mem::take(&mut flying.batch));
        self.audit_moves(&batch.moves);
        self.audit_decisions(&admitted, &admission);
        self.db.advance(&batch.moves);
        self.db.admit(&admission);
        self.db.unlock(tx);
        if let Some(late) = late {
            self.gates[which].late.push(late);
            self.after(50 * MS, Event::Gate(which, life, GateStep::Reserves));
        }
        self.admitted(which, &batch, admitted);
        self.wake_senders();
        if self.strikes(Fault::CommitUnheard) {
            if let Some(flying) = &mut self.gates[which].flying {
                flying.batch = batch;
            }
            return self.gate_goes_back(which);
        }
        let gate = &mut self.gates[which];
        for m in &batch.moves {
            if let Some(part) = gate.parts.get_mut(&m.place.partition)
                && part.epoch == m.epoch
            {
                part.from = m.to;
            }
        }
        gate.flying = None;
        self.after(MS, Event::Gate(which, life, GateStep::Polls));
    }

    /// Drops the batch, and reads its partitions again from where the database is.
    fn gate_goes_back(&mut self, which: usize) {
        let Some(flying) = self.gates[which].flying.take() else { return };
        self.db.unlock(flying.tx);
        let life = self.gates[which].life;
        for m in &flying.batch.moves {
            let partition = m.place.partition;
            let gate = &mut self.gates[which];
            gate.parts.remove(&partition);
            gate.waiting.retain(|(p, _)| *p != partition);
            let wait = self.moment();
            self.after(wait, Event::Gate(which, life, GateStep::Takes(partition)));
        }
        self.after(POLL, Event::Gate(which, life, GateStep::Polls));
    }
}
