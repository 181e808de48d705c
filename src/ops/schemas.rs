//! `noctus schemas`: register the schemas of schemas/, or check them against all registered versions.
//!
//! `check` finds what registries let through: units, scales, closed enums, renames (see `wire::lint`).

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use apache_avro::Schema;

use super::{Exit, Global};
use crate::kafka::registry::{Registry, RegistryError, subject_of};
use crate::runtime::config::Config;
use crate::wire::Subject;
use crate::wire::lint::{self, Finding, Labelled};

/// Every version must be readable by every other one, both ways.
const LEVEL: &str = "FULL_TRANSITIVE";

/// The command's arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Set FULL_TRANSITIVE and register every schema of this build; again is harmless
    Register,
    /// List what differs in meaning between all registered versions and the local ones; exit 1 if anything does
    Check(Check),
}

#[derive(Debug, clap::Args)]
struct Check {
    /// Check the *.avsc of this folder instead of the schemas of this build
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Ask no registry: check the local versions among themselves
    #[arg(long)]
    offline: bool,
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let config = global.config()?;
    match args.what {
        What::Register => {
            for done in register_all(&config).await? {
                let ids: Vec<String> = done.ids.iter().map(|id| id.to_string()).collect();
                println!("{}  {LEVEL}  id {}", done.subject, ids.join(", "));
            }
            Ok(Exit::Ok)
        }
        What::Check(check) => {
            let local = local(check.dir.as_deref())?;
            let registry =
                if check.offline { None } else { Some(Registry::new(&config.registry)?) };
            let report = compare(&config, registry.as_ref(), local).await?;
            for note in &report.notes {
                println!("note: {note}");
            }
            for (subject, finding) in &report.findings {
                println!("{subject}: {finding}");
            }
            println!("{} versions, {} finding(s)", report.versions, report.findings.len());
            Ok(if report.findings.is_empty() { Exit::Ok } else { Exit::Findings })
        }
    }
}

/// One subject after registration.
#[derive(Debug, Clone)]
pub struct Registered {
    /// The registry's subject, `<actual topic>-value`.
    pub subject: String,
    /// The ids of its versions in this build, oldest first.
    pub ids: Vec<u32>,
}

/// Sets FULL_TRANSITIVE and registers every version of every subject, the oldest first.
pub async fn register_all(config: &Config) -> Result<Vec<Registered>, RegistryError> {
    let registry = Registry::new(&config.registry)?;
    let mut done = Vec::new();
    for kind in Subject::ALL {
        let subject = subject_of(&config.topic(kind.topic()));
        // Some registries set a level only for a subject that exists.
        let mut level_set = match registry.set_compatibility(&subject, LEVEL).await {
            Ok(()) => true,
            Err(RegistryError::NotRegistered { .. }) => false,
            Err(error) => return Err(error),
        };
        let mut ids = Vec::new();
        for text in kind.versions() {
            ids.push(registry.register(&subject, text).await?);
            if !level_set {
                registry.set_compatibility(&subject, LEVEL).await?;
                level_set = true;
            }
        }
        done.push(Registered { subject, ids });
    }
    Ok(done)
}

/// What `check` found.
#[derive(Debug, Default)]
pub struct Report {
    /// How many versions were compared.
    pub versions: usize,
    /// What is worth knowing and no violation.
    pub notes: Vec<String>,
    /// Violations, with the registry's subject.
    pub findings: Vec<(String, Finding)>,
}

/// A schema on this machine: what it is of, what to call it, its text.
pub struct Local {
    /// Which subject.
    pub subject: Subject,
    /// Its file.
    pub label: String,
    /// Its text.
    pub text: String,
}

/// The schemas of this build, or of a folder, by file name.
pub fn local(dir: Option<&Path>) -> anyhow::Result<Vec<Local>> {
    let Some(dir) = dir else {
        let of = |subject: Subject| {
            let texts = subject.versions().iter().enumerate();
            texts.map(move |(at, text)| Local {
                subject,
                label: format!("this build's version {}", at + 1),
                text: text.to_string(),
            })
        };
        return Ok(Subject::ALL.into_iter().flat_map(of).collect());
    };
    let entries = std::fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|e| e == "avsc"));
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let label = path.display().to_string();
        let text = std::fs::read_to_string(&path).with_context(|| label.clone())?;
        let schema = Schema::parse_str(&text).with_context(|| label.clone())?;
        let name = schema.name().map(|n| n.name().to_string()).unwrap_or_default();
        let subject = Subject::ALL
            .into_iter()
            .find(|s| s.name() == name)
            .with_context(|| format!("{label}: no topic takes a {name:?}"))?;
        found.push(Local { subject, label, text });
    }
    Ok(found)
}

/// Compares all registered versions and the local ones, every pair of them.
pub async fn compare(
    config: &Config,
    registry: Option<&Registry>,
    local: Vec<Local>,
) -> anyhow::Result<Report> {
    let mut report = Report::default();
    for kind in Subject::ALL {
        let subject = subject_of(&config.topic(kind.topic()));
        let mut versions: Vec<Labelled> = Vec::new();
        if let Some(registry) = registry {
            for version in registry.versions(&subject).await? {
                let label = format!("registered version {}", version.version);
                let schema = Schema::parse_str(&version.text)
                    .with_context(|| format!("{subject}: {label}"))?;
                versions.push(Labelled { label, schema });
            }
            match registry.compatibility(&subject).await?.as_deref() {
                Some(LEVEL) => {}
                None if versions.is_empty() => {}
                level => report.findings.push((subject.clone(), level_finding(level))),
            }
        }
        for mine in local.iter().filter(|l| l.subject == kind) {
            let schema = Schema::parse_str(&mine.text).with_context(|| mine.label.clone())?;
            if versions.iter().any(|v| v.schema == schema) {
                continue;
            }
            if registry.is_some() {
                report.notes.push(format!("{subject}: {} is not registered", mine.label));
            }
            versions.push(Labelled { label: mine.label.clone(), schema });
        }
        report.versions += versions.len();
        for finding in lint::lint(&versions) {
            report.findings.push((subject.clone(), finding));
        }
    }
    Ok(report)
}

fn level_finding(level: Option<&str>) -> Finding {
    Finding {
        between: "registry".into(),
        place: "compatibility".into(),
        what: format!("is {}, not {LEVEL}", level.unwrap_or("the registry's own default")),
    }
}
