//! Named moments of a change, where tests make the node fail or die.
//!
//! Every step that can fail passes its moment first. The default hook lets all of them pass; a test
//! counts the moment up until the change succeeds, and looks at what is live after each.

use std::sync::Arc;

use tenon_contract::Fault;

/// A moment in a change of what is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Moment {
    /// The revision's bytes are about to be read.
    Read,
    /// Memory is about to be admitted.
    Admit,
    /// The model is about to be loaded.
    Load,
    /// The model is about to be proven.
    Prove,
    /// The revision's document is about to be stored.
    Document,
    /// The intent is about to be journalled.
    Intent,
    /// New requests are about to see the revision.
    Publish,
    /// Publication is about to be journalled.
    Published,
    /// The change is about to be acknowledged.
    Acknowledge,
    /// An undo is about to be journalled.
    Undone,
    /// The end of a drain is about to be journalled.
    Drained,
    /// A revision's memory is about to be given back.
    Retire,
    /// The retirement is about to be journalled.
    Retired,
}

impl Moment {
    /// Every moment, in the order of a swap.
    pub const ALL: [Self; 13] = [
        Self::Read,
        Self::Admit,
        Self::Load,
        Self::Prove,
        Self::Document,
        Self::Intent,
        Self::Publish,
        Self::Published,
        Self::Acknowledge,
        Self::Undone,
        Self::Drained,
        Self::Retire,
        Self::Retired,
    ];

    /// Its name in lowercase.
    pub fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// Called at each moment; an error fails the step that follows.
pub type Hook = Arc<dyn Fn(Moment) -> Result<(), Fault> + Send + Sync>;

/// Lets everything pass.
pub fn none() -> Hook {
    Arc::new(|_| Ok(()))
}
