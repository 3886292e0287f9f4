//! Turns: a service changes once at a time, and who comes meanwhile is told so.

use tenon_contract::{Fault, ServiceName};

use crate::node::Inner;

/// One change of a service at a time.
pub(crate) struct Turn<'a> {
    node: &'a Inner,
    service: &'a ServiceName,
}

impl<'a> Turn<'a> {
    /// Takes the turn of a service.
    ///
    /// # Errors
    /// Another change of it is under way.
    pub(crate) fn take(node: &'a Inner, service: &'a ServiceName) -> Result<Self, Fault> {
        let mut state = node.state();
        let state = state.service(service);
        if std::mem::replace(&mut state.changing, true) {
            return Err(Fault::conflict(format!(
                "another change of service `{service}` is under way; wait for it"
            )));
        }
        Ok(Self { node, service })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.node.state().service(self.service).changing = false;
    }
}
