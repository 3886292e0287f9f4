//! The HTTP client of Tenon and its load generator
