//! The named limits of proving.

use tenon_runtime::BundleLimits;

/// What a proving child may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildLimits {
    /// Address space beside the artifact itself, bytes.
    pub memory_bytes: u64,
    /// Computing time, seconds.
    pub cpu_s: u64,
    /// Time on the clock, seconds.
    pub wall_s: u64,
    /// Refuse to prove where system calls cannot be filtered.
    pub demand_filter: bool,
}

impl Default for ChildLimits {
    fn default() -> Self {
        Self { memory_bytes: 4 << 30, cpu_s: 60, wall_s: 120, demand_filter: false }
    }
}

impl ChildLimits {
    /// The address space for an artifact of `size` bytes: it is held once as it came, and once more
    /// unpacked or as the engine keeps it.
    pub(super) fn address_space(&self, size: u64) -> u64 {
        self.memory_bytes.saturating_add(size.saturating_mul(3))
    }
}

/// Bytes that every bundle may unpack to.
const UNPACKED_BYTES: u64 = 64 << 20;

/// How much larger than itself a bundle may become. Weights hardly shrink; what shrinks more is no model.
const UNPACKED_RATIO: u64 = 100;

/// The limits of a bundle of `size` bytes that comes from outside.
pub(super) fn bundle_limits(size: u64) -> BundleLimits {
    let defaults = BundleLimits::default();
    let bytes = size.saturating_mul(UNPACKED_RATIO).saturating_add(UNPACKED_BYTES);
    BundleLimits { bytes: bytes.min(defaults.bytes), ..defaults }
}
