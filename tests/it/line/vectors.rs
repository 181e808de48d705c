//! The cases of tests/vectors through real Kafka and Postgres: what a gate decides, tells, reserves and remembers is
//! what they expect, and what `noctus judge` says of the same facts at the same moment.
//!
//! Every case gets an account, a symbol and a key of its own, so that facts, limits and quotes do not meet; what its
//! policies say of its symbol stands in the gate's files under the new one. Its times are moved to now. What a moving
//! clock or a message cannot express is left out, by a reason that is made of the case alone and counted.

mod compare;
mod hours;
mod moved;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use noctus::domain::event::{Alert, Decision};
use noctus::gate::refusal::header;
use noctus::kafka::producer::{Delivered, Outgoing};
use noctus::runtime::clock;
use noctus::wire::{self, DecodeError, Subject};
use serde_json::{Value, json};

use self::compare::differences;
use self::moved::{Case, LeftOut, Moved, WINDOW_S};
use super::Line;

/// How many cases go through the line, and what keeps the others out.
const CARRIED: usize = 271;
const LEFT_OUT: [(LeftOut, usize); 2] = [(LeftOut::Moment, 13), (LeftOut::TermsOfASet, 37)];

/// Cases under the same profiles, which are the one policy that neither symbol nor timeframe can tell apart.
type Groups = BTreeMap<String, Vec<Case>>;

fn groups(cases: Vec<Case>) -> Groups {
    let mut groups = Groups::new();
    for case in cases {
        // A direct request has no use for profiles.
        let under = if case.is_set { case.profiles_digest() } else { Case::plan_digest() };
        groups.entry(under).or_default().push(case);
    }
    groups
}

/// What the line made of the cases.
#[derive(Default)]
struct Told {
    decisions: HashMap<String, Decision>,
    alerts: HashMap<String, Vec<Alert>>,
    /// Of refused inputs: by topic, partition and offset the reason of the dead letter, and the alert's name.
    letters: HashMap<(String, i32, i64), String>,
    refusals: HashMap<(String, i32, i64), String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_cases_expect_goes_through_the_line() {
    let (carried, left_out) = moved::sorted();
    let mut why: BTreeMap<LeftOut, Vec<String>> = BTreeMap::new();
    for (case, reason) in &left_out {
        why.entry(*reason).or_default().push(case.name.clone());
    }
    let counted: Vec<(LeftOut, usize)> = why.iter().map(|(r, names)| (*r, names.len())).collect();
    assert_eq!((carried.len(), counted), (CARRIED, LEFT_OUT.to_vec()), "left out: {why:#?}");

    let named = |cases: &mut dyn Iterator<Item = &Case>| -> BTreeSet<String> {
        let alerts = cases.filter_map(|case| case.expect["alerts"].as_array()).flatten();
        alerts.map(|alert| alert["policy_name"].to_string()).collect()
    };
    let out_only = named(&mut left_out.iter().map(|(case, _)| case));
    let missed: Vec<String> = out_only.difference(&named(&mut carried.iter())).cloned().collect();
    assert_eq!(missed, [""; 0], "alerts that only a case that is left out expects");

    let mut line = Line::new(4, |_| {}).await;
    let mut gone = Vec::new();
    for (number, cases) in groups(carried).into_values().enumerate() {
        gone.extend(go_through(&mut line, number, cases, &gone).await);
    }
    let told = told(&line).await;
    let rows = Rows::read(&line).await;
    let mut wrong = Vec::new();
    let mut by_hand = Vec::new();
    for (case, place) in &gone {
        match case.expect["error"].as_str() {
            Some(reason) => refused(case, place, reason, &told, &rows, &mut wrong),
            None => {
                let Some(got) = got(case, &told, &rows, &mut wrong) else { continue };
                by_hand.push((case, got));
            }
        }
    }
    wrong.extend(judged_otherwise(&line, &by_hand, &rows));
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    let decided = line.ask("SELECT count(*) FROM outbox_orders").await;
    assert_eq!(decided, by_hand.len().to_string(), "and nothing else was decided");
    println!("{}", summary(&gone));
}

/// How many of what kind, for a reader of the test's output.
fn summary(gone: &[(Moved, Place)]) -> String {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for (case, _) in gone {
        let what = case.expect["action"].as_str().or(case.expect["error"].as_str());
        let of = if case.is_set { "set" } else { "request" };
        *kinds.entry(format!("{of} {}", what.unwrap_or("?"))).or_default() += 1;
    }
    format!("{kinds:?}")
}

/// Where a request lies.
type Place = (String, Delivered);

/// One gate under the policies of the group: facts, quotes and requests are there before it starts, so that it
/// knows the quotes when it decides (I9).
async fn go_through(
    line: &mut Line,
    number: usize,
    cases: Vec<Case>,
    before: &[(Moved, Place)],
) -> Vec<(Moved, Place)> {
    let began = clock::now();
    let cases: Vec<Moved> = cases.into_iter().map(|case| case.moved_to(began)).collect();
    let policies = moved::policies(&cases);
    let mut variables = Vec::new();
    for (kind, policy) in &policies {
        let path = line.file(&format!("{kind}-{number}.yml"), &policy.to_string());
        let variable = format!("NOCTUS_POLICIES__{}", kind.to_uppercase());
        variables.push((variable, path.display().to_string()));
    }
    line.sql(&cases.iter().map(Moved::facts_sql).collect::<String>()).await;
    let mut quotes = Vec::new();
    let mut requests = Vec::new();
    for case in &cases {
        for (symbol, quote) in case.quotes() {
            let body = wire::quote::encode(&symbol, &quote).expect("a quote can be written");
            quotes.push(line.signed(Subject::Quote, &symbol, &body).await);
        }
        requests.push(case.record(line).await);
    }
    line.send(&quotes).await;
    let places = line.send(&requests).await;
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, path)| (name.as_str(), path.as_str())).collect();
    let mut gate = line.start_with("gate", &variables);
    line.read_to_the_end("gate", &["order-requests", "proposal-sets"]).await;
    line.until("SELECT count(*) FROM owed_events", "0").await;
    assert!(gate.stop().success(), "{}", gate.log());
    let ended = clock::now();
    let took = ended.duration_since(began).as_secs();
    assert!(took < WINDOW_S, "group {number} took {took} s; cases hold for {WINDOW_S} s");
    let judged = before.len() + cases.len();
    println!("group {number}: {} cases in {took} s, {judged} in all", cases.len());
    let topics = requests.into_iter().map(|r: Outgoing| r.topic);
    let places = topics.zip(places);
    let with_policies = |case: Moved| case.under(&policies);
    cases.into_iter().map(with_policies).zip(places).collect()
}

