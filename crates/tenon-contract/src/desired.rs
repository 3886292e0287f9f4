//! What should be served, and what is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Contract, Digest, Parameters, ServiceName, Version};

/// Limits and manners of a service, part of its revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Most requests of this service inside the node at once; one more is refused.
    pub in_flight: u32,
    /// Most requests waiting for a session; one more is refused.
    pub queue: u32,
    /// How long a request may take where the caller says nothing, milliseconds.
    pub timeout_ms: u64,
    /// Sessions, that is requests computed at once; 0 lets the node choose.
    pub sessions: u32,
    /// Threads inside one session; 0 lets the node choose.
    pub threads: u32,
    /// How long the previous revision stays warm for an undo, seconds.
    pub undo_window_s: u64,
    /// How long a drain may take before it is reported as late, milliseconds.
    pub drain_ms: u64,
    /// Only versions proven on golden examples are served.
    pub require_golden: bool,
    /// Parameters handed to the model.
    pub parameters: Parameters,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            in_flight: 1024,
            queue: 512,
            timeout_ms: 30_000,
            sessions: 0,
            threads: 0,
            undo_window_s: 3600,
            drain_ms: 30_000,
            require_golden: false,
            parameters: Parameters::new(),
        }
    }
}

/// The part a version plays in a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackRole {
    /// Answers.
    #[default]
    Primary,
    /// Answers a growing share of the traffic.
    Canary,
    /// Is measured beside the primary.
    Challenger,
    /// Gets copies, never answers.
    Shadow,
}

/// A version in its part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Track {
    /// The part it plays.
    #[serde(default)]
    pub role: TrackRole,
    /// The version.
    pub version: Version,
}

/// The immutable, numbered state of a service. Numbers are global to the installation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Revision {
    /// Format of this document.
    pub version: u32,
    /// Number, growing over all services.
    pub number: u64,
    /// The service.
    pub service: ServiceName,
    /// What the service promises. It outlives the versions behind it.
    pub contract: Contract,
    /// Who answers; exactly one of them is primary.
    pub tracks: Vec<Track>,
    /// Limits and manners.
    pub settings: Settings,
}

impl Revision {
    /// The format written today.
    pub const FORMAT: u32 = 1;

    /// A revision in which one version answers.
    pub fn primary(
        number: u64,
        service: ServiceName,
        contract: Contract,
        version: Version,
        settings: Settings,
    ) -> Self {
        let tracks = vec![Track { role: TrackRole::Primary, version }];
        Self { version: Self::FORMAT, number, service, contract, tracks, settings }
    }

    /// The version that answers.
    ///
    /// # Panics
    /// There is no primary track; [`Revision::read`] and [`Revision::primary`] never make such a one.
    pub fn version(&self) -> &Version {
        let primary = self.tracks.iter().find(|track| track.role == TrackRole::Primary);
        &primary.expect("a revision has a primary track").version
    }

    /// The document as it is stored.
    pub fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a revision is writable as JSON")
    }

    /// Reads a stored document.
    ///
    /// # Errors
    /// Not JSON of this format, a later format, or not exactly one primary track.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let revision: Self =
            serde_json::from_slice(bytes).map_err(|error| format!("read revision: {error}"))?;
        if revision.version != Self::FORMAT {
            return Err(format!(
                "revision has format {}, this build reads {}",
                revision.version,
                Self::FORMAT
            ));
        }
        match revision.tracks.iter().filter(|track| track.role == TrackRole::Primary).count() {
            1 => Ok(revision),
            count => Err(format!("revision {} has {count} primary tracks", revision.number)),
        }
    }
}

/// What should be served.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// One revision a service.
    pub services: BTreeMap<ServiceName, Revision>,
}

/// What is served on one node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The generation that new requests see.
    pub generation: u64,
    /// The services.
    pub services: BTreeMap<ServiceName, ObservedService>,
}

/// What one node has of one service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObservedService {
    /// Number of the revision that answers.
    pub live: Option<u64>,
    /// Number of the revision kept warm for an undo.
    pub warm: Option<u64>,
    /// Artifacts in memory with what they hold.
    pub loaded: Vec<Digest>,
}
