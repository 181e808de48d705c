//! The simulated database beside the real one: the same random commands to both, and everything they answer compared.
//! Clocks are not: times are far away on either side, so that a moment more or less changes nothing.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use noctus::domain::event::{Fill, OrderStatus};
use noctus::domain::lots::Lot;
use noctus::pg::admission::{self, Admission, LaneAfter, LedgerRow, MemoryAfter};
use noctus::pg::facts::{self, Wanted};
use noctus::pg::halts::{self, Scope};
use noctus::pg::lanes::{self, HeldLane, LaneKey};
use noctus::pg::outbox::{self, NextQuestion, OrderRow, Settled};
use noctus::pg::positions::{self, Move, Place};
use noctus::pg::risk::{self, HaltRow, PositionRow};
use noctus::pg::{self, Pool, attempts, cancels};
use noctus::sim::Chance;
use noctus::sim::db::Db;
use rust_decimal::Decimal;

use crate::stack::{FreshDatabase, Stack, migrated_database};

/// Sequences of commands, and commands of each.
const SEQUENCES: u64 = 100;
const COMMANDS: u64 = 25;
/// Long, in milliseconds.
const LONG_MS: u64 = 3_600_000;
const WORKERS: [&str; 2] = ["one", "two"];
const SYMBOLS: [&str; 2] = ["USDJPY", "EURJPY"];
const TABLES: &str = "TRUNCATE outbox_orders, send_attempts, order_fills, order_cancels, dispatch_lanes,
    risk_accounts, risk_positions, risk_traces, quality_memory, halts, input_positions RESTART IDENTITY CASCADE";

struct Beside {
    chance: Chance,
    model: Db,
    pool: Pool,
    keys: u64,
    held: Vec<(usize, HeldLane)>,
    log: Vec<String>,
}

fn now() -> Timestamp {
    noctus::runtime::clock::now()
}

fn d(number: u64) -> Decimal {
    Decimal::from(number)
}

/// A row without what differs between two clocks and two sequences of numbers.
fn plain(rows: Vec<OrderRow>) -> Vec<OrderRow> {
    let plain = |row: OrderRow| OrderRow {
        id: 0,
        read_at: Timestamp::UNIX_EPOCH,
        sent_at: row.sent_at.map(|_| Timestamp::UNIX_EPOCH),
        ..row
    };
    rows.into_iter().map(plain).collect()
}

fn plain_halts(rows: Vec<HaltRow>) -> Vec<String> {
    let mut told: Vec<String> = rows
        .into_iter()
        .map(|h| format!("{} {} {} {:?} {:?}", h.number, h.in_force, h.mode, h.account, h.symbol))
        .collect();
    told.sort();
    told
}

fn sorted<T: Ord>(mut all: Vec<T>) -> Vec<T> {
    all.sort();
    all
}

fn pairs(lanes: Vec<HeldLane>) -> Vec<(LaneKey, i64)> {
    sorted(lanes.into_iter().map(|l| (l.key, l.epoch)).collect())
}

impl Beside {
    fn same<T: PartialEq + Debug>(&mut self, what: &str, real: T, model: T) {
        let log = self.log.join("\n");
        assert_eq!(real, model, "{what}: the real one, then the model, after\n{log}");
        self.log.push(format!("{what} → {real:?}"));
    }

    fn lane(&mut self) -> LaneKey {
        LaneKey { account: "main".into(), symbol: self.chance.one_of(&SYMBOLS).into() }
    }

    /// Any key there is, if there is one.
    fn key(&mut self) -> Option<String> {
        let keys: Vec<String> = self.model.ids.keys().cloned().collect();
        (!keys.is_empty()).then(|| keys[self.chance.index(keys.len())].clone())
    }

    fn halts_of(&self) -> Vec<HaltRow> {
        self.model.halt_rows()
    }

