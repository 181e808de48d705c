//! The worlds that CI lives through.

use super::*;

#[test]
fn first() {
    let n: u64 = std::env::var("N").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    let mut bad = BTreeMap::<&str, Vec<u64>>::new();
    let (mut steps, mut orders, mut sends) = (0, 0, 0);
    let t = std::time::Instant::now();
    for seed in 0..n {
        let report = live(seed, Settings::default());
        steps += report.steps; orders += report.orders; sends += report.sends;
        if let Some(v) = report.violation {
            if bad.entry(v.invariant).or_default().len() < 3 { println!("{seed} {} {}", v.invariant, v.seen); }
            bad.entry(v.invariant).or_default().push(seed);
        }
    }
    println!("{steps} {orders} {sends} {:?} {:?}", t.elapsed(), bad.iter().map(|(k, v)| (k, v.len())).collect::<Vec<_>>());
    if let Ok(seed) = std::env::var("S") {
        let report = live(seed.parse().unwrap(), Settings { keeps_log: true, ..Settings::default() });
        for line in report.lines { println!("{line}"); }
    }
}
