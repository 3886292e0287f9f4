//! Measurements of Tenon beside its peers and limits.
fn main() {}