    /// Lanes of a worker, some of which it has no more.
    fn lanes_of(&mut self, worker: usize) -> Vec<HeldLane> {
        let mut held: Vec<HeldLane> =
            self.held.iter().filter(|(w, _)| *w == worker).map(|(_, l)| l.clone()).collect();
        if self.chance.permille(200) {
            held.push(HeldLane { key: self.lane(), epoch: self.chance.between(1, 4) as i64 });
        }
        held.sort_by(|a, b| (&a.key, a.epoch).cmp(&(&b.key, b.epoch)));
        held.dedup_by(|a, b| a.key == b.key);
        held
    }

    async fn command(&mut self) {
        match self.chance.between(0, 15) {
            0..=2 => self.admit().await,
            3 => self.take().await,
            4 => self.renew_or_release().await,
            5..=7 => self.claim().await,
            8..=10 => self.store().await,
            11 => self.declare().await,
            12 => self.cancel().await,
            13 => self.input().await,
            14 => self.risk().await,
            _ => self.look().await,
        }
    }

    fn row(&mut self, nth: i32) -> LedgerRow {
        let again = self.chance.permille(150).then(|| self.key()).flatten();
        let key = again.unwrap_or_else(|| {
            self.keys += 1;
            format!("order-{:04}", self.keys)
        });
        let lane = self.lane();
        let sends = self.chance.permille(850);
        let far = |chance: &mut Chance| {
            let hours = if chance.permille(700) { 24 } else { -24 };
            now() + SignedDuration::from_hours(hours)
        };
        let qty = self.chance.between(1, 500);
        let opening = if self.chance.permille(600) { qty } else { 0 };
        let action = self.chance.one_of(&["BUY", "SELL"]);
        LedgerRow {
            nth,
            digest: [self.chance.between(0, 1) as u8; 32],
            key,
            trace_id: self.chance.one_of(&["t-1", "t-2"]).into(),
            payload: "{}".into(),
            account: lane.account,
            symbol: lane.symbol,
            action: if sends { action } else { "FLAT" },
            requested_qty: d(qty),
            decided_qty: if sends { d(qty) } else { Decimal::ZERO },
            order_type: "LIMIT",
            limit_price: Some(Decimal::new(150_123, 3)),
            stop_price: None,
            reference_price: self.chance.permille(500).then(|| d(150)),
            stop_loss: None,
            take_profit: None,
            time_in_force: "GTC",
            strategy: self.chance.permille(500).then(|| "Aurus".into()),
            requested_at: now(),
            valid_until: self.chance.permille(500).then(|| far(&mut self.chance)),
            decided_at: far(&mut self.chance),
            dispatch_by: sends.then(|| far(&mut self.chance)),
            state: if sends { "NEW" } else { "NOT_SENT" },
            opening_qty: d(opening),
            opening_notional: d(opening * 150),
            risk_price: Some(d(151)),
            working_qty: if sends { d(qty) } else { Decimal::ZERO },
            unit_value: Decimal::ONE,
            arm: None,
            topic_id: "t".into(),
            partition: 0,
            offset: i64::from(nth),
            source_at: None,
            trace: None,
        }
    }