/// Everything that was told, read by another client.
async fn told(line: &Line) -> Told {
    let mut told = Told::default();
    for record in line.dump("decisions") {
        let decision = decoded(&record, Subject::Decision, wire::decision::decode);
        let key = decision.idempotency_key.to_string();
        assert!(told.decisions.insert(key, decision).is_none(), "a decision is told once");
    }
    for record in line.dump("alerts") {
        let alert = decoded(&record, Subject::Alert, wire::alert::decode);
        let place = |d: &Value| {
            let (partition, offset) = (d["partition"].as_i64()?, d["offset"].as_i64()?);
            Some((d["topic"].as_str()?.to_string(), i32::try_from(partition).ok()?, offset))
        };
        match (&alert.idempotency_key, place(&alert.details)) {
            (Some(key), _) => told.alerts.entry(key.to_string()).or_default().push(alert),
            (None, Some(place)) => drop(told.refusals.insert(place, alert.policy_name)),
            (None, None) => panic!("an alert about nothing: {alert:?}"),
        }
    }
    for record in line.dump("dead-letters") {
        let header = |name: &str| {
            let headers = record["headers"].as_array().expect("headers");
            let found = headers.iter().find(|h| h[0] == name).expect("a dead letter's header");
            let bytes = hex::decode(found[1].as_str().expect("hex")).expect("hex");
            String::from_utf8(bytes).expect("text")
        };
        let number = |name: &str| header(name).parse::<i64>().expect("a number");
        let partition = i32::try_from(number(header::PARTITION)).expect("a partition");
        let place = (header(header::TOPIC), partition, number(header::OFFSET));
        told.letters.insert(place, header(header::REASON));
    }
    told
}

fn decoded<T>(
    record: &Value,
    subject: Subject,
    decode: impl Fn(&[u8], &apache_avro::Schema) -> Result<T, DecodeError>,
) -> T {
    let bytes = hex::decode(record["value"].as_str().expect("a value")).expect("hex");
    decode(&bytes[5..], subject.schema()).expect("an event can be read")
}

/// What the tables hold of the cases.
struct Rows {
    /// By key: action, decided quantity.
    ledger: HashMap<String, Value>,
    /// By account: the quality gate's memory; what is not there is ok.
    memory: HashMap<String, Value>,
    /// By account: what works in each direction.
    working: HashMap<String, Value>,
    /// By account and trace: opening notional.
    traces: HashMap<String, Value>,
}

impl Rows {
    async fn read(line: &Line) -> Self {
        let table = async |key: &str, value: &str, from: &str| {
            let sql =
                format!("SELECT coalesce(jsonb_object_agg({key}, {value}), '{{}}') FROM {from}");
            let told = line.ask(&sql).await;
            serde_json::from_str(&told).expect("a JSON object")
        };
        let ledger = "jsonb_build_object('action', action, 'decided_qty', decided_qty::text,
                'told', payload->>'decided_qty')";
        let working = "jsonb_build_object('BUY', working_buy::text, 'SELL', working_sell::text)";
        let memory = "jsonb_build_object('lag', lag, 'missing', missing)";
        Self {
            ledger: table("idempotency_key", ledger, "outbox_orders").await,
            memory: table("account", memory, "quality_memory").await,
            working: table("account", working, "risk_positions").await,
            traces: table("account", "opening_notional::text", "risk_traces").await,
        }
    }

    fn memory(&self, account: &str) -> Value {
        let ok = || json!({"lag": "ok", "missing": "ok"});
        self.memory.get(account).cloned().unwrap_or_else(ok)
    }
}

