//! The commands, one file each. Those that speak to a server stand on `tenon-client`.

pub mod bench;
pub mod config;
pub mod deploy;
pub mod doctor;
pub mod failure;
pub mod health;
pub mod infer;
pub mod jobs;
pub mod models;
pub mod output;
pub mod progress;
pub mod push;
pub mod receipts;
pub mod remote;
pub mod serve;
pub mod services;
pub mod swap;
pub mod undo;