    /// A gate's transaction: facts under lock, then rows and reservations, all or nothing.
    async fn admit(&mut self) {
        let mut rows: Vec<LedgerRow> = Vec::new();
        for nth in 0..self.chance.between(1, 3) {
            let row = self.row(nth as i32);
            if rows.iter().all(|r| r.key != row.key) {
                rows.push(row);
            }
        }
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        let lanes = sorted(rows.iter().map(|r| (r.account.clone(), r.symbol.clone())).collect());
        let traces = sorted(rows.iter().map(|r| (r.account.clone(), r.trace_id.clone())).collect());
        let mut wanted = Wanted {
            accounts: vec!["main".into()],
            keys: rows.iter().map(|r| r.key.clone()).collect(),
            lanes,
            traces,
        };
        wanted.lanes.dedup();
        wanted.traces.dedup();
        let after = |(account, symbol): &(String, String), n: u64| LaneAfter {
            account: account.clone(),
            symbol: symbol.clone(),
            working_buy: d(n),
            working_sell: d(n / 2),
            recent_orders: vec![Timestamp::UNIX_EPOCH],
        };
        let n = self.chance.between(0, 900);
        let admission = Admission {
            lanes: wanted.lanes.iter().map(|l| after(l, n)).collect(),
            traces: wanted.traces.iter().map(|(a, t)| (a.clone(), t.clone(), d(n))).collect(),
            memories: vec![MemoryAfter {
                account: "main".into(),
                symbol: rows[0].symbol.clone(),
                timeframe: "-".into(),
                lag: self.chance.one_of(&["ok", "flat"]),
                missing: self.chance.one_of(&["ok", "scale", "flat"]),
            }],
            rows,
        };
        let mut client = self.pool.get().await.expect("a connection");
        let tx = client.transaction().await.expect("a transaction");
        let real = facts::lock(&tx, &wanted).await.expect("facts");
        let model = self.model.facts(&wanted);
        let told = |f: &facts::Facts| {
            let days = f.accounts.iter().map(|(a, d)| (a.clone(), d.daily_pnl));
            (
                days.collect::<BTreeMap<_, _>>(),
                f.lanes.clone().into_iter().collect::<BTreeMap<_, _>>(),
                f.traces.clone().into_iter().collect::<BTreeMap<_, _>>(),
                f.quality.clone().into_iter().collect::<BTreeMap<_, _>>(),
                f.known.clone().into_iter().collect::<BTreeMap<_, _>>(),
            )
        };
        self.same("facts", told(&real), told(&model));
        self.same("halts of a gate", plain_halts(real.halts), plain_halts(model.halts));
        let claimed = admission::write(&tx, &admission).await.expect("it can be written");
        if claimed {
            tx.commit().await.expect("a commit");
        } else {
            tx.rollback().await.expect("a rollback");
        }
        let model = self.model.admit(&admission);
        self.same("admitted", claimed, model);
    }

    async fn take(&mut self) {
        let mut client = self.pool.get().await.expect("a connection");
        let real = lanes::with_work(&client).await.expect("lanes");
        let work = self.model.lanes_with_work();
        self.same("lanes with work", sorted(real), work.clone());
        let wanted: Vec<LaneKey> = work.into_iter().map(|lane| lane.key).collect();
        let (worker, limit) = (self.chance.index(2), self.chance.between(1, 2) as usize);
        let lease = self.chance.one_of(&[0, LONG_MS]);
        let real = lanes::take(&mut client, WORKERS[worker], lease, &wanted, limit).await;
        let model = self.model.take_lanes(WORKERS[worker], lease, &wanted, limit, now());
        self.held.extend(model.iter().cloned().map(|lane| (worker, lane)));
        self.same("taken", pairs(real.expect("lanes")), pairs(model));
    }

    async fn renew_or_release(&mut self) {
        let client = self.pool.get().await.expect("a connection");
        let worker = self.chance.index(2);
        let held = self.lanes_of(worker);
        let name = WORKERS[worker];
        if self.chance.permille(600) {
            let lease = self.chance.one_of(&[0, LONG_MS]);
            let real = lanes::renew(&client, name, lease, &held).await.expect("lanes");
            let model = self.model.renew_lanes(name, lease, &held, now());
            self.same("renewed", pairs(real), pairs(model));
        } else {
            lanes::release(&client, name, &held).await.expect("it lets go");
            self.model.release_lanes(name, &held);
        }
    }

