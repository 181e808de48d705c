//! Every example message becomes the row that its snapshot shows; what a table would not take is refused.

use jiff::Timestamp;
use serde::de::DeserializeOwned;

use super::*;
use crate::domain::event::EventId;

fn example<T: DeserializeOwned>(name: &str) -> T {
    let path = format!("{}/schemas/examples/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"))
}

macro_rules! row_of {
    ($subject:ident, $module:ident, $name:literal) => {{
        let body = wire::$module::encode(&example(concat!($name))).unwrap();
        project(Subject::$subject, &body, Subject::$subject.schema()).unwrap()
    }};
}

#[test]
fn every_example_becomes_the_row_of_its_snapshot() {
    insta::assert_json_snapshot!("clamped", row_of!(Decision, decision, "decisions/clamped"));
    insta::assert_json_snapshot!(
        "scaled",
        row_of!(Decision, decision, "decisions/scaled-proposal")
    );
    insta::assert_json_snapshot!("expired", row_of!(Decision, decision, "decisions/expired"));
    insta::assert_json_snapshot!("sent", row_of!(ExecEvent, exec_event, "exec-events/sent"));
    insta::assert_json_snapshot!("filled", row_of!(ExecEvent, exec_event, "exec-events/filled"));
    let replaced = row_of!(ExecEvent, exec_event, "exec-events/replaced");
    insta::assert_json_snapshot!("replaced", replaced);
    insta::assert_json_snapshot!("clamp", row_of!(Alert, alert, "alerts/clamp"));
    insta::assert_json_snapshot!("no_trace", row_of!(Alert, alert, "alerts/without-a-trace"));
    insta::assert_json_snapshot!("start", row_of!(PlanRun, plan_run, "plan-runs/start"));
    let cancel = row_of!(CommandOutcome, command_outcome, "command-outcomes/cancel");
    insta::assert_json_snapshot!("cancel", cancel);
    let too_late = row_of!(CommandOutcome, command_outcome, "command-outcomes/too-late");
    insta::assert_json_snapshot!("too_late", too_late);
    insta::assert_json_snapshot!("call", row_of!(InferCall, infer_call, "infer-calls/ok"));
}

#[test]
fn no_example_is_left_out_of_the_snapshots() {
    let files: usize = SUBJECTS
        .iter()
        .map(|s| format!("{}/schemas/examples/{}", env!("CARGO_MANIFEST_DIR"), s.topic()))
        .map(|folder| std::fs::read_dir(folder).unwrap().count())
        .sum();
    assert_eq!(files, 12, "a new example wants a line above");
}

fn reason(row: Result<Row, DecodeError>) -> &'static str {
    row.expect_err("it is refused").reason()
}

#[test]
fn an_event_id_that_no_key_can_hold_is_refused() {
    let with = |id: String| {
        let event: PlanRun = example("plan-runs/start");
        plan_run(PlanRun { event_id: EventId(id), ..event })
    };
    assert_eq!(reason(with(String::new())), "invalid_event_id");
    assert_eq!(reason(with("x".repeat(EVENT_ID_MAX_BYTES + 1))), "invalid_event_id");
    assert!(with("x".repeat(EVENT_ID_MAX_BYTES)).is_ok());
}

#[test]
fn a_time_that_no_month_is_made_for_is_refused() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    for (time, taken) in [
        ("1969-12-31T23:59:59.999999Z", false),
        ("1970-01-01T00:00:00Z", true),
        ("2099-12-31T23:59:59.999999Z", true),
        ("2100-01-01T00:00:00Z", false),
        ("-009999-01-02T01:59:59Z", false),
    ] {
        let call: InferCall = example("infer-calls/ok");
        let row = infer_call(InferCall { called_at: at(time), ..call });
        assert_eq!(row.is_ok(), taken, "{time}");
        let step: PlanRun = example("plan-runs/start");
        let row = plan_run(PlanRun { finished_at: Some(at(time)), ..step });
        assert_eq!(row.is_ok(), taken, "{time}");
    }
    let event: Alert = example("alerts/clamp");
    let late = alert(Alert { at: at("3000-01-01T00:00:00Z"), ..event });
    assert_eq!(reason(late), "invalid_at");
}

#[test]
fn bytes_of_another_subject_are_refused_and_none_panics() {
    let body = wire::decision::encode(&example("decisions/clamped")).unwrap();
    for subject in SUBJECTS.into_iter().filter(|s| *s != Subject::Decision) {
        assert!(project(subject, &body, Subject::Decision.schema()).is_err(), "{subject:?}");
        assert!(project(subject, &body, subject.schema()).is_err(), "{subject:?}");
    }
    for cut in 0..body.len() {
        assert!(project(Subject::Decision, &body[..cut], Subject::Decision.schema()).is_err());
    }
}
