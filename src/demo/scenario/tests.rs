use super::*;

const SMALL: &str = "
name: small
title: t
steps:
  - submit: { label: a, order: { symbol: USDJPY, side: BUY, qty: \"1\" } }
expect:
  - no_decision: { of: a }
";

fn why(text: &str) -> String {
    Scenario::read("small", text).map(|_| String::new()).unwrap_or_else(|bad| bad.why)
}

#[test]
fn every_scenario_of_this_build_can_be_read() {
    let names: Vec<String> =
        Scenario::embedded().unwrap().into_iter().map(|scenario| scenario.name).collect();
    assert_eq!(names[0], "plan");
    assert_eq!(names.len(), EMBEDDED.len());
}

#[test]
fn every_file_of_the_folder_is_played() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|e| e.unwrap().file_name().to_str()?.strip_suffix(".yml").map(str::to_string))
        .collect();
    files.sort();
    let mut played: Vec<&str> = EMBEDDED.iter().map(|(name, _)| *name).collect();
    played.sort();
    assert_eq!(files, played);
}

#[test]
fn a_small_scenario_is_read_with_its_defaults() {
    let scenario = Scenario::read("small", SMALL).unwrap();
    let submit = scenario.submits().next().unwrap();
    assert_eq!((submit.times, submit.signed, submit.version), (1, Signed::Well, Version::V1_1));
}

#[test]
fn what_a_file_says_wrong_is_refused() {
    assert!(why(&SMALL.replace("name: small", "name: other")).contains("the file is small"));
    assert!(why(&SMALL.replace("of: a", "of: b")).contains("no request is b"));
    assert!(why(&SMALL.replace("label: a,", "label: a, tims: 2,")).contains("tims"));
    assert!(why(&SMALL.replace("qty: ", "quantity: ")).contains("quantity"));
    assert!(why(&SMALL.replace("side: BUY", "side: BUY, trace_id: x")).contains("filled in"));
    assert!(why(&SMALL.replace("label: a,", "label: a, same_key_as: z,")).contains("no earlier"));
    assert!(why(&SMALL.replace("title: t", "title: t\ntitle: u")).contains("duplicate"));
}
