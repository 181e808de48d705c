use super::*;
use crate::domain::policy::schema;

const GOOD: &str = r#"
receivers:
  ops: { kind: slack }
  pager-eu: { kind: webhook, url: "https://pager.example.com/hooks/noctus" }
  local: { kind: webhook, url: "http://127.0.0.1:9/x", allow_http: true, allow_private: true }
routes:
  - { severity: [CRITICAL], to: [pager-eu], continue: true }
  - { policy_name: ["PLAN.QUALITY.*"], severity: [LOW, MEDIUM], to: [] }
  - { account: [main], symbol: [USDJPY], to: [ops, local] }
default: [ops]
heartbeat: { every_s: 30, probes: ["http://gate:9464/readyz"] }
pace: { flush_s: 5, resolve_after_s: 600 }
"#;

fn read(text: &str) -> Result<Routes, BadPolicy> {
    Routes::parse("notify.yml", text)
}

#[test]
fn a_good_file_is_read_as_it_is_written() {
    let routes = read(GOOD).expect("it is good");
    assert_eq!(routes.receivers.keys().collect::<Vec<_>>(), ["local", "ops", "pager-eu"]);
    assert_eq!(routes.receivers["ops"].kind, Kind::Slack);
    assert!(routes.receivers["local"].allow_http && routes.receivers["local"].allow_private);
    assert!(!routes.receivers["pager-eu"].allow_http);
    assert_eq!(routes.routes.len(), 3);
    assert!(routes.routes[0].goes_on && !routes.routes[1].goes_on);
    assert!(routes.routes[1].to.is_empty());
    assert_eq!(routes.default, ["ops"]);
    assert_eq!(routes.heartbeat.as_ref().map(|h| (h.every_s, h.probes.len())), Some((30, 1)));
    assert_eq!(routes.pace, Pace { flush_s: 5, resolve_after_s: 600, ..Pace::default() });
    assert!(!routes.lead_nowhere());
    let again = read(&GOOD.replace("flush_s: 5", "flush_s: \"5\"")).expect("good");
    assert_eq!(again.digest, routes.digest, "the digest is of what it means");
    let other = read(&GOOD.replace("flush_s: 5", "flush_s: 6")).expect("good");
    assert_ne!(other.digest, routes.digest);
    let none = read("receivers: {}\n").expect("good");
    assert!(none.lead_nowhere());
}

#[test]
fn every_violation_is_told_at_once_with_its_place() {
    let bad = r#"
receivers:
  Ops: { kind: slack }
  heartbeat: { kind: slack }
  a: { kind: slack, url: "https://hooks.slack.com/services/T/B/x" }
  b: { kind: mail }
  c: { url: "https://x.example" }
  d: { kind: webhook, url: "http://x.example" }
  e: { kind: webhook, url: "https://user:word@x.example", secret: whsec_x }
routes:
  - { severity: [BAD], to: [nobody] }
  - { severity: [LOW] }
default: [gone]
heartbeat: { every_s: 1 }
pace: { flush_s: 0, give_up_s: x }
more: 1
"#;
    let BadPolicy(found) = read(bad).expect_err("it is bad");
    let told: Vec<(usize, &str)> = found.iter().map(|v| (v.place.line, v.path.as_str())).collect();
    assert_eq!(
        told,
        [
            (3, "receivers.Ops"),
            (4, "receivers.heartbeat"),
            (5, "receivers.a.url"),
            (6, "receivers.b.kind"),
            (7, "receivers.c"),
            (8, "receivers.d.url"),
            (9, "receivers.e.url"),
            (9, "receivers.e.secret"),
            (11, "routes[0].severity[0]"),
            (11, "routes[0].to[0]"),
            (12, "routes[1]"),
            (13, "default[0]"),
            (14, "heartbeat.every_s"),
            (15, "pace.flush_s"),
            (15, "pace.give_up_s"),
            (16, "more"),
        ]
    );
    assert!(found[0].to_string().contains("\n3 |   Ops: { kind: slack }\n  |   ^^^"));
}

#[test]
fn the_file_that_comes_with_noctus_is_good_and_leads_nowhere() {
    let text = std::fs::read_to_string("configs/notify.yml").expect("it is there");
    assert!(read(&text).expect("it is good").lead_nowhere());
    let example: String = text
        .lines()
        .filter(|line| !line.starts_with("receivers: {}") && !line.starts_with("default: []"))
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| {
            line.starts_with(' ') || line.ends_with(':') || line.starts_with("heartbeat")
        })
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(read(&example).expect("its example is good").receivers.len(), 2);
}

#[test]
fn the_schema_takes_what_the_reader_takes_and_refuses_what_it_refuses() {
    let schema = jsonschema::validator_for(&schema::notify()).expect("a schema");
    let json = |text: &str| serde_saphyr::from_str::<serde_json::Value>(text).expect("YAML");
    for text in [GOOD, "receivers: {}\ndefault: []\n", "pace: { flush_s: \"5\" }\n"] {
        assert!(read(text).is_ok() && schema.is_valid(&json(text)), "{text}");
    }
    for text in [
        "receivers: { A: { kind: slack } }",
        "receivers: { a: { kind: mail } }",
        "receivers: { a: {} }",
        "receivers: { a: { kind: webhook, url: \"ftp://x\" } }",
        "receivers: { a: { kind: webhook, url: \"https://u@x\" } }",
        "receivers: { a: { kind: slack, secret: x } }",
        "routes: [{ severity: [BAD], to: [] }]",
        "routes: [{ severity: [LOW] }]",
        "routes: [{ to: [], policy_name: [\"\"] }]",
        "pace: { flush_s: 0 }",
        "pace: { flush_s: 601 }",
        "pace: { slow: 1 }",
        "heartbeat: { every_s: 4 }",
        "more: 1",
    ] {
        assert!(read(text).is_err(), "the reader takes {text}");
        assert!(!schema.is_valid(&json(text)), "the schema takes {text}");
    }
    let mut keys: Vec<String> = Vec::new();
    for (section, of) in schema::notify()["properties"].as_object().expect("keys") {
        keys.push(section.clone());
        keys.extend(of["properties"].as_object().into_iter().flat_map(|keys| keys.keys().cloned()));
    }
    for key in keys {
        assert!(include_str!("../routes.rs").contains(&format!("\"{key}\"")), "{key}");
    }
}
