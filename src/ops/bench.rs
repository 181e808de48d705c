//! `noctus bench`: measure orders per second and latencies on real services, as JSON.
//!
//! Two measurements, one after the other, with all roles in this process: a burst (as fast as it goes), and a
//! steady rate at which latencies are taken from the moment an order was due, so that a stall is not hidden.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Exit, Global};
use crate::demo::progress::Progress;
use crate::demo::roles::Roles;
use crate::demo::stage::Stage;
use crate::domain::event::OrderStatus;
use crate::domain::key::recipe_v1;
use crate::domain::policy::{Policies, Source, Sources};
use crate::domain::request::{OrderDraft, Side};
use crate::domain::text::{Account, IdempotencyKey, Symbol, TraceId, record_key};
use crate::kafka::admin::topic;
use crate::kafka::latest::{Heard, Latest};
use crate::kafka::producer::{Outgoing, Producer};
use crate::runtime::clock;
use crate::runtime::context::Context;
use crate::runtime::keyring::Keyring;
use crate::runtime::secrets::{DEV_SECRET, Secrets};
use crate::wire::{self, Subject};

/// How long everything may take to finish after the last order was produced.
const DEADLINE: Duration = Duration::from_secs(120);
/// Records produced at once in the burst.
const CHUNK: usize = 2_000;
/// Wide enough that nothing is refused: what is measured is the way, not a limit.
const POLICY: &str = "default: { max_position_notional: 1000000000000, max_order_qty: 20000 }";

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct Args {
    /// Orders of the burst
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    orders: u32,
    /// Symbols they are spread over
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    symbols: u32,
    /// Orders per second of the steady part
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Seconds of the steady part
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
}

const HELP: &str = "\
Works in topics and a database of its own on the services of the configuration, and removes them afterwards. The
broker is noctus paper-broker. The result is one JSON object on standard output; times are milliseconds.

Example:
  noctus bench --brokers localhost:9092 --registry http://localhost:8081 --database postgres://… --orders 20000";

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let progress = Progress::new();
    let stage = Stage::real(global.config()?, &|what| progress.stage(what)).await?;
    let measured = measure(&args, &stage, &progress).await;
    progress.stage("ending everything that was started");
    stage.close().await;
    progress.done();
    println!("{}", serde_json::to_string_pretty(&measured?)?);
    Ok(Exit::Ok)
}

async fn measure(args: &Args, stage: &Stage, progress: &Progress) -> anyhow::Result<Value> {
    let secrets = Arc::new(Secrets {
        idempotency: vec![SecretString::from(DEV_SECRET.to_string())],
        signing: Keyring::dev(),
    });
    let config = Arc::new(stage.config.clone());
    let mut roles = Roles::start(config, secrets, &|what| progress.waiting(what)).await?;
    let risk = Some(Source { file: "bench", text: POLICY });
    let policies = Policies::parse(Sources { risk, ..Sources::default() }, &|_| None)?;
    roles.context.policies.store(Arc::new(policies));
    let bench = Bench::new(&roles.context, args).await?;
    let measured = async {
        progress.stage("burst: as fast as it goes");
        let burst = bench.burst(args.orders as usize).await?;
        progress.stage("steady: latencies at a fixed rate");
        let steady = bench.steady(args.rate, args.seconds).await?;
        anyhow::Ok((burst, steady))
    };
    let (burst, steady) = tokio::select! {
        measured = measured => measured?,
        error = roles.ended() => return Err(error),
    };
    roles.stop().await;
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "profile": if cfg!(debug_assertions) { "dev" } else { "release" },
        "at": clock::now(),
        "processors": std::thread::available_parallelism().map_or(0, |n| n.get()),
        "symbols": args.symbols,
        "burst": burst,
        "steady": steady,
    }))
}

/// What was heard of an order.
enum Told {
    Decision(IdempotencyKey, Timestamp),
    Accepted(IdempotencyKey, Timestamp),
    Finished,
}

struct Bench {
    ctx: Context,
    producer: Producer,
    schema_id: u32,
    symbols: Vec<Symbol>,
    run: u32,
}

/// An order and its record.
struct Order {
    key: IdempotencyKey,
    record: Outgoing,
}