    async fn claim(&mut self) {
        let worker = self.chance.index(2);
        let (held, name) = (self.lanes_of(worker), WORKERS[worker]);
        let mut client = self.pool.get().await.expect("a connection");
        let tx = client.transaction().await.expect("a transaction");
        let ours = lanes::hold(&tx, name, &held).await.expect("lanes");
        let model = self.model.hold_lanes(name, &held, now());
        self.same("held", pairs(ours), pairs(model.clone()));
        let limits = (self.chance.between(1, 4) as usize, self.chance.between(1, 6) as usize);
        let halts = risk::halts(&*tx).await.expect("halts");
        let known = self.halts_of();
        let real = outbox::claimable(&tx, &model, &halts, limits).await.expect("orders");
        let rows = self.model.claimable(&model, &known, limits, now());
        self.same("claimable", plain(real.clone()), plain(rows.clone()));
        if rows.is_empty() {
            return;
        }
        let ids: Vec<&str> = rows.iter().map(|row| row.key.as_str()).collect();
        let wrong = i32::from(self.chance.permille(150));
        let moved = |row: &OrderRow| OrderRow { exec_seq: row.exec_seq + wrong, ..row.clone() };
        let (real, rows): (Vec<_>, Vec<_>) =
            (real.iter().map(moved).collect(), rows.iter().map(moved).collect());
        fn with_epochs(rows: &[OrderRow]) -> Vec<(&OrderRow, i64)> {
            rows.iter().map(|row| (row, 1)).collect()
        }
        let begun = outbox::begin_attempts(&tx, name, &with_epochs(&real), (&ids, "none")).await;
        let begun: Vec<String> = match begun {
            Ok(begun) => sorted(begun.into_iter().map(|(key, _)| key).collect()),
            Err(error) => panic!("attempts: {error}"),
        };
        if begun.len() == rows.len() {
            tx.commit().await.expect("a commit");
        } else {
            tx.rollback().await.expect("a rollback");
        }
        let model = self.model.begin_attempts(name, &with_epochs(&rows), &ids, None, now());
        let model = sorted(model.into_iter().map(|(key, _)| key).collect());
        self.same("attempts", begun, model);
    }

    /// What a settling stores: any state, so that claims and questions see every one.
    async fn store(&mut self) {
        let Some(key) = self.key() else { return };
        let mut client = self.pool.get().await.expect("a connection");
        let tx = client.transaction().await.expect("a transaction");
        let real = outbox::lock(&tx, &[&key]).await;
        let Some(order) = self.model.find(&key, now()) else { return };
        self.same("locked", plain(real.expect("orders")), plain(vec![order.clone()]));
        let state = self.chance.one_of(&OrderStatus::ALL);
        let fill = self.chance.permille(400).then(|| Fill {
            fill_id: format!("f-{}-{}", order.exec_seq, self.chance.between(0, 1_000_000)),
            px: Decimal::new(150_250, 3),
            qty: d(self.chance.between(1, 9)),
            at: Timestamp::UNIX_EPOCH,
        });
        let settled = Settled {
            key: order.key.clone(),
            expected_seq: order.exec_seq + i32::from(self.chance.permille(150)),
            exec_seq: order.exec_seq + 1,
            state,
            executed_qty: d(self.chance.between(0, 9)),
            avg_price: self.chance.permille(500).then(|| d(150)),
            broker_ref: self.chance.permille(500).then(|| "b-1".into()),
            working_qty: d(self.chance.between(0, 9)),
            realised_pnl: d(self.chance.between(0, 9)),
            next_question: self.chance.one_of(&[
                NextQuestion::Keep,
                NextQuestion::Never,
                NextQuestion::InMs(0),
                NextQuestion::InMs(LONG_MS),
            ]),
            query_no: self.chance.between(0, 6) as i32,
            response: None,
            quarantined: vec![],
            new_fills: fill.into_iter().collect(),
            in_force: None,
        };
        let stored = outbox::store(&tx, std::slice::from_ref(&settled)).await.expect("stored");
        let answer = self.chance.one_of(&["accepted", "rejected", "not_sent", "unknown"]);
        if stored == 1 {
            let ended = attempts::Ended {
                key: key.clone(),
                attempt_no: order.attempt_no,
                outcome: answer,
                detail: serde_json::Value::Null,
            };
            attempts::close(&tx, &[ended]).await.expect("closed");
            tx.commit().await.expect("a commit");
            self.model.close_attempt(&key, order.attempt_no, answer);
        } else {
            tx.rollback().await.expect("a rollback");
        }
        let model = self.model.store(&[settled], now());
        self.same("stored", stored as usize, model);
        let real = outbox::fills(&**client, &[&key]).await.expect("fills");
        let model = self.model.fills.get(&key).cloned().unwrap_or_default();
        let real: BTreeMap<String, Fill> =
            real.into_iter().map(|(_, fill)| (fill.fill_id.clone(), fill)).collect();
        self.same("fills", real, model);
    }

