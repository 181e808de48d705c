//! Owns the kinds of policy files: how a file's kind is told, and what is done with it by kind.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::domain::policy::diff::Change;
use crate::domain::policy::{BadPolicy, Policies, Source, Sources, schema};
use crate::runtime::config::PolicyFiles;
use crate::runtime::policies;

/// What a policy file is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[allow(missing_docs)]
pub enum Kind {
    Quality,
    Profiles,
    Risk,
    Instruments,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 4] = [Kind::Quality, Kind::Profiles, Kind::Risk, Kind::Instruments];

    /// Its name, as cases and the configuration write it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Quality => "quality",
            Kind::Profiles => "profiles",
            Kind::Risk => "risk",
            Kind::Instruments => "instruments",
        }
    }

    /// The kind that a file's name tells.
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        Self::ALL.into_iter().find(|kind| name.contains(kind.name().trim_end_matches('s')))
    }

    /// The same, or the question that is left.
    pub fn tell(given: Option<Kind>, path: &Path) -> Result<Self, String> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if given.is_none() && name.contains(".test.") {
            let path = path.display();
            return Err(format!(
                "{path}: cases, not a policy: `noctus policy test {path}` tries them"
            ));
        }
        given
            .or_else(|| Kind::of(path))
            .ok_or_else(|| format!("{}: what kind of policy is this? Say --kind", path.display()))
    }

    /// Reads a file's text; the other kinds are the plan's.
    pub fn read(self, file: &str, text: &str) -> Result<Policies, BadPolicy> {
        let mut sources = Sources::default();
        *self.slot(&mut sources) = Some(Source { file, text });
        Policies::parse(sources, &policies::zones)
    }

    /// Where its text goes.
    pub fn slot<'s, 't>(self, sources: &'s mut Sources<'t>) -> &'s mut Option<Source<'t>> {
        match self {
            Kind::Quality => &mut sources.quality,
            Kind::Profiles => &mut sources.profiles,
            Kind::Risk => &mut sources.risk,
            Kind::Instruments => &mut sources.instruments,
        }
    }

    /// The file that the configuration names for it.
    pub fn file(self, of: &PolicyFiles) -> Option<&PathBuf> {
        match self {
            Kind::Quality => of.quality.as_ref(),
            Kind::Profiles => of.profiles.as_ref(),
            Kind::Risk => of.risk.as_ref(),
            Kind::Instruments => of.instruments.as_ref(),
        }
    }

    /// What changes between two policies of it.
    pub fn diff(self, before: &Policies, after: &Policies) -> Vec<Change> {
        match self {
            Kind::Quality => before.quality.diff(&after.quality),
            Kind::Profiles => before.profiles.diff(&after.profiles),
            Kind::Risk => before.risk.diff(&after.risk),
            Kind::Instruments => before.instruments.diff(&after.instruments),
        }
    }

    /// Its policy's digest.
    pub fn digest(self, of: &Policies) -> &str {
        match self {
            Kind::Quality => &of.digests.quality,
            Kind::Profiles => &of.digests.profiles,
            Kind::Risk => &of.digests.risk,
            Kind::Instruments => &of.digests.instruments,
        }
    }

    /// Its files' JSON Schema.
    pub fn schema(self) -> Value {
        match self {
            Kind::Quality => schema::quality(),
            Kind::Profiles => schema::profiles(),
            Kind::Risk => schema::risk(),
            Kind::Instruments => schema::instruments(),
        }
    }
}
