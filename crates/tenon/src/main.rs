//! The Tenon binary: configuration, wiring and commands
fn main() {}