/// A refused shape: a dead letter with its reason, an alert, and the key stays free.
fn refused(
    case: &Moved,
    (topic, place): &Place,
    reason: &str,
    told: &Told,
    rows: &Rows,
    wrong: &mut Vec<String>,
) {
    let place = (topic.clone(), place.partition, place.offset);
    let name = &case.name;
    let letter = told.letters.get(&place).map(String::as_str);
    if letter != Some(reason) {
        wrong.push(format!("{name}: a dead letter {letter:?}, not {reason}"));
    }
    let alert = told.refusals.get(&place);
    if alert != Some(&format!("ingest.{reason}")) {
        wrong.push(format!("{name}: an alert {alert:?}, not ingest.{reason}"));
    }
    if rows.ledger.contains_key(&case.key) || told.decisions.contains_key(&case.key) {
        wrong.push(format!("{name}: it is in the ledger"));
    }
}

/// What became of a case, in the words of a case; what differs from its expectations is noted.
fn got(case: &Moved, told: &Told, rows: &Rows, wrong: &mut Vec<String>) -> Option<Value> {
    let name = &case.name;
    let Some(decision) = told.decisions.get(&case.key) else {
        wrong.push(format!("{name}: no decision"));
        return None;
    };
    let late = decision.decided_at.duration_since(case.began).as_secs();
    assert!(late <= WINDOW_S, "{name} was decided after {late} s; cases hold for {WINDOW_S} s");
    let mut got = serde_json::to_value(decision).expect("plain data");
    let alerts = told.alerts.get(&case.key).cloned().unwrap_or_default();
    let fired = |a: &Alert| {
        json!({"policy_name": a.policy_name, "severity": a.severity,
        "reason": a.reason, "details": a.details})
    };
    got["alerts"] = alerts.iter().map(fired).collect();
    got["next_quality_state"] = rows.memory(&case.account);
    wrong.extend(differences(name, "expected", &case.expect, &got));
    if decision.action.as_str() == "REJECT"
        && (decision.quality.is_some() || decision.score.is_some())
    {
        wrong.push(format!("{name}: a REJECT has no quality and no score"));
    }
    let row = json!({"action": got["action"], "decided_qty": got["decided_qty"],
        "told": got["decided_qty"]});
    let held = rows.ledger.get(&case.key).cloned().unwrap_or_default();
    wrong.extend(differences(name, "the ledger", &row, &held));
    Some(got)
}

/// `noctus judge` on the same cases at the moments at which the gate decided them.
fn judged_otherwise(line: &Line, cases: &[(&Moved, Value)], rows: &Rows) -> Vec<String> {
    let lines: String = cases
        .iter()
        .map(|(case, got)| {
            let now: Timestamp = got["decided_at"].as_str().expect("a time").parse().expect("one");
            format!("{}\n", case.line(now))
        })
        .collect();
    let file = line.file("cases.jsonl", &lines);
    let mut judge = line.noctus();
    judge.arg("judge").arg(file);
    let out = judge.output().expect("noctus can be started");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
    let text = String::from_utf8(out.stdout).expect("text");
    assert_eq!(text.lines().count(), cases.len(), "one answer a case");
    let mut wrong = Vec::new();
    for ((case, got), answer) in cases.iter().zip(text.lines()) {
        let mut says: Value = serde_json::from_str(answer).expect("a JSON line");
        let judged = says.as_object_mut().expect("an object");
        let name = judged.remove("name").expect("it keeps the name");
        assert_eq!(name, json!(case.name));
        let (side, opening) = (judged.remove("side"), judged.remove("opening_notional"));
        judged.remove("opening_qty");
        wrong.extend(differences(&case.name, "noctus judge", &says, got));
        let (side, opening) = (side.unwrap_or_default(), opening.unwrap_or_default());
        wrong.extend(reserved(case, &says, &side, &opening, rows));
    }
    wrong
}

/// The facts after a case: what worked and was open before, and what was decided.
fn reserved(case: &Moved, says: &Value, side: &Value, opening: &Value, rows: &Rows) -> Vec<String> {
    let sends = ["BUY", "SELL"].contains(&says["action"].as_str().unwrap_or_default());
    let more = |here: bool, value: &Value| {
        if here && sends { moved::number(value) } else { Default::default() }
    };
    let before = |fact: &str| moved::number(&case.facts[fact]);
    let after =
        |fact: &str, of: &str| (before(fact) + more(side == of, &says["decided_qty"])).to_string();
    let working =
        json!({"BUY": after("working_buy", "BUY"), "SELL": after("working_sell", "SELL")});
    let open = json!((before("trace_notional") + more(true, opening)).to_string());
    let row = rows.working.get(&case.account).cloned().unwrap_or_default();
    let mut wrong = differences(&case.name, "what works", &working, &row);
    let row = rows.traces.get(&case.account).cloned().unwrap_or_default();
    wrong.extend(differences(&case.name, "the trace's notional", &open, &row));
    wrong
}
