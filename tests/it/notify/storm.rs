//! A storm of alerts: few messages, nothing CRITICAL lost, every change in one message. `tests/long notify` makes it a
//! bigger one, with the receiver down for minutes and the role killed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use noctus::domain::event::Severity;

use super::receiver::Mood;
use super::{Desk, alert};
use noctus::runtime::clock;

fn of(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// `NOCTUS_STORM_ALERTS` over `NOCTUS_STORM_S` seconds, the receiver down for `NOCTUS_STORM_DOWN_S`, the role killed
/// `NOCTUS_STORM_KILLS` times; what came of it goes to the file `NOCTUS_STORM_RESULT`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f65_f66_of_a_storm_few_messages_are_made_and_nothing_critical_is_lost() {
    let (alerts, over_s) = (of("NOCTUS_STORM_ALERTS", 1_500), of("NOCTUS_STORM_S", 5));
    let (down_s, kills) = (of("NOCTUS_STORM_DOWN_S", 4), of("NOCTUS_STORM_KILLS", 2));
    let mut desk = Desk::new("give_up_s: 86400, resolve_after_s: 86400").await;
    let text = super::routes(&desk.pager, "give_up_s: 86400, resolve_after_s: 86400");
    desk.route(&text.replace("flush_s: 1, critical_flush_s: 0", "flush_s: 3, critical_flush_s: 1"));
    let began = Instant::now();
    let mut notify = desk.notify(&[]);
    let (mut criticals, mut conditions, mut killed) = (BTreeSet::new(), BTreeSet::new(), 0);
    for second in 0..over_s {
        let n = u32::try_from(alerts / over_s).expect("a few");
        let batch: Vec<_> = (0..n)
            .map(|i| {
                let i = second as u32 * n + i;
                // Half of them of a few conditions, half of ever new ones; one of a hundred is CRITICAL.
                let is_critical = i % 100 == 7;
                let symbol =
                    if i.is_multiple_of(2) { format!("S{}", i % 10) } else { format!("N{i}") };
                let (rule, severity) = match is_critical {
                    true => ("do.parked", Severity::Critical),
                    false => ("risk.rate", Severity::High),
                };
                conditions.insert(format!("{rule} {symbol}"));
                if is_critical {
                    criticals.insert(symbol.clone());
                }
                alert(i, rule, &symbol, severity, clock::now())
            })
            .collect();
        let next = tokio::time::Instant::now() + Duration::from_secs(1);
        desk.fire(&batch).await;
        if second == over_s / 3 {
            desk.pager.is(Mood::Answers(503, None));
        }
        if killed < kills && second > 0 && second % (over_s / (kills + 1)).max(1) == 0 {
            notify.kill();
            notify = desk.notify(&[]);
            killed += 1;
        }
        tokio::time::sleep_until(next).await;
    }
    tokio::time::sleep(Duration::from_secs(down_s)).await;
    for _ in killed..kills {
        notify.kill();
        notify = desk.notify(&[]);
        tokio::time::sleep(Duration::from_millis(rand::random_range(500..3_000))).await;
    }
    desk.pager.is(Mood::Takes);
    desk.rest().await;
    let (rest_s, peak_kb) = (began.elapsed().as_secs(), notify.peak_kb());
    let taken = desk.pager.taken();
    let sum = |key: &str| taken.values().filter_map(|g| g.body["data"][key].as_u64()).sum::<u64>();
    assert_eq!(sum("opened") as usize, conditions.len(), "every condition is told once");
    let named: BTreeSet<String> = taken
        .values()
        .flat_map(|got| got.body["data"]["groups"].as_array().cloned().unwrap_or_default())
        .filter(|group| group["severity"] == "CRITICAL")
        .flat_map(|group| group["conditions"].as_array().cloned().unwrap_or_default())
        .filter_map(|condition| condition["symbol"].as_str().map(str::to_string))
        .collect();
    assert_eq!(named, criticals, "nothing CRITICAL is lost");
    desk.pager.changes();
    let most = 30 + (over_s + down_s) as usize;
    assert!(taken.len() <= most, "{} messages", taken.len());
    if let Some(path) = std::env::var_os("NOCTUS_STORM_RESULT") {
        let calls = desk.pager.got().len();
        let told = format!(
            "alerts                 {alerts} within {over_s} s\nconditions             {}\nof them CRITICAL       {}, each named at the receiver\n\
             receiver down          {down_s} s after the storm, and two thirds of it\nrole killed            {kills} times\n\
             messages taken         {}\ncalls in all           {calls}\nconditions told twice  {}\nat rest after          {rest_s} s\n\
             peak memory            {peak_kb} KB\n",
            conditions.len(),
            criticals.len(),
            taken.len(),
            sum("opened") as usize - conditions.len(),
        );
        std::fs::write(path, told).expect("the file can be written");
    }
}
