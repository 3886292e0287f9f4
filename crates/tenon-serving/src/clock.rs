//! The one place where this room looks at a clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The monotonic clock, for every duration and deadline.
#[allow(clippy::disallowed_methods)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The wall clock in milliseconds since 1970, for people only: nothing is decided by it, so a step
/// of the clock changes no behaviour.
pub(crate) fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The wall clock in nanoseconds since 1970, for traces only.
pub(crate) fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Time since `from`.
pub(crate) fn since(from: Instant) -> Duration {
    now().saturating_duration_since(from)
}

/// Microseconds since `from`.
pub(crate) fn micros_since(from: Instant) -> u64 {
    since(from).as_micros() as u64
}
