//! Owns the way from the file of service levels to those in force. Without a file they are the plan's.
//! Never falls back to the plan's: a bad file stops the start, and later the last good ones stay.

use std::path::PathBuf;

use crate::domain::policy::slo::Slos;
use crate::runtime::config::SloFile;
use crate::runtime::policies::{self, PolicyError};
use crate::runtime::watched::Watched;

/// The service levels, and the file they came from.
pub struct SloSource {
    file: Option<PathBuf>,
    watched: Watched,
    slos: Slos,
}

impl SloSource {
    /// Reads the file that the configuration names.
    pub fn load(config: &SloFile) -> Result<Self, PolicyError> {
        let file = config.file.clone();
        let watched = Watched::before_reading(file.iter().cloned().collect());
        let slos = read(&file)?;
        Ok(Self { file, watched, slos })
    }

    /// Whether the file has changed and come to rest.
    pub fn has_changed(&mut self) -> bool {
        self.watched.has_changed()
    }

    /// Reads it again; a bad one changes nothing, and what is wrong with it is returned.
    pub fn read(&mut self) -> Result<(), String> {
        self.slos = read(&self.file).map_err(|error| error.to_string())?;
        Ok(())
    }

    /// Those in force.
    pub fn slos(&self) -> &Slos {
        &self.slos
    }

    /// The file.
    pub fn file(&self) -> Option<&PathBuf> {
        self.file.as_ref()
    }

    /// SHA-256 of its contents, lower hex.
    pub fn contents(&self) -> String {
        hex::encode(self.watched.settled())
    }
}

fn read(file: &Option<PathBuf>) -> Result<Slos, PolicyError> {
    let Some(path) = file else { return Ok(Slos::default()) };
    let (file, text) = policies::text(path)?;
    Ok(Slos::parse(&file, &text)?)
}
