//! The dashboards as files: made from their source, well formed, asking for what there is.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use super::unknown_metrics;
use crate::source::{files, read, root};
use crate::stack::Stack;

pub const SOURCES: [(&str, &str); 2] =
    [("prometheus", "${prometheus}"), ("grafana-postgresql-datasource", "${postgres}")];

/// Every dashboard, by its file.
pub fn dashboards() -> Vec<(String, Value)> {
    let parsed = |path: String| {
        let json = serde_json::from_str(&read(&path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        (path, json)
    };
    files("dashboards", ".json").into_iter().map(parsed).collect()
}

/// The panels of a dashboard.
pub fn panels(dashboard: &Value) -> &[Value] {
    dashboard["panels"].as_array().expect("panels")
}

#[test]
fn the_dashboards_are_what_their_source_makes() {
    let out = Command::new(&Stack::get().python)
        .arg(root().join("dashboards/make.py"))
        .arg("--check")
        .output()
        .expect("python can be started");
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{told}make them with: dashboards/make.py");
}

#[test]
fn every_dashboard_is_found_by_its_uid_and_its_panels_are_complete() {
    let (mut uids, mut seen) = (BTreeSet::new(), 0);
    for (path, dashboard) in dashboards() {
        let uid = dashboard["uid"].as_str().expect("a uid");
        assert_eq!(path, format!("dashboards/{uid}.json"));
        assert!(uids.insert(uid.to_string()) && uid.len() <= 40, "{uid}");
        assert!(!read(&path).contains("${DS_"), "{path} wants to be imported by hand");
        let variables = dashboard["templating"]["list"].as_array().expect("variables");
        for (kind, uid) in SOURCES {
            let name = uid.trim_start_matches("${").trim_end_matches('}');
            let variable = variables.iter().find(|v| v["name"] == name).expect("a data source");
            assert_eq!(
                (&variable["type"], &variable["query"]),
                (&"datasource".into(), &kind.into())
            );
            assert_eq!(
                variable["current"]["value"],
                format!("noctus-{name}"),
                "as it is provisioned"
            );
        }
        let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
        for panel in panels(&dashboard) {
            let title = panel["title"].as_str().expect("a title");
            let place = format!("{path}: {title}");
            assert!(
                ids.insert(panel["id"].as_u64().expect("an id")) && titles.insert(title),
                "{place}"
            );
            assert!(
                panel["description"].as_str().is_some_and(|text| text.ends_with('.')),
                "{place}"
            );
            let defaults = &panel["fieldConfig"]["defaults"];
            assert!(defaults["unit"].is_string(), "{place} has no unit");
            let steps = defaults["thresholds"]["steps"].as_array().expect("thresholds");
            assert!(
                steps[0]["value"].is_null(),
                "{place}: the first threshold holds from the start"
            );
            let targets = panel["targets"].as_array().expect("targets");
            assert!(!targets.is_empty(), "{place} asks nothing");
            let refs: BTreeSet<&str> = targets.iter().filter_map(|t| t["refId"].as_str()).collect();
            assert_eq!(refs.len(), targets.len(), "{place}");
            for target in targets {
                let source = &target["datasource"];
                let known = SOURCES
                    .iter()
                    .any(|(kind, uid)| source["type"] == *kind && source["uid"] == *uid);
                assert!(known, "{place}: {source}");
                if let Some(expr) = target["expr"].as_str() {
                    assert_eq!(unknown_metrics(expr), [] as [&str; 0], "{place}");
                }
            }
            seen += 1;
        }
    }
    let wanted = ["consumers", "execution", "latency", "pipeline", "risk", "slo", "trace"];
    assert_eq!(uids, wanted.map(|name| format!("noctus-{name}")).into());
    assert!(seen > 50, "{seen} panels");
}

#[test]
fn no_two_panels_lie_over_each_other_and_none_leaves_the_page() {
    for (path, dashboard) in dashboards() {
        let mut taken = BTreeSet::new();
        for panel in panels(&dashboard) {
            let of = |name: &str| panel["gridPos"][name].as_u64().expect("a number");
            assert!(of("w") > 0 && of("h") > 0 && of("x") + of("w") <= 24, "{path}: {panel}");
            for x in of("x")..of("x") + of("w") {
                for y in of("y")..of("y") + of("h") {
                    assert!(taken.insert((x, y)), "{path}: {} lies over another", panel["title"]);
                }
            }
        }
    }
}

#[test]
fn links_lead_to_dashboards_that_there_are() {
    let uids: Vec<Value> = dashboards().into_iter().map(|(_, d)| d["uid"].clone()).collect();
    let mut links = 0;
    for (path, dashboard) in dashboards() {
        for panel in panels(&dashboard) {
            for change in panel["fieldConfig"]["overrides"].as_array().expect("a list") {
                for link in change["properties"]
                    .as_array()
                    .expect("a list")
                    .iter()
                    .flat_map(|p| p["value"].as_array())
                    .flatten()
                {
                    let url = link["url"].as_str().expect("an address");
                    let uid = url.trim_start_matches("/d/").split('?').next().expect("a uid");
                    assert!(uids.contains(&uid.into()), "{path}: {url}");
                    links += 1;
                }
            }
        }
    }
    assert!(links >= 7, "{links}");
}