    async fn declare(&mut self) {
        let mode = self.chance.one_of(&["halted", "halted", "reduce_only", "resumed", "resumed"]);
        let scope = Scope {
            account: self.chance.permille(300).then(|| "main".into()),
            symbol: self.chance.permille(500).then(|| self.lane().symbol),
            strategy: self.chance.permille(200).then(|| "Aurus".into()),
        };
        let mut client = self.pool.get().await.expect("a connection");
        let tx = client.transaction().await.expect("a transaction");
        halts::lock(&tx).await.expect("the lock");
        let real = halts::declare(&tx, mode, &scope, "a test", ("test", None)).await;
        tx.commit().await.expect("a commit");
        let model = self.model.declare(mode, &scope, now());
        self.same("halt", real.expect("a number"), model);
        let real = risk::halts(&**client).await.expect("halts");
        let model = self.halts_of();
        self.same("halts", plain_halts(real), plain_halts(model));
    }

    async fn cancel(&mut self) {
        let mut client = self.pool.get().await.expect("a connection");
        let worker = self.chance.index(2);
        let held = self.lanes_of(worker);
        match self.key() {
            Some(key) if self.chance.permille(400) => {
                let tx = client.transaction().await.expect("a transaction");
                cancels::want(&tx, &key, "cancelled_by_hand", "a test", "test")
                    .await
                    .expect("wanted");
                tx.commit().await.expect("a commit");
                self.model.want_cancel(&key, "cancelled_by_hand", now());
            }
            Some(key) if self.chance.permille(200) => {
                let tx = client.transaction().await.expect("a transaction");
                cancels::answered(&tx, &[(&key, "over")]).await.expect("answered");
                tx.commit().await.expect("a commit");
                self.model.cancels_answered(&[(&key, "over")]);
            }
            _ => {
                let halts = risk::halts(&**client).await.expect("halts");
                // A broker that answers no questions is asked to cancel what is unknown, too.
                let any = ["ACCEPTED", "PARTIALLY_FILLED", "UNKNOWN", "PARKED"];
                let states = &any[..2 + 2 * self.chance.index(2)];
                let real =
                    cancels::want_halted(&client, &held, &halts, states).await.expect("wanted");
                let known = self.halts_of();
                let model = self.model.want_halted(&held, &known, states, now());
                self.same("wanted by halts", real as usize, model);
                // What is asked now is not asked again within this test.
                let asking: Vec<String> = self
                    .model
                    .cancels
                    .iter()
                    .filter(|(_, c)| c.asked > 0)
                    .map(|(key, _)| key.clone())
                    .collect();
                let asking: Vec<&str> = asking.iter().map(String::as_str).collect();
                let real = cancels::due(&client, &held, states, &asking, 100).await.expect("due");
                let model = self.model.due_cancels(&held, states, &asking, 100, now());
                self.same("due cancels", sorted(real), sorted(model));
            }
        }
    }

    async fn input(&mut self) {
        let mut client = self.pool.get().await.expect("a connection");
        let partition = self.chance.between(0, 1) as i32;
        let place = Place { topic_id: Arc::from("t"), topic: Arc::from("t"), partition };
        match self.chance.between(0, 3) {
            0 => {
                let places = [place];
                let real =
                    positions::take(&mut client, "gate", "one", &places).await.expect("taken");
                let real: Vec<_> = real.iter().map(|t| (t.epoch, t.next_offset)).collect();
                let model = self.model.take_input("one", partition);
                self.same("input taken", real, vec![model]);
            }
            1 => {
                let to = self.chance.between(0, 5) as i64;
                positions::rewind(&mut client, "gate", &[(place, to)]).await.expect("rewound");
                self.model.rewind(partition, to);
            }
            _ => {
                let at = self.model.inputs.get(&partition).cloned().unwrap_or_default();
                let off = i64::from(self.chance.permille(300));
                let from = at.next_offset + i64::from(self.chance.permille(200));
                let step = Move { place, epoch: at.epoch - off, from, to: from + 2 };
                let tx = client.transaction().await.expect("a transaction");
                let real = positions::advance(&tx, "gate", std::slice::from_ref(&step)).await;
                let real: Vec<i32> = real.expect("moved").iter().map(|p| p.partition).collect();
                if real.is_empty() {
                    tx.commit().await.expect("a commit");
                } else {
                    tx.rollback().await.expect("a rollback");
                }
                let model = self.model.advance(&[step]);
                self.same("fenced off", real, model);
            }
        }
    }

