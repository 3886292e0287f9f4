//! What every measurement is given: where things are and how much trouble to take.

use std::path::{Path, PathBuf};

use crate::blocks::Effort;

/// Where things are and how much trouble to take.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    /// The server's binary.
    pub(crate) binary: PathBuf,
    /// ONNX Runtime's library, the one that the server takes.
    pub(crate) library: PathBuf,
    /// The folder of real models, which may be absent.
    pub(crate) models: PathBuf,
    /// How much trouble.
    pub(crate) effort: Effort,
    /// Swaps of a trial.
    pub(crate) swaps: u64,
}

impl Setting {
    /// A file of the repository's fixtures.
    pub(crate) fn fixture(&self, name: &str) -> PathBuf {
        root().join("fixtures").join(name)
    }

    /// A model that may not be there.
    ///
    /// # Errors
    /// Why it cannot be measured.
    pub(crate) fn model(&self, name: &str) -> Result<PathBuf, String> {
        let path = self.models.join(name);
        if path.is_file() { Ok(path) } else { Err(format!("{} is not there", path.display())) }
    }

    /// A note where many blocks began on a machine that had other work.
    pub(crate) fn restless(&self, blocks: usize, arms: usize) -> Option<String> {
        let all = self.effort.blocks * arms;
        let waited = !self.effort.rest.is_zero();
        (waited && blocks > 0)
            .then(|| format!("{blocks} of {all} blocks began while the machine had other work"))
    }
}

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("bench lies in the repository")
}
