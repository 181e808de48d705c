//! The files of `docker/`, looked at without Docker: that they parse, that everything they name is there,
//! and that the executable understands what they give it.

use std::collections::{BTreeMap, BTreeSet};

use assert_cmd::Command;
use clap::Parser;
use noctus::ops::Cli;
use serde_json::Value;

use crate::source::{code, read, root};

const COMPOSE: &str = "docker/compose.yml";
const DOCKERFILE: &str = "docker/Dockerfile";

/// What a user puts into docker/.env.
fn env() -> BTreeMap<&'static str, String> {
    let secret = "0123456789abcdef".repeat(4);
    BTreeMap::from([
        ("NOCTRIA_IDEMPOTENCY_SECRET", secret.clone()),
        ("NOCTUS_SIGNING_KEYS", format!(r#"[{{"kid":"k1","secret":"{}"}}]"#, secret + "00")),
        ("POSTGRES_PASSWORD", "password1".into()),
        ("GRAFANA_PASSWORD", "password2".into()),
        ("READER_PASSWORD", "password3".into()),
    ])
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&read(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn services() -> BTreeMap<String, Value> {
    let compose = yaml(COMPOSE);
    let services = compose["services"].as_object().expect("services");
    services.iter().map(|(name, service)| (name.clone(), service.clone())).collect()
}

/// Those that run our image.
fn ours() -> BTreeMap<String, Value> {
    let ours =
        |service: &Value| service["image"].as_str().is_some_and(|i| i.starts_with("noctus:"));
    services().into_iter().filter(|(_, service)| ours(service)).collect()
}

/// As compose does it: `${NAME:?why}` is the variable, `$$` is `$`.
fn interpolated(text: &str) -> String {
    let (env, mut out, mut rest) = (env(), String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        rest = match after.strip_prefix('$') {
            Some(after) => {
                out.push('$');
                after
            }
            None => {
                let inner = after.strip_prefix('{').expect("only ${NAME:?why} is used");
                let (inner, after) = inner.split_once('}').expect("it ends");
                let (name, why) = inner.split_once(":?").expect("a missing variable is an error");
                assert!(!why.is_empty(), "{name}");
                out.push_str(env.get(name).unwrap_or_else(|| panic!("{name} is in env.example")));
                after
            }
        };
    }
    out + rest
}

fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::Null => vec![],
        Value::Array(items) => {
            items.iter().map(|i| interpolated(i.as_str().expect("a text"))).collect()
        }
        other => panic!("a list is wanted, not {other}"),
    }
}

fn environment(service: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| interpolated(value.as_str().expect("values are texts"));
    let pairs = service["environment"].as_object().into_iter().flatten();
    pairs.map(|(name, value)| (name.clone(), text(value))).collect()
}

/// The instructions of the Dockerfile, continued lines joined.
fn instructions() -> Vec<(String, String)> {
    let text = read(DOCKERFILE).replace("\\\n", " ");
    text.lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(' ').expect("an instruction and its arguments"))
        .map(|(name, rest)| (name.to_string(), rest.trim().to_string()))
        .collect()
}

fn of(name: &str) -> Vec<String> {
    instructions().into_iter().filter(|(n, _)| n == name).map(|(_, rest)| rest).collect()
}

/// Sources of COPY that come from the repository.
fn copied() -> Vec<String> {
    let from_context = of("COPY").into_iter().filter(|rest| !rest.starts_with("--from"));
    let mut sources = Vec::new();
    for rest in from_context {
        let mut words: Vec<&str> = rest.split_whitespace().collect();
        words.pop().expect("a destination");
        sources.extend(words.into_iter().map(str::to_string));
    }
    sources
}

#[test]
fn every_image_is_pinned_to_a_version() {
    let mut images: Vec<String> = services()
        .values()
        .map(|service| service["image"].as_str().expect("an image").to_string())
        .collect();
    images.extend(of("FROM").iter().map(|rest| rest.split(' ').next().unwrap_or_default().into()));
    assert_eq!(images.len(), services().len() + 2);
    for image in images {
        let (_, tag) = image.rsplit_once(':').unwrap_or_else(|| panic!("{image} has no tag"));
        let digits = tag.chars().filter(char::is_ascii_digit).count();
        assert!(digits >= 3, "{image}: {tag} is no version of its own");
    }
}

#[test]
fn kafka_and_the_registry_are_those_that_the_tests_speak_to() {
    let pom = read("tests/stack/pom.xml");
    let version = |name: &str| {
        let (_, rest) = pom.split_once(&format!("<{name}>")).expect("the property is there");
        rest.split('<').next().expect("it ends").to_string()
    };
    let services = services();
    for (service, property) in [("kafka", "kafka.version"), ("registry", "apicurio.version")] {
        let image = services[service]["image"].as_str().expect("an image");
        assert!(image.ends_with(&format!(":{}", version(property))), "{image}");
    }
}

