//! What one decision costs: time and allocations, and instructions under valgrind.
//!
//! ```text
//! cargo bench --bench judge                 time (fastest, slowest, median, mean) and allocations
//! cargo bench --bench judge --no-run        prints the executable's path; then
//! valgrind --tool=callgrind --collect-atstart=no --toggle-collect='*measured*' PATH --run direct 1000
//! ```
//! The instructions that callgrind collects, divided by the last number, are those of one decision.

use std::hint::black_box;

use divan::{AllocProfiler, Bencher};
use jiff::Timestamp;
use noctus::domain::judge::{Facts, Judgement, judge};
use noctus::domain::policy::risk::utc_only;
use noctus::domain::policy::{Policies, Source, Sources};
use noctus::domain::request::{Intake, OrderDraft, ProposalSetDraft};
use serde_json::{Value, json};

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

const NOW: &str = "2026-11-23T10:00:00Z";

/// Every rule is on; what they allow is not reached by `direct` and by proposals.
const RISK: &str = r#"
default:
  forbidden_symbols: [XAUUSD, XAGUSD, BTCUSD]
  trading_hours_utc: ["00:00-22:00", "22:15-24:00"]
  max_quote_age_s: 60
  price_collar_pct: 5
  max_consecutive_losses: 3
  shrink_after_losses_pct: 50
  max_order_qty: 20000
  max_orders_per_minute: 60
  max_daily_loss: 1000000
  max_trace_notional: 10000000
  max_position_notional: 10000000
overrides:
  EURUSD: { max_order_qty: 10000 }
"#;

/// A request with everything that it is judged by.
struct Asked {
    intake: Intake,
    facts: Facts,
    policies: Policies,
    now: Timestamp,
}

impl Asked {
    fn new(intake: Intake) -> Self {
        let sources =
            Sources { risk: Some(Source { file: "risk", text: RISK }), ..Sources::default() };
        let policies = Policies::parse(sources, &utc_only).expect("it is a good policy");
        let facts = json!({"position": "1200", "working_buy": "300", "working_sell": "100",
            "consecutive_losses": 1, "daily_pnl": "-1500.5", "trace_notional": "250000", "orders_last_minute": 4,
            "quote": {"bid": "151.203", "ask": "151.221", "at": "2026-11-23T09:59:58.5Z"}, "rate": "1"});
        let facts = serde_json::from_value(facts).expect("they are facts");
        Self { intake, facts, policies, now: NOW.parse().expect("a time") }
    }

    /// A limit order within every limit.
    fn direct() -> Self {
        Self::new(order(json!({"qty": "500"})))
    }

    /// One that the quality gate scales and that three rules cut.
    fn cut() -> Self {
        let quality = json!({"missing_ratio": 0.12, "data_lag_min": 2.5});
        let mut asked = Self::new(order(json!({"qty": "90000", "quality": quality})));
        asked.facts.consecutive_losses = 3;
        asked.policies.risk.limits.max_position_notional = Some(1_000_000.into());
        asked
    }

    /// A set of so many proposals, most of them of known strategies.
    fn proposals(count: usize) -> Self {
        let names = ["Aurus", "Levia", "Prometheus", "Veritas", "Newcomer"];
        let one = |i: usize| {
            let intent = if i % 3 == 2 { "SHORT" } else { "LONG" };
            let name = if i < 5 { names[i].to_string() } else { format!("{}{i}", names[i % 5]) };
            json!({"strategy": name, "intent": intent, "qty_raw": "750.5",
                "confidence": 0.41 + i as f64 / 200.0, "risk_score": 0.3})
        };
        let set = json!({"trace_id": "20261123-100000-USDJPY-1h-0000beef", "symbol": "USDJPY",
            "requested_at": NOW, "reference_price": "151.2", "timeframe": "1h",
            "quality": {"missing_ratio": 0.01, "data_lag_min": 2.5},
            "proposals": (0..count).map(one).collect::<Vec<Value>>()});
        let draft: ProposalSetDraft = serde_json::from_value(set).expect("a set");
        let mut asked = Self::new(Intake::Proposals(draft.check().expect("of a good shape")));
        let weights = &mut asked.policies.profiles.champion.weights;
        let Intake::Proposals(set) = &asked.intake else { return asked };
        for proposal in set.proposals.iter().filter(|p| !p.strategy.starts_with("Newcomer")) {
            let name = noctus::domain::text::StrategyName::new(&proposal.strategy).expect("a name");
            weights.entry(name).or_insert_with(|| "0.75".parse().expect("a number"));
        }
        asked
    }

    fn named(name: &str) -> Option<Self> {
        match name {
            "direct" => Some(Self::direct()),
            "cut" => Some(Self::cut()),
            "five" => Some(Self::proposals(5)),
            "most" => Some(Self::proposals(64)),
            _ => None,
        }
    }

    fn judge(&self) -> Judgement {
        judge(black_box(&self.intake), black_box(&self.facts), black_box(&self.policies), self.now)
    }
}

fn order(change: Value) -> Intake {
    let mut order = json!({"trace_id": "20261123-100000-USDJPY-1h-0000beef", "account": "main",
        "symbol": "USDJPY", "side": "BUY", "order_type": "LIMIT", "limit_price": "151.25",
        "requested_at": NOW, "reference_price": "151.2", "strategy": "Aurus", "timeframe": "1h",
        "quality": {"missing_ratio": 0.01, "data_lag_min": 2.5}});
    if let (Value::Object(order), Value::Object(change)) = (&mut order, change) {
        order.extend(change);
    }
    let draft: OrderDraft = serde_json::from_value(order).expect("an order");
    Intake::Order(draft.check().expect("of a good shape"))
}

/// A direct request within every limit: the usual case.
#[divan::bench]
fn direct(bencher: Bencher) {
    let asked = Asked::direct();
    bencher.bench(|| asked.judge());
}

/// A direct request that is scaled and cut three times, with four alerts.
#[divan::bench]
fn cut(bencher: Bencher) {
    let asked = Asked::cut();
    bencher.bench(|| asked.judge());
}

/// A proposal set.
#[divan::bench(args = [5, 64])]
fn proposals(bencher: Bencher, count: usize) {
    let asked = Asked::proposals(count);
    bencher.bench(|| asked.judge());
}

/// What callgrind collects.
#[inline(never)]
fn measured(asked: &Asked) -> Judgement {
    asked.judge()
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let Some(at) = args.iter().position(|arg| arg == "--run") else { return divan::main() };
    let name = args.get(at + 1).map_or("direct", String::as_str);
    let times = args.get(at + 2).and_then(|n| n.parse().ok()).unwrap_or(1_000_u32);
    let Some(asked) = Asked::named(name) else {
        eprintln!("--run direct|cut|five|most [TIMES]");
        std::process::exit(2);
    };
    println!("{:?}", measured(&asked));
    (0..times).for_each(|_| drop(black_box(measured(&asked))));
}