    async fn risk(&mut self) {
        let lane = self.lane();
        let pair = (lane.account.clone(), lane.symbol.clone());
        let trace = ("main".to_string(), "t-1".to_string());
        let mut client = self.pool.get().await.expect("a connection");
        let tx = client.transaction().await.expect("a transaction");
        let real = risk::lock(&tx, &["main"], &[(&pair.0, &pair.1)], &[(&trace.0, &trace.1)]).await;
        let model = self.model.risk_rows(
            &["main".into()],
            std::slice::from_ref(&pair),
            std::slice::from_ref(&trace),
        );
        let mut rows: Vec<PositionRow> = model.into_values().collect();
        self.same("positions", real.expect("rows"), rows.clone());
        let n = self.chance.between(0, 1_000);
        for row in &mut rows {
            row.position += d(n);
            row.avg_price = (n > 0).then(|| d(150));
            row.lots = vec![Lot { arm: None, qty: d(n + 1) }];
            (row.moves, row.consecutive_losses) = (row.moves + 1, 2);
        }
        risk::store_positions(&tx, &rows).await.expect("stored");
        let day = jiff::civil::date(2026, 11, self.chance.between(1, 28) as i8);
        risk::add_realised(&tx, &[("main", day, d(n))]).await.expect("added");
        let amount = Decimal::from(self.chance.around(300));
        risk::move_traces(&tx, &[("main", "t-1", amount)]).await.expect("moved");
        tx.commit().await.expect("a commit");
        self.model.store_positions(rows.iter());
        self.model.add_realised(&[("main", day, d(n))]);
        self.model.move_traces(&BTreeMap::from([(trace, amount)]));
    }

    async fn look(&mut self) {
        let worker = self.chance.index(2);
        let held = self.lanes_of(worker);
        let client = self.pool.get().await.expect("a connection");
        let real = outbox::stranded(&client, &held).await.expect("orders");
        let model = self.model.stranded(&held, now());
        self.same("stranded", plain(real), plain(model));
        // Questions due at one moment come in any order.
        let by_key = |mut rows: Vec<OrderRow>| {
            rows.sort_by(|a, b| a.key.cmp(&b.key));
            rows
        };
        let real = outbox::questions(&client, &held, 100).await.expect("orders");
        let model = self.model.questions(&held, 100, now());
        self.same("questions", by_key(plain(real)), by_key(plain(model)));
    }
}

async fn database() -> (FreshDatabase, Pool) {
    let database = migrated_database().await;
    let config = Stack::get().config(&database.url, "");
    let pool = pg::connect(&config.database).await.expect("Postgres answers");
    (database, pool)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_simulated_database_answers_as_the_real_one_does() {
    let (_database, pool) = database().await;
    let mut commands = 0;
    for seed in 0..SEQUENCES {
        let client = pool.get().await.expect("a connection");
        client.batch_execute(TABLES).await.expect("empty tables");
        drop(client);
        let mut beside = Beside {
            chance: Chance::new(seed),
            model: Db::default(),
            pool: pool.clone(),
            keys: 0,
            held: vec![],
            log: vec![format!("seed {seed}")],
        };
        for _ in 0..COMMANDS {
            beside.command().await;
        }
        commands += beside.log.len();
    }
    assert!(commands > SEQUENCES as usize * 10, "{commands} answers were compared");
}