#[test]
fn everything_on_this_side_that_compose_names_is_there() {
    let compose = yaml(COMPOSE);
    let volumes: BTreeSet<&String> =
        compose["volumes"].as_object().expect("volumes").keys().collect();
    let mut used = BTreeSet::new();
    let services = services();
    for (name, service) in &services {
        for volume in strings(&service["volumes"]) {
            let source = volume.split(':').next().expect("a source").to_string();
            if source.starts_with('.') {
                let path = root().join("docker").join(&source);
                assert!(path.exists(), "{name}: {source} is not there");
            } else {
                assert!(volumes.contains(&source), "{name}: volume {source} is not declared");
                used.insert(source);
            }
        }
        let needs: Vec<String> = match &service["depends_on"] {
            Value::Object(map) => map.keys().cloned().collect(),
            other => strings(other),
        };
        for need in needs {
            assert!(services.contains_key(&need), "{name} waits for {need}, which is no service");
        }
        for port in strings(&service["ports"]) {
            assert!(port.starts_with("127.0.0.1:"), "{name}: {port} is open to the network");
        }
    }
    assert_eq!(used.iter().collect::<BTreeSet<_>>(), volumes, "every volume is used");
    for service in ours().values() {
        let build = &service["build"];
        let context = root().join("docker").join(build["context"].as_str().expect("a context"));
        assert!(context.join(build["dockerfile"].as_str().expect("a file")).exists());
    }
    let example = read("docker/env.example");
    let given: BTreeSet<&str> = example
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('=').map(|(name, _)| name))
        .collect();
    assert_eq!(given, env().keys().copied().collect(), "env.example has what compose asks for");
}

