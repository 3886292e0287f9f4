//! The rooms of the Tenon binary, as a library so that its tests reach them: configuration, wiring and
//! the proving child. The program itself is `main.rs`.

pub mod allocator;
pub mod child;
pub mod cli;
pub mod commands;
pub mod config;
pub mod faults;
mod logging;
pub mod runtimes;
mod sink;
mod telemetry;
pub mod wiring;
