//! The list of runtimes, tried in its order.

use std::sync::Arc;

use tenon_contract::Format;

use crate::adapter::Adapted;
use crate::{Adapter, Bundle, LoadError, Runtime};

/// The runtimes of a build, in the order in which they are tried.
#[derive(Clone, Default)]
pub struct Runtimes(Arc<[Arc<dyn Runtime>]>);

impl Runtimes {
    /// A list.
    pub fn new(list: Vec<Arc<dyn Runtime>>) -> Self {
        Self(list.into())
    }

    /// A list whose models are wrapped as their bundles declare, by one of `adapters`.
    pub fn adapting(list: Vec<Arc<dyn Runtime>>, adapters: Vec<Arc<dyn Adapter>>) -> Self {
        let adapters: Arc<[Arc<dyn Adapter>]> = adapters.into();
        let adapted = |runtime| Arc::new(Adapted::new(runtime, adapters.clone())) as Arc<dyn Runtime>;
        Self::new(list.into_iter().map(adapted).collect())
    }

    /// Every runtime.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn Runtime>> {
        self.0.iter()
    }

    /// The first that reads `format`.
    ///
    /// # Errors
    /// None does.
    pub fn reading(&self, format: &Format) -> Result<&Arc<dyn Runtime>, LoadError> {
        self.iter().find(|runtime| runtime.formats().contains(format)).ok_or_else(|| {
            let known: Vec<_> =
                self.iter().flat_map(|runtime| runtime.formats()).map(Format::as_str).collect();
            LoadError::Unsupported(format.to_string(), known.join(", "))
        })
    }

    /// The format of a bundle's artifact: what its content looks like, which must be what its
    /// manifest says.
    ///
    /// # Errors
    /// Nobody knows it, or manifest and content disagree.
    pub fn recognise(&self, bundle: &Bundle) -> Result<Format, LoadError> {
        let place = || bundle.manifest().artifact.clone();
        let looks_like = self.iter().find_map(|runtime| runtime.recognise(bundle.artifact()));
        match (&bundle.manifest().format, looks_like) {
            (Some(said), _) if self.reading(said).is_err() => Err(self
                .reading(said)
                .err()
                .unwrap_or_else(|| LoadError::malformed(place(), "unknown format"))),
            (Some(said), Some(found)) if *said == found => Ok(found),
            (Some(said), Some(found)) => Err(LoadError::malformed(
                place(),
                format!("model.toml says `{said}`, its content is `{found}`"),
            )),
            (Some(said), None) => {
                Err(LoadError::malformed(place(), format!("model.toml says `{said}`, its content is not")))
            }
            (None, Some(found)) => Ok(found),
            (None, None) => Err(LoadError::malformed(place(), self.unrecognised())),
        }
    }

    fn unrecognised(&self) -> String {
        let known: Vec<_> = self.iter().flat_map(|runtime| runtime.formats()).map(Format::as_str).collect();
        format!("content is not recognised as a model; this build reads {}", known.join(", "))
    }
}
