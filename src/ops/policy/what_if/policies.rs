//! Owns which policies are tried: those given, and for the other kinds those of the configuration.

use std::path::PathBuf;

use super::super::kind::Kind;
use crate::domain::policy::{Policies, Source, Sources};
use crate::runtime::config::PolicyFiles;
use crate::runtime::policies::{self, PolicyError};

/// Where a policy comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// It was given.
    New,
    /// The configuration names it.
    Configuration,
    /// Nobody names one: the plan's.
    Plan,
}

/// One kind of policy that is tried.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Part {
    pub kind: Kind,
    pub origin: Origin,
    pub file: Option<String>,
}

/// The policies that are tried, and those of the configuration.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Tried {
    pub base: Policies,
    pub new: Policies,
    pub parts: Vec<Part>,
}

impl Tried {
    /// Reads the files. The violations of all that are given are told at once.
    pub fn load(configured: &PolicyFiles, given: &[(Kind, PathBuf)]) -> Result<Self, PolicyError> {
        let (mut texts, mut parts) = (Vec::new(), Vec::new());
        for kind in Kind::ALL {
            let new = given.iter().find(|(of, _)| *of == kind).map(|(_, path)| path);
            let (origin, path) = match (new, kind.file(configured)) {
                (Some(path), _) => (Origin::New, Some(path)),
                (None, Some(path)) => (Origin::Configuration, Some(path)),
                (None, None) => (Origin::Plan, None),
            };
            let text = path.map(|path| policies::text(path)).transpose()?;
            parts.push(Part { kind, origin, file: text.as_ref().map(|(file, _)| file.clone()) });
            texts.push((kind, text));
        }
        let mut sources = Sources::default();
        for (kind, text) in &texts {
            *kind.slot(&mut sources) = text.as_ref().map(|(file, text)| Source { file, text });
        }
        let new = Policies::parse(sources, &policies::zones)?;
        Ok(Self { base: policies::load(configured)?, new, parts })
    }
}