impl Bench {
    async fn new(ctx: &Context, args: &Args) -> anyhow::Result<Self> {
        // Quoted in the account's currency, so that no rate is needed.
        let letter = |n: u32| char::from(b'A' + (n % 26) as u8);
        let symbol =
            |n: u32| Symbol::new(&format!("{}{}{}JPY", letter(n / 676), letter(n / 26), letter(n)));
        Ok(Self {
            schema_id: ctx.registry.newest_id(&ctx.config, Subject::OrderRequest).await?,
            ctx: ctx.clone(),
            producer: Producer::new(&ctx.config)?,
            symbols: (0..args.symbols).map(symbol).collect::<Result<_, _>>()?,
            run: rand::random(),
        })
    }

    fn order(&self, part: &str, n: usize, requested_at: Timestamp) -> anyhow::Result<Order> {
        let symbol = &self.symbols[n % self.symbols.len()];
        let trace_id = TraceId::new(&format!("bench-{:08x}-{part}-{n}", self.run))?;
        let side = if (n / self.symbols.len()).is_multiple_of(2) { Side::Buy } else { Side::Sell };
        let qty = rust_decimal::Decimal::from(1 + n % 100);
        let key = recipe_v1(DEV_SECRET, symbol, side, qty, requested_at, &trace_id);
        let draft: OrderDraft = serde_json::from_value(json!({
            "trace_id": trace_id, "symbol": symbol, "side": side, "qty": qty,
            "reference_price": "1.25", "requested_at": requested_at, "idempotency_key": key,
            "quality": {"missing_ratio": 0.01, "data_lag_min": 1.0}, "timeframe": "1h",
        }))?;
        let body = wire::order_request::encode(&OrderDraft {
            schema_version: Some("1.1".into()),
            ..draft
        })?;
        let secrets = self.ctx.secrets.load();
        let signer = super::submit::signer(&secrets, None, clock::now())?;
        let under = record_key(&Account::new("main")?, symbol).into_bytes();
        let record = super::submit::record(&self.ctx.config, self.schema_id, signer, under, &body);
        Ok(Order { key, record })
    }

    /// Everything at once: from the first order produced to the last decided, and finished at the broker.
    async fn burst(&self, orders: usize) -> anyhow::Result<Value> {
        let mut records = Vec::with_capacity(orders);
        let now = clock::now();
        for n in 0..orders {
            records.push(self.order("burst", n, now)?.record);
        }
        let mut heard = self.listen().await?;
        let began = std::time::Instant::now();
        let produced = async {
            for chunk in records.chunks(CHUNK) {
                self.producer.produce(chunk).await?;
            }
            anyhow::Ok(began.elapsed())
        };
        let told = async {
            let (mut decided, mut finished, mut last_decided) = (0, 0, Duration::ZERO);
            while finished < orders || decided < orders {
                match tokio::time::timeout(DEADLINE, heard.recv()).await {
                    Ok(Some(Told::Decision(..))) => {
                        decided += 1;
                        last_decided = began.elapsed();
                    }
                    Ok(Some(Told::Finished)) => finished += 1,
                    Ok(Some(Told::Accepted(..))) => {}
                    _ => bail!(
                        "{decided} decided and {finished} finished of {orders}; then nothing for {DEADLINE:?}"
                    ),
                }
            }
            Ok((last_decided, began.elapsed()))
        };
        let (produced, (decided, finished)) = tokio::try_join!(produced, told)?;
        let per_s = |time: Duration| (orders as f64 / time.as_secs_f64()).round();
        Ok(json!({
            "orders": orders,
            "seconds": {"produced": produced.as_secs_f64(), "decided": decided.as_secs_f64(), "finished": finished.as_secs_f64()},
            "orders_per_s": {"decided": per_s(decided), "finished": per_s(finished)},
        }))
    }

