//! One change of a service at a time; who comes second is told what is under way.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use tenon_contract::{Fault, ServiceName};

/// What is being done to which service.
#[derive(Clone, Default)]
pub(crate) struct Turns(Arc<Mutex<HashMap<ServiceName, String>>>);

impl Turns {
    /// The turn to change `service`; `what` is told to who comes second.
    ///
    /// # Errors
    /// Another change is under way.
    pub(crate) fn take(&self, service: &ServiceName, what: String) -> Result<Turn, Fault> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(service.clone()) {
            Entry::Occupied(other) => {
                let other = other.get();
                Err(Fault::conflict(format!(
                    "change service `{service}`: {other} is under way; try again when it is done"
                )))
            }
            Entry::Vacant(place) => {
                place.insert(what);
                Ok(Turn { turns: self.clone(), service: service.clone() })
            }
        }
    }
}

/// The turn, given back on drop.
pub(crate) struct Turn {
    turns: Turns,
    service: ServiceName,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.service);
    }
}
