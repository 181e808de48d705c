//! The sample cases of the contract, and how lines that are no cases are answered.

use super::case::Cases;

fn differing(cases: &str) -> (usize, Vec<String>) {
    let mut judge = Cases::default();
    let answers: Vec<_> = cases.lines().map(|line| judge.answer(line)).collect();
    let told = answers.iter().flat_map(|a| {
        a.differences().into_iter().map(|d| format!("{}: {d}", a.name)).collect::<Vec<_>>()
    });
    (answers.len(), told.collect())
}

#[test]
fn the_named_cases_of_the_contract_are_judged_as_it_says() {
    let (cases, differences) = differing(include_str!("../../../tests/vectors/judge.jsonl"));
    assert_eq!(cases, 121);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn the_random_cases_of_the_contract_are_judged_as_it_says() {
    let cases = include_str!("../../../tests/vectors/judge-random.jsonl");
    let (cases, differences) = differing(cases);
    assert_eq!(cases, 200);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
