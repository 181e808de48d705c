//! Dead letters go back as they were, once, and not for ever (C-SIG-5).

use noctus::kafka::producer::Outgoing;
use noctus::wire::signature;
use serde_json::{Value, json};

use super::super::{Line, open_policy, order};
use super::run;

const SECRET: &str = "a signing key that the gate learns of later";

/// A record signed with a key that the gate does not know yet.
fn stranger(line: &Line, key: &str) -> Outgoing {
    let mut record = line.record(&order(key, "USDJPY"), Some(0));
    let (bytes, value) = (record.key.clone(), record.value.clone().expect("a value"));
    let v1 = signature::sign(SECRET.as_bytes(), "order-requests", bytes.as_deref(), &value);
    record.headers = vec![
        ("app".into(), Some(b"test".to_vec())),
        (signature::HEADER.into(), Some(signature::header("later", &v1).into_bytes())),
    ];
    record
}

fn header(record: &Value, name: &str) -> Option<String> {
    let headers = record["headers"].as_array().expect("headers");
    let found = headers.iter().find(|header| header[0] == name)?;
    Some(String::from_utf8(hex::decode(found[1].as_str()?).expect("hex")).expect("text"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redriven_letter_still_verifies_goes_once_and_no_more_than_three_times() {
    let mut line = Line::new(2, |c| c.policies.risk = Some(open_policy())).await;
    let (mut gate, _dispatch, _sink) =
        (line.start("gate"), line.start("dispatch"), line.start("sink"));
    let mut forged = line.record(&order("redriven-0003", "USDJPY"), Some(0));
    forged.value.as_mut().expect("a value").push(0);
    let good = [stranger(&line, "redriven-0001"), stranger(&line, "redriven-0002")];
    line.send(&[good[0].clone(), good[1].clone(), forged]).await;
    line.until("SELECT count(*) FROM obs_alerts", "3").await;

    let listed = run(&line, "dead-letters list --json --reason bad_signature --since 1h").with(0);
    let letters = listed.json();
    assert_eq!(letters.len(), 3);
    assert!(letters.iter().all(|l| l["key"] == "main|USDJPY" && l["redriven"] == 0), "{letters:?}");
    run(&line, "dead-letters list --reason bad_avro").with(1);
    let spot = |l: &Value| format!("{}/{}", l["partition"], l["offset"]);
    let (of_good, of_forged): (Vec<&Value>, Vec<&Value>) =
        letters.iter().partition(|l| l["origin_offset"].as_i64() < Some(2));
    let shown =
        run(&line, &format!("dead-letters show {} --json", spot(of_good[0]))).with(0).json();
    assert_eq!(shown[0]["message"]["trace_id"], "t-redriven-0001");
    assert_eq!(shown[0]["value"], json!(good[0].value.as_ref().map(hex::encode)));
    assert_eq!(shown[0]["headers"][0], json!(["app", "test"]));
    run(&line, "dead-letters show 0/999").with(1);

    // The cause is mended: the gate knows the key.
    assert!(gate.stop().success());
    let ring = json!([{"kid": "later", "secret": SECRET}, {"kid": "dev", "secret": "dev-secret"}]);
    let ring = ring.to_string();
    let _gate = line.start_with("gate", &[("NOCTUS_SIGNING_KEYS", ring.as_str())]);
    run(&line, "dead-letters redrive").with(2);
    let preview = run(&line, "dead-letters redrive --reason bad_signature").with(2);
    assert!(preview.out.contains("3") && preview.out.contains("goes"), "{preview:?}");
    run(&line, "dead-letters redrive --reason bad_signature --yes --per-second 500").with(0);
    line.rest(2).await;
    assert_eq!(line.broker.orders().len(), 2);
    let again: Vec<Value> = line.dump("order-requests").into_iter().collect();
    let again: Vec<&Value> =
        again.iter().filter(|r| header(r, "noctus-redriven").is_some()).collect();
    assert_eq!(again.len(), 3);
    for record in good {
        let same =
            again.iter().find(|r| r["value"] == json!(record.value.as_ref().map(hex::encode)));
        let same = same.expect("the value is unchanged");
        let names: Vec<&Value> =
            same["headers"].as_array().expect("headers").iter().map(|h| &h[0]).collect();
        assert_eq!(names, ["app", "noctus-signature", "noctus-redriven"]);
        assert_eq!(same["key"], json!(record.key.as_ref().map(hex::encode)));
    }
    // Again: each of them has gone.
    let twice = run(&line, &format!("dead-letters redrive {} --yes", spot(of_good[0]))).with(1);
    assert!(twice.out.contains("was redriven before"), "{twice:?}");

    // What is forged comes back, a letter of its own each time, until it has come back three times.
    let mut newest = spot(of_forged[0]);
    for redriven in 1..=3 {
        line.until("SELECT count(*) FROM owed_events", "0").await;
        line.until(
            "SELECT count(*) FROM obs_alerts WHERE policy_name = 'ingest.bad_signature'",
            &(3 + redriven).to_string(),
        )
        .await;
        let letters = run(&line, "dead-letters list --json").with(0).json();
        let back = letters.iter().find(|l| l["redriven"] == redriven);
        let back = spot(back.unwrap_or_else(|| panic!("{redriven}: {letters:?}")));
        assert_ne!(back, newest);
        newest = back;
        if redriven < 3 {
            run(&line, &format!("dead-letters redrive {newest} --yes")).with(0);
        }
    }
    let over = run(&line, &format!("dead-letters redrive {newest} --yes")).with(1);
    assert!(over.out.contains("three times"), "{over:?}");
    line.rest(2).await;
    assert_eq!(line.broker.orders().len(), 2);
}
