//! One call of a session and the parts of its answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tenon_contract::{Inputs, Parameters, Tensor};

use crate::RunError;

/// What a session is asked to do.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// Inputs that fit the model's signature.
    pub inputs: &'a Inputs,
    /// Parameters of the request.
    pub parameters: &'a Parameters,
    /// When the caller stops to wait. The cancel token fires then too, where the call is long.
    pub deadline: Option<Instant>,
    /// Fires when nobody waits any more.
    pub cancel: &'a Cancel,
    /// The sequence the call belongs to, where the model is stateful.
    pub sequence: Option<Sequence>,
}

impl Call<'_> {
    /// Whether it is still worth to begin.
    ///
    /// # Errors
    /// The deadline has passed or the token has fired.
    pub fn check(&self) -> Result<(), RunError> {
        if self.cancel.is_cancelled() {
            return Err(RunError::Cancelled);
        }
        // Sessions may look at the clock here: it is the caller's deadline, not a decision.
        #[allow(clippy::disallowed_methods)]
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(RunError::Deadline),
            _ => Ok(()),
        }
    }
}

/// Place of a call in a sequence of calls that share state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Which sequence.
    pub id: u64,
    /// The first call of it.
    pub starts: bool,
    /// The last call of it.
    pub ends: bool,
}

/// Where a session puts the parts of its answer: exactly one for most models, many for streams.
pub trait Answers {
    /// Hands over the next part, in the order of the signature's outputs. May block until the
    /// caller has taken the part before.
    ///
    /// # Errors
    /// Nobody waits any more; the session should stop.
    fn send(&mut self, outputs: Vec<Tensor>) -> Result<(), RunError>;
}

/// Takes the one part of a unary answer.
#[derive(Debug, Default)]
pub struct Single(Option<Vec<Tensor>>);

impl Single {
    /// The answer.
    ///
    /// # Errors
    /// The model gave none.
    pub fn take(self) -> Result<Vec<Tensor>, RunError> {
        self.0.ok_or_else(|| RunError::Failed("the model gave no answer".to_owned()))
    }
}

impl Answers for Single {
    fn send(&mut self, outputs: Vec<Tensor>) -> Result<(), RunError> {
        match self.0.replace(outputs) {
            None => Ok(()),
            Some(_) => Err(RunError::Failed("the model gave more than one answer".to_owned())),
        }
    }
}

/// Tells work that it may stop. Clones share one state.
#[derive(Clone)]
pub struct Cancel(Option<Arc<State>>);

type Hook = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    fired: AtomicBool,
    hook: Mutex<Option<Hook>>,
}

impl State {
    fn hook(&self) -> std::sync::MutexGuard<'_, Option<Hook>> {
        self.hook.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Cancel {
    fn default() -> Self {
        Self::new()
    }
}

impl Cancel {
    /// Not fired.
    pub fn new() -> Self {
        Self(Some(Arc::default()))
    }

    /// For work that runs where its caller waits: nobody is there to fire it, so it costs nothing.
    pub const fn never() -> Self {
        Self(None)
    }

    /// Fires; runs the hook that is set. One that never fires stays as it is.
    pub fn cancel(&self) {
        let Some(state) = &self.0 else { return };
        state.fired.store(true, Ordering::SeqCst);
        if let Some(hook) = state.hook().take() {
            hook();
        }
    }

    /// Whether it has fired.
    pub fn is_cancelled(&self) -> bool {
        self.0.as_ref().is_some_and(|state| state.fired.load(Ordering::SeqCst))
    }

    /// Sets what an engine does to stop a running call; at once where it has fired already. The
    /// hook is taken off when the guard drops.
    pub fn on_cancel(&self, hook: impl FnOnce() + Send + 'static) -> HookGuard<'_> {
        if let Some(state) = &self.0 {
            *state.hook() = Some(Box::new(hook));
            // Fired between the caller's look and ours: run it here, nobody else will.
            if self.is_cancelled()
                && let Some(hook) = state.hook().take()
            {
                hook();
            }
        }
        HookGuard(self)
    }
}

impl std::fmt::Debug for Cancel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cancel({})", self.is_cancelled())
    }
}

/// Takes the hook off when the call is over.
pub struct HookGuard<'a>(&'a Cancel);

impl Drop for HookGuard<'_> {
    fn drop(&mut self) {
        drop(self.0.0.as_ref().and_then(|state| state.hook().take()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_run_once_and_only_while_guarded() {
        let count = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let hook = |count: &Arc<std::sync::atomic::AtomicU32>| {
            let count = count.clone();
            move || {
                count.fetch_add(1, Ordering::SeqCst);
            }
        };
        let cancel = Cancel::new();
        drop(cancel.on_cancel(hook(&count)));
        cancel.cancel();
        assert_eq!(count.load(Ordering::SeqCst), 0, "its guard was gone");
        let _guard = cancel.on_cancel(hook(&count));
        assert_eq!(count.load(Ordering::SeqCst), 1, "fired already");
        cancel.cancel();
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn what_never_fires_keeps_no_hook() {
        let (cancel, held) = (Cancel::never(), Arc::new(()));
        let hook = held.clone();
        let _guard = cancel.on_cancel(move || drop(hook));
        assert_eq!(Arc::strong_count(&held), 1);
        cancel.cancel();
        assert!(!cancel.is_cancelled());
    }
}
