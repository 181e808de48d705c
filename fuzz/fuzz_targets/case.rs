//! A line that `noctus judge` reads: judged soundly, refused, or no case.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use noctus::ops::judge::case::{Cases, Outcome};

thread_local! {
    static CASES: RefCell<Cases> = RefCell::default();
}

fuzz_target!(|data: &[u8]| {
    let Ok(line) = std::str::from_utf8(data) else { return };
    let answer = CASES.with_borrow_mut(|cases| cases.answer(line.trim()));
    let mut told = Vec::new();
    answer.write(&mut told).expect("memory takes it");
    let told: serde_json::Value = serde_json::from_slice(&told).expect("it is JSON");
    match &answer.outcome {
        Outcome::Judged { judgement, .. } => {
            let j = judgement;
            assert!(j.decided_qty <= j.requested_qty && j.opening_qty <= j.decided_qty);
            assert_eq!(j.action.sends(), !j.decided_qty.is_zero());
            assert!(!j.action.sends() || told["quality"]["verdict"].is_string(), "{told}");
            let mut qty = j.requested_qty;
            for step in &j.steps {
                assert!(step.after < step.before && step.before <= qty, "{told}");
                qty = step.after;
            }
        }
        Outcome::Refused(code) => assert!(code.starts_with("invalid_")),
        Outcome::Bad(why) => assert!(!why.is_empty()),
    }
    let _ = answer.differences();
});
