//! Scenarios against the built binary.
