//! Stories told over a real listener, with toy models behind the wires.

mod access;
mod administration;
mod api_page;
mod exposition;
mod extensions;
mod feedback;
mod fuzz;
mod grpc;
mod house;
mod inference;
mod limits;
mod metrics;
mod operation;
mod references;
mod repository;