#[test]
fn every_command_line_is_one_that_the_executable_understands() {
    let parse = |line: Vec<String>, place: &str| {
        let words = std::iter::once("noctus".to_string()).chain(line);
        if let Err(error) = Cli::try_parse_from(words) {
            panic!("{place}: {error}");
        }
    };
    for (name, service) in ours() {
        let command = strings(&service["command"]);
        if service["entrypoint"].is_null() {
            assert!(!command.is_empty(), "{name} says which role it is");
            parse(command, &name);
            continue;
        }
        assert_eq!(strings(&service["entrypoint"]), ["bash", "-euc"], "{name}");
        assert_eq!(command.len(), 1, "{name}");
        for part in command[0].split("&&").map(str::trim) {
            let mut words = part.split_whitespace().map(str::to_string);
            assert_eq!(words.next().as_deref(), Some("noctus"), "{name}: {part}");
            parse(words.collect(), &name);
        }
    }
    assert_eq!(of("ENTRYPOINT"), [r#"["noctus"]"#]);
    let command: Vec<String> = serde_json::from_str(&of("CMD")[0]).expect("a JSON list");
    parse(command, DOCKERFILE);
    let roles = ["gate", "dispatch", "sink", "notify", "setup", "paper-broker"].map(String::from);
    assert_eq!(ours().into_keys().collect::<BTreeSet<_>>(), BTreeSet::from(roles));
}

#[test]
fn every_variable_is_one_that_the_configuration_takes() {
    let mut of_image = BTreeMap::new();
    for pair in of("ENV").iter().flat_map(|rest| rest.split_whitespace()) {
        let (name, value) = pair.split_once('=').expect("NAME=value");
        of_image.insert(name.to_string(), value.to_string());
    }
    let others = ["NOCTUS_LOG", "NOCTUS_LOG_FORMAT", "NOCTUS_SIGNING_KEYS"];
    for (service, description) in ours() {
        let variables: BTreeMap<String, String> =
            of_image.clone().into_iter().chain(environment(&description)).collect();
        let mut command = Command::cargo_bin("noctus").expect("the binary is built with the tests");
        command.env_clear().envs(&variables).args(["config", "show"]);
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{service}: {}", String::from_utf8_lossy(&output.stderr));
        let shown: Value = serde_saphyr::from_str(&String::from_utf8_lossy(&output.stdout))
            .expect("the configuration is YAML");
        for (name, value) in &variables {
            let Some(key) = name.strip_prefix("NOCTUS_").filter(|_| !others.contains(&&**name))
            else {
                assert!(
                    others.contains(&&**name) || name == "NOCTRIA_IDEMPOTENCY_SECRET",
                    "{service}: {name} is read by nobody"
                );
                continue;
            };
            let mut at = &shown;
            for part in key.to_ascii_lowercase().split("__") {
                at = &at[part];
            }
            let expected = value.replace("password1", "***");
            assert_eq!(at.as_str(), Some(&*expected), "{service}: {name} is not in force");
            if let Some(policy) = value.strip_prefix("/etc/noctus/") {
                assert!(root().join(policy).exists(), "{service}: {value} is not in the image");
            }
        }
    }
    assert!(of("COPY").contains(&"configs /etc/noctus/configs".to_string()));
}

#[test]
fn the_image_is_built_from_what_is_there_and_runs_as_nobody_special() {
    let ignored = read(".dockerignore");
    let let_in: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    for source in copied() {
        assert!(root().join(&source).exists(), "COPY {source}: it is not there");
        assert!(let_in.contains(&&*source), "COPY {source}: .dockerignore keeps it out");
    }
    let user = of("USER").pop().expect("a user");
    assert!(user.parse::<u32>().is_ok_and(|id| id > 0), "{user} is no number of an ordinary user");
    let toolchain = read("rust-toolchain.toml");
    let channel = toolchain.lines().find_map(|l| l.strip_prefix("channel = ")).expect("a channel");
    let rust = format!("rust:{}-", channel.trim_matches('"'));
    assert!(of("FROM")[0].starts_with(&rust), "{} is not {rust}", of("FROM")[0]);
    assert!(of("HEALTHCHECK")[0].contains("/readyz"));
}

#[test]
fn whatever_the_code_embeds_is_in_the_image_when_it_is_compiled() {
    let copied = copied();
    let root = root().canonicalize().expect("the root is there");
    for code in code() {
        let folder = root.join(&code.path).parent().expect("a folder").to_path_buf();
        let text = code.lines.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>().join("\n");
        for (at, _) in text.match_indices("include_str!(\"") {
            let (named, _) = text[at + 14..].split_once('"').expect("it ends");
            let whole = folder.join(named).canonicalize().expect("what is embedded is there");
            let path = whole.strip_prefix(&root).expect("inside").display().to_string();
            let there = copied.iter().any(|c| path == *c || path.starts_with(&format!("{c}/")));
            assert!(there, "{} embeds {path}, which {DOCKERFILE} does not copy", code.path);
        }
    }
    for embedded in ["migrations", "schemas", "templates", "tests/scenarios"] {
        assert!(copied.contains(&embedded.to_string()), "{embedded} is embedded by a macro");
    }
}

/// Where a container finds a file or folder of the repository, if it is mounted there.
fn mounted(service: &Value, path: &str) -> Option<String> {
    strings(&service["volumes"]).into_iter().find_map(|volume| {
        let mut parts = volume.split(':');
        let (from, to) = (parts.next()?, parts.next()?);
        let from = format!("docker/{}", from.trim_start_matches("./")).replace("docker/../", "");
        let rest = path.strip_prefix(&from)?;
        (rest.is_empty() || rest.starts_with('/')).then(|| format!("{to}{rest}"))
    })
}

#[test]
fn prometheus_reads_our_rules_and_grafana_our_dashboards() {
    let services = services();
    let rules = mounted(&services["prometheus"], "configs/prometheus/rules.yml");
    let files = yaml("docker/prometheus.yml")["rule_files"].clone();
    assert_eq!(files[0].as_str(), rules.as_deref(), "the file is mounted where it is read");
    let grafana = &services["grafana"];
    let provided = yaml("docker/grafana/dashboards/noctus.yml");
    let folder = provided["providers"][0]["options"]["path"].as_str().expect("a folder");
    assert_eq!(mounted(grafana, "dashboards").as_deref(), Some(folder));
    let provisioning = mounted(grafana, "docker/grafana/dashboards");
    assert_eq!(provisioning.as_deref(), Some("/etc/grafana/provisioning/dashboards"));
    let home = environment(grafana)["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].clone();
    assert_eq!(mounted(grafana, "dashboards/noctus-pipeline.json"), Some(home));
    assert!(root().join("dashboards/noctus-pipeline.json").exists());
}

#[test]
fn prometheus_and_grafana_ask_services_that_there_are() {
    let services = services();
    let jobs = yaml("docker/prometheus.yml");
    let mut asked = BTreeSet::new();
    for job in jobs["scrape_configs"].as_array().expect("jobs") {
        for place in job["dns_sd_configs"].as_array().expect("places") {
            assert_eq!(place["port"], 9464, "the port of http.listen in the image");
            asked.extend(strings(&place["names"]));
        }
    }
    assert_eq!(asked, ["dispatch", "gate", "notify", "sink"].map(String::from).into());
    assert!(read(DOCKERFILE).contains("NOCTUS_HTTP__LISTEN=0.0.0.0:9464"));
    assert!(asked.iter().all(|name| services.contains_key(name)));

    let sources = yaml("docker/grafana/datasources/noctus.yml");
    let mut uids = Vec::new();
    for source in sources["datasources"].as_array().expect("datasources") {
        uids.push(source["uid"].as_str().expect("a uid that dashboards can name").to_string());
        let url = source["url"].as_str().expect("an address");
        let host = url.trim_start_matches("http://").split(':').next().expect("a host");
        assert!(services.contains_key(host), "{url} is no service");
    }
    assert_eq!(uids, ["noctus-prometheus", "noctus-postgres"]);
    // Grafana logs in as who may only read, and that login is made before it starts.
    assert_eq!(sources["datasources"][1]["user"], "grafana");
    let made = strings(&services["reader"]["command"]).join(" ");
    assert!(made.contains("GRANT noctus_reader TO grafana;"), "{made}");
    assert!(!services["grafana"]["depends_on"]["reader"].is_null());
    let kafka = environment(&services["kafka"]);
    assert_eq!(kafka["KAFKA_AUTO_CREATE_TOPICS_ENABLE"], "false");
}