    /// At a fixed rate; an order's time begins when it was due.
    async fn steady(&self, rate: u32, seconds: u32) -> anyhow::Result<Value> {
        let orders = (rate * seconds) as usize;
        let mut heard = self.listen().await?;
        let began = (tokio::time::Instant::now(), clock::now());
        let produced = async {
            let mut sends = tokio::task::JoinSet::new();
            for n in 0..orders {
                let due = Duration::from_secs_f64(n as f64 / f64::from(rate));
                tokio::time::sleep_until(began.0 + due).await;
                let requested_at = began.1 + jiff::SignedDuration::try_from(due)?;
                let requested_at = Timestamp::from_microsecond(requested_at.as_microsecond())?;
                let record = self.order("steady", n, requested_at)?.record;
                let producer = self.producer.clone();
                sends.spawn(async move { producer.produce(&[record]).await });
            }
            while let Some(sent) = sends.join_next().await {
                sent??;
            }
            anyhow::Ok(())
        };
        let told = async {
            let (mut decided, mut accepted) = (HashMap::new(), HashMap::new());
            while decided.len() < orders || accepted.len() < orders {
                match tokio::time::timeout(DEADLINE, heard.recv()).await {
                    Ok(Some(Told::Decision(key, at))) => drop(decided.entry(key).or_insert(at)),
                    Ok(Some(Told::Accepted(key, at))) => drop(accepted.entry(key).or_insert(at)),
                    Ok(Some(Told::Finished)) => {}
                    _ => {
                        bail!("{} decided, {} accepted of {orders}", decided.len(), accepted.len())
                    }
                }
            }
            Ok((decided, accepted))
        };
        let ((), (decided, accepted)) = tokio::try_join!(produced, told)?;
        let mut due = HashMap::new();
        for n in 0..orders {
            let after = Duration::from_secs_f64(n as f64 / f64::from(rate));
            let at = began.1 + jiff::SignedDuration::try_from(after)?;
            let at = Timestamp::from_microsecond(at.as_microsecond())?;
            due.insert(self.order("steady", n, at)?.key, at);
        }
        Ok(json!({
            "orders": orders, "rate_per_s": rate, "seconds": seconds,
            "latency_ms": {
                "produce_to_decision_visible": quantiles(&due, &decided),
                "produce_to_broker_acceptance": quantiles(&due, &accepted),
            },
        }))
    }

    /// Hears decisions and exec events from now on; a decision's time is when it was heard here.
    async fn listen(&self) -> anyhow::Result<mpsc::UnboundedReceiver<Told>> {
        let (tell, heard) = mpsc::unbounded_channel();
        for subject in [Subject::Decision, Subject::ExecEvent] {
            let topic = topic(&self.ctx.config, subject.topic()).await?;
            let mut latest = Latest::open(&self.ctx.config, topic).await?;
            // What earlier parts told is read first, and not told again.
            while !matches!(latest.next().await, Heard::UpToDate) {}
            let (tell, registry) = (tell.clone(), self.ctx.registry.clone());
            tokio::spawn(async move {
                while !tell.is_closed() {
                    let Heard::Record(record) = latest.next().await else { continue };
                    let now = clock::now();
                    let Some(value) = &record.value else { continue };
                    let Ok((id, body)) = wire::split(value) else { continue };
                    let Ok(schema) = registry.schema(id).await else { continue };
                    match subject {
                        Subject::Decision => {
                            if let Ok(d) = wire::decision::decode(body, &schema) {
                                let _ = tell.send(Told::Decision(d.idempotency_key, now));
                            }
                        }
                        _ => {
                            let Ok(e) = wire::exec_event::decode(body, &schema) else { continue };
                            if e.status == OrderStatus::Accepted {
                                let _ = tell.send(Told::Accepted(e.idempotency_key, e.at));
                            } else if e.status.is_final() {
                                let _ = tell.send(Told::Finished);
                            }
                        }
                    }
                }
            });
        }
        Ok(heard)
    }
}

fn quantiles(
    due: &HashMap<IdempotencyKey, Timestamp>,
    at: &HashMap<IdempotencyKey, Timestamp>,
) -> Value {
    let mut ms: Vec<f64> = at
        .iter()
        .filter_map(|(key, at)| Some(at.duration_since(*due.get(key)?).as_secs_f64() * 1_000.0))
        .collect();
    ms.sort_by(f64::total_cmp);
    let of = |q: f64| {
        let last = ms.len().saturating_sub(1);
        let place = ((last as f64) * q).round() as usize;
        ms.get(place).map(|ms| (ms * 100.0).round() / 100.0)
    };
    json!({"samples": ms.len(), "p50": of(0.5), "p99": of(0.99), "p999": of(0.999), "max": of(1.0)})
}
