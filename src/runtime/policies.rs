//! Owns the way from policy files to the policies in force. A file that is not named is the plan's.
//! Never falls back: a file that is named and bad stops the start (C-RISK-6).

use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use super::config::PolicyFiles;
use crate::domain::policy::{BadPolicy, Policies, Source, Sources};

/// Why there are no policies.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A file could not be read.
    #[error("cannot read the policy file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file says what is not allowed.
    #[error(transparent)]
    Bad(#[from] BadPolicy),
}

/// Reads the files that the configuration names.
pub fn load(files: &PolicyFiles) -> Result<Policies, PolicyError> {
    let [quality, profiles, risk, instruments] =
        [&files.quality, &files.profiles, &files.risk, &files.instruments]
            .map(|path| path.as_deref().map(text).transpose());
    let (quality, profiles, risk, instruments) = (quality?, profiles?, risk?, instruments?);
    fn source(file: &Option<(String, String)>) -> Option<Source<'_>> {
        file.as_ref().map(|(file, text)| Source { file, text })
    }
    let sources = Sources {
        quality: source(&quality),
        profiles: source(&profiles),
        risk: source(&risk),
        instruments: source(&instruments),
    };
    Ok(Policies::parse(sources, &zones)?)
}

/// A file's name and text.
pub fn text(path: &Path) -> Result<(String, String), PolicyError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((path.display().to_string(), text)),
        Err(source) => Err(PolicyError::Unreadable { path: path.to_path_buf(), source }),
    }
}

/// Time zones of the system's database.
pub fn zones(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}
