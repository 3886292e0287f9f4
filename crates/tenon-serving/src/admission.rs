//! Memory admitted to models: a load begins only when what it was proven to need fits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tenon_contract::{Fault, FaultKind, Memory};

/// The memory of a node that models may hold.
pub struct Admission {
    limit: Memory,
    held: Mutex<Memory>,
}

impl Admission {
    /// Admits up to `limit`; devices that it does not name are free.
    pub fn new(limit: Memory) -> Arc<Self> {
        Arc::new(Self { limit, held: Mutex::default() })
    }

    /// Reserves `memory` until the guard drops.
    ///
    /// # Errors
    /// [`FaultKind::Overloaded`] that says what is needed, held and allowed.
    pub fn admit(self: &Arc<Self>, memory: &Memory) -> Result<Admitted, Fault> {
        let mut held = self.lock();
        let wanted = held.clone().plus(memory);
        if let Some(device) = wanted.exceeds(&self.limit) {
            let text = format!(
                "admit {memory}: {held} are held and {} allowed on {device}; remove a service, let undo windows \
                 close, or raise the memory limit",
                self.limit,
                held = *held,
            );
            return Err(Fault::new(FaultKind::Overloaded, text));
        }
        *held = wanted;
        Ok(Admitted { admission: self.clone(), memory: memory.clone() })
    }

    /// Whether `memory` would be admitted now.
    pub fn fits(&self, memory: &Memory) -> bool {
        self.lock().clone().plus(memory).exceeds(&self.limit).is_none()
    }

    /// Memory admitted now.
    pub fn held(&self) -> Memory {
        self.lock().clone()
    }

    /// The limit; devices that it does not name are free.
    pub fn limit(&self) -> &Memory {
        &self.limit
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Memory reserved for one model. Given back when dropped.
pub struct Admitted {
    admission: Arc<Admission>,
    memory: Memory,
}

impl Admitted {
    /// What is reserved.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut held = self.admission.lock();
        *held = std::mem::take(&mut *held).minus(&self.memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_admitted_comes_back_exactly() {
        let admission = Admission::new(Memory::cpu(100));
        let first = admission.admit(&Memory::cpu(60)).unwrap();
        assert_eq!(admission.admit(&Memory::cpu(60)).err().unwrap().kind, FaultKind::Overloaded);
        assert!(admission.fits(&Memory::cpu(40)));
        drop(first);
        assert_eq!(admission.held(), Memory::default());
    }
}
