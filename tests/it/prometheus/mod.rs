//! A real Prometheus: what it makes of our metrics, our rules and the panels of our dashboards.

mod dashboards;
mod fires;
mod lag;
mod queries;
mod rules;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use noctus::runtime::metrics::LIST;
use serde_json::{Value, json};

use crate::line::Role;
use crate::source::root;
use crate::stack::Stack;

const RULES: &str = "configs/prometheus/rules.yml";
const RULE_TESTS: &str = "configs/prometheus/rules.test.yml";
const DEADLINE: Duration = Duration::from_secs(90);

fn program(name: &str) -> Command {
    let mut command = Command::new(PathBuf::from(Stack::prometheus()).join(name));
    command.stdin(Stdio::null());
    command
}

/// `promtool` with these arguments: whether it is content, and what it says.
fn promtool(arguments: &[&str]) -> (bool, String) {
    let out = program("promtool").args(arguments).output().expect("promtool can be started");
    let told = [out.stdout, out.stderr].concat();
    (out.status.success(), String::from_utf8_lossy(&told).into_owned())
}

/// What `promtool` has against metrics as they are scraped; nothing if all is well.
fn lint(text: &str) -> String {
    let mut promtool = program("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut process = promtool.spawn().expect("promtool can be started");
    let mut input = process.stdin.take().expect("it is piped");
    input.write_all(text.as_bytes()).expect("promtool reads");
    drop(input);
    let out = process.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.success(), told.is_empty(), "{told}");
    told
}

/// A Prometheus that scrapes and looks at our rules all the time; ended, and its folder removed, when dropped.
struct Prometheus {
    process: Child,
    address: String,
    folder: PathBuf,
}

impl Prometheus {
    /// Begins to scrape these roles, each under a job of its name.
    fn watching(roles: &[&Role]) -> Self {
        let folder =
            std::env::temp_dir().join(format!("noctus-it-prom-{:016x}", rand::random::<u64>()));
        std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
        let job = |role: &&Role| {
            let target = role.address().trim_start_matches("http://").to_string();
            json!({"job_name": role.name, "static_configs": [{"targets": [target]}]})
        };
        let config = json!({
            "global": {"scrape_interval": "250ms", "scrape_timeout": "250ms", "evaluation_interval": "250ms"},
            "rule_files": [root().join(RULES)],
            "scrape_configs": roles.iter().map(job).collect::<Vec<_>>(),
        });
        std::fs::write(folder.join("prometheus.yml"), config.to_string())
            .expect("it can be written");
        let mut process = program("prometheus")
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("prometheus can be started");
        let mut log = BufReader::new(process.stderr.take().expect("it is piped"));
        let mut told = String::new();
        let address = loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).is_ok_and(|read| read > 0), "it ended: {told}");
            if let Some((_, rest)) = line.split_once("msg=\"Listening on\" address=") {
                break format!("http://{}", rest.split_whitespace().next().expect("an address"));
            }
            told += &line;
        };
        // Somebody must read what it says from now on.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { process, address, folder }
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let url = format!("{}/api/v1/{path}", self.address);
        let url = reqwest::Url::parse_with_params(&url, query).expect("an address");
        let answer = reqwest::get(url).await.expect("it listens").text().await.expect("text");
        serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{e}: {answer}"))
    }

    /// What an expression comes to now: a list of `{metric, value}`.
    async fn ask(&self, expr: &str) -> Result<Vec<Value>, String> {
        let answer = self.get("query", &[("query", expr)]).await;
        match answer["data"]["result"].as_array() {
            Some(rows) if answer["status"] == "success" => Ok(rows.clone()),
            _ => Err(answer.to_string()),
        }
    }

    /// Waits until an expression comes to something.
    async fn comes(&self, expr: &str) -> Vec<Value> {
        let began = Instant::now();
        loop {
            let rows = self.ask(expr).await.unwrap_or_else(|why| panic!("{expr}: {why}"));
            if !rows.is_empty() {
                return rows;
            }
            assert!(began.elapsed() < DEADLINE, "{expr} stays empty");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The names of the alerts that fire, with the values of one of their labels.
    async fn firing(&self, label: &str) -> BTreeSet<(String, String)> {
        let answer = self.get("alerts", &[]).await;
        let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
        let text =
            |alert: &Value, label: &str| alert["labels"][label].as_str().unwrap_or("").to_string();
        let fires = alerts.iter().filter(|alert| alert["state"] == "firing");
        fires.map(|alert| (text(alert, "alertname"), text(alert, label))).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            eprintln!("{} stays behind: {error}", self.folder.display());
        }
    }
}

/// The metrics of ours that an expression names and that do not exist.
fn unknown_metrics(expr: &str) -> Vec<String> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = expr.split(|c: char| !is_of_name(c)).filter(|word| word.starts_with("noctus_"));
    let known = |word: &str| {
        LIST.iter().any(|m| match word.strip_prefix(m.name) {
            Some("") => m.kind != "histogram",
            Some(part) => m.kind == "histogram" && ["_bucket", "_sum", "_count"].contains(&part),
            None => false,
        })
    };
    words.filter(|word| !known(word)).map(str::to_string).collect()
}
